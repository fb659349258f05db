"""The page of a virtual experiment: the answer, the published statements beside ours, figures, tables, methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from twinbrain.report.blocks import Items, Number, Numbers, Section, Table
from twinbrain.report.experiment_figures import draw
from twinbrain.report.reading import Result
from twinbrain.report.words import DASH, count, listed, number

__all__ = ["experiment_sections", "is_experiment"]

_SEEN = {"seen": "good", "not seen": "plain", "opposite": "bad", "not tested": "plain"}
_MOST_ROWS = 40
_SHOWN_DIGITS = 3


def is_experiment(result: Result) -> bool:
    """Say whether a result is that of a virtual experiment.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> is_experiment(Content())
    False
    """
    return "claims" in result.scores and "experiment" in result.scores


def experiment_sections(result: Result) -> list[Section]:
    """Return the sections of the page.

    Parameters
    ----------
    result
        With scores and tables as an experiment stores them.

    Examples
    --------
    >>> experiment_sections.__annotations__["return"]
    'list[Section]'
    """
    scores, tables = result.scores, result.tables
    return [
        _summary(scores),
        _published(scores["claims"]),
        *_figures(scores["charts"], tables),
        _tables(tables),
        _methods(scores),
    ]


def _summary(scores: Mapping[str, Any]) -> Section:
    section = Section("summary", scores["title"])
    section.say(scores["question"], kind="lead")
    section.say(scores["answer"])
    people, seeds = scores["people"], scores["seeds"]
    section.blocks.append(
        Numbers(
            [
                Number("conditions", str(len(scores["conditions"])), "with their controls"),
                Number("people", str(len(people)), listed(people)),
                Number("seeds", str(len(seeds)), "matched over conditions"),
                Number("neurons", count(scores["neurons"]), "where a condition says no other"),
                Number("volumes", str(scores["volumes"]), "fitted and run freely"),
            ]
        )
    )
    return section


def _published(claims: Sequence[Mapping[str, Any]]) -> Section:
    section = Section("published", "The published statements and what is seen here")
    section.say(
        "Published figures are of other people, other data and networks up to a million times larger. What can be "
        "compared is the direction of an effect, not its size."
    )
    cards = [Number(c["statement"], c["seen"], c["ours"], _SEEN.get(c["seen"], "plain")) for c in claims]
    if cards:
        section.blocks.append(Numbers(cards))
        rows = [
            [
                c["statement"],
                c["published"],
                f"{c['seen']}: {c['ours']}",
                _effect(c),
                " · ".join(text for text in (c["test"], f"control: {c['control']}" if c["control"] else "") if text),
            ]
            for c in claims
        ]
        head = ("", "published", "here", "effect size (95 %)", "test and control")
        section.blocks.append(Table("Statement by statement", head, rows, numeric=False))
    else:
        section.say("Nothing was published that this experiment could be held against.")
    return section


def _effect(claim: Mapping[str, Any]) -> str:
    if claim["effect"] is None:
        return DASH
    text = number(claim["effect"])
    if claim["low"] is not None and claim["high"] is not None:
        text += f" ({number(claim['low'])} to {number(claim['high'])})"
    return f"{text}; p = {number(claim['p'], 2)}"


def _figures(charts: Sequence[Mapping[str, Any]], tables: Mapping[str, pd.DataFrame]) -> list[Section]:
    sections = []
    for chart in charts:
        if chart["table"] not in tables or tables[chart["table"]].empty:
            continue
        section = Section(chart["name"], chart["title"])
        section.show(chart["name"], draw(chart, tables[chart["table"]]), chart["alt"], chart["caption"])
        sections.append(section)
    return sections


def _tables(tables: Mapping[str, pd.DataFrame]) -> Section:
    section = Section("tables", "Tables")
    long = []
    for name, table in tables.items():
        if len(table) > _MOST_ROWS:
            long.append(f"tables/{name}.csv ({len(table):,} rows: {listed([str(c) for c in table.columns], 20)})")
            continue
        rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
        head = [str(column).replace("_", " ") for column in table.columns]
        section.blocks.append(Table(f"tables/{name}.csv", head, rows))
    if long:
        section.blocks.append(Items(long, heading="Longer tables, in files"))
    return section


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value, _SHOWN_DIGITS)
    return str(value)


def _driven(scores: Mapping[str, Any]) -> str:
    sets = scores.get("input_sets", 1)
    return listed(scores["inputs"]) if sets == 1 else f"each of {sets} sets of inputs by itself"


def _methods(scores: Mapping[str, Any]) -> Section:
    section = Section("methods", "How it was done")
    section.say(
        f"The network has the loop gain {number(scores['loop_gain'])} (a dash: it was not calibrated), and the drive "
        f"of {_driven(scores)} was fitted to the recording; both are the same in all "
        "conditions, unless a condition says otherwise. Twins have other wiring and noise than the fit. All conditions "
        "of one seed share wiring and noise, so that differences are paired. Every run is free, "
        f"{scores['members']} runs per cell differ in noise alone and their scores are averaged. "
        "Scores are correlations with the band-passed recording, regions without input apart."
    )
    lines = [
        f"{c['name']}{' (against ' + c['control'] + ')' if c['control'] else ''}{': ' + c['note'] if c['note'] else ''}"
        for c in scores["conditions"]
    ]
    section.blocks.append(Items(lines, heading="Conditions"))
    section.say("The whole table, with every rule, is experiment.toml; it can be changed and given back.", kind="quiet")
    if scores["notes"]:
        section.blocks.append(Items(scores["notes"], heading="How to read it"))
    return section
