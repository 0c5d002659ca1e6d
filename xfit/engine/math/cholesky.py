"""Cholesky factors of scaled and damped Gram matrices: of one matrix, or of one for each of the pixels side by side.

Matrices are lower triangles, row by row; see `at`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xfit.engine.math.elementary import square
from xfit.engine.math.jit import inner
from xfit.engine.math.widths import full, fused, get, put

#: A pivot of the factor (of the matrix scaled to a unit diagonal) below this leaves fewer than about five digits.
SMALLEST_PIVOT = 1e-10


@inner
def at(i: int, j: int) -> int:
    """Where the lower triangle of a matrix has its row i, column j."""
    return i * (i + 1) // 2 + j


def triangle(rows: int) -> int:
    """Return the number of elements of a lower triangle."""
    return rows * (rows + 1) // 2


@inner
def element(gram: np.ndarray, i: int, j: int) -> Any:
    """Element of a symmetric matrix."""
    return get(gram, at(i, j) if j <= i else at(j, i))


@inner
def factorise(
    gram: np.ndarray, chosen: np.ndarray, damping: Any, weight: np.ndarray, scale: np.ndarray, factor: np.ndarray
) -> Any:
    """Cholesky factor of the scaled and damped matrix of the chosen parameters; where it is well-conditioned.

    Parameters
    ----------
    gram : (triangle,)
        The matrix.
    chosen : int64 (any,)
        Which of its rows.
    damping, weight : vector, (count,)
        The damping times the squares of the weights is added to the diagonal.
    scale : (count,)
        Inverse norms of the columns; a parameter whose scale is zero gets the row and column of the unit matrix.
    factor : (triangle,)
        Filled. Its diagonal holds inverses: one division a row.
    """
    ok = full(gram, 0.0) == 0.0
    for a in range(chosen.size):
        i = chosen[a]
        own = get(scale, i)
        for b in range(a):
            j = chosen[b]
            total = get(gram, at(i, j)) * (own * get(scale, j))
            for k in range(b):
                total = fused(-get(factor, at(a, k)), get(factor, at(b, k)), total)
            put(factor, at(a, b), total * get(factor, at(b, b)))
        total = fused(damping, square(get(weight, i) * own), full(gram, 1.0))
        for k in range(a):
            total = fused(-get(factor, at(a, k)), get(factor, at(a, k)), total)
        ok = ok & (total > SMALLEST_PIVOT)
        put(factor, at(a, a), 1.0 / math.sqrt(total))
    return ok


@inner
def substitute(
    gram: np.ndarray, last: int, chosen: np.ndarray, scale: np.ndarray, factor: np.ndarray, solution: np.ndarray
) -> None:
    """Solve for the chosen parameters, over their scales.

    Parameters
    ----------
    gram, last : (triangle,), int
        The matrix and its row that is the right-hand side.
    chosen, scale, factor
        As for `factorise`.
    solution : (count,)
        In: what is taken from the right-hand side. Out: the solution.
    """
    count = chosen.size
    for a in range(count):
        total = (get(gram, at(last, chosen[a])) - get(solution, a)) * get(scale, chosen[a])
        for k in range(a):
            total = fused(-get(factor, at(a, k)), get(solution, k), total)
        put(solution, a, total * get(factor, at(a, a)))
    for a in range(count - 1, -1, -1):
        total = get(solution, a)
        for k in range(a + 1, count):
            total = fused(-get(factor, at(k, a)), get(solution, k), total)
        put(solution, a, total * get(factor, at(a, a)))
