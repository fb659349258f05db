"""How alike a simulated and a recorded brain are, beside simple predictions and what the data allow."""

from __future__ import annotations

import html
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr

from twinbrain.analyse._numeric import correlation_matrix, json_ready, pearson
from twinbrain.analyse._scores import Scores, best_lag, score_series, score_version
from twinbrain.analyse.align import Aligned, align
from twinbrain.analyse.baselines import input_mask
from twinbrain.analyse.connectivity import as_matrix
from twinbrain.analyse.filtering import band_pass
from twinbrain.errors import InputError

__all__ = ["Similarity", "compare"]

_MIN_BLOCK_S = 30.0


@dataclass(frozen=True, eq=False, repr=False)
class Similarity:
    """Result of `compare`.

    Attributes
    ----------
    table
        Index ``region``; columns ``input`` (bool), ``pcc_raw``, ``pcc_band_passed``, ``rmse_raw``,
        ``rmse_band_passed`` (root mean square difference of standard scores) and, band-passed,
        ``copy_inputs_pcc``, ``ideal_linear_pcc``, ``ridge_from_inputs_pcc``, ``persistence_pcc`` (NaN where
        a baseline is not defined).
    scores
        The figures of ``scores.json``; see `compare`. A figure that is not defined is None.
    inputs
        Names of the regions that were driven with the person's own BOLD.
    fc_simulated, fc_recorded
        Band-passed functional connectivity of the compared volumes, (region, partner).

    Examples
    --------
    >>> t = np.arange(200) * 0.72
    >>> x = np.random.Generator(np.random.Philox(key=4)).normal(size=(200, 5)).cumsum(axis=0)
    >>> bold = xr.DataArray(x, dims=("time", "region"), coords={"time": t, "region": list("ABCDE")})
    >>> print(repr(compare(band_pass(bold, 0.72), bold, ["A"], bootstrap=100))[:68])
    Similarity(5 regions, 1 input, 190 volumes: PCC of the others 1.000,
    """

    table: pd.DataFrame
    scores: Scores = field(repr=False)
    inputs: tuple[str, ...]
    fc_simulated: xr.DataArray
    fc_recorded: xr.DataArray

    def to_dict(self) -> Scores:
        """Copy of the scores, ready for JSON: plain numbers, text, lists and None."""
        ready: Scores = json_ready(self.scores)
        return ready

    def __repr__(self) -> str:
        s, best = self.scores, self.scores["best_baseline"]
        text = f", best baseline {best} {_figure(s['baselines'][best]['bold_pcc_noninputs'])}" if best else ""
        plural = "" if len(self.inputs) == 1 else "s"
        return (
            f"Similarity({s['regions']} regions, {len(self.inputs)} input{plural}, {s['volumes']} volumes: "
            f"PCC of the others {_figure(s['bold_pcc_noninputs'])}{text})"
        )

    def _repr_html_(self) -> str:
        keys = ("bold_pcc_inputs", "bold_pcc_noninputs", "fc_pcc", "fc_rms")
        rows = {"simulated": self.scores, **{k: v for k, v in self.scores["baselines"].items() if v}}
        body = "".join(
            f"<tr><th>{html.escape(name)}</th>{''.join(f'<td>{_figure(row[key])}</td>' for key in keys)}</tr>"
            for name, row in rows.items()
        )
        head = "".join(f"<th>{key}</th>" for key in keys)
        low, high = self.scores["band_hz"]
        return f"<table><caption>band-passed {low:g}-{high:g} Hz</caption><tr><th></th>{head}</tr>{body}</table>"


