"""What all conditions of a person share: the calibrated network and the fitted drive, kept by content.

Nothing is calibrated or fitted twice: each piece is stored in the cache under a key of everything that defines it
(data, study, code), and always used as it was stored, so that a first and a later run see the same bits.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xarray as xr

from twinbrain import store
from twinbrain.assimilate.calibrate import recentre
from twinbrain.assimilate.working_point import WorkingPoint
from twinbrain.config import Study
from twinbrain.data.subject import Subject
from twinbrain.drive import Drive
from twinbrain.errors import InputError, nearest
from twinbrain.experiment.content import code_key, content_key
from twinbrain.experiment.groups import fit_group
from twinbrain.experiment.prepare import Prepared, prepare
from twinbrain.experiment.stages import calibrated, fitted
from twinbrain.network import Network
from twinbrain.neuron import ParameterSet

__all__ = ["Setup", "setup_of", "study_of"]

_LOG = logging.getLogger(__name__)
_OF_TWIN = 1_000_003  # seeds far from those of the fit: fresh wiring
_RECENTRED = 100_000  # neurons; the offset of a larger network is that of this size, the rest is below 0.1 Hz

_Tell = Callable[[int, int], None]


@dataclass(eq=False)
class Setup:
    """One person, ready for experiments.

    Attributes
    ----------
    study
        With this person as its subject.
    ready
        Person, brain and networks, read and checked.
    cache
        Folder where working points, fits and offsets are kept.
    point
        The working point of the network of the fit; None if the study asks for no calibration.

    Examples
    --------
    >>> Setup.__dataclass_params__.eq
    False
    """

    study: Study
    ready: Prepared
    cache: Path
    point: WorkingPoint | None
    key: str
    _fits: dict[tuple[str, ...], tuple[Drive, xr.Dataset]] = field(default_factory=dict)
    _bases: dict[tuple[int, int, int], Network] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the person."""
        return self.ready.person.name

    @property
    def network(self) -> Network:
        """Network of the fit, at its working point."""
        return self.ready.network if self.point is None else self.point.network

    @property
    def inputs(self) -> tuple[str, ...]:
        """Input regions of the study."""
        return self.study.assimilation.inputs

    @cached_property
    def recorded(self) -> xr.DataArray:
        """(time, region) recorded BOLD, the whole run."""
        return self.ready.bold

    def fit(self, inputs: tuple[str, ...] = (), tell: _Tell | None = None) -> Drive:
        """Return the drive fitted to the study's volumes, for the study's inputs or for others.

        Raises
        ------
        InputError
            If an input is no region of this brain.
        """
        return self._fitted(inputs or self.inputs, tell)[0]

    def fit_results(self, inputs: tuple[str, ...] = ()) -> xr.Dataset:
        """Return all series of that fit (drive, spread, target, ...)."""
        return self._fitted(inputs or self.inputs, None)[1]

    def _fitted(self, inputs: tuple[str, ...], tell: _Tell | None) -> tuple[Drive, xr.Dataset]:
        if inputs not in self._fits:
            regions = self.ready.brain.regions
            for name in inputs:
                if name not in regions and name not in self.ready.brain.voxels:
                    raise InputError(f"inputs: '{name}' is no region of '{self.name}'{nearest(name, regions)}")
            section = msgspec.structs.replace(self.study.assimilation, inputs=inputs)
            study = msgspec.structs.replace(self.study, assimilation=section)

            def make() -> xr.Dataset:
                _LOG.info("%s: fitting the drive of %d inputs", self.name, len(inputs))
                found = fitted(study, self.network, self.ready.bold, self.point, tell)
                return fit_group(found, self.ready.time_s)

            key = content_key("fit", self.key, msgspec.to_builtins(section))
            stored = _kept(self.cache / "fits" / key, "fit", make)
            drive = Drive(
                stored["drive"].transpose("time", "input"),
                float(stored.attrs["repetition_time_s"]),
                float(stored.attrs["shape"]),
            )
            self._fits[inputs] = (drive, stored)
        return self._fits[inputs]

    def base(self, neurons: int = 0, in_degree: int = 0, seed: int = 1) -> Network:
        """Return the intact network of a size, in-degree and seed, at its working point.

        Its wiring is not that of the fit. Size and wiring shift the spontaneous rate; that offset is removed once,
        here, so that whatever a condition does to the network afterwards is not compensated.

        Parameters
        ----------
        neurons, in_degree
            0: the study's.
        seed
            Of the design.
        """
        wanted = (neurons or self.study.twin.neurons, in_degree or self.study.network.in_degree, seed)
        if wanted not in self._bases:
            network = self.network.scaled(
                neurons=wanted[0], in_degree=wanted[1], seed=self.study.twin.seed + _OF_TWIN * (1 + seed)
            )
            file = self.cache / "bases" / f"{content_key('base', self.key, wanted)}.json"
            if self.point is None:
                self._bases[wanted] = network
                return network
            if not file.exists():
                execution = self.study.execution
                small = network.scaled(neurons=min(network.neurons, _RECENTRED))
                seeds: dict[str, Any] = {"seed": self.study.calibration.seed, "threads": execution.threads}
                try:
                    moved = recentre(self.point, small, dt_ms=execution.dt_ms, **seeds)
                except InputError as error:  # such as few strong synapses: run it as it is, and say so
                    _LOG.warning("%s neurons, in-degree %d, seed %d: %s; run as it is", *wanted, error)
                    moved = replace(self.point, network=replace(small, parameters=self.point.network.set))
                store.write_json_atomic(file, {"offset_hz": moved.offset_hz, "parameters": moved.network.set.to_dict()})
            found = ParameterSet.from_dict(store.read_json(file)["parameters"])
            self._bases[wanted] = replace(network, parameters=found)
        return self._bases[wanted]


