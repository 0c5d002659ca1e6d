"""Reports of maps and of pixels, as text and as HTML."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.builders import peak_map, two_peaks


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
