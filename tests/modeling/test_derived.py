"""Quantities derived from parameters: values and errors against the full covariance, closed forms and simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import integrate

from tests.support.builders import peak_map, peak_truth, two_peaks
from tests.support.library import CASES
from xfit import Component, Model
from xfit.components import Gaussian, Gaussian2D, GaussianHF, Lorentzian, Offset
from xfit.engine.block.fit_block import evaluate_block
from xfit.engine.codegen.program import Program

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
    spot = Gaussian2D(A=1.0, sigma_x=2.0, sigma_y=3.0)
    assert spot.height == pytest.approx(1 / (12 * math.pi), rel=1e-15)
    assert (spot.sigma_major, spot.sigma_minor, spot.ellipticity) == (3.0, 2.0, 1.5)


def curve(component: Component, x: np.ndarray) -> np.ndarray:
    values = np.array([[p.value for p in component]])
    return evaluate_block(Program.from_model(Model([component])), values, {"x": x})[0]


def half_width(x: np.ndarray, f: np.ndarray) -> float:
    """Full width at half maximum of sampled values, interpolated."""
    above = np.flatnonzero(f >= f.max() / 2)
    ends = []
    for inside, outside in ((above[0], above[0] - 1), (above[-1], above[-1] + 1)):
        part = (f.max() / 2 - f[outside]) / (f[inside] - f[outside])
        ends.append(x[outside] + part * (x[inside] - x[outside]))
    return float(ends[1] - ends[0])


def moments(x: np.ndarray, f: np.ndarray) -> dict[str, float]:
    """Area and moments of sampled values."""
    area = integrate.simpson(f, x=x)
    mean = integrate.simpson(x * f, x=x) / area
    second, third = (integrate.simpson((x - mean) ** k * f, x=x) / area for k in (2, 3))
    return {"area": area, "mean": mean, "variance": second, "skewness": third / second**1.5}


@pytest.mark.parametrize(
    "name", [n for n, case in CASES.items() if case.make.derived and case.make.coordinates == ("x",)]
)
def test_quantities_are_those_of_the_curve(name: str) -> None:
    """Widths, heights, areas and moments measured on the curve itself, finely sampled."""
    component = CASES[name].component()
    first, last = CASES[name].x
    x = (
        np.linspace(first, last, 400_001)
        if name == "DampedOscillator"
        else np.sinh(np.linspace(-12, 12, 800_001)) / 4 + 0.7
    )
    if name == "LogNormal":
        x = x[x > 0]
    f = curve(component, x)
    found: dict[str, Callable[[], Any]] = {
        "fwhm": lambda: half_width(x, f),
        "height": f.max,
        "mode": lambda: x[f.argmax()],
        "maximum": lambda: x[f.argmax()],
    }
    # Of heavy tails something lies beyond 4e4: 1e-5 of a Lorentzian; grids are as fine as 1e-5 at the maximum.
    for key in set(component.derived) & set(found):
        rtol = 3e-4 if (name.startswith(("Voigt", "PESVoigt")) and key == "fwhm") else 2e-5
        if name == "Erf" or (name.startswith("PESVoigt with") and key == "fwhm"):
            continue  # of the derivative; of each of two lines
        assert getattr(component, key) == pytest.approx(float(found[key]()), rel=rtol), key
    wanted = set(component.derived) & {"area", "mean", "variance", "skewness"}
    measured = moments(x, f) if wanted else {}
    for key in wanted:
        assert getattr(component, key) == pytest.approx(measured[key], rel=1e-4), key


def test_widths_of_images() -> None:
    x = np.linspace(-30, 30, 600_001)
    for name in ("Lorentzian2D", "Moffat2D", "AiryDisk"):
        component = CASES[name].component()
        at = {"x": x + component.centre_x.value, "y": np.full(x.size, component.centre_y.value)}
        values = np.array([[p.value for p in component]])
        f = evaluate_block(Program.from_model(Model([component.copy()])), values, at)[0]
        width = component.fwhm if name == "AiryDisk" else component.fwhm_x
        assert width == pytest.approx(half_width(x, f), rel=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_names_do_not_hide_parameters(name: str) -> None:
    """A derived quantity has no parameter's name, and is a formula of parameters."""
    component = CASES[name].component()
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


def test_axes_of_a_spot_have_errors() -> None:
    """The larger one is that of y in these images, with its error."""
    y, x = np.meshgrid(np.linspace(-6, 6, 25), np.linspace(-6, 6, 24), indexing="ij")
    noise = np.random.default_rng(0).normal(0, 0.01, (3, *x.shape))
    images = np.exp(-(x**2) / 2 - y**2 / 8) + noise
    da = xr.DataArray(images, dims=("p", "y", "x"), coords={"y": y[:, 0], "x": x[0]})
    fit = da.fit.multifit(Model([Gaussian2D(name="s", A=10, sigma_x=1.2, sigma_y=1.8)]))
    np.testing.assert_array_equal(fit.fit["s.sigma_major"], fit.fit["s.sigma_y"])
    np.testing.assert_allclose(fit.fit.stderr("s.sigma_major"), fit.fit.stderr("s.sigma_y"), rtol=1e-12)
    np.testing.assert_allclose(fit.fit["s.ellipticity"], 2.0, rtol=0.02)
    assert (fit.fit.stderr("s.ellipticity") > 0).all()


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
