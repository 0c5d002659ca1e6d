"""Losses: values against mpmath, minima against SciPy and iminuit, errors against their formulas."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numba
import numpy as np
import pytest
import xarray as xr
from iminuit import Minuit
from scipy import optimize, stats

import xfit
from tests.support.builders import statuses
from tests.support.loss_data import START, X, cash_of, counts, curve, log_cosh, model, with_outliers
from xfit.components import Offset, Polynomial
from xfit.engine.evaluation.loss_functions import arctan, cauchy, huber, poisson, soft_l1
from xfit.engine.pixel.likelihood import constant_of_counts, log_of_product

ROBUST = ["huber", "soft_l1", "cauchy", "arctan"]


def jacobian(p: np.ndarray) -> np.ndarray:
    """Derivatives, (n_channels, 4)."""
    u = (X - p[1]) / p[2]
    shape = np.exp(-u * u / 2) / (p[2] * math.sqrt(2 * math.pi))
    return np.stack([shape, p[0] * shape * u / p[2], p[0] * shape * (u * u - 1) / p[2], np.ones_like(X)], axis=1)


@numba.njit(error_model="numpy")
def _poisson(y, mu, smallest):
    out = np.empty((3, y.size))
    for i in range(y.size):
        out[0, i], out[1, i], out[2, i] = poisson(y[i], mu[i], smallest)
    return out


def test_cash_statistic() -> None:
    """To the digits that y and mu leave: where they are close, the difference of both is exact,
    and so is what is made of it.
    """
    random = np.random.default_rng(3)
    y = np.concatenate([random.poisson(20, 300), [0, 0, 1, 40, 1e6, 1e9, 2.5, 7, 7]]).astype(float)
    mu = np.concatenate([random.gamma(20, size=300), [2, 1e-7, 1, 1e-3, 1e6 + 1, 1e9 - 1e4, 1e5, 5.6, 8.4]])
    value, deviation, root = _poisson(y, mu, 1e-12)
    with mpmath.workdps(40):
        exact = [
            2 * (mpmath.mpf(m) - n + (mpmath.mpf(n) * mpmath.log(mpmath.mpf(n) / m) if n else 0))
            for n, m in zip(y, mu, strict=True)
        ]
        error = np.array([float(abs(v - e)) for v, e in zip(value, exact, strict=True)])
    assert (error <= 1e-15 * (abs(mu - y) + np.array([float(e) for e in exact])) + 1e-17).all()
    np.testing.assert_allclose(deviation, (mu - y) / np.sqrt(mu), rtol=1e-14)
    np.testing.assert_allclose(root, 1 / np.sqrt(mu), rtol=1e-15)


def test_cash_statistic_goes_on_below_zero_with_the_same_slope() -> None:
    """Below the smallest mean: a parabola with the same value and slope, whose slope leads back up."""
    smallest = 0.5
    y = np.array([0.0, 0.0, 3.0, 3.0])
    eps = 1e-7
    above = _poisson(y, np.full(4, smallest + eps), smallest)[0]
    at = _poisson(y, np.full(4, smallest), smallest)[0]
    below = _poisson(y, np.full(4, smallest - eps), smallest)[0]
    np.testing.assert_allclose((above - at) / eps, (at - below) / eps, rtol=1e-5)
    falling = _poisson(np.array([0.0, 3.0]), np.array([-1.0, -1.0]), smallest)
    assert (falling[0] > at[[0, 2]]).all()
    assert (falling[1] < 0).all()


@pytest.mark.parametrize(
    ("kernel", "name"), [(huber, "huber"), (soft_l1, "soft_l1"), (cauchy, "cauchy"), (arctan, "arctan")]
)
def test_robust_losses_are_those_of_scipy(kernel, name) -> None:
    """Twice the cost that scipy.optimize.least_squares reports, which has an f_scale for what is loss_scale here."""

    @numba.njit(error_model="numpy")
    def values(r, scale):
        out = np.empty((3, r.size))
        for i in range(r.size):
            out[0, i], out[1, i], out[2, i] = kernel(r[i], scale)
        return out

    def residual(p, each):
        return each + 0 * p

    r = np.array([-7.0, -1.5, -1e-4, 1e-9, 0.3, 1.5, 2.0, 40.0])
    for scale in (1.0, 1.7):
        value, weight, slope = values(r, scale)
        costs = [
            optimize.least_squares(residual, [0.0], loss=name, f_scale=scale, max_nfev=1, args=(each,)).cost
            for each in r
        ]
        np.testing.assert_allclose(value, 2 * np.array(costs), rtol=1e-9, atol=1e-15)
        step = 1e-5
        up, down = values(r + step, scale)[0], values(r - step, scale)[0]
        np.testing.assert_allclose(weight * r, (up - down) / (4 * step), rtol=1e-6, atol=1e-9)
        rough = abs(abs(r) - scale) < 1e-3
        second = (up - 2 * value + down) / (2 * step**2)
        np.testing.assert_allclose(slope[~rough], second[~rough], rtol=2e-3, atol=2e-4)


def test_poisson_fits_are_those_of_iminuit() -> None:
    """Values to a millionth of the errors that iminuit reports, its minimum no lower than ours."""
    da = counts()
    fit = da.fit.multifit(model(), loss="poisson", covariance=True)
    for i, y in enumerate(da.values):
        minuit = Minuit(cash_of(y), **START, offset=3.0)
        minuit.tol = 1e-8
        minuit.strategy = 2
        minuit.migrad()
        minuit.hesse()
        # migrad stops where the estimated distance is 2e-3 * tol: half of 1e-8 in the loss is 1e-4 of an error.
        assert abs((fit["value"][i].values - np.array(minuit.values)) / np.array(minuit.errors)).max() < 2e-4
        assert float(fit["loss"][i]) <= minuit.fval + 1e-9
        # Expected and observed information differ by the scatter of the data.
        np.testing.assert_allclose(fit["stderr"][i], np.array(minuit.errors), rtol=0.1)


def test_poisson_errors_are_the_inverse_of_fishers_information() -> None:
    fit = counts().fit.multifit(model(), loss="poisson", covariance=True)
    for i in range(fit.sizes["pixel"]):
        p = fit["value"][i].values
        j = jacobian(p)
        expected = np.linalg.inv(j.T @ (j / curve(p)[:, None]))
        np.testing.assert_allclose(fit["covariance"][i], expected, rtol=1e-6)
        np.testing.assert_allclose(fit["stderr"][i], np.sqrt(np.diag(expected)), rtol=1e-6)


def test_poisson_goodness_and_criteria() -> None:
    """Cash's statistic, Pearson's chi-squared, and the likelihood itself, by SciPy."""
    da = counts(scale=30.0)
    da[0, 3] = 0.0
    fit = da.fit.multifit(model(), loss="poisson")
    for i, y in enumerate(da.values):
        mu = curve(fit["value"][i].values)
        cash = 2 * np.sum(mu - y + np.where(y > 0, y * np.log(np.maximum(y, 1) / mu), 0.0))
        assert float(fit["loss"][i]) == pytest.approx(cash, rel=1e-11)
        assert float(fit["chisq"][i]) == pytest.approx(np.sum((mu - y) ** 2 / mu), rel=1e-11)
        lnl = np.sum(stats.poisson.logpmf(y, mu))
        n, k = y.size, 4
        assert float(fit["aic"][i]) == pytest.approx(2 * k - 2 * lnl, rel=1e-11)
        assert float(fit["aicc"][i]) == pytest.approx(2 * k - 2 * lnl + 2 * k * (k + 1) / (n - k - 1), rel=1e-11)
        assert float(fit["bic"][i]) == pytest.approx(k * math.log(n) - 2 * lnl, rel=1e-11)


def test_least_squares_criteria() -> None:
    """With a trusted variance it is the likelihood as it stands; otherwise the scale of the
    errors is one more parameter.
    """
    da = counts()
    variance = xr.DataArray(np.linspace(2.0, 9.0, X.size), dims="x")
    n, k = X.size, 4
    known = da.fit.multifit(model(), variance=variance, scale_covariance=False)
    scaled = da.fit.multifit(model(), variance=variance)
    plain = da.fit.multifit(model())
    for i, y in enumerate(da.values):
        lnl = np.sum(stats.norm.logpdf(y, curve(known["value"][i].values), np.sqrt(variance)))
        assert float(known["aic"][i]) == pytest.approx(2 * k - 2 * lnl, rel=1e-11)
        for fit, spread in ((scaled, variance.values), (plain, np.ones(n))):
            factor = float(fit["chisq"][i]) / n
            lnl = np.sum(stats.norm.logpdf(y, curve(fit["value"][i].values), np.sqrt(spread * factor)))
            assert float(fit["aic"][i]) == pytest.approx(2 * (k + 1) - 2 * lnl, rel=1e-11)
            assert float(fit["bic"][i]) == pytest.approx((k + 1) * math.log(n) - 2 * lnl, rel=1e-11)


def test_constants_of_likelihoods() -> None:
    y = np.array([0, 1, 5, 63, 64, 65, 1e4, 1e8, 0.3, 2.5, 15.7, 16.2, 80.1])
    expected = [2 * (math.lgamma(n + 1) - (n * math.log(n) if n else 0) + n) for n in y]
    with mpmath.workdps(30):
        expected = [
            float(2 * (mpmath.loggamma(n + 1) - (n * mpmath.log(n) if n else 0) + n)) for n in map(mpmath.mpf, y)
        ]
    found = [constant_of_counts(np.array([n]), np.ones(1), 1) for n in y]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    factor = np.random.default_rng(0).lognormal(0, 40, 2000)
    factor[::7] = 0.0
    width = np.full(2000, 0.3)
    assert log_of_product(factor, np.empty(0), 2000) == pytest.approx(np.log(factor[factor > 0]).sum(), rel=1e-12)
    expected_width = np.log(factor[factor > 0] / 0.3).sum()
    assert log_of_product(factor, width, 2000) == pytest.approx(expected_width, rel=1e-12)


def test_zero_counts_and_models_that_touch_zero() -> None:
    """Empty spectra end at zero; a background that would go below zero under empty channels stays there."""
    y = np.zeros((3, X.size))
    y[1] = np.random.default_rng(0).poisson(curve(np.array([40.0, 0.0, 1.0, 0.0])))
    y[2, 40] = 1.0
    da = xr.DataArray(y, dims=("pixel", "x"), coords={"x": X})
    offset = da.fit.multifit(xfit.Model([Offset(name="o", offset=2.0)]), loss="poisson")
    assert statuses(offset) == ["converged"] * 3
    # The best constant is the mean count.
    np.testing.assert_allclose(offset.fit["o.offset"], y.mean(1), atol=1e-8)
    fit = da[1].fit(model(), loss="poisson")
    assert int(fit["status"]) == 1
    # iminuit, with the background bounded at zero: all counts are the peak's.
    assert float(fit.fit["g.A"]) == pytest.approx(y[1].sum() * (X[1] - X[0]), rel=1e-3)
    assert abs(float(fit.fit["o.offset"])) < 1e-3


@pytest.mark.parametrize("binned", [False, True])
def test_together_and_alone(binned) -> None:
    """Fits of counts side by side end where those of the engine of one pixel do."""
    da = counts(20)
    together = da.fit.multifit(model(), loss="poisson", binned=binned)
    alone = da.fit.multifit(
        model(), loss="poisson", binned=binned, path="flyback", start={"g.A": xr.full_like(da[:, 0], 90.0)}
    )
    np.testing.assert_allclose(together["value"], alone["value"], rtol=1e-5)
    np.testing.assert_allclose(together["loss"], alone["loss"], rtol=1e-11)


def test_binned_counts() -> None:
    """Of data that are integrals over channels, the amplitude is that of the density."""
    da = counts(scale=1.0)
    width = X[1] - X[0]
    plain = da.fit.multifit(model(), loss="poisson")
    binned = da.fit.multifit(model(), loss="poisson", binned=True, start={"g.A": 90 / width, "o.offset": 3 / width})
    np.testing.assert_allclose(binned.fit["g.A"] * width, plain.fit["g.A"], rtol=1e-5)
    np.testing.assert_allclose(binned["loss"], plain["loss"], rtol=1e-10)


@pytest.mark.parametrize("loss", ROBUST)
def test_robust_fits_are_those_of_scipy(loss) -> None:
    def deviations(p, y):
        return (curve(p) - y) / math.sqrt(1.3)

    da = with_outliers()
    scale = 6.0 if loss == "arctan" else 1.5
    fit = da.fit.multifit(model(), loss=loss, loss_scale=scale, variance=1.3)
    for i, y in enumerate(da.values):
        found = optimize.least_squares(
            deviations,
            [*START.values(), 3.0],
            args=(y,),
            loss=loss,
            f_scale=scale,
            x_scale="jac",
            ftol=1e-15,
            xtol=1e-15,
            gtol=1e-15,
            max_nfev=1000,
        )
        np.testing.assert_allclose(fit["value"][i], found.x, rtol=2e-5, atol=1e-6)
        assert float(fit["loss"][i]) == pytest.approx(2 * found.cost, rel=1e-9)
        assert float(fit["chisq"][i]) == pytest.approx((deviations(fit["value"][i].values, y) ** 2).sum(), rel=1e-10)
    assert "aic" not in fit


def test_errors_of_a_robust_loss_are_hubers() -> None:
    """Formula 6.5 of Huber's chapter 7, written out."""
    da = with_outliers()
    scale = 1.345
    fit = da.fit.multifit(model(), loss="huber", loss_scale=scale, covariance=True)
    n, k = X.size, 4
    for i, y in enumerate(da.values):
        p = fit["value"][i].values
        r = curve(p) - y
        inside = abs(r) <= scale
        psi = np.clip(r, -scale, scale)
        mean = inside.mean()
        factor = 1 + k / n * inside.var() / mean**2
        expected = factor**2 * (psi**2).sum() / (n - k) / mean**2 * np.linalg.inv(jacobian(p).T @ jacobian(p))
        np.testing.assert_allclose(fit["covariance"][i], expected, rtol=1e-6)


