"""What a run keeps: rates and BOLD always; bins, spikes, traces and voxel means when they are asked for."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from twinbrain.drive import Drive
from twinbrain.engine import Simulation
from twinbrain.errors import InputError
from twinbrain.neuron import CHANNELS
from twinbrain.store.spikes import SpikeFolder

__all__ = ["Record", "Recording"]

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_PIECE_S = 1.0  # wall time between two looks at whether to save or to stop

#: Means over the neurons of a voxel that :attr:`Record.voxel_means_every_ms` keeps, with their units.
VOXEL_MEANS = {"potential_e": "mV", "excitation_e": "model units", "inhibition_e": "model units"}


@dataclass(frozen=True)
class Record:
    """What to keep besides BOLD and the mean rates of each repetition time; by default only the totals.

    Attributes
    ----------
    spikes : "none", "all" or sequence of int
        Neurons whose spikes are kept.
    spikes_from_s, spikes_to_s : float
        Window of the run in which spikes are kept, s after the warm-up.
    spikes_folder : path, optional
        Write spikes there while the run goes on instead of keeping them in memory; one checksummed file per repetition
        time, to be read with :func:`twinbrain.store.read_spikes`.
    voltages : sequence of int
        Neurons whose membrane potential is kept at every exchange interval (mV).
    currents : sequence of int
        Neurons whose currents are kept at every exchange interval: background (mean, drive and noise) and one for
        each live channel, g_u J_u (V_u - V), in the units of the parameters.
    rate_bin_ms : float, optional
        Keep the rate of every population in bins of this width (a whole number of exchange intervals).
    voxel_means_every_ms : float, optional
        Keep, at this interval, the mean over the excitatory neurons of every voxel of the membrane potential and of
        the excitatory and inhibitory synaptic currents: signals like a local field potential (Mazzoni et al. 2015,
        PLoS Comput Biol 11:e1004584, compare such proxies).
    totals : bool
        Keep the number of spikes of the whole network in every exchange interval (for the Fano factor).

    Raises
    ------
    InputError
        If ``spikes`` is a word other than "none" and "all", or an interval is not positive.

    Examples
    --------
    >>> Record(spikes=[0, 17], spikes_to_s=2.0).spikes_from_s
    0.0
    """

    spikes: str | Sequence[int] = "none"
    spikes_from_s: float = 0.0
    spikes_to_s: float = float("inf")
    spikes_folder: str | Path | None = None
    voltages: Sequence[int] = ()
    currents: Sequence[int] = ()
    rate_bin_ms: float | None = None
    voxel_means_every_ms: float | None = None
    totals: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.spikes, str) and self.spikes not in ("none", "all"):
            raise InputError(f"Record.spikes must be 'none', 'all' or a list of neuron ids, found '{self.spikes}'")
        for name in ("rate_bin_ms", "voxel_means_every_ms"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"Record.{name} must be a positive number of ms, found {value}")
        if self.spikes_folder is not None and isinstance(self.spikes, str) and self.spikes == "none":
            raise InputError("Record.spikes_folder is given but Record.spikes is 'none'; say whose spikes to write")


class Recording:
    """A run that goes on, and what it has recorded so far (internal to :func:`twinbrain.simulate`)."""

    def __init__(self, engine: Simulation, record: Record, drive: Drive | None, steps: Int) -> None:
        self.engine, self.record, self.steps = engine, record, steps
        self.exchange_ms = engine.exchange_ms
        self.h = None if drive is None else np.asarray(drive.values.values, np.float64)
        self.shape = None if drive is None else drive.shape
        self.done, self.start = 0, 0
        self.kept: dict[str, list[NDArray[Any]]] = {"rates": [], "bold": []}
        if record.totals:
            engine.record_totals()
        n = engine.network.neurons
        self.voltages = _ids(record.voltages, "voltages", n)
        self.currents = _ids(record.currents, "currents", n)
        self.chosen = np.arange(n) if record.spikes == "all" else np.zeros(0, np.int64)
        if not isinstance(record.spikes, str):
            self.chosen = _ids(record.spikes, "spikes", n)
        if len(self.voltages):
            engine.record_voltages(self.voltages)
        self.bin = self._whole(record.rate_bin_ms, "rate_bin_ms")
        self.field = self._whole(record.voxel_means_every_ms, "voxel_means_every_ms")
        for name, wanted in (("bins", self.bin), ("means", self.field), ("currents", len(self.currents))):
            if wanted:
                self.kept[name] = []
        self.counts: NDArray[np.int64] | None = None  # of the bin that is not full yet
        self.seen = np.zeros_like(engine.spike_counts)  # spikes of this sample that are counted already
        self.piece = 1  # exchange intervals that take about a second: found by doubling
        self.looked = time.perf_counter()
        self.folder = None if record.spikes_folder is None else SpikeFolder(record.spikes_folder)

    def _whole(self, interval_ms: float | None, name: str) -> int:
        """Return an interval in exchange intervals; 0 if it is not wanted."""
        if interval_ms is None:
            return 0
        steps = round(interval_ms / self.exchange_ms)
        if steps < 1 or abs(steps * self.exchange_ms - interval_ms) > 1e-9:
            raise InputError(
                f"Record.{name} ({interval_ms} ms) must be a whole number of exchange intervals ({self.exchange_ms} ms)"
            )
        return steps

    def begin(self, resumable: bool) -> None:
        """Start anew: what a run that was killed before its first checkpoint wrote goes; other spikes are not touched.

        Raises
        ------
        InputError
            If the folder holds spikes and nothing says that they are of this run.
        """
        if self.folder is not None and self.folder.stretches:
            if not resumable:
                raise InputError(
                    f"{self.folder.folder}: holds the spikes of an earlier run, expected an empty folder; choose "
                    "another one for Record.spikes_folder, or remove them"
                )
            self.folder.cut(0)

    def warm_up(self, pause: Callable[[], None]) -> None:
        """Run without recording up to step ``start``, at the first row of the drive."""
        engine = self.engine
        if self.h is not None:
            engine.set_drive(self.h[min(self.done, len(self.h) - 1)])
        if engine.step >= self.start:
            return
        self._advance(self.start - engine.step, pause)
        engine.population_rate()
        engine.recorded_samples.clear()
        if engine.totals is not None:
            engine.totals.clear()

    def _advance(self, steps: int, pause: Callable[[], None]) -> None:
        """Advance in pieces of about a second, so that nobody who wants to stop waits for a whole sample."""
        left = steps
        while left:
            begun = time.perf_counter()
            n = min(left, self.piece)
            self.engine.advance(n)
            left -= n
            fits = int(n * _PIECE_S / max(time.perf_counter() - begun, 1e-9))
            self.piece = min(max(1, fits), 2 * self.piece)
            if left:
                self._look(pause)

    def _look(self, pause: Callable[[], None]) -> None:
        """Pause if the last one was a second ago."""
        if time.perf_counter() - self.looked >= _PIECE_S:
            pause()
            self.looked = time.perf_counter()

    def sample(self, pause: Callable[[], None]) -> None:
        """Advance to the next BOLD sample; keep it, the mean rates of the interval and what else was asked for.

        The state may be saved at every ``pause``: what a sample has so far is in the engine and in ``seen``.
        """
        engine, k = self.engine, self.done
        if self.h is not None:
            engine.set_drive(self.h[k])
        begin = engine.step - self.start
        end = int(self.steps[k])
        low, high = (self._clip(x) for x in (self.record.spikes_from_s, self.record.spikes_to_s))
        marks = {begin, end, *(m for m in (low, high) if begin < m < end)}
        for every in (self.bin, self.field, int(len(self.currents) > 0)):
            if every:
                marks |= set(range((begin // every + 1) * every, end, every))
        for a, b in pairwise(sorted(marks)):
            engine.record_spikes(self.chosen if low <= a < high else None)
            self._advance(b - a, pause)
            new = engine.spike_counts - self.seen
            self.seen += new
            self._keep(b, new)
            if b < end:
                self._look(pause)
        self.seen[:] = 0
        self.kept["rates"].append(engine.population_rate())
        self.kept["bold"].append(engine.bold())
        if self.folder is not None:
            self.folder.append(*self._spikes())
            engine.recorded_spikes = []
        self.done += 1

    def _keep(self, step: int, new: NDArray[np.int64]) -> None:
        """Keep what is wanted at the end of exchange interval ``step``; ``new`` are the spikes since the last call."""
        engine = self.engine
        if self.bin:
            self.counts = new if self.counts is None else self.counts + new
            if step % self.bin == 0:
                seconds = self.bin * self.exchange_ms * 1e-3
                self.kept["bins"].append(self.counts / np.maximum(engine.network.anatomy.size, 1) / seconds)
                self.counts = None
        if self.field and step % self.field == 0:
            self.kept["means"].append(np.stack([_voxel_means(engine, m) for m in range(len(engine.members))]))
        if len(self.currents):
            found = [np.stack(list(engine.currents(m, self.currents).values())) for m in range(len(engine.members))]
            self.kept["currents"].append(np.stack(found))

    def _clip(self, seconds: float) -> int:
        return int(min(max(seconds * 1000 / self.exchange_ms, 0.0), 2.0**62))

    def _spikes(self) -> tuple[Int, Int, Int]:
        """Member, step and neuron of the recorded spikes, in an order that follows neither chunks nor threads."""
        found = self.engine.recorded_spikes
        empty = np.zeros(0, np.int64)
        member = np.concatenate([empty, *(np.full(len(s), m) for m, s, _ in found)])
        step = np.concatenate([empty, *(s - self.start for _, s, _ in found)])
        neuron = np.concatenate([empty, *(i for _, _, i in found)])
        order = np.lexsort((neuron, step, member))
        return member[order], step[order], neuron[order]

    @cached_property
    def identity(self) -> str:
        """Hash of what determines the result, threads and places aside."""
        engine, brain = self.engine, self.engine.network.brain
        told = [engine.network.describe(), brain.regions, engine.seed, engine.members, engine.inputs, engine.dt_ms]
        told += [engine.exchange_ms, asdict(engine.balloon_constants), self.shape]
        plain = replace(self.record, spikes="none", spikes_folder=None, voltages=(), currents=())
        told += [asdict(plain), self.folder is not None]
        digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
        for array in (brain.grey_matter, self.steps, self.h, self.chosen, self.voltages, self.currents):
            digest.update(np.ascontiguousarray([] if array is None else array).tobytes())
        return digest.hexdigest()

    def state(self) -> dict[str, Any]:
        """Return all that is needed to go on, as arrays and numbers."""
        engine = self.engine
        member, step, neuron = self._spikes()
        out: dict[str, Any] = {f"engine_{k}": v for k, v in engine.state().items()}
        out |= {"identity": self.identity, "done": self.done, "start": self.start}
        out |= {f"kept_{k}": np.stack(v) for k, v in self.kept.items() if v}
        out |= {"spike_member": member, "spike_step": step, "spike_neuron": neuron}
        if self.counts is not None:
            out["counts"] = self.counts
        if self.folder is not None:
            out["stretches"] = self.folder.stretches
        out["seen"] = self.seen
        if engine.totals:
            out["totals"] = np.concatenate(engine.totals, axis=1)
        if engine.recorded_samples:
            out["samples"] = np.concatenate(engine.recorded_samples, axis=1)
        return out

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        engine = self.engine
        if saved.get("identity") != self.identity:
            raise InputError(
                "checkpoint: found one of a run of another network, drive, seed or settings, expected one of this; "
                "repeat what it was started with, or remove the checkpoint to start anew"
            )
        engine.restore({k.removeprefix("engine_"): v for k, v in saved.items() if k.startswith("engine_")})
        self.done, self.start = int(saved["done"]), int(saved["start"])
        for name in self.kept:
            self.kept[name] = list(saved.get(f"kept_{name}", ()))
        self.counts, self.seen = saved.get("counts"), np.array(saved["seen"])
        if engine.totals is not None:
            engine.totals = [saved["totals"]] if "totals" in saved else []
        if "samples" in saved:
            engine.recorded_samples = [saved["samples"]]
        if self.folder is not None:
            self.folder.cut(int(saved["stretches"]))
        step, neuron, member = saved["spike_step"] + self.start, saved["spike_neuron"], saved["spike_member"]
        cuts = np.flatnonzero(np.diff(member)) + 1
        engine.recorded_spikes = [
            (int(m[0]), s, i)
            for m, s, i in zip(*(np.split(x, cuts) for x in (member, step, neuron)), strict=True)
            if len(m)
        ]

    # ---- what was recorded, labelled ---------------------------------------------------------------------------

    def members_first(self, name: str) -> NDArray[Any]:
        """Return one kind of recording as (member, time, ...)."""
        return np.stack(self.kept[name], axis=1)

    def spikes(self) -> xr.Dataset | None:
        """Return the recorded spikes, None if none were asked for or they went to a folder."""
        if not len(self.chosen) or self.folder is not None:
            return None
        member, step, neuron = self._spikes()
        columns = {"step": step, "time_ms": (step + 1) * self.exchange_ms, "neuron": neuron, "member": member}
        return xr.Dataset({k: ("spike", v) for k, v in columns.items()})

    def traces(self) -> xr.Dataset | None:
        """Return potential (mV) and currents of the chosen neurons along (member, step, neuron)."""
        engine, out = self.engine, {}
        if engine.recorded_samples:
            values = np.concatenate(engine.recorded_samples, axis=1)
            out["potential"] = xr.DataArray(
                values, dims=("member", "step", "neuron"), coords={"neuron": self.voltages}, attrs={"units": "mV"}
            )
        if len(self.currents):
            values = self.members_first("currents")
            names = ["background", *(c for c, live in zip(CHANNELS, engine.layout.live, strict=True) if live)]
            for k, name in enumerate(names):
                out[f"current_{name}"] = xr.DataArray(
                    values[:, :, k],
                    dims=("member", "step", "sampled"),
                    coords={"sampled": self.currents},
                    attrs={"units": "model units"},
                )
        return xr.Dataset(out, coords={"member": list(engine.members)}) if out else None

    def binned(self, coords: Mapping[str, Any]) -> xr.DataArray | None:
        """Return the rates of the populations in bins, Hz; ``bin`` is the end of the bin in ms."""
        if not self.bin:
            return None
        values = self.members_first("bins") if self.kept["bins"] else np.zeros((len(self.engine.members), 0, 0))
        ends = np.arange(1, values.shape[1] + 1) * self.bin * self.exchange_ms
        labels = {k: v for k, v in coords.items() if k.startswith("pop")} if values.size else {}
        return xr.DataArray(
            values,
            dims=("member", "bin", "population"),
            coords={"member": list(self.engine.members), "bin": ends, **labels},
            attrs={"units": "Hz", "bin_ms": self.bin * self.exchange_ms},
        )

    def voxel_means(self, coords: Mapping[str, Any]) -> xr.Dataset | None:
        """Return the mean signals of the voxels along (member, instant, voxel); ``instant`` in ms."""
        if not self.field or not self.kept["means"]:
            return None
        values = self.members_first("means")
        instants = np.arange(1, values.shape[1] + 1) * self.field * self.exchange_ms
        labels = {k: v for k, v in coords.items() if k in ("voxel", "region", "weight")}
        return xr.Dataset(
            {
                name: (("member", "instant", "voxel"), values[:, :, k], {"units": units})
                for k, (name, units) in enumerate(VOXEL_MEANS.items())
            },
            coords={"member": list(self.engine.members), "instant": instants, **labels},
        )


def _ids(chosen: Sequence[int], name: str, neurons: int) -> Int:
    ids = np.asarray(chosen, np.int64)
    if len(ids) and (ids.min() < 0 or ids.max() >= neurons):
        raise InputError(f"Record.{name} names neurons outside 0 ... {neurons - 1}")
    return ids


def _voxel_means(engine: Simulation, member: int) -> NDArray[np.float32]:
    """Mean over the excitatory neurons of each voxel: V, excitatory and inhibitory synaptic current, (3, voxels)."""
    anatomy = engine.network.anatomy
    sign = anatomy.sign[anatomy.kind[anatomy.voxel], anatomy.local]
    currents = engine.currents(member)
    zero = np.zeros(engine.network.neurons, np.float32)
    inward = sum((currents[c] for c in ("ampa", "nmda") if c in currents), zero)
    outward = sum((currents[c] for c in ("gaba_a", "gaba_b") if c in currents), zero)
    wanted = np.flatnonzero((sign > 0) & (anatomy.size > 0))
    edges = np.stack([anatomy.first[wanted], anatomy.first[wanted] + anatomy.size[wanted]], axis=1).ravel()
    voxel = anatomy.voxel[wanted]
    size = np.bincount(voxel, weights=anatomy.size[wanted], minlength=len(anatomy.kind))
    out = np.zeros((len(VOXEL_MEANS), len(anatomy.kind)), np.float32)
    for k, values in enumerate((engine.voltage(member), inward, outward)):
        padded = np.append(values.astype(np.float64), 0.0)  # so that an edge may lie behind the last neuron
        sums = np.add.reduceat(padded, edges)[::2]
        total = np.bincount(voxel, weights=sums, minlength=len(anatomy.kind))
        out[k] = total / np.maximum(size, 1)
    return out
