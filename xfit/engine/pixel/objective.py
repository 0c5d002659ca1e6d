"""One pixel's loss, derivatives and errors for optimizers that are written in Python."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.jit import entry, inner
from xfit.engine.pixel.evaluate import Spectrum, Structure, sum_of_squares
from xfit.engine.pixel.levenberg_marquardt import damped_or_not, move_to
from xfit.engine.pixel.loss_functions import Deviations
from xfit.engine.pixel.packed_row import STATUS, scalars_at
from xfit.engine.pixel.rows import Block, Buffer, Limits, evaluate_solution, prepare, row_of, write
from xfit.engine.pixel.standard_errors import finish
from xfit.engine.pixel.status import BAD_RESPONSE, CONVERGED, NONFINITE_DERIVATIVE, NONFINITE_MODEL, SINGULAR
from xfit.engine.pixel.steps import FLAT, FREE, STATIONARY, is_stationary, predicted_decrease, scale_of
from xfit.engine.pixel.tie_machine import Ties
from xfit.engine.pixel.whole_axis import set_response
from xfit.engine.pixel.workspace import UNKNOWN, Outcome, Workspace, gram_of, jacobian_of

#: Largest decrease of the loss that a full step may still promise where a fit has converged, in units of the loss over the
#: degrees of freedom: a hundredth of a standard error.
CLOSE = 1e-4

#: How many full steps are taken then.
STEPS = 3

#: And the part of the data's sum of squares below which nothing is left to be fitted.
NOTHING_LEFT = 1e-12


def spectrum_for(buffer: Buffer, limits: Limits, plain: bool, used: int, smallest: float, channels: int) -> Spectrum:
    """Put together a prepared pixel's data and loss, for the functions below."""
    deviations = Deviations(limits.loss, smallest, buffer.weight, buffer.work, False)
    return Spectrum(buffer.weighted, buffer.factor, plain, used, channels, deviations)


@entry
def begin_pixel(
    structure: Structure,
    ties: Ties,
    block: Block,
    response: np.ndarray,
    i: int,
    free: np.ndarray,
    limits: Limits,
    buffer: Buffer,
    ws: Workspace,
) -> tuple[bool, bool, int, float]:
    """Prepare a pixel; see `xfit.engine.pixel.rows.prepare`. Its start is in ``ws.first``, its bounds are in ``ws``."""
    ready, plain, used, smallest = prepare(block, i, ties, free, limits.loss, buffer, ws)
    row = row_of(response, i)
    if ready and structure.plan.size > 0 and not set_response(structure.plan, structure.numbers, response[row], row):
        block.out[i, scalars_at(ws.q.size) + STATUS] = BAD_RESPONSE
        ready = False
    return ready, plain, used, smallest


@entry
def loss_at(
    structure: Structure, ties: Ties, x: np.ndarray, spectrum: Spectrum, theta: np.ndarray, ws: Workspace
) -> float:
    """Loss at free parameters ``theta``; the Gram matrix and minus half the gradient are left in ``ws.gram``."""
    move_to(theta, ties, ws)
    return gram_of(structure, ties, x, spectrum, theta.size, ws.q, ws, ws.gram)


@entry
def deviations_at(
    structure: Structure, ties: Ties, x: np.ndarray, spectrum: Spectrum, theta: np.ndarray, ws: Workspace
) -> None:
    """Leave the weighted Jacobian and, in the row after it, minus the deviations in ``ws.jacobian``."""
    move_to(theta, ties, ws)
    jacobian_of(structure, ties, x, spectrum, theta.size, ws, ws.jacobian)


@inner
def _arrive(
    structure: Structure, ties: Ties, x: np.ndarray, spectrum: Spectrum, theta: np.ndarray, ws: Workspace
) -> float:
    """Make ``theta`` the current point of the workspace; return its loss."""
    count = theta.size
    move_to(theta, ties, ws)
    loss = gram_of(structure, ties, x, spectrum, count, ws.q, ws, ws.gram)
    scale_of(ws.gram, count, ws.norm)
    for j in range(count):
        ws.theta[j] = theta[j]
        ws.state[j] = FREE
        ws.weight[j] = ws.norm[j]
    return loss


@inner
def _any_flat(count: int, ws: Workspace) -> bool:
    """Whether a free parameter has no influence on the model here."""
    for j in range(count):
        if ws.state[j] == FLAT:
            return True
    return False


@entry
def end_pixel(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    block: Block,
    i: int,
    spectrum: Spectrum,
    theta: np.ndarray,
    otherwise: int,
    polish: bool,
    nfev: int,
    limits: Limits,
    buffer: Buffer,
    ws: Workspace,
) -> None:
    """Write a pixel whose fit ended at ``theta``, with errors.

    It has converged where a full step from there promises next to nothing, whatever the optimizer says of itself. Such steps are taken, as
    long as they lower the loss.

    Parameters
    ----------
    otherwise : int
        The status if it has not.
    polish : bool
        Whether to take these steps.
    """
    count = theta.size
    loss = _arrive(structure, ties, x, spectrum, theta, ws)
    status = NONFINITE_MODEL
    by_qr = moved = False
    for _ in range(1 + (STEPS if polish else 0)):
        if not math.isfinite(loss):
            break
        if ws.flags[UNKNOWN] != 0:
            status = NONFINITE_DERIVATIVE
            break
        solved, by_qr, _ = damped_or_not(structure, ties, x, spectrum, count, 0.0, False, ws)
        status = SINGULAR
        if not solved:
            break
        _, decrease = predicted_decrease(ws.gram, ws.jacobian, by_qr, count, ws.step)
        close = CLOSE * loss / max(spectrum.used - count, 1) + NOTHING_LEFT * sum_of_squares(spectrum.y)
        near = decrease <= close and is_stationary(
            ws.gram, count, ws.norm, ws.theta, ws.lower, ws.upper, ws.state, close
        )
        status = otherwise if not near else SINGULAR if _any_flat(count, ws) else CONVERGED
        if status != CONVERGED or not polish or decrease <= STATIONARY * STATIONARY * loss:
            break
        for j in range(count):
            ws.best[j] = ws.theta[j]
            ws.first[j] = min(max(ws.theta[j] + ws.step[j], ws.lower[j]), ws.upper[j])
        lower = _arrive(structure, ties, x, spectrum, ws.first, ws)
        nfev += 1
        moved = True
        if not lower < loss:
            loss = _arrive(structure, ties, x, spectrum, ws.best, ws)
            break
        loss = lower
    if moved:
        # Errors need what belongs to the point of the end.
        _, by_qr, _ = damped_or_not(structure, ties, x, spectrum, count, 0.0, False, ws)
    outcome, chisq = evaluate_solution(structure, ties, x, spectrum, Outcome(status, loss, nfev, by_qr), count, ws)
    write(outcome, chisq, structure, count, limits, ws, block.out[i])
    if status == CONVERGED:
        finish(structure, ties, x, spectrum, outcome, count, block.pairs, limits, ws, buffer.spread, block.out[i])
