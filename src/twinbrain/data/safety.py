"""Read what strangers wrote: sizes are checked before memory is asked for, and damage becomes one clear sentence.

Nothing here executes anything found in a file. Headers are believed only as far as the bytes behind them reach.
"""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import json
import os
import stat
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from twinbrain.errors import InputError

__all__ = [
    "check_gzip",
    "check_memory",
    "file_size",
    "open_zip",
    "read_json",
    "read_member",
    "reading",
    "unpack_bz2",
]

#: What libraries raise when a file is not what it says it is.
DAMAGED: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    ExpatError,
    csv.Error,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)

_CHUNK = 1 << 20
_SHARE = 0.8  # of the memory that is free
_MOST_MEMBERS = 10_000  # files in one archive
_MOST_RATIO = 1032  # no deflate stream unpacks to more than this times its size
_SUSPECT_RATIO = 200  # text and numbers rarely reach 20
_SMALL = 16 << 20  # bytes; smaller than this, any ratio is harmless
_MOST_JSON = 10_000_000  # bytes of a side-car file


@contextlib.contextmanager
def reading(path: Path, what: str, remedy: str = "give the whole, undamaged file") -> Iterator[None]:
    """Turn what goes wrong while a file is read into an InputError that names it; warnings of readers stay inside.

    Examples
    --------
    >>> with reading(Path("a.nii"), "a NIfTI image"):
    ...     raise EOFError("ends early")
    Traceback (most recent call last):
    ...
    twinbrain.errors.InputError: a.nii: this cannot be read as a NIfTI image (ends early); give the whole, undamaged \
file.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except (*DAMAGED, *_of_libraries()) as error:
        raise InputError(f"{path}: this cannot be read as {what} ({_reason(error)}); {remedy}.") from None


def _of_libraries() -> tuple[type[Exception], ...]:
    """What nibabel and scipy raise that is no common exception; asked for only once something was raised."""
    from nibabel.cifti2.cifti2 import Cifti2HeaderError
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError, HeaderTypeError, ImageDataError
    from nibabel.streamlines.tractogram_file import DataError, HeaderError
    from nibabel.wrapstruct import WrapStructError
    from scipy.io.matlab import MatReadError

    of_images = ImageFileError, HeaderDataError, HeaderTypeError, ImageDataError, WrapStructError, Cifti2HeaderError
    return (*of_images, DataError, HeaderError, MatReadError)


def _reason(error: Exception) -> str:
    said = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 120 else said[:117] + "..."


def file_size(path: str | os.PathLike[str]) -> int:
    """Return the size of a file in bytes.

    Raises
    ------
    InputError
        If there is no such file, it is a folder, or it is empty.

    Examples
    --------
    >>> file_size("/nowhere/at/all.csv")
    Traceback (most recent call last):
    ...
    twinbrain.errors.InputError: /nowhere/at/all.csv: there is no such file; check the path.
    """
    path = Path(path)
    try:
        found = path.stat()
    except (OSError, ValueError):
        raise InputError(f"{path}: there is no such file; check the path.") from None
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path}: this is no file; give the path of a file.")
    if not found.st_size:
        raise InputError(f"{path}: the file is empty; give the whole file (was it copied or downloaded in full?).")
    return int(found.st_size)


def check_memory(path: Path, needed: int, what: str) -> None:
    """Refuse to read what would not fit into the free memory.

    Raises
    ------
    InputError
        If ``needed`` bytes are more than four fifths of what is free.

    Examples
    --------
    >>> check_memory(Path("a.npy"), 10, "an array")
    """
    import psutil

    free = int(psutil.virtual_memory().available)
    if needed > _SHARE * free:
        raise InputError(
            f"{path}: {what} would take {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB of memory are free; use a "
            "coarser image or a machine with more memory (or the header is damaged)."
        )


def check_gzip(path: Path, expected: int) -> None:
    """Unpack a gzip file piece by piece, keeping nothing: whole, undamaged, and as long as its header says?

    Parameters
    ----------
    path
        The file.
    expected
        Bytes that the header inside announces; at least so many must be there.

    Raises
    ------
    InputError
        If the file is damaged or cut off, or holds far more than it announces.
    """
    size = file_size(path)
    if expected > size * _MOST_RATIO:
        raise InputError(
            f"{path}: the header announces {expected} bytes, which {size} compressed bytes cannot hold; the header is "
            "damaged or the file is cut off, so copy it again."
        )
    count, most = 0, 2 * expected + _SMALL  # some formats keep notes behind the numbers
    try:
        with gzip.open(path, "rb") as file:
            while count <= most:
                piece = file.read(_CHUNK)
                if not piece:
                    break
                count += len(piece)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: the compressed file is damaged or cut off after {count} of {expected} bytes ({_reason(error)}); "
            "copy or make it again."
        ) from None
    if count < expected:
        raise InputError(
            f"{path}: the file holds {count} bytes, but its header announces {expected}; it is cut off, so copy or "
            "make it again."
        )
    if count > most:
        raise InputError(
            f"{path}: the file holds far more than the {expected} bytes its header announces; it is damaged or no "
            "image, so make it again."
        )


def read_json(path: Path) -> dict[str, Any]:
    """Read a side-car file: one JSON object.

    Raises
    ------
    InputError
        If it is too large, not UTF-8, not JSON or not an object.
    """
    if file_size(path) > _MOST_JSON:
        raise InputError(
            f"{path}: the file has more than {_MOST_JSON} bytes, which no side-car has; give the right one."
        )
    with reading(path, "JSON", "correct it there"):
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except RecursionError:
            raise InputError(f"{path}: the brackets are nested too deeply for a side-car; correct it there.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: a JSON {type(content).__name__} was found, but an object {{...}} is needed.")
    return content


@contextlib.contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive after a look at its table of contents; nothing is ever unpacked to disk.

    Raises
    ------
    InputError
        If it is no archive, names lead out of it (``..``, absolute paths, links), members are encrypted, or it
        unpacks to suspiciously much.
    """
    size = file_size(path)
    with reading(path, "a zip archive"), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > _MOST_MEMBERS:
            raise InputError(f"{path}: {len(members)} files are in it, at most {_MOST_MEMBERS} are expected.")
        total = 0
        for member in members:
            name = member.filename
            parts = name.replace("\\", "/").split("/")
            if ".." in parts or name.startswith(("/", "\\")) or (len(parts[0]) == 2 and parts[0][1] == ":"):
                raise InputError(f"{path}: the member {name!r} leads out of the archive; make the archive again.")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise InputError(f"{path}: the member {name!r} is a link; make the archive again with the files.")
            if member.flag_bits & 1:
                raise InputError(f"{path}: the member {name!r} is encrypted; give an archive without a password.")
            total += member.file_size
            if member.file_size > max(_SMALL, _SUSPECT_RATIO * max(member.compress_size, 1)):
                raise InputError(
                    f"{path}: the member {name!r} unpacks from {member.compress_size} to {member.file_size} bytes, "
                    "which no measured numbers do; make the archive again."
                )
        if total > max(_SMALL, _SUSPECT_RATIO * size):
            raise InputError(f"{path}: {size} bytes unpack to {total}, which no measured numbers do; make it again.")
        check_memory(path, total, "the unpacked archive")
        yield archive


def read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Unpack one file of an archive into memory, at most as long as announced (and CRC-checked by the reader)."""
    path = Path(str(archive.filename))
    with reading(path, f"a zip archive at its member {name!r}"), archive.open(name) as file:
        content = file.read(archive.getinfo(name).file_size + 1)
    return unpack_bz2(path, name, content) if name.endswith(".bz2") else content


def unpack_bz2(path: Path, name: str, content: bytes) -> bytes:
    """Unpack bzip2 bytes, at most to a size that measured numbers can have.

    Raises
    ------
    InputError
        If the bytes are damaged, or unpack to suspiciously much.
    """
    most = max(_SMALL, _SUSPECT_RATIO * len(content))
    with reading(path, f"bzip2 data at its member {name!r}"):
        reader = bz2.BZ2Decompressor()
        unpacked = reader.decompress(content, max_length=most)
        if not reader.eof:
            if len(unpacked) >= most:
                raise InputError(f"{path}: the member {name!r} unpacks to more than {most} bytes; make it again.")
            raise InputError(f"{path}: the member {name!r} is cut off; make the archive again.")
    return unpacked
