"""From a Subject to the anatomy the model uses: voxels, their share of neurons, and who projects to whom."""

from __future__ import annotations

import hashlib
import html
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.sparse import csr_array

from twinbrain.data.atlas import VoxelGrid, voxel_grid
from twinbrain.data.subject import Subject
from twinbrain.data.voxels import VoxelData
from twinbrain.errors import InputError, nearest

__all__ = ["IN_DEGREE_BOUNDS", "PRIMARY_VISUAL", "Brain"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

#: Bounds of the in-degree factor from synaptic density.
IN_DEGREE_BOUNDS = (0.7, 1.3)
#: Primary visual cortex in the atlases at hand; its mean synaptic density stands for an in-degree factor of 1.
PRIMARY_VISUAL = (
    "Calcarine",
    "Primary_Visual_Cortex",
    "L_pericalcarine",
    "R_pericalcarine",
    "ctx-lh-pericalcarine",
    "ctx-rh-pericalcarine",
    "L_V1_",
    "R_V1_",
)


@dataclass(frozen=True, eq=False)
class Brain:
    """The anatomy of the model: V voxels in R regions. At region level every region is one voxel.

    Build it with :meth:`from_subject`.

    Attributes
    ----------
    name
        The person's name.
    level
        ``"region"`` or ``"voxel"``.
    regions
        R names.
    voxels
        V names: the region's at region level, ``"Insula_L:0007"`` (counted from 0) at voxel level.
    region_index
        ``(V,)`` int64, row of each voxel's region; voxels are sorted by region.
    grey_matter
        ``(V,)`` float64, mm3, or 1 if the person's is unknown: the voxel's share of neurons.
    in_degree_factor
        ``(V,)`` float64, multiplies the in-degree; from synaptic density, 1 without it.
    laminar
        ``(V,)`` bool, True = six-layered neocortex.
    projection
        ``(V, V)`` sparse float64. Row = target, column = source: entry (v, w) is the share of v's
        long-range input that comes from w. Zero diagonal; each row sums to 1, or is empty.
    positions
        ``(V, 3)`` mm, or None.
    lengths
        ``(V, V)`` tract lengths in mm (row = target), 0 where unknown; region level only, else None.
    grid_affine, grid_index, grid_shape
        Voxel level only, else None: 4 x 4 affine, ``(V, 3)`` int64 place in the grid, size of the grid.

    Examples
    --------
    >>> person = Subject.from_arrays([[0, 1, 3], [2, 0, 2], [5, 0, 0]], ["a", "b", "c"])
    >>> brain = Brain.from_subject(person)
    >>> brain
    Brain 'subject': 3 regions, level region, 5 projections
    >>> brain.projection.toarray()
    array([[0.  , 0.25, 0.75],
           [0.5 , 0.  , 0.5 ],
           [1.  , 0.  , 0.  ]])
    """

    name: str
    level: Literal["region", "voxel"]
    regions: tuple[str, ...]
    voxels: tuple[str, ...]
    region_index: Int
    grey_matter: Float
    in_degree_factor: Float
    laminar: npt.NDArray[np.bool_]
    projection: csr_array[np.float64]
    positions: Float | None = None
    grid_affine: Float | None = None
    grid_index: Int | None = None
    grid_shape: tuple[int, int, int] | None = None
    lengths: Float | None = None

    def __post_init__(self) -> None:
        arrays = (self.region_index, self.grey_matter, self.in_degree_factor, self.laminar, self.positions)
        sparse = (self.projection.data, self.projection.indices, self.projection.indptr)
        for array in (*arrays, *sparse, self.grid_affine, self.grid_index, self.lengths):
            if array is not None:
                array.flags.writeable = False

    @classmethod
    def from_subject(
        cls,
        person: Subject,
        level: Literal["region", "voxel"] = "region",
        voxel_mm: float = 4.0,
        *,
        partners: int = 100,
        within_region: float = 0.0,
        min_grey_matter: float = 0.3,
        deep_by_label: bool = True,
        reference: Sequence[str] | Literal["grey_matter"] | None = None,
        seed: int = 0,
    ) -> Brain:
        """Build the anatomy of one person's model.

        At region level the projection is the connectome with each row divided by its sum. At voxel level
        the region connectome is spread over the grey matter,

            P(v, w) = P_region(i, j) gm_w / GM_j,   v in region i, w in region j,

        and each voxel draws ``partners`` partners from it; no more is claimed than the region connectome
        holds. How many partners lie in each region is P_region times ``partners``, rounded at random
        without bias (off by less than one, total exact); inside a region one partner is drawn from each
        of equal slices of its grey matter. A voxel drawn twice counts twice, so each entry is a whole
        multiple of 1 / ``partners``. Draws are keyed by (seed, name of the region, order of the voxel in
        it), so the order of regions does not change them.

        Parameters
        ----------
        person
            Whose brain.
        level
            ``"region"`` (default) or ``"voxel"``, which needs ``person.voxels`` (used as they were measured) or
            ``person.atlas`` (a template is cut into voxels).
        voxel_mm
            Edge of a voxel of a template, mm. Default 4. The person's own voxels keep their size.
        partners
            Draws per voxel, 1 or more. Default 100; DWI tractography at 3 mm finds about 278 (SCIENCE 2.1).
        within_region
            Share of a voxel's long-range input that comes from other voxels of its own region, 0..1.
            Default 0: a region connectome has no diagonal, and no measured value is known to us.
        min_grey_matter, deep_by_label
            Which cubes become voxels, see :func:`twinbrain.data.atlas.voxel_grid`.
        reference
            Regions whose mean synaptic density stands for factor 1, or ``"grey_matter"`` for the mean over all
            grey matter. Default: primary visual cortex (:data:`PRIMARY_VISUAL`); without one, all regions.
        seed
            Seed of the draws at voxel level.

        Returns
        -------
        Brain

        Raises
        ------
        InputError
            If an option is not possible, or voxel level is asked for without an atlas.

        Warns
        -----
        UserWarning
            If a region receives no connection: its row stays empty.

        Notes
        -----
        If the person's grey matter is known, each region's voxels share exactly that amount in proportion to
        the map, so that a region has the same number of neurons at both levels. The in-degree factor
        is s / mean(s over ``reference``), clipped to 0.7..1.3, s = synaptic density (SV2A).

        The person's own voxels are taken as they are: grey matter, synaptic density (its mean is taken over
        the voxels of ``reference``) and, if measured, the connectome between voxels, each row divided by its
        sum. What was not measured per voxel comes from the regions as above.

        Examples
        --------
        >>> person = Subject.from_arrays([[0, 1], [2, 0]], ["a", "b"], synaptic_density=[1.0, 3.0])
        >>> Brain.from_subject(person).in_degree_factor
        array([0.7, 1.3])
        """
        if level not in ("region", "voxel"):
            raise InputError(
                f"level is {level!r}, but only 'region' and 'voxel' are "
                f"possible{nearest(str(level), ('region', 'voxel'))}."
            )
        _check_options(level, partners, within_region, seed)
        regions = person.regions
        if level == "voxel" and person.voxels is not None:
            return _of_own_voxels(person, person.voxels, reference, partners, within_region, seed)
        shares = _normalised(person)
        factor = _in_degree_factor(person, reference)
        laminar = np.array(person.laminar.values, dtype=np.bool_)
        if level == "region":
            return cls(
                name=person.name,
                level=level,
                regions=regions,
                voxels=regions,
                region_index=np.arange(len(regions), dtype=np.int64),
                grey_matter=np.array(person.grey_matter.values, dtype=np.float64),
                in_degree_factor=factor,
                laminar=laminar,
                projection=csr_array(shares),
                positions=None if person.positions is None else np.array(person.positions.values),
                lengths=None if person.lengths is None else np.array(person.lengths.values, dtype=np.float64),
            )
        if person.atlas is None:
            raise InputError(
                f"subject '{person.name}' has no atlas, so there are no voxels; use level='region', or give "
                "voxels= or atlas= (a label image and a grey-matter map)."
            )
        grid = voxel_grid(person.atlas, regions, voxel_mm, min_grey_matter=min_grey_matter, deep_by_label=deep_by_label)
        counts = np.bincount(grid.region, minlength=len(regions))
        return cls(
            name=person.name,
            level=level,
            regions=regions,
            voxels=tuple(f"{name}:{k:04d}" for name, n in zip(regions, counts, strict=True) for k in range(n)),
            region_index=grid.region,
            grey_matter=_scaled_grey_matter(person, grid),
            in_degree_factor=factor[grid.region],
            laminar=laminar[grid.region],
            projection=_spread(regions, shares, grid.region, grid.grey_matter, partners, within_region, seed),
            positions=grid.index @ grid.affine[:3, :3].T + grid.affine[:3, 3],
            grid_affine=grid.affine,
            grid_index=grid.index,
            grid_shape=grid.shape,
        )

    @property
    def observation(self) -> csr_array[np.float64]:
        """Observation operator H, ``(R, V)`` sparse: a region is the grey-matter-weighted mean of its voxels.

        Each row sums to 1, each column holds one number.

        Examples
        --------
        >>> person = Subject.from_arrays([[0, 1], [2, 0]], ["a", "b"])
        >>> Brain.from_subject(person).observation.toarray()
        array([[1., 0.],
               [0., 1.]])
        """
        n = len(self.regions)
        total = np.bincount(self.region_index, weights=self.grey_matter, minlength=n)
        weights = self.grey_matter / total[self.region_index]
        start = np.searchsorted(self.region_index, np.arange(n + 1))
        return csr_array((weights, np.arange(len(weights)), start), shape=(n, len(weights)))

    def nodes(self) -> Brain:
        """Return the same brain with every voxel as a region of its own.

        For a fit at node level: inputs, observed BOLD and scores are then per voxel, with the voxels' names
        (``person.voxels.node_bold(run)`` carries the same). The anatomy does not change.

        Examples
        --------
        >>> person = Subject.from_arrays([[0, 1], [2, 0]], ["a", "b"])
        >>> Brain.from_subject(person).nodes().regions
        ('a', 'b')
        """
        return replace(self, regions=self.voxels, region_index=np.arange(len(self.voxels), dtype=np.int64))

    def to_image(self, values: npt.ArrayLike | xr.DataArray) -> Any:
        """Put one value per voxel, or one per time and voxel, back into space.

        Parameters
        ----------
        values
            ``(V,)``, or ``(time, V)`` for a four-dimensional image.

        Returns
        -------
        nibabel.Nifti1Image
            float32, 0 outside the brain, coordinates in mm (MNI152).

        Raises
        ------
        InputError
            At region level, or if the number of values is not V.
        """
        import nibabel as nib

        if self.grid_index is None or self.grid_shape is None:
            raise InputError(
                "this brain has no voxels on a grid (it is at region level or on a surface); build it with "
                "level='voxel' from a volume."
            )
        if isinstance(values, xr.DataArray) and values.ndim == 2:
            values = values.transpose(..., "voxel")
        array = np.asarray(values, dtype=np.float32)
        if array.ndim not in (1, 2) or array.shape[-1] != len(self.voxels):
            raise InputError(
                f"an array of shape {array.shape} was found, but (voxel,) or (time, voxel) with "
                f"{len(self.voxels)} voxels is needed; give one value per voxel."
            )
        image = np.zeros(self.grid_shape + array.shape[:-1], dtype=np.float32)
        image[tuple(self.grid_index.T)] = array.T
        result = nib.Nifti1Image(image, self.grid_affine)
        result.set_sform(self.grid_affine, code=4)  # 4 = MNI152
        result.header.set_xyzt_units("mm", "sec")
        return result

    def _facts(self) -> dict[str, str]:
        facts = {"regions": f"{len(self.regions)} regions", "level": f"level {self.level}"}
        if self.level == "voxel":
            facts["voxels"] = f"{len(self.voxels)} voxels"
        facts["projections"] = f"{self.projection.nnz} projections"
        return facts

    def __repr__(self) -> str:
        return f"Brain {self.name!r}: " + ", ".join(self._facts().values())

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in self._facts().items())
        return f"<table><caption>Brain {html.escape(self.name)}</caption>{rows}</table>"


