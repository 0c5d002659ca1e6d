"""Several float64 (`LANES`) as one value of a vector unit: a number of each of as many pixels.

Arithmetic, comparisons and `select` are written as for a number, so that one text serves one pixel and eight: what is
compiled depends on the types alone. A number next to a vector stands for as many equal ones.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.datamodel import models, register_default
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_cast, overload

from xfit.engine.math.layout import LANES


class _Lanes(types.Type):
    """Type of `LANES` elements."""

    def __init__(self, name: str, element: types.Type) -> None:
        self.element = element
        super().__init__(name=f"xfit.{name}")


class _Reals(_Lanes):
    """Type of `LANES` float64."""


class _Integers(_Lanes):
    """Type of `LANES` int64."""


class _Conditions(_Lanes):
    """Type of `LANES` truth values."""


REALS = _Reals("reals", types.float64)
INTEGERS = _Integers("integers", types.int64)
CONDITIONS = _Conditions("conditions", types.boolean)

#: How functions that are both for numbers and for vectors are compiled.
_INLINED = {"error_model": "numpy", "forceinline": True, "nogil": True}

_DOUBLE, _INT, _BIT = ir.DoubleType(), ir.IntType(64), ir.IntType(1)
_ELEMENT = {REALS: _DOUBLE, INTEGERS: _INT, CONDITIONS: _BIT}


def vector_of(element: ir.Type) -> ir.Type:
    """LLVM's type of `LANES` elements; of one alone the element's, for vectors of one are not translated everywhere."""
    return ir.VectorType(element, LANES) if LANES > 1 else element


def _register(kind: type[_Lanes], element: ir.Type) -> None:
    @register_default(kind)
    class Model(models.PrimitiveModel):
        def __init__(self, dmm: Any, fe_type: Any) -> None:
            super().__init__(dmm, fe_type, vector_of(element))


_register(_Reals, _DOUBLE)
_register(_Integers, _INT)
_register(_Conditions, _BIT)


def _splat(builder: Any, value: Any, element: ir.Type) -> Any:
    """Vector of equal elements."""
    if LANES == 1:
        return value
    one = builder.insert_element(ir.Constant(ir.VectorType(element, LANES), ir.Undefined), value, ir.IntType(32)(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(ir.VectorType(element, LANES), ir.Undefined), zeros)


@lower_cast(types.float64, REALS)
@lower_cast(types.int64, INTEGERS)
def _cast(context: Any, builder: Any, fromty: Any, toty: Any, value: Any) -> Any:
    return _splat(builder, value, _ELEMENT[toty])


def _operator(function: Callable[..., Any], kind: _Lanes, result: _Lanes, emit: Callable[..., Any]) -> None:
    """Define a binary operator for two vectors and for a vector and a number."""
    numbers = types.Number if kind is not CONDITIONS else types.Boolean

    @infer_global(function)
    class Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) != 2 or kind not in args or kws:
                return None
            if all(arg == kind or isinstance(arg, numbers) for arg in args):
                return signature(result, *(arg if arg == kind else kind.element for arg in args))
            return None

    @lower_builtin(function, kind, kind)
    @lower_builtin(function, kind, kind.element)
    @lower_builtin(function, kind.element, kind)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = [
            arg
            if given == kind
            else _splat(builder, arg if kind is not CONDITIONS else builder.trunc(arg, _BIT), _ELEMENT[kind])
            for arg, given in zip(args, sig.args, strict=True)
        ]
        return emit(builder, *wide)


def _compare(predicate: str) -> Callable[..., Any]:
    """Comparison that is false for NaN, but for "!=", which is true."""
    if predicate == "!=":
        return lambda builder, a, b: builder.fcmp_unordered("!=", a, b)
    return lambda builder, a, b: builder.fcmp_ordered(predicate, a, b)


for _function, _emit in (
    (operator.add, lambda b, x, y: b.fadd(x, y)),
    (operator.iadd, lambda b, x, y: b.fadd(x, y)),
    (operator.sub, lambda b, x, y: b.fsub(x, y)),
    (operator.isub, lambda b, x, y: b.fsub(x, y)),
    (operator.mul, lambda b, x, y: b.fmul(x, y)),
    (operator.imul, lambda b, x, y: b.fmul(x, y)),
    (operator.truediv, lambda b, x, y: b.fdiv(x, y)),
    (operator.itruediv, lambda b, x, y: b.fdiv(x, y)),
):
    _operator(_function, REALS, REALS, _emit)
for _function, _predicate in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _operator(_function, REALS, CONDITIONS, _compare(_predicate))
for _function, _emit in (
    (operator.add, lambda b, x, y: b.add(x, y)),
    (operator.sub, lambda b, x, y: b.sub(x, y)),
    (operator.and_, lambda b, x, y: b.and_(x, y)),
    (operator.or_, lambda b, x, y: b.or_(x, y)),
    (operator.xor, lambda b, x, y: b.xor(x, y)),
    (operator.lshift, lambda b, x, y: b.shl(x, y)),
    (operator.rshift, lambda b, x, y: b.ashr(x, y)),
):
    _operator(_function, INTEGERS, INTEGERS, _emit)
for _function, _predicate in ((operator.eq, "=="), (operator.ne, "!=")):
    _operator(_function, INTEGERS, CONDITIONS, lambda b, x, y, p=_predicate: b.icmp_signed(p, x, y))
for _function, _emit in (
    (operator.and_, lambda b, x, y: b.and_(x, y)),
    (operator.or_, lambda b, x, y: b.or_(x, y)),
    (operator.xor, lambda b, x, y: b.xor(x, y)),
):
    _operator(_function, CONDITIONS, CONDITIONS, _emit)


@infer_global(operator.neg)
class _NegativeTemplate(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        return signature(REALS, REALS) if tuple(args) == (REALS,) else None


@lower_builtin(operator.neg, REALS)
def _negative(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.fneg(args[0])


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Address of vector ``index`` of a flat array or a C pointer."""
    if isinstance(array_type, types.Array):
        array = context.make_array(array_type)(context, builder, array).data
    offset = builder.mul(index, ir.Constant(index.type, LANES))
    return builder.bitcast(builder.gep(array, [offset]), vector_of(_DOUBLE).as_pointer())


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """Vector ``index`` of a contiguous float64 array (or pointer), as if it had shape (any, LANES)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, sig.args[0], *args), align=8)

    return signature(REALS, array, types.intp), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Set vector ``index`` of a contiguous float64 array (or pointer)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, sig.args[0], args[0], args[1]), align=8)
        return context.get_dummy_value()

    return signature(types.void, array, types.intp, REALS), codegen


@intrinsic
def _choose(typingctx: Any, condition: Any, yes: Any, no: Any) -> Any:
    """Elementwise choice between two vectors."""
    kind = INTEGERS if {yes, no} <= {INTEGERS, types.int64} else REALS

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return signature(kind, CONDITIONS, kind, kind), codegen


def select(condition: Any, yes: Any, no: Any) -> Any:
    """Choose between two values that are both computed, so that no branch is left."""
    return yes if condition else no


@overload(select, jit_options=_INLINED, strict=False)
def _select(condition: Any, yes: Any, no: Any) -> Any:
    if condition == INTEGERS:
        return lambda condition, yes, no: select(_nonzero(condition), yes, no)
    if condition == CONDITIONS:
        whole = all(isinstance(value, types.Integer | _Integers) for value in (yes, no))
        wide = integers if whole else reals
        return lambda condition, yes, no: _choose(condition, wide(yes), wide(no))
    if REALS in (yes, no):
        # One condition for all, such as one on a coordinate.
        return lambda condition, yes, no: reals(yes) if condition else reals(no)
    return lambda condition, yes, no: yes if condition else no


def negation(condition: Any) -> Any:
    """Opposite of a condition."""
    return not condition


@overload(negation, jit_options=_INLINED, strict=False)
def _negation(condition: Any) -> Any:
    if condition == CONDITIONS:
        return lambda condition: condition ^ True
    return lambda condition: not condition


def bits_of(x: Any) -> Any:
    """Bits of float64 as int64."""
    return np.float64(x).view(np.int64)


@overload(bits_of, jit_options=_INLINED, strict=False)
def _bits_of(x: Any) -> Any:
    if x == REALS:
        return lambda x: _reinterpret(x)
    return lambda x: np.float64(x).view(np.int64)


def from_bits(bits: Any) -> Any:
    """Float64 of the given bits."""
    return np.int64(bits).view(np.float64)


@overload(from_bits, jit_options=_INLINED, strict=False)
def _from_bits(bits: Any) -> Any:
    if bits == INTEGERS:
        return lambda bits: _reinterpret(bits)
    return lambda bits: np.int64(bits).view(np.float64)


@intrinsic
def reals(typingctx: Any, value: Any) -> Any:
    """Vector of equal numbers, or a vector as it is."""
    return signature(REALS, REALS), lambda context, builder, sig, args: args[0]


@intrinsic
def integers(typingctx: Any, value: Any) -> Any:
    """Vector of equal integers, or a vector as it is."""
    return signature(INTEGERS, INTEGERS), lambda context, builder, sig, args: args[0]


@intrinsic
def _nonzero(typingctx: Any, value: Any) -> Any:
    """Where integers are not zero."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.icmp_signed("!=", args[0], _splat(builder, ir.Constant(_INT, 0), _INT))

    return signature(CONDITIONS, INTEGERS), codegen