def test_a_loss_of_ones_own() -> None:
    """Its minimum by SciPy, its errors by the sandwich."""
    da = with_outliers()
    loss = xfit.LossKernel(log_cosh)
    fit = da.fit.multifit(model(), loss=loss, variance=1.3, covariance=True)
    assert fit.attrs["xfit_loss"] == "log_cosh"
    for i, y in enumerate(da.values):

        def total(p, y=y):
            s = (curve(p) - y) / math.sqrt(1.3)
            return np.sum(2 * (abs(s) + np.log1p(np.exp(-2 * abs(s))) - math.log(2)))

        found = optimize.minimize(total, [*START.values(), 3.0], method="BFGS", options={"gtol": 1e-9})
        p = fit["value"][i].values
        np.testing.assert_allclose(p, found.x, rtol=1e-5, atol=1e-6)
        assert float(fit["loss"][i]) == pytest.approx(found.fun, rel=1e-10)
        s = (curve(p) - y) / math.sqrt(1.3)
        j = jacobian(p)
        bread = np.linalg.inv(j.T @ (j * ((1 - np.tanh(s) ** 2) / 1.3)[:, None].clip(min=0)))
        meat = j.T @ (j * (np.tanh(s) ** 2 / 1.3)[:, None])
        expected = bread @ meat @ bread * X.size / (X.size - 4)
        # Where the loss bends least, the engine keeps a tenth of the curvature of the parabola.
        np.testing.assert_allclose(np.sqrt(np.diag(fit["covariance"][i])), np.sqrt(np.diag(expected)), rtol=0.05)


