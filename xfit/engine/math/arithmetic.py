"""What vectorising functions are made of: how they are compiled, bits of numbers, exact sums, polynomials, 2**k."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from xfit.engine.math.jit import compiled_with_callers
from xfit.engine.math.vector import bits_of as bits
from xfit.engine.math.vector import from_bits, negation, select

_F = TypeVar("_F", bound=Callable[..., Any])

#: 1.5 * 2**52: adding it rounds to an integer, which then stands in two's complement in the lowest bits of the sum.
ROUND = 6755399441055744.0
MANTISSA = 0x000FFFFFFFFFFFFF
MAGNITUDE = 0x7FFFFFFFFFFFFFFF
SIGN = -0x8000000000000000
#: Keeps 21 of the 53 digits, so that the product of two numbers cut by it is exact.
_UPPER_HALF = -0x100000000

LOG2E = 1.4426950408889634
LN2_HI, LN2_LO = 6.93147180369123816490e-01, 1.90821492927058770002e-10

# exp(r) = 1 + r + r^2 q(r) for |r| <= ln(2)/2, relative error 1e-17.
_Q0, _Q1, _Q2 = 0.5000000000000011, 0.16666666666666408, 0.04166666666652946
_Q3, _Q4, _Q5 = 0.008333333333497636, 0.001388888894386997, 0.00019841269500737256
_Q6, _Q7, _Q8, _Q9 = 2.4801492803272323e-05, 2.755759063238188e-06, 2.763036787113704e-07, 2.499901342378408e-08


class _Selects(ast.NodeTransformer):
    """Turns conditional expressions into calls of `select`, and ``not`` into `negation`,
    which serve vectors as well.
    """

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        return ast.Call(ast.Name("select", ast.Load()), [node.test, node.body, node.orelse], [])

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return ast.Call(ast.Name("negation", ast.Load()), [node.operand], []) if isinstance(node.op, ast.Not) else node


@lru_cache(maxsize=1)
def _definitions(file: str) -> dict[str, ast.FunctionDef]:
    """Functions of a module, without their decorators; read once, for `inspect.getsource` would
    take a tenth of `import xfit`.
    """
    found = [each for each in ast.parse("".join(linecache.getlines(file))).body if isinstance(each, ast.FunctionDef)]
    for definition in found:
        definition.decorator_list = []
    return {definition.name: definition for definition in found}


def vectorisable(function: _F) -> _F:
    """Compile a function, for numbers and for vectors of them, to be inlined in its caller's loop.

    Inlining is forced, for LLVM finds the longer functions too large for it and a loop with a call does not vectorise.
    The fastmath flags are given, for numba would otherwise take over those of whichever caller is compiled first, and
    reordered sums destroy the reductions of the argument.
    """
    definition = _definitions(function.__code__.co_filename)[function.__name__]
    factory = ast.parse(f"def factory(select, negation):\n    return {function.__name__}")
    factory.body[0].body.insert(0, _Selects().visit(definition))  # type: ignore[attr-defined]
    namespace: dict[str, Any] = {}
    code = compile(ast.fix_missing_locations(factory), function.__code__.co_filename, "exec")
    exec(code, function.__globals__, namespace)
    rewritten = namespace["factory"](select, negation)
    compiled: _F = compiled_with_callers(rewritten, error_model="numpy", fastmath={"contract"}, forceinline=True)
    return compiled


@vectorisable
def short(x: float) -> float:
    """Cut a number to its first 21 binary digits."""
    return from_bits(bits(x) & _UPPER_HALF)


@vectorisable
def two_sum(a: float, b: float) -> tuple[float, float]:
    """Sum of a and b and its rounding error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@vectorisable
def expm1_reduced(r: float) -> float:
    """exp(r) - 1 for |r| <= ln(2)/2."""
    r2 = r * r
    r4 = r2 * r2
    low = (_Q0 + r * _Q1) + r2 * (_Q2 + r * _Q3)
    high = (_Q4 + r * _Q5) + r2 * (_Q6 + r * _Q7) + r4 * (_Q8 + r * _Q9)
    return r + r2 * (low + r4 * high)


@vectorisable
def scaled(p: float, shifted: float, grows: bool) -> float:
    """Multiply p by 2**k for k in -1075..1024, where shifted = k + ROUND and ``grows`` says that k is not negative.

    2**k itself may be no normal number: what is missing is multiplied in last, so that a subnormal result is rounded
    once and overflow happens where it must.
    """
    bias = 1022 if grows else 1087
    rest = 2.0 if grows else 5.421010862427522e-20  # 2**-64
    return p * from_bits((bits(shifted) + bias) << 52) * rest


@vectorisable
def cubic(x: float, x2: float, c0: float, c1: float, c2: float, c3: float) -> float:
    """Polynomial of third degree, given x and its square: the piece that longer ones are put together from (Estrin)."""
    return (c0 + x * c1) + x2 * (c2 + x * c3)
