"""Scaling of avalanches: exponents by maximum likelihood, their rivals, and the relations between them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.analyse._numeric import Floats
from twinbrain.analyse.avalanches import Avalanches
from twinbrain.errors import InputError

__all__ = ["PowerLaw", "ShapeCollapse", "fit_power_law", "kappa", "mean_size_exponent", "shape_collapse"]

Whole = npt.ArrayLike | xr.DataArray

MIN_TAIL = 50
# A power law is given up for a rival that fits better with this chance of error, over two rivals 2 %.
REJECT = 0.01
_TAIL_SHARE = 0.05
_CANDIDATES = 20
_STEEPEST = 20.0


@dataclass(frozen=True)
class PowerLaw:
    """A discrete power law p(x) ~ x^-exponent for xmin <= x <= xmax, and how it stands against its rivals.

    Attributes
    ----------
    exponent
        Maximum likelihood estimate; NaN if the tail has fewer than three different values.
    error
        Its standard error, (exponent - 1) / sqrt(events).
    xmin, xmax
        Range that was fitted; ``xmax`` None is no upper end.
    events
        Number of values in that range.
    distance
        Kolmogorov-Smirnov distance of the values in the range from the fit.
    exponential, lognormal
        (ratio, p) against this rival fitted to the same range: the log-likelihood ratio divided by its own
        standard deviation, positive if the power law fits better, and the two-sided p of its sign (Vuong).
        NaN if not asked for.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).zipf(2.0, size=2000)
    >>> fit = fit_power_law(x, xmin=1)
    >>> abs(fit.exponent - 2.0) < 0.1, fit.plausible
    (True, True)
    """

    exponent: float
    error: float
    xmin: int
    xmax: int | None
    events: int
    distance: float
    exponential: tuple[float, float]
    lognormal: tuple[float, float]

    @property
    def plausible(self) -> bool:
        """Whether there are 50 events or more in the range and no rival fits better with p < 0.01."""
        rivals = (self.exponential, self.lognormal)
        return bool(
            self.events >= MIN_TAIL
            and np.isfinite(self.exponent)
            and not any(ratio < 0 and p < REJECT for ratio, p in rivals)
        )


def fit_power_law(
    values: Whole, *, xmin: int | Literal["ks"] = "ks", xmax: int | None = None, compare: bool = True
) -> PowerLaw:
    """Fit a discrete power law by maximum likelihood, with `powerlaw`, and compare it with two rivals.

    Parameters
    ----------
    values
        Sizes or durations, whole numbers >= 1.
    xmin
        Smallest value fitted, or "ks" (default): of at most 20 candidates, evenly spaced in the logarithm from the
        smallest value to the largest that leaves 5 % of the values and at least 50, the one whose fit has the
        least Kolmogorov-Smirnov distance. The share keeps the search from ending in a tail so short that no
        rival could be told from a power law.
    xmax
        Largest value fitted; None (default) for no end. Set it where the data are cut off, as by a limit on
        duration or by the number of regions. Values above it are left out, and the fit knows so.
    compare
        Whether the exponential and the log-normal are fitted too. Default True.

    Returns
    -------
    PowerLaw

    Raises
    ------
    InputError
        If the values are not whole numbers from 1, there are fewer than 10 in the range, or `powerlaw` is not
        installed.

    References
    ----------
    Clauset, Shalizi & Newman (2009), SIAM Rev. 51:661; Alstott, Bullmore & Plenz (2014), PLoS ONE 9:e85777
    (`powerlaw`); Vuong (1989), Econometrica 57:307.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).geometric(0.2, size=2000)
    >>> fit_power_law(x).plausible
    False
    """
    data = _whole(values)
    top = int(data.max()) if xmax is None else int(xmax)
    data = np.sort(data[data <= top])
    if xmin == "ks":
        fits = [(_distance(data, low, xmax, a), low, a) for low in _candidates(data) for a in [_mle(data, low, xmax)]]
        distance, low, alpha = min(fits, key=lambda fit: (not np.isfinite(fit[0]), fit[0]))
    else:
        low = _whole_xmin(xmin)
        alpha = _mle(data, low, xmax)
        distance = _distance(data, low, xmax, alpha)
    tail = data[data >= low]
    if len(tail) < 10:
        raise InputError(
            f"{len(tail)} values lie from {low} to {top}, expected at least 10 to fit a power law; give a longer "
            "series or a wider range."
        )
    nothing = (np.nan, np.nan)
    rivals = _rivals(tail, low, xmax) if compare and np.isfinite(alpha) else (nothing, nothing)
    return PowerLaw(alpha, (alpha - 1.0) / len(tail) ** 0.5, low, xmax, len(tail), distance, *rivals)


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
    >>> kappa(rng.poisson(3, size=1000) + 1) < 0.9
    True
    """
    from scipy.special import zeta

    data = np.sort(_whole(sizes))
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
    s, t = _whole(sizes).astype(np.float64), _whole(durations)
    used = (t >= shortest) & (t <= (t.max() if longest is None else longest))
    if used.sum() < 10 or len(np.unique(t[used])) < 3:
        return float("nan"), float("nan")
    y, x = s[used], np.log(t[used])
    x = x - x.mean()
    gamma, level = 1.0, float(np.log(y.mean()))
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
        gamma of s(t, T) = T^(gamma - 1) F(t / T); NaN if there were too few avalanches.
    residual
        Root mean square difference of the scaled courses from their mean F, relative to the range of F.
    profiles
        (duration, phase): scaled mean courses, events per bin / T^(gamma - 1); ``duration`` in bins, ``phase`` = t / T.

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
        NaN and without profiles if fewer than 3 durations have enough avalanches.

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
        start = float(grid[np.argmin([misfit(g) for g in grid])])
        exponent = float(minimize_scalar(misfit, bounds=(start - 0.1, start + 0.1), method="bounded").x)
        residual = misfit(exponent) ** 0.5
        courses = courses * usable[:, None] ** (1.0 - exponent)
    profiles = xr.DataArray(
        courses[: len(usable)],
        dims=("duration", "phase"),
        coords={"duration": usable, "phase": phase},
        attrs={"units": "events per bin / T^(gamma - 1)"},
    )
    return ShapeCollapse(exponent, residual, profiles)


