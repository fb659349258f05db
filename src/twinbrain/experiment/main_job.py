"""The main job: a person's scans become a fitted spiking brain, run freely and scored.

Person, Brain and networks are prepared first, so that mistakes show at once. Then come the stages calibrate ->
assimilate -> twin -> laminar -> compare -> report. What a stage found is stored when it ends; inside the long ones the
state is kept every few repetition times. So a run that was stopped, by hand, by a batch system or by a crash, goes on
where it was, and its arrays equal those of a run that was never stopped.
"""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import xarray as xr

from twinbrain import store
from twinbrain.analyse.analysis import analyse
from twinbrain.analyse.similarity import compare
from twinbrain.assimilate.calibrate import recentre
from twinbrain.assimilate.working_point import WorkingPoint
from twinbrain.config import Study, check_study, read_study, to_toml
from twinbrain.drive import Drive
from twinbrain.errors import InputError, Interrupted
from twinbrain.estimate import refuse_what_does_not_fit
from twinbrain.experiment import groups
from twinbrain.experiment.prepare import Prepared, activity_warnings, prepare, warnings_of
from twinbrain.experiment.stages import calibrated, fitted
from twinbrain.experiment.stop import Stop
from twinbrain.network import Network
from twinbrain.neuron import ParameterSet
from twinbrain.progress import Tracker, track
from twinbrain.simulate import Record, Run, simulate
from twinbrain.trial import trial

__all__ = ["resume_study", "run_study"]

_LOG = logging.getLogger(__name__)
_NULLS = 39  # of the analysis: the least number that lets a two-sided p-value fall to 0.05
_MAX_LAG = 5  # volumes within which the best lag is looked for; scores are at lag 0
_RECENTRED = 2_000_000  # neurons up to which the twin's own offset is measured and removed
_WORTH_A_TRIAL_S = 120.0  # of a run: above it, some seconds of trial buy a better estimate
_SETTLE_S = 1.0  # of the laminar run, before rates are counted


def run_study(
    study: Study,
    out: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    finish: Callable[[Path], object] | None = None,
) -> Path:
    """Run a whole study and store what it finds.

    Parameters
    ----------
    study
        What to do.
    out
        Results folder.
    resume
        Go on with the unfinished run the folder holds.
    overwrite
        Remove the run the folder holds and start anew.
    progress
        False shows no bars and no lines of progress.
    finish
        Called with the folder when all is stored, before the run counts as complete: the report.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the study, the data or the folder cannot be used.
    Interrupted
        If SIGTERM or SIGINT stopped it; the folder can be resumed.

    Examples
    --------
    >>> from twinbrain.config import demo_study
    >>> run_study(demo_study(), "out/")          # doctest: +SKIP
    """
    study = check_study(study)
    if study.subject.folder is not None:  # the copy in the results must mean the same place, wherever it is read
        folder = str(Path(study.subject.folder).expanduser().resolve())
        study = msgspec.structs.replace(study, subject=msgspec.structs.replace(study.subject, folder=folder))
    ready = prepare(study)  # a mistake in the data leaves no folder behind
    out = store.output_folder(out)
    with store.locked(out), Stop() as stop:
        if not _admit(study, out, resume, overwrite):
            return out
        for sentence in warnings_of(ready):
            _LOG.warning("%s", sentence)
        job = _Job(study, ready, out, progress, stop, resumed=resume)
        try:
            job.run(finish)
        except Interrupted:
            job.stop_clock()
            store.write_status(out, f"interrupted {job.stage}")
            raise Interrupted(
                f"stopped during '{job.stage}', nothing is lost; go on with: twinbrain resume {out}"
            ) from None
    return out


def resume_study(out: str | Path, *, progress: bool = True, finish: Callable[[Path], object] | None = None) -> Path:
    """Go on with the unfinished run in a folder, by the study it was started with.

    Raises
    ------
    InputError
        If the folder holds no run.

    Examples
    --------
    >>> resume_study("no/such/folder")
    Traceback (most recent call last):
    twinbrain.errors.InputError: no/such/folder: there is no run to resume; start one with 'twinbrain run'
    """
    file = Path(out) / "study.toml"
    if not file.is_file():
        raise InputError(f"{out}: there is no run to resume; start one with 'twinbrain run'")
    return run_study(read_study(file), out, resume=True, progress=progress, finish=finish)


