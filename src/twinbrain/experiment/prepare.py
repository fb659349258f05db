"""Read and check what a study is about, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from twinbrain.brain import Brain
from twinbrain.config import Study, check_study
from twinbrain.data.read import read_subject
from twinbrain.data.sample import load_sample
from twinbrain.data.subject import Subject
from twinbrain.errors import InputError, nearest
from twinbrain.network import Network
from twinbrain.neuron import parameter_set

__all__ = ["Prepared", "prepare", "warnings_of"]

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
    """

    person: Subject
    brain: Brain
    network: Network
    twin: Network
    laminar: Network | None
    bold: xr.DataArray
    stretch: slice

    @property
    def time_s(self) -> np.ndarray:
        """Times of the assimilated volumes in the recording, s."""
        return np.asarray(self.bold["time"].values[self.stretch], np.float64)

    @property
    def repetition_time_s(self) -> float:
        """Repetition time of the recorded run, s."""
        return float(self.bold.attrs["repetition_time_s"])


def prepare(study: Study) -> Prepared:
    """Read the person, build the Brain and specify the networks, so that mistakes show before anything runs.

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
    person = _person(study)
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
    parameters = parameter_set(study.network.parameters)
    if study.network.overrides:
        parameters = parameters.changed(study.network.overrides)
    network = Network(
        brain,
        neurons=study.assimilation.neurons,
        in_degree=study.network.in_degree,
        circuit=study.network.circuit,
        parameters=parameters,
        seed=study.network.seed,
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
        )
    twin = network.scaled(neurons=study.twin.neurons, seed=study.twin.seed)
    return Prepared(person, brain, network, twin, laminar, bold, stretch)


def _person(study: Study) -> Subject:
    if study.subject.folder is not None:
        return read_subject(study.subject.folder)
    return load_sample(str(study.subject.sample))


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
    >>> from types import SimpleNamespace
    >>> [len(warnings_of(SimpleNamespace(repetition_time_s=s))) for s in (0.72, 1.3675)]
    [0, 1]
    """
    said = []
    steps = ready.repetition_time_s / _EXCHANGE_S
    if abs(steps - round(steps)) > 1e-6:
        said.append(
            f"The repetition time of {ready.repetition_time_s:g} s is no whole number of 1-ms steps: BOLD is sampled "
            "at the nearest step, at most half a step off."
        )
    return said
