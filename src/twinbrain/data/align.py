"""Bring what people hand in (arrays, tables, labelled arrays) into one order of regions, by name.

A plain array is taken to be in the order of the region names it came with. Anything that carries
labels of its own is re-ordered by those labels, and a label too many or too few is an error: a
position is never trusted where a name is known.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.errors import InputError, nearest

__all__ = ["match_names", "matrix", "region_names", "table", "vector"]

Float = npt.NDArray[np.float64]

MIN_VOLUMES = 20  # fewer volumes than this cannot be band-passed, split or scored
MAX_REPETITION_TIME_S = 20.0  # no BOLD protocol is this slow, so a larger number is in milliseconds


def region_names(names: Iterable[object]) -> tuple[str, ...]:
    """Check that region names are non-empty, unique text, and return them as a tuple.

    Raises
    ------
    InputError
        If there is no region, or a name is empty, not text, or given twice.

    Examples
    --------
    >>> region_names(["Insula_L", "Insula_R"])
    ('Insula_L', 'Insula_R')
    """
    if isinstance(names, str):
        raise InputError(f"regions must be a list of names, but one text was found ({names!r}); give a list.")
    found = [str(n) if isinstance(n, str) else n for n in names]
    seen: set[str] = set()
    for position, name in enumerate(found):
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                f"region {position + 1} of the region names is {name!r}, but every region needs a non-empty "
                "text as its name."
            )
        if name in seen:
            raise InputError(f"region '{name}' is named twice; give every region its own name.")
        seen.add(name)
    if not found:
        raise InputError("no region was named; give at least one region.")
    return tuple(str(n) for n in found)


def match_names(found: Iterable[Hashable], regions: tuple[str, ...], what: str) -> npt.NDArray[np.int64]:
    """Return the order that brings the labels ``found`` into the order of ``regions``.

    Parameters
    ----------
    found
        The labels that came with the data, in their order.
    regions
        The order that is wanted.
    what
        The data's name for messages, for example ``"connectome columns"``.

    Raises
    ------
    InputError
        If a label is there twice, is not a region, or a region has no label.

    Examples
    --------
    >>> match_names(["b", "a"], ("a", "b"), "bold columns")
    array([1, 0])
    """
    place: dict[str, int] = {}
    for position, label in enumerate(found):
        name = str(label)
        if name in place:
            raise InputError(f"{what}: region '{name}' is there twice; keep one of the two.")
        if name not in regions:
            raise InputError(
                f"{what}: '{name}' is not one of the {len(regions)} regions{nearest(name, regions)}; rename "
                "or remove it."
            )
        place[name] = position
    for name in regions:
        if name not in place:
            raise InputError(
                f"{what}: region '{name}' is missing ({len(place)} of {len(regions)} regions were found); "
                "add it, or leave the region out everywhere."
            )
    return np.array([place[name] for name in regions], dtype=np.int64)


def numbers(value: Any, what: str, dims: int) -> Float:
    """Return a fresh float64 array with ``dims`` dimensions, or say why that cannot be."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{what}: a value that is not a number was found; give numbers only.") from None
    if array.ndim != dims:
        raise InputError(
            f"{what}: an array with {array.ndim} dimension(s) was found, {dims} were expected; check which "
            "array was given."
        )
    return array


def _is_labelled(axis: pd.Index) -> bool:
    return not isinstance(axis, pd.RangeIndex)


def _dims(value: xr.DataArray, wanted: tuple[str, ...], what: str) -> xr.DataArray:
    if set(value.dims) != set(wanted):
        raise InputError(
            f"{what}: dimensions {tuple(str(d) for d in value.dims)} were found, {wanted} were expected; "
            "rename them so that it is certain which one is which."
        )
    return value.transpose(*wanted)


