"""One cell of an experiment: a person, a condition and a seed, simulated once and stored under a content key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xarray as xr

from twinbrain import store
from twinbrain.errors import InputError
from twinbrain.experiment.apply import drive_of, network_of
from twinbrain.experiment.content import content_key
from twinbrain.experiment.design import Condition, Design, design_to_dict
from twinbrain.experiment.setup import Setup
from twinbrain.observe import to_regions
from twinbrain.simulate import Record, Run, simulate

__all__ = ["Cell", "cell_key", "cells_of", "load_cell", "run_cell"]

_OF_NOISE = 2_000_003
_PLAIN = ("name", "control", "note")  # of a condition: changes no number


@dataclass(frozen=True)
class Cell:
    """A person, a condition and a seed.

    Examples
    --------
    >>> Cell("101309", "intact", 1)
    Cell(person='101309', condition='intact', seed=1)
    """

    person: str
    condition: str
    seed: int


def cells_of(design: Design) -> list[Cell]:
    """Return the cells in the order of tables: person by person, seed by seed, conditions in their order.

    Examples
    --------
    >>> design = Design(experiment="x", conditions=(Condition(name="a"), Condition(name="b")), seeds=(1, 2))
    >>> [(cell.condition, cell.seed) for cell in cells_of(design)]
    [('a', 1), ('b', 1), ('a', 2), ('b', 2)]
    """
    names = [c.name for c in design.conditions]
    return [Cell(p, name, seed) for p in design.people or ("",) for seed in design.seeds for name in names]


def cell_key(setup: Setup, design: Design, condition: Condition, seed: int) -> str:
    """Return the key of everything that defines the numbers of a cell; names and notes are no part of it.

    Examples
    --------
    >>> cell_key.__annotations__["return"]
    'str'
    """

    def plain(c: Condition) -> dict[str, Any]:
        one = design_to_dict(Design(experiment="", conditions=(c,)))["conditions"][0]
        return {key: value for key, value in one.items() if key not in _PLAIN and key != "like"}

    study = setup.study
    return content_key(
        "cell",
        setup.key,
        msgspec.to_builtins(study.assimilation),
        [study.twin.members, study.twin.warm_up, study.execution.dt_ms],
        plain(condition),
        plain(design.condition(condition.like)) if condition.like else None,
        sorted({s.target for c in design.conditions for s in c.stimuli}),
        [sorted(design.keep), design.resolution_s, seed],
    )


def run_cell(
    setup: Setup,
    design: Design,
    condition: Condition,
    seed: int,
    folder: Path,
    *,
    threads: int = 1,
    tell: Callable[[int, int], None] | None = None,
) -> None:
    """Simulate a cell and store it; nothing is done if it is stored already.

    All cells of a seed have the same wiring, the same noise and, where they share inputs, the same drive.

    Parameters
    ----------
    setup
        The person.
    design, condition, seed
        What to do.
    folder
        Where cells are kept.
    threads
        Of the engine; the result does not depend on it.
    tell
        Called as ``tell(volumes done, in all)``; may raise to stop.

    Raises
    ------
    InputError
        If the condition does not fit the person's brain.

    Examples
    --------
    >>> run_cell.__kwdefaults__["threads"]
    1
    """
    kept = store.Checkpoint(folder, cell_key(setup, design, condition, seed))
    if kept.load() is not None:
        return
    network = network_of(setup, design, condition, seed)
    drive, parts = drive_of(setup, design, condition)
    study = setup.study
    seconds = drive.values.sizes["time"] * drive.repetition_time_s
    run = simulate(
        network,
        drive=drive,
        duration_s=seconds,
        warm_up_s=study.twin.warm_up * drive.repetition_time_s * parts,
        seed=study.twin.seed + _OF_NOISE * (1 + seed) + 7_919 * condition.noise,
        members=condition.members or study.twin.members,
        dt_ms=study.execution.dt_ms,
        record=Record(totals="totals" in design.keep),
        threads=threads,
        progress=tell,
    )
    kept.save(_series(run, parts, design))


def _series(run: Run, parts: int, design: Design) -> dict[str, Any]:
    """BOLD and rates by region, (member, time, region), as they are stored."""
    bold, rate = to_regions(run.bold), run.firing_rate
    if "member" not in bold.dims:
        bold, rate = bold.expand_dims("member"), rate.expand_dims("member")
    regions = [str(name) for name in bold["region"].values]
    size = rate["pop_size"].values.astype(np.float64)
    member = np.array([[name == region for region in regions] for name in rate["pop_region"].values], np.float64)
    mixing = member * size[:, None] / np.maximum(member.T @ size, 1.0)
    rates = rate.transpose("member", "time", "population").values @ mixing
    whole = rates.reshape(rates.shape[0], -1, parts, rates.shape[2]).mean(axis=2)
    bold = bold.transpose("member", "time", "region").isel(time=slice(parts - 1, None, parts))
    made: dict[str, Any] = {
        "region": np.array(regions),
        "time": np.asarray(bold["time"].values, np.float64),
        "bold": bold.values.astype(np.float32),
        "rate_hz": whole.astype(np.float32),
        "neurons": int(run.provenance["network"]["neurons"]),
        "in_degree": float(run.provenance["network"]["in_degree"]),
    }
    if "totals" in design.keep and run.totals is not None:
        made["totals"] = run.totals.values.astype(np.int32)
    if "rate_bins" in design.keep:
        made["rate_bins"] = rates.astype(np.float32)
    return made


def load_cell(folder: Path, key: str) -> xr.Dataset:
    """Return a stored cell: bold (member, time, region), rate_hz, and what else the design keeps.

    Raises
    ------
    InputError
        If it is not there.

    Examples
    --------
    >>> load_cell(Path("no"), "such")
    Traceback (most recent call last):
    twinbrain.errors.InputError: no: the cell such is not there; go on with 'twinbrain resume'
    """
    found = store.Checkpoint(folder, key).load()
    if found is None:
        raise InputError(f"{folder}: the cell {key} is not there; go on with 'twinbrain resume'")
    dims = {
        "bold": ("member", "time", "region"),
        "rate_hz": ("member", "time", "region"),
        "totals": ("member", "step"),
        "rate_bins": ("member", "bin", "region"),
    }
    data = {name: (axes, found[name]) for name, axes in dims.items() if name in found}
    coords = {"region": [str(name) for name in found["region"]], "time": found["time"]}
    return xr.Dataset(data, coords, {"neurons": found["neurons"], "in_degree": found["in_degree"]})