def test_a_least_squares_loss_of_ones_own_gives_least_squares() -> None:
    da = counts()
    variance = xr.DataArray(np.linspace(2.0, 9.0, X.size), dims="x")
    mine = da.fit.multifit(
        model(), loss=xfit.LossKernel(lambda d, m, w: (w * (m - d) ** 2, 2 * w * (m - d), 2 * w)), variance=variance
    )
    usual = da.fit.multifit(model(), variance=variance)
    np.testing.assert_allclose(mine["value"], usual["value"], rtol=1e-6)
    np.testing.assert_allclose(mine["loss"], usual["loss"], rtol=1e-11)


def test_a_python_function_of_arrays() -> None:
    da = with_outliers(2)

    def absolute(data, model, weight):
        return np.sqrt(weight * (model - data) ** 2 + 1e-2).sum()

    def total(p, y):
        return absolute(y, curve(p), np.full(X.size, 0.5))

    fit = da.fit.multifit(model(), loss=absolute, optimizer="Nelder-Mead", variance=2.0, maxiter=4000, maxfev=8000)
    assert statuses(fit) == ["converged"] * 2
    assert fit["stderr"].isnull().all()
    for i, y in enumerate(da.values):
        found = optimize.minimize(
            total,
            fit["value"][i].values,
            args=(y,),
            method="BFGS",
            options={"gtol": 1e-8},
        )
        assert float(fit["loss"][i]) == pytest.approx(found.fun, rel=1e-9)
    by_gradient = da.fit.multifit(model(), loss=absolute, optimizer="L-BFGS-B", variance=2.0)
    np.testing.assert_allclose(by_gradient["loss"], fit["loss"], rtol=1e-5)


