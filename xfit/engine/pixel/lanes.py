"""Pixels fitted side by side: `LANES` at a time, each replaced by the next one as soon as it is done."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xfit.engine.evaluation.gram import sum_of_squares
from xfit.engine.evaluation.loss_functions import LEAST_SQUARES
from xfit.engine.evaluation.state import (
    CHISQ,
    DEGREES,
    DONE,
    FLOOR,
    FRESH,
    KNOWN,
    LOST,
    NFEV,
    STOP,
    Problem,
    State,
    state_of,
)
from xfit.engine.lm.round import round_of_lanes
from xfit.engine.lm.steps import factorise
from xfit.engine.lm.trust_region import EPS, PATIENCE
from xfit.engine.math.cholesky import at
from xfit.engine.math.entries import entry
from xfit.engine.math.jit import inner
from xfit.engine.math.layout import LANES
from xfit.engine.math.records import Flags, Integers, IntegerTable, Record, Vectors
from xfit.engine.math.vector import select
from xfit.engine.math.widths import full, fused, get, numbers_in, put
from xfit.engine.pixel.alone import prepare, write, write_all
from xfit.engine.pixel.packed_row import further_at, stderr_at
from xfit.engine.pixel.rows import Block, Limits
from xfit.engine.pixel.status import CONVERGED


class LaneFit(Record, wide=True):
    """All that pixels side by side need to get on and off.

    Attributes
    ----------
    state : State
        Of the pixels side by side.
    errors, covariances, well : (count,), (n_pairs,), (1,)
        Standard errors, the covariances of the pairs, and whether they could be computed.
    pairs : int64 (n_pairs, 2)
        Pairs of free parameters, by their positions among these, whose covariance is kept.
    place : int64 (n_pairs,)
        Where in a packed row each goes.
    complete : bool (LANES,)
        Lanes whose pixel has no channel left out.
    pixel : int64 (LANES,)
        Which pixel is in each lane, -1 for none.
    """

    state: State
    errors: Vectors
    covariances: Vectors
    well: Vectors
    pairs: IntegerTable
    place: Integers
    complete: Flags
    pixel: Integers


def lanes_of(problem: Problem, block: Block, free: np.ndarray, one: State, constants_hold: bool) -> LaneFit:
    """Allocate the state of pixels side by side.

    Parameters
    ----------
    problem : Problem
        With the addresses of kernels of vectors.
    one : State
        Of one pixel with the same free parameters.
    constants_hold : bool
        Whether the constants of the kernels are the same for all pixels, which kernels find in their scratch's first
        number.
    """
    state = state_of(problem, free, block.y.shape[1], one.code, one.bent, one.flags, wide=True)
    state.scratch[0] = 1.0 if constants_hold else 0.0
    given = block.variance.size + block.width.size + block.where.size
    state.plain = given == 0 and problem.loss.kind == LEAST_SQUARES
    kept = np.flatnonzero(np.isin(block.pairs, free).all(axis=1))
    pairs = np.searchsorted(free, block.pairs[kept]).astype(np.int64).reshape(-1, 2)
    return LaneFit(
        *(state, np.zeros(free.size * LANES), np.zeros(len(kept) * LANES), np.zeros(LANES), pairs),
        *(further_at(problem.parameters) + kept, np.ones(LANES, bool), np.full(LANES, -1, np.int64)),
    )


def is_simple(problem: Problem, limits: Limits) -> bool:
    """Whether standard errors and covariances can be computed side by side; otherwise the
    functions of one pixel write the rows.
    """
    return problem.ties.tied.size == 0 and not limits.covariance and problem.loss.kind == LEAST_SQUARES


@inner
def _board(lane: int, one: State, lf: LaneFit) -> None:
    """Put a prepared pixel into a lane."""
    w = lf.state
    y, m, known, q, trial = numbers_in(w.y), numbers_in(w.m), numbers_in(w.known), numbers_in(w.q), numbers_in(w.trial)
    lower, upper, weight = numbers_in(w.lower), numbers_in(w.upper), numbers_in(w.weight)
    for i in range(w.channels):
        y[i * LANES + lane] = one.y[i]
    if not (w.plain and one.whole and lf.complete[lane]):
        for i in range(w.channels):
            m[i * LANES + lane] = one.m[i]
    lf.complete[lane] = one.whole
    numbers_in(w.smallest)[lane] = one.smallest[0]
    for k in range(w.parameters):
        q[k * LANES + lane] = trial[k * LANES + lane] = one.q[k]
    for j in range(w.count):
        lower[j * LANES + lane], upper[j * LANES + lane] = one.lower[j], one.upper[j]
        weight[j * LANES + lane] = 0.0
    for row in range(KNOWN):
        known[row * LANES + lane] = 0.0
    known[FRESH * LANES + lane] = 1.0
    known[FLOOR * LANES + lane] = EPS * EPS * sum_of_squares(one)
    known[DEGREES * LANES + lane] = one.used - w.count


@inner
def _leave(lane: int, one: State, w: State) -> None:
    """Take a pixel out of its lane: its point and bounds, for the functions of one pixel."""
    q, lower, upper = numbers_in(w.q), numbers_in(w.lower), numbers_in(w.upper)
    for k in range(w.parameters):
        one.q[k] = q[k * LANES + lane]
    for j in range(w.count):
        one.lower[j], one.upper[j] = lower[j * LANES + lane], upper[j * LANES + lane]


@inner
def _finish_with_care(
    p: Problem, one: State, block: Block, i: int, lane: int, chisq: float, nfev: int, limits: Limits, lf: LaneFit
) -> None:
    """Write a pixel that is done by the functions of one pixel: with ties, covariances, or
    another loss than least squares.
    """
    prepare(p, one, block, i)
    _leave(lane, one, lf.state)
    gram = numbers_in(lf.state.gram)
    for k in range(at(one.count + 1, 0)):
        one.gram[k] = gram[k * LANES + lane]
    one.factorised = False
    write_all(p, one, block, limits, i, CONVERGED, chisq, nfev, 0)


@inner
def _invert(w: State) -> None:
    """Replace the Cholesky factors by their inverses, column by column; the diagonals are that already."""
    for j in range(w.count):
        put(w.solution, j, get(w.factor, at(j, j)))
        for k in range(j + 1, w.count):
            total = full(w, 0.0)
            for m in range(j, k):
                total = fused(-get(w.factor, at(k, m)), get(w.solution, m), total)
            put(w.solution, k, total * get(w.factor, at(k, k)))
        for k in range(j + 1, w.count):
            put(w.factor, at(k, j), get(w.solution, k))


@inner
def _covariance(w: State, i: int, j: int, variance: Any) -> Any:
    """Covariance of two parameters from the inverse factors; NaN where one is held."""
    total = full(w, 0.0)
    for k in range(max(i, j), w.count):
        total = fused(get(w.factor, at(k, i)), get(w.factor, at(k, j)), total)
    scale = get(w.scale, i) * get(w.scale, j)
    return select(scale == 0.0, math.nan, total * variance * scale)


@inner
def _errors(scaled: bool, lf: LaneFit) -> None:
    """Standard errors and covariances of the free parameters of the pixels that are done, NaN on bounds."""
    w = lf.state
    degrees = get(w.known, DEGREES)
    variance = select(degrees > 0.0, get(w.known, CHISQ) / degrees, math.nan) if scaled else full(w, 1.0)
    for j in range(w.count):
        value = get(w.q, w.rows[j])
        held = (value <= get(w.lower, j)) | (value >= get(w.upper, j))
        put(w.scale, j, select(held, 0.0, get(w.inverse, j)))
    ok = factorise(w, w.gram, w.all_, full(w, 0.0))
    _invert(w)
    for j in range(w.count):
        put(lf.errors, j, math.sqrt(_covariance(w, j, j, variance)))
    for pair in range(lf.pairs.shape[0]):
        put(lf.covariances, pair, _covariance(w, lf.pairs[pair, 0], lf.pairs[pair, 1], variance))
    put(lf.well, 0, select(ok, full(w, 1.0), 0.0))


@inner
def _write(
    p: Problem, one: State, block: Block, i: int, lane: int, chisq: float, nfev: int, limits: Limits, lf: LaneFit
) -> None:
    """Write a pixel whose errors are known."""
    _leave(lane, one, lf.state)
    write(p, one, block, limits, i, chisq, nfev)
    out, errors, covariances = block.out[i], numbers_in(lf.errors), numbers_in(lf.covariances)
    for j in range(one.count):
        out[stderr_at(one.parameters) + one.rows[j]] = errors[j * LANES + lane]
    for k in range(lf.place.size):
        out[lf.place[k]] = covariances[k * LANES + lane]


@inner
def _all_complete(lf: LaneFit) -> bool:
    """Whether no channel of any pixel is left out."""
    for lane in range(LANES):
        if not lf.complete[lane]:
            return False
    return True


@entry
def fit_side_by_side(
    problem: Problem,
    p: Problem,
    block: Block,
    pixels: Integers,
    limits: Limits,
    one: State,
    lf: LaneFit,
    simple: bool,
    left: Integers,
) -> int:
    """Fit the listed pixels, but for those that need more care.

    Parameters
    ----------
    problem, p : Problem
        For one pixel, and for pixels side by side.
    simple : bool
        What `is_simple` says.
    left : int64 (as many as pixels,)
        Filled with the pixels that must be fitted one by one.

    Returns
    -------
    int
        How many those are.
    """
    w = lf.state
    limit = min(PATIENCE, min(limits.first_limit, limits.max_nfev))
    known, well = numbers_in(w.known), numbers_in(lf.well)
    aboard = lost = following = 0
    while aboard > 0 or following < pixels.size:
        if one.flags[STOP] != 0:
            return 0
        if aboard > 0:
            w.whole = _all_complete(lf)
            if not round_of_lanes(p, w, limits.tolerance, limit):
                continue
            if simple:
                _errors(limits.scale_covariance, lf)
        for lane in range(LANES):
            i = lf.pixel[lane]
            if i >= 0:
                if known[DONE * LANES + lane] != 0.0:
                    chisq, nfev = known[CHISQ * LANES + lane], int(known[NFEV * LANES + lane])
                    if not simple:
                        _finish_with_care(problem, one, block, i, lane, chisq, nfev, limits, lf)
                    elif well[lane] != 0.0:
                        _write(problem, one, block, i, lane, chisq, nfev, limits, lf)
                    else:
                        left[lost] = i
                        lost += 1
                elif known[LOST * LANES + lane] != 0.0:
                    left[lost] = i
                    lost += 1
                else:
                    continue
                lf.pixel[lane] = -1
                aboard -= 1
            while lf.pixel[lane] < 0 and following < pixels.size:
                i = pixels[following]
                following += 1
                if prepare(problem, one, block, i) != 0:
                    _board(lane, one, lf)
                    lf.pixel[lane] = i
                    aboard += 1
    return lost
