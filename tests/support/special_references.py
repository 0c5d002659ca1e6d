"""Special functions by mpmath."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numba

from xfit.engine.math import faddeeva

#: As generated kernels are compiled.
KERNEL: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}


INF, NAN, TINY = math.inf, math.nan, 5e-324


def _loop(function: Callable[[float], float]) -> Any:
    @numba.njit(**KERNEL)
    def loop(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    return loop


@numba.njit(**KERNEL)
def _faddeeva_loop(x, y, out):
    for i in range(x.size):
        out[0, i], out[1, i], out[2, i], out[3, i], out[4, i], out[5, i] = faddeeva.wofz(x[i], y[i])


def _derivatives(w: Any, z: Any, count: int) -> list[Any]:
    """Derivatives of w from w itself: w' = 2 i / sqrt(pi) - 2 z w and so on."""
    values = [w, 2j / mpmath.sqrt(mpmath.pi) - 2 * z * w]
    for k in range(2, count):
        values.append(-2 * (k - 1) * values[-2] - 2 * z * values[-1])
    return values


def exact_faddeeva(x: float, y: float) -> list[Any]:
    """Parts of w, w' and w'' in as many digits as they need."""
    a, b = mpmath.mpf(x), mpmath.mpf(y)
    if max(abs(x), abs(y)) > 60:
        return _exact_far(a, b)
    small = [-int(math.log10(abs(v))) for v in (x, y) if v]
    digits = 60 + int(x * x + y * y) + max([0, *small[: 1 if abs(y) < 1e-40 else 2]])
    with mpmath.workdps(digits):
        if abs(y) < 1e-40:
            # To first order in y, from the real axis, where Im w is Dawson's integral times 2 / sqrt(pi).
            values = _derivatives(mpmath.exp(-a * a) * mpmath.mpc(1, mpmath.erfi(a)), a, 4)
            pairs = itertools.pairwise(values)
            return [part for v, s in pairs for part in (v.real - b * s.imag, v.imag + b * s.real)]
        z = mpmath.mpc(a, b)
        values = _derivatives(mpmath.exp(-z * z) * mpmath.erfc(-1j * z), z, 3)
        return [part for v in values for part in (v.real, v.imag)]


def _exact_far(a: Any, b: Any) -> list[Any]:
    """The asymptotic series, in digits for numbers of any size; the exponential is nothing there for b >= 0."""
    with mpmath.workdps(1000):
        z = mpmath.mpc(a, b)
        terms = [mpmath.mpc(1)]
        for k in range(30):
            terms.append(terms[-1] * (2 * k + 1) / (2 * z * z))
        scale = 1j / (z * mpmath.sqrt(mpmath.pi))
        values = [scale * mpmath.fsum(terms), -scale / z * mpmath.fsum((2 * k + 1) * t for k, t in enumerate(terms))]
        values += [scale / z**2 * mpmath.fsum((2 * k + 1) * (2 * k + 2) * t for k, t in enumerate(terms))]
        return [part for v in values for part in (v.real, v.imag)]


def _erfcx(x: Any) -> Any:
    return (
        mpmath.exp(x * x) * mpmath.erfc(x) if x < 1e4 else mpmath.hyp2f0(0.5, 1, -1 / x**2) / x / mpmath.sqrt(mpmath.pi)
    )


def _erfcx_prime(x: Any) -> Any:
    return 2 * x * _erfcx(x) - 2 / mpmath.sqrt(mpmath.pi)


def _lgamma(x: Any) -> Any:
    return mpmath.loggamma(x) if x > 100 else mpmath.log(abs(mpmath.gamma(x)))


#: Reference and largest error in units in the last place. Each is a polynomial (1 to 2 units, the rounding of its
#: variable included) times what takes another 2: exponential, division, product.
ERROR_FUNCTIONS: dict[str, tuple[Callable[[Any], Any], float]] = {
    "erf": (mpmath.erf, 2),
    "erfc": (mpmath.erfc, 4),
    "erfcx": (_erfcx, 5),
    # Relative error 1e-15 of the polynomial and two divisions.
    "erfcx_prime": (_erfcx_prime, 16),
}


#: Reference, largest relative error; where the function is below one, absolute, for lgamma and digamma have zeros.
GAMMA_FUNCTIONS: dict[str, tuple[Callable[[Any], Any], float, float]] = {
    # Of a negative x, the rounding of 1 - x counts by the logarithm of that.
    "gamma": (mpmath.gamma, 1e-13, 0.0),
    "lgamma": (_lgamma, 1e-14, 1.0),
    "digamma": (mpmath.digamma, 5e-15, 1.0),
    "trigamma": (lambda x: mpmath.polygamma(1, x), 5e-15, 0.0),
}


BESSEL_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "besselj0": lambda x: mpmath.besselj(0, x),
    "besselj1": lambda x: mpmath.besselj(1, x),
    "jinc": lambda x: 2 * mpmath.besselj(1, x) / x,
    "jinc_prime": lambda x: -2 * mpmath.besselj(2, x) / x,
}
