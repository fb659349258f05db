"""The section on criticality, synchrony, spectra, dynamics and causality: drawn from what the analysis stored."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.report import analysis_figures as drawn
from twinbrain.report import style, words
from twinbrain.report.blocks import Items, Section, Table
from twinbrain.report.reading import Reading

Array = npt.NDArray[np.float64]

NAMES = {
    "fc_mean": "Functional connectivity, mean",
    "fc_sd": "Functional connectivity, sd over pairs",
    "fc_split_half": "FC, first against second half (r)",
    "bold_pcc": "BOLD, model against recording (r)",
    "bold_pcc_noninputs": "BOLD outside the inputs (r)",
    "fc_pcc": "FC, model against recording (r)",
    "fc_pcc_noninputs": "FC outside the inputs (r)",
    "fc_partial_pcc": "Partial FC, model against recording (r)",
    "fc_rms": "FC, rms difference",
    "best_lag_s": "Best lag of the model (s)",
    "fcd_mean": "FC dynamics, mean likeness of windows",
    "fcd_sd": "FC dynamics, sd",
    "ks_to_null": "FC dynamics, KS distance to surrogates",
    "fcd_ks": "FC dynamics, KS distance to the recording",
    "mean_order": "Synchrony, mean order parameter",
    "metastability": "Metastability, sd of the order parameter",
    "synchronisation_entropy": "Synchronisation entropy (nats)",
    "mean_phase_locking": "Phase-locking value, mean",
    "phase_fcd_mean": "Phase FCD, mean",
    "phase_fcd_sd": "Phase FCD, sd",
    "peak_hz": "Spectrum, highest at (Hz)",
    "band_share": "Share of power in the band",
    "exponent": "Spectral exponent",
    "memory": "AR(1) coefficient",
    "series_with_peak": "Share of regions with a peak above AR(1)",
    "spectrum_pcc": "Spectrum, model against recording (r of logs)",
    "drive_peak_hz": "Estimated current, highest at (Hz)",
    "drive_series_with_peak": "Share of currents with a peak above AR(1)",
    "avalanches": "Avalanches of BOLD, number",
    "size_exponent": "Avalanche size exponent (critical: 1.5)",
    "duration_exponent": "Avalanche duration exponent (critical: 2)",
    "size_vs_exponential": "Sizes, power law over exponential (z)",
    "size_vs_lognormal": "Sizes, power law over log-normal (z)",
    "crackling_gap": "Crackling-noise gap (critical: 0)",
    "kappa": "Kappa (critical: 1)",
    "branching_ratio": "Branching ratio (critical: 1)",
    "dfa_exponent": "Detrended fluctuation exponent",
    "spike_avalanches": "Avalanches of spikes, number",
    "spike_size_exponent": "Spikes: size exponent (critical: 1.5)",
    "spike_duration_exponent": "Spikes: duration exponent (critical: 2)",
    "spike_size_vs_exponential": "Spikes: power law over exponential (z)",
    "spike_crackling_gap": "Spikes: crackling-noise gap (critical: 0)",
    "spike_kappa": "Spikes: kappa (critical: 1)",
    "spike_branching_ratio": "Spikes: branching ratio (critical: 1)",
    "granger_mean": "Granger causality, mean (nats)",
    "granger_found": "Share of directions found",
    "granger_order": "Granger causality, order (volumes)",
    "granger_pcc": "Causality, model against recording (rank r)",
}
_EMPTY = "The results hold no analysis; “twinbrain analyse DIR” makes one."


def analysis(reading: Reading) -> Section:
    """Criticality, synchrony, spectra, dynamics and causality of the twin beside the recording, each with its null.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> analysis(Reading(Content())).title
    'Analysis'
    """
    section = Section("analysis", "Analysis")
    data, table = reading.groups.get("analysis"), reading.tables.get("analysis")
    if data is None or table is None:
        section.say(_EMPTY, kind="quiet")
        return section
    fill(section, data, table)
    return section


def fill(section: Section, data: xr.Dataset, table: pd.DataFrame) -> None:
    """Write an analysis into a section: what was measured, figures, table, what is missing."""
    table = table.set_index("measure") if "measure" in table else table
    sides = _sides(table)
    seconds = float(data.attrs.get("setting_volumes", math.nan)) * float(
        data.attrs.get("setting_repetition_time_s", math.nan)
    )
    nulls = int(data.attrs.get("setting_nulls", 0))
    section.say(
        (
            "Twin and recording are measured by the same functions over the same "
            if "model" in sides
            else "Measured over "
        )
        + f"{words.number(seconds)} s and {words.count(data.attrs.get('setting_series'))} "
        + ("regions" if sides != ("bold",) else "series")
        + ". "
        + (
            f"Beside each value stands what {nulls} surrogates give, series without the property in question: phases "
            f"randomised, AR(1) for spectra; with {nulls} of them no p by rank can be below {2 / (nulls + 1):.2g}. "
            if nulls
            else "No surrogates were drawn, so no value has its null. "
        )
        + "What surrogates show as well is no sign of the brain."
    )
    for draw in (_avalanches, _order, _spectra, _dynamics, _causality):
        draw(section, data, table, sides)
    section.blocks.append(_table(table, sides))
    notes = [note for note in str(data.attrs.get("notes", "")).split("\n") if note]
    if notes:
        section.blocks.append(Items(notes, "Not measured", "warning"))


def _sides(table: pd.DataFrame) -> tuple[str, ...]:
    return ("bold",) if "value" in table else ("model", "recorded")


def _cell(table: pd.DataFrame, side: str, name: str, column: str = "value") -> float:
    key = column if side == "bold" else f"{side}_{column}"
    if name not in table.index or key not in table:
        return math.nan
    return words.as_float(table.loc[name, key])


def _curve(data: xr.Dataset, name: str, side: str) -> Array | None:
    if name not in data or side not in data["series"].values:
        return None
    values = np.asarray(data[name].sel(series=side).values, dtype=np.float64)
    return values if np.isfinite(values).any() else None


def _avalanches(section: Section, data: xr.Dataset, table: pd.DataFrame, sides: Sequence[str]) -> None:
    panels: dict[str, list[drawn.Density]] = {}
    labels = {}
    for prefix, of in (("", "BOLD"), ("spike_", "spikes")):
        for what, unit in (("size", "events"), ("duration", "bins")):
            title = f"{of[0].upper()}{of[1:]}: {what}s"
            labels[title] = f"{what} ({unit})"
            for side in sides:
                density = _curve(data, f"{prefix}{what}_density", side)
                if density is None:
                    continue
                fit, null = (
                    np.asarray(data[f"{prefix}{what}_{kind}"].sel(series=side).values, dtype=np.float64)
                    for kind in ("fit", "density_null")
                )
                exponent = _cell(table, side, f"{prefix}{what}_exponent")
                at = np.asarray(data[f"{prefix}{what}"].values, dtype=np.float64)
                panels.setdefault(title, []).append(drawn.Density(side, at, density, fit, null, exponent))
    if not panels:
        return
    section.show(
        "avalanches",
        drawn.avalanche_figure(panels, labels),
        "Distributions of avalanche sizes and durations on logarithmic axes, with fitted power laws.",
        "Avalanches. Dots: the data; line: power law fitted by maximum likelihood over its range; dotted: surrogates "
        "(BOLD with random phases and the same FC; spikes whose neurons are shifted in time). A straight row is "
        "no proof: the table says whether an exponential or a log-normal fits better.",
    )


def _order(section: Section, data: xr.Dataset, table: pd.DataFrame, sides: Sequence[str]) -> None:
    order = {side: values for side in sides if (values := _curve(data, "order", side)) is not None}
    if not order:
        return
    null = {s: (_cell(table, s, "mean_order", "null_mean"), _cell(table, s, "mean_order", "null_sd")) for s in order}
    said = ", ".join(
        f"{drawn.LOOKS[s].label} {words.score(_cell(table, s, 'mean_order'))} "
        f"(sd {words.score(_cell(table, s, 'metastability'))})"
        for s in order
    )
    section.show(
        "order",
        drawn.order_figure(np.asarray(data["time"].values, dtype=np.float64), order, null),
        "Kuramoto order parameter over time and its distribution.",
        f"Phase synchronisation: order parameter r(t) of band-passed BOLD, 1 if all regions rise and fall together. "
        f"Mean over time: {said}. Near a critical point synchrony is moderate and varies much.",
    )


def _spectra(section: Section, data: xr.Dataset, table: pd.DataFrame, sides: Sequence[str]) -> None:
    panels = []
    for prefix, of in (("", ""), ("drive_", "Estimated current")):
        for side in sides:
            if _curve(data, f"{prefix}power", side) is None:
                continue
            power, background = (
                tuple(
                    np.asarray(data[f"{prefix}{name}{end}"].sel(series=side).values, dtype=np.float64)
                    for end in ("_low", "", "_high")
                )
                for name in ("power", "background")
            )
            label = drawn.LOOKS[side].label
            peak = _cell(table, side, f"{prefix}peak_hz")
            panels.append(
                drawn.Spectrum(
                    of or f"{label[0].upper()}{label[1:]} BOLD".replace("BOLD BOLD", "BOLD"),
                    style.INPUT if of else drawn.LOOKS[side].colour,
                    np.asarray(data[f"{prefix}frequency"].values, dtype=np.float64),
                    power,  # type: ignore[arg-type]
                    background,  # type: ignore[arg-type]
                    drawn.PUBLISHED_PEAK_HZ if of else None,
                    f"highest at {words.number(peak)} Hz",
                )
            )
    if not panels:
        return
    resolution = words.number(data.attrs.get("resolution_hz"))
    section.show(
        "spectra",
        drawn.spectra_figure(panels),
        "Power spectra on logarithmic axes over the band that a process without rhythm would fill.",
        "Multitaper spectra"
        + (f" (resolution {resolution} Hz)" if resolution != words.DASH else "")
        + ". What rises above the grey band in a single series is a candidate for a rhythm"
        + (
            "; simulated BOLD is smooth by construction and no AR(1) process at high frequencies"
            if "model" in sides
            else ""
        )
        + (
            ". Orange stripe: where the published currents have their main peak, 0.02–0.025 Hz."
            if any(one.marked_hz for one in panels)
            else "."
        ),
    )


def _dynamics(section: Section, data: xr.Dataset, table: pd.DataFrame, sides: Sequence[str]) -> None:
    matrices = {side: values for side in sides if (values := _curve(data, "fcd", side)) is not None}
    if not matrices:
        return
    shares = {
        side: (
            np.asarray(data["fcd_share"].sel(series=side).values, dtype=np.float64),
            np.asarray(data["fcd_share_null"].sel(series=side).values, dtype=np.float64),
        )
        for side in matrices
    }
    ks = _cell(table, "model", "fcd_ks")
    section.show(
        "fcd",
        drawn.dynamics_figure(
            np.asarray(data["window"].values, dtype=np.float64),
            matrices,
            np.asarray(data["fcd_value"].values, dtype=np.float64),
            shares,
        ),
        "Matrices of how alike the functional connectivity of every two time windows is, and their distributions.",
        "Functional connectivity dynamics: correlation of the connectivity of every two windows. Right: its "
        "distribution over windows without common volumes; dotted: surrogates, whose connectivity does not change"
        + (f". The two distributions are {words.score(ks)} apart (KS distance)." if math.isfinite(ks) else "."),
    )


def _causality(section: Section, data: xr.Dataset, table: pd.DataFrame, sides: Sequence[str]) -> None:
    strength = {side: values for side in sides if (values := _curve(data, "granger", side)) is not None}
    if not strength:
        return
    q = {side: np.asarray(data["granger_q"].sel(series=side).values, dtype=np.float64) for side in strength}
    section.show(
        "causality",
        drawn.causality_figure([str(name) for name in data["target"].values], strength, q),
        "Directed network between a few regions; arrows show whose past helps to predict whom.",
        "Conditional Granger causality between "
        + words.listed([str(name) for name in data["target"].values])
        + ". Arrows: found at a false discovery rate of 5 %, wider for stronger influence. In BOLD the "
        "haemodynamics of regions can make or turn arrows: read them as hints.",
        narrow=len(strength) == 1,
    )


def _table(table: pd.DataFrame, sides: Sequence[str]) -> Table:
    rows = []
    for name in [*(n for n in NAMES if n in table.index), *(str(n) for n in table.index if n not in NAMES)]:
        cells: list[str] = []
        for side in sides:
            value = _cell(table, side, name)
            cells += [_with_interval(table, side, name, value)]
            mean, sd, p = (_cell(table, side, name, column) for column in ("null_mean", "null_sd", "p_value"))
            null = f"{words.number(mean, 2)} ± {words.number(sd, 2)}" if math.isfinite(mean) else ""
            cells += [null, _p(p)]
        if name in NAMES and any(cell not in ("", words.DASH) for cell in cells):
            rows.append((NAMES[name], *cells))
    head: list[str] = ["Measure"]
    for side in sides:
        of = "" if side == "bold" else f"{drawn.LOOKS[side].label[0].upper()}{drawn.LOOKS[side].label[1:]}"
        head += [of or "Value", "surrogates", "p"]
    return Table(
        "All measures",
        head,
        rows,
        "In brackets: 95 % interval, where the series are long enough for one. Surrogates: mean ± sd. p: two-sided, by "
        "rank among the surrogates; of the rivals of power laws, of the sign."
        + (
            " Measures of likeness stand under the twin; beside them what the halves of the recording reach."
            if "model" in sides
            else ""
        )
        + " All columns and notes: tables/analysis.csv.",
    )


def _with_interval(table: pd.DataFrame, side: str, name: str, value: float) -> str:
    low, high = (_cell(table, side, name, column) for column in ("low", "high"))
    text = words.number(value) if math.isfinite(value) else ""
    return text + (f" ({words.number(low)} to {words.number(high)})" if math.isfinite(low) and text else "")


def _p(p: float) -> str:
    if not math.isfinite(p):
        return ""
    return "< 0.001" if p < 0.001 else words.number(p, 2)


def settings_of(data: xr.Dataset) -> Mapping[str, Any]:
    """What the analysis was asked for, as stored."""
    return {key.removeprefix("setting_"): value for key, value in data.attrs.items() if key.startswith("setting_")}
