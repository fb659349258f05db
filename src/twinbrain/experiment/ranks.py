"""The ranks of an MPI job that share the cells of an experiment; one rank where there is no MPI.

Ranks exchange nothing but whether all is well: what they make, they leave in files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from twinbrain.errors import InputError, Interrupted

__all__ = ["Ranks", "ranks_of_job"]


@dataclass(frozen=True)
class Ranks:
    """This process among those of its job.

    Attributes
    ----------
    rank, ranks
        Number of this process, from 0, and of all.
    world
        MPI communicator; None: this process is alone.

    Examples
    --------
    >>> with Ranks().stage():
    ...     print(Ranks().first)
    True
    """

    rank: int = 0
    ranks: int = 1
    world: Any = None

    @property
    def first(self) -> bool:
        """Whether this rank writes what there is one of."""
        return self.rank == 0

    @contextmanager
    def stage(self) -> Iterator[None]:
        """Wait at the end for all ranks; if one of them failed, none goes on, and none waits for ever.

        Raises
        ------
        Interrupted
            In the ranks that did not fail themselves.
        """
        failed: BaseException | None = None
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - raised again below, when all ranks know
            failed = error
        if self.world is not None:
            ours, all_ = np.array([failed is not None], np.int32), np.zeros(1, np.int32)
            self.world.Allreduce(ours, all_)
            if all_[0] and failed is None:
                raise Interrupted("another rank stopped")
        if failed is not None:
            raise failed


def ranks_of_job() -> Ranks:
    """Return this process among the ranks it was started with.

    Raises
    ------
    InputError
        If it was started by MPI and mpi4py is not installed.

    Examples
    --------
    >>> ranks_of_job().ranks
    1
    """
    if not any(name in os.environ for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK")):
        return Ranks()
    try:
        from mpi4py import MPI
    except ImportError:
        raise InputError("this was started by MPI, but mpi4py is not installed; install twinbrain[mpi]") from None
    world = MPI.COMM_WORLD
    return Ranks(world.Get_rank(), world.Get_size(), world)
