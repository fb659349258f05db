"""What is done to a recorded run before it enters a Subject: chosen by name, applied in one order, told step by "
"step."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.data.prepare import _present, band_pass, bridged, detrend, percent_signal_change
from twinbrain.data.safety import file_size
from twinbrain.data.tables import is_number, read_cells
from twinbrain.errors import InputError, nearest

__all__ = ["STRATEGIES", "Preparation", "confound_columns", "prepare_run", "read_confounds"]

Float = npt.NDArray[np.float64]

_MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")


def _expanded(names: tuple[str, ...]) -> tuple[str, ...]:
    """Each regressor, its derivative, and the squares of both (Satterthwaite et al. 2013)."""
    return tuple(name + end for name in names for end in ("", "_derivative1", "_power2", "_derivative1_power2"))


#: Named sets of fMRIPrep's confounds. ``motion24``: six parameters, derivatives, squares of both; ``wmcsf``: means of
#: white matter and of cerebrospinal fluid; ``gsr``: the mean over the brain; ``36p``: all nine signals expanded.
STRATEGIES: dict[str, tuple[str, ...]] = {
    "none": (),
    "motion6": _MOTION,
    "motion24": _expanded(_MOTION),
    "motion24_wmcsf": (*_expanded(_MOTION), "white_matter", "csf"),
    "motion24_wmcsf_gsr": (*_expanded(_MOTION), "white_matter", "csf", "global_signal"),
    "36p": _expanded((*_MOTION, "white_matter", "csf", "global_signal")),
}


@dataclass(frozen=True)
class Preparation:
    """Steps between a preprocessed run and the Subject, in this order; the default only changes the unit.

    Attributes
    ----------
    scrub_mm
        Volumes whose framewise displacement exceeds this are missing (NaN) from here on; None: none is.
    percent_signal_change
        100 (x / mean - 1) over the volumes that are there. Left out for series that are centred already.
    detrend_order
        Degree of the polynomial in time that is removed, together with the confounds; None: none.
    confounds
        A name of :data:`STRATEGIES`, or names of columns.
    band_hz
        Pass band; series and confounds are filtered alike before the regression. None: no filter (the fit has
        its own).

    References
    ----------
    Satterthwaite et al., NeuroImage 64:240 (2013); Power et al., NeuroImage 59:2142 (2012); Lindquist et al., Hum
    Brain Mapp 40:2358 (2019), for the filter before the regression.

    Examples
    --------
    >>> Preparation(confounds="motion24_wmcsf", scrub_mm=0.5).confounds
    'motion24_wmcsf'
    >>> Preparation(confounds="motion25")
    Traceback (most recent call last):
    ...
    twinbrain.errors.InputError: confounds: 'motion25' is not a known strategy; known are none, motion6, motion24, \
motion24_wmcsf, motion24_wmcsf_gsr, 36p.
    """

    scrub_mm: float | None = None
    percent_signal_change: bool = True
    detrend_order: int | None = None
    confounds: str | tuple[str, ...] = "none"
    band_hz: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.confounds, str) and self.confounds not in STRATEGIES:
            raise InputError(
                f"confounds: '{self.confounds}' is not a known strategy{nearest(self.confounds, STRATEGIES)}; known "
                f"are {', '.join(STRATEGIES)}."
            )
        if self.scrub_mm is not None and not 0 < self.scrub_mm < 100:
            raise InputError(f"scrub_mm is {self.scrub_mm!r}, but a framewise displacement in mm is needed, e.g. 0.5.")
        if self.detrend_order is not None and not 0 <= self.detrend_order <= 20:
            raise InputError(f"detrend_order is {self.detrend_order!r}, but a degree between 0 and 20 is needed.")

    @property
    def needs_confounds(self) -> bool:
        """Whether a table of confounds is needed."""
        return self.scrub_mm is not None or bool(self.columns)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are regressed out."""
        return STRATEGIES[self.confounds] if isinstance(self.confounds, str) else tuple(self.confounds)


