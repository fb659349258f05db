"""Results: bit for bit what was saved, or a sentence that names the damage."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from twinbrain import store
from twinbrain.errors import CorruptFile, InputError
from twinbrain.store import Checkpoint, load, save


def odd_numbers() -> np.ndarray:
    payload = np.array([0x7FF80000DEADBEEF], dtype=np.uint64).view(np.float64)[0]
    return np.array([[-0.0, 0.0, np.nan], [payload, np.inf, 5e-324]])


def with_value(value: float) -> np.ndarray:
    array = odd_numbers()
    array[0, 1] = value
    return array


def sample(value: float = 1.0) -> xr.Dataset:
    return xr.Dataset(
        {
            "drive": (("time", "region"), with_value(value), {"units": "s", "note": "Größe"}),
            "none": (("spike",), np.zeros(0, np.int64)),
            "single": ((), np.float32(-0.0)),
            "zeros": (("time",), -np.zeros(2)),
            "cortex": (("region",), np.array([True, False, True])),
            "counts": (("region",), np.array([0, 255, 7], np.uint8)),
            "wave": (("region",), np.array([1j, -0.0, np.nan])),
        },
        coords={
            "time": ("time", [0.0, 0.72], {"units": "s"}),
            "region": ["Thalamus_L", "é∑", ""],
            "pop_name": ("region", np.array(["E", "L2/3E", "I"])),
        },
        attrs={"neurons": np.int64(94_000), "parts": (1, 2), "rate": np.float32(0.5)},
    )


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def assert_same(a: xr.Dataset, b: xr.Dataset) -> None:
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        one, other = a.variables[name], b.variables[name]
        assert one.dims == other.dims
        assert one.shape == other.shape
        if one.dtype.kind in "UT":
            assert one.values.tolist() == other.values.tolist()
        else:
            assert one.dtype == other.dtype
            assert bits(one.values) == bits(other.values), name


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    out = save(tmp_path / "out", fit=sample(), twin=sample(2.0))
    result = load(out)
    assert_same(result.groups["fit"], sample())
    assert result.groups["fit"].attrs == {"neurons": 94_000, "parts": [1, 2], "rate": 0.5}
    assert result.groups["fit"].drive.attrs == {"units": "s", "note": "Größe"}
    assert set(result.groups["fit"].coords) == {"time", "region", "pop_name"}
    assert sorted(result.groups) == ["fit", "twin"]
    assert result.status == "complete"
    with pytest.raises(AssertionError, match="drive"):
        assert_same(result.groups["twin"].isel(time=slice(None)), sample())
    with pytest.raises(KeyError, match="did you mean 'twin'"):
        result.groups["twinn"]
    assert "twinn" not in result.groups


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    array=hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.float16, np.int64, np.uint8, np.bool_, np.complex128]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    names=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6), max_size=4),
)
def test_any_array_comes_back(tmp_path: Path, array: np.ndarray, names: list[str]) -> None:
    dims = tuple(f"d{k}" for k in range(array.ndim))
    data = xr.Dataset({"x": (dims, array), "names": (("n",), np.array(names, dtype=str))})
    assert_same(load(save(tmp_path / "out", thing=data)).groups["thing"], data)


class Score:
    """What a comparison looks like to the store."""

    table = pd.DataFrame({"pcc": [0.1 + 0.2, np.nan], "name": ["NA", "x"]}, index=pd.Index(["a", "é"], name="region"))

    provenance = {"seed": np.int64(4)}

    def to_dict(self) -> dict[str, object]:
        return {
            "fc_pcc": np.float64(0.4),
            "lag": np.int64(0),
            "none": float("nan"),
            "baselines": {"copy": (1, 2)},
        }


def test_scores_tables_study_and_provenance(tmp_path: Path) -> None:
    plain = pd.DataFrame({"n": [1, 2]})
    out = save(
        tmp_path / "out",
        score=Score(),
        scores={"wall_s": 1.5},
        tables={"plain": plain},
        study="[twin]\n",
        provenance={"a": 1},
    )
    result = load(out)
    assert result.scores == {
        "fc_pcc": 0.4,
        "lag": 0,
        "none": None,
        "baselines": {"copy": [1, 2]},
        "wall_s": 1.5,
    }
    pd.testing.assert_frame_equal(result.tables["score"], Score.table, check_exact=True)
    pd.testing.assert_frame_equal(result.tables["plain"], plain)
    assert result.study == "[twin]\n"
    assert result.provenance == {"a": 1}
    assert load(save(out, score=Score(), fit=sample())).provenance["objects"] == {"score": {"seed": 4}}
    again = load(save(out, fit=sample()))
    assert again.study == "[twin]\n", "the study stays with its folder"
    assert sorted(again.tables) == []
    assert not (out / "tables").exists()
    assert {"libraries", "machine", "created"} <= set(again.provenance)


def test_provenance_names_versions_seeds_and_inputs() -> None:
    made = store.provenance(seeds={"twin": 2}, inputs={"sc.mat": "ab"}, command="demo")
    assert made["libraries"]["numpy"] == np.__version__
    assert (made["seeds"], made["inputs"], made["command"]) == ({"twin": 2}, {"sc.mat": "ab"}, "demo")


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (
            xr.Dataset({"x": ("k", np.array([1, "a", None], dtype=object))}),
            "array 'x' of 'thing' is of type object",
        ),
        (
            xr.Dataset({"x": ("k", np.array(["2020"], "datetime64[ns]"))}),
            "array 'x' of 'thing' is of type datetime64",
        ),
        (xr.Dataset(attrs={"x": object()}), "a object cannot be stored"),
        (42, "'thing' is a int, expected a Dataset, a DataFrame or a result"),
    ],
)
def test_what_only_pickle_could_hold_is_refused(tmp_path: Path, thing: object, message: str) -> None:
    out = tmp_path / "out"
    save(out, fit=sample())
    with pytest.raises(InputError) as caught:
        save(out, thing=thing)
    assert message in str(caught.value)
    assert_same(load(out).groups["fit"], sample())
    assert not list(out.glob(".writing*"))


def files_of(out: Path) -> list[Path]:
    return sorted(path for path in out.rglob("*") if path.is_file())


def damage_and_load(out: Path, path: Path, content: bytes) -> None:
    """Replace the content of one file; loading must name it; then restore it."""
    original = path.read_bytes()
    path.write_bytes(content)
    try:
        with pytest.raises(CorruptFile) as caught:
            load(out)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        parts = path.relative_to(out).parts
        if parts[0] == "results.zarr" and len(parts) > 3:
            assert f"array '{parts[2]}' of group '{parts[1]}'" in str(caught.value)
    finally:
        path.write_bytes(original)


def flip_bytes(tmp_path: Path, times: int) -> None:
    out = save(
        tmp_path / "out",
        fit=sample(),
        scores={"fc_pcc": 0.4},
        tables={"t": pd.DataFrame({"n": [1]})},
        study="\n",
    )
    load(out)
    random = np.random.default_rng(5)
    paths = [path for path in files_of(out) if path.stat().st_size]
    for _ in range(times):
        path = paths[random.integers(len(paths))]
        content = bytearray(path.read_bytes())
        at = random.integers(len(content))
        content[at] ^= int(random.integers(1, 256))
        if path.name == "status" and content.strip() == b"complete":
            continue  # another kind of white space at the end
        damage_and_load(out, path, bytes(content))


def test_a_flipped_byte_is_named(tmp_path: Path) -> None:
    flip_bytes(tmp_path, 25)


@pytest.mark.slow
def test_any_flipped_byte_is_named(tmp_path: Path) -> None:
    flip_bytes(tmp_path, 500)


def test_truncated_swapped_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    out = save(tmp_path / "out", fit=sample(), twin=sample(2.0))
    for path in files_of(out)[::4]:
        content = path.read_bytes()
        for length in (0, len(content) // 2, len(content) - 1):
            if content[:length].strip() != content.strip():
                damage_and_load(out, path, content[:length])
    one, other = out / "results.zarr/fit/drive/c/0/0", out / "results.zarr/twin/drive/c/0/0"
    damage_and_load(out, one, other.read_bytes())
    one.unlink()
    with pytest.raises(CorruptFile, match=r"fit/drive/c/0/0 \(array 'drive' of group 'fit'\): is missing"):
        load(out)
    assert load(out, verify=False).status == "complete"
    shutil.copy(other, one)
    with pytest.raises(CorruptFile, match="is damaged"):
        load(out)


def test_a_file_that_was_put_in_is_named(tmp_path: Path) -> None:
    out = save(tmp_path / "out", fit=sample())
    (out / "results.zarr" / "fit" / "drive" / "c" / "9").write_text("x")
    with pytest.raises(CorruptFile, match="was not written with these results"):
        load(out)


def test_a_newer_format_and_a_missing_manifest_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from twinbrain.store import results

    monkeypatch.setattr(results, "FORMAT", 2)
    out = save(tmp_path / "out", fit=sample())
    monkeypatch.undo()
    with pytest.raises(InputError, match="has format 2, expected at most 1; use a newer twinbrain"):
        load(out)
    (out / "checksums.json").unlink()
    with pytest.raises(CorruptFile, match=r"checksums\.json: is missing"):
        load(out)


# ---- places ----------------------------------------------------------------------------------------------


def test_places_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(InputError, match=f"^{file}/sub/out: '{file}' is a file, expected a folder"):
        save(file / "sub" / "out", fit=sample())
    other = tmp_path / "other"
    other.mkdir()
    (other / "holiday.jpg").write_text("x")
    with pytest.raises(InputError, match=r"holds something else \(such as 'holiday\.jpg'\)"):
        save(other, fit=sample())
    assert [path.name for path in other.iterdir()] == ["holiday.jpg"]
    with pytest.raises(InputError, match="there is no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a file; expected a folder with results"):
        load(file)


def test_a_study_beside_own_figures_is_no_results_folder(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text("")
    (tmp_path / "figures").mkdir()
    with pytest.raises(InputError, match="holds something else"):
        save(tmp_path, fit=sample())
    assert (tmp_path / "figures").exists()


def test_clearing_removes_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    out = save(tmp_path / "out", fit=sample(), study="")
    (out / "notes.txt").write_text("mine")
    store.clear_results(out)
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_a_read_only_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # an administrator may write everywhere, so the answer of the system is given by hand
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match=r"out: is read-only; choose an output folder that can be written"):
        save(tmp_path / "out", fit=sample())


def test_a_full_disk_is_named_and_the_former_results_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = save(tmp_path / "out", fit=sample())
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(InputError, match=r"out.*: cannot be written \(No space left on device\)"):
        save(out, fit=sample(2.0))
    monkeypatch.undo()
    assert_same(load(out).groups["fit"], sample())


def full_disk(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_the_status_tells_how_far_the_work_is(tmp_path: Path) -> None:
    assert store.read_status(tmp_path) == ""
    store.write_status(tmp_path, "running twin")
    with pytest.raises(InputError, match=r"holds no results yet \(status: running twin\); 'twinbrain resume"):
        load(tmp_path)
    save(tmp_path, fit=sample(), status=None)
    assert load(tmp_path).status == "running twin"
    (tmp_path / "status").write_text("rvnning twin")
    with pytest.raises(CorruptFile, match="status: holds 'rvnning twin'"):
        load(tmp_path)
    with pytest.raises(ValueError, match="does not begin with"):
        store.write_status(tmp_path, "done")


def test_two_processes_cannot_write_into_one_folder(tmp_path: Path) -> None:
    code = "import sys, time\nfrom twinbrain.store import locked\nwith locked(sys.argv[1]):\n"
    code += " print('held', flush=True)\n time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {other.pid} on .* is writing here; wait for it"):
            save(tmp_path, fit=sample())
    finally:
        other.kill()
        other.wait()
        if other.stdout:
            other.stdout.close()
    save(tmp_path, fit=sample())  # the lock of a dead process is taken over
    assert not (tmp_path / ".lock").exists()
    with store.locked(tmp_path), store.locked(tmp_path):
        assert (tmp_path / ".lock").exists()
    assert not (tmp_path / ".lock").exists()


# ---- killed at any moment --------------------------------------------------------------------------------

WRITER = """
import sys
import numpy as np, xarray as xr
from twinbrain.store import save
print("ready", flush=True)
for k in range(1, 1000):
    data = xr.Dataset({"a": (("x",), np.full(1000, float(k))), "b": (("x",), np.full(1000, float(k)))})
    save(sys.argv[1], fit=data, scores={"k": k})
    print(k, flush=True)
