"""Files that hold several named arrays (npy, npz, MATLAB v5 and v7.3, HDF5): numbers and texts only, never objects."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csc_array, csr_array, issparse

from twinbrain.data.mat5 import read_mat5
from twinbrain.data.safety import check_memory, file_size, open_zip, read_member, reading
from twinbrain.errors import InputError, nearest

__all__ = ["CONTAINERS", "Arrays", "read_arrays", "read_sparse"]

#: File name endings that this module reads.
CONTAINERS = (".npy", ".npz", ".mat", ".h5", ".hdf5")

_HDF5_START = b"\x89HDF\r\n\x1a\n"
_MOST_ARRAYS = 10_000
_MOST_RATIO = 1032
_NUMBERS = "biuf"


@dataclass(frozen=True, eq=False)
class Arrays:
    """The arrays of one file, by name; MATLAB and NumPy numbers as they are stored, texts as str.

    Attributes
    ----------
    path
        The file.
    numbers
        Name -> array of numbers (or a scipy sparse array).
    texts
        Name -> tuple of str (region labels and the like).
    left_out
        Name -> why it was not read.
    """

    path: Path
    numbers: Mapping[str, Any]
    texts: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str]

    def choose(self, name: str | None, fits: Any, what: str, option: str) -> tuple[str, Any]:
        """Return the array of that name, or the only one that ``fits``; several are a question, none an error.

        Raises
        ------
        InputError
            That lists what could be chosen, and the option by which it is.
        """
        if name is not None:
            if name not in self.numbers:
                why = f" ({self.left_out[name]})" if name in self.left_out else nearest(name, self.numbers)
                raise InputError(f"{self.path}: there is no array '{name}'{why}; there are {_listed(self.numbers)}.")
            return name, self.numbers[name]
        found = [k for k, v in self.numbers.items() if fits(v)]
        if not found:
            shapes = [f"{k} ({' x '.join(map(str, v.shape))})" for k, v in self.numbers.items()]
            refused = [f"{k}: {why}" for k, why in self.left_out.items()]
            raise InputError(
                f"{self.path}: no array in it can be {what}; found {_listed(shapes) or 'no array of numbers'}"
                f"{'; not read: ' + _listed(refused) if refused else ''}; give the right file."
            )
        if len(found) > 1:
            raise InputError(
                f"{self.path}: {len(found)} arrays in it can be {what}: {_listed(found)}; say which with {option}."
            )
        return found[0], self.numbers[found[0]]


def _listed(names: Any, most: int = 12) -> str:
    names = list(names)
    return ", ".join(str(n) for n in names[:most]) + (", ..." if len(names) > most else "")


def read_arrays(path: str | Path) -> Arrays:
    """Read all arrays of numbers and texts of a file.

    Raises
    ------
    InputError
        If the file is damaged, holds nothing but objects, or would not fit into memory.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / "a.npz"
    >>> np.savez(place, sc=np.eye(2), labels=np.array(["a", "b"]))
    >>> found = read_arrays(place)
    >>> list(found.numbers), found.texts["labels"]
    (['sc'], ('a', 'b'))
    """
    path = Path(path)
    file_size(path)
    suffix = path.suffix.lower()
    found: Iterator[tuple[str, Any]]
    if suffix == ".npy":
        found = iter([(path.stem, _npy(path, path.stem, path.read_bytes()))])
    elif suffix == ".npz":
        found = _npz(path)
    elif suffix in (".mat", ".h5", ".hdf5"):
        with path.open("rb") as file:
            head = file.read(1024)
        is_hdf5 = head.startswith(_HDF5_START) or head[512:520] == _HDF5_START
        if not is_hdf5 and suffix != ".mat":
            raise InputError(f"{path}: this is no HDF5 file (it does not begin like one); give the right file.")
        found = _hdf5(path, matlab=suffix == ".mat") if is_hdf5 else read_mat5(path)
    else:
        raise InputError(f"{path}: the name does not end in {', '.join(CONTAINERS)}; give one of these.")
    numbers: dict[str, Any] = {}
    texts: dict[str, tuple[str, ...]] = {}
    left: dict[str, str] = {}
    for name, value in found:
        if isinstance(value, str):
            left[name] = value
        elif issparse(value) or value.dtype.kind in _NUMBERS:
            numbers[name] = value
        elif value.dtype.kind in "US":
            kept = value.ravel()
            if value.dtype.kind == "S":
                kept = np.char.decode(kept, "utf-8", "replace")
            texts[name] = tuple(str(x).strip().strip("\x00") for x in kept)
        else:
            left[name] = f"it holds {value.dtype}, not numbers or text"
    return Arrays(path, numbers, texts, left)


def _npy(path: Path, name: str, content: bytes) -> Any:
    """Read one array in NumPy's format out of bytes; the header is compared with what lies behind it."""
    with reading(path, "a NumPy array"):
        stream = io.BytesIO(content)
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise InputError(f"{path}: array '{name}' has an unknown version {version}; save it again with NumPy.")
        reader: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(stream)
        if dtype.hasobject:
            return "it holds Python objects, which are never read"
        expected = math.prod(shape) * dtype.itemsize
        behind = len(content) - stream.tell()
        if expected != behind or min(shape, default=0) < 0:
            raise InputError(
                f"{path}: array '{name}' announces {expected} bytes ({' x '.join(map(str, shape))} {dtype}), but "
                f"{behind} bytes are there; the file is damaged or cut off, so save it again."
            )
        if dtype.kind in "cmMV":
            return f"it holds {dtype}, not numbers or text"
        values: npt.NDArray[Any] = np.frombuffer(content, dtype=dtype, offset=stream.tell())
        return values.reshape(shape, order="F" if fortran else "C")


