"""The linear system of regions."""

from __future__ import annotations

import numpy as np
import pytest

from twinbrain import Brain, InputError, Subject, load_sample
from twinbrain.assimilate.linear import propagate, region_projection


@pytest.fixture(scope="module")
def person() -> Subject:
    return load_sample("101309")


def test_region_level_is_the_normalised_connectome(person: Subject) -> None:
    counts = np.asarray(person.connectome.values, float)
    found = region_projection(Brain.from_subject(person))
    assert np.allclose(found, counts / counts.sum(axis=1, keepdims=True))
    assert not np.allclose(found, (counts / counts.sum(axis=1, keepdims=True)).T, atol=1e-3)


def test_voxel_level_gives_back_the_region_connectome(person: Subject) -> None:
    counts = np.asarray(person.connectome.values, float)
    brain = Brain.from_subject(person, "voxel", 6.0, partners=100)
    found = region_projection(brain)
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert np.allclose(found.sum(axis=1), 1.0)
    assert np.abs(found - shares).max() < 0.01  # each voxel's counts are off by less than 1 of 100
    assert np.corrcoef(found.ravel(), shares.ravel())[0, 1] > 0.999
    assert np.corrcoef(found.ravel(), shares.T.ravel())[0, 1] < 0.99


def test_voxels_are_weighted_by_grey_matter(person: Subject) -> None:
    brain = Brain.from_subject(person, "voxel", 8.0, partners=7)
    P = brain.projection.toarray()
    i, j = 3, 10
    rows = np.flatnonzero(brain.region_index == i)
    from_j = P[np.ix_(rows, brain.region_index == j)].sum(axis=1)
    grey = brain.grey_matter[rows]
    found = region_projection(brain)[i, j]
    assert found == pytest.approx((grey @ from_j) / grey.sum())


def test_empty_rows_stay_empty() -> None:
    with pytest.warns(UserWarning, match="receive no long-range"):
        brain = Brain.from_subject(Subject.from_arrays([[0, 0], [1, 0]], ["a", "b"]))
    assert region_projection(brain).tolist() == [[0.0, 0.0], [1.0, 0.0]]


def test_propagation_solves_the_linear_system() -> None:
    rng = np.random.default_rng(1)
    C = rng.random((6, 6)) * (1 - np.eye(6))
    C /= C.sum(axis=1, keepdims=True)
    inputs, k, x_in = [4, 1], 0.8, np.array([2.0, -1.0])
    x = np.zeros(6)
    for _ in range(400):  # iterate the definition
        x = k * C @ x
        x[inputs] = x_in
    rest = [0, 2, 3, 5]
    assert np.allclose(propagate(C, k, inputs) @ x_in, x[rest])
    assert not np.allclose(propagate(C, 0.7, inputs) @ x_in, x[rest], rtol=0.05)
    assert propagate(C, 0.0, inputs).max() == 0.0


def test_bad_propagation_is_refused() -> None:
    with pytest.raises(InputError, match="loop gain of 1"):
        propagate(np.eye(3), 1.0, [0])
    with pytest.raises(InputError, match="expected different ones from 0 to 2"):
        propagate(np.eye(3), 0.5, [0, 0])
    with pytest.raises(InputError, match="expected different ones from 0 to 2"):
        propagate(np.eye(3), 0.5, [3])
