"""Series and tables that people bring by mistake: BOLD, CIFTI, labels, events, PET, confounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

import files
from bad_files import Case, cut, edited, saved, swapped, text
from twinbrain.data.cifti import read_dlabel
from twinbrain.data.events import read_events
from twinbrain.data.pet import read_pet_table
from twinbrain.data.preparation import Preparation, prepare_run, read_confounds
from twinbrain.data.read import read_subject
from twinbrain.data.series_files import read_series_file
from twinbrain.data.tables import read_labels

R = files.REGIONS


def with_series(values: np.ndarray, names: tuple[str, ...] = R) -> Callable[[Path], object]:
    def go(folder: Path) -> object:
        rows = "\n".join("\t".join(map(repr, row)) for row in np.asarray(values).tolist())
        (folder / "rest.tsv").write_text("\t".join(names) + "\n" + rows + "\n")
        sc = files.labelled_csv(folder / "sc.csv")
        return read_subject(sc, bold={"rest": folder / "rest.tsv"}, repetition_time_s=0.72)

    return go


def scrubbed(limit: float, rows: int = 40) -> Callable[[Path], object]:
    def go(folder: Path) -> object:
        import xarray as xr

        table = read_confounds(files.confounds_tsv(folder / "c.tsv"))
        run = xr.DataArray(files.series(rows), dims=("time", "region"), attrs={"repetition_time_s": 0.72})
        return prepare_run(run, Preparation(scrub_mm=limit), table, str(folder / "c.tsv"))

    return go


def _series(path: Path) -> object:
    return read_series_file(path, R, repetition_time_s=0.72)


X = files.series()


CASES: list[Case] = [
    # series
    ("transposed series", with_series(X.T[:, :5], R), r"rest.* 5 volumes were found, but at least 20 are needed"),
    (
        "constant series",
        with_series(swapped(X, (slice(None), 2), 7.0)),
        r"region 'Thalamus_L' is constant \(7 in all 40 volumes\)",
    ),
    (
        "NaN in a series",
        with_series(swapped(X, (3, 2), np.nan)),
        r"rest.tsv, row 5, column 'Thalamus_L': 'nan' is not a finite number",
    ),
    (
        "a region unknown",
        with_series(X, (*R[:4], "Precentral_l")),
        r"region 'Precentral_l' is not in the connectome; did you mean 'Precentral_L'",
    ),
    (
        "a region missing",
        with_series(X[:, :4], R[:4]),
        r"region 'Precentral_L' is not in the series \(1 of 5 do not match\)",
    ),
    ("too short", with_series(X[:12]), r"12 volumes were found, but at least 20 are needed"),
    (
        "no header",
        text("x.csv", "1,2\n3,4\n", lambda p: read_series_file(p, repetition_time_s=1)),
        r"row 1: numbers were found, but the first row must hold the region names",
    ),
    (
        "names and columns differ",
        text("x.csv", "1,2\n3,4\n", _series),
        r"2 columns were found, but 5 regions are named",
    ),
    (
        "transposed array",
        saved("x.npy", lambda p: np.save(p, X[:, :3]), _series),
        r"array 'x' is 40 x 3, but 5 regions are named; give time x region",
    ),
    (
        "TR missing",
        saved("x.npy", lambda p: np.save(p, X), lambda p: read_series_file(p, R)),
        r"x.npy: the repetition time is missing; give repetition_time_s in seconds",
    ),
    (
        "TR in ms",
        saved("x.npy", lambda p: np.save(p, X), lambda p: read_series_file(p, R, repetition_time_s=720)),
        r"is 720, but seconds above 0 are needed; if it is in milliseconds, that is 0.72 s",
    ),
    (
        "TR below 0",
        saved("x.npy", lambda p: np.save(p, X), lambda p: read_series_file(p, R, repetition_time_s=-1)),
        r"the repetition time is -1, but seconds above 0 are needed",
    ),
    (
        "TR of the side-car is text",
        edited(
            "x_timeseries.tsv",
            files.series_tsv,
            lambda t: t.replace("\n", "\n", 1) + " ",
            lambda p: (
                p.with_suffix(".json").write_text('{"RepetitionTime": "2"}'),
                p.write_text(p.read_text().rstrip() + "\n"),
                read_series_file(p),
            )[2],
        ),
        r"x_timeseries.json: RepetitionTime is '2', but a number of seconds is needed",
    ),
    # CIFTI
    (
        "cifti: TR in ms",
        saved("a.ptseries.nii", lambda p: files.ptseries(p, step=720.0), read_series_file),
        r"the repetition time in the file is 720 s, which looks like milliseconds",
    ),
    (
        "cifti: TR 0",
        saved("a.ptseries.nii", lambda p: files.ptseries(p, step=0.0), read_series_file),
        r"the repetition time in the file is 0 s, but a number above 0",
    ),
    (
        "cifti: Hz",
        saved("a.ptseries.nii", lambda p: files.ptseries(p, unit="HERTZ"), read_series_file),
        r"the series' unit is HERTZ, but SECOND is needed",
    ),
    (
        "cifti: dense without labels",
        saved("a.dtseries.nii", files.dtseries, read_series_file),
        r"a dense series has vertices, not regions; give labels=",
    ),
    (
        "cifti: labels as series",
        saved("a.ptseries.nii", lambda p: files.dlabel(p.with_name("l.dlabel.nii")).rename(p), read_series_file),
        r"a matrix of LabelAxis x BrainModelAxis was found",
    ),
    (
        "cifti: series as labels",
        saved("a.dlabel.nii", lambda p: files.ptseries(p.with_name("s.ptseries.nii")).rename(p), read_dlabel),
        r"this is no table of labels over vertices",
    ),
    (
        "cifti: cut off",
        cut("a.ptseries.nii", files.ptseries, 0.9, read_series_file),
        r"the header announces \d+ bytes, but the file has \d+; it is cut off",
    ),
    # tables
    ("labels: no name", text("l.tsv", "index\ttitle\n1\ta\n", read_labels), r"l.tsv, row 1: there is no column 'name'"),
    (
        "labels: a fraction",
        text("l.tsv", "index\tname\n1.5\ta\n", read_labels),
        r"row 2, column 'index': '1.5' was found, but a label is a whole number",
    ),
    (
        "labels: twice",
        text("l.tsv", "index\tname\n1\ta\n1\tb\n", read_labels),
        r"row 3: label 1 is there twice \('a' before\); keep one",
    ),
    (
        "labels: laminar maybe",
        text("l.tsv", "index\tname\tlaminar\n1\ta\tmaybe\n", read_labels),
        r"row 2, column 'laminar': 'maybe' was found; give true or false",
    ),
    (
        "events: no onset",
        text("e.tsv", "start\tduration\n1\t2\n", read_events),
        r"e.tsv, row 1: the column 'onset' is missing",
    ),
    (
        "events: text",
        text("e.tsv", "onset\tduration\nsoon\t2\n", read_events),
        r"row 2, column 'onset': 'soon' is not a number; give seconds",
    ),
    (
        "events: below 0",
        text("e.tsv", "onset\tduration\n1\t-2\n", read_events),
        r"row 2, column 'duration': -2 was found",
    ),
    (
        "events: in ms",
        text("e.tsv", "onset\tduration\n90000\t2\n", lambda p: read_events(p, 100)),
        r"90000 was found, but the run ends at 100 s; the onsets may be in milliseconds",
    ),
    (
        "pet: below 0",
        text("p.tsv", "name\tvalue\n" + "\n".join(f"{n}\t-1" for n in R), lambda p: read_pet_table(p, R)),
        r"-1 was found for region 'Insula_L', but synaptic density is above 0",
    ),
    (
        "pet: a region missing",
        text("p.tsv", "name\tvalue\nInsula_L\t1\n", lambda p: read_pet_table(p, R)),
        r"region 'Insula_R' is missing",
    ),
    (
        "pet: two columns",
        text("p.tsv", "name\ta\tb\nInsula_L\t1\t2\n", lambda p: read_pet_table(p, R)),
        r"2 columns can be the values; call the right one 'value'",
    ),
    (
        "pet: no unit",
        lambda f: read_subject(files.labelled_csv(f / "sc.csv"), pet=files.pet_tsv(f / "p.tsv")),
        r"the unit of the PET table is missing; say pet_units=",
    ),
    (
        "confounds: text",
        text("c.tsv", "a\tb\n1\tx\n", read_confounds),
        r"c.tsv, row 2, column 'b': 'x' is not a number; give one or n/a",
    ),
    (
        "confounds: no names",
        text("c.tsv", "1\t2\n3\t4\n", read_confounds),
        r"row 1: numbers were found, but the first row must hold the confounds' names",
    ),
    ("confounds: other run", scrubbed(0.5, rows=30), r"40 rows were found, but the run has 30 volumes"),
    ("everything scrubbed", scrubbed(0.01), r"volumes moved by more than 0.01 mm, which leaves \d+; that is too few"),
]
