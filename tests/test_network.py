"""Network: sizes, in-degrees, circuits, parameters, estimates and refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinbrain import Brain, InputError, Network, Subject, parameter_set
from twinbrain.circuit import canonical, laminar


def brain(n: int = 4, density: bool = False) -> Brain:
    names = [f"Area_{k}" for k in range(n - 1)] + ["Thalamus_L"]
    c = np.ones((n, n)) - np.eye(n)
    return Brain.from_subject(
        Subject.from_arrays(
            c,
            names,
            grey_matter=np.arange(1, n + 1.0),
            synaptic_density=np.linspace(0.3, 3.0, n) if density else None,
        )
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 100_000), st.integers(0, 2**40), st.sampled_from(["canonical", "laminar"]))
def test_sizes_add_up_and_are_within_one_of_their_share(neurons: int, seed: int, circuit: str) -> None:
    network = Network(brain(), neurons=neurons, circuit=circuit, seed=seed)
    size = network.populations.groupby("voxel")["size"].sum().to_numpy()
    assert size.sum() == neurons
    assert (np.abs(size - neurons * np.arange(1, 5) / 10) < 1).all()
    a = network.anatomy
    for v in range(4):
        c = network.circuits[a.kind[v]]
        own = a.size[a.voxel_population[v] : a.voxel_population[v + 1]]
        assert (np.abs(own - neurons * (v + 1) / 10 * c.fraction) < 1 + 1e-9).all()
        assert (own >= 0).all()


def test_rounding_is_unbiased_over_seeds() -> None:
    sizes = [Network(brain(), neurons=37, seed=s).populations["size"].to_numpy() for s in range(400)]
    voxels = np.array(sizes).reshape(400, 4, 2).sum(axis=2).mean(axis=0)
    assert np.abs(voxels - 3.7 * np.arange(1, 5)).max() < 4 * 0.5 / 20
    each = np.array(sizes).mean(axis=0).reshape(4, 2)
    assert np.abs(each - 3.7 * np.arange(1, 5)[:, None] * [0.8, 0.2]).max() < 4 * 0.5 / 20


def test_laminar_in_degrees_and_fractions_are_the_published_ones() -> None:
    c = laminar()
    np.testing.assert_allclose(
        c.degree_scale, [1.2227, 0.6187, 0.9979, 0.5746, 1.2044, 0.5278, 1.0709, 0.4844], atol=5e-5
    )
    np.testing.assert_allclose(
        c.sources[:, -1], [0.1485, 0.1139, 0.2655, 0.2447, 0.2351, 0.0722, 0.4335, 0.6591], atol=5e-5
    )
    np.testing.assert_allclose(c.projecting[::2], [0.3343, 0.3540, 0.0790, 0.2326], atol=5e-5)
    overall = c.fraction * c.degree_scale
    assert (overall @ c.sources[:, -1]) == pytest.approx(0.256, abs=5e-4)
    assert (overall @ c.sources[:, :-1][:, c.sign > 0].sum(axis=1)) == pytest.approx(0.598, abs=5e-4)
    for circuit in (c, canonical("nsr"), canonical("open"), canonical("long_range")):
        assert circuit.fraction.sum() == pytest.approx(1)
        np.testing.assert_allclose(circuit.sources.sum(axis=1), 1)
        assert circuit.fraction @ circuit.degree_scale == pytest.approx(1)
        assert circuit.projecting.sum() == pytest.approx(1)
        assert (circuit.projecting[circuit.sign < 0] == 0).all()


def test_laminar_columns_go_to_neocortex_only() -> None:
    table = Network(brain(), neurons=1000, circuit="laminar").populations
    assert set(table.loc[table["region"] == "Thalamus_L", "name"]) == {"E", "I"}
    assert set(table.loc[table["region"] == "Area_0", "name"]) == set(laminar().populations)
    flat = Network(brain(), neurons=1000, circuit="canonical").populations
    assert set(flat["name"]) == {"E", "I"}


def test_synaptic_density_scales_the_in_degree_within_its_clip() -> None:
    table = Network(brain(density=True), neurons=1000, in_degree=100).populations
    degree = table.groupby("voxel")["in_degree"].first().to_numpy()
    assert degree.min() == 70
    assert degree.max() == 130
    assert set(Network(brain(), neurons=1000, in_degree=100).populations["in_degree"]) == {100}


def test_conductances_scale_with_in_degree_only_when_asked() -> None:
    base = Network(brain(), neurons=1000, in_degree=200, parameters="nsr")
    assert base.parameter("g_ampa")[0] == pytest.approx(0.0025)
    asked = Network(brain(), neurons=1000, in_degree=200, parameters="nsr", conductance_scaling="in_degree")
    assert asked.parameter("g_ampa")[0] == pytest.approx(0.00125)
    by_layer = Network(brain(), neurons=1000, in_degree=100, circuit="laminar")
    assert by_layer.set.name == "asynchronous_laminar"
    table = by_layer.populations.assign(g=by_layer.parameter("g_ampa"))
    np.testing.assert_allclose(table["g"] * table["in_degree"] / 100, 0.000955)
    assert np.ptp(by_layer.parameter("leak_conductance")) == 0


def test_gain_is_a_multiple_of_one_in_256_and_differs_by_circuit() -> None:
    network = Network(brain(), neurons=1000, circuit="laminar")
    np.testing.assert_array_equal(network.chi * 256, np.round(network.chi * 256))
    table = network.populations.assign(chi=network.chi)
    assert table.groupby("region")["chi"].first().to_dict() == {
        **{f"Area_{k}": round(2.54 * 256) / 256 for k in range(3)},
        "Thalamus_L": round(3.72 * 256) / 256,
    }
    assert set(Network(brain(), neurons=1000, long_range_gain=1.9).chi) == {round(1.9 * 256) / 256}


def test_parameters_can_be_overridden_for_one_population() -> None:
    p = parameter_set("nsr").changed({"I": {"g_ampa": 0.004}}, leak_conductance=0.03)
    network = Network(brain(), neurons=100, parameters=p)
    table = network.populations.assign(g=network.parameter("g_ampa"), leak=network.parameter("leak_conductance"))
    assert set(table.loc[table["name"] == "I", "g"]) == {0.004}
    assert set(table.loc[table["name"] == "E", "g"]) == {0.0025}
    assert set(table["leak"]) == {0.03}


def test_live_channels_follow_the_conductances() -> None:
    assert Network(brain(), neurons=100, parameters="nsr").live == (True, False, True, False)
    assert not Network(brain(), neurons=100, parameters="nsr").two_weights
    assert Network(brain(), neurons=100, parameters="mu066").live == (True,) * 4
    assert Network(brain(), neurons=100, parameters="asynchronous").two_weights


def test_estimate_grows_with_the_network() -> None:
    network = Network(brain(), neurons=10_000)
    small, large = network.estimate(10), network.scaled(neurons=100_000).estimate(10)
    assert large.synapses == 10 * small.synapses
    assert large.memory_gb > small.memory_gb
    assert network.estimate(20).run_s == pytest.approx(2 * small.run_s)
    assert "synapses" in str(small)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neurons": -5}, "neurons must be a whole number above 0, found -5"),
        ({"neurons": 0}, "neurons must be a whole number above 0"),
        ({"neurons": 3}, "at least 2 per voxel"),
        ({"neurons": 10**12}, "at most"),
        ({"in_degree": 0}, "in_degree must be between 1 and 20000"),
        ({"circuit": "laminr"}, "did you mean 'laminar'"),
        ({"parameters": "nrs"}, "did you mean 'nsr'"),
        ({"parameters": parameter_set("nsr").changed({"L4": {"g_ampa": 1.0}})}, "population 'L4' is not known"),
        ({"neurons_by": "weight"}, "neurons_by"),
        ({"long_range_gain": -1.0}, "long_range_gain"),
        ({"heterogeneity": {"g_ampa": -1}}, "Gamma shape"),
        ({"heterogeneity": {"chi": 5}}, "heterogeneity is for conductances"),
        ({"conductance_scaling": "no"}, "conductance_scaling"),
    ],
)
def test_bad_networks_are_refused(changes: dict[str, object], message: str) -> None:
    options: dict[str, object] = {"neurons": 1000} | changes
    with pytest.raises(InputError, match=message):
        Network(brain(), **options)  # type: ignore[arg-type]


def test_the_default_set_follows_the_circuit() -> None:
    assert Network(brain(), neurons=1000, circuit="laminar", parameters="default").set.name == "asynchronous_laminar"
    assert Network(brain(), neurons=1000).set.name == "asynchronous"


def test_networks_show_themselves_in_one_line() -> None:
    network = Network(brain(), neurons=1000)
    assert repr(network).count("\n") == 0
    assert len(repr(network)) < 200
    assert "<table" in network._repr_html_()


def test_all_processors_build_the_same_synapses_as_one() -> None:
    network = Network(brain(), neurons=1000)
    every, one = network.wire(0), network.wire(1)
    assert np.array_equal(every.targets, one.targets)
    assert not np.array_equal(every.targets, network.scaled(seed=5).wire(0).targets)
    with pytest.raises(InputError, match="threads must be a whole number >= 1"):
        network.wire(-1)
