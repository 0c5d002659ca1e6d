"""What components are convolved with (an instrument's response, a low-loss spectrum),
checked and laid out like the data.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xfit.modeling.number_arrays import number_array
from xfit.modeling.text_limits import checked_length

if TYPE_CHECKING:
    from xfit.modeling.model import Model

#: Dimension of what stands for a response that was not stored.
_UNKNOWN = "unknown response"

#: Largest departure of a coordinate from even steps, in steps.
_UNEVEN = 0.05


@dataclass(frozen=True)
class ResponseGrid:
    """Points at which convolved components are evaluated.

    Attributes
    ----------
    start, step : float
        First point and distance of the points, in units of x.
    count : int
        How many; the channels and the response's points less one.
    """

    start: float
    step: float
    count: int

    @property
    def points(self) -> np.ndarray:
        """The points: float64 (count,)."""
        return self.start + self.step * np.arange(self.count)


def checked_response(response: Any) -> xr.DataArray | None:
    """Refuse what can be no response of any data."""
    if response is None:
        return None
    if not isinstance(response, xr.DataArray):
        raise TypeError(
            f"response must be an xarray.DataArray with the signal's coordinate, or None; not {type(response).__name__}"
        )
    if response.dtype.kind not in "iuf":
        raise TypeError(f"response has dtype {response.dtype}; it must hold real numbers")
    if response.ndim == 0 or response.size == 0:
        raise ValueError(f"response has shape {response.shape}; it needs at least one point along the signal dimension")
    return response


def is_unknown(response: xr.DataArray | None) -> bool:
    """Whether it only stands for one that varies over the map, which is not stored with a model."""
    return response is not None and response.dims == (_UNKNOWN,)


def response_of(
    model: Model,
    signal: xr.DataArray,
    dims: tuple[Hashable, ...],
    like: xr.DataArray,
    navigation: tuple[Hashable, ...],
) -> tuple[xr.DataArray | None, ResponseGrid | None]:
    """Lay out a model's response for data.

    Parameters
    ----------
    model : Model
        The model.
    signal : DataArray
        Has the signal's coordinate.
    dims : tuple
        Signal dimensions.
    like : DataArray
        Has the navigation dimensions.
    navigation : tuple
        These.

    Returns
    -------
    DataArray or None
        Over navigation dimensions (or none of them) and, last, the points of the response, in a dimension of its own.
    Grid or None

    Raises
    ------
    ValueError
        For a response that doesn't go with the data, or that nothing is convolved with.
    """
    response = model.response
    if response is None:
        return None, None
    if is_unknown(response):
        raise ValueError(
            "the response that this model was fitted with varies over the map and is not stored with it; "
            "set model.response again (to None for a fit without), or give it to evaluate(response=...)"
        )
    _check_components(model)
    (dim,) = dims
    if dim not in response.dims:
        raise ValueError(
            f"response has dimensions {list(response.dims)}, but not the signal dimension {dim!r} that it is convolved "
            "along"
        )
    if dim not in response.coords:
        raise ValueError(
            f"response has no coordinate {dim!r}; it must say where each point lies, zero being where nothing is "
            "shifted"
        )
    from xfit.arrays.matching import check_coordinate_units

    check_coordinate_units(response, "response", signal, dim)
    start, step = _even(np.asarray(signal[dim].values, np.float64), f"the data's coordinate {dim!r}", None)
    points = np.asarray(response[dim].values, np.float64)
    if points.size > 1 and (points[-1] - points[0]) * step < 0:
        response, points = response.isel({dim: slice(None, None, -1)}), points[::-1]
    _even(points, f"the response's coordinate {dim!r}", step)
    response = _like_the_data(response, dim, like, navigation)
    if response.ndim == 1 and response.chunks is None and not np.isfinite(response.values).all():
        raise ValueError("the response is not finite everywhere; a fixed response must be")
    count = signal.sizes[dim] + points.size - 1
    return response, ResponseGrid(float(start - points[-1]), float(step), count)


def _check_components(model: Model) -> None:
    """Refuse models of which nothing, or what can't be, is convolved."""
    if model.signal_dimension != 1:
        raise ValueError("response: models of two dimensions can't be convolved; set model.response = None")
    convolved = [component for component in model if component.convolved]
    if not convolved:
        raise ValueError(
            "the model has a response, but no component is convolved with it; set convolved=True on some of "
            f"{[component.name for component in model]}, or model.response = None"
        )
    for component in convolved:
        if component.coordinates != ("x",):
            raise ValueError(
                f"component {component.name!r} uses the coordinates {list(component.coordinates)}; what is convolved "
                "is evaluated beyond the data, where only x is known: set convolved=False on it"
            )


def _even(points: np.ndarray, what: str, step: float | None) -> tuple[float, float]:
    """First point and step of a coordinate with even steps, which must be that given."""
    if points.size < 2:
        if step is None:
            raise ValueError(f"{what} has one point; a convolution needs at least two channels")
        return float(points[0]), step
    if not np.isfinite(points).all():
        raise ValueError(f"{what} is not finite everywhere")
    own = (points[-1] - points[0]) / (points.size - 1)
    wanted = own if step is None else step
    departure = np.abs(points - points[0] - wanted * np.arange(points.size)).max()
    if not departure <= _UNEVEN * abs(wanted):
        if step is None:
            raise ValueError(f"{what} has uneven steps; a convolution needs even ones: interpolate the data")
        raise ValueError(
            f"{what} has steps of {own:.6g}, the data of {step:.6g}; they must be the same: interpolate the response "
            f"(for instance response.interp) to the data's steps"
        )
    return float(points[0]), float(own)


def _like_the_data(
    response: xr.DataArray, dim: Hashable, like: xr.DataArray, navigation: tuple[Hashable, ...]
) -> xr.DataArray:
    """Response over navigation dimensions in the data's order and, last, a dimension of its own for its points."""
    from xfit.arrays.matching import broadcastable

    own = f"{dim} of the response"
    renamed = response.drop_vars([name for name, c in response.coords.items() if dim in c.dims]).rename({dim: own})
    along = broadcastable(renamed.isel({own: 0}), "response", like, navigation, "the navigation dimensions", "iuf")
    return renamed.transpose(*along.dims, own)


def response_to_dict(response: xr.DataArray) -> dict[str, Any]:
    """Return a response as plain data; one that varies over the map without its values."""
    if response.ndim > 1 or is_unknown(response):
        return {"dim": None, "coordinate": None, "values": None}
    if not np.isfinite(response.values).all():
        raise ValueError("the model's response is not finite everywhere; such a model can't be stored")
    (dim,) = response.dims
    coordinate = [float(value) for value in response[dim].values] if dim in response.coords else None
    return {"dim": str(dim), "coordinate": coordinate, "values": [float(value) for value in response.values]}


def response_from_dict(data: Mapping[str, Any]) -> xr.DataArray:
    """Make a response from plain data.

    Raises
    ------
    TypeError, ValueError
        For what is no list of numbers.
    """
    if data["values"] is None:
        return xr.DataArray([np.nan], dims=_UNKNOWN)
    dim, coordinate = data["dim"], data["coordinate"]
    if not isinstance(dim, str):
        raise TypeError(f"dim must be text, not {dim!r}")
    checked_length(dim, "dim")
    values = number_array(data["values"], "values")
    if coordinate is None:
        return xr.DataArray(values, dims=dim)
    return xr.DataArray(values, dims=dim, coords={dim: number_array(coordinate, "coordinate")})
