"""Damaged files of every format: a clear sentence or a legal value, in time, and without asking for much memory."""

from __future__ import annotations

import os
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import files
from twinbrain.data.cifti import read_dlabel
from twinbrain.data.connectome_files import read_connectome
from twinbrain.data.containers import read_sparse
from twinbrain.data.events import read_behaviour, read_events
from twinbrain.data.images import load_volume
from twinbrain.data.pet import read_pet_table
from twinbrain.data.preparation import read_confounds
from twinbrain.data.read import read_subject, write_subject
from twinbrain.data.safety import read_json
from twinbrain.data.series_files import read_series_file
from twinbrain.data.subject import Subject
from twinbrain.data.surfaces import read_surface_labels, read_surface_map, read_surface_mesh, read_surface_series
from twinbrain.data.tables import read_labels
from twinbrain.data.tractogram import read_ends
from twinbrain.data.voxel_files import read_voxel_list
from twinbrain.errors import InputError

SECONDS = 5.0
SLACK = 8 << 20  # bytes: what imports, regular expressions and messages take


def _person(path: Path) -> object:
    return read_subject(path)


def _volume(path: Path) -> object:
    return load_volume(path, dimensions=(3, 4)).numbers()


def _label_image(path: Path) -> object:
    return load_volume(path).labels()


def _connectome(path: Path) -> object:
    return Subject.from_arrays(read_connectome(path, files.REGIONS, weighting=None).matrix)


def _weighted(path: Path) -> object:
    return Subject.from_arrays(read_connectome(path, files.REGIONS, weighting="count").matrix)


def _series(path: Path) -> object:
    return read_series_file(path, files.REGIONS, repetition_time_s=files.TR)


def _own_series(path: Path) -> object:
    return read_series_file(path)


def _plain(part: str) -> files.Writer:
    def write(path: Path) -> Path:
        person = Subject.from_arrays(
            files.connectome(),
            files.REGIONS,
            {"rest": files.series()},
            repetition_time_s=0.72,
            grey_matter=[1.0] * files.N,
        )
        folder = write_subject(person, path.with_suffix(""))
        return folder / part

    return write


def _of_folder(path: Path) -> object:
    return read_subject(path.parent)


def _voxel_list_file(path: Path) -> Path:
    path.write_text("x\ty\tz\tregion\n" + "\n".join(f"{k}\t0\t{-k}\tInsula_L" for k in range(20)) + "\n")
    return path


def _json(path: Path) -> Path:
    path.write_text('{"RepetitionTime": 0.72, "TaskName": "rest", "SliceTiming": [0, 0.1, 0.2]}')
    return path


#: name of the file, how it is written, how it is read
FORMATS: list[tuple[str, files.Writer, Callable[[Path], object]]] = [
    ("plain.a", _plain("connectome.csv"), _of_folder),
    ("plain.b", _plain("bold_rest.csv"), _of_folder),
    ("plain.c", _plain("subject.toml"), _of_folder),
    ("labelled.csv", files.labelled_csv, _connectome),
    ("mrtrix.csv", files.mrtrix_csv, _connectome),
    ("a_relmat.dense.tsv", files.relmat, _connectome),
    ("sc.npz", files.npz, _connectome),
    ("sc.npy", files.npy, _connectome),
    ("v5.mat", files.mat5, _weighted),
    ("v73.mat", files.mat73, _connectome),
    ("q.h5", files.hdf5, _weighted),
    ("sparse.npz", files.sparse_npz, read_sparse),
    ("connectivity.zip", files.tvb, _person),
    ("packed.zip", lambda path: files.tvb(path, packed=True), _person),
    ("x_timeseries.tsv", files.series_tsv, _own_series),
    ("x.csv", files.series_csv, _series),
    ("tc.npz", files.series_npz, _own_series),
    ("tc.mat", files.series_mat, _series),
    ("a.ptseries.nii", files.ptseries, _own_series),
    ("x.dlabel.nii", files.dlabel, read_dlabel),
    ("labels.tsv", files.labels_tsv, read_labels),
    ("pet.tsv", files.pet_tsv, lambda path: read_pet_table(path, files.REGIONS)),
    ("x_events.tsv", files.events_tsv, read_events),
    ("beh.tsv", files.events_tsv, read_behaviour),
    ("c_timeseries.tsv", files.confounds_tsv, read_confounds),
    ("voxels.tsv", _voxel_list_file, read_voxel_list),
    ("side.json", _json, read_json),
    ("v.nii", files.nifti, _volume),
    ("v.nii.gz", files.nifti, _volume),
    ("l.nii.gz", files.label_nifti, _label_image),
    ("b.nii.gz", files.bold_nifti, _volume),
    ("v.mgz", files.mgz, read_surface_series),
    ("v.mgh", files.mgz, read_surface_series),
    ("v.func.gii", files.func_gii, read_surface_series),
    ("v.surf.gii", files.surf_gii, read_surface_mesh),
    ("v.label.gii", files.label_gii, read_surface_labels),
    ("lh.annot", files.annot, read_surface_labels),
    ("lh.thickness", files.thickness, read_surface_map),
    ("lh.pial", files.pial, read_surface_mesh),
    ("a.trk", files.trk, read_ends),
    ("a.tck", files.tck, read_ends),
    ("a.trx", files.trx, read_ends),
]


