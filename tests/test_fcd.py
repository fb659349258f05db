"""Functional connectivity, full and partial, between persons, and its dynamics."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from twinbrain.analyse.connectivity import (
    as_matrix,
    between_subject_ceiling,
    compare_connectivity,
    compare_edges,
    compare_nodes,
    functional_connectivity,
    partial_connectivity,
)
from twinbrain.analyse.fcd import fcd_distance, functional_connectivity_dynamics, ks_distance
from twinbrain.errors import InputError

TR = 0.72


def random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def labelled(x: np.ndarray) -> xr.DataArray:
    names = [f"R{k:02d}" for k in range(x.shape[1])]
    return xr.DataArray(x, dims=("time", "region"), coords={"time": np.arange(len(x)) * TR, "region": names})


def autoregressive(volumes: int, mixing: np.ndarray, seed: int, memory: float = 0.5) -> np.ndarray:
    noise = random(seed).normal(size=(volumes, mixing.shape[1])) @ mixing.T
    for t in range(1, volumes):
        noise[t] += memory * noise[t - 1]
    return noise


def mixing(seed: int, regions: int = 12) -> np.ndarray:
    return random(seed).normal(size=(regions, 4)) @ np.eye(4, regions) + 0.5 * np.eye(regions)


def stationary(seed: int = 0) -> xr.DataArray:
    return labelled(autoregressive(1200, mixing(1), seed))


def switching(seed: int = 0) -> xr.DataArray:
    parts = [autoregressive(300, mixing(1 + k % 2), 10 * seed + k) for k in range(4)]
    return labelled(np.concatenate(parts))


# ---- full and partial connectivity -----------------------------------------------------------------------------------


def test_connectivity_of_mixed_sources_is_known() -> None:
    a = random(5).normal(size=(5, 5))
    covariance = a @ a.T
    scale = np.sqrt(np.diag(covariance))
    # sources made exactly white, so the figure holds to rounding
    x, _ = np.linalg.qr(random(6).normal(size=(400, 6)))
    x = np.linalg.qr(np.column_stack([np.ones(400), x]))[0][:, 1:6] @ a.T
    found = functional_connectivity(labelled(x))
    assert np.allclose(found, covariance / scale[:, None] / scale, atol=1e-10)
    inverse = np.linalg.inv(covariance)
    expected = -inverse / np.sqrt(np.outer(np.diag(inverse), np.diag(inverse)))
    np.fill_diagonal(expected, 1.0)
    assert np.allclose(partial_connectivity(labelled(x), shrinkage=0), expected, atol=1e-8)
    assert not np.allclose(found, expected, atol=0.1)


def test_constant_region_gives_nan_and_a_warning_that_names_it() -> None:
    x = stationary()
    x[:, 3] = 2.0
    for function in (functional_connectivity, partial_connectivity):
        with pytest.warns(UserWarning, match="constant regions: R03"):
            found = function(x)
        assert found.isnull().sum() == 2 * 12 - 1
        assert found.sel(region="R03").isnull().all()


def test_shrinkage_is_that_of_ledoit_and_wolf() -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    for volumes in (20, 200):
        x = stationary()[:volumes]
        z = (x - x.mean("time")) / x.std("time")
        expected = covariance.ledoit_wolf_shrinkage(z.to_numpy(), assume_centered=True)
        assert partial_connectivity(x).attrs["shrinkage"] == pytest.approx(expected, rel=1e-9)
    assert partial_connectivity(stationary()[:20]).attrs["shrinkage"] > 0.05
    assert np.allclose(partial_connectivity(stationary(), shrinkage=1), np.eye(12))


def test_partial_connectivity_refuses_what_it_cannot_invert() -> None:
    with pytest.raises(InputError, match="12 regions from 8 volumes cannot be inverted with shrinkage 0"):
        partial_connectivity(stationary()[:8], shrinkage=0)
    with pytest.raises(InputError, match="shrinkage is 2, expected 0 to 1"):
        partial_connectivity(stationary(), shrinkage=2)
    with pytest.raises(InputError, match="name the dimensions so"):
        partial_connectivity(stationary().rename(region="voxel"))
    with pytest.raises(InputError, match="region 'R01' has values that are not finite"):
        partial_connectivity(stationary().where(lambda x: x.region != "R01"))


def test_edges_and_nodes_match_by_name_and_agree_with_the_whole() -> None:
    one, two = functional_connectivity(stationary(1)), functional_connectivity(switching(2))
    turned = two.isel(region=slice(None, None, -1), partner=slice(None, None, -1))
    edges, nodes = compare_edges(one, turned), compare_nodes(one, turned)
    whole = compare_connectivity(one, two)
    assert len(edges) == 66
    assert np.corrcoef(edges.simulated, edges.recorded)[0, 1] == pytest.approx(whole["fc_pcc"])
    assert np.sqrt((nodes.profile_rms**2).mean()) == pytest.approx(whole["fc_rms"])
    row, other = one.sel(region="R04").drop_sel(partner="R04"), two.sel(region="R04").drop_sel(partner="R04")
    assert nodes.profile_pcc["R04"] == pytest.approx(np.corrcoef(row, other)[0, 1])
    assert nodes.strength_simulated["R04"] == pytest.approx(float(row.mean()))
    assert np.allclose(compare_nodes(one, one).profile_pcc, 1.0)
    assert nodes.profile_pcc.max() < 0.999
    with pytest.raises(InputError, match="region 'R11' is in only one of the two"):
        compare_edges(one, two.drop_sel(region="R11", partner="R11"))
    with pytest.raises(InputError, match="single region"):
        compare_nodes(as_matrix(np.eye(1), ["A"]), as_matrix(np.eye(1), ["A"]))


def test_people_alike_have_a_high_ceiling_and_strangers_none() -> None:
    alike = between_subject_ceiling({f"p{k}": stationary(k) for k in range(5)}, nulls=39)
    strangers = {f"p{k}": labelled(autoregressive(600, mixing(50 + k), k)) for k in range(5)}
    unlike = between_subject_ceiling(strangers, nulls=39)
    assert alike.table.value["fc_pcc_pairs"] > 0.95 > 0.3 > unlike.table.value["fc_pcc_pairs"]
    assert alike.table.p_value["fc_pcc_pairs"] == pytest.approx(0.05)
    assert (alike.table.low < alike.table.value).all()
    value = unlike.table.value
    assert value["fc_pcc_pairs"] < value["fc_pcc_to_all"]
    assert value["fc_pcc_to_others"] < value["fc_pcc_to_all"]
    assert alike.pairs.sel(person="p1", other="p3") == pytest.approx(
        compare_connectivity(functional_connectivity(stationary(1)), functional_connectivity(stationary(3)))["fc_pcc"]
    )
    partial = between_subject_ceiling({f"p{k}": stationary(k) for k in range(4)}, partial=True, nulls=0)
    assert partial.table.value["fc_pcc_pairs"] > 0.8
    assert partial.to_dict()["persons"] == ["p0", "p1", "p2", "p3"]


def test_the_ceiling_needs_three_persons_and_signals() -> None:
    with pytest.raises(InputError, match="2 persons with 12 regions in common"):
        between_subject_ceiling({"a": stationary(), "b": stationary(1)})
    flat = stationary()
    flat[:, 5] = 0.0
    with pytest.raises(InputError, match=r"recording of 'c' is constant or not finite .* first R05"):
        between_subject_ceiling({"a": stationary(), "b": stationary(1), "c": flat})


# ---- dynamics --------------------------------------------------------------------------------------------------------


def test_dynamics_are_the_correlations_of_the_windows() -> None:
    x = stationary()[:300]
    found = functional_connectivity_dynamics(x, window_s=36, step_s=18, band_hz=None, nulls=0)
    upper = np.triu_indices(12, 1)
    windows = [np.corrcoef(x.to_numpy()[s : s + 50].T)[upper] for s in range(0, 251, 25)]
    assert np.allclose(found.matrix, np.corrcoef(windows), atol=1e-10)
    assert np.allclose(found.matrix.window, np.arange(0, 251, 25) * TR + 49 * TR / 2)
    assert len(found.values) == 10 * 9 / 2  # 11 windows; neighbours share half
    assert (found.window_s, found.step_s) == (36.0, 18.0)


def test_stationary_process_lies_within_its_surrogates_and_a_switch_outside() -> None:
    still = functional_connectivity_dynamics(stationary(), nulls=49).table
    moving = functional_connectivity_dynamics(switching(), nulls=49).table
    assert still.p_value["fcd_mean"] > 0.05
    assert still.p_value["ks_to_null"] > 0.05
    assert moving.p_value["fcd_mean"] <= 0.04
    assert moving.p_value["fcd_sd"] <= 0.04
    assert moving.p_value["ks_to_null"] == pytest.approx(0.02)


@pytest.mark.slow
def test_the_mean_of_stationary_processes_is_outside_at_the_nominal_rate() -> None:
    p = [functional_connectivity_dynamics(stationary(s)[:600], nulls=39).table.p_value["fcd_mean"] for s in range(200)]
    assert 0.005 <= np.mean(np.array(p) <= 0.05 + 1e-9) <= 0.115  # 5 %, 99.9 % band of 200


def test_distance_is_that_of_kolmogorov_and_smirnov() -> None:
    still, moving = (functional_connectivity_dynamics(x, nulls=0) for x in (stationary(), switching()))
    distance = fcd_distance(still, moving)
    assert distance == pytest.approx(ks_2samp(still.values, moving.values).statistic, abs=1e-12)
    assert distance == pytest.approx(fcd_distance(moving, still), abs=1e-12)
    assert fcd_distance(still, still) == 0.0
    assert distance > 0.1
    short = functional_connectivity_dynamics(stationary(), window_s=30, nulls=0)
    with pytest.raises(InputError, match=r"30.24 s and 59.76 s, expected the same length"):
        fcd_distance(short, still)


@settings(max_examples=30, deadline=None)
@given(
    a=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    b=st.lists(st.integers(0, 9), min_size=1, max_size=12),
)
def test_distance_with_ties(a: list[int], b: list[int]) -> None:
    one, two = np.array(a, dtype=float), np.array(b, dtype=float)
    expected = ks_2samp(one, two, method="exact").statistic
    assert ks_distance(one, np.sort(two)) == pytest.approx(expected, abs=1e-12)
    pool = np.sort(np.concatenate([one, two]))
    assert ks_distance(one, pool, without_itself=True) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=8, deadline=None)
@given(scale=st.floats(1e-12, 1e12), offset=st.floats(-10, 10), order=st.permutations(range(12)))
def test_units_offsets_and_order_do_not_matter(scale: float, offset: float, order: list[int]) -> None:
    x = switching()[:, :12]
    reference = functional_connectivity_dynamics(x, nulls=3)
    changed = functional_connectivity_dynamics((scale * (x + offset)).isel(region=list(order)), nulls=3)
    assert np.allclose(reference.matrix, changed.matrix, atol=1e-7)
    assert np.allclose(reference.null_values, changed.null_values, atol=1e-7)


def test_voxels_are_averaged_by_region_first() -> None:
    x = stationary()[:400]
    voxels = xr.DataArray(
        np.repeat(x.to_numpy(), 2, axis=1),
        dims=("time", "voxel"),
        coords={
            "time": x.time,
            "region": ("voxel", np.repeat(x.region.values, 2)),
            "weight": ("voxel", np.ones(24)),
        },
    )
    one, two = (functional_connectivity_dynamics(b, nulls=0) for b in (x, voxels))
    assert np.allclose(one.matrix, two.matrix, atol=1e-10)


def test_what_cannot_be_measured_is_refused() -> None:
    flat, gap, hole = stationary(), stationary(), stationary()
    flat[:, 4], gap[100:200, 4], hole[5, 4] = 1.0, 1.0, np.nan
    for x, settings_, message in (
        (flat, {}, "do not vary, found region 'R04'"),
        (gap, {}, "region 'R04' does not vary within one of the windows"),
        (hole, {}, "'R04' is not finite at 3.6 s"),
        (stationary()[:100], {}, "12 regions and 3 windows of 83 volumes in 100"),
        (stationary()[:, :2], {}, "2 regions"),
        (stationary(), {"window_s": 3.0}, "windows of 4 volumes"),
        (stationary(), {"window_s": -1.0}, "window_s is -1"),
        (stationary(), {"nulls": 2.5}, "nulls is 2.5"),
    ):
        with pytest.raises(InputError, match=message):
            functional_connectivity_dynamics(x, **settings_)  # type: ignore[arg-type]
