"""Does the twin come nearer to criticality with more neurons? One call over runs, one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations
from math import factorial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.analyse._numeric import Floats, generator, json_ready
from twinbrain.analyse.criticality import criticality, criticality_of_counts
from twinbrain.errors import InputError

__all__ = ["CriticalityTrend", "distance_to_criticality"]

_PERMUTE = 19  # second half of the random key
_DRAWS = 10_000
# measure, its critical value; the distance is the absolute difference
_CRITICAL = {"size_exponent": 1.5, "duration_exponent": 2.0, "crackling_gap": 0.0, "kappa": 1.0, "branching_ratio": 1.0}
_ALPHA = 0.05


@dataclass(frozen=True, eq=False, repr=False)
class CriticalityTrend:
    """Result of `distance_to_criticality`.

    Attributes
    ----------
    table
        Index ``measure``; ``value`` Kendall's tau-b of its distance from criticality against the number of neurons
        (negative: nearer with more), ``low``, ``high`` NaN, ``null_mean``, ``null_sd`` of tau under permutation of the
        runs, ``p_value`` one-sided for a fall, ``p_family`` the same for the whole family of measures (Holm), ``note``.
    runs
        Index ``run``; ``neurons``, ``avalanches``, the measures, and ``distance_<measure>``.
    answer
        The outcome in a sentence.

    Examples
    --------
    >>> empty = pd.DataFrame()
    >>> CriticalityTrend(empty, empty, "too few runs")
    CriticalityTrend(too few runs)
    """

    table: pd.DataFrame
    runs: pd.DataFrame = field(repr=False)
    answer: str

    def to_dict(self) -> dict[str, Any]:
        """Both tables and the answer, ready for JSON."""
        ready: dict[str, Any] = json_ready(
            {
                "answer": self.answer,
                "measures": self.table.to_dict("index"),
                "runs": self.runs.reset_index().to_dict("records"),
            }
        )
        return ready

    def __repr__(self) -> str:
        return f"CriticalityTrend({self.answer})"


def distance_to_criticality(
    runs: Sequence[tuple[float, xr.DataArray]],
    *,
    kind: Literal["bold", "counts"] = "bold",
    seed: int = 0,
    **settings: Any,
) -> CriticalityTrend:
    """Test whether activity comes nearer to criticality with more neurons.

    Each run is measured by `criticality` or `criticality_of_counts`, without nulls. Its distances are the absolute
    differences of size exponent from 1.5, duration exponent from 2, kappa and branching ratio from 1, and the gap
    between the two crackling exponents. For each, Kendall's tau-b against the number of neurons is compared with
    all permutations of the runs (10,000 random ones for more than 7 runs).

    Parameters
    ----------
    runs
        (number of neurons, series) of each run; series as the function of that ``kind`` takes them. At least 3 runs
        of 3 different sizes; several runs of one size, such as seeds or persons, may be given. Only 5 or more
        can show anything: with r runs of different sizes no p is below 1/r!.
    kind
        "bold" (default) or "counts".
    seed
        Key of all random numbers.
    settings
        Further options of the function, the same for all runs, such as ``threshold_sd``, ``size_max`` or ``xmin``. Give
        an explicit ``xmin`` to compare exponents over one range.

    Returns
    -------
    CriticalityTrend

    Raises
    ------
    InputError
        If there are fewer than 3 runs or sizes of network, a number of neurons is not above 0, or a run cannot be
        measured; the message names the run.

    References
    ----------
    As `criticality`; Holm (1979), Scand. J. Stat. 6:65.

    Examples
    --------
    >>> rng = np.random.Generator(np.random.Philox(key=1))
    >>> runs = [(n, rng.poisson(0.5, size=5000)) for n in (1e3, 1e4, 1e5)]
    >>> distance_to_criticality(runs, kind="counts").answer.split(":")[0]
    'not shown'
    """
    if kind not in ("bold", "counts"):
        raise InputError(f"kind is {kind!r}, expected 'bold' or 'counts'.")
    listed = list(runs)
    neurons: Floats = np.array([float(number) for number, _ in listed])
    if len(listed) < 3 or len(np.unique(neurons)) < 3 or not (np.isfinite(neurons).all() and (neurons > 0).all()):
        raise InputError(
            f"{len(listed)} runs of {len(np.unique(neurons))} numbers of neurons were given, expected at least 3 of 3 "
            "different numbers above 0; add runs."
        )
    rows = []
    for index, (_, series) in enumerate(listed):
        options = {**settings, "nulls": 0, "seed": seed}
        try:
            found = (
                criticality(series, **{"scan": (), **options})
                if kind == "bold"
                else criticality_of_counts(series, **options)
            )
        except InputError as error:
            raise InputError(f"run {index} ({neurons[index]:g} neurons): {error}") from None
        rows.append({name: float(found.table["value"][name]) for name in ("avalanches", *_CRITICAL)})
    table = pd.DataFrame(rows).rename_axis("run")
    table.insert(0, "neurons", neurons)
    for name, value in _CRITICAL.items():
        table[f"distance_{name}"] = (table[name] - value).abs()
    trend = {name: _trend(neurons, table[f"distance_{name}"].to_numpy(dtype=np.float64), seed) for name in _CRITICAL}
    tested = pd.DataFrame.from_dict(
        trend, orient="index", columns=["value", "low", "high", "null_mean", "null_sd", "p_value", "note"]
    ).rename_axis("measure")
    tested.insert(6, "p_family", _holm(tested["p_value"].to_numpy(dtype=np.float64)))
    return CriticalityTrend(tested, table, _answer(tested, len(listed)))


def _trend(neurons: Floats, distance: Floats, seed: int) -> tuple[float, float, float, float, float, float, str]:
    known = np.isfinite(distance)
    n, d = neurons[known], distance[known]
    if len(np.unique(n)) < 3 or not np.ptp(d):
        return (*[np.nan] * 6, f"defined in {len(d)} of {len(neurons)} runs: no trend")  # type: ignore[return-value]
    sign_n, sign_d = np.sign(n[:, None] - n), np.sign(d[:, None] - d)
    scale = float(np.sqrt(np.square(sign_n).sum() * np.square(sign_d).sum()))
    if len(d) <= 7:
        orders = np.array(list(permutations(range(len(d)))))
        note = f"one-sided, all {factorial(len(d))} orders of the runs"
    else:
        orders = np.argsort(generator(seed, _PERMUTE).random((_DRAWS, len(d))), axis=1)
        orders[0] = np.arange(len(d))  # the data are one of the orders
        note = f"one-sided, {_DRAWS} random orders of the runs"
    parts = np.array_split(orders, -(-len(orders) // 500))  # a table of pairs for each order: not all at once
    pairs = [np.einsum("ij,pij->p", sign_n, sign_d[part[:, :, None], part[:, None, :]]) for part in parts]
    null = np.concatenate(pairs) / scale
    value = float((sign_n * sign_d).sum()) / scale
    p = float((null <= value + 1e-12).mean())
    return value, np.nan, np.nan, float(null.mean()), float(null.std()), p, note


def _holm(p: Floats) -> Floats:
    """Adjust p-values for the family of those that are defined."""
    adjusted = np.full(len(p), np.nan)
    order = np.flatnonzero(np.isfinite(p))
    order = order[np.argsort(p[order], kind="stable")]
    steps: npt.NDArray[np.int64] = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * steps), 1.0) if len(order) else []
    return adjusted


def _answer(table: pd.DataFrame, runs: int) -> str:
    tested = table[table["p_value"].notna()]
    if tested.empty:
        return f"no answer: no measure is defined in enough of the {runs} runs"
    nearer = [str(name) for name in tested.index[tested["p_family"] < _ALPHA]]
    scope = f"({len(tested)} measures, {runs} runs, lowest p {tested['p_family'].min():.2g} after Holm)"
    if not nearer:
        few = f"; {runs} runs cannot show it, give 5 or more" if factorial(min(runs, 20)) * _ALPHA < len(tested) else ""
        return f"not shown: no measure comes nearer to criticality with more neurons {scope}{few}"
    return f"yes: nearer to criticality with more neurons by {', '.join(nearer)} {scope}"
