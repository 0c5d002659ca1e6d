"""What losses lack of minus twice the logarithm of a likelihood: constants of the data, for criteria that compare models."""

from __future__ import annotations

import math

import numpy as np

from xfit.compile.arithmetic import MANTISSA
from xfit.compile.special import log
from xfit.kernels.jit import inner, sums
from xfit.kernels.vector import bits_of, from_bits

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


@sums
def log_of_product(factor: np.ndarray, width: np.ndarray, n: int) -> float:
    """Sum of the logarithms of the factors that are not zero, each divided by its channel's width if there are widths.

    Of several hundred factors the significands are multiplied and the exponents added: that needs one logarithm.
    """
    total = 0.0
    for first in range(0, n, 512):
        product = 1.0
        exponents = 0
        last = min(first + 512, n)
        for i in range(first, last):
            value = factor[i] if factor[i] > 0.0 else 1.0
            bits = bits_of(value)
            exponents += (bits >> 52) - 1023
            product *= from_bits((bits & MANTISSA) | _ONE_BITS)
        total += math.log(product) + exponents * _LN2
    if width.size:
        for i in range(n):
            total -= log(abs(width[i])) if factor[i] > 0.0 else 0.0
    return total
