"""Amplitudes set to their best values at a point, from its Gram matrix alone: variable projection without evaluations.

A component that is an amplitude times a shape has derivatives of the shape's parameters in proportion to the amplitude.
Hence the Gram matrix at the best amplitudes follows from that at any others. Steps then run along the floor of the
valley that amplitudes and shapes form together (Golub and Pereyra, SIAM J. Numer. Anal. 10, 413 (1973),
doi:10.1137/0710036).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xfit.engine.evaluation.state import State
from xfit.engine.lm.steps import factorise, substitute
from xfit.engine.math.cholesky import at, element
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import OTHER, SHAPED
from xfit.engine.math.vector import negation, select
from xfit.engine.math.widths import full, fused, get, put

#: An amplitude that would change by more than this factor is a sign that the shape is elsewhere: it is left to the
#: steps.
LARGEST_FACTOR = 20.0

#: Where the algebra holds only nearly, a start is left alone unless some amplitude is too small by more than this
#: factor: it costs an evaluation.
MERE_GUESS = 5.0

#: An amplitude smaller than before by this factor (a step took it to a bound) is too small to scale derivatives back
#: from.
LARGEST_SCALE = 1e6

#: Below this fraction of the sum of squares the algebra has lost too many digits.
SMALLEST_FRACTION = 1e-4

#: Amplitudes that belong beyond a bound stay inside of it by this part of how far beyond they would be.
INSIDE = 0.1


@inner
def _scales(s: State, gram: np.ndarray) -> None:
    """Inverse column norms of a Gram matrix, zero for a column of zeros; no steps."""
    for j in range(s.count):
        own = get(gram, at(j, j))
        put(s.scale, j, select(own > 0.0, 1.0 / math.sqrt(own), 0.0))
        put(s.solution, j, full(s, 0.0))
        put(s.step, j, full(s, 0.0))


@inner
def _best(s: State, gram: np.ndarray, chosen: np.ndarray) -> tuple[Any, Any]:
    """Put the changes of the chosen amplitudes to their best values into ``s.step``; where these can be
    told apart, and the decrease.
    """
    solved = factorise(s, gram, chosen, full(s, 0.0))
    substitute(s, gram, chosen)
    decrease = full(s, 0.0)
    for a in range(chosen.size):
        j = chosen[a]
        change = get(s.solution, a) * get(s.scale, j)
        put(s.step, j, change)
        decrease = fused(change, get(gram, at(s.count, j)), decrease)
    return solved, decrease


@inner
def promise_of_best(s: State, gram: np.ndarray) -> float:
    """By how much the best amplitudes would lower the loss at one pixel's start, without bounds; zero
    where they can't be told apart.
    """
    if s.starting.size == 0 or s.starting.size == s.count:
        return 0.0
    _scales(s, gram)
    solved, decrease = _best(s, gram, s.starting)
    return decrease if solved else 0.0


@inner
def relax(s: State, gram: np.ndarray, allowed: Any, start: bool) -> tuple[Any, Any]:
    """Move the amplitudes of the trial points to their best values and take the Gram matrices there.

    Nothing is changed where the amplitudes can't be told apart, would leave their bounds, change sign or change by more
    than a large factor.

    Parameters
    ----------
    gram : (triangle of count + 1,)
        Gram matrices there, changed in place.
    allowed : vector of conditions
        Which pixels.
    start : bool
        Whether these are at their first points. There amplitudes may grow by any factor, for they may be mere guesses:
        with one that is far too small the first step would throw the shape away.

    Returns
    -------
    moved : vector of conditions
        Where they were moved.
    again : vector of conditions
        Where the Gram matrix has lost its digits by that, and the model must be evaluated.
    """
    chosen = s.starting if start else s.amplitudes
    number = chosen.size
    none = full(s, 0.0) != 0.0
    if number == 0 or number == s.count:
        return none, none
    _scales(s, gram)
    solved, decrease = _best(s, gram, chosen)
    solved = solved & allowed
    if start:
        put(s.promise, 0, select(solved, decrease, select(allowed, 0.0, get(s.promise, 0))))
    moved = solved & (decrease >= 0.0)
    for a in range(number):
        j = chosen[a]
        value = get(s.trial, s.rows[j]) + get(s.step, j)
        moved = moved & (value >= get(s.lower, j)) & (value <= get(s.upper, j))
    again = far = none
    largest = math.inf if start else LARGEST_FACTOR
    for j in range(s.count):
        k = SHAPED - s.code[j] if start and s.code[j] <= SHAPED else s.code[j]
        if k >= 0:
            amplitude, before = get(s.trial, s.rows[k]), get(s.q, s.rows[k])
            ratio = (amplitude + get(s.step, k)) / before
            moved = moved & (ratio > 1.0 / LARGEST_FACTOR) & (ratio < largest)
            far = far | (ratio > MERE_GUESS)
            again = again | (abs(amplitude) * LARGEST_SCALE < abs(before))
    chisq = get(gram, at(s.count, s.count))
    again = again | negation(chisq - decrease > SMALLEST_FRACTION * chisq)
    if number > s.amplitudes.size:
        moved = moved & far
        again = negation(none)
    again = moved & again
    _apply(s, gram, moved & negation(again), moved, decrease)
    return moved, again


@inner
def _apply(s: State, gram: np.ndarray, transformed: Any, moved: Any, decrease: Any) -> None:
    """Change the amplitudes of the trial points by ``s.step``, and Gram matrices: new deviations,
    and derivatives in proportion.
    """
    count = s.count
    for j in range(count):
        total = full(s, 0.0)
        for a in range(s.amplitudes.size):
            k = s.amplitudes[a]
            total = fused(element(gram, j, k), get(s.step, k), total)
        put(s.solution, j, total)
    for j in range(count):
        slope = get(gram, at(count, j))
        put(gram, at(count, j), select(transformed, slope - get(s.solution, j), slope))
    for j in range(count):
        if s.code[j] >= 0:
            ratio = 1.0 + get(s.step, s.code[j]) / get(s.trial, s.rows[s.code[j]])
            ratio = select(transformed, ratio, 1.0)
            for k in range(j + 1):
                put(gram, at(j, k), get(gram, at(j, k)) * ratio)
            for i in range(j, count + 1):
                put(gram, at(i, j), get(gram, at(i, j)) * ratio)
    chisq = get(gram, at(count, count))
    put(gram, at(count, count), select(transformed, chisq - decrease, chisq))
    for j in range(count):
        value = get(s.trial, s.rows[j])
        inside = value + get(s.step, j)
        inside = select(inside < get(s.lower, j), get(s.lower, j), inside)
        inside = select(inside > get(s.upper, j), get(s.upper, j), inside)
        put(s.trial, s.rows[j], select(moved, inside, value))


@inner
def follow(s: State, gram: np.ndarray, start: bool) -> tuple[bool, bool]:
    """Move the amplitudes of one pixel to their best values within the bounds however far that is; see `relax`."""
    chosen = s.starting if start else s.amplitudes
    if chosen.size == 0 or chosen.size == s.count:
        return False, False
    _scales(s, gram)
    again = False
    solved, decrease = _best(s, gram, chosen)
    for _ in range(s.count):
        clipped = False
        for j in chosen:
            value = s.trial[s.rows[j]]
            moved = value + s.step[j]
            if s.scale[j] > 0.0 and not (s.lower[j] <= moved and moved <= s.upper[j]):
                # On the bound itself an amplitude may be zero, and its shape could not move any more.
                edge = s.lower[j] if moved < s.lower[j] else s.upper[j]
                inside = min(max(edge + INSIDE * (edge - moved), s.lower[j]), s.upper[j])
                # What is nearer to it already, or on it by a step, stays there.
                s.taken[j] = inside - value if abs(inside - edge) < abs(value - edge) else 0.0
                s.scale[j] = 0.0
                clipped = True
        if not solved or not clipped:
            break
        again = True
        solved, decrease = _best_with_held(s, gram, chosen)
    if not solved:
        return False, False
    for j in range(s.count):
        if s.code[j] <= OTHER:
            again = True
        elif s.code[j] >= 0:
            k = s.code[j]
            before = s.trial[s.rows[k]]
            again = again or not abs(before) * LARGEST_SCALE > abs(before + s.step[k])
    last = at(s.count, s.count)
    again = again or not gram[last] - decrease > SMALLEST_FRACTION * gram[last]
    _apply(s, gram, not again, True, decrease)
    return True, again


@inner
def _best_with_held(s: State, gram: np.ndarray, chosen: np.ndarray) -> tuple[bool, float]:
    """As `_best`, where amplitudes of scale zero change by ``s.taken``."""
    for a in range(chosen.size):
        s.solution[a] = 0.0
        for j in chosen:
            if s.scale[j] == 0.0:
                s.solution[a] += element(gram, chosen[a], j) * s.taken[j]
    solved = factorise(s, gram, chosen, 0.0)
    substitute(s, gram, chosen)
    decrease = 0.0
    for a in range(chosen.size):
        j = chosen[a]
        s.step[j] = s.solution[a] * s.scale[j] if s.scale[j] > 0.0 else s.taken[j]
        decrease += s.step[j] * gram[at(s.count, j)]
    return solved, decrease
