"""Special functions in loops, kernels, formulas and ties."""

from __future__ import annotations

import re
from typing import Any

import mpmath
import numba
import numpy as np
import pytest
import sympy

from tests.support.special_references import (
    BESSEL_FUNCTIONS,
    ERROR_FUNCTIONS,
    GAMMA_FUNCTIONS,
    NAN,
    _derivatives,
    _exact_far,
    _faddeeva_loop,
    _loop,
    exact_faddeeva,
)
from xfit.components import Expression
from xfit.engine.codegen.kernel_source import kernel_source
from xfit.engine.codegen.program import compiled_kernel
from xfit.engine.codegen.tie_compiler import compile_ties
from xfit.engine.evaluation.tie_machine import STACK, apply_ties, tie_derivatives
from xfit.engine.math import bessel_functions as besselfunctions
from xfit.engine.math import error_functions as errorfunctions
from xfit.engine.math import gamma_functions as gammafunctions
from xfit.engine.math.call import call_kernel
from xfit.engine.math.layout import PITCH
from xfit.formulas import calculus, parser
from xfit.formulas.kernel_spec import FormulaKernel
from xfit.formulas.special_functions import FUNCTIONS

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


OURS = {name: parser.FUNCTIONS[name] for name in [*FUNCTIONS, "erf", "erfc", "digamma", "gamma", "loggamma"]}


ARGUMENTS = {1: "a*x + b", 2: "a*x + b, x/2 + b", 3: "a*x, b, x/2"}


def _kernel_rows(text: str, x: np.ndarray, **values: float) -> tuple[np.ndarray, tuple[str, ...]]:
    """Gradient rows, then the value, by the compiled kernel."""
    kernel = Expression(text, name="e").kernel
    tile = np.zeros((len(kernel.parameters) + 1, PITCH))
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
