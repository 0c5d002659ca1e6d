"""What is called converged is a minimum, what is called singular has parameters that nothing
tells, and bounds are let go of.
"""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import lsq_linear, nnls

from tests.support.builders import statuses
from xfit import Model
from xfit.components import (
    Exponential,
    Expression,
    Gaussian,
    Lorentzian,
    Offset,
    PearsonVII,
    Polynomial,
    ScalableFixedPattern,
    Voigt,
)
from xfit.engine.pixel.status import CONVERGED, SINGULAR, STALLED

X = np.linspace(-10, 10, 201)


def noisy(curve, sigma=0.3, pixels=40):
    return curve + np.random.default_rng(0).normal(0, sigma, (pixels, curve.size))


def spectra(data, x=X):
    return xr.DataArray(data, dims=("p", "x"), coords={"x": x})


def spectrum(data, x):
    return xr.DataArray(data, dims="x", coords={"x": x})


def test_a_pearson_profile_of_a_gaussian_peak_has_the_values_of_its_chisq():
    """Its exponent belongs at infinity, where it has no influence: a full step goes anywhere."""
    da = spectra(noisy(100 / np.sqrt(2 * np.pi) / 1.5 * np.exp(-((X - 0.3) ** 2) / 4.5)))
    fit = da.fit.multifit(Model([PearsonVII(name="c", A=100, centre=0, fwhm=3)]))
    gauss = da.fit.multifit(Model([Gaussian(name="c", A=100, sigma=1.5)]))
    chisq = ((fit.fit.evaluate() - da) ** 2).sum("x")
    np.testing.assert_allclose(chisq, fit.chisq, rtol=1e-9)
    # The Gaussian is its limit: no worse, but for what an exponent of some thousands is worse than infinity.
    assert (fit.chisq <= gauss.chisq * (1 + 1e-4)).all()


@pytest.mark.parametrize("optimizer", ["lm", "varpro"])
def test_a_square_that_the_data_make_negative_stays_within_its_bounds(optimizer):
    e = Expression("c + a**2*exp(-(x-5)**2)", name="m", a=1.0, c=9.0)
    e["a"].set(min=-5, max=5)
    x = np.linspace(0, 10, 101)
    da = spectra(np.stack([10 + np.random.default_rng(s).normal(0, 1, x.size) for s in range(100)]), x)
    fit = da.fit.multifit(Model([e]), optimizer=optimizer)
    np.testing.assert_allclose((fit.fit.residual(da) ** 2).sum("x"), fit.chisq, rtol=1e-9)
    assert (abs(fit.fit["m.a"]) < 4).all()


@pytest.mark.parametrize(
    ("start", "low", "high"), [(2.0, -1, 3), (2.0, -1, 5), (1.0, -1, 3), (2.9, -1, None), (0.5, None, 1.0)]
)
def test_a_minimum_where_the_derivative_is_zero(start, low, high):
    """Scipy's test_least_squares: p**2 + 5 has its minimum at 0, between the bounds."""
    e = Expression("i1*p**2 + i2*q", name="m", coordinates=("i1", "i2"), p=start, q=0.0)
    e["p"].set(min=low, max=high)
    da = xr.DataArray([-5.0, 0.0], dims="s", coords={"i1": ("s", [1.0, 0]), "i2": ("s", [0.0, 1])})
    fit = da.fit(Model([e]))
    assert abs(float(fit.fit["m.p"])) < 1e-5
    assert float(fit.chisq) == pytest.approx(25, rel=1e-9)


@pytest.mark.parametrize("background", [Offset, lambda name: Polynomial(1, name=name)])
@pytest.mark.parametrize("centre", [-10, -13, -16, -22, 121])
def test_a_line_outside_of_the_data_does_not_keep_the_background_from_its_best(centre, background):
    x = np.linspace(0, 100, 201)
    da = spectrum(50 + 10 * np.exp(-((x - 60) ** 2) / 8), x)
    alone = da.fit(Model([background(name="o")]))
    fit = da.fit(Model([Gaussian(name="g", A=1, centre=centre, sigma=1), background(name="o")]))
    assert float(fit.chisq) <= float(alone.chisq) * (1 + 1e-9)


