"""What people bring by mistake: each case has one sentence that names the file, what was found, and how to mend it.

Faults of whole BIDS folders are in ``test_bids.py``; here are single files of every format.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import files
from twinbrain.data.cifti import read_dlabel
from twinbrain.data.connectome_files import read_connectome
from twinbrain.data.containers import read_arrays, read_sparse
from twinbrain.data.events import read_events
from twinbrain.data.images import load_volume
from twinbrain.data.pet import read_pet_table
from twinbrain.data.preparation import Preparation, prepare_run, read_confounds
from twinbrain.data.read import read_subject
from twinbrain.data.series_files import read_series_file
from twinbrain.data.surfaces import read_surface_labels, read_surface_mesh, read_surface_series
from twinbrain.data.tables import read_labels
from twinbrain.data.tractogram import read_ends
from twinbrain.data.voxel_files import read_voxel_connectome
from twinbrain.errors import InputError

R = files.REGIONS


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


def patched(
    name: str, write: files.Writer, place: int, value: bytes, read: Callable[[Path], object]
) -> Callable[[Path], object]:
    """Overwrite bytes of a header."""

    def go(folder: Path) -> object:
        path = write(folder / name)
        content = bytearray(path.read_bytes())
        content[place : place + len(value)] = value
        path.write_bytes(bytes(content))
        return read(path)

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


def with_series(values: np.ndarray, names: tuple[str, ...] = R) -> Callable[[Path], object]:
    def go(folder: Path) -> object:
        rows = "\n".join("\t".join(map(repr, row)) for row in np.asarray(values).tolist())
        (folder / "rest.tsv").write_text("\t".join(names) + "\n" + rows + "\n")
        sc = files.labelled_csv(folder / "sc.csv")
        return read_subject(sc, bold={"rest": folder / "rest.tsv"}, repetition_time_s=0.72)

    return go


def npy_header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue() + b"\0" * 64


def gzip_bomb(path: Path) -> object:
    head = files.nifti(path.with_name("small.nii")).read_bytes()
    return path.write_bytes(gzip.compress(head + b"\0" * (64 << 20)))


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


def scrubbed(limit: float, rows: int = 40) -> Callable[[Path], object]:
    def go(folder: Path) -> object:
        import xarray as xr

        table = read_confounds(files.confounds_tsv(folder / "c.tsv"))
        run = xr.DataArray(files.series(rows), dims=("time", "region"), attrs={"repetition_time_s": 0.72})
        return prepare_run(run, Preparation(scrub_mm=limit), table, str(folder / "c.tsv"))

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


def _series(path: Path) -> object:
    return read_series_file(path, R, repetition_time_s=0.72)


SC = files.connectome()
X = files.series()

CASES: list[tuple[str, Callable[[Path], object], str]] = [
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
    # series
    ("transposed series", with_series(X.T[:, :5], R), r"rest.* 5 volumes were found, but at least 20 are needed"),
    (
        "constant series",
        with_series(swapped(X, (slice(None), 2), 7.0)),
        r"region 'Thalamus_L' is constant \(7 in all 40 volumes\)",
    ),
    (
        "NaN in a series",
        with_series(swapped(X, (3, 2), np.nan)),
        r"rest.tsv, row 5, column 'Thalamus_L': 'nan' is not a finite number",
    ),
    (
        "a region unknown",
        with_series(X, (*R[:4], "Precentral_l")),
        r"region 'Precentral_l' is not in the connectome; did you mean 'Precentral_L'",
    ),
    (
        "a region missing",
        with_series(X[:, :4], R[:4]),
        r"region 'Precentral_L' is not in the series \(1 of 5 do not match\)",
    ),
    ("too short", with_series(X[:12]), r"12 volumes were found, but at least 20 are needed"),
    (
        "no header",
        text("x.csv", "1,2\n3,4\n", lambda p: read_series_file(p, repetition_time_s=1)),
        r"row 1: numbers were found, but the first row must hold the region names",
    ),
    (
        "names and columns differ",
        text("x.csv", "1,2\n3,4\n", _series),
        r"2 columns were found, but 5 regions are named",
    ),
    (
        "transposed array",
        saved("x.npy", lambda p: np.save(p, X[:, :3]), _series),
        r"array 'x' is 40 x 3, but 5 regions are named; give time x region",
    ),
    (
        "TR missing",
        saved("x.npy", lambda p: np.save(p, X), lambda p: read_series_file(p, R)),
        r"x.npy: the repetition time is missing; give repetition_time_s in seconds",
    ),
    (
        "TR in ms",
        saved("x.npy", lambda p: np.save(p, X), lambda p: read_series_file(p, R, repetition_time_s=720)),
        r"is 720, but seconds above 0 are needed; if it is in milliseconds, that is 0.72 s",
    ),
    (
        "TR below 0",
        saved("x.npy", lambda p: np.save(p, X), lambda p: read_series_file(p, R, repetition_time_s=-1)),
        r"the repetition time is -1, but seconds above 0 are needed",
    ),
    (
        "TR of the side-car is text",
        edited(
            "x_timeseries.tsv",
            files.series_tsv,
            lambda t: t.replace("\n", "\n", 1) + " ",
            lambda p: (
                p.with_suffix(".json").write_text('{"RepetitionTime": "2"}'),
                p.write_text(p.read_text().rstrip() + "\n"),
                read_series_file(p),
            )[2],
        ),
        r"x_timeseries.json: RepetitionTime is '2', but a number of seconds is needed",
    ),
    # CIFTI
    (
        "cifti: TR in ms",
        saved("a.ptseries.nii", lambda p: files.ptseries(p, step=720.0), read_series_file),
        r"the repetition time in the file is 720 s, which looks like milliseconds",
    ),
    (
        "cifti: TR 0",
        saved("a.ptseries.nii", lambda p: files.ptseries(p, step=0.0), read_series_file),
        r"the repetition time in the file is 0 s, but a number above 0",
    ),
    (
        "cifti: Hz",
        saved("a.ptseries.nii", lambda p: files.ptseries(p, unit="HERTZ"), read_series_file),
        r"the series' unit is HERTZ, but SECOND is needed",
    ),
    (
        "cifti: dense without labels",
        saved("a.dtseries.nii", files.dtseries, read_series_file),
        r"a dense series has vertices, not regions; give labels=",
    ),
    (
        "cifti: labels as series",
        saved("a.ptseries.nii", lambda p: files.dlabel(p.with_name("l.dlabel.nii")).rename(p), read_series_file),
        r"a matrix of LabelAxis x BrainModelAxis was found",
    ),
    (
        "cifti: series as labels",
        saved("a.dlabel.nii", lambda p: files.ptseries(p.with_name("s.ptseries.nii")).rename(p), read_dlabel),
        r"this is no table of labels over vertices",
    ),
    (
        "cifti: cut off",
        cut("a.ptseries.nii", files.ptseries, 0.9, read_series_file),
        r"the header announces \d+ bytes, but the file has \d+; it is cut off",
    ),
    # images
    (
        "4-D instead of 3-D",
        saved("v.nii", lambda p: files.bold_nifti(p), load_volume),
        r"an image of size 6 x 7 x 8 x 25 was found, but an image must be 3-D",
    ),
    (
        "3-D instead of 4-D",
        saved("v.nii", files.nifti, lambda p: load_volume(p, dimensions=(4,), what="BOLD")),
        r"BOLD must be 4-D \(volumes are missing",
    ),
    (
        "a gzip cut off",
        cut("v.nii.gz", files.nifti, 0.7, load_volume),
        r"the compressed file is damaged or cut off after \d+ of \d+ bytes",
    ),
    (
        "an image cut off",
        cut("v.nii", files.nifti, 0.7, load_volume),
        r"the file has \d+ bytes, but its header announces \d+; it is cut off",
    ),
    (
        "a gzip bomb",
        saved("v.nii.gz", gzip_bomb, load_volume),
        r"the file holds far more than the \d+ bytes its header announces",
    ),
    (
        "huge dimensions",
        patched("v.nii", files.nifti, 42, b"\xff\x7f\xff\x7f\xff\x7f", load_volume),
        r"its header announces \d{12,}; it is cut off or damaged",
    ),
    (
        "a negative dimension",
        patched("v.nii", files.nifti, 42, b"\xff\xff", load_volume),
        r"the header says the size is|cannot be read as",
    ),
    ("no image at all", text("v.nii", "hello", load_volume), r"v.nii: this cannot be read as an image"),
    (
        "affine of zeros",
        saved("v.nii", lambda p: files.nifti(p, affine=np.diag([0.0, 1, 1, 1])), load_volume),
        r"the affine puts neighbouring points .* check the units of the header",
    ),
    (
        "affine in m",
        saved("v.nii", lambda p: files.nifti(p, affine=np.diag([0.003, 0.003, 0.003, 1])), load_volume),
        r"\[0.003 0.003 0.003\] mm apart, but 0.05 to 30 mm are expected",
    ),
    (
        "affine not finite",
        saved("v.nii", lambda p: files.nifti(p, affine=np.diag([np.nan, 1, 1, 1])), load_volume),
        r"the affine",
    ),
    (
        "two axes alike",
        saved(
            "v.nii",
            lambda p: files.nifti(p, affine=np.array([[1.0, 1, 0, 0], [0, 0.01, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])),
            load_volume,
        ),
        r"two axes of the affine point the same way",
    ),
    ("an unknown image", text("v.img", "x", load_volume), r"v.img: the name does not end in .nii"),
    (
        "labels with fractions",
        saved("l.nii", files.nifti, lambda p: load_volume(p).labels()),
        r"but labels are whole numbers; .* nearest-neighbour",
    ),
    # surfaces
    (
        "surface: a volume as series",
        saved(
            "v.mgz",
            lambda p: __import__("nibabel").save(
                __import__("nibabel").MGHImage(np.ones((4, 5, 6, 7), np.float32), np.eye(4)), p
            ),
            read_surface_series,
        ),
        r"an image of size 4 x 5 x 6 x 7 was found, but a surface series is vertices",
    ),
    (
        "surface: a map as series",
        saved("v.surf.gii", files.surf_gii, lambda p: read_surface_labels(p)),
        r"labels that are not whole numbers were found|no label in it has a name",
    ),
    (
        "surface: a table of entities",
        edited(
            "v.surf.gii",
            files.surf_gii,
            lambda t: t.replace("<GIFTI", '<!DOCTYPE x [<!ENTITY a "b">]><GIFTI', 1),
            read_surface_mesh,
        ),
        r"the XML defines entities, which GIFTI never does",
    ),
    (
        "surface: annot cut off",
        cut("lh.annot", files.annot, 0.5, read_surface_labels),
        r"its table of labels is damaged or cut off|vertices are announced",
    ),
    (
        "surface: no mesh",
        text("lh.pial", "hello", read_surface_mesh),
        r"this is no FreeSurfer surface, or it is cut off|cannot be read as a FreeSurfer surface",
    ),
    # tractograms
    (
        "tracts: cut off",
        cut("a.trk", files.trk, 0.9, read_ends),
        r"a streamline of 12 points reaches beyond the file|streamlines were found, but",
    ),
    ("tracts: no tractogram", text("a.tck", "hello", read_ends), r"a.tck: this cannot be read as a tractogram"),
    (
        "tracts: no positions",
        zipped("a.trx", {"header.json": b"{}"}, read_ends),
        r"there is no 'positions' in it; give a whole TRX file",
    ),
    (
        "tracts: offsets fall",
        zipped(
            "a.trx",
            {
                "header.json": json.dumps({"NB_VERTICES": 4, "NB_STREAMLINES": 2}).encode(),
                "positions.3.float32": np.zeros(12, "<f4").tobytes(),
                "offsets.uint32": np.array([3, 0], "<u4").tobytes(),
            },
            read_ends,
        ),
        r"the offsets of the streamlines do not rise",
    ),
    ("tracts: an unknown ending", text("a.vtk", "x", read_ends), r"a tractogram is read from .trk, .tck or .trx"),
    # tables
    ("labels: no name", text("l.tsv", "index\ttitle\n1\ta\n", read_labels), r"l.tsv, row 1: there is no column 'name'"),
    (
        "labels: a fraction",
        text("l.tsv", "index\tname\n1.5\ta\n", read_labels),
        r"row 2, column 'index': '1.5' was found, but a label is a whole number",
    ),
    (
        "labels: twice",
        text("l.tsv", "index\tname\n1\ta\n1\tb\n", read_labels),
        r"row 3: label 1 is there twice \('a' before\); keep one",
    ),
    (
        "labels: laminar maybe",
        text("l.tsv", "index\tname\tlaminar\n1\ta\tmaybe\n", read_labels),
        r"row 2, column 'laminar': 'maybe' was found; give true or false",
    ),
    (
        "events: no onset",
        text("e.tsv", "start\tduration\n1\t2\n", read_events),
        r"e.tsv, row 1: the column 'onset' is missing",
    ),
    (
        "events: text",
        text("e.tsv", "onset\tduration\nsoon\t2\n", read_events),
        r"row 2, column 'onset': 'soon' is not a number; give seconds",
    ),
    (
        "events: below 0",
        text("e.tsv", "onset\tduration\n1\t-2\n", read_events),
        r"row 2, column 'duration': -2 was found",
    ),
    (
        "events: in ms",
        text("e.tsv", "onset\tduration\n90000\t2\n", lambda p: read_events(p, 100)),
        r"90000 was found, but the run ends at 100 s; the onsets may be in milliseconds",
    ),
    (
        "pet: below 0",
        text("p.tsv", "name\tvalue\n" + "\n".join(f"{n}\t-1" for n in R), lambda p: read_pet_table(p, R)),
        r"-1 was found for region 'Insula_L', but synaptic density is above 0",
    ),
    (
        "pet: a region missing",
        text("p.tsv", "name\tvalue\nInsula_L\t1\n", lambda p: read_pet_table(p, R)),
        r"region 'Insula_R' is missing",
    ),
    (
        "pet: two columns",
        text("p.tsv", "name\ta\tb\nInsula_L\t1\t2\n", lambda p: read_pet_table(p, R)),
        r"2 columns can be the values; call the right one 'value'",
    ),
    (
        "pet: no unit",
        lambda f: read_subject(files.labelled_csv(f / "sc.csv"), pet=files.pet_tsv(f / "p.tsv")),
        r"the unit of the PET table is missing; say pet_units=",
    ),
    (
        "confounds: text",
        text("c.tsv", "a\tb\n1\tx\n", read_confounds),
        r"c.tsv, row 2, column 'b': 'x' is not a number; give one or n/a",
    ),
    (
        "confounds: no names",
        text("c.tsv", "1\t2\n3\t4\n", read_confounds),
        r"row 1: numbers were found, but the first row must hold the confounds' names",
    ),
    ("confounds: other run", scrubbed(0.5, rows=30), r"40 rows were found, but the run has 30 volumes"),
    ("everything scrubbed", scrubbed(0.01), r"volumes moved by more than 0.01 mm, which leaves \d+; that is too few"),
    # people
    (
        "an image is no person",
        saved("v.nii.gz", files.nifti, read_subject),
        r"an image or a tractogram alone is not a person",
    ),
    (
        "an option that is not for it",
        lambda f: read_subject(files.labelled_csv(f / "sc.csv"), space="MNI"),
        r"this is a single file, to which the option space= does not apply",
    ),
    ("an empty folder", lambda f: read_subject(f), r"subject.toml: the file is missing; a subject folder needs it"),
    ("nothing there", lambda f: read_subject(f / "nobody"), r"there is no such folder or file"),
]


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 60
    assert len({name for name, _, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("go", "message"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_each_mistake_has_one_clear_sentence(tmp_path: Path, go: Callable[[Path], object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        go(tmp_path)
    said = str(caught.value)
    assert "\n" not in said
    assert str(tmp_path) in said, "the file is named"
    assert said.endswith("."), "it is a sentence"
    assert len(said) < 600


def test_big_arrays_are_refused_before_memory_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil

    class Little:
        available = 1000

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Little)
    with pytest.raises(InputError, match=r"v.nii.gz: an image would take 0.0 GB, but 0.0 GB of memory are free"):
        load_volume(files.nifti(tmp_path / "v.nii.gz"))
    with pytest.raises(InputError, match=r"tc.mat: the file would take"):
        read_arrays(files.series_mat(tmp_path / "tc.mat"))
