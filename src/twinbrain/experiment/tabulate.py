"""Tables over units: bands of measures by condition, and matched matrices for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from twinbrain.experiment.stats import Trend, mean_interval, trend

__all__ = ["away", "bands", "matched", "trend_of", "trends"]


def bands(cells: pd.DataFrame, by: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Return mean and 95 % interval over units (people if there are several, else seeds) of each condition.

    Parameters
    ----------
    cells
        One row per person, condition and seed.
    by
        Columns that name a condition; they are kept in their order.
    columns
        Measures; each becomes three columns NAME, NAME_low, NAME_high.

    Examples
    --------
    >>> cells = pd.DataFrame({"person": "a", "seed": [1, 2], "neurons": 10, "r": [0.1, 0.3]})
    >>> float(bands(cells, ["neurons"], ["r"])["r"][0])
    0.2
    """
    rows = []
    for key, part in cells.groupby(list(by), sort=False):
        units = part.groupby("person", sort=False)[list(columns)].mean() if part["person"].nunique() > 1 else part
        row = dict(zip(by, key, strict=True)) | {"units": len(units)}
        for name in columns:
            mean, low, high = mean_interval(units[name].to_numpy(np.float64))
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def away(cells: pd.DataFrame, conditions: Sequence[str]) -> dict[str, float]:
    """Return the conditions in which a cell ran away, with the highest mean rate in Hz; they are in no trend.

    Examples
    --------
    >>> cells = pd.DataFrame({"condition": ["x", "y", "y"], "rate_hz": [4.0, 5, 90], "ran_away": [False, False, True]})
    >>> away(cells, ["x", "y"])
    {'y': 90.0}
    """
    gone = cells[cells["condition"].isin(list(conditions)) & cells["ran_away"].astype(bool)]
    return {str(name): float(part["rate_hz"].max()) for name, part in gone.groupby("condition", sort=False)}


def matched(cells: pd.DataFrame, conditions: Sequence[str], column: str) -> npt.NDArray[np.float64]:
    """Return a measure as (units, conditions), units matched: people if there are several, else seeds.

    Examples
    --------
    >>> cells = pd.DataFrame({"person": "a", "seed": [1, 1, 2, 2], "condition": ["x", "y"] * 2, "r": [1.0, 2, 3, 4]})
    >>> matched(cells, ["y", "x"], "r").tolist()
    [[2.0, 1.0], [4.0, 3.0]]
    """
    unit = "person" if cells["person"].nunique() > 1 else "seed"
    wide = cells.pivot_table(index=unit, columns="condition", values=column, aggfunc="mean", sort=False)
    return np.asarray(wide.reindex(columns=list(conditions)).sort_index(), np.float64)


def trend_of(cells: pd.DataFrame, conditions: Sequence[str], x: Sequence[float], column: str) -> Trend | None:
    """Return the trend of a measure over conditions, within matched units; None where it is not defined.

    Examples
    --------
    >>> cells = pd.DataFrame({"person": "a", "seed": 1, "condition": list("xyz"), "r": [1.0, 2, 3]})
    >>> round(trend_of(cells, list("xyz"), [1, 2, 3], "r").rho, 6)
    1.0
    """
    values = matched(cells, conditions, column)
    values = values[np.isfinite(values).all(axis=1)]
    return trend(x, values) if len(values) and len(x) >= 3 else None


def trends(cells: pd.DataFrame, conditions: Sequence[str], x: Sequence[float], columns: Sequence[str]) -> pd.DataFrame:
    """Return the trends of several measures as a table: measure, rho with its interval, p, units.

    Examples
    --------
    >>> cells = pd.DataFrame({"person": "a", "seed": 1, "condition": list("xyz"), "r": [1.0, 2, 3]})
    >>> trends(cells, list("xyz"), [1, 2, 3], ["r"])["rho"].round(6).tolist()
    [1.0]
    """
    rows = []
    for name in columns:
        found = trend_of(cells, conditions, x, name)
        if found is not None:
            row = {"measure": name, "rho": found.rho, "rho_low": found.low, "rho_high": found.high}
            rows.append(row | {"p": found.p, "units": found.units})
    return pd.DataFrame(rows, columns=["measure", "rho", "rho_low", "rho_high", "p", "units"])
