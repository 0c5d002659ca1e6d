"""Pixels of lazy arrays by the chunks that they lie in, the latest of which are kept: looking around reads a
chunk from its file and no more.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
import xarray as xr

#: Bytes of chunks that are kept, beside the latest.
_KEPT = 256 << 20


Array = TypeVar("Array", xr.DataArray, xr.Dataset)


class Blocks(Generic[Array]):
    """Pixels of an array or result.

    Parameters
    ----------
    array : DataArray or Dataset
        In memory or dask-backed.
    dims : sequence of hashable
        The dimensions that a pixel is a place along.
    """

    def __init__(self, array: Array, dims: Sequence[Hashable]) -> None:
        self._array: Array = array
        self._dims = tuple(dims)
        sizes = array.chunksizes
        self._edges = {d: np.concatenate([[0], np.cumsum(sizes[d])]) for d in self._dims if d in sizes}
        self._kept: OrderedDict[tuple[int, ...], Array] = OrderedDict()
        self._lock = threading.Lock()
        self._visited: set[tuple[int, ...]] = set()
        self._direct: bool | None = None

    def at(self, place: Mapping[Hashable, int]) -> Array:
        """A pixel by its numbers, computed.

        Parameters
        ----------
        place : mapping
            Number along each dimension.
        """
        known = {d: place[d] for d in self._dims if d in self._array.dims}
        if not self._edges:
            return self._array.isel(known).compute()
        chunk = self._chunk(known)
        key = tuple(chunk.values())
        if key not in self._kept and key not in self._visited and self._is_file():
            # The first pixel of a chunk is cut out of its file, which is faster than to keep all of it; who comes back
            # stays longer.
            self._visited.add(key)
            return self._array.isel(known).compute()
        block = self._block(tuple(chunk.values()), chunk)
        return block.isel({d: n - int(self._edges[d][chunk[d]]) if d in chunk else n for d, n in known.items()})

    def waits(self, place: Mapping[Hashable, int]) -> bool:
        """Whether a pixel's chunk has to be read first."""
        return bool(self._edges) and tuple(self._chunk(place).values()) not in self._kept

    def _is_file(self) -> bool:
        """Whether pixels are read from a file as they are, so that another read of a chunk repeats no computation."""
        if self._direct is None:
            data = self._array.data if isinstance(self._array, xr.DataArray) else None
            # What dask opened and nobody changed has its own layer, and one of what it was opened from.
            self._direct = data is not None and set(data.dask.layers) <= {data.name, f"original-{data.name}"}
        return self._direct

    def _chunk(self, place: Mapping[Hashable, int]) -> dict[Hashable, int]:
        """Number of the chunk that a pixel lies in, along the dimensions that have chunks."""
        return {d: int(np.searchsorted(edges, place[d], side="right")) - 1 for d, edges in self._edges.items()}

    def _block(self, key: tuple[int, ...], chunk: Mapping[Hashable, int]) -> Array:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            cut = {d: slice(int(self._edges[d][k]), int(self._edges[d][k + 1])) for d, k in chunk.items()}
            block = self._array.isel(cut).compute()
            self._kept[key] = block
            while sum(each.nbytes for each in self._kept.values()) > _KEPT and len(self._kept) > 1:
                self._kept.popitem(last=False)
            return block
