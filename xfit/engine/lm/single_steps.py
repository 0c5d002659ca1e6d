"""Steps of one parameter alone, where steps of all together lead nowhere; of one pixel."""

from __future__ import annotations

import math

from xfit.engine.evaluation.evaluate import gram_of, tie_point
from xfit.engine.evaluation.state import AT_LOWER, AT_UPPER, CHISQ, FREE, UNKNOWN, Problem, State
from xfit.engine.lm.trust_region import GAIN, STATIONARY
from xfit.engine.math.cholesky import at
from xfit.engine.math.jit import inner

#: How far a parameter is moved away from a bound where it has no influence, in units of the distance from which it
#: came.
RELEASE = 0.05

#: Lengths that a step of one parameter is tried with, each by the factor shorter. Where the loss is smooth, one of them
#: lowers it.
STEPS_ALONE, SHORTER = 4, 1e-3

#: Factor that the loss rises by next to a pole at the end of the shortest step.
POLE = 2.0


@inner
def at_bound(s: State, j: int) -> bool:
    """Whether the step holds a parameter at a bound."""
    return s.side[j] == AT_LOWER or s.side[j] == AT_UPPER


@inner
def _loss_with(p: Problem, s: State, j: int, value: float) -> float:
    """Loss with one free parameter at another value, the trial point; evaluated in ``s.gram_trial``."""
    for k in range(s.parameters):
        s.trial[k] = s.q[k]
    s.trial[s.rows[j]] = value
    tie_point(p, s, s.trial)
    return gram_of(p, s, s.trial, s.gram_trial)


@inner
def step_from_bound(p: Problem, s: State) -> tuple[float, int]:
    """Move a parameter that is held at a bound, where it has no influence, away from it if that lowers the loss.

    A width that enters squared has a derivative of zero at zero, whichever way the loss bends there.

    Returns
    -------
    chisq : float
        The lower loss at the trial point; what it was if there is none.
    evaluations : int
    """
    chisq, evaluations = s.known[CHISQ], 0
    for j in range(s.count):
        if s.gram[at(j, j)] > 0.0 or not at_bound(s, j) or s.lower[j] == s.upper[j]:
            continue
        value = s.q[s.rows[j]]
        way = s.first[j] - value
        if way == 0.0:
            inwards = 1.0 if s.side[j] == AT_LOWER else -1.0
            way = inwards * min(s.upper[j] - s.lower[j], max(abs(value), 1.0))
        loss = _loss_with(p, s, j, value + RELEASE * way)
        evaluations += 1
        if s.flags[UNKNOWN] == 0 and loss < chisq - STATIONARY * STATIONARY * chisq:
            return loss, evaluations
    return chisq, evaluations


@inner
def _best_move(s: State, j: int) -> float:
    """Where a parameter by itself promises the lowest loss within its bounds."""
    value = s.q[s.rows[j]]
    return min(max(s.gram[at(s.count, j)] / s.gram[at(j, j)], s.lower[j] - value), s.upper[j] - value)


@inner
def _promised(s: State, j: int, move: float) -> float:
    """Decrease of the loss that a parameter promises for a move by itself."""
    return move * (2.0 * s.gram[at(s.count, j)] - s.gram[at(j, j)] * move)


@inner
def _promises(s: State, j: int, least: float) -> bool:
    """Whether a parameter by itself promises a decrease of more than ``least``."""
    return s.gram[at(j, j)] > 0.0 and _promised(s, j, _best_move(s, j)) > least


@inner
def _tried_alone(p: Problem, s: State, j: int) -> tuple[float, int, bool]:
    """Change one parameter, by steps of several lengths, until that lowers the loss; see `step_alone`."""
    move, chisq = _best_move(s, j), s.known[CHISQ]
    loss, finite = chisq, True
    for length in range(STEPS_ALONE):
        loss = _loss_with(p, s, j, s.q[s.rows[j]] + move)
        known = math.isfinite(loss) and s.flags[UNKNOWN] == 0
        finite = finite and known
        if known and chisq - loss > GAIN * _promised(s, j, move):
            return loss, length + 1, finite
        move *= SHORTER
    # Within so short a step only a pole, or a jump of most of the loss, lets it rise like this.
    return chisq, STEPS_ALONE, finite and loss <= POLE * chisq


@inner
def step_alone(p: Problem, s: State, least: float) -> tuple[float, int, int, bool]:
    """Hold the parameters that lie at kinks: they promise a lower loss, but no step of them gives it.

    Every step that moves one of them (an edge on a channel) raises the loss, whatever the others would gain. If none of
    them does, the last of the steps that lower the loss is left as the trial point.

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
    chisq = s.known[CHISQ]
    lowers, held, evaluations, finite = -1, 0, 0, True
    for j in range(s.count):
        if _promises(s, j, least):
            loss, tries, known = _tried_alone(p, s, j)
            evaluations += tries
            finite = finite and known
            if loss < chisq:
                lowers = j
            else:
                s.apart[0, j], s.apart[1, j] = s.lower[j], s.upper[j]
                s.lower[j] = s.upper[j] = s.q[s.rows[j]]
                held += 1
    if held > 0 or lowers < 0:
        return chisq, held, evaluations, finite
    lower, tries, _ = _tried_alone(p, s, lowers)
    return lower, held, evaluations + tries, finite


@inner
def step_from_kink(p: Problem, s: State, least: float) -> tuple[float, int]:
    """Let go of a parameter that is held at a kink, if by now it lowers the loss by ``least``;
    otherwise as `step_from_bound`.
    """
    chisq, evaluations = s.known[CHISQ], 0
    for j in range(s.count):
        if math.isnan(s.apart[0, j]):
            continue
        s.lower[j], s.upper[j] = s.apart[0, j], s.apart[1, j]
        if _promises(s, j, least):
            loss, tries, _ = _tried_alone(p, s, j)
            evaluations += tries
            if chisq - loss > least:
                s.apart[0, j] = s.apart[1, j] = math.nan
                return loss, evaluations
        s.lower[j] = s.upper[j] = s.q[s.rows[j]]
    return chisq, evaluations


@inner
def let_go(s: State) -> None:
    """Give the parameters that are held at kinks their bounds again."""
    for j in range(s.count):
        if not math.isnan(s.apart[0, j]):
            s.lower[j], s.upper[j] = s.apart[0, j], s.apart[1, j]
            s.side[j] = FREE
            s.apart[0, j] = s.apart[1, j] = math.nan
