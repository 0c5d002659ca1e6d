"""The trust region: how long a step may be, what it promised and gave, and where a fit ends.

The method is More's (Lecture Notes in Mathematics 630, 105 (1978), doi:10.1007/BFb0067700): a full Gauss-Newton step
where it stays inside the region, else one damped until it does, lengths being measured in units of the running maximum
of the column norms. A fit ends where the estimated distance to the minimum, the decrease of the sum of squares that a
full step promises, is a small fraction of the residual variance. That last step counts with the rate at which the
distance fell before; where it is so short that the quadratic model holds, it is taken without another evaluation.
"""

from __future__ import annotations

import math
from typing import Any

from xfit.engine.evaluation.state import (
    CHISQ,
    DAMPING,
    DECREASE,
    DEGREES,
    FALL,
    FLOOR,
    FULL,
    LENGTH,
    PROMISE,
    RADIUS,
    SLOPE,
    Problem,
    State,
)
from xfit.engine.lm.qr import promise, solve
from xfit.engine.lm.steps import length_of, length_of_point, steepest
from xfit.engine.math.cholesky import at
from xfit.engine.math.elementary import square
from xfit.engine.math.jit import inner
from xfit.engine.math.vector import any_lane, negation, select
from xfit.engine.math.widths import full, fused, get, put

EPS = 2.220446049250313e-16

#: First radius of the trust region of each attempt, in units of the start's length. A fit that fails is tried again
#: with shorter first steps.
RADII = (1.0, 0.1)

#: Model evaluations after which steps follow the valley's curvature, which costs two more evaluations each.
PATIENCE = 20

#: Part of what the best amplitudes promise at the start that the loss of counts, which is not quadratic in them, must
#: have fallen by.
PROMISED = 0.5

#: Part of the deviations that the first step may change at least, however small the parameters and their influence.
SMALLEST_RADIUS = 1e-3

#: The cosine between the deviations and a column, at a minimum.
STATIONARY = 1e-6

#: Rounding of the sum of squares that may be left where a fit ends, in units of the squares of the rounding of data and
#: parameters.
ROUNDING = 100.0

#: Damping, relative to the weights, from which on columns that depend on each other give a step.
SMALLEST_DAMPING = 1e-11

#: Part of the promised decrease that a step must give to be taken.
GAIN = 1e-4

#: Part of the sum of squares that is its rounding: steps that promise less can't be judged.
UNRESOLVED = 1e-13


@inner
def larger_of(a: Any, b: Any) -> Any:
    """Return the larger one."""
    return select(a > b, a, b)


@inner
def clamped(value: Any, low: Any, high: Any) -> Any:
    """Value between two others."""
    value = select(value < low, low, value)
    return select(value > high, high, value)


@inner
def variance_of(s: State) -> Any:
    """Sum of squares over the degrees of freedom."""
    degrees = get(s.known, DEGREES)
    return (get(s.known, CHISQ) + get(s.known, FLOOR)) / select(degrees < 1.0, 1.0, degrees)


@inner
def enough_of(s: State, tolerance: float) -> tuple[Any, Any]:
    """Return the decrease at which to stop if it is falling fast, and the larger one up to
    which its estimate is trusted.
    """
    chisq, degrees = get(s.known, CHISQ), get(s.known, DEGREES)
    enough = larger_of(tolerance * variance_of(s), 4.0 * EPS * chisq) + get(s.known, FLOOR)
    return enough, larger_of(1e-6 * chisq / select(degrees < 1.0, 1.0, degrees), enough)


@inner
def least_of(s: State) -> Any:
    """Return the decrease that may be left where a fit ends: that at the smallest cosine, and rounding.

    Rounding is that of the data, and what rounding the parameters to their last digit does where nothing else is left.
    """
    chisq = get(s.known, CHISQ)
    total = full(s, 0.0)
    for j in range(s.count):
        total = fused(square(get(s.q, s.rows[j])), get(s.gram, at(j, j)), total)
    rounding = ROUNDING * (get(s.known, FLOOR) + EPS * EPS * total)
    return larger_of(STATIONARY * STATIONARY * chisq, 4.0 * EPS * chisq) + rounding


@inner
def first_radius(s: State, reach: float) -> Any:
    """First radius: in units of the start's length, or of the deviations' where all parameters are zero."""
    chisq, length = get(s.known, CHISQ), length_of_point(s)
    usual = larger_of(length, SMALLEST_RADIUS * math.sqrt(chisq))
    of_zero = math.sqrt(larger_of(chisq, get(s.known, FLOOR)))
    return reach * select(length > 0.0, usual, select(chisq > 0.0, of_zero, 1.0))