@intrinsic
def any_lane(typingctx: Any, condition: Any) -> Any:
    """Whether a condition holds anywhere."""
    if condition == types.boolean:
        return signature(types.boolean, types.boolean), lambda context, builder, sig, args: args[0]

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return signature(types.boolean, CONDITIONS), codegen


@intrinsic
def _reinterpret(typingctx: Any, value: Any) -> Any:
    """Bits of reals as integers, and back."""
    target = INTEGERS if value == REALS else REALS

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], vector_of(_ELEMENT[target]))

    return signature(target, value), codegen


@intrinsic
def lane_of(typingctx: Any, value: Any, index: Any) -> Any:
    """One element."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], args[1]) if LANES > 1 else args[0]

    return signature(types.float64, REALS, types.int64), codegen


@intrinsic
def with_lane(typingctx: Any, value: Any, index: Any, element: Any) -> Any:
    """Vector with one element replaced."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.insert_element(args[0], args[2], args[1]) if LANES > 1 else args[2]

    return signature(REALS, REALS, types.int64, types.float64), codegen


def _vector_intrinsic(name: str) -> Any:
    @intrinsic
    def function(typingctx: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind, width = vector_of(_DOUBLE), f"v{LANES}" if LANES > 1 else ""
            callee = get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), f"{name}.{width}f64")
            return builder.call(callee, args)

        return signature(REALS, REALS), codegen

    return function


