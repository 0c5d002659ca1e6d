"""Levenberg-Marquardt for one pixel: the least-squares engine, compiled once for all models.

The method is More's trust region (Lecture Notes in Mathematics 630, 105 (1978), doi:10.1007/BFb0067700): a full
Gauss-Newton step where it stays inside the region, else one damped until it does, lengths being measured in units of the
running maximum of the column norms. Bounds are an active set inside each step. A fit that takes long is in a narrow curved
valley: from then on steps are bent by their geodesic acceleration (`xfit.engine.pixel.geodesic`). It stops
where the estimated distance to the minimum, the decrease of the sum of squares that a Gauss-Newton step promises, is a
small fraction of the residual variance. That last step counts with the rate at which the distance fell before; where it is so
short that the quadratic model holds, it is taken without another evaluation.
"""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.elementary import square
from xfit.engine.math.jit import inlined, inner
from xfit.engine.math.layout import LINEAR, STARTING
from xfit.engine.pixel.amplitudes import EVALUATE, UNCHANGED, relax
from xfit.engine.pixel.evaluate import Spectrum, Structure, sum_of_squares
from xfit.engine.pixel.extrapolation import extrapolate
from xfit.engine.pixel.geodesic import bend_step
from xfit.engine.pixel.loss_functions import LEAST_SQUARES, POISSON
from xfit.engine.pixel.single_steps import STEPS_ALONE, let_go, step_alone, step_from_bound, step_from_kink
from xfit.engine.pixel.status import CONVERGED, MAX_NFEV, NONFINITE_DERIVATIVE, NONFINITE_MODEL, SINGULAR, STALLED
from xfit.engine.pixel.steps import (
    AT_LOWER,
    AT_UPPER,
    FLAT,
    FREE,
    RANK,
    SHORT,
    SMALL_CHANGE,
    SMALL_MOVE,
    SMALLEST_PIVOT,
    STATIONARY,
    bounded_step,
    is_stationary,
    predicted_decrease,
    scale_of,
    solve_cholesky,
)
from xfit.engine.pixel.tie_machine import Ties, apply_ties
from xfit.engine.pixel.workspace import STOP, UNKNOWN, Outcome, Workspace, factorise, gram_of, length_of

#: First radius of the trust region of each attempt, in units of the start's length. A fit that fails is tried again
#: with shorter first steps.
RADII = (1.0, 0.1)

#: Model evaluations after which steps follow the valley's curvature, which costs two more evaluations each.
PATIENCE = 20

EPS = 2.220446049250313e-16

#: Part of the deviations that the first step may change at least, however small the parameters and their influence.
SMALLEST_RADIUS = 1e-3

#: Rounding of the sum of squares that may be left where a fit ends, in units of the squares of the rounding of data and parameters.
ROUNDING = 100.0

#: How often in a fit parameters are tried alone where steps of all together led nowhere.
ALONE = 20

#: Part of the first sum of squares that is nothing.
NOTHING = 1e-40

#: Damping, relative to the weights, from which on columns that depend on each other give a step.
SMALLEST_DAMPING = 1e-11

#: How often in a fit steps may stop short of bounds where other parameters would lose their influence, and by what part of the way.
STOPS, STOP_AT = 3, 0.9

#: And how often in an attempt that keeps away from bounds.
STOPS_INSIDE = 12

#: Part of its influence that a parameter must not lose by a step to a bound.
SMALLEST_REST = 1e-9

#: Least decrease, in units of the residual variance, for which a parameter leaves a kink: a hundredth of a standard error. The minimum may
#: lie where kinks of several parameters meet, to which single ones lead ever more slowly.
LEAST_AT_KINK = 1e-4

#: Part of what the best amplitudes promise at the start that the loss of counts, which is not quadratic in them, must have fallen by.
PROMISED = 0.5


@inlined
def _solve(by_qr: bool, count: int, damping: float, ws: Workspace) -> float:
    """Step from the current point with the given damping, into ``ws.step``."""
    return bounded_step(
        ws.gram,
        ws.jacobian,
        by_qr,
        count,
        ws.norm,
        ws.bent,
        damping,
        ws.weight,
        ws.theta,
        ws.lower,
        ws.upper,
        ws.state,
        ws.chosen,
        ws.work,
        ws.step,
    )


