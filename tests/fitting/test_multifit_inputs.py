"""multifit: what is left out, weights, starts, active components, binned data, and which coordinate is meant."""

from __future__ import annotations

import json

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from scipy.optimize import curve_fit

import xfit
from tests.support.builders import (
    assert_same_bits,
    gaussian,
    one_peak,
    param_values,
    peak_truth,
    statuses,
    two_peaks,
)
from tests.support.multifit_data import (
    da,  # noqa: F401
)
from xfit import Model
from xfit.components import Expression, Gaussian, Offset


def test_a_nan_channel_is_left_out_and_not_counted(da):
    holed = da.copy(deep=True)
    holed[0, 0, 7] = np.nan
    holed[0, 0, 30] = np.inf
    fit = holed.fit.multifit(two_peaks())
    assert set(statuses(fit)) == {"converged"}
    assert int(fit["dof"][0, 0]) == 60 - 2 - 7
    assert (fit["dof"].values.ravel()[1:] == 60 - 7).all()
    without = da[0, 0].isel(energy=[k for k in range(60) if k not in (7, 30)]).fit(two_peaks())
    np.testing.assert_allclose(fit["value"][0, 0], without["value"], rtol=1e-8)
    np.testing.assert_allclose(fit["stderr"][0, 0], without["stderr"], rtol=1e-6)


def test_a_pixel_of_nan_is_bad_data_and_the_others_do_not_care(da):
    holed = da.copy(deep=True)
    holed[1, 1] = np.nan
    holed[2, 0, 6:] = np.nan  # six channels for seven parameters
    fit = holed.fit.multifit(two_peaks(), covariance=True)
    expected = da.fit.multifit(two_peaks(), covariance=True)
    for y, x in [(1, 1), (2, 0)]:
        pixel = fit.isel(y=y, x=x)
        assert statuses(pixel) == ["bad_data"]
        for name in ("value", "stderr", "chisq", "red_chisq", "loss", "covariance"):
            assert pixel[name].isnull().all(), name
        assert int(pixel["nfev"]) == 0
        assert (pixel["at_bound"] == 0).all()
    good = np.ones((3, 4), bool)
    good[1, 1] = good[2, 0] = False
    for name in ("value", "stderr", "chisq", "covariance"):
        assert fit[name].values[good].tobytes() == expected[name].values[good].tobytes()


@pytest.mark.parametrize("lazy", [False, True])
def test_where_over_channels_pixels_or_both(da, lazy):
    data = da.chunk({"y": 2, "x": 3}) if lazy else da
    channels = (da["energy"] < 4) | (da["energy"] > 5)
    fit = data.fit.multifit(two_peaks(), where=channels).compute()
    expected = da.where(channels).fit.multifit(two_peaks())
    np.testing.assert_allclose(fit["value"], expected["value"], rtol=1e-10)
    np.testing.assert_array_equal(fit["dof"], int(channels.sum()) - 7)

    pixels = xr.DataArray([[True, False, True, True]] * 3, dims=("y", "x"))
    fit = data.fit.multifit(two_peaks(), where=pixels).compute()
    assert statuses(fit) == ["converged", "masked", "converged", "converged"] * 3
    assert fit["value"].isel(x=1).isnull().all()
    np.testing.assert_allclose(fit["value"].isel(x=0), da.isel(x=0).fit.multifit(two_peaks())["value"], rtol=1e-10)

    both = (channels & pixels).transpose("energy", "x", "y")
    fit = data.fit.multifit(two_peaks(), where=both.chunk() if lazy else both).compute()
    assert statuses(fit) == ["converged", "masked", "converged", "converged"] * 3
    np.testing.assert_array_equal(fit["dof"].isel(x=[0, 2, 3]), int(channels.sum()) - 7)


def test_where_leaves_out_channels_that_would_spoil_the_fit(da):
    spiked = da.copy(deep=True)
    spiked[..., 20] = 1e6
    fit = spiked.fit.multifit(two_peaks(), where=da["energy"] != da["energy"][20])
    expected = da.where(da["energy"] != da["energy"][20]).fit.multifit(two_peaks())
    np.testing.assert_allclose(fit["value"], expected["value"], rtol=1e-9)


