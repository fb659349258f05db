"""A folder of exported files: whole or not there, with a checksum of every file."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from twinbrain.errors import CorruptFile, InputError
from twinbrain.store import file_sha256

__all__ = ["MANIFEST", "new_folder", "verify_export"]

#: Name of the list of checksums; ``sha256sum -c`` reads it as well.
MANIFEST = "checksums.sha256"


@contextlib.contextmanager
def new_folder(out: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a hidden folder to write into, which becomes ``out`` when all is written, with checksums of all files.

    Nothing appears anywhere if the work fails. Of two processes that write to the same place the second is refused.

    Parameters
    ----------
    out
        A path that does not exist yet, or an empty folder; its parent must exist.

    Raises
    ------
    InputError
        If something is there, or the place cannot be written.

    Examples
    --------
    >>> place = Path(tempfile.mkdtemp()) / "out"
    >>> with new_folder(place) as folder:
    ...     _ = (folder / "a.txt").write_text("whole")
    >>> sorted(path.name for path in place.iterdir())
    ['a.txt', 'checksums.sha256']
    """
    out = Path(out).absolute()
    for part in reversed(out.parents):
        if part.exists() and not part.is_dir():
            raise InputError(f"{out}: '{part}' is a file, expected a folder; choose another place")
    if not out.parent.is_dir():
        raise InputError(f"{out}: the folder '{out.parent}' does not exist; make it first")
    _refuse_what_is_there(out)
    try:
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    except OSError as error:
        raise _cannot(out, error) from None
    try:
        temporary.chmod(0o755)
        yield temporary
        lines = [f"{file_sha256(p)}  {p.relative_to(temporary).as_posix()}" for p in _files(temporary)]
        (temporary / MANIFEST).write_text("\n".join(lines) + "\n", encoding="utf-8")
        for path in _files(temporary):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        _refuse_what_is_there(out)
        os.replace(temporary, out)
    except OSError as error:
        raise _cannot(out, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _refuse_what_is_there(out: Path) -> None:
    if out.is_dir():
        held = next(iter(sorted(out.iterdir())), None)
        if held is not None:
            raise InputError(f"{out}: holds something already (such as '{held.name}'); choose a new or empty folder")
    elif out.exists() or out.is_symlink():
        raise InputError(f"{out}: is there already and no folder; choose a new or empty folder")


def _cannot(out: Path, error: OSError) -> InputError:
    reason = error.strerror or " ".join(str(error).split())
    return InputError(f"{out}: cannot be written ({reason}), nothing was; choose a folder that has room")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def verify_export(folder: str | os.PathLike[str]) -> int:
    """Compare every exported file with its checksum, and return how many files there are.

    Raises
    ------
    InputError
        If the folder holds no export.
    CorruptFile
        If a file is damaged, missing or was not exported; the sentence names it.

    Examples
    --------
    >>> place = Path(tempfile.mkdtemp()) / "out"
    >>> with new_folder(place) as folder:
    ...     _ = (folder / "a.txt").write_text("whole")
    >>> verify_export(place)
    1
    >>> _ = (place / "a.txt").write_text("whale")
    >>> verify_export(place)
    Traceback (most recent call last):
    ...
    twinbrain.errors.CorruptFile: ...a.txt: is not as it was exported; export it again
    """
    folder = Path(folder)
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise InputError(f"{folder}: holds no {MANIFEST}, so it is no export; make one with 'twinbrain export'")
    listed: dict[str, str] = {}
    for line in manifest.read_bytes().decode("utf-8", "replace").split("\n")[:-1]:
        checksum, _, name = line.partition("  ")
        listed[name] = checksum
    present = {path.relative_to(folder).as_posix(): path for path in _files(folder) if path != manifest}
    for name in listed:
        if name not in present:
            raise CorruptFile(f"{manifest}: lists '{name}', which is not there; export it again")
    for name, path in present.items():
        if name not in listed:
            raise CorruptFile(f"{path}: is not listed in {MANIFEST}; it was added, or the list is damaged")
        if file_sha256(path) != listed[name]:
            raise CorruptFile(f"{path}: is not as it was exported; export it again")
    return len(present)
