"""Maps of voxel quantities: NIfTI volumes, CIFTI files, GIFTI surfaces, and what nilearn takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.brain import Brain
from twinbrain.errors import InputError

__all__ = ["label_image", "paint", "to_cifti", "to_gifti", "to_nifti", "to_parcels"]

Float = npt.NDArray[np.float64]

_NEAR_MM = 6.0  # a vertex farther than this from every voxel shows nothing
_STRUCTURES = {"L": "CIFTI_STRUCTURE_CORTEX_LEFT", "R": "CIFTI_STRUCTURE_CORTEX_RIGHT"}
_ANATOMY = {"L": "CortexLeft", "R": "CortexRight"}


def paint(brain: Brain, values: npt.ArrayLike) -> Float:
    """Give every voxel the value of its region.

    Parameters
    ----------
    brain
        A brain at voxel level.
    values
        ``(R,)`` or ``(time, R)``, in the order of ``brain.regions``.

    Returns
    -------
    ndarray
        ``(V,)`` or ``(time, V)``.

    Raises
    ------
    InputError
        If the number of values is not that of the regions.

    Examples
    --------
    >>> from twinbrain import Subject
    >>> brain = Brain.from_subject(Subject.from_arrays([[0, 1], [2, 0]], ["a", "b"]))
    >>> paint(brain, [5.0, 7.0]).tolist()
    [5.0, 7.0]
    """
    array = np.asarray(values, np.float64)
    if array.ndim not in (1, 2) or array.shape[-1] != len(brain.regions):
        raise InputError(f"values of shape {array.shape} were found, expected one per region ({len(brain.regions)})")
    return np.asarray(array[..., brain.region_index])


def to_nifti(brain: Brain, values: npt.ArrayLike | xr.DataArray, *, repetition_time_s: float | None = None) -> Any:
    """Return a NIfTI image of one value per voxel, or of a series of them.

    Parameters
    ----------
    brain
        A brain at voxel level with a grid.
    values
        ``(V,)`` or ``(time, V)``; stored as float32.
    repetition_time_s
        Of a series, written into the header.

    Returns
    -------
    nibabel.Nifti1Image
        0 outside the brain; mm, seconds.

    Raises
    ------
    InputError
        If the brain has no grid or the values do not fit.

    Examples
    --------
    >>> from twinbrain import Subject
    >>> brain = Brain.from_subject(Subject.from_arrays([[0, 1], [2, 0]], ["a", "b"]))
    >>> to_nifti(brain, [1.0, 2.0])
    Traceback (most recent call last):
    ...
    twinbrain.errors.InputError: this brain has no voxels on a grid ...
    """
    image = brain.to_image(values)
    if repetition_time_s is not None and image.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], repetition_time_s))
    return image


def label_image(brain: Brain) -> tuple[Any, pd.DataFrame]:
    """Return what nilearn's ``NiftiLabelsMasker`` takes: an integer image of the regions and its table.

    Returns
    -------
    image
        nibabel.Nifti1Image, int16 or int32; 0 = no voxel of the model.
    table
        Columns index, name.

    Raises
    ------
    InputError
        If the brain has no grid.
    """
    import nibabel as nib

    plain = brain.to_image(np.zeros(len(brain.voxels)))
    labels = np.zeros(plain.shape, np.int16 if len(brain.regions) < 2**15 else np.int32)
    assert brain.grid_index is not None
    labels[tuple(brain.grid_index.T)] = brain.region_index + 1
    image = nib.Nifti1Image(labels, plain.affine)
    image.set_sform(plain.affine, code=4)
    image.header.set_xyzt_units("mm", "sec")
    return image, pd.DataFrame({"index": np.arange(1, len(brain.regions) + 1), "name": list(brain.regions)})


def to_cifti(brain: Brain, values: Mapping[str, npt.ArrayLike] | npt.ArrayLike, *, seconds: float | None = None) -> Any:
    """Return a CIFTI-2 image with one grey-ordinate per voxel.

    Parameters
    ----------
    brain
        A brain at voxel level with a grid.
    values
        Name -> ``(V,)`` for a ``dscalar``; or ``(time, V)`` with ``seconds`` for a ``dtseries``.
    seconds
        Repetition time of a series.

    Returns
    -------
    nibabel.Cifti2Image
        Save it as ``.dscalar.nii`` or ``.dtseries.nii``. Voxels are grouped as left, right or other by the last letter
        of their region's name.

    Raises
    ------
    InputError
        If the brain has no grid or the values do not fit.
    """
    import nibabel as nib
    from nibabel import cifti2

    axis, order = _grey_ordinates(brain)
    if isinstance(values, Mapping):
        data = np.stack([_checked(brain, v, 1) for v in values.values()])
        first: Any = cifti2.ScalarAxis(list(values))
    else:
        if seconds is None:
            raise InputError("a series needs its repetition time; give seconds=")
        data = _checked(brain, values, 2)
        first = cifti2.SeriesAxis(0.0, float(seconds), len(data), "SECOND")
    return nib.Cifti2Image(np.asarray(data[:, order], np.float32), (first, axis))


def to_parcels(
    names: tuple[str, ...], values: npt.ArrayLike, *, seconds: float | None = None, brain: Brain | None = None
) -> Any:
    """Return a CIFTI-2 image of regions: ``(time, R)`` with ``seconds`` as ``ptseries``, ``(R, R)`` as ``pconn``.

    Parameters
    ----------
    names
        Names of the R regions.
    values
        The numbers; rows of a connectome are targets.
    seconds
        Repetition time of a series; None for a matrix.
    brain
        A brain on a grid whose voxels make up the parcels; without one the parcels are names only.

    Raises
    ------
    InputError
        If the values do not fit.

    Examples
    --------
    >>> to_parcels(("a", "b"), [[0.0, 1.0], [2.0, 0.0]]).shape
    (2, 2)
    """
    import nibabel as nib
    from nibabel import cifti2

    array = np.asarray(values, np.float64)
    if array.ndim != 2 or array.shape[1] != len(names) or (seconds is None and array.shape[0] != len(names)):
        raise InputError(f"values of shape {array.shape} do not fit {len(names)} regions")
    places: list[Any] = [np.zeros((0, 3), np.int64)] * len(names)
    affine, shape = None, None
    if brain is not None and brain.grid_index is not None:
        places = [brain.grid_index[brain.region_index == brain.regions.index(name)] for name in names]
        affine, shape = brain.grid_affine, brain.grid_shape
    parcels = cifti2.ParcelsAxis(list(names), places, [{} for _ in names], affine=affine, volume_shape=shape)
    first: Any = parcels if seconds is None else cifti2.SeriesAxis(0.0, float(seconds), len(array), "SECOND")
    return nib.Cifti2Image(array.astype(np.float32), (first, parcels))


def to_gifti(brain: Brain, values: npt.ArrayLike, name: str = "values") -> dict[str, Any]:
    """Return a GIFTI map per hemisphere on fsaverage5 (10,242 vertices each).

    A vertex takes the value of the nearest voxel of its hemisphere within 6 mm of the midpoint of pial and white
    surface, else NaN. MNI152 and fsaverage agree to a few mm only: a picture, not a measurement.

    Parameters
    ----------
    brain
        A brain with positions.
    values
        ``(V,)``.
    name
        Name of the map.

    Returns
    -------
    dict
        ``"L"`` and ``"R"`` -> nibabel.gifti.GiftiImage.

    Raises
    ------
    InputError
        If the brain has no positions, or the number of values is not V.
    """
    import nibabel as nib
    from scipy.spatial import cKDTree

    array = _checked(brain, values, 1)
    if brain.positions is None:
        raise InputError("this brain has no positions in space, so it cannot be drawn on a surface")
    out = {}
    for side in "LR":
        places = _midpoints(side)
        own = brain.positions[:, 0] < 0 if side == "L" else brain.positions[:, 0] >= 0
        found = np.full(len(places), np.nan, np.float32)
        if own.any():
            found_at: Any = cKDTree(brain.positions[own]).query(places)
            distance, at = found_at
            near = distance <= _NEAR_MM
            found[near] = array[own][at[near]]
        meta = nib.gifti.GiftiMetaData({"Name": name})
        darray = nib.gifti.GiftiDataArray(found, intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32", meta=meta)
        about = nib.gifti.GiftiMetaData({"AnatomicalStructurePrimary": _ANATOMY[side]})
        out[side] = nib.gifti.GiftiImage(darrays=[darray], meta=about)
    return out


def _midpoints(side: str) -> npt.NDArray[np.float32]:
    """Vertices half-way between the white and the pial surface of fsaverage5, from nilearn's package data, mm."""
    import importlib.util
    from pathlib import Path

    import nibabel as nib

    spec = importlib.util.find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("surface maps need nilearn, which is not installed; say 'pip install nilearn'")
    folder = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data" / "fsaverage5"
    word = {"L": "left", "R": "right"}[side]
    both: list[Any] = [nib.load(folder / f"{kind}_{word}.gii.gz") for kind in ("white", "pial")]
    return np.asarray((both[0].darrays[0].data + both[1].darrays[0].data) / 2, np.float32)


