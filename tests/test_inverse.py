"""The inverse: around a brain of rates whose answer is known, then around spiking networks."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from rate_brain import GAIN, REST, SLOPE, RateBrain, autoregressive, brain_of, use_rates
from twinbrain.assimilate.answer import Table
from twinbrain.assimilate.fit import Fit, assimilate
from twinbrain.assimilate.inverse import InverseSettings, window, wiring_keys
from twinbrain.assimilate.linear import propagate, region_projection
from twinbrain.assimilate.units import input_units
from twinbrain.errors import InputError, Interrupted
from twinbrain.network import Network

Array = NDArray[np.float64]
TR = 0.8


@pytest.fixture(autouse=True)
def _rates(monkeypatch: pytest.MonkeyPatch) -> None:
    use_rates(monkeypatch)


def truth(rows: int, inputs: int, seed: int = 1, spread: float = 0.012, mean: float = 0.025) -> Array:
    return np.asarray(mean + spread * autoregressive(rows, inputs, seed))


def recording(network: Network, h: Array, inputs: list[str], seed: int = 77, start_up: int = 10) -> xr.DataArray:
    """BOLD of all regions of a brain with these drives, the first of which was held for some volumes."""
    engine = RateBrain(network, members=1, inputs=tuple(inputs), seed=seed, noise=0.02)
    rows = []
    for row in np.vstack([np.repeat(h[:1], start_up, axis=0), h]):
        engine.set_drive(row[None])
        engine.advance(round(TR * engine.steps_per_s))
        rows.append(network.brain.observation @ engine.bold()[0])
    return xr.DataArray(
        np.array(rows[start_up:]),
        dims=("time", "region"),
        coords={"time": np.arange(len(h)) * TR, "region": list(network.brain.regions)},
        attrs={"repetition_time_s": TR, "units": "fraction signal change"},
    )


def fit_of(network: Network, bold: xr.DataArray, inputs: list[str], **options: Any) -> Fit:
    arguments: dict[str, Any] = {"method": "inverse", "band_hz": None, "seed": 5, "threads": 1} | options
    return assimilate(network, bold, inputs, **arguments)


def arrays_of(fit: Fit) -> dict[str, bytes]:
    names = ("spread", "target", "forecast", "forecast_spread", "members_drive", "initial", "rate")
    return {"drive": fit.drive.values.values.tobytes()} | {n: getattr(fit, n).values.tobytes() for n in names}


def each_correlation(a: Array, b: Array, first: int = 5) -> Array:
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a[first:-3].T, b[first:-3].T, strict=True)])


@pytest.fixture(scope="module")
def eight() -> Network:
    return Network(brain_of(8), neurons=800)


@pytest.fixture(scope="module")
def many() -> Network:
    return Network(brain_of(30), neurons=3000)


def test_the_course_of_two_known_drives_is_found_and_labelled(eight: Network) -> None:
    inputs = ["A01", "A06"]
    h = truth(120, 2)
    fit = fit_of(eight, recording(eight, h, inputs), inputs, standardise=False)
    assert fit.method == "inverse"
    assert fit.filter_mean is None
    assert fit.rate is not None
    assert fit.rate.dims == fit.spread.dims == fit.drive.values.dims == ("time", "input")
    assert fit.members_drive.dims == ("time", "member", "input")
    assert fit.forecast.dims == ("time", "region")
    assert fit.rate.attrs["units"] == "Hz"
    assert fit.spread.attrs["units"] == "model units of current"
    assert "score a free run" in str(fit.diagnostics["note"])
    assert "inverse, 1 member" in repr(fit)
    assert set(fit.to_dataset()) == {"drive", "spread", "forecast", "forecast_spread", "target", "rate"}
    found = fit.drive.values.values
    assert each_correlation(found, h).min() > 0.9
    assert np.sqrt(((found - h)[5:] ** 2).mean()) < 0.006
    assert each_correlation(np.roll(found, 3, axis=0), h).max() < 0.9  # the control: three volumes late


def test_a_table_is_read_backwards_and_continued_within_the_bounds() -> None:
    level = np.array([-0.03, 0.0, 0.05, 0.1])
    table = Table(level, np.stack([4 + level / SLOPE, 4 + 2 * level / SLOPE], axis=1), (-0.08, 0.3))
    wanted = np.array([[2.0, 2.0], [9.0, 9.0], [20.0, 40.0], [200.0, 200.0]])
    expected = np.stack([(wanted[:, 0] - 4) * SLOPE, (wanted[:, 1] - 4) * SLOPE / 2], axis=1)
    np.testing.assert_allclose(table.current(wanted), np.clip(expected, -0.08, 0.3), rtol=1e-9)
    np.testing.assert_allclose(table.slope(wanted[:2]), [[SLOPE, SLOPE / 2]] * 2, rtol=1e-9)
    noisy = Table(level, np.array([[3.0], [4.0], [3.9], [9.0]]), (-0.08, 0.3))  # a level that fell by chance
    found = noisy.current(np.linspace(1, 12, 50)[:, None])[:, 0]
    assert (np.diff(found) >= 0).all()
    assert (np.diff(found[found > -0.08]) > 0).all()
    flat = Table(level, np.full((4, 1), 4.0), (-0.08, 0.3))
    with pytest.raises(InputError, match=r"same rate, 4 Hz, at all currents from -0.03 to 0.1, expected it to rise"):
        flat.current(wanted[:, :1])


def test_many_inputs_are_separated_through_the_connectome(many: Network) -> None:
    inputs = [r for r in many.brain.regions if r not in ("A03", "A17")]
    h = truth(140, len(inputs), spread=0.008, mean=0.004)
    bold = recording(many, h, inputs)
    fit = fit_of(many, bold, inputs, standardise=False, corrections=0)
    assert each_correlation(fit.drive.values.values, h).mean() > 0.9
    assert float(fit.diagnostics["loop_gain_at_rest"]) == pytest.approx(GAIN, abs=0.12)
    assert float(fit.diagnostics["slope_at_rest"]) == pytest.approx(SLOPE, rel=0.15)
    # the control: without the connectome every region takes its neighbours' share of the rate for its own current
    assert fit.rate is not None
    alone = SLOPE * fit.rate.values
    assert each_correlation(alone, h).mean() < each_correlation(fit.drive.values.values, h).mean() - 0.02


def test_corrections_remove_the_error_of_the_mean_first(eight: Network) -> None:
    inputs = ["A00", "A05"]
    bold = recording(eight, truth(60, 2), inputs)
    offset = SimpleNamespace(loop_gain=0.5, slope=0.01, to_dict=dict)  # a working point whose background is off
    levels = np.linspace(-0.03, 0.1, 8)
    rates = REST + 1.4 * (np.repeat(levels[:, None], 2, axis=1) + 0.03) / SLOPE
    offset.f_i = xr.DataArray(rates, dims=("level", "region"), coords={"level": levels, "region": inputs[::-1]})
    wrong, corrected, twice = (
        fit_of(eight, bold, inputs, working_point=offset, corrections=n, repeats=3) for n in (0, 1, 2)
    )
    assert wrong.diagnostics["table"] == "of the working point"
    assert fit_of(eight, bold, inputs, corrections=0, repeats=1).diagnostics["table"] == "measured"
    first, second = (float(twice.diagnostics[f"correction_{n}_rate_bias_hz"]) for n in (1, 2))
    assert first < -0.7
    assert abs(second) < 0.4 * abs(first)
    assert corrected.diagnostics["correction_1_rate_bias_hz"] == first
    assert float(corrected.drive.values.mean()) > float(wrong.drive.values.mean()) + 0.005
    assert np.isnan(wrong.forecast.sel(region="A03")).all()
    assert np.isfinite(corrected.forecast).all()
    assert float(corrected.forecast_spread.mean()) > 0
    with pytest.raises(InputError, match="corrections: found 3, expected 0, 1 or 2"):
        fit_of(eight, bold, inputs, corrections=3)


def test_missing_volumes_are_carried_and_a_constant_region_is_refused(eight: Network) -> None:
    inputs = ["A01", "A06"]
    h = truth(120, 2)
    bold = recording(eight, h, inputs)
    gap = bold.copy()
    gap[50:54, 1] = np.nan
    gap[90] = np.nan
    holed, whole = (fit_of(eight, b, inputs, corrections=0, target_scale=0.004) for b in (gap, bold))
    assert np.isfinite(holed.drive.values).all()
    assert np.isnan(holed.target.sel(region="A01")[50:54]).all()
    assert each_correlation(holed.drive.values.values, h).min() > 0.88
    assert not np.array_equal(holed.drive.values, whole.drive.values)
    bold[:, 6] = 0.02
    with pytest.raises(InputError, match=r"region 'A06' is constant \(0.02\)"):
        fit_of(eight, bold, inputs)


def test_voxels_share_the_drive_of_their_region_unless_named_one_by_one() -> None:
    network = Network(brain_of(6, voxels=4), neurons=2400)
    h = truth(120, 1)
    bold = recording(network, h, ["A02"])
    shared = fit_of(network, bold, ["A02"], corrections=0, target_mean=0.02, target_scale=0.004)
    assert shared.inputs == ("A02",)
    assert each_correlation(shared.drive.values.values, h).min() > 0.9
    voxels = [v for v in network.brain.voxels if v.startswith("A02:")]
    single = fit_of(network, bold, voxels, corrections=0, target_mean=0.02, target_scale=0.004)
    assert single.inputs == tuple(voxels)
    assert single.drive.values.shape == (120, 4)
    assert each_correlation(single.drive.values.values, np.repeat(h, 4, axis=1)).min() > 0.88
    units = input_units(network.brain, voxels, bold["region"].values.tolist())
    assert units.observed_as == ("A02",) * 4
    own = bold.sel(region=["A02"]).assign_coords(region=[voxels[0]])
    units = input_units(network.brain, voxels, [voxels[0], *network.brain.regions])
    assert units.observed_as == (voxels[0], "A02", "A02", "A02")
    both = fit_of(network, xr.concat([bold, own * 2], dim="region"), voxels, corrections=0)
    assert voxels[0] in both.target["region"].values
    with pytest.raises(InputError, match=r"voxel 8 of region 'A02' is driven by two inputs"):
        fit_of(network, bold, ["A02", voxels[0]])


class Memory:
    """A checkpoint that keeps what it was given."""

    saved: dict[str, NDArray[Any]] | None = None

    def load(self) -> dict[str, NDArray[Any]] | None:
        return self.saved

    def save(self, state: dict[str, NDArray[Any]]) -> None:
        assert all(isinstance(v, np.ndarray) and v.dtype != object for v in state.values())
        self.saved = {k: v.copy() for k, v in state.items()}


@pytest.mark.parametrize("kind", ["eight", "many"])
@pytest.mark.parametrize("share", [0.01, 0.15, 0.4, 0.77])
def test_a_resumed_inverse_equals_the_uninterrupted_one_byte_for_byte(
    kind: str, share: float, request: pytest.FixtureRequest
) -> None:
    network = request.getfixturevalue(kind)
    inputs = list(network.brain.regions)[: 2 if kind == "eight" else 24]
    bold = recording(network, truth(30, len(inputs)), inputs)
    options: dict[str, Any] = {"repeats": 2, "corrections": 1, "checkpoint_every_s": 0.0}
    counts: list[tuple[int, int]] = []
    whole = fit_of(network, bold, inputs, progress=lambda n, of: counts.append((n, of)), **options)
    assert (np.diff([n for n, _ in counts]) > 0).all()
    assert counts[-1][0] == counts[-1][1]
    stop = min(n for n, _ in counts if n >= share * counts[-1][1])
    memory = Memory()

    def interrupt(done: int, total: int) -> None:
        if done == stop:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        fit_of(network, bold, inputs, checkpoint=memory, progress=interrupt, **options)
    rest: list[int] = []
    resumed = fit_of(network, bold, inputs, checkpoint=memory, progress=lambda n, of: rest.append(n), **options)
    assert rest[0] > stop
    assert len(rest) == sum(n > stop for n, _ in counts)
    assert rest[-1] == counts[-1][1]
    assert arrays_of(resumed) == arrays_of(whole)
    assert resumed.diagnostics == whole.diagnostics
    assert arrays_of(fit_of(network, bold, inputs, **(options | {"seed": 6}))) != arrays_of(whole)
    with pytest.raises(InputError, match="one of an assimilation with other data, inputs or settings"):
        fit_of(network, bold, inputs, checkpoint=memory, **(options | {"seed": 6}))


def test_a_lost_network_does_not_count_and_two_stop_the_work(eight: Network, caplog: pytest.LogCaptureFixture) -> None:
    inputs = ["A01", "A06"]
    bold = recording(eight, truth(30, 2), inputs)
    RateBrain.made, RateBrain.broken = 0, (5,)  # four for the table, the second of the correction
    with caplog.at_level(logging.WARNING):
        fit = fit_of(eight, bold, inputs)
    assert "correction 1 network 2, volume 0: member 0 is not finite and does not count" in caplog.text
    assert np.isfinite(fit.drive.values).all()
    RateBrain.made, RateBrain.broken = 0, (5, 6)
    with pytest.raises(
        InputError, match=r"in correction 1 only 2 of 4 members are left .* the last checkpoint is kept"
    ):
        fit_of(eight, bold, inputs)


def test_networks_of_one_fit_never_meet_the_same_numbers_twice() -> None:
    keys = [k for piece in range(3) for pair in wiring_keys(InverseSettings(seed=3), piece) for k in pair]
    assert len(set(keys)) == len(keys) == 24
    assert 3 not in keys
    assert wiring_keys(InverseSettings(seed=4), 0) != wiring_keys(InverseSettings(seed=3), 0)


def test_the_window_narrows_with_the_number_of_inputs(eight: Network) -> None:
    assert [window(n) for n in (1, 2, 10, 20, 94)] == [
        (0.030, 0.008), (0.030, 0.008), (0.026, 0.006), (0.022, 0.004), (0.022, 0.004),
    ]  # fmt: skip
    bold = recording(eight, truth(60, 2), ["A01", "A06"])
    fit = fit_of(eight, bold, ["A01", "A06"], corrections=0)
    assert (fit.diagnostics["setting_target_mean"], fit.diagnostics["setting_target_scale"]) == (0.030, 0.008)
    z = (fit.target - 0.030) / 0.008
    assert float(np.abs(z).max()) <= 3.5


def test_a_target_is_taken_as_given_only_where_it_can_be_one(eight: Network) -> None:
    inputs = ["A01", "A06"]
    bold = recording(eight, truth(40, 2), inputs)
    fit = fit_of(eight, bold, inputs, standardise=False, corrections=0)
    np.testing.assert_array_equal(fit.target, bold)
    assert fit.diagnostics["setting_standardise"] == "no"
    with pytest.raises(InputError, match=r"standardise=False its level is 2\..*, expected a fraction of the resting"):
        fit_of(eight, bold * 100, inputs, standardise=False)


def test_free_regions_follow_as_the_connectome_says(many: Network) -> None:
    projection = region_projection(many.brain)
    inputs = np.arange(25)
    follow = propagate(projection, GAIN, inputs)
    engine = RateBrain(many, members=1, inputs=many.brain.regions[:25], noise=0.0)
    engine.set_drive(np.full(25, 0.02))
    engine.advance(500)
    engine.rate()
    engine.advance(25)
    x = engine.rate()[0] - REST
    np.testing.assert_allclose(follow @ x[:25], x[25:], rtol=1e-3)
