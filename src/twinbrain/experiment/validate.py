"""Validation: the whole table of evidence over people, input sets and methods, made by one command and resumable.

A cell is one person, one set of inputs, one method, one circuit and one connectivity: it is calibrated, fitted, run
freely at every size asked for with fresh wiring and noise, scored beside its baselines, and stored whole. A cell that
is stored is not repeated. The summary is made anew from all cells of the folder; it shows the people on whom settings
were chosen apart from those on whom they were confirmed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from twinbrain import store
from twinbrain.assimilate.calibrate import calibrate, recentre
from twinbrain.assimilate.effective import effective_connectivity, explained_variance
from twinbrain.assimilate.fit import METHODS, Fit, assimilate
from twinbrain.assimilate.linear import region_projection
from twinbrain.assimilate.private import private_variability
from twinbrain.assimilate.working_point import WorkingPoint
from twinbrain.brain import Brain
from twinbrain.data.sample import load_sample, sample_ids
from twinbrain.data.subject import Subject
from twinbrain.drive import Drive
from twinbrain.errors import InputError, nearest
from twinbrain.experiment.evidence import Evidence, evidence, null_drives
from twinbrain.experiment.summary import CHOSEN, summarise
from twinbrain.network import Network
from twinbrain.simulate import Run, simulate

__all__ = ["INPUT_SETS", "Cell", "input_regions", "plan", "run_cell", "validate"]

_LOG = logging.getLogger(__name__)

_FIVE = ("Thalamus", "Hippocampus", "Insula", "Cingulate_Ant", "Frontal_Med_Orb")
_FIFTHS = tuple(f"fifth{k}" for k in range(1, 6))
INPUT_SETS = ("thalamus", "five", "all", *_FIFTHS)
"""Sets of inputs: both thalami; the five interoceptive regions of both sides; every region; all but a random fifth."""

_GAIN = {("canonical", "anatomy"): 0.8, ("laminar", "anatomy"): 0.65, ("canonical", "effective"): 0.5}
_GAIN["laminar", "effective"] = 0.5
_WARM_UP = 10  # repetition times before the first volume of a free run
_OF_TWIN, _OF_NOISE = 1_000_003, 2_000_003  # seeds far from those of the fit: fresh wiring, fresh noise


@dataclass(frozen=True)
class Cell:
    """One cell of the table.

    Attributes
    ----------
    person
        One of :func:`twinbrain.sample_ids`.
    inputs
        One of `INPUT_SETS`.
    method
        Of :func:`twinbrain.assimilate`.
    circuit
        "canonical" or "laminar".
    connectivity
        "anatomy", or "effective": fitted on the half of the recording that is not scored.
    private
        Whether a run with private slow variability is added.
    part
        "first" or "second" half of the recording: the scored volumes are its first ones.
    volumes
        How many are fitted, run and scored.
    sizes
        Neurons per region of the free runs.
    nulls
        Whether the constant-input and the time-shifted-input network are run too.
    fit_size
        Neurons per region of the networks of the fit.
    seed
        Of everything; twins have other wiring and noise than the fit.

    Examples
    --------
    >>> Cell("101309", "five").name
    '101309-five-inverse-canonical-anatomy-second300-n1000-s0'
    """

    person: str
    inputs: str
    method: str = "inverse"
    circuit: str = "canonical"
    connectivity: str = "anatomy"
    private: bool = False
    part: str = "second"
    volumes: int = 300
    sizes: tuple[int, ...] = (1000,)
    nulls: bool = False
    fit_size: int = 100
    seed: int = 0

    @property
    def name(self) -> str:
        """Name of the folder of this cell."""
        extra = ("-private" if self.private else "") + ("-nulls" if self.nulls else "")
        sizes = "_".join(str(n) for n in self.sizes)
        return (
            f"{self.person}-{self.inputs}-{self.method}-{self.circuit}-{self.connectivity}{extra}-"
            f"{self.part}{self.volumes}-n{sizes}-s{self.seed}"
        )


@dataclass
class _Shared:
    """What the cells of one person share; kept in memory only."""

    people: dict[str, Subject] = field(default_factory=dict)
    points: dict[tuple[str, ...], tuple[Brain, WorkingPoint, xr.DataArray]] = field(default_factory=dict)
    twins: dict[tuple[str, ...], Network] = field(default_factory=dict)


def plan(
    people: Sequence[str] = (),
    inputs: Sequence[str] = ("thalamus", "five", "all"),
    methods: Sequence[str] = ("inverse",),
    **settings: Any,
) -> list[Cell]:
    """Return the cells of a table, person by person so that what is shared is made once.

    Parameters
    ----------
    people
        Default: all seven sample people.
    inputs, methods
        Sets of inputs and methods; every combination becomes a cell.
    **settings
        Other attributes of `Cell`.

    Raises
    ------
    InputError
        If a name is unknown or a number impossible.

    Examples
    --------
    >>> [cell.inputs for cell in plan(["101309"])]
    ['thalamus', 'five', 'all']
    """
    chosen = tuple(people) or sample_ids()
    cells = [Cell(person, which, method, **settings) for person in chosen for which in inputs for method in methods]
    for cell in cells:
        for name, value, known in (
            ("people", cell.person, sample_ids()),
            ("inputs", cell.inputs, INPUT_SETS),
            ("methods", cell.method, METHODS),
            ("circuit", cell.circuit, ("canonical", "laminar")),
            ("connectivity", cell.connectivity, ("anatomy", "effective")),
            ("part", cell.part, ("first", "second")),
        ):
            if value not in known:
                raise InputError(
                    f"{name}: found '{value}', expected one of {', '.join(known)}{nearest(value, known)}; change it"
                )
        if not cell.sizes or min(cell.sizes) < 20 or cell.volumes < 60 or cell.fit_size < 20:
            raise InputError(
                f"sizes {list(cell.sizes)}, volumes {cell.volumes}, fit_size {cell.fit_size}: expected at least 20 "
                "neurons per region and 60 volumes; raise them"
            )
        if cell.inputs == "all" and (cell.connectivity == "effective" or cell.private):
            raise InputError(
                "inputs 'all' leaves no region without input, which effective connectivity and private variability are "
                "for; choose other inputs"
            )
    return cells


def input_regions(which: str, regions: Sequence[str], seed: int = 0) -> list[str]:
    """Return the regions of a set of inputs.

    Parameters
    ----------
    which
        One of `INPUT_SETS`; of "fifth1" to "fifth5" every region is held out in exactly one.
    regions
        Names of all regions (AAL2).
    seed
        Of the random fifths.

    Examples
    --------
    >>> input_regions("thalamus", ["Thalamus_L", "Insula_L", "Thalamus_R"])
    ['Thalamus_L', 'Thalamus_R']
    >>> held = [set("ABCDEFGHIJ") - set(input_regions(f"fifth{k}", "ABCDEFGHIJ")) for k in range(1, 6)]
    >>> sorted(name for fifth in held for name in fifth) == list("ABCDEFGHIJ")
    True
    """
    if which == "all":
        return list(regions)
    if which in _FIFTHS:
        order = np.random.Generator(np.random.Philox(key=np.array([seed, 5], np.uint64))).permutation(len(regions))
        held = set(np.array_split(order, 5)[_FIFTHS.index(which)].tolist())
        return [name for j, name in enumerate(regions) if j not in held]
    stems = ("Thalamus",) if which == "thalamus" else _FIVE
    wanted = [f"{stem}_{side}" for stem in stems for side in "LR"]
    return [name for name in wanted if name in regions]


def validate(
    out: str | Path,
    cells: Sequence[Cell],
    *,
    threads: int = 1,
    bootstrap: int = 1000,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Make the cells that are not there yet, then the summary of all cells of the folder.

    Parameters
    ----------
    out
        Folder: ``cells/NAME/`` holds each cell, ``summary.csv`` and ``summary.md`` the table.
    cells
        From :func:`plan`.
    threads
        For the simulations.
    bootstrap
        Resamplings of each interval.
    progress
        Called as ``progress(cells done, cells in all)``.

    Returns
    -------
    DataFrame
        The summary, see :func:`twinbrain.experiment.summary.summarise`.

    Examples
    --------
    >>> validate("validation/", plan(["101309"], ["thalamus"]))     # doctest: +SKIP
    """
    root = _root(out)
    shared = _Shared()
    for done, cell in enumerate(cells):
        folder = root / "cells" / cell.name
        if progress is not None:
            progress(done, len(cells))
        if store.read_status(folder) == "complete":
            _LOG.info("cell %s: is there", cell.name)
            continue
        begun = time.monotonic()
        try:
            found, runs, figures = run_cell(cell, threads=threads, bootstrap=bootstrap, shared=shared)
        except InputError as error:  # one cell that cannot be done must not stop the table, and must be seen in it
            _LOG.warning("cell %s: %s", cell.name, error)
            store.save(folder, scores={"cell": asdict(cell), "failed": str(error)}, provenance={}, status=None)
            continue
        figures["wall_s"] = round(time.monotonic() - begun, 1)
        store.save(
            folder,
            scores={"cell": asdict(cell), **found.to_dict(), "figures": figures},
            tables={"evidence": found.table.drop(columns=["inputs_seen", "others_seen"])},
            provenance=store.provenance(seeds={"cell": cell.seed}, subject={"person": cell.person}),
            runs=runs,
        )
        _LOG.info("cell %s: %.0f s, %r", cell.name, figures["wall_s"], found)
    if progress is not None:
        progress(len(cells), len(cells))
    table = summarise(root)
    store.write_text_atomic(root / "summary.csv", table.to_csv(index=False))
    store.write_text_atomic(root / "summary.md", _as_markdown(table))
    return table


