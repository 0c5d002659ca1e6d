"""One pixel's loss, derivatives and errors for optimizers that are written in Python, and its curve."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.evaluation.evaluate import fill_tile, gram_of, jacobian_of
from xfit.engine.evaluation.gram import sum_of_squares
from xfit.engine.evaluation.rare import set_response
from xfit.engine.evaluation.state import FREE, UNKNOWN, Problem, State
from xfit.engine.lm.qr import promise, solve
from xfit.engine.lm.steps import any_flat, is_stationary, rescale
from xfit.engine.lm.trust_region import STATIONARY
from xfit.engine.math.entries import entry
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import PITCH, TILE
from xfit.engine.math.records import Integers, Reals, RealTable
from xfit.engine.math.widths import address_of
from xfit.engine.pixel.alone import prepare_with_response, write_all
from xfit.engine.pixel.rows import Block, Limits, move_to
from xfit.engine.pixel.status import CONVERGED, NONFINITE_DERIVATIVE, NONFINITE_MODEL, SINGULAR

#: Largest decrease of the loss that a full step may still promise where a fit has converged, in units of the loss over
#: the degrees of freedom: a hundredth of a standard error.
CLOSE = 1e-4

#: How many full steps are taken then.
STEPS = 3

#: And the part of the data's sum of squares below which nothing is left to be fitted.
NOTHING_LEFT = 1e-12


@entry
def begin_pixel(p: Problem, s: State, block: Block, response: RealTable, i: int) -> bool:
    """Prepare a pixel; see `xfit.engine.pixel.rows.prepare`. Its start is in ``s.first``."""
    return prepare_with_response(p, s, block, response, i)


@entry
def loss_at(p: Problem, s: State, theta: Reals) -> float:
    """Loss at free parameters ``theta``; the Gram matrix and minus half the gradient are left in ``s.gram``."""
    move_to(p, s, theta)
    return gram_of(p, s, s.q, s.gram)


@entry
def deviations_at(p: Problem, s: State, theta: Reals) -> None:
    """Leave the weighted Jacobian and, in the row after it, minus the deviations in ``s.jacobian``."""
    move_to(p, s, theta)
    jacobian_of(p, s, 0)


@inner
def _arrive(p: Problem, s: State, theta: np.ndarray) -> float:
    """Make ``theta`` the current point; return its loss."""
    move_to(p, s, theta)
    loss = gram_of(p, s, s.q, s.gram)
    for j in range(s.count):
        s.side[j] = FREE
        s.weight[j] = 0.0
    rescale(s, True, False)
    s.factorised = False
    return loss


@entry
def end_pixel(
    p: Problem, s: State, block: Block, i: int, theta: Reals, otherwise: int, polish: bool, nfev: int, limits: Limits
) -> None:
    """Write a pixel whose fit ended at ``theta``, with errors.

    It has converged where a full step from there promises next to nothing, whatever the optimizer says of itself. Such
    steps are taken, as long as they lower the loss.

    Parameters
    ----------
    otherwise : int
        The status if it has not.
    polish : bool
        Whether to take these steps.
    """
    loss = _arrive(p, s, theta)
    status = NONFINITE_MODEL
    by_qr = moved = False
    for _ in range(1 + (STEPS if polish else 0)):
        if not math.isfinite(loss):
            break
        if s.flags[UNKNOWN] != 0:
            status = NONFINITE_DERIVATIVE
            break
        solved = solve(p, s, 0.0)
        by_qr = s.by_qr
        status = SINGULAR
        if not solved:
            break
        _, decrease = promise(s)
        close = CLOSE * loss / max(s.used - s.count, 1) + NOTHING_LEFT * sum_of_squares(s)
        near = decrease <= close and is_stationary(s, close)
        status = otherwise if not near else SINGULAR if any_flat(s) else CONVERGED
        if status != CONVERGED or not polish or decrease <= STATIONARY * STATIONARY * loss:
            break
        for j in range(s.count):
            value = s.q[s.rows[j]]
            s.best[j] = value
            s.first[j] = min(max(value + s.step[j], s.lower[j]), s.upper[j])
        lower = _arrive(p, s, s.first)
        nfev += 1
        moved = True
        if not lower < loss:
            loss = _arrive(p, s, s.best)
            break
        loss = lower
    if moved:
        # Errors need what belongs to the point of the end.
        solve(p, s, 0.0)
        by_qr = s.by_qr
    write_all(p, s, block, limits, i, status, loss, nfev, 1 if by_qr else 0)


@entry
def evaluate_pixels(
    p: Problem,
    s: State,
    width: Reals,
    response: RealTable,
    values: RealTable,
    pixels: Integers,
    out: RealTable,
) -> None:
    """Evaluate the sum of the active components for the listed pixels.

    Parameters
    ----------
    p, s : Problem, State
        The model; scratch.
    width : float64 (n_channels,), or (0,) for data that are not binned
        Channel widths.
    response : float64 (n_pixels or 1, any)
        What the components that need it are convolved with.
    values : float64 (n_pixels, n_parameters)
        Values of all parameters, tied ones included.
    pixels : int64 (any,)
        Which pixels to evaluate.
    out : float64 (n_pixels, n_channels)
        Written in place; left as it is where the response is not finite.
    """
    structure, last, channels = p.structure, s.parameters * PITCH, p.x.shape[1]
    for d in range(p.ties.row.size):
        s.derivative[d] = 0.0
    for i in pixels:
        row = i if response.shape[0] > 1 else 0
        if structure.plan.size > 0 and set_response(p, address_of(response[row]), response.shape[1], row) == 0:
            continue
        for k in range(s.parameters):
            s.q[k] = values[i, k]
        for start in range(0, channels, TILE):
            n = min(TILE, channels - start)
            for c in range(n):
                s.tile[last + c] = 0.0
            fill_tile(p, s, s.q, start, n, False)
            for c in range(n):
                out[i, start + c] = s.tile[last + c] * (width[start + c] if width.size else 1.0)
