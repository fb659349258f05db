"""Parcellated series from files: XCP-D and other tables, npz, MATLAB, HDF5 and CIFTI."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xarray as xr

from twinbrain.data.align import MAX_REPETITION_TIME_S
from twinbrain.data.cifti import parcellated, read_dlabel, read_dtseries, read_ptseries
from twinbrain.data.containers import CONTAINERS, Arrays, read_arrays
from twinbrain.data.safety import file_size, read_json
from twinbrain.data.tables import is_number, number_table, read_cells, unique_names
from twinbrain.errors import InputError

__all__ = ["own_repetition_time", "read_series_file"]

_LABELS = ("region_labels", "labels", "region_names", "regions", "names", "parcels")
_TIMES = ("repetition_time_s", "repetition_time", "tr", "TR", "RepetitionTime")


def read_series_file(
    path: str | Path,
    names: Iterable[str] | None = None,
    *,
    repetition_time_s: float | None = None,
    array: str | None = None,
    dlabel: str | Path | None = None,
) -> xr.DataArray:
    """Read one run, one series per region.

    Parameters
    ----------
    path
        ``.tsv`` or ``.csv`` with region names in the first row and one row per volume (XCP-D, ``n/a`` rows are missing
        volumes); ``.npy``, ``.npz``, ``.mat``, ``.h5``; ``.ptseries.nii``; ``.dtseries.nii`` with ``dlabel``.
    names
        Region names where the file has none.
    repetition_time_s
        Seconds from volume to volume. Default: a CIFTI file's own axis, or ``RepetitionTime`` in the ``.json`` beside a
        table. Never guessed.
    array
        Which array of a file that holds several.
    dlabel
        ``.dlabel.nii`` that says which region a vertex belongs to.

    Returns
    -------
    xarray.DataArray
        ``(time, region)``, ``attrs["repetition_time_s"]``.

    Raises
    ------
    InputError
        With the file, and the row and column where there is one.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "rest.tsv"
    >>> _ = place.write_text("a\\tb\\n" + "1\\t2\\n3\\t5\\n" * 10)
    >>> read_series_file(place, repetition_time_s=2.0).shape
    (20, 2)
    """
    path = Path(path)
    file_size(path)
    given = None if names is None else [str(n) for n in names]
    own: float | None = None
    if path.name.endswith((".ptseries.nii", ".dtseries.nii")):
        if path.name.endswith(".ptseries.nii"):
            series = read_ptseries(path)
            values, labels = series.values.astype(np.float64), list(series.names or ())
        else:
            if dlabel is None:
                raise InputError(
                    f"{path}: a dense series has vertices, not regions; give labels=, a .dlabel.nii file, or "
                    "parcellate it (wb_command -cifti-parcellate)."
                )
            series = read_dtseries(path)
            values, found = parcellated(series, read_dlabel(dlabel), path)
            labels = list(found)
        own = series.repetition_time_s
    elif path.suffix.lower() in (".csv", ".tsv"):
        values, labels = _table(path, given)
        own = own_repetition_time(path)
    elif path.suffix.lower() in CONTAINERS:
        values, labels, own = _container(path, given, array)
    else:
        raise InputError(
            f"{path}: series are read from .tsv, .csv, {', '.join(CONTAINERS)}, .ptseries.nii and .dtseries.nii; give "
            "one."
        )
    seconds = repetition_time_s if repetition_time_s is not None else own
    if seconds is None:
        raise InputError(f"{path}: the repetition time is missing; give repetition_time_s in seconds.")
    if not (math.isfinite(seconds) and 0 < seconds <= MAX_REPETITION_TIME_S):
        hint = f"; if it is in milliseconds, that is {seconds / 1000:g} s" if seconds > MAX_REPETITION_TIME_S else ""
        raise InputError(f"{path}: the repetition time is {seconds:g}, but seconds above 0 are needed{hint}; give it.")
    if own is not None and repetition_time_s is not None and not math.isclose(own, repetition_time_s, rel_tol=1e-3):
        raise InputError(
            f"{path}: the file says its repetition time is {own:g} s, but repetition_time_s={repetition_time_s:g} was "
            "given; leave the wrong one out."
        )
    return xr.DataArray(
        values,
        dims=("time", "region"),
        coords={"region": labels},
        attrs={"repetition_time_s": float(seconds), "units": "arbitrary"},
    )


def _table(path: Path, given: list[str] | None) -> tuple[np.ndarray, list[str]]:
    cells = read_cells(path)
    first = 1
    if all(is_number(cell) for cell in cells[0]):
        if given is None:
            raise InputError(
                f"{path}, row 1: numbers were found, but the first row must hold the region names; add them, or give "
                "labels=."
            )
        header, first = given, 0
    else:
        header = unique_names(path, cells[0], "row 1")
    if len(header) != len(cells[0]):
        turned = "; it looks transposed (one row per region)" if len(cells) == len(header) else ""
        raise InputError(
            f"{path}: {len(cells[0])} columns were found, but {len(header)} regions are named{turned}; give one column "
            "per region and one row per volume."
        )
    if len(cells) == first:
        raise InputError(f"{path}: there is no volume under the region names; give one row per volume.")
    return number_table(path, cells[first:], first + 1, header, missing=True), header


def own_repetition_time(path: Path) -> float | None:
    """Return the repetition time in the side-car beside a table (``.json`` of the same name), s; None without one."""
    if path.name.endswith(".ptseries.nii"):
        return read_ptseries(path).repetition_time_s
    sidecar = path.with_suffix(".json")
    if not sidecar.exists():
        return None
    content = read_json(sidecar)
    value = content.get("RepetitionTime")
    if value is None and isinstance(content.get("SamplingFrequency"), int | float) and content["SamplingFrequency"] > 0:
        value = 1.0 / content["SamplingFrequency"]
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{sidecar}: RepetitionTime is {value!r}, but a number of seconds is needed.")
    return float(value)


def _container(path: Path, given: list[str] | None, array: str | None) -> tuple[np.ndarray, list[str], float | None]:
    arrays = read_arrays(path)

    def is_series(value: object) -> bool:
        shape = getattr(value, "shape", ())
        return len(shape) == 2 and min(shape) > 1

    name, values = arrays.choose(array, is_series, "series of regions", "the name of the array")
    if getattr(values, "ndim", 0) != 2 or not isinstance(values, np.ndarray):
        raise InputError(f"{path}: array '{name}' is no table of time x region; choose another.")
    matrix = np.array(values, dtype=np.float64)
    labels = _labels(arrays, given, matrix.shape)
    if labels is None:
        raise InputError(
            f"{path}: array '{name}' ({matrix.shape[0]} x {matrix.shape[1]}) carries no region names; give labels=, a "
            "table of the names in the order of its columns."
        )
    if matrix.shape[1] != len(labels):
        if matrix.shape[0] != len(labels):
            raise InputError(
                f"{path}: array '{name}' is {matrix.shape[0]} x {matrix.shape[1]}, but {len(labels)} regions are "
                "named; give time x region."
            )
        matrix = matrix.T  # region x time, as MATLAB tools often store it; the names say so
    own = next((arrays.numbers[k] for k in _TIMES if k in arrays.numbers), None)
    seconds = None if own is None or np.size(own) != 1 else float(np.asarray(own).ravel()[0])
    return matrix, labels, seconds


def _labels(arrays: Arrays, given: list[str] | None, shape: tuple[int, ...]) -> list[str] | None:
    for name in _LABELS:
        found = arrays.texts.get(name)
        if found is not None and len(found) in shape:
            return unique_names(arrays.path, list(found), f"array '{name}'")
    return given
