"""One person from a BIDS folder with derivatives: fMRIPrep images, QSIRecon connectomes, PET, any atlas, events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.data.atlas import Atlas
from twinbrain.data.bids_names import BidsFile, choose_participant, files_of, only_one, pick
from twinbrain.data.connectome_files import read_connectome, sha256
from twinbrain.data.gridding import Gridded, grid_of
from twinbrain.data.images import Volume, hemisphere_of, load_volume, require_same_space
from twinbrain.data.pet import PET_UNITS, read_pet_image, read_pet_table
from twinbrain.data.preparation import Preparation, prepare_run, read_confounds
from twinbrain.data.safety import read_json
from twinbrain.data.subject import Subject, is_laminar
from twinbrain.data.tables import LabelTable, read_labels
from twinbrain.data.voxel_files import VoxelList, read_voxel_connectome
from twinbrain.data.voxels import VoxelData
from twinbrain.errors import InputError, nearest

__all__ = ["BidsOptions", "read_bids"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

_TABLES = (".csv", ".tsv", ".txt", ".npy", ".npz", ".mat", ".h5", ".hdf5")
_MAP = (".nii.gz", ".nii")
_PREFERRED = "MNI152NLin2009cAsym"


@dataclass(frozen=True, kw_only=True)
class BidsOptions:
    """What to read out of a BIDS folder, where its names leave a choice.

    Attributes
    ----------
    participant_label
        Whom, with or without ``sub-``; default: the only one.
    session
        Which session, without ``ses-``; needed where there are several.
    space
        Space of the images; default: MNI152NLin2009cAsym, or the only one.
    atlas
        A label image, or the name of an atlas in the derivatives (``atlas-NAME_..._dseg.nii.gz``); default: the
        only one.
    labels
        Table of its labels, see :func:`~twinbrain.data.tables.read_labels`; default: the ``_dseg.tsv`` beside it.
    connectome, lengths
        Files, instead of those in the derivatives.
    weighting
        Which of several weightings, for example ``"streamlinecount"`` (the ``desc`` of the file, or the array in it).
    connectome_rows, connectome_units
        As in :func:`~twinbrain.data.connectome_files.read_connectome`; units default to what the name says.
    pet, pet_units
        Image or table of synaptic density, and its unit where no side-car says.
    preparation
        Steps for each run.
    level
        ``"voxel"`` reads the person's own voxels too; default: if there is a voxel connectome.
    min_grey_matter
        Least share of grey matter in a voxel; not asked of voxels that a voxel connectome lists.
    """

    participant_label: str | None = None
    session: str | None = None
    space: str | None = None
    atlas: str | Path | None = None
    labels: str | Path | None = None
    connectome: str | Path | None = None
    lengths: str | Path | None = None
    weighting: str | None = None
    connectome_rows: str | None = None
    connectome_units: str | None = None
    pet: str | Path | None = None
    pet_units: str | None = None
    preparation: Preparation = field(default_factory=Preparation)
    level: Literal["region", "voxel"] | None = None
    min_grey_matter: float = 0.3


@dataclass(eq=False)
class _Work:
    """What is known of the person so far."""

    root: Path
    label: str
    files: tuple[BidsFile, ...]
    options: BidsOptions
    notes: dict[str, str] = field(default_factory=dict)

    def took(self, path: Path, what: str = "") -> None:
        """Note the file with its hash."""
        try:
            name = str(path.relative_to(self.root))
        except ValueError:
            name = path.name
        self.notes[name] = sha256(path)
        if what:
            self.notes[what] = name


def read_bids(root: str | Path, options: BidsOptions | None = None) -> Subject:
    """Read one participant of a BIDS folder.

    Found by their names below ``root`` (raw or ``derivatives/``, of any pipeline):

    * ``*_label-GM_probseg.nii.gz`` and ``atlas-*_dseg.nii.gz`` with ``.tsv``: grey matter in mm3 per region;
    * ``*_desc-preproc_bold.nii.gz`` with ``.json`` (RepetitionTime), mask and ``*_desc-confounds_timeseries.tsv``;
    * ``*_connmatrix.*`` or ``*_relmat.*``: the connectome, tract lengths (``desc`` with "length"), and a voxel
      connectome (``desc-voxel``, sparse, with its ``_voxels.tsv``);
    * ``*_pet.tsv`` or ``*_pet.nii.gz`` with ``.json`` (Units): synaptic density.

    All images must be in one space. Grids may differ: grey matter is summed over the points of the BOLD image.
    Everything else is matched by region name.

    Parameters
    ----------
    root
        The folder.
    options
        Choices.

    Returns
    -------
    Subject
        ``provenance`` holds the hash of every file and a line for every step.

    Raises
    ------
    InputError
        With the file, what was found, what was expected and how to mend it.
    """
    options = options or BidsOptions()
    root = Path(root)
    label = choose_participant(root, options.participant_label)
    files = files_of(root, label)
    session = _session(root, files, options.session)
    if session is not None:
        files = tuple(f for f in files if f.entities.get("ses", session) == session)
    work = _Work(root, label, files, options)
    bolds, space = _bold_files(work)
    atlas, table = _atlas(work, space)
    grey = atlas.grey_matter_image
    target = load_volume(bolds[next(iter(bolds))].path, dimensions=(4,), what="preprocessed BOLD") if bolds else None
    label_volume = load_volume(atlas.label_image, dimensions=(3,), what="a label image")
    grey_volume = load_volume(grey, dimensions=(3,), what="a grey-matter map")
    require_same_space(grey_volume, label_volume)
    if target is not None:
        require_same_space(grey_volume, target)
    connectome = _connectome(work, table)
    regions = _regions(work, table, connectome)
    grey_matter, positions = atlas.region_volumes(regions)
    _check_hemispheres(atlas, table, regions, positions)
    voxel_file = only_one(
        pick(files, ("connmatrix", "relmat"), ".npz", desc=("voxel", "voxels")),
        "the voxel connectome",
        "keep one",
    )
    listed = None if voxel_file is None or options.level == "region" else _voxel_list(work, voxel_file)
    gridded = None if target is None else grid_of(atlas, regions, target)
    series, voxels = _series(work, bolds, gridded, regions, listed)
    density, voxel_density = _density(work, atlas, space, regions, gridded, voxels)
    lengths = _matrix(work, "the tract lengths", options.lengths, ("length",), table, None)
    common: dict[str, Any] = {
        "lengths": None if lengths is None else _selected(lengths, regions),
        "laminar": [table.laminar.get(name, is_laminar(name)) for name in regions],
        "name": f"sub-{label}" + ("" if session is None else f"_ses-{session}"),
        "atlas": atlas,
        "provenance": work.notes,
        "grey_matter": grey_matter,
        "positions": positions,
        "synaptic_density": density,
    }
    own = None if voxels is None else _voxel_data(voxels, regions, voxel_density)
    matrix: Any = None if connectome is None else _selected(connectome, regions)
    units = options.connectome_units or work.notes.pop("connectome units", "arbitrary")
    if own is not None:
        if matrix is None:
            work.notes["connectome"] = "summed over the voxel connectome"
        return Subject.from_voxels(
            own, connectome=matrix, connectome_units=units, **(common | {"bold": series or None})
        )
    if matrix is None:
        raise InputError(
            f"{root}: there is no connectome of participant '{label}' (a file ..._connmatrix.csv or ..._relmat.tsv); "
            "give "
            "connectome=, a file with one row and column per region."
        )
    return Subject.from_arrays(matrix, regions, series, connectome_units=units, **common)


# ---- which files -----------------------------------------------------------------------------------------------------


def _session(root: Path, files: tuple[BidsFile, ...], chosen: str | None) -> str | None:
    known = sorted({f.entities["ses"] for f in files if "ses" in f.entities and f.suffix in ("bold", "probseg")})
    if chosen is None:
        if len(known) > 1:
            raise InputError(f"{root}: the sessions {', '.join(known)} were found; say which with session='...'.")
        return known[0] if known else None
    wanted = str(chosen).removeprefix("ses-")
    if wanted not in known:
        there = ", ".join(known) or "none"
        raise InputError(f"{root}: there is no session '{wanted}'{nearest(wanted, known)}; there is {there}.")
    return wanted


def _bold_files(work: _Work) -> tuple[dict[str, BidsFile], str | None]:
    """Preprocessed runs in one space, by the name of the run (the task, and what tells runs of a task apart)."""
    found = pick(work.files, "bold", _MAP, desc="preproc")
    spaces = sorted({f.entities.get("space", "native") for f in found})
    space = work.options.space
    if space is None and spaces:
        space = _PREFERRED if _PREFERRED in spaces else spaces[0]
        if len(spaces) > 1 and _PREFERRED not in spaces:
            raise InputError(
                f"{work.root}: BOLD is there in the spaces {', '.join(spaces)}; say which with space='...' (that of "
                "the "
                "atlas and the grey-matter map)."
            )
    if space is not None and spaces and space not in spaces:
        raise InputError(
            f"{work.root}: there is no BOLD in the space '{space}'{nearest(space, spaces)}; there is "
            f"{', '.join(spaces)}."
        )
    chosen = [f for f in found if f.entities.get("space", "native") == space]
    runs: dict[str, BidsFile] = {}
    for file in chosen:
        parts = [file.entities.get("task", "bold")]
        parts += [f"{key}-{file.entities[key]}" for key in ("acq", "dir", "run", "res") if key in file.entities]
        same = [f for f in chosen if f.entities.get("task") == file.entities.get("task")]
        name = parts[0] if len(same) == 1 else "_".join(parts)
        if name in runs:
            raise InputError(
                f"{file.path}: a second file is named like the run '{name}' ({runs[name].path.name}); keep one."
            )
        runs[name] = file
    return runs, space


def _atlas(work: _Work, space: str | None) -> tuple[Atlas, LabelTable]:
    options = work.options
    images = [f for f in pick(work.files, ("dseg", "parc"), _MAP) if "atlas" in f.entities or "seg" in f.entities]
    if space is not None:
        images = [f for f in images if f.entities.get("space", space) == space]
    name = None
    if options.atlas is not None and (str(options.atlas).endswith(_MAP) or Path(options.atlas).exists()):
        image = Path(options.atlas)
        name = image.name.split(".")[0]
    else:
        if options.atlas is not None:
            known = sorted({_atlas_name(f) for f in images})
            images = [f for f in images if _atlas_name(f) == str(options.atlas)]
            if not images:
                raise InputError(
                    f"{work.root}: there is no atlas '{options.atlas}'{nearest(str(options.atlas), known)} in the "
                    "space "
                    f"'{space}'; there is {', '.join(known) or 'none'}; give the path of a label image with atlas=."
                )
        file = only_one(images, "the atlas", "say which with atlas='NAME' or the path of a label image")
        if file is None:
            raise InputError(
                f"{work.root}: there is no label image atlas-*_space-{space}_dseg.nii.gz in its derivatives; give one "
                "with atlas=, and its table with labels=."
            )
        image, name = file.path, _atlas_name(file)
    if options.labels is not None:
        path = Path(options.labels)
    else:
        beside = [f for f in pick(work.files, ("dseg", "parc"), (".tsv",)) if _atlas_name(f) == name]
        own = image.with_name(image.name.split(".")[0] + ".tsv")
        if own.exists():
            path = own
        else:
            file = only_one(beside, "the table of labels", "say which with labels=")
            if file is None:
                raise InputError(
                    f"{image}: there is no table of its labels ({own.name} with the columns index and name); give one "
                    "with labels=."
                )
            path = file.path
    table = read_labels(path)
    work.took(image, "atlas image")
    work.took(path, "atlas labels")
    tissue = pick(work.files, "probseg", _MAP, label="GM")
    if space is not None:
        tissue = [f for f in tissue if f.entities.get("space", "native") == space]
    grey = only_one(tissue, "the grey-matter map", "keep one (say which session with session=)")
    if grey is None:
        raise InputError(
            f"{work.root}: there is no grey-matter map ..._space-{space}_label-GM_probseg.nii.gz of participant "
            f"'{work.label}'; run fMRIPrep with --output-spaces {space}, or rename the map of FreeSurfer or FSL FAST "
            "so."
        )
    work.took(grey.path, "grey matter")
    _check_labels(image, path, table)
    return Atlas(name or "atlas", image, table.names, grey.path, _scale_of(grey.path)), table


def _atlas_name(file: BidsFile) -> str:
    return file.entities.get("atlas", file.entities.get("seg", ""))


def _check_labels(image: Path, path: Path, table: LabelTable) -> None:
    volume = load_volume(image, dimensions=(3,), what="a label image")
    stored = np.dtype(volume.image.get_data_dtype())
    top = max(table.names)
    if stored.kind in "iu" and top > np.iinfo(stored).max:
        raise InputError(
            f"{image}: {path.name} names label {top}, but the image stores {stored} numbers, at most "
            f"{np.iinfo(stored).max}, so labels above were cut or wrapped round; save the label image as int16 or "
            "int32."
        )
    there = set(np.unique(volume.labels()).tolist()) - {0}
    if not there & set(table.names):
        raise InputError(
            f"{image}: none of its labels ({', '.join(str(v) for v in sorted(there)[:5])} ...) is in {path.name}; give "
            "the "
            "table that belongs to this image."
        )


def _scale_of(path: Path) -> float:
    """A probability is 0..1; maps stored as bytes or percent say so by their largest value."""
    volume = load_volume(path, dimensions=(3,), what="a grey-matter map")
    values = volume.numbers()
    if not np.isfinite(values).all():
        place = tuple(int(k) for k in np.argwhere(~np.isfinite(values))[0])
        raise InputError(f"{path}: {values[place]} was found at {place}, but a probability is needed; set it to 0.")
    low, high = float(values.min()), float(values.max())
    if low < -1e-3 or high <= 0:
        raise InputError(
            f"{path}: values from {low:g} to {high:g} were found, but a grey-matter map holds probabilities from 0 to "
            "1; "
            "give the tissue map, not the image it was made from."
        )
    for scale in (1.0, 100.0, 255.0):
        if high <= scale * 1.01 and (scale == 1.0 or high > 0.5 * scale):
            return scale
    raise InputError(
        f"{path}: values up to {high:g} were found, but a grey-matter map holds probabilities from 0 to 1 (or 0 to "
        "100, 0 "
        "to 255); give the tissue map."
    )


# ---- connectomes -----------------------------------------------------------------------------------------------------


def _connectome(work: _Work, table: LabelTable) -> xr.DataArray | None:
    options = work.options
    return _matrix(work, "the connectome", options.connectome, (), table, options.weighting)


def _matrix(
    work: _Work,
    what: str,
    given: str | Path | None,
    words: tuple[str, ...],
    table: LabelTable,
    weighting: str | None,
) -> xr.DataArray | None:
    """Find and read a matrix between regions; ``words`` are in its ``desc``, or none of the other uses' are."""
    if given is not None:
        path = Path(given)
    else:
        found = pick(work.files, ("connmatrix", "relmat", "connectivity"), tuple(_extensions()))
        found = [f for f in found if f.entities.get("desc", "") not in ("voxel", "voxels")]
        if len({f.entities.get("seg", f.entities.get("atlas")) for f in found}) > 1:
            name = str(work.notes.get("atlas image", ""))
            found = [f for f in found if str(f.entities.get("seg", f.entities.get("atlas"))) in name]

        def is_length(file: BidsFile) -> bool:
            said = (file.entities.get("desc", "") + file.entities.get("meas", "")).lower()
            return "length" in said or "distance" in said

        found = [f for f in found if is_length(f) == bool(words)]
        if weighting is not None and len(found) > 1:
            named = [f for f in found if weighting in (f.entities.get("desc"), f.entities.get("meas"))]
            found = named or found
            weighting = None if named else weighting
        elif weighting is not None and found and found[0].extension in (".csv", ".tsv", ".txt"):
            weighting = None if weighting in found[0].path.name else weighting
        file = only_one(found, what, "say which with weighting= or connectome=")
        if file is None:
            return None
        path = file.path
        if not words and "count" in path.name.lower():
            work.notes["connectome units"] = "streamlines"
    read = read_connectome(path, table.regions, weighting=weighting, rows=work.options.connectome_rows, what=what)
    work.took(path, what.removeprefix("the "))
    for k, note in enumerate(read.notes):
        work.notes[f"{what.removeprefix('the ')} note {k + 1}"] = note
    return read.matrix


