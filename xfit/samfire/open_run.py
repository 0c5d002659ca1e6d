"""A run in a folder as a result: what it has come to so far, opened by whoever wants to look at it while it goes on."""

from __future__ import annotations

import hashlib
import json
import math
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

from xfit.display import without_secrets
from xfit.engine.block.options import Columns
from xfit.engine.pixel.status import NOT_FITTED, NOT_REACHED
from xfit.fitting.running.chunk_grid import ChunkGrid
from xfit.fitting.running.worker_watch import computed
from xfit.fitting.stored.codecs import checked
from xfit.fitting.stored.unread import open_zarr
from xfit.results.assembly import variables_in
from xfit.samfire.checkpoint import FORMAT, CheckpointError, Checkpoints
from xfit.samfire.chunk_state import say_why

Visit = tuple[int, int, int]

#: The file that says what the result is like, and the one that is there when the run has ended.
_LAYOUT, _ENDED = "layout.json", "ended.json"

#: Chunks of a run that is shown; bytes of a file of coordinates, and by how much more these can have been compressed.
_CHUNKS, _COORDINATES, _RATIO = 1_000_000, 64 << 20, 1000

#: Bytes of rows that are kept: those of a chunk that was not visited again need not be read again.
_KEPT = 512 << 20

#: What a stored run shows besides the variables of every fit; the order of all pixels is known at its end.
_NOTES = {
    "strategy": "number of the strategy that began the fit, -1 for seeds, -2 where there is none",
    "tries": "fits of the pixel",
}


