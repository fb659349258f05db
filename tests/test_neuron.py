"""Neuron: parameter sets, analytic and published rates, and the fast kernel against the plain NumPy step."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinbrain import Brain, InputError, Network, Subject
from twinbrain.engine import Simulation
from twinbrain.kernels.random import derive_key, normals_numpy, uniforms_numpy
from twinbrain.neuron import (
    CHANNELS,
    NeuronParameters,
    ParameterSet,
    parameter_set,
    parameter_set_names,
    reference_step,
)


def two_regions() -> Brain:
    return Brain.from_subject(Subject.from_arrays([[0, 1.0], [1.0, 0]], ["a", "b"]))


def silent(name: str, **neuron: float) -> ParameterSet:
    """Neurons without synapses."""
    return parameter_set(name).changed(g_ampa=0, g_nmda=0, g_gaba_a=0, g_gaba_b=0, **neuron)


def isolated_rate(p: ParameterSet, dt_ms: float, neurons: int, seconds: float, warm_up_s: float = 0.5) -> float:
    network = Network(two_regions(), neurons=neurons, in_degree=1, parameters=p, seed=3)
    engine = Simulation(network, dt_ms=dt_ms, threads=2, seed=1)
    engine.advance(round(warm_up_s * 1000))
    engine.rate()
    engine.advance(round(seconds * 1000))
    return float(engine.rate().mean())


@pytest.mark.parametrize(("current", "rate"), [(0.55, 36.96), (0.66, 73.82), (1.0, 154.73)])
def test_rate_at_constant_current(current: float, rate: float) -> None:
    p = silent("nsr", background_mean=current, background_std=0.0)
    assert p.neuron.rate_at_constant_current(current) == pytest.approx(rate, abs=0.005)
    assert isolated_rate(p, 0.1, 200, 20.0) == pytest.approx(rate, rel=0.01)
    # at dt 1 ms forward Euler and whole refractory steps cost 8 % at the highest current: documented, not promised
    assert isolated_rate(p, 1.0, 200, 20.0) == pytest.approx(rate, rel=0.09)


EXTRA = (0, 0.02, 0.05, 0.08, 0.1, 0.2, 0.3)
ISOLATED = [
    *[("nsr", 0.1, x, r) for x, r in zip(EXTRA, (3.84, 6.2, 11.5, 18.0, 23.1, 52.5, 82.3), strict=True)],
    ("nsr", 1.0, 0.0, 4.06),
    *[("mu066", 1.0, x, r) for x, r in zip(EXTRA, (1.95, 3.0, 5.1, 7.4, 9.0, 16.6, 23.3), strict=True)],
]  # fmt: skip


@pytest.mark.parametrize(("name", "dt_ms", "extra", "rate"), ISOLATED)
def test_rate_of_isolated_neurons_in_noise(name: str, dt_ms: float, extra: float, rate: float) -> None:
    p = silent(name)
    p = p.changed(background_mean=p.neuron.background_mean + extra)
    n = 10_000 if dt_ms == 1.0 else 3_000
    assert isolated_rate(p, dt_ms, n, 20.0 if dt_ms == 1.0 else 12.0) == pytest.approx(rate, rel=0.03)


def network_rate(p: ParameterSet, dt_ms: float, seed: int, seconds: float = 4.0) -> float:
    """Mean rate of two separate networks of 4,000 E and 1,000 I neurons, 80 of 100 synapses excitatory."""
    p = replace(p, canonical_shares=(0.8, 0.2, 0.0), conductance_scaling="none")
    network = Network(two_regions(), neurons=10_000, in_degree=100, parameters=p, seed=seed)
    engine = Simulation(network, dt_ms=dt_ms, threads=2, seed=5)
    engine.advance(1000)
    engine.rate()
    engine.advance(round(seconds * 1000))
    return float(engine.rate().mean())


NSR = parameter_set("nsr")


@pytest.mark.parametrize(
    ("p", "dt_ms", "rate"),
    [
        (NSR, 0.1, 2.0),
        (NSR.changed(g_ampa=0.002, g_nmda=2.5e-5, g_gaba_a=0.0091), 0.1, 2.1),
        (parameter_set("open"), 0.1, 1.9),
        (NSR, 1.0, 2.4),
    ],
)
def test_rate_of_a_random_network(p: ParameterSet, dt_ms: float, rate: float) -> None:
    assert network_rate(p, dt_ms, seed=2) == pytest.approx(rate, rel=0.10)


@pytest.mark.slow
def test_four_channel_network_has_no_single_rate() -> None:
    """Published: 20.7 Hz, one network. Wirings differ by 2.5 Hz (sd), slow inhibition keeping each at its own rate.

    So no single network can be asked for 20.7 within 10 %; what can be asked is that 20.7 is one of them (24 wirings
    gave 15.6 +- 2.5, at most 19.4) and that the same wiring keeps its rate.
    """
    rates = [network_rate(parameter_set("mu066"), 1.0, seed) for seed in range(4)]
    assert 10 < min(rates) < max(rates) < 25
    assert abs(20.7 - np.mean(rates)) < 3 * 2.5
    assert network_rate(parameter_set("mu066"), 1.0, 0, seconds=8.0) == pytest.approx(rates[0], rel=0.05)


def test_refractory_time_bounds_the_interval() -> None:
    """At any current two spikes are at least t_ref apart, and the bound is reached."""
    p = silent("nsr", background_mean=500.0, background_std=0.0)
    for dt in (1.0, 0.5, 0.1):
        assert isolated_rate(p, dt, 100, 2.0) == pytest.approx(500.0)


def reference_run(
    network: Network, steps: int, dt_ms: float, substeps: int, seed: int, noise_shift: int = 0
) -> np.ndarray:
    """Run the oracle in float64 on the network's own wiring and noise; returns spikes (steps, N)."""
    n, table = network.neurons, network.populations
    population = np.repeat(np.arange(len(table)), table["size"])
    targets, sources = network.wire().target_major()
    wiring = network.wire()
    order = np.argsort(wiring.targets, kind="stable")
    w0 = (wiring.weights[order] & 255) / 255.0
    w1 = (wiring.weights[order] >> 8) / 255.0 if network.two_weights else w0
    sign = table["sign"].to_numpy()[population]
    voxel = table["voxel"].to_numpy()[population]
    gain = np.where(voxel[targets] == voxel[sources], 1.0, network.chi[population[targets]])
    p = {f.name: network.parameter(f.name)[population] for f in fields(NeuronParameters)} | {"current": 0.0}
    ids = np.arange(n)
    key = derive_key(seed, "initial", 0)
    low, high = p["reset_mv"], p["threshold_mv"]
    state = {
        "v": low + (high - low) * uniforms_numpy(ids, 0, key),
        "ou": p["background_std"] * normals_numpy(ids, 1, key),
        "held": np.zeros(n, int),
        "j": np.zeros((4, n)),
    }
    noise_key = derive_key(seed, "noise", 0)
    fired = np.zeros(n, bool)
    out = np.zeros((steps, n), bool)
    for t in range(steps):
        active = fired[sources]
        e, i = active & (sign[sources] > 0), active & (sign[sources] < 0)
        arrivals = np.stack(
            [
                np.bincount(targets[e], (w0 * gain)[e], n),
                np.bincount(targets[e], ((w1 if network.live[0] and network.live[1] else w0) * gain)[e], n),
                np.bincount(targets[i], w0[i], n),
                np.bincount(targets[i], (w1 if network.live[2] and network.live[3] else w0)[i], n),
            ]
        )
        noise = np.stack([normals_numpy(ids, t * substeps + m + noise_shift, noise_key) for m in range(substeps)])
        fired = reference_step(state, p, arrivals, noise, dt_ms, substeps)
        out[t] = fired
    return out


