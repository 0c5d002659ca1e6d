"""Start values that are estimated from each pixel's data: what is asked for, checked and described."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import xarray as xr

from xfit.arrays.axes import Axes
from xfit.display import cleaned
from xfit.engine.block.options import Settings
from xfit.engine.codegen.program import Program
from xfit.modeling.component import LIBRARY, Component
from xfit.modeling.estimate_block import Estimation, Target
from xfit.modeling.model import Model

#: Parts of the signal coordinates to use; None is all of them.
Range = tuple[tuple[float, float], ...] | None


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
            if parameter.name in taken_by(component):
                taken[parameter.name] = value
            if settings.free[k] and parameter.full_name not in names:
                bounds = float(settings.lower[k]), float(settings.upper[k])
                targets.append(Target(parameter.name, parameter.full_name, value, *bounds))
        if targets:
            others = tuple(place for place in places if place[0] != number)
            part = ranges[component.name]
            estimations.append(estimation_of(component, tuple(targets), taken, part, axes, number, others))
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


def taken_by(component: Component) -> tuple[str, ...]:
    """Parameters that the estimator of a component takes, which there must be one of."""
    if component.estimator is None:
        raise ValueError(
            f"{cleaned(component.name)} ({type(component).__name__}) can't be estimated; {_those_with_one()}"
        )
    return component.estimator.takes


def _those_with_one() -> str:
    return "these can: " + ", ".join(sorted(name for name, cls in LIBRARY.items() if cls.estimator is not None))


def estimation_of(
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
        estimator.function,
        targets,
        tuple(taken.items()),
        range,
        component.coordinates,
        number,
        linear,
        place,
        estimator.channels,
        bool(place) and _points_down(component, targets, linear),
        neighbours,
    )
    n = int(estimation.part(grid).sum())
    if n < estimator.channels:
        along = " and ".join(repr(d) for d in axes.dims)
        part = along if range is None else f"the range {range[0] if len(range) == 1 else range} of {along}"
        ends = " and ".join(f"from {x.min():g} to {x.max():g}" for x in grid if x.size)
        extent = f", which goes {ends}" if ends else ""
        raise ValueError(
            f"{cleaned(component.name)}: an estimate needs at least {estimator.channels} channel(s); {part} has "
            f"{n}{extent}"
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
