"""The page of ``twinbrain check``: what was found, as a table and one look at every part, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from twinbrain.errors import InputError
from twinbrain.report import style
from twinbrain.report.blocks import Items, Number, Numbers, Section, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["carpet_figure", "check_page", "connectome_figure", "slices_figure"]

Float = npt.NDArray[np.float64]

_WIDTH = 9.4


class _Findings(Protocol):
    """What the page is made of; see :class:`twinbrain.experiment.check.Findings`."""

    @property
    def person(self) -> str: ...
    @property
    def rows(self) -> Sequence[Any]: ...
    @property
    def steps(self) -> Sequence[tuple[str, str]]: ...
    @property
    def warnings(self) -> Sequence[str]: ...
    @property
    def plans(self) -> Sequence[tuple[str, str]]: ...
    @property
    def regions(self) -> Sequence[str]: ...
    @property
    def connectome(self) -> Float: ...
    @property
    def order(self) -> npt.NDArray[np.int64]: ...
    @property
    def groups(self) -> Sequence[tuple[str, int]]: ...
    @property
    def slices(self) -> Sequence[Any]: ...
    @property
    def density_label(self) -> str: ...
    @property
    def carpets(self) -> Sequence[Any]: ...
    @property
    def region_table(self) -> Mapping[str, Float]: ...


def check_page(found: _Findings, path: str | Path) -> Path:
    """Write the page: one self-contained HTML file.

    Parameters
    ----------
    found
        What :func:`twinbrain.experiment.check.findings` gathered.
    path
        The file to write.

    Raises
    ------
    InputError
        If the libraries of the extra ``report`` are missing or the file cannot be written.
    """
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as missing:
        raise InputError(
            f"the page needs the library '{missing.name}', which is not installed; install it with: pip install "
            "'twinbrain[report]'"
        ) from None
    from twinbrain.report.page import _fill
    from twinbrain.store import write_text_atomic

    write_text_atomic(path, _fill(_sections(found), "check"))
    return Path(path)


def _sections(found: _Findings) -> list[Section]:
    made = [_summary(found), _brain(found), _connectome(found), _bold(found), _origin(found)]
    return [section for section in made if section.blocks]


def _summary(found: _Findings) -> Section:
    section = Section("summary", f"What was found: {found.person}")
    missing = [row for row in found.rows if row.state == "missing"]
    section.say(
        "Nothing has been simulated. This page shows what was read, so that mistakes show before hours are spent.",
        kind="lead",
    )
    if missing:
        section.blocks.append(
            Items(
                [f"{row.what}: {row.found}. {row.note[:1].upper()}{row.note[1:]}." for row in missing],
                "Asked for",
                "warning",
            )
        )
    if found.warnings:
        section.blocks.append(Items(list(found.warnings), "Before you run it", "warning"))
    section.blocks.append(
        Table(
            "What was found",
            ("", "found", "where, or what it means"),
            [(row.what, row.found, _short(row.note)) for row in found.rows],
            numeric=False,
        )
    )
    if found.plans:
        section.blocks.append(
            Table("What the study would need", ("", "estimate"), [tuple(plan) for plan in found.plans], numeric=False)
        )
    return section


def _short(path: str) -> str:
    """Keep the name of a file; its folder is said under Origin."""
    return path.rsplit("/", 1)[-1] if "/" in path and " " not in path else path


def _brain(found: _Findings) -> Section:
    section = Section("brain", "Grey matter and regions")
    if found.slices:
        section.show(
            "slices",
            slices_figure(found.slices, found.density_label, len(found.regions)),
            "Slices through the grey-matter map with the regions in colour"
            + (", and below them the synaptic density" if found.density_label else ""),
            "Left is left. Top: probability of grey matter (dark = 1), regions in colour; colours have no meaning but "
            "to tell neighbours apart. Grey matter without colour belongs to no region and is left out."
            + (f" Bottom: {found.density_label}." if found.density_label else ""),
        )
    else:
        section.say("There is no label image, so nothing can be drawn in space.", kind="quiet")
    numbers = []
    for name, values in found.region_table.items():
        low, middle, high = (_written(float(x)) for x in (values.min(), np.median(values), values.max()))
        numbers.append(Number(f"{name}, median region", middle, f"{low} to {high}"))
    if numbers:
        section.blocks.append(Numbers(numbers))
    return section


def _written(value: float) -> str:
    if abs(value) >= 100 or value.is_integer():
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _connectome(found: _Findings) -> Section:
    section = Section("connectome", "Connectome")
    section.show(
        "matrix",
        connectome_figure(found.connectome, found.order, found.groups),
        "Connectome as a matrix on a logarithmic colour scale, and the distribution of its strengths",
        "Row = target, column = source, sorted by hemisphere; white = no connection. Expect strong blocks within the "
        "hemispheres and a weaker line between homologous regions. Right: every strength, sorted.",
    )
    return section


def _bold(found: _Findings) -> Section:
    section = Section("bold", "BOLD")
    for carpet in found.carpets:
        section.show(
            f"carpet-{_identifier(carpet.run)}",
            carpet_figure(carpet),
            f"Carpet plot of the run {carpet.run}: z-scored BOLD of all {carpet.unit}s over time",
            f"Run '{carpet.run}': every row is a {carpet.unit}, z-scored over time. Vertical stripes through all "
            "groups are motion or breathing, horizontal ones are a bad signal. Above: change from the volume before "
            "(root mean square over rows) and the mean.",
        )
    return section


def _identifier(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text)


def _origin(found: _Findings) -> Section:
    section = Section("origin", "Origin")
    if found.steps:
        rows = [(what, text) for what, text in found.steps]
        section.blocks.append(Table("Files and steps", ("", ""), rows, numeric=False))
    return section


def slices_figure(slices: Sequence[Any], density_label: str, regions: int) -> Figure:
    """Draw planes through the brain: grey matter with regions, and the synaptic density if there is one.

    Parameters
    ----------
    slices
        See :class:`twinbrain.experiment.check.Slice`.
    density_label
        Label of the second row's colour bar; empty for no second row.
    regions
        How many regions there are.
    """
    rows = 2 if density_label else 1
    shapes = [one.grey_matter.shape for one in slices]
    figure = style.new_figure(_WIDTH, 1.75 * rows)
    figure.set_layout_engine("none")
    total = sum(shape[1] for shape in shapes)
    right = 0.93 if density_label else 1.0
    colours = _region_colours(regions)
    shown = [one.value[np.isfinite(one.value)] for one in slices]
    every = np.concatenate(shown) if density_label and any(len(x) for x in shown) else np.zeros(1)
    low, high = np.percentile(every, (1, 99)) if len(every) else (0.0, 1.0)
    picture = None
    for r in range(rows):
        left = 0.0
        for one, shape in zip(slices, shapes, strict=True):
            width = right * shape[1] / total
            axis = figure.add_axes((left, 1 - (r + 1) / rows, width, (0.9 if r == 0 else 0.97) / rows))
            left += width
            axis.axis("off")
            axis.imshow(1 - 0.75 * np.clip(one.grey_matter, 0, 1), cmap="gray", vmin=0, vmax=1, origin="lower")
            if r == 0:
                overlay = np.zeros((*one.region.shape, 4))
                inside = one.region >= 0
                overlay[inside, :3] = colours[one.region[inside]]
                overlay[..., 3] = np.where(inside, 0.25 + 0.6 * np.clip(one.grey_matter, 0, 1), 0)
                axis.imshow(overlay, origin="lower", interpolation="nearest")
                axis.set_title(one.title, fontsize=8, color=style.INK, pad=3)
            else:
                picture = axis.imshow(
                    np.ma.masked_invalid(one.value),
                    cmap="viridis",
                    vmin=low,
                    vmax=high,
                    origin="lower",
                    interpolation="nearest",
                )
    if picture is not None:
        bar_axes = figure.add_axes((0.945, 0.08, 0.010, 0.32))
        bar = figure.colorbar(picture, cax=bar_axes)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7.5, length=2, color=style.MUTED)
    return figure


def _region_colours(n: int) -> Float:
    """Give every region a colour that differs from its neighbours': hues by the golden angle, three lightnesses."""
    from matplotlib.colors import hsv_to_rgb

    k = np.arange(n)
    hue = (k * 0.6180339887) % 1.0
    return np.asarray(hsv_to_rgb(np.stack([hue, np.full(n, 0.65), 0.75 + 0.2 * (k % 2)], axis=1)), np.float64)


