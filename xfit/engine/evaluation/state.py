"""The state of a fit: the problem, and where one pixel, or each of several side by side, has got to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xfit.engine.evaluation.loss_functions import SMALLEST_CURVATURE, CompiledLoss
from xfit.engine.evaluation.tie_machine import STACK, Ties
from xfit.engine.math.cholesky import triangle
from xfit.engine.math.layout import (
    GROUP,
    LANE_PITCH,
    LANE_TILE,
    LANES,
    LINEAR,
    OTHER,
    PASSES,
    PITCH,
    STARTING,
    TILE,
)
from xfit.engine.math.records import Integers, Reals, RealTable, Record, Vectors


class Structure(Record):
    """The active components of a model as arrays.

    Attributes
    ----------
    address : int64 (n_components,)
        Address of each component's tile kernel.
    first, number : int64 (n_components,)
        Position of each component's first parameter, and how many it has.
    xrow : int64 (n_components,)
        Row of the coordinate array where each component's coordinates begin.
    idle : int64 (n_idle,)
        Positions of parameters of inactive components, whose Jacobian rows are zero.
    scratch : int
        Numbers of scratch that the kernels need at most.
    plan, numbers : int64 (any,), float64 (any,)
        Further components, which need the whole axis at once; see `xfit.engine.evaluation.whole_axis`. Empty if there
        are none.
    """

    address: Integers
    first: Integers
    number: Integers
    xrow: Integers
    idle: Integers
    scratch: int
    plan: Integers
    numbers: Reals


class Problem(Record):
    """What all pixels that are fitted by the same model have in common.

    Attributes
    ----------
    structure, ties
        The model.
    x : float64 (n_rows, n_channels rounded up to whole vectors)
        Coordinates of the components.
    loss : CompiledLoss
        What is minimised.
    parameters : int
        How many parameters the model has, those of inactive components included.
    """

    structure: Structure
    ties: Ties
    x: RealTable
    loss: CompiledLoss
    parameters: int


#: What is known of each pixel between steps: the rows of `State.known`. FRESH: not yet evaluated; AGAIN: evaluate at
#: moved amplitudes first; DONE: converged; LOST: to be fitted alone; CLAIM: the loss at the start with the best
#: amplitudes, above which no fit may end; DECREASE and SLOPE: what the step promises; PROMISE: what the full step
#: promises; FALL: by what factor that fell last; FULL: full steps in a row; FLOOR: rounding of the data's sum of
#: squares.
(
    FRESH,
    AGAIN,
    DONE,
    LOST,
    CHISQ,
    RADIUS,
    DAMPING,
    PROMISE,
    FALL,
    FULL,
    NFEV,
    DECREASE,
    SLOPE,
    LENGTH,
    FIRST,
    FLOOR,
    DEGREES,
    CLAIM,
) = range(18)
KNOWN = 18

#: What holds a parameter: nothing, a bound, or that it has no influence on the model.
FREE, AT_LOWER, AT_UPPER, FLAT = 0.0, -1.0, 1.0, 2.0

#: What `State.flags` say: whether derivatives had to be replaced before, so that they are looked at at once; whether
#: some could not be replaced at the point that was evaluated last; and, set from another thread, whether fits are to be
#: given up.
CAREFUL, UNKNOWN, STOP = 0, 1, 2


class State(Record):
    """The state of one pixel, or of `LANES` side by side, in whose state the fields of type
    ``Vectors`` hold a number of each.

    Attributes
    ----------
    parameters, count : int
        How many parameters there are; how many of them are free.
    channels, length : int
        How many channels the data have; how many are evaluated, the rest being left out.
    pitch, tile_channels, group, passes : int
        Length of a row of the tile; channels of a tile; channels of a vector of it; how often a tile is read for the
        sums of its products.
    kind : int
        The loss; see `xfit.engine.evaluation.loss_functions`.
    squares : bool
        Whether derivatives are multiplied by ``g`` instead of ``sqrt(h)`` (see there): their Gram matrix is then the
        middle of the sandwich that errors of a custom loss are made of.
    floor : float
        Part of a channel's weight that its curvature is at least taken to be, of robust losses; see
        `SMALLEST_CURVATURE`.
    plain, whole : bool
        Whether data have no weights, so that ``m`` is one in every channel in use; whether no channel is left out.
    used : int
        Channels of the one pixel that take part.
    y, m : (length,)
        Data times ``m``, zero where a channel is left out; channel width (for binned data) over the standard deviation,
        zero where a channel is left out. For losses of counts and of users neither is divided by standard deviations.
    smallest, total : (1,)
        Of the loss of counts: the mean below which the variance is this; the loss.
    weight_of_channels, work : float64 (length,), float64 (5, PITCH)
        Of other losses: weights of the channels; scratch, and sums in the last row.
    q, trial : (parameters,)
        Current point and the one to evaluate next, ties applied.
    lower, upper : (count,)
        Bounds.
    gram, gram_trial : (triangle of count + 1,)
        Gram matrices there: lower triangles, see `xfit.engine.math.cholesky`. The last row holds minus half the
        gradient, and the loss.
    known : (KNOWN,)
        Scalars.
    inverse, weight : (count,)
        Inverse column norms (infinite for a column of zeros); the norms' running maxima, the weights of the damping.
    step, side, scale : (count,)
        The step; what holds each parameter; inverse norms of what is free to move, otherwise 0.
    factor, solution : (triangle of count,), (count,)
        Scratch: Cholesky factor with the inverse diagonal, and a vector.
    full_step, taken, moved : (count,)
        The last full step, and what was made of it; how far each parameter moved last, zero before the first move.
    promise : (1,)
        By how much the best amplitudes would lower the loss at the start, without bounds; zero where that is not known.
    derivative, tile, scratch
        Derivatives of the ties; Jacobian rows, deviations and factors of a tile; scratch of the kernels.
    sums : float64 (any,)
        Scratch of the Gram matrix.
    rows : int64 (count + 4,)
        Positions of the free parameters among all, then that of the row of deviations, repeated.
    all_, amplitudes, starting : int64
        The numbers from 0 to count; which free parameters are amplitudes; which are so at the start.
    code : int64 (count,)
        What each free parameter is to `xfit.engine.lm.amplitudes`.
    bent : float64 (count,)
        The range of the coordinates for parameters that the model is not linear in, otherwise zero.
    one, slopes, stack : float64
        Scratch of the ties.
    flags : int64 (3,)
        See `CAREFUL`, `UNKNOWN` and `STOP`.
    by_qr, factorised : bool
        Whether the step is by QR; whether ``jacobian`` holds the triangular factor at the current point.
    jacobian, curve : float64 (count + 1, length)
        Of one pixel: the Jacobian, and its bending along the step.
    qr, spread, apart : float64
        Of one pixel: scratch of QR; rows of the covariance; bounds of parameters that are held at a kink meanwhile, NaN
        for all others.
    first, best, kept, lowest, highest, spare : float64
        Of one pixel: starts and ends of attempts, bounds, scratch.
    """

    parameters: int
    count: int
    channels: int
    length: int
    pitch: int
    tile_channels: int
    group: int
    passes: int
    kind: int
    squares: bool
    floor: float
    plain: bool
    whole: bool
    used: int
    y: Vectors
    m: Vectors
    smallest: Vectors
    total: Vectors
    weight_of_channels: Reals
    work: RealTable
    q: Vectors
    trial: Vectors
    lower: Vectors
    upper: Vectors
    gram: Vectors
    gram_trial: Vectors
    known: Vectors
    inverse: Vectors
    weight: Vectors
    step: Vectors
    side: Vectors
    scale: Vectors
    factor: Vectors
    solution: Vectors
    full_step: Vectors
    taken: Vectors
    moved: Vectors
    promise: Vectors
    derivative: Vectors
    tile: Vectors
    scratch: Vectors
    sums: Reals
    rows: Integers
    all_: Integers
    amplitudes: Integers
    starting: Integers
    code: Integers
    bent: Reals
    one: Reals
    slopes: Reals
    stack: Reals
    flags: Integers
    by_qr: bool
    factorised: bool
    jacobian: RealTable
    curve: RealTable
    qr: RealTable
    spread: RealTable
    apart: RealTable
    first: Reals
    best: Reals
    kept: Reals
    lowest: Reals
    highest: Reals
    spare: Reals


class Outcome(NamedTuple):
    """How the fit of one pixel ended."""

    status: int
    loss: float
    nfev: int
    by_qr: bool


def _aligned(count: int) -> np.ndarray:
    """Numbers that begin at a cache line, so that no vector straddles two."""
    raw = np.zeros(count + 8)
    skip = (-(raw.ctypes.data // 8)) % 8
    return raw[skip : skip + count]


def state_of(
    problem: Problem,
    free: np.ndarray,
    channels: int,
    code: np.ndarray | None = None,
    bent: np.ndarray | None = None,
    flags: np.ndarray | None = None,
    wide: bool = False,
) -> State:
    """Allocate the state of a fit.

    Parameters
    ----------
    problem : Problem
        What is fitted.
    free : int64 (count,)
        Positions of the free parameters.
    channels : int
        Channels of the data.
    code, bent, flags : optional
        See `State`; by default the parameters are of no kind.
    wide : bool
        Whether it is the state of pixels side by side.
    """
    ties, structure, x = problem.ties, problem.structure, problem.x
    n, count = problem.parameters, free.size
    code = np.full(count, OTHER) if code is None else code
    bent = np.zeros(count) if bent is None else bent
    flags = np.zeros(3, np.int64) if flags is None else flags
    length = channels if wide else x.shape[1]
    pitch, derivatives = LANE_PITCH if wide else PITCH, max(ties.row.size, 1)
    lanes = LANES if wide else 1
    rare = (0, 0) if wide else (count + 1, length)

    def vectors(number: int) -> np.ndarray:
        return _aligned(number * lanes)

    def numbers(number: int) -> np.ndarray:
        return np.zeros(0 if wide else number)

    state = State(
        *(n, count, channels, length, pitch, LANE_TILE if wide else TILE, 1 if wide else GROUP, 1 if wide else PASSES),
        *(problem.loss.kind, False, SMALLEST_CURVATURE, False, False, 0),
        *(vectors(length), vectors(length), vectors(1), vectors(1), numbers(length), np.zeros((5, PITCH))),
        *(vectors(n), vectors(n), vectors(count), vectors(count)),
        *(vectors(triangle(count + 1)), vectors(triangle(count + 1)), vectors(KNOWN)),
        *(vectors(count) for _ in range(5)),
        *(vectors(triangle(count)), vectors(count)),
        *(vectors(count) for _ in range(3)),
        *(
            vectors(1),
            vectors(derivatives),
            vectors((n + 2) * pitch),
            vectors(structure.scratch // lanes + 1),
            _aligned(9 * GROUP),
        ),
        *(np.append(free, [n] * 4).astype(np.int64), np.arange(count)),
        *(np.flatnonzero(code == LINEAR), np.flatnonzero((code == LINEAR) | (code == STARTING)), code.copy()),
        *(bent.astype(np.float64), np.empty(n), np.empty(derivatives), np.empty(STACK), flags, False, False),
        *(np.zeros(rare), np.zeros(rare), np.zeros((count + 1, max(2 * count, count + 1)))),
        *(np.zeros((n, max(count, 1))), np.zeros((2, count))),
        *(numbers(count) for _ in range(5)),
        numbers((n + 3) * PITCH),
        wide=wide,
    )
    if wide:
        state.m[:] = 1.0
    return state
