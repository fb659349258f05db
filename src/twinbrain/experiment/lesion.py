"""Digital lesions: connections are removed after wiring, so that nothing else changes; who misses them?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from twinbrain.config import Study
from twinbrain.experiment.apply import lesioned_weight, random_lesion
from twinbrain.experiment.demonstration import demonstration, place
from twinbrain.experiment.design import Condition, Design
from twinbrain.experiment.findings import Chart, Claim, Experiment, Findings, Seen, verdict
from twinbrain.experiment.results import Results
from twinbrain.experiment.stats import Difference, holm, paired
from twinbrain.rules import EdgeRule, lesion

__all__ = ["EXPERIMENT", "compare_regions"]

_PUBLISHED = "V1 to the dorsal and/or ventral stream: hippocampus significantly lower, the whole brain unchanged; "
_PUBLISHED += "V1 to motor: small effect (task, V1 as input, 20 billion neurons)"

_GROUPS = ("watched", "without input")
_MARGIN = 0.03  # of a correlation: a change whose whole interval is smaller counts as none


def _study() -> Study:
    return demonstration(["Calcarine_L", "Calcarine_R"])


def _design(study: Study, regions: tuple[str, ...]) -> Design:
    v1, motor = place("V1", regions), place("motor", regions)
    dorsal, ventral = place("dorsal stream", regions), place("ventral stream", regions)

    def cut(target: tuple[str, ...]) -> tuple[EdgeRule, ...]:
        return (EdgeRule(source=v1, target=target, reach="long_range"),)

    both = "V1 to both streams"
    rows = [
        Condition(name="intact", note="the twin as fitted"),
        Condition(name="other noise", control="intact", noise=1, note="no lesion: what chance alone does to the test"),
        Condition(name="V1 to dorsal", control="intact", rules=cut(dorsal)),
        Condition(name="V1 to ventral", control="intact", rules=cut(ventral)),
        Condition(name=both, control="intact", rules=cut(dorsal + ventral)),
        Condition(name="V1 to motor", control="intact", rules=cut(motor)),
        Condition(name="V1 to others", control="intact", like=both, like_from="same", note="control, equal weight"),
        Condition(name="random", control="intact", like=both, note="control, equal weight, other sources"),
        Condition(name="hippocampus cut off", control="intact", rules=lesion(place("hippocampus", regions))),
        Condition(
            name="V1 without inhibition",
            control="intact",
            rules=(EdgeRule(source=v1, source_populations=("inhibitory",), gain=0.5),),
            note="a population: half the weight of its inhibitory synapses",
        ),
    ]
    watched = list(place("hippocampus", regions))
    return Design(experiment="lesion", conditions=tuple(rows), settings={"watched": watched})


def compare_regions(regions: pd.DataFrame, design: Design, watched: list[str]) -> pd.DataFrame:
    """Compare every condition with its control, region by region and over groups, paired over seeds and people.

    Parameters
    ----------
    regions
        Second table of :meth:`twinbrain.experiment.results.Results.similarity`.
    design
        Which condition is held against which.
    watched
        Regions whose mean is tested first.

    Returns
    -------
    DataFrame
        One row per condition and ``where`` ("watched", "without input", and every region): mean difference of the
        correlation with its interval, t, p, ``p_holm`` (of the family: all regions of one condition; the groups of all
        conditions together), effect with its interval, units.

    Examples
    --------
    >>> compare_regions.__annotations__["return"]
    'pd.DataFrame'
    """
    unit = ["person", "seed"] if regions["person"].nunique() == 1 else ["person"]
    table = regions.pivot_table(index=unit, columns=["condition", "region"], values="pcc", aggfunc="mean")
    free = list(dict.fromkeys(regions.loc[~regions["input"], "region"]))
    kept = list(dict.fromkeys(regions["region"]))
    rows: list[dict[str, Any]] = []
    for c in design.conditions:
        if not c.control:
            continue
        a, b = pd.DataFrame(table[c.name]), pd.DataFrame(table[c.control])
        groups = {"watched": watched, "without input": [r for r in free if r not in watched]}
        block = [
            _row(c.name, c.control, name, paired(a[g].to_numpy().mean(axis=1), b[g].to_numpy().mean(axis=1)))
            for name, g in groups.items()
            if g
        ]
        each = [_row(c.name, c.control, r, paired(a[r].to_numpy(), b[r].to_numpy())) for r in kept]
        for row, p in zip(each, holm([row["p"] for row in each]), strict=True):
            row["p_holm"] = p
        rows += block + each
    found = pd.DataFrame(rows)
    grouped = found["where"].isin(list(_GROUPS))
    found.loc[grouped, "p_holm"] = holm(found.loc[grouped, "p"].to_numpy())
    return found


def _row(condition: str, control: str, where: str, d: Difference) -> dict[str, Any]:
    row = {"condition": condition, "control": control, "where": where, "difference": d.mean, "difference_low": d.low}
    row |= {"difference_high": d.high, "t": d.t, "p": d.p, "p_holm": np.nan, "effect": d.effect}
    return row | {"effect_low": d.effect_low, "effect_high": d.effect_high, "units": d.units}


def _conclude(results: Results) -> Findings:
    design = results.design
    watched = list(design.settings.get("watched", []))
    cells, regions = results.similarity()
    compared = compare_regions(regions, design, watched)
    weights = _weights(results)
    groups = compared[compared["where"].isin(list(_GROUPS))].reset_index(drop=True)
    claims = _claims(design, groups, weights)
    felt = [c.name for c in design.conditions if c.control and _of(groups, c.name, "watched")["p_holm"] < 0.05]
    named = ", ".join(felt) if felt else "none of the lesions"
    answer = (
        f"Of the watched regions ({', '.join(watched)}) the similarity to the recording is changed by: {named} "
        f"(paired over {int(groups['units'].max())} units, Holm-corrected)."
    )
    return Findings(
        answer,
        claims,
        _charts(),
        {
            "cells": cells,
            "regions": regions,
            "groups": groups,
            "compared": compared[~compared["where"].isin(_GROUPS)].reset_index(drop=True),
            "weights": weights,
        },
        {"watched": watched},
        (
            "A lesion sets the weights of existing synapses to 0: wiring, noise, drive and all other synapses are the "
            "same, spike for spike until the first missing synapse matters.",
            "Similarity falls when a lesion takes away input that carried the recorded course; it can also rise, if "
            "what was taken away was noise.",
        ),
    )


def _of(groups: pd.DataFrame, condition: str, where: str) -> pd.Series:
    return groups[(groups["condition"] == condition) & (groups["where"] == where)].iloc[0]


def _weights(results: Results) -> pd.DataFrame:
    """How much each lesion takes away, over people and seeds."""
    rows = []
    for person in results.people:
        setup = results.setups[person]
        for c in results.design.conditions:
            if not (c.rules or c.like):
                continue
            for seed in results.design.seeds[: 1 if c.rules else None]:
                rules = c.rules or random_lesion(
                    setup.ready.brain,
                    results.design.condition(c.like).rules,
                    same_sources=c.like_from == "same",
                    spare=c.inputs or setup.inputs,
                    seed=seed,
                )
                weight = lesioned_weight(setup.ready.brain, rules)
                rows.append({"person": setup.name, "condition": c.name, "seed": seed, "weight_removed": weight})
    return pd.DataFrame(rows, columns=["person", "condition", "seed", "weight_removed"])


def _claims(design: Design, groups: pd.DataFrame, weights: pd.DataFrame) -> tuple[Claim, ...]:
    names = [c.name for c in design.conditions]
    claims = []

    def add(name: str, where: str, statement: str, *, lower: bool) -> None:
        if name not in names:
            return
        row = _of(groups, name, where)
        p = float(row["p_holm"])
        within = max(abs(row["difference_low"]), abs(row["difference_high"])) < _MARGIN
        unchanged: Seen = "seen" if within else "opposite" if p < 0.05 else "not tested"
        seen: Seen = verdict(p, bool(row["difference"] < 0)) if lower else unchanged
        ours = f"{row['difference']:+.3f} ({row['difference_low']:+.3f} to {row['difference_high']:+.3f})"
        other = [n for n in ("V1 to others", "random") if n in names]
        held = "; ".join(f"{n} {_of(groups, n, where)['difference']:+.3f}" for n in other)
        claims.append(
            Claim(
                statement,
                _PUBLISHED,
                ours,
                seen,
                f"paired t over {int(row['units'])} units, Holm over groups and conditions",
                p,
                float(row["effect"]),
                float(row["effect_low"]),
                float(row["effect_high"]),
                held,
            )
        )

    for name in ("V1 to dorsal", "V1 to ventral", "V1 to both streams"):
        add(name, "watched", f"{name}: the hippocampus becomes less similar", lower=True)
    add("V1 to both streams", "without input", "V1 to both streams: the rest of the brain is unchanged", lower=False)
    add("V1 to motor", "watched", "V1 to motor: the hippocampus is hardly changed", lower=False)
    return tuple(claims)


def _charts() -> tuple[Chart, ...]:
    words = {"difference": "difference of the correlation with the recording, lesioned minus intact"}
    return (
        Chart(
            "lesion-groups",
            "What each lesion does to the similarity",
            "forest",
            "groups",
            "condition",
            ("difference",),
            "where",
            words,
            reference={"difference": (0.0, "no change")},
            caption="Mean over matched pairs (same wiring, noise and drive) with the 95 % bootstrap interval. The rows "
            "'other noise' and the two controls of equal weight show what a difference has to exceed.",
            alt="One row per lesion with the mean change of similarity and its interval.",
        ),
        Chart(
            "lesion-regions",
            "Region by region",
            "map",
            "compared",
            "where",
            ("difference",),
            "condition",
            words,
            caption="Change of the correlation of every region. No region is singled out by eye: compared.csv holds "
            "the p values, corrected for the number of regions.",
            alt="Colour map of the change of similarity, lesions by regions.",
        ),
    )


EXPERIMENT = Experiment(
    "lesion",
    "Digital lesions",
    "Which regions of the twin become less similar to the recording when chosen connections are removed?",
    _study,
    _design,
    _conclude,
)
