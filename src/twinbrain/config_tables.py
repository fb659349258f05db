"""The tables of a study: every key with its type, default, unit, limits and meaning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

__all__ = [
    "AssimilationSection",
    "BrainSection",
    "CalibrationSection",
    "ExecutionSection",
    "LaminarSection",
    "NetworkSection",
    "RecordingSection",
    "RuleSection",
    "SubjectSection",
    "TwinSection",
]

_MANY = 10**12  # no machine holds more of anything counted here; refused before memory is asked for


def _about(meaning: str, unit: str = "1", **limits: Any) -> Meta:
    """What the documentation says of a key, and the values it may take."""
    return Meta(description=meaning, extra={"unit": unit}, **limits)


_Seed = Annotated[int, _about("Key of every random number drawn in this part.", ge=0, le=2**63 - 1)]
_Neurons = Annotated[int, _about("Neurons of the network.", "neurons", ge=1, le=_MANY)]
_Name = Annotated[str, _about("Named parameter set of neurons and synapses.", "name", min_length=1)]


class SubjectSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose brain: a sample person by id, or a folder (plain or BIDS) or file of one's own (exactly one of the two).

    Examples
    --------
    >>> SubjectSection().sample
    '101309'
    """

    sample: Annotated[
        str | None, _about("Id of a sample person (`twinbrain sample`); `auditory`; `pain-01` to `pain-33`.", "name")
    ] = "101309"
    folder: Annotated[str | None, _about("The person's files, relative to the study file.", "path")] = None
    run: Annotated[str, _about("Which recorded BOLD run is assimilated.", "name", min_length=1)] = "rest"
    participant: Annotated[str | None, _about("BIDS: whom, where there are several.", "label")] = None
    session: Annotated[str | None, _about("BIDS: which session, where there are several.", "label")] = None
    space: Annotated[str | None, _about("BIDS: space of the images, where there are several.", "name")] = None
    atlas: Annotated[str | None, _about("BIDS: label image, by path or by name.", "path or name")] = None
    labels: Annotated[str | None, _about("Table of the labels' names.", "path")] = None
    connectome: Annotated[str | None, _about("Connectome, where the folder has none.", "path")] = None
    weighting: Annotated[str | None, _about("Which of several connectomes.", "name")] = None
    confounds: Annotated[str, _about("BIDS: confounds regressed out, a named strategy or 'none'.", "name")] = "none"
    scrub_mm: Annotated[float, _about("BIDS: volumes that moved more are missing; 0 = none is.", "mm", ge=0)] = 0.0


class BrainSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The anatomy the model uses.

    Examples
    --------
    >>> BrainSection().level
    'region'
    """

    level: Annotated[Literal["region", "voxel"], _about("One voxel per region, or a grid.", "name")] = "region"
    voxel_mm: Annotated[float, _about("Edge of a voxel (level `voxel` only).", "mm", ge=1, le=20)] = 4.0
    partners: Annotated[int, _about("Source voxels per target (level `voxel` only).", ge=1, le=_MANY)] = 100


class RuleSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One edge rule: multiply the weights of the synapses it selects, after wiring; names left out select all.

    Examples
    --------
    >>> RuleSection(source=("Insula_L",)).gain
    0.0
    """

    source: Annotated[tuple[str, ...], _about("Regions or voxels that the synapses leave.", "names")] = ()
    target: Annotated[tuple[str, ...], _about("Regions or voxels that the synapses reach.", "names")] = ()
    source_populations: Annotated[
        tuple[str, ...], _about("Populations, layers or signs that they leave: E, L5E, L5, inhibitory.", "names")
    ] = ()
    target_populations: Annotated[tuple[str, ...], _about("Populations that they reach.", "names")] = ()
    reach: Annotated[
        Literal["all", "local", "long_range"], _about("Synapses inside a voxel, between voxels, or both.", "name")
    ] = "all"
    gain: Annotated[float, _about("Factor of their weights; 0 removes them.", ge=0, le=255)] = 0.0


class NetworkSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Circuits, working point and wiring.

    Examples
    --------
    >>> NetworkSection(overrides={"E": {"g_ampa": 0.0008}}).overrides["E"]
    {'g_ampa': 0.0008}
    """

    circuit: Annotated[
        Literal["canonical", "laminar"],
        _about("Canonical E/I everywhere, or the laminar column in six-layered cortex.", "name"),
    ] = "canonical"
    parameters: Annotated[
        str,
        _about("Name of a parameter set; 'default': asynchronous, or asynchronous_laminar for laminar.", "name"),
    ] = "default"
    in_degree: Annotated[int, _about("Synapses onto one neuron.", "synapses", ge=1, le=20_000)] = 100
    seed: _Seed = 1
    overrides: Annotated[
        dict[str, dict[str, float]],
        _about("Per population: parameter = value, replacing the named set.", "as the parameter"),
    ] = {}
    long_range_gain: Annotated[
        tuple[float, ...],
        _about("chi of laminar and of canonical voxels; empty: the set's.", "two numbers"),
    ] = ()
    canonical_shares: Annotated[
        tuple[float, ...],
        _about("Synapses from local E, local I and other voxels; empty: the set's.", "three numbers"),
    ] = ()
    conductance_scaling: Annotated[
        Literal["set", "none", "in_degree", "population"],
        _about("How conductances follow the in-degree; 'set': as the set says.", "name"),
    ] = "set"
    conduction_speed_m_s: Annotated[
        float,
        _about("Of axons between voxels, by tract length or distance; 0: every spike takes one step.", "m/s", ge=0),
    ] = 0.0
    integrator: Annotated[
        Literal["euler", "exponential"],
        _about("Forward Euler, as published, or exact for the conductances of the step.", "name"),
    ] = "euler"
    state_dtype: Annotated[
        Literal["float32", "float16"],
        _about("How the state of a neuron is held; float16 takes half the memory.", "name"),
    ] = "float32"
    rules: Annotated[tuple[RuleSection, ...], _about("Lesions and gains of chosen edges.", "tables")] = ()


class CalibrationSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The working point: rate, loop gain and stability are measured and set before anything is fitted.

    Examples
    --------
    >>> CalibrationSection().rate_hz
    4.0
    """

    enabled: Annotated[bool, _about("Whether it is done; else the named set is used as it is.", "true or false")] = True
    rate_hz: Annotated[float, _about("Spontaneous rate.", "Hz", ge=0.2, le=20)] = 4.0
    loop_gain: Annotated[
        float, _about("Gain of the loop through the connectome; 0: 0.8, laminar circuit 0.65.", ge=0, le=0.99)
    ] = 0.0
    nmda_share: Annotated[
        float, _about("Share of the excitatory charge in NMDA; -1: the set's, at least 0.5.", ge=-1, le=1)
    ] = -1.0
    neurons_per_region: Annotated[int, _about("Of the small network it is done on.", "neurons", ge=20, le=_MANY)] = 100
    margin: Annotated[bool, _about("Whether to look for the gain at which it breaks.", "true or false")] = True
    seed: _Seed = 1


class AssimilationSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the drive is estimated, and from which BOLD.

    Examples
    --------
    >>> AssimilationSection().method
    'esmda'
    """

    inputs: Annotated[
        tuple[str, ...], _about("Regions that receive the estimated drive.", "region names", min_length=1)
    ] = ("Thalamus_L", "Thalamus_R")
    method: Annotated[
        Literal["esmda", "inverse", "vw-dhmda"],
        _about(
            "Inversion through BOLD and rates, with its spread (esmda) or without; or the published filter.", "name"
        ),
    ] = "esmda"
    members: Annotated[int, _about("Networks in the ensemble (not of the inverse).", ge=3, le=100_000)] = 30
    neurons: _Neurons = 15_040
    first_volume: Annotated[int, _about("First recorded volume used.", "volumes", ge=0, le=_MANY)] = 0
    volumes: Annotated[int, _about("Recorded volumes assimilated.", "volumes", ge=20, le=_MANY)] = 200
    band_hz: Annotated[tuple[float, float], _about("Pass band of the target.", "Hz")] = (0.01, 0.1)
    target_mean: Annotated[
        float, _about("Target BOLD at z = 0, as signal change; 0: by method and number of inputs.", ge=0, le=1)
    ] = 0.0
    target_scale: Annotated[
        float, _about("Target BOLD per unit of z, as signal change; 0: by method and number of inputs.", ge=0, le=1)
    ] = 0.0
    bounds: Annotated[
        tuple[float, ...],
        _about("Smallest and largest drive; empty: 0 and 0.12 for vw-dhmda, else -0.08 and 0.3.", "model current"),
    ] = ()
    corrections: Annotated[int, _about("Of the inverse: free runs that correct the drive.", ge=0, le=2)] = 1
    repeats: Annotated[int, _about("Of the inverse: networks of other wiring that are averaged.", ge=1, le=1000)] = 4
    random_walk_variance: Annotated[
        float, _about("Variance per TR of the transformed drive's random walk.", gt=0, le=1e6)
    ] = 1.21
    observation_variance: Annotated[float, _about("Variance of BOLD's observation error.", gt=0, le=1e6)] = 1e-8
    local_gain: Annotated[float, _about("Share of a region's own gain; the rest is the mean's.", ge=0, le=1)] = 0.5
    lag: Annotated[int, _about("How far back an observation corrects the drive.", "TR", ge=0, le=1000)] = 12
    warm_up: Annotated[int, _about("Simulated before the first observation.", "TR", ge=0, le=10_000)] = 6
    seed: _Seed = 1


class TwinSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The free run of a larger network under the estimated drive.

    Examples
    --------
    >>> TwinSection().neurons
    94000
    """

    neurons: _Neurons = 94_000
    members: Annotated[
        int,
        _about("Free runs that differ in noise: the first is scored, their spread is shown.", "1", ge=1, le=1000),
    ] = 2
    seed: _Seed = 2
    warm_up: Annotated[int, _about("Simulated at the first drive value, unscored.", "TR", ge=0, le=10_000)] = 10
    raster_s: Annotated[float, _about("Length of the spikes kept for the raster.", "s", ge=0, le=600)] = 2.0


class RecordingSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of the free run besides BOLD, mean rates and the raster; it changes no spike.

    Examples
    --------
    >>> RecordingSection(rate_bin_ms=10.0).spikes
    'raster'
    """

    spikes: Annotated[
        Literal["raster", "all"],
        _about("Spikes of some neurons for the raster, or also all spikes of the run, in the folder spikes/.", "name"),
    ] = "raster"
    rate_bin_ms: Annotated[float, _about("Rates of all populations in bins of this width; 0: none.", "ms", ge=0)] = 0.0
    voxel_means_every_ms: Annotated[
        float, _about("Mean potential and currents of every voxel at this interval; 0: none.", "ms", ge=0)
    ] = 0.0
    traced_neurons: Annotated[
        int, _about("Neurons, evenly chosen, whose potential and currents are kept.", "neurons", ge=0, le=10_000)
    ] = 0


class LaminarSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run of the laminar circuit at its own working point, shown beside the twin as rates per layer.

    Examples
    --------
    >>> LaminarSection(enabled=False).enabled
    False
    """

    enabled: Annotated[bool, _about("Whether this run is made.", "true or false")] = True
    neurons: _Neurons = 94_000
    duration_s: Annotated[float, _about("Simulated time.", "s", gt=0, le=1e6)] = 6.0
    parameters: _Name = "asynchronous_laminar"
    seed: _Seed = 3


class ExecutionSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the work is done. Threads, wiring and checkpoints change no result; the time step does.

    Examples
    --------
    >>> ExecutionSection(threads=2).threads
    2
    """

    threads: Annotated[int, _about("Threads of the engine; 0 = all cores.", ge=0, le=4096)] = 0
    dt_ms: Annotated[float, _about("Time step; a whole number of steps makes 1 ms.", "ms", ge=0.01, le=1)] = 1.0
    wiring: Annotated[
        Literal["auto", "stored", "procedural"],
        _about("Synapses of the free runs kept as lists or made anew for every spike; auto: by memory.", "name"),
    ] = "auto"
    checkpoint_every_s: Annotated[float, _about("Wall time between two checkpoints.", "s", ge=0, le=1e6)] = 300.0