@inner
def falling(s: State, decrease: Any) -> tuple[Any, Any]:
    """By what factor the promise of a full step fell, and the larger one of this and that before: at most one.

    After a full step the promise falls by about the factor that it fell by the last two times.
    """
    fall = select(get(s.known, FULL) >= 1.0, decrease / get(s.known, PROMISE), 1.0)
    rate = larger_of(fall, get(s.known, FALL))
    return fall, select(rate > 1.0, 1.0, rate)


@inner
def gain_of(s: State, trial: Any) -> tuple[Any, Any]:
    """Actual decrease, minus infinity where the trial point has no sum of squares; and that over the promised one."""
    decrease = get(s.known, DECREASE)
    actual = select(trial - trial == 0.0, get(s.known, CHISQ) - trial, -math.inf)
    return actual, select(decrease > 0.0, actual / decrease, -1.0)


@inner
def new_radius(s: State, actual: Any, gain: Any) -> Any:
    """Radius of the trust region after a step, by MINPACK's rules."""
    chisq, radius, length = get(s.known, CHISQ), get(s.known, RADIUS), get(s.known, LENGTH)
    relative, steep = actual / chisq, get(s.known, SLOPE) / chisq
    shrink = select(actual > -math.inf, -0.5 * steep / (0.5 * relative - steep), 0.1)
    shrink = select(relative < 0.0, clamped(shrink, 0.1, 0.5), 0.5)
    longest = 10.0 * length
    smaller = shrink * select(radius < longest, radius, longest)
    larger = select((get(s.known, DAMPING) == 0.0) | (gain >= 0.75), 2.0 * length, radius)
    return select(gain <= 0.25, smaller, larger)


@inner
def count_full(s: State, accepted: Any) -> None:
    """Count full steps in a row."""
    steps = get(s.known, FULL)
    put(s.known, FULL, select(accepted, select(get(s.known, DAMPING) == 0.0, steps + 1.0, 0.0), steps))


@inner
def note_step(s: State, noted: Any) -> None:
    """Keep length, slope and promise of the step."""
    slope, decrease = promise(s)
    put(s.known, SLOPE, select(noted, slope, get(s.known, SLOPE)))
    put(s.known, DECREASE, select(noted, decrease, get(s.known, DECREASE)))
    put(s.known, LENGTH, select(noted, length_of(s, s.step), get(s.known, LENGTH)))


@inner
def search_damping(p: Problem, s: State, needed: Any, longest: Any) -> tuple[Any, Any]:
    """Find dampings at which the steps are as long as the radii, to a tenth, and leave the steps in ``s.step``.

    The inverse of the step's length is nearly linear in the damping (Hebden's observation, see More 1978), so that a
    secant on it needs two or three solutions.

    Parameters
    ----------
    needed : vector of conditions
        Which pixels need it.
    longest : vector
        Lengths of the undamped steps, infinite where there is none.

    Returns
    -------
    damping : vector
        Zero where there was no need.
    ok : vector of conditions
        Where all problems could be solved.
    """
    radius = get(s.known, RADIUS)
    high = steepest(s) / radius
    low, at_low = full(s, 0.0), longest
    damping = larger_of(get(s.known, DAMPING), 1e-3 * high)
    damping = select(needed, select(damping > high, high, damping), 0.0)
    searching = needed
    ok = full(s, 0.0) == 0.0
    for _ in range(12):
        solved = solve(p, s, damping)
        ok = ok & solved
        length = length_of(s, s.step)
        found = solved & ((abs(length - radius) <= 0.1 * radius) | (length == at_low) | (length == 0.0))
        searching = searching & negation(found)
        if not any_lane(searching):
            break
        secant = low + (1.0 / radius - 1.0 / at_low) * (damping - low) / (1.0 / length - 1.0 / at_low)
        # Columns that depend on each other: so little damping does not tell them apart.
        stuck = searching & negation(solved)
        more = larger_of(100.0 * damping, full(s, SMALLEST_DAMPING))
        short = searching & solved & (length < radius)
        long = searching & solved & negation(length < radius)
        high = select(short & (damping < high), damping, select(stuck & (high < more), more, high))
        at_low = select(long, length, at_low)
        low = select(long, damping, low)
        secant = clamped(secant, larger_of(1e-3 * high, 1.0001 * low), high)
        damping = select(stuck, more, select(searching, secant, damping))
    return damping, ok
