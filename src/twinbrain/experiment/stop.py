"""A stop that is asked for is answered at the next safe point."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

from twinbrain.errors import Interrupted

__all__ = ["Stop"]

_LOG = logging.getLogger(__name__)


class Stop:
    """Turn the first SIGTERM or SIGINT into a request that the work answers at the next safe point.

    Examples
    --------
    >>> with Stop() as stop:
    ...     stop.check()
    """

    def __init__(self) -> None:
        self._asked = ""
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._former[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _: FrameType | None) -> None:
        self._asked = signal.Signals(number).name
        signal.signal(number, self._former[number])  # a second one is not waited for
        _LOG.warning("%s received: stopping at the next safe point", self._asked)

    def check(self) -> None:
        """Raise Interrupted if a stop was asked for."""
        if self._asked:
            raise Interrupted(self._asked)
