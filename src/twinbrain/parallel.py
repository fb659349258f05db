"""Threads for kernels that release the interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from twinbrain.errors import InputError

__all__ = ["available_threads", "check_threads", "run_threads"]


def available_threads() -> int:
    """Return the number of processors this process may use.

    Examples
    --------
    >>> available_threads() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(threads: int) -> int:
    """Return ``threads``, or all processors for 0; refuse anything else that is not a positive whole number."""
    if threads == 0:
        return available_threads()
    if threads < 0 or int(threads) != threads:
        raise InputError(f"threads must be a whole number >= 1 (or 0 for all processors), found {threads}")
    return int(threads)


def run_threads(task: Callable[[int], None], threads: int, stop: Callable[[], None] | None = None) -> None:
    """Call ``task(0) ... task(threads - 1)`` at the same time and wait for all; the first error is raised.

    ``stop`` is called as soon as a task fails or cannot be started: tasks that wait for each other must look for it.
    """
    if threads == 1:
        task(0)
        return

    def guarded(k: int) -> None:
        try:
            task(k)
        except BaseException:
            if stop is not None:
                stop()
            raise

    with ThreadPoolExecutor(threads) as pool:
        futures = []
        try:
            for k in range(threads):
                futures.append(pool.submit(guarded, k))
        except BaseException:
            if stop is not None:
                stop()
            raise
        for future in futures:
            future.result()
