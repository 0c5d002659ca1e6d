"""What a user hands to a fit, checked before any work starts and laid out like the data."""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xfit.axes import Axes
from xfit.block import Settings
from xfit.compile.program import Program
from xfit.model import Model

#: Optimizers and, for each, the losses that it can minimise.
OPTIMIZERS: dict[str, tuple[str, ...]] = {"lm": ("ls",)}


def check_data(da: xr.DataArray) -> None:
    """Refuse what is no array of real numbers."""
    if not isinstance(da, xr.DataArray):
        raise TypeError(f"the data must be an xarray.DataArray, not {type(da).__name__}")
    if da.dtype.kind not in "iuf":
        raise TypeError(f"the data have dtype {da.dtype}; a fit needs real numbers (integers or floats)")
    if da.dtype.kind == "f" and da.dtype.itemsize > 8:
        raise TypeError(f"the data have dtype {da.dtype}; a fit computes in float64: convert with .astype('float64')")


def check_model(model: Any) -> None:
    """Refuse what is no model, and models with nothing to fit."""
    if not isinstance(model, Model):
        raise TypeError(f"model must be an xfit.Model, not {type(model).__name__}; make one with xfit.Model([...])")
    if len(model) == 0:
        raise ValueError("model has no components")


def check_optimizer(optimizer: str, loss: str) -> None:
    """Refuse optimizers and losses that are not known or don't go together."""
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {optimizer!r}; use one of: {', '.join(OPTIMIZERS)}")
    if loss not in OPTIMIZERS[optimizer]:
        raise ValueError(
            f"optimizer {optimizer!r} can't minimise loss {loss!r}; use one of: {', '.join(OPTIMIZERS[optimizer])}"
        )


def check_options(tolerance: float, max_nfev: int | None) -> None:
    """Refuse tolerances and limits that make no sense."""
    if not (isinstance(tolerance, numbers.Real) and np.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"tolerance={tolerance!r} must be a number above zero")
    if max_nfev is not None and not (isinstance(max_nfev, numbers.Integral) and max_nfev >= 1):
        raise ValueError(f"max_nfev={max_nfev!r} must be an integer of at least 1, or None")


def settings_of(model: Model, program: Program, active: np.ndarray, *, bounded: bool, n_channels: int) -> Settings:
    """Collect the numbers of a model whose components are active as given.

    Raises
    ------
    ValueError
        For a start value out of bounds, bounds that leave no room, no free parameter, or fewer channels than these.
    """
    parameters = [parameter for component in model for parameter in component.parameters]
    on = np.repeat(active, [len(component.parameters) for component in model])
    start = np.array([parameter.value for parameter in parameters], np.float64)
    free = np.array([parameter.free and parameter.tie_formula is None for parameter in parameters])
    lower = np.array([parameter.min for parameter in parameters], np.float64)
    upper = np.array([parameter.max for parameter in parameters], np.float64)
    if not bounded:
        lower, upper = np.full_like(lower, -np.inf), np.full_like(upper, np.inf)
    for k, name in enumerate(program.parameters):
        if not (free[k] and on[k]):
            continue
        if lower[k] == upper[k]:
            raise ValueError(f"{name}: min and max are both {lower[k]}; to keep it there, set value and free=False")
        if not lower[k] <= start[k] <= upper[k]:
            raise ValueError(
                f"{name}: the start value {start[k]} is outside of its bounds [{lower[k]}, {upper[k]}]; "
                f"change the value or the bounds, or fit with bounded=False"
            )
    if not (free & on).any():
        raise ValueError(
            "the model has no free parameter in an active component; set free=True on what is to be fitted"
        )
    count = int((free & on).sum())
    if n_channels < count:
        raise ValueError(
            f"{n_channels} channel(s) can't determine {count} free parameters; fix some or use more channels"
        )
    return Settings(start, lower, upper, free, active)


def broadcastable(
    array: Any, name: str, da: xr.DataArray, allowed: tuple[Hashable, ...], what: str, dtype: str
) -> xr.DataArray:
    """Check that an array fits the data: known dimensions, sizes and labels, and a dtype of the right kind.

    Parameters
    ----------
    array : DataArray
        What came.
    name : str
        The argument, for messages.
    allowed : tuple
        Dimensions that it may have.
    what : str
        What those are, for messages.
    dtype : str
        Kinds of dtype that it may have, as in ``numpy.dtype.kind``.

    Returns
    -------
    DataArray
        The same, transposed to the data's order of dimensions.
    """
    if not isinstance(array, xr.DataArray):
        raise TypeError(f"{name} must be an xarray.DataArray over {what}, not {type(array).__name__}")
    extra = [d for d in array.dims if d not in allowed]
    if extra:
        raise ValueError(f"{name} has dimension(s) {extra}; it may only have {list(allowed)} ({what})")
    if array.dtype.kind not in dtype:
        wanted = "booleans" if dtype == "b" else "real numbers"
        raise TypeError(f"{name} has dtype {array.dtype}; it must hold {wanted}")
    for d in array.dims:
        if array.sizes[d] != da.sizes[d]:
            raise ValueError(f"{name} has size {array.sizes[d]} along {d!r}, the data have {da.sizes[d]}")
        if d in array.indexes and d in da.indexes and not array.indexes[d].equals(da.indexes[d]):
            raise ValueError(
                f"{name} has other labels along {d!r} than the data; align them first (for instance {name}.reindex_like(da))"
            )
    return array.transpose(*(d for d in da.dims if d in array.dims))


