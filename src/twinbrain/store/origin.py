"""With what a result was made."""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["provenance"]

_LIBRARIES = (
    "numpy",
    "scipy",
    "numba",
    "llvmlite",
    "xarray",
    "pandas",
    "zarr",
    "msgspec",
    "nibabel",
    "nilearn",
)


def provenance(
    *, seeds: Mapping[str, int] | None = None, inputs: Mapping[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """Say with what a result was made: versions, machine, seeds and inputs.

    Parameters
    ----------
    seeds
        Purpose -> seed.
    inputs
        File or source -> SHA-256 or a note.
    **more
        Further entries.

    Examples
    --------
    >>> sorted(provenance(seeds={"network": 1}))
    ['created', 'inputs', 'libraries', 'machine', 'python', 'seeds', 'twinbrain']
    """
    import psutil

    libraries = {}
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            libraries[name] = importlib.metadata.version(name)
    return {
        "twinbrain": twinbrain_version(),
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": libraries,
        "machine": {
            "system": platform.platform(),
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        },
        "seeds": dict(seeds or {}),
        "inputs": dict(inputs or {}),
        **more,
    }


def twinbrain_version() -> str:
    """Return the version of this package.

    Examples
    --------
    >>> twinbrain_version().count(".") >= 2
    True
    """
    from twinbrain import __version__

    return __version__


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
