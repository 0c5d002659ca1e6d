"""A recipe mapped over the navigation chunks of an array: one blockwise layer, or threads for NumPy data."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import dask
import dask.array
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.system import CPU_COUNT

from xfit.axes import Axes
from xfit.block import fit_block
from xfit.chunks import flat, only, spread
from xfit.compile.engine import prepare_engine
from xfit.compile.program import Program
from xfit.estimate_block import Estimation
from xfit.execution.interruption import heeding_dask, in_threads, watch_dask
from xfit.execution.spectra import whole_signals
from xfit.interval_block import Intervals, interval_block
from xfit.options import Columns, FitOptions, Settings
from xfit.response import Grid
from xfit.start_block import Task, start_block

#: Elements of NumPy-backed data in one block: large enough to hide a task's overhead, small enough to spread over cores.
_BLOCK = 1 << 24

#: Whether fits of data in memory are made by the calling thread alone.
_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


@dataclass(frozen=True)
class Recipe:
    """All that a block's fit needs besides arrays; it travels with every task, so it is small.

    Attributes
    ----------
    program, settings, options
        See `xfit.block.fit_block`.
    names : tuple of str
        Names of the rows of the coordinate table; a last row without name holds the channel widths.
    navigation, signal : tuple
        Dimensions of the block.
    variance : float or None
        A variance that is the same everywhere.
    roles : tuple of (str, str, tuple)
        What each further array is: its role, for which parameter or component, and its dimensions.
    estimations : tuple of Estimation
        Start values that are estimated from the block's data.
    grid : Grid or None
        Where convolved components are evaluated.
    path : {"independent", "serpentine", "flyback"}
        In which order pixels are fitted.
    intervals : Intervals or None
        What is asked for instead of fits.
    """

    program: Program
    settings: Settings
    options: FitOptions
    names: tuple[str, ...]
    navigation: tuple[Hashable, ...]
    signal: tuple[Hashable, ...]
    variance: float | None
    roles: tuple[tuple[str, str, tuple[Hashable, ...]], ...]
    estimations: tuple[Estimation, ...]
    grid: Grid | None
    path: str
    intervals: Intervals | None = None

    @property
    def width(self) -> int:
        """Length of a pixel's row of results."""
        return self.intervals.width if self.intervals else Columns.of(len(self.settings.start), self.options).total

    def __dask_tokenize__(self) -> Any:
        """Equal recipes have equal tokens in every process."""
        numbers = (
            self.settings.start,
            self.settings.lower,
            self.settings.upper,
            self.settings.free,
            self.settings.active,
        )
        return ("xfit.Recipe", self.program.__dask_tokenize__(), tokenize(*numbers), tokenize(self.options), self.names,
                repr(self.navigation), repr(self.signal), self.variance, repr(self.roles), tokenize(self.estimations), repr(self.grid), self.path, repr(self.intervals))  # fmt: skip


def run(da: xr.DataArray, axes: Axes, recipe: Recipe, extra: list[xr.DataArray]) -> Any:
    """Packed results over the navigation dimensions: a NumPy array for NumPy data, else a lazy dask array."""
    lazy = any(array.chunks is not None for array in [da, *extra])
    data = da.transpose(*axes.navigation, *axes.dims)
    if not lazy:
        return _fit_in_memory(data, axes, recipe, extra)
    if da.chunks is None:
        data = data.chunk(_navigation_chunks(data, axes))
    else:
        data = whole_signals(data, axes.dims, "fit", stacklevel=4)
    return _graph(data, axes, recipe, extra)


def _fit_in_memory(data: xr.DataArray, axes: Axes, recipe: Recipe, extra: list[xr.DataArray]) -> np.ndarray:
    """Fit NumPy data block by block on all cores."""
    prepare_engine()
    packed = np.empty((*(data.sizes[d] for d in axes.navigation), recipe.width))
    # A path is one, or numbers would depend on how many cores there are.
    chained = recipe.path != "independent"
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
        into = target if target.flags.c_contiguous and recipe.intervals is None else None
        rows = fit_nd(spectra[block], *parts, table=table, recipe=recipe, into=into)
        if into is None:
            packed[block] = rows

    blocks = list(itertools.product(*ranges))
    total = None if recipe.intervals else int(np.prod([data.sizes[d] for d in axes.navigation]))
    in_threads(fit_one, blocks, threads_for(len(blocks)), total)
    return packed


def threads_for(blocks: int) -> int:
    """How many threads fit so many blocks of data in memory: one for each core, or one where that is asked for or dask is set to be synchronous."""
    synchronous = dask.config.get("scheduler", None) in ("sync", "synchronous", "single-threaded")
    return 1 if synchronous or _ALONE.get() else min(CPU_COUNT, blocks)


