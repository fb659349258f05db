"""Avalanches: runs of uninterrupted activity, taken from counts or from the strong excursions of BOLD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.analyse._numeric import Floats, is_constant
from twinbrain.errors import InputError

__all__ = ["Avalanches", "avalanches_from_bold", "avalanches_from_counts", "point_process"]

Integers = npt.NDArray[np.int64]
BinRule = int | Literal["mean_interval"]
ThresholdRule = float | Literal["zero", "median/2"]

_MIN_STEPS = 20
_COLUMNS = 4096  # columns standardised at once, so that voxels do not need a second copy of the whole series


@dataclass(frozen=True, eq=False)
class Avalanches:
    """Sizes and durations of avalanches, with the activity they were cut from.

    An avalanche is a maximal run of bins whose activity is above ``threshold``. Its size is the sum of the
    activity over the run, its duration the number of bins. Runs that touch the first or the last bin are left
    out, because their true length is not known.

    Attributes
    ----------
    sizes
        int64 (avalanche,), events.
    durations
        int64 (avalanche,), bins.
    starts
        int64 (avalanche,), index of the first bin.
    activity
        int64 (time,), events per bin; coordinate ``time`` in s (start of the bin) where the steps have times.
    threshold
        Activity a bin must exceed to be part of an avalanche, events.
    bin_steps
        Time steps per bin.
    bin_s
        Length of a bin, s; NaN if the steps have no times.
    rule
        How bin and threshold were chosen, in words.

    Examples
    --------
    >>> found = avalanches_from_counts(np.array([0, 1, 2, 0, 0, 3, 0] * 3))
    >>> found.sizes.values.tolist(), found.durations.values.tolist()
    ([3, 3, 3, 3, 3, 3], [2, 1, 2, 1, 2, 1])
    """

    sizes: xr.DataArray
    durations: xr.DataArray
    starts: xr.DataArray
    activity: xr.DataArray
    threshold: float
    bin_steps: int
    bin_s: float
    rule: str

    def __len__(self) -> int:
        return self.sizes.size

    def __repr__(self) -> str:
        return f"Avalanches({len(self)} in {self.activity.size} bins of {self.bin_steps} steps; {self.rule})"


def avalanches_from_counts(
    counts: xr.DataArray | npt.NDArray[np.generic],
    *,
    bin_steps: BinRule = 1,
    threshold: ThresholdRule = "zero",
) -> Avalanches:
    """Cut counts of events, such as spikes per millisecond, into avalanches.

    Parameters
    ----------
    counts
        Events per time step, whole numbers >= 0: array with time first, or DataArray with a dimension
        ``time`` (s, if it has a coordinate). All other dimensions (units, populations) are summed.
    bin_steps
        Time steps per bin, or "mean_interval": the mean interval between successive events of all units
        together, (last - first) / (events - 1) in steps, events of one step being 0 apart; rounded to whole
        steps, at least 1. Steps at the end that fill no bin are left out. Default 1.
    threshold
        "zero", "median/2" (half the median of the activity per bin), or a number of events per bin; bins
        above it belong to an avalanche. Default "zero". In large networks no bin is silent, and only the
        other two find avalanches; exponents then depend on the threshold, so scan it.

    Returns
    -------
    Avalanches
        There may be none, if activity is never or always above the threshold.

    Raises
    ------
    InputError
        If counts are not finite, negative, not whole or never vary, if there are fewer than 20 bins, or an
        option is not known.

    References
    ----------
    Beggs & Plenz (2003), J. Neurosci. 23:11167, for avalanches and the mean interval as bin; Poil et al.
    (2012), J. Neurosci. 32:9817, for half the median.

    Examples
    --------
    >>> rng = np.random.Generator(np.random.Philox(key=1))
    >>> found = avalanches_from_counts(rng.poisson(0.5, size=(2000, 2)), threshold=1)
    >>> found.threshold, int(found.sizes.min())
    (1.0, 2)
    """
    total, times = _summed(counts)
    if not np.ptp(total):
        raise InputError(
            f"the counts are {total[0]} in every one of {len(total)} steps, expected activity that varies; give "
            "finer steps or another population."
        )
    width, bin_rule = _bin_width(total, bin_steps)
    bins = len(total) // width
    if bins < _MIN_STEPS:
        raise InputError(
            f"{len(total)} time steps in bins of {width} make {bins} bins, expected at least {_MIN_STEPS}; give a "
            "longer series or shorter bins."
        )
    activity = total[: bins * width].reshape(bins, width).sum(axis=1)
    above, threshold_rule = _threshold(activity, threshold)
    starts, stops = _runs(activity > above)
    running = np.concatenate(([0], np.cumsum(activity)))
    step_s = float(np.median(np.diff(times))) if times is not None else np.nan
    coords = {} if times is None else {"time": times[: bins * width : width]}
    return Avalanches(
        sizes=_labelled(running[stops] - running[starts], "events"),
        durations=_labelled(stops - starts, "bins"),
        starts=_labelled(starts, "bins"),
        activity=xr.DataArray(activity, dims=("time",), coords=coords, attrs={"units": "events per bin"}),
        threshold=above,
        bin_steps=width,
        bin_s=round(step_s * width, 9),
        rule=f"{bin_rule}; {threshold_rule}",
    )


def avalanches_from_bold(
    bold: xr.DataArray,
    *,
    threshold_sd: float = 1.4,
    bin_volumes: BinRule = 1,
    active: ThresholdRule = "zero",
) -> Avalanches:
    """Cut BOLD into avalanches of strong excursions that follow one another in the whole network.

    Each region's series is turned into events by `point_process`; an avalanche is a run of volumes with at
    least one event anywhere (above ``active`` events).

    Parameters
    ----------
    bold
        (time, region), any units; times in s, if given.
    threshold_sd
        Threshold of the excursions, standard deviations of each region. Default 1.4; results should hold
        from 1 to 2.
    bin_volumes
        Volumes per bin, or "mean_interval"; as ``bin_steps`` of `avalanches_from_counts`. Default 1.
    active
        As ``threshold`` of `avalanches_from_counts`, events per bin. Default "zero"; with thousands of voxels
        every volume has events, and "median/2" or a number is needed.

    Returns
    -------
    Avalanches

    Raises
    ------
    InputError
        If the BOLD is too short, constant in a region, or not finite; or no excursion crosses the threshold.

    References
    ----------
    Tagliazucchi et al. (2012), Front. Physiol. 3:15, for the point process of BOLD; Xu, Feng & Yu (2022), Human
    Brain Mapping 43:2534, for avalanches over regions.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).normal(size=(500, 6))
    >>> bold = xr.DataArray(x, dims=("time", "region"), coords={"time": np.arange(500) * 0.72})
    >>> found = avalanches_from_bold(bold)
    >>> len(found) > 50, found.bin_s
    (True, 0.72)
    """
    events = point_process(bold, threshold_sd)
    total = events.sum(str(events.dims[1]))
    if not int(total.max()):
        raise InputError(
            f"no region of the BOLD rises through {threshold_sd:g} standard deviations, expected excursions; lower "
            "threshold_sd (1.4 is usual)."
        )
    return avalanches_from_counts(total, bin_steps=bin_volumes, threshold=active)


def point_process(bold: xr.DataArray, threshold_sd: float = 1.4) -> xr.DataArray:
    """Mark the volumes in which a region's BOLD rises through a threshold.

    With z the standard score of a region, there is an event at volume t if z(t-1) <= threshold < z(t).

    Parameters
    ----------
    bold
        (time, region), any units. The second dimension may have any name.
    threshold_sd
        Threshold in standard deviations of each region. Default 1.4.

    Returns
    -------
    bool DataArray (time, region) with the labels of ``bold``; the first volume has no events.

    Raises
    ------
    InputError
        If the BOLD has other dimensions, fewer than 20 volumes, values that are not finite, or constant
        regions, or the threshold is not finite.

    References
    ----------
    Tagliazucchi et al. (2012), Front. Physiol. 3:15.

    Examples
    --------
    >>> t = np.arange(100.0)
    >>> wave = xr.DataArray(np.sin(t / 5)[:, None], dims=("time", "region"))
    >>> int(point_process(wave, 1.0).sum())
    4
    """
    if not isinstance(bold, xr.DataArray) or bold.ndim != 2 or "time" not in bold.dims:
        shape = tuple(bold.dims) if isinstance(bold, xr.DataArray) else type(bold).__name__
        raise InputError(f"the BOLD is {shape}, expected a DataArray (time, region); name its dimensions so.")
    if isinstance(threshold_sd, bool) or not np.isfinite(threshold_sd):
        raise InputError(f"threshold_sd is {threshold_sd!r}, expected standard deviations; 1.4 is usual.")
    series = bold.transpose("time", ...)
    other = str(series.dims[1])
    values = series.to_numpy()
    if len(values) < _MIN_STEPS:
        raise InputError(f"the BOLD has {len(values)} volumes, expected at least {_MIN_STEPS}; give a longer run.")
    events = np.zeros(values.shape, dtype=np.bool_)
    for first in range(0, values.shape[1], _COLUMNS):
        part: Floats = np.asarray(values[:, first : first + _COLUMNS], dtype=np.float64)
        names = series[other].values[first : first + _COLUMNS]
        bad = ~np.isfinite(part).all(axis=0)
        if bad.any():
            raise InputError(
                f"the BOLD of {other} '{names[bad][0]}' is not finite in "
                f"{int((~np.isfinite(part[:, bad])).any(axis=1).sum())} volumes, expected numbers everywhere; "
                "interpolate them or leave it out."
            )
        flat = is_constant(part)
        if flat.any():
            raise InputError(
                f"the BOLD does not vary in {other} '{names[flat][0]}', expected a signal everywhere; leave it out."
            )
        high = part - part.mean(axis=0) > threshold_sd * part.std(axis=0)
        events[1:, first : first + _COLUMNS] = high[1:] & ~high[:-1]
    return series.copy(data=events)


def _summed(counts: xr.DataArray | npt.NDArray[np.generic]) -> tuple[Integers, Floats | None]:
    """Check counts and add up all that is not time."""
    times: Floats | None = None
    if isinstance(counts, xr.DataArray):
        if "time" not in counts.dims:
            raise InputError(f"the counts have dimensions {counts.dims}, expected 'time' among them; name it so.")
        ordered = counts.transpose("time", ...)
        values = ordered.to_numpy()
        if "time" in ordered.coords and ordered.sizes["time"] > 1:
            times = np.asarray(ordered["time"].to_numpy(), dtype=np.float64)
    else:
        values = np.asarray(counts)
    if values.ndim < 1 or len(values) < _MIN_STEPS:
        raise InputError(
            f"the counts have {len(values) if values.ndim else 1} time steps, expected at least {_MIN_STEPS}; give a "
            "longer series."
        )
    if values.dtype.kind not in "biuf":
        raise InputError(f"the counts are of type {values.dtype}, expected whole numbers; give events per step.")
    wrong = (
        ~np.isfinite(values) | (values < 0) | (values != np.floor(values)) if values.dtype.kind == "f" else values < 0
    )
    if wrong.any():
        raise InputError(
            f"the counts hold {values[wrong][0]!s} (and {int(wrong.sum()) - 1} more such values), expected whole "
            "numbers >= 0, events per time step; multiply rates by the step, and leave no gaps."
        )
    return np.asarray(values.reshape(len(values), -1).sum(axis=1), dtype=np.int64), times


def _bin_width(total: Integers, rule: BinRule) -> tuple[int, str]:
    if rule == "mean_interval":
        active = np.flatnonzero(total)
        interval = (active[-1] - active[0]) / max(int(total.sum()) - 1, 1)
        return max(1, round(float(interval))), f"bin by mean interval of {interval:.3g} steps"
    if isinstance(rule, bool) or not isinstance(rule, (int, np.integer)) or rule < 1:
        raise InputError(
            f"the bin is {rule!r}, expected a whole number of steps from 1 or 'mean_interval'; 1 is usual."
        )
    return int(rule), f"bin of {rule} steps"


def _threshold(activity: Integers, rule: ThresholdRule) -> tuple[float, str]:
    if rule == "zero":
        return 0.0, "threshold zero"
    if rule == "median/2":
        half = float(np.median(activity)) / 2.0
        return half, f"threshold median/2 = {half:g}"
    if isinstance(rule, (str, bool)) or not np.isfinite(rule) or rule < 0:
        raise InputError(f"the threshold is {rule!r}, expected 'zero', 'median/2' or events per bin from 0.")
    return float(rule), f"threshold {rule:g}"


def _runs(above: npt.NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """First bins and ends (exclusive) of the runs that touch neither end of the series."""
    edges = np.diff(above.astype(np.int8))
    starts, stops = np.flatnonzero(edges == 1) + 1, np.flatnonzero(edges == -1) + 1
    if above[0]:
        stops = stops[1:]
    return starts[: len(stops)].astype(np.int64), stops.astype(np.int64)


def _labelled(values: Integers, units: str) -> xr.DataArray:
    return xr.DataArray(np.asarray(values, dtype=np.int64), dims=("avalanche",), attrs={"units": units})
