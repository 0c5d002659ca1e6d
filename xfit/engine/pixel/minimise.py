"""The fit of one pixel from one start, with all the care that the engine has.

A fit that takes long is in a narrow curved valley: from then on steps are bent by their geodesic acceleration. What
lies at a bound or at a kink where the others would end is let go of; a step to a bound that would take another
parameter its influence stops short of it.
"""

from __future__ import annotations

import math

from xfit.engine.evaluation.evaluate import gram_of, tie_point
from xfit.engine.evaluation.gram import sum_of_squares
from xfit.engine.evaluation.loss_functions import CUSTOM, LEAST_SQUARES, POISSON, SMALLEST_CURVATURE
from xfit.engine.evaluation.state import (
    AT_LOWER,
    CHISQ,
    CLAIM,
    DAMPING,
    DECREASE,
    DEGREES,
    FALL,
    FLOOR,
    FREE,
    FULL,
    LENGTH,
    NFEV,
    PROMISE,
    RADIUS,
    SLOPE,
    STOP,
    UNKNOWN,
    Outcome,
    Problem,
    State,
)
from xfit.engine.lm.amplitudes import follow, promise_of_best, relax
from xfit.engine.lm.extrapolation import extrapolate
from xfit.engine.lm.geodesic import bend_step
from xfit.engine.lm.qr import solve
from xfit.engine.lm.single_steps import STEPS_ALONE, at_bound, let_go, step_alone, step_from_bound, step_from_kink
from xfit.engine.lm.steps import accept, any_flat, is_short, is_stationary, length_of, length_of_point, move, rescale
from xfit.engine.lm.trust_region import (
    EPS,
    GAIN,
    PATIENCE,
    PROMISED,
    UNRESOLVED,
    count_full,
    enough_of,
    falling,
    first_radius,
    gain_of,
    least_of,
    new_radius,
    note_step,
    search_damping,
    variance_of,
)
from xfit.engine.math.cholesky import at
from xfit.engine.math.entries import apart
from xfit.engine.math.jit import inner
from xfit.engine.pixel.status import CONVERGED, MAX_NFEV, NONFINITE_DERIVATIVE, NONFINITE_MODEL, SINGULAR, STALLED

#: How many bent steps more may gain less than this part of what they promise than gain more, before steps are bent no
#: more: it is not the curvature of the valley then that makes them short, and each costs two evaluations.
BENDS, GOOD = 12, 0.75

#: How often amplitudes are set to their best values at a trial point by a robust loss, where that lowers it by more
#: than this part of what the step promises.
CORRECTIONS, LEAST_CORRECTED = 4, 0.1

#: How often in a fit parameters are tried alone where steps of all together led nowhere.
ALONE = 20

#: Part of the first sum of squares that is nothing.
NOTHING = 1e-40

#: How often in a fit steps may stop short of bounds where other parameters would lose their influence, and by what part
#: of the way.
STOPS, STOP_AT = 3, 0.9

#: And how often in an attempt that keeps away from bounds.
STOPS_INSIDE = 12

#: Part of its influence, as a square, that a parameter must not lose by a step to a bound.
SMALLEST_REST = 1e-18

#: Least decrease, in units of the residual variance, for which a parameter leaves a kink: a hundredth of a standard
#: error. The minimum may lie where kinks of several parameters meet, to which single ones lead ever more slowly.
LEAST_AT_KINK = 1e-4


@inner
def _relaxed(p: Problem, s: State, start: bool, project: bool) -> bool:
    """Set the amplitudes of the trial point to their best values; return whether it must be evaluated again."""
    moved = again = False
    # Of losses other than least squares all that follow the shapes count as amplitudes of a start.
    nearly = project and s.kind != LEAST_SQUARES
    for first in (True, False):
        # At a start that is no mere guess, as at any other point.
        if not moved and (start or nearly or not first):
            if project:
                moved, again = follow(s, s.gram_trial, first)
            else:
                moved, again = relax(s, s.gram_trial, True, first)
    if moved:
        tie_point(p, s, s.trial)
    return again


