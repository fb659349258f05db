"""Synaptic density from PET: a map in the space of the atlas, or a table per region."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from twinbrain.data.atlas import Atlas, labelled_points, rows_and_weights
from twinbrain.data.gridding import Gridded, sample_nearest
from twinbrain.data.images import load_volume, require_same_space
from twinbrain.data.safety import file_size
from twinbrain.data.tables import is_number, number_table, read_cells, unique_names
from twinbrain.errors import InputError, nearest

__all__ = ["PET_UNITS", "PetMap", "read_pet_image", "read_pet_table"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

#: Outcome measures that are proportional to synaptic density (SV2A tracers such as UCB-J). Only ratios enter the model.
PET_UNITS = ("SUVR", "DVR", "VT", "BPND", "mL/cm3", "unitless", "relative")

_VALUES = ("value", "mean", "suvr", "dvr", "vt", "bpnd", "synaptic_density", "sv2a")


@dataclass(frozen=True, eq=False)
class PetMap:
    """A PET image brought to regions and, where wanted, voxels.

    Attributes
    ----------
    regions
        ``(R,)`` mean over each region, weighted by grey matter.
    voxels
        ``(V,)`` value at each voxel's centre, or None.
    note
        What was left out, or "".
    """

    regions: Float
    voxels: Float | None
    note: str


def read_pet_table(path: str | Path, regions: tuple[str, ...]) -> Float:
    """Read one value per region by name.

    Either a column ``name`` and one of values (the only other column, or one called value, mean, SUVR, DVR, VT, BPND
    or SV2A), or a header of region names over one row of numbers.

    Raises
    ------
    InputError
        If a region is missing, or a value is not a positive number.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "pet.tsv"
    >>> _ = place.write_text("name\\tDVR\\nb\\t1.5\\na\\t1.0\\n")
    >>> read_pet_table(place, ("a", "b"))
    array([1. , 1.5])
    """
    path = Path(path)
    file_size(path)
    cells = read_cells(path)
    header = [cell.lower() for cell in cells[0]]
    column = next((header.index(c) for c in ("name", "region", "label") if c in header), None)
    if column is None and len(cells) == 2 and all(is_number(cell) for cell in cells[1]):
        names = unique_names(path, cells[0], "row 1")
        values = number_table(path, [cells[1]], 2, names)[0]
    else:
        if column is None:
            raise InputError(f"{path}, row 1: there is no column 'name'; give name and value, one row per region.")
        others = [k for k in range(len(header)) if k != column and header[k] in _VALUES]
        others = others or [k for k in range(len(header)) if k != column and header[k] != "index"]
        if len(others) != 1:
            raise InputError(
                f"{path}, row 1: {len(others)} columns can be the values; call the right one 'value' (found: "
                f"{', '.join(cells[0][:8])})."
            )
        names = unique_names(path, [row[column] for row in cells[1:]], "column 'name'")
        values = number_table(path, [[row[others[0]]] for row in cells[1:]], 2, [cells[0][others[0]]])[:, 0]
    place = {name: k for k, name in enumerate(names)}
    for name in regions:
        if name not in place:
            raise InputError(f"{path}: region '{name}' is missing{nearest(name, names)}; add its value.")
    chosen: Float = np.asarray(values[[place[name] for name in regions]], dtype=np.float64)
    bad = np.flatnonzero(~(chosen > 0))
    if len(bad):
        raise InputError(
            f"{path}: {chosen[bad[0]]:g} was found for region '{regions[int(bad[0])]}', but synaptic density is above "
            "0; give SUVR, DVR or VT (a binding potential can be below 0)."
        )
    return chosen


def read_pet_image(
    path: str | Path, atlas: Atlas, regions: tuple[str, ...], grid: Gridded | None = None, flat: Int | None = None
) -> PetMap:
    """Average a PET image over each region's grey matter (nearest point, no interpolation).

    Parameters
    ----------
    path
        NIfTI, in the space of the atlas.
    atlas
        Labels and grey matter.
    regions
        Names.
    grid, flat
        Points of a grid at which single values are wanted too.

    Raises
    ------
    InputError
        If the image lies elsewhere, or a region has no value above 0.
    """
    volume = load_volume(path, dimensions=(3,), what="a PET map")
    require_same_space(load_volume(atlas.grey_matter_image, dimensions=(3,), what="a grey-matter map"), volume)
    points = labelled_points(atlas.label_image, atlas.grey_matter_image, atlas.grey_matter_scale)
    row, weight = rows_and_weights(atlas, points, regions, True)
    inside = (row >= 0) & (weight > 0)
    ijk = np.stack(np.unravel_index(points.flat[inside], points.probability.shape), axis=1)
    values = sample_nearest(volume, ijk @ points.affine[:3, :3].T + points.affine[:3, 3])
    row, weight = row[inside], weight[inside]
    good = np.isfinite(values) & (values > 0)
    total = np.bincount(row[good], weights=weight[good], minlength=len(regions))
    if not (total > 0).all():
        name = regions[int(np.argmin(total))]
        raise InputError(
            f"{path}: region '{name}' has no value above 0; the map must cover the whole brain in the space of the "
            "atlas."
        )
    mean = np.bincount(row[good], weights=(weight * np.where(good, values, 0.0))[good], minlength=len(regions)) / total
    lost = float(weight[~good].sum() / weight.sum())
    note = f"{100 * lost:.1f} % of the grey matter has no value above 0 and was left out" if lost > 0 else ""
    if grid is None or flat is None:
        return PetMap(mean, None, note)
    index = np.stack(np.unravel_index(flat, grid.shape), axis=1)
    return PetMap(mean, sample_nearest(volume, index @ grid.affine[:3, :3].T + grid.affine[:3, 3]), note)
