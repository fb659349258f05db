"""The summary of a validation: means over people, those who chose the settings apart from those who confirm them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from twinbrain import store
from twinbrain.data.sample import sample_ids

__all__ = ["CHOSEN", "collect", "summarise"]

CHOSEN = sample_ids()[:3]
"""The people on whom settings were chosen; the other four confirm."""

_BY = ("inputs", "method", "circuit", "connectivity", "part", "volumes", "what", "neurons_per_region")
_SCORES = (
    "bold_pcc_inputs",
    "bold_pcc_noninputs",
    "over_copy",
    "fc_pcc",
    "fc_pcc_noninputs",
    "fc_fnorm_rms",
    "fc_mean",
    "fc_pcc_other_half",
    "refiltered_pcc_inputs",
    "of_ideal",
)
_DRAWS = 10_000


def collect(root: str | Path) -> pd.DataFrame:
    """Return all rows of all stored cells of a validation, with the cell's settings as columns.

    Parameters
    ----------
    root
        Folder of the validation.

    Returns
    -------
    DataFrame
        Columns person, inputs, method, circuit, connectivity, part, volumes, those of an evidence table, ``of_ideal``
        (PCC of the regions without input over that of ideal linear propagation in the same cell) and ``law_p_inf``,
        ``law_c``.

    Examples
    --------
    >>> collect("no/such/folder").empty
    True
    """
    rows: list[dict[str, Any]] = []
    for file in sorted((Path(root) / "cells").glob("*/scores.json")):
        if store.read_status(file.parent) != "complete":
            continue
        found = store.read_json(file)
        cell, law = found["cell"], found.get("law") or {}
        ideal = {row["what"]: row["bold_pcc_noninputs"] for row in found["rows"]}.get("ideal_linear")
        for row in found["rows"]:
            reached = row["bold_pcc_noninputs"]
            share = reached / ideal if reached is not None and ideal else None
            if row["kind"] == "baseline":  # baselines belong to the recording: the same whatever the size
                row = {**row, "neurons_per_region": None}
            settings = {
                k: cell[k] for k in ("person", "inputs", "method", "circuit", "connectivity", "part", "volumes")
            }
            rows.append(settings | row | {"of_ideal": share, "law_p_inf": law.get("p_inf"), "law_c": law.get("c")})
    return pd.DataFrame(rows)


def summarise(root: str | Path) -> pd.DataFrame:
    """Average the cells of a validation over people.

    Parameters
    ----------
    root
        Folder of the validation.

    Returns
    -------
    DataFrame
        One row per setting, kind of row and group of people (``chosen``, ``confirmed``, ``all``): number of people,
        mean scores, lowest ``bold_pcc_inputs``, 95 % interval of the mean of ``over_copy`` over resampled people.

    Examples
    --------
    >>> summarise("no/such/folder").empty
    True
    """
    rows = collect(root)
    if rows.empty:
        return rows
    rows["neurons_per_region"] = rows["neurons_per_region"].astype(np.float64).fillna(0).astype(np.int64)
    for name in _SCORES:
        rows[name] = rows[name].astype(np.float64)
    found = []
    for key, block in rows.groupby(list(_BY), sort=False):
        people = block.groupby("person")[list(_SCORES)].mean()  # a baseline may stand in several cells of one person
        groups = {
            "chosen": people[people.index.isin(CHOSEN)],
            "confirmed": people[~people.index.isin(CHOSEN)],
            "all": people,
        }
        for group, part in groups.items():
            if part.empty:
                continue
            low, high = _interval(part["over_copy"].to_numpy(np.float64))
            line = dict(zip(_BY, key, strict=True)) | {"group": group, "people": len(part)}
            line |= {name: float(part[name].mean()) for name in _SCORES}
            line |= {"over_copy_low": low, "over_copy_high": high}
            line["bold_pcc_inputs_lowest"] = float(part["bold_pcc_inputs"].min())
            found.append(line)
    return pd.DataFrame(found)


def _interval(values: np.ndarray) -> tuple[float, float]:
    """95 % percentile interval of the mean over resampled people; NaN for fewer than 3."""
    known = values[np.isfinite(values)]
    if len(known) < 3:
        return float("nan"), float("nan")
    random = np.random.Generator(np.random.Philox(key=np.array([0, 7], np.uint64)))
    means = known[random.integers(0, len(known), size=(_DRAWS, len(known)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
