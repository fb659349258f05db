r"""Neuron, synapse and noise: equations, units, named parameter sets, and a plain NumPy step that is the oracle.

Leaky integrate-and-fire neurons with four receptor channels u = AMPA, NMDA, GABA_A, GABA_B (Lu et al. 2024)::

    C dV/dt = -g_L (V - V_L) + sum_u g_u J_u (V_u - V) + I_ext + I_OU
    dJ_u/dt = -J_u / tau_u + sum_j w_j delta(t - t_j)
    dI_OU   = -(I_OU - mu) dt / tau_OU + sigma sqrt(2 dt / tau_OU) xi

A neuron fires when V >= V_th; it is then held at V_reset for the refractory time. An excitatory spike raises AMPA
and NMDA, an inhibitory one GABA_A and GABA_B. Weights w are whole numbers 0 ... 255 divided by 255, mean 1/2.
Times are in ms, voltages in mV; capacitance, conductance and current are in any consistent system, for example
nF, uS, nA ("model units" in what follows). sigma is the stationary standard deviation of the noise current.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinbrain.errors import InputError, nearest

__all__ = ["CHANNELS", "NeuronParameters", "ParameterSet", "parameter_set", "parameter_set_names", "reference_step"]

#: The receptor channels, in the order of every table: two excitatory, two inhibitory.
CHANNELS = ("ampa", "nmda", "gaba_a", "gaba_b")


@dataclass(frozen=True)
class NeuronParameters:
    """Parameters of one population; the defaults are those of Lu et al. 2024 (``nsr``).

    Units: capacitance, conductances and currents in model units (nF, uS, nA), times in ms, voltages in mV.

    Examples
    --------
    >>> p = NeuronParameters()
    >>> p.capacitance / p.leak_conductance  # membrane time constant, ms
    20.0
    """

    capacitance: float = 0.5
    leak_conductance: float = 0.025
    leak_potential_mv: float = -70.0
    threshold_mv: float = -50.0
    reset_mv: float = -55.0
    refractory_ms: float = 2.0
    g_ampa: float = 0.0025
    g_nmda: float = 0.0
    g_gaba_a: float = 0.0098
    g_gaba_b: float = 0.0
    v_ampa_mv: float = 0.0
    v_nmda_mv: float = 0.0
    v_gaba_a_mv: float = -70.0
    v_gaba_b_mv: float = 0.0
    tau_ampa_ms: float = 2.0
    tau_nmda_ms: float = 40.0
    tau_gaba_a_ms: float = 20.0
    tau_gaba_b_ms: float = 1.0
    background_mean: float = 0.4
    background_std: float = 0.15
    background_tau_ms: float = 4.0

    def __post_init__(self) -> None:
        for name in ("capacitance", "leak_conductance", "refractory_ms", "background_tau_ms"):
            if not getattr(self, name) > 0:
                raise InputError(f"neuron parameter '{name}' must be positive, found {getattr(self, name)}")
        for name in (*(f"g_{c}" for c in CHANNELS), "background_std"):
            if not getattr(self, name) >= 0:
                raise InputError(f"neuron parameter '{name}' must not be negative, found {getattr(self, name)}")
        for channel in CHANNELS:
            if not getattr(self, f"tau_{channel}_ms") > 0:
                raise InputError(f"neuron parameter 'tau_{channel}_ms' must be positive")
        if not self.threshold_mv > max(self.reset_mv, self.leak_potential_mv):
            raise InputError(
                f"the threshold ({self.threshold_mv} mv) must lie above the reset ({self.reset_mv} mv) and the leak "
                f"potential ({self.leak_potential_mv} mv); a neuron that fires at rest is not a neuron of this model"
            )

    def changed(self, changes: Mapping[str, float]) -> NeuronParameters:
        """Return a copy with some parameters replaced; unknown names are refused."""
        names = [f.name for f in fields(self)]
        for key in changes:
            if key not in names:
                raise InputError(f"'{key}' is not a neuron parameter{nearest(key, names)}; known: {', '.join(names)}")
        return replace(self, **{k: float(v) for k, v in changes.items()})

    def rate_at_constant_current(self, current: float) -> float:
        """Return the analytic firing rate in Hz at a constant current without synapses and noise.

        ``1 / (t_ref + tau ln((V_inf - V_reset) / (V_inf - V_th)))`` with ``V_inf = V_L + I / g_L``.

        Examples
        --------
        >>> [round(NeuronParameters().rate_at_constant_current(i), 2) for i in (0.55, 0.66, 1.0)]
        [36.96, 73.82, 154.73]
        """
        v_inf = self.leak_potential_mv + current / self.leak_conductance
        if v_inf <= self.threshold_mv:
            return 0.0
        tau = self.capacitance / self.leak_conductance
        interval = self.refractory_ms + tau * np.log((v_inf - self.reset_mv) / (v_inf - self.threshold_mv))
        return float(1000.0 / interval)


@dataclass(frozen=True)
class ParameterSet:
    """A named set of neuron parameters together with what else belongs to its working point.

    Attributes
    ----------
    name : str
    neuron : NeuronParameters
        Parameters of every population that ``populations`` does not name.
    populations : mapping population name -> {parameter: value}
        Differences of single populations, for example ``{"L4I": {"g_ampa": 0.0014}}``.
    canonical_shares : str or tuple
        Shares (local E, local I, long range) of the canonical circuit, see :mod:`twinbrain.circuit`.
    long_range_gain : tuple of two floats
        chi of laminar and of canonical voxels: factor on all arrivals from other voxels (Schmidt et al. 2018, PLoS
        Comput Biol 14:e1006359); kept as a multiple of 1/256.
    long_range_gain_inhibitory : float
        chi_I: a further factor for inhibitory targets.
    conductance_scaling : "none", "in_degree" or "population"
        Multiply all conductances by 100 / mean in-degree, or by 100 / in-degree of the population.
    reference : str

    Examples
    --------
    >>> parameter_set("nsr").neuron.g_gaba_a
    0.0098
    >>> parameter_set("mu066").of("L4I").g_ampa
    0.0014
    """

    name: str
    neuron: NeuronParameters = field(default_factory=NeuronParameters)
    populations: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: MappingProxyType({}))
    canonical_shares: str | tuple[float, float, float] = "nsr"
    long_range_gain: tuple[float, float] = (1.0, 1.0)
    long_range_gain_inhibitory: float = 1.0
    conductance_scaling: str = "none"
    reference: str = ""

    def __post_init__(self) -> None:
        if self.conductance_scaling not in ("none", "in_degree", "population"):
            raise InputError(
                f"conductance_scaling must be 'none', 'in_degree' or 'population', found '{self.conductance_scaling}'"
            )
        if min(*self.long_range_gain, self.long_range_gain_inhibitory) < 0:
            raise InputError(f"the long-range gain chi must not be negative, found {self.long_range_gain}")
        for changes in self.populations.values():
            self.neuron.changed(changes)

    def of(self, population: str) -> NeuronParameters:
        """Return the parameters of the population with this name."""
        return self.neuron.changed(self.populations.get(population, {}))

    def changed(self, populations: Mapping[str, Mapping[str, float]] | None = None, **neuron: float) -> ParameterSet:
        """Return a copy with neuron parameters replaced for all (keywords) or for named populations.

        A value for all replaces that parameter in the named populations as well.
        """
        merged: dict[str, dict[str, float]] = {
            k: {n: x for n, x in v.items() if n not in neuron} for k, v in self.populations.items()
        }
        for name, changes in (populations or {}).items():
            merged[name] = {**merged.get(name, {}), **changes}
        return replace(self, neuron=self.neuron.changed(neuron), populations=MappingProxyType(merged))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers and strings, for provenance."""
        return {
            "name": self.name,
            "neuron": {f.name: getattr(self.neuron, f.name) for f in fields(self.neuron)},
            "populations": {k: dict(v) for k, v in self.populations.items()},
            "canonical_shares": self.canonical_shares
            if isinstance(self.canonical_shares, str)
            else list(self.canonical_shares),
            "long_range_gain": list(self.long_range_gain),
            "long_range_gain_inhibitory": self.long_range_gain_inhibitory,
            "conductance_scaling": self.conductance_scaling,
            "reference": self.reference,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ParameterSet:
        """Return the set that :meth:`to_dict` described.

        Raises
        ------
        InputError
            If a key is unknown.

        Examples
        --------
        >>> ParameterSet.from_dict(parameter_set("asynchronous").to_dict()).long_range_gain
        (1.0, 1.0)
        """
        known = [f.name for f in fields(cls)]
        for key in data:
            if key not in known:
                raise InputError(f"'{key}' is not a part of a parameter set{nearest(key, known)}")
        plain = dict(data)
        if "neuron" in plain:
            plain["neuron"] = NeuronParameters().changed(plain["neuron"])
        if "populations" in plain:
            plain["populations"] = MappingProxyType({k: dict(v) for k, v in plain["populations"].items()})
        for key in ("canonical_shares", "long_range_gain"):
            if key in plain and not isinstance(plain[key], str):
                plain[key] = tuple(plain[key])
        return cls(**{"name": "unnamed", **plain})


_LU = "Lu et al. 2024 Natl Sci Rev 11:nwae080"
_MU066 = {
    "L2/3E": (0.0007, 0.00011, 0.001485, 0.000275),
    "L2/3I": (0.0013, 0.00022, 0.00297, 0.000605),
    "L4E": (0.0008, 0.000165, 0.00187, 0.000385),
    "L4I": (0.0014, 0.000275, 0.00319, 0.00066),
    "L5E": (0.0007, 0.00011, 0.00154, 0.00033),
    "L5I": (0.0015, 0.000275, 0.00187, 0.000715),
    "L6E": (0.0007, 0.000165, 0.001705, 0.00033),
    "L6I": (0.0017, 0.00033, 0.002805, 0.00077),
}


def _asynchronous(g_ampa: float, g_nmda: float, mean: float) -> NeuronParameters:
    return NeuronParameters(g_ampa=g_ampa, g_nmda=g_nmda, g_gaba_a=0.006, background_mean=mean)


def _sets() -> dict[str, ParameterSet]:
    open_release = NeuronParameters(g_ampa=0.002, g_gaba_a=0.01, v_gaba_b_mv=-100.0, tau_gaba_b_ms=50.0)
    mu066 = NeuronParameters(
        capacitance=1.0,
        leak_conductance=0.03,
        leak_potential_mv=-75.0,
        reset_mv=-65.0,
        refractory_ms=5.0,
        g_ampa=0.0016,
        g_nmda=0.000324,
        g_gaba_a=0.003672,
        g_gaba_b=0.000756,
        v_gaba_b_mv=-100.0,
        tau_gaba_a_ms=10.0,
        tau_gaba_b_ms=50.0,
        background_mean=0.66,
        background_std=0.12,
        background_tau_ms=10.0,
    )
    keys = tuple(f"g_{c}" for c in CHANNELS)
    ours = "this project's calibration on a 94-region brain: asynchronous, about 3-4 Hz, slow gain about 0.65-0.8"
    sets = [
        ParameterSet("nsr", NeuronParameters(), reference=_LU),
        ParameterSet("open", open_release, canonical_shares="open", reference="open release of " + _LU),
        ParameterSet(
            "mu066",
            mu066,
            populations=MappingProxyType({k: dict(zip(keys, v, strict=True)) for k, v in _MU066.items()}),
            reference="1-ms whole-brain model of the same group",
        ),
        ParameterSet(
            "asynchronous",
            _asynchronous(0.00074, 0.000148, 0.37),
            canonical_shares="long_range",
            conductance_scaling="in_degree",
            reference=ours,
        ),
        ParameterSet(
            "asynchronous_anatomical",
            _asynchronous(0.00096, 0.0000478, 0.3713),
            long_range_gain=(3.43, 3.43),
            conductance_scaling="in_degree",
            reference=ours,
        ),
        ParameterSet(
            "asynchronous_laminar",
            _asynchronous(0.000955, 0.00004775, 0.3834),
            long_range_gain=(2.54, 3.72),
            conductance_scaling="population",
            reference=ours,
        ),
    ]
    return {s.name: s for s in sets}


def parameter_set_names() -> tuple[str, ...]:
    """Return the names that :func:`parameter_set` knows."""
    return tuple(_sets())


def parameter_set(name: str) -> ParameterSet:
    """Return a named parameter set.

    ``nsr``: the resting-state model of Lu et al. 2024; ``open``: the regional model of its open release; ``mu066``:
    the 1-ms whole-brain model with four channels; ``asynchronous``: canonical circuit with 75 % long-range synapses,
    most excitation through NMDA, asynchronous at 3 Hz with a slow gain of 0.8; ``asynchronous_anatomical``: the same
    idea with anatomical shares and chi = 3.43; ``asynchronous_laminar``: the laminar column with chi = 2.54 (3.72 in
    canonical voxels) and conductances scaled by the in-degree of each population.

    Raises
    ------
    InputError
        If the name is unknown.

    Examples
    --------
    >>> parameter_set("asynchronous").neuron.background_mean
    0.37
    """
    sets = _sets()
    if name not in sets:
        raise InputError(f"parameter set '{name}' is not known{nearest(name, sets)}; known: {', '.join(sets)}")
    return sets[name]


def reference_step(
    state: dict[str, NDArray[Any]],
    p: Mapping[str, NDArray[Any] | float],
    arrivals: NDArray[Any],
    noise: NDArray[Any],
    dt_ms: float,
    substeps: int = 1,
    integrator: str = "euler",
) -> NDArray[np.bool_]:
    """Advance a population by one exchange interval in plain NumPy: the readable oracle of the fast kernel.

    Order of operations (one exchange interval of ``substeps`` steps of dt): the arrivals of the spikes of the last
    interval are added to J; then in every step the noise current is advanced exactly, V by forward Euler with the J
    of the end of the last step, spikes are found, and J decays exactly. A neuron that fires in any step of the
    interval fires once. As published, the step of the spike counts as the first of the refractory time: a neuron is
    held for t_ref / dt - 1 further steps, and the shortest interval between two spikes is t_ref.

    Parameters
    ----------
    state
        Arrays of n neurons, changed in place: ``v`` (mV), ``ou`` (noise current without its mean), ``held``
        (steps of refractoriness left, int) and ``j`` (4, n).
    p
        Field names of :class:`NeuronParameters` -> scalar or array of n, plus ``current`` (external current).
    arrivals
        (4, n): summed weights (0 ... 1 each) that arrived in each channel.
    noise
        (substeps, n) standard normal deviates.
    dt_ms
        Step in ms.
    integrator
        ``"euler"``, or ``"exponential"``: V relaxes to (g_L V_L + sum_u g_u J_u V_u + I) / G with the
        time constant C / G, G = g_L + sum_u g_u J_u, which is exact as long as J and I do not change within the step
        (Rotter & Diesmann 1999, Biol Cybern 81:381-402).

    Returns
    -------
    ndarray of bool (n,): which neurons fired.

    Examples
    --------
    >>> state = {"v": np.full(1, -50.1), "ou": np.zeros(1), "held": np.zeros(1, int), "j": np.zeros((4, 1))}
    >>> p = {f.name: getattr(NeuronParameters(), f.name) for f in fields(NeuronParameters)} | {"current": 0.6}
    >>> reference_step(state, p, np.zeros((4, 1)), np.zeros((1, 1)), 1.0).tolist(), state["v"].tolist()
    ([True], [-55.0])
    """
    v, ou, held, j = state["v"], state["ou"], state["held"], state["j"]
    fired = np.zeros(v.shape, bool)
    g = [p[f"g_{c}"] for c in CHANNELS]
    reversal = [p[f"v_{c}_mv"] for c in CHANNELS]
    decay = [np.exp(-dt_ms / np.asarray(p[f"tau_{c}_ms"])) for c in CHANNELS]
    e = np.exp(-dt_ms / np.asarray(p["background_tau_ms"]))
    refractory_steps = np.ceil(np.asarray(p["refractory_ms"]) / dt_ms - 1e-6).astype(int) - 1
    j += arrivals
    for step in range(substeps):
        ou[:] = ou * e + p["background_std"] * np.sqrt(1 - e * e) * noise[step]
        synaptic = sum(g[u] * j[u] * (reversal[u] - v) for u in range(4))
        current = synaptic + p["background_mean"] + ou + p["current"]
        moved = v + dt_ms / p["capacitance"] * (p["leak_conductance"] * (p["leak_potential_mv"] - v) + current)
        if integrator == "exponential":
            total = p["leak_conductance"] + sum(g[u] * j[u] for u in range(4))
            goal = v + (p["leak_conductance"] * (p["leak_potential_mv"] - v) + current) / total
            moved = goal + (v - goal) * np.exp(-dt_ms * total / p["capacitance"])
        free = held == 0
        spike = free & (moved >= p["threshold_mv"])
        v[:] = np.where(free & ~spike, moved, p["reset_mv"])
        held[:] = np.where(spike, refractory_steps, np.maximum(held - 1, 0))
        fired |= spike
        for u in range(4):
            j[u] *= decay[u]
    return fired
