"""Scores of a simulation against a recording: identities, invariances, known figures, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from twinbrain.analyse._numeric import pearson
from twinbrain.analyse.align import align, to_regions
from twinbrain.analyse.connectivity import compare_connectivity, functional_connectivity
from twinbrain.analyse.filtering import band_pass
from twinbrain.analyse.similarity import compare
from twinbrain.errors import InputError

TR = 0.72
KEYS = (
    "bold_pcc_all",
    "bold_pcc_inputs",
    "bold_pcc_noninputs",
    "fc_pcc",
    "fc_rms",
    "fc_fnorm_relative",
    "fc_fnorm_per_n",
    "fc_pcc_noninputs",
    "fc_rms_noninputs",
)


def bold(volumes: int = 300, regions: int = 8, seed: int = 0) -> xr.DataArray:
    """Smooth correlated series with a common part, like BOLD."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    noise = rng.normal(size=(volumes + 20, regions)) + 0.7 * rng.normal(size=(volumes + 20, 1))
    smooth = np.stack([np.convolve(column, np.hanning(12), "valid") for column in noise.T], axis=1)[:volumes]
    return xr.DataArray(
        100 + smooth,
        dims=("time", "region"),
        coords={"time": np.arange(volumes) * TR, "region": [f"R{i}" for i in range(regions)]},
        attrs={"units": "1"},
    )


def noisy(series: xr.DataArray, seed: int = 9, amount: float = 1.0) -> xr.DataArray:
    rng = np.random.Generator(np.random.Philox(key=seed))
    noise = rng.normal(size=series.shape)
    return series + amount * noise * series.std("time").values


def follower(x: xr.DataArray) -> xr.DataArray:
    """What a perfect twin makes of a recording: the target of its fit."""
    return band_pass(x, TR)


def test_series_compared_with_itself_scores_one() -> None:
    x = bold()
    score = compare(x, x, ["R0"], bootstrap=100).to_dict()
    target = compare(follower(x), x, ["R0"], bootstrap=100).to_dict()
    for version in (score["raw"], score["refiltered"], target, target["band_passed"]):
        for key in ("bold_pcc_all", "bold_pcc_inputs", "bold_pcc_noninputs", "fc_pcc", "fc_pcc_noninputs"):
            assert version[key] == pytest.approx(1, abs=1e-12)
        for key in ("fc_rms", "fc_fnorm_relative", "fc_fnorm_per_n", "fc_rms_noninputs"):
            assert version[key] == pytest.approx(0, abs=1e-12)
    control = compare(bold(seed=1), x, ["R0"], bootstrap=100).to_dict()
    assert abs(control["bold_pcc_all"]) < 0.5
    assert control["fc_rms"] > 0.01


def test_a_run_that_follows_the_filtered_recording_is_not_filtered_again() -> None:
    x = bold(900)
    piece = follower(x)[300:600]
    score = compare(piece, x, ["R0"], bootstrap=100).to_dict()
    assert score["bold_pcc_all"] == pytest.approx(1, abs=1e-12)
    assert score["refiltered"]["bold_pcc_all"] < 0.995  # what a second filter over the piece costs the target itself
    assert set(score["refiltered"]) >= set(KEYS)