def _check_options(level: str, partners: int, within_region: float, seed: int) -> None:
    if partners < 1 or int(partners) != partners:
        raise InputError(f"partners is {partners!r}, but a whole number of 1 or more is needed.")
    if not 0 <= within_region <= 1:
        raise InputError(f"within_region is {within_region!r}, but a share between 0 and 1 is needed.")
    if level == "region" and within_region > 0:
        raise InputError(
            "within_region is for level='voxel': at region level connections inside a region are the "
            "circuit's; leave it 0."
        )
    if seed < 0 or int(seed) != seed:
        raise InputError(f"seed is {seed!r}, but a whole number of 0 or more is needed.")


def _normalised(person: Subject) -> Float:
    """Divide each row of the connectome by its sum; say which rows are empty."""
    matrix = np.array(person.connectome.values, dtype=np.float64)
    total = matrix.sum(axis=1, keepdims=True)
    empty = [name for name, t in zip(person.regions, total[:, 0], strict=True) if t == 0]
    if empty:
        warnings.warn(
            f"{len(empty)} region(s) receive no long-range connection and will have none in the model: "
            f"{', '.join(empty[:5])}{', ...' if len(empty) > 5 else ''}.",
            UserWarning,
            stacklevel=3,
        )
    shares: Float = np.divide(matrix, total, out=np.zeros_like(matrix), where=total > 0)
    return shares


