"""A run in a folder as a result: what it has come to so far, opened by whoever wants to look at it while it goes on."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import dask.array
import numpy as np
import xarray as xr
import zarr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from xarray.core.indexes import PandasMultiIndex
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from xfit.addresses import without_secrets
from xfit.assembly import variables_in
from xfit.execution.grid import Grid
from xfit.files.codecs import checked
from xfit.kernels.status import NOT_FITTED, NOT_REACHED
from xfit.options import Columns
from xfit.samfire.checkpoint import Checkpoints
from xfit.samfire.chunk import say_why

Visit = tuple[int, int, int]

#: The file that says what the result is like, and the one that is there when the run has ended.
_LAYOUT, _ENDED = "layout.json", "ended.json"

#: Bytes of rows that are kept: those of a chunk that was not visited again need not be read again.
_KEPT = 512 << 20

#: What a stored run shows besides the variables of every fit; the order of all pixels is known at its end.
_NOTES = {
    "strategy": "number of the strategy that began the fit, -1 for seeds, -2 where there is none",
    "tries": "fits of the pixel",
}


def lay_out(store: Checkpoints, template: xr.Dataset, grid: Grid, columns: Columns, components: list[str]) -> None:
    """Keep what the result of a run will be like, its numbers apart.

    Parameters
    ----------
    template : Dataset
        The result; its variables may be lazy and are not computed.
    grid : Grid
        The chunks.
    columns : Columns
        Where each variable lies in a packed row.
    components : list of str
        Names of the components, if a pixel may do without some; else empty.
    """
    bare = template.drop_vars(list(template.data_vars)).load()
    # Indices of several levels have no place in zarr; their pixels are numbered.
    bare = bare.drop_vars([name for name, index in bare.xindexes.items() if isinstance(index, PandasMultiIndex)])
    files: dict[str, Any] = {}
    bare.to_zarr(MemoryStore(files), consolidated=False, zarr_format=3)
    names = sorted(files)
    for name in names:
        store.put(f"layout/{name}", files[name].to_bytes())
    words = {
        "files": names,
        "variables": [name for name in template.data_vars if name in columns.slices],
        "navigation": [str(d) for d in template["status"].dims],
        "chunks": [list(sizes) for sizes in grid.chunks],
        "reach": list(grid.reach),
        "columns": {"n": columns.n, "covariance": columns.covariance, "pairs": columns.pairs, "bias": columns.bias},
        "components": components,
    }
    # Last: without it there is no layout.
    store.put(_LAYOUT, json.dumps(words).encode())


def end(store: Checkpoints, ended: bool) -> None:
    """Say whether a run has ended."""
    store.put(_ENDED, json.dumps(ended).encode())


class StoredRun:
    """A run in a folder, finished or not.

    Parameters
    ----------
    url : str
        The ``store`` of the run.
    storage_options : mapping, optional
        What its file system needs.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self._given = url, storage_options
        self._store = Checkpoints(url, storage_options)
        self._kept: OrderedDict[Visit, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        # To workers of a cluster, without what is kept here.
        return StoredRun, self._given

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return self._store.exists

    @property
    def ended(self) -> bool:
        """Whether the run has come to its end."""
        return self._store.get(_ENDED) == b"true"

    def open(self) -> xr.Dataset:
        """What the run has come to, lazily: a chunk is a file that is read when it is needed.

        Raises
        ------
        ValueError
            For a run of which nothing can be told: it has only begun, or was stored by an earlier version.
        """
        words = self._store.get(_LAYOUT)
        if words is None:
            raise ValueError(f"{without_secrets(self._store.url)} holds a SAMFire run that has not said yet what its result will be like; begin it again with the same arguments, and it will")  # fmt: skip
        layout = json.loads(words)
        grid = Grid(tuple(map(tuple, layout["chunks"])), tuple(layout["reach"]))
        columns, navigation = Columns(**layout["columns"]), layout["navigation"]
        packed = self._packed(grid, columns, len(layout["components"]))
        ds = self._coordinates(layout["files"])
        found: dict[str, Any] = variables_in(packed[..., : columns.total], layout["variables"], navigation, columns)
        for k, (name, meaning) in enumerate(_NOTES.items()):
            found[name] = (navigation, packed[..., columns.total + k].astype(np.int16), {"long_name": meaning})
        if layout["components"]:
            on = packed[..., columns.total + len(_NOTES) :].astype(bool)
            found["active"] = ((*navigation, "part"), on, {"long_name": "whether a component takes part"})
            ds = ds.assign_coords(part=np.array(layout["components"], object))
        return ds.assign(found)

    def watch(self) -> Callable[[], xr.Dataset | None]:
        """A function that opens the run again if there is more of it than when it was asked last, and returns None if not."""
        seen = self._store.known(), self.ended

        def refresh() -> xr.Dataset | None:
            nonlocal seen
            now = self._store.known(), self.ended
            if now == seen:
                return None
            seen = now
            return self.open()

        return refresh

    def _coordinates(self, names: list[str]) -> xr.Dataset:
        files = checked(MemoryStore())
        buffer = default_buffer_prototype().buffer
        for name in names:
            content = self._store.get(f"layout/{name}")
            if content is None:
                raise ValueError(f"{without_secrets(self._store.url)} has lost its file layout/{name}")
            sync(files.set(name, buffer.from_bytes(content)))
        return xr.open_zarr(zarr.open_group(files, mode="r").store, consolidated=False, chunks=None).load()

    def _packed(self, grid: Grid, columns: Columns, parts: int) -> Any:
        """Packed rows, then strategies, tries and components, of the last visit of every chunk."""
        last: dict[int, Visit] = {}
        for visit in sorted(self._store.known()):
            last[visit[1]] = visit
        ended = self.ended
        width = columns.total + len(_NOTES) + parts
        name = f"xfit-samfire-stored-{tokenize(self._store.url, sorted(last.items()), ended)}"
        shapes = [tuple(b - a for a, b in grid.box(chunk)) for chunk in range(len(grid))]
        layer = {
            (name, *grid.index(chunk), 0): (self._rows, last.get(chunk), shapes[chunk], columns, parts, ended)
            for chunk in range(len(grid))
        }
        graph = HighLevelGraph.from_collections(name, layer)
        return dask.array.Array(graph, name, (*grid.chunks, (width,)), dtype=np.float64)

    def _rows(
        self, visit: Visit | None, shape: tuple[int, ...], columns: Columns, parts: int, ended: bool
    ) -> np.ndarray:
        """Rows of a chunk as its last visit left them."""
        rest = NOT_REACHED if ended else NOT_FITTED
        if visit is None:
            rows = np.full((*shape, columns.total + len(_NOTES) + parts), np.nan)
            rows[..., columns.slices["status"]] = rest
            rows[..., columns.total :] = (-2, 0, *[0] * parts)
            return rows
        with self._lock:
            known = self._kept.get(visit)
        if known is None:
            state = self._store.rows(visit)
            say_why(state["rows"], state["mark"], state["tries"], columns.n)
            notes = [state["strategy"], state["tries"], *([state["on"]] if parts else [])]
            known = np.column_stack([state["rows"], *notes])
            with self._lock:
                self._kept[visit] = known
                while sum(each.nbytes for each in self._kept.values()) > _KEPT and len(self._kept) > 1:
                    self._kept.popitem(last=False)
        known = known.copy()
        status = known[:, columns.slices["status"]]
        status[status == NOT_REACHED] = rest
        return known.reshape(*shape, -1)
