"""What a stimulation experiment says: its answer, its claims, its figures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from twinbrain.experiment.findings import Chart, Claim, verdict

__all__ = ["answer", "charts", "claims"]

_LABELS = {
    "time_ms": "time after the onset of a pulse, ms",
    "evoked_hz": "evoked rate, Hz",
    "latency_ms": "latency of the evoked rate, ms",
    "distance": "distance along the connectome, 1 / share of input",
    "evoked_bold": "evoked BOLD, fraction of the resting signal",
    "gain": "amplitude at the rhythm over that of the control, Hz",
}


def answer(compared: pd.DataFrame, spread: pd.DataFrame) -> str:
    """Say who answers, and how fast.

    Examples
    --------
    >>> answer(pd.DataFrame({"measure": [], "where": []}), pd.DataFrame())
    'Regions that are not stimulated answer to: nothing that can be told.'
    """
    rates = compared[(compared["measure"] == "evoked_hz") & (compared["where"] == "others")]
    felt = [str(row["condition"]) for row in rates.to_dict("records") if row["p_holm"] < 0.05]
    said = f"Regions that are not stimulated answer to: {', '.join(felt) if felt else 'nothing that can be told'}."
    for row in spread.to_dict("records"):
        if np.isfinite(row["rho"]):
            said += (
                f" {row['condition']}: {row['answered']} of {row['regions']} others rise, after "
                f"{row['median_latency_ms']:.0f} ms in the median; latency against distance along the connectome: rank "
                f"correlation {row['rho']:+.2f} (p = {row['p']:.2g})."
            )
    return said


def claims(compared: pd.DataFrame, spread: pd.DataFrame) -> tuple[Claim, ...]:
    """Return what each stimulus does to the rest of the brain, and whether farther regions answer later.

    Examples
    --------
    >>> claims(pd.DataFrame(), pd.DataFrame())
    ()
    """
    made = []
    sham = [row for row in compared.to_dict("records") if row["condition"] == "sham" and row["measure"] == "evoked_hz"]
    control = f"sham {sham[0]['difference']:+.3f} Hz" if sham else ""
    for row in compared.to_dict("records"):
        if row["where"] != "others" or row["measure"] != "evoked_hz" or row["condition"] == "sham":
            continue
        p, ours = float(row["p_holm"]), f"{row['difference']:+.3f} Hz in the first 300 ms"
        test = f"t over {row['units']} matched units, Holm"
        numbers = (p, float(row["effect"]), float(row["effect_low"]), float(row["effect_high"]))
        words = f"{row['condition']}: the rest of the brain answers"
        made.append(
            Claim(words, "shown for another model, without figures", ours, verdict(p, row["difference"] > 0), test,
                  *numbers, control)
        )  # fmt: skip
    for row in spread.to_dict("records"):
        if np.isfinite(row["rho"]):
            seen = verdict(float(row["p"]), bool(row["rho"] > 0))
            test = f"Spearman over {row['answered']} regions (which are not independent)"
            words, ours = f"{row['condition']}: farther regions answer later", f"rank correlation {row['rho']:+.2f}"
            held = (
                f"distance from another place {row['rho_elsewhere']:+.2f}" if np.isfinite(row["rho_elsewhere"]) else ""
            )
            rho = float(row["rho"])
            made.append(Claim(words, "not published", ours, seen, test, float(row["p"]), rho, control=held))
    return tuple(made)


def charts(panels: tuple[str, ...]) -> tuple[Chart, ...]:
    """Return the figures.

    Examples
    --------
    >>> [chart.name for chart in charts(("pulses",))]
    ['stimulate-course', 'stimulate-latency', 'stimulate-answers', 'stimulate-rhythm']
    """
    return (
        Chart(
            "stimulate-course", "What a pulse evokes", "curve", "course", "time_ms", panels, "group",
            {**_LABELS, **{name: f"{name}: evoked rate, Hz" for name in panels}}, log_y=True,
            caption="Rate minus that of the unstimulated control with the same noise, mean over pulses, members and "
            "seeds; regions in quarters of their distance along the connectome. The scale is logarithmic, except near "
            "0; the sham has another noise and no pulse.",
            alt="Evoked rate against time for the stimulated and for nearer and farther regions.",
        ),
        Chart(
            "stimulate-latency", "How fast it spreads", "scatter", "latency", "distance", ("latency_ms",), "condition",
            _LABELS, log_x=True,
            caption="One point per region that rises 4 standard deviations above its baseline for two bins of 10 ms.",
            alt="Latency of every region against its distance along the connectome.",
        ),
        Chart(
            "stimulate-answers", "Who answers", "forest", "compared_rates", "condition", ("difference",), "where",
            {"difference": "evoked rate in the first 300 ms, Hz"}, reference={"difference": (0.0, "none")},
            caption="Mean over matched units with the 95 % bootstrap interval.",
            alt="One row per condition with the evoked rate of stimulated and of other regions.",
        ),
        Chart(
            "stimulate-rhythm", "Who follows a rhythm", "scatter", "rhythm", "distance", ("gain",), "condition",
            _LABELS, caption="Amplitude of the rate at the stimulus frequency, above that of the control; one point "
            "per region and seed.",
            alt="Amplitude at the stimulation frequency against distance along the connectome.",
        ),
    )  # fmt: skip
