"""Avalanches, exponents and branching: known processes give their known figures, and controls are told from them."""

from __future__ import annotations

import json
import sys
from functools import cache

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from twinbrain.analyse.avalanches import Avalanches, avalanches_from_bold, avalanches_from_counts, point_process
from twinbrain.analyse.branching import branching_ratio, detrended_fluctuation, naive_branching_ratio
from twinbrain.analyse.criticality import criticality, criticality_of_counts
from twinbrain.analyse.criticality_trend import distance_to_criticality
from twinbrain.analyse.power_law import fit_power_law
from twinbrain.analyse.scaling import kappa, mean_size_exponent, shape_collapse
from twinbrain.errors import InputError

# Generations after which an avalanche of the test is given up. Those given up are left out, which cuts durations
# off at LONGEST and leaves sizes far below LONGEST**2 alone: the fits are told both.
LONGEST, LARGEST = 1000, 20_000


def random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def branching_counts(sigma: float, number: int, seed: int, *, offspring: str = "geometric") -> np.ndarray:
    """Avalanches of a branching process, one after the other with a silent bin between: counts per bin."""
    rng = random(seed)
    alive, now, generations = np.arange(number), np.ones(number, dtype=np.int64), []
    for _ in range(LONGEST):
        generations.append((alive, now))
        # a sum of z geometric numbers of mean sigma is negative binomial
        now = rng.poisson(sigma * now) if offspring == "poisson" else rng.negative_binomial(now, 1 / (1 + sigma))
        alive, now = alive[now > 0], now[now > 0]
        if not len(alive):
            break
    duration = np.zeros(number, dtype=np.int64)
    for ids, _ in generations:
        duration[ids] += 1
    duration[alive] = 0  # given up
    start = 1 + np.concatenate(([0], np.cumsum(np.where(duration > 0, duration + 1, 0))))
    counts = np.zeros(start[-1] + 1, dtype=np.int64)
    for generation, (ids, z) in enumerate(generations):
        whole = duration[ids] > 0
        counts[start[ids[whole]] + generation] = z[whole]
    return counts


@cache
def critical(seed: int = 1) -> Avalanches:
    return avalanches_from_counts(branching_counts(1.0, 100_000, seed))


@cache
def driven(m: float = 0.98, steps: int = 60_000, seed: int = 1) -> np.ndarray:
    """Branching process with steady input, 500 events per step on average."""
    rng, activity = random(seed), np.empty(steps, dtype=np.int64)
    activity[0] = 500
    for t in range(1, steps):
        activity[t] = rng.poisson(m * activity[t - 1] + 500 * (1 - m))
    return activity


def bold(volumes: int = 600, regions: int = 12, seed: int = 3) -> xr.DataArray:
    rng = random(seed)
    slow = rng.normal(size=(volumes + 8, regions)) + 0.7 * rng.normal(size=(volumes + 8, 1))
    smooth = np.stack([np.convolve(x, np.hanning(9), "valid") for x in slow.T], axis=1)
    names = [f"R{i}" for i in range(regions)]
    return xr.DataArray(smooth, dims=("time", "region"), coords={"time": np.arange(volumes) * 0.72, "region": names})


# ---- cutting ---------------------------------------------------------------------------------------------------------


def test_avalanches_are_whole_runs_with_their_sums() -> None:
    counts = np.array([5, 0, 1, 2, 0, 0, 3, 0, 4, 4, 1] + [0, 1] * 5)
    found = avalanches_from_counts(counts)
    assert found.sizes.values.tolist() == [3, 3, 9, 1, 1, 1, 1]  # not the first 5 nor the last 1: cut by the ends
    assert found.durations.values.tolist() == [2, 1, 3, 1, 1, 1, 1]
    assert found.starts.values.tolist() == [2, 6, 8, 12, 14, 16, 18]
    assert "threshold zero" in found.rule