@inner
def _evaluate_trial(p: Problem, s: State, start: bool, project: bool) -> float:
    """Loss and Gram matrix at the trial point, its amplitudes set to their best values.

    Parameters
    ----------
    start : bool
        Whether it is the first point, the current one. What makes it worse there is undone, and ``s.known[CLAIM]``
        becomes the loss that the best amplitudes would have there: a fit must not end above it.

    Returns
    -------
    float
        Infinite where a derivative is not known, but at the start.
    """
    last = at(s.count, s.count)
    before = gram_of(p, s, s.trial, s.gram_trial)
    s.known[NFEV] += 1.0
    if not math.isfinite(before):
        return before
    if s.flags[UNKNOWN] != 0:
        return before if start else math.inf
    robust = s.kind != LEAST_SQUARES and s.kind != POISSON
    if start:
        promised = promise_of_best(s, s.gram_trial)
        share = 1.0 if s.kind == LEAST_SQUARES else PROMISED
        # What robust losses promise is no measure of what they hold: only a fit of the amplitudes tells.
        s.known[CLAIM] = -math.inf if robust and promised > 0.0 else before - share * promised
    # Of a robust loss the weights are others at the better amplitudes.
    known, lowest = True, before
    for _ in range(CORRECTIONS if robust and project and not start else 1):
        if not _relaxed(p, s, start, project):
            return s.gram_trial[last]
        chisq = gram_of(p, s, s.trial, s.gram_trial)
        s.known[NFEV] += 1.0
        known = s.flags[UNKNOWN] == 0
        if not known or not lowest - chisq > LEAST_CORRECTED * abs(s.known[DECREASE]):
            break
        lowest = chisq
    if known and (not start or chisq <= before):
        return chisq
    if not start:
        return math.inf
    for k in range(s.parameters):
        s.trial[k] = s.q[k]
    s.known[NFEV] += 1.0
    return gram_of(p, s, s.trial, s.gram_trial)


@inner
def _take(s: State, chisq: float, project: bool) -> None:
    """Make the trial point the current one."""
    accept(s, True, chisq)
    rescale(s, True, project)
    s.factorised = False


@inner
def _begin_anew(s: State) -> None:
    """Forget how the promises of full steps fell: what comes is another way down."""
    s.known[PROMISE], s.known[FALL], s.known[FULL] = math.inf, 1.0, 0.0
    s.factorised = False


@inner
def _take_alone(s: State, chisq: float, project: bool) -> None:
    """Make a trial point of one parameter alone the current one."""
    _take(s, chisq, project)
    _begin_anew(s)


@inner
def _forget_weights(s: State, project: bool) -> None:
    """Let the weights of the damping be those of the current point, and the radius the point's length."""
    for j in range(s.count):
        s.weight[j] = 0.0
    rescale(s, True, project)
    s.known[RADIUS] = max(length_of_point(s), math.sqrt(s.known[CHISQ]))


@inner
def _take_other_curvatures(p: Problem, s: State) -> None:
    """Let a robust loss, from now on, be that of the parabolas which touch it and lie above it,
    or again that of its curvature.

    The best amplitudes of the parabolas always lower the loss (Holland and Welsch, Commun. Stat. Theory Methods 6, 813
    (1977), doi:10.1080/03610927708827533), and lead over what is between; near the minimum the curvature leads there in
    fewer steps.
    """
    if s.kind != POISSON:
        s.floor = 1.0 if s.floor != 1.0 else SMALLEST_CURVATURE
        _evaluate_again(p, s)


@inner
def _evaluate_again(p: Problem, s: State) -> None:
    """Gram matrix at the current point, where the curvature has become another."""
    s.known[CHISQ] = gram_of(p, s, s.q, s.gram)
    s.known[NFEV] += 1.0
    s.factorised = False


@inner
def _stops_short(p: Problem, s: State, inside: bool) -> bool:
    """Move a trial point back from bounds that the step has taken parameters to, if others
    have lost their influence there.

    An amplitude of zero takes the influence of its shape, which could never move again. Where ``inside``, in any case.
    """
    lost = inside
    for j in range(s.count):
        before = s.gram[at(j, j)]
        lost = lost or (not at_bound(s, j) and before > 0.0 and s.gram_trial[at(j, j)] < SMALLEST_REST * before)
    moved = False
    if lost:
        for j in range(s.count):
            bound, value = s.lower[j] if s.side[j] == AT_LOWER else s.upper[j], s.q[s.rows[j]]
            if at_bound(s, j) and value != bound:
                s.trial[s.rows[j]] = value + STOP_AT * (bound - value)
                moved = True
    if moved:
        tie_point(p, s, s.trial)
    return moved


