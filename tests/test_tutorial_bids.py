"""The tutorial runs as it is written: by default with a smaller fit, whole among the slow tests."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from twinbrain.cli import main
from twinbrain.config import study_from_dict
from twinbrain.export.folder import verify_export

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "tutorial_bids.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    twinbrain (.*)$", TEXT, re.MULTILINE)
(STUDY,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
(CODE,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SMALLER = ("assimilation.members=3", "assimilation.volumes=35", "assimilation.neurons=1500", "twin.neurons=3000")
OPTIONS = [word for text in (*SMALLER, "twin.members=1", "execution.threads=1") for word in ("--set", text)]


def follow(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], smaller: bool) -> None:
    monkeypatch.chdir(place)
    (place / "study.toml").write_text(STUDY, encoding="utf-8")
    for command in COMMANDS:
        words = command.split()
        if smaller and words[0] == "bids":
            continue  # the same work again; tests/test_bids_app.py runs it
        extra = OPTIONS if smaller and words[0] == "run" else []
        assert main(["-q", *words, *extra]) == 0, f"{command}: {capsys.readouterr().err}"
    known: dict[str, object] = {}
    capsys.readouterr()
    exec(compile(CODE, "tutorial_bids.md", "exec"), known)
    off, density = (float(line) for line in capsys.readouterr().out.split())
    assert off < 0.01
    assert density == 0


def test_the_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = [command.split()[0] for command in COMMANDS]
    assert kinds == ["synthetic", "check", "check", "run", "bids", "export", "export", "export"]
    follow(tmp_path, monkeypatch, capsys, smaller=True)
    assert (tmp_path / "check.html").is_file()
    assert (tmp_path / "results" / "report.html").is_file()
    for to in ("bids", "nifti", "sonata"):
        assert verify_export(tmp_path / f"results-{to}") > 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_tutorial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    follow(tmp_path, monkeypatch, capsys, smaller=False)
    for name in ("sub-01.html", "sub-01_check.html", "sub-01", "twinbrain/sub-01/scores.json"):
        assert (tmp_path / "my-output" / name).exists()


def test_the_study_keeps_to_the_sizes_it_recommends() -> None:
    study = study_from_dict(tomllib.loads(STUDY))
    for neurons in (study.assimilation.neurons, study.twin.neurons):
        assert neurons / 24 >= 150
        assert neurons / 24 > study.network.in_degree


@pytest.mark.parametrize("page", ["tutorial_bids.md", "from_scanner.md", "exports.md"])
def test_every_page_is_in_the_contents_and_its_links_lead_somewhere(page: str) -> None:
    assert f"\n{page.removesuffix('.md')}\n" in (DOCS / "index.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+?\.md)", (DOCS / page).read_text(encoding="utf-8")):
        assert (DOCS / target).is_file(), target


def test_the_formats_of_the_page_are_those_of_the_command() -> None:
    from twinbrain.export.results import FORMATS

    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "exports.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == list(FORMATS)
