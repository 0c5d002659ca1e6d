"""Models that are finite everywhere, with derivatives that are not: right values come from scipy.optimize.curve_fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import curve_fit

import xfit
from xfit import Model
from xfit.components import Expression, Offset, PowerLaw
from xfit.engine.pixel.status import CONVERGED, NONFINITE_DERIVATIVE

T = np.arange(0.0, 20.0)
FAR = np.linspace(-60.0, 60.0, 241)

#: A free exponent at zero, exponentials that overflow: formula, function, coordinate, true values, start.
MODELS: dict[str, tuple[str, Callable[..., Any], np.ndarray, tuple[float, ...], tuple[float, ...]]] = {
    "power": ("D*x**a", lambda x, D, a: D * x**a, T, (0.5, 0.8), (1.0, 1.0)),
    "stretched": (
        "A*exp(-(x/tau)**b)",
        lambda x, A, tau, b: A * np.exp(-((x / tau) ** b)),
        T,
        (100, 2, 0.6),
        (80, 1.5, 0.8),
    ),
    "hill": ("A*x**n/(k**n + x**n)", lambda x, A, k, n: A * x**n / (k**n + x**n), T, (10, 3, 2.2), (8, 2, 1.5)),
    "step": (
        "A - A/(1 + exp(-(x - m)/w))",
        lambda x, A, m, w: A - A / (1 + np.exp(-(x - m) / w)),
        FAR,
        (9, 0.3, 0.05),
        (8, 0.2, 0.06),
    ),
    "sech": (
        "A/cosh((x - c)/w)**2",
        lambda x, A, c, w: A / np.cosh((x - c) / w) ** 2,
        FAR,
        (30, 0.5, 0.4),
        (25, 0.45, 0.06),
    ),
    "planck": (
        "s*x**-5/(exp(14387.7/(x*T)) - 1)",
        lambda x, s, T: s * x**-5 / (np.exp(14387.7 / (x * T)) - 1),
        np.linspace(0.05, 30, 200),
        (1e6, 300),
        (5e5, 250),
    ),
}


def names_of(function):
    return function.__code__.co_varnames[1 : function.__code__.co_argcount]


@pytest.mark.parametrize("optimizer", ["lm", "varpro", "trf", "L-BFGS-B"])
@pytest.mark.parametrize("name", MODELS)
def test_values_are_those_of_scipy(name, optimizer):
    formula, function, x, truth, start = MODELS[name]
    with np.errstate(all="ignore"):
        y = function(x, *truth)
        y = y + 1e-3 * y.max() * np.sin(37 * np.arange(x.size))
        expected, _ = curve_fit(function, x, y, p0=truth)
        chisq = ((function(x, *expected) - y) ** 2).sum()
    model = Model([Expression(formula, name="m", **dict(zip(names_of(function), start, strict=True)))])
    fit = xr.DataArray(y, dims="x", coords={"x": x}).fit(model, optimizer=optimizer)
    if optimizer == "L-BFGS-B" and fit.status != CONVERGED:
        pytest.skip("L-BFGS-B stops before the minimum on some of these, and says so")
    assert fit.status == CONVERGED
    # What SciPy's curve_fit leaves by its differences is below a millionth.
    assert float(fit.chisq) <= chisq * (1 + 1e-6)
    assert np.isfinite(fit.stderr).all()


def test_a_map_of_decays_that_begin_at_zero():
    """In all pixels at once, with noise: errors are those of curve_fit, to the differences
    that it takes derivatives by.
    """
    formula, function, x, truth, start = MODELS["stretched"]
    y = function(x, *truth) + np.random.default_rng(3).normal(0, 0.5, (20, x.size))
    model = Model([Expression(formula, name="m", **dict(zip(names_of(function), start, strict=True)))])
    fit = xr.DataArray(y, dims=("p", "x"), coords={"x": x}).fit.multifit(model)
    assert (fit.status == CONVERGED).all()
    names = [f"m.{name}" for name in names_of(function)]
    for k in range(20):
        with np.errstate(all="ignore"):
            values, covariance = curve_fit(function, x, y[k], p0=truth)
        np.testing.assert_allclose(fit.value.sel(param=names)[k], values, rtol=1e-5)
        np.testing.assert_allclose(fit.stderr.sel(param=names)[k], np.sqrt(np.diag(covariance)), rtol=1e-4)


def test_a_registered_function_at_the_edge_of_its_domain():
    @xfit.component
    def root(x, a=1.0, c=1.0):
        return a * np.sqrt(x - c)

    x = np.linspace(1, 10, 50)
    fit = xr.DataArray(2 * np.sqrt(x - 0.3), dims="x", coords={"x": x}).fit(Model([root(name="m")]))
    assert fit.status == CONVERGED
    np.testing.assert_allclose(fit.value, [2, 0.3], rtol=1e-7)


def test_through_ties():
    """The tie's derivative is infinite at the start, zero, where the model is finite."""
    x = np.linspace(0, 5, 40)
    model = Model([Expression("a*x", name="m", a={"value": 0.0, "min": 0.0}), Offset(name="o", offset=1.0)])
    model["o.offset"].tie("sqrt(m.a)")
    fit = xr.DataArray(4 * x + 2, dims="x", coords={"x": x}).fit(model)
    assert fit.status == CONVERGED
    np.testing.assert_allclose(fit.value.sel(param="m.a"), 4, rtol=1e-8)


