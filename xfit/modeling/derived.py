"""Quantities that follow from a component's parameters, such as a peak's width and height: values and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, reduce
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xfit.formulas import calculus, parser
from xfit.formulas.array_functions import SPECIAL

if TYPE_CHECKING:
    import sympy

    from xfit.modeling.component import Component
    from xfit.modeling.model import Model

#: Functions of arrays, one argument for each parameter.
_Functions = tuple[Callable[..., Any], ...]

#: A variance, in units of the largest that it could be, below which it is rounding.
_ROUNDING = 1e-12


@lru_cache(maxsize=1024)
def _functions(text: str, names: tuple[str, ...]) -> tuple[Callable[..., Any], _Functions, _Functions]:
    """Return a formula, and its derivatives to the left and to the right of kinks, as functions of arrays.

    The formulas are those of component classes, never texts of a file.
    """
    import sympy

    from xfit.formulas.special_functions import written_out

    expr = parser.parse(text)
    symbols = [parser.symbol(name) for name in names]

    def compiled(part: sympy.Expr, side: float) -> Callable[..., Any]:
        evaluate: Callable[..., Any] = sympy.lambdify(
            symbols, written_out(part), [_at_kinks(side), SPECIAL, "scipy", "numpy"]
        )
        return evaluate

    slopes = [_slope(expr, name) for name in names]
    left, right = (tuple(compiled(slope, side) for slope in slopes) for side in (-1.0, 1.0))
    return compiled(expr, 0.0), left, right


def _slope(expr: sympy.Expr, name: str) -> sympy.Expr:
    """Derivative of an expression, in which the larger of two equal numbers is the same one
    wherever it is asked for.
    """
    import sympy

    from xfit.formulas.special_functions import Larger

    folded = expr.replace(sympy.Max, lambda *args: reduce(Larger, sorted(args, key=str)))
    folded = folded.replace(sympy.Min, lambda *args: -reduce(Larger, sorted((-arg for arg in args), key=str)))
    return calculus.derivative(folded, name).replace(Larger, sympy.Max)


def _at_kinks(side: float) -> dict[str, Callable[..., Any]]:
    """Functions that jump at zero, with their values there on one side, or between."""
    return {
        "sign": lambda u: np.where(u == 0, side, np.sign(u)),
        "heaviside": lambda u, _: np.where(u == 0, (1 + side) / 2, np.heaviside(u, 0.5)),
    }


def value_of(component: Component, name: str) -> float:
    """Value of a derived quantity at a component's present parameters."""
    text = component.derived[name].formula
    names = parser.names(text)
    return float(_value(*(np.float64(component[key].value) for key in names), text=text, names=names))


def _value(*values: Any, text: str, names: tuple[str, ...]) -> Any:
    """Value of a formula at arrays; infinite or NaN where its limit is."""
    with np.errstate(all="ignore"):
        return np.asarray(_functions(text, names)[0](*values), np.float64)


def _error(*arrays: Any, text: str, names: tuple[str, ...]) -> Any:
    """Standard error of a formula at arrays of the parameters' values, errors and covariances,
    in the order of `combinations`.

    NaN where the value is not finite, and at a kink: where the derivatives on both sides differ along what varies.
    """
    n = len(names)
    _, *sides = _functions(text, names)
    values, errors, covariances = arrays[:n], arrays[n : 2 * n], arrays[2 * n :]
    with np.errstate(all="ignore"):
        # What does not vary has no part in it, be its derivative infinite.
        left, right = (
            [np.where(e > 0, slope(*values) * e, 0.0) for slope, e in zip(side, errors, strict=True)] for side in sides
        )
        correlations = [
            np.where((a > 0) & (b > 0), covariance / (a * b), 0.0)
            for (a, b), covariance in zip(combinations(errors, 2), covariances, strict=True)
        ]
        # In units of the largest that it could be: squares of small numbers are zero.
        largest = sum(np.maximum(np.abs(a), np.abs(b)) for a, b in zip(left, right, strict=True))
        unit = np.where(largest == 0, 1.0, largest)
        jump = _variance([(a - b) / unit for a, b in zip(left, right, strict=True)], correlations)
        # Rounding may leave a variance that is next to nothing below zero.
        variance = np.maximum(_variance([part / unit for part in right], correlations), 0.0)
        known = np.logical_or.reduce([~np.isnan(error) for error in errors])
        usable = known & (jump <= _ROUNDING) & np.isfinite(_value(*values, text=text, names=names))
        return np.where(usable, unit * np.sqrt(variance), np.nan)


