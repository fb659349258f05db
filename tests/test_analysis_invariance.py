"""Every function of the analysis: what must not matter does not, what cannot be measured is said in a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import twinbrain as tb
from twinbrain.errors import InputError

NAMES = list("ABCDEF")


def bold(volumes: int = 420, seed: int = 3) -> xr.DataArray:
    rng = np.random.Generator(np.random.Philox(key=seed))
    noise = rng.normal(size=(volumes + 4, 6)) + 0.6 * rng.normal(size=(volumes + 4, 1))
    x = np.stack([np.convolve(column, [1.0, 2.0, 3.0, 2.0, 1.0], "valid") for column in noise.T], axis=1)
    coords = {"time": np.arange(volumes) * 0.72, "region": NAMES}
    return xr.DataArray(x, dims=("time", "region"), coords=coords, attrs={"units": "1"})


def figures(found: xr.DataArray) -> np.ndarray:
    return found.sel(region=NAMES, partner=NAMES).to_numpy()


def people(x: xr.DataArray) -> dict[str, xr.DataArray]:
    third = x.sizes["time"] // 3
    return {name: x.isel(time=slice(k * third, (k + 1) * third)) for k, name in enumerate("xyz")}


def trend(x: xr.DataArray) -> np.ndarray:
    n = x.sizes["time"]
    runs = [(1e3, x), (1e4, x.isel(time=slice(0, n * 3 // 4))), (1e5, x.isel(time=slice(n // 4, n)))]
    return tb.distance_to_criticality(runs).runs.to_numpy(dtype=np.float64)


FUNCTIONS: dict[str, Callable[[xr.DataArray], np.ndarray]] = {
    "functional_connectivity": lambda x: figures(tb.functional_connectivity(x)),
    "partial_connectivity": lambda x: figures(tb.partial_connectivity(x)),
    "between_subject_ceiling": lambda x: tb.between_subject_ceiling(people(x), nulls=0).table["value"].to_numpy(),
    "functional_connectivity_dynamics": lambda x: tb.functional_connectivity_dynamics(x, nulls=0).values.to_numpy(),
    "synchrony": lambda x: tb.synchrony(x, nulls=0).table["value"].to_numpy(),
    "spectra": lambda x: tb.spectra(x, nulls=0, resolution_hz=0.01).table["value"].to_numpy(),
    "criticality": lambda x: tb.criticality(x, nulls=0, scan=()).table["value"].to_numpy(dtype=np.float64),
    "distance_to_criticality": trend,
    "granger": lambda x: tb.granger(x, order=2).F.sel(target=NAMES, source=NAMES).to_numpy(),
    "analyse": lambda x: tb.analyse(x, nulls=0).table["value"].to_numpy(dtype=np.float64),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=3, deadline=None)
@given(exponents=st.lists(st.integers(-20, 20), min_size=6, max_size=6), order=st.permutations(range(6)))
def test_units_and_order_of_regions_do_not_matter(name: str, exponents: list[int], order: list[int]) -> None:
    measured, x = FUNCTIONS[name], bold()
    moved = (x * np.exp2(exponents))[:, order].transpose("region", "time")
    assert np.allclose(measured(moved), measured(x), rtol=1e-6, atol=1e-8, equal_nan=True)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_other_series_give_other_figures(name: str) -> None:
    measured = FUNCTIONS[name]
    one, other = measured(bold()), measured(bold(seed=4))
    assert one.shape != other.shape or not np.allclose(one, other, rtol=1e-3, equal_nan=True)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("fault", ["short", "not finite", "infinite"])
def test_what_cannot_be_measured_is_said(name: str, fault: str) -> None:
    x = bold(2) if fault == "short" else bold()
    if fault != "short":
        x[200, 2] = np.nan if fault == "not finite" else np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError) as refused:
            FUNCTIONS[name](x)
    assert ("expected" if fault == "short" else "finite") in str(refused.value)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_region_that_does_not_vary_is_named(name: str) -> None:
    x = bold()
    x[:, 2] = 7.5
    if name in ("functional_connectivity", "partial_connectivity"):  # the others are still defined
        with pytest.warns(UserWarning, match="constant regions: C"):
            matrix = FUNCTIONS[name](x)
        assert np.isnan(matrix[2]).all()
        assert np.isfinite(np.delete(np.delete(matrix, 2, 0), 2, 1)).all()
        return
    with pytest.raises(InputError, match=r"'?\bC\b'?"):
        FUNCTIONS[name](x)


@given(order=st.permutations(range(6)))
@settings(max_examples=5)
def test_edges_and_nodes_follow_names(order: list[int]) -> None:
    one, other = tb.functional_connectivity(bold()), tb.functional_connectivity(bold(seed=4))
    moved = other.isel(region=order, partner=order)
    assert tb.compare_edges(one, moved).equals(tb.compare_edges(one, other))
    assert np.allclose(tb.compare_nodes(one, moved), tb.compare_nodes(one, other))
    assert not tb.compare_edges(one, other.assign_coords(region=NAMES[::-1], partner=NAMES[::-1])).equals(
        tb.compare_edges(one, other)
    )
    with pytest.raises(InputError, match="region 'F' is in only one of the two matrices"):
        tb.compare_edges(one, other.isel(region=slice(5), partner=slice(5)))


@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(4)))
def test_counts_do_not_depend_on_the_order_of_units(order: list[int]) -> None:
    rng = np.random.Generator(np.random.Philox(key=5))
    counts = rng.poisson(0.15, size=(3000, 4))
    a, b = (tb.criticality_of_counts(c, nulls=0).table["value"].to_numpy() for c in (counts, counts[:, order]))
    assert np.array_equal(a, b, equal_nan=True)
    assert not np.array_equal(a, tb.criticality_of_counts(counts[:, :3], nulls=0).table["value"], equal_nan=True)
    for wrong, message in ((counts * 1.5, "whole"), (-counts, "negative|whole"), (counts[:5], "bins|steps|expected")):
        with pytest.raises(InputError, match=message):
            tb.criticality_of_counts(wrong, nulls=0)


def test_surrogates_and_filters_say_what_they_cannot_do() -> None:
    x = bold()
    holed = x.copy()
    holed[3, 1] = np.nan
    for made in (
        lambda y: tb.phase_randomise(y),
        lambda y: tb.autoregressive(y),
    ):
        with pytest.raises(InputError, match="finite"):
            made(holed)
        with pytest.raises(InputError, match="expected"):
            made(x[:3])
    with pytest.raises(InputError, match="expected at least"):
        tb.band_pass(x[:5], 0.72)
