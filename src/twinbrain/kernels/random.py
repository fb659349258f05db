"""Counter-based random numbers: the same number for the same (key, counter), in any order, on any thread.

The generator is Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011, SC'11, doi 10.1145/2063384.2063405). The 128-bit
counter holds two 64-bit integers, usually a neuron (or synapse) and a step; the 64-bit key is made from the seed,
the purpose and the ensemble member by :func:`derive_key`. Normal deviates are Box-Muller pairs computed with our
own polynomials in float32, so that only ``+ - *``, ``sqrt`` and comparisons are used and every processor gives the
same bits. One word makes a pair: 20 bits the radius (which reaches 5.4 standard deviations), 12 bits the angle
(equally spaced angles have the moments of a continuous one, exactly, up to order 4095). Which word belongs to
whom depends on the global neuron id alone: 128 consecutive ids share 16 draws, lane l of 16 and word k of 4 make the
pair of ids (32 k + 2 l, 32 k + 2 l + 1), so that 16 lanes of a vector unit are filled and written in order.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ["INLINE", "PURPOSE", "derive_key", "normals_numpy", "philox4x32", "philox_numpy", "uniforms_numpy"]

#: No reassociation and no contraction of floating point anywhere (promise of equal bits). Not cached by themselves:
#: these functions are part of others that are, and a cached copy would not notice a change in what they call.
INLINE: dict[str, Any] = {
    "nogil": True,
    "boundscheck": False,
    "error_model": "numpy",
    "forceinline": True,
}

#: What a stream of random numbers is for; part of the key, so that no two purposes share numbers.
PURPOSE = {
    "noise": 1,
    "initial": 2,
    "slots": 3,
    "synapse": 4,
    "rounding": 5,
    "gamma": 6,
    "sample": 7,
    "gamma_conductance": 8,
}

U32 = np.uint32
U64 = np.uint64
F32 = np.float32
_M0, _M1 = U64(0xD2511F53), U64(0xCD9E8D57)
_W0, _W1 = U64(0x9E3779B9), U64(0xBB67AE85)
_SHIFT, _LOW = U64(32), U64(0xFFFFFFFF)


def _fitted(function: Any, degree: int, low: float, high: float) -> tuple[np.float32, ...]:
    """Coefficients of the polynomial through the Chebyshev nodes of an interval."""
    fit = np.polynomial.chebyshev.Chebyshev.interpolate(function, degree, domain=[low, high])
    return tuple(F32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


# ln(1+x) = x L(x) for x in [sqrt(1/2) - 1, sqrt(2) - 1]; sin(2 pi t) = t S(t^2) for |t| <= 1/4; errors below 1e-6.
_LOG = _fitted(lambda x: np.log1p(x) / np.where(x == 0, 1.0, x) + (x == 0), 7, np.sqrt(0.5) - 1, np.sqrt(2) - 1)
_SIN = _fitted(lambda s: 2 * np.pi * np.sinc(2 * np.sqrt(s)), 4, 0.0, 0.0625)
# 2^-f for f in [0, 1]
_EXP2 = _fitted(lambda f: np.exp2(-f), 6, 0.0, 1.0)
_LN2 = F32(np.log(2.0))
_LOG2E = F32(1 / np.log(2.0))
_HALF_ROOT = 0x3F3504F3  # bits of sqrt(1/2): the mantissa part is taken from [sqrt(1/2), sqrt(2))
#: Ids that share the draws of one round of vectors.
GROUP = 128


@cache
def source_checksum() -> int:
    """Checksum of the sources of all kernels, which compiled functions carry as a constant.

    Numba keeps machine code as long as the file of the *outermost* function is unchanged; with this constant a kernel
    edited in any file of this room is compiled anew. What the outermost function closes over must be numbers: compiled
    functions are other objects in every process, so that the code would never be found again.
    """
    return crc32(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))))


@intrinsic
def _bits_of(typingctx: Any, x: Any) -> Any:
    """Return the bits of a float32 as int32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@intrinsic
def _float_of(typingctx: Any, x: Any) -> Any:
    """Return the float32 with these bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@intrinsic
def wide_vectors(typingctx: Any) -> Any:
    """Ask for vectors of 512 bits in this function where the processor has them: loops here are pure arithmetic.

    Compilers prefer 256 bits on many such processors, which halves the speed of these loops. No bits change.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')  # llvmlite lists no such attribute
        return context.get_dummy_value()

    return types.none(), codegen


