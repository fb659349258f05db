"""Run an experiment: cells spread over processes or MPI ranks, each stored when done; then one judgement.

What is stored is not repeated, so an experiment that was stopped at any moment goes on where it was, and its tables
equal those of one that was never stopped, byte for byte: they are made from the stored cells alone, in the order of
the design, whoever simulated them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from twinbrain import store
from twinbrain.config import Study, check_study, read_study, to_toml
from twinbrain.data.subject import Subject
from twinbrain.errors import InputError, Interrupted, nearest
from twinbrain.experiment.content import cache_folder
from twinbrain.experiment.design import Design, check_design, design_to_toml, read_design
from twinbrain.experiment.findings import Experiment, Findings
from twinbrain.experiment.prepare import person_of
from twinbrain.experiment.ranks import Ranks, ranks_of_job
from twinbrain.experiment.results import Results
from twinbrain.experiment.setup import Setup, setup_of, study_of
from twinbrain.experiment.simulate_cells import simulate_cells
from twinbrain.experiment.stop import Stop
from twinbrain.parallel import available_threads
from twinbrain.progress import track

__all__ = ["EXPERIMENTS", "experiment_of", "is_experiment", "resume_experiment", "run_experiment"]

EXPERIMENTS = ("scaling", "rewiring", "inputs", "task", "lesion", "stimulate")
"""Names of the experiments; each is a module of this room that holds an ``EXPERIMENT``."""

_DESIGN = "experiment.toml"


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
            simulate_cells(
                setups,
                design,
                out / "cells",
                cache=how.cache,
                processes=how.processes,
                progress=how.progress,
                stop=stop,
                ranks=ranks,
                shared=people is None,
            )
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
        tables={name: table for name, table in found.tables.items() if len(table.columns)},  # as of trends of one size
        status=None,
    )
