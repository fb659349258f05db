"""Numbers the report draws: aligned and standardised series, correlations, a readable order of regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from twinbrain.errors import InputError

Array = npt.NDArray[np.float64]

# Order and prefix of the AAL families, from front to back and from cortex to deep nuclei (Rolls et al. 2015).
SYSTEMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Frontal", ("Precentral", "Frontal", "Supp_Motor", "Rolandic", "Paracentral")),
    ("Orbital", ("OFC", "Rectus", "Olfactory", "Frontal_Med_Orb", "Frontal_Inf_Orb")),
    ("Limbic", ("Insula", "Cingul", "Hippocampus", "ParaHippocampal", "Amygdala")),
    ("Parietal", ("Postcentral", "Parietal", "SupraMarginal", "Angular", "Precuneus")),
    ("Occipital", ("Calcarine", "Cuneus", "Lingual", "Occipital", "Fusiform")),
    ("Temporal", ("Heschl", "Temporal")),
    ("Deep nuclei", ("Caudate", "Putamen", "Pallidum", "Thalamus", "Thal", "Accumbens")),
)


def system_of(region: str) -> str:
    """Name the system (lobe, limbic, deep nuclei) of an AAL region; ``"Other"`` if its name says nothing.

    Examples
    --------
    >>> system_of("Thalamus_L"), system_of("Frontal_Med_Orb_R"), system_of("area 7")
    ('Deep nuclei', 'Orbital', 'Other')
    """
    matches = [(len(p), system) for system, prefixes in SYSTEMS for p in prefixes if region.startswith(p)]
    return max(matches)[1] if matches else "Other"


def hemisphere_of(region: str) -> str:
    """Return ``"L"``, ``"R"`` or ``""`` from a region's name.

    Examples
    --------
    >>> hemisphere_of("Insula_R"), hemisphere_of("L_V1"), hemisphere_of("Vermis_3")
    ('R', 'L', '')
    """
    for side in ("L", "R"):
        if region.endswith((f"_{side}", f".{side}", f"-{side}", f" {side}")) or region.startswith(f"{side}_"):
            return side
    return ""


def readable_order(regions: Sequence[str]) -> tuple[list[int], list[tuple[str, int, int]]]:
    """Order regions by hemisphere, then by system, and say where each block begins and ends.

    Returns
    -------
    order : list of int
        Positions in `regions`, in reading order.
    blocks : list of (label, start, stop)
        Half-open spans of `order`; the label is ``"L Frontal"`` etc.

    Examples
    --------
    >>> readable_order(["Insula_R", "Thalamus_L", "Cuneus_L"])
    ([2, 1, 0], [('L Occipital', 0, 1), ('L Deep nuclei', 1, 2), ('R Limbic', 2, 3)])
    """
    ranks = {system: rank for rank, (system, _) in enumerate(SYSTEMS)} | {"Other": len(SYSTEMS)}
    sides = {"L": 0, "R": 1, "": 2}
    keys = [(sides[hemisphere_of(r)], ranks[system_of(r)]) for r in regions]
    order = sorted(range(len(regions)), key=lambda index: (*keys[index], index))
    blocks: list[tuple[str, int, int]] = []
    for place, index in enumerate(order):
        label = f"{hemisphere_of(regions[index])} {system_of(regions[index])}".strip()
        if blocks and blocks[-1][0] == label:
            blocks[-1] = (label, blocks[-1][1], place + 1)
        else:
            blocks.append((label, place, place + 1))
    return order, blocks


def standardise(series: Array) -> Array:
    """Z-score along the first axis; a constant column becomes NaN, since it has no shape to compare.

    Examples
    --------
    >>> standardise(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
    [[-1.0, nan], [1.0, nan]]
    """
    centred = series - column_mean(series)
    spread = np.sqrt(column_mean(centred**2))
    return np.asarray(centred / np.where(spread > 0, spread, np.nan))


def column_mean(values: Array) -> Array:
    """Mean of the finite entries of each column; NaN, without a warning, where there is none.

    Examples
    --------
    >>> column_mean(np.array([[1.0, np.nan], [3.0, np.nan]])).tolist()
    [2.0, nan]
    """
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    total = np.where(finite, values, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def mean_of(values: Array) -> float:
    """Mean of all finite entries; NaN, without a warning, if there is none.

    Examples
    --------
    >>> mean_of(np.array([[1.0, np.nan], [3.0, 2.0]])), mean_of(np.array([]))
    (2.0, nan)
    """
    return float(column_mean(values.reshape(-1, 1))[0])


def is_constant(series: Array) -> npt.NDArray[np.bool_]:
    """Say for each column whether it does not vary beyond rounding (or is not finite).

    Examples
    --------
    >>> is_constant(np.array([[1.0, 2.0], [1.0, 3.0]])).tolist()
    [True, False]
    """
    return np.asarray(~(np.ptp(series, axis=0) > 1e-10 * np.abs(series).max(axis=0)))


def band_passed(series: Array, repetition_time_s: float, band_hz: tuple[float, float]) -> Array | None:
    """Band-pass along time as the scores do (`analyse.filtering.band_pass`); None where it cannot be done.

    Volumes that are NaN in every column are missing and stay so.

    Examples
    --------
    >>> band_passed(np.ones((5, 1)), 0.72, (0.01, 0.1)) is None
    True
    """
    from twinbrain.analyse.filtering import band_pass

    try:
        usable = np.isfinite(series).all(axis=1) | np.isnan(series).all(axis=1)
        return band_pass(series, repetition_time_s, band_hz) if usable.all() else None
    except InputError:  # too short, or the band lies beyond the sampling: the report then shows the raw series
        return None


def column_correlation(first: Array, second: Array) -> Array:
    """Pearson correlation of matching columns; NaN where one of them does not vary.

    Examples
    --------
    >>> x = np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 3.0]])
    >>> column_correlation(x, np.c_[-x[:, 0], [7.0, 7.0, 7.0]]).round(6).tolist()
    [-1.0, nan]
    """
    a, b = standardise(first), standardise(second)
    return column_mean(a * b)


def step_s(array: xr.DataArray) -> float:
    """Return the sampling step of a (time, ...) array in s: its attribute, or the median of its time steps.

    Examples
    --------
    >>> step_s(xr.DataArray([0.0, 1.0, 2.0], dims="time", coords={"time": [0.0, 0.72, 1.44]}))
    0.72
    """
    stated = array.attrs.get("repetition_time_s")
    if stated is not None:
        return float(stated)
    steps = np.diff(np.asarray(array["time"].values, dtype=np.float64))
    return float(np.median(steps)) if len(steps) else float("nan")


def paired(recorded: xr.DataArray, simulated: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Match two (time, region) arrays by region name and by time, the nearest sample within half a step.

    Returns
    -------
    tuple of DataArray
        Both over the same times and regions, in the simulated array's order.

    Examples
    --------
    >>> labels = {"time": [0.0, 1.0], "region": ["a", "b"]}
    >>> a = xr.DataArray([[1.0, 2.0], [3.0, 4.0]], dims=("time", "region"), coords=labels)
    >>> r, s = paired(a, a.isel(region=[1, 0], time=[1]))
    >>> r.values.tolist(), s.values.tolist()
    ([[4.0, 3.0]], [[4.0, 3.0]])
    """
    have = {str(name) for name in recorded["region"].values}
    both = [str(name) for name in simulated["region"].values if str(name) in have]
    recorded = recorded.transpose("time", "region").sel(region=both).dropna("time", how="all")
    simulated = simulated.transpose("time", "region").sel(region=both).dropna("time", how="all")
    if not (both and recorded.sizes["time"] and simulated.sizes["time"]):
        return recorded.isel(time=[]), simulated.isel(time=[])
    there = np.asarray(recorded["time"].values, dtype=np.float64)
    here = np.asarray(simulated["time"].values, dtype=np.float64)
    nearest = np.abs(there[None, :] - here[:, None]).argmin(axis=1)
    close = np.abs(there[nearest] - here) <= 0.5 * step_s(recorded) + 1e-9
    return recorded.isel(time=nearest[close]), simulated.isel(time=np.flatnonzero(close))


def dig(tree: Any, *names: str) -> Any:
    """Find the first of `names` anywhere in nested mappings, the shallowest place first; None if absent.

    Examples
    --------
    >>> dig({"network": {"neurons": 10}, "seed": 1}, "neurons"), dig({}, "neurons")
    (10, None)
    """
    level = [tree] if isinstance(tree, Mapping) else []
    while level:
        for name in names:
            for node in level:
                if node.get(name) is not None:
                    return node[name]
        level = [child for node in level for child in node.values() if isinstance(child, Mapping)]
    return None
