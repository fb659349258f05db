"""Edge rules: what is selected changes as told, everything else stays the same synapse by synapse."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from test_procedural import from_the_target
from twinbrain import Brain, EdgeRule, InputError, Network, Subject, lesion
from twinbrain.engine import Simulation


def brain() -> Brain:
    rng = np.random.Generator(np.random.Philox(key=7))
    c = rng.gamma(1.0, 1.0, (4, 4))
    np.fill_diagonal(c, 0)
    return Brain.from_subject(Subject.from_arrays(c, ["Cortex_a", "Cortex_b", "Cortex_c", "Thalamus_L"]))


def network(**changes: object) -> Network:
    options: dict[str, object] = {"neurons": 1600, "in_degree": 30, "circuit": "laminar", "seed": 4} | changes
    return Network(brain(), **options)  # type: ignore[arg-type]


def synapses(net: Network) -> np.ndarray:
    """Source, target and weights of all synapses, sorted."""
    wiring = net.wire()
    sources = np.repeat(np.arange(net.neurons), np.diff(wiring.pointer))
    table = np.stack([sources, wiring.targets.astype(np.int64), wiring.weights.astype(np.int64)], axis=1)
    return table[np.lexsort(table.T[::-1])]


def spikes(net: Network, **options: object) -> str:
    engine = Simulation(net, seed=3, **options)  # type: ignore[arg-type]
    engine.record_spikes(np.arange(net.neurons))
    engine.advance(150)
    digest = hashlib.sha256()
    for _, step, neuron in engine.recorded_spikes:
        digest.update(step.tobytes() + neuron.tobytes())
    return digest.hexdigest()


def columns(net: Network, table: np.ndarray) -> tuple[np.ndarray, ...]:
    """Region, population name and voxel of source and target of every synapse."""
    p = net.populations
    of = np.repeat(np.arange(len(p)), p["size"])
    q, t = of[table[:, 0]], of[table[:, 1]]
    region, name = p["region"].to_numpy(), p["name"].to_numpy()
    return region[q], region[t], name[q], name[t]


CASES = [
    EdgeRule(source=("Cortex_a",), target=("Cortex_b",)),
    EdgeRule(source=("Cortex_a",), reach="long_range"),
    EdgeRule(target=("Cortex_c",), reach="local"),
    EdgeRule(source_populations=("L5E",), target_populations=("L4",)),
    EdgeRule(source_populations=("inhibitory",), source=("Thalamus_L",)),
]


def selected(rule: EdgeRule, net: Network, table: np.ndarray) -> np.ndarray:
    """The definition of a rule, in words of the synapses themselves."""
    from_region, to_region, from_name, to_name = columns(net, table)
    chosen = np.ones(len(table), bool)
    for names, regions in ((rule.source, from_region), (rule.target, to_region)):
        if names:
            chosen &= np.isin(regions, names)
    for names, kinds in ((rule.source_populations, from_name), (rule.target_populations, to_name)):
        if names == ("inhibitory",):
            chosen &= np.array([str(k).endswith("I") for k in kinds])
        elif names:
            chosen &= np.array([any(str(k).startswith(n) for n in names) for k in kinds])
    if rule.reach == "local":
        chosen &= from_region == to_region
    if rule.reach == "long_range":
        chosen &= from_region != to_region
    return chosen


@pytest.mark.parametrize("k", range(len(CASES)))
def test_a_lesion_removes_what_it_selects_and_nothing_else(k: int) -> None:
    whole = synapses(network())
    hit = selected(CASES[k], network(), whole)
    assert 0 < hit.sum() < len(whole)
    np.testing.assert_array_equal(synapses(network(rules=(CASES[k],))), whole[~hit])


@pytest.mark.parametrize("k", range(len(CASES)))
def test_a_lesion_of_procedural_wiring_removes_the_same_synapses(k: int) -> None:
    """Walked from the targets' end by the oracle of :mod:`test_procedural`: no list is ever made."""
    whole = from_the_target(network().slot_map())
    hit = selected(CASES[k], network(), whole)
    left = from_the_target(network(rules=(CASES[k],)).slot_map())
    np.testing.assert_array_equal(left, whole[~hit])
    assert 0 < hit.sum() < len(whole)
    assert not np.array_equal(left, from_the_target(network(rules=(CASES[k - 1],)).slot_map()))


