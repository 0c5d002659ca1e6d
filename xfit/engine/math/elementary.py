"""Elementary functions that LLVM inlines and vectorises in the loops of kernels: no call, no branch, only arithmetic.

They take and return float64. Conditions choose between values that were computed before. Products that must be exact
are made exact by cutting operands to half their digits, so results hold with and without fused multiply-add. Where no
source is named, coefficients are minimax polynomials by Remez's algorithm in 45 digits.
"""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.arithmetic import (
    LN2_HI,
    LN2_LO,
    LOG2E,
    MAGNITUDE,
    MANTISSA,
    ROUND,
    SIGN,
    bits,
    expm1_reduced,
    from_bits,
    scaled,
    short,
    two_sum,
    vectorisable,
)

_ONE_BITS = 0x3FF0000000000000
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
#: Bits of 2**52, whose lowest bits count in ones.
_INTEGER_BITS = 0x4330000000000000
_INTEGER = 4503599627370496.0
_SMALLEST_NORMAL = 2.2250738585072014e-308
_TO_NORMAL = 18014398509481984.0  # 2**54

LN2, _LN2_REST = 0.6931471805599453, 2.3190468138462996e-17

# log(1 + f) in s = f / (2 + f): Sun Microsystems' fdlibm (e_log.c, 1993, freely distributable).
_L1, _L2, _L3 = 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01
_L4, _L5, _L6 = 2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01
_L7 = 1.479819860511658591e-01

# log2((1 + s) / (1 - s)) / s = t0 + t1 z + z^2 h(z) with z = s^2, |s| <= 0.172, relative error 2e-20. t0 = 2 / ln(2)
# and t1 = t0 / 3 are each a number of few digits and the rest.
_T0, _T0_REST = 2.8853893280029297, 7.537749971272198e-07
_T1, _T1_SHORT, _T1_REST = 0.9617966939259756, 0.96142578125, 0.0003709126759756049
_H0, _H1, _H2, _H3 = 0.5770780163556181, 0.41219858309186447, 0.32059890228869614, 0.2623076996739976
_H4, _H5, _H6 = 0.22198406976504484, 0.1912533786462922, 0.1904028409164265

# atan(t) = t + t z a(z) with z = t^2, |t| <= tan(pi/8), relative error 2e-18.
_A0, _A1, _A2 = -0.333333333333332, 0.19999999999953663, -0.14285714280204012
_A3, _A4, _A5 = 0.1111111078381263, -0.09090897767003171, 0.07692060360221493
_A6, _A7, _A8 = -0.06663105436912219, 0.05847897254680547, -0.05039330220198013
_A9, _A10 = 0.03806493990483389, -0.017907327919372374
_TAN_PI_8, _TAN_3PI_8 = 0.41421356237309503, 2.414213562373095
_PI_4, _PI_4_REST = 0.7853981633974483, 3.061616997868383e-17
_PI_2, _PI_2_REST = 1.5707963267948966, 6.123233995736766e-17

# sin(r) = r + r z s(z) and cos(r) = 1 - z/2 + z^2 c(z) with z = r^2, |r| <= pi/4, relative errors 1e-17 and 2e-18.
_S0, _S1, _S2 = -0.16666666666666627, 0.008333333333321301, -0.00019841269828879614
_S3, _S4, _S5 = 2.7557313358473218e-06, -2.505070431749428e-08, 1.5893595076885132e-10
_C0, _C1, _C2 = 0.04166666666666659, -0.0013888888888872603, 2.4801587288493534e-05
_C3, _C4, _C5 = -2.755731405680929e-07, 2.0875681893929417e-09, -1.1357448775481367e-11
#: pi/2 in three pieces of 33 binary digits and the rest.
_P1, _P2, _P3, _P4 = 1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.478427660368898e-32
_TWO_OVER_PI = 0.6366197723675814


@vectorisable
def exp(x: float) -> float:
    """Exponential function, to 1.5 units in the last place.

    Overflows to infinity above 709.78, goes through the subnormal numbers below -708.4 and is zero below -745.13.
    """
    shifted = x * LOG2E + ROUND
    k = shifted - ROUND
    r = (x - k * LN2_HI) - k * LN2_LO
    value = scaled(1.0 + expm1_reduced(r), shifted, x > 0.0)
    value = 0.0 if x < -746.0 else value
    return math.inf if x > 710.0 else value


@vectorisable
def _exponent(x: float, tiny: bool) -> float:
    """The k of x = 2**k m with sqrt(1/2) <= m < sqrt(2); ``tiny`` says that x was multiplied by 2**54."""
    counted = ((bits(x) + (_ONE_BITS - _SQRT_HALF_BITS)) >> 52) & 0x7FF
    return from_bits(counted | _INTEGER_BITS) - (_INTEGER + 1077.0 if tiny else _INTEGER + 1023.0)


