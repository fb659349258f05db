"""A task with scores: the twin hears through its sensory regions; does its BOLD tell what the person answered?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from twinbrain.config import Study
from twinbrain.experiment.demonstration import demonstration, place
from twinbrain.experiment.design import Condition, Design
from twinbrain.experiment.findings import Chart, Claim, Experiment, Findings
from twinbrain.experiment.results import Results
from twinbrain.experiment.stats import Difference, holm, mean_interval, paired, trend
from twinbrain.experiment.task_trials import ALONE, Predictions, predict

__all__ = ["EXPERIMENT"]

_PCC = 0.570
_PUBLISHED_PCC = f"mean voxel correlation {_PCC:.3f} (A1 as input, 20 billion neurons, in-degree 100)"
_PUBLISHED_SCORE = "predicted and actual scores significantly correlated (figure not given)"
_PUBLISHED_TREND = "similarity rises with neurons and with in-degree"
_PUBLISHED_P = "rewiring lowers similarity and the correlation of scores (the press summary says the opposite once)"

_WORDS = {
    "r": "correlation of predicted and actual score",
    "pcc": "BOLD, mean correlation of regions without input",
    "neurons": "neurons",
    "in_degree": "synapses per neuron",
    "share": "share P of connections rewired to near neighbours",
    "actual": "actual score",
    "predicted": "predicted score",
    "condition": "",
}
_SCALES = {"size": "neurons", "in-degree": "in_degree", "rewiring": "share"}


def _study() -> Study:
    study = demonstration(["Heschl_L", "Heschl_R"], members=1, volumes=240)  # all 60 trials
    subject = msgspec.structs.replace(study.subject, sample="auditory", run="auditory")
    fit = msgspec.structs.replace(study.assimilation, band_hz=(0.01, 0.2))
    return msgspec.structs.replace(study, subject=subject, assimilation=fit)


def _design(study: Study, regions: tuple[str, ...]) -> Design:
    for name in study.assimilation.inputs:
        if name not in regions:
            place("A1", regions)  # says which name is missing
    neurons, degree = study.twin.neurons, study.network.in_degree
    twin = "twin"
    rows = [
        Condition(name=twin, note="the sensory drive as fitted"),
        Condition(name="constant drive", control=twin, drive="constant", note="control: no trial differs from another"),
        Condition(name="shifted drive", control=twin, drive="shifted", note="control: the sounds of other trials"),
        Condition(name="fewer neurons", control=twin, neurons=max(neurons // 3, len(regions) * 10)),
        Condition(name="more neurons", control=twin, neurons=neurons * 3),
        # not fewer synapses: with a few strong ones the network leaves its working point
        Condition(name="in-degree x 2", control=twin, in_degree=degree * 2),
        Condition(name="in-degree x 5", control=twin, in_degree=degree * 5),
        *(Condition(name=f"P = {p:g}", control=twin, rewire="nearest", share=p) for p in (0.25, 0.5, 0.75, 1.0)),
    ]
    return Design(experiment="task", conditions=tuple(rows), seeds=(1, 2, 3), settings={"response": "betas"})


def _conclude(results: Results) -> Findings:
    design = results.design
    cells, _ = results.similarity()
    found = predict(results)
    units = _units(cells, found)
    scores = _by_condition(units, found, design)
    compared = _compared(units, design)
    scales = {name: _scale(units, design, name) for name in _SCALES}
    first = design.conditions[0].name
    claims = _claims(scores, compared, scales, found, first)
    row: Any = scores.set_index("condition").loc[first]
    recorded: Any = found.scores.table.loc["recorded"]
    answer = (
        f"Scores predicted from the twin's BOLD correlate with the actual ones by {row['r']:.2f} (permutation p = "
        f"{row['p']:.3g}, {int(row['trials'])} trials); from the recorded BOLD by {recorded['r']:.2f} (p = "
        f"{recorded['p_value']:.3g}), from the recorded input regions alone by {found.alone['r']:.2f} (p = "
        f"{found.alone['p_value']:.3g})."
    )
    tables = {"scores": scores, "compared": compared, "units": units, "cells": cells, "trials": _trials(found, first)}
    tables |= {f"by_{name.replace('-', '_')}": table for name, table in scales.items() if len(table) > 1}
    tables["carriers"] = found.scores.regions.sort_values("p_value", kind="stable").reset_index()
    return Findings(
        answer,
        claims,
        _charts(tables, recorded["r"], found.alone["r"]),
        tables,
        {"recorded": dict(recorded), "recorded_inputs_alone": found.alone, "folds": found.folds},
        (
            "The model that predicts scores is learnt on recorded trials; the trials it is applied to, recorded or "
            "simulated, were never learnt from. The permutation test repeats all of it with permuted scores.",
            "The twin is driven by the recorded BOLD of the input regions in all trials, as in the published work; no "
            "score enters the drive. What the inputs alone predict is therefore the figure to beat.",
            "With few seeds, p of paired tests cannot be small; the interval says more.",
        ),
    )


def _units(cells: pd.DataFrame, found: Predictions) -> pd.DataFrame:
    """One row per condition and seed: similarity over people, and the correlation of scores, mean over members."""
    kept = ["neurons", "in_degree", "bold_pcc_inputs", "bold_pcc_noninputs", "rate_hz", "ran_away"]
    mean = cells.groupby(["condition", "seed"], sort=False)[kept].mean().reset_index()
    mean["r"] = [found.r(c, s) for c, s in zip(mean["condition"], mean["seed"], strict=True)]
    return mean.rename(columns={"bold_pcc_noninputs": "pcc", "bold_pcc_inputs": "pcc_inputs"})


def _by_condition(units: pd.DataFrame, found: Predictions, design: Design) -> pd.DataFrame:
    rows = []
    for c in design.conditions:
        part = units[units["condition"] == c.name]
        row: dict[str, Any] = {"condition": c.name, "control": c.control, "note": c.note}
        for key in ("r", "pcc", "pcc_inputs"):
            row[key], row[f"{key}_low"], row[f"{key}_high"] = mean_interval(part[key].to_numpy(np.float64))
        null = found.null(c.name, [int(s) for s in part["seed"]])
        row |= {"p": (1 + np.sum(null >= row["r"] - 1e-12)) / (1 + len(null)), "null_mean": null.mean()}
        row |= {"null_sd": null.std(ddof=1), "trials": found.scores.actual.size, "units": len(part)}
        row |= {"neurons": part["neurons"].iloc[0], "in_degree": part["in_degree"].iloc[0]}
        rows.append(row | {"share": c.share if c.rewire == "nearest" else 0.0})
    return pd.DataFrame(rows)


def _compared(units: pd.DataFrame, design: Design) -> pd.DataFrame:
    rows = []
    for c in design.conditions:
        if c.control:
            for key in ("r", "pcc"):
                table = units.pivot_table(index="seed", columns="condition", values=key)
                found = paired(table[c.name].to_numpy(), table[c.control].to_numpy())
                rows.append({"condition": c.name, "control": c.control, "figure": key, **_row(found)})
    columns = ["condition", "control", "figure", *_row(paired([0.0], [0.0]))]
    return pd.DataFrame(rows, columns=columns)


def _row(d: Difference) -> dict[str, Any]:
    row = {"difference": d.mean, "difference_low": d.low, "difference_high": d.high, "t": d.t, "p": d.p}
    return row | {"effect": d.effect, "effect_low": d.effect_low, "effect_high": d.effect_high, "units": d.units}


def _scale(units: pd.DataFrame, design: Design, name: str) -> pd.DataFrame:
    """The conditions that differ from the first in one number alone, in its order."""
    plain = design.conditions[0]
    alone = {"size": "neurons", "in-degree": "in_degree", "rewiring": "share"}[name]

    def same(c: Condition) -> bool:
        keys = ("neurons", "in_degree", "share", "rewire", "drive", "rules", "like", "inputs", "stimuli", "noise")
        free = {alone} | ({"rewire"} if name == "rewiring" else set())
        return all(getattr(c, k) == getattr(plain, k) for k in keys if k not in free) and c.rewire in (
            "none",
            "nearest",
        )

    rows = []
    for c in design.conditions:
        part = units[units["condition"] == c.name]
        if same(c):
            row: dict[str, Any] = {"condition": c.name, "share": c.share, "neurons": part["neurons"].iloc[0]}
            row["in_degree"] = part["in_degree"].iloc[0]
            row |= {"rate_hz": part["rate_hz"].mean(), "ran_away": bool(part["ran_away"].any())}
            for key in ("r", "pcc"):
                row[key], row[f"{key}_low"], row[f"{key}_high"] = mean_interval(part[key].to_numpy(np.float64))
                row[f"{key}_trend"], row[f"{key}_trend_p"] = np.nan, np.nan
            rows.append(row)
    table = pd.DataFrame(rows).sort_values(_SCALES[name], kind="stable", ignore_index=True)
    there = table[~table["ran_away"]]  # what ran away is another system, shown but in no trend
    if len(there) >= 3:
        for key in ("r", "pcc"):
            wide = units.pivot_table(index="seed", columns="condition", values=key)[list(there["condition"])]
            found = trend(there[_SCALES[name]].to_numpy(np.float64), wide.to_numpy(np.float64))
            table[f"{key}_trend"], table[f"{key}_trend_p"] = found.rho, found.p
    return table


def _trials(found: Predictions, first: str) -> pd.DataFrame:
    actual = found.scores.actual.values
    sides = {"recorded BOLD": found.scores.predicted.sel(what="recorded").values}
    sides |= {"recorded inputs alone": found.alone_predicted, first: found.predicted(first)}
    parts = [
        pd.DataFrame({"person": found.person, "trial": found.trial, "from": k, "actual": actual, "predicted": v})
        for k, v in sides.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _claims(
    scores: pd.DataFrame, compared: pd.DataFrame, scales: dict[str, pd.DataFrame], found: Predictions, first: str
) -> tuple[Claim, ...]:
    row: Any = scores.set_index("condition")
    one: Any = row.loc[first]
    controls = [c for c in ("constant drive", "shifted drive") if c in row.index]
    held = "; ".join(f"{c} {row.loc[c, 'r']:.2f} (p = {row.loc[c, 'p']:.2g})" for c in controls)
    held += f"; recorded inputs alone {found.alone['r']:.2f} (p = {found.alone['p_value']:.2g})"
    told = one["p"] < 0.05
    claims = [
        Claim(
            "scores predicted from the twin's BOLD correlate with the actual ones",
            _PUBLISHED_SCORE,
            f"r = {one['r']:.2f} ({one['r_low']:.2f} to {one['r_high']:.2f} over wirings)",
            "seen" if told else "not seen",
            f"permutation of {int(one['trials'])} scores, cross-validation repeated",
            float(one["p"]),
            float((one["r"] - one["null_mean"]) / one["null_sd"]),
            None,
            None,
            held,
        ),
        _follows(one, row, compared, controls),
    ]
    trends: dict[tuple[str, str], float] = {}
    for name, table in scales.items():
        if len(table) >= 3:
            trends |= {(name, what): float(table[f"{what}_trend_p"].iloc[0]) for what in ("pcc", "r")}
    corrected = dict(zip(trends, holm(list(trends.values())), strict=True))
    for name, key, published in (
        ("size", "more neurons", _PUBLISHED_TREND),
        ("in-degree", "more synapses per neuron", _PUBLISHED_TREND),
        ("rewiring", "more rewiring", _PUBLISHED_P),
    ):
        table = scales[name]
        if len(table) < 3:
            continue
        for what, word in (("pcc", "similarity"), ("r", "the correlation of scores")):
            up = name != "rewiring"
            rho, p = float(table[f"{what}_trend"].iloc[0]), float(corrected[name, what])
            known = np.isfinite(p)
            seen = "not tested" if not known else "not seen" if p >= 0.05 else "seen" if (rho > 0) == up else "opposite"
            values = ", ".join(f"{x:.2f}" for x in table[what])
            at = ", ".join(f"{x:,g}" for x in table[_SCALES[name]])
            claims.append(
                Claim(
                    f"with {key} {word} {'rises' if up else 'falls'}",
                    published,
                    f"{values} at {at}",
                    seen,  # type: ignore[arg-type]
                    f"trend within {int(one['units'])} wirings, permutation, Holm over {len(trends)} trends",
                    p if known else None,
                    rho if known else None,
                    None,
                    None,
                    "the same seeds, drives and noise throughout" + _left_out(table),
                )
            )
    return tuple(claims)


def _left_out(table: pd.DataFrame) -> str:
    gone = [
        f"; {r.condition} left out: it ran away to {r.rate_hz:.0f} Hz" for r in table[table["ran_away"]].itertuples()
    ]
    return "".join(gone)


def _follows(one: Any, row: Any, compared: pd.DataFrame, controls: Sequence[str]) -> Claim:
    """The similarity of BOLD, held against the twin whose drive tells nothing."""
    ours = f"{one['pcc']:.3f} without the inputs, inputs {one['pcc_inputs']:.3f}"
    if not controls:
        return Claim("the twin's BOLD follows the recording", _PUBLISHED_PCC, ours, "not tested")
    control = controls[-1]
    test: Any = compared[(compared["condition"] == control) & (compared["figure"] == "pcc")].iloc[0]
    told = test["p"] < 0.05
    return Claim(
        "the twin's BOLD follows the recording better than a twin driven by shifted input",
        _PUBLISHED_PCC,
        ours,
        "not seen" if not told else "seen" if test["difference"] < 0 else "opposite",
        f"paired t over {int(test['units'])} wirings",
        float(test["p"]),
        -float(test["effect"]),
        -float(test["effect_high"]),
        -float(test["effect_low"]),
        "; ".join(f"{c} {row.loc[c, 'pcc']:.3f}" for c in controls),
    )


def _charts(tables: dict[str, pd.DataFrame], recorded: float, alone: float) -> tuple[Chart, ...]:
    charts = [
        Chart(
            "task-scores",
            "How well scores are predicted",
            "forest",
            "scores",
            "condition",
            ("r",),
            labels=_WORDS,
            reference={"r": (alone, ALONE)},
            caption="Mean over wirings with the 95 % bootstrap interval. The dashed line is what the recorded BOLD of "
            f"the input regions alone predicts ({alone:.2f}); the whole recording reaches {recorded:.2f}. The two "
            "controls show what a twin predicts whose drive does not follow the trials.",
            alt="One row per condition with the correlation of predicted and actual scores.",
        ),
        Chart(
            "task-trials",
            "Every trial",
            "scatter",
            "trials",
            "actual",
            ("predicted",),
            "from",
            _WORDS,
            caption="Each point is a trial predicted by a model that never saw it.",
            alt="Predicted against actual score, for recorded BOLD, the inputs alone and the twin.",
        ),
    ]
    for name, column in _SCALES.items():
        table = f"by_{name.replace('-', '_')}"
        if table in tables:
            charts.append(
                Chart(
                    f"task-{name}",
                    {"size": "Size", "in-degree": "In-degree", "rewiring": "Rewiring"}[name],
                    "curve",
                    table,
                    column,
                    ("pcc", "r"),
                    labels=_WORDS,
                    log_x=column != "share",
                    reference={"pcc": (_PCC, "published (20 billion neurons, with inputs)"), "r": (alone, ALONE)},
                    caption="Mean over wirings with the 95 % bootstrap interval; everything else is equal.",
                    alt=f"Similarity and correlation of scores against {_WORDS[column]}.",
                )
            )
    return tuple(charts)


EXPERIMENT = Experiment(
    "task",
    "A task with scores",
    "Does a twin that is driven through its sensory regions tell what the person answered in each trial?",
    _study,
    _design,
    _conclude,
)
