"""multifit: dimensions, dtypes, chunks, masks, starts, weights, binning; lazy, once per pixel, equal on every scheduler."""

from __future__ import annotations

import importlib
import json
import math
import pickle
import warnings
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from scipy.optimize import curve_fit

import xfit
from tests.support.builders import (
    assert_same_bits,
    from_source,
    gaussian,
    image_map,
    one_peak,
    param_values,
    peak_map,
    peak_truth,
    spot,
    statuses,
    two_peaks,
)
from xfit import Model
from xfit.components import Expression, Gaussian, Offset
from xfit.engine.block.pixel_loop import fit_singly
from xfit.engine.pixel.evaluate import evaluate_pixels
from xfit.engine.pixel.status import MEANINGS
from xfit.engine.simd.fit import fit_side_by_side

#: The module; the package's attribute of this name is the function.
multifit_module = importlib.import_module("xfit.fitting.running.map_blocks")


@pytest.fixture
def da() -> xr.DataArray:
    return peak_map()


@pytest.fixture
def count_fits(monkeypatch):
    """Numbers of pixels of every block that is fitted."""
    calls: list[int] = []
    original = multifit_module.fit_block

    def counting(program: Any, settings: Any, y: np.ndarray, *args: Any, **keywords: Any) -> np.ndarray:
        calls.append(len(y))
        return original(program, settings, y, *args, **keywords)

    monkeypatch.setattr(multifit_module, "fit_block", counting)
    return calls


def hill_gradient(x, height, centre, width, offset):
    u = (x - centre) / width
    bell = 1 / (1 + u * u)
    return bell, 2 * height * bell**2 * u / width, 2 * height * bell**2 * u * u / width, 1.0


@xfit.component(linear=("height", "offset"))
def registered_hill(x, height=20.0, centre=6.0, width=1.5, offset=3.0):
    return height / (1 + ((x - centre) / width) ** 2) + offset


@xfit.component(gradient=hill_gradient)
def registered_hill_with_gradient(x, height=20.0, centre=6.0, width=1.5, offset=3.0):
    return height / (1 + ((x - centre) / width) ** 2) + offset


# --- the answer --------------------------------------------------------------------------------


def test_noiseless_data_give_their_true_parameters():
    fit = peak_map(noise=0.0).fit.multifit(two_peaks())
    for name, truth in peak_truth((3, 4)).items():
        np.testing.assert_allclose(param_values(fit, name), truth, rtol=1e-9)
    assert set(statuses(fit)) == {"converged"}


def curve(x, a1, c1, s1, a2, c2, s2, offset):
    return gaussian(x, a1, c1, s1) + gaussian(x, a2, c2, s2) + offset


@pytest.mark.parametrize(("weighted", "scaled"), [(False, True), (True, True), (True, False)])
def test_values_errors_and_covariance_agree_with_curve_fit(da, weighted, scaled):
    variance = 0.01 + 0.05 * np.abs(da) if weighted else None
    fit = da.fit.multifit(two_peaks(), variance=variance, covariance=True, scale_covariance=scaled)
    x = da["energy"].values
    start = [p.value for p in two_peaks().parameters]
    for y, x_ in [(0, 0), (2, 3), (1, 2)]:
        sigma = np.sqrt(variance.values[y, x_]) if weighted else None
        best, covariance = curve_fit(
            curve, x, da.values[y, x_], start, sigma, absolute_sigma=not scaled, xtol=1e-13, ftol=1e-13, gtol=1e-13
        )
        pixel = fit.isel(y=y, x=x_)
        # curve_fit takes its Jacobian by differences: that is what limits the agreement.
        np.testing.assert_allclose(pixel["value"], best, rtol=1e-6)
        np.testing.assert_allclose(pixel["stderr"], np.sqrt(np.diag(covariance)), rtol=1e-4)
        np.testing.assert_allclose(pixel["covariance"], covariance, rtol=1e-3, atol=1e-6 * np.abs(covariance).max())
        residual = (da.values[y, x_] - curve(x, *best)) / (1 if sigma is None else sigma)
        np.testing.assert_allclose(pixel["chisq"], (residual**2).sum(), rtol=1e-9)
        np.testing.assert_allclose(pixel["red_chisq"], (residual**2).sum() / (x.size - 7), rtol=1e-9)
        assert float(pixel["loss"]) == float(pixel["chisq"])
        assert int(pixel["dof"]) == x.size - 7


