"""Steps of one parameter alone, where steps of all together lead nowhere."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.elementary import square
from xfit.engine.math.jit import inner
from xfit.engine.pixel.evaluate import Spectrum, Structure
from xfit.engine.pixel.steps import AT_LOWER, AT_UPPER, FREE, STATIONARY
from xfit.engine.pixel.tie_machine import Ties, apply_ties
from xfit.engine.pixel.workspace import UNKNOWN, Workspace, gram_of

#: How far a parameter is moved away from a bound where it has no influence, in units of the distance from which it came.
RELEASE = 0.05

#: Lengths that a step of one parameter is tried with, each by the factor shorter. Where the loss is smooth, one of them lowers it.
STEPS_ALONE, SHORTER = 4, 1e-3

#: Part of the promised decrease that a step must give to be taken.
GAIN = 1e-4

#: Factor that the loss rises by next to a pole at the end of the shortest step.
POLE = 2.0


@inner
def step_from_bound(
    structure: Structure, ties: Ties, x: np.ndarray, spectrum: Spectrum, count: int, chisq: float, ws: Workspace
) -> tuple[float, int]:
    """Move a parameter that is held at a bound, where it has no influence, away from it if that lowers the loss.

    A width that enters squared has a derivative of zero at zero, whichever way the loss bends there.

    Returns
    -------
    chisq : float
        The lower loss at the trial point; what it was if there is none.
    evaluations : int
    """
    evaluations = 0
    for j in range(count):
        if ws.norm[j] > 0.0 or not (ws.state[j] == AT_LOWER or ws.state[j] == AT_UPPER) or ws.lower[j] == ws.upper[j]:
            continue
        way = ws.first[j] - ws.theta[j]
        if way == 0.0:
            inwards = 1.0 if ws.state[j] == AT_LOWER else -1.0
            way = inwards * min(ws.upper[j] - ws.lower[j], max(abs(ws.theta[j]), 1.0))
        for k in range(ws.q.size):
            ws.trial[k] = ws.q[k]
        ws.trial[ws.rows[j]] = ws.theta[j] + RELEASE * way
        apply_ties(ties, ws.trial, ws.stack)
        loss = gram_of(structure, ties, x, spectrum, count, ws.trial, ws, ws.gram_trial)
        evaluations += 1
        if ws.flags[UNKNOWN] == 0 and loss < chisq - STATIONARY * STATIONARY * chisq:
            return loss, evaluations
    return chisq, evaluations


@inner
def _tried_alone(
    structure: Structure, ties: Ties, x: np.ndarray, spectrum: Spectrum, count: int, j: int, chisq: float, ws: Workspace
) -> tuple[float, int, bool]:
    """Change one parameter, by steps of several lengths, until that lowers the loss; see `step_alone`."""
    slope, curvature = ws.gram[count, j], square(ws.norm[j])
    move = _best_move(count, j, ws)
    loss, finite = chisq, True
    for length in range(STEPS_ALONE):
        for k in range(ws.q.size):
            ws.trial[k] = ws.q[k]
        ws.trial[ws.rows[j]] = ws.theta[j] + move
        apply_ties(ties, ws.trial, ws.stack)
        loss = gram_of(structure, ties, x, spectrum, count, ws.trial, ws, ws.gram_trial)
        known = math.isfinite(loss) and ws.flags[UNKNOWN] == 0
        finite = finite and known
        if known and chisq - loss > GAIN * move * (2.0 * slope - curvature * move):
            return loss, length + 1, finite
        move *= SHORTER
    # Within so short a step only a pole, or a jump of most of the loss, lets it rise like this.
    return chisq, STEPS_ALONE, finite and loss <= POLE * chisq


@inner
def _best_move(count: int, j: int, ws: Workspace) -> float:
    """Where a parameter by itself promises the lowest loss within its bounds."""
    move = ws.gram[count, j] / square(ws.norm[j])
    return min(max(move, ws.lower[j] - ws.theta[j]), ws.upper[j] - ws.theta[j])


@inner
def _promises(count: int, j: int, least: float, ws: Workspace) -> bool:
    """Whether a parameter by itself promises a decrease of more than ``least``."""
    if not ws.norm[j] > 0.0:
        return False
    move = _best_move(count, j, ws)
    return move * (2.0 * ws.gram[count, j] - square(ws.norm[j]) * move) > least


@inner
def step_alone(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    count: int,
    chisq: float,
    least: float,
    ws: Workspace,
) -> tuple[float, int, int, bool]:
    """Hold the parameters that lie at kinks: they promise a lower loss, but no step of them gives it.

    Every step that moves one of them (an edge on a channel) raises the loss, whatever the others would gain. If none of them does, the
    last of the steps that lower the loss is left as the trial point.

    Parameters
    ----------
    least : float
        Decrease that a parameter must promise to be tried.

    Returns
    -------
    chisq : float
        The lower loss at the trial point; what it was if there is none.
    held, evaluations : int
        How many parameters are held now that were not before.
    finite : bool
        Whether the model was finite wherever it was tried, and next to no pole.
    """
    evaluations, held, finite = 0, 0, True
    lowers = -1
    for j in range(count):
        if _promises(count, j, least, ws):
            loss, tries, known = _tried_alone(structure, ties, x, spectrum, count, j, chisq, ws)
            evaluations += tries
            finite = finite and known
            if loss < chisq:
                lowers = j
            else:
                ws.apart[0, j], ws.apart[1, j] = ws.lower[j], ws.upper[j]
                ws.lower[j] = ws.upper[j] = ws.theta[j]
                held += 1
    if held > 0 or lowers < 0:
        return chisq, held, evaluations, finite
    lower, tries, _ = _tried_alone(structure, ties, x, spectrum, count, lowers, chisq, ws)
    return lower, held, evaluations + tries, finite


@inner
def step_from_kink(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    count: int,
    chisq: float,
    least: float,
    ws: Workspace,
) -> tuple[float, int]:
    """Let go of a parameter that is held at a kink, if by now it lowers the loss.

    Parameters
    ----------
    least : float
        By how much at least.

    Returns
    -------
    chisq : float
        The lower loss at the trial point; what it was if there is none.
    evaluations : int
    """
    evaluations = 0
    for j in range(count):
        if math.isnan(ws.apart[0, j]):
            continue
        ws.lower[j], ws.upper[j] = ws.apart[0, j], ws.apart[1, j]
        if _promises(count, j, least, ws):
            loss, tries, _ = _tried_alone(structure, ties, x, spectrum, count, j, chisq, ws)
            evaluations += tries
            if chisq - loss > least:
                ws.apart[0, j] = ws.apart[1, j] = math.nan
                return loss, evaluations
        ws.lower[j] = ws.upper[j] = ws.theta[j]
    return chisq, evaluations


@inner
def let_go(count: int, ws: Workspace) -> None:
    """Give the parameters that are held at kinks their bounds again."""
    for j in range(count):
        if not math.isnan(ws.apart[0, j]):
            ws.lower[j], ws.upper[j] = ws.apart[0, j], ws.apart[1, j]
            ws.state[j] = FREE
