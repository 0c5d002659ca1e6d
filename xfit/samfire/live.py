"""A map of a run while it goes on, as a HoloViews object that redraws itself."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from xfit.engine.waves.wavefront import HOPELESS, LEFT
from xfit.fitting.running.chunk_grid import ChunkGrid, within
from xfit.samfire.visits import Summary

#: Seconds between redraws.
_PAUSE = 0.25


class LiveMap:
    """What has become of every pixel: 0 to be fitted, 1 good, 2 can't be fitted.

    Parameters
    ----------
    grid : ChunkGrid
        The chunks, along one or two navigation dimensions; of three, the first is looked through.
    names : sequence of str
        The navigation dimensions.
    """

    def __init__(self, grid: ChunkGrid, names: list[str]) -> None:
        from holoviews.streams import Pipe

        self._grid, self._names = grid, names
        self.values = np.zeros([int(edges[-1]) for edges in grid.edges], np.int8)
        self._pipe = Pipe(data=self._picture())
        self._last = 0.0

    def __call__(self, chunk: int, summary: Summary) -> None:
        """Take notice of a visit."""
        box = self._grid.box(chunk)
        state = np.where(summary.mark == LEFT, 0, np.where(summary.mark == HOPELESS, 2, 1))
        whole = tuple((0, n) for n in self.values.shape)
        self.values[within(box, whole)] = state.reshape([b - a for a, b in box])
        now = time.monotonic()
        if now - self._last > _PAUSE or summary.todo == 0:
            self._last = now
            self._pipe.send(self._picture())

    def _picture(self) -> np.ndarray:
        values = self.values
        while values.ndim > 2:
            values = values.max(axis=0)
        return np.atleast_2d(values).copy()

    def view(self) -> Any:
        """HoloViews ``DynamicMap`` of the picture."""
        import holoviews as hv

        across, up = (self._names[-1], self._names[-2] if len(self._names) > 1 else "")

        def draw(data: np.ndarray) -> Any:
            height, width = data.shape
            image = hv.Image(data[::-1], kdims=[across, up or "map"], vdims=["state"], bounds=(0, 0, width, height))
            return image.redim.range(state=(0, 2))

        return hv.DynamicMap(draw, streams=[self._pipe])