def test_result_has_all_promised_keys_and_is_strict_json() -> None:
    x = bold()
    c = xr.DataArray(
        np.ones((8, 8)) - np.eye(8),
        dims=("target", "source"),
        coords={"target": x.region.values, "source": x.region.values},
    )
    score = compare(noisy(x)[:200], x, ["R0", "R1"], connectome=c, bootstrap=100, max_lag=2)
    d = score.to_dict()
    assert json.loads(json.dumps(d, allow_nan=False)) == d
    names = {"copy_inputs", "ideal_linear", "ridge_from_inputs", "persistence", "time_shifted"}
    names |= {"phase_randomised"}
    for version in (d, d["raw"], d["band_passed"]):
        assert set(KEYS) <= set(version)
        assert set(version["baselines"]) == names
        for baseline in version["baselines"].values():
            assert set(KEYS) <= set(baseline)
        assert set(version["ceilings"]["split_half_fc"]) >= {"fc_pcc", "fc_rms"}
        assert version["best_baseline"] in {"copy_inputs", "ideal_linear", "ridge_from_inputs"}
    assert {d[k] == d["band_passed"][k] for k in KEYS} == {True}
    assert {d[k] == d["raw"][k] for k in KEYS} == {False}
    assert d["volumes"] == 190
    assert d["start_s"] == pytest.approx(10 * TR)
    assert list(score.table.index) == list(x.region.values)
    assert score.table["input"].sum() == 2
    assert score.fc_recorded.dims == ("region", "partner")
    assert "ridge_from_inputs" in score._repr_html_()
    without = compare(noisy(x), x, ["R0"], bootstrap=100)
    assert without.to_dict()["baselines"]["ideal_linear"] is None
    assert without.table["ideal_linear_pcc"].isna().all()


def test_scores_are_means_of_the_table() -> None:
    x = bold()
    score = compare(noisy(x), x, ["R0", "R5"], bootstrap=100)
    d, t = score.to_dict(), score.table
    assert d["bold_pcc_all"] == pytest.approx(t["pcc_band_passed"].mean(), abs=1e-12)
    assert d["bold_pcc_noninputs"] == pytest.approx(t.loc[~t["input"], "pcc_band_passed"].mean(), abs=1e-12)
    assert d["raw"]["bold_pcc_inputs"] == pytest.approx(t.loc[t["input"], "pcc_raw"].mean(), abs=1e-12)
    assert d["bold_pcc_inputs"] != d["bold_pcc_noninputs"]
    # the distance of two standardised series follows from their correlation
    assert np.allclose(t["rmse_raw"] ** 2, 2 * (1 - t["pcc_raw"]))


@settings(max_examples=6, deadline=None)
@given(
    scale=st.lists(st.floats(1e-3, 1e3), min_size=6, max_size=6),
    offset=st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6),
    order=st.permutations(range(6)),
)
def test_scores_ignore_scale_offset_and_order_of_regions(
    scale: list[float], offset: list[float], order: list[int]
) -> None:
    x = bold(120, 6)
    sim = noisy(x)
    moved = (sim * np.array(scale) + np.array(offset)).isel(region=order)
    a = compare(sim, x, ["R0"], bootstrap=100).to_dict()
    b = compare(moved, x, ["R0"], bootstrap=100).to_dict()
    for key in KEYS:
        assert a[key] == pytest.approx(b[key], abs=1e-6)
    control = compare(moved.assign_coords(region=np.roll(moved.region.values, 1)), x, ["R0"], bootstrap=100)
    assert control.to_dict()["bold_pcc_all"] != pytest.approx(a["bold_pcc_all"], abs=1e-6)


def test_order_of_the_recordings_regions_changes_nothing_but_the_table() -> None:
    x, sim = bold(), noisy(bold())
    a = compare(sim, x, ["R0"], bootstrap=100)
    b = compare(sim, x[:, ::-1], ["R0"], bootstrap=100)
    for key in KEYS:
        assert a.to_dict()[key] == pytest.approx(b.to_dict()[key], abs=1e-12)
    assert a.table.loc["R3", "pcc_raw"] == pytest.approx(b.table.loc["R3", "pcc_raw"], abs=1e-12)
    assert list(a.table.index) != list(b.table.index)


def test_same_seed_same_numbers() -> None:
    x = bold()
    runs = [compare(noisy(x), x, ["R0"], bootstrap=200, seed=s).to_dict() for s in (3, 3, 4)]
    assert runs[0] == runs[1]
    assert runs[0]["difference_to_best"] != runs[2]["difference_to_best"]
    assert runs[0]["bold_pcc_all"] == runs[2]["bold_pcc_all"]


