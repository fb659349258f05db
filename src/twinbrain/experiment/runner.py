"""Run an experiment: cells spread over processes or MPI ranks, each stored when done; then one judgement.

What is stored is not repeated, so an experiment that was stopped at any moment goes on where it was, and its tables
equal those of one that was never stopped, byte for byte: they are made from the stored cells alone, in the order of
the design, whoever simulated them.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import signal
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from twinbrain import store
from twinbrain.config import Study, check_study, read_study, study_from_dict, to_toml
from twinbrain.data.subject import Subject
from twinbrain.errors import InputError, Interrupted, nearest
from twinbrain.experiment.cells import Cell, cell_key, cells_of, run_cell
from twinbrain.experiment.content import cache_folder
from twinbrain.experiment.design import Design, check_design, design_from_dict, design_to_toml, read_design
from twinbrain.experiment.findings import Experiment, Findings
from twinbrain.experiment.prepare import person_of
from twinbrain.experiment.ranks import Ranks, ranks_of_job
from twinbrain.experiment.results import Results
from twinbrain.experiment.setup import Setup, setup_of, study_of
from twinbrain.experiment.stop import Stop
from twinbrain.parallel import available_threads
from twinbrain.progress import track

__all__ = ["EXPERIMENTS", "experiment_of", "is_experiment", "resume_experiment", "run_experiment"]

_LOG = logging.getLogger(__name__)

EXPERIMENTS = ("scaling", "rewiring", "inputs", "task", "lesion", "stimulate")
"""Names of the experiments; each is a module of this room that holds an ``EXPERIMENT``."""

_DESIGN = "experiment.toml"
_LARGE = 200_000  # neurons from which one cell gets all threads instead of one


@dataclass(frozen=True)
class _How:
    """How the work is done; none of it changes a result."""

    cache: Path
    processes: int
    progress: bool


def experiment_of(name: str) -> Experiment:
    """Return an experiment by its name.

    Raises
    ------
    InputError
        If there is none of that name.

    Examples
    --------
    >>> experiment_of("leson")
    Traceback (most recent call last):
    twinbrain.errors.InputError: there is no experiment 'leson'; did you mean 'lesion'?
    """
    if name not in EXPERIMENTS:
        hint = nearest(name, EXPERIMENTS) or f"; the experiments are {', '.join(EXPERIMENTS)}"
        raise InputError(f"there is no experiment '{name}'{hint}")
    found: Experiment = importlib.import_module(f"twinbrain.experiment.{name}").EXPERIMENT
    return found


def run_experiment(
    experiment: str | Experiment,
    study: Study | None,
    out: str | Path,
    *,
    design: Design | None = None,
    people: Mapping[str, Subject] | None = None,
    cache: str | Path | None = None,
    processes: int = 0,
    progress: bool = True,
    finish: Callable[[Path], object] | None = None,
) -> Findings:
    """Run an experiment, or go on with it, and store what it finds.

    Parameters
    ----------
    experiment
        Name of one of `EXPERIMENTS`, or one of your own.
    study
        Network, fit and twin it starts from; None: the experiment's own demonstration.
    out
        Results folder. One that holds the same experiment is gone on with.
    design
        The table of conditions; default: the experiment's.
    people
        Data by the names of the design's people, instead of reading them (then in this process only).
    cache
        Folder of working points and fits, shared by all experiments. Default: the user's.
    processes
        Cells simulated at a time; 0: one per processor. Under MPI (mpi4py), ranks share the cells instead.
    progress
        False shows no bars.
    finish
        Called with the folder when all is stored: the page.

    Returns
    -------
    Findings

    Raises
    ------
    InputError
        If study, design, data or folder cannot be used.
    Interrupted
        If it was stopped; run it again, or ``twinbrain resume``.

    Examples
    --------
    >>> run_experiment("lesion", None, "lesions/")                  # doctest: +SKIP
    """
    chosen = experiment_of(experiment) if isinstance(experiment, str) else experiment
    study = check_study(chosen.study() if study is None else study)
    if study.subject.folder is not None and people is None:
        folder = str(Path(study.subject.folder).expanduser().resolve())
        study = msgspec.structs.replace(study, subject=msgspec.structs.replace(study.subject, folder=folder))
    if design is None:
        first = people[next(iter(people))] if people else person_of(study)
        design = chosen.design(study, first.regions)
    design = check_design(design)
    how = _How(cache_folder(cache).expanduser().resolve(), processes or available_threads(), progress)
    ranks, out = ranks_of_job(), Path(out)
    with Stop() as stop, ExitStack() as held:
        try:
            with ranks.stage():
                if ranks.first:
                    out = store.output_folder(out)
                    held.enter_context(store.locked(out))
                    _admit(study, design, out)
            setups = _setups(study, design, people, how, stop, ranks)
            _simulate(setups, design, out / "cells", how, stop, ranks, shared=people is None)
            if not ranks.first:
                return Findings("judged by the first rank")
            store.write_status(out, "running judgement")
            found = chosen.conclude(Results(design, setups, out / "cells"))
            _keep(chosen, study, design, setups, found, out)
            if finish is not None:
                finish(out)
            store.write_status(out, "complete")
            return found
        except Interrupted:
            if ranks.first:
                store.write_status(out, "interrupted cells")
            raise Interrupted(f"stopped, finished cells are kept; go on with: twinbrain resume {out}") from None


def resume_experiment(
    out: str | Path,
    *,
    cache: str | Path | None = None,
    processes: int = 0,
    progress: bool = True,
    finish: Callable[[Path], object] | None = None,
) -> Findings:
    """Go on with the experiment in a folder, by the study and the design it was started with.

    Raises
    ------
    InputError
        If the folder holds no experiment.

    Examples
    --------
    >>> resume_experiment("no/such/folder")
    Traceback (most recent call last):
    twinbrain.errors.InputError: no/such/folder: there is no experiment to resume; start one with 'twinbrain experiment'
    """
    if not is_experiment(out):
        raise InputError(f"{out}: there is no experiment to resume; start one with 'twinbrain experiment'")
    design, study = read_design(Path(out) / _DESIGN), read_study(Path(out) / "study.toml")
    return run_experiment(
        design.experiment,
        study,
        out,
        design=design,
        cache=cache,
        processes=processes,
        progress=progress,
        finish=finish,
    )


def is_experiment(out: str | Path) -> bool:
    """Say whether a folder holds an experiment, finished or not.

    Examples
    --------
    >>> is_experiment("no/such/folder")
    False
    """
    return (Path(out) / _DESIGN).is_file() and (Path(out) / "study.toml").is_file()


def _admit(study: Study, design: Design, out: Path) -> None:
    """Refuse to mix two experiments in one folder."""
    plain = msgspec.structs.replace(study, execution=msgspec.structs.replace(study.execution, threads=0))
    if is_experiment(out):
        there = read_study(out / "study.toml")
        there = msgspec.structs.replace(there, execution=msgspec.structs.replace(there.execution, threads=0))
        if there != plain or read_design(out / _DESIGN) != design:
            raise InputError(f"{out}: was started with another study or design (see {_DESIGN}); choose another folder")
    elif (out / "study.toml").exists():
        raise InputError(f"{out}: holds a run of a study, not an experiment; choose another folder")
    store.write_status(out, "running cells")
    store.write_text_atomic(out / "study.toml", to_toml(study))
    store.write_text_atomic(out / _DESIGN, design_to_toml(design))


def _setups(
    study: Study,
    design: Design,
    people: Mapping[str, Subject] | None,
    how: _How,
    stop: Stop,
    ranks: Ranks,
) -> dict[str, Setup]:
    """Working points and fits of all people; the first rank makes what is missing, then the others read it."""
    setups: dict[str, Setup] = {}

    def load() -> None:
        for name in design.people or ("",):
            with _following(f"working point {name}".strip(), how.progress and ranks.first, stop) as tell:
                person = None if people is None else people[name or next(iter(people))]
                setups[name] = setup_of(study_of(study, name), how.cache, person=person, tell=tell)
            for inputs in dict.fromkeys(c.inputs for c in design.conditions):
                with _following(f"fit {name}".strip(), how.progress and ranks.first, stop) as tell:
                    setups[name].fit(inputs, tell)

    for turn in (True, False):
        with ranks.stage():
            if ranks.first is turn:
                load()
    return setups


def _simulate(
    setups: dict[str, Setup], design: Design, folder: Path, how: _How, stop: Stop, ranks: Ranks, *, shared: bool
) -> None:
    """Run the cells that are not stored yet, each once; equal cells of two conditions are one."""
    wanted: dict[str, Cell] = {}
    for cell in cells_of(design):
        wanted.setdefault(cell_key(setups[cell.person], design, design.condition(cell.condition), cell.seed), cell)
    with ranks.stage():  # all ranks look before any of them stores one: they share out the same list
        todo = [c for key, c in wanted.items() if store.Checkpoint(folder, key).load() is None]
    large = [c for c in todo if _neurons(setups, design, c) >= _LARGE]
    small = [c for c in todo if c not in large]
    done, show = len(wanted) - len(todo), how.progress and ranks.first
    with ranks.stage(), track(len(wanted), "cells", "cell", progress=show, done=done) as bar:
        if how.processes > 1 and len(small) > 1 and shared and ranks.ranks == 1:
            for cell in _spread(small, setups, design, folder, how, stop):
                bar.update(1, f"{cell.condition}, seed {cell.seed}")
            small = []
        for cell in (small + large)[ranks.rank :: ranks.ranks]:
            threads = how.processes if _neurons(setups, design, cell) >= _LARGE else 1
            _one(setups[cell.person], design, cell, folder, threads, stop)
            bar.update(1, f"{cell.condition}, seed {cell.seed}")


def _neurons(setups: dict[str, Setup], design: Design, cell: Cell) -> int:
    return design.condition(cell.condition).neurons or setups[cell.person].study.twin.neurons


def _one(setup: Setup, design: Design, cell: Cell, folder: Path, threads: int, stop: Stop | None) -> None:
    tell = None if stop is None else (lambda done, total: stop.check())
    began = time.monotonic()
    run_cell(setup, design, design.condition(cell.condition), cell.seed, folder, threads=threads, tell=tell)
    _LOG.debug("%s %s seed %d: %.1f s", *vars(cell).values(), time.monotonic() - began)


# ---- processes -----------------------------------------------------------------------------------------------------

_OF_WORKER: dict[str, Any] = {}


def _begin_worker(studies: dict[str, str], design: str, folder: str, cache: str) -> None:
    """Each process reads people, working points and fits for itself: nothing but text is handed over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process answers it and ends the others
    _OF_WORKER.update(design=design_from_dict(tomllib.loads(design)), folder=Path(folder), cache=Path(cache))
    _OF_WORKER.update(studies={name: study_from_dict(tomllib.loads(text)) for name, text in studies.items()}, setups={})


