"""The first section: the verdict in words, key numbers, and what they do and do not show."""

from __future__ import annotations

import math

from twinbrain.report import series, words
from twinbrain.report.blocks import Items, Number, Numbers, Section
from twinbrain.report.reading import Reading
from twinbrain.report.scoring import best_baseline, difference_sentence, name_of, standing

# A whole-brain 4-ms spike count of independent neurons has a Fano factor near 1; synchronous states seen lie
# in the hundreds and thousands, asynchronous ones below 10.
FANO_LIMIT = 10.0
RATE_RANGE_HZ = (1.0, 12.0)
INPUT_GOAL = 0.8


def summary(reading: Reading) -> Section:
    """Say whose brain, how large, how it runs, how well it agrees, and what that means.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> summary(Reading(Content())).title
    'A spiking twin of an unnamed person'
    """
    person = f"subject {reading.subject}" if reading.subject.isdigit() else reading.subject
    section = Section("summary", f"A spiking twin of {person}")
    band_passed = reading.scores_of("band_passed")
    inside, outside = (words.as_float(band_passed.get(f"bold_pcc_{key}")) for key in ("inputs", "noninputs"))
    section.say(_headline(reading, inside, outside), kind="lead")
    section.say(_story(reading))
    section.blocks.append(Numbers(_numbers(reading, inside, outside)))
    if reading.free_run is not None:
        shows, shows_not = _meaning(reading, inside)
        section.blocks.append(Items(shows, "What this shows", "ok"))
        section.blocks.append(Items(shows_not, "What this does not show", "warning"))
    return section


def size(reading: Reading, name: str) -> float:
    """Neurons or synapses of the twin (NaN if unknown).

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> tree = {"neurons": 10}
    >>> size(Reading(Content(scores=tree)), "neurons")
    10.0
    """
    found = reading.attribute("twin", name)
    return words.as_float(found if found is not None else reading.scores.get(name))


def _headline(reading: Reading, inside: float, outside: float) -> str:
    if reading.free_run is None:
        return "These results hold no free run to compare with a recording, so they state no agreement."
    follows = "follows" if inside >= INPUT_GOAL else "follows only loosely"
    if not reading.inputs:
        return f"Left to itself, the twin's BOLD correlates r = {words.score(outside)} with the person's."
    plural = "" if len(reading.inputs) == 1 else "s"
    name, best = best_baseline(reading)
    beside = f"{name_of(name).lower()}, r = {words.score(best)}" if name else ""
    rest = f"in the rest of the brain (r = {words.score(outside)})"
    others = {
        "better": f"; {rest} it does better than every baseline.",
        "worse": f"; {rest} the best baseline ({beside}) does better.",
        "open": f"; {rest} it does about as well as the best baseline ({beside}).",
        "unknown": f"; the rest of the brain reaches r = {words.score(outside)}"
        + (f" (best baseline: {beside})." if name else "."),
    }
    return (
        f"Left to itself, the twin {follows} the person's BOLD in its {words.small(len(reading.inputs))} input "
        f"region{plural} (r = {words.score(inside)}){others[standing(reading)]}"
    )


def _story(reading: Reading) -> str:
    neurons, synapses = size(reading, "neurons"), size(reading, "synapses")
    run = reading.free_run
    parts = []
    if math.isfinite(neurons):
        regions = f" in {len(run.regions)} regions" if run else ""
        parts.append(
            f"The model holds {words.count(neurons)} neurons{regions}, joined by {words.count(synapses)} synapses "
            "after this person's structural connectome."
        )
    if run is not None:
        tr = reading.repetition_time_s or math.nan
        parts.append(
            f"It was compared with {len(run.time_s)} volumes ({words.seconds(len(run.time_s) * tr)}) of recorded "
            "BOLD without any correction while it ran."
        )
    rate, fano = reading.mean_rate_hz, reading.fano
    if rate is not None and math.isfinite(rate):
        text = f"Neurons fire {words.decimals(rate)} times a second on average"
        if fano is not None and math.isfinite(fano):
            state = "asynchronously" if fano < FANO_LIMIT else "in synchrony"
            text += (
                f", {state}: the Fano factor (variance over mean) of the whole brain's spike count in 4 ms is "
                f"{words.number(fano, 2)}, where 1 means independent neurons and {FANO_LIMIT:.0f} or more counts as "
                "synchronous"
            )
        else:
            text += "; whether asynchronously is not known, since the results hold no Fano factor"
        parts.append(text + ".")
    if reading.scores:
        parts.append(difference_sentence(reading))
        ceiling = reading.ceiling().get("fc_pcc")
        found = reading.scores_of("band_passed").get("fc_pcc")
        if found is not None:
            parts.append(
                f"Functional connectivity agrees with r = {words.score(found)}"
                + (
                    f"; the recording's two halves agree with r = {words.score(ceiling)}."
                    if ceiling is not None
                    else "."
                )
            )
    return " ".join(parts)


