"""Single-trial responses and the prediction of scores: against known answers, and against leaks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from twinbrain.analyse.prediction import predict_scores
from twinbrain.analyse.trials import trial_responses, usable_trials
from twinbrain.errors import InputError


def rng(key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=key))


def design(trials: int = 30, every_s: float = 12.0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    events = pd.DataFrame({"onset": 8.0 + every_s * np.arange(trials), "duration": 2.0})
    time = np.arange(int((trials * every_s + 24.0) / 0.8)) * 0.8
    return events, time, rng(3).uniform(0.0, 2.0, trials)


def answers(events: pd.DataFrame, time: np.ndarray, size: np.ndarray) -> np.ndarray:
    from nilearn.glm.first_level.hemodynamic_models import compute_regressor

    return compute_regressor((events["onset"], events["duration"], size), "glover", time)[0][:, 0]


def series(values: np.ndarray, time: np.ndarray) -> xr.DataArray:
    names = [f"R{j}" for j in range(values.shape[1])]
    return xr.DataArray(values, dims=("time", "region"), coords={"time": time, "region": names})


@pytest.mark.parametrize("method", ["betas", "window"])
def test_the_size_of_each_trial_is_found_under_noise_and_drift(method: str) -> None:
    events, time, size = design()
    y = answers(events, time, size)
    noise = rng(5).normal(size=(len(time), 2))
    bold = series(
        np.stack([y / y.std(), np.zeros(len(time))], axis=1) + 0.5 * noise + np.linspace(0, 9, len(time))[:, None], time
    )
    found = trial_responses(bold, events, method=method)
    assert found.dims == ("trial", "region")
    assert np.corrcoef(found.sel(region="R0"), size)[0, 1] > 0.7
    assert abs(np.corrcoef(found.sel(region="R1"), size)[0, 1]) < 0.4


def test_betas_equal_a_plain_regression_per_trial() -> None:
    from nilearn.glm.first_level.hemodynamic_models import compute_regressor

    events, time, _ = design(6)
    y = rng(1).normal(size=(len(time), 1))
    found = trial_responses(series(y, time), events, high_pass_hz=0.0).values[:, 0]
    each = np.stack(
        [compute_regressor(np.array([[t], [2.0], [1.0]]), "glover", time)[0][:, 0] for t in events["onset"]], axis=1
    )
    z = (y[:, 0] - y.mean()) / y.std()
    for k in range(6):
        x = np.stack([each[:, k], each.sum(axis=1) - each[:, k], np.ones(len(time))], axis=1)
        assert found[k] == pytest.approx(np.linalg.lstsq(x, z, rcond=None)[0][0], abs=1e-9)


def test_other_events_are_not_taken_for_the_trial() -> None:
    events, time, size = design()
    other = events.assign(onset=events["onset"] + 5.0, trial_type="press")
    y = answers(events, time, size) + answers(other, time, rng(9).uniform(0, 1, len(size)) + 3.0)
    with_it = trial_responses(series(y[:, None], time), events, nuisance=other).values[:, 0]
    without = trial_responses(series(y[:, None], time), events).values[:, 0]
    assert np.corrcoef(with_it, size)[0, 1] > np.corrcoef(without, size)[0, 1]


def test_a_trial_that_does_not_fit_is_named() -> None:
    events, time, _ = design(5)
    late = pd.concat([events, pd.DataFrame({"onset": [time[-1] - 3.0], "duration": [2.0]})], ignore_index=True)
    bold = series(rng(2).normal(size=(len(time), 1)), time)
    with pytest.raises(InputError, match=r"trial 5 begins at .* leave it out"):
        trial_responses(bold, late)
    assert len(usable_trials(late, float(time[-1]))) == 5
    with pytest.raises(InputError, match="column 'duration' is missing"):
        trial_responses(bold, events[["onset"]])


def trials(n: int, key: int, regions: int = 12) -> xr.DataArray:
    names = [f"R{j}" for j in range(regions)]
    return xr.DataArray(rng(key).normal(size=(n, regions)), dims=("trial", "region"), coords={"region": names})


def test_a_planted_score_is_predicted_and_its_region_named() -> None:
    x = trials(80, 1)
    score = 50 + 10 * x.values[:, 3] + 5 * rng(2).normal(size=80)
    twin = x + 0.7 * rng(4).normal(size=x.shape)
    found = predict_scores(x, score, {"twin": twin * 3 + 7, "noise": trials(80, 8)}, permutations=199)
    assert found.table.loc["recorded", "r"] > 0.7
    assert found.table.loc["twin", "r"] > 0.5
    assert found.table.loc["twin", "p_value"] == pytest.approx(1 / 200)
    assert found.table.loc["noise", "p_value"] > 0.05
    assert found.regions.index[found.regions["p_value"] < 0.05].tolist() == ["R3"]


def test_units_order_of_regions_and_of_calls_change_nothing() -> None:
    x = trials(40, 1)
    score = x.values[:, 0] + rng(2).normal(size=40)
    twin = x + rng(4).normal(size=x.shape)
    a = predict_scores(x, score, {"twin": twin}, permutations=19)
    b = predict_scores(x * 100 + 3, score * 2 - 9, {"twin": (twin / 7)[:, ::-1]}, permutations=19)
    np.testing.assert_allclose(a.table["r"], b.table["r"], atol=1e-9)
    changed = predict_scores(x, np.roll(score, 1), {"twin": twin}, permutations=19)
    assert abs(changed.table["r"] - a.table["r"]).max() > 0.01


def test_nothing_is_learnt_from_held_out_trials() -> None:
    """Predictions of a fold do not move when its own scores do; those of other folds do."""
    x = trials(40, 1)
    score = x.values[:, 0] + rng(2).normal(size=40)
    a = predict_scores(x, score, {"twin": x + 1}, folds=5, permutations=0)
    other = score.copy()
    other[a.fold.values == 2] += rng(7).normal(size=8) * 50
    b = predict_scores(x, other, {"twin": x + 1}, folds=5, permutations=0)
    held = a.fold.values == 2
    np.testing.assert_array_equal(a.predicted.values[:, held], b.predicted.values[:, held])
    assert not np.allclose(a.predicted.values[:, ~held], b.predicted.values[:, ~held])


def test_trials_that_were_not_simulated_count_in_no_figure_of_the_simulation() -> None:
    x = trials(60, 1)
    score = x.values[:, 3] + 0.5 * rng(2).normal(size=60)
    some = (x + 0.3 * rng(4).normal(size=x.shape)).copy()
    some.values[:30] = np.nan
    found = predict_scores(x, score, {"twin": some}, permutations=49)
    assert found.table["trials"].tolist() == [60, 30]
    assert found.table.loc["twin", "r"] > 0.5
    assert np.isnan(found.predicted.sel(what="twin").values).sum() == 30
    alone = predict_scores(x, score, permutations=0).table.loc["recorded", "r"]
    assert found.table.loc["recorded", "r"] == pytest.approx(alone, abs=1e-12)
    some.values[40, 2] = np.nan
    with pytest.raises(InputError, match="twin: trial 40, region 'R2' is nan"):
        predict_scores(x, score, {"twin": some}, permutations=0)


def test_people_are_left_out_whole_and_their_levels_explain_nothing() -> None:
    """Scores that are the person's level alone cannot be predicted once centred within people."""
    people = np.repeat(np.arange(8), 10)
    x = trials(80, 1) + 3 * people[:, None]
    level = 20.0 * people + rng(2).normal(size=80)
    assert predict_scores(x, level, folds=people, permutations=99).table.loc["recorded", "r"] > 0.8
    assert (
        predict_scores(x, level, folds=people, within=people, permutations=99).table.loc["recorded", "p_value"] > 0.05
    )
    with pytest.raises(InputError, match=r"trials of '.*' are in two folds"):
        predict_scores(x, level, folds=5, within=np.arange(80) % 3)


