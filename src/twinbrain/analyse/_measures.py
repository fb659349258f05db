"""What the analysis functions share: checked series, the table of measures, p-values and intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.analyse._numeric import Floats, is_constant
from twinbrain.errors import InputError

COLUMNS = ("value", "low", "high", "null_mean", "null_sd", "p_value", "note")


@dataclass(frozen=True, eq=False)
class Series:
    """Checked values (time, name): finite, varying, evenly sampled every ``step_s``; ``dim`` is what a name names."""

    values: Floats
    names: npt.NDArray[np.str_]
    dim: str
    step_s: float
    times: Floats
    units: str


def read_series(
    series: xr.DataArray, what: str, *, volumes: int, allowed: Sequence[str] = ("region", "voxel")
) -> Series:
    """Check ``series`` (time, one of ``allowed``) and take it apart; ``volumes`` is the least number of samples."""
    if not isinstance(series, xr.DataArray):
        raise InputError(
            f"{what} was asked of a {type(series).__name__}, expected an xarray.DataArray; label names and times."
        )
    others = [str(dim) for dim in series.dims if dim != "time"]
    if series.ndim != 2 or "time" not in series.coords or len(others) != 1 or others[0] not in allowed:
        ways = " or ".join(f"(time, {dim})" for dim in allowed)
        raise InputError(
            f"{what} was asked of an array with dimensions {tuple(series.dims)} and coordinates "
            f"{tuple(series.coords)}, expected {ways} with times in s; name and label them so."
        )
    dim = others[0]
    ordered = series.transpose("time", dim)
    if not ordered.sizes[dim]:
        raise InputError(f"{what} was asked of an array without any {dim}, expected at least one; select some.")
    if ordered.sizes["time"] < volumes:
        raise InputError(
            f"{what} was asked of {ordered.sizes['time']} volumes, expected at least {volumes}; record longer."
        )
    names = ordered[dim].to_numpy().astype(str)  # without a coordinate: "0", "1", ...
    unique, counts = np.unique(names, return_counts=True)
    if (counts > 1).any():
        raise InputError(
            f"{dim} '{unique[np.argmax(counts)]}' is named twice, expected each name once; rename or merge."
        )
    times, step = _even_times(ordered["time"].to_numpy(), what)
    values = np.asarray(ordered.to_numpy(), dtype=np.float64)
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise InputError(
            f"the series of {dim} '{names[column]}' is not finite at {times[row]:g} s, expected numbers everywhere; "
            "interpolate them or leave it out."
        )
    flat = names[is_constant(values)]
    if len(flat):
        named = ", ".join(f"'{name}'" for name in flat[:5]) + (" and others" if len(flat) > 5 else "")
        raise InputError(f"{what} is not defined for series that do not vary, found {dim} {named}; leave them out.")
    return Series(values, names, dim, step, times, str(series.attrs.get("units", "1")))


def _even_times(times: npt.NDArray[np.generic], what: str) -> tuple[Floats, float]:
    if not np.issubdtype(times.dtype, np.number):
        raise InputError(f"the times given for {what} are {times.dtype}, expected seconds; set the 'time' coordinate.")
    seconds = np.asarray(times, dtype=np.float64)
    steps = np.diff(seconds)
    step = round(float(np.median(steps)), 9)  # differences of times carry rounding noise
    if not (np.isfinite(seconds).all() and step > 0 and np.abs(steps - step).max() <= 0.01 * step):
        worst = int(np.argmax(np.abs(steps - step)))
        raise InputError(
            f"the times given for {what} have a step of {steps[worst]:g} s after volume {worst}, expected {step:g} s "
            "as elsewhere and above 0; interpolate to even times."
        )
    return seconds, step


def count(value: int, name: str, *, least: int) -> int:
    """Refuse anything but a whole number from ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"{name} is {value!r}, expected a whole number from {least}; give for example {name}=100.")
    return int(value)


def rank_p(value: float, null: Floats) -> float:
    """Two-sided p-value by rank: twice the smaller tail, each counted with the observed value; NaN without a null."""
    if not len(null) or not np.isfinite(value):
        return float("nan")
    tail = min(int((null >= value).sum()), int((null <= value).sum()))
    return float(min(1.0, 2.0 * (1 + tail) / (1 + len(null))))


def row(value: float, note: str, *, null: Floats | None = None, half: float = float("nan")) -> dict[str, float | str]:
    """One line of the table: value, interval of half-width ``half``, null."""
    drawn = np.empty(0) if null is None else np.asarray(null, dtype=np.float64)
    some = len(drawn) > 1
    return {
        "value": float(value),
        "low": float(value - half),
        "high": float(value + half),
        "null_mean": float(drawn.mean()) if some else float("nan"),
        "null_sd": float(drawn.std(ddof=1)) if some else float("nan"),
        "p_value": rank_p(float(value), drawn) if some else float("nan"),
        "note": note,
    }


def table(rows: dict[str, dict[str, float | str]]) -> pd.DataFrame:
    """Rows by measure, as the table every analysis returns."""
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS))
    return frame.rename_axis(index="measure")


def table_dict(frame: pd.DataFrame) -> dict[str, dict[str, float | str | None]]:
    """Table as nested dict ready for JSON; what is not defined is None."""
    return {
        str(measure): {
            key: str(line[key]) if key == "note" else (float(line[key]) if np.isfinite(line[key]) else None)
            for key in COLUMNS
        }
        for measure, line in zip(frame.index, frame.to_dict("records"), strict=True)
    }


def jackknife(values: Floats, statistic: Callable[[Floats], float], block: int) -> float:
    """Half-width of the 95 % interval of a statistic of a series, by leaving out one block at a time.

    ``se^2 = (g - 1) / g sum_j (s_j - mean s)^2`` over the ``g`` blocks of ``block`` samples (Kuensch 1989), times the
    quantile of Student's t with ``g - 1`` degrees of freedom. NaN with fewer than 8 blocks.
    """
    from scipy.stats import t  # slow to import

    blocks = len(values) // block
    if blocks < 8:
        return float("nan")
    edges = np.linspace(0, len(values), blocks + 1).astype(int)
    left = [statistic(np.delete(values, slice(a, b), axis=0)) for a, b in pairwise(edges)]
    return float(t.ppf(0.975, blocks - 1) * np.sqrt((blocks - 1) * np.var(left)))
