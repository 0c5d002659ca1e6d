"""Errors of a pixel that converged, for every kind of loss, and its covariances."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.elementary import square
from xfit.engine.math.jit import inlined, inner
from xfit.engine.pixel.covariance import covariance_root, fill_sandwich
from xfit.engine.pixel.evaluate import Spectrum, Structure
from xfit.engine.pixel.loss_functions import (
    CUSTOM,
    GRADIENTS,
    LEAST_SQUARES,
    POISSON,
    SLOPES,
    SLOPES_SQUARED,
    SUMS,
    CompiledLoss,
    Deviations,
)
from xfit.engine.pixel.packed_row import DOF, RED_CHISQ, further_at, scalars_at, stderr_at
from xfit.engine.pixel.rows import Limits
from xfit.engine.pixel.steps import AT_LOWER, AT_UPPER, FREE, SMALLEST_PIVOT, scale_of, solve_cholesky
from xfit.engine.pixel.tie_machine import Ties, tie_derivatives
from xfit.engine.pixel.workspace import Outcome, Workspace, factorise, gram_of


@inner
def _add_penalty(alpha: float, count: int, ws: Workspace) -> None:
    """Add a penalty to the Gram matrix, keeping what it was in ``ws.gram_trial``."""
    for i in range(count):
        for j in range(i + 1):
            ws.gram_trial[i, j] = ws.gram[i, j]
        ws.gram[i, i] += alpha
    scale_of(ws.gram, count, ws.norm)


@inner
def _write_bias(alpha: float, ties: Ties, count: int, ws: Workspace, out: np.ndarray) -> None:
    """Write how far the solution is from the one without the penalty, which has no bias: ``-alpha inv(J'J) p``."""
    n = ws.q.size
    at = out.size - n
    for a in range(n):
        out[at + a] = 0.0
    for j in range(count):
        ws.gram_trial[count, j] = -alpha * ws.q[ws.rows[j]]
        ws.norm_trial[j] = math.sqrt(ws.gram_trial[j, j])
        ws.step[j] = 0.0
    quality = solve_cholesky(
        ws.gram_trial, count, ws.norm_trial, 0.0, ws.norm_trial, ws.state, ws.chosen, ws.work, ws.step
    )  # fmt: skip
    for j in range(count):
        out[at + ws.rows[j]] = ws.step[j] if quality > SMALLEST_PIVOT else math.nan
    # As in `covariance_root`, what is followed first.
    for d in range(ties.row.size - 1, -1, -1):
        out[at + ties.tied[ties.row[d]]] += ws.derivative[d] * out[at + ties.column[d]]


@inner
def _write_errors(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    outcome: Outcome,
    count: int,
    scale: float,
    pairs: np.ndarray,
    limits: Limits,
    ws: Workspace,
    spread: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write standard errors and covariances of a converged pixel."""
    n = ws.q.size
    if limits.alpha > 0.0:
        _add_penalty(limits.alpha, count, ws)
    tie_derivatives(ties, ws.q, ws.derivative, ws.stack)
    used = covariance_root(
        ties, ws.derivative, ws.gram, ws.jacobian, outcome.by_qr, count, ws.norm, ws.state, ws.rows, ws.work, spread
    )
    if used < 0 and not outcome.by_qr:
        factorise(structure, ties, x, spectrum, count, ws)
        used = covariance_root(
            ties, ws.derivative, ws.gram, ws.jacobian, True, count, ws.norm, ws.state, ws.rows, ws.work, spread
        )
    if used <= 0:
        return
    if limits.loss.kind == CUSTOM:
        middle = _with(spectrum, limits.loss, True)
        gram_of(structure, ties, x, middle, count, ws.q, ws, ws.gram_trial)
        fill_sandwich(ws.gram_trial, count, ws.rows, ws.state, used, ws.work, spread)
    if limits.alpha > 0.0:
        _write_bias(limits.alpha, ties, count, ws, out)
        fill_sandwich(ws.gram_trial, count, ws.rows, ws.state, used, ws.work, spread)
    for a in range(n):
        total = 0.0
        for k in range(used):
            total += square(spread[a, k])
        out[stderr_at(n) + a] = math.sqrt(total * scale)
    at = further_at(n)
    for pair in range(pairs.shape[0]):
        total = 0.0
        for k in range(used):
            total += spread[pairs[pair, 0], k] * spread[pairs[pair, 1], k]
        out[at + pair] = total * scale
    at += pairs.shape[0]
    if limits.covariance:
        for a in range(n):
            for b in range(n):
                total = 0.0
                for k in range(used):
                    total += spread[a, k] * spread[b, k]
                out[at + a * n + b] = total * scale


@inner
def _hold_for_errors(count: int, ws: Workspace) -> None:
    """State of each parameter for the covariance: what lies on a bound has no error, everything else has."""
    for j in range(count):
        value = ws.q[ws.rows[j]]
        if value <= ws.lower[j]:
            ws.state[j] = AT_LOWER
        elif value >= ws.upper[j]:
            ws.state[j] = AT_UPPER
        else:
            ws.state[j] = FREE


@inlined
def finish(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    outcome: Outcome,
    count: int,
    pairs: np.ndarray,
    limits: Limits,
    ws: Workspace,
    spread: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write the errors of a pixel that converged, whose row is written otherwise.

    For likelihoods and least squares they are from the inverse of Fisher's information. Those of robust losses are Huber's
    (Robust Statistics, Wiley 1981, section 7.6, doi:10.1002/0471725250): the sandwich of an estimate whose deviations have one
    distribution in all channels, so that few channels far out decide as little on the errors as on the values. Those of a
    custom loss are the sandwich as it stands, with a factor for the parameters that were fitted.
    """
    _hold_for_errors(count, ws)
    scalars = out[scalars_at(ws.q.size) :]
    kind = limits.loss.kind
    scale = scalars[RED_CHISQ] if limits.scale_covariance else 1.0
    dof = scalars[DOF]
    if kind == CUSTOM:
        scale = spectrum.used / dof if dof > 0 else math.nan
    elif kind != LEAST_SQUARES and kind != POISSON:
        scale = _huber_scale(spectrum.deviations.work[SUMS], spectrum.used, count)
        spectrum = _with(spectrum, CompiledLoss(LEAST_SQUARES, 1.0, 1.0, 0.0, 1.0, False, 0), False)
        gram_of(structure, ties, x, spectrum, count, ws.q, ws, ws.gram)
        scale_of(ws.gram, count, ws.norm)
        outcome = Outcome(outcome.status, outcome.loss, outcome.nfev, False)
    _write_errors(structure, ties, x, spectrum, outcome, count, scale, pairs, limits, ws, spread, out)


@inlined
def _with(spectrum: Spectrum, loss: CompiledLoss, squares: bool) -> Spectrum:
    """Make the same data with another loss."""
    d = spectrum.deviations
    deviations = Deviations(loss, d.smallest, d.weight, d.work, squares)
    return Spectrum(spectrum.y, spectrum.m, spectrum.plain, spectrum.used, spectrum.channels, deviations)


@inner
def _huber_scale(sums: np.ndarray, used: int, count: int) -> float:
    """Variance of the deviations as a robust loss sees it, with Huber's correction for the parameters that were fitted."""
    mean = sums[SLOPES] / used
    if used <= count or not mean > 0.0:
        return math.nan
    spread = max(sums[SLOPES_SQUARED] / used - mean * mean, 0.0)
    factor = 1.0 + count / used * spread / (mean * mean)
    return factor * factor * sums[GRADIENTS] / (used - count) / (mean * mean)
