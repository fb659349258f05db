"""Validation: cells are kept and resumed, the summary tells who chose from who confirmed, bad plans are refused."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from twinbrain import InputError, sample_ids
from twinbrain.analyse.filtering import band_pass
from twinbrain.assimilate.linear import propagate
from twinbrain.cli import main
from twinbrain.experiment import summary, validate
from twinbrain.experiment.evidence import evidence

REGIONS = [f"r{k:02d}" for k in range(8)]
INPUTS = REGIONS[:3]


def fake_cell(calls: list[str], fail: str = "") -> Any:
    """Stands for run_cell: people later in the list get noisier twins; one fails."""
    random = np.random.default_rng(1)
    x = np.apply_along_axis(np.convolve, 0, random.normal(size=(400, 8)), np.hanning(15), "same")
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    weights = random.lognormal(0.0, 2.0, (8, 8))
    np.fill_diagonal(weights, 0.0)
    names = {"target": REGIONS, "source": REGIONS}
    connectome = xr.DataArray(weights, dims=("target", "source"), coords=names)
    weights = weights / weights.sum(axis=1, keepdims=True)
    x[:, 3:] = x[:, :3] @ propagate(weights, 0.8, [0, 1, 2]).T
    time = np.arange(400) * 0.72
    bold = xr.DataArray(x, dims=("time", "region"), coords={"time": time, "region": REGIONS})
    noise = np.apply_along_axis(np.convolve, 0, random.normal(size=x.shape), np.hanning(15), "same") * x.std(axis=0)

    def run_cell(cell: validate.Cell, **_: Any) -> Any:
        calls.append(cell.name)
        if cell.person == fail:
            raise InputError("the network is bistable.")
        run = band_pass(bold + 0.05 * sample_ids().index(cell.person) * noise, 0.72)
        found = evidence({cell.sizes[0]: run}, bold, INPUTS, connectome=connectome, bootstrap=100)
        return found, xr.Dataset({"bold": run}), {"loop_gain": 0.8}

    return run_cell


def test_sets_of_inputs() -> None:
    regions = [f"{stem}_{side}" for stem in ("Thalamus", "Insula", "Cuneus", "Angular", "Lingual") for side in "LR"]
    assert validate.input_regions("thalamus", regions) == ["Thalamus_L", "Thalamus_R"]
    assert validate.input_regions("five", regions) == regions[:4]
    assert validate.input_regions("all", regions) == regions
    held = [set(regions) - set(validate.input_regions(f"fifth{k}", regions, 3)) for k in range(1, 6)]
    assert set.union(*held) == set(regions)
    assert sum(len(h) for h in held) == len(regions)
    assert held != [set(regions) - set(validate.input_regions(f"fifth{k}", regions, 4)) for k in range(1, 6)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"people": ["1"]}, "people: found '1', expected one of 101309"),
        ({"inputs": ["fife"]}, "inputs: found 'fife'.*did you mean 'five'"),
        ({"methods": ["invers"]}, "methods: found 'invers'"),
        ({"circuit": "column"}, "circuit: found 'column'"),
        ({"inputs": ["all"], "private": True}, "inputs 'all' leaves no region without input"),
        ({"sizes": (5,)}, "at least 20 neurons per region"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate.plan(**changes)


def test_the_default_plan_is_the_table() -> None:
    cells = validate.plan()
    assert len(cells) == 21
    assert len({cell.name for cell in cells}) == 21
    assert cells[0].part == "second"
    assert replace(cells[0], sizes=(100, 300)).name != cells[0].name


def test_cells_are_kept_resumed_and_summarised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(validate, "run_cell", fake_cell(calls, fail="377451"))
    people = [*sample_ids()[:2], *sample_ids()[5:]]
    first = validate.plan(people[:2], ["five"])
    validate.validate(tmp_path / "v", first)
    table = validate.validate(tmp_path / "v", validate.plan(people, ["five"]))
    assert len(calls) == 4  # two were there, two are new
    free = table[table["what"] == "free run"].set_index("group")
    assert free["people"].to_dict() == {"chosen": 2, "confirmed": 1, "all": 3}
    assert free.loc["chosen", "bold_pcc_inputs"] > free.loc["confirmed", "bold_pcc_inputs"]
    mean = (2 * free.loc["chosen", "bold_pcc_noninputs"] + free.loc["confirmed", "bold_pcc_noninputs"]) / 3
    assert free.loc["all", "bold_pcc_noninputs"] == pytest.approx(mean)
    assert free.loc["all", "over_copy_low"] <= free.loc["all", "over_copy"] <= free.loc["all", "over_copy_high"]
    assert free.loc["all", "of_ideal"] == pytest.approx(1.0, abs=0.1)
    text = (tmp_path / "v" / "summary.md").read_text(encoding="utf-8")
    assert text.startswith("Settings were chosen on 101309, 102311, 102816")
    assert (tmp_path / "v" / "summary.csv").is_file()
    failed = tmp_path / "v" / "cells" / validate.plan(["377451"], ["five"])[0].name
    assert "bistable" in (failed / "scores.json").read_text(encoding="utf-8")
    validate.validate(tmp_path / "v", validate.plan(people, ["five"]))
    assert calls[4:] == [failed.name]  # what failed is tried again, what is stored is not
    rows = summary.collect(tmp_path / "v")
    assert set(rows["person"]) == set(people) - {"377451"}
    assert asdict(first[0])["inputs"] == "five"


def test_the_command_refuses_in_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["validate", "--out", str(tmp_path), "--inputs", "thalamu"]) == 1
    assert "did you mean 'thalamus'" in capsys.readouterr().err
    assert main(["validate", "--help"]) == 0
    assert "example: twinbrain validate --out validation" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_effective_connectivity_is_more_than_a_copy_in_the_spiking_network(tmp_path: Path) -> None:
    """All seven people, half not used for fitting, 300 volumes, 1,000 neurons per region, fresh wiring and noise."""
    cells = validate.plan(inputs=["five"], connectivity="effective", private=True)
    table = validate.validate(tmp_path / "v", cells, threads=2).set_index(["what", "group"])
    free, own, data = (table.loc[(what, "all")] for what in ("free run", "private variability", "recording"))
    assert free["people"] == 7
    assert free["bold_pcc_inputs"] >= 0.95
    assert free["over_copy_low"] > 0
    assert free["fc_pcc"] >= 0.45
    assert own["fc_fnorm_rms"] <= 0.30
    assert abs(own["fc_mean"] - data["fc_mean"]) <= 0.1


@pytest.mark.slow
def test_the_inverse_holds_in_the_free_run(tmp_path: Path) -> None:
    """All seven people and three sets of inputs, 300 volumes, 1,000 neurons per region, fresh wiring and noise."""
    table = validate.validate(tmp_path / "v", validate.plan(), threads=2)
    free = table[(table["what"] == "free run") & (table["group"] == "all")].set_index("inputs")
    assert (free["people"] == 7).all()
    assert (free.loc[["thalamus", "five", "all"], "bold_pcc_inputs"] >= 0.97).all()
