"""Short simulations that a working point is found with: rest, square-wave step, pulse, held currents.

All of them run on one small network with one wiring and a handful of members that differ in noise; only the parameters
change from trial to trial. Everything is keyed by the seed, so that a trial can be repeated bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from twinbrain.assimilate.linear import propagate
from twinbrain.engine import Simulation
from twinbrain.kernels.wiring import Wiring
from twinbrain.network import Network
from twinbrain.neuron import ParameterSet

__all__ = ["Answer", "Rest", "Trials"]

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_BIN_MS = 4
_LARGEST_GAIN = 0.995
JUMP = 2.5  # a member at more than this multiple of the others' rate has left the low state


@dataclass(frozen=True, eq=False)
class Rest:
    """Spontaneous activity of the members that stayed in the low state.

    Mean rate, rate of every region (R,) and population in Hz, Fano factor of the whole brain's spikes, the number of
    members that jumped, and the highest rate of any member.
    """

    rate_hz: float
    region_hz: Float
    population_hz: dict[str, float]
    fano: float
    jumped: int
    highest_hz: float


@dataclass(frozen=True, eq=False)
class Answer:
    """How the regions answered a small current into a few of them, in the members that stayed in the low state.

    ``jumped_to_hz`` is the rate in which half of the members or more were stuck, or 0; nothing else is measured then.

    ``change_hz`` (R,), ``fitted_hz`` (R,) of the linear network with the gain found, ``gain`` and its standard error
    over members, ``explained`` share of the other regions' answer, ``slope`` current per Hz.
    """

    probes: Int
    current: float
    change_hz: Float
    fitted_hz: Float
    gain: float
    error: float
    explained: float
    slope: float
    jumped_to_hz: float = 0.0


@dataclass(eq=False)
class Trials:
    """A small network that is tried with different parameters.

    Parameters
    ----------
    network : Network
        Its parameters are replaced in every trial.
    C : ndarray (R, R)
        Projection between regions.
    seed, threads, members, dt_ms
    """

    network: Network
    C: Float
    seed: int = 0
    threads: int = 1
    members: int = 8
    dt_ms: float = 1.0
    simulated_s: float = 0.0
    fano: float = 0.0
    _wiring: dict[bool, Wiring] = field(default_factory=dict)

    def start(self, parameters: ParameterSet, members: int | None = None) -> Simulation:
        """Return the network with these parameters, every region an input, settled for 0.6 s."""
        network = self.network.scaled(parameters=parameters)
        kind = network.two_weights
        if kind not in self._wiring:
            self._wiring = {kind: network.wire(self.threads)}
        engine = Simulation(
            network,
            members=members or self.members,
            threads=self.threads,
            inputs=network.brain.regions,
            seed=self.seed,
            dt_ms=self.dt_ms,
            wiring=self._wiring[kind],
        )
        self.advance(engine, 600)
        return engine

    def advance(self, engine: Simulation, ms: int) -> Float:
        """Advance and return the mean rate of every region in Hz, (members, regions)."""
        engine.population_rate()
        engine.advance(ms)
        self.simulated_s += ms / 1000 * len(engine.members)
        return np.asarray(engine.rate() @ engine.network.brain.observation.T, np.float64)

    def rate(self, parameters: ParameterSet, ms: int = 2000) -> float:
        """Return the mean rate of all neurons at rest in Hz, the median over four members; ``fano`` is kept."""
        engine = self.start(parameters, min(4, self.members))
        share = _shares(engine.network)
        engine.population_rate()
        engine.record_totals()
        engine.advance(200)
        early = float(np.median(engine.population_rate(reset=False) @ share))
        if early > 60.0:  # no need to wait for a network that has run away
            return early
        engine.advance(ms - 200)
        self.simulated_s += ms / 1000 * len(engine.members)
        self.fano = float(np.median(_fano(engine)))
        return float(np.median(engine.population_rate() @ share))

    def rest(self, parameters: ParameterSet, ms: int = 4000) -> Rest:
        """Measure rates and synchrony without any current."""
        engine = self.start(parameters)
        engine.record_totals()
        network = engine.network
        engine.population_rate()
        engine.advance(ms)
        self.simulated_s += ms / 1000 * len(engine.members)
        rates = engine.population_rate(reset=False)
        regions = np.asarray(engine.rate() @ network.brain.observation.T, np.float64)
        mean = rates @ _shares(network)
        low = stayed(mean)
        names, size = network.populations["name"].to_numpy(str), network.anatomy.size
        population = {
            str(n): float(rates[low].mean(axis=0)[names == n] @ size[names == n] / max(int(size[names == n].sum()), 1))
            for n in dict.fromkeys(names)
        }
        fano = _fano(engine)
        return Rest(
            rate_hz=float(mean[low].mean()),
            region_hz=np.asarray(regions[low].mean(axis=0), np.float64),
            population_hz=population,
            fano=float(fano[low].mean()),
            jumped=int((~low).sum()),
            highest_hz=float(mean.max()),
        )

    def step(
        self, parameters: ParameterSet, probes: Int, rate_hz: float, current: float = 0.03, cycles: int = 6
    ) -> Answer:
        """Switch a small current into the probes on and off every 2 s, and fit the loop gain to what follows.

        The first 0.6 s of each half are dropped. k minimises the squared difference between the other regions'
        change and ``(1 - k C_nn)^-1 k C_n,in`` times the probes' change.
        """
        engine = self.start(parameters)
        h = np.zeros((self.members, len(self.C)))
        change = np.zeros((self.members, len(self.C)))
        quiet = np.zeros(self.members)
        for _ in range(cycles):
            for on in (1.0, 0.0):
                h[:, probes] = on * current
                engine.set_drive(h)
                engine.advance(600)
                rates = self.advance(engine, 1400)
                change += (2 * on - 1) * rates / cycles
                quiet += (1 - on) * rates.mean(axis=1) / cycles
            stuck = float(np.median(rates.mean(axis=1)))
            if stuck > JUMP * rate_hz:
                return Answer(probes, current, rates[0], rates[0], np.nan, np.nan, np.nan, np.nan, stuck)
        self.simulated_s += 1.2 * cycles * self.members
        change = change[stayed(quiet)]
        mean = change.mean(axis=0)
        gain, explained = fit_gain(self.C, mean, probes)
        error = float("nan")
        if len(change) > 1:  # jackknife over members
            left = [fit_gain(self.C, np.delete(change, m, 0).mean(axis=0), probes)[0] for m in range(len(change))]
            error = float(np.sqrt((len(left) - 1) * np.var(left)))
        fitted = mean.copy()
        rest = np.setdiff1d(np.arange(len(mean)), probes)
        fitted[rest] = propagate(self.C, gain, probes) @ mean[probes]
        needed = (fitted - gain * self.C @ fitted)[probes]
        slope = current * float(needed.sum() / max((needed**2).sum(), 1e-12))
        return Answer(probes, current, mean, fitted, gain, error, explained, slope)

    def pulse(self, parameters: ParameterSet, everywhere: float, extra: Float) -> tuple[Float, Float]:
        """Apply a strong pulse of 2.5 s: return times (s, 0 = onset) and the mean rate of every member, (T, members).

        Parameters
        ----------
        parameters
        everywhere
            Current into every region.
        extra : ndarray (R,)
            Current on top.
        """
        engine = self.start(parameters)
        share = _shares(engine.network)
        rates, times = [], []
        for k in range(-10, 58):  # 100-ms steps: 1 s before, 2.5 s of pulse, 3.3 s after
            if k in (0, 25):
                engine.set_drive(np.asarray((everywhere + extra) if k == 0 else np.zeros(len(extra))))
            engine.population_rate()
            engine.advance(100)
            rates.append(engine.population_rate() @ share)
            times.append((k + 1) / 10)
        self.simulated_s += 6.8 * self.members
        return np.array(times), np.array(rates)

    def hold(self, parameters: ParameterSet, levels: Sequence[float], inputs: Int, repeats: int, ms: int) -> Float:
        """Hold currents in all inputs together; return the rate of every region in Hz, (levels, R)."""
        engine = self.start(parameters, len(levels) * repeats)
        h = np.zeros((len(levels) * repeats, len(self.C)))
        h[:, inputs] = np.repeat(np.asarray(levels, np.float64), repeats)[:, None]
        engine.set_drive(h)
        self.advance(engine, 800)
        rates = self.advance(engine, ms)
        return np.asarray(rates.reshape(len(levels), repeats, -1).mean(axis=1), np.float64)


def fit_gain(C: Float, change: Float, probes: Int) -> tuple[float, float]:
    """Return the loop gain that explains the change of the other regions best, and the share it explains."""
    rest = np.setdiff1d(np.arange(len(change)), probes)

    def misfit(k: float) -> float:
        return float(((propagate(C, k, probes) @ change[probes] - change[rest]) ** 2).sum())

    found = minimize_scalar(misfit, bounds=(0.0, _LARGEST_GAIN), method="bounded", options={"xatol": 1e-4})
    return float(found.x), 1.0 - float(found.fun) / max(float((change[rest] ** 2).sum()), 1e-12)


def stayed(rates: Float) -> NDArray[np.bool_]:
    """Say which members are in the low state: below 2.5 times the median (at least the lower half)."""
    return np.asarray(rates <= JUMP * np.median(rates))


def _fano(engine: Simulation) -> Float:
    """Variance over mean of the network's spike count in bins of 4 ms, of every member."""
    assert engine.totals is not None
    counts = np.concatenate(engine.totals, axis=1)
    counts = counts[:, : counts.shape[1] // _BIN_MS * _BIN_MS]
    binned = counts.reshape(len(counts), -1, _BIN_MS).sum(axis=2)
    return np.asarray(binned.var(axis=1) / np.maximum(binned.mean(axis=1), 1e-9), np.float64)


def _shares(network: Network) -> Float:
    size = network.anatomy.size
    return np.asarray(size / size.sum(), np.float64)