@inlined
def _move(count: int, ties: Ties, ws: Workspace, q: np.ndarray) -> None:
    """Set ``q`` to the point that the step leads to; what is held at a bound lies on it exactly."""
    for j in range(count):
        value = ws.theta[j] + ws.step[j]
        if ws.state[j] == AT_LOWER:
            value = ws.lower[j]
        elif ws.state[j] == AT_UPPER:
            value = ws.upper[j]
        q[ws.rows[j]] = min(max(value, ws.lower[j]), ws.upper[j])
    apply_ties(ties, q, ws.stack)


@inner
def move_to(theta: np.ndarray, ties: Ties, ws: Workspace) -> None:
    """Set ``ws.q`` to values of the free parameters and what is tied to them."""
    for j in range(theta.size):
        ws.q[ws.rows[j]] = theta[j]
    apply_ties(ties, ws.q, ws.stack)


@inlined
def _take(count: int, q: np.ndarray, ws: Workspace) -> None:
    """Make ``q`` the current point."""
    for k in range(q.size):
        ws.q[k] = q[k]
    for j in range(count):
        ws.theta[j] = q[ws.rows[j]]


@inlined
def _accept(count: int, project: bool, ws: Workspace) -> None:
    """Make the trial point, with its Gram matrix, the current one."""
    for j in range(count):
        ws.moved[j] = abs(ws.trial[ws.rows[j]] - ws.theta[j])
    _take(count, ws.trial, ws)
    for i in range(count + 1):
        for j in range(i + 1):
            ws.gram[i, j] = ws.gram_trial[i, j]
    _rescale(count, project, ws)


@inlined
def _rescale(count: int, project: bool, ws: Workspace) -> None:
    """Column norms at the current point, and their running maximum as the damping's weight.

    Amplitudes that follow the shapes are not damped (Ruhe and Wedin, SIAM Rev. 22, 318 (1980), doi:10.1137/1022057).
    """
    scale_of(ws.gram, count, ws.norm)
    for j in range(count):
        ws.weight[j] = max(ws.weight[j], ws.norm[j])
        if project and ws.code[j] == LINEAR:
            ws.weight[j] = 0.0


@inlined
def _any_flat(count: int, ws: Workspace) -> bool:
    """Whether a free parameter has no influence on the model here."""
    for j in range(count):
        if ws.state[j] == FLAT:
            return True
    return False


@inner
def damped_or_not(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    count: int,
    damping: float,
    factorised: bool,
    ws: Workspace,
) -> tuple[bool, bool, bool]:
    """Solve by Cholesky and, where that is too ill-conditioned, by QR of the Jacobian.

    Returns
    -------
    solved : bool
        False where even the Jacobian's columns are dependent at this damping.
    by_qr : bool
        Which of the two gave the step.
    factorised : bool
        Whether ``ws.jacobian`` now holds the triangular factor of the current point.
    """
    if _solve(False, count, damping, ws) > SMALLEST_PIVOT:
        return True, False, factorised
    if not factorised:
        factorise(structure, ties, x, spectrum, count, ws)
    return _solve(True, count, damping, ws) > RANK, True, True


@inlined
def _steepest(count: int, ws: Workspace) -> float:
    """Length of the gradient in the same units: over the radius, it bounds the damping from above."""
    total = 0.0
    for j in range(count):
        if ws.weight[j] > 0.0:
            total += square(ws.gram[count, j] / ws.weight[j])
    return math.sqrt(total)


