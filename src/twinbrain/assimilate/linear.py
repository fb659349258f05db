r"""The network as a linear system of regions: the projection between regions, and how it carries activity onward.

Around an asynchronous working point the slow change x_i of the rate of region i obeys, to first order,

    x = k C x + a^-1 h,

C = share of each region's long-range input that comes from each other region (rows sum to 1), k = loop gain of the
working point (1 = critical), a = slope (current per Hz), h = current into the regions. Regions n without a current of
their own then follow the inputs: ``x_n = (1 - k C_nn)^-1 k C_n,in x_in``, whatever the slope.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twinbrain.errors import InputError

if TYPE_CHECKING:
    from twinbrain.brain import Brain

__all__ = ["propagate", "region_projection"]

Float = NDArray[np.float64]


def region_projection(brain: Brain) -> Float:
    """Return the share of every region's long-range input that comes from every region.

    At voxel level a region's input is the grey-matter-weighted mean over its voxels, and all voxels of a source region
    are added up; what comes from other voxels of the same region stands on the diagonal.

    Parameters
    ----------
    brain
        R regions, at region or voxel level.

    Returns
    -------
    ndarray (R, R)
        Row = target, column = source, in the order of ``brain.regions``; each row sums to 1, or is 0 where a region
        receives nothing.

    Examples
    --------
    >>> from twinbrain import Brain, Subject
    >>> brain = Brain.from_subject(Subject.from_arrays([[0, 1, 3], [2, 0, 2], [5, 0, 0]], ["a", "b", "c"]))
    >>> region_projection(brain)
    array([[0.  , 0.25, 0.75],
           [0.5 , 0.  , 0.5 ],
           [1.  , 0.  , 0.  ]])
    """
    by_voxel = np.asarray((brain.observation @ brain.projection).todense(), np.float64)
    shares = np.zeros((len(brain.regions), len(brain.regions)))
    np.add.at(shares.T, brain.region_index, by_voxel.T)
    total = shares.sum(axis=1, keepdims=True)
    return shares / np.where(total > 0, total, 1.0)


def propagate(C: Float, k: float, inputs: Sequence[int] | NDArray[np.int64]) -> Float:
    """Return what the other regions do for each unit of change of the inputs: ``(1 - k C_nn)^-1 k C_n,in``.

    Parameters
    ----------
    C
        (R, R) projection between regions, row = target; see :func:`region_projection`.
    k
        Loop gain, 0 or more and below 1.
    inputs
        Positions of the M regions whose change is given.

    Returns
    -------
    ndarray (R - M, M)
        Rows are the regions that are not inputs, in the order of C; columns the inputs in the order given.

    Raises
    ------
    InputError
        If k is not in [0, 1), or an input is listed twice or is no region.

    Examples
    --------
    >>> propagate(np.array([[0.0, 0.25, 0.75], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]]), 0.8, [0]).round(2)
    array([[0.72],
           [0.8 ]])
    """
    n = len(C)
    chosen = np.asarray(inputs, np.int64)
    if not 0 <= k < 1:
        raise InputError(f"k: found a loop gain of {k:g}, expected at least 0 and below 1; a loop of 1 is unstable")
    if len(np.unique(chosen)) != len(chosen) or (len(chosen) and not 0 <= chosen.min() <= chosen.max() < n):
        raise InputError(f"inputs: found positions {chosen.tolist()}, expected different ones from 0 to {n - 1}")
    rest = np.setdiff1d(np.arange(n), chosen)
    return np.asarray(np.linalg.solve(np.eye(len(rest)) - k * C[np.ix_(rest, rest)], k * C[np.ix_(rest, chosen)]))
