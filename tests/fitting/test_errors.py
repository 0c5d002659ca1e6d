"""Errors of a fit: each names the argument, what came and what would be right, before any data are read."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.builders import from_source, image_map, one_peak, peak_map, spot, two_peaks
from xfit import Model
from xfit.components import Expression, Function, Gaussian, Gaussian2D, Offset


@pytest.fixture
def da() -> xr.DataArray:
    """Lazy data that raise when they are read."""
    return from_source(peak_map(), {"y": 1}, forbidden=True)[0]


def navigation(value: Any = 1.0) -> xr.DataArray:
    return xr.full_like(peak_map().isel(energy=0, drop=True), value, dtype=type(value))


def refused(error: type[Exception], *words: str) -> Any:
    """Expect an error whose message has all these words, in this order."""
    return pytest.raises(error, match="(?s)" + ".*".join(map(re.escape, words)))


# --- data --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", ["complex128", "complex64", "bool", "datetime64[ns]", "timedelta64[ns]", object, "U3"]
)
def test_data_that_are_no_real_numbers(dtype):
    da = xr.DataArray(np.zeros((2, 9), dtype), dims=("p", "x"))
    with refused(TypeError, "the data have dtype", str(da.dtype), "real numbers"):
        da.fit.multifit(one_peak())


def test_data_of_more_than_double_precision():
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("no such numbers on this machine")
    with refused(TypeError, "dtype", "float64", "astype"):
        xr.DataArray(np.zeros((2, 9), np.longdouble), dims=("p", "x")).fit.multifit(one_peak())


def test_data_that_are_no_dataarray():
    with refused(TypeError, "the data must be an xarray.DataArray", "ndarray"):
        xfit.multifit(np.zeros((2, 9)), one_peak())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["param", "value", "units", "status", "chisq"])
def test_names_that_the_result_needs(da, name):
    with refused(ValueError, "the data have", f"['{name}']", "rename"):
        da.rename(x=name).fit.multifit(two_peaks())
    with refused(ValueError, "the data have", f"['{name}']", "rename"):
        da.assign_coords({name: ("y", [1, 2, 3])}).fit.multifit(two_peaks())


# --- model -------------------------------------------------------------------------------------


def test_a_model_that_is_none(da):
    with refused(TypeError, "model must be an xfit.Model", "Gaussian", "xfit.Model([...])"):
        da.fit.multifit(Gaussian())
    with refused(TypeError, "model must be an xfit.Model", "str"):
        da.fit.multifit("Gaussian")
    with refused(TypeError, "model must be an xfit.Model", "Gaussian"):
        da.isel(y=0, x=0).fit(Gaussian())


def test_a_model_without_components(da):
    with refused(ValueError, "model has no components"):
        da.fit.multifit(Model())


def test_a_model_without_free_parameters(da):
    model = two_peaks()
    model.set_parameters_not_free()
    with refused(ValueError, "no free parameter", "free=True"):
        da.fit.multifit(model)
    model = two_peaks()
    model.set_active(False)
    with refused(ValueError, "no free parameter in an active component"):
        da.fit.multifit(model)


def test_fewer_channels_than_free_parameters(da):
    with refused(ValueError, "6 channel(s)", "7 free parameters", "fix some"):
        da.isel(energy=slice(6)).fit.multifit(two_peaks())


def test_a_start_value_out_of_bounds(da):
    model = two_peaks()
    model["left"].centre.set(value=3, min=5, max=8)
    with refused(ValueError, "left.centre", "start value 3.0", "[5.0, 8.0]", "bounded=False"):
        da.fit.multifit(model)
    # Also where only a map switches the component on.
    model["left"].active = False
    with refused(ValueError, "left.centre", "start value 3.0"):
        da.fit.multifit(model, active={"left": navigation(True)})


def test_bounds_the_wrong_way_round():
    with refused(ValueError, "left.centre", "8", "5"):
        two_peaks()["left"].centre.set(min=8, max=5)


def test_bounds_that_leave_no_room(da):
    model = two_peaks()
    model["left"].centre.set(value=6.0, min=6.0, max=6.0)
    with refused(ValueError, "left.centre", "min and max are both 6.0", "free=False"):
        da.fit.multifit(model)


def test_ties_in_a_circle(da):
    model = two_peaks()
    with refused(ValueError, "left.A"):
        model["left"].A.tie("2 * right.A")
        model["right"].A.tie("2 * left.A")
        da.fit.multifit(model)


def test_a_tie_to_an_unknown_parameter(da):
    model = two_peaks()
    with refused(ValueError, "Fe.A"):
        model["left"].A.tie("2 * Fe.A")
        da.fit.multifit(model)


def test_two_components_of_one_name_in_a_model():
    model = Model([Gaussian(name="Fe"), Gaussian(name="Fe")])
    assert [component.name for component in model] == ["Fe", "Fe_0"]
    with refused(ValueError, "another component", "'Fe'"):
        model["Fe_0"].name = "Fe"


def test_components_of_one_and_of_two_dimensions(da):
    with refused(ValueError, "one dimension", "['bg']", "two"):
        da.fit.multifit(Model([Offset(name="bg"), Gaussian2D(name="spot")]))


def test_a_python_function_that_no_stored_result_could_name(da):
    def ramp(x, slope=1.0):
        return slope * x

    with refused(ValueError, "'ramp'", "Python function", "@xfit.component"):
        da.fit.multifit(Model([Function(ramp)]))


def test_a_python_function_that_numba_cannot_compile(da):
    @xfit.component
    def unfit_for_numba(x, slope=1.0):
        return float(open("slope").read())

    with refused(TypeError, "'unfit_for_numba'", "numba"):
        da.fit.multifit(Model([unfit_for_numba()]))


# --- dimensions and coordinates ----------------------------------------------------------------


@pytest.mark.parametrize("dim", ["wavelength", 3, -4, 1.5, None.__class__])
def test_a_dimension_that_is_not_there(da, dim):
    with refused(ValueError, "dim=", "is not a dimension", "['y', 'x', 'energy']"):
        da.fit.multifit(two_peaks(), dim=dim)


def test_too_many_or_too_few_dimensions(da):
    with refused(ValueError, "names 2 signal dimension(s)", "1-D"):
        da.fit.multifit(two_peaks(), dim=["x", "energy"])
    with refused(ValueError, "names 0 signal dimension(s)", "1-D"):
        da.fit.multifit(two_peaks(), dim=[])
    with refused(ValueError, "names 1 signal dimension(s)", "2-D"):
        image_map(("y", "x")).fit.multifit(spot(), dim="x")
    with refused(ValueError, "twice"):
        image_map(("y", "x")).fit.multifit(spot(), dim=["x", -1])
    with refused(ValueError, "2"):
        xr.DataArray(np.zeros(9), dims="x").fit.multifit(spot())
    with refused(ValueError, "1"):
        xr.DataArray(1.0).fit.multifit(one_peak())


def test_a_map_where_a_spectrum_is_expected(da):
    with refused(ValueError, "['y', 'x', 'energy']", "1-D", "da.fit.multifit(model)"):
        da.fit(two_peaks())


def test_a_coordinate_that_the_data_do_not_have(da):
    model = Model([Expression("a*depth", name="e", coordinates=("depth",))])
    with refused(ValueError, "coordinate 'depth'", "energy"):
        da.fit.multifit(model)


def test_a_coordinate_that_is_no_number(da):
    times = np.arange(60).astype("datetime64[s]")
    with refused(ValueError, "'energy'", "datetime64", "numbers"):
        da.assign_coords(energy=times).fit.multifit(two_peaks())


def test_a_coordinate_that_is_not_finite(da):
    energy = peak_map()["energy"].values.copy()
    energy[3] = np.nan
    with refused(ValueError, "'energy'", "not finite"):
        da.assign_coords(energy=energy).fit.multifit(two_peaks())


def test_binned_data_whose_channels_have_no_width(da):
    energy = peak_map()["energy"].values.copy()
    energy[3:6] = energy[3]
    with refused(ValueError, "binned", "'energy'"):
        da.assign_coords(energy=energy).fit.multifit(two_peaks(), binned=True)
    one = Model([Offset(name="bg")])
    out_of_order = np.random.default_rng(0).permutation(60)
    with refused(ValueError, "binned", "rises or falls throughout", "da.sortby('energy')", "binned=False"):
        da.isel(energy=out_of_order).fit.multifit(two_peaks(), binned=True)
    with refused(ValueError, "binned", "rises or falls throughout", "there twice"):
        xr.concat([da, da], "energy").fit.multifit(two_peaks(), binned=True)
    with refused(ValueError, "binned", "steps of the coordinate 'energy'", "NaN", "binned=False"):
        da.isel(energy=np.r_[0:20, 21:60]).fit.multifit(two_peaks(), binned=True)
    with refused(ValueError, "binned", "steps of the coordinate 'energy'"):
        flagged = da.isel(energy=np.r_[0:20, 40:60])
        flagged.assign_coords(energy=("energy", flagged.energy.values, {"is_binned": 1})).fit.multifit(two_peaks())
    with refused(TypeError, "binned='yes'", "True, False or None"):
        da.fit.multifit(one, binned="yes")
    with refused(ValueError, "is_binned='False'", "'energy'"):
        da.assign_coords(energy=("energy", da.energy.values, {"is_binned": "False"})).fit.multifit(one)
    with refused(ValueError, "binned", "two channels", "'energy'"):
        da.isel(energy=[0]).fit.multifit(one, binned=True)


# --- start -------------------------------------------------------------------------------------


def test_a_start_of_the_wrong_kind(da):
    for start in (3.0, [1, 2], "best"):
        with refused(TypeError, "start must be", repr(start)):
            da.fit.multifit(two_peaks(), start=start)
    with refused(ValueError, "start", "'value'", "no result"):
        da.fit.multifit(two_peaks(), start=xr.Dataset({"a": navigation()}))
    with refused(TypeError, "start['left.A']", "DataArray", "list"):
        da.fit.multifit(two_peaks(), start={"left.A": [1.0, 2.0]})
    with refused(TypeError, "start['left.A']", "bool"):
        da.fit.multifit(two_peaks(), start={"left.A": navigation(True)})


def test_a_start_of_an_unknown_or_tied_parameter(da):
    with refused(ValueError, "'Fe.A'", "no parameter", "left.A"):
        da.fit.multifit(two_peaks(), start={"Fe.A": 3.0})
    model = two_peaks()
    model["right"].A.tie("2*left.A")
    with refused(ValueError, "'right.A'", "tied"):
        da.fit.multifit(model, start={"right.A": 3.0})


def test_a_start_number_out_of_bounds_or_not_finite(da):
    model = two_peaks()
    model["left"].centre.set(min=4, max=8)
    with refused(ValueError, "start['left.centre']", "9.0", "[4.0, 8.0]"):
        da.fit.multifit(model, start={"left.centre": 9})
    with refused(ValueError, "start['left.centre']", "nan", "finite"):
        da.fit.multifit(model, start={"left.centre": np.nan})


def test_a_start_map_of_another_shape(da):
    with refused(ValueError, "start['left.A']", "['energy']", "navigation"):
        da.fit.multifit(two_peaks(), start={"left.A": peak_map()})
    with refused(ValueError, "start['left.A']", "size 2 along 'y'", "3"):
        da.fit.multifit(two_peaks(), start={"left.A": navigation().isel(y=slice(2))})
    shifted = navigation().assign_coords(y=[5.0, 6.0, 7.0])
    with refused(ValueError, "start['left.A']", "other labels along 'y'", "reindex_like"):
        da.fit.multifit(two_peaks(), start={"left.A": shifted})


def test_a_result_without_common_parameters_as_start(da):
    first = peak_map().fit.multifit(Model([Gaussian(name="other", A=30, centre=6), Offset(name="base")]))
    with refused(ValueError, "start", "no parameter in common", "other.A", "left.A"):
        da.fit.multifit(two_peaks(), start=first)


# --- optimizer and options ---------------------------------------------------------------------


def test_an_unknown_optimizer_or_loss(da):
    with refused(ValueError, "optimizer 'newtoon'", "lm"):
        da.fit.multifit(two_peaks(), optimizer="newtoon")
    with refused(ValueError, "loss 'cubic'", "ls"):
        da.fit.multifit(two_peaks(), loss="cubic")


@pytest.mark.parametrize("tolerance", [0, -1e-9, np.nan, np.inf, "small", None])
def test_a_tolerance_that_makes_no_sense(da, tolerance):
    with refused(ValueError, "tolerance=", "above zero"):
        da.fit.multifit(two_peaks(), tolerance=tolerance)


@pytest.mark.parametrize("limit", [0, -3, 2.5, "many"])
def test_a_limit_that_makes_no_sense(da, limit):
    with refused(ValueError, "max_nfev=", "at least 1"):
        da.fit.multifit(two_peaks(), max_nfev=limit)


def test_an_unknown_option(da):
    with refused(TypeError, "'method'"):
        da.fit.multifit(two_peaks(), method="lm")
    with refused(TypeError, "'tol'"):
        da.isel(y=0, x=0).fit(two_peaks(), tol=1e-3)


# --- variance, where, active -------------------------------------------------------------------


@pytest.mark.parametrize("variance", [0, 0.0, -1.0, np.nan, np.inf])
def test_a_variance_number_that_is_not_above_zero(da, variance):
    with refused(ValueError, f"variance={variance}", "above zero"):
        da.fit.multifit(two_peaks(), variance=variance)


def test_a_variance_array_that_is_not_above_zero(da):
    variance = xr.ones_like(peak_map())
    variance[0, 0, :2] = 0
    variance[1, 1, 1] = -4
    with refused(ValueError, "variance must be above zero", "3 of 720", "NaN"):
        da.fit.multifit(two_peaks(), variance=variance)


def test_a_variance_of_the_wrong_shape_or_kind(da):
    with refused(ValueError, "variance has size 2 along 'y'", "3"):
        da.fit.multifit(two_peaks(), variance=xr.ones_like(peak_map())[:2])
    with refused(ValueError, "variance", "['z']"):
        da.fit.multifit(two_peaks(), variance=xr.DataArray(np.ones((2, 60)), dims=("z", "energy")))
    with refused(TypeError, "variance must be an xarray.DataArray", "ndarray"):
        da.fit.multifit(two_peaks(), variance=np.ones((3, 4, 60)))
    with refused(TypeError, "variance has dtype complex128", "real"):
        da.fit.multifit(two_peaks(), variance=xr.ones_like(peak_map(), dtype=complex))
    with refused(ValueError, "variance='gauss'"):
        da.fit.multifit(two_peaks(), variance="gauss")


def test_a_mask_that_is_no_mask(da):
    with refused(TypeError, "where has dtype float64", "booleans"):
        da.fit.multifit(two_peaks(), where=navigation())
    with refused(TypeError, "where must be an xarray.DataArray", "ndarray"):
        da.fit.multifit(two_peaks(), where=np.ones((3, 4), bool))
    with refused(ValueError, "where has size", "'energy'"):
        da.fit.multifit(two_peaks(), where=xr.DataArray(np.ones(5, bool), dims="energy"))


def test_active_maps_that_do_not_fit(da):
    with refused(TypeError, "active must map component names"):
        da.fit.multifit(two_peaks(), active=navigation(True))
    with refused(ValueError, "active names 'Fe'", "['left', 'right', 'bg']"):
        da.fit.multifit(two_peaks(), active={"Fe": navigation(True)})
    with refused(TypeError, "active['left']", "float64", "booleans"):
        da.fit.multifit(two_peaks(), active={"left": navigation()})
    with refused(ValueError, "active['left']", "['energy']"):
        da.fit.multifit(two_peaks(), active={"left": peak_map() > 0})
    with refused(ValueError, "no free parameter"):
        da.fit.multifit(two_peaks(), active={"left": False, "right": False, "bg": False})