@pytest.mark.parametrize("gain", [0.5, 1.5])
def test_a_gain_scales_the_weights_it_selects(gain: float) -> None:
    net = network(rules=(EdgeRule(source=("Cortex_a",), reach="long_range", gain=gain),))
    whole = synapses(network())
    hit = selected(net.rules[0], net, whole)
    found = synapses(net)
    bits = net.wire().weight_bits
    assert bits == (8 if gain < 1 else 16)
    both = network().two_weights
    expected = whole.copy()
    for shift in (0, 8) if both else (0,):
        w = (whole[:, 2] >> shift) & 255
        w = np.where(hit, (w * int(gain * 256) + 128) >> 8, w)
        expected[:, 2] = w if shift == 0 else expected[:, 2] | (w << bits)
    np.testing.assert_array_equal(found, expected[np.lexsort(expected.T[::-1])])


def test_lesions_of_nothing_change_no_spike_and_a_real_one_does() -> None:
    plain = spikes(network())
    nothing = (
        EdgeRule(gain=1.0),
        EdgeRule(source=("Cortex_a",), target=("Cortex_b",), reach="local"),  # there is no such edge
        EdgeRule(source=("Thalamus_L",), source_populations=("L5E",)),  # the thalamus has no layers
    )
    assert spikes(network(rules=nothing)) == plain
    assert spikes(network(rules=lesion(["Cortex_a"]))) != plain


def test_a_lesioned_region_sends_and_receives_nothing() -> None:
    net = network(rules=lesion(["Cortex_b"]))
    from_region, to_region, *_ = columns(net, synapses(net))
    assert not ((from_region == "Cortex_b") | (to_region == "Cortex_b")).any()
    layer = network(rules=lesion(populations=["L5"]))
    _, _, from_name, to_name = columns(layer, synapses(layer))
    assert not any(str(n).startswith("L5") for n in [*from_name, *to_name])


def test_rules_multiply_in_any_order() -> None:
    rules = (EdgeRule(source=("Cortex_a",), gain=0.5), EdgeRule(source_populations=("L4E",), gain=0.5))
    one, two = network(rules=rules), network(rules=rules[::-1])
    np.testing.assert_array_equal(synapses(one), synapses(two))
    assert not np.array_equal(synapses(one), synapses(network(rules=rules[:1])))


def test_rules_are_part_of_the_specification() -> None:
    net = network(rules=[{"source": ["Cortex_a"], "gain": 0.25}])
    assert net.rules == (EdgeRule(source=("Cortex_a",), gain=0.25),)
    assert net.describe()["rules"][0]["gain"] == 0.25
    assert net.scaled(neurons=3200).rules == net.rules
    assert net.estimate().synapses == network().synapses
    assert EdgeRule(gain=0.3).gain == 77 / 256


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"source": ["Cortex_A"]}, "'Cortex_A' is not a region or voxel of this Brain; did you mean 'Cortex_a'"),
        ({"target_populations": ["L7"]}, "'L7' is not a population of this Network.*it has .*L5E"),
        ({"gain": -1}, "gain is -1, expected a number between 0 and 255"),
        ({"gain": float("nan")}, "gain is nan"),
        ({"reach": "locale"}, "reach is 'locale'; did you mean 'local'"),
        ({"sources": ["Cortex_a"]}, "unknown key 'sources'; did you mean 'source'"),
    ],
)
def test_impossible_rules_are_refused_in_one_sentence(rule: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        network(rules=[rule])


def test_a_lesion_of_no_one_is_refused() -> None:
    with pytest.raises(InputError, match="name at least one"):
        lesion()