@inner
def _damped_step(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    count: int,
    radius: float,
    longest: float,
    damping: float,
    factorised: bool,
    ws: Workspace,
) -> tuple[float, bool, bool]:
    """Find the damping at which the step is as long as the radius, to a tenth; leave the step in ``ws.step``.

    The inverse of the step's length is nearly linear in the damping (Hebden's observation, see More 1978), so that a secant
    on it needs two or three solutions.

    Parameters
    ----------
    longest : float
        Length of the undamped step, infinite where there is none.
    damping : float
        Where to begin to search.

    Returns
    -------
    damping : float
    by_qr, factorised : bool
        As in `damped_or_not`.
    """
    high = _steepest(count, ws) / radius
    low, at_low = 0.0, longest
    damping = min(max(damping, 1e-3 * high), high)
    by_qr = False
    for _ in range(12):
        solved, by_qr, factorised = damped_or_not(structure, ties, x, spectrum, count, damping, factorised, ws)
        if not solved:
            # Columns that depend on each other: so little damping does not tell them apart.
            damping = max(100 * damping, SMALLEST_DAMPING)
            high = max(high, damping)
            continue
        length = length_of(count, ws.step, ws)
        if abs(length - radius) <= 0.1 * radius or length == at_low or length == 0.0:
            break
        secant = low + (1 / radius - 1 / at_low) * (damping - low) / (1 / length - 1 / at_low)
        if length < radius:
            high = min(high, damping)
        else:
            low, at_low = damping, length
        damping = min(max(secant, 1e-3 * high, 1.0001 * low), high)
    return damping, by_qr, factorised


@inlined
def _relaxed(count: int, gram: np.ndarray, start: bool, project: bool, ws: Workspace) -> int:
    """Set the amplitudes of the trial point to their best values; see `xfit.engine.pixel.amplitudes`."""
    scale_of(gram, count, ws.norm_trial)
    for j in range(count):
        ws.theta_trial[j] = ws.trial[ws.rows[j]]
    outcome = UNCHANGED
    for begin in (True, False):
        # At a start that is no mere guess, as at any other point.
        if outcome == UNCHANGED and (start or not begin):
            outcome = relax(
                gram, count, ws.code, ws.theta_trial, ws.theta, ws.lower, ws.upper, ws.norm_trial, ws.state_trial,
                ws.chosen, ws.work, ws.bend, begin, project,
            )  # fmt: skip
    if outcome != UNCHANGED:
        for j in range(count):
            ws.trial[ws.rows[j]] = ws.theta_trial[j]
    return outcome


@inner
def _promise_of_amplitudes(count: int, ws: Workspace) -> float:
    """By how much the best amplitudes would lower the loss at the trial point, without bounds; zero where they can't be told apart."""
    gram, state, change = ws.gram_trial, ws.state_trial, ws.bend
    scale_of(gram, count, ws.norm_trial)
    for j in range(count):
        change[j] = 0.0
        amplitude = ws.code[j] == LINEAR or ws.code[j] == STARTING
        state[j] = FREE if amplitude and ws.norm_trial[j] > 0.0 else AT_LOWER
    quality = solve_cholesky(gram, count, ws.norm_trial, 0.0, ws.norm_trial, state, ws.chosen, ws.work, change)
    decrease = 0.0
    shapes = 0
    for j in range(count):
        decrease += change[j] * gram[count, j]
        shapes += 1 if state[j] != FREE else 0
    return decrease if shapes > 0 and quality > SMALLEST_PIVOT else 0.0


@inner
def _evaluate_trial(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    count: int,
    start: bool,
    project: bool,
    ws: Workspace,
) -> tuple[float, int]:
    """Sum of squares and Gram matrix at the trial point, its amplitudes set to their best values.

    Parameters
    ----------
    start : bool
        Whether it is the first point, the current one. What makes it worse there is undone, and ``ws.claim`` becomes the loss that the
        best amplitudes would have there: a fit must not end above it.

    Returns
    -------
    chisq : float
        Infinite where a derivative is not known, but at the start.
    evaluations : int
    """
    before = gram_of(structure, ties, x, spectrum, count, ws.trial, ws, ws.gram_trial)
    if not math.isfinite(before):
        return before, 1
    if ws.flags[UNKNOWN] != 0:
        return before if start else math.inf, 1
    if start:
        promise = _promise_of_amplitudes(count, ws)
        kind = spectrum.deviations.loss.kind
        share = 1.0 if kind == LEAST_SQUARES else PROMISED
        # What robust losses promise is no measure of what they hold: only a fit of the amplitudes tells.
        robust = kind != LEAST_SQUARES and kind != POISSON
        ws.claim[0] = -math.inf if robust and promise > 0.0 else before - share * promise
    if _relaxed(count, ws.gram_trial, start, project, ws) != EVALUATE:
        return ws.gram_trial[count, count], 1
    chisq = gram_of(structure, ties, x, spectrum, count, ws.trial, ws, ws.gram_trial)
    known = ws.flags[UNKNOWN] == 0
    if known and (not start or chisq <= before):
        return chisq, 2
    if not start:
        return math.inf, 2
    for k in range(ws.q.size):
        ws.trial[k] = ws.q[k]
    return gram_of(structure, ties, x, spectrum, count, ws.trial, ws, ws.gram_trial), 3


