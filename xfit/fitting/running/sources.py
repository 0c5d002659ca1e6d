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
from dask._task_spec import convert_legacy_graph
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from distributed import Future, get_client

from xfit.fitting.running.chunk_grid import ChunkGrid

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
    key: Any


@dataclass(frozen=True, eq=False)
class Shuffled:
    """A block that a cluster makes by rearranging all the data; who asks for one asks for all in the same message.

    Attributes
    ----------
    graph : HighLevelGraph
        Of the whole array.
    name : str
        Name of the array.
    place : tuple of int
        Which block.
    """

    graph: HighLevelGraph
    name: str
    place: tuple[int, ...]


class Source:
    """An array over navigation and, perhaps, signal dimensions, chunk by chunk.

    Parameters
    ----------
    array : DataArray
        NumPy- or dask-backed; it is cut like the grid along the navigation dimensions that it has, and not along
        others.
    navigation : tuple
        The navigation dimensions of the data.
    grid : ChunkGrid
        The chunks.
    """

    def __init__(self, array: xr.DataArray, navigation: tuple[Hashable, ...], grid: ChunkGrid) -> None:
        self._grid = grid
        self._along = [navigation.index(d) if d in navigation else None for d in array.dims]
        self._array: xr.DataArray | None = None
        if array.chunks is None:
            self._array = array
            return
        sizes = {d: grid.chunks[k] if k is not None else -1 for d, k in zip(array.dims, self._along, strict=True)}
        self._lazy = array.chunk(sizes).data
        graph = self._lazy.__dask_graph__()
        layers = graph.layers if isinstance(graph, HighLevelGraph) else {"": MaterializedLayer(dict(graph))}
        listed = [layer for layer in layers.values() if layer.is_materialized()]
        self._on_cluster = any(isinstance(task, Future) for layer in listed for task in layer.values())
        if not (self._on_cluster or self.shuffled):
            self._tasks, self._layers = _sorted(layers)

    @property
    def shuffled(self) -> bool:
        """Whether the blocks are made from all the data at once, by a cluster."""
        if self._array is not None or self._on_cluster:
            return False
        layers = getattr(self._lazy.__dask_graph__(), "layers", {})
        return any(type(layer).__module__.startswith("distributed.shuffle") for layer in layers.values())

    def persist(self, client: Any) -> None:
        """Have a cluster make all blocks, and keep them."""
        self._lazy, self._on_cluster = client.persist(self._lazy), True

    def block(self, chunk: int) -> Any:
        """What a visit of a chunk is given: numbers, a `Reading`, a `Shuffled`, or a future of a cluster."""
        if self._array is not None:
            box = self._grid.box(chunk)
            cut = tuple(slice(None) if k is None else slice(*box[k]) for k in self._along)
            return np.asarray(self._array[cut].values)
        index = self._grid.index(chunk)
        place = tuple(0 if k is None else index[k] for k in self._along)
        if self._on_cluster:
            # What is on a cluster already, or made from it, is made there.
            return get_client().compute(self._lazy.blocks[place])
        if self.shuffled:
            return Shuffled(self._lazy.__dask_graph__(), self._lazy.name, place)
        key = (self._lazy.name, *place)
        return Reading(self._needed(key), key)

    def _needed(self, key: Hashable) -> dict[Any, Any]:
        """Tasks that make a block; of layers that say by a rule what their tasks are, no others are ever made."""
        found: dict[Any, Any] = {}
        waiting = [key]
        while waiting:
            each = waiting.pop()
            if each in found:
                continue
            tasks = next((tasks for tasks in self._tasks if each in tasks), None)
            if tasks is not None:
                made = {each: tasks[each]}
            else:
                name = str(each[0] if isinstance(each, tuple) else each)
                made = dict(self._layers[name].cull({each}, ())[0])
            found |= made
            for task in made.values():
                waiting += task.dependencies
        return found


def _sorted(layers: Mapping[str, Any]) -> tuple[list[Mapping[Any, Any]], dict[str, Any]]:
    """Tasks of the layers that list them, and the layers that have a rule for them."""
    listed = [layer for layer in layers.values() if layer.is_materialized()]
    rules = {name: layer for name, layer in layers.items() if not layer.is_materialized()}
    old = [layer for layer in listed if layer.has_legacy_tasks]
    if not old:
        return [layer.mapping if isinstance(layer, MaterializedLayer) else dict(layer) for layer in listed], rules
    every = {key for layer in layers.values() for key in layer.get_output_keys()} | {
        key for layer in listed for key in layer
    }
    return [convert_legacy_graph(dict(layer), every) for layer in listed], rules


def computed(block: Any) -> np.ndarray:
    """Numbers of a block."""
    return np.asarray(dask.get(block.graph, block.key) if isinstance(block, Reading) else block)


def read(block: Any) -> np.ndarray:
    """Numbers of a block; those that are read are kept for a while."""
    if not isinstance(block, Reading):
        return np.asarray(block)
    name = str(block.key)
    with _lock:
        if name in _kept:
            _kept.move_to_end(name)
            return _kept[name]
    values = computed(block)
    with _lock:
        _kept[name] = values
        while sum(each.nbytes for each in _kept.values()) > _KEPT and len(_kept) > 1:
            _kept.popitem(last=False)
    return values
