"""Arrays chunk by chunk: what a visit is given to get its data, and how it gets them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
import xarray as xr
from distributed import Future, get_client

from xfit.samfire.grid import Grid

#: Bytes of blocks that a process keeps for visits to come.
_KEPT = 256 << 20

_kept: OrderedDict[str, np.ndarray] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class Reading:
    """A block that is read, or computed, where it is needed.

    Attributes
    ----------
    graph : mapping
        The tasks that make it, alone.
    key : hashable
        Which of them is the block.
    """

    graph: Mapping[Any, Any]
    key: Hashable


class Source:
    """An array over navigation and, perhaps, signal dimensions, chunk by chunk.

    Parameters
    ----------
    array : DataArray
        NumPy- or dask-backed; it is cut like the grid along the navigation dimensions that it has, and not along others.
    navigation : tuple
        The navigation dimensions of the data.
    grid : Grid
        The chunks.
    """

    def __init__(self, array: xr.DataArray, navigation: tuple[Hashable, ...], grid: Grid) -> None:
        self._grid = grid
        self._along = [navigation.index(d) if d in navigation else None for d in array.dims]
        self._array: xr.DataArray | None = None
        if array.chunks is None:
            self._array = array
            return
        sizes = {d: grid.chunks[k] if k is not None else -1 for d, k in zip(array.dims, self._along, strict=True)}
        self._lazy = array.chunk(sizes).data
        layers = self._lazy.__dask_graph__().layers.values()
        known = [task for layer in layers if layer.is_materialized() for task in layer.values()]
        self._on_cluster = any(isinstance(task, Future) for task in known)
        if not self._on_cluster:
            lazy = dask.optimize(self._lazy)[0]
            self._name, self._graph = lazy.name, dict(lazy.__dask_graph__())

    def block(self, chunk: int) -> Any:
        """What a visit of a chunk is given: numbers, a `Reading`, or a future of a cluster."""
        if self._array is not None:
            box = self._grid.box(chunk)
            cut = tuple(slice(None) if k is None else slice(*box[k]) for k in self._along)
            return np.asarray(self._array[cut].values)
        index = self._grid.index(chunk)
        place = tuple(0 if k is None else index[k] for k in self._along)
        if self._on_cluster:
            # What is on a cluster already, or made from it, is made there.
            return get_client().compute(self._lazy.blocks[place])
        key = (self._name, *place)
        return Reading(self._needed(key), key)

    def _needed(self, key: Hashable) -> dict[Any, Any]:
        """Tasks that make a block."""
        found: dict[Any, Any] = {}
        waiting = [key]
        while waiting:
            each = waiting.pop()
            if each in found:
                continue
            task = found[each] = self._graph[each]
            waiting += [d for d in getattr(task, "dependencies", ()) if d in self._graph]
        return found


def read(block: Any) -> np.ndarray:
    """Numbers of a block; those that are read are kept for a while."""
    if not isinstance(block, Reading):
        return np.asarray(block)
    name = str(block.key)
    with _lock:
        if name in _kept:
            _kept.move_to_end(name)
            return _kept[name]
    values = np.asarray(dask.get(block.graph, block.key))
    with _lock:
        _kept[name] = values
        while sum(each.nbytes for each in _kept.values()) > _KEPT and len(_kept) > 1:
            _kept.popitem(last=False)
    return values
