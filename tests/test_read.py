"""A folder of plain files is read to the number, or refused with the file, the row and the column."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from twinbrain.data.read import read_subject, write_subject
from twinbrain.data.subject import Subject
from twinbrain.errors import InputError

REGIONS = ["Insula_L", "Insula_R", "Thalamus_L"]


def make() -> Subject:
    random = np.random.default_rng(3)
    return Subject.from_arrays(
        random.random((3, 3)) * (1 - np.eye(3)),
        REGIONS,
        {"rest": random.normal(size=(30, 3)), "task": random.normal(size=(25, 3))},
        repetition_time_s=0.72,
        grey_matter=random.random(3) + 1,
        lengths=random.random((3, 3)) * 50,
        positions=random.normal(size=(3, 3)),
        synaptic_density=random.random(3) + 0.5,
        laminar=[True, False, False],
        name="sub-01",
        connectome_units="streamlines",
        bold_units="%",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_subject(make(), tmp_path / "sub-01")


def edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    after = change(before)
    assert after != before, "the edit did nothing"
    path.write_text(after)


def test_what_is_written_is_read_back_to_the_bit(folder: Path) -> None:
    there, back = make(), read_subject(folder)
    assert back.name == there.name
    for field in ("connectome", "grey_matter", "laminar", "lengths", "positions", "synaptic_density"):
        xr.testing.assert_identical(getattr(back, field), getattr(there, field))
    assert list(back.bold) == ["rest", "task"]
    for run in back.bold:
        xr.testing.assert_identical(back.bold[run], there.bold[run])
    assert set(back.provenance) == {p.name for p in folder.iterdir()}
    edit(folder / "bold_rest.csv", lambda t: t.replace("0.", "0.1", 1))  # control: a changed file is a changed person
    assert not read_subject(folder).bold["rest"].equals(there.bold["rest"])
    assert read_subject(folder).provenance["bold_rest.csv"] != back.provenance["bold_rest.csv"]


def test_columns_are_matched_by_name(folder: Path) -> None:
    def swap(text: str) -> str:
        rows = [line.split(",") for line in text.splitlines()]
        return "\n".join(",".join([r[2], r[0], r[1]]) for r in rows) + "\n"

    edit(folder / "bold_rest.csv", swap)
    xr.testing.assert_identical(read_subject(folder).bold["rest"], make().bold["rest"])


def test_the_direction_of_rows_is_obeyed_and_asked_for(folder: Path) -> None:
    edit(folder / "subject.toml", lambda t: t.replace('"target"', '"source"'))
    turned = read_subject(folder)
    np.testing.assert_array_equal(turned.connectome.values, make().connectome.values.T)
    assert turned.lengths is not None
    np.testing.assert_array_equal(turned.lengths.values, make().lengths.values.T)  # type: ignore[union-attr]
    edit(folder / "subject.toml", lambda t: t.replace('connectome_rows = "source"\n', ""))
    with pytest.raises(
        InputError, match="the matrix is not symmetric, and its numbers do not tell which way it points"
    ):
        read_subject(folder)


def test_a_plain_matrix_takes_its_names_from_regions(tmp_path: Path) -> None:
    (tmp_path / "subject.toml").write_text("")
    (tmp_path / "connectome.csv").write_text("0,1\n1,0\n")
    with pytest.raises(InputError, match=r"has no region names, and there is no regions.csv"):
        read_subject(tmp_path)
    (tmp_path / "regions.csv").write_text("name\nInsula_L\nInsula_R\n")
    person = read_subject(tmp_path)
    assert person.regions == ("Insula_L", "Insula_R")
    assert person.name == tmp_path.name
    assert not person.bold
    (tmp_path / "connectome.csv").write_text("0,1,2\n1,0,2\n2,2,0\n")
    with pytest.raises(InputError, match=r"the table is 3 x 3, but regions.csv names 2 regions"):
        read_subject(tmp_path)


def test_a_byte_order_mark_and_blank_lines_do_no_harm(folder: Path) -> None:
    for name in ("regions.csv", "bold_rest.csv"):
        path = folder / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\n\n")
    xr.testing.assert_identical(read_subject(folder).bold["rest"], make().bold["rest"])


def test_a_file_that_is_none_of_ours_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "events.csv").write_text("onset\n1\n")
    with caplog.at_level(logging.WARNING):
        read_subject(folder)
    assert "events.csv: this file is not part of a subject folder" in caplog.text


BAD: list[tuple[str, Callable[[str], str], str]] = [
    (
        "subject.toml",
        lambda t: t.replace("name", "name_", 1),
        "subject.toml: 'name_' is not a known key; did you mean 'name'",
    ),
    ("subject.toml", lambda t: t + "x = = 1", "subject.toml: this is not valid TOML"),
    ("subject.toml", lambda t: t.split("[")[0], "repetition_time_s is missing, but bold_rest.csv is there"),
    (
        "subject.toml",
        lambda t: t.replace("rest = 0.72", 'rest = "0.72"'),
        "is '0.72', but a number of seconds",
    ),
    ("subject.toml", lambda t: t.replace("rest = 0.72", "rest = 720.0"), "looks like milliseconds"),
    (
        "subject.toml",
        lambda t: t + "rset = 1.0",
        "names the run 'rset', but there is no bold_rset.csv; did you mean 'rest'",
    ),
    (
        "subject.toml",
        lambda t: t.replace('"target"', '"rows"'),
        "connectome_rows is 'rows', but only 'target' and 'source'",
    ),
    ("subject.toml", lambda t: t.replace('"sub-01"', "7"), "name is 7, but a text in quotes is needed"),
    (
        "connectome.csv",
        lambda t: t.replace("Insula_R,0", "Insula_R,abc0", 1),
        "connectome.csv, row 3, column 'Insula_L': 'abc0[0-9.]*' is not a finite number",
    ),
    (
        "connectome.csv",
        lambda t: t.replace("\nInsula_R,", "\nInsula_P,"),
        "'Insula_P' is in the first column but not in the header; did you mean 'Insula_R'",
    ),
    (
        "connectome.csv",
        lambda t: t.replace("Insula_R", "Insula_P"),
        r"'Insula_P' is not in regions.csv; did you mean",
    ),
    (
        "connectome.csv",
        lambda t: t.replace("Insula_R", "Insula_L"),
        "connectome.csv, row 1: region 'Insula_L' is there twice",
    ),
    (
        "connectome.csv",
        lambda t: t.replace(",0.0", ",-4.0", 1).replace(",0.", ",-0.", 1),
        "strengths must be >= 0",
    ),
    ("connectome.csv", lambda t: t.replace(",", ";"), "columns look separated by semicolons"),
    ("connectome.csv", lambda t: "", "connectome.csv: the file is empty"),
    (
        "lengths.csv",
        lambda t: t.rstrip("\n")[: t.rstrip("\n").rindex(",")],
        "lengths.csv, row 4: 3 cells were found, 4 were",
    ),
    (
        "regions.csv",
        lambda t: t.replace("laminar", "lamina"),
        "'lamina' is not a known column; did you mean 'laminar'",
    ),
    (
        "regions.csv",
        lambda t: t.replace("true", "maybe"),
        "regions.csv, row 2, column 'laminar': 'maybe' was found",
    ),
    ("regions.csv", lambda t: t.replace("name", "x", 1), "column 'x' is there twice"),
    ("regions.csv", lambda t: t.splitlines()[0], "there is no region under the header"),
    (
        "bold_rest.csv",
        lambda t: t.replace("Insula_R", "Insula_r"),
        "'Insula_r' is not one of the 3 regions; did you mean",
    ),
    (
        "bold_rest.csv",
        lambda t: "\n".join(t.splitlines()[1:]),
        "row 1: numbers were found, but the first row must hold",
    ),
    ("bold_rest.csv", lambda t: "\n".join(t.splitlines()[:15]), "bold 'rest': 14 volumes were found"),
    ("bold_rest.csv", lambda t: t.splitlines()[0], "there is no volume under the region names"),
    (
        "bold_task.csv",
        lambda t: t.replace("\n", "\nnan,1,1\n", 1),
        "bold_task.csv, row 2, column 'Insula_L': 'nan'",
    ),
    (
        "bold_task.csv",
        lambda t: t.replace("\n", "\n1,,1\n", 1),
        "row 2, column 'Insula_R': the cell is empty",
    ),
]


@pytest.mark.parametrize(("name", "change", "message"), BAD, ids=[f"{n}-{k}" for k, (n, _, _) in enumerate(BAD)])
def test_each_fault_is_named_with_its_place(
    folder: Path, name: str, change: Callable[[str], str], message: str
) -> None:
    read_subject(folder)  # control
    edit(folder / name, change)
    with pytest.raises(InputError, match=message) as caught:
        read_subject(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_named(folder: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        read_subject(folder / "nowhere")
    (folder / "bold_rest.csv").rename(folder / "bold.csv")
    with pytest.raises(InputError, match=r"bold.csv: the run has no name; rename the file to bold_<run>.csv"):
        read_subject(folder)
    (folder / "bold.csv").write_bytes(b"\xff\xfe\x00")
    (folder / "bold.csv").rename(folder / "bold_rest.csv")
    with pytest.raises(InputError, match=r"bold_rest.csv: byte 0 is not UTF-8"):
        read_subject(folder)
    for name in ("connectome.csv", "subject.toml"):
        (folder / name).unlink()
        with pytest.raises(InputError, match=rf"{name}: the file is missing"):
            read_subject(folder)


def test_writing_never_overwrites_and_leaves_nothing_half(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="there is something already"):
        write_subject(make(), folder)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("twinbrain.data.read._write", fail)
    with pytest.raises(InputError, match="No space left on device"):
        write_subject(make(), folder.parent / "sub-02")
    assert [p.name for p in folder.parent.iterdir()] == ["sub-01"]


def test_coordinates_come_in_threes(folder: Path) -> None:
    rows = [line.split(",") for line in (folder / "regions.csv").read_text().splitlines()]
    del_z = rows[0].index("z")
    (folder / "regions.csv").write_text("\n".join(",".join(r[:del_z] + r[del_z + 1 :]) for r in rows))
    with pytest.raises(InputError, match="of x, y and z only x, y is there; give all three or none"):
        read_subject(folder)
