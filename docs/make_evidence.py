"""Make the tables and figures of docs/evidence.md: python docs/make_evidence.py VALIDATION_FOLDER.

The folder is what `twinbrain validate` filled; the commands stand at the end of docs/evidence.md. Every figure of that
page comes from a stored cell, or from the linear predictions that are computed here (a minute) and kept beside the
cells as linear.csv. Writes docs/evidence_*.inc and docs/images/evidence_*.svg.
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
from twinbrain.experiment.evidence import size_law
from twinbrain.experiment.summary import CHOSEN, collect
from twinbrain.experiment.validate import input_regions

HERE = Path(__file__).parent
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#00795c", "#6b7280"
TR = 0.72
SCORES = {
    "bold_pcc_inputs": "inputs",
    "bold_pcc_noninputs": "others",
    "over_copy": "over the copy",
    "fc_pcc": "FC PCC",
    "fc_fnorm_rms": "F-norm (RMS)",
    "fc_mean": "mean FC",
}


# ---- what is shown ---------------------------------------------------------------------------------------------------


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
    table.to_csv(file, index=False)
    return table


def regression(bold: xr.DataArray, inputs: Sequence[str], margin: int = 10) -> tuple[float, float, float]:
    """Least squares of every other region on the inputs, first half to second: what ten inputs say at one moment."""
    x = tb.band_pass(bold, TR).transpose("time", "region")
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


def select(rows: pd.DataFrame, what: str, **settings: str) -> pd.DataFrame:
    """Rows of one kind under given settings, one per person (the largest network)."""
    kept = rows[(rows["what"] == what) & (rows["volumes"] >= 300)]
    for name, value in settings.items():
        kept = kept[kept[name] == value]
    return (
        kept.sort_values("neurons_per_region").drop_duplicates("person", keep="last").set_index("person").sort_index()
    )


def number(value: float, digits: int = 3) -> str:
    """Write a figure, or a dash where it is not defined."""
    return "-" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"


def groups(values: pd.Series) -> str:
    """Means of the chosen / the confirming / all people."""
    chosen = values.index.isin(CHOSEN)
    parts = [values[chosen], values[~chosen], values]
    return " / ".join(number(float(p.mean())) if len(p) else "-" for p in parts)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def per_person(blocks: dict[str, pd.DataFrame], columns: Sequence[str]) -> str:
    """One line per person and block, then the means of the groups, with the interval of the mean lead."""
    lines = []
    for title, block in blocks.items():
        for person, row in block.iterrows():
            cells = [number(row[c]) for c in columns]
            if "over_copy" in columns and np.isfinite(row["over_copy"]):
                at = list(columns).index("over_copy")
                cells[at] = f"{row['over_copy']:+.3f} ({row['over_copy_low']:+.3f} to {row['over_copy_high']:+.3f})"
            lines.append([title, str(person), *cells])
        if len(block) > 1:
            cells = [number(float(block[c].astype(float).mean())) for c in columns]
            if "over_copy" in columns and block["over_copy"].notna().any():
                low, high = people_interval(block["over_copy"].to_numpy(np.float64))
                at = list(columns).index("over_copy")
                cells[at] = f"{block['over_copy'].mean():+.3f} ({low:+.3f} to {high:+.3f})"
            lines.append([f"**{title}**", f"**mean of {len(block)}**", *(f"**{c}**" if c != "-" else c for c in cells)])
    return markdown(["twin", "person", *(SCORES.get(c, c.replace("_", " ")) for c in columns)], lines)


def people_interval(values: np.ndarray, draws: int = 10_000) -> tuple[float, float]:
    """95 % interval of a mean over resampled people."""
    if len(values) < 3:
        return float("nan"), float("nan")
    random = np.random.Generator(np.random.Philox(key=np.array([0, 7], np.uint64)))
    means = values[random.integers(0, len(values), size=(draws, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


# ---- tables ----------------------------------------------------------------------------------------------------------


def tables(rows: pd.DataFrame, predicted: pd.DataFrame) -> dict[str, str]:
    """Every table that the page includes."""
    made = {}
    plain = {"method": "inverse", "connectivity": "anatomy"}
    columns = ["bold_pcc_inputs", "bold_pcc_noninputs", "fc_pcc", "fc_fnorm_rms", "fc_pcc_other_half"]
    names = {"thalamus": "both thalami", "five": "five regions, both sides", "all": "all 94 regions"}
    for circuit in ("canonical", "laminar"):
        lines = []
        for which, title in names.items():
            run = select(rows, "free run", inputs=which, circuit=circuit, **plain)
            if run.empty:
                continue
            ideal, copy = (
                select(rows, w, inputs=which, circuit=circuit, **plain) for w in ("ideal_linear", "copy_inputs")
            )
            half = select(rows, "recording", inputs=which, circuit=circuit, **plain)["fc_pcc_other_half"]
            cells = [groups(run[c].astype(float)) for c in columns]
            base = [groups(b["bold_pcc_noninputs"].astype(float)) if len(b) else "-" for b in (copy, ideal)]
            people = f"{len(run)} ({int(run.index.isin(CHOSEN).sum())} + {int((~run.index.isin(CHOSEN)).sum())})"
            lines.append([title, people, *cells[:2], *base, *cells[2:], groups(half.astype(float))])
        head = ["inputs", "people", "PCC of the inputs", "PCC of the others", "copy", "ideal linear", "FC PCC"]
        head += ["F-norm (RMS)", "FC, other half", "recorded FC, other half"]
        made[f"evidence_{circuit}"] = markdown(head, lines) if lines else "*(no cell yet)*\n"
    people = {
        title: select(rows, "free run", inputs=which, circuit=circuit, **plain)
        for circuit in ("canonical", "laminar")
        for which, title in ((w, f"{circuit}, {t}") for w, t in names.items())
    }
    made["evidence_people"] = per_person(
        {k: v for k, v in people.items() if len(v)},
        ["bold_pcc_inputs", "bold_pcc_noninputs", "of_ideal", "fc_pcc", "fc_fnorm_rms", "fc_pcc_other_half"],
    )
    blocks = {
        "anatomy": select(rows, "free run", inputs="five", circuit="canonical", **plain),
        "effective": select(rows, "free run", inputs="five", connectivity="effective", circuit="canonical"),
        "effective, private variability": select(
            rows, "private variability", inputs="five", connectivity="effective", circuit="canonical"
        ),
        "recording": select(rows, "recording", inputs="five", connectivity="effective", circuit="canonical"),
    }
    made["evidence_effective"] = per_person(
        blocks, ["bold_pcc_inputs", "bold_pcc_noninputs", "over_copy", "fc_pcc", "fc_fnorm_rms", "fc_mean"]
    )
    lines = []
    for title, block in predicted.groupby("predictor", sort=False):
        block = block.set_index("person")
        lines.append([title, *(groups(block[c]) for c in ("pcc_noninputs", "fc_pcc", "fc_rms"))])
    head = ["prediction of the held-out half", "PCC, regions without input", "FC PCC", "F-norm (RMS)"]
    made["evidence_linear"] = markdown(head, lines)
    made["evidence_sizes"] = sizes(rows)
    made["evidence_fifths"] = fifths(rows)
    made["evidence_methods"] = methods(rows)
    made["evidence_nulls"] = nulls(rows)
    return made


def sizes(rows: pd.DataFrame) -> str:
    """Correlation of the regions without input against size, the law of the smaller sizes and what it predicted."""
    lines = []
    for (person, which), block in law_cells(rows):
        ideal = float(block["ideal"].iloc[0])
        n, r = block["neurons_per_region"].to_numpy(float), block["bold_pcc_noninputs"].to_numpy(float)
        small = n <= 1000
        expected = "-"
        p, c = size_law(n[small], r[small])
        for size in n[~small]:
            expected = number(p / np.sqrt(1 + c / size))
        found = ", ".join(f"{int(a):,}: {b:.3f}" for a, b in zip(n, r, strict=True))
        largest = number(r[-1] / ideal)
        lines.append([person, which, found, number(p), f"{c:.0f}", expected, number(ideal), largest])
    head = ["person", "inputs", "PCC of the others at n", "P (n <= 1,000)", "c", "predicted for the largest n"]
    return markdown([*head, "ideal linear", "largest n / ideal"], lines) if lines else "*(no cell yet)*\n"


def law_cells(rows: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """Free runs of every person and set of inputs that has been run at three sizes or more."""
    kept = rows[(rows["connectivity"] == "anatomy") & (rows["circuit"] == "canonical") & (rows["method"] == "inverse")]
    runs = kept[kept["what"].str.startswith("free run") & kept["neurons_per_region"].notna()]
    ideal = kept[kept["what"] == "ideal_linear"].drop_duplicates(["person", "inputs"])
    ideal = ideal.set_index(["person", "inputs"])["bold_pcc_noninputs"]
    found = []
    for key, block in runs.groupby(["person", "inputs"]):
        block = block.sort_values("neurons_per_region").drop_duplicates("neurons_per_region")
        if len(block) >= 3 and key in ideal.index:
            found.append((key, block.assign(ideal=ideal[key])))
    return found


def fifths(rows: pd.DataFrame) -> str:
    """Regions held out: the twin, ideal linear propagation, the copy."""
    kept = rows[rows["inputs"].str.startswith("fifth") & (rows["connectivity"] == "anatomy")]
    lines = []
    for person, block in kept.groupby("person"):
        by = block.pivot_table(index="inputs", columns="what", values="bold_pcc_noninputs")
        run = block[block["what"] == "free run"].set_index("inputs")
        lead = (
            f"{run['over_copy'].mean():+.3f} ({run['over_copy_low'].min():+.3f} to {run['over_copy_high'].max():+.3f})"
        )
        share = by["free run"] / by["ideal_linear"]
        cells = [f"{len(by)}", number(run["bold_pcc_inputs"].mean())]
        cells += [number(by[c].mean()) for c in ("free run", "ideal_linear", "copy_inputs")]
        lines.append([str(person), *cells, f"{share.mean():.3f} ({share.min():.3f} to {share.max():.3f})", lead])
    head = ["person", "fifths", "inputs", "held-out regions", "ideal linear", "copy", "of ideal (range)"]
    return markdown([*head, "over the copy (widest interval)"], lines) if lines else "*(no cell yet)*\n"


def methods(rows: pd.DataFrame) -> str:
    """Free runs under the drives of the three methods."""
    kept = rows[(rows["connectivity"] == "anatomy") & (rows["circuit"] == "canonical")]
    lines = []
    for person, which in kept[kept["method"] != "inverse"].groupby(["person", "inputs"]).groups:
        same = kept[(kept["person"] == person) & (kept["inputs"] == which)]
        for method, what, title in (
            ("inverse", "free run", "`inverse`"),
            ("vw-dhmda", "free run", "`vw-dhmda`, smoothed"),
            ("vw-dhmda", "filter mean, unsmoothed", "`vw-dhmda`, filter mean as published"),
            ("esmda", "free run", "`esmda`"),
        ):
            row = same[(same["method"] == method) & (same["what"] == what)]
            if len(row):
                row = row.iloc[-1]
                cells = [number(row[c]) for c in ("bold_pcc_inputs", "bold_pcc_noninputs")]
                lines.append([str(person), which, title, f"{int(row['volumes'])}", *cells])
    head = ["person", "inputs", "drive", "volumes", "PCC of the inputs, free run", "PCC of the others"]
    return markdown(head, lines) if lines else "*(no cell yet)*\n"


def nulls(rows: pd.DataFrame) -> str:
    """The spiking nulls beside the run whose null they are."""
    lines = []
    cells_with = rows[rows["what"] == "time_shifted_input"][["person", "inputs", "connectivity"]].drop_duplicates()
    for _, key in cells_with.iterrows():
        same = rows[(rows[list(key.index)] == key).all(axis=1) & (rows["method"] == "inverse")]
        for what, title in (
            ("free run", "as fitted"),
            ("time_shifted_input", "shifted by half the recording"),
            ("constant_input", "held at its mean"),
        ):
            row = same[same["what"] == what].sort_values("neurons_per_region").iloc[-1]
            cells = [number(row[c]) for c in ("bold_pcc_inputs", "bold_pcc_noninputs", "fc_pcc", "fc_fnorm_rms")]
            lines.append([f"{key['person']}, {key['inputs']}, {key['connectivity']}", title, *cells])
    head = ["twin", "input", "PCC of the inputs", "PCC of the others", "FC PCC", "F-norm (RMS)"]
    return markdown(head, lines) if lines else "*(no cell yet)*\n"


# ---- figures ---------------------------------------------------------------------------------------------------------


def draw(rows: pd.DataFrame, predicted: pd.DataFrame, folder: Path) -> None:
    """Draw the finite-size law, and copy against model."""
    mpl.rcParams |= {"svg.hashsalt": "twinbrain", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    mpl.rcParams |= {"axes.titlelocation": "left", "axes.titlesize": 9.5}
    folder.mkdir(exist_ok=True)
    cells = law_cells(rows)
    if cells:
        figure, axis = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
        for ((person, which), block), colour in zip(cells, (BLUE, ORANGE, GREEN, GREY) * 5, strict=False):
            n, r = block["neurons_per_region"].to_numpy(float), block["bold_pcc_noninputs"].to_numpy(float)
            p, c = size_law(n[n <= 1000], r[n <= 1000])
            fine = np.geomspace(50, 3e4, 100)
            axis.plot(fine, p / np.sqrt(1 + c / fine), color=colour, lw=1.2)
            axis.plot(n[n <= 1000], r[n <= 1000], "o", color=colour, label=f"{person}, {which}")
            axis.plot(n[n > 1000], r[n > 1000], "o", mfc="white", color=colour)
            axis.plot([1.2e4, 3e4], [block["ideal"].iloc[0]] * 2, color=colour, lw=1, ls=":")
        axis.set(
            xscale="log", xlabel="neurons per region", ylabel="BOLD r of the regions without input", xlim=(50, 3e4)
        )
        axis.set_title("law fitted to filled points; rings: predicted sizes; dotted: noiseless propagation")
        axis.legend(frameon=False, loc="lower right")
        save(figure, folder / "evidence_law.svg")
    parts = [
        ("copy of the inputs", predicted[predicted["predictor"] == "copy of the inputs"], GREY, "linear"),
        ("anatomy, noiseless", predicted[predicted["predictor"] == "anatomy"], GREY, "linear"),
        ("effective, noiseless", predicted[predicted["predictor"].str.contains("pattern of FC")], GREY, "linear"),
        ("regression, no connectome", predicted[predicted["predictor"].str.startswith("regression")], GREY, "linear"),
    ]
    lines = [(title, block.set_index("person")["pcc_noninputs"], colour) for title, block, colour, _ in parts]
    for title, settings, colour in (
        ("copy, same volumes", {"connectivity": "effective", "what": "copy_inputs"}, GREY),
        ("twin, anatomy", {"connectivity": "anatomy", "what": "free run"}, ORANGE),
        ("twin, effective", {"connectivity": "effective", "what": "free run"}, BLUE),
    ):
        what = settings.pop("what")
        found = select(rows, what, inputs="five", circuit="canonical", method="inverse", **settings)
        if len(found):
            lines.append((title, found["bold_pcc_noninputs"], colour))
    figure, axis = plt.subplots(figsize=(7.2, 2.9), layout="constrained")
    for at, (_, values, colour) in enumerate(lines[::-1]):
        chosen = values.index.isin(CHOSEN)
        axis.plot(values[chosen], np.full(chosen.sum(), at), "o", color=colour, ms=4.5)
        axis.plot(values[~chosen], np.full((~chosen).sum(), at), "o", color=colour, mfc="white", ms=4.5)
        axis.plot([values.mean()] * 2, [at - 0.32, at + 0.32], color=colour, lw=2)
        axis.annotate(
            f"{values.mean():.2f} ({len(values)})", (1.0, at), xycoords=("axes fraction", "data"), va="center"
        )
    axis.set(
        yticks=range(len(lines)),
        yticklabels=[title for title, _, _ in lines[::-1]],
        xlabel="BOLD r, regions without input",
    )
    axis.set_title("five inputs, held-out half; filled: people who chose the settings, rings: who confirm; bar: mean")
    axis.axhline(len(lines) - len(parts) - 0.5, color="#d1d5db", lw=0.8)
    save(figure, folder / "evidence_copy.svg")


def save(figure: plt.Figure, file: Path) -> None:
    """Write a figure without dates."""
    figure.savefig(file, metadata={"Date": None, "Creator": None}, facecolor="white", dpi=200)
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    """Compute everything and write it into docs/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args(argv)
    rows, predicted = collect(options.folder), linear(options.folder / "linear.csv")
    for name, text in tables(rows, predicted).items():
        (options.out / f"{name}.inc").write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}\n{text}\n")
    draw(rows, predicted, options.out / "images")


if __name__ == "__main__":
    main()
