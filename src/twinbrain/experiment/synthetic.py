"""A person of known truth: real geometry, planted connectome, synaptic density, drive and BOLD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from twinbrain.errors import InputError
from twinbrain.experiment.synthetic_space import Geometry, block_mean, coarser, geometry

__all__ = ["SyntheticPerson", "synthetic_person"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

_LENGTH_MM = 36.0  # decay of connection strength with distance, near the 30-40 mm found in DWI and tract tracing
_WITHIN = 0.15  # share of a voxel's streamlines that stay in its region
_GAIN = 0.7  # of one step through the connectome in the linear model
_STEPS = 6
_SIGNAL_PERCENT = 1.0  # standard deviation of the planted BOLD of a median voxel, % of its mean
_LEAST_VOXELS = 3  # voxels a region has at least


@dataclass(frozen=True, eq=False)
class SyntheticPerson:
    """All that is planted in a synthetic person; :func:`twinbrain.synthetic_bids` writes it as files.

    Attributes
    ----------
    name, seed
        Who, and the key of all random numbers.
    space
        Template and parcellation.
    grey_matter_map
        float32, probability of grey matter of this person on the grid of ``space``: the template's, scaled per region.
    grey_matter
        ``(R,)`` mm3: the map summed over each region.
    centres
        ``(R, 3)`` mm, grey-matter-weighted.
    voxel_mm, voxel_affine, voxel_shape, voxel_index
        Grid of the voxels (and of BOLD and PET), and the place ``(V, 3)`` of each grey-matter voxel in it.
    voxel_region, voxel_grey_matter
        ``(V,)`` row of the region; mm3. Voxels are sorted by region.
    voxel_connectome
        ``(V, V)`` sparse streamline counts, symmetric; row = target.
    connectome
        ``(R, R)`` streamline counts: the sum of ``voxel_connectome`` over pairs of regions, diagonal 0.
    lengths
        ``(R, R)`` mm, 0 where there is no streamline.
    synaptic_density
        ``(R,)`` distribution volume ratio of an SV2A tracer.
    voxel_density
        ``(V,)`` the same per voxel; its grey-matter-weighted mean over a region is the region's value.
    inputs
        Regions that are driven.
    drive
        Run -> ``(T, input)`` planted drive, mean 0, standard deviation 1. Runs are ``rest`` and ``blocks``.
    bold
        Run -> ``(T, V)`` float32: planted BOLD, % signal change, free of noise.
    events
        Run -> rows (onset s, duration s, trial type).
    repetition_time_s
        Seconds from volume to volume.

    Examples
    --------
    >>> person = synthetic_person(small=True)
    >>> person.connectome.shape, int(person.connectome.trace())
    ((24, 24), 0)
    """

    name: str
    seed: int
    space: Geometry
    grey_matter_map: npt.NDArray[np.float32]
    grey_matter: Float
    centres: Float
    voxel_mm: float
    voxel_affine: Float
    voxel_shape: tuple[int, ...]
    voxel_index: Int
    voxel_region: Int
    voxel_grey_matter: Float
    voxel_connectome: csr_array[np.float64]
    connectome: Float
    lengths: Float
    synaptic_density: Float
    voxel_density: Float
    inputs: tuple[str, ...]
    drive: Mapping[str, Float]
    bold: Mapping[str, npt.NDArray[np.float32]]
    events: Mapping[str, list[tuple[float, float, str]]]
    repetition_time_s: float

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions."""
        return self.space.names

    @property
    def voxel_positions(self) -> Float:
        """``(V, 3)`` centres in mm."""
        return np.asarray(self.voxel_index @ self.voxel_affine[:3, :3].T + self.voxel_affine[:3, 3])

    def region_bold(self, run: str = "rest") -> Float:
        """Return ``(T, R)``, the grey-matter-weighted mean of the planted BOLD over regions, % signal change."""
        n = len(self.regions)
        total = np.bincount(self.voxel_region, weights=self.voxel_grey_matter, minlength=n)
        weight = self.voxel_grey_matter / total[self.voxel_region]
        mean = csr_array((weight, (self.voxel_region, np.arange(len(weight)))), shape=(n, len(weight)))
        return np.asarray((mean @ self.bold[run].T.astype(np.float64)).T)


