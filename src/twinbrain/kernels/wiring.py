"""Stored wiring: the synapses of the slot map, written down as source-major lists sorted by target.

Every thread writes the lists of its own sources straight to their place, so that building needs no memory besides the
result, and the result does not depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from twinbrain.kernels.borrow import borrow
from twinbrain.kernels.random import INLINE, U32, U64, source_checksum
from twinbrain.kernels.slots import (
    BATCH,
    FIRST,
    LANES,
    PAIR,
    SCRATCH,
    SIZE,
    SLOTS,
    SOURCE,
    Anatomy,
    Gains,
    SlotMap,
    T,
    W,
    X,
    build_map,
    to_pairs,
    to_positions,
    to_targets,
)
from twinbrain.parallel import run_threads

__all__ = [
    "SPARE",
    "Anatomy",
    "Gains",
    "SlotMap",
    "Wiring",
    "build_map",
    "build_wiring",
    "count_by_tile",
    "write_lists",
]

_SLOW = {"nogil": True, "boundscheck": False, "error_model": "numpy", "cache": True}

#: Numbers that may be read, and mean nothing, behind the last list: delivery reads lists in vectors.
SPARE = 16

_TOGETHER = 1 << 14  # synapses that are sorted together, by target; then each goes to the list of its source


@dataclass(frozen=True, eq=False)
class Wiring:
    """Synapses as source-major lists, each sorted by target.

    Attributes
    ----------
    pointer : ndarray int64 (N + 1,)
        The synapses of source j are ``pointer[j] ... pointer[j + 1] - 1``.
    targets : ndarray uint32 (synapses,)
    weights : ndarray uint8, uint16 or uint32 (synapses,)
        0 ... 255; with a second, independent weight in the upper half (NMDA or GABA_B) if a sign has two live channels.
    multapses : int
        Synapses beyond the first between the same two neurons.
    weight_bits : int
        Bits of one weight: 8, or 16 if an edge rule has a gain above 1.
    """

    pointer: NDArray[np.int64]
    targets: NDArray[np.uint32]
    weights: NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32]
    multapses: int
    weight_bits: int = 8

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(a.nbytes for a in (self.pointer, self.targets, self.weights))

    def target_major(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (targets, sources) of all synapses, sorted by target: for tests and exports of small networks."""
        sources = np.repeat(np.arange(len(self.pointer) - 1), np.diff(self.pointer))
        order = np.argsort(self.targets, kind="stable")
        return self.targets[order].astype(np.int64), sources[order]


@njit(**INLINE)
def weigh(bits, gain, two_weights):
    """Return both weights of a synapse after its gain (in 1/256) from its 16 random bits."""
    first = np.int64(bits & U32(255))
    second = np.int64(U32(bits >> U32(8)) & U32(255)) if two_weights else np.int64(0)
    if gain != 256:
        first = (first * gain + 128) >> 8
        second = (second * gain + 128) >> 8
    return first, second


@njit(**_SLOW)
def _sort(keys, spare, count, n, bits):
    """Sort n keys by their upper 32 bits, ``bits`` of which are used: a stable radix sort from the lowest digit up."""
    width = 11 if n >= 4096 else 8
    digits = 1 << width
    here, there = keys, spare
    low = 0
    while low < bits:
        shift = U64(32 + low)
        mask = U64(digits - 1)
        count[:digits] = 0
        for i in range(n):
            count[np.int64((here[i] >> shift) & mask)] += 1
        total = 0
        for k in range(digits):
            c = count[k]
            count[k] = total
            total += c
        for i in range(n):
            digit = np.int64((here[i] >> shift) & mask)
            there[count[digit]] = here[i]
            count[digit] += 1
        here, there = there, here
        low += width
    return here


@njit(**_SLOW)
def _out_degrees(ins, spaces, moved_source, moved_target, degree):
    """Count the synapses of every source neuron (no rule removes one)."""
    for q in range(ins.shape[0]):
        size = np.int64(ins[q, SIZE])
        first = np.int64(ins[q, FIRST])
        near, far = np.int64(spaces[2 * q, SLOTS]), np.int64(spaces[2 * q + 1, SLOTS])
        for s in range(size):
            degree[first + s] = (near - s + size - 1) // size + (far - (size - 1 - s) + size - 1) // size
    for i in range(moved_source.shape[0]):
        degree[moved_source[i]] += 1
        degree[moved_target[i]] -= 1


