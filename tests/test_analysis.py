"""One call over all measures: one side, two sides, what it refuses, what it stores and draws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import twinbrain as tb
from twinbrain.analyse.fcd import functional_connectivity_dynamics
from twinbrain.analyse.filtering import band_pass
from twinbrain.analyse.similarity import compare
from twinbrain.errors import InputError

TR = 0.72
NAMES = ["Thalamus_L", "Thalamus_R", "Insula_L", "Insula_R", "Cuneus_L", "Cuneus_R"]
COLUMNS = ["value", "low", "high", "null_mean", "null_sd", "p_value", "note"]


def bold(volumes: int = 400, seed: int = 0, names: list[str] = NAMES) -> xr.DataArray:
    """Smooth series with a common part."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    noise = rng.normal(size=(volumes + 4, len(names))) + 0.7 * rng.normal(size=(volumes + 4, 1))
    x = np.stack([np.convolve(column, np.hanning(7)[1:-1], "valid") for column in noise.T], axis=1)
    coords = {"time": np.arange(volumes) * TR, "region": names}
    return xr.DataArray(100 + x, dims=("time", "region"), coords=coords, attrs={"units": "1"})


def model_of(x: xr.DataArray, amount: float = 0.5) -> xr.DataArray:
    rng = np.random.Generator(np.random.Philox(key=77))
    return x + amount * x.std("time").values * rng.normal(size=x.shape)


@pytest.fixture(scope="module")
def one() -> tb.Analysis:
    return tb.analyse(bold(), nulls=9)


@pytest.fixture(scope="module")
def two() -> tb.Analysis:
    return tb.analyse(model_of(bold()), recorded=bold(), inputs=NAMES[:2], nulls=9)


def test_one_table_holds_every_part(one: tb.Analysis) -> None:
    assert list(one.table.columns) == COLUMNS
    assert one.table.index.name == "measure"
    assert one.table.index.is_unique
    for name in ("fc_mean", "fcd_mean", "mean_order", "peak_hz", "size_exponent", "granger_mean"):
        line = one.table.loc[name]
        assert np.isfinite(line["value"]), name
        assert np.isfinite(line["null_mean"]), name
        assert 0 < line["p_value"] <= 1, name
        assert line["note"], name
    assert one.sides == ("bold",)
    assert one.notes == ()


def test_figures_are_those_of_the_single_functions(one: tb.Analysis) -> None:
    alone = tb.synchrony(bold(), nulls=9).table
    assert (one.table.loc[alone.index, "value"] == alone["value"]).all()
    assert (one.table.loc[alone.index, "null_mean"].dropna() == alone["null_mean"].dropna()).all()
    dynamics = functional_connectivity_dynamics(bold(), nulls=9).table
    assert one.table.loc["fcd_mean", "value"] == dynamics.loc["fcd_mean", "value"]
    other = tb.analyse(bold(seed=1), what="synchrony", nulls=0).table
    assert other.loc["mean_order", "value"] != alone.loc["mean_order", "value"]


def test_model_and_recording_stand_side_by_side(two: tb.Analysis) -> None:
    assert two.sides == ("model", "recorded")
    assert list(two.table["model"].columns) == list(two.table["recorded"].columns) == COLUMNS
    for name in ("mean_order", "fcd_mean", "band_share", "size_exponent", "granger_mean"):
        assert two.table["model"].loc[name, "value"] != two.table["recorded"].loc[name, "value"]
    cut = bold()[10:]
    alone = tb.analyse(cut, what=["synchrony", "spectra"], nulls=0).table["value"]
    assert np.allclose(two.table["recorded"].loc[alone.index, "value"], alone, rtol=1e-12)
    assert not two.table["recorded"].equals(two.table["model"])