@inlined
def _ends_here(count: int, least: float, ws: Workspace) -> bool:
    """Whether no parameter promises more than the decrease ``least`` at the current point."""
    return is_stationary(ws.gram, count, ws.norm, ws.theta, ws.lower, ws.upper, ws.state, least)


@inner
def _rounding(count: int, ws: Workspace) -> float:
    """What rounding the parameters to their last digit does to the sum of squares where nothing else is left of it."""
    total = 0.0
    for j in range(count):
        total += square(ws.norm[j] * ws.theta[j])
    return EPS * EPS * total


@inlined
def _forget_weights(count: int, project: bool, ws: Workspace) -> None:
    """Let the weights of the damping be those of the current point."""
    for j in range(count):
        ws.weight[j] = 0.0
    _rescale(count, project, ws)


@inner
def _stops_short(count: int, ties: Ties, inside: bool, ws: Workspace) -> bool:
    """Move a trial point back from bounds that the step has taken parameters to, if others have lost their influence there.

    An amplitude of zero takes the influence of its shape, which could never move again. Where ``inside``, in any case.
    """
    lost = inside
    for j in range(count):
        at_bound = ws.state[j] == AT_LOWER or ws.state[j] == AT_UPPER
        rest = ws.gram_trial[j, j]
        lost = lost or (not at_bound and ws.norm[j] > 0.0 and rest < square(SMALLEST_REST * ws.norm[j]))
    moved = False
    if lost:
        for j in range(count):
            bound = ws.lower[j] if ws.state[j] == AT_LOWER else ws.upper[j]
            if (ws.state[j] == AT_LOWER or ws.state[j] == AT_UPPER) and ws.theta[j] != bound:
                ws.trial[ws.rows[j]] = ws.theta[j] + STOP_AT * (bound - ws.theta[j])
                moved = True
    if moved:
        apply_ties(ties, ws.trial, ws.stack)
    return moved


@inner
def _is_short(count: int, variance: float, ws: Workspace) -> bool:
    """Whether the quadratic model can be trusted at the end of the step, so that it need not be evaluated there.

    Parameters
    ----------
    variance : float
        Sum of squares over the degrees of freedom.
    """
    total = 0.0
    for j in range(count):
        step = abs(ws.step[j])
        total += square(max(ws.weight[j], ws.norm[j]) * step)
        if ws.bent[j] > 0.0 and step > SMALL_CHANGE * abs(ws.theta[j]) and step > SMALL_MOVE * ws.moved[j]:
            return False
    return total <= SHORT * variance


@inner
def _new_radius(radius: float, length: float, damping: float, gain: float, actual: float, slope: float) -> float:
    """Radius of the trust region after a step, by MINPACK's rules.

    Parameters
    ----------
    length : float
        Length of the step.
    gain, actual, slope : float
        Actual over predicted decrease; the actual decrease and the step's directional derivative, both relative to the sum
        of squares.
    """
    if gain <= 0.25:
        shrink = 0.5
        if actual < 0.0:
            shrink = -0.5 * slope / (-slope + 0.5 * actual) if math.isfinite(actual) else 0.1
            shrink = min(max(shrink, 0.1), 0.5)
        return shrink * min(radius, 10 * length)
    if damping == 0.0 or gain >= 0.75:
        return 2 * length
    return radius


