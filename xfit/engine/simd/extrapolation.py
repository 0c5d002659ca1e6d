"""Steps of pixels side by side extrapolated; see `xfit.engine.pixel.extrapolation`."""

from __future__ import annotations

from typing import Any

import numpy as np

from xfit.engine.math.jit import inlined_sums
from xfit.engine.math.vector import any_lane, load, reals, select, store
from xfit.engine.pixel.extrapolation import LARGEST
from xfit.engine.simd.evaluate import at
from xfit.engine.simd.steps import LaneSteps, element


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
    able = able & (bottom > 0.0) & (abs(part) <= LARGEST)
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
