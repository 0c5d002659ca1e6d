"""Covariance of the fitted parameters at the solution, from the triangular factor of the Jacobian."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.evaluation.state import FREE, Problem, State
from xfit.engine.lm.qr import RANK, triangularise
from xfit.engine.math.cholesky import SMALLEST_PIVOT, at, element
from xfit.engine.math.elementary import square
from xfit.engine.math.jit import inner
from xfit.engine.math.widths import fused


@inner
def _cholesky_rows(s: State, root: np.ndarray) -> bool:
    """Triangular factor of the free part of the Gram matrix, as columns of ``R``; False where it is ill-conditioned."""
    row = 0
    for i in range(s.count):
        if s.side[i] != FREE:
            continue
        column = 0
        for j in range(i + 1):
            if s.side[j] != FREE:
                continue
            total = s.gram[at(i, j)] * (s.inverse[i] * s.inverse[j])
            for k in range(column):
                total = fused(-root[row, k], root[column, k], total)
            if i == j:
                if not total > SMALLEST_PIVOT:
                    return False
                root[row, row] = math.sqrt(total)
            else:
                root[row, column] = total / root[column, column]
            column += 1
        row += 1
    row = 0
    for i in range(s.count):
        if s.side[i] == FREE:
            for k in range(row + 1):
                root[row, k] /= s.inverse[i]
            row += 1
    return True


@inner
def _qr_rows(s: State, root: np.ndarray) -> bool:
    """Triangular factor of the free columns from that of all of them; False where they are dependent."""
    count, free = s.count, 0
    for j in range(count):
        if s.side[j] == FREE:
            for i in range(count):
                root[free, i] = s.jacobian[j, i] if i <= j else 0.0
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
def covariance_root(p: Problem, s: State, by_qr: bool) -> int:
    """Rows ``b`` such that the covariance of any two parameters is the dot product of theirs, into ``s.spread``.

    With ``J = QR`` the covariance of the free parameters is ``inv(R) inv(R)'``; a tied parameter's row is the sum of
    the rows it depends on, times the derivatives of the tie, in ``s.derivative`` (linear propagation of errors). Rows
    are NaN for what has no error: fixed, held at a bound, or tied to such alone.

    Returns
    -------
    int
        How many columns of ``s.spread`` are in use; -1 where the parameters can't be told apart.
    """
    ties, spread, root = p.ties, s.spread, s.qr
    for k in range(spread.shape[0]):
        for j in range(spread.shape[1]):
            spread[k, j] = math.nan
    free = 0
    for j in range(s.count):
        free += 1 if s.side[j] == FREE else 0
    ok = not by_qr and _cholesky_rows(s, root)
    if not ok:
        if not by_qr or not _qr_rows(s, root):
            return -1
    _invert_rows(root, free)
    row = 0
    for j in range(s.count):
        if s.side[j] == FREE:
            for k in range(free):
                spread[s.rows[j], k] = root[row, k] if k >= row else 0.0
            row += 1
    # What a tied parameter follows comes after it in the list of derivatives, so that this goes from the end to the
    # beginning.
    for d in range(ties.row.size - 1, -1, -1):
        source = spread[ties.column[d]]
        target = spread[ties.tied[ties.row[d]]]
        if free == 0 or math.isnan(source[0]):
            continue
        for k in range(free):
            target[k] = s.derivative[d] * source[k] + (0.0 if math.isnan(target[k]) else target[k])
    return free


@inner
def fill_sandwich(s: State, middle: np.ndarray, used: int) -> None:
    """Turn rows for the inverse of a matrix ``A`` into those for ``inv(A) B inv(A)``, in ``s.spread``.

    With ``S S' = inv(A)`` the latter is ``S M S'`` with ``M = S' B S``, and its rows are those of ``S`` times the
    Cholesky factor of ``M``.

    Parameters
    ----------
    middle : float64 (triangle of count + 1,)
        Lower triangle of ``B``.
    used : int
        Columns of ``s.spread`` in use.
    """
    spread, work = s.spread, s.qr
    for k in range(used):
        for m in range(k + 1):
            total = 0.0
            for i in range(s.count):
                if s.side[i] != FREE:
                    continue
                for j in range(s.count):
                    if s.side[j] == FREE:
                        total += spread[s.rows[i], k] * element(middle, i, j) * spread[s.rows[j], m]
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
