"""What a component's kernel is made from, a formula or a Python function, compared by what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import Any

from xfit.interpolation import Table


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
        Formula of what the sum is taken at, in steps of the knots: the splines are those around -1, 0, 1, ..., each four steps wide.
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
        As `xfit.formula.parse` reads it.
    coordinates, parameters : tuple of str
        Names in the formula, in the engine's order.
    constants : tuple of str
        Parameters that are seldom fitted.
    summed : str or None
        Parameter of which the formula knows nothing: it multiplies the sum of the formula over all channels of larger x, which is
        added. The formula must be in proportion to one of its parameters.
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


@dataclass(frozen=True, eq=False)
class FunctionKernel:
    """A kernel made from a Python function that numba can compile.

    Kernels are equal if their functions do the same: copies that workers unpickle are compiled once, not once a task.

    Attributes
    ----------
    function : callable
        Of coordinates, then parameters; numbers in, a number out.
    gradient : callable or None
        Of the same arguments; a tuple of derivatives with respect to the parameters. None: central differences.
    coordinates, parameters : tuple of str
        Names of the arguments.
    """

    function: Callable[..., float]
    gradient: Callable[..., tuple[float, ...]] | None
    coordinates: tuple[str, ...]
    parameters: tuple[str, ...]

    def _content(self) -> tuple[object, ...]:
        gradient = None if self.gradient is None else function_content(self.gradient)
        return (function_content(self.function), gradient, self.coordinates, self.parameters)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FunctionKernel):
            return NotImplemented
        return self._content() == other._content()

    def __hash__(self) -> int:
        return hash((self.function.__name__, self.coordinates, self.parameters))


def function_content(function: Callable[..., Any], above: tuple[object, ...] = ()) -> tuple[object, ...]:
    """Return what a function does, as far as it can be told: its code and the values that it refers to.

    Parameters
    ----------
    function : callable
        A Python function, or what numba made of one.
    above : tuple
        Functions that refer to it, for those that call themselves.

    Returns
    -------
    tuple
        Equal for functions that do the same; numbers, text and functions that the code names are part of it, other
        objects by their identity.
    """
    function = getattr(function, "py_func", function)
    code = getattr(function, "__code__", None)
    if code is None or function in above:
        return (getattr(function, "__qualname__", id(function)),)

    def known(value: object) -> object:
        if isinstance(value, bool | int | float | str | bytes | type(None)):
            return (type(value).__name__, repr(value))
        if isinstance(value, ModuleType):
            return value.__name__
        if callable(value) and hasattr(getattr(value, "py_func", value), "__code__"):
            return function_content(value, (*above, function))
        return id(value)

    constants = tuple(repr(c.co_code) if isinstance(c, CodeType) else repr(c) for c in code.co_consts)
    named = tuple((n, known(function.__globals__[n])) for n in code.co_names if n in function.__globals__)
    closed = tuple(known(cell.cell_contents) for cell in function.__closure__ or ())
    return (code.co_code, constants, code.co_names, repr(function.__defaults__), named, closed)
