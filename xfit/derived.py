"""Quantities that follow from a component's parameters, such as a peak's width and height: values and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np
import scipy
import xarray as xr

from xfit import calculus, formula
from xfit.component import Component
from xfit.model import Model

#: Functions of formulas that neither NumPy nor SciPy have under the same name.
_SPECIAL = {"erfcx": scipy.special.erfcx, "erfcx_prime": lambda z: 2 * z * scipy.special.erfcx(z) - 2 / np.sqrt(np.pi)}


@lru_cache(maxsize=1024)
def _functions(text: str, names: tuple[str, ...]) -> tuple[Callable[..., Any], tuple[Callable[..., Any], ...]]:
    """Return a formula and its derivatives as functions of arrays.

    The formulas are those of component classes, never texts of a file.
    """
    import sympy

    expr = formula.parse(text)
    symbols = [formula.symbol(name) for name in names]
    functions = (expr, *(calculus.derivative(expr, name) for name in names))
    value, *slopes = (sympy.lambdify(symbols, each, [_SPECIAL, "scipy", "numpy"]) for each in functions)
    return value, tuple(slopes)


def value_of(component: Component, name: str) -> float:
    """Value of a derived quantity at a component's present parameters."""
    text = component.derived[name].formula
    names = formula.names(text)
    with np.errstate(all="ignore"):
        return float(_functions(text, names)[0](*(np.float64(component[key].value) for key in names)))


def pairs_of(model: Model) -> list[tuple[str, str]]:
    """Pairs of parameters, by full name, whose covariances results keep: errors of derived quantities need them."""
    found = ((f"{part.name}.{a}", f"{part.name}.{b}") for part in model for a, b in _pairs_of(part))
    return list(dict.fromkeys(found))


def _pairs_of(component: Component) -> Iterator[tuple[str, str]]:
    for quantity in component.derived.values():
        yield from combinations(formula.names(quantity.formula), 2)
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
    names = formula.names(quantity.formula)
    values = [_of(result, "value", f"{component.name}.{key}") for key in names]
    return _functions(quantity.formula, names)[0](*values)


def derived_error(result: xr.Dataset, model: Model, name: str) -> xr.DataArray:
    """Map of the standard error of a derived quantity, by linear propagation.

    What is fixed or held at a bound adds nothing; where that is all, the error is NaN.

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
    names = formula.names(quantity.formula)
    full = [f"{component.name}.{key}" for key in names]
    values = [_of(result, "value", each) for each in full]
    slopes = [slope(*values) for slope in _functions(quantity.formula, names)[1]]
    errors = [_of(result, "stderr", each) for each in full]
    variance = sum((slope * error.fillna(0.0)) ** 2 for slope, error in zip(slopes, errors, strict=True))
    for a, b in combinations(range(len(names)), 2):
        variance = variance + 2 * slopes[a] * slopes[b] * covariance_of(result, full[a], full[b]).fillna(0.0)
    known = sum(error.notnull() for error in errors) > 0
    # Rounding may leave a variance that is next to nothing below zero.
    return np.sqrt(variance.clip(min=0.0)).where(known)


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
