"""``twinbrain bids``: from a BIDS folder with derivatives to twins and reports, with the signature of BIDS-Apps."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from twinbrain.config import Study, check_study, with_settings
from twinbrain.errors import InputError

if TYPE_CHECKING:
    from twinbrain.experiment.prepare import Prepared

__all__ = ["BidsOptions", "participants", "run_bids"]

_LOG = logging.getLogger(__name__)
_DEMO = Study()

_FIT_NEURONS = 160  # per region in each network of the ensemble; as many as in the demonstration
_TWIN_NEURONS = 1000  # per region in the free run
_MANY_REGIONS = 150  # above it, what is only repetition (30 members, a second free run) would take hours


@dataclass(frozen=True)
class BidsOptions:
    """What the command line says beside the folders.

    Attributes
    ----------
    labels
        Participants, with or without ``sub-``; empty for all.
    study
        Where sizes, inputs and seeds come from; its ``[subject]`` is replaced.
    settings
        ``table.key=value`` each, as ``--set``.
    scaled
        Scale the networks to the number of regions, and take fewer volumes if the run is shorter; with more than 150
        regions, leave out what is only repetition: ``inverse`` instead of ``esmda``, one free run, no search for the
        gain at which the network breaks. What ``settings`` or a study file name stays.
    task, session, space, atlas, label_table, connectome, weighting
        Which of several runs, sessions, spaces, atlases and connectomes.
    level
        ``"region"`` or ``"voxel"``; None for the study's.
    threads
        Of the engine; None for the study's.
    memory_gb
        Refuse what needs more.
    work
        Where unfinished runs are kept; default: in the output folder.

    Examples
    --------
    >>> BidsOptions(labels=("01",)).task is None
    True
    """

    labels: tuple[str, ...] = ()
    study: Study = _DEMO
    settings: tuple[str, ...] = ()
    scaled: bool = True
    task: str | None = None
    session: str | None = None
    space: str | None = None
    atlas: str | None = None
    label_table: str | None = None
    connectome: str | None = None
    weighting: str | None = None
    level: str | None = None
    threads: int | None = None
    memory_gb: float | None = None
    work: Path | None = None


def participants(folder: Path, labels: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the labels of the participants to work on, in order.

    Parameters
    ----------
    folder
        A BIDS folder.
    labels
        Those asked for; without any, all.

    Raises
    ------
    InputError
        If there is none, or not the one that was asked for.

    Examples
    --------
    >>> participants(Path("no/such/folder"))
    Traceback (most recent call last):
    ...
    twinbrain.errors.InputError: no/such/folder: there is no such folder; give a BIDS folder
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "there is no such folder"
        raise InputError(f"{folder}: {what}; give a BIDS folder")
    places = [folder, *(p for p in sorted((folder / "derivatives").glob("*")) if p.is_dir())]
    found = sorted({p.name[4:] for place in places for p in place.glob("sub-*") if p.is_dir()})
    if not found:
        raise InputError(f"{folder}: there is no participant (no folder sub-...); give a BIDS folder with derivatives")
    wanted = [label.removeprefix("sub-") for label in labels]
    for label in wanted:
        if label not in found:
            raise InputError(f"{folder}: there is no participant '{label}'; there is {', '.join(found[:10])}")
    return tuple(wanted or found)


def run_bids(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: BidsOptions | None = None,
    *,
    progress: bool = True,
    finish: Callable[[Path], object] | None = None,
) -> list[Path]:
    """Make a twin of every participant of a BIDS folder.

    For each one: read and check the data, make the page of what was found, fit, run the twin, compare, report. ``out``
    gets ``sub-X/`` (BIDS derivatives), ``sub-X.html`` (the report), ``sub-X_check.html`` (what was found) and
    ``twinbrain/sub-X`` (the results folder). Run again, it goes on with what is unfinished and leaves the rest alone.

    Parameters
    ----------
    folder
        The BIDS folder.
    out
        Where results go; made if needed.
    options
        What else was said.
    progress
        Show progress.
    finish
        Makes the report of a results folder; None for no report.

    Returns
    -------
    list of pathlib.Path
        One results folder per participant.

    Raises
    ------
    InputError
        If the data or the place cannot be used, or the memory would not suffice.
    """
    options = options or BidsOptions()
    folder, out = Path(folder), Path(out)
    labels = participants(folder, options.labels)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a folder; choose another output folder")
    if folder.resolve() == out.resolve():
        raise InputError(f"{out}: is the folder of the data; choose another output folder")
    done = []
    for label in labels:
        _LOG.info("participant %s", label)
        done.append(_participant(folder, out, label, options, progress, finish))
    return done


def _participant(
    folder: Path,
    out: Path,
    label: str,
    options: BidsOptions,
    progress: bool,
    finish: Callable[[Path], object] | None,
) -> Path:
    from twinbrain.experiment.main_job import resume_study, run_study
    from twinbrain.experiment.prepare import prepare
    from twinbrain.store import read_status

    place = out / "twinbrain" / f"sub-{label}"
    working = place if options.work is None else options.work / f"sub-{label}"
    if read_status(place) == "complete":
        _LOG.info("participant %s is complete: %s", label, place)
        return place
    if read_status(working) and (working / "study.toml").exists():
        resume_study(working, progress=progress, finish=finish)
    else:
        study = participant_study(folder, label, options)
        ready = prepare(study)
        _check_memory(study, ready, options.memory_gb)
        _make_room(out)
        _check_page(study, ready, out / f"sub-{label}_check.html")
        run_study(study, working, progress=progress, finish=finish)
    if working != place:
        _moved(working, place)
    _derivatives(place, out, label)
    return place


def participant_study(folder: Path, label: str, options: BidsOptions) -> Study:
    """Return the study of one participant.

    Examples
    --------
    >>> options = BidsOptions(scaled=False, task="rest", threads=2)
    >>> participant_study(Path("bids"), "01", options).execution.threads
    2
    """
    given: dict[str, Any] = {
        "sample": None,
        "folder": str(folder.resolve()),
        "participant": label,
        "session": options.session,
        "space": options.space,
        "atlas": _place(options.atlas),
        "labels": _place(options.label_table),
        "connectome": _place(options.connectome),
        "weighting": options.weighting,
    }
    subject = msgspec.structs.replace(options.study.subject, **{k: v for k, v in given.items() if v or k == "sample"})
    if options.task is not None:
        subject = msgspec.structs.replace(subject, run=options.task)
    study = msgspec.structs.replace(options.study, subject=subject)
    if options.level is not None:
        study = msgspec.structs.replace(study, brain=msgspec.structs.replace(study.brain, level=options.level))
    if options.threads is not None:
        study = msgspec.structs.replace(
            study, execution=msgspec.structs.replace(study.execution, threads=options.threads)
        )
    if options.scaled:
        study = _scaled(study, options.settings)
    return check_study(with_settings(study, options.settings))


def _place(name: str | None) -> str | None:
    """Make a path absolute, so that the study in the results folder means the same file from anywhere."""
    return str(Path(name).resolve()) if name is not None and Path(name).exists() else name


def _scaled(study: Study, settings: Sequence[str]) -> Study:
    """Fit sizes to the person: neurons to the number of regions, volumes to the length of the run."""
    from twinbrain.experiment.prepare import person_of

    person = person_of(with_settings(study, settings))
    regions = len(person.regions)
    fit, twin, laminar = study.assimilation, study.twin, study.laminar
    bold = person.bold.get(study.subject.run)
    volumes = fit.volumes if bold is None else min(fit.volumes, bold.sizes["time"] - fit.first_volume)
    study = msgspec.structs.replace(
        study,
        assimilation=msgspec.structs.replace(fit, neurons=_FIT_NEURONS * regions, volumes=max(volumes, 20)),
        twin=msgspec.structs.replace(twin, neurons=_TWIN_NEURONS * regions),
        laminar=msgspec.structs.replace(laminar, neurons=_TWIN_NEURONS * regions),
    )
    return study if regions <= _MANY_REGIONS else _once(study, regions)


def _once(study: Study, regions: int) -> Study:
    """Every network as large as it should be, but run once: no ensemble, one free run, no breaking point."""
    _LOG.info(
        "%d regions: fitted by the inverse (no posterior spread), one free run, no search for the breaking point; to "
        "have them: --set assimilation.method=esmda --set twin.members=2 --set calibration.margin=true",
        regions,
    )
    return msgspec.structs.replace(
        study,
        calibration=msgspec.structs.replace(study.calibration, margin=False),
        assimilation=msgspec.structs.replace(study.assimilation, method="inverse"),
        twin=msgspec.structs.replace(study.twin, members=1),
    )


def _check_memory(study: Study, ready: Prepared, limit_gb: float | None) -> None:
    if limit_gb is None:
        return
    fit = study.assimilation
    members = 1 if fit.method == "inverse" else fit.members  # the inverse takes its networks one by one
    plans = [("assimilation", ready.network, members), ("twin", ready.twin, study.twin.members)]
    if ready.laminar is not None:
        plans.append(("laminar", ready.laminar, 1))
    for name, network, members in plans:
        estimate = network.estimate(1.0, members=members)
        needed = max(estimate.memory_gb, estimate.build_memory_gb)
        if needed > limit_gb:
            raise InputError(
                f"{name}: about {needed:.2g} GB are needed and --mem-gb allows {limit_gb:g}; ask for fewer neurons "
                f"(--set {name}.neurons=...) or members"
            )


def _make_room(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made ({error.strerror}); choose another output folder") from None


def _check_page(study: Study, ready: Prepared, path: Path) -> None:
    if importlib.util.find_spec("jinja2") is None or importlib.util.find_spec("matplotlib") is None:
        return
    from twinbrain.experiment.check import findings
    from twinbrain.report.check_page import check_page

    check_page(findings(ready.person, study=study, ready=ready), path)


def _moved(working: Path, place: Path) -> None:
    """Put a finished results folder where it belongs, whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}-moving")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(working, temporary, ignore=shutil.ignore_patterns(".lock"))
        os.replace(temporary, place)
    except OSError as error:
        raise InputError(
            f"{place}: cannot be written ({error.strerror or error}); the results are in {working}"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(working, ignore_errors=True)


def _derivatives(place: Path, out: Path, label: str) -> None:
    """Write the BIDS derivatives and the report beside the results folder, unless they are there."""
    from twinbrain.export.results import export
    from twinbrain.store import write_text_atomic

    page = place / "report.html"
    if page.is_file():
        write_text_atomic(out / f"sub-{label}.html", page.read_text(encoding="utf-8"))
    temporary = out / f".bids-{label}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        export(place, "bids", temporary)
        made = next(path for path in temporary.iterdir() if path.name.startswith("sub-"))
        target = out / f"sub-{label}"
        shutil.rmtree(target, ignore_errors=True)
        os.replace(made, target)
        about = json.loads((temporary / "dataset_description.json").read_text(encoding="utf-8"))
        write_text_atomic(out / "dataset_description.json", json.dumps(about, indent=2) + "\n")
        write_text_atomic(out / ".bidsignore", "*_relmat*\n*.html\ntwinbrain/\n")
        known = [f"sub-{p.name[4:]}" for p in sorted(out.glob("sub-*")) if p.is_dir() and re.match(r"sub-\w+$", p.name)]
        write_text_atomic(out / "participants.tsv", "\n".join(["participant_id", *known]) + "\n")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
