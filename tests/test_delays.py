"""Conduction delays: a spike arrives at its step and no other, whatever the threads, chunks and interruptions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from twinbrain import Brain, InputError, Network, Subject, parameter_set
from twinbrain.engine import Simulation
from twinbrain.kernels import delay
from twinbrain.kernels.update import ROW_V
from twinbrain.tuning import delays

LENGTHS = np.array([[0, 30.0, 62.0], [30.0, 0, 9.0], [62.0, 9.0, 0]])


def brain(**given: Any) -> Brain:
    return Brain.from_subject(Subject.from_arrays(np.ones((3, 3)) - np.eye(3), ["a", "b", "c"], **given))


def network(speed: float | None = 10.0, **given: Any) -> Network:
    given = given or {"lengths": LENGTHS}
    return Network(brain(**given), neurons=1500, in_degree=60, seed=2, conduction_speed_m_s=speed)


@pytest.mark.parametrize(("exchange_ms", "dt_ms"), [(1.0, 1.0), (0.5, 0.5), (1.0, 0.5)])
def test_a_spike_arrives_exactly_at_its_delay(exchange_ms: float, dt_ms: float) -> None:
    """One neuron of b fires in the first step: its targets in a receive it 30 mm / 10 m/s = 3 ms later, in c 1 ms."""
    p = parameter_set("asynchronous").changed(background_mean=0.0, background_std=0.0)
    net = Network(brain(lengths=LENGTHS), 1500, 60, parameters=p, seed=2, conduction_speed_m_s=10.0)
    engine = Simulation(net, exchange_ms=exchange_ms, dt_ms=dt_ms)
    table = net.populations
    source = int(table[(table["region"] == "b") & (table["name"] == "E")]["first"].iloc[0])
    v = np.full(net.neurons, -70.0, np.float32)
    v[source] = -40.0
    engine._put(ROW_V, v)
    region = table["region"].to_numpy()[engine._population_of]
    w = engine.wiring
    targets = w.targets[w.pointer[source] : w.pointer[source + 1]].astype(int)
    first: dict[int, int] = {}
    engine.advance(1)  # the step of the spike
    for step in range(1, 12):
        engine.advance(1)
        for t in np.flatnonzero(engine._get(engine.layout.rows[0], 0)):
            first.setdefault(int(t), step)
    assert set(first) == set(targets.tolist())
    expected = {"a": 3.0, "b": exchange_ms, "c": 1.0}
    for target, step in first.items():
        assert step == expected[region[target]] / exchange_ms
    assert len(set(first.values())) == 3 if exchange_ms < 1 else 2


def spikes(net: Network, chunks: list[int], resume: bool = False, **options: Any) -> np.ndarray:
    engine = Simulation(net, **options)
    found = []
    for steps in chunks:
        if resume:
            state = engine.state()
            engine = Simulation(net, **options)
            engine.restore(state)
        engine.record_spikes(np.arange(net.neurons))
        engine.advance(steps)
        found += engine.recorded_spikes
        engine.recorded_spikes = []
    step, neuron = (np.concatenate([x[k] for x in found]) for k in (1, 2))
    order = np.lexsort((neuron, step))
    return np.stack([step[order], neuron[order]])


def test_threads_chunks_and_resuming_change_nothing() -> None:
    net = network()
    whole = spikes(net, [150])
    assert whole.shape[1] > 300
    for threads in (2, 3):
        np.testing.assert_array_equal(spikes(net, [150], threads=threads), whole)
    np.testing.assert_array_equal(spikes(net, [1, 3, 2, 60, 84]), whole)
    np.testing.assert_array_equal(spikes(net, [1, 3, 2, 60, 84], resume=True, threads=2), whole)
    for other in (network(None), network(5.0)):
        again = spikes(other, [150])
        assert again.shape != whole.shape or (again != whole).any()


def test_delays_of_one_step_are_the_network_without_delays() -> None:
    np.testing.assert_array_equal(spikes(network(1000.0), [100]), spikes(network(None), [100]))


def test_the_state_holds_what_is_in_flight() -> None:
    net = network(5.0)
    engine = Simulation(net)
    engine.advance(100)
    state = engine.state()
    assert state["spikes"].shape == (1, 12, 188)
    assert (state["spikes"].reshape(12, -1).sum(axis=1) > 0).all()
    lost = state["spikes"].copy()
    lost[0, (engine.step - 10) % 12] = 0  # spikes on a long way
    ends = []
    for flying in (state["spikes"], lost):
        other = Simulation(net)
        other.restore({**state, "spikes": flying})
        other.advance(60)
        ends.append(other.voltage())
    engine.advance(60)
    np.testing.assert_array_equal(ends[0], engine.voltage())
    assert (ends[1] != ends[0]).any()


def test_lengths_come_from_tracts_and_else_from_positions() -> None:
    positions = np.array([[0, 0, 0], [20.0, 0, 0], [0, 36.0, 0]])
    by_tract = delays(network(10.0), 1.0)
    assert by_tract is not None
    assert by_tract.matrix.tolist() == [[1, 3, 6], [3, 1, 1], [6, 1, 1]]
    by_place = delays(network(10.0, positions=positions), 1.0)
    assert by_place is not None
    assert by_place.matrix[0].tolist() == [1, 4, 6]  # (1.5 x 20 + 6) / 10 = 3.6, (1.5 x 36 + 6) / 10 = 6
    gap = LENGTHS.copy()
    gap[0, 1] = 0
    mixed = delays(network(10.0, lengths=gap, positions=positions), 1.0)
    assert mixed is not None
    assert mixed.matrix[0].tolist() == [1, 4, 6]
    assert mixed.matrix[1].tolist() == [3, 1, 1]
    with pytest.raises(InputError, match="tract from 'b' to 'a' has a weight but no length"):
        delays(network(10.0, lengths=gap), 1.0)


def test_matrix_and_positions_sort_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(10.0, positions=np.array([[0, 0, 0], [20.0, 0, 0], [0, 36.0, 0]]))
    one = Simulation(net)
    monkeypatch.setattr("twinbrain.tuning._DENSE_VOXELS", 1)
    two = Simulation(net)
    assert len(two._delays.matrix) == 0  # type: ignore[union-attr]
    for a, b in zip(one._links.wires, two._links.wires, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one._links.wires[3] != one.wiring.targets).any()
    assert delay.DETOUR == 1.5


def test_bad_speeds_are_refused() -> None:
    with pytest.raises(InputError, match=r"must be between 0.01 and 1000 m/s, found 0"):
        network(0.0)
    with pytest.raises(InputError, match="give the Subject lengths= or positions="):
        Network(brain(), 100, 10, conduction_speed_m_s=5.0)
    with pytest.raises(InputError, match="expected at most 1000"):
        Simulation(network(0.02))


def test_a_thread_that_fails_stops_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Simulation(network(None).scaled(neurons=3000), threads=2)
    engine.advance(2)
    run_part = Simulation._run_part

    def fail(self: Simulation, m: int, part: int, *rest: Any) -> int:
        if part == 1:
            raise MemoryError("no room")
        return run_part(self, m, part, *rest)

    monkeypatch.setattr(Simulation, "_run_part", fail)
    with pytest.raises(MemoryError, match="no room"):
        engine.advance(50)
    with pytest.raises(RuntimeError, match="make a new one"):
        engine.advance(1)
