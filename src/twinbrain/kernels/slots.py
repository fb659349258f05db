"""The slot map: which synapse joins which neurons, without a list of synapses.

A target population p of N_p neurons with in-degree K_p has N_p K_p *in-slots*; in-slot u belongs to its neuron
u // K_p. A source population q has two spaces of *out-slots*, near (for targets in its own voxel) and far (for other
voxels); an out-slot x belongs to its neuron x mod N_q (counted from the last neuron in the far space, so that both
together are even). How many synapses M_pq go from q to p comes from one systematic rounding of the expected numbers
with a keyed offset: every count is within 1 of its expectation, the mean over seeds is exact, and the counts onto p
add up to N_p K_p. The synapses of a pair are M_pq consecutive positions of q's shuffled out-space and M_pq consecutive
positions of p's shuffled in-space, one for one; the shuffles are keyed bijections (kernels/bijection.py):

    out-slot x of q -- backward --> position y -- pair --> position y + shift -- forward --> in-slot u of p

and the other way round. So a synapse can be found from either end, every in-degree is exact, out-degrees are even,
and only the pairs of populations are stored (12 bytes each). The weight is a hash of the in-slot.

Where source and target are the same neuron t, the source becomes neuron (t + c_p) mod N_p of the same population, c_p
keyed: the target's in-degree stays exact, and source j has but one other neuron to look at, (j - c_p) mod N_p. These
few synapses (about one in-degree's worth per population, whatever its size) are found once and kept as a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from twinbrain.kernels.anatomy import Anatomy, pair_row
from twinbrain.kernels.bijection import (
    MAX_SLOTS,
    backward,
    forward,
    radix,
    settle_backward,
    settle_forward,
    slot_bits,
)
from twinbrain.kernels.random import INLINE, U32, U64, derive_key, philox_numpy, source_checksum, wide_vectors
from twinbrain.kernels.search import search16
from twinbrain.kernels.sync import prefetch
from twinbrain.parallel import run_threads

__all__ = ["Anatomy", "Gains", "SlotMap", "build_map"]

_SLOW = {"nogil": True, "boundscheck": False, "error_model": "numpy", "cache": True}
_LOW = U64(0xFFFFFFFF)

#: Columns of ``SlotMap.spaces`` and ``SlotMap.ins``.
KEY, BASE, BITS, SLOTS, FIRST, DEGREE, SIZE, HOP = range(8)

#: Slots that are resolved together, the length of the inner loops, and the rows of the scratch space.
BATCH, LANES = 512, 32
_ROW = BATCH + 16  # equal places of two rows must not have the same low address bits
X, PAIR, R_KEY, R_BASE, R_BITS, R_SLOTS, R_FIRST, R_DEGREE, T, W, SOURCE = (k * _ROW for k in range(11))
SCRATCH = 11 * _ROW

#: Most pairs of a space that are compared one by one instead of being searched: those inside a voxel.
_FEW = 8


@dataclass(frozen=True, eq=False)
class Gains:
    """Gains of edges between populations, R rules; several rules on one edge multiply.

    Attributes
    ----------
    source, target : ndarray bool (R, P)
        Populations that the rule selects.
    near, far : ndarray bool (R,)
        Whether the rule holds for edges inside a voxel, and between voxels.
    gain : ndarray (R,)
        Factor of the weights.
    """

    source: NDArray[np.bool_]
    target: NDArray[np.bool_]
    near: NDArray[np.bool_]
    far: NDArray[np.bool_]
    gain: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SlotMap:
    """The synapses of a network as a rule; E pairs of populations, P populations, spaces 2 q (near) and 2 q + 1 (far).

    Attributes
    ----------
    ins : ndarray uint32 (P, 8)
        Key, a, m and slots of the in-space; first neuron, in-degree, neurons, and c_p.
    spaces : ndarray uint32 (2 P, 4)
        Key, a, m and slots of the out-spaces.
    pointer : ndarray int64 (2 P + 1,)
        The pairs of space e are ``pointer[e] ... pointer[e + 1] - 1``, in order of the target population.
    start : ndarray uint32 (E,)
        First out-position of the pair.
    ends : ndarray uint64 (E,)
        Target population (low half), and what to add (mod 2^32) to an out-position to get the in-position (high half).
    gain : ndarray uint16 (E,) or (0,)
        Gain of the pair in 1/256, if there are rules.
    moved_pointer : ndarray int64 (P + 1,)
        Where each population's re-routed self-connections begin.
    moved_source, moved_target, moved_bits
        Their source and target neuron (sorted by source) and 16 random bits for the weights.
    two_weights : bool
        Whether synapses carry a second, independent weight.
    """

    ins: NDArray[np.uint32]
    spaces: NDArray[np.uint32]
    pointer: NDArray[np.int64]
    start: NDArray[np.uint32]
    ends: NDArray[np.uint64]
    gain: NDArray[np.uint16]
    moved_pointer: NDArray[np.int64]
    moved_source: NDArray[np.uint32]
    moved_target: NDArray[np.uint32]
    moved_bits: NDArray[np.uint32]
    two_weights: bool

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays in the order in which the kernels take them."""
        return (
            self.ins, self.spaces, self.pointer, self.start, self.ends, self.gain,
            self.moved_pointer, self.moved_source, self.moved_target, self.moved_bits,
        )  # fmt: skip

    @property
    def target(self) -> NDArray[np.uint32]:
        """Target population of every pair."""
        return (self.ends & _LOW).astype(np.uint32)

    @property
    def shift(self) -> NDArray[np.uint32]:
        """What to add to an out-position of every pair to get the in-position."""
        return (self.ends >> U64(32)).astype(np.uint32)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(a.nbytes for a in self.arrays)

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return int(self.ins[:, SIZE].sum(dtype=np.int64))

    @property
    def synapses(self) -> int:
        """Number of synapses before lesions."""
        return int(self.ins[:, SLOTS].sum(dtype=np.int64))

    @property
    def multapses(self) -> int | None:
        """Not counted; see :class:`~twinbrain.kernels.wiring.Wiring`."""
        return None

    @property
    def weight_bits(self) -> int:
        """Bits of one weight: 8, or 16 if a gain above 1 makes weights above 255."""
        return 16 if len(self.gain) and int(self.gain.max()) > 256 else 8

    def in_spaces(self, target: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (pair, first in-position) of all pairs onto one population, sorted by in-position.

        The view from the target's end: tests, exports and ranks that own targets use it.
        """
        pair = np.flatnonzero(self.target == target)
        first = (self.start[pair] + self.shift[pair]).astype(np.int64)
        order = np.argsort(first)
        return pair[order], first[order]


@cache
def _make_pairs(checksum: int) -> Any:
    @njit(**_SLOW)
    def pairs(
        fill, pointer, slots, start, ends, r0, r1, size, first, in_degree, local, voxel, voxel_population,
        kind, sources, sign, projecting, partner_pointer, partner, partner_share
    ):  # fmt: skip
        """Count (or fill) the pairs of every out-space; returns -1, or a population without a source.

        ``slots`` receives the sizes of the spaces. They are filled in order of the target population, so that each is
        sorted by it; ``pointer`` is the cursor.
        """
        if checksum < 0:  # never: it makes the checksum part of the compiled function
            return -2
        widest = 0
        for v in range(voxel_population.shape[0] - 1):
            widest = max(widest, partner_pointer[v + 1] - partner_pointer[v])
        width = sources.shape[1]
        row = np.empty((widest + 1) * width, np.int64)
        amount = np.empty((widest + 1) * width, np.int64)
        loc = np.empty(width)
        partner_total = np.empty(1)
        for p in range(size.shape[0]):
            n = pair_row(
                p, row, amount, loc, partner_total, r0, r1, size, first, in_degree, local, voxel, voxel_population,
                kind, sources, sign, projecting, partner_pointer, partner, partner_share
            )  # fmt: skip
            if n < 0:
                return p
            done = 0
            for k in range(n):
                if amount[k] > 0:
                    q = row[k]
                    e = 2 * q + (voxel[q] != voxel[p])
                    if fill:
                        i = pointer[e]
                        start[i] = U32(slots[e])
                        ends[i] = U64(p) | (U64(U32(done - slots[e])) << U64(32))
                    pointer[e] += 1
                    slots[e] += amount[k]
                    done += amount[k]
        return -1

    return pairs


@njit(**_SLOW)
def _pair_gains(pointer, ends, chosen, wanted, near, far, gain, out):
    """Write the product of the gains of all rules that select a pair, in 1/256."""
    for e in range(pointer.shape[0] - 1):
        for i in range(pointer[e], pointer[e + 1]):
            g = 1.0
            for k in range(gain.shape[0]):
                reach = far[k] if e & 1 else near[k]
                if reach and chosen[k, e >> 1] and wanted[k, np.int64(ends[i] & _LOW)]:
                    g *= gain[k]
            out[i] = np.uint16(min(np.floor(g * 256.0 + 0.5), 65535.0))


@njit(**INLINE)
def to_positions(z, n, space):
    """Turn the first n out-slots in the scratch space into positions; fills up to whole lanes with slot 0."""
    wide_vectors()
    key, a, m, slots = space[KEY], space[BASE], space[BITS], space[SLOTS]
    x = z[X : X + BATCH]
    while n % LANES != 0:
        x[n] = U32(0)
        n += 1
    for c in range(0, n, LANES):
        y = x[c : c + LANES]
        beyond = U32(0)
        for i in range(LANES):
            v = backward(y[i], key, a, m)
            y[i] = v
            beyond = U32(beyond | U32(v >= slots))
        if beyond != 0:
            for i in range(LANES):
                y[i] = settle_backward(y[i], key, a, m, slots)


@njit(**INLINE)
def to_pairs(z, n, start):
    """Find the pair (counted from the space's first) of each of the first n positions; n is a whole number of lanes."""
    wide_vectors()
    count = start.shape[0]
    if count > _FEW:
        for i in range(0, n, 16):
            search16(z, np.int64(X + i), np.int64(PAIR + i), start, np.int64(count))
        return
    a, b, c, d = _edge(start, 1), _edge(start, 2), _edge(start, 3), _edge(start, 4)
    e, f, g = _edge(start, 5), _edge(start, 6), _edge(start, 7)
    for i in range(n):
        x = z[X + i]
        k = U32(U32(U32(x >= a) + U32(x >= b)) + U32(U32(x >= c) + U32(x >= d)))
        z[PAIR + i] = U32(k + U32(U32(x >= e) + U32(U32(x >= f) + U32(x >= g))))


@njit(**INLINE)
def _edge(start, k):
    """First position of the k-th pair; of one that is not there, a position that no slot has."""
    return start[k] if k < start.shape[0] else U32(0xFFFFFFFF)


@njit(**INLINE)
def to_targets(z, n, ins, ends):
    """Turn positions and pairs into target neurons and 16 random bits each; n is a whole number of lanes.

    Pairs between voxels are seldom in a cache: they are asked for early, and so are the rows of ``ins`` they lead to.
    """
    wide_vectors()
    flat = ins.reshape(-1)
    many = ends.shape[0] > _FEW
    if many:
        for i in range(n):
            prefetch(ends, np.int64(z[PAIR + i]))
    for i in range(n):
        end = ends[U64(z[PAIR + i])]
        z[T + i] = U32(end)
        z[X + i] = U32(z[X + i] + U32(end >> U64(32)))
        if many:
            prefetch(flat, np.int64(U32(end)) * 8)
    for c in range(0, n, LANES):
        s = z[c:]
        for i in range(LANES):
            p = U64(s[T + i]) * U64(8)
            s[R_KEY + i] = flat[p + U64(KEY)]
            s[R_BASE + i] = flat[p + U64(BASE)]
            s[R_BITS + i] = flat[p + U64(BITS)]
            s[R_SLOTS + i] = flat[p + U64(SLOTS)]
            s[R_FIRST + i] = flat[p + U64(FIRST)]
            s[R_DEGREE + i] = flat[p + U64(DEGREE)]
        _finish(s)


@njit(**INLINE)
def _finish(s):
    """Turn the in-positions of the first lanes, with the numbers of their populations, into neurons and random bits."""
    beyond = U32(0)
    for i in range(LANES):
        v = forward(s[X + i], s[R_KEY + i], s[R_BASE + i], s[R_BITS + i])
        s[X + i] = v
        beyond = U32(beyond | U32(v >= s[R_SLOTS + i]))
    if beyond != 0:
        for i in range(LANES):
            s[X + i] = settle_forward(s[X + i], s[R_KEY + i], s[R_BASE + i], s[R_BITS + i], s[R_SLOTS + i])
    for i in range(LANES):
        s[W + i] = slot_bits(s[X + i], s[R_KEY + i])
    for i in range(LANES):
        neuron = (np.float64(s[X + i]) + 0.5) * (1.0 / np.float64(s[R_DEGREE + i]))
        s[T + i] = U32(s[R_FIRST + i] + U32(np.int32(neuron)))


@cache
def _make_moved(checksum: int) -> Any:
    @njit(**_SLOW)
    def moved(p0, p1, capacity, source, to, bits, count, ins, spaces, pointer, start, ends):
        """List the self-connections of populations p0 ... p1 - 1, re-routed; returns how many there are."""
        if checksum < 0:  # never: it makes the checksum part of the compiled function
            return -2
        z = np.zeros(3 * LANES, np.uint32)
        n = 0
        for p in range(p0, p1):
            before = n
            e = 2 * p
            ki, ai, mi, si = ins[p, KEY], ins[p, BASE], ins[p, BITS], ins[p, SLOTS]
            ko, ao, mo, so = spaces[e, KEY], spaces[e, BASE], spaces[e, BITS], spaces[e, SLOTS]
            neurons: Any = np.int64(ins[p, SIZE])
            first = np.int64(ins[p, FIRST])
            hop = np.int64(ins[p, HOP])
            per_size = 1.0 / neurons if neurons > 0 else 0.0
            per_degree = 1.0 / np.float64(ins[p, DEGREE])
            for i in range(pointer[e], pointer[e + 1]):
                if np.int64(ends[i] & _LOW) != p:
                    continue
                shift = U32(ends[i] >> U64(32))
                y0 = np.int64(start[i])
                y1 = np.int64(start[i + 1]) if i + 1 < pointer[e + 1] else np.int64(so)
                for y in range(y0, y1, LANES):
                    rest = y1 - y if y1 - y < LANES else LANES
                    beyond = U32(0)
                    for k in range(LANES):
                        a = forward(U32(U32(y) + U32(k)), ko, ao, mo)
                        b = forward(U32(U32(U32(y) + U32(k)) + shift), ki, ai, mi)
                        z[k] = a
                        z[LANES + k] = b
                        beyond = U32(beyond | U32(U32(a >= so) | U32(b >= si)))
                    if beyond != 0:
                        for k in range(rest):
                            z[k] = settle_forward(z[k], ko, ao, mo, so)
                            z[LANES + k] = settle_forward(z[LANES + k], ki, ai, mi, si)
                    for k in range(LANES):
                        x = z[k]
                        s = U32(x - U32(U32(np.int32((np.float64(x) + 0.5) * per_size)) * U32(neurons)))
                        t = U32(np.int32((np.float64(z[LANES + k]) + 0.5) * per_degree))
                        z[2 * LANES + k] = U32(s == t)
                    for k in range(rest):
                        if z[2 * LANES + k] != 0:
                            if n < capacity:
                                own = np.int64(z[LANES + k]) // np.int64(ins[p, DEGREE])
                                source[n] = U32(first + (own + hop) % neurons)
                                to[n] = U32(first + own)
                                bits[n] = slot_bits(z[LANES + k], ki)
                            n += 1
            count[p] = n - before
        return n

    return moved


def _keys(seed: int, purpose: str, spaces: int) -> NDArray[np.uint32]:
    """Return four random words for every space."""
    ids = np.arange(spaces, dtype=np.uint64)
    counter = np.zeros((spaces, 4), np.uint32)
    counter[:, 0] = ids & _LOW
    return philox_numpy(counter, derive_key(seed, purpose))


def build_map(anatomy: Anatomy, seed: int, two_weights: bool, threads: int = 1, gains: Gains | None = None) -> SlotMap:
    """Build the slot map of a network: a few numbers for every pair of populations.

    Parameters
    ----------
    anatomy
        Populations, circuits and projection.
    seed
        Same seed, same synapses.
    two_weights
        Give every synapse an independent second weight.
    threads
        Threads to build with; the result does not depend on it.
    gains
        Rules on edges; they change weights and nothing else.

    Raises
    ------
    ValueError
        If a population has no possible source (the message names it by number), or too many synapses for 32 bits.
    """
    a = anatomy
    populations = len(a.size)
    in_slots = a.size * a.in_degree
    if in_slots.max() > MAX_SLOTS:
        raise ValueError(f"population {in_slots.argmax()} has {in_slots.max():,} synapses, above {MAX_SLOTS:,}")
    rounding = [U64(k) for k in derive_key(seed, "rounding")]
    pairs = _make_pairs(source_checksum())
    count, out_slots = np.zeros(2 * populations, np.int64), np.zeros(2 * populations, np.int64)
    none = np.empty(0, np.uint32), np.empty(0, np.uint64)
    bad = pairs(False, count, out_slots, *none, *rounding, *a.arrays())
    if bad >= 0:
        raise ValueError(f"population {bad} has no possible source: its voxel holds no other neuron and no partner")
    if out_slots.max() > MAX_SLOTS:
        worst = int(out_slots.argmax())
        raise ValueError(f"population {worst // 2} sends {out_slots.max():,} synapses, above {MAX_SLOTS:,}")
    pointer = np.concatenate([[0], np.cumsum(count)])
    start, ends = np.empty(int(pointer[-1]), np.uint32), np.empty(int(pointer[-1]), np.uint64)
    cursor, slots = pointer[:-1].copy(), np.zeros_like(out_slots)
    pairs(True, cursor, slots, start, ends, *rounding, *a.arrays())

    words = _keys(seed, "slots", 3 * populations)
    ins = np.zeros((populations, 8), np.uint32)
    ins[:, KEY], (ins[:, BASE], ins[:, BITS]), ins[:, SLOTS] = words[:populations, 0], radix(in_slots), in_slots
    ins[:, FIRST], ins[:, DEGREE], ins[:, SIZE] = a.first, a.in_degree, a.size
    ins[:, HOP] = 1 + words[:populations, 1].astype(np.int64) % np.maximum(a.size - 1, 1)
    spaces = np.zeros((2 * populations, 4), np.uint32)
    spaces[:, KEY], (spaces[:, BASE], spaces[:, BITS]), spaces[:, SLOTS] = (
        words[populations:, 0], radix(out_slots), out_slots
    )  # fmt: skip

    gain = np.empty(0, np.uint16)
    if gains is not None and len(gains.gain):
        gain = np.empty(len(ends), np.uint16)
        _pair_gains(pointer, ends, gains.source, gains.target, gains.near, gains.far, gains.gain, gain)

    moved_pointer, source, to, bits = _moved(ins, spaces, pointer, start, ends, threads)
    return SlotMap(ins, spaces, pointer, start, ends, gain, moved_pointer, source, to, bits, two_weights)


def _moved(
    ins: NDArray[np.uint32],
    spaces: NDArray[np.uint32],
    pointer: NDArray[np.int64],
    start: NDArray[np.uint32],
    ends: NDArray[np.uint64],
    threads: int,
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
    """Find the self-connections of all populations and return them re-routed, sorted by source then target."""
    moved = _make_moved(source_checksum())
    populations = len(ins)
    count = np.zeros(populations, np.int64)
    work = np.concatenate([[0], np.cumsum(spaces[::2, SLOTS].astype(np.int64))])
    borders = np.searchsorted(work, np.linspace(0, work[-1], threads + 1))
    borders[0], borders[-1] = 0, populations
    parts: list[tuple[NDArray[np.uint32], ...]] = [()] * threads

    def find(k: int) -> None:
        p0, p1 = int(borders[k]), int(borders[k + 1])
        expected = float((ins[p0:p1, DEGREE] + 1.0).sum())
        capacity = int(expected + 10 * np.sqrt(expected)) + 64
        while True:
            lists = tuple(np.empty(capacity, np.uint32) for _ in range(3))
            n = moved(p0, p1, capacity, *lists, count, ins, spaces, pointer, start, ends)
            if n <= capacity:
                break
            capacity = n
        parts[k] = tuple(x[:n] for x in lists)

    run_threads(find, threads)
    source, to, bits = (np.concatenate([part[k] for part in parts]) for k in range(3))
    order = np.lexsort((bits, to, source))
    return np.concatenate([[0], np.cumsum(count)]), source[order], to[order], bits[order]
