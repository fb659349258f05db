"""CIFTI files: parcellated and dense series, and dense labels to make the first of the second."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twinbrain.data.images import check_nifti_head
from twinbrain.data.safety import check_memory, file_size, reading
from twinbrain.errors import InputError

__all__ = ["CiftiSeries", "DenseLabels", "is_cifti", "read_dlabel", "read_dtseries", "read_ptseries"]

Float = npt.NDArray[np.float64]

_SERIES_UNITS = {"SECOND": 1.0}


@dataclass(frozen=True, eq=False)
class CiftiSeries:
    """Series as a CIFTI file holds them.

    Attributes
    ----------
    values
        ``(time, node)`` float32.
    names
        Names of the parcels (ptseries), else None.
    repetition_time_s
        Seconds from volume to volume, from the file's own axis.
    nodes
        What the columns are (dtseries): one ``(structure, number)`` per vertex or voxel, else None.
    """

    values: npt.NDArray[np.float32]
    names: tuple[str, ...] | None
    repetition_time_s: float
    nodes: tuple[tuple[str, int], ...] | None


@dataclass(frozen=True, eq=False)
class DenseLabels:
    """Label of every grayordinate.

    Attributes
    ----------
    nodes
        One ``(structure, number)`` per grayordinate.
    labels
        Label value of each.
    names
        Label value -> name; 0 and "???" are outside.
    """

    nodes: tuple[tuple[str, int], ...]
    labels: npt.NDArray[np.int64]
    names: dict[int, str]


def is_cifti(path: Path) -> bool:
    """Say whether a file's name is that of a CIFTI file."""
    return path.name.endswith((".ptseries.nii", ".dtseries.nii", ".dlabel.nii", ".pconn.nii"))


def _load(path: Path, what: str) -> tuple[Any, npt.NDArray[Any], list[Any]]:
    """Open a CIFTI file: sizes first, then axes, then numbers."""
    import nibabel as nib

    size = file_size(path)
    check_nifti_head(path, what)
    with reading(path, what):
        plain: Any = nib.Nifti2Image.from_filename(path)
        shape = tuple(int(n) for n in plain.shape)
        item = np.dtype(plain.get_data_dtype()).itemsize
        offset = int(plain.dataobj.offset)
        extensions = sum(int(e.get_sizeondisk()) for e in plain.header.extensions)
    count = 1
    for n in shape:
        count *= n
    if min(shape, default=0) < 1 or offset < 0 or offset + count * item > size or extensions > size:
        raise InputError(
            f"{path}: the header announces {offset + count * item} bytes, but the file has {size}; it is cut off or "
            "damaged, so copy or make it again."
        )
    check_memory(path, count * max(item, 4) * 2, what)
    with reading(path, what):
        image: Any = nib.Cifti2Image.from_filename(path)
        axes = [image.header.get_axis(k) for k in range(len(image.shape))]
        for axis, n in zip(axes, image.shape, strict=True):
            if len(axis) != n:
                raise InputError(
                    f"{path}: an axis describes {len(axis)} entries, but the matrix has {n}; make the file again."
                )
        values = np.asarray(image.get_fdata(dtype=np.float32))
    return image, values, axes


def _series(path: Path, axes: list[Any], wanted: type, what: str) -> tuple[float, Any]:
    import nibabel.cifti2 as cifti

    if len(axes) != 2 or not isinstance(axes[0], cifti.SeriesAxis) or not isinstance(axes[1], wanted):
        found = " x ".join(type(axis).__name__ for axis in axes)
        raise InputError(f"{path}: a matrix of {found} was found, but {what} has time x nodes; give the right file.")
    step, unit = float(axes[0].step), str(axes[0].unit).upper()
    if unit not in _SERIES_UNITS:
        raise InputError(f"{path}: the series' unit is {unit}, but SECOND is needed; correct the file's time axis.")
    if not np.isfinite(step) or step <= 0:
        raise InputError(
            f"{path}: the repetition time in the file is {step:g} s, but a number above 0 is needed; set the step of "
            "its time axis (wb_command -cifti-change-mapping ... -series)."
        )
    if step > 20:
        raise InputError(
            f"{path}: the repetition time in the file is {step:g} s, which looks like milliseconds; correct the step "
            "of its time axis."
        )
    return step, axes[1]


