"""One step of pixels side by side, each at its own pace: evaluate the trial points, and decide about each.

Every decision is that of `xfit.engine.pixel.minimise`, taken for each pixel by selection. A pixel that needs more than
plain steps (an ill-conditioned matrix, a parameter without influence, a curved valley, a step upwards) is given up here
and fitted alone from its start. So a pixel's numbers depend on its own data alone.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from xfit.engine.evaluation.evaluate import gram_of_lanes, tie_point
from xfit.engine.evaluation.loss_functions import LEAST_SQUARES
from xfit.engine.evaluation.state import (
    AGAIN,
    CHISQ,
    CLAIM,
    DAMPING,
    DECREASE,
    DONE,
    FALL,
    FIRST,
    FRESH,
    FULL,
    LENGTH,
    LOST,
    NFEV,
    PROMISE,
    RADIUS,
    Problem,
    State,
)
from xfit.engine.lm.amplitudes import relax
from xfit.engine.lm.extrapolation import extrapolate
from xfit.engine.lm.qr import solve
from xfit.engine.lm.steps import accept, any_flat, any_held, is_short, is_stationary, move, rescale
from xfit.engine.lm.trust_region import (
    GAIN,
    PROMISED,
    RADII,
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
from xfit.engine.math.entries import WIDE, apart
from xfit.engine.math.jit import inner
from xfit.engine.math.vector import any_lane, negation, select
from xfit.engine.math.widths import full, get, put

#: By what part of itself a loss may lie above what it must not.
CLAIMED = 1e-9


@inner
def _note(s: State, row: int, noted: Any, value: Any) -> None:
    """Keep a scalar of some pixels."""
    put(s.known, row, select(noted, value, get(s.known, row)))


@inner
def _begin(s: State, fresh: Any) -> None:
    """Set up the search of pixels that have been evaluated for the first time."""
    _note(s, RADIUS, fresh, first_radius(s, RADII[0]))
    _note(s, DAMPING, fresh, full(s, 0.0))
    _note(s, PROMISE, fresh, full(s, math.inf))
    _note(s, FALL, fresh, full(s, 1.0))
    _note(s, FULL, fresh, full(s, 0.0))
    _note(s, FIRST, fresh, full(s, 1.0))
    for j in range(s.count):
        put(s.moved, j, select(fresh, 0.0, get(s.moved, j)))


@apart
def relax_lanes(p: Problem, s: Annotated[State, WIDE]) -> int:
    """Set amplitudes of trial points to their best values; note where the model must be evaluated there (AGAIN)."""
    known = s.known
    chisq = get(s.gram_trial, at(s.count, s.count))
    finite = chisq - chisq == 0.0
    fresh, again = get(known, FRESH) != 0.0, get(known, AGAIN) != 0.0
    begin, going = finite & fresh & negation(again), finite & negation(again | fresh)
    wait = full(s, 0.0) != 0.0
    if any_lane(begin):
        _, wait = relax(s, s.gram_trial, begin, True)
        share = PROMISED if s.kind != LEAST_SQUARES else 1.0
        _note(s, CHISQ, begin, chisq)
        _note(s, CLAIM, begin, chisq - share * get(s.promise, 0))
        if s.starting.size > s.amplitudes.size:
            # Where the guess is no mere one, those that can do without an evaluation.
            going = going | (begin & negation(wait))
    _, more = relax(s, s.gram_trial, going, False)
    tie_point(p, s, s.trial)
    put(known, AGAIN, select(wait | more, full(s, 1.0), 0.0))
    return 0


@inner
def _judge(s: State, old: Any, trial: Any) -> tuple[Any, Any, Any]:
    """Compare what steps promised with what they gave, and set the radius by it.

    Returns
    -------
    accepted, settled, stuck : vectors of conditions
        Where to take the trial point; where the two sums of squares can no longer be told apart; where the search leads
        nowhere.
    """
    actual, gain = gain_of(s, trial)
    unresolved = abs(get(s.known, DECREASE)) <= UNRESOLVED * get(s.known, CHISQ)
    settled = old & unresolved & (gain <= GAIN) & (actual > -math.inf)
    stuck = old & negation(settled) & negation((get(s.known, RADIUS) > 0.0) & (get(s.known, LENGTH) != 0.0))
    _note(s, RADIUS, old, new_radius(s, actual, gain))
    accepted = old & (gain > GAIN) & negation(settled)
    count_full(s, accepted)
    return accepted, settled, stuck


@inner
def _influence(s: State) -> Any:
    """Where all free parameters have a finite influence on the model."""
    ok = full(s, 0.0) == 0.0
    for j in range(s.count):
        own = get(s.gram, at(j, j))
        ok = ok & (own > 0.0) & (own < math.inf)
    return ok


@inner
def _above_claim(s: State, chisq: Any) -> Any:
    """Where a loss is above that of the best amplitudes at the start."""
    claim = get(s.known, CLAIM)
    return chisq > claim + CLAIMED * abs(claim)


@inner
def _decide(p: Problem, s: State, going: Any, tolerance: float) -> tuple[Any, Any, Any]:
    """Solve for full steps and see whether they are the last.

    Returns
    -------
    last, stay, lost : vectors of conditions
        Where the step is the last; where the fit ends without it; where the pixel must be fitted alone.
    """
    solved = solve(p, s, full(s, 0.0))
    note_step(s, going)
    decrease, chisq = get(s.known, DECREASE), get(s.known, CHISQ)
    enough, loose = enough_of(s, tolerance)
    fall, rate = falling(s, decrease)
    _note(s, PROMISE, going, decrease)
    _note(s, FALL, going, fall)
    upwards = negation(solved & (decrease >= -enough))
    small = going & negation(upwards) & (decrease * rate <= enough) & (decrease <= loose)
    near = small
    if any_lane(small & any_held(s)):
        # Where nothing is held, no parameter by itself promises more than the step of all.
        near = small & is_stationary(s, loose)
    lost = (going & (upwards | any_flat(s))) | (small & negation(near))
    if s.kind != LEAST_SQUARES:
        note_step(s, extrapolate(s, going))
    last = near
    if any_lane(near):
        last = near & is_short(s, variance_of(s))
    stay = near & negation(last)
    if any_lane(stay):
        stay = stay & (decrease <= least_of(s))
    left = select(last & (decrease > 0.0), chisq - decrease, chisq)
    above = (last | stay) & _above_claim(s, left)
    return last & negation(above), stay & negation(above), lost | above


@inner
def _settle(s: State, settled: Any, stuck: Any) -> tuple[Any, Any]:
    """Take out of what has settled the pixels that are at no minimum, or above their best amplitudes
    at the start: they are stuck.
    """
    if any_lane(settled):
        ends = is_stationary(s, least_of(s)) & negation(_above_claim(s, get(s.known, CHISQ)))
        stuck = stuck | (settled & negation(ends))
        settled = settled & ends
    return settled, stuck


@inner
def _finish(p: Problem, s: State, last: Any) -> None:
    """Take the last step without another evaluation."""
    move(p, s, last, s.q)
    chisq, decrease = get(s.known, CHISQ), get(s.known, PROMISE)
    left = chisq - select(decrease > 0.0, decrease, 0.0)
    _note(s, CHISQ, last, select(left > 0.0, left, 0.0))


@inner
def _go_on(p: Problem, s: State, going: Any) -> Any:
    """Set the next trial points, by steps no longer than the radii; return where that fails."""
    needed = going & (get(s.known, LENGTH) > 1.1 * get(s.known, RADIUS))
    ok = full(s, 0.0) == 0.0
    damping = full(s, 0.0)
    if any_lane(needed):
        damping, ok = search_damping(p, s, needed, get(s.known, LENGTH))
        if s.kind != LEAST_SQUARES:
            # The search has solved for all: where there is no need of it, the step is still the extrapolated one.
            for i in range(s.count):
                put(s.step, i, select(needed, get(s.step, i), get(s.taken, i)))
        note_step(s, needed)
    _note(s, DAMPING, going, damping)
    length, radius = get(s.known, LENGTH), get(s.known, RADIUS)
    first = going & (get(s.known, FIRST) != 0.0)
    _note(s, RADIUS, first & (length < radius), length)
    _note(s, FIRST, going, full(s, 0.0))
    for k in range(s.parameters):
        put(s.trial, k, select(going, get(s.q, k), get(s.trial, k)))
    move(p, s, going, s.trial)
    return going & negation(ok)


@inner
def round_of_lanes(p: Problem, s: State, tolerance: float, limit: int) -> bool:
    """Evaluate the trial points and decide about each; return whether any pixel is done or lost.

    Parameters
    ----------
    limit : int
        Model evaluations after which a pixel is given up.
    """
    known = s.known
    gram_of_lanes(p, s)
    nfev = get(known, NFEV) + 1.0
    put(known, NFEV, nfev)
    chisq = get(s.gram_trial, at(s.count, s.count))
    finite = chisq - chisq == 0.0
    fresh, again = get(known, FRESH) != 0.0, get(known, AGAIN) != 0.0
    worse = fresh & again & negation(chisq <= get(known, CHISQ))
    relax_lanes(p, s)
    wait = get(known, AGAIN) != 0.0
    trial = get(s.gram_trial, at(s.count, s.count))
    accepted, settled, stuck = _judge(s, negation(fresh | wait), trial)
    accepted = accepted | (fresh & finite & negation(wait))
    accept(s, accepted, trial)
    rescale(s, accepted, False)
    begun = fresh & negation(wait)
    if any_lane(begun):
        _begin(s, begun)
    put(known, FRESH, select(wait, get(known, FRESH), 0.0))
    settled, stuck = _settle(s, settled, stuck)
    going = negation(wait | settled)
    last, stay, lost = _decide(p, s, going, tolerance)
    # What its amplitudes have made worse at the start begins again, alone.
    lost = going & (lost | stuck | worse | (begun & negation(finite)) | negation(_influence(s)))
    last, stay = last & negation(lost), stay & negation(lost)
    lost = lost | (going & negation(last | stay) & (nfev >= float(limit)))
    if any_lane(last):
        _finish(p, s, last)
    going = going & negation(last | stay | lost)
    if any_lane(going):
        lost = lost | _go_on(p, s, going)
    done = settled | last | stay
    put(known, DONE, select(done, full(s, 1.0), 0.0))
    put(known, LOST, select(lost, full(s, 1.0), 0.0))
    return any_lane(done | lost)
