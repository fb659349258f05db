"""Run an ensemble along given drives without any correction, and watch over its members."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinbrain.assimilate.journal import Arrays, Journal
from twinbrain.assimilate.settings import Engine
from twinbrain.assimilate.units import Units
from twinbrain.errors import InputError
from twinbrain.observe import sample_steps

__all__ = ["HIGHEST_HZ", "Replayed", "least_members", "lost_members", "replay", "too_few"]

_log = logging.getLogger(__name__)

Array = NDArray[np.float64]

HIGHEST_HZ = 200.0
"""Mean rate of a whole network above which a member counts as lost."""


@dataclass(frozen=True, eq=False)
class Replayed:
    """What the ensemble did.

    Attributes
    ----------
    rate
        (time, member, unit) mean rate of each unit over each row, Hz.
    bold
        (time, member, region) fraction signal change, at the end of each row.
    seen
        (time, member, unit) BOLD that corresponds to each unit's observation.
    lost
        (member,) row in which a member was lost (not finite, silent or above 200 Hz), -1 where never.
    """

    rate: Array
    bold: Array
    seen: Array
    lost: NDArray[np.int64]


def replay(
    engine: Engine | None,
    units: Units,
    drive: Array,
    repetition_time_s: float,
    warm_up: int,
    journal: Journal,
    piece: str,
    min_members: int,
) -> Replayed:
    """Hold each row of the drive until the step at which its BOLD sample is taken.

    Parameters
    ----------
    engine
        Fresh, with one input per unit; None will do if the piece is finished already.
    units
        The inputs.
    drive
        (time, member, unit) h, model units of current; the first row also acts during the warm-up.
    repetition_time_s
        Length of a row, s; each ends at the nearest step.
    warm_up
        Repetition times before the first row.
    journal, piece
        Where the progress is kept, and under which name.
    min_members
        Fewer healthy members than this stop the work.

    Returns
    -------
    Replayed

    Raises
    ------
    InputError
        If too many members are lost.
    """
    rows, members, count = drive.shape
    found = journal.finished(piece)
    if found is not None:
        return Replayed(found["rate"], found["bold"], found["seen"], found["lost"])
    assert engine is not None
    ends, _ = sample_steps(rows, repetition_time_s, 1000.0 / engine.steps_per_s)
    rate = np.zeros((rows, members, count))
    bold = np.zeros((rows, members, units.observation.shape[0]))
    seen = np.zeros((rows, members, count))
    lost = np.full(members, -1, np.int64)
    begun = journal.unfinished(piece)
    start = 0
    if begun is None:
        engine.set_drive(drive[0])
        engine.advance(round(warm_up * repetition_time_s * engine.steps_per_s))
        engine.rate()
    else:
        start = int(begun["row"])
        for own, name in ((rate, "rate"), (bold, "bold"), (seen, "seen"), (lost, "lost")):
            own[...] = begun[name]
        engine.restore({k.removeprefix("engine."): v for k, v in begun.items() if k.startswith("engine.")})
    done = start

    def state() -> Arrays:
        kept: Arrays = {"row": np.array(done), "rate": rate, "bold": bold, "seen": seen, "lost": lost}
        return kept | {f"engine.{name}": np.array(value) for name, value in engine.state().items()}

    for t in range(start, rows):
        engine.set_drive(drive[t])
        engine.advance(int(ends[t] - (ends[t - 1] if t else 0)))
        by_voxel, hz = np.asarray(engine.bold(), np.float64), np.asarray(engine.rate(), np.float64)
        rate[t], seen[t], bold[t] = (
            np.asarray((operator @ x.T).T)
            for operator, x in ((units.own, hz), (units.seen, by_voxel), (units.observation, by_voxel))
        )
        for member, why in lost_members(engine, by_voxel, hz):
            if lost[member] < 0:
                lost[member] = t
                _log.warning("%s, volume %d: member %d %s and does not count", piece, t, member, why)
                too_few(int((lost < 0).sum()), members, min_members, f"{piece}, volume {t}")
        done = t + 1
        journal.tick(piece, state)
    journal.finish(piece, {"rate": rate, "bold": bold, "seen": seen, "lost": lost})
    return Replayed(rate, bold, seen, lost)


def lost_members(engine: Any, bold: Array, rate: Array | None) -> list[tuple[int, str]]:
    """Return the members that are no brain any more, with the reason in words.

    Parameters
    ----------
    engine
        Whose Balloon states are looked at too.
    bold
        (member, voxel) fraction signal change.
    rate
        (member, voxel) Hz since the last look, None if not known.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> engine = SimpleNamespace(balloon=np.ones((3, 1, 4)))
    >>> lost_members(engine, np.array([[0.02], [np.nan], [0.02]]), np.array([[4.0], [4.0], [0.0]]))
    [(1, 'is not finite'), (2, 'is silent')]
    """
    finite = np.isfinite(bold).all(axis=1) & np.isfinite(engine.balloon).all(axis=(1, 2))
    hz = np.full(len(bold), np.nan) if rate is None else rate @ _voxel_share(engine, rate.shape[1])
    found = []
    for member in range(len(bold)):
        if not finite[member]:
            found.append((member, "is not finite"))
        elif hz[member] == 0:
            found.append((member, "is silent"))
        elif hz[member] > HIGHEST_HZ:
            found.append((member, f"fires at {hz[member]:.0f} Hz, above {HIGHEST_HZ:g}"))
    return found


def _voxel_share(engine: Any, voxels: int) -> Array:
    size = np.asarray(getattr(engine, "voxel_size", np.ones(voxels)), np.float64)
    return np.asarray(size / size.sum())


def least_members(members: int, min_members: int | None) -> int:
    """Return how many members must be left: two thirds by default.

    Examples
    --------
    >>> least_members(30, None), least_members(30, 5)
    (20, 5)
    """
    return math.ceil(2 * members / 3) if min_members is None else min_members


def too_few(healthy: int, members: int, min_members: int, where: str) -> None:
    """Stop if not enough members are left to say anything.

    Raises
    ------
    InputError
        With a hint how to go on from the last checkpoint.

    Examples
    --------
    >>> too_few(20, 30, 20, "cycle 4")
    """
    if healthy < min_members:
        raise InputError(
            f"assimilation: in {where} only {healthy} of {members} members are left (finite, not silent, below "
            f"{HIGHEST_HZ:g} Hz), expected at least min_members={min_members}; the last checkpoint is kept: resume "
            "with a smaller min_members, or start anew with narrower bounds of the drive, a lower target or a calmer "
            "working point"
        )
