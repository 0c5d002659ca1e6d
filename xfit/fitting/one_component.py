"""One component of a model fitted by itself, in a part of the signal."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.axes import signal_dims
from xfit.arrays.masks import signal_range
from xfit.fitting.multifit import multifit
from xfit.fitting.planning.arguments import DimLike, RangeLike
from xfit.fitting.planning.checks import check_data
from xfit.fitting.running.worker_watch import computed
from xfit.modeling.component import Component
from xfit.modeling.model import Model


def fit_component(
    da: xr.DataArray,
    model: Model,
    name: str,
    range: RangeLike = None,
    *,
    alone: bool = False,
    estimate: bool = True,
    dim: DimLike = None,
    **options: Any,
) -> xr.Dataset:
    """Fit one component, the others staying as they are.

    Parameters
    ----------
    da : DataArray
        The data. If they are one spectrum, the component's values become those of the fit.
    model : Model
        The model.
    name : str
        Name of the component.
    range : (float, float) or several of them, optional
        Part of the signal coordinate to use; for images a mapping with a range for each coordinate.
    alone : bool, optional
        Whether the other components are left out instead of fixed.
    estimate : bool, optional
        Whether start values are estimated from the data in the range, for components that can be.
    dim : optional
        Signal dimension(s), as for `xfit.multifit`.
    **options
        As for `xfit.multifit`.

    Returns
    -------
    Dataset
        Result of the fit; of a map, ``start=`` of a fit of the whole model takes it.

    Raises
    ------
    KeyError, ValueError
        For an unknown component, or one with nothing free.
    """
    check_data(da)
    fitted, part = model[name], model.copy()
    component = part[name]
    others = [c for c in part if c is not component]
    for other in others:
        if alone:
            other.active = False
        for parameter in other.parameters:
            if parameter.free:
                parameter.free = False
    if not any(p.free for p in component.parameters):
        raise ValueError(f"component {name!r} has no free parameter; set free=True on what is to be fitted")
    where = options.pop("where", None)
    if range is not None:
        mask = _mask(da, range, signal_dims(da, dim, model.signal_dimension))
        where = mask if where is None else where & mask
    if estimate and "start" not in options and component.estimator is not None:
        options["start"] = {name: range} if range is not None else _estimated(component, da, dim)
    fit = multifit(da, part, dim, where=where, **options)
    if set(fit["value"].dims) == {"param"}:
        _keep(fitted, name, fit)
    return fit


def _estimated(component: Component, da: xr.DataArray, dim: Any) -> dict[str, Any]:
    """Start values from the whole signal."""
    found = component.copy().estimate(da, dim=dim)
    return {str(key): value for key, value in found.items()}


def _mask(da: xr.DataArray, range: Any, dims: tuple[Any, ...]) -> xr.DataArray:
    """Channels in one range or in several."""
    several = isinstance(range, list | tuple) and len(range) > 0 and isinstance(range[0], list | tuple)
    ranges = list(range) if several else [range]
    return signal_range(da, *ranges, dim=dims[0] if len(dims) == 1 else None)


def _keep(component: Component, name: str, fit: xr.Dataset) -> None:
    """Make the values those of the component, which was called by the name when the fit began."""
    values = computed(fit)[0]["value"]
    for parameter in component.parameters:
        value = float(values.sel(param=f"{name}.{parameter.name}"))
        if parameter.free and np.isfinite(value):
            parameter.value = value
