"""Elementary functions that LLVM inlines and vectorises in the loops of kernels: no call, no branch, only arithmetic.

They take and return float64. Conditions choose between values that were computed before. Products that must be exact
are made exact by cutting operands to half their digits, so results hold with and without fused multiply-add. Where no
source is named, coefficients are minimax polynomials by Remez's algorithm in 45 digits.
"""

from __future__ import annotations

import ast
import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

from xfit.kernels.vector import bits_of as _bits
from xfit.kernels.vector import from_bits as _float
from xfit.kernels.vector import negation, one_by_one, select

_F = TypeVar("_F", bound=Callable[..., Any])

#: 1.5 * 2**52: adding it rounds to an integer, which then stands in two's complement in the lowest bits of the sum.
_ROUND = 6755399441055744.0
_MANTISSA = 0x000FFFFFFFFFFFFF
_MAGNITUDE = 0x7FFFFFFFFFFFFFFF
_SIGN = -0x8000000000000000
#: Keeps 21 of the 53 digits, so that the product of two numbers cut by it is exact.
_UPPER_HALF = -0x100000000
_ONE_BITS = 0x3FF0000000000000
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
#: Bits of 2**52, whose lowest bits count in ones.
_INTEGER_BITS = 0x4330000000000000
_INTEGER = 4503599627370496.0
_SMALLEST_NORMAL = 2.2250738585072014e-308
_TO_NORMAL = 18014398509481984.0  # 2**54

_LOG2E = 1.4426950408889634
_LN2_HI, _LN2_LO = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LN2, _LN2_REST = 0.6931471805599453, 2.3190468138462996e-17

# exp(r) = 1 + r + r^2 q(r) for |r| <= ln(2)/2, relative error 1e-17.
_Q0, _Q1, _Q2 = 0.5000000000000011, 0.16666666666666408, 0.04166666666652946
_Q3, _Q4, _Q5 = 0.008333333333497636, 0.001388888894386997, 0.00019841269500737256
_Q6, _Q7, _Q8, _Q9 = 2.4801492803272323e-05, 2.755759063238188e-06, 2.763036787113704e-07, 2.499901342378408e-08

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


class _Selects(ast.NodeTransformer):
    """Turns conditional expressions into calls of `select`, and ``not`` into `negation`, which serve vectors as well."""

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        return ast.Call(ast.Name("select", ast.Load()), [node.test, node.body, node.orelse], [])

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return ast.Call(ast.Name("negation", ast.Load()), [node.operand], []) if isinstance(node.op, ast.Not) else node


def _vectorisable(function: _F) -> _F:
    """Compile a function, for numbers and for vectors of them, to be inlined in its caller's loop.

    Inlining is forced, for LLVM finds the longer functions too large for it and a loop with a call does not vectorise.
    The fastmath flags are given, for numba would otherwise take over those of whichever caller is compiled first, and
    reordered sums destroy the reductions of the argument.
    """
    definition = ast.parse(inspect.getsource(function)).body[0]
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    factory = ast.parse(f"def factory(select, negation):\n    return {function.__name__}")
    factory.body[0].body.insert(0, _Selects().visit(definition))  # type: ignore[attr-defined]
    ast.increment_lineno(definition, function.__code__.co_firstlineno - 1)
    namespace: dict[str, Any] = {}
    exec(
        compile(ast.fix_missing_locations(factory), function.__code__.co_filename, "exec"),
        function.__globals__,
        namespace,
    )
    rewritten = namespace["factory"](select, negation)
    compiled: _F = numba.njit(error_model="numpy", fastmath={"contract"}, forceinline=True)(rewritten)
    return compiled


@_vectorisable
def _short(x: float) -> float:
    """Cut a number to its first 21 binary digits."""
    return _float(_bits(x) & _UPPER_HALF)


@_vectorisable
def _expm1_reduced(r: float) -> float:
    """exp(r) - 1 for |r| <= ln(2)/2."""
    r2 = r * r
    r4 = r2 * r2
    low = (_Q0 + r * _Q1) + r2 * (_Q2 + r * _Q3)
    high = (_Q4 + r * _Q5) + r2 * (_Q6 + r * _Q7) + r4 * (_Q8 + r * _Q9)
    return r + r2 * (low + r4 * high)