def test_likeness_is_that_of_compare(two: tb.Analysis) -> None:
    scores = compare(model_of(bold()), bold(), NAMES[:2], bootstrap=100).to_dict()
    found = two.table["model"]["value"]
    for key, name in (
        ("bold_pcc_all", "bold_pcc"),
        ("bold_pcc_noninputs", "bold_pcc_noninputs"),
        *((k, k) for k in ("fc_pcc", "fc_rms", "fc_fnorm_per_n", "fc_fnorm_relative", "fc_pcc_noninputs")),
    ):
        assert found[name] == pytest.approx(scores[key], abs=1e-9), name
    assert two.table["recorded"].loc["fc_pcc", "value"] == pytest.approx(scores["ceilings"]["split_half_fc"]["fc_pcc"])
    model = two.table["model"]
    assert model.loc["bold_pcc", "low"] < model.loc["bold_pcc", "value"] < model.loc["bold_pcc", "high"]
    assert abs(model.loc["bold_pcc", "null_mean"]) < 0.15
    assert list(two.tables["nodes"].index) == NAMES
    assert len(two.tables["edges"]) == 15


def test_data_against_itself_is_alike_and_strangers_are_not() -> None:
    target = band_pass(bold(), TR)  # what a perfect twin makes: likeness is that to the band-passed recording
    same = tb.analyse(target, recorded=bold(), what="similarity", nulls=19).table["model"]
    for name, value in {"bold_pcc": 1, "fc_pcc": 1, "fc_rms": 0, "best_lag_s": 0}.items():
        assert same.loc[name, "value"] == pytest.approx(value, abs=1e-9), name
    raw = tb.analyse(bold(), recorded=bold(), what=["dynamics", "spectra"], nulls=0).table["model"]
    for name, value in {"fcd_ks": 0, "spectrum_pcc": 1}.items():
        assert raw.loc[name, "value"] == pytest.approx(value, abs=1e-9), name
    assert same.loc["bold_pcc", "p_value"] == pytest.approx(0.1)
    strange = tb.analyse(bold(seed=9), recorded=bold(), what="similarity", nulls=19).table["model"]
    assert strange.loc["bold_pcc", "value"] < 0.3
    assert strange.loc["bold_pcc", "p_value"] > 0.1


@settings(max_examples=5, deadline=None)
@given(scale=st.floats(1e-6, 1e6), order=st.permutations(range(6)))
def test_units_and_order_of_regions_do_not_matter(scale: float, order: list[int]) -> None:
    what = ["similarity", "synchrony", "dynamics"]
    plain = tb.analyse(model_of(bold(200)), recorded=bold(200), what=what, nulls=0).table["model"]["value"]
    changed = tb.analyse(scale * model_of(bold(200))[:, order], recorded=bold(200), what=what, nulls=0)
    assert np.allclose(changed.table["model"]["value"], plain, rtol=1e-6, atol=1e-7, equal_nan=True)


def test_the_seed_decides_the_nulls_and_nothing_else() -> None:
    a, b, c = (tb.analyse(bold(200), what=["synchrony", "similarity"], nulls=5, seed=s).table for s in (1, 1, 2))
    assert a.equals(b)
    assert (a["value"].dropna() == c["value"].dropna()).all()
    assert not (a["null_mean"].dropna() == c["null_mean"].dropna()).all()


def test_a_short_run_leaves_out_what_it_cannot_have_and_says_so() -> None:
    found = tb.analyse(bold(110), nulls=0)
    assert any(note.startswith("criticality: there are ") for note in found.notes)
    assert "size_exponent" not in found.table.index
    assert np.isfinite(found.table.loc["mean_order", "value"])
    with pytest.raises(InputError, match=r"criticality: there are .* expected at least 30"):
        tb.analyse(bold(110), what="criticality", nulls=0)


def test_voxels_are_averaged_where_pairs_are_compared() -> None:
    x = bold(300)
    voxels = xr.DataArray(
        np.repeat(x.values, 3, axis=1) + 0.1 * np.random.Generator(np.random.Philox(key=4)).normal(size=(300, 18)),
        dims=("time", "voxel"),
        coords={"time": x.time, "region": ("voxel", np.repeat(NAMES, 3)), "weight": ("voxel", np.ones(18))},
    )
    found = tb.analyse(voxels, what=["similarity", "synchrony"], nulls=0)
    assert "over 15 pairs" in found.table.loc["fc_mean", "note"]
    assert "18 series" in found.table.loc["mean_order", "note"]
    bare = tb.analyse(voxels.drop_vars(["region", "weight"]), what=["similarity", "synchrony"], nulls=0)
    assert "fc_mean" not in bare.table.index
    assert "carry no 'region'" in bare.notes[0]


