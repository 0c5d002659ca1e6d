"""Special functions of kernels against mpmath over their whole range, at the seams of their methods, in formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import scipy.special

from tests.support.special_references import (
    BESSEL_FUNCTIONS,
    ERROR_FUNCTIONS,
    GAMMA_FUNCTIONS,
    INF,
    NAN,
    TINY,
    _faddeeva_loop,
    _loop,
    exact_faddeeva,
)
from xfit.engine.math import bessel_functions as besselfunctions
from xfit.engine.math import error_functions as errorfunctions
from xfit.engine.math import gamma_functions as gammafunctions

PARTS = ("Re w", "Im w", "Re w'", "Im w'", "Re w''", "Im w''")


def _evaluate(function: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    _loop(function)(x, out)
    return out


def _signs(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.choice([-1.0, 1.0], n)


def _seams(*places: float) -> list[float]:
    """Each place and its neighbours, on either side of zero."""
    return [s * v for p in places for v in (p, np.nextafter(p, 0), np.nextafter(p, INF)) for s in (1, -1)]


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
    """Each part of w keeps its digits; so do those of w' but for |z|^2 times the rounding of
    w, those of w'' twice so.
    """
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
    """It vanishes at infinity in the upper half plane, is one at zero, NaN for NaN, and
    overflows below the real axis.
    """
    x = np.array([0.0, -0.0, INF, -INF, 0.0, 1e200, NAN, 0.0, 0.0, 1e-300])
    y = np.array([0.0, -0.0, 0.0, 1.0, INF, 1e-200, 0.0, NAN, -30.0, 1e-300])
    got = np.empty((6, x.size))
    _faddeeva_loop(x, y, got)
    np.testing.assert_allclose(got[0], [1, 1, 0, 0, 0, 0, NAN, NAN, INF, 1], atol=1e-300)
    np.testing.assert_allclose(got[1, :6], [0, 0, 0, 0, 0, 1 / math.sqrt(math.pi) / 1e200], atol=1e-216)
