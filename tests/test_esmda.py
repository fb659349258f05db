"""The smoother of a whole series: its algebra against the Kalman formulas, its spread against known drives."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from rate_brain import RateBrain, autoregressive, brain_of, use_rates
from test_inverse import TR, Memory, each_correlation, recording, truth
from twinbrain.assimilate.diagnostics import coverage, rank_histogram, spread_error_ratio
from twinbrain.assimilate.esmda import autoregressive_ensemble, local_update
from twinbrain.assimilate.fit import Fit, assimilate
from twinbrain.drive import Drive
from twinbrain.errors import InputError, Interrupted
from twinbrain.network import Network

Array = NDArray[np.float64]


@pytest.fixture(autouse=True)
def _rates(monkeypatch: pytest.MonkeyPatch) -> None:
    use_rates(monkeypatch)


@pytest.fixture(scope="module")
def eight() -> Network:
    return Network(brain_of(8), neurons=800)


def fit_of(network: Network, bold: xr.DataArray, inputs: list[str], **options: Any) -> Fit:
    arguments: dict[str, Any] = {"method": "esmda", "band_hz": None, "seed": 5, "threads": 1, "members": 24}
    return assimilate(network, bold, inputs, **(arguments | {"repeats": 2} | options))


def arrays_of(fit: Fit) -> dict[str, bytes]:
    names = ("spread", "target", "forecast", "forecast_spread", "members_drive", "initial", "rate")
    return {"drive": fit.drive.values.values.tobytes()} | {n: getattr(fit, n).values.tobytes() for n in names}


def linear_problem(rows: int, members: int) -> tuple[Array, Array, Array, Array]:
    """x of AR(1), y(t) = sum of the last x: state, prediction, observation, truth."""
    x = autoregressive_ensemble(rows, members, 1, 0.9, np.random.default_rng(1))[:, :, 0]
    known = autoregressive(rows, 1, 7)[:, 0]
    kernel = np.array([0.0, 0.1, 0.5, 0.8, 0.4, 0.1])

    def through(v: Array) -> Array:
        return np.apply_along_axis(lambda c: np.convolve(c, kernel)[: len(c)], 0, v)

    observed = through(known[:, None])[:, 0] + 0.3 * np.random.default_rng(2).standard_normal(rows)
    return x, through(x), observed, known


def test_the_update_of_one_value_is_the_kalman_formula_with_growing_error() -> None:
    x, y, observed, _ = linear_problem(30, 4000)
    noise = np.random.default_rng(3).standard_normal(x.shape)
    after = local_update(x, y, observed, 0.09, 5, 8.0, noise)
    t = 12
    joint = np.cov(np.vstack([x[t], y[t : t + 6]]))
    error = 0.09 * np.exp(np.arange(6) / 8)
    gain = joint[0, 1:] @ np.linalg.inv(joint[1:, 1:] + np.diag(error))
    mean = x[t].mean() + gain @ (observed[t : t + 6] - y[t : t + 6].mean(axis=1))
    variance = joint[0, 0] - gain @ joint[1:, 0]
    assert after[t].mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / 4000))
    assert after[t].var(ddof=1) == pytest.approx(variance, rel=0.1)
    unperturbed = local_update(x, y, observed, 0.09, 5, 8.0, noise * 0)
    assert unperturbed[t].var(ddof=1) < 0.9 * variance  # the test can tell


def test_a_value_hears_only_what_follows_it_within_the_lag() -> None:
    x, y, observed, _ = linear_problem(30, 50)
    noise = np.random.default_rng(3).standard_normal(x.shape)
    before = local_update(x, y, observed, 0.09, 5, 8.0, noise)
    moved = observed.copy()
    moved[20] += 1.0
    after = local_update(x, y, moved, 0.09, 5, 8.0, noise)
    changed = np.flatnonzero(np.abs(after - before).max(axis=1) > 1e-9)
    assert changed.min() == 15
    assert changed.max() == 20
    gap = observed.copy()
    gap[20] = np.nan
    longer = local_update(x, y, gap, 0.09, 5, 8.0, noise)
    assert not np.allclose(longer[16], before[16])
    np.testing.assert_array_equal(longer[21:], before[21:])
    np.testing.assert_allclose(local_update(x, y, observed * np.nan, 0.09, 5, 8.0, noise), x, atol=1e-14)


def test_on_a_linear_problem_the_posterior_knows_its_error() -> None:
    found, known = [], []
    for k in range(12):
        x = autoregressive_ensemble(120, 40, 1, 0.9, np.random.default_rng(100 + k))[:, :, 0]
        truth_k = autoregressive(120, 1, 300 + k)[:, 0]
        kernel = np.array([0.0, 0.1, 0.5, 0.8, 0.4, 0.1])
        y = np.apply_along_axis(lambda c: np.convolve(c, kernel)[: len(c)], 0, x)  # noqa: B023
        observed = np.convolve(truth_k, kernel)[:120] + 0.3 * np.random.default_rng(k).standard_normal(120)
        noise = np.random.default_rng(500 + k).standard_normal(x.shape)
        found.append(local_update(x, y, observed, 0.09, 8, 8.0, noise)[10:-10:10].T)
        known.append(truth_k[10:-10:10])
    members, values = np.concatenate(found, axis=1), np.concatenate(known)
    assert 0.85 <= coverage(members, values) <= 0.99
    assert rank_histogram(members, values)[1] > 1e-3
    assert 0.7 < spread_error_ratio(members, values) < 1.4
    narrow = members.mean(axis=0) + 0.3 * (members - members.mean(axis=0))
    assert coverage(narrow, values) < 0.7
    assert rank_histogram(narrow, values)[1] < 1e-3


def test_known_drives_lie_in_the_posterior_band(eight: Network) -> None:
    inputs = ["A01", "A04", "A06"]
    h = truth(140, 3)
    bold = recording(eight, h, inputs)
    fit = fit_of(eight, bold, inputs, standardise=False, members=40)
    assert fit.method == "esmda"
    assert fit.filter_mean is None
    assert fit.members_drive.dims == ("time", "member", "input")
    np.testing.assert_allclose(fit.drive.values, fit.members_drive.mean("member"))
    np.testing.assert_allclose(fit.spread, fit.members_drive.std("member", ddof=1), rtol=1e-9)
    assert fit.diagnostics["prior"] == "inverse"
    assert float(fit.diagnostics["step_1_spread"]) < 0.6 * float(fit.diagnostics["prior_spread"])
    begun = assimilate(eight, bold, inputs, method="inverse", standardise=False, seed=5, repeats=2, corrections=0)
    before, after = (each_correlation(f.drive.values.values, h) for f in (begun, fit))
    assert before.min() > 0.9
    assert after.min() > 0.97
    inner = slice(10, -13)
    members, known = fit.members_drive.values.transpose(1, 0, 2)[:, inner], h[inner]
    assert 0.85 <= coverage(members, known) <= 0.99
    assert 0.7 < spread_error_ratio(members, known) < 1.4
    assert rank_histogram(members[:, ::10], known[::10], bins=4)[1] > 1e-3
    late = np.roll(h, 4, axis=0)[inner]
    assert coverage(members, late) < 0.7
    assert rank_histogram(members[:, ::10], late[::10] + 0.006, bins=4)[1] < 1e-3


def test_from_one_current_the_smoother_finds_the_course_by_itself(eight: Network) -> None:
    inputs = ["A01", "A06"]
    h = truth(90, 2)
    fit = fit_of(eight, recording(eight, h, inputs), inputs, prior=0.025, standardise=False)
    assert fit.diagnostics["setting_steps"] == 3.0
    assert float(fit.diagnostics["step_1_bold_pcc"]) < float(fit.diagnostics["step_3_bold_pcc"])
    assert each_correlation(fit.drive.values.values, h).min() > 0.8
    spreads = [float(fit.diagnostics[k]) for k in ("prior_spread", "step_1_spread", "step_3_spread")]
    assert spreads == sorted(spreads, reverse=True)


def test_a_given_prior_must_fit_and_then_replaces_the_inverse(eight: Network) -> None:
    inputs = ["A01", "A06"]
    h = truth(40, 2)
    bold = recording(eight, h, inputs)
    values = xr.DataArray(h, dims=("time", "input"), coords={"input": inputs})
    fit = fit_of(eight, bold, inputs[::-1], prior=Drive(values, TR))
    assert fit.diagnostics["prior"] == "given"
    assert fit.inputs == ("A06", "A01")
    assert np.corrcoef(fit.drive.values.values[:, 0], h[:, 1])[0, 1] > 0.8
    assert "table" not in fit.diagnostics
    with pytest.raises(
        InputError, match=r"prior: found a drive of 2 inputs and 39 volumes, expected one of the same 2"
    ):
        fit_of(eight, bold, inputs, prior=Drive(values[1:], TR))


@pytest.mark.parametrize("share", [0.05, 0.35, 0.6, 0.95])
def test_a_resumed_smoother_equals_the_uninterrupted_one_byte_for_byte(eight: Network, share: float) -> None:
    inputs = ["A01", "A06"]
    bold = recording(eight, truth(25, 2), inputs)
    options: dict[str, Any] = {"members": 6, "steps": 2, "checkpoint_every_s": 0.0}
    counts: list[tuple[int, int]] = []
    whole = fit_of(eight, bold, inputs, progress=lambda n, of: counts.append((n, of)), **options)
    assert counts[-1][0] == counts[-1][1]
    stop = min(n for n, _ in counts if n >= share * counts[-1][1])
    memory = Memory()

    def interrupt(done: int, total: int) -> None:
        if done == stop:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        fit_of(eight, bold, inputs, checkpoint=memory, progress=interrupt, **options)
    rest: list[int] = []
    resumed = fit_of(eight, bold, inputs, checkpoint=memory, progress=lambda n, of: rest.append(n), **options)
    assert len(rest) == sum(n > stop for n, _ in counts)
    assert arrays_of(resumed) == arrays_of(whole)
    assert resumed.diagnostics == whole.diagnostics
    assert arrays_of(fit_of(eight, bold, inputs, **(options | {"prior_sd": 0.007}))) != arrays_of(whole)


def test_a_lost_member_is_resampled_and_too_few_stop_the_work(
    eight: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inputs = ["A01", "A06"]
    bold = recording(eight, truth(25, 2), inputs)
    ruin: dict[int, float] = {}
    advance = RateBrain.advance

    def with_accidents(self: RateBrain, steps: int) -> None:
        for member, value in ruin.items():
            if len(self.x) > 1 and self.clock > 400:
                self.drive[member] = value
        advance(self, steps)

    monkeypatch.setattr(RateBrain, "advance", with_accidents)
    ruin |= {2: np.nan, 3: 9.0, 4: -9.0}
    with caplog.at_level(logging.WARNING):
        fit = fit_of(eight, bold, inputs, members=12)
    assert fit.diagnostics["replaced_members"] == 3.0
    assert np.isfinite(fit.members_drive).all()
    for why in ("is not finite", "fires at", "is silent"):
        assert why in caplog.text
    assert "step 1: member 2, lost in volume" in caplog.text
    ruin |= {5: np.nan, 6: np.nan}
    with pytest.raises(InputError, match=r"only 7 of 12 members are left .* min_members=8; .* resume"):
        fit_of(eight, bold, inputs, members=12)
    assert fit_of(eight, bold, inputs, members=12, min_members=7).diagnostics["replaced_members"] == 5.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation_variance": 0.0}, r"observation_variance: found 0.0, expected a number > 0"),
        ({"members": 2}, "members: found 2, expected at least 3"),
        ({"steps": 0}, "steps: found 0, expected 1 to 20"),
        ({"prior_sd": 0.0}, "prior_sd: found 0.0"),
        ({"min_members": 40}, "min_members: found 40, expected 2 to 24 members"),
    ],
)
def test_settings_that_cannot_work_are_refused(eight: Network, change: dict[str, Any], message: str) -> None:
    bold = recording(eight, truth(12, 1), ["A01"])
    with pytest.raises(InputError, match=message):
        fit_of(eight, bold, ["A01"], **change)
