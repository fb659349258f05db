"""Conductances and background currents that change while a network runs, per member and voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from twinbrain import Brain, InputError, Network, Subject
from twinbrain.engine import Simulation


def network(**changes: Any) -> Network:
    person = Subject.from_arrays(np.ones((3, 3)) - np.eye(3), ["a", "b", "c"])
    return Network(Brain.from_subject(person), neurons=3000, in_degree=60, seed=1, **changes)


def made(**options: Any) -> Simulation:
    return Simulation(network(), members=2, inputs=["a"], **options)


def voltages(engine: Simulation, steps: int = 200) -> np.ndarray:
    engine.advance(steps)
    return np.stack([engine.voltage(m) for m in range(2)])


def test_a_factor_of_one_changes_nothing_and_another_does() -> None:
    plain = voltages(made())
    engine = made(tunable=("g_ampa", "g_gaba_a"))
    engine.set_conductances({"g_ampa": np.ones((2, 3)), "g_gaba_a": np.ones(3)})
    np.testing.assert_array_equal(voltages(engine), plain)
    other = made(tunable=("g_ampa", "g_gaba_a"))
    other.set_conductances({"g_ampa": np.full((2, 3), 1.3)})
    assert (voltages(other) != plain).mean() > 0.5


def test_factors_do_not_accumulate_and_act_in_their_voxel_and_member_only() -> None:
    engine, control = made(tunable=("g_ampa",)), made(tunable=("g_ampa",))
    factors = np.ones((2, 3))
    factors[1, 2] = 4.0
    for _ in range(3):
        engine.set_conductances({"g_ampa": factors})
    for e in (engine, control):
        e.advance(2)  # spikes of the first step have arrived, and what they changed has not yet left its voxel
    voxel = network().populations["voxel"].to_numpy()[engine._population_of]
    differs = np.stack([engine.voltage(m) != control.voltage(m) for m in range(2)])
    assert not differs[0].any()
    assert not differs[1, voxel != 2].any()
    assert differs[1, voxel == 2].mean() > 0.1
    engine.set_conductances({"g_ampa": np.ones(3)})
    np.testing.assert_array_equal(engine._tables[1], control._tables[1])


def test_a_tuned_network_is_the_network_with_that_conductance() -> None:
    base = network()
    changed = base.scaled(parameters=base.set.changed(g_ampa=base.set.neuron.g_ampa * 2))
    engine = Simulation(base, tunable=("g_ampa",))
    engine.set_conductances({"g_ampa": np.full(3, 2.0)})
    reference = Simulation(changed, wiring=base.wire())
    for e in (engine, reference):
        e.advance(200)
    np.testing.assert_array_equal(engine.voltage(), reference.voltage())


def test_the_background_of_a_voxel_can_be_replaced_under_the_drive() -> None:
    plain, same, high = made(), made(), made()
    mean = network().set.neuron.background_mean
    same.set_background(np.full((2, 3), mean))
    same.set_background(np.array([np.nan, mean, np.nan]))
    values = np.full((2, 3), np.nan)
    values[1, :2] = mean + 0.02
    high.set_background(values)
    for engine in (plain, same, high):
        engine.set_drive(np.array([0.01]))
    high.set_background(values)  # keeps the drive
    high.advance(1)
    plain.advance(1)
    rise = [high.voltage(m).astype(np.float64) - plain.voltage(m) for m in range(2)]
    free = (high.voltage(1) > -55.0) & (plain.voltage(1) > -55.0)
    voxel = network().populations["voxel"].to_numpy()[plain._population_of]
    assert (rise[0] == 0).all()
    assert (rise[1][voxel == 2] == 0).all()
    np.testing.assert_allclose(rise[1][free & (voxel < 2)], 0.02 / 0.5, atol=1e-4)  # dt / C times the current
    np.testing.assert_array_equal(voltages(same, 200), voltages(plain, 199))


def test_what_was_set_is_saved_and_goes_on() -> None:
    def run(split: bool, factor: float = 1.5) -> np.ndarray:
        engine = made(tunable=("g_ampa",))
        engine.set_conductances({"g_ampa": np.array([[1.0, factor, 1.0], [factor, 1.0, 1.0]])})
        engine.set_background(np.array([0.4, np.nan, 0.38]))
        engine.set_drive(np.array([[0.01], [0.02]]))
        engine.advance(100)
        if split:
            state = engine.state()
            engine = made(tunable=("g_ampa",))
            engine.restore(state)
        return voltages(engine, 100)

    np.testing.assert_array_equal(run(True), run(False))
    assert (run(True, 1.6) != run(False)).any()


def test_a_copied_member_takes_its_conductances_along() -> None:
    engine = made(tunable=("g_ampa",))
    engine.set_conductances({"g_ampa": np.array([[3.0] * 3, [1.0] * 3])})
    engine.copy_member(0, 1)
    np.testing.assert_array_equal(engine.conductance_factors[1], 3.0)
    np.testing.assert_array_equal(engine._tables[1], engine._tables[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: made(tunable=("g_ampha",)), r"'g_ampha' is not a conductance.*did you mean 'g_ampa'"),
        (lambda: made(tunable=("g_gaba_b",)), "those above 0 are g_ampa, g_nmda, g_gaba_a"),
        (lambda: made().set_conductances({"g_ampa": np.ones(3)}), r"was not announced; .*tunable=\(\"g_ampa\",\)"),
        (
            lambda: made(tunable=("g_ampa",)).set_conductances({"g_ampa": np.ones(4)}),
            r"shape \(4,\), expected \(members, voxels\) = \(2, 3\)",
        ),
        (
            lambda: made(tunable=("g_ampa",)).set_conductances({"g_ampa": np.array([1, -1, 1.0])}),
            "must not be negative",
        ),
        (
            lambda: made(tunable=("g_ampa",)).set_conductances({"g_ampa": np.array([1, np.nan, 1.0])}),
            "voxel 'b' has the value nan",
        ),
        (lambda: made().set_background(np.array([1, 1, np.inf])), "voxel 'c' has the value inf"),
    ],
)
def test_bad_values_are_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
