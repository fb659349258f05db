"""Evidence: the finite-size law is found, the words follow the figures, in-sample is labelled."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from twinbrain import Drive, InputError
from twinbrain.analyse.baselines import copy_inputs
from twinbrain.analyse.filtering import band_pass
from twinbrain.assimilate.linear import propagate
from twinbrain.experiment.evidence import evidence, null_drives, posterior_checks, size_law

Float = NDArray[np.float64]
REGIONS = [f"r{k:02d}" for k in range(20)]
INPUTS = REGIONS[:3]
TR = 0.72


def series(values: Float) -> xr.DataArray:
    time = np.arange(len(values)) * TR
    return xr.DataArray(values, dims=("time", "region"), coords={"time": time, "region": REGIONS})


def slow(seed: int, columns: int, rows: int = 600) -> Float:
    """Fluctuations inside the pass band, unit variance."""
    noise = np.random.default_rng(seed).normal(size=(rows + 60, columns))
    kept = np.apply_along_axis(np.convolve, 0, noise, np.hanning(21), "same")[30:-30]
    return np.asarray((kept - kept.mean(axis=0)) / kept.std(axis=0))


def connectome(seed: int = 1) -> xr.DataArray:
    weights = np.random.default_rng(seed).lognormal(0.0, 2.5, (20, 20))
    np.fill_diagonal(weights, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    return xr.DataArray(weights, dims=("target", "source"), coords={"target": REGIONS, "source": REGIONS})


def recorded_and_signal(rows: int = 600) -> tuple[xr.DataArray, Float]:
    """A brain that is linear propagation of its inputs plus a life of its own, and the part that is propagation."""
    x = slow(2, 3, rows)
    others = x @ propagate(connectome().values, 0.8, [0, 1, 2]).T
    others /= others.std(axis=0)
    own = slow(3, 17, rows)
    signal = band_pass(np.concatenate([x, others], axis=1), TR)
    signal = signal / signal.std(axis=0)
    return series(np.concatenate([x, 0.8 * others + 0.6 * own], axis=1)), signal


def runs_of(signal: Float, c: float, sizes: tuple[int, ...]) -> dict[int, xr.DataArray]:
    """Free runs whose noise falls with their size as the law says."""
    return {n: series(signal + np.sqrt(c / n) * slow(100 + n, 20, len(signal))) for n in sizes}


# ---- the law -------------------------------------------------------------------------------------------------------


def test_the_law_is_recovered_and_predicts_a_larger_size() -> None:
    recorded, signal = recorded_and_signal(3000)
    runs = runs_of(signal, 200.0, (100, 300, 1000, 10_000))
    found = evidence({n: runs[n] for n in (100, 300, 1000)}, recorded, INPUTS, connectome=connectome(), bootstrap=200)
    law = found.law
    assert law is not None
    assert law.c == pytest.approx(200.0, rel=0.35)
    assert law.c_low < 200.0 < law.c_high
    whole = evidence({10_000: runs[10_000]}, recorded, INPUTS, connectome=connectome(), bootstrap=100)
    reached = whole.table.loc["free run", "bold_pcc_noninputs"]
    assert law.at(10_000) == pytest.approx(reached, abs=0.02)
    assert law.p_inf_low < reached / (1 + 0.02) ** -0.5 < law.p_inf_high
    assert whole.law is None  # one size is no law
    assert law.at(100) < 0.85 * law.at(10_000)


def test_the_published_fits_are_reproduced() -> None:
    p, c = size_law([100, 300, 1000], [0.482, 0.626, 0.739])
    assert p / np.sqrt(1 + c / 3000) == pytest.approx(0.773, abs=0.02)
    p, c = size_law([50, 200, 800, 3000], [0.7 / np.sqrt(1 + 420.0 / n) for n in (50, 200, 800, 3000)])
    assert (p, c) == (pytest.approx(0.7, rel=1e-3), pytest.approx(420.0, rel=1e-2))
    with pytest.raises(InputError, match="at least 2 different ones"):
        size_law([100, 100], [0.5, 0.6])


# ---- rows and words ------------------------------------------------------------------------------------------------


def said(found: Any) -> str:
    return " ".join(found.verdict)


def test_a_copy_is_called_a_copy_and_more_is_called_more() -> None:
    recorded, signal = recorded_and_signal()
    copied = copy_inputs(band_pass(recorded, TR), INPUTS).values
    options: dict[str, Any] = {"connectome": connectome(), "bootstrap": 200}
    better = evidence({1000: series(signal)}, recorded, INPUTS, **options)
    same = evidence({1000: series(copied + 0.05 * slow(9, 20))}, recorded, INPUTS, **options)
    worse = evidence({1000: series(signal + 4.0 * slow(9, 20))}, recorded, INPUTS, **options)
    assert "more than a copy" in said(better)
    assert better.table.loc["free run", "over_copy_low"] > 0
    assert "no better than a copy" in said(same)
    assert same.table.loc["free run", "over_copy"] == pytest.approx(0.0, abs=0.01)
    assert "worse than a copy" in said(worse)
    assert "do not hold" in said(worse)
    assert re.search(r"That is (9\d|100)% of what noiseless linear propagation", said(better))


def test_the_target_itself_scores_one_and_filtering_it_again_does_not() -> None:
    recorded, _ = recorded_and_signal()
    stretch = band_pass(recorded, TR).isel(time=slice(200, 500))
    found = evidence({1000: stretch}, recorded, INPUTS, connectome=connectome(), bootstrap=100).table.loc["free run"]
    assert found["bold_pcc_inputs"] == pytest.approx(1.0)
    assert found["bold_pcc_noninputs"] == pytest.approx(1.0)
    assert found["refiltered_pcc_inputs"] < 0.99


def test_fc_against_the_other_half_stands_beside_that_of_the_recording() -> None:
    recorded, _ = recorded_and_signal()
    passed = band_pass(recorded, TR)
    options: dict[str, Any] = {"connectome": connectome(), "bootstrap": 100}
    first = evidence({1000: passed.isel(time=slice(0, 250))}, recorded, INPUTS, **options).table["fc_pcc_other_half"]
    last = evidence({1000: passed.isel(time=slice(300, 600))}, recorded, INPUTS, **options).table["fc_pcc_other_half"]
    assert first["free run"] == pytest.approx(first["recording"])
    upper = np.triu_indices(20, 1)
    halves = [np.corrcoef(passed.values[part].T)[upper] for part in (slice(310, 600), slice(0, 290))]
    assert last["free run"] == pytest.approx(np.corrcoef(*halves)[0, 1], abs=0.01)
    noise = evidence({1000: series(slow(77, 20))}, recorded, INPUTS, **options).table["fc_pcc_other_half"]
    assert not noise["free run"] > 0.5


def test_nulls_speak_of_time() -> None:
    recorded, signal = recorded_and_signal()
    shifted = series(np.roll(signal, 300, axis=0))
    constant = series(slow(11, 20))
    nulls = {"time_shifted_input": shifted, "constant_input": constant}
    found = evidence({300: series(signal)}, recorded, INPUTS, connectome=connectome(), nulls=nulls, bootstrap=100)
    table = found.table
    assert abs(table.loc["time_shifted_input", "bold_pcc_noninputs"]) < 0.15 < table.loc["free run", "over_copy"] + 0.15
    assert "carries no information about time, because a time-shifted input gives the same" in said(found)
    leak = {"time_shifted_input": series(signal)}
    warned = evidence({300: series(signal)}, recorded, INPUTS, connectome=connectome(), nulls=leak, bootstrap=100)
    assert "look for a leak" in said(warned)
    other = {"time_shifted_input": constant}
    freed = evidence({300: series(signal)}, recorded, INPUTS, connectome=connectome(), nulls=other, bootstrap=100)
    assert "the excess, not the score, speaks of time" in said(freed)
    with pytest.raises(InputError, match="null 'shifted' is not known"):
        evidence({300: recorded}, recorded, INPUTS, connectome=connectome(), nulls={"shifted": recorded})
    with pytest.raises(InputError, match="found no free run"):
        evidence({}, recorded, INPUTS, connectome=connectome())


def test_every_row_says_what_its_author_knew() -> None:
    recorded, signal = recorded_and_signal()
    found = evidence(
        runs_of(signal, 200.0, (100, 300)),
        recorded,
        INPUTS,
        connectome=connectome(),
        others={"private variability": series(signal + 0.5 * slow(8, 20))},
        others_seen="in-sample: connectivity fitted here",
        bootstrap=100,
    )
    table = found.table
    assert set(table.columns) >= {"kind", "inputs_seen", "others_seen", "fc_fnorm_rms", "over_copy_low"}
    assert table["inputs_seen"].str.len().min() > 5
    assert table["others_seen"].str.len().min() > 5
    simulated = table[table["kind"] == "simulated"]
    assert list(simulated.index) == ["free run, 100 per region", "free run", "private variability"]
    assert set(simulated["inputs_seen"]) == {"in-sample: fitted to these volumes"}
    assert set(simulated["others_seen"]) == {"in-sample: connectivity fitted here"}
    assert table.loc["copy_inputs", "others_seen"] == "held out: never used"
    assert table.loc["ridge_from_inputs", "others_seen"].startswith("cross-validated")
    assert table.loc["split_half", "kind"] == "ceiling"
    assert table.loc["persistence", "bold_pcc_noninputs"] > 0.9
    assert "Private slow variability brings the mean FC from" in said(found)
    assert found.to_dict()["rows"][0]["what"] == "free run, 100 per region"


def test_all_regions_as_inputs_have_no_others() -> None:
    recorded, signal = recorded_and_signal()
    with pytest.warns(UserWarning, match="every region compared is an input"):
        found = evidence({100: series(signal)}, recorded, REGIONS, connectome=connectome(), bootstrap=100)
    assert np.isnan(found.table.loc["free run", "bold_pcc_noninputs"])
    assert "copy" not in said(found)


def test_null_drives_keep_what_they_should() -> None:
    values = xr.DataArray(slow(5, 3), dims=("time", "input"), coords={"input": INPUTS})
    drive = Drive(values, TR, shape=3.0)
    nulls = null_drives(drive)
    shifted, constant = nulls["time_shifted_input"].values.values, nulls["constant_input"].values.values
    assert np.sort(shifted, axis=0) == pytest.approx(np.sort(values.values, axis=0))
    assert np.corrcoef(shifted.T) == pytest.approx(np.corrcoef(values.values.T))
    assert not np.allclose(shifted, values.values)
    assert (constant == constant[0]).all()
    assert constant[0] == pytest.approx(values.values.mean(axis=0))
    assert nulls["constant_input"].shape == 3.0


def a_fit(width: float) -> Any:
    """What posterior_checks looks at: errors of deviation 1 and bands that claim ``width``."""
    random = np.random.default_rng(6)
    rows, over = 3000, {"dims": ("time", "region"), "coords": {"region": INPUTS}}
    mean = slow(7, 3, rows)
    h = xr.DataArray(mean, dims=("time", "input"), coords={"input": INPUTS})
    return SimpleNamespace(
        inputs=tuple(INPUTS),
        target=xr.DataArray(mean + random.normal(size=mean.shape), **over),
        forecast=xr.DataArray(mean, **over),
        forecast_spread=xr.DataArray(np.full(mean.shape, width), **over),
        drive=Drive(h, TR),
        spread=h * 0 + width,
    )


def test_bands_that_fit_and_bands_that_do_not() -> None:
    good, narrow = posterior_checks(a_fit(1.0)), posterior_checks(a_fit(0.3))
    assert good["coverage_95"] == pytest.approx(0.95, abs=0.02)
    assert good["spread_over_error"] == pytest.approx(1.0, abs=0.05)
    assert good["rank_p"] > 1e-3
    assert sum(good["rank_histogram"]) == 3 * -(-2990 // 12)
    assert narrow["coverage_95"] < 0.6
    assert narrow["rank_p"] < 1e-3
    assert posterior_checks(a_fit(float("nan")))["coverage_95"] is None


def test_missing_volumes_do_not_count() -> None:
    recorded, signal = recorded_and_signal()
    holed = recorded.copy(deep=True)
    holed[[40, 41, 100]] = np.nan
    found, plain = (
        evidence({100: series(signal)}, r, INPUTS, connectome=connectome(), bootstrap=100).table.loc["free run"]
        for r in (holed, recorded)
    )
    for name in ("bold_pcc_noninputs", "fc_pcc", "over_copy", "refiltered_pcc_noninputs"):
        assert found[name] == pytest.approx(plain[name], abs=0.03), name
        assert found[name] != plain[name], name
