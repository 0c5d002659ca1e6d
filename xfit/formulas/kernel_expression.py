"""The expression of a component's kernel: its formula with tables and splines in the place of
the names that stand for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xfit.formulas import parser
from xfit.formulas.kernel_spec import FormulaKernel, SplineSum

if TYPE_CHECKING:
    import sympy


def expression_of(kernel: FormulaKernel) -> sympy.Expr:
    """Parse a kernel's formula, with functions given by tables, and splines, in the place of
    the names that stand for them.
    """
    import sympy

    from xfit.formulas.special_functions import Interpolated

    calls = {}
    for k, lookup in enumerate(kernel.lookups):
        arguments = [parser.parse(text) for text in lookup.arguments]
        zeros = [sympy.Integer(0)] * len(arguments)
        calls[parser.symbol(lookup.name)] = Interpolated(sympy.Integer(k), *zeros, *arguments)
    if kernel.splines is not None:
        calls[parser.symbol(kernel.splines.name)] = _spline_sum(kernel.splines)
    # What is a parameter of the kernel is none of the constants.
    named = tuple(name for name in parser.CONSTANTS if name in (*kernel.coordinates, *kernel.parameters))
    return parser.parse(kernel.expression, named).xreplace(calls)


def _spline_sum(splines: SplineSum) -> sympy.Expr:
    """Write a sum of splines out."""
    import sympy

    from xfit.formulas.special_functions import bspline

    at = parser.parse(splines.argument)
    terms = (
        (parser.symbol(name) if share == 1 else sympy.Float(share) * parser.symbol(name)) * bspline(at - (k - 1))
        for name, row in zip(splines.parameters, splines.shares, strict=True)
        for k, share in enumerate(row)
        if share != 0
    )
    return sympy.Add(*terms)
