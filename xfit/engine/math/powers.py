"""Parts of powers ``base**exponent`` that share a logarithm with their derivatives, also where
the base is zero or negative.
"""

from __future__ import annotations

import math

import numpy as np

from xfit.engine.math.arithmetic import vectorisable
from xfit.engine.math.elementary import log

#: In the place of the logarithm of zero: finite, so that its product with a power of zero is zero, as the limit is.
_LOG_OF_ZERO = -1e300


@vectorisable
def log_of_size(x: float) -> float:
    """Logarithm of the magnitude, and a very large negative number in the place of that of zero."""
    value = log(abs(x))
    return _LOG_OF_ZERO if x == 0.0 else value


@vectorisable
def parity(n: float) -> float:
    """1 for even whole numbers, -1 for odd ones, NaN for others: the sign of a power of a negative number."""
    half = 0.5 * n
    even = np.floor(half) == half
    whole = np.floor(n) == n
    sign = 1.0 if even else -1.0
    return sign if whole else math.nan
