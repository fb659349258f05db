"""Integration of single neurons against closed forms: order of convergence, post-synaptic potentials, noise, spikes."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numba import njit
from scipy.integrate import solve_ivp

from twinbrain import Brain, InputError, Network, Subject, parameter_set
from twinbrain.engine import Simulation
from twinbrain.kernels.random import derive_key, exp_minus, uniforms_numpy
from twinbrain.kernels.update import ROW_OU, ROW_V
from twinbrain.neuron import CHANNELS, NeuronParameters, reference_step

REST = NeuronParameters(background_mean=0.0, background_std=0.0).changed({"v_gaba_b_mv": -100.0, "tau_gaba_b_ms": 50.0})


def values(p: NeuronParameters, **more: Any) -> dict[str, Any]:
    return {f.name: getattr(p, f.name) for f in fields(p)} | {"current": 0.0} | more


def fresh(n: int = 1, v: float = -70.0) -> dict[str, Any]:
    return {"v": np.full(n, v), "ou": np.zeros(n), "held": np.zeros(n, int), "j": np.zeros((4, n))}


def trace(
    p: dict[str, Any], dt: float, steps: int, arrivals: np.ndarray, integrator: str, v: float = -70.0
) -> np.ndarray:
    """V after every step; the arrivals come before the first."""
    state = fresh(1, v)
    out = []
    for step in range(steps):
        reference_step(state, p, arrivals if step == 0 else arrivals * 0, np.zeros((1, 1)), dt, integrator=integrator)
        out.append(state["v"][0])
    return np.array(out)


def engine_of(
    p: NeuronParameters, neurons: int = 40, brain: int = 2, integrator: str = "euler", **options: Any
) -> Simulation:
    names = [f"r{k}" for k in range(brain)]
    person = Subject.from_arrays(np.ones((brain, brain)) - np.eye(brain), names)
    chosen = parameter_set("nsr").changed(**{f.name: getattr(p, f.name) for f in fields(p)})
    made = Network(Brain.from_subject(person), neurons, in_degree=1, parameters=chosen, integrator=integrator)
    return Simulation(made, **options)


def test_the_exponential_integrator_is_exact_for_a_constant_current() -> None:
    """Step response below threshold: 1e-9 mV in the oracle, 1e-4 mV in the kernel, at any step; Euler is not."""
    p = REST.changed({"background_mean": 0.45})
    t = np.arange(1, 101)
    exact = -70.0 + 18.0 * (1 - np.exp(-t / 20.0))
    oracle = trace(values(p), 1.0, 100, np.zeros((4, 1)), "exponential")
    assert np.abs(oracle - exact).max() <= 1e-9
    assert np.abs(trace(values(p), 1.0, 100, np.zeros((4, 1)), "euler") - exact).max() > 0.1
    engine = engine_of(p, integrator="exponential")
    engine._put(ROW_V, np.full(40, -70.0, np.float32))
    engine.record_voltages([3])
    engine.advance(100)
    kernel = engine.recorded_samples[0][0, :, 0]
    assert np.abs(kernel - exact).max() <= 1e-4


@pytest.mark.parametrize("integrator", ["euler", "exponential"])
def test_both_integrators_are_of_first_order_where_conductances_change(integrator: str) -> None:
    """The conductance of a step is that of its beginning, so halving the step halves the error."""
    p = values(REST.changed({"g_ampa": 0.02, "g_gaba_a": 0.01, "background_mean": 0.3}))
    arrivals = np.array([[1.0], [0.0], [1.0], [0.0]])

    def right(t: float, v: np.ndarray) -> np.ndarray:
        g, h = 0.02 * np.exp(-t / 2.0), 0.01 * np.exp(-t / 20.0)
        return np.asarray((0.025 * (-70.0 - v) - g * v + h * (-70.0 - v) + 0.3) / 0.5)

    exact = solve_ivp(right, (0, 4.0), [-70.0], rtol=1e-12, atol=1e-12).y[0, -1]
    errors = [abs(trace(p, dt, round(4 / dt), arrivals, integrator)[-1] - exact) for dt in (0.04, 0.02, 0.01)]
    for coarse, fine in pairwise(errors):
        assert 1.9 <= coarse / fine <= 2.1


@pytest.mark.parametrize("channel", range(4))
def test_one_postsynaptic_potential(channel: int) -> None:
    """Peak within 0.1 % and its time within one step of the bi-exponential solution, in oracle and kernel."""
    name = CHANNELS[channel]
    dt = 0.005 if name == "ampa" else 0.01
    small = 1e-6  # so that the channel's own pull on the membrane, which the closed form leaves out, is below 0.01 %
    p = REST.changed({f"g_{c}": small if c == name else 0.0 for c in CHANNELS} | {"v_gaba_a_mv": -90.0})
    tau, tau_m = getattr(p, f"tau_{name}_ms"), 20.0
    steps = round(60 / dt)
    arrivals = np.zeros((4, 1))
    arrivals[channel] = 1.0
    t = np.arange(1, steps + 1) * dt
    force = small * (getattr(p, f"v_{name}_mv") + 70.0) / p.capacitance
    if tau == tau_m:
        exact = force * t * np.exp(-t / tau_m)
    else:
        exact = force * tau * tau_m / (tau_m - tau) * (np.exp(-t / tau_m) - np.exp(-t / tau))
    peak = np.abs(exact).argmax()
    v = trace(values(p), dt, steps, arrivals, "exponential") + 70.0
    found = np.abs(v).argmax()
    assert v[found] == pytest.approx(exact[peak], rel=1.5e-3 if name == "ampa" else 1e-3)
    assert abs(found - peak) <= 1
    assert np.abs(trace(values(p), 1.0, 60, arrivals, "euler") + 70.0).max() != pytest.approx(
        abs(exact[peak]), rel=1e-2
    )


@pytest.mark.parametrize("ratio", [0.01, 0.1, 1.0])
def test_noise_of_the_kernel_has_its_variance_at_any_step(ratio: float) -> None:
    """OU over 10^6 neuron-steps and more: variance within 1 %, correlation of successive steps exp(-dt/tau)."""
    tau = 4.0
    p = REST.changed({"background_std": 0.15, "background_tau_ms": tau, "background_mean": -5.0, "refractory_ms": 8.0})
    engine = engine_of(p, neurons=100_000, dt_ms=ratio * tau, exchange_ms=ratio * tau)
    engine.advance(10)
    variance, product, squares = [], 0.0, 0.0
    for _ in range(12):
        before = engine._get(ROW_OU, 0).astype(np.float64)
        engine.advance(1)
        after = engine._get(ROW_OU, 0).astype(np.float64)
        variance.append((after**2).mean())
        product, squares = product + (before * after).mean(), squares + (before**2).mean()
    assert np.mean(variance) == pytest.approx(0.15**2, rel=0.01)
    assert product / squares == pytest.approx(np.exp(-ratio), abs=3 * np.sqrt((1 - np.exp(-2 * ratio)) / 1.2e6) + 1e-6)
    assert abs(np.mean(variance) / 0.16**2 - 1) > 0.01


@pytest.mark.parametrize("integrator", ["euler", "exponential"])
def test_intervals_are_never_shorter_than_the_refractory_time(integrator: str) -> None:
    p = REST.changed({"background_mean": 50.0, "refractory_ms": 3.0})
    engine = engine_of(p, dt_ms=0.1, integrator=integrator)
    engine.record_spikes([0, 20])
    engine.advance(200)
    for neuron in (0, 20):
        steps = np.sort(np.concatenate([s[i == neuron] for _, s, i in engine.recorded_spikes]))
        assert len(steps) > 40
        assert np.diff(steps).min() == 3


def test_the_clock_has_no_end() -> None:
    """At steps beyond 2^24 and 2^31 noise still changes and equals that of the oracle's key."""
    for step in (2**24 + 1, 2**31 + 5):
        engine = engine_of(REST.changed({"background_std": 0.1}))
        engine.step = step
        before = engine.voltage()
        engine.advance(3)
        assert engine.step == step + 3
        assert (engine.voltage() != before).all()


