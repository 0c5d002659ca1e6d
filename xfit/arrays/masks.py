"""Masks of signal channels, by coordinate."""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.axes import with_signal_coordinates


def signal_range(
    da: xr.DataArray, *ranges: Any, dim: Hashable | Sequence[Hashable] | None = None, remove: bool = False
) -> xr.DataArray:
    """Mask of the channels whose coordinates lie in any of the ranges, for ``where=`` of a fit.

    Parameters
    ----------
    da : DataArray
        The data, or whatever has their signal coordinates.
    *ranges : tuple of (float or None, float or None), slice, or mapping
        Ends of each range, both included; None leaves an end open. For images a mapping such as
        ``{"x": (2, 4), "y": (10, 15)}``, for a rectangle.
    dim : hashable or sequence of hashable, optional
        Signal dimension(s); by default the last one or, where ranges are mappings, those that they name.
    remove : bool, optional
        Whether the ranges are left out instead.

    Returns
    -------
    DataArray of bool
        Over the signal dimension(s). Masks are combined with ``&``, ``|`` and ``~``.

    Raises
    ------
    TypeError, ValueError
        For a dimension that is not there, ends that are no numbers or the wrong way round, or a mask without any
        channel.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xfit
    >>> da = xr.DataArray(np.zeros(5), dims="energy", coords={"energy": [10.0, 20, 30, 40, 50]})
    >>> xfit.signal_range(da, (10, 20), (45, None)).values
    array([ True,  True, False, False,  True])
    """
    if not isinstance(da, xr.DataArray):
        raise TypeError(f"da must be an xarray.DataArray, not {type(da).__name__}")
    if not ranges:
        raise ValueError("give at least one range, such as (700, 720)")
    parts = [_rectangle(da, each, _dims(da, each, dim)) for each in ranges]
    mask = parts[0]
    for part in parts[1:]:
        mask = mask | part
    mask = ~mask if remove else mask
    if not bool(mask.any()):
        raise ValueError(f"the range(s) {ranges} {'leave' if remove else 'select'} no channel at all")
    return mask.rename("where").drop_vars([c for c in mask.coords if c not in mask.dims])


def _dims(da: xr.DataArray, given: Any, dim: Any) -> list[Hashable]:
    """Signal dimensions that a range is about."""
    if isinstance(given, Mapping):
        dims = list(given) if dim is None or isinstance(dim, str) else list(dim)
    else:
        dims = [da.dims[-1]] if dim is None else [dim] if isinstance(dim, str) else list(dim)
        if len(dims) != 1:
            raise ValueError(f"range {given!r} must be a mapping with a range for each of the dimensions {dims}")
    unknown = [d for d in [*dims, *(given if isinstance(given, Mapping) else ())] if d not in da.dims]
    if unknown:
        raise ValueError(f"no dimension(s) {unknown} in the data; they have {list(da.dims)}")
    return sorted(dims, key=da.dims.index)


def _rectangle(da: xr.DataArray, given: Any, dims: list[Hashable]) -> xr.DataArray:
    """Mask of one range, or of one range for each dimension."""
    found = None
    for d in dims:
        ends = given.get(d, (None, None)) if isinstance(given, Mapping) else given
        low, high = _ends(ends, given)
        at = with_signal_coordinates(da, (d,), ("x",))[d]
        if at.dtype.kind not in "iuf":
            raise TypeError(f"the coordinate {d!r} has dtype {at.dtype}; a range needs numbers")
        part = (at >= low) & (at <= high)
        found = part if found is None else found & part
    assert found is not None
    return found.transpose(*dims)


def _ends(ends: Any, given: Any) -> tuple[float, float]:
    """Both ends of a range as numbers."""
    if isinstance(ends, slice):
        if ends.step is not None:
            raise ValueError(f"range {given!r}: a step means nothing here")
        ends = (ends.start, ends.stop)
    if not isinstance(ends, tuple | list) or len(ends) != 2:
        raise TypeError(f"range {given!r} must be a pair of numbers, such as (700, 720)")
    for end in ends:
        wrong = isinstance(end, bool) or not isinstance(end, numbers.Real)
        if end is not None and (wrong or math.isnan(float(end))):
            raise TypeError(f"range {given!r}: {end!r} is no number")
    low = -np.inf if ends[0] is None else float(ends[0])
    high = np.inf if ends[1] is None else float(ends[1])
    if low > high:
        raise ValueError(f"range {given!r} is the wrong way round: {low} is above {high}")
    return low, high
