"""The promise of equal bits: one test for every sentence of docs/equal_bits.md, each with a control that differs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from twinbrain.brain import Brain
from twinbrain.engine import Simulation
from twinbrain.network import Network

KINDS = ["region canonical", "region laminar", "voxel canonical", "voxel laminar"]


def brain(level: str) -> Brain:
    """A Brain of 6 regions, two of them not laminar, with uneven sizes and, at voxel level, PET factors."""
    random = np.random.Generator(np.random.Philox(5))
    per_region = [1] * 6 if level == "region" else [3, 5, 2, 4, 1, 3]
    region = np.repeat(np.arange(6), per_region)
    n = len(region)
    weights = random.random((n, n)) ** 3 * (random.random((n, n)) < 0.6)
    np.fill_diagonal(weights, 0)
    weights[np.arange(n), (np.arange(n) + 1) % n] += 0.1
    names = tuple(f"r{k}" for k in range(6))
    return Brain(
        name="made",
        level="region" if level == "region" else "voxel",
        regions=names,
        voxels=names if level == "region" else tuple(f"r{r}:{k:04d}" for k, r in enumerate(region)),
        region_index=region.astype(np.int64),
        grey_matter=random.uniform(50, 150, n),
        in_degree_factor=np.ones(n) if level == "region" else random.uniform(0.7, 1.3, n),
        laminar=region < 4,
        projection=csr_array(weights / weights.sum(axis=1, keepdims=True)),
        positions=random.uniform(-60, 60, (n, 3)),
    )


@cache
def network(kind: str, seed: int = 1) -> Network:
    level, circuit = kind.split()
    return Network(brain(level), neurons=4200, in_degree=60, circuit=circuit, seed=seed)  # five blocks, one not full


def spikes(
    net: Network,
    steps: int,
    chunks: Sequence[int] = (),
    *,
    members: Any = (0,),
    member: int = 0,
    threads: int = 1,
    record: bool = False,
    resume_at: Sequence[int] = (),
    **options: Any,
) -> str:
    """Hash of all spikes of one member and of the state at the end."""
    inputs = net.brain.regions[:2]

    def made() -> Simulation:
        engine = Simulation(net, members=members, threads=threads, inputs=inputs, **options)
        engine.set_drive(np.array([0.02, -0.01]))
        engine.record_spikes(np.arange(net.neurons))
        if record:
            engine.record_voltages([0, 2000, net.neurons - 1])
            engine.record_totals()
        return engine

    engine = made()
    found: list[tuple[int, np.ndarray, np.ndarray]] = []
    done = 0
    for piece in chunks or [steps]:
        stops = [s for s in resume_at if done < s < done + piece]
        for stop in [*stops, done + piece]:
            engine.advance(stop - done)
            done = stop
            found += engine.recorded_spikes
            engine.recorded_spikes = []
            if stop in stops:
                state = engine.state()
                engine = made()
                engine.restore(state)
    assert done == steps
    who = list(engine.members).index(member)
    step = np.concatenate([s for m, s, _ in found if m == member])
    neuron = np.concatenate([i for m, _, i in found if m == member])
    order = np.lexsort((neuron, step))
    digest = hashlib.sha256()
    state = engine.state()
    arrays = [step[order], neuron[order], state["neurons"][who], state["spikes"][who], state["balloon"][who]]
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    assert len(step) > steps * net.neurons * 0.5e-3, "too few spikes to tell two runs apart"
    return digest.hexdigest()


@cache
def plain(kind: str, steps: int) -> str:
    return spikes(network(kind), steps)


@pytest.mark.parametrize("kind", KINDS)
def test_the_control_differs(kind: str) -> None:
    """Another noise, another wiring, one step less or a hundred changed synapses: the hash sees it."""
    net = network(kind)
    assert spikes(net, 200) == plain(kind, 200)
    assert spikes(net, 200, seed=1) != plain(kind, 200)
    assert spikes(network(kind, seed=2), 200) != plain(kind, 200)
    assert spikes(net, 199) != plain(kind, 200)
    wiring = net.wire()
    weights = wiring.weights.copy()
    one_each = wiring.pointer[np.arange(0, net.neurons, 40)]  # the first synapse of every 40th neuron
    weights[one_each] ^= 128
    assert spikes(net, 200, wiring=type(wiring)(wiring.pointer, wiring.targets, weights, wiring.multapses)) != plain(
        kind, 200
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [2, 3, 4])
def test_any_number_of_threads(kind: str, threads: int) -> None:
    assert spikes(network(kind), 200, threads=threads) == plain(kind, 200)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("steps", "chunks"),
    [
        (200, [1, 199]),
        (200, [1] * 200),
        (200, [7, 93, 100]),
        pytest.param(1000, [1, 999], marks=pytest.mark.slow),
        pytest.param(1000, [1] * 1000, marks=pytest.mark.slow),
    ],
    ids=["1+199", "200x1", "7+93+100", "1+999", "1000x1"],
)
def test_any_chunking(kind: str, steps: int, chunks: list[int]) -> None:
    assert spikes(network(kind), steps, chunks) == plain(kind, steps)


@pytest.mark.parametrize("kind", KINDS)
def test_any_recording(kind: str) -> None:
    assert spikes(network(kind), 200, record=True) == plain(kind, 200)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("members", [1, 2, pytest.param(45, marks=pytest.mark.slow), 5])
def test_a_member_alone_or_in_any_ensemble(kind: str, members: int) -> None:
    assert spikes(network(kind), 100, members=members) == plain(kind, 100)
    if members > 1:
        last = members - 1
        alone = spikes(network(kind), 100, members=[last], member=last)
        assert spikes(network(kind), 100, members=members, member=last, threads=2) == alone
        assert alone != plain(kind, 100)


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_at_twenty_random_steps(kind: str) -> None:
    random = np.random.Generator(np.random.Philox(len(kind)))
    stops = np.sort(random.choice(np.arange(1, 200), 20, replace=False)).tolist()
    assert spikes(network(kind), 200, resume_at=stops) == plain(kind, 200)
    assert spikes(network(kind), 200, resume_at=stops, threads=2) == plain(kind, 200)


def test_a_resumed_state_that_lost_its_spikes_differs() -> None:
    net = network("region canonical")
    engine = Simulation(net, inputs=net.brain.regions[:2])
    engine.set_drive(np.array([0.02, -0.01]))
    engine.advance(100)
    state = engine.state()
    whole, cut = (Simulation(net, inputs=net.brain.regions[:2]) for _ in range(2))
    whole.restore(state)
    cut.restore({**state, "spikes": np.zeros_like(state["spikes"])})
    for e in (whole, cut):
        e.advance(100)
    engine.advance(100)
    assert np.array_equal(engine.state()["neurons"], whole.state()["neurons"])
    assert not np.array_equal(engine.state()["neurons"], cut.state()["neurons"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [1, 2])
def test_any_size_of_tiles_and_arenas(kind: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of few blocks at a time, and arenas that must grow: how work is cut up changes no spike."""
    monkeypatch.setattr("twinbrain.links.TILE_BYTES", 12_000)
    monkeypatch.setattr("twinbrain.links.ALONE_BYTES", 0)
    assert spikes(network(kind), 200, threads=threads) == plain(kind, 200)
    monkeypatch.setattr("twinbrain.links._ROOM", 16)
    monkeypatch.setattr("twinbrain.links._RATE_PER_STEP", 1e-3)
    assert spikes(network(kind), 200, threads=threads) == plain(kind, 200)
    assert spikes(network(kind), 200, threads=threads, seed=1) != plain(kind, 200)


@pytest.mark.parametrize("dt_ms", [0.5, 0.1])
def test_sub_steps(dt_ms: float) -> None:
    net = network("region laminar")
    one = spikes(net, 100, dt_ms=dt_ms)
    assert spikes(net, 100, [1] * 100, dt_ms=dt_ms, threads=2) == one
    assert one != plain("region laminar", 100)
