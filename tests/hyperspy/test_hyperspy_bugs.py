"""Faults of HyperSpy 2.5.0's model fitting, each reproduced there: here the right answer,
with the wrong one beside it.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from scipy.optimize import curve_fit, least_squares

import xfit
from tests.support.builders import statuses
from xfit.components import Bleasdale, Doniach, Expression, Gaussian, Offset, SkewNormal, Voigt
from xfit.engine.block.optimizers import _KNOWN

X = np.linspace(-5, 5, 60)


def spectrum(y: np.ndarray, x: np.ndarray = X, **coords: np.ndarray) -> xr.DataArray:
    dims = ("pixel", "x")[-np.ndim(y) :]
    return xr.DataArray(y, dims=dims, coords={"x": x, **coords})


def noisy(n: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(20 + 200 * np.exp(-(X**2) / 2), (n, 60)).astype(float)


def peak() -> xfit.Model:
    return xfit.Model([Gaussian(name="g", A=400.0, centre=0.3, sigma=1.2), Offset(name="o", offset=15.0)])


def curve(x, a, c, s, o):
    return a / (s * np.sqrt(2 * np.pi)) * np.exp(-((x - c) ** 2) / (2 * s * s)) + o


def test_f3_criteria_depend_on_the_data() -> None:
    """There, data of 1..10 and data that are all 50 have the same AIC of 48.849: the x axis is taken for the data."""
    x = np.arange(10.0)
    rising, level = np.arange(1.0, 11.0), np.full(10, 50.0)
    random = np.random.default_rng(0).normal(0, 0.1, 10)
    m = xfit.Model([Offset(name="o", offset=1.0)])
    found = [spectrum(y + random, x).fit(m) for y in (rising, level)]
    for y, fit in zip((rising + random, level + random), found, strict=True):
        spread = y.std()
        lnl = stats.norm.logpdf(y, y.mean(), spread).sum()
        assert float(fit["aic"]) == pytest.approx(2 * 2 - 2 * lnl, rel=1e-12)
        assert float(fit["bic"]) == pytest.approx(2 * np.log(10) - 2 * lnl, rel=1e-12)
    assert float(found[0]["aic"]) - float(found[1]["aic"]) > 40


def test_f4_odr_has_the_weights_of_the_others() -> None:
    """There, `odr` takes sigma for 1/sigma**2: an area of 1987.96 for 1996.66."""
    x = np.linspace(0, 100, 100)
    y = np.random.default_rng(1).poisson(curve(x, 2000, 50, 10, 0) + 10).astype(float)
    variance = 1.0 + np.linspace(0, 200, 100)
    m = xfit.Model([Gaussian(name="g", A=1500.0, centre=45.0, sigma=8.0), Offset(name="o", offset=5.0)])
    for c in m:
        for p in c.parameters:
            p.set(min=None, max=None)
    expected, covariance = curve_fit(curve, x, y, [1500, 45, 8, 5], sigma=np.sqrt(variance), ftol=1e-14, xtol=1e-14)
    given = xr.DataArray(variance, dims="x")
    for name in ("odr", "lm", "trf"):
        fit = spectrum(y, x).fit(m, optimizer=name, variance=given)
        np.testing.assert_allclose(fit["value"], expected, rtol=2e-6, err_msg=name)
        np.testing.assert_allclose(fit["stderr"], np.sqrt(np.diag(covariance)), rtol=1e-4, err_msg=name)


def test_f5_weighted_fits_reach_the_minimum_with_exact_gradients() -> None:
    """There, bounded `lm` stops at 132.2 for 76.7, and BFGS at 160.5: gradients without
    weights, or with their roots.
    """
    y = noisy()[0]
    variance = 1.0 + 300 * np.exp(-((X - 1) ** 2))

    def deviations(p):
        return (curve(X, *p) - y) / np.sqrt(variance)

    best = least_squares(
        deviations,
        [400, 0.3, 1.2, 15],
        x_scale="jac",
        ftol=1e-15,
        xtol=1e-15,
        gtol=1e-15,
    )
    given = xr.DataArray(variance, dims="x")
    for optimizer in _KNOWN:
        if optimizer.engine in ("kernel", "least_squares", "minimize", "odr"):
            bounded = optimizer.bounds != "no"
            fit = spectrum(y).fit(peak(), optimizer=optimizer.name, variance=given, bounded=bounded)
            assert float(fit["chisq"]) == pytest.approx(2 * best.cost, rel=1e-7), optimizer.name
    robust = spectrum(y).fit(peak(), loss="huber", optimizer="L-BFGS-B", variance=given)
    expected = least_squares(
        deviations,
        [400, 0.3, 1.2, 15],
        loss="huber",
        x_scale="jac",
        ftol=1e-15,
        xtol=1e-15,
        gtol=1e-15,
    )
    assert float(robust["loss"]) == pytest.approx(2 * expected.cost, rel=1e-8)


def test_f6_weighted_errors_are_the_same_by_every_optimizer() -> None:
    """There, 16.84 for 49.15 by scipy's minimisers; and the scale of Huber's loss makes no difference to its errors."""
    y = noisy()[0]
    variance = 1.0 + 300 * np.exp(-((X - 1) ** 2))
    _, covariance = curve_fit(curve, X, y, [400, 0.3, 1.2, 15], sigma=np.sqrt(variance), ftol=1e-14, xtol=1e-14)
    given = xr.DataArray(variance, dims="x")
    for name in ("lm", "BFGS", "L-BFGS-B", "Nelder-Mead", "trust-exact"):
        fit = spectrum(y).fit(peak(), optimizer=name, variance=given, bounded=False)
        np.testing.assert_allclose(fit["stderr"], np.sqrt(np.diag(covariance)), rtol=1e-4, err_msg=name)
    errors = [spectrum(y).fit(peak(), loss="huber", loss_scale=s, variance=given)["stderr"].values for s in (0.5, 3.0)]
    assert (abs(errors[0] / errors[1] - 1) > 1e-3).all()


def test_f7_linear_fits_of_maps_heed_masks_and_fill_chisq() -> None:
    """There, `mask` is ignored, and chi-squared is finite in 1 of 12 pixels."""
    da = spectrum(noisy(12))
    m = peak()
    m["g"].centre.free = m["g"].sigma.free = False
    keep = xr.DataArray(np.arange(12) % 3 != 0, dims="pixel")
    fit = da.fit.multifit(m, optimizer="lstsq", where=keep)
    assert statuses(fit) == ["masked" if k % 3 == 0 else "converged" for k in range(12)]
    np.testing.assert_array_equal(fit["chisq"].notnull(), keep)
    assert fit["value"].isnull().all("param").values.tolist() == (~keep).values.tolist()


def test_f8_a_fixed_term_counts_once() -> None:
    """There, a x**2 + b x + 5 gives a = 2.044, b = 1.975 for 2 and 3."""
    x = np.linspace(-10, 10, 100)
    m = xfit.Model([Expression("a*x**2 + b*x + c", name="e", a=1.0, b=1.0, c=5.0)])
    m["e"].c.free = False
    fit = spectrum(2 * x**2 + 3 * x + 5, x).fit(m, optimizer="lstsq")
    np.testing.assert_allclose(fit["value"].sel(param=["e.a", "e.b"]), [2, 3], rtol=1e-12)


def test_f9_linear_means_jointly_linear() -> None:
    """There, a*b*x + c passes for linear (a sum of squares of 271), and so do Bleasdale's b (0.82 for 2)
    and the angle of rotated spots.
    """
    da = spectrum(6 * X + 1)
    for m, words in [
        (xfit.Model([Expression("a*b*x + c", name="e")]), "e.b"),
        (xfit.Model([Bleasdale(name="e")]), "e.b"),
    ]:
        with pytest.raises(ValueError, match=words):
            da.fit(m, optimizer="lstsq")
    rotated = Expression("A*exp(-x**2 - 2*y**2)", name="e", add_rotation=True)
    assert not rotated["rotation_angle"].linear
    assert rotated["A"].linear
    image = xr.DataArray(np.ones((5, 6)), dims=("y", "x"))
    with pytest.raises(ValueError, match="rotation_angle"):
        image.fit(xfit.Model([rotated]), optimizer="lstsq")
    one = xfit.Model([Expression("a*b*x + c", name="e", b=2.0)])
    one["e"].b.free = False
    np.testing.assert_allclose(da.fit(one, optimizer="lstsq")["value"].sel(param=["e.a", "e.c"]), [3, 1], rtol=1e-12)


@pytest.mark.parametrize("component", [Voigt, SkewNormal, Doniach])
def test_f10_linear_fits_of_formulas_with_substitutions(component) -> None:
    """There, SympifyError."""
    c = component(name="c")
    for p in c.parameters:
        p.free = p.linear
    m = xfit.Model([c])
    name = m.free_parameters[0].full_name
    once = spectrum(np.ones(60)).fit(m, optimizer="lstsq")
    unit = once.fit.evaluate() / float(once.fit[name])
    fit = (2.5 * unit).fit(m, optimizer="lstsq")
    assert float(fit.fit[name]) == pytest.approx(2.5, rel=1e-12)


@pytest.mark.parametrize("optimizer", ["lm", "trf", "L-BFGS-B", "lstsq"])
def test_f14_zero_counts_have_no_infinite_weight(optimizer) -> None:
    """There, a variance of zero: `lm` gives the values of the pixel before, `trf` and `lstsq` raise and end the run."""
    y = np.random.default_rng(0).poisson(0.4 + 6 * np.exp(-(X**2) / 2), (5, 60)).astype(float)
    assert (y == 0).any(axis=1).all()
    m = peak()
    m.set({"g.A": 12.0, "o.offset": 0.5})
    if optimizer == "lstsq":
        m["g"].centre.free = m["g"].sigma.free = False
    fit = spectrum(y).fit.multifit(m, optimizer=optimizer, variance=xfit.noise.poisson_variance(spectrum(y)))
    assert statuses(fit) == ["converged"] * 5
    assert np.isfinite(fit["chisq"]).all()
    assert len(np.unique(fit.fit["g.A"])) == 5
    # A variance of zero that is given is an error, or the status of that pixel where the data are lazy.
    zero = spectrum(np.where(y > 0, y, 0.0))
    with pytest.raises(ValueError, match="above zero"):
        spectrum(y).fit.multifit(m, optimizer=optimizer, variance=zero)
    lazy = spectrum(y).chunk(pixel=2).fit.multifit(m, optimizer=optimizer, variance=zero.chunk(pixel=2))
    assert statuses(lazy) == ["bad_variance"] * 5


@pytest.mark.parametrize("optimizer", ["lm", "trf", "Nelder-Mead", "differential_evolution", "odr"])
def test_f15_a_nan_pixel_is_told_and_hurts_nobody(optimizer) -> None:
    """There, `lm` copies the pixel before and calls it set; `trf` ends the run with 2 of 12 done."""
    y = noisy(12)
    y[2] = np.nan
    m = peak()
    for name, low, high in [("g.A", 1, 2000), ("g.centre", -3, 3), ("g.sigma", 0.2, 4), ("o.offset", 0, 100)]:
        m[name].set(min=low, max=high)
    fit = spectrum(y).fit.multifit(m, optimizer=optimizer)
    assert statuses(fit) == ["converged" if k != 2 else "bad_data" for k in range(12)]
    assert fit["value"][2].isnull().all()
    assert fit["stderr"][2].isnull().all()


def test_f16_an_error_that_is_not_known_is_nan() -> None:
    """There, the error of the fit before is written again."""
    y = noisy(3)
    y[1, 3:] = np.nan
    fit = spectrum(y).fit.multifit(peak(), path="flyback")
    assert fit["stderr"][[0, 2]].notnull().all()
    assert fit["stderr"][1].isnull().all()
    apart = spectrum(y).fit.multifit(peak(), optimizer="Nelder-Mead", maxfev=15)
    assert apart["stderr"].isnull().all()


def test_f17_ranges_of_images_are_not_swapped() -> None:
    """There, columns 2..4 and rows 10..15 become columns 10..15 and rows 2..4; on 20 x 10 pixels nothing is left."""
    image = xr.DataArray(np.zeros((20, 10)), dims=("y", "x"))
    mask = xfit.signal_range(image, {"x": (2, 4), "y": (10, 15)})
    rows, columns = np.nonzero(mask.transpose("y", "x").values)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 15, 2, 4)


def test_f18_a_fit_leaves_the_model_as_it_was() -> None:
    """There, a bounded fit switches the bounds of all parameters off for good, and an exception leaves them on."""
    m = peak()
    m["g.centre"].set(min=-1, max=1)
    before = m.to_json()
    for options in (
        {},
        {"bounded": False},
        {"optimizer": "nnls"},
        {"optimizer": "L-BFGS-B"},
        {"bounds": {"g.centre": (-2, 2)}},
    ):
        if options.get("optimizer") == "nnls":
            with pytest.raises(ValueError, match="linear"):
                spectrum(noisy()[0]).fit(m, **options)
        else:
            spectrum(noisy()[0]).fit(m, **options)
        assert m.to_json() == before


def test_f22_ties_by_the_chain_rule() -> None:
    """There, the derivative through b.A = 3 a.A is off by 67 %, and so are errors; 80 evaluations for 25."""
    x = np.linspace(0, 20, 200)
    y = curve(x, 10, 6, 1, 0) + curve(x, 30, 14, 1.5, 0) + np.random.default_rng(0).normal(0, 0.1, 200)
    m = xfit.Model(
        [Gaussian(name="a", A=7.0, centre=6.2, sigma=1.1), Gaussian(name="b", A=1.0, centre=13.8, sigma=1.4)]
    )
    m["b.A"].tie("3*a.A")

    def both(x, a, c1, s1, c2, s2):
        return curve(x, a, c1, s1, 0) + curve(x, 3 * a, c2, s2, 0)

    p, covariance = curve_fit(both, x, y, [7, 6.2, 1.1, 13.8, 1.4], ftol=1e-14, xtol=1e-14, gtol=1e-14)
    errors = np.sqrt(np.diag(covariance))
    names = ["a.A", "a.centre", "a.sigma", "b.centre", "b.sigma"]
    for name in ("lm", "trf", "L-BFGS-B", "BFGS", "odr", "trust-exact"):
        fit = spectrum(y, x).fit(m, optimizer=name, bounded=False)
        np.testing.assert_allclose(fit["value"].sel(param=names), p, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(fit["stderr"].sel(param=names), errors, rtol=1e-4, err_msg=name)
        assert float(fit.fit["b.A"]) == pytest.approx(3 * p[0], rel=1e-6)
        assert float(fit.fit.stderr("b.A")) == pytest.approx(3 * errors[0], rel=1e-4)
        assert int(fit["nfev"]) < 60


def test_f23_linear_fits_with_a_shifted_tie() -> None:
    """There, b = a + 5 gives an amplitude of 4.59 for 20."""
    x = np.linspace(0, 20, 200)
    y = curve(x, 20, 6, 1, 0) + curve(x, 25, 14, 1.5, 0)
    m = xfit.Model(
        [Gaussian(name="a", A=1.0, centre=6.0, sigma=1.0), Gaussian(name="b", A=1.0, centre=14.0, sigma=1.5)]
    )
    for c in m:
        c.centre.free = c.sigma.free = False
    m["b.A"].tie("a.A + 5")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = spectrum(y, x).fit(m, optimizer="lstsq")
    np.testing.assert_allclose([float(fit.fit["a.A"]), float(fit.fit["b.A"])], [20, 25], rtol=1e-12)