_sqrt, _fabs, _floor, _rint = (_vector_intrinsic(f"llvm.{name}") for name in ("sqrt", "fabs", "floor", "rint"))


@overload(math.sqrt, strict=False)
def _overload_sqrt(x: Any) -> Any:
    return (lambda x: _sqrt(x)) if x == REALS else None


@overload(abs, strict=False)
def _overload_abs(x: Any) -> Any:
    return (lambda x: _fabs(x)) if x == REALS else None


@overload(np.floor, strict=False)
def _overload_floor(x: Any) -> Any:
    return (lambda x: _floor(x)) if x == REALS else None


@overload(np.rint, strict=False)
def _overload_rint(x: Any) -> Any:
    return (lambda x: _rint(x)) if x == REALS else None


@overload(np.sign, strict=False)
def _overload_sign(x: Any) -> Any:
    return (lambda x: select(x > 0.0, 1.0, select(x < 0.0, -1.0, x))) if x == REALS else None


def _elementwise(function: Any) -> Any:
    def apply(x):  # type: ignore[no-untyped-def]
        for lane in range(LANES):
            x = with_lane(x, lane, function(lane_of(x, lane)))
        return x

    return apply


def _extend(function: Callable[[float], float]) -> None:
    """Let a function of the standard library work on vectors, element by element."""

    @overload(function, strict=False)
    def implement(x: Any) -> Any:
        return _elementwise(function) if x == REALS else None


for _scalar in (math.tan, math.asin, math.acos, math.sinh, math.cosh):
    _extend(_scalar)


@overload(math.atan2, strict=False)
def _overload_atan2(y: Any, x: Any) -> Any:
    if REALS not in (y, x):
        return None

    def apply(y, x):  # type: ignore[no-untyped-def]
        top, bottom = reals(y), reals(x)
        for lane in range(LANES):
            top = with_lane(top, lane, math.atan2(lane_of(top, lane), lane_of(bottom, lane)))
        return top

    return apply
