"""Observations: filtered, standardised and placed inside the model's range; bad regions are named."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import xarray as xr

from twinbrain.assimilate.target import observations, repetition_time
from twinbrain.errors import InputError

NAMES = ["Thalamus_L", "Thalamus_R", "Insula_L"]


def recorded(values: np.ndarray | None = None, tr: float = 0.8) -> xr.DataArray:
    x = np.random.default_rng(5).standard_normal((300, 3)) if values is None else values
    return xr.DataArray(
        100 + 5 * x,
        dims=("time", "region"),
        coords={"region": NAMES},
        attrs={"repetition_time_s": tr, "units": "raw"},
    )


def test_each_region_gets_the_same_mean_and_scale_within_the_clip() -> None:
    bold = recorded() * xr.DataArray([1.0, 50.0, 0.01], dims="region")
    bold.attrs = recorded().attrs
    y = observations(bold, band_hz=None, clip=100)
    np.testing.assert_allclose(y.mean("time"), 0.022, rtol=1e-12)
    np.testing.assert_allclose(y.std("time"), 0.004, rtol=1e-12)
    spiky = recorded()
    spiky[7, 0] = 1e4
    clipped = observations(spiky, band_hz=None)
    assert float(clipped.max()) == pytest.approx(0.022 + 3.5 * 0.004, rel=1e-12)
    assert float(observations(spiky, band_hz=None, clip=100).max()) > 0.05
    assert clipped.attrs["units"] == "fraction signal change"


def test_the_band_is_kept_and_the_rest_removed() -> None:
    t = np.arange(600) * 0.8
    inside, slow, fast = (np.sin(2 * np.pi * f * t) for f in (0.05, 0.002, 0.3))
    mixed = recorded(np.stack([inside + fast, inside + slow, inside + 0.01 * t], axis=1))
    y = observations(mixed)
    for region in NAMES:
        assert np.corrcoef(y.sel(region=region)[50:-50], inside[50:-50])[0, 1] > 0.99
    raw = observations(mixed, band_hz=None)
    assert max(np.corrcoef(raw.sel(region=r), inside)[0, 1] for r in NAMES) < 0.9


def test_the_stretch_is_filtered_with_its_surroundings_and_standardised_by_itself() -> None:
    bold = recorded()
    y = observations(bold, first_volume=100, volumes=150)
    assert y.sizes["time"] == 150
    assert y.attrs["first_volume"] == 100
    np.testing.assert_allclose(y["time"], np.arange(100, 250) * 0.8)  # the clock of the recording
    later = observations(bold.assign_coords(time=4.0 + np.arange(bold.sizes["time"]) * 0.8), first_volume=100)
    np.testing.assert_allclose(later["time"][:2], [84.0, 84.8])
    whole = observations(bold, clip=100)[100:250]
    part = observations(bold, first_volume=100, volumes=150, clip=100)
    for r in NAMES:
        assert np.corrcoef(whole.sel(region=r), part.sel(region=r))[0, 1] == pytest.approx(1.0, abs=1e-12)
    alone = observations(bold[100:250], clip=100)
    assert np.abs(alone.values - part.values).max() > 1e-4


def test_published_window_puts_the_extremes_of_the_inputs_on_its_ends() -> None:
    y = observations(recorded(), window=(0.02, 0.05), required=NAMES[:2])
    inputs = y.sel(region=NAMES[:2])
    assert float(inputs.min()) == pytest.approx(0.02, rel=1e-12)
    assert float(inputs.max()) == pytest.approx(0.05, rel=1e-12)
    assert np.ptp(y.sel(region="Insula_L").values) != pytest.approx(0.03, rel=1e-6)


def test_a_missing_volume_stays_missing_and_disturbs_only_its_neighbours() -> None:
    bold = recorded()
    gap = bold.copy()
    gap[40, 1] = np.nan
    gap[41, 1] = np.inf
    y = observations(gap)
    assert np.isnan(y.values).sum() == 2
    assert np.isnan(y[40:42, 1]).all()
    whole = observations(bold)
    np.testing.assert_array_equal(y[:, 0], whole[:, 0])
    assert np.corrcoef(np.delete(y[:, 1].values, [40, 41]), np.delete(whole[:, 1].values, [40, 41]))[0, 1] > 0.97
    assert not np.array_equal(y[:30, 1], whole[:30, 1])


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (np.nan, "region 'Thalamus_R' is NaN in every volume"),
        (3.0, r"region 'Thalamus_R' is constant \(3\)"),
    ],
)
def test_a_region_without_signal_is_named(fill: float, message: str, caplog: pytest.LogCaptureFixture) -> None:
    bold = recorded()
    bold[:, 1] = fill
    with pytest.raises(InputError, match=message):
        observations(bold)
    with caplog.at_level(logging.WARNING):
        y = observations(bold, required=["Thalamus_L"])
    assert "it has no target" in caplog.text
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, [0, 2]]).all()


def test_more_than_half_missing_is_no_signal() -> None:
    bold = recorded()
    bold[:151, 0] = np.nan
    with pytest.raises(InputError, match=r"'Thalamus_L' is NaN in 151 of 300 volumes"):
        observations(bold)
    bold = recorded()
    bold[:100, 0] = np.nan
    assert np.isfinite(observations(bold)[100:]).all()


def test_wrong_requests_get_one_sentence_that_says_how_to_mend_them() -> None:
    bold = recorded()
    with pytest.raises(InputError, match=r"'thalamus_l' among its 3 regions.*did you mean 'Thalamus_L'\?"):
        observations(bold, required=["thalamus_l"])
    with pytest.raises(InputError, match=r"found \(0.01, 0.7\) Hz, expected .* between 0 and 0.625 Hz"):
        observations(bold, band_hz=(0.01, 0.7))
    with pytest.raises(InputError, match=r"asked for 250 volumes from volume 100 on, but the run has 300"):
        observations(bold, first_volume=100, volumes=250)
    with pytest.raises(InputError, match="target_scale: found 0"):
        observations(bold, scale=0.0)
    with pytest.raises(InputError, match=r"target window: found \(0.05, 0.02\)"):
        observations(bold, window=(0.05, 0.02))
    with pytest.raises(InputError, match=r"found the dimensions \('a', 'b'\)"):
        observations(bold.rename(time="a", region="b"))


@pytest.mark.parametrize("value", [None, 0.0, -0.8, np.nan, 800.0, "fast"])
def test_a_missing_or_odd_repetition_time_is_asked_for(value: object) -> None:
    bold = recorded()
    bold.attrs["repetition_time_s"] = value
    with pytest.raises(
        InputError, match=r"attrs\['repetition_time_s'\] is .*expected the time between volumes in seconds"
    ):
        repetition_time(bold)
    assert repetition_time(recorded()) == 0.8
