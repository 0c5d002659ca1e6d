"""Linear least squares from normal equations, within bounds: many pixels with small matrices, and one pixel by the engine."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xfit.kernels.evaluate import Spectrum, Structure, gram_at
from xfit.kernels.jit import entry, inner, sums
from xfit.kernels.likelihood import log_of_product
from xfit.kernels.lm import damped_or_not, move_to
from xfit.kernels.pixel import (
    AIC,
    CHISQ,
    DOF,
    EVALUATIONS,
    LOSS_VALUE,
    RED_CHISQ,
    SCALARS,
    STATUS,
    Block,
    Buffer,
    Limits,
    finish,
    prepare,
    row_of,
    spectrum_of,
    write,
    write_criteria,
)
from xfit.kernels.status import BAD_DATA, BAD_RESPONSE, BAD_VARIANCE, CONVERGED, MASKED, NONFINITE_MODEL, SINGULAR
from xfit.kernels.steps import FREE, SMALLEST_PIVOT, scale_of
from xfit.kernels.ties import Ties
from xfit.kernels.whole import set_response
from xfit.kernels.workspace import Outcome, Workspace

#: Where chi-squared is less than this part of the sum of squares, it is not taken from a difference of sums.
CANCELLED = 1e-5

SCALAR_COUNT = len(SCALARS)

#: A gradient this much smaller than what it is the difference of says that a bound is where it should be.
_SETTLED = 1e-12


@inner
def _invert_norms(matrix: np.ndarray, count: int, inverse: np.ndarray) -> None:
    """Fill ``inverse`` with what scales the matrix to a unit diagonal."""
    for j in range(count):
        inverse[j] = 1.0 / math.sqrt(matrix[j, j])


@inner
def _solve_free(
    matrix: np.ndarray,
    right: np.ndarray,
    count: int,
    held: np.ndarray,
    at: np.ndarray,
    inverse: np.ndarray,
    work: np.ndarray,
    p: np.ndarray,
) -> float:
    """Solve for what is not held, the rest being at ``at``; return the smallest squared pivot of the scaled matrix.

    ``inverse`` is that of `_invert_norms`. The Cholesky factor of the scaled matrix is left in ``work``, with inverses on its diagonal.
    """
    smallest = 1.0
    for i in range(count):
        if held[i]:
            p[i] = at[i]
            continue
        total = right[i]
        for j in range(count):
            if held[j]:
                total -= matrix[max(i, j), min(i, j)] * at[j]
        total *= inverse[i]
        for j in range(i):
            if held[j]:
                work[i, j] = 0.0
                continue
            element = matrix[i, j] * (inverse[i] * inverse[j])
            for k in range(j):
                element -= work[i, k] * work[j, k]
            work[i, j] = element * work[j, j]
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
    doi:10.1137/1.9781611971217) for bounds on both sides (Stark and Parker, Comput. Stat. 10, 129 (1995)), on the normal equations as
    Bro and de Jong do (J. Chemometrics 11, 393 (1997)). It begins at the unbounded solution moved into the bounds.

    Parameters
    ----------
    matrix : float64 (at least count, at least count)
        Lower triangle of ``M``.
    right, lower, upper : float64 (at least count,)
        ``b`` and the bounds.
    held : bool (count,)
        Filled: which parameters are held at a bound.
    now, inverse : float64 (count,)
        Scratch; the latter is left with the inverse norms.
    work : float64 (count, count + 1)
        Scratch, left with the factor; see `_solve_free`.
    p : float64 (count,)
        Filled with the solution.

    Returns
    -------
    bool
        False where the parameters can't be told apart.
    """
    for j in range(count):
        held[j] = False
        if not matrix[j, j] > 0.0:
            return False
    _invert_norms(matrix, count, inverse)
    if _solve_free(matrix, right, count, held, now, inverse, work, p) <= 0.0:
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
            if _solve_free(matrix, right, count, held, now, inverse, work, p) <= 0.0:
                return False
            share = 1.0
            stopped = -1
            for j in range(count):
                if held[j] or lower[j] <= p[j] <= upper[j]:
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
                term = matrix[max(j, k), min(j, k)] * now[k]
                slope -= term
                size += abs(term)
            wish = slope if now[j] == lower[j] else -slope
            if now[j] == lower[j] and now[j] == upper[j]:
                wish = 0.0
            if wish > _SETTLED * size and wish / math.sqrt(matrix[j, j]) > best:
                best, leaves = wish / math.sqrt(matrix[j, j]), j
        if leaves < 0:
            break
        held[leaves] = False
    for j in range(count):
        p[j] = now[j]
    return True


