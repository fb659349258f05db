"""Procedural wiring: the synapses of a spike are made from the slot map whenever it needs them, and stored nowhere.

Arrival sums exist for one tile of neurons at a time (see :mod:`~twinbrain.kernels.deliver`). A spike's targets in its
own voxel are generated when the tile that holds the voxel is updated, and added at once: the sums of a voxel are in
the cache. Its targets in other voxels are generated once, by the thread that owns the spiking neuron, right after the
neuron has fired, and sorted into one bucket per tile; every thread then adds the buckets of its tiles. So no thread
generates a synapse that another one needs, and no sum is touched out of turn. Voxels that lie in more than one tile
send everything through buckets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from twinbrain.kernels.buckets import empty, lacking, push
from twinbrain.kernels.delay import steps_between
from twinbrain.kernels.random import INLINE, U32, U64
from twinbrain.kernels.slots import (
    BATCH,
    FIRST,
    LANES,
    PAIR,
    SIZE,
    SLOTS,
    SOURCE,
    T,
    W,
    X,
    to_pairs,
    to_positions,
    to_targets,
)
from twinbrain.kernels.sync import prefetch
from twinbrain.kernels.wiring import weigh

__all__ = ["add_near", "send"]

_LOW = U64(0xFFFFFFFF)
_PLAIN = {"nogil": True, "boundscheck": False, "error_model": "numpy"}


@njit(**_PLAIN)
def resolve(z, n, e, ins, spaces, pointer, start, ends):
    """Turn the first n out-slots of space e in the scratch space into targets and random bits."""
    whole = (n + LANES - 1) // LANES * LANES
    a = pointer[e]
    b = pointer[e + 1]
    to_positions(z, n, spaces[e])
    to_pairs(z, whole, start[a:b])
    to_targets(z, whole, ins, ends[a:b])


@njit(**INLINE)
def send_batch(
    z, n, e, step, age, part, port, two_weights, ins, spaces, pointer, start, ends, gains, place, voxel_of, matrix,
    positions, mm_per_step, most, pages, following, head, tail, count, used
):  # fmt: skip
    """Send the synapses of n out-slots to the buckets of their targets' tiles, at the step when they are due."""
    resolve(z, n, e, ins, spaces, pointer, start, ends)
    a = pointer[e]
    ring = count.shape[0]
    if most == 1:  # all are due at the next step
        slot = (step + 1) % ring
        own_pages, own_following, own_used = pages[slot, part], following[slot, part], used[slot, part]
        own_head, own_tail, own_count = head[slot, part], tail[slot, part], count[slot, part]
        for i in range(n):
            t = z[T + i]
            g = np.int64(gains[a + np.int64(z[PAIR + i])]) if gains.shape[0] > 0 else 256
            if g != 0 and t != z[SOURCE + i]:
                w0, w1 = weigh(z[W + i], g, two_weights)
                push(t, w0, w1, port, place, own_pages, own_following, own_head, own_tail, own_count, own_used)
        return
    home = voxel_of[e >> 1]
    for i in range(n):
        t = z[T + i]
        k = a + np.int64(z[PAIR + i])
        g = np.int64(gains[k]) if gains.shape[0] > 0 else 256
        lag = steps_between(voxel_of[np.int64(ends[k] & _LOW)], home, matrix, positions, mm_per_step, most)
        if g == 0 or t == z[SOURCE + i] or lag < age:
            continue
        slot = (step + lag) % ring
        w0, w1 = weigh(z[W + i], g, two_weights)
        push(
            t, w0, w1, port, place, pages[slot, part], following[slot, part], head[slot, part], tail[slot, part],
            count[slot, part], used[slot, part]
        )  # fmt: skip


