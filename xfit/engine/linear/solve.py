"""Small least-squares problems within bounds, from their normal equations, and their errors: side by side.

Every decision is a selection for each of the eight, so that the numbers of one do not depend on who is beside it.
Matrices are lower triangles of vectors, see `xfit.engine.math.cholesky`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xfit.engine.linear.bounded import SETTLED
from xfit.engine.math.cholesky import at, element, factorise, substitute, triangle
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import LANES
from xfit.engine.math.records import Integers, Record, Vectors
from xfit.engine.math.vector import any_lane, negation, reals, select
from xfit.engine.math.widths import get, put

#: Exchanges of blocks that may fail to lead to fewer parameters out of place.
PATIENCE = 3


class Problems(Record, wide=True):
    """Eight problems of ``k`` free parameters; vectors.

    Attributes
    ----------
    gram : float64 (triangle of k + 1, times LANES)
        Normal equations, the right-hand side in the last row.
    lower, upper : float64 (k * LANES,)
        Bounds.
    solution : float64 (k * LANES,)
        Where the search is, and ends.
    side : float64 (k * LANES,)
        -1 and 1 for what is held at its lower and upper bound, otherwise 0.
    inverse, scale : float64 (k * LANES,)
        Inverse norms of the columns; the same, but 0 for what is held.
    work : float64 (k * LANES,)
        Scratch.
    fewest, patience : float64 (LANES,)
        Of the search: see `_exchange`.
    none : float64 (k * LANES,)
        Zeros.
    factor : float64 (triangle of k, times LANES)
        Cholesky factor of the scaled matrix of what is not held, with the inverse diagonal.
    all_ : int64 (k,)
        The numbers from 0 to k.
    root : float64 (k * k * LANES,)
        Root of the covariance of data of unit variance.
    other, middle : float64 (k * k * LANES,)
        Scratch; what the covariance has in its middle where there is a penalty.
    plain : float64 (triangle of k + 1, times LANES)
        Normal equations without penalty.
    bias : float64 (k * LANES,)
        What a penalty adds to the parameters.
    """

    gram: Vectors
    lower: Vectors
    upper: Vectors
    solution: Vectors
    side: Vectors
    inverse: Vectors
    scale: Vectors
    work: Vectors
    fewest: Vectors
    patience: Vectors
    none: Vectors
    factor: Vectors
    all_: Integers
    root: Vectors
    other: Vectors
    middle: Vectors
    plain: Vectors
    bias: Vectors


def problems_of(k: int) -> Problems:
    """Allocate problems of so many parameters."""
    line, square, whole = k, k * k, triangle(k + 1)
    # All but the numbers from 0 to k, in the order of the fields.
    sizes = (whole, *[line] * 7, 1, 1, line, triangle(k), square, square, square, whole, line)
    made = [np.zeros(size * LANES) for size in sizes]
    return Problems(*made[:12], np.arange(k), *made[12:])


@inner
def _solve_free(count: int, p: Problems) -> Any:
    """Solve for what is not held; return where that is well-conditioned."""
    ok = factorise(p.gram, p.all_, reals(0.0), p.none, p.scale, p.factor)
    for i in range(count):
        total = reals(0.0)
        for j in range(count):
            total += element(p.gram, i, j) * select(get(p.side, j) == 0.0, 0.0, get(p.solution, j))
        put(p.work, i, total)
    substitute(p.gram, count, p.all_, p.scale, p.factor, p.work)
    for j in range(count):
        free = get(p.side, j) == 0.0
        put(p.solution, j, select(free, get(p.work, j) * get(p.scale, j), get(p.solution, j)))
    return ok


@inner
def _infeasible(j: int, count: int, p: Problems) -> Any:
    """Where parameter ``j`` should change sides: -1 and 1 where it has left its bounds, 2 where it
    would leave the one it is held at.
    """
    value, side, lower, upper = get(p.solution, j), get(p.side, j), get(p.lower, j), get(p.upper, j)
    slope = get(p.gram, at(count, j))
    size = abs(slope)
    for k in range(count):
        term = element(p.gram, j, k) * get(p.solution, k)
        slope -= term
        size += abs(term)
    wish = select(side < 0.0, slope, -slope)
    leaves = (wish > SETTLED * size) & negation(lower == upper)
    inside = select(value < lower, -1.0, select(value > upper, 1.0, 0.0))
    return select(side == 0.0, inside, select(leaves, 2.0, 0.0))


@inner
def _exchange(searching: Any, count: int, p: Problems) -> Any:
    """Let what is out of place change sides: all of it while that helps, else the last
    alone; return where there was any.

    ``p.fewest`` and ``p.patience`` hold the smallest number of such parameters so far, and how often it may still not
    fall.
    """
    number, last = reals(0.0), reals(-1.0)
    for j in range(count):
        wrong = _infeasible(j, count, p)
        put(p.work, j, wrong)
        number += select(wrong == 0.0, 0.0, 1.0)
        last = select(wrong == 0.0, last, float(j))
    fewest, patience = get(p.fewest, 0), get(p.patience, 0)
    better = number < fewest
    put(p.fewest, 0, select(better, number, fewest))
    put(p.patience, 0, select(better, float(PATIENCE), patience - 1.0))
    together = better | (patience > 0.0)
    for j in range(count):
        wrong, side = get(p.work, j), get(p.side, j)
        here = searching & negation(wrong == 0.0) & (together | (last == float(j)))
        side = select(here, select(wrong == 2.0, 0.0, wrong), side)
        put(p.side, j, side)
        put(p.scale, j, select(side == 0.0, get(p.inverse, j), 0.0))
        value = get(p.solution, j)
        bound = select(side < 0.0, get(p.lower, j), get(p.upper, j))
        put(p.solution, j, select(here & negation(side == 0.0), bound, value))
    return searching & (number > 0.0)


@inner
def solve_lanes(count: int, p: Problems) -> Any:
    """Minimise ``p' M p / 2 - b' p`` within bounds, by exchanges of blocks.

    What has left its bounds is held there and what would leave a bound is let go, all at once (Portugal, Judice and
    Vicente, Math. Comput. 63, 625 (1994), doi:10.1090/S0025-5718-1994-1250776-4); where that does not lead to fewer of
    them, one at a time, which ends always (Murty, Math. Program. 7, 98 (1974), doi:10.1007/BF01585507).

    Returns
    -------
    vector of conditions
        Where the parameters can be told apart.
    """
    ok = reals(0.0) == 0.0
    for j in range(count):
        square = get(p.gram, at(j, j))
        ok = ok & (square > 0.0)
        inverse = 1.0 / math.sqrt(select(square > 0.0, square, 1.0))
        put(p.inverse, j, inverse)
        put(p.scale, j, inverse)
        put(p.side, j, reals(0.0))
        put(p.solution, j, reals(0.0))
    put(p.fewest, 0, reals(math.inf))
    searching = ok
    # That rounding makes one go in circles is not known to happen, but would be endless.
    for _ in range(40 * count):
        fine = _solve_free(count, p)
        ok = ok & (fine | negation(searching))
        searching = _exchange(searching & fine, count, p)
        if not any_lane(searching):
            break
    return ok


@inner
def _fill_root(count: int, p: Problems) -> None:
    """Fill ``p.root`` with S such that ``S S'`` is the inverse of the matrix of what is not held; zeros for what is."""
    for j in range(count):
        own = get(p.scale, j)
        for k in range(j):
            put(p.root, j * count + k, reals(0.0))
        # Column j of the inverse factor; with that column's scale it is row j of the root.
        put(p.root, j * count + j, get(p.factor, at(j, j)))
        for k in range(j + 1, count):
            total = reals(0.0)
            for m in range(j, k):
                total -= get(p.factor, at(k, m)) * get(p.root, j * count + m)
            put(p.root, j * count + k, total * get(p.factor, at(k, k)))
        for k in range(j, count):
            put(p.root, j * count + k, get(p.root, j * count + k) * own)


