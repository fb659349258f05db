"""Small array helpers of this room: standard scores, correlations by column, keyed random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from twinbrain.errors import InputError

Floats = npt.NDArray[np.float64]

# A series whose spread is this small a share of its level is rounding noise, not signal.
CONSTANT = 1e-10
# Highest bit of the second half of every key of this room: the filter and the rewirings count there from 0, and one
# seed given to both must not give both the same numbers.
_ROOM = 1 << 63


def is_constant(series: Floats) -> npt.NDArray[np.bool_]:
    """Say for each column of ``series`` (time, region) whether it does not vary beyond rounding."""
    return np.asarray(np.ptp(series, axis=0) <= CONSTANT * np.abs(series).max(axis=0), dtype=np.bool_)


def standardise(series: Floats, measured: npt.NDArray[np.bool_] | None = None) -> Floats:
    """Give each column of ``series`` (time, region) mean 0 and deviation 1 over ``measured`` rows, by default over all.

    Columns that are constant there become 0.
    """
    rows = slice(None) if measured is None else measured
    centred = series - series[rows].mean(axis=0)
    spread = centred[rows].std(axis=0)
    flat = is_constant(series[rows])
    centred[:, flat] = 0.0
    return np.asarray(centred / np.where(flat, 1.0, spread), dtype=np.float64)


def pearson(a: Floats, b: Floats) -> Floats:
    """Pearson correlation of each column of ``a`` with that of ``b``; 0 where one of them is constant."""
    return np.asarray(np.clip((standardise(a) * standardise(b)).mean(axis=0), -1.0, 1.0), dtype=np.float64)


def correlation_matrix(series: Floats) -> Floats:
    """Pearson matrix of the columns of ``series``; 0 beside the diagonal where a column is constant."""
    z = standardise(series)
    matrix = np.clip(z.T @ z / len(z), -1.0, 1.0)
    np.fill_diagonal(matrix, 1.0)
    return matrix


def bridge(values: Floats, present: npt.NDArray[np.bool_]) -> Floats:
    """Fill rows of ``values`` (time, region) that are not ``present`` linearly, at the ends with the nearest.

    Examples
    --------
    >>> bridge(np.array([[1.0], [np.nan], [3.0], [np.nan]]), np.array([True, False, True, False])).ravel().tolist()
    [1.0, 2.0, 3.0, 3.0]
    """
    rows = np.arange(len(values))
    filled = values.copy()
    filled[~present] = np.stack([np.interp(rows[~present], rows[present], x[present]) for x in values.T], axis=1)
    return filled


def generator(seed: int, purpose: int) -> np.random.Generator:
    """Random numbers keyed by (seed, purpose), so that no use of the seed disturbs another."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
        raise InputError(f"seed is {seed!r}, expected a whole number from 0 to 2**64 - 1; give for example seed=0.")
    return np.random.Generator(np.random.Philox(key=np.array([seed, _ROOM | purpose], dtype=np.uint64)))


def json_ready(value: Any) -> Any:
    """Copy nested dicts and lists with plain Python numbers; numbers that are not finite become None."""
    if isinstance(value, dict):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value
