"""Stored wiring: every neuron gets exactly its in-degree, whatever the number of threads that build it.

For a target population p of N neurons with in-degree K there are N K in-slots. How many of them each source
population fills comes from one systematic rounding of the expected numbers with a keyed offset: every count is
within 1 of its expectation, the mean over seeds is exact, and the counts add up to N K. A keyed shuffle spreads
them over the slots (slot // K is the target neuron), and a keyed draw picks the source neuron uniformly within its
population, never the target itself. Everything about population p depends on (seed, p) alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from twinbrain.kernels.random import U32, U64, below, derive_key, philox4x32, source_checksum
from twinbrain.parallel import run_threads

__all__ = ["Anatomy", "Wiring", "build_wiring", "part_cuts"]

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


@dataclass(frozen=True, eq=False)
class Wiring:
    """Synapses as source-major lists, each sorted by target.

    Attributes
    ----------
    pointer : ndarray int64 (N + 1,)
        The synapses of source j are ``pointer[j] ... pointer[j + 1] - 1``.
    targets : ndarray uint32 (synapses,)
    weights : ndarray uint8 or uint16 (synapses,)
        0 ... 255; as uint16 with a second, independent weight in the upper byte (NMDA or GABA_B) if a sign has two
        live channels.
    multapses : int
        Synapses beyond the first between the same two neurons.
    """

    pointer: NDArray[np.int64]
    targets: NDArray[np.uint32]
    weights: NDArray[np.uint8] | NDArray[np.uint16]
    multapses: int

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(a.nbytes for a in (self.pointer, self.targets, self.weights))

    def target_major(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (targets, sources) of all synapses, sorted by target: for tests and exports of small networks."""
        sources = np.repeat(np.arange(len(self.pointer) - 1), np.diff(self.pointer))
        order = np.argsort(self.targets, kind="stable")
        return self.targets[order].astype(np.int64), sources[order]


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


@cache
def _make_wire(checksum: int) -> Any:
    """Return the function that wires a range of populations."""

    @njit(**_SLOW)
    def wire(
        p0, p1, slot_first, source, weights, r0, r1, k0, k1, size, first, in_degree, local, voxel, voxel_population,
        kind,
        sources, sign, projecting, partner_pointer, partner, partner_share
    ):  # fmt: skip
        """Write source and weights of the in-slots of populations p0 ... p1 - 1; -1, or one without a source."""
        if checksum < 0:  # never: it makes the checksum part of the compiled function
            return -2
        loc = np.empty(sources.shape[1])
        partner_total = np.empty(1)
        keep = U64(255) if weights.itemsize == 1 else U64(65535)
        for p in range(p0, p1):
            degree = in_degree[p]
            m = size[p] * degree
            if m == 0:
                continue
            longrange = source_shares(
                p, loc, partner_total, size, first, in_degree, local, voxel, voxel_population, kind, sources, sign,
                projecting, partner_pointer, partner, partner_share
            )  # fmt: skip
            if longrange < 0:
                return p
            v = voxel[p]
            a = voxel_population[v]
            u0, u1, _, _ = philox4x32(U64(p) & _LOW, U64(p) >> _SHIFT, U64(0), U64(0), r0, r1)
            offset = (np.float64(u0) + np.float64(u1) * 2.0**-32) * 2.0**-32
            base = slot_first[p]
            cells = source[base : base + m]
            # systematic rounding: cell k gets floor(m cum_k + offset) - floor(m cum_{k-1} + offset) slots
            cum = 0.0
            done = 0
            for q in range(voxel_population[v + 1] - a):
                cum += loc[q]
                upto = min(m, np.int64(np.floor(m * cum + offset)))
                for k in range(done, upto):
                    cells[k] = U32(a + q)
                done = max(done, upto)
            last = a
            if longrange > 0:
                for k in range(partner_pointer[v], partner_pointer[v + 1]):
                    w = partner[k]
                    b = voxel_population[w]
                    n = voxel_population[w + 1] - b
                    total = 0.0
                    for q in range(n):
                        if size[b + q] > 0:
                            total += projecting[kind[w], q]
                    if total <= 0:
                        continue
                    for q in range(n):
                        if size[b + q] > 0 and projecting[kind[w], q] > 0:
                            cum += longrange * partner_share[k] / partner_total[0] * projecting[kind[w], q] / total
                            last = b + q
                            upto = min(m, np.int64(np.floor(m * cum + offset)))
                            for t in range(done, upto):
                                cells[t] = U32(b + q)
                            done = max(done, upto)
            else:
                for q in range(voxel_population[v + 1] - a):
                    if loc[q] > 0:
                        last = a + q
            for k in range(done, m):  # what floating-point rounding of the last sum left over
                cells[k] = U32(last)
            # one keyed pass: settle slot i by a forward shuffle, then pick its source neuron and weights
            for i in range(m):
                x0, x1, x2, x3 = philox4x32(U64(i) & _LOW, U64(i) >> _SHIFT, U64(p) & _LOW, U64(p) >> _SHIFT, k0, k1)
                r = i + below(m - i, x0, x1)
                origin = np.int64(cells[r])
                cells[r] = cells[i]
                if origin == p:
                    s = below(size[p] - 1, x2, x3)
                    if s >= i // degree:
                        s += 1
                else:
                    s = below(size[origin], x2, x3)
                cells[i] = U32(first[origin] + s)
                weights[base + i] = x3 & keep
        return -1

    return wire


