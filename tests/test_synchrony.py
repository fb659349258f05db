"""Phase synchronisation: known cases, surrogates, what it does not change with, and what it refuses."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import hilbert

from twinbrain.analyse.filtering import band_pass
from twinbrain.analyse.synchrony import (
    order_parameter,
    phase_connectivity_dynamics,
    phase_locking,
    phases,
    synchronisation_entropy,
    synchrony,
)
from twinbrain.errors import InputError

TR = 0.72


def random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def labelled(x: np.ndarray) -> xr.DataArray:
    names = [f"R{k:03d}" for k in range(x.shape[1])]
    return xr.DataArray(x, dims=("time", "region"), coords={"time": np.arange(len(x)) * TR, "region": names})


def bold(volumes: int = 400, regions: int = 6, coupling: float = 1.0, seed: int = 0) -> xr.DataArray:
    rng = random(seed)
    return labelled(rng.normal(size=(volumes, regions)) + coupling * rng.normal(size=(volumes, 1)))


def angles(theta: np.ndarray) -> xr.DataArray:
    return xr.DataArray(theta, dims=("time", "region"))


# ---- known cases -----------------------------------------------------------------------------------------------------


def test_identical_phases_have_order_one_and_locking_one() -> None:
    theta = np.tile(np.linspace(-3, 3, 200)[:, None], (1, 7))
    assert np.allclose(order_parameter(angles(theta)), 1.0, atol=1e-12)
    assert np.allclose(phase_locking(angles(theta)), 1.0, atol=1e-12)
    assert float(order_parameter(angles(theta + np.arange(7) * 0.4)).max()) < 0.9


def test_a_hundred_random_phases_have_the_order_of_chance() -> None:
    r = order_parameter(angles(random(1).uniform(0, 2 * np.pi, (20_000, 100)))).to_numpy()
    assert abs(r.mean() - 0.0886) < 4 * r.std() / np.sqrt(len(r)) + 5e-5  # the figure has four digits
    half = order_parameter(angles(random(1).uniform(0, np.pi, (20_000, 100)))).to_numpy()
    assert abs(half.mean() - 0.0886) > 0.3


def test_independent_phases_have_the_locking_of_chance() -> None:
    locking = phase_locking(angles(random(2).uniform(0, 2 * np.pi, (500, 120)))).to_numpy()
    pairs = locking[np.triu_indices(120, 1)]
    assert abs(pairs.mean() - 0.0396) < 4 * pairs.std() / np.sqrt(len(pairs)) + 5e-5
    assert np.array_equal(np.diag(locking), np.ones(120))


def test_a_constant_lag_keeps_locking_at_one() -> None:
    theta = random(3).uniform(-np.pi, np.pi, (300, 1)) + np.array([0.0, 1.0, 2.5])
    assert np.allclose(phase_locking(angles(theta)), 1.0, atol=1e-12)
    assert float(order_parameter(angles(theta)).mean()) < 0.6


def test_phases_are_those_of_the_hilbert_transform() -> None:
    x = bold(301)
    expected = np.angle(hilbert(band_pass(x.to_numpy(), TR, (0.01, 0.1)), axis=0))
    found = phases(x, trim_s=0)
    assert np.allclose(np.exp(1j * found), np.exp(1j * expected), atol=1e-9)
    assert not np.allclose(np.exp(1j * phases(x, trim_s=0, band_hz=(0.02, 0.1))), np.exp(1j * expected), atol=0.1)
    assert phases(x).sizes["time"] == 301 - 2 * 14
    assert found.attrs["units"] == "rad"


def test_entropy_is_nought_in_one_bin_and_largest_when_even() -> None:
    assert synchronisation_entropy(np.full(50, 0.5)) == 0.0
    assert synchronisation_entropy(np.repeat((np.arange(30) + 0.5) / 30, 4)) == pytest.approx(np.log(30))
    assert synchronisation_entropy(np.repeat((np.arange(10) + 0.5) / 10, 4)) == pytest.approx(np.log(10))
    with pytest.raises(InputError, match="outside 0 to 1"):
        synchronisation_entropy(np.array([0.5, 1.2]))


def test_phase_patterns_are_compared_as_if_they_had_been_formed() -> None:
    theta = random(4).uniform(-np.pi, np.pi, (20, 7))
    upper = np.triu_indices(7, 1)
    patterns = np.array([np.cos(t[:, None] - t)[upper] for t in theta])
    length = np.sqrt((patterns**2).sum(axis=1))
    expected = patterns @ patterns.T / length[:, None] / length
    found = phase_connectivity_dynamics(angles(theta).assign_coords(time=np.arange(20.0)))
    assert np.allclose(found, expected, atol=1e-10)
    assert np.abs(expected - np.eye(20)).max() > 0.1


# ---- the whole -------------------------------------------------------------------------------------------------------


def test_coupled_regions_exceed_their_surrogates_and_independent_ones_do_not() -> None:
    coupled = synchrony(bold(600, 8, coupling=1.0), nulls=39).table
    alone = synchrony(bold(600, 8, coupling=0.0), nulls=39).table
    for measure in ("mean_order", "mean_phase_locking"):
        assert coupled.p_value[measure] == pytest.approx(0.05)
        assert alone.p_value[measure] > 0.05
    assert alone.null_mean["mean_order"] == pytest.approx(np.sqrt(np.pi / 32), abs=0.02)
    # r of the coupled is no more than their correlations make: surrogates that keep them show it too
    kept = synchrony(bold(600, 8, coupling=1.0), nulls=39, keep_fc=True).table
    assert kept.p_value["mean_order"] > 0.05
    assert abs(kept.null_mean["mean_order"] - kept.value["mean_order"]) < 0.1


def test_fields_agree_with_the_functions() -> None:
    x = bold(300, 5)
    found, theta = synchrony(x, nulls=0), phases(x)
    assert np.allclose(found.order, order_parameter(theta), atol=1e-12)
    assert np.allclose(found.locking, phase_locking(theta), atol=1e-12)
    assert np.allclose(found.phase_fcd, phase_connectivity_dynamics(theta[::3]), atol=1e-10)  # 3 volumes: 2.16 s
    assert float(found.distribution.sum()) == pytest.approx(1.0)
    value = found.table.value
    assert value["synchronisation_entropy"] == pytest.approx(synchronisation_entropy(found.order))
    assert value["metastability"] == pytest.approx(float(found.order.std()))
    assert found.table.p_value.isna().all()
    assert found.to_dict()["measures"]["mean_order"]["p_value"] is None  # type: ignore[index]


def test_pairs_are_left_out_of_many_series_unless_asked_and_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    x = bold(120, 520)
    assert synchrony(x, nulls=0).locking is None
    assert synchrony(x, nulls=0, pairs=True).locking is not None
    whole = synchrony(x[:, :40], nulls=2, keep_fc=True).table
    monkeypatch.setattr(sys.modules[synchrony.__module__], "_BLOCK", 7)
    parts = synchrony(x[:, :40], nulls=2, keep_fc=True).table
    assert np.allclose(whole.value, parts.value, atol=1e-10)
    assert np.allclose(whole.null_mean, parts.null_mean, atol=1e-9)


def test_the_interval_of_the_mean_holds_the_true_mean_mostly() -> None:
    tables = [synchrony(bold(1200, 5, coupling=0.8, seed=s), nulls=0, pairs=False).table for s in range(20)]
    rows = [t.loc["mean_order"] for t in tables]
    truth = np.mean([r.value for r in rows])
    covered = np.mean([r.low <= truth <= r.high for r in rows])
    assert covered >= 0.75  # 95 % nominal; below 0.75 with probability 3e-4


def test_the_seed_decides_the_surrogates_and_nothing_else() -> None:
    x = bold(200)
    one, same, other = (synchrony(x, nulls=4, seed=s).table for s in (1, 1, 2))
    assert one.equals(same)
    assert np.array_equal(one.value, other.value)
    assert not np.allclose(one.null_mean, other.null_mean, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(scale=st.floats(1e-12, 1e12), offset=st.floats(-10, 10), order=st.permutations(range(6)))
def test_units_offsets_and_order_do_not_matter(scale: float, offset: float, order: list[int]) -> None:
    x = bold(200)
    reference = synchrony(x, nulls=0)
    changed = synchrony((scale * (x + offset)).isel(region=list(order)), nulls=0)
    assert np.allclose(reference.table.value, changed.table.value, atol=1e-7)
    assert np.allclose(reference.locking, changed.locking.sel(region=x.region, partner=x.region.values), atol=1e-7)


# ---- refusals --------------------------------------------------------------------------------------------------------


def spoilt(what: str) -> xr.DataArray:
    x = bold(200)
    if what == "constant":
        x[:, 2] = 4.0
    if what == "nan":
        x[7, 2] = np.nan
    return x


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (spoilt("constant"), "do not vary, found region 'R002'; leave them out"),
        (spoilt("nan"), "'R002' is not finite at 5.04 s"),
        (bold(30), "30 volumes, expected at least 40"),
        (bold(60).isel(region=[0]), "1 region, expected at least 2"),
        (bold(45), "keeps 17 of 45 volumes, expected at least 20"),
        (bold(60).rename(time="t"), "expected .time, region. or .time, voxel. with times in s"),
        (bold(60).assign_coords(time=np.r_[np.arange(59.0), 99.0]), "step of 41 s after volume 58, expected 1 s"),
        (bold(60).assign_coords(region=list("ABCDEA")), "region 'A' is named twice"),
        (np.zeros((100, 3)), "ndarray, expected an xarray.DataArray"),
    ],
)
def test_what_cannot_be_measured_is_refused_by_name(x: xr.DataArray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        synchrony(x, nulls=0)


def test_wrong_settings_are_refused() -> None:
    for wrong, message in (
        ({"band_hz": (0.01, 0.9)}, "band_hz is"),
        ({"nulls": -1}, "nulls is -1, expected a whole number from 0"),
        ({"bins": 1}, "bins is 1"),
        ({"trim_s": -3.0}, "trim_s is -3"),
        ({"seed": -1}, "seed is -1"),
    ):
        with pytest.raises(InputError, match=message):
            synchrony(bold(200), **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="empty or not finite"):
        order_parameter(angles(np.full((3, 2), np.nan)))
    with pytest.raises(InputError, match="1 series, expected at least 2"):
        phase_connectivity_dynamics(angles(np.zeros((3, 1))))
