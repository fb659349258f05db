"""All measures of one brain's activity in one table, of model and recording by the same functions."""

from __future__ import annotations

import html
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from twinbrain.analyse._measures import COLUMNS, count
from twinbrain.analyse._numeric import generator, json_ready
from twinbrain.analyse._parts import MANY, PARTS, Options
from twinbrain.analyse._sides import Sides, sides_of, take
from twinbrain.errors import InputError, nearest

__all__ = ["Analysis", "analyse"]

_LOG = logging.getLogger(__name__)
_NULLS, _NULLS_OF_MANY = 100, 5


@dataclass(frozen=True, eq=False, repr=False)
class Analysis:
    """Result of `analyse`.

    Attributes
    ----------
    table
        Index ``measure``; columns ``value``, ``low``, ``high`` (95 % interval), ``null_mean``, ``null_sd``,
        ``p_value``, ``note``. With a recording the columns have two levels, ("model", "recorded") by these; measures
        of likeness stand under "model", and under "recorded" what the halves of the recording reach between them.
    results
        What each part returned, by side ("bold", or "model" and "recorded") and part: ``results["model"]["synchrony"]``
        is the `Synchrony` of the model.
    tables
        Further tables: ``nodes`` and ``edges`` (likeness by region and by connection), ``granger_<side>``.
    curves
        What figures are drawn from, dimension ``series`` for the sides.
    notes
        What could not be measured, and why.

    Examples
    --------
    >>> x = np.random.Generator(np.random.Philox(key=1)).normal(size=(300, 4))
    >>> bold = xr.DataArray(x, dims=("time", "region"), coords={"time": np.arange(300) * 0.8, "region": list("ABCD")})
    >>> analyse(bold, what=["synchrony"], nulls=0)
    Analysis(6 measures of bold)
    """

    table: pd.DataFrame
    results: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, pd.DataFrame]
    curves: xr.Dataset
    notes: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sides(self) -> tuple[str, ...]:
        """("bold",), or ("model", "recorded")."""
        if self.table.columns.nlevels == 1:
            return ("bold",)
        return tuple(dict.fromkeys(str(side) for side in self.table.columns.get_level_values(0)))

    def flat(self) -> pd.DataFrame:
        """Table with one level of columns, as it is written to a file: ``model_value``, ``model_low``, ..."""
        if self.table.columns.nlevels == 1:
            return self.table
        flat = self.table.copy()
        flat.columns = pd.Index(["_".join(pair) for pair in self.table.columns.to_flat_index()])
        return flat

    def to_dict(self) -> dict[str, Any]:
        """Settings, measures by side and notes, ready for JSON; what is not defined is None."""
        sides = {"bold": self.table} if self.sides == ("bold",) else {side: self.table[side] for side in self.sides}
        measures = {
            side: {name: dict(line) for name, line in table.iterrows() if str(line["note"])}
            for side, table in sides.items()
        }
        ready: dict[str, Any] = json_ready(
            {"settings": dict(self.settings), "measures": measures, "notes": list(self.notes)}
        )
        return ready

    def to_dataset(self) -> xr.Dataset:
        """Curves of the figures with settings and notes as attributes, for the store."""
        about = {"notes": "\n".join(self.notes), **{f"setting_{k}": v for k, v in self.settings.items()}}
        return self.curves.assign_attrs(about)

    def __repr__(self) -> str:
        missing = f"; not measured: {len(self.notes)}, see notes" if self.notes else ""
        return f"Analysis({len(self.table)} measures of {' and '.join(self.sides)}{missing})"

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return str(self.table.round(4).to_html()) + (f"<ul>{notes}</ul>" if notes else "")