def test_interval_holds_the_lead_and_shows_when_there_is_none() -> None:
    x = bold()
    lead = compare(noisy(follower(x), amount=0.3), x, ["R0"], bootstrap=300).to_dict()["difference_to_best"]
    assert 0 < lead["low"] < lead["value"] < lead["high"]
    assert lead["block_s"] >= 30
    unrelated = bold(seed=5)
    none = compare(unrelated, x, ["R0"], bootstrap=300).to_dict()
    assert none["difference_to_best"]["low"] < 0
    assert none["difference_to_best"]["value"] == pytest.approx(
        none["bold_pcc_noninputs"] - none["baselines"][none["best_baseline"]]["bold_pcc_noninputs"]
    )


def test_interval_equals_correlations_of_resampled_series() -> None:
    from twinbrain.analyse._numeric import pearson
    from twinbrain.analyse._scores import _resampled_pcc
    from twinbrain.analyse.nulls import block_bootstrap_indices

    a, b = bold(80, 3, 1).values, bold(80, 3, 2).values
    rows = block_bootstrap_indices(80, 10, 5, seed=1)
    direct = np.stack([pearson(a[r], b[r]) for r in rows])
    # levels near 100 cost digits in the one-pass formula; compare works on standard scores
    fast = _resampled_pcc(a - a.mean(0), b - b.mean(0), rows)
    assert np.allclose(fast, direct, atol=1e-10)
    assert not np.allclose(direct[0], direct[1])


def test_nulls_keep_the_fc_and_lose_the_course() -> None:
    x = bold()
    d = compare(follower(x), x, ["R0"], bootstrap=100).to_dict()
    for name in ("time_shifted", "phase_randomised"):
        assert d["baselines"][name]["fc_pcc"] == pytest.approx(1, abs=1e-9)
        assert abs(d["baselines"][name]["bold_pcc_noninputs"]) < 0.25
    assert d["bold_pcc_noninputs"] == pytest.approx(1)


def test_best_lag_finds_a_late_simulation() -> None:
    x = bold()
    full = follower(x)
    late = full[:-3].assign_coords(time=x.time.values[3:])
    d = compare(late, x, ["R0"], max_lag=5, bootstrap=100).to_dict()
    assert (d["lag_tr"], d["best_lag_tr"]) == (0, 3)
    assert d["best_lag_bold_pcc_all"] > 0.95 > d["bold_pcc_all"]
    early = full[3:].assign_coords(time=x.time.values[:-3])
    assert compare(early, x, ["R0"], max_lag=5, bootstrap=100).to_dict()["best_lag_tr"] == -3
    assert compare(early, x, ["R0"], bootstrap=100).to_dict()["best_lag_tr"] is None


def test_voxels_are_averaged_by_weight() -> None:
    x = bold()
    rng = np.random.Generator(np.random.Philox(key=3))
    wiggle = rng.normal(size=(300, 8))
    # two voxels per region whose weighted mean is the region: 3 (x + w) + 1 (x - 3 w) = 4 x
    values = np.concatenate([x + wiggle, x - 3 * wiggle], axis=1)
    voxels = xr.DataArray(
        values,
        dims=("time", "voxel"),
        coords={
            "time": x.time.values,
            "region": ("voxel", np.tile(x.region.values, 2)),
            "weight": ("voxel", np.repeat([3.0, 1.0], 8)),
        },
    )
    assert np.allclose(to_regions(voxels), x, atol=1e-9)
    assert compare(voxels, x, ["R0"], bootstrap=100).to_dict()["raw"]["bold_pcc_all"] == pytest.approx(1)
    equal = voxels.assign_coords(weight=("voxel", np.ones(16)))
    assert compare(equal, x, ["R0"], bootstrap=100).to_dict()["raw"]["bold_pcc_all"] < 0.999


