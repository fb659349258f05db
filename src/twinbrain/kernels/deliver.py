"""The loop over steps that one thread runs: arrivals of a tile are added, then its blocks are updated.

A thread owns a contiguous range of blocks and goes through it in tiles, whose arrival sums stay in the second-level
cache and never travel to memory. How spikes become arrivals is said in :mod:`~twinbrain.kernels.stored` and
:mod:`~twinbrain.kernels.procedural`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from twinbrain.kernels.borrow import borrow
from twinbrain.kernels.buckets import add_bucket, add_events
from twinbrain.kernels.half import begin_block, end_block, potential_of
from twinbrain.kernels.procedural import add_near, send
from twinbrain.kernels.random import INLINE, source_checksum
from twinbrain.kernels.stored import add_lists, send_late_lists, send_lists
from twinbrain.kernels.sync import barrier
from twinbrain.kernels.update import BLOCK, LOG_BLOCK, compact, spread, step_block

__all__ = ["make_advance"]

_B = BLOCK


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
    (D, bytes), step t in row t mod D. Without delays D is 1; with them a spike's events are sent once, into the arena
    of the step at which they are due.

    Returns the step before which it stopped: ``steps``; an earlier one if arenas must grow first; -1 if another
    thread has failed.
    """
    varying = 2 + sum(row >= 0 for row in R[:4])
    R = (*R, source_checksum())  # not read: a kernel edited in any file of this room is compiled anew

    @njit(nogil=True, boundscheck=False, error_model="numpy", cache=True)
    def advance(
        part, threads, blocks, begin, steps, first_step, substeps, n_neurons, state, scale, flying, acc, z, q, fired,
        whole, slots, c, table, k0, k1, wires, arenas, population_first, sign, voxel_of, ports, spikes,
        n_spikes, counter, counts, voxel_counts, recorded, record_step, record_id, n_recorded, sampled, samples
    ):  # fmt: skip
        state, flying, acc, z, q, fired, whole = borrow((state, flying, acc, z, q, fired, whole))
        slots, c, table, wires, arenas = borrow((slots, c, table, wires, arenas))
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
        flat = acc.reshape(-1)
        alone = arenas[4].shape[2] == 0  # stored lists are added at once
        delayed = not procedural and wires[2].size > 0
        buckets = arenas[4].shape[2] // threads * part
        asked = 0
        for d in range(depth, 0, -1):
            step = first_step + begin - d
            of_step, n = spikes[step % ring, part], n_spikes[step % ring, part]
            if procedural:
                room = send(
                    of_step, n, step, d, d == depth, part, slots, ports, acc.shape[1], two_weights, sign, wires,
                    arenas
                )  # fmt: skip
                asked = max(asked, room)
            elif delayed:
                room = send_late_lists(
                    of_step, n, step, d, d == depth, part, ports, bits, acc.shape[1], population_first, sign, wires,
                    arenas
                )  # fmt: skip
                asked = max(asked, room)
            elif not alone:
                asked = send_lists(
                    of_step, n, step, part, ports, bits, acc.shape[1], population_first, sign, wires, arenas
                )  # fmt: skip
        arenas[6][(first_step + begin - 1) % ring, part] = asked
        if not barrier(counter, 1, threads):
            return -1
        done = begin
        for s in range(begin, steps):
            now = (first_step + s) % ring
            last_step = (first_step + s - 1) % ring
            grow = False
            for th in range(threads):
                grow |= arenas[6][last_step, th] > 0
            if grow:
                break
            sent = 0
            of = start_population
            bucket = buckets
            k = 0
            out = spikes[now, part]
            p: Any = start_population
            for start in range(b0, b1, tile):
                stop = min(start + tile, b1)
                if not procedural and alone:
                    add_lists(
                        spikes[last_step, 0], n_spikes[last_step, 0], ports, bits, acc, population_first, sign, wires
                    )  # fmt: skip
                elif procedural or delayed:
                    for th in range(threads):
                        add_bucket(bucket, flat, now, th, arenas)
                else:
                    for th in range(threads):
                        from_ = np.int64(arenas[2][now, th, bucket])
                        add_events(arenas[0][now, th], from_, from_ + arenas[4][now, th, bucket], flat)
                bucket += 1
                if procedural:
                    sent, of = add_near(
                        spikes[last_step, part], sent, n_spikes[last_step, part], stop * _B, start * _B, acc.shape[1],
                        flat, slots, ports, two_weights, sign, wires, of
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
                    block = begin_block(whole, state[b], scale)
                    step_block(
                        block, local, distant, inhibitory, fired, z, q, c, R, at, first_step + s, substeps, k0, k1
                    )  # fmt: skip
                    end_block(whole, state[b], z.view(np.uint32), scale, varying, at, first_step + s, k0, k1)
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
                    samples[s, m] = potential_of(state[b], sampled[m] & (_B - 1), scale)
            n_spikes[now, part] = k
            if procedural:
                arenas[6][now, part] = send(
                    out, k, first_step + s, 1, False, part, slots, ports, acc.shape[1], two_weights, sign,
                    wires, arenas
                )  # fmt: skip
            elif delayed:
                arenas[6][now, part] = send_late_lists(
                    out, k, first_step + s, 1, False, part, ports, bits, acc.shape[1], population_first, sign, wires,
                    arenas
                )  # fmt: skip
            elif not alone:
                arenas[6][now, part] = send_lists(
                    out, k, first_step + s, part, ports, bits, acc.shape[1], population_first, sign, wires, arenas
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
