"""A short trial of the network itself: what the whole run will take on the machine at hand."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from twinbrain.engine import Simulation
from twinbrain.estimate import Estimate
from twinbrain.links import Links, way_of
from twinbrain.network import Network
from twinbrain.parallel import check_threads

__all__ = ["trial"]

_LOG = logging.getLogger(__name__)

#: Neurons of the largest trial, and the steps before anything is timed (the start is not typical).
_LARGEST, _SETTLE, _TIMED_S = 300_000, 100, 0.25
#: Neurons per voxel from which a smaller network fires like a larger one, and the rate expected otherwise.
_ALIKE, _EXPECTED_HZ = 100, 4.0
#: Bytes of an event in flight, of two steps, and as much again for the start, when more neurons fire.
_EVENT_BYTES = 32
#: Memory that building needs on top of what is kept, as a share of the stored synapses.
_BUILD_EXTRA = 0.5


@dataclass(frozen=True)
class _Point:
    """One trial size: wall time of a step without spikes, of a synaptic event, build time, bytes of all arrays."""

    neurons: int
    silent_s: float
    event_s: float
    build_s: float
    synapses: int
    wiring_bytes: int
    other_bytes: int
    rate_hz: float


def trial(
    network: Network,
    duration_s: float,
    *,
    members: int = 1,
    threads: int = 1,
    dt_ms: float = 1.0,
    rate_hz: float | None = None,
    wiring: str = "auto",
) -> Estimate:
    """Estimate memory and wall time from a short trial of the same network with fewer neurons.

    Three sizes are built. Each runs some hundred steps without background current, so that nothing fires, and some
    with it: what a neuron costs and what a synaptic event costs. The smallest, of almost no neurons, tells what every
    step costs besides (voxels, BOLD, threads); how much more a neuron and an event cost in a larger network, where
    memory is farther away, is carried on as the logarithm of the size. Memory is the bytes of all arrays, a straight
    line in the number of neurons, on top of what this process holds. A network that is not larger than the largest
    trial is measured itself. Takes some seconds, longer the first time on a machine, when kernels are compiled.

    Parameters
    ----------
    network
    duration_s
        Simulated time of the run, warm-up included.
    members, threads, dt_ms, wiring
        Of the run, as for :func:`twinbrain.simulate`.
    rate_hz
        Mean rate to expect. Default: that of the largest trial if it has at least 100 neurons per voxel; a network
        with fewer has other dynamics than the one it stands for, and 4 Hz is taken.

    Examples
    --------
    >>> from twinbrain import Brain, Network, Subject
    >>> person = Subject.from_arrays([[0, 1.0], [1.0, 0]], ["a", "b"])
    >>> trial(Network(Brain.from_subject(person), neurons=2000, in_degree=20), 10.0).synapses
    40000
    """
    threads = check_threads(threads)
    few = min(members, 2 * threads)
    way, _ = way_of(network, wiring, members, threads, 32 * members * network.neurons)
    points = [_measure(network, n, few, threads, dt_ms, way) for n in _trial_sizes(network)]
    small, large = points[0], points[-1]
    middle = points[-2] if len(points) > 1 else large
    n = network.neurons
    if rate_hz is None:
        like = large.neurons == n or large.neurons >= _ALIKE * len(network.brain.voxels)
        rate_hz = large.rate_hz if like else _EXPECTED_HZ
    per_neuron = (middle.silent_s - small.silent_s) / max(middle.neurons - small.neurons, 1)
    base = max(small.silent_s - max(per_neuron, 0.0) * small.neurons, 0.0)
    update = _at(n, [(p.neurons, max(p.silent_s - base, 0.05 * p.silent_s) / p.neurons) for p in (middle, large)])
    event = _at(n, [(p.neurons, p.event_s) for p in (middle, large)])
    step = base + update * n + event * network.synapses * rate_hz * 1e-3 * few
    held = psutil.Process().memory_info().rss
    lists = _line(small.neurons, large.neurons, small.wiring_bytes, large.wiring_bytes, n)
    flying = _EVENT_BYTES * network.synapses * max(rate_hz, _EXPECTED_HZ) * 1e-3 * few
    other = flying + _line(small.neurons, large.neurons, small.other_bytes, large.other_bytes, n) * members / few
    return Estimate(
        neurons=n,
        synapses=network.synapses,
        members=members,
        build_memory_gb=(held + (1 + _BUILD_EXTRA * (way == "stored")) * lists) / 1e9,
        memory_gb=(held + lists + other) / 1e9,
        build_s=_line(small.neurons, large.neurons, small.build_s, large.build_s, n),
        run_s=step * duration_s * 1000.0 * members / few,
        profile=f"measured with {large.neurons:,} neurons on {threads} thread{'s' if threads > 1 else ''}, "
        f"for {rate_hz:.1f} Hz",
    )


def _at(neurons: int, points: list[tuple[int, float]]) -> float:
    """Carry a cost on to a larger network, as the logarithm of the size; at most three times the last."""
    (n0, c0), (n1, c1) = points
    if n1 == n0 or neurons == n1:
        return c1
    growth = max(c1 - c0, 0.0) / float(np.log(n1 / n0))
    return min(c1 + growth * float(np.log(neurons / n1)), 3 * c1)


def _trial_sizes(network: Network) -> list[int]:
    voxels = len(network.brain.voxels)
    largest = min(network.neurons, max(_LARGEST, 20 * voxels))
    smallest = min(network.neurons, max(2 * voxels, 1000))
    sizes = {smallest, max(smallest, largest // 4), largest}
    return sorted(sizes)


def _line(x0: float, x1: float, y0: float, y1: float, x: float) -> float:
    return y1 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def _measure(network: Network, neurons: int, members: int, threads: int, dt_ms: float, way: str) -> _Point:
    net = network if neurons == network.neurons else network.scaled(neurons=neurons)
    start = time.perf_counter()
    wiring = net.wire(threads) if way == "stored" else net.slot_map(threads)
    build = time.perf_counter() - start
    silent = net.scaled(parameters=net.set.changed(background_mean=0.0, background_std=0.0))
    resting = Simulation(silent, members=members, threads=threads, dt_ms=dt_ms, wiring=wiring)
    silent_s, _ = _step_s(resting)
    del resting
    engine = Simulation(net, members=members, threads=threads, dt_ms=dt_ms, wiring=wiring)
    step_s, rate = _step_s(engine)
    events = net.synapses * members * rate * engine.exchange_ms * 1e-3
    arrays = _array_bytes(engine), _array_bytes(wiring)
    point = _Point(
        neurons=neurons,
        silent_s=silent_s,
        event_s=max(step_s - silent_s, 0.0) / events if events else 0.0,
        build_s=build,
        synapses=net.synapses,
        wiring_bytes=arrays[1],
        other_bytes=arrays[0] - arrays[1],
        rate_hz=rate,
    )
    _LOG.debug("trial: %s", point)
    return point


def _step_s(engine: Simulation) -> tuple[float, float]:
    """Return wall time of an exchange interval, the best of some, and the mean rate meanwhile."""
    engine.advance(_SETTLE)
    engine.rate()
    best, steps, spent = np.inf, 20, 0.0
    while spent < _TIMED_S:
        start = time.perf_counter()
        engine.advance(steps)
        seconds = time.perf_counter() - start
        best, spent = min(best, seconds / steps), spent + seconds
        steps = min(400, max(20, int(0.1 / best)))
    rate = float((engine.rate() * engine.voxel_size).sum() / (engine.voxel_size.sum() * len(engine.members)))
    return best, rate


def _array_bytes(thing: Any, seen: set[int] | None = None) -> int:
    """Return the bytes of all arrays that an object holds, each memory once; room for events is not taken up yet."""
    seen = set() if seen is None else seen
    if isinstance(thing, Links):
        return _array_bytes({k: v for k, v in vars(thing).items() if k != "arenas"}, seen)
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        array: NDArray[Any] = thing
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if owner is not array and id(owner) in seen:
            return 0
        seen.add(id(owner))
        return int(owner.nbytes)
    if isinstance(thing, dict):
        return sum(_array_bytes(v, seen) for v in thing.values())
    if isinstance(thing, (list, tuple)):
        return sum(_array_bytes(v, seen) for v in thing)
    if hasattr(thing, "__dict__") and type(thing).__module__.startswith("twinbrain"):
        return _array_bytes(vars(thing), seen)
    return 0