def _admit(study: Study, out: Path, resume: bool, overwrite: bool) -> bool:
    """Say whether there is work to do, and refuse what would destroy or mix runs."""
    status = store.read_status(out)
    if overwrite and not resume and any(out.iterdir()):  # a folder of something else was refused before
        store.clear_results(out)
        status = ""
    if status == "complete":
        if resume:
            _LOG.info("%s: the run is complete, nothing is left to do", out)
            return False
        raise InputError(f"{out}: holds a finished run; choose another folder, or start anew with --overwrite")
    held = (out / "study.toml").exists()
    if held and not resume:
        raise InputError(
            f"{out}: holds an unfinished run ({status or 'no status'}); go on with 'twinbrain resume {out}', "
            "or start anew with --overwrite"
        )
    if held and _science(read_study(out / "study.toml")) != _science(study):
        raise InputError(f"{out}: was started with another study (see its study.toml); choose another folder")
    store.write_status(out, "running start")
    store.write_text_atomic(out / "study.toml", to_toml(study))
    return True


def _science(study: Study) -> Study:
    """The study without what changes no result."""
    plain = msgspec.structs.replace(study.execution, threads=0, wiring="auto", checkpoint_every_s=0.0)
    return msgspec.structs.replace(study, execution=plain)


@dataclass
class _Job:
    """One run of a study: what is known so far, and where it is stored."""

    study: Study
    ready: Prepared
    out: Path
    progress: bool
    stop: Stop
    resumed: bool
    stage: str = "calibrate"
    point: WorkingPoint | None = None
    groups: dict[str, xr.Dataset] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)

    def run(self, finish: Callable[[Path], object] | None) -> None:
        """Go through the stages; those that are stored are not repeated."""
        ready = self.ready
        self.provenance = self.explain(ready)
        if self.resumed and (self.out / "checksums.json").exists():
            stored = store.load(self.out)
            self.groups = {name: stored.groups[name].load() for name in stored.groups}
        self.enter("calibrate")
        if self.study.calibration.enabled and "working_point" not in self.groups:
            self.keep(working_point=_calibrate(self))
        self.use_working_point()
        self.enter("assimilate")
        if "fit" not in self.groups:
            self.keep(fit=_assimilate(self))
        self.keep(
            recorded=groups.recorded_group(ready.bold, self.groups["fit"]["target"], ready.person.name),
            brain=groups.brain_group(ready.person, self.ready.twin),
            store_now=False,
        )
        self.enter("twin")
        if "twin" not in self.groups:
            self.keep(twin=_twin(self))
        self.enter("laminar")
        if ready.laminar is not None and "laminar" not in self.groups:
            self.keep(laminar=_laminar(self, ready.laminar))
        self.enter("compare")
        scores, table = _compare(self)
        tables = {"similarity": table, **_analyse(self)}
        self.enter("report")
        wall_s, peak_gb = self.stop_clock()
        scores |= {"wall_s": wall_s, "peak_memory_gb": peak_gb}
        self.save(scores=scores, tables=tables)
        if finish is not None:
            finish(self.out)
        store.write_status(self.out, "complete")
        for name in ("calibrate", "assimilate", "twin", "laminar", "clock"):
            self.checkpoint(name).clear()
        with contextlib.suppress(OSError):
            (self.out / "checkpoint").rmdir()

    def use_working_point(self) -> None:
        """Take over the calibrated parameters, as they are stored: so a resumed run has the same."""
        found = self.groups.get("working_point")
        if found is None:
            return
        self.point = WorkingPoint.from_dataset(found, self.ready.network)
        twin = ParameterSet.from_dict(json.loads(found.attrs["twin_parameters"]))
        self.ready = replace(
            self.ready,
            network=self.point.network,
            twin=self.point.network.scaled(neurons=self.ready.twin.neurons, seed=self.ready.twin.seed, parameters=twin),
        )
        self.provenance["network"] = self.ready.twin.describe()

    def enter(self, stage: str) -> None:
        """Begin a stage, unless a stop was asked for."""
        self.stop.check()
        self.stage = stage
        store.write_status(self.out, f"running {stage}")
        _LOG.info("stage: %s", stage)

    def keep(self, *, store_now: bool = True, **found: xr.Dataset) -> None:
        """Add groups to the results."""
        self.groups |= found
        if store_now:
            self.save(scores={}, tables={})
            self.checkpoint(self.stage).clear()

    def save(self, *, scores: dict[str, Any], tables: dict[str, pd.DataFrame]) -> None:
        """Store all that is known."""
        store.save(
            self.out,
            study=to_toml(self.study),
            provenance=self.provenance,
            scores=scores,
            tables=tables,
            status=None,
            **self.groups,
        )

    def checkpoint(self, name: str) -> store.Checkpoint:
        """Where the unfinished state of a stage is kept."""
        return store.Checkpoint(self.out / "checkpoint", name)

    def stop_clock(self) -> tuple[float, float]:
        """Return wall time (s) and peak memory (GB) of all sessions of this run, and keep them."""
        clock = self.checkpoint("clock")
        before = clock.load() or {"wall_s": 0.0, "peak_memory_gb": 0.0}
        now = time.monotonic()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        wall_s, self.begun = before["wall_s"] + now - self.begun, now
        peak_gb = max(before["peak_memory_gb"], peak)
        clock.save({"wall_s": wall_s, "peak_memory_gb": peak_gb})
        return round(wall_s, 3), round(peak_gb, 3)

    def explain(self, ready: Prepared) -> dict[str, Any]:
        """Say what the run is made of and with; a resumed run must be made of and with the same."""
        study = self.study
        made = store.provenance(
            seeds={
                "network": study.network.seed,
                **({"calibration": study.calibration.seed} if study.calibration.enabled else {}),
                "assimilation": study.assimilation.seed,
                "twin": study.twin.seed,
                "laminar": study.laminar.seed,
            },
            inputs=dict(ready.person.provenance),
            subject={"person": ready.person.name, "run": study.subject.run, "regions": len(ready.brain.regions)},
            network=ready.twin.describe(),
            warnings=warnings_of(ready),
        )
        file = self.out / "provenance.json"
        if self.resumed and file.exists():
            begun = store.read_json(file)
            for key, what in (("twinbrain", "version of twinbrain"), ("inputs", "input data")):
                if begun.get(key) != made[key]:
                    raise InputError(
                        f"{self.out}: was started with another {what}, so that the rest would not fit; start "
                        "anew with 'twinbrain run --overwrite', or go back to it"
                    )
            return begun
        store.write_json_atomic(file, made)
        return made

    @contextlib.contextmanager
    def follow(self, label: str, unit: str = "TR") -> Iterator[Callable[[int, int], None]]:
        """Give the work a function to tell how far it is, which also stops it when that was asked for."""
        with contextlib.ExitStack() as stack:
            tracker: Tracker | None = None
            last = 0

            def tell(done: int, total: int) -> None:
                nonlocal tracker, last
                if tracker is None:  # what an earlier session did is known only now
                    last = max(done - 1, 0)
                    tracker = stack.enter_context(track(total, label, unit, progress=self.progress, done=last))
                tracker.update(done - last)
                last = done
                self.stop.check()

            yield tell


