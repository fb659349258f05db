"""Read and check what a study is about, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xarray as xr

from twinbrain.brain import Brain
from twinbrain.config import Study, check_study
from twinbrain.data.bids_names import is_bids
from twinbrain.data.pain_sample import load_pain_sample
from twinbrain.data.preparation import Preparation
from twinbrain.data.read import read_subject
from twinbrain.data.sample import load_sample
from twinbrain.data.subject import Subject
from twinbrain.errors import InputError, nearest
from twinbrain.experiment.auditory import auditory_person
from twinbrain.network import Network, default_parameters
from twinbrain.neuron import parameter_set

__all__ = ["Prepared", "activity_warnings", "person_of", "prepare", "warnings_of"]

_EXCHANGE_S = 0.001


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a study is about, read and checked; nothing has been simulated.

    Attributes
    ----------
    person, brain
        Whose data, and the model's anatomy.
    network
        Network of the ensemble's members.
    twin
        The larger network that is run freely.
    laminar
        The network with laminar columns, or None.
    bold
        (time, region) the recorded run.
    stretch
        Which of its volumes are assimilated.
    calibrated
        Whether the working point will be measured and set first, so that the named set is only a start.
    """

    person: Subject
    brain: Brain
    network: Network
    twin: Network
    laminar: Network | None
    bold: xr.DataArray
    stretch: slice
    calibrated: bool = False

    @property
    def time_s(self) -> np.ndarray:
        """Times of the assimilated volumes in the recording, s."""
        return np.asarray(self.bold["time"].values[self.stretch], np.float64)

    @property
    def repetition_time_s(self) -> float:
        """Repetition time of the recorded run, s."""
        return float(self.bold.attrs["repetition_time_s"])


def prepare(study: Study, person: Subject | None = None) -> Prepared:
    """Read the person, build the Brain and specify the networks, so that mistakes show before anything runs.

    Parameters
    ----------
    study
        What is asked for.
    person
        Whose data; default: read as the study says.

    Raises
    ------
    InputError
        If the data, the run, an input region, the volumes or a network of the study cannot be used.

    Examples
    --------
    >>> prepare.__annotations__["study"]
    'Study'
    """
    study = check_study(study)
    person = person_of(study) if person is None else person
    bold, stretch = _recording(study, person)
    brain = Brain.from_subject(
        person,
        study.brain.level,
        study.brain.voxel_mm,
        partners=study.brain.partners,
        seed=study.network.seed,
    )
    for name in study.assimilation.inputs:
        if name not in brain.regions:
            raise InputError(
                f"assimilation.inputs: '{name}' is not one of the {len(brain.regions)} regions of "
                f"'{person.name}'{nearest(name, brain.regions)}"
            )
    named = study.network.parameters
    parameters = parameter_set(default_parameters(study.network.circuit) if named == "default" else named)
    if study.network.overrides:
        parameters = parameters.changed(study.network.overrides)
    own: dict[str, Any] = {}
    if study.network.long_range_gain:
        own["long_range_gain"] = tuple(study.network.long_range_gain)
    if study.network.canonical_shares:
        own["canonical_shares"] = tuple(study.network.canonical_shares)
    if study.network.conductance_scaling != "set":
        own["conductance_scaling"] = study.network.conductance_scaling
    parameters = replace(parameters, **own)
    how: dict[str, Any] = {
        "conduction_speed_m_s": study.network.conduction_speed_m_s or None,
        "integrator": study.network.integrator,
        "state_dtype": study.network.state_dtype,
        "rules": tuple(msgspec.to_builtins(rule) for rule in study.network.rules),
    }
    network = Network(
        brain,
        neurons=study.assimilation.neurons,
        in_degree=study.network.in_degree,
        circuit=study.network.circuit,
        parameters=parameters,
        seed=study.network.seed,
        **how,
    )
    laminar = None
    if study.laminar.enabled:
        laminar = Network(
            brain,
            neurons=study.laminar.neurons,
            in_degree=study.network.in_degree,
            circuit="laminar",
            parameters=study.laminar.parameters,
            seed=study.laminar.seed,
            **how,
        )
    twin = network.scaled(neurons=study.twin.neurons, seed=study.twin.seed)
    return Prepared(person, brain, network, twin, laminar, bold, stretch, study.calibration.enabled)


def person_of(study: Study) -> Subject:
    """Read the person of a study.

    Raises
    ------
    InputError
        If the data cannot be used.
    """
    subject = study.subject
    if subject.folder is not None:
        steps = Preparation(confounds=subject.confounds, scrub_mm=subject.scrub_mm or None)
        return read_subject(
            subject.folder,
            subject.participant,
            session=subject.session,
            space=subject.space,
            atlas=subject.atlas,
            labels=subject.labels,
            connectome=subject.connectome,
            weighting=subject.weighting,
            preparation=None if steps == Preparation() else steps,
            level="voxel" if study.brain.level == "voxel" and is_bids(Path(subject.folder)) else None,
        )
    return _sample(str(study.subject.sample))


