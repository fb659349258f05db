"""Simulate the cells of an experiment that are not stored yet: in this process, in several, or on MPI ranks."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from twinbrain import store
from twinbrain.config import study_from_dict, to_toml
from twinbrain.experiment.cells import Cell, cell_key, cells_of, run_cell
from twinbrain.experiment.design import Design, design_from_dict, design_to_toml
from twinbrain.experiment.ranks import Ranks
from twinbrain.experiment.setup import Setup, setup_of
from twinbrain.experiment.stop import Stop
from twinbrain.progress import track

__all__ = ["simulate_cells"]

_LOG = logging.getLogger(__name__)

_LARGE = 200_000  # neurons from which one cell gets all threads instead of one


def simulate_cells(
    setups: dict[str, Setup],
    design: Design,
    folder: Path,
    *,
    cache: Path,
    processes: int,
    progress: bool,
    stop: Stop,
    ranks: Ranks,
    shared: bool,
) -> None:
    """Run the cells that are not stored yet, each once; equal cells of two conditions are one.

    Parameters
    ----------
    setups
        Of the people of the design, by name.
    design, folder
        What to do, and where cells are stored.
    cache
        Folder of working points and fits, for processes of their own.
    processes
        Cells simulated at a time. Large networks run one by one, on so many threads.
    progress
        False shows no bar.
    stop
        Asked between volumes.
    ranks
        Of the MPI job, which share the cells.
    shared
        Whether other processes can read the people; else all cells are run in this one.

    Raises
    ------
    Interrupted
        If it was stopped.

    Examples
    --------
    >>> simulate_cells.__annotations__["ranks"]
    'Ranks'
    """
    wanted: dict[str, Cell] = {}
    for cell in cells_of(design):
        wanted.setdefault(cell_key(setups[cell.person], design, design.condition(cell.condition), cell.seed), cell)
    with ranks.stage():  # all ranks look before any of them stores one: they share out the same list
        todo = [c for key, c in wanted.items() if store.Checkpoint(folder, key).load() is None]
    large = [c for c in todo if _neurons(setups, design, c) >= _LARGE]
    small = [c for c in todo if c not in large]
    done, show = len(wanted) - len(todo), progress and ranks.first
    with ranks.stage(), track(len(wanted), "cells", "cell", progress=show, done=done) as bar:
        if processes > 1 and len(small) > 1 and shared and ranks.ranks == 1:
            for cell in _spread(small, setups, design, folder, cache, processes, stop):
                bar.update(1, f"{cell.condition}, seed {cell.seed}")
            small = []
        for cell in (small + large)[ranks.rank :: ranks.ranks]:
            threads = processes if _neurons(setups, design, cell) >= _LARGE else 1
            _one(setups[cell.person], design, cell, folder, threads, stop)
            bar.update(1, f"{cell.condition}, seed {cell.seed}")


def _neurons(setups: dict[str, Setup], design: Design, cell: Cell) -> int:
    return design.condition(cell.condition).neurons or setups[cell.person].study.twin.neurons


def _one(setup: Setup, design: Design, cell: Cell, folder: Path, threads: int, stop: Stop | None) -> None:
    tell = None if stop is None else (lambda done, total: stop.check())
    began = time.monotonic()
    run_cell(setup, design, design.condition(cell.condition), cell.seed, folder, threads=threads, tell=tell)
    _LOG.debug("%s %s seed %d: %.1f s", *vars(cell).values(), time.monotonic() - began)


# ---- processes -----------------------------------------------------------------------------------------------------

_OF_WORKER: dict[str, Any] = {}


def _begin_worker(studies: dict[str, str], design: str, folder: str, cache: str) -> None:
    """Each process reads people, working points and fits for itself: nothing but text is handed over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process answers it and ends the others
    _OF_WORKER.update(design=design_from_dict(tomllib.loads(design)), folder=Path(folder), cache=Path(cache))
    _OF_WORKER.update(studies={name: study_from_dict(tomllib.loads(text)) for name, text in studies.items()}, setups={})


def _work(cell: tuple[str, str, int]) -> None:
    setups, one = _OF_WORKER["setups"], Cell(*cell)
    if one.person not in setups:
        setups[one.person] = setup_of(_OF_WORKER["studies"][one.person], _OF_WORKER["cache"])
    _one(setups[one.person], _OF_WORKER["design"], one, _OF_WORKER["folder"], 1, None)


def _spread(
    cells: list[Cell], setups: dict[str, Setup], design: Design, folder: Path, cache: Path, processes: int, stop: Stop
) -> Iterator[Cell]:
    """Let processes work on cells; give them back as they are done. A process that dies is not waited for."""
    studies = {name: to_toml(setup.study) for name, setup in setups.items()}
    given = (studies, design_to_toml(design), str(folder), str(cache))
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(cells)), context, _begin_worker, given)
    done = False
    try:
        waiting = {pool.submit(_work, (c.person, c.condition, c.seed)): c for c in cells}
        while waiting:
            finished, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            stop.check()
            for future in finished:
                future.result()
                yield waiting.pop(future)
        done = True
    finally:
        if not done:
            for process in list(getattr(pool, "_processes", {}).values()):
                process.terminate()  # cells are stored whole or not at all
        pool.shutdown(wait=done, cancel_futures=True)
