"""Surface files: GIFTI and FreeSurfer series, maps, meshes and labels, and a person whose voxels are vertices."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twinbrain.data.safety import check_gzip, check_memory, file_size, reading
from twinbrain.data.voxels import VoxelData
from twinbrain.errors import InputError

__all__ = [
    "SurfaceLabels",
    "read_surface_labels",
    "read_surface_map",
    "read_surface_mesh",
    "read_surface_series",
    "vertices_of",
]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

_MOST_VERTICES = 2_000_000
_MOST_RATIO = 1032
_MORPH = re.compile(r"^[lr]h\.(area|thickness|volume|curv|sulc|area\.(mid|pial)|w-g\.pct)$")


@dataclass(frozen=True, eq=False)
class SurfaceLabels:
    """Label of every vertex of one hemisphere.

    Attributes
    ----------
    labels
        ``(vertex,)`` label value; 0 or less is outside.
    names
        Label value -> name.
    """

    labels: Int
    names: Mapping[int, str]


def _gifti(path: Path, what: str) -> Any:
    """Read a GIFTI file after checking that each array unpacks to the size it announces."""
    import gzip

    import nibabel as nib

    size = file_size(path)
    zipped = path.suffix == ".gz"
    check_memory(path, size * 4 * (4 if zipped else 1), what)
    with reading(path, what):
        if zipped:
            with gzip.open(path, "rb") as file:
                content = file.read(64 * size + 1)
            if len(content) > 64 * size:
                raise InputError(f"{path}: the compressed file holds suspiciously much; make it again without gzip.")
        else:
            content = path.read_bytes()
        if b"<!ENTITY" in content:
            raise InputError(f"{path}: the XML defines entities, which GIFTI never does; make the file again.")
        _check_gifti_arrays(path, content)
        image = nib.GiftiImage.from_bytes(content)
        if not image.darrays:
            raise InputError(f"{path}: there is no array in it; give {what}.")
        return image


def _check_gifti_arrays(path: Path, content: bytes) -> None:
    for found in re.finditer(rb"<DataArray\b([^>]*)>(.*?)</DataArray>", content, re.DOTALL):
        sizes = [int(n) for n in re.findall(rb'\bDim\d="(\d{1,12})"', found[1])]
        expected = 8
        for n in sizes:
            expected *= n
        if expected > _MOST_RATIO * max(len(content), 1):
            raise InputError(
                f"{path}: an array announces {expected // 8} numbers, which the file cannot hold; damaged."
            )
        if b"ExternalFileBinary" in found[1]:
            raise InputError(
                f"{path}: its numbers lie in another file, which is never opened; convert it (wb_command "
                "-gifti-convert)."
            )
        if b"GZipBase64Binary" not in found[1]:
            continue
        data = re.search(rb"<Data>(.*?)</Data>", found[2], re.DOTALL)
        if data is None:
            continue
        unpacked = zlib.decompressobj().decompress(base64.b64decode(data[1]), expected + 1)
        if len(unpacked) > expected:
            raise InputError(f"{path}: an array unpacks to more than the {expected} bytes it announces; make it again.")


def _mgh(path: Path, what: str) -> npt.NDArray[np.float32]:
    import nibabel as nib

    size = file_size(path)
    with reading(path, what):
        image: Any = nib.MGHImage.from_filename(path)
        shape = tuple(int(n) for n in image.shape)
        item = np.dtype(image.get_data_dtype()).itemsize
        offset = int(image.dataobj.offset)
    count = 1
    for n in shape:
        count *= n
    if min(shape, default=0) < 1:
        raise InputError(f"{path}: the header says the size is {shape}; the file is damaged, so make it again.")
    check_memory(path, count * 4, what)
    if path.suffix == ".mgz":
        check_gzip(path, offset + count * item)
    elif offset + count * item > size:
        raise InputError(
            f"{path}: the header announces {offset + count * item} bytes, but the file has {size}; cut off."
        )
    with reading(path, what):
        return np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"), dtype=np.float32)


def read_surface_series(path: str | Path) -> npt.NDArray[np.float32]:
    """Read series over the vertices of one hemisphere: ``(vertex, time)``.

    Parameters
    ----------
    path
        ``.func.gii`` (one array per volume, or one of all), ``.mgh`` or ``.mgz`` (vertices x 1 x 1 x time). The
        repetition time is not taken from these files: many hold a default.

    Raises
    ------
    InputError
        If the file is damaged or holds something else.
    """
    path = Path(path)
    if path.name.endswith((".gii", ".gii.gz")):
        arrays = [np.asarray(a.data, dtype=np.float32) for a in _gifti(path, "a surface series").darrays]
        values = arrays[0] if len(arrays) == 1 else np.stack([a.ravel() for a in _same_length(path, arrays)], axis=1)
        if values.ndim == 1:
            values = values[:, None]
    elif path.suffix in (".mgh", ".mgz"):
        values = _mgh(path, "a surface series")
        if values.ndim == 4 and values.shape[1:3] != (1, 1):
            raise InputError(
                f"{path}: an image of size {' x '.join(map(str, values.shape))} was found, but a surface series is "
                "vertices x 1 x 1 x time; give the file on the surface."
            )
        values = values.reshape(values.shape[0], -1)
    else:
        raise InputError(f"{path}: surface series are read from .func.gii, .mgh and .mgz; give one of these.")
    if values.ndim != 2 or values.shape[1] < 2:
        raise InputError(
            f"{path}: an array of size {' x '.join(map(str, values.shape))} was found, but a series has many volumes; "
            "give the file with time."
        )
    return values


def _same_length(path: Path, arrays: list[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
    for k, array in enumerate(arrays):
        if array.size != arrays[0].size:
            raise InputError(
                f"{path}: volume {k} has {array.size} vertices, but the first has {arrays[0].size}; make the file "
                "again."
            )
    return arrays


def read_surface_map(path: str | Path) -> Float:
    """Read one number per vertex: ``.shape.gii``, ``.gii``, ``.mgh``, ``.mgz`` or FreeSurfer's ``lh.thickness``.

    Raises
    ------
    InputError
        If the file is damaged or holds more than one number per vertex.
    """
    path = Path(path)
    if path.name.endswith((".gii", ".gii.gz")):
        values = np.asarray(_gifti(path, "a surface map").darrays[0].data, dtype=np.float64)
    elif path.suffix in (".mgh", ".mgz"):
        values = _mgh(path, "a surface map").astype(np.float64)
    elif _MORPH.match(path.name):
        import nibabel as nib

        size = file_size(path)
        with reading(path, "a FreeSurfer map"):
            head = path.read_bytes()[:15]
            if head[:3] != b"\xff\xff\xff" or 15 + 4 * int(struct.unpack(">i", head[3:7])[0]) > size:
                raise InputError(
                    f"{path}: this does not begin like a FreeSurfer map, or announces more vertices than it holds; "
                    "copy it again, or convert it with mris_convert."
                )
            values = np.asarray(nib.freesurfer.read_morph_data(str(path)), dtype=np.float64)
    else:
        raise InputError(
            f"{path}: surface maps are read from .gii, .mgh, .mgz and FreeSurfer's lh.thickness; give one."
        )
    if values.size != max(values.shape, default=0):
        raise InputError(f"{path}: an array of shape {values.shape} was found, but a map has one number per vertex.")
    return values.ravel()


def read_surface_mesh(path: str | Path) -> Float:
    """Read the coordinates of the vertices, mm: ``.surf.gii``, ``.gii`` or FreeSurfer's ``lh.pial``.

    Raises
    ------
    InputError
        If the file is damaged or no mesh.
    """
    path = Path(path)
    file_size(path)
    if path.name.endswith((".gii", ".gii.gz")):
        values = np.asarray(_gifti(path, "a surface").darrays[0].data, dtype=np.float64)
    else:
        import nibabel as nib

        with reading(path, "a FreeSurfer surface", "give lh.pial, lh.white or a .surf.gii"):
            with path.open("rb") as file:
                start = file.read(3)
                file.readline()
                file.readline()
                count = struct.unpack(">i", file.read(4))[0]
            if start != b"\xff\xff\xfe" or not 0 < 12 * count < file_size(path):
                raise InputError(
                    f"{path}: this is no FreeSurfer surface, or it is cut off; give lh.pial or a .surf.gii."
                )
            values = np.asarray(nib.freesurfer.read_geometry(str(path))[0], dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != 3 or not np.isfinite(values).all():
        raise InputError(f"{path}: an array of shape {values.shape} was found, but a surface has finite x, y, z (mm).")
    return values


def read_surface_labels(path: str | Path) -> SurfaceLabels:
    """Read labels of the vertices: ``.label.gii`` or FreeSurfer's ``.annot``.

    Raises
    ------
    InputError
        If the file is damaged or has no names.
    """
    path = Path(path)
    size = file_size(path)
    if path.name.endswith((".gii", ".gii.gz")):
        image = _gifti(path, "surface labels")
        with reading(path, "surface labels"):
            table = {int(k): str(v) for k, v in image.labeltable.get_labels_as_dict().items()}
            raw = np.asarray(image.darrays[0].data).ravel()
            if not np.isfinite(raw.astype(np.float64)).all() or (raw != np.rint(raw)).any():
                raise InputError(f"{path}: labels that are not whole numbers were found; give a .label.gii.")
            labels = raw.astype(np.int64)
    elif path.suffix == ".annot":
        labels, table = _annot(path, size)
    else:
        raise InputError(f"{path}: surface labels are read from .label.gii and .annot; give one of these.")
    names = {k: v for k, v in table.items() if k > 0 and v not in ("", "???", "unknown", "Unknown", "corpuscallosum")}
    unnamed = sorted(set(np.unique(labels[labels > 0]).tolist()) - set(table))
    if unnamed:
        raise InputError(f"{path}: label {unnamed[0]} is used but has no name in the file; make the file again.")
    if not names:
        raise InputError(f"{path}: no label in it has a name; give a file with a table of labels.")
    return SurfaceLabels(np.where(np.isin(labels, list(names)), labels, 0), names)


def _annot(path: Path, size: int) -> tuple[Int, dict[int, str]]:
    """FreeSurfer's annotation; the counts in it are compared with the file before nibabel follows them."""
    import nibabel as nib

    with reading(path, "a FreeSurfer annotation"):
        content = path.read_bytes()
        vertices = struct.unpack(">i", content[:4])[0]
        if not 0 < vertices <= _MOST_VERTICES or 4 + 8 * vertices > size:
            raise InputError(
                f"{path}: {vertices} vertices are announced, which {size} bytes cannot hold; copy it again."
            )
        _check_annot_table(path, content[4 + 8 * vertices :])
        index, _, names = nib.freesurfer.read_annot(str(path))
        # nibabel counts from 0 and gives -1 to vertices without an entry; 0 is "outside" here.
        return index.astype(np.int64) + 1, {k + 1: n.decode("utf-8", "replace") for k, n in enumerate(names)}


