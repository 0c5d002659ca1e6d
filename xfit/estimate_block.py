"""estimate_block: pixels x channels in, estimates of parameters out; NumPy only, whoever schedules it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xfit.estimators import Estimates
from xfit.execution.interruption import check

#: Elements of data that are estimated at a time: what is computed on the way stays in the cache.
_BATCH = 1 << 18

#: An estimate beyond a bound is moved inside of it by this part of the room there is.
_MARGIN = 1e-3


@dataclass(frozen=True)
class Target:
    """A parameter that is estimated.

    Attributes
    ----------
    key, name : str
        Name in the component, and name of the result.
    value : float
        The model's value.
    lower, upper : float
        Bounds; infinite for none.
    """

    key: str
    name: str
    value: float
    lower: float
    upper: float

    def inside(self, values: np.ndarray) -> np.ndarray:
        """Move values that lie at or beyond a bound inside of it; the others and NaN stay."""
        low, high = self.lower + self._room(self.lower), self.upper - self._room(self.upper)
        values = np.where(values <= self.lower, low, values)
        return np.where(values >= self.upper, high, values)

    def _room(self, bound: float) -> float:
        """Distance from a bound to the value that stands for what is beyond it."""
        if not math.isfinite(bound):
            return 0.0
        both = math.isfinite(self.lower) and math.isfinite(self.upper)
        room = self.upper - self.lower if both else abs(self.value - bound)
        return _MARGIN * (room or max(abs(bound), 1.0))


@dataclass(frozen=True)
class Estimation:
    """One component's estimate; small and picklable, for it travels with every task.

    Attributes
    ----------
    function : callable
        That of its `Estimator`.
    targets : tuple of Target
        What is estimated.
    taken : tuple of (str, float)
        Values of the parameters that the function takes.
    ranges : tuple of (float, float) or None
        Parts of the coordinates that are used, both ends included; None is all of them.
    coordinates : tuple of str
        Names of the coordinates.
    """

    function: Callable[..., Estimates]
    targets: tuple[Target, ...]
    taken: tuple[tuple[str, float], ...] = ()
    ranges: tuple[tuple[float, float], ...] | None = None
    coordinates: tuple[str, ...] = ("x",)

    def part(self, grid: Sequence[np.ndarray]) -> np.ndarray:
        """Which channels are used."""
        used = np.ones(grid[0].size, bool)
        for values, (low, high) in zip(grid, self.ranges or (), strict=False):
            used &= (values >= low) & (values <= high)
        return used

    def __call__(self, grid: Sequence[np.ndarray], y: np.ndarray, width: np.ndarray) -> Estimates:
        """Estimate the targets; a pixel with anything that is not finite is NaN in all of them."""
        if self.ranges is not None:
            part = np.flatnonzero(self.part(grid))
            grid, y, width = [values[part] for values in grid], y[:, part], width[part]
        found = self.function(*grid, np.ascontiguousarray(y), width, **dict(self.taken))
        usable = np.logical_and.reduce([np.isfinite(values) for values in found.values()])
        return {target.name: np.where(usable, target.inside(found[target.key]), np.nan) for target in self.targets}


@dataclass(frozen=True)
class _Grid:
    """Coordinates as estimators want them: one of its own ascending, two as they are; and the channels' widths or areas."""

    coordinates: list[np.ndarray]
    spacing: np.ndarray
    order: np.ndarray | None

    @classmethod
    def of(cls, coordinates: list[np.ndarray]) -> _Grid:
        if len(coordinates) > 1:
            return cls(coordinates, np.prod([_spacing(values) for values in coordinates], axis=0), None)
        (x,) = coordinates
        order = np.argsort(x, kind="stable")
        ascending = np.asarray(x, np.float64)[order]
        as_it_is = bool((order == np.arange(x.size)).all())
        spacing = np.gradient(ascending) if x.size > 1 else np.ones(x.size)
        return cls([ascending], spacing, None if as_it_is else order)


def _spacing(values: np.ndarray) -> np.ndarray:
    """Distance of each value to its neighbours among the different ones."""
    different, place = np.unique(values, return_inverse=True)
    return np.asarray(np.gradient(different)[place.ravel()]) if different.size > 1 else np.ones(values.size)


def estimate_block(
    estimations: Sequence[Estimation],
    coordinates: Mapping[str, np.ndarray],
    y: np.ndarray,
    *,
    width: np.ndarray | None = None,
    where: np.ndarray | None = None,
) -> Estimates:
    """Estimate parameters in every pixel of a block.

    Parameters
    ----------
    estimations : sequence of Estimation
        What to estimate.
    coordinates : mapping of str to float64 (n_channels,)
        The coordinates, in any order.
    y : array (n_pixels, n_channels)
        Data of any real dtype; channels that are not finite are left out.
    width : float64 (n_channels,), optional
        Channel widths, for binned data.
    where : bool array (n_pixels or 1, n_channels or 1), optional
        Channels to use.

    Returns
    -------
    dict of str to float64 (n_pixels,)
        Values by the targets' names, inside of their bounds; NaN where the data do not tell them.
    """
    out = {target.name: np.full(len(y), np.nan) for estimation in estimations for target in estimation.targets}
    grids = [_Grid.of([coordinates[name] for name in estimation.coordinates]) for estimation in estimations]
    step = max(_BATCH // max(y.shape[1], 1), 1)
    for first in range(0, len(y), step):
        check()
        batch = slice(first, first + step)
        with np.errstate(all="ignore"):
            mask = where if where is None or len(where) == 1 else where[batch]
            density = _densities(y[batch], width, mask)
            for estimation, grid in zip(estimations, grids, strict=True):
                ordered = density if grid.order is None else density[:, grid.order]
                for name, values in estimation(grid.coordinates, ordered, grid.spacing).items():
                    out[name][batch] = values
    return out


def _densities(y: np.ndarray, width: np.ndarray | None, where: np.ndarray | None) -> np.ndarray:
    """Data per unit of x as float64; NaN where they are not to be used."""
    density = y.astype(np.float64) if width is None else y / width
    usable = np.isfinite(density) if where is None else np.isfinite(density) & where
    density[~usable] = np.nan
    return density
