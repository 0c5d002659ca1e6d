"""Bessel functions J0 and J1, and jinc(x) = 2 J1(x) / x with its derivative, that vectorise.

Up to eight they are polynomials in x^2, beyond Hankel's form with polynomials in (8 / x)^2 for modulus and phase, as in
Hart et al., Computer Approximations (Wiley 1968), 6.8; the formulas are 9.2.5 and 9.2.6 of Abramowitz and Stegun
(1964). Coefficients are from Remez's algorithm in 50 digits. Errors are below 1e-15 in all, relative to the largest
value.
"""

from __future__ import annotations

import math

from xfit.engine.math.arithmetic import cubic, vectorisable
from xfit.engine.math.elementary import cos, sin

# J0(x), J1(x) / x and J2(x) / x^2 in t = x^2 / 32 - 1 for |x| <= 8, errors below 1e-17.
_A0, _A1, _A2, _A3 = 0.045829664859813754, 0.9303012472958572, -0.6484692830871821, -0.8080888076696873
_A4, _A5, _A6, _A7 = 1.0383794611436883, -0.507468045847099, 0.1459888485678554, -0.028472718610887047
_A8, _A9, _A10, _A11 = 0.004058078988108712, -0.0004435459224189237, 3.847320005810073e-05, -2.71774923963802e-06
_A12, _A13, _A14, _A15 = 1.5955848853640188e-07, -7.91531241221853e-09, 3.379462811823058e-10, -1.2435857268826517e-11
_B0, _B1, _B2, _B3 = -0.05814382795599107, 0.08105866038589796, 0.15151665143806636, -0.2595948652859303
_B4, _B5, _B6, _B7 = 0.15858376432721838, -0.054745818212847186, 0.012456814392263376, -0.0020290394945707423
_B8, _B9, _B10, _B11 = 0.0002494945813597245, -2.4045748659339093e-05, 1.8684526037229287e-06, -1.1967081913414976e-07
_B12, _B13, _B14, _B15 = 6.431190175573101e-09, -2.943010762173826e-10, 1.1658972851320728e-11, -4.005382403597616e-13
_C0, _C1, _C2, _C3 = -0.005066166274118622, -0.018939581429758292, 0.048674037241111925, -0.039645941081804845
_C4, _C5, _C6, _C7 = 0.017108068191514746, -0.004671305397095787, 0.000887704778874708, -0.00012474729069546158
_C8, _C9, _C10, _C11 = 1.3525733620852072e-05, -1.167782835730095e-06, 8.227368819658692e-08, -4.8234516216002315e-09
_C12, _C13, _C14, _C15 = (
    2.3911959145288715e-10,
    -1.0159250623257676e-11,
    3.7551474450530556e-13,
    -1.2099901246785197e-14,
)

# P and 8 Q / x of J0, then of J1 (R and S), in (8 / x)^2 for x >= 8, errors 2e-17.
_P0, _P1, _P2, _P3 = 1.0, -0.0010986328124947859, 2.7380883425245065e-05, -2.1839141595112714e-06
_P4, _P5, _P6, _P7 = 3.619832787755936e-07, -1.0209065172450141e-07, 4.264493808536182e-08, -2.2383975426528194e-08
_P8, _P9, _P10, _P11 = 1.1956649329939471e-08, -5.257316460809123e-09, 1.5428239608133439e-09, -2.1618775112253728e-10
_Q0, _Q1, _Q2, _Q3 = -0.015624999999999983, 0.00014305114745555273, -6.930785906444934e-06, 8.238389912579321e-07
_Q4, _Q5, _Q6, _Q7 = -1.8158834716838558e-07, 6.379091175881202e-08, -3.153049490295187e-08, 1.859817956951634e-08
_Q8, _Q9, _Q10, _Q11 = -1.0671868052162564e-08, 4.891915415920801e-09, -1.4714474376692696e-09, 2.093895574254439e-10
_R0, _R1, _R2, _R3 = 1.0, 0.0018310546874944667, -3.5203993035661264e-05, 2.5809901213299227e-06
_R4, _R5, _R6, _R7 = -4.102519448779201e-07, 1.1285392732663593e-07, -4.639693427225585e-08, 2.411666445376857e-08
_R8, _R9, _R10, _R11 = -1.281126748987806e-08, 5.616110663505519e-09, -1.6453069716991337e-09, 2.3031106440157677e-10
_S0, _S1, _S2, _S3 = 0.04687499999999998, -0.00020027160643961098, 8.470960597906105e-06, -9.505839946002928e-07
_S4, _S5, _S6, _S7 = 2.0295531483833162e-07, -6.98811296584431e-08, 3.4092183996399347e-08, -1.994862222274102e-08
_S8, _S9, _S10, _S11 = 1.1395007129332688e-08, -5.210311378336952e-09, 1.564956892644998e-09, -2.2249867341180588e-10