def check_variance(variance: Any, da: xr.DataArray) -> xr.DataArray | float | None:
    """Return the variance as a number or an array that fits the data."""
    if variance is None:
        return None
    if isinstance(variance, str):
        raise ValueError(
            f"variance={variance!r} is not known; give a number or a DataArray that broadcasts to the data"
        )
    if isinstance(variance, numbers.Real):
        number = float(variance)
        if not (np.isfinite(number) and number > 0):
            raise ValueError(f"variance={variance} must be above zero")
        return number
    array = broadcastable(variance, "variance", da, tuple(da.dims), "the data's dimensions", "iuf")
    if array.chunks is None and bool((array.values <= 0).any()):
        bad = int((array.values <= 0).sum())
        raise ValueError(
            f"variance must be above zero; {bad} of {array.size} values are not. Set those to NaN to leave their channels out"
        )
    return array


def check_where(where: Any, da: xr.DataArray) -> xr.DataArray | None:
    """Return the mask of what to use as an array that fits the data."""
    if where is None:
        return None
    return broadcastable(where, "where", da, tuple(da.dims), "the data's dimensions", "b")


def check_active(active: Any, model: Model, da: xr.DataArray, axes: Axes) -> dict[str, xr.DataArray | bool]:
    """Return maps of where components take part, by name."""
    if active is None:
        return {}
    if not isinstance(active, Mapping):
        raise TypeError(f"active must map component names to boolean DataArrays, not {type(active).__name__}")
    names = [component.name for component in model]
    found: dict[str, xr.DataArray | bool] = {}
    for name, value in active.items():
        if name not in names:
            raise ValueError(f"active names {name!r}, which is no component of the model; it has {names}")
        if isinstance(value, bool | np.bool_):
            found[name] = bool(value)
        else:
            found[name] = broadcastable(
                value, f"active[{name!r}]", da, axes.navigation, "the navigation dimensions", "b"
            )
    return found


def check_start(
    start: Any, model: Model, program: Program, settings: Settings, da: xr.DataArray, axes: Axes
) -> tuple[np.ndarray, dict[str, xr.DataArray]]:
    """Return start values for all pixels, and maps of those that differ from pixel to pixel.

    Parameters
    ----------
    start : None, mapping of full parameter name to number or DataArray, or Dataset
        What the user gave; a Dataset is an earlier result (of this model or one that shares parameters).

    Returns
    -------
    values : float64 (n_parameters,)
    maps : dict of str to DataArray
    """
    values = settings.start.copy()
    if start is None:
        return values, {}
    tied = dict(program.ties)
    given = _result_maps(start, program, tied) if isinstance(start, xr.Dataset) else start
    if not isinstance(given, Mapping):
        raise TypeError(
            "start must be None, 'estimate', a mapping of parameter names to numbers or DataArrays, or an earlier result; "
            f"not {start!r}"
        )
    maps: dict[str, xr.DataArray] = {}
    for name, value in given.items():
        if name not in program.parameters:
            raise ValueError(
                f"start names {name!r}, which is no parameter of the model; it has {list(program.parameters)}"
            )
        if name in tied:
            raise ValueError(
                f"start names {name!r}, which is tied to {tied[name]!r}; give start values of those parameters"
            )
        k = program.parameters.index(name)
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            values[k] = _start_number(name, float(value), k, settings)
        else:
            maps[name] = broadcastable(
                value, f"start[{name!r}]", da, axes.navigation, "the navigation dimensions", "iuf"
            )
    return values, maps


def _start_number(name: str, value: float, k: int, settings: Settings) -> float:
    if not np.isfinite(value):
        raise ValueError(f"start[{name!r}] is {value}; it must be finite")
    if settings.free[k] and not settings.lower[k] <= value <= settings.upper[k]:
        raise ValueError(
            f"start[{name!r}] is {value}, outside of the bounds [{settings.lower[k]}, {settings.upper[k]}] of that parameter"
        )
    return value


def _result_maps(result: xr.Dataset, program: Program, tied: Mapping[str, str]) -> dict[str, xr.DataArray]:
    """Maps of the parameters that an earlier result shares with the model."""
    if "value" not in result or "param" not in result.get("value", xr.DataArray()).dims:
        raise ValueError("start is a Dataset without the variable 'value' over 'param': it is no result of a fit")
    known = [str(name) for name in result["param"].values]
    shared = [name for name in program.parameters if name in known and name not in tied]
    if not shared:
        raise ValueError(f"start has no parameter in common with the model: {known} and {list(program.parameters)}")
    value = result["value"]
    return {name: value.isel(param=known.index(name)).reset_coords(drop=True) for name in shared}
