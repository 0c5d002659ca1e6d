"""The result: its schema, its way through files, and what can be asked of it."""

from __future__ import annotations

import json
import warnings
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.builders import (
    assert_same_bits,
    from_source,
    gaussian,
    image_map,
    peak_map,
    spot,
    two_peaks,
)
from tests.support.results import computed, da, fit, stored_model  # noqa: F401
from xfit.engine.pixel.status import MEANINGS
from xfit.results.assembly import SCHEMA_VERSION

NAMES = ["left.A", "left.centre", "left.sigma", "right.A", "right.centre", "right.sigma", "bg.offset"]


@pytest.mark.parametrize("lazy", [False, True])
def test_schema(da, lazy):
    fit = (da.chunk({"y": 1}) if lazy else da).fit.multifit(two_peaks(), covariance=True)
    over_pixels = ("y", "x")
    expected = {
        "value": ((*over_pixels, "param"), "float64"),
        "stderr": ((*over_pixels, "param"), "float64"),
        "at_bound": ((*over_pixels, "param"), "int8"),
        "covariance": ((*over_pixels, "param", "param_"), "float64"),
        "chisq": (over_pixels, "float64"),
        "red_chisq": (over_pixels, "float64"),
        "loss": (over_pixels, "float64"),
        "dof": (over_pixels, "int32"),
        "nfev": (over_pixels, "int32"),
        "status": (over_pixels, "int8"),
        "aic": (over_pixels, "float64"),
        "aicc": (over_pixels, "float64"),
        "bic": (over_pixels, "float64"),
    }
    assert {name: (v.dims, str(v.dtype)) for name, v in fit.data_vars.items()} == expected
    computed = fit.compute()
    for name, variable in computed.data_vars.items():
        assert variable.dtype == fit[name].dtype
        assert variable.attrs["long_name"], name
    assert list(fit["param"].values) == list(fit["param_"].values) == NAMES
    assert list(fit["component"].values) == ["left"] * 3 + ["right"] * 3 + ["bg"]
    assert list(fit["parameter"].values) == ["A", "centre", "sigma"] * 2 + ["offset"]
    assert list(fit["units"].values) == ["counts eV", "eV", "eV"] * 2 + ["counts"]
    assert fit["free"].dtype == bool
    xr.testing.assert_identical(fit["y"], da["y"])
    xr.testing.assert_identical(fit["energy"], da["energy"])


def test_flags_are_explained_as_cf_wants_it(fit):
    status = fit["status"].attrs
    assert status["flag_meanings"].split() == list(MEANINGS)
    np.testing.assert_array_equal(status["flag_values"], np.arange(len(MEANINGS)))
    assert status["flag_values"].dtype == fit["status"].dtype
    bound = fit["at_bound"].attrs
    np.testing.assert_array_equal(bound["flag_values"], [-1, 0, 1])
    assert bound["flag_meanings"] == "lower free upper"
    assert bound["flag_values"].dtype == fit["at_bound"].dtype


def test_attributes_say_how_the_fit_was_made(fit):
    assert fit.attrs["title"] == "fit of eels"
    assert fit.attrs["xfit_schema"] == SCHEMA_VERSION
    assert fit.attrs["xfit_version"] == xfit.__version__
    assert (fit.attrs["xfit_optimizer"], fit.attrs["xfit_loss"]) == ("lm", "ls")
    assert (fit.attrs["xfit_binned"], fit.attrs["xfit_scale_covariance"], fit.attrs["xfit_bounded"]) == (0, 1, 1)
    assert json.loads(fit.attrs["xfit_model"]) == two_peaks().to_dict()
    assert json.loads(fit.attrs["xfit_signal_dims"]) == ["energy"]


def test_units_of_binned_data_and_of_unknown_ones(da):
    units = da.fit.multifit(two_peaks(), binned=True)["units"]
    assert list(units.values) == ["counts", "eV", "eV"] * 2 + ["counts eV^-1"]
    bare = da.drop_attrs()
    assert list(bare.fit.multifit(two_peaks())["units"].values) == [""] * 7
    model = two_peaks()
    model["left"].centre.units = "keV"
    assert bare.fit.multifit(model).fit["left.centre"].attrs["units"] == "keV"


def test_a_power_is_one_of_the_whole_unit():
    da = peak_map()
    da["energy"].attrs["units"] = "1/cm"
    units = da.fit.multifit(two_peaks(), binned=True)["units"]
    assert list(units.values) == ["counts", "1/cm", "1/cm"] * 2 + ["counts (1/cm)^-1"]