class Affine(NamedTuple):
    """All parameters as linear functions of the free ones, row by row.

    Attributes
    ----------
    offset : float64 (n_parameters,)
        Their values where all free ones are zero; NaN for those of components that are switched off.
    first : int64 (n_parameters + 1,)
        Where the entries of each parameter begin and end.
    column, slope : int64 (any,), float64 (any,)
        Which free parameter (counted among these) enters, and its factor.
    """

    offset: np.ndarray
    first: np.ndarray
    column: np.ndarray
    slope: np.ndarray


class Small(NamedTuple):
    """Scratch for small matrices of k rows; ``free`` is the positions of the free parameters among all."""

    gram: np.ndarray
    matrix: np.ndarray
    work: np.ndarray
    root: np.ndarray
    half: np.ndarray
    right: np.ndarray
    now: np.ndarray
    inverse: np.ndarray
    solution: np.ndarray
    bias: np.ndarray
    held: np.ndarray
    one: np.ndarray
    other: np.ndarray
    free: np.ndarray


def small_of(free: np.ndarray) -> Small:
    """Allocate scratch for so many free parameters."""
    k = free.size
    gram, matrix, work, root, half = (np.zeros((k + 3, k + 3)) for _ in range(5))
    lines = np.zeros(k), np.zeros(k), np.zeros(k), np.zeros(k), np.zeros(k, bool), np.zeros(k), np.zeros(k), free
    return Small(gram, matrix, work, root, half, np.zeros(k + 3), *lines)


@inner
def _root_of_inverse(count: int, s: Small) -> None:
    """Fill ``s.root`` with S such that ``S S'`` is the inverse of the free part of ``s.matrix``, whose factor is in ``s.work``."""
    for column in range(count):
        row = s.root[column]
        for i in range(count):
            row[i] = 0.0
        if s.held[column]:
            continue
        # Row ``column`` of the transposed inverse of the factor.
        row[column] = s.work[column, column] * s.inverse[column]
        for i in range(column + 1, count):
            if s.held[i]:
                continue
            total = 0.0
            for k in range(column, i):
                total -= s.work[i, k] * row[k]
            row[i] = total * s.work[i, i]


@inner
def _penalise_root(alpha: float, count: int, s: Small) -> None:
    """Turn the root of ``inv(A)``, with the penalty in A, into that of ``inv(A) G inv(A)``; fill ``s.bias``.

    The bias is the distance from the solution without penalty, ``-alpha inv(G) p``: that solution has none, so that this is off by
    chance alone. NaN where there is no such solution.
    """
    for j in range(count):
        s.one[j] = -alpha * s.solution[j]
        s.now[j] = 0.0
    _invert_norms(s.gram, count, s.other)
    if _solve_free(s.gram, s.one, count, s.held, s.now, s.other, s.work, s.bias) <= 0.0:
        for j in range(count):
            s.bias[j] = math.nan
    # M = S' G S and its Cholesky factor, as for a sandwich.
    for k in range(count):
        for m in range(k + 1):
            total = 0.0
            for i in range(count):
                for j in range(count):
                    total += s.root[i, k] * s.gram[max(i, j), min(i, j)] * s.root[j, m]
            s.half[k, m] = total
    for k in range(count):
        for m in range(k + 1):
            total = s.half[k, m]
            for j in range(m):
                total -= s.half[k, j] * s.half[m, j]
            if m == k:
                s.half[k, k] = math.sqrt(max(total, 0.0))
            else:
                s.half[k, m] = total / s.half[m, m] if s.half[m, m] > 0.0 else 0.0
    for j in range(count):
        for m in range(count):
            total = 0.0
            for k in range(m, count):
                total += s.root[j, k] * s.half[k, m]
            s.root[j, m] = total


