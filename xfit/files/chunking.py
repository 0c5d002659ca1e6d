"""Chunks of what is read: whole spectra where that is cheap."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

#: Chunks that are put together have about this size, in bytes: enough for the costs of a task, little enough for many
#: of them.
_TARGET = 16 << 20

#: Chunks with whole spectra may have this size, in bytes; where they need more, the data stay in planes.
_LARGEST = 256 << 20

#: Chunks of an array above which a file's chunks are put together before dask has them.
_MANY = 10_000


def rechunked(da: xr.DataArray, chunks: Any, target: int = _TARGET) -> xr.DataArray:
    """Data in the chunks that were asked for or, for None, in whole spectra.

    Parameters
    ----------
    da : DataArray
        With the spectra along its last dimension, or images along those whose coordinates say ``navigate = 0``.
    chunks : None, "file" or as of ``DataArray.chunk``
        None leaves data in memory as they are. Chunks of a file are never cut over the map, since each would be read
        several times, but put together; planes are left where whole spectra would make chunks of more than 256 MiB.
        "file" leaves everything as it is.
    target : int, optional
        Bytes up to which chunks are put together.
    """
    if isinstance(chunks, str) and chunks == "file":
        return da
    if chunks is not None:
        return chunked(da, chunks)
    if da.chunks is None or da.ndim == 0:
        return da
    signal = _signal_dims(da)
    largest = [da.sizes[d] if d in signal else max(da.chunksizes[d]) for d in da.dims]
    if np.prod([float(n) for n in largest]) * da.dtype.itemsize > _LARGEST:
        return da
    import dask.array

    wanted: tuple[Any, ...] = tuple(-1 if d in signal else "auto" for d in da.dims)
    with_previous = dask.array.core.normalize_chunks(
        wanted, da.shape, limit=target, dtype=da.dtype, previous_chunks=da.chunks
    )
    sizes = {}
    for d, n, size in zip(da.dims, largest, with_previous, strict=True):
        # Whole multiples of what is read at once.
        sizes[d] = -1 if d in signal else max(size[0] // n, 1) * n
    return chunked(da, sizes)


def chunked(da: Any, chunks: Any) -> Any:
    """Data (DataArray or Dataset) in chunks as of ``da.chunk``, but for words along them, which stay in memory: their
    type is not known otherwise.
    """
    words = {name: each for name, each in da.coords.items() if each.dtype.kind in "OUT" and each.chunks is None}
    return da.chunk(chunks).assign_coords(words)


def in_pieces(da: xr.DataArray) -> xr.DataArray:
    """Data of a file that are not read yet, in its chunks or, where it has none, in whole spectra of some pixels."""
    own = da.encoding.get("preferred_chunks")
    if da.dtype.kind == "O":
        # Of unknown size, and nothing that is fitted.
        return da
    if own or da.ndim == 0:
        return da.chunk(_fewer(own, da) if own else {})
    signal = _signal_dims(da)
    return automatic(da, {d: -1 if d in signal else "auto" for d in da.dims}, _TARGET)


def automatic(da: xr.DataArray, chunks: Mapping[Hashable, Any], limit: int) -> xr.DataArray:
    """Data in chunks as of ``da.chunk``, of at most so many bytes where they are "auto".

    dask's own limit is in its configuration, which is that of all threads.
    """
    import dask.array

    wanted = tuple(chunks[d] for d in da.dims)
    sizes = dask.array.core.normalize_chunks(wanted, da.shape, limit=limit, dtype=da.dtype)
    return da.chunk(dict(zip(da.dims, sizes, strict=True)))


def has_many_chunks(array: Any) -> bool:
    """Whether a zarr array has more than dask puts together in a moment."""
    return math.prod(-(-n // max(size, 1)) for n, size in zip(array.shape, array.chunks, strict=True)) > _MANY


def _fewer(own: Mapping[Hashable, int], da: xr.DataArray) -> dict[Hashable, int]:
    """Chunks of a file, or whole multiples of them where there are very many: dask takes
    minutes to put a million together.
    """
    sizes = {d: max(int(own.get(d, n)), 1) for d, n in da.sizes.items()}
    for d in reversed(list(sizes)):
        number = math.prod(-(-n // sizes[k]) for k, n in da.sizes.items())
        room = _TARGET // max(math.prod(sizes.values()) * da.dtype.itemsize, 1)
        wanted = min(-(-number // _MANY), -(-da.sizes[d] // sizes[d]))
        sizes[d] *= max(min(wanted, room), 1)
    return sizes


def _signal_dims(da: xr.DataArray) -> list[Hashable]:
    """Signal dimensions, as the coordinates say; by default the last one."""
    return [d for d in da.dims if d in da.coords and da[d].attrs.get("navigate") == 0] or [da.dims[-1]]
