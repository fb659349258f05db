"""Draw docs/images/overview.svg from the results folder of a demo: python docs/make_overview.py demo."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from twinbrain.analyse.filtering import band_pass
from twinbrain.store import load

BLUE, ORANGE, GREY = "#0b72b5", "#d55e00", "#6b7280"
NAMES = {
    "copy_inputs": "copy of the inputs",
    "ideal_linear": "ideal linear spread",
    "ridge_from_inputs": "ridge from the inputs",
    "phase_randomised": "twin, phases randomised",
}


def main(folder: Path, out: Path) -> None:
    """Draw three panels: BOLD of an input, spikes, and the score beside its baselines."""
    result = load(folder)
    recorded, twin, scores = result.groups["recorded"], result.groups["twin"], result.scores
    mpl.rcParams |= {"svg.hashsalt": "twinbrain", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    mpl.rcParams |= {"axes.titlelocation": "left", "axes.titlesize": 9.5}
    figure = plt.figure(figsize=(8.6, 4.6), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1.5])
    inputs, band, tr = scores["inputs"][:2], tuple(scores["band_hz"]), scores["repetition_time_s"]
    times = twin["time"].values[scores["discard"] :]
    for place, axis in zip(inputs, top.subplots(1, len(inputs), sharey=True, squeeze=False)[0], strict=True):
        drawn = []
        for series, colour, label in ((recorded["bold"], GREY, "recorded"), (twin["bold"], BLUE, "twin, free run")):
            whole = series.sel(region=[place]).transpose("time", "region")
            if label == "recorded":  # over its whole length, then cut; the twin as it is: what is scored
                whole = band_pass(whole, tr, band)
            z = whole.sel(time=times, method="nearest").values[:, 0]
            drawn.append((z - z.mean()) / z.std())
            axis.plot(times, drawn[-1], color=colour, lw=1.5, label=label)
        r = np.corrcoef(*drawn)[0, 1]
        axis.set(title=f"BOLD of {place} (r = {r:.2f})", xlabel="time (s)", xlim=(times[0], times[-1]))
    top.legend(*axis.get_legend_handles_labels(), frameon=False, ncols=2, loc="outside upper right")

    left, right = bottom.subplots(1, 2, width_ratios=[1.35, 1])
    neurons, row = np.unique(twin["spike_neuron"].values, return_inverse=True)
    for sign, colour, label in ((1, BLUE, "excitatory"), (-1, ORANGE, "inhibitory")):
        mine = twin["spike_sign"].values == sign
        x = twin["spike_time_ms"].values[mine] - twin["spike_time_ms"].values.min()
        left.plot(x, row[mine], ".", color=colour, ms=1.8, mew=0, label=label, rasterized=True)
    left.set(title=f"spikes of {len(neurons)} neurons", xlabel="time (ms)", yticks=[], ylabel="neuron")
    left.legend(frameon=False, ncols=2, markerscale=5, loc="lower right", bbox_to_anchor=(1.03, 0.98))

    rows = [("twin", scores["bold_pcc_noninputs"])]
    rows += [(label, scores["baselines"][key]["bold_pcc_noninputs"]) for key, label in NAMES.items()]
    rows = [(label, value) for label, value in rows if value is not None][::-1]
    for k, (label, value) in enumerate(rows):
        colour = BLUE if label == "twin" else GREY
        right.plot([0, value], [k, k], color=colour, lw=1.6)
        right.plot(value, k, "o", color=colour)
        right.annotate(f"{value:.2f}", (max(value, 0), k), (8, 0), textcoords="offset points", va="center")
    right.set(yticks=range(len(rows)), yticklabels=[label for label, _ in rows], xlim=(-0.05, 0.55))
    right.set(title="BOLD r, regions that are no inputs", xlabel="Pearson r")
    right.axvline(0, color="#d1d5db", lw=0.8, zorder=0)

    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, metadata={"Date": None, "Creator": None}, facecolor="white", dpi=200)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent / "images" / "overview.svg")
