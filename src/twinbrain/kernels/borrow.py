"""Arrays without reference counting, for the inside of kernels.

Numba counts references of every array that is handed to a function or sliced, with atomic additions, even where the
function is inlined; in a loop over events that costs more than the work. A borrowed array is the same memory without
an owner, so there is nothing to count. It must not outlive the array that it was borrowed from.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["borrow"]


@intrinsic
def borrow(typingctx: Any, thing: Any) -> Any:
    """Return an array, or a tuple with all arrays in it, without an owner."""

    def lend(context: Any, builder: Any, kind: Any, value: Any) -> Any:
        if isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, value)
            array.meminfo = cgutils.get_null_value(array.meminfo.type)
            array.parent = cgutils.get_null_value(array.parent.type)
            return array._getvalue()
        if isinstance(kind, types.BaseTuple):
            for k, item in enumerate(kind):
                part = builder.extract_value(value, k)
                value = builder.insert_value(value, lend(context, builder, item, part), k)
        return value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return lend(context, builder, signature.args[0], args[0])

    return thing(thing), codegen
