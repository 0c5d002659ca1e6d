"""Windows: which channels belong to which peak, as its bounds and its neighbours say, and where in them
its start fits best; NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: A peak that is sought within bounds is looked at with so many of its widths on either side.
_MARGIN = 1.5

#: A start is tried in places that lie so many of its widths apart; on each axis in so many places at most.
_APART, _PLACES = 1 / 3, {1: 200, 2: 16}


@dataclass(frozen=True)
class Place:
    """Where a component is.

    Attributes
    ----------
    start, lower, upper : float64 (n_axes,)
        Its position at the start, and bounds of it; no numbers for a background, which is everywhere.
    """

    start: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def windows_of(
    axes: list[np.ndarray], own: Place, others: list[Place], shape: np.ndarray, channels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the channels of a component: up to half way to its neighbours, and of those where its bounds are.

    Parameters
    ----------
    axes : list of float64 (n_channels,)
        The coordinates.
    own, others : Place, list of Place
        Of the component and of its neighbours.
    shape : float64 (n_channels,)
        The component at its start.
    channels : int
        Smallest number of channels; a window with fewer is as large as without what makes it so small.

    Returns
    -------
    window, narrow : bool (n_channels,)
        The same array twice where bounds leave nothing out.
    """
    everywhere = np.ones(axes[0].size, bool)
    if not own.start.size:
        return everywhere, everywhere
    cell = _part(axes, *_cell(axes, own, others))
    cell = cell if cell.sum() >= channels else everywhere
    margin = np.array([_MARGIN * width_of(axis, shape) for axis in axes])
    narrow = cell & _part(axes, own.lower - margin, own.upper + margin)
    return cell, cell if (narrow == cell).all() or narrow.sum() < max(channels, 5) else narrow


def _cell(axes: list[np.ndarray], place: Place, others: list[Place]) -> tuple[np.ndarray, np.ndarray]:
    """How far it is to half way to the neighbours, along the axis on which they are farther apart."""
    low, high = np.full(place.start.size, -np.inf), np.full(place.start.size, np.inf)
    extent = np.array([np.ptp(axis) or 1.0 for axis in axes])
    for other in others:
        axis = int(np.argmax(np.abs(other.start - place.start) / extent))
        if other.start[axis] > place.start[axis]:
            high[axis] = min(high[axis], _border(place, other, axis))
        elif other.start[axis] < place.start[axis]:
            low[axis] = max(low[axis], _border(other, place, axis))
    return low, high


def _border(left: Place, right: Place, axis: int) -> float:
    """Half way between two starts, moved to where both may be; between the bounds, where these exclude each other."""
    first, last = right.lower[axis], left.upper[axis]
    if first > last:
        return float((first + last) / 2)
    return float(np.clip((left.start[axis] + right.start[axis]) / 2, first, last))


def _part(axes: list[np.ndarray], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Channels between two corners."""
    inside: np.ndarray = np.logical_and.reduce(
        [(axis >= a) & (axis <= b) for axis, a, b in zip(axes, low, high, strict=True)]
    )
    return inside


def width_of(axis: np.ndarray, shape: np.ndarray) -> float:
    """Length over which a shape is above half of its height, a channel at the least."""
    different = np.unique(axis)
    step = float(np.ptp(different)) / max(different.size - 1, 1)
    height = np.abs(np.where(np.isfinite(shape), shape, 0.0))
    high = axis[height >= height.max() / 2] if height.max() > 0 else axis[:1]
    return float(np.ptp(high)) + step


@dataclass(frozen=True)
class Template:
    """A component at its start, moved to places all over its window.

    Attributes
    ----------
    places : float64 (n_places, n_axes)
        Its positions.
    shapes : float64 (n_places, n_channels)
        The component there, less its mean over the window's channels.
    norms : float64 (n_places,)
        Sums of the squares of these.
    """

    places: np.ndarray
    shapes: np.ndarray
    norms: np.ndarray

    @classmethod
    def of(cls, places: np.ndarray, curves: np.ndarray) -> Template | None:
        """Make one of curves (n_places, n_channels); None where there is nothing of them to be seen."""
        shapes = np.where(np.isfinite(curves), curves, 0.0)
        shapes = shapes - shapes.mean(axis=1, keepdims=True)
        norms = (shapes * shapes).sum(axis=1)
        seen = norms > 1e-3 * norms.max() if norms.size and norms.max() > 0 else np.zeros(norms.size, bool)
        return cls(places[seen], shapes[seen], norms[seen]) if seen.any() else None

    def best(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where it explains most of data (n_pixels, n_channels) as a multiple of itself, above zero, over a constant.

        Returns
        -------
        gain, factor : float64 (n_pixels,)
            By how much the sum of squares falls, and the multiple.
        place : int (n_pixels,)
            Index of the place.
        """
        # In rows: other layouts are summed in another order, which depends on their number.
        y = np.ascontiguousarray(y)
        known = ~np.isnan(y)
        mean = np.where(known, y, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        above = np.where(known, y - mean[:, None], 0.0)
        gain, factor, place = np.full(len(y), -1.0), np.zeros(len(y)), np.zeros(len(y), np.intp)
        for j, (shape, norm) in enumerate(zip(self.shapes, self.norms, strict=True)):
            product = (above * shape).sum(axis=1)
            better = (product > 0) & (product**2 / norm > gain)
            gain, factor = np.where(better, product**2 / norm, gain), np.where(better, product / norm, factor)
            place = np.where(better, j, place)
        return gain, factor, place


def trial_places(
    axes: list[np.ndarray], window: np.ndarray, lower: np.ndarray, upper: np.ndarray, shape: np.ndarray
) -> np.ndarray:
    """Return positions within a window and bounds, a third of the width of a shape apart: (n_places, n_axes)."""
    along = []
    for axis, low, high in zip(axes, lower, upper, strict=True):
        first, last = max(float(axis[window].min()), low), min(float(axis[window].max()), high)
        if not first <= last:
            return np.empty((0, len(axes)))
        count = int(min((last - first) / (_APART * width_of(axis, shape)), _PLACES[len(axes)] - 1)) + 1
        step = (last - first) / count
        along.append(first + step * (np.arange(count) + 0.5))
    return np.stack([values.ravel() for values in np.meshgrid(*along, indexing="ij")], axis=1)
