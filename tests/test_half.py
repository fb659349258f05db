"""State in 16 bits: rounding is fair, its runs equal themselves on every occasion, and differ little from 32 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from twinbrain import Brain, InputError, Network, Subject, parameter_set, simulate
from twinbrain.engine import Simulation
from twinbrain.kernels.half import Packing, pack_block, unpack_block
from twinbrain.kernels.random import U64

N, STRIDE = 64, 80
SCALE = np.array([-107.0, 1.0, 2.0**-10], np.float32)


@njit(nogil=True, error_model="numpy")
def round_trip(s: Any, h: Any, words: Any, scale: Any, step: int) -> None:
    pack_block(s, h, words, scale, 3, N, STRIDE, 0, step, U64(1), U64(2))
    unpack_block(s, h, scale, N, STRIDE)


def block(seed: int = 0) -> np.ndarray:
    """Potentials (two of them refractory), noise and a conductance of 64 neurons."""
    random = np.random.Generator(np.random.Philox(seed))
    s = np.zeros(3 * STRIDE, np.float32)
    s[:N] = random.uniform(-75, -50, N)
    s[:2] = -2000, -255_000
    s[STRIDE : STRIDE + N] = random.normal(0, 0.15, N)
    s[2 * STRIDE : 2 * STRIDE + N] = random.gamma(1, 1e-2, N)
    s[2 * STRIDE] = 0
    return s


def test_rounding_is_fair_and_leaves_alone_what_is_exact() -> None:
    """The mean over 4,000 steps is the value, and packing what was unpacked changes nothing."""
    original, words = block(), np.zeros(N, np.uint32)
    packed, total = np.zeros(3 * STRIDE, np.uint16), np.zeros(3 * STRIDE)
    for step in range(4000):
        s = original.copy()
        round_trip(s, packed, words, SCALE, step)
        total += s
    error = np.abs(total / 4000 - original)
    assert (
        error[2:N].max() < 6 * 0.5 / 512 / np.sqrt(4000) + 2e-5
    )  # 6 standard errors, and what 6 random bits cannot see
    assert (error[STRIDE:] <= 6 * 2.0**-11 * np.abs(original[STRIDE:]) / np.sqrt(4000) + 1e-7).all()
    assert s[:2].tolist() == [-2000, -255_000]
    assert s[2 * STRIDE] == 0
    assert (np.abs(s - original)[2:N] < 1.01 / 512).all()
    assert (s != original).any()
    again, before = s.copy(), packed.copy()
    round_trip(again, packed, words, SCALE, 99_999)
    np.testing.assert_array_equal(again, s)
    np.testing.assert_array_equal(packed, before)


def test_numpy_and_the_kernel_read_the_same_codes() -> None:
    packing, s, packed = Packing(SCALE), block(), np.zeros(3 * STRIDE, np.uint16)
    round_trip(s, packed, np.zeros(N, np.uint32), SCALE, 5)
    for row in range(3):
        here = slice(row * STRIDE, row * STRIDE + N)
        np.testing.assert_array_equal(packing.decode(row, packed[here]), s[here])
        np.testing.assert_array_equal(packing.encode(row, s[here]), packed[here])


def test_values_out_of_range_stop_at_its_end() -> None:
    packing = Packing(SCALE)
    ends = packing.decode(0, packing.encode(0, np.array([-400.0, 30.0], np.float32)))
    assert ends.tolist() == [-170.5, -43.001953125]
    large = packing.decode(2, packing.encode(2, np.array([1e6, -1e6, 1e-9], np.float32)))
    assert large.tolist() == [65504 / 1024, -65504 / 1024, 0.0]
    s = np.zeros(3 * STRIDE, np.float32)
    s[:2], s[2 * STRIDE : 2 * STRIDE + 2] = (-400.0, 30.0), (1e6, 1e-9)
    round_trip(s, np.zeros(3 * STRIDE, np.uint16), np.zeros(N, np.uint32), SCALE, 1)
    assert s[:2].tolist() == [-170.5, -43.001953125]
    assert s[2 * STRIDE : 2 * STRIDE + 2].tolist() == [65504 / 1024, 0.0]


def brain(regions: int = 6) -> Brain:
    matrix = np.random.Generator(np.random.Philox(4)).gamma(0.7, 1.0, (regions, regions))
    np.fill_diagonal(matrix, 0)
    return Brain.from_subject(Subject.from_arrays(matrix, [f"r{k}" for k in range(regions)]))


def network(**changes: Any) -> Network:
    settings: dict[str, Any] = {"neurons": 4200, "in_degree": 60, "seed": 1, "state_dtype": "float16"}
    return Network(brain(), **settings | changes)


def outcome(net: Network, pieces: list[int], resume: bool = False, **options: Any) -> np.ndarray:
    """The whole state after some pieces of 150 steps in all, as float32."""
    engine = Simulation(net, **options)
    for steps in pieces:
        if resume:
            state = engine.state()
            engine = Simulation(net, **options)
            engine.restore(state)
        engine.advance(steps)
    return engine.state()["neurons"][-1]


def test_its_bits_follow_neither_threads_nor_chunks_nor_members_nor_interruptions() -> None:
    net = network()
    whole = outcome(net, [150])
    np.testing.assert_array_equal(outcome(net, [150], threads=2), whole)
    np.testing.assert_array_equal(outcome(net, [1, 49, 100], resume=True), whole)
    np.testing.assert_array_equal(outcome(net, [150], members=[3, 0], threads=2), whole)
    np.testing.assert_array_equal(outcome(net, [150], wiring="procedural"), whole)
    for other in (network(state_dtype="float32"), network(seed=2)):
        assert (outcome(other, [150]) != whole).any()
    assert (outcome(net, [150], seed=1) != whole).any()


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"circuit": "laminar"}, {"heterogeneity": {"g_ampa": 5.0}}])
@pytest.mark.parametrize("dt_ms", [1.0, 0.1])
def test_its_bits_for_other_networks(changes: dict[str, Any], dt_ms: float) -> None:
    net = network(**changes)
    whole = outcome(net, [60, 90], dt_ms=dt_ms)
    np.testing.assert_array_equal(outcome(net, [7, 143], threads=3, dt_ms=dt_ms, resume=True), whole)
    assert (outcome(network(**changes, state_dtype="float32"), [150], dt_ms=dt_ms) != whole).any()


def test_a_state_takes_half_the_memory_and_rest_stays_rest() -> None:
    silent = parameter_set("asynchronous").changed(background_mean=0.0, background_std=0.0)
    engines = [Simulation(network(parameters=silent, state_dtype=d)) for d in ("float16", "float32")]
    assert 2 * engines[0]._state.nbytes == engines[1]._state.nbytes
    run = simulate(network(parameters=silent), 0.4, repetition_time_s=0.2, warm_up_s=0.6)
    assert float(np.abs(run.bold).max()) == 0.0
    assert run.mean_rate_hz == 0.0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"^state_dtype must be 'float32' or 'float16', found 'float8'"):
        network(state_dtype="float8")
    deep = parameter_set("asynchronous").changed(leak_potential_mv=-180.0)
    with pytest.raises(
        InputError, match=r"holds potentials down to -167 mV.*leak_potential_mv is -180 mV; use 'float32'"
    ):
        Simulation(network(parameters=deep))
    slow = parameter_set("asynchronous").changed(refractory_ms=30.0)
    with pytest.raises(InputError, match="counts refractory times of up to 255 steps, and refractory_ms makes 299"):
        Simulation(network(parameters=slow), dt_ms=0.1)


@pytest.mark.slow
def test_rates_and_functional_connectivity_are_those_of_32_bits() -> None:
    """Rate within 1 %; FC no further from float32 than 1.2 x the distance between two seeds of float32."""
    from twinbrain.bench.networks import sample_like_brain

    rates, fc = {}, {}
    for dtype, seed in (("float32", 0), ("float32", 1), ("float32", 2), ("float16", 0), ("float16", 1), ("float16", 2)):
        net = Network(sample_like_brain(), 47_000, in_degree=100, seed=1, state_dtype=dtype)
        run = simulate(net, 20.0, repetition_time_s=0.1, warm_up_s=0.5, seed=seed, threads=2)
        by_voxel = (run.firing_rate * run.firing_rate["pop_size"]).groupby("pop_region").sum().values
        rates[dtype, seed] = run.mean_rate_hz
        fc[dtype, seed] = np.corrcoef(by_voxel.T)[np.triu_indices(94, 1)]
    mean = {d: np.mean([rates[d, k] for k in range(3)]) for d in ("float32", "float16")}
    assert mean["float16"] == pytest.approx(mean["float32"], rel=0.01)
    between = np.mean([np.linalg.norm(fc["float32", a] - fc["float32", b]) for a, b in ((0, 1), (0, 2), (1, 2))])
    apart = np.mean([np.linalg.norm(fc["float16", a] - fc["float32", b]) for a in range(3) for b in range(3) if a != b])
    assert apart < 1.2 * between
    print(mean, between, apart)  # noqa: T201 - shown by pytest -s, for the docs
