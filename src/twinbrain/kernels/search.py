"""Binary search of sixteen numbers at once in one sorted table, without a branch that could be predicted wrongly."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["search16"]

_LANES = 16
_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_WORDS, _LONG, _MASK = (ir.VectorType(t, _LANES) for t in (_I32, _I64, _I1))
_POINTERS = ir.VectorType(_I32.as_pointer(), _LANES)


def _all(builder: Any, x: Any) -> Any:
    """Repeat a number in all lanes."""
    kind = ir.VectorType(x.type, _LANES)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), x, _I32(0))
    return builder.shuffle_vector(first, first, ir.Constant(_WORDS, [0] * _LANES))


@intrinsic
def search16(typingctx: Any, z: Any, x_at: Any, out_at: Any, table: Any, count: Any) -> Any:
    """Write, for each x of ``z[x_at : x_at + 16]``, the last place in ``table[:count]`` that is not above it.

    To ``z[out_at : out_at + 16]``; both arrays are uint32, ``table`` is sorted and ``table[0]`` is 0. The steps of all
    lanes are the same, and values are picked by comparison masks; where the processor cannot gather, the compiler
    loads one by one.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = [context.make_array(signature.args[k])(context, builder, args[k]).data for k in (0, 3)]
        at = [builder.bitcast(builder.gep(data[0], [args[k]]), _WORDS.as_pointer()) for k in (1, 2)]
        base = _all(builder, builder.ptrtoint(data[1], _I64))
        x = builder.load(at[0], align=4)
        place = cgutils.alloca_once_value(builder, ir.Constant(_WORDS, [0] * _LANES))
        left = cgutils.alloca_once_value(builder, args[4])
        gather = builder.module.globals.get("llvm.masked.gather.v16i32.v16p0") or ir.Function(
            builder.module,
            ir.FunctionType(_WORDS, [_POINTERS, _I32, _MASK, _WORDS]),
            "llvm.masked.gather.v16i32.v16p0",
        )
        test, step, end = (builder.function.append_basic_block(name) for name in ("test", "step", "end"))
        builder.branch(test)
        builder.position_at_end(test)
        builder.cbranch(builder.icmp_signed(">", builder.load(left), _I64(1)), step, end)
        builder.position_at_end(step)
        half = builder.ashr(builder.load(left), _I64(1))
        here = builder.load(place)
        there = builder.add(here, _all(builder, builder.trunc(half, _I32)))
        offset = builder.shl(builder.zext(there, _LONG), ir.Constant(_LONG, [2] * _LANES))
        pointers = builder.inttoptr(builder.add(base, offset), _POINTERS)
        every = ir.Constant(_MASK, [1] * _LANES)
        value = builder.call(gather, [pointers, _I32(4), every, ir.Constant(_WORDS, [0] * _LANES)])
        builder.store(builder.select(builder.icmp_unsigned("<=", value, x), there, here), place)
        builder.store(builder.sub(builder.load(left), half), left)
        builder.branch(test)
        builder.position_at_end(end)
        builder.store(builder.load(place), at[1], align=4)
        return context.get_dummy_value()

    return types.none(z, types.int64, types.int64, table, types.int64), codegen
