"""Sympy expressions printed as Python source that numba compiles to straight-line, vectorisable code."""

from __future__ import annotations

from typing import Any

import sympy
from sympy.printing.precedence import PRECEDENCE, precedence
from sympy.printing.str import StrPrinter

#: How whitelisted functions are spelled in kernel source, where the name differs or lives in `math`.
FUNCTIONS = {
    "exp": "exp",
    "log": "log",
    "sin": "sin",
    "cos": "cos",
    "tan": "math.tan",
    "asin": "math.asin",
    "acos": "math.acos",
    "atan": "atan",
    "atan2": "math.atan2",
    "sinh": "math.sinh",
    "cosh": "math.cosh",
    "tanh": "tanh",
    "loggamma": "lgamma",
    "Abs": "abs",
    "Min": "minimum",
    "Max": "maximum",
    "SizeLogarithm": "log_of_size",
    "Parity": "parity",
}

#: What `xfit.engine.math.faddeeva.wofz` returns, in this order.
PARTS = ("wofz_real", "wofz_imag", "wofz_prime_real", "wofz_prime_imag", "wofz_second_real", "wofz_second_imag")


class Faddeeva(sympy.Function):
    """The call of `xfit.engine.math.faddeeva.wofz`, which gives six numbers, as one expression."""

    nargs = 2
    is_real = True


class Found(sympy.Function):
    """The call of `xfit.engine.math.spline_lookup`, which gives a value and its slopes:
    number of the table, arguments.
    """

    is_real = True


class Entry(sympy.Function):
    """One of several numbers that a call gives, and its position."""

    nargs = 2
    is_real = True


class SizeLogarithm(sympy.Function):
    """The call of `xfit.engine.math.powers.log_of_size`."""

    nargs = 1
    is_real = True


class Parity(sympy.Function):
    """The call of `xfit.engine.math.powers.parity`."""

    nargs = 1
    is_real = True


class KernelPrinter(StrPrinter):
    """Prints products, integer powers and selects so that no call or branch is left where arithmetic does."""

    def _print_Float(self, expr: Any) -> str:
        return repr(float(expr))

    def _print_Integer(self, expr: Any) -> str:
        return f"{int(expr)}.0" if int(expr) >= 0 else f"({int(expr)}.0)"

    def _print_Rational(self, expr: Any) -> str:
        return f"({expr.p}.0/{expr.q}.0)"

    def _print_Half(self, expr: Any) -> str:
        return "0.5"

    def _print_Pi(self, expr: Any) -> str:
        return repr(float(sympy.pi))

    def _print_Exp1(self, expr: Any) -> str:
        return repr(float(sympy.E))

    def _print_NaN(self, expr: Any) -> str:
        return "math.nan"

    def _print_Infinity(self, expr: Any) -> str:
        return "math.inf"

    def _print_NegativeInfinity(self, expr: Any) -> str:
        return "(-math.inf)"

    def _print_Pow(self, expr: Any, rational: bool = False) -> str:
        base, exponent = expr.args
        if exponent.is_Integer:
            return self._integer_power(base, int(exponent))
        if exponent == sympy.S.Half:
            return f"math.sqrt({self._print(base)})"
        if exponent == -sympy.S.Half:
            return f"(1.0/math.sqrt({self._print(base)}))"
        if base == sympy.E:
            return f"exp({self._print(exponent)})"
        return f"power({self._print(base)}, {self._print(exponent)})"

    def _integer_power(self, base: Any, exponent: int) -> str:
        code = self.parenthesize(base, PRECEDENCE["Pow"], strict=True)
        if exponent == 1:
            return code
        if exponent < 0:
            return f"(1.0/{self._integer_power(base, -exponent)})"
        if exponent == 0:
            return "1.0"
        # numba's own power is compiled once a process, with the options of whoever comes first: products have ours.
        half = f"square({self._integer_power(base, exponent // 2)})" if exponent > 3 else f"square({code})"
        return half if exponent % 2 == 0 else f"({code}*{half})"

    def _print_Mul(self, expr: Any) -> str:
        numerator: list[str] = []
        denominator: list[str] = []
        for arg in expr.args:
            if arg.is_Pow and arg.args[1].is_Integer and int(arg.args[1]) < 0:
                denominator.append(self._integer_power(arg.args[0], -int(arg.args[1])))
            elif arg == -1 and len(expr.args) > 1:
                numerator.insert(0, "-1.0")
            else:
                numerator.append(self.parenthesize(arg, PRECEDENCE["Mul"]))
        top = "*".join(numerator) or "1.0"
        if not denominator:
            return top if not top.startswith("-1.0*") else f"(-({top[5:]}))"
        if top.startswith("-1.0*"):
            top = f"(-({top[5:]}))"
        return f"({top})/({'*'.join(denominator)})"

    def _print_Add(self, expr: Any, order: object = None) -> str:
        return " + ".join(self.parenthesize(arg, PRECEDENCE["Add"]) for arg in expr.args)

    def _print_Piecewise(self, expr: Any) -> str:
        code = "math.nan"
        for value, condition in reversed(expr.args):
            if condition == sympy.true:
                code = self._print(value)
            else:
                code = f"select({self._print(condition)}, {self._print(value)}, {code})"
        return code

    def _print_Relational(self, expr: Any) -> str:
        return f"({self._print(expr.lhs)} {expr.rel_op} {self._print(expr.rhs)})"

    def _print_Heaviside(self, expr: Any) -> str:
        arg = self._print(expr.args[0])
        return f"heaviside({arg})"

    def _print_sign(self, expr: Any) -> str:
        return f"sign({self._print(expr.args[0])})"

    def _print_Symbol(self, expr: Any) -> str:
        return str(expr.name)

    def _print_Function(self, expr: Any) -> str:
        name = type(expr).__name__
        args = ", ".join(self._print(arg) for arg in expr.args)
        return f"{FUNCTIONS.get(name, name)}({args})"

    def _print_Faddeeva(self, expr: Any) -> str:
        return f"wofz({self._print(expr.args[0])}, {self._print(expr.args[1])})"

    def _print_Found(self, expr: Any) -> str:
        number, *args = expr.args
        return f"lookup{len(args)}({', '.join(map(self._print, args))}, *TABLE_{int(number)})"

    def _print_Entry(self, expr: Any) -> str:
        return f"{self._print(expr.args[0])}[{int(expr.args[1])}]"

    def _print_polygamma(self, expr: Any) -> str:
        name = ("digamma", "trigamma")[int(expr.args[0])]
        return f"{name}({self._print(expr.args[1])})"

    _print_exp = _print_log = _print_Function

    def _print_MinMaxBase(self, expr: Any) -> str:
        args = [self._print(arg) for arg in expr.args]
        code = args[0]
        for arg in args[1:]:
            code = f"{FUNCTIONS[type(expr).__name__]}({code}, {arg})"
        return code

    _print_Min = _print_Max = _print_MinMaxBase

    def parenthesize(self, item: Any, level: int, strict: bool = False) -> str:
        """Print ``item`` in parentheses where its own operators bind less tightly than ``level``."""
        code = self._print(item)
        if precedence(item) < level or (not strict and precedence(item) <= level) or code.startswith("-"):
            return f"({code})"
        return str(code)
