"""Strategies: from where pixels that are not fitted yet are begun."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Radius = float | Mapping[Any, float]


class Strategy:
    """What all strategies are; use `LocalStrategy` or `GlobalStrategy`."""


@dataclass(frozen=True)
class LocalStrategy(Strategy):
    """Spread from good pixels to their neighbours.

    A pixel is fitted from the weighted mean of its good neighbours. Those with the largest sum of weights come first. A
    neighbour's weight is `weight` of its reduced chi-squared times `decay` of its distance. Where the mean was no good
    start, the heaviest alone is: between two domains a mean is a start for neither. A pixel that has failed is tried
    again when it has gained a neighbour, from the heaviest of the new ones.

    Parameters
    ----------
    radius : float or mapping of dimension to float
        How far neighbours are, in pixels: within an ellipsoid with these half axes.
    """

    radius: Radius = 3.0

    #: Whether every fit begins from one neighbour.
    nearest = False

    def weight(self, red_chisq: np.ndarray) -> np.ndarray:
        """Weight of good pixels by their reduced chi-squared, float64 (n,)."""
        return np.ones_like(red_chisq)

    def decay(self, distance: np.ndarray) -> np.ndarray:
        """Weight of neighbours by their distance in pixels, float64 (m,)."""
        return np.asarray(np.exp(-distance))

    def radii(self, navigation: Sequence[Any]) -> tuple[float, ...]:
        """Radius along each navigation dimension.

        Raises
        ------
        ValueError
            For a radius below one, or of a dimension that is not there.
        """
        given = self.radius
        if isinstance(given, Mapping):
            unknown = [d for d in given if d not in navigation]
            missing = [d for d in navigation if d not in given]
            if unknown or missing:
                raise ValueError(
                    f"radius={given!r} must name the navigation dimensions {list(navigation)}, each of them"
                )
        values = [given[d] if isinstance(given, Mapping) else given for d in navigation]
        for value in values:
            if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 1 <= float(value) < math.inf:
                raise ValueError(f"radius={given!r} must be a number of pixels of one or more")
        return tuple(float(value) for value in values)


@dataclass(frozen=True)
class ReducedChiSquared(LocalStrategy):
    """Spread from good pixels, those first whose neighbours are best: HyperSpy's local strategy.

    Weights are ``exp(-|red_chisq - 1|) * exp(-distance)`` by default.

    Parameters
    ----------
    radius : float or mapping of dimension to float
        As for `LocalStrategy`.
    decay, weight : callable, optional
        Functions of arrays instead of these two.
    """

    decay_by: Callable[[np.ndarray], np.ndarray] | None = None
    weight_by: Callable[[np.ndarray], np.ndarray] | None = None

    def __init__(
        self,
        radius: Radius = 3.0,
        decay: Callable[[np.ndarray], np.ndarray] | None = None,
        weight: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        object.__setattr__(self, "radius", radius)
        object.__setattr__(self, "decay_by", decay)
        object.__setattr__(self, "weight_by", weight)

    def weight(self, red_chisq: np.ndarray) -> np.ndarray:
        """See `LocalStrategy.weight`."""
        if self.weight_by is not None:
            return np.asarray(self.weight_by(red_chisq), float)
        return np.asarray(np.exp(-np.abs(red_chisq - 1.0)))

    def decay(self, distance: np.ndarray) -> np.ndarray:
        """See `LocalStrategy.decay`."""
        return np.asarray(self.decay_by(distance), float) if self.decay_by is not None else super().decay(distance)


@dataclass(frozen=True)
class Nearest(LocalStrategy):
    """Spread from good pixels, each begun where the nearest of its good neighbours ended.

    Parameters
    ----------
    radius : float or mapping of dimension to float
        As for `LocalStrategy`.
    """

    nearest = True


class GlobalStrategy(Strategy):
    """Try the same candidates in all pixels that are left."""

    def candidates(self, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Choose start vectors.

        Parameters
        ----------
        values : float64 (n, n_free)
            Vectors of values of the free parameters that good pixels have: means over cells of their joint histogram.
            NaN where a component takes no part.
        counts : int64 (n,)
            How many pixels each stands for.

        Returns
        -------
        float64 (any, n_free)
            In the order in which they are tried.
        """
        raise TypeError(f"{type(self).__name__} must have a method candidates(values, counts)")


