"""Splines in kernels: a function given by a table (`xfit.formulas.spline_table.Table`), and its
slopes, at numbers and at vectors.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.extending import overload

from xfit.engine.math.layout import LANES
from xfit.engine.math.vector import REALS, lane_of, reals, with_lane

_OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}}


@numba.njit(**_OPTIONS)
def _bisect(x: float, points: np.ndarray) -> int:
    """Piece of an uneven grid that a number lies in; the first or last one for what lies beyond, the first for NaN."""
    low, high = 0, points.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if points[middle] <= x:
            low = middle
        else:
            high = middle
    return low


@numba.njit(**_OPTIONS)
def _piece(x: float, first: float, inverse_step: float, count: int) -> int:
    """Piece of an even grid; as `_bisect`."""
    t = (x - first) * inverse_step
    # Written so that NaN, which is no index, is the first piece.
    t = t if t > 0.0 else 0.0
    return int(t) if t < count - 1 else count - 1


@numba.njit(**_OPTIONS)
def _spline(x: float, pieces: np.ndarray, points: np.ndarray, first: float, inverse_step: float) -> tuple[float, float]:
    """Value and slope of a spline."""
    k = _piece(x, first, inverse_step, len(pieces)) if inverse_step != 0.0 else _bisect(x, points)
    w = x - points[k]
    c0, c1, c2, c3 = pieces[k, 0], pieces[k, 1], pieces[k, 2], pieces[k, 3]
    return c0 + w * (c1 + w * (c2 + w * c3)), c1 + w * (2.0 * c2 + w * (3.0 * c3))


@numba.njit(**_OPTIONS)
def _surface(
    x: float, y: float, pieces: np.ndarray, first: float, inverse: float, first_y: float, inverse_y: float
) -> tuple[float, float, float]:
    """Value and both slopes of a spline of two arguments."""
    i, j = _piece(x, first, inverse, pieces.shape[0]), _piece(y, first_y, inverse_y, pieces.shape[1])
    u, v = x - first - i / inverse, y - first_y - j / inverse_y
    value = slope = slope_y = 0.0
    for a in range(3, -1, -1):
        c0, c1, c2, c3 = pieces[i, j, a, 0], pieces[i, j, a, 1], pieces[i, j, a, 2], pieces[i, j, a, 3]
        slope = slope * u + value
        value = value * u + (c0 + v * (c1 + v * (c2 + v * c3)))
        slope_y = slope_y * u + (c1 + v * (2.0 * c2 + v * (3.0 * c3)))
    return value, slope, slope_y


def lookup1(x: Any, pieces: Any, points: Any, first: Any, inverse_step: Any) -> Any:
    """Value and slope of a spline at a number or a vector.

    Parameters
    ----------
    x : float or vector
        Where.
    pieces, points
        See `xfit.formulas.spline_table.Table`.
    first, inverse_step : float
        First point, and one over the step; zero for an uneven grid.
    """
    return _spline(x, pieces, points, first, inverse_step)


@overload(lookup1, strict=False, jit_options=_OPTIONS)
def _lookup1(x: Any, pieces: Any, points: Any, first: Any, inverse_step: Any) -> Any:
    if x != REALS:
        return lambda x, pieces, points, first, inverse_step: _spline(x, pieces, points, first, inverse_step)

    def vector(x, pieces, points, first, inverse_step):  # type: ignore[no-untyped-def]
        value, slope = x, x
        for lane in range(LANES):
            one, other = _spline(lane_of(x, lane), pieces, points, first, inverse_step)
            value, slope = with_lane(value, lane, one), with_lane(slope, lane, other)
        return value, slope

    return vector


def lookup2(x: Any, y: Any, pieces: Any, first: Any, inverse: Any, first_y: Any, inverse_y: Any) -> Any:
    """Value and both slopes of a spline of two arguments, each of them a number or a vector; see `lookup1`."""
    return _surface(x, y, pieces, first, inverse, first_y, inverse_y)


@overload(lookup2, strict=False, jit_options=_OPTIONS)
def _lookup2(x: Any, y: Any, pieces: Any, first: Any, inverse: Any, first_y: Any, inverse_y: Any) -> Any:
    if REALS not in (x, y):

        def number(x, y, pieces, first, inverse, first_y, inverse_y):  # type: ignore[no-untyped-def]
            return _surface(x, y, pieces, first, inverse, first_y, inverse_y)

        return number

    def vector(x, y, pieces, first, inverse, first_y, inverse_y):  # type: ignore[no-untyped-def]
        xs, ys = reals(x), reals(y)
        value, slope, slope_y = xs, xs, xs
        for lane in range(LANES):
            a, b, c = _surface(lane_of(xs, lane), lane_of(ys, lane), pieces, first, inverse, first_y, inverse_y)
            value, slope, slope_y = with_lane(value, lane, a), with_lane(slope, lane, b), with_lane(slope_y, lane, c)
        return value, slope, slope_y

    return vector