@vectorisable
def _significand(x: float) -> float:
    """The m of x = 2**k m with sqrt(1/2) <= m < sqrt(2)."""
    return from_bits(((bits(x) + (_ONE_BITS - _SQRT_HALF_BITS)) & MANTISSA) + _SQRT_HALF_BITS)


@vectorisable
def log_parts(x: float) -> tuple[float, float]:
    """The k and s of ``x = 2**k (1 + s) / (1 - s)`` with the smallest s; x must be a normal number or zero."""
    f = _significand(x) - 1.0
    return _exponent(x, False), f / (2.0 + f)


@vectorisable
def atanh_rest(s: float) -> float:
    """``2 atanh(s) - 2 s`` for the s of `log_parts`."""
    z = s * s
    w = z * z
    odd = w * (_L2 + w * (_L4 + w * _L6))
    even = z * (_L1 + w * (_L3 + w * (_L5 + w * _L7)))
    return s * (odd + even)


@vectorisable
def log(x: float) -> float:
    """Natural logarithm, to 1.5 units in the last place; -inf at zero, NaN below."""
    tiny = x < _SMALLEST_NORMAL
    normal = x * _TO_NORMAL if tiny else x
    k = _exponent(normal, tiny)
    f = _significand(normal) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    odd = w * (_L2 + w * (_L4 + w * _L6))
    even = z * (_L1 + w * (_L3 + w * (_L5 + w * _L7)))
    half = 0.5 * f * f
    value = k * LN2_HI - ((half - (s * (half + odd + even) + k * LN2_LO)) - f)
    value = value if x < math.inf else x
    value = value if x != 0.0 else -math.inf
    return value if x >= 0.0 else math.nan


@vectorisable
def _log2_pair(x: float) -> tuple[float, float]:
    """log2(x) of a finite x > 0 as the sum of a number of 21 digits and a rest, to 2**-63 of itself.

    The method is that of fdlibm's e_pow.c (Sun Microsystems, 1993, freely distributable), with a longer series in place
    of its table.
    """
    tiny = x < _SMALLEST_NORMAL
    normal = x * _TO_NORMAL if tiny else x
    k = _exponent(normal, tiny)
    m = _significand(normal)
    # s = (m - 1) / (m + 1) as a sum: what the short quotient leaves is divided again.
    inverse = 1.0 / (m + 1.0)
    s = (m - 1.0) * inverse
    s_short = short(s)
    d_short = short(m + 1.0)
    s_rest = inverse * (((m - 1.0) - s_short * d_short) - s_short * (m - (d_short - 1.0)))
    # t = log2(m) / s likewise; the first two terms are exact but for what goes into the rest.
    z = s * s
    w = z * z
    h = ((_H0 + z * _H1) + w * (_H2 + z * _H3)) + w * w * ((_H4 + z * _H5) + w * _H6)
    z_short = s_short * s_short
    second = z_short * _T1_SHORT
    rest = w * h + (_T0_REST + (z_short * _T1_REST + _T1 * (s_rest * (s_short + s))))
    t_short = short((_T0 + second) + rest)
    t_rest = rest - ((t_short - _T0) - second)
    high = s_short * t_short
    low = s_rest * t_short + t_rest * s
    first = short((high + low) + k)
    return first, low - ((first - k) - high)


@vectorisable
def power(x: float, y: float) -> float:
    """x**y, to two units in the last place, with the special values of C99's pow.

    For negative x it is NaN unless y is an integer; x**0 and 1**y are 1, with NaN too.
    """
    base = abs(x)
    log_short, log_rest = _log2_pair(base)
    log2 = log_short + log_rest
    log2 = log2 if base < math.inf else math.inf
    log2 = log2 if base > 0.0 else -math.inf
    estimate = y * log2
    # y log2(x) = k + f + f_rest
    y_short = short(y)
    product = y_short * log_short
    rest = (y - y_short) * log_short + y * log_rest
    shifted = (product + rest) + ROUND
    whole = product - (shifted - ROUND)
    f = whole + rest
    f_rest = rest - (f - whole)
    tail = f * _LN2_REST + f_rest * LN2
    value = scaled(1.0 + (expm1_reduced(f * LN2) + tail), shifted, estimate > 0.0)
    value = math.inf if estimate > 1025.0 else value
    value = 0.0 if estimate < -1076.0 else value
    return _power_special(x, y, value)


@vectorisable
def _power_special(x: float, y: float, value: float) -> float:
    """Give |x|**y the sign of x**y, and the values that arithmetic does not give."""
    integer = np.floor(y) == y
    odd = integer & (2.0 * np.floor(0.5 * y) != y)
    value = from_bits(bits(value) ^ (bits(x) & (SIGN if odd else 0)))
    value = math.nan if (x != x) | ((x < 0.0) & (x != -math.inf) & (not integer)) else value
    return 1.0 if (y == 0.0) | (x == 1.0) | ((x == -1.0) & (abs(y) == math.inf)) else value


