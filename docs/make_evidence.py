"""Make the tables and the figure of docs/evidence.md: python docs/make_evidence.py [VALIDATION_FOLDER].

The folder is what `twinbrain validate` filled; the commands stand at the end of docs/evidence.md. Its rows are kept in
docs/evidence_cells.csv, so that the page can be made anew without the folder. The linear predictions of all people are
computed here (a minute or two) and kept in docs/evidence_linear.csv; delete that file to compute them again.
Writes docs/evidence_*.inc and docs/images/evidence_copy.svg.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr

import twinbrain as tb
from twinbrain.assimilate.effective import effective_connectivity
from twinbrain.experiment.summary import CHOSEN, collect
from twinbrain.experiment.validate import input_regions

HERE = Path(__file__).parent
BLUE, GREEN, GREY = "#0072B2", "#00795c", "#6b7280"
SCORES = {
    "bold_pcc_inputs": "inputs",
    "bold_pcc_noninputs": "others",
    "over_copy": "over the copy (95 %)",
    "fc_pcc": "FC PCC",
    "fc_fnorm_rms": "F-norm (RMS)",
    "fc_mean": "mean FC (recorded)",
}


def linear(file: Path) -> pd.DataFrame:
    """Noiseless linear prediction of the half not used for fitting, five inputs: one row per person and predictor."""
    if file.exists():
        return pd.read_csv(file, dtype={"person": str})
    rows = []
    for name in tb.sample_ids():
        person = tb.load_sample(name)
        bold, brain = person.bold["rest"], tb.Brain.from_subject(person)
        inputs = input_regions("five", brain.regions)
        for weight, label in ((0.0, "effective, courses in time only"), (0.5, "effective, with the pattern of FC")):
            found = effective_connectivity(brain, bold, inputs, fc_weight=weight).prediction.xs("test", level="part")
            known = {"copy_inputs": "copy of the inputs", "anatomy": "anatomy"} if weight == 0.0 else {}
            for predictor, title in (known | {"effective": label}).items():
                line = found.loc[predictor]
                rows.append((name, title, line["pcc_noninputs"], line["fc_pcc"], line["fc_rms"]))
        rows.append((name, "regression without a connectome", *regression(bold, inputs)))
    table = pd.DataFrame(rows, columns=["person", "predictor", "pcc_noninputs", "fc_pcc", "fc_rms"])
    table.round(4).to_csv(file, index=False)
    return table


def regression(bold: xr.DataArray, inputs: Sequence[str], margin: int = 10) -> tuple[float, float, float]:
    """Least squares of every other region on the inputs, first half to second: what ten inputs say at one moment."""
    x = tb.band_pass(bold, float(bold.attrs["repetition_time_s"])).transpose("time", "region")
    given = x["region"].isin(list(inputs)).values
    half = len(x) // 2
    parts = [x.values[margin : half - margin], x.values[half + margin : -margin]]
    train, test = ((part - part.mean(axis=0)) / part.std(axis=0) for part in parts)
    predicted = test.copy()
    predicted[:, ~given] = test[:, given] @ np.linalg.lstsq(train[:, given], train[:, ~given], rcond=None)[0]
    upper = np.triu_indices(x.shape[1], 1)
    a, b = (np.corrcoef(z.T)[upper] for z in (predicted, test))
    pcc = [np.corrcoef(predicted[:, j], test[:, j])[0, 1] for j in np.flatnonzero(~given)]
    return float(np.mean(pcc)), float(np.corrcoef(a, b)[0, 1]), float(np.sqrt(np.mean((a - b) ** 2)))


def cells(folder: Path | None, file: Path) -> pd.DataFrame:
    """Rows of all stored cells, from the folder of a validation or as kept."""
    if folder is not None:
        rows = collect(folder).drop(columns=["inputs_seen", "others_seen"])
        rows.round(4).to_csv(file, index=False)
    return pd.read_csv(file, dtype={"person": str})


def select(rows: pd.DataFrame, what: str, **settings: str) -> pd.DataFrame:
    """Rows of one kind under given settings, one per person (the largest network)."""
    kept = rows[rows["what"] == what]
    for name, value in settings.items():
        kept = kept[kept[name] == value]
    largest = kept.sort_values("neurons_per_region").drop_duplicates("person", keep="last")
    return largest.set_index("person").sort_index()


def number(value: float) -> str:
    """Write a figure, or a dash where it is not defined."""
    return f"{value:.3f}" if np.isfinite(value) else "-"


def groups(values: pd.Series) -> str:
    """Means of the chosen / the confirming / all people."""
    chosen = values.index.isin(CHOSEN)
    return " / ".join(number(float(part.mean())) for part in (values[chosen], values[~chosen], values))


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def interval(values: pd.Series, draws: int = 10_000) -> tuple[float, float]:
    """95 % interval of a mean over resampled people; none for fewer than 3."""
    if len(values) < 3:
        return float("nan"), float("nan")
    random = np.random.Generator(np.random.Philox(key=np.array([0, 7], np.uint64)))
    means = values.to_numpy()[random.integers(0, len(values), size=(draws, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def per_person(blocks: dict[str, pd.DataFrame], columns: Sequence[str]) -> str:
    """One line per person and block, then the mean over people with the interval of the mean lead."""

    def written(values: pd.Series, low: float, high: float) -> list[str]:
        made = [number(float(values[c])) for c in columns]
        if np.isfinite(values["over_copy"]):
            made[list(columns).index("over_copy")] = f"{values['over_copy']:+.3f} ({low:+.3f} to {high:+.3f})"
        at = list(columns).index("fc_mean")
        made[at] += f" ({number(float(values['recorded']))})"
        return made

    lines = []
    for title, block in blocks.items():
        for person, row in block.iterrows():
            group = "chosen" if person in CHOSEN else "confirms"
            size = f"{row['neurons_per_region']:,.0f}" if np.isfinite(row["neurons_per_region"]) else "-"
            lines.append(
                [title, f"{person} ({group})", size, *written(row, row["over_copy_low"], row["over_copy_high"])]
            )
        if len(block) > 1:
            mean = block[[*columns, "recorded"]].mean()
            made = written(mean, *interval(block["over_copy"].dropna()))
            lines.append([f"**{title}**", f"**mean of {len(block)}**", "", *(f"**{x}**" for x in made)])
    return markdown(["twin", "person", "n", *(SCORES[c] for c in columns)], lines)


def tables(rows: pd.DataFrame, predicted: pd.DataFrame) -> dict[str, str]:
    """Every table that the page includes."""
    here = {"inputs": "five", "connectivity": "effective", "circuit": "canonical", "method": "inverse"}
    names = {
        "copy": "copy_inputs",
        "noiseless": "ideal_linear",
        "spiking": "free run",
        "spiking, private": "private variability",
    }
    columns = ["bold_pcc_inputs", "bold_pcc_noninputs", "over_copy", "fc_pcc", "fc_fnorm_rms", "fc_mean"]
    recorded = select(rows, "recording", **here)["fc_mean"]
    blocks = {title: select(rows, what, **here).assign(recorded=recorded) for title, what in names.items()}
    lines = []
    for title, block in predicted.groupby("predictor", sort=False):
        each = block.set_index("person")
        lines.append([str(title), *(groups(each[c]) for c in ("pcc_noninputs", "fc_pcc", "fc_rms"))])
    head = ["prediction of the held-out half", "PCC, regions without input", "FC PCC", "F-norm (RMS)"]
    return {
        "evidence_effective": per_person(blocks, columns),
        "evidence_linear": markdown(head, lines),
    }


def draw(rows: pd.DataFrame, predicted: pd.DataFrame, file: Path) -> None:
    """Draw copy against model: every person, and the means."""
    mpl.rcParams |= {"svg.hashsalt": "twinbrain", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    mpl.rcParams |= {"axes.titlelocation": "left", "axes.titlesize": 9.5}
    here = {"inputs": "five", "connectivity": "effective", "circuit": "canonical", "method": "inverse"}
    noiseless = {
        "copy of the inputs": "copy of the inputs",
        "anatomy": "anatomy, noiseless",
        "effective, with the pattern of FC": "effective, noiseless",
        "regression without a connectome": "regression, no connectome",
    }
    by = predicted.set_index("person")
    lines = [(title, by[by["predictor"] == name]["pcc_noninputs"], GREY) for name, title in noiseless.items()]
    border = len(lines)
    for title, what, colour in (
        ("copy, volumes of the runs", "copy_inputs", GREY),
        ("spiking twin, effective", "free run", BLUE),
        ("with private variability", "private variability", GREEN),
    ):
        lines.append((title, select(rows, what, **here)["bold_pcc_noninputs"], colour))
    figure, axis = plt.subplots(figsize=(7.4, 3.1), layout="constrained")
    for at, (_, values, colour) in enumerate(lines):
        chosen = values.index.isin(CHOSEN)
        axis.plot(values[chosen], np.full(chosen.sum(), at), "o", color=colour, ms=4.5)
        axis.plot(values[~chosen], np.full((~chosen).sum(), at), "o", color=colour, mfc="white", ms=4.5)
        axis.plot([values.mean()] * 2, [at - 0.32, at + 0.32], color=colour, lw=2)
        said = f"{values.mean():.2f} ({len(values)} people)"
        axis.annotate(said, (1.01, at), xycoords=("axes fraction", "data"), va="center", color=colour)
    axis.axhline(border - 0.5, color="#d1d5db", lw=0.8)
    axis.set(yticks=range(len(lines)), yticklabels=[title for title, _, _ in lines], ylim=(len(lines) - 0.4, -0.6))
    axis.set_xlabel("BOLD r, regions without input, half that was not used for fitting")
    axis.set_title("filled: people who chose the settings; rings: who confirm; bars: means")
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, metadata={"Date": None, "Creator": None}, facecolor="white")


def main(argv: list[str] | None = None) -> None:
    """Compute everything and write it into docs/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    options = parser.parse_args(argv)
    rows, predicted = cells(options.folder, HERE / "evidence_cells.csv"), linear(HERE / "evidence_linear.csv")
    for name, text in tables(rows, predicted).items():
        (HERE / f"{name}.inc").write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}\n{text}\n")
    draw(rows, predicted, HERE / "images" / "evidence_copy.svg")


if __name__ == "__main__":
    main()
