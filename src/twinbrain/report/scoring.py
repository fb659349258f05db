"""The section of scores: the twin beside its baselines and the ceiling, band-passed and raw."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from twinbrain.report import figures, words
from twinbrain.report.blocks import Items, Section, Table
from twinbrain.report.reading import BASELINES, Reading

COLUMNS = (
    ("bold_pcc_noninputs", "BOLD r, non-inputs"),
    ("bold_pcc_inputs", "BOLD r, inputs"),
    ("bold_pcc_all", "BOLD r, all"),
    ("fc_pcc", "FC r"),
    ("fc_rms", "FC rms difference"),
    ("fc_fnorm_per_n", "FC ‖Δ‖/n"),
    ("fc_fnorm_relative", "FC ‖Δ‖/‖R‖"),
)

# Not competitors: persistence knows what a free run is not told, the other two destroy the twin on purpose.
NULLS = ("persistence", "time_shifted", "phase_randomised")

TREATMENTS = (("band_passed", "Band-passed"), ("raw", "Raw"))


def scores(reading: Reading) -> Section:
    """Tables and dots of every score, with baselines and ceiling.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> scores(Reading(Content())).blocks[0].text
    'The results hold no scores.'
    """
    section = Section("scores", "Scores")
    if not reading.scores:
        section.say("The results hold no scores.", kind="quiet")
        return section
    section.say(
        "A correlation means little until one knows what comes for free. Baselines predict the same BOLD from the "
        "recording without a spiking brain; two nulls destroy the timing of the twin; the ceiling is how well the "
        "functional connectivity of one half of the recording predicts that of the other half."
    )
    if reading.state.bad:
        section.say(f"The network is {reading.state.name}: these figures mean nothing.", kind="alarm")
    section.say(difference_sentence(reading))
    notes = _notes(reading)
    if notes:
        section.blocks.append(Items(notes, "Mind", "warning"))
    for key, label in COLUMNS[:1] + COLUMNS[3:4]:
        values = [("Twin", words.as_float(reading.scores_of("band_passed").get(key)), True)] + [
            (name_of(name), words.as_float(reading.scores_of("band_passed", name).get(key)), False)
            for name in reading.baselines
        ]
        if any(math.isfinite(value) for _, value, _ in values):
            ceiling = words.as_float(reading.ceiling().get(key)) if key.startswith("fc") else None
            picture = figures.scores_figure(
                values, ceiling, f"{label} (band-passed)", hollow=[name_of(n) for n in NULLS]
            )
            section.show(
                f"scores-{key.replace('_', '-')}",
                picture,
                f"{label} of the twin and each baseline: "
                + ", ".join(f"{name} {words.score(value)}" for name, value, _ in values)
                + ".",
                "",
                narrow=True,
            )
    section.say("Rings: not competitors (see below).", kind="small")
    for which, label in TREATMENTS:
        table = _table(reading, which, label)
        if table is not None:
            section.blocks.append(table)
    explained = [(name_of(name), _sentence(BASELINES[name][1])) for name in reading.baselines if name in BASELINES]
    if explained:
        section.blocks.append(Table("What the baselines are", ("Baseline", "Prediction"), explained, numeric=False))
    return section


def _notes(reading: Reading) -> list[str]:
    """What the comparison says of itself: short recordings, intervals that rest on few blocks, undefined baselines."""
    said = reading.scores.get("notes") or ()
    return [_sentence(str(text).removesuffix(".")) for text in ([said] if isinstance(said, str) else said)]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _table(reading: Reading, which: str, label: str) -> Table | None:
    columns = [c for c in COLUMNS if c[0] in reading.scores_of(which)]
    if not columns:
        return None
    rows = [("Twin, free run", *_cells(reading.scores_of(which), columns))]
    rows += [(name_of(name), *_cells(reading.scores_of(which, name), columns)) for name in reading.baselines]
    ceiling = reading.ceiling(which)
    if ceiling:
        shown = {key: value for key, value in ceiling.items() if key.startswith("fc")}
        cells = [words.score(shown[key]) if key in shown else "" for key, _ in columns]
        rows.append(("Ceiling: split halves", *cells))
    note = (
        "r: Pearson correlation, higher is better; rms and norms: lower is better. n regions, Δ the difference of "
        "the two FC matrices, R the recorded one. Baselines that are given the inputs' record score 1 there by "
        "construction."
    )
    return Table(label, ("", *(title for _, title in columns)), rows, note, strong=(0,))


def _cells(found: Mapping[str, Any], columns: list[tuple[str, str]]) -> list[str]:
    return [words.score(found.get(key)) for key, _ in columns]


def name_of(baseline: str) -> str:
    """Readable name of a baseline.

    Examples
    --------
    >>> name_of("copy_inputs"), name_of("new_idea")
    ('Copy of the inputs', 'New idea')
    """
    return BASELINES[baseline][0] if baseline in BASELINES else baseline.replace("_", " ").capitalize()


def best_baseline(reading: Reading) -> tuple[str, float]:
    """Name and band-passed non-input correlation of the best competing baseline; ``("", nan)`` if unknown.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> tree = {"best_baseline": "copy_inputs", "baselines": {"copy_inputs": {"bold_pcc_noninputs": 0.3}}}
    >>> best_baseline(Reading(Content(scores=tree)))
    ('copy_inputs', 0.3)
    """
    found = reading.scores.get("best_baseline")
    if found is None:
        band_passed = reading.scores.get("band_passed")
        found = band_passed.get("best_baseline") if isinstance(band_passed, Mapping) else None
    if isinstance(found, Mapping):
        found = found.get("name")
    if not isinstance(found, str):
        return "", math.nan
    return found, words.as_float(reading.scores_of("band_passed", found).get("bold_pcc_noninputs"))


def difference(reading: Reading) -> tuple[float, float, float]:
    """Difference of the twin to the best baseline with the ends of its 95 % interval; NaN where unknown.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> tree = {"difference_to_best": {"value": 0.1, "low": 0.0, "high": 0.2}}
    >>> difference(Reading(Content(scores=tree)))
    (0.1, 0.0, 0.2)
    """
    found = reading.scores.get("difference_to_best")
    if not isinstance(found, Mapping):
        band_passed = reading.scores.get("band_passed")
        found = band_passed.get("difference_to_best") if isinstance(band_passed, Mapping) else None
    if not isinstance(found, Mapping):
        return math.nan, math.nan, math.nan
    return (
        words.as_float(found.get("value")),
        words.as_float(found.get("low")),
        words.as_float(found.get("high")),
    )


def difference_sentence(reading: Reading) -> str:
    """Say in one sentence how the twin stands to the best baseline, with the interval.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> lead = {"value": 0.1, "low": 0.02, "high": 0.2}
    >>> tree = {"best_baseline": "copy_inputs", "difference_to_best": lead}
    >>> difference_sentence(Reading(Content(scores=tree)))[-63:]
    'difference of correlations 0.100, 95 % interval 0.020 to 0.200.'
    """
    name, _ = best_baseline(reading)
    value, low, high = difference(reading)
    if not name or not math.isfinite(value):
        return "The results do not say how the twin stands to its best baseline."
    state = standing(reading)
    if state == "unknown":
        return (
            f"In regions without estimated current the twin and the best baseline ({name_of(name).lower()}) differ by "
            f"{words.decimals(value, 3)} in correlation, without an interval, since the recording is too short for one."
        )
    verdict = {"better": "is better than", "worse": "falls short of", "open": "cannot be told from"}[state]
    return (
        f"In regions without estimated current the twin {verdict} the best baseline ({name_of(name).lower()}): "
        f"difference of correlations {words.decimals(value, 3)}, 95 % interval {words.decimals(low, 3)} to "
        f"{words.decimals(high, 3)}."
    )


def standing(reading: Reading) -> str:
    """``"better"``, ``"worse"``, ``"open"`` (the interval of the difference holds zero) or ``"unknown"`` (no interval).

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> standing(Reading(Content()))
    'unknown'
    """
    _, low, high = difference(reading)
    if not (math.isfinite(low) and math.isfinite(high)):
        return "unknown"
    if low > 0:
        return "better"
    return "worse" if high < 0 else "open"
