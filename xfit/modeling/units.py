"""Units of parameters, derived from those of the data and of the coordinates; what is in other units is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import xarray as xr

from xfit.arrays.axes import Axes, coordinate
from xfit.arrays.unit_text import differ
from xfit.display import cleaned
from xfit.modeling.component import Component
from xfit.modeling.model import Model
from xfit.modeling.parameter import Parameter


def parameter_units(model: Model, da: xr.DataArray, axes: Axes) -> list[str]:
    """Units of every parameter of a model fitted to data.

    Parameters
    ----------
    model : Model
        Parameters say by ``dimension`` how their units follow; where that is not known, those that were set count.
    da : DataArray
        Data, whose attribute ``units`` and whose coordinates' attribute ``units`` are used.
    axes : Axes
        The signal space.

    Returns
    -------
    list of str
        In the engine's order; empty where unknown or dimensionless.

    Raises
    ------
    ValueError
        For a parameter whose own units are others than those that follow: its value is taken as it is, on the
        coordinate of the data.
    """
    found = []
    for parameter, units in _with_units(model, da, axes):
        if parameter.units is not None and differ(parameter.units, units):
            raise ValueError(
                f"{cleaned(parameter.full_name)} has units {parameter.units!r}, but with these data its value is in "
                f"{units!r}, and no units are converted: convert the coordinate or the data and their attribute units "
                "(or the value and the bounds), and leave the units of the parameter out (units=None)"
            )
        found.append(units if parameter.units is None else parameter.units)
    return found


def without_others(model: Model, da: xr.DataArray, axes: Axes) -> list[Parameter]:
    """Take the units away from parameters that have others than those that follow from the data; return these."""
    other = [p for p, units in _with_units(model, da, axes) if p.units is not None and differ(p.units, units)]
    for parameter in other:
        parameter.units = None
    return other


def _with_units(model: Model, da: xr.DataArray, axes: Axes) -> list[tuple[Parameter, str]]:
    """Parameters of a model with the units that follow from the data, empty where these are not known."""
    composed = _composer(model, da, axes)
    return [(p, composed(component, p.dimension or {})) for component in model for p in component.parameters]


def check_units(
    given: Mapping[str, xr.DataArray], what: str, units: Mapping[str, str], left_over: object = None
) -> None:
    """Refuse values of parameters that are in other units, by their attribute ``units``, than the parameters.

    Parameters
    ----------
    given : mapping of str to DataArray
        Values by the parameters' full names.
    what : str
        The argument, for the message.
    units : mapping of str to str
        Units of the parameters.
    left_over : str, optional
        Units of the data, which an array that was made from the data may have still: they say nothing.
    """
    for name, values in given.items():
        own = values.attrs.get("units")
        if own != left_over and differ(own, units[name]):
            raise ValueError(
                f"{cleaned(what)}: {cleaned(name)} is in {own!r} there, but with these data in {units[name]!r}, and "
                "no units are converted: convert the values and their attribute units, or the data's coordinate"
            )


def units_of(result: xr.Dataset) -> dict[str, xr.DataArray]:
    """Values of each parameter of a result, with its units as attribute; without, where the result has lost them."""
    known = result["units"].values if "units" in result.coords else [""] * result.sizes["param"]
    value = result["value"].reset_coords(drop=True)
    return {
        str(name): value.isel(param=k, drop=True).drop_vars("param", errors="ignore").assign_attrs(units=str(known[k]))
        for k, name in enumerate(result["param"].values)
    }


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
