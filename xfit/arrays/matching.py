"""Arrays that come with the data, or are fitted again: their dimensions, labels, units and
dtypes must be those of the data.
"""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.alignment import check_same_labels, check_scalars
from xfit.arrays.storable import check_chunk_sizes
from xfit.arrays.unit_text import differ

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
            f"{name} has the coordinate {d!r} in {own!r}, the {'result has' if name == 'da' else 'data have'} it in "
            f"{units!r}, and no units are converted: convert one of the "
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
            f"da has no dimension(s) {missing}; it must be the data that were fitted, or a part of them (cut the "
            "result in the same way: fit.isel(...))"
        )
    if extra:
        raise ValueError(
            f"da has dimension(s) {extra}, which the result has not; it must be the data that were fitted: cut out the "
            "same place"
        )
    check_scalars(da, "da", result, "the result has")


def check_fitted_coordinates(
    result: xr.Dataset | xr.DataArray, dims: Sequence[Hashable], da: xr.DataArray, names: Sequence[str]
) -> None:
    """Refuse data whose coordinates are in other units than a result's, or which have others that the
    model uses; see `check_fitted`.
    """
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
            f"variance={variance!r} is not known; give 'poisson', an xfit.noise.Poisson, a number or a DataArray that "
            "broadcasts to the data"
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
            f"variance must be above zero; {bad} of {array.size} values are not. Set those to NaN to leave their "
            "channels out"
        )
    return array


def _not_positive(values: np.ndarray) -> int:
    """How many numbers are zero or below; a piece at a time, for the conditions of a large array
    would go through memory twice.
    """
    flat = values.reshape(-1)
    pieces = (flat[first : first + _PIECE] for first in range(0, flat.size, _PIECE))
    # The minimum alone is twice as fast; it is NaN where there is one.
    return sum(0 if piece.min() > 0 else int(np.count_nonzero(piece <= 0)) for piece in pieces)


def check_where(where: Any, da: xr.DataArray, name: str = "where") -> xr.DataArray | None:
    """Return the mask of what to use as an array that fits the data."""
    if where is None:
        return None
    return broadcastable(where, name, da, tuple(da.dims), "the data's dimensions", "b")
