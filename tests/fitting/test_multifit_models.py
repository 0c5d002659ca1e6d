"""multifit: functions, ties, bounds and limits of models."""

from __future__ import annotations

import math
import pickle
import warnings

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import curve_fit

import xfit
from tests.support.builders import (
    assert_same_bits,
    gaussian,
    param_values,
    peak_map,
    statuses,
    two_peaks,
)
from tests.support.multifit_data import (
    da,  # noqa: F401
    registered_hill,
    registered_hill_with_gradient,
)
from xfit import Model
from xfit.components import Expression, Offset
from xfit.engine.codegen import machine_code
from xfit.engine.pixel.status import MEANINGS


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
    made = machine_code.made()
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
    assert machine_code.made() == made


def test_the_function_is_the_accessor(da):
    assert_same_bits(xfit.multifit(da, two_peaks()), da.fit.multifit(two_peaks()))
    assert_same_bits(da.fit(two_peaks(), dim="energy"), da.fit.multifit(two_peaks()))


def test_no_warning_comes_from_an_ordinary_fit(da):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        da.fit.multifit(two_peaks())
        da.chunk({"y": 1}).fit.multifit(two_peaks(), variance=xr.ones_like(da)).compute()
