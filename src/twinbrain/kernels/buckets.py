"""Events on their way: arrivals sorted by the tile of neurons they are for, until that tile is updated.

Arrival sums exist for one tile of neurons at a time, small enough for the second-level cache. A thread turns its own
new spikes into events, each with a place in the sums of a tile and what is to be added there, and appends them to one
bucket per tile; every thread then adds the buckets of its tiles. So lists are read once and in order, sums are hit in
the cache, no sum is touched out of turn, and integers make the order of addition irrelevant.

A bucket is a chain of pages in its thread's arena; where a thread can count its events before it sends them (stored
lists without delays), it is one stretch of the arena, from ``head`` on, of ``count`` events. A thread has one arena for
every step at which events can be due (one more than the largest delay): those of one step are added while later ones
are filled. If an arena cannot hold all that a step may send, nothing is sent, all threads stop after that step, and the
caller goes on with larger arenas.
``arenas`` is (pages, following, head, tail, count, used, asked), the first six with axes (step, part, ...).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from twinbrain.kernels.random import INLINE, U32, U64
from twinbrain.kernels.sync import prefetch
from twinbrain.kernels.update import LOG_BLOCK

__all__ = ["LOG_PAGE", "PAGE", "add_bucket", "add_events", "empty", "lacking", "push"]

#: Events per page of an arena.
PAGE = 512
LOG_PAGE = 9

_LOG, _MASK = U32(LOG_BLOCK), U32((1 << LOG_BLOCK) - 1)
_LOW = U64(0xFFFFFFFF)
_AHEAD = 24  # events between the request of a sum and its use


@njit(**INLINE)
def empty(step, everything, part, arenas):
    """Empty the arena that becomes free after ``step``, or ``everything``."""
    _, _, _, _, count, used, _ = arenas
    ring = count.shape[0]
    for slot in range(ring):
        if everything or slot == (step - 1) % ring:
            count[slot, part] = 0
            used[slot, part, 0] = 0


@njit(**INLINE)
def lacking(need, part, arenas):
    """Return 0 if an arena has room for ``need`` events more, else how many it should hold."""
    pages, _, _, _, count, used, _ = arenas
    asked: Any = used[:, part, 0].max() + (need >> LOG_PAGE) + 1 + count.shape[2]
    return asked << LOG_PAGE if asked << LOG_PAGE > pages.shape[2] else 0


@njit(**INLINE)
def push(t, w0, w1, port, place, pages, following, head, tail, count, used):
    """Append an event onto neuron t to the bucket of its tile; the arrays are those of one step and one part."""
    block = t >> _LOG
    bucket = place[block, 0]
    to = U32(U32(place[block, 1] + U32(t & _MASK)) + port)
    k = count[bucket]
    at = k & (PAGE - 1)
    page = np.int64(tail[bucket])
    if at == 0:
        new = used[0]
        used[0] = new + 1
        if k > 0:
            following[page] = np.int32(new)
        else:
            head[bucket] = np.int32(new)
        tail[bucket] = np.int32(new)
        page = new
    pages[U64((page << LOG_PAGE) + at)] = (U64(to) << U64(32)) | U64(w0 | (w1 << 16))
    count[bucket] = k + 1


@njit(**INLINE)
def add_events(events, begin, end, acc):
    """Add the events begin ... end - 1 to the arrival sums of their tile."""
    kind = acc.dtype.type
    half = np.int64(acc.itemsize * 4)
    for i in range(begin, end):
        if i + _AHEAD < end:
            prefetch(acc, np.int64(events[i + _AHEAD] >> U64(32)))
        w = np.int64(events[i] & _LOW)
        acc[events[i] >> U64(32)] += kind((w & 0xFFFF) | ((w >> 16) << half))


@njit(**INLINE)
def add_bucket(bucket, acc, slot, part, arenas):
    """Add the events that a part sent to a bucket for a step, a chain of pages, to the arrival sums of the tile."""
    pages, following, head, _, count, _, _ = arenas
    left = count[slot, part, bucket]
    page = np.int64(head[slot, part, bucket])
    while left > 0:
        begin = page << LOG_PAGE
        add_events(pages[slot, part], begin, begin + min(left, PAGE), acc)
        left -= PAGE
        if left > 0:
            page = np.int64(following[slot, part, page])
