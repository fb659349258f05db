"""Ways out: every writer reads back, an independent script repeats the spikes, and nothing is ever half written."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import sonata_runner
import twinbrain as tb
from small_study import REGIONS, small_study, write_person
from twinbrain.cli import main
from twinbrain.config import to_toml
from twinbrain.engine import Simulation
from twinbrain.errors import CorruptFile, InputError
from twinbrain.experiment import groups
from twinbrain.experiment.prepare import prepare
from twinbrain.export.bids import bids_label, write_relmat, write_timeseries
from twinbrain.export.folder import new_folder, verify_export
from twinbrain.export.images import label_image, to_cifti, to_gifti, to_nifti, to_parcels
from twinbrain.export.results import FORMATS, export
from twinbrain.export.sonata import edge_index, write_sonata, write_spikes
from twinbrain.export.tables import to_neo, write_connections, write_neo, write_netcdf, write_tables

libsonata = pytest.importorskip("libsonata")
few = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=12)
FLOATS = st.floats(width=64, allow_nan=True, allow_infinity=False)


# ---- what is exported ------------------------------------------------------------------------------------------------


@cache
def brain() -> tb.Brain:
    """Six voxels of three regions on a grid."""
    index = np.array([[1, 2, 3], [1, 2, 4], [0, 0, 0], [2, 2, 2], [4, 5, 6], [3, 3, 3]])
    affine = np.array([[4.0, 0, 0, -10], [0, 4, 0, -12], [0, 0, 4, -8], [0, 0, 0, 1]])
    there = tb.VoxelData.from_arrays(
        ["A_L", "A_L", "A_R", "A_R", "C", "C"],
        np.arange(1.0, 7.0),
        index @ affine[:3, :3].T + affine[:3, 3],
        grid_affine=affine,
        grid_index=index,
        grid_shape=(6, 7, 8),
    )
    person = tb.Subject.from_arrays(1 - np.eye(3), ["A_L", "A_R", "C"], laminar=[True] * 3, voxels=there)
    return tb.Brain.from_subject(person, level="voxel", partners=4)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder as the main job leaves it, without the time a fit takes."""
    place = tmp_path_factory.mktemp("export")
    study = small_study(write_person(place / "sub-01"))
    ready = prepare(study)
    record = tb.Record(spikes=list(range(0, 1000, 7)))
    run = tb.simulate(ready.twin, 16.0, repetition_time_s=0.8, warm_up_s=0.5, record=record, threads=1)
    drive = xr.DataArray(
        np.full((20, 2), 0.01), dims=("time", "input"), coords={"time": np.arange(20.0), "input": list(REGIONS[:2])}
    )
    fit = xr.Dataset({"drive": drive, "spread": drive / 10}, attrs={"repetition_time_s": 0.8})
    tb.save(
        place / "out",
        study=to_toml(study),
        provenance={"subject": {"person": "small", "run": "rest"}},
        scores={"fc_pcc": 0.25},
        recorded=groups.recorded_group(ready.bold, ready.bold, "small"),
        brain=groups.brain_group(ready.person, ready.twin),
        fit=fit,
        twin=run.to_dataset(),
    )
    return place / "out"


# ---- SONATA ----------------------------------------------------------------------------------------------------------


def quiet_network(circuit: str, parameters: str, neurons: int = 10_000) -> tb.Network:
    random = np.random.default_rng(1)
    names = [f"r{k:02d}" for k in range(20)]
    person = tb.Subject.from_arrays(random.gamma(0.5, 1, (20, 20)) * (1 - np.eye(20)), names)
    no_noise = tb.parameter_set(parameters).changed(background_std=0.0, background_mean=0.62)
    return tb.Network(
        tb.Brain.from_subject(person), neurons=neurons, in_degree=50, seed=3, circuit=circuit, parameters=no_noise
    )


