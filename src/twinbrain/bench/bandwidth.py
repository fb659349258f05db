"""What the memory of this machine can do: the floor under every simulation."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numba import njit

from twinbrain.parallel import check_threads, run_threads

__all__ = ["in_place_bandwidth", "model_floor_s"]

#: Bytes that a neuron moves in one step (8 numbers of 4 bytes, read and written) and a stored synaptic event reads
#: and adds (4 of target, 1 of weight, 1 of its list): the account that the floor is made of.
BYTES_PER_UPDATE, BYTES_PER_EVENT = 64, 6


@njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _scale(a: Any, factor: Any, passes: int) -> None:
    for _ in range(passes):
        for i in range(a.shape[0]):
            a[i] = a[i] * factor


def in_place_bandwidth(threads: int = 1, *, megabytes: int = 256, repeats: int = 7) -> float:
    """Measure the bandwidth of reading and writing memory in place, in bytes per second.

    Every thread multiplies its part of one array, larger than any cache, by a number; the fastest repeat counts.
    Both directions are counted, as in ``a[i] *= c``.

    Parameters
    ----------
    threads
        Threads, one part each; 0 for all processors.
    megabytes
        Size of the array over all threads.
    repeats
        Repetitions of which the fastest counts.

    Examples
    --------
    >>> in_place_bandwidth(1, megabytes=8, repeats=1) > 1e8
    True
    """
    threads = check_threads(threads)
    parts = [np.ones(megabytes * 250_000 // threads, np.float32) for _ in range(threads)]
    _scale(parts[0][:16], np.float32(1.0), 1)
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        run_threads(lambda k: _scale(parts[k], np.float32(1.0), 2), threads)
        best = min(best, time.perf_counter() - start)
    return float(2 * 2 * sum(p.nbytes for p in parts) / best)


def model_floor_s(updates: float, events: float, bandwidth: float) -> float:
    """Return the least time that memory allows for so many neuron updates and synaptic events, s.

    ``(64 bytes x updates + 6 bytes x events) / bandwidth``: eight 4-byte numbers of a neuron read and written, and
    six bytes of a stored synapse read.

    Examples
    --------
    >>> model_floor_s(1e9, 7e8, 60e9)
    1.1366666666666667
    """
    return (BYTES_PER_UPDATE * updates + BYTES_PER_EVENT * events) / bandwidth
