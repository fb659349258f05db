"""Carry a bounded parameter to the real line, where a Kalman filter may add any number to it, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from twinbrain.errors import InputError

__all__ = ["SATURATION", "check_bounds", "to_bounded", "to_unbounded"]

_SCALE = 10.0

SATURATION = 60.0
"""Largest |x| the filter keeps: there h is 0.25 % of the range away from a bound; beyond, nothing changes."""


def check_bounds(bounds: tuple[float, float]) -> tuple[float, float]:
    """Return ``(lower, upper)`` as floats after checking that they enclose an interval.

    Parameters
    ----------
    bounds
        Lower and upper bound of a parameter, both finite, lower < upper.

    Raises
    ------
    InputError
        If the pair is not two finite numbers in rising order.

    Examples
    --------
    >>> check_bounds((0, 1))
    (0.0, 1.0)
    """
    lower, upper = (float(b) for b in bounds)
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise InputError(
            f"bounds: found ({lower:g}, {upper:g}), expected two finite numbers, the lower one first; "
            "give for example bounds=(0.0, 0.12)"
        )
    return lower, upper


def to_unbounded(h: ArrayLike, bounds: tuple[float, float]) -> NDArray[np.float64]:
    """Map ``h`` in the open interval ``(lo, up)`` to ``x = 10 ln((h - lo) / (up - h))``.

    Parameters
    ----------
    h
        Parameter in its own unit (for a drive: model units of current), any shape.
    bounds
        ``(lo, up)`` in the same unit.

    Returns
    -------
    numpy.ndarray
        ``x``, dimensionless, float64, same shape.

    Raises
    ------
    InputError
        If a value lies at or outside a bound, where ``x`` would be infinite or undefined, or is NaN.

    References
    ----------
    Zhang, Chen, Feng, Lu: On a framework of data assimilation for hyperparameter estimation of spiking
    neuronal networks, Neural Networks 2024 (arXiv:2206.02986).

    Examples
    --------
    >>> to_unbounded([0.03, 0.06, 0.09], (0.0, 0.12)).round(3).tolist()
    [-10.986, 0.0, 10.986]
    """
    lower, upper = check_bounds(bounds)
    value = np.asarray(h, dtype=np.float64)
    inside = (value > lower) & (value < upper)
    if not inside.all():
        worst = value[~inside].flat[0]
        raise InputError(
            f"parameter transform: found {worst:g} ({int((~inside).sum())} of {value.size} values), "
            f"expected all strictly between {lower:g} and {upper:g}; widen the bounds or move it inside"
        )
    return np.asarray(_SCALE * np.log((value - lower) / (upper - value)), dtype=np.float64)


def to_bounded(x: ArrayLike, bounds: tuple[float, float]) -> NDArray[np.float64]:
    """Map ``x`` back to ``h = lo + (up - lo) / (1 + exp(-x / 10))``, the inverse of :func:`to_unbounded`.

    Parameters
    ----------
    x
        Any real numbers, any shape; ``h`` is strictly inside the bounds for ``|x| <= SATURATION``
        and never outside them.
    bounds
        ``(lo, up)`` in the unit of the parameter.

    Returns
    -------
    numpy.ndarray
        ``h``, float64, same shape, in the unit of the bounds.

    Raises
    ------
    InputError
        If the bounds do not enclose an interval.

    Examples
    --------
    >>> to_bounded([-1000.0, 0.0, 1000.0], (0.0, 0.12)).round(6).tolist()
    [0.0, 0.06, 0.12]
    """
    lower, upper = check_bounds(bounds)
    value: Any = lower + (upper - lower) * expit(np.asarray(x, dtype=np.float64) / _SCALE)
    return np.asarray(np.clip(value, lower, upper), dtype=np.float64)
