"""Bring a finer grey-matter map, its labels and other maps onto the grid of a person's BOLD, without interpolation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from twinbrain.data.atlas import DEEP, Atlas, VoxelGrid, labelled_points, rows_and_weights
from twinbrain.data.images import Volume
from twinbrain.errors import InputError

__all__ = ["Gridded", "grid_of", "sample_nearest"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Gridded:
    """Grey matter and labels on a given grid.

    Attributes
    ----------
    affine, shape
        The grid.
    grey_matter
        mm3 in every point of the grid (flat), deep nuclei by label if that was asked for.
    flat, region, weight
        One entry per point of the grid and region that occurs there: the point, the row of the region, and its
        labelled grey matter in mm3; sorted by point, the heaviest region first.
    labelled
        mm3 of every point of the grid that carry a label, whatever the tissue (flat).
    """

    affine: Float
    shape: tuple[int, int, int]
    grey_matter: Float
    flat: Int
    region: Int
    weight: Float
    labelled: Float

    @property
    def volume(self) -> float:
        """Size of a point of the grid, mm3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def winners(self) -> tuple[Int, Int, Float]:
        """Return the points that carry a label, their heaviest region and its grey matter."""
        flat, first = np.unique(self.flat, return_index=True)
        return flat, self.region[first], self.weight[first]

    def voxels(self, regions: tuple[str, ...], min_grey_matter: float, deep_by_label: bool) -> VoxelGrid:
        """Choose the points that are voxels, by the rule of :func:`twinbrain.data.atlas.voxel_grid`."""
        flat, winner, vote = self.winners()
        keep = (self.grey_matter[flat] >= min_grey_matter * self.volume) & (vote > 0)
        if deep_by_label:
            deep = np.array([name.startswith(DEEP) for name in regions])
            keep |= deep[winner] & (self.labelled[flat] >= 0.5 * self.volume)
        keep &= self.grey_matter[flat] > 0
        flat, winner = flat[keep], winner[keep]
        order = np.lexsort((flat, winner))
        counts = np.bincount(winner, minlength=len(regions))
        if not counts.all():
            name = regions[int(np.argmin(counts))]
            raise InputError(
                f"region '{name}' gets no voxel on the grid of the BOLD image; lower min_grey_matter "
                f"({min_grey_matter:g}), leave the region out, or check that atlas and grey matter are in the space of "
                "the BOLD image."
            )
        return VoxelGrid(
            index=np.stack(np.unravel_index(flat[order], self.shape), axis=1).astype(np.int64),
            affine=self.affine,
            shape=self.shape,
            region=winner[order].astype(np.int64),
            grey_matter=self.grey_matter[flat[order]],
        )

    def flat_of(self, positions: Float, source: Path, tolerance_mm: float = 0.6) -> Int:
        """Find the point of the grid at each of the positions (mm).

        Raises
        ------
        InputError
            If one lies outside the grid, or away from the centre of its point.
        """
        ijk = positions @ np.linalg.inv(self.affine[:3, :3]).T - np.linalg.inv(self.affine[:3, :3]) @ self.affine[:3, 3]
        place = np.rint(ijk).astype(np.int64)
        away = np.abs((place - ijk) @ self.affine[:3, :3].T).max(axis=1)
        outside = np.asarray(((place < 0) | (place >= np.array(self.shape))).any(axis=1))
        bad = np.flatnonzero(outside | (away > tolerance_mm))
        if len(bad):
            k = int(bad[0])
            why = "outside the grid of the BOLD image" if outside[k] else f"{away[k]:.1f} mm from the next BOLD voxel"
            raise InputError(
                f"{source}, row {k + 2}: the voxel at {np.round(positions[k], 2).tolist()} mm lies {why}; list the "
                "centres of BOLD voxels, in the same space."
            )
        return np.asarray(np.ravel_multi_index(tuple(place.T), self.shape), dtype=np.int64)


