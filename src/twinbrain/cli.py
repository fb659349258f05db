"""The command line: words in, one clear message or a results folder out.

Exit codes: 0 done; 1 bad input (one sentence on stderr, never a traceback); 75 interrupted, can be resumed.
Rooms are imported inside the commands, so that ``twinbrain --help`` answers at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from twinbrain.commands import add_choices, add_commands, page_maker, run_check, with_options
from twinbrain.errors import InputError, Interrupted, nearest

if TYPE_CHECKING:
    pass

__all__ = ["main"]

_LOG = logging.getLogger("twinbrain")
_RESUMABLE = ("demo", "run", "resume", "bids", "experiment")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    argv
        Words after the program's name; default: those it was called with.

    Returns
    -------
    int
        0 done, 1 bad input, 75 interrupted and resumable.

    Examples
    --------
    >>> main(["--version"])  # doctest: +ELLIPSIS
    twinbrain ...
    0
    """
    command = ""
    level = _LOG.level
    handler: logging.Handler | None = None
    try:
        options = _parser().parse_args(argv)
        command = options.command or ""
        handler = _log_to_stderr(options.verbose - options.quiet)
        if not command:
            _parser().print_help()
            return 0
        options.run(options)
    except SystemExit as done:  # of --help and --version
        return int(done.code or 0)
    except InputError as error:
        return _say(_without_last_stop(" ".join(str(error).split())), 1)
    except Interrupted as stopped:
        return _say(str(stopped), 75)
    except KeyboardInterrupt:
        if command not in _RESUMABLE:
            return _say("stopped", 1)
        return _say("stopped at once; 'twinbrain resume DIR' goes on from the last checkpoint", 75)
    except MemoryError:
        return _say("the memory of this machine does not suffice; ask for fewer neurons or members", 1)
    except BrokenPipeError:  # the reader of our output went away, as in `twinbrain check ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last resort: no traceback reaches the user
        return _say(_bug(error), 1)
    finally:
        if handler is not None:
            _LOG.removeHandler(handler)
        _LOG.setLevel(level)  # as whoever called us had it
    return 0


def _say(message: str, code: int) -> int:
    print(f"twinbrain: {message}", file=sys.stderr)
    return code


def _without_last_stop(message: str) -> str:
    """One sentence ends without a full stop, as every line of a log; several end with one."""
    several = re.search(r"(?<!\be\.g)(?<!\bi\.e)[.!?] +[A-Z]", message)
    if several:
        return message if message.endswith((".", "!", "?")) else f"{message}."
    return message.removesuffix(".") if not message.endswith("..") else message


def _bug(error: Exception) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="twinbrain-", suffix=".log", delete=False, encoding="utf-8") as log:
        traceback.print_exception(error, file=log)
    found = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return f"this is a bug of twinbrain ({found}); please report it with the log {log.name}"


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Write lines above a progress bar, not into it."""

    def emit(self, record: logging.LogRecord) -> None:
        if "tqdm" in sys.modules and sys.stderr.isatty():
            sys.modules["tqdm"].tqdm.write(self.format(record), file=sys.stderr)
        else:
            super().emit(record)


def _log_to_stderr(loudness: int) -> logging.Handler:
    handler = _Handler(sys.stderr)
    stamp = "" if sys.stderr.isatty() else "%(asctime)s "
    handler.setFormatter(logging.Formatter(stamp + "%(message)s", "%H:%M:%S"))
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.DEBUG if loudness > 0 else logging.WARNING if loudness < 0 else logging.INFO)
    return handler


# ---- words ---------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one sentence, with exit code 1."""

    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"argument COMMAND: invalid choice: '?([^']*)'? \(choose from (.*)\)", message)
        if unknown:
            names = re.findall(r"[\w-]+", unknown[2])
            hint = nearest(unknown[1], names) or f"; the commands are {', '.join(names)}"
            raise InputError(f"there is no command '{unknown[1]}'{hint}")
        raise InputError(f"{message}; '{self.prog} --help' shows how it is used")


