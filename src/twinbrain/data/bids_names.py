"""File names of a BIDS folder taken apart, and the files of one person found. Twelve entities, no database."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from twinbrain.errors import InputError, nearest

__all__ = ["BidsFile", "choose_participant", "files_of", "is_bids", "only_one", "parse_name", "participants", "pick"]

_MOST_FILES = 200_000
_SKIPPED = ("sourcedata", "code", "stimuli", "work", "logs", "figures", ".git", ".datalad")
_NAME = re.compile(r"^(?P<entities>(?:[a-zA-Z]+-[a-zA-Z0-9+]+_)*)(?P<suffix>[a-zA-Z0-9]+)(?P<extension>\..+)$")


@dataclass(frozen=True)
class BidsFile:
    """One file: where it is, and what its name says.

    Attributes
    ----------
    path
        The file.
    entities
        Key -> value, as in the name (``sub``, ``ses``, ``task``, ``space``, ``desc``, ``seg`` ...).
    suffix
        The last word before the extension, for example ``"bold"``.
    extension
        With its dots, for example ``".nii.gz"``.
    """

    path: Path
    entities: Mapping[str, str]
    suffix: str
    extension: str


def parse_name(name: str) -> tuple[dict[str, str], str, str] | None:
    """Take a BIDS name apart; None if it is none.

    Examples
    --------
    >>> parse_name("sub-01_task-rest_space-MNI_desc-preproc_bold.nii.gz")
    ({'sub': '01', 'task': 'rest', 'space': 'MNI', 'desc': 'preproc'}, 'bold', '.nii.gz')
    >>> parse_name("README.md")
    ({}, 'README', '.md')
    >>> parse_name("my scan.nii") is None
    True
    """
    found = _NAME.match(name)
    if found is None:
        return None
    pairs = [part.partition("-") for part in found["entities"].split("_") if part]
    return {key: value for key, _, value in pairs}, found["suffix"], found["extension"]


def is_bids(folder: Path) -> bool:
    """Say whether a folder looks like a BIDS data set, raw or derived."""
    try:
        names = {entry.name for entry in os.scandir(folder) if entry.is_dir() or entry.is_file()}
    except OSError:
        return False
    return "dataset_description.json" in names or "derivatives" in names or any(n.startswith("sub-") for n in names)


def participants(root: Path) -> tuple[str, ...]:
    """List the labels of everyone who has a folder, raw or derived."""
    found: set[str] = set()
    for folder, folders, _ in _walk(root):
        found |= {name[4:] for name in folders if name.startswith("sub-")}
        folders[:] = [name for name in folders if not name.startswith("sub-")]
        if len(folder.relative_to(root).parts) >= 4:
            folders.clear()
    return tuple(sorted(found))


def files_of(root: Path, label: str) -> tuple[BidsFile, ...]:
    """Find the files of one participant and those of nobody in particular (atlases, side-cars higher up).

    Raises
    ------
    InputError
        If there are more files than any data set of one person has.
    """
    result: list[BidsFile] = []
    count = 0
    for folder, folders, names in _walk(root):
        folders[:] = [n for n in folders if not n.startswith("sub-") or n == f"sub-{label}"]
        count += len(names)
        if count > _MOST_FILES:
            raise InputError(f"{root}: more than {_MOST_FILES} files were found; give the folder of one data set.")
        for name in names:
            parsed = parse_name(name)
            if parsed is not None and parsed[0].get("sub", label) == label:
                result.append(BidsFile(folder / name, *parsed))
    return tuple(sorted(result, key=lambda f: str(f.path)))


def _walk(root: Path) -> Iterable[tuple[Path, list[str], list[str]]]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(n for n in folders if n not in _SKIPPED and not n.startswith("."))
        yield Path(folder), folders, names


def pick(
    files: Iterable[BidsFile],
    suffix: str | tuple[str, ...],
    extension: str | tuple[str, ...],
    **entities: str | tuple[str, ...] | None,
) -> list[BidsFile]:
    """Choose files by suffix, extension and entities; ``None`` means that the entity must not be there.

    Examples
    --------
    >>> f = BidsFile(Path("sub-01_desc-brain_mask.nii.gz"), {"sub": "01", "desc": "brain"}, "mask", ".nii.gz")
    >>> len(pick([f], "mask", ".nii.gz", desc="brain")), len(pick([f], "mask", ".nii.gz", desc=None))
    (1, 0)
    """
    suffixes = (suffix,) if isinstance(suffix, str) else suffix
    extensions = (extension,) if isinstance(extension, str) else extension

    def fits(file: BidsFile) -> bool:
        for key, wanted in entities.items():
            found = file.entities.get(key)
            if wanted is None:
                if found is not None:
                    return False
            elif found not in ((wanted,) if isinstance(wanted, str) else wanted):
                return False
        return file.suffix in suffixes and file.extension in extensions

    return [file for file in files if fits(file)]


def only_one(files: list[BidsFile], what: str, how: str) -> BidsFile | None:
    """Return the only file, None if there is none, and ask if there are several.

    Raises
    ------
    InputError
        If there are several.
    """
    if len(files) > 1:
        names = ", ".join(f.path.name for f in files[:4]) + (", ..." if len(files) > 4 else "")
        raise InputError(f"{files[0].path.parent}: {len(files)} files can be {what} ({names}); {how}.")
    return files[0] if files else None


def choose_participant(root: Path, label: str | None) -> str:
    """Check a participant's label (with or without ``sub-``), or take the only one there is.

    Raises
    ------
    InputError
        If there is nobody, or it is not clear who is meant.
    """
    known = participants(root)
    if not known:
        raise InputError(f"{root}: there is no folder sub-<label> in it or in its derivatives; give a BIDS data set.")
    if label is None:
        if len(known) > 1:
            shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
            raise InputError(f"{root}: {len(known)} people are in it ({shown}); say who with participant_label='...'.")
        return known[0]
    chosen = str(label).removeprefix("sub-")
    if chosen not in known:
        raise InputError(
            f"{root}: there is no participant '{chosen}'{nearest(chosen, known)}; there is {', '.join(known[:8])}"
            f"{', ...' if len(known) > 8 else ''}."
        )
    return chosen
