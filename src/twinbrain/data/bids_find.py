"""Which files of a BIDS folder are meant: session, runs, atlas, grey matter, connectomes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.data.atlas import Atlas
from twinbrain.data.atlases import ATLASES, installed_atlas
from twinbrain.data.bids_names import BidsFile, only_one, pick
from twinbrain.data.bids_options import MAPS, TABLES, Work
from twinbrain.data.connectome_files import read_connectome
from twinbrain.data.images import hemisphere_of, load_volume
from twinbrain.data.safety import read_json
from twinbrain.data.tables import LabelTable, read_labels
from twinbrain.errors import InputError, nearest

__all__ = [
    "bold_files",
    "check_hemispheres",
    "choose_session",
    "common_regions",
    "find_atlas",
    "find_connectome",
    "find_matrix",
    "repetition_time",
    "selected",
]

Float = npt.NDArray[np.float64]

_PREFERRED = "MNI152NLin2009cAsym"


def choose_session(root: Path, files: tuple[BidsFile, ...], chosen: str | None) -> str | None:
    known = sorted({f.entities["ses"] for f in files if "ses" in f.entities and f.suffix in ("bold", "probseg")})
    if chosen is None:
        if len(known) > 1:
            raise InputError(f"{root}: the sessions {', '.join(known)} were found; say which with session='...'.")
        return known[0] if known else None
    wanted = str(chosen).removeprefix("ses-")
    if wanted not in known:
        there = f"there is {', '.join(known)}" if known else "no file names one, so leave it out"
        raise InputError(f"{root}: there is no session '{wanted}'{nearest(wanted, known)}; {there}.")
    return wanted


def bold_files(work: Work) -> tuple[dict[str, BidsFile], str | None]:
    """Preprocessed runs in one space, by the name of the run (the task, and what tells runs of a task apart)."""
    found = pick(work.files, "bold", MAPS, desc="preproc")
    wanted, _, resolution = (work.options.space or "").partition(":res-")
    spaces = sorted({f.entities.get("space", "native") for f in found})
    space = wanted or None
    if space is None and spaces:
        space = _PREFERRED if _PREFERRED in spaces else spaces[0]
        if len(spaces) > 1 and _PREFERRED not in spaces:
            raise InputError(
                f"{work.root}: BOLD is there in the spaces {', '.join(spaces)}; say which with space='...' (that of "
                "the atlas and the grey-matter map)."
            )
    if space is not None and spaces and space not in spaces:
        raise InputError(
            f"{work.root}: there is no BOLD in the space '{space}'{nearest(space, spaces)}; there is "
            f"{', '.join(spaces)}."
        )
    chosen = [f for f in found if f.entities.get("space", "native") == space]
    grids = sorted({f.entities.get("res", "") for f in chosen})
    if resolution and resolution not in grids:
        raise InputError(
            f"{work.root}: there is no BOLD of resolution '{resolution}' in the space '{space}'; there is "
            f"{', '.join(g or 'one without res' for g in grids)}."
        )
    if len(grids) > 1 and not resolution:
        raise InputError(
            f"{work.root}: BOLD is there in {len(grids)} resolutions (res {', '.join(g or 'none' for g in grids)}); "
            f"say which with space='{space}:res-{grids[-1]}'."
        )
    if resolution:
        chosen = [f for f in chosen if f.entities.get("res") == resolution]
    runs: dict[str, BidsFile] = {}
    for file in chosen:
        parts = [file.entities.get("task", "bold")]
        parts += [f"{key}-{file.entities[key]}" for key in ("acq", "dir", "run") if key in file.entities]
        same = [f for f in chosen if f.entities.get("task") == file.entities.get("task")]
        name = parts[0] if len(same) == 1 else "_".join(parts)
        if name in runs:
            raise InputError(
                f"{file.path}: a second file is named like the run '{name}' ({runs[name].path.name}); keep one."
            )
        runs[name] = file
    return runs, space


def find_atlas(work: Work, space: str | None) -> tuple[Atlas, LabelTable]:
    options = work.options
    images = [f for f in pick(work.files, ("dseg", "parc"), MAPS) if "atlas" in f.entities or "seg" in f.entities]
    if space is not None:
        images = [f for f in images if f.entities.get("space", space) == space]
    name = None
    if options.atlas is not None and (str(options.atlas).endswith(MAPS) or Path(options.atlas).exists()):
        image = Path(options.atlas)
        if not image.exists():
            raise InputError(f"{image}: there is no such label image; check the path given as atlas=.")
        name = image.name.split(".")[0]
    else:
        if options.atlas is not None:
            known = sorted({_atlas_name(f) for f in images})
            images = [f for f in images if _atlas_name(f) == str(options.atlas)]
            if not images and str(options.atlas) in ATLASES:
                return _installed(work, str(options.atlas), space)
            if not images:
                raise InputError(
                    f"{work.root}: there is no atlas '{options.atlas}'{nearest(str(options.atlas), known)} in the "
                    f"space '{space}'; there is {', '.join(known) or 'none'}; give the path of a label image with "
                    "atlas=."
                )
        file = only_one(images, "the atlas", "say which with atlas='NAME' or the path of a label image")
        if file is None:
            raise InputError(
                f"{work.root}: there is no label image atlas-*_space-{space}_dseg.nii.gz in its derivatives; give one "
                f"with atlas=, and its table with labels=, or name one that is installed ({', '.join(ATLASES)})."
            )
        image, name = file.path, _atlas_name(file)
    if options.labels is not None:
        path = Path(options.labels)
    else:
        beside = [f for f in pick(work.files, ("dseg", "parc"), (".tsv",)) if _atlas_name(f) == name]
        own = image.with_name(image.name.split(".")[0] + ".tsv")
        spaceless = image.with_name(re.sub(r"_(space|res)-[^_]+", "", own.name))  # BIDS: one table for all spaces
        if own.exists() or spaceless.exists():
            path = own if own.exists() else spaceless
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
    grey = _grey_matter(work, space)
    check_labels(image, path, table)
    work.atlas = name or "atlas"
    return Atlas(work.atlas, image, table.names, grey, probability_scale(grey)), table


def _installed(work: Work, name: str, space: str | None) -> tuple[Atlas, LabelTable]:
    """Take an atlas of an installed package, with the person's own grey matter; both must be in MNI space."""
    if space is None or not space.startswith("MNI"):
        raise InputError(
            f"{work.root}: the atlas {name} is in MNI space, but the images are in the space '{space}'; say "
            f"space='{_PREFERRED}', or give a label image in the space of the images."
        )
    found, table = installed_atlas(name)
    grey = _grey_matter(work, space)
    work.took(found.label_image, "atlas image")
    work.atlas = name
    work.notes["atlas"] = f"{name} of the package {ATLASES[name]}"
    return Atlas(name, found.label_image, table.names, grey, probability_scale(grey)), table


