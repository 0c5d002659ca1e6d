"""Special functions of kernels against mpmath over their whole range, at the seams of their methods, in formulas."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import mpmath
import numba
import numpy as np
import pytest
import scipy.special
import sympy

from xfit.components import Expression
from xfit.engine.codegen.kernel_source import kernel_source
from xfit.engine.codegen.program import compiled_kernel
from xfit.engine.codegen.tie_compiler import compile_ties
from xfit.engine.math import bessel_functions as besselfunctions
from xfit.engine.math import error_functions as errorfunctions
from xfit.engine.math import faddeeva
from xfit.engine.math import gamma_functions as gammafunctions
from xfit.engine.math.call import call_kernel
from xfit.engine.math.layout import PITCH
from xfit.engine.pixel.evaluate import aligned_rows
from xfit.engine.pixel.tie_machine import STACK, apply_ties, tie_derivatives
from xfit.formulas import calculus, parser
from xfit.formulas.kernel_spec import FormulaKernel
from xfit.formulas.special_functions import FUNCTIONS

#: As generated kernels are compiled.
KERNEL: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy"}
INF, NAN, TINY = math.inf, math.nan, 5e-324
PARTS = ("Re w", "Im w", "Re w'", "Im w'", "Re w''", "Im w''")


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


def _evaluate(function: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    _loop(function)(x, out)
    return out


def _signs(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.choice([-1.0, 1.0], n)


def _seams(*places: float) -> list[float]:
    """Each place and its neighbours, on either side of zero."""
    return [s * v for p in places for v in (p, np.nextafter(p, 0), np.nextafter(p, INF)) for s in (1, -1)]


# --- references ---------------------------------------------------------------------------------------------------


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


# --- error functions ----------------------------------------------------------------------------------------------

#: Reference and largest error in units in the last place. Each is a polynomial (1 to 2 units, the rounding of its
#: variable included) times what takes another 2: exponential, division, product.
ERROR_FUNCTIONS: dict[str, tuple[Callable[[Any], Any], float]] = {
    "erf": (mpmath.erf, 2),
    "erfc": (mpmath.erfc, 4),
    "erfcx": (_erfcx, 5),
    # Relative error 1e-15 of the polynomial and two divisions.
    "erfcx_prime": (_erfcx_prime, 16),
}


@pytest.mark.parametrize("name", ERROR_FUNCTIONS)
def test_error_functions(name: str) -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate(
        [
            rng.uniform(-6, 27, 2000),
            rng.uniform(-1.5, 1.5, 1000),
            _signs(rng, 1000) * 10 ** rng.uniform(-307, 1.4, 1000),
            _seams(0.5, 0.75, 4.0, 26.0, 0.46875),
            10 ** rng.uniform(1.4, 150, 500 if name.startswith("erfcx") else 5),
        ]
    )
    exact, bound = ERROR_FUNCTIONS[name]
    with mpmath.workdps(400):
        expected = [exact(mpmath.mpf(v)) for v in x.tolist()]
        units = [
            float(abs(mpmath.mpf(g) - e) / math.ulp(float(e)))
            for g, e in zip(_evaluate(getattr(errorfunctions, name), x).tolist(), expected, strict=True)
            if abs(e) < 1.79e308
        ]
    assert max(units) <= bound, (name, max(units), x[int(np.argmax(units))])


def test_erfc_into_subnormal_numbers() -> None:
    """It underflows through the subnormal numbers, each right to one of their steps, then to zero."""
    x = np.linspace(26.55, 27.3, 800)
    got = _evaluate(errorfunctions.erfc, x)
    steps = [float(abs(mpmath.mpf(g) - mpmath.erfc(mpmath.mpf(v))) / TINY) for g, v in zip(got, x, strict=True)]
    assert max(s for s, g in zip(steps, got, strict=True) if g < 2.2e-308) <= 1.0


@pytest.mark.parametrize("name", ["erf", "erfc", "erfcx"])
def test_special_values_of_error_functions(name: str) -> None:
    """Zeros, infinities, NaN and overflow are as in SciPy."""
    x = np.array([0.0, -0.0, INF, -INF, NAN, 1e300, -1e300, TINY, -1e-310, 28.0, -30.0])
    got, expected = _evaluate(getattr(errorfunctions, name), x), getattr(scipy.special, name)(x)
    np.testing.assert_allclose(got, expected, rtol=1e-15)
    assert (np.signbit(got) == np.signbit(expected))[~np.isnan(expected)].all()


# --- gamma functions ----------------------------------------------------------------------------------------------

#: Reference, largest relative error; where the function is below one, absolute, for lgamma and digamma have zeros.
GAMMA_FUNCTIONS: dict[str, tuple[Callable[[Any], Any], float, float]] = {
    # Of a negative x, the rounding of 1 - x counts by the logarithm of that.
    "gamma": (mpmath.gamma, 1e-13, 0.0),
    "lgamma": (_lgamma, 1e-14, 1.0),
    "digamma": (mpmath.digamma, 5e-15, 1.0),
    "trigamma": (lambda x: mpmath.polygamma(1, x), 5e-15, 0.0),
}


@pytest.mark.parametrize("name", GAMMA_FUNCTIONS)
def test_gamma_functions(name: str) -> None:
    rng = np.random.default_rng(2)
    zeros = [1.4616321449683622, 1.0, 2.0, -0.5040830082644554, -2.457024738220801, -2.747682646727413]
    x = np.concatenate(
        [
            rng.uniform(0, 171.6, 1000),
            rng.uniform(-30, 10, 1500),
            rng.uniform(-170.4, 0, 300),
            _signs(rng, 600) * 10 ** rng.uniform(-150, 0, 600),
            np.arange(1, 171),
            _seams(0.5),
            [v for v in _seams(8.0) if v > 0],
            zeros,
            10 ** rng.uniform(1, 2.2 if name == "gamma" else 150, 300),
        ]
    )
    exact, bound, floor = GAMMA_FUNCTIONS[name]
    got = _evaluate(getattr(gammafunctions, name), x)
    with mpmath.workdps(40):
        expected = [exact(mpmath.mpf(v)) for v in x.tolist()]
        errors = [
            float(abs(mpmath.mpf(g) - e) / max(abs(e), floor)) for g, e in zip(got.tolist(), expected, strict=True)
        ]
    assert max(errors) <= bound, (max(errors), x[int(np.argmax(errors))])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "gamma",
            [(0.0, INF), (-0.0, -INF), (INF, INF), (-INF, NAN), (-1.0, NAN), (-2.0, NAN), (171.7, INF), (TINY, INF)],
        ),
        ("gamma", [(-200.5, -0.0), (-TINY, -INF), (NAN, NAN)]),
        (
            "lgamma",
            [(0.0, INF), (-0.0, INF), (INF, INF), (-INF, INF), (-3.0, INF), (TINY, 744.4400719213812), (NAN, NAN)],
        ),
        ("digamma", [(0.0, NAN), (-1.0, NAN), (INF, INF), (-INF, NAN), (1e-310, -INF), (NAN, NAN)]),
        ("trigamma", [(0.0, INF), (-1.0, INF), (INF, 0.0), (1e-160, INF), (NAN, NAN)]),
    ],
)
def test_special_values_of_gamma_functions(name: str, expected: list[tuple[float, float]]) -> None:
    """Poles and limits are those of the C library's gamma functions; digamma is NaN at its poles, from either side."""
    x, values = np.array(expected).T
    np.testing.assert_allclose(_evaluate(getattr(gammafunctions, name), x.copy()), values, rtol=1e-15)


