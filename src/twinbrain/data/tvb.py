"""The Virtual Brain's ``connectivity.zip``: weights, tract lengths, centres and what else is in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.data.safety import open_zip, read_member
from twinbrain.data.tables import is_number
from twinbrain.errors import InputError

__all__ = ["TvbConnectivity", "is_tvb", "read_tvb"]

Float = npt.NDArray[np.float64]

_PARTS = (
    "weights",
    "tract_lengths",
    "centres",
    "centers",
    "cortical",
    "areas",
    "average_orientations",
    "hemispheres",
    "hemisphere",
)


@dataclass(frozen=True, eq=False)
class TvbConnectivity:
    """What a ``connectivity.zip`` holds.

    Attributes
    ----------
    names
        Region names.
    weights
        ``(R, R)``, row = target, column = source: TVB's simulators multiply ``weights @ activity``.
    lengths
        ``(R, R)`` mm, or None.
    centres
        ``(R, 3)`` mm.
    cortical
        ``(R,)`` bool, or None.
    areas
        ``(R,)`` mm2, or None.
    """

    names: tuple[str, ...]
    weights: Float
    lengths: Float | None
    centres: Float
    cortical: npt.NDArray[np.bool_] | None
    areas: Float | None


def _parts(names: list[str]) -> dict[str, str]:
    """Map parts to members: with or without a folder, .txt or .txt.bz2, singular or plural, a prefix or none."""
    found: dict[str, str] = {}
    for member in names:
        base = member.replace("\\", "/").rsplit("/", 1)[-1].lower()
        if base.startswith((".", "__")) or "__macosx" in member.lower():
            continue
        stem = base.removesuffix(".bz2").removesuffix(".txt").removesuffix(".csv")
        for part in _PARTS:
            if stem == part or stem.endswith(f"_{part}"):
                key = {"centers": "centres", "hemisphere": "hemispheres"}.get(part, part)
                if key not in found:
                    found[key] = member
    return found


def is_tvb(path: Path) -> bool:
    """Say whether an archive holds weights and centres."""
    with open_zip(path) as archive:
        return {"weights", "centres"} <= set(_parts(archive.namelist()))


def read_tvb(path: str | Path) -> TvbConnectivity:
    """Read a ``connectivity.zip`` in any of TVB's layouts (plain or bz2 text, in a folder or not).

    Parameters
    ----------
    path
        The archive; nothing of it is unpacked to disk.

    Raises
    ------
    InputError
        With the archive, the member and the row.

    Notes
    -----
    A text file may have a header line that begins with ``#`` or a word. Lengths of 0 mean no tract.
    """
    path = Path(path)
    with open_zip(path) as archive:
        parts = _parts(archive.namelist())
        for needed in ("weights", "centres"):
            if needed not in parts:
                inside = ", ".join(archive.namelist()[:6]) or "nothing"
                raise InputError(
                    f"{path}: there is no {needed}.txt in it (found: {inside}); give TVB's connectivity.zip."
                )
        texts = {part: _lines(path, member, read_member(archive, member)) for part, member in parts.items()}
    names, centres = _centres(path, parts["centres"], texts["centres"])
    n = len(names)
    weights = _square(path, parts["weights"], texts["weights"], n)
    lengths = _square(path, parts["tract_lengths"], texts["tract_lengths"], n) if "tract_lengths" in texts else None
    cortical = areas = None
    if "cortical" in texts:
        cortical = _numbers(path, parts["cortical"], texts["cortical"], n) != 0
    if "areas" in texts:
        areas = _numbers(path, parts["areas"], texts["areas"], n)
    return TvbConnectivity(names, weights, lengths, centres, cortical, areas)


def _lines(path: Path, member: str, content: bytes) -> list[list[str]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, {member}: byte {error.start} is not UTF-8; save the file as UTF-8.") from None
    rows = [line.replace(",", " ").split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    rows = [row for row in rows if row]
    if not rows:
        raise InputError(f"{path}, {member}: the file is empty; give one row per region.")
    return rows


def _table(path: Path, member: str, rows: list[list[str]], width: int) -> Float:
    for k, row in enumerate(rows):
        if len(row) != width:
            raise InputError(
                f"{path}, {member}, row {k + 1}: {len(row)} numbers were found, {width} were expected; complete the "
                "row."
            )
        for cell in row:
            if not is_number(cell) or not math.isfinite(float(cell)):
                raise InputError(f"{path}, {member}, row {k + 1}: '{cell}' is not a finite number; give one.")
    return np.array(rows, dtype=np.float64)


def _centres(path: Path, member: str, rows: list[list[str]]) -> tuple[tuple[str, ...], Float]:
    if len(rows[0]) >= 4 and not is_number(rows[0][1]):  # a header of words
        rows = rows[1:]
    for k, row in enumerate(rows):
        if len(row) < 4:  # some layouts have further columns
            raise InputError(
                f"{path}, {member}, row {k + 1}: {len(row)} cells were found, but a name and x, y, z (mm) are needed; "
                "complete the row."
            )
    names = tuple(row[0] for row in rows)
    if len(set(names)) < len(names):
        twice = next(name for k, name in enumerate(names) if name in names[:k])
        raise InputError(f"{path}, {member}: region '{twice}' is there twice; keep one.")
    return names, _table(path, member, [row[1:4] for row in rows], 3)


def _square(path: Path, member: str, rows: list[list[str]], n: int) -> Float:
    if len(rows) != n:
        raise InputError(
            f"{path}, {member}: {len(rows)} rows were found, but centres names {n} regions; give one row per region."
        )
    return _table(path, member, rows, n)


def _numbers(path: Path, member: str, rows: list[list[str]], n: int) -> Float:
    cells = [[cell] for row in rows for cell in row]
    if len(cells) != n:
        raise InputError(f"{path}, {member}: {len(cells)} numbers were found for {n} regions; give one per region.")
    return _table(path, member, cells, 1)[:, 0]


def as_arrays(found: TvbConnectivity) -> dict[str, Any]:
    """Return what :meth:`~twinbrain.Subject.from_arrays` takes."""
    dims = ("target", "source")
    coords = {"target": list(found.names), "source": list(found.names)}
    result: dict[str, Any] = {
        "connectome": xr.DataArray(found.weights, dims=dims, coords=coords),
        "regions": found.names,
        "positions": found.centres,
    }
    if found.lengths is not None:
        result["lengths"] = xr.DataArray(found.lengths, dims=dims, coords=coords)
    return result
