"""A network as SONATA files (Dai et al. 2020 PLoS Comput Biol 16:e1007696), and its spikes."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twinbrain.engine import Simulation
from twinbrain.errors import InputError
from twinbrain.network import Network
from twinbrain.neuron import CHANNELS, NeuronParameters
from twinbrain.tuning import gamma_factors

__all__ = ["write_sonata", "write_spikes"]

Int = NDArray[np.int64]

_MAX_SYNAPSES = 20_000_000  # about 1 GB of files, made in memory
_NODES, _EDGES = "brain", "brain_to_brain"
_MAGIC, _VERSION = 0x0A7A, [0, 1]


def write_sonata(
    network: Network,
    folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    currents: NDArray[Any] | None = None,
    max_synapses: int = _MAX_SYNAPSES,
) -> Path:
    """Write every neuron and synapse of a network, with what is needed to run it elsewhere.

    ``nodes.h5`` holds one node per neuron: voxel, region, place (um), initial potential ``v_init`` (mV) and constant
    external current ``current``. ``node_types.csv`` holds the parameters of each kind of neuron. ``edges.h5``, sorted
    by target with both indices, holds ``syn_weight`` (w / 255, acts on the fast channel) and, where a slow channel is
    live, ``syn_weight_slow``; ``edge_types.csv`` says which receptors an edge acts on and whether it is long-range:
    then the target's ``long_range_gain`` multiplies its weight. Nodes and edges repeat their type id as ``kind``,
    because libsonata hands out attributes only. ``circuit_config.json`` names the files.

    Parameters
    ----------
    network
        The network; it is wired for this.
    folder
        An existing folder.
    seed
        Of the initial state, as :func:`twinbrain.simulate` takes it.
    currents
        External current of every neuron, ``(neurons,)``, model units; default: the background mean.
    max_synapses
        Refuse networks with more.

    Returns
    -------
    pathlib.Path
        ``circuit_config.json``.

    Raises
    ------
    InputError
        If the network is too large, or ``currents`` does not fit.

    Notes
    -----
    Model (``model_template`` ``twinbrain:lif_4_channels``), step dt, exchange interval 1 ms: the weights that arrived
    are added, J_u += sum w; then V += dt / C (g_L (V_L - V) + sum g_u J_u (V_u - V) + current + noise); at V >= V_th a
    spike, and V = V_reset for the refractory time, of which the spike's own step is the first; J_u *= exp(-dt / tau_u).
    Spikes of an interval arrive at its end.

    Examples
    --------
    >>> import tempfile
    >>> from twinbrain import Brain, Subject
    >>> person = Subject.from_arrays([[0, 1.0], [1.0, 0]], ["a", "b"])
    >>> network = Network(Brain.from_subject(person), neurons=100, in_degree=5)
    >>> place = Path(tempfile.mkdtemp())
    >>> write_sonata(network, place).name, sorted(p.name for p in place.iterdir())[1:]
    ('circuit_config.json', ['edge_types.csv', 'edges.h5', 'node_types.csv', 'nodes.h5'])
    """
    folder = Path(folder)
    if network.synapses > max_synapses:
        raise InputError(
            f"the network has {network.synapses:,} synapses, and at most {max_synapses:,} are written; export fewer "
            "neurons (--neurons)"
        )
    if currents is not None and np.shape(currents) != (network.neurons,):
        raise InputError(f"currents has the shape {np.shape(currents)}, expected ({network.neurons},): one per neuron")
    wiring = network.wire()
    engine = Simulation(network, seed=seed, wiring=wiring)
    population = np.repeat(np.arange(len(network.anatomy.size)), network.anatomy.size)
    types, type_of = _node_types(network)
    _write_table(folder / "node_types.csv", types)
    _write_nodes(folder / "nodes.h5", network, engine, population, type_of[population], currents)
    edges = _edge_types(network)
    _write_table(folder / "edge_types.csv", edges)
    _write_edges(folder / "edges.h5", network, wiring, population)
    config = {
        "version": 2,
        "metadata": {"status": "partial"},
        "manifest": {"$NETWORK_DIR": "./"},
        "networks": {
            "nodes": [
                {
                    "nodes_file": "$NETWORK_DIR/nodes.h5",
                    "node_types_file": "$NETWORK_DIR/node_types.csv",
                    "populations": {_NODES: {"type": "point_neuron"}},
                }
            ],
            "edges": [
                {
                    "edges_file": "$NETWORK_DIR/edges.h5",
                    "edge_types_file": "$NETWORK_DIR/edge_types.csv",
                    "populations": {_EDGES: {"type": "chemical"}},
                }
            ],
        },
    }
    path = folder / "circuit_config.json"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return path


def write_spikes(time_ms: NDArray[Any], neuron: NDArray[Any], path: str | os.PathLike[str]) -> Path:
    """Write spikes as a SONATA report: ``/spikes/brain/timestamps`` (ms) and ``node_ids``, sorted by time.

    Parameters
    ----------
    time_ms, neuron
        Time of each spike in ms, finite, and the id of its neuron, >= 0.
    path
        The file to write, ``spikes.h5`` for example.

    Raises
    ------
    InputError
        If the two differ in length, a time is not finite or an id negative.

    Examples
    --------
    >>> import tempfile
    >>> path = write_spikes(np.array([2.0, 1.0]), np.array([7, 3]), Path(tempfile.mkdtemp()) / "spikes.h5")
    >>> path.name
    'spikes.h5'
    """
    import h5py

    times, ids = np.asarray(time_ms, np.float64), np.asarray(neuron)
    if times.shape != ids.shape or times.ndim != 1:
        raise InputError(f"spikes: {times.shape} times and {ids.shape} neurons were given, expected as many of each")
    if not np.isfinite(times).all():
        raise InputError(f"spikes: time {int(np.argmin(np.isfinite(times)))} is not finite; leave such spikes out")
    if len(ids) and ids.min() < 0:
        raise InputError(f"spikes: neuron {ids.min()} was found, but ids count from 0")
    order = np.lexsort((ids, times))
    with _hdf5(Path(path)) as file:
        group = file.create_group(f"spikes/{_NODES}")
        kinds = h5py.enum_dtype({"none": 0, "by_id": 1, "by_time": 2}, basetype="uint8")
        group.attrs.create("sorting", 2, dtype=kinds)
        made = group.create_dataset("timestamps", data=times[order])
        made.attrs["units"] = "ms"
        group.create_dataset("node_ids", data=ids[order].astype(np.uint64))
    return Path(path)


@contextlib.contextmanager
def _hdf5(path: Path) -> Iterator[Any]:
    """Give an HDF5 file in memory, written when it is whole: HDF5 does not survive a disk that fills up meanwhile."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.attrs.create("magic", _MAGIC, dtype=np.uint32)
        file.attrs.create("version", _VERSION, dtype=np.uint32)
        yield file
    path.write_bytes(content.getbuffer())


