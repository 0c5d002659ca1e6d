"""Losses: of each channel its value, and the deviation and factor that make its least-squares problem.

A loss is a sum over channels of ``rho(y, mu)``, in units in which that of least squares is the squared deviation in
standard deviations. The engine is one for least squares: near a point, a channel's loss is that of a deviation
``g / sqrt(h)`` whose derivatives are those of the model times ``sqrt(h)``, where ``2 g`` is the first derivative of
``rho`` with respect to ``mu``, and ``2 h`` the second or something positive in its place. For counts that is their
expectation, so that steps are those of Fisher's scoring.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from xfit.engine.math.arithmetic import vectorisable
from xfit.engine.math.call import call_loss
from xfit.engine.math.elementary import LN2, atan, atanh_rest, log, log_parts
from xfit.engine.math.jit import inner
from xfit.engine.math.records import Record
from xfit.engine.math.sums import dot, sum_of
from xfit.engine.math.vector import select

if TYPE_CHECKING:
    from xfit.engine.evaluation.state import State

LEAST_SQUARES, POISSON, HUBER, SOFT_L1, CAUCHY, ARCTAN, CUSTOM = range(7)

#: Rows of `State.work`: scratch of custom losses, then the sums below.
MODEL, VALUE, FIRST, SECOND, SUMS = range(5)

#: What is summed over the channels: the loss, the weighted squares of the deviations, squares of the first derivatives,
#: and the second derivatives with their squares.
LOSS, SQUARES, GRADIENTS, SLOPES, SLOPES_SQUARED = range(5)
SUMMED = 5

#: Part of the mean count below which the variance of a channel is no longer that of the model, but this.
SMALLEST_MEAN = 1e-9

#: Smallest curvature, as a part of that of the parabola through the same slope: what outliers have, or losses that bend
#: down.
SMALLEST_CURVATURE = 0.1


class CompiledLoss(Record):
    """What is minimised.

    Attributes
    ----------
    kind : int
        One of the constants above.
    scale : float
        Of robust losses: the deviation, in standard deviations, from which on they are not quadratic.
    gain, shift, dispersion : float
        Of POISSON: data divided by ``gain`` and moved by ``shift`` have a variance that is their mean, times
        ``dispersion``.
    counts : bool
        Whether the data must not be negative.
    address : int
        Of CUSTOM: the function's.
    """

    kind: int
    scale: float
    gain: float
    shift: float
    dispersion: float
    counts: bool
    address: int


@vectorisable
def poisson(y: Any, mu: Any, smallest: Any) -> tuple[Any, Any, Any]:
    """Cash's statistic (Astrophys. J. 228, 939 (1979), doi:10.1086/156922) with the term
    that makes it zero at ``mu = y``.

    Below ``smallest`` it goes on as a parabola with the same slope, so that models of zero and below have a loss too,
    one that leads back.

    Returns
    -------
    value : float
        ``2 (mu - y + y log(y / mu))``; nothing of it cancels where model and data are close.
    deviation : float
        ``(mu - y) / sqrt(mu)``.
    root : float
        ``1 / sqrt(mu)``.
    """
    mean = mu if mu > smallest else smallest
    d = mean - y
    inverse = 1.0 / mean
    # y / mean = 2**k (1 + s) / (1 - s), so that log(y / mean) = k log(2) + 2 s + odd.
    k, s = log_parts(abs(y) * inverse)
    odd = atanh_rest(s)
    # For k = 0 the first terms are d + 2 y s = -d s, of which nothing cancels.
    near = y * odd - d * s
    far = d + y * ((k * LN2 + 2.0 * s) + odd)
    value = 2.0 * (near if (k == 0.0) & (y > 0.0) else far)
    below = mu - mean
    value = value + below * (2.0 * d + below) * inverse
    root = math.sqrt(inverse)
    return value, (mu - y) * root, root


@vectorisable
def huber(r: Any, scale: Any) -> tuple[Any, Any, Any]:
    """Value, weight and second derivative of Huber's loss (Ann. Math. Statist. 35, 73 (1964),
    doi:10.1214/aoms/1177703732).
    """
    size = abs(r)
    inside = size <= scale
    value = r * r if inside else scale * (2.0 * size - scale)
    return value, (1.0 if inside else scale / size), (1.0 if inside else 0.0)


@vectorisable
def soft_l1(r: Any, scale: Any) -> tuple[Any, Any, Any]:
    """Value, weight and second derivative of ``2 C^2 (sqrt(1 + (r/C)^2) - 1)``."""
    t = r / scale
    root = math.sqrt(1.0 + t * t)
    # Without the difference of the root and one.
    return 2.0 * r * r / (1.0 + root), 1.0 / root, 1.0 / (root * root * root)


@vectorisable
def cauchy(r: Any, scale: Any) -> tuple[Any, Any, Any]:
    """Value, weight and second derivative of ``C^2 log(1 + (r/C)^2)``."""
    t = r / scale
    z = t * t
    one = 1.0 + z
    # log(1 + z) to full precision for small z: what rounding took from 1 + z is put back.
    value = log(one) + (z - (one - 1.0)) / one
    return scale * scale * value, 1.0 / one, (1.0 - z) / (one * one)


@vectorisable
def arctan(r: Any, scale: Any) -> tuple[Any, Any, Any]:
    """Value, weight and second derivative of ``C^2 atan((r/C)^2)``."""
    t = r / scale
    z = t * t
    one = 1.0 + z * z
    return scale * scale * atan(z), 1.0 / one, (1.0 - 3.0 * z * z) / (one * one)


@inner
def _poisson_tile(
    loss: CompiledLoss,
    smallest: float,
    y: np.ndarray,
    m: np.ndarray,
    n: int,
    f: np.ndarray,
    factor: np.ndarray,
    work: np.ndarray,
) -> tuple[float, float]:
    """Loss and Pearson's chi-squared of a tile; ``f`` becomes deviations, ``factor`` those of the derivatives."""
    values, shift = work[VALUE], loss.shift
    part = 1.0 / loss.dispersion
    scale = math.sqrt(part)
    # Selections, not branches, and two loops: LLVM takes several channels at a time only where it has few pairs of
    # arrays to compare.
    for i in range(n):
        used = m[i] != 0.0
        value, _, factor[i] = poisson(y[i], select(used, m[i] * f[i] + shift, 1.0), smallest)
        values[i] = select(used, value * part, 0.0)
    for i in range(n):
        used, root = m[i] != 0.0, factor[i]
        mu = select(used, m[i] * f[i] + shift, 1.0)
        f[i] = select(used, (mu - y[i]) * root * scale, 0.0)
        factor[i] = m[i] * root * scale
    return sum_of(values, n), dot(f, f, n)


