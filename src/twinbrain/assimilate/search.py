"""The search behind :func:`twinbrain.calibrate`: from a mean field to a network that holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import brentq

from twinbrain.assimilate.adjust import excited, shifted, with_nmda_share
from twinbrain.assimilate.linear import propagate
from twinbrain.assimilate.mean_field import FAST_LIMIT, CircuitField, mean_field
from twinbrain.assimilate.trial import JUMP, Answer, Rest, Trials
from twinbrain.assimilate.working_point import WorkingPoint
from twinbrain.errors import InputError
from twinbrain.network import Network
from twinbrain.neuron import ParameterSet

__all__ = ["Centre", "NotHeldError", "Search", "bare"]

Float = NDArray[np.float64]
Int = NDArray[np.int64]

LEVELS = (-0.03, -0.015, 0.0, 0.015, 0.03, 0.05, 0.07, 0.1)  # currents of the f-I table for a few inputs
_FANO_LIMIT = 10.0
_GAIN_TOLERANCE = 0.02
_GAIN_SLACK = 0.06  # how far below the gain asked for a network may be taken that would not hold at it
_RATE_TOLERANCE = 0.015
_PULSE_S, _BACK_S, _BACK_WITHIN = 2.5, 1.5, 0.15
_BEYOND = (1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.6)
_TOO_HIGH_HZ = 40.0
_MANY = 20  # from so many inputs on, levels and pulse shrink by what the network adds itself


def bare(network: Network, parameters: ParameterSet | None = None) -> Network:
    """The same network with all its parameters in its set."""
    chosen = parameters or network.set
    return replace(network, parameters=chosen, long_range_gain=None, conductance_scaling=None)


class NotHeldError(InputError):
    """The network has no low asynchronous state that it would come back to; a lower gain or more NMDA may help."""


class JumpError(NotHeldError):
    """The rate jumps over the target."""


class NoGainError(NotHeldError):
    """No gain can be measured, because the network leaves the low asynchronous state."""


@dataclass
class Centre:
    """Finds the background mean that gives a rate."""

    trials: Trials
    target: float
    tolerance: float = _RATE_TOLERANCE
    ms: int = 2000
    tried: list[tuple[float, float]] = field(default_factory=list)

    def find(self, parameters: ParameterSet, guess: float, slope: float) -> ParameterSet:
        """Return the parameters with their background mean moved; ``slope`` is a first guess of current per Hz."""
        low: tuple[float, float] | None = None
        high: tuple[float, float] | None = None
        by = guess
        neuron = parameters.neuron
        rheobase = neuron.leak_conductance * (neuron.threshold_mv - neuron.leak_potential_mv)
        self.tried = []
        for _ in range(24):
            rate = self.trials.rate(shifted(parameters, by), self.ms)
            self.tried.append((by, rate))
            if abs(rate / self.target - 1) <= self.tolerance:
                return shifted(parameters, by)
            if rate > self.target:
                high = (by, min(rate, _TOO_HIGH_HZ))
            else:
                low = (by, max(rate, 0.01))
            if low is not None and high is not None:
                width = high[0] - low[0]
                if width < 2e-4 * rheobase:
                    if high[1] > JUMP * self.target:
                        mean = parameters.neuron.background_mean + by
                        raise JumpError(
                            f"calibrate: bistable, the rate jumps from {low[1]:.1f} to "
                            f"{dict(self.tried)[high[0]]:.0f} Hz where the background mean passes {mean:.4f}, so that "
                            f"{self.target:g} Hz is no steady state; lower loop_gain or raise g_gaba_a"
                        )
                    return shifted(parameters, by)
                # regula falsi on the logarithm, kept away from the ends
                u = np.log(self.target / low[1]) / np.log(high[1] / low[1])
                by = low[0] + width * float(np.clip(u, 0.1, 0.9))
            else:
                move = float(
                    np.clip((self.target - min(rate, 2 * self.target)) * slope * 1.2, -0.05 * rheobase, 0.05 * rheobase)
                )
                if len(self.tried) > 3:  # the guess was far off
                    move *= 2.0 ** (len(self.tried) - 3)
                by += move
            if abs(by) > 2 * rheobase:
                raise InputError(
                    f"calibrate: {self.target:g} Hz cannot be reached, the rate is still {rate:.2g} Hz at a background "
                    f"mean of {parameters.neuron.background_mean + self.tried[-1][0]:.3g}; check the conductances"
                )
        return shifted(parameters, by)


@dataclass
class Search:
    """The state of one calibration."""

    STAGES = 12

    network: Network
    trials: Trials
    start: ParameterSet
    inputs: Int
    probes: Int
    rate_hz: float
    gain: float
    share: float
    asked: tuple[str, ...]
    history: list[dict[str, Any]] = field(default_factory=list)
    tell: Callable[[int, int], None] = lambda done, total: None
    done: int = 0
    lever: float = 0.0
    parameters: ParameterSet | None = None
    answer: Answer | None = None
    rest: Rest | None = None
    pulse: tuple[Float, Float] | None = None
    fano: float = 0.0

    def stage(self) -> None:
        """Say that a stage is done."""
        self.done = min(self.done + 1, self.STAGES - 1)
        self.tell(self.done, self.STAGES)

    def by_chi(self) -> bool:
        """Whether chi is the screw: the laminar circuit, or shares with more local than long-range excitation."""
        sources = self.network.circuits[1].sources[0]
        return self.network.circuit == "laminar" or sources[0] > sources[2]

    def with_gain(self, gain: float) -> ParameterSet:
        """Return the parameters whose mean field has this loop gain, by conductance or by chi per circuit."""
        small = self.trials.network
        if self.by_chi():
            unit = mean_field(bare(small, replace(self.start, long_range_gain=(1.0, 1.0))), self.rate_hz)
            found = {f.name: f for f in unit}
            for f in unit:
                if f.own_loop >= 1:
                    raise InputError(
                        f"calibrate: unreachable, the {f.name} voxel runs away by itself (its own loop gain is "
                        f"{f.own_loop:.2f}, expected below 1); lower g_ampa and g_nmda or raise g_gaba_a"
                    )
            chi = [
                gain / max(found[name].loop_gain, 1e-9) if name in found else 1.0 for name in ("laminar", "canonical")
            ]
            if max(chi) >= 127:
                raise InputError(
                    f"calibrate: a loop gain of {self.gain:g} cannot be reached, it would take chi = {max(chi):.3g} "
                    "(at most 127); raise g_ampa and g_nmda or the share of long-range synapses"
                )
            return replace(self.start, long_range_gain=(chi[0], chi[1]))

        def excess(factor: float) -> float:
            (f,) = mean_field(bare(small, excited(self.start, factor)), self.rate_hz)
            return (f.loop_gain if f.own_loop < 1 and f.loop_gain > 0 else 1e3) - gain

        if excess(1e-3) > 0 or excess(1e3) < 0:
            raise InputError(
                f"calibrate: a loop gain of {self.gain:g} cannot be reached by any excitatory conductance; give the "
                "circuit long-range synapses (canonical_shares) and a g_ampa or g_nmda above 0"
            )
        return excited(self.start, float(brentq(excess, 1e-3, 1e3, rtol=1e-6)))

    def check_linear(self) -> None:
        """Refuse a network whose fast loop is unstable in the mean field already."""
        first = self.with_gain(self.gain)
        worst = max((f.synchrony() for f in self.fields(first)), key=lambda risk: risk.gain)
        if worst.gain >= 1:
            raise NotHeldError(
                f"calibrate: synchronous, at a loop gain of {self.gain:g} the mean field oscillates at "
                f"{worst.frequency_hz:.0f} Hz (gain of the fast loop {worst.gain:.2f}, expected below {FAST_LIMIT}); "
                + self.way_out()
            )

    def fields(self, parameters: ParameterSet) -> tuple[CircuitField, ...]:
        """Mean field with these parameters."""
        return mean_field(bare(self.trials.network, parameters), self.rate_hz)

    def way_out(self) -> str:
        """Say which share of NMDA would help against synchrony."""
        for share in np.arange(np.floor(self.share * 10 + 1.001) / 10, 0.95, 0.1):
            other = replace(self, start=with_nmda_share(self.start, float(share)))
            if max(f.synchrony().gain for f in self.fields(other.with_gain(self.gain))) < FAST_LIMIT:
                return f"raise nmda_share from {self.share:g} to {max(share, 0.5):.1f} or more, or lower loop_gain"
        return "lower loop_gain, or raise g_gaba_a"

    def settle(self, lever: float) -> None:
        """Set the gain of the mean field, find the background mean, and measure k."""
        parameters = self.with_gain(lever)
        fields = self.fields(parameters)
        if self.parameters is None or not self.history:
            drive = [np.mean(f.threshold_current - f.synaptic_current(self.rate_hz)) for f in fields]
            guess = float(np.mean(drive)) - 0.01 * float(np.mean(drive)) - self.start.neuron.background_mean
        else:
            change = [
                np.mean(new.synaptic_current(self.rate_hz) - old.synaptic_current(self.rate_hz))
                for new, old in zip(fields, self.fields(self.parameters), strict=True)
            ]
            guess = self.parameters.neuron.background_mean - self.start.neuron.background_mean - float(np.mean(change))
        finder = Centre(self.trials, self.rate_hz)
        self.parameters = finder.find(parameters, guess, float(np.mean([f.background_slope for f in fields])))
        self.lever = lever
        self.stage()
        self.fano = self.trials.fano
        if self.fano >= _FANO_LIMIT:
            return
        self.answer = self.trials.step(self.parameters, self.probes, self.rate_hz)
        self.note("step", rate_hz=finder.tried[-1][1], fano=self.fano, trials=len(finder.tried))
        self.stage()

    def refuse(self) -> None:
        """Refuse a network that no gain could be measured in."""
        if self.fano >= _FANO_LIMIT:
            raise NoGainError(
                f"calibrate: synchronous, at a gain of {self.lever:.2f} in the mean field and {self.rate_hz:g} Hz the "
                f"Fano factor of the whole brain's spikes in 4-ms bins is {self.fano:,.0f}, expected below "
                f"{_FANO_LIMIT:g}; {self.way_out()}"
            )
        if self.answer is not None and self.answer.jumped_to_hz:
            raise NoGainError(
                f"calibrate: bistable, at a gain of {self.lever:.2f} in the mean field a current of "
                f"{self.answer.current:g} into {len(self.probes)} regions takes the network from {self.rate_hz:g} to "
                f"{self.answer.jumped_to_hz:.0f} Hz for good; {self.way_back()}"
            )

    def note(self, what: str, **more: Any) -> None:
        """Keep a row of the history."""
        assert self.parameters is not None
        neuron = self.parameters.neuron
        row = {
            "what": what,
            "mean_field_gain": self.lever,
            "background_mean": neuron.background_mean,
            "g_ampa": neuron.g_ampa,
            "g_nmda": neuron.g_nmda,
            "chi_laminar": self.parameters.long_range_gain[0],
            "chi_canonical": self.parameters.long_range_gain[1],
        }
        if self.answer is not None:
            row |= {"loop_gain": self.answer.gain, "error": self.answer.error, "slope": self.answer.slope}
        self.history.append(row | more)

    def approach(self) -> None:
        """Secant on the gain of the mean field to the measured gain."""
        lever = self.gain
        known: list[tuple[float, float]] = []
        reason: InputError | None = None
        fails = np.inf  # the smallest gain of the mean field at which there is no low asynchronous state
        for _ in range(9):
            refusal = self.refused(lever)
            if refusal is not None:
                reason = refusal
                fails = min(fails, lever)
                below = [x for x in known if x[0] < fails]
                best = max(below, default=(0.0, 0.0))
                near = below and best[0] > 0.97 * fails
                if near and best[1] >= self.gain - _GAIN_SLACK:
                    self.settle(best[0])
                    return
                if near or lever < 0.6 * self.gain:
                    raise refusal
                lever = (best[0] + fails) / 2 if below else 0.85 * lever
                continue
            assert self.answer is not None
            k = self.answer.gain
            known.append((lever, k))
            if abs(k - self.gain) <= _GAIN_TOLERANCE:
                return
            if len(known) > 1 and abs(known[-1][1] - known[-2][1]) > 0.01:
                (x0, k0), (x1, k1) = known[-2:]
                step = (self.gain - k1) * (x1 - x0) / (k1 - k0)
            else:
                step = lever * (self.gain / max(k, 0.1) - 1)
            lever = float(np.clip(lever + np.clip(step, -0.25 * lever, 0.25 * lever), 0.05, 3.0))
            if lever >= fails:
                lever = (known[-1][0] + fails) / 2
            if abs(lever - known[-1][0]) < 1e-4:
                break
        if reason is not None and all(k < self.gain for _, k in known):  # what lies above does not hold
            raise reason
        nearest = min((k for _, k in known), key=lambda k: abs(k - self.gain), default=float("nan"))
        raise InputError(
            f"calibrate: a loop gain of {self.gain:g} was not reached, the nearest measured is {nearest:.2f}; ask for "
            "another loop_gain or rate_hz"
        )

    def refused(self, lever: float) -> InputError | None:
        """Settle at a gain of the mean field; return why the network cannot be used there, if so."""
        try:
            self.settle(lever)
            self.refuse()
        except JumpError as jump:
            return jump
        except NoGainError as none:
            return none
        return None

    def verdict(self, members_at_rest: Rest, pulse: tuple[Float, Float]) -> tuple[str, str]:
        """Return how the network ends ("holds", "synchronous", "bistable") and a sentence about it."""
        assert self.answer is not None
        k = f"at a loop gain of {self.answer.gain:.2f}"
        if members_at_rest.jumped:
            return "bistable", (
                f"bistable, {k} {members_at_rest.jumped} of {self.trials.members} starts end in a state of "
                f"{members_at_rest.highest_hz:.0f} Hz instead of {self.rate_hz:g} Hz"
            )
        time, rates = pulse
        before, after = rates[time <= 0].mean(axis=0), rates[time > _PULSE_S + _BACK_S].mean(axis=0)
        if (after > JUMP * before.mean()).any() or abs(after.mean() / before.mean() - 1) > _BACK_WITHIN:
            return "bistable", (
                f"bistable, {k} a strong pulse of {_PULSE_S:g} s leaves the rate at {after.max():.0f} Hz instead of "
                f"{before.mean():.1f} Hz"
            )
        if members_at_rest.fano >= _FANO_LIMIT:
            return "synchronous", (
                f"synchronous, {k} the Fano factor of the whole brain's spikes in 4-ms bins is "
                f"{members_at_rest.fano:,.0f}, expected below {_FANO_LIMIT:g}"
            )
        return "holds", ""

    def try_hold(self, parameters: ParameterSet) -> tuple[str, str]:
        """Measure rest and pulse, keep them, and judge."""
        self.rest = self.trials.rest(parameters)
        if self.rest.jumped:  # no need for a pulse
            self.pulse = (np.zeros(0), np.zeros((0, 0)))
        else:
            self.pulse = self.trials.pulse(parameters, 0.01, self.extra(0.06))
        return self.verdict(self.rest, self.pulse)

    def scale(self) -> float:
        """By how much currents into all inputs shrink, so that many inputs move a region as far as a few do."""
        assert self.answer is not None
        if len(self.inputs) <= _MANY:
            return 1.0
        C, k = self.trials.C, min(self.answer.gain, 0.95)
        x = np.ones(len(C))
        x[np.setdiff1d(np.arange(len(C)), self.inputs)] = propagate(C, k, self.inputs).sum(axis=1)
        return float((x - k * C @ x)[self.inputs].mean())

    def extra(self, current: float) -> Float:
        """A current into the planned inputs, (R,)."""
        h = np.zeros(len(self.trials.C))
        h[self.inputs] = current * self.scale()
        return h

    def hold_or_retreat(self) -> None:
        """Accept the working point, or take 3 % off its gain until it holds; refuse what does not."""
        while True:
            assert self.parameters is not None
            assert self.answer is not None
            end, sentence = self.try_hold(self.parameters)
            self.note(end)
            self.stage()
            if end == "holds":
                return
            if self.answer.gain * 0.97 < self.gain - _GAIN_SLACK:
                out = self.way_out() if end == "synchronous" else self.way_back()
                raise NotHeldError(f"calibrate: {sentence}; {out}")
            self.settle(0.97 * self.lever)
            self.refuse()

    def way_back(self) -> str:
        """Say what helps against a second state."""
        more = f"raise nmda_share from {self.share:g} to 0.8, " if self.share < 0.8 else ""
        return f"{more}lower loop_gain below {self.gain:g}, or raise g_gaba_a"

    def beyond(self) -> pd.DataFrame:
        """Raise the gain until the network breaks."""
        assert self.answer is not None
        assert self.parameters is not None
        kept = (self.parameters, self.answer, self.rest, self.pulse, self.lever)
        rows = []
        for factor in _BEYOND:
            row: dict[str, Any] = {
                "factor": factor,
                "mean_field_gain": factor * kept[4],
                "rate_hz": np.nan,
                "fano": np.nan,
            }
            try:
                parameters = self.with_gain(factor * kept[4])
                old, new = self.fields(kept[0]), self.fields(parameters)
                change = np.mean(
                    [
                        np.mean(b.synaptic_current(self.rate_hz) - a.synaptic_current(self.rate_hz))
                        for a, b in zip(old, new, strict=True)
                    ]
                )
                guess = kept[0].neuron.background_mean - parameters.neuron.background_mean - float(change)
                slope = float(np.mean([f.background_slope for f in new]))
                parameters = Centre(self.trials, self.rate_hz, 0.04).find(parameters, guess, slope)
                row["end"] = self.try_hold(parameters)[0]
                assert self.rest is not None
                row |= {"rate_hz": self.rest.rate_hz, "fano": self.rest.fano}
            except InputError:
                row["end"] = "bistable"  # no steady state at this rate
            rows.append(row)
            self.stage()
            if row["end"] != "holds":
                break
        self.parameters, self.answer, self.rest, self.pulse, self.lever = kept
        return pd.DataFrame(rows, columns=["factor", "mean_field_gain", "rate_hz", "fano", "end"])

    def describe(self, margin: bool) -> WorkingPoint:
        """Measure the f-I table, look for the margin, and put everything together."""
        assert self.answer is not None
        assert self.parameters is not None
        breaks = (
            self.beyond() if margin else pd.DataFrame(columns=["factor", "mean_field_gain", "rate_hz", "fano", "end"])
        )
        assert self.rest is not None
        assert self.pulse is not None
        regions = list(self.trials.network.brain.regions)
        levels = np.array(LEVELS) * self.scale()
        table = self.trials.hold(self.parameters, levels.tolist(), self.inputs, 2, 2400)
        self.stage()
        time, rates = self.pulse
        hz = {"units": "Hz"}
        over = {"region": regions}
        fields = self.fields(self.parameters)
        risk = max((f.synchrony() for f in fields), key=lambda r: r.gain)
        settings = {
            "rate_hz": self.rate_hz,
            "loop_gain": self.gain,
            "nmda_share": self.share,
            "screw": "chi" if self.by_chi() else "excitatory conductance",
            "mean_field_gain": self.lever,
            "explained": self.answer.explained,
            "fast_gain": risk.gain,
            "fast_frequency_hz": risk.frequency_hz,
            "neurons": self.trials.network.neurons,
            "in_degree": float(self.trials.network.in_degree),
            "circuit": self.network.circuit,
            "members": self.trials.members,
            "seed": self.trials.seed,
            "dt_ms": self.trials.dt_ms,
            "measured_rate_hz": self.rest.rate_hz,
            "pulse_highest_hz": float(rates.max()),
            "simulated_s": self.trials.simulated_s,
        }
        settings |= {f"rate_{name}_hz": value for name, value in self.rest.population_hz.items()}
        level = xr.DataArray(levels, dims="level", attrs={"units": "model units of current"})
        return WorkingPoint(
            network=replace(bare(self.network), parameters=self.parameters),
            loop_gain=self.answer.gain,
            loop_gain_error=self.answer.error,
            slope=self.answer.slope,
            rate_hz=xr.DataArray(self.rest.region_hz, dims="region", coords=over, attrs=hz),
            fano=self.rest.fano,
            f_i=xr.DataArray(table, dims=("level", "region"), coords={"level": level, **over}, attrs=hz),
            returns=True,
            inputs=self.asked,
            step=xr.Dataset(
                {
                    "change_hz": ("region", self.answer.change_hz, hz),
                    "fitted_hz": ("region", self.answer.fitted_hz, hz),
                    "probe": ("region", np.isin(np.arange(len(regions)), self.answer.probes)),
                },
                coords=over,
            ),
            pulse=xr.Dataset(
                {"rate_hz": ("time", rates.mean(axis=1), hz), "highest_hz": ("time", rates.max(axis=1), hz)},
                coords={"time": time},
            ),
            breaks=breaks,
            history=pd.DataFrame(self.history),
            settings=settings,
        )
