"""Covariance of the fitted parameters at the solution, from the triangular factor of the Jacobian."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.elementary import square
from xfit.engine.math.jit import inner
from xfit.engine.pixel.steps import FREE, RANK, SMALLEST_PIVOT, triangularise
from xfit.engine.pixel.tie_machine import Ties


@inner
def _cholesky_rows(gram: np.ndarray, count: int, norm: np.ndarray, state: np.ndarray, root: np.ndarray) -> bool:
    """Triangular factor of the free part of the Gram matrix, as columns of ``R``; False where it is ill-conditioned."""
    row = 0
    for i in range(count):
        if state[i] != FREE:
            continue
        column = 0
        for j in range(i + 1):
            if state[j] != FREE:
                continue
            total = gram[i, j] / (norm[i] * norm[j])
            for k in range(column):
                total -= root[row, k] * root[column, k]
            if i == j:
                if not total > SMALLEST_PIVOT:
                    return False
                root[row, row] = math.sqrt(total)
            else:
                root[row, column] = total / root[column, column]
            column += 1
        row += 1
    row = 0
    for i in range(count):
        if state[i] == FREE:
            for k in range(row + 1):
                root[row, k] *= norm[i]
            row += 1
    return True


@inner
def _qr_rows(factor: np.ndarray, count: int, state: np.ndarray, root: np.ndarray) -> bool:
    """Triangular factor of the free columns from that of all of them; False where they are dependent."""
    free = 0
    for j in range(count):
        if state[j] == FREE:
            for i in range(count):
                root[free, i] = factor[j, i] if i <= j else 0.0
            free += 1
    for i in range(count):
        root[free, i] = 0.0
    triangularise(root, free, count)
    for j in range(free):
        norm = 0.0
        for i in range(j + 1):
            norm += square(root[j, i])
        if not abs(root[j, j]) > RANK * math.sqrt(norm):
            return False
    return True


@inner
def _invert_rows(root: np.ndarray, free: int) -> None:
    """Replace ``R`` (its columns in rows) by its inverse: afterwards ``root[i, k]`` is ``inv(R)[i, k]``, k >= i."""
    for k in range(free):
        # Column k of the inverse goes into the unused upper half, from the diagonal up; the diagonal entries
        # above it are inverses by now.
        diagonal = 1.0 / root[k, k]
        for i in range(k - 1, -1, -1):
            total = root[k, i] * diagonal
            for j in range(i + 1, k):
                total += root[j, i] * root[j, k]
            root[i, k] = -total * root[i, i]
        root[k, k] = diagonal


@inner
def covariance_root(
    ties: Ties,
    derivative: np.ndarray,
    gram: np.ndarray,
    factor: np.ndarray,
    by_qr: bool,
    count: int,
    norm: np.ndarray,
    state: np.ndarray,
    rows: np.ndarray,
    root: np.ndarray,
    spread: np.ndarray,
) -> int:
    """Rows ``b`` such that the covariance of any two parameters is the dot product of theirs.

    With ``J = QR`` the covariance of the free parameters is ``inv(R) inv(R)'``; a tied parameter's row is the sum of the
    rows it depends on, times the derivatives of the tie (linear propagation of errors).

    Parameters
    ----------
    rows : int64 (at least count,)
        Positions of the free parameters.
    root : float64 (count + 1, at least count)
        Scratch.
    spread : float64 (n_parameters, count)
        Filled with the rows; NaN for what has no error: fixed, held at a bound, or tied to such alone.

    Returns
    -------
    int
        How many columns of ``spread`` are in use; -1 where the parameters can't be told apart.
    """
    for k in range(spread.shape[0]):
        for j in range(spread.shape[1]):
            spread[k, j] = math.nan
    free = 0
    for j in range(count):
        free += state[j] == FREE
    ok = not by_qr and _cholesky_rows(gram, count, norm, state, root)
    if not ok:
        if not by_qr or not _qr_rows(factor, count, state, root):
            return -1
    _invert_rows(root, free)
    at = 0
    for j in range(count):
        if state[j] == FREE:
            for k in range(free):
                spread[rows[j], k] = root[at, k] if k >= at else 0.0
            at += 1
    # What a tied parameter follows comes after it in the list of derivatives, so that this goes from the end to the beginning.
    for d in range(ties.row.size - 1, -1, -1):
        source = spread[ties.column[d]]
        target = spread[ties.tied[ties.row[d]]]
        if free == 0 or math.isnan(source[0]):
            continue
        for k in range(free):
            target[k] = derivative[d] * source[k] + (0.0 if math.isnan(target[k]) else target[k])
    return free


@inner
def fill_sandwich(
    middle: np.ndarray, count: int, rows: np.ndarray, state: np.ndarray, used: int, work: np.ndarray, spread: np.ndarray
) -> None:
    """Turn rows for the inverse of a matrix ``A`` into those for ``inv(A) B inv(A)``, in place.

    With ``S S' = inv(A)`` the latter is ``S M S'`` with ``M = S' B S``, and its rows are those of ``S`` times the Cholesky
    factor of ``M``.

    Parameters
    ----------
    middle : float64 (count + 1, count + 1)
        Lower triangle of ``B``.
    used : int
        Columns of ``spread`` in use.
    work : float64 (at least count, at least count)
        Scratch.
    spread : float64 (n_parameters, count)
        As `covariance_root` fills it.
    """
    for k in range(used):
        for m in range(k + 1):
            total = 0.0
            for i in range(count):
                if state[i] != FREE:
                    continue
                for j in range(count):
                    if state[j] == FREE:
                        element = middle[i, j] if j <= i else middle[j, i]
                        total += spread[rows[i], k] * element * spread[rows[j], m]
            work[k, m] = total
    for k in range(used):
        for m in range(k + 1):
            total = work[k, m]
            for j in range(m):
                total -= work[k, j] * work[m, j]
            if m == k:
                work[k, k] = math.sqrt(max(total, 0.0))
            else:
                work[k, m] = total / work[m, m] if work[m, m] > 0.0 else 0.0
    for a in range(spread.shape[0]):
        for m in range(used):
            # Columns from m on are still those of before.
            total = 0.0
            for k in range(m, used):
                total += spread[a, k] * work[k, m]
            spread[a, m] = total