def test_threshold_and_bin_rules() -> None:
    counts = random(2).poisson(4, size=(3000, 2))
    half = avalanches_from_counts(counts, threshold="median/2")
    assert half.threshold == 4.0
    assert np.array_equal(half.sizes, avalanches_from_counts(counts, threshold=4).sizes)
    assert not np.array_equal(half.sizes[:50], avalanches_from_counts(counts, threshold=6).sizes[:50])
    wide = avalanches_from_counts(counts[:, 0], bin_steps=7, threshold=28)
    assert np.array_equal(wide.activity, counts[: 3000 // 7 * 7, 0].reshape(-1, 7).sum(axis=1))


@pytest.mark.parametrize("rate", [0.02, 0.2])
def test_bin_by_mean_interval_on_shuffled_data(rate: float) -> None:
    # Bursts and the same steps in random order have the same mean interval, and so the same bin; shuffled events come
    # one per bin on average, so a bin is silent with probability 1/e and durations are geometric with mean e.
    block = round(20 / rate)  # steps, 20 bins
    bursts = random(1).poisson(np.repeat(5 * rate * (random(2).random(2000) < 0.2), block))
    shuffled = random(3).permutation(bursts)
    own, null = (avalanches_from_counts(x, bin_steps="mean_interval") for x in (bursts, shuffled))
    assert own.bin_steps == null.bin_steps == pytest.approx(len(bursts) / bursts.sum(), abs=0.6)
    active = float((null.activity > 0).mean())
    assert float(null.durations.mean()) == pytest.approx(1 / (1 - active), rel=0.05)
    assert float(null.durations.mean()) == pytest.approx(np.e, rel=0.12 if rate < 0.1 else 0.25)
    assert float(own.durations.mean()) > 1.5 * float(null.durations.mean())


def test_bold_becomes_events_where_it_rises() -> None:
    wave = xr.DataArray(np.sin(np.arange(200) / 5)[:, None] * [1, -3] + 7, dims=("time", "region"))
    events = point_process(wave, 1.0)
    z = np.sin(np.arange(200) / 5)
    z = (z - z.mean()) / z.std()
    assert events.values[:, 0].nonzero()[0].tolist() == [t for t in range(1, 200) if z[t - 1] <= 1 < z[t]]
    assert not np.array_equal(events[:, 0], events[:, 1])
    found = avalanches_from_bold(wave, threshold_sd=1.0)
    assert int(found.activity.sum()) == int(events.sum())


# ---- exponents -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_critical_branching_has_the_mean_field_exponents(seed: int) -> None:
    found = critical(seed)
    assert len(found) > 99_000
    size = fit_power_law(found.sizes, xmax=LARGEST)
    duration = fit_power_law(found.durations, xmax=LONGEST - 1)
    gamma, error = mean_size_exponent(found.sizes, found.durations, shortest=duration.xmin, longest=LONGEST - 1)
    assert size.exponent == pytest.approx(1.5, abs=0.05)
    assert duration.exponent == pytest.approx(2.0, abs=0.1)
    assert gamma == pytest.approx((duration.exponent - 1) / (size.exponent - 1), abs=0.1)
    assert error < 0.05
    assert size.plausible
    assert duration.plausible
    assert kappa(found.sizes) == pytest.approx(1.0, abs=0.04)


def test_poisson_offspring_gives_the_same_exponents_in_the_tail() -> None:
    found = avalanches_from_counts(branching_counts(1.0, 100_000, 1, offspring="poisson"))
    size = fit_power_law(found.sizes, xmax=LARGEST)
    duration = fit_power_law(found.durations, xmin=30, xmax=LONGEST - 1)  # its law 1/T^2 sets in with ln T / T
    assert size.exponent == pytest.approx(1.5, abs=0.05)
    assert duration.exponent == pytest.approx(2.0, abs=0.1)
    assert kappa(found.sizes) == pytest.approx(1.0, abs=0.01)


def test_critical_avalanches_have_one_shape_and_subcritical_ones_another_exponent() -> None:
    found = shape_collapse(critical(), shortest=10)
    assert found.exponent == pytest.approx(2.0, abs=0.2)
    assert found.residual < 0.1
    middle = found.profiles.sel(phase=slice(0.4, 0.6)).mean()
    assert float(middle) > 1.2 * float(found.profiles.sel(phase=slice(0, 0.1)).mean())
    below = shape_collapse(avalanches_from_counts(branching_counts(0.8, 100_000, 1)), shortest=10)
    assert below.exponent < 1.8


@pytest.mark.parametrize("control", ["subcritical", "poisson", "short poisson"])
def test_controls_are_rejected_as_power_laws(control: str) -> None:
    if control == "subcritical":
        counts = branching_counts(0.8, 100_000, 1)
    else:
        counts = random(9).poisson(1.0, size=400_000 if control == "poisson" else 2000)
    found = avalanches_from_counts(counts)
    for values in (found.sizes, found.durations):
        fit = fit_power_law(values)
        assert not fit.plausible
        assert min(fit.exponential[0], fit.lognormal[0]) < -2.5


def test_fit_recovers_zipf_and_knows_its_range() -> None:
    x = random(4).zipf(2.5, size=50_000)
    fit = fit_power_law(x, xmin=1)
    assert abs(fit.exponent - 2.5) < 4 * fit.error < 0.05
    assert fit.plausible
    cut = fit_power_law(x, xmin=1, xmax=10)  # a cut that is known does not bias, one that is not does
    assert cut.exponent == pytest.approx(2.5, abs=0.04)
    assert fit_power_law(x[x <= 10], xmin=1).exponent > 2.55
    steep = fit_power_law(random(5).zipf(4.0, size=20_000), xmin=1)
    assert steep.exponent == pytest.approx(4.0, abs=0.15)


def test_kappa_of_the_reference_is_one_and_moves_with_the_sizes() -> None:
    grid = np.arange(1, 1001)
    weight = grid**-1.5
    exact = np.repeat(grid, np.rint(1e6 * weight / weight.sum()).astype(int))
    assert kappa(exact) == pytest.approx(1.0, abs=1e-4)
    assert kappa(exact, exponent=2.0) > 1.05
    assert kappa(avalanches_from_counts(branching_counts(0.6, 20_000, 1)).sizes) < 0.95


# ---- branching and memory --------------------------------------------------------------------------------------------


def test_branching_ratio_survives_a_five_percent_subsample() -> None:
    part = random(7).binomial(driven(), 0.05)
    found = branching_ratio(part)
    assert found.ratio == pytest.approx(0.98, abs=0.01)
    assert found.low < 0.98 < found.high
    assert found.high - found.low < 0.02
    assert found.ratio == pytest.approx(branching_ratio(driven(), bootstrap=0).ratio, abs=2e-3)
    assert float(found.regression[0]) < 0.7  # one step alone is fooled by the subsample, and so is the naive mean
    assert abs(found.naive - 0.98) > 0.03
    assert branching_ratio(driven(0.9)).ratio == pytest.approx(0.9, abs=0.01)


def test_offset_removes_a_change_of_level() -> None:
    steps = np.where(np.arange(60_000) < 30_000, 0, 300)
    moved = driven(0.9) + steps
    assert branching_ratio(moved, max_lag=100, offset=True).ratio == pytest.approx(0.9, abs=0.02)
    assert branching_ratio(moved, max_lag=100).ratio > 0.95


def test_activity_without_memory_has_no_branching_ratio() -> None:
    found = branching_ratio(random(8).poisson(5.0, size=5000))
    assert np.isnan(found.ratio)
    assert np.isnan(found.low)


def test_naive_ratio_of_whole_avalanches() -> None:
    assert naive_branching_ratio(branching_counts(0.8, 20_000, 3)) == pytest.approx(0.8, abs=0.02)
    assert naive_branching_ratio(branching_counts(0.5, 20_000, 3)) == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_branching_ratio_agrees_with_mrestimator() -> None:
    mre = pytest.importorskip("mrestimator")
    part = random(7).binomial(driven(), 0.05)
    found = branching_ratio(part, bootstrap=0)
    slopes = mre.coefficients(part[None].astype(float), steps=(1, found.regression.size), dt=1, dtunit="step")
    assert np.allclose(slopes.coefficients, found.regression, atol=2e-3)
    assert mre.fit(slopes, fitfunc=mre.f_exponential).mre == pytest.approx(found.ratio, abs=1e-3)


def test_detrended_fluctuation_of_known_noise() -> None:
    white = random(1).normal(size=(20_000, 3))
    found = detrended_fluctuation(xr.DataArray(white, dims=("time", "region"), coords={"region": list("abc")}))
    assert list(found.region.values) == list("abc")
    assert np.abs(found - 0.5).max() < 0.06
    assert float(detrended_fluctuation(white[:, 0].cumsum())) == pytest.approx(1.5, abs=0.06)
    spectrum = np.fft.rfft(white[:, 1])
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)))
    assert float(detrended_fluctuation(pink)) == pytest.approx(1.0, abs=0.08)


