"""Stimulation: current pulses and rhythms into chosen regions; what they evoke, where, and how fast it spreads."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse.csgraph import dijkstra

from twinbrain.assimilate.linear import region_projection
from twinbrain.brain import Brain
from twinbrain.config import Study
from twinbrain.experiment.demonstration import INTEROCEPTIVE, demonstration, place
from twinbrain.experiment.design import Condition, Design, Stimulus
from twinbrain.experiment.findings import Experiment, Findings
from twinbrain.experiment.results import Results
from twinbrain.experiment.stats import holm, paired
from twinbrain.experiment.stimulate_words import answer, charts, claims

__all__ = ["EXPERIMENT", "connectome_distance", "first_rise"]

Floats = npt.NDArray[np.float64]
_BIN_S = 0.01
_EVERY_S = 1.44
_PULSE_S = 0.2
_BEFORE, _AFTER = 10, 80  # bins of 10 ms around the onset


def _study() -> Study:
    return demonstration(INTEROCEPTIVE, volumes=60)


def _design(study: Study, regions: tuple[str, ...]) -> Design:
    thalamus, motor = place("thalamus", regions), place("motor", regions)

    def pulses(where: tuple[str, ...], amplitude: float) -> tuple[Stimulus, ...]:
        shape: dict[str, Any] = {"start_s": _EVERY_S, "every_s": _EVERY_S, "duration_s": _PULSE_S}
        return tuple(Stimulus(target=name, amplitude=amplitude, **shape) for name in where)

    def rhythm(where: tuple[str, ...], frequency_hz: float) -> tuple[Stimulus, ...]:
        shape: dict[str, Any] = {"shape": "rhythm", "frequency_hz": frequency_hz, "duration_s": 1e6}
        return tuple(Stimulus(target=name, amplitude=0.03, **shape) for name in where)

    rows = (
        Condition(name="no stimulus", drive="none"),
        Condition(name="sham", control="no stimulus", drive="none", noise=1, note="control: chance alone"),
        Condition(name="thalamus, pulses", control="no stimulus", drive="none", stimuli=pulses(thalamus, 0.06)),
        Condition(name="thalamus, weak pulses", control="no stimulus", drive="none", stimuli=pulses(thalamus, 0.02)),
        Condition(name="motor, pulses", control="no stimulus", drive="none", stimuli=pulses(motor, 0.06)),
        Condition(name="thalamus, 5 Hz", control="no stimulus", drive="none", stimuli=rhythm(thalamus, 5.0)),
        Condition(name="thalamus, 20 Hz", control="no stimulus", drive="none", stimuli=rhythm(thalamus, 20.0)),
    )
    return Design(experiment="stimulate", conditions=rows, keep=("rate_bins",), resolution_s=_BIN_S)


def connectome_distance(brain: Brain, sources: list[str]) -> pd.Series:
    """Return how far every region is from the nearest of some regions, along the connectome.

    A step from source to target is as long as 1 over the share of the target's long-range input that comes from it;
    the path of least length counts.

    Parameters
    ----------
    brain
        Any level.
    sources
        Regions.

    Returns
    -------
    Series
        By region; 0 for the sources.

    Examples
    --------
    >>> from twinbrain.data.subject import Subject
    >>> brain = Brain.from_subject(Subject.from_arrays([[0, 1, 3], [2, 0, 2], [5, 0, 0]], ["a", "b", "c"]))
    >>> connectome_distance(brain, ["c"]).round(3).tolist()
    [1.333, 2.0, 0.0]
    """
    share = np.array(region_projection(brain))
    np.fill_diagonal(share, 0.0)
    length = np.divide(1.0, share.T, out=np.zeros_like(share), where=share.T > 0)
    rows = [brain.regions.index(name) for name in sources]
    return pd.Series(dijkstra(length, indices=rows).min(axis=0), index=list(brain.regions))


def first_rise(evoked: Floats, before: int, bin_ms: float, *, sd: float = 4.0, bins: int = 2) -> float:
    """Return when an evoked rate first leaves its baseline, ms after the onset; NaN if it does not.

    Parameters
    ----------
    evoked
        (bin,) averaged over pulses; the first ``before`` bins are the baseline.
    before
        Bins before the onset.
    bin_ms
        Width of a bin.
    sd
        Standard deviations of the baseline it must rise by.
    bins
        Bins in a row above that.

    Examples
    --------
    >>> first_rise(np.array([0.1, -0.1, 0.1, 0.0, 3.0, 3.0, 1.0]), 3, 10.0)
    10.0
    """
    base = evoked[:before]
    above = evoked[before:] > base.mean() + sd * max(float(base.std()), 1e-12)
    run = np.convolve(above.astype(int), np.ones(bins, int), "valid") == bins
    return float(np.argmax(run) * bin_ms) if run.any() else float("nan")


def _evoked(results: Results, person: str, condition: Condition, seed: int) -> Floats:
    """(bin, region) rate around the onsets, mean over members and pulses."""
    bins = results.cell(person, condition.name, seed)["rate_bins"].mean("member").values.astype(np.float64)
    step = results.design.resolution_s
    first, every = round(_start(results) / step), round(_every(results) / step)
    onsets = range(first, len(bins) - _AFTER, every)
    return np.asarray(np.mean([bins[at - _BEFORE : at + _AFTER] for at in onsets], axis=0), np.float64)


def _pulse(results: Results) -> Stimulus | None:
    return next((s for c in results.design.conditions for s in c.stimuli if s.shape == "pulse"), None)


def _start(results: Results) -> float:
    pulse = _pulse(results)
    return pulse.start_s if pulse is not None else _EVERY_S


def _every(results: Results) -> float:
    pulse = _pulse(results)
    return (pulse.every_s if pulse is not None else 0.0) or _EVERY_S


def _conclude(results: Results) -> Findings:
    design = results.design
    responses, courses, shams, latencies, rhythms = [], [], [], [], []
    for person in results.people:
        setup = results.setups[person]
        for c in design.conditions:
            if not c.control:
                continue
            targets = [s.target for s in c.stimuli]
            per_seed = [_response(results, person, c, seed) for seed in design.seeds]
            responses += [row for rows, _ in per_seed for row in rows]
            course = np.mean([evoked for _, evoked in per_seed], axis=0)
            pulsed = bool(c.stimuli) and c.stimuli[0].shape == "pulse"
            if not c.stimuli:
                shams += _course_rows(setup.name, c.name, {f"{c.name}: all regions": course.mean(axis=1)})
            if pulsed:
                far = connectome_distance(setup.ready.brain, targets)
                courses += _course_rows(setup.name, c.name, _by_distance(course, far))
                latencies += _latency_rows(setup.name, c.name, course, far, targets)
            elif c.stimuli:
                rhythms += _rhythm_rows(results, person, c, far=connectome_distance(setup.ready.brain, targets))
    response = pd.DataFrame(responses)
    compared = _compared(response)
    latency = pd.DataFrame(latencies, columns=["person", "condition", "region", "distance", "latency_ms", "stimulated"])
    spread = _spread(latency)
    rhythm = pd.DataFrame(rhythms, columns=["person", "condition", "region", "seed", "distance", "gain", "stimulated"])
    course, panels = _panels(pd.DataFrame(courses), pd.DataFrame(shams))
    return Findings(
        answer(compared, spread),
        claims(compared, spread),
        charts(panels),
        {
            "compared": compared,
            "compared_rates": compared[compared["measure"] == "evoked_hz"].reset_index(drop=True),
            "spread": spread,
            "latency": latency,
            "course": course,
            "rhythm": rhythm,
            "response": response,
        },
        {},
        (
            "Stimulated and control networks share wiring and noise: until the first spike that the current adds, they "
            "are the same, so that what is left of chance is chance of the answer.",
            "The network rests at its working point, without the fitted drive. Spikes travel one step (1 ms) between "
            "any two regions unless the study sets a conduction speed: latencies show integration, not conduction.",
            "Nothing comparable was published with figures; the statements are this experiment's own.",
        ),
    )


def _response(results: Results, person: str, c: Condition, seed: int) -> tuple[list[dict[str, Any]], Floats]:
    """Evoked rate and BOLD by kind of region, minus those of the control; and the course in time."""
    control = results.design.condition(c.control)
    evoked = _evoked(results, person, c, seed) - _evoked(results, person, control, seed)
    cell, other = results.cell(person, c.name, seed), results.cell(person, control.name, seed)
    bold = (cell["bold"] - other["bold"]).mean(("member", "time")).values.astype(np.float64)
    regions = [str(x) for x in cell["region"].values]
    hit = np.isin(regions, [s.target for s in c.stimuli])
    name = results.setups[person].name
    rows = []
    for where, which in (("stimulated", hit), ("others", ~hit)):
        if which.any():
            rate = float(evoked[_BEFORE : _BEFORE + 30][:, which].mean())
            row = {"person": name, "condition": c.name, "seed": seed, "where": where, "evoked_hz": rate}
            rows.append(row | {"evoked_bold": float(bold[which].mean())})
    return rows, evoked


def _by_distance(course: Floats, far: pd.Series) -> dict[str, Floats]:
    """The evoked rate over time, in groups of regions by their distance from the stimulated ones."""
    order = far[far > 0].sort_values()
    groups = {"stimulated": list(far[far == 0].index)}
    for k, part in enumerate(np.array_split(np.array(order.index), 4)):
        groups[f"{('nearest', 'near', 'far', 'farthest')[k]} quarter"] = list(part)
    return {group: course[:, far.index.isin(names)].mean(axis=1) for group, names in groups.items()}


def _course_rows(person: str, condition: str, lines: dict[str, Floats]) -> list[dict[str, Any]]:
    return [
        {
            "person": person,
            "condition": condition,
            "group": group,
            "time_ms": (k - _BEFORE) * _BIN_S * 1e3,
            "hz": float(v),
        }
        for group, line in lines.items()
        for k, v in enumerate(line)
    ]


def _panels(course: pd.DataFrame, sham: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """One column for each condition with pulses, with the sham beside each; mean over people."""
    if course.empty:
        return course, ()
    at = ["group", "time_ms"]
    wide = course.pivot_table(index=at, columns="condition", values="hz", sort=False)
    if len(sham):
        same = sham.groupby(at, sort=False)["hz"].mean()
        wide = pd.concat([wide, pd.DataFrame(dict.fromkeys(wide, same))])
    return wide.reset_index(), tuple(str(name) for name in wide)


def _latency_rows(
    person: str, condition: str, course: Floats, far: pd.Series, targets: list[str]
) -> list[dict[str, Any]]:
    return [
        {
            "person": person,
            "condition": condition,
            "region": name,
            "distance": float(far[name]),
            "latency_ms": first_rise(course[:, k], _BEFORE, _BIN_S * 1e3),
            "stimulated": name in targets,
        }
        for k, name in enumerate(far.index)
    ]


def _rhythm_rows(results: Results, person: str, c: Condition, far: pd.Series) -> list[dict[str, Any]]:
    """Amplitude of the rate at the rhythm's frequency, over that of the control."""
    setup, rows = results.setups[person], []
    frequency = c.stimuli[0].frequency_hz
    for seed in results.design.seeds:
        amplitude = []
        for name in (c.name, c.control):
            bins = results.cell(person, name, seed)["rate_bins"].mean("member").values.astype(np.float64)
            phase = np.exp(-2j * np.pi * frequency * results.design.resolution_s * np.arange(len(bins)))
            amplitude.append(2 * np.abs(phase @ (bins - bins.mean(axis=0))) / len(bins))
        for k, region in enumerate(far.index):
            rows.append(
                {
                    "person": setup.name,
                    "condition": c.name,
                    "region": region,
                    "seed": seed,
                    "distance": float(far[region]),
                    "gain": float(amplitude[0][k] - amplitude[1][k]),
                    "stimulated": bool(far[region] == 0),
                }
            )
    return rows


