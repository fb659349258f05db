"""A connectome between voxels: a sparse matrix with the list of its voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from twinbrain.data.containers import read_sparse
from twinbrain.data.safety import file_size
from twinbrain.data.tables import number_table, read_cells
from twinbrain.errors import InputError, nearest

__all__ = ["VoxelList", "read_voxel_connectome", "read_voxel_list"]

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VoxelList:
    """Voxels as a file lists them, with their connectome.

    Attributes
    ----------
    path
        The list.
    positions
        ``(V, 3)`` mm.
    region
        V names.
    connectome
        ``(V, V)`` sparse, row = target.
    """

    path: Path
    positions: Float
    region: tuple[str, ...]
    connectome: csr_array[np.float64]


def read_voxel_list(path: str | Path) -> tuple[Float, tuple[str, ...]]:
    """Read a table with the columns x, y, z (mm) and region, one row per voxel.

    Raises
    ------
    InputError
        With the row and the column.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "voxels.tsv"
    >>> _ = place.write_text("x\\ty\\tz\\tregion\\n1\\t2\\t3\\tInsula_L\\n")
    >>> read_voxel_list(place)
    (array([[1., 2., 3.]]), ('Insula_L',))
    """
    path = Path(path)
    file_size(path)
    cells = read_cells(path)
    header = [cell.lower() for cell in cells[0]]
    for column in ("x", "y", "z", "region"):
        if column not in header:
            raise InputError(
                f"{path}, row 1: the column '{column}' is missing{nearest(column, header)}; give x, y, z (mm) and "
                "region."
            )
    if len(cells) == 1:
        raise InputError(f"{path}: there is no voxel under the header; give one row per voxel.")
    places = [header.index(a) for a in "xyz"]
    positions = number_table(path, [[row[k] for k in places] for row in cells[1:]], 2, "xyz")
    region = tuple(row[header.index("region")] for row in cells[1:])
    for k, name in enumerate(region):
        if not name:
            raise InputError(f"{path}, row {k + 2}: the region is empty; give every voxel its region.")
    return positions, region


def read_voxel_connectome(matrix: str | Path, voxels: str | Path) -> VoxelList:
    """Read a sparse matrix between voxels and the list of its voxels.

    Parameters
    ----------
    matrix
        ``.npz`` of ``scipy.sparse.save_npz``; row = target.
    voxels
        Table, see :func:`read_voxel_list`; row k of the table is row k of the matrix.

    Raises
    ------
    InputError
        If a file is damaged, or they do not fit each other.
    """
    positions, region = read_voxel_list(voxels)
    connectome = read_sparse(matrix)
    if connectome.shape != (len(region), len(region)):
        raise InputError(
            f"{matrix}: the matrix is {connectome.shape[0]} x {connectome.shape[1]}, but {Path(voxels).name} lists "
            f"{len(region)} voxels; give one row and one column per voxel."
        )
    return VoxelList(Path(voxels), positions, region, connectome)
