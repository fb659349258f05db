"""Connectomes that people bring by mistake: of regions, of voxels, of The Virtual Brain."""

from __future__ import annotations

import bz2
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import files
from bad_files import Case, cut, edited, matrix, saved, swapped, text, zipped
from twinbrain.data.connectome_files import read_connectome
from twinbrain.data.containers import read_sparse
from twinbrain.data.read import read_subject
from twinbrain.data.voxel_files import read_voxel_connectome

R = files.REGIONS


def npy_header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue() + b"\0" * 64


def tvb_with(part: str, content: str) -> Callable[[Path], object]:
    def go(folder: Path) -> object:
        place = files.tvb(folder / "connectivity.zip")
        with zipfile.ZipFile(place) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        parts[part] = content.encode()
        return zipped("connectivity.zip", parts, read_subject)(folder)

    return go


def voxels(edit: Callable[[str], str], size: int = 5) -> Callable[[Path], object]:
    def go(folder: Path) -> object:
        rows = "\n".join(f"{3 * k}\t0\t0\t{R[k]}" for k in range(size))
        (folder / "v.tsv").write_text(edit("x\ty\tz\tregion\n" + rows + "\n"))
        return read_voxel_connectome(files.sparse_npz(folder / "v.npz"), folder / "v.tsv")

    return go


def not_pickled(path: Path) -> object:
    return np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=bool(1))


def object_cells(path: Path) -> object:
    from scipy.io import savemat

    cells = np.empty(3, dtype=object)
    cells[:] = ["a", 1, [2]]
    return savemat(path, {"sc": cells})


def outside(path: Path) -> object:
    import h5py

    with h5py.File(path, "w") as file:
        file["sc"] = h5py.ExternalLink("/etc/hostname", "/x")


def sparse_outside(path: Path) -> object:
    files.sparse_npz(path)
    parts = dict(np.load(path))
    return np.savez(path, **(parts | {"indices": parts["indices"] + 100}))


def _connectome(path: Path) -> object:
    return read_connectome(path, R)


SC = files.connectome()


