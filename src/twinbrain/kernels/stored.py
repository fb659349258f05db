"""Stored wiring: the synapses of a spike are read from its list, which is sorted by target.

Where all arrival sums of a member fit one tile and one thread has it to itself, weights are added to the sums at once.
Otherwise the thread that owns a spiking neuron reads its list once, right after it has fired, and sorts it into buckets
(see :mod:`~twinbrain.kernels.buckets`): a run of targets in one tile becomes a run of events. Arrivals are summed as
integers: the order of summation cannot matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from twinbrain.kernels.buckets import LOG_PAGE, PAGE, empty, lacking
from twinbrain.kernels.random import INLINE, U32, U64
from twinbrain.kernels.sync import prefetch
from twinbrain.kernels.update import LOG_BLOCK
from twinbrain.kernels.wiring import SPARE

__all__ = ["add_lists", "send_late_lists", "send_lists"]

_PLAIN = {k: v for k, v in INLINE.items() if k != "forceinline"}

_LANES = SPARE  # synapses that are copied at once
_AHEAD = 6  # spikes between the request of a list and its use


@njit(**INLINE)
def request(spikes, n, k, pointer, targets, weights):
    """Ask for the list of the spike ``_AHEAD`` places after the k-th, and for where the one after that stands."""
    if k + 2 * _AHEAD < n:
        prefetch(pointer, np.int64(spikes[k + 2 * _AHEAD]))
    if k + _AHEAD < n:
        j = np.int64(spikes[k + _AHEAD])
        a = pointer[j]
        b = min(pointer[j + 1], a + 256)  # the rest of a long list comes by itself
        for q in range(a, b, 16):
            prefetch(targets, q)
        for q in range(a, b, 64 // weights.itemsize):
            prefetch(weights, q)


@njit(**_PLAIN)
def add_lists(spikes, n, ports, bits, acc, population_first, sign, wires):
    """Add the weights of all synapses of ``n`` spikes to the arrival sums ``acc`` (ports, neurons) of the network."""
    pointer, _, _, targets, weights, voxel_first, voxel_length = wires[:7]
    low = np.int64((1 << bits) - 1)
    high = np.int64(bits)
    kind = acc.dtype.type
    half = np.int64(acc.itemsize * 4)
    flat = acc.reshape(-1)
    row = U64(acc.shape[1])
    p = 0
    for k in range(n):
        request(spikes, n, k, pointer, targets, weights)
        j = np.int64(spikes[k])
        while population_first[p + 1] <= j:  # spikes come in order of the neuron
            p += 1
        near = U64(ports[0] if sign[p] > 0 else ports[2]) * row
        far = U64(ports[1] if sign[p] > 0 else ports[2]) * row
        begin = U32(voxel_first[p])
        size = U32(voxel_length[p]) if near != far else U32(0)
        for q in range(U64(pointer[j]), U64(pointer[j + 1])):  # unsigned, or every index would be tested for its sign
            w = np.int64(weights[q])
            t = targets[q]
            to = near if U32(t - begin) < size else far
            flat[to + U64(t)] += kind((w & low) | ((w >> high) << half))


@intrinsic
def copy_run(
    typingctx: Any, events: Any, to: Any, targets: Any, weights: Any, q: Any, own: Any, size: Any, near: Any, far: Any,
    low: Any, high: Any
) -> Any:  # fmt: skip
    """Make 16 events at ``events[to]`` from the synapses from q on, without looking where their run ends.

    The place of an event is its target plus ``near`` for the targets own ... own + size - 1, plus ``far`` for others.
    Written as vectors because the compiler cannot know that the arrays are not one.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def vector(bits: int) -> Any:
            return ir.VectorType(ir.IntType(bits), _LANES)

        def splat(value: Any) -> Any:
            one = builder.insert_element(ir.Constant(vector(32), ir.Undefined), value, ir.IntType(32)(0))
            return builder.shuffle_vector(one, one, ir.Constant(vector(32), [0] * _LANES))

        def place(k: int, bits: int) -> Any:
            kind = signature.args[k]
            array = context.make_array(kind)(context, builder, args[k])
            pointer = cgutils.get_item_pointer(context, builder, kind, array, [args[k + (4 - k if k >= 2 else 1)]])
            return builder.bitcast(pointer, vector(bits).as_pointer())

        width = signature.args[3].dtype.bitwidth
        t = builder.load(place(2, 32), align=4)
        w = builder.load(place(3, width), align=width // 8)
        w = builder.zext(w, vector(32)) if width < 32 else w
        own, size, near, far, low, high = (splat(x) for x in args[5:])
        is_near = builder.icmp_unsigned("<", builder.sub(t, own), size)
        t = builder.add(t, builder.select(is_near, near, far))
        second = builder.shl(builder.lshr(w, high), ir.Constant(vector(32), [16] * _LANES))
        w = builder.or_(builder.and_(w, low), second)
        event = builder.shl(builder.zext(t, vector(64)), ir.Constant(vector(64), [32] * _LANES))
        event = builder.or_(event, builder.zext(w, vector(64)))
        builder.store(event, place(0, 64), align=8)
        return context.get_dummy_value()

    u32 = types.uint32
    return types.none(events, types.int64, targets, weights, types.int64, u32, u32, u32, u32, u32, u32), codegen


@njit(**_PLAIN)
def send_lists(spikes, n, step, part, ports, bits, row, population_first, sign, wires, arenas):
    """Turn the lists of a thread's own spikes (ascending), fired at ``step``, into events of the next step.

    How long the run of a list in each tile is was counted before (``cuts``), so buckets lie one behind the other and a
    run is copied in vectors, whose excess the next run overwrites. Returns 0, or the number of events that an arena
    should hold if it is too small; then nothing is sent.
    """
    pointer, cuts, _, targets, weights, voxel_first, voxel_length, _, tile_first, _ = wires
    pages, _, head, tail, count, _, _ = arenas
    slot = (step + 1) % count.shape[0]
    events, start, at, number = pages[slot, part], head[slot, part], tail[slot, part], count[slot, part]
    tiles = cuts.shape[1]
    number[:] = 0
    for k in range(n):
        if k + 16 < n:
            prefetch(cuts, np.int64(spikes[k + 16]) * tiles)
        j = np.int64(spikes[k])
        for b in range(tiles):
            number[b] += np.int64(cuts[j, b])
    end = np.int64(0)
    for b in range(tiles):
        start[b] = end
        at[b] = end
        end += number[b] + _LANES
    if end > events.shape[0]:
        return end
    low = U32((1 << bits) - 1)
    high = U32(bits)
    p = 0
    for k in range(n):
        request(spikes, n, k, pointer, targets, weights)
        j = np.int64(spikes[k])
        while population_first[p + 1] <= j:
            p += 1
        near = U32(ports[0] if sign[p] > 0 else ports[2]) * U32(row)
        far = U32(ports[1] if sign[p] > 0 else ports[2]) * U32(row)
        own = U32(voxel_first[p])
        size = U32(voxel_length[p])
        q = pointer[j]
        for b in range(tiles):
            m = np.int64(cuts[j, b])
            to = np.int64(at[b])
            first = tile_first[b]
            for i in range(0, m, _LANES):
                copy_run(
                    events, to + i, targets, weights, q + i, own, size, U32(near - first), U32(far - first), low, high
                )
            at[b] = to + m
            q += m
    return 0


@njit(**_PLAIN)
def send_late_lists(spikes, n, step, age, everything, part, ports, bits, row, population_first, sign, wires, arenas):
    """Turn the lists of a thread's own spikes (ascending) into events, from lists sorted by delay, then target.

    The spikes were fired at ``step``; only what is due ``age`` or more steps later is sent. Returns 0, or the number
    of events that an arena should hold if it is too small; then nothing is sent.
    """
    pointer, _, late, targets, weights, voxel_first, voxel_length, place, tile_first, tile_limit = wires
    pages, following, head, tail, count, used, _ = arenas
    ring = count.shape[0]
    empty(step, everything, part, arenas)
    need = np.int64(0)
    for k in range(n):
        if k + 16 < n:
            prefetch(pointer, np.int64(spikes[k + 16]))
        need += pointer[np.int64(spikes[k]) + 1] - pointer[np.int64(spikes[k])]
    asked = lacking(need, part, arenas)
    if asked > 0:
        return asked
    low = np.int64((1 << bits) - 1)
    high = np.int64(bits)
    lags = late.shape[1] - 1
    p = 0
    for k in range(n):
        request(spikes, n, k, pointer, targets, weights)
        j = np.int64(spikes[k])
        while population_first[p + 1] <= j:
            p += 1
        near = U32(ports[0] if sign[p] > 0 else ports[2]) * U32(row)
        far = U32(ports[1] if sign[p] > 0 else ports[2]) * U32(row)
        own = np.int64(voxel_first[p])
        own_end = own + np.int64(voxel_length[p])
        for lag in range(age, lags + 1):
            slot = (step + lag) % ring
            a = pointer[j] + np.int64(late[j, lag - 1])
            b = pointer[j] + np.int64(late[j, lag])
            if a == b:
                continue
            here, then = pages[slot, part], following[slot, part]
            first, last, held = head[slot, part], tail[slot, part], count[slot, part]
            q = U64(a)
            stop = U64(b)
            while q < stop:
                t: Any = targets[q]
                bucket = place[t >> U32(LOG_BLOCK), 0]
                limit: Any = np.int64(tile_limit[bucket])
                port = far
                if near != far:  # a run ends where the spike's own voxel begins or ends
                    if np.int64(t) < own:
                        limit = min(limit, own)
                    elif np.int64(t) < own_end:
                        limit = min(limit, own_end)
                        port = near
                shift = U32(port - tile_first[bucket])
                m = held[bucket]
                at = m & (PAGE - 1)
                page = np.int64(last[bucket])
                if at == 0:
                    new = used[slot, part, 0]
                    used[slot, part, 0] = new + 1
                    if m > 0:
                        then[page] = np.int32(new)
                    else:
                        first[bucket] = np.int32(new)
                    last[bucket] = np.int32(new)
                    page = new
                to = U64((page << LOG_PAGE) + at)
                full = U64((page + 1) << LOG_PAGE)
                begin = to
                top = U32(min(limit, np.int64(0xFFFFFFFF)))
                while True:
                    w = np.int64(weights[q])
                    here[to] = (U64(U32(t + shift)) << U64(32)) | U64((w & low) | ((w >> high) << 16))
                    to += U64(1)
                    q += U64(1)
                    if q == stop or to == full:
                        break
                    t = targets[q]
                    if t >= top:
                        break
                held[bucket] = m + np.int64(to - begin)
    return 0
