"""Long work in named pieces that can be interrupted anywhere and goes on to the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinbrain.assimilate.settings import Checkpoint, Progress
from twinbrain.errors import InputError, Interrupted
from twinbrain.store import Due

__all__ = ["Journal"]

Arrays = dict[str, NDArray[Any]]


class Journal:
    """What is finished, what is under way, and when to save it.

    Parameters
    ----------
    identity
        Bytes that name the work: data, settings, network. A checkpoint of other work is refused.
    total
        Number of ticks of the whole work, for the progress.
    progress
        Called as ``progress(ticks done, ticks in all)``; may raise :class:`~twinbrain.errors.Interrupted`.
    checkpoint, every_s
        Where the state is saved, and after how many seconds.

    Raises
    ------
    InputError
        If the checkpoint belongs to other work.

    Examples
    --------
    >>> journal = Journal(b"a fit", total=3)
    >>> journal.finish("table", {"rate": np.arange(3)})
    >>> journal.finished("table")["rate"].tolist(), journal.finished("other")
    ([0, 1, 2], None)
    """

    def __init__(
        self,
        identity: bytes,
        total: int,
        *,
        progress: Progress | None = None,
        checkpoint: Checkpoint | None = None,
        every_s: float = 300.0,
    ) -> None:
        self._identity = np.frombuffer(identity, dtype=np.uint8)
        self._total, self._progress, self._checkpoint = total, progress, checkpoint
        self._due = Due(every_s)
        self._done: dict[str, Arrays] = {}
        self._begun: dict[str, Arrays] = {}
        self.ticks = 0
        saved = checkpoint.load() if checkpoint is not None else None
        if saved is not None:
            self._read(saved)

    def finished(self, piece: str) -> Arrays | None:
        """Return what a finished piece left, or None."""
        return self._done.get(piece)

    def unfinished(self, piece: str) -> Arrays | None:
        """Return the state in which a piece was interrupted, or None."""
        return self._begun.get(piece)

    def finish(self, piece: str, found: Mapping[str, NDArray[Any]]) -> None:
        """Keep the result of a piece and forget the states on the way."""
        self._done[piece] = {name: np.asarray(value) for name, value in found.items()}
        self._begun.clear()

    def tick(self, piece: str, state: Callable[[], Arrays], count: int = 1) -> None:
        """Count ticks of a piece; save, tell the progress, and stop where that asks for it."""
        self.ticks += count
        kept = self._checkpoint is not None and self._due()
        if kept:
            self._save(piece, state())
        if self._progress is None:
            return
        try:
            self._progress(self.ticks, self._total)
        except (Interrupted, KeyboardInterrupt):
            if not kept:
                self._save(piece, state())
            raise

    def _save(self, piece: str, state: Arrays) -> None:
        if self._checkpoint is None:
            return
        flat: Arrays = {"identity": self._identity, "ticks": np.array(self.ticks, np.int64)}
        for kind, pieces in (("done", self._done), ("begun", {piece: state})):
            for name, arrays in pieces.items():
                flat |= {f"{kind}|{name}|{key}": np.asarray(value) for key, value in arrays.items()}
        self._checkpoint.save(flat)

    def _read(self, saved: Mapping[str, Any]) -> None:
        if "identity" not in saved or not np.array_equal(saved["identity"], self._identity):
            raise InputError(
                "checkpoint: found one of an assimilation with other data, inputs or settings, expected one "
                "of this; repeat the settings it was started with, or remove the checkpoint to start anew"
            )
        self.ticks = int(saved["ticks"])
        for name, value in saved.items():
            if "|" in name:
                kind, piece, key = name.split("|", 2)
                pieces = self._done if kind == "done" else self._begun
                pieces.setdefault(piece, {})[key] = np.asarray(value)
