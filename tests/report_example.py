"""A made-up results folder in memory, after the layout the store writes: for the tests of the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

# name without hemisphere: rough centre of the right one, MNI mm
CENTRES: dict[str, tuple[float, float, float]] = {
    "Precentral": (41, -8, 52), "Frontal_Sup_2": (22, 31, 44), "Frontal_Mid_2": (38, 33, 34),
    "Frontal_Inf_Oper": (50, 15, 21), "Frontal_Inf_Tri": (50, 30, 14), "Frontal_Inf_Orb_2": (41, 32, -12),
    "Rolandic_Oper": (53, -6, 15), "Supp_Motor_Area": (9, 0, 62), "Olfactory": (10, 16, -11),
    "Frontal_Sup_Medial": (9, 51, 30), "Frontal_Med_Orb": (8, 52, -7), "Rectus": (8, 36, -18),
    "OFCmed": (15, 27, -20), "OFCant": (24, 45, -16), "OFCpost": (29, 24, -20), "OFClat": (42, 40, -17),
    "Insula": (39, 6, 2), "Cingulate_Ant": (8, 37, 16), "Cingulate_Mid": (8, -9, 40),
    "Cingulate_Post": (7, -42, 22), "Hippocampus": (29, -20, -10), "ParaHippocampal": (25, -15, -20),
    "Amygdala": (27, 1, -18), "Calcarine": (16, -73, 9), "Cuneus": (14, -79, 28), "Lingual": (16, -67, -4),
    "Occipital_Sup": (24, -81, 31), "Occipital_Mid": (37, -80, 19), "Occipital_Inf": (38, -82, -8),
    "Fusiform": (34, -39, -20), "Postcentral": (41, -25, 53), "Parietal_Sup": (26, -59, 62),
    "Parietal_Inf": (46, -46, 50), "SupraMarginal": (58, -32, 34), "Angular": (46, -60, 39),
    "Precuneus": (10, -56, 44), "Paracentral_Lobule": (7, -32, 68), "Caudate": (15, 12, 9),
    "Putamen": (28, 5, 2), "Pallidum": (21, 0, 0), "Thalamus": (13, -18, 8), "Heschl": (46, -17, 10),
    "Temporal_Sup": (58, -22, 7), "Temporal_Pole_Sup": (48, 15, -17), "Temporal_Mid": (57, -37, -1),
    "Temporal_Pole_Mid": (44, 15, -32), "Temporal_Inf": (54, -31, -22),
}  # fmt: skip
INPUTS = ("Thalamus_L", "Thalamus_R")
TR = 0.72


@dataclass
class Example:
    """Has what the report asks of a result."""

    groups: dict[str, xr.Dataset]
    scores: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    provenance: dict[str, Any]
    study: dict[str, Any] | str
    status: str = "done"
    extra: dict[str, Any] = field(default_factory=dict)


def smooth(noise: np.ndarray, width_s: float) -> np.ndarray:
    kernel = np.exp(-0.5 * (np.arange(-30, 31) * TR / width_s) ** 2)
    made = np.apply_along_axis(np.convolve, 0, noise, kernel, "same")
    return (made - made.mean(0)) / made.std(0)


def make_example(*, bases: int | None = None, volumes: int = 200, seed: int = 0) -> Example:
    """Make the results of a run that never was; `bases` cuts the list of regions (the thalamus is always kept)."""
    rng = np.random.default_rng(seed)
    names = list(CENTRES)
    if bases is not None:
        names = [*names[: bases - 1], "Thalamus"]
    regions = [f"{name}_{side}" for name in names for side in "LR"]
    xyz = np.array([[(-1 if s == "L" else 1) * CENTRES[n][0], *CENTRES[n][1:]] for n in names for s in "LR"], float)
    count = len(regions)
    inside = np.isin(regions, INPUTS)
    distance = np.linalg.norm(xyz[:, None] - xyz[None], axis=-1)
    connectome = np.exp(-distance / 18) * rng.gamma(0.6, 1e4, (count, count))
    connectome = (connectome + connectome.T) / 2
    np.fill_diagonal(connectome, 0)
    grey = rng.gamma(6, 2500, count)
    neurons = np.round(grey / grey.sum() * 1000 * count)
    time = np.arange(volumes) * TR
    shared, private = smooth(rng.normal(size=(volumes, 5)), 5), smooth(rng.normal(size=(volumes, count)), 4)
    z = 0.6 * shared @ rng.normal(size=(5, count)) + 0.8 * private
    z[:, inside] = z[:, inside].mean(1, keepdims=True) + 0.25 * private[:, inside]
    z = (z - z.mean(0)) / z.std(0)
    mean_in = z[:, inside].mean(1, keepdims=True)
    sim = 0.45 * mean_in + 0.35 * z * rng.uniform(-0.2, 1.0, count) + 0.6 * smooth(rng.normal(size=z.shape), 4)
    sim[:, inside] = z[:, inside] + 0.3 * smooth(rng.normal(size=(volumes, int(inside.sum()))), 4)
    label = {"time": time, "region": regions}
    both = {"time": time, "input": list(INPUTS)}
    raw = 9500 * (1 + 0.004 * (z + 0.5 * rng.normal(size=z.shape)))
    target = 0.022 + 0.004 * z
    drive = 0.04 + 0.02 * z[:, inside]
    forecast = target + 0.0012 * rng.normal(size=z.shape)
    populations = [f"{r}/{k}" for r in regions for k in "EI"]
    signs = np.tile([1, -1], count)
    rates = np.clip(4 + 1.3 * np.repeat(sim, 2, axis=1) + 0.1 * rng.normal(size=(volumes, 2 * count)), 0.2, None)
    spikes = 2600
    cells = rng.integers(0, 320, spikes)
    cell_region = np.array(regions)[np.arange(320) % count]
    layers = ["L2/3E", "L2/3I", "L4E", "L4I", "L5E", "L5I", "L6E", "L6I", "E", "I"]
    groups = {
        "recorded": xr.Dataset(
            {
                "bold": (("time", "region"), raw, {"units": "1", "repetition_time_s": TR}),
                "target": (("time", "region"), target),
            },
            coords=label,
            attrs={"subject": "101309"},
        ),
        "brain": xr.Dataset(
            {
                "connectome": (("target", "source"), connectome),
                "position": (("region", "axis"), xyz),
                "grey_matter": ("region", grey),
                "laminar": ("region", np.ones(count, bool)),
                "neurons": ("region", neurons),
            },
            coords={"target": regions, "source": regions, "region": regions, "axis": list("xyz")},
        ),
        "fit": xr.Dataset(
            {
                "drive": (("time", "input"), drive),
                "spread": (("time", "input"), np.full(drive.shape, 0.006)),
                "filter_mean": (
                    ("time", "input"),
                    np.roll(drive, 5, 0) + 0.004 * rng.normal(size=drive.shape),
                ),
                "forecast": (("time", "region"), forecast),
                "forecast_spread": (("time", "region"), np.full(z.shape, 0.0009)),
                "target": (("time", "region"), target),
            },
            coords=both | label,
        ),
        "twin": xr.Dataset(
            {
                "bold": (("time", "region"), 0.022 + 0.003 * sim),
                "firing_rate": (("time", "population"), rates),
                "spike_time_ms": ("spike", np.sort(rng.uniform(0, 2000, spikes))),
                "spike_neuron": ("spike", cells),
                "spike_region": ("spike", cell_region[cells]),
                "spike_sign": ("spike", np.where(cells % 5 == 0, -1, 1)),
            },
            coords=label
            | {
                "population": populations,
                "pop_region": ("population", np.repeat(regions, 2)),
                "pop_name": ("population", np.tile(["E", "I"], count)),
                "pop_sign": ("population", signs),
                "pop_size": ("population", np.tile([800, 200], count)),
            },
            attrs={
                "mean_rate_hz": 4.03,
                "fano": 3.62,
                "neurons": 94_000,
                "synapses": 9_400_000,
                "multapses": 51_234,
            },
        ),
        "laminar": xr.Dataset(
            {
                "mean_rate_hz": ("layer", [3.5, 4.6, 4.1, 5.3, 3.8, 4.9, 3.6, 5.0, 4.0, 4.1]),
                "rate_time": (("time", "layer"), np.full((8, 10), 4.0)),
            },
            coords={"layer": layers, "time": np.arange(8) * TR},
            attrs={"mean_rate_hz": 4.1, "fano": 2.2, "neurons": 94_000, "synapses": 9_400_000},
        ),
    }
    return Example(
        groups=groups,
        scores=_scores(),
        tables={"similarity": _similarity(regions, inside, rng)},
        provenance={
            "version": "0.1.0",
            "seed": 1,
            "wall_s": 312.4,
            "peak_memory_gb": 1.93,
            "inputs": {"101309/DTI_CM.mat": "sha256:" + "3f" * 32, "101309/rest.mat": "sha256:" + "a7" * 32},
            "libraries": {"numpy": "2.4.6", "numba": "0.68.1", "xarray": "2026.9.0"},
            "machine": {"system": "Linux", "cores": 2, "memory_gb": 8.1},
            "warnings": ["51,234 pairs of neurons are joined by more than one synapse; they were counted."],
        },
        study={
            "subject": {"sample": "101309"},
            "network": {"circuit": "canonical", "parameters": "asynchronous", "in_degree": 100, "seed": 1},
            "assimilation": {
                "inputs": list(INPUTS), "members": 30, "neurons": 15_040, "lag": 12, "volumes": volumes,
                "target_mean": 0.022, "target_scale": 0.004, "band_hz": [0.01, 0.1],
            },
            "twin": {"neurons": 94_000, "seed": 2},
            "execution": {"dt_ms": 1.0},
        },
    )  # fmt: skip


def _similarity(regions: list[str], inside: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    pcc = np.where(inside, 0.94, np.clip(rng.normal(0.35, 0.25, len(regions)), -0.4, 0.8))
    return pd.DataFrame(
        {"input": inside, "pcc_raw": pcc * 0.7, "pcc_band_passed": pcc},
        index=pd.Index(regions, name="region"),
    )


def _scores() -> dict[str, Any]:
    def one(pcc_all: float, inputs: float, others: float, fc: float, rms: float) -> dict[str, float]:
        return {
            "bold_pcc_all": pcc_all, "bold_pcc_inputs": inputs, "bold_pcc_noninputs": others,
            "fc_pcc": fc, "fc_rms": rms, "fc_fnorm_per_n": rms * 0.99, "fc_fnorm_relative": rms * 1.9,
        }  # fmt: skip

    nan = float("nan")
    baselines = {
        "copy_inputs": one(0.305, 1.0, 0.29, 0.05, 0.708),
        "ideal_linear": one(0.305, 1.0, 0.292, 0.07, 0.66),
        "ridge_from_inputs": one(0.386, 1.0, 0.373, 0.73, 0.402),
        "persistence": one(0.981, 0.98, 0.981, 1.0, 0.01),
        "time_shifted": one(0.01, -0.02, 0.012, 0.16, 0.42),
        "phase_randomised": one(0.002, nan, nan, 0.14, 0.43),
    }
    model = one(0.36, 0.935, 0.348, 0.21, 0.391)
    return {
        **model,
        "band_passed": {**model, "baselines": baselines},
        "raw": {**one(0.25, 0.66, 0.241, 0.19, 0.31), "baselines": {k: one(0.2, 1, 0.19, 0.1, 0.5) for k in baselines}},
        "baselines": baselines,
        "ceilings": {"split_half_fc": {"fc_pcc": 0.814, "fc_rms": 0.18}},
        "best_baseline": "ridge_from_inputs",
        "difference_to_best": {"value": -0.025, "low": -0.081, "high": 0.034},
        "mean_rate_hz": 4.03, "neurons": 94_000, "synapses": 9_400_000, "wall_s": 312.4, "peak_memory_gb": 1.93,
        "seed": 1, "version": "0.1.0", "lag_volumes": 0,
    }  # fmt: skip
