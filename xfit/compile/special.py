"""Elementary functions that LLVM inlines and vectorises in the loops of kernels: no call, no branch, only arithmetic."""

from __future__ import annotations

import math

import numba
import numpy as np

#: Products and sums may fuse; nothing is reordered, for the range reductions below depend on their order. A call that is not
#: inlined would keep the loop around it from being vectorised.
_vectorisable = numba.njit(error_model="numpy", fastmath={"contract"}, forceinline=True)

_LOG2E = 1.4426950408889634
_LN2_HI = 6.93147180369123816490e-01
_LN2_LO = 1.90821492927058770002e-10
_MANTISSA = 0x000FFFFFFFFFFFFF
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD

# Coefficients of log(1 + f) in s = f / (2 + f), by Sun Microsystems' fdlibm (e_log.c, 1993, freely distributable).
_LG = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
_LG1, _LG2, _LG3, _LG4, _LG5, _LG6, _LG7 = _LG


# exp(r) = 1 + r + r^2 q(r) for |r| <= ln(2)/2: q interpolated at ten Chebyshev nodes, relative error of exp 1.6e-17.
_Q = (
    0.5000000000000001,
    0.16666666666666669,
    0.04166666666662413,
    0.008333333333330062,
    0.0013888888917213717,
    0.00019841269863053618,
    2.4801521295954376e-05,
    2.7557268459997064e-06,
    2.7620088445409746e-07,
    2.510038549551032e-08,
)
_Q0, _Q1, _Q2, _Q3, _Q4, _Q5, _Q6, _Q7, _Q8, _Q9 = _Q

#: Adding and subtracting it rounds to an integer, which then stands in the lowest bits of the sum.
_ROUND = 6755399441055744.0


@_vectorisable
def exp(x: float) -> float:
    """Exponential function, to about one unit in the last place.

    Overflows to infinity above 709.4 and underflows to zero below -708.3, where results would be subnormal.
    """
    shifted = x * _LOG2E + _ROUND
    k = shifted - _ROUND
    r = (x - k * _LN2_HI) - k * _LN2_LO
    r2 = r * r
    r4 = r2 * r2
    low = (_Q0 + r * _Q1) + r2 * (_Q2 + r * _Q3)
    high = (_Q4 + r * _Q5) + r2 * (_Q6 + r * _Q7) + r4 * (_Q8 + r * _Q9)
    p = 1.0 + (r + r2 * (low + r4 * high))
    scale = np.int64((np.float64(shifted).view(np.int64) + 1023) << 52).view(np.float64)
    value = p * scale
    value = 0.0 if x < -708.3 else value
    return math.inf if x > 709.4 else value


@_vectorisable
def log(x: float) -> float:
    """Natural logarithm; -inf at zero, NaN below."""
    tiny = x < 2.2250738585072014e-308
    y = x * 18014398509481984.0 if tiny else x
    bits = np.float64(y).view(np.int64)
    shift = (bits - _SQRT_HALF_BITS) >> 52
    f = np.int64(bits - (shift << 52)).view(np.float64) - 1.0
    k = np.float64(shift) - (54.0 if tiny else 0.0)
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    t1 = w * (_LG2 + w * (_LG4 + w * _LG6))
    t2 = z * (_LG1 + w * (_LG3 + w * (_LG5 + w * _LG7)))
    half = 0.5 * f * f
    value = k * _LN2_HI - ((half - (s * (half + t2 + t1) + k * _LN2_LO)) - f)
    value = value if x < math.inf else x
    value = value if x != 0.0 else -math.inf
    return value if x >= 0.0 else math.nan


@_vectorisable
def power(x: float, y: float) -> float:
    """x**y; NaN for negative x unless y is an integer.

    As ``exp(y log(x))`` with the product in two parts: good to about ``1 + |y log(x)| / 2`` units in the last place.
    """
    value = exp(y * log(abs(x)))
    whole = np.floor(y)
    odd = whole - 2.0 * np.floor(0.5 * whole)
    signed = value * (1.0 - 2.0 * odd)
    negative = signed if whole == y else math.nan
    value = negative if x < 0.0 else value
    at_zero = 0.0 if y > 0.0 else math.inf
    value = at_zero if x == 0.0 else value
    value = 1.0 if x == 1.0 else value
    return 1.0 if y == 0.0 else value


@_vectorisable
def select(condition: bool, yes: float, no: float) -> float:
    """Choose between two values that are both computed, so that a loop over it still vectorises."""
    return yes if condition else no


@_vectorisable
def heaviside(x: float) -> float:
    """Unit step, one half at zero."""
    return 0.5 * np.sign(x) + 0.5


@_vectorisable
def sign(x: float) -> float:
    """Sign, zero at zero."""
    return np.sign(x)
