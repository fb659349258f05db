"""Power laws of avalanche sizes and durations: exponents by maximum likelihood, and their rivals."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.errors import InputError

__all__ = ["PowerLaw", "fit_power_law"]

Whole = npt.ArrayLike | xr.DataArray

MIN_TAIL = 50
# A power law is given up for a rival that fits better with this chance of error; over two rivals 2 %.
REJECT = 0.01
# The search for xmin leaves this share and this number of values: a shorter tail looks like any distribution.
_TAIL_SHARE, _TAIL_LEAST = 0.05, 1000
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
        """Whether there are 50 events or more in the range and no rival fits better with p < 0.01.

        With a few hundred events hardly any rival can be told from a power law: True then says little.
        """
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
        smallest value to the largest that leaves 5 % of the values and at least 1000 (with fewer values there is
        one candidate, the smallest value), the one whose fit has the least Kolmogorov-Smirnov distance. The
        limits keep the search from ending in a tail so short that no rival could be told from a power law.
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

    Notes
    -----
    The least distance trades bias against noise: of 100,000 critical avalanches with Poisson offspring it finds
    duration exponents 1.89 to 1.97, because that law nears 1/T^2 slowly; an explicit ``xmin`` of 30 gives more.

    References
    ----------
    Clauset, Shalizi & Newman (2009), SIAM Rev. 51:661; Alstott, Bullmore & Plenz (2014), PLoS ONE 9:e85777
    (`powerlaw`); Vuong (1989), Econometrica 57:307.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).geometric(0.2, size=20_000)
    >>> fit_power_law(x).plausible
    False
    """
    data = whole_numbers(values)
    if xmax is not None and (isinstance(xmax, bool) or not isinstance(xmax, (int, np.integer)) or xmax < 1):
        raise InputError(f"xmax is {xmax!r}, expected a whole number from 1, or None for no upper end.")
    top = int(data.max()) if xmax is None else int(xmax)
    data = np.sort(data[data <= top])
    if not len(data):
        raise InputError(f"no value is at most xmax = {top}, expected at least 10 in the range; raise xmax.")
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


def whole_numbers(values: Whole) -> npt.NDArray[np.int64]:
    """Sizes or durations as integers, refused if they are few, below 1 or not whole."""
    data = np.asarray(values).ravel()
    if len(data) < 10:
        raise InputError(
            f"there are {len(data)} avalanches, expected at least 10; give a longer series or lower threshold."
        )
    if (
        data.dtype.kind not in "iuf"
        or not np.isfinite(data).all()
        or (data < 1).any()
        or (data != np.floor(data)).any()
    ):
        raise InputError("the sizes or durations are not whole numbers from 1; take them from avalanches_from_counts.")
    return data.astype(np.int64)


def _whole_xmin(xmin: object) -> int:
    if isinstance(xmin, bool) or not isinstance(xmin, (int, np.integer)) or xmin < 1:
        raise InputError(f"xmin is {xmin!r}, expected 'ks' or a whole number from 1; 'ks' is usual.")
    return int(xmin)


def _candidates(data: npt.NDArray[np.int64]) -> list[int]:
    keep = max(_TAIL_LEAST, int(_TAIL_SHARE * len(data)))
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


def _rivals(
    tail: npt.NDArray[np.int64], xmin: int, xmax: int | None
) -> tuple[tuple[float, float], tuple[float, float]]:
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
