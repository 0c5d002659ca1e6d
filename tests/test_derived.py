"""Quantities derived from parameters: values and errors against the full covariance, closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr

from tests.builders import peak_map, peak_truth, two_peaks
from xfit import Model
from xfit.components import TYPES, Expression, Gaussian, Gaussian2D, GaussianHF, Lorentzian, Offset
from xfit.components.function import Function

FWHM = 2 * math.sqrt(2 * math.log(2))


@pytest.fixture(scope="module")
def da() -> xr.DataArray:
    return peak_map()


def test_numbers_of_a_component() -> None:
    """They follow the parameters and can't be set."""
    peak = Gaussian(A=3.0, sigma=2.0)
    assert peak.fwhm == pytest.approx(2 * FWHM, rel=1e-15)
    assert peak.height == pytest.approx(3 / (2 * math.sqrt(2 * math.pi)), rel=1e-15)
    peak.sigma.value = 1.0
    assert peak.fwhm == pytest.approx(FWHM, rel=1e-15)
    with pytest.raises(AttributeError):
        peak.fwhm = 3.0
    assert {"fwhm", "height"} <= set(dir(peak))
    high = GaussianHF(height=2.0, fwhm=FWHM)
    assert (high.sigma, high.area) == pytest.approx((1.0, 2 * math.sqrt(2 * math.pi)), rel=1e-15)
    assert Lorentzian(A=2.0, gamma=0.5).height == pytest.approx(4 / math.pi, rel=1e-15)
    assert Gaussian2D(A=1.0, sigma_x=2.0, sigma_y=3.0).height == pytest.approx(1 / (12 * math.pi), rel=1e-15)


@pytest.mark.parametrize("kind", [kind for kind in TYPES.values() if kind not in (Expression, Function)])
def test_names_do_not_hide_parameters(kind: type) -> None:
    """A derived quantity has no parameter's name, and is a formula of parameters."""
    component = kind()
    for name, quantity in component.derived.items():
        assert name not in component
        assert math.isfinite(getattr(component, name))
        assert quantity.description


def test_maps_with_units_and_errors(da: xr.DataArray) -> None:
    """Values and errors by hand from the full covariance; units from data and coordinate."""
    fit = da.fit.multifit(two_peaks())
    full = da.fit.multifit(two_peaks(), covariance=True)
    area, sigma = full.fit["left.A"], full.fit["left.sigma"]
    height, error = fit.fit["left.height"], fit.fit.stderr("left.height")
    np.testing.assert_allclose(height, area / (sigma * math.sqrt(2 * math.pi)), rtol=1e-13)
    names = list(full["param"].values)
    a, s = names.index("left.A"), names.index("left.sigma")
    c = full["covariance"].values
    slope_a, slope_s = (height / area).values, (-height / sigma).values
    variance = slope_a**2 * c[..., a, a] + slope_s**2 * c[..., s, s] + 2 * slope_a * slope_s * c[..., a, s]
    # The two fits take errors by two ways: two matrices of condition 1e3 or so, inverted in double precision.
    np.testing.assert_allclose(error, np.sqrt(variance), rtol=1e-9)
    np.testing.assert_allclose(full.fit.stderr("left.height"), np.sqrt(variance), rtol=1e-12)
    assert height.attrs == {"long_name": "left height", "units": "counts"}
    assert fit.fit["left.fwhm"].attrs["units"] == "eV"
    assert fit.fit.stderr("left.fwhm").attrs["long_name"] == "standard error of left fwhm"
    np.testing.assert_allclose(fit.fit.stderr("left.fwhm"), FWHM * fit.fit.stderr("left.sigma"), rtol=1e-13)
    assert "pair_covariance" not in full
    assert fit.sizes["pair"] == 2


def test_errors_are_the_spread_of_repeated_measurements() -> None:
    """Over 400 noisy copies of one spectrum, heights spread by their error.

    The spread of 400 numbers is known to 3.5 %; four times that is allowed.
    """
    da = peak_map((1, 400), noise=0.2)
    truth = peak_truth((1, 1))
    clean = peak_map((1, 1), noise=0.0).values[0, 0]
    da = da.copy(data=clean + 0.2 * np.random.default_rng(7).normal(size=da.shape))
    fit = da.fit.multifit(two_peaks())
    height = fit.fit["right.height"].values
    expected = float(truth["right.A"][0, 0] / (truth["right.sigma"][0, 0] * math.sqrt(2 * math.pi)))
    assert height.std() == pytest.approx(float(fit.fit.stderr("right.height").mean()), rel=0.14)
    assert height.mean() == pytest.approx(expected, abs=4 * height.std() / 20)


def test_ties_fixed_parameters_and_bounds(da: xr.DataArray) -> None:
    """Tied parameters carry their covariance; what is fixed or at a bound adds nothing."""
    model = two_peaks()
    model["right"].sigma.tie("1.3*left.sigma")
    model["left"].A.set(value=40.0, free=False)
    model["bg"].offset.set(min=1.2, value=1.3)
    fit = da.fit.multifit(model)
    full = da.fit.multifit(model, covariance=True)
    for name in ("left.height", "left.fwhm", "right.height", "right.fwhm"):
        np.testing.assert_allclose(fit.fit.stderr(name), full.fit.stderr(name), rtol=1e-9)
        assert (fit.fit.stderr(name) > 0).all()
    height, sigma = fit.fit["left.height"], fit.fit["left.sigma"]
    np.testing.assert_allclose(fit.fit.stderr("left.height"), height / sigma * fit.fit.stderr("left.sigma"), rtol=1e-12)
    model["left"].sigma.set(value=1.2, free=False)
    fit = da.fit.multifit(model)
    assert np.isnan(fit.fit.stderr("left.height")).all()
    np.testing.assert_allclose(fit.fit["left.fwhm"], 1.2 * FWHM)


def test_lazy_and_stored(da: xr.DataArray, tmp_path: object) -> None:
    """They are lazy for lazy results, and a stored result gives the same."""
    fit = da.fit.multifit(two_peaks())
    lazy = da.chunk(y=1).fit.multifit(two_peaks())
    assert lazy.fit["left.height"].chunks is not None
    assert lazy.fit.stderr("left.height").chunks is not None
    path = f"{tmp_path}/fit.zarr"
    lazy.to_zarr(path, consolidated=False)
    back = xr.open_zarr(path, consolidated=False)
    for each in (lazy, back):
        xr.testing.assert_equal(each.fit["left.height"].compute().drop_attrs(), fit.fit["left.height"].drop_attrs())
        np.testing.assert_array_equal(each.fit.stderr("left.height"), fit.fit.stderr("left.height"))
        assert each.fit["left.height"].attrs == fit.fit["left.height"].attrs


def test_unknown_names(da: xr.DataArray) -> None:
    """The message lists parameters and derived quantities."""
    fit = da.fit.multifit(two_peaks())
    with pytest.raises(KeyError, match=r"no parameter 'left.with'.*'left.A'.*'left.fwhm'"):
        fit.fit["left.with"]
    with pytest.raises(AttributeError, match="fwhm"):
        _ = Offset().fwhm


def test_no_pairs_without_need() -> None:
    """A model without quantities of two parameters keeps no covariances."""
    x = np.linspace(0, 1, 20)
    fit = xr.DataArray(2 + x, dims="x", coords={"x": x}).fit(Model([Offset(name="o")]))
    assert "pair" not in fit.dims
