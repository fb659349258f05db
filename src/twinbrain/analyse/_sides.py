"""What `analyse` was given, made comparable: a run, a folder's results or plain BOLD become labelled series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from twinbrain.analyse._measures import read_series
from twinbrain.analyse.align import align, to_regions
from twinbrain.analyse.filtering import band_pass
from twinbrain.errors import InputError

_MIN_VOLUMES = 40
_MAX_CELLS = 5e7  # of the table (ms, neuron) of spikes; more are summed over neurons


@dataclass(frozen=True, eq=False)
class Given:
    """What was found in the arguments: BOLD, its recording, driven regions, their drive, spike counts per ms."""

    bold: xr.DataArray
    recorded: xr.DataArray | None = None
    inputs: tuple[str, ...] = ()
    drive: xr.DataArray | None = None
    spikes: xr.DataArray | None = None


@dataclass(frozen=True, eq=False)
class Sides:
    """Series by side ("bold", or "model" and "recorded"): as given, by region, and by region band-passed.

    Beside a recording the model is not band-passed, see `twinbrain.compare`. ``whole`` is the whole recording by
    region, band-passed, where two sides are compared.
    """

    series: dict[str, xr.DataArray]
    regional: dict[str, xr.DataArray]
    passed: dict[str, xr.DataArray]
    step_s: float
    inputs: tuple[str, ...] = ()
    drive: xr.DataArray | None = None
    spikes: xr.DataArray | None = None
    whole: xr.DataArray | None = None
    notes: list[str] = field(default_factory=list)


def take(source: object, recorded: object) -> Given:
    """Find BOLD and what goes with it in a DataArray, a run, a person or the results of a folder."""
    other = None if recorded is None else take(recorded, None).bold
    if isinstance(source, xr.DataArray):
        return Given(source, other)
    groups = getattr(source, "groups", None)
    if isinstance(groups, Mapping):
        return _of_results(groups, other)
    bold = getattr(source, "bold", None)
    if isinstance(bold, Mapping):
        if len(bold) != 1:
            runs = ", ".join(f"'{name}'" for name in bold) or "none"
            raise InputError(
                f"a person with {len(bold)} BOLD runs ({runs}) was given, expected one; give person.bold[RUN]."
            )
        return Given(next(iter(bold.values())), other)
    if isinstance(bold, xr.DataArray):
        return Given(_one_member(bold), other, spikes=_counts(getattr(source, "spikes", None)))
    raise InputError(
        f"an analysis was asked of a {type(source).__name__}, expected BOLD as an xarray.DataArray (time, region), a "
        "run, or the results of a folder; label the array."
    )


def _of_results(groups: Mapping[str, xr.Dataset], other: xr.DataArray | None) -> Given:
    stored = groups["recorded"]["bold"] if "recorded" in groups and "bold" in groups["recorded"] else None
    recorded = stored if other is None else other
    if "twin" not in groups or "bold" not in groups["twin"]:
        if stored is None:
            raise InputError(
                f"the results hold the groups {', '.join(groups) or 'none'}, expected 'twin' or 'recorded' with BOLD; "
                "give the folder of a run that has come as far as its free run."
            )
        return Given(stored, other)
    twin = groups["twin"]
    drive = groups["fit"]["drive"] if "fit" in groups and "drive" in groups["fit"] else None
    names = () if drive is None else dict.fromkeys(str(name).split(":")[0] for name in drive["input"].values)
    return Given(_one_member(twin["bold"]), recorded, tuple(names), drive, _counts(twin))


def _one_member(bold: xr.DataArray) -> xr.DataArray:
    return bold.isel(member=0, drop=True) if "member" in bold.dims else bold


def _counts(spikes: xr.Dataset | None) -> xr.DataArray | None:
    """Spikes per ms and recorded neuron; None if there are none."""
    if spikes is None:
        return None
    prefix = "spike_" if "spike_time_ms" in spikes else ""
    if f"{prefix}time_ms" not in spikes or not spikes.sizes.get("spike"):
        return None
    time_ms = np.asarray(spikes[f"{prefix}time_ms"].values, dtype=np.float64)
    neuron = spikes[f"{prefix}neuron"].values
    if "member" in spikes:
        first = spikes["member"].values == spikes["member"].values.min()
        time_ms, neuron = time_ms[first], neuron[first]
    at = np.floor(time_ms - np.floor(time_ms.min())).astype(np.int64)
    _, unit = np.unique(neuron, return_inverse=True)
    bins, units = int(at.max()) + 1, int(unit.max()) + 1
    coords = {"time": np.arange(bins) * 1e-3}
    if bins * units > _MAX_CELLS:
        return xr.DataArray(np.bincount(at, minlength=bins), dims=("time",), coords=coords)
    counts = np.bincount(at * units + unit, minlength=bins * units).reshape(bins, units)
    return xr.DataArray(counts, dims=("time", "unit"), coords=coords)


def sides_of(given: Given, band_hz: tuple[float, float], inputs: Sequence[str], discard: int) -> Sides:
    """Check the series and bring model and recording to the same regions and moments."""
    driven = tuple(dict.fromkeys(str(name) for name in inputs)) or given.inputs
    aside: dict[str, Any] = {"drive": given.drive, "spikes": given.spikes}
    if given.recorded is not None:
        return _two(given.bold, given.recorded, band_hz, driven, discard, aside)
    series = read_series(given.bold, "an analysis", volumes=_MIN_VOLUMES)
    bold = given.bold.transpose("time", series.dim)
    notes, regional, passed = [], {}, {}
    named = series.dim == "region" or ("region" in bold.coords and "weight" in bold.coords)
    if named:
        regional["bold"] = to_regions(bold, what="analysed").assign_coords(time=series.times)
        passed["bold"] = band_pass(regional["bold"], series.step_s, band_hz)
    else:
        notes.append("the voxels carry no 'region' and 'weight', so what is measured between regions is left out")
    return Sides({"bold": bold}, regional, passed, series.step_s, driven, notes=notes, **aside)


def _two(
    model: xr.DataArray,
    recorded: xr.DataArray,
    band_hz: tuple[float, float],
    inputs: tuple[str, ...],
    discard: int,
    aside: dict[str, Any],
) -> Sides:
    pair, uncut = align(model, recorded, discard=discard), align(model, recorded, discard=0)
    step = pair.repetition_time_s
    if len(pair.recorded["time"]) < _MIN_VOLUMES:
        raise InputError(
            f"model and recording have {len(pair.recorded['time'])} volumes in common after the first {discard}, "
            f"expected at least {_MIN_VOLUMES}; simulate longer."
        )
    later = slice(discard, None)
    whole = band_pass(uncut.whole, step, band_hz)  # a filter run over a short piece would change the piece
    regional = {"model": pair.simulated, "recorded": pair.recorded}
    passed = {
        "model": pair.simulated,  # as it is, like in `compare`: it follows a recording that was filtered already
        "recorded": whole.sel(time=uncut.recorded["time"]).isel(time=later),
    }
    notes = [f"{text}; here they are bridged linearly" for text in pair.missing_note]
    if pair.unmatched:
        notes.append(f"{len(pair.unmatched)} regions are on one side only and left out, such as '{pair.unmatched[0]}'")
    names = {str(name) for name in pair.recorded["region"].values}
    return Sides(
        dict(regional),
        regional,
        passed,
        step,
        tuple(n for n in inputs if n in names),
        whole=whole,
        notes=notes,
        **aside,
    )