def _calibrate(job: _Job) -> xr.Dataset:
    """Find the working point, and the background mean of the twin's size and wiring."""
    ready, execution = job.ready, job.study.execution
    with job.follow("calibration", "trials") as tell:
        point = calibrated(job.study, ready.network, tell)
    _LOG.info("working point: %r", point)
    offset, twin = 0.0, point.network.set
    if ready.twin.neurons <= _RECENTRED:
        seed, threads, dt_ms = job.study.calibration.seed, execution.threads, execution.dt_ms
        moved = recentre(point, ready.twin, seed=seed, threads=threads, dt_ms=dt_ms)
        offset, twin = moved.offset_hz, moved.network.set
        _LOG.info("%s neurons and their wiring shift the rate by %+.2f Hz; removed", f"{ready.twin.neurons:,}", offset)
    return point.to_dataset().assign_attrs(
        twin_parameters=json.dumps(twin.to_dict(), sort_keys=True), twin_offset_hz=offset
    )


def _assimilate(job: _Job) -> xr.Dataset:
    with job.follow("assimilation") as tell:
        found = fitted(job.study, job.ready.network, job.ready.bold, job.point, tell, job.checkpoint("assimilate"))
    return groups.fit_group(found, job.ready.time_s)


def _twin(job: _Job) -> xr.Dataset:
    """Run the larger network under the estimated drive, without any correction."""
    twin, fit = job.study.twin, job.groups["fit"]
    drive = Drive(
        fit["drive"].transpose("time", "input"), float(fit.attrs["repetition_time_s"]), float(fit.attrs["shape"])
    )
    start = max(0.0, (drive.duration_s - twin.raster_s) / 2)
    record, raster = _wanted(job, start, start + twin.raster_s)
    warm_up_s = twin.warm_up * drive.repetition_time_s
    run = _simulate(job, job.ready.twin, "free run", drive, None, warm_up_s, twin.seed, record, members=twin.members)
    if record.spikes_folder is not None:
        run = replace(run, spikes=groups.raster_from(record.spikes_folder, raster, start, start + twin.raster_s))
    kept = groups.recording_group(run)
    if kept.data_vars:
        job.groups["recording"] = kept
    return run.to_dataset()


