"""Functions given by numbers on a grid, for kernels: cubic splines of one argument, or of two over even grids."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

#: Pieces at either end for what is beyond.
_ADDED = {"cubic": 0, "constant": 1, "zero": 2}

#: Largest departure of an even grid from even steps, in steps: what coordinates in float32 are rounded by.
_UNEVEN = 1e-9


@dataclass(frozen=True, eq=False)
class Table:
    """Values on a grid, and the cubic spline through them.

    Tables are equal if their numbers are, and what is beyond them.

    Attributes
    ----------
    points : tuple of float64 (n,)
        Grid of each of the one or two arguments, rising; with even steps where there are two.
    values : float64 (n,) or (n, m)
        Values there.
    beyond : tuple of {"cubic", "constant", "zero"}
        What is below and above the grid of one argument: the end pieces going on, the value of the end, or nothing; to
        nothing the value of the end goes within a step of the grid, smoothly. Of two arguments the end pieces go on.

    Raises
    ------
    ValueError
        For grids that don't rise or don't go with the values, and for what is not finite.
    """

    points: tuple[np.ndarray, ...]
    values: np.ndarray
    beyond: tuple[str, str] = ("cubic", "cubic")

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
        if not set(self.beyond) <= {"cubic", "constant", "zero"} or (
            len(self.points) == 2 and set(self.beyond) != {"cubic"}
        ):
            raise ValueError(f"beyond={self.beyond!r} is not known")

    @cached_property
    def digest(self) -> str:
        """Hash of all numbers."""
        found = hashlib.sha256(repr(self.values.shape).encode())
        for array in (*self.points, self.values):
            found.update(np.ascontiguousarray(array, np.float64).tobytes())
        if set(self.beyond) != {"cubic"}:
            found.update(repr(self.beyond).encode())
        return found.hexdigest()

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, Table) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def spline(self, x: np.ndarray) -> np.ndarray:
        """Function of one argument at any points."""
        return np.asarray(scipy.interpolate.PPoly(self.pieces[:, ::-1].T, self.knots[0])(x))

    @property
    def knots(self) -> tuple[np.ndarray, ...]:
        """Where pieces begin and end: the points, and of one argument as many beyond each end as what
        is there needs, in even steps.

        Outside of them the first and the last piece go on.
        """
        if len(self.points) == 2:
            return self.points
        (x,) = self.points
        before, after = (_ADDED[kind] for kind in self.beyond)
        below = x[0] - (x[1] - x[0]) * np.arange(before, 0, -1)
        return (np.concatenate([below, x, x[-1] + (x[-1] - x[-2]) * np.arange(1, after + 1)]),)

    @property
    def pieces(self) -> np.ndarray:
        """Coefficients of the polynomials between the knots, from the constant on.

        Of one argument: (n - 1, 4); of two: (n - 1, m - 1, 4, 4), powers of the first argument before those of the
        second.
        """
        along = _pieces(self.points[0], self.values)
        if len(self.points) == 1:
            (x,) = self.points
            below = _beyond(self.beyond[0], self.values[0], x[1] - x[0])
            above = _beyond(self.beyond[1], self.values[-1], x[-1] - x[-2])
            return np.concatenate([below[1], along, above[0]])
        # Each coefficient is a function of the second argument, and has a spline of its own.
        both = _pieces(self.points[1], along.transpose(2, 0, 1))
        return np.ascontiguousarray(both.transpose(2, 0, 3, 1))


def _beyond(kind: str, end: float, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Pieces above a grid that ends with this value, and those below one that begins with it;
    as many as `_ADDED` says.
    """
    a, b = 3 * end / step**2, 2 * end / step**3
    pieces: dict[str, tuple[list[list[float]], list[list[float]]]] = {
        "cubic": ([], []),
        "constant": ([[end, 0, 0, 0]], [[end, 0, 0, 0]]),
        "zero": ([[end, 0, -a, b], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, a, -b]]),
    }
    above, below = (np.array(each, np.float64).reshape(-1, 4) for each in pieces[kind])
    return above, below


def is_even(grid: np.ndarray) -> bool:
    """Whether a grid has even steps."""
    step = (grid[-1] - grid[0]) / max(grid.size - 1, 1)
    return bool(np.abs(grid - grid[0] - step * np.arange(grid.size)).max() <= _UNEVEN * abs(step) * grid.size)


def _pieces(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Coefficients along the first axis of ``values``, from the constant on: (n - 1, 4, ...)."""
    return np.ascontiguousarray(np.moveaxis(scipy.interpolate.CubicSpline(x, values, axis=0).c[::-1], 0, 1))
