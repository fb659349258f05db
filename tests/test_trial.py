"""The trial foretells what a run takes; how near it comes is a benchmark, not a test."""

from __future__ import annotations

import numpy as np
import pytest

from twinbrain.bench.networks import even_brain
from twinbrain.engine import Simulation
from twinbrain.errors import InputError
from twinbrain.estimate import Estimate, Sizes, estimate_run, refuse_what_does_not_fit
from twinbrain.network import Network
from twinbrain.trial import _ALIKE, _LARGEST, _array_bytes, _at, trial


@pytest.fixture(scope="module")
def network():
    return Network(even_brain(6), neurons=6000, in_degree=50, circuit="canonical", seed=1)


def test_the_trial_counts_the_arrays_of_the_run(network, monkeypatch):
    monkeypatch.setattr("twinbrain.trial._LARGEST", 20_000)
    larger = network.scaled(neurons=100_000, in_degree=5)
    estimate = trial(larger, 1.0)
    engine = Simulation(larger)
    engine.advance(1)
    import psutil

    held = psutil.Process().memory_info().rss / 1e9
    exact = _array_bytes(engine) / 1e9
    assert estimate.memory_gb - held == pytest.approx(exact, abs=0.2 * exact + 0.02)
    assert estimate.synapses == larger.synapses == len(engine.wiring.targets)


def test_time_is_proportional_to_duration_and_members(network):
    one, more = trial(network, 1.0), trial(network, 1.0, members=8)
    assert one.run_s > 0
    assert more.members == 8
    assert more.run_s > 2 * one.run_s
    assert trial(network, 100.0).run_s > 20 * one.run_s


def test_a_trial_with_few_neurons_per_voxel_does_not_stand_for_their_rate():
    few = Network(even_brain(300), neurons=3_000, in_degree=10, circuit="canonical", seed=1)
    assert "for 4.0 Hz" not in trial(few, 0.1).profile  # measured itself, whatever it does
    assert _ALIKE * 4000 > _LARGEST  # the mesh of a voxel brain falls under it
    with_rate = [trial(few, 10.0, rate_hz=r).run_s for r in (0.0, 200.0)]
    assert with_rate[1] > with_rate[0]


def test_a_cost_is_carried_on_as_a_logarithm():
    assert _at(100, [(10, 1.0), (100, 2.0)]) == 2.0
    assert _at(1000, [(10, 1.0), (100, 2.0)]) == pytest.approx(3.0)
    assert _at(10**9, [(10, 1.0), (100, 2.0)]) == 6.0
    assert _at(1000, [(10, 2.0), (100, 1.0)]) == 1.0


def test_arrays_are_counted_once(network):
    base = np.zeros(1000)
    assert _array_bytes([base, base, base[10:]]) == 8000
    assert _array_bytes({"a": base, "b": np.zeros(10)}) == 8080


def test_the_profile_says_what_was_measured(network):
    said = trial(network, 1.0).profile
    assert said.startswith("measured with 6,000 neurons on 1 thread, for ")
    assert "for 7.0 Hz" in trial(network, 1.0, rate_hz=7.0).profile
    assert "not measured" in network.estimate(1.0).profile


def test_estimates_grow_with_what_they_should():
    sizes = Sizes(neurons=100_000, synapses=10**7, voxels=100)
    one = estimate_run(sizes, 10.0)
    assert estimate_run(sizes, 20.0).run_s == pytest.approx(2 * one.run_s)
    assert estimate_run(sizes, 10.0, threads=2).run_s < one.run_s
    assert estimate_run(sizes, 10.0, dt_ms=0.1).run_s > 3 * one.run_s
    assert estimate_run(sizes, 10.0, rate_hz=8).run_s > one.run_s
    procedural = Sizes(neurons=100_000, synapses=10**7, voxels=100, synapse_bytes=0)
    assert estimate_run(procedural, 10.0).memory_gb < one.memory_gb
    assert estimate_run(procedural, 10.0).build_s == 0


def test_what_does_not_fit_is_refused_with_what_would():
    estimate = Estimate(10_000_000, 10**9, 3, 12.0, 9.0, 50.0, 900.0, "")
    refuse_what_does_not_fit(estimate, room_gb=12.5)
    with pytest.raises(
        InputError,
        match=r"^this run of 10,000,000 neurons needs about 12 GB, but only 6 GB are free: about [\d,]+ neurons would "
        r"fit with the same in-degree, or ask for fewer members$",
    ) as refused:
        refuse_what_does_not_fit(estimate, room_gb=6.0)
    fits = int(str(refused.value).split("about ")[2].split(" ")[0].replace(",", ""))
    assert 3_000_000 < fits < 5_000_000
    with pytest.raises(InputError, match="close other programs"):
        refuse_what_does_not_fit(estimate, room_gb=0.0)


def test_outcome_is_said_beside_the_estimate():
    said = Estimate(1000, 100_000, 1, 0.2, 0.3, 1.0, 60.0, "").beside(1.0, 200.0, 0.31)
    assert said == "foretold: 61 s and 0.3 GB; taken: 3 min and 0.31 GB"
