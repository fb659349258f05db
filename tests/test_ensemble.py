"""The ensemble updates against the Kalman formulas, written out here independently."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from twinbrain.assimilate.ensemble import mixed_gain_update, square_root_update, stochastic_update
from twinbrain.errors import InputError

Array = NDArray[np.float64]


def kalman_on_samples(x: Array, y: Array, obs: Array, variance: Array) -> tuple[Array, Array]:
    joint = np.cov(np.hstack([x, y]).T)
    n = x.shape[1]
    gain = joint[:n, n:] @ np.linalg.inv(joint[n:, n:] + np.diag(variance))
    return x.mean(0) + gain @ (obs - y.mean(0)), joint[:n, :n] - gain @ joint[n:, :n]


@pytest.fixture
def linear() -> tuple[Array, Array, Array, Array]:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((24, 5)) @ rng.standard_normal((5, 5)) + 2.0
    y = x @ rng.standard_normal((5, 3))
    return x, y, rng.standard_normal(3), np.array([0.2, 0.7, 1.5])


def test_square_root_equals_the_kalman_formulas_on_the_sample_moments(
    linear: tuple[Array, Array, Array, Array],
) -> None:
    x, y, obs, variance = linear
    mean, covariance = kalman_on_samples(x, y, obs, variance)
    after = square_root_update(x, y, obs, variance)
    np.testing.assert_allclose(after.mean(0), mean, rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.cov(after.T), covariance, rtol=0, atol=1e-10)
    wrong = square_root_update(x, y, obs, variance * 1.01)
    assert np.abs(wrong.mean(0) - mean).max() > 1e-6
    assert np.abs(np.cov(wrong.T) - covariance).max() > 1e-6


def test_stochastic_form_agrees_within_its_sampling_error() -> None:
    rng = np.random.default_rng(9)
    members = 2000
    prior = np.array([[2.0, 0.6], [0.6, 1.0]])
    x = rng.multivariate_normal([1.0, -1.0], prior, size=members)
    y = x[:, :1]
    obs, variance = np.array([2.5]), np.array([0.5])
    gain = prior[:, 0] / (prior[0, 0] + 0.5)
    mean = np.array([1.0, -1.0]) + gain * 1.5
    covariance = prior - np.outer(gain, prior[0])
    after = stochastic_update(x, y, obs, variance, rng.standard_normal((members, 1)))
    assert (np.abs(after.mean(0) - mean) < 4 * np.sqrt(np.diag(covariance) / members)).all()
    assert np.linalg.norm(np.cov(after.T) - covariance) < 0.1 * np.linalg.norm(covariance)
    # without the perturbed observations the spread comes out too small: the test can tell
    unperturbed = stochastic_update(x, y, obs, variance, np.zeros((members, 1)))
    assert np.cov(unperturbed.T)[0, 0] < 0.9 * covariance[0, 0]


@pytest.fixture
def units() -> tuple[Array, Array, Array, Array]:
    rng = np.random.default_rng(1)
    state = rng.standard_normal((12, 4, 3))
    predicted = state[:, :, 0] * 0.5 + 0.2 * rng.standard_normal((12, 4))
    return state, predicted, rng.standard_normal(4), rng.standard_normal((12, 4))


def written_out(state: Array, y: Array, obs: Array, variance: float, noise: Array) -> tuple[Array, Array]:
    """The two corrections, with plain loops over (observation, unit, component)."""
    _, n_units, n_parts = state.shape
    local, mean = np.zeros_like(state), np.zeros_like(state)
    for v in range(n_units):
        s = np.var(y[:, v], ddof=1) + variance
        r = obs[v] + np.sqrt(variance) * noise[:, v] - y[:, v]
        for u in range(n_units):
            for c in range(n_parts):
                k = np.cov(y[:, v], state[:, u, c])[0, 1] / s
                mean[:, u, c] += k * r / n_units
                if u == v:
                    local[:, u, c] = k * r
    return local, mean


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.5, 1.0])
def test_mixed_gain_is_the_published_sum_and_reaches_both_limits(
    units: tuple[Array, Array, Array, Array], rho: float
) -> None:
    state, y, obs, noise = units
    local, mean = written_out(state, y, obs, 0.1, noise)
    after = mixed_gain_update(state, y, obs, 0.1, noise, rho)
    np.testing.assert_allclose(after, state + rho * local + (1 - rho) * mean, rtol=0, atol=1e-12)
    assert not np.allclose(after, state + (rho + 0.1) * local + (0.9 - rho) * mean, rtol=0, atol=1e-6)


def test_one_unit_observing_its_state_is_the_scalar_kalman_filter() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((40, 1)) * 1.3 + 5
    gain = x.var(ddof=1) / (x.var(ddof=1) + 0.4)
    for rho in (0.0, 0.5, 1.0):  # with one unit its own gain is the mean gain
        after = mixed_gain_update(x[:, :, None], x, [7.0], 0.4, np.zeros((40, 1)), rho)
        assert after.mean() == pytest.approx(x.mean() + gain * (7.0 - x.mean()), abs=1e-12)
        assert after.var(ddof=1) == pytest.approx((1 - gain) ** 2 * x.var(ddof=1), rel=1e-12)
    assert after.mean() != pytest.approx(7.0, abs=1e-3)


def test_earlier_parameters_are_corrected_like_any_other_component() -> None:
    rng = np.random.default_rng(3)
    earlier = rng.standard_normal((200, 1))
    now = rng.standard_normal((200, 1))
    y = 2.0 * earlier  # the observation tells about the past only
    after = mixed_gain_update(np.stack([now, earlier], axis=2), y, [2.0], 1e-8, np.zeros((200, 1)))
    np.testing.assert_allclose(after[:, 0, 1], 1.0, atol=1e-6)
    assert np.abs(after[:, 0, 0].mean() - now.mean()) < 0.2


def test_a_missing_observation_leaves_its_unit_alone_and_the_others_as_without_it(
    units: tuple[Array, Array, Array, Array],
) -> None:
    state, y, obs, noise = units
    gap = obs.copy()
    gap[2] = np.nan
    keep = [0, 1, 3]
    after = mixed_gain_update(state, y, gap, 0.1, noise)
    np.testing.assert_array_equal(after[:, 2], state[:, 2])
    without = mixed_gain_update(state[:, keep], y[:, keep], obs[keep], 0.1, noise[:, keep])
    np.testing.assert_array_equal(after[:, keep], without)
    assert not np.array_equal(mixed_gain_update(state, y, obs, 0.1, noise)[:, keep], without)
    np.testing.assert_array_equal(mixed_gain_update(state, y, np.full(4, np.nan), 0.1, noise), state)


def test_missing_joint_observations_are_left_out(linear: tuple[Array, Array, Array, Array]) -> None:
    x, y, obs, variance = linear
    gap = np.array([obs[0], np.nan, obs[2]])
    noise = np.random.default_rng(0).standard_normal(y.shape)
    keep = [0, 2]
    np.testing.assert_array_equal(
        square_root_update(x, y, gap, variance), square_root_update(x, y[:, keep], obs[keep], variance[keep])
    )
    np.testing.assert_array_equal(
        stochastic_update(x, y, gap, variance, noise),
        stochastic_update(x, y[:, keep], obs[keep], variance[keep], noise[:, keep]),
    )
    assert not np.allclose(square_root_update(x, y, gap, variance), square_root_update(x, y, obs, variance))


@pytest.mark.parametrize("variance", [0.0, -1e-8, np.nan])
def test_an_observation_without_error_is_refused(units: tuple[Array, Array, Array, Array], variance: float) -> None:
    state, y, obs, noise = units
    for call in (
        lambda: mixed_gain_update(state, y, obs, variance, noise),
        lambda: square_root_update(state[:, :, 0], y, obs, variance),
        lambda: stochastic_update(state[:, :, 0], y, obs, variance, noise),
    ):
        with pytest.raises(InputError, match=r"observation variance: found .* expected a number > 0"):
            call()
    assert np.isfinite(mixed_gain_update(state, y, obs, 1e-8, noise)).all()


def test_wrong_shapes_are_named(units: tuple[Array, Array, Array, Array]) -> None:
    state, y, obs, noise = units
    with pytest.raises(InputError, match=r"observed \(3,\), noise \(12, 4\), expected \(E, V, C\)"):
        mixed_gain_update(state, y, obs[:3], 0.1, noise)
    with pytest.raises(InputError, match=r"expected \(E, N\), \(E, M\), \(M,\)"):
        square_root_update(state[:, :, 0], y[:5], obs, 0.1)
    with pytest.raises(InputError, match="draw one number per member and observation"):
        stochastic_update(state[:, :, 0], y, obs, 0.1, noise[:, :2])
    with pytest.raises(InputError, match="found 1 member"):
        mixed_gain_update(state[:1], y[:1], obs, 0.1, noise[:1])
    with pytest.raises(InputError, match=r"local_gain: found 1.5, expected 0 to 1"):
        mixed_gain_update(state, y, obs, 0.1, noise, 1.5)


def lorenz96(x: Array) -> Array:
    return (np.roll(x, -1, 1) - np.roll(x, 2, 1)) * np.roll(x, 1, 1) - x + 8.0


def test_square_root_filter_tracks_lorenz96_as_well_as_the_literature() -> None:
    """40 variables, all observed every 0.05 with R = 1, 24 members (Sakov and Oke 2008: RMSE about 0.18)."""
    rng = np.random.default_rng(3)

    def forecast(x: Array) -> Array:
        dt = 0.05
        k1 = lorenz96(x)
        k2 = lorenz96(x + dt / 2 * k1)
        k3 = lorenz96(x + dt / 2 * k2)
        return x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + lorenz96(x + dt * k3))

    truth = 8 + rng.standard_normal((1, 40))
    for _ in range(200):
        truth = forecast(truth)
    ensemble = truth + rng.standard_normal((24, 40))
    errors, raw = [], []
    for t in range(600):
        truth, ensemble = forecast(truth), forecast(ensemble)
        ensemble = ensemble.mean(0) + 1.02 * (ensemble - ensemble.mean(0))
        obs = truth[0] + rng.standard_normal(40)
        ensemble = square_root_update(ensemble, ensemble, obs, 1.0)
        if t >= 200:
            errors.append(np.sqrt(np.mean((ensemble.mean(0) - truth[0]) ** 2)))
            raw.append(np.sqrt(np.mean((obs - truth[0]) ** 2)))
    assert np.mean(errors) <= 0.22
    assert np.mean(raw) > 0.9
