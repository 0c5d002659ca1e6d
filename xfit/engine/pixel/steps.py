"""One bounded, damped Gauss-Newton step from the triangular factor of the normal equations or of the Jacobian.

The step minimises ``|R s - c|^2 + damping * |D s|^2`` subject to bounds, where ``R'R = J'J`` and ``R'c = J'r``.
``R`` comes from a Cholesky factorisation of the Gram matrix or, where that is too ill-conditioned, from a QR
factorisation of the Jacobian itself, whose condition number is not squared (Bjorck, Numerical Methods for
Least Squares Problems, SIAM 1996, doi:10.1137/1.9781611971484). Bounds are kept by an active set: what the
step would carry beyond a bound is held there, and the rest solved again.
"""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.elementary import square
from xfit.engine.math.jit import inlined, inner

#: A pivot of the Cholesky factor (unit-diagonal matrix) below this leaves fewer than about five digits: QR takes over.
SMALLEST_PIVOT = 1e-10

#: A diagonal entry of R below this fraction of the column's norm says that the column depends on the others.
RANK = 1e-13

#: A parameter that changes the model by less than this part of the deviations, if it changes by its own size or the range of the coordinates,
#: has no influence: a line far outside of the data. Its steps would be random, and as long as nothing else limits them.
NO_INFLUENCE = 1e-12

#: The cosine between the deviations and a column, at a minimum.
STATIONARY = 1e-6

#: Square of the length of a step that may be taken without an evaluation, in units of the residual variance: a tenth of a standard error.
SHORT = 1e-2

#: And what it may change a parameter by: by this part of itself, or of its last move.
SMALL_CHANGE, SMALL_MOVE = 0.1, 0.5

FREE, AT_LOWER, AT_UPPER, FLAT = 0, -1, 1, 2


@inner
def scale_of(gram: np.ndarray, count: int, norm: np.ndarray) -> None:
    """Norms of the Jacobian's columns from the diagonal of the Gram matrix."""
    for j in range(count):
        norm[j] = math.sqrt(gram[j, j]) if gram[j, j] > 0 else 0.0


@inner
def solve_cholesky(
    gram: np.ndarray,
    count: int,
    norm: np.ndarray,
    damping: float,
    weight: np.ndarray,
    state: np.ndarray,
    chosen: np.ndarray,
    work: np.ndarray,
    step: np.ndarray,
) -> float:
    """Solve the damped normal equations for the parameters whose state is FREE; the others' steps are given.

    Parameters
    ----------
    gram : float64 (count + 1, count + 1)
        Lower triangle of ``[J r]'[J r]``.
    norm : float64 (count,)
        Column norms; the matrix is scaled to a unit diagonal with them.
    damping : float
        Factor of ``weight**2`` added to the diagonal.
    weight : float64 (count,)
        Scale of each parameter in the damping term.
    state : int64 (count,)
        FREE, or held where ``step`` says.
    chosen : int64 (count,)
        Scratch.
    work : float64 (count, count + 1)
        Scratch.
    step : float64 (count,)
        In: steps of what is held. Out: the whole step.

    Returns
    -------
    float
        The smallest squared pivot of the scaled matrix, or a negative number where it is not positive.
    """
    free = 0
    for i in range(count):
        if state[i] == FREE:
            chosen[free] = i
            free += 1
    smallest = 1.0
    for a in range(free):
        i = chosen[a]
        right = gram[count, i]
        if free < count:
            for j in range(count):
                if state[j] != FREE:
                    right -= (gram[i, j] if j <= i else gram[j, i]) * step[j]
        row = work[a]
        for b in range(a):
            total = gram[i, chosen[b]] / (norm[i] * norm[chosen[b]])
            other = work[b]
            for k in range(b):
                total -= row[k] * other[k]
            row[b] = total * other[b]
        total = 1.0 + damping * square(weight[i] / norm[i])
        for k in range(a):
            total -= row[k] * row[k]
        smallest = min(smallest, total)
        if not total > 0.0:
            return -1.0
        # The diagonal holds the inverse: one division a row.
        row[a] = 1.0 / math.sqrt(total)
        total = right / norm[i]
        for k in range(a):
            total -= row[k] * work[k, count]
        row[count] = total * row[a]
    for a in range(free - 1, -1, -1):
        total = work[a, count]
        for k in range(a + 1, free):
            total -= work[k, a] * work[k, count]
        work[a, count] = total * work[a, a]
        step[chosen[a]] = work[a, count] / norm[chosen[a]]
    return smallest


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
def solve_triangular(
    factor: np.ndarray,
    count: int,
    damping: float,
    weight: np.ndarray,
    state: np.ndarray,
    work: np.ndarray,
    step: np.ndarray,
) -> float:
    """Solve the damped problem from a triangular factor for the parameters whose state is FREE.

    Parameters
    ----------
    factor : float64 (count + 1, at least count)
        As `triangularise` leaves it.
    work : float64 (count + 1, 2 count)
        Scratch.
    damping, weight, state, step
        As in `solve_cholesky`.

    Returns
    -------
    float
        The smallest diagonal entry relative to its column's norm; at or below `RANK` the columns are dependent
        and ``step`` is not set.
    """
    free = 0
    rows = 2 * count
    for i in range(count):
        work[count, i] = factor[count, i]
        work[count, count + i] = 0.0
    for j in range(count):
        if state[j] != FREE and step[j] != 0.0:
            for i in range(j + 1):
                work[count, i] -= factor[j, i] * step[j]
    for j in range(count):
        if state[j] == FREE:
            for i in range(rows):
                work[free, i] = 0.0
            for i in range(j + 1):
                work[free, i] = factor[j, i]
            work[free, count + j] = math.sqrt(damping) * weight[j]
            free += 1
    for i in range(rows):
        work[free, i] = work[count, i]
    smallest = _triangular_rank(work, free, rows)
    if smallest <= RANK:
        return smallest
    at = free
    for j in range(count - 1, -1, -1):
        if state[j] != FREE:
            continue
        at -= 1
        total = work[free, at]
        for k in range(at + 1, free):
            total -= work[k, at] * work[k, rows - 1]
        # The last row of each reduced column is free: it holds the solution while the rest is solved.
        work[at, rows - 1] = total / work[at, at]
        step[j] = work[at, rows - 1]
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
def hold_at_bounds(
    gram: np.ndarray,
    count: int,
    norm: np.ndarray,
    bent: np.ndarray,
    theta: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    state: np.ndarray,
    step: np.ndarray,
) -> int:
    """Begin an active set: hold what sits at a bound and would leave through it, and what has no influence.

    ``bent`` is above zero for the parameters that the model is not linear in, the range of the coordinates: only these can be without influence
    at a size of their own, which is taken to be no less than that range.
    Returns the number of parameters left free to move.
    """
    free = 0
    level = NO_INFLUENCE * math.sqrt(gram[count, count])
    for j in range(count):
        step[j] = 0.0
        slope = gram[count, j]
        if theta[j] <= lower[j] and slope <= 0.0:
            state[j] = AT_LOWER
        elif theta[j] >= upper[j] and slope >= 0.0:
            state[j] = AT_UPPER
        elif norm[j] == 0.0 or (bent[j] > 0.0 and norm[j] * max(abs(theta[j]), bent[j]) < level):
            state[j] = FLAT
        else:
            state[j] = FREE
            free += 1
    return free