def _npz(path: Path) -> Iterator[tuple[str, Any]]:
    with open_zip(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                yield name[:-4], _npy(path, name[:-4], read_member(archive, name))


def _hdf5(path: Path, *, matlab: bool) -> Iterator[tuple[str, Any]]:
    """HDF5: datasets of numbers and text inside this file; MATLAB stores matrices column by column."""
    import h5py

    size = file_size(path)
    with reading(path, "an HDF5 file"), h5py.File(path, "r") as file:
        found: list[tuple[str, Any]] = []
        _collect(path, file, "", found, 0)
        for name, item in found:
            if isinstance(item, str):
                yield name, item
                continue
            expected = math.prod(item.shape) * item.dtype.itemsize
            if (item.chunks is None and expected > size) or expected > size * _MOST_RATIO:
                raise InputError(
                    f"{path}: array '{name}' announces {' x '.join(map(str, item.shape))} numbers, which {size} bytes "
                    "cannot hold; the file is damaged, so save it again."
                )
            check_memory(path, expected, f"array '{name}'")
            if item.dtype.kind == "O":
                if h5py.check_string_dtype(item.dtype) is None or item.size > 1_000_000:
                    yield name, "it holds objects or references, which are never read"
                    continue
                yield name, np.array([str(x) for x in item.asstr()[()].ravel()], dtype=str)
                continue
            value = np.asarray(item[()])
            if matlab and item.attrs.get("MATLAB_class") == b"char":
                value = np.array([bytes(row.astype("u1")).decode("latin-1") for row in np.atleast_2d(value.T)])
            yield name, value.T if matlab else value


def _collect(path: Path, group: Any, prefix: str, found: list[tuple[str, Any]], depth: int) -> None:
    import h5py

    if depth > 20 or len(found) > _MOST_ARRAYS:
        raise InputError(f"{path}: its groups are nested too deeply or hold too many arrays; give a plainer file.")
    for key in group:
        link = group.get(key, getlink=True)
        name = f"{prefix}{key}"
        if not isinstance(link, h5py.HardLink):
            found.append((name, "it is a link, which is never followed"))
            continue
        item = group[key]
        if isinstance(item, h5py.Group):
            if key.startswith("#"):  # MATLAB's own references
                continue
            _collect(path, item, f"{name}/", found, depth + 1)
        elif isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external:
                found.append((name, "its numbers lie in other files, which are never opened"))
            else:
                found.append((name, item))


def read_sparse(path: str | Path) -> csr_array[np.float64]:
    """Read a sparse matrix as scipy writes it (``save_npz``), with every index checked.

    Raises
    ------
    InputError
        If a part is missing, or an index points outside the matrix.

    Examples
    --------
    >>> import tempfile
    >>> from scipy.sparse import save_npz
    >>> place = Path(tempfile.mkdtemp()) / "a.npz"
    >>> save_npz(place, csr_array(np.eye(2)))
    >>> read_sparse(place).toarray().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    arrays = read_arrays(path)
    path = arrays.path
    kind = arrays.texts.get("format", ("?",))[0].lower()
    needed = ("data", "shape", "row", "col") if kind == "coo" else ("data", "shape", "indices", "indptr")
    for name in needed:
        if kind not in ("coo", "csr", "csc") or name not in arrays.numbers:
            raise InputError(
                f"{path}: there is no sparse matrix in it (the part '{name}' or its format is missing); write it with "
                "scipy.sparse.save_npz in the format csr, csc or coo."
            )
    part = {name: np.asarray(arrays.numbers[name]) for name in needed}
    with reading(path, "a sparse matrix"):
        shape = tuple(int(n) for n in part["shape"].ravel())
        if len(shape) != 2 or min(shape) < 1:
            raise InputError(f"{path}: the sparse matrix has the shape {shape}; two numbers above 0 are needed.")
        if kind == "coo":
            inside = (
                (part["row"] >= 0) & (part["row"] < shape[0]) & (part["col"] >= 0) & (part["col"] < shape[1])
            ).all()
            if not inside:
                raise InputError(f"{path}: an index points outside the {shape[0]} x {shape[1]} matrix; save it again.")
            return csr_array(coo_array((part["data"].astype(np.float64), (part["row"], part["col"])), shape=shape))
        compressed: Any = csr_array if kind == "csr" else csc_array
        check_memory(path, 8 * (shape[0 if kind == "csr" else 1] + 1), "the sparse matrix")
        if part["indptr"].shape != (shape[0 if kind == "csr" else 1] + 1,):
            raise InputError(f"{path}: the row pointers do not fit {shape[0]} x {shape[1]}; save the matrix again.")
        made = compressed((part["data"].astype(np.float64), part["indices"], part["indptr"]), shape=shape)
        return csr_array(_checked_sparse(path, made))


def _checked_sparse(path: Path, matrix: Any) -> Any:
    """Indices of a compressed matrix are followed by compiled code: none may point outside."""
    made = matrix if getattr(matrix, "format", "") in ("csr", "csc") else csr_array(matrix)
    with reading(path, "a sparse matrix", "save it again"):
        made.check_format(full_check=True)
    return made