@pytest.mark.parametrize(
    ("circuit", "parameters"), [("canonical", "asynchronous"), ("laminar", "asynchronous_laminar")]
)
def test_an_independent_script_gives_the_same_spikes(tmp_path: Path, circuit: str, parameters: str) -> None:
    network = quiet_network(circuit, parameters)
    write_sonata(network, tmp_path, seed=5)
    read = libsonata.CircuitConfig.from_file(str(tmp_path / "circuit_config.json"))
    assert read.node_population("brain").size == 10_000
    edges = read.edge_population("brain_to_brain")
    assert edges.size == network.synapses
    targets, sources = network.wire().target_major()
    assert np.array_equal(edges.target_nodes(edges.select_all()), targets)
    assert np.array_equal(edges.source_nodes(edges.select_all()), sources)
    ours = Simulation(network, seed=5)
    ours.record_spikes(np.arange(10_000))
    ours.advance(50)
    expected = sorted((int(s), int(i)) for _, step, ids in ours.recorded_spikes for s, i in zip(step, ids, strict=True))
    assert len(expected) > 10_000
    assert sorted(sonata_runner.run(tmp_path, 50)) == expected
    other = sorted(sonata_runner.run(tmp_path, 50, shift=1))
    assert other != expected
    assert other[:100] == expected[:100], "before any synapse has acted the control is the same"


def test_libsonata_reads_every_synapse(tmp_path: Path) -> None:
    network = quiet_network("laminar", "asynchronous_laminar", neurons=2000)
    write_sonata(network, tmp_path)
    circuit = libsonata.CircuitConfig.from_file(str(tmp_path / "circuit_config.json"))
    nodes, edges = circuit.node_population("brain"), circuit.edge_population("brain_to_brain")
    targets, sources = network.wire().target_major()
    every = edges.select_all()
    assert nodes.size == 2000
    assert edges.size == network.synapses
    assert np.array_equal(edges.target_nodes(every), targets)
    assert np.array_equal(edges.source_nodes(every), sources)
    degree = np.repeat(network.populations["in_degree"], network.populations["size"]).to_numpy()
    for neuron in (0, 7, 1999):
        arriving = edges.afferent_edges([neuron])
        assert arriving.flat_size == degree[neuron]
        assert (edges.target_nodes(arriving) == neuron).all()
        leaving = edges.efferent_edges([neuron])
        assert leaving.flat_size == (sources == neuron).sum()
        assert (edges.source_nodes(leaving) == neuron).all()
    regions = nodes.enumeration_values("region")
    codes = nodes.get_enumeration("region", nodes.select_all())
    expected = np.repeat(network.populations["region"], network.populations["size"]).tolist()
    assert [regions[k] for k in codes] == expected


@few
@given(ids=st.lists(st.integers(0, 9), max_size=60))
def test_edge_indices_find_every_edge_once(ids: list[int]) -> None:
    nodes, ranges = edge_index(np.array(ids, np.int64), 10)
    found = {}
    for node, (a, b) in enumerate(nodes):
        found[node] = [edge for start, stop in ranges[a:b] for edge in range(start, stop)]
    assert found == {node: [k for k, x in enumerate(ids) if x == node] for node in range(10)}


@few
@given(data=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 2**40)), max_size=50))
def test_spikes_read_back(tmp_path: Path, data: list[tuple[int, int]]) -> None:
    times, ids = np.array([t / 10 for t, _ in data]), np.array([i for _, i in data], np.int64)
    path = write_spikes(times, ids, tmp_path / "spikes.h5")
    order = np.lexsort((ids, times))
    with h5py.File(path) as file:
        assert np.array_equal(file["spikes/brain/node_ids"][:], ids[order])
        assert np.array_equal(file["spikes/brain/timestamps"][:], times[order])
    if data:
        report = libsonata.SpikeReader(str(path))["brain"]
        assert report.sorting == "by_time"
        assert report.get() == [(int(i), float(t)) for i, t in zip(ids[order], times[order], strict=True)]


def test_what_cannot_be_sonata_is_refused(tmp_path: Path) -> None:
    network = quiet_network("canonical", "asynchronous", neurons=400)
    with pytest.raises(InputError, match=r"has 20,000 synapses, and at most 100 are written; export fewer neurons"):
        write_sonata(network, tmp_path, max_synapses=100)
    with pytest.raises(InputError, match=r"currents has the shape \(3,\), expected \(400,\): one per neuron"):
        write_sonata(network, tmp_path, currents=np.zeros(3))
    with pytest.raises(InputError, match="spikes: time 1 is not finite"):
        write_spikes(np.array([1.0, np.nan]), np.array([1, 2]), tmp_path / "s.h5")
    with pytest.raises(InputError, match="spikes: neuron -2 was found, but ids count from 0"):
        write_spikes(np.array([1.0]), np.array([-2]), tmp_path / "s.h5")
    assert list(tmp_path.iterdir()) == []


# ---- images ----------------------------------------------------------------------------------------------------------