def _in_degree_factor(person: Subject, reference: Sequence[str] | str | None) -> Float:
    chosen = _reference_regions(person, reference)
    density = person.synaptic_density
    if density is None:
        return np.ones(len(person.regions))
    values = np.asarray(density.values, dtype=np.float64)
    weights = person.grey_matter.values if reference == "grey_matter" else np.ones(len(values))
    return _relative(values, np.isin(person.regions, chosen) * weights)


def _reference_regions(person: Subject, reference: Sequence[str] | str | None) -> list[str]:
    """Name the regions whose mean synaptic density stands for an in-degree factor of 1."""
    if reference == "grey_matter":
        return list(person.regions)
    if reference is None:
        return [n for n in person.regions if n.startswith(PRIMARY_VISUAL)] or list(person.regions)
    chosen = [reference] if isinstance(reference, str) else list(reference)
    for name in chosen:
        if name not in person.regions:
            raise InputError(
                f"reference region '{name}' is not in subject '{person.name}'{nearest(name, person.regions)}."
            )
    return chosen or list(person.regions)


def _relative(density: Float, weights: Float) -> Float:
    mean = float(density @ weights) / float(weights.sum())
    return np.clip(density / mean, *IN_DEGREE_BOUNDS)


def _of_own_voxels(
    person: Subject,
    there: VoxelData,
    reference: Sequence[str] | str | None,
    partners: int,
    within_region: float,
    seed: int,
) -> Brain:
    """Take the person's own voxels as they were measured, and the rest from the regions."""
    grey_matter = np.array(there.grey_matter.values, dtype=np.float64)
    chosen = _reference_regions(person, reference)
    if there.synaptic_density is None:
        factor = _in_degree_factor(person, reference)[there.region]
    else:
        inside = np.isin(person.regions, chosen)[there.region]
        density = np.asarray(there.synaptic_density.values, dtype=np.float64)
        factor = _relative(density, inside * (grey_matter if reference == "grey_matter" else np.ones(len(density))))
    if there.connectome is None:
        shares = _normalised(person)
        projection = _spread(person.regions, shares, there.region, grey_matter, partners, within_region, seed)
    elif within_region:
        raise InputError("within_region cannot be chosen where the connectome between voxels was measured; leave it 0.")
    else:
        projection = _normalised_rows(there.connectome, there.kind)
    return Brain(
        name=person.name,
        level="voxel",
        regions=person.regions,
        voxels=there.names,
        region_index=there.region.copy(),
        grey_matter=grey_matter,
        in_degree_factor=factor,
        laminar=np.array(person.laminar.values, dtype=np.bool_)[there.region],
        projection=projection,
        positions=np.array(there.positions.values),
        grid_affine=there.grid_affine,
        grid_index=there.grid_index,
        grid_shape=there.grid_shape,
    )


