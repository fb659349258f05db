"""Scores of an experiment's cells: what was scrubbed from the recording takes no part."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from twinbrain.experiment.design import Condition, Design
from twinbrain.experiment.results import Results
from twinbrain.experiment.setup import Setup

LOST = [30, 31, 60]


def bold(seed: int) -> xr.DataArray:
    values = np.random.Generator(np.random.Philox(key=seed)).normal(size=(100, 5)).cumsum(axis=0)
    coords = {"time": np.arange(100) * 0.72, "region": list("ABCDE")}
    return xr.DataArray(values, dims=("time", "region"), coords=coords)


@dataclass(frozen=True, eq=False)
class Made(Results):
    """One person and one cell, handed over instead of read."""

    recorded: xr.DataArray = field(default_factory=lambda: bold(1))
    run: xr.DataArray = field(default_factory=lambda: bold(1))

    def cell(self, person: str, condition: str, seed: int) -> xr.Dataset:
        rate = xr.DataArray(np.ones((1, 100, 5)), dims=("member", "time", "region"), coords={"region": list("ABCDE")})
        data = xr.Dataset({"bold": self.run.expand_dims("member"), "rate_hz": rate})
        return data.assign_attrs(neurons=10, in_degree=5)

    def inputs(self, person: str, condition: str) -> tuple[str, ...]:
        return ("A",)

    def passed(self, person: str) -> xr.DataArray:
        return self.recorded


def scored(recorded: xr.DataArray, run: xr.DataArray) -> pd.Series:
    design = Design(experiment="lesion", conditions=(Condition(name="twin"),), seeds=(1,))
    setups: dict[str, Setup | Any] = {"": SimpleNamespace(name="one", point=None)}
    cells, regions = Made(design, setups, Path(), recorded, run).similarity()
    assert len(regions) == 5
    return cells.iloc[0]


def test_scrubbed_volumes_are_not_scored() -> None:
    recorded, wild = bold(1), bold(1)
    wild[LOST] = 1e3
    holed = recorded.copy(deep=True)
    holed[LOST] = np.nan
    row = scored(holed, wild)
    assert row["volumes"] == 87
    for key, value in (("bold_pcc_inputs", 1.0), ("bold_pcc_noninputs", 1.0), ("fc_pcc", 1.0), ("fc_rms", 0.0)):
        assert abs(row[key] - value) < 1e-9, key
    seen = scored(recorded, wild)
    assert seen["volumes"] == 90
    assert seen["bold_pcc_noninputs"] < 0.5
    assert seen["fc_rms"] > 0.05
