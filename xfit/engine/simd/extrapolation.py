"""Steps of losses whose curvature is known approximately only, extrapolated: for one pixel, and for eight side by side.

Fisher's scoring, and what stands in its place for other losses, leaves out the curvature of the model times the deviations. So near the
minimum each full step leaves a part of the distance, mostly along one direction, in which it falls by the same factor every time. Two
steps tell that factor; Anderson's acceleration of depth one (J. ACM 12, 547 (1965), doi:10.1145/321296.321305), with lengths measured by
the Gram matrix, goes where this leads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xfit.engine.math.jit import inlined_sums, inner
from xfit.engine.math.vector import any_lane, load, reals, select, store
from xfit.engine.pixel.steps import FREE
from xfit.engine.pixel.workspace import Workspace
from xfit.engine.simd.evaluate import at
from xfit.engine.simd.steps import LaneSteps, element

#: Largest part of a step that may be added to it: with more, the sum of squares would not be expected to fall.
_LARGEST = 0.9


@inner
def extrapolate(count: int, after_full: bool, ws: Workspace) -> bool:
    """Extrapolate the full step in ``ws.step`` by that before it, if the last move was a full step; return whether it was.

    ``ws.full`` becomes the full step, ``ws.taken`` the one that is left in ``ws.step``.
    """
    top = bottom = 0.0
    inside = after_full
    for i in range(count):
        inside = inside and ws.state[i] == FREE
        change = ws.step[i] - ws.full[i]
        top += change * ws.gram[count, i]
        total = 0.5 * ws.gram[i, i] * change
        for j in range(i):
            total += ws.gram[i, j] * (ws.step[j] - ws.full[j])
        bottom += 2.0 * change * total
    part = top / bottom if bottom > 0.0 else np.inf
    inside = inside and abs(part) <= _LARGEST
    if inside:
        for i in range(count):
            value = ws.theta[i] + ws.step[i] - part * (ws.taken[i] + ws.step[i] - ws.full[i])
            inside = inside and ws.lower[i] < value < ws.upper[i]
    for i in range(count):
        step = ws.step[i]
        if inside:
            ws.step[i] = step - part * (ws.taken[i] + step - ws.full[i])
        ws.full[i] = step
        ws.taken[i] = ws.step[i]
    return inside


@inlined_sums
def extrapolate_lanes(may: Any, after_full: Any, q: np.ndarray, rows: np.ndarray, count: int, ls: LaneSteps) -> Any:
    """Likewise for the pixels of ``may``, with ``ls.step``, ``ls.full`` and ``ls.taken``; return which were extrapolated."""
    top = bottom = reals(0.0)
    able = may & after_full
    for i in range(count):
        able = able & (load(ls.side, i) == 0.0)
        change = load(ls.step, i) - load(ls.full, i)
        top += change * load(ls.gram, at(count, i))
        total = reals(0.0)
        for j in range(count):
            total += element(ls.gram, i, j) * (load(ls.step, j) - load(ls.full, j))
        bottom += change * total
    part = top / bottom
    able = able & (bottom > 0.0) & (abs(part) <= _LARGEST)
    if any_lane(able):
        for i in range(count):
            step = load(ls.step, i)
            store(ls.solution, i, step - part * (load(ls.taken, i) + step - load(ls.full, i)))
            value = load(q, rows[i]) + load(ls.solution, i)
            able = able & (value > load(ls.lower, i)) & (value < load(ls.upper, i))
    for i in range(count):
        step = load(ls.step, i)
        store(ls.full, i, select(may, step, load(ls.full, i)))
        step = select(able, load(ls.solution, i), step)
        store(ls.step, i, step)
        store(ls.taken, i, select(may, step, load(ls.taken, i)))
    return able
