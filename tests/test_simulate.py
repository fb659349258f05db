"""Free runs: the same bits for any threads, chunks, recording, ensemble and resume; drive, sampling, refusals."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from twinbrain import Brain, Drive, InputError, Interrupted, Network, Record, Subject, parameter_set, simulate
from twinbrain.engine import Simulation
from twinbrain.kernels import deliver


def brain(n: int = 4) -> Brain:
    c = np.random.Generator(np.random.Philox(key=3)).gamma(0.5, 1.0, (n, n))
    np.fill_diagonal(c, 0)
    return Brain.from_subject(Subject.from_arrays(c, [f"Area_{k}" for k in range(n - 1)] + ["Thalamus_L"]))


def network(circuit: str = "canonical", neurons: int = 6000, **changes: Any) -> Network:
    return Network(brain(), neurons=neurons, in_degree=100, circuit=circuit, seed=1, **changes)


def spikes_hash(net: Network, chunks: list[int], **options: Any) -> str:
    engine = Simulation(net, **options)
    engine.record_spikes(np.arange(net.neurons))
    for steps in chunks:
        engine.advance(steps)
    digest = hashlib.sha256()
    member = np.concatenate([np.full(len(s), m) for m, s, _ in engine.recorded_spikes])
    step, neuron = (np.concatenate([x[k] for x in engine.recorded_spikes]) for k in (1, 2))
    order = np.lexsort((neuron, step, member))
    for array in (member[order], step[order], neuron[order], engine.balloon):
        digest.update(np.ascontiguousarray(array).tobytes())
    assert len(step) > 100
    return digest.hexdigest()


@pytest.mark.parametrize("circuit", ["canonical", "laminar"])
@pytest.mark.parametrize("dt_ms", [1.0, 0.1])
def test_the_same_spikes_for_any_number_of_threads(circuit: str, dt_ms: float) -> None:
    net = network(circuit)
    one = spikes_hash(net, [150], threads=1, dt_ms=dt_ms)
    for threads in (2, 3, 4):
        assert spikes_hash(net, [150], threads=threads, dt_ms=dt_ms) == one
    assert spikes_hash(net, [150], threads=2, dt_ms=dt_ms, seed=1) != one
    assert spikes_hash(net.scaled(seed=2), [150], threads=1, dt_ms=dt_ms) != one


def test_chunks_do_not_matter() -> None:
    net = network()
    whole = spikes_hash(net, [400])
    assert spikes_hash(net, [1, 399]) == whole
    assert spikes_hash(net, [1] * 400) == whole
    assert spikes_hash(net, [401]) != whole


def test_a_member_is_the_same_alone_and_in_an_ensemble() -> None:
    net = network(neurons=1500)

    def state(members: Any, threads: int, who: int) -> np.ndarray:
        engine = Simulation(net, members=members, threads=threads)
        engine.advance(300)
        return engine.state()["neurons"][list(engine.members).index(who)]

    alone = state([2], 1, 2)
    np.testing.assert_array_equal(alone, state(3, 2, 2))
    np.testing.assert_array_equal(alone, state(5, 1, 2))
    np.testing.assert_array_equal(alone, state([7, 2], 2, 2))
    assert (alone != state(3, 2, 1)).any()


def test_recording_changes_no_spike() -> None:
    net = network()
    plain, rich = Simulation(net), Simulation(net)
    rich.record_spikes(np.arange(0, 6000, 3))
    rich.record_voltages([1, 5000])
    rich.record_totals()
    for engine in (plain, rich):
        engine.advance(300)
    np.testing.assert_array_equal(plain.state()["neurons"], rich.state()["neurons"])
    other = Simulation(net, seed=9)
    other.advance(300)
    assert (plain.state()["neurons"] != other.state()["neurons"]).any()


def test_transposing_the_connectome_changes_the_run() -> None:
    values = brain().projection.toarray()
    names = brain().regions
    a, b = (Brain.from_subject(Subject.from_arrays(m, names)) for m in (values, values.T))
    runs = [simulate(Network(x, neurons=2000, in_degree=100), 0.8).firing_rate.values for x in (a, b)]
    assert (runs[0] != runs[1]).any()


def test_counts_spikes_and_totals_agree() -> None:
    net = network("laminar")
    run = simulate(net, 1.6, warm_up_s=0.4, record=Record(spikes="all"), threads=2)
    assert run.spikes is not None
    assert run.totals is not None
    assert run.spikes.sizes["spike"] == int(run.totals.sum())
    size = run.firing_rate["pop_size"].values
    np.testing.assert_allclose((run.firing_rate.values * size).sum() * 0.8, run.spikes.sizes["spike"])
    assert run.spikes["step"].values.max() < 1600
    per_population = np.searchsorted(net.anatomy.first, run.spikes["neuron"].values, side="right") - 1
    found = np.bincount(per_population, minlength=len(size))
    np.testing.assert_allclose(run.firing_rate.sum("time").values * 0.8 * size, found)


def test_recorded_voltages_are_voltages() -> None:
    run = simulate(network(), 0.8, record=Record(voltages=[0, 10, 5999]))
    assert run.traces is not None
    v = run.traces["potential"].values[0]
    assert v.shape == (800, 3)
    assert (v < -50.0).all()
    assert (v > -120.0).all()
    assert v.std() > 1.0


def test_spikes_are_kept_in_their_window_only() -> None:
    record = Record(spikes=range(0, 6000, 2), spikes_from_s=0.5, spikes_to_s=0.9)
    run = simulate(network(), 1.6, record=record)
    assert run.spikes is not None
    step = run.spikes["step"].values
    assert step.min() >= 500
    assert step.max() < 900
    assert (run.spikes["neuron"].values % 2 == 0).all()


def test_drive_raises_its_region_and_is_held_over_each_repetition_time() -> None:
    net = network(neurons=8000, parameters=parameter_set("asynchronous").changed(background_mean=0.35))  # no run-away
    drive = Drive.constant({"Thalamus_L": 0.03}, 2.4, 0.8)
    low = simulate(net, 2.4).firing_rate.groupby("pop_region").mean()
    high = simulate(net, drive=drive).firing_rate.groupby("pop_region").mean()
    assert float(high.sel(pop_region="Thalamus_L").mean()) > 1.4 * float(low.sel(pop_region="Thalamus_L").mean())
    values = drive.values.copy()
    values[1:] = 0.0
    pulse = simulate(net, drive=Drive(values, 0.8)).firing_rate
    here = pulse["pop_region"] == "Thalamus_L"
    assert float(pulse[0, here].mean()) > 1.4 * float(pulse[2, here].mean())


def test_gamma_factors_have_mean_one_and_the_right_spread() -> None:
    net = network(neurons=40_000)
    engine = Simulation(net, inputs=["Thalamus_L", "Area_0"])
    for gamma in engine._input_gamma:
        assert gamma.mean() == pytest.approx(1.0)
        assert gamma.std() == pytest.approx(1 / np.sqrt(5), rel=0.03)
        assert (gamma > 0).all()
    same = Simulation(net, inputs=["Thalamus_L"], gamma_shape=np.inf)
    np.testing.assert_array_equal(same._input_gamma[0], 1.0)


def test_heterogeneous_conductances_differ_between_neurons() -> None:
    net = network(neurons=5000, heterogeneity={"g_gaba_a": 5.0})
    engine = Simulation(net)
    assert "w_gaba_a" in engine.layout.varying
    assert "w_ampa" not in engine.layout.varying
    engine.advance(500)
    assert 0 < engine.rate().mean() < 50


def test_zero_input_leaves_a_resting_brain_at_rest() -> None:
    p = parameter_set("asynchronous").changed(background_mean=0.0, background_std=0.0)
    run = simulate(network(parameters=p), 4.0)
    assert (run.bold.values == 0.0).all()
    assert (run.firing_rate.values == 0.0).all()
    assert (simulate(network(), 4.0).bold.values != 0).all()


def test_a_member_can_be_copied_onto_another() -> None:
    engine = Simulation(network(neurons=1000), members=3)
    engine.advance(50)
    engine.copy_member(0, 2)
    state = engine.state()
    np.testing.assert_array_equal(state["neurons"][0], state["neurons"][2])
    engine.advance(50)
    state = engine.state()
    assert (state["neurons"][0] != state["neurons"][2]).any()  # their noise stays their own


class Memory:
    """A checkpoint in memory."""

    def __init__(self) -> None:
        self.saved: dict[str, Any] | None = None

    def save(self, state: Any) -> None:
        self.saved = {k: np.copy(v) if isinstance(v, np.ndarray) else v for k, v in state.items()}

    def load(self) -> dict[str, Any] | None:
        return self.saved


@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_a_resumed_run_equals_the_uninterrupted_one(stop_at: int) -> None:
    net = network()
    record = Record(spikes=range(100), voltages=[7])
    drive = Drive.constant({"Thalamus_L": 0.02}, 4.0, 0.8)
    options: dict[str, Any] = {"drive": drive, "warm_up_s": 0.3, "record": record}

    def stop(done: int, total: int) -> None:
        if done == stop_at:
            raise Interrupted("stop")

    memory = Memory()
    with pytest.raises(Interrupted):
        simulate(net, progress=stop, checkpoint=memory, **options)
    resumed, whole = simulate(net, checkpoint=memory, threads=2, **options), simulate(net, **options)
    np.testing.assert_array_equal(resumed.bold, whole.bold)
    np.testing.assert_array_equal(resumed.firing_rate, whole.firing_rate)
    assert resumed.spikes is not None
    assert resumed.spikes.equals(whole.spikes)
    assert resumed.traces is not None
    assert whole.traces is not None
    np.testing.assert_array_equal(resumed.traces["potential"], whole.traces["potential"])
    np.testing.assert_array_equal(resumed.totals, whole.totals)
    for name, array in whole.state.items():
        np.testing.assert_array_equal(resumed.state[name], array)
    assert (simulate(net, seed=5, **options).bold.values != whole.bold.values).any()
    weaker = network(parameters=parameter_set("asynchronous").changed(background_mean=0.3))
    for other, changed in (
        (net, {"seed": 5}),
        (weaker, {}),
        (net, {"drive": Drive.constant({"Area_0": 0.0}, 4.0, 0.8)}),
    ):
        with pytest.raises(InputError, match="checkpoint: found one of a run of another network"):
            simulate(other, checkpoint=memory, **(options | changed))


def test_a_run_goes_on_from_the_state_of_another() -> None:
    net = network()
    whole = simulate(net, 3.2)
    first = simulate(net, 1.6)
    second = simulate(net, 1.6, state=first.state)
    np.testing.assert_array_equal(second.bold.values, whole.bold.values[2:])
    with pytest.raises(InputError, match="does not fit this network"):
        simulate(network(neurons=9000), 1.6, state=first.state)


def test_going_on_keeps_the_parameters_and_inputs_of_the_network_that_goes_on() -> None:
    driven = simulate(network(), drive=Drive.constant({"Area_0": 0.06}, 1.6, 0.8))
    elsewhere = Drive.constant({"Area_1": 0.0}, 3.2, 0.8)
    after = simulate(network(), drive=elsewhere, state=driven.state).firing_rate[-2:]
    fresh = simulate(network(), drive=elsewhere).firing_rate[-2:]
    here = after["pop_region"] == "Area_0"
    assert float(after[:, here].mean()) < 1.3 * float(fresh[:, here].mean())  # 2.5 times with the old current
    weak = network(parameters=parameter_set("asynchronous").changed(background_mean=0.2))
    assert simulate(weak, 1.6, state=simulate(network(), 0.8).state).mean_rate_hz < 0.5


def test_recorded_spikes_come_in_an_order_that_does_not_follow_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinbrain.engine._COUNT_BYTES", 4 * 4 * 200)  # many chunks, as in a brain of many voxels
    net = network(neurons=3000)
    one, two = (simulate(net, 0.8, members=2, threads=t, record=Record(spikes="all")).spikes for t in (1, 2))
    assert one is not None
    assert one.equals(two)
    assert one.sizes["spike"] > 1000


def test_wiring_of_another_network_and_inputs_without_neurons_are_refused() -> None:
    net = network(neurons=1000)
    for other in (net.scaled(in_degree=400), net.scaled(neurons=1100), network("laminar", neurons=2000)):
        with pytest.raises(InputError, match=r"build it with network.wire\(\)"):
            Simulation(net, wiring=other.wire())
    assert Simulation(net, wiring=net.wire()).wiring.multapses > 0
    grey = [1e6, 1e6, 1.0]
    tiny = Brain.from_subject(Subject.from_arrays(np.ones((3, 3)) - np.eye(3), list("abc"), grey_matter=grey))
    with pytest.raises(InputError, match="input 'c' has no excitatory neuron"):
        Simulation(Network(tiny, neurons=600, in_degree=10), inputs=["c"])


def test_machine_code_is_made_anew_when_any_kernel_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba itself looks at the file of the outermost function only."""
    constants = Simulation(network(neurons=100)).layout.constants
    kind = (False, True, 8)  # stored lists of two weights of 8 bits
    old = deliver.make_advance.__wrapped__(constants, *kind)
    monkeypatch.setattr(deliver, "source_checksum", lambda: 1)
    new = deliver.make_advance.__wrapped__(constants, *kind)
    cells = [[c.cell_contents for c in f.py_func.__closure__] for f in (old, new)]
    assert cells[0] != cells[1]  # part of the key of the cache
    assert (*constants, 1) in cells[1]


