"""A Network: a Brain with circuits, a number of neurons, an in-degree and a seed. It holds no synapse."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from twinbrain.brain import Brain
from twinbrain.circuit import Circuit, canonical, laminar
from twinbrain.errors import InputError, nearest
from twinbrain.estimate import Estimate, Sizes, estimate_run
from twinbrain.kernels.random import derive_key, uniforms_numpy
from twinbrain.kernels.slots import Anatomy, Gains, SlotMap, build_map
from twinbrain.kernels.wiring import Wiring, write_lists
from twinbrain.neuron import ParameterSet, parameter_set
from twinbrain.parallel import check_threads
from twinbrain.rules import EdgeRule, as_rules, gains_of

__all__ = ["Network"]

_DEFAULT_SET = {"laminar": "asynchronous_laminar", "canonical": "asynchronous"}
_INTEGRATORS = ("euler", "exponential")
_STATE_DTYPES = ("float32", "float16")
_MAX_NEURONS = 2**31 - 4096  # ids are 32 bits wide on one machine


def default_parameters(circuit: str) -> str:
    """Return the name of the parameter set that a circuit gets when none is named.

    Examples
    --------
    >>> default_parameters("laminar")
    'asynchronous_laminar'
    """
    if circuit not in _DEFAULT_SET:
        raise InputError(f"circuit must be 'canonical' or 'laminar', found '{circuit}'{nearest(circuit, _DEFAULT_SET)}")
    return _DEFAULT_SET[circuit]


@dataclass(frozen=True, eq=False)
class Network:
    """A specification of a spiking network on a Brain; :func:`twinbrain.simulate` makes it run.

    Parameters
    ----------
    brain : Brain
    neurons : int
        All neurons; shared among voxels in proportion to grey matter by randomised rounding (total exact).
    in_degree : float
        Mean number of synapses per neuron; scaled by layer and by synaptic density.
    circuit : "canonical" or "laminar"
        ``laminar`` puts the eight-population column into neocortical voxels and the canonical pair into the others.
    parameters : str or ParameterSet
        Default: ``asynchronous`` for the canonical circuit, ``asynchronous_laminar`` for the laminar one.
    seed : int
        Of wiring, sizes and heterogeneity. A run's noise has its own seed.
    neurons_by : "grey_matter" or "equal"
        ``equal`` gives every voxel the same number.
    long_range_gain : float, optional
        chi for all voxels instead of the parameter set's; a multiple of 1/256 is used.
    conductance_scaling : str, optional
        ``"none"``, ``"in_degree"`` or ``"population"`` instead of the parameter set's.
    heterogeneity : mapping parameter -> shape
        Conductances that differ between neurons by a Gamma(shape, 1/shape) factor, for example ``{"g_ampa": 5.0}``.
    conduction_speed_m_s : float, optional
        Speed of axons between voxels (m/s = mm/ms): a spike arrives after tract length / speed, rounded to whole
        exchange steps, at least one. Where the Brain knows no tract length it is 1.5 times the straight line between
        the voxels' centres plus 6 mm. Default: every spike arrives after one step.
    integrator : "euler" or "exponential"
        How V is integrated over a step: forward Euler, as published, or exactly for the conductances and currents of
        the step, C dV/dt = I - G V (Rotter & Diesmann 1999, Biol Cybern 81:381).
    state_dtype : "float32" or "float16"
        How the state of a neuron is held. ``float16`` takes half the memory; arithmetic stays in 32 bits and rounding
        is stochastic. Its spikes are its own, and the same on every occasion.
    rules : sequence of EdgeRule
        Lesions and gains of chosen edges, applied after wiring: all other synapses stay the same. Plain data
        (mappings with the fields of an :class:`EdgeRule`) is accepted too.

    Raises
    ------
    InputError
        If a number is out of range or a name unknown.

    Examples
    --------
    >>> from twinbrain import Brain, Subject
    >>> person = Subject.from_arrays([[0, 1.0], [1.0, 0]], ["a", "b"])
    >>> network = Network(Brain.from_subject(person), neurons=1000, in_degree=50, seed=1)
    >>> network.populations[["region", "name", "size", "in_degree"]].values.tolist()
    [['a', 'E', 400, 50], ['a', 'I', 100, 50], ['b', 'E', 400, 50], ['b', 'I', 100, 50]]
    """

    brain: Brain
    neurons: int
    in_degree: float = 100
    circuit: str = "canonical"
    parameters: str | ParameterSet = ""
    seed: int = 0
    neurons_by: str = "grey_matter"
    long_range_gain: float | None = None
    conductance_scaling: str | None = None
    heterogeneity: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    conduction_speed_m_s: float | None = None
    integrator: str = "euler"
    state_dtype: str = "float32"
    rules: tuple[EdgeRule, ...] = ()

    def __post_init__(self) -> None:
        default_parameters(self.circuit)  # refuses an unknown circuit
        if isinstance(self.neurons, bool) or int(self.neurons) != self.neurons or self.neurons <= 0:
            raise InputError(f"neurons must be a whole number above 0, found {self.neurons}")
        if self.neurons < 2 * len(self.brain.voxels):
            raise InputError(
                f"neurons ({self.neurons}) must be at least 2 per voxel, and the Brain has {len(self.brain.voxels)} "
                "voxels: ask for more neurons or larger voxels"
            )
        if self.neurons > _MAX_NEURONS:
            raise InputError(f"neurons must be at most {_MAX_NEURONS:,} on one machine, found {self.neurons:,}")
        if not 1 <= self.in_degree <= 20000:
            raise InputError(f"in_degree must be between 1 and 20000 synapses per neuron, found {self.in_degree}")
        if self.neurons_by not in ("grey_matter", "equal"):
            raise InputError(f"neurons_by must be 'grey_matter' or 'equal', found '{self.neurons_by}'")
        for name, words in (("integrator", _INTEGRATORS), ("state_dtype", _STATE_DTYPES)):
            found = getattr(self, name)
            if found not in words:
                raise InputError(
                    f"{name} must be '{words[0]}' or '{words[1]}', found '{found}'{nearest(str(found), words)}"
                )
        if self.long_range_gain is not None and not 0 <= self.long_range_gain < 128:
            raise InputError(f"long_range_gain (chi) must be between 0 and 128, found {self.long_range_gain}")
        if self.conduction_speed_m_s is not None:
            if not 0.01 <= self.conduction_speed_m_s <= 1000:
                raise InputError(
                    f"conduction_speed_m_s must be between 0.01 and 1000 m/s, found {self.conduction_speed_m_s}"
                )
            if self.brain.positions is None and self.brain.lengths is None:
                raise InputError(
                    f"conduction_speed_m_s needs tract lengths or positions, and Brain '{self.brain.name}' has "
                    "neither: give the Subject lengths= or positions="
                )
        for name, shape in self.heterogeneity.items():
            if name not in ("g_ampa", "g_nmda", "g_gaba_a", "g_gaba_b"):
                raise InputError(
                    f"heterogeneity is for conductances g_ampa, g_nmda, g_gaba_a, g_gaba_b, found '{name}'"
                )
            if not shape > 0:
                raise InputError(f"the Gamma shape of {name} must be positive, found {shape}")
        chosen = self.parameters
        if chosen in ("", "default"):
            chosen = default_parameters(self.circuit)
        if isinstance(chosen, str):
            chosen = parameter_set(chosen)
        if self.conductance_scaling is not None:
            chosen = replace(chosen, conductance_scaling=self.conductance_scaling)
        if self.long_range_gain is not None:
            chosen = replace(chosen, long_range_gain=(self.long_range_gain, self.long_range_gain))
        object.__setattr__(self, "parameters", chosen)
        object.__setattr__(self, "neurons", int(self.neurons))
        known = [*laminar().populations, *canonical().populations]
        for name in chosen.populations:
            if name not in known:
                raise InputError(f"population '{name}' is not known{nearest(name, known)}; known: {', '.join(known)}")
        object.__setattr__(self, "rules", as_rules(self.rules))
        if self.rules:
            _ = self.gains  # refuses unknown names

    def __repr__(self) -> str:
        return (
            f"Network({self.neurons:,} neurons in {len(self.brain.voxels)} voxels of '{self.brain.name}', "
            f"in_degree={self.in_degree:g}, circuit='{self.circuit}', parameters='{self.set.name}', seed={self.seed})"
        )

    def _repr_html_(self) -> str:
        groups = self.populations.groupby("name", sort=False)
        table = groups.agg(neurons=("size", "sum"), in_degree=("in_degree", "mean"))
        return f"<p>{html.escape(repr(self))}</p>{table.to_html()}"

    @property
    def set(self) -> ParameterSet:
        """The parameter set in use."""
        assert isinstance(self.parameters, ParameterSet)
        return self.parameters

    @cached_property
    def circuits(self) -> tuple[Circuit, Circuit]:
        """The two circuits: of laminar voxels and of the others (the same if everything is canonical)."""
        assert isinstance(self.parameters, ParameterSet)
        plain = canonical(self.parameters.canonical_shares)
        return (laminar() if self.circuit == "laminar" else plain, plain)

    @cached_property
    def anatomy(self) -> Anatomy:
        """Populations and projection as plain arrays, which the wiring is built from."""
        brain, circuits = self.brain, self.circuits
        n_voxels = len(brain.voxels)
        kind = np.where(brain.laminar, 0, 1) if self.circuit == "laminar" else np.ones(n_voxels, np.int64)
        kind = kind.astype(np.int64)
        width = max(len(c.populations) for c in circuits)
        sources = np.zeros((2, width, width + 1))
        sign = np.zeros((2, width), np.int64)
        projecting, fraction, degree = np.zeros((2, width)), np.zeros((2, width)), np.zeros((2, width))
        for k, c in enumerate(circuits):
            n = len(c.populations)
            sources[k, :n, :n], sources[k, :n, -1] = c.sources[:, :n], c.sources[:, n]
            sign[k, :n], projecting[k, :n], fraction[k, :n], degree[k, :n] = (
                c.sign,
                c.projecting,
                c.fraction,
                c.degree_scale,
            )
        count = np.array([len(c.populations) for c in circuits])[kind]
        voxel_population = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        voxel = np.repeat(np.arange(n_voxels), count)
        local = np.arange(len(voxel)) - voxel_population[voxel]
        size = self._sizes(kind, fraction)[voxel, local]
        first = np.concatenate([[0], np.cumsum(size)[:-1]]).astype(np.int64)
        exact = self.in_degree * brain.in_degree_factor[voxel] * degree[kind[voxel], local]
        projection = brain.projection
        return Anatomy(
            size=size,
            first=first,
            in_degree=np.maximum(1, np.floor(exact + 1e-9)).astype(np.int64),
            local=local.astype(np.int64),
            voxel=voxel.astype(np.int64),
            voxel_population=voxel_population,
            kind=kind,
            sources=sources,
            sign=sign,
            projecting=projecting,
            partner_pointer=projection.indptr.astype(np.int64),
            partner=projection.indices.astype(np.int64),
            partner_share=projection.data.astype(np.float64),
        )

    def _sizes(self, kind: NDArray[np.int64], fraction: NDArray[np.float64]) -> NDArray[np.int64]:
        """Neurons of each population, shape (V, L): one systematic rounding of all shares with a keyed offset.

        So every population, and every voxel, is within 1 of its share, the mean over seeds is exact and the total too.
        """
        grey = self.brain.grey_matter if self.neurons_by == "grey_matter" else np.ones(len(kind))
        cumulative = np.cumsum((grey / np.sum(grey))[:, None] * fraction[kind])
        cumulative /= cumulative[-1]
        offset = uniforms_numpy(np.zeros(1, np.int64), 1, derive_key(self.seed, "rounding"))[0]
        whole = np.floor(self.neurons * cumulative + offset)
        return np.asarray(np.diff(whole, prepend=0.0).reshape(len(kind), -1), np.int64)

    @cached_property
    def populations(self) -> pd.DataFrame:
        """Table of the populations; index = population id.

        Columns: voxel (int), region (name), name, sign (+1 E, -1 I), size (neurons), in_degree (synapses per neuron),
        first (id of the first neuron).
        """
        a = self.anatomy
        kind = a.kind[a.voxel]
        names = [np.array(c.populations + ("",) * 8, dtype=object) for c in self.circuits]
        regions = np.array(self.brain.regions, dtype=object)[self.brain.region_index]
        return pd.DataFrame(
            {
                "voxel": a.voxel,
                "region": regions[a.voxel],
                "name": np.where(kind == 0, names[0][a.local], names[1][a.local]),
                "sign": a.sign[kind, a.local],
                "size": a.size,
                "in_degree": a.in_degree,
                "first": a.first,
            }
        ).rename_axis("population")

    @property
    def synapses(self) -> int:
        """Number of synapses before lesions (each counted once, whatever the number of channels it acts on)."""
        return int((self.anatomy.size * self.anatomy.in_degree).sum())

    @cached_property
    def _by_name(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        codes, names = pd.factorize(self.populations["name"])
        return codes.astype(np.int64), tuple(str(n) for n in names)

    def parameter(self, name: str) -> NDArray[np.float64]:
        """Return one neuron parameter for every population, (P,); conductances are scaled by in-degree if asked."""
        codes, names = self._by_name
        values = np.array([getattr(self.set.of(n), name) for n in names])[codes]
        if name.startswith("g_") and self.set.conductance_scaling != "none":
            values = values * 100.0 / self._reference_degree
        return np.asarray(values, np.float64)

    @cached_property
    def _reference_degree(self) -> NDArray[np.float64]:
        """In-degree that conductances are divided by: the mean, or the population's without synaptic density."""
        a = self.anatomy
        if self.set.conductance_scaling == "in_degree":
            return np.full(len(a.size), float(self.in_degree))
        table = [c.in_degree(self.in_degree).astype(np.float64) for c in self.circuits]
        width = max(len(t) for t in table)
        padded = np.stack([np.pad(t, (0, width - len(t)), constant_values=1.0) for t in table])
        return np.asarray(padded[a.kind[a.voxel], a.local], np.float64)

    @cached_property
    def chi(self) -> NDArray[np.float64]:
        """Long-range gain of every population (P,), a multiple of 1/256."""
        a = self.anatomy
        gain = np.where(self.brain.laminar & (a.kind == 0), *self.set.long_range_gain)[a.voxel]
        gain = gain * np.where(a.sign[a.kind[a.voxel], a.local] < 0, self.set.long_range_gain_inhibitory, 1.0)
        return np.asarray(np.round(gain * 256) / 256, np.float64)

    @property
    def live(self) -> tuple[bool, bool, bool, bool]:
        """Which of the four channels have a conductance above zero anywhere."""
        a, n, ga, gb = (bool(self.parameter(f"g_{c}").any()) for c in ("ampa", "nmda", "gaba_a", "gaba_b"))
        return a, n, ga, gb

    @property
    def two_weights(self) -> bool:
        """Whether synapses need a second weight: both channels of a sign are live."""
        live = self.live
        return (live[0] and live[1]) or (live[2] and live[3])

    @cached_property
    def gains(self) -> Gains | None:
        """The rules, population by population; None without rules."""
        if not self.rules:
            return None
        return gains_of(self.rules, self.populations, self.brain.regions, self.brain.voxels)

    @property
    def largest_gain(self) -> float:
        """What a weight is multiplied by at most, 1 or more."""
        return max(1.0, float(np.prod([max(rule.gain, 1.0) for rule in self.rules])))

    def slot_map(self, threads: int = 1) -> SlotMap:
        """Build the rule that every synapse follows: a few numbers per pair of populations."""
        workers = check_threads(threads)
        try:
            return build_map(self.anatomy, self.seed, self.two_weights, workers, self.gains)
        except ValueError as error:
            raise InputError(f"the network cannot be wired: {error}; give it more neurons") from None

    def wire(self, threads: int = 1) -> Wiring:
        """Write down the synapses of :meth:`slot_map`; the same for any number of threads."""
        return write_lists(self.slot_map(threads), check_threads(threads))

    def stored_bytes(self, parts: int = 1) -> int:
        """Bytes of the lists of stored wiring, for a run in this many parts."""
        weight = (2 if self.two_weights else 1) * (2 if self.largest_gain > 1 else 1)
        tiles = min(16 * parts, self.neurons // 131_072 + parts)  # a list is counted by tile, two bytes each
        return self.synapses * (4 + weight) + self.neurons * (8 + 2 * tiles)

    def scaled(self, **changes: Any) -> Network:
        """Return the same network with another number of ``neurons``, ``in_degree``, ``seed`` or other argument.

        Examples
        --------
        >>> from twinbrain import Brain, Subject
        >>> person = Subject.from_arrays([[0, 1.0], [1.0, 0]], ["a", "b"])
        >>> Network(Brain.from_subject(person), neurons=1000).scaled(neurons=5000).neurons
        5000
        """
        return replace(self, **changes)

    def estimate(
        self, duration_s: float = 60.0, *, members: int = 1, threads: int = 1, dt_ms: float = 1.0, rate_hz: float = 4.0
    ) -> Estimate:
        """Estimate memory and wall time at once, from the sizes and stated default speeds.

        :func:`twinbrain.trial.trial` measures on the machine at hand instead, which takes some seconds.

        Parameters
        ----------
        duration_s, members, threads, dt_ms
            Of the run, as for :func:`twinbrain.simulate`.
        rate_hz
            Mean firing rate to expect.
        """
        sizes = Sizes(
            neurons=self.neurons,
            synapses=self.synapses,
            voxels=len(self.brain.voxels),
            members=members,
            state_bytes=(2 if self.state_dtype == "float16" else 4) * (3 + sum(self.live)),
            synapse_bytes=6 if self.two_weights else 5,
        )
        return estimate_run(sizes, duration_s, threads=threads, dt_ms=dt_ms, rate_hz=rate_hz)

    @cached_property
    def _anatomy_hash(self) -> str:
        """Hash of sizes, in-degrees, circuits and projection: which network it is, beyond names."""
        digest = hashlib.sha256()
        for array in self.anatomy.arrays():
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return the specification as plain numbers and strings, for provenance."""
        return {
            "brain": self.brain.name,
            "level": self.brain.level,
            "voxels": len(self.brain.voxels),
            "anatomy_sha256": self._anatomy_hash,
            "neurons": self.neurons,
            "synapses": self.synapses,
            "in_degree": self.in_degree,
            "circuit": self.circuit,
            "parameters": self.set.to_dict(),
            "neurons_by": self.neurons_by,
            "heterogeneity": dict(self.heterogeneity),
            "conduction_speed_m_s": self.conduction_speed_m_s,
            "integrator": self.integrator,
            "state_dtype": self.state_dtype,
            "rules": [rule.to_dict() for rule in self.rules],
            "seed": self.seed,
        }
