"""Access to numbers of one pixel and to vectors of several by one text: what is compiled
depends on the record's type alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.datamodel import models, register_default
from numba.core.typing.templates import signature
from numba.extending import intrinsic, overload

from xfit.engine.math.layout import FUSED, GROUP, LANES, SPAN
from xfit.engine.math.records import LANE_ARRAY, RecordType
from xfit.engine.math.vector import REALS, vector_of

#: As the engine's other functions are compiled.
_OPTIONS = {"error_model": "numpy", "nogil": True, "_nrt": False}

_DOUBLE = ir.DoubleType()
_GROUP_OF_DOUBLES = ir.VectorType(_DOUBLE, GROUP)


class _Group(types.Type):
    """Type of several channels of one pixel, whose sums are the same whatever the processor's vectors are."""

    def __init__(self, width: int) -> None:
        self.llvm = ir.VectorType(_DOUBLE, width)
        super().__init__(name=f"xfit.channels{width}")


#: `GROUP` channels; and `SPAN`, for sums of few rows, whose registers hold more.
CHANNELS, SPANS = _Group(GROUP), _Group(SPAN)


@register_default(_Group)
class _GroupModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Any, unit: int, element: ir.Type) -> Any:
    """Address of a unit of so many numbers."""
    if kind != LANE_ARRAY:
        array = context.make_array(kind)(context, builder, array).data
    at = builder.mul(index, ir.Constant(index.type, unit)) if unit > 1 else index
    return builder.bitcast(builder.gep(array, [at]), element.as_pointer())


def _accessed(kind: Any) -> tuple[types.Type, int, ir.Type]:
    if kind == LANE_ARRAY:
        return REALS, LANES, vector_of(_DOUBLE)
    return types.float64, 1, _DOUBLE


@intrinsic
def get(typingctx: Any, array: Any, index: Any) -> Any:
    """Number or vector at a place, which must not be negative."""
    value, unit, element = _accessed(array)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, sig.args[0], args[0], args[1], unit, element), align=8)

    return signature(value, array, types.intp), codegen


