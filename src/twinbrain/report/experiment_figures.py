"""Figures of experiments, drawn as their description says: curves with bands, forests, maps, points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from twinbrain.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw"]

_WIDTH = 9.4
_LINES = (style.TWIN, style.INPUT, style.FORECAST, "#CC79A7", style.RECORDED, "#E69F00", "#56B4E9", style.MUTED)
_MARKS = "osD^vPX*"
_MOST_MARKS = 30  # on a line


def draw(chart: Mapping[str, Any], table: pd.DataFrame) -> Figure:
    """Draw a figure from its description and its table.

    Parameters
    ----------
    chart
        Keys as in ``twinbrain.experiment.findings.Chart``.
    table
        With the columns it names.

    Examples
    --------
    >>> table = pd.DataFrame({"n": [10, 100], "r": [0.1, 0.2], "r_low": [0, 0.1], "r_high": [0.2, 0.3]})
    >>> chart = {"kind": "curve", "x": "n", "y": ["r"], "by": "", "labels": {"r": "r"}, "log_x": True, "reference": {}}
    >>> draw(chart, table).axes[0].get_xscale()
    'log'
    """
    kinds = {"curve": _curve, "forest": _forest, "map": _map, "scatter": _curve}
    return kinds[chart["kind"]](chart, table)


def _label(chart: Mapping[str, Any], column: str) -> str:
    return str(chart["labels"].get(column, column.replace("_", " ")))


def _curve(chart: Mapping[str, Any], table: pd.DataFrame) -> Figure:
    columns = [y for y in chart["y"] if y in table and table[y].notna().any()]
    across = min(3, len(columns))
    down = -(-len(columns) // across)
    figure = style.new_figure(_WIDTH, 2.6 * down + 0.5)
    axes = style.grid(figure, down, across)
    for spare in axes[len(columns) :]:
        spare.axis("off")
    groups = _groups(chart, table)
    for axis, y in zip(axes, columns, strict=False):
        for k, (name, part) in enumerate(groups):
            _line(axis, chart, part.sort_values(chart["x"]), y, name, k)
        _reference(axis, chart, y, columns)
        style.title(axis, _label(chart, y))
        axis.set_xlabel(_label(chart, chart["x"]))
        if chart["log_x"]:
            axis.set_xscale("log")
            if chart["kind"] == "curve":
                _label_values(axis, table[chart["x"]])
            else:
                axis.xaxis.set_major_formatter("{x:g}")
                axis.xaxis.set_minor_formatter("{x:g}")
        if chart.get("log_y"):
            axis.set_yscale("symlog", linthresh=0.1)
            axis.yaxis.set_major_formatter("{x:g}")
    if len(groups) > 1 or chart["reference"]:
        style.legend_above(figure, list(axes[: len(columns)]), 4)
    return figure


def _groups(chart: Mapping[str, Any], table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    if not chart["by"]:
        return [("", table)]
    return [(str(name), part) for name, part in table.groupby(chart["by"], sort=False)]


def _line(axis: Axes, chart: Mapping[str, Any], part: pd.DataFrame, y: str, name: str, k: int) -> None:
    part = part[part[y].notna()]
    colour, x = _LINES[k % len(_LINES)], part[chart["x"]].to_numpy(np.float64)
    joined = chart["kind"] == "curve" and len(part) > 1
    if f"{y}_low" in part:
        low, high = part[f"{y}_low"].to_numpy(np.float64), part[f"{y}_high"].to_numpy(np.float64)
        if joined:
            axis.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        else:
            axis.vlines(x, low, high, color=colour, linewidth=1.2, alpha=0.6)
    axis.plot(
        x,
        part[y].to_numpy(np.float64),
        color=colour,
        marker=_MARKS[k % len(_MARKS)] if len(part) <= _MOST_MARKS or not joined else "",
        markersize=3.8,
        linewidth=1.3 if joined else 0.0,
        label=name or None,
    )


def _label_values(axis: Axes, values: pd.Series) -> None:
    """Label a logarithmic axis at the values that were run, where there is room."""
    shown: list[float] = []
    for value in sorted(set(values)):
        if not shown or value >= 1.6 * shown[-1]:
            shown.append(float(value))
    axis.set_xticks(shown, [_short(value) for value in shown])
    axis.minorticks_off()


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:g}"


def _reference(axis: Axes, chart: Mapping[str, Any], y: str, columns: Sequence[str]) -> None:
    """The line of a panel; another label has other dashes."""
    if y in chart["reference"]:
        value, label = chart["reference"][y]
        labels = list(dict.fromkeys(chart["reference"][c][1] for c in columns if c in chart["reference"]))
        dashes = ((4, 3), (1, 2), (6, 2, 1, 2))[labels.index(label) % 3]
        axis.axhline(value, color=style.RECORDED, linewidth=0.9, linestyle=(0, dashes), label=label)


def _forest(chart: Mapping[str, Any], table: pd.DataFrame) -> Figure:
    """One row per value of x, one panel per value of `by`."""
    y, groups = chart["y"][0], _groups(chart, table)
    rows = list(dict.fromkeys(table[chart["x"]].astype(str)))
    figure = style.new_figure(_WIDTH, 0.9 + 0.26 * len(rows))
    axes = style.grid(figure, 1, len(groups), sharey=True)
    for axis, (name, part) in zip(axes, groups, strict=True):
        at = [rows.index(str(value)) for value in part[chart["x"]]]
        value = part[y].to_numpy(np.float64)
        if y in chart["reference"]:
            axis.axvline(chart["reference"][y][0], color=style.RECORDED, linewidth=0.9, linestyle=(0, (4, 3)))
        if f"{y}_low" in part:
            axis.hlines(at, part[f"{y}_low"], part[f"{y}_high"], color=style.TWIN, linewidth=1.6)
        axis.plot(value, at, "o", color=style.TWIN, markersize=5)
        axis.set_yticks(range(len(rows)), rows)
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.grid(axis="y", color=style.GRID)
        style.title(axis, name)
    figure.supxlabel(_label(chart, y), fontsize=8.5)
    return figure


def _map(chart: Mapping[str, Any], table: pd.DataFrame) -> Figure:
    y, names = chart["y"][0], list(dict.fromkeys(table[chart["by"]].astype(str)))
    columns = list(dict.fromkeys(table[chart["x"]]))
    wide = table.assign(_by=table[chart["by"]].astype(str)).pivot_table(index="_by", columns=chart["x"], values=y)
    values = wide.reindex(index=names, columns=columns).to_numpy(np.float64)
    numeric = bool(np.issubdtype(np.asarray(columns).dtype, np.number))
    turned = not numeric and len(columns) > len(names)  # long lists of names read better downwards
    if turned:
        values, names, columns = values.T, [str(c) for c in columns], list(names)
    figure = style.new_figure(_WIDTH, 1.4 + (0.12 if len(names) > 30 else 0.24) * len(names))
    (axis,) = style.grid(figure)
    largest = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    signed = bool(np.nanmin(values) < 0) if np.isfinite(values).any() else False
    image = axis.imshow(
        values,
        aspect="auto",
        interpolation="nearest",
        cmap="RdBu_r" if signed else "viridis",
        vmin=-largest if signed else None,
        vmax=largest if signed else None,
    )
    axis.set_yticks(range(len(names)), names, fontsize=6 if len(names) > 30 else 8)
    stride = max(1, len(columns) // 10) if numeric else 1
    shown = [f"{c:g}" if numeric else str(c) for c in columns[::stride]]
    axis.set_xticks(
        range(0, len(columns), stride), shown, rotation=0 if numeric else 30, ha="center" if numeric else "right"
    )
    if numeric:
        axis.set_xlabel(_label(chart, chart["x"]))
    bar = figure.colorbar(image, ax=axis, fraction=0.03, pad=0.01)
    bar.set_label(_label(chart, y), fontsize=8)
    bar.outline.set_visible(False)
    return figure
