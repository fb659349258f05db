"""The commands: exit codes, one clear message for each mistake, and no traceback ever."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from small_study import small_tables, write_person
from twinbrain import __version__, cli, store
from twinbrain.cli import main
from twinbrain.errors import InputError, Interrupted


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_person(tmp_path_factory.mktemp("data") / "sub-01")


@pytest.fixture
def study(person: Path, tmp_path: Path) -> Path:
    file = tmp_path / "study.toml"
    file.write_text(tomli_w.dumps(small_tables(person)))
    return file


def refused(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """Run a command that must fail with one sentence, and return the sentence."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    said = [line for line in lines if line.startswith("twinbrain: ")]
    assert len(said) == 1
    assert lines[-1] == said[0]
    assert not any("Traceback" in line for line in lines)
    return said[0].removeprefix("twinbrain: ")


# ---- twelve kinds of bad input -------------------------------------------------------------------------------


def test_unknown_key(capsys: pytest.CaptureFixture[str], study: Path) -> None:
    study.write_text("[network]\nin_degre = 100\n")
    message = refused(capsys, "run", study, "--out", study.parent / "out")
    assert message == f"{study}: [network] has no key 'in_degre'; did you mean 'in_degree'?"


def test_negative_neurons(capsys: pytest.CaptureFixture[str], study: Path) -> None:
    message = refused(capsys, "check", study, "--set", "twin.neurons=-5")
    assert message == "--set twin.neurons=-5: twin.neurons is -5, expected a whole number of at least 1"


def test_in_degree_zero(capsys: pytest.CaptureFixture[str], study: Path) -> None:
    message = refused(capsys, "run", study, "--out", study.parent / "out", "--set", "network.in_degree=0")
    assert "network.in_degree is 0, expected a whole number of at least 1" in message
    assert not (study.parent / "out").exists()


def test_unknown_sample(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text('[subject]\nsample = "101308"\n')
    message = refused(capsys, "check", study)
    assert "'101308' does not exist; choose one of 101309, " in message


def test_missing_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    place = tmp_path / "nowhere.toml"
    message = refused(capsys, "run", "--out", tmp_path / "out", place)
    assert message == f"{place}: there is no such file; expected a study in TOML"
    message = refused(capsys, "check", place)
    assert message == f"{place}: there is no such file or folder; give a study in TOML, or a person's folder or file"


def test_output_below_a_file(capsys: pytest.CaptureFixture[str], study: Path) -> None:
    message = refused(capsys, "run", study, "--out", study / "out")
    assert message.startswith(f"{study}/out: '{study}' is a file, expected a folder")


def test_unknown_input(capsys: pytest.CaptureFixture[str], study: Path) -> None:
    message = refused(capsys, "check", study, "--set", 'assimilation.inputs=["Thalmus_L"]')
    assert message.startswith("assimilation.inputs: 'Thalmus_L' is not one of the 5 regions of 'small'; did you mean")


def test_repetition_time_below_one_step(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = write_person(tmp_path / "sub")
    about = folder / "subject.toml"
    about.write_text(about.read_text().replace("0.8", "0.0008"))
    study = tmp_path / "study.toml"
    study.write_text(tomli_w.dumps(small_tables(folder)))
    message = refused(capsys, "check", study)
    assert "repetition time" in message
    assert "0.0008" in message


def change_table(folder: Path, name: str, change: object) -> None:
    """Rewrite the numbers of a labelled table of the person's folder."""
    lines = (folder / name).read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    start = 1 if not re.fullmatch(r"[-+.\de]+", rows[0][0]) else 0
    values = np.array([row[start:] for row in rows], dtype=float)
    changed = change(values)  # type: ignore[operator]
    body = [",".join([*row[:start], *map(str, new)]) for row, new in zip(rows, changed, strict=True)]
    (folder / name).write_text("\n".join([lines[0], *body]) + "\n")


def negative(values: np.ndarray) -> np.ndarray:
    values[1, 2] = values[2, 1] = -1.0
    return values


def missing(values: np.ndarray) -> np.ndarray:
    values[:, 0] = np.nan
    return values


def constant(values: np.ndarray) -> np.ndarray:
    values[:, 0] = 4.0
    return values


def one_way(values: np.ndarray) -> np.ndarray:
    values[0, 1] *= 2  # the rows are now sources or targets, and the numbers do not tell which
    return values


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        ("connectome.csv", negative, ["connectome", "-1"]),
        ("connectome.csv", one_way, ["connectome_rows"]),
        ("bold_rest.csv", missing, ["Thalamus_L"]),
        ("bold_rest.csv", constant, ["Thalamus_L"]),
    ],
    ids=["negative connectome", "direction not said", "NaN series", "constant series"],
)
def test_bad_data(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, table: str, change: object, words: list[str]
) -> None:
    folder = write_person(tmp_path / "sub")
    about = folder / "subject.toml"
    about.write_text("\n".join(line for line in about.read_text().splitlines() if "connectome_rows" not in line))
    study = tmp_path / "study.toml"
    study.write_text(tomli_w.dumps(small_tables(folder)))
    assert main(["check", str(study)]) == 0
    change_table(folder, table, change)
    message = refused(capsys, "run", study, "--out", tmp_path / "out")
    for word in words:
        assert word in message


