"""Damped steps, amplitudes and errors of eight pixels side by side: the algebra of `steps`, `relax` and `covariance`.

What is rare or ill-conditioned is not solved here but reported, for the engine of one pixel to do again with more care. All
matrices are lower triangles of vectors, see `xfit.engine.simd.evaluate.at`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from xfit.engine.math.elementary import square
from xfit.engine.math.jit import inlined_sums, inner_sums
from xfit.engine.math.layout import SHAPED
from xfit.engine.math.vector import any_lane, load, negation, reals, select, store
from xfit.engine.pixel.amplitudes import LARGEST_FACTOR, LARGEST_SCALE, MERE_GUESS, SMALLEST_FRACTION
from xfit.engine.pixel.steps import NO_INFLUENCE, SHORT, SMALL_CHANGE, SMALL_MOVE, SMALLEST_PIVOT
from xfit.engine.simd.evaluate import at


class LaneSteps(NamedTuple):
    """Where the pixels are, where they may go, and scratch; vectors by free parameter.

    Attributes
    ----------
    gram : float64 (triangle of count + 1, times LANES)
        Gram matrix at the current points.
    lower, upper : float64 (count * LANES,)
        Bounds.
    inverse, weight : float64 (count * LANES,)
        Inverse column norms; the norms' running maxima.
    step : float64 (count * LANES,)
        The step.
    side : float64 (count * LANES,)
        -1 and 1 for what is held at its lower and upper bound, otherwise 0.
    scale : float64 (count * LANES,)
        Inverse norms of what is free to move, otherwise 0.
    factor, solution : float64 (triangle of count, times LANES), float64 (count * LANES,)
        Scratch: Cholesky factor with the inverse diagonal, and a vector.
    full, taken : float64 (count * LANES,)
        The last full step, and what was made of it; see `xfit.engine.simd.extrapolation`.
    moved : float64 (count * LANES,)
        How far each parameter moved last; zero before the first move.
    promise : float64 (LANES,)
        By how much the best amplitudes would lower the loss at the start, without bounds; zero where that is not known.
    bent : float64 (count,)
        The range of the coordinates for parameters that the model is not linear in, otherwise zero.
    amplitudes, starting : int64 (any,)
        Which free parameters are amplitudes; which are so at the start.
    code : int64 (count,)
        What each free parameter is to `xfit.engine.pixel.amplitudes`.
    """

    gram: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    inverse: np.ndarray
    weight: np.ndarray
    step: np.ndarray
    side: np.ndarray
    scale: np.ndarray
    factor: np.ndarray
    solution: np.ndarray
    full: np.ndarray
    taken: np.ndarray
    moved: np.ndarray
    promise: np.ndarray
    bent: np.ndarray
    amplitudes: np.ndarray
    starting: np.ndarray
    code: np.ndarray


@inner_sums
def factorise_lanes(
    gram: np.ndarray,
    chosen: np.ndarray,
    count: int,
    damping: Any,
    weight: np.ndarray,
    scale: np.ndarray,
    factor: np.ndarray,
) -> Any:
    """Cholesky factor of the scaled and damped matrix of the chosen parameters; where it is well-conditioned.

    A parameter whose scale is zero gets the row and column of the unit matrix.
    """
    ok = reals(0.0) == 0.0
    for a in range(count):
        i = chosen[a]
        own = load(scale, i)
        for b in range(a):
            j = chosen[b]
            total = load(gram, at(i, j)) * (own * load(scale, j))
            for k in range(b):
                total -= load(factor, at(a, k)) * load(factor, at(b, k))
            store(factor, at(a, b), total * load(factor, at(b, b)))
        total = 1.0 + damping * square(load(weight, i) * own)
        for k in range(a):
            total -= square(load(factor, at(a, k)))
        ok = ok & (total > SMALLEST_PIVOT)
        # The diagonal holds the inverse: one division a row.
        store(factor, at(a, a), 1.0 / math.sqrt(total))
    return ok


@inner_sums
def substitute_lanes(
    gram: np.ndarray,
    chosen: np.ndarray,
    count: int,
    last: int,
    scale: np.ndarray,
    factor: np.ndarray,
    solution: np.ndarray,
) -> None:
    """Solve with the Cholesky factor for the gradient in row ``last``; ``solution[:count]`` are scaled steps.

    What is held must have a scale of zero; its part of the right-hand side is expected in ``solution``.
    """
    for a in range(count):
        total = (load(gram, at(last, chosen[a])) - load(solution, a)) * load(scale, chosen[a])
        for k in range(a):
            total -= load(factor, at(a, k)) * load(solution, k)
        store(solution, a, total * load(factor, at(a, a)))
    for a in range(count - 1, -1, -1):
        total = load(solution, a)
        for k in range(a + 1, count):
            total -= load(factor, at(k, a)) * load(solution, k)
        store(solution, a, total * load(factor, at(a, a)))


@inlined_sums
def element(gram: np.ndarray, i: int, j: int) -> Any:
    """Element of a symmetric matrix."""
    return load(gram, at(i, j) if j <= i else at(j, i))


@inner_sums
def _held_part(count: int, any_held: bool, ls: LaneSteps) -> None:
    """What the steps of held parameters take from the right-hand side, into ``ls.solution``."""
    for i in range(count):
        total = reals(0.0)
        if any_held:
            for j in range(count):
                total += element(ls.gram, i, j) * select(load(ls.side, j) == 0.0, 0.0, load(ls.step, j))
        store(ls.solution, i, total)


@inlined_sums
def _hold(q: np.ndarray, rows: np.ndarray, count: int, ls: LaneSteps) -> bool:
    """Begin an active set: hold what sits at a bound and would leave through it; return whether there is any."""
    held = reals(0.0) != 0.0
    for j in range(count):
        value, slope = load(q, rows[j]), load(ls.gram, at(count, j))
        low = (value <= load(ls.lower, j)) & (slope <= 0.0)
        high = (value >= load(ls.upper, j)) & (slope >= 0.0)
        store(ls.side, j, select(low, -1.0, select(high, 1.0, 0.0)))
        store(ls.scale, j, select(low | high, 0.0, load(ls.inverse, j)))
        store(ls.step, j, reals(0.0))
        held = held | low | high
    return any_lane(held)


@inlined_sums
def _clip(q: np.ndarray, rows: np.ndarray, count: int, ls: LaneSteps) -> bool:
    """Hold what the step would carry beyond a bound, with the step that ends there; return whether there is any."""
    clipped = reals(0.0) != 0.0
    for j in range(count):
        value, step, side = load(q, rows[j]), load(ls.step, j), load(ls.side, j)
        lower, upper = load(ls.lower, j), load(ls.upper, j)
        low = (side == 0.0) & (value + step < lower)
        high = (side == 0.0) & (value + step > upper)
        store(ls.side, j, select(low, -1.0, select(high, 1.0, side)))
        store(ls.step, j, select(low, lower - value, select(high, upper - value, step)))
        store(ls.scale, j, select(low | high, 0.0, load(ls.scale, j)))
        clipped = clipped | low | high
    return any_lane(clipped)


@inner_sums
def step_of_lanes(q: np.ndarray, rows: np.ndarray, all_: np.ndarray, count: int, damping: Any, ls: LaneSteps) -> Any:
    """Solve for the bounded, damped steps from ``q``; return where the problem is well-conditioned.

    A pixel's numbers do not depend on how often the others make it be solved again.
    """
    ok = reals(0.0) == 0.0
    held = _hold(q, rows, count, ls)
    for _ in range(count + 1):
        ok = ok & factorise_lanes(ls.gram, all_, count, damping, ls.weight, ls.scale, ls.factor)
        _held_part(count, held, ls)
        substitute_lanes(ls.gram, all_, count, count, ls.scale, ls.factor, ls.solution)
        for j in range(count):
            free = load(ls.side, j) == 0.0
            store(ls.step, j, select(free, load(ls.solution, j) * load(ls.scale, j), load(ls.step, j)))
        if not _clip(q, rows, count, ls):
            break
        held = True
    return ok


@inlined_sums
def length_of_lanes(count: int, vector: np.ndarray, rows: np.ndarray, weight: np.ndarray) -> Any:
    """Lengths of vectors of parameters in units of the damping's weights."""
    total = reals(0.0)
    for j in range(count):
        total += square(load(weight, j) * load(vector, rows[j]))
    return math.sqrt(total)