def engine_run(network: Network, steps: int, dt_ms: float, seed: int) -> np.ndarray:
    engine = Simulation(network, dt_ms=dt_ms, seed=seed)
    engine.record_spikes(np.arange(network.neurons))
    engine.advance(steps)
    out = np.zeros((steps, network.neurons), bool)
    for _, step, neuron in engine.recorded_spikes:
        out[step, neuron] = True
    return out


@pytest.mark.parametrize("dt_ms", [1.0, 0.1])
@pytest.mark.parametrize("name", parameter_set_names())
def test_kernel_equals_the_oracle(name: str, dt_ms: float) -> None:
    """Float32 and float64 part after some hundred ms (chaos), so: the same spikes for 60 ms, all but a few."""
    circuit = "laminar" if name in ("mu066", "asynchronous_laminar") else "canonical"
    person = Subject.from_arrays(
        [[0, 1.0, 2.0], [1.0, 0, 1.0], [2.0, 1.0, 0]], ["a", "b", "Thalamus_L"], grey_matter=[2.0, 1.0, 1.0]
    )
    p = parameter_set(name).changed(background_mean=parameter_set(name).neuron.background_mean * 1.15)
    network = Network(Brain.from_subject(person), neurons=900, in_degree=40, circuit=circuit, parameters=p, seed=4)
    steps, substeps = 60, round(1 / dt_ms)
    fast = engine_run(network, steps, dt_ms, seed=6)
    slow = reference_run(network, steps, dt_ms, substeps, seed=6)
    control = reference_run(network, steps, dt_ms, substeps, seed=6, noise_shift=1)
    assert slow.sum() > 300
    assert (fast != slow).sum() <= 0.01 * slow.sum()
    assert (fast != control).sum() > 0.3 * slow.sum()


def test_a_zero_conductance_costs_no_row_and_a_gain_of_one_no_port() -> None:
    brain = two_regions()
    plain = Simulation(Network(brain, neurons=100, in_degree=5, parameters="nsr")).layout
    assert plain.n_rows == 2 + 2
    assert plain.n_ports == 2
    full = Simulation(Network(brain, neurons=100, in_degree=5, parameters="mu066", long_range_gain=1.5)).layout
    assert full.n_rows == 2 + 4
    assert full.n_ports == 3


