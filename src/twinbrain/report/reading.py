"""What a results folder holds, as the report needs it: named, aligned, None where it is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from twinbrain.report import series
from twinbrain.report.state import State, state_of

Array = npt.NDArray[np.float64]

UNNAMED = "an unnamed person"
NO_RECORD = "The recording was not stored with these results"

BASELINES: dict[str, tuple[str, str]] = {
    "copy_inputs": ("Copy of the inputs", "every region is given the mean recorded BOLD of the inputs"),
    "ideal_linear": (
        "Ideal linear spread",
        "the inputs' BOLD spread through the connectome without noise or neurons",
    ),
    "ridge_from_inputs": (
        "Ridge from the inputs",
        "regression on the inputs' BOLD, cross-validated over time blocks",
    ),
    "persistence": (
        "Persistence",
        "the volume before; it sees each region's own record, so it does not compete",
    ),
    "time_shifted": (
        "Twin, time-shifted",
        "the twin's own BOLD, moved in time by a third to two thirds: what chance reaches",
    ),
    "phase_randomised": (
        "Twin, phase-randomised",
        "the twin's own BOLD with random phases, FC kept: what chance reaches",
    ),
}


class Result(Protocol):
    """What `twinbrain.store.load` returns, as far as the report looks at it."""

    @property
    def groups(self) -> Mapping[str, xr.Dataset]: ...
    @property
    def scores(self) -> Mapping[str, Any]: ...
    @property
    def tables(self) -> Mapping[str, pd.DataFrame]: ...
    @property
    def provenance(self) -> Mapping[str, Any]: ...
    @property
    def study(self) -> Any: ...
    @property
    def status(self) -> Any: ...


@dataclass(frozen=True)
class Content:
    """A result in memory: what `render` takes when nothing lies in a folder. Everything may be left out.

    Examples
    --------
    >>> Content(scores={"fc_pcc": 0.4}).groups
    {}
    """

    groups: Mapping[str, xr.Dataset] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    study: Any = None
    status: str = ""


@dataclass(frozen=True)
class FreeRun:
    """Recorded and simulated BOLD over the same volumes and regions, standardised.

    Arrays are (time, region), z-scores; `filtered` says whether the recording was band-passed; `pcc` is per region.

    Examples
    --------
    >>> FreeRun(np.zeros(1), ("a",), np.zeros((1, 1)), np.zeros((1, 1)), np.ones(1), False).regions
    ('a',)
    """

    time_s: Array
    regions: tuple[str, ...]
    recorded: Array
    simulated: Array
    pcc: Array
    filtered: bool


class Reading:
    """Lazy, named access to a result; every property is None or empty where the folder lacks it.

    Parameters
    ----------
    result : Result
        As `twinbrain.store.load` returns it.

    Examples
    --------
    >>> from twinbrain.report.reading import Content
    >>> Reading(Content()).inputs, Reading(Content()).free_run is None
    ((), True)
    """

    def __init__(self, result: Result) -> None:
        self.groups = result.groups
        self.scores: Mapping[str, Any] = result.scores or {}
        self.tables = result.tables or {}
        self.provenance: Mapping[str, Any] = result.provenance or {}
        self.status = str(result.status or "")
        self._study = result.study

    @cached_property
    def study(self) -> Mapping[str, Any]:
        """The study as nested mappings."""
        if isinstance(self._study, Mapping):
            return self._study
        if isinstance(self._study, str):
            import tomllib

            try:
                return tomllib.loads(self._study)
            except tomllib.TOMLDecodeError:
                return {}
        return {}

    def section(self, name: str) -> Mapping[str, Any]:
        """One table of the study; empty if absent."""
        found = self.study.get(name)
        return found if isinstance(found, Mapping) else {}

    def array(self, group: str, name: str) -> xr.DataArray | None:
        """One variable of one group, if it is there."""
        dataset = self.groups.get(group)
        return dataset[name] if dataset is not None and name in dataset else None

    def attribute(self, group: str, name: str) -> Any:
        """One attribute of a group, if it is there."""
        dataset = self.groups.get(group)
        return None if dataset is None else dataset.attrs.get(name)

    @cached_property
    def subject(self) -> str:
        """The person's name."""
        section, person = self.section("subject"), self.provenance.get("subject")
        found = self.attribute("recorded", "subject") or section.get("sample") or section.get("name")
        found = found or (person.get("person") if isinstance(person, Mapping) else person)
        found = found or PurePath(str(section.get("folder") or "")).name
        return str(found) if found else UNNAMED

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input regions, in the order of the fit (a voxel's name counts as its region's)."""
        drive = self.array("fit", "drive")
        names: Any = drive["input"].values if drive is not None and "input" in drive.coords else None
        if names is None:
            names = self.section("assimilation").get("inputs") or self.scores.get("inputs") or ()
        return tuple(dict.fromkeys(str(name).split(":")[0] for name in names))

    @cached_property
    def band_hz(self) -> tuple[float, float]:
        """Pass band of the comparison, Hz."""
        band = self.scores.get("band_hz") or self.section("assimilation").get("band_hz") or (0.01, 0.1)
        return float(band[0]), float(band[1])

    @cached_property
    def recorded(self) -> xr.DataArray | None:
        """Recorded BOLD (time, region), as given."""
        given = self.array("recorded", "bold")
        return given if given is not None else self.array("recorded", "target")

    @cached_property
    def repetition_time_s(self) -> float | None:
        """Time between two volumes, s."""
        return None if self.recorded is None else series.step_s(self.recorded)

    @cached_property
    def free_run(self) -> FreeRun | None:
        """Recorded BOLD, band-passed if that can be done, against simulated BOLD as it is: what is scored."""
        simulated = self.array("twin", "bold")
        if self.recorded is None or simulated is None:
            return None
        # filtered over its whole length and then cut, as in the scores: a piece filtered alone is another series
        passed = self._passed(self.recorded, series.step_s(self.recorded))
        given = self._compared(self.recorded, simulated)
        shown = given if passed is None else self._compared(passed, simulated)
        model = given[1]
        if model.sizes["time"] < 3 or not model.sizes["region"]:
            return None
        z = []
        for before, array in zip(given, shown, strict=True):
            shape = series.standardise(np.asarray(array.values, dtype=np.float64))
            # a filter leaves rounding noise of a constant series
            shape[:, series.is_constant(np.asarray(before.values, dtype=np.float64))] = np.nan
            z.append(shape)
        return FreeRun(
            time_s=np.asarray(model["time"].values, dtype=np.float64),
            regions=tuple(str(name) for name in model["region"].values),
            recorded=z[0],
            simulated=z[1],
            pcc=series.column_correlation(z[0], z[1]),
            filtered=passed is not None,
        )

    def _passed(self, array: xr.DataArray, repetition_time_s: float) -> xr.DataArray | None:
        ordered = array.transpose("time", "region")
        values = series.band_passed(np.asarray(ordered.values, dtype=np.float64), repetition_time_s, self.band_hz)
        return None if values is None else ordered.copy(data=values)

    def _compared(self, recorded: xr.DataArray, simulated: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
        """Cut both to the volumes the scores are of, so that figures agree with them."""
        record, model = series.paired(recorded, simulated)
        start, stop = (self.scores.get(key) for key in ("start_s", "stop_s"))
        if start is not None and stop is not None:
            kept = np.asarray((model["time"] >= start - 1e-6) & (model["time"] <= stop + 1e-6))
            if kept.sum() >= 3:
                return record.isel(time=kept), model.isel(time=kept)
        return record, model

    @cached_property
    def region_pcc(self) -> Mapping[str, float]:
        """Band-passed correlation of each region: from the table of the comparison, else computed here."""
        table = self.tables.get("similarity")
        if table is not None and "pcc_band_passed" in table:
            names = table.get("region", table.index.to_series())
            return {str(n): float(v) for n, v in zip(names, table["pcc_band_passed"], strict=True)}
        run = self.free_run
        return dict(zip(run.regions, run.pcc.tolist(), strict=True)) if run else {}

    def scores_of(self, which: str, name: str = "model", kind: str = "baselines") -> Mapping[str, Any]:
        """Scores of the twin (``"model"``) or of a baseline, ``"raw"`` or ``"band_passed"``; empty if absent."""
        found = self.scores.get(which)
        tree: Any = found if isinstance(found, Mapping) else (self.scores if which == "band_passed" else {})
        if name == "model":
            return dict(tree)
        inside = tree.get(kind)
        if not (isinstance(inside, Mapping) and name in inside):
            inside = self.scores.get(kind) if which == "band_passed" else None
        outside = self.scores.get(kind)
        if isinstance(outside, Mapping) and isinstance(outside.get(name), Mapping) and which in outside[name]:
            return dict(outside[name][which])
        value = inside.get(name) if isinstance(inside, Mapping) else None
        return dict(value) if isinstance(value, Mapping) else {}

    @cached_property
    def baselines(self) -> tuple[str, ...]:
        """Names of the baselines present, the known ones first."""
        found: dict[str, None] = {}
        for tree in (self.scores, self.scores.get("band_passed"), self.scores.get("raw")):
            if isinstance(tree, Mapping) and isinstance(tree.get("baselines"), Mapping):
                found |= dict.fromkeys(str(name) for name in tree["baselines"])
        return (*(n for n in BASELINES if n in found), *(n for n in found if n not in BASELINES))

    def ceiling(self, which: str = "band_passed") -> Mapping[str, float]:
        """Split-half reliability of the record's functional connectivity, by the names of its scores."""
        for tree in (self.scores.get(which), self.scores if which == "band_passed" else None):
            ceilings = tree.get("ceilings") if isinstance(tree, Mapping) else None
            found = ceilings.get("split_half_fc") if isinstance(ceilings, Mapping) else None
            if isinstance(found, Mapping):
                return dict(found)
            if isinstance(found, (int, float)):
                return {"fc_pcc": float(found)}
        return {}

    @cached_property
    def lag_volumes(self) -> tuple[float | None, float | None]:
        """Lag of the scores, and the lag with the best correlation; None where not stated."""
        used, best = self.scores.get("lag_tr"), self.scores.get("best_lag_tr")
        return (None if used is None else float(used)), (None if best is None else float(best))

    @cached_property
    def states_agreement(self) -> bool:
        """Whether the scores say how BOLD agrees, be the recording stored or not."""
        found = self.scores_of("band_passed")
        return any(_finite(found.get(f"bold_pcc_{key}")) is not None for key in ("inputs", "noninputs", "all"))

    @cached_property
    def record_is_missing(self) -> bool:
        """Whether there is a free run that was compared with a recording which is not stored."""
        return self.recorded is None and self.array("twin", "bold") is not None

    @cached_property
    def regions(self) -> int | None:
        """Number of regions of the brain; of those compared, if no anatomy is stored."""
        for array in (self.array("brain", "connectome"), self.array("twin", "bold")):
            if array is not None:
                return int(array.sizes.get("target", array.sizes.get("region", 0))) or None
        return int(self.scores["regions"]) if isinstance(self.scores.get("regions"), int) else None

    @cached_property
    def voxels(self) -> int | None:
        """Number of voxels if the brain was built at voxel level."""
        count = self.attribute("brain", "voxels")
        return int(count) if self.attribute("brain", "level") == "voxel" and count is not None else None

    @cached_property
    def extent(self) -> str:
        """Of how many regions, or voxels of them, the model is made; empty if unknown."""
        regions = f"{self.regions} region{'' if self.regions == 1 else 's'}" if self.regions else ""
        if self.voxels is None:
            return regions
        edge = _finite(self.section("brain").get("voxel_mm"))
        voxels = f"{self.voxels:,} voxels" + (f" of {regions}" if regions else "")
        return voxels + (f" (voxels {edge:g} mm wide)" if edge is not None else "")

    @cached_property
    def state(self) -> State:
        """How the twin's neurons fire."""
        return state_of(self.mean_rate_hz, self.fano)

    @cached_property
    def laminar_state(self) -> State:
        """How the neurons of the laminar run fire."""
        return state_of(self.laminar_rate_hz, _finite(self.attribute("laminar", "fano")))

    @cached_property
    def laminar_rate_hz(self) -> float | None:
        """Mean firing rate of the laminar run, Hz."""
        return _finite(self.attribute("laminar", "mean_rate_hz"))

    @cached_property
    def fano(self) -> float | None:
        """Fano factor of the twin's population spike count in 4 ms."""
        return _finite(self.attribute("twin", "fano"))

    @cached_property
    def mean_rate_hz(self) -> float | None:
        """Mean firing rate of the twin, Hz."""
        found = self.attribute("twin", "mean_rate_hz")
        found = found if found is not None else self.scores.get("mean_rate_hz")
        return _finite(found)


def _finite(value: Any) -> float | None:
    if value is None or isinstance(value, (bool, str)) or not np.isfinite(float(value)):
        return None
    return float(value)
