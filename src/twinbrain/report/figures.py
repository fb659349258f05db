"""One function per figure of the report: plain arrays and labels in, a matplotlib `Figure` out."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from twinbrain.report import style
from twinbrain.report.series import mean_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

_WIDTH = 9.4
MOST_PANELS = 12


def _panels(count: int, height: float = 1.45, columns: int = 2) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = style.new_figure(_WIDTH, height * rows + 0.55)
    axes = style.grid(figure, rows, columns, sharex=True, sharey=True)
    for spare in axes[count:]:
        spare.axis("off")
    for axis in axes[max(count - columns, 0) : count]:
        axis.set_xlabel("time (s)")
        axis.tick_params(labelbottom=True)
    return figure, axes[:count]


def drive_figure(time_s: Array, drive: Array, spread: Array, filtered: Array | None, inputs: Sequence[str]) -> Figure:
    """Draw the estimated current of each input region with its posterior spread.

    Up to `MOST_PANELS` inputs get a panel each; more are shown as a map (input by time).

    Parameters
    ----------
    time_s : array (time,), s
    drive, spread : array (time, input), model current
        Smoothed posterior mean and standard deviation.
    filtered : array (time, input), optional
        The filter mean, before smoothing.
    inputs : sequence of str
        Names of the input regions.

    Examples
    --------
    >>> t = np.arange(5.0)
    >>> figure = drive_figure(t, np.ones((5, 2)), np.ones((5, 2)), None, ["a", "b"])
    >>> [axis.get_title("left") for axis in figure.axes]
    ['a', 'b']
    """
    if len(inputs) > MOST_PANELS:
        return _map_figure(time_s, drive, inputs, "estimated current (model units)")
    figure, axes = _panels(len(inputs))
    for index, axis in enumerate(axes):
        mean, sd = drive[:, index], spread[:, index]
        for width, alpha in ((2, 0.16), (1, 0.28)):
            axis.fill_between(
                time_s,
                mean - width * sd,
                mean + width * sd,
                color=style.TWIN,
                alpha=alpha,
                linewidth=0,
                label=f"±{width} posterior sd",
            )
        if filtered is not None:
            axis.plot(time_s, filtered[:, index], color=style.MUTED, linewidth=0.8, label="filter mean (not used)")
        axis.plot(time_s, mean, color=style.TWIN, linewidth=1.3, label="smoothed estimate, replayed in the twin")
        style.title(axis, inputs[index])
        if index % 2 == 0:
            axis.set_ylabel("current")
        axis.margins(x=0)
    style.legend_above(figure, axes[0])
    return figure


def _map_figure(time_s: Array, values: Array, names: Sequence[str], label: str) -> Figure:
    figure = style.new_figure(_WIDTH, 1.2 + 0.11 * len(names))
    (axis,) = style.grid(figure)
    image = axis.imshow(
        values.T,
        aspect="auto",
        cmap="viridis",
        interpolation="nearest",
        extent=(float(time_s[0]), float(time_s[-1]), len(names) - 0.5, -0.5),
    )
    stride = max(1, len(names) // 48)
    axis.set_yticks(range(0, len(names), stride), list(names)[::stride], fontsize=6.5)
    axis.set_xlabel("time (s)")
    bar = figure.colorbar(image, ax=axis, fraction=0.03, pad=0.01)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=8, length=2, color=style.MUTED)
    bar.outline.set_visible(False)
    return figure


def traces_figure(
    time_s: Array,
    recorded: Array,
    other: Array,
    band: Array,
    names: Sequence[str],
    notes: Sequence[str],
    *,
    label: str,
    colour: str,
    band_label: str,
    unit: str = "z",
) -> Figure:
    """Draw recorded BOLD against another series with a band around it, a panel per region.

    Parameters
    ----------
    time_s : array (time,), s
    recorded, other, band : array (time, region)
        The record, the series compared with it, and the half width of the band.
    names, notes : sequence of str
        Title of each panel and the note at its right (usually the correlation).
    label, colour, band_label, unit : str
        Legend text and colour of the series, legend text of its band, unit of the axis.

    Examples
    --------
    >>> t, x = np.arange(4.0), np.zeros((4, 1))
    >>> figure = traces_figure(t, x, x, x + 1, ["a"], ["r = 1"], label="twin", colour="blue", band_label="sd")
    >>> figure.axes[0].get_title("right")
    'r = 1'
    """
    figure, axes = _panels(len(names))
    for index, axis in enumerate(axes):
        axis.fill_between(
            time_s,
            other[:, index] - band[:, index],
            other[:, index] + band[:, index],
            color=colour,
            alpha=0.2,
            linewidth=0,
            label=band_label,
        )
        axis.plot(time_s, recorded[:, index], color=style.RECORDED, linewidth=1.1, label="recorded")
        axis.plot(time_s, other[:, index], color=colour, linewidth=1.2, label=label)
        style.title(axis, names[index], notes[index])
        if index % 2 == 0:
            axis.set_ylabel(unit)
        axis.margins(x=0)
    style.legend_above(figure, axes[0])
    return figure


def connectivity_figure(
    recorded: Array,
    simulated: Array,
    order: Sequence[int],
    blocks: Sequence[tuple[str, int, int]],
    inputs: Collection[int],
) -> Figure:
    """Draw recorded and simulated functional connectivity and their difference, with blocks of regions named.

    Parameters
    ----------
    recorded, simulated : array (region, region)
        Pearson correlations.
    order : sequence of int
        Rows in reading order (`series.readable_order`).
    blocks : sequence of (label, start, stop)
        Named spans of that order.
    inputs : collection of int
        Rows of the input regions; marked by a tick at the upper edge.

    Examples
    --------
    >>> figure = connectivity_figure(np.eye(2), np.eye(2), [0, 1], [("L", 0, 2)], {0})
    >>> [axis.get_title("left") for axis in figure.axes][:3]
    ['Recorded', 'Simulated (free run)', 'Simulated − recorded']
    """
    chosen = np.ix_(list(order), list(order))
    figure = style.new_figure(_WIDTH, 3.75)
    axes = style.grid(figure, 1, 3)
    pictures = (
        ("Recorded", recorded[chosen]),
        ("Simulated (free run)", simulated[chosen]),
        ("Simulated − recorded", (simulated - recorded)[chosen]),
    )
    image = None
    for place, (axis, (name, matrix)) in enumerate(zip(axes, pictures, strict=True)):
        matrix = matrix.copy()
        np.fill_diagonal(matrix, np.nan)  # a region with itself is 1 by definition and says nothing
        image = axis.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest", rasterized=True)
        style.title(axis, name)
        for side in axis.spines.values():
            side.set_visible(False)
        middles = [(start + stop - 1) / 2 for _, start, stop in blocks]
        spaced = style.spread_labels(middles, 0.04 * len(order))
        labels = [label for label, _, _ in blocks]
        axis.set_yticks(spaced, labels if place == 0 else [""] * len(labels), fontsize=7)
        axis.set_xticks(spaced, labels, fontsize=7, rotation=90)
        axis.tick_params(length=0)
        for _, start, _ in blocks[1:]:
            axis.axhline(start - 0.5, color="white", linewidth=0.7)
            axis.axvline(start - 0.5, color="white", linewidth=0.7)
        marked = [row for row, index in enumerate(order) if index in inputs]
        axis.plot(
            marked,
            [-0.5] * len(marked),
            marker="v",
            linestyle="",
            color=style.INPUT,
            markersize=4,
            clip_on=False,
        )
    assert image is not None
    bar = figure.colorbar(image, cax=axes[-1].inset_axes((1.06, 0.0, 0.045, 1.0)), ticks=[-1, -0.5, 0, 0.5, 1])
    bar.ax.tick_params(labelsize=7.5, length=2, color=style.MUTED)
    bar.outline.set_visible(False)
    return figure


def scores_figure(
    rows: Sequence[tuple[str, float, bool]],
    ceiling: float | None,
    label: str,
    *,
    hollow: Collection[str] = (),
) -> Figure:
    """Draw one score for the twin and each baseline as a dot on a line from zero.

    Parameters
    ----------
    rows : sequence of (name, value, is_twin)
        Drawn from top to bottom; a missing value (NaN) leaves its row empty with a dash.
    ceiling : float, optional
        Score the data allow; a dashed line.
    label : str
        Name of the score.
    hollow : collection of str
        Names of rows drawn as rings: they do not compete with the twin.

    Examples
    --------
    >>> figure = scores_figure([("twin", 0.4, True), ("copy", 0.3, False)], 0.9, "r")
    >>> [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    ['twin', 'copy']
    """
    figure = style.new_figure(_WIDTH / 2, 0.75 + 0.28 * len(rows))
    (axis,) = style.grid(figure)
    axis.axvline(0, color=style.MUTED, linewidth=0.8)
    for row, (name, value, is_twin) in enumerate(rows):
        if not math.isfinite(value):
            axis.annotate("—", (0, row), xytext=(5, 0), textcoords="offset points", va="center", color=style.MUTED)
            continue
        colour = style.TWIN if is_twin else style.MUTED
        axis.plot([0, value], [row, row], color=colour, linewidth=2.4 if is_twin else 1.4, solid_capstyle="butt")
        face = "white" if name in hollow else colour
        axis.plot([value], [row], "o", color=colour, markerfacecolor=face, markersize=7 if is_twin else 5)
        axis.annotate(
            f"{value:.2f}".replace("-", "−"),
            (max(value, 0.0), row),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            ha="left",
            fontsize=8,
            fontweight="bold" if is_twin else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )
    finite = [value for _, value, _ in rows if math.isfinite(value)]
    if ceiling is not None and math.isfinite(ceiling):
        axis.axvline(ceiling, color=style.INPUT, linestyle="--", linewidth=1.2)
        axis.annotate(
            f"ceiling {ceiling:.2f}",
            (ceiling, -0.75),
            xytext=(-4, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=7.5,
            color=style.INPUT,
        )
        finite.append(ceiling)
    axis.set_xlim(min([0.0, *finite]) - (0.12 if min([0.0, *finite]) < 0 else 0), max([0.3, *finite]) + 0.12)
    axis.set_ylim(len(rows) - 0.5, -1.05)
    axis.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    for tick, (_, _, is_twin) in zip(axis.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if is_twin else "normal")
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    style.title(axis, label)
    return figure


def rates_figure(
    twin: Mapping[str, Array], signs: Mapping[str, int], laminar: Sequence[tuple[str, float]] | None
) -> Figure:
    """Draw the rate of each population of the twin by region, and of each layer of the laminar run.

    Parameters
    ----------
    twin : mapping of population name to array (region,), Hz
    signs : mapping of population name to +1 or -1
    laminar : sequence of (layer, mean rate in Hz), optional
        None if no laminar run was made.

    Examples
    --------
    >>> twin = {"E": np.array([3.0, 4.0]), "I": np.array([5.0])}
    >>> figure = rates_figure(twin, {"E": 1, "I": -1}, [("L4E", 4.0)])
    >>> len(figure.axes)
    2
    """
    figure = style.new_figure(_WIDTH, 2.9)
    ratios = [max(len(twin), 4), max(len(laminar or ()), 4)]
    axes = style.grid(figure, 1, 2 if laminar else 1, sharey=True, **({"width_ratios": ratios} if laminar else {}))
    jitter = np.random.default_rng(0)
    for place, (name, rates) in enumerate(twin.items()):
        colour = style.EXCITATORY if signs.get(name, 1) > 0 else style.INHIBITORY
        axes[0].plot(
            place + jitter.uniform(-0.2, 0.2, len(rates)),
            rates,
            ".",
            color=colour,
            alpha=0.5,
            markersize=6,
            mew=0,
        )
        mean = mean_of(rates)
        axes[0].plot([place - 0.28, place + 0.28], [mean, mean], color=colour, linewidth=2.5)
        axes[0].annotate(
            f"{mean:.1f}" if math.isfinite(mean) else "—",
            (place + 0.3, mean),
            va="center",
            fontsize=8.5,
            fontweight="bold",
        )
    axes[0].set_xticks(range(len(twin)), list(twin))
    axes[0].set_xlim(-0.6, len(twin) - 0.2)
    axes[0].set_ylabel("mean rate (Hz)")
    style.title(axes[0], "Twin, mean by region")
    if laminar:
        for place, (layer, rate) in enumerate(laminar):
            colour = style.EXCITATORY if layer.endswith("E") else style.INHIBITORY
            if math.isfinite(rate):
                axes[1].bar(place, rate, color=colour, width=0.62, alpha=0.85)
            axes[1].annotate(
                f"{rate:.1f}" if math.isfinite(rate) else "—",
                (place, rate if math.isfinite(rate) else 0),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
            )
        axes[1].set_xticks(range(len(laminar)), [layer for layer, _ in laminar])
        style.title(axes[1], "Laminar run beside it, mean by layer")
    shown = [rate for rates in twin.values() for rate in rates] + [rate for _, rate in laminar or ()]
    highest = max((float(rate) for rate in shown if math.isfinite(rate)), default=1.0)
    axes[0].set_ylim(0, 1.12 * highest if highest > 0 else 1.0)
    for axis in axes:
        axis.yaxis.grid(True, color=style.GRID)
        axis.tick_params(axis="x", length=0)
    return figure


def rate_over_time_figure(
    time_s: Array, series: Mapping[str, Array], colours: Mapping[str, str], dashed: Collection[str] = ()
) -> Figure:
    """Draw mean firing rates over the run, one line per group of neurons.

    Parameters
    ----------
    time_s : array (time,), s
    series : mapping of label to array (time,), Hz
    colours : mapping of label to colour
    dashed : collection of str
        Labels drawn dashed.

    Examples
    --------
    >>> figure = rate_over_time_figure(np.arange(3.0), {"all": np.ones(3)}, {"all": "black"})
    >>> figure.axes[0].get_ylabel()
    'mean rate (Hz)'
    """
    figure = style.new_figure(_WIDTH, 2.0)
    (axis,) = style.grid(figure)
    for name, values in series.items():
        axis.plot(
            time_s,
            values,
            color=colours[name],
            linewidth=1.1,
            label=name,
            dashes=(4, 2) if name in dashed else (),
        )
    axis.set_ylim(bottom=0)
    axis.margins(x=0)
    axis.yaxis.grid(True, color=style.GRID)
    axis.set_xlabel("time (s)")
    axis.set_ylabel("mean rate (Hz)")
    style.legend_above(figure, axis)
    return figure


def raster_figure(time_ms: Array, row: Array, sign: Array, groups: Sequence[tuple[str, float, float]]) -> Figure:
    """Draw the spikes of a sample of neurons, ordered by region, excitatory and inhibitory in two colours.

    Parameters
    ----------
    time_ms : array (spike,), ms
    row : array (spike,)
        Height of each spike's neuron.
    sign : array (spike,)
        +1 excitatory, -1 inhibitory.
    groups : sequence of (label, first row, last row)
        Named spans of rows.

    Examples
    --------
    >>> figure = raster_figure(np.array([1.0]), np.array([0.0]), np.array([1.0]), [("a", 0, 1)])
    >>> figure.axes[1].get_xlabel()
    'time (ms)'
    """
    figure = style.new_figure(_WIDTH, 3.9)
    axis, below = style.grid(figure, 2, 1, sharex=True, height_ratios=[4, 1])
    many = len(time_ms) > 12_000  # beyond this a bitmap is smaller than the vectors
    for value, colour, label in ((1, style.EXCITATORY, "excitatory"), (-1, style.INHIBITORY, "inhibitory")):
        chosen = np.flatnonzero(sign == value)
        gap = np.full(len(chosen), np.nan)  # one broken line: far smaller than a marker for each spike
        at = np.stack([time_ms[chosen], time_ms[chosen], gap], axis=1).ravel()
        height = np.stack([row[chosen] - 0.7, row[chosen] + 0.7, gap], axis=1).ravel()
        axis.plot(at, height, color=colour, linewidth=0.9, label=label, rasterized=many)
    placed = style.spread_labels([(a + b) / 2 for _, a, b in groups], 0.045 * max((b for *_, b in groups), default=1))
    axis.set_yticks(placed, [name for name, _, _ in groups], fontsize=7.5)
    for _, start, _ in groups[1:]:
        axis.axhline(start - 0.5, color=style.GRID, linewidth=0.8)
    axis.tick_params(axis="y", length=0)
    axis.margins(x=0, y=0.01)
    axis.invert_yaxis()
    style.legend_above(figure, axis)
    bins = np.arange(float(time_ms.min()), float(time_ms.max()) + 5, 5) if len(time_ms) else np.arange(2.0)
    below.hist(time_ms, bins=bins.tolist(), color=style.RECORDED, histtype="stepfilled", alpha=0.75)
    below.set_ylabel("spikes\nin 5 ms", fontsize=7.5)
    below.set_xlabel("time (ms)")
    return figure
