"""multifit: dimensions, dtypes, chunks, masks, starts, weights, binning; lazy, once per
pixel, equal on every scheduler.
"""

from __future__ import annotations

import importlib
from typing import Any

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from scipy.optimize import curve_fit

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
from tests.support.multifit_data import (
    da,  # noqa: F401
    registered_hill,
    registered_hill_with_gradient,
)
from xfit import Model

#: The module; the package's attribute of this name is the function.
multifit_module = importlib.import_module("xfit.fitting.running.map_blocks")


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
        sigma = None if variance is None else np.sqrt(variance.values[y, x_])
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
