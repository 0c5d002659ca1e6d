"""Figures of results: what is on them, by structure and numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt

from tests.support.builders import (
    ENERGY,
    drifting_model,
    drifting_peak,
    from_source,
    image_map,
    spot,
)
from tests.support.plotted import both, closed, da, fit, images  # noqa: F401
from xfit import Model
from xfit.components import Lorentzian
from xfit.plot.pixel import view_of
from xfit.plot.style import scale_of
from xfit.plot.view_state import Looking

matplotlib.use("Agg")


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


def test_many_components_have_room():
    """Names stand below the curves and parameters in columns; nothing leaves the figure or lies on something else."""
    x = np.linspace(0, 200, 400)
    lines = [Lorentzian(name=f"mode_of_a_long_name_{k}", A=1000.0, centre=10.0 * k + 5, gamma=1.0) for k in range(20)]
    model = Model(lines)
    counts = 5 + sum(1000 / np.pi / ((x - 10.0 * k - 5) ** 2 + 1) for k in range(20))
    da = xr.DataArray(np.random.default_rng(0).poisson(counts), dims="x", coords={"x": x})
    figure = da.fit(model).fit.plot(da)
    figure.draw_without_rendering()
    above, _, *boxes = figure.axes
    assert above.get_legend() is None
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 22
    texts = [box.texts[0] for box in boxes]
    words = "\n".join(text.get_text() for text in texts)
    assert [f"mode_of_a_long_name_{k}\n" in words for k in range(20)] == [True] * 20
    places = [text.get_window_extent() for text in texts] + [legend.get_window_extent(), above.get_window_extent()]
    for place in places:
        assert -1 <= place.x0 < place.x1 <= figure.bbox.width + 1
        assert -1 <= place.y0 < place.y1 <= figure.bbox.height + 1
    assert not any(one.overlaps(other) for k, one in enumerate(places) for other in places[:k])


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


def test_data_belong_to_the_pixel(fit, da):
    """A result may be cut, or run the other way: data are found by labels, and refused where there are none."""
    cut = fit.isel(y=slice(2, 6), x=slice(None, None, -1))
    shown = cut.fit.plot(da, y=1.0, x=2.5).axes[0].lines[0].get_ydata()
    np.testing.assert_array_equal(shown, da.isel(y=2, x=5))
    board = Looking(cut.fit, da)
    board.place.pixel = (0, 6)
    np.testing.assert_array_equal(board.pixel().data, da.isel(y=2, x=5))
    bare = da.drop_vars(["y", "x"])
    np.testing.assert_array_equal(fit.fit.plot(bare, y=1.0, x=2.5).axes[0].lines[0].get_ydata(), da.isel(y=2, x=5))
    for look in (lambda: cut.fit.plot(bare, y=1.0, x=2.5), lambda: Looking(cut.fit, bare)):
        with pytest.raises(ValueError, match="da has 8 places along 'y' and the result 4; without coordinates"):
            look()
    with pytest.raises(ValueError, match="not all of the places along 'y'"):
        fit.fit.plot(da.isel(y=slice(3)), y=1.0, x=2.5)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"y": slice(0, 2)}, ValueError, "must be one position"),
        ({"variance": "poisson"}, TypeError, "variance must be a number or a DataArray"),
        ({"variance": np.ones(80)}, TypeError, "not ndarray"),
        ({"variance": -1.0}, ValueError, "above zero"),
    ],
)
def test_what_is_no_position_or_variance(fit, da, given, error, message):
    with pytest.raises(error, match=message):
        fit.fit.plot(da, **({"y": 0, "x": 0} | given))


def test_words_and_times_beside_numbers(fit, da):
    """Numbers and times mean the nearest, also where another dimension has words; words must be there."""
    words, hours = (
        {"y": list("abcdefgh")},
        {"y": np.datetime64("2026-01-01", "ns") + np.arange(8) * np.timedelta64(1, "h")},
    )
    for coords, y, place in ((words, "c", "c"), (hours, "2026-01-01T02:10", "2026-01-01T02:00")):
        named = fit.assign_coords(coords)
        axes = named.fit.plot(da.assign_coords(coords), y=y, x=2.6).axes[0]
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), da.isel(y=2, x=5))
        assert axes.get_title(loc="left").startswith(f"y = {place}, x = 2.5: ")
        line = images(named.fit.maps("Fe.A", y=y))["Fe.A"]
        np.testing.assert_array_equal(line.lines[0].get_ydata(), fit.fit["Fe.A"].isel(y=2))
    with pytest.raises(ValueError, match="there is no y='z'; places along 'y' are 'a', 'b'"):
        fit.assign_coords(words).fit.plot(da.assign_coords(words), y="z", x=0)


@pytest.mark.parametrize("y", [8, 1.5, -9])
def test_numbers_lie_within_the_map(fit, da, y):
    bare = fit.drop_vars(["y", "x"])
    with pytest.raises(ValueError, match="must be a whole number below 8"):
        bare.fit.plot(da, y=y, x=0)
    np.testing.assert_array_equal(bare.fit.plot(da, y=-1, x=0).axes[0].lines[0].get_ydata(), da.isel(y=-1, x=0))


def test_maps_of_all_parameters(fit):
    shown = images(fit.fit.maps())
    assert list(shown) == ["Fe.A", "Fe.centre", "Fe.sigma", "bg.offset"]
    mesh: Any = shown["Fe.A"].collections[0]
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
    labels = [axes.child_axes[0].get_ylabel() for axes in shown.values()]
    assert labels == ["counts eV", "eV", "eV", "counts"]


def test_poor_pixels_are_hatched_left_out_or_shown(fit):
    hatched: Any = images(fit.fit.maps("Fe.A"))["Fe.A"].collections
    # Dark lines across light ones are seen on every colour; they cover the two pixels and nothing else.
    assert [each.hatches for each in hatched[1:]] == [["////"], ["\\\\\\\\"]]
    for each in hatched[1:]:
        (area,) = [path for path in each.get_paths() if path.vertices.size]
        assert area.vertices.min(axis=0).tolist() == [1.75, 2.25]
        assert area.vertices.max(axis=0).tolist() == [2.75, 2.75]
        assert len(np.unique(area.vertices[:, 0])) == 3
    masked: Any
    shown: Any
    (masked,) = images(fit.fit.maps("Fe.A", poor="mask"))["Fe.A"].collections
    assert np.ma.getmaskarray(masked.get_array()).sum() == 3
    (shown,) = images(fit.fit.maps("Fe.A", poor="show"))["Fe.A"].collections
    assert np.ma.getmaskarray(shown.get_array()).sum() == 1


def test_derived_quantities_and_variables(fit):
    shown = images(fit.fit.maps(["Fe.fwhm", "red_chisq", "status"], limits={"red_chisq": (0.5, 2)}))
    assert shown["red_chisq"].collections[0].get_clim() == (0.5, 2)
    legend = shown["status"].get_legend()
    assert legend is not None
    words = [text.get_text().partition(" (")[0] for text in legend.get_texts()]
    assert words == ["converged", "max nfev", "bad data"]


def test_maps_of_one_and_three_dimensions(fit):
    line = images(fit.isel(y=0).fit.maps("Fe.A"))["Fe.A"]
    np.testing.assert_array_equal(line.lines[0].get_ydata(), fit.fit["Fe.A"].isel(y=0))
    assert line.get_ylabel() == "counts eV"
    three = drifting_peak((5, 3, 4), ("t", "y", "x")).fit.multifit(drifting_model())
    shown = images(three.fit.maps("Fe.A"))
    assert list(shown) == [f"Fe.A, t (nm) = {0.5 * k:.6g}" for k in (0, 1, 3, 4)]
    assert len({axes.collections[0].get_clim() for axes in shown.values()}) == 1
    (cut,) = images(three.fit.maps("Fe.A", t=1.0)).values()
    drawn = cut.collections[0].get_array()
    assert drawn is not None
    np.testing.assert_array_equal(drawn.ravel(), three.fit["Fe.A"].sel(t=1.0).values.ravel())


def test_bars_of_variables_say_what_these_are_in_a_few_words(fit):
    """What some variables are takes a sentence, which would lie on other maps."""
    rank = fit.nfev.assign_attrs(long_name="rank of the step in which the pixel was fitted, -1 where it never was")
    shown = images(fit.assign(order=rank).fit.maps(["order", "red_chisq"]))
    assert [axes.child_axes[0].get_ylabel() for axes in shown.values()] == ["", "reduced chi-squared"]


def test_maps_of_one_pixel_or_one_row():
    """A pixel is as long along a dimension with a single place as along the other, in the same units."""
    for sizes in ((1, 1), (1, 5), (5, 1)):
        small = drifting_peak(sizes, ("y", "x")).fit.multifit(drifting_model(), max_nfev=1)
        axes = images(small.fit.maps("Fe.A", poor="show"))["Fe.A"]
        step = 1.0 if sizes == (1, 1) else 0.5
        assert np.ptp(axes.get_xlim()) == pytest.approx(step * sizes[1])
        assert np.ptp(axes.get_ylim()) == pytest.approx(step * sizes[0])
        # Poor pixels of such a map are hatched like all others.
        assert len(images(small.fit.maps("Fe.A"))["Fe.A"].collections) == 3


def test_ticks_have_no_offset(fit):
    """Places in the sky or absolute times differ in their last digits; an offset would lie on the axis' label."""
    moved = fit.assign_coords(x=fit.x + 150.0, y=fit.y * 1e-3 + 2.0)
    figure = moved.fit.maps("Fe.A")
    figure.draw_without_rendering()
    axes = images(figure)["Fe.A"]
    assert axes.xaxis.get_offset_text().get_text() == axes.yaxis.get_offset_text().get_text() == ""
    boxes = [
        label.get_window_extent()
        for label in axes.get_xticklabels()
        if axes.get_xlim()[0] <= label.get_position()[0] <= axes.get_xlim()[1]
    ]
    assert all(one.x1 < other.x0 for one, other in pairwise(boxes))