@dataclass
class Tally:
    """How often what happened."""

    refused: int = 0
    read: int = 0
    slowest_s: float = 0.0
    most_bytes: int = 0


def damaged(content: bytes, flips: int, cuts: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Flip random bytes one at a time (half of them among the first 512, where headers are), and cut at random "
    "places."""
    random = np.random.default_rng(seed)
    for k in range(flips):
        reach = min(len(content), 512) if k % 2 else len(content)
        place, value = int(random.integers(reach)), int(random.integers(1, 256))
        flipped = bytearray(content)
        flipped[place] ^= value
        yield f"byte {place} ^ {value}", bytes(flipped)
    for _ in range(cuts):
        length = int(random.integers(len(content)))
        yield f"first {length} bytes", content[:length]


def measured(read: Callable[[Path], object], path: Path) -> tuple[bool, float, int]:
    """Read once: was it read, how long did it take, how much memory was asked for at most?"""
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    start = time.perf_counter()
    said = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except InputError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 1500
    return not said, time.perf_counter() - start, tracemalloc.get_traced_memory()[1] - before


def attack(
    folder: Path, name: str, write: files.Writer, read: Callable[[Path], object], flips: int, cuts: int
) -> Tally:
    path = write(folder / name)
    content = path.read_bytes()
    read(path)  # imports what is needed
    tracemalloc.start()
    try:
        good, _, whole = measured(read, path)
        assert good
        tally = Tally()
        for what, bad in damaged(content, flips, cuts, seed=sum(name.encode())):
            path.write_bytes(bad)
            try:
                good, seconds, peak = measured(read, path)
            except Exception as error:
                raise AssertionError(f"{name}, {what}: {type(error).__name__}: {error}") from error
            assert seconds < SECONDS, f"{name}, {what}: {seconds:.1f} s"
            assert peak < 2 * whole + SLACK, f"{name}, {what}: {peak} bytes, {whole} when whole"
            tally.read += good
            tally.refused += not good
            tally.slowest_s = max(tally.slowest_s, seconds)
            tally.most_bytes = max(tally.most_bytes, peak)
    finally:
        tracemalloc.stop()
    assert tally.refused > 0, f"{name}: no damage was noticed"
    return tally


# nibabel leaves files open when a header is damaged; the collector closes them
LEAKS = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@LEAKS
@pytest.mark.parametrize(("name", "write", "read"), FORMATS, ids=[f[0] for f in FORMATS])
def test_damage_is_survived(tmp_path: Path, name: str, write: files.Writer, read: Callable[[Path], object]) -> None:
    attack(tmp_path, name, write, read, flips=20, cuts=20)


@LEAKS
@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(("name", "write", "read"), FORMATS, ids=[f[0] for f in FORMATS])
def test_much_damage_is_survived(
    tmp_path: Path, name: str, write: files.Writer, read: Callable[[Path], object], record_property: Callable[..., None]
) -> None:
    tally = attack(tmp_path, name, write, read, flips=500, cuts=200)
    record_property("tally", repr(tally))
    if os.environ.get("TWINBRAIN_FUZZ_LOG"):
        with Path(os.environ["TWINBRAIN_FUZZ_LOG"]).open("a") as file:
            file.write(f"{name}: {tally}\n")
