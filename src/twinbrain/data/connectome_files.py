"""Connectomes between regions from files: csv, tsv, MRtrix, npz, MATLAB, HDF5 and BEP017 matrices."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.data.containers import CONTAINERS, read_arrays
from twinbrain.data.safety import check_memory, file_size
from twinbrain.data.tables import is_number, number_table, read_cells, unique_names
from twinbrain.errors import InputError, nearest

__all__ = ["ConnectomeFile", "read_connectome", "sha256"]

Float = npt.NDArray[np.float64]

_LABELS = ("region_labels", "labels", "region_names", "regions", "names", "parcels")
_MOST_REGIONS = 20_000  # a dense matrix of more regions is a voxel connectome and must be sparse


@dataclass(frozen=True, eq=False)
class ConnectomeFile:
    """A matrix between regions as a file holds it, and what was done to it.

    Attributes
    ----------
    matrix
        ``(target, source)`` with region names.
    notes
        What was done, one sentence each, for the provenance.
    """

    matrix: xr.DataArray
    notes: tuple[str, ...]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def read_connectome(
    path: str | Path,
    names: Iterable[str] | None = None,
    *,
    weighting: str | None = None,
    rows: str | None = None,
    what: str = "the connectome",
) -> ConnectomeFile:
    """Read a region x region matrix.

    Parameters
    ----------
    path
        ``.csv``, ``.tsv`` (BEP017 ``_relmat`` too), ``.txt`` (blanks, as MRtrix), ``.npy``, ``.npz``, ``.mat`` (v5 and
        v7.3), ``.h5``. Tables may carry names in the first row and column, in a header alone, or not at all; the
        other files in an array of texts (``region_labels`` and the like).
    names
        Names of the rows where the file has none, in its order (MRtrix: in the order of the node image's values).
    weighting
        Which array, where a file holds several (QSIRecon: ``"sift_radius2_count"``, or any part of the name that
        only one array has).
    rows
        ``"target"`` if row i holds what region i receives, ``"source"`` if what it sends; needed where the matrix is
        not symmetric.
    what
        For messages.

    Returns
    -------
    ConnectomeFile

    Raises
    ------
    InputError
        With the file, and the row and column where there is one.

    Notes
    -----
    A matrix with numbers on one side of the diagonal only (MRtrix writes the upper triangle unless told otherwise)
    is made symmetric, and this is noted.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "sc.csv"
    >>> _ = place.write_text("0,3,1\\n0,0,2\\n0,0,0\\n")
    >>> found = read_connectome(place, ["a", "b", "c"])
    >>> found.matrix.values.tolist(), len(found.notes)
    ([[0.0, 3.0, 1.0], [3.0, 0.0, 2.0], [1.0, 2.0, 0.0]], 1)
    """
    path = Path(path)
    file_size(path)
    if rows not in (None, "target", "source"):
        raise InputError(f"connectome_rows is {rows!r}, but only 'target' and 'source' are possible.")
    given = None if names is None else [str(n) for n in names]
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv", ".txt"):
        if weighting is not None:
            raise InputError(
                f"{path}: a table holds one matrix, but the weighting '{weighting}' was asked for; leave weighting= "
                "out, or give the file that has it."
            )
        matrix, labels = _table(path, given)
    elif suffix in CONTAINERS:
        matrix, labels, chosen = _array(path, weighting, what)
    else:
        raise InputError(
            f"{path}: a connectome is read from .csv, .tsv, .txt, {', '.join(CONTAINERS)}; give it as one of these."
        )
    notes = [] if suffix in (".csv", ".tsv", ".txt") else [f"{path.name}: array '{chosen}'"]
    if matrix.shape[0] != matrix.shape[1]:
        raise InputError(
            f"{path}: {what} is {matrix.shape[0]} x {matrix.shape[1]}, but it must be square; give one row and one "
            "column per region (are row names or a header counted as numbers?)."
        )
    found = labels or given
    if found is None:
        raise InputError(
            f"{path}: {what} carries no region names; give labels=, a table with the names in the order of its rows."
        )
    if len(found) != len(matrix):
        raise InputError(
            f"{path}: {what} is {len(matrix)} x {len(matrix)}, but {len(found)} regions are named; give one row and "
            "one column per name, in the order of the label table."
        )
    unique_names(path, list(found), "region names")
    filled, note = _both_sides(matrix)
    if note:
        notes.append(f"{path.name}: {note}")
    dims = ("target", "source") if rows != "source" else ("source", "target")
    if rows is None and not np.allclose(filled, filled.T, rtol=1e-6, atol=0.0, equal_nan=True):
        i, j = (int(k) for k in np.argwhere(~np.isclose(filled, filled.T, rtol=1e-6, atol=0.0, equal_nan=True))[0])
        raise InputError(
            f"{path}: {what} is not symmetric ({filled[i, j]:g} from row '{found[i]}' to column '{found[j]}', "
            f"{filled[j, i]:g} back), and its numbers do not tell which way it points; say connectome_rows='target' "
            "(row i holds what i receives) or 'source'."
        )
    made = xr.DataArray(filled, dims=dims, coords={dims[0]: found, dims[1]: found}).transpose("target", "source")
    return ConnectomeFile(made, tuple(notes))


def _table(path: Path, names: list[str] | None) -> tuple[Float, list[str] | None]:
    cells = read_cells(path)
    _check_size(path, len(cells))
    columns = [f"{k + 1}" for k in range(len(cells[0]))]
    if all(is_number(cell) for cell in cells[0]):
        return number_table(path, cells, 1, columns), None
    if len(cells) == len(cells[0]) + 1 and is_number(cells[1][0]):  # a header alone, as BEP017 writes it
        header = unique_names(path, cells[0], "row 1")
        return number_table(path, cells[1:], 2, header), header
    header = unique_names(path, cells[0][1:], "row 1")
    rows = unique_names(path, [row[0] for row in cells[1:]], "column 1")
    for found, other, at in ((rows, header, "header"), (header, rows, "first column")):
        for name in found:
            if name not in set(other):
                raise InputError(
                    f"{path}: region '{name}' is not in the {at}{nearest(name, other)}; rows and columns must name the "
                    "same regions."
                )
    values = number_table(path, [row[1:] for row in cells[1:]], 2, header)
    order = [header.index(name) for name in rows]
    return values[:, order], rows


def _array(path: Path, weighting: str | None, what: str) -> tuple[Float, list[str] | None, str]:
    arrays = read_arrays(path)
    if weighting is not None and weighting not in arrays.numbers:
        close = [name for name in arrays.numbers if weighting in name and _square(arrays.numbers[name])]
        weighting = close[0] if len(close) == 1 else weighting
    name, values = arrays.choose(weighting, _square, what, "weighting='...'")
    if values.ndim != 2:
        raise InputError(
            f"{path}: array '{name}' has {values.ndim} dimension(s), but {what} has two; choose another weighting."
        )
    _check_size(path, values.shape[0])
    check_memory(path, 8 * values.shape[0] * values.shape[1], what)
    dense: Any = values.toarray() if hasattr(values, "toarray") else values
    matrix = np.array(dense, dtype=np.float64)
    bad = np.argwhere(~np.isfinite(matrix))
    if len(bad):
        i, j = (int(k) for k in bad[0])
        raise InputError(
            f"{path}: array '{name}' holds {matrix[i, j]} at row {i + 1}, column {j + 1}; give numbers, 0 for no tract."
        )
    size = len(matrix)
    stem = name.rsplit("/", 1)[0] + "/" if "/" in name else ""
    labels = next((k for base in _LABELS for k in (stem + base, base) if len(arrays.texts.get(k, ())) == size), None)
    if labels is None:  # QSIRecon: atlas_NAME_region_labels
        close = [k for k, v in arrays.texts.items() if k.endswith(_LABELS) and len(v) == size]
        labels = close[0] if len(close) == 1 else None
    return matrix, None if labels is None else list(arrays.texts[labels]), name


def _check_size(path: Path, regions: int) -> None:
    if regions > _MOST_REGIONS:
        raise InputError(
            f"{path}: a dense matrix of {regions} rows was found, at most {_MOST_REGIONS} are read; give a voxel "
            "connectome as a sparse matrix (scipy.sparse.save_npz)."
        )


def _square(value: Any) -> bool:
    return bool(value.ndim == 2 and value.shape[0] == value.shape[1] and value.shape[0] > 1)


def _both_sides(matrix: Float) -> tuple[Float, str | None]:
    """Copy the filled triangle to the other side, where one side is empty."""
    upper, lower = np.triu(matrix, 1), np.tril(matrix, -1)
    if upper.any() and not lower.any():
        return matrix + upper.T, "numbers above the diagonal only, as MRtrix writes them; copied to the other side"
    if lower.any() and not upper.any():
        return matrix + lower.T, "numbers below the diagonal only; copied to the other side"
    return matrix, None