def _normalised_rows(connectome: csr_array[np.float64], kind: str) -> csr_array[np.float64]:
    total: Float = np.asarray(connectome.sum(axis=1), dtype=np.float64).ravel()
    empty = int((total == 0).sum())
    if empty:
        warnings.warn(
            f"{empty} of {len(total)} {'voxels' if kind == 'voxel' else 'vertices'} receive no long-range connection "
            "and will have none in the model.",
            UserWarning,
            stacklevel=4,
        )
    counts = np.diff(connectome.indptr)
    data = connectome.data / np.repeat(np.where(total > 0, total, 1.0), counts)
    return csr_array((data, connectome.indices.copy(), connectome.indptr.copy()), shape=connectome.shape)


def _scaled_grey_matter(person: Subject, grid: VoxelGrid) -> Float:
    if person.grey_matter.attrs["units"] != "mm3":
        return grid.grey_matter
    found = np.bincount(grid.region, weights=grid.grey_matter, minlength=len(person.regions))
    return np.asarray(grid.grey_matter * (person.grey_matter.values / found)[grid.region], dtype=np.float64)


def _generator(seed: int, name: str) -> np.random.Generator:
    """Random numbers of one target region, keyed by its name: the other regions do not matter."""
    digest = hashlib.sha256(name.encode()).digest()[:16]
    words = np.frombuffer(digest, dtype="<u4").tolist()
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words])))


