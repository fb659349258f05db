r"""Evidence: what a free run shows, beside everything that would look as good without a brain.

Runs are scored by `twinbrain.compare`, band-passed version: the recording is band-passed once, over its whole length,
as the target of the fit was, and the simulation is scored as it is. The columns ``refiltered_...`` show what comes out
when the simulation is filtered as well, which costs the target itself some hundredths.

A twin's score never stands alone. This module puts beside it what the same figures are for a copy of the inputs, for
ideal linear propagation through the same connectome, for a regression, for persistence, and for two nulls that are runs
of the same spiking network: the inputs held constant, and the inputs shifted in time. Every row says which part of the
recording its author had seen. With runs of three sizes or more the finite-size law

.. math:: r(n) = P_\infty / \sqrt{1 + c / n}

(n neurons per region; noise of relative variance c / n on a signal that would reach P_inf) is fitted.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from twinbrain.analyse._numeric import correlation_matrix, json_ready, pearson, standardise
from twinbrain.analyse._scores import _interval, _resampled_pcc
from twinbrain.analyse.align import align
from twinbrain.analyse.baselines import copy_inputs, input_mask
from twinbrain.analyse.filtering import band_pass
from twinbrain.analyse.nulls import block_bootstrap_indices
from twinbrain.analyse.similarity import compare
from twinbrain.assimilate.fit import Fit
from twinbrain.drive import Drive
from twinbrain.errors import InputError
from twinbrain.experiment.evidence_words import verdict
from twinbrain.simulate import Run

__all__ = ["Evidence", "SizeLaw", "evidence", "null_drives", "posterior_checks", "size_law"]

Float = NDArray[np.float64]

NULLS = ("constant_input", "time_shifted_input")
"""Nulls that are spiking runs, with the names they have in every table."""

_KEYS = {
    "bold_pcc_inputs": "bold_pcc_inputs",
    "bold_pcc_noninputs": "bold_pcc_noninputs",
    "fc_pcc": "fc_pcc",
    "fc_pcc_noninputs": "fc_pcc_noninputs",
    "fc_rms": "fc_fnorm_rms",
    "fc_mean": "fc_mean",
}
_REFILTERED = ("bold_pcc_inputs", "bold_pcc_noninputs")
_GAP = 20
_LEAST_LAW = 0.05
_FITTED = "in-sample: fitted to these volumes"
_GIVEN = "given: the recording itself"


@dataclass(frozen=True)
class SizeLaw:
    """The finite-size law r(n) = p_inf / sqrt(1 + c / n), with 95 % intervals over resampled blocks of time.

    Attributes
    ----------
    p_inf, p_inf_low, p_inf_high
        Correlation that an infinitely large network would reach.
    c, c_low, c_high
        Neurons per region at which noise and signal have the same variance.
    sizes, values
        What it was fitted to.

    Examples
    --------
    >>> law = SizeLaw(0.8, 0.7, 0.9, 300.0, 200.0, 400.0, (100, 300, 1000), (0.4, 0.57, 0.7))
    >>> round(law.at(300), 3)
    0.566
    """

    p_inf: float
    p_inf_low: float
    p_inf_high: float
    c: float
    c_low: float
    c_high: float
    sizes: tuple[int, ...]
    values: tuple[float, ...]

    def at(self, neurons_per_region: float) -> float:
        """Return what the law expects at a size."""
        return float(self.p_inf / np.sqrt(1.0 + self.c / neurons_per_region))


@dataclass(frozen=True, eq=False)
class Evidence:
    """Result of :func:`evidence`.

    Attributes
    ----------
    table
        Index ``what``; columns kind (simulated, baseline, null, ceiling), neurons_per_region, inputs_seen and
        others_seen (what the row's author knew of the inputs' and of the other regions' scored volumes), the scores
        bold_pcc_inputs, bold_pcc_noninputs, fc_pcc, fc_pcc_noninputs, fc_fnorm_rms, fc_mean,
        refiltered_pcc_inputs and refiltered_pcc_noninputs (both sides filtered), fc_pcc_other_half (FC against that of
        the half of the recording without the scored volumes; in-sample for connectivity fitted to it; in
        the row ``recording`` that of the recorded volumes themselves, the ceiling), and over_copy, over_copy_low,
        over_copy_high: mean lead in PCC over the copy of the inputs, regions without input, with its 95 %
        block-bootstrap interval.
    verdict
        Sentences in plain words.
    law
        Of the regions without input, or None with fewer than 3 sizes.
    law_inputs
        Of the inputs, or None.
    posterior
        Checks of the fit's bands, see :func:`posterior_checks`; empty without a fit.
    settings
        Inputs, band, volumes, regions.

    Examples
    --------
    >>> Evidence.__dataclass_params__.frozen
    True
    """

    table: pd.DataFrame
    verdict: tuple[str, ...]
    law: SizeLaw | None
    law_inputs: SizeLaw | None
    posterior: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain numbers, text, lists and None."""
        laws = {name: None if law is None else vars(law) for name, law in (("law", self.law), ("i", self.law_inputs))}
        ready: dict[str, Any] = json_ready(
            {
                "rows": self.table.reset_index().to_dict(orient="records"),
                "verdict": list(self.verdict),
                "law": laws["law"],
                "law_inputs": laws["i"],
                "posterior": self.posterior,
                "settings": self.settings,
            }
        )
        return ready

    def __repr__(self) -> str:
        best = self.table.loc["free run"]
        return (
            f"Evidence({len(self.table)} rows; inputs {best['bold_pcc_inputs']:.3f}, others "
            f"{best['bold_pcc_noninputs']:.3f}, over the copy {best['over_copy']:+.3f})"
        )

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.verdict)
        return f"{self.table.to_html()}<ul>{said}</ul>"


