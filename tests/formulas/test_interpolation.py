"""Tables and their splines, in one and two arguments, against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline, RectBivariateSpline, make_interp_spline

from tests.support.vectors import vectors
from xfit.engine.codegen.kernel_cache import load_kernel
from xfit.engine.codegen.kernel_source import kernel_source
from xfit.engine.math.call import call_kernel
from xfit.engine.math.layout import LANE_PITCH, LANES, PITCH
from xfit.formulas.kernel_spec import FormulaKernel, Lookup
from xfit.formulas.spline_table import Table, is_even

EVEN = np.linspace(-2, 5, 29)
UNEVEN = EVEN + 0.05 * np.sin(7 * EVEN)


def kernel_of(table: Table, arguments: tuple[str, ...]) -> FormulaKernel:
    return FormulaKernel("a*s + b", ("x",), ("a", "b", "c"), lookups=(Lookup("s", table, arguments),))


def run(kernel: FormulaKernel, x: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Value and derivatives, by the kernel of one pixel; checked against that of eight."""
    import numba

    compiled = load_kernel(repr(kernel), lambda: kernel_source(kernel))
    call = numba.njit(lambda *args: call_kernel(*args))
    n, count = x.size, len(p)
    out = np.zeros((count + 1, PITCH))
    call(compiled.address, x[None].copy(), 0, n, p, 0, out, 0, out, PITCH, n, np.zeros(1))
    lanes = vectors((count + 1) * LANE_PITCH)
    eight = np.repeat(p, LANES) * np.tile(1 + 0.01 * np.arange(LANES), count)
    scratch = vectors(compiled.scratch // LANES + 1)
    call(compiled.lane_address, x[None].copy(), 0, n, eight, 0, lanes, 0, lanes, LANE_PITCH * LANES, n, scratch)
    for lane in range(LANES):
        one = np.zeros((count + 1, PITCH))
        own = np.ascontiguousarray(eight[lane::LANES])
        call(compiled.address, x[None].copy(), 0, n, own, 0, one, 0, one, PITCH, n, np.zeros(1))
        found = lanes.reshape(count + 1, LANE_PITCH, LANES)[:, :n, lane]
        np.testing.assert_allclose(found, one[:, :n], rtol=1e-13, atol=1e-13)
    return out[:, :n]


@pytest.mark.parametrize("points", [EVEN, UNEVEN, EVEN[:2], EVEN[:3], UNEVEN[:4]])
def test_a_spline_of_one_argument(points: np.ndarray) -> None:
    """Within the grid, at its points and beyond both ends: the not-a-knot spline of SciPy, and its derivative."""
    values = np.exp(-(points**2)) + points
    x = np.concatenate([points, np.linspace(points[0] - 0.5, points[-1] + 0.5, 57 - points.size)])
    table = Table((points,), values)
    found = run(kernel_of(table, ("x - c",)), x, np.array([3.0, 2.0, 0.1]))
    spline = make_interp_spline(points, values, k=min(3, points.size - 1))
    # Two ways to solve for the same coefficients, and polynomials of order one.
    np.testing.assert_allclose(found[0], 3 * spline(x - 0.1) + 2, rtol=1e-11)
    np.testing.assert_allclose(found[1], spline(x - 0.1), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found[3], -3 * spline(x - 0.1, 1), rtol=1e-9, atol=1e-10)


def test_a_spline_of_two_arguments() -> None:
    u, v = np.linspace(0, 4, 21), np.linspace(-1, 2, 16)
    values = np.sin(u)[:, None] * np.exp(0.3 * v) + u[:, None] * v
    x = np.linspace(0.05, 3.9, 50)
    found = run(kernel_of(Table((u, v), values), ("x", "c/2")), x, np.array([3.0, 2.0, 0.7]))
    spline, c = RectBivariateSpline(u, v, values, s=0), np.array([0.35])
    np.testing.assert_allclose(found[0], 3 * spline(x, c).ravel() + 2, rtol=1e-11)
    np.testing.assert_allclose(found[3], 1.5 * spline(x, c, dy=1).ravel(), rtol=1e-9, atol=1e-10)
    slopes = run(kernel_of(Table((u, v), values), ("x + c", "c/2")), x, np.array([3.0, 2.0, 0.1]))[3]
    c = np.array([0.05])
    expected = 3 * spline(x + 0.1, c, dx=1) + 1.5 * spline(x + 0.1, c, dy=1)
    np.testing.assert_allclose(slopes, expected.ravel(), rtol=1e-9, atol=1e-10)


def test_what_is_nowhere_stays_unknown() -> None:
    found = run(kernel_of(Table((EVEN,), EVEN**2), ("x/c",)), np.array([1.0, 0.0]), np.array([1.0, 0.0, 0.0]))
    assert np.isnan(found[0, 1])
    assert not np.isfinite(found[0, 0])


def test_tables_are_equal_if_their_numbers_are() -> None:
    one = Table((EVEN,), EVEN**2)
    assert one == Table((EVEN.copy(),), EVEN**2)
    assert hash(one) == hash(Table((EVEN.copy(),), EVEN**2))
    assert one != Table((EVEN,), EVEN**3)
    assert one != Table((UNEVEN,), EVEN**2)
    assert one != 3
    assert is_even(EVEN)
    assert not is_even(UNEVEN)
    assert one.pieces.shape == (28, 4)
    np.testing.assert_allclose(one.pieces, CubicSpline(EVEN, EVEN**2).c[::-1].T)


@pytest.mark.parametrize(
    ("points", "values", "message"),
    [
        ((EVEN,), EVEN[:4], "don't go with grids"),
        ((EVEN[:1],), EVEN[:1], "too small"),
        ((EVEN[::-1],), EVEN, "must rise"),
        ((np.where(EVEN > 3, np.nan, EVEN),), EVEN, "must rise, and be finite"),
        ((EVEN,), np.full(29, np.inf), "values must be finite"),
        ((EVEN, UNEVEN), np.ones((29, 29)), "even steps"),
    ],
)
def test_bad_tables_are_refused(points: tuple[np.ndarray, ...], values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Table(points, values)