def test_exp_minus_is_exp() -> None:
    @njit
    def call(x, out):
        for i in range(x.shape[0]):
            out[i] = exp_minus(x[i])

    x = np.concatenate([np.linspace(0, 5, 100_001), np.linspace(5, 80, 10_001)]).astype(np.float32)
    out = np.empty_like(x)
    call(x, out)
    assert np.abs(out / np.exp(-x.astype(np.float64)) - 1)[x < 5].max() < 6e-7
    assert np.abs(out / np.exp(-x.astype(np.float64)) - 1).max() < 2e-5  # the rounding of x log2(e)
    assert out[0] == 1.0


def noise_free(neurons: int = 1000) -> tuple[Network, np.ndarray, np.ndarray]:
    """The network of the comparison, the constant current of every neuron, and the initial potential."""
    p = parameter_set("nsr").changed(background_mean=0.0, background_std=0.0, g_ampa=0.0006, g_gaba_a=0.0024)
    person = Subject.from_arrays([[0, 1.0], [1.0, 0]], ["a", "b"])
    net = Network(Brain.from_subject(person), neurons, in_degree=100, parameters=p, seed=3)
    u = uniforms_numpy(np.arange(neurons), 7, derive_key(3, "sample"))
    key = derive_key(0, "initial", 0)
    return net, 0.55 + 0.15 * u, -55.0 + 5.0 * uniforms_numpy(np.arange(neurons), 0, key)