def test_alignment_takes_the_nearest_volume_within_half_a_repetition_time() -> None:
    x = bold()
    moved = x[50:150].assign_coords(time=x.time.values[50:150] + 0.4 * TR)
    pair = align(moved, x, discard=0)
    assert np.array_equal(pair.recorded.time, x.time[50:150])
    assert np.array_equal(pair.simulated, x[50:150])
    other = align(x[50:150].assign_coords(time=x.time.values[50:150] + 0.6 * TR), x, discard=0)
    assert np.array_equal(other.recorded.time, x.time[51:151])
    fine = xr.concat([x, x.assign_coords(time=x.time + TR / 3)], "time").sortby("time")
    assert np.array_equal(align(fine, x, discard=4).simulated, x[4:])


def test_regions_of_one_side_only_are_left_out_and_noted() -> None:
    x = bold()
    d = compare(noisy(x)[:, 2:], x, ["R2"], bootstrap=100).to_dict()
    assert d["regions"] == 6
    assert "2 regions are on one side only" in d["notes"][0]
    few = compare(noisy(x)[:115], x, ["R2"], bootstrap=100).to_dict()["notes"]
    assert any("rests on 2.5 blocks" in note for note in few)
    assert compare(noisy(x), x, ["R2"], bootstrap=100).to_dict()["notes"] == []


@pytest.mark.slow
def test_interval_of_a_short_run_holds_the_truth_as_often_as_promised() -> None:
    from twinbrain.analyse._numeric import pearson, standardise
    from twinbrain.analyse._scores import _interval

    rng = np.random.Generator(np.random.Philox(key=21))

    def draw(volumes: int) -> list[np.ndarray]:
        """Two predictions of different quality and what they predict, band-passed, 12 regions."""
        shared = rng.normal(size=(volumes + 200, 3)) @ np.sin(np.arange(36.0)).reshape(3, 12)
        target = shared + rng.normal(size=(volumes + 200, 12))
        noisier = [target + level * rng.normal(size=target.shape) for level in (0.8, 1.0)]
        return [standardise(band_pass(x, TR)[100:-100]) for x in (*noisier, target)]

    a, b, y = draw(40_000)
    truth = (pearson(a, y) - pearson(b, y)).mean()
    number, volumes, block = 400, 190, 42  # 4.5 blocks, as of a demonstration run
    held = sum(low <= truth <= high for low, high in (_interval(*draw(volumes), block, 400, k) for k in range(number)))
    assert 0.92 <= held / number <= 0.98  # 0.95 +- 2.8 standard errors; plain percentiles hold it in 0.87
    short = sum(low <= truth <= high for low, high in (_interval(*draw(900), 300, 400, k) for k in range(30)))
    assert short >= 24  # 3 blocks, as long as they need be: rougher, never hopeless


def test_every_region_an_input_gives_no_score_without_inputs_but_a_warning() -> None:
    x = bold()
    with pytest.warns(UserWarning, match="every region compared is an input"):
        score = compare(noisy(x), x, list(x.region.values), bootstrap=100)
    d = score.to_dict()
    assert d["bold_pcc_noninputs"] is None
    assert d["best_baseline"] is None
    assert d["difference_to_best"]["value"] is None
    assert d["bold_pcc_inputs"] == pytest.approx(d["bold_pcc_all"], abs=1e-12)
    assert "input" in repr(score)


def test_short_segment_of_a_long_recording_is_scored() -> None:
    x = bold(600)
    d = compare(noisy(x)[:60], x, ["R0"], bootstrap=100).to_dict()
    assert d["volumes"] == 50
    assert d["baselines"]["ridge_from_inputs"] is not None
    assert any("shorter than one period" in note for note in d["notes"])
    assert d["difference_to_best"]["low"] is None
    short = compare(noisy(x)[:60], x[:60], ["R0"], bootstrap=100).to_dict()
    assert short["baselines"]["ridge_from_inputs"] is None
    assert any("ridge_from_inputs is not defined" in note for note in short["notes"])