@njit(**INLINE)
def send(
    spikes, n_spikes, step, age, everything, part, z, ports, row, two_weights, sign, wires, arenas
):  # fmt: skip
    """Generate the distant synapses of a thread's own spikes (ascending), and all of voxels that straddle tiles.

    The spikes were fired at ``step``; only what is due ``age`` or more steps later is sent. ``row`` is the distance of
    two ports' arrival sums, ``wires`` and ``arenas`` are those of ``Links``. First empties the arena that becomes
    free, or ``everything``. Returns 0, or the number of events that an arena should hold if it is too small; then
    nothing is sent.
    """
    ins, spaces, pointer, start, ends, gains, moved_pointer, moved_source, moved_target, moved_bits = wires[:10]
    place, straddles, own_gain, (voxel_of, matrix, positions, mm_per_step, most) = wires[10:]
    pages, following, head, tail, count, used, _ = arenas
    ring = count.shape[0]
    empty(step, everything, part, arenas)
    q = 0
    need: Any = 0
    for m in range(n_spikes):
        j = np.int64(spikes[m])
        while j >= np.int64(ins[q, FIRST]) + np.int64(ins[q, SIZE]):
            q += 1
        size = np.int64(ins[q, SIZE])
        need += np.int64(spaces[2 * q + 1, SLOTS]) // size + 1
        if straddles[q] != 0:
            need += np.int64(spaces[2 * q, SLOTS]) // size + 1 + moved_pointer[q + 1] - moved_pointer[q]
    asked = lacking(need, part, arenas)
    if asked > 0:
        return asked
    m = 0
    q = 0
    while m < n_spikes:
        j = np.int64(spikes[m])
        while j >= np.int64(ins[q, FIRST]) + np.int64(ins[q, SIZE]):
            q += 1
        first = np.int64(ins[q, FIRST])
        size = np.int64(ins[q, SIZE])
        stop = m + 1
        while stop < n_spikes and np.int64(spikes[stop]) < first + size:
            stop += 1
        if stop < n_spikes:
            r = q + 1
            while np.int64(spikes[stop]) >= np.int64(ins[r, FIRST]) + np.int64(ins[r, SIZE]):
                r += 1
            for k in range(pointer[2 * r + 1], pointer[2 * r + 2], 16):  # to be searched next
                prefetch(start, k)
        home = straddles[q] != 0 and age == 1
        for side in range(0 if home else 1, 2):
            e = 2 * q + side
            slots = np.int64(spaces[e, SLOTS])
            if slots == 0:
                continue
            port = U32(np.int64(ports[side] if sign[q] > 0 else ports[2]) * row)
            n = 0
            for k in range(m, stop):
                j = np.int64(spikes[k])
                x = first + size - 1 - j if side else j - first
                while x < slots:
                    z[X + n] = U32(x)
                    z[SOURCE + n] = U32(j)
                    n += 1
                    x += size
                    if n == BATCH:
                        send_batch(
                            z, n, e, step, age, part, port, two_weights, ins, spaces, pointer, start, ends, gains,
                            place, voxel_of, matrix, positions, mm_per_step, most, pages, following, head, tail, count,
                            used
                        )  # fmt: skip
                        n = 0
            if n > 0:
                send_batch(
                    z, n, e, step, age, part, port, two_weights, ins, spaces, pointer, start, ends, gains, place,
                    voxel_of, matrix, positions, mm_per_step, most, pages, following, head, tail, count, used
                )  # fmt: skip
        if home and own_gain[q] != 0:
            port = U32(np.int64(ports[0] if sign[q] > 0 else ports[2]) * row)
            slot = (step + 1) % ring
            o = moved_pointer[q]
            for k in range(m, stop):
                j = np.int64(spikes[k])
                while o < moved_pointer[q + 1] and np.int64(moved_source[o]) < j:
                    o += 1
                while o < moved_pointer[q + 1] and np.int64(moved_source[o]) == j:
                    w0, w1 = weigh(moved_bits[o], np.int64(own_gain[q]), two_weights)
                    push(
                        moved_target[o], w0, w1, port, place, pages[slot, part], following[slot, part],
                        head[slot, part], tail[slot, part], count[slot, part], used[slot, part]
                    )  # fmt: skip
                    o += 1
        m = stop
    return 0


@njit(**INLINE)
def near_batch(
    z, n, e, port, origin, acc, gains, two_weights, ins, spaces, pointer, start, ends
):  # fmt: skip
    """Add the synapses of n out-slots inside a voxel to the arrival sums of the tile that holds it."""
    resolve(z, n, e, ins, spaces, pointer, start, ends)
    kind = acc.dtype.type
    half = np.int64(acc.itemsize * 4)
    a = pointer[e]
    gained = gains.shape[0] > 0
    for i in range(n):
        t = z[T + i]
        g = np.int64(gains[a + np.int64(z[PAIR + i])]) if gained else 256
        w0, w1 = weigh(z[W + i], g, two_weights)
        if t == z[SOURCE + i]:
            w0 = 0
            w1 = 0
        acc[U64(U32(t - origin)) + U64(port)] += kind(w0 | (w1 << half))


@njit(**INLINE)
def add_near(spikes, m, n_spikes, limit, origin, row, acc, z, ports, two_weights, sign, wires, q):
    """Generate and add the synapses inside their voxels of a thread's own spikes from m on, below neuron ``limit``.

    ``origin`` is the first neuron of the tile, q a population not after that of spike m. Returns (m, q) to go on from.
    """
    ins, spaces, pointer, start, ends, gains, moved_pointer, moved_source, moved_target, moved_bits = wires[:10]
    _, straddles, own_gain, _ = wires[10:]
    kind = acc.dtype.type
    half = np.int64(acc.itemsize * 4)
    while m < n_spikes and np.int64(spikes[m]) < limit:
        j = np.int64(spikes[m])
        while j >= np.int64(ins[q, FIRST]) + np.int64(ins[q, SIZE]):
            q += 1
        first = np.int64(ins[q, FIRST])
        size = np.int64(ins[q, SIZE])
        end = min(first + size, limit)
        stop = m + 1
        while stop < n_spikes and np.int64(spikes[stop]) < end:
            stop += 1
        if straddles[q] != 0:
            m = stop
            continue
        slots = np.int64(spaces[2 * q, SLOTS])
        port = np.int64(ports[0] if sign[q] > 0 else ports[2]) * row
        n = 0
        for k in range(m, stop):
            j = np.int64(spikes[k])
            x = j - first
            while x < slots:
                z[X + n] = U32(x)
                z[SOURCE + n] = U32(j)
                n += 1
                x += size
                if n == BATCH:
                    near_batch(
                        z, n, 2 * q, port, U32(origin), acc, gains, two_weights, ins, spaces, pointer, start, ends
                    )  # fmt: skip
                    n = 0
        if n > 0:
            near_batch(
                z, n, 2 * q, port, U32(origin), acc, gains, two_weights, ins, spaces, pointer, start, ends
            )  # fmt: skip
        o = moved_pointer[q]
        for k in range(m, stop):
            j = np.int64(spikes[k])
            while o < moved_pointer[q + 1] and np.int64(moved_source[o]) < j:
                o += 1
            while o < moved_pointer[q + 1] and np.int64(moved_source[o]) == j:
                w0, w1 = weigh(moved_bits[o], np.int64(own_gain[q]), two_weights)
                acc[np.int64(moved_target[o]) - origin + port] += kind(w0 | (w1 << half))
                o += 1
        m = stop
    return m, q
