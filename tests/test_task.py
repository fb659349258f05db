"""The experiment "task" on people of known truth: it finds the planted rule, and nothing where nothing is planted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import twinbrain as tb
from small_brain import MadeResults, small_anatomy
from twinbrain.errors import InputError
from twinbrain.experiment.auditory import AuditoryPerson, _linear, auditory_person
from twinbrain.experiment.design import Condition, Design
from twinbrain.experiment.runner import run_experiment
from twinbrain.experiment.task import EXPERIMENT
from twinbrain.experiment.task_trials import predict, trials_of

TWIN, SHIFTED = Condition(name="twin"), Condition(name="shifted drive", control="twin", drive="shifted")


def twin_of(made: AuditoryPerson, seed: int, *, shifted: bool = False) -> xr.DataArray:
    """A twin without a network: it hears the sounds (or those of other trials), and its private noise is its own."""
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 5], np.uint64)))
    heard = made.drive.isel(input=slice(0, len(made.inputs)))
    heard = heard.roll(time=len(heard) // 2) if shifted else heard
    bold = _linear(made.subject, heard, len(made.inputs), 1.5, rng)
    return xr.DataArray(bold, dims=("time", "region"), coords=made.planted.coords)


def made_results(rule: str, seed: int = 1, people: int = 1, permutations: int = 99, trials: int = 50) -> MadeResults:
    design = Design(
        experiment="task", conditions=(TWIN, SHIFTED), seeds=(1, 2), settings={"permutations": permutations}
    )
    made = {
        f"p{k}": auditory_person(small_anatomy(), rule=rule, trials=trials, seed=100 * seed + k) for k in range(people)
    }
    bold = {
        (who, c.name, s): twin_of(one, 10 * s + 1000 * k + seed, shifted=c.drive == "shifted")
        for k, (who, one) in enumerate(made.items())
        for c in design.conditions
        for s in design.seeds
    }
    return MadeResults(design, made, bold)


def p_of(results: MadeResults) -> dict[str, float]:
    found = predict(results)
    p = {"recorded": float(found.scores.table.loc["recorded", "p_value"])}
    for c in results.design.conditions:
        null, r = found.null(c.name, (1, 2)), np.mean([found.r(c.name, s) for s in (1, 2)])
        p[c.name] = float((1 + np.sum(null >= r)) / (1 + len(null)))
    return p


def test_a_score_that_follows_from_the_sounds_is_found_by_the_twin_and_not_by_its_control() -> None:
    found = EXPERIMENT.conclude(made_results("evoked"))
    scores = found.tables["scores"].set_index("condition")
    assert scores.loc["twin", "p"] < 0.05
    assert scores.loc["twin", "r"] > 0.3
    assert scores.loc["shifted drive", "p"] > 0.05
    assert found.claims[0].seen == "seen"
    assert "shifted drive" in found.claims[0].control
    assert "recorded inputs alone" in found.claims[0].control
    assert set(found.tables["trials"]["from"]) == {"recorded BOLD", "recorded inputs alone", "twin"}


def test_a_score_from_what_the_twin_cannot_know_is_found_in_the_recording_alone() -> None:
    p = p_of(made_results("hidden"))
    assert p["recorded"] < 0.05
    assert p["twin"] > 0.05


def test_people_are_left_out_one_by_one() -> None:
    results = made_results("evoked", people=4, trials=24)
    found = predict(results)
    assert found.folds == "one person at a time"
    assert found.scores.table.loc["recorded", "p_value"] < 0.05
    for who in results.people:
        assert len(set(found.scores.fold.values[found.person == who])) == 1


@pytest.mark.slow
def test_where_no_rule_is_planted_none_is_found_too_often() -> None:
    """20 people with noise for scores, 20 with scores the twin cannot know: 5 % each, over 3 of 20 once in 60."""
    false = {"recorded": 0, "twin": 0, "shifted drive": 0, "unknowable": 0}
    for k in range(20):
        p = p_of(made_results("none", seed=k + 1, trials=40))
        for name in ("recorded", "twin", "shifted drive"):
            false[name] += p[name] <= 0.05
        false["unknowable"] += p_of(made_results("hidden", seed=k + 1, trials=40))["twin"] <= 0.05

    assert max(false.values()) <= 3


def test_events_are_told_apart_and_missing_scores_are_named() -> None:
    events = pd.DataFrame(
        {"onset": [0.0, 5.0, 9.0], "duration": 1.0, "trial_type": ["a", "b", "a"], "rating": [1, 2, 3]}
    )
    trials, rest = trials_of(events, {"score": "rating", "trial_type": "a"}, "me")
    assert trials["score"].tolist() == [1, 3]
    assert rest["trial_type"].tolist() == ["b"]
    with pytest.raises(InputError, match="no numbers in a column 'score'"):
        trials_of(events, {}, "me")
    with pytest.raises(InputError, match="no event has the trial_type 'c'"):
        trials_of(events, {"score": "rating", "trial_type": "c"}, "me")
    results = made_results("evoked", permutations=9)
    wrong = replace(results, design=Design(experiment="task", conditions=(TWIN,), settings={"fold": 3}))
    with pytest.raises(InputError, match=r"settings.fold .*did you mean 'folds'"):
        predict(wrong)


def test_the_default_design_has_controls_sizes_degrees_and_rewiring() -> None:
    study = EXPERIMENT.study()
    regions = tuple(f"{n}_{s}" for n in ("Heschl", "Insula") for s in "LR")
    design = EXPERIMENT.design(study, regions)
    assert {c.drive for c in design.conditions} == {"fitted", "constant", "shifted"}
    assert [c.share for c in design.conditions if c.rewire == "nearest"] == [0.25, 0.5, 0.75, 1.0]
    assert len({c.neurons for c in design.conditions}) == 3
    assert len({c.in_degree for c in design.conditions}) == 3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_scores_of_a_spiking_person_are_told_by_its_spiking_twin(tmp_path: Path) -> None:
    """The whole way: sounds -> spiking person -> BOLD and scores -> fit of A1 -> twins -> scores, with its controls."""
    anatomy = small_anatomy()
    inputs = ("Heschl_L", "Heschl_R")
    network = tb.Network(tb.Brain.from_subject(anatomy), neurons=2_400, seed=4, neurons_by="equal")
    point = tb.calibrate(network, inputs, margin=False)
    real = point.network.scaled(neurons=24_000, seed=9)
    base = EXPERIMENT.study()
    change = msgspec.structs.replace
    study = change(
        base,
        calibration=change(base.calibration, neurons_per_region=100),
        assimilation=change(base.assimilation, neurons=2_400, volumes=220, repeats=1),
        twin=change(base.twin, neurons=9_600, members=1),
    )
    design = Design(experiment="task", conditions=(TWIN, SHIFTED), seeds=(1, 2, 3), settings={"permutations": 199})
    p = {}
    for rule in ("evoked", "hidden"):
        made = auditory_person(anatomy, network=real, rule=rule, noise=0.2, seed=3)
        found = run_experiment(
            EXPERIMENT,
            study,
            tmp_path / rule,
            design=design,
            people={"": made.subject},
            cache=tmp_path / "cache",
            processes=1,
            progress=False,
        )
        p[rule] = found.tables["scores"].set_index("condition")["p"].to_dict()
        p[rule]["recorded"] = found.scores["recorded"]["p_value"]
    assert p["evoked"]["twin"] < 0.05
    assert p["evoked"]["shifted drive"] > 0.05
    assert p["hidden"]["twin"] > 0.05