def test_an_exponential_with_its_defaults_far_from_zero():
    x = np.arange(36, 73.0)
    y = np.array(
        [
            4,
            4,
            4,
            6,
            6,
            13,
            22,
            22,
            26,
            28,
            38,
            48,
            55,
            65,
            65,
            92,
            112,
            134,
            171,
            210,
            267,
            307,
            353,
            436,
            669,
            669,
            818,
            1029,
            1219,
            1405,
            1617,
            1791,
            2032,
            2032,
            2182,
            2298,
            2389.0,
        ]
    )
    da = spectrum(y, x)
    fit = da.fit(Model([Exponential(name="e"), Offset(name="o")]))
    assert float(fit.chisq) <= float(da.fit(Model([Offset()])).chisq) * (1 + 1e-9)
    # The best fit is at A=1.908, tau=-9.839 (scipy.optimize.curve_fit of x - 36), chisq 569924.6: only there it is
    # converged.
    assert fit.status != CONVERGED or float(fit.chisq) == pytest.approx(569924.5876, rel=1e-6)


@pytest.mark.parametrize("optimizer", ["lm", "varpro"])
def test_a_second_line_outside_of_the_data_does_not_stop_the_first(optimizer):
    """Chisq 45.82 and centre 29.999 are scipy.optimize.leastsq's from the same start."""
    x = np.linspace(20, 40, 200)
    y = 100 * np.exp(-((x - 30) ** 2) / 2 / 1.5**2) + 5 + np.random.default_rng(0).normal(0, 0.5, x.size)
    far = Gaussian(name="far", A=50, centre=10, sigma=1)
    far.A.free = False
    model = Model([Gaussian(name="g", A=200, centre=31, sigma=1.2), Offset(name="o", offset=2), far])
    fit = spectrum(y, x).fit(model, optimizer=optimizer)
    assert float(fit.chisq) == pytest.approx(45.82, abs=0.01)
    assert float(fit.fit["g.centre"]) == pytest.approx(29.999, abs=1e-3)
    assert fit.status == SINGULAR


def test_box_three_dimensional():
    """More, Garbow and Hillstrom's, from where one exponential has died away: the best of
    the others is 0.07559 at 0.6136.
    """
    t = 0.1 * np.arange(1, 11.0)
    e = Expression(
        "exp(-t*p1)-exp(-t*p2)-p3*(exp(-t)-exp(-10*t))", name="m", coordinates=("t",), p1=0.1, p2=1000.0, p3=20.0
    )
    fit = xr.DataArray(0 * t, dims="s", coords={"t": ("s", t)}).fit(Model([e]))
    assert fit.status == SINGULAR
    assert float(fit.chisq) == pytest.approx(0.07558874, rel=1e-6)
    assert float(fit.fit["m.p1"]) == pytest.approx(0.6136003, rel=1e-6)


def test_powell_badly_scaled():
    """It has the minimum 0; one Gauss-Newton step in p1 alone gives 1.02e-8."""
    e = Expression("i1*1e4*p1*p2 + i2*(exp(-p1)+exp(-p2))", name="m", coordinates=("i1", "i2"), p1=0.0, p2=100.0)
    fit = xr.DataArray([1, 1.0001], dims="s", coords={"i1": ("s", [1.0, 0]), "i2": ("s", [0.0, 1])}).fit(Model([e]))
    assert float(fit.chisq) <= 1.02e-8


def test_a_voigt_profile_of_a_lorentzian_line():
    """At its bound the Gaussian width has no derivative; the others have the values and errors of the Lorentzian."""
    da = spectra(noisy(100 / np.pi * 1.5 / ((X - 0.3) ** 2 + 2.25)))
    start = {"area": 100, "centre": 0, "gamma": 1, "sigma": 1}
    fit = da.fit.multifit(Model([Voigt(name="v", **start)]))
    lorentz = da.fit.multifit(Model([Lorentzian(name="l", A=100, gamma=1)]))
    assert set(statuses(fit)) == {"converged"}
    bound = (fit.at_bound.sel(param="v.sigma") == -1).values
    assert 5 < bound.sum() < 35
    for ours, theirs in (("area", "A"), ("centre", "centre"), ("gamma", "gamma")):
        np.testing.assert_allclose(fit.fit[f"v.{ours}"][bound], lorentz.fit[f"l.{theirs}"][bound], rtol=1e-6)
        # One degree of freedom less: the errors are scaled by another reduced chi-squared.
        errors = fit.fit.stderr(f"v.{ours}")[bound] / np.sqrt(fit.red_chisq[bound])
        np.testing.assert_allclose(
            errors, lorentz.fit.stderr(f"l.{theirs}")[bound] / np.sqrt(lorentz.red_chisq[bound]), rtol=1e-5
        )
    models = [Model([Gaussian(name="g", A=100)], name="g"), Model([Voigt(name="v", **start)], name="v")]
    assert (da.fit.select(models, criterion="bic", variance=0.09).selected == 1).all()