def _work(cell: tuple[str, str, int]) -> None:
    setups, one = _OF_WORKER["setups"], Cell(*cell)
    if one.person not in setups:
        setups[one.person] = setup_of(_OF_WORKER["studies"][one.person], _OF_WORKER["cache"])
    _one(setups[one.person], _OF_WORKER["design"], one, _OF_WORKER["folder"], 1, None)


def _spread(
    cells: list[Cell], setups: dict[str, Setup], design: Design, folder: Path, how: _How, stop: Stop
) -> Iterator[Cell]:
    """Let processes work on cells; give them back as they are done. A process that dies is not waited for."""
    studies = {name: to_toml(setup.study) for name, setup in setups.items()}
    given = (studies, design_to_toml(design), str(folder), str(how.cache))
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(how.processes, len(cells)), context, _begin_worker, given)
    done = False
    try:
        waiting = {pool.submit(_work, (c.person, c.condition, c.seed)): c for c in cells}
        while waiting:
            finished, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            stop.check()
            for future in finished:
                future.result()
                yield waiting.pop(future)
        done = True
    finally:
        if not done:
            for process in list(getattr(pool, "_processes", {}).values()):
                process.terminate()  # cells are stored whole or not at all
        pool.shutdown(wait=done, cancel_futures=True)


