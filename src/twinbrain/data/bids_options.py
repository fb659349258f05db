"""What to read out of a BIDS folder or of loose files, and what is noted on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from twinbrain.data.bids_names import BidsFile
from twinbrain.data.connectome_files import sha256
from twinbrain.data.preparation import Preparation

__all__ = ["MAPS", "TABLES", "ReadOptions", "Work"]

#: Endings of images and of matrices.
MAPS = (".nii.gz", ".nii")
TABLES = (".csv", ".tsv", ".txt", ".npy", ".npz", ".mat", ".h5", ".hdf5")


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
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
class Work:
    """What is known of the person so far."""

    root: Path
    label: str
    files: tuple[BidsFile, ...]
    options: ReadOptions
    notes: dict[str, str] = field(default_factory=dict)
    atlas: str = ""

    def of_atlas(self, file: BidsFile) -> bool:
        """Say whether a file's name tells that it is of the chosen atlas (or of none in particular)."""
        named = file.entities.get("seg", file.entities.get("atlas"))
        return named is None or named.lower() == self.atlas.lower() or named in self.notes.get("atlas image", "")

    def took(self, path: Path, what: str = "") -> None:
        """Note the file with its hash."""
        try:
            name = str(path.relative_to(self.root))
        except ValueError:
            name = path.name
        self.notes[name] = sha256(path)
        if what:
            self.notes[what] = name
