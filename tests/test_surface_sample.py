"""The person on the surface: real BOLD at 18,715 vertices, analysed and fitted node by node."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import twinbrain as tb
from twinbrain.analyse.connectivity import functional_connectivity
from twinbrain.data.surface_sample import SURFACE_LIMITS, load_surface_sample
from twinbrain.errors import InputError

EXTRA = Path(os.environ.get("TWINBRAIN_EXTRA_PACKAGES", "/nowhere"))


@pytest.fixture(scope="module")
def person() -> tb.Subject:
    folder = EXTRA if EXTRA.is_dir() else None
    try:
        return load_surface_sample(folder, repetition_time_s=1.4)
    except InputError as error:
        pytest.skip(str(error))


def make_surface_table() -> ModuleType:
    """The script behind docs/surface_person.md."""
    place = Path(__file__).parents[1] / "docs" / "make_surface_table.py"
    spec = importlib.util.spec_from_file_location("make_surface_table", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"needs the package 'brainspace', .*pip install --no-deps --target .* brainspace==0.3.0"
    ):
        load_surface_sample(tmp_path, repetition_time_s=1.4)


def test_the_vertices_are_those_of_the_recording(person: tb.Subject) -> None:
    there = person.voxels
    assert there is not None
    assert len(there) == 18_715
    assert there.kind == "vertex"
    assert len(person.regions) == 68
    assert person.bold["rest"].shape == (652, 68)
    assert there.bold["rest"].shape == (652, 18_715)
    assert there.bold["rest"].attrs["repetition_time_s"] == 1.4
    assert round(float(there.grey_matter.sum()) / 1000) == 213  # cm3
    np.testing.assert_allclose(np.quantile(there.grey_matter, [0.01, 0.5, 0.99]), [5.0, 10.9, 22.6], atol=0.06)
    left = np.array([n.startswith("L_") for n in there.names])
    assert left.sum() == 9_354
    assert (there.positions.values[left, 0] < 5).all()
    assert (there.positions.values[~left, 0] > -5).all()
    assert person.provenance["limits"] == SURFACE_LIMITS
    assert not bool(person.laminar.sel(region="L_entorhinal"))
    assert int(person.laminar.sum()) == 64


def test_structure_and_function_agree_as_they_do_in_people(person: tb.Subject) -> None:
    fc = np.asarray(functional_connectivity(person.bold["rest"]))
    above = np.triu_indices(68, 1)
    there = person.connectome.values[above] > 0
    r = np.corrcoef(np.log(person.connectome.values[above][there]), fc[above][there])[0, 1]
    assert 0.2 < r < 0.6
    shuffled = np.random.default_rng(1).permutation(68)
    turned = person.connectome.values[np.ix_(shuffled, shuffled)][above]
    control = np.corrcoef(np.log(turned[turned > 0]), fc[above][turned > 0])[0, 1]
    assert control < r - 0.1


def test_it_is_a_brain_of_one_node_per_vertex(person: tb.Subject) -> None:
    brain = tb.Brain.from_subject(person, level="voxel", partners=20)
    assert len(brain.voxels) == 18_715
    assert person.voxels is not None
    bold = person.voxels.node_bold("rest")
    assert tuple(bold["region"].values) == brain.nodes().regions == brain.voxels
    fc = np.asarray(functional_connectivity(bold[:, :200]))
    assert fc.shape == (200, 200)
    with pytest.raises(InputError, match="no voxels on a grid"):
        brain.to_image(np.zeros(18_715))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_calibrated_brain_follows_single_vertices(person: tb.Subject) -> None:
    """What the page does with 100 volumes, with 40."""
    found = make_surface_table().fitted(person, volumes=40, neurons=5, in_degree=50, repeats=1, every=1)
    assert found["fitted_vertices"] == 1495
    assert found["share_at_bounds"] < 0.05
    assert 3 < found["twin_rate_hz"] < 8
    scores = found["vertices_free_run"]
    assert scores["pcc_inputs"] > 0.4
    assert abs(scores["shifted_pcc_inputs"]) < 0.5 * scores["pcc_inputs"]
    assert abs(scores["pcc_others"]) < 0.5 * scores["pcc_inputs"], "the rest does not follow, as the page says"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_without_calibration_it_runs_away_and_is_refused(person: tb.Subject) -> None:
    brain = tb.Brain.from_subject(person, level="voxel", partners=20)
    assert person.voxels is not None
    inputs = [n for n in brain.voxels if n.startswith(("L_pericalcarine", "R_pericalcarine"))][::8]
    network = tb.Network(brain, 37_430, in_degree=20, circuit="canonical", seed=1, neurons_by="equal")
    bold = person.voxels.node_bold("rest")
    with pytest.raises(InputError, match=r"only 0 of 3 members are left \(finite, not silent, below 200 Hz\)"):
        tb.assimilate(
            network, bold, inputs, method="vw-dhmda", members=3, volumes=10, warm_up=1, lag=2, threads=1
        )  # fmt: skip