@contextmanager
def _following(label: str, progress: bool, stop: Stop) -> Iterator[Callable[[int, int], None]]:
    """Show progress only of what really has to be done."""
    with ExitStack() as stack:
        state: dict[str, Any] = {"bar": None, "last": 0}

        def tell(done: int, total: int) -> None:
            if state["bar"] is None:
                state["bar"] = stack.enter_context(track(total, label, "steps", progress=progress))
            state["bar"].update(done - state["last"])
            state["last"] = done
            stop.check()

        yield tell


def _keep(
    chosen: Experiment, study: Study, design: Design, setups: dict[str, Setup], found: Findings, out: Path
) -> None:
    """Store tables, claims and figures in one go."""
    first = next(iter(setups.values()))
    store.save(
        out,
        study=to_toml(study),
        provenance=store.provenance(
            seeds={"design": design.seeds[0], "network": study.network.seed, "twin": study.twin.seed},
            inputs={k: v for s in setups.values() for k, v in s.ready.person.provenance.items()},
            people=[s.name for s in setups.values()],
            network=first.base(seed=design.seeds[0]).describe(),
        ),
        scores={
            "experiment": chosen.name,
            "title": chosen.title,
            "question": chosen.question,
            "people": [s.name for s in setups.values()],
            "seeds": list(design.seeds),
            "inputs": list(first.inputs),
            "input_sets": len({c.inputs for c in design.conditions}),
            "conditions": [{"name": c.name, "control": c.control, "note": c.note} for c in design.conditions],
            "neurons": study.twin.neurons,
            "members": study.twin.members,
            "volumes": study.assimilation.volumes,
            "loop_gain": None if first.point is None else first.point.loop_gain,
            "version": store.provenance()["twinbrain"],
            **found.to_dict(),
        },
        tables=dict(found.tables),
        status=None,
    )
