"""Distributions of parameters, and HoloViews objects of results."""

from __future__ import annotations

import holoviews as hv
import matplotlib
import numpy as np
import pytest

from tests.support.builders import (
    drifting_model,
    drifting_peak,
    image_map,
    spot,
)
from tests.support.plotted import both, closed, da, fit, images  # noqa: F401

matplotlib.use("Agg")


def test_distributions(fit):
    figure = fit.fit.corner(["Fe.A", "Fe.centre", "Fe.sigma"], bins=10)
    assert len(figure.axes) == 6
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["Fe.A", "Fe.centre", "Fe.sigma"]
    good = fit.where(fit.status == 1)
    a, centre = (good.fit[name].values.ravel() for name in ("Fe.A", "Fe.centre"))
    both = np.isfinite(a)
    pair = figure.axes[1]
    assert pair.texts[0].get_text() == f"r = {np.corrcoef(a[both], centre[both])[0, 1]:+.2f}"
    np.testing.assert_array_equal(np.sort(pair.lines[0].get_xdata()), np.sort(a[both]))
    assert sum(patch.get_height() for patch in figure.axes[0].patches) >= 0.97 * both.sum()


def test_distributions_fill_their_axes(fit):
    """Limits are those of the values, not those of colours, which lie symmetrically about a middle."""
    skewed = fit.assign(value=fit.value.where(fit.param != "Fe.centre", 700 + (fit.value - 700) ** 4))
    axes = skewed.fit.corner(["Fe.centre", "Fe.A"]).axes[0]
    good = skewed.fit["Fe.centre"].where(fit.status == 1).values
    assert axes.get_xlim() == pytest.approx(tuple(np.nanpercentile(good, [1, 99])))


def test_distributions_of_one_pixel_have_no_correlation(fit):
    figure = fit.isel(y=[0], x=[0]).fit.corner(["Fe.A", "Fe.centre"])
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == []


def test_what_distributions_refuse(fit, da):
    with pytest.raises(ValueError, match="bins=1 must be"):
        fit.fit.corner(bins=1)
    with pytest.raises(ValueError, match="no pixel has converged"):
        fit.assign(status=fit.status * 0 + 2).fit.corner()
    one = da.isel(y=0, x=0, drop=True).fit(drifting_model())
    with pytest.raises(ValueError, match="single spectrum"):
        one.fit.corner()


def test_a_map_as_an_object(fit):
    image = fit.fit.hv.map("Fe.centre")
    assert isinstance(image, hv.Image)
    assert [d.name for d in image.kdims] == ["x", "y"]
    assert [d.name for d in image.vdims] == ["Fe.centre", "error"]
    np.testing.assert_array_equal(image.dimension_values("Fe.centre", flat=False), fit.fit["Fe.centre"])
    assert image.vdims[0].unit == "eV"
    layout = fit.fit.hv.maps(["Fe.A", "red_chisq"])
    assert len(layout) == 2
    # With what is the user's own.
    assert isinstance(image * hv.Points([(1, 1)]), hv.Overlay)
    hv.renderer("bokeh").get_plot(layout)


def test_maps_of_one_and_three_dimensions_as_objects(fit):
    line = fit.isel(y=0).fit.hv.map("Fe.A")
    np.testing.assert_array_equal(line.Curve.I.dimension_values(1), fit.fit["Fe.A"].isel(y=0))
    three = drifting_peak((2, 3, 4), ("t", "y", "x")).chunk({"t": 1}).fit.multifit(drifting_model())
    moving = three.fit.hv.map("Fe.A")
    np.testing.assert_array_equal(
        moving[0.5].dimension_values("Fe.A", flat=False), three.fit["Fe.A"].sel(t=0.5).compute()
    )


def test_a_spectrum_follows_the_clicks_on_a_map(fit, da):
    image = fit.fit.hv.map("Fe.A")
    moving = fit.fit.hv.spectrum(da, source=image)
    (tap,) = moving.streams
    tap.event(x=2.6, y=0.9)
    curves = moving[()]
    assert [element.label for element in curves] == ["data", "Fe", "bg", "fit"]
    np.testing.assert_array_equal(curves.get(0).dimension_values(1), da.sel(x=2.5, y=1.0))
    sliders = fit.fit.hv.spectrum(da)
    assert [d.name for d in sliders.kdims] == ["y", "x"]
    np.testing.assert_array_equal(sliders[3.5, 5.5].get(0).dimension_values(1), da.sel(x=5.5, y=3.5))


