"""Pixels fitted again: those that failed or stick out, from better starts; the better of old and new is kept."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import xarray as xr

from xfit.arrays.matching import broadcastable, check_fitted, check_where
from xfit.engine.block.function_errors import ATTRIBUTE
from xfit.engine.codegen.program import Program
from xfit.engine.pixel.status import BAD_COUNTS, BAD_DATA, BAD_VARIANCE, CONVERGED, MASKED, NOT_FITTED
from xfit.fitting.intervals import settings_like
from xfit.fitting.multifit import multifit
from xfit.fitting.planning.arguments import StartLike
from xfit.modeling.model import Model

#: How far neighbours are, in pixels along each navigation dimension.
RADIUS = 2

#: A pixel sticks out whose reduced chi-squared is this many standard deviations above its neighbours'.
STICKS_OUT = 5.0

#: Statuses that no other start would change.
_HOPELESS = (NOT_FITTED, BAD_DATA, BAD_VARIANCE, BAD_COUNTS, MASKED)


def refit(
    result: xr.Dataset,
    model: Model,
    dims: tuple[str, ...],
    da: xr.DataArray,
    *,
    where: xr.DataArray | None,
    start: StartLike | Literal["neighbours"],
    channels: xr.DataArray | None,
    options: Mapping[str, Any],
) -> xr.Dataset:
    """Fit some pixels again; see `xfit.result_accessor.Result.refit`."""
    check_fitted(result, dims, da, Program.from_model(model).coordinates)
    channels = check_where(channels, da, "channels")
    navigation = tuple(d for d in result["value"].dims if d != "param")
    if where is None:
        chosen = sticking_out(result)
    else:
        chosen = broadcastable(where, "where", result["status"], navigation, "the navigation dimensions", "b")
    mask = chosen if channels is None else chosen & channels
    begin = neighbours(result, model, chosen) if isinstance(start, str) and start == "neighbours" else start
    covariance = "covariance" in result
    given = {**options, "where": mask.transpose(*(d for d in da.dims if d in mask.dims)), "covariance": covariance}
    new = multifit(da, model, dims, **settings_like(result, model, {**given, "start": begin}))
    return _better(result, new, chosen)


def sticking_out(result: xr.Dataset) -> xr.DataArray:
    """Pixels that have failed, or whose reduced chi-squared is far above that of their neighbours.

    Parameters
    ----------
    result : Dataset
        Result of a fit.

    Returns
    -------
    DataArray of bool
        Over the navigation dimensions; lazy if the result is.
    """
    status = result["status"]
    good = status == CONVERGED
    red = result["red_chisq"].where(good)
    navigation = red.dims
    if not navigation:
        return ~good & ~status.isin(_HOPELESS)
    middle = _windowed(red.variable)
    spread = 1.4826 * _windowed(abs(red.variable - middle))
    # As many as dof independent channels scatter by this, whatever the neighbours do.
    chance = middle * np.sqrt(2.0 / result.variables["dof"].clip(min=1))
    above = red.variable > middle + STICKS_OUT * np.maximum(spread, chance)
    poor: xr.DataArray = (~good & ~status.isin(_HOPELESS)) | above
    return poor


def neighbours(result: xr.Dataset, model: Model, chosen: xr.DataArray) -> dict[str, xr.DataArray]:
    """Start values: of every parameter the median of the good neighbours, NaN where there are none."""
    if not chosen.dims:
        raise ValueError(
            "start='neighbours' needs a map; a single spectrum has no neighbours. Use 'estimate' or values"
        )
    good = ((result["status"] == CONVERGED) & ~chosen).variable
    values, places = result.variables["value"], list(map(str, result["param"].values))
    labels = {d: result[d] for d in values.dims if d != "param" and d in result.coords}
    found = {}
    for parameter in (p for component in model for p in component.parameters if not p.is_tied):
        value = values.isel(param=places.index(parameter.full_name))
        # Parameters that were fixed, perhaps to maps, are fixed there again.
        start = _windowed(value.where(good)) if parameter.free else value
        found[parameter.full_name] = xr.DataArray(start, coords=labels)
    return found


def _windowed(variable: xr.Variable) -> xr.Variable:
    """Medians of the neighbours of every pixel, itself left out."""
    n = variable.ndim
    if variable.chunks is None:
        padded = np.pad(variable.values, RADIUS, constant_values=np.nan)
        return variable.copy(data=_of_neighbours(padded)[(slice(RADIUS, -RADIUS),) * n])
    # Not at the top: with what it imports of SciPy it takes a fifth of the time of `import xfit`.
    import dask.array

    data = dask.array.map_overlap(
        _of_neighbours,
        variable.data,
        depth=RADIUS,
        boundary=np.nan,
        dtype=np.float64,
        allow_rechunk=True,
        meta=np.empty((0,) * n),
    )
    return variable.copy(data=data).chunk(variable.chunksizes)


def _of_neighbours(padded: np.ndarray) -> np.ndarray:
    """Medians of the neighbours of every pixel, NaN where there are none; what lies at the margin is of no use."""
    steps = [s for s in itertools.product(range(-RADIUS, RADIUS + 1), repeat=padded.ndim) if any(s)]
    window = np.stack([np.roll(padded, step, axis=tuple(range(padded.ndim))) for step in steps], axis=-1)
    # NaN is sorted to the end. NumPy's own median of what is not NaN takes ten times as long for so few.
    window.sort(axis=-1)
    number = np.count_nonzero(window == window, axis=-1)[..., None]
    low, high = (
        np.take_along_axis(window, np.maximum(k, 0), axis=-1)[..., 0] for k in ((number - 1) // 2, number // 2)
    )
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray((low + high) / 2.0)


def _better(old: xr.Dataset, new: xr.Dataset, chosen: xr.DataArray) -> xr.Dataset:
    """Take the new fit of a chosen pixel where it converged and the old one did not, or where its loss is lower.

    Raises
    ------
    ValueError
        Where the losses are of different numbers of channels; for lazy results when they are computed.
    """
    before, after = old.variables, new.variables
    was, now = before["status"] == CONVERGED, after["status"] == CONVERGED
    known = _compared(chosen, old, new).variable
    lower = (after["loss"] < before["loss"]) | before["loss"].isnull()
    take = chosen.variable & known & ((now & ~was) | ((now | ~was) & lower))
    mixed: dict[Any, Any] = {}
    for name in new.data_vars:
        if name in old and set(take.dims) <= set(before[name].dims):
            one, like = after[name].where(take, before[name]), before[name]
            mixed[name] = xr.Variable(like.dims, one.astype(like.dtype).transpose(*like.dims).data, like.attrs)
    nfev = before["nfev"] + after["nfev"].where(chosen.variable, 0)
    mixed["nfev"] = xr.Variable(nfev.dims, nfev.astype(np.int32).data, before["nfev"].attrs)
    mixed["refitted"] = xr.Variable(
        take.dims, take.data, {"long_name": "whether the values are those of a further fit"}
    )
    result = old.assign(mixed)
    if ATTRIBUTE in new.attrs:
        result.attrs[ATTRIBUTE] = new.attrs[ATTRIBUTE]
    return result


def _compared(chosen: xr.DataArray, old: xr.Dataset, new: xr.Dataset) -> xr.DataArray:
    """Where there is a new loss of as many channels as the old one, which is checked."""
    given = (chosen, old["loss"].notnull(), new["loss"].notnull(), old["dof"], new["dof"])
    found: xr.DataArray = xr.apply_ufunc(_of_the_same_channels, *given, dask="parallelized", output_dtypes=[bool])
    return found


def _of_the_same_channels(
    chosen: np.ndarray, old: np.ndarray, new: np.ndarray, old_dof: np.ndarray, new_dof: np.ndarray
) -> np.ndarray:
    """Where there is a new loss.

    Raises
    ------
    ValueError
        Where it is of other channels than the old one.
    """
    chosen, old, new, old_dof, new_dof = np.broadcast_arrays(chosen, old, new, old_dof, new_dof)
    other = chosen & old & new & (old_dof != new_dof)
    if other.any():
        raise ValueError(
            f"da: the fit used other channels in {int(other.sum())} of the pixels that are fitted again "
            f"({int(new_dof[other][0])} degrees of freedom now, {int(old_dof[other][0])} in the result), and losses "
            "over different channels can't be compared; give what the fit was given: channels= (its where=), "
            "variance=, and the same data"
        )
    return new