def test_an_unscaled_error_times_the_root_of_red_chisq_is_the_scaled_one(da):
    scaled = da.fit.multifit(two_peaks(), variance=0.5)
    plain = da.fit.multifit(two_peaks(), variance=0.5, scale_covariance=False)
    np.testing.assert_allclose(plain["stderr"] * np.sqrt(plain["red_chisq"]), scaled["stderr"], rtol=1e-12)
    np.testing.assert_array_equal(plain["value"], scaled["value"])


# --- dimensions --------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [("energy", "y", "x"), ("y", "energy", "x"), ("x", "energy", "y")])
@pytest.mark.parametrize("lazy", [False, True])
def test_the_signal_dimension_may_be_anywhere(da, dims, lazy):
    expected = da.fit.multifit(two_peaks())
    moved = da.transpose(*dims)
    moved = moved.chunk({"y": 2, "x": 3}) if lazy else moved
    fit = moved.fit.multifit(two_peaks(), dim="energy")
    navigation = tuple(d for d in dims if d != "energy")
    assert fit["value"].dims == (*navigation, "param")
    assert_same_bits(fit.transpose("y", "x", "param", ...).compute(), expected)


def test_dim_as_a_number_counts_from_either_end(da):
    expected = da.fit.multifit(two_peaks())
    assert_same_bits(da.fit.multifit(two_peaks(), dim=-1), expected)
    assert_same_bits(da.fit.multifit(two_peaks(), 2), expected)
    assert_same_bits(da.fit.multifit(two_peaks(), ["energy"]), expected)
    front = da.transpose("energy", "y", "x")
    assert_same_bits(front.fit.multifit(two_peaks(), dim=-3), expected)


def test_a_single_spectrum_has_no_navigation_dimensions(da):
    expected = da.fit.multifit(two_peaks()).isel(y=1, x=2)
    one = da.isel(y=1, x=2)
    for spectrum in (one, one.chunk()):
        fit = spectrum.fit(two_peaks())
        assert fit["value"].dims == ("param",)
        assert fit["status"].dims == ()
        assert_same_bits(fit.compute(), expected)
    assert one.fit(two_peaks()).attrs["message"] == "converged"
    assert float(one.fit(two_peaks())["y"]) == 0.5


@pytest.mark.parametrize("lazy", [False, True])
def test_three_navigation_dimensions(lazy):
    da = peak_map((2, 3, 2))
    given = da.chunk({"t": 1, "y": 2}) if lazy else da
    fit = given.fit.multifit(two_peaks()).compute()
    assert fit["value"].dims == ("t", "y", "x", "param")
    for t in range(2):
        assert_same_bits(fit.isel(t=t), da.isel(t=t).fit.multifit(two_peaks()))


def test_a_map_without_pixels_gives_an_empty_result(da):
    for empty in (da.isel(x=slice(0, 0)), da.isel(x=slice(0, 0)).chunk()):
        fit = empty.fit.multifit(two_peaks()).compute()
        assert fit["value"].shape == (3, 0, 7)


def test_a_stacked_navigation_dimension_keeps_its_labels(da):
    stacked = da.stack(pixel=("y", "x")).transpose("pixel", "energy")
    fit = stacked.fit.multifit(two_peaks())
    assert_same_bits(fit.unstack("pixel").transpose("y", "x", "param", ...), da.fit.multifit(two_peaks()))