@inner
def _row_of_root(a: int, affine: Affine, count: int, s: Small, row: np.ndarray) -> bool:
    """Row of the root for any parameter; False where it depends on nothing that has an error."""
    known = False
    for k in range(count):
        row[k] = 0.0
    for e in range(affine.first[a], affine.first[a + 1]):
        j = affine.column[e]
        if s.held[j]:
            continue
        known = True
        for k in range(count):
            row[k] += affine.slope[e] * s.root[j, k]
    return known


@inner
def _write_values(affine: Affine, lower: np.ndarray, upper: np.ndarray, s: Small, out: np.ndarray) -> None:
    """Write the values of all parameters and which are at a bound."""
    n = affine.offset.size
    for a in range(n):
        total = affine.offset[a]
        for e in range(affine.first[a], affine.first[a + 1]):
            total += affine.slope[e] * s.solution[affine.column[e]]
        out[a] = total
        out[2 * n + a] = 0.0
    for j in range(s.free.size):
        value = s.solution[j]
        out[s.free[j]] = value
        if value <= lower[j]:
            out[2 * n + s.free[j]] = -1.0
        elif value >= upper[j]:
            out[2 * n + s.free[j]] = 1.0


@inner
def _write_scalars(chisq: float, used: int, logs: float, count: int, limits: Limits, scalars: np.ndarray) -> float:
    """Write a pixel's scalars; return what its covariance is multiplied by."""
    dof = used - count
    red = chisq / dof if dof > 0 else math.nan
    scalars[DOF] = dof
    scalars[EVALUATIONS] = 1.0
    scalars[STATUS] = CONVERGED
    scalars[CHISQ] = scalars[LOSS_VALUE] = chisq
    scalars[RED_CHISQ] = red
    scalars[AIC] = logs
    write_criteria(chisq, used, count, limits, scalars)
    return red if limits.scale_covariance else 1.0


@inner
def _write_covariance(
    affine: Affine, count: int, scale: float, pairs: np.ndarray, limits: Limits, s: Small, out: np.ndarray
) -> None:
    """Write errors and covariances of all parameters, and the bias of a penalty."""
    n = affine.offset.size
    at = 3 * n + SCALAR_COUNT
    for a in range(n):
        if affine.first[a] == affine.first[a + 1]:
            continue
        if _row_of_root(a, affine, count, s, s.one):
            total = 0.0
            for k in range(count):
                total += s.one[k] * s.one[k]
            out[n + a] = math.sqrt(total * scale)
    for pair in range(pairs.shape[0]):
        out[at + pair] = _covariance(pairs[pair, 0], pairs[pair, 1], affine, count, s) * scale
    at += pairs.shape[0]
    if limits.with_covariance:
        for a in range(n):
            for b in range(n):
                out[at + a * n + b] = _covariance(a, b, affine, count, s) * scale
    if limits.alpha > 0.0:
        for a in range(n):
            total = 0.0
            for e in range(affine.first[a], affine.first[a + 1]):
                total += affine.slope[e] * s.bias[affine.column[e]]
            out[out.size - n + a] = total


@inner
def _covariance(a: int, b: int, affine: Affine, count: int, s: Small) -> float:
    """Covariance of two parameters, for data of unit variance."""
    if not (_row_of_root(a, affine, count, s, s.one) and _row_of_root(b, affine, count, s, s.other)):
        return math.nan
    total = 0.0
    for k in range(count):
        total += s.one[k] * s.other[k]
    return total