@dataclass(frozen=True)
class Histogram(GlobalStrategy):
    """Begin from the values that are most frequent among the good pixels.

    Candidates are joint vectors, not all combinations of modes: good pixels that are near the same modes of all
    parameters' histograms give one, their mean; the most frequent first.

    Parameters
    ----------
    bins : "fd" or int
        Number of bins of each parameter, or Freedman and Diaconis' rule (Z. Wahrscheinlichkeitstheorie verw. Gebiete
        57, 453 (1981), doi:10.1007/BF01025868).
    max_candidates : int
        Largest number of vectors.
    """

    bins: str | int = "fd"
    max_candidates: int = 10

    def __post_init__(self) -> None:
        if self.bins != "fd" and (isinstance(self.bins, bool) or not isinstance(self.bins, int) or self.bins < 1):
            raise ValueError(f"bins={self.bins!r} must be 'fd' or a number of bins")
        if isinstance(self.max_candidates, bool) or not isinstance(self.max_candidates, int) or self.max_candidates < 1:
            raise ValueError(f"max_candidates={self.max_candidates!r} must be a whole number of 1 or more")

    def candidates(self, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """See `GlobalStrategy.candidates`."""
        labels = [
            _nearest_mode(column, counts, int(n))
            for column, n in zip(values.T, self._numbers(values, counts), strict=True)
        ]
        keys, inverse = np.unique(np.stack(labels, axis=1), axis=0, return_inverse=True)
        inverse = inverse.ravel()
        number = np.bincount(inverse, weights=counts, minlength=len(keys))
        # NaN stays NaN: among those of one label a parameter is known for all or for none.
        sums = [np.bincount(inverse, weights=column * counts, minlength=len(keys)) for column in values.T]
        means = np.stack(sums, axis=1) / number[:, None]
        return np.asarray(means[np.lexsort((np.arange(len(keys)), -number))[: self.max_candidates]])

    def _numbers(self, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Number of bins of each parameter."""
        if isinstance(self.bins, int):
            return np.full(values.shape[1], float(self.bins))
        total = counts.sum()
        found = []
        for column in values.T:
            known = ~np.isnan(column)
            order = np.argsort(column[known], kind="stable")
            ordered: np.ndarray = column[known][order]
            share: np.ndarray = np.cumsum(counts[known][order])
            if not ordered.size or ordered[-1] == ordered[0]:
                found.append(1.0)
                continue
            first, third = (float(ordered[np.searchsorted(share, q * share[-1])]) for q in (0.25, 0.75))
            width = 2 * (third - first) / np.cbrt(total)
            bins = (ordered[-1] - ordered[0]) / width if width > 0 else 100.0
            found.append(float(np.clip(np.ceil(bins), 1, 100)))
        return np.array(found)


def _nearest_mode(column: np.ndarray, counts: np.ndarray, bins: int) -> np.ndarray:
    """Number of the mode of a histogram that each value is nearest to; -1 for NaN."""
    known = ~np.isnan(column)
    labels = np.full(column.size, -1)
    if not known.any():
        return labels
    heights, edges = np.histogram(column[known], bins, weights=counts[known])
    # A little smoother, so that not every second bin is a maximum by chance.
    padded = np.pad(heights, 2)
    smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    middle = smooth[1:-1]
    top = (middle > smooth[:-2]) & (middle >= smooth[2:]) & (heights > 0)
    top[np.argmax(heights)] = True
    modes = (0.5 * (edges[1:] + edges[:-1]))[top]
    labels[known] = np.abs(column[known][:, None] - modes).argmin(axis=1)
    return labels


def strategies_of(given: Any, navigation: Sequence[Any]) -> tuple[Strategy, ...]:
    """Check strategies.

    Parameters
    ----------
    given : None, Strategy or sequence of them
        None is ``(ReducedChiSquared(), Histogram())``.

    Raises
    ------
    TypeError, ValueError
        For what is none, and for radii that can't be.
    """
    if given is None:
        return (ReducedChiSquared(), Histogram())
    found = (given,) if isinstance(given, Strategy) else tuple(given)
    for each in found:
        if not isinstance(each, LocalStrategy | GlobalStrategy):
            raise TypeError(
                f"strategies holds {each!r}; each must be a strategy such as xfit.samfire.ReducedChiSquared(radius=3), "
                "Nearest() or Histogram()"
            )
        if isinstance(each, LocalStrategy):
            each.radii(navigation)
    if not found:
        raise ValueError("strategies is empty; leave it out for ReducedChiSquared() and Histogram()")
    return found