def grid_of(atlas: Atlas, regions: tuple[str, ...], target: Volume, *, deep_by_label: bool = True) -> Gridded:
    """Sum the grey matter of a finer map, and of each region in it, over the points of another grid.

    Along the axes of the grid, a fine point that lies on the border of two coarse ones is shared between them by
    overlap, so no grey matter is lost or counted twice; if the grids are turned against each other, each
    fine point goes to the coarse point nearest to its centre.

    Raises
    ------
    InputError
        If the map is coarser than the grid.
    """
    points = labelled_points(atlas.label_image, atlas.grey_matter_image, atlas.grey_matter_scale)
    shape = (target.shape[0], target.shape[1], target.shape[2])
    if points.spacing > 1.01 * float(target.spacing.min()):
        raise InputError(
            f"{atlas.grey_matter_image}: its points measure {points.spacing:g} mm, but those of {target.path.name} "
            f"{target.spacing.min():g} mm; give a grey-matter map on the same or a finer grid."
        )
    step = np.round(np.linalg.inv(target.affine) @ points.affine, 9)
    volume = points.spacing**3
    row, tissue = rows_and_weights(atlas, points, regions, False)
    ijk = np.stack(np.unravel_index(points.flat, points.probability.shape))
    deep = np.array([name.startswith(DEEP) for name in regions] + [False])
    extra = np.where(deep[row], 1.0 - tissue, 0.0) if deep_by_label else np.zeros(len(row))

    total = _summed(points.probability.astype(np.float64), step, shape)
    flat, which, weight = _overlaps(ijk, step, shape)
    size = int(np.prod(shape))
    known = row[which] >= 0
    flat, which, weight = flat[known], which[known], weight[known]
    total += np.bincount(flat, weights=weight * extra[which], minlength=size)
    labelled = np.bincount(flat, weights=weight, minlength=size) * volume
    pair, entry = np.unique(flat * len(regions) + row[which], return_inverse=True)
    vote = np.bincount(entry, weights=weight * (tissue + extra)[which]) * volume
    order = np.lexsort((pair % len(regions), -vote, pair // len(regions)))
    return Gridded(
        affine=target.affine,
        shape=shape,
        grey_matter=total * volume,
        flat=pair[order] // len(regions),
        region=pair[order] % len(regions),
        weight=np.asarray(vote[order], dtype=np.float64),
        labelled=np.asarray(labelled, dtype=np.float64),
    )


def _aligned(step: Float) -> list[int] | None:
    """Say which fine axis runs along each coarse axis, or None where the grids are turned against each other."""
    big = np.abs(step[:3, :3]) > 1e-6
    if (big.sum(axis=0) == 1).all() and (big.sum(axis=1) == 1).all():
        return [int(np.argmax(row)) for row in big]
    return None


def _cells(n_fine: int, scale: float, offset: float) -> tuple[Int, Int, Float, Float]:
    """Lower and upper coarse cell of each fine cell along one axis, and the share of the fine cell in each."""
    centre = offset + scale * np.arange(n_fine)
    left, right = centre - abs(scale) / 2, centre + abs(scale) / 2
    low = np.floor(np.round(left + 0.5, 6)).astype(np.int64)
    inside = np.clip((np.minimum(right, low + 0.5) - left) / abs(scale), 0.0, 1.0)
    inside = np.where(inside > 1 - 1e-5, 1.0, inside)
    return low, low + 1, inside, 1.0 - inside


def _summed(values: Float, step: Float, shape: tuple[int, int, int]) -> Float:
    """Sum a map over the cells of the coarse grid (flat)."""
    axes = _aligned(step)
    if axes is None:
        at = np.flatnonzero(values)
        ijk = np.stack(np.unravel_index(at, values.shape))
        flat, which, weight = _overlaps(ijk, step, shape)
        found = np.bincount(flat, weights=weight * values.ravel()[at][which], minlength=int(np.prod(shape)))
        return np.asarray(found, dtype=np.float64)
    values = values.transpose(axes)
    for k in range(3):
        low, high, a, b = _cells(values.shape[k], step[k, axes[k]], step[k, 3])
        fine = np.arange(values.shape[k])
        rows, columns, data = np.concatenate([low, high]), np.concatenate([fine, fine]), np.concatenate([a, b])
        keep = (rows >= 0) & (rows < shape[k]) & (data > 0)
        gather = csr_array((data[keep], (rows[keep], columns[keep])), shape=(shape[k], values.shape[k]))
        moved = np.moveaxis(values, k, 0)
        summed = gather @ moved.reshape(moved.shape[0], -1)
        values = np.moveaxis(np.asarray(summed).reshape(shape[k], *moved.shape[1:]), 0, k)
    return np.ascontiguousarray(values).ravel()


def _overlaps(ijk: npt.NDArray[np.intp], step: Float, shape: tuple[int, int, int]) -> tuple[Int, Int, Float]:
    """Coarse point (flat), fine point (its row in ``ijk``) and share, for every overlap that is not empty."""
    axes = _aligned(step)
    number = np.arange(ijk.shape[1])
    if axes is None:
        place = np.rint(step[:3, :3] @ ijk + step[:3, 3:]).astype(np.int64)
        inside = ((place >= 0) & (place < np.array(shape)[:, None])).all(axis=0)
        return np.ravel_multi_index(tuple(place[:, inside]), shape), number[inside], np.ones(int(inside.sum()))
    tables = []
    for k in range(3):
        low, high, a, b = _cells(int(ijk[axes[k]].max(initial=0)) + 1, step[k, axes[k]], step[k, 3])
        mine = ijk[axes[k]]
        tables.append(((low[mine], a[mine]), (high[mine], b[mine])))
    parts: list[tuple[Int, Int, Float]] = []
    for x in tables[0]:
        for y in tables[1]:
            for z in tables[2]:
                weight = x[1] * y[1] * z[1]
                keep = weight > 1e-9
                for at, n in zip((x[0], y[0], z[0]), shape, strict=True):
                    keep &= (at >= 0) & (at < n)
                if keep.any():
                    flat = np.ravel_multi_index((x[0][keep], y[0][keep], z[0][keep]), shape)
                    parts.append((flat, number[keep], weight[keep]))
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]


def sample_nearest(volume: Volume, positions: Float) -> Float:
    """Read an image at positions in mm, at the nearest point; NaN outside."""
    inverse = np.linalg.inv(volume.affine)
    place = np.rint(np.round(positions @ inverse[:3, :3].T + inverse[:3, 3], 6)).astype(np.int64)
    inside = ((place >= 0) & (place < np.array(volume.shape[:3]))).all(axis=1)
    result = np.full(len(positions), np.nan)
    result[inside] = volume.numbers()[tuple(place[inside].T)]
    return result
