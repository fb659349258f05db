"""Keyed bijections on the slots 0 ... S - 1: a shuffle that needs no memory and can be walked in both directions.

A slot x is split into two digits, x = l 2^m + r with l < a and r < 2^m, where 2^m is close to sqrt(S) and a 2^m is S or
a little more. Six rounds of an unbalanced Feistel network (Luby & Rackoff 1988, SIAM J Comput 17:373; with mixed radix
and cycle walking as in Black & Rogaway 2002, CT-RSA) add a keyed hash of one digit to the other, modulo a or 2^m in
turn: a bijection of the a 2^m pairs whatever the hash. A result of S or more is sent through again until it is below S;
fewer than 2^m of the pairs are too many, so that is rare. Everything is arithmetic on 32-bit words without branches, so
that loops over slots vectorise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from twinbrain.kernels.random import INLINE, U32

__all__ = ["MAX_SLOTS", "backward", "forward", "radix", "settle_backward", "settle_forward", "shift_right", "slot_bits"]

#: Largest number of slots of one space: then both digits have at most 16 bits.
MAX_SLOTS = 2**32 - 2**16

_SMALLEST = 6  # bits of the smallest domain: on fewer pairs six rounds are not yet a fair shuffle
# odd multipliers of MurmurHash3's and xxHash's finalisers; round constants: fractional parts of square roots of primes
_C1, _C2, _C3 = U32(0x85EBCA6B), U32(0xC2B2AE35), U32(0x9E3779B1)
_Q0, _Q1, _Q2, _Q3 = U32(0x6A09E667), U32(0xBB67AE85), U32(0x3C6EF372), U32(0xA54FF53A)
_Q4, _Q5, _Q6 = U32(0x510E527F), U32(0x9B05688C), U32(0x1F83D9AB)


def radix(slots: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return a and m of the domains for these numbers of slots.

    Examples
    --------
    >>> a, m = radix(np.array([1, 1000, 144_900]))
    >>> (a.astype(int) << m.astype(int)).tolist()
    [64, 1024, 145408]
    """
    s = np.maximum(np.asarray(slots, np.int64), 1)
    bits = np.ceil(np.log2(s.astype(np.float64))).astype(np.int64)
    m = np.maximum((bits + 1) // 2, _SMALLEST // 2)
    a = np.maximum(-(-s >> m), 1 << (_SMALLEST // 2))
    return a.astype(np.uint32), m.astype(np.uint32)


@intrinsic
def shift_right(typingctx: Any, x: Any, n: Any) -> Any:
    """Return ``x >> n`` in 32 bits: Numba would widen both to 64, which halves the lanes of a vector."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.lshr(args[0], args[1])

    return types.uint32(types.uint32, types.uint32), codegen


@intrinsic
def shift_left(typingctx: Any, x: Any, n: Any) -> Any:
    """Return ``x << n`` in 32 bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.shl(args[0], args[1])

    return types.uint32(types.uint32, types.uint32), codegen


@njit(**INLINE)
def _turn(x, n):
    """Rotate a word to the left by n bits."""
    return U32(U32(x << U32(n)) | U32(x >> U32(32 - n)))


@njit(**INLINE)
def _hash16(v, key):
    """Sixteen bits from a digit and the key of a round."""
    x = U32(U32(v * _C1) + key)
    x = U32(x ^ U32(x >> U32(15)))
    x = U32(x * _C2)
    return U32(x >> U32(16))


@njit(**INLINE)
def _below(v, key, a):
    """Return a number below a, a < 2^16, from a digit and the key of a round."""
    return U32(U32(_hash16(v, key) * a) >> U32(16))


@njit(**INLINE)
def _plus(x, y, a):
    """(x + y) mod a for x, y < a."""
    z = U32(x + y)
    return min(z, U32(z - a))


@njit(**INLINE)
def _minus(x, y, a):
    """(x - y) mod a for x, y < a."""
    z = U32(x - y)
    return min(z, U32(z + a))


@njit(**INLINE)
def forward(x, key, a, m):
    """Send x through the network once; the result may be S or more."""
    b = shift_left(U32(1), m)
    mask = U32(b - U32(1))
    low = U32(x & mask)
    top = shift_right(x, m)
    top = _plus(top, _below(low, U32(key ^ _Q0), a), a)
    low = U32(U32(low + _hash16(top, U32(_turn(key, 5) ^ _Q1))) & mask)
    top = _plus(top, _below(low, U32(_turn(key, 10) ^ _Q2), a), a)
    low = U32(U32(low + _hash16(top, U32(_turn(key, 15) ^ _Q3))) & mask)
    top = _plus(top, _below(low, U32(_turn(key, 20) ^ _Q4), a), a)
    low = U32(U32(low + _hash16(top, U32(_turn(key, 25) ^ _Q5))) & mask)
    return U32(U32(top * b) + low)


@njit(**INLINE)
def backward(x, key, a, m):
    """Undo :func:`forward`."""
    b = shift_left(U32(1), m)
    mask = U32(b - U32(1))
    low = U32(x & mask)
    top = shift_right(x, m)
    low = U32(U32(low - _hash16(top, U32(_turn(key, 25) ^ _Q5))) & mask)
    top = _minus(top, _below(low, U32(_turn(key, 20) ^ _Q4), a), a)
    low = U32(U32(low - _hash16(top, U32(_turn(key, 15) ^ _Q3))) & mask)
    top = _minus(top, _below(low, U32(_turn(key, 10) ^ _Q2), a), a)
    low = U32(U32(low - _hash16(top, U32(_turn(key, 5) ^ _Q1))) & mask)
    top = _minus(top, _below(low, U32(key ^ _Q0), a), a)
    return U32(U32(top * b) + low)


@njit(**INLINE)
def settle_forward(x, key, a, m, slots):
    """Go on from a first result until it is a slot."""
    while x >= slots:
        x = forward(x, key, a, m)
    return x


@njit(**INLINE)
def settle_backward(x, key, a, m, slots):
    """Go back from a first result until it is a slot."""
    while x >= slots:
        x = backward(x, key, a, m)
    return x


@njit(**INLINE)
def slot_bits(x, key):
    """Sixteen random bits that belong to a slot, besides its place in the shuffle."""
    x = U32(U32(x * _C1) + U32(_turn(key, 13) ^ _Q6))
    x = U32(x ^ U32(x >> U32(16)))
    x = U32(x * _C2)
    x = U32(x ^ U32(x >> U32(13)))
    x = U32(x * _C3)
    return U32(x >> U32(16))