@pytest.mark.parametrize("null", ["shuffle", pytest.param("shift", marks=pytest.mark.slow)])
def test_chance_is_chance(null: str) -> None:
    p = [
        predict_scores(
            trials(36, 100 + k, 8), rng(200 + k).normal(size=36), permutations=59, null=null, seed=k
        ).table.p_value.iloc[0]
        for k in range(40)
    ]
    assert np.mean(np.array(p) <= 0.1) <= 0.225  # 40 tests of 10 %: more than 9 happen once in 100
    assert 0.3 < np.mean(p) < 0.7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.ones(40)}, "expected at least 12 trials and two scores"),
        ({"score": np.full(40, np.nan)}, "give one number per trial"),
        ({"folds": 1}, "folds is 1, expected 2 to 20"),
        ({"simulated": {"twin": trials(40, 1, 11)}}, "twin: region 'R11' is missing"),
        ({"simulated": {"twin": trials(39, 1)}}, "39 trials were found, not 40"),
        ({"null": "x"}, "expected 'shuffle' or 'shift'"),
    ],
)
def test_bad_input_is_explained(change: dict, message: str) -> None:
    given = {"recorded": trials(40, 1), "score": np.arange(40.0), "permutations": 0} | change
    with pytest.raises(InputError, match=message):
        predict_scores(**given)
