"""How good a fit is: chi-squared, loss and the criteria that compare models (AIC, AICc, BIC), with what
losses lack of minus twice the logarithm of a likelihood: constants of the data.
"""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.evaluation.loss_functions import LEAST_SQUARES
from xfit.engine.math.arithmetic import MANTISSA
from xfit.engine.math.elementary import log
from xfit.engine.math.jit import inner
from xfit.engine.math.vector import bits_of, from_bits
from xfit.engine.pixel.scalars import AIC, AICC, BIC, CHISQ, LOSS_VALUE, RED_CHISQ

_ONE_BITS = 0x3FF0000000000000
_LN2 = 0.6931471805599453
_LOG_2PI = 1.8378770664093453


def _constant(y: int) -> float:
    """Minus twice the logarithm of the probability of ``y`` counts where ``y`` are expected."""
    return 2.0 * (math.lgamma(y + 1.0) - (y * math.log(y) if y else 0.0) + y)


#: By the number of counts, which are mostly few.
_FEW = np.array([_constant(y) for y in range(64)])


@inner
def constant_of_counts(y: np.ndarray, factor: np.ndarray, n: int) -> float:
    """Sum of ``-2 log p(y | y)`` of Poisson's distribution over the channels whose factor is not zero.

    Counts that are no integers have it by the gamma function; many counts by Stirling's series (DLMF 5.11.1).
    """
    total = 0.0
    for i in range(n):
        if factor[i] == 0.0:
            continue
        count = y[i]
        whole = int(count) if count < 64.0 else 64
        if whole < 64 and float(whole) == count:
            total += _FEW[whole]
        elif count < 16.0:
            total += 2.0 * (math.lgamma(count + 1.0) - count * math.log(count) + count)
        else:
            z = 1.0 / (count * count)
            series = 0.08333333333333333 - z * (
                0.002777777777777778 - z * (0.0007936507936507937 - z * 0.0005952380952380953)
            )
            total += _LOG_2PI + log(count) + 2.0 * series / count
    return total


@inner
def _log_of_each(factor: np.ndarray) -> float:
    """Sum of the logarithms of the factors that are not zero: significands are multiplied, exponents added."""
    total = 0.0
    for first in range(0, factor.size, 512):
        product = 1.0
        exponents = 0
        last = min(first + 512, factor.size)
        for value in factor[first:last]:
            bits = bits_of(value if value > 0.0 else 1.0)
            exponents += (bits >> 52) - 1023
            product *= from_bits((bits & MANTISSA) | _ONE_BITS)
        total += math.log(product) + exponents * _LN2
    return total


@inner
def _log_of_fours(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> tuple[float, bool]:
    """Likewise of four rows of at most 512 factors, four of which are multiplied first; whether
    all these products are in range.
    """
    product = 1.0
    exponents = 0
    beyond = 0.0
    for i in range(a.size):
        u = (a[i] if a[i] > 0.0 else 1.0) * (b[i] if b[i] > 0.0 else 1.0)
        v = (c[i] if c[i] > 0.0 else 1.0) * (d[i] if d[i] > 0.0 else 1.0)
        # No rounding to zero or to fewer digits on the way.
        beyond += 0.0 if (u > 1e-140) & (u < 1e140) & (v > 1e-140) & (v < 1e140) else 1.0
        bits = bits_of(u * v)
        exponents += (bits >> 52) - 1023
        product *= from_bits((bits & MANTISSA) | _ONE_BITS)
    return math.log(product) + exponents * _LN2, beyond == 0.0


@inner
def log_of_product(factor: np.ndarray, width: np.ndarray, n: int) -> float:
    """Sum of the logarithms of the factors that are not zero, each divided by its channel's
    width if there are widths.
    """
    total = 0.0
    whole = n - n % 4
    for first in range(0, whole, 2048):
        part = factor[first : min(first + 2048, whole)]
        quarter = part.size // 4
        logs, in_range = _log_of_fours(
            part[:quarter], part[quarter : 2 * quarter], part[2 * quarter : 3 * quarter], part[3 * quarter :]
        )
        total += logs if in_range else _log_of_each(part)
    total += _log_of_each(factor[whole:n])
    if width.size:
        for i in range(n):
            total -= log(abs(width[i])) if factor[i] > 0.0 else 0.0
    return total


@inner
def write_goodness(
    chisq: float, loss: float, used: int, count: int, kind: int, scaled: bool, scalars: np.ndarray
) -> None:
    """Write how good a fit is; the constant of the likelihood stands in the place of the first criterion.

    Parameters
    ----------
    chisq, loss : float
        Weighted sum of squared residuals, and the loss, at the solution.
    used, count : int
        Channels that take part, and free parameters.
    kind : int
        The loss; see `xfit.engine.evaluation.loss_functions`.
    scaled : bool
        Whether the scale of the errors is not trusted. Then it is one more parameter, at its most likely value.
    scalars : float64 (any,)
        The row from its scalars on.
    """
    dof = used - count
    scalars[CHISQ] = chisq
    scalars[RED_CHISQ] = chisq / dof if dof > 0 else math.nan
    scalars[LOSS_VALUE] = loss
    constant = scalars[AIC]
    k = float(count)
    if kind == LEAST_SQUARES:
        constant += used * _LOG_2PI
        if scaled:
            loss = used * (1.0 + math.log(loss / used) if loss > 0.0 else -math.inf)
            k += 1.0
    deviance = loss + constant
    scalars[AIC] = deviance + 2.0 * k
    rest = used - k - 1.0
    scalars[AICC] = deviance + 2.0 * k + 2.0 * k * (k + 1.0) / rest if rest > 0.0 else math.nan
    scalars[BIC] = deviance + k * math.log(float(used))