def _extensions() -> list[str]:
    return [*_TABLES, ".dense.tsv", ".dense.csv", ".connectivity.mat"]


def _selected(matrix: xr.DataArray, regions: tuple[str, ...]) -> xr.DataArray:
    known = [str(n) for n in matrix["target"].values]
    for name in regions:
        if name not in known:
            raise InputError(f"tract lengths: region '{name}' is missing{nearest(name, known)}; add it.")
    return matrix.sel(target=list(regions), source=list(regions))


def _regions(work: _Work, table: LabelTable, connectome: xr.DataArray | None) -> tuple[str, ...]:
    """Regions that both the atlas and the connectome know, in the atlas's order."""
    if connectome is None:
        return table.regions
    known = [str(n) for n in connectome["target"].values]
    for name in known:
        if name not in table.regions:
            raise InputError(
                f"{work.root / work.notes['connectome']}: region '{name}' is not in {work.notes['atlas labels']}"
                f"{nearest(name, table.regions)}; give the connectome and the atlas of the same parcellation."
            )
    chosen = tuple(name for name in table.regions if name in set(known))
    dropped = [name for name in table.regions if name not in set(known)]
    if dropped:
        work.notes["regions without connectome"] = f"{len(dropped)} left out: {', '.join(dropped)}"
    return chosen


