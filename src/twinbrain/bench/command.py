"""What ``twinbrain bench`` does with its words."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from twinbrain.bench.others import make_environments
from twinbrain.bench.run import figure, run_bench, table, write
from twinbrain.errors import InputError

__all__ = ["bench"]

_LOG = logging.getLogger(__name__)
_LEAST = 10_000


def bench(neurons: int, threads: int, out: str | None, peers: str | None, make_peers: bool) -> str:
    """Measure, write ``bench.json``, ``bench.md`` and ``bench.svg`` into ``out`` if given, and return the table.

    Raises
    ------
    InputError
        If the size is too small, peers are to be made but no folder is named, or ``out`` cannot be written.
    """
    if neurons < _LEAST:
        raise InputError(f"--neurons must be at least {_LEAST:,} for times that mean something, found {neurons:,}")
    if make_peers and peers is None:
        raise InputError("--make-peers needs the folder for the environments; add --peers DIR")
    folder = None if peers is None else Path(peers)
    if folder is not None and not make_peers and not folder.is_dir():
        raise InputError(f"--peers: there is no folder '{folder}'; add --make-peers to make and fill it")
    place = None if out is None else Path(out)
    if place is not None:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out: '{place}' cannot be made ({error.strerror}); choose another folder") from None
    if folder is not None and make_peers:
        make_environments(folder)
    result = run_bench(neurons, threads, peers=folder)
    text = table(result)
    if place is not None:
        write(result, place / "bench.json")
        (place / "bench.md").write_text(text + "\n", encoding="utf-8")
        if importlib.util.find_spec("matplotlib") is None:
            _LOG.warning("there is no figure: matplotlib is not installed; install twinbrain[report]")
        else:
            figure(result, place / "bench.svg")
    return text
