"""Glass-brain views drawn by nilearn from region positions (MNI, mm): no download, vector output."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from twinbrain.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]

_VIEWS = "lyrz"  # left, coronal, right, axial


def _plotting() -> Any:
    """Import nilearn.plotting without its warning that Agg opens no window: none is wanted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nilearn import plotting
    return plotting


def _lighten(display: Any) -> None:
    """Draw the outline of the brain in grey, so that what is inside stands out."""
    for projection in display.axes.values():
        for patch in projection.ax.patches:
            patch.set_alpha(0.3)


def _areas(values: Array, smallest: float = 6.0, largest: float = 90.0) -> Array:
    top = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    share = np.nan_to_num(values / top) if top > 0 else np.full(len(values), 0.3)
    return np.asarray(smallest + (largest - smallest) * np.clip(share, 0, 1))


def connectome_view(weights: Array, positions: Array, inputs: Collection[int], *, edges: int = 240) -> Figure:
    """Draw the strongest connections and all regions on a glass brain, with the input regions marked.

    Parameters
    ----------
    weights : array (target, source)
        Connection strengths; the picture shows the mean of both directions.
    positions : array (region, 3), mm
        Region centres in MNI space.
    inputs : collection of int
        Rows of the regions that receive the estimated current.
    edges : int
        Number of connections drawn.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> place = np.array([[-30.0, 0, 10], [30, 0, 10], [0, -40, 20]])
    >>> len(connectome_view(1 - np.eye(3), place, {0}, edges=2).axes) >= 4
    True
    """
    plotting = _plotting()
    both = (weights + weights.T) / 2
    np.fill_diagonal(both, 0)
    upper = both[np.triu_indices(len(both), 1)]
    kept = min(edges, int((upper > 0).sum()))
    threshold = float(np.sort(upper)[-kept]) if kept else float("inf")
    shown = np.where(both >= threshold, both, 0)
    # log: a few tracts carry most streamlines and would leave all others invisible
    shown = np.where(shown > 0, np.log10(np.maximum(shown, 1e-300) / max(threshold, 1e-300)) + 0.3, 0)
    colours = [style.INPUT if index in inputs else style.RECORDED for index in range(len(positions))]
    figure = style.new_figure(9.4, 2.6)
    figure.set_layout_engine("none")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nilearn warns of a missing colour range when nothing is drawn
        plotting.plot_connectome(
            shown,
            positions,
            node_color=colours,
            node_size=_areas(both.sum(axis=1)),
            edge_cmap="GnBu",
            edge_vmin=-0.6 * float(shown.max()),
            edge_vmax=float(shown.max()) or 1.0,
            edge_kwargs={"linewidth": 0.9},
            display_mode=_VIEWS,
            figure=figure,
            colorbar=False,
            alpha=0.3,
            node_kwargs={"alpha": 0.9},
        )
    return figure


def markers_view(
    values: Array,
    positions: Array,
    inputs: Collection[int],
    *,
    label: str,
    colours: str = "viridis",
    limits: tuple[float, float] | None = None,
    areas: Sequence[float] | None = None,
) -> Figure:
    """Draw one value per region as a coloured disc on a glass brain; input regions get a ring.

    Parameters
    ----------
    values : array (region,)
        What to show; regions with NaN are left out.
    positions : array (region, 3), mm
        Region centres in MNI space.
    inputs : collection of int
        Rows of the input regions.
    label : str
        Caption of the colour bar, with the unit.
    colours : str
        Name of a perceptually uniform colour map.
    limits : (low, high), optional
        Range of the colour map; the range of the values by default.
    areas : sequence of float, optional
        Disc areas in points squared; by default they grow with the value.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> place = np.array([[-30.0, 0, 10], [30, 0, 10], [0, -40, 20]])
    >>> len(markers_view(np.arange(3.0), place, {0}, label="neurons").axes) >= 5
    True
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    plotting = _plotting()
    finite = values[np.isfinite(values)]
    low, high = limits or ((float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0))
    if high <= low:
        high = low + (abs(low) or 1.0)
    sizes = np.asarray(areas, dtype=np.float64) if areas is not None else _areas(values, 14, 110)
    shown = np.flatnonzero(np.isfinite(values))
    figure = style.new_figure(9.4, 2.75)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.0, 0.0, 0.9, 1.0))
    axes.axis("off")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        display = plotting.plot_markers(
            values[shown],
            positions[shown],
            node_size=sizes[shown].tolist(),
            node_cmap=colours,
            node_vmin=low,
            node_vmax=high,
            alpha=0.9,
            display_mode=_VIEWS,
            figure=figure,
            axes=axes,
            colorbar=False,
            node_kwargs={"edgecolors": "white", "linewidths": 0.4},
        )
        _lighten(display)
        ringed = [int(index) for index in inputs]
        if ringed:
            display.add_markers(
                positions[ringed],
                marker_color="none",
                marker_size=(sizes[ringed] + 40).tolist(),
                edgecolors=style.INPUT,
                linewidths=1.4,
                alpha=1.0,
            )
    bar_axes = figure.add_axes((0.925, 0.17, 0.012, 0.66))
    bar = figure.colorbar(ScalarMappable(Normalize(low, high), colours), cax=bar_axes)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2, color=style.MUTED)
    bar.ax.set_title(label, fontsize=8, loc="left", pad=7)
    return figure
