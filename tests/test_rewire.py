"""Rewired connectomes keep exactly what they promise, and lose the rest."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from twinbrain.errors import InputError
from twinbrain.rewire import _swap, permute_regions, permute_weights, rewire_keeping_degrees, rewire_keeping_lengths


def person(
    n: int = 40, *, symmetric: bool = False, reach: float = 30.0, seed: int = 0
) -> tuple[xr.DataArray, xr.DataArray]:
    """Make a connectome whose connections get rarer and weaker with length, and the lengths."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    x = rng.uniform(size=(n, 3)) * 100
    far = np.linalg.norm(x[:, None] - x, axis=2)
    values = (rng.uniform(size=(n, n)) < np.exp(-far / reach)) * rng.lognormal(size=(n, n)) * np.exp(-far / 50)
    np.fill_diagonal(values, 0)
    if symmetric:
        values = np.tril(values, -1) + np.tril(values, -1).T
    names = [f"R{i}" for i in rng.permutation(n)]
    coords = {"target": names, "source": names}
    attrs = {"units": "arbitrary"}
    return (
        xr.DataArray(values, coords, ("target", "source"), attrs=attrs),
        xr.DataArray(far, coords, ("target", "source"), attrs={"units": "mm"}),
    )


def rows_alike(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(np.sort(a, axis=1), np.sort(b, axis=1)))