def test_psp_of_every_channel() -> None:
    """One spike through one receptor: the current rises at arrival and decays with the receptor's time constant."""
    for k, channel in enumerate(CHANNELS):
        p = NeuronParameters(background_mean=0.0, background_std=0.0).changed(
            {f"g_{c}": 0.001 if c == channel else 0.0 for c in CHANNELS}
            | {"v_gaba_b_mv": -100.0, "tau_gaba_b_ms": 50.0}
        )
        values = {f.name: getattr(p, f.name) for f in fields(p)} | {"current": 0.0}
        state = {"v": np.full(1, -70.0), "ou": np.zeros(1), "held": np.zeros(1, int), "j": np.zeros((4, 1))}
        arrivals = np.zeros((4, 1))
        arrivals[k] = 1.0
        v = []
        for step in range(3000):
            reference_step(state, values, arrivals if step == 0 else arrivals * 0, np.zeros((1, 1)), 0.02)
            v.append(state["v"][0])
        t = np.arange(1, 3001) * 0.02
        tau_m, tau = p.capacitance / p.leak_conductance, values[f"tau_{channel}_ms"]
        force = 0.001 * (values[f"v_{channel}_mv"] + 70.0) / p.capacitance
        if tau == tau_m:
            exact = -70.0 + force * t * np.exp(-t / tau_m)
        else:
            exact = -70.0 + force * tau * tau_m / (tau_m - tau) * (np.exp(-t / tau_m) - np.exp(-t / tau))
        size = np.abs(exact + 70).max()
        # the conductance's own pull on the membrane (order 0.1 %) and Euler are all that separates them
        assert np.abs(np.array(v) - exact).max() <= 0.02 * size + 1e-12


@pytest.mark.parametrize("ratio", [0.01, 0.1, 1.0])
def test_ou_variance_does_not_depend_on_the_step(ratio: float) -> None:
    tau = 4.0
    p = NeuronParameters(background_std=0.15, background_tau_ms=tau)
    values = {f.name: getattr(p, f.name) for f in fields(p)} | {"current": -100.0}
    n, dt = 20_000, ratio * tau
    rng = np.random.Generator(np.random.Philox(key=5))
    state = {
        "v": np.full(n, -70.0),
        "ou": 0.15 * rng.standard_normal(n),
        "held": np.zeros(n, int),
        "j": np.zeros((4, n)),
    }
    before = state["ou"].copy()
    reference_step(state, values, np.zeros((4, n)), rng.standard_normal((1, n)), dt)
    assert np.corrcoef(before, state["ou"])[0, 1] == pytest.approx(np.exp(-ratio), abs=3 / np.sqrt(n))
    for _ in range(50):
        reference_step(state, values, np.zeros((4, n)), rng.standard_normal((1, n)), dt)
    assert state["ou"].std() == pytest.approx(0.15, rel=3 / np.sqrt(2 * n) + 0.005)


def test_a_silent_neuron_stays_at_rest_exactly() -> None:
    p = silent("nsr", background_mean=0.0, background_std=0.0)
    network = Network(two_regions(), neurons=50, in_degree=1, parameters=p)
    engine = Simulation(network)
    engine.advance(5000)
    rest = engine.voltage().copy()
    engine.advance(20_000)
    np.testing.assert_array_equal(engine.voltage(), rest)
    np.testing.assert_allclose(rest, -70.0, atol=1e-4)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'asynchronos' is not known; did you mean 'asynchronous'\?"):
        parameter_set("asynchronos")
    with pytest.raises(InputError, match=r"'g_ampha' is not a neuron parameter; did you mean 'g_ampa'"):
        NeuronParameters().changed({"g_ampha": 1.0})
    with pytest.raises(InputError, match="threshold"):
        NeuronParameters(threshold_mv=-80)
    with pytest.raises(InputError, match="capacitance"):
        NeuronParameters(capacitance=0)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.2, 2.0), st.floats(1.0, 10.0))
def test_analytic_rate_never_exceeds_one_per_refractory_time(current: float, refractory: float) -> None:
    rate = NeuronParameters(refractory_ms=refractory).rate_at_constant_current(current)
    assert 0 <= rate <= 1000 / refractory


def test_kernel_equals_the_oracle_with_wide_sums() -> None:
    """Above 257 synapses per neuron the weights of one step can exceed 16 bits."""
    p = parameter_set("mu066").changed(background_mean=0.76)
    network = Network(two_regions(), neurons=700, in_degree=300, parameters=p, conductance_scaling="in_degree", seed=4)
    assert Simulation(network).layout.wide
    assert not Simulation(network.scaled(in_degree=257)).layout.wide
    fast, slow = engine_run(network, 60, 1.0, seed=6), reference_run(network, 60, 1.0, 1, seed=6)
    assert slow.sum() > 100
    assert (fast != slow).sum() <= 0.01 * slow.sum()