def oracle_spikes(net: Network, current: np.ndarray, v: np.ndarray, steps: int, dt: float) -> np.ndarray:
    n = net.neurons
    targets, sources = net.wire().target_major()
    w = net.wire()
    weight = (w.weights[np.argsort(w.targets, kind="stable")] & 255) / 255.0
    table = net.populations
    sign = table["sign"].to_numpy()[np.repeat(np.arange(len(table)), table["size"])]
    state = fresh(n) | {"v": v.copy()}
    p = values(net.set.neuron, current=current)
    fired, out = np.zeros(n, bool), np.zeros((steps, n), bool)
    for t in range(steps):
        on = fired[sources]
        e, i = (np.bincount(targets[k], weight[k], n) for k in (on & (sign[sources] > 0), on & (sign[sources] < 0)))
        fired = reference_step(state, p, np.stack([e, 0 * e, i, 0 * i]), np.zeros((1, n)), dt)
        out[t] = fired
    return out


def test_without_noise_the_kernel_has_the_spikes_of_the_oracle() -> None:
    """1,000 neurons with currents U(0.55, 0.7), dt 1 ms, 200 ms: float32 has at least 99 % of float64's spikes."""
    net, current, v = noise_free()
    steps = 200
    slow = oracle_spikes(net, current, v, steps, 1.0)
    engine = Simulation(net, inputs=["a", "b"], gamma_shape=np.inf)
    engine._put(engine.layout.row_drive, current.astype(np.float32))
    engine._put(ROW_V, v.astype(np.float32))
    engine.record_spikes(np.arange(net.neurons))
    engine.advance(steps)
    fast = np.zeros_like(slow)
    for _, step, neuron in engine.recorded_spikes:
        fast[step, neuron] = True
    assert slow.sum() > 5000
    assert (slow & fast).sum() >= 0.99 * slow.sum()
    assert fast.sum() == pytest.approx(slow.sum(), rel=0.01)
    assert (slow & np.roll(fast, 1, axis=0)).sum() < 0.5 * slow.sum()


BRIAN = """
import json, sys, numpy as np, brian2 as b
b.prefs.codegen.target = "numpy"
d = np.load(sys.argv[1]); n = len(d["current"]); b.defaultclock.dt = 1 * b.ms
eq = '''dv/dt = (0.025*(-70 - v) + ge*(0 - v) + gi*(-70 - v) + drive)/(0.5*ms) : 1 (unless refractory)
ge : 1
gi : 1
drive : 1'''
g = b.NeuronGroup(n, eq, threshold="v >= -50", reset="v = -55", refractory=2 * b.ms, method="euler")
g.v, g.drive = d["v"], d["current"]
g.run_regularly("ge *= exp(-dt/(2*ms)); gi *= exp(-dt/(20*ms))", when="after_groups")
s = []
for sign, name in ((1, "ge"), (-1, "gi")):
    k = d["sign"][d["source"]] == sign
    syn = b.Synapses(g, g, "w : 1", on_pre=f"{name}_post += w", delay=0 * b.ms)
    syn.connect(i=d["source"][k], j=d["target"][k]); syn.w = d["weight"][k] * (0.0006 if sign > 0 else 0.0024)
    s.append(syn)
m = b.SpikeMonitor(g); net = b.Network(g, m, *s); net.run(200 * b.ms)
np.savez(sys.argv[2], i=np.array(m.i), t=np.round(np.array(m.t / b.ms)).astype(int))
"""


def brian_python() -> str | None:
    peers = os.environ.get("TWINBRAIN_PEERS")
    if peers:
        return peers
    if importlib.util.find_spec("brian2") is not None:
        import sys

        return sys.executable
    return None


@pytest.mark.skipif(
    brian_python() is None, reason="brian2 is not installed and TWINBRAIN_PEERS names no python with it"
)
def test_without_noise_brian2_has_the_spikes_of_the_oracle(tmp_path: Any) -> None:
    """The same 1,000 neurons, wiring and currents in Brian2, float64: spike by spike for 200 ms."""
    net, current, v = noise_free()
    slow = oracle_spikes(net, current, v, 200, 1.0)
    targets, sources = net.wire().target_major()
    w = net.wire()
    table = net.populations
    np.savez(
        tmp_path / "in.npz",
        current=current,
        v=v,
        source=sources,
        target=targets,
        weight=(w.weights[np.argsort(w.targets, kind="stable")] & 255) / 255.0,
        sign=table["sign"].to_numpy()[np.repeat(np.arange(len(table)), table["size"])],
    )
    (tmp_path / "run.py").write_text(BRIAN)
    command = [str(brian_python()), "run.py", "in.npz", "out.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(tmp_path / "out.npz")
    theirs = np.zeros_like(slow)
    theirs[found["t"], found["i"]] = True
    assert slow.sum() > 5000
    np.testing.assert_array_equal(theirs, slow, err_msg=json.dumps([int(theirs.sum()), int(slow.sum())]))


def test_an_unknown_integrator_is_refused() -> None:
    with pytest.raises(InputError, match="integrator must be 'euler' or 'exponential', found 'rk4'"):
        engine_of(REST, integrator="rk4")