def read_ptseries(path: str | Path) -> CiftiSeries:
    """Read a parcellated series.

    Raises
    ------
    InputError
        If the file is damaged or no ptseries, or its time axis has no step in seconds.
    """
    import nibabel.cifti2 as cifti

    path = Path(path)
    _, values, axes = _load(path, "a CIFTI ptseries")
    step, parcels = _series(path, axes, cifti.ParcelsAxis, "a ptseries")
    names = tuple(str(name) for name in parcels.name)
    if len(set(names)) < len(names):
        twice = next(name for k, name in enumerate(names) if name in names[:k])
        raise InputError(f"{path}: parcel '{twice}' is there twice; give every parcel its own name.")
    return CiftiSeries(values, names, step, None)


def read_dtseries(path: str | Path) -> CiftiSeries:
    """Read a dense series; its nodes are vertices and voxels.

    Raises
    ------
    InputError
        As :func:`read_ptseries`.
    """
    import nibabel.cifti2 as cifti

    path = Path(path)
    _, values, axes = _load(path, "a CIFTI dtseries")
    step, models = _series(path, axes, cifti.BrainModelAxis, "a dtseries")
    return CiftiSeries(values, None, step, _nodes(models))


def read_dlabel(path: str | Path) -> DenseLabels:
    """Read dense labels (the first map of the file).

    Raises
    ------
    InputError
        If the file is damaged or no dlabel.
    """
    import nibabel.cifti2 as cifti

    path = Path(path)
    _, values, axes = _load(path, "a CIFTI dlabel")
    if len(axes) != 2 or not isinstance(axes[0], cifti.LabelAxis) or not isinstance(axes[1], cifti.BrainModelAxis):
        raise InputError(f"{path}: this is no table of labels over vertices; give a .dlabel.nii file.")
    table = {int(key): str(entry[0]) for key, entry in axes[0].label[0].items()}
    labels = values[0]
    if not np.isfinite(labels).all() or (labels != np.rint(labels)).any() or float(np.abs(labels).max()) > 2**31:
        raise InputError(f"{path}: labels that are not whole numbers were found; make the file again.")
    return DenseLabels(_nodes(axes[1]), labels.astype(np.int64), table)


def _nodes(models: Any) -> tuple[tuple[str, int], ...]:
    """One key per grayordinate: vertices by number, voxels by their place packed into a number."""
    nodes: list[tuple[str, int]] = []
    for name, vertex, voxel in zip(models.name, models.vertex, models.voxel, strict=True):
        number = int(vertex) if int(vertex) >= 0 else -1 - int(voxel[0] + 1000 * voxel[1] + 1_000_000 * voxel[2])
        nodes.append((str(name), number))
    return tuple(nodes)


def parcellated(series: CiftiSeries, labels: DenseLabels, path: Path) -> tuple[Float, tuple[str, ...]]:
    """Average a dense series over each label's grayordinates that have a signal.

    Returns
    -------
    values, names
        ``(time, region)`` and the names, in the order of the label values.

    Raises
    ------
    InputError
        If the files are of different grayordinates, or a region has no signal.
    """
    if series.nodes is None:
        raise InputError(f"{path}: this is no dense series; give a .dtseries.nii file.")
    place = {node: k for k, node in enumerate(labels.nodes)}
    label = np.array([labels.labels[place[n]] if n in place else 0 for n in series.nodes], dtype=np.int64)
    if not label.any():
        raise InputError(
            f"{path}: none of its {len(series.nodes)} vertices and voxels has a label; give a dlabel of the same "
            "surface (for example 32k_fs_LR)."
        )
    good = np.isfinite(series.values).all(axis=0) & (np.ptp(series.values, axis=0) > 0)
    columns, names = [], []
    for value in sorted(set(label.tolist()) - {0}):
        name = labels.names.get(value, "")
        if name in ("", "???"):
            continue
        member = (label == value) & good
        if not member.any():
            raise InputError(
                f"{path}: region '{name}' has no vertex or voxel with a signal; leave it out of the labels."
            )
        columns.append(series.values[:, member].mean(axis=1, dtype=np.float64))
        names.append(name)
    return np.stack(columns, axis=1), tuple(names)
