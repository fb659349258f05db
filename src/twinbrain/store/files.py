"""Small files that are whole or not there, and sentences for what the operating system refuses."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twinbrain.errors import CorruptFile, InputError

__all__ = [
    "explained",
    "file_sha256",
    "jsonable",
    "read_json",
    "sync_folder",
    "write_bytes_atomic",
    "write_json_atomic",
    "write_text_atomic",
]


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write a text file so that a reader finds the old text or the new one, never a part.

    Raises
    ------
    InputError
        If the place cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_text_atomic(Path(folder) / "a.txt", "whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    write_bytes_atomic(Path(path), text.encode("utf-8"))


def write_json_atomic(path: str | Path, data: Mapping[str, Any]) -> None:
    """Write a JSON file as :func:`write_text_atomic` does; numbers that are not finite become ``null``.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json_atomic(Path(folder) / "a.json", {"r": np.float64(0.5), "none": float("nan")})
    ...     json.loads((Path(folder) / "a.json").read_text())
    {'r': 0.5, 'none': None}
    """
    write_text_atomic(path, json.dumps(jsonable(data), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write a file as :func:`write_text_atomic` does."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Force a folder's list of names onto the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a place into one sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"{path}: cannot be written ({reason}); choose an output folder that can be written and has room"
        ) from error


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 checksum of a file as 64 hexadecimal digits.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     file_sha256(file.name)[:8]
    'e3b0c442'
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def jsonable(value: Any) -> Any:
    """Return the value as JSON can hold it, or refuse it."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (Path, dt.date)):
        return str(value)
    raise InputError(f"a {type(value).__name__} cannot be stored, expected numbers, text, lists or mappings of them")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON file written by :func:`write_json_atomic`.

    Raises
    ------
    CorruptFile
        If the file is missing, or holds no JSON object.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json_atomic(Path(folder) / "a.json", {"k": 1})
    ...     read_json(Path(folder) / "a.json")
    {'k': 1}
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptFile(f"{path}: cannot be read as JSON ({error}); restore it or run the study again") from None
    if not isinstance(data, dict):
        raise CorruptFile(f"{path}: holds no JSON object; restore it or run the study again")
    return data
