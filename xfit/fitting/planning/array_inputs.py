"""Arrays that a user hands to a fit beside the data, checked before any work starts and laid out like the data."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.axes import Axes
from xfit.arrays.matching import broadcastable, check_variance
from xfit.engine.block.options import Settings
from xfit.engine.codegen.program import Program
from xfit.engine.losses import Loss
from xfit.modeling.model import Model
from xfit.modeling.units import units_of
from xfit.noise import Poisson


def check_noise(
    variance: Any, reweight: Any, loss: Loss, da: xr.DataArray
) -> tuple[xr.DataArray | float | None, tuple[float, float, float] | None, Loss]:
    """Settle what the variance is: given, estimated from the data by a detector's noise, or following the model.

    Returns
    -------
    variance : DataArray, float or None
    noise : tuple of float or None
        Gain, offset and correlation, where the variance is estimated from the data.
    loss : Loss
        With the detector in it, where the variance follows the model.
    """
    if not isinstance(reweight, bool | np.bool_):
        raise TypeError(f"reweight={reweight!r} must be True or False")
    detector = Poisson() if isinstance(variance, str) and variance == "poisson" else variance
    if loss.kind == "poisson" and variance is not None:
        raise ValueError(
            "loss='poisson' knows the variance of counts; leave variance out (for a detector's gain and readout noise "
            "use variance=xfit.noise.Poisson(...) with reweight=True)"
        )
    if not isinstance(detector, Poisson):
        if reweight:
            raise ValueError(
                "reweight=True needs to know how the variance follows the model: give variance='poisson' or "
                "xfit.noise.Poisson(...)"
            )
        return check_variance(variance, da), None, loss
    numbers_ = (float(detector.gain), float(detector.offset), float(detector.correlation))
    if not reweight:
        return None, numbers_, loss
    if loss.kind != "ls":
        raise ValueError(f"reweight=True is for loss='ls', not {loss.name!r}")
    return None, None, loss.with_detector(*numbers_)


def channels_used(where: xr.DataArray | None, axes: Axes) -> int:
    """Number of channels that a mask leaves, the same in all pixels; of other masks all channels,
    since each pixel says for itself.
    """
    count = int(np.prod(axes.shape))
    if where is None or where.chunks is not None or not set(where.dims) <= set(axes.dims):
        return count
    return count * int(where.sum()) // max(where.size, 1)


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
            "start must be None, 'estimate', a mapping of parameter names to numbers or DataArrays, or an earlier "
            f"result; not {start!r}"
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
            f"start[{name!r}] is {value}, outside of the bounds [{settings.lower[k]}, {settings.upper[k]}] of that "
            "parameter"
        )
    return value


def _result_maps(result: xr.Dataset, program: Program, tied: Mapping[str, str]) -> dict[str, xr.DataArray]:
    """Maps of the parameters that an earlier result shares with the model."""
    if "value" not in result or "param" not in result.get("value", xr.DataArray()).dims:
        raise ValueError("start is a Dataset without the variable 'value' over 'param': it is no result of a fit")
    found = units_of(result)
    known = list(found)
    shared = [name for name in program.parameters if name in known and name not in tied]
    if not shared:
        raise ValueError(f"start has no parameter in common with the model: {known} and {list(program.parameters)}")
    return {name: found[name] for name in shared}
