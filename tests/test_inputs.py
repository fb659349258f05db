"""The experiment "inputs": sets of regions compared where none is input, and links between drives of known truth."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import twinbrain as tb
from small_brain import NAMES, small_anatomy
from twinbrain.analyse.filtering import band_pass
from twinbrain.analyse.var import run_autoregression
from twinbrain.errors import InputError
from twinbrain.experiment.demonstration import PLACES
from twinbrain.experiment.design import Condition, Design
from twinbrain.experiment.drives import combined_links, drive_links, drive_spectra, place_series, thinned
from twinbrain.experiment.inputs import EXPERIMENT, FIVE, LINKS, compare_sets, random_sets
from twinbrain.observe import to_regions

BAND = (0.01, 0.1)
PLANTED = set(LINKS)


def planted_drives(seed: int, *, links: bool, volumes: int = 1200) -> xr.DataArray:
    """Five drives with a memory of 5 s that follow each other by 3.6 s where a link is planted, filtered as a fit's."""
    a = np.zeros((5, 5, 5))
    a[0] = 0.87 * np.eye(5)
    for source, target in PLANTED if links else ():
        a[4, FIVE.index(target), FIVE.index(source)] = 0.16
    fine = run_autoregression(a.tolist(), np.eye(5).tolist(), volumes, seed=seed)
    names = list(FIVE)
    x = xr.DataArray(fine, dims=("time", "region"), coords={"time": np.arange(volumes) * 0.72, "region": names})
    return band_pass(x, 0.72, BAND).rename(region="input")


def found_links(seed: int, *, links: bool) -> set[tuple[str, str]]:
    table = drive_links(planted_drives(seed, links=links), BAND)
    there = table[table["p_family"] < 0.05]
    return set(zip(there["source"], there["target"], strict=True))


def test_planted_links_are_found_and_no_others() -> None:
    found = found_links(1, links=True)
    assert found <= PLANTED
    assert len(found) >= 2  # of 4; 2.6 on average in 20 repetitions
    assert found_links(2, links=False) == set()


@pytest.mark.slow
def test_links_that_are_not_there_are_found_as_seldom_as_said() -> None:
    """20 repetitions at a family-wise level of 5 %: more than 3 with any false link happen once in 60."""
    false = sum(bool(found_links(50 + k, links=False)) for k in range(20))
    extra = sum(bool(found_links(150 + k, links=True) - PLANTED) for k in range(20))
    missed = [len(PLANTED - found_links(150 + k, links=True)) for k in range(20)]

    assert false <= 3
    assert extra <= 3
    assert np.mean(missed) < 2


def test_places_are_means_of_their_regions_and_blocks_keep_the_band() -> None:
    time = np.arange(70) * 0.72
    h = xr.DataArray(
        np.arange(140.0).reshape(70, 2), dims=("time", "input"), coords={"time": time, "input": ["A_L", "A_R"]}
    )
    assert place_series(h, {"A": ("A_L", "A_R"), "B": ("B_L",)}).sel(input="A").values[0] == 0.5
    assert thinned(h, BAND).sizes["time"] == 23
    with pytest.raises(InputError, match="none of the places B has one"):
        place_series(h, {"B": ("B_L",)})
    with pytest.raises(InputError, match="at least 80 blocks"):
        drive_links(h, BAND)


def test_a_rhythm_of_a_drive_is_found_and_noise_has_none() -> None:
    series = planted_drives(4, links=False)
    assert len(drive_spectra(series, BAND).peaks) <= 1  # 5 drives at 5 % each
    wave = np.sin(2 * np.pi * 0.0225 * series["time"])
    peaks = drive_spectra(series + 1.5 * wave, BAND).peaks
    assert (abs(peaks["frequency_hz"] - 0.0225) < 0.004).sum() >= 3


def test_links_of_people_are_combined() -> None:
    tables = [drive_links(planted_drives(k, links=True, volumes=900), BAND).assign(person=k) for k in (11, 12, 13)]
    both = combined_links(pd.concat(tables, ignore_index=True))
    strong = both[both["p_family"] < 0.05]
    found = set(zip(strong["source"], strong["target"], strict=True))
    assert len(found & PLANTED) >= 3  # three people see more than one
    assert len(found - PLANTED) <= 1  # the level of the family is 5 %; the slow test counts how often
    assert (both["people"] == 3).all()


