"""Parameter sets with one thing changed: the background mean, the share of NMDA, the strength of excitation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from twinbrain.neuron import NeuronParameters, ParameterSet

__all__ = ["excited", "nmda_share_of", "shifted", "with_nmda_share"]


def shifted(parameters: ParameterSet, by: float) -> ParameterSet:
    """Return the set with the background mean of every population moved by the same amount."""
    populations = {
        name: {**changes, "background_mean": changes["background_mean"] + by}
        if "background_mean" in changes
        else dict(changes)
        for name, changes in parameters.populations.items()
    }
    moved = replace(parameters.neuron, background_mean=parameters.neuron.background_mean + by)
    return replace(parameters, neuron=moved, populations=MappingProxyType(populations))


def with_nmda_share(parameters: ParameterSet, share: float) -> ParameterSet:
    """Return the set with the same excitatory charge, of which NMDA carries this share."""

    def split(own: Mapping[str, float], neuron: NeuronParameters) -> dict[str, float]:
        charge = neuron.g_ampa * neuron.tau_ampa_ms + neuron.g_nmda * neuron.tau_nmda_ms
        return {
            **own,
            "g_ampa": (1 - share) * charge / neuron.tau_ampa_ms,
            "g_nmda": share * charge / neuron.tau_nmda_ms,
        }

    touched = {"g_ampa", "g_nmda", "tau_ampa_ms", "tau_nmda_ms"}
    populations = {
        name: split(changes, parameters.of(name)) if touched & set(changes) else dict(changes)
        for name, changes in parameters.populations.items()
    }
    neuron = parameters.neuron.changed(split({}, parameters.neuron))
    return replace(parameters, neuron=neuron, populations=MappingProxyType(populations))


def nmda_share_of(parameters: ParameterSet) -> float:
    """Share of the excitatory charge that NMDA carries."""
    neuron = parameters.neuron
    slow = neuron.g_nmda * neuron.tau_nmda_ms
    total = slow + neuron.g_ampa * neuron.tau_ampa_ms
    return slow / total if total > 0 else 0.0


def excited(parameters: ParameterSet, factor: float) -> ParameterSet:
    """Return the set with all excitatory conductances multiplied."""

    def times(own: Mapping[str, float]) -> dict[str, float]:
        return {k: v * factor if k in ("g_ampa", "g_nmda") else v for k, v in own.items()}

    populations = {name: times(changes) for name, changes in parameters.populations.items()}
    neuron = parameters.neuron
    neuron = replace(neuron, g_ampa=neuron.g_ampa * factor, g_nmda=neuron.g_nmda * factor)
    return replace(parameters, neuron=neuron, populations=MappingProxyType(populations))
