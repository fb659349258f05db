"""What Numba lacks for threads and memory: a spinning barrier, and software prefetch."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from twinbrain.kernels.random import INLINE

__all__ = ["barrier", "first_bit", "prefetch"]

_sched_yield = types.ExternalFunction("sched_yield", types.int32())


def _element(context: Any, builder: Any, signature: Any, args: Any, k: int) -> Any:
    array_type = signature.args[k]
    array = context.make_array(array_type)(context, builder, args[k])
    return cgutils.get_item_pointer(context, builder, array_type, array, [args[k + 1]])


@intrinsic
def prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask the processor to fetch the cache line of ``array[index]`` (int64 index) for reading."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.bitcast(_element(context, builder, signature, args, 0), ir.IntType(8).as_pointer())
        i32 = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [pointer.type], ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
        )
        builder.call(function, [pointer, i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.none(array, types.int64), codegen


@intrinsic
def first_bit(typingctx: Any, x: Any) -> Any:
    """Return the number of the lowest bit that is set in a uint64 other than 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.uint64), codegen


@intrinsic
def _add_one(typingctx: Any, array: Any, index: Any) -> Any:
    """Atomically add 1 to ``array[index]``; returns the old value."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _element(context, builder, signature, args, 0)
        return builder.atomic_rmw("add", pointer, ir.IntType(64)(1), "seq_cst")

    return types.int64(array, types.int64), codegen


@intrinsic
def _read(typingctx: Any, array: Any, index: Any) -> Any:
    """Read ``array[index]`` atomically."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = _element(context, builder, signature, args, 0)
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(array, types.int64), codegen


@njit(**INLINE)
def barrier(counter, generation, threads):
    """Wait until all threads have come here ``generation`` times; False if one of them never will.

    ``counter`` is shared, two int64, first 0: how often threads came, and whether one has failed (set from outside).
    Spins, and gives its time slice away when it has spun for long, so that more threads than cores still finish.
    """
    if threads > 1:
        _add_one(counter, np.int64(0))
        spins = 0
        while _read(counter, np.int64(0)) < generation * threads:
            spins += 1
            if spins > 2000:
                if _read(counter, np.int64(1)) != 0:
                    return False
                _sched_yield()
                spins = 0
    return True