def _numbers(reading: Reading, inside: float, outside: float) -> list[Number]:
    def judged(value: float | None, good: bool) -> str:
        return "plain" if value is None or not math.isfinite(value) else "good" if good else "bad"

    rate, fano = reading.mean_rate_hz, reading.fano
    name, best = best_baseline(reading)
    fc = words.as_float(reading.scores_of("band_passed").get("fc_pcc"))
    low, high = RATE_RANGE_HZ
    state = {"better": "good", "worse": "bad"}.get(standing(reading), "plain")
    degree = series.dig(reading.study, "in_degree")
    return [
        Number(
            "Neurons",
            words.count(size(reading, "neurons")),
            f"{words.count(size(reading, 'synapses'))} synapses",
        ),
        Number(
            "Mean rate",
            words.decimals(rate) + (" Hz" if rate is not None and math.isfinite(rate) else ""),
            f"expected {low:.0f}–{high:.0f} Hz" + (f"; in-degree {degree}" if degree else ""),
            judged(rate, rate is not None and low <= rate <= high),
        ),
        Number(
            "Fano factor, 4 ms",
            words.number(fano, 2),
            f"asynchronous below {FANO_LIMIT:.0f}" if fano is not None else "not in the results",
            judged(fano, fano is not None and fano < FANO_LIMIT),
        ),
        Number(
            "BOLD r, inputs",
            words.score(inside),
            f"free run; goal {INPUT_GOAL:.2f}",
            judged(inside, inside >= INPUT_GOAL),
        ),
        Number(
            "BOLD r, non-inputs",
            words.score(outside),
            f"best baseline {words.score(best)}: {name_of(name).lower()}" if name else "no baseline in the results",
            state,
        ),
        Number("FC r", words.score(fc), f"ceiling {words.score(reading.ceiling().get('fc_pcc'))} (split halves)"),
    ]


def _meaning(reading: Reading, inside: float) -> tuple[list[str], list[str]]:
    name, _ = best_baseline(reading)
    other = name_of(name).lower() if name else ""
    shows = ["How far activity spreads from the inputs: every other region is reached through the connectome alone."]
    shows_not = [
        "Agreement in the input regions is agreement with data the currents were fitted to, not a prediction of "
        "new data.",
        "One person, one recording and one seed: differences of a few hundredths may be chance.",
        "It is a model for research. It says nothing about this person's health.",
    ]
    if inside >= INPUT_GOAL:
        shows.insert(
            0,
            "The estimated currents carry the recording: replayed into a new network with other wiring and noise, they "
            f"reproduce the input regions' BOLD with r = {words.score(inside)}.",
        )
    else:
        shows_not.insert(
            0,
            "It does not show that the estimated currents carry the recording: replayed, they reproduce the input "
            f"regions' BOLD with r = {words.score(inside)}, less than {INPUT_GOAL:.2f}.",
        )
    reasons = {
        "worse": f"{other} does better.",
        "open": f"{other} does as well within the uncertainty.",
        "unknown": "the results hold no interval of the difference to a baseline.",
    }
    state = standing(reading)
    if state == "better":
        shows.append(f"The spiking network adds something that the best baseline ({other}) does not have.")
    else:
        shows_not.insert(0, f"It does not show that spiking neurons explain the other regions: {reasons[state]}")
    return shows, shows_not
