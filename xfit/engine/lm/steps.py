"""Bounded, damped Gauss-Newton steps from the normal equations.

A step minimises ``|J s - r|^2 + damping * |D s|^2`` subject to bounds. The Gram matrix, scaled to a unit diagonal, is
factorised by Cholesky's method; where that is too ill-conditioned, `xfit.engine.lm.qr` takes over for one pixel. Bounds
are kept by an active set: what the step would carry beyond a bound is held there, and the rest solved again (Bjorck,
Numerical Methods for Least Squares Problems, SIAM 1996, doi:10.1137/1.9781611971484).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xfit.engine.evaluation.evaluate import tie_point
from xfit.engine.evaluation.loss_functions import LEAST_SQUARES
from xfit.engine.evaluation.state import AT_LOWER, AT_UPPER, CHISQ, FLAT, FREE, Problem, State
from xfit.engine.math import cholesky
from xfit.engine.math.cholesky import at, element
from xfit.engine.math.elementary import square
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import LINEAR, STARTING
from xfit.engine.math.vector import any_lane, select
from xfit.engine.math.widths import full, fused, get, put

#: A parameter that changes the model by less than this part of the deviations, if it changes by its own size or the
#: range of the coordinates, has no influence: a line far outside of the data. Its steps would be random, and as long as
#: nothing else limits them.
NO_INFLUENCE = 1e-12

#: Square of the length of a step that may be taken without an evaluation, in units of the residual variance: a tenth of
#: a standard error.
SHORT = 1e-2

#: And what it may change a parameter by: by this part of itself, or of its last move.
SMALL_CHANGE, SMALL_MOVE = 0.1, 0.5


@inner
def factorise(s: State, gram: np.ndarray, chosen: np.ndarray, damping: Any) -> Any:
    """Cholesky factor of a Gram matrix by ``s.scale``, into ``s.factor``; see `xfit.engine.math.cholesky.factorise`."""
    return cholesky.factorise(gram, chosen, damping, s.weight, s.scale, s.factor)


@inner
def substitute(s: State, gram: np.ndarray, chosen: np.ndarray) -> None:
    """Solve with that factor, into ``s.solution``; see `xfit.engine.math.cholesky.substitute`."""
    cholesky.substitute(gram, s.count, chosen, s.scale, s.factor, s.solution)


@inner
def hold(s: State) -> Any:
    """Begin an active set: hold what sits at a bound and would leave through it, or has no
    influence; where anything is held.

    Only parameters that the model is not linear in can be without influence at a size of their own, which is taken to
    be no less than the range of the coordinates.
    """
    held = full(s, 0.0) != 0.0
    level = NO_INFLUENCE * math.sqrt(get(s.gram, at(s.count, s.count)))
    for j in range(s.count):
        value, slope, bent = get(s.q, s.rows[j]), get(s.gram, at(s.count, j)), s.bent[j]
        low = (value <= get(s.lower, j)) & (slope <= 0.0)
        high = (value >= get(s.upper, j)) & (slope >= 0.0)
        norm, size = math.sqrt(get(s.gram, at(j, j))), abs(value)
        flat = norm == 0.0
        if bent > 0.0:
            flat = flat | (norm * select(size < bent, bent, size) < level)
        side = select(low, AT_LOWER, select(high, AT_UPPER, select(flat, FLAT, FREE)))
        put(s.side, j, side)
        put(s.scale, j, select(side == FREE, get(s.inverse, j), 0.0))
        put(s.step, j, full(s, 0.0))
        held = held | (side != FREE)
    return held


@inner
def _clip(s: State, undamped: bool) -> bool:
    """Hold those parameters, damped or not, that the step would carry beyond a bound, with the step that ends there."""
    clipped = full(s, 0.0) != 0.0
    for j in range(s.count):
        value, step, side = get(s.q, s.rows[j]), get(s.step, j), get(s.side, j)
        lower, upper = get(s.lower, j), get(s.upper, j)
        among = (side == FREE) & (get(s.weight, j) == 0.0 if undamped else get(s.weight, j) != 0.0)
        low = among & (value + step < lower)
        high = among & (value + step > upper)
        put(s.side, j, select(low, AT_LOWER, select(high, AT_UPPER, side)))
        put(s.step, j, select(low, lower - value, select(high, upper - value, step)))
        put(s.scale, j, select(low | high, 0.0, get(s.scale, j)))
        clipped = clipped | low | high
    return any_lane(clipped)


@inner
def clip(s: State) -> bool:
    """Hold what the step would carry beyond a bound; return whether there is any.

    Amplitudes that follow the shapes, which are not damped, wait for these: held at the same time, they would end far
    from their best values.
    """
    return _clip(s, False) or _clip(s, True)


@inner
def step_by_cholesky(s: State, damping: Any) -> Any:
    """Solve for the bounded, damped steps from the current points, into ``s.step``; where
    the problem is well-conditioned.

    A pixel's numbers do not depend on how often the others make it be solved again.
    """
    ok = full(s, 0.0) == 0.0
    any_held = any_lane(hold(s))
    for _ in range(s.count + 1):
        ok = ok & factorise(s, s.gram, s.all_, damping)
        for i in range(s.count):
            total = full(s, 0.0)
            if any_held:
                for j in range(s.count):
                    held = select(get(s.side, j) == FREE, 0.0, get(s.step, j))
                    total = fused(element(s.gram, i, j), held, total)
            put(s.solution, i, total)
        substitute(s, s.gram, s.all_)
        for j in range(s.count):
            step = get(s.solution, j) * get(s.scale, j)
            put(s.step, j, select(get(s.side, j) == FREE, step, get(s.step, j)))
        if not clip(s):
            break
        any_held = True
    return ok


@inner
def _length(s: State, vector: np.ndarray, places: np.ndarray) -> Any:
    """Lengths of vectors, which have the free parameters at some places, in units of the damping's weights."""
    total = full(s, 0.0)
    for j in range(s.count):
        part = get(s.weight, j) * get(vector, places[j])
        total = fused(part, part, total)
    return math.sqrt(total)


