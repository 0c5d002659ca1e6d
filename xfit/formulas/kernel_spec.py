"""What a component's kernel is made from where that is a formula."""

from __future__ import annotations

from dataclasses import dataclass

from xfit.formulas.spline_table import Table


@dataclass(frozen=True)
class Lookup:
    """A name in a formula that stands for a function given by a table.

    Attributes
    ----------
    name : str
        The name.
    table : Table
        The function.
    arguments : tuple of str
        Formulas of what it is taken at.
    """

    name: str
    table: Table
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class SplineSum:
    """A name in a formula that stands for a sum of cubic splines, in which every parameter has shares.

    Attributes
    ----------
    name : str
        The name.
    argument : str
        Formula of what the sum is taken at, in steps of the knots: the splines are those around -1, 0, 1, ..., each
        four steps wide.
    parameters : tuple of str
        What is multiplied with the splines.
    shares : tuple of tuple of float
        Of each parameter in each spline.
    """

    name: str
    argument: str
    parameters: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class FormulaKernel:
    """A kernel made from a formula.

    Attributes
    ----------
    expression : str
        As `xfit.formulas.parser.parse` reads it.
    coordinates, parameters : tuple of str
        Names in the formula, in the engine's order.
    constants : tuple of str
        Parameters that are seldom fitted.
    summed : str or None
        Parameter of which the formula knows nothing: it multiplies the sum of the formula over all channels of larger
        x, which is added. The formula must be in proportion to one of its parameters.
    lookups : tuple of Lookup
        Names in the formula that stand for functions given by tables.
    splines : SplineSum or None
        A name in the formula that stands for a sum of splines.
    """

    expression: str
    coordinates: tuple[str, ...]
    parameters: tuple[str, ...]
    constants: tuple[str, ...] = ()
    summed: str | None = None
    lookups: tuple[Lookup, ...] = ()
    splines: SplineSum | None = None
