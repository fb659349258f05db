"""What a scaling experiment says: its statement, its claims beside the published ones, its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from twinbrain.experiment.findings import Chart, Claim, verdict

__all__ = ["charts", "claims", "statement"]

_LABELS = {
    "neurons": "neurons",
    "in_degree": "in-degree (synapses per neuron)",
    "bold_pcc_noninputs": "PCC, regions without input",
    "bold_pcc_inputs": "PCC, input regions",
    "fc_pcc": "FC, PCC",
    "fc_fnorm_per_n": "FC, F-norm distance / n",
    "noise_sd": "BOLD noise, sd",
    "signal_sd": "BOLD signal, sd",
    "rate_hz": "mean rate, Hz",
    "size_exponent": "avalanche size exponent",
    "size_exponent_shuffled": "... of bins in random order",
    "duration_exponent": "avalanche duration exponent",
    "duration_exponent_shuffled": "... of bins in random order",
    "branching": "branching ratio, spikes",
    "bold_branching": "branching ratio, BOLD",
    "mean_order": "order parameter, mean",
    "order_entropy": "order parameter, entropy",
}
_WHOLE = "whole brain 0.624 at 20 billion neurons and in-degree 100; rising with neurons"
_DEGREE = "rising with in-degree, the PCC level in the end (10 billion neurons)"


def _row(table: pd.DataFrame, measure: str) -> Mapping[Any, Any] | None:
    return next((row for row in table.to_dict("records") if row["measure"] == measure), None)


def _trend_claim(
    table: pd.DataFrame, measure: str, statement_: str, published: str, *, rising: bool, control: str = ""
) -> Claim:
    row = _row(table, measure)
    if row is None:
        return Claim(statement_, published, "not measured here", "not tested")
    seen = verdict(float(row["p"]), bool((row["rho"] > 0) == rising))
    ours = f"rank correlation {row['rho']:+.2f} ({row['rho_low']:+.2f} to {row['rho_high']:+.2f})"
    test = f"Spearman within {row['units']} matched units, permutation"
    return Claim(statement_, published, ours, seen, test, *_numbers(row, "rho"), control)


def _numbers(row: Mapping[Any, Any], effect: str) -> tuple[float, float, float, float]:
    """p, effect and its interval."""
    return float(row["p"]), float(row[effect]), float(row[f"{effect}_low"]), float(row[f"{effect}_high"])


def claims(
    of_size: pd.DataFrame,
    of_degree: pd.DataFrame,
    law: Mapping[str, float],
    pairs: pd.DataFrame,
    by_size: pd.DataFrame,
    gone: Mapping[str, float],
) -> tuple[Claim, ...]:
    """Return the published statements on size with what is seen here.

    Parameters
    ----------
    of_size, of_degree
        Trends of the measures.
    law
        Of the finite-size law.
    pairs
        Larger networks against pooled smaller ones.
    by_size
        Bands by size.
    gone
        Conditions that ran away, with their rates in Hz: left out of the trends.

    Examples
    --------
    >>> claims.__annotations__["law"]
    'Mapping[str, float]'
    """
    control = "the mean of smaller networks with as many neurons in all"
    left_out = "; ".join(f"{name} left out: it ran away to {rate:.0f} Hz" for name, rate in gone.items())
    made = [
        _trend_claim(
            of_size, "bold_pcc_noninputs", "Similarity rises with neurons", _WHOLE, rising=True, control=control
        ),
        _trend_claim(of_size, "fc_pcc", "FC similarity rises with neurons", "0.551 at 20 billion; rising", rising=True),
        _trend_claim(of_size, "fc_fnorm_per_n", "FC distance falls with neurons", "0.271; falling", rising=False),
        _trend_claim(
            of_degree,
            "bold_pcc_noninputs",
            "Similarity rises with in-degree",
            "rising, then level (10 billion)",
            rising=True,
            control=left_out,
        ),
        _trend_claim(
            of_degree,
            "fc_pcc",
            "FC similarity rises with in-degree",
            "rising (10 billion)",
            rising=True,
            control=left_out,
        ),
        _critical(of_size, by_size),
    ]
    if rows := pairs.to_dict("records"):
        worst: dict[Any, Any] = min(rows, key=lambda row: row["p"])
        corrected = min(1.0, worst["p"] * len(rows))
        ours = "; ".join(
            f"{row['neurons']:,} neurons {row['pcc']:.3f}, {row['pooled_from']} {row['pcc_pooled']:.3f}" for row in rows
        )
        test = f"paired t over {worst['units']} units, Bonferroni over {len(rows)} pairs"
        made.append(
            Claim(
                "A larger network has other dynamics than the mean of smaller ones",
                "not published; the control of the statements above",
                ours,
                verdict(corrected, True),
                test,
                *_numbers({**worst, "p": corrected}, "effect"),
            )
        )
    return tuple(made)


def _critical(of_size: pd.DataFrame, by_size: pd.DataFrame) -> Claim:
    published = "from 5 billion neurons avalanches come close to criticality"
    row = _row(of_size, "branching")
    if row is None or not len(by_size):
        return Claim("Activity comes nearer to criticality with neurons", published, "not measured here", "not tested")
    first, last = by_size["branching"].iloc[0], by_size["branching"].iloc[-1]
    return Claim(
        "Activity comes nearer to criticality with neurons",
        published,
        f"branching ratio of the spikes from {first:.3f} to {last:.3f}; sizes here end far below 5 billion",
        verdict(float(row["p"]), bool(row["rho"] > 0)),
        f"Spearman within {row['units']} matched units, permutation",
        *_numbers(row, "rho"),
        "a branching ratio rises with common input too, and with the neurons that sample it",
    )


def statement(of_size: pd.DataFrame, law: Mapping[str, float], pairs: pd.DataFrame, sizes: Sequence[int]) -> str:
    """Say what the data support on size, whichever way.

    Examples
    --------
    >>> empty = pd.DataFrame({"measure": [], "p": []})
    >>> statement(empty, {"p_inf": float("nan"), "c": 1.0}, pd.DataFrame(), [1, 2])
    'Between 1 and 2 neurons no trend could be measured.'
    """
    span = f"Between {min(sizes):,} and {max(sizes):,} neurons" if sizes else "With these conditions"
    row = _row(of_size, "bold_pcc_noninputs")
    if row is None:
        return f"{span} no trend could be measured."
    rises = row["p"] < 0.05 and row["rho"] > 0
    said = [f"{span} similarity {'rises' if rises else 'cannot be told to rise'} (rank correlation {row['rho']:+.2f})."]
    if np.isfinite(law.get("noise_slope", np.nan)):
        low, high = law["noise_slope_low"], law["noise_slope_high"]
        said.append(
            f"The noise of BOLD falls as neurons to the power {law['noise_slope']:.2f} ({low:.2f} to {high:.2f}; -0.5 "
            "is independent sampling)."
        )
    if np.isfinite(law["p_inf"]):
        said.append(
            f"Sampling noise alone fits with P_inf = {law['p_inf']:.2f} and c = {law['c']:,.0f} neurons"
            + (
                f"; from the smaller sizes it foretells {law['foretold']:.3f} for the largest, which has "
                f"{law['observed']:.3f}."
                if np.isfinite(law.get("foretold", np.nan))
                else "."
            )
        )
    if len(pairs):
        differs = bool((pairs["p"] * len(pairs) < 0.05).any())
        largest = float(pairs["difference"].abs().max())
        does = "differs from" if differs else "does as well as"
        end = "size also changes the dynamics." if differs else "here size means less sampling noise, no more."
        said.append(
            f"The mean of smaller networks with as many neurons in all {does} the larger network (largest difference "
            f"{largest:.3f}): {end}"
        )
    return " ".join(said)


def charts(degrees: bool) -> tuple[Chart, ...]:
    """Return the figures.

    Examples
    --------
    >>> [chart.name for chart in charts(False)]
    ['scaling-similarity', 'scaling-measures']
    """
    made = [
        Chart(
            "scaling-similarity",
            "Similarity against size, beside what sampling noise alone predicts",
            "curve",
            "curves",
            "neurons",
            ("bold_pcc_noninputs", "fc_pcc", "fc_fnorm_per_n"),
            "kind",
            _LABELS,
            log_x=True,
            reference={
                "bold_pcc_noninputs": (0.624, "published, 20 billion neurons"),
                "fc_pcc": (0.551, "published, 20 billion neurons"),
                "fc_fnorm_per_n": (0.271, "published, 20 billion neurons"),
            },
            caption="Mean and 95 % bootstrap interval over matched units. Published lines are of another person, data "
            "and measure, and include input regions.",
            alt="Curves of three similarity measures against the number of neurons with bands.",
        ),
        Chart(
            "scaling-measures",
            "Activity against size",
            "curve",
            "by_size",
            "neurons",
            ("noise_sd", "signal_sd", "rate_hz", "size_exponent", "size_exponent_shuffled", "branching",
             "duration_exponent", "duration_exponent_shuffled", "bold_branching", "mean_order", "order_entropy"),
            labels=_LABELS,
            log_x=True,
            caption="Noise is what runs with other noise do not share, signal what they do. Exponents and branching "
            "ratio of the whole network's spikes in 4-ms bins; order parameter of BOLD, 0.01-0.1 Hz.",
            alt="Panels of activity measures against the number of neurons with bands.",
        ),
    ]  # fmt: skip
    if degrees:
        made.append(
            Chart(
                "scaling-degree",
                "Similarity and activity against in-degree",
                "curve",
                "by_degree",
                "in_degree",
                ("bold_pcc_noninputs", "fc_pcc", "fc_fnorm_per_n", "noise_sd", "rate_hz", "branching"),
                labels=_LABELS,
                log_x=True,
                caption="Conductances are divided by the in-degree; neurons and everything else stay.",
                alt="Panels of measures against in-degree with bands.",
            )
        )
    return tuple(made)
