"""Numbers of a zarr store that are read when they are needed: an error names the store, the array and the part."""

from __future__ import annotations

from typing import Any

import xarray as xr
from xarray.backends.zarr import ZarrArrayWrapper

from xfit.display import without_secrets


class UnreadError(ValueError):
    """Numbers of an array in a store that can't be read."""


class _Named(ZarrArrayWrapper):
    """An array as xarray reads it, whose errors say of what they are."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        try:
            return super().__getitem__(key)
        except (MemoryError, OSError):
            # They say something of the machine, or of the network, and reading may be tried again.
            raise
        except Exception as error:
            array = self.get_array()
            part = ", ".join(f"{each.start}:{each.stop}" if isinstance(each, slice) else str(each) for each in key.tuple)  # fmt: skip
            raise UnreadError(without_secrets(f"{array.store_path.store}: numbers of {array.path!r} can't be read, in the part [{part}] ({type(error).__name__}: {error}); what is stored of it is damaged")) from error  # fmt: skip


def named(ds: xr.Dataset) -> xr.Dataset:
    """Return a Dataset that has been opened lazily from zarr, whose numbers name what they are of where they can't be read."""
    for variable in ds.variables.values():
        data: Any = variable._data
        graph = getattr(data, "dask", None)
        # The array itself is a layer by itself; those of its chunks refer to it.
        layers = [] if graph is None else [layer for layer in graph.layers.values() if len(layer) == 1]
        for each in [data] if graph is None else [each for layer in layers for each in layer.values()]:
            held = getattr(each, "value", each)
            while held is not None and type(held) is not ZarrArrayWrapper:
                held = getattr(held, "array", None)
            if held is not None:
                held.__class__ = _Named
    return ds
