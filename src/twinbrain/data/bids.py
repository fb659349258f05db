"""One person from a BIDS folder with derivatives: fMRIPrep images, QSIRecon connectomes, PET, any atlas, events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twinbrain.data.bids_find import (
    bold_files,
    check_hemispheres,
    choose_session,
    common_regions,
    find_atlas,
    find_connectome,
    find_matrix,
    selected,
)
from twinbrain.data.bids_names import choose_participant, files_of, only_one, parse_name, pick
from twinbrain.data.bids_options import ReadOptions, Work
from twinbrain.data.bids_parcels import parcellated_runs, read_parcellated
from twinbrain.data.bids_pet import read_density
from twinbrain.data.bids_series import events_of, read_series, voxel_data, voxel_list
from twinbrain.data.gridding import grid_of
from twinbrain.data.images import load_volume, require_same_space
from twinbrain.data.subject import Subject, is_laminar
from twinbrain.errors import InputError

__all__ = ["read_bids"]


def read_bids(root: str | Path, options: ReadOptions | None = None) -> Subject:
    """Read one participant of a BIDS folder.

    Found by their names below ``root`` (raw or ``derivatives/``, of any pipeline):

    * ``*_label-GM_probseg.nii.gz`` and ``atlas-*_dseg.nii.gz`` with ``.tsv``: grey matter in mm3 per region;
    * ``*_desc-preproc_bold.nii.gz`` with ``.json`` (RepetitionTime), mask and ``*_desc-confounds_timeseries.tsv``; or,
      where there is none, parcellated series (``*_seg-A_stat-mean_timeseries.tsv``, ``*.ptseries.nii``), no images;
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
    options = options or ReadOptions()
    root = Path(root)
    label = choose_participant(root, options.participant_label)
    files = files_of(root, label)
    session = choose_session(root, files, options.session)
    if session is not None:
        files = tuple(f for f in files if f.entities.get("ses", session) == session)
    work = Work(root, label, files, options)
    _check_whose(work)
    name = f"sub-{label}" + ("" if session is None else f"_ses-{session}")
    bolds, space = bold_files(work)
    parcels = {} if bolds else parcellated_runs(work)
    if parcels:
        return read_parcellated(work, parcels, name)
    atlas, table = find_atlas(work, space)
    grey = atlas.grey_matter_image
    target = load_volume(bolds[next(iter(bolds))].path, dimensions=(4,), what="preprocessed BOLD") if bolds else None
    label_volume = load_volume(atlas.label_image, dimensions=(3,), what="a label image")
    grey_volume = load_volume(grey, dimensions=(3,), what="a grey-matter map")
    require_same_space(grey_volume, label_volume)
    if target is not None:
        require_same_space(grey_volume, target)
    connectome = find_connectome(work, table)
    regions = common_regions(work, table, connectome)
    grey_matter, positions = atlas.region_volumes(regions)
    check_hemispheres(atlas, table, regions, positions)
    voxel_file = only_one(
        pick(files, ("connmatrix", "relmat"), ".npz", desc=("voxel", "voxels")),
        "the voxel connectome",
        "keep one",
    )
    listed = None if voxel_file is None or options.level == "region" else voxel_list(work, voxel_file)
    gridded = None if target is None else grid_of(atlas, regions, target)
    series, voxels = read_series(work, bolds, gridded, regions, listed)
    density, voxel_density = read_density(work, atlas, space, regions, gridded, voxels)
    lengths = find_matrix(work, "the tract lengths", options.lengths, ("length",), table, None)
    common: dict[str, Any] = {
        "lengths": None if lengths is None else selected(lengths, regions),
        "laminar": [table.laminar.get(name, is_laminar(name)) for name in regions],
        "name": name,
        "atlas": atlas,
        "provenance": work.notes,
        "grey_matter": grey_matter,
        "positions": positions,
        "synaptic_density": density,
        "events": events_of(work, bolds, series),
    }
    if not table.laminar:
        work.notes["laminar"] = "told from the names of the regions (the table of labels has no column 'laminar')"
    own = None if voxels is None else voxel_data(voxels, regions, voxel_density)
    matrix: Any = None if connectome is None else selected(connectome, regions)
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
            "give connectome=, a file with one row and column per region."
        )
    return Subject.from_arrays(matrix, regions, series, connectome_units=units, **common)


def _check_whose(work: Work) -> None:
    """Files given by hand that name a participant must name this one."""
    options = work.options
    for option in ("connectome", "lengths", "pet", "atlas", "labels"):
        value = getattr(options, option)
        parsed = None if value is None else parse_name(Path(value).name)
        whose = parsed[0].get("sub") if parsed else None
        if whose is not None and whose != work.label:
            raise InputError(
                f"{value}: this file is of participant '{whose}', but '{work.label}' is read from {work.root}; give "
                "the "
                f"{option} of the same person."
            )
