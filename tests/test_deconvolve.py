"""From BOLD back to rates: what the Balloon model made of known rates must lead back to them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from twinbrain.assimilate.deconvolve import deconvolve, predict_bold
from twinbrain.errors import InputError
from twinbrain.observe import advance_balloon, bold_signal, resting_state, steady_state

Array = NDArray[np.float64]
TR = 0.72


def rates_like_autoregressive_noise(rows: int = 200, series: int = 3, seed: int = 2) -> Array:
    rng = np.random.default_rng(seed)
    x = np.zeros((rows + 50, series))
    for t in range(1, len(x)):
        x[t] = 0.9 * x[t - 1] + np.sqrt(1 - 0.81) * rng.standard_normal(series)
    return np.asarray(np.clip(9 + 2.5 * x[50:], 1.5, None))


def correlation(a: Array, b: Array, rows: slice = slice(10, -5)) -> float:
    return float(np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a[rows].T, b[rows].T, strict=True)]))


def test_predicted_bold_is_that_of_the_simulations_balloon_model() -> None:
    rate = rates_like_autoregressive_noise(60, 2)
    state = resting_state(2)
    advance_balloon(state, np.repeat(rate[:1] / 1000, 60_000, axis=0))
    bold = []
    for row in rate:
        advance_balloon(state, np.repeat(row[None] / 1000, 720, axis=0))  # steps of 1 ms, as the engine takes
        bold.append(bold_signal(state))
    np.testing.assert_allclose(predict_bold(rate, TR), bold, atol=5e-5)
    np.testing.assert_allclose(predict_bold(np.full((40, 1), 7.5), TR), steady_state(7.5), rtol=1e-9)
    assert np.abs(predict_bold(rate * 1.02, TR) - bold).max() > 3e-4


def test_known_rates_are_recovered_from_their_bold_with_noise() -> None:
    """The twin experiment behind the default roughness found r 0.995 with it, 0.985 at ten times as much."""
    rate = rates_like_autoregressive_noise()
    noise = 1e-4 * np.random.default_rng(0).standard_normal(rate.shape)
    bold = predict_bold(rate, TR) + noise
    found = deconvolve(bold, TR)
    assert correlation(found.rate_hz, rate) > 0.97
    assert correlation(found.predicted, bold) > 0.999
    rough = deconvolve(bold, TR, roughness=3e-5)
    assert correlation(rough.rate_hz, rate) < correlation(found.rate_hz, rate) - 0.05
    late = deconvolve(np.vstack([bold[2:], bold[-2:]]), TR)  # the control: BOLD two volumes too early
    assert correlation(late.rate_hz, rate) < 0.9


def test_missing_volumes_are_bridged_and_change_only_their_surroundings() -> None:
    rate = rates_like_autoregressive_noise()
    bold = predict_bold(rate, TR)
    gap = bold.copy()
    gap[80:84, 0] = np.nan
    gap[120, :] = np.nan
    whole, holed = deconvolve(bold, TR), deconvolve(gap, TR)
    assert np.isfinite(holed.rate_hz).all()
    assert np.isfinite(holed.predicted).all()
    np.testing.assert_allclose(holed.rate_hz[:60], whole.rate_hz[:60], atol=0.02)
    assert np.abs(holed.rate_hz - whole.rate_hz).max() > 0.1
    assert correlation(holed.rate_hz, rate) > 0.97
    assert holed.rate_sd_hz[81, 0] > 1.2 * holed.rate_sd_hz[40, 0]  # less is known where nothing was seen
    # a series with all volumes is not touched by the gaps of another
    beside = deconvolve(np.stack([gap[:, 0], bold[:, 1]], axis=1), TR).rate_hz[:, 1]
    np.testing.assert_allclose(beside, whole.rate_hz[:, 1], rtol=1e-11)


def test_padding_frees_the_first_rows_from_the_rest_before_them() -> None:
    rate = rates_like_autoregressive_noise(160)
    bold = predict_bold(rate, TR)[30:]  # the recording begins in the middle of what happens
    bare, padded = deconvolve(bold, TR), deconvolve(bold, TR, padding_s=12)
    assert padded.start_up_hz.shape == (17, 3)
    assert bare.start_up_hz.shape == (0, 3)
    assert np.abs(padded.rate_hz - rate[30:])[:4].mean() < np.abs(bare.rate_hz - rate[30:])[:4].mean()
    np.testing.assert_allclose(padded.rate_hz[30:], bare.rate_hz[30:], atol=0.05)


def test_rates_stay_within_their_bounds() -> None:
    found = deconvolve(predict_bold(rates_like_autoregressive_noise(), TR) - 0.02, TR)
    assert found.rate_hz.min() == 0.7
    assert deconvolve(np.full((50, 1), 0.2), TR).rate_hz.max() == 60.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"roughness": 0.0}, "roughness is 0.0, expected a number > 0, usually 3e-8"),
        ({"iterations": 0}, "iterations is 0, expected at least 1"),
        ({"rate_bounds_hz": (5.0, 1.0)}, "expected two rising rates"),
        ({"padding_s": -1.0}, "padding_s is -1.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        deconvolve(np.full((20, 1), 0.02), TR, **change)  # type: ignore[arg-type]


def test_a_series_without_any_sample_is_refused() -> None:
    bold = np.full((20, 2), 0.02)
    bold[:, 1] = np.nan
    with pytest.raises(InputError, match="series 1 has no finite sample"):
        deconvolve(bold, TR)