def study_of(study: Study, person: str) -> Study:
    """Return the study of one of several people: a sample person, or a participant of the study's BIDS folder.

    Examples
    --------
    >>> study_of(Study(), "100307").subject.sample
    '100307'
    """
    if not person:
        return study
    key = "sample" if study.subject.folder is None else "participant"
    return msgspec.structs.replace(study, subject=msgspec.structs.replace(study.subject, **{key: person}))


def setup_of(study: Study, cache: Path, *, person: Subject | None = None, tell: _Tell | None = None) -> Setup:
    """Read a person and find the working point, or take it from the cache.

    Parameters
    ----------
    study
        Whose subject is the person.
    cache
        Folder of stored pieces.
    person
        Data of the person, instead of the study's subject.
    tell
        Called as ``tell(done, in all)`` while calibrating.

    Raises
    ------
    InputError
        If the data or the network cannot be used.

    Examples
    --------
    >>> setup_of(Study(), Path("cache"))                            # doctest: +SKIP
    """
    ready = prepare(study, person)
    plain = {
        "code": code_key(),
        "data": _data_key(ready),
        "network": ready.network.describe(),
        "calibration": msgspec.to_builtins(study.calibration),
        "inputs": list(study.assimilation.inputs),
        "dt_ms": study.execution.dt_ms,
    }
    key = content_key("point", plain)

    def make() -> xr.Dataset:
        _LOG.info("%s: looking for the working point", ready.person.name)
        return calibrated(study, ready.network, tell).to_dataset()

    point = None
    if study.calibration.enabled:
        stored = _kept(cache / "points" / key, "working_point", make)
        point = WorkingPoint.from_dataset(stored, ready.network)
    twin = content_key(key, study.twin.neurons, study.twin.seed, study.network.in_degree)
    return Setup(study, ready, cache, point, twin)


def _data_key(ready: Prepared) -> str:
    """Stands for what was recorded and where."""
    import hashlib

    bold = ready.bold
    digest = hashlib.sha256(np.ascontiguousarray(bold.values, np.float64).tobytes())
    digest.update(json.dumps([str(x) for x in bold["region"].values]).encode())
    digest.update(np.ascontiguousarray(bold["time"].values, np.float64).tobytes())
    return digest.hexdigest()


def _kept(folder: Path, name: str, make: Callable[[], xr.Dataset]) -> xr.Dataset:
    """Return what is stored in a folder of the cache; make and store it first where it is not."""
    if store.read_status(folder) != "complete":
        made: dict[str, Any] = {name: make()}
        store.save(folder, provenance=store.provenance(), **made)
    return store.load(folder).groups[name].load()
