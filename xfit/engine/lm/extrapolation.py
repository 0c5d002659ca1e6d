"""Steps of losses whose curvature is known approximately only, extrapolated.

Fisher's scoring, and what stands in its place for other losses, leaves out the curvature of the model times the
deviations. So near the minimum each full step leaves a part of the distance, mostly along one direction, in which it
falls by the same factor every time. Two steps tell that factor; Anderson's acceleration of depth one (J. ACM 12, 547
(1965), doi:10.1145/321296.321305), with lengths measured by the Gram matrix, goes where this leads.
"""

from __future__ import annotations

from typing import Any

from xfit.engine.evaluation.state import FULL, State
from xfit.engine.lm.steps import any_held
from xfit.engine.math.cholesky import at, element
from xfit.engine.math.jit import inner
from xfit.engine.math.vector import any_lane, negation, select
from xfit.engine.math.widths import full, fused, get, put

#: Largest part of a step that may be added to it: with more, the sum of squares would not be expected to fall.
LARGEST = 0.9


@inner
def extrapolate(s: State, allowed: Any) -> Any:
    """Extrapolate full steps by those before them, where the last moves were full steps; return where that was done.

    ``s.full_step`` becomes the full step, ``s.taken`` the one that is left in ``s.step``.
    """
    top = bottom = full(s, 0.0)
    for i in range(s.count):
        change = get(s.step, i) - get(s.full_step, i)
        top = fused(change, get(s.gram, at(s.count, i)), top)
        total = full(s, 0.0)
        for j in range(s.count):
            total = fused(element(s.gram, i, j), get(s.step, j) - get(s.full_step, j), total)
        bottom = fused(change, total, bottom)
    part = top / bottom
    able = allowed & (get(s.known, FULL) >= 1.0) & negation(any_held(s)) & (bottom > 0.0) & (abs(part) <= LARGEST)
    if any_lane(able):
        for i in range(s.count):
            step = get(s.step, i)
            put(s.solution, i, step - part * (get(s.taken, i) + step - get(s.full_step, i)))
            value = get(s.q, s.rows[i]) + get(s.solution, i)
            able = able & (value > get(s.lower, i)) & (value < get(s.upper, i))
    for i in range(s.count):
        step = get(s.step, i)
        put(s.full_step, i, select(allowed, step, get(s.full_step, i)))
        step = select(able, get(s.solution, i), step)
        put(s.step, i, step)
        put(s.taken, i, select(allowed, step, get(s.taken, i)))
    return able
