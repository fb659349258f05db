"""The parts of `analyse`: each measures every side, and what the two sides share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from twinbrain.analyse import _curves
from twinbrain.analyse._measures import jackknife, row
from twinbrain.analyse._numeric import Floats, correlation_matrix, generator, pearson, standardise
from twinbrain.analyse._scores import best_lag
from twinbrain.analyse._sides import Sides
from twinbrain.analyse.avalanches import Avalanches, avalanches_from_bold, avalanches_from_counts
from twinbrain.analyse.causality import granger
from twinbrain.analyse.connectivity import (
    compare_edges,
    compare_nodes,
    functional_connectivity,
    matrix_distances,
    partial_connectivity,
)
from twinbrain.analyse.criticality import criticality, criticality_of_counts
from twinbrain.analyse.fcd import functional_connectivity_dynamics, ks_distance
from twinbrain.analyse.nulls import phase_randomise
from twinbrain.analyse.spectra import spectra
from twinbrain.analyse.synchrony import synchrony
from twinbrain.errors import InputError

Row = dict[str, float | str]

# The channels of the published causality analysis, as AAL2 names them, hemispheres averaged.
PAPER_CHANNELS = {
    "Thalamus": ("Thalamus_L", "Thalamus_R"),
    "Hippocampus": ("Hippocampus_L", "Hippocampus_R"),
    "Insula": ("Insula_L", "Insula_R"),
    "ACC": ("Cingulate_Ant_L", "Cingulate_Ant_R"),
    "vmPFC": ("Frontal_Med_Orb_L", "Frontal_Med_Orb_R", "Rectus_L", "Rectus_R"),
}
MOST_CHANNELS = 12
MANY = 1000  # series from which single volumes without any event are rare, and nulls take their time
_FINEST_HZ = 0.005
_LAG_S = 4.0
_BLOCK_S = 30.0
_FREQUENCIES = 128
_DRAWN = 20  # surrogates of avalanches of spikes, and of those drawn in figures
_SHUFFLES, _TURNS = 41, 42  # second half of the random key


@dataclass(frozen=True)
class Options:
    """What `analyse` was asked for."""

    band_hz: tuple[float, float]
    channels: Mapping[str, tuple[str, ...]] | None
    nulls: int
    seed: int


@dataclass
class Part:
    """What one part found: rows by side and measure, results by side, further tables, curves of figures, gaps."""

    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    curves: dict[str, xr.Dataset] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)

    def each(
        self, name: str, sides: Mapping[str, xr.DataArray], measured: Callable[[xr.DataArray], Any]
    ) -> dict[str, Any]:
        """Measure every side; one that cannot be measured leaves a sentence."""
        found = {}
        for side, series in sides.items():
            try:
                found[side] = measured(series)
            except InputError as error:
                of = "" if side == "bold" else f" of the {side if side == 'model' else 'recording'}"
                self.gaps.append(f"{name}{of}: {error}")
                continue
            self.results.setdefault(side, {})[name] = found[side]
        return found

    def add(self, side: str, rows: Mapping[str, Row]) -> None:
        """Add rows of the table."""
        self.rows.setdefault(side, {}).update(rows)

    def add_table(self, side: str, table: pd.DataFrame) -> None:
        """Add the rows of a table of measures."""
        self.add(side, {str(name): {str(k): v for k, v in line.items()} for name, line in table.iterrows()})


def similarity(sides: Sides, options: Options) -> Part:
    """Functional connectivity of each side, and the likeness of the two."""
    part = Part()
    for side, series in sides.passed.items():
        if series.sizes["region"] < 3:
            part.gaps.append("similarity: functional connectivity has fewer than 3 regions; give more")
            return part
        part.add(side, _connectivity(series, sides.step_s, options))
        part.results.setdefault(side, {})["similarity"] = functional_connectivity(series)
    if "model" in sides.passed and sides.whole is not None:
        _likeness(part, sides, options)
    return part


def _randomised(values: Floats, options: Options, draw: int) -> Floats:
    inner = int(generator(options.seed, _SHUFFLES).integers(2**63))
    return np.asarray(phase_randomise(values, keep_fc=False, draw=draw, seed=inner))


_NULL = "; null: phases randomised, each series by itself; p two-sided"


def _connectivity(series: xr.DataArray, step_s: float, options: Options) -> dict[str, Row]:
    z = standardise(series.to_numpy())
    half, upper = len(z) // 2, np.triu_indices(z.shape[1], 1)

    def figures(values: Floats) -> dict[str, float]:
        edges = correlation_matrix(values)[upper]
        found = {"fc_mean": float(edges.mean()), "fc_sd": float(edges.std())}
        halves = matrix_distances(correlation_matrix(values[:half]), correlation_matrix(values[half:]))
        return found | {"fc_split_half": halves["fc_pcc"]}

    observed = figures(z)
    drawn = [figures(_randomised(z, options, d)) for d in range(options.nulls)]
    low, high = options.band_hz
    notes = {
        "fc_mean": f"mean Pearson correlation over {len(upper[0])} pairs, {low:g}-{high:g} Hz",
        "fc_sd": "standard deviation over pairs",
        "fc_split_half": "Pearson correlation of the pairs of the first and the second half",
    }
    block = max(1, round(_BLOCK_S / step_s))
    halves = {
        "fc_mean": jackknife(z, lambda x: float(correlation_matrix(x)[upper].mean()), block),
        "fc_sd": jackknife(z, lambda x: float(correlation_matrix(x)[upper].std()), block),
    }
    return {
        name: row(
            value,
            notes[name] + (_NULL if drawn else ""),
            null=np.array([one[name] for one in drawn]),
            half=halves.get(name, float("nan")),
        )
        for name, value in observed.items()
    }


def _likeness(part: Part, sides: Sides, options: Options) -> None:
    """Rows of the pair: in the column of the recording stands its split-half figure, what the data allow."""
    model, recorded = sides.passed["model"], sides.passed["recorded"]
    assert sides.whole is not None
    a, b = standardise(model.to_numpy()), standardise(recorded.to_numpy())
    n = a.shape[1]
    others = ~np.isin(recorded["region"].values, list(sides.inputs))
    reference = correlation_matrix(b)

    def figures(x: Floats, y: Floats, fc: Floats | None = None) -> dict[str, float]:
        matrix, fc = correlation_matrix(x), correlation_matrix(y) if fc is None else fc
        pcc = pearson(x, y)
        distances = matrix_distances(matrix, fc)
        keep = ("fc_pcc", "fc_rms", "fc_fnorm_per_n", "fc_fnorm_relative")
        found = {"bold_pcc": float(pcc.mean())} | {key: distances[key] for key in keep}
        if sides.inputs and 3 <= others.sum() < n:
            found["bold_pcc_noninputs"] = float(pcc[others].mean())
            block = np.ix_(others, others)
            found["fc_pcc_noninputs"] = matrix_distances(matrix[block], fc[block])["fc_pcc"]
        return found

    observed = figures(a, b, reference)
    drawn = [figures(_randomised(a, options, d), b, reference) for d in range(options.nulls)]
    both = np.concatenate([a, b], axis=1)
    block = max(1, round(_BLOCK_S / sides.step_s))
    notes = {
        "bold_pcc": f"correlation in time with the recording, mean over {n} regions",
        "bold_pcc_noninputs": f"the same over the {int(others.sum())} regions that were not driven",
        "fc_pcc": "Pearson correlation of the upper triangles of FC",
        "fc_pcc_noninputs": "the same over pairs without a driven region",
        "fc_rms": "root mean square difference of FC over pairs",
        "fc_fnorm_per_n": "Frobenius norm of the difference of FC over the number of regions",
        "fc_fnorm_relative": "Frobenius norm of the difference of FC over that of the recording's",
    }
    suffix = _NULL if drawn else ""
    for name, value in observed.items():
        half = jackknife(both, lambda x, name=name: figures(x[:, :n], x[:, n:])[name], block)  # type: ignore[misc]
        null = np.array([one[name] for one in drawn])
        part.add("model", {name: row(value, notes[name] + suffix, null=null, half=half)})
    partial = [partial_connectivity(series) for series in (model, recorded)]
    alike = matrix_distances(*(matrix.to_numpy() for matrix in partial))
    part.add(
        "model", {"fc_partial_pcc": row(alike["fc_pcc"], "Pearson correlation of the upper triangles of partial FC")}
    )
    most = round(_LAG_S / sides.step_s)
    if len(a) > most + 3:
        lag, reached = best_lag(a, b, most)
        if lag is not None:
            note = f"s by which the model is late where bold_pcc is highest ({reached:.3f}), within {_LAG_S:g} s"
            part.add("model", {"best_lag_s": row(lag * sides.step_s, note)})
    whole = sides.whole.to_numpy()
    first, second = whole[: len(whole) // 2], whole[len(whole) // 2 :]
    ceiling = matrix_distances(correlation_matrix(first), correlation_matrix(second))
    note = "ceiling: the halves of the whole recording against each other"
    part.add(
        "recorded", {k: row(ceiling[k], note) for k in ("fc_pcc", "fc_rms", "fc_fnorm_per_n", "fc_fnorm_relative")}
    )
    cut = [sides.whole.isel(time=slice(*edge)) for edge in ((0, len(first)), (len(first), None))]
    shared = matrix_distances(*(partial_connectivity(x).to_numpy() for x in cut))["fc_pcc"]
    part.add("recorded", {"fc_partial_pcc": row(shared, note)})
    matrices = [functional_connectivity(series) for series in (model, recorded)]
    nodes = compare_nodes(*matrices)
    nodes.insert(0, "bold_pcc", pearson(a, b))
    part.tables |= {"nodes": nodes, "edges": compare_edges(*matrices)}


def dynamics(sides: Sides, options: Options) -> Part:
    """Functional connectivity dynamics."""
    part = Part()
    found = part.each(
        "dynamics",
        sides.regional,
        lambda x: functional_connectivity_dynamics(x, band_hz=options.band_hz, nulls=options.nulls, seed=options.seed),
    )
    for side, one in found.items():
        part.add_table(side, one.table)
        part.curves[side] = _curves.of_dynamics(one)
    if len(found) == 2:
        model, recorded = found["model"], np.sort(found["recorded"].values.to_numpy())
        null = np.array([ks_distance(draw, recorded) for draw in model.null_values.to_numpy()])
        note = "KS distance between the values of the two FCDs" + (
            "; null: model, phases randomised, FC kept" if len(null) else ""
        )
        part.add("model", {"fcd_ks": row(ks_distance(model.values.to_numpy(), recorded), note, null=null)})
    return part


def synchronisation(sides: Sides, options: Options) -> Part:
    """Kuramoto order parameter and what follows from it."""
    part = Part()
    found = part.each(
        "synchrony",
        sides.series,
        lambda x: synchrony(x, band_hz=options.band_hz, nulls=options.nulls, seed=options.seed),
    )
    for side, one in found.items():
        part.add_table(side, one.table)
        part.curves[side] = _curves.of_synchrony(one)
    return part


def power(sides: Sides, options: Options) -> Part:
    """Spectra of BOLD, and of the estimated drive where there is one."""
    part = Part()

    def measured(x: xr.DataArray) -> Any:
        times = x["time"].to_numpy().astype(np.float64)
        seconds = (times[-1] - times[0]) * len(times) / (len(times) - 1)
        finest = max(_FINEST_HZ, 3.0001 / seconds)
        return spectra(x, resolution_hz=finest, band_hz=options.band_hz, nulls=options.nulls, seed=options.seed)

    found = part.each("spectra", sides.series, measured)
    for side, one in found.items():
        part.add_table(side, one.table)
        part.curves[side] = _curves.of_spectra(one)
    if len(found) == 2:
        a, b = (_curves.mean_spectrum(found[side]) for side in ("model", "recorded"))
        inside = slice(*found["model"].search_hz)
        r = float(np.corrcoef([np.log(x.sel(frequency=inside).to_numpy()) for x in (a, b)])[0, 1])
        part.add("model", {"spectrum_pcc": row(r, "correlation of the logarithms of the two mean spectra")})
    if sides.drive is not None and "model" in found:
        driven = part.each("drive_spectra", {"model": sides.drive.transpose("time", ...)}, measured)
        for side, one in driven.items():
            lines = one.table.loc[["peak_hz", "series_with_peak"]]
            part.add_table(side, lines.rename(index=lambda name: f"drive_{name}"))
            part.curves[side] = part.curves[side].merge(_curves.of_spectra(one, "drive_"))
    return part


def avalanches(sides: Sides, options: Options) -> Part:
    """Criticality of BOLD, and of spikes where they were kept."""
    part = Part()
    many = any(x.shape[1] > MANY for x in sides.series.values())

    def measured(x: xr.DataArray) -> Any:
        rule: Any = "median/2" if many else "zero"
        scan = () if many else (1.0, 1.2, 1.4, 1.6, 1.8, 2.0)
        return criticality(x, active=rule, scan=scan, nulls=options.nulls, seed=options.seed)

    found = part.each("criticality", sides.series, measured)
    draws = min(options.nulls, _DRAWN)
    for side, one in found.items():
        part.add_table(side, one.table)
        series = sides.series[side]

        def null(draw: int, series: xr.DataArray = series) -> Avalanches:
            return avalanches_from_bold(phase_randomise(series, draw=draw, seed=options.seed))

        part.curves[side] = _curves.of_avalanches(one, null, 0 if many else draws)
    side = next(iter(sides.series))
    spikes = sides.spikes
    if spikes is not None:
        spiking = part.each(
            "spike_criticality",
            {side: spikes},
            lambda x: criticality_of_counts(x, bin_steps="mean_interval", nulls=draws, seed=options.seed),
        )
        for one in spiking.values():
            part.add_table(side, one.table.rename(index=lambda name: f"spike_{name}"))
            shuffled = _curves.of_avalanches(one, lambda d: _turned(spikes, d, options.seed), draws, "spike_")
            part.curves[side] = xr.merge([part.curves.get(side, xr.Dataset()), shuffled])
    return part


def _turned(spikes: xr.DataArray, draw: int, seed: int) -> Avalanches:
    """Avalanches of spikes whose neurons are each turned in a circle by its own time."""
    counts = spikes.to_numpy().reshape(spikes.sizes["time"], -1)
    shifts = generator(seed, _TURNS + (draw << 8)).integers(0, len(counts), size=counts.shape[1])
    turned = np.stack([np.roll(unit, by) for unit, by in zip(counts.T, shifts, strict=True)], axis=1)
    return avalanches_from_counts(turned, bin_steps="mean_interval")


def causes(sides: Sides, options: Options) -> Part:
    """Conditional Granger causality between a few channels."""
    part = Part()
    groups = options.channels
    some = next(iter(sides.regional.values()), None)
    if some is None:
        return part
    names = [str(name) for name in some["region"].values]
    if groups is None:
        paper = {k: tuple(n for n in v if n in names) for k, v in PAPER_CHANNELS.items()}
        groups = paper if all(paper.values()) else {name: (name,) for name in names}
        if len(groups) > MOST_CHANNELS:
            part.gaps.append(
                f"causality: {len(groups)} regions are too many to give each all others' past, expected at most "
                f"{MOST_CHANNELS}; name some as channels"
            )
            return part

    def measured(x: xr.DataArray) -> Any:
        series = _channel_means(x, groups)
        n = series.sizes["region"]
        most = max(1, min(10, series.sizes["time"] // (5 * n)))
        return granger(series, max_order=most, frequencies=_FREQUENCIES, nulls=options.nulls, seed=options.seed)

    found = part.each("causality", sides.regional, measured)
    off = ~np.eye(len(groups), dtype=bool)
    for side, one in found.items():
        drawn = np.empty(0) if one.F_of_null is None else one.F_of_null.values[:, off].mean(axis=1)
        share = float((one.q.values[off] < 0.05).mean())
        kind = "; null: phases randomised, each channel by itself; p two-sided" if len(drawn) else ""
        which = f"{len(groups)} channels: {', '.join(groups)}"
        part.add(
            side,
            {
                "granger_mean": row(
                    float(one.F.values[off].mean()), f"nats, mean over directions, {which}{kind}", null=drawn
                ),
                "granger_found": row(share, "share of directions at a false discovery rate of 0.05"),
                "granger_order": row(float(one.order), "lags in volumes, by BIC"),
            },
        )
        part.tables[f"granger_{side}"] = one.table
        part.curves[side] = _curves.of_causality(one)
    if len(found) == 2:
        a, b = (found[side].F.values[off] for side in ("model", "recorded"))
        null = found["model"].F_of_null
        drawn = np.empty(0) if null is None else np.array([_rank_pcc(one[off], b) for one in null.values])
        note = "rank correlation of the two sides' causality over directions" + (
            "; null: as for granger_mean" if len(drawn) else ""
        )
        part.add("model", {"granger_pcc": row(_rank_pcc(a, b), note, null=drawn)})
    return part


def _rank_pcc(a: Floats, b: Floats) -> float:
    ranks = [np.argsort(np.argsort(x)) for x in (a, b)]
    return float(np.asarray(np.corrcoef(np.stack(ranks)))[0, 1]) if len(a) > 2 else float("nan")


def _channel_means(x: xr.DataArray, groups: Mapping[str, tuple[str, ...]]) -> xr.DataArray:
    z = xr.DataArray(standardise(x.transpose("time", "region").to_numpy()), dims=("time", "region"), coords=x.coords)
    means = [z.sel(region=list(members)).mean("region").to_numpy() for members in groups.values()]
    coords = {"time": x["time"], "region": list(groups)}
    return xr.DataArray(np.stack(means, axis=1), dims=("time", "region"), coords=coords, attrs={"units": "1"})


PARTS: dict[str, Callable[[Sides, Options], Part]] = {
    "similarity": similarity,
    "dynamics": dynamics,
    "synchrony": synchronisation,
    "spectra": power,
    "criticality": avalanches,
    "causality": causes,
}
