"""The running network: state of all members in flat blocks, advanced by the kernels on a few threads."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinbrain.errors import InputError, nearest
from twinbrain.kernels.deliver import make_advance
from twinbrain.kernels.initial import make_initial
from twinbrain.kernels.random import derive_key
from twinbrain.kernels.slots import SCRATCH, SlotMap
from twinbrain.kernels.update import BLOCK, PARAMETERS, ROW_OU, ROW_V, STRIDE
from twinbrain.kernels.wiring import Wiring
from twinbrain.links import Links, choose_wiring, tile_blocks
from twinbrain.network import Network
from twinbrain.neuron import CHANNELS
from twinbrain.observe import Balloon, advance_balloon, bold_signal, resting_state
from twinbrain.parallel import check_threads, run_threads
from twinbrain.tuning import aligned, check_tunable, delays, gamma_factors, kernel_parameters, packing

__all__ = ["Simulation"]

_LOG = logging.getLogger(__name__)

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_COUNT_BYTES = 32_000_000  # bound on the buffer of spike counts per voxel and step
_SPIKE_ROWS = 4_000_000  # bound on the buffer of recorded spikes


class Simulation:
    """A network that runs: the mutable engine behind :func:`twinbrain.simulate` and the filters.

    Parameters
    ----------
    network : Network
    members : int or sequence of int
        How many members, or their numbers. Members share the wiring and differ in noise, initial state and drive; a
        member has the same spikes alone and in any ensemble.
    threads : int
        Threads; 0 for all processors. The spikes do not depend on it.
    dt_ms, exchange_ms : float
        Integration step, and the interval at which spikes are exchanged: a whole number of steps; spikes act at
        its end.
    inputs : sequence of str
        Regions (or voxels) whose excitatory neurons receive the currents of :meth:`set_drive`.
    gamma_shape : float
        Shape of the Gamma factor of the drive, see :class:`twinbrain.Drive`.
    seed : int
        Of initial state and noise.
    wiring : "auto", "stored", "procedural", Wiring or SlotMap
        Synapses as lists, or regenerated whenever a spike needs them; ``auto`` chooses by the memory available. Or
        synapses built before by ``network.wire`` or ``network.slot_map``. The spikes do not depend on it.
    tunable : sequence of str
        Conductances that :meth:`set_conductances` will change, for example ``("g_ampa",)``.

    Raises
    ------
    InputError
        If an input or a tunable conductance is unknown, or the steps do not fit each other and the refractory time.
    """

    def __init__(
        self,
        network: Network,
        *,
        members: int | Sequence[int] = 1,
        threads: int = 1,
        dt_ms: float = 1.0,
        exchange_ms: float = 1.0,
        inputs: Sequence[str] = (),
        gamma_shape: float = 5.0,
        seed: int = 0,
        wiring: str | Wiring | SlotMap | None = None,
        balloon: Balloon | None = None,
        tunable: Sequence[str] = (),
    ) -> None:
        self.network = network
        self.members = tuple(range(members)) if isinstance(members, int) else tuple(members)
        if not self.members or min(self.members) < 0:
            raise InputError(f"members must be a number above 0 or a list of numbers, found {members}")
        self.threads = check_threads(threads)
        self.dt_ms, self.exchange_ms = float(dt_ms), float(exchange_ms)
        self.substeps = round(exchange_ms / dt_ms) if dt_ms > 0 else 0
        if self.substeps < 1 or abs(self.substeps * dt_ms - exchange_ms) > 1e-9:
            raise InputError(f"exchange_ms ({exchange_ms}) must be a whole multiple of dt_ms ({dt_ms})")
        if network.parameter("refractory_ms").min() < exchange_ms:
            raise InputError(
                f"the refractory time must be at least one exchange interval ({exchange_ms} ms), or spikes would be "
                f"lost; found {network.parameter('refractory_ms').min()} ms"
            )
        self.seed, self.step = int(seed), 0
        self.balloon_constants = balloon or Balloon()
        self.tunable = check_tunable(tunable, network)
        self._parameters = kernel_parameters(network, self.dt_ms, self.tunable, len(inputs) > 0)
        self.layout, self._scalars = self._parameters.layout, self._parameters.scalars
        e = len(self.members)
        state_bytes = e * network.neurons * (2 if self.layout.half else 4) * self.layout.n_rows
        self.wiring, self.wiring_reason = choose_wiring(network, wiring, e, self.threads, state_bytes)
        self._allocate()
        self._place_inputs(tuple(inputs), gamma_shape)
        self._initial_state()
        self._recorded = np.zeros(0, np.uint8)
        self._sampled = np.zeros(0, np.int64)
        self.recorded_spikes: list[tuple[int, Int, Int]] = []
        self.recorded_samples: list[NDArray[np.float32]] = []
        self.totals: list[NDArray[np.int64]] | None = None
        self._broken = False  # while a step is under way, and for ever if it fails

    @property
    def steps_per_s(self) -> float:
        """Exchange intervals per second."""
        return 1000.0 / self.exchange_ms

    def _allocate(self) -> None:
        network, n = self.network, self.network.neurons
        a = network.anatomy
        self._population_first = np.append(a.first, n)
        self._sign = a.sign[a.kind[a.voxel], a.local]
        voxel_size = np.add.reduceat(a.size, a.voxel_population[:-1])
        self.voxel_size = voxel_size
        self.n_blocks = -(-n // BLOCK)
        e = len(self.members)
        self._packing = packing(network, self._parameters)
        self._state = aligned((e, self.n_blocks, self.layout.n_rows * STRIDE), self._packing.dtype)
        self._delays = delays(network, self.exchange_ms)
        depth = 1 if self._delays is None else self._delays.most
        self._flying = np.zeros((e, depth, -(-n // 8)), np.uint8)  # spikes of the last steps, one bit per neuron
        for name in self.layout.varying:
            values = self._parameters.of_neurons(name, network, self._population_of)
            self._put(self._row_of(name), values.astype(np.float32))
        self._tables = [self._parameters.table] * e
        voxels = len(network.brain.voxels)
        self.conductance_factors = np.ones((e, len(self.tunable), voxels))
        self.background = np.full((e, voxels), np.nan)
        self.balloon = resting_state(e, voxels)
        self._counts = np.zeros((e, len(a.size)), np.int64)
        self._counted_steps = 0
        self._parts = 1 if e >= self.threads else min(self.threads, self.n_blocks)
        self._blocks = np.linspace(0, self.n_blocks, self._parts + 1).astype(np.int64)
        self._workers = min(self.threads, e) if self._parts == 1 else 1
        self._scratch = [self._workspace() for _ in range(max(self._parts, self._workers))]
        tile = (self._scratch[0][0].shape[1] - 16) // BLOCK
        self._links = Links(network, self.wiring, self._blocks, tile, self._workers, self._delays)
        self._advance = make_advance(
            self.layout.constants, self._links.procedural, self._links.two_weights, self._links.bits
        )
        if not self._advance.signatures:
            _LOG.info("loading the kernels for this network; the first time on a machine they are compiled (10-20 s)")

    @cached_property
    def _population_of(self) -> NDArray[np.int32]:
        """Population of every neuron; made only if something needs it."""
        size = self.network.anatomy.size
        return np.repeat(np.arange(len(size), dtype=np.int32), size)

    def _workspace(self) -> tuple[NDArray[Any], ...]:
        """Return what one thread writes for itself: arrival sums of a tile, noise, parameters of a block, spikes."""
        layout = self.layout
        widest = int(np.diff(self._blocks).max())
        block_bytes = layout.n_ports * BLOCK * np.dtype(layout.arrival_type).itemsize
        stored = isinstance(self.wiring, Wiring)
        pushed = not stored or self._delays is not None
        tile = tile_blocks(widest, block_bytes, alone=stored and self._parts == 1, pushed=pushed)
        return (
            aligned((layout.n_ports, tile * BLOCK + 16), layout.arrival_type),
            aligned((BLOCK,), np.float32),
            aligned((len(layout.by_population) * STRIDE + 16,), np.float32),
            aligned((BLOCK,), np.uint8),
            aligned((layout.n_rows * STRIDE if layout.half else 0,), np.float32),
            aligned((SCRATCH,), np.uint32),
        )

    def _row_of(self, name: str) -> int:
        return self.layout.rows[4 + PARAMETERS.index(name)]

    def _rows(self, member: int | slice) -> NDArray[Any]:
        """Return the state of a member (or of several) as it is held, (..., blocks, rows, BLOCK), a view."""
        state = self._state[member]
        return state.reshape(*state.shape[:-1], self.layout.n_rows, STRIDE)[..., :BLOCK]

    def _put(self, row: int, values: NDArray[np.float32], member: int | None = None) -> None:
        """Write one row of all neurons, of one member or of all."""
        padded = np.zeros(self.n_blocks * BLOCK, np.float32)
        padded[: len(values)] = values
        which = slice(None) if member is None else member
        self._rows(which)[..., row, :] = self._packing.encode(row, padded).reshape(self.n_blocks, BLOCK)

    def _get(self, row: int, member: int) -> NDArray[np.float32]:
        part = self._rows(member)[:, row]
        return self._packing.decode(row, part.reshape(-1)[: self.network.neurons])

    def _initial_state(self) -> None:
        """V uniform between reset and threshold, noise at its stationary distribution, no arrivals."""
        get, parts = self.network.parameter, self.threads
        rows = get("reset_mv"), get("threshold_mv"), get("background_std")
        edges = np.linspace(0, self.n_blocks, parts + 1).astype(np.int64)
        initial = make_initial()
        for k, member in enumerate(self.members):
            key = [np.uint64(x) for x in derive_key(self.seed, "initial", member)]

            def fill(part: int, k: int = k, key: list[np.uint64] = key) -> None:
                initial(
                    self._state[k], edges[part], edges[part + 1], self.network.neurons, self._population_first, *rows,
                    self._packing.scale, *key
                )  # fmt: skip

            run_threads(fill, parts)

    def _place_inputs(self, inputs: tuple[str, ...], shape: float) -> None:
        brain, a = self.network.brain, self.network.anatomy
        self.inputs = inputs
        self.voxel_of_input: list[Int] = []
        regions, voxels = list(brain.regions), {str(v): k for k, v in enumerate(brain.voxels)}
        self._input_neurons: list[Int] = []
        self._input_gamma: list[Float] = []
        taken: set[int] = set()
        for name in inputs:
            if name in regions:
                which = np.flatnonzero(brain.region_index == regions.index(name))
            elif name in voxels:
                which = np.array([voxels[name]])
            else:
                raise InputError(
                    f"input '{name}' is not a region of this Brain{nearest(name, regions)}; "
                    f"it has {len(regions)} regions"
                )
            if taken & set(which.tolist()):
                raise InputError(f"input '{name}' drives a voxel that another input drives already")
            taken |= set(which.tolist())
            self.voxel_of_input.append(which)
            neurons, factors = [], []
            for v in which:
                for p in range(a.voxel_population[v], a.voxel_population[v + 1]):
                    if self._sign[p] > 0 and a.size[p] > 0:
                        ids = a.first[p] + np.arange(a.size[p])
                        gamma = gamma_factors(shape, ids, self.network.seed, "gamma")
                        neurons.append(ids)
                        factors.append(gamma / gamma.mean())
            if not neurons:
                raise InputError(
                    f"input '{name}' has no excitatory neuron among the network's {self.network.neurons:,}: give the "
                    "network more neurons, or leave this input out"
                )
            self._input_neurons.append(np.concatenate(neurons))
            self._input_gamma.append(np.concatenate(factors))
        self.drive = np.zeros((len(self.members), len(inputs)))

    def set_drive(self, h: NDArray[np.float64]) -> None:
        """Set the currents of the inputs: ``h`` (members, inputs) or (inputs,), until the next call.

        The excitatory neurons of an input get background mean + h gamma_i.
        """
        self.drive[:] = h
        self._write_drive()

    def _write_drive(self) -> None:
        row = self.layout.row_drive
        for k, (ids, gamma) in enumerate(zip(self._input_neurons, self._input_gamma, strict=True)):
            for m in range(len(self.members)):
                values = self._packing.encode(row, (self.drive[m, k] * gamma).astype(np.float32))
                self._rows(m)[ids // BLOCK, row, ids % BLOCK] = values

    def _write_column(self, name: str, values: Float, member: int) -> None:
        """Change a parameter of all populations of one member."""
        table = self._tables[member].copy()  # it may be shared
        table[:, self.layout.by_population.index(name)] = values
        self._tables[member] = table

    def set_background(self, values: NDArray[np.float64]) -> None:
        """Replace the mean background current of all neurons of a voxel, until the next call.

        Parameters
        ----------
        values : ndarray (members, voxels) or (voxels,)
            Model units of current; NaN keeps the parameter of the network. The currents of :meth:`set_drive` are added.

        Raises
        ------
        InputError
            If the shape does not fit, or a value is infinite.
        """
        self.background = self._per_voxel(values, "set_background", allow_nan=True)
        get = self.network.parameter
        leak, mean = get("leak_conductance") * get("leak_potential_mv"), get("background_mean")
        for m in range(len(self.members)):
            own = self.background[m, self.network.anatomy.voxel]
            self._write_column("current", leak + np.where(np.isnan(own), mean, own), m)

    def set_conductances(self, factors: Mapping[str, NDArray[np.float64]]) -> None:
        """Multiply conductances of all neurons of a voxel by factors, until the next call.

        Factors are of the network's own values: they do not accumulate, and 1 restores them to the bit. What a channel
        holds already stays; arrivals from now on count with the new value.

        Parameters
        ----------
        factors : mapping of name to ndarray (members, voxels) or (voxels,)
            Names announced as ``tunable``, for example ``{"g_ampa": factors}``; those not named stay as they are.

        Raises
        ------
        InputError
            If a name was not announced, a shape does not fit, or a factor is negative or not finite.
        """
        for name, values in factors.items():
            if name not in self.tunable:
                raise InputError(
                    f"set_conductances: '{name}' was not announced{nearest(name, self.tunable)}; name it when the "
                    f'Simulation is made, tunable=("{name}",)'
                )
            new = self._per_voxel(values, f"set_conductances: '{name}'")
            if (new < 0).any():
                raise InputError(f"set_conductances: '{name}' must not be negative, found {new.min()}")
            self.conductance_factors[:, self.tunable.index(name)] = new
            row = name.replace("g_", "w_")
            for m in range(len(self.members)):
                factor = new[m, self.network.anatomy.voxel]
                if row in self.layout.by_population:
                    self._write_column(row, self._parameters.values[row] * factor, m)
                else:
                    base = self._parameters.of_neurons(row, self.network, self._population_of)
                    self._put(self._row_of(row), (base * factor[self._population_of]).astype(np.float32), m)

    def _per_voxel(self, values: NDArray[np.float64], what: str, allow_nan: bool = False) -> Float:
        """Return values as (members, voxels), or say what is wrong with them."""
        shape = (len(self.members), len(self.network.brain.voxels))
        array = np.asarray(values, np.float64)
        if array.shape not in (shape, shape[1:]):
            raise InputError(f"{what}: found an array of shape {array.shape}, expected (members, voxels) = {shape}")
        bad = np.isinf(array) if allow_nan else ~np.isfinite(array)
        if bad.any():
            voxel = str(np.array(self.network.brain.voxels)[np.argwhere(bad)[0][-1]])
            raise InputError(f"{what}: voxel '{voxel}' has the value {array[bad][0]}, expected a finite number")
        return np.array(np.broadcast_to(array, shape))

    def record_spikes(self, neurons: Sequence[int] | Int | None) -> None:
        """Record the spikes of these neurons from now on (None: of no neuron) into ``recorded_spikes``."""
        self._recorded = np.zeros(0, np.uint8)
        if neurons is not None and len(neurons):
            self._recorded = np.zeros(self.network.neurons, np.uint8)
            self._recorded[np.asarray(neurons)] = 1

    def record_voltages(self, neurons: Sequence[int] | Int) -> None:
        """Record V of these neurons at the end of every exchange interval from now on into ``recorded_samples``."""
        self._sampled = np.asarray(neurons, np.int64)

    def record_totals(self, on: bool = True) -> None:
        """Keep the number of spikes of the whole network in every exchange interval in ``totals``."""
        self.totals = [] if on else None

    def advance(self, steps: int) -> None:
        """Advance all members, and their Balloon states, by a number of exchange intervals."""
        per_step = 4 * len(self.network.brain.voxels) * self._parts * min(self.threads, len(self.members))
        chunk = max(1, _COUNT_BYTES // per_step)
        n_recorded = int(self._recorded.sum())
        if n_recorded:
            chunk = max(1, min(chunk, _SPIKE_ROWS // n_recorded))
        if self._broken:
            raise RuntimeError(
                "an earlier step of this Simulation failed half-way; make a new one and restore its state"
            )
        left = steps
        while left > 0:
            n = min(left, chunk)
            self._broken = True
            self._advance_chunk(n, n_recorded)
            self._broken = False
            left -= n

    def _advance_chunk(self, steps: int, n_recorded: int) -> None:
        e = len(self.members)
        results: list[list[Any]] = [[] for _ in range(e)]
        totals = np.zeros((e, steps), np.int64)
        if self._parts == 1:
            workers = self._workers
            task_buffers = [self._buffers(steps, n_recorded) for _ in range(workers)]

            def work(k: int) -> None:
                for m in range(k, e, workers):
                    self._clear(task_buffers[k])
                    begin = 0
                    while begin < steps:
                        begin = self._run_part(m, 0, begin, steps, task_buffers[k], k)
                        self._make_room(begin < steps, task_buffers[k], k)
                    self._after(m, steps, task_buffers[k], results[m], totals[m])

            run_threads(work, workers)
        else:
            buffers = self._buffers(steps, n_recorded)

            def stop() -> None:
                buffers["counter"][1] = 1

            for m in range(e):
                self._clear(buffers)
                begin = 0
                while begin < steps:
                    done = np.zeros(self._parts, np.int64)

                    def run(part: int, m: int = m, begin: int = begin, done: Int = done) -> None:
                        done[part] = self._run_part(m, part, begin, steps, buffers, 0)

                    run_threads(run, self._parts, stop)
                    begin = int(done[0])
                    self._make_room(begin < steps, buffers, 0)
                self._after(m, steps, buffers, results[m], totals[m])
        for m in range(e):
            for step, neuron in results[m]:
                self.recorded_spikes.append((self.members[m], step, neuron))
        if len(self._sampled):
            self.recorded_samples.append(np.stack(self._samples_of))
        if self.totals is not None:
            self.totals.append(totals)
        self.step += steps
        self._counted_steps += steps

    def _buffers(self, steps: int, n_recorded: int) -> dict[str, NDArray[Any]]:
        parts = self._parts
        widest = int(np.diff(self._blocks).max()) * BLOCK
        refractory = max(1, int(self.network.parameter("refractory_ms").min() // self.exchange_ms))
        capacity = min(n_recorded, widest) * (steps // refractory + 1) if n_recorded else 0
        self._samples_of: list[Any] = [np.zeros((steps, len(self._sampled)), np.float32) for _ in self.members]
        return {
            "spikes": np.zeros((self._flying.shape[1] + 1, parts, widest), np.int32),
            "n_spikes": np.zeros((self._flying.shape[1] + 1, parts), np.int64),
            "counter": np.zeros(2, np.int64),
            "counts": np.zeros((parts, self._counts.shape[1]), np.int64),
            "voxel_counts": np.zeros((parts, steps, len(self.network.brain.voxels)), np.int32),
            "record_step": np.zeros((parts, capacity), np.int64),
            "record_id": np.zeros((parts, capacity), np.int64),
            "n_recorded": np.zeros(parts, np.int64),
        }

    @staticmethod
    def _clear(buffers: dict[str, NDArray[Any]]) -> None:
        for name in ("n_spikes", "counter", "counts", "voxel_counts", "n_recorded"):
            buffers[name][:] = 0

    def _make_room(self, stopped: bool, buffers: dict[str, NDArray[Any]], worker: int) -> None:
        """Give procedural wiring more room for events, after a step in which very many neurons fired."""
        if stopped:
            self._links.grow(worker)
            buffers["counter"][:] = 0

    def _run_part(self, m: int, part: int, begin: int, steps: int, b: dict[str, NDArray[Any]], worker: int) -> int:
        k0, k1 = (np.uint64(k) for k in derive_key(self.seed, "noise", self.members[m]))
        links = self._links
        return int(self._advance(
            part, self._parts, self._blocks, begin, steps, self.step, self.substeps, self.network.neurons,
            self._state[m], self._packing.scale, self._flying[m], *self._scratch[worker + part], self._scalars,
            self._tables[m], k0, k1, links.wires, links.arenas[worker], self._population_first, self._sign,
            self.network.anatomy.voxel, self.layout.ports, b["spikes"], b["n_spikes"], b["counter"], b["counts"],
            b["voxel_counts"], self._recorded, b["record_step"], b["record_id"], b["n_recorded"], self._sampled,
            self._samples_of[m],
        ))  # fmt: skip

    def _after(
        self, m: int, steps: int, b: dict[str, NDArray[Any]], found: list[Any], total: NDArray[np.int64]
    ) -> None:
        """Collect what one member did: counts, Balloon, recorded spikes (in order of time, then neuron)."""
        self._counts[m] += b["counts"].sum(axis=0)
        activity = b["voxel_counts"].sum(axis=0) if self._parts > 1 else b["voxel_counts"][0]
        advance_balloon(
            self.balloon[m], activity, self.exchange_ms * 1e-3,
            1.0 / (np.maximum(self.voxel_size, 1) * self.exchange_ms),
            self.balloon_constants,
        )  # fmt: skip
        total[:] = activity.sum(axis=1)
        kept = [np.arange(n) for n in b["n_recorded"]]
        if any(len(k) for k in kept):
            step = np.concatenate([b["record_step"][p, k] for p, k in enumerate(kept)])
            neuron = np.concatenate([b["record_id"][p, k] for p, k in enumerate(kept)])
            order = np.lexsort((neuron, step))
            found.append((step[order], neuron[order]))
        if len(self._sampled):
            v = self._samples_of[m]
            held = v < -500.0
            if held.any():
                own = np.searchsorted(self._population_first, self._sampled, side="right") - 1
                reset = self.network.parameter("reset_mv")[own]
                v[:] = np.where(held, reset.astype(np.float32), v)

    def bold(self) -> Float:
        """Return the BOLD signal now, (members, voxels), as a fraction of the resting signal."""
        return bold_signal(self.balloon, self.balloon_constants)

    def rate(self, reset: bool = True) -> Float:
        """Return the mean firing rate of every voxel since the last reset in Hz, (members, voxels)."""
        first = self.network.anatomy.voxel_population[:-1]
        counts = np.add.reduceat(self._counts, first, axis=1)
        seconds = max(self._counted_steps, 1) / self.steps_per_s
        if reset:
            self.population_rate(reset=True)
        return np.asarray(counts / np.maximum(self.voxel_size, 1) / seconds, np.float64)

    def population_rate(self, reset: bool = True) -> Float:
        """Return the mean firing rate of every population since the last reset in Hz, (members, populations)."""
        seconds = max(self._counted_steps, 1) / self.steps_per_s
        rates = self._counts / np.maximum(self.network.anatomy.size, 1) / seconds
        if reset:
            self._counts[:] = 0
            self._counted_steps = 0
        return np.asarray(rates, np.float64)

    @property
    def spike_counts(self) -> Int:
        """Spikes of every population since the last reset, (members, populations)."""
        return self._counts.copy()

    def currents(self, member: int = 0, neurons: Int | None = None) -> dict[str, NDArray[np.float32]]:
        """Return the currents of one member now: ``background`` (mean, drive and noise) and g_u J_u (V_u - V).

        Model units, one number per neuron (or per chosen neuron) and live channel.
        """
        chosen = slice(None) if neurons is None else neurons
        v = self.voltage(member)[chosen]
        population = self._population_of[chosen]
        leak = self.network.parameter("leak_conductance") * self.network.parameter("leak_potential_mv")
        table = self._tables[member][:, self.layout.by_population.index("current")]
        mean = (table - leak).astype(np.float32)
        out = {"background": mean[population] + self._get(ROW_OU, member)[chosen]}
        if self.layout.driven:
            out["background"] += self._get(self.layout.row_drive, member)[chosen]
        for name, row in zip(CHANNELS, self.layout.rows, strict=False):
            if row >= 0:
                reversal = self.network.parameter(f"v_{name}_mv")[population].astype(np.float32)
                out[name] = self._get(row, member)[chosen] * (reversal - v)
        return out

    def voltage(self, member: int = 0) -> NDArray[np.float32]:
        """Return the membrane potentials of one member in mV; refractory neurons are at their reset potential."""
        v = self._get(ROW_V, member).copy()
        reset = self.network.parameter("reset_mv")[self._population_of].astype(np.float32)
        return np.where(v < -500.0, reset, v)

    def copy_member(self, source: int, target: int) -> None:
        """Give member ``target`` (by position) state, currents and conductances of ``source``, but not its noise."""
        for array in (self._state, *self._saved().values()):
            array[target] = array[source]
        self._tables[target] = self._tables[source]

    def _saved(self) -> dict[str, NDArray[Any]]:
        """Arrays that a state holds, by name, the neurons' own aside; the first axis is the member."""
        return {
            "spikes": self._flying,
            "balloon": self.balloon,
            "counts": self._counts,
            "drive": self.drive,
            "background": self.background,
            "conductances": self.conductance_factors,
        }

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything needed to go on: copies of all state arrays and the clock."""
        return {
            "neurons": self._neurons(),
            **{name: array.copy() for name, array in self._saved().items()},
            "clock": np.array([self.step, self._counted_steps], np.int64),
        }

    def _neurons(self) -> NDArray[np.float32]:
        """Return what varies in time, (members, rows, neurons): V, noise current, conductances."""
        members, rows = range(len(self.members)), range(2 + sum(self.layout.live))
        return np.stack([[self._get(row, m) for row in rows] for m in members])

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from a state of the same network, members and steps.

        What varies in time is taken over; parameters and currents stay those of this network and its inputs.

        Raises
        ------
        InputError
            If the state belongs to another network or ensemble.
        """
        for name, array in {"neurons": self._neurons(), **self._saved()}.items():
            if name not in state or state[name].shape != array.shape or state[name].dtype != array.dtype:
                found = getattr(state.get(name), "shape", "nothing")
                raise InputError(
                    f"the state to go on from does not fit this network: '{name}' is {found}, expected {array.shape}"
                )
        for m, rows in enumerate(state["neurons"]):
            for k, values in enumerate(rows):
                self._put(k, values, m)
        for name, array in self._saved().items():
            array[:] = state[name]
        self._write_drive()
        self.set_background(self.background)
        self.set_conductances({name: self.conductance_factors[:, k] for k, name in enumerate(self.tunable)})
        self.step, self._counted_steps = (int(x) for x in state["clock"])
