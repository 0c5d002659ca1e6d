"""Arrays that a user hands to a fit beside the data, checked before any work starts and laid out like the data."""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.alignment import check_same_labels, check_scalars
from xfit.arrays.axes import Axes
from xfit.arrays.storable import check_chunk_sizes
from xfit.engine.block.options import Settings
from xfit.engine.codegen.program import Program
from xfit.engine.losses import Loss
from xfit.modeling.model import Model
from xfit.modeling.units import differ, units_of
from xfit.noise import Poisson

#: What to do about data that are not those of a result.
_WAY_OUT = "give the data that were fitted: of a part of them, with the same part of the result (fit.isel(...))"

#: Numbers that are looked at together.
_PIECE = 1 << 16


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
    check_chunk_sizes(array, name)
    check_same_labels(array, name, da, array.dims)
    for d in array.dims:
        check_coordinate_units(array, name, da, d)
    return array.transpose(*(d for d in da.dims if d in array.dims))


def check_coordinate_units(array: xr.DataArray, name: str, da: xr.DataArray | xr.Dataset, d: Hashable) -> None:
    """Refuse an array whose coordinate along a dimension is in other units than that of the data."""
    if d not in array.coords or d not in da.coords:
        return
    own, units = array[d].attrs.get("units"), da[d].attrs.get("units")
    if differ(own, units):
        raise ValueError(
            f"{name} has the coordinate {d!r} in {own!r}, the {'result has' if name == 'da' else 'data have'} it in {units!r}, and no units are converted: convert one of the "
            f"coordinates and its attribute units"
        )


def check_fitted(result: xr.Dataset, dims: Sequence[Hashable], da: Any, names: Sequence[str] = ()) -> None:
    """Refuse what can't be the data that a result is of: the same dimensions, and the very same labels along each.

    Parameters
    ----------
    result : Dataset
        Result of a fit.
    dims : sequence
        Its signal dimensions.
    da : DataArray
        The data, as a user gave them.
    names : sequence of str, optional
        Coordinates that the model uses.

    Raises
    ------
    TypeError, ValueError
        Naming the first label that differs.
    """
    check_fitted_dims(result, dims, da)
    check_same_labels(da, "da", result, da.dims, "the result has", _WAY_OUT)
    check_fitted_coordinates(result, dims, da, names)


def check_fitted_dims(result: xr.Dataset, dims: Sequence[Hashable], da: Any) -> None:
    """Refuse what has other dimensions than a result, or is of another place; see `check_fitted`."""
    if not isinstance(da, xr.DataArray):
        raise TypeError(f"da must be the xarray.DataArray that was fitted, not {type(da).__name__}")
    check_chunk_sizes(da, "da")
    wanted = [*(d for d in result["value"].dims if d != "param"), *dims]
    missing, extra = [d for d in wanted if d not in da.dims], [d for d in da.dims if d not in wanted]
    if missing:
        raise ValueError(
            f"da has no dimension(s) {missing}; it must be the data that were fitted, or a part of them (cut the result in the same way: "
            f"fit.isel(...))"
        )
    if extra:
        raise ValueError(
            f"da has dimension(s) {extra}, which the result has not; it must be the data that were fitted: cut out the same place"
        )
    check_scalars(da, "da", result, "the result has")


def check_fitted_coordinates(
    result: xr.Dataset | xr.DataArray, dims: Sequence[Hashable], da: xr.DataArray, names: Sequence[str]
) -> None:
    """Refuse data whose coordinates are in other units than a result's, or which have others that the model uses; see `check_fitted`."""
    for d in da.dims:
        check_coordinate_units(da, "da", result, d)
    for name in names:
        if name not in da.coords or name not in result.coords:
            continue
        own, other = da.coords[name], result.coords[name]
        if not set(other.dims) <= set(dims) or set(own.dims) != set(other.dims):
            continue
        if not np.array_equal(own.transpose(*other.dims).values, other.values):
            raise ValueError(f"da has other values of the coordinate {name!r} than the result has; {_WAY_OUT}")


def check_variance(variance: Any, da: xr.DataArray) -> xr.DataArray | float | None:
    """Return the variance as a number or an array that fits the data."""
    if variance is None:
        return None
    if isinstance(variance, str):
        raise ValueError(
            f"variance={variance!r} is not known; give 'poisson', an xfit.noise.Poisson, a number or a DataArray that broadcasts "
            f"to the data"
        )
    if isinstance(variance, numbers.Real):
        number = float(variance)
        if not (np.isfinite(number) and number > 0):
            raise ValueError(f"variance={variance} must be above zero")
        return number
    array = broadcastable(variance, "variance", da, tuple(da.dims), "the data's dimensions", "iuf")
    bad = 0 if array.chunks is not None else _not_positive(array.values)
    if bad:
        raise ValueError(
            f"variance must be above zero; {bad} of {array.size} values are not. Set those to NaN to leave their channels out"
        )
    return array


def _not_positive(values: np.ndarray) -> int:
    """How many numbers are zero or below; a piece at a time, for the conditions of a large array would go through memory twice."""
    flat = values.reshape(-1)
    pieces = (flat[first : first + _PIECE] for first in range(0, flat.size, _PIECE))
    # The minimum alone is twice as fast; it is NaN where there is one.
    return sum(0 if piece.min() > 0 else int(np.count_nonzero(piece <= 0)) for piece in pieces)


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
        raise ValueError("loss='poisson' knows the variance of counts; leave variance out (for a detector's gain and readout noise use "
                         "variance=xfit.noise.Poisson(...) with reweight=True)")  # fmt: skip
    if not isinstance(detector, Poisson):
        if reweight:
            raise ValueError(
                "reweight=True needs to know how the variance follows the model: give variance='poisson' or xfit.noise.Poisson(...)"
            )
        return check_variance(variance, da), None, loss
    numbers_ = (float(detector.gain), float(detector.offset), float(detector.correlation))
    if not reweight:
        return None, numbers_, loss
    if loss.kind != "ls":
        raise ValueError(f"reweight=True is for loss='ls', not {loss.name!r}")
    return None, None, loss.with_detector(*numbers_)


def check_where(where: Any, da: xr.DataArray, name: str = "where") -> xr.DataArray | None:
    """Return the mask of what to use as an array that fits the data."""
    if where is None:
        return None
    return broadcastable(where, name, da, tuple(da.dims), "the data's dimensions", "b")


def channels_used(where: xr.DataArray | None, axes: Axes) -> int:
    """Number of channels that a mask leaves, the same in all pixels; of other masks all channels, since each pixel says for itself."""
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
    found = units_of(result)
    known = list(found)
    shared = [name for name in program.parameters if name in known and name not in tied]
    if not shared:
        raise ValueError(f"start has no parameter in common with the model: {known} and {list(program.parameters)}")
    return {name: found[name] for name in shared}
