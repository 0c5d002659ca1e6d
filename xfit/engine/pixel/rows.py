"""One pixel's row in and out of the engine: its data and start prepared, values and criteria written."""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.evaluation.evaluate import gram_of, tie_point
from xfit.engine.evaluation.loss_functions import (
    CUSTOM,
    LEAST_SQUARES,
    POISSON,
    SMALLEST_MEAN,
    SQUARES,
    SUMS,
    CompiledLoss,
)
from xfit.engine.evaluation.state import Outcome, Problem, State
from xfit.engine.lm.steps import rescale
from xfit.engine.math.jit import inner
from xfit.engine.math.records import FlagTable, IntegerTable, Reals, RealTable, Record
from xfit.engine.pixel.likelihood import constant_of_counts, log_of_product, write_goodness
from xfit.engine.pixel.packed_row import at_bound_at, scalars_at
from xfit.engine.pixel.scalars import AIC, DOF, EVALUATIONS, STATUS
from xfit.engine.pixel.status import (
    BAD_COUNTS,
    BAD_DATA,
    BAD_START,
    BAD_VARIANCE,
    MASKED,
    NONFINITE_MODEL,
)


class Block(Record):
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

    y: RealTable
    variance: RealTable
    where: FlagTable
    width: Reals
    start: RealTable
    lower: RealTable
    upper: RealTable
    pairs: IntegerTable
    out: RealTable


