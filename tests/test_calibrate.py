"""The working point: found where there is one, refused in words where there is none."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from twinbrain import (
    Brain,
    InputError,
    Network,
    ParameterSet,
    Record,
    Subject,
    WorkingPoint,
    calibrate,
    load_sample,
    parameter_set,
    recentre,
    simulate,
)
from twinbrain.assimilate.adjust import excited, nmda_share_of, shifted, with_nmda_share
from twinbrain.assimilate.calibrate import _search, region_counterpart
from twinbrain.assimilate.linear import propagate, region_projection
from twinbrain.assimilate.mean_field import isolated_response, mean_field
from twinbrain.assimilate.trial import fit_gain
from twinbrain.config import Study, study_from_dict
from twinbrain.experiment.stages import _tries, calibrated
from twinbrain.neuron import NeuronParameters


def brain_of(regions: int = 16) -> Brain:
    rng = np.random.default_rng(3)
    counts = rng.gamma(0.5, size=(regions, regions))
    counts = counts + counts.T
    np.fill_diagonal(counts, 0)
    return Brain.from_subject(Subject.from_arrays(counts, [f"r{i}" for i in range(regions)]))


BRAIN = brain_of()


def network(parameters: str | ParameterSet = "", neurons: int = 1600, **kw: Any) -> Network:
    return Network(BRAIN, neurons=neurons, parameters=parameters, seed=1, **kw)


def conductances(total: float, share: float, inhibition: float, shares: Any = "long_range") -> ParameterSet:
    neuron = NeuronParameters(
        g_ampa=total * (1 - share), g_nmda=total * share / 20, g_gaba_a=inhibition, background_mean=0.37
    )
    return ParameterSet("x", neuron, canonical_shares=shares, conductance_scaling="in_degree")


@pytest.fixture(scope="module")
def point() -> WorkingPoint:
    return calibrate(network(), ["r0", "r1"], margin=False)


# --- the mean field -------------------------------------------------------------------------------------------------


def test_isolated_neuron_has_the_published_rate_and_slope() -> None:
    current, slope = isolated_response(NeuronParameters(), 4.06)
    assert current == pytest.approx(0.4, abs=0.004)  # 4.06 Hz at 0.4 with a step of 1 ms
    assert 0.09 < slope < 0.13  # (6.2 - 4.06) Hz for 0.02
    assert isolated_response(NeuronParameters(), 8.0)[1] > 1.3 * slope  # the curve steepens


def test_mean_field_gain_follows_the_formula() -> None:
    chosen = conductances(0.00327, 0.5, 0.006)
    (field,) = mean_field(network(chosen))
    own = 0.5 * 100 * 0.1 * 0.00327 * 2 * 57
    far = 0.5 * 100 * 0.75 * 0.00327 * 2 * 57
    inhibition = 0.5 * 100 * 0.15 * 0.006 * 20 * 13
    assert field.loop_gain == pytest.approx(far / (1 / field.slope[0] + inhibition - own), rel=1e-6)
    assert field.synaptic_current(4.0)[0] == pytest.approx(0.004 * (own + far - inhibition))


def test_mean_field_does_not_depend_on_the_in_degree_when_conductances_are_scaled() -> None:
    chosen = conductances(0.00327, 0.5, 0.006)
    gains = [mean_field(network(chosen, in_degree=d))[0].loop_gain for d in (50, 100, 200)]
    assert np.allclose(gains, gains[0])
    plain = replace(chosen, conductance_scaling="none")
    assert mean_field(network(plain, in_degree=50))[0].loop_gain < 0.8 * gains[0]


def test_pre_check_tells_fast_from_slow_excitation() -> None:
    published = network("nsr", long_range_gain=1.9)
    assert mean_field(published)[0].synchrony().gain > 1
    slow = network(with_nmda_share(parameter_set("nsr"), 0.8), long_range_gain=1.9)
    assert mean_field(slow)[0].synchrony().asynchronous
    laminar = mean_field(Network(BRAIN, neurons=1600, circuit="laminar"))
    assert [f.name for f in laminar] == ["laminar"]


def test_sets_keep_what_is_not_changed() -> None:
    start = parameter_set("mu066")
    slow = with_nmda_share(start, 0.7)
    for name in ("L4I", "L2/3E", "E"):
        old, new = start.of(name), slow.of(name)
        charge = [n.g_ampa * n.tau_ampa_ms + n.g_nmda * n.tau_nmda_ms for n in (old, new)]
        assert charge[0] == pytest.approx(charge[1])
        assert new.g_nmda * new.tau_nmda_ms / charge[1] == pytest.approx(0.7)
        assert new.g_gaba_a == old.g_gaba_a
        assert excited(start, 2.0).of(name).g_ampa == pytest.approx(2 * old.g_ampa)
        assert shifted(start, 0.01).of(name).background_mean == pytest.approx(old.background_mean + 0.01)
    assert nmda_share_of(slow) == pytest.approx(0.7)
    assert nmda_share_of(start) != pytest.approx(0.7, abs=0.05)


# --- measuring ------------------------------------------------------------------------------------------------------


def test_the_gain_of_a_linear_network_is_recovered() -> None:
    C = region_projection(BRAIN)
    probes = np.array([2, 5])
    for k in (0.3, 0.8, 0.95):
        x = np.ones(len(C))
        x[np.setdiff1d(np.arange(len(C)), probes)] = propagate(C, k, probes).sum(axis=1)
        gain, explained = fit_gain(C, x, probes)
        assert gain == pytest.approx(k, abs=1e-3)
        assert explained == pytest.approx(1.0)


def test_the_default_network_gets_its_working_point(point: WorkingPoint) -> None:
    assert abs(point.loop_gain - 0.8) < 0.06
    assert point.loop_gain_error < 0.03
    assert float(point.rate_hz.mean()) == pytest.approx(4.0, abs=0.25)
    assert point.rate_range[1] < 2 * point.rate_range[0]
    assert 0.5 < point.fano < 10
    assert point.returns
    assert 0.005 < point.slope < 0.011
    rates = point.f_i.sel(region=["r0", "r1"]).mean("region").values
    assert (np.diff(rates) > 0).all()
    assert rates[-1] > 3 * rates[2]
    other = point.f_i.sel(region="r7").values
    assert other[-1] - other[0] < 0.6 * (rates[-1] - rates[0])
    assert point.rate_hz.attrs["units"] == point.f_i.attrs["units"] == "Hz"


def test_a_free_run_of_the_calibrated_network_has_the_rate(point: WorkingPoint) -> None:
    found = simulate(point.network, duration_s=8.0, warm_up_s=1.0, seed=77, record=Record(totals=True))
    assert found.mean_rate_hz == pytest.approx(4.0, abs=0.5)
    assert found.fano(4.0) < 10
    off = simulate(network(shifted(point.network.set, -0.01)), duration_s=4.0, warm_up_s=1.0, seed=77)
    assert off.mean_rate_hz < 3.3  # the control: 2.6 % less background


def test_calibration_is_deterministic_whatever_the_threads(point: WorkingPoint) -> None:
    again = calibrate(network(), ["r0", "r1"], margin=False, threads=2)
    assert again.network.set == point.network.set
    assert again.loop_gain == point.loop_gain
    assert np.array_equal(again.f_i, point.f_i)
    assert again.network.seed == 1
    assert again.network.neurons == 1600


def test_the_set_is_explicit_and_survives_as_plain_numbers(point: WorkingPoint) -> None:
    import json

    told = json.loads(json.dumps(point.network.set.to_dict()))
    assert ParameterSet.from_dict(told) == point.network.set
    assert ParameterSet.from_dict(told) != parameter_set("asynchronous")
    assert json.loads(json.dumps(point.to_dict()))["parameters"] == told
    assert point.network.set.neuron.background_mean != parameter_set("asynchronous").neuron.background_mean
    data = point.to_dataset()
    assert ParameterSet.from_dict(json.loads(data.attrs["parameters"])) == point.network.set
    assert data["f_i_hz"].shape == (8, 16)
    assert "loop gain k" in point.table.index
    assert "<table" in point._repr_html_()
    assert "k=0." in repr(point)


def test_a_study_can_carry_the_parameters(point: WorkingPoint) -> None:
    import tomllib

    from twinbrain.config import study_from_dict, to_toml
    from twinbrain.experiment.prepare import prepare

    study = study_from_dict({"network": point.to_study(), "calibration": {"enabled": False}})
    again = study_from_dict(tomllib.loads(to_toml(study)))
    assert again == study
    chosen, found = point.network.set, prepare(again).network.set
    for name in ("E", "I"):
        assert found.of(name) == chosen.of(name)
    assert found.long_range_gain == chosen.long_range_gain
    assert tuple(found.canonical_shares) == (0.1, 0.15, 0.75)
    assert found.conductance_scaling == chosen.conductance_scaling
    plain = prepare(study_from_dict({})).network.set
    assert plain.of("E") != chosen.of("E")


def test_recentre_removes_the_offset_of_another_size(point: WorkingPoint) -> None:
    wrong = replace(point, network=replace(point.network, parameters=shifted(point.network.set, 0.008)))
    moved, right = (recentre(p, network(neurons=4800).scaled(seed=9)) for p in (wrong, point))
    assert moved.offset_hz > right.offset_hz + 0.8  # what was put in on purpose
    assert moved.network.neurons == 4800
    assert moved.network.seed == 9
    assert moved.settings["recentred_rate_hz"] == pytest.approx(4.0, abs=0.06)
    assert moved.network.set.neuron.background_mean < wrong.network.set.neuron.background_mean - 0.002
    assert moved.network.set.neuron.g_nmda == point.network.set.neuron.g_nmda


# --- refusals, each provoked for real -------------------------------------------------------------------------------


def test_fast_excitation_with_a_strong_loop_is_synchronous() -> None:
    with pytest.raises(InputError, match=r"synchronous, at a loop gain of 0.8 the mean field oscillates at \d+ Hz"):
        calibrate(network("nsr", long_range_gain=1.9), nmda_share=0.0)


@pytest.mark.slow
def test_synchrony_is_measured_where_the_mean_field_sees_none() -> None:
    with pytest.raises(InputError, match=r"Fano factor .* in 4-ms bins is [\d,]+, expected below 10; raise nmda_share"):
        calibrate(network("nsr"), nmda_share=0.0, loop_gain=0.25)


@pytest.mark.parametrize(
    ("total", "inhibition", "shares", "sentence"),
    [
        (0.0037, 0.006, "long_range", r"bistable, (the rate jumps|.* takes the network)"),
        (0.0023, 0.0025, (0.35, 0.15, 0.5), r"bistable, (the rate jumps|.* takes the network)"),
    ],
)
def test_sets_that_jump_are_bistable_as_they_are(total: float, inhibition: float, shares: Any, sentence: str) -> None:
    """Two sets that looked good for small signals and went to a high rate for good in longer runs."""
    chosen = network(conductances(total, 0.5, inhibition, shares))
    search = _search(chosen, ["r0", "r1"], 4.0, 0.8, 0.5, 50, 0, 1, 1.0)
    refusal = search.refused(mean_field(chosen)[0].loop_gain)
    if refusal is None:  # small signals pass: the pulse must tell
        assert search.parameters is not None
        end, told = search.try_hold(search.parameters)
        assert end == "bistable", told
        return
    assert re.search(sentence, str(refusal))


def test_weak_inhibition_does_not_hold_a_high_gain() -> None:
    with pytest.raises(InputError, match=r"bistable, .*; raise nmda_share from 0.5 to 0.8, lower loop_gain"):
        calibrate(network(conductances(0.0023, 0.5, 0.0025, (0.35, 0.15, 0.5))), loop_gain=0.93, neurons_per_region=50)


def test_what_cannot_be_reached_is_refused() -> None:
    with pytest.raises(InputError, match=r"a loop gain of 0.8 cannot be reached, it would take chi"):
        calibrate(network(conductances(0.0015, 0.5, 0.006, (0.85, 0.15, 0.0))))
    with pytest.raises(InputError, match=r"unreachable, the canonical voxel runs away by itself"):
        calibrate(network(conductances(0.01, 0.5, 0.002, (0.8, 0.1, 0.1))))
    silent = replace(conductances(0.0037, 0.5, 0.006), neuron=NeuronParameters(g_ampa=0.0, g_nmda=0.0))
    with pytest.raises(InputError, match=r"cannot be reached by any excitatory conductance"):
        calibrate(network(silent))


def test_bad_requests_are_refused() -> None:
    for wrong, sentence in (
        ({"inputs": ["r99"]}, "no region is called 'r99'"),
        ({"rate_hz": 0.0}, "expected a spontaneous rate of 0.2 to 20 Hz"),
        ({"loop_gain": 1.0}, "below 1 \\(critical\\)"),
        ({"nmda_share": 1.5}, "expected a share from 0 to 1"),
        ({"neurons_per_region": 5}, "expected at least 20"),
    ):
        with pytest.raises(InputError, match=sentence):
            calibrate(network(), **wrong)  # type: ignore[arg-type]
    three = Brain.from_subject(Subject.from_arrays(1 - np.eye(3), ["a", "b", "c"]))
    with pytest.raises(InputError, match="found 3 regions, expected at least 4"):
        calibrate(Network(three, neurons=300))


# --- levels and circuits --------------------------------------------------------------------------------------------


def test_a_voxel_brain_has_a_region_level_counterpart() -> None:
    person = load_sample("101309")
    regions, voxels = Brain.from_subject(person), Brain.from_subject(person, "voxel", 8.0)
    found = region_counterpart(voxels)
    assert found.level == "region"
    assert found.regions == regions.regions
    assert np.allclose(found.grey_matter, regions.grey_matter)
    assert np.array_equal(found.laminar, regions.laminar)
    assert np.abs(found.projection.toarray() - regions.projection.toarray()).max() < 0.01
    assert region_counterpart(regions) is regions


def full(person: str, five: bool = True, **kw: Any) -> WorkingPoint:
    brain = Brain.from_subject(load_sample(person), *kw.pop("level", ()))
    starts = ("Thalamus", "Hippocampus", "Insula", "Cingulate_Ant", "Frontal_Med_Orb") if five else ("Thalamus",)
    options = {k: kw.pop(k) for k in ("circuit", "parameters", "in_degree") if k in kw}
    made = Network(brain, neurons=kw.pop("neurons", 15_040), seed=1, **options)
    return calibrate(made, [r for r in brain.regions if r.startswith(starts)], **kw)


@pytest.mark.slow
@pytest.mark.parametrize("person", ["101309", "131217", "377451"])
def test_whole_people_get_their_working_point(person: str) -> None:
    found = full(person)
    assert abs(found.loop_gain - 0.8) < 0.06
    assert abs(float(found.rate_hz.mean()) - 4) < 0.15
    assert found.fano < 5
    assert found.breaks["end"].iloc[0] == "holds"  # 5 % more gain is no danger


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "gain"),
    [
        ({"circuit": "laminar"}, 0.65),
        ({"parameters": "asynchronous_anatomical"}, 0.8),
        ({"in_degree": 50}, 0.8),
        ({"in_degree": 200}, 0.8),
        ({"level": ("voxel", 4.0), "neurons": 200_000}, 0.8),
    ],
)
def test_other_circuits_degrees_and_levels(what: dict[str, Any], gain: float) -> None:
    found = full("101309", margin=False, **what)
    assert abs(found.loop_gain - gain) < 0.07
    assert found.fano < 10
    assert found.returns
    if "neurons" in what:
        assert found.settings["recentred_rate_hz"] == pytest.approx(4.0, abs=0.06)


# --- what a study leaves open ---------------------------------------------------------------------------------------


def open_study(**calibration: Any) -> Study:
    tables = {"margin": False, "neurons_per_region": 50, **calibration}
    return study_from_dict(
        {"assimilation": {"inputs": ["r0", "r1"]}, "calibration": tables, "execution": {"threads": 1}}
    )


def test_what_a_study_names_is_not_changed() -> None:
    made = network(conductances(0.0037, 0.5, 0.006))
    assert _tries(open_study(), made) == [(None, None), (0.8, None), (0.8, 0.68), (0.8, 0.56)]
    assert _tries(open_study(nmda_share=0.6), made) == [(0.6, None), (0.6, 0.68), (0.6, 0.56)]
    assert _tries(open_study(loop_gain=0.7), made) == [(None, 0.7), (0.8, 0.7)]
    assert _tries(open_study(nmda_share=0.6, loop_gain=0.7), made) == [(0.6, 0.7)]
    assert _tries(open_study(), network(conductances(0.0037, 0.8, 0.006))) == [(None, None), (None, 0.68), (None, 0.56)]


@pytest.mark.slow
def test_what_a_study_leaves_open_gives_way_until_the_network_holds() -> None:
    weak = network(conductances(0.0023, 0.5, 0.0025, (0.35, 0.15, 0.5)))
    told: list[int] = []
    found = calibrated(open_study(), weak, lambda done, total: told.append(done))
    assert found.settings["nmda_share"] == 0.8
    assert found.settings["loop_gain"] == 0.68
    assert found.loop_gain == pytest.approx(0.68, abs=0.08)
    assert found.settings["refused"].count("calibrate: bistable") == 2
    assert told == sorted(told)
    assert WorkingPoint.from_dataset(found.to_dataset(), weak).settings["refused"] == found.settings["refused"]
    with pytest.raises(InputError, match=r"bistable, .*; found so down to a loop gain of 0.93, NMDA up to 0.8: set"):
        calibrated(open_study(loop_gain=0.93), weak)
    with pytest.raises(InputError, match=r"^calibrate: bistable, (?!.*found so)"):
        calibrated(open_study(loop_gain=0.93, nmda_share=0.5), weak)
