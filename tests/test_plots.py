"""Figures and HoloViews objects of results: what is on them, by structure and numbers."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt

from tests.builders import ENERGY, drifting_model, drifting_peak, fit_with_failures, from_source, image_map, spot
from xfit.plot.looks import scale_of
from xfit.plot.pixel import view_of


@pytest.fixture(scope="module")
def both() -> tuple[xr.DataArray, xr.Dataset]:
    return fit_with_failures((8, 12), np.s_[2, 3], np.s_[5, 4:6])


@pytest.fixture(scope="module")
def da(both) -> xr.DataArray:
    return both[0]


@pytest.fixture(scope="module")
def fit(both) -> xr.Dataset:
    return both[1]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


# --- one pixel ---------------------------------------------------------------------------------


def test_a_pixel(fit, da):
    figure = fit.fit.plot(da, y=1.0, x=2.5)
    above, below, box = figure.axes
    lines = {line.get_label(): line for line in above.lines}
    assert list(lines) == ["data", "Fe", "bg", "fit"]
    place = {"y": 2, "x": 5}
    np.testing.assert_array_equal(lines["data"].get_ydata(), da.isel(place))
    np.testing.assert_array_equal(lines["data"].get_xdata(), ENERGY)
    np.testing.assert_allclose(lines["fit"].get_ydata(), fit.fit.evaluate().isel(place), rtol=1e-12)
    np.testing.assert_allclose(lines["Fe"].get_ydata() + lines["bg"].get_ydata(), lines["fit"].get_ydata(), rtol=1e-12)
    assert above.get_ylabel() == "Data (counts)"
    assert below.get_xlabel() == "Energy loss (eV)"
    assert above.get_title(loc="left").startswith("y = 1, x = 2.5: converged, reduced chi-squared ")
    np.testing.assert_allclose(below.lines[-1].get_ydata(), (da - fit.fit.evaluate()).isel(place), atol=1e-9)
    # The width of Poisson noise is the root of what is expected.
    band = below.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(float(np.sqrt(fit.fit.evaluate().isel(place)).max()), rel=1e-12)
    (text,) = box.texts
    assert "Fe\n  A = " in text.get_text()
    assert "counts eV" in text.get_text()


def test_the_band_of_a_variance_and_of_residuals(da):
    fit = da.fit.multifit(drifting_model(), variance=9.0)
    given = fit.fit.plot(da, y=0, x=0, variance=9.0).axes[1].collections[0].get_paths()[0].vertices
    assert given[:, 1].max() == 3.0
    view = view_of(fit.fit, da, {"y": 0, "x": 0})
    residual = (da - fit.fit.evaluate()).isel(y=0, x=0)
    assert float(view.sigma[0]) == pytest.approx(np.sqrt(float((residual**2).sum()) / (80 - 4)), rel=1e-12)
    assert view.noise == "the residuals"


def test_parts_can_be_left_out(fit, da):
    (axes,) = fit.fit.plot(da, y=0, x=0, components=False, residual=False, table=False).axes
    assert [line.get_label() for line in axes.lines] == ["data", "fit"]


def test_a_pixel_that_was_not_fitted(fit, da):
    above, _, box = fit.fit.plot(da, y=1.0, x=1.5).axes
    assert [line.get_label() for line in above.lines] == ["data"]
    assert "fewer usable channels" in above.get_title(loc="left")
    assert box.texts[0].get_text() == "nothing was fitted"


def test_a_single_spectrum_and_an_own_figure(da):
    one = da.isel(y=0, x=0, drop=True)
    figure = plt.figure()
    assert one.fit(drifting_model()).fit.plot(one, figure=figure) is figure
    assert figure.axes[0].get_title(loc="left").startswith("converged")


def test_an_image():
    da = image_map(("row", "column"))
    fit = da.fit.multifit(spot())
    axes = {axes.get_title(): axes for axes in fit.fit.plot(da, frame=1).axes}
    meshes = {title: axes[title].collections[0] for title in ("Data", "Fit", "Residual")}
    np.testing.assert_array_equal(meshes["Data"].get_array().ravel(), da.isel(frame=1).values.ravel())
    assert meshes["Data"].get_clim() == meshes["Fit"].get_clim()
    low, high = meshes["Residual"].get_clim()
    assert low == -high
    assert axes["Data"].get_ylabel() == "row"


def test_only_the_chunk_of_a_pixel_is_read(da, fit):
    lazy, source = from_source(da, {"y": 4, "x": 4})
    fit.fit.plot(lazy, y=2.0, x=2.5)
    (read,) = source.reads
    assert source[read].size <= 4 * 4 * 80


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"da": 3}, TypeError, "da must be the DataArray that was fitted; got int"),
        ({"da": "cut"}, ValueError, "the fit was made of data with"),
        ({"x": None}, ValueError, r"missing: \['x'\]"),
        ({"z": 1}, ValueError, r"unknown: \['z'\]"),
    ],
)
def test_what_a_pixel_needs(fit, da, change, error, message):
    given = {"y": 0, "x": 0} | {key: value for key, value in change.items() if key != "da" and value is not None}
    for key in [key for key, value in change.items() if value is None]:
        del given[key]
    data = da if "da" not in change else da.isel(energy=slice(5)) if change["da"] == "cut" else change["da"]
    with pytest.raises(error, match=message):
        fit.fit.plot(data, **given)


# --- maps --------------------------------------------------------------------------------------


def images(figure) -> dict[str, matplotlib.axes.Axes]:
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def test_maps_of_all_parameters(fit):
    shown = images(fit.fit.maps())
    assert list(shown) == ["Fe.A", "Fe.centre", "Fe.sigma", "bg.offset"]
    mesh = shown["Fe.A"].collections[0]
    values = np.ma.filled(mesh.get_array(), np.nan).reshape(8, 12)
    np.testing.assert_array_equal(values, fit.fit["Fe.A"])
    assert shown["Fe.A"].get_xlabel() == "x (nm)"
    assert shown["Fe.A"].get_aspect() == 1.0
    # Outliers do not stretch the colours, and those that have not converged do not count.
    good = fit.fit["Fe.A"].where(fit.status == 1).values
    assert mesh.get_clim() == pytest.approx(tuple(np.nanpercentile(good, [1, 99])))
    # Places are shown about their median.
    low, high = shown["Fe.centre"].collections[0].get_clim()
    assert (low + high) / 2 == pytest.approx(float(np.nanmedian(fit.fit["Fe.centre"].where(fit.status == 1))))
    labels = [axes.get_ylabel() for axes in fit.fit.maps().axes if not axes.get_title()]
    assert labels == ["counts eV", "eV", "eV", "counts"]


def test_poor_pixels_are_hatched_left_out_or_shown(fit):
    hatched = images(fit.fit.maps("Fe.A"))["Fe.A"].collections
    assert len(hatched) == 2
    assert "xxxx" in hatched[1].hatches
    (masked,) = images(fit.fit.maps("Fe.A", poor="mask"))["Fe.A"].collections
    assert np.ma.getmaskarray(masked.get_array()).sum() == 3
    (shown,) = images(fit.fit.maps("Fe.A", poor="show"))["Fe.A"].collections
    assert np.ma.getmaskarray(shown.get_array()).sum() == 1


def test_derived_quantities_and_variables(fit):
    shown = images(fit.fit.maps(["Fe.fwhm", "red_chisq", "status"], limits={"red_chisq": (0.5, 2)}))
    assert shown["red_chisq"].collections[0].get_clim() == (0.5, 2)
    words = [text.get_text().partition(" (")[0] for text in shown["status"].get_legend().get_texts()]
    assert words == ["converged", "max nfev", "bad data"]


def test_maps_of_one_and_three_dimensions(fit):
    line = images(fit.isel(y=0).fit.maps("Fe.A"))["Fe.A"]
    np.testing.assert_array_equal(line.lines[0].get_ydata(), fit.fit["Fe.A"].isel(y=0))
    assert line.get_ylabel() == "Fe A (counts eV)"
    three = drifting_peak((5, 3, 4), ("t", "y", "x")).fit.multifit(drifting_model())
    shown = images(three.fit.maps("Fe.A"))
    assert list(shown) == [f"Fe.A, t (nm) = {0.5 * k:.6g}" for k in (0, 1, 3, 4)]
    assert len({axes.collections[0].get_clim() for axes in shown.values()}) == 1
    (cut,) = images(three.fit.maps("Fe.A", t=1.0)).values()
    np.testing.assert_array_equal(cut.collections[0].get_array().ravel(), three.fit["Fe.A"].sel(t=1.0).values.ravel())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"params": "Fe.nothing"}, KeyError, "no parameter 'Fe.nothing'"),
        ({"poor": "hide"}, ValueError, "poor='hide' must be one of 'hatch', 'mask', 'show'"),
        ({"columns": 0}, ValueError, "columns=0 must be"),
        ({"limits": {"bg.offset": (0, 1)}, "params": "Fe.A"}, ValueError, r"limits are given for \['bg.offset'\]"),
        ({"limits": {"Fe.A": (1, 0)}}, ValueError, "the first must be smaller"),
        ({"z": 0}, ValueError, r"no dimension\(s\) \['z'\]"),
        ({"y": 0, "x": 0}, ValueError, "maps are of one to three dimensions"),
    ],
)
def test_what_maps_refuse(fit, options, error, message):
    with pytest.raises(error, match=message):
        fit.fit.maps(**options)


def test_limits():
    values = np.concatenate([np.linspace(-1, 3, 1000), [1e9, np.nan, np.inf]])
    low, high, diverging = scale_of(values, "g.A")
    assert (low, high) == pytest.approx((-0.96, 2.96), abs=0.02)
    assert not diverging
    assert scale_of(values, "gas.velocity", "km/s") == pytest.approx((-2.96, 2.96, True), abs=0.02)
    low, high, diverging = scale_of(values + 10, "g.centre")
    assert (low + high) / 2 == pytest.approx(11.0, abs=0.01)
    assert diverging
    constant = scale_of(np.full(5, 3.0))
    assert constant.low < 3 < constant.high
    assert scale_of(np.array([np.nan])) == (0, 1, False)


# --- distributions -----------------------------------------------------------------------------


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


def test_what_distributions_refuse(fit, da):
    with pytest.raises(ValueError, match="bins=1 must be"):
        fit.fit.corner(bins=1)
    with pytest.raises(ValueError, match="no pixel has converged"):
        fit.assign(status=fit.status * 0 + 2).fit.corner()
    one = da.isel(y=0, x=0, drop=True).fit(drifting_model())
    with pytest.raises(ValueError, match="single spectrum"):
        one.fit.corner()


# --- HoloViews ---------------------------------------------------------------------------------


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
    fit = small.isel(y=np.arange(600) % 2, x=np.arange(510) % 3).assign_coords(y=1.02 ** np.arange(600), x=-(1.02 ** -np.arange(510.0)))  # fmt: skip
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
