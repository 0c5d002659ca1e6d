"""Difference quotients in the place of derivatives that are not finite where the model is.

The derivative of ``x**a`` with respect to ``a`` is ``x**a log(x)``, which is 0 times infinity at ``x = 0``; that of
``1 / (1 + exp(u))`` is infinity over infinity where the exponential overflows. The model itself is finite there. One
such channel would make the whole column useless; a quotient of differences in that channel is its limit, to some ten
digits where the model is smooth.
"""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.evaluation.tie_machine import Ties, tie_value
from xfit.engine.math.call import call_kernel
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import PITCH

#: Step of a difference relative to the parameter: the cube root of the rounding error, which is best for central
#: differences.
_STEP = 6.055454452393343e-06


@inner
def _step_of(value: float) -> float:
    """Step of a difference that is a difference of two numbers exactly."""
    moved = value + (_STEP * abs(value) if value != 0.0 else _STEP)
    return moved - value


@inner
def _slope(down: float, middle: float, up: float, step: float) -> float:
    """Quotient of a central difference or, where one of the outer values is not finite, of a difference to one side."""
    if math.isfinite(up) and math.isfinite(down):
        return (up - down) / (2.0 * step)
    return (up - middle) / step if math.isfinite(up) else (middle - down) / step


@inner
def replace_rows(
    address: int,
    x: np.ndarray,
    x_at: int,
    width: int,
    q: np.ndarray,
    parameters: int,
    first: int,
    count: int,
    rows: np.ndarray,
    rows_at: int,
    value_at: int,
    n: int,
    spare: np.ndarray,
    spare_at: int,
    scratch: np.ndarray,
) -> None:
    """Replace the derivatives of one component that are not finite in channels where the value is.

    Parameters
    ----------
    address, x, x_at, width
        The component's kernel and its coordinates, as for `xfit.engine.math.call.call_kernel`.
    q : float64 (parameters,)
        Values of all parameters; left as they are.
    parameters : int
        How many those are.
    first, count : int
        Position of the component's first parameter, and how many it has.
    rows : float64 (any,)
        Holds the derivatives, ``PITCH`` apart, from ``rows_at`` on, and the value from ``value_at`` on.
    n : int
        Number of channels.
    spare : float64 (at least spare_at + (parameters + 3) * PITCH,)
        Scratch from ``spare_at`` on.
    scratch : float64 (any,)
        For the kernel.
    """
    values = spare_at + parameters * PITCH
    for j in range(count):
        row = rows_at + j * PITCH
        wrong = 0
        for i in range(n):
            wrong += 1 if math.isfinite(rows[value_at + i]) and not math.isfinite(rows[row + i]) else 0
        if wrong == 0:
            continue
        middle = q[first + j]
        step = _step_of(middle)
        for side in range(3):
            q[first + j] = middle + (side - 1) * step
            value = values + side * PITCH
            for i in range(n):
                spare[value + i] = 0.0
            call_kernel(address, x, x_at, width, q, first, spare, value, spare, spare_at + first * PITCH, n, scratch)
        q[first + j] = middle
        for i in range(n):
            if math.isfinite(rows[value_at + i]) and not math.isfinite(rows[row + i]):
                at = values + i
                rows[row + i] = _slope(spare[at], spare[at + PITCH], spare[at + 2 * PITCH], step)


@inner
def replace_tie_derivatives(ties: Ties, q: np.ndarray, derivative: np.ndarray, stack: np.ndarray) -> None:
    """Replace derivatives of ties that are not finite, in place; ``q`` is left as it is."""
    for d in range(ties.row.size):
        if math.isfinite(derivative[d]):
            continue
        t, source = ties.row[d], ties.column[d]
        middle = q[source]
        step = _step_of(middle)
        q[source] = middle + step
        up = tie_value(ties, t, q, stack)
        q[source] = middle - step
        down = tie_value(ties, t, q, stack)
        q[source] = middle
        derivative[d] = _slope(down, tie_value(ties, t, q, stack), up, step)
