"""What is measured on one set of avalanches, alike for data, surrogates and scanned thresholds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.analyse.avalanches import Avalanches
from twinbrain.analyse.branching import branching_ratio, naive_branching_ratio
from twinbrain.analyse.power_law import PowerLaw, fit_power_law
from twinbrain.analyse.scaling import kappa, mean_size_exponent, shape_collapse
from twinbrain.errors import InputError

XminRule = int | Literal["ks"]
Values = dict[str, float]

_LEAST = 30


@dataclass(frozen=True)
class Ranges:
    """What is fitted: chosen on the data, then held for the nulls, so that both are measured alike."""

    size_min: XminRule
    size_max: int | None
    duration_min: XminRule
    duration_max: int | None


NOTES = {
    "avalanches": "number of avalanches",
    "size_exponent": "mean field 1.5",
    "duration_exponent": "mean field 2",
    "crackling_exponent": "of the mean size of avalanches of one duration",
    "crackling_predicted": "(duration exponent - 1) / (size exponent - 1)",
    "crackling_gap": "difference of the two, 0 at criticality",
    "collapse_exponent": "that brings the mean shapes onto one another",
    "collapse_residual": "of the shapes so scaled",
    "timescale_s": "s, of the branching ratio",
    "branching_naive": "biased by subsampling and input",
    "branching_ratio": "1 at criticality",
    "kappa": "1 at criticality",
}


def measure(found: Avalanches, ranges: Ranges) -> Values:
    """All measures that are compared with surrogates; NaN where one is not defined."""
    refuse_few(found)
    size = _exponent(found.sizes, ranges.size_min, ranges.size_max)
    duration = _exponent(found.durations, ranges.duration_min, ranges.duration_max)
    shortest = duration[1]
    gamma, _ = mean_size_exponent(found.sizes, found.durations, shortest=shortest, longest=ranges.duration_max)
    predicted = (duration[0] - 1.0) / (size[0] - 1.0)
    shapes = shape_collapse(found, longest=ranges.duration_max, least=curve_least(found))
    ratio = branching_ratio(found.activity, bootstrap=0) if found.activity.size >= 100 else None
    return {
        "avalanches": float(len(found)),
        "size_exponent": size[0],
        "duration_exponent": duration[0],
        "crackling_exponent": gamma,
        "crackling_predicted": predicted,
        "crackling_gap": abs(gamma - predicted),
        "collapse_exponent": shapes.exponent,
        "collapse_residual": shapes.residual,
        "branching_naive": naive_branching_ratio(found.activity),
        "branching_ratio": np.nan if ratio is None else ratio.ratio,
        "timescale_s": np.nan if ratio is None else ratio.timescale_steps * found.bin_s,
        "kappa": kappa(found.sizes) if int(found.sizes.max()) > int(found.sizes.min()) else np.nan,
    }


def _exponent(values: xr.DataArray, xmin: XminRule, xmax: int | None) -> tuple[float, int]:
    try:
        fit = fit_power_law(values, xmin=xmin, xmax=xmax, compare=False)
    except InputError:
        return np.nan, 1 if xmin == "ks" else int(xmin)
    return fit.exponent, fit.xmin


def intervals(found: Avalanches, size: PowerLaw, duration: PowerLaw) -> dict[str, tuple[float, float]]:
    """95 % intervals from the standard errors; those of derived measures to first order."""
    gamma, error = mean_size_exponent(found.sizes, found.durations, shortest=duration.xmin, longest=duration.xmax)
    below = size.exponent - 1.0
    predicted = (duration.exponent - 1.0) / below
    its = float(np.hypot(duration.error / below, predicted * size.error / below))
    gap, both = abs(gamma - predicted), float(np.hypot(error, its))
    return {
        "size_exponent": _interval(size.exponent, size.error),
        "duration_exponent": _interval(duration.exponent, duration.error),
        "crackling_exponent": _interval(gamma, error),
        "crackling_predicted": _interval(predicted, its),
        "crackling_gap": (max(gap - 1.96 * both, 0.0), gap + 1.96 * both),
    }


def _interval(value: float, error: float) -> tuple[float, float]:
    return value - 1.96 * error, value + 1.96 * error


def curve_least(found: Avalanches) -> int:
    """Avalanches a duration needs for its mean shape: 20, in short recordings 5."""
    return 20 if len(found) >= 1000 else 5


def rank(value: float, null: npt.NDArray[np.float64]) -> float:
    """Two-sided p: share of surrogates, the data among them, as far from the mean of the surrogates."""
    if not np.isfinite(value):
        return float("nan")
    far = np.abs(null - null.mean()) >= abs(value - null.mean())
    return float((1 + far.sum()) / (1 + len(null)))


def or_nothing(attempt: Callable[[], Values]) -> Values:
    """Measures, or none of them where avalanches are too few or the series too short."""
    try:
        return attempt()
    except InputError:
        return {}


def refuse_few(found: Avalanches) -> None:
    """Refuse fewer avalanches than any exponent needs."""
    if len(found) < _LEAST:
        raise InputError(
            f"there are {len(found)} whole avalanches in {found.activity.size} bins ({found.rule}), expected at least "
            f"{_LEAST}; give a longer series or another threshold or bin."
        )