def run_cell(
    cell: Cell, *, threads: int = 1, bootstrap: int = 1000, shared: _Shared | None = None
) -> tuple[Evidence, xr.Dataset, dict[str, Any]]:
    """Calibrate, fit, run freely and score one cell.

    Parameters
    ----------
    cell
        What to do.
    threads, bootstrap
        As in :func:`validate`.
    shared
        Working points found for earlier cells.

    Returns
    -------
    Evidence, Dataset, dict
        The evidence; the drive and the BOLD of every run (what, time, region); figures of the working point and fit.

    Examples
    --------
    >>> run_cell(Cell("101309", "thalamus"))                        # doctest: +SKIP
    """
    shared = shared if shared is not None else _Shared()
    person = shared.people.setdefault(cell.person, load_sample(cell.person))
    bold = person.bold["rest"]
    inputs = input_regions(cell.inputs, person.regions, cell.seed)
    brain, point, explained = _working_point(cell, person, bold, inputs, shared, threads)
    half = bold.sizes["time"] // 2
    first = 0 if cell.part == "first" else half
    if first + cell.volumes > bold.sizes["time"]:
        raise InputError(f"volumes: found {cell.volumes}, but a half has {bold.sizes['time'] - first}; lower it")
    fit = assimilate(
        point.network,
        bold,
        inputs,
        method=cell.method,
        working_point=point,
        first_volume=first,
        volumes=cell.volumes,
        seed=cell.seed,
        threads=threads,
    )
    runs: dict[int, Run] = {}
    for n in sorted(cell.sizes):
        network = _twin(cell, brain, point, n, shared, threads)
        runs[n] = _free_run(network, fit.drive, cell, threads)
    largest = max(cell.sizes)
    nulls = {k: _free_run(network, d, cell, threads) for k, d in null_drives(fit.drive).items()} if cell.nulls else {}
    others: dict[str, Run] = {}
    if cell.method == "vw-dhmda" and fit.filter_mean is not None:
        published = Drive(fit.filter_mean.rename("drive"), fit.drive.repetition_time_s, fit.drive.shape)
        others["filter mean, unsmoothed"] = _free_run(network, published, cell, threads)
    if cell.private:
        own = private_variability(
            brain,
            fit.drive,
            fit.target,
            explained,
            loop_gain=point.loop_gain,
            slope=point.slope,
            rate_hz=float(point.rate_hz.mean()),
            seed=cell.seed,
        )
        others["private variability"] = _free_run(network, own.drive, cell, threads)
    found = evidence(
        runs,
        bold,
        inputs,
        connectome=_labelled(brain),
        loop_gain=point.loop_gain,
        nulls=nulls,
        others=others,
        fit=fit,
        others_seen="held out: connectivity fitted on the other half"
        if cell.connectivity == "effective"
        else "held out: never used",
        bootstrap=bootstrap,
        seed=cell.seed,
    )
    everything = {**{f"free run {n}": run for n, run in runs.items()}, **nulls, **others}
    kept = xr.Dataset(
        {
            "bold": xr.concat(
                [run.to_dataset()["bold"].drop_vars("time").astype(np.float32) for run in everything.values()],
                dim="what",
            ).assign_coords(what=list(everything)),
            "drive": fit.drive.values.drop_vars("time"),
        },
        attrs={"repetition_time_s": fit.drive.repetition_time_s, "first_volume": first},
    )
    return found, kept, _figures(point, fit, runs[largest])


