"""One pixel's row in and out of the engine: its data and start prepared, its packed row of results written."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xfit.compile.special import square
from xfit.kernels.covariance import covariance_root
from xfit.kernels.evaluate import Spectrum, Structure, weigh
from xfit.kernels.jit import inlined, inner
from xfit.kernels.status import BAD_DATA, BAD_START, BAD_VARIANCE, MASKED, NONFINITE_MODEL
from xfit.kernels.steps import AT_LOWER, AT_UPPER, FREE
from xfit.kernels.ties import Ties, apply_ties, tie_derivatives
from xfit.kernels.workspace import Outcome, Workspace, factorise

#: Numbers of a packed row that follow value, stderr and at_bound of every parameter.
SCALARS = ("chisq", "red_chisq", "loss", "dof", "nfev", "status")


class Block(NamedTuple):
    """The pixels of a block.

    Attributes
    ----------
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
    pairs : int64 (any, 2)
        Positions of the pairs of parameters whose covariance is kept.
    out : float64 (n_pixels, n_columns)
        Packed results, written in place; comes filled with NaN.
    """

    y: np.ndarray
    variance: np.ndarray
    where: np.ndarray
    width: np.ndarray
    start: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    pairs: np.ndarray
    out: np.ndarray


class Limits(NamedTuple):
    """How to fit.

    Attributes
    ----------
    tolerance : float
        Largest estimated distance to the minimum, in units of the residual variance.
    first_limit, max_nfev : int
        Largest number of model evaluations of a pixel's first attempt and of all its attempts.
    scale_covariance, with_covariance : bool
        Whether errors are scaled by the reduced chi-squared; whether the covariance matrix is written.
    """

    tolerance: float
    first_limit: int
    max_nfev: int
    scale_covariance: bool
    with_covariance: bool


class Buffer(NamedTuple):
    """Scratch of one pixel besides the `Workspace`: its weighed data and factors, and rows of its covariance."""

    weighted: np.ndarray
    factor: np.ndarray
    spread: np.ndarray


@inlined
def row_of(array: np.ndarray, i: int) -> int:
    """Row of a pixel, where all pixels may share one row."""
    return i if array.shape[0] > 1 else 0


@inner
def begin(start: np.ndarray, ties: Ties, count: int, ws: Workspace) -> bool:
    """Set the current point to the start values; False where a free one is not finite or out of bounds."""
    for k in range(start.size):
        ws.q[k] = start[k]
    apply_ties(ties, ws.q, ws.stack)
    for j in range(count):
        value = start[ws.rows[j]]
        if not (math.isfinite(value) and ws.lower[j] <= value <= ws.upper[j]):
            return False
    return True


@inner
def _any(flags: np.ndarray) -> bool:
    """Whether any is set."""
    for flag in flags:
        if flag:
            return True
    return False


@inner
def prepare(
    block: Block, i: int, ties: Ties, free: np.ndarray, buffer: Buffer, ws: Workspace
) -> tuple[bool, bool, int]:
    """Weigh a pixel's data and set ``ws`` to its start and bounds; write why it can't be fitted, if so.

    Returns
    -------
    ready : bool
        Whether it can be fitted.
    plain : bool
        See `xfit.kernels.evaluate.Spectrum`.
    used : int
        Number of channels that take part.
    """
    row = block.out[i]
    count = free.size
    tail = 3 * ws.q.size + 3
    channels = block.where[row_of(block.where, i)]
    variance = block.variance[row_of(block.variance, i)]
    plain, used, valid = weigh(block.y[i], variance, channels, block.width, buffer.weighted, buffer.factor)
    row[tail] = used - count
    row[tail + 1] = 0
    if not valid:
        row[tail + 2] = BAD_VARIANCE
        return False, plain, used
    if used < max(count, 1):
        row[tail + 2] = MASKED if channels.size and not _any(channels) else BAD_DATA
        return False, plain, used
    lower, upper = block.lower[row_of(block.lower, i)], block.upper[row_of(block.upper, i)]
    for j in range(count):
        ws.lower[j] = lower[free[j]]
        ws.upper[j] = upper[free[j]]
    if not begin(block.start[row_of(block.start, i)], ties, count, ws):
        row[tail + 2] = BAD_START
        return False, plain, used
    return True, plain, used


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
    with_covariance: bool,
    ws: Workspace,
    spread: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write standard errors and covariances of a converged pixel."""
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
    at = 3 * n + len(SCALARS)
    for pair in range(pairs.shape[0]):
        total = 0.0
        for k in range(used):
            total += spread[pairs[pair, 0], k] * spread[pairs[pair, 1], k]
        out[at + pair] = total * scale
    at += pairs.shape[0]
    if with_covariance:
        for a in range(n):
            for b in range(n):
                total = 0.0
                for k in range(used):
                    total += spread[a, k] * spread[b, k]
                out[at + a * n + b] = total * scale


@inlined
def write(outcome: Outcome, structure: Structure, count: int, ws: Workspace, out: np.ndarray) -> None:
    """Write values, flags and scalars of a pixel; its degrees of freedom stand in its row."""
    n = ws.q.size
    out[3 * n + 4] = outcome.nfev
    out[3 * n + 5] = outcome.status
    if outcome.status == NONFINITE_MODEL:
        return
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
    dof = out[3 * n + 3]
    out[3 * n] = outcome.chisq
    out[3 * n + 1] = outcome.chisq / dof if dof > 0 else math.nan
    out[3 * n + 2] = outcome.chisq


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
    """Write the errors of a pixel that converged, whose row is written otherwise."""
    _hold_for_errors(count, ws)
    scale = out[3 * ws.q.size + 1] if limits.scale_covariance else 1.0
    _write_errors(structure, ties, x, spectrum, outcome, count, scale, pairs, limits.with_covariance, ws, spread, out)
