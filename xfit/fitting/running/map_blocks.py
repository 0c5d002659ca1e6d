"""A fit_spec mapped over the navigation chunks of an array: one blockwise layer, or threads for NumPy data."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dask
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.system import CPU_COUNT

from xfit.arrays.axes import Axes
from xfit.arrays.blocks import flat, only, spread
from xfit.arrays.whole_spectra import whole_signals
from xfit.engine.block.arguments import BlockArguments
from xfit.engine.block.fit_block import fit_block
from xfit.engine.block.interval_block import interval_block
from xfit.engine.block.optimizers import optimizer_of
from xfit.engine.block.precompile import part_for, prepare_engine
from xfit.fitting.planning.fit_spec import FitSpec, table_of
from xfit.fitting.running.clients import active_client
from xfit.fitting.running.interruption import heeding_dask, in_threads, watch_dask
from xfit.fitting.running.start_block import Task, start_block

#: Elements of NumPy-backed data in one block: large enough to hide a task's overhead, small enough to spread over
#: cores.
_BLOCK = 1 << 24

#: Whether fits of data in memory are made by the calling thread alone.
_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


def run(da: xr.DataArray, axes: Axes, fit_spec: FitSpec, extra: list[xr.DataArray]) -> Any:
    """Packed results over the navigation dimensions: a NumPy array for NumPy data, else a lazy dask array."""
    lazy = any(array.chunks is not None for array in [da, *extra])
    data = da.transpose(*axes.navigation, *axes.dims)
    if not lazy:
        return _fit_in_memory(data, axes, fit_spec, extra)
    if da.chunks is None:
        data = data.chunk(_navigation_chunks(data, axes))
    else:
        data = whole_signals(data, axes.dims, "fit", stacklevel=4, client=active_client())
    return _graph(data, axes, fit_spec, extra)


def _fit_in_memory(data: xr.DataArray, axes: Axes, fit_spec: FitSpec, extra: list[xr.DataArray]) -> np.ndarray:
    """Fit NumPy data block by block on all cores."""
    if optimizer_of(fit_spec.options.optimizer).engine == "kernel":
        prepare_engine(part_for(fit_spec.program, fit_spec.options))
    packed = np.empty((*(data.sizes[d] for d in axes.navigation), fit_spec.width))
    # A path is one, or numbers would depend on how many cores there are.
    chained = fit_spec.path != "independent"
    sizes = dict.fromkeys(data.dims, -1) if chained else _navigation_chunks(data, axes)
    sizes = {d: data.sizes[d] if size < 0 else max(size, 1) for d, size in sizes.items()}
    ranges = [[slice(first, first + sizes[d]) for first in range(0, data.sizes[d], sizes[d])] for d in axes.navigation]
    # Read once: a file opened without dask would be read again for every block.
    spectra = data.values
    arrays = [(tuple(array.dims), array.values) for array in extra]
    table = table_of(axes)

    def fit_one(block: tuple[slice, ...]) -> None:
        where = dict(zip(axes.navigation, block, strict=True))
        parts = [values[tuple(where.get(d, slice(None)) for d in dims)] for dims, values in arrays]
        target = packed[block]
        into = target if target.flags.c_contiguous and fit_spec.intervals is None else None
        rows = fit_nd(spectra[block], *parts, table=table, fit_spec=fit_spec, into=into)
        if into is None:
            packed[block] = rows

    blocks = list(itertools.product(*ranges))
    total = None if fit_spec.intervals else int(np.prod([data.sizes[d] for d in axes.navigation]))
    in_threads(fit_one, blocks, threads_for(len(blocks)), total)
    return packed


def threads_for(blocks: int) -> int:
    """How many threads fit so many blocks of data in memory: one for each core, or one where that is asked for or dask
    is set to be synchronous.
    """
    synchronous = dask.config.get("scheduler", None) in ("sync", "synchronous", "single-threaded")
    return 1 if synchronous or _ALONE.get() else min(CPU_COUNT, blocks)


@contextmanager
def one_thread() -> Iterator[None]:
    """Fit data in memory by the calling thread alone; what other threads do stays as it is, which dask's configuration
    would change for all of them.
    """
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def _navigation_chunks(data: xr.DataArray, axes: Axes) -> dict[Hashable, int]:
    """Chunk sizes that cut NumPy data into blocks of whole pixels, a few for each core."""
    total = max(int(np.prod([data.sizes[d] for d in axes.navigation])), 1)
    pixels = max(_BLOCK // max(int(np.prod(axes.shape)), 1), 1)
    # A few for each core, unless they would be so small that what every block costs by itself shows.
    few = max(total // (4 * CPU_COUNT), min(pixels // 2, total // CPU_COUNT))
    pixels = max(min(pixels, few), 1)
    sizes: dict[Hashable, int] = dict.fromkeys(axes.dims, -1)
    for d in reversed(axes.navigation):
        sizes[d] = max(min(pixels, data.sizes[d]), 1)
        pixels //= sizes[d]
    return sizes


def _graph(data: xr.DataArray, axes: Axes, fit_spec: FitSpec, extra: list[xr.DataArray]) -> Any:
    """One blockwise layer that fits every navigation chunk."""
    watch_dask()
    # The response has a dimension of its own.
    letters = {d: k for k, d in enumerate(dict.fromkeys([*data.dims, *(d for array in extra for d in array.dims)]))}
    packed_index, table_index = len(letters), (len(letters) + 1, len(letters) + 2)
    # Not at the top: with what it imports of SciPy it takes a fifth of the time of `import xfit`.
    import dask.array

    table = dask.array.from_array(table_of(axes), chunks=-1)
    arguments: list[Any] = [data.data, [letters[d] for d in data.dims], table, table_index]
    for array in extra:
        chunks = {d: data.chunksizes.get(d, -1) for d in array.dims}
        arguments += [array.chunk(chunks).data, [letters[d] for d in array.dims]]
    navigation = [letters[d] for d in axes.navigation]
    return dask.array.blockwise(
        _fit_chunk,
        [*navigation, packed_index],
        *arguments,
        # One task that all others depend on: tables of cross-sections are too much to be sent with each.
        fit_spec=dask.delayed(fit_spec, name="xfit-fit_spec-" + tokenize(fit_spec), traverse=False),
        n_axes=len(axes.dims),
        new_axes={packed_index: fit_spec.width},
        dtype=np.float64,
        concatenate=False,
        align_arrays=False,
        meta=np.empty((0,) * (len(navigation) + 1)),
        name="xfit-multifit-" + tokenize(fit_spec, *arguments),
    )


def _fit_chunk(data: Any, table: Any, *extra: Any, fit_spec: FitSpec, n_axes: int) -> np.ndarray:
    """Fit one chunk; contracted dimensions come as nested lists of one block."""
    with heeding_dask():
        return fit_nd(only(data), *(only(array) for array in extra), table=only(table), fit_spec=fit_spec)


def arguments_of(
    data: np.ndarray, extra: Sequence[np.ndarray], table: np.ndarray, fit_spec: FitSpec
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray | None, BlockArguments]:
    """Lay a block with navigation dimensions first out as `fit_block` takes it.

    Returns
    -------
    y : array (n_pixels, n_channels)
    coordinates : dict of str to float64 (n_channels,)
    numbers : int64 (n_pixels,) or None
        Numbers of the pixels, where the fit_spec has such a role.
    arguments : BlockArguments
        What else `fit_block` takes.
    """
    n_signal = len(fit_spec.signal)
    shape = data.shape[: data.ndim - n_signal]
    y = data.reshape(int(np.prod(shape)), int(np.prod(data.shape[len(shape) :])))
    coordinates = dict(zip(fit_spec.names, table, strict=False))
    width = table[-1] if len(table) > len(fit_spec.names) else None
    start: dict[str, np.ndarray] = {}
    active: dict[str, np.ndarray] = {}
    numbers: np.ndarray | None
    bounds: dict[tuple[str, str], np.ndarray] = {}
    variance = None if fit_spec.variance is None else np.full((1, y.shape[1]), fit_spec.variance)
    where = response = numbers = None
    for (role, name, dims), array in zip(fit_spec.roles, extra, strict=True):
        if role == "variance":
            variance = flat(array, dims, fit_spec.navigation, fit_spec.signal, data.shape)
        elif role == "where":
            where = flat(array, dims, fit_spec.navigation, fit_spec.signal, data.shape)
        elif role == "response":
            response = flat(array, dims, fit_spec.navigation, dims[-1:], (*shape, array.shape[-1]))
        elif role == "number":
            numbers = spread(array, dims, fit_spec.navigation, shape).ravel()
        elif role in ("min", "max"):
            bounds[name, role] = spread(array, dims, fit_spec.navigation, shape).ravel()
        else:
            values = spread(array, dims, fit_spec.navigation, shape).ravel()
            (start if role == "start" else active)[name] = values
    flags = None
    if active:
        flags = np.tile(fit_spec.settings.active, (y.shape[0], 1))
        for name, values in active.items():
            flags[:, fit_spec.program.components.index(name)] = values
    points = None if fit_spec.grid is None else fit_spec.grid.points
    if fit_spec.estimations:
        task = Task(fit_spec.estimations, fit_spec.program, fit_spec.settings, tuple(start))
        start |= start_block(
            task,
            y,
            coordinates,
            start=start,
            bounds=bounds,
            variance=variance,
            where=where,
            width=width,
            active=flags,
            response=response,
            grid=points,
        )
    varying = {role for role, _, dims in fit_spec.roles if set(dims) & set(fit_spec.navigation)}
    arguments = BlockArguments(
        start=start,
        variance=variance,
        where=where,
        width=width,
        active=flags,
        response=response,
        grid=points,
        bounds=bounds,
        varying=varying | ({"start"} if start else set()),
        options=fit_spec.options,
    )
    return y, coordinates, numbers, arguments


def fit_nd(
    data: np.ndarray, *extra: np.ndarray, table: np.ndarray, fit_spec: FitSpec, into: np.ndarray | None = None
) -> np.ndarray:
    """Fit a block with navigation dimensions first, into contiguous memory if it is given; what
    `fit_block` does for flat pixels.
    """
    shape = data.shape[: data.ndim - len(fit_spec.signal)]
    y, coordinates, numbers, arguments = arguments_of(data, extra, table, fit_spec)
    if fit_spec.intervals is not None:
        packed = interval_block(
            fit_spec.intervals, fit_spec.program, fit_spec.settings, y, coordinates, numbers, arguments
        )
    else:
        order = serpentine(shape) if fit_spec.path == "serpentine" else None
        rows = None if into is None else into.reshape(len(y), -1)
        packed = fit_block(fit_spec.program, fit_spec.settings, y, coordinates, arguments, order=order, into=rows)
    return packed.reshape((*shape, packed.shape[1]))


def serpentine(shape: tuple[int, ...]) -> np.ndarray:
    """Flat positions of the pixels of a block in the order of a path that goes to and fro:
    neighbours follow each other.
    """
    order = np.arange(int(np.prod(shape))).reshape(shape)
    for axis in range(1, len(shape)):
        # Every second row of all before, counted along the path, is run through backwards.
        rows = order.reshape(-1, *shape[axis:]) if axis < len(shape) else order
        rows[1::2] = rows[1::2, ::-1]
    return order.ravel()
