"""The section of activity: rates per population and layer, rates over time, a raster, synchrony."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.report import figures, series, style, words
from twinbrain.report.blocks import Section
from twinbrain.report.reading import Reading
from twinbrain.report.state import FANO_RANGE, RATE_RANGE_HZ

Array = npt.NDArray[np.float64]


def activity(reading: Reading) -> Section:
    """Draw what the neurons do.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> activity(Reading(Content())).blocks[0].kind
    'quiet'
    """
    section = Section("activity", "Activity")
    rates = reading.array("twin", "firing_rate")
    layers = _layers(reading)
    if rates is None or "pop_name" not in rates.coords:
        section.say("The results hold no firing rates of the twin.", kind="quiet")
    else:
        rates = rates.transpose("time", "population").dropna("time", how="all")
        _rates(section, rates, layers)
        _over_time(section, rates, reading.inputs)
    if not layers:
        section.say("The results hold no laminar run, so no rates of cortical layers are shown.", kind="quiet")
    elif (fano := reading.attribute("laminar", "fano")) is not None:
        section.say(
            f"The laminar run has {words.count(reading.attribute('laminar', 'neurons'))} neurons; the Fano factor "
            f"of its spike count in 4 ms is {words.number(fano, 2)}, its mean rate "
            f"{words.number(reading.laminar_rate_hz)} Hz; its state is {reading.laminar_state.explained}."
        )
    _raster(section, reading)
    if reading.fano is not None:
        section.say(
            "Synchrony of the twin: the Fano factor of the whole brain's spike count in windows of 4 ms is "
            f"{words.number(reading.fano, 2)}; its state is {reading.state.explained}. Asynchronous is a state of "
            f"{RATE_RANGE_HZ[0]:.0f}–{RATE_RANGE_HZ[1]:.0f} Hz with a Fano factor between {FANO_RANGE[0]:g} and "
            f"{FANO_RANGE[1]:g}."
        )
    return section


def _layers(reading: Reading) -> list[tuple[str, float]]:
    found = reading.array("laminar", "mean_rate_hz")
    if found is None:
        return []
    return [(str(name), float(rate)) for name, rate in zip(found["layer"].values, found.values, strict=True)]


def _rates(section: Section, rates: xr.DataArray, layers: list[tuple[str, float]]) -> None:
    mean = np.asarray(rates.mean("time").values, dtype=np.float64)
    names = np.asarray(rates["pop_name"].values).astype(str)
    signs = np.asarray(rates["pop_sign"].values) if "pop_sign" in rates.coords else np.ones(len(names))
    kinds = list(dict.fromkeys(names.tolist()))
    spoken = ", ".join(f"{kind} {words.decimals(series.mean_of(mean[names == kind]))} Hz" for kind in kinds)
    section.show(
        "rates",
        figures.rates_figure(
            {kind: mean[names == kind] for kind in kinds},
            {kind: int(signs[names == kind][0]) for kind in kinds},
            layers or None,
        ),
        f"Mean firing rates of the twin's populations ({spoken})"
        + (", and of the layers of the laminar run." if layers else "."),
        "Mean firing rates. Blue: excitatory, orange: inhibitory populations; E and I are the populations of "
        "regions without layers.",
    )


def _over_time(section: Section, rates: xr.DataArray, inputs: tuple[str, ...]) -> None:
    values = np.asarray(rates.values, dtype=np.float64)
    size = (
        np.asarray(rates["pop_size"].values, dtype=np.float64)
        if "pop_size" in rates.coords
        else np.ones(values.shape[1])
    )
    region = np.asarray(rates["pop_region"].values).astype(str) if "pop_region" in rates.coords else None

    def mean(chosen: npt.NDArray[np.bool_]) -> Array:
        weight = size[chosen]
        return np.asarray(values[:, chosen] @ weight / weight.sum())

    groups: dict[str, Array] = {}
    colours: dict[str, str] = {}
    if region is not None:
        inside = np.isin(region, inputs)
        if inside.any() and not inside.all():
            groups["input regions"], colours["input regions"] = mean(inside), style.INPUT
            groups["other regions"], colours["other regions"] = mean(~inside), style.TWIN
    groups["whole brain"], colours["whole brain"] = mean(np.ones(len(size), dtype=np.bool_)), style.RECORDED
    section.show(
        "rate-over-time",
        figures.rate_over_time_figure(
            np.asarray(rates["time"].values, dtype=np.float64), groups, colours, dashed=["whole brain"]
        ),
        "Mean firing rate over the free run, for the whole brain, the input regions and the other regions.",
        "Mean firing rate over the free run.",
    )


def _raster(section: Section, reading: Reading) -> None:
    twin = reading.groups.get("twin")
    if twin is None or "spike_time_ms" not in twin or not twin.sizes.get("spike", 0):
        section.say("The results hold no sample of spikes, so no raster is drawn.", kind="quiet")
        return
    time = np.asarray(twin["spike_time_ms"].values, dtype=np.float64)
    neuron = np.asarray(twin["spike_neuron"].values)
    region = np.asarray(twin["spike_region"].values).astype(str)
    sign = np.asarray(twin["spike_sign"].values)
    ids, first = np.unique(neuron, return_index=True)
    systems = [system for system, _ in series.SYSTEMS] + ["Other"]

    def key(i: int) -> tuple[int, str, int]:
        name = region[first[i]]
        rank = -1 if name in reading.inputs else systems.index(series.system_of(name))
        return rank, name, -int(sign[first[i]])

    order = sorted(range(len(ids)), key=key)
    row = np.empty(len(ids))
    row[order] = np.arange(len(ids))
    groups: list[tuple[str, float, float]] = []
    for place, i in enumerate(order):
        label = "Inputs" if key(i)[0] < 0 else systems[key(i)[0]]
        if groups and groups[-1][0] == label:
            groups[-1] = (label, groups[-1][1], float(place))
        else:
            groups.append((label, float(place), float(place)))
    span = float(time.max() - time.min())
    rate = len(time) / len(ids) / span * 1e3 if span > 0 else math.nan
    section.show(
        "raster",
        figures.raster_figure(time - time.min(), row[np.searchsorted(ids, neuron)], sign, groups),
        f"Raster of {len(ids)} neurons over {words.number(span / 1e3)} seconds, and the number of spikes in 5-ms "
        "bins below.",
        f"Spikes of {len(ids)} sampled neurons that fired in {words.number(span / 1e3, 2)} s (on average "
        f"{words.number(rate, 2)} Hz), grouped by region; below, their number in bins of 5 ms.",
    )
