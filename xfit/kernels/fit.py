"""The loop over the pixels of a block: weigh, minimise, try again, write one packed row of results each."""

from __future__ import annotations

import math

import numpy as np

from xfit.compile.special import square
from xfit.kernels.covariance import covariance_root
from xfit.kernels.evaluate import Spectrum, Structure, weigh
from xfit.kernels.jit import allocating, entry, inlined, inner
from xfit.kernels.lm import RADII, Outcome, Workspace, factorise, minimise_from, workspace
from xfit.kernels.status import BAD_DATA, BAD_START, BAD_VARIANCE, CONVERGED, MASKED, NONFINITE_MODEL
from xfit.kernels.steps import AT_LOWER, AT_UPPER, FREE
from xfit.kernels.ties import Ties, apply_ties, tie_derivatives

#: Numbers of a packed row that follow value, stderr and at_bound of every parameter.
SCALARS = ("chisq", "red_chisq", "loss", "dof", "nfev", "status")


@allocating
def _pick(array: np.ndarray, i: int) -> np.ndarray:
    """Row of a pixel, where all pixels may share one row."""
    return array[i] if array.shape[0] > 1 else array[0]


@inner
def _begin(start: np.ndarray, ties: Ties, count: int, ws: Workspace) -> bool:
    """Set the current point to the start values; False where a free one is not finite or out of bounds."""
    for k in range(start.size):
        ws.q[k] = start[k]
    apply_ties(ties, ws.q, ws.stack)
    for j in range(count):
        value = start[ws.rows[j]]
        if not (math.isfinite(value) and ws.lower[j] <= value <= ws.upper[j]):
            return False
    return True


@inlined
def _remember(count: int, ws: Workspace) -> None:
    """Keep the current point as the best so far."""
    for j in range(count):
        ws.best[j] = ws.theta[j]


@inner
def _minimise(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    start: np.ndarray,
    count: int,
    tolerance: float,
    first_limit: int,
    max_nfev: int,
    ws: Workspace,
) -> Outcome:
    """Fit one pixel, trying again with shorter first steps if it did not converge."""
    outcome = minimise_from(structure, ties, x, spectrum, count, tolerance, first_limit, RADII[0], ws)
    if outcome.status == CONVERGED or outcome.status == NONFINITE_MODEL:
        return outcome
    best = outcome
    nfev = outcome.nfev
    _remember(count, ws)
    for radius in RADII[1:]:
        if nfev >= max_nfev:
            break
        _begin(start, ties, count, ws)
        outcome = minimise_from(structure, ties, x, spectrum, count, tolerance, max_nfev - nfev, radius, ws)
        nfev += outcome.nfev
        if outcome.status == CONVERGED and outcome.chisq <= best.chisq * (1 + 1e-9):
            return Outcome(outcome.status, outcome.chisq, nfev, outcome.by_qr)
        if outcome.chisq < best.chisq:
            _remember(count, ws)
            best = outcome
    for j in range(count):
        ws.q[ws.rows[j]] = ws.best[j]
    apply_ties(ties, ws.q, ws.stack)
    return Outcome(best.status, best.chisq, nfev, best.by_qr)


