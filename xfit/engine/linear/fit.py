"""Linear least squares: eight pixels at a time where they share the design, single pixels by the engine."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.evaluation.evaluate import gram_of
from xfit.engine.evaluation.state import FLAT, Problem, State
from xfit.engine.linear.bounded import solve_bounded
from xfit.engine.linear.groups import Equations, Group, add_products, form_equations, squares_left, subtract, weigh_into
from xfit.engine.linear.rows import Affine, Rows, fill_errors, fill_values, write_scalars
from xfit.engine.linear.solve import Problems, roots_of_lanes, solve_lanes
from xfit.engine.lm.qr import solve
from xfit.engine.lm.steps import rescale
from xfit.engine.math.cholesky import at, element
from xfit.engine.math.elementary import square
from xfit.engine.math.entries import entry
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import LANES, TILE
from xfit.engine.math.prefetch import fetch_row
from xfit.engine.math.records import DataTable, Flags, FlagTable, Integers, IntegerTable, RealTable
from xfit.engine.math.vector import reals, select
from xfit.engine.math.widths import get, numbers_in, put
from xfit.engine.pixel.alone import prepare_with_response, write_all
from xfit.engine.pixel.packed_row import at_bound_at, further_at, scalars_at, stderr_at
from xfit.engine.pixel.rows import Block, Limits, move_to, row_of
from xfit.engine.pixel.status import CONVERGED, NONFINITE_MODEL, SINGULAR

#: Where chi-squared is less than this part of the sum of squares, it is not taken from a difference of sums.
CANCELLED = 1e-5


@inner
def _explain(to_solution: np.ndarray, group: Group, p: Problems) -> None:
    """Solutions, and the sums of squares that they leave, from products of the data with the
    directions, in ``p.gram``.
    """
    k = to_solution.shape[0]
    chisq = get(group.squares, 0)
    for j in range(k):
        chisq -= square(get(p.gram, j))
        total = reals(0.0)
        for m in range(k):
            total += to_solution[j, m] * get(p.gram, m)
        put(p.solution, j, total)
    put(group.scale, 0, chisq)


@entry
def fit_alike(
    y: DataTable,
    pixels: Integers,
    equations: Equations,
    directions: RealTable,
    to_solution: RealTable,
    affine: Affine,
    free: Integers,
    pairs: IntegerTable,
    limits: Limits,
    group: Group,
    p: Problems,
    rows: Rows,
    left: Integers,
    out: RealTable,
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
    gram, packed, of_squares, of_chisq = (
        numbers_in(p.gram),
        numbers_in(rows.packed),
        numbers_in(group.squares),
        numbers_in(group.scale),
    )
    lost = 0
    for j in range(k):
        put(p.lower, j, reals(-math.inf))
        put(p.upper, j, reals(math.inf))
        put(p.scale, j, reals(1.0))
        for other in range(k):
            put(p.root, j * k + other, reals(to_solution[j, other]))
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
            of_squares[lane] = squares
            if not math.isfinite(squares):
                left[lost] = i
                lost += 1
                group.pixel[lane] = -1
        for j in range(k * LANES):
            gram[j] = 0.0
        for start in range(0, m, TILE):
            add_products(directions, start, k, group.weighted, start, min(TILE, m - start), 0, gram)
        _explain(to_solution, group, p)
        fill_values(affine, free, p, rows)
        for lane in range(LANES):
            i = group.pixel[lane]
            if i < 0:
                continue
            row = out[i]
            chisq = of_chisq[lane]
            if not chisq > CANCELLED * of_squares[lane]:
                chisq = squares_left(y[i], equations, equations.weight, numbers_in(p.solution), lane, k)
            scale = write_scalars(chisq, equations.used, equations.logs, k, limits, row[scalars_at(n) :])
            error = math.sqrt(scale)
            for c in range(n):
                row[c] = packed[c * LANES + lane]
                row[stderr_at(n) + c] = packed[(stderr_at(n) + c) * LANES + lane] * error
                row[at_bound_at(n) + c] = packed[(at_bound_at(n) + c) * LANES + lane]
            for c in range(further_at(n), row.size):
                row[c] = packed[c * LANES + lane] * scale
    return lost


@inner
def _chisq(group: Group, k: int, alpha: float, p: Problems) -> None:
    """Replace the sums of squares by those that the solutions leave."""
    chisq = get(group.squares, 0)
    for a in range(k):
        total = -2.0 * get(p.gram, at(k, a)) - alpha * get(p.solution, a)
        for b in range(k):
            total += get(p.gram, at(a, b) if b <= a else at(b, a)) * get(p.solution, b)
        chisq += get(p.solution, a) * total
    put(group.scale, 0, chisq)


@entry
def fit_weighted(
    y: DataTable,
    variance: DataTable,
    where: FlagTable,
    lower: RealTable,
    upper: RealTable,
    pixels: Integers,
    equations: Equations,
    affine: Affine,
    free: Integers,
    pairs: IntegerTable,
    limits: Limits,
    group: Group,
    p: Problems,
    rows: Rows,
    left: Integers,
    out: RealTable,
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
    packed, of_squares, of_chisq, fine = (
        numbers_in(rows.packed),
        numbers_in(group.squares),
        numbers_in(group.scale),
        numbers_in(group.fine),
    )
    of_lower, of_upper, used, logs = (
        numbers_in(p.lower),
        numbers_in(p.upper),
        numbers_in(group.used),
        numbers_in(group.logs),
    )
    lost = 0
    for j in range(k):
        put(p.lower, j, reals(lower[0, j]))
        put(p.upper, j, reals(upper[0, j]))
    for begin in range(0, pixels.size, LANES):
        any_own = False
        for lane in range(LANES):
            i = pixels[begin + lane] if begin + lane < pixels.size else -1
            if i >= 0:
                ready = weigh_into(
                    i,
                    lane,
                    y[i],
                    variance[row_of(variance, i)],
                    where[row_of(where, i)],
                    equations,
                    k,
                    group,
                    out[i, scalars_at(n) :],
                )
                if lower.shape[0] > 1:
                    for j in range(k):
                        of_lower[j * LANES + lane] = lower[i, j]
                        of_upper[j * LANES + lane] = upper[i, j]
                if begin + lane + LANES < pixels.size:
                    fetch_row(y, pixels[begin + lane + LANES])
                i = i if ready else -1
            if i < 0:
                group.own[lane] = False
                group.weighted[lane, : y.shape[1]] = 0.0
            any_own = any_own or group.own[lane]
            group.pixel[lane] = i
        form_equations(equations, any_own, k, group, numbers_in(p.gram))
        for j in range(k):
            put(p.gram, at(j, j), get(p.gram, at(j, j)) + limits.alpha)
        put(group.fine, 0, select(solve_lanes(k, p), 1.0, 0.0))
        _chisq(group, k, limits.alpha, p)
        roots_of_lanes(limits.alpha, k, p)
        for lane in range(LANES):
            i = group.pixel[lane]
            if i < 0:
                continue
            if fine[lane] == 0.0:
                left[lost] = i
                lost += 1
                group.pixel[lane] = -1
                continue
            chisq = of_chisq[lane]
            if not chisq > CANCELLED * of_squares[lane]:
                weight = group.weight[lane, : y.shape[1]] if group.own[lane] else equations.weight
                chisq = squares_left(y[i], equations, weight, numbers_in(p.solution), lane, k)
            of_chisq[lane] = write_scalars(chisq, int(used[lane]), logs[lane], k, limits, out[i, scalars_at(n) :])
        fill_values(affine, free, p, rows)
        fill_errors(affine, get(group.scale, 0), pairs, limits, p, rows)
        for lane in range(LANES):
            i = group.pixel[lane]
            if i < 0:
                continue
            for c in range(scalars_at(n)):
                out[i, c] = packed[c * LANES + lane]
            for c in range(further_at(n), out.shape[1]):
                out[i, c] = packed[c * LANES + lane]
    return lost


@entry
def fit_linear_singly(
    p: Problem,
    s: State,
    block: Block,
    response: RealTable,
    pixels: Integers,
    limits: Limits,
    flags: Flags,
) -> None:
    """Solve linear problems whose design differs from pixel to pixel, or that need a QR
    factorisation, by the engine.
    """
    for i in pixels:
        if not prepare_with_response(p, s, block, response, i):
            continue
        status = _solve_pixel(p, s, limits.alpha, flags)
        loss = gram_of(p, s, s.q, s.gram)
        if not math.isfinite(loss):
            status = NONFINITE_MODEL
        write_all(p, s, block, limits, i, status, loss, 2, 0)


@inner
def _solve_pixel(p: Problem, s: State, alpha: float, flags: np.ndarray) -> int:
    """Move ``s.q`` from its start to the solution; return the status."""
    count, last = s.count, at(s.count, 0)
    loss = gram_of(p, s, s.q, s.gram)
    if not math.isfinite(loss):
        return NONFINITE_MODEL
    for j in range(count):
        # In terms of the parameters themselves, not of their distance from the start, bounds and penalty are what they
        # are.
        total = s.gram[last + j]
        for k in range(count):
            total += element(s.gram, j, k) * s.first[k]
        s.step[j] = total
    for j in range(count):
        s.gram[at(j, j)] += alpha
    solved = solve_bounded(s.gram, s.step, s.lower, s.upper, count, flags, s.moved, s.inverse, s.qr, s.solution)
    if solved:
        move_to(p, s, s.solution)
        return CONVERGED
    if alpha > 0.0:
        return SINGULAR
    s.factorised = False
    for j in range(count):
        s.weight[j] = 0.0
    rescale(s, True, False)
    solved = solve(p, s, 0.0)
    for j in range(count):
        solved = solved and s.side[j] != FLAT
    if not solved:
        return SINGULAR
    for j in range(count):
        s.best[j] = min(max(s.first[j] + s.step[j], s.lower[j]), s.upper[j])
    move_to(p, s, s.best)
    return CONVERGED
