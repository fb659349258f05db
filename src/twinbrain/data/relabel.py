"""Another parcellation for a person: its connectome and sizes by giving the voxels of the model brain new labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.sparse import csr_array

from twinbrain.data.atlas import Atlas, labelled_points, rows_and_weights, voxel_grid
from twinbrain.data.subject import Subject
from twinbrain.errors import InputError

__all__ = ["Relabelled", "relabel"]

Float = npt.NDArray[np.float64]

_LEAST = 0.5  # share of a new region that the person's voxels must cover


@dataclass(frozen=True, eq=False)
class Relabelled:
    """Anatomy of a person in another parcellation; made by :func:`relabel`.

    Attributes
    ----------
    regions
        Those of the new parcellation of which at least half lies in voxels of the person's.
    lost
        The others: the person's connectome does not reach there.
    connectome
        (target, source), units of the person's.
    grey_matter
        (region,) mm3.
    positions
        (region, axis) grey-matter-weighted centres, mm.
    share
        Share of the person's grey matter that has a new label.
    """

    regions: tuple[str, ...]
    lost: tuple[str, ...]
    connectome: xr.DataArray
    grey_matter: Float
    positions: Float
    share: float


def relabel(person: Subject, atlas: Atlas, *, voxel_mm: float = 4.0) -> Relabelled:
    """Carry a connectome over to another parcellation, through the voxels both have.

    The person's atlas is cut into voxels (:func:`twinbrain.data.atlas.voxel_grid`), among which streamlines are spread
    by grey matter, as in a voxel brain: voxels v of region i and w of region j share ``C_ij gm_v gm_w / (GM_i GM_j)``.
    Each voxel takes the new label with the most grey matter in its cube, and streamlines are summed again:

    ``C'_ab = sum_ij m_ia C_ij m_jb``,  m_ia = share of the grey matter of region i in voxels with the label a.

    Parameters
    ----------
    person
        With an atlas.
    atlas
        The new parcellation, in the same space.
    voxel_mm
        Edge of the voxels, mm.

    Returns
    -------
    Relabelled

    Raises
    ------
    InputError
        If the person has no atlas or no voxel gets a label.

    Notes
    -----
    Nothing is known about connections inside an old region, so two new ones inside the same old one get none between
    them. The diagonal, connections inside a new region, is left out.

    Examples
    --------
    >>> from twinbrain.data.atlases import installed_atlas
    >>> relabel(load_sample("101309"), installed_atlas("DesikanKilliany")[0])     # doctest: +SKIP
    """
    if person.atlas is None:
        raise InputError(f"subject '{person.name}' has no atlas, so there are no voxels to relabel; give it one.")
    grid = voxel_grid(person.atlas, person.regions, voxel_mm)
    names = tuple(dict.fromkeys(atlas.labels.values()))
    points = labelled_points(atlas.label_image, atlas.grey_matter_image, atlas.grey_matter_scale)
    row, weight = rows_and_weights(atlas, points, names, False)
    ijk = np.stack(np.unravel_index(points.flat, points.probability.shape), axis=1)
    mm = ijk @ points.affine[:3, :3].T + points.affine[:3, 3]
    back = np.linalg.inv(grid.affine)
    cube = np.floor(mm @ back[:3, :3].T + back[:3, 3] + 0.5).astype(np.int64)
    inside = (row >= 0) & (cube >= 0).all(axis=1) & (cube < np.array(grid.shape)).all(axis=1)
    flat = np.ravel_multi_index(tuple(cube[inside].T), grid.shape)
    voxel_of = np.full(int(np.prod(grid.shape)), -1, np.int64)
    voxel_of[np.ravel_multi_index(tuple(grid.index.T), grid.shape)] = np.arange(len(grid.region))
    voxel = voxel_of[flat]
    known = voxel >= 0
    votes = csr_array(
        (weight[inside][known], (voxel[known], row[inside][known])), shape=(len(grid.region), len(names))
    ).toarray()
    label = np.where(votes.max(axis=1) > 0, votes.argmax(axis=1), -1)
    if (label < 0).all():
        raise InputError(f"{atlas.label_image}: no voxel of '{person.name}' gets a label; are both in the same space?")
    kept = np.flatnonzero(label >= 0)
    whole = np.bincount(grid.region, weights=grid.grey_matter, minlength=len(person.regions))
    size = np.bincount(label[kept], weights=grid.grey_matter[kept], minlength=len(names))
    covered = np.bincount(row[inside][known], weights=weight[inside][known], minlength=len(names))
    amount = np.bincount(row[row >= 0], weights=weight[row >= 0], minlength=len(names))
    there = np.flatnonzero((covered >= _LEAST * amount) & (size > 0))
    member = np.zeros((len(person.regions), len(names)))
    np.add.at(member, (grid.region[kept], label[kept]), grid.grey_matter[kept])
    member = (member / whole[:, None])[:, there]
    matrix = member.T @ np.asarray(person.connectome.values, np.float64) @ member
    np.fill_diagonal(matrix, 0.0)
    centre = grid.index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    gm = grid.grey_matter[kept]
    mean = np.stack([np.bincount(label[kept], weights=gm * centre[kept, k], minlength=len(names)) for k in range(3)], 1)
    regions = tuple(names[k] for k in there)
    coords = {"target": list(regions), "source": list(regions)}
    return Relabelled(
        regions=regions,
        lost=tuple(name for k, name in enumerate(names) if k not in there),
        connectome=xr.DataArray(matrix, dims=("target", "source"), coords=coords),
        grey_matter=np.asarray(size[there], np.float64),
        positions=mean[there] / size[there][:, None],
        share=float(size[there].sum() / whole.sum()),
    )