@inlined_sums
def steepest_of_lanes(count: int, ls: LaneSteps) -> Any:
    """Lengths of the gradients in the same units."""
    total = reals(0.0)
    for j in range(count):
        total += square(load(ls.gram, at(count, j)) / load(ls.weight, j))
    return math.sqrt(total)


@inlined_sums
def promise_of_lanes(count: int, ls: LaneSteps) -> tuple[Any, Any]:
    """Slope and decrease of the sums of squares that the quadratic models promise; see `steps.predicted_decrease`."""
    slope = curvature = reals(0.0)
    for i in range(count):
        step = load(ls.step, i)
        total = 0.5 * load(ls.gram, at(i, i)) * step
        for j in range(i):
            total += load(ls.gram, at(i, j)) * load(ls.step, j)
        slope += step * load(ls.gram, at(count, i))
        curvature += 2.0 * step * total
    return slope, 2.0 * slope - curvature


@inlined_sums
def rescale_lanes(take: Any, q: np.ndarray, rows: np.ndarray, count: int, ls: LaneSteps) -> Any:
    """New inverse norms and weights where a pixel takes a new Gram matrix; return where all parameters have an influence at ``q``."""
    ok = reals(0.0) == 0.0
    level = NO_INFLUENCE * math.sqrt(load(ls.gram, at(count, count)))
    for j in range(count):
        norm = math.sqrt(load(ls.gram, at(j, j)))
        ok = ok & (norm > 0.0) & (norm < math.inf)
        if ls.bent[j] > 0.0:
            size = abs(load(q, rows[j]))
            ok = ok & (norm * select(size < ls.bent[j], ls.bent[j], size) >= level)
        store(ls.inverse, j, select(take, 1.0 / norm, load(ls.inverse, j)))
        weight = load(ls.weight, j)
        store(ls.weight, j, select(take & (norm > weight), norm, weight))
    return ok