def connectome_figure(connectome: Float, order: npt.NDArray[np.int64], groups: Sequence[tuple[str, int]]) -> Figure:
    """Draw the connectome on a logarithmic scale, sorted into groups, with the distribution of its strengths.

    Examples
    --------
    >>> figure = connectome_figure(1 - np.eye(3), np.arange(3), [("cortex", 3)])
    >>> len(figure.axes) >= 2
    True
    """
    matrix = connectome[np.ix_(order, order)]
    positive = matrix[matrix > 0]
    figure = style.new_figure(_WIDTH, 4.3)
    axes = style.grid(figure, 1, 2, width_ratios=[1.25, 1.0])
    axis: Axes = axes[0]
    low, high = (np.log10(positive.min()), np.log10(positive.max())) if len(positive) else (0.0, 1.0)
    low = max(low, high - 5)
    logs = np.full(matrix.shape, np.nan)
    logs[matrix > 0] = np.log10(matrix[matrix > 0])
    picture = axis.imshow(np.ma.masked_invalid(logs), cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
    ends = np.cumsum([n for _, n in groups])
    for end in ends[:-1]:
        axis.axhline(end - 0.5, color="white", linewidth=0.8)
        axis.axvline(end - 0.5, color="white", linewidth=0.8)
    middles = ends - np.array([n for _, n in groups]) / 2 - 0.5
    names = [name for name, _ in groups]
    wide = [k for k, (_, n) in enumerate(groups) if n >= 0.12 * len(order)]
    axis.set_yticks(middles[wide], [names[k] for k in wide], rotation=90, va="center", fontsize=8)
    axis.set_xticks(middles[wide], [names[k] for k in wide], fontsize=8)
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_ylabel("target")
    axis.set_xlabel("source")
    bar = figure.colorbar(picture, ax=axis, fraction=0.046, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7.5, length=2, color=style.MUTED)
    bar.set_label("log10 strength", fontsize=8)
    other: Axes = axes[1]
    ordered = np.sort(positive)[::-1]
    share = np.cumsum(ordered) / ordered.sum() if len(ordered) else np.zeros(0)
    other.plot(np.arange(1, len(ordered) + 1), ordered, color=style.TWIN, linewidth=1.4)
    if len(ordered):
        other.set_yscale("log")
        tenth = share[max(0, len(ordered) // 10 - 1)]
        style.title(other, "strengths", f"the strongest 10 % carry {100 * tenth:.0f} %")
    other.set_xlabel("edge, sorted")
    other.set_ylabel("strength")
    other.margins(x=0.02)
    return figure


def carpet_figure(carpet: Any) -> Figure:
    """Draw one run as a carpet plot with the change between volumes and the mean above it.

    Parameters
    ----------
    carpet
        See :class:`twinbrain.experiment.check.Carpet`.
    """
    figure = style.new_figure(_WIDTH, 4.4)
    axes = style.grid(figure, 3, 1, height_ratios=[0.55, 0.55, 3.0], sharex=True)
    volumes = carpet.values.shape[1]
    time = (np.arange(volumes) + 0.5) * carpet.seconds
    for axis, values, label, colour in (
        (axes[0], carpet.change, "change", style.INPUT),
        (axes[1], carpet.mean, "mean (z)", style.TWIN),
    ):
        axis.plot(time, values, color=colour, linewidth=1.0)
        axis.set_ylabel(label, fontsize=8)
        axis.margins(x=0, y=0.1)
        axis.locator_params(axis="y", nbins=3)
        axis.tick_params(labelbottom=False)
    main: Axes = axes[2]
    rows = carpet.values.shape[0]
    main.imshow(
        np.ma.masked_invalid(carpet.values),
        cmap="gray",
        vmin=-2,
        vmax=2,
        aspect="auto",
        interpolation="nearest",
        extent=(0.0, volumes * carpet.seconds, rows, 0.0),
    )
    ends = np.cumsum([n for _, n in carpet.groups])
    for end in ends[:-1]:
        main.axhline(end, color=style.INPUT, linewidth=1.0)
    middles = ends - np.array([n for _, n in carpet.groups]) / 2
    tall = [k for k, (_, n) in enumerate(carpet.groups) if n >= 0.04 * rows]
    main.set_yticks(middles[tall], [carpet.groups[k][0] for k in tall], rotation=90, va="center", fontsize=7.5)
    main.tick_params(axis="y", length=0)
    for spine in main.spines.values():
        spine.set_visible(False)
    main.set_xlabel("time (s)")
    note = f"{volumes} volumes of {carpet.seconds:g} s" + (f", {carpet.missing} missing" if carpet.missing else "")
    style.title(axes[0], f"run '{carpet.run}'", note)
    return figure