class Limits(Record):
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
    alpha : float
        Penalty on the sum of the squares of the parameters, of linear fits; rows then end with what that adds to the
        parameters.
    """

    tolerance: float
    first_limit: int
    max_nfev: int
    scale_covariance: bool
    covariance: bool
    project: bool
    alpha: float


@inner
def row_of(array: np.ndarray, i: int) -> int:
    """Row of a pixel, where all pixels may share one row."""
    return i if array.shape[0] > 1 else 0


@inner
def _weigh(s: State, y: np.ndarray, variance: np.ndarray, where: np.ndarray, width: np.ndarray) -> bool:
    """Weigh one pixel's data into ``s.y`` and ``s.m`` and leave out what is masked or not finite.

    Parameters
    ----------
    y : float64 (n,)
        Data.
    variance, width : float64 (n,) or (0,)
        Variance and channel widths; empty where there is none.
    where : bool (n,) or (0,)
        Channels to use; empty for all.

    Returns
    -------
    bool
        False where a channel in use has a variance of zero or below.
    """
    s.plain = variance.size == 0 and width.size == 0 and where.size == 0
    weighted, factor = s.y, s.m
    used = 0
    invalid = 0
    # Only arithmetic and selects in these loops, so that they vectorise; x - x is zero for finite x alone.
    for i in range(y.size):
        factor[i] = 1.0 if y[i] - y[i] == 0.0 else 0.0
    if where.size:
        for i in range(y.size):
            factor[i] = factor[i] if where[i] else 0.0
    if variance.size:
        for i in range(y.size):
            v = variance[i]
            invalid += 1 if v <= 0.0 and factor[i] > 0.0 else 0
            factor[i] = factor[i] / math.sqrt(v) if v - v == 0.0 and v > 0.0 else 0.0
    for i in range(y.size):
        keep = factor[i] > 0.0
        used += 1 if keep else 0
        weighted[i] = y[i] * factor[i] if keep else 0.0
    if width.size:
        for i in range(y.size):
            factor[i] *= width[i]
    s.used = used
    s.whole = used == y.size
    return invalid == 0


@inner
def _begin(p: Problem, s: State, start: np.ndarray) -> bool:
    """Set the current point to the start values; False where a free one is not finite or out of bounds."""
    for k in range(start.size):
        s.q[k] = start[k]
    tie_point(p, s, s.q)
    for j in range(s.count):
        value = start[s.rows[j]]
        s.first[j] = value
        if not (math.isfinite(value) and s.lower[j] <= value and value <= s.upper[j]):
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
def _weigh_counts(s: State, loss: CompiledLoss) -> tuple[float, bool]:
    """Bring counts to the units in which variance and mean are the same.

    Returns
    -------
    constant : float
        What the loss lacks of minus twice the logarithm of the likelihood.
    valid : bool
        False where counts in use are negative.
    """
    total = 0.0
    used = negative = 0
    inverse = 1.0 / loss.gain
    for i in range(s.channels):
        keep = s.m[i] != 0.0
        value = s.y[i]
        negative += 1 if value < 0.0 else 0
        value = value * inverse + loss.shift if keep else 0.0
        total += max(value, 0.0)
        used += 1 if keep else 0
        s.y[i] = value
        s.m[i] *= inverse
    s.smallest[0] = SMALLEST_MEAN * (total / used if total > 0.0 else 1.0)
    constant = constant_of_counts(s.y, s.m, s.channels) if loss.counts and negative == 0 else math.nan
    return constant, negative == 0 or not loss.counts


@inner
def _weigh_for_users(s: State, y: np.ndarray, width: np.ndarray) -> None:
    """Take the weights out of data and factors, for a loss that is given them as such."""
    for i in range(y.size):
        root = s.m[i]
        s.weight_of_channels[i] = root * root
        s.y[i] = y[i] if root > 0.0 else 0.0
        s.m[i] = (width[i] if width.size else 1.0) if root > 0.0 else 0.0


@inner
def prepare(p: Problem, s: State, block: Block, i: int) -> bool:
    """Weigh a pixel's data and set ``s`` to its start and bounds; write why it can't be
    fitted and return False, if so.
    """
    row = block.out[i]
    count, loss = s.count, p.loss
    scalars = row[scalars_at(s.parameters) :]
    channels = block.where[row_of(block.where, i)]
    variance = block.variance[row_of(block.variance, i)]
    width = block.width[: 0 if loss.kind == CUSTOM else block.width.size]
    valid = _weigh(s, block.y[i], variance, channels, width)
    scalars[DOF] = s.used - count
    scalars[EVALUATIONS] = 0
    s.smallest[0] = 0.0
    constant = 0.0
    fault = 0
    if not valid:
        fault = BAD_VARIANCE
    elif s.used < max(count, 1):
        fault = MASKED if channels.size and not _any(channels) else BAD_DATA
    elif loss.kind == POISSON:
        constant, valid = _weigh_counts(s, loss)
        fault = 0 if valid else BAD_COUNTS
    elif loss.kind == CUSTOM:
        _weigh_for_users(s, block.y[i], block.width)
        constant = math.nan
    elif loss.kind != LEAST_SQUARES:
        constant = math.nan
    elif variance.size:
        constant = -2.0 * log_of_product(s.m, block.width, block.y.shape[1])
    lower, upper = block.lower[row_of(block.lower, i)], block.upper[row_of(block.upper, i)]
    for j in range(count):
        s.lower[j] = lower[s.rows[j]]
        s.upper[j] = upper[s.rows[j]]
    if fault == 0 and not _begin(p, s, block.start[row_of(block.start, i)]):
        fault = BAD_START
    if fault != 0:
        scalars[STATUS] = fault
        return False
    # Where the criteria will stand.
    scalars[AIC] = constant
    return True


@inner
def move_to(p: Problem, s: State, theta: np.ndarray) -> None:
    """Set the current point to values of the free parameters and what is tied to them."""
    for j in range(s.count):
        s.q[s.rows[j]] = theta[j]
    tie_point(p, s, s.q)


@inner
def write(p: Problem, s: State, outcome: Outcome, chisq: float, limits: Limits, out: np.ndarray) -> None:
    """Write values, flags and scalars of a pixel; its degrees of freedom stand in its row."""
    n = s.parameters
    scalars = out[scalars_at(n) :]
    scalars[EVALUATIONS] = outcome.nfev
    scalars[STATUS] = outcome.status
    if outcome.status == NONFINITE_MODEL:
        scalars[AIC] = math.nan
        return
    for k in range(n):
        out[k] = s.q[k]
        out[at_bound_at(n) + k] = 0.0
    for k in p.structure.idle:
        out[k] = math.nan
    for j in range(s.count):
        if s.q[s.rows[j]] <= s.lower[j]:
            out[at_bound_at(n) + s.rows[j]] = -1.0
        elif s.q[s.rows[j]] >= s.upper[j]:
            out[at_bound_at(n) + s.rows[j]] = 1.0
    used = int(scalars[DOF]) + s.count
    write_goodness(chisq, outcome.loss, used, s.count, p.loss.kind, limits.scale_covariance, scalars)


@inner
def evaluate_solution(p: Problem, s: State, outcome: Outcome) -> tuple[Outcome, float]:
    """Evaluate losses other than least squares where the fit ended: outcome with the loss there, and chi-squared.

    What follows needs the sums over the channels that this leaves behind, and the Gram matrix.
    """
    if s.kind == LEAST_SQUARES or outcome.status == NONFINITE_MODEL:
        return outcome, outcome.loss
    loss = gram_of(p, s, s.q, s.gram)
    rescale(s, True, False)
    return Outcome(outcome.status, loss, outcome.nfev, outcome.by_qr), s.work[SUMS, SQUARES]