@vectorisable
def _near_0(x: float) -> float:
    """J0(x) for magnitudes of x up to eight."""
    t = x * x / 32.0 - 1.0
    t2 = t * t
    t4 = t2 * t2
    low = cubic(t, t2, _A0, _A1, _A2, _A3) + t4 * cubic(t, t2, _A4, _A5, _A6, _A7)
    high = cubic(t, t2, _A8, _A9, _A10, _A11) + t4 * cubic(t, t2, _A12, _A13, _A14, _A15)
    return low + t4 * t4 * high


@vectorisable
def _near_1(x: float) -> float:
    """J1(x) / x for magnitudes of x up to eight."""
    t = x * x / 32.0 - 1.0
    t2 = t * t
    t4 = t2 * t2
    low = cubic(t, t2, _B0, _B1, _B2, _B3) + t4 * cubic(t, t2, _B4, _B5, _B6, _B7)
    high = cubic(t, t2, _B8, _B9, _B10, _B11) + t4 * cubic(t, t2, _B12, _B13, _B14, _B15)
    return low + t4 * t4 * high


@vectorisable
def _near_2(x: float) -> float:
    """J2(x) / x^2 for magnitudes of x up to eight."""
    t = x * x / 32.0 - 1.0
    t2 = t * t
    t4 = t2 * t2
    low = cubic(t, t2, _C0, _C1, _C2, _C3) + t4 * cubic(t, t2, _C4, _C5, _C6, _C7)
    high = cubic(t, t2, _C8, _C9, _C10, _C11) + t4 * cubic(t, t2, _C12, _C13, _C14, _C15)
    return low + t4 * t4 * high


@vectorisable
def _far_0(x: float) -> float:
    """J0(x) for x >= 8: sqrt(2 / (pi x)) (P cos(x - pi / 4) - Q sin(x - pi / 4))."""
    inverse = 8.0 / x
    u = inverse * inverse
    u2 = u * u
    u4 = u2 * u2
    p = cubic(u, u2, _P0, _P1, _P2, _P3) + u4 * (
        cubic(u, u2, _P4, _P5, _P6, _P7) + u4 * cubic(u, u2, _P8, _P9, _P10, _P11)
    )
    q = cubic(u, u2, _Q0, _Q1, _Q2, _Q3) + u4 * (
        cubic(u, u2, _Q4, _Q5, _Q6, _Q7) + u4 * cubic(u, u2, _Q8, _Q9, _Q10, _Q11)
    )
    q *= inverse
    c, s = cos(x), sin(x)
    return (p * (c + s) - q * (s - c)) / math.sqrt(math.pi * x)


@vectorisable
def _far_1(x: float) -> float:
    """J1(x) for x >= 8: sqrt(2 / (pi x)) (P cos(x - 3 pi / 4) - Q sin(x - 3 pi / 4))."""
    inverse = 8.0 / x
    u = inverse * inverse
    u2 = u * u
    u4 = u2 * u2
    p = cubic(u, u2, _R0, _R1, _R2, _R3) + u4 * (
        cubic(u, u2, _R4, _R5, _R6, _R7) + u4 * cubic(u, u2, _R8, _R9, _R10, _R11)
    )
    q = cubic(u, u2, _S0, _S1, _S2, _S3) + u4 * (
        cubic(u, u2, _S4, _S5, _S6, _S7) + u4 * cubic(u, u2, _S8, _S9, _S10, _S11)
    )
    q *= inverse
    c, s = cos(x), sin(x)
    return (p * (s - c) + q * (c + s)) / math.sqrt(math.pi * x)


@vectorisable
def besselj0(x: float) -> float:
    """Bessel function of the first kind of order zero, to 1e-15."""
    size = abs(x)
    near, far = _near_0(size), _far_0(size)
    value = near if size < 8.0 else far
    # The polynomial is the least bit off at zero.
    quarter = 0.25 * size * size
    value = 1.0 - quarter * (1.0 - 0.25 * quarter) if size < 1e-3 else value
    return value if size < math.inf else 0.0 * (1.0 / size)


@vectorisable
def besselj1(x: float) -> float:
    """Bessel function of the first kind of order one, to 1e-15."""
    size = abs(x)
    near, far = size * _near_1(size), _far_1(size)
    value = near if size < 8.0 else far
    value = value if x >= 0.0 else -value
    return value if size < math.inf else 0.0 * (1.0 / size)


@vectorisable
def jinc(x: float) -> float:
    """2 J1(x) / x, one at zero, to 1e-15: the amplitude behind a circular aperture."""
    size = abs(x)
    near, far = 2.0 * _near_1(size), 2.0 * _far_1(size) / size
    value = near if size < 8.0 else far
    return value if size < math.inf else 0.0 * (1.0 / size)


@vectorisable
def jinc_prime(x: float) -> float:
    """Derivative of jinc, -2 J2(x) / x, zero at zero, to 1e-15."""
    size = abs(x)
    near, far = size * _near_2(size), (2.0 * _far_1(size) / size - _far_0(size)) / size
    value = near if size < 8.0 else far
    value = -2.0 * value if x >= 0.0 else 2.0 * value
    return value if size < math.inf else 0.0 * (1.0 / size)
