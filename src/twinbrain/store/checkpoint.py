"""The state of unfinished work, kept so that it can go on."""

from __future__ import annotations

import json
import logging
import os
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from twinbrain.errors import InputError
from twinbrain.store.files import explained, file_sha256, sync_folder

__all__ = ["Checkpoint", "Due"]

_LOG = logging.getLogger(__name__)


class Checkpoint:
    """The state of unfinished work: two generations, the newest intact one counts.

    Parameters
    ----------
    folder
        Where checkpoints are kept (``DIR/checkpoint``); made when first used.
    name
        Name of the work.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     work = Checkpoint(folder, "filter")
    ...     work.save({"volume": 20, "h": np.zeros((30, 2))})
    ...     Checkpoint(folder, "filter").load()["volume"]
    20
    """

    def __init__(self, folder: str | Path, name: str) -> None:
        self._folder, self._name = Path(folder), name

    def __repr__(self) -> str:
        return f"Checkpoint({str(self._folder)!r}, {self._name!r})"

    def save(self, state: Mapping[str, Any]) -> None:
        """Store arrays, numbers and text by name; the former state is kept until the next call.

        Raises
        ------
        InputError
            If the place cannot be written, or a value is an array of Python objects.
        """
        kinds: dict[str, str] = {}
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        for key, value in state.items():
            kinds[key] = type(value).__name__ if isinstance(value, (bool, int, float, str)) else "array"
            arrays[key] = np.asarray(value)
            if arrays[key].dtype.hasobject:
                raise InputError(f"checkpoint '{self._name}': '{key}' holds Python objects, expected numbers or text")
        kept = self._generations()
        number = kept[0][0] + 1 if kept else 1
        temporary = self._folder / f".{self._name}.{uuid.uuid4().hex[:8]}"
        with explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            for left in self._folder.glob(f".{self._name}.*"):
                left.unlink(missing_ok=True)  # of a process that was killed while writing
            try:
                with temporary.open("xb") as file:
                    write_bundle(file, kinds, arrays)
                    file.flush()
                    os.fsync(file.fileno())
                # the checksum is part of the name: content and checksum cannot part
                os.replace(temporary, self._folder / f"{self._name}.{number:09d}.{file_sha256(temporary)}.npz")
            finally:
                temporary.unlink(missing_ok=True)
            sync_folder(self._folder)
            for _, _, path in kept[1:]:
                path.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """Return the newest intact state, or None if there is none."""
        for number, checksum, path in self._generations():
            try:
                if file_sha256(path) == checksum:
                    return read_bundle(path)
            except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
                _LOG.debug("%s: %s", path, error)
            _LOG.warning("%s: generation %d is damaged, going back to the one before", path, number)
        return None

    def clear(self) -> None:
        """Remove every generation."""
        for _, _, path in self._generations():
            path.unlink(missing_ok=True)

    def _generations(self) -> list[tuple[int, str, Path]]:
        found = []
        for path in self._folder.glob(f"{self._name}.*.npz"):
            parts = path.name.removeprefix(f"{self._name}.").split(".")
            if len(parts) == 3 and parts[0].isdigit():
                found.append((int(parts[0]), parts[1], path))
        return sorted(found, reverse=True)


class Due:
    """Says when a checkpoint is due: the wall clock decides when one is written, never what is in it.

    Parameters
    ----------
    every_s
        Seconds between two checkpoints; 0: always due.
    clock
        Returns the time in s.

    Raises
    ------
    InputError
        If the interval is negative or not a number.

    Examples
    --------
    >>> due = Due(300.0, clock=iter([0.0, 299.0, 301.0, 302.0]).__next__)
    >>> due(), due(), due()
    (False, True, False)
    """

    def __init__(self, every_s: float = 300.0, clock: Callable[[], float] = time.monotonic) -> None:
        if not every_s >= 0:
            raise InputError(f"checkpoint_every_s is {every_s}, expected a number of seconds of at least 0")
        self._every, self._clock, self._last = every_s, clock, clock()

    def __call__(self) -> bool:
        """Return whether one is due now; if so, the next is due an interval later."""
        now = self._clock()
        if now - self._last < self._every:
            return False
        self._last = now
        return True


def write_bundle(file: IO[bytes], kinds: Mapping[str, str], arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write an npz file by hand: NumPy's own writer cannot hold an array named 'file'."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as bundle:
        bundle.writestr(zipfile.ZipInfo("kinds.json"), json.dumps(list(kinds.items())))
        for number, array in enumerate(arrays.values()):
            with bundle.open(zipfile.ZipInfo(f"{number}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def read_bundle(path: Path | IO[bytes]) -> dict[str, Any]:
    """Read what :func:`write_bundle` wrote."""
    state: dict[str, Any] = {}
    with zipfile.ZipFile(path) as bundle:
        for number, (key, kind) in enumerate(json.loads(bundle.read("kinds.json"))):
            with bundle.open(f"{number}.npy") as entry:
                array = np.lib.format.read_array(entry, allow_pickle=False)
            state[key] = array if kind == "array" else array.item()
    return state