def test_labels_that_do_not_match(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = write_person(tmp_path / "sub")
    bold = folder / "bold_rest.csv"
    bold.write_text(bold.read_text().replace("Insula_L", "Insular_L", 1))
    study = tmp_path / "study.toml"
    study.write_text(tomli_w.dumps(small_tables(folder)))
    assert "Insula" in refused(capsys, "check", study)


# ---- usage ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rnu"], "there is no command 'rnu'; did you mean 'run'?"),
        (["run", "s.toml"], "the following arguments are required: --out; 'twinbrain run --help' shows how it is used"),
        (["check", "a", "b"], "unrecognized arguments: b; 'twinbrain --help' shows how it is used"),
        (
            ["resume", "/no/such"],
            "/no/such: there is no such folder; expected the results folder of an interrupted run",
        ),
        (["report", "/no/such"], "/no/such: there is no such folder; expected a folder with results"),
    ],
)
def test_mistaken_words(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert refused(capsys, *words) == message


def test_an_unlike_command_is_answered_with_all(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "xyz")
    assert said.startswith("there is no command 'xyz'; the commands are sample, demo, check, run, resume, ")
    assert "bench" in said


@pytest.mark.parametrize("command", ["", "sample", "demo", "check", "run", "resume", "bench", "report"])
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([*command.split(), "--help"]) == 0
    assert f"example: twinbrain {command}".strip() in " ".join(capsys.readouterr().out.split())


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"twinbrain {__version__}\n"


def test_help_is_quick_because_no_room_is_opened() -> None:
    code = "import sys; from twinbrain.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    took = time.monotonic() - begun
    loaded = set(done.stderr.split())
    assert "twinbrain.cli" in loaded
    assert not loaded & {"numpy", "xarray", "pandas", "numba", "zarr", "matplotlib", "twinbrain.simulate"}
    assert took < 5, "0.1 s when nothing else runs"


def test_folders_without_results_say_what_to_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refused(capsys, "report", empty) == (
        f"{empty}: holds no results; make some with 'twinbrain run STUDY --out {empty}'"
    )
    assert refused(capsys, "resume", empty) == f"{empty}: there is no run to resume; start one with 'twinbrain run'"
    file = tmp_path / "file"
    file.touch()
    assert "is a file; expected the results folder" in refused(capsys, "resume", file)


@pytest.mark.parametrize("option", [("--set", "twin.neurons=5"), ("--threads", "1")])
def test_a_folder_has_no_settings(
    capsys: pytest.CaptureFixture[str], person: Path, study: Path, option: tuple[str, str]
) -> None:
    said = f"{option[0]} changes a study, but '{person}' is a folder; give 'twinbrain check' a study instead"
    assert refused(capsys, "check", person, *option) == said
    assert capsys.readouterr().out == "", "nothing of the folder is read first"
    assert main(["check", str(person)]) == 0
    assert main(["check", str(study), "--set", "twin.neurons=2000"]) == 0


@pytest.mark.parametrize("command", ["run", "demo"])
def test_the_output_folder_is_looked_at_before_the_data(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    from twinbrain.experiment import main_job

    read: list[object] = []
    monkeypatch.setattr(main_job, "run_study", lambda *_, **__: read.append(1))
    file, foreign = tmp_path / "file", tmp_path / "foreign"
    file.touch()
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    study = tmp_path / "study.toml"
    study.touch()
    words = ["run", str(study)] if command == "run" else ["demo"]
    assert "is a file, expected a folder" in refused(capsys, *words, "--out", file / "out")
    assert "holds something else (such as 'thesis.tex')" in refused(capsys, *words, "--out", foreign)
    assert not read
    assert main([*words, "--out", str(tmp_path / "new" / "out")]) == 0
    assert len(read) == 1
    assert not (tmp_path / "new").exists(), "looking makes nothing"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("x is 3; give 4.", "x is 3; give 4"),
        ("x is 3; give e.g. Thalamus_L.", "x is 3; give e.g. Thalamus_L"),
        ("did you mean 'run'?", "did you mean 'run'?"),
        ("x is 3. Give 4", "x is 3. Give 4."),
        ("x is 3. Give 4.", "x is 3. Give 4."),
        ("the folder ../..", "the folder ../.."),
    ],
)
def test_one_sentence_ends_without_a_full_stop(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, raised: str, said: str
) -> None:
    def refuse(_: object) -> None:
        raise InputError(raised)

    monkeypatch.setattr(cli, "_report", refuse)
    assert refused(capsys, "report", "x") == said


# ---- commands ------------------------------------------------------------------------------------------------


