"""Arguments of `curvefit`, read as xarray reads them."""

from __future__ import annotations

import difflib
import inspect
import numbers
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.alignment import check_same_labels


def coordinates_of(da: xr.DataArray, coords: Any) -> list[xr.DataArray]:
    """Coordinates as arrays."""
    several = isinstance(coords, Iterable) and not isinstance(coords, str | xr.DataArray | tuple)
    several = several or (isinstance(coords, tuple) and coords not in da.coords)
    each = list(coords) if several else [coords]
    if not each:
        raise ValueError("coords must name at least one coordinate")
    found = []
    for coord in each:
        if isinstance(coord, xr.DataArray):
            found.append(coord)
        elif coord in da.coords or coord in da.dims:
            found.append(da[coord])
        else:
            raise ValueError(f"coords names {coord!r}, which the data do not have; they have {list(da.coords)}")
    return found


def reduced_dims(da: xr.DataArray, arrays: Sequence[xr.DataArray], reduce_dims: Any) -> tuple[Hashable, ...]:
    """Dimensions of the channels: those asked for, and those whose coordinates the function is of."""
    asked: list[Hashable] = []
    if reduce_dims is not None:
        single = isinstance(reduce_dims, str) or not isinstance(reduce_dims, Iterable)
        asked = [reduce_dims] if single else list(reduce_dims)
    unknown = [d for d in asked if d not in da.dims]
    if unknown:
        raise ValueError(f"reduce_dims names {unknown}, which are no dimensions of the data; they have {list(da.dims)}")
    found = {*asked, *(d for d in da.dims for array in arrays if array.equals(da[d]))}
    if not found:
        raise ValueError(
            f"none of the coords is the coordinate of a dimension of the data {list(da.dims)}; "
            f"say with reduce_dims= along which dimension(s) to fit"
        )
    return tuple(d for d in da.dims if d in found)


def parameters_of(func: Callable[..., Any], param_names: Sequence[str] | None) -> tuple[list[str], dict[str, Any]]:
    """Names of the parameters, and the defaults that the function gives."""
    try:
        arguments = inspect.signature(getattr(func, "py_func", func)).parameters
    except ValueError:
        if not param_names:
            raise ValueError("the signature of func can't be read; name its parameters with param_names=") from None
        return list(param_names), {}
    if not param_names and any(a.kind in (a.VAR_POSITIONAL, a.VAR_KEYWORD) for a in arguments.values()):
        raise ValueError("func takes any number of arguments; name its parameters with param_names=")
    params = list(param_names) if param_names else list(arguments)[1:]
    if not params:
        raise ValueError("func has no parameter to fit: it must take some after the coordinate(s)")
    return params, {
        p: arguments[p].default
        for p in params
        if p in arguments and arguments[p].default is not inspect.Parameter.empty
    }


def _checked(value: Any, what: str, preserved: tuple[Hashable, ...]) -> Any:
    """A number, or an array over the dimensions that stay."""
    if isinstance(value, xr.DataArray):
        extra = [d for d in value.dims if d not in preserved]
        if extra:
            raise ValueError(
                f"{what} has unexpected dimensions {tuple(extra)}; it should only have dimensions that are in "
                f"{list(preserved)}"
            )
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{what} must be a number or a DataArray, not {value!r}")
    if np.isnan(float(value)):
        raise ValueError(f"{what} must not be NaN")
    return float(value)


def _known(given: Mapping[str, Any], params: Sequence[str], what: str) -> None:
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} must map names of parameters to values, not {type(given).__name__}")
    for name in given:
        if name not in params:
            close = difflib.get_close_matches(str(name), params, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(f"{what} names {name!r}, which is no parameter of func; {hint}it has {list(params)}")


def check_labels(coords: Sequence[xr.DataArray], p0: Any, bounds: Any, da: xr.DataArray) -> None:
    """Refuse coordinates, and maps of start values and bounds, whose labels are not those of the data,
    naming the first that differs.
    """
    pairs = [
        (f"{what}[{name!r}]", value)
        for what, given in (("p0", p0), ("bounds", bounds))
        if isinstance(given, Mapping)
        for name, value in given.items()
    ]
    for what, value in [(f"coords {c.name!r}", c) for c in coords] + pairs:
        for each in value if isinstance(value, tuple | list) else [value]:
            if isinstance(each, xr.DataArray):
                check_same_labels(each, what, da, [d for d in each.dims if d in da.dims])


def limits_of(
    bounds: Mapping[str, Any], params: Sequence[str], preserved: tuple[Hashable, ...]
) -> dict[str, tuple[Any, Any]]:
    """Lower and upper bound of each parameter."""
    _known(bounds, params, "bounds")
    limits: dict[str, tuple[Any, Any]] = {}
    for name in params:
        pair = bounds.get(name, (-np.inf, np.inf))
        if not isinstance(pair, tuple | list | np.ndarray) or len(pair) != 2:
            raise TypeError(f"bounds[{name!r}] must be a pair (lower, upper), not {pair!r}")
        low = _checked(pair[0], f"Lower bound for {name!r}", preserved)
        high = _checked(pair[1], f"Upper bound for {name!r}", preserved)
        if isinstance(low, float) and isinstance(high, float) and not low < high:
            raise ValueError(f"bounds[{name!r}]: the lower bound {low} must be below the upper one {high}")
        limits[name] = (low, high)
    return limits


def starts_of(
    p0: Mapping[str, Any],
    params: Sequence[str],
    defaults: Mapping[str, Any],
    limits: Mapping[str, tuple[Any, Any]],
    preserved: tuple[Hashable, ...],
) -> dict[str, Any]:
    """Start value of each parameter: the given one, else the function's, else 1, moved inside of the bounds."""
    _known(p0, params, "p0")
    starts = {}
    for name in params:
        low, high = limits[name]
        if name in p0:
            start = _checked(p0[name], f"Initial guess for {name!r}", preserved)
            if isinstance(start, float) and not isinstance(low, xr.DataArray) and not isinstance(high, xr.DataArray):
                if not low <= start <= high:
                    raise ValueError(f"p0[{name!r}]={start} is outside of its bounds [{low}, {high}]")
        else:
            start = _checked(defaults.get(name, 1.0), f"the default of {name!r} in func", preserved)
            inside = xr.where(
                np.isfinite(low),
                xr.where(np.isfinite(high), 0.5 * (low + high), low + 1.0),
                xr.where(np.isfinite(high), high - 1.0, 0.0),
            )
            start = xr.where((start < low) | (start > high), inside, start)
            start = start if isinstance(start, xr.DataArray) else float(start)
        starts[name] = start
    return starts