def test_a_number_an_array_and_a_broadcast_variance_are_the_same(da):
    number = da.fit.multifit(two_peaks(), variance=0.25)
    for variance in (
        xr.full_like(da, 0.25),
        xr.full_like(da["energy"], 0.25),
        xr.DataArray(np.full((3, 4), 0.25), dims=("y", "x")),
        xr.full_like(da, 0.25).astype("float32").chunk(),
        xr.DataArray(0.25),
    ):
        assert_same_bits(da.fit.multifit(two_peaks(), variance=variance).compute(), number)
    plain = da.fit.multifit(two_peaks())
    np.testing.assert_allclose(number["value"], plain["value"], rtol=1e-7)
    np.testing.assert_allclose(number["chisq"], 4 * plain["chisq"], rtol=1e-9)


def test_channels_of_nan_or_infinite_variance_are_left_out(da):
    variance = xr.full_like(da, 0.04)
    variance[..., 5] = np.nan
    variance[0, 0, 6] = np.inf
    fit = da.fit.multifit(two_peaks(), variance=variance)
    assert int(fit["dof"][0, 0]) == 60 - 2 - 7
    assert int(fit["dof"][1, 1]) == 60 - 1 - 7
    expected = da.where(np.isfinite(variance)).fit.multifit(two_peaks(), variance=0.04)
    np.testing.assert_allclose(fit["value"], expected["value"], rtol=1e-9)


def test_a_lazy_variance_of_zero_or_below_is_a_status(da):
    variance = xr.full_like(da, 0.04)
    variance[0, 1, 3] = 0.0
    variance[2, 2, 4] = -1.0
    fit = da.chunk({"y": 1}).fit.multifit(two_peaks(), variance=variance.chunk({"y": 1})).compute()
    expected = np.full((3, 4), "converged", dtype="U16")
    expected[0, 1] = expected[2, 2] = "bad_variance"
    np.testing.assert_array_equal(np.reshape(statuses(fit), (3, 4)), expected)
    assert fit["value"][0, 1].isnull().all()


def test_a_lazy_variance_of_zero_in_a_channel_left_out_does_no_harm(da):
    variance = xr.full_like(da, 0.04)
    variance[..., 3] = 0.0
    fit = da.fit.multifit(two_peaks(), variance=variance.chunk(), where=da["energy"] != da["energy"][3]).compute()
    assert set(statuses(fit)) == {"converged"}


def test_start_maps_override_the_model_where_they_are_not_nan(da):
    far = two_peaks(**{"left.centre": 5.5})
    start = xr.full_like(da.isel(energy=0, drop=True), np.nan)
    start[0, :] = 6.2
    fit = da.fit.multifit(far, start={"left.centre": start}, max_nfev=1)
    # After one evaluation the nonlinear values are still where the fit began.
    np.testing.assert_allclose(param_values(fit, "left.centre")[0], 6.2)
    np.testing.assert_allclose(param_values(fit, "left.centre")[1:], 5.5)
    assert set(statuses(fit)) == {"max_nfev"}


def test_start_maps_may_be_lazy_transposed_and_of_fewer_dimensions(da):
    along_x = xr.DataArray([5.0, 5.5, 6.0, 6.5], dims="x", coords={"x": da["x"]})
    full = along_x.broadcast_like(da.isel(energy=0, drop=True))
    expected = da.fit.multifit(two_peaks(), start={"left.centre": full})
    for start in (along_x, full.transpose(), full.chunk({"x": 1}), full.astype("float32").chunk()):
        for data in (da, da.chunk({"y": 2, "x": 2})):
            assert_same_bits(data.fit.multifit(two_peaks(), start={"left.centre": start}).compute(), expected)


def test_start_numbers_are_checked_and_used(da):
    fit = da.fit.multifit(two_peaks(), start={"left.centre": 6.25}, max_nfev=1)
    np.testing.assert_allclose(param_values(fit, "left.centre"), 6.25)


def test_a_start_outside_of_the_bounds_is_a_status_of_its_pixel(da):
    model = two_peaks()
    model["left"].centre.set(min=4, max=8)
    start = xr.full_like(da.isel(energy=0, drop=True), 6.0)
    start[1, 2] = 9.0
    start[2, 3] = np.inf
    fit = da.fit.multifit(model, start={"left.centre": start})
    words = np.reshape(statuses(fit), (3, 4))
    assert words[1, 2] == words[2, 3] == "bad_start"
    assert (words == "converged").sum() == 10
    assert fit["value"][1, 2].isnull().all()