def test_check_tells_what_was_found(capsys: pytest.CaptureFixture[str], study: Path, person: Path) -> None:
    assert main(["check", str(study)]) == 0
    out = capsys.readouterr().out
    assert "person: small\n  regions: 5" in out
    assert "BOLD run 'rest': 60 volumes of 0.8 s (48 s)" in out
    assert "5 regions matched by name" in out
    assert "assimilation, 29 s: 500 neurons x 3 members" in out
    assert "free run, 29 s: 1,000 neurons" in out
    assert sorted(path.name for path in study.parent.iterdir()) == ["study.toml"], "nothing was run"
    assert main(["check", str(person)]) == 0
    assert "give 'twinbrain check' a study for the estimate" in capsys.readouterr().out


def test_run_report_and_check_of_results(capsys: pytest.CaptureFixture[str], study: Path) -> None:
    out = study.parent / "out"
    assert main(["-q", "run", str(study), "--out", str(out), "--threads", "1"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"scores: {out}/scores.json\nreport: {out}/report.html\n"
    assert store.read_status(out) == "complete"
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().out.strip() == f"{out}/report.html"
    assert main(["check", str(out)]) == 0
    assert "every file is as it was written; status: complete" in capsys.readouterr().out
    (out / "results.zarr" / "twin" / "bold" / "zarr.json").write_text("{}")
    assert "(array 'bold' of group 'twin'): is damaged" in refused(capsys, "check", out)
    assert "holds a finished run" in refused(capsys, "run", study, "--out", out)


def test_an_interruption_has_its_own_exit_code(
    capsys: pytest.CaptureFixture[str], study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twinbrain.experiment import main_job

    def stopped(*_: object, **__: object) -> None:
        raise Interrupted("stopped during 'twin', nothing is lost; go on with: twinbrain resume out")

    monkeypatch.setattr(main_job, "run_study", stopped)
    assert main(["run", str(study), "--out", str(study.parent / "out")]) == 75
    assert capsys.readouterr().err.endswith("nothing is lost; go on with: twinbrain resume out\n")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_process_can_be_resumed(study: Path, number: signal.Signals) -> None:
    out = study.parent / "out"
    words = [sys.executable, "-m", "twinbrain", "-q", "run", str(study), "--out", str(out)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as work:
        while work.poll() is None and not list((out / "checkpoint").glob("assimilate.*")):
            time.sleep(0.01)
        work.send_signal(number)
        _, said = work.communicate(timeout=100)
    assert work.returncode == 75
    assert said.splitlines()[-1].endswith(f"nothing is lost; go on with: twinbrain resume {out}")
    assert main(["-q", "resume", str(out)]) == 0
    assert (out / "report.html").exists()
    assert main(["-q", "resume", str(out)]) == 0, "nothing is left to do"


def test_the_demo_starts_anew_when_finished_and_goes_on_when_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from twinbrain.config import Study, demo_study
    from twinbrain.experiment import main_job

    seen: list[tuple[Study, bool, bool]] = []

    def run_study(study: Study, _: str, *, resume: bool, overwrite: bool, **__: object) -> None:
        seen.append((study, resume, overwrite))

    monkeypatch.setattr(main_job, "run_study", run_study)
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    store.write_status(out, "interrupted twin")
    assert main(["demo", "--out", str(out)]) == 0
    store.write_status(out, "complete")
    assert main(["demo", "--out", str(out), "--threads", "2"]) == 0
    assert [entry[1:] for entry in seen] == [(False, True), (True, False), (False, True)]
    assert seen[0][0] == demo_study()
    assert seen[2][0].execution.threads == 2


def test_a_bug_is_called_a_bug(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("some\nthing")

    monkeypatch.setattr(cli, "_report", broken)
    message = refused(capsys, "report", "x")
    found = re.fullmatch(
        r"this is a bug of twinbrain \(ZeroDivisionError: some thing\); please report it with the log (.*)", message
    )
    assert found is not None
    log = Path(found[1])
    assert "Traceback" in log.read_text()
    log.unlink()


def test_the_log_is_left_as_it_was(study: Path) -> None:
    before = list(logging.getLogger("twinbrain").handlers)
    assert main(["check", str(study)]) == 0
    assert logging.getLogger("twinbrain").handlers == before


@pytest.mark.parametrize(
    ("answer", "code"), [("y", 0), ("n", 1), (None, 1)], ids=["agreed", "not agreed", "nobody to ask"]
)
def test_sample_asks_for_consent_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str | None, code: int
) -> None:
    from twinbrain.data import sample

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(sample, "load_sample", lambda _: None)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: answer is not None, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert main(["sample"]) == code
    assert "HCP Open Access Data Use Terms" in capsys.readouterr().out
    assert sample.terms_accepted() == (code == 0)
    assert main(["sample", "--accept"]) == 0
    assert sample.terms_accepted()
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("asked again"))
    assert main(["sample"]) == 0


def test_the_reader_of_the_output_may_leave(person: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "twinbrain", "check", str(person)], stdout=nobody, stderr=subprocess.PIPE, text=True
        )
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr


def test_check_warns_of_a_network_off_its_ground(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(study)]) == 0
    said = capsys.readouterr().out
    assert "warning: " in said
    assert "calibrated on a brain of 94 regions" in said
    assert "2 members" in said  # the free run is made twice, and estimated so
