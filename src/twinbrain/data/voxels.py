"""What was measured at every voxel (or surface vertex) of one person, checked once and read-only afterwards."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from scipy.sparse import coo_array, csr_array, issparse

from twinbrain.data.align import MAX_REPETITION_TIME_S, MIN_VOLUMES, numbers, region_names
from twinbrain.errors import InputError, nearest

__all__ = ["VoxelData"]

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class VoxelData:
    """One person at the level of voxels or surface vertices: V of them, sorted by region.

    Build it with :meth:`from_arrays`, which checks everything; the constructor does not. It is a part of a
    :class:`~twinbrain.Subject` (``person.voxels``), and ``Brain.from_subject(person, level="voxel")`` uses it
    instead of spreading regional data over a template.

    Attributes
    ----------
    regions
        R names; the order in which voxels are sorted.
    region
        ``(V,)`` int64, row in ``regions`` of every voxel, never falling.
    grey_matter
        ``(voxel,)`` mm3, > 0.
    positions
        ``(voxel, axis)`` centres in mm, axis = x, y, z.
    bold
        Run name -> ``(time, voxel)``, as measured; coordinate ``time`` in s, attributes ``units`` and
        ``repetition_time_s``. A volume that is missing is NaN in every voxel. float32 stays float32.
    synaptic_density
        ``(voxel,)`` relative units (SV2A PET), or None.
    connectome
        ``(V, V)`` sparse, row = target, column = source, as measured (not normalised); finite, >= 0, zero
        diagonal; or None, if tracts are known between regions only.
    grid_affine, grid_index, grid_shape
        For voxels on a grid: 4 x 4 affine (place in the grid -> mm), ``(V, 3)`` place in the grid, size of
        the grid; None for surface vertices.
    order
        ``(V,)`` row that each voxel had in the arrays handed in, so that results can be put back.
    kind
        ``"voxel"`` or ``"vertex"``.

    Examples
    --------
    >>> there = VoxelData.from_arrays(["b", "a", "b"], [27.0, 27.0, 54.0], [[0, 0, 0], [3, 0, 0], [6, 0, 0]])
    >>> there
    VoxelData: 3 voxels in 2 regions, 108 mm3 of grey matter, no BOLD
    >>> list(there.names), there.order.tolist()
    (['a:0000', 'b:0000', 'b:0001'], [1, 0, 2])
    """

    regions: tuple[str, ...]
    region: Int
    grey_matter: xr.DataArray
    positions: xr.DataArray
    bold: Mapping[str, xr.DataArray] = field(default_factory=dict)
    synaptic_density: xr.DataArray | None = None
    connectome: csr_array[np.float64] | None = None
    grid_affine: Float | None = None
    grid_index: Int | None = None
    grid_shape: tuple[int, int, int] | None = None
    order: Int | None = None
    kind: str = "voxel"

    def __post_init__(self) -> None:
        object.__setattr__(self, "bold", MappingProxyType(dict(self.bold)))
        arrays: list[Any] = [self.region, self.grid_affine, self.grid_index, self.order]
        if self.connectome is not None:
            arrays += [self.connectome.data, self.connectome.indices, self.connectome.indptr]
        for array in arrays:
            if array is not None:
                array.flags.writeable = False

    def __reduce__(self) -> tuple[Any, ...]:  # mapping proxies cannot be sent to another process
        values = [getattr(self, name) for name in self.__dataclass_fields__]
        return type(self), tuple(dict(v) if isinstance(v, MappingProxyType) else v for v in values)

    @classmethod
    def from_arrays(
        cls,
        region: Iterable[str],
        grey_matter: Any,
        positions: Any,
        *,
        regions: Iterable[str] | None = None,
        bold: Mapping[str, Any] | None = None,
        repetition_time_s: float | Mapping[str, float] | None = None,
        bold_units: str = "arbitrary",
        synaptic_density: Any = None,
        connectome: Any = None,
        grid_affine: Any = None,
        grid_index: Any = None,
        grid_shape: Sequence[int] | None = None,
        kind: str = "voxel",
    ) -> VoxelData:
        """Check what was measured voxel by voxel, and sort it by region (the order within a region is kept).

        Parameters
        ----------
        region
            The region's name of each of the V voxels.
        grey_matter
            ``(V,)`` mm3, > 0.
        positions
            ``(V, 3)`` mm.
        regions
            The order of regions that is wanted; each must hold a voxel. Default: as they first occur, sorted.
        bold
            Run name -> ``(time, voxel)``, at least 20 volumes; no voxel constant; NaN only in volumes that are
            missing as a whole.
        repetition_time_s
            Seconds from volume to volume, for all runs or per run; needed with ``bold`` unless each run is a
            DataArray with the attribute ``repetition_time_s``.
        bold_units
            Units of ``bold`` where the arrays do not say.
        synaptic_density
            ``(V,)``, > 0.
        connectome
            ``(V, V)`` sparse or dense, row = target. Entries on the diagonal are dropped with a warning.
        grid_affine, grid_index, grid_shape
            The grid on which the voxels lie: all three or none. ``positions`` must agree with it.
        kind
            ``"voxel"`` or ``"vertex"``.

        Raises
        ------
        InputError
            With one sentence that names the voxel, what was found, what was expected and how to mend it.

        Examples
        --------
        >>> VoxelData.from_arrays(["a", "a"], [27.0, 0.0], [[0, 0, 0], [3, 0, 0]])
        Traceback (most recent call last):
        ...
        twinbrain.errors.InputError: voxel grey matter: 0 was found at voxel 1 (region 'a'), but a positive number \