@inlined_sums
def stationary_lanes(q: np.ndarray, rows: np.ndarray, count: int, least: Any, ls: LaneSteps) -> Any:
    """Where no parameter by itself promises a decrease of more than ``least``; see `steps.is_stationary`."""
    ok = reals(0.0) == 0.0
    for j in range(count):
        value, inverse = load(q, rows[j]), load(ls.inverse, j)
        slope = load(ls.gram, at(count, j))
        move = slope * square(inverse)
        down, up = load(ls.lower, j) - value, load(ls.upper, j) - value
        move = select(move < down, down, move)
        move = select(move > up, up, move)
        ok = ok & (move * (2.0 * slope - load(ls.gram, at(j, j)) * move) <= least)
    return ok


@inlined_sums
def short_lanes(length: Any, q: np.ndarray, rows: np.ndarray, count: int, variance: Any, ls: LaneSteps) -> Any:
    """Where the steps, of the lengths given, are so short that they need no evaluation; see `lm._is_short`."""
    ok = square(length) <= SHORT * variance
    for j in range(count):
        if ls.bent[j] > 0.0:
            step = abs(load(ls.step, j))
            ok = ok & ((step <= SMALL_CHANGE * abs(load(q, rows[j]))) | (step <= SMALL_MOVE * load(ls.moved, j)))
    return ok


@inlined_sums
def held_lanes(count: int, ls: LaneSteps) -> Any:
    """Where the steps hold parameters at bounds."""
    held = reals(0.0) != 0.0
    for j in range(count):
        held = held | (load(ls.side, j) != 0.0)
    return held


@inlined_sums
def relax_lanes(
    gram: np.ndarray,
    may: Any,
    start: bool,
    trial: np.ndarray,
    current: np.ndarray,
    rows: np.ndarray,
    count: int,
    ls: LaneSteps,
) -> Any:
    """Move the amplitudes of the trial points to their best values, with the Gram matrices there; see `relax.relax`.

    Parameters
    ----------
    may : vector of conditions
        Which pixels.
    start : bool
        Whether these are at their first points.
    trial, current : float64 (n_parameters * LANES,)
        Trial points, changed in place, and those before.

    Returns
    -------
    vector of conditions
        Where the Gram matrix has lost its digits and the model must be evaluated at the new trial point.
    """
    chosen = ls.starting if start else ls.amplitudes
    number = chosen.size
    none = reals(0.0) != 0.0
    if number == 0 or number == count:
        return none
    for j in range(count):
        norm2 = load(gram, at(j, j))
        store(ls.scale, j, 1.0 / math.sqrt(norm2))
        store(ls.solution, j, reals(0.0))
        store(ls.step, j, reals(0.0))
    moved = solved = may & factorise_lanes(gram, chosen, number, 0.0, ls.weight, ls.scale, ls.factor)
    substitute_lanes(gram, chosen, number, count, ls.scale, ls.factor, ls.solution)
    decrease = reals(0.0)
    for a in range(number):
        j = chosen[a]
        change = load(ls.solution, a) * load(ls.scale, j)
        value = load(trial, rows[j]) + change
        moved = moved & (value >= load(ls.lower, j)) & (value <= load(ls.upper, j))
        decrease += change * load(gram, at(count, j))
        store(ls.step, j, change)
    if start:
        store(ls.promise, 0, select(solved, decrease, select(may, 0.0, load(ls.promise, 0))))
    moved = moved & (decrease >= 0.0)
    again = far = none
    largest = math.inf if start else LARGEST_FACTOR
    for j in range(count):
        k = SHAPED - ls.code[j] if start and ls.code[j] <= SHAPED else ls.code[j]
        if k >= 0:
            amplitude, before = load(trial, rows[k]), load(current, rows[k])
            ratio = (amplitude + load(ls.step, k)) / before
            moved = moved & (ratio > 1.0 / LARGEST_FACTOR) & (ratio < largest)
            far = far | (ratio > MERE_GUESS)
            again = again | (abs(amplitude) * LARGEST_SCALE < abs(before))
    chisq = load(gram, at(count, count))
    again = again | negation(chisq - decrease > SMALLEST_FRACTION * chisq)
    if number > ls.amplitudes.size:
        moved = moved & far
        again = negation(none)
    again = moved & again
    _transform(gram, moved & negation(again), trial, rows, count, ls)
    take = moved & negation(again)
    store(gram, at(count, count), select(take, chisq - decrease, chisq))
    for a in range(number):
        j = chosen[a]
        value = load(trial, rows[j])
        store(trial, rows[j], select(moved, value + load(ls.step, j), value))
    return again


