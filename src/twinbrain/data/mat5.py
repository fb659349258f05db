"""MATLAB v5 files (``save -v6`` and ``-v7``), matrices of numbers and texts only.

Every length in the file is compared with the bytes that are there before it is followed; compiled readers that trust
damaged lengths can take the whole process down.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array

from twinbrain.data.safety import check_memory, file_size
from twinbrain.errors import InputError

__all__ = ["read_mat5"]

_STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
    16: "u1",
    17: "u2",
}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_REFUSED = {1: "cell", 2: "struct", 3: "object", 16: "function", 17: "opaque"}
_CHAR, _SPARSE, _MATRIX, _COMPRESSED = 4, 5, 14, 15
_MOST_RATIO = 1032
_MOST_ARRAYS = 10_000


class _Broken(Exception):  # noqa: N818 - it names what is wrong
    """A length or type in the file cannot be right."""


@dataclass
class _Bytes:
    """Bytes that are read one element after another."""

    content: bytes
    order: str
    place: int = 0

    def element(self, padded: bool = True) -> tuple[int, bytes]:
        """Return type and bytes of the next element."""
        left = len(self.content) - self.place
        if left < 8:
            raise _Broken("it ends inside an element")
        first, size = (int(x) for x in np.frombuffer(self.content, f"{self.order}u4", 2, self.place))
        if first >> 16:  # up to four bytes within the tag
            kind, size, start = first & 0xFFFF, first >> 16, self.place + 4
            if size > 4:
                raise _Broken(f"a short element announces {size} bytes")
            self.place += 8
        else:
            kind, start = first, self.place + 8
            if size > left - 8:
                raise _Broken(f"an element announces {size} bytes, but {left - 8} are left")
            self.place = start + size + (-size % 8 if padded else 0)
        return kind, self.content[start : start + size]

    def numbers(self) -> npt.NDArray[Any]:
        """Return the next element as an array of numbers."""
        kind, content = self.element()
        if kind not in _STORED:
            raise _Broken(f"an element of the unknown type {kind} was found")
        dtype = np.dtype(f"{self.order}{_STORED[kind]}")
        if len(content) % dtype.itemsize:
            raise _Broken(f"{len(content)} bytes are no whole number of {dtype.itemsize}-byte numbers")
        return np.frombuffer(content, dtype)


def read_mat5(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the name of every variable with its array, its sparse array, its texts, or the reason why it is not read.

    Raises
    ------
    InputError
        If the file is no MATLAB v5 file, or is damaged.
    """
    size = file_size(path)
    check_memory(path, size, "the file")
    content = path.read_bytes()
    if size < 136 or content[126:128] not in (b"IM", b"MI"):
        raise InputError(
            f"{path}: this cannot be read as a MATLAB file (it does not begin like one); save it with save(..., '-v7')."
        )
    stream = _Bytes(content, "<" if content[126:128] == b"IM" else ">", 128)
    try:
        for _ in range(_MOST_ARRAYS):
            if stream.place >= size:
                return
            kind, body = stream.element(padded=False)
            if kind == _COMPRESSED:
                kind, body = _unpacked(path, body, stream.order)
            if kind != _MATRIX:
                raise _Broken(f"an element of the type {kind} was found where a variable should begin")
            yield _variable(path, _Bytes(body, stream.order))
    except _Broken as why:
        raise InputError(
            f"{path}: this cannot be read as a MATLAB file ({why}); it is damaged or cut off, so save it again."
        ) from None
    raise InputError(f"{path}: more than {_MOST_ARRAYS} arrays are in it; give a file with the arrays that are needed.")


def _unpacked(path: Path, body: bytes, order: str) -> tuple[int, bytes]:
    """Unpack a compressed variable, at most to the length that its own tag announces."""
    reader = zlib.decompressobj()
    try:
        tag = reader.decompress(body, 8)
        if len(tag) < 8:
            raise _Broken("a compressed variable ends early")
        kind, size = (int(x) for x in np.frombuffer(tag, f"{order}u4", 2))
        if size > _MOST_RATIO * len(body):
            raise _Broken(f"a compressed variable announces {size} bytes, which {len(body)} bytes cannot hold")
        check_memory(path, size, "a variable")
        content = reader.decompress(reader.unconsumed_tail, size + 1)
        if len(content) == size and not reader.eof:
            content += reader.decompress(reader.unconsumed_tail, 1)
    except zlib.error as error:
        raise _Broken(f"a compressed variable is damaged: {error}") from None
    if len(content) != size or not reader.eof:
        raise _Broken(f"a compressed variable announces {size} bytes, but holds {len(content)}")
    return kind, content


def _variable(path: Path, stream: _Bytes) -> tuple[str, Any]:
    flags, shape = stream.numbers(), tuple(int(n) for n in stream.numbers())
    _, raw = stream.element()
    if len(flags) != 2 or not 2 <= len(shape) <= 32 or min(shape) < 0:
        raise _Broken(f"a variable has {len(flags)} flags and the size {shape}")
    name = raw.decode("latin-1").strip("\0 ") or "(no name)"
    kind, is_complex = int(flags[0]) & 0xFF, bool(int(flags[0]) & 0x0800)
    count = math.prod(shape)
    if kind in _REFUSED:
        return name, f"it is a MATLAB {_REFUSED[kind]}, of which nothing is read; save plain matrices"
    if is_complex:
        return name, "it holds complex numbers, which are not read"
    if kind == _SPARSE:
        return name, _sparse(shape, stream)
    if kind not in _CLASSES and kind != _CHAR:
        raise _Broken(f"variable '{name}' is of the unknown class {kind}")
    values = stream.numbers()
    if kind == _CHAR:
        if count != len(values):
            return name, "its text is not stored character by character, which is not read"
        rows = values.reshape(shape, order="F").reshape(shape[0], -1)
        return name, np.array(["".join(chr(int(c)) for c in row if 0 < int(c) < 0xD800) for row in rows], dtype=str)
    if count != len(values):
        raise _Broken(f"variable '{name}' is {' x '.join(map(str, shape))}, but {len(values)} numbers are there")
    with np.errstate(all="ignore"):
        return name, values.astype(_CLASSES[kind]).reshape(shape, order="F")


def _sparse(shape: tuple[int, ...], stream: _Bytes) -> Any:
    rows, starts, values = stream.numbers(), stream.numbers(), stream.numbers()
    if len(shape) != 2 or len(starts) != shape[1] + 1:
        raise _Broken(f"a sparse matrix of the size {shape} has {len(starts)} column starts")
    used = int(starts[-1]) if len(starts) else 0
    if not 0 <= used <= min(len(rows), len(values)):
        raise _Broken(f"a sparse matrix announces {used} entries, but {min(len(rows), len(values))} are there")
    parts = (values[:used].astype(np.float64), rows[:used].astype(np.int64), starts.astype(np.int64))
    try:
        matrix: Any = csc_array(parts, shape=shape)
        matrix.check_format(full_check=True)
    except (ValueError, IndexError, OverflowError) as error:
        raise _Broken(f"the indices of a sparse matrix are wrong: {error}") from None
    return matrix