def test_through_a_response():
    """The rows of a convolved component are mended before the convolution, which would spread what is not finite."""
    h = 0.1
    x = np.round(np.arange(0.0, 6.0, h), 10)
    u = np.round(np.arange(0.0, 0.6, h), 10)
    weights = np.exp(-u)
    weights /= weights.sum()
    grid = x[0] - u[-1] + h * np.arange(x.size + u.size - 1)
    curve = np.where(grid < 0, 0.0, 3.0 * np.maximum(grid, 0.0) ** 0.7)
    y = np.convolve(curve, weights, mode="valid")
    c = Expression("where(x < 0, 0, A*maximum(x, 0)**a)", name="m", A=2.0, a=1.0)
    fit = xr.DataArray(y, dims="x", coords={"x": x}).fit(
        Model([c], response=xr.DataArray(weights, dims="x", coords={"x": u}))
    )
    assert fit.status == CONVERGED
    np.testing.assert_allclose(fit.value, [3.0, 0.7], rtol=1e-6)


def test_whole_exponents_of_negative_numbers():
    """As HyperSpy's power law has it, whose base is negative below its origin: 0.25 at 1 with origin 3 and r = 2."""
    e = Expression("a*(x - x0)**n", name="e", n=2.0, x0=3.0, a=1.0)
    e["n"].free = False
    x = np.linspace(0, 6, 30)
    fit = xr.DataArray(2 * (x - 3.3) ** 2, dims="x", coords={"x": x}).fit(Model([e]))
    assert fit.status == CONVERGED
    np.testing.assert_allclose(fit.value.sel(param=["e.a", "e.x0"]), [2, 3.3], rtol=1e-9)
    da = xr.DataArray([1.0, 2.0, 4.0], dims="x", coords={"x": [1.0, 2.0, 4.0]})
    power = PowerLaw(A=1, r=2, origin=3, name="p")
    power["r"].free = False
    # Linear in A: the model is the curve times a number, so that the ratios of its values are those of the curve.
    curve = da.fit(Model([power])).fit.evaluate().values
    np.testing.assert_allclose(curve / curve[1], [0.25, 1, 1], rtol=1e-14)


def test_whole_exponents_of_negative_numbers_in_some_channels_of_a_map():
    """Channels are computed some at a time, faster where no base is negative: here it is so in the first
    of them, and in the others not.
    """
    power = PowerLaw(name="p", r=3.0, origin=2.95, left_cutoff=-1.0)
    power["r"].free = False
    x = np.linspace(0, 20, 200)
    factor, offset = np.linspace(0.5, 3, 24), np.linspace(5, -5, 24)
    da = xr.DataArray(factor[:, None] * (x - 2.95) ** -3.0 + offset[:, None], dims=("p", "x"), coords={"x": x})
    found = da.fit.multifit(Model([power, Offset(name="o")]), optimizer="lm")
    # Linear in both: exact but for rounding beside values of 4e3 next to the origin.
    np.testing.assert_allclose(found.value.sel(param="p.A"), factor, rtol=1e-12)
    np.testing.assert_allclose(found.value.sel(param="o.offset"), offset, atol=1e-10)


@pytest.mark.parametrize("optimizer", ["lm", "trf", "BFGS"])
def test_where_nothing_helps_the_status_names_parameter_and_channel(optimizer):
    """(x - 3)**n is finite for n = 2 alone: there is no derivative with respect to n below 3, nor a difference."""
    x = np.linspace(0, 6, 30)
    model = Model([Expression("a*(x - 3)**n", name="e", n=2.0, a=1.0)])
    fit = xr.DataArray(2 * (x - 3) ** 2, dims="x", coords={"x": x}).fit(model, optimizer=optimizer)
    assert fit.status == NONFINITE_DERIVATIVE
    assert "with respect to e.n, at x=0.0" in fit.attrs["message"]
    assert np.isnan(fit.stderr).all()
    assert "with respect to e.n, at x=0.0" in str(fit.fit.report())


def test_one_pixel_with_an_unknown_derivative_stops_no_other():
    x = np.linspace(1, 10, 50)
    data = xr.DataArray(np.stack([2 * np.sqrt(x - 0.5), 2 * np.sqrt(x - 0.3)]), dims=("p", "x"), coords={"x": x})
    start = {"m.c": xr.DataArray([0.4, 1.0], dims="p")}  # in the second pixel the radicand is 0 in the first channel
    for optimizer in ("lm", "varpro", "trf", "dogbox", "SLSQP"):
        model = Model([Expression("a*sqrt(x - c)", name="m", a=1.0)])
        fit = data.fit.multifit(model, start=start, optimizer=optimizer)
        assert (fit.status == CONVERGED).all(), optimizer
        np.testing.assert_allclose(fit.fit["m.c"], [0.5, 0.3], rtol=1e-5)