def test_a_signal_without_coordinate_counts_channels(da):
    bare = da.drop_vars("energy")
    model = two_peaks(**{"left.centre": 18.0, "right.centre": 39.0, "left.sigma": 3.0, "right.sigma": 4.0})
    step = 20 / 59
    fit = bare.fit.multifit(model)
    expected = da.fit.multifit(two_peaks())
    np.testing.assert_allclose(
        param_values(fit, "left.centre") * step, param_values(expected, "left.centre"), rtol=1e-7
    )
    np.testing.assert_array_equal(fit["energy"], np.arange(60))


# --- two-dimensional signals -------------------------------------------------------------------


@pytest.mark.parametrize("dims", [("y", "x"), ("row", "col"), ("x", "y")])
@pytest.mark.parametrize("lazy", [False, True])
def test_images_of_a_spot(dims, lazy):
    da = image_map(dims)
    model = spot()
    if dims == ("x", "y"):
        # Coordinates go by name where there are such names, whatever their order.
        model.set(
            {"spot.centre_x": 6.5, "spot.centre_y": 0.2, "spot.sigma_x": 1.5, "spot.sigma_y": 1.0},
        )
    fit = (da.chunk(frame=2) if lazy else da).fit.multifit(model).compute()
    assert fit["value"].dims == ("frame", "param")
    k = np.arange(3)
    along_rows, along_columns = ("x", "y") if dims == ("x", "y") else ("y", "x")
    np.testing.assert_allclose(param_values(fit, f"spot.centre_{along_rows}"), 6 + k / 4, rtol=1e-8)
    np.testing.assert_allclose(param_values(fit, f"spot.centre_{along_columns}"), 0.3 * k, atol=1e-8)
    np.testing.assert_allclose(param_values(fit, f"spot.sigma_{along_rows}"), 2.0, rtol=1e-8)
    np.testing.assert_allclose(param_values(fit, "spot.A"), 50.0, rtol=1e-8)
    assert (fit["dof"] == 14 * 17 - 5).all()
    np.testing.assert_allclose(fit.fit.evaluate().transpose(*da.dims), da, atol=1e-8)


def test_signal_dimensions_of_an_image_in_either_order(da):
    images = image_map(("y", "x"), noise=0.01)
    expected = images.fit.multifit(spot(), dim=("y", "x"))
    for moved in (images.transpose("x", "frame", "y"), images.transpose("y", "x", "frame").chunk(frame=1)):
        fit = moved.fit.multifit(spot(), dim=["x", "y"])
        np.testing.assert_allclose(fit["value"], expected["value"], rtol=1e-9, atol=1e-9)


# --- dtypes and memory layouts -----------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "uint16", ">i2", ">i4", "int64", "uint64", "float16", "float32", ">f4", ">f8"]
)
@pytest.mark.parametrize("lazy", [False, True])
def test_every_real_dtype_gives_what_float64_of_the_same_numbers_gives(da, dtype, lazy):
    typed = da.round().astype(dtype) if dtype[-2] in "iu" or "int" in dtype else da.astype(dtype)
    expected = typed.astype("float64").fit.multifit(two_peaks())
    given = typed.chunk({"y": 2}) if lazy else typed
    assert_same_bits(given.fit.multifit(two_peaks()).compute(), expected)


def test_views_with_strides_are_fitted_like_copies(da):
    large = peak_map((6, 8), n=120)
    view = large[::2, ::-2, ::-2]
    assert not view.values.flags["C_CONTIGUOUS"]
    model = two_peaks()
    assert_same_bits(view.fit.multifit(model), view.copy(data=view.values.copy()).fit.multifit(model))
    fortran = da.copy(data=np.asfortranarray(da.values))
    assert_same_bits(fortran.fit.multifit(model), da.fit.multifit(model))


def test_the_data_and_the_model_are_left_as_they_were(da):
    before, model = da.copy(deep=True), two_peaks()
    variance = xr.ones_like(da)
    da.values.setflags(write=False)
    da.fit.multifit(model, variance=variance, start={"bg.offset": da.isel(energy=0, drop=True)})
    xr.testing.assert_identical(da, before)
    xr.testing.assert_identical(variance, xr.ones_like(da))
    assert model == two_peaks()