@inner
def _start(p: Problem, s: State, reach: float, project: bool) -> int:
    """Evaluate the start; return why it can't be fitted, or zero."""
    for j in range(s.count):
        s.weight[j] = 0.0
        s.side[j] = FREE
        s.apart[0, j] = math.nan
    for k in range(s.parameters):
        s.trial[k] = s.q[k]
    s.known[NFEV] = 0.0
    s.known[DEGREES] = s.used - s.count
    s.known[FLOOR] = EPS * EPS * sum_of_squares(s)
    # Where all channels are outliers, the best amplitudes follow from their weights, not from what little curvature
    # there is. Errors of a user's loss are made of the curvatures here, should the fit end here; those of the others
    # are not.
    s.floor = 1.0 if s.kind != CUSTOM else SMALLEST_CURVATURE
    chisq = _evaluate_trial(p, s, True, project)
    s.floor = SMALLEST_CURVATURE
    s.known[CHISQ] = chisq
    if not math.isfinite(chisq):
        return NONFINITE_MODEL
    if s.flags[UNKNOWN] != 0:
        return NONFINITE_DERIVATIVE
    _take(s, chisq, project)
    for j in range(s.count):
        s.moved[j] = 0.0
    s.known[RADIUS] = first_radius(s, reach)
    s.known[DAMPING] = 0.0
    _begin_anew(s)
    return 0


@inner
def _is_last(s: State, tolerance: float, loose: float, enough: float) -> tuple[bool, bool]:
    """Whether a full step that was solved for is the last, by its length or by its promise;
    whether it is near the minimum.
    """
    decrease = s.known[DECREASE]
    fall, rate = falling(s, decrease)
    s.known[PROMISE], s.known[FALL] = decrease, fall
    near = is_stationary(s, loose) and abs(decrease) <= loose
    return near and decrease * rate <= enough, near


@inner
def _released(p: Problem, s: State, releases: int, at_kinks: int, least: float, max_nfev: int, project: bool) -> int:
    """Leave a bound or a kink where a fit would end, if that lowers the loss: return 1 or 2
    for which, 0 for neither.
    """
    chisq = s.known[CHISQ]
    if releases > 0 and s.known[NFEV] + s.count <= max_nfev:
        lower, evaluations = step_from_bound(p, s)
        s.known[NFEV] += evaluations
        if lower < chisq:
            _take_alone(s, lower, project)
            s.known[RADIUS] = max(s.known[RADIUS], length_of(s, s.moved))
            return 1
    if at_kinks > 0 and s.known[NFEV] + STEPS_ALONE * at_kinks <= max_nfev:
        lower, evaluations = step_from_kink(p, s, max(least, LEAST_AT_KINK * variance_of(s)))
        s.known[NFEV] += evaluations
        if lower < chisq:
            _take_alone(s, lower, project)
            s.known[RADIUS] = max(s.known[RADIUS], length_of(s, s.moved))
            return 2
    return 0