def with_value(x: xr.DataArray, row: int | slice, region: str, value: float) -> xr.DataArray:
    y = x.copy(deep=True)
    y[row, list(x.region.values).index(region)] = value
    return y


X = bold()


def test_a_silent_region_is_let_pass_where_it_is_asked_for() -> None:
    dead = with_value(X, slice(None), "R6", 0.022)
    pair = align(dead, X, silent=True)
    r = pearson(pair.simulated.to_numpy(), pair.recorded.to_numpy())
    assert r[list(X.region.values).index("R6")] == 0.0
    assert (np.delete(r, list(X.region.values).index("R6")) > 0.999).all()
    with pytest.raises(InputError, match="recorded BOLD does not vary"):
        align(X, dead, silent=True)


@pytest.mark.parametrize(
    ("simulated", "recorded", "options", "message"),
    [
        (X, X, {"inputs": ["r3"]}, r"input 'r3' is not among the 8 regions compared; did you mean 'R3'\?"),
        (X, X, {"inputs": "R3"}, "inputs is 'R3', expected a list of region names"),
        (X, X, {"inputs": []}, r"inputs is \[\], expected a list of region names"),
        (
            with_value(X, 30, "R2", np.nan),
            X,
            {},
            r"simulated BOLD of region 'R2' is not finite at 21\.6 s \(1 such",
        ),
        (X, with_value(X, 7, "R4", np.inf), {}, r"recorded BOLD of region 'R4' is not finite at 5\.04 s"),
        (
            with_value(X, slice(None), "R6", 0.022),
            X,
            {},
            "simulated BOLD does not vary in 'R6', expected a signal",
        ),
        (X, with_value(X, slice(None), "R1", 5.0), {}, "recorded BOLD does not vary in 'R1'"),
        (X[:25], X, {}, "have 15 volumes in common after the first 10, expected at least 20"),
        (X.assign_coords(time=X.time + 1e4), X, {}, "have 0 volumes in common"),
        (
            X.assign_coords(region=list("abcdefgh")),
            X,
            {},
            r"no region is common to the simulated \('a', ...\)",
        ),
        (X.isel(time=np.r_[0:50, 52:300]), X, {}, r"simulated BOLD has a gap after 35\.28 s"),
        (
            X,
            X.isel(time=np.r_[0:50, 52:300]),
            {},
            r"recorded volumes 49 and 50 are 2\.16 s apart, expected 0\.72 s",
        ),
        (X.rename(region="area"), X, {}, "the simulated BOLD has dimensions"),
        (X.drop_vars("region"), X, {}, "the simulated BOLD lacks the names of its regions"),
        (
            X.assign_coords(region=["R0", *X.region.values[:-1]]),
            X,
            {},
            "region 'R0' is named twice in the simulated",
        ),
        (
            X.rename(region="voxel").assign_coords(region=("voxel", X.region.values)),
            X,
            {},
            "lacks a weight per voxel",
        ),
        (X.values, X, {}, "the simulated BOLD is a ndarray, expected an xarray.DataArray"),
        (
            X,
            X,
            {"band_hz": (0.1, 0.01)},
            r"band_hz is \(0\.1, 0\.01\) Hz, expected 0 < low < high < 0\.694444 Hz",
        ),
        (X, X, {"block_s": 5.0}, r"block_s is 5\.0, expected at least 30 s"),
        (X, X, {"bootstrap": 10}, "bootstrap is 10, expected at least 100"),
        (X, X, {"discard": -1}, "discard is -1, expected a whole number"),
        (X, X, {"max_lag": 290}, "max_lag is 290 volumes but 290 are compared"),
        (X, X, {"seed": -1}, "seed is -1, expected a whole number"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    simulated: xr.DataArray, recorded: xr.DataArray, options: dict[str, object], message: str
) -> None:
    arguments = {"inputs": ["R0"], "bootstrap": 100} | options
    with pytest.raises(InputError, match=message):
        compare(simulated, recorded, **arguments)  # type: ignore[arg-type]


def test_voxel_weights_must_be_usable() -> None:
    x = X.rename(region="voxel").assign_coords(
        region=("voxel", X.region.values), weight=("voxel", [1, 1, 0, 1, 1, 1, 1, 1.0])
    )
    with pytest.raises(InputError, match="voxels of region 'R2' in the simulated BOLD sum to 0, expected finite"):
        compare(x, X, ["R0"])


# --- functional connectivity -----------------------------------------------------------------------------


def test_fc_of_mixed_noise_is_that_of_the_mixing() -> None:
    mixing = np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, -1.0, 2.0]])
    rng = np.random.Generator(np.random.Philox(key=11))
    sources, _ = np.linalg.qr(rng.normal(size=(500, 4)) @ np.diag([1, 1, 1, 1.0]))
    sources = sources - sources.mean(axis=0)
    sources, _ = np.linalg.qr(sources)  # exactly white and centred: the covariance of y = A x is A A'
    y = xr.DataArray(sources[:, :3] @ mixing.T, dims=("time", "region"), coords={"region": list("abc")})
    covariance = mixing @ mixing.T
    sd = np.sqrt(np.diag(covariance))
    fc = functional_connectivity(y)
    assert np.allclose(fc, covariance / np.outer(sd, sd), atol=1e-12)
    assert not np.allclose(fc, covariance / np.outer(sd, sd)[::-1], atol=1e-2)
    assert float(fc.sel(region="a", partner="b")) == pytest.approx(0.5**0.5)