def _whole(values: Whole) -> npt.NDArray[np.int64]:
    data = np.asarray(values).ravel()
    if len(data) < 10:
        raise InputError(f"there are {len(data)} avalanches, expected at least 10; give a longer series or lower threshold.")
    if data.dtype.kind not in "iuf" or not np.isfinite(data).all() or (data < 1).any() or (data != np.floor(data)).any():
        raise InputError("the sizes or durations are not whole numbers from 1; take them from avalanches_from_counts.")
    return data.astype(np.int64)


def _whole_xmin(xmin: object) -> int:
    if isinstance(xmin, bool) or not isinstance(xmin, (int, np.integer)) or xmin < 1:
        raise InputError(f"xmin is {xmin!r}, expected 'ks' or a whole number from 1; 'ks' is usual.")
    return int(xmin)


def _candidates(data: npt.NDArray[np.int64]) -> list[int]:
    keep = max(MIN_TAIL, int(_TAIL_SHARE * len(data)))
    largest = int(data[-keep]) if keep < len(data) else int(data[0])
    grid = np.unique(np.rint(np.geomspace(data[0], max(largest, data[0]), _CANDIDATES)).astype(int))
    return [int(value) for value in grid]


def _mle(data: npt.NDArray[np.int64], xmin: int, xmax: int | None) -> float:
    tail = data[data >= xmin]
    if len(np.unique(tail)) < 3:
        return float("nan")
    # Without a range powerlaw keeps the exponent below 3, which would make steep tails look like power laws of 3.
    fit = _fitted("Power_Law", tail, xmin, xmax, parameter_ranges={"alpha": (1.0, _STEEPEST)}, estimate_discrete=False)
    return float(fit.alpha)


def _distance(data: npt.NDArray[np.int64], xmin: int, xmax: int | None, alpha: float) -> float:
    from scipy.special import zeta

    if not np.isfinite(alpha):
        return float("nan")
    values, number = np.unique(data[data >= xmin], return_counts=True)
    beyond = 0.0 if xmax is None else zeta(alpha, xmax + 1)
    model = (zeta(alpha, xmin) - zeta(alpha, values + 1)) / (zeta(alpha, xmin) - beyond)
    return float(np.abs(np.cumsum(number) / number.sum() - model).max())


def _rivals(tail: npt.NDArray[np.int64], xmin: int, xmax: int | None) -> tuple[tuple[float, float], tuple[float, float]]:
    import powerlaw

    ranges = {"alpha": (1.0, _STEEPEST)}
    own = _fitted("Power_Law", tail, xmin, xmax, parameter_ranges=ranges, estimate_discrete=False)
    results = []
    for name in ("Exponential", "Lognormal"):
        rival = _fitted(name, tail, xmin, xmax)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            ratio, p = powerlaw.loglikelihood_ratio(
                own.loglikelihoods(tail), rival.loglikelihoods(tail), normalized_ratio=True
            )
        results.append((float(ratio), float(p)))
    return results[0], results[1]


def _fitted(name: str, tail: npt.NDArray[np.int64], xmin: int, xmax: int | None, **options: Any) -> Any:
    """Fit a distribution of `powerlaw` to whole numbers; its remarks on the search are not for our users."""
    try:
        import powerlaw
    except ImportError as missing:
        raise InputError(
            f"fitting exponents needs the library '{missing.name}', which is not installed; install it with: pip "
            "install 'twinbrain[analyse]'."
        ) from None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        kind = getattr(powerlaw, name)
        return kind(data=tail, xmin=xmin, xmax=xmax, discrete=True, verbose=0, **options)
