"""One look for every figure: palette, type, and SVG text that can stand inside a page."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's palette: told apart with any common colour-vision deficiency, and in grey by lightness.
RECORDED = "#3c4650"
TWIN = "#0072B2"
FORECAST = "#00795c"
INPUT = "#D55E00"
EXCITATORY = "#0072B2"
INHIBITORY = "#D55E00"
MUTED = "#8a949e"
INK = "#1c2630"
GRID = "#e4e8ec"

FONT_STACK = "'Inter','Segoe UI','Helvetica Neue',Arial,'Liberation Sans',sans-serif"

_RC: Any = {
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and scaled
    "font.family": "DejaVu Sans",  # shipped with matplotlib, so the layout is measured alike on every machine
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
}


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of `width` by `height` inches that belongs to no global state.

    Examples
    --------
    >>> float(new_figure(4, 2).get_figwidth())
    4.0
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
    return figure


def grid(figure: Figure, rows: int = 1, columns: int = 1, **keywords: object) -> list[Axes]:
    """Add `rows` x `columns` axes in the house style, row by row.

    Examples
    --------
    >>> len(grid(new_figure(4, 2), 2, 3))
    6
    """
    from matplotlib import rc_context

    with rc_context(_RC):
        made = figure.subplots(rows, columns, squeeze=False, **keywords)  # type: ignore[call-overload]
    axes: list[Axes] = list(made.ravel())
    for axis in axes:
        clean(axis)
    return axes


def clean(axis: Axes) -> None:
    """Take away what carries no information: the upper and right border, dark ticks.

    Examples
    --------
    >>> axis = new_figure(2, 2).subplots(); clean(axis); axis.spines["top"].get_visible()
    False
    """
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(MUTED)
    axis.tick_params(color=MUTED, labelcolor=INK, length=3)
    axis.set_axisbelow(True)


def title(axis: Axes, text: str, note: str = "") -> None:
    """Set a left-aligned bold title with a lighter note behind it.

    Examples
    --------
    >>> axis = new_figure(2, 2).subplots(); title(axis, "Thalamus_L", "r = 0.93"); axis.get_title("left")
    'Thalamus_L'
    """
    axis.set_title(text, loc="left", fontsize=9, fontweight="bold", color=INK, pad=5)
    if note:
        axis.set_title(note, loc="right", fontsize=8.5, color=INK, pad=5)


def legend_above(figure: Figure, axis: Axes | Sequence[Axes], columns: int = 5) -> None:
    """Put one legend for the whole figure above it, from the labelled artists of `axis`, or of several, each once.

    Examples
    --------
    >>> figure = new_figure(2, 2)
    >>> axis = figure.subplots()
    >>> _ = axis.plot([1], label="a")
    >>> legend_above(figure, axis)
    """
    shown: dict[str, Artist] = {}
    for one in axis if isinstance(axis, Sequence) else [axis]:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    figure.legend(
        list(shown.values()),
        list(shown),
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=8.5,
        handlelength=1.8,
    )


def to_svg(figure: Figure, name: str) -> str:
    """Write a figure as SVG text that can be placed inside an HTML page beside others.

    Identifiers get the prefix `name`, so two figures on one page cannot refer to each other's parts, and the
    output is the same for the same figure (no date, salted hashes).

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        The figure.
    name : str
        Identifier of the figure: letters, digits and hyphens.

    Returns
    -------
    str
        An ``<svg>`` element without XML declaration or outside reference.

    Examples
    --------
    >>> figure = new_figure(2, 2); _ = grid(figure)
    >>> text = to_svg(figure, "empty")
    >>> text.startswith("<svg"), 'id="empty-figure_1"' in text, "DOCTYPE" in text
    (True, True, False)
    """
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({**_RC, "svg.hashsalt": name}):
        figure.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :].rstrip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text)) | {"figure_1"}
    text = re.sub(r' id="([^"]*)"', lambda m: m.group() if m.group(1) in used else "", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", FONT_STACK, text)
    # 1/100 point is below what a screen shows; only coordinates are cut, never the digits of a label
    return re.sub(r'\b(?:d|x|y|transform|points)="[^"]*"', lambda m: re.sub(r"(\d\.\d\d)\d+", r"\1", m.group()), text)


def spread_labels(values: Sequence[float], least: float) -> list[float]:
    """Move label heights apart so that neighbours are at least `least` from each other, keeping their order.

    Examples
    --------
    >>> spread_labels([0.0, 0.1, 2.0], 0.5)
    [0.0, 0.5, 2.0]
    """
    order = sorted(range(len(values)), key=lambda index: values[index])
    placed = list(values)
    for before, here in pairwise(order):
        placed[here] = max(placed[here], placed[before] + least)
    return placed
