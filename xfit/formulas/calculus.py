"""Derivatives of formulas, and the parameters that they are linear in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from xfit.formulas.gradient import gradient
from xfit.formulas.graph import graph_of, written_out
from xfit.formulas.linearity import linear_names
from xfit.formulas.parser import FormulaError, symbol, to_text
from xfit.formulas.syntax import MAX_SIMPLIFIED, shortened

if TYPE_CHECKING:
    import sympy

#: Parts of a derivative, written out, that an expression may have.
MAX_DERIVATIVE = 20_000


def derivative(expr: sympy.Expr, name: str) -> sympy.Expr:
    """Return the derivative with respect to a name.

    Steps, kinks and conditions have the derivative that they have on either side: no delta functions.

    Raises
    ------
    FormulaError
        Where there is none in closed form (of trigamma), or where it is too long.
    """
    graph, output = graph_of(expr)
    slope = gradient(graph, output, [name])[0]
    if graph.size[slope] > MAX_DERIVATIVE:
        raise FormulaError(
            f"the derivative of {shortened(to_text(expr))!r} with respect to {name!r} has more than {MAX_DERIVATIVE} "
            "parts; write the formula in fewer parts, or split it into several components"
        )
    if graph.suits_sympy(output, MAX_SIMPLIFIED) and graph.suits_sympy(slope, MAX_SIMPLIFIED):
        return _by_sympy(expr, name)
    return written_out(graph, slope)


def _by_sympy(expr: sympy.Expr, name: str) -> sympy.Expr:
    """Derivative of a short expression, simplified as sympy does by itself."""
    import sympy

    # A sign or step is constant almost everywhere: as an opaque constant it has the derivative zero.
    steps = expr.atoms(sympy.Heaviside, sympy.sign)
    frozen = {step: sympy.Dummy(f"step{k}", real=True) for k, step in enumerate(sorted(steps, key=str))}
    absolute = _absolute()
    result = expr.xreplace(frozen).replace(sympy.Abs, absolute).diff(symbol(name)).replace(absolute, sympy.Abs)
    result = result.xreplace({value: key for key, value in frozen.items()})
    result = result.replace(sympy.Heaviside, lambda arg, *_: sympy.Heaviside(arg, sympy.Rational(1, 2)))
    return result.replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))


@lru_cache(maxsize=1)
def _absolute() -> Any:
    """Return a stand-in for the absolute value, with the derivative for real arguments even if sympy is not sure."""
    import sympy

    class Absolute(sympy.Function):
        def fdiff(self, argindex: int = 1) -> Any:
            return sympy.sign(self.args[0])

        def _eval_is_nonnegative(self) -> bool:
            return True

    return Absolute


def linear_parameters(expr: sympy.Expr, candidates: Sequence[str]) -> tuple[str, ...]:
    """Return parameters in which an expression is jointly linear (affine).

    They are taken in order: each that is linear together with all taken before. Of ``a*b*x`` that is ``a`` alone.

    Parameters
    ----------
    expr : sympy.Expr
    candidates : sequence of str
        Names to try, in order.
    """
    return linear_names(*graph_of(expr), candidates)