# ---- one call --------------------------------------------------------------------------------------------------------


def test_the_table_of_bold_has_values_intervals_and_nulls() -> None:
    found = criticality(bold(), nulls=19, scan=(1.0, 1.4, 2.0))
    table = found.table
    assert list(table.columns) == ["value", "low", "high", "null_mean", "null_sd", "p_value", "note"]
    assert table.index.name == "measure"
    for name in ("size_exponent", "duration_exponent", "kappa", "branching_naive", "avalanches"):
        assert np.isfinite(table.loc[name, ["value", "null_mean", "null_sd"]].astype(float)).all()
        # this signal is itself linear and Gaussian: nothing exceeds the surrogates
        assert 0.05 < table.loc[name, "p_value"] <= 1
    assert table.loc["size_exponent", "low"] < table.loc["size_exponent", "value"] < table.loc["size_exponent", "high"]
    assert found.scan is not None
    assert float(found.scan["kappa"].sel(threshold=1.4)) == table.loc["kappa", "value"]
    assert json.loads(json.dumps(found.to_dict()))["measures"]["kappa"]["value"] == table.loc["kappa", "value"]
    assert "avalanches: size exponent" in repr(found)
    again = criticality(bold(), nulls=19, scan=(1.0, 1.4, 2.0))
    assert again.table.equals(table)
    assert not criticality(bold(), nulls=19, scan=(), seed=1).table["null_mean"].equals(table["null_mean"])


