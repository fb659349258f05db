"""Commands that bring data in, look at them, and take results away: check, synthetic, bids, export."""

from __future__ import annotations

import argparse
import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinbrain.errors import InputError

if TYPE_CHECKING:
    from twinbrain.config import Study
    from twinbrain.experiment.check import Findings

__all__ = ["add_choices", "add_commands", "page_maker", "run_check", "with_options"]

_LOG = logging.getLogger("twinbrain")
# endings of files that are a person or a part of one, not a study
_PERSONS = (
    ".zip",
    ".nii",
    ".gz",
    ".mat",
    ".h5",
    ".hdf5",
    ".npz",
    ".npy",
    ".csv",
    ".tsv",
    ".trk",
    ".tck",
    ".trx",
    ".gii",
)


def add_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    """Add these commands to the parser; ``command(name, run, text, example)`` makes one."""
    synthetic = command(
        "synthetic",
        _synthetic,
        "write a synthetic person of known truth as a BIDS folder",
        "twinbrain synthetic my-bids --small",
    )
    synthetic.add_argument("folder", metavar="DIR", help="a folder that does not exist yet")
    synthetic.add_argument("--small", action="store_true", help="1,500 coarse voxels and 100 volumes, in seconds")
    synthetic.add_argument("--atlas", default="Template", metavar="NAME", help="Template, AAL2 or HCPex (%(default)s)")
    synthetic.add_argument("--volumes", type=int, metavar="N", help="volumes of the resting run")
    synthetic.add_argument("--voxels", type=int, metavar="N", help="grey-matter voxels (default: 16043)")
    synthetic.add_argument("--seed", type=int, default=1, metavar="N", help="key of all random numbers")
    export = command(
        "export",
        _export,
        "write results in the formats of other tools",
        "twinbrain export results --to bids",
    )
    export.add_argument("folder", metavar="DIR", help="results folder")
    formats = "bids, nifti, cifti, gifti, sonata, netcdf, neo, tables or pynn"
    export.add_argument("--to", required=True, metavar="FORMAT", help=formats)
    export.add_argument("--out", metavar="OUT", help="a folder that does not exist yet (default: DIR-FORMAT)")
    export.add_argument("--neurons", type=int, metavar="N", help="sonata, pynn: the network with so many neurons")
    bids = command(
        "bids",
        _bids,
        "make twins of the participants of a BIDS folder (signature of BIDS-Apps)",
        "twinbrain bids my-bids my-output participant --participant-label 01 --n-cpus 2",
    )
    _add_bids(bids)


def _add_bids(bids: argparse.ArgumentParser) -> None:
    bids.add_argument("bids_dir", metavar="BIDS_DIR", help="BIDS folder with derivatives")
    bids.add_argument("output_dir", metavar="OUT_DIR", help="output folder")
    bids.add_argument("analysis_level", metavar="participant", help="the only level there is")
    bids.add_argument(
        "--participant-label", "--participant_label", nargs="+", default=[], metavar="LABEL", help="whom (default: all)"
    )
    bids.add_argument("--task", "--task-id", metavar="NAME", help="the BOLD run to fit (default: rest)")
    add_choices(bids)
    bids.add_argument("--level", choices=("region", "voxel"), help="one voxel per region, or the person's own voxels")
    bids.add_argument("--study", metavar="STUDY", help="a study whose settings are used for everyone")
    bids.add_argument("--n-cpus", "--n_cpus", "--nprocs", type=int, metavar="N", help="threads of the engine; 0 = all")
    bids.add_argument("--mem-gb", "--mem_gb", type=float, metavar="GB", help="refuse what needs more memory")
    bids.add_argument("-w", "--work-dir", metavar="DIR", help="where unfinished runs are kept")
    bids.add_argument("--skip-bids-validator", "--skip_bids_validator", action="store_true", help="accepted, no effect")
    bids.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="replace one value")


def add_choices(parser: argparse.ArgumentParser) -> None:
    """Add what says which of several files are meant; messages call them as Python does, such as atlas=."""
    parser.add_argument("--session-label", "--session_label", metavar="LABEL", help="which session")
    parser.add_argument("--space", metavar="NAME", help="which space, where there are several")
    parser.add_argument("--atlas", metavar="NAME|IMAGE", help="which atlas, by name or label image")
    parser.add_argument("--labels", metavar="TSV", help="table of the label image's regions")
    parser.add_argument("--connectome", metavar="FILE", help="the connectome, where the folder has none")
    parser.add_argument("--weighting", metavar="NAME", help="which of several connectomes")


def _choices(options: argparse.Namespace) -> dict[str, Any]:
    """What was said of :func:`add_choices`, as :func:`twinbrain.read_subject` calls it."""
    names = {"session_label": "session"} | {n: n for n in ("space", "atlas", "labels", "connectome", "weighting")}
    return {name: value for key, name in names.items() if (value := getattr(options, key)) is not None}


def with_options(study: Study, options: argparse.Namespace) -> Study:
    """Return the study with what ``--set`` and ``--threads`` say."""
    from twinbrain.config import with_settings

    settings = list(options.set)
    if options.threads is not None:
        settings.append(f"execution.threads={options.threads}")
    return with_settings(study, settings)


