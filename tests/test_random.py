"""Random numbers: published vectors, the same bits in kernel and oracle, distribution, no frozen or shared noise."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit
from scipy import stats

from twinbrain.kernels.random import (
    PURPOSE,
    below,
    derive_key,
    fill_normals,
    normals_numpy,
    philox4x32,
    philox_numpy,
    uniforms_numpy,
)

# Published known answers of Philox4x32-10 (Random123, Salmon et al. 2011): counter, key, output.
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(w, 16) for w in text.split()]


@njit
def call_philox(c, k):
    return philox4x32(c[0], c[1], c[2], c[3], k[0], k[1])


@njit
def call_fill(z, first, step, k):
    fill_normals(z, first, step, k[0], k[1], z.shape[0])


@njit
def call_below(n, a, b):
    return below(n, a, b)


@pytest.mark.parametrize(("counter", "key", "answer"), VECTORS)
def test_philox_gives_the_published_words(counter: str, key: str, answer: str) -> None:
    c, k = np.array(words(counter), np.uint32), words(key)
    assert philox_numpy(c, (k[0], k[1])).tolist() == words(answer)
    kernel = call_philox(np.array(words(counter), np.uint64), np.array(k, np.uint64))
    assert [int(w) for w in kernel] == words(answer)
    c[0] ^= 1
    assert philox_numpy(c, (k[0], k[1])).tolist() != words(answer)


def kernel_normals(first: int, n: int, step: int, key: tuple[int, int]) -> np.ndarray:
    z = np.empty(n, np.float32)
    call_fill(z, first, step, np.array(key, np.uint64))
    return z


@pytest.mark.parametrize(("first", "step"), [(0, 0), (1024, 7), (2**33, 2**31 + 5), (2**20, 2**40)])
def test_kernel_and_oracle_give_the_same_bits(first: int, step: int) -> None:
    key = derive_key(3, "noise", 2)
    z = kernel_normals(first, 1024, step, key)
    np.testing.assert_array_equal(z, normals_numpy(first + np.arange(1024), step, key))
    assert (z != normals_numpy(first + np.arange(1024), step + 1, key)).mean() > 0.99


def test_pairs_belong_to_ids_and_not_to_the_call() -> None:
    key = derive_key(1, "noise")
    whole = kernel_normals(0, 4096, 9, key)
    np.testing.assert_array_equal(whole[2048:3072], kernel_normals(2048, 1024, 9, key))
    np.testing.assert_array_equal(whole[[5, 4000]], normals_numpy(np.array([5, 4000]), 9, key))


def test_normals_are_normal() -> None:
    """Kolmogorov-Smirnov over 60 streams at a family-wise level of 2 %, and the moments of a large sample."""
    p = [
        stats.kstest(normals_numpy(np.arange(20000), step, derive_key(seed, "noise")), "norm").pvalue
        for seed in range(20)
        for step in (0, 1, 10**9)
    ]
    assert min(p) > 1 - 0.98 ** (1 / 60)
    z = normals_numpy(np.arange(2_000_000), 1, derive_key(1, "noise")).astype(np.float64)
    n = len(z)
    assert abs(z.mean()) < 4 / np.sqrt(n)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs(stats.skew(z)) < 4 * np.sqrt(6 / n)
    assert abs(stats.kurtosis(z)) < 4 * np.sqrt(24 / n)


def test_sixty_streams_at_a_family_wise_level() -> None:
    """60 streams of 10,000 neurons: moments, tails, neighbours, successive steps and other streams; 5 % for all."""
    n, streams = 10_000, 60
    ids = np.arange(n)
    z = np.stack([normals_numpy(ids, 17 * k, derive_key(k, "noise", k % 7)) for k in range(streams)]).astype(np.float64)
    later = np.stack([normals_numpy(ids, 17 * k + 1, derive_key(k, "noise", k % 7)) for k in range(streams)])
    root = np.sqrt(n)
    scores = {
        "mean": z.mean(axis=1) * root,
        "variance": (z**2).mean(axis=1) * root / np.sqrt(2) - root / np.sqrt(2),
        "skewness": (z**3).mean(axis=1) * root / np.sqrt(15),
        "kurtosis": ((z**4).mean(axis=1) - 3) * root / np.sqrt(96),
        "beyond 2": ((np.abs(z) > 2).mean(axis=1) - 0.0455003) * root / np.sqrt(0.0455003 * 0.9544997),
        "steps": (z * later).mean(axis=1) * root,
        "others": np.concatenate([(z[:k] * z[k]).mean(axis=1) * root for k in range(1, streams)]),
    }
    for lag in (1, 2, 16, 32, 128):
        scores[f"lag {lag}"] = (z[:, lag:] * z[:, :-lag]).mean(axis=1) * np.sqrt(n - lag)
    tests = sum(len(s) for s in scores.values())
    limit = stats.norm.isf(0.025 / tests)
    assert {name: float(np.abs(s).max()) for name, s in scores.items() if np.abs(s).max() > limit} == {}
    for name in ("mean", "steps", "lag 1", "others"):  # nor are they too even
        assert stats.kstest(scores[name], "norm").pvalue > 1e-3, name
    frozen = (z * z).mean(axis=1) * root  # the control: noise that does not change from step to step
    assert np.abs(frozen).min() > limit


@pytest.mark.slow
def test_tails_are_those_of_a_normal_distribution() -> None:
    z = np.concatenate([normals_numpy(np.arange(2**20), step, derive_key(8, "noise")) for step in range(12)])
    for bound in (3.0, 3.5, 4.0, 4.5):
        expected = len(z) * 2 * stats.norm.sf(bound)
        assert abs((np.abs(z) > bound).sum() - expected) < 4 * np.sqrt(expected) + 1
    assert 4.8 < np.abs(z).max() < 5.45  # 20 bits of radius end at 5.4


def test_neighbours_steps_members_and_purposes_are_uncorrelated() -> None:
    key = derive_key(1, "noise")
    ids = np.arange(200_000)
    z = normals_numpy(ids, 5, key).astype(np.float64)
    limit = 4 / np.sqrt(len(ids))
    for lag in (1, 2, 3, 4, 1024):
        assert abs(np.corrcoef(z[:-lag], z[lag:])[0, 1]) < limit
    others = [
        normals_numpy(ids, 6, key),
        normals_numpy(ids, 5, derive_key(1, "noise", 1)),
        normals_numpy(ids, 5, derive_key(1, "initial")),
        normals_numpy(ids, 5, derive_key(2, "noise")),
    ]
    for other in others:
        assert abs(np.corrcoef(z, other)[0, 1]) < limit
    assert np.corrcoef(z, normals_numpy(ids, 5, key))[0, 1] == pytest.approx(1.0)


def test_no_two_streams_share_numbers() -> None:
    """No equal 4-tuples among draws of different ids and purposes."""
    n = 100_000
    counter = np.stack([np.arange(n), *[np.zeros(n)] * 3], axis=-1).astype(np.uint32)
    drawn = [philox_numpy(counter, derive_key(1, purpose)) for purpose in PURPOSE]
    rows = np.concatenate(drawn).view([("", np.uint32)] * 4).ravel()
    assert len(np.unique(rows)) == len(rows)
    again = np.concatenate([rows, rows[:1]])
    assert len(np.unique(again)) == len(rows)


def test_uniforms_are_uniform_inside_the_open_interval() -> None:
    u = uniforms_numpy(np.arange(100_000), 3, derive_key(5, "gamma"))
    assert 0 < u.min() < u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3


def test_below_covers_its_range_evenly() -> None:
    w = philox_numpy(np.stack([np.arange(70_000)] + [np.zeros(70_000)] * 3, -1).astype(np.uint32), (1, 2)).astype(
        np.uint64
    )
    drawn = np.array([call_below(7, a, b) for a, b in w[:, :2]])
    assert drawn.min() == 0
    assert drawn.max() == 6
    assert stats.chisquare(np.bincount(drawn)).pvalue > 1e-3
