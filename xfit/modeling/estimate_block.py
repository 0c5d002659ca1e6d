"""One component's estimates, taken alone: pixels x channels in, estimates of parameters out;
NumPy only, whoever schedules it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xfit.modeling.estimators import Estimates

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
    component : int
        Position of the component in the model.
    linear : tuple of str
        Names in the component of the parameters that it is linear in.
    place : tuple of str
        Names in the component of the parameters that say where it is; empty for backgrounds, which are everywhere.
    channels : int
        Smallest number of channels that the function needs.
    downwards : bool
        Whether it is a peak that points downwards.
    neighbours : tuple of (int, tuple of str)
        Other components that are somewhere, by position in the model, and the parameters that say where.
    """

    function: Callable[..., Estimates]
    targets: tuple[Target, ...]
    taken: tuple[tuple[str, float], ...] = ()
    ranges: tuple[tuple[float, float], ...] | None = None
    coordinates: tuple[str, ...] = ("x",)
    component: int = 0
    linear: tuple[str, ...] = ()
    place: tuple[str, ...] = ()
    channels: int = 2
    downwards: bool = False
    neighbours: tuple[tuple[int, tuple[str, ...]], ...] = ()

    def part(self, grid: Sequence[np.ndarray]) -> np.ndarray:
        """Which channels are used."""
        used = np.ones(grid[0].size, bool)
        for values, (low, high) in zip(grid, self.ranges or (), strict=False):
            used &= (values >= low) & (values <= high)
        return used

    def found(self, grid: Sequence[np.ndarray], y: np.ndarray, width: np.ndarray) -> Estimates:
        """What the function finds, bounds or not; a pixel with anything that is not finite is NaN in all of them."""
        sign = -1.0 if self.downwards else 1.0
        found = self.function(*grid, np.ascontiguousarray(sign * y), width, **dict(self.taken))
        usable = np.logical_and.reduce([np.isfinite(values) for values in found.values()])
        return {
            key: np.where(usable, sign * values if key in self.linear else values, np.nan)
            for key, values in found.items()
        }


@dataclass(frozen=True)
class SignalGrid:
    """Coordinates as estimators want them: one of its own ascending, two as they are; and
    the channels' widths or areas.
    """

    coordinates: list[np.ndarray]
    spacing: np.ndarray
    order: np.ndarray | None

    @classmethod
    def of(cls, coordinates: list[np.ndarray]) -> SignalGrid:
        """Sort one coordinate; two stay as they are."""
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


def densities(y: np.ndarray, width: np.ndarray | None, where: np.ndarray | None) -> np.ndarray:
    """Data per unit of x as float64; NaN where they are not to be used."""
    density = y.astype(np.float64) if width is None else y / width
    usable = np.isfinite(density) if where is None else np.isfinite(density) & where
    density[~usable] = np.nan
    return density
