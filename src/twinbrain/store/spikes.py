"""Spikes on disk while a run goes on: one checksummed file per stretch of it, whole or not there."""

from __future__ import annotations

import contextlib
import io
import os
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from twinbrain.errors import CorruptFile, InputError
from twinbrain.store.checkpoint import read_bundle, write_bundle
from twinbrain.store.files import explained, file_sha256

__all__ = ["SpikeFolder", "iterate_spikes", "read_spikes"]

Int = NDArray[np.int64]
_NAMES = ("member", "step", "neuron")


class SpikeFolder:
    """A folder of spikes, one file per stretch of a run; the checksum of each is part of its name.

    Parameters
    ----------
    folder
        Where the files go; made when the first is written. A folder that holds anything else is refused.

    Raises
    ------
    InputError
        If the folder holds files that are not spikes, or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     spikes = SpikeFolder(Path(place) / "spikes")
    ...     spikes.append(*(np.array(x) for x in ([0, 0], [3, 7], [12, 5])))
    ...     read_spikes(spikes.folder, exchange_ms=1.0).neuron.values.tolist()
    [12, 5]
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if self.folder.is_dir():
            strange = [p.name for p in self.folder.iterdir() if not p.name.startswith((".spikes", "spikes."))]
            if strange:
                raise InputError(
                    f"{self.folder}: found '{sorted(strange)[0]}' where spikes are to be written, expected an empty "
                    "folder or one of spikes; choose another folder"
                )
        self.stretches = len(_files(self.folder))

    def append(self, member: Int, step: Int, neuron: Int) -> None:
        """Write the spikes of the next stretch: numbers of member, exchange interval and neuron."""
        temporary = self.folder / f".spikes.{uuid.uuid4().hex[:8]}"
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with temporary.open("xb") as file:
                    # ids and steps are 64 bits wide in the engine; on disk 4 bytes hold an id of any network here
                    arrays = (member.astype(np.uint32), step.astype(np.int64), neuron.astype(np.uint32))
                    write_bundle(file, dict.fromkeys(_NAMES, "array"), dict(zip(_NAMES, arrays, strict=True)))
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self.folder / f"spikes.{self.stretches:06d}.{file_sha256(temporary)}.npz")
            finally:
                temporary.unlink(missing_ok=True)
        self.stretches += 1

    def cut(self, stretches: int) -> None:
        """Keep the first so many stretches: what a killed run wrote after its last checkpoint goes."""
        for path in _files(self.folder)[stretches:]:
            path.unlink()
        if len(_files(self.folder)) != stretches:
            raise CorruptFile(
                f"{self.folder}: found {len(_files(self.folder))} files of spikes, expected {stretches}; some were "
                "removed, so start the run anew"
            )
        self.stretches = stretches


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("spikes.*.npz"))


def iterate_spikes(folder: str | Path) -> Iterator[tuple[Int, Int, Int]]:
    """Yield (member, step, neuron) of one stretch after the other, so that not all must fit in memory.

    Raises
    ------
    CorruptFile
        If a file is damaged or missing.
    """
    files = _files(Path(folder))
    if not files:
        raise CorruptFile(f"{folder}: holds no spikes; expected files named spikes.000000... made by a run")
    for number, path in enumerate(files):
        parts = path.name.split(".")
        if len(parts) != 4 or parts[1] != f"{number:06d}":
            raise CorruptFile(f"{folder}: stretch {number} of the spikes is missing; run the study again")
        content = path.read_bytes()
        bundle = None
        if file_sha256(path) == parts[2]:
            with contextlib.suppress(ValueError, KeyError, OSError, zipfile.BadZipFile):
                bundle = read_bundle(io.BytesIO(content))
        if bundle is None:
            raise CorruptFile(f"{path}: is damaged (its checksum differs); run the study again")
        yield tuple(np.asarray(bundle[n], np.int64) for n in _NAMES)  # type: ignore[misc]


def read_spikes(folder: str | Path, *, exchange_ms: float = 1.0) -> xr.Dataset:
    """Read the spikes that ``Record(spikes_folder=...)`` wrote, as ``Run.spikes`` has them.

    Parameters
    ----------
    folder
        The folder of spikes.
    exchange_ms
        Exchange interval of the run, ms: ``time_ms = (step + 1) exchange_ms``.

    Returns
    -------
    Dataset
        ``step``, ``time_ms``, ``neuron``, ``member`` along ``spike``.

    Raises
    ------
    CorruptFile
        If a file is damaged or missing.

    Examples
    --------
    >>> read_spikes("/nonexistent")
    Traceback (most recent call last):
    twinbrain.errors.CorruptFile: /nonexistent: holds no spikes; expected files named spikes.000000... made by a run
    """
    stretches = list(iterate_spikes(folder))
    member, step, neuron = (np.concatenate([s[k] for s in stretches]) for k in range(3))
    order = np.lexsort((neuron, step, member))
    columns = {
        "step": step[order], "time_ms": (step[order] + 1) * exchange_ms, "neuron": neuron[order],
        "member": member[order],
    }  # fmt: skip
    return xr.Dataset({k: ("spike", v) for k, v in columns.items()})