def _check_hemispheres(atlas: Atlas, table: LabelTable, regions: tuple[str, ...], positions: Float) -> None:
    """Names that say left must lie at x < 0, as in every space with an affine to the scanner or MNI."""
    sides = [table.hemisphere.get(name) or hemisphere_of(name) for name in regions]
    named = [(name, side, x) for name, side, x in zip(regions, sides, positions[:, 0], strict=True) if side]
    wrong = [(name, x) for name, side, x in named if (x > 0) == (side == "L") and abs(x) > 3]
    if len(named) >= 2 and len(wrong) > len(named) / 2:
        name, x = wrong[0]
        raise InputError(
            f"{atlas.label_image}: '{name}' lies at x = {x:.0f} mm, and so do {len(wrong)} of {len(named)} regions on "
            "the "
            "wrong side: the hemispheres are swapped; correct the sign of the first axis of the affine, or the table."
        )


# ---- series ----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Voxels:
    """Voxels as they are being collected."""

    flat: Int
    region: Int
    grey_matter: Float
    grid: Gridded
    connectome: Any
    bold: dict[str, xr.DataArray]


def _repetition_time(work: _Work, file: BidsFile) -> float:
    beside = file.path.with_name(file.path.name.removesuffix(file.extension) + ".json")
    ignored = ("space", "desc", "res", "den", "hemi")
    own = {k: v for k, v in file.entities.items() if k not in ignored}
    sidecars = [beside] if beside.exists() else []
    others = [
        f
        for f in pick(work.files, "bold", ".json")
        if all(own.get(k) == v for k, v in f.entities.items()) and f.path != beside
    ]
    sidecars += [f.path for f in sorted(others, key=lambda f: -len(f.entities))]
    for path in sidecars:
        content = read_json(path)
        if "RepetitionTime" in content:
            value = content["RepetitionTime"]
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise InputError(f"{path}: RepetitionTime is {value!r}, but a number of seconds above 0 is needed.")
            if value > 20:
                raise InputError(
                    f"{path}: RepetitionTime is {value:g}, which looks like milliseconds; BIDS has seconds, so write "
                    f"{value / 1000:g}."
                )
            work.took(path)
            return float(value)
    raise InputError(
        f"{beside}: the repetition time is missing (no side-car with RepetitionTime was found; the image's own header "
        "is not "
        'trusted); add {"RepetitionTime": seconds} there.'
    )