"""


def kill_while_writing(folder: Path, times: int) -> None:
    random = np.random.default_rng(1)
    for _ in range(times):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            assert writer.stdout.readline() == "1\n"
            time.sleep(random.uniform(0, 0.3))
            writer.send_signal(signal.SIGKILL)
            told = [1, *map(int, writer.stdout.read().split())][-1]
        result = load(folder)
        k = result.scores["k"]
        assert k in (told, told + 1), "the results are the last ones reported or the next ones"
        assert np.all(result.groups["fit"].a == k)
        assert np.all(result.groups["fit"].b == k)
        assert result.status == "complete"


def test_a_killed_writer_leaves_the_former_or_the_new_results(tmp_path: Path) -> None:
    kill_while_writing(tmp_path / "out", 3)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_writer_killed_at_any_moment_leaves_whole_results(tmp_path: Path) -> None:
    kill_while_writing(tmp_path / "out", 200)


def test_a_move_that_was_cut_short_is_finished_by_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = save(tmp_path / "out", fit=sample(), tables={"t": pd.DataFrame({"n": [1]})})
    real, moves = os.replace, [0]

    def cut(stop: int) -> None:
        def replace(source: Path, target: Path) -> None:
            # only the moves: the writer of the arrays replaces files of its own
            if ".ready" in str(source) or ".old-" in str(target):
                moves[0] += 1
                if moves[0] > stop:
                    raise KeyboardInterrupt  # stands for a killed process: nothing after it runs
            real(source, target)

        moves[0] = 0
        monkeypatch.setattr(os, "replace", replace)

    for stop in range(5):
        save(out, fit=sample(), tables={"t": pd.DataFrame({"n": [1]})})
        cut(stop)
        with pytest.raises(KeyboardInterrupt):
            save(out, fit=sample(2.0))
        monkeypatch.undo()
        result = load(out)
        assert_same(result.groups["fit"], sample(2.0))
        assert list(result.tables) == []
    assert {path.name for path in out.iterdir()} == {
        "checksums.json", "provenance.json", "results.zarr", "scores.json", "status"
    }  # fmt: skip


# ---- checkpoints -----------------------------------------------------------------------------------------


def state(k: int) -> dict[str, object]:
    return {
        "file": odd_numbers(),
        "kinds.json": np.zeros((0, 3), np.uint8),
        "k": k,
        "x": -0.0,
        "s": "é",
        "b": True,
    }


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    work = Checkpoint(tmp_path / "checkpoint", "filter")
    assert work.load() is None
    work.save(state(3))
    back = Checkpoint(tmp_path / "checkpoint", "filter").load()
    assert back is not None
    for key, value in state(3).items():
        assert type(back[key]) is type(value)
        assert np.asarray(back[key]).dtype == np.asarray(value).dtype
        assert bits(np.asarray(back[key])) == bits(np.asarray(value))
    with pytest.raises(InputError, match="'x' holds Python objects"):
        work.save({"x": np.array([None])})
    work.clear()
    assert work.load() is None


def test_two_generations_are_kept_and_the_newest_intact_one_counts(tmp_path: Path) -> None:
    work, other = Checkpoint(tmp_path, "filter"), Checkpoint(tmp_path, "filter.x")
    other.save({"k": 77})
    for k in range(4):
        work.save(state(k))
    generations = sorted(tmp_path.glob("filter.0*"))
    assert len(generations) == 2
    loaded = work.load()
    assert loaded is not None
    assert loaded["k"] == 3
    for path, expected in zip(reversed(generations), (2, None), strict=True):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        loaded = work.load()
        assert (loaded["k"] if loaded else None) == expected
    assert other.load() == {"k": 77}


def test_a_checkpoint_that_cannot_be_written_keeps_the_former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Checkpoint(tmp_path, "filter")
    work.save(state(1))
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(InputError, match="No space left on device"):
        work.save(state(2))
    monkeypatch.undo()
    loaded = work.load()
    assert loaded is not None
    assert loaded["k"] == 1
    assert len(list(tmp_path.iterdir())) == 1
