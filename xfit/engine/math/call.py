"""Calls of component kernels through function pointers, so that no model is ever compiled into the engine."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from xfit.engine.math.layout import LANES
from xfit.engine.math.records import LANE_ARRAY

#: C signature of every component kernel: coordinates, their row length, parameters, value, Jacobian rows, channels,
#: scratch.
KERNEL_SIGNATURE = types.void(
    types.CPointer(types.float64),
    types.intp,
    types.CPointer(types.float64),
    types.CPointer(types.float64),
    types.CPointer(types.float64),
    types.intp,
    types.CPointer(types.float64),
)


@intrinsic
def call_kernel(
    typingctx: Any,
    address: Any,
    x: Any,
    x_at: Any,
    row_length: Any,
    p: Any,
    p_at: Any,
    f: Any,
    f_at: Any,
    jac: Any,
    jac_at: Any,
    n: Any,
    scratch: Any,
) -> Any:
    """Call the kernel at ``address``.

    Arrays are C-contiguous float64, or vectors; ``*_at`` are offsets from their first element, in elements or vectors.
    The kernel neither allocates nor raises, so no Python state is needed around it.
    """
    sig = types.void(address, x, x_at, row_length, p, p_at, f, f_at, jac, jac_at, n, scratch)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        double = ir.DoubleType().as_pointer()
        integer = context.get_value_type(types.intp)

        def pointer(position: int, offset: Any = None) -> Any:
            kind, data = signature.args[position], args[position]
            if kind == LANE_ARRAY:
                return data if offset is None else builder.gep(data, [builder.mul(offset, integer(LANES))])
            data = context.make_array(kind)(context, builder, data).data
            return data if offset is None else builder.gep(data, [offset])

        function_type = ir.FunctionType(ir.VoidType(), [double, integer, double, double, double, integer, double])
        function = builder.inttoptr(args[0], function_type.as_pointer())
        builder.call(
            function,
            [
                pointer(1, args[2]),
                args[3],
                pointer(4, args[5]),
                pointer(6, args[7]),
                pointer(8, args[9]),
                args[10],
                pointer(11),
            ],
        )
        return context.get_dummy_value()

    return sig, codegen


#: C signature of every custom loss: data, model, weights, number of channels; value, first and second derivative.
LOSS_SIGNATURE = types.void(*[types.CPointer(types.float64)] * 3, types.intp, *[types.CPointer(types.float64)] * 3)


@intrinsic
def call_loss(
    typingctx: Any, address: Any, y: Any, model: Any, weight: Any, n: Any, value: Any, first: Any, second: Any
) -> Any:
    """Call the loss at ``address``; arrays are contiguous float64, the last three are filled."""
    sig = types.void(address, y, model, weight, n, value, first, second)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        double = ir.DoubleType().as_pointer()
        integer = context.get_value_type(types.intp)

        def pointer(position: int) -> Any:
            return context.make_array(signature.args[position])(context, builder, args[position]).data

        function_type = ir.FunctionType(ir.VoidType(), [*[double] * 3, integer, *[double] * 3])
        function = builder.inttoptr(args[0], function_type.as_pointer())
        arrays = [pointer(position) for position in (1, 2, 3, 5, 6, 7)]
        builder.call(function, [*arrays[:3], args[4], *arrays[3:]])
        return context.get_dummy_value()

    return sig, codegen
