"""Ties evaluated by a small stack machine: any formula and its derivatives, at run time, with nothing to compile."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.bessel_functions import besselj0, besselj1, jinc, jinc_prime
from xfit.engine.math.elementary import power
from xfit.engine.math.error_functions import erfcx, erfcx_prime
from xfit.engine.math.faddeeva import wofz
from xfit.engine.math.gamma_functions import digamma, gamma, lgamma, trigamma
from xfit.engine.math.jit import inner
from xfit.engine.math.records import Integers, Reals, Record

#: Operations of the stack machine: without operand, of one, of two, of three.
OPERATIONS = tuple(
    [
        "const",
        "load",
        "exp",
        "log",
        "sqrt",
        "abs",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "erf",
        "erfc",
        "gamma",
        "loggamma",
        "digamma",
        "trigamma",
        "erfcx",
        "erfcx_prime",
        "besselj0",
        "besselj1",
        "jinc",
        "jinc_prime",
        "sign",
        "heaviside",
        "add",
        "mul",
        "pow",
        "atan2",
        "wofz_real",
        "wofz_imag",
        "wofz_prime_real",
        "wofz_prime_imag",
        "wofz_second_real",
        "wofz_second_imag",
        "min",
        "max",
        "lt",
        "le",
        "gt",
        "ge",
        "eq",
        "ne",
        "select",
    ]
)
CODE = {name: number for number, name in enumerate(OPERATIONS)}
_FIRST_BINARY = CODE["add"]
_SELECT = CODE["select"]
_CONST, _LOAD = CODE["const"], CODE["load"]
_EXP, _LOG, _SQRT, _ABS, _SIN, _COS, _TAN = (CODE[n] for n in ("exp", "log", "sqrt", "abs", "sin", "cos", "tan"))
_ASIN, _ACOS, _ATAN, _SINH, _COSH, _TANH = (CODE[n] for n in ("asin", "acos", "atan", "sinh", "cosh", "tanh"))
_DIGAMMA, _TRIGAMMA, _ERFCX, _ERFCX_PRIME = (CODE[n] for n in ("digamma", "trigamma", "erfcx", "erfcx_prime"))
_BESSELJ0, _BESSELJ1, _JINC, _JINC_PRIME = (CODE[n] for n in ("besselj0", "besselj1", "jinc", "jinc_prime"))
_WOFZ, _LAST_WOFZ = CODE["wofz_real"], CODE["wofz_second_imag"]
_ERF, _ERFC, _GAMMA, _LGAMMA, _SIGN = (CODE[n] for n in ("erf", "erfc", "gamma", "loggamma", "sign"))
_ADD, _MUL, _POW, _ATAN2, _MIN, _MAX = (CODE[n] for n in ("add", "mul", "pow", "atan2", "min", "max"))
_LT, _LE, _GT, _GE, _EQ = (CODE[n] for n in ("lt", "le", "gt", "ge", "eq"))

#: Operands that may lie on the stack at once; `xfit.engine.codegen.tie_compiler` refuses what is deeper.
STACK = 64


class Ties(Record):
    """The ties of a model as arrays.

    A tie may name parameters that are tied themselves, so that a chain of ties is as long as its formulas together.
    Derivatives are those with respect to what a formula names; the chain rule is in the order of the list. A Jacobian
    row of a parameter that is tied has got all that is added to it before it is added, in turn, to the rows of what it
    follows.

    Attributes
    ----------
    tied : int64 (n_tied,)
        Positions of the tied parameters, each after those that it follows.
    span : int64 (n_tied + 1,)
        Where the instructions of each tied parameter's value begin and end.
    row, column : int64 (n_derivatives,)
        Which tied parameter (index into ``tied``) has which parameter (position) in its formula; the last of ``tied``
        come first.
    derivative_span : int64 (n_derivatives + 1,)
        Where the instructions of each derivative begin and end.
    operation, position : int64 (n_instructions,)
        Operation codes and, for "load", the position of the parameter.
    constant : float64 (n_instructions,)
        The numbers of "const".
    """

    tied: Integers
    span: Integers
    row: Integers
    column: Integers
    derivative_span: Integers
    operation: Integers
    position: Integers
    constant: Reals


@inner
def _unary(code: int, a: float) -> float:
    """Apply a function of one operand."""
    if code == _EXP:
        return math.exp(a)
    if code == _LOG:
        return math.log(a) if a > 0 else (-math.inf if a == 0 else math.nan)
    if code == _SQRT:
        return math.sqrt(a) if a >= 0 else math.nan
    if code == _ABS:
        return abs(a)
    if code == _SIN:
        return math.sin(a)
    if code == _COS:
        return math.cos(a)
    if code == _TAN:
        return math.tan(a)
    if code == _ASIN:
        return math.asin(a) if abs(a) <= 1 else math.nan
    if code == _ACOS:
        return math.acos(a) if abs(a) <= 1 else math.nan
    if code == _ATAN:
        return math.atan(a)
    if code == _SINH:
        return math.sinh(a)
    if code == _COSH:
        return math.cosh(a)
    if code == _TANH:
        return math.tanh(a)
    if code == _ERF:
        return math.erf(a)
    if code == _ERFC:
        return math.erfc(a)
    if code == _GAMMA:
        return gamma(a)
    if code == _LGAMMA:
        return lgamma(a)
    if code == _DIGAMMA:
        return digamma(a)
    if code == _TRIGAMMA:
        return trigamma(a)
    if code == _ERFCX:
        return erfcx(a)
    if code == _ERFCX_PRIME:
        return erfcx_prime(a)
    if code == _BESSELJ0:
        return besselj0(a)
    if code == _BESSELJ1:
        return besselj1(a)
    if code == _JINC:
        return jinc(a)
    if code == _JINC_PRIME:
        return jinc_prime(a)
    if code == _SIGN:
        return np.sign(a)
    return 0.5 * np.sign(a) + 0.5


@inner
def _binary(code: int, a: float, b: float) -> float:
    """Apply an operation of two operands; comparisons give 1.0 or 0.0."""
    if code == _ADD:
        return a + b
    if code == _MUL:
        return a * b
    if code == _POW:
        return power(a, b)
    if code == _ATAN2:
        return math.atan2(a, b)
    if code >= _WOFZ and code <= _LAST_WOFZ:
        return wofz(a, b)[code - _WOFZ]
    if code == _MIN:
        return min(a, b)
    if code == _MAX:
        return max(a, b)
    if code == _LT:
        return 1.0 if a < b else 0.0
    if code == _LE:
        return 1.0 if a <= b else 0.0
    if code == _GT:
        return 1.0 if a > b else 0.0
    if code == _GE:
        return 1.0 if a >= b else 0.0
    if code == _EQ:
        return 1.0 if a == b else 0.0
    return 1.0 if a != b else 0.0


@inner
def _run(ties: Ties, start: int, stop: int, q: np.ndarray, stack: np.ndarray) -> float:
    """Run the instructions from ``start`` to ``stop`` on the parameters ``q``."""
    top = 0
    for i in range(start, stop):
        code = ties.operation[i]
        if code == _CONST:
            stack[top] = ties.constant[i]
            top += 1
        elif code == _LOAD:
            stack[top] = q[ties.position[i]]
            top += 1
        elif code < _FIRST_BINARY:
            stack[top - 1] = _unary(code, stack[top - 1])
        elif code < _SELECT:
            top -= 1
            stack[top - 1] = _binary(code, stack[top - 1], stack[top])
        else:
            top -= 2
            stack[top - 1] = stack[top] if stack[top - 1] != 0 else stack[top + 1]
    return stack[0]


@inner
def tie_value(ties: Ties, t: int, q: np.ndarray, stack: np.ndarray) -> float:
    """Value of one tie at the parameters ``q``, tied ones included."""
    return _run(ties, ties.span[t], ties.span[t + 1], q, stack)


@inner
def apply_ties(ties: Ties, q: np.ndarray, stack: np.ndarray) -> None:
    """Set the tied entries of ``q`` from the others, in place, in their order."""
    for t in range(ties.tied.size):
        q[ties.tied[t]] = _run(ties, ties.span[t], ties.span[t + 1], q, stack)


@inner
def tie_derivatives(ties: Ties, q: np.ndarray, derivative: np.ndarray, stack: np.ndarray) -> None:
    """Evaluate the derivative of every tie with respect to each parameter in its formula at ``q``."""
    for d in range(ties.row.size):
        derivative[d] = _run(ties, ties.derivative_span[d], ties.derivative_span[d + 1], q, stack)
