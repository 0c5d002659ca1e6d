"""Data on their way from memory while what came before them is computed with."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from xfit.engine.math.jit import inner

#: Bytes of a line of the cache.
_LINE = 64


@intrinsic
def _fetch(typing_context: Any, row: Any, place: Any) -> Any:
    """Ask for the line of the cache with an element of a row; the processor may decline."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        number = ir.IntType(32)
        array = context.make_array(sig.args[0])(context, builder, args[0])
        address = builder.bitcast(builder.gep(array.data, [args[1]]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        # To be read, and into the second level of the cache: the first is in use.
        builder.call(
            get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8"),
            [address, number(0), number(2), number(1)],
        )
        return context.get_dummy_value()

    return types.void(row, types.intp), emit


@inner
def fetch_row(rows: np.ndarray, i: int) -> None:
    """Ask for a row of data."""
    row = rows[i]
    for c in range(0, row.size, _LINE // rows.itemsize):
        _fetch(row, c)