def _counts(expected: Float, partners: int, random: np.random.Generator, voxels: int) -> Int:
    """Round ``expected`` (sums to ``partners``) to whole numbers for each voxel, at random and without bias.

    Systematic rounding: the expectations are laid end to end in a random order, and one comb with
    teeth 1 apart and a random start is put over them. Each count is off by less than 1, each total exact.
    """
    order = random.permuted(np.tile(np.arange(len(expected)), (voxels, 1)), axis=1)
    ends = np.cumsum(expected[order], axis=1)
    ends[:, -1] = partners  # the sum, free of rounding
    teeth = np.ceil(np.minimum(ends, partners) - random.random((voxels, 1))).astype(np.int64)
    counts: Int = np.empty_like(teeth)
    np.put_along_axis(counts, order, np.diff(teeth, axis=1, prepend=0), axis=1)
    return counts


def _spread(
    regions: tuple[str, ...],
    shares: Float,
    region: Int,
    grey_matter: Float,
    partners: int,
    within_region: float,
    seed: int,
) -> csr_array[np.float64]:
    """Draw each voxel's partners, see :meth:`Brain.from_subject`; nothing of size V x V is ever made."""
    n_regions, n_voxels = len(regions), len(region)
    first = np.searchsorted(region, np.arange(n_regions + 1))
    # Grey matter laid end to end, region after region: a point on this line is a voxel.
    line = np.concatenate([[0.0], np.cumsum(grey_matter)])
    by_name = np.argsort(np.array(regions))
    indices: list[Int] = []
    lengths = np.zeros(n_voxels, dtype=np.int64)
    for i in range(n_regions):
        members = np.arange(first[i], first[i + 1])
        row = shares[i].copy()
        if not row.any():
            continue
        if within_region and len(members) > 1:
            row *= 1.0 - within_region
            row[i] = within_region
        random = _generator(seed, regions[i])
        used = by_name[row[by_name] > 0]
        counts = _counts(row[used] / row[used].sum() * partners, partners, random, len(members))
        flat = counts.ravel()
        source = np.repeat(np.tile(used, len(members)), flat)
        target = np.repeat(members, partners)
        rank = np.arange(flat.sum()) - np.repeat(np.cumsum(flat) - flat, flat)
        place = (rank + random.random(len(rank))) / np.repeat(flat, flat)
        start, width = line[first[source]], line[first[source + 1]] - line[first[source]]
        own = source == i
        point = place * (width - np.where(own, grey_matter[target], 0.0))
        # A voxel is no partner of its own: its stretch of the line is skipped.
        point += np.where(own & (start + point >= line[target]), grey_matter[target], 0.0)
        drawn = np.searchsorted(line, start + point, side="right") - 1
        drawn = np.clip(drawn, first[source], first[source + 1] - 1)
        drawn = np.where(own & (drawn == target), np.where(target > first[i], target - 1, target + 1), drawn)
        indices.append(drawn)
        lengths[members] = partners
    columns = np.concatenate(indices) if indices else np.zeros(0, dtype=np.int64)
    pointers = np.concatenate([[0], np.cumsum(lengths)])
    drawn_matrix = csr_array((np.ones(len(columns)), columns, pointers), shape=(n_voxels, n_voxels))
    drawn_matrix.sum_duplicates()
    drawn_matrix.data /= partners
    return drawn_matrix