def test_masked_channels_and_missing_data() -> None:
    """What is left out has no influence, whatever it is."""
    da = counts()
    spoilt = da.copy()
    spoilt[:, 10] = np.nan
    spoilt[:, 20] = -5.0
    where = xr.DataArray(np.arange(X.size) != 20, dims="x")
    both = xr.DataArray(~np.isin(np.arange(X.size), [10, 20]), dims="x")
    for loss in ["poisson", "huber", xfit.LossKernel(log_cosh)]:
        one = spoilt.fit.multifit(model(), loss=loss, where=where)
        other = da.fit.multifit(model(), loss=loss, where=both)
        np.testing.assert_allclose(one["value"], other["value"], rtol=1e-12)
        assert (one["dof"] == X.size - 2 - 4).all()


def test_negative_counts_have_a_status() -> None:
    da = counts()
    da[2, 5] = -1.0
    fit = da.fit.multifit(model(), loss="poisson")
    assert statuses(fit) == ["converged"] * 2 + ["bad_counts"] + ["converged"] * 3


def test_refusals() -> None:
    da = counts(1)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"loss": "poisson", "variance": 2.0}, "leave variance out"),
        ({"loss": "huber", "loss_scale": 0.0}, "loss_scale"),
        ({"loss": "ls", "loss_scale": 2.0}, "loss_scale"),
        ({"loss": "huber", "scale_covariance": True}, "scale_covariance"),
        ({"loss": "poisson", "optimizer": "trf"}, "can't minimise loss 'poisson'"),
        ({"loss": lambda d, m, w: 1.0}, "can't minimise a Python function"),
        ({"loss": lambda d, m: 1.0, "optimizer": "BFGS"}, "three arguments"),
        ({"reweight": True}, "variance='poisson'"),
        ({"variance": "gaussian"}, "is not known"),
    ]
    for kwargs, words in refused:
        with pytest.raises(ValueError, match=words):
            da.fit.multifit(model(), **kwargs)
    with pytest.raises(TypeError, match="can't be compiled"):
        da.fit.multifit(
            model(),
            loss=xfit.LossKernel(lambda d, m, w: open("x")),  # type: ignore[arg-type, return-value]  # noqa: SIM115
        )
    with pytest.raises(TypeError, match="loss must be"):
        da.fit.multifit(model(), loss=3)


