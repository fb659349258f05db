"""The state a run begins with, written block by block: no array of all neurons besides the state itself."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from twinbrain.kernels.half import write_number
from twinbrain.kernels.random import F32, U64, fill_normals, philox4x32, source_checksum
from twinbrain.kernels.update import BLOCK, ROW_OU, ROW_V

__all__ = ["make_initial"]

_LOW, _SHIFT = U64(0xFFFFFFFF), U64(32)


@cache
def make_initial() -> Any:
    """Return the function that fills V and the noise current of blocks b0 ... b1 - 1.

    V is uniform between ``low`` and ``high``, the noise normal with ``std``; all three are per population. The same
    bits as :func:`~twinbrain.kernels.random.uniforms_numpy` at step 0 and ``normals_numpy`` at step 1.
    """
    checksum = source_checksum()

    @njit(nogil=True, boundscheck=False, error_model="numpy", cache=True)
    def initial(state, b0, b1, n_neurons, population_first, low, high, std, scale, k0, k1):
        if checksum < 0:  # never: it makes the checksum part of the compiled function
            return
        z = np.empty(BLOCK, np.float32)
        p = 0
        for b in range(b0, b1):
            at = b * BLOCK
            fill_normals(z, at, 1, k0, k1, BLOCK)
            row = state[b]
            for i in range(min(BLOCK, n_neurons - at)):
                j = at + i
                while population_first[p + 1] <= j:
                    p += 1
                q = U64(j)
                a, c, _, _ = philox4x32(q & _LOW, q >> _SHIFT, U64(0), U64(0), k0, k1)
                u = np.float64((a << U64(21)) ^ (c >> U64(11))) * 2.0**-53 + 2.0**-54
                write_number(row, ROW_V, i, F32(low[p] + (high[p] - low[p]) * u), scale)
                write_number(row, ROW_OU, i, F32(std[p] * np.float64(z[i])), scale)

    return initial
