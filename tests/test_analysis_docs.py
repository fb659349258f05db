"""The tables of the tutorial: computed by the script in docs, and with the known figures of the sample people."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import twinbrain as tb
from twinbrain.errors import InputError

DOCS = Path(__file__).parents[1] / "docs"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def people() -> dict[str, tb.Subject]:
    try:
        return {name: tb.load_sample(name) for name in tb.sample_ids()}
    except InputError as error:
        pytest.skip(f"the sample people are not installed: {error}")


def cells(file: str, first: str) -> list[str]:
    line = next(
        line for line in (DOCS / file).read_text(encoding="utf-8").splitlines() if line.startswith(f"| {first}")
    )
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_structure_halves_and_people_are_as_alike_as_known(people: dict[str, tb.Subject]) -> None:
    table = script("make_analysis_table")
    found = {name: tb.analyse(person, what="similarity", nulls=0) for name, person in people.items()}
    alike = table.ceilings(people, found, 0)["value"]
    known = {
        "connectome (log) and functional connectivity, group": 0.35,
        "two halves of one person's recording": 0.81,
        "a person and the mean of the others": 0.70,
    }
    for what, value in known.items():
        assert alike[what] == pytest.approx(value, abs=0.02), what
        assert float(cells("analysis_ceilings.inc", what)[1]) == pytest.approx(alike[what], abs=0.006), what
    strangers = dict(zip(people, [*list(people.values())[1:], next(iter(people.values()))], strict=True))
    mixed = {
        name: tb.Subject.from_arrays(
            person.connectome.sel(
                target=list(reversed(person.regions)), source=list(reversed(person.regions))
            ).to_numpy(),
            list(person.regions),
            {"rest": strangers[name].bold["rest"].to_numpy()},
            repetition_time_s=0.72,
        )
        for name, person in people.items()
    }
    assert abs(table.structure_and_function(mixed)["group"]) < 0.33  # regions of the connectome in the wrong order
    assert float(cells("analysis_people.inc", "`fc_mean`")[1]) == pytest.approx(
        np.median([one.table.loc["fc_mean", "value"] for one in found.values()]), abs=0.001
    )


def test_the_page_holds_every_part() -> None:
    written = (DOCS / "analysis_people.inc").read_text(encoding="utf-8")
    measures = set(re.findall(r"^\| `(\w+)`", written, re.MULTILINE))
    assert measures >= {"fc_split_half", "fcd_mean", "mean_order", "peak_hz", "size_exponent", "kappa", "granger_mean"}


@pytest.mark.slow
def test_the_table_of_the_people_takes_five_minutes_at_most(people: dict[str, tb.Subject], tmp_path: Path) -> None:
    begun = time.process_time()  # other work on the machine is no fault of the script
    script("make_analysis_table").main(["--out", str(tmp_path)])
    assert time.process_time() - begun < 300
    for name in ("analysis_people.inc", "analysis_ceilings.inc"):
        assert (tmp_path / name).read_text() == (DOCS / name).read_text()
    assert {f.name for f in (tmp_path / "images").glob("*.svg")} >= {"analysis_order.svg", "analysis_avalanches.svg"}


@pytest.mark.parametrize(
    ("voxels", "nulls", "seconds"), [(1500, 1, 60), pytest.param(18_547, 5, 120, marks=pytest.mark.slow)]
)
def test_voxels_take_two_minutes_at_most(voxels: int, nulls: int, seconds: float, tmp_path: Path) -> None:
    script("make_voxel_benchmark").main(
        ["--voxels", str(voxels), "--nulls", str(nulls), "--out", str(tmp_path / "b.json")]
    )
    line = json.loads((tmp_path / "b.json").read_text())
    assert line["volumes"] == 1200
    assert line["seconds"] < seconds
    assert line["peak_gb"] < 6
