"""Intervals from the profile of the loss: where it has risen by a given amount, all other parameters following."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.jit import entry, inner
from xfit.engine.pixel.evaluate import Spectrum, Structure
from xfit.engine.pixel.levenberg_marquardt import minimise_from, move_to
from xfit.engine.pixel.packed_row import DOF, scalars_at
from xfit.engine.pixel.rows import Block, Buffer, Limits, prepare, row_of, spectrum_of
from xfit.engine.pixel.status import CONVERGED
from xfit.engine.pixel.steps import FREE, SMALLEST_PIVOT, scale_of, solve_cholesky
from xfit.engine.pixel.tie_machine import Ties
from xfit.engine.pixel.whole_axis import set_response
from xfit.engine.pixel.workspace import Workspace, gram_of

#: How closely the root of the rise is met, relative to what is asked for: in units of the standard error.
_CLOSE = 1e-5

#: Points of the profile that are tried for each end.
_TRIALS = 40


@inner
def _without(free: np.ndarray, j: int, whole: Workspace, ws: Workspace) -> None:
    """Set up the search for all free parameters but number ``j``."""
    at = 0
    for k in range(free.size):
        if k != j:
            ws.rows[at] = free[k]
            ws.lower[at], ws.upper[at] = whole.lower[k], whole.upper[k]
            at += 1
    for k in range(at, at + 4):
        ws.rows[k] = whole.q.size


@inner
def _direction(j: int, count: int, whole: Workspace) -> float:
    """How all parameters follow number ``j`` to first order, into ``whole.step``; return the standard error of unit variance."""
    for k in range(count):
        whole.state[k] = FREE
        whole.step[k] = 0.0
        whole.bend[k] = whole.gram[count, k]
        whole.gram[count, k] = 1.0 if k == j else 0.0
    quality = solve_cholesky(
        whole.gram, count, whole.norm, 0.0, whole.norm, whole.state, whole.chosen, whole.work, whole.step
    )
    for k in range(count):
        whole.gram[count, k] = whole.bend[k]
    variance = whole.step[j]
    if quality < SMALLEST_PIVOT or not variance > 0.0:
        return math.nan
    for k in range(count):
        whole.step[k] /= variance
    return math.sqrt(variance)


@inner
def _loss_with(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    value: float,
    j: int,
    free: np.ndarray,
    limits: Limits,
    whole: Workspace,
    ws: Workspace,
) -> float:
    """Lowest loss with parameter number ``j`` at ``value``, from where the others are in ``ws.q``; NaN where it is not found."""
    count = free.size - 1
    for k in range(count):
        ws.first[k] = min(max(ws.q[ws.rows[k]], ws.lower[k]), ws.upper[k])
    ws.q[free[j]] = value
    move_to(ws.first[:count], ties, ws)
    if count == 0:
        return gram_of(structure, ties, x, spectrum, 0, ws.q, ws, ws.gram)
    # What is asked for is the loss alone: parameters need not be as close as in a fit.
    outcome = minimise_from(
        structure, ties, x, spectrum, count, max(limits.tolerance, 1e-8), limits.first_limit, 1.0, False, False, ws
    )  # fmt: skip
    return outcome.loss if outcome.status == CONVERGED else math.nan


@inner
def _end(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    side: float,
    best: float,
    rise: float,
    error: float,
    j: int,
    free: np.ndarray,
    limits: Limits,
    whole: Workspace,
    ws: Workspace,
) -> float:
    """One end of an interval.

    The root of the rise is nearly linear in the parameter, so that a secant on it needs few points.

    Returns
    -------
    float
        The bound where the loss does not rise so far before; an infinity where it never does; NaN where a lower minimum or none is
        found.
    """
    centre = whole.theta[j]
    edge = whole.upper[j] if side > 0.0 else whole.lower[j]
    target = math.sqrt(rise)
    inner_, inner_root = 0.0, 0.0
    outer, outer_root = math.inf, math.inf
    distance = error * target
    for k in range(whole.q.size):
        ws.q[k] = whole.q[k]
    before = 0.0
    for _ in range(_TRIALS):
        value = centre + side * distance
        beyond = value >= edge if side > 0.0 else value <= edge
        if beyond:
            value = edge
            distance = abs(edge - centre)
        # The others go along to first order.
        at = 0
        for k in range(free.size):
            if k != j:
                ws.q[ws.rows[at]] += side * (distance - before) * whole.step[k]
                at += 1
        before = distance
        loss = _loss_with(structure, ties, x, spectrum, value, j, free, limits, whole, ws)
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
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    block: Block,
    response: np.ndarray,
    free: np.ndarray,
    wanted: np.ndarray,
    pixels: np.ndarray,
    factors: np.ndarray,
    limits: Limits,
    buffer: Buffer,
    whole: Workspace,
    ws: Workspace,
    edges: np.ndarray,
) -> None:
    """Find both ends of the intervals of some free parameters, starting at the solutions.

    Parameters
    ----------
    wanted : int64 (n_wanted,)
        Which of the free parameters, counted among these; -1 for what is not free, whose ends stay as they are.
    factors : float64 (n_levels, largest number of degrees of freedom + 1)
        By how much the loss rises at the ends: in units of the loss over the degrees of freedom where errors are scaled, by which it
        is chosen.
    whole, ws : Workspace
        For all free parameters, and for all but one.
    edges : float64 (n_pixels, n_levels, n_wanted, 2)
        Filled; comes filled with NaN.
    """
    count = free.size
    for i in pixels:
        ready, plain, used, smallest = prepare(block, i, ties, free, limits.loss, buffer, whole)
        row = row_of(response, i)
        if not ready:
            continue
        if structure.plan.size > 0 and not set_response(structure.plan, structure.numbers, response[row], row):
            continue
        spectrum = spectrum_of(block, plain, used, smallest, limits.loss, buffer)
        outcome = minimise_from(
            structure, ties, x, spectrum, count, limits.tolerance, limits.first_limit, 1.0, False, False, whole
        )  # fmt: skip
        dof = int(block.out[i, scalars_at(whole.q.size) + DOF])
        if outcome.status != CONVERGED or dof < 1:
            continue
        loss = gram_of(structure, ties, x, spectrum, count, whole.q, whole, whole.gram)
        for k in range(count):
            whole.theta[k] = whole.q[free[k]]
        scale_of(whole.gram, count, whole.norm)
        for place in range(wanted.size):
            j = wanted[place]
            if j < 0:
                continue
            _without(free, j, whole, ws)
            error = _direction(j, count, whole)
            if math.isnan(error):
                continue
            for level in range(factors.shape[0]):
                rise = factors[level, dof] * (loss / dof if limits.scale_covariance else 1.0)
                for side in range(2):
                    edges[i, level, place, side] = _end(
                        structure, ties, x, spectrum, 2.0 * side - 1.0, loss, rise, error, j, free, limits, whole, ws
                    )  # fmt: skip
