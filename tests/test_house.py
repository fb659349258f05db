"""The house itself: a quick import, small modules, examples everywhere, and texts that say what is true."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import twinbrain
from twinbrain.cli import main
from twinbrain.config import study_from_dict

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEAVY = ("numba", "xarray", "matplotlib", "nilearn", "nibabel", "pandas", "scipy", "zarr")


def fresh(code: str) -> str:
    """Run code in a new process and return what it prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


# ---- import and size -------------------------------------------------------------------------------------------------


def test_import_is_quick() -> None:
    code = "import time; t = time.perf_counter(); import twinbrain; print(time.perf_counter() - t)"
    assert min(float(fresh(code)) for _ in range(5)) < 0.5


def test_import_leaves_heavy_libraries_alone_until_they_are_used() -> None:
    loaded = f"import sys; print(sorted(set(sys.modules) & set({HEAVY})))"
    assert fresh(f"import twinbrain; {loaded}").strip() == "[]"
    assert "xarray" in fresh(f"import twinbrain; twinbrain.Subject; {loaded}")


def test_modules_are_short() -> None:
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert len(lines) > 40
    assert {name: n for name, n in lines.items() if n > 600} == {}


# ---- what never occurs -----------------------------------------------------------------------------------------------

_FINE_RANDOM = ("Generator", "Philox", "SeedSequence", "default_rng")


def forbidden(text: str) -> list[str]:
    """Name pickles, evaluated text and global random state in a source."""
    found = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                found += [n.name for n in names if n.name.split(".")[0] in ("pickle", "dill", "cloudpickle", "random")]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in ("pickle", "dill", "cloudpickle"):
                found.append(module)
            case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
                found.append(name)
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="random"), attr=name)) if (
                name not in _FINE_RANDOM
            ):
                found.append(f"random.{name}")
            case ast.keyword(arg="allow_pickle", value=ast.Constant(value=True)):
                found.append("allow_pickle=True")
            case _:
                pass
    return found


def test_no_pickle_no_eval_no_global_random_state() -> None:
    assert {path.name: found for path in SOURCES if (found := forbidden(path.read_text(encoding="utf-8")))} == {}


@pytest.mark.parametrize(
    "text", ["import pickle", "eval('1')", "np.random.seed(1)", "np.random.normal()", "np.load(x, allow_pickle=True)"]
)
def test_what_is_forbidden_would_be_found(text: str) -> None:
    assert len(forbidden(text)) == 1
    assert forbidden("np.random.default_rng(1).normal(); np.load(x, allow_pickle=False)") == []


# ---- the public catalogue --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in twinbrain.__all__ if n != "__version__"])
def test_every_public_name_is_explained_with_an_example(name: str) -> None:
    thing = getattr(twinbrain, name)
    text = inspect.getdoc(thing) or ""
    assert len(text) > 40
    if not (isinstance(thing, type) and issubclass(thing, Exception)):
        assert re.search(r"^Examples\n-{8}\n(.*\n)*?.*>>> ", text, re.MULTILINE), f"{name} has no example"


def test_the_catalogue_is_complete_and_unknown_names_are_refused() -> None:
    assert set(dir(twinbrain)) >= set(twinbrain.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'simulat'"):
        _ = twinbrain.simulat


def test_the_version_is_the_same_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"twinbrain {twinbrain.__version__}\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == importlib.metadata.version("twinbrain") == twinbrain.__version__
    assert f"\nversion: {twinbrain.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


# ---- texts -----------------------------------------------------------------------------------------------------------


def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert 8 <= len([line for line in code.splitlines() if line.strip()]) <= 12
    monkeypatch.chdir(tmp_path)
    known: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), known)
    scores = known["score"].to_dict()  # type: ignore[attr-defined]
    assert scores["regions"] == 94
    assert -1 <= scores["bold_pcc_inputs"] <= 1
    assert set(scores["baselines"]) >= {"copy_inputs", "ideal_linear", "ridge_from_inputs", "persistence"}


def test_the_commands_of_readme_and_docs_exist(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    known = set(re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, re.MULTILINE))
    text = README + "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    said = set(re.findall(r"(?:^    |`)twinbrain ([a-z]+)\b", text, re.MULTILINE))
    assert {"demo", "check", "run", "resume", "report", "sample"} <= said <= known
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^    |`)make ([a-z-]+)\b", text, re.MULTILINE)) <= targets


def test_files_the_readme_names_are_there() -> None:
    named = re.findall(r"\]\(([^)#:]+)\)|`((?:docs/)?[\w.]+\.(?:md|cff))`", README)
    files = {one or other for one, other in named} | {"LICENSE", "CONTRIBUTING.md", "CHANGELOG.md"}
    assert {name for name in files if not (ROOT / name).is_file()} == set()


def test_the_studies_of_the_docs_are_studies() -> None:
    texts = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "study.md").read_text(encoding="utf-8"), re.DOTALL)
    first, *others = (study_from_dict(tomllib.loads(text)) for text in texts)
    assert (first.subject.folder, first.twin.neurons) == ("sub-01", 1_000_000)
    assert [study.network.rules[0].gain for study in others] == [0.0]


def test_every_score_is_explained() -> None:
    """Every key of the scores of a comparison, and those DESIGN promises beside them, stand in the docs."""
    text = (ROOT / "docs" / "scores.md").read_text(encoding="utf-8")
    source = (ROOT / "src" / "twinbrain" / "analyse" / "similarity.py").read_text(encoding="utf-8")
    body = source[source.index("    scores = {") : source.index("    missing =")]
    keys = set(re.findall(r'^        "(\w+)":', body, re.MULTILINE))
    assert len(keys) > 12
    others = {"mean_rate_hz", "neurons", "synapses", "wall_s", "peak_memory_gb", "version", "fc_fnorm_relative"}
    assert {key for key in keys | others if f"`{key}`" not in text} == set()


def test_the_changelog_lists_changed_results() -> None:
    assert re.search(r"^### Results change$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_ci_can_be_run() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_an_old_python_is_refused_with_one_sentence(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'Python 3.9.1' && exit 0\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(["make", f"PYTHON={old}", "setup"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"twinbrain needs Python 3.11 or newer, but '{old}' is Python 3.9.1" in done.stderr
    assert not (tmp_path / ".venv").exists()
