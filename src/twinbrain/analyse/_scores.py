"""Figures of one version (raw or band-passed) of a comparison: scores, baselines, nulls, ceilings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.analyse._numeric import Floats, correlation_matrix, pearson, standardise
from twinbrain.analyse.align import Aligned
from twinbrain.analyse.baselines import copy_inputs, ideal_linear, input_mask, persistence, ridge_from_inputs
from twinbrain.analyse.connectivity import matrix_distances
from twinbrain.analyse.nulls import block_bootstrap_indices, phase_randomise, time_shift
from twinbrain.errors import InputError

Scores = dict[str, Any]
Mask = npt.NDArray[np.bool_]

# Baselines that know no region's own past, as the free run does not: only these compete for "best".
_COMPETITORS = ("copy_inputs", "ideal_linear", "ridge_from_inputs")
_SHIFTS, _DRAWS = 5, 20
# Widened percentiles held the true lead in 95, 96, 96, 95 and 90 % of 300 simulated band-passed recordings of 3.1, 4.5,
# 7.9, 11.9 and 21.4 blocks (plain ones in 79, 87, 90, 91 and 89 %), and in 91 % (77 %) of those of 2.1.
_MIN_BLOCKS = 3


@dataclass(frozen=True, eq=False)
class Version:
    """Standard scores (scored volume, region) of one version, the baselines' predictions of it, and all figures."""

    simulated: Floats
    recorded: Floats
    predictions: dict[str, Floats | None]
    scores: Scores
    notes: list[str]


def score_version(
    pair: Aligned,
    inputs: tuple[str, ...],
    connectome: xr.DataArray | None,
    k: float,
    bootstrap: int,
    block_s: float,
    seed: int,
) -> Version:
    """Score one version of the aligned series; the keys are those of `compare`."""
    is_input = input_mask([str(name) for name in pair.recorded["region"].values], inputs)
    notes: list[str] = []
    predictions = _predictions(pair, inputs, connectome, k, notes)
    there = pair.scored  # baselines, shifts and filters run over even times; only what was measured is scored
    predictions = {name: None if series is None else series[there] for name, series in predictions.items()}
    run = standardise(pair.simulated.to_numpy())
    z, target = standardise(run[there]), standardise(pair.recorded.to_numpy()[there])
    fc = correlation_matrix(target)
    scores = _score(z, target, fc, is_input)
    scores["fc_mean_recorded"] = matrix_distances(fc, fc)["fc_mean"]
    scores["baselines"] = {
        name: None if series is None else _score(series, target, fc, is_input) for name, series in predictions.items()
    }
    scores["baselines"] |= _nulls(run, there, target, fc, is_input, seed)
    scores["ceilings"] = {"split_half_fc": _split_half(pair.whole[pair.present.to_numpy()], is_input)}
    best, reached = _best(scores["baselines"])
    scores["best_baseline"] = best
    block = int(np.ceil(block_s / pair.repetition_time_s - 1e-9))
    lead: Scores = {"value": None, "low": None, "high": None, "bootstrap": bootstrap}
    lead["block_s"] = round(block * pair.repetition_time_s, 9)
    prediction = predictions[best] if best else None
    if prediction is not None:
        lead["value"] = scores["bold_pcc_noninputs"] - reached
        free = ~is_input
        if 2 * block <= len(z):
            lead["low"], lead["high"] = _interval(
                z[:, free], prediction[:, free], target[:, free], block, bootstrap, seed
            )
            if len(z) < _MIN_BLOCKS * block:
                notes.append(
                    f"the interval of the difference rests on {len(z) / block:.1f} blocks of {lead['block_s']:g} s: "
                    f"with fewer than {_MIN_BLOCKS} it is rough, and holds the truth in about 90 % of cases"
                )
        else:
            notes.append(f"no interval: {len(z)} volumes hold fewer than two blocks of {block}")
    scores["difference_to_best"] = lead
    return Version(z, target, predictions, scores, notes)


def score_series(simulated: xr.DataArray, recorded: xr.DataArray, is_input: Mask) -> Scores:
    """Return the figures of one series against another, without baselines."""
    z, target = standardise(simulated.to_numpy()), standardise(recorded.to_numpy())
    return _score(z, target, correlation_matrix(target), is_input)


def _predictions(
    pair: Aligned, inputs: tuple[str, ...], connectome: xr.DataArray | None, k: float, notes: list[str]
) -> dict[str, Floats | None]:
    """Standard scores predicted by each baseline, None where it is not defined."""
    recorded = pair.recorded
    predictions: dict[str, Floats | None] = {
        "copy_inputs": copy_inputs(recorded, inputs).to_numpy(),
        "ideal_linear": ideal_linear(recorded, inputs, connectome, k=k).to_numpy() if connectome is not None else None,
    }
    try:
        predictions["ridge_from_inputs"] = ridge_from_inputs(
            pair.whole, inputs, at=recorded, present=pair.present
        ).to_numpy()
    except InputError as error:  # a short recording limits one baseline, not the comparison
        predictions["ridge_from_inputs"] = None
        notes.append(f"ridge_from_inputs is not defined: {error}")
    predictions["persistence"] = persistence(recorded).to_numpy()
    return predictions