@_vectorisable
def _scaled(p: float, shifted: float, grows: bool) -> float:
    """Multiply p by 2**k for k in -1075..1024, where shifted = k + _ROUND and ``grows`` says that k is not negative.

    2**k itself may be no normal number: what is missing is multiplied in last, so that a subnormal result is rounded
    once and overflow happens where it must.
    """
    bias = 1022 if grows else 1087
    rest = 2.0 if grows else 5.421010862427522e-20  # 2**-64
    return p * _float((_bits(shifted) + bias) << 52) * rest


@_vectorisable
def exp(x: float) -> float:
    """Exponential function, to 1.5 units in the last place.

    Overflows to infinity above 709.78, goes through the subnormal numbers below -708.4 and is zero below -745.13.
    """
    shifted = x * _LOG2E + _ROUND
    k = shifted - _ROUND
    r = (x - k * _LN2_HI) - k * _LN2_LO
    value = _scaled(1.0 + _expm1_reduced(r), shifted, x > 0.0)
    value = 0.0 if x < -746.0 else value
    return math.inf if x > 710.0 else value


@_vectorisable
def _exponent(x: float, tiny: bool) -> float:
    """The k of x = 2**k m with sqrt(1/2) <= m < sqrt(2); ``tiny`` says that x was multiplied by 2**54."""
    counted = ((_bits(x) + (_ONE_BITS - _SQRT_HALF_BITS)) >> 52) & 0x7FF
    return _float(counted | _INTEGER_BITS) - (_INTEGER + 1077.0 if tiny else _INTEGER + 1023.0)


@_vectorisable
def _significand(x: float) -> float:
    """The m of x = 2**k m with sqrt(1/2) <= m < sqrt(2)."""
    return _float(((_bits(x) + (_ONE_BITS - _SQRT_HALF_BITS)) & _MANTISSA) + _SQRT_HALF_BITS)


@_vectorisable
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
    value = k * _LN2_HI - ((half - (s * (half + odd + even) + k * _LN2_LO)) - f)
    value = value if x < math.inf else x
    value = value if x != 0.0 else -math.inf
    return value if x >= 0.0 else math.nan


@_vectorisable
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
    s_short = _short(s)
    d_short = _short(m + 1.0)
    s_rest = inverse * (((m - 1.0) - s_short * d_short) - s_short * (m - (d_short - 1.0)))
    # t = log2(m) / s likewise; the first two terms are exact but for what goes into the rest.
    z = s * s
    w = z * z
    h = ((_H0 + z * _H1) + w * (_H2 + z * _H3)) + w * w * ((_H4 + z * _H5) + w * _H6)
    z_short = s_short * s_short
    second = z_short * _T1_SHORT
    rest = w * h + (_T0_REST + (z_short * _T1_REST + _T1 * (s_rest * (s_short + s))))
    t_short = _short((_T0 + second) + rest)
    t_rest = rest - ((t_short - _T0) - second)
    high = s_short * t_short
    low = s_rest * t_short + t_rest * s
    first = _short((high + low) + k)
    return first, low - ((first - k) - high)


@_vectorisable
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
    y_short = _short(y)
    product = y_short * log_short
    rest = (y - y_short) * log_short + y * log_rest
    shifted = (product + rest) + _ROUND
    whole = product - (shifted - _ROUND)
    f = whole + rest
    f_rest = rest - (f - whole)
    tail = f * _LN2_REST + f_rest * _LN2
    value = _scaled(1.0 + (_expm1_reduced(f * _LN2) + tail), shifted, estimate > 0.0)
    value = math.inf if estimate > 1025.0 else value
    value = 0.0 if estimate < -1076.0 else value
    return _power_special(x, y, value)


@_vectorisable
def _power_special(x: float, y: float, value: float) -> float:
    """Give |x|**y the sign of x**y, and the values that arithmetic does not give."""
    integer = np.floor(y) == y
    odd = integer & (2.0 * np.floor(0.5 * y) != y)
    value = _float(_bits(value) ^ (_bits(x) & (_SIGN if odd else 0)))
    value = math.nan if (x != x) | ((x < 0.0) & (x != -math.inf) & (not integer)) else value
    return 1.0 if (y == 0.0) | (x == 1.0) | ((x == -1.0) & (abs(y) == math.inf)) else value


