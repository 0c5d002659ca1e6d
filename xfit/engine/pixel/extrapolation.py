"""Steps of losses whose curvature is known approximately only, extrapolated.

Fisher's scoring, and what stands in its place for other losses, leaves out the curvature of the model times the deviations. So near the
minimum each full step leaves a part of the distance, mostly along one direction, in which it falls by the same factor every time. Two
steps tell that factor; Anderson's acceleration of depth one (J. ACM 12, 547 (1965), doi:10.1145/321296.321305), with lengths measured by
the Gram matrix, goes where this leads.
"""

from __future__ import annotations

import numpy as np

from xfit.engine.math.jit import inner
from xfit.engine.pixel.steps import FREE
from xfit.engine.pixel.workspace import Workspace

#: Largest part of a step that may be added to it: with more, the sum of squares would not be expected to fall.
LARGEST = 0.9


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
    inside = inside and abs(part) <= LARGEST
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
