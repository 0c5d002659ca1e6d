"""Intervals from the profile of the loss: where it has risen by a given amount, all other parameters following."""

from __future__ import annotations

import math

from xfit.engine.evaluation.evaluate import gram_of
from xfit.engine.evaluation.state import FREE, Problem, State
from xfit.engine.math.cholesky import at
from xfit.engine.math.entries import entry
from xfit.engine.math.jit import inner
from xfit.engine.math.records import Integers, RealBlock, RealTable
from xfit.engine.pixel.alone import prepare_with_response
from xfit.engine.pixel.minimise import minimise
from xfit.engine.pixel.packed_row import scalars_at
from xfit.engine.pixel.rows import Block, Limits, move_to
from xfit.engine.pixel.scalars import DOF
from xfit.engine.pixel.standard_errors import solve_held
from xfit.engine.pixel.status import CONVERGED

#: How closely the root of the rise is met, relative to what is asked for: in units of the standard error.
_CLOSE = 1e-5

#: Points of the profile that are tried for each end.
_TRIALS = 40


@inner
def _without(j: int, whole: State, s: State) -> None:
    """Set up the search for all free parameters but number ``j``, with the data of ``whole``."""
    row = 0
    for k in range(whole.count):
        if k != j:
            s.rows[row] = whole.rows[k]
            s.lower[row], s.upper[row] = whole.lower[k], whole.upper[k]
            row += 1
    s.plain, s.whole, s.used, s.smallest[0] = whole.plain, whole.whole, whole.used, whole.smallest[0]
    for i in range(s.length):
        s.y[i], s.m[i], s.weight_of_channels[i] = whole.y[i], whole.m[i], whole.weight_of_channels[i]


@inner
def _direction(j: int, whole: State) -> float:
    """How all parameters follow number ``j`` to first order, into ``whole.step``; return the
    standard error of unit variance.
    """
    last = at(whole.count, 0)
    for k in range(whole.count):
        whole.side[k] = FREE
        whole.taken[k] = whole.gram[last + k]
        whole.gram[last + k] = 1.0 if k == j else 0.0
    solved = solve_held(whole, whole.gram)
    for k in range(whole.count):
        whole.gram[last + k] = whole.taken[k]
    variance = whole.step[j]
    if not solved or not variance > 0.0:
        return math.nan
    for k in range(whole.count):
        whole.step[k] /= variance
    return math.sqrt(variance)


@inner
def _loss_with(p: Problem, s: State, value: float, position: int, limits: Limits) -> float:
    """Lowest loss with the parameter at ``position`` at ``value``, from where the others are in
    ``s.q``; NaN where it is not found.
    """
    for k in range(s.count):
        s.first[k] = min(max(s.q[s.rows[k]], s.lower[k]), s.upper[k])
    s.q[position] = value
    move_to(p, s, s.first)
    if s.count == 0:
        return gram_of(p, s, s.q, s.gram)
    # What is asked for is the loss alone: parameters need not be as close as in a fit.
    outcome = minimise(p, s, max(limits.tolerance, 1e-8), limits.first_limit, 1.0, False, False)
    return outcome.loss if outcome.status == CONVERGED else math.nan


@inner
def _end(
    p: Problem,
    s: State,
    side: float,
    best: float,
    rise: float,
    error: float,
    j: int,
    limits: Limits,
    whole: State,
) -> float:
    """One end of an interval.

    The root of the rise is nearly linear in the parameter, so that a secant on it needs few points.

    Returns
    -------
    float
        The bound where the loss does not rise so far before; an infinity where it never does; NaN where a lower minimum
        or none is found.
    """
    centre = whole.q[whole.rows[j]]
    edge = whole.upper[j] if side > 0.0 else whole.lower[j]
    target = math.sqrt(rise)
    inner_, inner_root = 0.0, 0.0
    outer, outer_root = math.inf, math.inf
    distance = error * target
    for k in range(whole.parameters):
        s.q[k] = whole.q[k]
    before = 0.0
    for _ in range(_TRIALS):
        value = centre + side * distance
        beyond = value >= edge if side > 0.0 else value <= edge
        if beyond:
            value = edge
            distance = abs(edge - centre)
        # The others go along to first order.
        row = 0
        for k in range(whole.count):
            if k != j:
                s.q[s.rows[row]] += side * (distance - before) * whole.step[k]
                row += 1
        before = distance
        loss = _loss_with(p, s, value, whole.rows[j], limits)
        if not math.isfinite(loss) or loss < best - 1e-3 * rise:
            return math.nan
        root = math.sqrt(max(loss - best, 0.0))
        if abs(root - target) <= _CLOSE * target:
            return value
        if root < target:
            if beyond:
                return edge
            inner_, inner_root = distance, root
        else:
            outer, outer_root = distance, root
        if outer - inner_ <= 1e-12 * abs(centre):
            return value
        if math.isinf(outer):
            distance = distance * min(max(target / root, 1.2), 10.0) if root > 0.0 else 10.0 * distance
            if not distance < 1e8 * error * target:
                return side * math.inf
        else:
            distance = inner_ + (target - inner_root) * (outer - inner_) / (outer_root - inner_root)
            width = outer - inner_
            distance = min(max(distance, inner_ + 0.02 * width), outer - 0.02 * width)
    return centre + side * distance


@entry
def profile_pixels(
    p: Problem,
    whole: State,
    s: State,
    block: Block,
    response: RealTable,
    wanted: Integers,
    pixels: Integers,
    factors: RealTable,
    limits: Limits,
    edges: RealBlock,
) -> None:
    """Find both ends of the intervals of some free parameters, starting at the solutions.

    Parameters
    ----------
    whole, s : State
        For all free parameters, and for all but one.
    wanted : int64 (n_wanted,)
        Which of the free parameters, counted among these; -1 for what is not free, whose ends stay as they are.
    factors : float64 (n_levels, largest number of degrees of freedom + 1)
        By how much the loss rises at the ends: in units of the loss over the degrees of freedom where errors are
        scaled, by which it is chosen.
    edges : float64 (n_pixels, n_levels, n_wanted, 2)
        Filled; comes filled with NaN.
    """
    for i in pixels:
        if not prepare_with_response(p, whole, block, response, i):
            continue
        outcome = minimise(p, whole, limits.tolerance, limits.first_limit, 1.0, False, False)
        dof = int(block.out[i, scalars_at(whole.parameters) + DOF])
        if outcome.status != CONVERGED or dof < 1:
            continue
        loss = gram_of(p, whole, whole.q, whole.gram)
        for place in range(wanted.size):
            j = wanted[place]
            if j < 0:
                continue
            _without(j, whole, s)
            error = _direction(j, whole)
            if math.isnan(error):
                continue
            for level in range(factors.shape[0]):
                rise = factors[level, dof] * (loss / dof if limits.scale_covariance else 1.0)
                for side in range(2):
                    edges[i, level, place, side] = _end(p, s, 2.0 * side - 1.0, loss, rise, error, j, limits, whole)
