"""Arguments of ``twinbrain validate``; the work is imported only when it is asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

__all__ = ["add_arguments", "run_validation"]


def add_arguments(parser: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    """Add the arguments of the command.

    Parameters
    ----------
    parser
        Of the command.
    count
        Reads a whole number.

    Examples
    --------
    >>> parser = argparse.ArgumentParser()
    >>> add_arguments(parser, int)
    >>> parser.parse_args(["--out", "v", "--inputs", "five"]).neurons_per_region
    [1000]
    """
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="folder of the table; cells that are there are kept")
    add("--people", nargs="+", default=[], metavar="ID", help="sample people (default: all seven)")
    add("--inputs", nargs="+", default=["thalamus", "five", "all"], metavar="SET", help="thalamus five all fifth1..5")
    add("--methods", nargs="+", default=["inverse"], metavar="NAME", help="inverse vw-dhmda esmda (default: inverse)")
    add("--circuit", default="canonical", metavar="NAME", help="canonical or laminar (default: %(default)s)")
    add("--connectivity", default="anatomy", metavar="NAME", help="anatomy or effective (default: %(default)s)")
    add("--private", action="store_true", help="add a run with private slow variability")
    add("--nulls", action="store_true", help="add runs with constant and with time-shifted inputs")
    add("--neurons-per-region", nargs="+", type=count, default=[1000], metavar="N", help="of the free runs (1000)")
    add("--fit-size", type=count, default=100, metavar="N", help="neurons per region of the fit (default: %(default)s)")
    add("--part", default="second", metavar="HALF", help="first or second half is scored (default: %(default)s)")
    add("--volumes", type=count, default=300, metavar="N", help="volumes fitted and scored (default: %(default)s)")
    add("--seed", type=count, default=0, metavar="N", help="key of all random numbers (default: %(default)s)")
    add("--threads", type=count, default=0, metavar="N", help="threads of the engine; 0 = all cores")


def run_validation(options: argparse.Namespace) -> Path:
    """Do what the arguments ask for.

    Parameters
    ----------
    options
        Parsed arguments, with ``quiet``.

    Returns
    -------
    Path
        The summary.

    Examples
    --------
    >>> run_validation.__annotations__["return"]
    'Path'
    """
    from twinbrain.experiment.validate import plan, validate
    from twinbrain.progress import track

    cells = plan(
        options.people,
        options.inputs,
        options.methods,
        circuit=options.circuit,
        connectivity=options.connectivity,
        private=options.private,
        nulls=options.nulls,
        sizes=tuple(sorted(set(options.neurons_per_region))),
        fit_size=options.fit_size,
        part=options.part,
        volumes=options.volumes,
        seed=options.seed,
    )
    with track(len(cells), "validation", "cell", progress=options.quiet == 0) as tracker:
        last = 0

        def tell(done: int, _: int) -> None:
            nonlocal last
            tracker.update(done - last)
            last = done

        validate(options.out, cells, threads=options.threads, progress=tell)
    return Path(options.out) / "summary.md"
