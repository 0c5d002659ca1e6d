"""Small least-squares problems within bounds, from their normal equations."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.cholesky import SMALLEST_PIVOT, at, element
from xfit.engine.math.jit import inner

#: A gradient this much smaller than what it is the difference of says that a bound is where it should be.
SETTLED = 1e-12


@inner
def invert_norms(matrix: np.ndarray, count: int, inverse: np.ndarray) -> None:
    """Fill ``inverse`` with what scales the matrix to a unit diagonal."""
    for j in range(count):
        inverse[j] = 1.0 / math.sqrt(matrix[at(j, j)])


@inner
def solve_free(
    matrix: np.ndarray,
    right: np.ndarray,
    count: int,
    held: np.ndarray,
    edges: np.ndarray,
    inverse: np.ndarray,
    work: np.ndarray,
    p: np.ndarray,
) -> float:
    """Solve for what is not held, the rest being at ``edges``; return the smallest squared pivot of the scaled matrix.

    ``inverse`` is that of `invert_norms`. The Cholesky factor of the scaled matrix is left in ``work``, with inverses
    on its diagonal.
    """
    smallest = 1.0
    for i in range(count):
        if held[i]:
            p[i] = edges[i]
            continue
        total = right[i]
        for j in range(count):
            if held[j]:
                total -= element(matrix, i, j) * edges[j]
        total *= inverse[i]
        for j in range(i):
            if held[j]:
                work[i, j] = 0.0
                continue
            product = matrix[at(i, j)] * (inverse[i] * inverse[j])
            for k in range(j):
                product -= work[i, k] * work[j, k]
            work[i, j] = product * work[j, j]
        pivot = 1.0
        for k in range(i):
            pivot -= work[i, k] * work[i, k]
            if not held[k]:
                total -= work[i, k] * work[k, count]
        smallest = min(smallest, pivot)
        if not pivot > SMALLEST_PIVOT:
            return -1.0
        work[i, i] = 1.0 / math.sqrt(pivot)
        work[i, count] = total * work[i, i]
    for i in range(count - 1, -1, -1):
        if held[i]:
            continue
        total = work[i, count]
        for k in range(i + 1, count):
            if not held[k]:
                total -= work[k, i] * work[k, count]
        work[i, count] = total * work[i, i]
        p[i] = work[i, count] * inverse[i]
    return smallest


@inner
def solve_bounded(
    matrix: np.ndarray,
    right: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    count: int,
    held: np.ndarray,
    now: np.ndarray,
    inverse: np.ndarray,
    work: np.ndarray,
    p: np.ndarray,
) -> bool:
    """Minimise ``p' M p / 2 - b' p`` within bounds by an active set.

    The method is that of Lawson and Hanson (Solving Least Squares Problems, SIAM 1995, chapter 23,
    doi:10.1137/1.9781611971217) for bounds on both sides (Stark and Parker, Comput. Stat. 10, 129 (1995)), on the
    normal equations as Bro and de Jong do (J. Chemometrics 11, 393 (1997)). It begins at the unbounded solution moved
    into the bounds.

    Parameters
    ----------
    matrix : float64 (triangle of count,)
        ``M``.
    right, lower, upper : float64 (at least count,)
        ``b`` and the bounds.
    held : bool (count,)
        Filled: which parameters are held at a bound.
    now, inverse : float64 (count,)
        Scratch; the latter is left with the inverse norms.
    work : float64 (count, count + 1)
        Scratch, left with the factor; see `solve_free`.
    p : float64 (count,)
        Filled with the solution.

    Returns
    -------
    bool
        False where the parameters can't be told apart.
    """
    for j in range(count):
        held[j] = False
        if not matrix[at(j, j)] > 0.0:
            return False
    invert_norms(matrix, count, inverse)
    if solve_free(matrix, right, count, held, now, inverse, work, p) <= 0.0:
        return False
    inside = True
    for j in range(count):
        now[j] = min(max(p[j], lower[j]), upper[j])
        if now[j] != p[j]:
            inside = False
            held[j] = True
    if inside:
        return True
    for _ in range(20 * count):
        # Towards the minimum of what is free, as far as the bounds allow; what they stop is held.
        while True:
            if solve_free(matrix, right, count, held, now, inverse, work, p) <= 0.0:
                return False
            share = 1.0
            stopped = -1
            for j in range(count):
                if held[j] or (lower[j] <= p[j] and p[j] <= upper[j]):
                    continue
                edge = lower[j] if p[j] < lower[j] else upper[j]
                part = (edge - now[j]) / (p[j] - now[j])
                if stopped < 0 or part < share:
                    share, stopped = part, j
            for j in range(count):
                if not held[j]:
                    now[j] = min(max(now[j] + share * (p[j] - now[j]), lower[j]), upper[j])
            if stopped < 0:
                break
            now[stopped] = lower[stopped] if p[stopped] < lower[stopped] else upper[stopped]
            held[stopped] = True
        # What would rather leave its bound may do so.
        best = 0.0
        leaves = -1
        for j in range(count):
            if not held[j]:
                continue
            slope = right[j]
            size = abs(right[j])
            for k in range(count):
                term = element(matrix, j, k) * now[k]
                slope -= term
                size += abs(term)
            wish = slope if now[j] == lower[j] else -slope
            if now[j] == lower[j] and now[j] == upper[j]:
                wish = 0.0
            if wish > SETTLED * size and wish / math.sqrt(matrix[at(j, j)]) > best:
                best, leaves = wish / math.sqrt(matrix[at(j, j)]), j
        if leaves < 0:
            break
        held[leaves] = False
    for j in range(count):
        p[j] = now[j]
    return True