def _parser() -> argparse.ArgumentParser:
    from twinbrain import __version__

    parser = _Parser(
        prog="twinbrain",
        description="One person's scans as a spiking whole-brain model: build it, fit it to BOLD, run it freely.",
        epilog="example: twinbrain demo",
    )
    parser.add_argument("--version", action="version", version=f"twinbrain {__version__}")
    _add_loudness(parser, 0)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str, example: str) -> _Parser:
        added: _Parser = commands.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=f"example: {example}"
        )
        added.set_defaults(run=run)
        _add_loudness(added, argparse.SUPPRESS)
        return added

    sample = command(
        "sample", _sample, "fetch the sample people and agree to their data terms", "twinbrain sample --accept"
    )
    sample.add_argument("--accept", action="store_true", help="agree to the data terms without being asked")

    demo = command("demo", _demo, "fit and run a sample person, and make the report", "twinbrain demo --out my-demo")
    demo.add_argument("--out", default="twinbrain-demo", metavar="DIR", help="results folder (default: %(default)s)")
    _add_settings(demo)

    check = command(
        "check",
        run_check,
        "read the inputs, say what was found, estimate memory and time",
        "twinbrain check study.toml",
    )
    check.add_argument("what", metavar="STUDY|FOLDER", help="a study, a person's folder, or a results folder")
    check.add_argument("--participant", metavar="LABEL", help="which participant of a BIDS folder")
    add_choices(check)
    check.add_argument("--page", metavar="FILE", help="draw what was found into this HTML file")
    _add_settings(check)

    run = command("run", _run, "run a whole study", "twinbrain run study.toml --out results --set twin.neurons=1000000")
    run.add_argument("study", metavar="STUDY", help="a study in TOML")
    run.add_argument("--out", required=True, metavar="DIR", help="results folder")
    run.add_argument("--overwrite", action="store_true", help="remove the run the folder holds and start anew")
    _add_settings(run)

    resume = command("resume", _resume, "go on with an interrupted run", "twinbrain resume results")
    resume.add_argument("folder", metavar="DIR", help="results folder")

    bench = command(
        "bench", _bench, "measure this machine and this project, and other simulators beside it",
        "twinbrain bench --neurons 100000 --out bench",
    )  # fmt: skip
    bench.add_argument("--neurons", type=_count, default=1_000_000, metavar="N", help="size (default: %(default)s)")
    bench.add_argument("--threads", type=_count, default=0, metavar="N", help="threads; 0 = all cores")
    bench.add_argument("--out", metavar="DIR", help="write bench.json, bench.md and bench.svg there")
    bench.add_argument("--peers", metavar="DIR", help="measure the simulators whose environments are in DIR as well")
    bench.add_argument("--make-peers", action="store_true", help="make what is missing in the folder of --peers first")

    analyse = command(
        "analyse", _analyse, "measure BOLD of a run or of anyone: criticality, synchrony, spectra, causality",
        "twinbrain analyse results --out analysis, or: twinbrain analyse bold.csv --repetition-time 0.72",
    )  # fmt: skip
    analyse.add_argument("source", metavar="RUN|BOLD", help="results, a person's folder or number, .csv .tsv .npy .npz")
    analyse.add_argument(
        "--what",
        action="append",
        default=[],
        metavar="PART",
        help="similarity, dynamics, synchrony, spectra, criticality or causality; several by commas (default: all)",
    )
    analyse.add_argument("--recorded", metavar="BOLD", help="a recording to lay beside it, read alike")
    analyse.add_argument("--out", default="twinbrain-analysis", metavar="DIR", help="where to (default: %(default)s)")
    analyse.add_argument("--repetition-time", type=float, metavar="S", help="seconds between volumes of a table")
    analyse.add_argument("--run", dest="bold_run", metavar="NAME", help="which BOLD run of a person")
    analyse.add_argument("--channels", metavar="A,B,...", help="regions of the causality")
    analyse.add_argument("--without", metavar="A,B,...", default="", help="regions or columns left out")
    analyse.add_argument("--nulls", type=_count, metavar="N", help="surrogates of each measure (default: 100)")
    analyse.add_argument("--seed", type=_count, default=0, metavar="N", help="key of all random numbers")

    report = command("report", _report, "make the page of a results folder again", "twinbrain report results")
    report.add_argument("folder", metavar="DIR", help="results folder")

    from twinbrain.experiment.command import add_experiment
    from twinbrain.experiment.validate_command import add_arguments

    experiment = command(
        "experiment",
        _experiment,
        "run a virtual experiment with its controls and make its page; resumable",
        "twinbrain experiment lesion --out lesions --people 101309 102311",
    )
    add_experiment(experiment)
    _add_settings(experiment)
    add_arguments(
        command(
            "validate",
            _validate,
            "fit, run freely and score the sample people: the table of evidence, resumable",
            "twinbrain validate --out validation --inputs thalamus five all --neurons-per-region 1000",
        ),
        _count,
    )

    add_commands(command)
    return parser


def _add_loudness(parser: argparse.ArgumentParser, default: int | str) -> None:
    parser.add_argument("-v", "--verbose", action="count", default=default, help="say more")
    parser.add_argument("-q", "--quiet", action="count", default=default, help="say only what went wrong")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="TABLE.KEY=VALUE",
        help="replace one value of the study; may be repeated",
    )
    parser.add_argument("--threads", metavar="N", help="threads of the engine; 0 = all cores")


# ---- commands ------------------------------------------------------------------------------------------------


