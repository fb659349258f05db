"""Figures of the analysis: avalanches, order parameter, spectra, connectivity dynamics, causality."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from twinbrain.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

_WIDTH = 9.4
# The main peak of the published estimated currents, Hz.
PUBLISHED_PEAK_HZ = (0.02, 0.025)


@dataclass(frozen=True)
class Look:
    """How one side is drawn: its name and colour."""

    label: str
    colour: str


LOOKS = {
    "model": Look("twin", style.TWIN),
    "recorded": Look("recorded", style.RECORDED),
    "bold": Look("BOLD", style.TWIN),
}


@dataclass(frozen=True)
class Density:
    """One distribution: where, how dense, the power law over its range, the surrogates; NaN where there is nothing."""

    side: str
    at: Array
    density: Array
    fit: Array
    null: Array
    exponent: float


def avalanche_figure(panels: Mapping[str, Sequence[Density]], labels: Mapping[str, str]) -> Figure:
    """Draw densities of avalanche sizes and durations on logarithmic axes, with their power laws and surrogates.

    Parameters
    ----------
    panels : mapping of title to sequence of Density
    labels : mapping of title to the label of its horizontal axis

    Examples
    --------
    >>> x = np.array([1.0, 2.0, 4.0])
    >>> one = Density("model", x, x**-1.5, x**-1.5, x**-2, 1.5)
    >>> [axis.get_title("left") for axis in avalanche_figure({"Sizes": [one]}, {"Sizes": "events"}).axes]
    ['Sizes']
    """
    figure = style.new_figure(_WIDTH, 3.1)
    axes = style.grid(figure, 1, len(panels))
    for axis, (name, found) in zip(axes, panels.items(), strict=True):
        axis.set_xscale("log")
        axis.set_yscale("log")
        for one in found:
            look = LOOKS[one.side]
            axis.plot(one.at, one.null, color=look.colour, linewidth=0.9, linestyle=":", alpha=0.9)
            axis.plot(one.at, one.fit, color=look.colour, linewidth=1.3)
            exponent = f" (exponent {one.exponent:.2f})" if math.isfinite(one.exponent) else ""
            axis.plot(one.at, one.density, "o", color=look.colour, markersize=3.6, mew=0, label=look.label + exponent)
        style.title(axis, name)
        axis.set_xlabel(labels[name])
        axis.minorticks_off()
        axis.legend(frameon=False, loc="lower left", handletextpad=0.1, borderpad=0.1)
    axes[0].set_ylabel("probability")
    return figure


def order_figure(time_s: Array, order: Mapping[str, Array], null: Mapping[str, tuple[float, float]]) -> Figure:
    """Draw the order parameter over time, its distribution, and where surrogates lie.

    Parameters
    ----------
    time_s : array (time,), s
    order : mapping of side to array (time,)
    null : mapping of side to mean and standard deviation of the surrogates' mean order

    Examples
    --------
    >>> figure = order_figure(np.arange(3.0), {"model": np.array([0.1, 0.5, 0.4])}, {"model": (0.1, 0.01)})
    >>> figure.axes[0].get_ylabel()
    'order r'
    """
    figure = style.new_figure(_WIDTH, 2.5)
    axes = style.grid(figure, 1, 2, sharey=True, width_ratios=[4, 1])
    for side, values in order.items():
        look = LOOKS[side]
        axes[0].plot(time_s, values, color=look.colour, linewidth=1.1, label=look.label)
        counts, edges = np.histogram(values[np.isfinite(values)], bins=30, range=(0, 1), density=True)
        axes[1].stairs(counts, edges, orientation="horizontal", color=look.colour, linewidth=1.2)
    means = [mean for mean, _ in null.values() if math.isfinite(mean)]
    if means:
        axes[0].axhline(
            float(np.mean(means)), color=style.MUTED, linewidth=1, linestyle=":", label="mean of surrogates"
        )
    axes[0].set_ylim(0, 1)
    axes[0].margins(x=0)
    axes[0].set_xlabel("time (s)")
    axes[0].set_ylabel("order r")
    axes[1].set_xlabel("density")
    style.legend_above(figure, axes[0])
    return figure


@dataclass(frozen=True)
class Spectrum:
    """One panel: title, colour, quartiles of relative power over series, AR(1) background with its band."""

    title: str
    colour: str
    frequency: Array
    power: tuple[Array, Array, Array]
    background: tuple[Array, Array, Array]
    marked_hz: tuple[float, float] | None = None
    note: str = ""


def spectra_figure(panels: Sequence[Spectrum]) -> Figure:
    """Draw median spectra with quartiles over the AR(1) process that has no rhythm.

    Examples
    --------
    >>> f = np.array([0.0, 0.01, 0.02])
    >>> one = Spectrum("Twin", "blue", f, (f, f, f), (f, f, f))
    >>> spectra_figure([one]).axes[0].get_xlabel()
    'frequency (Hz)'
    """
    from matplotlib.ticker import FuncFormatter

    figure = style.new_figure(_WIDTH, 2.9)
    axes = style.grid(figure, 1, len(panels))
    for axis, one in zip(axes, panels, strict=True):
        some = (one.frequency > 0) & np.isfinite(one.power[1])
        f = one.frequency[some]
        low, middle, high = (values[some] for values in one.background)
        axis.fill_between(f, low, high, color=style.MUTED, alpha=0.25, linewidth=0, label="95 % of AR(1) series")
        axis.plot(f, middle, color=style.MUTED, linewidth=1, linestyle="--", label="AR(1)")
        low, middle, high = (values[some] for values in one.power)
        axis.fill_between(f, low, high, color=one.colour, alpha=0.25, linewidth=0, label="middle half of series")
        axis.plot(f, middle, color=one.colour, linewidth=1.4, label="median of series")
        if one.marked_hz:
            axis.axvspan(*one.marked_hz, color=style.INPUT, alpha=0.25, linewidth=0)
        axis.set_xscale("log")
        axis.set_yscale("log")
        shown = middle[np.isfinite(middle) & (middle > 0)]
        if len(shown):
            axis.set_ylim(max(shown.min() / 3, 1e-7), min(shown.max() * 6, 2.0))
        axis.set_xlabel("frequency (Hz)")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        style.title(axis, one.title, one.note)
    axes[0].set_ylabel("share of power")
    style.legend_above(figure, axes[0])
    return figure


def dynamics_figure(
    window_s: Array, matrices: Mapping[str, Array], value: Array, shares: Mapping[str, tuple[Array, Array]]
) -> Figure:
    """Draw the matrix of connectivity dynamics of each side, and the distribution of its values.

    Parameters
    ----------
    window_s : array (window,), s
        Middle of each window.
    matrices : mapping of side to array (window, window)
    value : array (bin,)
        Centres of the bins of the distribution.
    shares : mapping of side to the shares of the data and of the surrogates, array (bin,)

    Examples
    --------
    >>> v = np.array([0.0, 0.5])
    >>> figure = dynamics_figure(np.arange(2.0), {"model": np.eye(2)}, v, {"model": (v, v)})
    >>> figure.axes[0].get_title("left")
    'Twin'
    """
    figure = style.new_figure(_WIDTH, 3.0)
    axes = style.grid(figure, 1, len(matrices) + 1, width_ratios=[1] * len(matrices) + [1.25])
    half = (window_s[1] - window_s[0]) / 2 if len(window_s) > 1 else 0.5
    extent = (window_s[0] - half, window_s[-1] + half, window_s[-1] + half, window_s[0] - half)
    image = None
    for axis, (side, matrix) in zip(axes, matrices.items(), strict=False):
        image = axis.imshow(
            matrix, vmin=0, vmax=1, cmap="viridis", extent=extent, interpolation="nearest", rasterized=True
        )
        name = LOOKS[side].label
        style.title(axis, name[0].upper() + name[1:])
        axis.set_xlabel("time (s)")
    axes[0].set_ylabel("time (s)")
    if image is not None:
        bar = figure.colorbar(image, ax=axes[len(matrices) - 1], fraction=0.045, pad=0.02)
        bar.ax.tick_params(labelsize=7.5, length=2, color=style.MUTED)
        bar.outline.set_visible(False)
    last = axes[-1]
    width = value[1] - value[0]
    edges = np.append(value - width / 2, value[-1] + width / 2)
    present = np.zeros(len(value), dtype=bool)
    for side, (share, null) in shares.items():
        look = LOOKS[side]
        for part, line, label in ((share, "-", look.label), (null, ":", "")):
            if np.isfinite(part).all():
                last.plot(edges[1:], np.cumsum(part), line, color=look.colour, linewidth=1.3, label=label or None)
                present |= part > 1e-3
    if present.any():
        first, final = np.flatnonzero(present)[[0, -1]]
        last.set_xlim(edges[first] - width, edges[final + 1] + width)
    style.title(last, "Distribution")
    last.set_xlabel("likeness of two windows")
    last.set_ylabel("cumulative share")
    last.legend(frameon=False, loc="best", handlelength=1.4)
    return figure


def causality_figure(names: Sequence[str], strength: Mapping[str, Array], q: Mapping[str, Array]) -> Figure:
    """Draw directed influence as arrows between channels on a circle; wide arrows are strong.

    Parameters
    ----------
    names : sequence of str
        Channels.
    strength : mapping of side to array (target, source), nats
    q : mapping of side to array (target, source)
        False discovery rate; below 0.05 an arrow is drawn in colour, else only as a thin grey line.

    Examples
    --------
    >>> f = np.array([[np.nan, 0.0], [0.2, np.nan]])
    >>> figure = causality_figure(["A", "B"], {"model": f}, {"model": f * 0})
    >>> figure.axes[0].get_title("left")
    'Twin'
    """
    from matplotlib.patches import FancyArrowPatch

    figure = style.new_figure(_WIDTH if len(strength) > 1 else _WIDTH / 2, 3.7)
    axes = style.grid(figure, 1, len(strength))
    angle = np.pi / 2 - 2 * np.pi * np.arange(len(names)) / len(names)
    place = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    strongest = max((float(np.nanmax(f)) for f in strength.values() if np.isfinite(f).any()), default=1.0)
    for axis, (side, f) in zip(axes, strength.items(), strict=True):
        axis.spines[:].set_visible(False)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlim(-2.0, 2.0)  # about as wide as the panel is, so that the circle is round
        axis.set_ylim(-1.35, 1.4)
        look = LOOKS[side]
        found = 0
        for target, source in np.ndindex(f.shape):
            if target == source or not math.isfinite(f[target, source]):
                continue
            sure = q[side][target, source] < 0.05
            found += int(sure)
            share = float(f[target, source]) / strongest if strongest > 0 else 0.0
            axis.add_patch(
                FancyArrowPatch(
                    tuple(place[source]),
                    tuple(place[target]),
                    connectionstyle="arc3,rad=0.14",
                    arrowstyle="-|>" if sure else "-",
                    mutation_scale=7 + 9 * share,
                    linewidth=0.8 + 4.2 * share if sure else 0.6,
                    color=look.colour if sure else style.GRID,
                    shrinkA=13,
                    shrinkB=13,
                    zorder=2 if sure else 1,
                )
            )
        axis.plot(place[:, 0], place[:, 1], "o", markersize=15, color="white", markeredgecolor=style.INK, zorder=3)
        for name, (x, y) in zip(names, place, strict=True):
            right = "left" if x > 0.1 else "right" if x < -0.1 else "center"
            above = "bottom" if y > 0.9 else "top" if y < -0.9 else "center"
            axis.annotate(name, (1.2 * x, 1.2 * y), ha=right, va=above, fontsize=9, color=style.INK)
        label = look.label
        style.title(axis, label[0].upper() + label[1:], f"{found} of {len(names) * (len(names) - 1)} directions")
    return figure
