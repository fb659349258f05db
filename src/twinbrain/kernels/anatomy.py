"""Who may project to whom, and with how many synapses: the numbers that a wiring must keep exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from twinbrain.kernels.random import INLINE, U64, philox4x32

__all__ = ["Anatomy", "pair_row", "source_shares"]

_SLOW = {"nogil": True, "boundscheck": False, "error_model": "numpy", "cache": True}
_LOW, _SHIFT = U64(0xFFFFFFFF), U64(32)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What the wiring is built from, as plain arrays (P populations, V voxels, C circuits of up to L populations).

    Attributes
    ----------
    size, first, in_degree, local : ndarray (P,)
        Neurons of the population, its first neuron, synapses per neuron, and its place within the circuit.
    voxel : ndarray (P,)
        Voxel of the population.
    voxel_population : ndarray (V + 1,)
        First population of each voxel.
    kind : ndarray (V,)
        Circuit of each voxel.
    sources : ndarray (C, L, L + 1); sign : (C, L); projecting : (C, L)
        Circuit tables; the last column of ``sources`` is the long-range share.
    partner_pointer, partner, partner_share
        The voxel projection in CSR form: row = target voxel; each row sums to 1.
    """

    size: NDArray[np.int64]
    first: NDArray[np.int64]
    in_degree: NDArray[np.int64]
    local: NDArray[np.int64]
    voxel: NDArray[np.int64]
    voxel_population: NDArray[np.int64]
    kind: NDArray[np.int64]
    sources: NDArray[np.float64]
    sign: NDArray[np.int64]
    projecting: NDArray[np.float64]
    partner_pointer: NDArray[np.int64]
    partner: NDArray[np.int64]
    partner_share: NDArray[np.float64]

    def arrays(self) -> tuple[NDArray[np.int64] | NDArray[np.float64], ...]:
        """Return the arrays in the order in which the kernels take them."""
        return (
            self.size, self.first, self.in_degree, self.local, self.voxel, self.voxel_population, self.kind,
            self.sources, self.sign, self.projecting, self.partner_pointer, self.partner, self.partner_share,
        )  # fmt: skip


@njit(**_SLOW)
def _give(loc, sign, size, own, wanted, amount):
    """Hand ``amount`` of share to admissible populations of a sign: by their shares, else by size; False if none."""
    total = 0.0
    neurons = 0
    for q in range(loc.shape[0]):
        if sign[q] == wanted and size[q] > (1 if q == own else 0):
            total += loc[q]
            neurons += size[q]
    if neurons == 0:
        return False
    for q in range(loc.shape[0]):
        if sign[q] == wanted and size[q] > (1 if q == own else 0):
            loc[q] += amount * (loc[q] / total if total > 0 else size[q] / neurons)
    return True


@njit(**_SLOW)
def source_shares(
    p, loc, partner_total, size, first, in_degree, local, voxel, voxel_population, kind, sources, sign, projecting,
    partner_pointer, partner, partner_share
):  # fmt: skip
    """Write the share of each local population into ``loc`` and return the long-range share of population p.

    A source without an admissible neuron passes its share to populations of its sign in the voxel, then to the long
    range; a voxel without long-range partners keeps that share at home, with its excitatory populations first.
    ``partner_total[0]`` receives the summed share of the partner voxels that can send. Returns -1 if no source is left.
    """
    v = voxel[p]
    c = kind[v]
    a = voxel_population[v]
    n = voxel_population[v + 1] - a
    own = local[p]
    loc[:] = 0.0
    longrange = sources[c, own, sources.shape[2] - 1]
    orphan_e = 0.0
    orphan_i = 0.0
    here = size[a : a + n]
    for q in range(n):
        share = sources[c, own, q]
        if here[q] > (1 if q == own else 0):
            loc[q] = share
        elif sign[c, q] > 0:
            orphan_e += share
        else:
            orphan_i += share
    if orphan_e > 0 and not _give(loc[:n], sign[c, :n], here, own, 1, orphan_e):
        longrange += orphan_e
    if orphan_i > 0 and not _give(loc[:n], sign[c, :n], here, own, -1, orphan_i):
        longrange += orphan_i
    total = 0.0
    for k in range(partner_pointer[v], partner_pointer[v + 1]):
        w = partner[k]
        b = voxel_population[w]
        for q in range(voxel_population[w + 1] - b):
            if projecting[kind[w], q] > 0 and size[b + q] > 0:
                total += partner_share[k]
                break
    partner_total[0] = total
    if total <= 0 and longrange > 0:
        if not _give(loc[:n], sign[c, :n], here, own, 1, longrange) and not _give(
            loc[:n], sign[c, :n], here, own, -1, longrange
        ):
            return -1.0
        longrange = 0.0
    return longrange


@njit(**INLINE)
def pair_row(
    p, row, amount, loc, partner_total, r0, r1, size, first, in_degree, local, voxel, voxel_population, kind, sources,
    sign, projecting, partner_pointer, partner, partner_share
):  # fmt: skip
    """Write source populations and numbers of synapses of target population p; returns how many, -1 without a source.

    Systematic rounding: source k gets floor(m cum_k + offset) - floor(m cum_{k-1} + offset) of the m in-slots.
    """
    m = size[p] * in_degree[p]
    if m == 0:
        return 0
    longrange = source_shares(
        p, loc, partner_total, size, first, in_degree, local, voxel, voxel_population, kind, sources, sign, projecting,
        partner_pointer, partner, partner_share
    )  # fmt: skip
    if longrange < 0:
        return -1
    v = voxel[p]
    a = voxel_population[v]
    u0, u1, _, _ = philox4x32(U64(p) & _LOW, U64(p) >> _SHIFT, U64(0), U64(0), r0, r1)
    offset = (np.float64(u0) + np.float64(u1) * 2.0**-32) * 2.0**-32
    cum = 0.0
    done = 0
    n = 0
    for q in range(voxel_population[v + 1] - a):
        cum += loc[q]
        upto = min(m, np.int64(np.floor(m * cum + offset)))
        if loc[q] > 0:
            row[n] = a + q
            amount[n] = max(upto - done, 0)
            n += 1
        done = max(done, upto)
    if longrange > 0:
        for k in range(partner_pointer[v], partner_pointer[v + 1]):
            w = partner[k]
            b = voxel_population[w]
            count = voxel_population[w + 1] - b
            total = 0.0
            for q in range(count):
                if size[b + q] > 0:
                    total += projecting[kind[w], q]
            if total <= 0:
                continue
            for q in range(count):
                if size[b + q] > 0 and projecting[kind[w], q] > 0:
                    cum += longrange * partner_share[k] / partner_total[0] * projecting[kind[w], q] / total
                    upto = min(m, np.int64(np.floor(m * cum + offset)))
                    row[n] = b + q
                    amount[n] = max(upto - done, 0)
                    n += 1
                    done = max(done, upto)
    amount[n - 1] += m - done  # what floating-point rounding of the last sum left over
    return n
