"""Scaling of avalanches: sizes against a critical reference, against durations, and the shape they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from twinbrain.analyse._numeric import Floats
from twinbrain.analyse.avalanches import Avalanches
from twinbrain.analyse.power_law import Whole, whole_numbers
from twinbrain.errors import InputError

__all__ = ["ShapeCollapse", "kappa", "mean_size_exponent", "shape_collapse"]


def kappa(sizes: Whole, *, exponent: float = 1.5, points: int = 10) -> float:
    """Compare the distribution of sizes with a critical one by the difference of their cumulative forms.

    kappa = 1 + mean over beta of (F_ref(beta) - F(beta)), at ``points`` sizes beta evenly spaced in the logarithm
    from the smallest to the largest. F_ref is the discrete power law on that range. 1 at criticality, below
    it when sizes are too small, above it when they are too large.

    Parameters
    ----------
    sizes
        Whole numbers >= 1.
    exponent
        Exponent of the reference. Default 1.5, the mean-field value.
    points
        Number of sizes at which the two are compared. Default 10.

    Returns
    -------
    kappa, no unit.

    Raises
    ------
    InputError
        If there are fewer than 10 sizes, they are all the same, or not whole numbers from 1.

    References
    ----------
    Shew et al. (2009), J. Neurosci. 29:15595.

    Examples
    --------
    >>> rng = np.random.Generator(np.random.Philox(key=1))
    >>> kappa(rng.geometric(0.05, size=1000)) > 1.1, kappa(rng.geometric(0.7, size=1000)) < 0.9
    (True, True)
    """
    from scipy.special import zeta

    data = np.sort(whole_numbers(sizes))
    low, high = int(data[0]), int(data[-1])
    if low == high:
        raise InputError(f"all {len(data)} avalanches have size {low}, expected different sizes; use a longer series.")
    beta = np.floor(np.geomspace(low, high, points) + 1e-9)
    reference = (zeta(exponent, low) - zeta(exponent, beta + 1)) / (zeta(exponent, low) - zeta(exponent, high + 1))
    found = np.searchsorted(data, beta, side="right") / len(data)
    return float(1.0 + np.mean(reference - found))


def mean_size_exponent(
    sizes: Whole, durations: Whole, *, shortest: int = 1, longest: int | None = None
) -> tuple[float, float]:
    """Fit how the mean size of avalanches grows with their duration, <S>(T) ~ T^gamma.

    Regression with a logarithmic link and a variance that grows as the square of the mean (gamma errors), over
    all avalanches of the range. The mean itself is modelled, so the few long avalanches do not bias it as they do in
    a straight line through logarithms. At criticality gamma = (tau_t - 1) / (tau_s - 1), with the exponents of duration
    and size; this is the crackling-noise relation (mean field: 2).

    Parameters
    ----------
    sizes, durations
        Of each avalanche, whole numbers >= 1.
    shortest, longest
        Durations used, bins; None is no upper end. Default all.

    Returns
    -------
    gamma and its standard error; both NaN if fewer than 10 avalanches or 3 durations are in the range.

    References
    ----------
    Sethna, Dahmen & Myers (2001), Nature 410:242; Friedman et al. (2012), Phys. Rev. Lett. 108:208102.

    Examples
    --------
    >>> t = np.repeat(np.arange(1, 9), 5)
    >>> gamma, error = mean_size_exponent(t**2, t)
    >>> round(gamma, 6)
    2.0
    """
    s, t = whole_numbers(sizes).astype(np.float64), whole_numbers(durations)
    used = (t >= shortest) & (t <= (t.max() if longest is None else longest))
    if used.sum() < 10 or len(np.unique(t[used])) < 3:
        return float("nan"), float("nan")
    y, x = s[used], np.log(t[used])
    x = x - x.mean()
    gamma, level = float(x @ np.log(y) / (x @ x)), float(np.log(y).mean())
    for _ in range(50):  # iteratively reweighted least squares; with this link and variance all weights are 1
        surprise = y / np.exp(level + gamma * x) - 1.0
        change = float(x @ surprise / (x @ x))
        gamma, level = gamma + change, level + float(surprise.mean())
        if abs(change) < 1e-10:
            break
    spread = np.square(y / np.exp(level + gamma * x) - 1.0).sum() / (len(y) - 2)
    return gamma, float(np.sqrt(spread / (x @ x)))


@dataclass(frozen=True, eq=False)
class ShapeCollapse:
    """Mean courses of avalanches of several durations, brought to one shape.

    Attributes
    ----------
    exponent
        gamma of s(t, T) = T^(gamma - 1) F(t / T); NaN if there were too few avalanches or they share no shape.
    residual
        Root mean square difference of the scaled courses from their mean F, relative to the range of F.
    profiles
        (duration, phase): scaled mean courses, events per bin / T^(gamma - 1), or as they are without exponent;
        ``duration`` in bins, ``phase`` = t / T.

    Examples
    --------
    >>> ShapeCollapse(2.0, 0.1, xr.DataArray(np.ones((1, 50)), dims=("duration", "phase"))).exponent
    2.0
    """

    exponent: float
    residual: float
    profiles: xr.DataArray


def shape_collapse(
    found: Avalanches, *, shortest: int = 4, longest: int | None = None, least: int = 20, curves: int = 20
) -> ShapeCollapse:
    """Find the exponent that makes the mean courses of avalanches of all durations fall on one another.

    s(t, T) is the mean activity at bin t of the avalanches that last T bins, taken at 50 phases (t + 1/2) / T by linear
    interpolation. gamma minimises the variance of s T^(1 - gamma) between durations, weighted by their number of
    avalanches and averaged over phases, over the squared range of the mean course. Near criticality it agrees with
    `mean_size_exponent`.

    Parameters
    ----------
    found
        Avalanches with their activity.
    shortest, longest
        Durations used, bins; default 4, since shorter ones have no shape, and no upper end.
    least
        Avalanches a duration needs. Default 20.
    curves
        Durations used at most, evenly spaced in the logarithm. Default 20.

    Returns
    -------
    ShapeCollapse
        NaN if fewer than 3 durations have enough avalanches, or no exponent between 0 and 4 is best.

    References
    ----------
    Friedman et al. (2012), Phys. Rev. Lett. 108:208102; Marshall et al. (2016), Front. Physiol. 7:250.

    Examples
    --------
    >>> from twinbrain.analyse.avalanches import avalanches_from_counts
    >>> arch = [[0, *np.rint(40 * T * np.sin(np.pi * (np.arange(T) + 0.5) / T)).astype(int)] for T in range(6, 15)]
    >>> found = avalanches_from_counts(np.array(sum(arch * 30, []) + [0]))
    >>> round(shape_collapse(found).exponent, 1)
    2.0
    """
    from scipy.optimize import minimize_scalar

    durations, starts = found.durations.to_numpy(), found.starts.to_numpy()
    activity: Floats = found.activity.to_numpy().astype(np.float64)
    lengths, number = np.unique(durations, return_counts=True)
    usable = lengths[(number >= least) & (lengths >= max(shortest, 2)) & (lengths <= (longest or np.inf))]
    if len(usable) > curves:
        usable = usable[np.unique(np.rint(np.geomspace(1, len(usable), curves)).astype(int) - 1)]
    phase = (np.arange(50) + 0.5) / 50
    courses = np.empty((len(usable), len(phase)))
    for row, length in enumerate(usable):
        first = starts[durations == length]
        course = activity[first[:, None] + np.arange(length)].mean(axis=0)
        courses[row] = np.interp(phase, (np.arange(length) + 0.5) / length, course)
    weight = number[np.searchsorted(lengths, usable)].astype(np.float64)
    weight /= max(weight.sum(), 1.0)

    def misfit(gamma: float) -> float:
        scaled = courses * usable[:, None] ** (1.0 - gamma)
        mean = weight @ scaled
        return float((weight @ np.square(scaled - mean)).mean() / max(np.ptp(mean) ** 2, 1e-300))

    exponent = residual = np.nan
    if len(usable) >= 3:
        grid = np.linspace(0.0, 4.0, 41)
        best = int(np.argmin([misfit(g) for g in grid]))
        if 0 < best < len(grid) - 1:  # at an end the courses have no common shape
            bounds = (float(grid[best - 1]), float(grid[best + 1]))
            exponent = float(minimize_scalar(misfit, bounds=bounds, method="bounded").x)
            residual = misfit(exponent) ** 0.5
    if np.isfinite(exponent):
        courses = courses * usable[:, None] ** (1.0 - exponent)
    profiles = xr.DataArray(
        courses[: len(usable)],
        dims=("duration", "phase"),
        coords={"duration": usable, "phase": phase},
        attrs={"units": "events per bin / T^(gamma - 1)"},
    )
    return ShapeCollapse(exponent, residual, profiles)
