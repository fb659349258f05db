"""Scaling: similarity, connectivity, criticality and synchrony against the number of neurons and the in-degree.

A larger network can be more alike for two reasons: its mean activity is sampled with less noise, or it moves in
another way. The two are told apart by pooling: the mean of m runs of n neurons has the sampling noise of a network of
m n neurons and the dynamics of one of n. Beside the measured curve stands what sampling noise alone predicts,
``P_inf / sqrt(1 + c / n)``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from twinbrain.analyse.branching import branching_ratio
from twinbrain.analyse.criticality import criticality, criticality_of_counts
from twinbrain.analyse.synchrony import order_parameter, phases, synchronisation_entropy
from twinbrain.config import Study
from twinbrain.errors import InputError
from twinbrain.experiment.cells import cells_of
from twinbrain.experiment.demonstration import INTEROCEPTIVE, demonstration
from twinbrain.experiment.design import Condition, Design
from twinbrain.experiment.evidence import size_law
from twinbrain.experiment.findings import Experiment, Findings
from twinbrain.experiment.results import Results
from twinbrain.experiment.scaling_words import charts, claims, statement
from twinbrain.experiment.stats import mean_interval, paired
from twinbrain.experiment.tabulate import away, bands, matched, trends

__all__ = ["EXPERIMENT", "MEASURES", "activity_measures", "pooled_pairs"]

MEASURES = (
    "bold_pcc_noninputs",
    "bold_pcc_inputs",
    "fc_pcc",
    "fc_fnorm_per_n",
    "noise_sd",
    "signal_sd",
    "rate_hz",
    "size_exponent",
    "size_exponent_shuffled",
    "duration_exponent",
    "duration_exponent_shuffled",
    "branching",
    "bold_branching",
    "mean_order",
    "order_entropy",
)
"""What is held against size: columns of the tables."""

_BIN_MS = 4
_EXPONENTS = ("size_exponent", "duration_exponent")


def _study() -> Study:
    return demonstration(INTEROCEPTIVE)


def _design(study: Study, regions: tuple[str, ...]) -> Design:
    sizes = {2_000: 4, 5_000: 4, 10_000: 4, 20_000: 2, 40_000: 2}
    degrees = (10, 30, 100, 200, 500)
    rows = [Condition(name=f"{n:,} neurons", neurons=n, members=m) for n, m in sizes.items()]
    rows += [Condition(name=f"in-degree {d}", neurons=5_000, in_degree=d, members=1) for d in degrees]
    return Design(experiment="scaling", conditions=tuple(rows), keep=("totals",))


def activity_measures(results: Results) -> pd.DataFrame:
    """Measure criticality and synchrony of every cell.

    Parameters
    ----------
    results
        With ``totals`` kept.

    Returns
    -------
    DataFrame
        person, condition, seed; ``size_exponent``, ``duration_exponent``: maximum likelihood, of avalanches of the
        whole network's spikes in 4-ms bins above their median (half of it, as published, is never left by a large
        network of asynchronous neurons); ``..._shuffled``: the same bins in random order, which is what no memory at
        all gives; ``branching``: multistep regression of the same counts; ``bold_branching``: of the point process of
        BOLD; ``mean_order``, ``order_entropy``: Kuramoto order parameter of BOLD, its mean and its entropy. Means over
        members; NaN where a run is too short for it.

    Examples
    --------
    >>> activity_measures.__annotations__["return"]
    'pd.DataFrame'
    """
    rows = []
    for cell in cells_of(results.design):
        data = results.cell(cell.person, cell.condition, cell.seed)
        found = [_of_member(data, m) for m in range(data.sizes["member"])]
        row: dict[str, Any] = {"person": results.setups[cell.person].name, "condition": cell.condition}
        row |= {"seed": cell.seed} | {key: _mean([one[key] for one in found]) for key in found[0]}
        rows.append(row)
    return pd.DataFrame(rows)


def _of_member(data: Any, member: int) -> dict[str, float]:
    found = dict.fromkeys((*_EXPONENTS, *(f"{key}_shuffled" for key in _EXPONENTS), "branching"), np.nan)
    if "totals" in data:
        totals = data["totals"].isel(member=member).values.astype(np.int64)
        counts = totals[: len(totals) // _BIN_MS * _BIN_MS].reshape(-1, _BIN_MS).sum(axis=1)
        random = np.random.Generator(np.random.Philox(key=np.array([member, 83], np.uint64)))
        for series, end in ((counts, ""), (random.permutation(counts), "_shuffled")):
            with suppress(InputError):  # fewer than 30 avalanches
                table = criticality_of_counts(series, bin_steps=1, threshold=float(np.median(counts)), nulls=0).table
                found |= {key + end: _value(table, key) for key in _EXPONENTS}
        with suppress(InputError):
            found["branching"] = float(branching_ratio(counts, offset=True, bootstrap=0).ratio)
    bold = data["bold"].isel(member=member).astype(np.float64)
    found |= dict.fromkeys(("bold_branching", "mean_order", "order_entropy"), np.nan)
    with suppress(InputError):
        found["bold_branching"] = _value(criticality(bold, nulls=0, scan=()).table, "branching_ratio")
    with suppress(InputError):
        order = order_parameter(phases(bold))
        found |= {"mean_order": float(order.mean()), "order_entropy": synchronisation_entropy(order)}
    return found


def _value(table: pd.DataFrame, measure: str) -> float:
    return float(table["value"].get(measure, np.nan))


def _mean(values: list[float]) -> float:
    known = [x for x in values if np.isfinite(x)]
    return float(np.mean(known)) if known else np.nan


def pooled_pairs(cells: pd.DataFrame, pooled: pd.DataFrame, sizes: list[Condition]) -> pd.DataFrame:
    """Hold each larger network against the mean of runs of a smaller one with as many neurons in all.

    Parameters
    ----------
    cells
        Scores of single runs.
    pooled
        Scores of the mean over members.
    sizes
        The conditions that differ in neurons.

    Returns
    -------
    DataFrame
        neurons, pooled_from (n x m), PCC of both, their paired difference with its interval, p, effect, units.

    Examples
    --------
    >>> pooled_pairs.__annotations__["sizes"]
    'list[Condition]'
    """
    rows = []
    for large in sizes:
        for small in sizes:
            members = int(cells.loc[cells["condition"] == small.name, "members"].iloc[0])
            if members < 2 or abs(small.neurons * members / large.neurons - 1) > 0.05:
                continue
            one = matched(cells, [large.name], "bold_pcc_noninputs")[:, 0]
            other = matched(pooled, [small.name], "bold_pcc_noninputs")[:, 0]
            d = paired(one, other)
            rows.append(
                {
                    "neurons": large.neurons,
                    "pooled_from": f"{members} x {small.neurons:,}",
                    "pcc": float(one.mean()),
                    "pcc_pooled": float(other.mean()),
                    "difference": d.mean,
                    "difference_low": d.low,
                    "difference_high": d.high,
                    "p": d.p,
                    "effect": d.effect,
                    "effect_low": d.effect_low,
                    "effect_high": d.effect_high,
                    "units": d.units,
                }
            )
    return pd.DataFrame(rows)


def _law(by_size: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    """The finite-size law: fitted to all sizes, and to all but the largest to see whether it foretells that one."""
    n, r = by_size["neurons"].to_numpy(np.float64), by_size["bold_pcc_noninputs"].to_numpy(np.float64)
    found = {"p_inf": np.nan, "c": np.nan, "foretold": np.nan, "observed": np.nan}
    if len(n) >= 3 and (r > 0.02).all():
        p, c = size_law(list(n), list(r))
        found |= {"p_inf": p, "c": c, "observed": float(r[-1])}
        if len(n) >= 4:
            p, c = size_law(list(n[:-1]), list(r[:-1]))
            found["foretold"] = float(p / np.sqrt(1 + c / n[-1]))
    drawn = pd.DataFrame({"neurons": n, "bold_pcc_noninputs": found["p_inf"] / np.sqrt(1 + found["c"] / n)})
    return drawn, found


def _conclude(results: Results) -> Findings:
    design = results.design
    cells, _ = results.similarity()
    pooled, _ = results.similarity(members="pooled")
    cells = cells.merge(activity_measures(results), on=["person", "condition", "seed"])
    degrees = [c for c in design.conditions if c.in_degree]
    gone = away(cells, [c.name for c in design.conditions])
    sizes = sorted((c for c in design.conditions if c.neurons and not c.in_degree), key=lambda c: c.neurons)
    sizes = [c for c in sizes if c.name not in gone]
    names = [c.name for c in sizes]
    by_size = bands(cells[cells["condition"].isin(names)].sort_values("neurons"), ["neurons"], MEASURES)
    by_degree = bands(cells[cells["condition"].isin([c.name for c in degrees])], ["in_degree"], MEASURES)
    drawn, law = _law(by_size)
    both = cells[cells["condition"].isin(names)]
    together = pooled[pooled["condition"].isin(names) & (pooled["members"] > 1)].copy()
    together["neurons"] *= together["members"]
    curves = pd.concat(
        [
            by_size.assign(kind="network of this size"),
            bands(together.sort_values("neurons"), ["neurons"], ["bold_pcc_noninputs"]).assign(
                kind="mean of smaller networks"
            ),
            drawn.assign(kind="sampling noise alone"),
        ],
        ignore_index=True,
    )
    of_size = trends(both, names, [c.neurons for c in sizes], MEASURES)
    settled = [c for c in degrees if c.name not in gone]
    of_degree = trends(cells, [c.name for c in settled], [c.in_degree for c in settled], MEASURES)
    pairs = pooled_pairs(cells, pooled, sizes)
    law |= _noise_slope(both, sizes)
    return Findings(
        statement(of_size, law, pairs, [c.neurons for c in sizes]),
        claims(of_size, of_degree, law, pairs, by_size, gone),
        charts(bool(len(by_degree))),
        {
            "cells": cells,
            "by_size": by_size,
            "by_degree": by_degree,
            "curves": curves,
            "trends_size": of_size,
            "trends_degree": of_degree,
            "pooled": pairs,
        },
        {"law": law},
        (
            "Exponents and branching ratio are of the spikes of the whole network. An exponent says something only "
            "where it differs from that of the same bins in random order. BOLD of 120 volumes has too few avalanches "
            "for a branching ratio of its own, which leaves that column empty.",
            "In-degree: conductances are divided by the in-degree, so that the mean input stays; fewer synapses carry "
            "larger, noisier steps.",
            *(f"'{name}' ran away to {rate:.0f} Hz and is in no trend." for name, rate in gone.items()),
            "Where conditions differ in volumes their scores are of different stretches; see volumes in cells.csv.",
        ),
    )


def _noise_slope(cells: pd.DataFrame, sizes: list[Condition]) -> dict[str, float]:
    """Exponent of the noise: -0.5 is that of independent sampling."""
    noise = matched(cells, [c.name for c in sizes], "noise_sd")
    slopes = []
    for row in noise:
        known = np.isfinite(row) & (row > 0)
        if known.sum() >= 3:
            at = np.log([c.neurons for c in np.array(sizes, dtype=object)[known]])
            slopes.append(float(np.polyfit(at, np.log(row[known]), 1)[0]))
    mean, low, high = mean_interval(slopes)
    return {"noise_slope": mean, "noise_slope_low": low, "noise_slope_high": high}


EXPERIMENT = Experiment(
    "scaling",
    "Scaling: number of neurons and in-degree",
    "Does a larger network follow the recording more closely, and if so, because it moves otherwise or because its "
    "activity is sampled with less noise?",
    _study,
    _design,
    _conclude,
)