def _variance(parts: list[Any], correlations: list[Any]) -> Any:
    """Variance of a sum of correlated parts, from their standard deviations with signs."""
    variance = sum(part**2 for part in parts)
    for (a, b), correlation in zip(combinations(parts, 2), correlations, strict=True):
        variance = variance + 2 * a * b * correlation
    return variance


def _mapped(function: Callable[..., Any], arrays: list[xr.DataArray], text: str) -> xr.DataArray:
    """Apply `_value` or `_error` of a formula to maps, lazily to lazy ones."""
    given = {"text": text, "names": parser.names(text)}
    mapped: xr.DataArray = xr.apply_ufunc(
        function, *arrays, kwargs=given, dask="parallelized", output_dtypes=[np.float64], keep_attrs=False
    )
    return mapped


def pairs_of(model: Model) -> list[tuple[str, str]]:
    """Pairs of parameters, by full name, whose covariances results keep: errors of derived quantities need them."""
    found = ((f"{part.name}.{a}", f"{part.name}.{b}") for part in model for a, b in _pairs_of(part))
    return list(dict.fromkeys(found))


def _pairs_of(component: Component) -> Iterator[tuple[str, str]]:
    for quantity in component.derived.values():
        yield from combinations(parser.names(quantity.formula), 2)
    yield from component.correlated


def label_of(pair: tuple[str, str]) -> str:
    """Name a pair along the result's dimension ``pair``."""
    return ", ".join(pair)


def derived_names(model: Model) -> Iterator[str]:
    """Full names of all derived quantities of a model."""
    return (f"{component.name}.{name}" for component in model for name in component.derived)


def derived_map(result: xr.Dataset, model: Model, name: str) -> xr.DataArray:
    """Map of a derived quantity.

    Parameters
    ----------
    result : Dataset
        The result of a fit of ``model``.
    name : str
        Full name, such as ``"Fe.fwhm"``.

    Returns
    -------
    DataArray
        Over the navigation dimensions.
    """
    component, quantity = _split(model, name)
    names = parser.names(quantity.formula)
    values = [_of(result, "value", f"{component.name}.{key}") for key in names]
    return _mapped(_value, values, quantity.formula)


def derived_error(result: xr.Dataset, model: Model, name: str) -> xr.DataArray:
    """Map of the standard error of a derived quantity, by linear propagation.

    What is fixed or held at a bound adds nothing; where that is all, the error is NaN. It is NaN, too, where the
    quantity is not finite, as the area below a peak of heavy tails, and where it has a kink, as a width at zero.

    Parameters
    ----------
    result, model, name
        As for `derived_map`.

    Returns
    -------
    DataArray
        Over the navigation dimensions.
    """
    component, quantity = _split(model, name)
    names = parser.names(quantity.formula)
    full = [f"{component.name}.{key}" for key in names]
    arrays = [_of(result, variable, each) for variable in ("value", "stderr") for each in full]
    arrays += [covariance_of(result, a, b) for a, b in combinations(full, 2)]
    return _mapped(_error, arrays, quantity.formula)


def _split(model: Model, name: str) -> tuple[Component, Any]:
    component, _, key = name.rpartition(".")
    return model[component], model[component].derived[key]


def _of(result: xr.Dataset, variable: str, name: str) -> xr.DataArray:
    """Map of a parameter without the coordinates that belong to parameters."""
    known = [str(each) for each in result["param"].values]
    array = result[variable].isel(param=known.index(name))
    return array.drop_vars(["param", "component", "parameter", "units", "free"])


def covariance_of(result: xr.Dataset, one: str, other: str) -> xr.DataArray:
    """Map of the covariance of two parameters, by full name, of which a result keeps it: see `pairs_of`."""
    known = [str(each) for each in result["param"].values]
    if "covariance" in result:
        array = result["covariance"].isel(param=known.index(one), param_=known.index(other))
        return array.drop_vars(["param", "param_", "component", "parameter", "units", "free"])
    labels = [str(each) for each in result["pair"].values]
    return result["pair_covariance"].isel(pair=labels.index(label_of((one, other)))).drop_vars("pair")
