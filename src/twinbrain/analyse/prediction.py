"""Scores of trials predicted from the brain: learnt on recorded trials, applied to recorded and simulated ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from twinbrain.analyse._numeric import Floats, generator, json_ready, pearson
from twinbrain.errors import InputError

__all__ = ["ScorePrediction", "predict_scores"]

Int = npt.NDArray[np.int64]

_PERMUTE = 41  # second half of the random key
_PENALTIES = np.logspace(-2, 3, 11)  # of ridge, per trial learnt from
_INNER = 5
_LEAST = 12  # trials


@dataclass(frozen=True, eq=False)
class ScorePrediction:
    """Result of :func:`predict_scores`.

    Attributes
    ----------
    table
        Index ``what``: ``recorded``, then every simulation. Columns ``r`` (Pearson correlation of predicted and actual
        score over all trials), ``low``, ``high`` (95 %, Fisher's z, trials taken as independent), ``null_mean``,
        ``null_sd`` (of r over permutations), ``p_value`` (one-sided: how often chance does as well), ``r_of_folds``
        (mean over folds of the correlation within a fold), ``trials``.
    predicted
        (what, trial) predicted scores, units of the score (centred within ``within``, if that was given).
    actual
        (trial,) scores as they were predicted.
    fold
        (trial,) number of the fold in which a trial was held out.
    r_fold
        (what, fold) correlation within each fold; NaN where it is not defined.
    penalty
        (fold,) chosen strength of the ridge penalty, per trial learnt from.
    regions
        Index region: ``r`` of the recorded response with the score, ``p_value`` family-wise over regions (largest
        absolute value, same permutations).
    r_null
        (what, permutation) r under each permutation; the same permutation for every ``what``, so that means over
        several simulations have a null too.

    Examples
    --------
    >>> ScorePrediction.__dataclass_params__.frozen
    True
    """

    table: pd.DataFrame
    predicted: xr.DataArray
    actual: xr.DataArray
    fold: xr.DataArray
    r_fold: xr.DataArray
    penalty: xr.DataArray
    regions: pd.DataFrame
    r_null: xr.DataArray

    def to_dict(self) -> dict[str, Any]:
        """Return the table and the regions as plain numbers for JSON."""
        found = {"table": self.table.to_dict("index"), "regions": self.regions.to_dict("index")}
        return dict(json_ready(found))

    def __repr__(self) -> str:
        rows = "; ".join(f"{name}: r = {row.r:.2f}, p = {row.p_value:.3g}" for name, row in self.table.iterrows())
        return f"ScorePrediction({self.actual.size} trials; {rows})"


def predict_scores(
    recorded: xr.DataArray,
    score: Sequence[float] | npt.NDArray[Any],
    simulated: Mapping[str, xr.DataArray] | None = None,
    *,
    folds: int | Sequence[Any] | npt.NDArray[Any] = 5,
    within: Sequence[Any] | npt.NDArray[Any] | None = None,
    gap: int = 1,
    permutations: int = 999,
    null: Literal["shuffle", "shift"] = "shuffle",
    seed: int = 0,
) -> ScorePrediction:
    """Learn scores from recorded trials, and predict those of trials that were held out, recorded and simulated.

    Ridge regression, ``w = argmin sum_k (y_k - x_k . w)^2 + lambda n |w|^2``, of the score y on the responses x of all
    regions, standardised by the trials learnt from. Nested: each fold is predicted from the others, and lambda (one of
    eleven from 0.01 to 1000) is chosen by five-fold prediction inside the others alone. A simulated trial is
    standardised by the simulated responses to the trials learnt from, and gets the weights learnt from *recorded*
    trials in which it was held out: no simulation and no score of its fold is ever learnt from.

    The permutation test repeats everything, choice of lambda included, with permuted scores.

    Parameters
    ----------
    recorded
        (trial, region) responses, such as :func:`twinbrain.trial_responses` gives.
    score
        One number per trial.
    simulated
        Name -> (trial, region), the same trials in the same order, the same regions by name. A trial that was not
        simulated is NaN in all regions; it is learnt from if recorded, and counts in no figure of the simulation.
    folds
        Number of contiguous blocks of trials, or one label per trial: the person (leave one person out) or the run.
    within
        One label per trial; scores and responses are centred within each label, such as the person or the run, so that
        differences between people explain nothing, and permuted within it alone. No label may be in two folds.
    gap
        Trials beside a held-out block that are not learnt from, as their responses overlap; of contiguous blocks only.
    permutations
        Of the scores. Default 999.
    null
        ``"shuffle"`` (default) for scores that do not depend on the trial before; ``"shift"`` turns scores circularly,
        for scores that drift: as responses drift too, shuffled scores would make p too small. With one label p is then
        at least about 1 / trials.
    seed
        Key of the random numbers.

    Returns
    -------
    ScorePrediction

    Raises
    ------
    InputError
        If there are fewer than 12 trials, labels or regions do not fit, or a value is not finite.

    References
    ----------
    Hoerl & Kennard (1970), Technometrics 12:55; Varma & Simon (2006), BMC Bioinformatics 7:91 (nested
    cross-validation); Ojala & Garriga (2010), JMLR 11:1833 (permutation test).

    Examples
    --------
    >>> rng = np.random.Generator(np.random.Philox(key=1))
    >>> x = xr.DataArray(rng.normal(size=(60, 4)), dims=("trial", "region"), coords={"region": list("ABCD")})
    >>> found = predict_scores(x, x.values[:, 1] + 0.5 * rng.normal(size=60), {"twin": x + 0.5}, permutations=99)
    >>> bool(found.table.loc["recorded", "r"] > 0.8), found.regions["r"].idxmax()
    (True, 'B')
    """
    x, names = _responses(recorded, "recorded")
    y = np.asarray(score, np.float64).ravel()
    if len(y) != len(x) or not np.isfinite(y).all():
        raise InputError(
            f"score: {len(y)} values, {int((~np.isfinite(y)).sum())} of them not finite, were found for {len(x)} "
            "trials; give one number per trial, and leave out trials without one."
        )
    if len(y) < _LEAST or np.ptp(y) == 0:
        raise InputError(
            f"score: {len(y)} trials with {len(np.unique(y))} different scores were found, expected at least {_LEAST} "
            "trials and two scores."
        )
    if null not in ("shuffle", "shift"):
        raise InputError(f"null is '{null}', expected 'shuffle' or 'shift'; choose one.")
    fold, contiguous = _folds(folds, len(y))
    label = _labels(within, fold)
    sides = {"recorded": _centred(x, label)}
    for what, responses in (simulated or {}).items():
        if what == "recorded":
            raise InputError("simulated: 'recorded' is the name of the recorded trials; choose another name.")
        sides[what] = _centred(_same(responses, names, len(y), what), label)
    scores = _permuted(_centred(y[:, None], label)[:, 0], label, permutations, null, seed)
    with threadpool_limits(limits=1, user_api="blas"):  # the result must not follow the number of threads
        predicted, penalty = _predict(sides, scores, fold, gap if contiguous else 0)
        against = np.array([pearson(np.repeat(x[:, [j]], scores.shape[1], axis=1), scores) for j in range(len(names))])
    rows, of_fold, of_null = {}, [], []
    for what, guess in predicted.items():
        there = np.isfinite(guess[:, 0])
        n = int(there.sum())
        r = pearson(guess[there], scores[there])
        each = np.array(
            [_correlation(guess[there & (fold == f), 0], scores[there & (fold == f), 0]) for f in np.unique(fold)]
        )
        of_fold.append(each)
        of_null.append(r[1:])
        low, high = np.tanh(np.arctanh(np.clip(r[0], -0.999999, 0.999999)) + np.array([-1.96, 1.96]) / np.sqrt(n - 3))
        fine = np.isfinite(each)
        rows[what] = {
            "r": r[0],
            "low": low,
            "high": high,
            "null_mean": r[1:].mean() if permutations else np.nan,
            "null_sd": r[1:].std(ddof=1) if permutations > 1 else np.nan,
            "p_value": (1 + (r[1:] >= r[0] - 1e-12).sum()) / (1 + permutations),
            "r_of_folds": each[fine].mean() if fine.any() else np.nan,
            "trials": n,
        }
    largest = np.abs(against[:, 1:]).max(axis=0, initial=0.0)
    p_region = [(1 + (largest >= abs(r) - 1e-12).sum()) / (1 + permutations) for r in against[:, 0]]
    trial: dict[str, Any] = {"trial": np.arange(len(y))}
    which: dict[str, Any] = {"what": list(predicted)}
    return ScorePrediction(
        table=pd.DataFrame.from_dict(rows, orient="index").rename_axis("what"),
        predicted=xr.DataArray(
            np.stack([g[:, 0] for g in predicted.values()]), dims=("what", "trial"), coords=which | trial
        ),
        actual=xr.DataArray(scores[:, 0], dims=("trial",), coords=trial),
        fold=xr.DataArray(fold, dims=("trial",), coords=trial),
        r_fold=xr.DataArray(np.stack(of_fold), dims=("what", "fold"), coords=which),
        penalty=xr.DataArray(penalty, dims=("fold",)),
        regions=pd.DataFrame({"r": against[:, 0], "p_value": p_region}, index=pd.Index(names, name="region")),
        r_null=xr.DataArray(np.stack(of_null), dims=("what", "permutation"), coords=which),
    )


# ---- what was given --------------------------------------------------------------------------------------------------


def _responses(responses: xr.DataArray, what: str, *, missing: bool = False) -> tuple[Floats, list[str]]:
    others = [str(d) for d in getattr(responses, "dims", ()) if d != "trial"]
    if not isinstance(responses, xr.DataArray) or len(others) != 1 or responses.ndim != 2:
        raise InputError(f"{what}: expected a DataArray (trial, region), such as trial_responses gives; give that.")
    ordered = responses.transpose("trial", others[0])
    names = [str(n) for n in ordered[others[0]].values]
    values = np.asarray(ordered.values, np.float64)
    wrong = ~np.isfinite(values)
    if missing:
        wrong &= ~np.isnan(values).all(axis=1, keepdims=True)
    if wrong.any():
        k, j = np.argwhere(wrong)[0]
        raise InputError(f"{what}: trial {k}, region '{names[j]}' is {values[k, j]}, expected a number; leave it out.")
    return values, names


def _same(responses: xr.DataArray, names: list[str], trials: int, what: str) -> Floats:
    values, own = _responses(responses, what, missing=True)
    missing = [n for n in names if n not in own]
    if missing or len(values) != trials:
        lacks = f"region '{missing[0]}' is missing" if missing else f"{len(values)} trials were found, not {trials}"
        raise InputError(f"{what}: {lacks}; give the same trials and regions as were recorded.")
    if np.isfinite(values[:, 0]).sum() < _LEAST:
        raise InputError(f"{what}: fewer than {_LEAST} trials were simulated; simulate more.")
    place = {n: j for j, n in enumerate(own)}
    return values[:, [place[n] for n in names]]


def _folds(folds: Any, trials: int) -> tuple[Int, bool]:
    """Number of the fold of each trial, and whether folds are blocks of a series of trials."""
    if isinstance(folds, (int, np.integer)):
        if not 2 <= folds <= trials // 2:
            raise InputError(f"folds is {folds}, expected 2 to {trials // 2} for {trials} trials; change it.")
        return (np.arange(trials) * int(folds) // trials).astype(np.int64), True
    labels = np.asarray(folds)
    if labels.shape != (trials,) or len(np.unique(labels)) < 2:
        raise InputError(
            f"folds: {labels.size} labels of {len(np.unique(labels))} kinds were found, expected one for each of "
            f"{trials} trials and at least two kinds; give a number of blocks or a label per trial."
        )
    return np.unique(labels, return_inverse=True)[1].astype(np.int64), False


def _labels(within: Any, fold: Int) -> Int:
    if within is None:
        return np.zeros(len(fold), np.int64)
    labels = np.asarray(within)
    if labels.shape != fold.shape:
        raise InputError(f"within: {labels.size} labels were found for {len(fold)} trials; give one per trial.")
    names, number = np.unique(labels, return_inverse=True)
    for k, name in enumerate(names):
        if len(np.unique(fold[number == k])) > 1:
            raise InputError(
                f"within: the trials of '{name}' are in two folds, so that centring them would tell a held-out score; "
                "let folds keep them together."
            )
    return number.astype(np.int64)


def _centred(values: Floats, label: Int) -> Floats:
    if not label.any():
        return values  # one group: standardised inside each fold instead
    total = np.zeros((label.max() + 1, values.shape[1]))
    np.add.at(total, label, values)
    return np.asarray(values - (total / np.bincount(label)[:, None])[label], np.float64)


def _permuted(y: Floats, label: Int, permutations: int, null: str, seed: int) -> Floats:
    """(trial, 1 + permutation): the scores, then permutations of them within each label."""
    rng = generator(seed, _PERMUTE)
    columns = [y]
    groups = [np.flatnonzero(label == k) for k in np.unique(label)]
    for _ in range(permutations):
        new = y.copy()
        for members in groups:
            n = len(members)
            order = rng.permutation(n) if null == "shuffle" else np.roll(np.arange(n), rng.integers(0, n))
            new[members] = y[members[order]]
        columns.append(new)
    return np.stack(columns, axis=1)


# ---- ridge -----------------------------------------------------------------------------------------------------------


class _Ridge:
    """Regressions of many scores on the same responses, for any penalty, from one decomposition."""

    def __init__(self, x: Floats, y: Floats) -> None:
        self._mean, self._spread = _scale(x)
        self._level = y.mean(axis=0)
        u, self._s, self._vt = np.linalg.svd((x - self._mean) / self._spread, full_matrices=False)
        self._along = u.T @ (y - self._level)
        self._n = len(x)

    def rotated(self, x: Floats, scale: tuple[Floats, Floats] | None = None) -> Floats:
        mean, spread = scale or (self._mean, self._spread)
        return np.asarray((x - mean) / spread @ self._vt.T)

    def predict(self, rotated: Floats, penalty: float, columns: slice | Int = slice(None)) -> Floats:
        shrunk = self._s / (self._s**2 + penalty * self._n)
        return np.asarray((rotated * shrunk) @ self._along[:, columns] + self._level[columns])


def _scale(x: Floats) -> tuple[Floats, Floats]:
    spread = x.std(axis=0)
    return x.mean(axis=0), np.where(spread > 0, spread, 1.0)


def _predict(sides: Mapping[str, Floats], y: Floats, fold: Int, gap: int) -> tuple[dict[str, Floats], Floats]:
    """Predict every column of scores for every side, fold by fold; the penalty is that of the first column."""
    x = sides["recorded"]
    predicted = {what: np.empty_like(y) for what in sides}
    penalty = []
    for f in np.unique(fold):
        held, learnt = _split(fold == f, gap)
        chosen = _chosen(x[learnt], y[learnt], fold[learnt], gap)
        model = _Ridge(x[learnt], y[learnt])
        for what, values in sides.items():
            scale = None if what == "recorded" else _scale(values[learnt][np.isfinite(values[learnt, 0])])
            rotated = model.rotated(values[held], scale)
            for k in np.unique(chosen):
                columns = np.flatnonzero(chosen == k)
                predicted[what][np.ix_(held, columns)] = model.predict(rotated, _PENALTIES[k], columns)
        penalty.append(_PENALTIES[chosen[0]])
    return predicted, np.array(penalty)


def _split(held: npt.NDArray[np.bool_], gap: int) -> tuple[Int, Int]:
    near = held.copy()
    for k in range(1, gap + 1):
        near[k:] |= held[:-k]
        near[:-k] |= held[k:]
    return np.flatnonzero(held).astype(np.int64), np.flatnonzero(~near).astype(np.int64)


def _chosen(x: Floats, y: Floats, fold: Int, gap: int) -> Int:
    """Choose a penalty for every column by prediction inside the trials learnt from."""
    kinds = np.unique(fold)
    inner = np.searchsorted(kinds, fold) * min(_INNER, len(kinds)) // len(kinds)
    if len(kinds) < _INNER:  # too few to hold out whole ones only
        inner = np.arange(len(fold)) * _INNER // len(fold)
    wrong = np.zeros((len(_PENALTIES), y.shape[1]))
    for g in np.unique(inner):
        held, learnt = _split(inner == g, gap)
        model = _Ridge(x[learnt], y[learnt])
        rotated = model.rotated(x[held])
        for k, penalty in enumerate(_PENALTIES):
            wrong[k] += ((model.predict(rotated, penalty) - y[held]) ** 2).sum(axis=0)
    return np.asarray(np.argmin(wrong, axis=0), np.int64)


def _correlation(a: Floats, b: Floats) -> float:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
