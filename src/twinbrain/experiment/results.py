"""The finished cells of an experiment, by person, condition and seed, and the tables most experiments share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from twinbrain.analyse._numeric import correlation_matrix, pearson
from twinbrain.analyse.align import align
from twinbrain.analyse.baselines import input_mask
from twinbrain.analyse.connectivity import as_matrix, compare_connectivity
from twinbrain.analyse.filtering import band_pass
from twinbrain.experiment.cells import Cell, cell_key, cells_of, load_cell
from twinbrain.experiment.design import Design
from twinbrain.experiment.setup import Setup

__all__ = ["Results"]

DISCARD = 10
"""Volumes left out at the start of every score: the Balloon's state and the filter forget their beginning."""

AWAY = 4.0
"""Times the rate of the working point from which a network counts as run away; driven ones reach 1.5 times it."""


@dataclass(frozen=True, eq=False)
class Results:
    """What an experiment's judgement is made from.

    Attributes
    ----------
    design
        The table.
    setups
        Person (as named in the design) -> set-up.
    folder
        Of the cells.

    Examples
    --------
    >>> Results.__dataclass_params__.frozen
    True
    """

    design: Design
    setups: dict[str, Setup]
    folder: Path

    @property
    def people(self) -> tuple[str, ...]:
        """Names in the design; one empty name stands for the study's own person."""
        return self.design.people or ("",)

    def cell(self, person: str, condition: str, seed: int) -> xr.Dataset:
        """Return one stored cell."""
        setup, wanted = self.setups[person], self.design.condition(condition)
        return load_cell(self.folder, cell_key(setup, self.design, wanted, seed))

    def inputs(self, person: str, condition: str) -> tuple[str, ...]:
        """Return the input regions of a condition."""
        return self.design.condition(condition).inputs or self.setups[person].inputs

    def passed(self, person: str) -> xr.DataArray:
        """Return the recording band-passed once over its whole length: runs are scored against it unfiltered."""
        setup = self.setups[person]
        band = setup.study.assimilation.band_hz
        return band_pass(setup.recorded, setup.ready.repetition_time_s, band)

    def similarity(self, *, members: str = "mean") -> tuple[pd.DataFrame, pd.DataFrame]:
        """Score every cell against its person's recording.

        Parameters
        ----------
        members
            ``mean``: the score of each member, averaged; ``pooled``: the score of the members' mean BOLD, which has
            the sampling noise of a network as many times larger.

        Returns
        -------
        DataFrame, DataFrame
            One row per cell: person, condition, seed, neurons, in_degree, members, volumes (scored), bold_pcc_inputs,
            bold_pcc_noninputs (mean over regions, correlation over time), fc_pcc, fc_rms, fc_fnorm_per_n, fc_mean,
            rate_hz and noise_sd, signal_sd (of BOLD over regions without input: between members, and of what they
            share; NaN with one member); ran_away: whether the mean rate is over `AWAY` times that of the working
            point, so that this is no longer the network that was calibrated. And one row per cell and region: pcc (0
            where the BOLD of a region does not vary), input, rate_hz.
        """
        cells, regions = [], []
        passed = {person: self.passed(person) for person in self.people}
        for cell in cells_of(self.design):
            row, by_region = self._scored(cell, passed[cell.person], members == "pooled")
            cells.append(row)
            regions.append(by_region)
        return pd.DataFrame(cells), pd.concat(regions, ignore_index=True)

    def _scored(self, cell: Cell, passed: xr.DataArray, pooled: bool) -> tuple[dict[str, Any], pd.DataFrame]:
        data = self.cell(cell.person, cell.condition, cell.seed)
        inputs = self.inputs(cell.person, cell.condition)
        bold = data["bold"].astype(np.float64)
        runs = [bold.mean("member")] if pooled else [bold.isel(member=m) for m in range(bold.sizes["member"])]
        pairs = [align(run, passed, discard=min(DISCARD, run.sizes["time"] // 4), silent=True) for run in runs]
        there = pairs[0].scored  # scrubbed volumes were bridged for the filter; they are no measurement
        target = np.asarray(pairs[0].recorded)[there]
        series = [np.asarray(p.simulated)[there] for p in pairs]
        names = [str(x) for x in pairs[0].recorded["region"].values]
        is_input = input_mask(names, [i for i in inputs if i in names])
        pcc = np.mean([pearson(run, target) for run in series], axis=0)
        recorded = as_matrix(correlation_matrix(target), names)
        fc = pd.DataFrame(
            [compare_connectivity(as_matrix(correlation_matrix(run), names), recorded) for run in series]
        ).mean()
        free = ~is_input
        row: dict[str, Any] = {
            "person": self.setups[cell.person].name,
            "condition": cell.condition,
            "seed": cell.seed,
            "neurons": int(data.attrs["neurons"]),
            "in_degree": float(data.attrs["in_degree"]),
            "members": bold.sizes["member"],
            "volumes": len(target),
            "bold_pcc_inputs": float(pcc[is_input].mean()) if is_input.any() else np.nan,
            "bold_pcc_noninputs": float(pcc[free].mean()) if free.any() else np.nan,
            **{key: float(fc[key]) for key in ("fc_pcc", "fc_rms", "fc_fnorm_per_n", "fc_mean")},
            "rate_hz": (rate := float(data["rate_hz"].mean())),
            "ran_away": self._ran_away(cell.person, rate),
            **_noise(bold, [n for n, i in zip(names, is_input, strict=True) if not i]),
        }
        rates = data["rate_hz"].mean(("member", "time")).sel(region=names).values
        by_region = pd.DataFrame({"region": names, "input": is_input, "pcc": pcc, "rate_hz": rates.astype(np.float64)})
        for at, key in enumerate(("person", "condition", "seed")):
            by_region.insert(at, key, row[key])
        return row, by_region

    def _ran_away(self, person: str, rate_hz: float) -> bool:
        point = self.setups[person].point
        return point is not None and rate_hz > AWAY * float(point.rate_hz.mean())


def _noise(bold: xr.DataArray, free: list[str]) -> dict[str, float]:
    """Standard deviations over time of what members do not share (noise) and of what they do (signal)."""
    count = bold.sizes["member"]
    if count < 2 or not free:
        return {"noise_sd": np.nan, "signal_sd": np.nan}
    x = (
        bold.sel(region=free)
        .transpose("member", "time", "region")
        .values[:, DISCARD if bold.sizes["time"] > 40 else 0 :]
    )
    x = x - x.mean(axis=1, keepdims=True)
    noise = x.var(axis=0, ddof=1).mean(axis=0)
    signal = np.maximum((x.mean(axis=0) ** 2).mean(axis=0) - noise / count, 0.0)
    return {"noise_sd": float(np.sqrt(noise.mean())), "signal_sd": float(np.sqrt(signal.mean()))}