@inner
def is_stationary(
    gram: np.ndarray,
    count: int,
    norm: np.ndarray,
    theta: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    state: np.ndarray,
    least: float,
) -> bool:
    """Whether no parameter by itself promises a decrease of the loss of more than ``least`` within its bounds.

    For one in the interior that decrease is the loss times the square of the cosine between the deviations and its column.
    """
    for j in range(count):
        if norm[j] == 0.0 or state[j] == FLAT:
            continue
        slope = gram[count, j]
        move = slope / (norm[j] * norm[j])
        move = min(max(move, lower[j] - theta[j]), upper[j] - theta[j])
        if 2.0 * slope * move - square(norm[j] * move) > least:
            return False
    return True


@inner
def clip_step(
    count: int, theta: np.ndarray, lower: np.ndarray, upper: np.ndarray, state: np.ndarray, step: np.ndarray
) -> int:
    """Hold what the step would carry beyond a bound, with the step that ends there; return how many are new."""
    clipped = 0
    for j in range(count):
        if state[j] != FREE:
            continue
        if theta[j] + step[j] < lower[j]:
            state[j] = AT_LOWER
            step[j] = lower[j] - theta[j]
            clipped += 1
        elif theta[j] + step[j] > upper[j]:
            state[j] = AT_UPPER
            step[j] = upper[j] - theta[j]
            clipped += 1
    return clipped


@inlined
def bounded_step(
    gram: np.ndarray,
    factor: np.ndarray,
    by_qr: bool,
    count: int,
    norm: np.ndarray,
    bent: np.ndarray,
    damping: float,
    weight: np.ndarray,
    theta: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    state: np.ndarray,
    chosen: np.ndarray,
    work: np.ndarray,
    step: np.ndarray,
) -> float:
    """Solve for a step within the bounds; return how well-posed it was (see the two solvers)."""
    quality = 1.0
    if hold_at_bounds(gram, count, norm, bent, theta, lower, upper, state, step) == 0:
        return quality
    for _ in range(count + 1):
        if by_qr:
            quality = min(quality, solve_triangular(factor, count, damping, weight, state, work, step))
            if quality <= RANK:
                return quality
        else:
            quality = min(quality, solve_cholesky(gram, count, norm, damping, weight, state, chosen, work, step))
            if quality <= 0.0:
                return quality
        if clip_step(count, theta, lower, upper, state, step) == 0:
            break
    return quality


@inner
def predicted_decrease(
    gram: np.ndarray, factor: np.ndarray, by_qr: bool, count: int, step: np.ndarray
) -> tuple[float, float]:
    """What the quadratic model says of a step.

    Returns
    -------
    slope : float
        ``s'J'r``, half the rate at which the sum of squares falls at the step's beginning.
    decrease : float
        ``2 s'J'r - s'J'J s``, how much it falls in all.
    """
    slope = curvature = 0.0
    for i in range(count):
        if by_qr:
            total = 0.0
            for j in range(i, count):
                total += factor[j, i] * step[j]
            slope += total * factor[count, i]
            curvature += total * total
        else:
            total = 0.5 * gram[i, i] * step[i]
            for j in range(i):
                total += gram[i, j] * step[j]
            slope += step[i] * gram[count, i]
            curvature += 2 * step[i] * total
    return slope, 2 * slope - curvature
