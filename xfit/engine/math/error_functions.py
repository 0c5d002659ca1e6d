"""Error functions that vectorise: erf, erfc, erfcx(x) = exp(x^2) erfc(x) and its derivative.

As in Shepherd and Laframboise (Math. Comp. 36, 249 (1981), doi 10.1090/S0025-5718-1981-0595058-X), (1 + 2 x) erfcx(x)
is one polynomial in t = (x - 4) / (x + 4) from zero to infinity, and so is its derivative's counterpart; degrees and
coefficients are from Remez's algorithm in 60 digits. erfc is erfcx times an exponential of the exact square.
"""

from __future__ import annotations

import math

from xfit.engine.math.arithmetic import (
    LN2_HI,
    LN2_LO,
    LOG2E,
    MAGNITUDE,
    ROUND,
    SIGN,
    bits,
    cubic,
    expm1_reduced,
    from_bits,
    scaled,
    short,
    vectorisable,
)

# erf(x) / x - 1 in x^2 for |x| <= 3/4, relative error 8e-21.
_E0, _E1, _E2, _E3 = 0.12837916709551256, -0.37612638903183754, 0.11283791670955086, -0.026866170645117936
_E4, _E5, _E6, _E7 = 0.005223977625215001, -0.000854832700054205, 0.00012055331514702441, -1.4925588371417985e-05
_E8, _E9, _E10, _E11 = 1.6460361679574642e-06, -1.6332944947772823e-07, 1.4411755839369685e-08, -9.49599284294803e-10

# (1 + 2 x) erfcx(x) in t, relative error 3e-17.
_X0, _X1, _X2, _X3 = 1.2329951186255526, -0.1396211168405621, 0.015379652102610978, 0.0680970542546521
_X4, _X5, _X6, _X7 = -0.10103906603588421, 0.09373283499953378, -0.06633036582003435, 0.03716751552131539
_X8, _X9, _X10, _X11 = -0.01619773398354675, 0.00503197010235842, -0.0007577736978292265, -0.00019925728693617832
_X12, _X13, _X14, _X15 = 0.0001506230717102338, -2.439738208531689e-05, -1.1225056574103024e-05, 5.705984384501962e-06
_X16, _X17, _X18, _X19 = 2.97961697706046e-07, -8.204059035293991e-07, 7.11902921914203e-08, 1.0585912838800579e-07
_X20, _X21, _X22, _X23 = -1.6386662844714814e-08, -1.215639430755527e-08, 1.576424151881738e-09, 8.98265136808529e-10

# -(1 + 2 x)^2 erfcx'(x) in t, relative error 1e-15.
_D0, _D1, _D2, _D3 = 2.6230639936967353, -0.34875173012213406, -0.31354690508779026, 0.668857087540846
_D4, _D5, _D6, _D7 = -0.651609627591196, 0.3987249519213688, -0.1147693114268253, -0.06307663165914079
_D8, _D9, _D10, _D11 = 0.11191139405311341, -0.08347330977712727, 0.03868262190493029, -0.009610407765437125
_D12, _D13, _D14, _D15 = -0.0008080326298014266, 0.0016302617813103355, -0.0004352894327202879, -0.00011007953508597234
_D16, _D17, _D18, _D19 = 9.196175562104402e-05, -2.3773434156737174e-06, -1.3577041119034041e-05, 2.1906758122989484e-06
_D20, _D21, _D22, _D23 = 1.6490540271967234e-06, -4.0858748074878686e-07, -1.2661170779462855e-07, 3.641823987365115e-08

_TWO_OVER_SQRT_PI = 1.1283791670955126


@vectorisable
def _whole_axis(x: float) -> float:
    """The variable t of the polynomials, -1 at zero and 1 at infinity."""
    t = (x - 4.0) / (x + 4.0)
    return t if x < 1e300 else 1.0


