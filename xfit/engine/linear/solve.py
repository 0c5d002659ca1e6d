"""Small least-squares problems within bounds, from their normal equations, and their errors: eight side by side.

Every decision is a selection for each of the eight, so that the numbers of one do not depend on who is beside it. Matrices are lower
triangles of vectors, see `xfit.engine.simd.evaluate.at`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from xfit.engine.linear.bounded import SETTLED
from xfit.engine.math.jit import inlined_sums, inner_sums
from xfit.engine.math.vector import any_lane, load, negation, reals, select, store
from xfit.engine.simd.evaluate import at, triangle, vectors
from xfit.engine.simd.steps import element, factorise_lanes, substitute_lanes

#: Exchanges of blocks that may fail to lead to fewer parameters out of place.
PATIENCE = 3


class Problems(NamedTuple):
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

    gram: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    solution: np.ndarray
    side: np.ndarray
    inverse: np.ndarray
    scale: np.ndarray
    work: np.ndarray
    fewest: np.ndarray
    patience: np.ndarray
    none: np.ndarray
    factor: np.ndarray
    all_: np.ndarray
    root: np.ndarray
    other: np.ndarray
    middle: np.ndarray
    plain: np.ndarray
    bias: np.ndarray


def problems_of(k: int) -> Problems:
    """Allocate eight problems of so many parameters."""
    line, square, whole = k, k * k, triangle(k + 1)
    # All but the numbers from 0 to k, in the order of the fields.
    sizes = (whole, *[line] * 7, 1, 1, line, triangle(k), square, square, square, whole, line)
    made = [vectors(size) for size in sizes]
    return Problems._make([*made[:12], np.arange(k), *made[12:]])


@inner_sums
def _solve_free(count: int, p: Problems) -> Any:
    """Solve for what is not held; return where that is well-conditioned."""
    ok = factorise_lanes(p.gram, p.all_, count, 0.0, p.none, p.scale, p.factor)
    for i in range(count):
        total = reals(0.0)
        for j in range(count):
            total += element(p.gram, i, j) * select(load(p.side, j) == 0.0, 0.0, load(p.solution, j))
        store(p.work, i, total)
    substitute_lanes(p.gram, p.all_, count, count, p.scale, p.factor, p.work)
    for j in range(count):
        free = load(p.side, j) == 0.0
        store(p.solution, j, select(free, load(p.work, j) * load(p.scale, j), load(p.solution, j)))
    return ok


@inlined_sums
def _infeasible(j: int, count: int, p: Problems) -> Any:
    """Where parameter ``j`` should change sides: -1 and 1 where it has left its bounds, 2 where it would leave the one it is held at."""
    value, side, lower, upper = load(p.solution, j), load(p.side, j), load(p.lower, j), load(p.upper, j)
    slope = load(p.gram, at(count, j))
    size = abs(slope)
    for k in range(count):
        term = element(p.gram, j, k) * load(p.solution, k)
        slope -= term
        size += abs(term)
    wish = select(side < 0.0, slope, -slope)
    leaves = (wish > SETTLED * size) & negation(lower == upper)
    inside = select(value < lower, -1.0, select(value > upper, 1.0, 0.0))
    return select(side == 0.0, inside, select(leaves, 2.0, 0.0))


@inner_sums
def _exchange(searching: Any, count: int, p: Problems) -> Any:
    """Let what is out of place change sides: all of it while that helps, else the last alone; return where there was any.

    ``p.fewest`` and ``p.patience`` hold the smallest number of such parameters so far, and how often it may still not fall.
    """
    number, last = reals(0.0), reals(-1.0)
    for j in range(count):
        wrong = _infeasible(j, count, p)
        store(p.work, j, wrong)
        number += select(wrong == 0.0, 0.0, 1.0)
        last = select(wrong == 0.0, last, float(j))
    fewest, patience = load(p.fewest, 0), load(p.patience, 0)
    better = number < fewest
    store(p.fewest, 0, select(better, number, fewest))
    store(p.patience, 0, select(better, float(PATIENCE), patience - 1.0))
    together = better | (patience > 0.0)
    for j in range(count):
        wrong, side = load(p.work, j), load(p.side, j)
        here = searching & negation(wrong == 0.0) & (together | (last == float(j)))
        side = select(here, select(wrong == 2.0, 0.0, wrong), side)
        store(p.side, j, side)
        store(p.scale, j, select(side == 0.0, load(p.inverse, j), 0.0))
        value = load(p.solution, j)
        bound = select(side < 0.0, load(p.lower, j), load(p.upper, j))
        store(p.solution, j, select(here & negation(side == 0.0), bound, value))
    return searching & (number > 0.0)


@inner_sums
def solve_lanes(count: int, p: Problems) -> Any:
    """Minimise ``p' M p / 2 - b' p`` within bounds, by exchanges of blocks.

    What has left its bounds is held there and what would leave a bound is let go, all at once (Portugal, Judice and Vicente,
    Math. Comput. 63, 625 (1994), doi:10.1090/S0025-5718-1994-1250776-4); where that does not lead to fewer of them, one
    at a time, which ends always (Murty, Math. Program. 7, 98 (1974), doi:10.1007/BF01585507).

    Returns
    -------
    vector of conditions
        Where the parameters can be told apart.
    """
    ok = reals(0.0) == 0.0
    for j in range(count):
        square = load(p.gram, at(j, j))
        ok = ok & (square > 0.0)
        inverse = 1.0 / math.sqrt(select(square > 0.0, square, 1.0))
        store(p.inverse, j, inverse)
        store(p.scale, j, inverse)
        store(p.side, j, reals(0.0))
        store(p.solution, j, reals(0.0))
    store(p.fewest, 0, reals(math.inf))
    searching = ok
    # That rounding makes one go in circles is not known to happen, but would be endless.
    for _ in range(40 * count):
        fine = _solve_free(count, p)
        ok = ok & (fine | negation(searching))
        searching = _exchange(searching & fine, count, p)
        if not any_lane(searching):
            break
    return ok


@inner_sums
def _fill_root(count: int, p: Problems) -> None:
    """Fill ``p.root`` with S such that ``S S'`` is the inverse of the matrix of what is not held; zeros for what is."""
    for j in range(count):
        own = load(p.scale, j)
        for k in range(j):
            store(p.root, j * count + k, reals(0.0))
        # Column j of the inverse factor; with that column's scale it is row j of the root.
        store(p.root, j * count + j, load(p.factor, at(j, j)))
        for k in range(j + 1, count):
            total = reals(0.0)
            for m in range(j, k):
                total -= load(p.factor, at(k, m)) * load(p.root, j * count + m)
            store(p.root, j * count + k, total * load(p.factor, at(k, k)))
        for k in range(j, count):
            store(p.root, j * count + k, load(p.root, j * count + k) * own)


