"""Killed at random moments and started again, or shared out over MPI ranks, experiments give the same tables."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from small_experiments import run_small, small_study
from twinbrain.config import to_toml
from twinbrain.experiment.runner import EXPERIMENTS

HERE = Path(__file__).resolve().parent
MORE_RANKS_THAN_CORES = dict.fromkeys(  # of Open MPI, which refuses it by default, and root in a container too
    ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "OMPI_MCA_rmaps_base_oversubscribe"), "1"
)


def contents(out: Path) -> dict[str, bytes]:
    assert (out / "status").read_text().startswith("complete")
    return {file.name: file.read_bytes() for file in sorted((out / "tables").glob("*.csv"))}


def cells(out: Path) -> set[str]:
    return {file.name for file in (out / "cells").glob("*.npz")}


def stopped(name: str, out: Path, cache: Path, how: signal.Signals, when: float, share: float) -> bool:
    """Start an experiment and stop it when that share of its cells is there and some time has passed."""
    process = multiprocessing.get_context("fork").Process(target=run_small, args=(name, out, cache))
    process.start()  # a copy of this process, which has the kernels compiled
    wanted = len(cells(out)) + share
    while process.is_alive() and len(cells(out)) < wanted:
        time.sleep(0.005)
    process.join(when)
    alive = process.is_alive()
    if alive:
        os.kill(int(process.pid or 0), how)
    process.join(120)
    assert not process.is_alive()
    return alive


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One run, so that the times of all others are those of the work."""
    folder = tmp_path_factory.mktemp("compiled")
    run_small("lesion", folder / "out", folder / "cache")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("compiled")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_killed_at_random_moments_and_started_again_the_tables_are_the_same(name: str, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole" / "out", tmp_path / "parts" / "out"
    began = time.monotonic()
    run_small(name, whole, whole.parent / "cache")
    length = time.monotonic() - began
    seed = int(os.environ.get("TWINBRAIN_MOMENTS", time.time_ns()))
    draw, told = random.Random(seed), f"TWINBRAIN_MOMENTS={seed}"
    kills = 0
    for how, share in ((signal.SIGKILL, 0), (signal.SIGTERM, 1), (signal.SIGKILL, 1)):
        before = cells(parts)
        when = draw.uniform(0.0, length / 5 if share == 0 else length / len(cells(whole)) / 3)
        kills += stopped(name, parts, parts.parent / "cache", how, when, share)
        assert before <= cells(parts), told
    assert kills >= 2, told
    run_small(name, parts, parts.parent / "cache")
    assert contents(parts) == contents(whole), told
    assert cells(parts) == cells(whole), told
    assert len(contents(whole)) >= 3
    table = next(iter((whole / "tables").glob("*.csv")))
    table.write_bytes(table.read_bytes() + b"\n")
    assert contents(parts) != contents(whole)  # the comparison can fail


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_mpi_ranks_give_the_same_tables_as_one(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    if shutil.which("mpirun") is None:
        pytest.skip("mpirun is not installed")
    one, two = tmp_path / "one" / "out", tmp_path / "two" / "out"
    script = [sys.executable, str(HERE / "small_experiments.py"), "lesion", str(two), str(two.parent / "cache")]
    paths = os.pathsep.join([str(HERE), *(p for p in sys.path if p)])

    def on_two_ranks() -> tuple[int, str]:
        found = subprocess.run(
            ["mpirun", "-n", "2", *script],
            env=dict(os.environ) | MORE_RANKS_THAN_CORES | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        return found.returncode, found.stderr[-2000:]

    run_small("lesion", one, one.parent / "cache")
    code, said = on_two_ranks()
    assert code == 0, said
    assert contents(two) == contents(one)
    assert cells(two) == cells(one)
    for name in sorted(cells(two))[::2]:  # gone on with by two ranks, every other cell missing
        (two / "cells" / name).unlink()
    shutil.rmtree(two / "tables")
    code, said = on_two_ranks()
    assert code == 0, said
    assert contents(two) == contents(one)
    (two / "study.toml").write_text(to_toml(small_study("task")))  # what the first rank refuses ends the second too
    code, said = on_two_ranks()
    assert code != 0
    assert "another study or design" in said