def _grey_matter(work: Work, space: str | None) -> Path:
    tissue = pick(work.files, "probseg", MAPS, label="GM")
    if space is not None:
        tissue = [f for f in tissue if f.entities.get("space", "native") == space]
    if (
        len({(f.entities.get("ses"), f.entities.get("acq")) for f in tissue}) == 1
    ):  # one map on several grids: the finest
        tissue = sorted(tissue, key=lambda f: float(load_volume(f.path).spacing.max()))[:1]
    grey = only_one(tissue, "the grey-matter map", "keep one (say which session with session=)")
    if grey is None:
        raise InputError(
            f"{work.root}: there is no grey-matter map ..._space-{space}_label-GM_probseg.nii.gz of participant "
            f"'{work.label}'; run fMRIPrep with --output-spaces {space}, or rename the map of FreeSurfer or FSL FAST "
            "so."
        )
    work.took(grey.path, "grey matter")
    return grey.path


def _atlas_name(file: BidsFile) -> str:
    return file.entities.get("atlas", file.entities.get("seg", ""))


def check_labels(image: Path, path: Path, table: LabelTable) -> None:
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
            "the table that belongs to this image."
        )


def probability_scale(path: Path) -> float:
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
            "1; give the tissue map, not the image it was made from."
        )
    for scale in (1.0, 100.0, 255.0):
        if high <= scale * 1.01 and (scale == 1.0 or high > 0.5 * scale):
            return scale
    raise InputError(
        f"{path}: values up to {high:g} were found, but a grey-matter map holds probabilities from 0 to 1 (or 0 to "
        "100, 0 to 255); give the tissue map."
    )


def find_connectome(work: Work, table: LabelTable) -> xr.DataArray | None:
    options = work.options
    return find_matrix(work, "the connectome", options.connectome, (), table, options.weighting)


def find_matrix(
    work: Work,
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
            found = [f for f in found if work.of_atlas(f)]

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
    return [*TABLES, ".dense.tsv", ".dense.csv", ".connectivity.mat"]


def selected(matrix: xr.DataArray, regions: tuple[str, ...]) -> xr.DataArray:
    known = [str(n) for n in matrix["target"].values]
    for name in regions:
        if name not in known:
            raise InputError(f"tract lengths: region '{name}' is missing{nearest(name, known)}; add it.")
    return matrix.sel(target=list(regions), source=list(regions))


def common_regions(work: Work, table: LabelTable, connectome: xr.DataArray | None) -> tuple[str, ...]:
    """Regions that both the atlas and the connectome know, in the atlas's order."""
    if connectome is None:
        return table.regions
    known = [str(n) for n in connectome["target"].values]
    for name in known:
        if name not in table.regions:
            raise InputError(
                f"{work.root / work.notes['connectome']}: region '{name}' is not in "
                f"{work.notes.get('atlas labels', 'the atlas')}{nearest(name, table.regions)}; give the connectome and "
                "the atlas of the same parcellation."
            )
    chosen = tuple(name for name in table.regions if name in set(known))
    dropped = [name for name in table.regions if name not in set(known)]
    if dropped:
        work.notes["regions without connectome"] = f"{len(dropped)} left out: {', '.join(dropped)}"
    return chosen


def check_hemispheres(atlas: Atlas, table: LabelTable, regions: tuple[str, ...], positions: Float) -> None:
    """Names that say left must lie at x < 0, as in every space with an affine to the scanner or MNI."""
    sides = [table.hemisphere.get(name) or hemisphere_of(name) for name in regions]
    named = [(name, side, x) for name, side, x in zip(regions, sides, positions[:, 0], strict=True) if side]
    wrong = [(name, x) for name, side, x in named if (x > 0) == (side == "L") and abs(x) > 3]
    if len(named) >= 2 and len(wrong) > len(named) / 2:
        name, x = wrong[0]
        raise InputError(
            f"{atlas.label_image}: '{name}' lies at x = {x:.0f} mm, and so do {len(wrong)} of {len(named)} regions on "
            "the wrong side: the hemispheres are swapped; correct the sign of the first axis of the affine, or the "
            "table."
        )


def repetition_time(work: Work, file: BidsFile) -> float:
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
