"""Estimates of one component from labelled, chunked arrays."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.axes import Axes, axes_of, signal_dims, with_signal_coordinates
from xfit.arrays.matching import check_where
from xfit.arrays.whole_spectra import whole_signals
from xfit.display import cleaned
from xfit.engine.block.options import Settings
from xfit.engine.codegen.program import Program
from xfit.fitting.planning.checks import check_data
from xfit.fitting.planning.start_estimates import checked_range, estimation_of, taken_by
from xfit.fitting.running.clients import active_client
from xfit.fitting.running.start_block import Task, start_block
from xfit.formulas import parser
from xfit.modeling.component import Component
from xfit.modeling.estimate_block import Target
from xfit.modeling.model import Model
from xfit.modeling.units import parameter_units


def estimate(
    component: Component, da: xr.DataArray, range: Any, *, dim: Any, binned: bool | None, where: xr.DataArray | None
) -> xr.Dataset:
    """Estimate a component's free parameters; see `xfit.Component.estimate`."""
    check_data(da)
    targets = tuple(
        Target(p.name, p.full_name, p.value, p.min, p.max) for p in component.parameters if p.free and not p.is_tied
    )
    taken = {p.name: p.value for p in component.parameters if p.name in taken_by(component)}
    if not targets:
        raise ValueError(
            f"{cleaned(component.name)} has no free parameter to estimate; set free=True on what is to be estimated"
        )
    dims = signal_dims(da, dim, component.signal_dimension)
    da = with_signal_coordinates(da, dims, component.coordinates)
    axes = axes_of(da, dims, component.coordinates, binned)
    known = parameter_units(Model([component.copy()]), da, axes)
    part = None if range is None else checked_range(range, "range", component.signal_dimension)
    everywhere = ((-math.inf, math.inf),) * component.signal_dimension
    estimation = estimation_of(component, targets, taken, part or everywhere, axes)
    data = da.transpose(*axes.navigation, *axes.dims)
    mask = check_where(where, da)
    data = data if mask is None else data.where(mask)
    if data.chunks is not None:
        data = whole_signals(data, axes.dims, "estimate", stacklevel=3, client=active_client())
    result = _dataset(data, Task((estimation,), *_alone(component)), axes)
    for parameter, units in zip(component.parameters, known, strict=True):
        if parameter.full_name in result and units:
            result[parameter.full_name].attrs["units"] = units
    return result if axes.navigation else _set_values(component, result.compute())


def _alone(component: Component) -> tuple[Program, Settings]:
    """A model of the component alone: what is tied to other components keeps its value."""
    own = component.copy()
    own.active = True
    full = {p.full_name for p in own.parameters}
    for parameter in own.parameters:
        if parameter.tie_formula is not None and not set(parser.names(parameter.tie_formula)) <= full:
            parameter.untie()
            parameter.free = False
    model = Model([own])
    start, lower, upper = (
        np.array([getattr(p, key) for p in own.parameters], float) for key in ("value", "min", "max")
    )
    free = np.array([p.free and not p.is_tied for p in own.parameters])
    return Program.from_model(model), Settings(start, lower, upper, free, np.ones(1, bool))


def _dataset(data: xr.DataArray, task: Task, axes: Axes) -> xr.Dataset:
    """Maps of the estimates: one task for each chunk of the data."""
    signal = list(axes.dims)
    targets = task.estimations[0].targets
    packed = xr.apply_ufunc(
        _estimate_nd,
        data.drop_vars([name for name, c in data.coords.items() if set(c.dims) & set(signal)]),
        input_core_dims=[signal],
        output_core_dims=[["xfit_target"]],
        kwargs={
            "task": task,
            "coordinates": dict(zip(axes.names, axes.table, strict=True)),
            "width": axes.width,
            "n_signal": len(signal),
        },
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"xfit_target": len(targets)}},
    )
    maps = {t.name: packed.isel(xfit_target=k).rename(t.name) for k, t in enumerate(targets)}
    return xr.Dataset({name: array.assign_attrs(long_name=f"estimate of {name}") for name, array in maps.items()})


def _estimate_nd(
    data: np.ndarray,
    *,
    task: Task,
    coordinates: Mapping[str, np.ndarray],
    width: np.ndarray | None,
    n_signal: int,
) -> np.ndarray:
    """Estimates of a block, navigation dimensions first, along a last axis."""
    shape = data.shape[: data.ndim - n_signal]
    flat = data.reshape(int(np.prod(shape)), int(np.prod(data.shape[len(shape) :])))
    found = start_block(task, flat, coordinates, width=width)
    return np.stack([values.reshape(shape) for values in found.values()], axis=-1)


def _set_values(component: Component, result: xr.Dataset) -> xr.Dataset:
    """Give a component its estimated values, unless there are none."""
    values = {str(name): float(value) for name, value in result.items()}
    if not all(map(math.isfinite, values.values())):
        warnings.warn(
            f"{cleaned(component.name)}: the data do not tell its parameters; the values stay as they are",
            UserWarning,
            stacklevel=4,
        )
        return result
    for parameter in component.parameters:
        if parameter.full_name in values:
            parameter.value = values[parameter.full_name]
    return result
