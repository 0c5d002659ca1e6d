"""The loop over the pixels of a block: side by side first, then one after another those that need more care."""

from __future__ import annotations

import math

import numpy as np

from xfit.kernels.evaluate import Spectrum, Structure
from xfit.kernels.jit import entry, inlined
from xfit.kernels.lane_fit import fit_side_by_side, lanes_of
from xfit.kernels.lm import RADII, minimise_from
from xfit.kernels.pixel import Block, Buffer, Limits, begin, finish, prepare, row_of, write
from xfit.kernels.status import BAD_RESPONSE, CONVERGED, MAX_NFEV, NONFINITE_MODEL
from xfit.kernels.ties import Ties, apply_ties
from xfit.kernels.whole import set_response
from xfit.kernels.workspace import Outcome, Workspace, workspace


@inlined
def _remember(count: int, ws: Workspace) -> None:
    """Keep the current point as the best so far."""
    for j in range(count):
        ws.best[j] = ws.theta[j]


@inlined
def _minimise(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    start: np.ndarray,
    count: int,
    limits: Limits,
    ws: Workspace,
) -> Outcome:
    """Fit one pixel, trying again with shorter first steps if it did not converge."""
    best = Outcome(MAX_NFEV, math.inf, 0, False)
    nfev = 0
    limit = limits.first_limit
    for radius in RADII:
        if nfev > 0:
            begin(start, ties, count, ws)
        outcome = minimise_from(structure, ties, x, spectrum, count, limits.tolerance, limit, radius, ws)
        nfev += outcome.nfev
        good = outcome.status == CONVERGED and outcome.chisq <= best.chisq * (1 + 1e-9)
        if good or outcome.status == NONFINITE_MODEL:
            return Outcome(outcome.status, outcome.chisq, nfev, outcome.by_qr)
        if outcome.chisq < best.chisq:
            _remember(count, ws)
            best = outcome
        limit = limits.max_nfev - nfev
        if limit <= 0:
            break
    for j in range(count):
        ws.q[ws.rows[j]] = ws.best[j]
    apply_ties(ties, ws.q, ws.stack)
    return Outcome(best.status, best.chisq, nfev, best.by_qr)


@entry
def fit_singly(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    block: Block,
    response: np.ndarray,
    free: np.ndarray,
    pixels: np.ndarray,
    limits: Limits,
    buffer: Buffer,
    ws: Workspace,
) -> None:
    """Fit the listed pixels one after another, with all the care that the engine has."""
    count = free.size
    for i in pixels:
        ready, plain, used = prepare(block, i, ties, free, buffer, ws)
        if not ready:
            continue
        row = row_of(response, i)
        if structure.plan.size > 0 and not set_response(structure.plan, structure.numbers, response[row], row):
            block.out[i, 3 * ws.q.size + 5] = BAD_RESPONSE
            continue
        spectrum = Spectrum(buffer.weighted, buffer.factor, plain, used, block.y.shape[1])
        start = block.start[row_of(block.start, i)]
        outcome = _minimise(structure, ties, x, spectrum, start, count, limits, ws)
        write(outcome, structure, count, ws, block.out[i])
        if outcome.status == CONVERGED:
            finish(structure, ties, x, spectrum, outcome, count, block.pairs, limits, ws, buffer.spread, block.out[i])


def fit_pixels(
    structure: Structure,
    side_by_side: Structure,
    ties: Ties,
    x: np.ndarray,
    block: Block,
    response: np.ndarray,
    free: np.ndarray,
    code: np.ndarray,
    constants_hold: bool,
    pixels: np.ndarray,
    limits: Limits,
) -> None:
    """Fit the listed pixels of a block.

    Parameters
    ----------
    structure, side_by_side, ties
        The model, with its kernels for one pixel and for pixels side by side; see `Structure` and `Ties`.
    x : float64 (n_rows, n_channels rounded up to whole vectors)
        Coordinates of the components; the last channel repeated at the end.
    block : Block
        The data, and where the results go.
    response : float64 (n_pixels or 1, any)
        What components that need the whole axis are convolved with.
    free : int64 (count,)
        Positions of the free parameters.
    code : int64 (count,)
        What each is to `xfit.kernels.relax`.
    constants_hold : bool
        Whether the constants of the kernels (parameters that are seldom fitted) are the same for all pixels.
    pixels : int64 (any,)
        Which pixels to fit.
    limits : Limits
        How to fit.
    """
    n = block.start.shape[1]
    count = free.size
    ws = workspace(n, count, x.shape[1], ties.row.size)
    ws.rows[:count] = free
    ws.rows[count:] = n
    ws.code[:] = code
    buffer = Buffer(np.zeros(x.shape[1]), np.zeros(x.shape[1]), np.empty((n, max(count, 1))))
    left = pixels
    if side_by_side.address.size:
        lanes = lanes_of(side_by_side, ties, block, free, code, ws, constants_hold)
        left = np.empty_like(pixels)
        number = fit_side_by_side(
            structure, side_by_side, ties, x, block, free, pixels, limits, buffer, ws, lanes, left
        )
        left = left[:number]
    if left.size:
        fit_singly(structure, ties, x, block, response, free, left, limits, buffer, ws)
