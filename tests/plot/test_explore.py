"""Start values chosen by eye: changes, undo, fits, and peaks dragged in a real browser."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.builders import ENERGY, drifting_model, drifting_peak, image_map, spot
from tests.support.pages import TOKEN, Page, browser, free_port
from xfit.components import Gaussian, Offset


@pytest.fixture(scope="module")
def da() -> xr.DataArray:
    return drifting_peak((6, 8), ("y", "x"))


def off_model() -> xfit.Model:
    """Start values from which nobody would want to begin."""
    return xfit.Model([Gaussian(name="Fe", A=200, centre=3, sigma=1.5), Offset(name="bg", offset=5)])


def test_the_model_of_the_user_stays_as_it_is(da):
    model = off_model()
    explorer = da.fit.explore(model)
    explorer.change("Fe.centre", value=4.0)
    explorer.change("bg.offset", free=False, min=0.0)
    assert model == off_model()
    assert explorer.model["Fe"].centre.value == 4.0
    assert not explorer.model["bg"].offset.free
    assert explorer.model["bg"].offset.min == 0.0
    explorer.undo()
    assert explorer.model["bg"].offset.free
    explorer.undo()
    explorer.undo()
    assert explorer.model == off_model()


def test_the_spectrum_and_the_curves(da):
    explorer = da.fit.explore(off_model())
    np.testing.assert_allclose(explorer.spectrum, da.mean(("y", "x")), rtol=1e-12)
    explorer.look_at({"y": 2, "x": 3})
    np.testing.assert_array_equal(explorer.spectrum, da[2, 3])
    peak = 200 / (1.5 * np.sqrt(2 * np.pi)) * np.exp(-((ENERGY - 3) ** 2) / 2 / 1.5**2)
    np.testing.assert_allclose(explorer.curve("Fe"), peak, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(explorer.curve(), peak + 5, rtol=1e-9)
    lazy = da.chunk({"y": 2, "x": 8}).fit.explore(off_model())
    np.testing.assert_allclose(lazy.spectrum, da[2:4].mean(("y", "x")), rtol=1e-12)


def test_peaks_are_dragged(da):
    explorer = da.fit.explore(off_model())
    (_, name, x, _), (_, width, side, _) = explorer.handles()
    assert (name, x, width, side) == ("centre", 3.0, "sigma", 4.5)
    explorer.drag("Fe", "centre", 5.0)
    explorer.drag("Fe", "sigma", 4.2)
    assert explorer.model["Fe"].centre.value == 5.0
    assert explorer.model["Fe"].sigma.value == pytest.approx(0.8, rel=1e-12)
    explorer.change("Fe.centre", max=6.0)
    explorer.drag("Fe", "centre", 9.0)
    assert explorer.model["Fe"].centre.value == 6.0


def test_fits_of_one_and_of_all(da):
    explorer = da.fit.explore(off_model(), loss="poisson")
    explorer.look_at({"y": 1, "x": 2})
    explorer.fit_this()
    expected = da[1, 2].fit(off_model(), loss="poisson")
    for name, value in zip(expected["param"].values, expected["value"].values, strict=True):
        assert explorer.model.parameter(str(name)).value == value
    assert explorer.message.startswith("converged")
    start = explorer.model
    fit = explorer.fit_all()
    assert explorer.result is fit
    xr.testing.assert_identical(fit, da.fit.multifit(start, loss="poisson"))
    assert explorer.message.startswith("100.0% of 48 pixels converged")
    explorer.undo()
    assert explorer.model == off_model()


def test_options_that_are_maps(da):
    explorer = da.fit.explore(off_model(), variance=da.clip(min=1))
    explorer.fit_this()
    explorer.look_at({"y": 0, "x": 0})
    explorer.fit_this()
    after = da[0, 0].fit(explorer.model, variance=da[0, 0].clip(min=1))
    assert float(after["value"].sel(param="Fe.centre")) == pytest.approx(explorer.model["Fe"].centre.value, rel=1e-6)


def test_the_map_to_click_on(da):
    explorer = da.fit.explore(off_model())
    np.testing.assert_allclose(explorer.overview(), da.sum("energy"), rtol=1e-12)
    lazy = da.chunk({"y": 2, "x": 8}).fit.explore(off_model())
    np.testing.assert_allclose(lazy.overview(), da.sum("energy"), rtol=1e-12)
    lazy.CHEAP = 1000
    assert lazy.overview() is None
    lazy.view()
    line = da[2].drop_vars("y").fit.explore(off_model())
    np.testing.assert_allclose(line.overview(), da[2].sum("energy"), rtol=1e-12)
    line.view()
    line.look_at({"x": 3})
    three = drifting_peak((3, 4, 5), ("t", "y", "x"))
    explorer = three.fit.explore(off_model())
    explorer.view()
    explorer.look_at({"t": 2, "y": 0, "x": 1})
    np.testing.assert_allclose(explorer.overview(), three[2].sum("energy"), rtol=1e-12)


def test_what_is_refused(da):
    with pytest.raises(ValueError, match="explore\\(\\) shows spectra"):
        image_map(("row", "column")).fit.explore(spot())
    with pytest.raises(ValueError, match="optimizer"):
        da.fit.explore(off_model(), optimizer="nothing")
    explorer = da.fit.explore(off_model())
    with pytest.raises(ValueError, match="min"):
        explorer.change("Fe.centre", min=4.0, max=2.0)
    assert explorer.model == off_model()


@pytest.mark.slow
@browser
def test_a_page(chromium, da):
    explorer = da.fit.explore(off_model(), loss="poisson")
    port = free_port()
    server = explorer.show(show=False, threaded=True, port=port, token=TOKEN)
    page = chromium.new_page(viewport={"width": 1300, "height": 800})
    shown = Page(page, None)
    try:
        page.goto(f"http://localhost:{port}/?token={TOKEN}")
        shown.until(lambda: "Fit this spectrum" in shown.text())
        page.wait_for_function("() => window.Bokeh && [...Bokeh.index].length > 0")
        page.wait_for_timeout(1000)
        shown.picture("explore")

        _, _, x, y = explorer.handles()[0]
        page.mouse.move(*shown.place(0, x, y))
        page.mouse.down()
        page.mouse.move(*shown.place(0, 4.0, y), steps=5)
        page.mouse.move(*shown.place(0, 4.8, y), steps=5)
        page.mouse.up()
        shown.until(lambda: abs(explorer.model["Fe"].centre.value - 4.8) < 0.05)

        page.get_by_text("Fit this spectrum").click()
        shown.until(lambda: "converged" in shown.text())
        expected = da.mean(("y", "x")).fit(drifting_model(), loss="poisson")
        centre = float(expected["value"].sel(param="Fe.centre"))
        assert explorer.model["Fe"].centre.value == pytest.approx(centre, abs=1e-3)
        page.wait_for_timeout(500)
        shown.picture("explore-fitted")

        page.mouse.click(*shown.place(1, 2.0, 1.5))
        shown.until(lambda: explorer.place == {"y": 3, "x": 4})
        np.testing.assert_array_equal(explorer.spectrum, da[3, 4])
        shown.until(lambda: not page.locator("input[type=checkbox]").first.is_checked())
        page.wait_for_timeout(500)
        shown.picture("explore-a-pixel")

        page.get_by_text("Fit all").click()
        shown.until(lambda: "100.0% of 48 pixels converged" in shown.text())
        page.get_by_text("Undo").click()
        shown.until(lambda: abs(explorer.model["Fe"].centre.value - 4.8) < 0.05)
        assert shown.errors == []
    finally:
        page.close()
        server.stop()
