"""A fit that reads, lazily, what lies where it is to be written: found in the graphs of its arrays, and refused."""

from __future__ import annotations

import gc
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
import zarr
from dask.highlevelgraph import HighLevelGraph
from zarr.abc.store import Store

from xfit.display import cleaned
from xfit.fitting.planning.plan import Plan
from xfit.fitting.stored.archive import Archive
from xfit.fitting.stored.storage import is_inside

#: Tasks of a layer, and objects that they hold, that are looked at. What a graph hides from this is read whole
#: nevertheless: see `xfit.fitting.stored.description`.
_TASKS, _OBJECTS = 1_000, 20_000

#: What holds no stores of its own.
_OPAQUE = (str, bytes, int, float, bool, type(None), np.ndarray, np.dtype, type, types.ModuleType)


def refuse_own_input(archive: Archive, plan: Plan) -> None:
    """Refuse a fit of, from or within what its own store holds.

    Raises
    ------
    ValueError
        Naming which array it is.
    """
    roles = [("the data", ""), *((f"{role}=", name) for role, name, _ in plan.fit_spec.roles)]
    for (role, name), array in zip(roles, (plan.da, *plan.extra), strict=True):
        if any(is_inside(store, path, archive.store) for store, path in _places(array)):
            what = f"{role} ({cleaned(name)})" if name else role
            raise ValueError(
                f"store={archive} is what {what} is read from. Give another store, or read it into memory first: "
                ".load() or .compute()"
            )


def _places(array: xr.DataArray) -> Iterator[tuple[Store, str]]:
    """Stores, and paths in them, that an array is read from."""
    if array.chunks is None:
        if not isinstance(array.variable._data, np.ndarray):
            yield from _held([array.variable._data])
        return
    graph = array.data.__dask_graph__()
    layers = graph.layers.values() if isinstance(graph, HighLevelGraph) else [graph]
    for layer in layers:
        if getattr(layer, "is_materialized", lambda: True)():
            tasks = list(layer.values())
            yield from _held(tasks[:: max(len(tasks) // _TASKS, 1)])
        else:
            yield from _held([layer])


def _held(roots: list[Any]) -> Iterator[tuple[Store, str]]:
    """Stores that objects refer to."""
    seen: set[int] = set()
    waiting = list(roots)
    while waiting and len(seen) < _OBJECTS:
        each = waiting.pop()
        if isinstance(each, _OPAQUE) or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, zarr.Array | zarr.AsyncArray):
            yield each.store_path.store, each.store_path.path
        elif isinstance(each, types.FunctionType):
            waiting += [cell.cell_contents for cell in each.__closure__ or () if cell is not None]
        elif isinstance(each, Store):
            yield each, ""
        else:
            waiting += gc.get_referents(each)
