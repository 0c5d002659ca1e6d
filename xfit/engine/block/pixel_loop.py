"""The loop over the pixels of a block: side by side first, then one after another those that need more care."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xfit.engine.math.jit import entry, inlined, inner
from xfit.engine.math.layout import LINEAR, STARTING, starting_only
from xfit.engine.pixel.evaluate import Spectrum, Structure
from xfit.engine.pixel.levenberg_marquardt import RADII, minimise_from, move_to
from xfit.engine.pixel.loss_functions import LEAST_SQUARES, POISSON, CompiledLoss
from xfit.engine.pixel.packed_row import STATUS, scalars_at
from xfit.engine.pixel.rows import (
    Block,
    Buffer,
    Limits,
    buffer_of,
    evaluate_solution,
    prepare,
    row_of,
    spectrum_of,
    write,
)
from xfit.engine.pixel.standard_errors import finish
from xfit.engine.pixel.status import BAD_RESPONSE, CONVERGED, MAX_NFEV, NONFINITE_DERIVATIVE, NONFINITE_MODEL
from xfit.engine.pixel.tie_machine import Ties
from xfit.engine.pixel.whole_axis import set_response
from xfit.engine.pixel.workspace import STOP, Outcome, Workspace, workspace
from xfit.engine.simd.fit import LaneFit, fit_side_by_side, lanes_of

#: Evaluations for each free parameter after which variable projection is given up.
_PATIENCE = 20


class Search(NamedTuple):
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

    points: np.ndarray
    reach: np.ndarray
    chained: bool
    last: np.ndarray


@inlined
def _remember(count: int, ws: Workspace) -> None:
    """Keep the current point as the best so far."""
    for j in range(count):
        ws.best[j] = ws.q[ws.rows[j]]


@inlined
def _hold_shapes(count: int, ws: Workspace) -> None:
    """Hold all but the amplitudes where the fit begins, by bounds; keep the bounds that there were."""
    for j in range(count):
        ws.lowest[j], ws.highest[j] = ws.lower[j], ws.upper[j]
        if ws.code[j] != LINEAR and ws.code[j] != STARTING:
            ws.lower[j] = ws.upper[j] = ws.first[j]


@inlined
def _let_shapes_go(count: int, ws: Workspace) -> None:
    """Undo `_hold_shapes`."""
    for j in range(count):
        ws.lower[j], ws.upper[j] = ws.lowest[j], ws.highest[j]


@inlined
def _has_idle(count: int, ws: Workspace) -> bool:
    """Whether a parameter has no influence where the fit ended."""
    for j in range(count):
        if ws.norm[j] == 0.0:
            return True
    return False


#: Attempts at a fit: with the usual first step; with a shorter one, that keeps away from bounds; of the amplitudes alone; from where that ended; from the best of all,
#: for errors need what a fit leaves behind.
_USUAL, _SHORTER, _AMPLITUDES, _FROM_AMPLITUDES, _BEST, _NONE = range(6)


@inner
def _minimise(
    structure: Structure, ties: Ties, x: np.ndarray, spectrum: Spectrum, count: int, limits: Limits, ws: Workspace
) -> Outcome:
    """Fit one pixel from ``ws.first``, trying again with shorter first steps if it did not converge, or a parameter has lost its influence.

    What ends above the best amplitudes at the start is begun again from these.
    """
    best = Outcome(MAX_NFEV, math.inf, 0, False)
    nfev = 0
    claim = math.inf
    limit = limits.first_limit
    if limits.project:
        # Where amplitudes that follow the shapes lead nowhere, the second attempt does without.
        limit = min(limit, _PATIENCE * (count + 1))
    attempt = _USUAL
    while True:
        move_to(ws.first, ties, ws)
        outcome = minimise_from(
            structure, ties, x, spectrum, count, limits.tolerance, limit, RADII[1] if attempt == _SHORTER else RADII[0], attempt == _SHORTER,
            limits.project and attempt == _USUAL, ws,
        )  # fmt: skip
        nfev += outcome.nfev
        if attempt == _USUAL:
            claim = ws.claim[0]
        if attempt == _BEST or outcome.status == NONFINITE_MODEL or outcome.status == NONFINITE_DERIVATIVE:
            return Outcome(outcome.status, outcome.loss, nfev, outcome.by_qr)
        limit = limits.max_nfev - nfev
        following = _NONE
        if attempt == _AMPLITUDES:
            _let_shapes_go(count, ws)
            if limit > 0 and outcome.loss < best.loss * (1 - 1e-9):
                for j in range(count):
                    ws.first[j] = ws.q[ws.rows[j]]
                following = _FROM_AMPLITUDES
        else:
            good = outcome.status == CONVERGED and outcome.loss <= best.loss * (1 + 1e-9)
            above = min(outcome.loss, best.loss) > (claim + 1e-9 * abs(claim) if math.isfinite(claim) else claim)
            if good and (attempt == _FROM_AMPLITUDES or not above) and (attempt != _USUAL or not _has_idle(count, ws)):
                return Outcome(outcome.status, outcome.loss, nfev, outcome.by_qr)
            # A minimum is given up for a lower one only, or for what is clearly lower.
            if good or outcome.loss < best.loss * (1 - 1e-9 if best.status == CONVERGED else 1.0):
                _remember(count, ws)
                best = outcome
            if limit > 0 and attempt == _USUAL and (not good or _has_idle(count, ws)):
                following = _SHORTER
            elif limit > 0 and attempt != _FROM_AMPLITUDES and above:
                following = _AMPLITUDES
                _hold_shapes(count, ws)
        if following == _NONE and best.status == CONVERGED:
            for j in range(count):
                ws.first[j] = ws.best[j]
            limit = limits.first_limit
            following = _BEST
        if following == _NONE:
            move_to(ws.best, ties, ws)
            return Outcome(best.status, best.loss, nfev, best.by_qr)
        attempt = following


@inlined
def _scatter(search: Search, number: int, given: np.ndarray, count: int, ws: Workspace) -> None:
    """Set ``ws.first`` to a further start."""
    for j in range(count):
        low, high = ws.lower[j], ws.upper[j]
        start = given[ws.rows[j]]
        if not math.isnan(search.reach[j]):
            low, high = max(low, start - search.reach[j]), min(high, start + search.reach[j])
        finite = math.isfinite(low) and math.isfinite(high)
        ws.first[j] = low + search.points[number, j] * (high - low) if finite else start


@inner
def _minimise_from_several(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    count: int,
    given: np.ndarray,
    search: Search,
    limits: Limits,
    ws: Workspace,
) -> Outcome:
    """Fit one pixel from the given start and from further ones; the lowest minimum is kept."""
    best = _minimise(structure, ties, x, spectrum, count, limits, ws)
    nfev = best.nfev
    for j in range(count):
        ws.kept[j] = ws.q[ws.rows[j]]
    for number in range(search.points.shape[0]):
        _scatter(search, number, given, count, ws)
        outcome = _minimise(structure, ties, x, spectrum, count, limits, ws)
        nfev += outcome.nfev
        found = outcome.status == CONVERGED
        if best.status == NONFINITE_MODEL or (found and best.status != CONVERGED):
            better = outcome.status != NONFINITE_MODEL
        else:
            better = (found or best.status != CONVERGED) and outcome.loss < best.loss
        if better:
            best = outcome
            for j in range(count):
                ws.kept[j] = ws.q[ws.rows[j]]
    if best.status == CONVERGED:
        # Errors need what a fit leaves behind at its end: that of the best one.
        for j in range(count):
            ws.first[j] = ws.kept[j]
        best = _minimise(structure, ties, x, spectrum, count, limits, ws)
        nfev += best.nfev
    else:
        move_to(ws.kept, ties, ws)
    return Outcome(best.status, best.loss, nfev, best.by_qr)


@inlined
def _follow(last: np.ndarray, count: int, ws: Workspace) -> None:
    """Start where the pixel before ended, as far as the bounds allow."""
    for j in range(count):
        value = last[ws.rows[j]]
        if not math.isnan(value):
            ws.first[j] = min(max(value, ws.lower[j]), ws.upper[j])


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
    search: Search,
    buffer: Buffer,
    ws: Workspace,
) -> None:
    """Fit the listed pixels one after another, with all the care that the engine has."""
    count = free.size
    for i in pixels:
        if ws.flags[STOP] != 0:
            return
        scalars = block.out[i][scalars_at(ws.q.size) :]
        ready, plain, used, smallest = prepare(block, i, ties, free, limits.loss, buffer, ws)
        if not ready:
            continue
        row = row_of(response, i)
        if structure.plan.size > 0 and not set_response(structure.plan, structure.numbers, response[row], row):
            scalars[STATUS] = BAD_RESPONSE
            continue
        if search.chained:
            _follow(search.last, count, ws)
        spectrum = spectrum_of(block, plain, used, smallest, limits.loss, buffer)
        given = block.start[row_of(block.start, i)]
        outcome = _minimise_from_several(structure, ties, x, spectrum, count, given, search, limits, ws)
        outcome, chisq = evaluate_solution(structure, ties, x, spectrum, outcome, count, ws)
        write(outcome, chisq, structure, count, limits, ws, block.out[i])
        if outcome.status == CONVERGED:
            finish(structure, ties, x, spectrum, outcome, count, block.pairs, limits, ws, buffer.spread, block.out[i])
            for j in range(count):
                search.last[free[j]] = ws.q[free[j]]


@dataclass
class Scratch:
    """Memory for the fits of pixels with the same free parameters; that for pixels side by side when it is first needed."""

    ws: Workspace
    buffer: Buffer
    lanes: LaneFit | None = None


def scratch_of(
    n: int, free: np.ndarray, code: np.ndarray, bent: np.ndarray, channels: int, ties: Ties, loss: CompiledLoss
) -> Scratch:
    """Allocate it for ``n`` parameters.

    Parameters
    ----------
    free : int64 (count,)
        Positions of the free parameters.
    code : int64 (count,)
        What each is to `xfit.engine.pixel.amplitudes`.
    bent : float64 (count,)
        The range of the coordinates for those that the model is not linear in, otherwise zero.
    channels : int
        Their number, rounded up to whole vectors.
    """
    count = free.size
    ws = workspace(n, count, channels, ties.row.size)
    ws.rows[:count] = free
    ws.rows[count:] = n
    # Amplitudes follow shapes by the algebra of least squares, which other losses resemble well enough for a start.
    ws.bent[:] = bent
    ws.code[:] = code if loss.kind == LEAST_SQUARES else starting_only(code)
    return Scratch(ws, buffer_of(channels, n, count))


def fit_pixels(
    structure: Structure,
    side_by_side: Structure,
    ties: Ties,
    x: np.ndarray,
    block: Block,
    response: np.ndarray,
    free: np.ndarray,
    constants_hold: bool,
    pixels: np.ndarray,
    limits: Limits,
    search: Search,
    scratch: Scratch,
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
    constants_hold : bool
        Whether the constants of the kernels (parameters that are seldom fitted) are the same for all pixels.
    pixels : int64 (any,)
        Which pixels to fit, in this order.
    limits : Limits
        How to fit.
    search : Search
        Where to begin.
    scratch : Scratch
        Memory; where the same is given again, data must have errors, masks and widths as before, or none.
    """
    ws, buffer = scratch.ws, scratch.buffer
    left = pixels
    together = limits.loss.kind in (LEAST_SQUARES, POISSON) and not (limits.project or search.chained)
    if side_by_side.address.size and together and not len(search.points):
        if scratch.lanes is None:
            scratch.lanes = lanes_of(side_by_side, ties, block, free, ws, constants_hold, limits.loss)
        left = np.empty_like(pixels)
        number = fit_side_by_side(
            structure, side_by_side, ties, x, block, free, pixels, limits, buffer, ws, scratch.lanes, left
        )
        left = left[:number]
    if left.size:
        fit_singly(structure, ties, x, block, response, free, left, limits, search, buffer, ws)