def _checked(brain: Brain, values: npt.ArrayLike, ndim: int) -> Float:
    array = np.asarray(values, np.float64)
    if array.ndim != ndim or array.shape[-1] != len(brain.voxels):
        wanted = "(voxel,)" if ndim == 1 else "(time, voxel)"
        raise InputError(f"an array of shape {array.shape} was found, expected {wanted}: {len(brain.voxels)} voxels")
    return array


def _grey_ordinates(brain: Brain) -> tuple[Any, npt.NDArray[np.int64]]:
    """Return CIFTI's axis of voxels and the voxel of each grey-ordinate: a structure's must stand together."""
    from nibabel import cifti2

    if brain.grid_index is None or brain.grid_shape is None:
        raise InputError("this brain has no voxels on a grid; build it with level='voxel' from a volume")
    ends = np.array([name[-1] if name.endswith(("_L", "_R")) else "" for name in brain.regions])[brain.region_index]
    axis, order = None, []
    for end in ("L", "R", ""):
        which = np.flatnonzero(ends == end)
        if not len(which):
            continue
        part = cifti2.BrainModelAxis(
            np.full(len(which), _STRUCTURES.get(end, "CIFTI_STRUCTURE_OTHER"), dtype=object),
            voxel=brain.grid_index[which],
            affine=brain.grid_affine,
            volume_shape=brain.grid_shape,
        )
        axis = part if axis is None else axis + part
        order.append(which)
    return axis, np.concatenate(order)
