"""Private slow variability: a planted amplitude is recovered, the inputs are left alone, off changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from twinbrain import Brain, Drive, InputError, Subject
from twinbrain.analyse.filtering import band_pass
from twinbrain.assimilate.linear import propagate, region_projection
from twinbrain.assimilate.private import _bold_variance, private_variability
from twinbrain.observe import advance_balloon, bold_signal, resting_state, steady_state

Float = NDArray[np.float64]
TR, K, SLOPE, RATE = 0.72, 0.8, 0.008, 4.0
REGIONS = [f"r{j}" for j in range(8)]
INPUTS = REGIONS[:2]
FREE = REGIONS[2:]


def brain() -> Brain:
    weights = np.random.default_rng(2).lognormal(0.0, 1.0, (8, 8))
    np.fill_diagonal(weights, 0.0)
    return Brain.from_subject(Subject.from_arrays(weights, REGIONS))


def hemodynamics(rates: Float) -> Float:
    """BOLD (time, region) of rates (time, region) in Hz, each held for one repetition time."""
    state = resting_state(rates.shape[1])
    bold = np.empty_like(rates)
    advance_balloon(state, np.tile(rates[:1] / 1000.0, (12000, 1)), 0.005)
    for t, row in enumerate(rates):
        advance_balloon(state, np.tile(row / 1000.0, (144, 1)), 0.005)
        bold[t] = bold_signal(state)
    return bold


def slow(seed: int, columns: int, rows: int = 4000) -> Float:
    """Band-passed noise of unit variance."""
    noise = np.random.default_rng(seed).normal(size=(rows, columns))
    kept = band_pass(noise, TR)
    return np.asarray(kept / kept.std(axis=0))


def shares(unexplained: float | Float) -> xr.DataArray:
    values = np.ones(len(REGIONS))
    values[2:] = 1.0 - np.asarray(unexplained)
    return xr.DataArray(values, dims="region", coords={"region": REGIONS})


def inputs_of(rows: int = 4000) -> tuple[Drive, xr.DataArray, Float]:
    """A drive whose inputs follow a known course in a linear network, its BOLD, and the rates of the inputs."""
    rates = 8.0 + 1.0 * slow(1, 2, rows)
    C = region_projection(brain())
    W = propagate(C, K, [0, 1])
    everywhere = np.concatenate([rates - RATE, (rates - RATE) @ W.T], axis=1)
    h = SLOPE * (everywhere - K * everywhere @ C.T)[:, :2]
    time = np.arange(rows) * TR
    values = xr.DataArray(h, dims=("time", "input"), coords={"time": time, "input": INPUTS})
    target = xr.DataArray(hemodynamics(rates), dims=("time", "region"), coords={"time": time, "region": INPUTS})
    return Drive(values, TR), target, rates


def linear_rates(drive: Drive) -> Float:
    """Rates of all regions of a linear network under a drive: r0 + (1 - k C)^-1 h / a."""
    h = np.zeros((drive.values.sizes["time"], len(REGIONS)))
    h[:, [REGIONS.index(n) for n in drive.inputs]] = drive.values.values
    return np.asarray(RATE + h @ np.linalg.inv(np.eye(8) - K * region_projection(brain())).T / SLOPE)


def test_planted_share_of_variance_is_made() -> None:
    drive, target, rates = inputs_of()
    for planted in (0.3, 0.6):
        found = private_variability(brain(), drive, target, shares(planted), loop_gain=K, slope=SLOPE)
        assert found.share.sel(region=FREE).values == pytest.approx(planted, abs=0.02)
        with_own, without = linear_rates(found.drive), linear_rates(drive)
        assert with_own[:, :2] == pytest.approx(rates, abs=1e-9)  # the inputs do what they did
        bold, caused = (band_pass(hemodynamics(x), TR)[:, 2:] for x in (with_own, without))
        share = 1.0 - caused.var(axis=0) / bold.var(axis=0)
        assert share.mean() == pytest.approx(planted, abs=0.07)
        assert share == pytest.approx(planted, abs=0.2)
        unexplained = 1.0 - np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(bold.T, caused.T, strict=True)]) ** 2
        assert unexplained.mean() == pytest.approx(planted, abs=0.07)


def test_planted_amplitudes_are_recovered_region_by_region() -> None:
    drive, target, _ = inputs_of()
    C = region_projection(brain())
    true = np.array([0.2, 0.5, 0.8, 1.1, 1.4, 1.7])
    own = true * np.random.default_rng(7).normal(size=(4000, 6))
    for t in range(1, 4000):  # the same process, made independently
        phi = np.exp(-TR / 5.0)
        own[t] = phi * own[t - 1] + np.sqrt(1 - phi**2) * own[t]
    caused = linear_rates(drive)[:, 2:]
    rates = caused + own @ np.linalg.inv(np.eye(6) - K * C[2:, 2:]).T
    bold, only = (band_pass(hemodynamics(x), TR) for x in (np.maximum(rates, 0.3), caused))
    r = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(bold.T, only.T, strict=True)])
    found = private_variability(brain(), drive, target, shares(1.0 - r**2), loop_gain=K, slope=SLOPE, ceiling=0.99)
    amplitude = found.amplitude.sel(region=FREE).values
    assert np.corrcoef(amplitude, true)[0, 1] > 0.9
    assert amplitude == pytest.approx(true, rel=0.4, abs=0.15)
    shuffled = private_variability(
        brain(), drive, target, shares((1.0 - r**2)[::-1]), loop_gain=K, slope=SLOPE, ceiling=0.99
    )
    assert np.corrcoef(shuffled.amplitude.sel(region=FREE).values, true)[0, 1] < 0.5


def test_off_is_the_same_drive() -> None:
    drive, target, _ = inputs_of(200)
    off = private_variability(brain(), drive, target, shares(0.5), loop_gain=K, slope=SLOPE, kind="off")
    on = private_variability(brain(), drive, target, shares(0.5), loop_gain=K, slope=SLOPE)
    assert off.drive.values.identical(drive.values)
    assert not off.amplitude.any()
    assert on.drive.values.sizes["input"] == len(REGIONS)
    assert on.amplitude.sel(region=FREE).all()
    assert not on.amplitude.sel(region=INPUTS).any()


def test_fluctuations_belong_to_seed_and_name() -> None:
    drive, target, _ = inputs_of(400)
    make = {
        seed: private_variability(brain(), drive, target, shares(0.5), loop_gain=K, slope=SLOPE, seed=seed)
        for seed in (0, 1)
    }
    again = private_variability(brain(), drive, target, shares(0.5), loop_gain=K, slope=SLOPE, seed=0)
    assert make[0].drive.values.identical(again.drive.values)
    columns = make[0].drive.values.sel(input=FREE).values, make[1].drive.values.sel(input=FREE).values
    assert np.abs(np.corrcoef(columns[0].T, columns[1].T)[:6, 6:]).max() < 0.6
    assert columns[0].std(axis=0) == pytest.approx(SLOPE * make[0].amplitude.sel(region=FREE).values, rel=0.4)


def test_variance_of_bold_agrees_with_simulated_hemodynamics() -> None:
    rows, tau = 6000, 5.0
    noise = np.random.default_rng(4).normal(size=(rows, 8))
    phi = np.exp(-TR / tau)
    for t in range(1, rows):
        noise[t] = phi * noise[t - 1] + np.sqrt(1 - phi**2) * noise[t]
    simulated = band_pass(hemodynamics(5.0 + 0.2 * noise), TR).var(axis=0).mean() / 0.04
    assert _bold_variance(5.0, TR, tau, (0.01, 0.1), None) == pytest.approx(simulated, rel=0.1)
    wide = _bold_variance(5.0, TR, tau, None, None)
    assert wide > 1.2 * simulated
    slope = (steady_state(5.1) - steady_state(4.9)) / 0.2
    assert _bold_variance(5.0, TR, 500.0, None, None) == pytest.approx(float(slope) ** 2, rel=0.15)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "of"}, "kind: found 'of', expected one of off, ou"),
        ({"loop_gain": 1.2}, "loop_gain: found 1.2"),
        ({"slope": 0.0}, "slope: found 0, expected a number above 0"),
        ({"ceiling": 1.0}, "ceiling: found 1"),
        ({"seed": -1}, "seed: found -1"),
        ({"explained": shares(0.5).sel(region=REGIONS[1:])}, "explained: region 'r0' is missing"),
        ({"drive": Drive.constant({"x": 0.1}, 72.0, TR)}, "drive: 'x' is no region"),
        ({"drive": Drive.constant({"r5": 0.1}, 72.0, TR)}, "target: input 'r5' has no series"),
    ],
)
def test_bad_settings_are_refused_in_words(changes: dict[str, object], message: str) -> None:
    drive, target, _ = inputs_of(100)
    options = {"drive": drive, "target": target, "explained": shares(0.5), "loop_gain": K, "slope": SLOPE} | changes
    with pytest.raises(InputError, match=message):
        private_variability(brain(), **options)  # type: ignore[arg-type]
