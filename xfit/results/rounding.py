"""Values and their standard errors rounded together, as papers print them."""

from __future__ import annotations

import math


def digits_of(error: float) -> int:
    """Decimal place to which an error is given: two significant digits up to 354, one up to 949, else two of the next power.

    These are the rules of the Particle Data Group (Review of Particle Physics, section 5.3, doi:10.1103/PhysRevD.110.030001), which
    go by the three leading digits.
    """
    exponent = math.floor(math.log10(error))
    leading = round(error / 10.0 ** (exponent - 2))
    if leading >= 1000:
        exponent, leading = exponent + 1, 100
    if leading < 355:
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
    exponent = math.floor(math.log10(largest))
    if -5 <= exponent < 6 and places >= 0:
        return f"{value:.{places}f} ± {error:.{places}f}"
    kept = max(places + exponent, 0)
    scale = 10.0**exponent
    return f"({value / scale:.{kept}f} ± {error / scale:.{kept}f})e{exponent:+03d}"