def read_confounds(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table of confounds as fMRIPrep writes it; ``n/a`` becomes NaN.

    Raises
    ------
    InputError
        With the row and the column of a cell that is no number.
    """
    path = Path(path)
    file_size(path)
    cells = read_cells(path)
    header = cells[0]
    if all(is_number(cell) for cell in header):
        raise InputError(
            f"{path}, row 1: numbers were found, but the first row must hold the confounds' names; add them."
        )
    if len(cells) == 1:
        raise InputError(f"{path}: there is no volume under the names; give one row per volume.")
    if len(set(header)) < len(header):
        twice = next(name for k, name in enumerate(header) if name in header[:k])
        raise InputError(f"{path}, row 1: column '{twice}' is there twice; keep one.")
    columns: dict[str, Float] = {}
    for k, name in enumerate(header):
        values = np.full(len(cells) - 1, np.nan)
        for row, cells_of in enumerate(cells[1:]):
            cell = cells_of[k]
            if cell in ("n/a", "", "nan", "NaN"):
                continue
            if not is_number(cell):
                raise InputError(f"{path}, row {row + 2}, column '{name}': '{cell}' is not a number; give one or n/a.")
            values[row] = float(cell)
        columns[name] = values
    return pd.DataFrame(columns)


def confound_columns(table: pd.DataFrame, names: tuple[str, ...], source: str) -> Float:
    """Return the chosen columns, centred; a derivative's first value, which no table has, is 0.

    Raises
    ------
    InputError
        If a column is not there, or holds ``n/a`` further down.
    """
    result = np.empty((len(table), len(names)))
    for k, name in enumerate(names):
        values = _confound(table, name)
        if values is None:
            raise InputError(
                f"{source}: there is no confound '{name}'{nearest(name, table.columns)}; choose another strategy, or "
                "run fMRIPrep's confounds again."
            )
        if np.isnan(values[0]):
            values[0] = 0.0
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise InputError(
                f"{source}, row {int(bad[0]) + 2}, column '{name}': n/a was found, but only the first volume may have "
                "none; choose another strategy."
            )
        result[:, k] = values - values.mean()
    return result


def _confound(table: pd.DataFrame, name: str) -> Float | None:
    """Return a column; squares and derivatives of columns that are there are made as fMRIPrep makes them."""
    if name in table.columns:
        return table[name].to_numpy(dtype=np.float64).copy()
    for end in ("_power2", "_derivative1"):
        if name.endswith(end):
            base = _confound(table, name.removesuffix(end))
            if base is None:
                return None
            return base**2 if end == "_power2" else np.concatenate([[np.nan], np.diff(base)])
    return None


def prepare_run(
    series: xr.DataArray, how: Preparation, confounds: pd.DataFrame | None = None, source: str = "confounds"
) -> tuple[xr.DataArray, list[str]]:
    """Apply a Preparation to one run.

    Parameters
    ----------
    series
        ``(time, ...)`` with ``attrs["repetition_time_s"]``.
    how
        The steps.
    confounds
        One row per volume; needed if ``how`` regresses or scrubs.
    source
        The table's name, for messages.

    Returns
    -------
    series, steps
        The prepared run, and one sentence per step that was done.

    Raises
    ------
    InputError
        If confounds are missing or do not fit the run, or too few volumes are left.

    Examples
    --------
    >>> x = xr.DataArray(np.arange(40.0)[:, None] % 7 + 100, dims=("time", "region"), attrs={"repetition_time_s": 2.0})
    >>> y, steps = prepare_run(x, Preparation(detrend_order=1))
    >>> steps
    ['percent signal change', 'removed a polynomial of degree 1 in time']
    """
    steps: list[str] = []
    result = series.transpose("time", ...)
    volumes = result.sizes["time"]
    table: pd.DataFrame | None = None
    if how.needs_confounds:
        if confounds is None:
            raise InputError(
                f"{source}: no table of confounds was found, but scrubbing or confound regression was asked for; give "
                "..._desc-confounds_timeseries.tsv, or choose confounds='none' and no scrub_mm."
            )
        table = confounds
        if len(table) != volumes:
            raise InputError(
                f"{source}: {len(table)} rows were found, but the run has {volumes} volumes; give the table of this "
                "run (were volumes cut at the beginning?)."
            )
    if how.scrub_mm is not None and table is not None:
        result, said = _scrubbed(result, table, how.scrub_mm, source)
        steps.append(said)
    if how.percent_signal_change:
        result = percent_signal_change(result)
        steps.append("percent signal change")
    if how.band_hz is not None:
        result = band_pass(result, *how.band_hz)
        steps.append(f"band-pass {how.band_hz[0]:g} to {how.band_hz[1]:g} Hz (Butterworth of degree 2, both ways)")
    regressors = None if table is None or not how.columns else confound_columns(table, how.columns, source)
    if regressors is not None:
        if how.band_hz is not None:
            made = xr.DataArray(regressors, dims=("time", "confound"), attrs=dict(series.attrs))
            regressors = band_pass(made, *how.band_hz).values
        result = _regressed(result, regressors, how.detrend_order, source)
        named = how.confounds if isinstance(how.confounds, str) else ", ".join(how.confounds)
        also = "" if how.detrend_order is None else f" and a polynomial of degree {how.detrend_order} in time"
        steps.append(f"regressed out {regressors.shape[1]} confounds ({named}){also}")
    elif how.detrend_order is not None:
        result = detrend(result, how.detrend_order)
        steps.append(f"removed a polynomial of degree {how.detrend_order} in time")
    return result, steps


def _scrubbed(series: xr.DataArray, table: pd.DataFrame, limit: float, source: str) -> tuple[xr.DataArray, str]:
    if "framewise_displacement" not in table.columns:
        raise InputError(
            f"{source}: there is no column 'framewise_displacement', which scrubbing needs; leave scrub_mm out."
        )
    moved = table["framewise_displacement"].to_numpy(dtype=np.float64)
    gone = np.nan_to_num(moved, nan=0.0) > limit
    left = len(gone) - int(gone.sum())
    if left < max(20, len(gone) // 2):
        raise InputError(
            f"{source}: {int(gone.sum())} of {len(gone)} volumes moved by more than {limit:g} mm, which leaves {left}; "
            "that is too few for a fit, so raise scrub_mm or choose another run."
        )
    values = np.array(series.values, dtype=np.result_type(series.values.dtype, np.float32))
    values[gone] = np.nan
    return series.copy(
        data=values
    ), f"{int(gone.sum())} of {len(gone)} volumes moved by more than {limit:g} mm: missing"


def _regressed(series: xr.DataArray, regressors: Float, order: int | None, source: str) -> xr.DataArray:
    """Take confounds (and a polynomial in time) out by least squares over the volumes that are there."""
    values = np.asarray(series.values, dtype=np.float64)
    flat = values.reshape(len(values), -1)
    there = _present(values)
    time = np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, len(values)), order or 0)
    scale = regressors[there].std(axis=0)
    design = np.column_stack([time, regressors / np.where(scale > 0, scale, 1.0)])
    if design.shape[1] + 10 > int(there.sum()):
        raise InputError(
            f"{source}: {design.shape[1]} regressors for {int(there.sum())} volumes leave next to nothing; choose a "
            "smaller strategy."
        )
    left, size, _ = np.linalg.svd(design[there], full_matrices=False)
    basis = left[:, size > 1e-10 * size[0]]
    result = np.full_like(flat, np.nan)
    kept = flat[there]
    mean = kept.mean(axis=0) if order is None else 0.0
    result[there] = kept - basis @ (basis.T @ kept) + mean
    return series.copy(data=result.reshape(values.shape))


def interpolated(values: Any) -> Float:
    """Return the series with missing volumes filled by straight lines, for pictures and filters."""
    array = np.asarray(values, dtype=np.float64)
    return bridged(array, _present(array))