@inner_sums
def _fill_middle(alpha: float, count: int, p: Problems) -> None:
    """Fill ``p.middle`` with ``S' G S`` of the root and the matrix without penalty, and ``p.bias`` with ``-alpha inv(G) p``.

    The solution without penalty has no bias, so that this is off by chance alone. NaN where there is no such solution.
    """
    for i in range(count):
        for j in range(i + 1):
            store(p.plain, at(i, j), load(p.gram, at(i, j)) - (alpha if i == j else 0.0))
        store(p.plain, at(count, i), -alpha * load(p.solution, i))
    for i in range(count):
        for m in range(count):
            total = reals(0.0)
            for j in range(count):
                total += element(p.plain, i, j) * load(p.root, j * count + m)
            store(p.other, i * count + m, total)
    for k in range(count):
        for m in range(count):
            total = reals(0.0)
            for i in range(count):
                total += load(p.root, i * count + k) * load(p.other, i * count + m)
            store(p.middle, k * count + m, total)
    for j in range(count):
        inverse = 1.0 / math.sqrt(load(p.plain, at(j, j)))
        store(p.inverse, j, select(load(p.side, j) == 0.0, inverse, 0.0))
        store(p.work, j, reals(0.0))
    ok = factorise_lanes(p.plain, p.all_, count, 0.0, p.none, p.inverse, p.factor)
    substitute_lanes(p.plain, p.all_, count, count, p.inverse, p.factor, p.work)
    for j in range(count):
        store(p.bias, j, select(ok, load(p.work, j) * load(p.inverse, j), math.nan))


@inner_sums
def roots_of_lanes(alpha: float, count: int, p: Problems) -> None:
    """Prepare the errors of the solutions, with a penalty or without."""
    _fill_root(count, p)
    if alpha > 0.0:
        _fill_middle(alpha, count, p)
