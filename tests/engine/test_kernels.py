"""Kernels against their NumPy and SciPy twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import lsq_linear

import xfit
from tests.support.states import state_at, state_for, triangle_of
from xfit.components import Gaussian, Offset, Polynomial
from xfit.engine.block.precompile import prepare_engine
from xfit.engine.codegen.program import Program
from xfit.engine.codegen.tie_compiler import compile_ties
from xfit.engine.evaluation.evaluate import gram_at
from xfit.engine.evaluation.gram import add_gram
from xfit.engine.evaluation.state import AT_LOWER, AT_UPPER
from xfit.engine.evaluation.tie_machine import STACK, apply_ties, tie_derivatives
from xfit.engine.lm.amplitudes import relax
from xfit.engine.lm.qr import solve_triangular, triangularise
from xfit.engine.lm.steps import step_by_cholesky
from xfit.engine.math.cholesky import triangle
from xfit.engine.math.layout import PITCH
from xfit.engine.pixel.packed_row import further_at, scalars_at
from xfit.engine.pixel.rows import Block, prepare
from xfit.engine.pixel.scalars import STATUS
from xfit.engine.pixel.status import BAD_VARIANCE
from xfit.formulas import calculus, parser


@pytest.fixture(autouse=True, scope="module")
def _pieces() -> None:
    """What functions of the engine call by symbols."""
    for part in ("pixel", "ties", "axis", "loss"):
        prepare_engine(part)


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray]:
    """A Jacobian (5 rows of 40 channels, norms over four decades) and a residual."""
    rng = np.random.default_rng(3)
    return rng.normal(size=(5, 40)) * np.array([1, 10, 0.1, 1000, 3])[:, None], rng.normal(size=40)


@pytest.mark.parametrize("count", range(1, 11))
@pytest.mark.parametrize("n", [8, 24, 512])
def test_gram_matrix(count: int, n: int) -> None:
    """The lower triangle is that of ``A @ A.T``; sums of 512 products differ by rounding."""
    model = xfit.Model([Polynomial(count - 1, name="p") if count > 1 else Offset(name="p")])
    _, _, state = state_for(model, np.zeros((1, n)), np.zeros(n))
    tile = state.tile[: (count + 1) * PITCH].reshape(count + 1, PITCH)
    tile[:] = np.random.default_rng(count).normal(size=tile.shape)
    gram = np.zeros(triangle(count + 1))
    add_gram(state, n, gram)
    np.testing.assert_allclose(gram, triangle_of(tile[:, :n] @ tile[:, :n].T), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_damped_step_by_both_solvers(problem: tuple[np.ndarray, np.ndarray], damping: float) -> None:
    """Cholesky and QR give the solution of the damped normal equations."""
    jacobian, deviations = problem
    norm = np.linalg.norm(jacobian, axis=1)
    expected = np.linalg.solve(jacobian @ jacobian.T + damping * np.diag(norm**2), jacobian @ deviations)
    state = state_at(jacobian, deviations)
    assert step_by_cholesky(state, damping)
    np.testing.assert_allclose(state.step, expected, rtol=1e-11)
    triangularise(state.jacobian, 5, 40)
    np.testing.assert_allclose(
        np.abs(np.tril(state.jacobian[:5, :5]).T), np.abs(np.linalg.qr(jacobian.T)[1]), rtol=1e-10, atol=1e-9
    )
    state.step[:] = 0
    assert solve_triangular(state, damping) > 0
    np.testing.assert_allclose(state.step, expected, rtol=1e-11)


def test_bounded_step(problem: tuple[np.ndarray, np.ndarray]) -> None:
    """With one bound in the way the step is the solution of the bounded problem."""
    jacobian, deviations = problem
    whole = np.linalg.lstsq(jacobian.T, deviations, rcond=None)[0]
    state = state_at(jacobian, deviations)
    if whole[1] > 0:
        state.upper[1] = 0.5 * whole[1]
    else:
        state.lower[1] = 0.5 * whole[1]
    assert step_by_cholesky(state, 0.0)
    expected = lsq_linear(jacobian.T, deviations, bounds=(state.lower, state.upper), tol=1e-14).x
    np.testing.assert_allclose(state.step, expected, rtol=1e-6, atol=1e-9)  # lsq_linear's own tolerance
    assert state.side[1] in (AT_LOWER, AT_UPPER)


def test_weighing_of_data() -> None:
    """NaN, infinite and masked channels are left out; a variance of zero is a status."""
    y = np.array([[1.0, np.nan, 3.0, np.inf, 5.0]])
    variance = np.array([[4.0, 1.0, np.nan, 1.0, 0.25]])
    _, problem, state = state_for(xfit.Model([Offset(name="p")]), np.zeros((1, 8)), np.zeros(5))
    table, out = np.zeros((1, 1)), np.full((1, further_at(1)), np.nan)
    wide = np.full((1, 1), np.inf)
    pairs = np.empty((0, 2), np.int64)

    def prepared() -> bool:
        everything = np.empty((1, 0), bool)
        return prepare(
            problem, state, Block(y, variance, everything, np.full(5, 2.0), table, -wide, wide, pairs, out), 0
        )

    assert prepared()
    assert (state.plain, state.whole, state.used) == (False, False, 2)
    np.testing.assert_array_equal(state.m[:5], [1.0, 0, 0, 0, 4.0])
    np.testing.assert_array_equal(state.y[:5], [0.5, 0, 0, 0, 10.0])
    variance[0, 0] = 0.0
    assert not prepared()
    assert out[0, scalars_at(1) + STATUS] == BAD_VARIANCE


TIES = [
    "2*b + c/3",
    "exp(-b)*log(c)",
    "sqrt(c)**3",
    "where(b > 1, b, c)",
    "atan2(b, c) + minimum(b, c)*maximum(b, 1)",
    "erf(b)*erfc(c) + gamma(c) + loggamma(c)",
    "sinh(b) - cosh(c) + tanh(b) + asin(b/9)*acos(b/9) + atan(c)",
    "abs(b - c) + sign(b) + heaviside(c)",
    "b**c",
]


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
    x = np.linspace(0, 10, 64)[None]
    y = 3 * np.exp(-((x[0] - 5) ** 2) / 2) + 1 + 0.1 * x[0] + 0.05 * np.sin(40 * x[0])
    model = xfit.Model([Gaussian(name="g"), Polynomial(1, name="p")])
    codes = Program.from_model(model).load().amplitudes(np.arange(5))
    _, problem, state = state_for(model, x, y, codes)
    q = np.array([4.0, 4.8, 1.2, 0.5, 0.0])
    state.q[:], state.trial[:] = q, q
    gram_at(problem, state, state.trial, False, state.gram_trial)
    assert relax(state, state.gram_trial, True, False) == (True, False)
    values = state.trial.copy()
    assert (values[[1, 2]] == q[[1, 2]]).all()
    assert not (values[[0, 3, 4]] == q[[0, 3, 4]]).any()
    gram = np.zeros_like(state.gram_trial)
    gram_at(problem, state, values, False, gram)
    np.testing.assert_allclose(state.gram_trial[:21], gram[:21], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "gamma(a*x)",
        "loggamma(a*x + 1)",
        "digamma(2*x)*a",
        "a*heaviside(x - b) + sign(x - b)",
        "abs(a*x - b)",
        "minimum(a*x, b) + maximum(a, x)",
        "atan2(a*x, b)",
        "cbrt(a*x)",
        "a*log10(x) + log2(b*x)",
        "tan(a*x/9) + asin(x/9)*a + acos(x/9)",
        "erf(a*x) - erfc(x/b)",
        "sinh(a*x/9)*cosh(b)",
    ],
)
def test_every_function_compiles_with_its_gradient(text: str) -> None:
    """Kernel values and gradients against sympy's own evaluation."""
    from xfit.components import Expression
    from xfit.engine.codegen.program import compiled_kernel
    from xfit.engine.math.call import call_kernel

    kernel = Expression(text, name="e").kernel
    x = np.linspace(0.4, 3.3, 9)
    p = np.array([1.3, 0.9])[: len(kernel.parameters)]
    tile = np.zeros((3, PITCH))

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
