"""Pixels fitted one after another, each by as many attempts as it needs."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.evaluation.state import CLAIM, STOP, Outcome, Problem, State
from xfit.engine.lm.trust_region import RADII
from xfit.engine.math.cholesky import at
from xfit.engine.math.entries import entry
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import LINEAR, STARTING
from xfit.engine.math.records import Integers, Reals, RealTable, Record
from xfit.engine.pixel.alone import prepare_with_response, write_all
from xfit.engine.pixel.minimise import minimise
from xfit.engine.pixel.rows import Block, Limits, move_to, row_of
from xfit.engine.pixel.status import CONVERGED, MAX_NFEV, NONFINITE_DERIVATIVE, NONFINITE_MODEL

#: Evaluations for each free parameter after which variable projection is given up.
_PATIENCE = 20

#: By what part of itself a loss must be lower, or may be higher, to count as another.
_SAME = 1e-9


class Search(Record):
    """Where the fits of a pixel begin.

    Attributes
    ----------
    points : float64 (n_further, count)
        Further starts beside the given one, as fractions of the range of each free parameter.
    reach : float64 (count,)
        Half of that range around the given start; NaN for all that the bounds leave.
    chained : bool
        Whether each pixel starts where the one before it in the list ended.
    last : float64 (n_parameters,)
        Where that was; NaN before the first.
    """

    points: RealTable
    reach: Reals
    chained: bool
    last: Reals


@inner
def _remember(s: State) -> None:
    """Keep the current point as the best so far."""
    for j in range(s.count):
        s.best[j] = s.q[s.rows[j]]


@inner
def _hold_shapes(s: State) -> None:
    """Hold all but the amplitudes where the fit begins, by bounds; keep the bounds that there were."""
    for j in range(s.count):
        s.lowest[j], s.highest[j] = s.lower[j], s.upper[j]
        if s.code[j] != LINEAR and s.code[j] != STARTING:
            s.lower[j] = s.upper[j] = s.first[j]


@inner
def _let_shapes_go(s: State) -> None:
    """Undo `_hold_shapes`."""
    for j in range(s.count):
        s.lower[j], s.upper[j] = s.lowest[j], s.highest[j]


@inner
def _has_idle(s: State) -> bool:
    """Whether a parameter has no influence where the fit ended."""
    for j in range(s.count):
        if s.gram[at(j, j)] == 0.0:
            return True
    return False


#: Attempts at a fit: with the usual first step; with a shorter one, that keeps away from bounds; of the amplitudes
#: alone; from where that ended; from the best of all, for errors need what a fit leaves behind.
_USUAL, _SHORTER, _AMPLITUDES, _FROM_AMPLITUDES, _BEST, _NONE = range(6)


@inner
def _minimise(p: Problem, s: State, limits: Limits) -> Outcome:
    """Fit one pixel from ``s.first``, trying again with shorter first steps if it did not converge, or a
    parameter has lost its influence.

    What ends above the best amplitudes at the start is begun again from these.
    """
    best = Outcome(MAX_NFEV, math.inf, 0, False)
    nfev = 0
    claim = math.inf
    limit = limits.first_limit
    if limits.project:
        # Where amplitudes that follow the shapes lead nowhere, the second attempt does without.
        limit = min(limit, _PATIENCE * (s.count + 1))
    attempt = _USUAL
    while True:
        move_to(p, s, s.first)
        shorter = attempt == _SHORTER
        outcome = minimise(
            p,
            s,
            limits.tolerance,
            limit,
            RADII[1] if shorter else RADII[0],
            shorter,
            limits.project and attempt == _USUAL,
        )
        nfev += outcome.nfev
        if attempt == _USUAL:
            claim = s.known[CLAIM]
        if attempt == _BEST or outcome.status == NONFINITE_MODEL or outcome.status == NONFINITE_DERIVATIVE:
            return Outcome(outcome.status, outcome.loss, nfev, outcome.by_qr)
        limit = limits.max_nfev - nfev
        following = _NONE
        if attempt == _AMPLITUDES:
            _let_shapes_go(s)
            if limit > 0 and outcome.loss < best.loss * (1 - _SAME):
                for j in range(s.count):
                    s.first[j] = s.q[s.rows[j]]
                following = _FROM_AMPLITUDES
        else:
            good = outcome.status == CONVERGED and outcome.loss <= best.loss * (1 + _SAME)
            above = min(outcome.loss, best.loss) > (claim + _SAME * abs(claim) if math.isfinite(claim) else claim)
            if good and (attempt == _FROM_AMPLITUDES or not above) and (attempt != _USUAL or not _has_idle(s)):
                return Outcome(outcome.status, outcome.loss, nfev, outcome.by_qr)
            # A minimum is given up for a lower one only, or for what is clearly lower.
            if good or outcome.loss < best.loss * (1 - _SAME if best.status == CONVERGED else 1.0):
                _remember(s)
                best = outcome
            if limit > 0 and attempt == _USUAL and (not good or _has_idle(s)):
                following = _SHORTER
            elif limit > 0 and attempt != _FROM_AMPLITUDES and above:
                following = _AMPLITUDES
                _hold_shapes(s)
        if following == _NONE and best.status == CONVERGED:
            for j in range(s.count):
                s.first[j] = s.best[j]
            limit = limits.first_limit
            following = _BEST
        if following == _NONE:
            move_to(p, s, s.best)
            return Outcome(best.status, best.loss, nfev, best.by_qr)
        attempt = following


@inner
def _scatter(s: State, search: Search, number: int, given: np.ndarray) -> None:
    """Set ``s.first`` to a further start."""
    for j in range(s.count):
        low, high = s.lower[j], s.upper[j]
        start = given[s.rows[j]]
        if not math.isnan(search.reach[j]):
            low, high = max(low, start - search.reach[j]), min(high, start + search.reach[j])
        finite = math.isfinite(low) and math.isfinite(high)
        s.first[j] = low + search.points[number, j] * (high - low) if finite else start


@inner
def _minimise_from_several(p: Problem, s: State, given: np.ndarray, search: Search, limits: Limits) -> Outcome:
    """Fit one pixel from the given start and from further ones; the lowest minimum is kept."""
    best = _minimise(p, s, limits)
    nfev = best.nfev
    if search.points.shape[0] == 0:
        return best
    for j in range(s.count):
        s.kept[j] = s.q[s.rows[j]]
    for number in range(search.points.shape[0]):
        _scatter(s, search, number, given)
        outcome = _minimise(p, s, limits)
        nfev += outcome.nfev
        found = outcome.status == CONVERGED
        if best.status == NONFINITE_MODEL or (found and best.status != CONVERGED):
            better = outcome.status != NONFINITE_MODEL
        else:
            better = (found or best.status != CONVERGED) and outcome.loss < best.loss
        if better:
            best = outcome
            for j in range(s.count):
                s.kept[j] = s.q[s.rows[j]]
    if best.status == CONVERGED:
        # Errors need what a fit leaves behind at its end: that of the best one.
        for j in range(s.count):
            s.first[j] = s.kept[j]
        best = _minimise(p, s, limits)
        nfev += best.nfev
    else:
        move_to(p, s, s.kept)
    return Outcome(best.status, best.loss, nfev, best.by_qr)


@inner
def _follow(s: State, last: np.ndarray) -> None:
    """Start where the pixel before ended, as far as the bounds allow."""
    for j in range(s.count):
        value = last[s.rows[j]]
        if not math.isnan(value):
            s.first[j] = min(max(value, s.lower[j]), s.upper[j])


@entry
def fit_singly(
    p: Problem,
    s: State,
    block: Block,
    response: RealTable,
    pixels: Integers,
    limits: Limits,
    search: Search,
) -> None:
    """Fit the listed pixels one after another, with all the care that the engine has."""
    for i in pixels:
        if s.flags[STOP] != 0:
            return
        if not prepare_with_response(p, s, block, response, i):
            continue
        if search.chained:
            _follow(s, search.last)
        given = block.start[row_of(block.start, i)]
        outcome = _minimise_from_several(p, s, given, search, limits)
        write_all(p, s, block, limits, i, outcome.status, outcome.loss, outcome.nfev, 1 if outcome.by_qr else 0)
        if outcome.status == CONVERGED:
            for j in range(s.count):
                search.last[s.rows[j]] = s.q[s.rows[j]]
