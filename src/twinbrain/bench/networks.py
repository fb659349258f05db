"""Networks that are measured: the one that other simulators can run as well, and the ones users run."""

from __future__ import annotations

from typing import Any

import numpy as np

from twinbrain.brain import Brain
from twinbrain.data.subject import Subject
from twinbrain.network import Network
from twinbrain.neuron import NeuronParameters, ParameterSet

__all__ = ["COMMON", "common_network", "even_brain", "sample_like_brain"]

#: The benchmark network in the units of the other simulators (uF, mS, mV, ms, uA); conductances per unit synapse.
COMMON: dict[str, Any] = {
    "voxels": 100, "capacitance": 1.0, "leak": 0.03, "leak_mv": -75.0, "threshold_mv": -50.0, "reset_mv": -65.0,
    "refractory_ms": 5.0, "tau_ms": (2.0, 40.0, 10.0, 50.0), "reversal_mv": (0.0, 0.0, -70.0, -100.0),
    "g": (1e-3, 3e-5, 1e-2, 5e-4), "ou_mean": 0.75, "ou_std": 0.25, "ou_tau_ms": 10.0,
    "local_e": 40, "local_i": 10, "remote_e": 50,
}  # fmt: skip


def even_brain(regions: int = 100) -> Brain:
    """Return a Brain of equal regions in which everyone projects to everyone else alike.

    Examples
    --------
    >>> even_brain(3).projection.toarray()[0].tolist()
    [0.0, 0.5, 0.5]
    """
    matrix = np.ones((regions, regions)) - np.eye(regions)
    return Brain.from_subject(Subject.from_arrays(matrix, [f"r{k:03d}" for k in range(regions)], name="even"))


def sample_like_brain(regions: int = 94, deep: int = 14, seed: int = 0) -> Brain:
    """Return a Brain with the connectome statistics of a person and laminar cortex, made from nothing but a seed.

    Weights are log-normal and fall with distance, so that few connections carry most of the weight.

    Examples
    --------
    >>> int(sample_like_brain().laminar.sum())
    80
    """
    random = np.random.Generator(np.random.Philox(seed))
    place = random.uniform(-60, 60, (regions, 3))
    distance = np.linalg.norm(place[:, None] - place[None], axis=2)
    matrix = np.exp(random.normal(0, 1.5, (regions, regions)) - distance / 25)
    matrix = matrix + matrix.T
    np.fill_diagonal(matrix, 0)
    laminar = np.arange(regions) < regions - deep
    names = [f"r{k:03d}" for k in range(regions)]
    person = Subject.from_arrays(matrix, names, laminar=laminar, name="made up")
    return Brain.from_subject(person)


def common_network(neurons: int, seed: int = 1) -> Network:
    """Return the benchmark network: 100 voxels, 80 % excitatory, in-degree 100 (40 + 10 local, 50 from elsewhere).

    All four channels are live and every synapse has two weights of its own (0 ... 255, mean one half), so the
    conductance of a unit is twice that of the simulators which count spikes.

    Examples
    --------
    >>> common_network(10_000).synapses
    1000000
    """
    c = COMMON
    g, tau, reversal = (np.asarray(c[k]) for k in ("g", "tau_ms", "reversal_mv"))
    names = ("ampa", "nmda", "gaba_a", "gaba_b")
    neuron = NeuronParameters(
        capacitance=c["capacitance"], leak_conductance=c["leak"], leak_potential_mv=c["leak_mv"],
        threshold_mv=c["threshold_mv"], reset_mv=c["reset_mv"], refractory_ms=c["refractory_ms"],
        background_mean=c["ou_mean"], background_std=c["ou_std"], background_tau_ms=c["ou_tau_ms"],
        **{f"g_{n}": 2 * float(x) for n, x in zip(names, g, strict=True)},
        **{f"tau_{n}_ms": float(x) for n, x in zip(names, tau, strict=True)},
        **{f"v_{n}_mv": float(x) for n, x in zip(names, reversal, strict=True)},
    )  # fmt: skip
    shares = (c["local_e"] / 100, c["local_i"] / 100, c["remote_e"] / 100)
    parameters = ParameterSet("benchmark", neuron, canonical_shares=shares)
    return Network(
        even_brain(c["voxels"]), neurons=neurons, in_degree=100, circuit="canonical", parameters=parameters, seed=seed
    )
