"""Delivery of spikes through stored lists, and the loop over steps that one thread runs.

Lists are source-major and sorted by target, so that the part a thread owns, and the part inside the source's own
voxel, are contiguous. Arrivals are summed as integers: the order of summation cannot matter.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from twinbrain.kernels.random import INLINE, U32, source_checksum
from twinbrain.kernels.sync import barrier, prefetch
from twinbrain.kernels.update import BLOCK, LOG_BLOCK, compact, step_block

__all__ = ["make_advance"]

_B = BLOCK
_LOG, _MASK = U32(LOG_BLOCK), U32(BLOCK - 1)
_AHEAD = 6  # spikes between the request of a list and its use


@njit(**INLINE)
def deliver(
    spikes, n, part, pointer, cuts, targets, weights, acc, population, sign, voxel_first, voxel_length, ports, n_ports
):  # fmt: skip
    """Add the weights of all synapses from ``n`` fired neurons onto the targets that part ``part`` owns."""
    whole = cuts.shape[0] == 0
    kind = acc.dtype.type
    half = np.int64(acc.itemsize * 4)
    for m in range(n):
        if m + 2 * _AHEAD < n:
            prefetch(pointer, np.int64(spikes[m + 2 * _AHEAD]))
        if m + _AHEAD < n:
            ahead = np.int64(spikes[m + _AHEAD])
            for q in range(pointer[ahead], pointer[ahead + 1], 16):
                prefetch(targets, np.int64(q))
            for q in range(pointer[ahead], pointer[ahead + 1], 32):
                prefetch(weights, np.int64(q))
        j = np.int64(spikes[m])
        a = pointer[j]
        b = pointer[j + 1]
        if not whole:
            b = a + cuts[part + 1, j]
            a = a + cuts[part, j]
        p = population[j]
        own = U32(voxel_first[p])
        length = U32(voxel_length[p])
        near = (ports[0] if sign[p] > 0 else ports[2]) * _B
        far = (ports[1] if sign[p] > 0 else ports[2]) * _B
        for q in range(a, b):
            t = targets[q]
            w = np.int64(weights[q])
            port = near if U32(t - own) < length else far
            slot = np.int64(t >> _LOG) * (n_ports * _B) + np.int64(t & _MASK) + port
            acc[slot] += kind((w & np.int64(255)) | ((w >> np.int64(8)) << half))


@cache
def make_advance(R: tuple[int, ...]) -> Any:
    """Return the function that one thread runs: it advances the blocks of its part by a number of steps.

    ``R`` is ``Layout.constants``; the compiled function is kept on disk for the next process. Every step: deliver
    the spikes of the last step to the part's own targets, update its blocks, list its spikes, and meet the other
    threads at one barrier. After the last step its spikes are delivered as well, so that nothing is in flight
    between two calls.
    """
    R = (*R, source_checksum())  # not read: a kernel edited in any file of this room is compiled anew

    @njit(nogil=True, boundscheck=False, error_model="numpy", cache=True)
    def advance(
        part, threads, blocks, steps, first_step, substeps, n_neurons, state, acc, c, k0, k1, pointer, cuts, targets,
        weights, population, sign, voxel_of, voxel_first, voxel_length, ports, spikes, n_spikes, counter, counts,
        voxel_counts, recorded, record_step, record_id, n_recorded, sampled, samples
    ):  # fmt: skip
        n_ports = acc.shape[1] // _B
        flat = acc.reshape(-1)
        z = np.empty(_B, np.float32)
        words = np.empty(_B, np.uint32)
        fired = np.zeros(_B, np.uint8)
        b0 = blocks[part]
        b1 = blocks[part + 1]
        kept = n_recorded[part]
        for s in range(steps):
            parity = s & 1
            if s > 0:
                for th in range(threads):
                    deliver(
                        spikes[1 - parity, th], n_spikes[1 - parity, th], part, pointer, cuts, targets, weights, flat,
                        population, sign, voxel_first, voxel_length, ports, n_ports
                    )  # fmt: skip
            k = 0
            out = spikes[parity, part]
            for b in range(b0, b1):
                first = b * _B
                step_block(
                    state[b], acc[b], fired, z, words, c, R, first, first_step + s, substeps, k0, k1
                )  # fmt: skip
                k = compact(fired, min(_B, n_neurons - first), first, out, k)
            for m in range(k):
                p = population[out[m]]
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
            n_spikes[parity, part] = k
            barrier(counter, s + 1, threads)
        n_recorded[part] = kept
        last = (steps - 1) & 1
        for th in range(threads):
            deliver(
                spikes[last, th], n_spikes[last, th], part, pointer, cuts, targets, weights, flat, population, sign,
                voxel_first, voxel_length, ports, n_ports
            )  # fmt: skip

    return advance
