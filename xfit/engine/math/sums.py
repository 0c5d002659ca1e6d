"""Sums over the channels of one pixel in an order of their own, the same whatever the processor's vectors are: channels
modulo eight, then by halves.
"""

from __future__ import annotations

import numpy as np

from xfit.engine.math.jit import inner
from xfit.engine.math.layout import SPAN
from xfit.engine.math.widths import fused, no_span, span_at, sum_of_group, total


@inner
def sum_of(values: np.ndarray, n: int) -> float:
    """Sum of numbers, a multiple of `SPAN`, in that order."""
    sums = no_span(values)
    for k in range(0, n, SPAN):
        sums = total(sums, span_at(values, k))
    return sum_of_group(sums)


@inner
def dot(a: np.ndarray, b: np.ndarray, n: int) -> float:
    """Dot product, likewise."""
    sums = no_span(a)
    for k in range(0, n, SPAN):
        sums = fused(span_at(a, k), span_at(b, k), sums)
    return sum_of_group(sums)
