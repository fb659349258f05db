"""The main job: complete results, the same after any interruption."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import msgspec
import numpy as np
import pytest

from small_study import REGIONS, small_study, small_tables, write_person
from twinbrain import EdgeRule, WorkingPoint, store
from twinbrain.config import Study, study_from_dict, to_toml, with_settings
from twinbrain.errors import InputError, Interrupted
from twinbrain.experiment import main_job
from twinbrain.experiment.main_job import resume_study, run_study
from twinbrain.experiment.prepare import activity_warnings, prepare, warnings_of

SCORE_KEYS = (
    "bold_pcc_all", "bold_pcc_inputs", "bold_pcc_noninputs", "fc_pcc", "fc_rms", "fc_fnorm_relative", "mean_rate_hz",
    "neurons", "synapses", "wall_s", "peak_memory_gb", "seed", "version", "synchrony_fano_4ms", "forecast",
)  # fmt: skip
BASELINES = ("copy_inputs", "ideal_linear", "ridge_from_inputs", "persistence", "time_shifted")


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_person(tmp_path_factory.mktemp("data") / "sub-01")


@pytest.fixture(scope="module")
def study(person: Path) -> Study:
    return small_study(person)


@pytest.fixture(scope="module")
def finished(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_study(study, tmp_path_factory.mktemp("runs") / "whole", progress=False)


def assert_same_arrays(one: Path, other: Path) -> None:
    a, b = store.load(one), store.load(other)
    assert sorted(a.groups) == sorted(b.groups)
    for name in a.groups:
        assert a.groups[name].attrs == b.groups[name].attrs
        for key, variable in a.groups[name].variables.items():
            found = b.groups[name].variables[key]
            assert (variable.dims, variable.dtype, variable.shape) == (found.dims, found.dtype, found.shape)
            assert variable.values.tobytes() == found.values.tobytes(), f"{name}/{key}"
    for name in a.tables:
        assert (one / "tables" / f"{name}.csv").read_bytes() == (other / "tables" / f"{name}.csv").read_bytes()
    for result in (a, b):  # what a machine needed is not what it found
        result.scores.pop("wall_s")
        result.scores.pop("peak_memory_gb")
    assert a.scores == b.scores


def test_the_results_are_complete(finished: Path, study: Study) -> None:
    result = store.load(finished)
    assert result.status == "complete"
    assert result.study == to_toml(study)
    for key in SCORE_KEYS:
        assert result.scores[key] is not None, key
    assert set(BASELINES) <= set(result.scores["baselines"])
    assert "split_half_fc" in result.scores["ceilings"]
    assert {"forecast_pcc_inputs", "persistence_pcc_inputs", "free_run_pcc_inputs"} <= set(result.scores["forecast"])
    assert sorted(result.groups) == ["brain", "fit", "laminar", "recorded", "recording", "twin"]
    assert list(result.tables) == ["similarity"]
    assert result.provenance["seeds"] == {"network": 1, "assimilation": 1, "twin": 2, "laminar": 3}
    assert result.provenance["inputs"]
    assert {path.name for path in finished.iterdir()} == {
        "checksums.json", "provenance.json", "results.zarr", "scores.json", "spikes", "status", "study.toml", "tables"
    }  # fmt: skip


def test_what_was_to_be_recorded_is_there(finished: Path) -> None:
    """Bins and rates count the same spikes, the folder holds them all, and the raster is a part of them."""
    groups = store.load(finished).groups
    kept, twin, spikes = groups["recording"], groups["twin"], store.read_spikes(finished / "spikes")
    assert kept.potential.sizes == {"member": 2, "step": 28_000, "neuron": 2}
    assert kept.potential_e.sizes == {"member": 2, "instant": 70, "voxel": 5}
    per_volume = kept.binned_rate.isel(member=0).coarsen(bin=8).mean()
    np.testing.assert_allclose(per_volume.values, twin.firing_rate.values, rtol=1e-12)
    own = spikes.isel(spike=np.flatnonzero(spikes.member.values == 0))
    per_s = twin.firing_rate.sum("time") * 0.8 * twin.pop_size
    assert own.sizes["spike"] == round(float(per_s.sum()))
    raster = set(zip(twin.spike_time_ms.values, twin.spike_neuron.values, strict=True))
    assert raster
    assert raster < set(zip(own.time_ms.values, own.neuron.values, strict=True))


def test_a_study_says_how_the_network_is_wired_and_integrated(tmp_path: Path) -> None:
    tables = small_tables(write_person(tmp_path / "person"))
    rule = {"source": ["Insula_L"], "reach": "long_range", "gain": 0.5}
    tables["network"] |= {"integrator": "exponential", "rules": [rule]}
    ready = prepare(study_from_dict(tables))
    for network in (ready.network, ready.twin, ready.laminar):
        assert network is not None
        assert network.integrator == "exponential"
        assert network.rules == (EdgeRule(source="Insula_L", reach="long_range", gain=0.5),)
    assert study_from_dict(tomllib.loads(to_toml(study_from_dict(tables)))) == study_from_dict(tables)
    tables["network"]["rules"] = [rule, {"source": ["Insula_R"], "gian": 2}]
    with pytest.raises(InputError, match=r"^study: \[network.rules 2\] has no key 'gian'; did you mean 'gain'\?$"):
        study_from_dict(tables)
    tables["network"]["rules"] = [{"target": ["Insula"]}]
    with pytest.raises(InputError, match="'Insula' is not a region or voxel of this Brain"):
        prepare(study_from_dict(tables))
    tables["network"]["rules"] = ["Insula_L"]
    with pytest.raises(InputError, match=r"network.rules 1 is 'Insula_L', expected a table of keys"):
        study_from_dict(tables)
    tables["network"] |= {"rules": [], "conduction_speed_m_s": 5.0}
    with pytest.raises(InputError, match="conduction_speed_m_s needs tract lengths or positions"):
        prepare(study_from_dict(tables))


def test_every_group_is_labelled_and_on_the_clock_of_the_recording(finished: Path) -> None:
    groups = store.load(finished).groups
    recorded, fit, twin = groups["recorded"], groups["fit"], groups["twin"]
    assert recorded.bold.sizes == {"time": 60, "region": 5}
    assert tuple(recorded.region.values) == REGIONS
    assert np.array_equal(fit.time, recorded.time[5:40])
    assert np.array_equal(twin.time, recorded.time[5:40])
    assert np.isnan(recorded.target[:5]).all()
    assert np.array_equal(recorded.target[5:40], fit.target)
    assert fit.drive.dims == ("time", "input")
    assert twin.bold.sizes == {"time": 35, "region": 5}
    assert list(twin.pop_name.values[:2]) == ["E", "I"]
    assert int(twin.pop_size.sum()) == twin.attrs["neurons"] == 1000
    assert set(np.unique(twin.spike_sign)) <= {-1, 1}
    assert set(np.unique(twin.spike_region)) <= set(REGIONS)
    assert np.ptp(twin.spike_time_ms.values) <= 1000
    assert twin.attrs["fano"] == twin.attrs["synchrony_fano_4ms"]
    assert twin.attrs["asynchronous"] == (twin.attrs["fano"] < 10)
    assert groups["brain"].neurons.values.sum() == 1000
    assert groups["brain"].connectome.dims == ("target", "source")
    laminar = groups["laminar"]
    assert list(laminar.layer.values)[:8] == ["L2/3E", "L2/3I", "L4E", "L4I", "L5E", "L5I", "L6E", "L6I"]
    assert np.allclose(laminar.rate_time.mean("time"), laminar.mean_rate_hz)


def stop_in(monkeypatch: pytest.MonkeyPatch, stage: str, checks: int) -> None:
    """Send SIGTERM to ourselves at the n-th safe point of a stage."""
    monkeypatch.setattr("twinbrain.record._PIECE_S", 1e9)  # safe points between volumes only, so that n is a place
    enter, check = main_job._Job.enter, main_job.Stop.check
    now, seen = [""], [0]

    def note(self: main_job._Job, name: str) -> None:
        enter(self, name)
        now[0] = name

    def count(self: main_job.Stop) -> None:
        seen[0] += now[0] == stage
        if seen[0] == checks and now[0] == stage:
            os.kill(os.getpid(), signal.SIGTERM)
        check(self)

    monkeypatch.setattr(main_job._Job, "enter", note)
    monkeypatch.setattr(main_job.Stop, "check", count)


@pytest.mark.parametrize(
    ("stage", "checks"),
    [
        ("assimilate", 7),
        pytest.param("twin", 9, marks=pytest.mark.slow),
        pytest.param("laminar", 1, marks=pytest.mark.slow),
        pytest.param("compare", 1, marks=pytest.mark.slow),  # as the next stage begins
    ],
)
def test_a_stopped_run_goes_on_to_the_same_results(
    study: Study, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, checks: int
) -> None:
    out = tmp_path / "out"
    stop_in(monkeypatch, stage, checks)
    with pytest.raises(Interrupted, match=f"stopped during '{stage}', nothing is lost; go on with: twinbrain resume"):
        run_study(study, out, progress=False)
    monkeypatch.undo()
    assert store.read_status(out) == f"interrupted {stage}"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with pytest.raises(InputError, match="holds an unfinished run"):
        run_study(study, out, progress=False)
    assert store.read_status(resume_study(out, progress=False)) == "complete"
    assert_same_arrays(out, finished)
    assert not (out / "checkpoint").exists()


def test_the_comparison_of_runs_can_fail(finished: Path, tmp_path: Path) -> None:
    result = store.load(finished)
    groups = {name: result.groups[name].load() for name in result.groups}
    groups["twin"]["bold"][3, 2] += 1e-12
    other = store.save(tmp_path / "other", scores=result.scores, tables=dict(result.tables), **groups)
    with pytest.raises(AssertionError, match="twin/bold"):
        assert_same_arrays(other, finished)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["assimilate", "twin"])
def test_a_killed_run_goes_on_to_the_same_results(study: Study, finished: Path, tmp_path: Path, stage: str) -> None:
    file, out = tmp_path / "study.toml", tmp_path / "out"
    file.write_text(to_toml(study))
    command = [sys.executable, "-m", "twinbrain", "-q", "run", str(file), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as work:
        deadline = time.monotonic() + 120
        while not list((out / "checkpoint").glob(f"{stage}.*.npz")):
            assert work.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.002)
        work.kill()
    assert store.read_status(out) == f"running {stage}"
    resume_study(out, progress=False)
    assert_same_arrays(out, finished)


def test_folders_that_hold_runs_are_respected(
    study: Study, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(finished, tmp_path / "copy")
    with pytest.raises(
        InputError, match=r"holds a finished run; choose another folder, or start anew with --overwrite"
    ):
        run_study(study, out, progress=False)
    assert resume_study(out, progress=False) == out
    store.write_status(out, "interrupted twin")
    other = msgspec.structs.replace(study, twin=msgspec.structs.replace(study.twin, seed=9))
    with pytest.raises(InputError, match="was started with another study"):
        run_study(other, out, resume=True, progress=False)
    made = json.loads((out / "provenance.json").read_text())
    (out / "provenance.json").write_text(json.dumps(made | {"twinbrain": "0.0.1"}))
    with pytest.raises(InputError, match="was started with another version of twinbrain"):
        resume_study(out, progress=False)
    stop_in(monkeypatch, "calibrate", 1)
    with pytest.raises(Interrupted):
        run_study(study, out, overwrite=True, progress=False)
    assert {path.name for path in out.iterdir()} == {"study.toml", "status", "provenance.json", "checkpoint"}


def test_the_report_is_called_before_the_run_counts_as_complete(finished: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "out")
    store.write_status(out, "interrupted report")
    seen = []

    def finish(out: Path) -> None:
        seen.append(store.load(out).status)

    resume_study(out, progress=False, finish=finish)
    assert seen == ["running report"]
    assert store.read_status(out) == "complete"


@pytest.mark.parametrize(
    ("table", "key", "value", "message"),
    [
        ("subject", "run", "rset", "subject.run: 'small' has no run 'rset'; did you mean 'rest'?; it has rest"),
        (
            "assimilation",
            "inputs",
            ("Thalamus_l",),
            "is not one of the 5 regions of 'small'; did you mean 'Thalamus_L'?",
        ),
        ("assimilation", "volumes", 56, "volumes 5 to 60 are asked for, but run 'rest' of 'small' has 60"),
        ("network", "parameters", "nrs", "did you mean 'nsr'?"),
        ("network", "overrides", {"E": {"g_amp": 0.1}}, "g_amp"),
        ("twin", "neurons", 5, "neurons (5) must be at least 2 per voxel"),
        ("subject", "folder", "/no/such", "/no/such"),
    ],
)
def test_mistakes_show_before_anything_runs(study: Study, table: str, key: str, value: object, message: str) -> None:
    section = msgspec.structs.replace(getattr(study, table), **{key: value})
    with pytest.raises(InputError) as caught:
        prepare(msgspec.structs.replace(study, **{table: section}))
    assert message in str(caught.value)
    prepare(study)


def test_a_repetition_time_below_one_step_is_refused(tmp_path: Path) -> None:
    # 0.8 ms: someone wrote milliseconds as if they were seconds, twice
    folder = write_person(tmp_path / "sub", repetition_time_s=0.8)
    about = folder / "subject.toml"
    about.write_text(about.read_text().replace("0.8", "0.0008"))
    with pytest.raises(InputError, match="repetition time"):
        prepare(small_study(folder))


def test_a_repetition_time_between_steps_is_said(tmp_path: Path) -> None:
    folder = write_person(tmp_path / "sub", repetition_time_s=1.3675)
    assert "at most half a step off" in warnings_of(prepare(small_study(folder)))[-1]
    others = warnings_of(prepare(small_study(write_person(tmp_path / "other"))))
    assert not any("half a step" in sentence for sentence in others)
    assert any("calibrated on a brain of 94 regions" in sentence for sentence in others)


def test_networks_off_their_ground_are_warned_of(tmp_path: Path) -> None:
    folder = write_person(tmp_path / "person")
    study = with_settings(small_study(folder), ["network.circuit='laminar'", "network.parameters='asynchronous'"])
    said = " ".join(warnings_of(prepare(study)))
    assert "'asynchronous' is not the working point of the laminar circuit" in said
    follows = with_settings(small_study(folder), ["network.circuit='laminar'"])
    assert "is not the working point" not in " ".join(warnings_of(prepare(follows)))


def test_activity_outside_the_working_point_is_said() -> None:
    assert activity_warnings("twin", 4.0, 2.0) == []
    assert "saturated" in activity_warnings("twin", 200.0, 0.01)[0]
    assert "synchrony" in activity_warnings("twin", 8.0, 50.0)[0]
    assert "outside 1-12 Hz" in activity_warnings("twin", 30.0, 5.0)[0]


def test_the_figures_of_the_page_show_the_series_that_were_scored(finished: Path) -> None:
    from twinbrain.report.reading import Reading

    reading = Reading(store.load(finished))
    run = reading.free_run
    assert run is not None
    assert run.filtered
    scored = np.array([reading.region_pcc[name] for name in run.regions])
    np.testing.assert_allclose(run.pcc, scored, atol=1e-12)
    assert np.abs(np.roll(run.pcc, 1) - scored).max() > 1e-3


@pytest.mark.slow
def test_calibration_and_inverse_go_through_the_main_job_and_resume(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["calibration.enabled=true", "calibration.margin=false", "calibration.loop_gain=0.6"]
    settings += ["assimilation.method=inverse", "assimilation.bounds=[]", "assimilation.repeats=1"]
    settings += ["assimilation.target_mean=0.0", "assimilation.target_scale=0.0", "laminar.enabled=false"]
    asked = with_settings(study, settings)
    whole = run_study(asked, tmp_path / "whole", progress=False)
    result = store.load(whole)
    point, twin = result.groups["working_point"], result.groups["twin"]
    assert abs(point.attrs["loop_gain"] - 0.6) < 0.08
    assert point.f_i_hz.sizes == {"level": 8, "region": 5}
    assert result.scores["working_point"]["loop_gain"] == point.attrs["loop_gain"]
    assert result.groups["fit"].attrs["method"] == result.scores["method"] == "inverse"
    used = result.provenance["network"]["parameters"]
    assert used == json.loads(point.attrs["twin_parameters"])  # what the twin ran with, not the named set
    assert used["neuron"]["background_mean"] != json.loads(point.attrs["parameters"])["neuron"]["background_mean"]
    assert result.provenance["seeds"]["calibration"] == 1
    assert twin.attrs["mean_rate_hz"] > 2
    restored = WorkingPoint.from_dataset(point, prepare(asked).network)
    assert restored.to_dict()["parameters"] == json.loads(point.attrs["parameters"])
    assert restored.to_dataset().equals(point)
    assert restored.to_dict()["settings"]["screw"] == "excitatory conductance"
    stop_in(monkeypatch, "assimilate", 6)
    with pytest.raises(Interrupted):
        run_study(asked, tmp_path / "cut", progress=False)
    monkeypatch.undo()
    assert store.read_status(tmp_path / "cut").startswith("interrupted")
    resume_study(tmp_path / "cut", progress=False)
    assert_same_arrays(whole, tmp_path / "cut")
