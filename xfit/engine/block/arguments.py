"""What pixels of a block are fitted with, besides the model, their data and their coordinates."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from xfit.engine.block.options import FitOptions


def taken(array: np.ndarray | None, pixels: np.ndarray | slice) -> np.ndarray | None:
    """Rows of some pixels; an array of one row is that of all pixels, and stays."""
    return array if array is None or len(array) == 1 else array[pixels]


@dataclass(frozen=True)
class BlockArguments:
    """Arguments of `xfit.engine.block.fit_block.fit_block`: where there is one row for all pixels,
    it may stand for that of each.

    Attributes
    ----------
    start : mapping of str to array (n_pixels,), or float64 (n_pixels, n_parameters)
        Start values per pixel by full parameter name (of fixed parameters: their values); where NaN, that of the
        settings. Or all of them, none NaN.
    variance : array (n_pixels or 1, n_channels), optional
        Variance of the data.
    where : bool array (n_pixels or 1, n_channels or 1), optional
        Channels to use; pixels to fit.
    width : float64 (n_channels,), optional
        Channel widths, for binned data.
    active : bool array (n_pixels, n_components), optional
        Where each component takes part; that of the settings if not given.
    response : array (n_pixels or 1, n_response), optional
        Response for the components in ``program.convolved``; a pixel where it is not finite is not fitted.
    grid : float64 (n_channels + n_response - 1,), optional
        Coordinate x of the points at which those are evaluated: where it lies for channel i and point j of the response
        is ``grid[i + n_response - 1 - j]``.
    bounds : mapping of (str, {"min", "max"}) to array (n_pixels,)
        Bounds per pixel by full parameter name; where NaN, those of the settings. Starts outside of them move to the
        nearer one.
    varying : collection of str, optional
        Which of "start", "variance", "where" and "response" differ from pixel to pixel: a block of one pixel does not
        show it, and linear fits go by it. By default what has a row for each pixel.
    options : FitOptions
        How to fit.
    """

    start: Mapping[str, np.ndarray] | np.ndarray = field(default_factory=dict)
    variance: np.ndarray | None = None
    where: np.ndarray | None = None
    width: np.ndarray | None = None
    active: np.ndarray | None = None
    response: np.ndarray | None = None
    grid: np.ndarray | None = None
    bounds: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)
    varying: Collection[str] | None = None
    options: FitOptions = field(default_factory=FitOptions)

    def take(self, pixels: np.ndarray) -> Self:
        """Those of some pixels, int64 (n,), which may be named several times."""
        start = self.start
        return replace(
            self,
            start=start[pixels] if isinstance(start, np.ndarray) else {k: each[pixels] for k, each in start.items()},
            variance=taken(self.variance, pixels),
            where=taken(self.where, pixels),
            response=taken(self.response, pixels),
            active=None if self.active is None else self.active[pixels],
            bounds={key: each[pixels] for key, each in self.bounds.items()},
        )

    @property
    def varies(self) -> frozenset[str]:
        """What differs from pixel to pixel."""
        given = {"variance": self.variance, "where": self.where, "response": self.response}
        rows = {name for name, array in given.items() if array is not None and len(array) > 1}
        found = (
            frozenset(rows | ({"start"} if len(self.start) else set()))
            if self.varying is None
            else frozenset(self.varying)
        )
        return found | ({"variance"} if self.options.noise else frozenset())
