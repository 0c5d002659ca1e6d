"""Linear least squares from normal equations, within bounds: many pixels with small matrices, and one pixel by the engine."""

from __future__ import annotations

import math

import numpy as np

from xfit.kernels.evaluate import Spectrum, Structure, gram_at
from xfit.kernels.jit import entry, inner
from xfit.kernels.likelihood import log_of_product
from xfit.kernels.lm import damped_or_not, move_to
from xfit.kernels.pixel import (
    AIC,
    CHISQ,
    DOF,
    EVALUATIONS,
    LOSS_VALUE,
    RED_CHISQ,
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

#: A gradient this much smaller than what it is the difference of says that a bound is where it should be.
_SETTLED = 1e-12


@inner
def _solve_free(
    matrix: np.ndarray, right: np.ndarray, count: int, held: np.ndarray, at: np.ndarray, work: np.ndarray, p: np.ndarray
) -> float:
    """Solve for what is not held, the rest being at ``at``; return the smallest squared pivot of the scaled matrix."""
    smallest = 1.0
    for i in range(count):
        if held[i]:
            p[i] = at[i]
            continue
        norm = math.sqrt(matrix[i, i])
        total = right[i]
        for j in range(count):
            if held[j]:
                total -= matrix[max(i, j), min(i, j)] * at[j]
        work[i, count] = total / norm
        for j in range(i + 1):
            if held[j]:
                continue
            entry_ = matrix[i, j] / (norm * math.sqrt(matrix[j, j]))
            for k in range(j):
                if not held[k]:
                    entry_ -= work[i, k] * work[j, k]
            if j < i:
                work[i, j] = entry_ / work[j, j]
            else:
                smallest = min(smallest, entry_)
                if not entry_ > SMALLEST_PIVOT:
                    return -1.0
                work[i, i] = math.sqrt(entry_)
        for k in range(i):
            if not held[k]:
                work[i, count] -= work[i, k] * work[k, count]
        work[i, count] /= work[i, i]
    for i in range(count - 1, -1, -1):
        if held[i]:
            continue
        total = work[i, count]
        for k in range(i + 1, count):
            if not held[k]:
                total -= work[k, i] * work[k, count]
        work[i, count] = total / work[i, i]
        p[i] = work[i, count] / math.sqrt(matrix[i, i])
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
    now : float64 (count,)
        Scratch.
    work : float64 (count, count + 1)
        Scratch.
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
    if _solve_free(matrix, right, count, held, now, work, p) <= 0.0:
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
            if _solve_free(matrix, right, count, held, now, work, p) <= 0.0:
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


@inner
def _invert_free(matrix: np.ndarray, count: int, held: np.ndarray, work: np.ndarray, inverse: np.ndarray) -> None:
    """Fill ``inverse`` with that of the free part of ``matrix``, zero for what is held, from the factor in ``work``."""
    for column in range(count):
        for i in range(count):
            inverse[i, column] = 0.0
        if held[column]:
            continue
        for i in range(column, count):
            if held[i]:
                continue
            total = 1.0 if i == column else 0.0
            for k in range(column, i):
                if not held[k]:
                    total -= work[i, k] * inverse[k, column]
            inverse[i, column] = total / work[i, i]
        for i in range(count - 1, -1, -1):
            if held[i]:
                continue
            total = inverse[i, column]
            for k in range(i + 1, count):
                if not held[k]:
                    total -= work[k, i] * inverse[k, column]
            inverse[i, column] = total / work[i, i]
    for i in range(count):
        for j in range(count):
            if not (held[i] or held[j]):
                inverse[i, j] /= math.sqrt(matrix[i, i]) * math.sqrt(matrix[j, j])


@inner
def _around(inverse: np.ndarray, gram: np.ndarray, count: int, half: np.ndarray, result: np.ndarray) -> None:
    """Replace ``inverse`` by ``inverse @ gram @ inverse``: the covariance of what a penalty has drawn in."""
    for i in range(count):
        for j in range(count):
            total = 0.0
            for k in range(count):
                total += inverse[i, k] * gram[max(k, j), min(k, j)]
            half[i, j] = total
    for i in range(count):
        for j in range(count):
            total = 0.0
            for k in range(count):
                total += half[i, k] * inverse[k, j]
            result[i, j] = total
    for i in range(count):
        for j in range(count):
            inverse[i, j] = result[i, j]


@entry
def weigh_rows(
    y: np.ndarray,
    variance: np.ndarray,
    where: np.ndarray,
    base: np.ndarray,
    width: np.ndarray,
    weight: np.ndarray,
    weighted: np.ndarray,
    factor: np.ndarray,
    used: np.ndarray,
    logs: np.ndarray,
    fault: np.ndarray,
) -> None:
    """Weights of a batch of pixels, and their data without the fixed part of the model, times the weights.

    Parameters
    ----------
    y : float64 (n, m)
        Data; in place, what the fixed part of the model leaves of them.
    variance : float64 (n or 1, m) or (1, 0)
        Variance.
    where : bool (n or 1, m) or (1, 0)
        Channels to use.
    base : float64 (m,)
        The model with all free parameters at zero.
    width : float64 (m,) or (0,)
        Channel widths, which ``base`` has in it already.
    weight, weighted : float64 (n, m)
        Filled with the inverse variances, zero where a channel is left out, and with data times weights.
    factor : float64 (m,)
        Scratch.
    used, logs, fault : (n,)
        Filled with the number of channels in use, the sum of the logarithms of their variances, and a status or zero.
    """
    m = y.shape[1]
    for i in range(y.shape[0]):
        v = variance[row_of(variance, i)]
        mask = where[row_of(where, i)]
        number = invalid = asked = 0
        for c in range(m):
            # Arithmetic and selections only, so that the loop vectorises.
            finite = y[i, c] - y[i, c] == 0.0
            wanted = mask[c] if mask.size else True
            asked += 1 if wanted else 0
            spread = v[c] if v.size else 1.0
            known = spread - spread == 0.0
            invalid += 1 if finite and wanted and known and not spread > 0.0 else 0
            keep = finite and wanted and known and spread > 0.0
            w = 1.0 / spread if keep else 0.0
            left = y[i, c] - base[c] if keep else 0.0
            number += 1 if keep else 0
            weight[i, c] = w
            y[i, c] = left
            weighted[i, c] = w * left
        used[i] = number
        fault[i] = 0
        if invalid:
            fault[i] = BAD_VARIANCE
        elif number == 0:
            fault[i] = MASKED if mask.size and asked == 0 else BAD_DATA
        logs[i] = -log_of_product(weight[i], width[:0], m) if v.size else 0.0


@entry
def solve_rows(
    grams: np.ndarray,
    rights: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    alpha: float,
    used: np.ndarray,
    fault: np.ndarray,
    solution: np.ndarray,
    covariance: np.ndarray,
    bias: np.ndarray,
    scratch: np.ndarray,
    flags: np.ndarray,
) -> None:
    """Solve the normal equations of a batch of pixels.

    Parameters
    ----------
    grams : float64 (n or 1, k * (k + 1) / 2)
        Lower triangles, row by row.
    rights : float64 (n, k)
        Right-hand sides.
    lower, upper : float64 (n or 1, k)
        Bounds.
    alpha : float
        Penalty on the sum of the squares of the parameters.
    used, fault : int64 (n,)
        Channels in use; a status where a pixel is not to be solved, SINGULAR where it can't be.
    solution : float64 (n, k)
        Filled.
    covariance : float64 (n, k, k)
        Filled, for data of unit variance; NaN for what is held at a bound.
    bias : float64 (n, k)
        Filled, where there is a penalty, with what it adds to the parameters on average, as these are estimated.
    scratch : float64 (5 * k + 1, k + 1)
        Scratch.
    flags : bool (k,)
        Scratch.
    """
    n, k = rights.shape
    matrix, work, gram = scratch[:k], scratch[k : 2 * k], scratch[2 * k : 3 * k]
    half, result, now = scratch[3 * k : 4 * k], scratch[4 * k : 5 * k], scratch[5 * k]
    for i in range(n):
        if fault[i] != 0:
            continue
        if used[i] < k:
            fault[i] = BAD_DATA
            continue
        row = row_of(grams, i)
        place = 0
        for a in range(k):
            for b in range(a + 1):
                gram[a, b] = matrix[a, b] = grams[row, place]
                place += 1
            matrix[a, a] += alpha
        low, high = lower[row_of(lower, i)], upper[row_of(upper, i)]
        if not solve_bounded(matrix, rights[i], low, high, k, flags, now, work, solution[i]):
            fault[i] = SINGULAR
            continue
        _solve_free(matrix, rights[i], k, flags, solution[i], work, now)
        inverse = covariance[i]
        _invert_free(matrix, k, flags, work, inverse)
        if alpha > 0.0:
            for a in range(k):
                total = 0.0
                for b in range(k):
                    total -= alpha * inverse[a, b] * solution[i, b]
                bias[i, a] = total if not flags[a] else 0.0
            _around(inverse, gram, k, half, result)
        for a in range(k):
            for b in range(k):
                if flags[a] or flags[b]:
                    inverse[a, b] = math.nan


@entry
def write_rows(
    fault: np.ndarray,
    used: np.ndarray,
    chisq: np.ndarray,
    logs: np.ndarray,
    solution: np.ndarray,
    covariance: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    offset: np.ndarray,
    slopes: np.ndarray,
    free: np.ndarray,
    pairs: np.ndarray,
    bias: np.ndarray,
    limits: Limits,
    scratch: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write packed rows of a batch of pixels.

    Parameters
    ----------
    fault, used, chisq, logs, solution, covariance, lower, upper, bias
        As above; the covariance of all pixels may be one.
    offset, slopes : float64 (n_parameters,), float64 (n_parameters, k)
        All parameters as linear functions of the free ones; NaN offsets for those of components that are switched off.
    free : int64 (k,)
        Positions of the free parameters.
    scratch : float64 (n_parameters, k)
        Scratch.
    """
    count, n = free.size, offset.size
    at = 3 * n + 9
    for i in range(fault.size):
        scalars = out[i][3 * n :]
        scalars[DOF] = used[i] - count
        scalars[EVALUATIONS] = 0.0 if fault[i] != 0 else 1.0
        scalars[STATUS] = CONVERGED if fault[i] == 0 else fault[i]
        if fault[i] != 0:
            continue
        dof = used[i] - count
        red = chisq[i] / dof if dof > 0 else math.nan
        scale = red if limits.scale_covariance else 1.0
        for a in range(n):
            total = offset[a]
            for j in range(count):
                total += slopes[a, j] * solution[i, j]
            out[i, a] = total
            out[i, 2 * n + a] = 0.0
        for j in range(count):
            value = solution[i, j]
            out[i, free[j]] = value
            if value <= lower[row_of(lower, i), j]:
                out[i, 2 * n + free[j]] = -1.0
            elif value >= upper[row_of(upper, i), j]:
                out[i, 2 * n + free[j]] = 1.0
        _write_covariance(
            covariance[row_of(covariance, i)], slopes, count, scale, pairs, limits.with_covariance, at, scratch, out[i]
        )
        if limits.alpha > 0.0:
            for a in range(n):
                total = 0.0
                for j in range(count):
                    total += slopes[a, j] * bias[i, j]
                out[i, out.shape[1] - n + a] = total
        scalars[CHISQ] = scalars[LOSS_VALUE] = chisq[i]
        scalars[RED_CHISQ] = red
        scalars[AIC] = logs[i]
        write_criteria(chisq[i], used[i], count, limits, scalars)


@inner
def _write_covariance(
    covariance: np.ndarray,
    slopes: np.ndarray,
    count: int,
    scale: float,
    pairs: np.ndarray,
    whole: bool,
    at: int,
    scratch: np.ndarray,
    row: np.ndarray,
) -> None:
    """Write errors and covariances of all parameters that follow from free ones; what is held at a bound adds nothing."""
    n = slopes.shape[0]
    for a in range(n):
        for j in range(count):
            total = 0.0
            for k in range(count):
                c = covariance[j, k]
                total += slopes[a, k] * (0.0 if math.isnan(c) else c)
            scratch[a, j] = total
    for a in range(n):
        row[n + a] = math.sqrt(_product(scratch, slopes, covariance, a, a, count) * scale)
    for pair in range(pairs.shape[0]):
        row[at + pair] = _product(scratch, slopes, covariance, pairs[pair, 0], pairs[pair, 1], count) * scale
    if whole:
        for a in range(n):
            for b in range(n):
                row[at + pairs.shape[0] + a * n + b] = _product(scratch, slopes, covariance, a, b, count) * scale


@inner
def _product(scratch: np.ndarray, slopes: np.ndarray, covariance: np.ndarray, a: int, b: int, count: int) -> float:
    """Covariance of two parameters; NaN where one of them depends on nothing that has an error."""
    total = 0.0
    one = other = False
    for j in range(count):
        known = not math.isnan(covariance[j, j])
        one = one or (known and slopes[a, j] != 0.0)
        other = other or (known and slopes[b, j] != 0.0)
        total += scratch[a, j] * slopes[b, j]
    return total if one and other else math.nan


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
    solved = solve_bounded(ws.gram, ws.step, ws.lower, ws.upper, count, flags, ws.bend, ws.work, ws.theta)
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
