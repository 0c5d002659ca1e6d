"""Confidence intervals: against lmfit, iminuit's MINOS and closed forms; the bootstrap against the profile."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from iminuit import Minuit
from lmfit.models import ConstantModel, GaussianModel
from scipy import stats

import xfit
from tests.support.builders import assert_same_bits
from tests.support.loss_data import START, X, cash_of, counts, curve, log_cosh, model, with_outliers
from xfit.components import Offset
from xfit.results.fit_result import ONE_SIGMA

NAMES = {"amplitude": "g.A", "center": "g.centre", "sigma": "g.sigma", "c": "o.offset"}


@pytest.mark.parametrize("sigmas", [1, 2])
def test_the_profiles_of_lmfit(sigmas) -> None:
    """Least squares with a scale from the fit: the F-test, as lmfit has it; to lmfit's own tolerance."""
    da = counts(3)
    level = float(2 * stats.norm.cdf(sigmas) - 1)
    found = da.fit.multifit(model()).fit.conf_interval(da, level=level)
    for i, y in enumerate(da.values):
        theirs = GaussianModel() + ConstantModel()
        start = theirs.make_params(amplitude=90, center=0.4, sigma=1.3, c=3)
        result = theirs.fit(y, start, x=X, fit_kws={"ftol": 1e-13, "xtol": 1e-13})
        intervals = result.conf_interval(sigmas=[sigmas])
        for name, ours in NAMES.items():
            low, high = intervals[name][0][1], intervals[name][-1][1]
            close = 1e-5 * (high - low)
            assert float(found["lower"].sel(param=ours)[i]) == pytest.approx(low, abs=close)
            assert float(found["upper"].sel(param=ours)[i]) == pytest.approx(high, abs=close)


def test_minos() -> None:
    """Counts: where Cash's statistic has risen by the quantile of chi-squared."""
    da = counts(3)
    found = da.fit.multifit(model(), loss="poisson").fit.conf_interval(da, level=[0.68, 0.95])
    for i, y in enumerate(da.values):
        minuit = Minuit(cash_of(y), **START, offset=3.0)
        minuit.tol = 1e-7
        minuit.strategy = 2
        minuit.migrad()
        for k, level in enumerate((0.68, 0.95)):
            minuit.minos(cl=level)
            for name, ours in zip(("A", "centre", "sigma", "offset"), NAMES.values(), strict=True):
                low, high = (minuit.values[name] + getattr(minuit.merrors[name], side) for side in ("lower", "upper"))
                close = 1e-3 * (high - low)  # MINOS itself stops at about this
                assert float(found["lower"].sel(param=ours)[i, k]) == pytest.approx(low, abs=close)
                assert float(found["upper"].sel(param=ours)[i, k]) == pytest.approx(high, abs=close)


def test_a_parabola_has_symmetric_intervals() -> None:
    """The mean of data of known variance: plus and minus the standard error times the normal quantile."""
    da = counts(4)
    fit = da.fit.multifit(xfit.Model([Offset(name="o", offset=1.0)]), variance=9.0, scale_covariance=False)
    found = fit.fit.conf_interval(da, variance=9.0, level=0.9)
    half = stats.norm.ppf(0.95) * 3 / np.sqrt(X.size)
    np.testing.assert_allclose(found["upper"].sel(param="o.offset"), da.mean("x") + half, rtol=1e-6)
    np.testing.assert_allclose(found["lower"].sel(param="o.offset"), da.mean("x") - half, rtol=1e-6)
    # Fitted without a scale, they are as wide as a t interval.
    scaled = da.fit.multifit(xfit.Model([Offset(name="o", offset=1.0)])).fit.conf_interval(da, level=0.9)
    t = stats.t.ppf(0.95, X.size - 1) * da.std("x", ddof=1) / np.sqrt(X.size)
    np.testing.assert_allclose(scaled["upper"].sel(param="o.offset") - da.mean("x"), t, rtol=1e-5)


def test_ends_at_bounds_and_ends_at_infinity() -> None:
    """An interval stops at the parameter's bound; a width that nothing determines has no upper end."""
    da = counts(2)
    m = model()
    m["o.offset"].set(min=0, max=50)
    best = da.fit.multifit(m)
    m["o.offset"].set(min=float(best.fit["o.offset"].min()) - 0.01, value=10.0)
    fit = da.fit.multifit(m)
    found = fit.fit.conf_interval(da, "o.offset", level=0.99)
    lowest = int(best.fit["o.offset"].argmin())
    assert float(found["lower"][lowest, 0]) == m["o.offset"].min
    flat = xr.DataArray(5 + np.random.default_rng(0).normal(0, 1, (1, X.size)), dims=("pixel", "x"), coords={"x": X})
    shape = xfit.Model([xfit.components.Expression("a*exp(-s*x**2) + b", name="e", a=0.5, s=0.5, b=5.0)])
    result = flat.fit.multifit(shape)
    if int(result["status"][0]) == 1:
        ends = result.fit.conf_interval(flat, ["e.s"], level=0.99)
        assert not np.isfinite(ends["upper"].values).all() or float(ends["upper"][0, 0]) > 1