@njit(**_SLOW)
def _count_sources(source, s0, s1, count):
    for k in range(source.shape[0]):
        s = np.int64(source[k])
        if s0 <= s < s1:
            count[s + 1] += 1


@njit(**_SLOW)
def _sort_by_source(source, drawn, s0, s1, position, slot_first, size, first, in_degree, targets, weights):
    """Write the synapses of sources s0 ... s1 - 1 into their lists; targets come in ascending order."""
    for p in range(size.shape[0]):
        k = slot_first[p]
        for t in range(size[p]):
            for _ in range(in_degree[p]):
                s = np.int64(source[k])
                if s0 <= s < s1:
                    q = position[s]
                    position[s] = q + 1
                    targets[q] = U32(first[p] + t)
                    weights[q] = drawn[k]
                k += 1


@njit(**_SLOW)
def _count_multapses(pointer, targets):
    n = 0
    for j in range(pointer.shape[0] - 1):
        for q in range(pointer[j] + 1, pointer[j + 1]):
            n += targets[q] == targets[q - 1]
    return n


@njit(**_SLOW)
def _cut_lists(pointer, targets, first_neuron, cuts):
    for j in range(pointer.shape[0] - 1):
        a = pointer[j]
        b = pointer[j + 1]
        q = a
        for part in range(first_neuron.shape[0]):
            while q < b and targets[q] < first_neuron[part]:
                q += 1
            cuts[part, j] = q - a


def part_cuts(wiring: Wiring, first_neuron: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return where each source's list passes from one part to the next, shape (parts + 1, N), relative to its start.

    ``first_neuron`` (parts + 1,) are the first neurons of the parts and, last, a number above every id.
    """
    cuts = np.zeros((len(first_neuron), len(wiring.pointer) - 1), np.uint32)
    _cut_lists(wiring.pointer, wiring.targets, np.asarray(first_neuron, np.int64), cuts)
    return cuts


def build_wiring(anatomy: Anatomy, seed: int, two_weights: bool, threads: int = 1) -> Wiring:
    """Build the synapses of a network.

    Parameters
    ----------
    anatomy
        Populations, circuits and projection.
    seed
        Same seed, same synapses, for any number of threads.
    two_weights
        Draw an independent second weight for every synapse.
    threads
        Threads to build with.

    Raises
    ------
    ValueError
        If a population has no possible source (the message names it by number).
    """
    slots = anatomy.size * anatomy.in_degree
    slot_first = np.concatenate([[0], np.cumsum(slots)])
    if slots.max() >= 2**32:
        raise ValueError(f"population {slots.argmax()} has {slots.max():,} synapses, and at most 2^32 can be shuffled")
    total = int(slot_first[-1])
    neurons = int(anatomy.size.sum())
    source = np.empty(total, np.uint32)
    drawn = np.empty(total, np.uint16 if two_weights else np.uint8)
    keys = [U64(k) for purpose in ("rounding", "synapse") for k in derive_key(seed, purpose)]
    borders = np.searchsorted(slot_first, np.linspace(0, total, threads + 1))
    borders[0], borders[-1] = 0, len(slots)
    bad = np.full(threads, -1, np.int64)

    wire_populations = _make_wire(source_checksum())

    def wire(k: int) -> None:
        bad[k] = wire_populations(
            borders[k], borders[k + 1], slot_first, source, drawn, *keys, *anatomy.arrays()
        )  # fmt: skip

    run_threads(wire, threads)
    if bad.max() >= 0:
        raise ValueError(
            f"population {bad.max()} has no possible source: its voxel holds no other neuron and no partner"
        )
    pointer = np.zeros(neurons + 1, np.int64)
    edges = np.linspace(0, neurons, threads + 1).astype(np.int64)
    run_threads(lambda k: _count_sources(source, edges[k], edges[k + 1], pointer), threads)
    np.cumsum(pointer, out=pointer)
    position = pointer[:-1].copy()
    targets = np.empty(total, np.uint32)
    weights = np.empty_like(drawn)

    def sort(k: int) -> None:
        _sort_by_source(
            source, drawn, edges[k], edges[k + 1], position, slot_first, anatomy.size, anatomy.first,
            anatomy.in_degree, targets, weights
        )  # fmt: skip

    run_threads(sort, threads)
    return Wiring(pointer, targets, weights, int(_count_multapses(pointer, targets)))
