"""Variances of counts: the numbers of the linear model, never zero, lazy."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import curve_fit

import xfit
from tests.support.builders import from_source
from xfit.components import Gaussian, Offset


def test_the_linear_model() -> None:
    """HyperSpy's three numbers where these are above the floor, and the floor where not:
    max(offset, gain**2) * correlation.
    """
    da = xr.DataArray([0.0, 1.0, 4.0, 100.0], dims="x")
    assert xfit.noise.poisson_variance(da).values.tolist() == [1, 1, 4, 100]
    assert xfit.noise.poisson_variance(da, 2.0, 10.0, 1.5).values.tolist() == [15, 18, 27, 315]
    assert xfit.noise.poisson_variance(da, gain=3.0).values.tolist() == [9, 9, 12, 300]
    assert xfit.noise.Poisson(2.0, 10.0, 1.5).variance(da).values.tolist() == [15, 18, 27, 315]


def test_never_zero_or_negative() -> None:
    da = xr.DataArray([-50.0, -1.0, 0.0, 1e-300, np.nan, 1e300], dims="x")
    for gain, offset, correlation in [(1, 0, 1), (0.01, 0, 0.1), (5, 1e-9, 2), (1, 100, 1)]:
        variance = xfit.noise.poisson_variance(da, gain, offset, correlation).values
        assert np.isnan(variance).tolist() == [False, False, False, False, True, False]
        assert (variance[~np.isnan(variance)] >= correlation * max(offset, gain**2)).all()


def test_lazy_and_labelled() -> None:
    da = xr.DataArray(
        np.arange(12, dtype="uint16").reshape(3, 4),
        dims=("p", "x"),
        coords={"x": [1.0, 2, 3, 4]},
        attrs={"units": "counts"},
    )
    lazy, _ = from_source(da, {"p": 1}, forbidden=True)
    variance = xfit.noise.poisson_variance(lazy)
    assert variance.chunks == lazy.chunks
    assert variance.dtype == np.float64
    now = xfit.noise.poisson_variance(da)
    assert now.attrs == {"long_name": "variance", "units": "counts^2"}
    assert now.coords.equals(da.coords)


def test_a_fit_with_empty_channels() -> None:
    """What breaks HyperSpy's fits: an empty channel has a weight like any other. Against
    SciPy with the same weights.
    """
    x = np.linspace(-5, 5, 60)
    y = np.random.default_rng(0).poisson(0.3 + 9 * np.exp(-(x**2) / 2)).astype(float)
    assert (y == 0).any()
    da = xr.DataArray(y, dims="x", coords={"x": x})
    m = xfit.Model([Gaussian(name="g", A=20, centre=0.2, sigma=1.2), Offset(name="o", offset=0.5)])
    given = da.fit(m, variance=xfit.noise.poisson_variance(da))
    named = da.fit(m, variance="poisson")
    np.testing.assert_allclose(named["value"], given["value"], rtol=1e-12)
    np.testing.assert_allclose(named["chisq"], given["chisq"], rtol=1e-12)
    assert named.attrs["xfit_noise_gain"] == 1.0

    def curve(x, a, c, s, o):
        return a / (s * np.sqrt(2 * np.pi)) * np.exp(-((x - c) ** 2) / (2 * s * s)) + o

    p, covariance = curve_fit(curve, x, y, [20, 0.2, 1.2, 0.5], sigma=np.sqrt(np.maximum(y, 1)), ftol=1e-14, xtol=1e-14)
    np.testing.assert_allclose(named["value"], p, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(named["stderr"], np.sqrt(np.diag(covariance)), rtol=1e-5)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [((0, 0, 1), "gain=0"), ((1, -1, 1), "offset=-1"), ((1, 0, 0), "correlation=0"), ((np.inf, 0, 1), "gain=inf")],
)
def test_refusals(numbers, words) -> None:
    with pytest.raises(ValueError, match=words):
        xfit.noise.Poisson(*numbers)
    with pytest.raises(TypeError, match="DataArray"):
        xfit.noise.poisson_variance(np.ones(3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="gain='2'"):
        xfit.noise.poisson_variance(xr.DataArray([1.0], dims="x"), gain="2")  # type: ignore[arg-type]
