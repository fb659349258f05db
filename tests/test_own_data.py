"""The worked example of docs/own_data.md: from arrays to files, and from the study to results."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import twinbrain as tb
from twinbrain.cli import main
from twinbrain.config import study_from_dict
from twinbrain.report.reading import Reading

TEXT = (Path(__file__).parents[1] / "docs" / "own_data.md").read_text(encoding="utf-8")
EXAMPLE = TEXT[TEXT.index("## From arrays to a report") : TEXT.index("## Which sizes work")]
(CODE,) = re.findall(r"```python\n(.*?)```", EXAMPLE, re.DOTALL)
(STUDY,) = re.findall(r"```toml\n(.*?)```", EXAMPLE, re.DOTALL)
COMMANDS = re.findall(r"^    twinbrain (.*)$", EXAMPLE, re.MULTILINE)
SMALLER = [word for text in ("members=3", "volumes=45", "warm_up=2") for word in ("--set", f"assimilation.{text}")]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the example has been followed up to its commands."""
    monkeypatch.chdir(tmp_path)
    exec(compile(CODE, "own_data.md", "exec"), {})
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def test_the_arrays_become_files_that_hold_them(place: Path) -> None:
    known: dict[str, object] = {}
    (place / "sub-01").rename(place / "first")
    exec(compile(CODE, "own_data.md", "exec"), known)
    person = tb.read_subject("sub-01")
    assert person.regions == tuple(known["regions"])  # type: ignore[arg-type]
    assert np.array_equal(person.connectome.values, known["streamlines"])  # type: ignore[arg-type]
    assert np.array_equal(person.bold["rest"].values, known["rest"])  # type: ignore[arg-type]
    assert not np.array_equal(person.bold["rest"].values, -known["rest"])  # type: ignore[operator]
    assert person.grey_matter.attrs["units"] == "mm3"
    assert person.laminar.values.all()
    for name in ("connectome.csv", "regions.csv", "bold_rest.csv", "subject.toml"):
        assert (place / "sub-01" / name).read_bytes() == (place / "first" / name).read_bytes()


def test_the_study_keeps_to_the_sizes_it_recommends() -> None:
    study = study_from_dict(tomllib.loads(STUDY))
    for neurons in (study.assimilation.neurons, study.twin.neurons, study.laminar.neurons):
        assert neurons / 20 >= 150
        assert neurons / 20 > study.network.in_degree


def test_the_study_can_be_checked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check, run = COMMANDS
    assert main(check.split()) == 0
    said = capsys.readouterr().out
    assert "regions: 20, 20 of them six-layered cortex" in said
    assert "BOLD run 'rest': 300 volumes of 0.8 s (240 s)" in said
    assert "20 regions matched by name" in said
    assert "inputs: ctx-lh-1, ctx-rh-1" in said
    assert run.split()[:2] == ["run", "study.toml"]
    assert main([*check.split(), "--set", 'assimilation.inputs=["ctx-lh-11"]']) == 1
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.slow
def test_the_study_runs_and_its_network_is_asynchronous(place: Path) -> None:
    assert main(["-q", *COMMANDS[1].split(), *SMALLER]) == 0
    reading = Reading(tb.load(place / "results"))
    assert reading.laminar_state.good, reading.laminar_state.explained
    assert reading.state.good, reading.state.explained
    assert reading.regions == 20
    assert (place / "results" / "report.html").exists()
