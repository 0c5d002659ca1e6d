"""Special functions against SciPy's in one run: largest error and where it is, time of an element, ratio of the times.

``python ci/bench/special.py`` prints a table. Errors are against mpmath, relative, or absolute where that is said.
Times are the shortest of many passes over 1000 arguments on one core.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import mpmath
import numba
import numpy as np
import scipy.special

from xfit.engine.math import bessel_functions as besselfunctions
from xfit.engine.math import elementary as special
from xfit.engine.math import error_functions as errorfunctions
from xfit.engine.math import faddeeva
from xfit.engine.math import gamma_functions as gammafunctions

N = 1000
#: As generated kernels are compiled.
KERNEL: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}


def _erfcx(x: Any) -> Any:
    return mpmath.exp(x * x) * mpmath.erfc(x)


@numba.njit(**KERNEL, forceinline=True)
def _power(x: float) -> float:
    """A power as it stands in a kernel."""
    return special.power(x, 2.7)


@numba.njit(**KERNEL, forceinline=True)
def _root(x: float) -> float:
    """Another one."""
    return special.power(x, -0.31)


#: Function, SciPy's, the exact one, range of the arguments, whether errors are relative.
UNARY: dict[str, tuple[Any, Any, Callable[[Any], Any], tuple[float, float], bool]] = {
    "exp": (special.exp, np.exp, mpmath.exp, (-700, 700), True),
    "log": (special.log, np.log, mpmath.log, (1e-3, 1e3), True),
    "x**2.7": (_power, lambda x: x**2.7, lambda x: mpmath.power(x, mpmath.mpf(2.7)), (1e-3, 1e3), True),
    "x**-0.31": (_root, lambda x: x**-0.31, lambda x: mpmath.power(x, mpmath.mpf(-0.31)), (1e-3, 1e3), True),
    "atan": (special.atan, np.arctan, mpmath.atan, (-30, 30), True),
    "tanh": (special.tanh, np.tanh, mpmath.tanh, (-20, 20), True),
    "erf": (errorfunctions.erf, scipy.special.erf, mpmath.erf, (-6, 6), True),
    "erfc": (errorfunctions.erfc, scipy.special.erfc, mpmath.erfc, (-6, 26), True),
    "erfcx": (errorfunctions.erfcx, scipy.special.erfcx, _erfcx, (-6, 26), True),
    "gamma": (gammafunctions.gamma, scipy.special.gamma, mpmath.gamma, (-20, 170), True),
    "loggamma": (
        gammafunctions.lgamma,
        scipy.special.gammaln,
        lambda x: mpmath.log(abs(mpmath.gamma(x))),
        (-20, 170),
        False,
    ),
    "digamma": (gammafunctions.digamma, scipy.special.digamma, mpmath.digamma, (-20, 170), False),
    "trigamma": (
        gammafunctions.trigamma,
        lambda x: scipy.special.polygamma(1, x),
        lambda x: mpmath.polygamma(1, x),
        (0.1, 170),
        True,
    ),
    "besselj0": (besselfunctions.besselj0, scipy.special.j0, lambda x: mpmath.besselj(0, x), (-40, 40), False),
    "besselj1": (besselfunctions.besselj1, scipy.special.j1, lambda x: mpmath.besselj(1, x), (-40, 40), False),
    "jinc": (
        besselfunctions.jinc,
        lambda x: 2 * scipy.special.j1(x) / x,
        lambda x: 2 * mpmath.besselj(1, x) / x,
        (0.01, 40),
        False,
    ),
}


def shortest(function: Callable[..., Any], *arguments: Any) -> float:
    """Time of the fastest pass, in nanoseconds an element."""
    function(*arguments)
    times = []
    stop = time.perf_counter() + 0.3
    while time.perf_counter() < stop:
        began = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - began)
    return min(times) / N * 1e9


def line(name: str, error: float, where: str, ours: float, theirs: float) -> None:
    """Print one row."""
    shown = f"{error:9.1e}" if where else f"{'':9}"
    print(f"{name:34} {shown} {where:>24} {ours:8.2f} {theirs:8.2f} {ours / theirs:8.3f}")


def unary(name: str) -> None:
    """Print the row of a function of one argument."""
    function, peer, exact, (low, high), relative = UNARY[name]

    @numba.njit(**KERNEL)
    def loop(x: np.ndarray, out: np.ndarray) -> None:
        for i in range(x.size):
            out[i] = function(x[i])

    x = np.random.default_rng(0).uniform(low, high, N)
    out = np.empty(N)
    ours, theirs = shortest(loop, x, out), shortest(peer, x)
    with mpmath.workdps(60):
        expected = [exact(mpmath.mpf(v)) for v in x.tolist()]
        scale = [abs(e) if relative else max(1, abs(e)) for e in expected]
        errors = [float(abs(g - e) / s) for g, e, s in zip(out.tolist(), expected, scale, strict=True)]
    worst = int(np.argmax(errors))
    line(name if relative else f"{name} (absolute below 1)", errors[worst], f"{x[worst]:.4g}", ours, theirs)


@numba.njit(**KERNEL)
def _real(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    for i in range(x.size):
        out[0, i] = faddeeva.wofz_real(x[i], y[i])


@numba.njit(**KERNEL)
def _both(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    for i in range(x.size):
        w = faddeeva.wofz(x[i], y[i])
        out[0, i] = w[0]
        out[1, i] = w[1]


@numba.njit(**KERNEL)
def _voigt(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """Value and gradient of a Voigt profile: amplitude, centre, sigma, gamma, as in a kernel."""
    for i in range(x.size):
        w = faddeeva.wofz(x[i], y[i])
        out[0, i] = 3.0 * w[0]
        out[1, i] = w[0]
        out[2, i] = -3.0 * w[2]
        out[3, i] = 3.0 * w[4]
        out[4, i] = -3.0 * w[3]


def complex_plane() -> None:
    """Print the rows of the Faddeeva function, over core and wings of lines of different widths."""
    x = np.linspace(-30, 30, N)
    out = np.empty((5, N))
    for y in (0.01, 0.1, 1.0, 3.0):
        widths = np.full(N, y)
        theirs = shortest(scipy.special.wofz, x + 1j * y)
        for name, loop in (("Re w", _real), ("w", _both), ("Voigt and gradient", _voigt)):
            ours = shortest(loop, x, widths, out)
            error, worst = _worst(x, y, out) if loop is _both else (0.0, -1)
            line(f"{name}, y = {y}", error, f"{x[worst]:.4g}" if worst >= 0 else "", ours, theirs)


def _worst(x: np.ndarray, y: float, out: np.ndarray) -> tuple[float, int]:
    """Largest relative error of either part, and where it is."""
    errors = []
    for i in range(0, N, 5):
        with mpmath.workdps(30 + int(x[i] ** 2)):
            z = mpmath.mpc(x[i], y)
            w = mpmath.exp(-z * z) * mpmath.erfc(-1j * z)
            errors.append(max(abs(float(out[0, i] / w.real - 1)), abs(float(out[1, i] / w.imag - 1))))
    worst = int(np.argmax(errors))
    return errors[worst], 5 * worst


def main() -> None:
    """Print the table."""
    print(f"{'function':34} {'max error':>9} {'at':>24} {'ns':>8} {'SciPy ns':>8} {'ratio':>8}")
    for name in UNARY:
        unary(name)
    complex_plane()


if __name__ == "__main__":
    main()