def test_surrogates_show_what_bursts_have_beyond_their_spectrum() -> None:
    x = bold()
    gate = np.repeat(random(5).random(20) < 0.3, 30)[:, None]
    found = criticality(x.copy(data=np.where(gate, 4.0, 0.3) * x.values), nulls=19, scan=())
    assert found.table.loc["avalanches", "p_value"] == pytest.approx(0.05)


def test_the_table_of_counts_agrees_with_its_parts() -> None:
    counts = xr.DataArray(branching_counts(1.0, 5000, 2), dims=("time",))
    counts = counts.assign_coords(time=np.arange(counts.size) * 0.004)
    found = criticality_of_counts(counts, size_max=LARGEST, duration_max=LONGEST - 1, nulls=2)
    alone = fit_power_law(avalanches_from_counts(counts).sizes, xmax=LARGEST)
    assert found.table.loc["size_exponent", "value"] == alone.exponent
    assert found.size_fit.plausible
    assert found.table.loc["timescale_s", "value"] == pytest.approx(
        -0.004 / np.log(found.table.loc["branching_ratio", "value"])
    )
    assert found.table.loc["size_exponent", "null_mean"] != pytest.approx(alone.exponent, abs=0.05)


# Powers of two leave every rounding alone, so that no excursion moves across its threshold.
@settings(max_examples=6)
@given(scale=st.integers(-20, 20), seed=st.integers(0, 99))
def test_bold_criticality_ignores_order_and_scale_of_regions(scale: int, seed: int) -> None:
    x = bold(400)
    order = random(seed).permutation(x.sizes["region"])
    moved = (x * np.exp2(scale + np.arange(12) % 3)).isel(region=order).transpose("region", "time")
    a, b = (criticality(y, nulls=3, scan=()).table for y in (x, moved))
    assert np.allclose(a.drop(columns="note").astype(float), b.drop(columns="note").astype(float), equal_nan=True)
    assert not np.array_equal(point_process(x), point_process(x.isel(time=slice(None, None, -1))))


def test_more_neurons_nearer_to_criticality_is_found_and_not_invented() -> None:
    def run(m: float, seed: int) -> np.ndarray:
        return random(seed).binomial(driven(m, 4000, seed), 0.1)

    options = {"kind": "counts", "threshold": 50.0}
    near = [(10.0**i, run(m, i)) for i, m in enumerate((0.5, 0.8, 0.9, 0.95, 0.98, 0.995), start=3)]
    found = distance_to_criticality(near, **options)
    assert found.answer.startswith("yes: nearer")
    assert "branching_ratio" in found.answer
    assert found.table.loc["branching_ratio", "value"] == -1.0
    assert found.table.loc["branching_ratio", "p_value"] == pytest.approx(1 / 720)
    assert list(found.runs["neurons"]) == [n for n, _ in near]
    away = distance_to_criticality([(n, x) for (n, _), (_, x) in zip(near, near[::-1], strict=True)], **options)
    assert away.table.loc["branching_ratio", "value"] == 1.0
    assert away.answer.startswith("not shown")
    few = distance_to_criticality(near[:3], **options)
    assert few.answer.endswith("3 runs cannot show it, give 5 or more")


