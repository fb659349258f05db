"""The filter around a small rate model with the interface of the simulation, and once around the real one."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt
from scipy.sparse import csr_array

from twinbrain.assimilate import methods as room
from twinbrain.assimilate.dhmda import Filtered, run_filter
from twinbrain.assimilate.diagnostics import diagnose
from twinbrain.assimilate.fit import Fit, assimilate
from twinbrain.assimilate.settings import Settings, initial_ensemble
from twinbrain.assimilate.transform import to_bounded
from twinbrain.assimilate.units import input_units
from twinbrain.brain import Brain
from twinbrain.errors import InputError, Interrupted
from twinbrain.network import Network
from twinbrain.simulate import Simulation
from twinbrain.store import Checkpoint

Array = NDArray[np.float64]
REGIONS = ("A_L", "A_R", "B_L", "B_R")
TR = 0.8


class RateEngine:
    """Voxels at 4 + 120 h Hz plus noise keyed by time, seen through the Balloon, 50 steps per second."""

    steps_per_s = 50

    def __init__(
        self,
        network: Any,
        *,
        members: int,
        inputs: tuple[str, ...],
        seed: int = 0,
        threads: int = 1,
        dt_ms: float = 1.0,
        noise: float = 0.4,
    ) -> None:
        voxels = len(network.brain.region_index)
        regions = list(network.brain.regions)
        index = np.asarray(network.brain.region_index)
        self.voxel_of_input = [np.flatnonzero(index == regions.index(r)) for r in inputs]
        self.balloon = np.zeros((members, voxels, 4))
        self.balloon[..., 1:] = 1.0
        self.drive = np.zeros((members, voxels))
        self.clock, self.seed, self.noise = 0, seed, noise
        self.breaks: dict[int, list[int]] = {}  # step -> members that become NaN there
        self.copies: list[tuple[int, int]] = []
        self.log: list[int] = []

    def set_drive(self, h: Array) -> None:
        assert h.shape == (len(self.balloon), len(self.voxel_of_input))
        assert ((h > 0) & (h < 0.12)).all()
        for i, voxels in enumerate(self.voxel_of_input):
            self.drive[:, voxels] = h[:, i, None]

    def advance(self, steps: int) -> None:
        dt = 1 / self.steps_per_s
        self.log.append(steps)
        for _ in range(steps):
            rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, self.clock], dtype=np.uint64)))
            rate = 4 + 120 * self.drive + self.noise * 7 * rng.standard_normal(self.drive.shape)
            s, f, v, q = np.moveaxis(self.balloon, 2, 0)
            ds = 0.2 * rate - s / 0.8 - (f - 1) / 0.4
            dq = f * (1 - 0.2 ** (1 / f)) / 0.8 - q * v**4
            dv = f - v**5
            self.balloon = np.stack([s + dt * ds, np.maximum(f + dt * s, 1e-3), v + dt * dv, q + dt * dq], axis=2)
            self.clock += 1
            for member in self.breaks.get(self.clock, []):
                self.balloon[member] = np.nan

    def rate(self) -> Array:
        return 4 + 120 * self.drive

    def bold(self) -> Array:
        v, q = self.balloon[..., 2], self.balloon[..., 3]
        return np.asarray(0.02 * (5.6 * (1 - q) + 2 * (1 - q / v) + 1.4 * (1 - v)))

    def state(self) -> dict[str, NDArray[Any]]:
        return {"balloon": self.balloon, "drive": self.drive, "clock": np.array(self.clock)}

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        self.balloon, self.drive = state["balloon"].copy(), state["drive"].copy()
        self.clock = int(state["clock"])

    def copy_member(self, source: int, destination: int) -> None:
        self.copies.append((source, destination))


def network_of(region_index: list[int] | None = None, weight: list[float] | None = None) -> Any:
    index = np.array([0, 1, 2, 3] if region_index is None else region_index)
    mass = np.ones(len(index)) if weight is None else np.array(weight)
    matrix = np.zeros((4, len(index)))
    matrix[index, np.arange(len(index))] = mass
    matrix /= matrix.sum(1, keepdims=True)
    brain = SimpleNamespace(name="toy", regions=REGIONS, region_index=index, observation=csr_array(matrix))

    def sized(neurons: int = 1000, seed: int = 0) -> Any:
        described = {"neurons": neurons, "seed": seed}
        return SimpleNamespace(brain=brain, scaled=sized, neurons=neurons, describe=lambda: described)

    return sized(1000)


def recorded(volumes: int = 60, seed: int = 3) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    t = np.arange(volumes) * TR
    waves = [np.sin(2 * np.pi * (f * t + p)) for f, p in zip(rng.uniform(0.02, 0.06, 4), rng.random(4), strict=True)]
    x = np.stack(waves, axis=1) + 0.2 * rng.standard_normal((volumes, 4))
    return xr.DataArray(
        x,
        dims=("time", "region"),
        coords={"time": t, "region": list(REGIONS)},
        attrs={"repetition_time_s": TR, "units": "percent signal change"},
    )


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[RateEngine]:
    """Let ``assimilate`` build rate models; the list receives them."""
    built: list[RateEngine] = []

    def build(network: Any, **options: Any) -> RateEngine:
        built.append(RateEngine(network, **options))
        return built[-1]

    monkeypatch.setattr(room, "make_engine", build)
    return built


def fit_of(bold: xr.DataArray | None = None, network: Any = None, **options: Any) -> Fit:
    arguments: dict[str, Any] = {"members": 12, "band_hz": None, "warm_up": 3, "seed": 5} | options
    return assimilate(
        network_of() if network is None else network,
        recorded() if bold is None else bold,
        ["A_L", "B_R"],
        **arguments,
    )


def arrays_of(fit: Fit) -> dict[str, bytes]:
    named = {k: getattr(fit, k) for k in ("spread", "target", "forecast", "forecast_spread", "filter_mean")}
    named |= {"members": fit.members_drive, "initial": fit.initial, "drive": fit.drive.values}
    return {k: v.values.tobytes() for k, v in named.items()}


def test_the_fit_is_labelled_and_follows_the_recording(engines: list[RateEngine]) -> None:
    fit = fit_of()
    assert fit.inputs == ("A_L", "B_R")
    assert fit.drive.values.dims == fit.spread.dims == fit.filter_mean.dims == ("time", "input")
    assert list(fit.drive.values["input"].values) == ["A_L", "B_R"]
    assert fit.forecast.dims == fit.target.dims == ("time", "region")
    assert list(fit.forecast["region"].values) == list(REGIONS)
    assert fit.members_drive.dims == ("time", "member", "input")
    assert fit.spread.attrs["units"] == fit.members_drive.attrs["units"] == "model units of current"
    assert fit.forecast.attrs["units"] == "fraction signal change"
    assert fit.drive.repetition_time_s == TR
    assert float(fit.diagnostics["forecast_pcc_inputs"]) > 0.8
    assert 0 < float(fit.diagnostics["persistence_pcc_inputs"]) < 1
    assert "no evidence of the drives" in str(fit.diagnostics["note"])
    assert fit.diagnostics["setting_lag"] == 12.0
    others = [np.corrcoef(fit.forecast[10:, j], fit.target[10:, j])[0, 1] for j in (1, 2)]
    assert max(np.abs(others)) < 0.8  # regions without a drive cannot follow in this toy
    np.testing.assert_array_equal(fit.drive.values, fit.members_drive.mean("member"))
    np.testing.assert_allclose(fit.spread, fit.members_drive.std("member", ddof=1), rtol=1e-10)


def free_run(drive: Array) -> Array:
    engine = RateEngine(network_of(), members=1, inputs=("A_L", "B_R"), noise=0.0)
    bold = []
    engine.set_drive(drive[:1])
    engine.advance(240)
    for row in drive:
        engine.set_drive(row[None])
        engine.advance(40)
        bold.append(engine.bold()[0, [0, 3]])
    return np.array(bold)


def test_only_the_smoothed_drive_reproduces_the_recording_in_a_free_run(engines: list[RateEngine]) -> None:
    fit = fit_of(recorded(120), members=30)
    wanted = fit.target.values[:, [0, 3]]

    def score(drive: Array) -> float:
        bold = free_run(drive)
        return float(np.mean([np.corrcoef(bold[10:, j], wanted[10:, j])[0, 1] for j in (0, 1)]))

    assert score(fit.drive.values.values) > 0.93
    assert score(fit.filter_mean.values) < score(fit.drive.values.values) - 0.1
    unsmoothed = fit_of(recorded(120), members=30, lag=0)
    assert score(unsmoothed.drive.values.values) < score(fit.drive.values.values) - 0.05


def test_drives_never_leave_the_bounds_even_when_the_target_is_out_of_reach(
    engines: list[RateEngine],
) -> None:
    fit = fit_of(target_mean=0.06)
    for h in (fit.members_drive, fit.initial):
        assert float(h.min()) > 0.0
        assert float(h.max()) < 0.12
    assert float(fit.diagnostics["share_at_bounds"]) > 0.1
    assert float(fit_of().diagnostics["share_at_bounds"]) < 0.05


def test_same_seed_same_bytes_other_seed_other_bytes(engines: list[RateEngine]) -> None:
    first, again, other = fit_of(), fit_of(), fit_of(seed=6)
    assert arrays_of(first) == arrays_of(again)
    assert first.diagnostics == again.diagnostics
    assert arrays_of(first)["drive"] != arrays_of(other)["drive"]


def test_initial_drives_fill_the_middle_third_in_another_order_per_input() -> None:
    h = initial_ensemble(3, Settings(members=30))
    expected = np.linspace(0, 0.12, 90)[30:60]
    np.testing.assert_array_equal(np.sort(h, axis=0), np.repeat(expected[:, None], 3, axis=1))
    assert not np.array_equal(h[:, 0], h[:, 1])
    assert not np.array_equal(h, initial_ensemble(3, Settings(members=30, seed=1)))


class Memory:
    """A checkpoint that keeps what it was given."""

    def __init__(self) -> None:
        self.saved: dict[str, NDArray[Any]] | None = None
        self.times: list[int] = []

    def load(self) -> dict[str, NDArray[Any]] | None:
        return self.saved

    def save(self, state: dict[str, NDArray[Any]]) -> None:
        assert all(isinstance(v, np.ndarray) and v.dtype != object for v in state.values())
        self.saved = {k: v.copy() for k, v in state.items()}
        self.times.append(int(state["cycle"]))


@pytest.mark.parametrize("stop", [1, 7, 20, 33, 59])
def test_a_resumed_filter_equals_the_uninterrupted_one_byte_for_byte(engines: list[RateEngine], stop: int) -> None:
    whole = fit_of()
    memory = Memory()

    def interrupt(done: int, total: int) -> None:
        assert total == 60
        if done == stop:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        fit_of(checkpoint=memory, progress=interrupt)
    assert memory.times[-1] == stop
    resumed = fit_of(checkpoint=memory)
    assert engines[-1].log == [40] * (60 - stop)  # the warm-up and the finished cycles are not run again
    assert arrays_of(resumed) == arrays_of(whole)
    assert resumed.diagnostics == whole.diagnostics
    assert memory.saved is not None
    memory.saved["x"] = memory.saved["x"] + 1e-9
    assert arrays_of(fit_of(checkpoint=memory)) != arrays_of(whole)


def test_a_killed_filter_resumes_from_its_last_checkpoint(engines: list[RateEngine]) -> None:
    memory = Memory()

    def die(done: int, total: int) -> None:
        if done == 27:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fit_of(checkpoint=memory, progress=die, checkpoint_every_s=0)
    assert memory.times == list(range(1, memory.times[-1] + 1))
    assert memory.times[-1] in (26, 27)
    assert arrays_of(fit_of(checkpoint=memory)) == arrays_of(fit_of())


def test_a_checkpoint_of_other_work_is_refused(engines: list[RateEngine]) -> None:
    memory = Memory()
    fit_of(checkpoint=memory)
    for change in ({"seed": 6}, {"lag": 3}, {"target_scale": 0.005}, {"neurons": 77}):
        with pytest.raises(InputError, match="one of an assimilation with other data, inputs or settings"):
            fit_of(checkpoint=memory, **change)
    assert arrays_of(fit_of(checkpoint=memory)) == arrays_of(fit_of())


def test_a_missing_volume_is_predicted_and_the_rest_still_fits(engines: list[RateEngine]) -> None:
    bold = recorded()
    gap = bold.copy()
    gap[30:33, 0] = np.nan
    whole, holed = fit_of(bold, lag=0), fit_of(gap, lag=0)
    assert np.isnan(holed.target.values[30:33, 0]).all()
    assert np.isfinite(holed.members_drive.values).all()
    assert float(holed.diagnostics["forecast_pcc[A_L]"]) > 0.85
    # without an observation nothing but the random walk moves the drive: the ensemble spreads
    assert float(holed.spread[32, 0]) > float(holed.spread[29, 0])
    assert not np.array_equal(whole.members_drive[30], holed.members_drive[30])
    blank = bold.copy()
    blank[30] = np.nan
    engine_x = [fit_of(b, lag=0, random_walk_variance=0.0).members_drive.values for b in (blank, bold)]
    np.testing.assert_allclose(engine_x[0][30], engine_x[0][29], rtol=1e-12)
    assert not np.allclose(engine_x[1][30], engine_x[1][29], rtol=1e-6)


def filter_with(engine: RateEngine, network: Any, members: int = 12, cycles: int = 40, **options: Any) -> Any:
    target = 0.022 + 0.004 * np.sin(np.arange(cycles)[:, None] * 0.3 + np.arange(2))
    return run_filter(
        engine, target, input_units(network.brain, ["A_L", "B_R"]), TR, Settings(members=members, warm_up=1, **options)
    )


def test_a_member_that_diverges_is_replaced_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    network = network_of()
    engine = RateEngine(network, members=12, inputs=("A_L", "B_R"))
    engine.breaks = {40 * 11: [2, 7]}
    with caplog.at_level(logging.WARNING):
        result = filter_with(engine, network)
    assert [tuple(e[:2]) for e in result.replaced] == [(9, 2), (9, 7)]
    assert [d for _, d in engine.copies] == [2, 7]
    assert not {s for s, _ in engine.copies} & {2, 7}
    assert "cycle 9: member 2 is not finite and goes on as a copy of" in caplog.text
    for values in (result.x, result.forecast, result.forecast_spread, engine.balloon):
        assert np.isfinite(values).all()
    healthy = RateEngine(network, members=12, inputs=("A_L", "B_R"))
    assert len(filter_with(healthy, network).replaced) == 0


def test_too_few_healthy_members_stop_with_a_clear_message() -> None:
    network = network_of()
    engine = RateEngine(network, members=12, inputs=("A_L", "B_R"))
    engine.breaks = {40 * 11: [0, 1, 2, 3, 4]}
    with pytest.raises(
        InputError,
        match=r"in cycle 9 only 7 of 12 members are left .* min_members=8; .* resume with a smaller min_members",
    ):
        filter_with(engine, network)
    engine = RateEngine(network, members=12, inputs=("A_L", "B_R"))
    engine.breaks = {40 * 11: [0, 1, 2, 3]}
    assert len(filter_with(engine, network).replaced) == 4


def test_the_clock_samples_a_repetition_time_at_its_nearest_step(caplog: pytest.LogCaptureFixture) -> None:
    network = network_of()
    target = np.full((30, 2), 0.022)

    def steps(tr: float) -> list[int]:
        engine = RateEngine(network, members=4, inputs=("A_L", "B_R"))
        run_filter(engine, target, input_units(network.brain, ["A_L", "B_R"]), tr, Settings(members=4, warm_up=0))
        return engine.log[1:]  # the first is the warm-up, of no steps

    with caplog.at_level(logging.INFO):
        odd = steps(0.715)  # 35.75 steps
    assert "nearest to each multiple of 0.715 s, at most 10 ms off" in caplog.text
    ends = np.cumsum(odd)
    assert np.abs(ends - 35.75 * np.arange(1, 31)).max() <= 0.5
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert steps(0.72) == [36] * 30
    assert "nearest" not in caplog.text


def test_an_input_of_several_voxels_is_one_unit_corrected_together(engines: list[RateEngine]) -> None:
    network = network_of([0, 0, 0, 1, 2, 3, 3], [1.0, 2.0, 5.0, 1.0, 1.0, 3.0, 1.0])
    fit = fit_of(network=network)
    assert fit.forecast.shape == (60, 4)
    assert float(fit.diagnostics["forecast_pcc_inputs"]) > 0.8
    bold = engines[-1].bold() @ network.brain.observation.toarray().T
    assert bold.shape == (12, 4)
    # voxels of one input differ by their own noise only and keep the region's course
    last = engines[-1].balloon[:, [0, 1, 2]].std(axis=1).mean(axis=0)
    assert (last > 0).all()
    without = fit_of(network=network, update_balloon=False)
    assert not np.array_equal(without.forecast, fit.forecast)


def test_the_balloon_is_left_alone_when_asked(engines: list[RateEngine]) -> None:
    network = network_of()
    engine = RateEngine(network, members=12, inputs=("A_L", "B_R"), noise=0.0)
    filter_with(engine, network, cycles=1, update_balloon=False)
    left = engine.balloon.copy()
    engine = RateEngine(network, members=12, inputs=("A_L", "B_R"), noise=0.0)
    filter_with(engine, network, cycles=1)
    np.testing.assert_array_equal(engine.balloon[:, 1:3], left[:, 1:3])
    assert not np.array_equal(engine.balloon[:, [0, 3]], left[:, [0, 3]])
    assert (engine.balloon[..., 1:] >= 1e-5).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "vw-dhma"}, r"method: found 'vw-dhma', .*did you mean 'vw-dhmda'\?"),
        ({"observation_variance": 0.0}, "observation_variance: found 0.0, expected a number > 0"),
        ({"observation_variance": -1e-8}, "observation_variance: found -1e-08, expected a number > 0"),
        ({"members": 2}, "members: found 2, expected at least 3"),
        ({"local_gain": 1.2}, "local_gain: found 1.2, expected 0 to 1"),
        ({"lag": -1}, "lag: found -1"),
        ({"bounds": (0.1, 0.0)}, "expected two finite numbers, the lower one first"),
        ({"random_walk_variance": float("nan")}, "random_walk_variance: found nan"),
        ({"volumes": 500}, "asked for 500 volumes from volume 0 on, but the run has 60"),
    ],
)
def test_settings_that_cannot_work_are_refused(engines: list[RateEngine], change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_of(**change)
    assert not engines  # nothing was built before the check


def test_inputs_are_matched_by_name(engines: list[RateEngine]) -> None:
    call = [network_of(), recorded()]
    options: dict[str, Any] = {"members": 4, "band_hz": None, "warm_up": 0}
    with pytest.raises(InputError, match=r"no region is called 'a_l' .*did you mean 'A_L'\?"):
        assimilate(*call, ["a_l"], **options)
    with pytest.raises(InputError, match="inputs: found none"):
        assimilate(*call, [], **options)
    with pytest.raises(InputError, match="'A_L' appears 2 times"):
        assimilate(*call, ["A_L", "A_L"], **options)
    constant = recorded()
    constant[:, 3] = 1.0
    with pytest.raises(InputError, match="region 'B_R' is constant"):
        assimilate(call[0], constant, ["B_R"], **options)
    with pytest.raises(InputError, match="no region is called 'A_L' among its 3 regions"):
        assimilate(call[0], recorded()[:, 1:], ["A_L"], **options)
    shuffled = recorded()[:, [2, 0, 3, 1]]
    assert arrays_of(assimilate(call[0], shuffled, ["A_L"], **options)) == arrays_of(
        assimilate(*call, ["A_L"], **options)
    )
    assert arrays_of(assimilate(*call, ["A_R"], **options)) != arrays_of(assimilate(*call, ["A_L"], **options))


def test_members_can_be_smaller_networks(engines: list[RateEngine]) -> None:
    fit = fit_of(neurons=400)
    assert fit.diagnostics["setting_neurons"] == 400.0
    assert fit_of().diagnostics["setting_neurons"] == "as given"


def unconnected(neurons: int = 1800) -> Network:
    """Six separate E/I voxels with 30 synapses per neuron and the published parameters."""
    names = tuple(f"V{k}" for k in range(6))
    brain = Brain(
        name="six",
        level="region",
        regions=names,
        voxels=names,
        region_index=np.arange(6),
        grey_matter=np.ones(6),
        in_degree_factor=np.ones(6),
        laminar=np.zeros(6, dtype=bool),
        projection=csr_array((6, 6)),
    )
    return Network(brain, neurons=neurons, in_degree=30, parameters="nsr", seed=1)


def band_noise(volumes: int) -> xr.DataArray:
    white = np.random.default_rng(0).standard_normal((volumes + 100, 6))
    sos = butter(2, [0.01, 0.1], btype="bandpass", fs=1 / TR, output="sos")
    return xr.DataArray(
        sosfiltfilt(sos, white, axis=0)[50 : 50 + volumes],
        dims=("time", "region"),
        coords={"region": [f"V{k}" for k in range(6)]},
        attrs={"repetition_time_s": TR, "units": "1"},
    )


def replayed(drives: list[xr.DataArray], repeats: int = 2) -> list[Array]:
    """BOLD of each drive in members of fresh noise, no correction; mean over the repeats."""
    names = tuple(str(n) for n in drives[0]["input"].values)
    engine = Simulation(unconnected(), members=repeats * len(drives), threads=2, inputs=names, seed=99)
    rows = np.repeat(np.stack([d.values for d in drives], axis=1), repeats, axis=1)
    bold = []
    engine.set_drive(rows[0])
    engine.advance(4000)
    for row in rows:
        engine.set_drive(row)
        engine.advance(800)
        bold.append(engine.bold().reshape(len(drives), repeats, -1).mean(axis=1))
    return list(np.stack(bold, axis=1))


@pytest.mark.slow
def test_spiking_voxels_follow_band_noise_as_published() -> None:
    """Forecast PCC 0.85 to 0.97 and RMSE 0.0046 are the reference figures of this set-up."""
    fit = assimilate(
        unconnected(),
        band_noise(80),
        [f"V{k}" for k in range(6)],
        bounds=(0.0, 0.09),
        target_window=(0.02, 0.05),
        band_hz=None,
        warm_up=5,
    )
    assert float(fit.diagnostics["forecast_pcc_inputs"]) >= 0.85
    assert float(fit.diagnostics["forecast_rmse_inputs"]) <= 0.0046
    assert fit.diagnostics["replaced_members"] == 0.0
    wanted = fit.target.values[10:]

    smoothed, published = (
        float(np.mean([np.corrcoef(bold[10:, j], wanted[:, j])[0, 1] for j in range(6)]))
        for bold in replayed([fit.drive.values, fit.filter_mean])
    )
    assert smoothed > 0.93
    assert published < smoothed - 0.1


def test_spiking_ensemble_resumes_to_the_same_bytes_on_any_number_of_threads(tmp_path: Path) -> None:
    options: dict[str, Any] = {"members": 5, "neurons": 600, "band_hz": None, "warm_up": 1, "lag": 3}
    call = [unconnected(), band_noise(12), ["V0", "V4"]]
    whole = assimilate(*call, threads=1, **options)

    def interrupt(done: int, total: int) -> None:
        if done == 5:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        assimilate(*call, threads=2, checkpoint=Checkpoint(tmp_path, "filter"), progress=interrupt, **options)
    resumed = assimilate(*call, threads=2, checkpoint=Checkpoint(tmp_path, "filter"), **options)
    assert arrays_of(resumed) == arrays_of(whole)
    assert arrays_of(assimilate(*call, seed=1, **options)) != arrays_of(whole)


@pytest.mark.slow
def test_known_drives_of_a_spiking_twin_lie_within_the_posterior_band() -> None:
    names = tuple(f"V{k}" for k in range(6))
    seconds = np.arange(100) * TR
    periods = (80, 60, 50, 40, 33, 25)
    truth = np.stack([0.05 + 0.02 * np.sin(2 * np.pi * seconds / p + j) for j, p in enumerate(periods)], axis=1)
    person = Simulation(unconnected(), members=1, inputs=names, seed=1234)
    person.set_drive(truth[:1])
    person.advance(4000)
    recording = []
    for row in truth:
        person.set_drive(row[None])
        person.advance(800)
        recording.append(person.bold()[0])
    settings = Settings(members=45, seed=1)
    engine = Simulation(unconnected(), members=45, threads=2, inputs=names, seed=5)
    done = run_filter(engine, np.array(recording), input_units(unconnected().brain, names), TR, settings)
    inner = slice(10, 100 - settings.lag)  # the last rows have not seen their response
    h = to_bounded(done.x, settings.bounds)[inner]
    mean, sd, known = h.mean(axis=1), h.std(axis=1, ddof=1), truth[inner]
    assert 0.85 <= (np.abs(mean - known) < 1.96 * sd).mean() <= 0.99
    assert 0.7 < np.sqrt((sd**2).mean() / ((mean - known) ** 2).mean()) < 1.4
    assert min(np.corrcoef(mean[:, j], known[:, j])[0, 1] for j in range(6)) > 0.95
    late = done.filter_mean[inner]  # the estimate without smoother has a larger error
    assert np.sqrt(((late - known) ** 2).mean()) > 1.5 * np.sqrt(((mean - known) ** 2).mean())


def test_a_filter_that_lost_the_data_says_so() -> None:

    region = {"dims": ("time", "region"), "coords": {"region": ["a"]}}
    y = xr.DataArray(0.02 + 0.004 * np.sin(np.arange(40.0))[:, None], **region)
    x = np.random.default_rng(0).standard_normal((40, 5, 1))
    none = np.zeros((0, 3), dtype=np.int64)

    def warning(forecast: xr.DataArray, x: np.ndarray, at_bounds: float) -> str:
        done = Filtered(x, x.mean(axis=1), forecast.values, forecast.values * 0 + 1e-3, x[0], at_bounds, none)
        return str(diagnose(done, y, forecast, forecast * 0 + 1e-3, ("a",), Settings(), {})["warning"])

    assert warning(y, x, 0.0) == "none"
    assert "not physical" in warning(y - 370, x, 0.0)
    assert "no spread" in warning(y, x * 0, 0.0)
    assert "bounds" in warning(y, x, 0.5)