def _check_annot_table(path: Path, content: bytes) -> None:
    """Walk over the table of colours: every length in it must lie within the file."""
    place = 0

    def number() -> int:
        nonlocal place
        value = struct.unpack(">i", content[place : place + 4])[0]
        place += 4
        return int(value)

    def skip(count: int) -> None:
        nonlocal place
        if count < 0 or place + count > len(content):
            raise InputError(f"{path}: its table of labels is damaged or cut off; copy or make it again.")
        place += count

    if not number():
        raise InputError(f"{path}: there is no table of labels in it; make the file again with one.")
    entries = number()
    if entries > 0:  # the old layout
        skip(number())
        for _ in range(min(entries, 100_000)):
            skip(number())
            skip(16)
        return
    if entries != -2:
        raise InputError(f"{path}: its table of labels has the unknown version {entries}; make the file again.")
    most = number()
    skip(number())
    read = number()
    if not 0 < read <= max(most, 0) <= 1_000_000:
        raise InputError(f"{path}: its table announces {read} of {most} labels; it is damaged, so make it again.")
    for _ in range(read):
        if not 0 <= number() < most:
            raise InputError(f"{path}: its table of labels is damaged; copy or make it again.")
        skip(number())
        skip(16)


def vertices_of(
    series: Mapping[str, npt.NDArray[Any]],
    labels: Mapping[str, SurfaceLabels],
    positions: Mapping[str, Float],
    grey_matter: Mapping[str, Float],
    *,
    repetition_time_s: float,
    run: str = "rest",
    prefix: Mapping[str, str] | None = None,
    min_grey_matter_mm3: float = 0.5,
    connectome: Any = None,
) -> tuple[VoxelData, dict[str, str]]:
    """Make voxel-level data of the vertices of both hemispheres.

    Parameters
    ----------
    series, labels, positions, grey_matter
        Hemisphere -> ``(vertex, time)``, labels, ``(vertex, 3)`` mm, ``(vertex,)`` mm3 (area times thickness).
    repetition_time_s
        Seconds from volume to volume.
    run
        Name of the run.
    prefix
        Hemisphere -> what is put before the labels' names, so that both sides differ; default: none.
    min_grey_matter_mm3
        Vertices with less are left out.
    connectome
        Between the vertices that are kept; rarely known.

    Returns
    -------
    voxels, notes
        ``kind="vertex"``; and how many vertices were left out, for which reason.

    Raises
    ------
    InputError
        If the hemispheres' files do not fit each other.
    """
    region: list[str] = []
    parts: dict[str, list[npt.NDArray[Any]]] = {"series": [], "positions": [], "grey_matter": []}
    notes: dict[str, str] = {}
    for side in series:
        for what, given in (("labels", labels), ("positions", positions), ("grey_matter", grey_matter)):
            if side not in given:
                raise InputError(f"surface {what}: hemisphere '{side}' is missing; give it for {', '.join(series)}.")
        values, tags = np.asarray(series[side]), labels[side]
        n = len(values)
        for what, length in (
            ("labels", len(tags.labels)),
            ("positions", len(positions[side])),
            ("grey matter", len(grey_matter[side])),
        ):
            if length != n:
                raise InputError(
                    f"surface {what} of '{side}': {length} vertices were found, but the series has {n}; give files of "
                    "the same surface (for example all fsaverage5)."
                )
        silent = ~(np.isfinite(values).all(axis=1) & (np.ptp(values, axis=1) > 0))
        thin = ~(np.isfinite(grey_matter[side]) & (grey_matter[side] > min_grey_matter_mm3))
        nameless = tags.labels <= 0
        keep = ~(silent | thin | nameless)
        notes[f"vertices {side}"] = (
            f"{int(keep.sum())} of {n} kept; without signal {int(silent.sum())}, below {min_grey_matter_mm3:g} mm3 "
            f"{int((thin & ~silent).sum())}, without label {int((nameless & ~silent & ~thin).sum())}"
        )
        before = (prefix or {}).get(side, "")
        region += [before + tags.names[int(value)] for value in tags.labels[keep]]
        parts["series"].append(values[keep].T)
        parts["positions"].append(np.asarray(positions[side])[keep])
        parts["grey_matter"].append(np.asarray(grey_matter[side])[keep])
    lengths = {part.shape[0] for part in parts["series"]}
    if len(lengths) > 1:
        raise InputError(f"surface series: the hemispheres have {sorted(lengths)} volumes; give one run.")
    voxels = VoxelData.from_arrays(
        region,
        np.concatenate(parts["grey_matter"]),
        np.concatenate(parts["positions"]),
        bold={run: np.concatenate(parts["series"], axis=1)},
        repetition_time_s=repetition_time_s,
        connectome=connectome,
        kind="vertex",
    )
    return voxels, notes
