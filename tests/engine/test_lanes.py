"""Pixels side by side against the same arithmetic and the same fits one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
import xarray as xr

from tests.support.builders import assert_same_bits, param_values, peak_map, statuses, two_peaks
from tests.support.vectors import vectors
from xfit import Model
from xfit.components import Expression, Gaussian, Offset, PowerLaw
from xfit.engine.codegen.program import compiled_kernel
from xfit.engine.math import bessel_functions as besselfunctions
from xfit.engine.math import elementary as special
from xfit.engine.math import error_functions as errorfunctions
from xfit.engine.math import gamma_functions as gammafunctions
from xfit.engine.math.call import call_kernel
from xfit.engine.math.layout import LANE_PITCH, LANES
from xfit.engine.math.vector import any_lane, bits_of, from_bits, load, negation, reals, select, store
from xfit.formulas.kernel_spec import FormulaKernel

A = np.array([1.5, -2.0, 0.0, -0.0, np.nan, np.inf, -np.inf, 3e-310])
B = np.array([2.0, -2.0, 1.0, 0.0, 1.0, np.inf, 5.0, 1e300])

OPERATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "arithmetic": (lambda a, b: (a + b) * 2.0 - a / (1 + b), lambda a, b: (a + b) * 2 - a / (1 + b)),
    "minus": (lambda a, b: -a - b, lambda a, b: -a - b),
    "roots": (lambda a, b: math.sqrt(abs(a)) + abs(b), lambda a, b: np.sqrt(np.abs(a)) + np.abs(b)),
    "floor and sign": (lambda a, b: np.floor(a) * np.sign(b), lambda a, b: np.floor(a) * np.sign(b)),
    "nearest": (lambda a, b: np.rint(a) + b, lambda a, b: np.rint(a) + b),
    "less": (lambda a, b: select(a < b, 1.0, 2.0), lambda a, b: np.where(a < b, 1.0, 2.0)),
    "equal": (lambda a, b: select(a == b, a, 7.0), lambda a, b: np.where(a == b, a, 7.0)),
    "unequal": (lambda a, b: select(a != b, a, b), lambda a, b: np.where(a != b, a, b)),
    "both": (lambda a, b: select((a <= b) & (a >= -2.0), a, b), lambda a, b: np.where((a <= b) & (a >= -2), a, b)),
    "either": (lambda a, b: select((a > b) | (b == 1.0), a, b), lambda a, b: np.where((a > b) | (b == 1), a, b)),
    "not": (lambda a, b: select(negation(a < b), a, b), lambda a, b: np.where(~(a < b), a, b)),
    "bits": (
        lambda a, b: from_bits(((bits_of(a) >> 3) << 3) ^ (bits_of(b) & 7)),
        lambda a, b: (((a.view(np.int64) >> 3) << 3) ^ (b.view(np.int64) & 7)).view(np.float64),
    ),
    "odd": (lambda a, b: select(bits_of(a) & 1, a, b), lambda a, b: np.where(a.view(np.int64) & 1, a, b)),
    "equal bits": (
        lambda a, b: select((bits_of(a) & 3) == 0, a, b),
        lambda a, b: np.where((a.view(np.int64) & 3) == 0, a, b),
    ),
    "integers": (
        lambda a, b: from_bits(bits_of(a) + select(a > b, 1, 0)),
        lambda a, b: (a.view(np.int64) + np.where(a > b, 1, 0)).view(np.float64),
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_on_vectors(name: str) -> None:
    """Every operation gives the bits that NumPy gives, special values included."""
    written, expected = OPERATIONS[name]
    function = numba.njit(error_model="numpy")(written)

    @numba.njit(error_model="numpy")
    def run(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        for i in range(a.size // LANES):
            store(out, i + 1, reals(function(load(a, i), load(b, i))))

    out = np.zeros(LANES + A.size)
    run(A, B, out)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(out[LANES:], expected(A, B))
    assert (out[:LANES] == 0).all()


def test_any_lane() -> None:
    """A condition on vectors branches where it holds anywhere."""

    @numba.njit
    def run(a: np.ndarray, limit: float) -> bool:
        return any_lane(load(a, 0) > limit)

    a = np.arange(float(LANES))
    assert run(a, LANES - 1.5)
    assert not run(a, LANES - 1.0)


FUNCTIONS = {
    special: ("exp", "log", "tanh", "atan", "sin", "cos", "heaviside", "sign", "square"),
    errorfunctions: ("erf", "erfc", "erfcx", "erfcx_prime"),
    gammafunctions: ("gamma", "lgamma", "digamma", "trigamma"),
    besselfunctions: ("besselj0", "besselj1", "jinc", "jinc_prime"),
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in FUNCTIONS for name in FUNCTIONS[module]])
def test_special_functions_of_vectors(module: Any, name: str) -> None:
    """Vectors of arguments give what each argument gives alone.

    Two units in the last place are allowed, for products and sums may be fused differently.
    """
    function = getattr(module, name)

    @numba.njit(error_model="numpy")
    def run(x: np.ndarray, wide: np.ndarray, single: np.ndarray) -> None:
        for i in range(x.size // LANES):
            store(wide, i, reals(function(load(x, i))))
        for i in range(x.size):
            single[i] = function(x[i])

    x = np.concatenate(
        [np.random.default_rng(1).normal(0, 30, 400), A, [1.0, 0.5, 710.0, -745.5, 1e-300, 1e9, -7.25, 2.0]]
    )
    wide, single = np.empty(x.size), np.empty(x.size)
    run(x, wide, single)
    finite = np.isfinite(single)
    np.testing.assert_array_equal(wide[~finite], single[~finite])
    assert (np.abs(wide[finite] - single[finite]) <= 2 * np.spacing(np.abs(single[finite]))).all()


@pytest.mark.parametrize(
    "text",
    [
        "a*exp(-(x - b)**2)",
        "a*x**b",
        "where(x > a, b*x, exp(-x))",
        "where(abs(x) < 1, a, b*x)",
        "where(exp(x) < 2, a*sin(x), b*x)",
        "where(x > 2, a*exp(b), exp(-x))",
        "where(x > 2, 0, a*exp(b*x))",
        "a*log(x)*sqrt(x) + b*log(x)",
        "erf(a*x)*b",
        "minimum(a*x, b) + maximum(a, x)",
        "atan2(a*x, b)*tan(x/9)",
        "gamma(a*x) + digamma(x)*b",
        "sinh(a*x/9)*asin(x/9)*b",
        "a*voigt(x - b, 0.3, a)",
        "wofz_real(x, 0.5)*a + wofz_imag(x - 2, b)",
        "erfcx(a*x)*b",
        "jinc(a*x)*b",
        "a + b*x",
        "a*cos(b*x)*sqrt(x + 2)",
        "a*abs(x - b)",
    ],
)
@pytest.mark.parametrize("constants", [(), ("b",)])
@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_kernels_of_vectors(text: str, constants: tuple[str, ...], shared: float) -> None:
    """A component's kernel for pixels side by side gives what its kernel for one gives for each."""
    expression = Expression(text, name="e").kernel.expression
    kernel = FormulaKernel(expression, ("x",), ("a", "b"), constants)
    compiled = compiled_kernel(kernel)
    n, rng = 37, np.random.default_rng(3)
    x = np.ascontiguousarray(rng.uniform(0.4, 3.3, (1, n)))
    p = rng.uniform(0.5, 1.5, (2, LANES))
    if constants and shared:
        p[1] = p[1, 0]
    tile = vectors(3 * LANE_PITCH)
    scratch = vectors(compiled.scratch // LANES + 1)
    scratch[0] = shared
    one = np.zeros((3, 520))

    @numba.njit
    def call(address: int, x: np.ndarray, p: np.ndarray, f: np.ndarray, at: int, n: int, scratch: np.ndarray) -> None:
        call_kernel(address, x, 0, x.shape[1], p, 0, f, at, f, 0, n, scratch)

    call(compiled.lane_address, x, p, tile, 2 * LANE_PITCH * LANES, n, scratch)
    rows = tile.reshape(3, LANE_PITCH, LANES)[:, :n]
    for lane in range(LANES):
        one[:] = 0.0
        call(compiled.address, x, np.ascontiguousarray(p[:, lane]), one, 2 * 520, n, scratch)
        np.testing.assert_allclose(rows[:, :, lane], one[:, :n], rtol=1e-13, atol=1e-14)


def _masked(da: xr.DataArray) -> xr.DataArray:
    values = da.values.copy()
    values[0, 1, 3] = np.nan
    values[1, 2, :20] = np.inf
    values[2, 0] = np.nan
    return da.copy(data=values)


def _tied() -> Model:
    model = two_peaks()
    model["right"].sigma.tie("1.3*left.sigma")
    return model


def _bounded() -> Model:
    model = two_peaks()
    model["left"].centre.set(min=5.2, max=5.9)
    model["right"].A.set(max=24.0, value=20.0)
    model["bg"].offset.set(min=0.0)
    return model


def _fixed() -> Model:
    model = two_peaks()
    model["right"].centre.set(value=13.0, free=False)
    return model


CASES: dict[str, tuple[Callable[[], Model], dict[str, Any]]] = {
    "plain": (two_peaks, {}),
    "unbounded": (two_peaks, {"bounded": False}),
    "weighted": (two_peaks, {"variance": 0.04, "scale_covariance": False}),
    "binned": (two_peaks, {"binned": True}),
    "tied": (_tied, {}),
    "bounds": (_bounded, {}),
    "fixed": (_fixed, {}),
    "covariance": (two_peaks, {"covariance": True}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("masked", [False, True])
def test_side_by_side_is_one_by_one(case: str, masked: bool, one_by_one: Callable[[], None]) -> None:
    """Every variable agrees to the accuracy at which fits stop, and statuses, degrees of freedom and bounds exactly."""
    build, options = CASES[case]
    da = peak_map((5, 5))
    da = _masked(da) if masked else da
    together = da.fit.multifit(build(), **options)
    one_by_one()
    alone = da.fit.multifit(build(), **options)
    for name in ("status", "dof", "at_bound"):
        np.testing.assert_array_equal(together[name], alone[name])
    assert "converged" in statuses(together)
    np.testing.assert_allclose(together["chisq"], alone["chisq"], rtol=1e-10)
    # An estimated distance to the minimum of 1e-12 of the variance is 1e-6 standard errors.
    error = np.nan_to_num(alone["stderr"].values) + 1e-9
    assert (np.nan_to_num(np.abs(together["value"] - alone["value"]).values) <= 1e-5 * error).all()
    np.testing.assert_allclose(together["stderr"], alone["stderr"], rtol=1e-5)
    if options.get("covariance"):
        np.testing.assert_allclose(together["covariance"], alone["covariance"], rtol=1e-4, atol=1e-9)


def test_a_pixel_does_not_depend_on_who_is_beside_it() -> None:
    """To the bit: in another order, alone, and among pixels that are lost or need many steps."""
    da = peak_map((1, 21)).isel(y=0)
    values = da.values
    values[4] = 1e4 * np.random.default_rng(5).normal(size=values.shape[1])
    values[9] = np.nan
    values[11, 5:9] = np.nan
    values[14] = 0.0
    model = _bounded()
    whole = da.fit.multifit(model)
    order = np.random.default_rng(6).permutation(21)
    assert_same_bits(da.isel(x=order).fit.multifit(model), whole.isel(x=order))
    for k in (0, 11, 12, 20):
        assert_same_bits(da.isel(x=[k]).fit.multifit(model), whole.isel(x=[k]))


@pytest.mark.parametrize("loss", ["poisson", "huber", "cauchy"])
def test_extrapolated_steps_do_not_depend_on_who_is_beside(loss: str) -> None:
    """To the bit: pixels whose steps are extrapolated beside such whose steps have to be damped."""
    x = np.linspace(0, 10, 100)
    counts = np.random.default_rng(0).poisson(5 + 60 * np.exp(-((x - 4) ** 2) / 2), (42, 100))
    da = xr.DataArray(counts, dims=("p", "x"), coords={"x": x})
    model = Model([Gaussian(name="g", A=100, centre=4.5, sigma=1), Offset(name="o", offset=4)])
    whole = da.fit.multifit(model, loss=loss)
    for k in (8, 37, 41):
        assert_same_bits(da.isel(p=[k]).fit.multifit(model, loss=loss), whole.isel(p=[k]))


def test_few_evaluations_allowed(one_by_one: Callable[[], None]) -> None:
    """A limit on evaluations is kept, and said."""
    da = peak_map((3, 3))
    together = da.fit.multifit(two_peaks(), max_nfev=3)
    one_by_one()
    assert_same_bits(together, da.fit.multifit(two_peaks(), max_nfev=3))
    assert set(statuses(together)) == {"max_nfev"}
    assert int(together["nfev"].max()) <= 3


def test_a_constant_given_as_a_map_is_a_constant() -> None:
    """A power law whose origin is the model's, or a map of the same number, or one of other numbers."""
    energy = np.linspace(100, 300, 80)
    origin = np.array([0.0, 20.0, -30.0])
    values = 1e6 * (energy - origin[:, None]) ** -2.5
    da = xr.DataArray(values, dims=("x", "energy"), coords={"energy": energy})
    model = Model([PowerLaw(name="bg", A=5e5, r=2.3)])
    same = xr.zeros_like(da.isel(energy=0, drop=True))
    plain = da.isel(x=[0]).fit.multifit(model)
    mapped = da.isel(x=[0]).fit.multifit(model, start={"bg.origin": same.isel(x=[0])})
    np.testing.assert_allclose(mapped["value"], plain["value"], rtol=1e-9)
    fit = da.fit.multifit(model, start={"bg.origin": same.copy(data=origin)})
    np.testing.assert_allclose(param_values(fit, "bg.A"), 1e6, rtol=1e-7)
    np.testing.assert_allclose(param_values(fit, "bg.r"), 2.5, rtol=1e-8)
    free = model.copy()
    free["bg"].origin.free = True
    fit = da.fit.multifit(free, max_nfev=2000)
    np.testing.assert_allclose(param_values(fit, "bg.origin"), origin, atol=1e-3)


def test_common_factors_and_signs() -> None:
    """A Gaussian's gradients take one subtraction and its exponential is computed once."""
    from xfit.engine.codegen.kernel_source import kernel_source
    from xfit.formulas.kernel_spec import FormulaKernel

    kernel = Gaussian(name="g").kernel
    assert isinstance(kernel, FormulaKernel)
    source = kernel_source(kernel)
    loop = source[source.index("def lane_kernel") :].split("for i in range(n):")[-1]
    assert loop.count("x0") == 2
    assert loop.count("exp(") == 1


@pytest.mark.parametrize("name", ["Fe.centre", "bg.origin"])
def test_a_start_map_in_chunks_of_one_pixel(name: str) -> None:
    """What pixels share is told by the arguments, not by how many pixels a chunk has: bits are the same."""
    energy = np.linspace(600, 800, 150)
    centre = np.linspace(704, 712, 9)
    clean = 4e10 * energy**-3 + 60 * np.exp(-((energy - centre[:, None]) ** 2) / 18)
    counts = np.random.default_rng(8).poisson(clean).astype(float)
    da = xr.DataArray(counts, dims=("x", "energy"), coords={"energy": energy})
    model = Model([PowerLaw(name="bg", A=3e10, origin=1.5), Gaussian(name="Fe", A=400, centre=708, sigma=3)])
    start = {name: xr.DataArray(centre if name == "Fe.centre" else np.full(9, 1.5), dims="x")}
    whole = da.fit.multifit(model, start=start)
    assert set(statuses(whole)) == {"converged"}
    assert_same_bits(da.chunk(x=1).fit.multifit(model, start=start).compute(), whole)