def test_a_repetition_time_between_steps_is_said_and_sampled(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="twinbrain.simulate"):
        run = simulate(network(), 5.47, repetition_time_s=1.3675)
    assert run.bold.sizes["time"] == 4
    assert run.bold.attrs["offset_s"] == pytest.approx(0.0005)
    assert "nearest exchange interval" in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", logger="twinbrain.simulate"):
        simulate(network(), 1.44, repetition_time_s=0.72)
    assert "nearest" not in caplog.text


def test_a_default_network_is_asynchronous_at_a_low_rate() -> None:
    person = Subject.from_arrays(np.ones((6, 6)) - np.eye(6), [f"Area_{k}" for k in range(6)])
    run = simulate(Network(Brain.from_subject(person), neurons=6000, seed=1), 4.0, warm_up_s=1.0)
    assert 1.0 < run.mean_rate_hz < 12.0
    assert run.fano() < 10
    synchronous = parameter_set("nsr").changed(g_ampa=0.0045)
    burst = simulate(Network(Brain.from_subject(person), neurons=6000, seed=1, parameters=synchronous), 2.0)
    assert burst.fano() > 100


def test_a_slow_change_of_all_rates_is_no_synchrony() -> None:
    person = Subject.from_arrays(np.ones((3, 3)) - np.eye(3), ["a", "b", "c"])
    run = simulate(Network(Brain.from_subject(person), neurons=300, in_degree=20, seed=1), 0.8)
    assert run.totals is not None
    time_s = np.arange(60_000) / 1000
    rng = np.random.Generator(np.random.Philox(key=1))

    def fano_at(rhythm_hz: float) -> float:  # 100,000 neurons of 4 Hz whose rate moves by a third
        counts = rng.poisson(400 * (1 + 0.3 * np.sin(2 * np.pi * rhythm_hz * time_s)))
        like = xr.DataArray(counts[None], dims=("member", "interval"), attrs=run.totals.attrs)
        return replace(run, totals=like).fano()

    assert fano_at(0.03) < 2
    assert fano_at(8.0) > 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs duration_s"),
        ({"duration_s": 0.1}, "at least one repetition time"),
        ({"duration_s": 8.0, "repetition_time_s": 0.0004}, "shorter than one exchange step"),
        ({"duration_s": 1.6, "dt_ms": 0.3}, "whole multiple"),
        ({"duration_s": 1.6, "exchange_ms": 4.0}, "refractory time"),
        ({"duration_s": 1.6, "threads": -1}, "threads"),
        ({"duration_s": 1.6, "members": 0}, "members"),
        ({"duration_s": 1.6, "record": Record(spikes=[99999])}, "outside 0"),
        ({"drive": Drive.constant({"Thalamus_l": 0.02}, 1.6, 0.8)}, "did you mean 'Thalamus_L'"),
        ({"drive": Drive.constant({"Thalamus_L": 0.02}, 1.6, 0.8), "duration_s": 8.0}, "longer than the drive"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        simulate(network(neurons=100), **options)


def test_an_ensemble_is_stored_as_its_first_member_with_the_spread_of_all() -> None:
    net = network(neurons=2000)
    record = Record(spikes=range(50))
    many = simulate(net, 2.4, members=3, record=record).to_dataset()
    one = simulate(net, 2.4, record=record).to_dataset()
    np.testing.assert_array_equal(many["bold"], one["bold"])
    np.testing.assert_array_equal(many["spike_neuron"], one["spike_neuron"])
    assert (many["bold_spread"] > 0).all()
    assert "bold_spread" not in one
    assert many.attrs["asynchronous"] in (True, False)
