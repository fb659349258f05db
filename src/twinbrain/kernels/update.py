"""The neuron update: one pass over a flat block of neurons per step.

State lives in blocks of :data:`BLOCK` neurons; a block is one flat float32 array of rows :data:`STRIDE` numbers apart:
V, the noise current, one conductance for every live channel, the current of a drive if there is one, and one row for
every parameter that differs between the neurons of a population. Parameters that differ between populations only are
spread over a scratch row in the first-level cache just before they are used, so that they cost no memory traffic.
Which rows exist is a tuple known when the kernel is compiled (:class:`Layout`), so offsets are constants, the loop
vectorises, and a channel of zero conductance costs nothing. V below -500 mV is not a voltage but -1000 times the number
of refractory steps left. Arrivals are sums of integer weights, two packed in one word so that one addition delivers
both weights of a synapse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from twinbrain.kernels.random import F32, INLINE, U32, U64, exp_minus, fill_normals, wide_vectors
from twinbrain.kernels.sync import first_bit
from twinbrain.neuron import CHANNELS

__all__ = ["BLOCK", "LOG_BLOCK", "PARAMETERS", "STRIDE", "Layout", "compact", "update_block"]

#: Neurons per block: state, noise, parameters and arrivals of a block stay in the first-level cache.
LOG_BLOCK = 9
BLOCK = 1 << LOG_BLOCK

#: Numbers from one row to the next: one cache line more than a block, or equal places of neighbouring rows would have
#: the same low address bits, and loads would wait for unrelated stores.
STRIDE = BLOCK + 16

#: Rows that always exist.
ROW_V, ROW_OU = 0, 1

#: The numbers the kernel needs, each a scalar, one number per population, or one row (see ``kernel_parameters``).
PARAMETERS = (
    "dt_over_c",
    "g_leak",
    "current",  # g_L V_L + mean background
    "v_threshold",
    "v_reset",
    "held",  # -1000 x refractory steps
    "e_ou",
    "s_ou",
    *(f"v_{c}" for c in CHANNELS),
    *(f"d_{c}" for c in CHANNELS),
    *(f"w_{c}" for c in CHANNELS),  # conductance per unit of weight: g_u / 255
    "chi",
)
_N_PARAMETERS = len(PARAMETERS)
_SCRATCH = 1000  # added to the number of a scratch row, to tell it from a row of the state


@dataclass(frozen=True)
class Layout:
    """Which rows and arrival ports a network needs.

    Attributes
    ----------
    live : four bools
        Channels with a conductance above zero anywhere.
    varying : tuple of str
        Names of :data:`PARAMETERS` that differ between the neurons of a population.
    gained : bool
        Whether chi differs from 1 anywhere: then long-range arrivals have ports of their own.
    wide : bool
        Whether a neuron has so many synapses that the sum of their weights needs more than 16 bits.
    by_population : tuple of str
        Names of :data:`PARAMETERS` that differ between populations.
    driven : bool
        Whether neurons have a current of their own besides the background.
    exponential : bool
        Integrate V exactly for the conductances of the step, instead of by forward Euler.
    half : bool
        Hold the state in 16 bits (see :mod:`twinbrain.kernels.half`).
    """

    live: tuple[bool, bool, bool, bool]
    varying: tuple[str, ...]
    gained: bool
    wide: bool = False
    by_population: tuple[str, ...] = ()
    driven: bool = False
    exponential: bool = False
    half: bool = False

    @property
    def row_drive(self) -> int:
        """Row of the current of the drive; -1 where there is none."""
        return 2 + sum(self.live) if self.driven else -1

    @property
    def rows(self) -> tuple[int, ...]:
        """Row of each channel's conductance, then of each parameter; -1 where there is none, 1000 + k in scratch."""
        k = 2
        out = []
        for live in self.live:
            out.append(k if live else -1)
            k += live
        k += self.driven
        for name in PARAMETERS:
            if name in self.by_population:
                out.append(_SCRATCH + self.by_population.index(name))
            else:
                out.append(k if name in self.varying else -1)
                k += name in self.varying
        return tuple(out)

    @property
    def n_rows(self) -> int:
        """Number of rows of a block."""
        return 2 + sum(self.live) + self.driven + len(self.varying)

    @property
    def ports(self) -> tuple[int, int, int]:
        """Arrival sums of a neuron: excitatory from its own voxel, excitatory from others, inhibitory."""
        return (0, 1, 2) if self.gained else (0, 0, 1)

    @property
    def n_ports(self) -> int:
        """Number of arrival sums per neuron."""
        return max(self.ports) + 1

    @property
    def arrival_type(self) -> type[np.uint32] | type[np.int64]:
        """Type of an arrival: two sums of 16 bits in a uint32, or of 31 bits in an int64."""
        return np.int64 if self.wide else np.uint32

    @property
    def two_weights(self) -> bool:
        """Whether a sign has two live channels, so that synapses carry a second weight."""
        return (self.live[0] and self.live[1]) or (self.live[2] and self.live[3])

    @property
    def constants(self) -> tuple[int, ...]:
        """Everything the kernel is compiled for: rows, ports, which weight feeds NMDA and GABA_B (0 or 1), width."""
        nmda = int(self.live[0] and self.live[1])
        gaba_b = int(self.live[2] and self.live[3])
        return (
            *self.rows,
            *self.ports,
            nmda,
            gaba_b,
            int(self.wide),
            self.row_drive,
            int(self.exponential),
        )


