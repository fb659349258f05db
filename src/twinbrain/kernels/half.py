"""The state in half the bytes: 16 bits per number in memory, 32 bits wherever something is computed.

A block is unpacked into a scratch block in the first-level cache, advanced by one exchange interval with all its
sub-steps, and packed again. Conductances, the noise current and everything else a row may hold are IEEE half-precision
numbers times a power of two per row (:class:`Packing`), so that they lie in the middle of what these can hold. The
membrane potential is a whole number of 1/512 mV from a reference below threshold; the lowest codes are not potentials
but refractory steps left, as V below -500 mV is in 32 bits.

Rounding is stochastic: up or down with the probability that makes the mean exact, or a slow decay would stand still as
soon as one step changes less than half a unit (Gupta et al. 2015, ICML, PMLR 37:1737). The random bits are a hash of
the neuron under a Philox key of its block, the step and the member, so they follow neither threads nor chunks. What is
exact already is never changed by it: packing what was unpacked gives the same bits. Values beyond the range stop at
its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from twinbrain.kernels.random import F32, INLINE, U32, U64, _bits_of, philox4x32, wide_vectors
from twinbrain.kernels.update import BLOCK, STRIDE

__all__ = [
    "BELOW_THRESHOLD_MV",
    "MOST_HELD",
    "Packing",
    "begin_block",
    "end_block",
    "pack_block",
    "potential_of",
    "unpack_block",
    "write_number",
]

U16, I16, I32 = np.uint16, np.int16, np.int32

#: Codes per mV, and the range of codes that are potentials; below it lie refractory steps left.
PER_MV = 512.0
LEAST_CODE, MOST_CODE = -32768 + 256, 32767
#: mV between the reference and the highest threshold: potentials reach from 121 mV below it to 6 mV above.
BELOW_THRESHOLD_MV = 57.0
#: Refractory steps that fit.
MOST_HELD = 255
#: Largest half-precision number; the smallest one of full precision: below it a number is 0.
LARGEST, SMALLEST = F32(65504.0), F32(2.0**-14)

_REBIAS = I32(112 << 10)  # the exponents of the two formats begin 112 apart
_LEAST, _MOST = I32(1 << 10), I32(0x7BFF)  # bits of SMALLEST and LARGEST
_LOW, _SHIFT = U64(0xFFFFFFFF), U64(32)
_ROUNDING = U64(0x68616C66)  # sets the key of rounding apart from that of the noise
_C1, _C2, _C3 = U32(0x85EBCA6B), U32(0xC2B2AE35), U32(0x9E3779B1)


@dataclass(frozen=True, eq=False)
class Packing:
    """How the rows of a state are held.

    Attributes
    ----------
    scale : ndarray float32 (rows,)
        What the half-precision numbers of a row are multiplied by, powers of two; ``scale[0]`` is the reference
        potential in mV. Empty: the state is held in 32 bits.

    Examples
    --------
    >>> packing = Packing(np.array([-107.0, 1.0], np.float32))
    >>> codes = packing.encode(0, np.array([-70.0, -3000.0], np.float32))
    >>> packing.decode(0, codes).tolist()
    [-70.0, -3000.0]
    """

    scale: NDArray[np.float32]

    @property
    def dtype(self) -> type[np.uint16] | type[np.float32]:
        """Type of a number in memory."""
        return np.uint16 if len(self.scale) else np.float32

    def encode(self, row: int, values: NDArray[np.float32]) -> NDArray[Any]:
        """Return values of a row as they are held, rounded to the nearest."""
        if not len(self.scale):
            return values
        if row == 0:
            held = values < -500.0
            code = np.floor((values - self.scale[0]) * F32(PER_MV) + F32(0.5))
            code = np.where(held, -32768 + np.floor(values / -1000.0 + 0.5), np.clip(code, LEAST_CODE, MOST_CODE))
            return np.asarray(code.astype(I16).view(U16))
        small = np.clip(values / self.scale[row], -LARGEST, LARGEST)
        small = np.where(np.abs(small) < SMALLEST, np.copysign(F32(0), small), small)
        return np.asarray(small.astype(np.float16).view(U16))

    def decode(self, row: int, codes: NDArray[Any]) -> NDArray[np.float32]:
        """Return the values that codes of a row stand for."""
        if not len(self.scale):
            return np.asarray(codes, np.float32)
        if row == 0:
            code = codes.view(I16).astype(np.float32)
            held = code < LEAST_CODE
            free = self.scale[0] + code * F32(1 / PER_MV)
            return np.asarray(np.where(held, F32(-1000.0) * (code + F32(32768.0)), free), np.float32)
        return np.asarray(codes.view(np.float16).astype(np.float32) * self.scale[row], np.float32)


@intrinsic
def _from_half(typingctx: Any, x: Any) -> Any:
    """Return the float32 that the bits of a half-precision number stand for."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), codegen


@njit(**INLINE)
def _unpack_one(code, reference):
    """Return the potential that a code stands for."""
    c = F32(I16(code))
    held = F32(F32(-1000.0) * F32(c + F32(32768.0)))
    return held if c < F32(LEAST_CODE) else F32(reference + F32(c * F32(1 / PER_MV)))