@intrinsic
def put(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Set the number or vector at a place."""
    kind, unit, element = _accessed(array)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _address(context, builder, sig.args[0], args[0], args[1], unit, element), align=8)
        return context.get_dummy_value()

    return signature(types.void, array, types.intp, kind), codegen


@intrinsic
def full(typingctx: Any, record: Any, value: Any) -> Any:
    """Return a number as what a record's vectors, or an array, are made of."""
    kind = REALS if record == LANE_ARRAY or getattr(record, "wide", False) else types.float64
    return signature(kind, record, kind), lambda context, builder, sig, args: args[1]


@intrinsic
def group_at(typingctx: Any, array: Any, index: Any) -> Any:
    """Vector of a tile at a place: of pixels, or of `GROUP` channels of one pixel."""
    wide = array == LANE_ARRAY
    kind, unit = (REALS, LANES) if wide else (CHANNELS, GROUP)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        element = vector_of(_DOUBLE) if wide else _GROUP_OF_DOUBLES
        return builder.load(_address(context, builder, sig.args[0], args[0], args[1], unit, element), align=8)

    return signature(kind, array, types.intp), codegen


@intrinsic
def span_at(typingctx: Any, array: Any, index: Any) -> Any:
    """`SPAN` numbers of an array of any real dtype, from a place on, as float64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        single = sig.args[0].dtype == types.float32
        element = ir.VectorType(ir.FloatType() if single else _DOUBLE, SPAN)
        place = builder.bitcast(builder.gep(data, [args[1]]), element.as_pointer())
        value = builder.load(place, align=4 if single else 8)
        return builder.fpext(value, SPANS.llvm) if single else value

    return signature(SPANS, array, types.intp), codegen


@intrinsic
def put_span(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Set `SPAN` numbers of an array of float64, from a place on."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        builder.store(args[2], builder.bitcast(builder.gep(data, [args[1]]), SPANS.llvm.as_pointer()), align=8)
        return context.get_dummy_value()

    return signature(types.void, array, types.intp, SPANS), codegen


@intrinsic
def no_span(typingctx: Any, array: Any) -> Any:
    """Sum of no spans."""
    return signature(SPANS, array), lambda context, builder, sig, args: ir.Constant(SPANS.llvm, None)


def _of_groups(name: str) -> Any:
    @intrinsic
    def function(typingctx: Any, a: Any, b: Any) -> Any:
        return signature(a, a, a), lambda context, builder, sig, args: getattr(builder, name)(*args)

    return function


#: Sum, difference and product of two groups of channels.
total, difference, product = _of_groups("fadd"), _of_groups("fsub"), _of_groups("fmul")


@intrinsic
def no_sum(typingctx: Any, array: Any) -> Any:
    """Sum of none of a tile's vectors."""
    kind, element = (REALS, vector_of(_DOUBLE)) if array == LANE_ARRAY else (CHANNELS, _GROUP_OF_DOUBLES)
    none = ir.Constant(element, 0.0 if element == _DOUBLE else None)
    return signature(kind, array), lambda context, builder, sig, args: none


@intrinsic
def fused(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once where the processor can; then the same everywhere."""
    kind = next((each for each in (REALS, CHANNELS, SPANS) if each in (a, b, c)), types.float64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if not FUSED:
            return builder.fadd(builder.fmul(args[0], args[1]), args[2])
        element = context.get_value_type(kind)
        name = "f64" if element == _DOUBLE else f"v{element.count}f64"
        callee = get_or_insert_function(builder.module, ir.FunctionType(element, [element] * 3), f"llvm.fma.{name}")
        return builder.call(callee, args)

    return signature(kind, kind, kind, kind), codegen


@intrinsic
def sum_of_group(typingctx: Any, value: Any) -> Any:
    """Sum of the numbers of a group, halves first."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        parts = [builder.extract_element(args[0], ir.IntType(32)(k)) for k in range(value.llvm.count)]
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [builder.fadd(parts[k], parts[k + half]) for k in range(half)]
        return parts[0]

    return signature(types.float64, value), codegen


@intrinsic
def numbers_in(typingctx: Any, array: Any) -> Any:
    """Numbers of vectors one after another, `LANES` for each."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = ir.IntType(64)
        made = context.make_array(sig.return_type)(context, builder)
        # How many there are is not known, and not asked for.
        context.populate_array(
            made, data=args[0], shape=[word(2**40)], strides=[word(8)], itemsize=word(8), meminfo=None
        )
        return made._getvalue()

    return signature(types.Array(types.float64, 1, "C"), array), codegen


@intrinsic
def vectors_in(typingctx: Any, array: Any) -> Any:
    """Vectors one after another, of a contiguous array of numbers."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return signature(LANE_ARRAY, array), codegen


@intrinsic
def address_of(typingctx: Any, array: Any) -> Any:
    """Address of a contiguous array's first number, for functions that are compiled apart."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return signature(types.CPointer(types.float64), array), codegen


@intrinsic
def numbers_at(typingctx: Any, address: Any, count: Any) -> Any:
    """Array of so many numbers at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        made = context.make_array(sig.return_type)(context, builder)
        word = ir.IntType(64)(8)
        context.populate_array(made, data=args[0], shape=[args[1]], strides=[word], itemsize=word, meminfo=None)
        return made._getvalue()

    return signature(types.Array(types.float64, 1, "C"), types.CPointer(types.float64), types.int64), codegen


@intrinsic
def as_one(typingctx: Any, record: Any) -> Any:
    """Record of pixels side by side as one of a single pixel, for functions that read none of its vectors."""
    return signature(RecordType(record.record, False), record), lambda context, builder, sig, args: args[0]


def by_width(of_one: Callable[..., Any], of_lanes: Callable[..., Any]) -> Callable[..., Any]:
    """Make one function of two: for records of one pixel, and of pixels side by side."""

    def chosen(*args: Any) -> Any:
        raise NotImplementedError("called by compiled functions alone")

    @overload(chosen, jit_options=_OPTIONS, strict=False)
    def choose(*args: Any) -> Any:
        wide = any(arg == LANE_ARRAY or getattr(arg, "wide", False) for arg in args)
        return of_lanes if wide else of_one

    return chosen


@intrinsic
def put_group(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Set `GROUP` numbers of an array, counted in such groups."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(
            args[2], _address(context, builder, sig.args[0], args[0], args[1], GROUP, _GROUP_OF_DOUBLES), align=8
        )
        return context.get_dummy_value()

    return signature(types.void, array, types.intp, CHANNELS), codegen
