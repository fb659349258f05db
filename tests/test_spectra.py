"""Spectra: power is conserved, bands hold, peaks are found at the stated rate, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import detrend, welch

from twinbrain.analyse._measures import read_series
from twinbrain.analyse.spectra import _estimator, _filtered, spectra
from twinbrain.errors import InputError

TR = 0.72


def random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def labelled(x: np.ndarray, dim: str = "region") -> xr.DataArray:
    names = [f"R{k:03d}" for k in range(x.shape[1])]
    coords = {"time": np.arange(len(x)) * TR, dim: names}
    return xr.DataArray(x, dims=("time", dim), coords=coords, attrs={"units": "%"})


def autoregressive(series: int, memory: float = 0.5, volumes: int = 1200, seed: int = 0) -> np.ndarray:
    return _filtered(random(seed).normal(size=(volumes, series)), np.full(series, memory))


def rhythm(frequency: float, volumes: int = 1200) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(volumes) * TR)[:, None]


# ---- the estimate ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("volumes", [400, 401])
def test_power_is_conserved(volumes: int) -> None:
    x = autoregressive(3, volumes=volumes)
    found = spectra(labelled(x), resolution_hz=0.02, nulls=0)
    tapers = _estimator(read_series(labelled(x), "x", volumes=4), "multitaper", 0.02).tapers
    line = detrend(x, axis=0)
    expected = np.mean([((w[:, None] * line) ** 2).sum(axis=0) for w in tapers], axis=0)
    spacing = float(found.power.frequency[1])
    assert np.allclose(found.power.sum("frequency") * spacing, expected, rtol=1e-10)
    assert np.allclose(expected, line.var(axis=0), rtol=0.25)
    assert not np.allclose(expected, line.var(axis=0), rtol=1e-6)
    assert found.power.attrs["units"] == "(%)^2/Hz"


def test_tapers_are_orthonormal_and_their_number_follows_the_resolution() -> None:
    estimate = _estimator(read_series(labelled(autoregressive(1)), "x", volumes=4), "multitaper", 0.01)
    assert np.allclose(estimate.tapers @ estimate.tapers.T, np.eye(7), atol=1e-10)  # 864 s * 0.01 Hz - 1
    assert estimate.dof == 14


def test_welch_is_that_of_scipy() -> None:
    x = detrend(autoregressive(2), axis=0)
    found = spectra(labelled(x), method="welch", resolution_hz=0.01, nulls=0)
    segments = 2 * round(0.75 / 0.01 / TR)
    assert found.resolution_hz == pytest.approx(1.5 / (segments * TR))
    start = (1200 - (1200 - segments) // (segments // 2) * (segments // 2) - segments) // 2
    _, expected = welch(x[start:], 1 / TR, "hann", segments, detrend=False, axis=0)
    assert np.allclose(found.power, expected, rtol=1e-6)


@pytest.mark.parametrize("method", ["multitaper", "welch"])
def test_expected_spectrum_of_ar1_is_the_mean_of_many(method: str) -> None:
    estimate = _estimator(read_series(labelled(autoregressive(1)), "x", volumes=4), method, 0.01)
    x = autoregressive(600, 0.9) * np.sqrt(1 - 0.9**2)
    power = estimate.power(x)
    z = (power.mean(axis=1) - estimate.expected(np.array([0.9]))[:, 0]) / (power.std(axis=1) / np.sqrt(600))
    assert np.abs(z).max() < 4.8  # 601 frequencies
    assert 0.7 < z.std() < 1.4


def test_white_noise_lies_in_its_band_at_the_nominal_rate() -> None:
    for method in ("multitaper", "welch"):
        found = spectra(labelled(random(3).normal(size=(1200, 300))), method=method, nulls=0)  # type: ignore[arg-type]
        truth = 2 * TR
        inside = ((found.low < truth) & (truth < found.high)).to_numpy()[4:]  # the line removed takes the lowest
        assert inside.mean() == pytest.approx(0.95, abs=0.008)
        assert np.allclose(found.power.mean("region")[4:-1], truth, rtol=0.25)
        half = ((found.low < truth / 2) & (truth / 2 < found.high)).to_numpy()[4:]
        assert half.mean() < 0.9


# ---- peaks -----------------------------------------------------------------------------------------------------------


def test_planted_rhythm_is_found_where_it_is() -> None:
    x = autoregressive(40)
    planted = spectra(labelled(x + 0.6 * x.std() * rhythm(0.0225)), nulls=0).peaks
    near = planted[(planted.frequency_hz - 0.0225).abs() < 0.0025]
    assert near.region.nunique() >= 38
    assert (near.p_value <= 0.05).all()
    assert spectra(labelled(x), nulls=0).peaks.region.nunique() <= 8


def test_memory_alone_has_peaks_at_the_nominal_family_wise_rate() -> None:
    for method, memory in (("multitaper", 0.5), ("welch", 0.9)):
        found = spectra(labelled(autoregressive(200, memory, seed=8)), method=method, nulls=0)  # type: ignore[arg-type]
        assert found.table.value["series_with_peak"] <= 0.105  # 5 %: 99.9 % bound of 200
        assert found.table.value["memory"] == pytest.approx(memory, abs=0.02)
        assert found.peaks.region.nunique() == round(200 * found.table.value["series_with_peak"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["multitaper", "welch"])
@pytest.mark.parametrize("memory", [0.0, 0.5, 0.85, 0.97])
def test_family_wise_rate_of_many(method: str, memory: float) -> None:
    found = spectra(labelled(autoregressive(1000, memory, seed=9)), method=method, nulls=0)  # type: ignore[arg-type]
    assert 0.023 <= found.table.value["series_with_peak"] <= 0.077  # 5 %, 3.3 SE of 1,000 series and 1,999 draws


def test_drives_are_taken_as_they_are() -> None:
    x = labelled(0.01 * autoregressive(2, 0.9) + 0.05 * rhythm(0.0225), dim="input")
    found = spectra(x, nulls=9)
    assert set(found.peaks.columns) == {"input", "frequency_hz", "power", "ratio", "p_value"}
    assert set(found.peaks.input[(found.peaks.frequency_hz - 0.0225).abs() < 0.003]) == {"R000", "R001"}
    assert found.table.value["peak_hz"] == pytest.approx(0.0225, abs=0.0025)
    assert found.to_dict()["peaks"][0]["input"] == "R000"  # type: ignore[index]


def test_surrogates_show_what_memory_makes() -> None:
    x = autoregressive(6, 0.8)
    alone = spectra(labelled(x), nulls=39).table
    planted = spectra(labelled(x + 3 * rhythm(0.0225)), nulls=39).table
    for measure in ("largest_ratio", "exponent", "band_share"):
        assert alone.p_value[measure] > 0.05
        assert abs(alone.value[measure] - alone.null_mean[measure]) < 4 * alone.null_sd[measure]
    assert planted.p_value["largest_ratio"] == pytest.approx(0.05)
    assert spectra(labelled(x), nulls=3, seed=1).table.equals(spectra(labelled(x), nulls=3, seed=1).table)
    assert not spectra(labelled(x), nulls=3, seed=1).table.equals(spectra(labelled(x), nulls=3, seed=2).table)


@settings(max_examples=5, deadline=None)
@given(scale=st.floats(1e-12, 1e12), offset=st.floats(-10, 10), order=st.permutations(range(5)))
def test_units_offsets_and_order_do_not_matter(scale: float, offset: float, order: list[int]) -> None:
    x = labelled(autoregressive(5, 0.7, 500))
    reference = spectra(x, resolution_hz=0.01, nulls=0)
    changed = spectra((scale * (x + offset)).isel(region=list(order)), resolution_hz=0.01, nulls=0)
    assert np.allclose(reference.table.value, changed.table.value, atol=1e-7)
    assert np.allclose(reference.power * scale**2, changed.power.sel(region=x.region), rtol=1e-5)
    assert np.allclose(reference.p_values, changed.p_values.sel(region=x.region), equal_nan=True, atol=2e-3)


# ---- refusals --------------------------------------------------------------------------------------------------------


def test_what_cannot_be_measured_is_refused() -> None:
    x = labelled(autoregressive(3))
    flat, hole = x.copy(), x.copy()
    flat[:, 1], hole[10, 1] = 3.0, np.inf
    for given_, wrong, message in (
        (flat, {}, "do not vary, found region 'R001'"),
        (hole, {}, "'R001' is not finite at 7.2 s"),
        (x[:30], {}, "30 volumes, expected at least 40"),
        (x[:300], {}, "300 volumes of 0.72 s are too short .* expected at least 600 s; give resolution_hz=0.0139"),
        (x[:300], {"method": "welch"}, "hold 0 half-overlapping segments"),
        (x, {"method": "fft"}, "method is 'fft', expected 'multitaper' or 'welch'"),
        (x, {"resolution_hz": 1.0}, "resolution_hz is 1.0"),
        (x, {"search_hz": (0.1, 0.11)}, "width of at least 4 times the resolution"),
        (x, {"band_hz": (0.1, 0.01)}, "band_hz is"),
        (x, {"alpha": 0.0}, "alpha is 0.0"),
        (x, {"nulls": -2}, "nulls is -2"),
        (x.rename(region="place"), {}, "expected .time, region. or .time, voxel. or .time, input."),
    ):
        with pytest.raises(InputError, match=message):
            spectra(given_, **({"nulls": 0} | wrong))  # type: ignore[arg-type]
    assert spectra(x[:300], resolution_hz=0.0139, nulls=0).dof == 4