def null_drives(drive: Drive) -> dict[str, Drive]:
    """Return the drives of the two nulls: every input at its mean, and all inputs later by half the recording.

    The shift is circular and the same for all inputs, so that their spectra and correlations stay; what is destroyed is
    the agreement with this recording in time.

    Examples
    --------
    >>> values = xr.DataArray([[1.0], [2.0], [3.0], [6.0]], dims=("time", "input"), coords={"input": ["a"]})
    >>> nulls = null_drives(Drive(values, 0.72))
    >>> {name: d.values.values.ravel().tolist() for name, d in nulls.items()}
    {'constant_input': [3.0, 3.0, 3.0, 3.0], 'time_shifted_input': [3.0, 6.0, 1.0, 2.0]}
    """
    h = drive.values
    rows = h.sizes["time"]
    made = {
        "constant_input": np.repeat(h.values.mean(axis=0, keepdims=True), rows, axis=0),
        "time_shifted_input": np.roll(h.values, rows // 2, axis=0),
    }
    return {name: Drive(h.copy(data=data), drive.repetition_time_s, drive.shape) for name, data in made.items()}


def evidence(
    runs: Mapping[int, Run | xr.DataArray],
    recorded: xr.DataArray,
    inputs: Sequence[str],
    *,
    connectome: xr.DataArray,
    loop_gain: float = 0.8,
    nulls: Mapping[str, Run | xr.DataArray] | None = None,
    others: Mapping[str, Run | xr.DataArray] | None = None,
    fit: Fit | None = None,
    others_seen: str = "held out: never used",
    band_hz: tuple[float, float] = (0.01, 0.1),
    discard: int = 10,
    bootstrap: int = 1000,
    block_s: float = 30.0,
    seed: int = 0,
) -> Evidence:
    """Put free runs beside baselines, nulls and ceilings, and say in words what follows.

    Parameters
    ----------
    runs
        Free runs (no correction) by neurons per region; with three sizes or more the finite-size law is fitted. The
        largest is the one that is judged.
    recorded
        The whole recording (time, region). Volumes that are NaN in every region are missing and not scored.
    inputs
        Regions whose drive was fitted to the recording.
    connectome
        (target, source) that the twin really has: effective connectivity, if that is used.
    loop_gain
        k of ideal linear propagation. Default 0.8.
    nulls
        Runs under :func:`null_drives`, by name.
    others
        Further free runs to be listed, by name, such as one with private variability.
    fit
        For the checks of its bands.
    others_seen
        What the twin knew of the regions without input in the scored volumes: by default nothing. Say so if effective
        connectivity was fitted to the same volumes.
    band_hz, discard, bootstrap, block_s, seed
        As in :func:`twinbrain.compare`.

    Returns
    -------
    Evidence

    Raises
    ------
    InputError
        If there is no run, a null has an unknown name, or the series do not fit together.

    Examples
    --------
    >>> rng = np.random.Generator(np.random.Philox(key=4))
    >>> time = np.arange(200) * 0.72
    >>> bold = xr.DataArray(rng.normal(size=(200, 5)).cumsum(axis=0), dims=("time", "region"),
    ...                     coords={"time": time, "region": list("ABCDE")})
    >>> names = {"target": list("ABCDE"), "source": list("ABCDE")}
    >>> full = xr.DataArray(1.0 - np.eye(5), dims=("target", "source"), coords=names)
    >>> found = evidence({100: bold}, bold, ["A"], connectome=full, bootstrap=100)
    >>> found.table.loc["free run", "others_seen"], found.law
    ('held out: never used', None)
    """
    if not runs:
        raise InputError("evidence: found no free run, expected at least one; give {neurons per region: run}")
    for name in nulls or {}:
        if name not in NULLS:
            raise InputError(f"evidence: null '{name}' is not known, expected {' or '.join(NULLS)}; see null_drives")
    options: dict[str, Any] = {"band_hz": band_hz, "discard": discard, "bootstrap": max(100, bootstrap), "seed": seed}
    options |= {"block_s": block_s, "connectome": connectome, "k": loop_gain}
    sizes = sorted(runs)
    largest = sizes[-1]
    passed = band_pass(recorded, _repetition_time(recorded), band_hz)
    lead = _Lead(inputs, passed, discard, bootstrap, block_s, seed)

    def scored(run: Run | xr.DataArray) -> tuple[dict[str, Any], dict[str, Any]]:
        """Compare with the band-passed recording; both sides filtered stands aside."""
        found = compare(_bold(run), recorded, inputs, **options).to_dict()
        aside = {f"refiltered_{key.removeprefix('bold_')}": found["refiltered"][key] for key in _REFILTERED}
        return found, aside | lead.other_half(_bold(run))

    rows: dict[str, dict[str, Any]] = {}
    main: dict[str, Any] = {}
    for n in sizes:
        main, aside = scored(runs[n])
        name = "free run" if n == largest else f"free run, {n} per region"
        rows[name] = _row("simulated", n, main, _FITTED, others_seen) | aside | lead.of(_bold(runs[n]))
    for name, run in (others or {}).items():
        scores, aside = scored(run)
        rows[name] = _row("simulated", largest, scores, _FITTED, others_seen) | aside | lead.of(_bold(run))
    seen = {
        "copy_inputs": (_GIVEN, "held out: never used"),
        "ideal_linear": (_GIVEN, others_seen),
        "ridge_from_inputs": (_GIVEN, "cross-validated: learnt on other volumes of the recording"),
        "persistence": ("its own past", "its own past"),
    }
    for name, (of_inputs, of_others) in seen.items():
        if main["baselines"].get(name) and not lead.is_input.all():  # else there is nothing left to predict
            rows[name] = _row("baseline", None, main["baselines"][name], of_inputs, of_others)
    for name, run in (nulls or {}).items():
        scores, aside = scored(run)
        unseen = "nothing of the course in time"
        rows[name] = _row("null", largest, scores, unseen, others_seen) | aside | lead.of(_bold(run))
    ceiling = {"fc_mean": None, **main["ceilings"]["split_half_fc"]}
    rows["split_half"] = _row("ceiling", None, ceiling, "the other half of the recording", "the other half")
    rows["split_half"]["fc_mean"] = None
    rows["recording"] = _row("ceiling", None, {"fc_mean": main["fc_mean_recorded"]}, _GIVEN, _GIVEN)
    rows["recording"] |= lead.other_half(None, like=_bold(runs[largest]))
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("what")
    asides = [f"refiltered_{key.removeprefix('bold_')}" for key in _REFILTERED]
    numbers = [
        *_KEYS.values(),
        *asides,
        "fc_pcc_other_half",
        "over_copy",
        "over_copy_low",
        "over_copy_high",
        "neurons_per_region",
    ]
    table[numbers] = table[numbers].astype(np.float64)
    series = {n: _bold(run) for n, run in runs.items()}
    simulated = table[table["kind"] == "simulated"].iloc[: len(sizes)]
    rising = bool((simulated["bold_pcc_noninputs"] > _LEAST_LAW).all())  # without a correlation there is no law
    law = lead.law(series, others=True) if len(sizes) >= 3 and rising else None
    law_inputs = lead.law(series, others=False) if len(sizes) >= 3 else None
    posterior = posterior_checks(fit) if fit is not None else {}
    settings = {"inputs": list(inputs), "regions": main["regions"], "volumes": main["volumes"]}
    settings |= {"start_s": main["start_s"], "stop_s": main["stop_s"], "band_hz": list(band_hz), "loop_gain": loop_gain}
    settings |= {"notes": main["notes"]}
    return Evidence(table, verdict(table, law, posterior, int(main["volumes"])), law, law_inputs, posterior, settings)


def size_law(sizes: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
    """Fit r(n) = P_inf / sqrt(1 + c / n) by least squares: return (P_inf, c).

    Parameters
    ----------
    sizes
        Neurons per region, at least 2 different ones.
    values
        Mean correlation at each.

    Raises
    ------
    InputError
        If there are fewer than 2 different sizes.

    Examples
    --------
    >>> p, c = size_law([100, 300, 1000], [0.478, 0.632, 0.736])
    >>> round(p, 2), round(c, -1)
    (0.8, 180.0)
    """
    n, r = np.asarray(sizes, np.float64), np.asarray(values, np.float64)
    if len(np.unique(n)) < 2 or len(n) != len(r):
        raise InputError(f"size_law: found sizes {list(sizes)}, expected at least 2 different ones with a value each")
    from scipy.optimize import minimize_scalar

    def shape(log_c: float) -> tuple[float, float]:
        falling = 1.0 / np.sqrt(1.0 + np.exp(log_c) / n)
        p = float(r @ falling / (falling @ falling))
        return p, float(np.square(r - p * falling).sum())

    grid = np.linspace(np.log(0.1), np.log(1e6), 120)
    start = int(np.argmin([shape(x)[1] for x in grid]))
    low, high = grid[max(start - 1, 0)], grid[min(start + 1, len(grid) - 1)]
    best = float(minimize_scalar(lambda x: shape(x)[1], bounds=(low, high), method="bounded").x)
    return shape(best)[0], float(np.exp(best))


def posterior_checks(fit: Fit, *, discard: int = 10, every: int = 12, bins: int = 10) -> dict[str, Any]:
    """Ask whether a fit's bands are as wide as its errors: of the observations of the inputs, in-sample.

    Parameters
    ----------
    fit
        With ``forecast`` and ``forecast_spread``.
    discard
        Volumes left out at the start.
    every
        Every so many volumes count for the histogram: neighbours are not independent (12 volumes are about 9 s).
    bins
        Of the histogram of ranks.

    Returns
    -------
    dict
        spread_over_error, coverage_95 (share of observations inside +-1.96 spread), rank_histogram (counts of the
        observation's place in the predicted normal distribution), rank_p (chi-square against a flat histogram) and
        drive_band (mean width of +-1.96 spread of h over the range of h); None where there is no spread.

    Examples
    --------
    >>> posterior_checks.__kwdefaults__["bins"]
    10
    """
    from scipy.stats import chisquare, norm

    names = [n for n in fit.inputs if n in fit.target["region"].values and n in fit.forecast["region"].values]
    wanted, mean, spread = (
        a.sel(region=names).values[discard:] for a in (fit.target, fit.forecast, fit.forecast_spread)
    )
    h, width = fit.drive.values.values, fit.spread.values
    span = float(np.ptp(h))
    finite = np.isfinite(width)
    result: dict[str, Any] = {
        "spread_over_error": None,
        "coverage_95": None,
        "rank_histogram": None,
        "rank_p": None,
        "drive_band": float(3.92 * width[finite].mean() / span) if finite.any() and span > 0 else None,
    }
    fine = np.isfinite(wanted) & np.isfinite(mean) & np.isfinite(spread) & (spread > 0)
    if not fine.any():
        return result
    error = np.where(fine, wanted - mean, np.nan)
    result["spread_over_error"] = float(np.sqrt(np.nanmean(spread[fine] ** 2)) / np.sqrt(np.nanmean(error**2)))
    score = np.where(fine, error / np.where(fine, spread, 1.0), np.nan)
    result["coverage_95"] = float(np.mean(np.abs(score[fine]) < 1.96))
    ranks = norm.cdf(score[::every])
    counts = np.histogram(ranks[np.isfinite(ranks)], bins=bins, range=(0.0, 1.0))[0]
    result["rank_histogram"] = [int(x) for x in counts]
    result["rank_p"] = float(chisquare(counts).pvalue) if counts.sum() >= 5 * bins else None
    return result


# ---- helpers ---------------------------------------------------------------------------------------------------------


def _repetition_time(recorded: xr.DataArray) -> float:
    return float(np.median(np.diff(np.asarray(recorded["time"].values, np.float64))))


def _bold(run: Run | xr.DataArray) -> xr.DataArray:
    bold = run if isinstance(run, xr.DataArray) else run.bold
    return bold.isel(member=0, drop=True) if "member" in bold.dims else bold


def _row(kind: str, neurons: int | None, scores: Mapping[str, Any], inputs: str, others: str) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": kind, "neurons_per_region": neurons, "inputs_seen": inputs, "others_seen": others}
    row |= {new: scores.get(key) for key, new in _KEYS.items()}
    return row | {"over_copy": None, "over_copy_low": None, "over_copy_high": None}


@dataclass(frozen=True, eq=False)
class _Lead:
    """How far runs are ahead of the copy of the inputs, and how their correlation grows with size."""

    inputs: Sequence[str]
    recorded: xr.DataArray
    discard: int
    bootstrap: int
    block_s: float
    seed: int

    @property
    def is_input(self) -> NDArray[np.bool_]:
        return input_mask([str(name) for name in self.recorded["region"].values], self.inputs)

    def _series(self, simulated: xr.DataArray) -> tuple[Float, Float, Float, NDArray[np.bool_], int]:
        """Standard scores of run, recording and copy, which regions are inputs, and volumes per block."""
        pair = align(simulated, self.recorded, discard=self.discard)
        target = pair.recorded
        copied = copy_inputs(target, self.inputs)
        mask = input_mask([str(name) for name in target["region"].values], self.inputs)
        block = int(np.ceil(self.block_s / pair.repetition_time_s - 1e-9))
        z = [
            standardise(np.asarray(x.transpose("time", "region"), np.float64)[pair.scored])
            for x in (pair.simulated, target, copied)
        ]
        return z[0], z[1], z[2], mask, block

    def other_half(self, simulated: xr.DataArray | None, like: xr.DataArray | None = None) -> dict[str, float | None]:
        """FC of a run (None: of the recording over the volumes of ``like``) against that of the volumes left out."""
        run = simulated if simulated is not None else like
        assert run is not None
        pair = align(run, self.recorded, discard=self.discard)
        own = pair.simulated if simulated is not None else pair.recorded
        times = np.asarray(pair.whole["time"].values, np.float64)
        inside = np.asarray(pair.recorded["time"].values, np.float64)
        far = _GAP * pair.repetition_time_s  # neighbouring volumes are alike
        left = (times < inside.min() - far) | (times > inside.max() + far)
        half = times < times[len(times) // 2]
        left &= ~half if inside.mean() < times[len(times) // 2] else half  # the other half, nothing of the same one
        if (left & pair.present.values).sum() < _GAP or own.sizes["region"] < 3:
            return {"fc_pcc_other_half": None}
        other = pair.whole.isel(time=np.flatnonzero(left & pair.present.values))
        own = own.isel(time=np.flatnonzero(pair.scored))
        upper = np.triu_indices(own.sizes["region"], 1)
        a, b = (correlation_matrix(np.asarray(x.transpose("time", "region"), np.float64))[upper] for x in (own, other))
        return {"fc_pcc_other_half": float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else None}

    def of(self, simulated: xr.DataArray) -> dict[str, float | None]:
        z, target, copied, mask, block = self._series(simulated)
        free = ~mask
        if not free.any():
            return {}
        lead = float((pearson(z, target) - pearson(copied, target))[free].mean())
        low = high = None
        if len(z) >= 2 * block:
            low, high = _interval(z[:, free], copied[:, free], target[:, free], block, self.bootstrap, self.seed)
        return {"over_copy": lead, "over_copy_low": low, "over_copy_high": high}

    def law(self, runs: Mapping[int, xr.DataArray], *, others: bool) -> SizeLaw:
        sizes = sorted(runs)
        whole, drawn = [], []
        for n in sizes:
            z, target, _, mask, block = self._series(runs[n])
            chosen = ~mask if others else mask
            z, target = z[:, chosen], target[:, chosen]
            whole.append(float(pearson(z, target).mean()))
            block = min(block, len(z))
            indices = block_bootstrap_indices(len(z), block, self.bootstrap, seed=self.seed)
            drawn.append(_resampled_pcc(z, target, indices).mean(axis=1))
        p, c = size_law(sizes, whole)
        fits = np.array([size_law(sizes, values) for values in np.array(drawn).T[:200]])
        (p_low, c_low), (p_high, c_high) = np.quantile(fits, [0.025, 0.975], axis=0)
        return SizeLaw(
            p,
            float(p_low),
            float(p_high),
            c,
            float(c_low),
            float(c_high),
            tuple(sizes),
            tuple(round(x, 6) for x in whole),
        )
