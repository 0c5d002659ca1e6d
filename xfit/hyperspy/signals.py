"""Signals of HyperSpy to DataArrays and back."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import xarray as xr

from xfit.files.signals import array_to_signal, signal_to_array


def from_hyperspy(signal: Any) -> xr.DataArray:
    """Make a DataArray out of a HyperSpy signal.

    Parameters
    ----------
    signal : hyperspy BaseSignal
        Of any class; the data of a lazy one stay lazy.

    Returns
    -------
    DataArray
        Navigation dimensions first, a coordinate for each axis, metadata as attributes, a noise variance as the
        coordinate ``variance``; see `xfit.open`. The values are those of the signal, not a copy.

    Raises
    ------
    TypeError
        For what is no signal, and for ragged signals.

    Examples
    --------
    >>> import numpy as np, hyperspy.api as hs, xfit  # doctest: +SKIP
    >>> xfit.from_hyperspy(hs.signals.Signal1D(np.zeros((3, 4, 50)))).dims  # doctest: +SKIP
    ('y', 'x', 'channel')
    """
    if not hasattr(signal, "_to_dictionary") or not hasattr(signal, "axes_manager"):
        raise TypeError(f"signal must be a HyperSpy signal, not {type(signal).__name__}")
    return signal_to_array(signal._to_dictionary(add_learning_results=False, add_models=False))


def to_hyperspy(da: xr.DataArray, *, signal_dims: Hashable | Sequence[Hashable] | None = None) -> Any:
    """Make a HyperSpy signal out of a DataArray.

    Parameters
    ----------
    da : DataArray
        Data with dask chunks become a lazy signal.
    signal_dims : hashable or sequence of hashable, optional
        The signal dimensions, an empty list for none. By default those whose coordinates say ``navigate = 0``, else the
        last one.

    Returns
    -------
    hyperspy BaseSignal
        Of the class that its ``signal_type`` attribute, its signal dimensions and its dtype ask for.

    Raises
    ------
    ImportError
        Without HyperSpy.
    TypeError, ValueError
        For data and coordinates that a signal can't have.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xfit  # doctest: +SKIP
    >>> xfit.to_hyperspy(xr.DataArray(np.zeros((3, 50)), dims=("x", "energy")))  # doctest: +SKIP
    <Signal1D, title: , dimensions: (3|50)>
    """
    dictionary = array_to_signal(da, signal_dims=signal_dims)
    try:
        from hyperspy.io import dict2signal
    except ImportError as error:
        raise ImportError(f"to_hyperspy needs HyperSpy ({error}); install it with: pip install hyperspy") from error
    return dict2signal(dictionary, lazy=da.chunks is not None)