@inner
def length_of(s: State, vector: np.ndarray) -> Any:
    """Lengths of vectors of free parameters in units of the damping's weights."""
    return _length(s, vector, s.all_)


@inner
def length_of_point(s: State) -> Any:
    """Lengths of the current points in the same units."""
    return _length(s, s.q, s.rows)


@inner
def steepest(s: State) -> Any:
    """Lengths of the gradients in the same units: over the radius, they bound the damping from above."""
    total = full(s, 0.0)
    for j in range(s.count):
        weight = get(s.weight, j)
        part = select(weight > 0.0, get(s.gram, at(s.count, j)) / weight, 0.0)
        total = fused(part, part, total)
    return math.sqrt(total)


@inner
def promise_by_gram(s: State) -> tuple[Any, Any]:
    """What the quadratic model says of the steps.

    Returns
    -------
    slope : vector
        ``s'J'r``, half the rate at which the sum of squares falls at the step's beginning.
    decrease : vector
        ``2 s'J'r - s'J'J s``, how much it falls in all.
    """
    slope = curvature = full(s, 0.0)
    for i in range(s.count):
        step = get(s.step, i)
        total = 0.5 * get(s.gram, at(i, i)) * step
        for j in range(i):
            total = fused(get(s.gram, at(i, j)), get(s.step, j), total)
        slope = fused(step, get(s.gram, at(s.count, i)), slope)
        curvature = fused(2.0 * step, total, curvature)
    return slope, 2.0 * slope - curvature


