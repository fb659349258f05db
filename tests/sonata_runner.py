"""Run a network from its SONATA files alone, in plain NumPy: libsonata reads, nothing of this project is imported."""

from __future__ import annotations

import csv
from pathlib import Path

import libsonata
import numpy as np

F = np.float32
CHANNELS = ("ampa", "nmda", "gaba_a", "gaba_b")


def read_table(path: Path) -> dict[str, list[str]]:
    with path.open(newline="") as file:
        rows = list(csv.reader(file, delimiter=" "))
    return {name: [row[k] for row in rows[1:]] for k, name in enumerate(rows[0])}


def run(folder: Path, steps: int, dt: float = 1.0, shift: int = 0, dtype: type = np.float32) -> list[tuple[int, int]]:
    """Return (step, neuron) of all spikes without noise; ``shift`` rotates the weights, for a control."""
    circuit = libsonata.CircuitConfig.from_file(str(folder / "circuit_config.json"))
    nodes, edges = circuit.node_population("brain"), circuit.edge_population("brain_to_brain")
    everyone, every = nodes.select_all(), edges.select_all()
    types = read_table(folder / "node_types.csv")
    kind = np.asarray(nodes.get_attribute("kind", everyone)).astype(int)

    def parameter(name: str) -> np.ndarray:
        return np.array([float(x) for x in types[name]])[kind]

    edge_types = read_table(folder / "edge_types.csv")
    of_edge = np.asarray(edges.get_attribute("kind", every)).astype(int)
    sign = np.array([int(x) for x in edge_types["sign"]])[of_edge]
    far = np.array([int(x) for x in edge_types["long_range"]])[of_edge] == 1
    source, target = edges.source_nodes(every).astype(int), edges.target_nodes(every).astype(int)
    weights = {"syn_weight": np.rint(255 * edges.get_attribute("syn_weight", every)).astype(int)}
    if "syn_weight_slow" in edges.attribute_names:
        weights["syn_weight_slow"] = np.rint(255 * edges.get_attribute("syn_weight_slow", every)).astype(int)
    weights = {name: np.roll(w, shift) for name, w in weights.items()}
    n = nodes.size
    v = np.asarray(nodes.get_attribute("v_init", everyone), dtype)
    current = np.asarray(nodes.get_attribute("current", everyone), dtype)
    to = lambda x: np.asarray(x).astype(F).astype(dtype)  # noqa: E731 - constants are kept in single precision
    step_over_c, leak = to(dt / parameter("capacitance")), to(parameter("leak_conductance"))
    at_rest = to(parameter("leak_conductance") * parameter("leak_potential_mv"))
    threshold, reset, chi = (to(parameter(k)) for k in ("threshold_mv", "reset_mv", "long_range_gain"))
    waits = np.ceil(parameter("refractory_ms") / dt - 1e-6).astype(int) - 1
    g = {c: np.zeros(n, dtype) for c in CHANNELS if parameter(f"g_{c}").any()}
    per_weight = {c: to(parameter(f"g_{c}") / 255) for c in g}
    decay = {c: to(np.exp(-dt / parameter(f"tau_{c}_ms"))) for c in g}
    reversal = {c: to(parameter(f"v_{c}_mv")) for c in g}
    plans = []
    for name, w in weights.items():
        for k in range(len(edge_types["edge_type_id"])):
            channel = edge_types[f"receptor_of_{name}"][k]
            if channel != "NULL":
                which = np.flatnonzero(of_edge == k)
                order = which[np.argsort(source[which], kind="stable")]
                cuts = np.searchsorted(source[order], np.arange(n + 1))
                plans.append((channel, bool(far[which].any()), target[order], w[order], cuts))
    assert set(np.sign(sign)) <= {-1, 1}
    fired = np.zeros(0, int)
    held = np.zeros(n, int)
    spikes: list[tuple[int, int]] = []
    for step in range(steps):
        near = {c: np.zeros(n) for c in g}
        distant = {c: np.zeros(n) for c in g}
        for channel, long_range, targets, w, cuts in plans:
            mine = np.concatenate([np.arange(cuts[j], cuts[j + 1]) for j in fired]) if len(fired) else fired
            total = np.bincount(targets[mine], w[mine], minlength=n)
            (distant if long_range else near)[channel] += total
        conductance, drive = leak, at_rest + current
        for c in g:
            arrived = near[c].astype(dtype) + chi * distant[c].astype(dtype)
            g[c] = g[c] + per_weight[c] * arrived
            conductance = conductance + g[c]
            drive = drive + g[c] * reversal[c]
            g[c] = g[c] * decay[c]
        moved = v + step_over_c * (drive - conductance * v)
        free = held == 0
        spike = free & (moved >= threshold)
        v = np.where(free & ~spike, moved, reset)
        held = np.where(spike, waits, np.maximum(held - 1, 0))
        fired = np.flatnonzero(spike)
        spikes += [(step, int(k)) for k in fired]
    return spikes
