"""Ways to make a damaged or mistaken file, for the tables of bad input."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import files
from twinbrain.data.read import read_subject

Case = tuple[str, Callable[[Path], object], str]  # name, what is done in a folder, what is said


def swapped(values: np.ndarray, place: object, value: float) -> np.ndarray:
    values = np.array(values)
    values[place] = value  # type: ignore[index]
    return values


def matrix(values: np.ndarray, name: str = "sc.csv") -> Callable[[Path], object]:
    def go(folder: Path) -> object:
        return read_subject(files.labelled_csv(folder / name, values))

    return go


def text(name: str, content: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
    def go(folder: Path) -> object:
        (folder / name).write_text(content)
        return read(folder / name)

    return go


def edited(
    name: str, write: files.Writer, change: Callable[[str], str], read: Callable[[Path], object]
) -> Callable[[Path], object]:
    def go(folder: Path) -> object:
        path = write(folder / name)
        before = path.read_text()
        after = change(before)
        assert after != before, "the edit did nothing"
        path.write_text(after)
        return read(path)

    return go


def cut(name: str, write: files.Writer, share: float, read: Callable[[Path], object]) -> Callable[[Path], object]:
    def go(folder: Path) -> object:
        path = write(folder / name)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        return read(path)

    return go


def saved(name: str, make: Callable[[Path], object], read: Callable[[Path], object]) -> Callable[[Path], object]:
    def go(folder: Path) -> object:
        make(folder / name)
        return read(folder / name)

    return go


def zipped(
    name: str, members: dict[str, bytes], read: Callable[[Path], object], link: bool = False
) -> Callable[[Path], object]:
    def go(folder: Path) -> object:
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                entry = zipfile.ZipInfo(member)
                entry.compress_type = zipfile.ZIP_DEFLATED
                if link:
                    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(entry, content)
        return read(folder / name)

    return go
