"""A Python function of arrays to a formula, by calling it with names instead of numbers."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xfit.formulas import parser

#: What NumPy's and SciPy's functions of arrays are called in formulas; {} stand for their arguments.
_FUNCTIONS = {
    "add": "({} + {})",
    "subtract": "({} - {})",
    "multiply": "({}*{})",
    "divide": "({}/{})",
    "negative": "(-{})",
    "positive": "{}",
    "absolute": "abs({})",
    "fabs": "abs({})",
    "square": "({}**2)",
    "reciprocal": "(1/{})",
    "exp2": "(2**{})",
    "deg2rad": f"({{}}*{math.pi / 180!r})",
    "radians": f"({{}}*{math.pi / 180!r})",
    "rad2deg": f"({{}}*{180 / math.pi!r})",
    "degrees": f"({{}}*{180 / math.pi!r})",
    "gammaln": "loggamma({})",
    "psi": "digamma({})",
    "j0": "besselj0({})",
    "j1": "besselj1({})",
    "voigt_profile": "voigt({}, {}, {})",
    "arctan2": "atan2({}, {})",
    "fmin": "minimum({}, {})",
    "fmax": "maximum({}, {})",
    **{name: f"{name}({{}}, {{}})" for name in ("minimum", "maximum")},
    **{
        name: f"{name}({{}})"
        for name in ("exp", "log", "log2", "log10", "sqrt", "cbrt", "sin", "cos", "tan", "sinh", "cosh", "tanh")
    },
    **{name: f"{name}({{}})" for name in ("sign", "erf", "erfc", "erfcx", "gamma", "arcsin", "arccos", "arctan")},
}

_COMPARISONS = {
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
}


class _NotAFormulaError(TypeError):
    """What the function does with a name has no place in a formula."""


def traced_formula(function: Callable[..., Any], coordinates: Sequence[str], parameters: Sequence[str]) -> str | None:
    """Formula of a function, found by calling it once.

    Parameters
    ----------
    function : callable
        ``f(x, *parameters)`` or ``f((x0, x1), *parameters)`` of arithmetic, NumPy's and SciPy's functions of arrays,
        and `numpy.where`.
    coordinates, parameters : sequence of str
        What they are called in the formula.

    Returns
    -------
    str or None
        None where the function does something else, such as deciding by a value. That the formula has the function's
        values is for the caller to check: a function may look at what it is given.
    """
    x = tuple(_Traced(name) for name in coordinates)
    try:
        found = function(x[0] if len(x) == 1 else x, *(_Traced(name) for name in parameters))
        if not isinstance(found, _Traced):
            return None
        named = tuple(name for name in parser.CONSTANTS if name in (*coordinates, *parameters))
        used = parser.names(found.text, named)
        parser.parse(found.text, named)
    except Exception:
        # Whatever a user's function does not take names for; it is then compiled as it is.
        return None
    return found.text if set(used) == {*coordinates, *parameters} else None


class _Traced:
    """A name, or a formula of names, that stands for an array."""

    def __init__(self, text: str, relation: str | None = None) -> None:
        self.relation = relation
        self._text = text

    @property
    def text(self) -> str:
        """The formula; of a comparison 1 where it holds and 0 elsewhere."""
        return self._text if self.relation is None else f"where({self.relation}, 1, 0)"

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **further: Any) -> _Traced:
        if method != "__call__" or further:
            raise _NotAFormulaError(ufunc.__name__)
        return _applied(ufunc.__name__, inputs)

    def __array_function__(self, function: Any, types: Any, given: tuple[Any, ...], further: Any) -> _Traced:
        name = function.__name__
        if name in ("zeros_like", "ones_like") and not further:
            return _Traced("0" if name == "zeros_like" else "1")
        if name == "full_like" and len(given) == 2 and not further:
            return _Traced(_text(given[1]))
        if name == "where" and len(given) == 3 and isinstance(given[0], _Traced) and given[0].relation is not None:
            return _Traced(f"where({given[0].relation}, {_text(given[1])}, {_text(given[2])})")
        raise _NotAFormulaError(name)

    def __bool__(self) -> bool:
        raise _NotAFormulaError("a decision by a value")

    __hash__ = None  # type: ignore[assignment]


def _text(value: Any) -> str:
    """What stands for a value in a formula."""
    if isinstance(value, _Traced):
        return value.text
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise _NotAFormulaError(type(value).__name__)
    number = float(value)
    if not np.isfinite(number):
        raise _NotAFormulaError(repr(value))
    # Whole numbers as such: sympy knows more of x**2 than of x**2.0.
    return f"({int(number)})" if number == int(number) and abs(number) < 1e15 else f"({number!r})"


def _applied(name: str, inputs: Sequence[Any]) -> _Traced:
    """Formula of a function of arrays, by its name in NumPy or SciPy."""
    arguments = [_text(value) for value in inputs]
    if name in _COMPARISONS:
        return _Traced("", f"{arguments[0]} {_COMPARISONS[name]} {arguments[1]}")
    if name in ("power", "float_power"):
        return _Traced(f"({arguments[0]}**{arguments[1]})")
    if name not in _FUNCTIONS or _FUNCTIONS[name].count("{}") != len(arguments):
        raise _NotAFormulaError(name)
    return _Traced(_FUNCTIONS[name].format(*arguments))


def _operator(name: str, *, reflected: bool = False) -> Any:
    def apply(self: _Traced, other: Any) -> _Traced:
        return _applied(name, (other, self) if reflected else (self, other))

    return apply


for _symbol, _name in (
    ("add", "add"),
    ("sub", "subtract"),
    ("mul", "multiply"),
    ("truediv", "divide"),
    ("pow", "power"),
):
    setattr(_Traced, f"__{_symbol}__", _operator(_name))
    setattr(_Traced, f"__r{_symbol}__", _operator(_name, reflected=True))
for _symbol, _name in (
    ("lt", "less"),
    ("le", "less_equal"),
    ("gt", "greater"),
    ("ge", "greater_equal"),
    ("eq", "equal"),
    ("ne", "not_equal"),
):
    setattr(_Traced, f"__{_symbol}__", _operator(_name))
for _symbol, _name in (("neg", "negative"), ("pos", "positive"), ("abs", "absolute")):
    setattr(_Traced, f"__{_symbol}__", lambda self, _name=_name: _applied(_name, (self,)))