def _root(out: str | Path) -> Path:
    """Make the folder, or take one that holds a validation."""
    root = Path(out)
    if root.is_dir() and any(root.iterdir()) and not (root / "cells").is_dir():
        raise InputError(f"{root}: holds something else than a validation; choose a new or empty folder")
    try:
        (root / "cells").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{root}: cannot be made ({error.strerror}); choose another output folder") from None
    return root


def _working_point(
    cell: Cell, person: Subject, bold: xr.DataArray, inputs: list[str], shared: _Shared, threads: int
) -> tuple[Brain, WorkingPoint, xr.DataArray]:
    """Brain, calibrated network of the fit's size, and what the inputs explain on the half that is not scored."""
    half = bold.sizes["time"] // 2
    training = (half, bold.sizes["time"]) if cell.part == "first" else (0, half)
    gain = _GAIN[cell.circuit, cell.connectivity]
    effective, key = cell.connectivity == "effective", _key(cell)
    if key not in shared.points:
        brain = Brain.from_subject(person)
        if effective:
            brain = effective_connectivity(brain, bold, inputs, training=training, loop_gain=gain).brain
        network = Network(
            brain,
            neurons=cell.fit_size * len(brain.regions),
            circuit=cell.circuit,
            seed=cell.seed,
            neurons_by="equal",
        )
        planned = inputs if effective else input_regions("five", person.regions)
        point = calibrate(network, planned, loop_gain=gain, margin=False, seed=cell.seed, threads=threads)
        shared.points[key] = (brain, point, _explained(brain, bold, planned, training, point.loop_gain))
    brain, point, explained = shared.points[key]
    if cell.private and not effective:
        explained = _explained(brain, bold, inputs, training, point.loop_gain)
    return brain, point, explained


