"""The trust region of `lm` for eight pixels side by side, each at its own pace: one round of it.

Every decision is that of `lm.minimise_from`, taken for each pixel by selection. A pixel that needs more than plain steps (an
ill-conditioned matrix, a parameter without influence, a curved valley, a step upwards) is given up here: the engine of one pixel
fits it from its start. So a pixel's numbers depend on its own data alone.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from xfit.engine.math.elementary import square
from xfit.engine.math.jit import inlined_sums
from xfit.engine.math.layout import LANES
from xfit.engine.math.vector import any_lane, load, negation, reals, select, store
from xfit.engine.pixel.levenberg_marquardt import EPS, PROMISED, RADII, ROUNDING, SMALLEST_RADIUS
from xfit.engine.pixel.loss_functions import LEAST_SQUARES
from xfit.engine.pixel.steps import STATIONARY
from xfit.engine.pixel.tie_machine import Ties, apply_ties
from xfit.engine.simd.evaluate import Spectra, at, derivatives_of_lanes, gram_of_lanes
from xfit.engine.simd.extrapolation import extrapolate_lanes
from xfit.engine.simd.steps import (
    LaneSteps,
    held_lanes,
    length_of_lanes,
    promise_of_lanes,
    relax_lanes,
    rescale_lanes,
    short_lanes,
    stationary_lanes,
    steepest_of_lanes,
    step_of_lanes,
)

#: What is known of each pixel between rounds: the rows of `Lanes.known`. FRESH: not yet evaluated; AGAIN: evaluate at moved
#: amplitudes first; DONE: converged; LOST: to be fitted by the engine of one pixel; CLAIM: see `lm._evaluate_trial`.
(
    FRESH,
    AGAIN,
    DONE,
    LOST,
    CHISQ,
    RADIUS,
    DAMPING,
    PROMISE,
    FALL,
    FULL,
    NFEV,
    DECREASE,
    SLOPE,
    LENGTH,
    FIRST,
    FLOOR,
    DEGREES,
    CLAIM,
) = range(18)
KNOWN = 18


class Lanes(NamedTuple):
    """The eight pixels; vectors.

    Attributes
    ----------
    q, trial : float64 (n_parameters * LANES,)
        Current points and those to evaluate next, ties applied.
    known : float64 (KNOWN * LANES,)
        Scalars of each pixel.
    gram_trial : float64 (triangle of count + 1, times LANES)
        Gram matrix at the trial points.
    tile, scratch, derivative : float64
        Scratch of the evaluation.
    one, slopes, stack : float64
        Scratch of the ties of one pixel.
    rows, all_ : int64
        Positions of the free parameters among all; the numbers from 0 to count.
    """

    q: np.ndarray
    trial: np.ndarray
    known: np.ndarray
    gram_trial: np.ndarray
    tile: np.ndarray
    scratch: np.ndarray
    derivative: np.ndarray
    one: np.ndarray
    slopes: np.ndarray
    stack: np.ndarray
    rows: np.ndarray
    all_: np.ndarray


@inlined_sums
def apply_ties_of_lanes(ties: Ties, lanes: Lanes, q: np.ndarray) -> None:
    """Set the tied entries of eight points from the others."""
    if ties.tied.size == 0:
        return
    for lane in range(LANES):
        for k in range(lanes.one.size):
            lanes.one[k] = q[k * LANES + lane]
        apply_ties(ties, lanes.one, lanes.stack)
        for t in ties.tied:
            q[t * LANES + lane] = lanes.one[t]


@inlined_sums
def _move(take: Any, count: int, target: np.ndarray, lanes: Lanes, ls: LaneSteps) -> None:
    """Set points to where the steps lead; what is held at a bound lies on it exactly. Ties are not applied."""
    for j in range(count):
        value = load(lanes.q, lanes.rows[j])
        side, lower, upper = load(ls.side, j), load(ls.lower, j), load(ls.upper, j)
        moved = select(side < 0.0, lower, select(side > 0.0, upper, value + load(ls.step, j)))
        moved = select(moved < lower, lower, select(moved > upper, upper, moved))
        store(target, lanes.rows[j], select(take, moved, load(target, lanes.rows[j])))


@inlined_sums
def _accept(take: Any, count: int, chisq: Any, lanes: Lanes, ls: LaneSteps) -> Any:
    """Make trial points the current ones; return where all parameters matter."""
    for j in range(count):
        if ls.bent[j] > 0.0:
            moved = abs(load(lanes.trial, lanes.rows[j]) - load(lanes.q, lanes.rows[j]))
            store(ls.moved, j, select(take, moved, load(ls.moved, j)))
    for k in range(lanes.one.size):
        store(lanes.q, k, select(take, load(lanes.trial, k), load(lanes.q, k)))
    for k in range(at(count + 1, 0)):
        store(ls.gram, k, select(take, load(lanes.gram_trial, k), load(ls.gram, k)))
    store(lanes.known, CHISQ, select(take, chisq, load(lanes.known, CHISQ)))
    return rescale_lanes(take, lanes.q, lanes.rows, count, ls)


@inlined_sums
def _begin(fresh: Any, count: int, lanes: Lanes, ls: LaneSteps) -> None:
    """First radius of pixels that were evaluated for the first time."""
    known = lanes.known
    chisq, floor = load(known, CHISQ), load(known, FLOOR)
    length = length_of_lanes(count, lanes.q, lanes.rows, ls.weight)
    size = math.sqrt(select(chisq > floor, chisq, floor))
    smallest = SMALLEST_RADIUS * math.sqrt(chisq)
    larger = select(length > smallest, length, smallest)
    radius = RADII[0] * select(length > 0.0, larger, select(chisq > 0.0, size, 1.0))
    store(known, RADIUS, select(fresh, radius, load(known, RADIUS)))
    for row, value in ((DAMPING, 0.0), (PROMISE, math.inf), (FALL, 1.0), (FULL, 0.0), (FIRST, 1.0)):
        store(known, row, select(fresh, value, load(known, row)))
    for j in range(count):
        store(ls.moved, j, select(fresh, 0.0, load(ls.moved, j)))


@inlined_sums
def _judge(old: Any, trial: Any, finite: Any, lanes: Lanes) -> tuple[Any, Any, Any]:
    """Compare what steps promised with what they gave, and set the radius by it.

    Returns
    -------
    accept, settled, lost : vectors of conditions
        Where to take the trial point; where the two sums of squares can no longer be told apart; where the search is stuck.
    """
    known = lanes.known
    chisq, decrease, slope = load(known, CHISQ), load(known, DECREASE), load(known, SLOPE)
    radius, length, damping = load(known, RADIUS), load(known, LENGTH), load(known, DAMPING)
    actual = select(finite, chisq - trial, -math.inf)
    gain = select(decrease > 0.0, actual / decrease, -1.0)
    settled = old & (abs(decrease) <= 1e-13 * chisq) & (gain <= 1e-4) & finite
    lost = old & negation(settled) & negation((radius > 0.0) & (length != 0.0))
    relative, steep = actual / chisq, slope / chisq
    shrink = select(finite, -0.5 * steep / (0.5 * relative - steep), 0.1)
    shrink = select(shrink < 0.1, 0.1, select(shrink > 0.5, 0.5, shrink))
    shrink = select(relative < 0.0, shrink, 0.5)
    smaller = shrink * select(radius < 10.0 * length, radius, 10.0 * length)
    larger = select((damping == 0.0) | (gain >= 0.75), 2.0 * length, radius)
    store(known, RADIUS, select(old, select(gain <= 0.25, smaller, larger), radius))
    accept = old & (gain > 1e-4) & negation(settled)
    full = load(known, FULL)
    store(known, FULL, select(accept, select(damping == 0.0, full + 1.0, 0.0), full))
    return accept, settled, lost


@inlined_sums
def _search_damping(need: Any, count: int, lanes: Lanes, ls: LaneSteps) -> tuple[Any, Any]:
    """Find dampings at which the steps are as long as the radii; see `lm._damped_step`.

    Returns
    -------
    damping : vector
        Zero where there was no need.
    ok : vector of conditions
        Where all problems were well-conditioned.
    """
    radius, length = load(lanes.known, RADIUS), load(lanes.known, LENGTH)
    high = steepest_of_lanes(count, ls) / radius
    low, at_low = reals(0.0), length
    damping = load(lanes.known, DAMPING)
    damping = select(damping < 1e-3 * high, 1e-3 * high, damping)
    damping = select(need, select(damping > high, high, damping), 0.0)
    searching = need
    ok = reals(0.0) == 0.0
    for _ in range(12):
        ok = ok & step_of_lanes(lanes.q, lanes.rows, lanes.all_, count, damping, ls)
        length = length_of_lanes(count, ls.step, lanes.all_, ls.weight)
        found = (abs(length - radius) <= 0.1 * radius) | (length == at_low) | (length == 0.0)
        searching = searching & negation(found)
        if not any_lane(searching):
            break
        secant = low + (1.0 / radius - 1.0 / at_low) * (damping - low) / (1.0 / length - 1.0 / at_low)
        short = searching & (length < radius)
        long = searching & negation(length < radius)
        high = select(short & (damping < high), damping, high)
        at_low = select(long, length, at_low)
        low = select(long, damping, low)
        floor = select(1e-3 * high > 1.0001 * low, 1e-3 * high, 1.0001 * low)
        secant = select(secant > floor, secant, floor)
        damping = select(searching, select(secant > high, high, secant), damping)
    return damping, ok


@inlined_sums
def _decide(
    may: Any, count: int, tolerance: float, approximate: bool, lanes: Lanes, ls: LaneSteps
) -> tuple[Any, Any, Any]:
    """Solve for full steps and see whether they are the last.

    Parameters
    ----------
    approximate : bool
        Whether the curvature is so; see `xfit.engine.simd.extrapolation`.

    Returns
    -------
    last, stay, lost : vectors of conditions
        Where the step is the last; where the fit ends without it; where the engine of one pixel must take over.
    """
    known = lanes.known
    ok = step_of_lanes(lanes.q, lanes.rows, lanes.all_, count, reals(0.0), ls)
    length = length_of_lanes(count, ls.step, lanes.all_, ls.weight)
    slope, decrease = promise_of_lanes(count, ls)
    chisq, floor, degrees = load(known, CHISQ), load(known, FLOOR), load(known, DEGREES)
    dof = select(degrees < 1.0, 1.0, degrees)
    wanted, rounding = tolerance * (chisq + floor) / dof, 4.0 * EPS * chisq
    enough = select(wanted > rounding, wanted, rounding) + floor
    loose = 1e-6 * chisq / dof
    loose = select(loose > enough, loose, enough)
    fall = select(load(known, FULL) >= 1.0, decrease / load(known, PROMISE), 1.0)
    before = load(known, FALL)
    rate = select(fall > before, fall, before)
    rate = select(rate > 1.0, 1.0, rate)
    store(known, PROMISE, select(may, decrease, load(known, PROMISE)))
    store(known, FALL, select(may, fall, before))
    store(known, SLOPE, select(may, slope, load(known, SLOPE)))
    store(known, DECREASE, select(may, decrease, load(known, DECREASE)))
    store(known, LENGTH, select(may, length, load(known, LENGTH)))
    small = may & ok & (decrease * rate <= enough) & (decrease <= loose) & (decrease >= -enough)
    near = small
    if any_lane(small & held_lanes(count, ls)):
        # Where nothing is held, no parameter by itself promises more than the step of all.
        near = small & stationary_lanes(lanes.q, lanes.rows, count, loose, ls)
    lost = (may & negation(ok & (decrease >= -enough))) | (small & negation(near))
    full = decrease
    if approximate:
        able = extrapolate_lanes(may, load(known, FULL) >= 1.0, lanes.q, lanes.rows, count, ls)
        length = length_of_lanes(count, ls.step, lanes.all_, ls.weight)
        slope, decrease = promise_of_lanes(count, ls)
        store(known, SLOPE, select(able, slope, load(known, SLOPE)))
        store(known, DECREASE, select(able, decrease, load(known, DECREASE)))
        store(known, LENGTH, select(able, length, load(known, LENGTH)))
    last = near
    if any_lane(near):
        last = near & short_lanes(length, lanes.q, lanes.rows, count, (chisq + floor) / dof, ls)
    stay = near & negation(last)
    if any_lane(stay):
        stay = stay & (full <= _least(chisq, floor, lanes, count, ls))
    left = select(last & (load(known, PROMISE) > 0.0), chisq - load(known, PROMISE), chisq)
    claim = load(known, CLAIM)
    above = (last | stay) & (left > claim + 1e-9 * abs(claim))
    return last & negation(above), stay & negation(above), lost | above


@inlined_sums
def _least(chisq: Any, floor: Any, lanes: Lanes, count: int, ls: LaneSteps) -> Any:
    """Decrease that may be left where a fit ends; see `lm.minimise_from`."""
    least, rounding = STATIONARY * STATIONARY * chisq, 4.0 * EPS * chisq
    total = reals(0.0)
    for j in range(count):
        total += square(load(lanes.q, lanes.rows[j])) * load(ls.gram, at(j, j))
    return select(least > rounding, least, rounding) + ROUNDING * (floor + EPS * EPS * total)


@inlined_sums
def _settled(settled: Any, stuck: Any, lanes: Lanes, count: int, ls: LaneSteps) -> tuple[Any, Any]:
    """Take out of what has settled the pixels that are at no minimum, or above their best amplitudes at the start: they are stuck."""
    if any_lane(settled):
        chisq, claim = load(lanes.known, CHISQ), load(lanes.known, CLAIM)
        least = _least(chisq, load(lanes.known, FLOOR), lanes, count, ls)
        ends = stationary_lanes(lanes.q, lanes.rows, count, least, ls) & (chisq <= claim + 1e-9 * abs(claim))
        stuck = stuck | (settled & negation(ends))
        settled = settled & ends
    return settled, stuck


@inlined_sums
def _finish(last: Any, ties: Ties, count: int, lanes: Lanes, ls: LaneSteps) -> None:
    """Take the last step without another evaluation."""
    known = lanes.known
    _move(last, count, lanes.q, lanes, ls)
    apply_ties_of_lanes(ties, lanes, lanes.q)
    chisq, decrease = load(known, CHISQ), load(known, PROMISE)
    left = chisq - select(decrease > 0.0, decrease, 0.0)
    store(known, CHISQ, select(last, select(left > 0.0, left, 0.0), chisq))


@inlined_sums
def _go_on(go: Any, ties: Ties, count: int, approximate: bool, lanes: Lanes, ls: LaneSteps) -> Any:
    """Set the next trial points, by steps no longer than the radii; return where that fails."""
    known = lanes.known
    length, radius = load(known, LENGTH), load(known, RADIUS)
    need = go & (length > 1.1 * radius)
    ok = reals(0.0) == 0.0
    damping = reals(0.0)
    if any_lane(need):
        damping, ok = _search_damping(need, count, lanes, ls)
        if approximate:
            # The search has solved for all eight: where there is no need of it, the step is still the extrapolated one.
            for i in range(count):
                store(ls.step, i, select(need, load(ls.step, i), load(ls.taken, i)))
        length = length_of_lanes(count, ls.step, lanes.all_, ls.weight)
        slope, decrease = promise_of_lanes(count, ls)
        store(known, SLOPE, select(need, slope, load(known, SLOPE)))
        store(known, DECREASE, select(need, decrease, load(known, DECREASE)))
        store(known, LENGTH, select(need, length, load(known, LENGTH)))
    store(known, DAMPING, select(go, damping, load(known, DAMPING)))
    first = go & (load(known, FIRST) != 0.0)
    length = load(known, LENGTH)
    store(known, RADIUS, select(first & (length < radius), length, radius))
    store(known, FIRST, select(go, 0.0, load(known, FIRST)))
    for k in range(lanes.one.size):
        store(lanes.trial, k, select(go, load(lanes.q, k), load(lanes.trial, k)))
    _move(go, count, lanes.trial, lanes, ls)
    apply_ties_of_lanes(ties, lanes, lanes.trial)
    return go & negation(ok)


@inlined_sums
def round_of_lanes(
    structure: Any,
    ties: Ties,
    x: np.ndarray,
    spectra: Spectra,
    whole: bool,
    count: int,
    tolerance: float,
    limit: int,
    lanes: Lanes,
    ls: LaneSteps,
) -> bool:
    """Evaluate the eight trial points and decide about each; return whether any pixel is done or lost.

    Parameters
    ----------
    limit : int
        Model evaluations after which a pixel is given up.
    """
    known = lanes.known
    derivatives_of_lanes(ties, lanes.trial, lanes.one.size, lanes.one, lanes.slopes, lanes.stack, lanes.derivative)
    gram_of_lanes(
        structure, ties, x, spectra, whole, lanes.trial, lanes.rows, count, lanes.derivative, lanes.scratch, lanes.tile,
        lanes.gram_trial,
    )  # fmt: skip
    nfev = load(known, NFEV) + 1.0
    store(known, NFEV, nfev)
    chisq = load(lanes.gram_trial, at(count, count))
    finite = chisq - chisq == 0.0
    fresh, again = load(known, FRESH) != 0.0, load(known, AGAIN) != 0.0
    worse = fresh & again & negation(chisq <= load(known, CHISQ))
    begin = finite & fresh & negation(again)
    going = finite & negation(again | fresh)
    wait = reals(0.0) != 0.0
    if any_lane(begin):
        store(known, CHISQ, select(begin, chisq, load(known, CHISQ)))
        wait = relax_lanes(lanes.gram_trial, begin, True, lanes.trial, lanes.q, lanes.rows, count, ls)
        share = PROMISED if spectra.loss.kind != LEAST_SQUARES else 1.0
        store(known, CLAIM, select(begin, chisq - share * load(ls.promise, 0), load(known, CLAIM)))
        if ls.starting.size > ls.amplitudes.size:
            # Where the guess is no mere one, those that can do without an evaluation.
            going = going | (begin & negation(wait))
    wait = wait | relax_lanes(lanes.gram_trial, going, False, lanes.trial, lanes.q, lanes.rows, count, ls)
    store(known, AGAIN, select(wait, 1.0, 0.0))
    trial = load(lanes.gram_trial, at(count, count))
    accept, settled, stuck = _judge(negation(fresh | wait), trial, finite, lanes)
    accept = accept | (fresh & finite & negation(wait))
    matter = _accept(accept, count, trial, lanes, ls)
    begun = fresh & negation(wait)
    if any_lane(begun):
        _begin(begun, count, lanes, ls)
    store(known, FRESH, select(wait, load(known, FRESH), 0.0))
    settled, stuck = _settled(settled, stuck, lanes, count, ls)
    may = negation(wait | settled)
    approximate = spectra.loss.kind != LEAST_SQUARES
    last, stay, lost = _decide(may, count, tolerance, approximate, lanes, ls)
    # What its amplitudes have made worse at the start begins again, alone.
    lost = may & (lost | stuck | worse | (begun & negation(finite)) | negation(matter))
    last, stay = last & negation(lost), stay & negation(lost)
    lost = lost | (may & negation(last | stay) & (nfev >= float(limit)))
    if any_lane(last):
        _finish(last, ties, count, lanes, ls)
    go = may & negation(last | stay | lost)
    if any_lane(go):
        lost = lost | _go_on(go, ties, count, approximate, lanes, ls)
    done = settled | last | stay
    store(known, DONE, select(done, 1.0, 0.0))
    store(known, LOST, select(lost, 1.0, 0.0))
    return any_lane(done | lost)