def test_places_that_are_words_are_numbers_for_a_click(fit, da):
    words = {"x": list("abcdefghijkl")}
    named = fit.assign_coords(words)
    moving = named.fit.hv.spectrum(da.assign_coords(words), source=named.fit.hv.map("Fe.A"))
    (tap,) = moving.streams
    tap.event(x=4.2, y=1.0)
    np.testing.assert_array_equal(moving[()].get(0).dimension_values(1), da.isel(x=4, y=2))


def test_frames_of_maps_are_seen(fit):
    """Coordinates of different units give no shape; a map of one row is neither flat nor stretched by a colour bar."""
    seconds = fit.y.copy(data=fit.y * 1e9).assign_attrs(units="s")
    frame = hv.renderer("bokeh").get_plot(fit.assign_coords(y=seconds).fit.hv.map("Fe.A")).state
    assert (frame.frame_width, frame.frame_height) == (320, 240)
    long = drifting_peak((1, 60), ("y", "x")).fit.multifit(drifting_model())
    frame = hv.renderer("bokeh").get_plot(long.fit.hv.map("Fe.A")).state
    # 320 / 60 pixels high were not seen; it is 0.12 times as high as wide.
    assert frame.frame_height == 38


def test_large_maps_are_made_by_datashader(monkeypatch, fit):
    pytest.importorskip("datashader")
    from xfit.plot import views

    monkeypatch.setattr(views, "LARGE", 10)
    moving = fit.fit.hv.map("Fe.A")
    assert isinstance(moving, hv.DynamicMap)
    picture = moving[()]
    assert float(np.nanmax(picture.dimension_values(2))) <= float(fit.fit["Fe.A"].max()) + 1e-9


def test_what_objects_refuse(fit, da):
    with pytest.raises(KeyError, match="no parameter 'nothing'"):
        fit.fit.hv.map("nothing")
    with pytest.raises(ValueError, match="single spectrum"):
        da.isel(y=0, x=0, drop=True).fit(drifting_model()).fit.hv
    images = image_map(("row", "column"))
    with pytest.raises(ValueError, match="spectrum\\(\\) shows spectra"):
        images.fit.multifit(spot()).fit.hv.spectrum(images)


def test_large_maps_have_errors_under_the_pointer():
    """What datashader makes of a map keeps its errors: pixel by pixel where the picture is as fine as the map."""
    da = drifting_peak((2, 3), ("y", "x"))
    small = da.fit.multifit(drifting_model(), loss="poisson")
    fit = small.isel(y=np.arange(600) % 2, x=np.arange(510) % 3).drop_vars(["y", "x"])
    shown = fit.fit.hv.map("Fe.A")[()]
    assert [str(d) for d in shown.vdims] == ["Fe.A", "error"]
    # A mean of the same values in each block is one of them, or lies between them.
    errors = shown.dimension_values("error")
    known = small.fit.stderr("Fe.A").values
    assert known.min() <= np.nanmin(errors) <= np.nanmax(errors) <= known.max()


def test_large_maps_with_uneven_coordinates_have_errors_under_the_pointer():
    """Where a pixel of the map is several of the screen, its value and error stand there."""
    da = drifting_peak((2, 3), ("y", "x"))
    small = da.fit.multifit(drifting_model(), loss="poisson")
    fit = small.isel(y=np.arange(600) % 2, x=np.arange(510) % 3).assign_coords(
        y=1.02 ** np.arange(600), x=-(1.02 ** -np.arange(510.0))
    )
    shown = fit.fit.hv.map("Fe.A")[()]
    assert [str(d) for d in shown.vdims] == ["Fe.A", "error"]
    # The last rows and the first columns are a fiftieth of the whole, some pixels of the 400 of the picture.
    for y in (-1, -2, -5):
        for x in (0, 1, 4):
            place = {"x": float(fit.x[x]), "y": float(fit.y[y])}
            value, error = (float(shown.data[name].sel(place, method="nearest")) for name in ("Fe.A", "error"))
            pixel = fit.isel(y=y, x=x)
            assert value == float(pixel.fit["Fe.A"])
            assert error == float(pixel.fit.stderr("Fe.A"))
    assert [str(d) for d in fit.fit.hv.map("red_chisq")[()].vdims] == ["red_chisq"]
