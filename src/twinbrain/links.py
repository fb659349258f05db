"""How the engine reaches synapses: stored lists, or the slot map with room for events in flight; and which of them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinbrain.errors import InputError, nearest
from twinbrain.kernels.delay import sort_by_delay
from twinbrain.kernels.procedural import PAGE
from twinbrain.kernels.slots import SLOTS, SlotMap
from twinbrain.kernels.update import BLOCK
from twinbrain.kernels.wiring import Wiring, part_cuts
from twinbrain.network import Network
from twinbrain.tuning import Delays

__all__ = ["Links", "choose_wiring"]

_LOG = logging.getLogger(__name__)

_SHARE = 0.7  # of the memory available that stored lists and the state may take
_RATE_PER_STEP = 0.03  # share of neurons that may fire in one step before arenas must grow

_WAYS = ("auto", "stored", "procedural")


def choose_wiring(
    network: Network, wiring: str | Wiring | SlotMap | None, members: int, threads: int, state_bytes: int
) -> tuple[Wiring | SlotMap, str]:
    """Return the synapses in the asked form, and why this form.

    ``"auto"`` stores them if lists and state take less than 70 % of the memory that is available now: stored delivery
    is faster. The spikes are the same either way.

    Raises
    ------
    InputError
        If ``wiring`` is an unknown word, or synapses of another network.
    """
    if isinstance(wiring, (Wiring, SlotMap)):
        _check_wiring(wiring, network)
        return wiring, "handed over"
    way = "auto" if wiring is None else wiring
    if way not in _WAYS:
        raise InputError(f"wiring is '{way}'{nearest(str(way), _WAYS)}, expected one of {', '.join(_WAYS)}")
    why = "as asked"
    if way == "auto":
        import psutil

        free = int(psutil.virtual_memory().available)
        lists = network.stored_bytes(threads if members < threads else 1)
        way = "stored" if lists + state_bytes <= _SHARE * free else "procedural"
        why = f"lists take {lists / 1e9:.3g} GB, the state {state_bytes / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free"
        _LOG.info("wiring is %s: %s", way, why)
    return (network.wire(threads) if way == "stored" else network.slot_map(threads)), why


def _check_wiring(wiring: Wiring | SlotMap, network: Network) -> None:
    """Refuse synapses built for another network; sums of weights would overflow unnoticed."""
    if isinstance(wiring, SlotMap):
        found = (wiring.neurons, wiring.synapses, 1 + wiring.two_weights)
    else:
        found = (len(wiring.pointer) - 1, len(wiring.targets), wiring.weights.itemsize * 8 // wiring.weight_bits)
    expected = (network.neurons, network.synapses, 1 + network.two_weights)
    lesioned = found[1] < expected[1] and isinstance(wiring, Wiring)
    if found[0] != expected[0] or (found[1] != expected[1] and not lesioned) or found[2] != expected[2]:
        raise InputError(
            "the wiring has {:,} neurons and {:,} synapses of {} weight(s), ".format(*found)
            + "expected {:,}, {:,} and {}; build it with network.wire()".format(*expected)
        )


class Links:
    """What the kernel needs to deliver spikes.

    Parameters
    ----------
    network : Network
    wiring : Wiring or SlotMap
    blocks : ndarray (parts + 1,)
        First block of each part, and the end.
    tile : int
        Blocks of a tile.
    delays : Delays or None
    workers : int
        Members that run at the same time, each in one part.
    """

    def __init__(
        self,
        network: Network,
        wiring: Wiring | SlotMap,
        blocks: NDArray[np.int64],
        tile: int,
        workers: int,
        delays: Delays | None,
    ) -> None:
        self.bits = wiring.weight_bits
        self.procedural = isinstance(wiring, SlotMap)
        self.two_weights = network.two_weights
        self.arenas: list[tuple[NDArray[Any], ...]] = [()] * workers
        self.wires: tuple[Any, ...]
        if isinstance(wiring, Wiring):
            self.wires = (wiring.pointer, *_arranged(network, wiring, blocks, delays), *_voxels_of(network))
            return
        a = network.anatomy
        self._parts = len(blocks) - 1
        self._steps = 2 if delays is None else delays.most + 1
        self._tiles = -(-int(np.diff(blocks).max()) // tile)  # of each part
        block = np.arange(blocks[-1])
        part = np.searchsorted(blocks, block, side="right") - 1
        within = block - blocks[part]
        place = np.empty((len(block), 2), np.uint32)
        place[:, 0] = part * self._tiles + within // tile
        place[:, 1] = within % tile * BLOCK
        last = np.maximum(a.first + a.size - 1, a.first) // BLOCK
        v0, v1 = a.voxel_population[:-1], a.voxel_population[1:] - 1
        ends = [place[np.minimum(b, len(block) - 1), 0] for b in (a.first[v0] // BLOCK, last[v1])]
        straddles = (ends[0] != ends[1])[a.voxel].astype(np.uint8)
        own_gain = np.full(len(a.size), 256, np.uint16)
        if len(wiring.gain):
            source = np.repeat(np.arange(2 * len(a.size)), np.diff(wiring.pointer)) // 2
            own = np.flatnonzero(wiring.target == source)
            own_gain[source[own]] = wiring.gain[own]
        self.wires = (
            wiring.ins, wiring.inverse, wiring.spaces, wiring.pointer, wiring.target, wiring.start, wiring.shift,
            wiring.gain, wiring.moved_pointer, wiring.moved_source, wiring.moved_target, wiring.moved_bits, place,
            straddles, own_gain,
            (a.voxel.astype(np.int32), np.zeros((0, 0), np.uint16), np.zeros((0, 3)), 1.0, 1) if delays is None else
            (a.voxel.astype(np.int32), delays.matrix, delays.positions, delays.mm_per_step, delays.most),
        )  # fmt: skip
        far = wiring.spaces[1::2, SLOTS].sum(dtype=np.float64)
        near = (wiring.spaces[::2, SLOTS] * straddles.astype(np.float64)).sum()
        room = int(_RATE_PER_STEP * (far + near) / self._parts) + 65536
        for worker in range(workers):
            self._make_arena(worker, room)

    def _make_arena(self, worker: int, room: int) -> None:
        """Give each part arenas for this many events a step; memory that is never written costs nothing."""
        tiles = self._parts * self._tiles
        pages = -(-room // PAGE) + tiles
        parts = self._parts
        steps = self._steps
        self.arenas[worker] = (
            np.empty((steps, parts, pages * PAGE), np.uint64),
            np.empty((steps, parts, pages), np.int32),
            np.zeros((steps, parts, tiles), np.int32),
            np.zeros((steps, parts, tiles), np.int32),
            np.zeros((steps, parts, tiles), np.int64),
            np.zeros((steps, parts, 1), np.int64),
            np.zeros((steps, parts), np.int64),
        )

    def grow(self, worker: int) -> None:
        """Make the arenas as large as the last step asked for, and half as large again."""
        self._make_arena(worker, int(1.5 * self.arenas[worker][-1].max()))


def _voxels_of(network: Network) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First neuron and size of the voxel of every population."""
    a = network.anatomy
    first = a.first[a.voxel_population[:-1]]
    return first[a.voxel], np.add.reduceat(a.size, a.voxel_population[:-1])[a.voxel]


def _arranged(
    network: Network, wiring: Wiring, blocks: NDArray[np.int64], delays: Delays | None
) -> tuple[NDArray[Any], ...]:
    """Make the lists ready for the parts: cut where these meet, or sorted by delay; (late, cuts, targets, weights)."""
    none = np.zeros((0, 0), np.uint32)
    parts, a = len(blocks) - 1, network.anatomy
    if delays is not None:
        voxel = np.repeat(a.voxel.astype(np.int32), a.size)
        targets, weights, late = sort_by_delay(
            wiring.pointer, wiring.targets, wiring.weights, voxel, delays.matrix, delays.positions,
            delays.mm_per_step, delays.most, parts
        )  # fmt: skip
        return late, none, targets, weights
    if parts == 1:
        return none, none, wiring.targets, wiring.weights
    edges = np.minimum(blocks * BLOCK, network.neurons)
    edges[-1] = 2**40
    return none, part_cuts(wiring, edges), wiring.targets, wiring.weights
