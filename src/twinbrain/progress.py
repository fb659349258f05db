"""One reporter of progress: a bar with the time left on a terminal, log lines in a batch job, or silence."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

__all__ = ["Tracker", "track"]

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 10.0


class Tracker(Protocol):
    """What a piece of work tells about how far it is.

    Examples
    --------
    >>> def work(tracker: Tracker) -> None:
    ...     tracker.update(2, note="r = 0.9")
    >>> with track(2, "example", progress=False) as tracker:
    ...     work(tracker)
    """

    def update(self, n: int = 1, note: str = "") -> None:
        """Say that ``n`` more units are done, with a few words to show beside them."""
        ...


class _Silent:
    def update(self, n: int = 1, note: str = "") -> None:
        pass


class _Lines:
    """Log lines with per cent and time left, at most one every ten seconds."""

    def __init__(self, total: int, label: str, unit: str, done: int, clock: Callable[[], float]) -> None:
        self._total, self._label, self._unit = total, label, unit
        self._start_done = self._done = done  # what an earlier session did says nothing about today's speed
        self._clock = clock
        self._start = self._last = clock()

    def update(self, n: int = 1, note: str = "") -> None:
        self._done += n
        now = self._clock()
        if now - self._last < _SECONDS_BETWEEN_LINES and self._done < self._total:
            return
        self._last = now
        percent = 100 * self._done // max(self._total, 1)
        tail = f" ({note})" if note else ""
        if self._done < self._total:
            here = self._done - self._start_done
            left = (now - self._start) / max(here, 1) * (self._total - self._done)
            tail = f", {spoken(left)} left{tail}"
        else:
            tail = f", took {spoken(now - self._start)}{tail}"
        _LOG.info("%s: %d of %d %s, %d %%%s", self._label, self._done, self._total, self._unit, percent, tail)


def _knows_its_size() -> bool:
    try:
        return all(os.get_terminal_size(sys.stderr.fileno()))
    except (OSError, ValueError):  # no terminal after all, or one of a test
        return True


class _Bar:
    def __init__(self, total: int, label: str, unit: str, done: int) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            total=total,
            desc=label,
            unit=unit,
            initial=done,
            dynamic_ncols=_knows_its_size(),
            ncols=80,  # where it does not know: tqdm would show an empty line
            nrows=24,
            file=sys.stderr,
            mininterval=0.2,
        )

    def update(self, n: int = 1, note: str = "") -> None:
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(n)

    def close(self) -> None:
        self._bar.close()


@contextlib.contextmanager
def track(
    total: int,
    label: str,
    unit: str = "TR",
    *,
    progress: bool = True,
    done: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Tracker]:
    """Report a piece of work of known length.

    Parameters
    ----------
    total
        Units of work.
    label
        What is being done.
    unit
        Name of one unit.
    progress
        False reports nothing.
    done
        Units that an earlier, interrupted session has done already.
    clock
        Seconds that only grow; for tests.

    Yields
    ------
    Tracker
        Call ``update(n, note)`` as the work goes on.

    Examples
    --------
    >>> with track(3, "filter", progress=False) as tracker:
    ...     for _ in range(3):
    ...         tracker.update()
    """
    if not progress:
        yield _Silent()
    elif sys.stderr is not None and sys.stderr.isatty():
        bar = _Bar(total, label, unit, done)
        try:
            yield bar
        finally:
            bar.close()
    else:
        yield _Lines(total, label, unit, done, clock)


def spoken(seconds: float) -> str:
    """Say a duration as a person would: two units at most.

    Examples
    --------
    >>> [spoken(s) for s in (0.4, 59, 61, 3_700, 200_000)]
    ['0 s', '59 s', '1 min 1 s', '1 h 1 min', '2 d 7 h']
    """
    whole = round(seconds)
    for size, unit, part, small in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