def _series(
    work: _Work,
    bolds: Mapping[str, BidsFile],
    gridded: Gridded | None,
    regions: tuple[str, ...],
    listed: VoxelList | None,
) -> tuple[dict[str, xr.DataArray], _Voxels | None]:
    """Regional series of every run, and the voxels if they are wanted."""
    if gridded is None:
        return {}, None
    wanted = work.options.level == "voxel" or (work.options.level is None and listed is not None)
    flat, region, weight = gridded.flat, gridded.region, gridded.weight
    if listed is None:
        grid = gridded.voxels(regions, work.options.min_grey_matter, True)
        own_flat = np.asarray(np.ravel_multi_index(tuple(grid.index.T), gridded.shape), dtype=np.int64)
        own_region, own_grey = grid.region, grid.grey_matter
    else:
        own_flat, own_region, own_grey = _listed_voxels(listed, gridded, regions)
    needed = np.unique(np.concatenate([flat, own_flat]))
    raw: dict[str, tuple[npt.NDArray[np.float32], float, pd.DataFrame | None, str]] = {}
    good = np.ones(len(needed), dtype=np.bool_)
    for run, file in bolds.items():
        values, tr, confounds, source = _read_run(work, run, file, gridded, needed)
        there = np.isfinite(values).all(axis=0)
        varied = np.ptp(np.where(there, values, 0.0), axis=0) > 0
        if not varied.any():
            raise InputError(f"{file.path}: no voxel has a signal that varies; give the preprocessed 4-D run.")
        good &= there & varied
        raw[run] = (values, tr, confounds, source)
    keep = good[np.searchsorted(needed, flat)]
    lost = int((~good[np.searchsorted(needed, own_flat)]).sum())
    if lost:
        work.notes["voxels without signal"] = (
            f"{lost} of {len(own_flat)} left out (not finite, or constant, in some run)"
        )
    flat, region, weight = flat[keep], region[keep], weight[keep]
    total = np.bincount(region, weights=weight, minlength=len(regions))
    if not (total > 0).all():
        name = regions[int(np.argmin(total))]
        raise InputError(
            f"{work.root}: region '{name}' has no voxel with a signal in the BOLD of participant '{work.label}'; leave "
            "the "
            "region out of the connectome, or check the mask and the space of the images."
        )
    column = np.searchsorted(needed, flat)
    own_keep = good[np.searchsorted(needed, own_flat)]
    voxels = None
    if wanted:
        connectome = None if listed is None else listed.connectome[own_keep][:, own_keep]
        voxels = _Voxels(own_flat[own_keep], own_region[own_keep], own_grey[own_keep], gridded, connectome, {})
    series: dict[str, xr.DataArray] = {}
    for run, (values, tr, confounds, source) in raw.items():
        from scipy.sparse import csr_array

        mean = csr_array((weight / total[region], (region, column)), shape=(len(regions), len(needed)))
        made = xr.DataArray(
            np.asarray(mean @ np.where(good, values, 0.0).T.astype(np.float64)).T,
            dims=("time", "region"),
            coords={"region": list(regions)},
            attrs={"repetition_time_s": tr, "units": "arbitrary"},
        )
        made, steps = prepare_run(made, work.options.preparation, confounds, source)
        series[run] = made
        for k, step in enumerate(["grey-matter-weighted mean of each region's voxels", *steps], start=1):
            work.notes[f"bold {run} step {k}"] = step
        if voxels is not None:
            chosen = values[:, np.searchsorted(needed, voxels.flat)]
            own = xr.DataArray(chosen, dims=("time", "voxel"), attrs={"repetition_time_s": tr, "units": "arbitrary"})
            own, _ = prepare_run(own, work.options.preparation, confounds, source)
            voxels.bold[run] = own.astype(np.float32)
    return series, voxels