_B, _S = BLOCK, STRIDE
_V0, _D0, _W0 = 8, 12, 16  # positions of v_, d_, w_ in PARAMETERS
_CHI = 20
PORTS = _PORTS = 4 + _N_PARAMETERS  # where the ports stand in Layout.constants
_DRIVE, _EXPONENTIAL = _PORTS + 6, _PORTS + 7


@njit(**INLINE)
def spread(q, table, population_first, p, first_id, end_id):
    """Write the parameters of each population into scratch rows, for neurons first_id ... end_id - 1 of a block.

    ``p`` is the population of the first; returns that of the last. Writes 16 numbers at a time, so up to 15 beyond a
    population, which the next one overwrites (rows have 16 to spare).
    """
    wide_vectors()
    i = first_id
    while True:
        until = min(population_first[p + 1], end_id)
        whole = (until - i + 15) >> 4 << 4
        for k in range(table.shape[1]):
            value = table[p, k]
            at = U64(k * _S + i - first_id)  # unsigned, or every index would be tested for a negative one
            for j in range(whole):
                q[at + U64(j)] = value
        i = until
        if i >= end_id:
            return p
        p += 1


@njit(**INLINE)
def _pick(s, q, row, scalar, i):
    """Return a parameter of neuron i: from its row or its scratch row if it has one, else the scalar."""
    if row >= _SCRATCH:
        return q[(row - _SCRATCH) * _S + i]
    return s[row * _S + i] if row >= 0 else scalar


@njit(**INLINE)
def _sum_of(packed, which, wide):
    """Return one of the two sums packed in an arrival: of the first weights (low half) or of the second (high half)."""
    if wide:
        return F32(np.int32(packed >> np.int64(32))) if which == 1 else F32(np.int32(packed & np.int64(0x7FFFFFFF)))
    return F32(np.int32(U32(packed >> U32(16)))) if which == 1 else F32(np.int32(U32(packed & U32(0xFFFF))))


@njit(**INLINE)
def _excitatory(local, distant, gained, which, chi, wide, i):
    """Excitatory arrivals of neuron i in units of one weight step: chi multiplies those from other voxels."""
    near = _sum_of(local[i], which, wide)
    if not gained:
        return near
    return F32(near + F32(chi * _sum_of(distant[i], which, wide)))