# --- chunks and schedulers ---------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [{"y": (1, 2), "x": (3, 1)}, {"y": 1, "x": 1}, {"x": (1, 1, 2)}, {}])
def test_any_chunks_give_the_bits_of_numpy_data(da, chunks):
    assert_same_bits(da.chunk(chunks).fit.multifit(two_peaks()).compute(), da.fit.multifit(two_peaks()))


def test_chunked_signal_dimension_is_rearranged_and_said_so(da):
    split = da.chunk({"y": 1, "energy": 17})
    with pytest.warns(UserWarning, match=r"signal dimension.*\{'energy': 4\}") as record:
        fit = split.fit.multifit(two_peaks())
    assert record[0].filename == __file__
    assert_same_bits(fit.compute(), da.fit.multifit(two_peaks()))


def test_numpy_data_in_several_blocks(monkeypatch, da):
    expected = da.fit.multifit(two_peaks())
    for elements in (1, 60 * 5, 1 << 30):
        monkeypatch.setattr(multifit_module, "_BLOCK", elements)
        assert_same_bits(da.fit.multifit(two_peaks()), expected)
        with dask.config.set(scheduler="synchronous"):
            assert_same_bits(da.fit.multifit(two_peaks()), expected)


# --- lazy, and once ----------------------------------------------------------------------------


def test_nothing_is_read_before_it_is_asked_for(da):
    lazy, _ = from_source(da, {"y": 1}, forbidden=True)
    variance, _ = from_source(abs(da) + 1, {"x": 1}, forbidden=True)
    where, _ = from_source(da > -9, {"y": 2}, forbidden=True)
    start, _ = from_source(da.isel(energy=0, drop=True), {"y": 2}, forbidden=True)
    fit = lazy.fit.multifit(two_peaks(), variance=variance, where=where, start={"bg.offset": start})
    assert all(variable.chunks is not None for variable in fit.data_vars.values())
    fit.fit.evaluate()
    fit.fit.components()
    assert fit.fit.params.data_vars
    repr(fit)
    with pytest.raises(AssertionError, match="data were read"):
        fit.compute(scheduler="synchronous")


@pytest.mark.parametrize("how", ["compute", "persist", "zarr", "netcdf", "load", "part"])
def test_each_pixel_is_read_and_fitted_once(da, count_fits, how, tmp_path):
    lazy, source = from_source(da, {"y": 1, "x": 2})
    fit = lazy.fit.multifit(two_peaks(), covariance=True)
    assert count_fits == []
    with dask.config.set(scheduler="synchronous"):
        if how == "compute":
            fit.compute()
        elif how == "persist":
            fit.persist()
        elif how == "load":
            fit.load()
        elif how == "part":
            fit[["value", "red_chisq", "status"]].compute()
        elif how == "zarr":
            fit.drop_vars(["component", "parameter", "units"]).to_zarr(tmp_path / "fit.zarr", consolidated=False)
        else:
            fit.to_netcdf(tmp_path / "fit.nc")
    assert count_fits == [2] * 6
    assert len(source.reads) == 6


def test_curves_and_residuals_of_a_persisted_result_fit_nothing(da, count_fits):
    lazy, source = from_source(da, {"y": 1})
    with dask.config.set(scheduler="synchronous"):
        fit = lazy.fit.multifit(two_peaks()).persist()
        dask.compute(fit.fit.evaluate(), fit.fit.components(), fit.fit.residual(lazy), fit.fit.params)
    assert sum(count_fits) == 12
    assert len(source.reads) == 6  # three chunks, once for the fit and once for the residual


def test_a_handful_of_tasks_per_chunk():
    lazy = xr.DataArray(dask.array.zeros((40, 30, 16), chunks=(4, 3, 16)), dims=("y", "x", "e"))
    fit = lazy.fit.multifit(one_peak(centre=8.0))
    assert len(dict(fit.__dask_graph__())) <= 17 * 100
    (optimised,) = dask.optimize(fit)
    assert len(dict(optimised.__dask_graph__())) <= 17 * 100