@njit(**INLINE)
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Ten rounds of Philox4x32 on four counter words and two key words, all 32-bit values held in uint64.

    Holding the words in 64-bit lanes lets the compiler use the widening 32-bit multiplication of vector units.
    """
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0 = (p1 >> _SHIFT) ^ c1 ^ k0
        c2 = (p0 >> _SHIFT) ^ c3 ^ k1
        c1 = p1 & _LOW
        c3 = p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@njit(**INLINE)
def _minus_two_log(a):
    """-2 ln(u) for u = (a + 1/2) / 2^20, a < 2^20."""
    b = _bits_of(F32(F32(np.int32(a)) + F32(0.5)))
    e = np.int32(np.int32(b - np.int32(_HALF_ROOT)) >> np.int32(23))
    x = F32(_float_of(np.int32(b - np.int32(e << np.int32(23)))) - F32(1.0))
    p = _LOG[7]
    p = F32(p * x + _LOG[6])
    p = F32(p * x + _LOG[5])
    p = F32(p * x + _LOG[4])
    p = F32(p * x + _LOG[3])
    p = F32(p * x + _LOG[2])
    p = F32(p * x + _LOG[1])
    p = F32(p * x + _LOG[0])
    return F32(F32(-2.0) * F32(F32(F32(e) - F32(20.0)) * _LN2 + p * x))


@njit(**INLINE)
def _sin_turns(t):
    """sin(2 pi t) for |t| <= 1/4."""
    s = F32(t * t)
    p = _SIN[4]
    p = F32(p * s + _SIN[3])
    p = F32(p * s + _SIN[2])
    p = F32(p * s + _SIN[1])
    p = F32(p * s + _SIN[0])
    return F32(p * t)


@njit(**INLINE)
def exp_minus(x):
    """exp(-x) for x >= 0 in float32, largest relative error below 3e-7; 0 is reached at 2^-126."""
    y = F32(min(F32(x * _LOG2E), F32(126.0)))
    k = np.int32(y)
    f = F32(y - F32(k))
    p = _EXP2[6]
    p = F32(p * f + _EXP2[5])
    p = F32(p * f + _EXP2[4])
    p = F32(p * f + _EXP2[3])
    p = F32(p * f + _EXP2[2])
    p = F32(p * f + _EXP2[1])
    p = F32(p * f + _EXP2[0])
    return F32(p * _float_of(np.int32(np.int32(np.int32(127) - k) << np.int32(23))))


@njit(**INLINE)
def box_muller(word):
    """Two independent N(0, 1) deviates from one uint32 word (Box & Muller 1958)."""
    r = F32(np.sqrt(_minus_two_log(U32(word >> U32(12)))))
    b = U32(U32(word << U32(20)) | U32(0x80000))  # the middle of one of 4096 angles, in 2^-32 turns
    turn = F32(2.0**-32)
    c = F32(F32(0.25) - F32(abs(F32(np.int32(b))) * turn))
    s = F32(F32(0.25) - F32(abs(F32(np.int32(U32(b - U32(0x40000000))))) * turn))
    return F32(r * _sin_turns(c)), F32(r * _sin_turns(s))


@njit(**INLINE)
def fill_normals(z, first_id, step, k0, k1, n):
    """Write z[0:n] = the normal deviates of neurons first_id ... first_id + n - 1 at a step.

    ``n`` and ``first_id`` are multiples of :data:`GROUP`.
    """
    wide_vectors()
    s0 = U64(step) & _LOW
    s1 = U64(step) >> _SHIFT
    for g in range(n >> 7):
        draw = (first_id >> 3) + 16 * g
        at = GROUP * g
        for lane in range(16):
            q = U64(draw + lane)
            a, b, c, d = philox4x32(q & _LOW, q >> _SHIFT, s0, s1, k0, k1)
            i = at + 2 * lane
            z[i], z[i + 1] = box_muller(U32(a))
            z[i + 32], z[i + 33] = box_muller(U32(b))
            z[i + 64], z[i + 65] = box_muller(U32(c))
            z[i + 96], z[i + 97] = box_muller(U32(d))


@njit(**INLINE)
def below(n, a, b):
    """Map two 32-bit words to an integer in [0, n), n < 2^32, with a bias below 2^-32 (multiply-shift on 64 bits)."""
    m = U64(n)
    return np.int64((a * m + ((b * m) >> _SHIFT)) >> _SHIFT)


def philox_numpy(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Philox4x32-10 in plain NumPy: the readable oracle of the kernel, and the generator for set-up code.

    Parameters
    ----------
    counter
        Array of shape (..., 4), uint32.
    key
        Two 32-bit words, for example from :func:`derive_key`.

    Returns
    -------
    Array of the shape of ``counter``: four independent uint32 words per counter.

    Examples
    --------
    >>> [f"{int(w):08x}" for w in philox_numpy(np.zeros(4, np.uint32), (0, 0))]  # published test vector
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    c = np.asarray(counter, np.uint64).copy()
    k0, k1 = int(key[0]), int(key[1])
    low = U64(0xFFFFFFFF)
    for _ in range(10):
        p0, p1 = _M0 * c[..., 0], _M1 * c[..., 2]
        new0 = (p1 >> _SHIFT) ^ c[..., 1] ^ U64(k0)
        new2 = (p0 >> _SHIFT) ^ c[..., 3] ^ U64(k1)
        c = np.stack([new0, p1 & low, new2, p0 & low], axis=-1)
        k0, k1 = (k0 + int(_W0)) & 0xFFFFFFFF, (k1 + int(_W1)) & 0xFFFFFFFF
    return c.astype(np.uint32)


def derive_key(seed: int, purpose: str, member: int = 0) -> tuple[int, int]:
    """Make the 64-bit Philox key of a stream from the seed, its purpose and the ensemble member.

    Examples
    --------
    >>> derive_key(1, "noise") != derive_key(1, "initial") != derive_key(2, "noise")
    True
    """
    number = PURPOSE[purpose]
    words = np.array([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF, member & 0xFFFFFFFF, number], np.uint32)
    out = philox_numpy(words, (0x7477696E, 0x62726169))
    return int(out[0]), int(out[1])


def _counters(first: NDArray[np.int64], second: int) -> NDArray[np.uint32]:
    a = first.astype(np.uint64)
    low = U64(0xFFFFFFFF)
    b = np.full_like(a, np.uint64(second))
    return np.stack([a & low, a >> _SHIFT, b & low, b >> _SHIFT], axis=-1).astype(np.uint32)


def uniforms_numpy(ids: NDArray[np.int64], step: int, key: tuple[int, int]) -> NDArray[np.float64]:
    """Return one uniform deviate in (0, 1) for each 64-bit id at a step, 53 bits, shape of ``ids``."""
    w = philox_numpy(_counters(np.asarray(ids, np.int64), step), key).astype(np.uint64)
    return ((w[..., 0] << U64(21)) ^ (w[..., 1] >> U64(11))).astype(np.float64) * 2.0**-53 + 2.0**-54


def normals_numpy(ids: NDArray[np.int64], step: int, key: tuple[int, int]) -> NDArray[np.float32]:
    """Return the normal deviates that the kernels use for neurons ``ids`` at a step: float32, the same bits."""
    ids = np.asarray(ids, np.int64)
    drawn = philox_numpy(_counters((ids >> 7 << 4) + ((ids & 31) >> 1), step), key)
    word = np.take_along_axis(drawn, (ids >> 5 & 3)[..., None], axis=-1)[..., 0]
    u = (word >> U32(12)).astype(np.float32) + F32(0.5)
    bits = u.view(np.int32)
    e = (bits - np.int32(_HALF_ROOT)) >> np.int32(23)
    x = (bits - (e << np.int32(23))).view(np.float32) - F32(1.0)
    p = np.full_like(x, _LOG[-1])
    for coefficient in _LOG[-2::-1]:
        p = p * x + coefficient
    r = np.sqrt(F32(-2.0) * ((e.astype(np.float32) - F32(20.0)) * _LN2 + p * x))
    b = (word << U32(20)) | U32(0x80000)
    turned = np.where(ids & 1, b - U32(0x40000000), b).view(np.int32).astype(np.float32)
    t = F32(0.25) - np.abs(turned) * F32(2.0**-32)
    s = t * t
    p = np.full_like(s, _SIN[-1])
    for coefficient in _SIN[-2::-1]:
        p = p * s + coefficient
    return np.asarray(r * (p * t), np.float32)
