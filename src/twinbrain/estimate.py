"""What a run will need, said before it begins: memory from the sizes, time from the speed of the machine."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from twinbrain.errors import InputError
from twinbrain.kernels.update import BLOCK

__all__ = ["DEFAULT_SPEEDS", "Estimate", "Sizes", "Speeds", "estimate_run", "refuse_what_does_not_fit"]


@dataclass(frozen=True)
class Speeds:
    """How fast a machine is: wall time of one thread per unit of work.

    Attributes
    ----------
    update_ns : float
        Per neuron and integration step.
    event_ns : float
        Per synaptic event.
    voxel_ns : float
        Per voxel and exchange interval (counting and BOLD).
    step_us : float
        Per member and exchange interval, whatever its size.
    build_ns : float
        Per synapse built.
    gain : float
        How many times faster all threads are together than one.
    threads : int
        Threads for which ``gain`` holds.
    source : str
        Where the numbers come from.

    Examples
    --------
    >>> DEFAULT_SPEEDS.update_ns
    3.0
    """

    update_ns: float
    event_ns: float
    voxel_ns: float
    step_us: float
    build_ns: float
    gain: float
    threads: int
    source: str


DEFAULT_SPEEDS = Speeds(
    update_ns=3.0, event_ns=3.0, voxel_ns=25.0, step_us=5.0, build_ns=45.0, gain=1.9, threads=2,
    source="default speeds, this machine was not measured",
)  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """How large a run is.

    Attributes
    ----------
    neurons, synapses, voxels, members : int
    state_bytes : int
        Of one neuron of one member: state, parameters and arrivals.
    synapse_bytes : int
        Of one stored synapse; 0 if the wiring is procedural.
    neuron_bytes : int
        Of one neuron, shared by the members.
    fixed_bytes : int
        What does not grow with neurons: tables of the projection, of populations, recordings.

    Examples
    --------
    >>> Sizes(neurons=1000, synapses=100_000, voxels=2).state_gb < 0.001
    True
    """

    neurons: int
    synapses: int
    voxels: int
    members: int = 1
    state_bytes: int = 36
    synapse_bytes: int = 5
    neuron_bytes: int = 12
    fixed_bytes: int = 0

    @property
    def stored_neurons(self) -> int:
        """Neurons in whole blocks, as they are held and updated."""
        return -(-self.neurons // BLOCK) * BLOCK

    @property
    def state_gb(self) -> float:
        """Memory of everything but the synapses, GB."""
        own = self.stored_neurons * (self.state_bytes * self.members + self.neuron_bytes)
        return (own + self.fixed_bytes) / 1e9

    @property
    def wiring_gb(self) -> float:
        """Memory of the stored synapses, GB."""
        return self.synapses * self.synapse_bytes / 1e9


@dataclass(frozen=True)
class Estimate:
    """What a run will need. Sizes in GB (10^9 bytes), times in s; made from a stated machine profile.

    Attributes
    ----------
    neurons, synapses, members : int
    build_memory_gb, memory_gb : float
        Largest memory while the wiring is built, and while the network runs.
    build_s, run_s : float
        Wall time to build and to simulate.
    profile : str
        Where the machine's speed comes from.

    Examples
    --------
    >>> print(Estimate(1000, 100_000, 1, 0.2, 0.2, 0.01, 5.2, "default speeds"))  # doctest: +ELLIPSIS
    1,000 neurons x 1 member, 100,000 synapses: about 0.2 GB ..., less than 1 s to build and 5 s to run (default speeds)
    """

    neurons: int
    synapses: int
    members: int
    build_memory_gb: float
    memory_gb: float
    build_s: float
    run_s: float
    profile: str

    @property
    def peak_memory_gb(self) -> float:
        """The larger of the two memories."""
        return max(self.build_memory_gb, self.memory_gb)

    def __str__(self) -> str:
        return (
            f"{self.neurons:,} neurons x {self.members} member{'s' if self.members > 1 else ''}, "
            f"{self.synapses:,} synapses: about {self.memory_gb:.2g} GB ({self.build_memory_gb:.2g} GB while "
            f"building), {_spoken(self.build_s)} to build and {_spoken(self.run_s)} to run ({self.profile})"
        )

    def beside(self, build_s: float, run_s: float, peak_memory_gb: float) -> str:
        """Say what was foretold and what it came to.

        Examples
        --------
        >>> Estimate(1000, 100_000, 1, 0.2, 0.3, 1.0, 60.0, "").beside(1.0, 80.0, 0.31)
        'foretold: 61 s and 0.3 GB; taken: 81 s and 0.31 GB'
        """
        return (
            f"foretold: {_spoken(self.build_s + self.run_s)} and {self.peak_memory_gb:.2g} GB; "
            f"taken: {_spoken(build_s + run_s)} and {peak_memory_gb:.2g} GB"
        )


def _spoken(seconds: float) -> str:
    """Say a rough time in words."""
    if seconds < 1:
        return "less than 1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def estimate_run(
    sizes: Sizes,
    duration_s: float,
    *,
    threads: int = 1,
    dt_ms: float = 1.0,
    exchange_ms: float = 1.0,
    rate_hz: float = 4.0,
    speeds: Speeds = DEFAULT_SPEEDS,
) -> Estimate:
    """Estimate memory and wall time of a run from its sizes.

    Memory is counted: all arrays of state, parameters, arrivals and synapses, and what this process holds already
    (the interpreter and its libraries). While synapses are built they are held once as drawn and once sorted. Time is
    (updates x update_ns + events x event_ns + voxels x intervals x voxel_ns + members x intervals x step_us), divided
    by what threads gain. The first run on a machine also compiles the kernels (10-20 s).

    Parameters
    ----------
    sizes
    duration_s
        Simulated time.
    threads, dt_ms, exchange_ms
        Of the run.
    rate_hz
        Mean firing rate to expect.
    speeds
        Of the machine.

    Examples
    --------
    >>> sizes = Sizes(neurons=1_000_000, synapses=100_000_000, voxels=94)
    >>> estimate = estimate_run(sizes, 10.0, threads=2)
    >>> 10 < estimate.run_s < 60
    True
    """
    held = psutil.Process().memory_info().rss / 1e9
    intervals = duration_s * 1000.0 / exchange_ms
    gain = 1 + (speeds.gain - 1) * (threads - 1) / max(speeds.threads - 1, 1)
    updates = sizes.stored_neurons * sizes.members * duration_s * 1000.0 / dt_ms
    events = sizes.synapses * sizes.members * duration_s * rate_hz
    parallel = updates * speeds.update_ns + events * speeds.event_ns
    serial = sizes.members * intervals * (sizes.voxels * speeds.voxel_ns + speeds.step_us * 1e3)
    return Estimate(
        neurons=sizes.neurons,
        synapses=sizes.synapses,
        members=sizes.members,
        build_memory_gb=held + 1.5 * sizes.wiring_gb + sizes.fixed_bytes / 1e9,
        memory_gb=held + sizes.wiring_gb + sizes.state_gb,
        build_s=(sizes.synapses if sizes.synapse_bytes else 0) * speeds.build_ns * 1e-9 / gain,
        run_s=(parallel / gain + serial) * 1e-9,
        profile=speeds.source,
    )


def refuse_what_does_not_fit(estimate: Estimate, *, room_gb: float | None = None) -> None:
    """Refuse a run that needs more memory than is free, and say what would fit.

    Parameters
    ----------
    estimate
    room_gb
        Memory that may be used; default what the system says is available, and what this process holds.

    Raises
    ------
    InputError
        With the numbers.

    Examples
    --------
    >>> refuse_what_does_not_fit(Estimate(10**6, 10**8, 1, 2.0, 1.5, 1.0, 9.0, ""), room_gb=1.0)
    Traceback (most recent call last):
    twinbrain.errors.InputError: this run of 1,000,000 neurons needs about 2 GB, but only 1 GB are free: ...
    """
    if room_gb is None:
        room_gb = (psutil.virtual_memory().available + psutil.Process().memory_info().rss) / 1e9
    need = estimate.peak_memory_gb
    if need <= room_gb:
        return
    held = psutil.Process().memory_info().rss / 1e9
    share = max(room_gb - held, 0.0) / max(need - held, 1e-9)
    fits = int(estimate.neurons * share * 0.9 // 1000 * 1000)
    advice = f"about {fits:,} neurons would fit" if fits >= 1000 else "close other programs"
    fewer = ", or ask for fewer members" if estimate.members > 1 else ""
    raise InputError(
        f"this run of {estimate.neurons:,} neurons needs about {need:.2g} GB, but only {room_gb:.2g} GB are free: "
        f"{advice} with the same in-degree{fewer}"
    )
