"""The same network on other simulators, each in an environment of its own so that their needs do not meet."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from twinbrain.bench.networks import COMMON
from twinbrain.errors import InputError

__all__ = ["PEERS", "Peer", "make_environments", "measure_peer"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Peer:
    """Another simulator.

    Attributes
    ----------
    environment, module, script, packages
        Name of the environment's folder, the module whose presence shows that it is complete, the script of
        :mod:`twinbrain.bench.peers`, and what pip installs.
    neurons : int
        Size at which it is measured (a slower one at a smaller size); ours is measured at the same.
    warm_up_ms, measured_ms : int
    options
        What else the script is told.

    Examples
    --------
    >>> PEERS["brian2"].environment
    'brian2'
    """

    environment: str
    module: str
    script: str
    packages: tuple[str, ...]
    neurons: int
    warm_up_ms: int = 200
    measured_ms: int = 200
    options: tuple[tuple[str, str], ...] = ()


_NEST = ("nest-simulator==3.10.0", "numpy")
#: What can be measured beside this project.
PEERS: dict[str, Peer] = {
    "brian2": Peer(
        "brian2", "brian2", "brian2_peer.py", ("brian2==2.9.0", "numpy<2.3", "setuptools<80", "cython"), 1_000_000
    ),
    "jax": Peer(
        "jax", "brainevent", "jax_peer.py", ("jax==0.10.2", "brainevent==0.2.1", "brainpy==2.8.2", "numba"), 1_000_000
    ),
    "nest": Peer("nest", "nest", "nest_peer.py", _NEST, 100_000, 100, 100, (("model", "iaf"),)),
    "nest_four_ports": Peer("nest", "nest", "nest_peer.py", _NEST, 100_000, 100, 100, (("model", "gif"),)),
}


def make_environments(folder: Path, names: tuple[str, ...] = tuple(PEERS)) -> None:
    """Make one virtual environment for each named peer in ``folder`` and install it there from PyPI.

    Raises
    ------
    InputError
        If a package cannot be installed.
    """
    for peer in {PEERS[n].environment: PEERS[n] for n in names}.values():
        place = folder / peer.environment
        if _python(folder, peer) is not None:
            continue
        _LOG.info("installing %s into %s", ", ".join(peer.packages), place)
        for command in (
            [sys.executable, "-m", "venv", str(place)],
            [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *peer.packages],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise InputError(f"the environment '{place}' for {peer.environment} could not be made: {reason}")


def _python(folder: Path, peer: Peer) -> Path | None:
    """Return the interpreter of a peer's environment if its module is there."""
    place = folder / peer.environment
    found = list(place.glob(f"lib/python*/site-packages/{peer.module}"))
    python = place / "bin" / "python"
    return python if found and python.exists() else None


def measure_peer(name: str, folder: Path, threads: int, *, neurons: int = 0) -> dict[str, Any]:
    """Run the benchmark network on one peer and return what it reports, or ``{"skipped": why}``.

    Parameters
    ----------
    name
        A key of :data:`PEERS`.
    folder
        Where the environments are (see :func:`make_environments`).
    threads
        Threads for the peer.
    neurons
        Size; default the peer's own.

    Raises
    ------
    InputError
        If the name is unknown.

    Examples
    --------
    >>> measure_peer("brian2", Path("/nonexistent"), 1)
    {'skipped': "there is no environment 'brian2' in /nonexistent; 'twinbrain bench --make-peers' makes it"}
    """
    if name not in PEERS:
        raise InputError(f"there is no peer '{name}'; the peers are {', '.join(PEERS)}")
    peer = PEERS[name]
    python = _python(folder, peer)
    if python is None:
        return {
            "skipped": f"there is no environment '{peer.environment}' in {folder}; "
            "'twinbrain bench --make-peers' makes it"
        }
    with tempfile.TemporaryDirectory() as work, as_file(files("twinbrain.bench.peers") / peer.script) as script:
        spec = COMMON | dict(peer.options) | {
            "neurons": neurons or peer.neurons, "threads": threads, "warm_up_ms": peer.warm_up_ms,
            "measured_ms": peer.measured_ms, "folder": work,
        }  # fmt: skip
        done = subprocess.run(
            [str(python), str(script), json.dumps(spec)], capture_output=True, text=True, check=False, cwd=work
        )
    line = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode or not line.startswith("{"):
        return {"skipped": f"{name} failed: " + (done.stderr.strip().splitlines() or ["no reason given"])[-1]}
    found: dict[str, Any] = json.loads(line)
    return found | {"neurons": spec["neurons"], "steps": spec["measured_ms"], "threads": threads}
