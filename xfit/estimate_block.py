"""estimate_block: pixels x channels in, estimates of parameters out; NumPy only, whoever schedules it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xfit.estimators import Estimates

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
    range : (float, float) or None
        Part of the coordinate that is used, both ends included; None is all of it.
    """

    function: Callable[..., Estimates]
    targets: tuple[Target, ...]
    taken: tuple[tuple[str, float], ...] = ()
    range: tuple[float, float] | None = None

    def __call__(self, x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
        """Estimate the targets; a pixel with anything that is not finite is NaN in all of them."""
        part = slice(0, x.size)
        if self.range is not None:
            part = slice(int(np.searchsorted(x, self.range[0])), int(np.searchsorted(x, self.range[1], "right")))
        found = self.function(x[part], np.ascontiguousarray(y[:, part]), width[part], **dict(self.taken))
        usable = np.logical_and.reduce([np.isfinite(values) for values in found.values()])
        return {target.name: np.where(usable, target.inside(found[target.key]), np.nan) for target in self.targets}


def estimate_block(
    estimations: Sequence[Estimation],
    x: np.ndarray,
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
    x : float64 (n_channels,)
        The coordinate, in any order.
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
    order = np.argsort(x, kind="stable")
    ascending = np.asarray(x, np.float64)[order]
    as_they_are = bool((order == np.arange(x.size)).all())
    spacing = np.gradient(ascending) if x.size > 1 else np.ones(x.size)
    step = max(_BATCH // max(x.size, 1), 1)
    for first in range(0, len(y), step):
        batch = slice(first, first + step)
        with np.errstate(all="ignore"):
            mask = where if where is None or len(where) == 1 else where[batch]
            density = _densities(y[batch], width, mask)
            density = density if as_they_are else density[:, order]
            for estimation in estimations:
                for name, values in estimation(ascending, density, spacing).items():
                    out[name][batch] = values
    return out


def _densities(y: np.ndarray, width: np.ndarray | None, where: np.ndarray | None) -> np.ndarray:
    """Data per unit of x as float64; NaN where they are not to be used."""
    density = y.astype(np.float64) if width is None else y / width
    usable = np.isfinite(density) if where is None else np.isfinite(density) & where
    density[~usable] = np.nan
    return density