def test_gamma_underflows_through_subnormal_numbers() -> None:
    x = np.linspace(-183.3, -171.2, 50)
    with mpmath.workdps(40):
        expected = [mpmath.gamma(mpmath.mpf(v)) for v in x.tolist()]
    for got, value in zip(_evaluate(gammafunctions.gamma, x).tolist(), expected, strict=True):
        assert abs(mpmath.mpf(got) - value) <= max(abs(value) * 1e-13, TINY)


# --- Bessel functions ---------------------------------------------------------------------------------------------

BESSEL_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "besselj0": lambda x: mpmath.besselj(0, x),
    "besselj1": lambda x: mpmath.besselj(1, x),
    "jinc": lambda x: 2 * mpmath.besselj(1, x) / x,
    "jinc_prime": lambda x: -2 * mpmath.besselj(2, x) / x,
}


@pytest.mark.parametrize("name", BESSEL_FUNCTIONS)
def test_bessel_functions(name: str) -> None:
    """Polynomials of numbers below one are right to a few of its roundings, 1.1e-16."""
    rng = np.random.default_rng(3)
    x = np.concatenate(
        [
            rng.uniform(-8, 8, 1000),
            rng.uniform(8, 100, 1000),
            _signs(rng, 800) * 10 ** rng.uniform(-300, 8, 800),
            _seams(8.0),
            scipy.special.jn_zeros(0, 30),
            scipy.special.jn_zeros(1, 30),
        ]
    )
    got = _evaluate(getattr(besselfunctions, name), x)
    with mpmath.workdps(40):
        errors = [
            float(abs(BESSEL_FUNCTIONS[name](mpmath.mpf(v)) - mpmath.mpf(g)))
            for v, g in zip(x.tolist(), got.tolist(), strict=True)
        ]
    assert max(errors) <= 2e-15, (max(errors), x[int(np.argmax(errors))])