def test_start_values_of_fixed_parameters_are_their_values(da):
    model = two_peaks()
    model["bg"].offset.free = False
    offset = xr.DataArray(peak_truth((3, 4))["bg.offset"], dims=("y", "x"))
    fit = da.fit.multifit(model, start={"bg.offset": offset})
    np.testing.assert_array_equal(param_values(fit, "bg.offset"), offset)
    assert fit["stderr"].sel(param="bg.offset").isnull().all()
    assert (fit["dof"] == 60 - 6).all()


@pytest.mark.parametrize("lazy", [False, True])
def test_an_earlier_result_is_a_start(da, lazy):
    data = da.chunk({"y": 2}) if lazy else da
    first = data.fit.multifit(two_peaks())
    again = data.fit.multifit(two_peaks(), start=first)
    first, again = dask.compute(first, again)
    np.testing.assert_allclose(again["value"], first["value"], rtol=1e-7)
    assert again["nfev"].max() <= 3
    assert set(statuses(again)) == {"converged"}


def test_an_earlier_result_of_another_model_gives_what_they_share(da):
    small = Model([Gaussian(name="left", A=30, centre=5.5, sigma=1), Offset(name="bg", offset=1)])
    first = da.fit.multifit(small)
    start = first.fit["left.centre"]
    fit = da.fit.multifit(two_peaks(), start=first, max_nfev=1)
    np.testing.assert_allclose(param_values(fit, "left.centre"), start)
    np.testing.assert_allclose(param_values(fit, "right.centre"), 13.5)


def test_a_failed_pixel_of_an_earlier_result_starts_from_the_model(da):
    holed = da.copy(deep=True)
    holed[0, 0] = np.nan
    first = holed.fit.multifit(two_peaks())
    fit = da.fit.multifit(two_peaks(), start=first)
    assert set(statuses(fit)) == {"converged"}


@pytest.mark.parametrize("lazy", [False, True])
def test_an_inactive_component_is_nan_and_costs_no_degree_of_freedom(da, lazy):
    on = xr.DataArray([[True, False, True, False]] * 3, dims=("y", "x"))
    data = da.chunk({"y": 1, "x": 2}) if lazy else da
    fit = data.fit.multifit(two_peaks(), active={"right": on.chunk() if lazy else on}).compute()
    off = fit.isel(x=[1, 3])
    assert off["value"].sel(param=["right.A", "right.centre", "right.sigma"]).isnull().all()
    assert off["stderr"].sel(param=["right.A", "right.centre", "right.sigma"]).isnull().all()
    assert (off["dof"] == 60 - 4).all()
    small = Model([Gaussian(name="left", A=30.0, centre=5.5, sigma=1.0), Offset(name="bg", offset=0.5)])
    expected = da.isel(x=[1, 3]).fit.multifit(small)
    names = list(expected["param"].values)
    np.testing.assert_allclose(off["value"].sel(param=names), expected["value"], rtol=1e-9)
    np.testing.assert_allclose(off["chisq"], expected["chisq"], rtol=1e-9)
    full = da.fit.multifit(two_peaks()).isel(x=[0, 2])
    assert_same_bits(fit.isel(x=[0, 2]), full)


def test_active_numbers_and_flags_of_the_model(da):
    off = two_peaks()
    off["right"].active = False
    expected = da.fit.multifit(off)
    assert_same_bits(da.fit.multifit(two_peaks(), active={"right": False}), expected)
    assert_same_bits(da.fit.multifit(off, active={"right": True}), da.fit.multifit(two_peaks()))
    assert expected["value"].sel(param="right.A").isnull().all()


def test_a_pixel_without_any_component_is_not_converged(da):
    off = xr.zeros_like(da.isel(energy=0, drop=True), dtype=bool)
    on = off.copy()
    on[1:] = True
    fit = da.fit.multifit(two_peaks(), active={"left": on, "right": on, "bg": on})
    assert fit["value"][0].isnull().all()
    assert set(statuses(fit.isel(y=slice(1, None)))) == {"converged"}
    assert set(statuses(fit.isel(y=0))) == {"not_fitted"}


