"""Estimates of labelled, chunked arrays: of one component, and of the start values of a fit."""

from __future__ import annotations

import math
import numbers
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
from xfit.fitting.running.start_block import Task, start_block
from xfit.formulas import parser as formula
from xfit.modeling.component import Component
from xfit.modeling.estimate_block import Estimation, Target
from xfit.modeling.model import Model
from xfit.modeling.units import parameter_units

#: Parts of the signal coordinates to use; None is all of them.
Range = tuple[tuple[float, float], ...] | None


def estimate(
    component: Component, da: xr.DataArray, range: Any, *, dim: Any, binned: bool | None, where: xr.DataArray | None
) -> xr.Dataset:
    """Estimate a component's free parameters; see `xfit.Component.estimate`."""
    check_data(da)
    targets = tuple(
        Target(p.name, p.full_name, p.value, p.min, p.max) for p in component.parameters if p.free and not p.is_tied
    )
    taken = {p.name: p.value for p in component.parameters if p.name in _takes(component)}
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
    estimation = _estimation(component, targets, taken, part or everywhere, axes)
    data = da.transpose(*axes.navigation, *axes.dims)
    mask = check_where(where, da)
    data = data if mask is None else data.where(mask)
    if data.chunks is not None:
        data = whole_signals(data, axes.dims, "estimate", stacklevel=3)
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
        if parameter.tie_formula is not None and not set(formula.names(parameter.tie_formula)) <= full:
            parameter.untie()
            parameter.free = False
    model = Model([own])
    start, lower, upper = (
        np.array([getattr(p, key) for p in own.parameters], float) for key in ("value", "min", "max")
    )
    free = np.array([p.free and not p.is_tied for p in own.parameters])
    return Program.from_model(model), Settings(start, lower, upper, free, np.ones(1, bool))


def split_start(start: Any, model: Model) -> tuple[Any, dict[str, Range]]:
    """Tell start values that are given from components that are to be estimated.

    Parameters
    ----------
    start
        What the user gave: see `xfit.multifit`.
    model : Model
        What is fitted.

    Returns
    -------
    given
        What else there is in ``start``.
    ranges : dict of str to (float, float) or None
        Parts of the coordinate to estimate from, by name of the component.

    Raises
    ------
    TypeError, ValueError
        For components that can't be estimated, and for what is no range.
    """
    ranges: dict[str, Range]
    if isinstance(start, str) and start == "estimate":
        ranges = {c.name: None for c in model if c.estimator is not None}
        given = None
        if not ranges:
            raise ValueError(f"start='estimate': no component of the model can be estimated; {_those_with_one()}")
    elif isinstance(start, Mapping) and not isinstance(start, xr.Dataset):
        named = [c.name for c in model if c.name in start]
        n = model.signal_dimension
        ranges = {name: _range_of(start[name], f"start[{name!r}]", n) for name in named}
        given = {name: value for name, value in start.items() if name not in ranges}
    else:
        return start, {}
    return given, ranges


def estimated_start(
    ranges: Mapping[str, Range], given: Any, model: Model, program: Program, settings: Settings, axes: Axes
) -> tuple[Estimation, ...]:
    """Describe what each block has to estimate: free parameters of active components that no other start is given for.

    Parameters
    ----------
    ranges, given
        What `split_start` returned.
    settings : Settings
        Start values, bounds, and what is free and active.
    """
    estimations = []
    names = set(given) if isinstance(given, Mapping) else set()
    active = [(k, component) for k, component in enumerate(model) if settings.active[k]]
    places = [(k, place) for k, component in active if (place := _place_of(component))]
    for number, component in active:
        if component.name not in ranges:
            continue
        targets, taken = [], {}
        for parameter in component.parameters:
            k = program.parameters.index(parameter.full_name)
            value = float(settings.start[k])
            if parameter.name in _takes(component):
                taken[parameter.name] = value
            if settings.free[k] and parameter.full_name not in names:
                bounds = float(settings.lower[k]), float(settings.upper[k])
                targets.append(Target(parameter.name, parameter.full_name, value, *bounds))
        if targets:
            others = tuple(place for place in places if place[0] != number)
            part = ranges[component.name]
            estimations.append(_estimation(component, tuple(targets), taken, part, axes, number, others))
    return tuple(estimations)


