"""Labels of arrays that belong together: the same in the same order, or refused with the first that differs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr


def difference(array: xr.DataArray | xr.Dataset, like: xr.DataArray | xr.Dataset, dim: Hashable) -> str | None:
    """Say in words where the labels of two arrays along a dimension differ first; labels are compared exactly.

    Parameters
    ----------
    array, like : DataArray or Dataset
        Both have the dimension. Where one of them has no coordinate of its own there, what other coordinates both have
        along it are its labels; where there is none, arrays belong together by position.

    Returns
    -------
    str or None
        None where they do not differ.
    """
    for name, own, others in _labels(array, like, dim):
        if len(own) == len(others) and own.equals(others):
            continue
        place = next(
            (k for k, (one, other) in enumerate(zip(own, others, strict=False)) if not _same(one, other)), None
        )
        if place is not None:
            return f"{name!r} is {_words(own[place])} at position {place}, and {_words(others[place])} there"
        if len(own) != len(others):
            longer, who = (own, "only here") if len(own) > len(others) else (others, "only there")
            place = min(len(own), len(others))
            return f"{name!r} is {_words(longer[place])} at position {place} {who}"
    return None


def check_same_labels(
    array: xr.DataArray | xr.Dataset,
    name: str,
    like: xr.DataArray | xr.Dataset,
    dims: Iterable[Hashable],
    owner: str = "the data have",
    way_out: str | None = None,
) -> None:
    """Refuse an array that has another size or other labels along a dimension than the one that it belongs to.

    Parameters
    ----------
    name : str
        What the array is called, for messages.
    like : DataArray or Dataset
        What it belongs to.
    dims : iterable
        Dimensions that both have.
    owner : str
        Who has the other labels, for messages.
    way_out : str, optional
        What to do; by default to align the array.

    Raises
    ------
    ValueError
        Naming the first label that differs.
    """
    for d in dims:
        words = difference(array, like, d)
        if array.sizes[d] != like.sizes[d]:
            raise ValueError(
                f"{name} has size {array.sizes[d]} along {d!r}, {owner} {like.sizes[d]}{f' ({words})' if words else ''}"
            )
        if words:
            raise ValueError(
                f"{name} has other labels along {d!r} than {owner}: {words}; "
                + (
                    way_out
                    or (
                        f"align them first (for instance {name}.reindex_like(da), or {name}.assign_coords({{{d!r}: "
                        f"da[{d!r}]}}) where the same is meant)"
                    )
                )
            )


def at_labels_of(array: xr.DataArray, like: xr.DataArray, name: str, owner: str) -> xr.DataArray:
    """Take the part of an array that lies at the labels of another one, exactly and in its order.

    Parameters
    ----------
    array : DataArray
        All of its dimensions are those of the other one.
    like : DataArray
        What has the labels, all of which the array must have.
    name, owner : str
        What the other one is called, and whose labels the array has, for messages.

    Raises
    ------
    ValueError
        Naming the first label that the array does not have; without labels of both, where sizes differ.
    """
    for d in array.dims:
        words = difference(like, array, d)
        if words is None and like.sizes[d] == array.sizes[d]:
            continue
        if d not in like.indexes or d not in array.indexes or not array.indexes[d].is_unique:
            check_same_labels(like, name, array, [d], owner, f"give the data that were fitted, or cut {name} like them")
        wanted = like.indexes[d]
        places = array.indexes[d].get_indexer(wanted)
        if (places < 0).any():
            place = int(np.flatnonzero(places < 0)[0])
            raise ValueError(
                f"{name} has {d!r} = {_words(wanted[place])} at position {place}, which is no label that "
                f"{owner}{_nearest(wanted[place], array.indexes[d])}; "
                f"give the data that were fitted or a part of them, with the very same labels"
            )
        array = array.isel({d: _range_of(places)})
    return array


def check_scalars(array: xr.DataArray, name: str, like: xr.DataArray | xr.Dataset, owner: str) -> None:
    """Refuse an array that was cut out at another place: coordinates without dimensions that both have must be equal.

    Raises
    ------
    ValueError
        Naming the coordinate.
    """
    for key, coordinate in array.coords.items():
        if coordinate.ndim or key not in like.coords:
            continue
        other = like.coords[key]
        if other.ndim or coordinate.chunks is not None or other.chunks is not None:
            continue
        one, two = coordinate.values[()], other.values[()]
        if not _same(one, two):
            raise ValueError(
                f"{name} has {key!r} = {_words(one)}, {owner} {_words(two)}: it is of another place or time"
            )


def _labels(
    array: xr.DataArray | xr.Dataset, like: xr.DataArray | xr.Dataset, dim: Hashable
) -> Iterator[tuple[Hashable, pd.Index, pd.Index]]:
    """Coordinates by which two arrays are labelled along a dimension."""
    if dim in array.coords and dim in like.coords:
        yield dim, _index(array, dim), _index(like, dim)
        return
    for name, c in array.coords.items():
        # Not `get`, which makes a coordinate where there is none.
        if c.dims != (dim,) or name not in like.coords or name == dim:
            continue
        other = like.coords[name]
        if other.dims == (dim,) and c.chunks is other.chunks is None:
            yield name, pd.Index(c.values), pd.Index(other.values)


def _index(array: xr.DataArray | xr.Dataset, dim: Hashable) -> pd.Index:
    """Labels of a dimension's own coordinate, whether xarray made an index of it or not."""
    return array.indexes[dim] if dim in array.indexes else pd.Index(array.coords[dim].values)


def _same(one: Any, other: Any) -> bool:
    """Whether two labels are equal, or both are missing."""
    try:
        return bool(one == other) or bool(one != one and other != other)
    except (TypeError, ValueError):
        return repr(one) == repr(other)


def _words(label: Any) -> str:
    """A label with all of its digits."""
    if isinstance(label, float | np.floating):
        return repr(float(label))
    if isinstance(label, np.datetime64 | np.timedelta64 | pd.Timestamp | pd.Timedelta):
        return str(label)
    return repr(label.item() if isinstance(label, np.generic) else label)


def _nearest(label: Any, index: pd.Index) -> str:
    """The nearest of labels that are numbers, in words: one that was computed in another
    way differs in the last digits.
    """
    if not isinstance(label, int | float | np.number) or index.dtype.kind not in "iuf" or not len(index):
        return ""
    values = np.asarray(index, np.float64)
    return f" (the nearest is {_words(values[int(np.nanargmin(np.abs(values - float(label))))])})"


def _range_of(places: np.ndarray) -> Any:
    """Positions as a slice where they follow each other: lazy arrays are cut, and not looked up number by number."""
    if places.size and (np.diff(places) == 1).all():
        return slice(int(places[0]), int(places[-1]) + 1)
    return places