@njit(**INLINE)
def _collect(
    z, n, e, first, keys, row_of, weight_of, m, two_weights, weight_bits, ins, spaces, pointer, start, ends, gain
):  # fmt: skip
    """Resolve the n out-slots in the scratch space, append their synapses from place m; returns the new end."""
    a = pointer[e]
    b = pointer[e + 1]
    whole = (n + LANES - 1) // LANES * LANES
    to_positions(z, n, spaces[e])
    to_pairs(z, whole, start[a:b])
    to_targets(z, whole, ins, ends[a:b])
    for i in range(n):
        row = z[SOURCE + i]
        g = np.int64(gain[a + z[PAIR + i]]) if gain.shape[0] > 0 else 256
        t = z[T + i]
        if g != 0 and t != U32(U32(first) + row):
            w0, w1 = weigh(z[W + i], g, two_weights)
            keys[m] = (U64(t) << U64(32)) | U64(m)
            row_of[m] = row
            weight_of[m] = U32(w0 | (w1 << weight_bits))
            m += 1
    return m


@cache
def _make_lists(checksum: int) -> Any:
    @njit(**_SLOW)
    def lists(
        j0, j1, z, count, count_only, begin, targets, weights, two_weights, weight_bits, ins, spaces, pointer, start,
        ends, gain, moved_pointer, moved_source, moved_target, moved_bits
    ):  # fmt: skip
        """Write the lists of source neurons j0 ... j1 - 1 (or count them into ``begin``); returns the multapses."""
        if checksum < 0:  # never: it makes the checksum part of the compiled function
            return -1
        z, count, begin, targets, weights = borrow((z, count, begin, targets, weights))
        ins, spaces, pointer, start, ends = borrow((ins, spaces, pointer, start, ends))
        gain, moved_pointer = borrow((gain, moved_pointer))
        moved_source, moved_target, moved_bits = borrow((moved_source, moved_target, moved_bits))
        fill = np.zeros(_TOGETHER, np.int64)
        capacity: Any = 0
        keys = np.empty(0, np.uint64)
        spare = np.empty(0, np.uint64)
        row_of = np.empty(0, np.uint32)
        weight_of = np.empty(0, np.uint32)
        last = np.int64(ins[-1, FIRST]) + np.int64(ins[-1, SIZE])
        bits = 1
        while last >> bits > 0:
            bits += 1
        multapses = 0
        for q in range(ins.shape[0]):
            size = np.int64(ins[q, SIZE])
            first = np.int64(ins[q, FIRST])
            s0: Any = max(j0 - first, 0)
            s1: Any = min(j1 - first, size)
            if s0 >= s1:
                continue
            near, far = np.int64(spaces[2 * q, SLOTS]), np.int64(spaces[2 * q + 1, SLOTS])
            width: Any = near // size + far // size + 2
            rows: Any = max(1, _TOGETHER // width)
            room = rows * width + moved_pointer[q + 1] - moved_pointer[q]
            if room > capacity:
                capacity = room
                keys = np.empty(capacity, np.uint64)
                spare = np.empty(capacity, np.uint64)
                row_of = np.empty(capacity, np.uint32)
                weight_of = np.empty(capacity, np.uint32)
            own_gain: Any = 256
            if gain.shape[0] > 0:
                for i in range(pointer[2 * q], pointer[2 * q + 1]):
                    if np.int64(ends[i] & U64(0xFFFFFFFF)) == q:
                        own_gain = np.int64(gain[i])
            extra = moved_pointer[q]
            for c in range(s0, s1, rows):
                d: Any = min(c + rows, s1)
                m: Any = 0
                for side in range(2):
                    e = 2 * q + side
                    slots = far if side else near
                    n = 0
                    for s in range(c, d):
                        x = size - 1 - s if side else s
                        while x < slots:
                            z[X + n] = U32(x)
                            z[SOURCE + n] = U32(s - c)
                            n += 1
                            x += size
                            if n == BATCH:
                                m = _collect(
                                    z, n, e, first + c, keys, row_of, weight_of, m, two_weights, weight_bits, ins,
                                    spaces, pointer, start, ends, gain
                                )  # fmt: skip
                                n = 0
                    if n > 0:
                        m = _collect(
                            z, n, e, first + c, keys, row_of, weight_of, m, two_weights, weight_bits, ins, spaces,
                            pointer, start, ends, gain
                        )  # fmt: skip
                while extra < moved_pointer[q + 1] and moved_source[extra] < first + c:
                    extra += 1
                while extra < moved_pointer[q + 1] and moved_source[extra] < first + d:
                    if own_gain != 0:
                        w0, w1 = weigh(moved_bits[extra], own_gain, two_weights)
                        keys[m] = (U64(moved_target[extra]) << U64(32)) | U64(m)
                        row_of[m] = moved_source[extra] - U32(first + c)
                        weight_of[m] = U32(w0 | (w1 << weight_bits))
                        m += 1
                    extra += 1
                if count_only:
                    for i in range(m):
                        begin[first + c + np.int64(row_of[i])] += 1
                    continue
                ordered = _sort(keys, spare, count, m, bits)
                fill[: d - c] = begin[first + c : first + d]
                for i in range(m):
                    k = np.int64(ordered[i] & U64(0xFFFFFFFF))
                    t = U32(ordered[i] >> U64(32))
                    row = np.int64(row_of[k])
                    o = fill[row]
                    fill[row] = o + 1
                    targets[o] = t
                    weights[o] = weight_of[k]
                    multapses += o > begin[first + c + row] and targets[o - 1] == t
        return multapses

    return lists


def _scratch() -> tuple[NDArray[Any], ...]:
    return np.zeros(SCRATCH, np.uint32), np.zeros(1 << 11, np.int64)


def write_lists(slots: SlotMap, threads: int = 1) -> Wiring:
    """Write down all synapses of a slot map; the same for any number of threads."""
    lists = _make_lists(source_checksum())
    neurons = slots.neurons
    two, bits = slots.two_weights, slots.weight_bits
    kind = {(False, 8): np.uint8, (True, 8): np.uint16, (False, 16): np.uint16, (True, 16): np.uint32}[(two, bits)]
    degree = np.zeros(neurons + 1, np.int64)
    none = np.empty(0, np.uint32), np.empty(0, kind)
    edges = np.linspace(0, neurons, threads + 1).astype(np.int64)
    if len(slots.gain) and (slots.gain == 0).any():

        def count(k: int) -> None:
            lists(edges[k], edges[k + 1], *_scratch(), True, degree, *none, two, bits, *slots.arrays)

        run_threads(count, threads)
    else:
        _out_degrees(slots.ins, slots.spaces, slots.moved_source, slots.moved_target, degree)
    pointer = np.concatenate([[0], np.cumsum(degree[:-1])])
    total = int(pointer[-1])
    targets, weights = np.empty(total + SPARE, np.uint32)[:total], np.empty(total + SPARE, kind)[:total]
    edges = np.searchsorted(pointer, np.linspace(0, total, threads + 1))
    edges[0], edges[-1] = 0, neurons
    found = np.zeros(threads, np.int64)

    def write(k: int) -> None:
        found[k] = lists(
            edges[k], edges[k + 1], *_scratch(), False, pointer, targets, weights, two, bits, *slots.arrays
        )

    run_threads(write, threads)
    return Wiring(pointer, targets, weights, int(found.sum()), bits)


def build_wiring(
    anatomy: Anatomy, seed: int, two_weights: bool, threads: int = 1, gains: Gains | None = None
) -> Wiring:
    """Build the synapses of a network; see :func:`~twinbrain.kernels.slots.build_map` for what it needs and raises."""
    return write_lists(build_map(anatomy, seed, two_weights, threads, gains), threads)


@njit(**_SLOW)
def _count(j0, j1, pointer, targets, limit, counts):
    """Count the synapses of sources j0 ... j1 - 1 in each tile; False if a count does not fit its type."""
    most = np.int64(2) ** (8 * counts.itemsize) - 1
    fits = True
    for j in range(j0, j1):
        q = pointer[j]
        b = pointer[j + 1]
        for k in range(limit.shape[0]):
            a = q
            while q < b and targets[q] < limit[k]:
                q += 1
            fits &= q - a <= most
            counts[j, k] = q - a
    return fits


def count_by_tile(
    pointer: NDArray[np.int64], targets: NDArray[np.uint32], limit: NDArray[np.int64], threads: int = 1
) -> NDArray[np.uint16] | NDArray[np.uint32]:
    """Return how many synapses of each source's list lie in each tile of targets, (N, tiles).

    ``limit`` (tiles,) is the first neuron after each tile; the last must be above every id.
    """
    n = len(pointer) - 1
    edges = np.linspace(0, n, threads + 1).astype(np.int64)
    for kind in (np.uint16, np.uint32):
        counts = np.zeros((n, len(limit)), kind)
        fits = np.zeros(threads, bool)

        def count(k: int, counts: NDArray[Any] = counts, fits: NDArray[np.bool_] = fits) -> None:
            fits[k] = _count(edges[k], edges[k + 1], pointer, targets, limit, counts)

        run_threads(count, threads)
        if fits.all():
            break
    return counts