def test_a_colour_bar_is_as_high_as_its_map(fit):
    figure = fit.isel(y=slice(0, 2)).fit.maps(["Fe.A", "status"], columns=1)
    figure.draw_without_rendering()
    axes = images(figure)["Fe.A"]
    shown, bar = axes.get_window_extent(), axes.child_axes[0].get_window_extent()
    # The bar's pointed ends are a twentieth of it each.
    assert (bar.y0, bar.y1) == pytest.approx((shown.y0, shown.y1), abs=0.051 * shown.height)


def test_nothing_leaves_the_figure(fit):
    """Labels of a map and of its bar are within the figure when it is drawn for the first time."""
    square = fit.isel(x=slice(8)).fit.maps("Fe.centre")
    image = image_map(("row", "column"))
    for figure in (square, fit.fit.maps(["Fe.A", "status"]), image.fit.multifit(spot()).fit.plot(image, frame=1)):
        figure.draw_without_rendering()
        for axes in figure.axes:
            box = axes.get_tightbbox()
            assert -1 <= box.x0 < box.x1 <= figure.bbox.width + 1
            assert -1 <= box.y0 < box.y1 <= figure.bbox.height + 1


def test_lines_show_all_errors_and_explain_them(fit):
    """Limits hold values with their errors; those that are given are kept; gaps do not hide
    the error of a lone point.
    """
    row = fit.isel(y=5)
    figure = row.fit.maps(["Fe.A", "status"])
    axes = images(figure)["Fe.A"]
    low, high = axes.get_ylim()
    value, error = row.fit["Fe.A"], row.fit.stderr("Fe.A")
    good = row.status == 1
    # 98 % of the ends of the bands, and a tenth more: of 12 pixels the outermost lies less than a tenth beyond.
    assert low < float((value - error).where(good).min())
    assert high > float((value + error).where(good).max())
    words = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert words == {"±1 standard error", "poor fit"}
    statuses = images(figure)["status"]
    assert [label.get_text() for label in statuses.get_yticklabels()] == ["converged", "max nfev"]
    np.testing.assert_array_equal(statuses.lines[0].get_ydata(), row.status)
    given = images(row.fit.maps("Fe.A", limits={"Fe.A": (-5.0, 5000.0)}))["Fe.A"]
    assert given.get_ylim() == (-5.0, 5000.0)
    alone = images(row.isel(x=[0]).fit.maps("Fe.A"))["Fe.A"]
    ((bar,),) = [each.get_segments() for each in alone.collections if hasattr(each, "get_segments")]
    assert bar[:, 1] == pytest.approx([float((value - error)[0]), float((value + error)[0])])


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
    # A velocity is shown about zero, whatever its parameter is called; a width in the same units has no middle.
    low, high, diverging = scale_of(values, "gas.centre", "km/s")
    assert (low + high) == pytest.approx(0.0, abs=1e-9)
    assert diverging
    low, high, diverging = scale_of(values + 10, "gas.sigma", "km/s")
    assert (low, high) == pytest.approx((9.04, 12.96), abs=0.02)
    assert not diverging
    constant = scale_of(np.full(5, 3.0))
    assert constant.low < 3 < constant.high
    assert scale_of(np.array([np.nan])) == (0, 1, False)