def _node_types(network: Network) -> tuple[pd.DataFrame, Int]:
    """List the kinds of neurons that differ in name or any parameter; return the table and the kind per population."""
    from dataclasses import fields

    table = network.populations
    columns = {"pop_name": table["name"].to_numpy(), "sign": table["sign"].to_numpy()}
    columns |= {field.name: network.parameter(field.name) for field in fields(NeuronParameters)}
    columns["long_range_gain"] = network.chi
    rows = pd.DataFrame(columns)
    kind, _ = pd.factorize(pd.MultiIndex.from_frame(rows))
    first = np.unique(kind, return_index=True)[1]
    types = rows.iloc[first].reset_index(drop=True)
    types.insert(0, "node_type_id", np.arange(len(types)))
    types.insert(1, "model_type", "point_neuron")
    types.insert(2, "model_template", "twinbrain:lif_4_channels")
    types.insert(3, "ei", np.where(types["sign"] > 0, "e", "i"))
    return types, kind.astype(np.int64)


def _edge_types(network: Network) -> pd.DataFrame:
    live = dict(zip(CHANNELS, network.live, strict=True))
    rows = []
    for k, (name, sign, far) in enumerate((("local", 1, 0), ("long_range", 1, 1), ("inhibitory", -1, 0))):
        fast, slow = ("ampa", "nmda") if sign > 0 else ("gaba_a", "gaba_b")
        rows.append(
            {
                "edge_type_id": k,
                "model_template": "twinbrain:pulse",
                "name": name,
                "sign": sign,
                "long_range": far,
                "receptor_of_syn_weight": fast if live[fast] else slow,
                "receptor_of_syn_weight_slow": slow if live[fast] and live[slow] else "NULL",
                "delay": 1.0,
            }
        )
    return pd.DataFrame(rows)


