"""Bring simulated and recorded BOLD together: voxels to regions, regions by name, volumes by time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.analyse._numeric import Floats, bridge, is_constant
from twinbrain.errors import InputError

__all__ = ["Aligned", "align", "to_regions"]

# Fewer volumes than this carry no correlation worth a figure.
MIN_VOLUMES = 20


@dataclass(frozen=True, eq=False)
class Aligned:
    """Simulated BOLD beside the recorded BOLD of the same regions and moments.

    ``simulated`` and ``recorded`` are (time, region), float64, the recorded times and order of regions;
    ``whole`` is the complete recording of these regions; ``repetition_time_s`` in s; ``unmatched`` regions
    that only one side has. ``present`` (time of ``whole``) is false for volumes that were missing: they are bridged
    linearly, since filters and shifts need even times, and take no part in scores.
    """

    simulated: xr.DataArray
    recorded: xr.DataArray
    whole: xr.DataArray
    repetition_time_s: float
    unmatched: tuple[str, ...]
    present: xr.DataArray

    @property
    def scored(self) -> npt.NDArray[np.bool_]:
        """Which rows of ``recorded`` were measured."""
        return np.asarray(self.present.sel(time=self.recorded["time"]), dtype=np.bool_)

    @property
    def missing_note(self) -> list[str]:
        """A sentence on missing volumes, if there are any."""
        lost = int((~self.scored).sum())
        return [f"{lost} of {len(self.scored)} volumes are missing in the recording and not scored"] if lost else []


def to_regions(bold: xr.DataArray, *, what: str = "simulated") -> xr.DataArray:
    """Average the voxels of each region, weighted by what each contributes to the region's signal.

    Parameters
    ----------
    bold
        (time, voxel) with the coordinates ``region`` (name) and ``weight`` (>= 0, any units, such as grey
        matter in mm3) on ``voxel``; or (time, region), which is returned as it is. Any units.
    what
        How messages call the array.

    Returns
    -------
    DataArray (time, region), float64, regions in the order of their first voxel, units kept.

    Raises
    ------
    InputError
        If dimensions or coordinates are missing, a region's weights sum to 0, or a region is named twice.

    Examples
    --------
    >>> v = xr.DataArray([[1.0, 4.0, 7.0]], dims=("time", "voxel"), coords={"time": [0.0],
    ...     "region": ("voxel", ["A", "A", "B"]), "weight": ("voxel", [2.0, 1.0, 1.0])})
    >>> to_regions(v).values.tolist()
    [[2.0, 7.0]]
    """
    if not isinstance(bold, xr.DataArray):
        raise InputError(
            f"the {what} BOLD is a {type(bold).__name__}, expected an xarray.DataArray; give names and times with it."
        )
    dims = set(bold.dims)
    if "time" not in bold.coords or dims not in ({"time", "region"}, {"time", "voxel"}):
        raise InputError(
            f"the {what} BOLD has dimensions {tuple(bold.dims)} and coordinates {tuple(bold.coords)}, "
            "expected (time, region) or (time, voxel) with times in s; name and label them so."
        )
    if "region" not in bold.coords or ("voxel" in dims and "weight" not in bold.coords):
        missing = "a weight per voxel" if "region" in bold.coords else "the names of its regions"
        raise InputError(
            f"the {what} BOLD lacks {missing}, expected the coordinate 'region', and 'weight' if it is per "
            "voxel; add it."
        )
    names = [str(name) for name in bold["region"].values]
    if "region" in dims:
        _refuse_twice(names, what)
        return bold.transpose("time", "region").astype(np.float64).assign_coords(region=names)
    weight = np.asarray(bold["weight"].values, dtype=np.float64)
    regions = list(dict.fromkeys(names))
    member = np.zeros((len(names), len(regions)))
    member[np.arange(len(names)), [regions.index(name) for name in names]] = weight
    total = member.sum(axis=0)
    if not (np.isfinite(weight).all() and (weight >= 0).all() and (total > 0).all()):
        worst = regions[int(np.argmin(np.where(np.isfinite(total), total, -np.inf)))]
        raise InputError(
            f"the weights of the voxels of region '{worst}' in the {what} BOLD sum to "
            f"{total[regions.index(worst)]:g}, expected finite weights >= 0 with a sum above 0; use the grey "
            "matter of each voxel."
        )
    values = np.asarray(bold.transpose("time", "voxel"), dtype=np.float64) @ (member / total)
    coords = {"time": bold["time"], "region": regions}
    return xr.DataArray(values, dims=("time", "region"), coords=coords, attrs=bold.attrs)


def align(simulated: xr.DataArray, recorded: xr.DataArray, *, discard: int = 10, silent: bool = False) -> Aligned:
    """Match a simulation with the part of the recording it covers.

    Each recorded volume takes the simulated one nearest in time, if that is no further away than half a
    repetition time; regions are matched by name and take the order of the recording; the first ``discard``
    common volumes, where the simulation still forgets its start, are left out. Recorded volumes that are NaN in
    every region are missing (scrubbed, for instance), see `Aligned`.

    Parameters
    ----------
    simulated, recorded
        (time, region) or, see `to_regions`, (time, voxel); ``time`` in s.
    discard
        Common volumes left out at the start. Default 10.
    silent
        Whether simulated regions may be constant, as in a network that ran into saturation: they are 0 in every
        correlation. Default: they are refused.

    Returns
    -------
    Aligned

    Raises
    ------
    InputError
        If times, regions or values do not allow a comparison; the message says which.

    Examples
    --------
    >>> x = np.sin(np.outer(np.arange(60), [1.0, 2.0]))
    >>> time = np.arange(60) * 0.72
    >>> rec = xr.DataArray(x, dims=("time", "region"), coords={"time": time, "region": ["A", "B"]})
    >>> align(rec[10:50, ::-1], rec).simulated.region.values.tolist()
    ['A', 'B']
    """
    sim, rec = to_regions(simulated, what="simulated"), to_regions(recorded, what="recorded")
    if isinstance(discard, bool) or not isinstance(discard, (int, np.integer)) or discard < 0:
        raise InputError(f"discard is {discard!r}, expected a whole number of volumes from 0; 10 is usual.")
    step = _repetition_time(rec)
    _times(sim, "simulated")
    ours, theirs = [str(n) for n in rec["region"].values], {str(n) for n in sim["region"].values}
    common = [name for name in ours if name in theirs]
    if not common:
        raise InputError(
            f"no region is common to the simulated ('{sorted(theirs)[0]}', ...) and the recorded BOLD "
            f"('{ours[0]}', ...), expected the same names; use the labels of one atlas."
        )
    sim, rec = sim.sel(region=common), rec.sel(region=common)
    rows, partners = _nearest(np.asarray(rec["time"].values), np.asarray(sim["time"].values), step)
    rows, partners = rows[discard:], partners[discard:]
    if len(rows) < MIN_VOLUMES:
        raise InputError(
            f"simulated and recorded BOLD have {len(rows)} volumes in common after the first {discard}, "
            f"expected at least {MIN_VOLUMES}; simulate longer, or give the simulation the times of the "
            "recording."
        )
    if len(rows) != rows[-1] - rows[0] + 1:
        first = int(np.flatnonzero(np.diff(rows) > 1)[0])
        raise InputError(
            f"the simulated BOLD has a gap after {float(rec['time'][rows[first]]):g} s, expected a volume "
            "for each recorded one between its first and last; give it without gaps."
        )
    rec, present = _bridged(rec)
    segment = rec.isel(time=rows)
    if (measured := int(present[rows].sum())) < MIN_VOLUMES:
        raise InputError(
            f"of the {len(rows)} volumes in common {measured} are not missing in the recording, expected at least "
            f"{MIN_VOLUMES}; scrub less, or simulate longer."
        )
    moved = sim.isel(time=partners).assign_coords(time=segment["time"])
    for array, what in ((moved, "simulated"), (rec, "recorded")):
        _refuse_not_finite(array, what)
    if not silent:
        _refuse_constant(moved, "simulated")
    _refuse_constant(segment, "recorded")
    unmatched = tuple(sorted((theirs | set(ours)) - set(common)))
    return Aligned(moved, segment, rec, step, unmatched, present)


def _bridged(rec: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Fill volumes that are NaN in every region linearly (at the ends with the nearest), and say which were there."""
    values = np.asarray(rec.transpose("time", "region"), dtype=np.float64)
    present = np.asarray(~np.isnan(values).all(axis=1))
    marked = xr.DataArray(present, dims="time", coords={"time": rec["time"]})
    if present.all() or not present.any():
        return rec, marked
    return rec.copy(data=bridge(values, present)).transpose(*rec.dims), marked