def _compared(response: pd.DataFrame) -> pd.DataFrame:
    unit = "person" if response["person"].nunique() > 1 else "seed"
    rows = []
    for (condition, where), part in response.groupby(["condition", "where"], sort=False):
        for measure in ("evoked_hz", "evoked_bold"):
            values = part.groupby(unit)[measure].mean().to_numpy(np.float64)
            d = paired(values, np.zeros(len(values)))
            row = {"condition": condition, "where": where, "measure": measure, "difference": d.mean}
            row |= {"difference_low": d.low, "difference_high": d.high, "t": d.t, "p": d.p, "effect": d.effect}
            rows.append(row | {"effect_low": d.effect_low, "effect_high": d.effect_high, "units": d.units})
    found = pd.DataFrame(rows)
    found.insert(8, "p_holm", holm(found["p"].to_numpy()))
    return found


def _spread(latency: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation of latency with distance over regions that answered; held against shuffled distances."""
    from scipy.stats import spearmanr

    rows = []
    for (person, condition), part in latency[~latency["stimulated"].astype(bool)].groupby(
        ["person", "condition"], sort=False
    ):
        known = part[part["latency_ms"].notna()]
        row = {"person": person, "condition": condition, "regions": len(part), "answered": len(known)}
        rho, p = (np.nan, np.nan)
        if len(known) >= 8 and known["latency_ms"].nunique() > 1:
            found = spearmanr(known["distance"], known["latency_ms"])
            rho, p = float(found.statistic), float(found.pvalue)
        row |= {"median_latency_ms": float(known["latency_ms"].median()) if len(known) else np.nan}
        rows.append(row | {"rho": rho, "p": p, "rho_elsewhere": _elsewhere(latency, known, rho)})
    return pd.DataFrame(rows)


def _elsewhere(latency: pd.DataFrame, known: pd.DataFrame, rho: float) -> float:
    """The same correlation with the distance from where another condition stimulates: the control of place."""
    if not np.isfinite(rho):
        return float("nan")
    own = known.set_index("region")
    for _, part in latency[latency["person"] == own["person"].iloc[0]].groupby("condition", sort=False):
        other = part.set_index("region")["distance"].reindex(own.index)
        if not np.allclose(other, own["distance"]):
            return float(other.corr(own["latency_ms"], method="spearman"))
    return float("nan")


EXPERIMENT = Experiment(
    "stimulate",
    "Stimulation",
    "What do current pulses and rhythms into chosen regions evoke in rates and BOLD, and how fast does it spread?",
    _study,
    _design,
    _conclude,
)
