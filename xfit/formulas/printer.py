"""Sympy expressions printed as the text that `xfit.formulas.parser.parse` reads back."""

from __future__ import annotations

import keyword
import unicodedata
from typing import Any

import sympy
from sympy.printing.str import StrPrinter

from xfit.formulas.syntax import MAX_INTEGER

_NAMES = {"Abs": "abs", "Min": "minimum", "Max": "maximum", "Heaviside": "heaviside"}


class FormulaPrinter(StrPrinter):
    """Prints with the names of the whitelist, floats to the last digit, component names in backticks where needed."""

    def _print_Symbol(self, expr: Any) -> str:
        component, dot, parameter = str(expr.name).rpartition(".")
        plain = component.isidentifier() and not keyword.iskeyword(component) and not component.startswith("__")
        if dot and not (plain and unicodedata.normalize("NFKC", component) == component):
            return f"`{component}`.{parameter}"
        return str(expr.name)

    def _print_Float(self, expr: Any) -> str:
        return repr(float(expr))

    def _print_Integer(self, expr: Any) -> str:
        # Larger integers than a formula may contain come from products and gamma().
        return str(super()._print_Integer(expr)) if abs(expr.p) <= MAX_INTEGER else repr(float(expr))

    def _print_Rational(self, expr: Any) -> str:
        if max(abs(expr.p), expr.q) <= MAX_INTEGER:
            return str(super()._print_Rational(expr))
        return repr(float(expr))

    def _print_Exp1(self, expr: Any) -> str:
        # "E" may be a parameter.
        return "exp(1)"

    def _print_Piecewise(self, expr: Any) -> str:
        *branches, (last, _) = expr.args
        code = str(self._print(last))
        for value, condition in reversed(branches):
            code = self._where(condition, str(self._print(value)), code)
        return code

    def _where(self, condition: Any, one: str, other: str) -> str:
        """Two branches; sympy joins the conditions of branches that are equal."""
        if isinstance(condition, sympy.Or):
            for part in condition.args:
                other = self._where(part, one, other)
            return other
        if isinstance(condition, sympy.And):
            for part in condition.args:
                one = self._where(part, one, other)
            return one
        if isinstance(condition, sympy.Not):
            return self._where(condition.args[0], other, one)
        return f"where({self._print(condition)}, {one}, {other})"

    def _print_Relational(self, expr: Any) -> str:
        return f"{self._print(expr.lhs)} {expr.rel_op} {self._print(expr.rhs)}"

    def _print_Heaviside(self, expr: Any) -> str:
        return f"heaviside({self._print(expr.args[0])})"

    def _print_Function(self, expr: Any) -> str:
        name = type(expr).__name__
        args = ", ".join(str(self._print(arg)) for arg in expr.args)
        return f"{_NAMES.get(name, name)}({args})"

    def _print_LatticeOp(self, expr: Any) -> str:
        args = [str(self._print(arg)) for arg in expr.args]
        code = args[-1]
        for arg in reversed(args[:-1]):
            code = f"{_NAMES[type(expr).__name__]}({arg}, {code})"
        return code

    _print_Min = _print_Max = _print_LatticeOp

    def _print_polygamma(self, expr: Any) -> str:
        name = ("digamma", "trigamma")[int(expr.args[0])]
        return f"{name}({self._print(expr.args[1])})"
