"""``simulate(network, ...) -> Run``: the clock, what is recorded, and going on after an interruption."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from twinbrain.drive import Drive
from twinbrain.engine import Simulation
from twinbrain.errors import InputError, Interrupted
from twinbrain.kernels.slots import SlotMap
from twinbrain.kernels.wiring import Wiring
from twinbrain.network import Network
from twinbrain.observe import Balloon, sample_steps, to_regions
from twinbrain.record import Record, Recording
from twinbrain.store import Due

__all__ = ["Record", "Run", "Simulation", "simulate"]

_LOG = logging.getLogger(__name__)


class _Checkpoint(Protocol):
    def save(self, state: Mapping[str, Any]) -> None: ...

    def load(self) -> dict[str, Any] | None: ...


@dataclass(frozen=True, eq=False)
class Run:
    """The result of a simulation.

    Attributes
    ----------
    firing_rate : DataArray (time, population) or (member, time, population)
        Mean rate over each repetition time, Hz; coordinates pop_region, pop_name, pop_sign, pop_size.
    bold : DataArray (time, voxel) or (member, time, voxel)
        BOLD signal as a fraction of the resting signal, one sample per repetition time; coordinates region and weight.
    spikes : Dataset or None
        Variables step (exchange intervals since the end of the warm-up), time_ms, neuron, member along ``spike``,
        sorted by member, then step, then neuron.
    traces : Dataset or None
        ``potential`` (member, step, neuron), mV, and ``current_...`` (member, step, sampled) of the chosen neurons.
    binned_rate : DataArray (member, bin, population) or None, Hz
    voxel_means : Dataset (member, instant, voxel) or None
        ``potential_e`` (mV), ``excitation_e`` and ``inhibition_e`` (units of the parameters).
    totals : DataArray (member, step) or None
        Spikes of the whole network per exchange interval.
    state : dict of arrays
        Where the run ended; pass it as ``state=`` to go on.
    provenance : dict
        Network, settings, seed.

    Examples
    --------
    >>> from twinbrain import Brain, Network, Subject, simulate
    >>> person = Subject.from_arrays([[0, 1.0], [1.0, 0]], ["a", "b"])
    >>> run = simulate(Network(Brain.from_subject(person), neurons=400, in_degree=20), duration_s=0.8)
    >>> run.firing_rate.sizes["population"], sorted(set(run.bold.region.values.tolist()))
    (4, ['a', 'b'])
    """

    firing_rate: xr.DataArray
    bold: xr.DataArray
    spikes: xr.Dataset | None
    traces: xr.Dataset | None
    binned_rate: xr.DataArray | None
    voxel_means: xr.Dataset | None
    totals: xr.DataArray | None
    state: dict[str, NDArray[Any]]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def mean_rate_hz(self) -> float:
        """Mean firing rate over all neurons and the whole run."""
        size = self.firing_rate["pop_size"]
        return float((self.firing_rate * size).sum("population").mean() / size.sum())

    def fano(self, bin_ms: float = 4.0) -> float:
        """Return the Fano factor of the whole network's spike count in bins: about 1 for independent neurons.

        0.2 to 10 in 4-ms bins counts as asynchronous in this project. A synchronous network has 10^3 or more; one
        whose neurons all fire at the limit of their refractory time has almost 0. The variance is that inside windows
        of 1 s: a slow change of all rates, as under an estimated drive, is no synchrony, but weighs the more the more
        neurons are counted (137 instead of 4 in a driven network of 374,000). What neurons share within a second still
        grows with their number, so that figures of networks of different size do not compare.

        Raises
        ------
        InputError
            If the run did not record totals.
        """
        if self.totals is None:
            raise InputError("the Fano factor needs Record(totals=True)")
        k = max(1, round(bin_ms / float(self.totals.attrs["exchange_ms"])))
        values = self.totals.values[:, : self.totals.shape[1] // k * k]
        bins = values.reshape(values.shape[0], -1, k).sum(axis=2)
        width = max(2, round(1000.0 / (k * float(self.totals.attrs["exchange_ms"]))))
        if bins.shape[1] > width:
            bins = bins[:, : bins.shape[1] // width * width]
        within = bins.reshape(len(bins), -1, min(width, bins.shape[1]))
        mean = bins.mean(axis=1)
        variance = within.var(axis=2).mean(axis=1)
        return float(np.mean(np.where(mean > 0, variance / np.maximum(mean, 1e-12), np.nan)))

    def to_dataset(self) -> xr.Dataset:
        """Return BOLD by region, rates by population and the recorded spikes as one Dataset, for storage.

        ``spike_time_ms`` counts from the end of the warm-up; ``spike_region`` and ``spike_sign`` say where a neuron
        sits and whether it excites (+1) or inhibits (-1). Of an ensemble the first member is kept, and
        ``bold_spread`` (time, region): the standard deviation between members, pooled over time because there are
        few of them. Attributes: mean_rate_hz, neurons, synapses, multapses (of stored wiring) and, if totals were
        recorded, fano (Fano factor in 4-ms bins) and asynchronous (0.2 <= fano < 10).
        """
        bold, firing_rate, spikes = to_regions(self.bold), self.firing_rate, self.spikes
        out = xr.Dataset()
        if "member" in bold.dims:
            spread = bold.var("member", ddof=1).mean("time") ** 0.5
            if spikes is not None:
                spikes = spikes.isel(spike=np.flatnonzero(spikes["member"].values == bold["member"].values[0]))
            bold, firing_rate = (x.isel(member=0, drop=True) for x in (bold, firing_rate))
            out["bold_spread"] = spread.broadcast_like(bold).transpose("time", "region")
        out["bold"], out["firing_rate"] = bold, firing_rate
        time_ms, neuron = np.zeros(0), np.zeros(0, np.int64)
        if spikes is not None:
            time_ms, neuron = np.asarray(spikes["time_ms"], np.float64), spikes["neuron"].values
        last = np.cumsum(firing_rate["pop_size"].values)
        population = np.searchsorted(last, neuron, side="right")
        out["spike_time_ms"] = ("spike", time_ms, {"units": "ms"})
        out["spike_neuron"] = ("spike", neuron)
        out["spike_region"] = ("spike", firing_rate["pop_region"].values[population])
        out["spike_sign"] = ("spike", firing_rate["pop_sign"].values[population])
        network = self.provenance["network"]
        out.attrs = {
            "mean_rate_hz": self.mean_rate_hz,
            "neurons": network["neurons"],
            "synapses": network["synapses"],
        }
        if self.provenance["multapses"] is not None:
            out.attrs["multapses"] = self.provenance["multapses"]
        if self.totals is not None:
            fano = self.fano(4.0)
            out.attrs |= {"fano": fano, "synchrony_fano_4ms": fano, "asynchronous": bool(0.2 <= fano < 10)}
        return out

    def __repr__(self) -> str:
        sizes = ", ".join(f"{n} {d}s" for d, n in self.bold.sizes.items())
        neurons = self.provenance["network"]["neurons"]
        return f"Run({neurons:,} neurons, mean rate {self.mean_rate_hz:.2f} Hz, BOLD of {sizes})"

    def _repr_html_(self) -> str:
        shape = dict(self.bold.sizes)
        return f"<b>Run</b>: mean rate {self.mean_rate_hz:.2f} Hz, BOLD {shape}"


def simulate(
    network: Network,
    duration_s: float | None = None,
    drive: Drive | None = None,
    *,
    repetition_time_s: float | None = None,
    warm_up_s: float = 0.0,
    seed: int = 0,
    members: int | Sequence[int] = 1,
    dt_ms: float = 1.0,
    exchange_ms: float = 1.0,
    balloon: Balloon | None = None,
    record: Record | None = None,
    threads: int = 1,
    wiring: str | Wiring | SlotMap = "auto",
    state: dict[str, NDArray[Any]] | None = None,
    progress: Callable[[int, int], None] | None = None,
    checkpoint: _Checkpoint | None = None,
    checkpoint_every_s: float = 300.0,
) -> Run:
    """Simulate a network freely: no correction while it runs.

    Parameters
    ----------
    network : Network
    duration_s : float, optional
        Simulated time; a whole number of repetition times is run, as many as fit. Default: as long as the drive.
    drive : Drive, optional
        Currents into the excitatory neurons of chosen regions; held at its first row during the warm-up.
    repetition_time_s : float, optional
        Interval of BOLD samples and rates; default the drive's, else 0.8 s. Each sample is taken at the nearest
        exchange interval (offset at most half of one; said in the log if it is not 0).
    warm_up_s : float
        Simulated before anything is recorded.
    seed : int
        Of noise and initial state.
    members : int or sequence of int
        Ensemble over shared wiring; see :class:`twinbrain.simulate.Simulation`.
    wiring : "auto", "stored", "procedural", Wiring or SlotMap
        Keep all synapses as lists, or make them anew from the seed whenever a spike needs them, which takes next to no
        memory. The spikes are the same. ``auto`` stores what fits the memory; log and provenance say why. Or synapses
        that ``network.wire()`` or ``network.slot_map()`` built before.
    dt_ms, exchange_ms : float
        Integration step and spike exchange interval, ms.
    record : Record, optional
    threads : int
        The result does not depend on it; 0 for all processors.
    state : dict, optional
        ``Run.state`` of an earlier run of the same network to go on from (then ``warm_up_s`` should be 0).
    progress : callable, optional
        Called as ``progress(samples done, samples in all)`` about once a second; may raise
        :class:`twinbrain.Interrupted`, which saves the run first.
    checkpoint, checkpoint_every_s : object with save and load, float
        Where to save the unfinished run whenever so many seconds have passed, and to go on from. The wall clock
        decides when that happens, never what is saved: a run that goes on ends in the same bits.

    Returns
    -------
    Run

    Raises
    ------
    InputError
        If the duration is missing or shorter than one repetition time, or an input of the drive is unknown.

    Examples
    --------
    >>> from twinbrain import Brain, Network, Subject, simulate
    >>> person = Subject.from_arrays([[0, 1.0], [1.0, 0]], ["a", "b"])
    >>> run = simulate(Network(Brain.from_subject(person), neurons=400, in_degree=20), duration_s=1.6)
    >>> run.bold.sizes["time"], run.firing_rate.attrs["units"]
    (2, 'Hz')
    """
    record = record or Record()
    tr = repetition_time_s or (drive.repetition_time_s if drive is not None else 0.8)
    if drive is not None and abs(tr - drive.repetition_time_s) > 1e-9:
        raise InputError(f"repetition_time_s ({tr} s) must equal that of the drive ({drive.repetition_time_s} s)")
    if duration_s is None and drive is None:
        raise InputError("simulate needs duration_s, or a drive whose length it can take")
    duration = drive.duration_s if duration_s is None and drive is not None else float(duration_s or 0.0)
    samples = int(np.floor(duration / tr + 1e-6))
    if samples < 1:
        raise InputError(f"duration_s ({duration}) must be at least one repetition time ({tr} s)")
    if drive is not None and samples > drive.values.sizes["time"]:
        raise InputError(
            f"duration_s ({duration}) is longer than the drive ({drive.duration_s} s): shorten the one or extend the "
            "other"
        )
    steps, offset = sample_steps(samples, tr, exchange_ms)
    if offset > 0:
        _LOG.info("BOLD is sampled at the nearest exchange interval: up to %.2g ms from k x %g s", offset * 1e3, tr)
    engine = Simulation(
        network,
        members=members,
        threads=threads,
        dt_ms=dt_ms,
        exchange_ms=exchange_ms,
        inputs=drive.inputs if drive is not None else (),
        gamma_shape=drive.shape if drive is not None else 5.0,
        seed=seed,
        wiring=wiring,
        balloon=balloon,
    )
    work = Recording(engine, record, drive, steps)
    saved = checkpoint.load() if checkpoint is not None else None
    due = Due(checkpoint_every_s)

    def pause() -> None:
        try:
            if progress is not None:
                progress(work.done, samples)
        except Interrupted:
            if checkpoint is not None:
                checkpoint.save(work.state())
            raise
        if checkpoint is not None and (due() or work.done == samples):
            checkpoint.save(work.state())

    if saved is not None:
        work.restore(saved)
    else:
        work.begin(resumable=checkpoint is not None)
        if state is not None:
            engine.restore(state)
        work.start = engine.step + round(warm_up_s * 1000 / exchange_ms)
    work.warm_up(pause)
    while work.done < samples:
        work.sample(pause)
        pause()
    time = drive.values["time"].values[:samples] if drive is not None else np.arange(1, samples + 1) * tr
    return _result(work, np.asarray(time, np.float64), tr, offset, warm_up_s)


def _result(work: Recording, time: NDArray[np.float64], tr: float, offset: float, warm_up_s: float) -> Run:
    """Label what was recorded."""
    engine, network = work.engine, work.engine.network
    table, brain = network.populations, network.brain
    members = list(engine.members)
    labels = np.array([f"{v}:{n}" for v, n in zip(np.array(brain.voxels)[table["voxel"]], table["name"], strict=True)])
    coords = {"member": members, "time": time}
    populations = {
        "population": labels,
        "pop_region": ("population", table["region"].to_numpy(str)),
        "pop_name": ("population", table["name"].to_numpy(str)),
        "pop_sign": ("population", table["sign"].to_numpy()),
        "pop_size": ("population", table["size"].to_numpy()),
    }
    voxels = {
        "voxel": np.array(brain.voxels, dtype=str),
        "region": ("voxel", np.array(brain.regions, dtype=str)[brain.region_index]),
        "weight": ("voxel", brain.grey_matter),
    }
    firing_rate = xr.DataArray(
        work.members_first("rates"),
        dims=("member", "time", "population"),
        coords={**coords, **populations},
        attrs={"units": "Hz", "long_name": "firing rate"},
    )
    signal = xr.DataArray(
        work.members_first("bold"),
        dims=("member", "time", "voxel"),
        coords={**coords, **voxels},
        attrs={
            "units": "1",
            "long_name": "BOLD, fraction of the resting signal",
            "repetition_time_s": tr,
            "offset_s": offset,
        },
    )
    if len(members) == 1:
        firing_rate, signal = firing_rate.isel(member=0, drop=True), signal.isel(member=0, drop=True)
    totals = None
    if engine.totals is not None:
        totals = xr.DataArray(
            np.concatenate(engine.totals, axis=1),
            dims=("member", "step"),
            coords={"member": members},
            attrs={"units": "spikes", "exchange_ms": engine.exchange_ms},
        )
    provenance = {
        "network": network.describe(),
        "multapses": engine.wiring.multapses,
        "wiring": "stored" if isinstance(engine.wiring, Wiring) else "procedural",
        "wiring_reason": engine.wiring_reason,
        "seed": engine.seed,
        "members": members,
        "dt_ms": engine.dt_ms,
        "exchange_ms": engine.exchange_ms,
        "repetition_time_s": tr,
        "sample_offset_s": offset,
        "warm_up_s": warm_up_s,
    }
    return Run(
        firing_rate=firing_rate,
        bold=signal,
        spikes=work.spikes(),
        traces=work.traces(),
        binned_rate=work.binned(populations),
        voxel_means=work.voxel_means(voxels),
        totals=totals,
        state=engine.state(),
        provenance=provenance,
    )
