"""Reports of maps and of pixels, as text and as HTML."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.builders import peak_map, two_peaks
from xfit.components import Gaussian, Gaussian2D, GaussianHF, Offset, PESCoreLineShape, Voigt


@pytest.fixture(scope="module")
def fit() -> xr.Dataset:
    model = two_peaks()
    model["left"].centre.set(min=5, max=5.6)
    model["right"].sigma.tie("1.3*left.sigma")
    return peak_map().fit.multifit(model, covariance=True)


def test_a_pixel(fit) -> None:
    report = fit.fit.report(y=0.5, x=1.0)
    lines = report.splitlines()
    assert lines[0] == "fit of eels at y=0.5, x=1.0: converged"
    pixel = fit.isel(y=1, x=2)
    assert "60 channels, 6 free parameters" in lines[1]
    assert lines[1].startswith("lm, loss ls = ")
    assert f"reduced {float(pixel['red_chisq']):.6g}" in lines[2]
    assert f"AICc {float(pixel['aicc']):.6g}" in lines[3]
    row = next(line for line in lines if line.startswith("left.A"))
    value, error = float(pixel.fit["left.A"]), float(pixel.fit.stderr("left.A"))
    assert f"{value:.1f} ± {error:.1f}" in row
    assert f"{100 * error / value:.2g} %" in row
    assert "at max" in next(line for line in lines if line.startswith("left.centre"))
    assert "= 1.3*left.sigma" in next(line for line in lines if line.startswith("right.sigma"))
    assert any(line.startswith("left.fwhm") and "±" in line for line in lines)
    assert "warning: left.centre lies at its upper bound and has no error" in lines


def test_correlations(fit) -> None:
    """Covariances over both errors, largest first, above the threshold; as a map, one on the diagonal."""
    pixel = fit.isel(y=1, x=2)
    text = fit.fit.report(y=0.5, x=1.0, min_correlation=0.0)
    covariance = float(pixel["covariance"].sel(param="left.A", param_="left.sigma"))
    expected = covariance / float(pixel.fit.stderr("left.A")) / float(pixel.fit.stderr("left.sigma"))
    row = next(line for line in text.splitlines() if line.startswith("left.A") and "left.sigma" in line)
    assert f"{expected:+.3f}" in row
    sizes = [
        abs(float(line.split()[-1])) for line in text.split("correlation of")[1].splitlines()[2:] if line.count("  ")
    ]
    assert sizes == sorted(sizes, reverse=True)
    few = fit.fit.report(y=0.5, x=1.0, min_correlation=0.99)
    assert "no correlation above 0.99" in few
    maps = fit.fit.correlation()
    assert maps.dims == ("y", "x", "param", "param_")
    np.testing.assert_allclose(maps.sel(param="left.A", param_="left.sigma")[1, 2], expected, rtol=1e-12)
    assert (maps.sel(param="bg.offset", param_="bg.offset") == 1).all()
    assert maps.sel(param="left.centre").isnull().any()
    without = peak_map().fit.multifit(two_peaks())
    assert "covariance=True" in without.fit.report(y=0, x=0)
    with pytest.raises(ValueError, match="covariance=True"):
        without.fit.correlation()


def test_warnings() -> None:
    da = peak_map()
    wrong = da.fit.multifit(two_peaks(), variance=1e-4, scale_covariance=False)
    assert "is far from one" in wrong.fit.report(y=0, x=0)
    short = da.fit.multifit(two_peaks(), max_nfev=1)
    assert "warning: the fit has not converged" in short.fit.report(y=0, x=0)
    single = da[0, 0].fit(two_peaks())
    assert single.fit.report().startswith("fit of eels: converged")


def test_a_map(fit) -> None:
    text = fit.fit.report()
    assert text.startswith("fit of eels: 12 pixels")
    assert "100.0 %" in text
    assert "warning: left.centre lies at a bound in " in text


def test_html(fit) -> None:
    """Tables with all names escaped."""
    html = fit.fit.report(y=0.5, x=1.0)._repr_html_()
    assert html.count("<table") == 3
    assert "<td" in html
    assert "left.A" in html
    assert repr(fit.fit.report()) == str(fit.fit.report())
    assert fit.fit.table(y=0, x=0)._repr_html_().count("<table") == 1


def test_refusals(fit) -> None:
    with pytest.raises(ValueError, match=r"missing: \['x'\]"):
        fit.fit.report(y=0)
    with pytest.raises(ValueError, match="min_correlation=2"):
        fit.fit.report(y=0, x=0, min_correlation=2)


def test_places_outside_of_the_map_are_refused(fit) -> None:
    """The nearest pixel is taken within a step of the ends, and beyond it is not what was meant."""
    y = fit["y"].values
    beside, on = (fit.fit.report(y=place, x=0.0).splitlines() for place in (y[0] - 0.4, y[0]))
    assert beside[1:] == on[1:]
    with pytest.raises(ValueError, match=rf"y=1000.0 lies outside of 'y', which goes from {y.min():g} to {y.max():g}"):
        fit.fit.report(y=1000.0, x=0.0)


# --- lines too narrow for the channels


def words(report: str) -> str:
    return " ".join(report.split())


LINES = {
    "derived": (lambda w: Gaussian(name="n", centre=4.02, sigma=w / 2.3548), "fwhm"),
    "a parameter": (lambda w: GaussianHF(name="n", centre=4.02, fwhm=w), "fwhm"),
    "in capitals": (lambda w: PESCoreLineShape(name="n", origin=4.02, FWHM=w), "FWHM"),
    "of two widths": (lambda w: Voigt(name="n", centre=4.02, sigma=w / 2.3548, gamma=0.0), "fwhm"),
}


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize(
    ("binned", "width", "said"), [(False, 0.09, True), (False, 0.11, False), (True, 0.19, True), (True, 0.21, False)]
)
def test_a_line_narrower_than_the_channels_is_named(kind: str, binned: bool, width: float, said: bool) -> None:
    """Channels of 0.1; of binned data up to two of them are too few."""
    make, name = LINES[kind]
    line = make(width)
    line.set_parameters_not_free([p.name for p in line.parameters if not p.linear])
    x = np.linspace(0, 10, 101)
    da = xr.DataArray(np.exp(-((x - 4) ** 2) * 100), dims="x", coords={"x": x})
    fit = da.fit(xfit.Model([line, Offset(name="o")]), binned=binned)
    text = words(fit.fit.report())
    assert ("n is narrower than" in text) is said
    if said:
        what = "two channels of binned data" if binned else "a channel"
        assert f"warning: n is narrower than {what}: {name} {width:.3g}, channels of 0.1." in text


def test_narrow_lines_are_counted_over_a_map_and_at_the_channels_where_they_are() -> None:
    x = np.concatenate([np.arange(0, 5, 0.05), np.arange(5, 10, 0.2)])
    sigma, centre = np.array([0.01, 0.05, 0.05, 0.2]), np.array([2.0, 2.0, 8.0, 8.0])
    g = Gaussian(name="g")
    g.set_parameters_not_free(["centre", "sigma"])
    da = xr.DataArray(np.ones((4, x.size)), dims=("p", "x"), coords={"x": x})
    start = {"g.sigma": xr.DataArray(sigma, dims="p"), "g.centre": xr.DataArray(centre, dims="p")}
    fit = da.fit.multifit(xfit.Model([g]), start=start)
    # Full widths of 0.024 and 0.118 at channels of 0.05, of 0.118 and 0.47 at channels of 0.2.
    assert "g is narrower than a channel in 2 of 4 pixels: fwhm" in words(fit.fit.report())
    assert "narrower" not in fit.fit.report(p=1)
    assert "narrower" in fit.fit.report(p=2)
    assert "g is narrower than a channel in 2 of 4 pixels" in words(repr(fit.fit))


def test_narrow_spots_of_images() -> None:
    x, y = np.linspace(0, 10, 51), np.linspace(0, 10, 26)
    spot = Gaussian2D(name="s", centre_x=4.0, centre_y=4.0, sigma_x=0.5, sigma_y=0.1)
    spot.set_parameters_not_free(["centre_x", "centre_y", "sigma_x", "sigma_y"])
    da = xr.DataArray(np.ones((26, 51)), dims=("y", "x"), coords={"x": x, "y": y})
    text = words(da.fit(xfit.Model([spot])).fit.report())
    assert "s is narrower than a channel: fwhm_y 0.235, channels of 0.4." in text
    assert text.count("narrower than") == 1


def test_reports_say_where_errors_mean_something_else():
    """By simulation, see the page on calibration: variances taken from few counts, few degrees of
    freedom, arctan with a small scale.
    """
    x = np.linspace(0, 10, 12)
    da = xr.DataArray(np.random.default_rng(0).poisson(20.0, (3, 12)).astype(float), dims=("p", "x"), coords={"x": x})
    model = xfit.Model([Offset(name="o", offset=10.0)])

    def said(report):
        return " ".join(str(report).split())

    low = "levels are low by about one count"
    assert low in said(da.fit.multifit(model, variance="poisson").fit.report())
    assert low not in said(da.fit.multifit(model, variance="poisson", reweight=True).fit.report())
    few = "few degrees of freedom in 3 of 3 pixels"
    assert few in said(da.fit.multifit(model).fit.report())
    assert few not in said(da.fit.multifit(model, scale_covariance=False, variance=20.0).fit.report())
    scale = "with a loss_scale below 2"
    assert scale in said(da.fit.multifit(model, loss="arctan", variance=20.0).fit.report())
    assert scale not in said(da.fit.multifit(model, loss="arctan", loss_scale=2.5, variance=20.0).fit.report())
