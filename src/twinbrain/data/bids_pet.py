"""Synaptic density of a BIDS folder: which file, which unit, per region and per voxel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from twinbrain.data.atlas import Atlas
from twinbrain.data.bids_names import pick
from twinbrain.data.bids_options import MAPS, Work
from twinbrain.data.bids_series import OwnVoxels
from twinbrain.data.gridding import Gridded
from twinbrain.data.pet import PET_UNITS, read_pet_image, read_pet_table
from twinbrain.data.safety import read_json
from twinbrain.errors import InputError, nearest

__all__ = ["read_density", "read_density_table"]

Float = npt.NDArray[np.float64]


def read_density(
    work: Work,
    atlas: Atlas,
    space: str | None,
    regions: tuple[str, ...],
    gridded: Gridded | None,
    voxels: OwnVoxels | None,
) -> tuple[Float | None, Float | None]:
    """Return the synaptic density of regions and of voxels (None where nothing was found)."""
    tables, images = _files(work, space)
    region_values: Float | None = None
    voxel_values: Float | None = None
    units = None
    if images:
        units = _pet_units(work, images[0])
        image = read_pet_image(images[0], atlas, regions, gridded, None if voxels is None else voxels.flat)
        region_values, voxel_values = image.regions, image.voxels
        if image.note:
            work.notes["synaptic density note"] = image.note
        work.took(images[0], "synaptic density image")
        if voxels is not None and voxel_values is not None:
            mean = region_values[voxels.region]
            bad = ~(np.isfinite(voxel_values) & (voxel_values > 0))
            if bad.any():
                work.notes["synaptic density of voxels"] = (
                    f"{int(bad.sum())} voxels without a value take their region's mean"
                )
                voxel_values = np.where(bad, mean, voxel_values)
    if units is not None:
        work.notes["synaptic density units"] = units
    if tables:
        region_values = _of_table(work, tables[0], regions)
    return region_values, voxel_values


def read_density_table(work: Work, regions: tuple[str, ...]) -> Float | None:
    """Return the synaptic density of regions from a table; None where there is none."""
    tables, _ = _files(work, None)
    return _of_table(work, tables[0], regions) if tables else None


def _of_table(work: Work, path: Path, regions: tuple[str, ...]) -> Float:
    work.notes["synaptic density units"] = _pet_units(work, path)
    values = read_pet_table(path, regions)
    work.took(path, "synaptic density table")
    return values


def _files(work: Work, space: str | None) -> tuple[list[Path], list[Path]]:
    """Tables and images of synaptic density, one of each at most."""
    options = work.options
    if options.pet is not None:
        path = Path(options.pet)
        tables, images = ([], [path]) if path.name.endswith(MAPS) else ([path], [])
    else:
        files = [f for f in work.files if f.suffix in ("pet", "mimap", "petmap")]
        tables = [f.path for f in pick(files, ("pet", "mimap", "petmap"), ".tsv") if work.of_atlas(f)]
        images = [
            f.path for f in pick(files, ("pet", "mimap", "petmap"), MAPS) if f.entities.get("space", space) == space
        ]
    if len(tables) > 1 or len(images) > 1:
        both = tables if len(tables) > 1 else images
        raise InputError(
            f"{both[0].parent}: {len(both)} files can be the PET map ({', '.join(p.name for p in both[:3])}); say "
            "which with pet=."
        )
    return tables, images


def _pet_units(work: Work, path: Path) -> str:
    if work.options.pet_units is not None:
        found = str(work.options.pet_units)
        place = "pet_units"
    else:
        stem = path.name
        for end in (*MAPS, ".tsv"):
            stem = stem.removesuffix(end)
        sidecar = path.with_name(stem + ".json")
        parsed = [f for f in work.files if f.path == path]
        said = parsed[0].entities.get("meas") if parsed else None
        content = read_json(sidecar) if sidecar.exists() else {}
        if content:
            work.took(sidecar)
        found = str(content.get("Units", "") or said or "")
        if said in PET_UNITS and found in ("unitless", "1", "relative"):
            found = str(said)  # the name says more
        place = str(sidecar)
        if not found:
            raise InputError(
                f"{path}: the unit is missing (no 'Units' in {sidecar.name}); say pet_units=, one of "
                f"{', '.join(PET_UNITS)}."
            )
    if found not in PET_UNITS:
        raise InputError(
            f"{place}: the unit of the PET map is '{found}'{nearest(found, PET_UNITS)}, but one of "
            f"{', '.join(PET_UNITS)} is needed: raw counts or activity are no measure of synaptic density."
        )
    return found
