"""Streamlines (trk, tck, trx) to a connectome between voxels: where each of them begins and ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array

from twinbrain.data.safety import check_memory, file_size, open_zip, read_member, reading
from twinbrain.data.voxels import VoxelData
from twinbrain.errors import InputError

__all__ = ["TractCounts", "connect_voxels", "read_ends"]

Float = npt.NDArray[np.float64]

_MOST_MM = 1000.0


@dataclass(frozen=True, eq=False)
class TractCounts:
    """Streamlines counted between voxels.

    Attributes
    ----------
    counts
        ``(V, V)`` sparse, symmetric: streamlines that join two voxels.
    lengths
        ``(V, V)`` sparse, symmetric: their mean length, mm.
    used, missed, within
        Streamlines that join two voxels; that have an end in no voxel; that begin and end in one.
    """

    counts: csr_array[np.float64]
    lengths: csr_array[np.float64]
    used: int
    missed: int
    within: int


def read_ends(path: str | Path) -> tuple[Float, Float]:
    """Read where the streamlines of a tractogram begin and end, and how long they are.

    Parameters
    ----------
    path
        ``.trk`` (TrackVis), ``.tck`` (MRtrix) or ``.trx``; streamlines are read one after another.

    Returns
    -------
    ends, lengths
        ``(streamline, 2, 3)`` mm (RAS), and ``(streamline,)`` mm.

    Raises
    ------
    InputError
        If the file is damaged, or holds no streamline.
    """
    path = Path(path)
    size = file_size(path)
    suffix = path.suffix.lower()
    if suffix not in (".trk", ".tck", ".trx"):
        raise InputError(f"{path}: a tractogram is read from .trk, .tck or .trx; give one of these.")
    ends: list[npt.NDArray[np.float64]] = []
    lengths: list[float] = []
    with reading(path, "a tractogram"), np.errstate(all="ignore"):
        for line in _trx(path) if suffix == ".trx" else _lines(path, size):
            if len(line) < 2:
                continue
            ends.append(np.stack([line[0], line[-1]]).astype(np.float64))
            lengths.append(float(np.sqrt((np.diff(line.astype(np.float64), axis=0) ** 2).sum(axis=1)).sum()))
    if not ends:
        raise InputError(f"{path}: there is no streamline of two points or more in it; give a whole tractogram.")
    made = np.stack(ends)
    bad = np.flatnonzero(~(np.isfinite(made).all(axis=(1, 2)) & (np.abs(made) < _MOST_MM).all(axis=(1, 2))))
    if len(bad):
        k = int(bad[0])
        raise InputError(
            f"{path}: streamline {k} ends at {made[k, 1].round(1).tolist()} mm, which is in no head; the file is "
            "damaged or not in mm, so make it again."
        )
    return made, np.array(lengths)


def _lines(path: Path, size: int) -> Iterator[npt.NDArray[Any]]:
    import nibabel as nib

    file: Any = nib.streamlines.load(str(path), lazy_load=True)
    header = file.header
    announced = int(header.get("nb_streamlines", header.get("count", 0)) or 0)
    if announced * 12 > size:
        raise InputError(
            f"{path}: {announced} streamlines are announced, which {size} bytes cannot hold; it is cut off, so copy it "
            "again."
        )
    _check_track_lengths(path, size, header)
    found = 0
    for line in file.tractogram.streamlines:
        found += 1
        yield np.asarray(line)
    if announced and found < announced:
        raise InputError(
            f"{path}: {found} streamlines were found, but {announced} are announced; it is cut off, so copy it again."
        )


def _check_track_lengths(path: Path, size: int, header: Any) -> None:
    """TrackVis writes the number of points before each streamline: none may reach beyond the file."""
    if path.suffix.lower() != ".trk":
        return
    scalars, properties = int(header["nb_scalars_per_point"]), int(header["nb_properties_per_streamline"])
    if not (0 <= scalars <= 100 and 0 <= properties <= 100):
        raise InputError(f"{path}: {scalars} scalars and {properties} properties are announced; the header is damaged.")
    order = ">" if header["endianness"] in (">", "big") else "<"
    place = 1000
    with path.open("rb") as file:
        while place + 4 <= size:
            file.seek(place)
            points = int(np.frombuffer(file.read(4), dtype=f"{order}i4")[0])
            place += 4 + 4 * (points * (3 + scalars) + properties)
            if points < 0 or place > size:
                raise InputError(f"{path}: a streamline of {points} points reaches beyond the file; copy it again.")


def _trx(path: Path) -> Iterator[npt.NDArray[Any]]:
    """TRX is an archive of plain arrays: positions of all points, and where each streamline begins."""
    with open_zip(path) as archive:
        names = {name.rsplit("/", 1)[-1].split(".")[0]: name for name in archive.namelist() if not name.endswith("/")}
        for needed in ("header", "positions", "offsets"):
            if needed not in names:
                raise InputError(f"{path}: there is no '{needed}' in it; give a whole TRX file.")
        header = json.loads(read_member(archive, names["header"]))
        points, lines = int(header["NB_VERTICES"]), int(header["NB_STREAMLINES"])
        kind = names["positions"].rsplit(".", 1)[-1]
        if kind not in ("float16", "float32", "float64") or ".3." not in names["positions"]:
            raise InputError(f"{path}: positions of the kind '{kind}' were found, but 3 float numbers are needed.")
        check_memory(path, 12 * points, "the points")
        positions = np.frombuffer(read_member(archive, names["positions"]), dtype=kind)
        unit = names["offsets"].rsplit(".", 1)[-1]
        if unit not in ("uint32", "uint64", "int32", "int64"):
            raise InputError(f"{path}: offsets of the kind '{unit}' were found, but whole numbers are needed.")
        offsets = np.frombuffer(read_member(archive, names["offsets"]), dtype=unit).astype(np.int64)
        if positions.size != 3 * points or len(offsets) not in (lines, lines + 1):
            raise InputError(
                f"{path}: the header announces {points} points and {lines} streamlines, but {positions.size // 3} and "
                f"{len(offsets)} were found; make it again."
            )
        positions = positions.reshape(-1, 3)
        borders = np.append(offsets, points) if len(offsets) == lines else offsets
        if (np.diff(borders) < 0).any() or borders[0] != 0 or borders[-1] != points:
            raise InputError(f"{path}: the offsets of the streamlines do not rise from 0 to {points}; make it again.")
        for first, last in pairwise(borders.tolist()):
            yield positions[first:last]


def connect_voxels(
    path: str | Path, voxels: VoxelData, *, radius_mm: float = 4.0, least_share: float = 0.3
) -> TractCounts:
    """Count the streamlines that join two voxels; each end goes to the nearest grey-matter voxel within reach.

    Parameters
    ----------
    path
        The tractogram, in the space of the voxels.
    voxels
        Whose centres are the targets.
    radius_mm
        Ends farther from every voxel are in none; default 4, as MRtrix's ``tck2connectome`` searches.
    least_share
        Least share of the streamlines that must join voxels; fewer means that the spaces differ.

    Returns
    -------
    TractCounts

    Raises
    ------
    InputError
        If too few streamlines end in voxels, or the file is damaged.
    """
    from scipy.spatial import cKDTree

    path = Path(path)
    ends, lengths = read_ends(path)
    found = cKDTree(voxels.positions.values).query(ends.reshape(-1, 3), distance_upper_bound=radius_mm)
    pairs = np.asarray(found[1]).reshape(-1, 2)
    there = np.isfinite(np.asarray(found[0]).reshape(-1, 2)).all(axis=1)
    share = float(there.mean())
    if share < least_share:
        raise InputError(
            f"{path}: only {100 * share:.0f} % of {len(ends)} streamlines have both ends within {radius_mm:g} mm of "
            f"the {len(voxels)} voxels; the tractogram must be in the space of the voxels (warp it, for example with "
            "tcktransform)."
        )
    same = there & (pairs[:, 0] == pairs[:, 1])
    use = there & ~same
    if not use.any():
        raise InputError(f"{path}: no streamline joins two different voxels; give a whole-brain tractogram.")
    rows, columns, mm = pairs[use, 0], pairs[use, 1], lengths[use]
    n = len(voxels)
    both = np.concatenate([rows, columns]), np.concatenate([columns, rows])
    counts = csr_array(coo_array((np.ones(2 * len(rows)), both), shape=(n, n)))
    total = csr_array(coo_array((np.concatenate([mm, mm]), both), shape=(n, n)))
    mean = total.copy()
    mean.data = total.data / counts.data
    return TractCounts(counts, mean, int(use.sum()), int((~there).sum()), int(same.sum()))