def lay_out(store: Checkpoints, template: xr.Dataset, grid: ChunkGrid, columns: Columns, components: list[str]) -> None:
    """Keep what the result of a run will be like, its numbers apart.

    Parameters
    ----------
    template : Dataset
        The result; its variables may be lazy and are not computed.
    grid : ChunkGrid
        The chunks.
    columns : Columns
        Where each variable lies in a packed row.
    components : list of str
        Names of the components, if a pixel may do without some; else empty.
    """
    bare = computed(template.drop_vars(list(template.data_vars)))[0].load()
    # Indices of several levels have no place in zarr; their pixels are numbered.
    bare = bare.drop_vars([name for name, index in bare.xindexes.items() if isinstance(index, PandasMultiIndex)])
    files: dict[str, Any] = {}
    bare.to_zarr(MemoryStore(files), consolidated=False, zarr_format=3)
    names = sorted(files)
    contents = {name: files[name].to_bytes() for name in names}
    for name, content in contents.items():
        store.put(f"layout/{name}", content)
    words = {
        "format": FORMAT,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "variables": [name for name in template.data_vars if name in columns.slices],
        "navigation": [str(d) for d in template["status"].dims],
        "chunks": [list(sizes) for sizes in grid.chunks],
        "reach": list(grid.reach),
        "columns": {"n": columns.n, "covariance": columns.covariance, "pairs": columns.pairs, "bias": columns.bias},
        "components": components,
    }
    # Last: without it there is no layout.
    store.put_words(_LAYOUT, words)


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
        layout = self._store.words(_LAYOUT)
        if layout is None:
            raise ValueError(
                f"{without_secrets(self._store.url)} holds a SAMFire run that has not said yet what its result will be "
                "like; begin it again with the same arguments, and it will"
            )
        if layout.get("format", 1) not in range(1, FORMAT + 1):
            raise ValueError(
                f"{without_secrets(self._store.url)}: the run is stored in format {layout['format']!r}, this xfit "
                f"reads up to {FORMAT}; update xfit"
            )
        try:
            return self._opened(layout)
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise self._store.damaged(_LAYOUT, f"{type(error).__name__}: {error}") from error

    def _opened(self, layout: dict[str, Any]) -> xr.Dataset:
        """The result that a layout describes."""
        self._check(layout)
        grid = ChunkGrid(tuple(map(tuple, layout["chunks"])), tuple(layout["reach"]))
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
        """A function that opens the run again if there is more of it than when it was asked
        last, and returns None if not.
        """
        seen = self._store.known(), self.ended

        def refresh() -> xr.Dataset | None:
            nonlocal seen
            now = self._store.known(), self.ended
            if now == seen:
                return None
            seen = now
            return self.open()

        return refresh

    def _check(self, layout: dict[str, Any]) -> None:
        """Refuse what no layout says, before anything is made or read of it."""
        sizes = layout["chunks"]
        if not all(isinstance(n, int) and 0 < n < 2**40 for along in sizes for n in along):
            raise ValueError("chunks: sizes must be whole numbers above zero")
        if math.prod(map(len, sizes)) > _CHUNKS:
            raise ValueError(f"chunks: there are {math.prod(map(len, sizes)):,}, and at most {_CHUNKS:,} are shown")
        columns = layout["columns"]
        if not all(isinstance(columns[name], int) and 0 <= columns[name] < 2**16 for name in ("n", "pairs")):
            raise ValueError(f"columns: {columns['n']!r} parameters with {columns['pairs']!r} pairs")
        wrong = [name for name in layout["files"] if not is_inside(name)]
        if wrong:
            raise ValueError(f"files: {wrong[0]!r} leads out of the run's folder")

    def _coordinates(self, names: list[str] | dict[str, str]) -> xr.Dataset:
        """Coordinates out of files whose names, since version 2, come with checksums."""
        files = checked(MemoryStore())
        buffer = default_buffer_prototype().buffer
        contents: dict[str, bytes] = {}
        for name in names:
            content = self._store.get(f"layout/{name}", _COORDINATES)
            if content is None:
                raise self._store.damaged(f"layout/{name}", "it is gone")
            if isinstance(names, dict) and hashlib.sha256(content).hexdigest() != names[name]:
                raise self._store.damaged(f"layout/{name}", "its checksum is another one")
            contents[name] = content
            sync(files.set(name, buffer.from_bytes(content)))
        for name, array in zarr.open_group(files, mode="r").arrays():
            there = sum(len(each) for key, each in contents.items() if key.startswith(f"{name}/"))
            claimed = math.prod(array.shape) * array.dtype.itemsize
            if claimed > _COORDINATES + _RATIO * there:
                raise self._store.damaged(
                    f"layout/{name}", f"it claims {claimed:,} bytes, and its files have {there:,}"
                )
        return open_zarr(zarr.open_group(files, mode="r").store, consolidated=False, chunks=None).load()

    def _packed(self, grid: ChunkGrid, columns: Columns, parts: int) -> Any:
        """Packed rows, then strategies, tries and components, of the last visit of every chunk."""
        last: dict[int, Visit] = {}
        for visit in sorted(self._store.known()):
            last[visit[1]] = visit
        ended = self.ended
        width = columns.total + len(_NOTES) + parts
        name = f"xfit-samfire-stored-{tokenize(self._store.url, sorted(last.items()), ended)}"
        shapes = [tuple(b - a for a, b in grid.box(chunk)) for chunk in range(len(grid))]
        layer: dict[Any, Any] = {
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
            self._check_rows(visit, state, shape, columns, parts)
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

    def _check_rows(
        self, visit: Visit, state: dict[str, np.ndarray], shape: tuple[int, ...], columns: Columns, parts: int
    ) -> None:
        """Refuse a visit of another run."""
        n = math.prod(shape)
        wanted = {"rows": (n, columns.total), "mark": (n,), "tries": (n,), "strategy": (n,)}
        found = {name: state[name].shape for name in wanted}
        on = state["on"].shape
        if found != wanted or len(on) != 2 or on[0] != n or (parts and on[1] != parts):
            raise self._store.damaged(
                "visits/{}_{}_{}.npz".format(*visit),
                f"its rows have the shape {found['rows']}, and should have {wanted['rows']}",
            )


def is_inside(name: str) -> bool:
    """Whether a name is the path of a file below a folder, and of none beside it."""
    return not any(part in ("", ".", "..") or set(part) & set("\\:\0") for part in str(name).split("/"))
