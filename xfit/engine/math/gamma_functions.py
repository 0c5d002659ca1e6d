"""Gamma functions that vectorise: gamma, its logarithm, and the first two derivatives of that, digamma and trigamma.

Arguments below eight are moved up by eight in one step, x (x + 1) ... (x + 7) being a polynomial in x (x + 7). Above
follow Stirling's series (Abramowitz and Stegun 1964, 6.1.40, 6.3.18, 6.4.11), with coefficients by Remez's algorithm
in 60 digits in place of the divergent ones; negative arguments go by reflection (6.1.17, 6.3.7, 6.4.7).
"""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.arithmetic import cubic, expm1_reduced, vectorisable
from xfit.engine.math.elementary import exp, log, power

# x log(gamma(x) / (sqrt(2 pi) x^(x - 1/2) exp(-x))) in 1 / x^2 for x >= 8, relative error 2e-19.
_G0, _G1, _G2, _G3 = 0.08333333333333333, -0.0027777777777776786, 0.0007936507935156814, -0.000595238024939805
_G4, _G5, _G6, _G7 = 0.0008417328019780002, -0.0019149916610639083, 0.006209332142644087, -0.020877631173419432

# x^2 (log(x) - 1 / (2 x) - digamma(x)) and x^3 (trigamma(x) - 1 / x - 1 / (2 x^2)) likewise, 2e-18 and 2e-17.
_D0, _D1, _D2, _D3 = 0.08333333333333333, -0.008333333333331734, 0.0039682539660696545, -0.004166665528235582
_D4, _D5, _D6, _D7 = 0.0075754647853719815, -0.021051515992142885, 0.08004449601034926, -0.29981065552987224
_T0, _T1, _T2, _T3 = 0.16666666666666666, -0.033333333333306035, 0.023809523772208036, -0.03333331385081543
_T4, _T5, _T6, _T7 = 0.0757525535730805, -0.25240311072392174, 1.1097510804211568, -4.582432731699336

# sin(pi r) = r s(r^2) and cos(pi r) = 1 - r^2 c(r^2) for |r| <= 1/2, relative errors 3e-19 and 3e-20.
_S0, _S1, _S2, _S3 = 3.141592653589793, -5.167712780049969, 2.550164039877294, -0.599264529318745
_S4, _S5, _S6, _S7 = 0.08214588656997726, -0.0073704304793304875, 0.0004662996908498112, -2.1903189263945757e-05
_S8 = 7.694754877039852e-07
_C0, _C1, _C2, _C3 = 4.934802200544679, -4.0587121264167685, 1.335262768854582, -0.23533063035858784
_C4, _C5, _C6, _C7 = 0.025806891383800077, -0.001929574238232387, 0.000104637625211192, -4.301181282806208e-06
_C8 = 1.3476814030671488e-07

_SQRT_TWO_PI, _HALF_LOG_TWO_PI = 2.5066282746310002, 0.9189385332046727


@vectorisable
def _sine_of_pi(x: float) -> tuple[float, float]:
    """sin(pi r) and r for the distance r of x from the nearest integer."""
    r = x - np.rint(x)
    z = r * r
    z2 = z * z
    z4 = z2 * z2
    s = cubic(z, z2, _S0, _S1, _S2, _S3) + z4 * (cubic(z, z2, _S4, _S5, _S6, _S7) + z4 * _S8)
    return r * s, r


@vectorisable
def _cosine_of_pi(r: float) -> float:
    """cos(pi r) for |r| <= 1/2."""
    z = r * r
    z2 = z * z
    z4 = z2 * z2
    return 1.0 - z * (cubic(z, z2, _C0, _C1, _C2, _C3) + z4 * (cubic(z, z2, _C4, _C5, _C6, _C7) + z4 * _C8))


@vectorisable
def _moved(x: float) -> tuple[float, float, float]:
    """Move x > -1/2 to at least eight: what Stirling's series takes, by what gamma grew on the way, and x (x + 7)."""
    q = x * (x + 7.0)
    grown = (q * (q + 6.0)) * ((q + 10.0) * (q + 12.0))
    return x + 8.0 if x < 8.0 else x, grown if x < 8.0 else 1.0, q


@vectorisable
def _stirling(x: float) -> float:
    """What Stirling's formula misses of log(gamma(x)) for x >= 8."""
    inverse = 1.0 / x
    u = inverse * inverse
    u2 = u * u
    return inverse * (cubic(u, u2, _G0, _G1, _G2, _G3) + u2 * u2 * cubic(u, u2, _G4, _G5, _G6, _G7))


