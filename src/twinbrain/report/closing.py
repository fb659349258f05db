"""The last sections: methods and references, provenance, warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from twinbrain.report import series, words
from twinbrain.report.blocks import Items, References, Section, Table
from twinbrain.report.reading import NO_RECORD, Reading
from twinbrain.report.scoring import best_baseline, difference, name_of, standing
from twinbrain.report.state import RATE_RANGE_HZ, measured
from twinbrain.report.summary import INPUT_GOAL, size


def methods(reading: Reading) -> Section:
    """What was done, in words, generated from the study and the results.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> methods(Reading(Content())).anchor
    'methods'
    """
    section = Section("methods", "Methods")
    section.say("Generated from the study and the results; it may be reused in a publication.", kind="quiet")
    paragraphs, references = words.methods(facts(reading))
    for heading, text in paragraphs:
        section.say(text, heading)
    section.blocks.append(References(references))
    return section


def facts(reading: Reading) -> words.Facts:
    """Collect from study and results what the methods text says.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> study = {"assimilation": {"members": 30}}
    >>> facts(Reading(Content(study=study))).members
    30
    """
    study, fit = reading.study, reading.section("assimilation")
    network, person = reading.section("network"), reading.section("subject")
    drive, brain = reading.array("fit", "drive"), reading.groups.get("brain")
    regions = [str(name) for name in brain["target"].values] if brain is not None and "target" in brain else []
    has_laminar = "laminar" in reading.groups
    neurons = size(reading, "neurons")
    return words.Facts(
        subject=reading.subject,
        sample=bool(person.get("sample")),
        regions=len(regions) or None,
        extent=reading.extent if reading.voxels is not None else "",
        aal=len(regions) >= 90 and {"OFCmed_L", "Thalamus_L"} <= set(regions),
        volumes=int(drive.sizes["time"]) if drive is not None else fit.get("volumes"),
        repetition_time_s=reading.repetition_time_s,
        band_hz=reading.band_hz,
        inputs=reading.inputs,
        circuit=str(network.get("circuit") or series.dig(study, "circuit") or ""),
        parameters=str(network.get("parameters") or ""),
        neurons=neurons if math.isfinite(neurons) else None,
        fit_neurons=fit.get("neurons"),
        in_degree=series.dig(study, "in_degree"),
        members=fit.get("members"),
        lag=fit.get("lag"),
        target_mean=reading.attribute("fit", "setting_target_mean") or fit.get("target_mean"),
        target_scale=reading.attribute("fit", "setting_target_scale") or fit.get("target_scale"),
        method=str(reading.attribute("fit", "method") or "vw-dhmda"),
        loop_gain=reading.attribute("working_point", "loop_gain"),
        dt_ms=series.dig(study, "dt_ms"),
        laminar=has_laminar,
        laminar_neurons=reading.attribute("laminar", "neurons"),
        has_twin="twin" in reading.groups,
        has_fit="fit" in reading.groups,
        bootstrap=math.isfinite(difference(reading)[1]),
    )


def provenance(reading: Reading) -> Section:
    """Versions, seeds, inputs by hash, machine, time and memory."""
    section = Section("provenance", "Provenance")
    if not reading.provenance:
        section.say("The results hold no provenance.", kind="quiet")
        return section
    spent = []
    for key, label, write in (
        ("wall_s", "Time", words.seconds),
        ("peak_memory_gb", "Memory, peak (GB)", words.number),
        ("seed", "Seed", str),
        ("version", "Version of twinbrain", str),
    ):
        found = reading.scores.get(key)
        found = found if found is not None else series.dig(reading.provenance, key)
        if key == "seed" and "seeds" in reading.provenance:
            continue  # listed one by one below
        if found is not None and not isinstance(found, Mapping):
            spent.append((label, write(found)))
    if reading.status.startswith(("complete", "interrupted")):  # while a run makes its page it is still running
        spent.append(("Status of the run", reading.status))
    if spent:
        section.blocks.append(Table("The run", ("", ""), spent, numeric=False))
    loose: list[tuple[str, str]] = []
    for key, value in reading.provenance.items():
        if key in {"wall_s", "peak_memory_gb", "seed", "version", "warnings", "notes"}:
            continue
        if isinstance(value, Mapping):
            rows = list(_flat(value))
            if rows:
                section.blocks.append(Table(_spoken(key), ("", ""), rows, numeric=False))
        else:
            loose.append((_spoken(key), _written(value)))
    if loose:
        section.blocks.append(Table("Further facts", ("", ""), loose, numeric=False))
    return section


def _flat(tree: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{before}{key}"
        rows += _flat(value, f"{name}: ") if isinstance(value, Mapping) else [(name, _written(value))]
    return rows


def _written(value: Any) -> str:
    if value is None or value == "":
        return words.DASH
    if isinstance(value, float):
        return words.number(value, 4)
    if isinstance(value, (list, tuple)):
        return ", ".join(_written(item) for item in value) or words.DASH
    return str(value)


def _spoken(key: str) -> str:
    return key.replace("_", " ").capitalize()


def warnings(reading: Reading) -> Section:
    """Everything a reader should hesitate at: stated by the run, or found while this page was made."""
    section = Section("warnings", "Warnings")
    found = stated(reading) + judged(reading)
    if found:
        section.blocks.append(Items(found, kind="warning"))
    else:
        section.say("None.")
    return section


def stated(reading: Reading) -> list[str]:
    """Warnings the run itself left in its provenance or scores.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> stated(Reading(Content(scores={"warnings": ["a"]})))
    ['a']
    """
    found: list[str] = []
    for tree in (reading.provenance, reading.scores):
        for said in (tree.get("warnings") or (), tree.get("notes") or ()):
            found += [said] if isinstance(said, str) else [str(item) for item in said]
    return list(dict.fromkeys(found))


def judged(reading: Reading) -> list[str]:
    """Warnings found by looking at the results.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> judged(Reading(Content(scores={"mean_rate_hz": 40.0})))
    ['The mean firing rate, 40 Hz, lies outside 1–12 Hz.']
    """
    said: list[str] = []
    rate, fano, run, laminar = reading.mean_rate_hz, reading.fano, reading.free_run, reading.laminar_state
    if rate is not None and not RATE_RANGE_HZ[0] <= rate <= RATE_RANGE_HZ[1]:
        said.append(
            f"The mean firing rate, {words.number(rate)} Hz, lies outside "
            f"{RATE_RANGE_HZ[0]:.0f}–{RATE_RANGE_HZ[1]:.0f} Hz."
        )
    for name, text in reading.state.faults:
        if name not in ("too fast", "too slow"):  # said above
            said.append(f"The network is {name} ({measured(rate, fano)}): {text}.")
    if laminar.bad:
        known = measured(reading.laminar_rate_hz, words.as_float(reading.attribute("laminar", "fano")))
        said.append(f"The laminar run is {laminar.explained} ({known}).")
    if reading.record_is_missing:
        said.append(f"{NO_RECORD}, so nothing could be drawn beside it.")
    if "twin" in reading.groups and fano is None:
        said.append("Whether the network is asynchronous is not known: the results hold no finite Fano factor.")
    inside = words.as_float(reading.scores_of("band_passed").get("bold_pcc_inputs"))
    if math.isfinite(inside) and inside < INPUT_GOAL:
        said.append(f"In the input regions the free run reaches r = {words.score(inside)}, less than {INPUT_GOAL:.2f}.")
    if standing(reading) == "worse":
        said.append(
            f"A baseline ({name_of(best_baseline(reading)[0]).lower()}) predicts the non-input regions better than "
            "the twin."
        )
    if run is not None:
        flat = [name for name, r in zip(run.regions, run.pcc, strict=True) if not math.isfinite(r)]
        if flat:
            said.append(
                f"No correlation is defined for {words.listed(flat)}: their series do not vary or are not finite."
            )
        if len(run.time_s) < 150:
            said.append(
                f"Only {len(run.time_s)} volumes were compared; correlations of so short a recording are uncertain."
            )
        if not run.filtered:
            said.append("Recorded BOLD could not be band-passed; figures and correlations here are of raw series.")
    spread = reading.array("fit", "spread")
    if spread is not None and not np.isfinite(spread.values).all():
        said.append("The posterior spread of the estimated current is not finite everywhere.")
    if reading.status.startswith("interrupted"):
        said.append(f"The run's status is “{reading.status}”: these results may be incomplete.")
    return said