def _write_table(path: Path, table: pd.DataFrame) -> None:
    """SONATA's tables are separated by blanks."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=" ", lineterminator="\n")
        writer.writerow(table.columns)
        for row in table.itertuples(index=False):
            writer.writerow([repr(float(x)) if isinstance(x, float) else x for x in row])


def _write_nodes(
    path: Path,
    network: Network,
    engine: Simulation,
    population: Int,
    kind: Int,
    currents: NDArray[Any] | None,
) -> None:
    import h5py

    brain, n = network.brain, network.neurons
    voxel = network.anatomy.voxel[population]
    columns: dict[str, NDArray[Any]] = {
        "kind": kind.astype(np.int32),
        "voxel": voxel.astype(np.int32),
        "v_init": np.asarray(engine.voltage(), np.float32),
        "current": np.asarray(
            network.parameter("background_mean")[population] if currents is None else currents, np.float32
        ),
    }
    if brain.positions is not None:
        columns |= {axis: brain.positions[voxel, k] * 1000.0 for k, axis in enumerate("xyz")}
    for name, shape in network.heterogeneity.items():
        ids = np.arange(n, dtype=np.int64) + CHANNELS.index(name[2:]) * 2**40
        columns[f"factor_{name}"] = gamma_factors(shape, ids, network.seed, "gamma_conductance")
    with _hdf5(path) as file:
        group = file.create_group(f"nodes/{_NODES}")
        _fill(group, "node_type_id", kind)
        _fill(group, "node_group_id", np.zeros(n, np.uint8))
        _fill(group, "node_group_index", np.arange(n, dtype=np.uint32))
        attributes = group.create_group("0")
        for name, values in columns.items():
            _fill(attributes, name, values)
        for name, codes, texts in (
            ("region", brain.region_index[voxel], brain.regions),
            ("voxel_name", voxel, brain.voxels),
        ):
            _fill(attributes, name, codes.astype(np.uint32))
            names = np.array(list(texts), dtype=object)
            attributes.require_group("@library").create_dataset(name, data=names, dtype=h5py.string_dtype())


def _write_edges(path: Path, network: Network, wiring: Any, population: Int) -> None:
    a, n = network.anatomy, network.neurons
    source = np.repeat(np.arange(n), np.diff(wiring.pointer))
    target = wiring.targets.astype(np.int64)
    order = np.argsort(target, kind="stable")
    source, target, weight = source[order], target[order], wiring.weights[order]
    sign = a.sign[a.kind[a.voxel], a.local][population[source]]
    far = a.voxel[population[source]] != a.voxel[population[target]]
    kind = np.where(sign > 0, np.where(far, 1, 0), 2)
    with _hdf5(path) as file:
        group = file.create_group(f"edges/{_EDGES}")
        for name, ids in (("source_node_id", source), ("target_node_id", target)):
            _fill(group, name, ids.astype(np.uint32)).attrs["node_population"] = _NODES
        _fill(group, "edge_type_id", kind.astype(np.uint8))
        _fill(group, "edge_group_id", np.zeros(len(source), np.uint8))
        _fill(group, "edge_group_index", np.arange(len(source), dtype=np.uint32))
        attributes = group.create_group("0")
        _fill(attributes, "kind", kind.astype(np.uint8))
        _fill(attributes, "syn_weight", ((weight & 255) / 255).astype(np.float32))
        if network.two_weights:
            _fill(attributes, "syn_weight_slow", ((weight >> 8) / 255).astype(np.float32))
        for name, ids in (("source_to_target", source), ("target_to_source", target)):
            place = group.create_group(f"indices/{name}")
            nodes, ranges = edge_index(ids, n)
            _fill(place, "node_id_to_ranges", nodes)
            _fill(place, "range_to_edge_id", ranges)


def edge_index(ids: Int, nodes: int) -> tuple[Int, Int]:
    """Return SONATA's two index tables for one end of the edges.

    Parameters
    ----------
    ids
        Node of each edge, in the order of the edges.
    nodes
        How many nodes there are.

    Returns
    -------
    node_id_to_ranges
        ``(nodes, 2)`` first and last + 1 row in the other table.
    range_to_edge_id
        ``(ranges, 2)`` first and last + 1 edge of every run of equal ``ids``, sorted by node.

    Examples
    --------
    >>> edge_index(np.array([1, 1, 0, 1]), 3)[1].tolist()
    [[2, 3], [0, 2], [3, 4]]
    """
    ids = np.asarray(ids, np.int64)
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]])) if len(ids) else np.zeros(0, np.int64)
    stops = np.concatenate([starts[1:], [len(ids)]]) if len(ids) else starts
    owner = ids[starts]
    order = np.argsort(owner, kind="stable")
    ranges = np.stack([starts, stops], axis=1)[order].astype(np.int64)
    cuts = np.searchsorted(owner[order], np.arange(nodes + 1))
    return np.stack([cuts[:-1], cuts[1:]], axis=1).astype(np.int64), ranges


def _fill(group: Any, name: str, values: NDArray[Any]) -> Any:
    """Write one dataset, uncompressed: libsonata's own HDF5 reads no filters."""
    return group.create_dataset(name, data=np.asarray(values))
