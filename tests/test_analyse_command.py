"""``twinbrain analyse``: what it reads, what it writes, and one sentence for what it cannot use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import twinbrain as tb
from small_study import write_person
from twinbrain.analyse_files import Wanted, analyse_files
from twinbrain.cli import main

NAMES = ["V1", "A1", "M1", "PFC", "Thal"]


def values(volumes: int = 120) -> np.ndarray:
    rng = np.random.Generator(np.random.Philox(key=1))
    noise = rng.normal(size=(volumes + 8, 5)) + 0.5 * rng.normal(size=(volumes + 8, 1))
    return np.stack([np.convolve(column, np.hanning(9), "valid") for column in noise.T], axis=1)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "bold.csv"
    pd.DataFrame(values(), columns=NAMES).to_csv(file, index=False)
    return file


def run(*words: object) -> int:
    return main(["-q", "analyse", *(str(word) for word in words)])


def test_a_table_gives_tables_figures_and_a_page(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.parent / "out"
    assert run(table, "--repetition-time", 1.5, "--out", out, "--nulls", 5) == 0
    said = capsys.readouterr().out
    assert "mean_order" in said
    assert str(out / "report.html") in said
    stored = tb.load(out)
    bold = xr.DataArray(values(), dims=("time", "region"), coords={"time": np.arange(120) * 1.5, "region": NAMES})
    alone = tb.analyse(bold, nulls=5).table
    assert np.allclose(stored.tables["analysis"]["value"], alone["value"], rtol=1e-6, equal_nan=True)
    assert {f.stem for f in (out / "figures").glob("*.svg")} >= {"order", "spectra", "fcd", "causality"}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert '<h1 id="analysis-title">Analysis of bold.csv</h1>' in page
    assert "http-equiv" not in page
    assert "src=" not in page


def test_the_same_series_in_every_form_gives_the_same_table(table: Path, tmp_path: Path) -> None:
    x = values()
    frame = pd.DataFrame(x, columns=NAMES)
    frame.to_csv(tmp_path / "b.tsv", index=False, sep="\t")
    frame.to_csv(tmp_path / "numbered.csv")
    frame.assign(time=np.arange(120) * 1.5).to_csv(tmp_path / "timed.csv", index=False)
    np.savez(tmp_path / "b.npz", bold=x, regions=NAMES, repetition_time_s=1.5)
    np.save(tmp_path / "b.npy", x)
    options = {"what": ["synchrony"], "page": False, "nulls": 0}
    timed = Wanted(repetition_time_s=1.5)
    first = analyse_files(str(table), tmp_path / "o1", wanted=timed, **options)
    for name, wanted in (
        ("b.tsv", timed), ("numbered.csv", timed), ("timed.csv", Wanted()), ("b.npz", Wanted()), ("b.npy", timed),
    ):  # fmt: skip
        found = analyse_files(str(tmp_path / name), tmp_path / "o2", wanted=wanted, **options)
        assert np.allclose(found["value"], first["value"], rtol=1e-9), name
    other = analyse_files(str(table), tmp_path / "o3", wanted=Wanted(2.0), **options)
    assert not np.allclose(other["value"], first["value"], rtol=1e-3)


def test_a_model_beside_a_recording_and_regions_left_out(table: Path, tmp_path: Path) -> None:
    recorded = np.loadtxt(table, delimiter=",", skiprows=1)
    frame = pd.DataFrame(tb.band_pass(recorded, 1.5), columns=NAMES)  # a model that gives what it is held against
    frame["V1"] = 4.0
    (tmp_path / "model.csv").write_text(frame.to_csv(index=False))
    words = (
        tmp_path / "model.csv",
        "--recorded",
        table,
        "--repetition-time",
        1.5,
        "--nulls",
        0,
        "--out",
        tmp_path / "o",
    )
    assert run(*words, "--without", "V1", "--what", "similarity,synchrony") == 0
    stored = tb.load(tmp_path / "o").tables["analysis"]
    assert stored.loc["fc_pcc", "model_value"] == pytest.approx(1)
    assert "4 regions" in stored.loc["bold_pcc", "model_note"]
    assert run(*words) == 1


def test_a_person_and_the_results_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    person = write_person(tmp_path / "sub", volumes=80)
    assert run(person, "--what", "synchrony", "--nulls", 0, "--out", tmp_path / "o") == 0
    bold = tb.read_subject(person).bold["rest"]
    run_folder = tmp_path / "run"
    twin = (bold + bold.std().item() * np.random.default_rng(1).normal(size=bold.shape)).to_dataset(name="bold")
    tb.save(run_folder, study="[network]\n", twin=twin, recorded=bold.to_dataset(name="bold"))
    assert run(run_folder, "--what", "synchrony", "--nulls", 0, "--out", tmp_path / "o2") == 0
    assert "model_value" in tb.load(tmp_path / "o2").tables["analysis"]
    capsys.readouterr()
    for words, message in (
        ((run_folder, "--out", run_folder), "holds a run, which an analysis would replace"),
        ((tmp_path / "o2", "--out", tmp_path / "o3"), "holds an analysis, expected a run or BOLD"),
        ((person, "--run", "task", "--out", tmp_path / "o3"), "has no run 'task'; its runs are rest"),
    ):
        assert run(*words) == 1
        said = capsys.readouterr().err
        assert message in said
        assert "Traceback" not in said
    assert not (tmp_path / "o3").exists()


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        (None, (), "b.csv: does not say how far apart its volumes are; give --repetition-time SECONDS"),
        (
            None,
            ("--repetition-time", 720),
            "--repetition-time is 720, expected seconds above 0 and up to 30; 720 ms would",
        ),
        (
            None,
            ("--repetition-time", 2, "--what", "sync"),
            "there is no part 'sync' of the analysis; did you mean 'sync",
        ),
        (None, ("--repetition-time", 2, "--without", "V9"), "--without names 'V9', which is not there"),
        (None, ("--repetition-time", 2, "--channels", "V9,A1"), "channel 'V9' is not among the 5 regions"),
        ("A,B\n1,2\n3\n", ("--repetition-time", 2), "b.csv, row 3: has 1 cells, expected 2 as in row 1"),
        (
            "A,B\n1,n/a\n2,3\n",
            ("--repetition-time", 2),
            "row 2, column 'B': 'n/a' is no number; give one, or leave the",
        ),
        ("A,B\n", ("--repetition-time", 2), "b.csv: has 1 rows, expected one per volume"),
        ("A,B\n1,2\n2,3\n", ("--repetition-time", 2), "an analysis was asked of 2 volumes, expected at least 40"),
        ("A,A\n" + "1,2\n2,1\n" * 30, ("--repetition-time", 2), "region 'A' is named twice"),
    ],
)
def test_what_a_newcomer_may_try(
    table: Path, text: str | None, words: tuple[object, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = table.with_name("b.csv")
    file.write_text(table.read_text() if text is None else text)
    assert run(file, *words, "--nulls", 0, "--out", table.parent / "o") == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("twinbrain: ")
    assert message in said
    assert not (table.parent / "o").exists()


def test_other_files_are_refused_by_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"x")
    (tmp_path / "a.mat").write_bytes(b"x")
    (tmp_path / "a.npz").write_bytes(b"x")
    np.savez(tmp_path / "t.npz", bold=np.zeros((5, 90)), regions=NAMES)
    np.savez(tmp_path / "two.npz", a=np.zeros((5, 9)), b=np.zeros((5, 9)))
    for name, message in (
        ("a.nii.gz", "is an image, expected a .csv"),
        ("a.mat", "is a '.mat' file"),
        ("a.npz", "cannot be read as a NumPy file"),
        ("t.npz", "names 5 regions, but 'bold' has 90 columns; put time first"),
        ("two.npz", "holds a, b, expected 'bold' (time, region)"),
        ("none.csv", "there is no such file or folder, nor is it the number of a sample person"),
        (".", "is neither a results folder"),
    ):
        assert run(tmp_path / name, "--out", tmp_path / "o") == 1, name
        assert message in capsys.readouterr().err, name