def checked_range(range: Any, what: str, dimensions: int) -> tuple[tuple[float, float], ...]:
    """Return parts of the coordinates as two numbers each; ``what`` names the argument in messages."""
    if dimensions == 1:
        return (_two_numbers(range, what),)
    if not isinstance(range, tuple | list) or len(range) != dimensions:
        raise TypeError(f"{what}={range!r} must be two ranges, of x and of y: ((from, to), (from, to))")
    return tuple(_two_numbers(one, f"{what}[{k}]") for k, one in enumerate(range))


def _two_numbers(range: Any, what: str) -> tuple[float, float]:
    """Return a range as two numbers."""
    pair = tuple(range) if isinstance(range, tuple | list) else ()
    if len(pair) != 2 or not all(isinstance(v, numbers.Real) and not isinstance(v, bool) for v in pair):
        raise TypeError(f"{what}={range!r} must be two numbers, from and to, along the signal coordinate")
    low, high = float(pair[0]), float(pair[1])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{what}={range!r} must be two finite numbers, the lower one first")
    return low, high


def _range_of(value: Any, what: str, dimensions: int) -> Range:
    """Range that a start mapping has under a component's name: numbers, or "estimate" for all of it."""
    if isinstance(value, str) and value == "estimate":
        return None
    return checked_range(value, what, dimensions)


def _takes(component: Component) -> tuple[str, ...]:
    """Parameters that the estimator of a component takes, which there must be one of."""
    if component.estimator is None:
        raise ValueError(
            f"{cleaned(component.name)} ({type(component).__name__}) can't be estimated; {_those_with_one()}"
        )
    return component.estimator.takes


def _those_with_one() -> str:
    from xfit.components import TYPES

    return "these can: " + ", ".join(sorted(name for name, cls in TYPES.items() if cls.estimator is not None))


def _estimation(
    component: Component,
    targets: tuple[Target, ...],
    taken: Mapping[str, float],
    range: Range,
    axes: Axes,
    number: int = 0,
    neighbours: tuple[tuple[int, tuple[str, ...]], ...] = (),
) -> Estimation:
    """Put an estimate together, with enough channels for it."""
    estimator = component.estimator
    assert estimator is not None
    grid = [axes.table[axes.names.index(name)] for name in component.coordinates]
    linear = tuple(parameter.name for parameter in component.parameters if parameter.linear)
    place = _place_of(component)
    estimation = Estimation(
        estimator.function, targets, tuple(taken.items()), range, component.coordinates, number, linear, place,
        estimator.channels, bool(place) and _points_down(component, targets, linear), neighbours,
    )  # fmt: skip
    n = int(estimation.part(grid).sum())
    if n < estimator.channels:
        along = " and ".join(repr(d) for d in axes.dims)
        part = along if range is None else f"the range {range[0] if len(range) == 1 else range} of {along}"
        ends = " and ".join(f"from {x.min():g} to {x.max():g}" for x in grid if x.size)
        extent = f", which goes {ends}" if ends else ""
        raise ValueError(
            f"{cleaned(component.name)}: an estimate needs at least {estimator.channels} channel(s); {part} has {n}{extent}"
        )
    return estimation


def _place_of(component: Component) -> tuple[str, ...]:
    """Names of the parameters that say where a component is; none of a background, which is everywhere."""
    if component.position is None or component.is_background:
        return ()
    return (component.position,) if isinstance(component.position, str) else component.position


def _points_down(component: Component, targets: tuple[Target, ...], linear: tuple[str, ...]) -> bool:
    """Whether the one amplitude of a component begins, or must stay, below zero."""
    if len(linear) != 1:
        return False
    top = [target.upper for target in targets if target.key == linear[0]]
    return component[linear[0]].value < 0 or any(upper <= 0 for upper in top)


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