@inlined_sums
def _transform(gram: np.ndarray, take: Any, trial: np.ndarray, rows: np.ndarray, count: int, ls: LaneSteps) -> None:
    """Gram matrices at the changed amplitudes: new residuals, and derivatives in proportion."""
    for j in range(count):
        total = reals(0.0)
        for a in range(ls.amplitudes.size):
            k = ls.amplitudes[a]
            total += element(gram, j, k) * load(ls.step, k)
        store(ls.solution, j, total)
    for j in range(count):
        slope = load(gram, at(count, j))
        store(gram, at(count, j), select(take, slope - load(ls.solution, j), slope))
    for j in range(count):
        if ls.code[j] >= 0:
            ratio = select(take, 1.0 + load(ls.step, ls.code[j]) / load(trial, rows[ls.code[j]]), 1.0)
            for k in range(j + 1):
                store(gram, at(j, k), load(gram, at(j, k)) * ratio)
            for i in range(j, count + 1):
                store(gram, at(i, j), load(gram, at(i, j)) * ratio)


@inlined_sums
def errors_of_lanes(
    q: np.ndarray,
    rows: np.ndarray,
    all_: np.ndarray,
    count: int,
    variance: Any,
    ls: LaneSteps,
    out: np.ndarray,
    pairs: np.ndarray,
    covariances: np.ndarray,
) -> Any:
    """Standard errors of the free parameters at ``q``, NaN on bounds; return where the problem is well-conditioned.

    Parameters
    ----------
    variance : vector
        Variance of data of unit weight.
    out : float64 (count * LANES,)
        Filled.
    pairs : int64 (any, 2)
        Pairs of free parameters whose covariances are wanted.
    covariances : float64 (as many * LANES,)
        Filled; NaN where one of the two is on a bound.
    """
    for j in range(count):
        value = load(q, rows[j])
        held = (value <= load(ls.lower, j)) | (value >= load(ls.upper, j))
        store(ls.scale, j, select(held, 0.0, load(ls.inverse, j)))
    ok = factorise_lanes(ls.gram, all_, count, 0.0, ls.weight, ls.scale, ls.factor)
    _invert(count, ls)
    for j in range(count):
        store(out, j, math.sqrt(_covariance(j, j, count, variance, ls)))
    for pair in range(pairs.shape[0]):
        store(covariances, pair, _covariance(pairs[pair, 0], pairs[pair, 1], count, variance, ls))
    return ok


@inlined_sums
def _invert(count: int, ls: LaneSteps) -> None:
    """Replace the Cholesky factors by their inverses, column by column; the diagonals are that already."""
    for j in range(count):
        store(ls.solution, j, load(ls.factor, at(j, j)))
        for k in range(j + 1, count):
            total = reals(0.0)
            for m in range(j, k):
                total -= load(ls.factor, at(k, m)) * load(ls.solution, m)
            store(ls.solution, k, total * load(ls.factor, at(k, k)))
        for k in range(j + 1, count):
            store(ls.factor, at(k, j), load(ls.solution, k))


@inlined_sums
def _covariance(i: int, j: int, count: int, variance: Any, ls: LaneSteps) -> Any:
    """Covariance of two parameters from the inverse factors; NaN where one is held."""
    total = reals(0.0)
    for k in range(max(i, j), count):
        total += load(ls.factor, at(k, i)) * load(ls.factor, at(k, j))
    scale = load(ls.scale, i) * load(ls.scale, j)
    return select(scale == 0.0, math.nan, total * variance * scale)
