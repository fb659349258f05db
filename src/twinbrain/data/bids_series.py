"""BOLD runs of a BIDS folder brought to regions and, where wanted, to the person's own voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy.sparse import csr_array

from twinbrain.data.bids_find import repetition_time
from twinbrain.data.bids_names import BidsFile, pick
from twinbrain.data.bids_options import MAPS, Work
from twinbrain.data.events import read_events
from twinbrain.data.gridding import Gridded
from twinbrain.data.images import load_volume
from twinbrain.data.preparation import prepare_run, read_confounds
from twinbrain.data.voxel_files import VoxelList, read_voxel_connectome
from twinbrain.data.voxels import VoxelData
from twinbrain.errors import InputError, nearest

__all__ = ["OwnVoxels", "events_of", "read_series", "voxel_data", "voxel_list"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(eq=False)
class OwnVoxels:
    """Voxels as they are being collected."""

    flat: Int
    region: Int
    grey_matter: Float
    grid: Gridded
    connectome: Any
    bold: dict[str, xr.DataArray]


def read_series(
    work: Work,
    bolds: Mapping[str, BidsFile],
    gridded: Gridded | None,
    regions: tuple[str, ...],
    listed: VoxelList | None,
) -> tuple[dict[str, xr.DataArray], OwnVoxels | None]:
    """Regional series of every run, and the voxels if they are wanted."""
    if gridded is None:
        return {}, None
    wanted = work.options.level == "voxel" or (work.options.level is None and listed is not None)
    if listed is None:
        grid = gridded.voxels(regions, work.options.min_grey_matter, True)
        flat = np.asarray(np.ravel_multi_index(tuple(grid.index.T), gridded.shape), dtype=np.int64)
        region, weight = grid.region, grid.grey_matter
    else:
        flat, region, weight = _listed_voxels(listed, gridded, regions)
    raw: dict[str, tuple[npt.NDArray[np.float32], float, pd.DataFrame | None, str]] = {}
    good = np.ones(len(flat), dtype=np.bool_)
    for run, file in bolds.items():
        values, tr, confounds, source = _read_run(work, run, file, gridded, flat)
        there = np.isfinite(values).all(axis=0)
        varied = np.ptp(np.where(there, values, 0.0), axis=0) > 0
        if not varied.any():
            raise InputError(f"{file.path}: no voxel has a signal that varies; give the preprocessed 4-D run.")
        good &= there & varied
        raw[run] = (values, tr, confounds, source)
    if not good.all():
        work.notes["voxels without signal"] = (
            f"{int((~good).sum())} of {len(good)} left out (not finite, or constant, in some run)"
        )
    flat, region, weight = flat[good], region[good], weight[good]
    total = np.bincount(region, weights=weight, minlength=len(regions))
    if not (total > 0).all():
        name = regions[int(np.argmin(total))]
        raise InputError(
            f"{work.root}: region '{name}' has no voxel with a signal in the BOLD of participant '{work.label}'; leave "
            "the region out of the connectome, or check the mask and the space of the images."
        )
    voxels = None
    if wanted:
        connectome = None if listed is None else listed.connectome[good][:, good]
        voxels = OwnVoxels(flat, region, weight, gridded, connectome, {})
    mean = csr_array((weight / total[region], (np.arange(len(flat)), region)), shape=(len(flat), len(regions)))
    series: dict[str, xr.DataArray] = {}
    for run, (values, tr, confounds, source) in raw.items():
        chosen = values[:, good]
        made = xr.DataArray(
            np.asarray(chosen.astype(np.float64) @ mean),
            dims=("time", "region"),
            coords={"region": list(regions)},
            attrs={"repetition_time_s": tr, "units": "arbitrary"},
        )
        made, steps = prepare_run(made, work.options.preparation, confounds, source)
        series[run] = made
        for k, step in enumerate(["grey-matter-weighted mean of each region's voxels", *steps], start=1):
            work.notes[f"bold {run} step {k}"] = step
        if voxels is not None:
            own = xr.DataArray(chosen, dims=("time", "voxel"), attrs={"repetition_time_s": tr, "units": "arbitrary"})
            own, _ = prepare_run(own, work.options.preparation, confounds, source)
            voxels.bold[run] = own.astype(np.float32)
    return series, voxels


def _read_run(
    work: Work, run: str, file: BidsFile, gridded: Gridded, points: Int
) -> tuple[npt.NDArray[np.float32], float, pd.DataFrame | None, str]:
    """Read one run at the points that are needed: ``(time, point)``; points outside the mask are NaN."""
    tr = repetition_time(work, file)
    volume = load_volume(file.path, dimensions=(4,), what="preprocessed BOLD")
    if volume.shape[:3] != gridded.shape or not np.allclose(volume.affine, gridded.affine, atol=1e-3):
        raise InputError(
            f"{file.path}: its grid is {volume.shape[:3]}, but that of the first run is {gridded.shape} (or their "
            "affines differ); give runs on one grid (fMRIPrep's --output-spaces with one resolution)."
        )
    values = volume.numbers().reshape(-1, volume.shape[3])[points].T.copy()
    work.took(file.path, f"bold {run}")
    same = {k: v for k, v in file.entities.items() if k not in ("space", "res", "desc")}
    masks = pick(work.files, "mask", MAPS, desc="brain", space=file.entities.get("space"), **same)
    if masks:
        mask = load_volume(masks[0].path, dimensions=(3,), what="a mask")
        if mask.shape != gridded.shape or not np.allclose(mask.affine, gridded.affine, atol=1e-3):
            raise InputError(
                f"{masks[0].path}: its grid is {mask.shape}, but that of {file.path.name} is {gridded.shape} (or their "
                "affines differ); give the mask of this run."
            )
        values[:, mask.numbers().ravel()[points] <= 0] = np.nan
        work.took(masks[0].path)
    how = work.options.preparation
    tables = pick(work.files, ("timeseries", "regressors"), ".tsv", desc="confounds", **same)
    if not how.needs_confounds or not tables:
        return values, tr, None, str(file.path)
    work.took(tables[0].path)
    return values, tr, read_confounds(tables[0].path), str(tables[0].path)


def voxel_list(work: Work, file: BidsFile) -> VoxelList:
    stem = file.path.name.rsplit("_", 1)[0]
    path = file.path.with_name(f"{stem}_voxels.tsv")
    if not path.exists():
        raise InputError(
            f"{file.path}: there is no list of its voxels ({path.name} with the columns x, y, z and region, one row "
            "per row of the matrix); add it."
        )
    listed = read_voxel_connectome(file.path, path)
    work.took(file.path, "voxel connectome")
    work.took(path, "voxel list")
    return listed


def _listed_voxels(listed: VoxelList, gridded: Gridded, regions: tuple[str, ...]) -> tuple[Int, Int, Float]:
    place = {name: k for k, name in enumerate(regions)}
    for k, name in enumerate(listed.region):
        if name not in place:
            raise InputError(
                f"{listed.path}, row {k + 2}: region '{name}' is not one of the {len(regions)} "
                f"regions{nearest(name, regions)}; give the list of this parcellation."
            )
    flat = gridded.flat_of(listed.positions, listed.path)
    region = np.array([place[name] for name in listed.region], dtype=np.int64)
    points, winner, _ = gridded.winners()
    at = np.searchsorted(points, flat).clip(max=len(points) - 1)
    agree = float(np.mean((points[at] == flat) & (winner[at] == region)))
    if agree < 0.8:
        raise InputError(
            f"{listed.path}: only {100 * agree:.0f} % of the voxels have the region that the atlas image has there; "
            "list and atlas must be of the same parcellation and space."
        )
    grey = gridded.grey_matter[flat]
    empty = np.flatnonzero(~(grey > 0))
    if len(empty):
        k = int(empty[0])
        raise InputError(
            f"{listed.path}, row {k + 2}: the voxel holds no grey matter in the person's map, and so do "
            f"{len(empty) - 1} more; leave them out of the matrix and the list."
        )
    return flat, region, grey


def events_of(work: Work, bolds: Mapping[str, BidsFile], series: Mapping[str, xr.DataArray]) -> dict[str, pd.DataFrame]:
    """Read the events of every run, raw or derived."""
    result = {}
    for run, file in bolds.items():
        same = {k: v for k, v in file.entities.items() if k not in ("space", "res", "desc")}
        found = pick(work.files, "events", ".tsv", **same)
        if not found:
            continue
        length = series[run].sizes["time"] * float(series[run].attrs["repetition_time_s"])
        result[run] = read_events(found[0].path, length)
        work.took(found[0].path, f"events {run}")
    return result


def voxel_data(voxels: OwnVoxels, regions: tuple[str, ...], density: Float | None) -> VoxelData:
    index = np.stack(np.unravel_index(voxels.flat, voxels.grid.shape), axis=1)
    affine = voxels.grid.affine
    return VoxelData.from_arrays(
        [regions[k] for k in voxels.region],
        voxels.grey_matter,
        index @ affine[:3, :3].T + affine[:3, 3],
        regions=regions,
        bold=voxels.bold,
        synaptic_density=density,
        connectome=voxels.connectome,
        grid_affine=affine,
        grid_index=index,
        grid_shape=voxels.grid.shape,
    )
