"""Derivatives of formulas, and the parameters that they are linear in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from xfit.formula import FormulaError, symbol, to_text

if TYPE_CHECKING:
    import sympy

#: Operations of a second derivative beyond which simplifying it, to see whether it is zero, takes too long.
MAX_OPERATIONS = 300


def derivative(expr: sympy.Expr, name: str) -> sympy.Expr:
    """Return the derivative with respect to a name.

    Steps, kinks and conditions have the derivative that they have on either side: no delta functions.

    Raises
    ------
    FormulaError
        Where there is none in closed form (of trigamma).
    """
    import sympy

    # A sign or step is constant almost everywhere: as an opaque constant it has the derivative zero.
    steps = expr.atoms(sympy.Heaviside, sympy.sign)
    frozen = {step: sympy.Dummy(f"step{k}", real=True) for k, step in enumerate(sorted(steps, key=str))}
    absolute = _absolute()
    result = expr.xreplace(frozen).replace(sympy.Abs, absolute).diff(symbol(name)).replace(absolute, sympy.Abs)
    result = result.xreplace({value: key for key, value in frozen.items()})
    result = result.replace(sympy.Heaviside, lambda arg, *_: sympy.Heaviside(arg, sympy.Rational(1, 2)))
    result = result.replace(sympy.DiracDelta, lambda *_: sympy.Integer(0))
    if result.has(sympy.Derivative, sympy.Subs) or any(a.args[0] not in (0, 1) for a in result.atoms(sympy.polygamma)):
        raise FormulaError(f"no derivative of {to_text(expr)!r} with respect to {name!r} in closed form")
    return result


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
    import sympy

    # Nothing is linear in what decides where a kink or step lies, though derivatives on either side may be constant.
    kinked: list[sympy.Basic] = [c for piecewise in expr.atoms(sympy.Piecewise) for _, c in piecewise.args]
    kinked += expr.atoms(sympy.Abs, sympy.sign, sympy.Heaviside, sympy.Min, sympy.Max)
    excluded = set().union(*(part.free_symbols for part in kinked))
    chosen: list[str] = []
    for name in candidates:
        if symbol(name) in excluded:
            continue
        first = expr.diff(symbol(name))
        if all(_vanishes(first, other) for other in [*chosen, name]):
            chosen.append(name)
    return tuple(chosen)


def _vanishes(first: sympy.Expr, name: str) -> bool:
    """Whether a first derivative does not depend on a name."""
    import sympy

    if symbol(name) not in first.free_symbols:
        return True
    second = first.diff(symbol(name))
    if second == 0:
        return True
    if _differs_from_zero(second) or second.count_ops() > MAX_OPERATIONS:
        return False
    return bool(sympy.simplify(second) == 0)


def _differs_from_zero(expr: sympy.Expr) -> bool:
    """Whether an expression is clearly not zero at some point: spares the long way of simplifying it."""
    import sympy

    # Floats leave rounding errors where exact numbers cancel.
    floor = 1e-6 if expr.has(sympy.Float) else 1e-60
    for seed in (37, 71, 113):
        point = {s: sympy.Rational(seed + 19 * k, 100) for k, s in enumerate(sorted(expr.free_symbols, key=str))}
        value = expr.evalf(15, subs=point)
        if value.is_Float and value.is_finite and abs(value) > floor:
            return True
    return False
