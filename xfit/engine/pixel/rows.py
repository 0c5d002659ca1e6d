"""One pixel's row in and out of the engine: its data and start prepared, values and criteria written."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from xfit.engine.math.jit import inlined, inner
from xfit.engine.math.layout import PITCH
from xfit.engine.pixel.evaluate import Spectrum, Structure, weigh
from xfit.engine.pixel.likelihood import constant_of_counts, log_of_product
from xfit.engine.pixel.loss_functions import (
    CUSTOM,
    LEAST_SQUARES,
    POISSON,
    SMALLEST_MEAN,
    SQUARES,
    SUMS,
    CompiledLoss,
    Deviations,
)
from xfit.engine.pixel.packed_row import AIC, DOF, EVALUATIONS, STATUS, at_bound_at, scalars_at, write_goodness
from xfit.engine.pixel.status import BAD_COUNTS, BAD_DATA, BAD_START, BAD_VARIANCE, MASKED, NONFINITE_MODEL
from xfit.engine.pixel.steps import scale_of
from xfit.engine.pixel.tie_machine import Ties, apply_ties
from xfit.engine.pixel.workspace import Outcome, Workspace, gram_of


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
    scale_covariance, covariance : bool
        Whether errors are scaled by the reduced chi-squared; whether the covariance matrix is written.
    project : bool
        Whether amplitudes are always at their best values (variable projection).
    loss : CompiledLoss
        What is minimised.
    alpha : float
        Penalty on the sum of the squares of the parameters, of linear fits; rows then end with what that adds to the parameters.
    """

    tolerance: float
    first_limit: int
    max_nfev: int
    scale_covariance: bool
    covariance: bool
    project: bool
    loss: CompiledLoss
    alpha: float


class Buffer(NamedTuple):
    """Scratch of one pixel besides the `Workspace`: its weighed data and factors, rows of its covariance, and what `Deviations` has."""

    weighted: np.ndarray
    factor: np.ndarray
    spread: np.ndarray
    weight: np.ndarray
    work: np.ndarray


def buffer_of(channels: int, parameters: int, count: int) -> Buffer:
    """Allocate the scratch for pixels of so many channels, with so many parameters of which ``count`` are free."""
    return Buffer(
        np.zeros(channels),
        np.zeros(channels),
        np.empty((parameters, max(count, 1))),
        np.zeros(channels),
        np.zeros((5, PITCH)),
    )


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
        ws.first[j] = value
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
def _weigh_counts(y: np.ndarray, loss: CompiledLoss, buffer: Buffer) -> tuple[float, float, bool]:
    """Bring counts to the units in which variance and mean are the same.

    Returns
    -------
    smallest : float
        The mean below which the variance is this.
    constant : float
        What the loss lacks of minus twice the logarithm of the likelihood.
    valid : bool
        False where counts in use are negative.
    """
    total = 0.0
    used = negative = 0
    inverse = 1.0 / loss.gain
    for i in range(y.size):
        keep = buffer.factor[i] != 0.0
        value = buffer.weighted[i]
        negative += 1 if value < 0.0 else 0
        value = value * inverse + loss.shift if keep else 0.0
        total += max(value, 0.0)
        used += 1 if keep else 0
        buffer.weighted[i] = value
        buffer.factor[i] *= inverse
    smallest = SMALLEST_MEAN * (total / used if total > 0.0 else 1.0)
    constant = constant_of_counts(buffer.weighted, buffer.factor, y.size) if loss.counts and negative == 0 else math.nan
    return smallest, constant, negative == 0 or not loss.counts


@inner
def _weigh_for_users(y: np.ndarray, width: np.ndarray, buffer: Buffer) -> None:
    """Take the weights out of data and factors, for a loss that is given them as such."""
    for i in range(y.size):
        root = buffer.factor[i]
        buffer.weight[i] = root * root
        buffer.weighted[i] = y[i] if root > 0.0 else 0.0
        buffer.factor[i] = (width[i] if width.size else 1.0) if root > 0.0 else 0.0


