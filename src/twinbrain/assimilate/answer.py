r"""How a network answers to currents, measured in the range that is needed, and turned round: rates to currents.

``Table`` moves all inputs together, so that the loop through the connectome is part of it: right for a few inputs.
``Field`` is the mean-field balance of every region,

.. math:: h_i = c_i + g(r_i) - w \sum_j C_{ij} r_j ,

with one rising curve g and one coupling w for all regions, fitted to the rates of the network itself under patterns
of currents like those that will be asked for. Around a rate r_0 it is the linear network
:math:`h = a (1 - k C)\, \delta r` with slope :math:`a = g'(r_0)` and loop gain :math:`k = w / a`, but it knows that
neurons answer more steeply at higher rates.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from twinbrain.assimilate.journal import Arrays, Journal
from twinbrain.assimilate.linear import propagate
from twinbrain.assimilate.replay import HIGHEST_HZ
from twinbrain.assimilate.settings import Engine
from twinbrain.assimilate.units import Units
from twinbrain.errors import InputError

__all__ = ["LEVELS", "Build", "Calibrated", "Field", "Table", "answer_ticks", "measure_field", "measure_table"]

_log = logging.getLogger(__name__)

Array = NDArray[np.float64]

Build = Callable[[int, int], Engine]
"""Makes an engine: (key of its wiring, key of its noise) -> one member with one input per unit."""

LEVELS = (-0.03, -0.015, 0.0, 0.015, 0.03, 0.05, 0.07, 0.1)
"""Currents at which a table is taken, model units."""

_MORE_LEVELS = (0.14, 0.2, 0.28)  # only where the target asks for more
_PATTERNS = 12
_START_S, _SETTLE_S, _COUNT_S = 1.5, 0.8, 2.4
_STEP = 0.03  # of the step test
_GRID_HZ = np.linspace(0.0, 80.0, 801)


class Calibrated(Protocol):
    """What is used of a working point found by calibration."""

    @property
    def loop_gain(self) -> float: ...
    @property
    def slope(self) -> float: ...
    @property
    def f_i(self) -> xr.DataArray | None:
        """(level, region) rates with all listed inputs moved together, Hz."""

    def to_dict(self) -> dict[str, Any]: ...


class _Needs(Protocol):
    """What is needed of the settings of the inverse."""

    @property
    def bounds(self) -> tuple[float, float]: ...
    @property
    def repeats(self) -> int: ...


def answer_ticks(few: bool) -> int:
    """Return how many ticks of the progress a measurement takes in each network."""
    return len(LEVELS) if few else 2 + _PATTERNS


@dataclass(frozen=True, eq=False)
class Table:
    """Rates of every unit against one current into all of them, and its inverse.

    Attributes
    ----------
    level
        (L,) currents, model units.
    rate
        (L, unit) Hz, not falling with the level.
    bounds
        Of the current beyond the ends of the table, where it goes on in a straight line.
    figures
        For the record.

    Examples
    --------
    >>> table = Table(np.array([0.0, 0.1]), np.array([[4.0], [14.0]]), (-0.08, 0.3))
    >>> table.current(np.array([[9.0], [24.0], [1000.0]])).round(3).ravel().tolist()
    [0.05, 0.2, 0.3]
    """

    level: Array
    rate: Array
    bounds: tuple[float, float]
    figures: dict[str, float | str] = field(default_factory=dict)

    def current(self, rate_hz: Array) -> Array:
        """Return the current (time, unit) at which each unit has this rate."""
        columns = [self._inverse(j)(rate_hz[:, j]) for j in range(rate_hz.shape[1])]
        return np.clip(np.stack(columns, axis=1), *self.bounds)

    def slope(self, rate_hz: Array) -> Array:
        """Return the current per Hz (time, unit) around each rate."""
        step = 0.5
        return (self.current(rate_hz + step) - self.current(rate_hz - step)) / (2 * step)

    def _inverse(self, unit: int) -> Callable[[Array], Array]:
        rate, level = _strictly_rising(self.rate[:, unit], self.level)
        curve = PchipInterpolator(rate, level, extrapolate=False)
        first, last = ((level[b] - level[a]) / (rate[b] - rate[a]) for a, b in ((0, 1), (-2, -1)))

        def inverse(wanted: Array) -> Array:
            inside = curve(np.clip(wanted, rate[0], rate[-1]))
            return np.asarray(
                inside + first * np.minimum(wanted - rate[0], 0) + last * np.maximum(wanted - rate[-1], 0), np.float64
            )

        return inverse


def _strictly_rising(rate: Array, level: Array) -> tuple[Array, Array]:
    """Pool levels whose rates do not rise (isotonic regression), so that the table can be read backwards."""
    smooth = np.asarray(isotonic_regression(rate).x, np.float64)
    values, which = np.unique(smooth, return_inverse=True)
    if len(values) < 2:
        raise InputError(
            f"inverse: an input has the same rate, {rate[0]:.3g} Hz, at all currents from {level[0]:g} to "
            f"{level[-1]:g}, expected it to rise; check the network's working point"
        )
    return values, np.array([level[which == k].mean() for k in range(len(values))])


def measure_table(
    build: Build,
    units: Units,
    highest_hz: float,
    settings: _Needs,
    keys: list[tuple[int, int]],
    journal: Journal,
    working_point: Calibrated | None,
) -> Table:
    """Take the table of rates, from the working point if its inputs are the same.

    Parameters
    ----------
    build, units, settings, journal
        As in :func:`~twinbrain.assimilate.inverse.run_inverse`.
    highest_hz
        Levels are added until all units reach this rate.
    keys
        Of wiring and noise of the networks that are averaged.
    working_point
        Calibration that may hold the table already.
    """
    figures: dict[str, float | str] = {}
    known = None if working_point is None else working_point.f_i
    if known is not None and set(map(str, known["region"].values)) == set(units.names):
        rates = known.sel(region=list(units.names)).transpose("level", "region")
        figures["table"] = "of the working point"
        return Table(
            np.asarray(known["level"].values, np.float64), _rising(np.asarray(rates.values, np.float64)),
            settings.bounds, figures,
        )  # fmt: skip
    levels = np.array([*LEVELS, *_MORE_LEVELS])
    levels = levels[(levels >= settings.bounds[0]) & (levels <= settings.bounds[1])]
    usual = int((levels <= LEVELS[-1]).sum())
    found = journal.finished("table")
    if found is None:
        runs: list[Array] = []
        begun = journal.unfinished("table") or {}
        begun_runs = [begun[f"run.{k}"] for k in range(len(keys)) if f"run.{k}" in begun]
        for k, key in enumerate(keys):
            if k < len(begun_runs):
                runs.append(begun_runs[k])
                continue
            engine = build(*key)
            rows: list[Array] = []
            for number, level in enumerate(levels):
                if number >= usual and rows[-1].min() >= highest_hz:
                    break
                rows.append(_held(engine, units, np.full(len(units.names), level), number == 0)[0])
            runs.append(np.array(rows))
            journal.tick("table", lambda: {f"run.{i}": run for i, run in enumerate(runs)}, len(LEVELS))
        length = min(len(run) for run in runs)
        journal.finish("table", {"rate": np.mean([run[:length] for run in runs], axis=0)})
        found = journal.finished("table")
        assert found is not None
    rate = _rising(found["rate"])
    _log.info("inverse: rates at %s: %s Hz", levels[: len(rate)].tolist(), rate.mean(axis=1).round(1).tolist())
    figures["table"] = "measured"
    figures["table_highest_hz"] = float(rate[-1].mean())
    return Table(levels[: len(rate)], rate, settings.bounds, figures)


def _rising(rate: Array) -> Array:
    return np.stack([np.asarray(isotonic_regression(c).x, np.float64) for c in rate.T], axis=1)


def _held(engine: Engine, units: Units, h: Array, first: bool) -> tuple[Array, Array]:
    """Hold a current until the rates are settled; return rates of units and of regions, Hz."""
    engine.set_drive(np.asarray(h, np.float64)[None])
    engine.advance(round((_SETTLE_S + (_START_S if first else 0.0)) * engine.steps_per_s))
    engine.rate()
    engine.advance(round(_COUNT_S * engine.steps_per_s))
    rate = np.asarray(engine.rate(), np.float64)[0]
    if not np.isfinite(rate).all() or not 0 < rate.mean() < HIGHEST_HZ:
        raise InputError(
            f"inverse: at currents up to {np.max(h):g} into the inputs the network fires at {rate.mean():.3g} Hz, "
            f"expected above 0 and below {HIGHEST_HZ:g} Hz; calibrate the working point, or lower the bounds"
        )
    return np.asarray(units.own @ rate), np.asarray(units.observation @ rate)


@dataclass(frozen=True, eq=False)
class Field:
    """Mean-field balance of every region, fitted to the network.

    Attributes
    ----------
    units
        The inputs.
    offset
        (unit,) c, current.
    curve
        g on the grid 0 to 80 Hz in steps of 0.1, current.
    coupling
        w, current per Hz.
    projection
        (R, R) C.
    rest_hz
        (R,) rates without current.
    loop_gain
        k, by which free regions follow.
    figures
        For the record.
    """

    units: Units
    offset: Array
    curve: Array
    coupling: float
    projection: Array
    rest_hz: Array
    loop_gain: float
    figures: dict[str, float | str] = field(default_factory=dict)

    def current(self, rate_hz: Array) -> Array:
        """Return the current (time, unit) at which the units have these rates together."""
        everywhere = _all_regions(rate_hz, self.units, self.projection, self.rest_hz, self.loop_gain)
        arriving = (everywhere @ self.projection.T)[:, self.units.region]
        return np.asarray(self.offset + np.interp(rate_hz, _GRID_HZ, self.curve) - self.coupling * arriving, np.float64)

    def slope(self, rate_hz: Array) -> Array:
        """Return the current per Hz (time, unit) around each rate, the other regions held."""
        return np.asarray(np.interp(rate_hz, _GRID_HZ, np.gradient(self.curve, _GRID_HZ)), np.float64)


def _all_regions(rate_hz: Array, units: Units, projection: Array, rest_hz: Array, k: float) -> Array:
    """Rates (time, R) of all regions: those of the inputs, and what the free ones do as they follow."""
    driven, which = np.unique(units.region, return_inverse=True)
    share = np.zeros((len(driven), len(units.region)))
    share[which, np.arange(len(which))] = 1.0
    share /= share.sum(axis=1, keepdims=True)
    with threadpool_limits(limits=1, user_api="blas"):
        moved = rate_hz @ share.T - rest_hz[driven]
        everywhere = np.tile(rest_hz, (len(rate_hz), 1))
        everywhere[:, driven] += moved
        free = np.setdiff1d(np.arange(len(projection)), driven)
        if len(free):
            everywhere[:, free] += moved @ propagate(projection, k, driven).T
    return everywhere


def measure_field(
    build: Build,
    units: Units,
    projection: Array,
    wanted_hz: Array,
    settings: _Needs,
    keys: list[tuple[int, int]],
    journal: Journal,
    working_point: Calibrated | None,
) -> Field:
    """Fit the mean-field balance to the rates of the network under currents like those to come.

    A step test gives rates at rest, a first slope and loop gain, unless a working point brings them. With them the
    currents of a few of the wanted volumes are guessed and held, and the balance is fitted to the rates found.

    Parameters
    ----------
    build, units, projection, settings, journal
        As in :func:`~twinbrain.assimilate.inverse.run_inverse`.
    wanted_hz
        (time, unit) target rates.
    keys
        Of wiring and noise of the networks that are averaged.
    working_point
        Calibrated slope and loop gain.
    """
    probes = _probes(units)
    step = np.zeros(len(units.names))
    step[probes] = _STEP
    held = _patterns(build, units, [np.zeros_like(step), step], keys, journal, "step test")
    rest, moved = held["region"]
    slope, k = _step_fit(moved - rest, step, units, projection)
    if working_point is not None:
        slope, k = float(working_point.slope), float(working_point.loop_gain)
    k = float(np.clip(k, 0.05, 0.97))
    guess = Field(units, np.zeros(len(units.names)), slope * _GRID_HZ, slope * k, projection, rest, k)
    guess = Field(units, -guess.current(rest[None, units.region])[0], guess.curve, guess.coupling, projection, rest, k)
    chosen = wanted_hz[_spread_rows(wanted_hz, _PATTERNS)]
    mild = np.clip(guess.current(chosen), *settings.bounds)
    patterns = _patterns(build, units, list(mild), keys, journal, "patterns")
    return _fit_field(units, np.vstack([np.zeros_like(step), mild]), patterns, held, projection, rest, slope, k)


def _probes(units: Units) -> list[int]:
    """Every eighth unit, two at least: enough to be seen, few enough to leave the rest free."""
    return list(range(0, len(units.names), max(1, min(8, len(units.names) // 2))))


def _spread_rows(values: Array, count: int) -> NDArray[np.int64]:
    """Rows that differ: the middle one of the sorted means first, then always the one farthest from those chosen."""
    chosen = [int(np.argsort(values.mean(axis=1), kind="stable")[len(values) // 2])]
    distance = ((values - values[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < min(count, len(values)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, ((values - values[chosen[-1]]) ** 2).sum(axis=1))
    return np.array(chosen, np.int64)


def _patterns(
    build: Build, units: Units, currents: list[Array], keys: list[tuple[int, int]], journal: Journal, piece: str
) -> Arrays:
    """Mean rates over the networks under each pattern: ``unit`` (pattern, unit) and ``region`` (pattern, R)."""
    found = journal.finished(piece)
    if found is not None:
        return found
    begun = journal.unfinished(piece) or {}
    runs: list[tuple[Array, Array]] = []
    for i, key in enumerate(keys):
        if f"unit.{i}" in begun:
            runs.append((begun[f"unit.{i}"], begun[f"region.{i}"]))
            continue
        engine = build(*key)
        rows = [_held(engine, units, h, number == 0) for number, h in enumerate(currents)]
        runs.append((np.array([r[0] for r in rows]), np.array([r[1] for r in rows])))
        journal.tick(
            piece,
            lambda: {f"{n}.{j}": run[m] for j, run in enumerate(runs) for m, n in enumerate(("unit", "region"))},
            len(currents),
        )
    journal.finish(piece, {n: np.mean([run[m] for run in runs], axis=0) for m, n in enumerate(("unit", "region"))})
    finished = journal.finished(piece)
    assert finished is not None
    return finished


def _step_fit(moved: Array, step: Array, units: Units, projection: Array) -> tuple[float, float]:
    """Slope a and loop gain k by least squares: moved = a^-1 (1 - k C)^-1 step, over all regions."""
    current = np.zeros(len(projection))
    np.add.at(current, units.region, step)
    count = np.bincount(units.region, minlength=len(projection))
    current /= np.maximum(count, 1)
    best = (np.inf, 0.0, 0.0)
    with threadpool_limits(limits=1, user_api="blas"):
        for k in np.arange(0.0, 0.971, 0.01):
            shape = np.linalg.solve(np.eye(len(projection)) - k * projection, current)
            gain = float(shape @ moved / (shape @ shape))
            error = float(((moved - gain * shape) ** 2).sum())
            if error < best[0]:
                best = (error, gain, float(k))
    if not best[1] > 0:
        raise InputError(
            f"inverse: a current of {_STEP:g} into {int((step > 0).sum())} inputs did not raise their rates, expected "
            "about 3 Hz more; check the network's working point"
        )
    return 1.0 / best[1], best[2]


def _fit_field(
    units: Units,
    currents: Array,
    patterns: Arrays,
    held: Arrays,
    projection: Array,
    rest: Array,
    slope: float,
    k: float,
) -> Field:
    """Fit r = f(h + w C r) with one rising parabola f; turn it round into g, and find c of every unit.

    The measured rate is the response, since it carries the noise; w is the value that leaves the smallest residual.
    """
    rate = np.vstack([held["unit"][:1], patterns["unit"]])
    arriving = (np.vstack([held["region"][:1], patterns["region"]]) @ projection.T)[:, units.region]
    target = (rate - rate.mean(axis=0)).ravel()
    best: tuple[float, float, Array] = (np.inf, 0.0, np.zeros(2))
    with threadpool_limits(limits=1, user_api="blas"):
        for w in np.linspace(0.0, 2 * slope, 161):
            total = currents + w * arriving
            columns = np.stack([total, total**2], axis=-1)
            within = (columns - columns.mean(axis=0)).reshape(-1, 2)
            coefficients = np.linalg.lstsq(within, target, rcond=None)[0]
            error = float(((target - within @ coefficients) ** 2).sum())
            if error < best[0]:
                best = (error, float(w), np.asarray(coefficients, np.float64))
    error, w, (b1, b2) = best
    total = currents + w * arriving
    middle = float(np.median(total))
    gain = float(b1 + 2 * b2 * middle)
    if not gain > 0:
        raise InputError(
            "inverse: the rates of the inputs do not rise with their currents, expected a working point that answers; "
            "calibrate the network"
        )
    low, high = np.quantile(total, [0.005, 0.995])
    grid = np.linspace(low - 0.5 * (high - low), high + 2 * (high - low), 2001)
    steepness = np.clip(b1 + 2 * b2 * np.clip(grid, low, high), 0.25 * gain, 4 * gain)
    rates = np.concatenate([[0.0], np.cumsum(0.5 * (steepness[1:] + steepness[:-1]) * np.diff(grid))])
    rates += float((rate - np.interp(total, grid, rates)).mean())
    curve = np.interp(_GRID_HZ, rates, grid)
    below, above = rates[0] > _GRID_HZ, rates[-1] < _GRID_HZ
    curve[below] = grid[0] + (_GRID_HZ[below] - rates[0]) / steepness[0]
    curve[above] = grid[-1] + (_GRID_HZ[above] - rates[-1]) / steepness[-1]
    offset = (currents - (np.interp(rate, _GRID_HZ, curve) - w * arriving)).mean(axis=0)
    slopes = np.interp([rest.mean(), rate.mean()], _GRID_HZ, np.gradient(curve, _GRID_HZ))
    figures: dict[str, float | str] = {
        "slope_at_rest": float(slopes[0]),
        "slope_at_target": float(slopes[1]),
        "loop_gain_at_rest": float(w / slopes[0]),
        "step_test_slope": slope,
        "step_test_loop_gain": k,
        "field_explained": float(1 - error / (target**2).sum()),
    }
    _log.info("inverse: mean-field balance %s", {n: round(float(v), 5) for n, v in figures.items()})
    return Field(units, offset, curve, w, projection, rest, k, figures)
