"""Kernels against their NumPy and SciPy twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import lsq_linear

import xfit
from xfit.components import Gaussian, Polynomial
from xfit.engine.codegen.loss_kernels import load_loss
from xfit.engine.codegen.program import Channels, Program
from xfit.engine.codegen.tie_compiler import compile_ties
from xfit.engine.losses import Loss
from xfit.engine.pixel.amplitudes import MOVED, relax
from xfit.engine.pixel.evaluate import Spectrum, aligned_rows, gram_at, weigh
from xfit.engine.pixel.gram import add_gram
from xfit.engine.pixel.loss_functions import Deviations
from xfit.engine.pixel.steps import FREE, bounded_step, solve_cholesky, solve_triangular, triangularise
from xfit.engine.pixel.tie_machine import STACK, apply_ties, tie_derivatives
from xfit.formulas import calculus, parser


def normal_equations(jacobian: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Gram matrix of the rows of a Jacobian and a residual, as the engine keeps it."""
    rows = np.vstack([jacobian, residual])
    return rows @ rows.T


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray]:
    """A Jacobian (5 rows of 40 channels, norms over four decades) and a residual."""
    rng = np.random.default_rng(3)
    return rng.normal(size=(5, 40)) * np.array([1, 10, 0.1, 1000, 3])[:, None], rng.normal(size=40)


