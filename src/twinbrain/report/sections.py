"""The sections of the page in reading order; what is missing in the results leaves a line instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from twinbrain.report import brain_views, figures, series, style, words
from twinbrain.report.activity import activity
from twinbrain.report.analysis import analysis
from twinbrain.report.blocks import Section, Viewer
from twinbrain.report.closing import methods, provenance, warnings
from twinbrain.report.reading import NO_RECORD, Reading
from twinbrain.report.scoring import scores
from twinbrain.report.summary import summary
from twinbrain.report.working_point import working_point

Array = npt.NDArray[np.float64]


def all_sections(reading: Reading) -> list[Section]:
    """Make every section, in reading order; the title of the first is the page's.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> [section.anchor for section in all_sections(Reading(Content()))][:3]
    ['summary', 'brain', 'fit']
    """
    makers: tuple[Callable[[Reading], Section], ...] = (
        summary,
        brain,
        *((working_point,) if "working_point" in reading.groups else ()),
        fit,
        free_run,
        connectivity,
        scores,
        activity,
        analysis,
        methods,
        provenance,
        warnings,
    )
    return [maker(reading) for maker in makers]


def only_analysis(reading: Reading) -> list[Section]:
    """Make the page of an analysis that belongs to no run: the analysis and how it was made.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> [section.title for section in only_analysis(Reading(Content()))]
    ['Analysis', 'Provenance']
    """
    found = analysis(reading)
    source, other = (reading.attribute("analysis", f"of_{key}") for key in ("source", "recording"))
    if source:
        found.title = f"Analysis of {PurePath(str(source)).name}" + (
            f" beside {PurePath(str(other)).name}" if other else ""
        )
    return [found, provenance(reading)]


def brain(reading: Reading) -> Section:
    """Anatomy: connectome, neurons and agreement on a glass brain."""
    section = Section("brain", "The brain")
    dataset = reading.groups.get("brain")
    if dataset is None or "connectome" not in dataset:
        section.say("The results hold no anatomy (group “brain”), so no brain is drawn.", kind="quiet")
        return section
    connectome = dataset["connectome"].transpose("target", "source")
    regions = [str(name) for name in connectome["target"].values]
    weights = np.asarray(connectome.sel(source=connectome["target"].values).values, dtype=np.float64)
    inputs = {index for index, name in enumerate(regions) if name in reading.inputs}
    pairs = len(regions) * (len(regions) - 1)
    dense = np.count_nonzero(weights) / pairs if pairs else math.nan
    whole = f"The model is made of {reading.extent}. " if reading.voxels is not None else ""
    section.say(
        f"{whole}{len(regions)} regions joined by {words.count(np.count_nonzero(weights))} directed connections "
        f"({dense:.0%} of all pairs)."
        + (f" The estimated current enters {words.listed(reading.inputs)}, marked in orange." if inputs else "")
    )
    if "position" in dataset or "positions" in dataset:
        place = dataset["position" if "position" in dataset else "positions"].sel(region=regions)
        positions = np.asarray(place.transpose("region", ...).values, dtype=np.float64)
    else:
        section.say("The results hold no region positions, so the brain cannot be drawn in space.", kind="quiet")
        return section
    if not np.isfinite(positions).all():
        section.say("Some region positions are not finite, so the brain cannot be drawn in space.", kind="quiet")
        return section
    section.show(
        "connectome",
        brain_views.connectome_view(weights, positions, inputs),
        "Glass brain from the left, the back, the right and above with the strongest connections between regions.",
        "Structural connectome. The 240 strongest connections (darker: stronger, logarithmic); a disc is a region, "
        "its area grows with the region's total connection strength; orange: input regions.",
    )
    for name, label, title in (
        ("neurons", "neurons", "Neurons per region"),
        ("grey_matter", "mm³", "Grey matter per region"),
    ):
        if name in dataset and np.isfinite(dataset[name].values).any():
            values = np.asarray(dataset[name].sel(region=regions).values, dtype=np.float64)
            extreme = [regions[int(i)] for i in (np.nanargmax(values), np.nanargmin(values))]
            section.show(
                name.replace("_", "-"),
                brain_views.markers_view(values, positions, inputs, label=label),
                f"Glass brain; every region is a disc coloured by its value: {title.lower()}.",
                f"{title}, from {words.number(np.nanmin(values))} ({extreme[1]}) to "
                f"{words.number(np.nanmax(values))} ({extreme[0]}). Orange rings: input regions.",
            )
            break
    pcc = np.array([reading.region_pcc.get(name, math.nan) for name in regions])
    if np.isfinite(pcc).any():
        section.show(
            "agreement",
            brain_views.markers_view(
                pcc,
                positions,
                inputs,
                label="r",
                colours="RdBu_r",
                limits=(-1, 1),
                areas=[46.0] * len(regions),
            ),
            "Glass brain; every region is a disc coloured by the correlation of simulated and recorded BOLD.",
            "Where the free run agrees with the band-passed record: correlation of BOLD in each region. Orange "
            "rings: input regions.",
        )
    return section


def fit(reading: Reading) -> Section:
    """Assimilation: estimated current, and the forecast beside persistence."""
    section = Section("fit", "Fit")
    dataset = reading.groups.get("fit")
    if dataset is None or "drive" not in dataset:
        section.say("The results hold no assimilation (group “fit”).", kind="quiet")
        return section
    drive = dataset["drive"].transpose("time", "input")
    names = [str(name) for name in drive["input"].values]
    time = np.asarray(drive["time"].values, dtype=np.float64)
    spread = np.asarray(dataset["spread"].transpose("time", "input").values) if "spread" in dataset else None
    filtered = (
        np.asarray(dataset["filter_mean"].transpose("time", "input").values) if "filter_mean" in dataset else None
    )
    method = str(dataset.attrs.get("method", "vw-dhmda"))
    members = reading.section("assimilation").get("members") or dataset.attrs.get("members")
    by = f"by an ensemble of {members} networks" if members else "by an ensemble of networks"
    if method != "vw-dhmda":
        smoothed = f" and an ensemble of {members} free runs around it" if method == "esmda" else ""
        by = f"by inversion (BOLD to firing rates, rates to currents){smoothed},"
    section.say(
        f"The current into {words.listed(names)} was estimated, volume by volume, {by} from {words.count(len(time))} "
        "volumes of recorded BOLD."
    )
    section.show(
        "drive",
        figures.drive_figure(
            time,
            np.asarray(drive.values),
            spread if spread is not None else np.zeros(drive.shape),
            filtered,
            names,
        ),
        f"Estimated current over time into {words.listed(names)}, with its posterior spread.",
        _drive_caption(len(names), spread, method),
    )
    if method != "vw-dhmda":
        section.say(_inverse_sentence(dataset.attrs))
        return section
    target, forecast = dataset.get("target"), dataset.get("forecast")
    if target is None or forecast is None:
        section.say("The results hold no forecast.", kind="quiet")
        return section
    observed, predicted = series.paired(target, forecast)
    regions = [str(name) for name in observed["region"].values]
    chosen = [index for index, name in enumerate(regions) if name in reading.inputs] or [0]
    y, f = (np.asarray(a.values, dtype=np.float64)[:, chosen] for a in (observed, predicted))
    late = 10 if len(y) > 30 else 0  # the ensemble finds its way first; these rows are drawn but not counted
    r_forecast = series.column_correlation(y[late:], f[late:])
    r_persistence = series.column_correlation(y[late + 1 :], y[late:-1])
    sd = dataset.get("forecast_spread")
    band = np.zeros_like(y)
    if sd is not None:
        _, sd_paired = series.paired(target, sd)
        band = np.asarray(sd_paired.values, dtype=np.float64)[:, chosen]
    mean, scale = y.mean(axis=0), np.where(y.std(axis=0) > 0, y.std(axis=0), np.nan)
    forecast_pcc, persistence_pcc = series.mean_of(r_forecast), series.mean_of(r_persistence)
    most = figures.MOST_PANELS
    raw_persistence = _raw_persistence(reading, [regions[i] for i in chosen])
    section.say(
        f"One volume ahead, the forecast correlates r = {words.score(forecast_pcc)} with the record in the input "
        "regions; merely repeating the volume before (persistence) gives r = "
        f"{words.score(persistence_pcc)}{raw_persistence}. BOLD is slow, so the next volume is easy to guess, and "
        "the filter has just been corrected with the one before: a good forecast alone proves little. What counts "
        "is the free run below, in which nothing is corrected."
    )
    section.show(
        "forecast",
        figures.traces_figure(
            np.asarray(observed["time"].values, dtype=np.float64),
            ((y - mean) / scale)[:, :most],
            ((f - mean) / scale)[:, :most],
            (band / scale)[:, :most],
            [regions[i] for i in chosen][:most],
            [
                f"forecast r = {words.score(a)}, persistence r = {words.score(b)}"
                for a, b in zip(r_forecast[:most], r_persistence[:most], strict=True)
            ],
            label="forecast, one volume ahead",
            colour=style.FORECAST,
            band_label="±1 ensemble sd",
            unit="z of record",
        ),
        "Recorded BOLD of the input regions and the ensemble's forecast of each next volume, with its spread.",
        "Forecast inside the filter against the target it was given"
        + (f"; correlations leave out the first {late} volumes, in which the ensemble finds its way" if late else "")
        + (f"; the first {most} of {len(chosen)} input regions are drawn." if len(chosen) > most else "."),
    )
    return section


def _inverse_sentence(attrs: Mapping[str, Any]) -> str:
    """Say what the inversion found on its way."""
    peak, mean = (words.as_float(attrs.get(f"rate_target_{name}_hz")) for name in ("highest", "mean"))
    rates = (
        f"firing rates that explain the record ({words.decimals(mean)} Hz on average, up to {words.decimals(peak)} Hz)"
    )
    back = words.as_float(attrs.get("deconvolution_pcc"))  # the ensemble's own figures stand in its place
    said = (
        f"The {rates} give it back with r = {words.score(back)}. "
        if math.isfinite(back)
        else f"It began with {rates}. "
    )
    found = words.as_float(attrs.get("correction_1_bold_pcc"))
    if math.isfinite(found):
        said += (
            f"Replayed in networks of other wiring, the first estimate reached r = {words.score(found)} and was "
            f"corrected once more, mostly for a mean rate {words.decimals(attrs.get('correction_1_rate_bias_hz'), 2)} "
            "Hz off. "
        )
    return said + "None of this is evidence; what counts is the free run below, in a network that was never seen."


def _drive_caption(inputs: int, spread: Array | None, method: str = "vw-dhmda") -> str:
    if method != "vw-dhmda":
        sd = f"; its sd is {words.number(series.mean_of(spread))} on average" if spread is not None else ""
        return f"Estimated current, with one and two standard deviations of what the noise of BOLD leaves open{sd}."
    sd = f"The posterior sd is {words.number(series.mean_of(spread))} on average." if spread is not None else ""
    if inputs > figures.MOST_PANELS:
        return f"Estimated current, mean of the fixed-lag smoother, a row per input region. {sd}"
    return (
        "Estimated current. Blue: mean of the fixed-lag smoother, with one and two posterior standard deviations. "
        "Grey: what the filter believed before it had seen the BOLD that the current causes seconds later. "
        + (sd or "The results hold no spread.")
    )


def _raw_persistence(reading: Reading, regions: list[str]) -> str:
    """Say what persistence reaches in the record as given, where nothing has been smoothed."""
    bold = reading.array("recorded", "bold")
    if bold is None or not set(regions) <= {str(name) for name in bold["region"].values}:
        return ""
    values = np.asarray(bold.transpose("time", "region").sel(region=regions).values, dtype=np.float64)
    found = series.mean_of(series.column_correlation(values[1:], values[:-1]))
    return f" ({words.score(found)} in the recording before it was band-passed)"


def free_run(reading: Reading) -> Section:
    """Recorded against simulated BOLD while nothing corrects the model."""
    section = Section("free-run", "Free run")
    run = reading.free_run
    if run is None and reading.record_is_missing:
        section.say(f"{NO_RECORD}, so the free run cannot be drawn beside it.", kind="quiet")
        return section
    if run is None:
        section.say(
            "The results hold no free run that could be laid beside a record (groups “twin”, “recorded”).",
            kind="quiet",
        )
        return section
    pcc = np.array([reading.region_pcc.get(name, math.nan) for name in run.regions])
    treated = (
        f"The recording is band-passed ({words.number(reading.band_hz[0])}–{words.number(reading.band_hz[1])} Hz), as "
        "the target of the fit was; the twin is shown as it is. Both are standardised. "
        if run.filtered
        else "Both series are standardised (the recording is too short to be band-passed). "
    )
    section.say(
        "The estimated current drives a new network that never sees the recording. " + treated + _lag_sentence(reading)
    )
    is_input = np.array([name in reading.inputs for name in run.regions])
    unit_error = np.sqrt(series.column_mean((run.recorded - run.simulated) ** 2))
    band = np.broadcast_to(unit_error, run.recorded.shape)
    spread = reading.array("twin", "bold_spread")
    if spread is not None:
        band = _standard_spread(reading, run.regions, run.time_s, band)

    def traces(chosen: list[int], notes: list[str], name: str, caption: str) -> None:
        section.show(
            name,
            figures.traces_figure(
                run.time_s,
                run.recorded[:, chosen],
                run.simulated[:, chosen],
                band[:, chosen],
                [run.regions[i] for i in chosen],
                notes,
                label="twin, free run",
                colour=style.TWIN,
                band_label="±1 sd between members" if spread is not None else "±1 rms difference to the record",
            ),
            f"Recorded and simulated BOLD over time in {words.listed([run.regions[i] for i in chosen])}.",
            caption,
        )

    ins = [int(i) for i in np.flatnonzero(is_input)][: figures.MOST_PANELS]
    if ins:
        traces(
            ins,
            [f"r = {words.score(pcc[i])}" for i in ins],
            "free-inputs",
            "Input regions: the current was estimated for these.",
        )
    outs = [int(i) for i in np.flatnonzero(~is_input & np.isfinite(pcc))]
    if outs:
        ranked = sorted(outs, key=lambda i: -pcc[i])
        middle = len(ranked) // 2
        picks = {"best": ranked[:2], "median": ranked[middle : middle + 2], "worst": ranked[-2:]}
        flat = dict.fromkeys(i for group in picks.values() for i in group)
        rank = {i: label for label, group in picks.items() for i in group}
        traces(
            list(flat),
            [f"{rank[i]}: r = {words.score(pcc[i])}" for i in flat],
            "free-others",
            f"Regions without estimated current: the two best, two in the middle and the two worst of {len(outs)}.",
        )
    section.blocks.append(Viewer(_viewer_data(run.regions, run.time_s, run.recorded, run.simulated, pcc, is_input)))
    return section


def _lag_sentence(reading: Reading) -> str:
    used, best = reading.lag_volumes
    if used is None:
        return "They are compared without a lag."
    said = f"They are compared at a lag of {words.number(used)} volumes"
    return said + (f"; the best lag would be {words.number(best)}." if best is not None else ".")


def _standard_spread(reading: Reading, regions: tuple[str, ...], time_s: Array, otherwise: Array) -> Array:
    """Between-member sd of simulated BOLD in units of the mean series' own sd."""
    spread, mean = reading.array("twin", "bold_spread"), reading.array("twin", "bold")
    if spread is None or mean is None:
        return otherwise
    own = np.asarray(mean.sel(region=list(regions)).std("time").values, dtype=np.float64)
    sd = spread.transpose("time", "region").sel(region=list(regions)).interp(time=time_s)
    return np.asarray(sd.values / np.where(own > 0, own, np.nan), dtype=np.float64)