@pytest.mark.parametrize("uneven", [False, True])
def test_binned_data_are_the_model_times_the_channel_width(uneven):
    x = np.linspace(0, 20, 70) ** (1.3 if uneven else 1.0)
    width = np.gradient(x)
    truth = (400.0, 9.0, 2.0, 3.0)

    def binned(x: np.ndarray, area: float, centre: float, sigma: float, offset: float) -> np.ndarray:
        return (gaussian(x, area, centre, sigma) + offset) * width

    noise = np.random.default_rng(0).normal(size=(2, 70))
    da = xr.DataArray(binned(x, *truth) + noise, dims=("p", "x"), coords={"x": x})
    fit = da.fit.multifit(one_peak(A=300.0), binned=True)
    for k in range(2):
        best, covariance = curve_fit(binned, x, da.values[k], (300.0, 9.0, 2.0, 0.0), xtol=1e-13, ftol=1e-13)
        np.testing.assert_allclose(fit["value"][k], best, rtol=1e-6)
        np.testing.assert_allclose(fit["stderr"][k], np.sqrt(np.diag(covariance)), rtol=1e-4)
    np.testing.assert_array_equal(fit["channel_width"], width)
    np.testing.assert_allclose(fit.fit.evaluate()[0], binned(x, *fit["value"].values[0]), rtol=1e-12)
    assert fit.attrs["xfit_binned"] == 1

    da["x"].attrs["is_binned"] = True
    assert_same_bits(da.fit.multifit(one_peak(A=300.0)), fit)
    assert da.fit.multifit(one_peak(A=300.0), binned=False).attrs["xfit_binned"] == 0


def test_binned_data_with_a_variance_and_falling_coordinates():
    x = np.linspace(20, 0, 70)
    y = (gaussian(x, 400.0, 9.0, 2.0) + 3) * (20 / 69) + np.random.default_rng(1).normal(size=70)
    da = xr.DataArray(y, dims="x", coords={"x": x})
    fit = da.fit(one_peak(A=300.0), binned=True, variance=abs(da) + 1)
    flipped = da[::-1]
    other = flipped.fit(one_peak(A=300.0), binned=True, variance=abs(flipped) + 1)
    np.testing.assert_allclose(fit["value"], other["value"], rtol=1e-8)
    np.testing.assert_allclose(fit["chisq"], other["chisq"], rtol=1e-10)


@pytest.mark.parametrize(
    "x", [np.arange(1.0, 9) ** 2, 2.0 ** np.arange(8), np.arange(0.0, 8) ** 2, np.linspace(4, 7, 8)]
)
def test_steps_that_change_smoothly_are_widths(x):
    """Of squares, powers, and even ones, falling too: central differences."""
    for way in (1, -1):
        da = xr.DataArray(np.ones(8), dims="x", coords={"x": x[::way]})
        fit = da.fit(Model([Offset(name="o")]), binned=True)
        np.testing.assert_allclose(fit["channel_width"], np.abs(np.gradient(x[::way])), rtol=1e-14)


def test_the_width_of_channels_is_that_of_the_coordinate_that_the_model_is_of():
    """Along channels that have no coordinate, or another one: 3 counts in channels of half a unit are 6 a unit."""
    energy = 100 + 0.5 * np.arange(20)
    for coords in ({"energy": ("channel", energy)}, {"energy": ("channel", energy), "channel": np.arange(20)}):
        da = xr.DataArray(np.full(20, 3.0), dims="channel", coords=coords)
        level = Expression("a + 0*energy", coordinates=("energy",), name="level", a=1.0)
        fit = da.fit(Model([level]), binned=True)
        np.testing.assert_allclose(fit.fit["level.a"], 6.0, rtol=1e-12)
    two = da.assign_coords(group=("channel", np.arange(20) % 2.0))
    slope = Expression("a*energy + b*group", coordinates=("energy", "group"), name="s")
    with pytest.raises(ValueError, match=r"binned=True needs the width .* \['energy', 'group'\]"):
        two.fit(Model([slope]), binned=True)


W = np.linspace(400, 700, 61)


def line_over(coords: dict, dims: str = "channel") -> xr.DataArray:
    return xr.DataArray(gaussian(W, 250.0, 550.0, 20.0) + 1, dims=dims, coords=coords)


