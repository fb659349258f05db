"""Rewiring: long-range connections move to near voxels with probability P; and null connectomes beside them."""

from __future__ import annotations

import pandas as pd

from twinbrain.config import Study
from twinbrain.experiment.demonstration import INTEROCEPTIVE, demonstration
from twinbrain.experiment.design import Condition, Design
from twinbrain.experiment.findings import Chart, Claim, Experiment, Findings, verdict
from twinbrain.experiment.results import Results
from twinbrain.experiment.stats import holm, paired
from twinbrain.experiment.tabulate import bands, matched, trends
from twinbrain.rewire_brain import near_share, rewire_brain

__all__ = ["EXPERIMENT"]

_MEASURES = ("bold_pcc_noninputs", "bold_pcc_inputs", "fc_pcc", "fc_fnorm_per_n", "fc_mean", "rate_hz")
_LABELS = {
    "share": "P, probability of moving a connection",
    "bold_pcc_noninputs": "PCC, regions without input",
    "bold_pcc_inputs": "PCC, input regions",
    "fc_pcc": "FC, PCC",
    "fc_fnorm_per_n": "FC, F-norm distance / n",
    "fc_mean": "FC, mean",
    "rate_hz": "mean rate, Hz",
    "difference": "difference of the PCC of regions without input, rewired minus measured connectome",
}


def _study() -> Study:
    return demonstration(INTEROCEPTIVE)


def _design(study: Study, regions: tuple[str, ...]) -> Design:
    rows = [Condition(name="P = 0", note="the measured connectome: the very same network")]
    rows += [
        Condition(name=f"P = {p:g}", control="P = 0", rewire="nearest", share=p) for p in (0.1, 0.25, 0.5, 0.75, 1.0)
    ]
    nulls = {
        "degrees": "null: partners exchanged, degrees and weights kept",
        "weights": "null: all weights in random places",
        "regions": "null: the same graph, regions exchanged",
    }
    rows += [Condition(name=f"null: {how}", control="P = 0", rewire=how, note=note) for how, note in nulls.items()]  # type: ignore[arg-type]
    rows.append(Condition(name="other noise", control="P = 0", noise=1, note="control: what chance alone does"))
    return Design(experiment="rewiring", conditions=tuple(rows))


def _conclude(results: Results) -> Findings:
    design = results.design
    cells, regions = results.similarity()
    moved = sorted(
        (c for c in design.conditions if c.rewire == "nearest" or (c.rewire == "none" and not c.noise)),
        key=lambda c: c.share,
    )
    share = {c.name: c.share for c in moved}
    curve = cells[cells["condition"].isin(list(share))].copy()
    curve["share"] = curve["condition"].map(share)
    by_share = bands(curve.sort_values("share"), ["share"], _MEASURES)
    of_share = trends(curve, list(share), list(share.values()), _MEASURES)
    compared = _compared(cells, design)
    places = _places(results)
    return Findings(
        _answer(of_share, compared),
        _claims(of_share, compared),
        _charts(),
        {
            "cells": cells,
            "by_share": by_share,
            "trends": of_share,
            "compared": compared,
            "connectomes": places,
            "regions": regions,
        },
        {},
        (
            "Moved connections keep their weights and every region its number of connections; size, in-degree, seeds, "
            "noise and drive are the same. The working point is that of the measured connectome.",
            "The drive was fitted on the measured connectome, which favours it: the share of the inputs' own PCC that "
            "is lost shows by how much. The nulls and 'other noise' are held against the same.",
            "A connectome without gaps has no place to move a connection to: there only the strongest count, and "
            "change places with weaker ones.",
        ),
    )


def _compared(cells: pd.DataFrame, design: Design) -> pd.DataFrame:
    rows = []
    for c in design.conditions:
        if not c.control:
            continue
        both = matched(cells, [c.name, c.control], "bold_pcc_noninputs")
        d = paired(both[:, 0], both[:, 1])
        row = {"condition": c.name, "control": c.control, "difference": d.mean, "difference_low": d.low}
        row |= {"difference_high": d.high, "t": d.t, "p": d.p, "effect": d.effect, "effect_low": d.effect_low}
        rows.append(row | {"effect_high": d.effect_high, "units": d.units})
    found = pd.DataFrame(rows)
    if len(found):
        found.insert(7, "p_holm", holm(found["p"].to_numpy()))
    return found