def _read_run(
    work: _Work, run: str, file: BidsFile, gridded: Gridded, needed: Int
) -> tuple[npt.NDArray[np.float32], float, pd.DataFrame | None, str]:
    """Read one run at the points that are needed: ``(time, point)``; points outside the mask are NaN."""
    tr = _repetition_time(work, file)
    volume = load_volume(file.path, dimensions=(4,), what="preprocessed BOLD")
    if volume.shape[:3] != gridded.shape or not np.allclose(volume.affine, gridded.affine, atol=1e-3):
        raise InputError(
            f"{file.path}: its grid is {volume.shape[:3]}, but that of the first run is {gridded.shape} (or their "
            "affines "
            "differ); give runs on one grid (fMRIPrep's --output-spaces with one resolution)."
        )
    values = volume.numbers().reshape(-1, volume.shape[3])[needed].T.copy()
    work.took(file.path, f"bold {run}")
    same = {k: v for k, v in file.entities.items() if k not in ("space", "res", "desc")}
    masks = pick(work.files, "mask", _MAP, desc="brain", space=file.entities.get("space"), **same)
    if masks:
        mask = load_volume(masks[0].path, dimensions=(3,), what="a mask")
        if mask.shape != gridded.shape or not np.allclose(mask.affine, gridded.affine, atol=1e-3):
            raise InputError(
                f"{masks[0].path}: its grid is {mask.shape}, but that of {file.path.name} is {gridded.shape} (or their "
                "affines differ); give the mask of this run."
            )
        values[:, mask.numbers().ravel()[needed] <= 0] = np.nan
        work.took(masks[0].path)
    how = work.options.preparation
    tables = pick(work.files, ("timeseries", "regressors"), ".tsv", desc="confounds", **same)
    if not how.needs_confounds or not tables:
        return values, tr, None, str(file.path)
    work.took(tables[0].path)
    return values, tr, read_confounds(tables[0].path), str(tables[0].path)