def synthetic_person(
    *,
    atlas: str = "Template",
    small: bool = False,
    voxels: int | None = None,
    volumes: int | None = None,
    repetition_time_s: float = 0.8,
    inputs: tuple[str, ...] = ("Thalamus_L", "Thalamus_R"),
    seed: int = 1,
    name: str = "01",
) -> SyntheticPerson:
    """Plant a person: anatomy from the ICBM 152 template, everything else by stated rules.

    * Grey matter: the template's probability, times a factor per region, uniform in 0.8..1; deep nuclei 1 by label.
    * Voxels: cubes of 3 mm (6 mm if ``small``) in the order of their grey matter, at least 3 per region.
    * Connectome: each voxel draws 150 partners (60 if ``small``), 15 % of them in its own region, the others with
      ``P(region j) ~ volume_j exp(-d_ij / 36 mm) L_ij``, L log-normal (sigma 0.8), five-fold for the mirror region, and
      within region j by grey matter; each draw carries 1 + Poisson(2) streamlines; counts are made symmetric.
      The region connectome is the sum over voxel pairs.
    * Lengths: 1.3 x distance of the centres.
    * Synaptic density: 1 + 0.25 normal deviates per region, clipped to 0.4..1.8; voxels vary around it by 5 %.
    * BOLD, by a linear model (no spiking network is run): a = sum over k = 0..6 of (0.7 P)^k s, P = voxel connectome
      with rows summing to 1, s = drive of the input voxels plus white noise of each voxel and of each region, all of
      standard deviation 1; % signal change = a convolved with a double-gamma haemodynamic response (Glover 1999
      NeuroImage 9:416), scaled so that the median voxel has 1 %. The drive is smooth noise (first-order, 8 s) in run
      ``rest``, and blocks of 12 s in every 32 s in the shorter run ``blocks``.

    Parameters
    ----------
    atlas
        ``"Template"``, ``"AAL2"`` or ``"HCPex"``; see :func:`twinbrain.experiment.synthetic_space.geometry`.
    small
        A coarse variant for tests: points of 2 mm, 24 regions (if ``"Template"``), 1,500 voxels of 6 mm, 100 volumes.
    voxels
        Grey-matter voxels; default 16,043 (1,500 if small).
    volumes
        Volumes of run ``rest``; default 300 (100 if small). Run ``blocks`` has half as many, and at least 20.
    repetition_time_s
        Seconds from volume to volume.
    inputs
        Regions that are driven.
    seed
        Key of all random numbers.
    name
        The person's label.

    Raises
    ------
    InputError
        If the atlas is not installed, an input is not one of its regions, or there is not so much grey matter.

    Examples
    --------
    >>> person = synthetic_person(small=True, voxels=800, volumes=30)
    >>> person.bold["rest"].shape, person.inputs
    ((30, 800), ('Thalamus_L', 'Thalamus_R'))
    """
    space = geometry(atlas, 2 if small else 1, 22 if small else 92)
    for wanted in inputs:
        if wanted not in space.names:
            raise InputError(f"input '{wanted}' is not one of the {len(space.names)} regions of {atlas}")
    voxels = voxels or (1500 if small else 16_043)
    volumes = volumes or (100 if small else 300)
    if volumes < 20:
        raise InputError(f"volumes is {volumes}, but at least 20 are needed")
    random = np.random.default_rng([seed, 20240])
    grey = _grey_matter(space, random)
    volume, centres = _volumes(space, grey)
    block = 3
    index, region, amount = _voxels(space, grey, block, voxels)
    density = np.clip(1 + 0.25 * random.standard_normal(len(space.names)), 0.4, 1.8)
    counts = _voxel_connectome(space, centres, volume, region, amount, 60 if small else 150, random)
    connectome = _region_sums(counts, region, len(space.names))
    distance = np.sqrt(((centres[:, None] - centres[None]) ** 2).sum(axis=2))
    blocks, events = _blocks(max(20, volumes // 2), len(inputs), repetition_time_s)
    drive = {"rest": _drive(volumes, len(inputs), repetition_time_s, random), "blocks": blocks}
    bold = {run: _bold(space, region, counts, inputs, d, repetition_time_s, random) for run, d in drive.items()}
    varied = 1 + 0.05 * random.standard_normal(len(region))
    mean = np.bincount(region, weights=varied * amount) / np.bincount(region, weights=amount)
    return SyntheticPerson(
        name=name,
        seed=seed,
        space=space,
        grey_matter_map=grey,
        grey_matter=volume,
        centres=centres,
        voxel_mm=block * space.spacing,
        voxel_affine=coarser(space.affine, grey.shape, block),
        voxel_shape=tuple(n // block for n in grey.shape),
        voxel_index=index,
        voxel_region=region,
        voxel_grey_matter=amount,
        voxel_connectome=counts,
        connectome=connectome,
        lengths=np.where(connectome > 0, 1.3 * distance, 0.0),
        synaptic_density=density,
        voxel_density=density[region] * varied / mean[region],
        inputs=inputs,
        drive=drive,
        bold=bold,
        events={"blocks": events},
        repetition_time_s=repetition_time_s,
    )


def _grey_matter(space: Geometry, random: np.random.Generator) -> npt.NDArray[np.float32]:
    factor = np.concatenate([[1.0], random.uniform(0.8, 1.0, len(space.names))]).astype(np.float32)
    grey = space.grey_matter * factor[space.labels]
    deep = np.concatenate([[False], space.deep])
    grey[deep[space.labels]] = 1.0
    return np.asarray(grey, np.float32)


def _volumes(space: Geometry, grey: npt.NDArray[np.float32]) -> tuple[Float, Float]:
    """Sum the map over each region, and find the regions' centres."""
    place = np.flatnonzero(space.labels)
    label, weight = space.labels.ravel()[place] - 1, grey.ravel()[place].astype(np.float64)
    n = len(space.names)
    total = np.bincount(label, weights=weight, minlength=n)
    ijk = np.unravel_index(place, grey.shape)
    mean = np.stack([np.bincount(label, weights=weight * x, minlength=n) / total for x in ijk], axis=1)
    volumes = np.asarray(total * space.spacing**3, np.float64)
    return volumes, np.asarray(mean @ space.affine[:3, :3].T + space.affine[:3, 3], np.float64)


def _voxels(space: Geometry, grey: npt.NDArray[np.float32], block: int, wanted: int) -> tuple[Int, Int, Float]:
    """Choose the cubes with the most labelled grey matter, some of every region; sorted by region, then by place."""
    n, shape = len(space.names), np.array(grey.shape) // block
    first = (np.array(grey.shape) - shape * block) // 2
    ijk = (np.argwhere(space.labels) - first) // block
    inside = (ijk >= 0).all(axis=1) & (ijk < shape).all(axis=1)
    at = space.labels != 0
    label, weight = space.labels[at][inside].astype(np.int64) - 1, grey[at][inside].astype(np.float64)
    cube = np.ravel_multi_index(tuple(ijk[inside].T), tuple(shape))
    votes = csr_array((weight, (cube, label)), shape=(int(np.prod(shape)), n))
    total = np.asarray(block_mean(grey, block), np.float64).ravel() * block**3 * space.spacing**3
    held = np.flatnonzero(np.diff(votes.indptr))
    best = np.asarray(votes[held].argmax(axis=1)).ravel()
    order = np.lexsort((held, -total[held]))
    rank = np.empty(len(held), np.int64)  # of a cube among those of its region
    for k in range(n):
        own = order[best[order] == k]
        rank[own] = np.arange(len(own))
    chosen = np.flatnonzero((rank < _LEAST_VOXELS) & (total[held] > 0))
    rest = order[(rank[order] >= _LEAST_VOXELS) & (total[held][order] > 0)]
    if len(chosen) + len(rest) < wanted or len(chosen) > wanted:
        raise InputError(f"voxels is {wanted}, but between {len(chosen)} and {len(chosen) + len(rest)} can be made")
    chosen = np.concatenate([chosen, rest[: wanted - len(chosen)]])
    chosen = chosen[np.lexsort((held[chosen], best[chosen]))]
    index = np.stack(np.unravel_index(held[chosen], tuple(shape)), axis=1).astype(np.int64)
    return index, best[chosen].astype(np.int64), total[held][chosen]


def _voxel_connectome(
    space: Geometry,
    centres: Float,
    volume: Float,
    region: Int,
    amount: Float,
    partners: int,
    random: np.random.Generator,
) -> csr_array[np.float64]:
    """Draw streamlines between voxels by the rule of :func:`synthetic_person`."""
    n, v = len(volume), len(region)
    distance = np.sqrt(((centres[:, None] - centres[None]) ** 2).sum(axis=2))
    noise = np.exp(0.8 * random.standard_normal((n, n)))
    strength = volume * np.exp(-distance / _LENGTH_MM) * np.sqrt(noise * noise.T)
    for k, name in enumerate(space.names):
        mirror = name[:-1] + {"L": "R", "R": "L"}[space.hemisphere[k]]
        if mirror in space.names:
            strength[k, space.names.index(mirror)] *= 5
    np.fill_diagonal(strength, 0)
    share: Float = (1 - _WITHIN) * strength / strength.sum(axis=1, keepdims=True)
    share[np.diag_indices(n)] = _WITHIN
    within = amount / np.bincount(region, weights=amount)[region]
    target, source = [], []
    for k in range(n):
        members = np.flatnonzero(region == k)
        line = np.cumsum(share[k][region] * within)
        drawn = np.searchsorted(line, random.random(len(members) * partners) * line[-1], side="right")
        target.append(np.repeat(members, partners))
        source.append(np.minimum(drawn, v - 1))
    rows, columns = np.concatenate(target), np.concatenate(source)
    keep = rows != columns
    streams = 1.0 + random.poisson(2.0, int(keep.sum()))
    matrix: Any = csr_array((streams, (rows[keep], columns[keep])), shape=(v, v))
    symmetric = csr_array(matrix + matrix.T)
    symmetric.sort_indices()
    return symmetric


def _region_sums(counts: csr_array[np.float64], region: Int, n: int) -> Float:
    member = csr_array((np.ones(len(region)), (region, np.arange(len(region)))), shape=(n, len(region)))
    total = np.asarray((member @ counts @ member.T).toarray(), np.float64)
    np.fill_diagonal(total, 0)
    return total


def _drive(volumes: int, inputs: int, seconds: float, random: np.random.Generator) -> Float:
    """Smooth noise of 0.01-0.1 Hz: a first-order process of 8 s, standardised."""
    keep = np.exp(-seconds / 8.0)
    noise = random.standard_normal((volumes + 100, inputs))
    out = np.zeros_like(noise)
    for k in range(1, len(noise)):
        out[k] = keep * out[k - 1] + noise[k]
    out = out[100:]
    return np.asarray((out - out.mean(axis=0)) / out.std(axis=0), np.float64)


def _blocks(volumes: int, inputs: int, seconds: float) -> tuple[Float, list[tuple[float, float, str]]]:
    """Switch the inputs on for 12 s in every 32 s."""
    onsets = np.arange(8.0, volumes * seconds - 12.0, 32.0)
    time = np.arange(volumes) * seconds
    on = np.zeros(volumes)
    for onset in onsets:
        on[(time >= onset) & (time < onset + 12.0)] = 1.0
    drive = np.repeat(on[:, None], inputs, axis=1)
    spread = drive.std(axis=0)
    return (drive - drive.mean(axis=0)) / np.where(spread > 0, spread, 1), [(float(t), 12.0, "tone") for t in onsets]


def response(seconds: float) -> Float:
    """Return the double-gamma haemodynamic response at a repetition time: peak near 5 s, undershoot near 15 s.

    Examples
    --------
    >>> float(np.argmax(response(0.1)) * 0.1)
    5.0
    """
    from scipy.stats import gamma

    t = np.arange(0.0, 32.0, seconds)
    shape = gamma.pdf(t, 6) - gamma.pdf(t, 16) / 6
    return np.asarray(shape / shape.sum(), np.float64)


def _bold(
    space: Geometry,
    region: Int,
    counts: csr_array[np.float64],
    inputs: tuple[str, ...],
    drive: Float,
    seconds: float,
    random: np.random.Generator,
) -> npt.NDArray[np.float32]:
    from scipy.signal import fftconvolve

    v, volumes = len(region), len(drive)
    kernel = response(seconds)
    settle = len(kernel)
    s = random.standard_normal((v, volumes + settle), dtype=np.float32)
    s += random.standard_normal((len(space.names), volumes + settle), dtype=np.float32)[region]
    long = np.vstack([np.repeat(drive[:1], settle, axis=0), drive])
    for k, name in enumerate(inputs):
        s[region == space.names.index(name)] += long[:, k].astype(np.float32)
    total: Float = np.asarray(counts.sum(axis=1), np.float64).ravel()
    passing: Any = counts.copy()
    passing.data *= np.repeat(_GAIN / np.maximum(total, 1), np.diff(counts.indptr))
    passing = passing.astype(np.float32)
    activity, step = s.copy(), s
    for _ in range(_STEPS):
        step = passing @ step
        activity += step
    bold = fftconvolve(activity, kernel[None].astype(np.float32), axes=1)[:, settle : settle + volumes]
    bold -= bold.mean(axis=1, keepdims=True)
    bold *= _SIGNAL_PERCENT / np.median(bold.std(axis=1))
    return np.ascontiguousarray(bold.T, np.float32)