def test_a_fit_that_begins_on_a_bound_without_a_derivative_leaves_it():
    da = spectra(noisy(100 / np.sqrt(2 * np.pi) / 1.5 * np.exp(-((X - 0.3) ** 2) / 4.5), pixels=5))
    fit = da.fit.multifit(Model([Voigt(name="v", area=100, centre=0, gamma=1, sigma=0)]))
    np.testing.assert_allclose(fit.fit["v.sigma"], 1.5, atol=0.1)
    assert (fit.status == CONVERGED).all()


@pytest.mark.parametrize("shift", [0.1, 1.5])
def test_an_amplitude_that_a_step_takes_to_its_bound_comes_back(shift):
    """Lmfit's testSineManyShifts: the minimum is that of lmfit, 0.2055 and 0.2039, with
    the residual's variance 0.02**2.
    """
    x = np.linspace(-5, 5, 501)
    y = 5.3 * np.sin(x * 3.8 + shift) + 8.2 + 0.2 * x + np.random.default_rng(0).normal(0, 0.02, x.size)
    e = Expression("A*sin(x*f + s)", name="sine", A=10.0, f=4.5, s=0.8)
    e["A"].min = 0
    e["f"].min = 0
    e["s"].set(min=-2 * np.pi - 1e-5, max=2 * np.pi + 1e-5)
    fit = spectrum(y, x).fit(Model([e, Polynomial(1, name="line", a0=10.0, a1=0.0)]))
    assert fit.status == CONVERGED
    assert float(fit.chisq) == pytest.approx(((y - 5.3 * np.sin(x * 3.8 + shift) - 8.2 - 0.2 * x) ** 2).sum(), rel=0.05)


@pytest.mark.parametrize("width", [0.0015, 0.002, 0.003, 0.01])
def test_a_fit_that_stops_next_to_values_that_are_nan_is_stalled(width):
    """With the exponential in numerator and denominator the model is NaN for the widths of the
    minimum; its other form is fitted.
    """
    energy = np.linspace(-1.0, 0.2, 601)
    with np.errstate(all="ignore"):
        y = 100 / (np.exp((energy - 0.003) / 0.00086) + 1) + 2 + 0.1 * np.sin(37 * np.arange(601))
    start = {"A": 80.0, "mu": 0.0051, "w": width, "b": 0.0}
    poor = Expression("A*exp(-(x - mu)/w)/(1 + exp(-(x - mu)/w)) + b", name="f", **start)
    fit = spectrum(y, energy).fit(Model([poor]))
    assert fit.status == STALLED
    assert np.isnan(fit.stderr).all()
    good = spectrum(y, energy).fit(Model([Expression("A/(exp((x - mu)/w) + 1) + b", name="f", **start)]))
    assert good.status == CONVERGED
    assert float(good.fit["f.w"]) == pytest.approx(0.00086, rel=1e-2)


def amplitudes_alone(model, da, **options):
    """Fit the model's linear parameters at the shapes of its start."""
    held = model.copy()
    for parameter in held.parameters:
        parameter.free = parameter.free and parameter.linear
    return da.fit.multifit(held, **options)


@pytest.mark.parametrize("loss", ["ls", "poisson", "huber", "soft_l1"])
@pytest.mark.parametrize("bounded", [True, False])
def test_no_fit_ends_above_the_best_amplitudes_of_its_start(loss, bounded):
    """From random starts, of which many lead into other minima; of losses that are convex in the
    amplitudes, which have one best fit.
    """
    random = np.random.default_rng(11)
    x = np.linspace(0, 20, 100)
    counts = random.poisson(30 + 200 * np.exp(-((x - 7) ** 2) / 2) + 100 * np.exp(-((x - 12) ** 2) / 4), (30, 100))
    da = spectra(counts.astype(float), x)
    options = {"loss": loss, "bounded": bounded, "variance": None if loss == "poisson" else 40.0}
    for _ in range(12):
        a, b = random.uniform(-2, 22, 2)
        model = Model(
            [
                Gaussian(name="a", A=random.choice([1.0, 300.0]), centre=a, sigma=random.uniform(0.3, 3)),
                Gaussian(name="b", A=random.choice([1.0, 300.0]), centre=b, sigma=random.uniform(0.3, 3)),
                Offset(name="o", offset=random.choice([1.0, 30.0])),
            ]
        )
        fit = da.fit.multifit(model, **options)
        alone = amplitudes_alone(model, da, **options)
        done = ((fit.status == CONVERGED) & (alone.status == CONVERGED)).values
        assert (fit.loss.values[done] <= alone.loss.values[done] * (1 + 1e-9)).all()