@settings(max_examples=15)
@given(n=st.integers(10, 40), seed=st.integers(0, 2**32), strongest=st.sampled_from([1.0, 0.4]))
def test_degrees_and_incoming_weights_are_kept(n: int, seed: int, strongest: float) -> None:
    c, _ = person(n, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        new = rewire_keeping_degrees(c, strongest=strongest, seed=seed, swaps=3)
    old_values, values = c.values, new.values
    cut = np.quantile(old_values[old_values > 0], 1 - strongest) if strongest < 1 else 1e-300
    assert rows_alike(values, old_values)
    assert np.array_equal((values >= cut).sum(axis=0), (old_values >= cut).sum(axis=0))
    assert not np.diag(values).any()
    assert new.attrs["units"] == "arbitrary"
    assert new.attrs["moved"] == pytest.approx(((values >= cut) & (old_values < cut)).sum() / (old_values >= cut).sum())


@pytest.mark.parametrize("lengths_too", [False, True])
def test_a_symmetric_connectome_stays_symmetric(lengths_too: bool) -> None:
    c, far = person(symmetric=True)
    new = rewire_keeping_lengths(c, far, bins=5, seed=1) if lengths_too else rewire_keeping_degrees(c, seed=1)
    assert np.array_equal(new.values, new.values.T)
    assert np.array_equal((new > 0).sum("source"), (c > 0).sum("source"))
    assert np.array_equal(np.sort(new.values.ravel()), np.sort(c.values.ravel()))
    assert not np.diag(new.values).any()
    assert new.attrs["moved"] > 0.4
    # control: permuted weights do not keep the numbers of partners
    assert not np.array_equal((permute_weights(c, seed=1) > 0).sum("source"), (c > 0).sum("source"))


def test_lengths_are_kept_bin_by_bin() -> None:
    c, far = person(60)
    new = rewire_keeping_lengths(c, far, bins=8, seed=1)
    other = rewire_keeping_degrees(c, seed=1)
    edges = np.quantile(far.values[c.values > 0], np.linspace(0, 1, 9)[1:-1])
    bins = np.searchsorted(edges, far.values, side="right")
    kept, lost = [], []
    for k in range(8):
        inside = bins == k
        kept.append(rows_alike(np.where(inside, new, 0), np.where(inside, c, 0)))
        lost.append(rows_alike(np.where(inside, other, 0), np.where(inside, c, 0)))
    assert all(kept)
    assert not any(lost)
    assert np.array_equal((new > 0).sum("target"), (c > 0).sum("target"))
    assert new.attrs["moved"] > 0.5
    used = c.values > 0
    assert np.corrcoef(far.values[used], np.log(c.values[used]))[0, 1] < -0.25
    used = new.values > 0
    assert np.corrcoef(far.values[used], np.log(new.values[used]))[0, 1] < -0.25
    used = other.values > 0
    assert np.corrcoef(far.values[used], np.log(other.values[used]))[0, 1] > -0.15


def test_swaps_reach_all_graphs_alike() -> None:
    """With one partner each, 4 regions can be wired in 9 ways without loops (6 rings, 3 pairings): all as often."""
    ring = np.roll(np.eye(4), 1, axis=0)
    group = np.zeros((4, 4), dtype=np.int64)
    seen: dict[bytes, int] = {}
    for seed in range(900):
        random = np.random.Generator(np.random.Philox(key=seed))
        graph = _swap(ring, ring > 0, group, 5.0, random)[0].tobytes()
        seen[graph] = seen.get(graph, 0) + 1
    assert len(seen) == 9
    # chi-square, 8 degrees of freedom: below 26.1 in 99.9 % of cases
    assert sum((count - 100) ** 2 / 100 for count in seen.values()) < 26.1


def test_permutations_keep_what_they_say() -> None:
    c, _ = person()
    weights, regions = permute_weights(c, seed=3), permute_regions(c, seed=3)
    for new in (weights, regions):
        assert np.array_equal(np.sort(new.values.ravel()), np.sort(c.values.ravel()))
        assert not np.diag(new.values).any()
        assert not np.array_equal(new, c)
    for axis in ("target", "source"):
        assert np.allclose(np.sort(regions.sum(axis)), np.sort(c.sum(axis)))
        assert not np.allclose(np.sort(weights.sum(axis)), np.sort(c.sum(axis)))
    assert np.allclose(np.linalg.svd(regions.values)[1], np.linalg.svd(c.values)[1])
    symmetric, _ = person(symmetric=True)
    for new in (permute_weights(symmetric, seed=3), permute_regions(symmetric, seed=3)):
        assert np.array_equal(new.values, new.values.T)


@pytest.mark.parametrize("what", ["degrees", "lengths", "weights", "regions"])
def test_seed_and_names_decide_not_their_order(what: str) -> None:
    c, far = person(25)

    def make(c: xr.DataArray, seed: int) -> xr.DataArray:
        if what == "lengths":
            return rewire_keeping_lengths(c, far, bins=3, seed=seed)
        one = {"degrees": rewire_keeping_degrees, "weights": permute_weights, "regions": permute_regions}
        return one[what](c, seed=seed)

    new = make(c, 1)
    turned = make(c[::-1, np.arange(25)].transpose("source", "target"), 1)
    assert turned.dims == ("source", "target")
    assert new.equals(turned.transpose("target", "source")[::-1])
    assert not new.equals(make(c, 2))
    assert c.equals(person(25)[0])


def test_a_dense_connectome_needs_a_threshold() -> None:
    rng = np.random.Generator(np.random.Philox(key=1))
    values = rng.lognormal(sigma=2, size=(30, 30)) * (1 - np.eye(30))
    names = {"target": range(30), "source": range(30)}
    dense = xr.DataArray(values, names, ("target", "source"))
    with pytest.warns(UserWarning, match="only 0% of the connections could be moved"):
        assert rewire_keeping_degrees(dense, swaps=1).equals(dense)
    new = rewire_keeping_degrees(dense, strongest=0.15)
    assert new.attrs["moved"] > 0.7
    assert rows_alike(new.values, values)
    assert rewire_keeping_degrees(dense, swaps=0).equals(dense)


def test_input_without_sense_is_refused() -> None:
    c, far = person(12)
    bad = c.copy(deep=True)
    bad.values[3, 3] = 1.0
    with pytest.raises(InputError, match="on its diagonal"):
        rewire_keeping_degrees(bad)
    with pytest.raises(InputError, match=r"ndarray, expected an xarray\.DataArray"):
        permute_weights(c.values)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="targets and sources differ"):
        permute_regions(c[:-1])
    with pytest.raises(InputError, match="strongest is 0"):
        rewire_keeping_degrees(c, strongest=0)
    with pytest.raises(InputError, match="swaps is -1"):
        rewire_keeping_degrees(c, swaps=-1)
    with pytest.raises(InputError, match="seed is -1"):
        permute_weights(c, seed=-1)
    with pytest.raises(InputError, match="bins is 0"):
        rewire_keeping_lengths(c, far, bins=0)
    with pytest.raises(InputError, match="has no lengths"):
        rewire_keeping_lengths(c, far[1:])
    with pytest.raises(InputError, match="the lengths hold values below 0 or not finite"):
        rewire_keeping_lengths(c, far * np.nan)
    with pytest.raises(InputError, match="symmetric but the lengths are not"):
        rewire_keeping_lengths(c + c.T.values, far * np.arange(12)[:, None])
