"""The synthetic auditory person: what is planted is there, and only that."""

from __future__ import annotations

import numpy as np
import pytest

from small_brain import NAMES, small_anatomy
from twinbrain.analyse.trials import trial_responses
from twinbrain.errors import InputError
from twinbrain.experiment.auditory import auditory_person


def test_sounds_reach_a1_and_scores_follow_their_rule() -> None:
    made = auditory_person(small_anatomy(), trials=60)
    assert made.subject.regions == NAMES
    assert made.regions == ("Rolandic_Oper_L", "Rolandic_Oper_R") or set(made.regions) < set(NAMES[2:])
    events = made.subject.events["auditory"]
    assert list(events.columns) == ["onset", "duration", "score"]  # what is planted stays unknown to the experiment
    found = trial_responses(made.subject.bold["auditory"], events)
    assert np.corrcoef(found.sel(region="Heschl_L"), made.events["strength"])[0, 1] > 0.6
    rule = np.corrcoef(made.events["response"], made.events["score"])[0, 1] ** 2
    assert 0.5 < rule < 0.9  # noise has 30 % of the variance
    assert made.events["onset"].iloc[-1] + 12 < float(made.subject.bold["auditory"]["time"][-1])


def test_the_other_rules_have_no_root_in_the_sounds() -> None:
    hidden = auditory_person(small_anatomy(), rule="hidden", noise=0.0, trials=60)
    assert hidden.regions == ("Calcarine_L", "Calcarine_R")
    assert abs(np.corrcoef(hidden.events["score"], hidden.events["strength"])[0, 1]) < 0.4
    none = auditory_person(small_anatomy(), rule="none", trials=60)
    assert none.regions == ()
    assert none.events["response"].isna().all()


def test_the_same_seed_gives_the_same_person_and_another_another() -> None:
    one, again, other = (auditory_person(small_anatomy(), trials=20, seed=k) for k in (1, 1, 2))
    np.testing.assert_array_equal(one.subject.bold["auditory"], again.subject.bold["auditory"])
    assert one.events.equals(again.events)
    assert not one.events.equals(other.events)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": ("Heschl",)}, "inputs: 'Heschl' is no region of 'small'"),
        ({"hidden": ("Heschl_L",)}, "no region in both"),
        ({"rule": "evokd"}, "rule is 'evokd'; did you mean 'evoked'"),
        ({"rule": "hidden", "hidden": ()}, "there is no hidden region"),
        ({"noise": 1.5}, "expected a share up to 1"),
    ],
)
def test_bad_input_is_explained(given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        auditory_person(small_anatomy(), **given)