def test_coordinates_of_the_data_come_along(da):
    more = da.assign_coords(
        thickness=(("y", "x"), np.ones((3, 4))),
        label=("y", ["a", "b", "c"]),
        run=7,
        wavelength=("energy", np.arange(60)),
    )
    more["cube"] = (("y", "energy"), np.zeros((3, 60)))
    fit = more.fit.multifit(two_peaks())
    assert {"thickness", "label", "run", "wavelength", "y", "x", "energy"} <= set(fit.coords)
    assert "cube" not in fit.coords
    assert {"thickness", "label", "run"} <= set(fit.fit["left.A"].coords)
    assert "energy" not in fit.fit["left.A"].coords


def written(fit: xr.Dataset, kind: Any, path: Any) -> xr.Dataset:
    if kind == "zarr":
        # Whatever zarr thinks of consolidated metadata is not under test.
        fit.to_zarr(path / "fit.zarr", zarr_format=3, consolidated=False)
        return xr.open_zarr(path / "fit.zarr", consolidated=False)
    pytest.importorskip("h5py" if kind == "h5netcdf" else "netCDF4")
    fit.to_netcdf(path / "fit.nc", engine=kind)
    return xr.open_dataset(path / "fit.nc", engine=kind)


@pytest.mark.parametrize("kind", ["zarr", "netcdf4", "h5netcdf"])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_result_read_back_is_the_same_and_knows_its_model(da, kind, lazy, tmp_path):
    model = two_peaks()
    model["right"].sigma.tie("1.3*left.sigma")
    model["bg"].offset.set(min=0, free=False, value=1)
    fit = (da.chunk({"y": 1, "x": 2}) if lazy else da).fit.multifit(model, covariance=True, binned=True)
    expected = da.fit.multifit(model, covariance=True, binned=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("error", FutureWarning)
        warnings.filterwarnings("ignore", message="The codec `vlen-utf8`")  # what older versions of zarr say of text
        back = written(fit, kind, tmp_path)
    with back:
        assert_same_bits(back.load(), expected)
        assert back.fit.model == model
        assert [str(name) for name in back["param"].values] == NAMES
        assert back["free"].dtype == bool
        np.testing.assert_array_equal(back["free"], expected["free"])
        np.testing.assert_array_equal(back.fit.evaluate(), expected.fit.evaluate())
        np.testing.assert_array_equal(back.fit.components().to_array(), expected.fit.components().to_array())
        assert back.fit.table(y=0, x=0.5) == expected.fit.table(y=0, x=0.5)
        assert back.fit.report() == expected.fit.report()
        assert back.fit["left.centre"].attrs == expected.fit["left.centre"].attrs
        assert back.attrs["xfit_binned"] == 1
        np.testing.assert_array_equal(back["status"].attrs["flag_values"], np.arange(len(MEANINGS)))
        # A result from a file is a start like any other.
        again = da.fit.multifit(model, start=back, binned=True)
        assert int(again["nfev"].max()) <= 3


def test_a_result_of_data_from_a_file_takes_no_encoding_from_it(da, tmp_path):
    da.to_dataset(name="data").to_zarr(
        tmp_path / "data.zarr", encoding={"data": {"chunks": (3, 2, 60)}}, consolidated=False
    )
    data = xr.open_zarr(tmp_path / "data.zarr", consolidated=False)["data"].chunk({"y": 1, "x": 1})
    data.fit.multifit(two_peaks()).to_zarr(tmp_path / "fit.zarr", consolidated=False)
    back = xr.open_zarr(tmp_path / "fit.zarr", consolidated=False)
    np.testing.assert_array_equal(back["value"], da.fit.multifit(two_peaks())["value"])


def test_map_of_one_parameter(fit):
    centre = fit.fit["left.centre"]
    assert centre.dims == ("y", "x")
    assert centre.name == "left.centre"
    assert centre.attrs == {"long_name": "left centre", "units": "eV"}
    assert set(centre.coords) == {"y", "x"}
    np.testing.assert_array_equal(centre, fit["value"].sel(param="left.centre"))
    error = fit.fit.stderr("left.centre")
    assert error.attrs == {"long_name": "standard error of left centre", "units": "eV"}
    np.testing.assert_array_equal(error, fit["stderr"].sel(param="left.centre"))


def test_a_parameter_that_is_not_there(fit):
    with pytest.raises(KeyError, match=r"no parameter 'left.width'.*left\.sigma"):
        fit.fit["left.width"]
    with pytest.raises(KeyError, match="no parameter 'A'"):
        fit.fit.stderr("A")


def test_params_has_one_variable_for_each(fit):
    params = fit.fit.params
    assert list(params.data_vars) == NAMES
    assert params["right.A"].attrs["units"] == "counts eV"
    x = fit["energy"]
    curve = gaussian(x, params["left.A"], params["left.centre"], params["left.sigma"])
    xr.testing.assert_allclose(
        curve.transpose("y", "x", "energy"), fit.fit.components()["left"].reset_coords(drop=True), rtol=1e-12
    )


def test_curves_are_what_numpy_computes_from_the_values(da, fit):
    p = {name: fit["value"].sel(param=name).values[..., None] for name in NAMES}
    x = da["energy"].values
    left = gaussian(x, p["left.A"], p["left.centre"], p["left.sigma"])
    right = gaussian(x, p["right.A"], p["right.centre"], p["right.sigma"])
    flat = p["bg.offset"] + 0 * x
    np.testing.assert_allclose(fit.fit.evaluate(), left + right + flat, rtol=1e-12)
    np.testing.assert_allclose(fit.fit.evaluate(["left", "bg"]), left + flat, rtol=1e-12)
    parts = fit.fit.components()
    assert list(parts.data_vars) == ["left", "right", "bg"]
    np.testing.assert_allclose(parts["right"], right, rtol=1e-12)
    np.testing.assert_allclose(parts["bg"], flat, rtol=1e-15)
    assert fit.fit.evaluate().dims == da.dims
    xr.testing.assert_identical(fit.fit.evaluate()["energy"], da["energy"])


def test_residual_and_statistics(da, fit):
    residual = fit.fit.residual(da)
    xr.testing.assert_allclose(residual, (da - fit.fit.evaluate()).drop_attrs())
    assert residual.dims == da.dims
    whole = fit.fit.statistics(da)
    for name in ("chisq", "red_chisq", "dof"):
        np.testing.assert_allclose(whole[name], fit[name], rtol=1e-9)
    part = da.sel(energy=slice(4, 9))
    statistics = fit.fit.statistics(part)
    square = residual.sel(energy=slice(4, 9)) ** 2
    np.testing.assert_allclose(statistics["chisq"], square.sum("energy"), rtol=1e-12)
    assert (statistics["dof"] == part.sizes["energy"] - 7).all()
    masked = fit.fit.statistics(da, where=(da["energy"] >= 4) & (da["energy"] <= 9))
    np.testing.assert_allclose(masked["chisq"], statistics["chisq"], rtol=1e-12)
    np.testing.assert_array_equal(masked["dof"], statistics["dof"])


def test_statistics_with_weights_holes_and_inactive_components(da):
    variance = 0.1 + abs(da)
    variance[..., 3] = np.nan
    holed = da.copy(deep=True)
    holed[0, 0, 9] = np.nan
    holed[1, 1] = np.nan
    on = xr.DataArray([[True, False, True, True]] * 3, dims=("y", "x"))
    fit = holed.fit.multifit(two_peaks(), variance=variance, active={"right": on})
    statistics = fit.fit.statistics(holed, variance)
    good = fit["status"] == 1
    assert int(good.sum()) == 11
    for name in ("chisq", "red_chisq", "dof"):
        np.testing.assert_allclose(statistics[name].where(good), fit[name].where(good), rtol=1e-9)
    # Curves leave the inactive component out, and a pixel without values has no curve.
    np.testing.assert_array_equal(fit.fit.evaluate().isel(x=1, y=0), fit.fit.evaluate(["left", "bg"]).isel(x=1, y=0))
    assert fit.fit.components()["right"].isel(x=1).isnull().all()
    assert fit.fit.evaluate().isel(y=1, x=1).isnull().all()


def test_curves_of_a_lazy_result_are_lazy_and_the_same(da, fit):
    lazy, _ = from_source(da, {"y": 1, "x": 3}, forbidden=True)
    made = lazy.fit.multifit(two_peaks())
    assert made.fit.evaluate().chunks is not None
    assert made.fit.residual(lazy).chunks is not None
    assert made.fit.statistics(lazy)["chisq"].chunks is not None
    real = da.chunk({"y": 1, "x": 3}).fit.multifit(two_peaks())
    np.testing.assert_array_equal(real.fit.evaluate(), fit.fit.evaluate())
    xr.testing.assert_identical(real.fit.components().compute(), fit.fit.components())
    (values,) = dask.compute(real.fit.params)
    xr.testing.assert_identical(values, fit.fit.params)


def test_curves_of_images():
    images = image_map(("row", "col"), noise=0.1)
    fit = images.fit.multifit(spot())
    curves = fit.fit.evaluate()
    assert curves.dims == ("frame", "row", "col")
    np.testing.assert_allclose(((images - curves) ** 2).sum(["row", "col"]), fit["chisq"], rtol=1e-9)
    np.testing.assert_allclose(fit.fit.statistics(images)["chisq"], fit["chisq"], rtol=1e-9)


def test_an_unknown_component_and_other_data(fit, da):
    with pytest.raises(ValueError, match=r"no component\(s\) \['Fe'\].*'left', 'right', 'bg'"):
        fit.fit.evaluate(["Fe"])
    with pytest.raises(ValueError, match=r"da has no dimension\(s\) \['y'\]"):
        fit.fit.residual(da.isel(y=0))


def test_parts_of_a_result_are_results(da, fit):
    whole = fit.fit.evaluate()
    for part, curve in [
        (fit.isel(y=1), whole.isel(y=1)),
        (fit.isel(y=1, x=2), whole.isel(y=1, x=2)),
        (fit.sel(x=slice(0.5, 1.0)), whole.sel(x=slice(0.5, 1.0))),
        (fit.isel(x=[3, 0]), whole.isel(x=[3, 0])),
        (fit.sel(energy=slice(4, 9)), whole.sel(energy=slice(4, 9))),
        (fit.transpose("x", "param", "y", ...), whole.transpose("x", "y", "energy")),
        (fit.sortby("x", ascending=False), whole.sortby("x", ascending=False)),
        (fit.isel(param=slice(None, None, -1)), whole),
    ]:
        np.testing.assert_array_equal(part.fit.evaluate(), curve)
        assert part.fit.model == two_peaks()
        np.testing.assert_array_equal(part.fit["right.A"], part["value"].sel(param="right.A"))
        assert "right.centre" in part.fit.report()
    assert fit.isel(y=1, x=2).fit.table() == fit.fit.table(y=0.5, x=1.0).split(": ", 1)[1]


def test_a_result_that_lost_what_curves_need_says_so(fit):
    with pytest.raises(ValueError, match=r"no dimension.*'energy'"):
        fit.isel(energy=3).fit.evaluate()
    with pytest.raises(ValueError, match=r"no dimension.*'energy'"):
        fit.drop_vars("energy").fit.evaluate()
    with pytest.raises(ValueError, match=r"no parameter\(s\) \['left.A'\]"):
        fit.isel(param=slice(1, None)).fit.evaluate()
    assert "left.A" not in fit.isel(param=slice(1, None)).fit.table(y=0, x=0)
    row = [line for line in fit.isel(param=[6, 1]).fit.table(y=0, x=0).splitlines() if "bg.offset" in line]
    assert f"{float(fit['value'].isel(y=0, x=0, param=6)):.2f} ± " in row[0]


def test_a_dataset_that_is_no_result(da):
    with pytest.raises(ValueError, match=r"no result of a fit.*'xfit_model'"):
        stored_model(da.to_dataset())
    with pytest.raises(ValueError, match="no result of a fit"):
        xr.Dataset().fit.evaluate()


def test_a_dataset_can_not_be_fitted(da, fit):
    """A file that is opened is a Dataset; what is fitted is a variable of it."""
    ds = da.to_dataset(name="counts").assign(other=da)
    with pytest.raises(
        AttributeError,
        match=r"take a variable of it: ds\['counts'\]\.fit\.multifit\(\.\.\.\) \(there are \['counts', 'other'\]\)",
    ):
        _ = ds.fit.multifit
    with pytest.raises(TypeError, match=r"ds\['counts'\]\.fit\(\.\.\.\)"):
        ds.fit(None)
    with pytest.raises(AttributeError, match="'Result' object has no attribute 'nothing'"):
        _ = fit.fit.nothing


def test_a_result_of_a_newer_schema_is_refused(fit):
    fit.attrs["xfit_schema"] = SCHEMA_VERSION + 1
    with pytest.raises(ValueError, match=f"schema version {SCHEMA_VERSION + 1}.*update xfit"):
        stored_model(fit)