def test_fc_with_a_constant_region_is_nan_and_warns_by_name() -> None:
    with pytest.warns(UserWarning, match="constant regions: R6"):
        fc = functional_connectivity(with_value(X, slice(None), "R6", 3.0))
    assert fc.sel(region="R6").isnull().all()
    assert int(fc.isnull().sum()) == 15


def test_distances_of_fc_follow_their_definitions() -> None:
    a, b = functional_connectivity(bold(seed=1)), functional_connectivity(bold(seed=2))
    d = compare_connectivity(a, b.isel(region=slice(None, None, -1)))
    upper = np.triu_indices(8, 1)
    difference = a.values - b.values
    assert d["fc_pcc"] == pytest.approx(np.corrcoef(a.values[upper], b.values[upper])[0, 1])
    assert d["fc_rms"] == pytest.approx(np.sqrt((difference[upper] ** 2).mean()))
    assert d["fc_fnorm_per_n"] == pytest.approx(np.sqrt((difference**2).sum()) / 8)
    assert d["fc_fnorm_relative"] == pytest.approx(np.sqrt((difference**2).sum() / (b.values**2).sum()))
    assert d["fc_fnorm_per_n"] < d["fc_rms"]  # the diagonal adds entries without difference
    with pytest.raises(InputError, match="region 'R0' is in only one of the two matrices"):
        compare_connectivity(a[1:, 1:], b)


def test_band_pass_halves_the_amplitude_at_its_corners_without_delay() -> None:
    t = np.arange(4000) * TR
    for hertz, gain in ((0.01, 0.5), (0.1, 0.5), (0.032, 1.0), (0.001, 0.0), (0.4, 0.0)):
        wave = np.sin(2 * np.pi * hertz * t)
        middle = slice(1000, -1000)
        kept = band_pass(wave[:, None], TR)[middle, 0]
        assert kept @ wave[middle] / (wave[middle] @ wave[middle]) == pytest.approx(gain, abs=0.02)


def test_band_pass_keeps_labels() -> None:
    y = band_pass(X.transpose("region", "time"), TR)
    assert y.dims == ("region", "time")
    assert y.attrs == X.attrs
    assert np.array_equal(y.T.values, band_pass(X.values, TR))
    with pytest.raises(InputError, match="has 16 volumes, expected at least 17"):
        band_pass(X[:16], TR)