@inner
def _robust_tile(
    kind: int,
    scale: float,
    floor: float,
    y: np.ndarray,
    m: np.ndarray,
    n: int,
    f: np.ndarray,
    factor: np.ndarray,
    work: np.ndarray,
) -> tuple[float, float, float, float, float]:
    """Sums of a tile, and deviations and factors in place of ``f`` and ``factor``."""
    weight, slope, value, gradient = work[MODEL], work[FIRST], work[VALUE], work[SECOND]
    for i in range(n):
        f[i] = m[i] * f[i] - y[i] if m[i] != 0.0 else 0.0
    if kind == HUBER:
        for i in range(n):
            value[i], weight[i], slope[i] = huber(f[i], scale)
    elif kind == SOFT_L1:
        for i in range(n):
            value[i], weight[i], slope[i] = soft_l1(f[i], scale)
    elif kind == CAUCHY:
        for i in range(n):
            value[i], weight[i], slope[i] = cauchy(f[i], scale)
    else:
        for i in range(n):
            value[i], weight[i], slope[i] = arctan(f[i], scale)
    total, squares = sum_of(value, n), dot(f, f, n)
    for i in range(n):
        h = max(slope[i], floor * weight[i])
        # A loss may be flat far out.
        root = math.sqrt(select(h > 0.0, h, 1e-16))
        gradient[i] = weight[i] * f[i]
        slope[i] = slope[i] if m[i] != 0.0 else 0.0
        f[i] = gradient[i] / root
        factor[i] = m[i] * root
    return total, squares, dot(gradient, gradient, n), sum_of(slope, n), dot(slope, slope, n)


@inner
def _custom_tile(
    address: int, s: State, start: int, y: np.ndarray, m: np.ndarray, n: int, f: np.ndarray, factor: np.ndarray
) -> tuple[float, float]:
    """Loss and weighted squares of a tile by the user's function."""
    model, value, first, second = s.work[MODEL], s.work[VALUE], s.work[FIRST], s.work[SECOND]
    weight = s.weight_of_channels[start : start + n]
    for i in range(n):
        model[i] = m[i] * f[i] if m[i] != 0.0 else y[i]
    call_loss(address, y, model, weight, n, value, first, second)
    total = squares = 0.0
    for i in range(n):
        if m[i] == 0.0:
            f[i] = factor[i] = 0.0
            continue
        r = model[i] - y[i]
        g, h = 0.5 * first[i], 0.5 * second[i]
        along = abs(g / r) if r != 0.0 else h
        h = max(h, s.floor * along)
        total += value[i]
        squares += weight[i] * r * r
        root = math.sqrt(h) if h > 0.0 else 1e-8
        f[i] = g / root
        factor[i] = m[i] * (g if s.squares else root)
    return total, squares


@inner
def apply_loss(loss: CompiledLoss, s: State, start: int, n: int) -> None:
    """Turn the model of a tile of one pixel into deviations and factors, and add to the sums.

    Parameters
    ----------
    start, n : int
        First channel of the tile, and how many it has.
    s : State
        The tile's row after that of the last parameter holds the model, and becomes ``g / sqrt(h)``; the row after that
        is filled with what multiplies the derivatives of the model.
    """
    total, kind = s.work[SUMS], s.kind
    y, m = s.y[start : start + n], s.m[start : start + n]
    row = s.parameters * s.pitch
    f, factor = s.tile[row : row + n], s.tile[row + s.pitch : row + s.pitch + n]
    if kind == POISSON:
        value, squares = _poisson_tile(loss, s.smallest[0], y, m, n, f, factor, s.work)
        total[LOSS] += value
        total[SQUARES] += squares
    elif kind == CUSTOM:
        value, squares = _custom_tile(loss.address, s, start, y, m, n, f, factor)
        total[LOSS] += value
        total[SQUARES] += squares
    else:
        value, squares, gradients, slopes, slopes_squared = _robust_tile(
            kind, loss.scale, s.floor, y, m, n, f, factor, s.work
        )
        total[LOSS] += value
        total[SQUARES] += squares
        total[GRADIENTS] += gradients
        total[SLOPES] += slopes
        total[SLOPES_SQUARED] += slopes_squared