def _voxel_list(work: _Work, file: BidsFile) -> VoxelList:
    stem = file.path.name.rsplit("_", 1)[0]
    path = file.path.with_name(f"{stem}_voxels.tsv")
    if not path.exists():
        raise InputError(
            f"{file.path}: there is no list of its voxels ({path.name} with the columns x, y, z and region, one row "
            "per row "
            "of the matrix); add it."
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
                f"regions{nearest(name, regions)}; "
                "give the list of this parcellation."
            )
    flat = gridded.flat_of(listed.positions, listed.path)
    region = np.array([place[name] for name in listed.region], dtype=np.int64)
    points, winner, _ = gridded.winners()
    at = np.searchsorted(points, flat).clip(max=len(points) - 1)
    agree = float(np.mean((points[at] == flat) & (winner[at] == region)))
    if agree < 0.8:
        raise InputError(
            f"{listed.path}: only {100 * agree:.0f} % of the voxels have the region that the atlas image has there; "
            "list and "
            "atlas must be of the same parcellation and space."
        )
    grey = gridded.grey_matter[flat]
    empty = np.flatnonzero(~(grey > 0))
    if len(empty):
        k = int(empty[0])
        raise InputError(
            f"{listed.path}, row {k + 2}: the voxel holds no grey matter in the person's map, and so do "
            f"{len(empty) - 1} "
            "more; leave them out of the matrix and the list."
        )
    return flat, region, grey


