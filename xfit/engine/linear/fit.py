"""Linear least squares: eight pixels at a time where they share the design, single pixels by the engine."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.linear.bounded import solve_bounded
from xfit.engine.linear.groups import Equations, Group, add_products, form_equations, squares_left, subtract, weigh_into
from xfit.engine.linear.rows import Affine, Rows, fill_errors, fill_values, write_scalars
from xfit.engine.linear.solve import Problems, roots_of_lanes, solve_lanes
from xfit.engine.math.elementary import square
from xfit.engine.math.jit import entry, entry_sums, inlined_sums, inner
from xfit.engine.math.layout import LANES, TILE
from xfit.engine.math.prefetch import fetch_row
from xfit.engine.math.vector import load, reals, select, store
from xfit.engine.pixel.evaluate import Spectrum, Structure
from xfit.engine.pixel.levenberg_marquardt import damped_or_not, move_to
from xfit.engine.pixel.packed_row import STATUS, at_bound_at, further_at, scalars_at, stderr_at
from xfit.engine.pixel.rows import Block, Buffer, Limits, prepare, row_of, spectrum_of, write
from xfit.engine.pixel.standard_errors import finish
from xfit.engine.pixel.status import BAD_RESPONSE, CONVERGED, NONFINITE_MODEL, SINGULAR
from xfit.engine.pixel.steps import FLAT, FREE, scale_of
from xfit.engine.pixel.tie_machine import Ties
from xfit.engine.pixel.whole_axis import set_response
from xfit.engine.pixel.workspace import Outcome, Workspace, gram_of
from xfit.engine.simd.evaluate import at

#: Where chi-squared is less than this part of the sum of squares, it is not taken from a difference of sums.
CANCELLED = 1e-5


@inlined_sums
def _explain(to_solution: np.ndarray, group: Group, p: Problems) -> None:
    """Solutions, and the sums of squares that they leave, from products of the data with the directions, in ``p.gram``."""
    k = to_solution.shape[0]
    chisq = load(group.squares, 0)
    for j in range(k):
        chisq -= square(load(p.gram, j))
        total = reals(0.0)
        for m in range(k):
            total += to_solution[j, m] * load(p.gram, m)
        store(p.solution, j, total)
    store(group.scale, 0, chisq)


@entry_sums
def fit_alike(
    y: np.ndarray,
    pixels: np.ndarray,
    equations: Equations,
    directions: np.ndarray,
    to_solution: np.ndarray,
    affine: Affine,
    free: np.ndarray,
    pairs: np.ndarray,
    limits: Limits,
    group: Group,
    p: Problems,
    rows: Rows,
    left: np.ndarray,
    out: np.ndarray,
) -> int:
    """Fit the listed pixels, which share design and weights and have no bounds.

    Parameters
    ----------
    y : float64 or float32 (n, m)
        Data.
    equations, affine, group, p, rows
        What the pixels share, and scratch.
    directions : float64 (k rounded up to threes, m + 8)
        Orthonormal directions that span those of the weighted derivatives, over the roots of the weights.
    to_solution : float64 (k, k)
        From products of data and directions to parameters; also the root of the covariance of unit variance.
    free : int64 (k,)
        Positions of the free parameters among all.
    left : int64 (as many as pixels,)
        Filled with the pixels that have channels of their own left out.

    Returns
    -------
    int
        How many those are.
    """
    k, n, m = free.size, affine.offset.size, y.shape[1]
    lost = 0
    for j in range(k):
        store(p.lower, j, reals(-math.inf))
        store(p.upper, j, reals(math.inf))
        store(p.scale, j, reals(1.0))
        for other in range(k):
            store(p.root, j * k + other, reals(to_solution[j, other]))
    # What errors and covariances are for data of unit variance is the same for all.
    fill_errors(affine, reals(1.0), pairs, limits, p, rows)
    for begin in range(0, pixels.size, LANES):
        for lane in range(LANES):
            i = pixels[begin + lane] if begin + lane < pixels.size else -1
            group.pixel[lane] = i
            if i < 0:
                continue
            squares = subtract(y[i], equations.base, equations.weight, group.weighted[lane, :m])
            if begin + lane + LANES < pixels.size:
                fetch_row(y, pixels[begin + lane + LANES])
            group.squares[lane] = squares
            if not math.isfinite(squares):
                left[lost] = i
                lost += 1
                group.pixel[lane] = -1
        p.gram[:] = 0.0
        for start in range(0, m, TILE):
            add_products(directions, start, k, group.weighted, start, min(TILE, m - start), 0, p.gram)
        _explain(to_solution, group, p)
        fill_values(affine, free, p, rows)
        for lane in range(LANES):
            i = group.pixel[lane]
            if i < 0:
                continue
            row = out[i]
            chisq = group.scale[lane]
            if not chisq > CANCELLED * group.squares[lane]:
                chisq = squares_left(y[i], equations, equations.weight, p.solution, lane, k)
            scale = write_scalars(chisq, equations.used, equations.logs, k, limits, row[scalars_at(n) :])
            error = math.sqrt(scale)
            for c in range(n):
                row[c] = rows.packed[c * LANES + lane]
                row[stderr_at(n) + c] = rows.packed[(stderr_at(n) + c) * LANES + lane] * error
                row[at_bound_at(n) + c] = rows.packed[(at_bound_at(n) + c) * LANES + lane]
            for c in range(further_at(n), row.size):
                row[c] = rows.packed[c * LANES + lane] * scale
    return lost


@inlined_sums
def _chisq(group: Group, k: int, alpha: float, p: Problems) -> None:
    """Replace the sums of squares by those that the solutions leave."""
    chisq = load(group.squares, 0)
    for a in range(k):
        total = -2.0 * load(p.gram, at(k, a)) - alpha * load(p.solution, a)
        for b in range(k):
            total += load(p.gram, at(a, b) if b <= a else at(b, a)) * load(p.solution, b)
        chisq += load(p.solution, a) * total
    store(group.scale, 0, chisq)


@entry_sums
def fit_weighted(
    y: np.ndarray,
    variance: np.ndarray,
    where: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    pixels: np.ndarray,
    equations: Equations,
    affine: Affine,
    free: np.ndarray,
    pairs: np.ndarray,
    limits: Limits,
    group: Group,
    p: Problems,
    rows: Rows,
    left: np.ndarray,
    out: np.ndarray,
) -> int:
    """Fit the listed pixels, each with weights, channels and bounds of its own.

    Parameters
    ----------
    y : float64 or float32 (n, m)
        Data.
    variance, where : dtype of y, bool (n or 1, m), or (1, 0)
        Variance; channels to use.
    lower, upper : float64 (n or 1, k)
        Bounds.
    equations, affine, group, p, rows
        What the pixels share, and scratch.
    free : int64 (k,)
        Positions of the free parameters among all.
    left : int64 (as many as pixels,)
        Filled with the pixels whose normal equations are too ill-conditioned.

    Returns
    -------
    int
        How many those are.
    """
    k, n = free.size, affine.offset.size
    lost = 0
    for j in range(k):
        store(p.lower, j, reals(lower[0, j]))
        store(p.upper, j, reals(upper[0, j]))
    for begin in range(0, pixels.size, LANES):
        any_own = False
        for lane in range(LANES):
            i = pixels[begin + lane] if begin + lane < pixels.size else -1
            if i >= 0:
                ready = weigh_into(
                    i, lane, y[i], variance[row_of(variance, i)], where[row_of(where, i)], equations, k, group,
                    out[i, scalars_at(n) :],
                )  # fmt: skip
                if lower.shape[0] > 1:
                    for j in range(k):
                        p.lower[j * LANES + lane] = lower[i, j]
                        p.upper[j * LANES + lane] = upper[i, j]
                if begin + lane + LANES < pixels.size:
                    fetch_row(y, pixels[begin + lane + LANES])
                i = i if ready else -1
            if i < 0:
                group.own[lane] = False
                group.weighted[lane, : y.shape[1]] = 0.0
            any_own = any_own or group.own[lane]
            group.pixel[lane] = i
        form_equations(equations, any_own, k, group, p.gram)
        for j in range(k):
            store(p.gram, at(j, j), load(p.gram, at(j, j)) + limits.alpha)
        store(group.fine, 0, select(solve_lanes(k, p), 1.0, 0.0))
        _chisq(group, k, limits.alpha, p)
        roots_of_lanes(limits.alpha, k, p)
        for lane in range(LANES):
            i = group.pixel[lane]
            if i < 0:
                continue
            if group.fine[lane] == 0.0:
                left[lost] = i
                lost += 1
                group.pixel[lane] = -1
                continue
            chisq = group.scale[lane]
            if not chisq > CANCELLED * group.squares[lane]:
                weight = group.weight[lane, : y.shape[1]] if group.own[lane] else equations.weight
                chisq = squares_left(y[i], equations, weight, p.solution, lane, k)
            group.scale[lane] = write_scalars(
                chisq, int(group.used[lane]), group.logs[lane], k, limits, out[i, scalars_at(n) :]
            )  # fmt: skip
        fill_values(affine, free, p, rows)
        fill_errors(affine, load(group.scale, 0), pairs, limits, p, rows)
        for lane in range(LANES):
            i = group.pixel[lane]
            if i < 0:
                continue
            for c in range(scalars_at(n)):
                out[i, c] = rows.packed[c * LANES + lane]
            for c in range(further_at(n), out.shape[1]):
                out[i, c] = rows.packed[c * LANES + lane]
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
            block.out[i, scalars_at(ws.q.size) + STATUS] = BAD_RESPONSE
            continue
        spectrum = spectrum_of(block, plain, used, smallest, limits.loss, buffer)
        status = _solve_pixel(structure, ties, x, spectrum, count, limits.alpha, flags, ws)
        loss = gram_of(structure, ties, x, spectrum, count, ws.q, ws, ws.gram)
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
    loss = gram_of(structure, ties, x, spectrum, count, ws.q, ws, ws.gram)
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
    for j in range(count):
        solved = solved and ws.state[j] != FLAT
    if not solved:
        return SINGULAR
    for j in range(count):
        ws.theta[j] = min(max(ws.first[j] + ws.step[j], ws.lower[j]), ws.upper[j])
    move_to(ws.theta, ties, ws)
    return CONVERGED