@inner
def is_stationary(s: State, least: Any) -> Any:
    """Where no parameter by itself promises a decrease of more than ``least`` within its bounds.

    For one in the interior that decrease is the loss times the square of the cosine between the deviations and its
    column.
    """
    ok = full(s, 0.0) == 0.0
    for j in range(s.count):
        value, inverse, own = get(s.q, s.rows[j]), get(s.inverse, j), get(s.gram, at(j, j))
        slope = get(s.gram, at(s.count, j))
        move = slope * square(inverse)
        down, up = get(s.lower, j) - value, get(s.upper, j) - value
        move = select(move < down, down, move)
        move = select(move > up, up, move)
        without = (own == 0.0) | (get(s.side, j) == FLAT)
        ok = ok & (without | (move * (2.0 * slope - own * move) <= least))
    return ok


@inner
def is_short(s: State, variance: Any) -> Any:
    """Where the quadratic model can be trusted at the end of the step, so that it need not be evaluated there.

    Parameters
    ----------
    variance : vector
        Sum of squares over the degrees of freedom.
    """
    total = full(s, 0.0)
    ok = full(s, 0.0) == 0.0
    for j in range(s.count):
        step, weight, norm = abs(get(s.step, j)), get(s.weight, j), math.sqrt(get(s.gram, at(j, j)))
        part = select(weight < norm, norm, weight) * step
        total = fused(part, part, total)
        if s.bent[j] > 0.0:
            small = SMALL_CHANGE * abs(get(s.q, s.rows[j]))
            ok = ok & ((step <= small) | (step <= SMALL_MOVE * get(s.moved, j)))
    return ok & (total <= SHORT * variance)


@inner
def any_held(s: State) -> Any:
    """Where the steps hold parameters."""
    held = full(s, 0.0) != 0.0
    for j in range(s.count):
        held = held | (get(s.side, j) != FREE)
    return held


@inner
def any_flat(s: State) -> Any:
    """Where a free parameter has no influence on the model."""
    flat = full(s, 0.0) != 0.0
    for j in range(s.count):
        flat = flat | (get(s.side, j) == FLAT)
    return flat


@inner
def rescale(s: State, accepted: Any, project: bool) -> None:
    """New inverse norms, and weights, where a pixel has a new Gram matrix.

    Amplitudes that follow the shapes are not damped (Ruhe and Wedin, SIAM Rev. 22, 318 (1980), doi:10.1137/1022057).
    """
    for j in range(s.count):
        norm, weight = math.sqrt(get(s.gram, at(j, j))), get(s.weight, j)
        put(s.inverse, j, select(accepted, 1.0 / norm, get(s.inverse, j)))
        larger = select(accepted & (norm > weight), norm, weight)
        follows = s.code[j] == LINEAR or (s.code[j] == STARTING and s.kind != LEAST_SQUARES)
        put(s.weight, j, full(s, 0.0) if project and follows else larger)


@inner
def move(p: Problem, s: State, moved: Any, target: np.ndarray) -> None:
    """Set points to where the steps lead; what is held at a bound lies on it exactly."""
    for j in range(s.count):
        row = s.rows[j]
        side, lower, upper = get(s.side, j), get(s.lower, j), get(s.upper, j)
        value = get(s.q, row) + get(s.step, j)
        value = select(side == AT_LOWER, lower, select(side == AT_UPPER, upper, value))
        value = select(value < lower, lower, select(value > upper, upper, value))
        put(target, row, select(moved, value, get(target, row)))
    tie_point(p, s, target)


@inner
def accept(s: State, accepted: Any, chisq: Any) -> None:
    """Make trial points the current ones, with their Gram matrices."""
    for j in range(s.count):
        moved = abs(get(s.trial, s.rows[j]) - get(s.q, s.rows[j]))
        put(s.moved, j, select(accepted, moved, get(s.moved, j)))
    for k in range(s.parameters):
        put(s.q, k, select(accepted, get(s.trial, k), get(s.q, k)))
    for k in range(at(s.count + 1, 0)):
        put(s.gram, k, select(accepted, get(s.gram_trial, k), get(s.gram, k)))
    put(s.known, CHISQ, select(accepted, chisq, get(s.known, CHISQ)))
