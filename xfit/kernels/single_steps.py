"""Steps of one parameter alone, where steps of all together lead nowhere."""

from __future__ import annotations

import math

import numpy as np

from xfit.compile.special import square
from xfit.kernels.evaluate import Spectrum, Structure
from xfit.kernels.jit import inner
from xfit.kernels.steps import AT_LOWER, AT_UPPER, STATIONARY
from xfit.kernels.ties import Ties, apply_ties
from xfit.kernels.workspace import UNKNOWN, Workspace, gram_of

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
def step_alone(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    count: int,
    chisq: float,
    least: float,
    ws: Workspace,
) -> tuple[float, int, bool]:
    """Find a parameter that lowers the loss by itself.

    Where a parameter lies at a kink (an edge on a channel), every step that moves it raises the loss, whatever the others would gain.

    Parameters
    ----------
    least : float
        Decrease that a parameter must promise to be tried.

    Returns
    -------
    chisq : float
        The lower loss at the trial point; what it was if there is none.
    evaluations : int
    finite : bool
        Whether the model was finite wherever it was tried, and next to no pole.
    """
    evaluations, finite = 0, True
    for j in range(count):
        if not ws.norm[j] > 0.0:
            continue
        slope, curvature = ws.gram[count, j], square(ws.norm[j])
        move = min(max(slope / curvature, ws.lower[j] - ws.theta[j]), ws.upper[j] - ws.theta[j])
        if move * (2.0 * slope - curvature * move) <= least:
            continue
        loss = chisq
        for _ in range(STEPS_ALONE):
            for k in range(ws.q.size):
                ws.trial[k] = ws.q[k]
            ws.trial[ws.rows[j]] = ws.theta[j] + move
            apply_ties(ties, ws.trial, ws.stack)
            loss = gram_of(structure, ties, x, spectrum, count, ws.trial, ws, ws.gram_trial)
            evaluations += 1
            known = math.isfinite(loss) and ws.flags[UNKNOWN] == 0
            finite = finite and known
            if known and chisq - loss > GAIN * move * (2.0 * slope - curvature * move):
                return loss, evaluations, finite
            move *= SHORTER
        # Within so short a step only a pole, or a jump of most of the loss, lets it rise like this.
        finite = finite and loss <= POLE * chisq
    return chisq, evaluations, finite
