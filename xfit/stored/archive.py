"""Archive: the zarr group of a result, laid out before any fit, filled region by region, with a mark for every chunk that is whole."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
import zarr
from zarr.abc.store import Store
from zarr.core.sync import collect_aiterator, sync
from zarr.storage import FsspecStore, LocalStore

from xfit.addresses import without_secrets
from xfit.execution.grid import Box, Grid
from xfit.files.codecs import checked

#: Version of the layout; others are refused.
FORMAT = 1

#: Attribute of the group that says what the run is of.
MANIFEST = "xfit_run"

#: Group in the group that holds the marks, one row for each chunk and each in a file of its own.
_MARKS = "marks"

#: Longest message of a read that failed, in bytes.
_MESSAGE = 2000


class Mark(NamedTuple):
    """What is known of a chunk that is whole.

    Attributes
    ----------
    pixels, converged, hopeless : int
        Pixels; those that converged; those that no fit was begun for (masked, bad data, ...).
    evaluations : int
        Evaluations of the model.
    microseconds : int
        Time that reading, fitting and writing took.
    unread : int
        1 where the data could not be read.
    """

    pixels: int
    converged: int
    hopeless: int
    evaluations: int
    microseconds: int
    unread: int


class Archive:
    """A result in a zarr store.

    Parameters
    ----------
    store : str, path or zarr Store
        Where: a path, a URL of any kind that fsspec knows, or an open store.
    storage_options : mapping, optional
        What the file system of a URL needs.
    """

    def __init__(self, store: Any, storage_options: Mapping[str, Any] | None = None) -> None:
        self.given, self.options = store, dict(storage_options or {})
        self.store = checked(_opened(store, self.options))
        self._arrays: dict[str, zarr.Array[Any]] = {}

    def __reduce__(self) -> Any:
        return Archive, (self.given, self.options)

    def __str__(self) -> str:
        return without_secrets(self.given)

    def _array(self, name: str) -> zarr.Array[Any]:
        """An array of the group; its description is read once."""
        if name not in self._arrays:
            array = zarr.open_array(self.store, path=name, mode="r+")
            # Chunks of nothing but the fill value are written too: what is missing is what was not fitted.
            self._arrays[name] = array.with_config({"write_empty_chunks": not name.startswith(_MARKS)})
        return self._arrays[name]

    @property
    def exists(self) -> bool:
        """Whether anything is there."""
        return not sync(self.store.is_empty(""))

    def manifest(self) -> dict[str, Any] | None:
        """What the run is of that is there; None where there is none, or where it was not laid out to the end."""
        try:
            group = zarr.open_group(self.store, mode="r")
        except FileNotFoundError:
            return None
        text = group.attrs.get(MANIFEST)
        if not isinstance(text, str):
            return None
        return json.loads(text) if f"{_MARKS}/done" in group else {}

    def lay_out(self, template: xr.Dataset, grid: Grid, inner: Mapping[str, int], manifest: Mapping[str, Any]) -> None:
        """Make the group with all variables and without their numbers, and remove what was there.

        Parameters
        ----------
        template : Dataset
            The result; variables over chunked dimensions are lazy and never computed.
        grid : Grid
            The chunks in which it will be written.
        inner : mapping of str to int
            Chunk sizes for reading back, by dimension, where they are smaller than those.
        manifest : mapping
            What the run is of.
        """
        encoding: dict[Any, dict[str, Any]] = {}
        for name, variable in template.data_vars.items():
            sizes = [grid.chunks[k][0] if k < len(grid.chunks) else n for k, n in enumerate(variable.shape)]
            # One file for each chunk of the run, in which single parameters, and parts, can be read alone.
            parts = [min(inner.get(str(d), 1 if k >= len(grid.chunks) else sizes[k]), sizes[k]) for k, d in enumerate(variable.dims)]  # fmt: skip
            encoding[name] = {"chunks": tuple(parts)} | ({"shards": tuple(sizes)} if parts != sizes else {})
            if variable.dtype.kind == "f":
                # The noise in fitted numbers does not compress (5 % of them), and compressing costs as much as all else in a write.
                encoding[name]["compressors"] = None
        attrs = {**template.attrs, MANIFEST: json.dumps({**manifest, "variables": list(template)})}
        whole = template.assign_attrs(attrs).assign_coords({name: c.load() for name, c in template.coords.items()})
        whole.to_zarr(self.store, mode="w", compute=False, consolidated=False, zarr_format=3, encoding=encoding)
        self._arrays.clear()
        # Last: a group without them is one that was never finished.
        marks = zarr.open_group(self.store, mode="r+").create_group(_MARKS)
        marks.create_array(
            "unread", shape=(len(grid), _MESSAGE), chunks=(1, _MESSAGE), dtype=np.uint8, fill_value=0, compressors=None
        )
        marks.create_array("done", shape=(len(grid), len(Mark._fields)), chunks=(1, len(Mark._fields)), dtype=np.int64, fill_value=-1, compressors=None)  # fmt: skip

    def write(self, box: Box, arrays: Mapping[str, np.ndarray], chunk: int, message: str = "") -> None:
        """Write a chunk of every variable, all at the same time, and why its data could not be read."""
        region = tuple(slice(*side) for side in box)
        words = np.zeros(_MESSAGE, np.uint8)
        raw = message.encode()[:_MESSAGE]
        words[: len(raw)] = np.frombuffer(raw, np.uint8)
        parts = [(self._array(name), region, values) for name, values in arrays.items()]
        sync(_written([*parts, (self._array(f"{_MARKS}/unread"), (chunk,), words)]))

    def mark(self, chunk: int, mark: Mark) -> None:
        """Say that a chunk is whole; the last thing that is written of it."""
        self._array(f"{_MARKS}/done")[chunk] = np.array(mark)

    def note(self, name: str, text: str) -> None:
        """Write an attribute of the result, beside those that it was laid out with."""
        zarr.open_group(self.store, mode="r+").attrs[name] = text

    def _listed(self, name: str) -> list[int]:
        """Chunks with a row in one of the arrays of marks."""
        keys = collect_aiterator(self.store.list_prefix(f"{_MARKS}/{name}/c/"))
        # A process that was killed may leave a part of a file beside them, under another name.
        whole = (re.fullmatch(rf"(?:.*/)?{_MARKS}/{name}/c/(\d+)/0", key) for key in keys)
        return sorted({int(match[1]) for match in whole if match})

    def done(self) -> set[int]:
        """Chunks that are whole; those whose data could not be read are not."""
        return set(self._listed("done")) - set(self._listed("unread"))

    def marks(self) -> dict[int, Mark]:
        """Marks of all chunks that have one."""
        rows = np.asarray(self._array(f"{_MARKS}/done")[:])
        return {int(chunk): Mark(*rows[chunk].tolist()) for chunk in np.flatnonzero(rows[:, 0] >= 0)}

    def messages(self) -> dict[int, str]:
        """Why the data of chunks could not be read."""
        rows = self._array(f"{_MARKS}/unread")
        raw = {chunk: np.asarray(rows[chunk]).tobytes() for chunk in self._listed("unread")}
        return {chunk: text.rstrip(b"\0").decode(errors="replace") for chunk, text in raw.items()}

    def open(self, in_chunks: bool = True) -> xr.Dataset:
        """The result, lazily, in the order of the schema: dask's chunks, or arrays that are read when they are first used."""
        ds = xr.open_zarr(self.store, consolidated=False, chunks={} if in_chunks else None)
        # What makes it a run is the store's alone: a copy is none.
        attrs = {name: value for name, value in ds.attrs.items() if name != MANIFEST}
        small = {name: c.load() for name, c in ds.coords.items() if set(c.dims) <= {"param", "param_", "pair"}}
        return xr.Dataset(
            {name: ds[name] for name in json.loads(ds.attrs[MANIFEST])["variables"]}, {**ds.coords, **small}, attrs
        )


async def _written(parts: Sequence[tuple[zarr.Array[Any], tuple[Any, ...], np.ndarray]]) -> None:
    """Write regions of arrays together: on far storage each alone would wait for an answer, on a disk for a thread."""
    writes = (array.async_array.setitem(region, values) for array, region, values in parts)
    # All are waited for, so that none goes on when the caller has been told of a failure.
    for outcome in await asyncio.gather(*writes, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _opened(store: Any, options: dict[str, Any]) -> Store:
    """Open what a user calls a store."""
    if isinstance(store, Store):
        if options:
            raise TypeError("storage_options go with a URL; the zarr Store that store= is has been given its own")
        return store
    text = str(store)
    if "://" in text and not text.startswith("file://"):
        return FsspecStore.from_url(text, storage_options=options)
    if options:
        raise TypeError(
            f"storage_options go with a URL such as s3://bucket/name; store={without_secrets(text)!r} is a path"
        )
    return LocalStore(text.removeprefix("file://"))
