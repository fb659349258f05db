"""Surrogates by model: memory of series and smoothness of maps are kept, the rest is gone."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from twinbrain.analyse.surrogates import autoregressive, distances_between, surrogate_maps
from twinbrain.analyse.var import run_autoregression
from twinbrain.errors import InputError

A = np.array([[[0.9, 0.0, 0.0], [0.3, 0.6, 0.0], [0.0, 0.0, 0.2]]])
NOISE = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.0], [0.2, 0.0, 1.0]])


def series(volumes: int = 3000) -> xr.DataArray:
    coords = {"time": np.arange(volumes) * 0.72, "region": list("ABC")}
    values = run_autoregression(A, NOISE, volumes, seed=1) * np.array([1.0, 100.0, 0.01]) + np.array([0.0, 5.0, -3.0])
    return xr.DataArray(values, coords, ("time", "region"), attrs={"units": "1"})


def lagged(x: np.ndarray, lag: int) -> np.ndarray:
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    return z[lag:].T @ z[: len(z) - lag] / len(z)


# ---- series ----------------------------------------------------------------------------------------------------------


def test_a_common_model_keeps_memory_and_correlations() -> None:
    x = series()
    draws = [autoregressive(x, draw=k, seed=2).values for k in range(20)]
    for lag in (0, 1, 3):
        assert np.allclose(np.mean([lagged(y, lag) for y in draws], axis=0), lagged(x.values, lag), atol=0.03)
    assert not np.allclose(draws[0], draws[1], atol=0.1)
    assert np.allclose(np.mean([y.std(axis=0) for y in draws], axis=0), x.values.std(axis=0), rtol=0.03)


def test_own_models_keep_memory_and_lose_correlations() -> None:
    x = series()
    draws = [autoregressive(x, order=2, keep_fc=False, draw=k, seed=2).values for k in range(20)]
    for lag in (1, 3):
        kept = np.mean([np.diag(lagged(y, lag)) for y in draws], axis=0)
        assert np.allclose(kept, np.diag(lagged(x.values, lag)), atol=0.03)
    off = ~np.eye(3, dtype=bool)
    assert np.abs(np.mean([lagged(y, 0) for y in draws], axis=0)[off]).max() < 0.05
    assert np.abs(lagged(x.values, 0)[off]).max() > 0.3


def test_labels_survive_and_the_key_decides() -> None:
    x = series(200).transpose("region", "time")
    y = autoregressive(x, seed=3)
    assert y.dims == x.dims
    assert y.attrs == x.attrs
    assert np.array_equal(y.time, x.time)
    assert y.equals(autoregressive(x, seed=3))
    assert not y.equals(autoregressive(x, seed=4))
    assert not y.equals(autoregressive(x, seed=3, draw=1))


def test_even_drifting_series_have_a_stationary_model() -> None:
    x = series(300)
    drift = x.copy(data=np.cumsum(np.cumsum(x.values, axis=0), axis=0))
    for keep_fc in (True, False):
        y = autoregressive(drift, order=2, keep_fc=keep_fc)
        assert np.isfinite(y.values).all()


def test_series_without_a_model_are_refused() -> None:
    x = series(60)
    bad = x.copy(deep=True)
    bad.values[3, 1] = np.nan
    with pytest.raises(InputError, match="channel 'B' is nan at volume 3"):
        autoregressive(bad)
    bad.values[:, 1] = 2.0
    for keep_fc in (True, False):
        with pytest.raises(InputError, match="channel 'B' does not vary"):
            autoregressive(bad, keep_fc=keep_fc)
    with pytest.raises(InputError, match="60 volumes of 3 channels, expected at least 64 for order 15"):
        autoregressive(x, order=15)
    bad.values[:, 1] = bad.values[:, 0]
    with pytest.raises(InputError, match="channel 'B' is a weighted sum"):
        autoregressive(bad)
    autoregressive(bad, keep_fc=False)
    with pytest.raises(InputError, match="expected an xarray"):
        autoregressive(x.values)  # type: ignore[arg-type]


# ---- maps ------------------------------------------------------------------------------------------------------------


def places(n: int = 90, seed: int = 0) -> xr.DataArray:
    rng = np.random.Generator(np.random.Philox(key=seed))
    return xr.DataArray(
        rng.uniform(size=(n, 3)) * np.array([140, 170, 120]),
        {"region": [f"R{i}" for i in range(n)], "axis": list("xyz")},
        ("region", "axis"),
    )


def smooth_maps(far: xr.DataArray, count: int, reach: float = 50.0, seed: int = 0) -> list[xr.DataArray]:
    """Draw Gaussian random fields with correlation exp(-(d / reach)^2)."""
    values, vectors = np.linalg.eigh(np.exp(-((far.values / reach) ** 2)))
    rng = np.random.Generator(np.random.Philox(key=[seed, 1]))
    root = vectors * np.sqrt(np.maximum(values, 0))
    return [
        xr.DataArray(
            root @ rng.normal(size=len(far)), {"region": far["target"].values}, ("region",), attrs={"units": "Hz"}
        )
        for _ in range(count)
    ]


def neighbourliness(x: np.ndarray, far: xr.DataArray, within: float = 30.0) -> float:
    """Correlation of near regions' values (Moran's I)."""
    z = (x - x.mean()) / x.std()
    near = (far.values < within) & (far.values > 0)
    return float((np.outer(z, z) * near).sum() / near.sum())


@pytest.mark.parametrize("same_values", [True, False])
def test_maps_are_as_smooth_as_the_given_one(same_values: bool) -> None:
    far = distances_between(places())
    for x in smooth_maps(far, 3):
        maps = surrogate_maps(x, far, draws=40, same_values=same_values, seed=1)
        found = [neighbourliness(m, far) for m in maps.values]
        shuffled = [
            neighbourliness(m, far)
            for m in np.random.Generator(np.random.Philox(key=2)).permuted(np.tile(x.values, (40, 1)), axis=1)
        ]
        truth = neighbourliness(x.values, far)
        assert np.mean(found) == pytest.approx(truth, abs=0.15)
        assert abs(np.mean(shuffled)) < 0.05 < truth - 0.3
        assert maps.attrs["units"] == "Hz"
        if same_values:
            assert (np.sort(maps.values, axis=1) == np.sort(x.values)).all()
        assert np.abs(np.corrcoef(np.vstack([x.values, maps.values]))[0, 1:]).mean() < 0.4


def test_a_map_without_smoothness_gets_little() -> None:
    far = distances_between(places())

    def smoothness(reach: float) -> float:
        maps = [surrogate_maps(x, far, draws=20, seed=1).values for x in smooth_maps(far, 6, reach=reach)]
        return float(np.mean([neighbourliness(m, far) for m in np.concatenate(maps)]))

    assert smoothness(1.0) < 0.15
    assert smoothness(50.0) > 0.6


def false_alarms(pairs: int, draws: int, *, shuffle: bool) -> int:
    """Count how often two independent smooth maps are said to go together at 10 %."""
    far = distances_between(places())
    maps = smooth_maps(far, 2 * pairs, seed=7)
    count = 0
    for k in range(pairs):
        a, b = maps[2 * k], maps[2 * k + 1].values
        if shuffle:
            random = np.random.Generator(np.random.Philox(key=k))
            null = random.permuted(np.tile(a.values, (draws, 1)), axis=1)
        else:
            null = surrogate_maps(a, far, draws=draws, seed=k).values
        r = np.abs(np.corrcoef(np.vstack([b, a.values, null]))[0, 1:])
        count += bool((r[1:] >= r[0]).mean() < 0.1)
    return count


def test_independent_maps_are_seldom_said_to_be_related() -> None:
    assert false_alarms(60, 50, shuffle=False) <= binom.ppf(0.999, 60, 0.1)
    assert false_alarms(60, 50, shuffle=True) > binom.ppf(0.999, 60, 0.1)


@settings(max_examples=10)
@given(scale=st.floats(1e-6, 1e6), offset=st.floats(-10, 10), seed=st.integers(0, 2**32))
def test_scale_offset_and_order_of_regions(scale: float, offset: float, seed: int) -> None:
    far = distances_between(places(30))
    x = smooth_maps(far, 1)[0]
    plain = surrogate_maps(x, far, draws=2, seed=seed)
    turned = np.random.Generator(np.random.Philox(key=seed)).permutation(30)
    other = surrogate_maps(((x + offset) * scale)[turned], far[::-1], draws=2, seed=seed)
    assert np.allclose(other.sel(region=x.region), (plain + offset) * scale, rtol=1e-7, atol=1e-9 * scale)
    assert not np.allclose(plain[0], plain[1])


def test_input_without_sense_is_refused() -> None:
    far = distances_between(places(30))
    x = smooth_maps(far, 1)[0]
    with pytest.raises(InputError, match="the map has 10 regions"):
        surrogate_maps(x[:10], far)
    with pytest.raises(InputError, match="1 values not finite"):
        surrogate_maps(x.where(x.region != "R3"), far)
    with pytest.raises(InputError, match="a range of 0"):
        surrogate_maps(x * 0, far)
    with pytest.raises(InputError, match="region 'R0' of the map has no distances"):
        surrogate_maps(x, far[1:])
    with pytest.raises(InputError, match="the distances are not finite"):
        surrogate_maps(x, far * 0)
    with pytest.raises(InputError, match="make them with distances_between"):
        surrogate_maps(x, places(30))
    with pytest.raises(InputError, match="expected a DataArray"):
        surrogate_maps(x.values, far)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="draws is 0"):
        surrogate_maps(x, far, draws=0)
    with pytest.raises(InputError, match="expected a DataArray"):
        distances_between(x)
    with pytest.raises(InputError, match="not finite"):
        distances_between(places(30) * np.nan)