def patterns(columns):
    x = np.arange(columns.shape[0], dtype=float)
    parts = [
        ScalableFixedPattern(spectrum(columns[:, k], x), interpolate=False, name=f"c{k}")
        for k in range(columns.shape[1])
    ]
    return Model(parts), x


def test_linear_fits_of_columns_that_depend_on_each_other_have_the_least_chisq():
    """Of scipy.optimize.nnls, numpy.linalg.lstsq and scipy.optimize.lsq_linear."""
    grid = np.linspace(0, 10, 50)
    g, l = np.exp(-((grid - 4) ** 2)), 1 / (1 + (grid - 6) ** 2)  # noqa: E741
    y = 3 * g + 2 * l + np.random.default_rng(0).normal(0, 0.01, grid.size)
    square = np.arange(25.0).reshape(5, 5)
    for columns, data in (
        (np.c_[g, g, l], y),
        (np.c_[g, 0 * g, l], y),
        (np.c_[g, l, g + l], y),
        (square, square @ np.arange(5.0)),
    ):
        model, x = patterns(columns)
        da = spectrum(data, x)
        _, residual = nnls(columns, data)
        fit = da.fit(model, optimizer="nnls")
        assert float(fit.chisq) == pytest.approx(residual**2, rel=1e-9, abs=1e-15 * (data**2).sum())
        assert (fit.value.sel(param=[f"c{k}.yscale" for k in range(columns.shape[1])]) >= 0).all()
        fit = da.fit(model, optimizer="lstsq", bounded=False)
        assert fit.status == SINGULAR
        assert np.isnan(fit.stderr).all()
        expected = np.linalg.lstsq(columns, data, rcond=None)[0]
        np.testing.assert_allclose(
            fit.value.sel(param=[f"c{k}.yscale" for k in range(columns.shape[1])]), expected, rtol=1e-6, atol=1e-9
        )
    a = np.array([[0.334, 0.668], [-0.516, -1.032], [0.192, 0.384]])
    b = np.array([-1.436, 0.135, 0.909])
    e = Expression("u*p+v*q", name="m", coordinates=("u", "v"))
    e["p"].set(value=0.5, min=0, max=1)
    e["q"].set(value=-0.7, min=-1, max=-0.5)
    fit = xr.DataArray(b, dims="s", coords={"u": ("s", a[:, 0]), "v": ("s", a[:, 1])}).fit(
        Model([e]), optimizer="lstsq"
    )
    assert float(fit.chisq) == pytest.approx(2 * lsq_linear(a, b, ([0, -1], [1, -0.5])).cost, rel=1e-9)


@pytest.mark.parametrize("loss", ["ls", "huber", "soft_l1", "cauchy", "arctan"])
@pytest.mark.parametrize("optimizer", ["lm", "trf", "BFGS", "Nelder-Mead"])
def test_a_line_without_influence_is_singular_in_every_optimizer_and_loss(loss, optimizer):
    x = np.linspace(0, 10, 50)
    da = spectra(3 + np.random.default_rng(0).normal(0, 0.3, (1, 50)), x)
    model = Model([Gaussian(name="g", A=10.0, centre=1e6, sigma=1.0), Offset(name="o", offset=2.5)])
    fit = da.fit.multifit(model, loss=loss, optimizer=optimizer, variance=0.09, bounded=False)
    assert statuses(fit) == ["singular"]
    assert np.isnan(fit.stderr).all()
    assert float(fit.fit["o.offset"][0]) == pytest.approx(3.0, abs=0.2)


def test_a_position_next_to_zero_moves():
    """As a neighbour's fit of a line at zero leaves it: its own size says nothing of how far it may go."""
    x = np.linspace(-5, 30, 200)
    da = spectrum(np.exp(-((x - 0.64) ** 2) / 2), x)
    fit = da.fit(Model([Gaussian(name="g", A=2.5, centre=-2.5e-17, sigma=1.0)]))
    assert fit.status == CONVERGED
    np.testing.assert_allclose(fit.value, [np.sqrt(2 * np.pi), 0.64, 1.0], rtol=1e-9)