def analyse(
    bold: Any,
    *,
    what: str | Sequence[str] | None = None,
    recorded: Any = None,
    inputs: Sequence[str] = (),
    channels: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    band_hz: tuple[float, float] = (0.01, 0.1),
    discard: int = 10,
    nulls: int | None = None,
    seed: int = 0,
) -> Analysis:
    """Measure BOLD, recorded or simulated, by everything this package has, each figure beside its null.

    The parts: ``similarity`` (functional connectivity, its reliability, and the likeness to the recording),
    ``dynamics`` (FCD), ``synchrony`` (Kuramoto order parameter, metastability, phase-locking), ``spectra`` (Welch or
    multitaper power, peaks above AR(1); also of a fit's drive), ``criticality`` (avalanches of BOLD, and of spikes if
    a run kept them), ``causality`` (conditional Granger). They are `functional_connectivity`,
    `functional_connectivity_dynamics`, `synchrony`, `spectra`, `criticality` and `granger` with their defaults; use
    those for more choice. The resolution of spectra is 0.005 Hz, or as fine as the length allows. No figure changes
    with units, offsets or the order of the regions.

    Parameters
    ----------
    bold
        BOLD (time, region) or (time, voxel), ``time`` in s, at least 40 volumes; or a `Run`; or the results of a folder
        (`load`), which bring the recording, the driven regions, the drive and the spikes; or a `Subject` with one run.
        Voxels with the coordinates ``region`` and ``weight`` are averaged by region where pairs are compared.
    what
        Part or parts. Default: all; what a recording is too short for is left out with a note.
    recorded
        The recording to lay beside a model's BOLD: both are cut to their common regions and volumes. Connectivity and
        likeness are those of the band-passed recording and of the model as it is, see `compare`. Default: that of the
        results, if they hold one.
    inputs
        Regions that were driven with the person's own BOLD. Default: those of the results.
    channels
        Regions of the causality, or name -> regions whose mean is taken. Default: the five of the published analysis
        (thalamus, hippocampus, insula, ACC, vmPFC), if AAL2 names them; else all, if there are at most 12.
    band_hz
        Band of connectivity and phases, Hz. Default 0.01-0.1.
    discard
        Common volumes left out at the start where a model is compared. Default 10.
    nulls
        Surrogates for each part, 0 for none. Default 100, or 5 with more than 1,000 series.
    seed
        Key of all random numbers.

    Returns
    -------
    Analysis

    Raises
    ------
    InputError
        If the series cannot be used (too short, constant, not finite, names twice), an option is unknown, or none of
        the parts could be measured.

    Examples
    --------
    >>> rng = np.random.Generator(np.random.Philox(key=1))
    >>> x = rng.normal(size=(400, 6)) + rng.normal(size=(400, 1))
    >>> coords = {"time": np.arange(400) * 0.72, "region": list("ABCDEF")}
    >>> person = xr.DataArray(x, dims=("time", "region"), coords=coords)
    >>> found = analyse(person, what=["similarity", "synchrony"], nulls=19)
    >>> bool(found.table.loc["fc_mean", "value"] > 0.3), float(found.table.loc["fc_mean", "p_value"])
    (True, 0.1)
    >>> model = person + 0.5 * rng.normal(size=(400, 6))
    >>> beside = analyse(model, recorded=person, what="synchrony", nulls=0)
    >>> beside.table[("model", "value")].index[0], beside.sides
    ('mean_order', ('model', 'recorded'))
    """
    parts = _parts(what)
    generator(seed, 0)  # refuse a wrong seed before the work
    given = take(bold, recorded)
    sides = sides_of(given, band_hz, inputs, count(discard, "discard", least=0))
    if nulls is None:
        nulls = _NULLS_OF_MANY if any(x.shape[1] > MANY for x in sides.series.values()) else _NULLS
    options = Options(band_hz, _groups(channels, sides), count(nulls, "nulls", least=0), seed)
    names = list(sides.series)
    rows: dict[str, dict[str, Any]] = {side: {} for side in names}
    results: dict[str, dict[str, Any]] = {side: {} for side in names}
    tables: dict[str, pd.DataFrame] = {}
    curves: dict[str, list[xr.Dataset]] = {side: [] for side in names}
    gaps = list(sides.notes)
    for name in parts:
        _LOG.info("measuring %s", name)
        found = PARTS[name](sides, options)
        for side in names:
            rows[side] |= found.rows.get(side, {})
            results[side] |= found.results.get(side, {})
            curves[side] += [found.curves[side]] if side in found.curves else []
        tables |= found.tables
        gaps += found.gaps
    if not any(rows.values()):
        raise InputError(gaps[-1] if gaps else "nothing could be measured; give a longer recording.")
    settings = {
        "what": ", ".join(parts),
        "band_hz": f"{band_hz[0]:g}-{band_hz[1]:g}",
        "volumes": int(next(iter(sides.series.values())).sizes["time"]),
        "series": int(next(iter(sides.series.values())).shape[1]),
        "repetition_time_s": sides.step_s,
        "nulls": nulls,
        "seed": int(seed),
    }
    return Analysis(_table(rows), results, tables, _joined(curves), tuple(gaps), settings)


def _parts(what: str | Sequence[str] | None) -> tuple[str, ...]:
    if what is None:
        return tuple(PARTS)
    asked = [what] if isinstance(what, str) else list(what)
    for name in asked:
        if name not in PARTS:
            hint, parts = nearest(str(name), list(PARTS)), ", ".join(PARTS)
            raise InputError(f"there is no part '{name}' of the analysis{hint or f'; the parts are {parts}'}")
    if not asked:
        raise InputError(f"no part of the analysis was asked for, expected some of {', '.join(PARTS)}.")
    return tuple(dict.fromkeys(asked))


def _groups(
    channels: Sequence[str] | Mapping[str, Sequence[str]] | None, sides: Sides
) -> Mapping[str, tuple[str, ...]] | None:
    if channels is None:
        return None
    groups = channels if isinstance(channels, Mapping) else {str(name): (str(name),) for name in channels}
    some = next(iter(sides.regional.values()), None)
    names = [] if some is None else [str(name) for name in some["region"].values]
    for members in groups.values():
        for name in members:
            if name not in names:
                hint = nearest(name, names) or "; name one of them."
                raise InputError(f"channel '{name}' is not among the {len(names)} regions{hint}")
    if len(groups) < 2:
        raise InputError("causality was asked of 1 channel, expected at least 2; name another.")
    return {str(name): tuple(members) for name, members in groups.items()}


def _table(rows: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    tables = {}
    order = list(dict.fromkeys(name for side in rows.values() for name in side))
    for side, lines in rows.items():
        frame = pd.DataFrame.from_dict(dict(lines), orient="index", columns=list(COLUMNS)).reindex(order)
        tables[side] = frame.assign(note=frame["note"].fillna("")).rename_axis(index="measure")
    if len(tables) == 1:
        return next(iter(tables.values()))
    return pd.concat(tables, axis=1, names=["series", "figure"])


def _joined(curves: Mapping[str, list[xr.Dataset]]) -> xr.Dataset:
    """One Dataset of all curves, the sides along ``series``."""
    merged = {side: xr.merge(found, combine_attrs="drop_conflicts") for side, found in curves.items() if found}
    if not merged:
        return xr.Dataset()
    return xr.concat(
        list(merged.values()),
        dim=xr.Variable("series", np.array(list(merged), dtype=np.str_)),
        join="outer",
        combine_attrs="drop_conflicts",
        data_vars="all",
        fill_value=np.nan,
    )
