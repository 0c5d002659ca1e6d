"""The navigation chunks of a map as a grid: which are neighbours, and what they show each other along their borders."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import xarray as xr

#: Pixels of a chunk of data that are not chunked: the same on every machine, for results depend on it.
_PIXELS = 4096

Box = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class ChunkGrid:
    """Chunks of the navigation dimensions.

    Attributes
    ----------
    chunks : tuple of tuple of int
        Sizes of the chunks along each dimension.
    reach : tuple of int
        How many pixels of its neighbours a chunk sees, along each dimension.
    """

    chunks: tuple[tuple[int, ...], ...]
    reach: tuple[int, ...]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Number of chunks along each dimension."""
        return tuple(len(sizes) for sizes in self.chunks)

    @cached_property
    def edges(self) -> tuple[np.ndarray, ...]:
        """Where the chunks begin along each dimension, and the end."""
        return tuple(np.concatenate([[0], np.cumsum(sizes)]) for sizes in self.chunks)

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    def index(self, chunk: int) -> tuple[int, ...]:
        """Position of a chunk along each dimension."""
        found = []
        for size in reversed(self.shape):
            chunk, place = divmod(chunk, size)
            found.append(place)
        return tuple(reversed(found))

    def box(self, chunk: int) -> Box:
        """First pixel of a chunk and the one after its last, along each dimension."""
        index = self.index(chunk)
        return tuple((int(e[i]), int(e[i + 1])) for e, i in zip(self.edges, index, strict=True))

    def seen(self, chunk: int) -> Box:
        """The chunk with a margin, which may lie outside of the map."""
        return tuple((a - r, b + r) for (a, b), r in zip(self.box(chunk), self.reach, strict=True))

    def chunk_of(self, position: tuple[int, ...]) -> int:
        """Chunk that a pixel lies in."""
        index = [int(np.searchsorted(e, p, side="right")) - 1 for e, p in zip(self.edges, position, strict=True)]
        return int(np.ravel_multi_index(index, self.shape)) if index else 0

    @cached_property
    def _reached(self) -> list[list[range]]:
        """Chunks that a chunk sees along each dimension, for each place there, multiplied by
        their step in the flat order.
        """
        found = []
        for k, (edges, reach) in enumerate(zip(self.edges, self.reach, strict=True)):
            first = np.maximum(np.searchsorted(edges, np.maximum(edges[:-1] - reach, 0), side="right") - 1, 0)
            last = np.searchsorted(edges, np.minimum(edges[1:] + reach, edges[-1]), side="left")
            step = math.prod(self.shape[k + 1 :])
            found.append([range(a * step, b * step, step) for a, b in zip(first.tolist(), last.tolist(), strict=True)])
        return found

    def neighbours_of(self, chunk: int) -> list[int]:
        """Other chunks with pixels in the margin, in order."""
        ranges = [along[i] for along, i in zip(self._reached, self.index(chunk), strict=True)]
        return [each for each in map(sum, itertools.product(*ranges)) if each != chunk]

    @cached_property
    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Neighbours of every chunk, -1 for none, and which neighbour of that one it is; see
        `xfit.engine.waves.clocks.advance`.
        """
        lists = [self.neighbours_of(c) for c in range(len(self))]
        width = max(max(map(len, lists), default=0), 1)
        neighbours = np.full((len(lists), width), -1, np.int64)
        facing = np.zeros((len(lists), width), np.int64)
        place = [{other: m for m, other in enumerate(each)} for each in lists]
        for c, each in enumerate(lists):
            neighbours[c, : len(each)] = each
            facing[c, : len(each)] = [place[other][c] for other in each]
        return neighbours, facing


def overlap(one: Box, other: Box) -> Box:
    """Pixels that two boxes have in common; empty ranges where there are none."""
    return tuple((max(a, c), max(min(b, d), max(a, c))) for (a, b), (c, d) in zip(one, other, strict=True))


def within(box: Box, outer: Box) -> tuple[slice, ...]:
    """Where a box lies in an array over a larger one."""
    return tuple(slice(a - c, b - c) for (a, b), (c, _) in zip(box, outer, strict=True))


def shape_of(box: Box) -> tuple[int, ...]:
    """Number of pixels of a box along each dimension."""
    return tuple(b - a for a, b in box)


@lru_cache(maxsize=64)
def neighbourhood(radius: tuple[float, ...], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours within an ellipsoid: their distances in a flat array of the given shape, and in pixels.

    Returns
    -------
    offsets : int64 (m,)
    distance : float64 (m,)
        Euclidean, by rising ``offsets``.
    """
    steps = [np.arange(-int(np.ceil(r)), int(np.ceil(r)) + 1) for r in radius]
    table = np.array(list(itertools.product(*steps)), float).reshape(-1, len(radius))
    inside = ((table / np.array(radius)) ** 2).sum(1) <= 1.0
    table = table[inside & table.any(axis=1)]
    strides = np.cumprod([1, *shape[:0:-1]])[::-1] if shape else np.ones(0)
    offsets = (table @ strides).astype(np.int64)
    return offsets, np.sqrt((table**2).sum(1))


def chunks_of(data: xr.DataArray, navigation: Sequence[Hashable]) -> tuple[tuple[int, ...], ...]:
    """Chunks of the navigation dimensions: those of the data, or blocks of about as many pixels along each."""
    if data.chunks is not None:
        return tuple(tuple(data.chunksizes[d]) for d in navigation)
    side = max(round(_PIXELS ** (1 / len(navigation))), 1)
    found = []
    for d in navigation:
        whole, rest = divmod(data.sizes[d], side)
        found.append((*[side] * whole, *([rest] if rest else [])))
    return tuple(found)