def test_the_graph_is_built_in_layers_whatever_the_number_of_chunks(da):
    many = xr.DataArray(dask.array.zeros((1000, 1000, 16), chunks=(2, 2, 16)), dims=("y", "x", "e"))
    few = xr.DataArray(dask.array.zeros((10, 10, 16), chunks=(2, 2, 16)), dims=("y", "x", "e"))
    layers = [len(d.fit.multifit(one_peak(centre=8.0)).__dask_graph__().layers) for d in (many, few)]
    assert layers[0] == layers[1] <= 17


def test_keys_are_the_same_for_the_same_work_and_others_for_other_work(da):
    lazy = da.chunk({"y": 1})

    def made(data: xr.DataArray = lazy, model: Model | None = None, **options: Any) -> set[Any]:
        fit = data.fit.multifit(model or two_peaks(), **options)
        return {fit[name].data.name for name in fit.data_vars}

    first = made()
    assert first == made() == made(peak_map().chunk({"y": 1}))
    fixed = two_peaks()
    fixed["bg"].offset.free = False
    tied = two_peaks()
    tied["right"].sigma.tie("left.sigma")
    inactive = two_peaks()
    inactive["right"].active = False
    bounded = two_peaks()
    bounded["bg"].offset.max = 5
    others = [
        made(peak_map(seed=5).chunk({"y": 1})),
        made(da.chunk({"y": 2})),
        made(da.assign_coords(energy=da["energy"] * 2).chunk({"y": 1})),
        made(model=two_peaks(**{"bg.offset": 0.6})),
        made(model=fixed),
        made(model=tied),
        made(model=inactive),
        made(model=bounded),
        made(tolerance=1e-10),
        made(max_nfev=50),
        made(variance=2.0),
        made(variance=xr.ones_like(da)),
        made(where=da > 0),
        made(binned=True),
        made(bounded=False),
        made(covariance=True),
        made(scale_covariance=False),
        made(start={"bg.offset": 0.7}),
        made(start={"bg.offset": da.isel(energy=0, drop=True)}),
        made(active={"right": da.isel(energy=0) > 0}),
    ]
    found = [first, *others]
    for k, one in enumerate(found):
        for other in found[:k]:
            assert not one & other


def test_a_python_function_has_a_key_that_depends_on_its_code(da):
    def made(make: Any) -> str:
        fit = da.chunk({"y": 1}).fit.multifit(Model([make(name="hill")]))
        return str(fit["value"].data.name)

    assert made(registered_hill) == made(registered_hill)
    assert made(registered_hill) != made(registered_hill_with_gradient)


@pytest.mark.slow
def test_two_runs_at_once_on_one_cluster_give_their_own_answers(tmp_path):
    distributed = pytest.importorskip("distributed")
    one, two = peak_map((4, 4), seed=1), peak_map((4, 4), seed=2)
    other_model = two_peaks(**{"bg.offset": 2.0})
    hills = Model([registered_hill()])
    expected = [
        one.fit.multifit(two_peaks()),
        two.fit.multifit(other_model),
        one.fit.multifit(hills),
    ]
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=str(tmp_path)
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        chunks = {"y": 1, "x": 2}
        fits = [
            one.chunk(chunks).fit.multifit(two_peaks()),
            two.chunk(chunks).fit.multifit(other_model),
            one.chunk(chunks).fit.multifit(hills),
        ]
        futures = [client.compute(fit) for fit in fits]
        for future, wanted in zip(futures, expected, strict=True):
            assert_same_bits(future.result(), wanted)


# --- what is left out --------------------------------------------------------------------------


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


# --- weights -----------------------------------------------------------------------------------


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


# --- starts ------------------------------------------------------------------------------------


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


# --- active components -------------------------------------------------------------------------


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


# --- binned data -------------------------------------------------------------------------------


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