@_vectorisable
def tanh(x: float) -> float:
    """Hyperbolic tangent, to three units in the last place."""
    size = abs(x)
    double = 2.0 * (22.0 if size > 22.0 else size)
    shifted = double * _LOG2E + _ROUND
    k = shifted - _ROUND
    scale = _float((_bits(shifted) + 1023) << 52)
    expm1 = scale * _expm1_reduced((double - k * _LN2_HI) - k * _LN2_LO) + (scale - 1.0)
    return _float(_bits(expm1 / (expm1 + 2.0)) | (_bits(x) & _SIGN))


@_vectorisable
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
    return _float((_bits(value) & _MAGNITUDE) | (_bits(x) & _SIGN))


@_vectorisable
def _two_sum(a: float, b: float) -> tuple[float, float]:
    """Sum of a and b and its rounding error (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@_vectorisable
def _sine(x: float, quarters: int) -> float:
    """sin(x + quarters pi/2), by subtraction of n pi/2 in four pieces (Cody and Waite) and two of n."""
    shifted = x * _TWO_OVER_PI + _ROUND
    n = shifted - _ROUND
    n_high = ((n * 9.5367431640625e-07 + _ROUND) - _ROUND) * 1048576.0  # a multiple of 2**20
    n_low = n - n_high
    high, rest = _two_sum((x - n_high * _P1) - n_low * _P1, -n_high * _P2)
    high, error = _two_sum(high, -n_low * _P2)
    rest += error
    high, error = _two_sum(high, -n_high * _P3)
    rest += error
    high, error = _two_sum(high, -n_low * _P3)
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
    quadrant = _bits(shifted) + quarters
    value = cosine if quadrant & 1 else sine
    value = _float(_bits(value) ^ ((quadrant & 2) << 62))
    return value if abs(x) <= 1e15 else math.nan


@_vectorisable
def sin(x: float) -> float:
    """Sine, to 1.5 units in the last place for magnitudes of x up to 1e12.

    Beyond, the error is that of moving x to a neighbouring float64; beyond 1e15, where those are more than a tenth of
    a radian apart, it is NaN.
    """
    value = _sine(x, 0)  # outside the condition: in one of its branches it would not vectorise everywhere
    return x if x == 0.0 else value


@_vectorisable
def cos(x: float) -> float:
    """Cosine, to 1.5 units in the last place for magnitudes of x up to 1e12; beyond see `sin`."""
    return _sine(x, 1)


@_vectorisable
def heaviside(x: float) -> float:
    """Unit step, one half at zero."""
    return 0.5 * np.sign(x) + 0.5


@_vectorisable
def sign(x: float) -> float:
    """Sign, zero at zero."""
    return np.sign(x)


@one_by_one
@numba.njit(error_model="numpy", fastmath={"contract"})
def digamma(x: float) -> float:
    """Logarithmic derivative of the gamma function; NaN at its poles.

    By reflection and recurrence to arguments above ten, then the asymptotic series (Abramowitz and Stegun 1964, 6.3.18),
    whose next term is below 1e-15 there. It has a loop, so that what calls it does not vectorise.
    """
    total = 0.0
    if x <= 0.0:
        if x == math.floor(x):
            return math.nan
        total = -math.pi / math.tan(math.pi * x)
        x = 1.0 - x
    while x < 10.0:
        total -= 1.0 / x
        x += 1.0
    z = 1.0 / (x * x)
    series = z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z * (1 / 132 - z * (691 / 32760 - z / 12))))))
    return total + math.log(x) - 0.5 / x - series


@_vectorisable
def square(x: float) -> float:
    """Square: the bits of ``x**2`` would depend on what else a process has compiled."""
    return x * x


@_vectorisable
def minimum(a: float, b: float) -> float:
    """The smaller of two numbers; the first if one is NaN."""
    return b if b < a else a


@_vectorisable
def maximum(a: float, b: float) -> float:
    """The larger of two numbers; the first if one is NaN."""
    return b if b > a else a