def compare(
    simulated: xr.DataArray,
    recorded: xr.DataArray,
    inputs: Sequence[str],
    *,
    connectome: xr.DataArray | None = None,
    k: float = 0.8,
    band_hz: tuple[float, float] = (0.01, 0.1),
    discard: int = 10,
    max_lag: int = 0,
    bootstrap: int = 1000,
    block_s: float = 30.0,
    seed: int = 0,
) -> Similarity:
    """Score a free run against the recording, beside baselines, nulls and a ceiling.

    Two versions are scored. "raw": both series as given. "band_passed": the recording filtered by `band_pass` over its
    whole length, as the target of a fit is, then cut to the volumes compared, and the simulation as it is. A run that
    follows a filtered recording must not be filtered a second time: over a few minutes the edges and corners of the
    second filter cost the target itself 0.03 to 0.05 of its correlation. What is said when the simulation is filtered
    as well stands under ``refiltered``; it suits runs that follow no filtered recording, such as spontaneous activity.
    Correlations ignore scale and offset, so BOLD may be in any units. All scores are at lag 0.

    Parameters
    ----------
    simulated
        BOLD of a run without correction, (time, region) or (time, voxel) with ``region`` and ``weight`` on
        the voxels; ``time`` in s on the clock of the recording. It may cover a part of the recording.
    recorded
        The whole recording, (time, region), ``time`` in s, evenly spaced. Volumes that are NaN in every region are
        missing: bridged for the filter, and not scored.
    inputs
        Regions that were driven with the person's own BOLD; scores without them are the evidence.
    connectome
        (target, source), for the baseline ``ideal_linear``; without it that baseline is None.
    k
        Strength of propagation of ``ideal_linear``. Default 0.8.
    band_hz
        Corners of the filter, Hz. Default (0.01, 0.1).
    discard
        Common volumes left out at the start, after filtering. Default 10.
    max_lag
        If above 0, the lag within ``+-max_lag`` volumes with the highest mean correlation over all regions
        is reported beside the scores (positive: the simulation is late). Default 0.
    bootstrap
        Resamplings for the interval of the difference to the best baseline. Default 1000.
    block_s
        Length of the resampled blocks, s, at least 30. Default 30.
    seed
        Key of all random numbers.

    Returns
    -------
    Similarity
        Its ``scores`` hold, with the values of the band-passed version at the top level and both versions
        under ``raw`` and ``band_passed`` (the first two points also under ``refiltered``, without baselines):

        * ``bold_pcc_all``, ``bold_pcc_inputs``, ``bold_pcc_noninputs``: Pearson correlation in time, mean
          over regions;
        * ``fc_pcc``, ``fc_rms``, ``fc_fnorm_per_n``, ``fc_fnorm_relative``, ``fc_mean`` as in
          `compare_connectivity`, against the recorded FC of the same volumes; ``fc_pcc_noninputs``,
          ``fc_rms_noninputs`` over pairs without an input;
        * ``baselines``: the same keys for ``copy_inputs``, ``ideal_linear``, ``ridge_from_inputs`` (learnt
          on the whole recording, each volume predicted from blocks that do not hold it), ``persistence``,
          ``time_shifted`` (the simulation shifted in a circle by a third to two thirds, mean of 5) and
          ``phase_randomised`` (the simulation with random phases, FC kept, mean of 20);
        * ``best_baseline``: the best of the first three by ``bold_pcc_noninputs``. Persistence uses each
          region's own past, which a free run is not given, and is listed only;
        * ``difference_to_best``: its ``value`` (simulated minus baseline, non-inputs) with ``low`` and
          ``high``, the 95 % interval (percentiles expanded for the number of blocks) of a circular block
          bootstrap over time with this baseline held fixed;
        * ``ceilings.split_half_fc``: the FC of the recording's first half scored against that of its second;
        * ``lag_tr``, ``best_lag_tr``, ``best_lag_bold_pcc_all``, the settings used, and ``notes`` on what
          limits the figures.

    Raises
    ------
    InputError
        If the two cannot be compared: unknown input, no common region, too few common volumes, values not
        finite, constant regions, a band or block that does not fit.

    Warns
    -----
    UserWarning
        If every region is an input: scores without inputs are then NaN (None in ``to_dict``).

    References
    ----------
    Correlation of BOLD and of FC as similarity of a digital twin brain: Natl Sci. Rev. (2024), nwae080. Block
    bootstrap: Politis & Romano (1992), in: Exploring the Limits of Bootstrap, Wiley, p. 263; expanded percentiles:
    Hesterberg (2015), The American Statistician 69:371.

    Examples
    --------
    >>> rng = np.random.Generator(np.random.Philox(key=4))
    >>> bold = xr.DataArray(rng.normal(size=(200, 5)).cumsum(axis=0), dims=("time", "region"),
    ...                     coords={"time": np.arange(200) * 0.72, "region": list("ABCDE")})
    >>> twin = 2 * band_pass(bold, 0.72) + 1  # follows the band-passed recording
    >>> score = compare(twin, bold, ["A"], bootstrap=100).to_dict()
    >>> round(score["bold_pcc_noninputs"], 9), round(score["fc_rms"], 9)
    (1.0, 0.0)
    >>> score["raw"]["bold_pcc_noninputs"] < 1 and score["refiltered"]["bold_pcc_noninputs"] < 1
    True
    """
    _check_options(max_lag, bootstrap, block_s)
    pair = align(simulated, recorded, discard=discard)
    regions = [str(name) for name in pair.recorded["region"].values]
    is_input = input_mask(regions, inputs)
    chosen = tuple(dict.fromkeys(str(name) for name in inputs))
    if is_input.all():
        warnings.warn("every region compared is an input: scores of non-input regions are not defined", stacklevel=2)
    notes = _notes(pair, band_hz) + pair.missing_note
    raw = score_version(pair, chosen, connectome, k, bootstrap, block_s, seed)
    uncut = align(simulated, recorded, discard=0)
    once = _filtered(uncut, band_hz, discard)
    passed = score_version(once, chosen, connectome, k, bootstrap, block_s, seed)
    again = band_pass(uncut.simulated, uncut.repetition_time_s, band_hz).isel(time=slice(discard, None))
    there = once.scored
    refiltered = score_series(again[there], once.recorded[there], is_input)
    lag, at_lag = best_lag(once.simulated.values, once.recorded.values, max_lag, there)
    times = pair.recorded["time"].values
    scores = {
        **passed.scores,
        "raw": raw.scores,
        "band_passed": passed.scores,
        "refiltered": refiltered,
        "lag_tr": 0,
        "best_lag_tr": lag,
        "best_lag_bold_pcc_all": at_lag,
        "band_hz": list(band_hz),
        "inputs": list(chosen),
        "regions": len(regions),
        "volumes": len(times),
        "start_s": float(times[0]),
        "stop_s": float(times[-1]),
        "repetition_time_s": pair.repetition_time_s,
        "discard": discard,
        "k": k,
        "seed": seed,
        "notes": notes + list(dict.fromkeys(raw.notes + passed.notes)),
    }
    missing = np.full(len(regions), np.nan)
    columns = {
        "input": is_input,
        "pcc_raw": pearson(raw.simulated, raw.recorded),
        "pcc_band_passed": pearson(passed.simulated, passed.recorded),
        "rmse_raw": np.sqrt(np.square(raw.simulated - raw.recorded).mean(axis=0)),
        "rmse_band_passed": np.sqrt(np.square(passed.simulated - passed.recorded).mean(axis=0)),
        **{
            f"{name}_pcc": missing if series is None else pearson(series, passed.recorded)
            for name, series in passed.predictions.items()
        },
    }
    return Similarity(
        pd.DataFrame(columns, index=pd.Index(regions, name="region")),
        json_ready(scores),
        chosen,
        as_matrix(correlation_matrix(passed.simulated), regions),
        as_matrix(correlation_matrix(passed.recorded), regions),
    )