# --- which coordinate is meant -----------------------------------------------------------------


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


# --- models ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [registered_hill, registered_hill_with_gradient])
def test_python_functions_are_components(da, make):
    fit = da.chunk({"y": 1}).fit.multifit(Model([make(name="hill")])).compute()
    formula = Expression(
        "height / (1 + ((x - centre)/width)**2) + offset", name="hill", height=20.0, centre=6.0, width=1.5, offset=3.0
    )
    expected = da.fit.multifit(Model([formula]))
    order = list(fit["param"].values)
    np.testing.assert_allclose(fit["value"], expected["value"].sel(param=order), rtol=1e-6)
    np.testing.assert_allclose(fit["stderr"], expected["stderr"].sel(param=order), rtol=1e-5)


def test_ties_are_followed_and_their_errors_propagated(da):
    model = two_peaks()
    model["right"].sigma.tie("1.3 * left.sigma")
    model["right"].A.tie("left.A / 2 + bg.offset")
    fit = da.fit.multifit(model, covariance=True)
    value, error = fit["value"], fit["stderr"]
    sigma, area = value.sel(param="left.sigma"), value.sel(param="left.A")
    np.testing.assert_allclose(value.sel(param="right.sigma"), 1.3 * sigma, rtol=1e-14)
    np.testing.assert_allclose(value.sel(param="right.A"), area / 2 + value.sel(param="bg.offset"), rtol=1e-14)
    np.testing.assert_allclose(error.sel(param="right.sigma"), 1.3 * error.sel(param="left.sigma"), rtol=1e-10)
    c = fit["covariance"]
    variance = (
        c.sel(param="left.A", param_="left.A") / 4
        + c.sel(param="left.A", param_="bg.offset")
        + c.sel(param="bg.offset", param_="bg.offset")
    )
    np.testing.assert_allclose(error.sel(param="right.A") ** 2, variance, rtol=1e-10)
    assert (fit["dof"] == 60 - 5).all()
    assert list(fit["free"].values) == [True, True, True, False, True, False, True]

    def tied(x: np.ndarray, area: float, centre: float, sigma: float, other: float, offset: float) -> np.ndarray:
        return gaussian(x, area, centre, sigma) + gaussian(x, area / 2 + offset, other, 1.3 * sigma) + offset

    best, covariance = curve_fit(tied, da["energy"].values, da.values[0, 0], (30, 5.5, 1, 13.5, 0.5))
    free = ["left.A", "left.centre", "left.sigma", "right.centre", "bg.offset"]
    np.testing.assert_allclose(value[0, 0].sel(param=free), best, rtol=1e-6)
    np.testing.assert_allclose(error[0, 0].sel(param=free), np.sqrt(np.diag(covariance)), rtol=1e-4)


def test_what_stops_at_a_bound_is_flagged_and_has_no_error(da):
    model = two_peaks()
    model["left"].centre.set(min=5.0, max=5.6)
    model["bg"].offset.set(value=1.6, min=1.5)
    fit = da.fit.multifit(model, covariance=True)
    flags = fit["at_bound"]
    assert (flags.sel(param="left.centre") == 1).all()
    assert (flags.sel(param="bg.offset") == -1).all()
    assert (flags.sel(param=["left.A", "right.A"]) == 0).all()
    np.testing.assert_array_equal(param_values(fit, "left.centre"), 5.6)
    np.testing.assert_array_equal(param_values(fit, "bg.offset"), 1.5)
    held = ["left.centre", "bg.offset"]
    assert fit["stderr"].sel(param=held).isnull().all()
    assert fit["covariance"].sel(param=held).isnull().all()
    others = ["left.A", "left.sigma", "right.A", "right.centre", "right.sigma"]
    # What is held acts as fixed for the errors of the rest.
    fixed = two_peaks(**{"left.centre": 5.6, "bg.offset": 1.5})
    fixed["left"].centre.free = fixed["bg"].offset.free = False
    expected = da.fit.multifit(fixed)
    np.testing.assert_allclose(fit["value"].sel(param=others), expected["value"].sel(param=others), rtol=1e-6)
    # The fixed model has two more degrees of freedom, by which its errors are scaled.
    scale = math.sqrt((60 - 5) / (60 - 7))
    np.testing.assert_allclose(fit["stderr"].sel(param=others), scale * expected["stderr"].sel(param=others), rtol=1e-5)


