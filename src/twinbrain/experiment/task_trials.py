"""Trials of all people and all cells of an experiment, side by side, and what they predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.analyse.prediction import ScorePrediction, predict_scores
from twinbrain.analyse.trials import trial_responses, usable_trials
from twinbrain.errors import InputError, nearest
from twinbrain.experiment.results import DISCARD, Results

__all__ = ["ALONE", "Predictions", "predict", "trials_of"]

ALONE = "recorded inputs alone"

_DEFAULTS: dict[str, Any] = {
    "response": "betas",
    "window_s": [4.0, 8.0],
    "score": "score",
    "trial_type": "",
    "folds": 5,
    "permutations": 999,
    "null": "shift",  # scores of people drift, and so do responses
}


@dataclass(frozen=True, eq=False)
class Predictions:
    """Scores of all trials as recording and twins predict them.

    Attributes
    ----------
    scores
        Sides ``recorded`` and one per condition, seed and member.
    alone
        The row of the table for the recorded input regions alone, with its own model.
    alone_predicted
        (trial,) what these predict.
    person, trial
        Of each trial.
    folds
        In words, how trials were held out.

    Examples
    --------
    >>> Predictions.__dataclass_params__.frozen
    True
    """

    scores: ScorePrediction
    alone: dict[str, float]
    alone_predicted: npt.NDArray[np.float64]
    person: npt.NDArray[np.str_]
    trial: npt.NDArray[np.int64]
    folds: str

    def _sides(self, condition: str, seed: int | None = None) -> list[str]:
        begin = f"{condition}|" if seed is None else f"{condition}|{seed}|"
        return [str(w) for w in self.scores.predicted["what"].values if str(w).startswith(begin)]

    def r(self, condition: str, seed: int) -> float:
        """Correlation of a condition and seed, mean over members."""
        return float(self.scores.table.loc[self._sides(condition, seed), "r"].mean())

    def null(self, condition: str, seeds: Sequence[int]) -> npt.NDArray[np.float64]:
        """(permutation,) the mean over seeds of the same, with permuted scores."""
        each = [self.scores.r_null.sel(what=self._sides(condition, s)).mean("what").values for s in seeds]
        return np.asarray(np.mean(each, axis=0), np.float64)

    def predicted(self, condition: str) -> npt.NDArray[np.float64]:
        """(trial,) predictions of a condition, mean over seeds and members."""
        return np.asarray(self.scores.predicted.sel(what=self._sides(condition)).mean("what").values, np.float64)


def trials_of(events: pd.DataFrame, settings: Mapping[str, Any], where: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tell trials with a score from what else happened.

    Parameters
    ----------
    events
        BIDS events: onset, duration (s), the column of the score, and ``trial_type`` if only one type counts. Columns
        ``rating_onset`` and ``rating_duration`` are an event of no interest of each trial.
    settings
        ``score``: name of the column; ``trial_type``: of the trials, or empty for all rows that have a score.
    where
        For messages.

    Returns
    -------
    trials, nuisance
        Tables with onset and duration, the first with ``score``.

    Raises
    ------
    InputError
        If the column is missing or no row has a score.

    Examples
    --------
    >>> table = pd.DataFrame({"onset": [0.0, 9.0], "duration": 2.0, "score": [3.0, np.nan], "trial_type": ["a", "b"]})
    >>> trials, rest = trials_of(table, {}, "me")
    >>> trials["score"].tolist(), rest["trial_type"].tolist()
    ([3.0], ['b'])
    """
    wanted = {**_DEFAULTS, **settings}
    column, kind = str(wanted["score"]), str(wanted["trial_type"])
    if column not in events.columns or not pd.api.types.is_numeric_dtype(events[column]):
        raise InputError(
            f"{where}: the events have no numbers in a column '{column}'{nearest(column, events.columns)}; name the "
            "column of the scores in the design, settings.score."
        )
    scored = events[column].notna()
    if kind:
        if "trial_type" not in events.columns or not (events["trial_type"] == kind).any():
            raise InputError(
                f"{where}: no event has the trial_type '{kind}'; correct settings.trial_type of the design."
            )
        scored &= events["trial_type"] == kind
    if not scored.any():
        raise InputError(f"{where}: no event has a score in the column '{column}'; give events with scores.")
    trials = events[scored].assign(score=events[column]).reset_index(drop=True)
    rest = events[~scored].assign(trial_type=events.get("trial_type", "other"))
    parts = [rest[["onset", "duration", "trial_type"]]] if len(rest) else []
    if "rating_onset" in events.columns:
        renamed = trials[["rating_onset", "rating_duration"]].set_axis(["onset", "duration"], axis=1)
        parts.append(renamed.assign(trial_type="rating"))
    return trials, pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def predict(results: Results) -> Predictions:
    """Predict the scores of all people from recording and cells, by models learnt on recorded trials.

    One person: contiguous blocks of trials are held out. Several: people are left out one by one, and scores are
    centred within people.

    Parameters
    ----------
    results
        Of an experiment whose people have events with scores; the design's settings say how.

    Raises
    ------
    InputError
        If events or scores are missing, or there are too few trials.

    Examples
    --------
    >>> predict.__annotations__["return"]
    'Predictions'
    """
    settings = {**_DEFAULTS, **results.design.settings}
    for name in results.design.settings:
        if name not in _DEFAULTS:
            raise InputError(
                f"design: settings.{name} is not known{nearest(name, _DEFAULTS)} to the experiment 'task'."
            )
    sides: dict[str, list[xr.DataArray]] = {}
    score, person, trial = [], [], []
    for who in results.people:
        setup = results.setups[who]
        run = setup.study.subject.run
        if run not in setup.ready.person.events:
            raise InputError(
                f"'{setup.name}': run '{run}' has no events, which the experiment 'task' needs; give them."
            )
        trials, rest = trials_of(setup.ready.person.events[run], settings, f"'{setup.name}', run '{run}'")
        names = [c.name for c in results.design.conditions]
        cells = {(name, s): results.cell(who, name, s) for name in names for s in results.design.seeds}
        times = np.asarray(next(iter(cells.values()))["time"].values, np.float64)
        recorded = results.passed(who)
        recorded = recorded.isel(time=slice(0, 0)) if not len(times) else recorded.sel(time=times, method="nearest")
        first = times[min(DISCARD, len(times) // 4)]
        window = (float(settings["window_s"][0]), float(settings["window_s"][1]))
        kept = usable_trials(trials, float(times[-1]), window)
        kept = kept[kept["onset"] >= first]
        how: dict[str, Any] = {"method": settings["response"], "window_s": window}
        how["nuisance"] = rest if len(rest) else None
        if len(kept) < 2:
            raise InputError(
                f"'{setup.name}': {len(kept)} trials lie within the simulated volumes; simulate more of them."
            )
        sides.setdefault("recorded", []).append(trial_responses(recorded.assign_coords(time=times), kept, **how))
        for (name, s), data in cells.items():
            for m in range(data.sizes["member"]):
                bold = data["bold"].isel(member=m, drop=True).astype(np.float64)
                sides.setdefault(f"{name}|{s}|{m}", []).append(trial_responses(bold, kept, **how))
        score.append(kept["score"].to_numpy(np.float64))
        person += [setup.name] * len(kept)
        trial += kept.index.tolist()
    everyone = [set(x["region"].values) for parts in sides.values() for x in parts]
    common = [n for n in sides["recorded"][0]["region"].values if all(n in names for names in everyone)]
    joined = {what: _joined(parts, common) for what, parts in sides.items()}
    who_is = np.array(person)
    several = len(results.people) > 1
    how = {
        "folds": who_is if several else int(settings["folds"]),
        "within": who_is if several else None,
        "permutations": int(settings["permutations"]),
        "null": settings["null"],
    }
    recorded = joined.pop("recorded")
    actual = np.concatenate(score)
    inputs = [n for n in results.inputs(results.people[0], results.design.conditions[0].name) if n in common]
    alone = predict_scores(recorded.sel(region=inputs), actual, **how)
    return Predictions(
        predict_scores(recorded, actual, joined, **how),
        {str(k): float(alone.table[k].iloc[0]) for k in alone.table.columns},
        alone.predicted.sel(what="recorded").values,
        who_is,
        np.array(trial, np.int64),
        "one person at a time" if several else f"{settings['folds']} blocks of trials",
    )


def _joined(parts: list[xr.DataArray], common: list[Any]) -> xr.DataArray:
    plain = [x.sel(region=common).drop_vars(["trial", "onset"]) for x in parts]
    return xr.concat(plain, dim="trial")