@inner
def _minimise_from(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    count: int,
    tolerance: float,
    max_nfev: int,
    reach: float,
    inside: bool,
    project: bool,
    ws: Workspace,
) -> Outcome:
    """Minimise; see `minimise_from`, but that parameters at kinks stay held."""
    for j in range(count):
        ws.weight[j] = 0.0
        ws.state[j] = FREE
    for k in range(ws.q.size):
        ws.trial[k] = ws.q[k]
    _take(count, ws.q, ws)
    chisq, nfev = _evaluate_trial(structure, ties, x, spectrum, count, True, project, ws)
    if not math.isfinite(chisq):
        return Outcome(NONFINITE_MODEL, chisq, nfev, False)
    if ws.flags[UNKNOWN] != 0:
        return Outcome(NONFINITE_DERIVATIVE, chisq, nfev, False)
    _accept(count, project, ws)
    for j in range(count):
        ws.moved[j] = 0.0
    chisq_at_start = chisq
    dof = max(spectrum.used - count, 1)
    floor = EPS * EPS * sum_of_squares(spectrum.y)
    radius = reach * max(length_of(count, ws.theta, ws), SMALLEST_RADIUS * math.sqrt(chisq))
    if radius == 0.0 or length_of(count, ws.theta, ws) == 0.0:
        radius = reach * math.sqrt(max(chisq, floor)) if chisq > 0.0 else reach
    damping = 0.0
    promise = math.inf
    fall_before = 1.0
    full_steps = 0
    approximate = spectrum.deviations.loss.kind != LEAST_SQUARES
    factorised = False
    first = True
    stops, releases = STOPS_INSIDE if inside else STOPS, count
    begun_again = False
    alone, at_kinks = ALONE, 0
    while True:
        solved, by_qr, factorised = damped_or_not(structure, ties, x, spectrum, count, 0.0, factorised, ws)
        length = length_of(count, ws.step, ws) if solved else math.inf
        backwards = False
        variance = (chisq + floor) / dof
        enough = max(tolerance * variance, 4 * EPS * chisq) + floor
        loose = max(1e-6 * chisq / dof, enough)
        least = max(STATIONARY * STATIONARY * chisq, 4 * EPS * chisq) + ROUNDING * (floor + _rounding(count, ws))
        near = False
        slope = decrease = 0.0
        if solved:
            slope, decrease = predicted_decrease(ws.gram, ws.jacobian, by_qr, count, ws.step)
            # After a full step the promise falls by about the factor that it fell by the last two times.
            fall = decrease / promise if full_steps >= 1 else 1.0
            rate = min(max(fall, fall_before), 1.0)
            promise, fall_before = decrease, fall
            stationary = is_stationary(
                ws.gram, count, ws.norm, ws.theta, ws.lower, ws.upper, ws.state, loose
            )  # fmt: skip
            near = stationary and abs(decrease) <= loose
            if decrease < -enough:
                # Cut off at bounds, a step may lead upwards: only a shorter one is to be trusted.
                backwards = True
                radius = 0.5 * min(radius, length)
                length = math.inf
            else:
                left = decrease
                if approximate and extrapolate(count, full_steps >= 1 and not by_qr, ws):
                    length = length_of(count, ws.step, ws)
                    slope, decrease = predicted_decrease(ws.gram, ws.jacobian, by_qr, count, ws.step)
                short = _is_short(count, variance, ws)
                if near and left * rate <= enough and (short or left <= least):
                    flat = _any_flat(count, ws)
                    if releases > 0 and not flat and nfev + count <= max_nfev:
                        releases -= 1
                        lower, evaluations = step_from_bound(structure, ties, x, spectrum, count, chisq, ws)
                        nfev += evaluations
                        if lower < chisq:
                            chisq = lower
                            _accept(count, project, ws)
                            promise, fall_before, full_steps, factorised = math.inf, 1.0, 0, False
                            radius = max(radius, length_of(count, ws.moved, ws))
                            continue
                    if at_kinks > 0 and nfev + STEPS_ALONE * at_kinks <= max_nfev:
                        lower, evaluations = step_from_kink(
                            structure, ties, x, spectrum, count, chisq, max(least, LEAST_AT_KINK * variance), ws
                        )
                        nfev += evaluations
                        if lower < chisq:
                            chisq = lower
                            at_kinks -= 1
                            _accept(count, project, ws)
                            promise, fall_before, full_steps, factorised = math.inf, 1.0, 0, False
                            radius = max(radius, length_of(count, ws.moved, ws))
                            continue
                    if short:
                        _move(count, ties, ws, ws.trial)
                        _take(count, ws.trial, ws)
                        chisq = max(chisq - max(left, 0.0), 0.0)
                    return Outcome(SINGULAR if flat else CONVERGED, chisq, nfev, by_qr)
        if nfev >= max_nfev or ws.flags[STOP] != 0:
            return Outcome(MAX_NFEV, chisq, nfev, by_qr)
        if length <= 1.1 * radius:
            damping = 0.0
        else:
            damping, by_qr, factorised = _damped_step(
                structure, ties, x, spectrum, count, radius, length, damping, factorised, ws
            )
            length = length_of(count, ws.step, ws)
            slope, decrease = predicted_decrease(ws.gram, ws.jacobian, by_qr, count, ws.step)
            if not solved and abs(decrease) <= enough and _ends_here(count, least, ws):
                return Outcome(SINGULAR, chisq, nfev, by_qr)
        if first:
            radius = min(radius, length)
            first = False
        if PATIENCE <= nfev < max_nfev - 2 and not approximate:
            bend_step(structure, ties, x, spectrum, count, damping, by_qr, ws)
            nfev += 2
        for k in range(ws.q.size):
            ws.trial[k] = ws.q[k]
        _move(count, ties, ws, ws.trial)
        trial, evaluations = _evaluate_trial(structure, ties, x, spectrum, count, False, project, ws)
        nfev += evaluations
        if stops > 0 and nfev < max_nfev and math.isfinite(trial) and _stops_short(count, ties, inside, ws):
            stops -= 1
            trial, evaluations = _evaluate_trial(structure, ties, x, spectrum, count, False, project, ws)
            nfev += evaluations
        actual = chisq - trial if math.isfinite(trial) else -math.inf
        gain = actual / decrease if decrease > 0.0 else -1.0
        if (abs(decrease) <= 1e-13 * chisq or not radius > 0.0) and gain <= 1e-4:
            # Below rounding, or next to what is not finite: the sum of squares can't tell any more which way leads down.
            if near or chisq <= NOTHING * chisq_at_start or _ends_here(count, least, ws):
                status = CONVERGED if solved and not backwards and not _any_flat(count, ws) else SINGULAR
                return Outcome(status, chisq, nfev, by_qr)
            if begun_again:
                if not solved or backwards or alone == 0 or nfev + STEPS_ALONE * count > max_nfev:
                    return Outcome(STALLED, chisq, nfev, by_qr)
                alone -= 1
                lower, held, evaluations, finite = step_alone(structure, ties, x, spectrum, count, chisq, least, ws)
                nfev += evaluations
                if not finite or _any_flat(count, ws) or (lower == chisq and held == 0):
                    return Outcome(STALLED, chisq, nfev, by_qr)
                at_kinks += held
                if lower < chisq:
                    chisq = lower
                    _accept(count, project, ws)
                    radius = length_of(count, ws.moved, ws)
                else:
                    begun_again = False
                    _forget_weights(count, project, ws)
                    radius = max(length_of(count, ws.theta, ws), math.sqrt(chisq))
                promise, fall_before, full_steps, factorised = math.inf, 1.0, 0, False
                continue
            begun_again = True
            _forget_weights(count, project, ws)
            radius = max(length_of(count, ws.theta, ws), math.sqrt(chisq))
            continue
        radius = _new_radius(radius, length, damping, gain, actual / chisq, slope / chisq)
        if gain > 1e-4:
            full_steps = full_steps + 1 if damping == 0.0 else 0
            chisq = trial
            _accept(count, project, ws)
            factorised = False


@inner
def minimise_from(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    count: int,
    tolerance: float,
    max_nfev: int,
    reach: float,
    inside: bool,
    project: bool,
    ws: Workspace,
) -> Outcome:
    """Minimise from ``ws.q``; the solution is left there, its Gram matrix and state beside it.

    Parameters
    ----------
    count : int
        Number of free parameters; their positions and bounds are in ``ws``.
    tolerance : float
        Estimated distance to the minimum, in units of the residual variance, at which to stop.
    max_nfev : int
        Model evaluations at which to stop.
    reach : float
        First radius of the trust region, in units of the start's length.
    inside : bool
        Whether steps that would end on bounds stop short of them at first.
    project : bool
        Whether amplitudes follow the shapes at every point (Golub and Pereyra's variable projection).
    """
    for j in range(count):
        ws.apart[0, j] = math.nan
    outcome = _minimise_from(
        structure, ties, x, spectrum, count, tolerance, max_nfev, reach, inside, project, ws
    )  # fmt: skip
    let_go(count, ws)
    return outcome
