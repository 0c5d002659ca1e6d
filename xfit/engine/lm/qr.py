"""Steps of one pixel from a QR factorisation of its Jacobian, whose condition number is not squared as
that of the normal equations is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xfit.engine.evaluation.evaluate import jacobian_of
from xfit.engine.evaluation.state import FREE, Problem, State
from xfit.engine.lm.steps import clip, hold, promise_by_gram, step_by_cholesky
from xfit.engine.math.elementary import square
from xfit.engine.math.jit import inner
from xfit.engine.math.widths import by_width

#: A diagonal entry of R below this fraction of the column's norm says that the column depends on the others.
RANK = 1e-13


@inner
def triangularise(rows: np.ndarray, count: int, n: int) -> None:
    """Reduce ``count`` columns and a right-hand side of length ``n`` to triangular form by Householder reflections.

    ``rows[j]`` is column ``j`` (contiguous), ``rows[count]`` the right-hand side. Afterwards ``rows[j, i]`` with
    ``i <= j`` is ``R[i, j]`` and ``rows[count, :count]`` is ``Q'b``.
    """
    for j in range(min(count, n)):
        column = rows[j]
        norm = 0.0
        for i in range(j, n):
            norm = max(norm, abs(column[i]))
        if norm == 0.0 or not math.isfinite(norm):
            continue
        total = 0.0
        for i in range(j, n):
            total += square(column[i] / norm)
        norm *= math.sqrt(total)
        alpha = -norm if column[j] > 0 else norm
        head = column[j] - alpha
        beta = -1.0 / (alpha * head)
        for k in range(j + 1, count + 1):
            other = rows[k]
            total = head * other[j]
            for i in range(j + 1, n):
                total += column[i] * other[i]
            total *= beta
            other[j] -= total * head
            for i in range(j + 1, n):
                other[i] -= total * column[i]
        column[j] = alpha
        for i in range(j + 1, n):
            column[i] = 0.0


@inner
def factorise_jacobian(p: Problem, s: State) -> None:
    """Leave the triangular factor of the Jacobian at the current point in ``s.jacobian``."""
    jacobian_of(p, s, 0)
    triangularise(s.jacobian, s.count, s.length)
    s.factorised = True


@inner
def solve_triangular(s: State, damping: float) -> float:
    """Solve the damped problem from the triangular factor for what is free; the steps of the rest are given.

    Returns
    -------
    float
        The smallest diagonal entry relative to its column's norm; at or below `RANK` the columns are dependent and
        ``s.step`` is not set.
    """
    factor, work, count = s.jacobian, s.qr, s.count
    free, rows = 0, 2 * count
    for i in range(count):
        work[count, i] = factor[count, i]
        work[count, count + i] = 0.0
    for j in range(count):
        if s.side[j] != FREE and s.step[j] != 0.0:
            for i in range(j + 1):
                work[count, i] -= factor[j, i] * s.step[j]
    for j in range(count):
        if s.side[j] == FREE:
            for i in range(rows):
                work[free, i] = 0.0
            for i in range(j + 1):
                work[free, i] = factor[j, i]
            work[free, count + j] = math.sqrt(damping) * s.weight[j]
            free += 1
    for i in range(rows):
        work[free, i] = work[count, i]
    smallest = _triangular_rank(work, free, rows)
    if smallest <= RANK:
        return smallest
    at = free
    for j in range(count - 1, -1, -1):
        if s.side[j] != FREE:
            continue
        at -= 1
        total = work[free, at]
        for k in range(at + 1, free):
            total -= work[k, at] * work[k, rows - 1]
        # The last row of each reduced column is free: it holds the solution while the rest is solved.
        work[at, rows - 1] = total / work[at, at]
        s.step[j] = work[at, rows - 1]
    return smallest


@inner
def _triangular_rank(work: np.ndarray, free: int, rows: int) -> float:
    """Triangularise and say how small the smallest diagonal entry is against its column."""
    triangularise(work, free, rows)
    smallest = 1.0
    for j in range(free):
        norm = 0.0
        for i in range(j + 1):
            norm += square(work[j, i])
        norm = math.sqrt(norm)
        ratio = abs(work[j, j]) / norm if norm > 0 else 0.0
        smallest = min(smallest, ratio)
    return smallest


@inner
def _step_by_qr(p: Problem, s: State, damping: float) -> bool:
    """Bounded, damped step by QR; return whether the columns can be told apart."""
    if not s.factorised:
        factorise_jacobian(p, s)
    s.by_qr = True
    hold(s)
    for _ in range(s.count + 1):
        if solve_triangular(s, damping) <= RANK:
            return False
        if not clip(s):
            break
    return True


def _step_of_one(p: Problem, s: State, damping: float) -> bool:
    s.by_qr = False
    if step_by_cholesky(s, damping):
        return True
    return _step_by_qr(p, s, damping)


def _steps_of_lanes(p: Problem, s: State, damping: Any) -> Any:
    return step_by_cholesky(s, damping)


#: Bounded, damped steps, into ``s.step``: by Cholesky and, for one pixel, where that is too ill-conditioned, by QR.
#: Return where that could be solved.
solve = by_width(_step_of_one, _steps_of_lanes)


def _promise_of_one(s: State) -> tuple[float, float]:
    if not s.by_qr:
        return promise_by_gram(s)
    slope = curvature = 0.0
    for i in range(s.count):
        total = 0.0
        for j in range(i, s.count):
            total += s.jacobian[j, i] * s.step[j]
        slope += total * s.jacobian[s.count, i]
        curvature += total * total
    return slope, 2.0 * slope - curvature


def _promise_of_lanes(s: State) -> tuple[Any, Any]:
    return promise_by_gram(s)


#: What the quadratic model says of the steps, by what they were solved with; see
#: `xfit.engine.lm.steps.promise_by_gram`.
promise = by_width(_promise_of_one, _promise_of_lanes)
