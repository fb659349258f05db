"""What the main job keeps of each stage, as labelled arrays ready for the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from twinbrain.assimilate.fit import Fit
from twinbrain.circuit import canonical, laminar
from twinbrain.data.subject import Subject
from twinbrain.network import Network
from twinbrain.simulate import Run
from twinbrain.store import iterate_spikes

__all__ = [
    "brain_group",
    "fit_group",
    "laminar_group",
    "raster_from",
    "raster_neurons",
    "recorded_group",
    "recording_group",
]

_RASTER_NEURONS = 400


def recorded_group(bold: xr.DataArray, target: xr.DataArray, subject: str) -> xr.Dataset:
    """Return the recorded BOLD as given, with the target the filter saw (NaN where none).

    Parameters
    ----------
    bold
        (time, region), the whole run; ``time`` in s.
    target
        (time, region), some of its volumes, same ``time``; fraction signal change.
    subject
        Name of the person.

    Examples
    --------
    >>> bold = xr.DataArray(np.ones((3, 1)), dims=("time", "region"), coords={"time": [0, 0.8, 1.6], "region": ["a"]})
    >>> recorded_group(bold, bold[1:], "me").target.values.ravel().tolist()
    [nan, 1.0, 1.0]
    """
    bold = bold.transpose("time", "region")
    return xr.Dataset(
        {"bold": bold, "target": target.reindex(time=bold["time"], region=bold["region"])},
        attrs={"subject": subject},
    )


def brain_group(person: Subject, network: Network) -> xr.Dataset:
    """Return connectome, places and sizes of the regions of the twin.

    ``connectome`` (target, source) as given, ``grey_matter`` (region) in mm3 where known, ``laminar`` (region),
    ``neurons`` (region) of this network, ``position`` (region, axis) in MNI mm if known.
    """
    size = network.populations.groupby("region")["size"].sum()
    group = xr.Dataset(
        {
            "connectome": person.connectome,
            "grey_matter": person.grey_matter,
            "laminar": person.laminar,
            "neurons": ("region", size.reindex(list(person.regions)).fillna(0).to_numpy(np.int64), {"units": "1"}),
        },
        coords={"region": list(person.regions)},
        attrs={"level": network.brain.level, "voxels": len(network.brain.voxels)},
    )
    if person.positions is not None:
        group["position"] = person.positions
    return group.drop_vars([name for name in group.coords if name not in group.dims])


def fit_group(fit: Fit, time_s: np.ndarray) -> xr.Dataset:
    """Return the estimated drive, its uncertainty and the forecasts, on the clock of the recording.

    Parameters
    ----------
    fit
        What the filter returned.
    time_s
        Times of its volumes in the recording, s.
    """
    return fit.to_dataset().assign_coords(time=("time", time_s, {"units": "s"}))


def raster_neurons(network: Network, most: int = _RASTER_NEURONS) -> np.ndarray:
    """Choose neurons for the raster, evenly over the whole network and so over regions and signs.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> raster_neurons(SimpleNamespace(neurons=9), 5).tolist()
    [0, 2, 4, 6, 8]
    """
    return np.unique(np.linspace(0, network.neurons - 1, most).astype(np.int64))


def raster_from(folder: str | Path, neurons: np.ndarray, from_s: float, to_s: float) -> xr.Dataset:
    """Return the spikes of some neurons in a window out of a folder that holds all, as ``Run.spikes`` has them.

    Parameters
    ----------
    folder
        What ``Record(spikes_folder=...)`` wrote, with exchange intervals of 1 ms.
    neurons
        Their ids.
    from_s, to_s
        The window, s after the warm-up.
    """
    found = []
    for member, step, neuron in iterate_spikes(folder):
        kept = (step >= from_s * 1000) & (step < to_s * 1000) & np.isin(neuron, neurons)
        found.append(np.stack([member[kept], step[kept], neuron[kept]]))
    member, step, neuron = np.concatenate(found, axis=1)
    order = np.lexsort((neuron, step, member))
    columns = {"step": step, "time_ms": step + 1.0, "neuron": neuron, "member": member}
    return xr.Dataset({name: ("spike", values[order]) for name, values in columns.items()})


def recording_group(run: Run) -> xr.Dataset:
    """Return what a run recorded besides BOLD, rates and spikes: bins, voxel means and traces, as far as asked for.

    ``binned_rate`` (member, bin, population) in Hz; ``potential_e``, ``excitation_e``, ``inhibition_e`` (member,
    instant, voxel); ``potential`` (member, step, neuron) in mV and ``current_...`` (member, step, sampled).
    """
    group = xr.Dataset()
    for part in (run.voxel_means, run.traces):
        if part is not None:
            group = group.merge(part)
    if run.binned_rate is not None:
        group["binned_rate"] = run.binned_rate
    return group


def laminar_group(run: Run, network: Network) -> xr.Dataset:
    """Return mean rates per kind of population ("L2/3E", ..., "E", "I") of a run of the laminar circuit.

    ``mean_rate_hz`` (layer) and ``rate_time`` (time, layer), in Hz, means over neurons.
    """
    present = set(network.populations["name"])
    names = [name for name in (*laminar().populations, *canonical().populations) if name in present]
    rate, size = run.firing_rate, run.firing_rate["pop_size"]
    over_time = [
        (rate * size).isel(population=which).sum("population").values / max(int(size.values[which].sum()), 1)
        for which in (np.flatnonzero(rate["pop_name"].values == name) for name in names)
    ]
    rate_time = np.stack(over_time, axis=1)
    return xr.Dataset(
        {
            "mean_rate_hz": ("layer", rate_time.mean(axis=0), {"units": "Hz"}),
            "rate_time": (("time", "layer"), rate_time, {"units": "Hz"}),
        },
        coords={"layer": names, "time": rate["time"]},
        attrs=run.to_dataset().attrs,
    )