@vectorisable
def gamma(x: float) -> float:
    """Gamma function, to 1e-13 of itself; NaN at negative integers, infinite above 171.6."""
    turned = x < -0.5
    up, grown, _ = _moved(1.0 - x if turned else x)
    # Beyond 200 both it and its inverse are out of range.
    up = 200.0 if up > 200.0 else up
    root = power(up, 0.5 * up - 0.25)
    part = _SQRT_TWO_PI * root * exp(-up)
    part += part * expm1_reduced(_stirling(up))
    sine, _ = _sine_of_pi(x)
    # pi / (sin(pi x) gamma(1 - x)), whose sign is that of the sine times one for every integer in between.
    odd = 2.0 * np.rint(0.5 * np.rint(x)) != np.rint(x)
    sine = -sine if odd else sine
    value = (math.pi * grown / sine) / part / root if turned else (part / grown) * root
    value = math.inf if x > 172.0 else value
    return math.nan if turned & (np.rint(x) == x) else (x if x != x else value)


@vectorisable
def lgamma(x: float) -> float:
    """Logarithm of the absolute value of gamma: to 1e-14, of itself where it is larger than
    one; infinite at the poles.
    """
    turned = x < -0.5
    up, grown, _ = _moved(1.0 - x if turned else x)
    value = (up - 0.5) * (log(up) - 1.0) + (_HALF_LOG_TWO_PI - 0.5 + _stirling(up))
    sine, _ = _sine_of_pi(x)
    # One logarithm for both corrections: log(pi / sin(pi x)) where turned, the log of what gamma grew by otherwise.
    correction = log(math.pi * grown / abs(sine) if turned else abs(grown))
    value = correction - value if turned else value - correction
    return math.inf if abs(x) == math.inf else value


@vectorisable
def digamma(x: float) -> float:
    """Logarithmic derivative of the gamma function, to 1e-14, of itself where it is larger
    than one; NaN at the poles.
    """
    turned = x < 0.0
    start = 1.0 - x if turned else x
    up, grown, q = _moved(start)
    inverse = 1.0 / up
    u = inverse * inverse
    u2 = u * u
    series = u * (cubic(u, u2, _D0, _D1, _D2, _D3) + u2 * u2 * cubic(u, u2, _D4, _D5, _D6, _D7))
    # The derivative of log(grown): 2 start + 7 times the sum of 1 / (q + c) for c = 0, 6, 10, 12.
    pairs = ((2.0 * q + 6.0) * ((q + 10.0) * (q + 12.0)) + (q * (q + 6.0)) * (2.0 * q + 22.0)) / grown
    steps = (2.0 * start + 7.0) * pairs if start < 8.0 else 0.0
    value = (log(up) - 0.5 * inverse - series) - steps
    sine, r = _sine_of_pi(x)
    value = value - math.pi * _cosine_of_pi(r) / sine if turned else value
    return math.nan if (x <= 0.0) & (np.rint(x) == x) else value


@vectorisable
def trigamma(x: float) -> float:
    """Derivative of digamma, to 1e-14 of itself for x >= 0 and 1e-13 below; infinite at the poles."""
    turned = x < 0.0
    start = 1.0 - x if turned else x
    up, _, q = _moved(start)
    inverse = 1.0 / up
    u = inverse * inverse
    u2 = u * u
    series = u * inverse * (cubic(u, u2, _T0, _T1, _T2, _T3) + u2 * u2 * cubic(u, u2, _T4, _T5, _T6, _T7))
    # 1 / (x + k)^2 + 1 / (x + 7 - k)^2 is (2 q + 49 - 2 c) / (q + c)^2 with c = k (7 - k).
    first, second, third, fourth = 1.0 / q, 1.0 / (q + 6.0), 1.0 / (q + 10.0), 1.0 / (q + 12.0)
    steps = (2.0 * q + 49.0) * first * first + (2.0 * q + 37.0) * second * second
    steps += (2.0 * q + 29.0) * third * third + (2.0 * q + 25.0) * fourth * fourth
    value = inverse + 0.5 * u + series + (steps if start < 8.0 else 0.0)
    sine, _ = _sine_of_pi(x)
    return (math.pi / sine) * (math.pi / sine) - value if turned else value