def test_bounds_can_be_ignored(da):
    model = two_peaks()
    model["left"].centre.set(min=5.0, max=5.6)
    fit = da.fit.multifit(model, bounded=False)
    np.testing.assert_allclose(fit["value"], da.fit.multifit(two_peaks(), bounded=False)["value"], rtol=1e-12)
    assert (fit["at_bound"] == 0).all()


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 30])
def test_the_limit_of_evaluations_is_kept(limit):
    da = peak_map(n=40)
    model = two_peaks(**{"left.centre": 9.5, "right.centre": 10.0})
    fit = da.fit.multifit(model, max_nfev=limit)
    # A step along a curved valley, tried in long fits only, takes two evaluations at once.
    assert int(fit["nfev"].max()) <= limit + (2 if limit > 20 else 0)
    stopped = fit["status"] == MEANINGS.index("max_nfev")
    assert stopped.any() or limit == 30
    # The best point found is kept, without errors.
    assert fit["value"].notnull().all()
    assert fit["stderr"].where(stopped).isnull().all()
    assert fit["chisq"].notnull().all()


def test_parameters_that_the_data_cannot_tell_apart_are_singular(da):
    model = Model([Offset(name="a", offset=1.0), Offset(name="b", offset=2.0)])
    fit = da.fit.multifit(model)
    assert set(statuses(fit)) <= {"singular", "converged"}
    assert fit["stderr"].isnull().all()
    total = fit["value"].sum("param")
    np.testing.assert_allclose(total, da.mean("energy"), rtol=1e-6)


def test_a_model_that_is_not_finite_at_the_start_is_a_status(da):
    model = Model([Expression("a*log(b - x)", name="e", a=1.0, b=3.0)])
    fit = da.fit.multifit(model)
    assert set(statuses(fit)) == {"nonfinite_model"}


def test_no_kind_of_input_makes_numba_compile_the_engine_again(da):
    one_peak_fit = da.fit.multifit(two_peaks())
    entries = (fit_side_by_side, fit_singly, evaluate_pixels)
    known = [len(entry.signatures) for entry in entries]
    frozen = da.astype(">f4").copy()
    frozen.values.setflags(write=False)
    unaligned = np.frombuffer(b"x" + da.values.tobytes(), np.uint8)[1:].view("f8").reshape(da.shape)
    frozen_variance = xr.ones_like(da)
    frozen_variance.values.setflags(write=False)
    for data in (frozen, da.copy(data=unaligned), da.transpose("energy", "x", "y"), da.chunk({"y": 1})):
        fit = data.fit.multifit(two_peaks(), "energy", variance=frozen_variance, where=da["energy"] > 1).compute()
        fit["value"].values.setflags(write=False)
        fit.fit.evaluate()
    da.fit.multifit(two_peaks(), start=one_peak_fit.drop_vars("units"), binned=True).fit.components()
    pickled = pickle.loads(pickle.dumps(da.chunk({"y": 1}).fit.multifit(two_peaks())))
    pickled.compute()
    assert [len(entry.signatures) for entry in entries] == known == [1, 1, 1]


def test_the_function_is_the_accessor(da):
    assert_same_bits(xfit.multifit(da, two_peaks()), da.fit.multifit(two_peaks()))
    assert_same_bits(da.fit(two_peaks(), dim="energy"), da.fit.multifit(two_peaks()))


def test_no_warning_comes_from_an_ordinary_fit(da):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        da.fit.multifit(two_peaks())
        da.chunk({"y": 1}).fit.multifit(two_peaks(), variance=xr.ones_like(da)).compute()
