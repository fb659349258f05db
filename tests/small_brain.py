"""A brain of twelve pairs of regions for experiments on people of known truth, and results made without a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pandas as pd
import xarray as xr

import twinbrain as tb
from twinbrain.experiment.auditory import AuditoryPerson
from twinbrain.experiment.design import Design

PAIRS = (
    *("Heschl", "Rolandic_Oper", "Temporal_Sup", "Calcarine", "Cuneus", "Precentral"),
    *("Thalamus", "Hippocampus", "Insula", "Cingulate_Ant", "Frontal_Med_Orb", "Rectus"),
)
NAMES = tuple(f"{pair}_{side}" for pair in PAIRS for side in "LR")


def small_anatomy(seed: int = 3) -> tb.Subject:
    """Pairs on a ring, near ones joined strongly, all of them a little."""
    n = len(PAIRS)
    apart = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    near = np.exp(-np.minimum(apart, n - apart) / 1.2)
    whole = np.kron(near, [[1.0, 0.5], [0.5, 1.0]])
    rng = np.random.Generator(np.random.Philox(key=seed))
    noise = np.exp(0.3 * rng.normal(size=whole.shape))
    whole = whole * np.sqrt(noise * noise.T)
    np.fill_diagonal(whole, 0.0)
    return tb.Subject.from_arrays(whole, NAMES, name="small")


@dataclass
class MadeResults:
    """What a judgement reads, of runs that were made without a network: (person, condition, seed) -> (time, region)."""

    design: Design
    made: dict[str, AuditoryPerson]
    bold: dict[tuple[str, str, int], xr.DataArray]
    setups: dict[str, SimpleNamespace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for who, one in self.made.items():
            study = SimpleNamespace(subject=SimpleNamespace(run="auditory"))
            self.setups[who] = SimpleNamespace(name=who, study=study, ready=SimpleNamespace(person=one.subject))

    @property
    def people(self) -> tuple[str, ...]:
        return tuple(self.made)

    def inputs(self, person: str, condition: str) -> tuple[str, ...]:
        return self.made[person].inputs

    def passed(self, person: str) -> xr.DataArray:
        return self.made[person].subject.bold["auditory"]

    def cell(self, person: str, condition: str, seed: int) -> xr.Dataset:
        return xr.Dataset({"bold": self.bold[person, condition, seed].expand_dims("member")})

    def similarity(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        rows = []
        for who, name, seed in self.bold:
            c = self.design.condition(name)
            row = {"person": who, "condition": name, "seed": seed, "bold_pcc_inputs": 0.9, "bold_pcc_noninputs": 0.5}
            row |= {"rate_hz": 4.0, "ran_away": False}
            rows.append({**row, "neurons": c.neurons or 1000, "in_degree": c.in_degree or 100})
        return pd.DataFrame(rows), pd.DataFrame()