@few
@given(values=hnp.arrays(np.float32, (3, 6), elements=st.floats(-(2.0**90), 2.0**90, width=32)))
def test_images_read_back(tmp_path: Path, values: np.ndarray) -> None:
    there = brain()
    assert there.grid_index is not None
    nib.save(to_nifti(there, values, repetition_time_s=0.8), tmp_path / "a.nii.gz")
    image = nib.load(tmp_path / "a.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj)[tuple(there.grid_index.T)].T, values)
    assert image.header.get_zooms()[3] == pytest.approx(0.8)
    assert np.array_equal(image.affine, there.grid_affine)

    nib.save(to_cifti(there, values, seconds=0.8), tmp_path / "a.dtseries.nii")
    image = nib.load(tmp_path / "a.dtseries.nii")
    time, grey = (image.header.get_axis(k) for k in (0, 1))
    assert (time.size, time.step, time.unit) == (3, 0.8, "SECOND")
    place = {tuple(v): k for k, v in enumerate(there.grid_index.tolist())}
    order = [place[tuple(v)] for v in grey.voxel.tolist()]
    assert sorted(order) == list(range(6))
    assert np.array_equal(np.asarray(image.dataobj), values[:, order])
    assert grey.name[0] == "CIFTI_STRUCTURE_CORTEX_LEFT"

    nib.save(to_cifti(there, {"one": values[0], "two": values[1]}), tmp_path / "a.dscalar.nii")
    image = nib.load(tmp_path / "a.dscalar.nii")
    assert image.header.get_axis(0).name.tolist() == ["one", "two"]
    assert np.array_equal(np.asarray(image.dataobj), values[:2, order])

    nib.save(to_parcels(there.regions, values[:, :3], seconds=0.8, brain=there), tmp_path / "a.ptseries.nii")
    image = nib.load(tmp_path / "a.ptseries.nii")
    parcels = image.header.get_axis(1)
    assert parcels.name.tolist() == list(there.regions)
    assert np.array_equal(np.asarray(image.dataobj), values[:, :3])
    for region, voxels in enumerate(parcels.voxels):
        assert np.array_equal(voxels, there.grid_index[there.region_index == region])

    maps = to_gifti(there, values[0], "rate")
    for side, surface in maps.items():
        nib.save(surface, tmp_path / "a.shape.gii")
        again = nib.load(tmp_path / "a.shape.gii")
        assert np.array_equal(again.darrays[0].data, surface.darrays[0].data, equal_nan=True)
        assert again.meta["AnatomicalStructurePrimary"] == {"L": "CortexLeft", "R": "CortexRight"}[side]
        shown = again.darrays[0].data[np.isfinite(again.darrays[0].data)]
        assert np.isin(shown, values[0]).all()


def test_nilearn_takes_the_label_image() -> None:
    from nilearn.maskers import NiftiLabelsMasker

    there = brain()
    image, table = label_image(there)
    assert table.to_dict("list") == {"index": [1, 2, 3], "name": ["A_L", "A_R", "C"]}
    values = np.random.default_rng(2).normal(size=(25, 6)).astype(np.float32)
    masker = NiftiLabelsMasker(image, resampling_target=None, standardize=None)
    found = masker.fit_transform(to_nifti(there, values, repetition_time_s=0.8))
    plain = np.stack([values[:, there.region_index == k].mean(axis=1) for k in range(3)], axis=1)
    assert np.allclose(found, plain, atol=1e-5)
    assert not np.allclose(found, plain[:, ::-1], atol=1e-5)


def test_surface_maps_show_the_nearest_voxel() -> None:
    from twinbrain.export.images import _midpoints

    index = np.argwhere(np.ones((40, 48, 40), bool))
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -78, -110, -70
    place = index @ affine[:3, :3].T + affine[:3, 3]
    there = tb.VoxelData.from_arrays(
        ["A"] * len(index), np.ones(len(index)), place, grid_affine=affine, grid_index=index, grid_shape=(40, 48, 40)
    )
    person = tb.Subject.from_arrays([[0.0]], ["A"], laminar=[True], voxels=there)
    with pytest.warns(UserWarning, match="receive no long-range connection"):
        whole = tb.Brain.from_subject(person, level="voxel")
    maps = to_gifti(whole, place[:, 1], "y")  # the map is the coordinate, so what it should show is known
    for side, surface in maps.items():
        vertices = _midpoints(side)
        shown = surface.darrays[0].data
        assert len(shown) == 10_242
        assert np.isfinite(shown).mean() > 0.99
        assert np.nanmax(np.abs(shown - vertices[:, 1])) <= 4.1
        assert np.nanmax(np.abs(shown - vertices[:, 2])) > 20


# ---- tables and containers -------------------------------------------------------------------------------------------


@few
@given(data=st.data())
def test_bids_tables_read_back(tmp_path: Path, data: st.DataObject) -> None:
    names = data.draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    values = data.draw(hnp.arrays(np.float64, (4, len(names)), elements=FLOATS))
    path = tmp_path / "sub-01_timeseries.tsv"
    write_timeseries(path, values, names, sidecar={"RepetitionTime": 0.72, "Units": "1"})
    head, *lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    assert head.split("\t") == names
    read = np.array([[float(x.replace("n/a", "nan")) for x in line.split("\t")] for line in lines])
    assert np.array_equal(read, values, equal_nan=True)
    assert json.loads((tmp_path / "sub-01_timeseries.json").read_text())["RepetitionTime"] == 0.72

    square = data.draw(hnp.arrays(np.float64, (len(names), len(names)), elements=FLOATS))
    path = tmp_path / "sub-01_relmat.dense.tsv"
    write_relmat(path, square, names, sidecar={"Units": "count"})
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert rows[0] == ["Node", *names]
    assert [row[0] for row in rows[1:]] == names
    read = np.array([[float(x.replace("n/a", "nan")) for x in row[1:]] for row in rows[1:]])
    assert np.array_equal(read, square, equal_nan=True)
    about = json.loads((tmp_path / "sub-01_relmat.json").read_text())
    assert about["Directed"] == (not np.array_equal(square, square.T, equal_nan=True))


@few
@given(
    values=hnp.arrays(np.float64, (3, 2), elements=st.floats(width=64)),
    names=st.lists(NAMES, min_size=2, max_size=2, unique=True),
    flag=st.booleans(),
)
def test_netcdf_reads_back(tmp_path: Path, values: np.ndarray, names: list[str], flag: bool) -> None:
    group = xr.Dataset(
        {
            "bold": (("time", "region"), values, {"units": "1"}),
            "laminar": ("region", np.array([flag, True])),
            "size": ("region", np.array([-3, 2**40])),
        },
        coords={"region": names, "time": [0.8, 1.6, 2.4]},
        attrs={"asynchronous": flag, "note": None, "seed": np.int64(3)},
    )
    path = write_netcdf({"twin": group, "empty": xr.Dataset()}, tmp_path / "a.nc")
    with xr.open_dataset(path, group="twin", engine="h5netcdf") as again:
        assert again["bold"].values.tobytes() == values.tobytes()
        assert again["region"].values.tolist() == names
        assert again["laminar"].values.tolist() == [flag, True]
        assert again["laminar"].dtype == bool
        assert again["size"].values.tolist() == [-3, 2**40]
        assert again["bold"].attrs["units"] == "1"
        assert (json.loads(again.attrs["asynchronous"]), again.attrs["note"], again.attrs["seed"]) == (flag, "null", 3)
    path.unlink()


@few
@given(values=hnp.arrays(np.float64, (3, 2), elements=st.floats(width=64)))
def test_tables_read_back(tmp_path: Path, values: np.ndarray) -> None:
    group = xr.Dataset({"bold": (("time", "region"), values)}, {"time": [0.1, 0.2, 0.3], "region": ['a,"b"', "ä c"]})
    (path,) = write_tables({"twin": group}, tmp_path)
    table = pd.read_csv(path, index_col="time")
    assert list(table.columns) == ['a,"b"', "ä c"]
    assert np.array_equal(table.to_numpy(), values, equal_nan=True)
    assert table.index.tolist() == [0.1, 0.2, 0.3]


def test_neo_reads_back(tmp_path: Path, results: Path) -> None:
    pytest.importorskip("neo")
    from neo.io import NeoMatlabIO

    twin = tb.load(results).groups["twin"].load()
    path = write_neo(to_neo(twin), tmp_path / "twin.mat")
    segment = NeoMatlabIO(str(path)).read_block().segments[0]
    found = {t.annotations["neuron"]: t for t in segment.spiketrains}
    for neuron in np.unique(twin["spike_neuron"].values):
        own = np.flatnonzero(twin["spike_neuron"].values == neuron)
        assert found[neuron].magnitude.tolist() == twin["spike_time_ms"].values[own].tolist()
        assert found[neuron].annotations["region"] == twin["spike_region"].values[own[0]]
        assert str(found[neuron].units.dimensionality) == "ms"
    assert len(found) == len(np.unique(twin["spike_neuron"].values)) > 20
    bold = {signal.name: signal for signal in segment.analogsignals}["bold"]
    assert np.array_equal(bold.magnitude, twin["bold"].transpose("time", "region").values)
    assert float(bold.sampling_period) == pytest.approx(0.8)


def test_connections_rebuild_the_network(tmp_path: Path) -> None:
    network = quiet_network("canonical", "asynchronous", neurons=400)
    _, parameters, connections = write_connections(network, tmp_path)
    assert connections.read_text().startswith('# columns = ["i", "j", "weight", "delay", "weight_slow"]\n')
    table = np.loadtxt(connections)
    wiring = network.wire()
    assert np.array_equal(table[:, 1], wiring.targets)
    assert np.array_equal(np.rint(table[:, 2] * 255), wiring.weights & 255)
    assert np.array_equal(np.rint(table[:, 4] * 255), wiring.weights >> 8)
    assert np.array_equal(np.bincount(table[:, 0].astype(int), minlength=400), np.diff(wiring.pointer))
    assert json.loads(parameters.read_text())["neuron"]["background_mean"] == 0.62
    populations = pd.read_csv(tmp_path / "populations.csv")
    assert populations["size"].sum() == 400


# ---- from a results folder -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["bids", "sonata", "netcdf", "neo", "tables", "pynn"])
def test_the_command_exports(results: Path, to: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = results.with_name(f"{results.name}-{to}")
    assert main(["export", str(results), "--to", to]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert verify_export(out) >= 1
    assert main(["check", str(out)]) == 0
    assert "files are as they were exported" in capsys.readouterr().out
    assert not [path for path in results.parent.iterdir() if path.name.startswith(".")]
    assert main(["export", str(results), "--to", to]) == 1
    assert "holds something already" in capsys.readouterr().err


def test_bids_derivatives(results: Path, tmp_path: Path) -> None:
    out = export(results, "bids", tmp_path / "bids")
    twin = tb.load(results).groups["twin"]
    about = json.loads((out / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert about["GeneratedBy"] == [{"Name": "twinbrain", "Version": tb.__version__}]
    stem = out / "sub-small" / "func" / "sub-small_task-rest_seg-regions_desc-twin"
    series = pd.read_csv(f"{stem}_stat-mean_timeseries.tsv", sep="\t")
    assert np.array_equal(series.to_numpy(), twin["bold"].transpose("time", "region").values)
    assert list(series.columns) == list(REGIONS)
    sidecar = json.loads(Path(f"{stem}_stat-mean_timeseries.json").read_text())
    assert sidecar["RepetitionTime"] == 0.8
    r = pd.read_csv(f"{stem}_meas-pearsoncorrelation_relmat.dense.tsv", sep="\t", index_col="Node")
    assert np.allclose(r.to_numpy(), np.corrcoef(series.to_numpy().T))
    rate = pd.read_csv(f"{str(stem).replace('desc-twin', 'desc-rate')}_stat-mean_timeseries.tsv", sep="\t")
    weighted = (twin["firing_rate"] * twin["pop_size"]).groupby("pop_region").sum() / twin["pop_size"].groupby(
        "pop_region"
    ).sum()
    assert np.allclose(rate[REGIONS[2]], weighted.sel(pop_region=REGIONS[2]))
    counts = pd.read_csv(out / "sub-small/dwi/sub-small_seg-regions_desc-model_relmat.dense.tsv", sep="\t", index_col=0)
    assert np.array_equal(counts.to_numpy(), tb.load(results).groups["brain"]["connectome"].values)
    assert json.loads((out / "sub-small/sub-small_desc-scores.json").read_text())["fc_pcc"] == 0.25


def test_sonata_of_the_twin_and_of_a_smaller_one(results: Path, tmp_path: Path) -> None:
    out = export(results, "sonata", tmp_path / "twin")
    report = libsonata.SpikeReader(str(out / "spikes.h5"))["brain"]
    twin = tb.load(results).groups["twin"]
    assert len(report.get()) == twin.sizes["spike"] > 100
    small = export(results, "sonata", tmp_path / "small", neurons=500)
    assert not (small / "spikes.h5").exists()
    assert libsonata.CircuitConfig.from_file(str(small / "circuit_config.json")).node_population("brain").size == 500


@pytest.mark.parametrize("to", ["nifti", "cifti", "gifti"])
def test_a_person_without_an_image_cannot_be_drawn(results: Path, tmp_path: Path, to: str) -> None:
    with pytest.raises(InputError, match="'small' has no label image and no voxels, so regions cannot be drawn"):
        export(results, to, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused(results: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no format 'bid'; did you mean 'bids'\?; possible are bids, nifti"):
        export(results, "bid", tmp_path / "out")
    with pytest.raises(InputError, match="a number of neurons is for 'sonata' and 'pynn'; leave it out for 'bids'"):
        export(results, "bids", tmp_path / "out", neurons=5)
    tb.save(tmp_path / "unfinished", fit=xr.Dataset({"drive": ("time", [1.0])}), status=None)
    with pytest.raises(InputError, match="the study is not finished"):
        export(tmp_path / "unfinished", "bids", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["unfinished"]
    assert sorted(FORMATS) == ["bids", "cifti", "gifti", "neo", "netcdf", "nifti", "pynn", "sonata", "tables"]


@pytest.mark.parametrize(("text", "label"), [("sub-01", "01"), ("Ann-Marie 2", "AnnMarie2")])
def test_labels(text: str, label: str) -> None:
    assert bids_label(text) == label
    with pytest.raises(InputError, match="holds no letter or digit"):
        bids_label("sub-__")


# ---- safety ----------------------------------------------------------------------------------------------------------


def flip(path: Path, at: int, bit: int) -> bytes:
    content = path.read_bytes()
    path.write_bytes(content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
    return content


@pytest.mark.parametrize("to", ["bids", "netcdf"])
def test_every_flipped_byte_and_every_truncation_is_found(results: Path, tmp_path: Path, to: str) -> None:
    out = export(results, to, tmp_path / "out")
    count = verify_export(out)
    files = sorted(path for path in out.rglob("*") if path.is_file())
    random = np.random.default_rng(4)
    for trial in range(350):
        path = files[int(random.integers(len(files)))]
        whole = path.read_bytes()
        at = int(random.integers(len(whole)))
        if trial < 250:
            flip(path, at, int(random.integers(8)))
        else:
            path.write_bytes(whole[:at])
        with pytest.raises((CorruptFile, InputError)) as said:
            verify_export(out)
        assert str(out) in str(said.value)
        path.write_bytes(whole)
    assert verify_export(out) == count
    (out / "extra.txt").write_text("added")
    with pytest.raises(CorruptFile, match=r"extra\.txt: is not listed in checksums\.sha256"):
        verify_export(out)


def test_the_checksums_are_those_of_sha256sum(results: Path, tmp_path: Path) -> None:
    out = export(results, "bids", tmp_path / "out")
    done = subprocess.run(["sha256sum", "-c", "--quiet", "checksums.sha256"], cwd=out, capture_output=True, check=False)
    assert done.returncode == 0


def test_of_two_exports_to_one_place_the_second_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="out: holds something already"), new_folder(tmp_path / "out") as first:  # noqa: PT012
        (first / "a.txt").write_text("first")
        with new_folder(tmp_path / "out") as second:
            (second / "a.txt").write_text("second")
    assert (tmp_path / "out" / "a.txt").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_impossible_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place, message in (
        ("file", "is there already and no folder"),
        ("file/out", "'.*file' is a file, expected a folder"),
        ("no/such/out", "the folder '.*no/such' does not exist; make it first"),
        ("link", "is there already and no folder"),
    ):
        with pytest.raises(InputError, match=message), new_folder(tmp_path / place):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


SLOW = [pytest.param(to, marks=pytest.mark.slow) for to in ("netcdf", "neo", "tables", "pynn")]


@pytest.mark.parametrize("to", ["bids", "sonata", *SLOW])
def test_a_full_disk_leaves_nothing(results: Path, tmp_path: Path, to: str) -> None:
    code = (
        "import resource, signal, sys\nfrom twinbrain.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))\n"
        f"sys.exit(main(['export', {str(results)!r}, '--to', {to!r}, '--out', {str(tmp_path / 'out')!r}]))"
    )
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{tmp_path / 'out'}: cannot be written (" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
