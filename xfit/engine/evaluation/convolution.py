"""Convolution of components with the instrument's response, by Fourier transforms of several rows at a time."""

from __future__ import annotations

import numpy as np

from xfit.engine.evaluation.axis_plan import TRANSFORMED, head_of
from xfit.engine.evaluation.fourier import backward, forward
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import LANES
from xfit.engine.math.vector import load, store
from xfit.engine.math.widths import fused

#: Rows that are convolved at a time: as real and imaginary parts of `LANES` sequences.
AT_ONCE = 2 * LANES


@inner
def set_response(plan: np.ndarray, numbers: np.ndarray, response: np.ndarray, row: int) -> bool:
    """Transform a pixel's response, unless it is that of the pixel before.

    Parameters
    ----------
    plan, numbers
        See `lay_out`.
    response : float64 (n,)
        The pixel's.
    row : int
        Which row of the block's responses it is.

    Returns
    -------
    bool
        Whether it is finite.
    """
    head = head_of(plan)
    if head.size == 0 or head.transformed == row:
        return True
    total = 0.0
    for value in response:
        total += value - value
    if total != 0.0:
        return False
    work = numbers[head.work :]
    for i in range(2 * head.size * LANES):
        work[i] = 0.0
    for j in range(response.size):
        work[2 * j * LANES] = response[j] / head.size
    turns = numbers[head.turns : head.work]
    forward(work, head.size, turns)
    for i in range(2 * head.size):
        numbers[head.transform + i] = work[i * LANES]
    plan[TRANSFORMED] = row
    return True


@inner
def convolve(plan: np.ndarray, numbers: np.ndarray, lines: int) -> None:
    """Convolve ``rows`` with the response, as many at a time as fit, and hand them to ``out``."""
    head = head_of(plan)
    work, turns = numbers[head.work :], numbers[head.turns : head.work]
    for first in range(0, lines, AT_ONCE):
        count = min(AT_ONCE, lines - first)
        for i in range(2 * head.size * LANES):
            work[i] = 0.0
        for line in range(count):
            source = head.rows + (first + line) * head.pitch
            lane = (line % 2) * LANES + line // 2
            for i in range(head.length):
                work[2 * LANES * i + lane] = numbers[source + i]
        forward(work, head.size, turns)
        _multiply(work, numbers[head.transform :], head.size)
        backward(work, head.size, turns)
        for line in range(count):
            row = plan[head.targets + first + line]
            target = head.out + row * head.pitch
            begin = 2 * LANES * head.lead + (line % 2) * LANES + line // 2
            if row == head.parameters:
                for i in range(head.channels):
                    numbers[target + i] += work[begin + 2 * LANES * i]
            else:
                for i in range(head.channels):
                    numbers[target + i] = work[begin + 2 * LANES * i]


@inner
def _multiply(work: np.ndarray, transform: np.ndarray, size: int) -> None:
    """Multiply all sequences, point by point, by the transform of the response."""
    for j in range(size):
        re, im = load(work, 2 * j), load(work, 2 * j + 1)
        c, s = transform[2 * j], transform[2 * j + 1]
        store(work, 2 * j, fused(re, c, -(im * s)))
        store(work, 2 * j + 1, fused(re, s, im * c))
