"""What is measured: every case runs alone, after a warm-up, and says how much work it did."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from twinbrain.bench.bandwidth import model_floor_s
from twinbrain.bench.networks import common_network, even_brain, sample_like_brain
from twinbrain.engine import Simulation
from twinbrain.kernels.wiring import Wiring
from twinbrain.network import Network
from twinbrain.observe import advance_balloon, resting_state

__all__ = ["Case", "measure_balloon", "measure_build", "measure_cases", "measure_run"]


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes
    ----------
    name : str
    neurons, members, synapses : int
    steps : int
        Exchange intervals that were timed; each has ``substeps`` integration steps.
    substeps : int
    rate_hz : float
        Mean rate in the timed stretch.
    wall_s : float
        Wall time of the timed stretch, the best of several.
    floor_s : float
        What memory bandwidth alone would take (see :func:`twinbrain.bench.bandwidth.model_floor_s`); 0 if unknown.

    Examples
    --------
    >>> Case("step", 1000, 1, 100_000, 100, 1, 5.0, 0.002, 0.001).ns_per_update
    20.0
    """

    name: str
    neurons: int
    members: int
    synapses: int
    steps: int
    substeps: int
    rate_hz: float
    wall_s: float
    floor_s: float = 0.0

    @property
    def updates(self) -> float:
        """Neuron updates that were done."""
        return float(self.neurons) * self.members * self.steps * self.substeps

    @property
    def events(self) -> float:
        """Synaptic events that were delivered."""
        return float(self.synapses) * self.members * self.rate_hz * self.steps * 1e-3

    @property
    def ns_per_update(self) -> float:
        """Wall time per neuron update, everything included, ns."""
        return 1e9 * self.wall_s / max(self.updates, 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, derived ones too."""
        derived = {
            "ns_per_update": self.ns_per_update,
            "million_updates_per_s": self.updates / self.wall_s / 1e6,
            "million_events_per_s": self.events / self.wall_s / 1e6,
            "wall_per_biological_s": self.wall_s / (self.steps * 1e-3) if self.steps else float("nan"),
            "times_floor": self.wall_s / self.floor_s if self.floor_s else float("nan"),
        }
        return asdict(self) | derived


def _quietest(repeats: int, work: Callable[[], None]) -> float:
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def measure_build(network: Network, threads: int, name: str = "build") -> tuple[Case, Wiring]:
    """Time the building of the synapses (after a small build that compiles)."""
    network.scaled(neurons=max(2_000, 4 * len(network.brain.voxels))).wire(threads)
    start = time.perf_counter()
    wiring = network.wire(threads)
    seconds = time.perf_counter() - start
    return Case(name, network.neurons, 1, network.synapses, 0, 1, 0.0, seconds), wiring


def measure_run(
    network: Network,
    threads: int,
    *,
    name: str = "run",
    wiring: Wiring | None = None,
    members: int = 1,
    dt_ms: float = 1.0,
    warm_up: int = 200,
    steps: int = 200,
    repeats: int = 3,
    bandwidth: float = 0.0,
) -> Case:
    """Time ``steps`` exchange intervals of a network after ``warm_up``; the fastest of ``repeats`` stretches counts."""
    engine = Simulation(network, members=members, threads=threads, dt_ms=dt_ms, wiring=wiring)
    engine.advance(warm_up)
    best, rate = np.inf, 0.0
    for _ in range(repeats):
        engine.rate()
        seconds = _quietest(1, lambda: engine.advance(steps))
        found = float((engine.rate() * engine.voxel_size).sum() / (engine.voxel_size.sum() * members))
        if seconds < best:
            best, rate = seconds, found
    case = Case(name, network.neurons, members, network.synapses, steps, engine.substeps, rate, best)
    floor = model_floor_s(case.updates, case.events, bandwidth) if bandwidth else 0.0
    return Case(**{**asdict(case), "floor_s": floor})


def measure_balloon(voxels: int = 18_547, steps: int = 200) -> Case:
    """Time the hemodynamics: one voxel for one exchange interval counts as one update.

    Examples
    --------
    >>> measure_balloon(100, 10).updates
    1000.0
    """
    state, counts = resting_state(1, voxels), np.full((steps, voxels), 2, np.int32)
    scale = np.full(voxels, 1e-2)

    def work() -> None:
        advance_balloon(state[0], counts, 1e-3, scale)

    work()
    return Case("balloon", voxels, 1, 0, steps, 1, 0.0, _quietest(3, work))


def measure_cases(neurons: int, threads: int, bandwidth: float, tell: Callable[[str], None]) -> list[Case]:
    """Measure build, run, update alone, laminar circuit, sub-steps, ensemble and BOLD.

    ``run`` is the benchmark network; ``update`` the same without synaptic traffic (its neurons stay below threshold);
    ``laminar`` is a laminar brain with parameters per population, to be compared with ``canonical``, the
    homogeneous network of the same brain and size; ``substeps`` has dt 0.1 ms and exchanges every millisecond;
    ``ensemble`` has 45 members, and ``one`` is one network of as many neurons.
    """
    cases: list[Case] = []

    def done(case: Case) -> None:
        cases.append(case)
        tell(f"{case.name}: {case.wall_s:.3g} s" + (f", {case.ns_per_update:.2f} ns per update" if case.steps else ""))

    network = common_network(neurons)
    build, wiring = measure_build(network, threads)
    done(build)
    done(measure_run(network, threads, wiring=wiring, bandwidth=bandwidth))
    assert not isinstance(network.parameters, str)
    silent = network.scaled(parameters=network.parameters.changed(background_mean=0.0, background_std=0.05))
    done(measure_run(silent, threads, name="update", wiring=wiring, bandwidth=bandwidth))
    done(measure_run(network, threads, name="substeps", wiring=wiring, dt_ms=0.1, steps=50, repeats=2))
    del wiring
    brain = sample_like_brain()
    for name, circuit in (("canonical", "canonical"), ("laminar", "laminar")):
        done(measure_run(Network(brain, neurons=neurons, in_degree=100, circuit=circuit, seed=1), threads, name=name))
    small = max(2_000, neurons // 50)
    even = even_brain(94)
    done(measure_run(Network(even, neurons=small, circuit="canonical", seed=1), threads, name="ensemble", members=45))
    done(measure_run(Network(even, neurons=45 * small, circuit="canonical", seed=1), threads, name="one"))
    done(measure_balloon())
    return cases


def peak_memory_gb() -> float:
    """Return the largest memory this process has held, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
