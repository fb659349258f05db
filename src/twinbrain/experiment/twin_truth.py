"""A person of known truth for experiments: the recording is that of a network of known lesion, connectome and drive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from twinbrain.config import Study
from twinbrain.data.subject import Subject
from twinbrain.drive import Drive
from twinbrain.experiment.setup import setup_of
from twinbrain.observe import to_regions
from twinbrain.rewire_brain import rewire_brain
from twinbrain.rules import EdgeRule
from twinbrain.simulate import simulate

__all__ = ["simulated_person", "slow_drive"]


def slow_drive(
    inputs: Sequence[str],
    volumes: int,
    repetition_time_s: float,
    *,
    mean: float = 0.02,
    sd: float = 0.012,
    seed: int = 0,
) -> Drive:
    """Return independent slow currents, one per input: AR(1) with a time constant of 8 s, never below 0.

    Parameters
    ----------
    inputs
        Regions.
    volumes, repetition_time_s
        Rows, and their length in s.
    mean, sd
        Model units of current.
    seed
        Key of the random numbers.

    Examples
    --------
    >>> slow_drive(["a", "b"], 10, 0.8, seed=1).values.sizes["input"]
    2
    """
    random = np.random.Generator(np.random.Philox(key=np.array([seed, 81], np.uint64)))
    memory = float(np.exp(-repetition_time_s / 8.0))
    x = random.normal(size=(volumes, len(inputs)))
    for k in range(1, volumes):
        x[k] = memory * x[k - 1] + np.sqrt(1 - memory**2) * x[k]
    time = np.arange(1, volumes + 1) * repetition_time_s
    values = xr.DataArray(
        np.maximum(mean + sd * x, 0.0),
        dims=("time", "input"),
        coords={"time": time, "input": list(inputs)},
        attrs={"units": "model units of current"},
    )
    return Drive(values, repetition_time_s)


def simulated_person(
    study: Study,
    *,
    person: Subject | None = None,
    rules: Sequence[EdgeRule] = (),
    rewire: str = "none",
    share: float = 1.0,
    strongest: float = 0.2,
    drive: Drive | None = None,
    neurons: int = 0,
    volumes: int = 200,
    cache: Path,
    seed: int = 99,
) -> Subject:
    """Return a person with a recording that a network of known truth made; the connectome is told as it was.

    Parameters
    ----------
    study
        Whose person, working point and inputs are used.
    person
        Data of the person, instead of the study's subject.
    rules
        The planted lesion.
    rewire, share, strongest
        The planted rewiring, as in a :class:`~twinbrain.experiment.design.Condition`.
    drive
        The planted drive; default: :func:`slow_drive` of the study's inputs.
    neurons
        Of the network; 0: the study's twin.
    volumes
        Of the recording.
    cache
        As for experiments.
    seed
        Of wiring, noise and drive; not that of any twin.

    Examples
    --------
    >>> simulated_person.__kwdefaults__["volumes"]
    200
    """
    setup = setup_of(study, cache, person=person)
    made, tr = setup.ready.person, setup.ready.repetition_time_s
    planted = drive if drive is not None else slow_drive(setup.inputs, volumes, tr, seed=seed)
    network = setup.base(neurons, seed=seed)
    if rewire != "none":
        network = replace(network, brain=rewire_brain(network.brain, rewire, share, strongest=strongest, seed=seed))
    run = simulate(
        network.scaled(rules=tuple(rules)),
        drive=planted,
        warm_up_s=study.twin.warm_up * tr,
        seed=seed,
        dt_ms=study.execution.dt_ms,
        threads=study.execution.threads,
    )
    return Subject.from_arrays(
        made.connectome,
        made.regions,
        {"rest": to_regions(run.bold).values},
        repetition_time_s=tr,
        grey_matter=made.grey_matter,
        positions=made.positions,
        lengths=made.lengths,
        laminar=made.laminar,
        name=f"simulated {made.name}",
        provenance={"recording": f"simulated by twinbrain, seed {seed}, {len(rules)} rules, rewired: {rewire}"},
    )
