"""Pixels fitted side by side: eight at a time, each replaced by the next one as soon as it is done."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xfit.engine.math.jit import entry_sums, inlined, inlined_sums
from xfit.engine.math.layout import LANE_PITCH, LANES, LINEAR, STARTING
from xfit.engine.math.vector import load, reals, select, store
from xfit.engine.pixel.evaluate import Structure, sum_of_squares
from xfit.engine.pixel.levenberg_marquardt import EPS, PATIENCE
from xfit.engine.pixel.loss_functions import LEAST_SQUARES, CompiledLoss
from xfit.engine.pixel.packed_row import further_at, stderr_at
from xfit.engine.pixel.rows import Block, Buffer, Limits, evaluate_solution, prepare, spectrum_of, write
from xfit.engine.pixel.standard_errors import finish
from xfit.engine.pixel.status import CONVERGED
from xfit.engine.pixel.steps import scale_of
from xfit.engine.pixel.tie_machine import Ties
from xfit.engine.pixel.workspace import STOP, Outcome, Workspace
from xfit.engine.simd.evaluate import Spectra, at, triangle, vectors
from xfit.engine.simd.levenberg_marquardt import (
    CHISQ,
    DEGREES,
    DONE,
    FLOOR,
    FRESH,
    KNOWN,
    LOST,
    NFEV,
    Lanes,
    round_of_lanes,
)
from xfit.engine.simd.steps import LaneSteps, errors_of_lanes


class LaneFit(NamedTuple):
    """All that eight pixels side by side need; `Lanes` and `LaneSteps` for the search, the rest to get on and off.

    Attributes
    ----------
    errors, well : float64 (count * LANES,), float64 (LANES,)
        Standard errors, and whether they could be computed.
    pairs : int64 (any, 2)
        Pairs of free parameters, by their positions among these, whose covariance is kept.
    place : int64 (as many,)
        Where in a packed row each goes.
    covariances : float64 (as many * LANES,)
        Their covariances.
    whole : bool (LANES,)
        Lanes whose factors in ``spectra.m`` are all one.
    pixel : int64 (LANES,)
        Which pixel is in each lane, -1 for none.
    """

    lanes: Lanes
    steps: LaneSteps
    spectra: Spectra
    errors: np.ndarray
    well: np.ndarray
    pairs: np.ndarray
    place: np.ndarray
    covariances: np.ndarray
    whole: np.ndarray
    pixel: np.ndarray


def lanes_of(
    structure: Structure,
    ties: Ties,
    block: Block,
    free: np.ndarray,
    ws: Workspace,
    constants_hold: bool,
    loss: CompiledLoss,
) -> LaneFit:
    """Allocate the state of eight pixels.

    Parameters
    ----------
    constants_hold : bool
        Whether the constants of the kernels are the same for all pixels, which kernels find in their scratch's first number.
    """
    code = ws.code
    n, count, channels = ws.q.size, code.size, block.y.shape[1]
    derivatives = max(ties.row.size, 1)
    lanes = Lanes(
        vectors(n),
        vectors(n),
        vectors(KNOWN),
        vectors(triangle(count + 1)),
        vectors((n + 1) * LANE_PITCH),
        vectors(structure.scratch // LANES + 1),
        vectors(derivatives),
        np.empty(n),
        np.empty(derivatives),
        ws.stack,
        ws.rows,
        np.arange(count),
    )
    steps = LaneSteps(
        vectors(triangle(count + 1)),
        vectors(count),
        vectors(count),
        vectors(count),
        vectors(count),
        vectors(count),
        vectors(count),
        vectors(count),
        vectors(triangle(count)),
        vectors(count),
        vectors(count),
        vectors(count),
        vectors(count),
        vectors(1),
        ws.bent.copy(),
        np.flatnonzero(code == LINEAR),
        np.flatnonzero((code == LINEAR) | (code == STARTING)),
        code.copy(),
    )
    lanes.scratch[0] = 1.0 if constants_hold else 0.0
    given = block.variance.size + block.width.size + block.where.size
    plain = given == 0 and loss.kind == LEAST_SQUARES
    spectra = Spectra(vectors(channels), vectors(channels), channels, plain, loss, vectors(1), vectors(1))
    spectra.m[:] = 1.0
    kept = np.flatnonzero(np.isin(block.pairs, free).all(axis=1))
    pairs = np.searchsorted(free, block.pairs[kept]).astype(np.int64).reshape(-1, 2)
    return LaneFit(
        lanes,
        steps,
        spectra,
        vectors(count),
        vectors(1),
        pairs,
        further_at(n) + kept,
        vectors(len(kept)),
        np.full(LANES, plain),
        np.full(LANES, -1, np.int64),
    )


@inlined_sums
def _board(lane: int, plain: bool, used: int, smallest: float, buffer: Buffer, ws: Workspace, lf: LaneFit) -> None:
    """Put a prepared pixel into a lane."""
    lanes, ls, spectra = lf.lanes, lf.steps, lf.spectra
    count, channels = ls.code.size, spectra.channels
    for i in range(channels):
        spectra.y[i * LANES + lane] = buffer.weighted[i]
    if not (plain and lf.whole[lane]):
        for i in range(channels):
            spectra.m[i * LANES + lane] = buffer.factor[i]
        lf.whole[lane] = plain
    spectra.smallest[lane] = smallest
    for k in range(ws.q.size):
        lanes.q[k * LANES + lane] = ws.q[k]
        lanes.trial[k * LANES + lane] = ws.q[k]
    for j in range(count):
        ls.lower[j * LANES + lane] = ws.lower[j]
        ls.upper[j * LANES + lane] = ws.upper[j]
        ls.weight[j * LANES + lane] = 0.0
    for row in range(KNOWN):
        lanes.known[row * LANES + lane] = 0.0
    lanes.known[FRESH * LANES + lane] = 1.0
    lanes.known[FLOOR * LANES + lane] = EPS * EPS * sum_of_squares(buffer.weighted)
    lanes.known[DEGREES * LANES + lane] = used - count


@inlined_sums
def _leave(lane: int, lf: LaneFit, ws: Workspace) -> None:
    """Take a pixel out of its lane: its point and bounds, for the functions of one pixel."""
    for k in range(ws.q.size):
        ws.q[k] = lf.lanes.q[k * LANES + lane]
    for j in range(lf.steps.code.size):
        ws.lower[j] = lf.steps.lower[j * LANES + lane]
        ws.upper[j] = lf.steps.upper[j * LANES + lane]


@inlined
def _finish_with_care(
    structure: Structure, ties: Ties, x: np.ndarray, block: Block, i: int, lane: int, free: np.ndarray, outcome: Outcome,
    limits: Limits, buffer: Buffer, ws: Workspace, lf: LaneFit,
) -> None:  # fmt: skip
    """Write a pixel that is done by the functions of one pixel: with ties, covariances, or by QR."""
    count = free.size
    _, plain, used, smallest = prepare(block, i, ties, free, limits.loss, buffer, ws)
    _leave(lane, lf, ws)
    for a in range(count + 1):
        for b in range(a + 1):
            ws.gram[a, b] = lf.steps.gram[at(a, b) * LANES + lane]
    scale_of(ws.gram, count, ws.norm)
    spectrum = spectrum_of(block, plain, used, smallest, limits.loss, buffer)
    outcome, chisq = evaluate_solution(structure, ties, x, spectrum, outcome, count, ws)
    write(outcome, chisq, structure, count, limits, ws, block.out[i])
    finish(structure, ties, x, spectrum, outcome, count, block.pairs, limits, ws, buffer.spread, block.out[i])


@inlined_sums
def _errors(count: int, scaled: bool, lf: LaneFit) -> None:
    """Standard errors of the pixels that are done."""
    degrees = load(lf.lanes.known, DEGREES)
    scale = select(degrees > 0.0, load(lf.lanes.known, CHISQ) / degrees, math.nan)
    scale = scale if scaled else reals(1.0)
    ok = errors_of_lanes(
        lf.lanes.q, lf.lanes.rows, lf.lanes.all_, count, scale, lf.steps, lf.errors, lf.pairs, lf.covariances
    )
    store(lf.well, 0, select(ok, 1.0, 0.0))


@inlined_sums
def _all_whole(lf: LaneFit) -> bool:
    """Whether no channel of any pixel is left out."""
    for whole in lf.whole:
        if not whole:
            return False
    return True


@entry_sums
def fit_side_by_side(
    structure: Structure,
    side_by_side: Structure,
    ties: Ties,
    x: np.ndarray,
    block: Block,
    free: np.ndarray,
    pixels: np.ndarray,
    limits: Limits,
    buffer: Buffer,
    ws: Workspace,
    lf: LaneFit,
    left: np.ndarray,
) -> int:
    """Fit the listed pixels, but for those that need more care.

    Parameters
    ----------
    left : int64 (as many as pixels,)
        Filled with the pixels that must be fitted one by one.

    Returns
    -------
    int
        How many those are.
    """
    n, count = ws.q.size, free.size
    simple = ties.tied.size == 0 and not limits.covariance and limits.loss.kind == LEAST_SQUARES
    limit = min(PATIENCE, limits.first_limit, limits.max_nfev)
    known = lf.lanes.known
    aboard = lost = following = 0
    while aboard > 0 or following < pixels.size:
        if ws.flags[STOP] != 0:
            return 0
        if aboard > 0:
            if not round_of_lanes(
                side_by_side, ties, x, lf.spectra, _all_whole(lf), count, limits.tolerance, limit, lf.lanes, lf.steps
            ):
                continue
            if simple:
                _errors(count, limits.scale_covariance, lf)
        for lane in range(LANES):
            i = lf.pixel[lane]
            if i >= 0:
                if known[DONE * LANES + lane] != 0.0:
                    outcome = Outcome(CONVERGED, known[CHISQ * LANES + lane], int(known[NFEV * LANES + lane]), False)
                    if simple and lf.well[lane] != 0.0:
                        _leave(lane, lf, ws)
                        write(outcome, outcome.loss, structure, count, limits, ws, block.out[i])
                        for j in range(count):
                            block.out[i, stderr_at(n) + free[j]] = lf.errors[j * LANES + lane]
                        for k in range(lf.place.size):
                            block.out[i, lf.place[k]] = lf.covariances[k * LANES + lane]
                    else:
                        _finish_with_care(structure, ties, x, block, i, lane, free, outcome, limits, buffer, ws, lf)
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
                ready, plain, used, smallest = prepare(block, i, ties, free, limits.loss, buffer, ws)
                if ready:
                    _board(lane, plain, used, smallest, buffer, ws, lf)
                    lf.pixel[lane] = i
                    aboard += 1
    return lost