def line_model() -> Model:
    return Model([Gaussian(name="g", A=200, centre=540, sigma=25), Offset(name="o")])


@pytest.mark.parametrize(
    "coords",
    [
        {"x": ("channel", W)},
        {"wavelength": ("channel", W, {"units": "nm"})},
        {"x": ("channel", W), "other": ("channel", W**2)},
        {"wavelength": ("channel", W), "name": ("channel", list("ab" * 30 + "a"))},
        {
            "wavelength": ("channel", W),
            "variance": ("channel", W),
            "DQ": ("channel", np.arange(61)),
            "weights": ("channel", W),
            "run": ("channel", np.ones(61)),
        },
    ],
)
@pytest.mark.parametrize("way", [slice(None), np.random.default_rng(0).permutation(61)])
def test_the_coordinate_along_a_dimension_without_one_is_x(coords, way):
    da = line_over(coords)[way]
    fit = da.fit(line_model())
    # The truth that the data are made of.
    np.testing.assert_allclose(fit["value"], [250, 550, 20, 1], rtol=1e-8)
    taken = "x" if "x" in coords else "wavelength"
    assert json.loads(fit.attrs["xfit_coordinates"]) == {"channel": taken}
    assert f"channels along 'channel' lie at the coordinate '{taken}'" in fit.fit.report()
    np.testing.assert_array_equal(fit["channel"], da[taken])
    np.testing.assert_allclose(fit.fit.evaluate(), da, rtol=1e-9)
    np.testing.assert_allclose(fit.fit.residual(da), 0, atol=1e-8)
    several = xr.concat([da, 2 * da], "p")
    chunked = several.chunk(p=1).fit.multifit(line_model(), where=xfit.signal_range(da, (450, 650))).compute()
    np.testing.assert_allclose(chunked.fit["g.A"], [250, 500], rtol=1e-8)
    found = Gaussian(name="g").estimate(da, range=(500, 600))
    assert float(found["g.centre"]) == pytest.approx(550, abs=1)
    if coords.get("wavelength", ())[2:]:
        assert fit["units"].sel(param="g.centre") == "nm"


def test_coordinates_of_which_any_could_be_meant_are_refused():
    for coords, said in (
        ({"energy": ("channel", W), "wavelength": ("channel", W[::-1])}, r"\['energy', 'wavelength'\] lie along it"),
        ({"channel": np.arange(61), "x": ("channel", W)}, "could be the signal dimension's coordinate 'channel' or"),
    ):
        with pytest.raises(ValueError, match=said):
            line_over(coords).fit(line_model())
    # Said: by name, by the dimension, or where nothing depends on it.
    both = line_over({"energy": ("channel", W), "wavelength": ("channel", W[::-1])})
    named = Expression("a*energy + b*wavelength", coordinates=("energy", "wavelength"), name="s")
    assert int(both.fit(Model([named, Offset(name="o")]))["status"]) != 0
    swapped = both.swap_dims(channel="energy").fit(line_model())
    np.testing.assert_allclose(swapped.fit["g.centre"], 550, rtol=1e-8)
    same = line_over({"channel": W, "x": ("channel", W)}).fit(line_model())
    np.testing.assert_allclose(same.fit["g.centre"], 550, rtol=1e-8)


def test_images_whose_dimensions_have_no_coordinates():
    """X is the last dimension, y the one before; each takes the only coordinate along it."""
    across, up = np.linspace(10, 20, 31), np.linspace(-3, 3, 21)
    spot = 5 * np.exp(-((across - 14) ** 2) / 2 - ((up[:, None] - 0.7) ** 2) / 0.5)
    da = xr.DataArray(spot, dims=("row", "col"), coords={"across": ("col", across), "up": ("row", up)})
    spots = xfit.components.Gaussian2D(name="s", A=10, centre_x=14.5, centre_y=0.5, sigma_x=1.2, sigma_y=0.6)
    fit = da.fit(Model([spots]))
    np.testing.assert_allclose([fit.fit["s.centre_x"], fit.fit["s.centre_y"]], [14, 0.7], rtol=1e-8)
    assert json.loads(fit.attrs["xfit_coordinates"]) == {"row": "up", "col": "across"}
