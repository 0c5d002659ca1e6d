"""Values and their standard errors rounded together, as papers print them."""

from __future__ import annotations

import math
from decimal import Decimal

#: Significant digits that a float has.
_DIGITS = 17

#: Digits of a value beyond which an error is no rounding of it, and is written by itself.
_MOST = 24


def digits_of(error: float) -> int:
    """Decimal place to which an error is given: two significant digits up to 354, one up to
    949, else two of the next power.

    These are the rules of the Particle Data Group (Review of Particle Physics, section 5.3,
    doi:10.1103/PhysRevD.110.030001), which go by the three leading digits.
    """
    # As text: powers of ten are no floats where the smallest and largest numbers are.
    mantissa, power = f"{error:.2e}".split("e")
    exponent = int(power)
    if float(mantissa) < 3.55:
        return 1 - exponent
    # From 950 on the error is rounded up to 1000, of which two digits are kept.
    return -exponent


def rounded(value: float, error: float) -> str:
    """Value and error as text, such as "0.83 ± 0.12"; without an error, six digits of the value.

    Examples
    --------
    >>> rounded(0.827, 0.119)
    '0.83 ± 0.12'
    >>> rounded(0.827, 0.367)
    '0.8 ± 0.4'
    >>> rounded(1234567.0, 4321.0)
    '(1.235 ± 0.004)e+06'
    """
    if not math.isfinite(value):
        return "-"
    if not (math.isfinite(error) and error > 0):
        return f"{value:.6g}"
    places = digits_of(error)
    largest = max(abs(value), error)
    # Of the shortest text: one with fewer digits would be rounded up to the next power, one with more down where floats
    # are coarse.
    exponent = Decimal(repr(float(largest))).adjusted()
    if places + exponent > _MOST:
        return f"{value:.{_DIGITS}g} ± {error:.2g}"
    if -5 <= exponent < 6 and places >= 0:
        return f"{value:.{places}f} ± {error:.{places}f}"
    kept = max(places + exponent, 0)
    value_there, error_there = (Decimal(number).scaleb(-exponent) for number in (value, error))
    return f"({value_there:.{kept}f} ± {error_there:.{kept}f})e{exponent:+03d}"
