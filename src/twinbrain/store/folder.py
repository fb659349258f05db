"""The results folder as a place: is it ours, how far is the work, and who is writing."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from twinbrain.errors import CorruptFile, InputError
from twinbrain.store.files import explained, write_text_atomic

__all__ = ["clear_results", "locked", "output_folder", "read_status", "write_status"]

_LOG = logging.getLogger(__name__)
_STATES = ("running", "interrupted", "complete")
_MARKS = {"checksums.json", ".ready", "status"}  # what shows that a folder is ours
_HELD: dict[Path, int] = {}  # locks of this process, with how often they were taken


def write_status(folder: str | Path, status: str) -> None:
    """Say how far the work in a folder is: ``running STAGE``, ``interrupted STAGE`` or ``complete``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_status(folder, "running twin")
    ...     read_status(folder)
    'running twin'
    """
    if status.split(" ")[0] not in _STATES:
        raise ValueError(f"status '{status}' does not begin with one of {_STATES}")
    write_text_atomic(Path(folder) / "status", status + "\n")


def read_status(folder: str | Path) -> str:
    """Return what :func:`write_status` wrote, or ``""`` if the folder holds no status.

    Raises
    ------
    CorruptFile
        If the file holds anything else.
    """
    path = Path(folder) / "status"
    try:
        text = path.read_bytes().decode("ascii", "replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if text.split(" ")[0] not in _STATES:
        raise CorruptFile(f"{path}: holds {text[:40]!r}, expected one of {', '.join(_STATES)}; the file is damaged")
    return text


def output_folder(folder: str | Path) -> Path:
    """Make the folder for results, or refuse the place in one sentence.

    Raises
    ------
    InputError
        If the path or a part of it is a file, if it cannot be written, or if it holds something else.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     output_folder(Path(parent) / "new" / "out").is_dir()
    True
    """
    folder = Path(folder)
    for part in (folder, *folder.parents):
        if part.exists() and not part.is_dir():
            raise InputError(f"{folder}: '{part}' is a file, expected a folder; choose another output folder")
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held = {entry.name for entry in folder.iterdir()}
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: is read-only; choose an output folder that can be written")
    visible = sorted(name for name in held if not name.startswith("."))
    if visible and not held & _MARKS:
        raise InputError(f"{folder}: holds something else (such as '{visible[0]}'); choose a new or empty folder")
    return folder


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Keep every other process from writing into a folder; a lock whose process has died is taken over.

    Raises
    ------
    InputError
        If another living process holds the folder.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, locked(folder):
    ...     (Path(folder) / ".lock").exists()
    True
    """
    folder = Path(folder).resolve()
    path = folder / ".lock"
    if folder in _HELD:  # a stage that saves inside a run that holds the folder
        _HELD[folder] += 1
        try:
            yield
        finally:
            _HELD[folder] -= 1
        return
    owner = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": _process_start(os.getpid())})
    with explained(path):
        while not _create(path, owner):
            _refuse_or_clear(path)
    _HELD[folder] = 1
    try:
        yield
    finally:
        del _HELD[folder]
        path.unlink(missing_ok=True)


def _create(path: Path, owner: str) -> bool:
    # a hard link appears with its content: no reader meets an empty lock
    temporary = path.with_name(f".lock.{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_text(owner, encoding="utf-8")
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _refuse_or_clear(path: Path) -> None:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        pid, host, started = int(owner["pid"]), str(owner["host"]), owner["started"]
    except FileNotFoundError:
        return  # it was released in the meantime
    except (ValueError, KeyError, TypeError):
        pid, host, started = -1, "", None
    if pid > 0 and (host != socket.gethostname() or _process_start(pid) == started):
        raise InputError(
            f"{path.parent}: process {pid} on {host} is writing here; wait for it or choose another folder "
            f"(if that process is gone, delete '{path}')"
        )
    _LOG.warning("%s: taking over the lock of a process that has died", path)
    aside = path.with_name(f".lock.{uuid.uuid4().hex[:8]}")
    with contextlib.suppress(FileNotFoundError):  # another process may clear the same lock
        os.replace(path, aside)
        aside.unlink()


def _process_start(pid: int) -> float | None:
    """Tell a process from a later one of the same number."""
    import psutil

    try:
        return round(float(psutil.Process(pid).create_time()), 1)
    except psutil.Error:
        return None


def clear_results(folder: str | Path) -> None:
    """Remove the results, checkpoints and status in a folder of ours, and nothing else.

    Raises
    ------
    InputError
        If something cannot be removed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_status(folder, "complete")
    ...     clear_results(folder)
    ...     read_status(folder)
    ''
    """
    folder = Path(folder)
    with locked(folder), explained(folder):
        write_status(folder, "interrupted start")  # stays until the end, so that the folder is known to be ours
        entries = "checksums.json .ready results.zarr scores.json provenance.json study.toml tables figures report.html"
        for name in (*entries.split(), "experiment.toml", "cells", "checkpoint", "spikes", "status"):
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
