"""Conduction delays: every list is sorted by delay, then target, so that what is due at a step is contiguous."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from twinbrain.kernels.random import INLINE, U32
from twinbrain.parallel import run_threads

__all__ = ["DETOUR", "OFFSET_MM", "delay_steps", "sort_by_delay", "steps_between"]

#: Length of a tract whose length was not measured: 1.5 times the straight line between the centres, and 6 mm.
DETOUR, OFFSET_MM = 1.5, 6.0

_PLAIN = {k: v for k, v in INLINE.items() if k != "forceinline"}


@njit(**INLINE)
def steps_between(v, w, matrix, positions, mm_per_step, most):
    """Whole exchange steps from voxel w to voxel v, at least 1."""
    if v == w:
        return 1
    if matrix.shape[0] > 0:
        return np.int64(matrix[v, w])
    x, y, z = positions[v, 0] - positions[w, 0], positions[v, 1] - positions[w, 1], positions[v, 2] - positions[w, 2]
    length = DETOUR * np.sqrt(x * x + y * y + z * z) + OFFSET_MM
    return min(max(np.int64(np.floor(length / mm_per_step + 0.5)), 1), most)


@njit(**_PLAIN)
def delay_steps(rows, columns, positions, mm_per_step):
    """Return the steps from voxels ``columns`` to voxels ``rows`` by their positions."""
    out = np.empty(rows.shape[0], np.int64)
    none = np.zeros((0, 0), np.uint16)
    for k in range(rows.shape[0]):
        out[k] = steps_between(rows[k], columns[k], none, positions, mm_per_step, 2**30)
    return out


@njit(**_PLAIN)
def _sort(j0, j1, pointer, targets, weights, voxel, matrix, positions, mm_per_step, most, new, moved, late):
    at = np.empty(most + 1, np.int64)
    for j in range(j0, j1):
        a, b = pointer[j], pointer[j + 1]
        w = voxel[j]
        for q in range(a, b):
            late[j, steps_between(voxel[targets[q]], w, matrix, positions, mm_per_step, most)] += U32(1)
        total = np.int64(0)
        for d in range(1, most + 1):
            at[d] = a + total
            total += late[j, d]
            late[j, d] = U32(total)
        for q in range(a, b):
            d = steps_between(voxel[targets[q]], w, matrix, positions, mm_per_step, most)
            new[at[d]] = targets[q]
            moved[at[d]] = weights[q]
            at[d] += 1


def sort_by_delay(
    pointer: NDArray[np.int64],
    targets: NDArray[np.uint32],
    weights: NDArray[Any],
    voxel: NDArray[np.int32],
    matrix: NDArray[np.uint16],
    positions: NDArray[np.float64],
    mm_per_step: float,
    most: int,
    threads: int,
) -> tuple[NDArray[np.uint32], NDArray[Any], NDArray[np.uint32]]:
    """Return targets and weights with each list sorted by delay, then target, and where each delay ends.

    ``voxel`` (N,) is the voxel of every neuron, ``matrix`` (V, V) the steps between voxels (row = target) or empty, in
    which case they are computed from ``positions``. The last result ``late`` (N, most + 1) says that the synapses of
    source j with delay d are ``pointer[j] + late[j, d - 1] ... pointer[j] + late[j, d] - 1``.
    """
    n = len(pointer) - 1
    new, moved, late = np.empty_like(targets), np.empty_like(weights), np.zeros((n, most + 1), np.uint32)
    edges = np.linspace(0, n, threads + 1).astype(np.int64)
    run_threads(
        lambda k: _sort(
            edges[k],
            edges[k + 1],
            pointer,
            targets,
            weights,
            voxel,
            matrix,
            positions,
            mm_per_step,
            most,
            new,
            moved,
            late,
        ),
        threads,
    )
    return new, moved, late