@inner
def _write_errors(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    spectrum: Spectrum,
    outcome: Outcome,
    count: int,
    scale: float,
    with_covariance: bool,
    ws: Workspace,
    spread: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write standard errors (and the covariance) of a converged pixel."""
    n = ws.q.size
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
    for a in range(n):
        total = 0.0
        for k in range(used):
            total += square(spread[a, k])
        out[n + a] = math.sqrt(total * scale)
    if with_covariance:
        at = 3 * n + len(SCALARS)
        for a in range(n):
            for b in range(n):
                total = 0.0
                for k in range(used):
                    total += spread[a, k] * spread[b, k]
                out[at + a * n + b] = total * scale


@inlined
def _write(
    outcome: Outcome, spectrum: Spectrum, structure: Structure, ties: Ties, count: int, ws: Workspace, out: np.ndarray
) -> None:
    """Write values, flags and scalars of a pixel."""
    n = ws.q.size
    for k in range(n):
        out[k] = ws.q[k]
        out[2 * n + k] = 0.0
    for k in structure.idle:
        out[k] = math.nan
    for j in range(count):
        if ws.q[ws.rows[j]] <= ws.lower[j]:
            out[2 * n + ws.rows[j]] = -1.0
        elif ws.q[ws.rows[j]] >= ws.upper[j]:
            out[2 * n + ws.rows[j]] = 1.0
    dof = spectrum.used - count
    out[3 * n] = outcome.chisq
    out[3 * n + 1] = outcome.chisq / dof if dof > 0 else math.nan
    out[3 * n + 2] = outcome.chisq


@inlined
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


@entry
def fit_pixels(
    structure: Structure,
    ties: Ties,
    x: np.ndarray,
    y: np.ndarray,
    variance: np.ndarray,
    where: np.ndarray,
    width: np.ndarray,
    start: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    free: np.ndarray,
    code: np.ndarray,
    pixels: np.ndarray,
    tolerance: float,
    first_limit: int,
    max_nfev: int,
    scale_covariance: bool,
    with_covariance: bool,
    out: np.ndarray,
) -> None:
    """Fit the listed pixels of a block, one after another.

    Parameters
    ----------
    structure, ties
        The model; see `Structure` and `Ties`.
    x : float64 (n_rows, n_channels rounded up to whole vectors)
        Coordinates of the components; the last channel repeated at the end.
    y : float64 (n_pixels, n_channels)
        Data.
    variance : float64 (n_pixels or 1, n_channels), or (1, 0) for none
        Variance of the data.
    where : bool (n_pixels or 1, n_channels), or (1, 0) for all
        Channels to use.
    width : float64 (n_channels,), or (0,) for data that are not binned
        Channel widths.
    start, lower, upper : float64 (n_pixels or 1, n_parameters)
        Start values (of fixed parameters: their values) and bounds.
    free : int64 (count,)
        Positions of the free parameters.
    code : int64 (count,)
        What each is to `xfit.kernels.relax`.
    pixels : int64 (any,)
        Which pixels to fit.
    tolerance : float
        Largest estimated distance to the minimum, in units of the residual variance.
    first_limit, max_nfev : int
        Largest number of model evaluations of a pixel's first attempt and of all its attempts.
    scale_covariance, with_covariance : bool
        Whether errors are scaled by the reduced chi-squared; whether the covariance matrix is written.
    out : float64 (n_pixels, n_columns)
        Packed results, written in place; comes filled with NaN.
    """
    n = start.shape[1]
    count = free.size
    ws = workspace(n, count, x.shape[1], ties.row.size)
    spread = np.empty((n, max(count, 1)))
    weighted = np.zeros(x.shape[1])
    factor = np.zeros(x.shape[1])
    for j in range(count):
        ws.rows[j] = free[j]
        ws.code[j] = code[j]
    ws.rows[count:] = n
    tail = 3 * n + 3
    for i in pixels:
        row = out[i]
        row[tail + 1] = 0
        channels = _pick(where, i)
        plain, used, valid = weigh(y[i], _pick(variance, i), channels, width, weighted, factor)
        row[tail] = used - count
        if not valid:
            row[tail + 2] = BAD_VARIANCE
            continue
        if used < max(count, 1):
            row[tail + 2] = MASKED if channels.size and not channels.any() else BAD_DATA
            continue
        for j in range(count):
            ws.lower[j] = _pick(lower, i)[free[j]]
            ws.upper[j] = _pick(upper, i)[free[j]]
        if not _begin(_pick(start, i), ties, count, ws):
            row[tail + 2] = BAD_START
            continue
        spectrum = Spectrum(weighted, factor, plain, used, y.shape[1])
        outcome = _minimise(structure, ties, x, spectrum, _pick(start, i), count, tolerance, first_limit, max_nfev, ws)
        row[tail + 1] = outcome.nfev
        row[tail + 2] = outcome.status
        if outcome.status == NONFINITE_MODEL:
            continue
        _write(outcome, spectrum, structure, ties, count, ws, row)
        if outcome.status == CONVERGED:
            _hold_for_errors(count, ws)
            dof = used - count
            scale = (outcome.chisq / dof if dof > 0 else math.nan) if scale_covariance else 1.0
            _write_errors(structure, ties, x, spectrum, outcome, count, scale, with_covariance, ws, spread, row)
