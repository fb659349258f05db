"""A Brain with another connectome: long-range connections moved to near voxels with probability P, or shuffled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.sparse import csr_array

from twinbrain.brain import Brain
from twinbrain.errors import InputError, nearest
from twinbrain.rewire import permute_regions, permute_weights, rewire_keeping_degrees, rewire_keeping_lengths

__all__ = ["REWIRINGS", "near_share", "rewire_brain"]

REWIRINGS = ("nearest", "degrees", "lengths", "weights", "regions")
"""Names accepted by ``rewire_brain(how=...)``."""

Float = npt.NDArray[np.float64]
_PURPOSE = 31  # second half of the random key
_BLOCK = 512  # rows whose distances are held at a time


def rewire_brain(brain: Brain, how: str, share: float = 1.0, *, strongest: float = 0.2, seed: int = 0) -> Brain:
    """Return a Brain with other long-range partners, and everything else the same.

    ``nearest``: for every target with k connections, each connection is moved, with probability ``share`` = P, to a
    voxel drawn from the k nearest (straight line between centres) that are no partner yet; it takes its weight along.
    So every row keeps its number of connections and its weights, and its sum. P = 0 returns the very same Brain; at
    P = 1 the k connections of every row lead to its k nearest voxels. The draws of a smaller P are part of those of a
    larger one. In a connectome without gaps only the ``strongest`` count as connections, and the weaker one that stood
    in the new place goes to the old one.

    ``degrees``, ``lengths``, ``weights`` and ``regions`` are the nulls of :mod:`twinbrain.rewire`, of everything
    whatever P is, at region level; rows then sum to 1 again.

    Parameters
    ----------
    brain
        Region or voxel level; ``nearest`` needs positions, ``lengths`` tract lengths or positions.
    how
        One of `REWIRINGS`.
    share
        P, 0 to 1.
    strongest
        Share of the connections, by weight and over the whole brain, that count, above 0 to 1; a brain whose matrix
        holds less than half of all pairs counts all of them, whatever is given. Default 0.2.
    seed
        Key of the random numbers.

    Raises
    ------
    InputError
        If an option is impossible or the Brain lacks what is needed.

    References
    ----------
    After the description of the rewiring in Natl Sci. Rev. (2024), nwae080, with k per row as stated here.

    Examples
    --------
    >>> from twinbrain.data.subject import Subject
    >>> x = np.arange(6.0)[:, None] * [10.0, 0, 0]
    >>> far = np.roll(np.eye(6), 3, axis=0)
    >>> person = Subject.from_arrays(far, list("abcdef"), positions=x)
    >>> brain = Brain.from_subject(person)
    >>> rewire_brain(brain, "nearest", 0.0) is brain
    True
    >>> near_share(brain), near_share(rewire_brain(brain, "nearest", 1.0))
    (0.0, 1.0)
    """
    if how not in REWIRINGS:
        raise InputError(f"how: found '{how}'{nearest(how, REWIRINGS)}, expected one of {', '.join(REWIRINGS)}")
    if not 0 <= share <= 1 or not 0 < strongest <= 1:
        raise InputError(f"share is {share!r} and strongest {strongest!r}, expected 0 to 1, and above 0 to 1")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
        raise InputError(f"seed is {seed!r}, expected a whole number from 0 to 2**64 - 1")
    if how == "nearest":
        return brain if share == 0 else replace(brain, projection=_to_nearest(brain, share, strongest, seed))
    if brain.level != "region":
        raise InputError(f"'{how}' is for brains at region level; this one has {len(brain.voxels):,} voxels")
    names = list(brain.voxels)
    labels = {"target": names, "source": names}
    matrix = xr.DataArray(brain.projection.toarray(), dims=("target", "source"), coords=labels)
    counted = strongest if _is_dense(brain) else 1.0
    if how == "degrees":
        new = rewire_keeping_degrees(matrix, strongest=counted, seed=seed)
    elif how == "lengths":
        far = xr.DataArray(_distances(brain, np.arange(len(names))), dims=("target", "source"), coords=labels)
        new = rewire_keeping_lengths(matrix, far, strongest=counted, seed=seed)
    else:
        new = (permute_weights if how == "weights" else permute_regions)(matrix, seed=seed)
    values = new.transpose("target", "source").to_numpy()
    total = values.sum(axis=1, keepdims=True)
    return replace(brain, projection=csr_array(values / np.where(total > 0, total, 1.0)))


def near_share(brain: Brain, strongest: float = 0.2) -> float:
    """Return the share of the connections that lead to one of the k nearest voxels of their target.

    Parameters
    ----------
    brain
        With positions.
    strongest
        As in :func:`rewire_brain`.

    Raises
    ------
    InputError
        If the Brain has no positions.
    """
    counted = _counted(brain, strongest)
    inside = total = 0
    for rows in _blocks(len(brain.voxels)):
        order = np.argsort(_distances(brain, rows), axis=1, kind="stable")
        for i, near in zip(rows, order, strict=True):
            partners = counted.indices[counted.indptr[i] : counted.indptr[i + 1]]
            inside += int(np.isin(partners, near[: len(partners)]).sum())
            total += len(partners)
    return inside / max(total, 1)


def _to_nearest(brain: Brain, share: float, strongest: float, seed: int) -> csr_array:
    """Move connections row by row; each row has random numbers of its own."""
    counted, old = _counted(brain, strongest), brain.projection
    columns, values, pointer = [], [], [0]
    for rows in _blocks(len(brain.voxels)):
        order = np.argsort(_distances(brain, rows), axis=1, kind="stable")
        for i, by_distance in zip(rows, order, strict=True):
            start, stop = old.indptr[i], old.indptr[i + 1]
            weight = np.zeros(len(brain.voxels))
            weight[old.indices[start:stop]] = old.data[start:stop]
            partners = counted.indices[counted.indptr[i] : counted.indptr[i + 1]]
            partners = partners[np.argsort(weight[partners], kind="stable")[::-1]]  # strongest first
            key = np.array([seed, _PURPOSE + (int(i) << 16)], np.uint64)
            random = np.random.Generator(np.random.Philox(key=key))
            moved, place = random.random((2, len(partners)))
            near = by_distance[: len(partners)]
            taken = np.zeros(len(weight), bool)
            taken[partners] = True
            for j, moves, where in zip(partners, moved, place, strict=True):
                free = near[~taken[near]]
                if moves >= share or not len(free):
                    continue
                to = int(free[int(where * len(free))])
                weight[j], weight[to] = weight[to], weight[j]
                taken[j], taken[to] = False, True
            columns.append(np.flatnonzero(weight))
            values.append(weight[columns[-1]])
            pointer.append(pointer[-1] + len(columns[-1]))
    flat = (np.concatenate(values), np.concatenate(columns), np.array(pointer))
    return csr_array(flat, shape=old.shape)


def _is_dense(brain: Brain) -> bool:
    return bool(brain.projection.nnz > 0.5 * len(brain.voxels) * (len(brain.voxels) - 1))


def _counted(brain: Brain, strongest: float) -> csr_array:
    """The connections that count: all, or the strongest of a brain without gaps."""
    matrix = brain.projection
    if not _is_dense(brain) or strongest == 1:
        return matrix
    least = np.quantile(matrix.data, 1.0 - strongest)
    kept = matrix.copy()
    kept.data = np.where(matrix.data >= least, matrix.data, 0.0)
    kept.eliminate_zeros()
    return kept


def _blocks(count: int) -> list[npt.NDArray[np.int64]]:
    return [np.arange(first, min(first + _BLOCK, count)) for first in range(0, count, _BLOCK)]


def _distances(brain: Brain, rows: npt.NDArray[np.int64]) -> Float:
    """Straight lines in mm from the centres of some voxels to all; a voxel is infinitely far from itself."""
    if brain.positions is None:
        raise InputError(
            f"Brain '{brain.name}' has no positions, so that nobody knows which voxels are near; give the Subject "
            "positions="
        )
    far = np.linalg.norm(brain.positions[rows][:, None] - brain.positions[None], axis=2)
    far[np.arange(len(rows)), rows] = np.inf
    return np.asarray(far, np.float64)