@inner
def _fill_middle(alpha: float, count: int, p: Problems) -> None:
    """Fill ``p.middle`` with ``S' G S`` of the root and the matrix without penalty, and
    ``p.bias`` with ``-alpha inv(G) p``.

    The solution without penalty has no bias, so that this is off by chance alone. NaN where there is no such solution.
    """
    for i in range(count):
        for j in range(i + 1):
            put(p.plain, at(i, j), get(p.gram, at(i, j)) - (alpha if i == j else 0.0))
        put(p.plain, at(count, i), -alpha * get(p.solution, i))
    for i in range(count):
        for m in range(count):
            total = reals(0.0)
            for j in range(count):
                total += element(p.plain, i, j) * get(p.root, j * count + m)
            put(p.other, i * count + m, total)
    for k in range(count):
        for m in range(count):
            total = reals(0.0)
            for i in range(count):
                total += get(p.root, i * count + k) * get(p.other, i * count + m)
            put(p.middle, k * count + m, total)
    for j in range(count):
        inverse = 1.0 / math.sqrt(get(p.plain, at(j, j)))
        put(p.inverse, j, select(get(p.side, j) == 0.0, inverse, 0.0))
        put(p.work, j, reals(0.0))
    ok = factorise(p.plain, p.all_, reals(0.0), p.none, p.inverse, p.factor)
    substitute(p.plain, count, p.all_, p.inverse, p.factor, p.work)
    for j in range(count):
        put(p.bias, j, select(ok, get(p.work, j) * get(p.inverse, j), math.nan))


@inner
def roots_of_lanes(alpha: float, count: int, p: Problems) -> None:
    """Prepare the errors of the solutions, with a penalty or without."""
    _fill_root(count, p)
    if alpha > 0.0:
        _fill_middle(alpha, count, p)