def test_band_pass_is_the_one_of_the_target() -> None:
    # the fit filters its target in the room of the data, which may not import this one: they must agree
    prepare = pytest.importorskip("twinbrain.data.prepare")
    other = prepare.band_pass(X, repetition_time_s=TR).transpose(*X.dims)
    assert np.allclose(band_pass(X, TR), other, atol=1e-10)
    assert not np.allclose(band_pass(X, TR, (0.01, 0.09)), other, atol=1e-3)


def test_both_rooms_average_voxels_to_the_same_regions() -> None:
    """`observe` and `analyse` may not import each other; their averages must be the same."""
    from twinbrain import observe
    from twinbrain.analyse import align

    rng = np.random.Generator(np.random.Philox(key=3))
    voxels = xr.DataArray(
        rng.normal(size=(30, 5)),
        dims=("time", "voxel"),
        coords={
            "time": np.arange(30) * 0.72,
            "region": ("voxel", ["b", "b", "a", "c", "c"]),
            "weight": ("voxel", rng.uniform(1, 3, 5)),
        },
    )
    one, other = observe.to_regions(voxels), align.to_regions(voxels)
    assert list(one["region"].values) == list(other["region"].values) == ["b", "a", "c"]
    np.testing.assert_allclose(one.values, other.values, rtol=1e-12)
    plain = voxels.groupby("region").mean().sel(region=["b", "a", "c"])
    assert np.abs(plain.values - other.values).max() > 1e-3


def test_missing_volumes_are_left_out_of_every_score() -> None:
    x = bold()
    holed = x.copy(deep=True)
    lost = [60, 61, 62, 150, 299]
    holed[lost] = np.nan
    follows = compare(band_pass(x, TR), holed, ["R0"], bootstrap=100, max_lag=3).to_dict()
    assert follows["bold_pcc_all"] == pytest.approx(1, abs=5e-3)  # the recording's filter ran over bridged volumes
    assert follows["best_lag_tr"] == 0
    score = compare(x, holed, ["R0"], bootstrap=100).to_dict()
    assert score["raw"]["bold_pcc_all"] == pytest.approx(1, abs=1e-12)  # nothing was: what was measured is the same
    assert score["raw"]["fc_rms"] == pytest.approx(0, abs=1e-12)
    assert "5 of 290 volumes are missing in the recording and not scored" in score["notes"]
    wild = x.copy(deep=True)
    wild[lost] = 1e4  # what the simulation does there is not looked at; where it is looked at, it counts
    assert compare(wild, holed, ["R0"], bootstrap=100).to_dict()["raw"]["bold_pcc_all"] == pytest.approx(1, abs=1e-12)
    assert compare(wild, x, ["R0"], bootstrap=100).to_dict()["raw"]["bold_pcc_all"] < 0.5
    alone = x.copy(deep=True)
    alone[60, 2] = np.nan  # one region only: that is a fault, not a volume
    with pytest.raises(InputError, match="recorded BOLD of region 'R2' is not finite"):
        compare(x, alone, ["R0"])
    holed[5:] = np.nan
    with pytest.raises(
        InputError, match="of the 290 volumes in common 0 are not missing in the recording, expected at"
    ):
        compare(x, holed, ["R0"])


def test_the_filter_bridges_missing_volumes() -> None:
    x = bold()
    holed = x.copy(deep=True)
    holed[100:103] = np.nan
    passed, whole = band_pass(holed, TR), band_pass(x, TR)
    assert np.isnan(passed[100:103]).all()
    there = np.isfinite(passed[:, 0].values)
    assert there.sum() == 297
    assert np.abs((passed - whole)[there]).max() < 0.3 * whole.std()
    assert float(np.abs((passed - whole)[there][:60]).max()) < 0.02 * whole.std()  # and only nearby