@inner
def _minimise(
    p: Problem, s: State, tolerance: float, max_nfev: int, reach: float, inside: bool, project: bool
) -> tuple[int, bool]:
    """Minimise; see `minimise`, but that parameters at kinks stay held. Return the status, and
    whether the last step was by QR.
    """
    known = s.known
    status = _start(p, s, reach, project)
    if status != 0:
        return status, False
    at_start = known[CHISQ]
    approximate = s.kind != LEAST_SQUARES
    first, begun_again, follows = True, False, project
    patience, bends = float(PATIENCE), BENDS
    stops, releases = STOPS_INSIDE if inside else STOPS, s.count
    alone, at_kinks = ALONE, 0
    while True:
        if approximate and known[NFEV] >= patience and 0 < s.starting.size < s.count:
            # In a narrow valley that amplitudes and shapes form together, as far as the weights of the channels let the
            # algebra hold.
            if not follows or s.kind != POISSON:
                follows = True
                _take_other_curvatures(p, s)
                _forget_weights(s, follows)
                _begin_anew(s)
            patience = known[NFEV] + 2.0 * PATIENCE
        solved = solve(p, s, 0.0)
        length = length_of(s, s.step) if solved else math.inf
        enough, loose = enough_of(s, tolerance)
        least = least_of(s)
        near = backwards = False
        known[SLOPE] = known[DECREASE] = 0.0
        if solved:
            note_step(s, True)
            left = known[DECREASE]
            ends, near = _is_last(s, tolerance, loose, enough)
            if left < -enough:
                # Cut off at bounds, a step may lead upwards: only a shorter one is to be trusted.
                backwards = True
                known[RADIUS] = min(known[RADIUS], 0.5 * length)
                length = math.inf
            else:
                if approximate and not s.by_qr and extrapolate(s, True):
                    note_step(s, True)
                    length = known[LENGTH]
                short = is_short(s, variance_of(s))
                if ends and (short or left <= least):
                    flat = any_flat(s)
                    released = _released(p, s, 0 if flat else releases, at_kinks, least, max_nfev, follows)
                    releases -= 0 if flat else 1
                    if released > 0:
                        at_kinks -= released - 1
                        continue
                    if short:
                        move(p, s, True, s.q)
                        known[CHISQ] = max(known[CHISQ] - max(left, 0.0), 0.0)
                    return SINGULAR if flat else CONVERGED, s.by_qr
        if known[NFEV] >= max_nfev or s.flags[STOP] != 0:
            return MAX_NFEV, s.by_qr
        if length <= 1.1 * known[RADIUS]:
            known[DAMPING] = 0.0
        else:
            known[DAMPING], _ = search_damping(p, s, True, length)
            note_step(s, True)
            length = known[LENGTH]
            if not solved and abs(known[DECREASE]) <= enough and is_stationary(s, least):
                return SINGULAR, s.by_qr
        known[LENGTH] = length
        if first:
            known[RADIUS] = min(known[RADIUS], length)
            first = False
        bent = False
        if known[NFEV] >= PATIENCE and known[NFEV] < max_nfev - 2 and not approximate and bends > 0:
            bend_step(p, s)
            known[NFEV] += 2.0
            bent = True
        for k in range(s.parameters):
            s.trial[k] = s.q[k]
        move(p, s, True, s.trial)
        trial = _evaluate_trial(p, s, False, follows)
        if stops > 0 and known[NFEV] < max_nfev and math.isfinite(trial) and _stops_short(p, s, inside):
            stops -= 1
            trial = _evaluate_trial(p, s, False, follows)
        actual, gain = gain_of(s, trial)
        if bent:
            bends = min(bends + 1, BENDS) if gain >= GOOD else bends - 1
        if (abs(known[DECREASE]) <= UNRESOLVED * known[CHISQ] or not known[RADIUS] > 0.0) and gain <= GAIN:
            # Below rounding, or next to what is not finite: the sum of squares can't tell any more which way leads
            # down.
            if near or known[CHISQ] <= NOTHING * at_start or is_stationary(s, least):
                return CONVERGED if solved and not backwards and not any_flat(s) else SINGULAR, s.by_qr
            if not begun_again:
                begun_again = True
                _forget_weights(s, follows)
                continue
            if not solved or backwards or alone == 0 or known[NFEV] + STEPS_ALONE * s.count > max_nfev:
                return STALLED, s.by_qr
            alone -= 1
            lower, held, evaluations, finite = step_alone(p, s, least)
            known[NFEV] += evaluations
            if not finite or any_flat(s) or (lower == known[CHISQ] and held == 0):
                return STALLED, s.by_qr
            at_kinks += held
            if lower < known[CHISQ]:
                _take_alone(s, lower, follows)
                known[RADIUS] = length_of(s, s.moved)
            else:
                begun_again = False
                _forget_weights(s, follows)
                _begin_anew(s)
            continue
        known[RADIUS] = new_radius(s, actual, gain)
        count_full(s, gain > GAIN)
        if gain > GAIN:
            _take(s, trial, follows)


@apart
def minimise_one(p: Problem, s: State, tolerance: float, max_nfev: int, reach: float, inside: int, project: int) -> int:
    """Minimise; return the status. See `minimise`."""
    status, by_qr = _minimise(p, s, tolerance, max_nfev, reach, inside != 0, project != 0)
    if s.floor != SMALLEST_CURVATURE:
        # Errors are those of the curvature.
        s.floor = SMALLEST_CURVATURE
        _evaluate_again(p, s)
    s.by_qr = by_qr
    let_go(s)
    return status


@inner
def minimise(
    p: Problem, s: State, tolerance: float, max_nfev: int, reach: float, inside: bool, project: bool
) -> Outcome:
    """Minimise from ``s.q``; the solution is left there, its Gram matrix and state beside it.

    Parameters
    ----------
    p : Problem
        What is fitted.
    s : State
        Data, start and bounds of one pixel.
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
    status = minimise_one(p, s, tolerance, max_nfev, reach, 1 if inside else 0, 1 if project else 0)
    return Outcome(status, s.known[CHISQ], int(s.known[NFEV]), s.by_qr)
