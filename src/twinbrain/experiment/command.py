"""Arguments of ``twinbrain experiment``; the work is imported only when it is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

__all__ = ["add_experiment", "run_command"]


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command.

    Examples
    --------
    >>> parser = argparse.ArgumentParser()
    >>> add_experiment(parser)
    >>> parser.parse_args(["lesion", "--out", "l", "--seeds", "3"]).seeds
    3
    """
    add = parser.add_argument
    add("name", metavar="NAME", help="scaling, rewiring, inputs, task, lesion or stimulate")
    add("study", nargs="?", metavar="STUDY", help="a study in TOML (default: a sample person at demonstration size)")
    add("--out", required=True, metavar="DIR", help="results folder; finished cells in it are kept")
    add("--design", metavar="TOML", help="table of conditions of your own, such as the experiment.toml of a result")
    add("--people", nargs="+", default=[], metavar="ID", help="sample people, or participants of the study's folder")
    add("--seeds", type=int, metavar="N", help="number of matched wirings and noises (default: 5)")
    add("--processes", type=int, default=0, metavar="N", help="cells simulated at a time; 0 = one per processor")
    add("--cache", metavar="DIR", help="where working points and fits are kept (default: the user's cache)")
    add("--only-design", action="store_true", help="print the table of conditions and stop")


def run_command(options: argparse.Namespace, finish: Callable[[Path], object] | None) -> str:
    """Do what the arguments ask for; return the folder, or the table if only that is wanted.

    Parameters
    ----------
    options
        Parsed arguments, with ``set``, ``threads`` and ``quiet``.
    finish
        Makes the page of a folder.

    Raises
    ------
    InputError
        If an argument, the study or the design cannot be used.

    Examples
    --------
    >>> run_command.__annotations__["finish"]
    'Callable[[Path], object] | None'
    """
    import msgspec

    from twinbrain.config import read_study, with_settings
    from twinbrain.errors import InputError
    from twinbrain.experiment.design import design_to_toml, read_design
    from twinbrain.experiment.prepare import person_of
    from twinbrain.experiment.runner import experiment_of, run_experiment
    from twinbrain.experiment.setup import study_of

    chosen = experiment_of(options.name)
    study = chosen.study() if options.study is None else read_study(options.study)
    settings = [*options.set, *([f"execution.threads={options.threads}"] if options.threads is not None else [])]
    study = with_settings(study, settings)
    if options.people:
        study = study_of(study, options.people[0])
    if options.design is not None:
        design = read_design(options.design)
        if design.experiment != chosen.name:
            raise InputError(
                f"{options.design}: is a design of '{design.experiment}', not of '{chosen.name}'; change one"
            )
    else:
        design = chosen.design(study, person_of(study).regions)
    if options.people:
        design = msgspec.structs.replace(design, people=tuple(options.people))
    if options.seeds is not None:
        if options.seeds < 1:
            raise InputError(f"--seeds is {options.seeds}, expected at least 1; 5 is usual")
        design = msgspec.structs.replace(design, seeds=tuple(range(1, options.seeds + 1)))
    if options.only_design:
        return design_to_toml(design)
    run_experiment(
        chosen,
        study,
        options.out,
        design=design,
        cache=options.cache,
        processes=options.processes,
        progress=options.quiet == 0,
        finish=finish,
    )
    return str(options.out)
