"""Content keys: a stored piece of work is found again by what defines it, and by nothing else."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from twinbrain.store.files import jsonable

__all__ = ["cache_folder", "code_key", "content_key"]

# the rooms whose code decides the numbers of a simulation and a fit
_ROOMS = (
    "assimilate", "brain.py", "circuit.py", "data/subject.py", "drive.py", "engine.py", "kernels", "links.py",
    "network.py", "neuron.py", "observe.py", "record.py", "rewire.py", "rules.py", "simulate.py", "tuning.py",
)  # fmt: skip


def content_key(*parts: Any) -> str:
    """Return 32 hexadecimal digits that stand for plain data: numbers, text, lists and mappings.

    Examples
    --------
    >>> content_key({"a": 1, "b": [0.5]}) == content_key({"b": (0.5,), "a": 1}), content_key(1) == content_key(2)
    (True, False)
    """
    text = json.dumps(jsonable(parts), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def code_key() -> str:
    """Return what stands for the code and the libraries that decide the numbers: another version, another key.

    Examples
    --------
    >>> len(code_key())
    32
    """
    import numba
    import numpy
    import scipy

    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for room in _ROOMS:
        for file in sorted((root / room).rglob("*.py")) or [root / room]:
            digest.update(file.read_bytes())
    return content_key(digest.hexdigest(), numpy.__version__, numba.__version__, scipy.__version__)


def cache_folder(folder: str | Path | None = None) -> Path:
    """Return where set-ups and fits are kept: as given, or ``$TWINBRAIN_CACHE``, or the user's cache folder.

    Examples
    --------
    >>> cache_folder("here").name
    'here'
    """
    if folder is not None:
        return Path(folder)
    if os.environ.get("TWINBRAIN_CACHE"):
        return Path(os.environ["TWINBRAIN_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "twinbrain"