def test_a_run_brings_its_spikes() -> None:
    rng = np.random.Generator(np.random.Philox(key=3))
    spikes = xr.Dataset(
        {"time_ms": ("spike", np.sort(rng.uniform(0, 2000, 3000))), "neuron": ("spike", rng.integers(0, 50, 3000))}
    )

    class Run:
        bold = globals()["bold"](110)

    Run.spikes = spikes  # type: ignore[attr-defined]
    found = tb.analyse(Run(), what="criticality", nulls=5)
    assert found.table.loc["spike_avalanches", "value"] > 50
    assert "each unit turned in a circle" in found.table.loc["spike_size_exponent", "note"]
    Run.spikes = None  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="criticality"):
        tb.analyse(Run(), what="criticality", nulls=0)


def test_channels_are_those_asked_for() -> None:
    found = tb.analyse(bold(), what="causality", channels={"Thalamus": NAMES[:2], "Insula": NAMES[2:4]}, nulls=0)
    assert list(found.curves["granger"].target.values) == ["Thalamus", "Insula"]
    assert list(found.tables["granger_bold"].index) == ["Insula -> Thalamus", "Thalamus -> Insula"]
    many = [f"R{k}" for k in range(14)]
    left = tb.analyse(bold(names=many), what=["causality", "synchrony"], nulls=0)
    assert "14 regions are too many" in left.notes[0]


def test_it_is_stored_and_read_again(two: tb.Analysis, tmp_path: Path) -> None:
    tb.save(tmp_path / "out", analysis=two.to_dataset(), tables={"analysis": two.flat()})
    again = tb.load(tmp_path / "out")
    xr.testing.assert_equal(again.groups["analysis"].load(), two.to_dataset())
    stored = again.tables["analysis"]
    assert np.allclose(stored["model_value"], two.flat()["model_value"], equal_nan=True)
    text = json.dumps(two.to_dict(), allow_nan=False)
    assert json.loads(text)["measures"]["model"]["fc_pcc"]["value"] == two.table["model"].loc["fc_pcc", "value"]
    assert "fc_pcc" in two._repr_html_()
    assert repr(two).startswith("Analysis(")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"what": "synchroni"}, "there is no part 'synchroni' of the analysis; did you mean 'synchrony'"),
        ({"what": []}, "no part of the analysis was asked for"),
        ({"channels": ["Thalamus"]}, r"channel 'Thalamus' is not among the 6 regions; did you mean 'Thalamus_.'\?$"),
        ({"channels": ["Thalamus_L"]}, "causality was asked of 1 channel, expected at least 2"),
        ({"nulls": -1}, "nulls is -1, expected a whole number from 0"),
        ({"discard": 1.5}, "discard is 1.5, expected a whole number from 0"),
        ({"seed": -1}, "seed is -1"),
        ({"band_hz": (0.1, 0.01)}, "band_hz is"),
        ({"recorded": bold(names=["A", "B", "C", "D", "E", "F"])}, "no region is common"),
        ({"recorded": bold(30)}, "volumes in common"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tb.analyse(bold(200), **{"nulls": 0} | options)  # type: ignore[arg-type]


def test_what_cannot_be_analysed_is_refused() -> None:
    flat = bold(200)
    flat[:, 2] = 3.0
    holed = bold(200)
    holed[7, 1] = np.nan
    for given_, message in (
        (np.zeros((50, 3)), "an analysis was asked of a ndarray, expected BOLD as an xarray.DataArray"),
        (bold(20), "an analysis was asked of 20 volumes, expected at least 40"),
        (flat, "found region 'Insula_L'"),
        (holed, "region 'Thalamus_R' is not finite at 5.04 s"),
        (bold(200).rename(region="node"), "expected .*region"),
    ):
        with pytest.raises(InputError, match=message):
            tb.analyse(given_, nulls=0)

    class Person:
        bold = {"rest": globals()["bold"](200), "task": globals()["bold"](200)}

    with pytest.raises(InputError, match="2 BOLD runs"):
        tb.analyse(Person(), nulls=0)
    Person.bold.pop("task")
    assert isinstance(tb.analyse(Person(), what="synchrony", nulls=0).table, pd.DataFrame)