def page_maker() -> Callable[[Path], object] | None:
    """Return what makes the report, or say now, not after hours, that it cannot be made."""
    missing = [name for name in ("jinja2", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        _LOG.warning(
            "there will be no report: %s is not installed; install twinbrain[report] and say 'twinbrain report DIR'",
            missing[0],
        )
        return None
    from twinbrain.report.page import report

    return report


def run_check(options: argparse.Namespace) -> None:
    """Say what was found in a study, a person's folder, a results folder or an export."""
    path = Path(options.what)
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder; give a study in TOML, or a person's folder or file")
    if path.is_dir() and (options.set or options.threads is not None):
        given = "--set" if options.set else "--threads"
        raise InputError(f"{given} changes a study, but '{path}' is a folder; give 'twinbrain check' a study instead")
    if path.is_dir() and ((path / "status").exists() or (path / "checksums.json").exists()):
        _check_results(path)
        return
    if (path / "checksums.sha256").is_file():
        from twinbrain.export.folder import verify_export

        print(f"{path}: all {verify_export(path)} files are as they were exported")
        return
    from twinbrain.experiment.check import findings

    if path.is_dir() or path.suffix.lower() in _PERSONS:
        from twinbrain.data.read import read_subject

        found = findings(read_subject(path, options.participant, **_choices(options)))
        _show(found)
        print("A study names the inputs and sizes: give 'twinbrain check' a study for the estimate.")
    else:
        from twinbrain.config import read_study
        from twinbrain.experiment.prepare import prepare

        for name in _choices(options):
            raise InputError(f"{path}: a study says itself which {name} it takes, in its table [subject]")
        study = with_options(read_study(path), options)
        ready = prepare(study)
        found = findings(ready.person, study=study, ready=ready)
        _show(found)
    if options.page is not None:
        from twinbrain.report.check_page import check_page

        print(f"picture: {check_page(found, options.page)}")
    else:
        print("A picture of it: add --page check.html")


def _check_results(folder: Path) -> None:
    from twinbrain.store import load

    result = load(folder)
    print(f"{folder}: every file is as it was written; status: {result.status or 'none'}")
    for name, group in result.groups.items():
        print(f"  {name}: {', '.join(str(key) for key in group.data_vars)}")


def _show(found: Findings) -> None:
    print(f"person: {found.person}")
    for row in found.rows:
        note = f"  [{row.note}]" if row.note else ""
        mark = "ASKED FOR: " if row.state == "missing" else ""
        print(f"  {row.what}: {mark}{row.found}{note}")
    shown = {"regions without connectome"}
    for what, text in found.steps:
        if " " in text and what not in shown:  # a sentence, not a file
            print(f"  {what}: {text}")
    for what, text in found.plans:
        print(f"estimate, {what}: {text}")
    for sentence in found.warnings:
        print(f"warning: {sentence}")


def _synthetic(options: argparse.Namespace) -> None:
    from twinbrain.experiment.synthetic_bids import synthetic_bids

    if options.seed < 0:
        raise InputError(f"--seed is {options.seed}, but a whole number of 0 or more is needed")
    person = synthetic_bids(
        options.folder,
        atlas=options.atlas,
        small=options.small,
        voxels=options.voxels,
        volumes=options.volumes,
        seed=options.seed,
    )
    size = f"{len(person.voxel_region):,} voxels of {person.voxel_mm:g} mm"
    print(f"{options.folder}: {len(person.regions)} regions, {size}")
    print(f"what was planted: {Path(options.folder) / 'sourcedata' / 'truth'}")


def _bids(options: argparse.Namespace) -> None:
    from twinbrain.bids_app import BidsOptions, run_bids
    from twinbrain.config import demo_study, read_study

    if options.analysis_level != "participant":
        raise InputError(f"the analysis level is '{options.analysis_level}', but only 'participant' is possible")
    if options.n_cpus is not None and options.n_cpus < 0:
        raise InputError(f"--n-cpus is {options.n_cpus}, but a whole number of 0 (all) or more is needed")
    if options.mem_gb is not None and not options.mem_gb > 0:
        raise InputError(f"--mem-gb is {options.mem_gb:g}, but a number above 0 is needed")
    asked = BidsOptions(
        labels=tuple(options.participant_label),
        study=demo_study() if options.study is None else read_study(options.study),
        settings=tuple(options.set),
        scaled=options.study is None,
        task=options.task,
        session=options.session_label,
        space=options.space,
        atlas=options.atlas,
        label_table=options.labels,
        connectome=options.connectome,
        weighting=options.weighting,
        level=options.level,
        threads=options.n_cpus,
        memory_gb=options.mem_gb,
        work=None if options.work_dir is None else Path(options.work_dir),
    )
    made = run_bids(options.bids_dir, options.output_dir, asked, progress=options.quiet == 0, finish=page_maker())
    for place in made:
        print(f"{place.name}: results {place}, report {Path(options.output_dir) / place.name}.html")


def _export(options: argparse.Namespace) -> None:
    from twinbrain.export.results import export

    print(export(options.folder, options.to, options.out, neurons=options.neurons))