def _wanted(job: _Job, from_s: float, to_s: float) -> tuple[Record, np.ndarray]:
    """Return what the free run records, and the neurons of the raster."""
    wanted, network = job.study.recording, job.ready.twin
    raster = groups.raster_neurons(network)
    traced = groups.raster_neurons(network, wanted.traced_neurons).tolist() if wanted.traced_neurons else ()
    kept: dict[str, Any] = {"spikes": raster.tolist(), "spikes_from_s": from_s, "spikes_to_s": to_s}
    if wanted.spikes == "all":
        kept = {"spikes": "all", "spikes_folder": job.out / "spikes"}
    return Record(
        **kept,
        voltages=traced,
        currents=traced,
        rate_bin_ms=wanted.rate_bin_ms or None,
        voxel_means_every_ms=wanted.voxel_means_every_ms or None,
    ), raster


def _laminar(job: _Job, network: Network) -> xr.Dataset:
    """Run the laminar circuit at its own working point, for the rates of its layers."""
    laminar = job.study.laminar
    run = _simulate(
        job,
        network,
        "laminar run",
        None,
        laminar.duration_s,
        _SETTLE_S,
        laminar.seed,
        Record(),
        job.ready.repetition_time_s,
    )
    return groups.laminar_group(run, network)


def _simulate(
    job: _Job,
    network: Network,
    label: str,
    drive: Drive | None,
    duration_s: float | None,
    warm_up_s: float,
    seed: int,
    record: Record,
    repetition_time_s: float | None = None,
    members: int = 1,
) -> Run:
    execution = job.study.execution
    seconds = warm_up_s + (duration_s or (drive.duration_s if drive is not None else 0.0))
    estimate = network.estimate(seconds, members=members, threads=max(execution.threads, 1), dt_ms=execution.dt_ms)
    refuse_what_does_not_fit(estimate)
    if estimate.run_s > _WORTH_A_TRIAL_S:
        how: dict[str, Any] = {"threads": execution.threads, "dt_ms": execution.dt_ms, "wiring": execution.wiring}
        estimate = trial(network, seconds, members=members, **how)
        refuse_what_does_not_fit(estimate)
    _LOG.info("%s: %s", label, estimate)
    begun = time.monotonic()
    with job.follow(label) as tell:
        run = simulate(
            network,
            duration_s,
            drive,
            repetition_time_s=repetition_time_s,
            warm_up_s=warm_up_s,
            seed=seed,
            members=members,
            dt_ms=execution.dt_ms,
            record=record,
            threads=execution.threads,
            progress=tell,
            checkpoint=job.checkpoint(job.stage),
            wiring=execution.wiring,
            checkpoint_every_s=execution.checkpoint_every_s,
        )
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    if not job.resumed:  # what an earlier session did of it is not known here
        _LOG.info("%s: %s", label, estimate.beside(0.0, time.monotonic() - begun, peak_gb))
    return run