def _explained(
    brain: Brain, bold: xr.DataArray, inputs: Sequence[str], training: tuple[int, int], gain: float
) -> xr.DataArray:
    return explained_variance(brain, bold, inputs, training=training, loop_gain=gain)


def _key(cell: Cell) -> tuple[str, ...]:
    """Return what cells with one working point have in common; only effective connectivity depends on the inputs."""
    which = cell.inputs if cell.connectivity == "effective" else ""
    return (cell.person, cell.circuit, cell.connectivity, cell.part, str(cell.fit_size), str(cell.seed), which)


def _twin(cell: Cell, brain: Brain, point: WorkingPoint, n: int, shared: _Shared, threads: int) -> Network:
    """Build a network of another size and wiring, its mean rate brought back to that of the working point."""
    key = (*_key(cell), str(n))
    if key not in shared.twins:
        larger = point.network.scaled(neurons=n * len(brain.regions), seed=cell.seed + _OF_TWIN)
        shared.twins[key] = recentre(point, larger, seed=cell.seed, threads=threads).network
    return shared.twins[key]


def _free_run(network: Network, drive: Drive, cell: Cell, threads: int) -> Run:
    return simulate(
        network,
        drive=drive,
        warm_up_s=_WARM_UP * drive.repetition_time_s,
        seed=cell.seed + _OF_NOISE,
        threads=threads,
    )


def _labelled(brain: Brain) -> xr.DataArray:
    names = list(brain.regions)
    return xr.DataArray(region_projection(brain), dims=("target", "source"), coords={"target": names, "source": names})


def _figures(point: WorkingPoint, fit: Fit, run: Run) -> dict[str, Any]:
    h = fit.drive.values.values
    return {
        "loop_gain": point.loop_gain,
        "slope": point.slope,
        "rate_hz": float(point.rate_hz.mean()),
        "fano_at_rest": point.fano,
        "mean_rate_hz": run.mean_rate_hz,
        "fano": run.fano(),
        "drive_low": float(h.min()),
        "drive_high": float(h.max()),
    }


def _as_markdown(table: pd.DataFrame) -> str:
    """Write a table in Markdown, figures with three decimals."""
    head = "| " + " | ".join(str(c) for c in table.columns) + " |\n|" + "---|" * len(table.columns) + "\n"

    def cell(value: Any) -> str:
        if isinstance(value, float):
            return "-" if not np.isfinite(value) else f"{value:.3f}"
        return str(value)

    body = "".join("| " + " | ".join(cell(v) for v in row) + " |\n" for row in table.itertuples(index=False))
    return (
        f"Settings were chosen on {', '.join(CHOSEN)} (group `chosen`), confirmed on the others (group `confirmed`).\n"
        f"\n{head}{body}"
    )
