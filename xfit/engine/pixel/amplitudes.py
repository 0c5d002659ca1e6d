"""Amplitudes set to their best values at a point, from its Gram matrix alone: variable projection without evaluations.

A component that is an amplitude times a shape has derivatives of the shape's parameters in proportion to the amplitude. Hence
the Gram matrix at the best amplitudes follows from that at any others. Steps then run along the floor of the valley that
amplitudes and shapes form together (Golub and Pereyra, SIAM J. Numer. Anal. 10, 413 (1973), doi:10.1137/0710036).
"""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.jit import inner
from xfit.engine.math.layout import LINEAR, OTHER, SHAPED, STARTING
from xfit.engine.pixel.steps import FREE, SMALLEST_PIVOT, solve_cholesky

#: An amplitude that would change by more than this factor is a sign that the shape is elsewhere: it is left to the steps.
LARGEST_FACTOR = 20.0

#: Where the algebra holds only nearly, a start is left alone unless some amplitude is too small by more than this factor: it costs an evaluation.
MERE_GUESS = 5.0

#: An amplitude smaller than before by this factor (a step took it to a bound) is too small to scale derivatives back from.
LARGEST_SCALE = 1e6

#: Below this fraction of the sum of squares the algebra has lost too many digits.
SMALLEST_FRACTION = 1e-4

#: Amplitudes that belong beyond a bound stay inside of it by this part of how far beyond they would be.
INSIDE = 0.1

UNCHANGED, MOVED, EVALUATE = 0, 1, 2


@inner
def relax(
    gram: np.ndarray,
    count: int,
    code: np.ndarray,
    values: np.ndarray,
    reference: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    norm: np.ndarray,
    state: np.ndarray,
    chosen: np.ndarray,
    work: np.ndarray,
    change: np.ndarray,
    start: bool,
    project: bool,
) -> int:
    """Move the amplitudes among ``values`` to their best values and take the Gram matrix there.

    Nothing is changed where the amplitudes can't be told apart or, unless ``project`` says that they always follow the shapes,
    where they would leave their bounds, change sign or change by more than a large factor.

    Parameters
    ----------
    gram : float64 (count + 1, count + 1)
        Lower triangle of the Gram matrix of Jacobian and residual, as `xfit.engine.pixel.evaluate.gram_at` leaves it.
    code : int64 (count,)
        LINEAR for amplitudes, the position of the amplitude that a derivative is proportional to, STARTING or one of SHAPED and below for
        what is so at the start only, or OTHER.
    values, lower, upper : float64 (count,)
        Free parameters and their bounds.
    reference : float64 (count,)
        Their values at the point before, which amplitudes must not be far from.
    norm, state, chosen, work, change
        Scratch, as for `xfit.engine.pixel.steps.solve_cholesky`; ``norm`` must hold the column norms.
    start : bool
        Whether this is the first point. There amplitudes may grow by any factor, for they may be mere guesses: with one that is far too
        small the first step would throw the shape away.

    Returns
    -------
    int
        UNCHANGED, MOVED, or EVALUATE: moved so far that the Gram matrix has lost its digits and the model must be evaluated.
    """
    amplitudes = 0
    outcome = MOVED
    for j in range(count):
        change[j] = 0.0
        state[j] = 1
        if norm[j] > 0.0 and (code[j] == LINEAR or (start and code[j] == STARTING)):
            state[j] = FREE
            amplitudes += 1
            if code[j] == STARTING:
                outcome = EVALUATE
    if amplitudes == 0 or amplitudes == count:
        return UNCHANGED
    if solve_cholesky(gram, count, norm, 0.0, norm, state, chosen, work, change) < SMALLEST_PIVOT:
        return UNCHANGED
    if project:
        return _follow(gram, count, code, values, lower, upper, norm, state, chosen, work, change)
    decrease, far = 0.0, outcome == MOVED
    for j in range(count):
        moved = values[j] + change[j]
        if not lower[j] <= moved <= upper[j]:
            return UNCHANGED
        decrease += change[j] * gram[count, j]
    for j in range(count):
        k = SHAPED - code[j] if start and code[j] <= SHAPED else code[j]
        if k >= 0:
            amplitude, before = values[k], reference[k]
            ratio = (amplitude + change[k]) / before
            if not (ratio > 1.0 / LARGEST_FACTOR and ratio < (math.inf if start else LARGEST_FACTOR)):
                return UNCHANGED
            far = far or ratio > MERE_GUESS
            if abs(amplitude) * LARGEST_SCALE < abs(before):
                outcome = EVALUATE
    if not (far and decrease >= 0.0):
        return UNCHANGED
    if not gram[count, count] - decrease > SMALLEST_FRACTION * gram[count, count]:
        outcome = EVALUATE
    if outcome == MOVED:
        _transform(gram, count, code, values, change)
        gram[count, count] -= decrease
    for j in range(count):
        values[j] += change[j]
    return outcome


@inner
def _follow(
    gram: np.ndarray,
    count: int,
    code: np.ndarray,
    values: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    norm: np.ndarray,
    state: np.ndarray,
    chosen: np.ndarray,
    work: np.ndarray,
    change: np.ndarray,
) -> int:
    """Move amplitudes to their best values within the bounds however far that is; see `relax`."""
    outcome = MOVED
    for _ in range(count):
        clipped = False
        for j in range(count):
            moved = values[j] + change[j]
            if state[j] == FREE and not lower[j] <= moved <= upper[j]:
                # On the bound itself an amplitude may be zero, and its shape could not move any more.
                edge = lower[j] if moved < lower[j] else upper[j]
                inside = min(max(edge + INSIDE * (edge - moved), lower[j]), upper[j])
                # What is nearer to it already, or on it by a step, stays there.
                change[j] = inside - values[j] if abs(inside - edge) < abs(values[j] - edge) else 0.0
                state[j] = 1
                clipped = True
        if not clipped:
            break
        outcome = EVALUATE
        if solve_cholesky(gram, count, norm, 0.0, norm, state, chosen, work, change) < SMALLEST_PIVOT:
            return UNCHANGED
    decrease = 0.0
    for j in range(count):
        decrease += change[j] * gram[count, j]
        if code[j] <= OTHER:
            outcome = EVALUATE
        elif code[j] >= 0:
            before = values[code[j]]
            if not abs(before) * LARGEST_SCALE > abs(before + change[code[j]]):
                outcome = EVALUATE
    if not gram[count, count] - decrease > SMALLEST_FRACTION * gram[count, count]:
        outcome = EVALUATE
    if outcome == MOVED:
        _transform(gram, count, code, values, change)
        gram[count, count] -= decrease
    for j in range(count):
        values[j] = min(max(values[j] + change[j], lower[j]), upper[j])
    return outcome


@inner
def _transform(gram: np.ndarray, count: int, code: np.ndarray, values: np.ndarray, change: np.ndarray) -> None:
    """Gram matrix at the changed amplitudes: a new residual, and derivatives in proportion."""
    for j in range(count):
        total = 0.0
        for k in range(count):
            if change[k] != 0.0:
                total += (gram[j, k] if k <= j else gram[k, j]) * change[k]
        gram[count, j] -= total
    for j in range(count):
        if code[j] >= 0:
            ratio = 1.0 + change[code[j]] / values[code[j]]
            for k in range(j + 1):
                gram[j, k] *= ratio
            for i in range(j, count + 1):
                gram[i, j] *= ratio