CASES: list[Case] = [
    # connectomes
    (
        "negative weights",
        matrix(-SC),
        r"-\d+.* was found at target 'Insula_L', source 'Insula_R', but strengths must be >= 0",
    ),
    (
        "NaN weight",
        matrix(swapped(SC, (1, 2), np.nan)),
        r"sc.csv, row 3, column 'Thalamus_L': 'nan' is not a finite number",
    ),
    ("infinite weight", matrix(swapped(SC, (1, 2), np.inf)), r"'inf' is not a finite number; give a number"),
    ("all zero", matrix(SC * 0), r"every entry off the diagonal is zero; give at least one connection"),
    ("not symmetric", matrix(swapped(SC, (0, 1), 3.0)), r"is not symmetric .* say connectome_rows='target'"),
    (
        "a row too few",
        edited("sc.csv", files.labelled_csv, lambda t: t.rstrip().rsplit("\n", 1)[0], _connectome),
        r"region 'Precentral_L' is not in the first column; rows and columns must name",
    ),
    (
        "a cell too few",
        edited("sc.csv", files.labelled_csv, lambda t: t.rstrip().rsplit(",", 1)[0], _connectome),
        r"sc.csv, row 6: 5 cells were found, 6 were expected",
    ),
    (
        "a name twice",
        edited("sc.csv", files.labelled_csv, lambda t: t.replace("Insula_R", "Insula_L"), _connectome),
        r"region 'Insula_L' is there twice; keep one",
    ),
    (
        "rows and header differ",
        edited("sc.csv", files.labelled_csv, lambda t: t.replace("\nInsula_R", "\nInsula_P"), _connectome),
        r"region 'Insula_P' is not in the header; did you mean 'Insula_R'",
    ),
    (
        "semicolons",
        edited("sc.csv", files.labelled_csv, lambda t: t.replace(",", ";"), _connectome),
        r"columns look separated by semicolons; separate them by commas",
    ),
    (
        "decimal commas",
        edited("sc.tsv", lambda p: files.relmat(p), lambda t: t.replace(".", ","), _connectome),
        r"sc.tsv, row 2: '\d+,\d+' has a comma as its decimal sign; write points",
    ),
    (
        "tabs in a csv",
        edited("sc.csv", files.labelled_csv, lambda t: t.replace(",", "\t"), _connectome),
        r"columns look separated by tabs; separate them by commas",
    ),
    (
        "not square",
        text("sc.csv", "0,1,2\n1,0,2\n", _connectome),
        r"is 2 x 3, but it must be square; give one row and one column per region",
    ),
    (
        "as many names as rows",
        text("sc.csv", "0,1\n1,0\n", _connectome),
        r"is 2 x 2, but 5 regions are named; give one row and one column per name",
    ),
    ("no names anywhere", text("sc.csv", "0,1\n1,0\n", read_connectome), r"carries no region names; give labels="),
    (
        "an empty file",
        saved("sc.csv", lambda p: p.write_bytes(b""), _connectome),
        r"sc.csv: the file is empty; give the whole file",
    ),
    (
        "not UTF-8",
        saved("sc.csv", lambda p: p.write_bytes(b"\xff\xfe0,1\n"), _connectome),
        r"sc.csv: byte 0 is not UTF-8; save the file as UTF-8",
    ),
    (
        "a NUL byte",
        text("sc.csv", "0,1\n1,\x000\n", _connectome),
        r"row 2, column '2': .* is not a finite number|cannot be read as a table",
    ),
    (
        "a folder instead",
        saved("sc.csv", lambda p: p.mkdir(), _connectome),
        r"sc.csv: this is no file; give the path of a file",
    ),
    ("a missing file", lambda folder: _connectome(folder / "sc.csv"), r"sc.csv: there is no such file; check the path"),
    ("an unknown ending", text("sc.xlsx", "x", _connectome), r"sc.xlsx: a connectome is read from .csv"),
    (
        "several arrays",
        saved("sc.npz", lambda p: np.savez(p, a=SC, b=SC), _connectome),
        r"2 arrays in it can be the connectome: a, b; say which with weighting=",
    ),
    ("Python objects", saved("sc.npy", not_pickled, _connectome), r"sc: it holds Python objects, which are never read"),
    (
        "MATLAB cells",
        saved("sc.mat", object_cells, _connectome),
        r"sc: it is a MATLAB cell, of which nothing is read; save plain matrices",
    ),
    ("a link out of the file", saved("sc.h5", outside, _connectome), r"sc: it is a link, which is never followed"),
    ("text called HDF5", text("sc.h5", "0 1\n1 0\n", _connectome), r"sc.h5: this is no HDF5 file"),
    (
        "a header bomb",
        saved("sc.npy", lambda p: p.write_bytes(npy_header((10**6, 10**6))), _connectome),
        r"announces 8000000000000 bytes \(1000000 x 1000000 float64\), but 64 bytes are there",
    ),
    ("cut off npz", cut("sc.npz", files.npz, 0.5, _connectome), r"sc.npz: this cannot be read as a zip archive"),
    ("cut off npy", cut("sc.npy", files.npy, 0.5, _connectome), r"sc.npy: array 'sc' announces 200 bytes"),
    ("cut off mat", cut("sc.mat", files.mat5, 0.5, _connectome), r"sc.mat: this cannot be read as a MATLAB file"),
    ("cut off mat v7.3", cut("sc.mat", files.mat73, 0.5, _connectome), r"sc.mat: this cannot be read as an HDF5 file"),
    # sparse voxel connectomes
    (
        "sparse index outside",
        saved("v.npz", sparse_outside, read_sparse),
        r"v.npz: this cannot be read as a sparse matrix .*; save it again",
    ),
    (
        "no sparse matrix",
        saved("v.npz", lambda p: np.savez(p, a=SC), read_sparse),
        r"there is no sparse matrix in it .* scipy.sparse.save_npz",
    ),
    (
        "voxel list too short",
        voxels(lambda t: t, size=4),
        r"the matrix is 5 x 5, but v.tsv lists 4 voxels; give one row",
    ),
    ("voxel list without z", voxels(lambda t: t.replace("z", "zz")), r"v.tsv, row 1: the column 'z' is missing"),
    ("voxel without region", voxels(lambda t: t.replace("Insula_R", "")), r"v.tsv, row 3: the region is empty"),
    # The Virtual Brain
    (
        "tvb: a path out",
        zipped("c.zip", {"../weights.txt": b"0"}, read_subject),
        r"the member '../weights.txt' leads out of the archive",
    ),
    (
        "tvb: an absolute path",
        zipped("c.zip", {"/etc/weights.txt": b"0"}, read_subject),
        r"the member '/etc/weights.txt' leads out of the archive",
    ),
    (
        "tvb: a link",
        zipped("c.zip", {"weights.txt": b"/etc/passwd"}, read_subject, link=True),
        r"the member 'weights.txt' is a link",
    ),
    (
        "tvb: a bomb",
        zipped("c.zip", {"weights.txt": b"0" * (64 << 20)}, read_subject),
        r"unpacks from \d+ to 67108864 bytes, which no measured numbers do",
    ),
    (
        "tvb: a bz2 bomb",
        zipped("c.zip", {"weights.txt.bz2": bz2.compress(b"0" * (64 << 20)), "centres.txt": b"a 0 0 0"}, read_subject),
        r"the member 'weights.txt.bz2' unpacks to more than",
    ),
    ("tvb: no archive", text("c.zip", "hello", read_subject), r"c.zip: this cannot be read as a zip archive"),
    (
        "tvb: too few rows",
        tvb_with("weights.txt", "0 1\n1 0\n"),
        r"weights.txt: 2 rows were found, but centres names 5 regions",
    ),
    (
        "tvb: text in numbers",
        tvb_with("tract_lengths.txt", "\n".join(["0 1 2 3 x"] * 5)),
        r"tract_lengths.txt, row 1: 'x' is not a finite number",
    ),
    (
        "tvb: a name twice",
        tvb_with("centres.txt", "\n".join(["a 0 0 0"] * 5)),
        r"centres.txt: region 'a' is there twice",
    ),
]