@inner
def prepare(
    block: Block, i: int, ties: Ties, free: np.ndarray, loss: CompiledLoss, buffer: Buffer, ws: Workspace
) -> tuple[bool, bool, int, float]:
    """Weigh a pixel's data and set ``ws`` to its start and bounds; write why it can't be fitted, if so.

    Returns
    -------
    ready : bool
        Whether it can be fitted.
    plain : bool
        See `xfit.engine.pixel.evaluate.Spectrum`.
    used : int
        Number of channels that take part.
    smallest : float
        See `xfit.engine.pixel.loss_functions.Deviations`.
    """
    row = block.out[i]
    count = free.size
    scalars = row[scalars_at(ws.q.size) :]
    channels = block.where[row_of(block.where, i)]
    variance = block.variance[row_of(block.variance, i)]
    width = block.width[: 0 if loss.kind == CUSTOM else block.width.size]
    plain, used, valid = weigh(block.y[i], variance, channels, width, buffer.weighted, buffer.factor)
    scalars[DOF] = used - count
    scalars[EVALUATIONS] = 0
    smallest = 0.0
    constant = 0.0
    fault = 0
    if not valid:
        fault = BAD_VARIANCE
    elif used < max(count, 1):
        fault = MASKED if channels.size and not _any(channels) else BAD_DATA
    elif loss.kind == POISSON:
        smallest, constant, valid = _weigh_counts(block.y[i], loss, buffer)
        fault = 0 if valid else BAD_COUNTS
    elif loss.kind == CUSTOM:
        _weigh_for_users(block.y[i], block.width, buffer)
        constant = math.nan
    elif loss.kind != LEAST_SQUARES:
        constant = math.nan
    elif variance.size:
        constant = -2.0 * log_of_product(buffer.factor, block.width, block.y.shape[1])
    lower, upper = block.lower[row_of(block.lower, i)], block.upper[row_of(block.upper, i)]
    for j in range(count):
        ws.lower[j] = lower[free[j]]
        ws.upper[j] = upper[free[j]]
    if fault == 0 and not begin(block.start[row_of(block.start, i)], ties, count, ws):
        fault = BAD_START
    if fault != 0:
        scalars[STATUS] = fault
        return False, plain, used, smallest
    # Where the criteria will stand.
    scalars[AIC] = constant
    return True, plain, used, smallest


@inlined
def spectrum_of(block: Block, plain: bool, used: int, smallest: float, loss: CompiledLoss, buffer: Buffer) -> Spectrum:
    """Put together a prepared pixel's data and loss."""
    deviations = Deviations(loss, smallest, buffer.weight, buffer.work, False)
    return Spectrum(buffer.weighted, buffer.factor, plain, used, block.y.shape[1], deviations)


@inner
def write(
    outcome: Outcome, chisq: float, structure: Structure, count: int, limits: Limits, ws: Workspace, out: np.ndarray
) -> None:
    """Write values, flags and scalars of a pixel; its degrees of freedom stand in its row."""
    n = ws.q.size
    scalars = out[scalars_at(n) :]
    scalars[EVALUATIONS] = outcome.nfev
    scalars[STATUS] = outcome.status
    if outcome.status == NONFINITE_MODEL:
        scalars[AIC] = math.nan
        return
    for k in range(n):
        out[k] = ws.q[k]
        out[at_bound_at(n) + k] = 0.0
    for k in structure.idle:
        out[k] = math.nan
    for j in range(count):
        if ws.q[ws.rows[j]] <= ws.lower[j]:
            out[at_bound_at(n) + ws.rows[j]] = -1.0
        elif ws.q[ws.rows[j]] >= ws.upper[j]:
            out[at_bound_at(n) + ws.rows[j]] = 1.0
    used = int(scalars[DOF]) + count
    write_goodness(chisq, outcome.loss, used, count, limits.loss.kind, limits.scale_covariance, scalars)


@inlined
def evaluate_solution(
    structure: Structure, ties: Ties, x: np.ndarray, spectrum: Spectrum, outcome: Outcome, count: int, ws: Workspace
) -> tuple[Outcome, float]:
    """Evaluate losses other than least squares where the fit ended: outcome with the loss there, and chi-squared.

    What follows needs the sums over the channels that this leaves behind, and the Gram matrix.
    """
    if spectrum.deviations.loss.kind == LEAST_SQUARES or outcome.status == NONFINITE_MODEL:
        return outcome, outcome.loss
    loss = gram_of(structure, ties, x, spectrum, count, ws.q, ws, ws.gram)
    scale_of(ws.gram, count, ws.norm)
    return Outcome(outcome.status, loss, outcome.nfev, outcome.by_qr), spectrum.deviations.work[SUMS, SQUARES]
