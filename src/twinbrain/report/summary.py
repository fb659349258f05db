"""The first section: the verdict in words, key numbers, and what they do and do not show."""

from __future__ import annotations

import math

from twinbrain.report import series, words
from twinbrain.report.blocks import Items, Number, Numbers, Section
from twinbrain.report.reading import NO_RECORD, UNNAMED, Reading
from twinbrain.report.scoring import best_baseline, difference_sentence, name_of, standing
from twinbrain.report.state import FANO_RANGE, RATE_RANGE_HZ, measured

INPUT_GOAL = 0.8


def summary(reading: Reading) -> Section:
    """Say whose brain, how large, how it runs, how well it agrees, and what that means.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> summary(Reading(Content())).title
    'A spiking twin'
    """
    person = f"subject {reading.subject}" if reading.subject.isdigit() else reading.subject
    section = Section("summary", "A spiking twin" + (f" of {person}" if reading.subject != UNNAMED else ""))
    if reading.state.bad:
        section.say(_alarm(reading), kind="alarm")
    band_passed = reading.scores_of("band_passed")
    inside, outside = (words.as_float(band_passed.get(f"bold_pcc_{key}")) for key in ("inputs", "noninputs"))
    section.say(_headline(reading, inside, outside), kind="lead")
    section.say(_story(reading))
    section.blocks.append(Numbers(_numbers(reading, inside, outside)))
    if reading.free_run is not None or reading.states_agreement:
        shows, shows_not = _meaning(reading, inside)
        section.blocks.append(Items(shows, "What this shows", "warning" if reading.state.bad else "ok"))
        section.blocks.append(Items(shows_not, "What this does not show", "warning"))
    return section


def _alarm(reading: Reading) -> str:
    state = reading.state
    fast = {"saturated", "too fast"} & {name for name, _ in state.faults}
    reasons = " The usual reasons are too few neurons per region, or estimated currents at their upper bound."
    return (
        f"This network is {state.explained}: {measured(reading.mean_rate_hz, reading.fano)}, expected "
        f"{RATE_RANGE_HZ[0]:.0f}–{RATE_RANGE_HZ[1]:.0f} Hz and a Fano factor of {FANO_RANGE[0]:g}–{FANO_RANGE[1]:g}. "
        f"No figure of agreement on this page means anything.{reasons if fast else ''}"
    )


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
    if reading.free_run is None and not reading.states_agreement:
        if reading.record_is_missing:
            return f"{NO_RECORD}, nor were any scores, so this page states no agreement."
        return "These results hold no free run to compare with a recording, so they state no agreement."
    if reading.state.bad:
        return f"The twin is {reading.state.name}: whether it follows the person's BOLD cannot be judged from this run."
    missing = f" {NO_RECORD}: the figures are those computed when it was at hand." if reading.free_run is None else ""
    return _agreement(reading, inside, outside) + missing


def _agreement(reading: Reading, inside: float, outside: float) -> str:
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
        place = f" in {reading.extent}" if reading.extent else ""
        parts.append(
            f"The model holds {words.count(neurons)} neurons{place}, joined by {words.count(synapses)} synapses "
            "after this person's structural connectome."
        )
    volumes = len(run.time_s) if run else words.as_float(reading.scores.get("volumes"))
    if math.isfinite(volumes):
        tr = words.as_float(reading.repetition_time_s or reading.scores.get("repetition_time_s"))
        lasting = f" ({words.seconds(volumes * tr)})" if math.isfinite(tr) else ""
        parts.append(
            f"It was compared with {volumes:.0f} volumes{lasting} of recorded BOLD without any correction while it ran."
        )
    rate, fano = reading.mean_rate_hz, reading.fano
    if rate is not None and math.isfinite(rate):
        text = f"Neurons fire {words.decimals(rate)} times a second on average"
        if fano is not None and math.isfinite(fano):
            state = "asynchronously" if reading.state.good else f"in a state that is {reading.state.name}"
            text += (
                f", {state}: the Fano factor (variance over mean) of the whole brain's spike count in 4 ms is "
                f"{words.number(fano, 2)}, where 1 means independent neurons and {FANO_RANGE[1]:.0f} or more counts as "
                "synchronous"
            )
        else:
            text += "; whether asynchronously is not known, since the results hold no Fano factor"
        parts.append(text + ".")
    if reading.scores and not reading.state.bad:
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

    def trusted(state: str) -> str:
        """No figure of agreement is as expected while the network is not."""
        return "plain" if reading.state.bad and state == "good" else state

    rate, fano = reading.mean_rate_hz, reading.fano
    name, best = best_baseline(reading)
    fc = words.as_float(reading.scores_of("band_passed").get("fc_pcc"))
    (low, high), (least, most) = RATE_RANGE_HZ, FANO_RANGE
    state = {"better": "good", "worse": "bad"}.get(standing(reading), "plain")
    synchrony = judged(fano, fano is not None and least <= fano < most)
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
            f"{reading.state.name}; expected {least:g}–{most:g}" if fano is not None else "not in the results",
            "plain" if synchrony == "good" and not reading.state.good else synchrony,
        ),
        Number(
            "BOLD r, inputs",
            words.score(inside),
            f"free run; goal {INPUT_GOAL:.2f}",
            trusted(judged(inside, inside >= INPUT_GOAL)),
        ),
        Number(
            "BOLD r, non-inputs",
            words.score(outside),
            f"best baseline {words.score(best)}: {name_of(name).lower()}" if name else "no baseline in the results",
            trusted(state),
        ),
        Number("FC r", words.score(fc), f"ceiling {words.score(reading.ceiling().get('fc_pcc'))} (split halves)"),
    ]


def _meaning(reading: Reading, inside: float) -> tuple[list[str], list[str]]:
    name, _ = best_baseline(reading)
    other = name_of(name).lower() if name else ""
    if reading.state.bad:
        nothing = f"Nothing: the network is {reading.state.name}, so its agreement with the recording means nothing."
        return [nothing], [
            "It does not show that the method works, or fails, with this person: such a network follows nothing.",
            "It is a model for research. It says nothing about this person's health.",
        ]
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