def _nearest(wanted: Floats, offered: Floats, step: float) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of ``wanted`` with a partner within half a step, and the partners; none serves twice."""
    right = np.clip(np.searchsorted(offered, wanted), 1, max(len(offered) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(offered) - 1)
    partner = np.where(np.abs(offered[left] - wanted) <= np.abs(offered[right] - wanted), left, right)
    rows = np.flatnonzero(np.abs(offered[partner] - wanted) <= 0.5 * step * (1 + 1e-9))
    chosen, first = np.unique(partner[rows], return_index=True)
    return rows[first].astype(np.int64), chosen.astype(np.int64)


def _times(bold: xr.DataArray, what: str) -> Floats:
    times = bold["time"].values
    if not np.issubdtype(times.dtype, np.number) or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise InputError(
            f"the times of the {what} BOLD do not increase as plain numbers, expected seconds; set its "
            "'time' coordinate."
        )
    return np.asarray(times, dtype=np.float64)


def _repetition_time(recorded: xr.DataArray) -> float:
    steps = np.diff(_times(recorded, "recorded"))
    if not len(steps):
        raise InputError("the recorded BOLD has one volume or none, expected a time series; give the whole run.")
    step = round(float(np.median(steps)), 9)  # differences of times carry rounding noise
    if np.abs(steps - step).max() > 0.01 * step:
        worst = int(np.argmax(np.abs(steps - step)))
        raise InputError(
            f"recorded volumes {worst} and {worst + 1} are {steps[worst]:g} s apart, expected {step:g} s as "
            "elsewhere; interpolate to even times."
        )
    return step


def _refuse_twice(names: list[str], what: str) -> None:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise InputError(
            f"region '{twice[0]}' is named twice in the {what} BOLD, expected each name once; rename or merge them."
        )


def _refuse_not_finite(bold: xr.DataArray, what: str) -> None:
    bad = np.argwhere(~np.isfinite(bold.to_numpy()))
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"the {what} BOLD of region '{bold['region'].values[column]}' is not finite at "
            f"{float(bold['time'][row]):g} s ({len(bad)} such values in all), expected numbers everywhere; "
            "interpolate them or leave the region out."
        )


def _refuse_constant(bold: xr.DataArray, what: str) -> None:
    flat = bold["region"].values[is_constant(bold.to_numpy())]
    if len(flat):
        named = ", ".join(f"'{name}'" for name in flat[:5]) + (" and others" if len(flat) > 5 else "")
        raise InputError(
            f"the {what} BOLD does not vary in {named}, expected a signal in every region compared; leave "
            "such regions out."
        )