def _sample(options: argparse.Namespace) -> None:
    from twinbrain.data.sample import (
        accept_terms,
        data_terms,
        install_sample,
        load_sample,
        sample_ids,
        terms_accepted,
    )

    print(data_terms())
    if not terms_accepted():
        if not options.accept:
            if not sys.stdin.isatty():
                raise InputError("the data terms must be agreed to; in a script say 'twinbrain sample --accept'")
            if input("\nDo you agree to these terms? [y/N] ").strip().lower() not in ("y", "yes"):
                raise InputError("the data terms were not agreed to, nothing was fetched; run it again to agree")
        accept_terms()
    try:
        load_sample(sample_ids()[0])
    except InputError:
        install_sample()
        load_sample(sample_ids()[0])
    print(f"\nThe sample people are here: {', '.join(sample_ids())}. Next: twinbrain demo")


def _validate(options: argparse.Namespace) -> None:
    from twinbrain.experiment.validate_command import run_validation

    print(f"table: {run_validation(options)}")


def _experiment(options: argparse.Namespace) -> None:
    from twinbrain.experiment.command import run_command

    if not options.only_design:
        _check_place(options.out)
    answer = run_command(options, None if options.only_design else page_maker())
    if options.only_design:
        print(answer, end="")
    else:
        _tell_where(answer)


def _demo(options: argparse.Namespace) -> None:
    from twinbrain.config import demo_study
    from twinbrain.experiment.main_job import run_study
    from twinbrain.store import read_status

    _check_place(options.out)
    status = read_status(options.out)
    unfinished = bool(status) and status != "complete"
    study = with_options(demo_study(), options)
    run_study(
        study,
        options.out,
        resume=unfinished,
        overwrite=not unfinished,
        progress=options.quiet == 0,
        finish=page_maker(),
    )
    _tell_where(options.out)


def _run(options: argparse.Namespace) -> None:
    from twinbrain.config import read_study

    study = with_options(read_study(options.study), options)  # before the rooms are imported: mistakes show at once
    _check_place(options.out)
    from twinbrain.experiment.main_job import run_study

    run_study(study, options.out, overwrite=options.overwrite, progress=options.quiet == 0, finish=page_maker())
    _tell_where(options.out)


def _check_place(out: str) -> None:
    """Refuse an impossible output folder before any data are read; make nothing."""
    from twinbrain.store import output_folder

    place = Path(out)
    try:
        there = next(part for part in (place, *place.absolute().parents) if part.exists())
    except OSError as error:
        raise InputError(f"{place}: cannot be reached ({error.strerror}); choose another output folder") from None
    if there == place or not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        output_folder(place)  # it is there already, or cannot be made: nothing appears that was not there


def _resume(options: argparse.Namespace) -> None:
    if not Path(options.folder).is_dir():
        what = "is a file" if Path(options.folder).exists() else "there is no such folder"
        raise InputError(f"{options.folder}: {what}; expected the results folder of an interrupted run")
    from twinbrain.experiment.main_job import resume_study
    from twinbrain.experiment.runner import is_experiment, resume_experiment

    if is_experiment(options.folder):
        resume_experiment(options.folder, progress=options.quiet == 0, finish=page_maker())
    else:
        resume_study(options.folder, progress=options.quiet == 0, finish=page_maker())
    _tell_where(options.folder)


def _count(text: str) -> int:
    """Read a whole number, also one written as 1e6 or 1_000_000."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value < 0 or value != int(value):
        raise argparse.ArgumentTypeError(f"expected a whole number such as 100000 or 1e6, found '{text}'")
    return int(value)


def _bench(options: argparse.Namespace) -> None:
    from twinbrain.bench.command import bench

    print(bench(options.neurons, options.threads, options.out, options.peers, options.make_peers))


def _analyse(options: argparse.Namespace) -> None:
    from twinbrain.analyse_files import Wanted, analyse_files, shown

    def listed(text: str | None) -> tuple[str, ...]:
        return tuple(part.strip() for part in (text or "").split(",") if part.strip())

    _check_place(options.out)
    table = analyse_files(
        options.source,
        options.out,
        recorded=options.recorded,
        what=listed(",".join(options.what)),
        wanted=Wanted(options.repetition_time, options.bold_run, listed(options.without)),
        page=page_maker() is not None,
        channels=listed(options.channels) or None,
        nulls=options.nulls,
        seed=options.seed,
    )
    print(shown(table))
    print(f"tables: {Path(options.out) / 'tables'}")
    if (Path(options.out) / "report.html").exists():
        print(f"report: {Path(options.out) / 'report.html'}")


def _report(options: argparse.Namespace) -> None:
    from twinbrain.report.page import report

    print(report(options.folder))


def _tell_where(folder: str) -> None:
    page, scores = Path(folder) / "report.html", Path(folder) / "scores.json"
    print(f"scores: {scores}")
    if page.exists():
        print(f"report: {page}")