def regions_table(gain: dict[str, float], seeds: int = 6) -> tuple[pd.DataFrame, Design]:
    """Similarity of six regions, A and B input somewhere, with a planted advantage per condition."""
    rng = np.random.Generator(np.random.Philox(key=9))
    inputs = {"interoceptive": ("A",), "thalamus": ("B",), "random 1": ("A",)}
    rows = [
        {
            "person": "p",
            "condition": c,
            "seed": s,
            "region": r,
            "input": r in inputs[c],
            "pcc": 0.4 + g + 0.02 * rng.normal(),
        }
        for c, g in gain.items()
        for s in range(seeds)
        for r in "ABCDEF"
    ]
    conditions = [
        Condition(name=c, inputs=inputs[c], control="interoceptive" if c != "interoceptive" else "") for c in gain
    ]
    return pd.DataFrame(rows), Design(experiment="inputs", conditions=tuple(conditions))


def test_a_planted_advantage_is_found_on_regions_without_input_alone() -> None:
    table, design = regions_table({"interoceptive": 0.1, "thalamus": 0.0, "random 1": 0.1})
    table.loc[table["input"], "pcc"] = 0.99  # inputs resemble by construction: they must not count
    found = compare_sets(table, design).set_index(["condition", "test"])
    assert found.loc[("thalamus", "paired"), "p_holm"] < 0.05
    assert found.loc[("thalamus", "paired"), "difference"] == pytest.approx(0.1, abs=0.03)
    assert found.loc[("random 1", "paired"), "p_holm"] > 0.05
    assert found.loc[("thalamus", "unpaired"), "units"] == 12
    table["input"] = True
    with pytest.raises(InputError, match="every region is an input"):
        compare_sets(table, design)


def test_random_sets_have_the_same_size_and_none_of_the_same_regions() -> None:
    regions = tuple(f"{n}_{side}" for n in "ABCDEFGHIJ" for side in "LR")
    like = regions[:6]
    drawn = random_sets(regions, like)
    assert len({frozenset(d) for d in drawn}) > 1
    assert all(len(d) == 6 and not set(d) & set(like) for d in drawn)
    assert drawn == random_sets(regions, like)
    assert drawn != random_sets(regions, like, seed=1)
    with pytest.raises(InputError, match="8 pairs are wanted, but 2 are left"):
        random_sets(regions, regions[:16])


def test_the_default_design_names_the_published_regions() -> None:
    pairs = ("Thalamus", "Hippocampus", "Insula", "Cingulate_Ant", "Frontal_Med_Orb", "Rectus")
    others = tuple(f"X{k}" for k in range(12))
    regions = tuple(f"{n}_{side}" for n in (*pairs, *others) for side in "LR")
    design = EXPERIMENT.design(EXPERIMENT.study(), regions)
    names = [c.name for c in design.conditions]
    assert names[:2] == ["interoceptive", "thalamus"]
    assert sum(n.startswith("random") for n in names) == 5
    assert set(design.conditions[0].inputs) == {f"{n}_{s}" for n in pairs for s in "LR"}
    assert len({len(c.inputs) for c in design.conditions if c.name.startswith("random")} | {12}) == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.xfail(reason="the fit finds the ten drives with r 0.55 to 0.80 only, less than links need", strict=True)
