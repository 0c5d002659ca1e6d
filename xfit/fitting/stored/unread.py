"""Datasets of zarr and netCDF by xarray, whose numbers are read when they are needed: an error names the store or
file, the array and the part.
"""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends.common import BackendArray

from xfit.display import cleaned, without_secrets
from xfit.fitting.stored.codecs import READ_AT_ONCE

#: Dates that are made objects of when a store or file is opened; each takes some microseconds, and memory.
MOST_DATES = 100_000


class UnreadError(ValueError):
    """Numbers of an array in a store or a file that can't be read."""


@contextmanager
def telling_part(source: object, name: str, key: Any) -> Iterator[None]:
    """Name store or file, array and part in what is raised within where it says something of them, and not
    of the machine or the network.

    Parameters
    ----------
    source : object
        The store or file, as it is printed.
    name : str
        Of the array in it.
    key : tuple
        What is taken along its dimensions.

    Raises
    ------
    UnreadError
        In place of other errors; those of memory, and those that an operating system numbers, are left, for reading may
        be tried again.
    """
    try:
        yield
    except (MemoryError, UnreadError):
        raise
    except Exception as error:
        # Libraries raise the plain ones, without a number, for what they can't unpack.
        if isinstance(error, OSError) and (error.errno is not None or type(error) not in (OSError, gzip.BadGzipFile)):
            raise
        part = ", ".join(f"{each.start}:{each.stop}" if isinstance(each, slice) else str(each) for each in key)
        raise UnreadError(
            without_secrets(
                f"{source}: numbers of {name!r} can't be read, in the part [{part}] ({type(error).__name__}: {error}); "
                "what is stored of it is damaged"
            )
        ) from error


class _Named(BackendArray):
    """An array as xarray reads it, whose errors say of what they are.

    Parameters
    ----------
    array : BackendArray
    source, name : str
        Of the store or file, and of the array in it.
    check : callable, optional
        Is called with the name and what is taken before it is read.
    """

    def __init__(self, array: Any, source: str, name: str, check: Callable[[str, Any], None] | None) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self._source, self._name, self._check = source, name, check

    def __getitem__(self, key: Any) -> Any:
        with telling_part(self._source, self._name, key.tuple):
            if self._check is not None:
                self._check(self._name, key.tuple)
            return self.array[key]

    def __getattr__(self, name: str) -> Any:
        if name == "array":
            raise AttributeError(name)
        return getattr(self.array, name)


def named(ds: xr.Dataset, source: str, check: Callable[[str, Any], None] | None = None) -> xr.Dataset:
    """Return a Dataset that has been opened lazily by xarray, whose numbers name what they are of where
    they can't be read; see `_Named`.
    """
    for name, variable in ds.variables.items():
        data: Any = variable._data
        graph = getattr(data, "dask", None)
        # The array itself is a layer by itself; those of its chunks refer to it.
        layers = [] if graph is None else [layer for layer in graph.layers.values() if len(layer) == 1]
        for each in [data] if graph is None else [each for layer in layers for each in layer.values()]:
            outer, held = None, getattr(each, "value", each)
            while held is not None and not isinstance(held, BackendArray):
                outer, held = held, getattr(held, "array", None)
            if outer is not None and held is not None:
                outer.array = _Named(held, source, str(name), check)
    return ds


class Dates(xr.coders.CFDatetimeCoder):
    """Dates as xarray decodes them, but for very many that only objects can be and that are read with the
    store or file: they stay numbers.
    """

    def decode(self, variable: xr.Variable, name: Any = None) -> xr.Variable:
        """Decode a variable."""
        at_once = variable.size > MOST_DATES and set(variable.dims) <= {name, *READ_AT_ONCE}
        if not at_once or variable.dtype.kind not in "iuf" or "since" not in str(variable.attrs.get("units")):
            return super().decode(variable, name)
        values = np.asarray(variable)
        ends = xr.Variable("end", [np.fmin.reduce(values, None), np.fmax.reduce(values, None)], variable.attrs)
        try:
            xr.coders.CFDatetimeCoder(use_cftime=False, time_unit=self.time_unit).decode(ends, name).load()
        except ValueError:
            attrs = variable.attrs
            words = (
                f"{variable.size} dates of {name!r} are left as the numbers that they are stored as "
                f"({attrs['units']}, calendar {attrs.get('calendar', 'standard')}): more than {MOST_DATES} would have "
                "to be objects"
            )
            warnings.warn(cleaned(words), stacklevel=2)
            return variable
        return super().decode(variable, name)


def open_zarr(store: Any, **options: Any) -> xr.Dataset:
    """Open a group of a zarr store with xarray; everything in xfit that does goes through this function.

    Parameters
    ----------
    store : zarr Store
    **options
        Of ``xarray.open_zarr``.
    """
    return named(xr.open_zarr(store, decode_times=Dates(), **options), f"{store}")