@sums
def _squares_of(y: np.ndarray, base: np.ndarray, weight: np.ndarray) -> float:
    """Weighted sum of squares of what the fixed part of the model leaves of the data."""
    total = 0.0
    for c in range(y.size):
        left = y[c] - base[c]
        total += weight[c] * left * left
    return total


@sums
def _squares_left(y: np.ndarray, base: np.ndarray, weighted: np.ndarray) -> float:
    """Likewise from what is weighted already, zero where a channel is left out, whatever its data."""
    total = 0.0
    for c in range(y.size):
        left = y[c] - base[c] if weighted[c] != 0.0 else 0.0
        total += weighted[c] * left
    return total


@sums
def _dots3(a: np.ndarray, b: np.ndarray, c: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Dot products of three rows with one."""
    ay = by = cy = 0.0
    for i in range(y.size):
        yi = y[i]
        ay += a[i] * yi
        by += b[i] * yi
        cy += c[i] * yi
    return ay, by, cy


@inner
def _squares_of_rest(
    y: np.ndarray, base: np.ndarray, weight: np.ndarray, design: np.ndarray, solution: np.ndarray
) -> float:
    """Weighted sum of squares of what is left of the data, channel by channel."""
    total = 0.0
    for c in range(y.size):
        if weight[c] > 0.0:
            left = y[c] - base[c]
            for j in range(solution.size):
                left -= design[j, c] * solution[j]
            total += weight[c] * left * left
    return total


@entry
def fit_alike(
    y: np.ndarray,
    pixels: np.ndarray,
    base: np.ndarray,
    design: np.ndarray,
    weight: np.ndarray,
    directions: np.ndarray,
    mixed: np.ndarray,
    to_solution: np.ndarray,
    used: int,
    logs: float,
    affine: Affine,
    pairs: np.ndarray,
    limits: Limits,
    s: Small,
    unit: np.ndarray,
    left: np.ndarray,
    out: np.ndarray,
) -> int:
    """Fit the listed pixels, which share design and weights and have no bounds.

    Parameters
    ----------
    y : float64 (n, m)
        Data.
    base, weight : float64 (m,)
        The model with all free parameters at zero; inverse variances, zero where a channel is left out.
    design : float64 (k, m)
        Derivatives of the model.
    directions : float64 (k rounded up to threes, m)
        Orthonormal directions that span those of the weighted derivatives, times the roots of the weights.
    mixed : float64 (as many,)
        Their products with ``base``.
    to_solution : float64 (k, k)
        From products of data and directions to parameters; also the root of the covariance of unit variance.
    used, logs : int, float
        Channels in use, and the sum of the logarithms of their variances.
    unit : float64 (n_columns,)
        Scratch, filled with NaN: errors and covariances for data of unit variance.
    left : int64 (as many as pixels,)
        Filled with the pixels that have channels of their own left out.

    Returns
    -------
    int
        How many those are.
    """
    k = to_solution.shape[0]
    lost = 0
    for j in range(k):
        s.held[j] = False
        for m in range(k):
            s.root[j, m] = to_solution[j, m]
        s.now[j] = math.inf
        s.right[j] = -math.inf
    # What errors and covariances are for data of unit variance is the same for all.
    _write_covariance(affine, k, 1.0, pairs, limits, s, unit)
    n = affine.offset.size
    for i in pixels:
        squares = _squares_of(y[i], base, weight)
        if not math.isfinite(squares):
            left[lost] = i
            lost += 1
            continue
        explained = 0.0
        for j in range(0, k, 3):
            a, b, c = _dots3(directions[j], directions[j + 1], directions[j + 2], y[i])
            s.half[0, j], s.half[0, j + 1], s.half[0, j + 2] = a - mixed[j], b - mixed[j + 1], c - mixed[j + 2]
        for j in range(k):
            explained += s.half[0, j] * s.half[0, j]
            total = 0.0
            for m in range(k):
                total += to_solution[j, m] * s.half[0, m]
            s.solution[j] = total
        chisq = squares - explained
        if not chisq > CANCELLED * squares:
            chisq = _squares_of_rest(y[i], base, weight, design, s.solution)
        row = out[i]
        scale = _write_scalars(chisq, used, logs, k, limits, row[3 * affine.offset.size :])
        _write_values(affine, s.right, s.now, s, row)
        error = math.sqrt(scale)
        for a in range(n, 2 * n):
            row[a] = unit[a] * error
        for a in range(3 * n + SCALAR_COUNT, row.size):
            row[a] = unit[a] * scale
    return lost


@inner
def _weigh(
    y: np.ndarray, variance: np.ndarray, where: np.ndarray, base: np.ndarray, weight: np.ndarray, weighted: np.ndarray
) -> tuple[int, int, float]:
    """Weights of a pixel, and with them what the fixed part of the model leaves of its data.

    Returns
    -------
    used : int
        Channels in use.
    fault : int
        A status, or zero.
    squares : float
        Weighted sum of squares.
    """
    number = invalid = asked = 0
    # Arithmetic and selections only in these loops, so that they vectorise; x - x is zero for finite x alone.
    if variance.size:
        for c in range(y.size):
            v = variance[c]
            weight[c] = 1.0 / v if v - v == 0.0 else 0.0
    else:
        for c in range(y.size):
            weight[c] = 1.0
    if where.size:
        for c in range(y.size):
            asked += 1 if where[c] else 0
            weight[c] = weight[c] if where[c] else 0.0
    for c in range(y.size):
        finite = y[c] - y[c] == 0.0
        w = weight[c] if finite else 0.0
        # The inverse of a variance of zero or below is infinite or below zero.
        invalid += 1 if w - w != 0.0 or w < 0.0 else 0
        number += 1 if w > 0.0 else 0
        weight[c] = w
        weighted[c] = w * (y[c] - base[c]) if w > 0.0 else 0.0
    if invalid:
        return number, BAD_VARIANCE, 0.0
    if number == 0:
        return number, MASKED if where.size and asked == 0 else BAD_DATA, 0.0
    return number, 0, _squares_left(y, base, weighted)


@sums
def _weighted_block(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, u: np.ndarray, v: np.ndarray, w: np.ndarray, weight: np.ndarray
) -> tuple[float, float, float, float, float, float, float, float, float]:
    """Nine weighted dot products of three rows with three rows, each row loaded once."""
    au = av = aw = bu = bv = bw = cu = cv = cw = 0.0
    for i in range(weight.size):
        factor = weight[i]
        ai, bi, ci, ui, vi, wi = factor * a[i], factor * b[i], factor * c[i], u[i], v[i], w[i]
        au += ai * ui
        av += ai * vi
        aw += ai * wi
        bu += bi * ui
        bv += bi * vi
        bw += bi * wi
        cu += ci * ui
        cv += ci * vi
        cw += ci * wi
    return au, av, aw, bu, bv, bw, cu, cv, cw


@inner
def _normal_equations(design: np.ndarray, weight: np.ndarray, weighted: np.ndarray, k: int, s: Small) -> None:
    """Fill ``s.gram`` and ``s.right``; ``weighted`` is the data times the weights."""
    for i in range(0, k, 3):
        a, b, c = design[i], design[i + 1], design[i + 2]
        for j in range(0, i + 1, 3):
            au, av, aw, bu, bv, bw, cu, cv, cw = _weighted_block(
                a, b, c, design[j], design[j + 1], design[j + 2], weight
            )
            s.gram[i, j] = au
            s.gram[i, j + 1] = av
            s.gram[i, j + 2] = aw
            s.gram[i + 1, j] = bu
            s.gram[i + 1, j + 1] = bv
            s.gram[i + 1, j + 2] = bw
            s.gram[i + 2, j] = cu
            s.gram[i + 2, j + 1] = cv
            s.gram[i + 2, j + 2] = cw
        s.right[i], s.right[i + 1], s.right[i + 2] = _dots3(a, b, c, weighted)


class Shared(NamedTuple):
    """Normal equations of pixels with the same weights.

    Attributes
    ----------
    weight : float64 (m,)
        Inverse variances, zero where a channel is left out.
    rows : float64 (k rounded up to threes, m)
        Derivatives times the weights.
    mixed : float64 (as many,)
        Their products with the model that has all free parameters at zero.
    gram : float64 (k, k)
        Products of the weighted derivatives with the derivatives.
    used, logs : int, float
        Channels in use, zero if there is no such thing; sum of the logarithms of their variances.
    """

    weight: np.ndarray
    rows: np.ndarray
    mixed: np.ndarray
    gram: np.ndarray
    used: int
    logs: float


@inner
def _shared_equations(y: np.ndarray, shared: Shared, k: int, s: Small) -> None:
    """Fill ``s.gram`` and ``s.right`` from what all pixels share."""
    for i in range(k):
        for j in range(i + 1):
            s.gram[i, j] = shared.gram[i, j]
    for j in range(0, k, 3):
        a, b, c = _dots3(shared.rows[j], shared.rows[j + 1], shared.rows[j + 2], y)
        s.right[j] = a - shared.mixed[j]
        s.right[j + 1] = b - shared.mixed[j + 1]
        s.right[j + 2] = c - shared.mixed[j + 2]


@entry
def fit_weighted(
    y: np.ndarray,
    variance: np.ndarray,
    where: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    pixels: np.ndarray,
    base: np.ndarray,
    width: np.ndarray,
    design: np.ndarray,
    weight: np.ndarray,
    weighted: np.ndarray,
    shared: Shared,
    affine: Affine,
    pairs: np.ndarray,
    limits: Limits,
    s: Small,
    left: np.ndarray,
    out: np.ndarray,
) -> int:
    """Fit the listed pixels, which share the design, each with weights, channels and bounds of its own.

    Parameters
    ----------
    y, base, affine, pairs, limits, s, left, out
        As for `fit_alike`.
    variance, where : float64, bool (n or 1, m), or (1, 0)
        Variance; channels to use.
    lower, upper : float64 (n or 1, k)
        Bounds.
    design : float64 (k rounded up to threes, m)
        Derivatives of the model, then zeros.
    weight, weighted : float64 (m,)
        Scratch.
    shared : Shared
        Normal equations of pixels that have the same weights, all channels of which are there.

    Returns
    -------
    int
        How many pixels are left, whose normal equations are too ill-conditioned.
    """
    k, n = s.free.size, affine.offset.size
    lost = 0
    for i in pixels:
        row = out[i]
        scalars = row[3 * n :]
        low, high = lower[row_of(lower, i)], upper[row_of(upper, i)]
        squares = _squares_of(y[i], base, shared.weight) if shared.used > 0 else math.nan
        if math.isfinite(squares):
            used, logs = shared.used, shared.logs
            _shared_equations(y[i], shared, k, s)
        else:
            spread = variance[row_of(variance, i)]
            used, fault, squares = _weigh(y[i], spread, where[row_of(where, i)], base, weight, weighted)
            scalars[DOF] = used - k
            scalars[EVALUATIONS] = 0.0
            if fault != 0 or used < k:
                scalars[STATUS] = fault if fault != 0 else BAD_DATA
                continue
            _normal_equations(design, weight, weighted, k, s)
            logs = -log_of_product(weight, width[:0], weight.size) if spread.size else 0.0
        for a in range(k):
            for b in range(a + 1):
                s.matrix[a, b] = s.gram[a, b]
            s.matrix[a, a] += limits.alpha
        if not solve_bounded(s.matrix, s.right, low, high, k, s.held, s.now, s.inverse, s.work, s.solution):
            left[lost] = i
            lost += 1
            continue
        chisq = squares
        for a in range(k):
            total = 0.0
            for b in range(k):
                total += s.gram[max(a, b), min(a, b)] * s.solution[b]
            chisq += s.solution[a] * (total - 2.0 * s.right[a])
        if not chisq > CANCELLED * squares:
            chisq = _squares_of_rest(y[i], base, shared.weight if used == shared.used else weight, design, s.solution)
        _root_of_inverse(k, s)
        if limits.alpha > 0.0:
            _penalise_root(limits.alpha, k, s)
        scale = _write_scalars(chisq, used, logs, k, limits, scalars)
        _write_values(affine, low, high, s, row)
        _write_covariance(affine, k, scale, pairs, limits, s, row)
    return lost


@entry
def fit_linear_singly(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    block: Block,
    response: np.ndarray,
    free: np.ndarray,
    pixels: np.ndarray,
    limits: Limits,
    flags: np.ndarray,
    buffer: Buffer,
    ws: Workspace,
) -> None:
    """Solve linear problems whose design differs from pixel to pixel, or that need a QR factorisation, by the engine."""
    count = free.size
    for i in pixels:
        ready, plain, used, smallest = prepare(block, i, ties, free, limits.loss, buffer, ws)
        if not ready:
            continue
        row = row_of(response, i)
        if structure.plan.size > 0 and not set_response(structure.plan, structure.numbers, response[row], row):
            block.out[i, 3 * ws.q.size + STATUS] = BAD_RESPONSE
            continue
        spectrum = spectrum_of(block, plain, used, smallest, limits.loss, buffer)
        status = _solve_pixel(structure, ties, x, spectrum, count, limits.alpha, flags, ws)
        loss = gram_at(structure, ties, x, spectrum, ws.q, ws.rows, count, ws.derivative, ws.stack, ws.tile, ws.gram)
        if not math.isfinite(loss):
            status = NONFINITE_MODEL
        scale_of(ws.gram, count, ws.norm)
        outcome = Outcome(status, loss, 2, False)
        write(outcome, loss, structure, count, limits, ws, block.out[i])
        if status == CONVERGED:
            finish(structure, ties, x, spectrum, outcome, count, block.pairs, limits, ws, buffer.spread, block.out[i])


@inner
def _solve_pixel(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    count: int,
    alpha: float,
    flags: np.ndarray,
    ws: Workspace,
) -> int:
    """Move ``ws.q`` from its start to the solution; return the status."""
    loss = gram_at(structure, ties, x, spectrum, ws.q, ws.rows, count, ws.derivative, ws.stack, ws.tile, ws.gram)
    if not math.isfinite(loss):
        return NONFINITE_MODEL
    for j in range(count):
        # In terms of the parameters themselves, not of their distance from the start, bounds and penalty are what they are.
        total = ws.gram[count, j]
        for k in range(count):
            total += ws.gram[max(j, k), min(j, k)] * ws.first[k]
        ws.step[j] = total
    for j in range(count):
        ws.gram[j, j] += alpha
    solved = solve_bounded(
        ws.gram, ws.step, ws.lower, ws.upper, count, flags, ws.bend, ws.norm_trial, ws.work, ws.theta
    )  # fmt: skip
    if solved:
        move_to(ws.theta, ties, ws)
        return CONVERGED
    if alpha > 0.0:
        return SINGULAR
    for j in range(count):
        ws.theta[j] = ws.first[j]
        ws.state[j] = FREE
    scale_of(ws.gram, count, ws.norm)
    for j in range(count):
        ws.weight[j] = ws.norm[j]
    solved, _, _ = damped_or_not(structure, ties, x, spectrum, count, 0.0, False, ws)
    if not solved:
        return SINGULAR
    for j in range(count):
        ws.theta[j] = min(max(ws.first[j] + ws.step[j], ws.lower[j]), ws.upper[j])
    move_to(ws.theta, ties, ws)
    return CONVERGED
