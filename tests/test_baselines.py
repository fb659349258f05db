"""Predictions without simulation: constructions with a known answer, and the figures of the sample people."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from twinbrain.analyse._numeric import pearson
from twinbrain.analyse.baselines import copy_inputs, ideal_linear, persistence, ridge_from_inputs
from twinbrain.analyse.connectivity import compare_connectivity, functional_connectivity
from twinbrain.analyse.filtering import band_pass
from twinbrain.analyse.similarity import compare
from twinbrain.errors import InputError

TR = 0.72
THALAMUS = ["Thalamus_L", "Thalamus_R"]


def label(values: np.ndarray, names: str) -> xr.DataArray:
    return xr.DataArray(
        values,
        dims=("time", "region"),
        coords={"time": np.arange(len(values)) * TR, "region": list(names)},
    )


def square(values: np.ndarray, names: str) -> xr.DataArray:
    return xr.DataArray(values, dims=("target", "source"), coords={"target": list(names), "source": list(names)})


def noise(volumes: int, regions: int, seed: int = 0) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=seed)).normal(size=(volumes, regions))


def test_copy_is_the_mean_of_the_standardised_inputs() -> None:
    x = label(noise(100, 4) * [1, 50, 1, 1] + [0, 7, 0, 0], "abcd")
    p = copy_inputs(x, ["b", "a"])
    z = (x - x.mean("time")) / x.std("time")
    assert np.allclose(p.sel(region="c"), (z.sel(region="a") + z.sel(region="b")) / 2)
    assert np.allclose(p.sel(region="a"), z.sel(region="a"))
    assert not np.allclose(p.sel(region="c"), x.sel(region=["a", "b"]).mean("region"))


def test_linear_propagation_solves_its_fixed_point() -> None:
    names = "abcde"
    x = label(noise(50, 5), names)
    weights = np.random.Generator(np.random.Philox(key=5)).uniform(size=(5, 5))
    np.fill_diagonal(weights, 0)
    rows = weights / weights.sum(axis=1, keepdims=True)
    p = ideal_linear(x, ["a", "d"], square(weights, names), k=0.7)
    z = ((x - x.mean("time")) / x.std("time")).values
    state = np.where(np.isin(list(names), ["a", "d"]), z, 0.0)
    for _ in range(300):  # x_n = k C x by repetition instead of by a solver
        state = np.where(np.isin(list(names), ["a", "d"]), z, 0.7 * state @ rows.T)
    assert np.allclose(p, (state - state.mean(0)) / state.std(0), atol=1e-9)
    transposed = ideal_linear(x, ["a", "d"], square(weights.T.copy(), names), k=0.7)
    assert not np.allclose(p, transposed, atol=1e-3)
    shuffled = square(weights, names).isel(target=[3, 1, 0, 4, 2], source=[2, 4, 1, 0, 3])
    assert np.allclose(p, ideal_linear(x, ["a", "d"], shuffled, k=0.7), atol=1e-12)


def test_region_out_of_reach_is_predicted_flat_and_scores_zero() -> None:
    weights = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0.0]])
    x = label(noise(200, 3), "abc")
    assert not ideal_linear(x, ["a"], square(weights, "abc")).sel(region="c").any()
    score = compare(x, x, ["a"], connectome=square(weights, "abc"), bootstrap=100)
    assert score.table.loc["c", "ideal_linear_pcc"] == 0


def test_connectome_with_more_regions_relays_and_with_fewer_is_refused() -> None:
    chain = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.0]])  # a -> b -> c
    x = label(noise(80, 2), "ac")
    p = ideal_linear(x, ["a"], square(chain, "abc"))
    assert np.allclose(p.sel(region="c"), p.sel(region="a"))
    with pytest.raises(InputError, match="region 'c' of the recorded BOLD is not in the connectome"):
        ideal_linear(x, ["a"], square(chain[:2, :2], "ab"))
    with pytest.raises(InputError, match="connectome holds values below 0"):
        ideal_linear(x, ["a"], square(-chain, "abc"))
    with pytest.raises(InputError, match=r"k is 1\.0, expected a number between 0 and 1"):
        ideal_linear(x, ["a"], square(chain, "abc"), k=1.0)


def test_ridge_finds_a_lagged_linear_rule_and_nothing_in_noise() -> None:
    drive = noise(900, 2)
    rule = np.roll(drive[:, 0], 2) - 0.5 * np.roll(drive[:, 1], -3)
    x = label(np.column_stack([drive, rule, noise(900, 1, seed=8)]), "abcd")
    r = pearson(ridge_from_inputs(x, ["a", "b"]).values, x.values)
    assert r[2] > 0.98
    assert abs(r[3]) < 0.15
    assert pearson(ridge_from_inputs(x, ["a", "b"], lags=1).values, x.values)[2] < 0.2


def test_ridge_never_sees_what_it_predicts() -> None:
    x = label(noise(500, 3), "abc")
    changed = x.copy(deep=True)
    # another course of c in the second block, with the same mean and spread: standardisation stays the same
    changed[100:200, 2] = x[100:200, 2].values[::-1]
    a, b = (ridge_from_inputs(series, ["a", "b"]) for series in (x, changed))
    inside, outside = slice(100, 200), slice(250, 500)
    # predictions are standardised as a whole: compare their shape
    ratio = np.corrcoef(a[inside, 2], b[inside, 2])[0, 1]
    assert ratio == pytest.approx(1, abs=1e-9)
    assert np.corrcoef(a[outside, 2], b[outside, 2])[0, 1] < 1 - 1e-6


def test_ridge_of_a_part_equals_that_part_of_the_whole() -> None:
    x = label(noise(600, 3) @ np.array([[1, 0.5, 0.5], [0, 1, 0.5], [0, 0, 1.0]]), "abc")
    part = ridge_from_inputs(x, ["a", "b"], at=x[100:300])
    whole = ridge_from_inputs(x, ["a", "b"])[100:300]
    assert np.corrcoef(part.sel(region="c")[5:-5], whole.sel(region="c")[5:-5])[0, 1] > 0.995
    shifted = ridge_from_inputs(x, ["a", "b"], at=x[101:301])
    assert np.corrcoef(shifted.sel(region="c")[5:-5], whole.sel(region="c")[5:-5])[0, 1] < 0.5


def test_ridge_does_not_learn_from_bridged_volumes() -> None:
    x = label(noise(500, 3) @ np.array([[1, 0.5, 0.5], [0, 1, 0.5], [0, 0, 1.0]]), "abc")
    other = x.copy(deep=True)
    lost = np.r_[120:140, 260:275]
    other[lost, 2] = 3 + 2 * x[lost, 2].values[::-1]  # another course, mean and spread: as a bridge could have
    present = np.ones(500, dtype=bool)
    present[lost] = False
    a, b = (ridge_from_inputs(series, ["a", "b"], present=present) for series in (x, other))
    assert np.abs(a - b).max() < 1e-12
    a, b = (ridge_from_inputs(series, ["a", "b"]) for series in (x, other))
    assert np.abs(a - b).max() > 1e-3
    with pytest.raises(InputError, match=r"present has shape \(3,\), expected one value for each of 500 volumes"):
        ridge_from_inputs(x, ["a"], present=[True] * 3)
    with pytest.raises(InputError, match=r"expected \(time, region\); name them so"):
        ridge_from_inputs(x.rename(time="t"), ["a"], present=present)
    with pytest.raises(InputError, match="the part to predict has no volume that was measured"):
        ridge_from_inputs(x, ["a"], at=x[120:140], present=present)


def test_ridge_refuses_a_recording_too_short_for_its_gaps() -> None:
    x = label(noise(80, 3), "abc")
    with pytest.raises(InputError, match="80 recorded volumes are too few for 5 blocks with gaps of 12 s"):
        ridge_from_inputs(x, ["a"])
    with pytest.raises(InputError, match="expected blocks >= 3"):
        ridge_from_inputs(x, ["a"], blocks=2)
    with pytest.raises(InputError, match="reaches beyond the recorded times"):
        ridge_from_inputs(x[:60], ["a"], at=x)
    with pytest.raises(InputError, match="input 'A' is not among the 3 regions compared; did you mean 'a'"):
        ridge_from_inputs(x, ["A"])


def test_persistence_is_the_autocorrelation() -> None:
    white, slow = noise(2000, 1), np.cumsum(noise(2000, 1, seed=2), axis=0)
    x = label(np.column_stack([white, slow]), "ab")
    r = pearson(persistence(x).values, x.values)
    assert abs(r[0]) < 0.08
    assert r[1] > 0.99
    assert np.allclose(persistence(x)[1:], ((x - x.mean("time")) / x.std("time"))[:-1])


# --- the sample people: figures measured independently before this code was written ----------------------


@pytest.fixture(scope="module")
def people() -> list[tuple[xr.DataArray, xr.DataArray]]:
    sample = pytest.importorskip("twinbrain.data.sample")
    try:
        subjects = [sample.load_sample(name) for name in sample.sample_ids()]
    except InputError as error:
        pytest.skip(f"the sample people are not installed: {error}")
    return [(s.bold["rest"], s.connectome) for s in subjects]


def mean_pcc(prediction: xr.DataArray, recorded: xr.DataArray) -> float:
    free = ~np.isin(recorded.region.values, THALAMUS)
    return float(pearson(prediction.values, recorded.values)[free].mean())


def test_sample_people_give_the_published_baselines(people: list[tuple[xr.DataArray, xr.DataArray]]) -> None:
    figures = {"copy": [], "linear": [], "ridge": [], "raw_copy": [], "raw_ridge": []}
    for raw, connectome in people:
        x = band_pass(raw, TR)
        figures["copy"].append(mean_pcc(copy_inputs(x, THALAMUS), x))
        figures["linear"].append(mean_pcc(ideal_linear(x, THALAMUS, connectome), x))
        figures["ridge"].append(mean_pcc(ridge_from_inputs(x, THALAMUS), x))
        figures["raw_copy"].append(mean_pcc(copy_inputs(raw, THALAMUS), raw))
        figures["raw_ridge"].append(mean_pcc(ridge_from_inputs(raw, THALAMUS), raw))
    means = {name: float(np.mean(values)) for name, values in figures.items()}
    assert means["copy"] == pytest.approx(0.290, abs=0.005)
    assert means["linear"] == pytest.approx(0.29, abs=0.01)
    assert means["ridge"] == pytest.approx(0.373, abs=0.015)
    assert means["raw_copy"] == pytest.approx(0.209, abs=0.005)
    assert means["raw_ridge"] == pytest.approx(0.307, abs=0.015)


def test_sample_people_give_the_published_ceiling_and_persistence(
    people: list[tuple[xr.DataArray, xr.DataArray]],
) -> None:
    ceiling, persistent = {"raw": [], "passed": []}, {"raw": [], "passed": []}
    for raw, _ in people:
        for name, x in (("raw", raw), ("passed", band_pass(raw, TR))):
            halves = [functional_connectivity(part) for part in (x[:600], x[600:])]
            ceiling[name].append(compare_connectivity(*halves))
            persistent[name].append(
                float(pearson(persistence(x).values, x.values)[np.isin(x.region.values, THALAMUS)].mean())
            )
    assert np.mean([c["fc_pcc"] for c in ceiling["passed"]]) == pytest.approx(0.814, abs=0.005)
    assert np.mean([c["fc_rms"] for c in ceiling["passed"]]) == pytest.approx(0.180, abs=0.005)
    assert np.mean([c["fc_pcc"] for c in ceiling["raw"]]) == pytest.approx(0.908, abs=0.005)
    assert np.mean([c["fc_rms"] for c in ceiling["raw"]]) == pytest.approx(0.108, abs=0.005)
    assert np.mean(persistent["passed"]) == pytest.approx(0.98, abs=0.01)
    assert np.mean(persistent["raw"]) == pytest.approx(0.33, abs=0.02)


def test_compare_reports_the_same_figures(people: list[tuple[xr.DataArray, xr.DataArray]]) -> None:
    raw, connectome = people[0]
    d = compare(raw, raw, THALAMUS, connectome=connectome, discard=0, bootstrap=100).to_dict()
    x = band_pass(raw, TR)
    baselines = d["baselines"]
    assert baselines["copy_inputs"]["bold_pcc_noninputs"] == pytest.approx(
        mean_pcc(copy_inputs(x, THALAMUS), x), abs=1e-9
    )
    assert baselines["ridge_from_inputs"]["bold_pcc_noninputs"] == pytest.approx(
        mean_pcc(ridge_from_inputs(x, THALAMUS), x), abs=1e-9
    )
    assert d["raw"]["baselines"]["ideal_linear"]["bold_pcc_noninputs"] == pytest.approx(
        mean_pcc(ideal_linear(raw, THALAMUS, connectome), raw), abs=1e-9
    )
    halves = [functional_connectivity(part) for part in (x[:600], x[600:])]
    assert d["ceilings"]["split_half_fc"]["fc_pcc"] == pytest.approx(compare_connectivity(*halves)["fc_pcc"])