def matrix(value: Any, regions: tuple[str, ...], what: str) -> Float:
    """Return a region-by-region matrix, rows = targets and columns = sources, in the order of ``regions``.

    Which way a connectome points cannot be seen from its numbers. A DataArray therefore must name its
    dimensions ``target`` and ``source`` (in either order); a DataFrame has targets as its index and
    sources as its columns; a plain array has targets in its rows.

    Raises
    ------
    InputError
        For other dimension names, a wrong shape, labels that do not match, or values that are not numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> m = pd.DataFrame([[0, 1], [2, 0]], index=["b", "a"], columns=["b", "a"])
    >>> matrix(m, ("a", "b"), "connectome")
    array([[0., 2.],
           [1., 0.]])
    """
    rows = columns = None
    if isinstance(value, xr.DataArray):
        value = _dims(value, ("target", "source"), what)
        rows = value.coords["target"].values if "target" in value.coords else None
        columns = value.coords["source"].values if "source" in value.coords else None
        value = value.values
    elif isinstance(value, pd.DataFrame):
        rows = value.index if _is_labelled(value.index) else None
        columns = value.columns if _is_labelled(value.columns) else None
        value = value.to_numpy()
    array = numbers(value, what, 2)
    n = len(regions)
    if array.shape[0] != array.shape[1]:
        raise InputError(
            f"{what}: the matrix is {array.shape[0]} x {array.shape[1]}, but it must be square, {n} x {n}; "
            "give one row and one column per region."
        )
    if rows is not None:
        array = array[match_names(rows, regions, f"{what} rows (targets)"), :]
    if columns is not None:
        array = array[:, match_names(columns, regions, f"{what} columns (sources)")]
    if array.shape[0] != n:
        raise InputError(
            f"{what}: the matrix is {array.shape[0]} x {array.shape[1]}, but there are {n} region names; "
            "give one row and one column per region."
        )
    return array


def vector(value: Any, regions: tuple[str, ...], what: str) -> Float:
    """Return one number per region, in the order of ``regions``.

    A Series, a DataArray with a ``region`` coordinate and a mapping from name to value are matched by
    name; anything else by position.

    Raises
    ------
    InputError
        For a wrong length, labels that do not match, or values that are not numbers.

    Examples
    --------
    >>> vector({"b": 2.0, "a": 1.0}, ("a", "b"), "grey_matter")
    array([1., 2.])
    """
    labels = None
    if isinstance(value, xr.DataArray):
        value = _dims(value, ("region",), what)
        labels = value.coords["region"].values if "region" in value.coords else None
        value = value.values
    elif isinstance(value, pd.Series):
        labels = value.index if _is_labelled(value.index) else None
        value = value.to_numpy()
    elif isinstance(value, Mapping):
        labels, value = list(value.keys()), list(value.values())
    array = numbers(value, what, 1)
    if labels is not None:
        return array[match_names(labels, regions, what)]
    if len(array) != len(regions):
        raise InputError(
            f"{what}: {len(array)} values were found for {len(regions)} regions; give one value per region."
        )
    return array


def table(
    value: Any,
    regions: tuple[str, ...],
    what: str,
    *,
    rows: str,
    columns: str,
    names: tuple[str, ...] | None = None,
) -> Float:
    """Return a two-dimensional array in which one dimension is ``region`` and the other is not.

    Parameters
    ----------
    value
        A DataArray with dimensions ``rows`` and ``columns``, a DataFrame, or a plain array.
    regions
        The order of regions that is wanted.
    what
        The data's name for messages.
    rows, columns
        Names of the two dimensions; one of them is ``"region"``.
    names
        Labels wanted along the dimension that is not ``region``; None leaves that dimension alone.

    Raises
    ------
    InputError
        For other dimensions, a wrong number of regions, labels that do not match, or text.

    Examples
    --------
    >>> import pandas as pd
    >>> x = pd.DataFrame({"b": [3.0, 4.0], "a": [1.0, 2.0]})
    >>> table(x, ("a", "b"), "bold 'rest'", rows="time", columns="region")
    array([[1., 3.],
           [2., 4.]])
    """
    dims = (rows, columns)
    labels: list[Any] = [None, None]
    if isinstance(value, xr.DataArray):
        value = _dims(value, dims, what)
        labels = [value.coords[d].values if d in value.coords else None for d in dims]
        value = value.values
    elif isinstance(value, pd.DataFrame):
        labels = [axis if _is_labelled(axis) else None for axis in (value.index, value.columns)]
        value = value.to_numpy()
    array = numbers(value, what, 2)
    for k, dim in enumerate(dims):
        wanted = regions if dim == "region" else names
        if wanted is None:
            continue
        if labels[k] is not None:
            array = np.take(array, match_names(labels[k], wanted, f"{what}, {dim}"), axis=k)
        elif array.shape[k] != len(wanted):
            hint = (
                f"; the other dimension has {len(wanted)}, so the array looks transposed"
                if array.shape[1 - k] == len(wanted)
                else ""
            )
            raise InputError(
                f"{what}: {array.shape[k]} columns or rows were found along '{dim}', {len(wanted)} were "
                f"expected{hint}; give the array as {rows} x {columns}."
            )
    return array
