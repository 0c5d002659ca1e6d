"""Linear least squares from normal equations, within bounds: many pixels with small matrices, and one pixel by the engine."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xfit.kernels.bounded import solve_bounded
from xfit.kernels.evaluate import Spectrum, Structure, gram_at
from xfit.kernels.jit import entry, inner, sums
from xfit.kernels.likelihood import log_of_product
from xfit.kernels.linear_rows import (
    SCALAR_COUNT,
    Affine,
    Small,
    penalise_root,
    root_of_inverse,
    write_covariance,
    write_scalars,
    write_values,
)
from xfit.kernels.lm import damped_or_not, move_to
from xfit.kernels.pixel import (
    DOF,
    EVALUATIONS,
    STATUS,
    Block,
    Buffer,
    Limits,
    finish,
    prepare,
    row_of,
    spectrum_of,
    write,
)
from xfit.kernels.status import BAD_DATA, BAD_RESPONSE, BAD_VARIANCE, CONVERGED, MASKED, NONFINITE_MODEL, SINGULAR
from xfit.kernels.steps import FREE, scale_of
from xfit.kernels.ties import Ties
from xfit.kernels.whole import set_response
from xfit.kernels.workspace import Outcome, Workspace

#: Where chi-squared is less than this part of the sum of squares, it is not taken from a difference of sums.
CANCELLED = 1e-5


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
    write_covariance(affine, k, 1.0, pairs, limits, s, unit)
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
        scale = write_scalars(chisq, used, logs, k, limits, row[3 * affine.offset.size :])
        write_values(affine, s.right, s.now, s, row)
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
        root_of_inverse(k, s)
        if limits.alpha > 0.0:
            penalise_root(limits.alpha, k, s)
        scale = write_scalars(chisq, used, logs, k, limits, scalars)
        write_values(affine, low, high, s, row)
        write_covariance(affine, k, scale, pairs, limits, s, row)
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
