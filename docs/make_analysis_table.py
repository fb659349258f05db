"""Compute the tables of docs/analysis.md on the seven sample people: python docs/make_analysis_table.py [--nulls N].

Writes docs/analysis_people.inc (every measure, its spread over people, its surrogates), docs/analysis_ceilings.inc (how
alike halves, people, structure and function are) and docs/images/analysis_*.svg. It takes two to three minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

import twinbrain as tb

HERE = Path(__file__).parent
LEFT_OUT = ("collapse_residual", "crackling_predicted", "largest_ratio", "duration_vs_exponential", "timescale_s")


def measure(people: dict[str, tb.Subject], nulls: int) -> dict[str, tb.Analysis]:
    """Analyse the recording of each person."""
    return {name: tb.analyse(person, nulls=nulls, seed=1) for name, person in people.items()}


def table_of_people(found: dict[str, tb.Analysis]) -> pd.DataFrame:
    """One row per measure: median and range over people, median of the surrogates, people below p = 0.05, note."""
    columns = {}
    for column in ("value", "null_mean", "p_value"):
        columns[column] = pd.DataFrame({name: one.table[column] for name, one in found.items()})
    value, null, p = columns["value"], columns["null_mean"], columns["p_value"]
    order = next(iter(found.values())).table.index
    rows = pd.DataFrame(
        {
            "median": value.median(axis=1),
            "lowest": value.min(axis=1),
            "highest": value.max(axis=1),
            "surrogates": null.median(axis=1),
            "below": (p < 0.05).sum(axis=1),
            "tested": p.notna().sum(axis=1),
            "note": next(iter(found.values())).table["note"].str.split(";").str[0],
        }
    )
    return rows.loc[[name for name in order if name not in LEFT_OUT]]


def structure_and_function(people: dict[str, tb.Subject]) -> dict[str, float]:
    """Pearson correlation over pairs of log connectome and FC: of the group, and of each person."""
    structure, function = [], []
    for person in people.values():
        bold = person.bold["rest"]
        names = bold["region"].values
        upper = np.triu_indices(len(names), 1)
        weights = person.connectome.transpose("target", "source").sel(target=names, source=names)
        structure.append(np.log1p(weights.to_numpy()[upper]))
        function.append(tb.functional_connectivity(bold).to_numpy()[upper])
    each = [float(np.corrcoef(s, f)[0, 1]) for s, f in zip(structure, function, strict=True)]
    group = float(np.corrcoef(np.mean(structure, axis=0), np.mean(function, axis=0))[0, 1])
    return {"group": group, "lowest": min(each), "highest": max(each)}


def ceilings(people: dict[str, tb.Subject], found: dict[str, tb.Analysis], nulls: int) -> pd.DataFrame:
    """How alike functional connectivities can be: halves of a person, people, structure and function."""
    passed = {name: tb.band_pass(one.bold["rest"], 0.72) for name, one in people.items()}
    halves = [one.table.loc["fc_split_half", "value"] for one in found.values()]
    rows = [("two halves of one person's recording", np.mean(halves), np.min(halves), np.max(halves), np.nan)]
    labels = {
        "fc_pcc_pairs": "two people",
        "fc_pcc_to_others": "a person and the mean of the others",
        "fc_pcc_to_all": "a person and the mean of all",
    }
    for kind, partial in (("", False), (", partial correlations", True)):
        between = tb.between_subject_ceiling(passed, partial=partial, nulls=nulls, seed=1).table
        for name, label in labels.items():
            line = between.loc[name]
            rows.append((label + kind, line["value"], line["low"], line["high"], line["null_mean"]))
    both = structure_and_function(people)
    rows.append(("connectome (log) and functional connectivity, group", both["group"], np.nan, np.nan, np.nan))
    each = (both["lowest"] + both["highest"]) / 2
    rows.append(("the same, one person (middle of the range)", each, both["lowest"], both["highest"], np.nan))
    return pd.DataFrame(rows, columns=["what", "value", "low", "high", "surrogates"]).set_index("what")


def number(value: float) -> str:
    """Write three significant digits; nothing for what is not defined."""
    if not np.isfinite(value):
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def written(people: pd.DataFrame) -> str:
    """Write the table of people in Markdown."""
    lines = ["| measure | median | range over people | surrogates | p < 0.05 | what |", "|---|--:|:-:|--:|:-:|---|"]
    for name, row in people.iterrows():
        below = f"{row['below']} of {row['tested']}" if row["tested"] else ""
        spread = f"{number(row['lowest'])} to {number(row['highest'])}"
        note = str(row["note"]).replace("|", "\\|")
        cells = f"{number(row['median'])} | {spread} | {number(row['surrogates'])} | {below} | {note}"
        lines.append(f"| `{name}` | {cells} |")
    return "\n".join(lines) + "\n"


def written_ceilings(table: pd.DataFrame) -> str:
    """Write the ceilings in Markdown."""
    lines = ["| alike are | r | interval or range | labels shuffled |", "|---|--:|:-:|--:|"]
    for name, row in table.iterrows():
        spread = f"{row['low']:.2f} to {row['high']:.2f}" if np.isfinite(row["low"]) else ""
        null = f"{row['surrogates']:.2f}" if np.isfinite(row["surrogates"]) else ""
        lines.append(f"| {name} | {row['value']:.2f} | {spread} | {null} |")
    return "\n".join(lines) + "\n"


def draw(one: tb.Analysis, folder: Path) -> None:
    """Draw the figures of one person as the report does."""
    from twinbrain.report.analysis import fill
    from twinbrain.report.blocks import Section

    section = Section("analysis", "Analysis")
    fill(section, one.to_dataset(), one.flat())
    folder.mkdir(exist_ok=True)
    for picture in section.pictures:
        (folder / f"analysis_{picture.name}.svg").write_text(picture.standalone(), encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """Compute everything and write it into docs/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nulls", type=int, default=50)
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args(argv)
    begun = time.perf_counter()
    people = {name: tb.load_sample(name) for name in tb.sample_ids()}
    found = measure(people, options.nulls)
    (options.out / "analysis_people.inc").write_text(written(table_of_people(found)), encoding="utf-8")
    alike = ceilings(people, found, options.nulls)
    (options.out / "analysis_ceilings.inc").write_text(written_ceilings(alike), encoding="utf-8")
    draw(found[tb.sample_ids()[0]], options.out / "images")
    sys.stdout.write(f"{written_ceilings(alike)}{time.perf_counter() - begun:.0f} s\n")


if __name__ == "__main__":
    main()
