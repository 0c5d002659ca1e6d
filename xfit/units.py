"""Units of parameters, derived from those of the data and of the coordinates."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import xarray as xr

from xfit.axes import Axes, coordinate
from xfit.component import Component
from xfit.model import Model


def parameter_units(model: Model, da: xr.DataArray, axes: Axes) -> list[str]:
    """Units of every parameter of a model fitted to data.

    Parameters
    ----------
    model : Model
        Parameters with explicit ``units`` keep them; others say by ``dimension`` how theirs follow.
    da : DataArray
        Data, whose attribute ``units`` and whose coordinates' attribute ``units`` are used.
    axes : Axes
        The signal space.

    Returns
    -------
    list of str
        In the engine's order; empty where unknown or dimensionless.
    """
    composed = _composer(model, da, axes)
    return [
        parameter.units if parameter.units is not None else composed(component, parameter.dimension or {})
        for component in model
        for parameter in component.parameters
    ]


def derived_units(model: Model, da: xr.DataArray, axes: Axes) -> dict[str, str]:
    """Units of every derived quantity of a model fitted to data, by full name."""
    composed = _composer(model, da, axes)
    return {
        f"{component.name}.{name}": composed(component, quantity.dimension)
        for component in model
        for name, quantity in component.derived.items()
    }


def _composer(model: Model, da: xr.DataArray, axes: Axes) -> Callable[[Component, Mapping[str, float]], str]:
    """Return a function that says which unit powers of the data's and the coordinates' units make."""
    known = {"data": str(da.attrs.get("units", ""))}
    for name in {name for component in model for name in component.coordinates}:
        known[name] = str(coordinate(da, axes.dims, name).attrs.get("units", ""))

    def composed(component: Component, dimension: Mapping[str, float]) -> str:
        exponents = dict(dimension)
        if axes.width is not None and exponents.get("data"):
            # Binned data are the model times the channel width.
            for name in component.coordinates:
                exponents[name] = exponents.get(name, 0) - exponents["data"]
        return _compose(exponents, known)

    return composed


def _compose(exponents: Mapping[str, float], known: Mapping[str, str]) -> str:
    """Multiply units; empty where one of them is unknown."""
    parts: dict[str, float] = {}
    for name, exponent in exponents.items():
        if exponent and not known.get(name):
            return ""
        if exponent:
            unit = known[name]
            parts[unit] = parts.get(unit, 0) + exponent
    words = []
    for unit, exponent in parts.items():
        if exponent == 0:
            continue
        # A power is one of the whole unit: that of "1/cm" is "(1/cm)^2".
        whole = exponent != 1 and any(sign in unit for sign in "/*^")
        text = f"({unit})" if whole or (" " in unit and (exponent != 1 or len(parts) > 1)) else unit
        words.append(text if exponent == 1 else f"{text}^{exponent:g}")
    return " ".join(words)