def test_weights_that_follow_the_model() -> None:
    """For counts as they are, iterated weights lead to the minimum of Cash's statistic; else to the
    root of the weighted equations.
    """
    da = counts()
    poisson_fit = da.fit.multifit(model(), loss="poisson")
    same = da.fit.multifit(model(), variance="poisson", reweight=True)
    np.testing.assert_allclose(same["value"], poisson_fit["value"], rtol=1e-9)
    np.testing.assert_allclose(same["stderr"] / np.sqrt(same["red_chisq"]), poisson_fit["stderr"], rtol=1e-7)
    detector = xfit.noise.Poisson(gain=2.0, offset=5.0, correlation=1.5)
    fit = (2 * da).fit.multifit(model(), variance=detector, reweight=True)
    for i, y in enumerate(2 * da.values):
        p = fit["value"][i].values
        variance = 1.5 * (2 * curve(p) + 5)
        slope = jacobian(p).T @ ((curve(p) - y) / variance)
        scale = np.sqrt((jacobian(p) ** 2 / variance[:, None]).sum(0))
        assert abs(slope / scale).max() < 1e-5
        assert float(fit["chisq"][i]) == pytest.approx(((curve(p) - y) ** 2 / variance).sum(), rel=1e-10)


def test_lazily_and_in_chunks() -> None:
    """The same bits however the data are cut, also for losses that travel as functions."""
    da = counts(12)
    for loss in ["poisson", "cauchy", xfit.LossKernel(log_cosh)]:
        whole = da.fit.multifit(model(), loss=loss)
        lazy = da.chunk(pixel=5).fit.multifit(model(), loss=loss)
        assert lazy["value"].chunks is not None
        assert lazy["value"].values.tobytes() == whole["value"].values.tobytes()
        assert lazy["stderr"].values.tobytes() == whole["stderr"].values.tobytes()


def test_polynomial_background_of_counts() -> None:
    """A model that is linear in its parameters has one maximum of the likelihood: statsmodels'
    identity-link regression, by IRLS.
    """
    random = np.random.default_rng(5)
    y = random.poisson(50 + 3 * X, X.size).astype(float)
    fit = xr.DataArray(y, dims="x", coords={"x": X}).fit(
        xfit.Model([Polynomial(1, name="p", a0=40.0, a1=0.0)]), loss="poisson"
    )
    design = np.stack([np.ones_like(X), X], axis=1)
    beta = np.array([40.0, 0.0])
    for _ in range(100):
        weight = 1 / (design @ beta)
        beta = np.linalg.solve(design.T @ (design * weight[:, None]), design.T @ (weight * y))
    np.testing.assert_allclose(fit["value"], beta, rtol=1e-7)