@njit(**INLINE)
def update_block(s, local, distant, inhibitory, fired, z, q, c, R, arrive):
    """Advance one block by one step; ``arrive`` (a constant) adds and clears the arrivals, starts ``fired``.

    ``local``, ``distant`` and ``inhibitory`` are the arrival sums (the first two are one where chi is 1 everywhere),
    ``q`` holds the scratch rows, ``c`` the scalars, ``R`` is ``Layout.constants``.
    """
    wide_vectors()
    c0, c1, c2, c3, c4, c5, c6, c7 = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
    v0, v1, v2, v3 = c[_V0], c[_V0 + 1], c[_V0 + 2], c[_V0 + 3]
    d0, d1, d2, d3 = c[_D0], c[_D0 + 1], c[_D0 + 2], c[_D0 + 3]
    w0, w1, w2, w3 = c[_W0], c[_W0 + 1], c[_W0 + 2], c[_W0 + 3]
    chi0 = c[_CHI]
    gained = R[_PORTS] != R[_PORTS + 1]
    for i in range(_B):
        v = s[i]
        ou = F32(F32(s[_S + i] * _pick(s, q, R[10], c6, i)) + F32(_pick(s, q, R[11], c7, i) * z[i]))
        s[_S + i] = ou
        total = _pick(s, q, R[5], c1, i)
        drive = F32(_pick(s, q, R[6], c2, i) + ou)
        if R[_DRIVE] >= 0:
            drive = F32(drive + s[R[_DRIVE] * _S + i])
        chi = _pick(s, q, R[4 + _CHI], chi0, i)
        if R[0] >= 0:
            g = s[R[0] * _S + i]
            if arrive:
                g = F32(
                    g
                    + F32(
                        _pick(s, q, R[4 + _W0], w0, i) * _excitatory(local, distant, gained, 0, chi, R[_PORTS + 5], i)
                    )
                )
            total = F32(total + g)
            drive = F32(drive + F32(g * _pick(s, q, R[4 + _V0], v0, i)))
            s[R[0] * _S + i] = F32(g * _pick(s, q, R[4 + _D0], d0, i))
        if R[1] >= 0:
            g = s[R[1] * _S + i]
            if arrive:
                g = F32(
                    g
                    + F32(
                        _pick(s, q, R[5 + _W0], w1, i)
                        * _excitatory(local, distant, gained, R[_PORTS + 3], chi, R[_PORTS + 5], i)
                    )
                )
            total = F32(total + g)
            drive = F32(drive + F32(g * _pick(s, q, R[5 + _V0], v1, i)))
            s[R[1] * _S + i] = F32(g * _pick(s, q, R[5 + _D0], d1, i))
        if R[2] >= 0:
            g = s[R[2] * _S + i]
            if arrive:
                g = F32(g + F32(_pick(s, q, R[6 + _W0], w2, i) * _sum_of(inhibitory[i], 0, R[_PORTS + 5])))
            total = F32(total + g)
            drive = F32(drive + F32(g * _pick(s, q, R[6 + _V0], v2, i)))
            s[R[2] * _S + i] = F32(g * _pick(s, q, R[6 + _D0], d2, i))
        if R[3] >= 0:
            g = s[R[3] * _S + i]
            if arrive:
                g = F32(g + F32(_pick(s, q, R[7 + _W0], w3, i) * _sum_of(inhibitory[i], R[_PORTS + 4], R[_PORTS + 5])))
            total = F32(total + g)
            drive = F32(drive + F32(g * _pick(s, q, R[7 + _V0], v3, i)))
            s[R[3] * _S + i] = F32(g * _pick(s, q, R[7 + _D0], d3, i))
        if R[_EXPONENTIAL]:
            goal = F32(drive / total)
            moved = F32(goal + F32(F32(v - goal) * exp_minus(F32(_pick(s, q, R[4], c0, i) * total))))
        else:
            moved = F32(v + F32(_pick(s, q, R[4], c0, i) * F32(drive - F32(total * v))))
        moved = max(moved, F32(-499.0))
        reset = _pick(s, q, R[8], c4, i)
        counted = F32(v + F32(1000.0))
        waiting = counted if counted < F32(-500.0) else reset
        holding = v < F32(-500.0)
        spike = (not holding) & (moved >= _pick(s, q, R[7], c3, i))
        rest = waiting if holding else moved
        s[i] = _pick(s, q, R[9], c5, i) if spike else rest
        if arrive:
            fired[i] = np.uint8(spike)
        else:
            fired[i] |= np.uint8(spike)
    if arrive:
        local[:] = 0
        if gained:
            distant[:] = 0
        inhibitory[:] = 0


@njit(**INLINE)
def step_block(s, local, distant, inhibitory, fired, z, q, c, R, first_id, step, substeps, k0, k1):
    """Advance one block by one exchange interval of ``substeps`` steps while it is in the cache."""
    first = step * substeps
    fill_normals(z, first_id, first, k0, k1, _B)
    update_block(s, local, distant, inhibitory, fired, z, q, c, R, True)
    for m in range(1, substeps):
        fill_normals(z, first_id, first + m, k0, k1, _B)
        update_block(s, local, distant, inhibitory, fired, z, q, c, R, False)


@njit(**INLINE)
def compact(fired, n, first_id, out, k):
    """Append the ids of the fired neurons among the first n of a block to ``out`` from position k; returns the end."""
    words = fired.view(np.uint64)
    for w in range((n + 7) >> 3):
        word = words[w]
        while word != 0:
            i = w * 8 + (first_bit(word) >> 3)
            if i < n:
                out[k] = np.int32(first_id + i)
                k += 1
            word &= word - np.uint64(1)
    return k