@vectorisable
def tanh(x: float) -> float:
    """Hyperbolic tangent, to three units in the last place."""
    size = abs(x)
    double = 2.0 * (22.0 if size > 22.0 else size)
    shifted = double * LOG2E + ROUND
    k = shifted - ROUND
    scale = from_bits((bits(shifted) + 1023) << 52)
    expm1 = scale * expm1_reduced((double - k * LN2_HI) - k * LN2_LO) + (scale - 1.0)
    return from_bits(bits(expm1 / (expm1 + 2.0)) | (bits(x) & SIGN))


@vectorisable
def atan(x: float) -> float:
    """Inverse tangent, to two units in the last place."""
    size = abs(x)
    large, small = size > _TAN_3PI_8, size <= _TAN_PI_8
    start = _PI_2 if large else (0.0 if small else _PI_4)
    start_rest = _PI_2_REST if large else (0.0 if small else _PI_4_REST)
    t = (-1.0 if large else (size if small else size - 1.0)) / (size if large else (1.0 if small else size + 1.0))
    z = t * t
    w = z * z
    w2 = w * w
    low = (_A0 + z * _A1) + w * (_A2 + z * _A3)
    high = (_A4 + z * _A5) + w * (_A6 + z * _A7) + w2 * ((_A8 + z * _A9) + w * _A10)
    value = start + (t + (t * z * (low + w2 * high) + start_rest))
    return from_bits((bits(value) & MAGNITUDE) | (bits(x) & SIGN))


@vectorisable
def _sine(x: float, quarters: int) -> float:
    """sin(x + quarters pi/2), by subtraction of n pi/2 in four pieces (Cody and Waite) and two of n."""
    shifted = x * _TWO_OVER_PI + ROUND
    n = shifted - ROUND
    n_high = ((n * 9.5367431640625e-07 + ROUND) - ROUND) * 1048576.0  # a multiple of 2**20
    n_low = n - n_high
    high, rest = two_sum((x - n_high * _P1) - n_low * _P1, -n_high * _P2)
    high, error = two_sum(high, -n_low * _P2)
    rest += error
    high, error = two_sum(high, -n_high * _P3)
    rest += error
    high, error = two_sum(high, -n_low * _P3)
    rest += error - n * _P4
    r = high + rest
    r_rest = (high - r) + rest
    z = r * r
    w = z * z
    sine = r + (r * z * ((_S0 + z * _S1) + w * ((_S2 + z * _S3) + w * (_S4 + z * _S5))) + r_rest)
    half = 0.5 * z
    near = 1.0 - half
    cosine = w * ((_C0 + z * _C1) + w * ((_C2 + z * _C3) + w * (_C4 + z * _C5))) - r * r_rest
    cosine = near + (((1.0 - near) - half) + cosine)
    quadrant = bits(shifted) + quarters
    value = cosine if quadrant & 1 else sine
    value = from_bits(bits(value) ^ ((quadrant & 2) << 62))
    return value if abs(x) <= 1e15 else math.nan


@vectorisable
def sin(x: float) -> float:
    """Sine, to 1.5 units in the last place for magnitudes of x up to 1e12.

    Beyond, the error is that of moving x to a neighbouring float64; beyond 1e15, where those are more than a tenth of
    a radian apart, it is NaN.
    """
    value = _sine(x, 0)  # outside the condition: in one of its branches it would not vectorise everywhere
    return x if x == 0.0 else value


@vectorisable
def cos(x: float) -> float:
    """Cosine, to 1.5 units in the last place for magnitudes of x up to 1e12; beyond see `sin`."""
    return _sine(x, 1)


@vectorisable
def heaviside(x: float) -> float:
    """Unit step, one half at zero."""
    return 0.5 * np.sign(x) + 0.5


@vectorisable
def sign(x: float) -> float:
    """Sign, zero at zero."""
    return np.sign(x)


@vectorisable
def square(x: float) -> float:
    """Square: the bits of ``x**2`` would depend on what else a process has compiled."""
    return x * x


@vectorisable
def minimum(a: float, b: float) -> float:
    """The smaller of two numbers; the first if one is NaN."""
    return b if b < a else a


@vectorisable
def maximum(a: float, b: float) -> float:
    """The larger of two numbers; the first if one is NaN."""
    return b if b > a else a


@vectorisable
def bspline(t: float) -> float:
    """Cubic B-spline with knots at -2, -1, 0, 1 and 2, and integral one."""
    outer = 2.0 - abs(t)
    outer = outer if outer > 0.0 else 0.0
    inner = 1.0 - abs(t)
    inner = inner if inner > 0.0 else 0.0
    return outer * outer * outer * (1.0 / 6.0) - inner * inner * inner * (2.0 / 3.0)


@vectorisable
def bspline_prime(t: float) -> float:
    """Derivative of `bspline`."""
    outer = 2.0 - abs(t)
    outer = outer if outer > 0.0 else 0.0
    inner = 1.0 - abs(t)
    inner = inner if inner > 0.0 else 0.0
    return np.sign(t) * (2.0 * inner * inner - 0.5 * outer * outer)