@pytest.mark.parametrize(
    ("name", "at_zero"), [("besselj0", 1.0), ("besselj1", 0.0), ("jinc", 1.0), ("jinc_prime", 0.0)]
)
def test_special_values_of_bessel_functions(name: str, at_zero: float) -> None:
    got = _evaluate(getattr(besselfunctions, name), np.array([0.0, -0.0, INF, -INF, NAN]))
    np.testing.assert_array_equal(got, [at_zero, at_zero, 0.0, 0.0, NAN])


# --- the Faddeeva function ----------------------------------------------------------------------------------------


def _plane(region: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    n = 250
    if region == "core":
        return rng.uniform(-12, 12, n), 10 ** rng.uniform(-5, 1.1, n)
    if region == "axis":
        return rng.uniform(0, 27, n), np.append(10 ** rng.uniform(-300, -6, n - 50), np.zeros(50))
    if region == "slope":
        return rng.uniform(4, 12, n), 10 ** rng.uniform(-24, -1, n)
    if region == "zero":
        return 10 ** rng.uniform(-150, 0, n), 10 ** rng.uniform(-150, 0, n)
    if region == "wing":
        return _signs(rng, n) * 10 ** rng.uniform(0.7, 6, n), 10 ** rng.uniform(-6, 1, n)
    if region == "far":
        return 10 ** rng.uniform(1.8, 150, n), 10 ** rng.uniform(-150, 150, n)
    # Nodes, the middle between two, the strip of the pole, and where derivatives change to the series.
    step = math.sqrt(math.pi / 12)
    x = [k * step / 4 for k in range(52)] + _seams(10.0, step / 4, 3 * step / 4, math.sqrt(50)) + [1e8, 0.0]
    y = [0.0, 1e-8, 0.3, *(abs(v) for v in _seams(math.pi / step, math.sqrt(50))[::2])]
    pairs = np.array([(a, b) for a in x for b in y])
    return pairs[:, 0], pairs[:, 1]


@pytest.mark.parametrize("region", ["core", "axis", "slope", "zero", "wing", "far", "seams"])
def test_faddeeva(region: str) -> None:
    """Each part of w keeps its digits; so do those of w' but for |z|^2 times the rounding of w, those of w'' twice so."""
    x, y = _plane(region)
    got = np.empty((6, x.size))
    _faddeeva_loop(x, y, got)
    expected = np.array(
        [[float(v) for v in exact_faddeeva(a, b)] for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    ).T
    # Parts of derivatives have zeros inside |z| < 10, and so lose digits of themselves but not of the whole.
    size = np.repeat(np.hypot(expected[::2], expected[1::2]), 2, axis=0)
    for part, of_itself, of_whole in zip(
        range(6), (3e-15, 4e-15, 0, 0, 0, 0), (0, 0, 2e-13, 2e-13, 2e-11, 2e-11), strict=True
    ):
        normal = np.abs(expected[part]) > 1e-290
        scale = np.where(of_itself, np.abs(expected[part]), size[part])
        error = np.where(normal, np.abs(got[part] - expected[part]) / np.where(normal, scale, 1), 0)
        worst = int(np.argmax(error))
        assert error[worst] <= max(of_itself, of_whole), (PARTS[part], x[worst], y[worst], error[worst])


def test_real_part_of_derivatives_next_to_the_axis() -> None:
    """There real parts of w' and w'' are as small as y or exp(-x^2), and are as right as the imaginary ones."""
    x, y = _plane("axis")
    got = np.empty((6, x.size))
    _faddeeva_loop(x, y, got)
    expected = np.array(
        [[float(v) for v in exact_faddeeva(a, b)] for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    ).T
    ordinary = (np.abs(expected[[2, 4]]) > 1e-290) & (x > 2)
    error = np.abs(got[[2, 4]] / np.where(ordinary, expected[[2, 4]], 1) - 1)[ordinary]
    assert error.max() < 1e-11


def test_faddeeva_below_the_axis() -> None:
    """Where w = 2 exp(-z^2) - w(-z), a rounding of x or y changes it by 2 |z|^2 roundings, and it is right to that."""
    rng = np.random.default_rng(5)
    x, y = 10 ** rng.uniform(-3, 1.3, 300), -(10 ** rng.uniform(-10, 1.2, 300))
    got = np.empty((6, x.size))
    _faddeeva_loop(x, y, got)
    for i in range(x.size):
        expected = exact_faddeeva(x[i], y[i])
        for part in (0, 2, 4):
            error = abs(mpmath.mpc(*got[part : part + 2, i]) - mpmath.mpc(*expected[part : part + 2]))
            bound = (1 + x[i] ** 2 + y[i] ** 2) * 2e-15 * (1, 100, 1e4)[part // 2]
            assert error <= bound * abs(mpmath.mpc(*expected[part : part + 2])), (PARTS[part], x[i], y[i])


def test_faddeeva_as_in_scipy() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.uniform(-20, 20, 5000), 10 ** rng.uniform(-3, 2, 5000)
    got = np.empty((6, x.size))
    _faddeeva_loop(x, y, got)
    w = scipy.special.wofz(x + 1j * y)
    # SciPy claims 1e-13.
    assert (np.abs(got[0] + 1j * got[1] - w) / np.abs(w)).max() < 1e-13


def test_special_values_of_faddeeva() -> None:
    """It vanishes at infinity in the upper half plane, is one at zero, NaN for NaN, and overflows below the real axis."""
    x = np.array([0.0, -0.0, INF, -INF, 0.0, 1e200, NAN, 0.0, 0.0, 1e-300])
    y = np.array([0.0, -0.0, 0.0, 1.0, INF, 1e-200, 0.0, NAN, -30.0, 1e-300])
    got = np.empty((6, x.size))
    _faddeeva_loop(x, y, got)
    np.testing.assert_allclose(got[0], [1, 1, 0, 0, 0, 0, NAN, NAN, INF, 1], atol=1e-300)
    np.testing.assert_allclose(got[1, :6], [0, 0, 0, 0, 0, 1 / math.sqrt(math.pi) / 1e200], atol=1e-216)


# --- in loops and kernels -----------------------------------------------------------------------------------------

EVERY = {
    name: getattr(module, name)
    for module, names in (
        (errorfunctions, ERROR_FUNCTIONS),
        (gammafunctions, GAMMA_FUNCTIONS),
        (besselfunctions, BESSEL_FUNCTIONS),
    )
    for name in names
}


def _assert_vectorised(loop: Any) -> None:
    """Arithmetic on vectors stands in the optimised code, and no call is left."""
    code = "\n".join(loop.inspect_llvm().values())
    assert len(re.findall(r"= fmul\b.*<\d+ x double>", code)) > 4
    assert len(re.findall(r"= fadd\b.*<\d+ x double>", code)) > 4
    assert not re.findall(r"call .*double @(?!llvm\.)[^\n]*", code)


@pytest.mark.parametrize("name", EVERY)
def test_loops_vectorise(name: str) -> None:
    loop = _loop(EVERY[name])
    loop(np.linspace(0.1, 1, 8), np.empty(8))
    _assert_vectorised(loop)


def test_loop_over_faddeeva_vectorises() -> None:
    _faddeeva_loop(np.ones(8), np.ones(8), np.empty((6, 8)))
    _assert_vectorised(_faddeeva_loop)


def test_kernels_call_the_faddeeva_function_once() -> None:
    """All parts that a value and its gradient need come from one call."""
    for text, names in (("A*wofz_real(x/s, g)*wofz_imag(x/s, g)", "A s g"), ("A*voigt(x - c, s, g)", "A c s g")):
        source = kernel_source(FormulaKernel(text, ("x",), tuple(names.split())))
        one, eight = source.split("def kernel(")[1].split("def lane_kernel(")
        assert one.count("wofz(") == eight.count("wofz(") == 1


# --- in formulas --------------------------------------------------------------------------------------------------

OURS = {name: parser.FUNCTIONS[name] for name in [*FUNCTIONS, "erf", "erfc", "digamma", "gamma", "loggamma"]}
ARGUMENTS = {1: "a*x + b", 2: "a*x + b, x/2 + b", 3: "a*x, b, x/2"}


def _kernel_rows(text: str, x: np.ndarray, **values: float) -> tuple[np.ndarray, tuple[str, ...]]:
    """Gradient rows, then the value, by the compiled kernel."""
    kernel = Expression(text, name="e").kernel
    tile = aligned_rows(len(kernel.parameters) + 1)
    tile[:] = 0.0
    p = np.array([values[name] for name in kernel.parameters])

    # The value comes last, after the rows of the gradient.
    rows = len(kernel.parameters)

    @numba.njit
    def call(address: int, x: np.ndarray, p: np.ndarray, tile: np.ndarray) -> None:
        call_kernel(address, x, 0, x.shape[1], p, 0, tile, rows * PITCH, tile, 0, x.shape[1], p)

    call(compiled_kernel(kernel).address, x[None], p, tile)
    return tile[:, : x.size].copy(), kernel.parameters


@pytest.mark.parametrize("name", OURS)
def test_kernel_with_its_gradient(name: str) -> None:
    """Value and gradient agree with numerical differentiation by mpmath, in 40 digits, of the exact function."""
    text = f"{name}({ARGUMENTS[OURS[name]]})"
    # From w'' the third derivative is made by the recurrence, which loses |z|^2 of its digits once more.
    tolerance = 1e-9 if name.startswith("wofz_second") else 1e-11
    x = np.array([0.0, 0.7, 2.9, 8.3])
    rows, parameters = _kernel_rows(text, x, a=1.3, b=0.4)
    expr = parser.parse(text)
    symbols = [parser.symbol(n) for n in ("x", *parameters)]

    def value(*point: Any) -> Any:
        numbers = {s: sympy.Float(p, 60) for s, p in zip(symbols, point, strict=True)}
        return mpmath.mpf(expr.xreplace(numbers).evalf(45)._mpf_)

    with mpmath.workdps(60):
        for i, at in enumerate(x.tolist()):
            point = [mpmath.mpf(at), *(mpmath.mpf({"a": 1.3, "b": 0.4}[n]) for n in parameters)]
            assert rows[-1, i] == pytest.approx(float(value(*point)), rel=tolerance / 100, abs=1e-15)
            for k in range(len(parameters)):
                up, down = list(point), list(point)
                step = mpmath.mpf("1e-15")
                up[k + 1] += step
                down[k + 1] -= step
                slope = float((value(*up) - value(*down)) / (2 * step))
                assert rows[k, i] == pytest.approx(slope, rel=tolerance, abs=1e-14), (parameters[k], at)


@pytest.mark.parametrize("name", OURS)
def test_text_round_trip(name: str) -> None:
    """What is printed, of derivatives too, is read back as the same."""
    expr = parser.parse(f"{name}({', '.join('xyz'[: OURS[name]])})")
    assert parser.parse(parser.to_text(expr)) == expr
    slope = calculus.derivative(expr, "x")
    again = parser.parse(parser.to_text(slope))
    point = {parser.symbol(n): v for n, v in zip("xyz", (0.7, 1.1, 0.4), strict=True)}
    assert float(again.evalf(subs=point)) == pytest.approx(float(slope.evalf(subs=point)), rel=1e-14)


def test_voigt_gradient_in_the_far_wing() -> None:
    """Nothing cancels in the gradient out to a million widths."""
    x = np.concatenate([np.linspace(-30, 30, 41), 10 ** np.linspace(1, 6, 26)])
    sigma, gamma = 0.8, 0.05
    rows, parameters = _kernel_rows("A*voigt(x - c, sigma, gamma)", x, A=1.0, c=0.0, sigma=sigma, gamma=gamma)
    with mpmath.workdps(60):
        s = mpmath.mpf(sigma)
        parts = [
            exact_faddeeva_of(mpmath.mpf(v) / (s * mpmath.sqrt(2)), mpmath.mpf(gamma) / (s * mpmath.sqrt(2))) for v in x
        ]
        unit = mpmath.sqrt(2 * mpmath.pi)
        expected = {
            "A": [p[0] / (s * unit) for p in parts],
            "c": [-p[2] / (s * unit) / (s * mpmath.sqrt(2)) for p in parts],
            "gamma": [-p[3] / (s * unit) / (s * mpmath.sqrt(2)) for p in parts],
            "sigma": [p[4] / (2 * unit * s**2) for p in parts],
        }
    for k, name in enumerate(parameters):
        want = np.array([float(v) for v in expected[name]])
        # Where |z| < 10 the curvature has zeros: to its size at the centre.
        tolerance = 1e-11 * np.abs(want) + np.where(np.abs(x) < 12, 1e-14, 0)
        assert (np.abs(rows[k] - want) <= tolerance).all(), name


def exact_faddeeva_of(x: Any, y: Any) -> list[Any]:
    """Parts of w, w' and w'' at numbers of mpmath's, upper half plane."""
    if abs(x) > 60:
        return _exact_far(x, y)
    with mpmath.workdps(60 + int(x * x)):
        z = mpmath.mpc(x, y)
        values = _derivatives(mpmath.exp(-z * z) * mpmath.erfc(-1j * z), z, 3)
        return [part for v in values for part in (v.real, v.imag)]


@pytest.mark.parametrize("name", [*OURS, "trigamma"])
def test_ties(name: str) -> None:
    """The stack machine of ties agrees with sympy's evaluation, with derivatives where there are any."""
    arity = parser.FUNCTIONS[name]
    text = f"{name}({', '.join(['m.b', 'm.c', 'm.d'][:arity])})"
    if name == "trigamma":
        text = text.replace("m.b", "2") + "*m.b"
    ties = compile_ties({"m.a": text}, ("m.a", "m.b", "m.c", "m.d"))
    q = np.array([NAN, 0.7, 1.9, 0.3])
    point = {parser.symbol(f"m.{n}"): v for n, v in zip("bcd", q[1:], strict=True)}
    stack, slopes = np.empty(STACK), np.empty(ties.row.size)
    apply_ties(ties, q, stack)
    assert q[0] == pytest.approx(float(parser.parse(text).evalf(subs=point)), rel=1e-12)
    tie_derivatives(ties, q, slopes, stack)
    for slope, column in zip(slopes, ties.column, strict=True):
        derivative = calculus.derivative(parser.parse(text), ("m.a", "m.b", "m.c", "m.d")[column])
        assert slope == pytest.approx(float(derivative.evalf(subs=point)), rel=1e-11)


def test_evaluation_of_formulas_far_from_zero() -> None:
    """Ties in Python evaluate by mpmath, at once and right, whatever the size of the argument."""
    for x, y in [(1e150, 1.0), (-300.0, 1e-3), (70.0, 0.0), (0.0, 1e20)]:
        numbers = {parser.symbol("x"): sympy.Float(x, 17), parser.symbol("y"): sympy.Float(y, 17)}
        value = float(parser.parse("wofz_real(x, y)").xreplace(numbers).evalf(17))
        assert value == pytest.approx(float(exact_faddeeva(x, y)[0]), rel=1e-14)
