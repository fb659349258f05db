"""How long activity lasts: the branching ratio, also of a subsample, and the exponent of detrended fluctuation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.analyse._numeric import Floats, generator
from twinbrain.errors import InputError

__all__ = ["BranchingRatio", "branching_ratio", "detrended_fluctuation", "naive_branching_ratio"]

Series = npt.ArrayLike | xr.DataArray

_BOOTSTRAP = 17  # second half of the random key
_MIN_STEPS = 100
_SEGMENTS, _FEW_SEGMENTS = 25, 8
_COLUMNS = 1024
# Autocorrelation whose norm over all lags is below this many standard errors of white noise is none.
_SIGNIFICANT = 4.0


@dataclass(frozen=True, eq=False)
class BranchingRatio:
    """Result of `branching_ratio`.

    Attributes
    ----------
    ratio
        Branching ratio m per step; NaN if the activity shows no memory to measure it by.
    low, high
        95 % interval by resampling segments of the series; NaN if ``ratio`` is, or if the series is too short.
    naive
        Mean of A(t+1) / A(t) over the steps with A(t) > 0, the usual estimate; biased when activity is sampled
        in part or driven from outside.
    timescale_steps
        -1 / ln m, steps.
    amplitude, offset
        b and c of r(k) = b m^k + c.
    regression
        (lag,): slopes r(k) of A(t + k) on A(t), ``lag`` in steps.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).poisson(5.0, size=2000)
    >>> bool(np.isnan(branching_ratio(x).ratio))
    True
    """

    ratio: float
    low: float
    high: float
    naive: float
    timescale_steps: float
    amplitude: float
    offset: float
    regression: xr.DataArray


def branching_ratio(
    activity: Series, *, max_lag: int | None = None, offset: bool = False, bootstrap: int = 200, seed: int = 0
) -> BranchingRatio:
    """Estimate the branching ratio by multistep regression, which subsampling does not bias.

    If every event causes m others on average, the regression slope of A(t + k) on A(t) is r(k) = b m^k; sampling a
    part of the units lowers b only. r(k) is the autocovariance at lag k over the variance, for k = 1 to
    ``max_lag``; b and m are fitted by least squares, m between 0 and 1. The process must be stationary and
    subcritical; slow changes of the input look like a ratio near 1.

    Parameters
    ----------
    activity
        Events per step, or another measure of activity, (time,); only its changes count, so units do not
        matter, except for ``naive``.
    max_lag
        Largest lag k, steps. Default: four times the fitted timescale, found by repeating the fit from 100, at
        least 10 and at most a tenth of the series.
    offset
        Whether a constant c is fitted too, for activity with slow changes of level. Default False.
    bootstrap
        Resamplings for the interval, of 25 segments or as many as are twice ``max_lag`` long, at least 8. Default
        200; 0 for none.
    seed
        Key of the random numbers.

    Returns
    -------
    BranchingRatio

    Raises
    ------
    InputError
        If there are fewer than 100 steps, values are not finite or do not vary, or ``max_lag`` does not fit.

    References
    ----------
    Wilting & Priesemann (2018), Nature Communications 9:2325.

    Examples
    --------
    >>> rng = np.random.Generator(np.random.Philox(key=1))
    >>> a = np.zeros(20_000, dtype=int)
    >>> for t in range(1, len(a)):
    ...     a[t] = rng.poisson(0.9 * a[t - 1] + 10)
    >>> abs(branching_ratio(rng.binomial(a, 0.1)).ratio - 0.9) < 0.03
    True
    """
    values = _checked(activity, _MIN_STEPS)[:, 0]
    steps = len(values)
    most = steps // 10
    if max_lag is not None and (isinstance(max_lag, bool) or not 3 <= max_lag <= steps // 2):
        raise InputError(f"max_lag is {max_lag!r}, expected 3 to {steps // 2} steps, half of the series; leave it out.")
    lags = min(100, most) if max_lag is None else int(max_lag)
    slopes, ratio, b, c = _regression(values, lags, offset)
    for _ in range(6 if max_lag is None else 0):
        wanted = int(np.clip(np.ceil(4.0 * _timescale(ratio)), min(10, most), most))
        if wanted == lags:
            break
        lags = wanted
        slopes, ratio, b, c = _regression(values, lags, offset)
    norm = abs(b) * np.sqrt(np.square(ratio ** np.arange(1, lags + 1)).sum())
    low = high = np.nan
    if b <= 0 or norm < _SIGNIFICANT / np.sqrt(steps):
        ratio = np.nan
    elif bootstrap and (segments := min(_SEGMENTS, steps // (2 * lags))) >= _FEW_SEGMENTS:
        low, high = _interval(values, lags, offset, segments, bootstrap, seed)
    regression = xr.DataArray(
        slopes, dims=("lag",), coords={"lag": np.arange(1, lags + 1)}, attrs={"units": "1", "long_name": "r(k)"}
    )
    return BranchingRatio(
        ratio, low, high, naive_branching_ratio(values), _timescale(ratio), float(b), float(c), regression
    )


def naive_branching_ratio(activity: Series) -> float:
    """Mean of A(t+1) / A(t) over the steps with A(t) > 0; NaN if there is none.

    Inside avalanches of a fully observed network this estimates how many events each event causes. It is wrong
    when a part of the network is observed, when input drives it, or when avalanches overlap: see `branching_ratio`.

    Parameters
    ----------
    activity
        Events per step, (time,), >= 0.

    Returns
    -------
    The mean ratio, no unit.

    References
    ----------
    Beggs & Plenz (2003), J. Neurosci. 23:11167.

    Examples
    --------
    >>> naive_branching_ratio([1, 2, 1, 0])
    0.8333333333333334
    """
    values = np.asarray(activity, dtype=np.float64)
    before, after = values[:-1], values[1:]
    return float(np.mean(after[before > 0] / before[before > 0])) if (before > 0).any() else float("nan")


def detrended_fluctuation(
    series: Series, *, shortest: int = 10, longest: int | None = None, points: int = 16
) -> xr.DataArray:
    """Exponent alpha of detrended fluctuation analysis: how fluctuations grow with the length of the window.

    The cumulative sum of the series is cut into windows of n steps, a straight line is removed from each, and
    F(n) is the root mean square of what remains; alpha is the slope of ln F against ln n over ``points`` lengths
    evenly spaced in the logarithm. 0.5 for noise without memory, above it for lasting correlations, near 1 for 1/f.
    A series with one timescale bends from higher values to 0.5, so look at windows beyond it.

    Parameters
    ----------
    series
        (time,) or (time, region), any units.
    shortest, longest
        Window lengths, steps. Default 10 to a quarter of the series.
    points
        Number of lengths at most. Default 16.

    Returns
    -------
    DataArray of exponents, (region,) with the labels of ``series``, or without dimensions for one series; units "1".

    Raises
    ------
    InputError
        If a series does not vary, is not finite, or is shorter than 4 of the shortest windows and 100 steps.

    References
    ----------
    Peng et al. (1994), Phys. Rev. E 49:1685; Linkenkaer-Hansen et al. (2001), J. Neurosci. 21:1370.

    Examples
    --------
    >>> white = np.random.Generator(np.random.Philox(key=1)).normal(size=20_000)
    >>> round(float(detrended_fluctuation(white)), 1), round(float(detrended_fluctuation(white.cumsum())), 1)
    (0.5, 1.5)
    """
    values = _checked(series, _MIN_STEPS)
    top = len(values) // 4 if longest is None else longest
    if not 4 <= shortest < top <= len(values) // 2:
        raise InputError(
            f"windows of {shortest} to {top} steps do not fit {len(values)} steps, expected 4 <= shortest < longest <= "
            f"{len(values) // 2}; give a longer series or shorter windows."
        )
    lengths = np.unique(np.rint(np.geomspace(shortest, top, points)).astype(int))
    growth = np.empty((len(lengths), values.shape[1]))
    for first in range(0, values.shape[1], _COLUMNS):
        part = values[:, first : first + _COLUMNS]
        profile = np.cumsum((part - part.mean(axis=0)) / part.std(axis=0), axis=0)
        for row, n in enumerate(lengths):
            windows = profile[: len(profile) // n * n].reshape(-1, n, part.shape[1])
            line, _ = np.linalg.qr(np.stack([np.ones(n), np.arange(n) - (n - 1) / 2], axis=1))
            rest = windows - line @ (line.T @ windows)
            growth[row, first : first + _COLUMNS] = 0.5 * np.log(np.square(rest).mean(axis=(0, 1)))
    x = np.log(lengths)
    slope = (x - x.mean()) @ growth / np.square(x - x.mean()).sum()
    if isinstance(series, xr.DataArray) and series.ndim == 2:
        labels = series.transpose("time", ...)
        name = labels.dims[1]
        return xr.DataArray(slope, dims=(name,), coords=labels[name].coords, attrs={"units": "1"})
    return xr.DataArray(slope if np.ndim(series) == 2 else slope[0], attrs={"units": "1"})


def _checked(series: Series, least: int) -> Floats:
    """Series as (time, column), finite and varying."""
    ordered = series.transpose("time", ...) if isinstance(series, xr.DataArray) and "time" in series.dims else series
    values = np.asarray(ordered, dtype=np.float64)
    if values.ndim not in (1, 2) or len(values) < least:
        raise InputError(
            f"the series has shape {values.shape}, expected (time,) or (time, region) with at least {least} steps; "
            "give a longer one."
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"{int((~np.isfinite(values)).sum())} values of the series are not finite, expected numbers everywhere; "
            "interpolate them."
        )
    columns = values.reshape(len(values), -1)
    if (np.ptp(columns, axis=0) <= 1e-10 * np.abs(columns).max(axis=0)).any():
        raise InputError("the series does not vary, expected activity that changes; leave out what is constant.")
    return columns


def _sums(values: Floats, lags: int, segments: int) -> tuple[Floats, Floats]:
    """Sums of x(t) x(t + k) over the t of each segment, (segment, lag) for k = 0 .. lags, and the numbers of terms."""
    x = values - values.mean()
    edges = np.linspace(0, len(x), segments + 1).astype(int)
    width = 1 << int(np.ceil(np.log2(np.diff(edges).max() + 2 * lags + 1)))
    products, terms = np.empty((segments, lags + 1)), np.empty((segments, lags + 1))
    k = np.arange(lags + 1)
    for row, (start, stop) in enumerate(pairwise(edges)):
        ahead = x[start : stop + lags]
        own, further = np.fft.rfft(x[start:stop], width), np.fft.rfft(ahead, width)
        products[row] = np.fft.irfft(np.conj(own) * further, width)[: lags + 1]
        terms[row] = np.minimum(stop, len(x) - k) - start
    return products, np.maximum(terms, 0)


def _regression(values: Floats, lags: int, offset: bool) -> tuple[Floats, float, float, float]:
    products, terms = _sums(values, lags, 1)
    covariance = products[0] / terms[0]
    slopes = np.asarray(covariance[1:] / covariance[0])
    return slopes, *_decay(slopes, offset)


def _decay(slopes: Floats, offset: bool) -> tuple[float, float, float]:
    """Least squares of r(k) = b m^k + c: for each m the best b and c are known, so only m is searched."""
    from scipy.optimize import minimize_scalar

    k = np.arange(1, len(slopes) + 1)

    def solve(log_tau: float) -> tuple[float, float, float]:
        decay = np.exp(-k * np.exp(-log_tau))
        if not offset:
            b = float(decay @ slopes / (decay @ decay))
            return float(np.square(slopes - b * decay).sum()), b, 0.0
        centred = decay - decay.mean()
        b = float(centred @ slopes / max(centred @ centred, 1e-300))
        c = float(slopes.mean() - b * decay.mean())
        return float(np.square(slopes - b * decay - c).sum()), b, c

    grid = np.linspace(np.log(0.2), np.log(20.0 * len(slopes)), 40)
    start = grid[int(np.argmin([solve(g)[0] for g in grid]))]
    step = grid[1] - grid[0]
    best = float(minimize_scalar(lambda g: solve(g)[0], bounds=(start - step, start + step), method="bounded").x)
    _, b, c = solve(best)
    return float(np.exp(-np.exp(-best))), b, c


def _interval(values: Floats, lags: int, offset: bool, segments: int, draws: int, seed: int) -> tuple[float, float]:
    products, terms = _sums(values, lags, segments)
    picks = generator(seed, _BOOTSTRAP).integers(0, segments, size=(draws, segments))
    ratios = []
    for pick in picks:
        covariance = products[pick].sum(axis=0) / terms[pick].sum(axis=0)
        ratios.append(_decay(np.asarray(covariance[1:] / covariance[0]), offset)[0])
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(low), float(high)


def _timescale(ratio: float) -> float:
    return float(-1.0 / np.log(ratio)) if 0 < ratio < 1 else float("nan")