@vectorisable
def _scaled_complement(x: float) -> float:
    """Function erfcx for x >= 0."""
    t = _whole_axis(x)
    t2 = t * t
    t4 = t2 * t2
    t8 = t4 * t4
    low = cubic(t, t2, _X0, _X1, _X2, _X3) + t4 * cubic(t, t2, _X4, _X5, _X6, _X7)
    middle = cubic(t, t2, _X8, _X9, _X10, _X11) + t4 * cubic(t, t2, _X12, _X13, _X14, _X15)
    high = cubic(t, t2, _X16, _X17, _X18, _X19) + t4 * cubic(t, t2, _X20, _X21, _X22, _X23)
    return 0.5 * (low + t8 * (middle + t8 * high)) / (0.5 + x)


@vectorisable
def _times_exp_of_square(factor: float, x: float, sign: float) -> float:
    """Multiply by exp(sign x^2), rounding once where the result is subnormal; x^2 is a short square and a rest."""
    x_short = short(x)
    high = sign * (x_short * x_short)
    low = sign * ((x - x_short) * (x + x_short))
    shifted = high * LOG2E + ROUND
    k = shifted - ROUND
    r = ((high - k * LN2_HI) + low) - k * LN2_LO
    value = scaled(factor + factor * expm1_reduced(r), shifted, high > 0.0)
    value = 0.0 if high < -746.0 else value
    return math.inf if high > 710.0 else value


@vectorisable
def _near_zero(x: float) -> float:
    """Function erf for magnitudes of x up to 3/4."""
    z = x * x
    z2 = z * z
    z4 = z2 * z2
    low = cubic(z, z2, _E0, _E1, _E2, _E3) + z4 * cubic(z, z2, _E4, _E5, _E6, _E7)
    return x + x * (low + z4 * z4 * cubic(z, z2, _E8, _E9, _E10, _E11))


@vectorisable
def erfc(x: float) -> float:
    """Complementary error function, to four units in the last place down to where it underflows, at 27.2."""
    size = abs(x)
    value = _times_exp_of_square(_scaled_complement(size), size, -1.0)
    value = 1.0 - _near_zero(size) if size < 0.5 else value
    return 2.0 - value if x < 0.0 else value


@vectorisable
def erf(x: float) -> float:
    """Error function, to two units in the last place."""
    size = abs(x)
    value = 1.0 - _times_exp_of_square(_scaled_complement(size), size, -1.0)
    value = _near_zero(size) if size < 0.75 else value
    return from_bits((bits(value) & MAGNITUDE) | (bits(x) & SIGN))


@vectorisable
def erfcx(x: float) -> float:
    """Scaled complementary error function exp(x^2) erfc(x), to four units in the last place; or five
    near zero; infinite below -26.6.
    """
    size = abs(x)
    value = _scaled_complement(size)
    return _times_exp_of_square(2.0, size, 1.0) - value if x < 0.0 else value


@vectorisable
def erfcx_prime(x: float) -> float:
    """Derivative of erfcx, 2 x erfcx(x) - 2 / sqrt(pi), without the cancellation that this has for large x."""
    size = abs(x)
    t = _whole_axis(size)
    t2 = t * t
    t4 = t2 * t2
    t8 = t4 * t4
    low = cubic(t, t2, _D0, _D1, _D2, _D3) + t4 * cubic(t, t2, _D4, _D5, _D6, _D7)
    middle = cubic(t, t2, _D8, _D9, _D10, _D11) + t4 * cubic(t, t2, _D12, _D13, _D14, _D15)
    high = cubic(t, t2, _D16, _D17, _D18, _D19) + t4 * cubic(t, t2, _D20, _D21, _D22, _D23)
    value = -0.25 * (low + t8 * (middle + t8 * high)) / (0.5 + x) / (0.5 + x)
    return 2.0 * x * erfcx(x) - _TWO_OVER_SQRT_PI if x < 0.0 else value
