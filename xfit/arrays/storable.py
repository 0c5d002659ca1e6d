"""What data must be like before a lazy fit or a fit into a store begins: chunks of known size, and
labels and names that files hold.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
import xarray as xr


def check_chunk_sizes(array: xr.DataArray, name: str) -> None:
    """Refuse lazy arrays of unknown size, as dask makes them where values choose what is kept.

    Raises
    ------
    ValueError
        Naming the dimensions, and the way out.
    """
    unknown = [d for d, sizes in array.chunksizes.items() if any(size != size for size in sizes)]
    if unknown:
        raise ValueError(
            f"{name} has chunks of unknown size along {unknown}: dask does not know how many values a selection by "
            f"values leaves. Let it compute them first with {name}.data.compute_chunk_sizes(), which changes the "
            "array in place"
        )


def check_signal_names(dims: Sequence[Hashable]) -> None:
    """Refuse signal dimensions whose names are no text, for a result keeps them as text.

    Raises
    ------
    TypeError
        Naming them, and the way out.
    """
    _check_text(dims, "signal dimension(s)")


def check_storable(da: xr.DataArray, dims: Sequence[Hashable]) -> None:
    """Refuse data whose names or labels can't be written into a store, before anything in it is touched.

    Parameters
    ----------
    da : DataArray
        The data; coordinates along navigation dimensions or along signal dimensions go into the store, others do not.
    dims : sequence
        The signal dimensions.

    Raises
    ------
    TypeError, ValueError
        Naming the dimension or coordinate, and the way out.
    """
    navigation = set(da.dims) - set(dims)
    kept = {name: c for name, c in da.coords.items() if set(c.dims) <= navigation or set(c.dims) <= set(dims)}
    # Levels of a MultiIndex are coordinates that go with it.
    several = [d for d in da.dims if isinstance(da.indexes.get(d), pd.MultiIndex)]
    if several:
        raise ValueError(
            f"store=: the labels along {several} are a MultiIndex, which no file holds; turn its levels into "
            f"coordinates with da.reset_index({several[0]!r}), or its dimensions into ones of their own with "
            f"da.unstack({several[0]!r})"
        )
    _check_text([*da.dims, *kept], "store=: dimension(s) or coordinate(s)")
    for name, c in kept.items():
        words = _not_storable(c)
        if words:
            raise TypeError(
                f"store=: the coordinate {name!r} holds {words}, which no file holds; convert it (for instance "
                f"da.assign_coords({{{name!r}: da[{name!r}].astype(str)}})), or leave it out with "
                f"da.drop_vars({name!r})"
            )


def _check_text(names: Sequence[Hashable], what: str) -> None:
    others = [name for name in names if not isinstance(name, str)]
    if others:
        raise TypeError(
            f"{what} {others} have names that are no text; rename them (for instance da.rename({{{others[0]!r}: "
            f"'dim_0'}}))"
        )


def _not_storable(c: xr.DataArray) -> str:
    """In words, what of a coordinate's values a file has no type for; empty where it has."""
    if not isinstance(c.dtype, np.dtype):
        return f"values of the type {c.dtype}"
    if c.dtype.kind != "O" or c.chunks is not None:
        return ""
    # Missing labels among text are NaN; times of other calendars are objects that say which.
    strange = [v for v in c.values.ravel() if not (isinstance(v, str | float) or hasattr(v, "calendar"))]
    return f"objects of the type {type(strange[0]).__name__}" if strange else ""