def _compare(job: _Job) -> tuple[dict[str, Any], pd.DataFrame]:
    """Score the free run; beside it the forecast inside the filter and persistence, which prove little."""
    fit, twin = job.groups["fit"], job.groups["twin"]
    similarity = compare(
        twin["bold"],
        job.ready.bold,
        job.study.assimilation.inputs,
        connectome=job.ready.person.connectome,
        band_hz=job.study.assimilation.band_hz,
        max_lag=_MAX_LAG,
        seed=job.study.network.seed,
    )
    scores = dict(similarity.to_dict())
    names = ("mean_rate_hz", "neurons", "synapses", "multapses")
    scores |= {name: twin.attrs[name] for name in names if name in twin.attrs}
    scores |= {
        "synchrony_fano_4ms": twin.attrs["fano"],
        "asynchronous": twin.attrs["asynchronous"],
        "seed": job.study.network.seed,
        "version": job.provenance["twinbrain"],
        "method": job.study.assimilation.method,
    }
    if "forecast_pcc_inputs" in fit.attrs:
        scores["forecast"] = {
            "forecast_pcc_inputs": fit.attrs["forecast_pcc_inputs"],
            "persistence_pcc_inputs": fit.attrs["persistence_pcc_inputs"],
            "free_run_pcc_inputs": scores["bold_pcc_inputs"],
            "note": "one step ahead inside the filter, beside repeating the last volume, beside the free run",
        }
    if job.point is not None:
        scores["working_point"] = {
            "loop_gain": job.point.loop_gain,
            "slope": job.point.slope,
            "fano": job.point.fano,
            "rate_hz": float(job.point.rate_hz.mean()),
            "breaking_point": job.point.breaking_point,
            "twin_offset_hz": job.groups["working_point"].attrs["twin_offset_hz"],
        }
    found = activity_warnings("free run", twin.attrs["mean_rate_hz"], twin.attrs["fano"])
    if "laminar" in job.groups:
        aside = job.groups["laminar"].attrs
        found += activity_warnings("laminar run", aside["mean_rate_hz"], aside["fano"])
    if job.point is not None and "refused" in job.point.settings:
        found.append(_gave_way(job.point))
    if fit.attrs.get("warning", "none") != "none":
        found.append(f"filter: {fit.attrs['warning']}")
    for sentence in found:
        _LOG.warning("%s", sentence)
    scores["warnings"] = found
    return scores, similarity.table


def _gave_way(point: WorkingPoint) -> str:
    """Say that the defaults of the calibration did not hold, and what was taken instead."""
    used = point.settings
    return (
        f"calibration: its defaults were refused ({used['refused']}); taken: nmda_share {used['nmda_share']:g}, "
        f"loop_gain {used['loop_gain']:g}."
    )


def _analyse(job: _Job) -> dict[str, pd.DataFrame]:
    """Measure twin and recording by the same functions; a run too short for all of it lacks these tables only."""
    try:
        found = analyse(job, band_hz=job.study.assimilation.band_hz, nulls=_NULLS, seed=job.study.network.seed)
    except InputError as error:
        _LOG.warning("there is no analysis: %s", error)
        return {}
    job.groups["analysis"] = found.to_dataset()
    return {"analysis": found.flat(), **{f"analysis_{name}": table for name, table in found.tables.items()}}
