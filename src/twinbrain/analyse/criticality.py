"""Criticality of activity in one table: exponents, relations between them, branching, each with its null."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.analyse._avalanche_measures import (
    NOTES,
    Ranges,
    Values,
    XminRule,
    curve_least,
    intervals,
    measure,
    or_nothing,
    rank,
    refuse_few,
)
from twinbrain.analyse._numeric import generator, json_ready
from twinbrain.analyse.avalanches import (
    Avalanches,
    BinRule,
    ThresholdRule,
    avalanches_from_bold,
    avalanches_from_counts,
)
from twinbrain.analyse.branching import branching_ratio, detrended_fluctuation
from twinbrain.analyse.nulls import phase_randomise
from twinbrain.analyse.power_law import PowerLaw, fit_power_law
from twinbrain.analyse.scaling import ShapeCollapse, shape_collapse
from twinbrain.errors import InputError

__all__ = ["Criticality", "criticality", "criticality_of_counts"]

_SHUFFLE = 18  # second half of the random key
_COLUMNS = ("value", "low", "high", "null_mean", "null_sd", "p_value", "note")


@dataclass(frozen=True, eq=False, repr=False)
class Criticality:
    """Result of `criticality` and `criticality_of_counts`.

    Attributes
    ----------
    table
        Index ``measure``; columns ``value``, ``low``, ``high`` (95 % interval), ``null_mean``, ``null_sd``,
        ``p_value`` (two-sided, by rank among the nulls, unless ``note`` says otherwise), ``note``. Measures:

        * ``avalanches``: their number;
        * ``size_exponent``, ``duration_exponent``: maximum likelihood (mean field: 1.5 and 2);
        * ``size_vs_exponential``, ``size_vs_lognormal``, ``duration_vs_exponential``, ``duration_vs_lognormal``:
          normalised log-likelihood ratio, positive for the power law; p of its sign;
        * ``crackling_exponent``: gamma of <S>(T) ~ T^gamma; ``crackling_predicted``: (tau_t - 1) / (tau_s - 1);
          ``crackling_gap``: their absolute difference (0 at criticality);
        * ``collapse_exponent``, ``collapse_residual``: of the mean shapes;
        * ``branching_naive``: mean A(t+1) / A(t) over bins with A(t) > 0; ``branching_ratio``: multistep
          regression (1 at criticality); ``timescale_s``: -bin / ln of it;
        * ``kappa``: 1 at criticality;
        * ``dfa_exponent``: detrended fluctuation of the signal (median over regions) or of the counts.
    avalanches
        The avalanches.
    size_fit, duration_fit
        The two power laws with their ranges and rivals.
    collapse
        The mean shapes.
    regression
        (lag,): slopes r(k) of the multistep regression.
    scan
        Dataset over ``threshold`` (standard deviations) of the main measures; None for counts.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=4)).normal(size=(600, 8))
    >>> bold = xr.DataArray(x, dims=("time", "region"), coords={"time": np.arange(600) * 0.72})
    >>> criticality(bold, nulls=0, scan=())
    Criticality(151 avalanches: size exponent 1.87, duration exponent 2.12, kappa 1.05, branching ratio -)
    """

    table: pd.DataFrame
    avalanches: Avalanches = field(repr=False)
    size_fit: PowerLaw
    duration_fit: PowerLaw
    collapse: ShapeCollapse
    regression: xr.DataArray
    scan: xr.Dataset | None

    def to_dict(self) -> dict[str, Any]:
        """Table, ranges of the fits and rules, ready for JSON: plain numbers, text and None."""
        ready: dict[str, Any] = json_ready(
            {
                "measures": self.table.to_dict("index"),
                "rule": self.avalanches.rule,
                "bin_s": self.avalanches.bin_s,
                "size_range": [self.size_fit.xmin, self.size_fit.xmax],
                "duration_range": [self.duration_fit.xmin, self.duration_fit.xmax],
                "size_power_law_plausible": self.size_fit.plausible,
                "duration_power_law_plausible": self.duration_fit.plausible,
            }
        )
        return ready

    def __repr__(self) -> str:
        v = self.table["value"]
        return (
            f"Criticality({v['avalanches']:.0f} avalanches: size exponent {_figure(v['size_exponent'])}, "
            f"duration exponent {_figure(v['duration_exponent'])}, kappa {_figure(v['kappa'])}, "
            f"branching ratio {_figure(v['branching_ratio'])})"
        )


def criticality(
    bold: xr.DataArray,
    *,
    threshold_sd: float = 1.4,
    bin_volumes: BinRule = 1,
    active: ThresholdRule = "zero",
    xmin: XminRule = "ks",
    size_max: int | None = None,
    duration_max: int | None = None,
    scan: Sequence[float] = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0),
    nulls: int = 100,
    null_keeps_fc: bool = True,
    seed: int = 0,
) -> Criticality:
    """Measure how near the avalanches of BOLD come to those of a critical system.

    Parameters
    ----------
    bold
        (time, region), any units, recorded or simulated; ``time`` in s, if the timescale is wanted. Every measure is
        the same for every order and scale of the regions.
    threshold_sd, bin_volumes, active
        As in `avalanches_from_bold`. Default 1.4, 1 and "zero".
    xmin
        Smallest size and duration fitted, as in `fit_power_law`. Default "ks".
    size_max, duration_max
        Largest size and duration fitted. Default none; a run of T volumes and N regions limits both.
    scan
        Thresholds at which the main measures are repeated, standard deviations. Default 1 to 2; () for none.
    nulls
        Phase-randomised surrogates for ``null_mean``, ``null_sd`` and ``p_value``; their ranges of fit are those found
        on the data. Default 100; with thousands of voxels each takes seconds, and 0 leaves them out.
    null_keeps_fc
        Whether the surrogates keep the correlations between regions. Default True: then the null is a stationary linear
        Gaussian signal with all spectra and FC of the data, and what exceeds it is not already in FC.
    seed
        Key of all random numbers.

    Returns
    -------
    Criticality

    Raises
    ------
    InputError
        If the BOLD is too short, constant in a region, or not finite, if there are fewer than 30 avalanches, or
        an option is not known.

    References
    ----------
    Tagliazucchi et al. (2012), Front. Physiol. 3:15; Xu, Feng & Yu (2022), Human Brain Mapping 43:2534; Friedman et al.
    (2012), Phys. Rev. Lett. 108:208102; Shew et al. (2009), J. Neurosci. 29:15595; Wilting & Priesemann (2018), Nature
    Communications 9:2325; difference of the two crackling exponents: Ma et al. (2019), Neuron 104:655.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=4)).normal(size=(600, 8))
    >>> bold = xr.DataArray(x, dims=("time", "region"))
    >>> found = criticality(bold, nulls=10, scan=())
    >>> bool(found.table.loc["kappa", "p_value"] > 0.1)  # noise is not unlike its surrogates
    True
    """
    draws = _number(nulls)
    generator(seed, 0)  # refuse a wrong seed before the work

    def cut(series: xr.DataArray, threshold: float) -> Avalanches:
        return avalanches_from_bold(series, threshold_sd=threshold, bin_volumes=bin_volumes, active=active)

    def null(draw: int) -> Avalanches:
        return cut(phase_randomise(bold, keep_fc=null_keeps_fc, draw=draw, seed=seed), threshold_sd)

    if not np.isfinite(np.asarray(scan, dtype=np.float64)).all():
        raise InputError(f"scan is {scan!r}, expected thresholds in standard deviations; 1 to 2 is usual, () for none.")
    found = cut(bold, threshold_sd)
    ranges = Ranges(xmin, size_max, xmin, duration_max)
    refuse_few(found)
    rows = [or_nothing(partial(_of_scan, cut, bold, at, ranges)) for at in scan]
    names = sorted({name for row in rows for name in row})
    columns = {name: ("threshold", [row.get(name, np.nan) for row in rows]) for name in names}
    dfa = or_nothing(lambda: {"dfa_exponent": float(np.median(detrended_fluctuation(bold)))})
    return _assemble(
        found,
        dfa.get("dfa_exponent", np.nan),
        ranges,
        null,
        draws,
        f"{draws} phase-randomised surrogates, FC {'' if null_keeps_fc else 'not '}kept",
        seed,
        xr.Dataset(columns, coords={"threshold": ("threshold", list(scan), {"units": "standard deviations"})})
        if len(scan)
        else None,
    )


def criticality_of_counts(
    counts: xr.DataArray | npt.NDArray[np.generic],
    *,
    bin_steps: BinRule = 1,
    threshold: ThresholdRule = "zero",
    xmin: XminRule = "ks",
    size_max: int | None = None,
    duration_max: int | None = None,
    nulls: int = 20,
    seed: int = 0,
) -> Criticality:
    """Measure how near avalanches of counts, such as spikes per millisecond, come to those of a critical system.

    Parameters
    ----------
    counts
        Events per step, (time,) or (time, unit), whole numbers >= 0; ``time`` in s, if it has a coordinate.
    bin_steps, threshold
        As in `avalanches_from_counts`. Default 1 and "zero".
    xmin, size_max, duration_max
        As in `criticality`.
    nulls
        Surrogates. With several units each is turned in a circle by its own random time, which keeps all of it but its
        timing to the others; a single series has its steps put in random order. Default 20.
    seed
        Key of all random numbers.

    Returns
    -------
    Criticality

    Raises
    ------
    InputError
        If counts are not whole numbers >= 0, never vary, or give fewer than 30 avalanches, or an option is not known.

    References
    ----------
    As `criticality`; Beggs & Plenz (2003), J. Neurosci. 23:11167.

    Examples
    --------
    >>> rng = np.random.Generator(np.random.Philox(key=1))
    >>> found = criticality_of_counts(rng.poisson(1.0, size=10_000), nulls=0)
    >>> found.size_fit.plausible, found.duration_fit.plausible
    (False, False)
    """
    draws = _number(nulls)
    generator(seed, 0)  # refuse a wrong seed before the work

    def cut(series: xr.DataArray | npt.NDArray[np.generic]) -> Avalanches:
        return avalanches_from_counts(series, bin_steps=bin_steps, threshold=threshold)

    found = cut(counts)
    refuse_few(found)
    ordered = counts.transpose("time", ...).to_numpy() if isinstance(counts, xr.DataArray) else np.asarray(counts)
    units = ordered.reshape(len(ordered), -1)

    def null(draw: int) -> Avalanches:
        rng = generator(seed, _SHUFFLE + (draw << 8))
        if units.shape[1] == 1:
            return cut(rng.permutation(units[:, 0]))
        shifts = rng.integers(0, len(units), size=units.shape[1])
        return cut(np.stack([np.roll(unit, by) for unit, by in zip(units.T, shifts, strict=True)], axis=1))

    dfa = or_nothing(lambda: {"dfa_exponent": float(detrended_fluctuation(found.activity))})
    return _assemble(
        found,
        dfa.get("dfa_exponent", np.nan),
        Ranges(xmin, size_max, xmin, duration_max),
        null,
        draws,
        f"{draws} surrogates, " + ("steps in random order" if units.shape[1] == 1 else "each unit turned in a circle"),
        seed,
        None,
    )


def _assemble(
    found: Avalanches,
    dfa: float,
    ranges: Ranges,
    null: Callable[[int], Avalanches],
    draws: int,
    null_note: str,
    seed: int,
    scan: xr.Dataset | None,
) -> Criticality:
    """Measure the avalanches and their surrogates and write the table."""
    size = fit_power_law(found.sizes, xmin=ranges.size_min, xmax=ranges.size_max)
    duration = fit_power_law(found.durations, xmin=ranges.duration_min, xmax=ranges.duration_max)
    memory = branching_ratio(found.activity, seed=seed) if found.activity.size >= 100 else None
    fixed = Ranges(size.xmin, size.xmax, duration.xmin, duration.xmax)
    values = measure(found, fixed)
    bounds = intervals(found, size, duration)
    if memory is not None:
        bounds["branching_ratio"] = (memory.low, memory.high)
    drawn = [or_nothing(partial(_of_null, null, draw, fixed)) for draw in range(draws)]
    rows: dict[str, tuple[float, float, float, float, float, float, str]] = {}
    for name, value in values.items():
        sample = np.array([one.get(name, np.nan) for one in drawn], dtype=np.float64)
        sample = sample[np.isfinite(sample)]
        enough = len(sample) > 1
        spread = (float(sample.mean()), float(sample.std()), rank(value, sample)) if enough else (np.nan,) * 3
        note = NOTES.get(name, "") + (f"; null: {null_note}" if enough else "")
        rows[name] = (value, *bounds.get(name, (np.nan, np.nan)), *spread, note.removeprefix("; "))
    for which, fit in (("size", size), ("duration", duration)):
        for rival, (ratio, p) in (("exponential", fit.exponential), ("lognormal", fit.lognormal)):
            note = "two-sided p of the sign (Vuong); positive: power law fits better"
            rows[f"{which}_vs_{rival}"] = (ratio, np.nan, np.nan, np.nan, np.nan, p, note)
    note = "0.5 without memory; set by the spectrum, so without null"
    rows["dfa_exponent"] = (dfa, np.nan, np.nan, np.nan, np.nan, np.nan, note)
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(_COLUMNS)).rename_axis("measure")
    regression = xr.DataArray(np.empty(0), dims=("lag",)) if memory is None else memory.regression
    collapse = shape_collapse(found, longest=ranges.duration_max, least=curve_least(found))
    return Criticality(table, found, size, duration, collapse, regression, scan)


def _of_null(null: Callable[[int], Avalanches], draw: int, ranges: Ranges) -> Values:
    return measure(null(draw), ranges)


def _of_scan(
    cut: Callable[[xr.DataArray, float], Avalanches], bold: xr.DataArray, threshold: float, ranges: Ranges
) -> Values:
    return measure(cut(bold, threshold), ranges)


def _number(nulls: int) -> int:
    if isinstance(nulls, bool) or not isinstance(nulls, (int, np.integer)) or nulls < 0:
        raise InputError(f"nulls is {nulls!r}, expected a whole number of surrogates from 0; 100 is usual.")
    return int(nulls)


def _figure(value: float) -> str:
    return "-" if not np.isfinite(value) else f"{value:.2f}"