def _check_options(max_lag: int, bootstrap: int, block_s: float) -> None:
    if isinstance(max_lag, bool) or not isinstance(max_lag, (int, np.integer)) or max_lag < 0:
        raise InputError(f"max_lag is {max_lag!r}, expected a whole number of volumes from 0; 0 reports no lag.")
    if isinstance(bootstrap, bool) or not isinstance(bootstrap, (int, np.integer)) or bootstrap < 100:
        raise InputError(
            f"bootstrap is {bootstrap!r}, expected at least 100 resamplings for a 95 % interval; 1000 is usual."
        )
    if not block_s >= _MIN_BLOCK_S:
        raise InputError(
            f"block_s is {block_s!r}, expected at least {_MIN_BLOCK_S:g} s: BOLD remembers, and shorter "
            "blocks make the interval too narrow."
        )


def _notes(pair: Aligned, band_hz: tuple[float, float]) -> list[str]:
    seconds = len(pair.recorded["time"]) * pair.repetition_time_s
    notes = []
    if seconds < 1.0 / band_hz[0]:
        notes.append(
            f"the compared {seconds:.0f} s are shorter than one period of the slowest rhythm kept "
            f"({1 / band_hz[0]:.0f} s): band-passed figures are rough"
        )
    if pair.unmatched:
        notes.append(
            f"{len(pair.unmatched)} regions are on one side only and not compared, such as '{pair.unmatched[0]}'"
        )
    return notes


def _filtered(uncut: Aligned, band_hz: tuple[float, float], discard: int) -> Aligned:
    """Filter the recording over its whole length and leave the simulation as it is."""
    step = uncut.repetition_time_s
    whole = band_pass(uncut.whole, step, band_hz)
    recorded = whole.sel(time=uncut.recorded["time"])
    later = slice(discard, None)
    ours = uncut.simulated.isel(time=later)
    return Aligned(ours, recorded.isel(time=later), whole, step, uncut.unmatched, uncut.present)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
