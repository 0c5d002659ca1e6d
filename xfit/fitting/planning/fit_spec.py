"""All that a block's fit needs besides arrays."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from dask.base import normalize_token, tokenize

from xfit.arrays.axes import Axes
from xfit.engine.block.interval_block import Intervals
from xfit.engine.block.options import Columns, FitOptions, Settings
from xfit.engine.codegen.program import Program
from xfit.engine.losses import Loss
from xfit.modeling.estimate_block import Estimation
from xfit.modeling.response import ResponseGrid


@dataclass(frozen=True)
class FitSpec:
    """All that a block's fit needs besides arrays; it travels with every task, so it is small.

    Attributes
    ----------
    program, settings, options
        See `xfit.engine.block.fit_block.fit_block`.
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
    grid : ResponseGrid or None
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
    grid: ResponseGrid | None
    path: str
    intervals: Intervals | None = None

    @property
    def width(self) -> int:
        """Length of a pixel's row of results."""
        return self.intervals.width if self.intervals else Columns.of(len(self.settings.start), self.options).total

    def __dask_tokenize__(self) -> Any:
        """Equal ones have equal tokens in every process."""
        numbers = (
            self.settings.start,
            self.settings.lower,
            self.settings.upper,
            self.settings.free,
            self.settings.active,
        )
        return (
            "xfit.FitSpec",
            self.program.__dask_tokenize__(),
            tokenize(*numbers),
            tokenize(self.options),
            self.names,
            repr(self.navigation),
            repr(self.signal),
            self.variance,
            repr(self.roles),
            tokenize(self.estimations),
            repr(self.grid),
            self.path,
            repr(self.intervals),
        )


def table_of(axes: Axes) -> np.ndarray:
    """Coordinates, and the channel widths as a last row where data are binned."""
    return axes.table if axes.width is None else np.vstack([axes.table, axes.width[None]])


@normalize_token.register(Loss)  # type: ignore[untyped-decorator]
def _loss_token(loss: Loss) -> Any:
    """Equal losses have equal tokens in every process; the engine itself knows nothing of dask."""
    # What has no digest is told apart by itself, as far as dask can.
    function = None if loss.digest or loss.function is None else normalize_token(loss.function)
    numbers = (loss.name, loss.scale, loss.gain, loss.offset, loss.correlation, loss.iterated)
    return ("xfit.Loss", *numbers, loss.digest, function)