@pytest.mark.parametrize("count", range(1, 11))
@pytest.mark.parametrize("n", [1, 8, 25, 512])
def test_gram_matrix(count: int, n: int) -> None:
    """The lower triangle is that of ``A @ A.T``; sums of 512 products differ by rounding."""
    tile = aligned_rows(count)
    tile[:] = np.random.default_rng(count).normal(size=tile.shape)
    rows = np.array([*range(count), *[count - 1] * 3])
    gram = np.zeros((count, count))
    add_gram(tile, rows, count, n, gram)
    np.testing.assert_allclose(np.tril(gram), np.tril(tile[:, :n] @ tile[:, :n].T), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_damped_step_by_both_solvers(problem: tuple[np.ndarray, np.ndarray], damping: float) -> None:
    """Cholesky and QR give the solution of the damped normal equations."""
    jacobian, residual = problem
    gram = normal_equations(jacobian, residual)
    norm = np.linalg.norm(jacobian, axis=1)
    expected = np.linalg.solve(jacobian @ jacobian.T + damping * np.diag(norm**2), jacobian @ residual)
    step = np.zeros(5)
    free, chosen = np.full(5, FREE), np.zeros(5, np.int64)
    assert solve_cholesky(gram, 5, norm, damping, norm, free, chosen, np.zeros((6, 10)), step) > 0
    np.testing.assert_allclose(step, expected, rtol=1e-11)
    factor = np.vstack([jacobian, residual]).copy()
    triangularise(factor, 5, 40)
    np.testing.assert_allclose(
        np.abs(np.tril(factor[:5, :5]).T), np.abs(np.linalg.qr(jacobian.T)[1]), rtol=1e-10, atol=1e-9
    )
    step[:] = 0
    assert solve_triangular(factor, 5, damping, norm, free, np.zeros((6, 10)), step) > 0
    np.testing.assert_allclose(step, expected, rtol=1e-11)


def test_bounded_step(problem: tuple[np.ndarray, np.ndarray]) -> None:
    """With one bound in the way the step is the solution of the bounded problem."""
    jacobian, residual = problem
    norm = np.linalg.norm(jacobian, axis=1)
    whole = np.linalg.lstsq(jacobian.T, residual, rcond=None)[0]
    lower, upper = np.full(5, -np.inf), np.full(5, np.inf)
    upper[1] = 0.5 * whole[1] if whole[1] > 0 else np.inf
    lower[1] = 0.5 * whole[1] if whole[1] < 0 else -np.inf
    step, state = np.zeros(5), np.zeros(5, np.int64)
    bounded_step(
        normal_equations(jacobian, residual), np.zeros((6, 40)), False, 5, norm, np.zeros(5), 0.0, norm, np.zeros(5), lower, upper, state,
        np.zeros(5, np.int64), np.zeros((6, 10)), step,
    )  # fmt: skip
    expected = lsq_linear(jacobian.T, residual, bounds=(lower, upper), tol=1e-14).x
    np.testing.assert_allclose(step, expected, rtol=1e-6, atol=1e-9)  # lsq_linear's own tolerance
    assert state[1] != FREE


def test_weigh() -> None:
    """NaN, infinite and masked channels are left out; a variance of zero is reported."""
    y = np.array([1.0, np.nan, 3.0, np.inf, 5.0])
    variance = np.array([4.0, 1.0, np.nan, 1.0, 0.25])
    weighted, factor = np.zeros(5), np.zeros(5)
    plain, used, valid = weigh(y, variance, np.empty(0, bool), np.full(5, 2.0), weighted, factor)
    assert (plain, used, valid) == (False, 2, True)
    np.testing.assert_array_equal(factor, [1.0, 0, 0, 0, 4.0])
    np.testing.assert_array_equal(weighted, [0.5, 0, 0, 0, 10.0])
    variance[0] = 0.0
    assert not weigh(y, variance, np.empty(0, bool), np.empty(0), weighted, factor)[2]


TIES = ["2*b + c/3", "exp(-b)*log(c)", "sqrt(c)**3", "where(b > 1, b, c)", "atan2(b, c) + minimum(b, c)*maximum(b, 1)",
        "erf(b)*erfc(c) + gamma(c) + loggamma(c)", "sinh(b) - cosh(c) + tanh(b) + asin(b/9)*acos(b/9) + atan(c)",
        "abs(b - c) + sign(b) + heaviside(c)", "b**c"]  # fmt: skip


@pytest.mark.parametrize("text", TIES)
def test_ties_and_their_derivatives(text: str) -> None:
    """The stack machine agrees with sympy's own evaluation, derivatives included."""
    named = parser.substitute(text, {"b": "m.b", "c": "m.c"})
    ties = compile_ties({"m.a": named}, ("m.a", "m.b", "m.c"))
    q = np.array([math.nan, 0.7, 1.9])
    point = {parser.symbol("m.b"): q[1], parser.symbol("m.c"): q[2]}
    stack, slopes = np.empty(STACK), np.empty(2)
    apply_ties(ties, q, stack)
    assert q[0] == pytest.approx(float(parser.parse(named).evalf(subs=point)), rel=1e-12)
    tie_derivatives(ties, q, slopes, stack)
    for slope, column in zip(slopes, ties.column, strict=False):
        expected = calculus.derivative(parser.parse(named), ("m.a", "m.b", "m.c")[column]).evalf(subs=point)
        assert slope == pytest.approx(float(expected), rel=1e-11)


def test_best_amplitudes_by_algebra_are_those_of_an_evaluation() -> None:
    """The Gram matrix that `relax` derives is the one that the model gives at the amplitudes that it chose."""
    program = Program.from_model(xfit.Model([Gaussian(name="g"), Polynomial(1, name="p")])).load()
    x = np.linspace(0, 10, 64)[None]
    y = 3 * np.exp(-((x[0] - 5) ** 2) / 2) + 1 + 0.1 * x[0] + 0.05 * np.sin(40 * x[0])
    deviations = Deviations(load_loss(Loss()), 0.0, np.empty(0), np.empty((5, 1)), False)
    spectrum = Spectrum(y, np.ones(64), True, 64, 64, deviations)
    free = np.arange(5)
    rows = np.array([0, 1, 2, 3, 4, 5, 5, 5, 5])

    def gram_of(q: np.ndarray) -> np.ndarray:
        gram = np.zeros((6, 6))
        gram_at(
            program.structure(np.ones(2, bool), np.zeros(2, bool), Channels(x, np.empty((0, 0)), 0)),
            program.ties,
            x,
            spectrum,
            q,
            rows,
            5,
            np.zeros(1),
            np.empty(STACK),
            False,
            np.empty(0),
            aligned_rows(7),
            gram,
        )
        return np.tril(gram)

    q = np.array([4.0, 4.8, 1.2, 0.5, 0.0])
    gram, values = gram_of(q), q.copy()
    norm = np.sqrt(np.diag(gram)[:5])
    work = (np.zeros(5, np.int64), np.zeros(5, np.int64), np.zeros((6, 10)), np.zeros(5))
    none = np.full(5, np.inf)
    assert relax(gram, 5, program.amplitudes(free), values, q, -none, none, norm, *work, False, False) == MOVED
    assert (values[[1, 2]] == q[[1, 2]]).all()
    assert not (values[[0, 3, 4]] == q[[0, 3, 4]]).any()
    np.testing.assert_allclose(gram, gram_of(values), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("text", ["gamma(a*x)", "loggamma(a*x + 1)", "digamma(2*x)*a", "a*heaviside(x - b) + sign(x - b)", "abs(a*x - b)",
                                  "minimum(a*x, b) + maximum(a, x)", "atan2(a*x, b)", "cbrt(a*x)", "a*log10(x) + log2(b*x)",
                                  "tan(a*x/9) + asin(x/9)*a + acos(x/9)", "erf(a*x) - erfc(x/b)", "sinh(a*x/9)*cosh(b)"])  # fmt: skip
def test_every_function_compiles_with_its_gradient(text: str) -> None:
    """Kernel values and gradients against sympy's own evaluation."""
    from xfit.components import Expression
    from xfit.engine.codegen.program import compiled_kernel
    from xfit.engine.math.call import call_kernel
    from xfit.engine.math.layout import PITCH

    kernel = Expression(text, name="e").kernel
    x = np.linspace(0.4, 3.3, 9)
    p = np.array([1.3, 0.9])[: len(kernel.parameters)]
    tile = aligned_rows(3)
    tile[:] = 0.0

    import numba

    @numba.njit
    def call(address: int, x: np.ndarray, p: np.ndarray, tile: np.ndarray) -> None:
        call_kernel(address, x, 0, 9, p, 0, tile, 2 * PITCH, tile, 0, 9, p)

    call(compiled_kernel(kernel).address, x, p, tile)
    expr = parser.parse(kernel.expression)
    rows = [calculus.derivative(expr, name) for name in kernel.parameters]
    for row, expected in [*enumerate(rows), (2, expr)]:
        for i, at in enumerate(x):
            point = {parser.symbol("x"): at} | {parser.symbol(n): v for n, v in zip(kernel.parameters, p, strict=True)}
            assert tile[row, i] == pytest.approx(float(expected.evalf(20, subs=point)), rel=1e-11, abs=1e-13)