def _viewer_data(
    regions: tuple[str, ...],
    time_s: Array,
    recorded: Array,
    simulated: Array,
    pcc: Array,
    is_input: npt.NDArray[np.bool_],
) -> dict[str, object]:
    """Pack the series in one byte a value (steps of 0.05 sd): small, and finer than a line is thick."""
    import base64

    def packed(values: Array) -> str:
        steps = np.clip(np.round(np.nan_to_num(values) * 20), -127, 127).astype(np.int8)
        return base64.b64encode(np.ascontiguousarray(steps.T).tobytes()).decode("ascii")

    order = sorted(range(len(regions)), key=lambda i: (not is_input[i], regions[i]))
    return {
        "regions": [regions[i] for i in order],
        "input": [bool(is_input[i]) for i in order],
        "r": [words.score(pcc[i]) for i in order],
        "start": float(time_s[0]),
        "step": float(np.median(np.diff(time_s))) if len(time_s) > 1 else 1.0,
        "volumes": len(time_s),
        "recorded": packed(recorded[:, order]),
        "twin": packed(simulated[:, order]),
    }


def connectivity(reading: Reading) -> Section:
    """Functional connectivity of record and free run, side by side."""
    section = Section("connectivity", "Functional connectivity")
    run = reading.free_run
    if run is None and reading.record_is_missing:
        section.say(f"{NO_RECORD}, so its connectivity cannot be drawn.", kind="quiet")
        return section
    if run is None or len(run.regions) < 3:
        section.say("There is no free run with at least three regions to correlate.", kind="quiet")
        return section
    recorded, simulated = (_correlations(z) for z in (run.recorded, run.simulated))
    order, blocks = series.readable_order(run.regions)
    upper = np.triu_indices(len(order), 1)
    found = reading.scores_of("band_passed")
    agreement = found.get("fc_pcc")
    if agreement is None:
        agreement = float(series.column_correlation(recorded[upper][:, None], simulated[upper][:, None])[0])
    ceiling = reading.ceiling().get("fc_pcc")
    section.say(
        f"Over all pairs of regions, simulated and recorded correlations agree with r = {words.score(agreement)}"
        + (f" (two halves of the recording agree with r = {words.score(ceiling)})" if ceiling is not None else "")
        + f". The mean correlation is {words.score(series.mean_of(recorded[upper]))} in the record and "
        f"{words.score(series.mean_of(simulated[upper]))} in the twin. Too high a mean says that regions merely "
        "copy their few inputs; too low a mean, that the noise of a small network pulls them apart."
    )
    section.show(
        "connectivity",
        figures.connectivity_figure(
            recorded,
            simulated,
            order,
            blocks,
            {i for i, name in enumerate(run.regions) if name in reading.inputs},
        ),
        "Three square matrices of correlations between regions: recorded, simulated, and their difference.",
        "Correlation of BOLD between regions"
        + (" (recording band-passed)" if run.filtered else "")
        + "; regions ordered by hemisphere and system. Orange ticks: input regions. The diagonal is left "
        "out.",
    )
    return section


def _correlations(z: Array) -> Array:
    usable = np.isfinite(z).all(axis=0)
    matrix = np.full((z.shape[1], z.shape[1]), np.nan)
    matrix[np.ix_(usable, usable)] = z[:, usable].T @ z[:, usable] / len(z)
    return matrix