@contextmanager
def one_thread() -> Iterator[None]:
    """Fit data in memory by the calling thread alone; what other threads do stays as it is, which dask's configuration would change for all of them."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def table_of(axes: Axes) -> np.ndarray:
    """Coordinates, and the channel widths as a last row where data are binned."""
    return axes.table if axes.width is None else np.vstack([axes.table, axes.width[None]])


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


def _graph(data: xr.DataArray, axes: Axes, recipe: Recipe, extra: list[xr.DataArray]) -> Any:
    """One blockwise layer that fits every navigation chunk."""
    watch_dask()
    # The response has a dimension of its own.
    letters = {d: k for k, d in enumerate(dict.fromkeys([*data.dims, *(d for array in extra for d in array.dims)]))}
    packed_index, table_index = len(letters), (len(letters) + 1, len(letters) + 2)
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
        recipe=dask.delayed(recipe, name="xfit-recipe-" + tokenize(recipe), traverse=False),
        n_axes=len(axes.dims),
        new_axes={packed_index: recipe.width},
        dtype=np.float64,
        concatenate=False,
        align_arrays=False,
        meta=np.empty((0,) * (len(navigation) + 1)),
        name="xfit-multifit-" + tokenize(recipe, *arguments),
    )


def _fit_chunk(data: Any, table: Any, *extra: Any, recipe: Recipe, n_axes: int) -> np.ndarray:
    """Fit one chunk; contracted dimensions come as nested lists of one block."""
    with heeding_dask():
        return fit_nd(only(data), *(only(array) for array in extra), table=only(table), recipe=recipe)


def arguments_of(
    data: np.ndarray, extra: Sequence[np.ndarray], table: np.ndarray, recipe: Recipe
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray | None, dict[str, Any]]:
    """Lay a block with navigation dimensions first out as `fit_block` takes it.

    Returns
    -------
    y : array (n_pixels, n_channels)
    coordinates : dict of str to float64 (n_channels,)
    numbers : int64 (n_pixels,) or None
        Numbers of the pixels, where the recipe has such a role.
    arguments : dict
        Keyword arguments of `fit_block`.
    """
    n_signal = len(recipe.signal)
    shape = data.shape[: data.ndim - n_signal]
    y = data.reshape(int(np.prod(shape)), int(np.prod(data.shape[len(shape) :])))
    coordinates = dict(zip(recipe.names, table, strict=False))
    width = table[-1] if len(table) > len(recipe.names) else None
    start: dict[str, np.ndarray] = {}
    active: dict[str, np.ndarray] = {}
    numbers: np.ndarray | None
    bounds: dict[tuple[str, str], np.ndarray] = {}
    variance = None if recipe.variance is None else np.full((1, y.shape[1]), recipe.variance)
    where = response = numbers = None
    for (role, name, dims), array in zip(recipe.roles, extra, strict=True):
        if role == "variance":
            variance = flat(array, dims, recipe.navigation, recipe.signal, data.shape)
        elif role == "where":
            where = flat(array, dims, recipe.navigation, recipe.signal, data.shape)
        elif role == "response":
            response = flat(array, dims, recipe.navigation, dims[-1:], (*shape, array.shape[-1]))
        elif role == "number":
            numbers = spread(array, dims, recipe.navigation, shape).ravel()
        elif role in ("min", "max"):
            bounds[name, role] = spread(array, dims, recipe.navigation, shape).ravel()
        else:
            values = spread(array, dims, recipe.navigation, shape).ravel()
            (start if role == "start" else active)[name] = values
    flags = None
    if active:
        flags = np.tile(recipe.settings.active, (y.shape[0], 1))
        for name, values in active.items():
            flags[:, recipe.program.components.index(name)] = values
    points = None if recipe.grid is None else recipe.grid.points
    if recipe.estimations:
        task = Task(recipe.estimations, recipe.program, recipe.settings, tuple(start))
        start |= start_block(
            task, y, coordinates, start=start, bounds=bounds, variance=variance, where=where, width=width,
            active=flags, response=response, grid=points,
        )  # fmt: skip
    arguments: dict[str, Any] = {
        "start": start,
        "variance": variance,
        "where": where,
        "width": width,
        "active": flags,
        "response": response,
        "grid": points,
        "bounds": bounds,
        "varying": {role for role, _, dims in recipe.roles if set(dims) & set(recipe.navigation)}
        | ({"start"} if start else set()),
        "options": recipe.options,
    }
    return y, coordinates, numbers, arguments


def fit_nd(
    data: np.ndarray, *extra: np.ndarray, table: np.ndarray, recipe: Recipe, into: np.ndarray | None = None
) -> np.ndarray:
    """Fit a block with navigation dimensions first, into contiguous memory if it is given; what `fit_block` does for flat pixels."""
    shape = data.shape[: data.ndim - len(recipe.signal)]
    y, coordinates, numbers, arguments = arguments_of(data, extra, table, recipe)
    if recipe.intervals is not None:
        packed = interval_block(recipe.intervals, recipe.program, recipe.settings, y, coordinates, numbers, arguments)
    else:
        order = serpentine(shape) if recipe.path == "serpentine" else None
        rows = None if into is None else into.reshape(len(y), -1)
        packed = fit_block(recipe.program, recipe.settings, y, coordinates, order=order, into=rows, **arguments)
    return packed.reshape((*shape, packed.shape[1]))


def serpentine(shape: tuple[int, ...]) -> np.ndarray:
    """Flat positions of the pixels of a block in the order of a path that goes to and fro: neighbours follow each other."""
    order = np.arange(int(np.prod(shape))).reshape(shape)
    for axis in range(1, len(shape)):
        # Every second row of all before, counted along the path, is run through backwards.
        rows = order.reshape(-1, *shape[axis:]) if axis < len(shape) else order
        rows[1::2] = rows[1::2, ::-1]
    return order.ravel()
