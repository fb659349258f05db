"""Delivery of spikes through stored lists, and the loop over steps that one thread runs.

Lists are source-major and sorted by target. A thread owns a contiguous range of blocks and goes through it in tiles,
whose arrival sums stay in the second-level cache: all spikes are delivered to the targets of a tile, then its blocks
are updated. So arrival sums never travel to memory. A cursor for every spike remembers how far its list has been
read; because the list is sorted, the next tile goes on from there. Arrivals are summed as integers: the order of
summation cannot matter.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from twinbrain.kernels.borrow import borrow
from twinbrain.kernels.procedural import add_bucket, add_near, send
from twinbrain.kernels.random import INLINE, U32, U64, source_checksum
from twinbrain.kernels.sync import barrier, prefetch
from twinbrain.kernels.update import BLOCK, LOG_BLOCK, PORTS, compact, spread, step_block

__all__ = ["TILE_BYTES", "deliver", "make_advance", "open_lists"]

#: Arrival sums of a tile: what fits the second-level cache beside the lists that pass through it.
TILE_BYTES = 512 * 1024

_B = BLOCK
_AHEAD = 8  # spikes between the request of a list and its use
_DONE = U32(0xFFFFFFFF)  # no target is this high


@njit(**INLINE)
def open_lists(
    spikes, n, part, pointer, cuts, targets, weights, population_first, sign, voxel_first, voxel_length, ports, m,
    position, end, following, own, length, near, far
):  # fmt: skip
    """Append a cursor for every one of ``n`` spikes that has targets in part ``part``, from cursor m; returns the end.

    A cursor is where its list goes on and ends, the target there, the source's voxel, and the ports of its arrivals
    in that voxel and elsewhere.
    """
    whole = cuts.shape[0] == 0
    begin = m
    p = 0
    for k in range(n):
        if k + 2 * _AHEAD < n:
            ahead = np.int64(spikes[k + 2 * _AHEAD])
            prefetch(pointer, ahead)
            if not whole:
                prefetch(cuts[part], ahead)
                prefetch(cuts[part + 1], ahead)
        j = np.int64(spikes[k])
        a = pointer[j]
        b = pointer[j + 1]
        if not whole:
            b = a + cuts[part + 1, j]
            a = a + cuts[part, j]
        if a == b:
            continue
        prefetch(targets, a)
        prefetch(weights, a)
        while population_first[p + 1] <= j:  # spikes come in order of the neuron
            p += 1
        position[m] = a
        end[m] = b
        own[m] = U32(voxel_first[p])
        length[m] = U32(voxel_length[p])
        near[m] = ports[0] if sign[p] > 0 else ports[2]
        far[m] = ports[1] if sign[p] > 0 else ports[2]
        m += 1
    for k in range(begin, m):
        following[k] = targets[position[k]]
    return m


@njit(**INLINE)
def open_late_lists(
    spikes, n, first, limit, lag, late, pointer, targets, weights, population_first, sign, voxel_first, voxel_length,
    ports, m, position, end, following, own, length, near, far
):  # fmt: skip
    """As :func:`open_lists`, for the synapses of delay ``lag`` onto targets first ... limit - 1 (lists by delay)."""
    p = 0
    for k in range(n):
        j = np.int64(spikes[k])
        a = pointer[j] + late[j, lag - 1]
        b = pointer[j] + late[j, lag]
        while a < b and targets[a] < first:
            a += 1
        while a < b and targets[b - 1] >= limit:
            b -= 1
        if a == b:
            continue
        while population_first[p + 1] <= j:
            p += 1
        position[m] = a
        end[m] = b
        following[m] = targets[a]
        own[m] = U32(voxel_first[p])
        length[m] = U32(voxel_length[p])
        near[m] = ports[0] if sign[p] > 0 else ports[2]
        far[m] = ports[1] if sign[p] > 0 else ports[2]
        m += 1
    return m


@njit(**INLINE)
def deliver(n, first, limit, position, end, following, own, length, near, far, targets, weights, bits, acc, gained):
    """Add the weights of all synapses of ``n`` cursors onto targets below ``limit``; ``first`` begins the tile.

    ``acc`` (ports, neurons) holds the arrival sums of the tile; weights have ``bits`` bits. Without ``gained``,
    ``near`` and ``far`` are the same.
    """
    low = np.int64((1 << bits) - 1)
    high = np.int64(bits)
    kind = acc.dtype.type
    half = np.int64(acc.itemsize * 4)
    flat = acc.reshape(-1)
    row = U64(acc.shape[1])
    origin = np.int64(first)
    limit = U32(limit)
    for m in range(n):
        ahead = m + _AHEAD
        if ahead < n and following[ahead] < limit:
            prefetch(targets, position[ahead])
            prefetch(targets, position[ahead] + 16)
            prefetch(weights, position[ahead])
        t = following[m]
        if t >= limit:
            continue
        q = U64(position[m])  # unsigned, or every index would be tested for a negative one
        stop = U64(end[m])
        here = U64(near[m]) * row - U64(origin)
        there = U64(far[m]) * row - U64(origin)
        start = own[m]
        size = length[m]
        while True:
            w = np.int64(weights[q])
            slot = U64(t) + here
            if gained and U32(t - start) >= size:
                slot = U64(t) + there
            flat[slot] += kind((w & low) | ((w >> high) << half))
            q += U64(1)
            if q == stop:
                t = _DONE
                break
            t = targets[q]
            if t >= limit:
                break
        position[m] = np.int64(q)
        following[m] = t


@njit(**INLINE)
def read_bits(bits, first, limit, out):
    """List the neurons first ... limit - 1 whose bit is set; first is a multiple of 8. Returns how many."""
    k = 0
    for w in range(first >> 3, (limit + 7) >> 3):
        byte = bits[w]
        if byte != 0:
            for i in range(8):
                if byte & (np.uint8(1) << np.uint8(i)):
                    out[k] = np.int32(8 * w + i)
                    k += 1
    return k


@njit(**INLINE)
def write_bits(bits, first, limit, ids, n):
    """Set the bits of ``n`` neurons among first ... limit - 1, and clear the others."""
    bits[first >> 3 : (limit + 7) >> 3] = 0
    for k in range(n):
        i = np.int64(ids[k])
        bits[i >> 3] |= np.uint8(1) << np.uint8(i & 7)


@cache
def make_advance(R: tuple[int, ...], procedural: bool, two_weights: bool, bits: int) -> Any:
    """Return the function that one thread runs: it advances the blocks of its part by a number of steps.

    ``R`` is ``Layout.constants``; the compiled function is kept on disk for the next process. ``wires`` and ``arenas``
    are those of :class:`twinbrain.links.Links`; ``bits`` is the width of a weight. Every step: tile by tile, deliver
    the spikes of the last step and update the blocks; list the new spikes; meet the other threads at one barrier.
    Between two calls spikes are in flight: those of the last D steps, one bit per neuron, are kept in ``flying``
    (D, bytes), step t in row t mod D. Without delays D is 1; with them a spike is looked at again at each of D steps,
    for the synapses that are due (``late``, see :func:`twinbrain.kernels.delay.sort_by_delay`); procedural wiring
    sends a spike's events once, into the arena of the step at which they are due.

    Returns the step before which it stopped: ``steps``; an earlier one if the arenas of procedural wiring must grow
    first; -1 if another thread has failed.
    """
    GAINED = R[PORTS] != R[PORTS + 1]
    R = (*R, source_checksum())  # not read: a kernel edited in any file of this room is compiled anew

    @njit(nogil=True, boundscheck=False, error_model="numpy", cache=True)
    def advance(
        part, threads, blocks, begin, steps, first_step, substeps, n_neurons, state, flying, acc, z, q, fired, slots,
        divide, c, table, k0, k1, wires, arenas, population_first, sign, voxel_of, ports, spikes, n_spikes, counter,
        counts, voxel_counts, recorded, record_step, record_id, n_recorded, sampled, samples
    ):  # fmt: skip
        state, flying, acc, z, q, fired = borrow((state, flying, acc, z, q, fired))
        slots, divide, c, table, wires, arenas = borrow((slots, divide, c, table, wires, arenas))
        population_first, sign, spikes, n_spikes = borrow((population_first, sign, spikes, n_spikes))
        b0 = blocks[part]
        b1 = blocks[part + 1]
        first = b0 * _B
        limit = min(b1 * _B, n_neurons)
        tile = (acc.shape[1] - 16) // _B
        kept = n_recorded[part]
        spread_over = np.int64(-1)  # the population that fills all scratch rows, if one does
        start_population = 0
        while population_first[start_population + 1] <= first:
            start_population += 1
        depth = flying.shape[0]
        ring = depth + 1
        for d in range(1, ring):
            step = first_step + begin - d
            n_spikes[step % ring, part] = read_bits(flying[step % depth], first, limit, spikes[step % ring, part])
        if procedural:
            flat = acc.reshape(-1)
            buckets = arenas[4].shape[2] // threads * part
            asked = 0
            for d in range(depth, 0, -1):
                step = first_step + begin - d
                room = send(
                    spikes[step % ring, part], n_spikes[step % ring, part], step, d, d == depth, part, slots, divide,
                    ports, acc.shape[1], two_weights, sign, wires, arenas
                )  # fmt: skip
                asked = max(asked, room)
            arenas[6][(first_step + begin - 1) % ring, part] = asked
        else:
            pointer, late, cuts, targets, weights, voxel_first, voxel_length = wires
            capacity = 1024 + n_neurons // 16
            position, end = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
            following, own, length = (
                np.empty(capacity, np.uint32), np.empty(capacity, np.uint32), np.empty(capacity, np.uint32)
            )  # fmt: skip
            near, far = np.empty(capacity, np.uint8), np.empty(capacity, np.uint8)
        if not barrier(counter, 1, threads):
            return -1
        done = begin
        for s in range(begin, steps):
            now = (first_step + s) % ring
            last_step = (first_step + s - 1) % ring
            if procedural:
                grow = False
                for th in range(threads):
                    grow |= arenas[6][last_step, th] > 0
                if grow:
                    break
                sent = 0
                of = start_population
                bucket = buckets
            else:
                total = 0
                for d in range(1, ring):
                    for th in range(threads):
                        total += n_spikes[(first_step + s - d) % ring, th]
                if total > capacity:
                    capacity = 2 * total
                    position, end = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
                    following, own, length = (
                        np.empty(capacity, np.uint32), np.empty(capacity, np.uint32), np.empty(capacity, np.uint32)
                    )  # fmt: skip
                    near, far = np.empty(capacity, np.uint8), np.empty(capacity, np.uint8)
                n = 0
                for d in range(1, ring):
                    slot = (first_step + s - d) % ring
                    for th in range(threads):
                        if late.shape[1] == 0:
                            n = open_lists(
                                spikes[slot, th], n_spikes[slot, th], part, pointer, cuts, targets, weights,
                                population_first, sign, voxel_first, voxel_length, ports, n, position, end, following,
                                own, length, near, far
                            )  # fmt: skip
                        else:
                            n = open_late_lists(
                                spikes[slot, th], n_spikes[slot, th], first, b1 * _B, d, late, pointer, targets,
                                weights, population_first, sign, voxel_first, voxel_length, ports, n, position, end,
                                following, own, length, near, far
                            )  # fmt: skip
            k = 0
            out = spikes[now, part]
            p: Any = start_population
            for start in range(b0, b1, tile):
                stop = min(start + tile, b1)
                if procedural:
                    for th in range(threads):
                        add_bucket(bucket, flat, now, th, arenas)
                    bucket += 1
                    sent, of = add_near(
                        spikes[last_step, part], sent, n_spikes[last_step, part], stop * _B, start * _B, acc.shape[1],
                        flat, slots, divide, ports, two_weights, sign, wires, of
                    )  # fmt: skip
                else:
                    deliver(
                        n, start * _B, stop * _B, position, end, following, own, length, near, far, targets, weights,
                        bits, acc, GAINED
                    )  # fmt: skip
                for b in range(start, stop):
                    at = b * _B
                    if table.shape[1] > 0:
                        while population_first[p + 1] <= at:
                            p += 1
                        if spread_over != p or population_first[p + 1] < at + _B:
                            last = spread(q, table, population_first, p, at, min(at + _B, n_neurons))
                            spread_over = p if last == p and population_first[p + 1] >= at + _B else np.int64(-1)
                    here, there = (b - start) * _B, (b - start + 1) * _B
                    local, distant, inhibitory = (
                        acc[ports[0], here:there], acc[ports[1], here:there], acc[ports[2], here:there]
                    )  # fmt: skip
                    step_block(
                        state[b], local, distant, inhibitory, fired, z, q, c, R, at, first_step + s, substeps, k0, k1
                    )  # fmt: skip
                    k = compact(fired, min(_B, n_neurons - at), at, out, k)
            p = start_population
            for m in range(k):
                while population_first[p + 1] <= out[m]:
                    p += 1
                counts[part, p] += 1
                voxel_counts[part, s, voxel_of[p]] += 1
            if recorded.shape[0] > 0:
                for m in range(k):
                    if recorded[out[m]] != 0:
                        record_step[part, kept] = first_step + s
                        record_id[part, kept] = out[m]
                        kept += 1
            for m in range(sampled.shape[0]):
                b = sampled[m] >> LOG_BLOCK
                if b0 <= b < b1:
                    samples[s, m] = state[b, sampled[m] & (_B - 1)]
            n_spikes[now, part] = k
            if procedural:
                arenas[6][now, part] = send(
                    out, k, first_step + s, 1, False, part, slots, divide, ports, acc.shape[1], two_weights, sign,
                    wires, arenas
                )  # fmt: skip
            done = s + 1
            if not barrier(counter, done - begin + 1, threads):
                return -1
        n_recorded[part] = kept
        for d in range(1, min(depth, done - begin) + 1):
            step = first_step + done - d
            write_bits(
                flying[step % depth], first, limit, spikes[step % ring, part], n_spikes[step % ring, part]
            )  # fmt: skip
        return done

    return advance
