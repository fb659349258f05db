"""Images, surfaces and tractograms that people bring by mistake."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

import files
from bad_files import Case, cut, edited, saved, text, zipped
from twinbrain.data.images import load_volume
from twinbrain.data.surfaces import read_surface_labels, read_surface_mesh, read_surface_series
from twinbrain.data.tractogram import read_ends


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


def gzip_bomb(path: Path) -> object:
    head = files.nifti(path.with_name("small.nii")).read_bytes()
    return path.write_bytes(gzip.compress(head + b"\0" * (64 << 20)))


CASES: list[Case] = [
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
]