@njit(**INLINE)
def _pack_one(v, reference, part):
    """Return the code of a potential; ``part`` in [0, 1) of a unit is added before rounding down."""
    x = F32(F32(v - reference) * F32(PER_MV))
    x = min(max(x, F32(LEAST_CODE)), F32(MOST_CODE))
    free = I32(I32(F32(F32(x + F32(65536.0)) + part)) - I32(65536))
    held = I32(I32(F32(F32(v * F32(-0.001)) + F32(0.5))) - I32(32768))
    return U16(held) if v < F32(-500.0) else U16(free)


@njit(**INLINE)
def _rounded(x, bits):
    """Return the half-precision bits of x; 13 random bits decide between its neighbours."""
    whole = _bits_of(x)
    size = I32(I32(I32(whole & I32(0x7FFFFFFF)) + I32(bits)) >> I32(13))
    size = min(I32(size - _REBIAS), _MOST)
    size = I32(0) if size < _LEAST else size
    return U16(size | I32(I32(whole >> I32(16)) & I32(0x8000)))


@njit(**INLINE)
def _random(i, key):
    x = U32(U32(U32(i) * _C1) + key)
    x = U32(x ^ U32(x >> U32(15)))
    x = U32(x * _C2)
    x = U32(x ^ U32(x >> U32(13)))
    return U32(x * _C3)


@njit(**INLINE)
def unpack_block(s, h, scale, n, stride):
    """Write a block of codes ``h`` as float32 into the scratch block ``s``; n neurons, ``stride`` from row to row."""
    wide_vectors()
    reference = scale[0]
    for i in range(n):
        s[i] = _unpack_one(h[i], reference)
    for r in range(1, scale.shape[0]):
        at = U64(r * stride)
        factor = scale[r]
        for i in range(n):
            s[at + U64(i)] = F32(_from_half(h[at + U64(i)]) * factor)


@njit(**INLINE)
def pack_block(s, h, words, scale, rows, n, stride, first_id, step, k0, k1):
    """Write the first ``rows`` rows of the scratch block ``s`` back as codes; the others have not changed.

    ``words`` (n,) uint32 is scratch: a random word per neuron, of which every row takes the top bits of a multiple.
    """
    wide_vectors()
    a, b, c, _ = philox4x32(
        U64(first_id) & _LOW, U64(first_id) >> _SHIFT, U64(step) & _LOW, U64(step) >> _SHIFT, k0 ^ _ROUNDING, k1
    )
    reference = scale[0]
    key = U32(a)
    for i in range(n):
        word = _random(i, key)
        words[i] = word
        h[i] = _pack_one(s[i], reference, F32(F32(I32(word >> U32(26))) * F32(1 / 64)))
    for r in range(1, rows):
        at = U64(r * stride)
        factor = F32(F32(1.0) / scale[r])
        times = U32(U32(U32(b) + U32(U32(r) * U32(c))) | U32(1))
        for i in range(n):
            h[at + U64(i)] = _rounded(F32(s[at + U64(i)] * factor), U32(U32(words[i] * times) >> U32(19)))


def _is_half(block: Any) -> bool:
    return bool(block.dtype == types.uint16)


# Kernels call the four functions below; which code stands for them follows from the type of the block. (Were they
# handed over as compiled functions, no process would find the kernels that another one has compiled: see
# ``source_checksum``.) Their code stands in the ``overload`` of each.

_COMPILED_ONLY = "this function is called by compiled kernels only"


def begin_block(scratch: Any, block: Any, scale: Any) -> Any:
    """Return a block in 32 bits: itself, or unpacked into the scratch block. For kernels only, as what follows."""
    raise TypeError(_COMPILED_ONLY)


def end_block(
    scratch: Any, block: Any, words: Any, scale: Any, rows: int, first_id: int, step: int, k0: Any, k1: Any
) -> None:
    """Put a block back whose first ``rows`` rows have changed."""
    raise TypeError(_COMPILED_ONLY)


def write_number(block: Any, row: int, i: int, value: Any, scale: Any) -> None:
    """Write one number of a block."""
    raise TypeError(_COMPILED_ONLY)


def potential_of(block: Any, i: int, scale: Any) -> Any:
    """Return the potential of neuron i of a block, mV."""
    raise TypeError(_COMPILED_ONLY)


@overload(begin_block, jit_options=INLINE)
def _begin_block(scratch, block, scale):
    def whole(scratch, block, scale):
        return block

    def half(scratch, block, scale):
        unpack_block(scratch, block, scale, BLOCK, STRIDE)
        return scratch

    return half if _is_half(block) else whole


@overload(end_block, jit_options=INLINE)
def _end_block(scratch, block, words, scale, rows, first_id, step, k0, k1):
    def whole(scratch, block, words, scale, rows, first_id, step, k0, k1):
        pass

    def half(scratch, block, words, scale, rows, first_id, step, k0, k1):
        pack_block(scratch, block, words, scale, rows, BLOCK, STRIDE, first_id, step, k0, k1)

    return half if _is_half(block) else whole


@overload(write_number, jit_options=INLINE)
def _write_number(block, row, i, value, scale):
    def whole(block, row, i, value, scale):
        block[row * STRIDE + i] = value

    def half(block, row, i, value, scale):
        if row == 0:
            block[i] = _pack_one(value, scale[0], F32(0.5))
        else:
            block[row * STRIDE + i] = _rounded(F32(value / scale[row]), I32(1 << 12))

    return half if _is_half(block) else whole


@overload(potential_of, jit_options=INLINE)
def _potential_of(block, i, scale):
    def whole(block, i, scale):
        return block[i]

    def half(block, i, scale):
        return _unpack_one(block[i], scale[0])

    return half if _is_half(block) else whole