def _places(results: Results) -> pd.DataFrame:
    """Where connections lead after rewiring: the share of them that ends at the nearest voxels."""
    rows = []
    for person in results.people:
        setup = results.setups[person]
        for c in results.design.conditions:
            if c.rewire in ("none", "nearest") and not c.noise:
                brain = setup.ready.brain
                if c.rewire == "nearest":
                    brain = rewire_brain(brain, "nearest", c.share, strongest=c.strongest, seed=results.design.seeds[0])
                rows.append({"person": setup.name, "condition": c.name, "near_share": near_share(brain, c.strongest)})
    return pd.DataFrame(rows)


def _answer(of_share: pd.DataFrame, compared: pd.DataFrame) -> str:
    row = of_share[of_share["measure"] == "bold_pcc_noninputs"]
    if not len(row):
        return "P was not varied."
    found = row.iloc[0]
    way = "falls" if found["rho"] < 0 else "rises"
    told = f"{way} with P" if found["p"] < 0.05 else "cannot be told to change with P"
    ends = "; ".join(f"{r.condition}: {r.difference:+.3f}" for r in compared.itertuples())
    return (
        f"The similarity of regions without input {told} (rank correlation {found['rho']:+.2f}, "
        f"p = {found['p']:.3g}). Differences to the measured connectome: {ends}."
    )


def _claims(of_share: pd.DataFrame, compared: pd.DataFrame) -> tuple[Claim, ...]:
    nulls = compared[~compared["condition"].str.startswith("P =")]
    control = "; ".join(f"{r.condition} {r.difference:+.3f}" for r in nulls.itertuples())
    made = []
    for measure, words, falling in (
        ("bold_pcc_noninputs", "Similarity falls with P", True),
        ("fc_pcc", "FC similarity falls with P", True),
        ("fc_fnorm_per_n", "FC distance rises with P", False),
    ):
        row = of_share[of_share["measure"] == measure]
        published = "voxel PCC and FC-PCC falling, F-norm rising from P = 0 to 1 (1 billion neurons)"
        if not len(row):
            made.append(Claim(words, published, "not measured here", "not tested"))
            continue
        found = row.iloc[0]
        made.append(
            Claim(
                words,
                published,
                f"rank correlation {found['rho']:+.2f} ({found['rho_low']:+.2f} to {found['rho_high']:+.2f})",
                verdict(float(found["p"]), bool((found["rho"] < 0) == falling)),
                f"Spearman within {int(found['units'])} matched units, permutation",
                float(found["p"]),
                float(found["rho"]),
                float(found["rho_low"]),
                float(found["rho_high"]),
                control if measure == "bold_pcc_noninputs" else "",
            )
        )
    return tuple(made)


def _charts() -> tuple[Chart, ...]:
    return (
        Chart(
            "rewiring-share",
            "Similarity against P",
            "curve",
            "by_share",
            "share",
            ("bold_pcc_noninputs", "fc_pcc", "fc_fnorm_per_n", "bold_pcc_inputs", "fc_mean", "rate_hz"),
            labels=_LABELS,
            caption="Mean and 95 % bootstrap interval over matched units.",
            alt="Curves of similarity measures against P with bands.",
        ),
        Chart(
            "rewiring-nulls",
            "Rewired and null connectomes against the measured one",
            "forest",
            "compared",
            "condition",
            ("difference",),
            labels=_LABELS,
            reference={"difference": (0.0, "no change")},
            caption="Mean over matched pairs with the 95 % bootstrap interval.",
            alt="One row per connectome with its difference to the measured one.",
        ),
    )


EXPERIMENT = Experiment(
    "rewiring",
    "Rewiring of long-range connections",
    "Does the twin follow the recording less closely when its long-range connections are moved to near voxels, and is "
    "that more than what other wrong connectomes do?",
    _study,
    _design,
    _conclude,
)
