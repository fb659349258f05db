"""How the engine reaches synapses: stored lists, or the slot map with room for events in flight; and which of them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from twinbrain.errors import InputError, nearest
from twinbrain.kernels.buckets import PAGE
from twinbrain.kernels.delay import sort_by_delay
from twinbrain.kernels.slots import SLOTS, SlotMap
from twinbrain.kernels.update import BLOCK
from twinbrain.kernels.wiring import SPARE, Wiring, count_by_tile
from twinbrain.network import Network
from twinbrain.tuning import Delays

__all__ = ["Links", "choose_wiring", "tile_blocks", "way_of"]

_LOG = logging.getLogger(__name__)

_SHARE = 0.7  # of the memory available that stored lists and the state may take
_WORTH_SAYING = 0.1  # share of it from which the choice is news
_RATE_PER_STEP = 0.03  # share of neurons that may fire in one step before arenas must grow
_ROOM = 65536  # events for which there is always room

#: Arrival sums of a tile: what fits the second-level cache beside the events and the state that pass through it.
TILE_BYTES = 1024 * 1024

#: Arrival sums of a whole member up to which one thread adds stored lists without buckets.
ALONE_BYTES = 1536 * 1024

#: Most tiles of a thread. Stored lists are cut by tile: with more, their runs would be too short and the table of cuts
#: too large. Events that are pushed one by one only need the ends of all buckets in the second-level cache.
_MOST_TILES, _MOST_BUCKETS = 16, 2048

_WAYS = ("auto", "stored", "procedural")


def choose_wiring(
    network: Network, wiring: str | Wiring | SlotMap | None, members: int, threads: int, state_bytes: int
) -> tuple[Wiring | SlotMap, str]:
    """Return the synapses in the asked form, and why this form (see :func:`way_of`).

    Raises
    ------
    InputError
        If ``wiring`` is an unknown word, or synapses of another network.
    """
    if isinstance(wiring, (Wiring, SlotMap)):
        _check_wiring(wiring, network)
        return wiring, "handed over"
    way, why = way_of(network, "auto" if wiring is None else wiring, members, threads, state_bytes)
    return (network.wire(threads) if way == "stored" else network.slot_map(threads)), why


def way_of(network: Network, wiring: str, members: int, threads: int, state_bytes: int) -> tuple[str, str]:
    """Return ``"stored"`` or ``"procedural"``, and why.

    ``"auto"`` stores synapses if lists and state take less than 70 % of the memory that is available now: stored
    delivery is faster. The spikes are the same either way.

    Raises
    ------
    InputError
        If ``wiring`` is an unknown word.
    """
    if wiring not in _WAYS:
        raise InputError(f"wiring is '{wiring}'{nearest(str(wiring), _WAYS)}, expected one of {', '.join(_WAYS)}")
    if wiring != "auto":
        return wiring, "as asked"
    free = int(psutil.virtual_memory().available)
    lists = network.stored_bytes(threads if members < threads else 1)
    way = "stored" if lists + state_bytes <= _SHARE * free else "procedural"
    why = f"lists take {lists / 1e9:.3g} GB, the state {state_bytes / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free"
    serious = lists + state_bytes > _WORTH_SAYING * free  # a fit asks this for one small network after another
    _LOG.log(logging.INFO if serious else logging.DEBUG, "wiring is %s: %s", way, why)
    return way, why


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


def tile_blocks(widest: int, block_bytes: int, *, alone: bool, pushed: bool) -> int:
    """Return how many blocks make a tile, for parts of up to ``widest`` blocks and so many bytes of sums per block.

    ``alone`` says that one part holds the whole member and its lists are stored: then one tile may be larger;
    ``pushed`` that events go to their buckets one by one (procedural wiring, delays).
    """
    if alone and widest * block_bytes <= ALONE_BYTES:
        return widest
    most = _MOST_BUCKETS if pushed else _MOST_TILES
    return -(-widest // min(most, -(-widest * block_bytes // TILE_BYTES)))


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
        self.wires: tuple[Any, ...]
        self._parts = len(blocks) - 1
        self._steps = 2 if delays is None else delays.most + 1
        self._tiles = -(-int(np.diff(blocks).max()) // tile)  # of each part
        alone = isinstance(wiring, Wiring) and self._parts == self._tiles == 1 and delays is None
        if alone:
            self._tiles = 0  # no buckets
        block = np.arange(blocks[-1])
        part = np.searchsorted(blocks, block, side="right") - 1
        within = block - blocks[part]
        place = np.zeros((len(block), 2), np.uint32)
        place[:, 0] = part * self._tiles + within // tile
        place[:, 1] = within % tile * BLOCK
        if isinstance(wiring, Wiring):
            first = blocks[:-1, None] + tile * np.arange(max(self._tiles, 1))
            limit = np.minimum(first + tile, blocks[1:, None])
            limit = (limit * BLOCK).ravel()
            self.wires = (
                wiring.pointer, *_arranged(network, wiring, delays, limit[: 0 if alone else None], self._parts),
                *_voxels_of(network), place, (first * BLOCK).ravel().astype(np.uint32), limit,
            )  # fmt: skip
            events = 0.0 if alone else float(len(wiring.targets))
        else:
            self.wires, events = self._regenerated(network, wiring, place, delays)
        room = 0 if alone else int(_RATE_PER_STEP * events / self._parts) + _ROOM
        self.arenas = [self._arena(room) for _ in range(workers)]

    def _regenerated(
        self, network: Network, wiring: SlotMap, place: NDArray[np.uint32], delays: Delays | None
    ) -> tuple[tuple[Any, ...], float]:
        """Return what procedural delivery reads, and how many synapses go through buckets."""
        a = network.anatomy
        last = np.maximum(a.first + a.size - 1, a.first) // BLOCK
        v0, v1 = a.voxel_population[:-1], a.voxel_population[1:] - 1
        ends = [place[np.minimum(b, len(place) - 1), 0] for b in (a.first[v0] // BLOCK, last[v1])]
        straddles = (ends[0] != ends[1])[a.voxel].astype(np.uint8)
        own_gain = np.full(len(a.size), 256, np.uint16)
        if len(wiring.gain):
            source = np.repeat(np.arange(2 * len(a.size)), np.diff(wiring.pointer)) // 2
            own = np.flatnonzero(wiring.target == source)
            own_gain[source[own]] = wiring.gain[own]
        wires = (
            *wiring.arrays, place, straddles, own_gain,
            (a.voxel.astype(np.int32), np.zeros((0, 0), np.uint16), np.zeros((0, 3)), 1.0, 1) if delays is None else
            (a.voxel.astype(np.int32), delays.matrix, delays.positions, delays.mm_per_step, delays.most),
        )  # fmt: skip
        far = wiring.spaces[1::2, SLOTS].sum(dtype=np.float64)
        near = (wiring.spaces[::2, SLOTS] * straddles.astype(np.float64)).sum()
        return wires, float(far + near)

    def _arena(self, room: int) -> tuple[NDArray[Any], ...]:
        """Give each part arenas for this many events a step; memory that is never written costs nothing."""
        tiles = self._parts * self._tiles
        pages = -(-room // PAGE) + tiles
        parts = self._parts
        steps = self._steps
        return (
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
        self.arenas[worker] = self._arena(int(1.5 * self.arenas[worker][-1].max()))


def _voxels_of(network: Network) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First neuron and size of the voxel of every population."""
    a = network.anatomy
    first = a.first[a.voxel_population[:-1]]
    return first[a.voxel], np.add.reduceat(a.size, a.voxel_population[:-1])[a.voxel]


def _arranged(
    network: Network, wiring: Wiring, delays: Delays | None, limit: NDArray[np.int64], threads: int
) -> tuple[NDArray[Any], ...]:
    """Make the lists ready: counted by tile, or sorted by delay; (cuts, late, targets, weights)."""
    none, no_cuts = np.zeros((0, 0), np.uint32), np.zeros((0, 0), np.uint16)
    targets, weights = (_with_room(x) for x in (wiring.targets, wiring.weights))
    if delays is None:
        return count_by_tile(wiring.pointer, targets, limit, threads), none, targets, weights
    a = network.anatomy
    targets, weights, late = sort_by_delay(
        wiring.pointer, targets, weights, np.repeat(a.voxel.astype(np.int32), a.size), delays.matrix,
        delays.positions, delays.mm_per_step, delays.most, threads
    )  # fmt: skip
    return no_cuts, late, targets, weights


def _with_room(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array behind which memory can be read for some numbers more: itself, if it was made so."""
    if array.base is not None and array.base.size >= array.size + SPARE and array.base.dtype == array.dtype:
        return array
    wider = np.empty(array.size + SPARE, array.dtype)
    wider[: array.size] = array
    return wider[: array.size]