# ---- synaptic density ------------------------------------------------------------------------------------------------


def _density(
    work: _Work,
    atlas: Atlas,
    space: str | None,
    regions: tuple[str, ...],
    gridded: Gridded | None,
    voxels: _Voxels | None,
) -> tuple[Float | None, Float | None]:
    options = work.options
    if options.pet is not None:
        path = Path(options.pet)
        tables, images = ([], [path]) if path.name.endswith(_MAP) else ([path], [])
    else:
        files = [f for f in work.files if f.suffix in ("pet", "mimap", "petmap")]
        name = str(work.notes.get("atlas image", ""))
        tables = [
            f.path
            for f in pick(files, ("pet", "mimap", "petmap"), ".tsv")
            if str(f.entities.get("seg", f.entities.get("atlas", ""))) in name
        ]
        images = [
            f.path for f in pick(files, ("pet", "mimap", "petmap"), _MAP) if f.entities.get("space", space) == space
        ]
    if len(tables) > 1 or len(images) > 1:
        both = tables if len(tables) > 1 else images
        raise InputError(
            f"{both[0].parent}: {len(both)} files can be the PET map ({', '.join(p.name for p in both[:3])}); say "
            "which "
            "with pet=."
        )
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
    if tables:
        units = _pet_units(work, tables[0])
        region_values = read_pet_table(tables[0], regions)
        work.took(tables[0], "synaptic density table")
    if units is not None:
        work.notes["synaptic density units"] = units
    return region_values, voxel_values


def _pet_units(work: _Work, path: Path) -> str:
    if work.options.pet_units is not None:
        found = str(work.options.pet_units)
        place = "pet_units"
    else:
        stem = path.name
        for end in (*_MAP, ".tsv"):
            stem = stem.removesuffix(end)
        sidecar = path.with_name(stem + ".json")
        parsed = [f for f in work.files if f.path == path]
        said = parsed[0].entities.get("meas") if parsed else None
        content = read_json(sidecar) if sidecar.exists() else {}
        if content:
            work.took(sidecar)
        found = str(content.get("Units", "") or said or "")
        place = str(sidecar)
        if not found:
            raise InputError(
                f"{path}: the unit is missing (no 'Units' in {sidecar.name}); say pet_units=, one of "
                f"{', '.join(PET_UNITS)}."
            )
    if found not in PET_UNITS:
        raise InputError(
            f"{place}: the unit of the PET map is '{found}'{nearest(found, PET_UNITS)}, but one of "
            f"{', '.join(PET_UNITS)} is "
            "needed: raw counts or activity are no measure of synaptic density."
        )
    return found


def _voxel_data(voxels: _Voxels, regions: tuple[str, ...], density: Float | None) -> VoxelData:
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


def volume_of(file: BidsFile) -> Volume:
    """Open the image of a BIDS file."""
    return load_volume(file.path, dimensions=(3, 4))
