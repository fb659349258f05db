"""Tests of experiments: matched differences, two samples, trends; each with an effect size and its interval.

The units of observation are seeds (wirings with their noise) or people, never volumes or regions, which are not
independent of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from twinbrain.errors import InputError

__all__ = ["Difference", "Trend", "holm", "mean_interval", "paired", "trend", "unpaired"]

Floats = npt.NDArray[np.float64]
_DRAWS = 2_000


@dataclass(frozen=True)
class Difference:
    """A difference of means.

    Attributes
    ----------
    mean, low, high
        Mean difference with its 95 % interval over resampled units (BCa is not used: units are few).
    t, p
        Student's t (paired) or Welch's t, two-sided p; NaN with fewer than 2 units.
    effect, effect_low, effect_high
        Cohen's d: mean over standard deviation, of the differences (paired) or pooled, with Hedges' correction for few
        units, and its 95 % bootstrap interval.
    units
        How many.

    Examples
    --------
    >>> Difference.__dataclass_params__.frozen
    True
    """

    mean: float
    low: float
    high: float
    t: float
    p: float
    effect: float
    effect_low: float
    effect_high: float
    units: int


@dataclass(frozen=True)
class Trend:
    """A monotone trend: Spearman's rho within units, averaged.

    Attributes
    ----------
    rho, low, high
        Mean over units with its 95 % bootstrap interval.
    p
        Two-sided, by exchanging the order of x within every unit.
    units
        How many.

    Examples
    --------
    >>> Trend.__dataclass_params__.frozen
    True
    """

    rho: float
    low: float
    high: float
    p: float
    units: int


def paired(treated: Sequence[float] | Floats, control: Sequence[float] | Floats, *, seed: int = 0) -> Difference:
    """Compare matched pairs: the same seeds under two conditions.

    Parameters
    ----------
    treated, control
        One value per unit, in the same order.
    seed
        Of the bootstrap.

    Raises
    ------
    InputError
        If the lengths differ or there is no unit.

    Examples
    --------
    >>> found = paired([1.0, 2.0, 3.1], [0.5, 1.5, 2.4])
    >>> round(found.mean, 3), found.units, found.p < 0.05
    (0.567, 3, True)
    """
    a, b = np.asarray(treated, np.float64), np.asarray(control, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise InputError(f"paired: found {a.shape} and {b.shape} values, expected as many of each, one per unit")
    x = a - b
    units = len(x)
    drawn = x[_generator(seed, 1).integers(0, units, (_DRAWS, units))]
    low, high = np.quantile(drawn.mean(axis=1), [0.025, 0.975])
    t, p = _one_sample(x)
    effects = _d(drawn.mean(axis=1), drawn.std(axis=1, ddof=1) if units > 1 else np.zeros(_DRAWS), units)
    effect = _d(x.mean(), x.std(ddof=1) if units > 1 else np.zeros(()), units)
    return Difference(float(x.mean()), float(low), float(high), t, p, float(effect), *_span(effects), units)


def unpaired(one: Sequence[float] | Floats, other: Sequence[float] | Floats, *, seed: int = 0) -> Difference:
    """Compare two samples of different units with Welch's t.

    Parameters
    ----------
    one, other
        One value per unit.
    seed
        Of the bootstrap.

    Raises
    ------
    InputError
        If one of them is empty.

    Examples
    --------
    >>> unpaired([1.0, 1.1, 0.9], [2.0, 2.1, 1.9]).mean
    -1.0
    """
    from scipy.stats import ttest_ind

    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if not len(a) or not len(b):
        raise InputError(f"unpaired: found {len(a)} and {len(b)} values, expected at least one of each")
    random = _generator(seed, 2)
    first, second = (x[random.integers(0, len(x), (_DRAWS, len(x)))] for x in (a, b))
    low, high = np.quantile(first.mean(axis=1) - second.mean(axis=1), [0.025, 0.975])
    t = p = float("nan")
    if len(a) > 1 and len(b) > 1 and (np.ptp(a) > 0 or np.ptp(b) > 0):
        t, p = (float(x) for x in ttest_ind(a, b, equal_var=False))
    units = len(a) + len(b)

    def pooled(x: Floats, y: Floats, axis: int | None) -> Floats:
        if len(a) < 2 or len(b) < 2:
            return np.zeros(x.shape[:-1])
        weights = (len(a) - 1, len(b) - 1)
        variance = weights[0] * x.var(axis=axis, ddof=1) + weights[1] * y.var(axis=axis, ddof=1)
        return np.asarray(np.sqrt(variance / sum(weights)))

    effects = _d(first.mean(axis=1) - second.mean(axis=1), pooled(first, second, 1), units - 1)
    effect = _d(a.mean() - b.mean(), pooled(a, b, None), units - 1)
    mean = float(a.mean() - b.mean())
    return Difference(mean, float(low), float(high), t, p, float(effect), *_span(effects), units)


def trend(x: Sequence[float] | Floats, y: Floats, *, seed: int = 0) -> Trend:
    """Test whether y grows or falls with x.

    Parameters
    ----------
    x
        (K,) values of the condition, at least 3.
    y
        (units, K) measured; each unit went through all conditions.
    seed
        Of the permutations.

    Raises
    ------
    InputError
        If the shapes do not fit.

    Examples
    --------
    >>> found = trend([1, 2, 3, 4, 5], np.array([[0, 1, 2, 3, 5.0], [1, 2, 3, 5, 4]]))
    >>> round(found.rho, 2), found.p < 0.01
    (0.95, True)
    """
    from scipy.stats import rankdata

    at, values = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if values.ndim != 2 or values.shape[1] != len(at) or len(at) < 3 or not len(values):
        raise InputError(
            f"trend: found {len(at)} conditions and an array {values.shape}, expected (units, conditions >= 3)"
        )
    position = _standard(rankdata(at)[None])
    ranks = _standard(np.array([rankdata(row) for row in values]))
    each = (ranks * position).mean(axis=1)
    random = _generator(seed, 3)
    shuffled = np.argsort(random.random((_DRAWS, len(values), len(at))), axis=2)
    null = (np.take_along_axis(ranks[None].repeat(_DRAWS, 0), shuffled, axis=2) * position).mean(axis=2).mean(axis=1)
    p = (1 + np.sum(np.abs(null) >= abs(each.mean()) - 1e-12)) / (1 + _DRAWS)
    drawn = each[random.integers(0, len(each), (_DRAWS, len(each)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Trend(float(each.mean()), float(low), float(high), float(p), len(values))


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Return p values corrected for their number (Holm 1979, Scand. J. Stat. 6:65); NaN stays NaN.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(6).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    corrected = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return corrected


def mean_interval(values: Sequence[float] | Floats, *, seed: int = 0) -> tuple[float, float, float]:
    """Return mean, and its 95 % interval over resampled units.

    Examples
    --------
    >>> mean_interval([1.0])
    (1.0, 1.0, 1.0)
    """
    x = np.asarray(values, np.float64)
    x = x[np.isfinite(x)]
    if not len(x):
        return (float("nan"),) * 3
    drawn = x[_generator(seed, 4).integers(0, len(x), (_DRAWS, len(x)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(x.mean()), float(low), float(high)


def _one_sample(x: Floats) -> tuple[float, float]:
    from scipy.stats import t as student

    units = len(x)
    spread = float(x.std(ddof=1)) if units > 1 else 0.0
    if units < 2:
        return float("nan"), float("nan")
    if spread <= 1e-12 * max(float(np.abs(x).max()), 1e-300):  # all equal: no difference at all, or a certain one
        return (0.0, 1.0) if float(np.abs(x).max()) == 0 else (float(np.sign(x[0]) * np.inf), 0.0)
    t = float(x.mean() / (spread / np.sqrt(units)))
    return t, float(2 * student.sf(abs(t), units - 1))


def _d(mean: Floats | float, spread: Floats | float, freedom: int) -> Floats:
    """Cohen's d with Hedges' factor; 0 where nothing differs, not defined where all differ by the same."""
    factor = 1.0 - 3.0 / max(4.0 * (freedom - 1) - 1.0, 4.0) if freedom > 1 else 1.0
    m, s = np.asarray(mean, np.float64), np.asarray(spread, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        varies = s > 1e-9 * np.abs(m)  # a resample of one unit alone differs by rounding
        return np.asarray(np.where(varies, factor * m / s, np.where(m == 0, 0.0, np.nan)))


def _span(effects: Floats) -> tuple[float, float]:
    known = effects[np.isfinite(effects)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)


def _standard(rows: Floats) -> Floats:
    centred = rows - rows.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return np.asarray(centred / np.where(spread > 0, spread, 1.0))


def _generator(seed: int, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, 70 + purpose], np.uint64)))