def test_ties_masks_and_components_that_are_off() -> None:
    """What the fit was given is given again; where a component was off there is no interval."""
    da = counts(4)
    m = xfit.Model(
        [
            xfit.components.Gaussian(name="g", **START),
            xfit.components.Gaussian(name="h", A=5.0, centre=3.0, sigma=1.0),
            Offset(name="o", offset=3.0),
        ]
    )
    m["h.sigma"].tie("g.sigma")
    m["h.centre"].free = False
    where = xr.DataArray(abs(X) < 4.5, dims="x")
    active = {"h": xr.DataArray([True, False, True, True], dims="pixel")}
    fit = da.fit.multifit(m, where=where, active=active)
    found = fit.fit.conf_interval(da, where=where)
    assert list(found["param"].values) == ["g.A", "g.centre", "g.sigma", "h.A", "o.offset"]
    missing = found["lower"].isnull()
    assert missing.sel(param="h.A").values.tolist() == [False, True, False, False]
    assert not missing.drop_sel(param="h.A").any()
    error = fit["stderr"].sel(param=found["param"].values)
    half = (found["upper"] - found["lower"]) / 2
    # The area of the second peak, which is not there, ends at its bound of zero.
    np.testing.assert_allclose((half / error).drop_sel(param="h.A"), 1.0, atol=0.15)


def test_lazily_and_in_chunks() -> None:
    da = counts(7)
    whole = da.fit.multifit(model(), loss="poisson")
    for method in ("profile", "bootstrap"):
        expected = whole.fit.conf_interval(da, ["g.A", "g.sigma"], method=method, samples=30)
        lazy = da.chunk(pixel=3)
        found = lazy.fit.multifit(model(), loss="poisson").fit.conf_interval(
            lazy, ["g.A", "g.sigma"], method=method, samples=30
        )
        assert found["lower"].chunks is not None
        assert_same_bits(found.compute(), expected)


@pytest.mark.parametrize(
    ("options", "again"),
    [
        ({}, {}),
        ({"variance": 12.0}, {"variance": 12.0}),
        ({"variance": "poisson"}, {}),
        ({"loss": "poisson"}, {}),
        ({"variance": "poisson", "reweight": True}, {}),
    ],
)
def test_the_bootstrap_is_as_wide_as_the_profile(options, again) -> None:
    """Of 1,000 samples a percentile of the ends scatters by 5 % of the width."""
    da = counts(2, scale=5.0)
    fit = da.fit.multifit(model(), **options)
    wide = fit.fit.conf_interval(da, method="bootstrap", samples=1000, **again)
    profile = fit.fit.conf_interval(da, **again)
    ratio = (wide["upper"] - wide["lower"]) / (profile["upper"] - profile["lower"])
    # With the variance of the data the weights are wrong by the counts' scatter, which the bootstrap sees.
    np.testing.assert_allclose(ratio, 1.0, atol=0.2)


def test_the_bootstrap_of_robust_losses() -> None:
    """Deviations drawn anew: intervals like the standard errors of the sandwich."""
    da = with_outliers(3)
    for loss in ("huber", xfit.LossKernel(log_cosh)):
        again = {} if isinstance(loss, str) else {"loss": loss}
        fit = da.fit.multifit(model(), loss=loss)
        found = fit.fit.conf_interval(da, method="bootstrap", samples=600, **again)
        half = (found["upper"] - found["lower"]) / 2
        np.testing.assert_allclose(half / fit["stderr"], 1.0, atol=0.3)
        with pytest.raises(ValueError, match="bootstrap"):
            fit.fit.conf_interval(da, **again)


def test_pixels_that_failed_have_no_intervals() -> None:
    da = counts(3)
    da[1] = np.nan
    found = da.fit.multifit(model()).fit.conf_interval(da)
    assert found["lower"].isnull().all("param").values.tolist() == [False, True, False]
    assert found.attrs["method"] == "profile"
    assert float(found["level"]) == ONE_SIGMA


@pytest.mark.parametrize(
    ("args", "options", "error", "words"),
    [
        (["g.center"], {}, ValueError, "g.center"),
        (None, {"level": 68}, ValueError, "level=68"),
        (None, {"method": "hesse"}, ValueError, "'profile' or 'bootstrap'"),
        (None, {"samples": 1}, ValueError, "samples=1"),
        (None, {"sigma": 3}, TypeError, "sigma"),
    ],
)
def test_refusals(args, options, error, words) -> None:
    da = counts(1)
    with pytest.raises(error, match=words):
        da.fit.multifit(model()).fit.conf_interval(da, args, **options)


def test_curve_is_the_model() -> None:
    """The references above are of the same curve."""
    da = counts(1)
    fit = da.fit.multifit(model())
    np.testing.assert_allclose(fit.fit.evaluate()[0], curve(fit["value"][0].values), rtol=1e-12)