def test_links_of_a_spiking_person_are_found_from_its_bold_and_no_others() -> None:
    """The whole way: known drives -> spiking network -> BOLD -> fit -> drives -> links."""
    anatomy = small_anatomy()
    names = {p: tuple(f"{stem}_{side}" for stem in PLACES[p] for side in "LR") for p in FIVE}
    inputs = [n for p in FIVE for n in names[p]]
    network = tb.Network(tb.Brain.from_subject(anatomy), neurons=2_400, seed=4, neurons_by="equal")
    point = tb.calibrate(network, inputs, margin=False)
    found = {}
    for links in (True, False):
        planted = planted_drives(21 + links, links=links, volumes=600)
        planted = 0.015 * planted / planted.std("time") + 0.02
        values = xr.concat([planted.sel(input=p) for p in FIVE for _ in names[p]], dim="input")
        drive = tb.Drive(values.assign_coords(input=inputs).transpose("time", "input"), 0.72)
        truth = tb.simulate(point.network.scaled(neurons=24_000, seed=9), drive=drive, warm_up_s=7.2, seed=links)
        bold = to_regions(truth.bold).assign_attrs(repetition_time_s=0.72)
        fit = tb.assimilate(point.network, bold, inputs, method="inverse", working_point=point, seed=2)
        series = place_series(fit.drive.values, names)
        r = [np.corrcoef(series.sel(input=p)[15:], planted.sel(input=p)[15:])[0, 1] for p in FIVE]
        assert min(r) > 0.7
        table = drive_links(series.isel(time=slice(15, None)), BAND)
        there = table[table["p_family"] < 0.05]
        found[links] = set(zip(there["source"], there["target"], strict=True))
    assert len(found[True] & PLANTED) >= 3
    assert len(found[True] - PLANTED) <= 1
    assert len(found[False]) <= 1


class Prepared:
    """What the judgement reads of a person, with planted drives and without a network."""

    def __init__(self, seed: int, volumes: int) -> None:
        self.name, self.drives = f"p{seed}", planted_drives(seed, links=True, volumes=volumes)
        self.study = SimpleNamespace(assimilation=SimpleNamespace(band_hz=BAND))
        self.ready = SimpleNamespace(person=small_anatomy())
        rng = np.random.Generator(np.random.Philox(key=seed))
        coords = {"time": np.arange(volumes) * 0.72, "region": list(NAMES)}
        self.recorded = xr.DataArray(rng.normal(size=(volumes, len(NAMES))), dims=("time", "region"), coords=coords)

    def fit(self, inputs: tuple[str, ...]) -> SimpleNamespace:
        place_of = {f"{stem}_{side}": p for p in FIVE for stem in PLACES[p] for side in "LR"}
        return SimpleNamespace(
            values=self.drives.sel(input=[place_of[n] for n in inputs]).assign_coords(input=list(inputs))
        )


@pytest.mark.parametrize(("volumes", "told"), [(900, True), (120, False)])
def test_the_judgement_reports_sets_rhythms_and_links_or_says_not_tested(volumes: int, told: bool) -> None:
    core = tuple(f"{stem}_{side}" for p in FIVE for stem in PLACES[p] for side in "LR")
    rows = (
        Condition(name="interoceptive", inputs=core),
        Condition(name="thalamus", control="interoceptive", inputs=core[:2]),
    )
    design = Design(experiment="inputs", conditions=rows, people=("p1", "p2"), seeds=(1,))
    setups = {who: Prepared(k, volumes) for k, who in enumerate(design.people, 1)}
    table = [
        {
            "person": w,
            "condition": c.name,
            "seed": 1,
            "region": r,
            "input": r in c.inputs,
            "pcc": 0.5 - 0.1 * (c.name != "thalamus"),
        }
        for w in setups
        for c in rows
        for r in NAMES
    ]
    results = SimpleNamespace(
        design=design,
        setups=setups,
        people=design.people,
        similarity=lambda: (pd.DataFrame({"person": ["p1"]}), pd.DataFrame(table)),
        cell=lambda who, name, seed: setups[who].recorded.isel(time=slice(0, 60)).to_dataset(name="bold"),
        passed=lambda who: setups[who].recorded,
        inputs=lambda who, name: design.condition(name).inputs,
    )
    found = EXPERIMENT.conclude(results)
    claims = {claim.statement: claim.seen for claim in found.claims}
    assert "0.400: better than 0 of 1" in found.answer
    assert ("links_combined" in found.tables) is told
    assert {chart.table for chart in found.charts} <= set(found.tables)
    for source, target in LINKS:
        assert (claims[f"the drive of {source} leads that of {target}"] != "not tested") is told
    if told:
        assert found.tables["spectra"]["people"].unique().tolist() == [2]