# ---- what cannot be done ---------------------------------------------------------------------------------------------


def spoilt(what: str) -> xr.DataArray:
    x = bold()
    match what:
        case "nan":
            x[5, 2] = np.nan
        case "constant":
            x[:, 4] = 3.0
        case "short":
            x = x[:10]
        case "few":
            x = x[:60]
    return x


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", "BOLD of region 'R2' is not finite in 1 volumes"),
        ("constant", "does not vary in region 'R4'"),
        ("short", "has 10 volumes, expected at least 20"),
        ("few", "whole avalanches in 60 bins"),
    ],
)
def test_bold_that_cannot_be_measured_is_refused(what: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        criticality(spoilt(what), nulls=0)
    criticality(bold(), nulls=0, scan=())


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (np.array([1.5] * 30), "hold 1.5 .*expected whole numbers"),
        (np.array([np.nan] + [1.0] * 30), "hold nan"),
        (np.array([-1] + [1] * 30), "hold -1"),
        (np.ones(50, dtype=int), "are 1 in every one of 50 steps"),
        (np.arange(5), "have 5 time steps, expected at least 20"),
        (np.array(["a"] * 30), "expected whole numbers"),
    ],
)
def test_counts_that_cannot_be_cut_are_refused(counts: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        avalanches_from_counts(counts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bin_steps": 0}, "the bin is 0"),
        ({"bin_steps": "often"}, "the bin is 'often'"),
        ({"threshold": "high"}, "the threshold is 'high'"),
        ({"threshold": -1.0}, "the threshold is -1.0"),
        ({"bin_steps": 30}, "make 3 bins"),
        ({"nulls": -1}, "nulls is -1"),
        ({"xmin": 0}, "xmin is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_unknown_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        criticality_of_counts(np.tile([0, 1, 2], 33), **options)


def test_series_without_memory_to_measure_are_refused() -> None:
    with pytest.raises(InputError, match="does not vary"):
        branching_ratio(np.ones(200))
    with pytest.raises(InputError, match="1 values of the series are not finite"):
        detrended_fluctuation(np.r_[np.nan, np.arange(200.0)])
    with pytest.raises(InputError, match="with at least 100 steps"):
        branching_ratio(np.arange(50.0))
    with pytest.raises(InputError, match="max_lag is 500"):
        branching_ratio(np.arange(200.0), max_lag=500)
    with pytest.raises(InputError, match="windows of 60 to 50 steps"):
        detrended_fluctuation(np.arange(200.0), shortest=60)
    with pytest.raises(InputError, match="there are 3 avalanches"):
        fit_power_law([1, 2, 3])
    with pytest.raises(InputError, match="all 20 avalanches have size 4"):
        kappa([4] * 20)


def test_ranges_and_libraries_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(5, 40)
    for xmax, message in ((3, "no value is at most xmax = 3"), (0, "xmax is 0"), (7, "3 values lie from 5 to 7")):
        with pytest.raises(InputError, match=message):
            fit_power_law(values, xmax=xmax)
    assert np.isfinite(fit_power_law(values).exponent)
    monkeypatch.setitem(sys.modules, "powerlaw", None)
    with pytest.raises(InputError, match=r"needs the library 'powerlaw'.*pip install 'twinbrain\[analyse\]'"):
        fit_power_law(values)


def test_mean_sizes_of_known_growth_are_recovered_whatever_their_scatter() -> None:
    durations = random(3).integers(1, 60, size=20_000)
    scatter = random(4).exponential(size=durations.size)
    sizes = np.maximum(np.rint(500 * durations**1.6 * scatter), 1)
    gamma, error = mean_size_exponent(sizes, durations)
    assert abs(gamma - 1.6) < 4 * error < 0.06
    assert np.isnan(mean_size_exponent(sizes, durations, longest=2)).all()


def test_runs_that_show_no_trend_are_refused() -> None:
    fine = random(1).poisson(0.5, size=500)
    with pytest.raises(InputError, match="2 runs of 2 numbers of neurons"):
        distance_to_criticality([(10, fine), (20, fine)], kind="counts")
    with pytest.raises(InputError, match=r"run 1 \(20 neurons\): the counts are 1 in every"):
        distance_to_criticality([(10, fine), (20, np.ones(500, dtype=int)), (30, fine)], kind="counts")
