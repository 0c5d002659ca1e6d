"""Functions given by numbers on a grid, for kernels: cubic splines of one argument, or of two over even grids."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

#: Largest departure of an even grid from even steps, in steps: what coordinates in float32 are rounded by.
_UNEVEN = 1e-9


@dataclass(frozen=True, eq=False)
class Table:
    """Values on a grid, and the cubic spline through them.

    Its end pieces go on beyond the grid. Tables are equal if their numbers are.

    Attributes
    ----------
    points : tuple of float64 (n,)
        Grid of each of the one or two arguments, rising; with even steps where there are two.
    values : float64 (n,) or (n, m)
        Values there.

    Raises
    ------
    ValueError
        For grids that don't rise or don't go with the values, and for what is not finite.
    """

    points: tuple[np.ndarray, ...]
    values: np.ndarray

    def __post_init__(self) -> None:
        if len(self.points) not in (1, 2) or self.values.shape != tuple(p.size for p in self.points):
            raise ValueError(
                f"values of shape {self.values.shape} don't go with grids of {[p.size for p in self.points]} points"
            )
        for grid in self.points:
            if grid.size < 2:
                raise ValueError("a grid of one point is too small for a spline; it needs two")
            if not (np.isfinite(grid).all() and (np.diff(grid) > 0).all()):
                raise ValueError("the points of the grid must rise, and be finite")
            if len(self.points) == 2 and not is_even(grid):
                raise ValueError("the grids of two arguments must have even steps")
        if not np.isfinite(self.values).all():
            raise ValueError("the values must be finite")

    @cached_property
    def digest(self) -> str:
        """Hash of all numbers."""
        found = hashlib.sha256(repr(self.values.shape).encode())
        for array in (*self.points, self.values):
            found.update(np.ascontiguousarray(array, np.float64).tobytes())
        return found.hexdigest()

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Table) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def spline(self, x: np.ndarray) -> np.ndarray:
        """Spline of one argument at any points."""
        return np.asarray(scipy.interpolate.CubicSpline(self.points[0], self.values)(x))

    @property
    def pieces(self) -> np.ndarray:
        """Coefficients of the polynomials between the points, from the constant on.

        Of one argument: (n - 1, 4); of two: (n - 1, m - 1, 4, 4), powers of the first argument before those of the second.
        """
        along = _pieces(self.points[0], self.values)
        if len(self.points) == 1:
            return along
        # Each coefficient is a function of the second argument, and has a spline of its own.
        both = _pieces(self.points[1], along.transpose(2, 0, 1))
        return np.ascontiguousarray(both.transpose(2, 0, 3, 1))


def is_even(grid: np.ndarray) -> bool:
    """Whether a grid has even steps."""
    step = (grid[-1] - grid[0]) / max(grid.size - 1, 1)
    return bool(np.abs(grid - grid[0] - step * np.arange(grid.size)).max() <= _UNEVEN * abs(step) * grid.size)


def _pieces(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Coefficients along the first axis of ``values``, from the constant on: (n - 1, 4, ...)."""
    return np.ascontiguousarray(np.moveaxis(scipy.interpolate.CubicSpline(x, values, axis=0).c[::-1], 0, 1))
