"""Plain tables and scientific containers: netCDF, neo, CSV, and connections as PyNN reads them."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from twinbrain.errors import InputError
from twinbrain.network import Network

__all__ = ["to_neo", "write_connections", "write_neo", "write_netcdf", "write_tables"]


def write_netcdf(groups: Mapping[str, xr.Dataset], path: str | os.PathLike[str]) -> Path:
    """Write Datasets as the groups of one netCDF-4 file.

    Numbers keep their bits; truth values become bytes (attribute ``dtype = "bool"``, which xarray turns back),
    attributes that netCDF cannot hold become JSON text.

    Parameters
    ----------
    groups
        Name -> Dataset.
    path
        The file to write; ``xarray.open_dataset(path, group=name)`` reads it.

    Raises
    ------
    InputError
        If an array holds neither numbers nor text.

    Examples
    --------
    >>> import tempfile
    >>> data = xr.Dataset({"rate": ("time", [1.5, 2.5], {"units": "Hz"})})
    >>> path = write_netcdf({"twin": data}, Path(tempfile.mkdtemp()) / "out.nc")
    >>> xr.open_dataset(path, group="twin", engine="h5netcdf").rate.values.tolist()
    [1.5, 2.5]
    """
    tree: dict[str, xr.Dataset] = {}
    encoding: dict[str, dict[str, Any]] = {}
    for name, group in groups.items():
        clean = group.copy()
        clean.attrs = {key: _attribute(value) for key, value in group.attrs.items()}
        for key, variable in clean.variables.items():
            variable.attrs = {k: _attribute(v) for k, v in variable.attrs.items()}
            textual = variable.dtype.kind == "O" and all(isinstance(x, str) for x in np.ravel(variable.values))
            if variable.dtype.kind not in "biufUTS" and not textual:
                raise InputError(f"netCDF: '{key}' of '{name}' is of type {variable.dtype}, expected numbers or text")
            if variable.dtype.kind in "OT":
                clean[key] = clean[key].astype("U")
            if variable.dtype.kind == "f":
                encoding.setdefault(f"/{name}", {})[str(key)] = {"_FillValue": None}
        tree[f"/{name}"] = clean
    # in memory first: HDF5 does not survive a disk that fills up while it writes
    content: Any = xr.DataTree.from_dict(tree).to_netcdf(engine="h5netcdf", encoding=encoding)
    Path(path).write_bytes(content)
    return Path(path)


def _attribute(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, type(None), dict, list, tuple)):
        return json.dumps(value)
    return value


def to_neo(twin: xr.Dataset, name: str = "twin") -> Any:
    """Return a neo Block with the spike trains and the regional series of a run; elephant analyses these.

    Parameters
    ----------
    twin
        Group ``twin`` of a results folder, or ``run.to_dataset()``.
    name
        Name of the block.

    Returns
    -------
    neo.Block
        One Segment: a SpikeTrain (ms) per recorded neuron with the annotations ``neuron``, ``region`` and ``sign``, and
        the AnalogSignals ``bold`` (dimensionless) and ``firing_rate`` (Hz), each with ``names`` of its columns.

    Raises
    ------
    InputError
        If neo is not installed.
    """
    try:
        import neo
        import quantities as pq
    except ImportError:
        raise InputError("neo is not installed; install it with: pip install 'twinbrain[export]'") from None

    block, segment = neo.Block(name=name), neo.Segment(name="free run")
    block.segments.append(segment)
    time = np.asarray(twin["time"].values, np.float64)
    step = float(np.diff(time).mean()) if len(time) > 1 else 1.0
    for key, unit in (("bold", pq.dimensionless), ("firing_rate", pq.Hz)):
        if key in twin:
            series = twin[key].transpose("time", ...)
            names = [str(label) for label in series[series.dims[1]].values]
            signal = neo.AnalogSignal(
                series.values, units=unit, sampling_period=step * pq.s, t_start=float(time[0]) * pq.s, name=key
            )
            signal.annotate(names=names)
            segment.analogsignals.append(signal)
    if "spike_time_ms" in twin:
        times, neurons = twin["spike_time_ms"].values, twin["spike_neuron"].values
        order = np.lexsort((times, neurons))
        times, neurons = times[order], neurons[order]
        ids, start = np.unique(neurons, return_index=True)
        stop = float(times.max()) if len(times) else 0.0
        for k, (neuron, train) in enumerate(zip(ids, np.split(times, start[1:]), strict=True)):
            at = order[start[k]]
            made = neo.SpikeTrain(train, units=pq.ms, t_start=0.0, t_stop=stop, name=f"neuron {neuron}")
            made.annotate(
                neuron=int(neuron),
                region=str(twin["spike_region"].values[at]) if "spike_region" in twin else "",
                sign=int(twin["spike_sign"].values[at]) if "spike_sign" in twin else 0,
            )
            segment.spiketrains.append(made)
    return block


def write_neo(block: Any, path: str | os.PathLike[str]) -> Path:
    """Write a neo Block as the MATLAB file that ``neo.io.NeoMatlabIO`` (and MATLAB) reads.

    Parameters
    ----------
    block
        What :func:`to_neo` returns.
    path
        Ends with ``.mat``.
    """
    from neo.io import NeoMatlabIO

    NeoMatlabIO(str(path)).write_block(block)
    return Path(path)


def write_tables(groups: Mapping[str, xr.Dataset], folder: str | os.PathLike[str]) -> list[Path]:
    """Write every one- or two-dimensional array of the groups as ``GROUP_ARRAY.csv``.

    The first row names the columns; the first column holds the label of the row. Numbers are written so that they
    read back to the same bits. Spikes come together as ``GROUP_spikes.csv`` (time_ms, neuron, and what else is known).

    Parameters
    ----------
    groups
        Name -> Dataset.
    folder
        An existing folder.

    Returns
    -------
    list of pathlib.Path
        The files.

    Examples
    --------
    >>> import tempfile
    >>> data = xr.Dataset({"bold": (("time", "region"), [[0.1, 0.2]])}, {"time": [0.8], "region": ["a", "b"]})
    >>> (path,) = write_tables({"twin": data}, tempfile.mkdtemp())
    >>> path.read_text().splitlines()
    ['time,a,b', '0.8,0.1,0.2']
    """
    folder, written = Path(folder), []
    for group, data in groups.items():
        spikes = sorted(str(key) for key in data.data_vars if data[key].dims == ("spike",))
        if spikes:
            heads = [key.removeprefix("spike_") for key in spikes]
            written.append(
                _csv(folder / f"{group}_spikes.csv", heads, zip(*(data[k].values for k in spikes), strict=True))
            )
        for key, array in data.data_vars.items():
            if array.ndim not in (1, 2) or str(key) in spikes:
                continue
            first = str(array.dims[0])
            labels = array[first].values if first in array.coords else np.arange(array.sizes[first])
            columns = [str(key)]
            if array.ndim == 2:
                second = str(array.dims[1])
                own = array[second].values if second in array.coords else np.arange(array.sizes[second])
                columns = [str(label) for label in own]
            rows = np.atleast_2d(array.values.T).T
            body = ([label, *row] for label, row in zip(labels, rows, strict=True))
            written.append(_csv(folder / f"{group}_{key}.csv", [first, *columns], body))
    return written


def write_connections(
    network: Network, folder: str | os.PathLike[str], *, max_synapses: int = 20_000_000
) -> tuple[Path, Path, Path]:
    """Write a network so that PyNN, or anything else, can build it: populations, parameters, connections.

    ``populations.csv``: one row per population (label, region, type, sign, size, first neuron, in-degree).
    ``parameters.json``: the neuron parameters. ``connections.txt``: one line per synapse, ``i j weight delay`` with
    global ids (weight 0..1 onto the fast channel, delay in ms) under the header line that PyNN's FromFileConnector
    reads; a fifth column ``weight_slow`` where a slow channel is live.

    Raises
    ------
    InputError
        If the network has more than ``max_synapses`` synapses.
    """
    folder = Path(folder)
    if network.synapses > max_synapses:
        raise InputError(
            f"the network has {network.synapses:,} synapses, and at most {max_synapses:,} are written; export fewer "
            "neurons (--neurons)"
        )
    table, wiring = network.populations, network.wire()
    labels = [f"{network.brain.voxels[v]}:{n}" for v, n in zip(table["voxel"], table["name"], strict=True)]
    heads = ["label", "region", "type", "sign", "size", "first", "in_degree"]
    columns: list[Any] = [labels, *(table[key] for key in ("region", "name", "sign", "size", "first", "in_degree"))]
    first = _csv(folder / "populations.csv", heads, zip(*columns, strict=True))
    parameters = folder / "parameters.json"
    parameters.write_text(json.dumps(network.set.to_dict(), indent=1) + "\n", encoding="utf-8")
    sources = np.repeat(np.arange(network.neurons), np.diff(wiring.pointer))
    names = ["i", "j", "weight", "delay"]
    rows: list[Any] = [sources, wiring.targets, (wiring.weights & 255) / 255, np.ones(len(sources))]
    if network.two_weights:
        names.append("weight_slow")
        rows.append((wiring.weights >> 8) / 255)
    path = folder / "connections.txt"
    with path.open("w", encoding="utf-8") as file:
        file.write(f"# columns = {json.dumps(names)}\n")
        for start in range(0, len(sources), 1_000_000):  # bounded memory
            part = np.column_stack([row[start : start + 1_000_000] for row in rows])
            np.savetxt(file, part, fmt=["%d", "%d", "%.17g", "%g", "%.17g"][: len(names)])
    return first, parameters, path


def _csv(path: Path, heads: list[str], rows: Any) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows([_plain(x) for x in row] for row in rows)
    return path


def _plain(value: Any) -> Any:
    return repr(float(value)) if isinstance(value, (float, np.floating)) else value
