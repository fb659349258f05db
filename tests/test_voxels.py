"""A person's own voxels: checked, sorted by region, summed to regions and taken into the Brain as they are."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.sparse import csr_array

from twinbrain.brain import Brain
from twinbrain.data.subject import Subject
from twinbrain.data.voxels import VoxelData
from twinbrain.errors import InputError

REGION = ["b", "a", "b", "a", "c", "b"]
GM = np.array([8.0, 16.0, 24.0, 32.0, 40.0, 48.0])
INDEX = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [1, 1, 0], [2, 1, 1]])
AFFINE = np.array([[3.0, 0, 0, -9], [0, 3, 0, -9], [0, 0, 3, -9], [0, 0, 0, 1]])
MM = INDEX @ AFFINE[:3, :3].T + AFFINE[:3, 3]
W = np.array(
    [
        [0, 1, 0, 2, 0, 0],
        [1, 0, 3, 0, 0, 0],
        [0, 3, 0, 0, 5, 0],
        [2, 0, 0, 0, 0, 7],
        [0, 0, 4, 0, 0, 0],
        [0, 0, 0, 7, 0, 0],
    ],
    dtype=float,
)
BOLD = np.random.default_rng(2).normal(size=(30, 6)).astype(np.float32)
SV2A = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])


def voxels(**changes: Any) -> VoxelData:
    given: dict[str, Any] = {
        "region": REGION,
        "grey_matter": GM,
        "positions": MM,
        "bold": {"rest": BOLD},
        "repetition_time_s": 2.0,
        "synaptic_density": SV2A,
        "connectome": csr_array(W),
        "grid_affine": AFFINE,
        "grid_index": INDEX,
        "grid_shape": (3, 2, 2),
    }
    return VoxelData.from_arrays(**(given | changes))


def test_voxels_are_sorted_by_region_and_nothing_is_mixed_up() -> None:
    there = voxels()
    assert there.names == ("a:0000", "a:0001", "b:0000", "b:0001", "b:0002", "c:0000")
    assert there.order is not None
    back = np.argsort(there.order)
    np.testing.assert_array_equal(there.grey_matter.values[back], GM)
    np.testing.assert_array_equal(there.positions.values[back], MM)
    np.testing.assert_array_equal(there.bold["rest"].values[:, back], BOLD)
    assert there.bold["rest"].dtype == np.float32
    assert there.connectome is not None
    np.testing.assert_array_equal(there.connectome.toarray()[np.ix_(back, back)], W)
    assert not np.array_equal(there.connectome.toarray(), W)  # guard: the order matters
    assert [there.regions[r] for r in there.region[back]] == REGION


def test_the_order_of_regions_can_be_chosen_and_changed() -> None:
    turned = voxels(regions=["c", "b", "a"])
    again = voxels().with_regions(["c", "b", "a"])
    assert turned.names == again.names
    for name in ("grey_matter", "positions", "synaptic_density"):
        xr.testing.assert_identical(getattr(turned, name), getattr(again, name))
    xr.testing.assert_identical(turned.bold["rest"], again.bold["rest"])
    assert turned.connectome is not None
    assert again.connectome is not None
    np.testing.assert_array_equal(turned.connectome.toarray(), again.connectome.toarray())
    assert turned.grid_index is not None
    np.testing.assert_array_equal(turned.grid_index, again.grid_index)
    with pytest.raises(InputError, match="region 'c' is in only one"):
        voxels().with_regions(["a", "b", "d"])


def test_regions_are_sums_and_weighted_means_of_their_voxels() -> None:
    person = Subject.from_voxels(voxels(), connectome_units="streamlines", laminar=[True, True, False], name="v")
    assert person.regions == ("a", "b", "c")
    assert person.grey_matter.values.tolist() == [48.0, 80.0, 40.0]
    rows = {"a": [1, 3], "b": [0, 2, 5], "c": [4]}
    for k, name in enumerate("abc"):
        weight = GM[rows[name]] / GM[rows[name]].sum()
        np.testing.assert_allclose(person.bold["rest"].values[:, k], BOLD[:, rows[name]] @ weight, rtol=1e-12)
        assert person.synaptic_density is not None
        np.testing.assert_allclose(person.synaptic_density.values[k], SV2A[rows[name]] @ weight)
        for m, other in enumerate("abc"):
            expected = 0.0 if k == m else W[np.ix_(rows[name], rows[other])].sum()
            assert person.connectome.values[k, m] == expected
    assert "6 own voxels" in repr(person)
    assert person.repetition_time_s == 2.0


def test_a_brain_of_own_voxels_is_what_was_measured() -> None:
    there = voxels()
    brain = Brain.from_subject(Subject.from_voxels(there, laminar=[True, True, False]), level="voxel", reference=["b"])
    assert there.connectome is not None
    raw = there.connectome.toarray()
    np.testing.assert_allclose(brain.projection.toarray(), raw / raw.sum(1, keepdims=True))
    np.testing.assert_array_equal(brain.grey_matter, there.grey_matter.values)
    assert brain.laminar.tolist() == [True] * 5 + [False]
    assert there.order is not None
    mean = SV2A[[0, 2, 5]].mean()
    np.testing.assert_allclose(brain.in_degree_factor, np.clip(SV2A / mean, 0.7, 1.3)[there.order])
    whole = Brain.from_subject(Subject.from_voxels(there), level="voxel", reference="grey_matter")
    np.testing.assert_allclose(whole.in_degree_factor, np.clip(SV2A / (SV2A @ GM / GM.sum()), 0.7, 1.3)[there.order])
    image = np.asarray(brain.to_image(np.arange(1.0, 7.0)).dataobj)
    assert image[tuple(INDEX[there.order[2]])] == 3.0
    assert brain.observation.toarray()[1].sum() == pytest.approx(1.0)


def test_without_a_voxel_connectome_the_regional_one_is_spread() -> None:
    regional = np.array([[0.0, 3, 0], [1, 0, 1], [2, 2, 0]])
    person = Subject.from_voxels(voxels(connectome=None), connectome=regional)
    brain = Brain.from_subject(person, level="voxel", partners=400)
    member = np.eye(3)[brain.region_index]
    np.testing.assert_allclose(
        np.asarray(brain.observation @ (brain.projection @ member)),
        regional / regional.sum(1, keepdims=True),
        atol=3e-3,
    )
    with pytest.raises(InputError, match="the voxels carry no connectome"):
        Subject.from_voxels(voxels(connectome=None))
    with pytest.raises(InputError, match="within_region cannot be chosen"):
        Brain.from_subject(Subject.from_voxels(voxels()), level="voxel", within_region=0.2)


def test_every_voxel_can_be_a_node_of_its_own() -> None:
    person = Subject.from_voxels(voxels())
    brain = Brain.from_subject(person, level="voxel")
    nodes = brain.nodes()
    assert nodes.regions == nodes.voxels == brain.voxels
    assert nodes.observation.toarray().tolist() == np.eye(6).tolist()
    assert nodes.projection is brain.projection
    assert person.voxels is not None
    bold = person.voxels.node_bold("rest")
    assert bold.dims == ("time", "region")
    assert tuple(bold["region"].values) == nodes.regions
    with pytest.raises(InputError, match="no run 'rset'; did you mean 'rest'"):
        person.voxels.node_bold("rset")


def test_a_missing_volume_is_kept_and_a_hole_is_refused() -> None:
    gap = BOLD.copy()
    gap[7] = np.nan
    person = Subject.from_voxels(voxels(bold={"rest": gap}))
    assert np.flatnonzero(np.isnan(person.bold["rest"].values).all(axis=1)).tolist() == [7]
    assert np.isfinite(np.delete(person.bold["rest"].values, 7, axis=0)).all()
    gap[9, 2] = np.nan
    with pytest.raises(InputError, match=r"nan was found at volume 9, voxel 2 \(region 'b'\), but only a whole volume"):
        voxels(bold={"rest": gap})
    gap = BOLD.copy()
    gap[:15] = np.nan
    with pytest.raises(InputError, match="15 volumes were found that are not missing, but at least 20"):
        voxels(bold={"rest": gap})


def test_a_person_with_voxels_can_be_sent_to_another_process() -> None:
    person = Subject.from_voxels(voxels())
    back = pickle.loads(pickle.dumps(person))  # noqa: S301
    xr.testing.assert_identical(back.voxels.bold["rest"], person.voxels.bold["rest"])  # type: ignore[union-attr]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"region": []}, "voxels: none was given"),
    ({"regions": ["a", "b"]}, "voxel 4: 'c' is not one of the 2 regions"),
    ({"regions": ["a", "b", "c", "d"]}, "region 'd' holds no voxel"),
    ({"grey_matter": -GM}, r"voxel grey matter: -8 was found at voxel 0 \(region 'b'\), but a positive number \(mm3\)"),
    ({"grey_matter": GM[:5]}, "voxel grey matter: 5 values were found for 6 voxels"),
    ({"positions": MM.T}, r"an array of shape \(3, 6\) was found, but 6 x 3 finite coordinates"),
    ({"synaptic_density": SV2A * 0}, "voxel synaptic density: 0 was found at voxel 0"),
    ({"repetition_time_s": None}, "voxel bold 'rest': the repetition time is missing"),
    ({"repetition_time_s": 2000.0}, "if it is in milliseconds, divide by 1000"),
    ({"bold": {"rest": BOLD.T}}, r"shape \(6, 30\) was found, .* it looks transposed"),
    ({"bold": {"rest": BOLD[:12]}}, "12 volumes were found, but at least 20"),
    ({"bold": {"rest": BOLD * [1, 1, 0, 1, 1, 1]}}, r"voxel 2 \(region 'b'\) is constant"),
    ({"connectome": W[:5, :5]}, "the matrix is 5 x 5, but there are 6 voxels"),
    ({"connectome": -W}, r"voxel connectome: -1 was found at row 0, column 1 \(region 'b'\)"),
    ({"connectome": W * np.nan}, "strengths must be finite"),
    ({"connectome": W * 0}, "every entry off the diagonal is zero"),
    ({"grid_shape": None}, "give grid_affine, grid_index and grid_shape together"),
    ({"grid_shape": (2, 2, 2)}, r"voxel 2 lies at \[2, 0, 0\], outside the grid of \(2, 2, 2\)"),
    ({"grid_affine": AFFINE + np.eye(4)}, "positions and grid must be of the same space"),
    ({"grid_index": INDEX * 0}, "two voxels lie at the same place"),
    ({"kind": "point"}, "only 'voxel' and 'vertex' are possible"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[m[:40] for _, m in BAD])
def test_each_fault_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        voxels(**changes)
    assert "\n" not in str(caught.value)


def test_a_voxel_connected_to_itself_is_noted() -> None:
    with pytest.warns(UserWarning, match="6 voxels were connected to themselves"):
        there = voxels(connectome=W + np.eye(6))
    assert there.connectome is not None
    assert not there.connectome.diagonal().any()