(mm3) is needed; leave voxels without grey matter out.
        """
        if kind not in ("voxel", "vertex"):
            raise InputError(f"kind is {kind!r}, but only 'voxel' and 'vertex' are possible.")
        found = [str(name) for name in region]
        if not found:
            raise InputError("voxels: none was given; give at least one.")
        names = region_names(sorted(set(found)) if regions is None else regions)
        place = {name: k for k, name in enumerate(names)}
        for k, name in enumerate(found):
            if name not in place:
                raise InputError(
                    f"voxel {k}: '{name}' is not one of the {len(names)} regions{nearest(name, names)}; rename it or "
                    "leave the voxel out."
                )
        rows = np.array([place[name] for name in found], dtype=np.int64)
        counts = np.bincount(rows, minlength=len(names))
        if not counts.all():
            raise InputError(
                f"region '{names[int(np.argmin(counts))]}' holds no voxel; leave it out, or check the label image."
            )
        order = np.argsort(rows, kind="stable")
        n = len(rows)
        label = [f"{names[r]}:{k:04d}" for r, k in zip(rows[order], _ranks(rows[order]), strict=True)]
        coords = {"voxel": label, "region": ("voxel", [names[r] for r in rows[order]])}
        volume = _positive(grey_matter, found, "voxel grey matter", "mm3", "leave voxels without grey matter out")
        centre = numbers(positions, "voxel positions", 2)
        if centre.shape != (n, 3) or not np.isfinite(centre).all():
            raise InputError(
                f"voxel positions: an array of shape {centre.shape} was found, but {n} x 3 finite coordinates in mm "
                "are needed; give one row per voxel."
            )
        affine, index, shape = _grid(grid_affine, grid_index, grid_shape, centre, order)
        return cls(
            regions=names,
            region=rows[order],
            grey_matter=_frozen(volume[order], ("voxel",), coords, units="mm3"),
            positions=_frozen(centre[order], ("voxel", "axis"), {**coords, "axis": ["x", "y", "z"]}, units="mm"),
            bold=_checked_bold(bold, found, order, coords, repetition_time_s, bold_units),
            synaptic_density=None
            if synaptic_density is None
            else _frozen(
                _positive(synaptic_density, found, "voxel synaptic density", "relative units", "correct it")[order],
                ("voxel",),
                coords,
                units="relative",
            ),
            connectome=None if connectome is None else _checked_connectome(connectome, found, order),
            grid_affine=affine,
            grid_index=index,
            grid_shape=shape,
            order=order,
            kind=kind,
        )

    def __len__(self) -> int:
        return len(self.region)

    @property
    def names(self) -> tuple[str, ...]:
        """One name per voxel, the region and the place in it: ``"Insula_L:0007"`` (counted from 0)."""
        return tuple(str(name) for name in self.grey_matter.coords["voxel"].values)

    def with_regions(self, regions: Iterable[str]) -> VoxelData:
        """Sort the voxels in another order of the same regions.

        Raises
        ------
        InputError
            If the names are not the same.

        Examples
        --------
        >>> there = VoxelData.from_arrays(["b", "a"], [27.0, 27.0], [[0, 0, 0], [3, 0, 0]])
        >>> there.with_regions(["b", "a"]).names
        ('b:0000', 'a:0000')
        """
        names = region_names(regions)
        if names == self.regions:
            return self
        if set(names) != set(self.regions):
            odd = sorted(set(names) ^ set(self.regions))[0]
            raise InputError(
                f"voxels: region '{odd}' is in only one of the Subject and its voxels; give both the same regions."
            )
        place = np.array([names.index(name) for name in self.regions], dtype=np.int64)
        rows = place[self.region]
        order = np.argsort(rows, kind="stable")

        def taken(array: xr.DataArray) -> xr.DataArray:
            result = array.isel(voxel=order)
            result.values.flags.writeable = False
            return result

        return replace(
            self,
            regions=names,
            region=rows[order],
            grey_matter=taken(self.grey_matter),
            positions=taken(self.positions),
            bold={run: taken(series) for run, series in self.bold.items()},
            synaptic_density=None if self.synaptic_density is None else taken(self.synaptic_density),
            connectome=None if self.connectome is None else csr_array(self.connectome[order][:, order]),
            grid_index=None if self.grid_index is None else self.grid_index[order],
            order=None if self.order is None else self.order[order],
        )

    def mean_of_regions(self, values: npt.ArrayLike | xr.DataArray) -> Float:
        """Return the grey-matter-weighted mean over each region's voxels.

        Parameters
        ----------
        values
            ``(..., V)``.

        Returns
        -------
        numpy.ndarray
            ``(..., R)`` float64. NaN where a voxel is NaN.

        Examples
        --------
        >>> there = VoxelData.from_arrays(["a", "a"], [1.0, 3.0], [[0, 0, 0], [3, 0, 0]])
        >>> there.mean_of_regions([0.0, 4.0])
        array([3.])
        """
        array = np.asarray(values, dtype=np.float64)
        weight = np.asarray(self.grey_matter.values)
        total = np.bincount(self.region, weights=weight, minlength=len(self.regions))
        member = csr_array(
            (weight / total[self.region], (np.arange(len(weight)), self.region)), shape=(len(weight), len(self.regions))
        )
        flat = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array[None]
        return np.asarray(flat @ member, dtype=np.float64).reshape(*array.shape[:-1], len(self.regions))

    def region_grey_matter(self) -> Float:
        """Sum the grey matter of each region, mm3."""
        total = np.bincount(self.region, weights=self.grey_matter.values, minlength=len(self.regions))
        return np.asarray(total, dtype=np.float64)

    def region_connectome(self) -> Float:
        """Sum the voxel connectome over every pair of regions; connections inside a region are left out.

        Raises
        ------
        InputError
            If there is no voxel connectome.
        """
        if self.connectome is None:
            raise InputError("the voxels carry no connectome; give the connectome between regions.")
        n = len(self.regions)
        edges = self.connectome.tocoo()
        pair = self.region[edges.row].astype(np.int64) * n + self.region[edges.col]
        total = np.bincount(pair, weights=edges.data, minlength=n * n).reshape(n, n)
        np.fill_diagonal(total, 0.0)
        return np.asarray(total, dtype=np.float64)

    def node_bold(self, run: str) -> xr.DataArray:
        """Return one run as ``(time, region)`` in which every voxel is its own region, for a fit at node level.

        The names are those of ``Brain.nodes()``.

        Raises
        ------
        InputError
            If there is no such run.
        """
        if run not in self.bold:
            raise InputError(f"the voxels have no run '{run}'{nearest(run, self.bold)}; there is {list(self.bold)}.")
        series = self.bold[run]
        return xr.DataArray(
            series.values,
            dims=("time", "region"),
            coords={"time": series["time"].values, "region": list(self.names)},
            attrs=dict(series.attrs),
        )

    @property
    def table(self) -> pd.DataFrame:
        """One row per voxel: region, x, y, z, grey_matter, and synaptic_density where known."""
        columns: dict[str, Any] = {"region": [self.regions[r] for r in self.region]}
        columns |= {axis: self.positions.values[:, k] for k, axis in enumerate("xyz")}
        columns["grey_matter"] = self.grey_matter.values
        if self.synaptic_density is not None:
            columns["synaptic_density"] = self.synaptic_density.values
        return pd.DataFrame(columns, index=pd.Index(self.names, name="voxel"))

    def __repr__(self) -> str:
        runs = [f"{k} {v.sizes['time']} x {v.attrs['repetition_time_s']:g} s" for k, v in self.bold.items()]
        plural = {"voxel": "voxels", "vertex": "vertices"}[self.kind]
        parts = [
            f"{len(self)} {plural} in {len(self.regions)} regions",
            f"{float(self.grey_matter.sum()):.0f} mm3 of grey matter",
            "BOLD " + ", ".join(runs) if runs else "no BOLD",
        ]
        if self.connectome is not None:
            parts.append(f"{self.connectome.nnz} connections")
        if self.synaptic_density is not None:
            parts.append("synaptic density")
        return "VoxelData: " + ", ".join(parts)


def _frozen(values: npt.NDArray[Any], dims: tuple[str, ...], coords: Mapping[str, Any], **attrs: Any) -> xr.DataArray:
    values = np.ascontiguousarray(values)
    values.flags.writeable = False
    return xr.DataArray(values, dims=dims, coords=dict(coords), attrs=attrs)


def _ranks(rows: Int) -> Int:
    """Count the voxels of each region from 0; ``rows`` never fall."""
    start = np.searchsorted(rows, rows, side="left")
    return np.asarray(np.arange(len(rows)) - start, dtype=np.int64)


def _positive(value: Any, region: Sequence[str], what: str, unit: str, remedy: str) -> Float:
    array = numbers(value, what, 1)
    if len(array) != len(region):
        raise InputError(f"{what}: {len(array)} values were found for {len(region)} voxels; give one value per voxel.")
    bad = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
    if len(bad):
        k = int(bad[0])
        raise InputError(
            f"{what}: {array[k]:g} was found at voxel {k} (region '{region[k]}'), but a positive number ({unit}) is "
            f"needed; {remedy}."
        )
    return array


def _grid(
    affine: Any, index: Any, shape: Sequence[int] | None, centre: Float, order: Int
) -> tuple[Float | None, Int | None, tuple[int, int, int] | None]:
    given = [value is not None for value in (affine, index, shape)]
    if not any(given):
        return None, None, None
    if affine is None or index is None or shape is None:
        raise InputError("voxel grid: give grid_affine, grid_index and grid_shape together, or none of them.")
    matrix, place = numbers(affine, "grid_affine", 2), np.array(index, dtype=np.int64)
    size = tuple(int(n) for n in shape)
    if matrix.shape != (4, 4) or place.shape != (len(centre), 3) or len(size) != 3:
        raise InputError(
            f"voxel grid: an affine of shape {matrix.shape}, places of shape {place.shape} and a size of "
            f"{len(size)} numbers were found, but 4 x 4, {len(centre)} x 3 and 3 are needed."
        )
    outside = np.flatnonzero(((place < 0) | (place >= np.array(size))).any(axis=1))
    if len(outside):
        k = int(outside[0])
        raise InputError(f"voxel grid: voxel {k} lies at {place[k].tolist()}, outside the grid of {size}; correct it.")
    if len(np.unique(np.ravel_multi_index(tuple(place.T), size))) < len(place):
        raise InputError("voxel grid: two voxels lie at the same place of the grid; keep one of them.")
    away = np.abs(place @ matrix[:3, :3].T + matrix[:3, 3] - centre).max(axis=1)
    if float(away.max()) > 0.5:
        k = int(np.argmax(away))
        raise InputError(
            f"voxel grid: voxel {k} is at {centre[k].tolist()} mm, but the grid puts it {away[k]:.1f} mm away; "
            "positions and grid must be of the same space."
        )
    return matrix, place[order], (size[0], size[1], size[2])


def _checked_bold(
    bold: Mapping[str, Any] | None,
    region: Sequence[str],
    order: Int,
    coords: Mapping[str, Any],
    times: float | Mapping[str, float] | None,
    units: str,
) -> dict[str, xr.DataArray]:
    result = {}
    for run, value in (bold or {}).items():
        what = f"voxel bold '{run}'"
        carried = value.attrs if isinstance(value, xr.DataArray) else {}
        if isinstance(value, xr.DataArray) and set(value.dims) == {"time", "voxel"}:
            value = value.transpose("time", "voxel")
        given = times.get(run) if isinstance(times, Mapping) else times
        tr = given if given is not None else carried.get("repetition_time_s")
        if tr is None:
            raise InputError(f"{what}: the repetition time is missing; give repetition_time_s (s).")
        if not (math.isfinite(float(tr)) and 0 < float(tr) <= MAX_REPETITION_TIME_S):
            raise InputError(
                f"{what}: repetition_time_s is {tr!r}, but a number of seconds above 0 and at most "
                f"{MAX_REPETITION_TIME_S:g} is needed; if it is in milliseconds, divide by 1000."
            )
        array = np.asarray(value)
        if array.dtype != np.float32:
            array = numbers(array, what, 2)
        if array.ndim != 2 or array.shape[1] != len(region):
            turned = array.ndim == 2 and array.shape[0] == len(region)
            raise InputError(
                f"{what}: an array of shape {array.shape} was found, but (time, voxel) with {len(region)} voxels is "
                f"needed{'; it looks transposed' if turned else ''}; give one column per voxel."
            )
        array = array[:, order]
        _check_series(array, what, np.array(region)[order], order)
        result[str(run)] = _frozen(
            array,
            ("time", "voxel"),
            {"time": ("time", np.arange(len(array)) * float(tr), {"units": "s"}), **coords},
            units=str(carried.get("units", units)),
            repetition_time_s=float(tr),
        )
    return result


def _check_series(array: npt.NDArray[Any], what: str, region: npt.NDArray[Any], order: Int) -> None:
    missing = np.isnan(array).all(axis=1)
    there = array[~missing]
    if len(there) < MIN_VOLUMES:
        raise InputError(
            f"{what}: {len(there)} volumes were found{' that are not missing' if missing.any() else ''}, but at least "
            f"{MIN_VOLUMES} are needed; give a longer run as time x voxel."
        )
    bad = np.argwhere(~np.isfinite(there))
    if len(bad):
        t, k = int(np.flatnonzero(~missing)[bad[0][0]]), int(bad[0][1])
        raise InputError(
            f"{what}: {array[t, k]} was found at volume {t}, voxel {order[k]} (region '{region[k]}'), but only a "
            "whole volume may be missing; leave the voxel out."
        )
    flat = np.flatnonzero(np.ptp(there, axis=0) == 0)
    if len(flat):
        k = int(flat[0])
        raise InputError(
            f"{what}: voxel {order[k]} (region '{region[k]}') is constant ({there[0, k]:g}), and so are "
            f"{len(flat) - 1} more; nothing was recorded there, so leave them out."
        )


def _checked_connectome(value: Any, region: Sequence[str], order: Int) -> csr_array[np.float64]:
    n = len(region)
    given: Any = value if issparse(value) else numbers(value, "voxel connectome", 2)
    matrix = coo_array(given).astype(np.float64)
    if matrix.shape != (n, n):
        raise InputError(
            f"voxel connectome: the matrix is {' x '.join(str(k) for k in matrix.shape)}, but there are {n} voxels; "
            "give one row and one column per voxel."
        )
    bad = np.flatnonzero(~(np.isfinite(matrix.data) & (matrix.data >= 0)))
    if len(bad):
        k = int(bad[0])
        raise InputError(
            f"voxel connectome: {matrix.data[k]:g} was found at row {matrix.row[k]}, column {matrix.col[k]} (region "
            f"'{region[matrix.row[k]]}'), but strengths must be finite and >= 0; give counts or densities."
        )
    own = matrix.row == matrix.col
    if own.any() and matrix.data[own].any():
        warnings.warn(
            f"voxel connectome: {int(np.count_nonzero(matrix.data[own]))} voxels were connected to themselves; these "
            "entries were left out, because connections inside a voxel belong to the circuit.",
            UserWarning,
            stacklevel=3,
        )
    keep = ~own & (matrix.data > 0)
    if not keep.any() and n > 1:
        raise InputError("voxel connectome: every entry off the diagonal is zero; give at least one connection.")
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    result = csr_array(coo_array((matrix.data[keep], (place[matrix.row[keep]], place[matrix.col[keep]])), shape=(n, n)))
    result.sum_duplicates()
    return result