def _score(z: Floats, target: Floats, fc: Floats, is_input: Mask, fc_simulated: Floats | None = None) -> Scores:
    pcc = pearson(z, target)
    matrix = correlation_matrix(z) if fc_simulated is None else fc_simulated
    free = np.ix_(~is_input, ~is_input)
    others = matrix_distances(matrix[free], fc[free])
    return {
        "bold_pcc_all": float(pcc.mean()),
        "bold_pcc_inputs": float(pcc[is_input].mean()),
        "bold_pcc_noninputs": float(pcc[~is_input].mean()) if not is_input.all() else float("nan"),
        **matrix_distances(matrix, fc),
        "fc_pcc_noninputs": others["fc_pcc"],
        "fc_rms_noninputs": others["fc_rms"],
    }


def _nulls(z: Floats, there: Mask, target: Floats, fc: Floats, is_input: Mask, seed: int) -> dict[str, Scores]:
    """Mean scores of the simulation with its course in time destroyed; its FC stays and is computed once."""
    volumes, matrix = len(z), correlation_matrix(z)
    shifts = np.linspace(volumes / 3, 2 * volumes / 3, _SHIFTS).astype(int)
    drawn = {
        "time_shifted": [time_shift(z, int(shift)) for shift in shifts],
        "phase_randomised": [phase_randomise(z, draw=draw, seed=seed) for draw in range(_DRAWS)],
    }
    nulls = {}
    for name, series in drawn.items():
        each = [_score(s[there], target, fc, is_input, matrix) for s in series]
        nulls[name] = {key: float(np.mean([score[key] for score in each])) for key in each[0]}
    return nulls


def _best(baselines: dict[str, Scores | None]) -> tuple[str | None, float]:
    """The competitor with the highest score without inputs, and that score."""
    reached = {name: scores["bold_pcc_noninputs"] for name in _COMPETITORS if (scores := baselines[name])}
    reached = {name: value for name, value in reached.items() if np.isfinite(value)}
    best = max(reached, key=lambda name: reached[name], default=None)
    return best, reached[best] if best else float("nan")


def _interval(
    z: Floats, prediction: Floats, target: Floats, block: int, bootstrap: int, seed: int
) -> tuple[float, float]:
    """95 % interval of the mean lead in PCC; both predictors see the same resampled volumes.

    Percentiles of few blocks are too narrow, as a variance divided by n is, and as a normal quantile is where Student's
    belongs; they are taken as much further out (expanded percentiles, Hesterberg 2015, Am. Stat. 69:371).
    """
    from scipy.special import ndtr, stdtrit

    indices = block_bootstrap_indices(len(z), block, bootstrap, seed=seed)
    leads = _resampled_pcc(z, target, indices) - _resampled_pcc(prediction, target, indices)
    blocks = len(z) / block
    tail = float(ndtr(-np.sqrt(blocks / (blocks - 1)) * stdtrit(blocks - 1, 0.975)))
    low, high = np.quantile(leads.mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def _resampled_pcc(a: Floats, b: Floats, indices: npt.NDArray[np.int64]) -> Floats:
    """Pearson correlation by column for each row of resampled ``indices``: (draws, region).

    Resampling only changes how often each volume counts, so all draws are five matrix products.
    """
    draws, volumes = indices.shape
    flat = indices + volumes * np.arange(draws)[:, None]
    weight = np.bincount(flat.ravel(), minlength=draws * volumes).reshape(draws, volumes) / volumes
    mean_a, mean_b = weight @ a, weight @ b
    covariance = weight @ (a * b) - mean_a * mean_b
    spread = (weight @ (a * a) - mean_a**2) * (weight @ (b * b) - mean_b**2)
    scale = np.sqrt(np.maximum(spread, 0.0))
    return np.asarray(np.divide(covariance, scale, out=np.zeros_like(covariance), where=spread > 1e-20))


def _split_half(whole: xr.DataArray, is_input: Mask) -> Scores:
    values = whole.to_numpy()
    half = len(values) // 2
    first, second = correlation_matrix(values[:half]), correlation_matrix(values[half:])
    free = np.ix_(~is_input, ~is_input)
    others = matrix_distances(first[free], second[free])
    return matrix_distances(first, second) | {
        "fc_pcc_noninputs": others["fc_pcc"],
        "fc_rms_noninputs": others["fc_rms"],
    }


def best_lag(z: Floats, target: Floats, max_lag: int, there: Mask | None = None) -> tuple[int | None, float | None]:
    """Lag with the highest mean correlation over the target's rows ``there``; positive: the simulation comes late."""
    if max_lag == 0:
        return None, None
    n = len(z)
    kept = np.ones(n, dtype=np.bool_) if there is None else there
    if n - max_lag < 3:
        raise InputError(f"max_lag is {max_lag} volumes but {n} are compared, expected fewer than {n - 2}; lower it.")

    def score(lag: int) -> float:
        ours, theirs = slice(max(lag, 0), n + min(lag, 0)), slice(max(-lag, 0), n - max(lag, 0))
        return float(pearson(z[ours][kept[theirs]], target[theirs][kept[theirs]]).mean())

    reached = {lag: score(lag) for lag in sorted(range(-max_lag, max_lag + 1), key=abs)}
    best = max(reached, key=lambda lag: reached[lag])
    return best, reached[best]