def _sample(name: str) -> Subject:
    """Load a sample person, one of the heat-pain people, or the synthetic one who hears sounds."""
    if name == "auditory":
        return auditory_person().subject
    return load_pain_sample(name.removeprefix("pain-")) if name.startswith("pain-") else load_sample(name)


def _recording(study: Study, person: Subject) -> tuple[xr.DataArray, slice]:
    """Find the recorded run and the stretch of it that is assimilated."""
    run, fit = study.subject.run, study.assimilation
    if run not in person.bold:
        known = ", ".join(person.bold) or "no run at all"
        raise InputError(f"subject.run: '{person.name}' has no run '{run}'{nearest(run, person.bold)}; it has {known}")
    bold = person.bold[run].transpose("time", "region")
    seconds = float(bold.attrs["repetition_time_s"])
    if seconds < _EXCHANGE_S:
        raise InputError(
            f"the repetition time of '{person.name}' is {seconds} s, expected at least one step of {_EXCHANGE_S} s; "
            "it is given in seconds"
        )
    stop = fit.first_volume + fit.volumes
    if stop > bold.sizes["time"]:
        raise InputError(
            f"assimilation.volumes: volumes {fit.first_volume} to {stop - 1} are asked for, but run '{run}' of "
            f"'{person.name}' has {bold.sizes['time']}; lower volumes or first_volume"
        )
    return bold, slice(fit.first_volume, stop)


def warnings_of(ready: Prepared) -> list[str]:
    """Return what a reader of the results should know before trusting them.

    Examples
    --------
    >>> warnings_of.__annotations__["return"]
    'list[str]'
    """
    said = [
        *_network_warnings("assimilation", ready.network, ready.calibrated),
        *_network_warnings("twin", ready.twin, ready.calibrated),
    ]
    if ready.laminar is not None:
        said += _network_warnings("laminar", ready.laminar)
    steps = ready.repetition_time_s / _EXCHANGE_S
    if abs(steps - round(steps)) > 1e-6:
        said.append(
            f"The repetition time of {ready.repetition_time_s:g} s is no whole number of 1-ms steps: BOLD is sampled "
            "at the nearest step, at most half a step off."
        )
    return said


def _network_warnings(section: str, network: Network, calibrated: bool = False) -> list[str]:
    """Say where a network leaves the ground on which the named working points were calibrated."""
    said = []
    voxels, name = len(network.brain.voxels), network.set.name
    smallest = network.neurons / voxels
    if smallest < network.in_degree:
        said.append(
            f"{section}: {smallest:.0f} neurons per voxel on average are fewer than the {network.in_degree:g} synapses "
            "of a neuron, so that many pairs share several synapses; take more neurons or larger voxels."
        )
    if name.startswith("asynchronous") and not calibrated:
        if network.in_degree < 50:
            said.append(
                f"{section}: '{name}' was calibrated at in-degree 100; at {network.in_degree:g} the fewer, stronger "
                "synapses make more noise and the rate may run away. Look at the mean rate first."
            )
        if voxels < 30:
            said.append(
                f"{section}: '{name}' was calibrated on a brain of 94 regions; with {voxels} it may settle elsewhere. "
                "Look at the mean rate first."
            )
        if (network.circuit == "laminar") != (name == "asynchronous_laminar"):
            said.append(
                f"{section}: '{name}' is not the working point of the {network.circuit} circuit, which is "
                f"'{default_parameters(network.circuit)}'; expect saturation or silence."
            )
    return said


def activity_warnings(label: str, rate_hz: float, fano: float) -> list[str]:
    """Say when a run is not the low-rate asynchronous state that the method needs.

    Examples
    --------
    >>> activity_warnings("twin", 3.5, 3.7)
    []
    >>> activity_warnings("twin", 255.0, 0.01)
    ['twin: mean rate 255 Hz is outside 1-12 Hz (saturated): its BOLD follows nothing.']
    """
    if rate_hz > 60 and fano < 0.2:
        return [f"{label}: mean rate {rate_hz:.0f} Hz is outside 1-12 Hz (saturated): its BOLD follows nothing."]
    said = []
    if not 1 <= rate_hz <= 12:
        said.append(f"{label}: mean rate {rate_hz:.3g} Hz is outside 1-12 Hz: not the working point it is named after.")
    if not fano < 10:
        said.append(f"{label}: Fano factor {fano:.3g} in 4-ms bins: the network fires in synchrony.")
    return said
