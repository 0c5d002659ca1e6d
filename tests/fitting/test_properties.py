"""What must hold of every fit, whatever the data: independence of chunks, order, scale, origin and neighbours."""

from __future__ import annotations

import warnings
from typing import Any

import dask
import numpy as np
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.builders import (
    assert_same_bits,
    chunkings,
    garbage,
    gaussian,
    one_peak,
    peak_map,
    schedulers,
    statuses,
    two_peaks,
)
from xfit import Model
from xfit.components import Gaussian, Offset
from xfit.engine.pixel.status import MEANINGS

seeds = st.integers(0, 2**31)
few = settings(max_examples=12, deadline=None)


@few
@given(chunks=chunkings, scheduler=schedulers, seed=seeds)
def test_chunks_schedulers_and_workers_change_no_bit(chunks, scheduler, seed):
    da = peak_map((6, 5), seed=seed)
    expected = da.fit.multifit(two_peaks(), covariance=True)
    name, workers = scheduler
    with dask.config.set(scheduler=name, num_workers=workers):
        assert_same_bits(da.chunk(chunks).fit.multifit(two_peaks(), covariance=True).compute(), expected)


@few
@given(seed=seeds, where=st.tuples(st.integers(0, 5), st.integers(0, 4)))
def test_a_pixel_is_fitted_alone_as_it_is_among_others(seed, where):
    da = peak_map((6, 5), seed=seed)
    y, x = where
    assert_same_bits(da.isel(y=y, x=x).fit(two_peaks()), da.fit.multifit(two_peaks()).isel(y=y, x=x))


@few
@given(order=st.permutations([0, 1, 2]), seed=seeds)
def test_the_order_of_components_does_not_matter(order, seed):
    da = peak_map(seed=seed)
    expected = da.fit.multifit(two_peaks())
    model = two_peaks()
    fit = da.fit.multifit(Model([model[k].copy() for k in order]))
    names = list(expected["param"].values)
    np.testing.assert_allclose(fit["value"].sel(param=names), expected["value"], rtol=1e-6)
    np.testing.assert_allclose(fit["stderr"].sel(param=names), expected["stderr"], rtol=1e-5)
    np.testing.assert_allclose(fit["chisq"], expected["chisq"], rtol=1e-9)


@few
@given(seed=seeds)
def test_the_order_of_channels_does_not_matter(seed):
    da = peak_map(seed=seed)
    expected = da.fit.multifit(two_peaks())
    shuffled = np.random.default_rng(seed).permutation(da.sizes["energy"])
    for order in (np.arange(da.sizes["energy"])[::-1], shuffled):
        fit = da.isel(energy=order).fit.multifit(two_peaks())
        np.testing.assert_allclose(fit["value"], expected["value"], rtol=1e-6)
        np.testing.assert_allclose(fit["stderr"], expected["stderr"], rtol=1e-5)


LINEAR = ["left.A", "right.A", "bg.offset"]
OTHER = ["left.centre", "left.sigma", "right.centre", "right.sigma"]


@few
@given(factor=st.sampled_from([1e-12, 1e-6, 0.3, 7.0, 1e5, 1e12]), seed=seeds, weighted=st.booleans())
def test_scaled_data_scale_the_amplitudes(factor, seed, weighted):
    da = peak_map(seed=seed)
    start = {name: factor * two_peaks()[name].value for name in LINEAR}
    variance = 0.04 if weighted else None
    expected = da.fit.multifit(two_peaks(), variance=variance)
    fit = (factor * da).fit.multifit(two_peaks(**start), variance=factor**2 * 0.04 if weighted else None)
    for name in ("value", "stderr"):
        np.testing.assert_allclose(fit[name].sel(param=LINEAR), factor * expected[name].sel(param=LINEAR), rtol=1e-5)
        np.testing.assert_allclose(fit[name].sel(param=OTHER), expected[name].sel(param=OTHER), rtol=1e-5)
    np.testing.assert_allclose(fit["chisq"], expected["chisq"] * (1 if weighted else factor**2), rtol=1e-9)


@few
@given(shift=st.sampled_from([-300.0, -7.25, 0.5, 80.0, 1000.0]), seed=seeds)
def test_a_shifted_coordinate_shifts_the_centres(shift, seed):
    da = peak_map(seed=seed)
    expected = da.fit.multifit(two_peaks())
    moved = da.assign_coords(energy=da["energy"] + shift)
    start = {name: two_peaks()[name].value + shift for name in ("left.centre", "right.centre")}
    fit = moved.fit.multifit(two_peaks(**start))
    by = xr.zeros_like(expected["value"]) + xr.where(expected["parameter"] == "centre", shift, 0.0)
    np.testing.assert_allclose(fit["value"] - by, expected["value"], rtol=1e-6)
    np.testing.assert_allclose(fit["stderr"], expected["stderr"], rtol=1e-5)


@few
@given(
    spoil=st.sampled_from(["nan", "constant", "inf", "huge", "spike", "one channel"]),
    where=st.tuples(st.integers(0, 2), st.integers(0, 3)),
    chunked=st.booleans(),
)
def test_a_spoilt_pixel_changes_no_other(spoil, where, chunked):
    da = peak_map()
    expected = da.fit.multifit(two_peaks(), covariance=True)
    spoilt = da.copy(deep=True)
    y, x = where
    spoilt[y, x] = {"nan": np.nan, "constant": 0.0, "inf": np.inf, "huge": 1e300}.get(spoil, spoilt[y, x])
    if spoil == "spike":
        spoilt[y, x] = 0.0
        spoilt[y, x, 5] = 1e200
    elif spoil == "one channel":
        spoilt[y, x, 1:] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = (spoilt.chunk({"x": 2}) if chunked else spoilt).fit.multifit(two_peaks(), covariance=True).compute()
    others = np.ones((3, 4), bool)
    others[y, x] = False
    for name in fit.data_vars:
        assert fit[name].values[others].tobytes() == expected[name].values[others].tobytes(), name


def check_sense(fit: xr.Dataset) -> None:
    """Whatever the data were: a known status, and nothing claimed that is not known."""
    code = fit["status"].values
    assert ((code >= 1) & (code < len(MEANINGS))).all()
    assert (fit["nfev"] >= 0).all()
    converged = fit["status"] == MEANINGS.index("converged")
    assert fit["value"].where(converged, 0.0).notnull().all()
    assert np.isfinite(fit["value"].where(converged, 0.0)).all()
    assert (fit["chisq"].where(converged, 0.0) >= 0).all()
    assert fit["stderr"].where(~converged).isnull().all()
    assert not (fit["stderr"] < 0).any()


@settings(max_examples=40, deadline=None)
@given(data=garbage(), bounds=st.booleans(), weighted=st.booleans())
@example(data=np.full((2, 24), 1e-300), bounds=True, weighted=False)
@example(data=np.full((2, 24), 1e300), bounds=True, weighted=False)
@example(data=np.zeros((2, 24)), bounds=False, weighted=True)
def test_garbage_never_raises_nor_hangs(data, bounds, weighted):
    da = xr.DataArray(data, dims=("p", "x"), coords={"x": np.linspace(0, 18, 24)})
    model = one_peak()
    if bounds:
        model["peak"].centre.set(min=0, max=18)
        model["peak"].sigma.set(min=0.1, max=10)
    variance: Any = xr.DataArray(np.linspace(0.1, 5, 24), dims="x") if weighted else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = da.fit.multifit(model, variance=variance, covariance=True)
        fit.fit.evaluate()
    check_sense(fit)
    for row, word in zip(data, statuses(fit), strict=True):
        if np.isfinite(row).sum() < 5:
            assert word == "bad_data"


@few
@given(data=garbage(n_pixels=4))
def test_garbage_in_start_and_variance_never_raises_nor_hangs(data):
    da = peak_map((4,), n=24)
    start = {
        "peak.A": xr.DataArray(data[:, 0], dims="x"),
        "peak.sigma": xr.DataArray(data[:, 1], dims="x"),
        "bg.offset": xr.DataArray(data[:, 2], dims="x"),
    }
    variance = xr.DataArray(data, dims=("x", "energy")).chunk({"x": 2})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_sense(da.fit.multifit(one_peak(), start=start))
        check_sense(da.fit.multifit(one_peak(), variance=variance).compute())


@few
@given(seed=seeds, offset=st.floats(-5, 5), area=st.floats(5, 100), centre=st.floats(7, 12), sigma=st.floats(1, 3))
def test_a_fit_started_at_the_truth_stays_there(seed, offset, area, centre, sigma):
    x = np.linspace(0, 20, 50)
    da = xr.DataArray(gaussian(x, area, centre, sigma) + offset, dims="x", coords={"x": x})
    model = Model([Gaussian(name="peak", A=area, centre=centre, sigma=sigma), Offset(name="bg", offset=offset)])
    fit = da.fit(model)
    assert statuses(fit) == ["converged"]
    np.testing.assert_allclose(fit["value"], [area, centre, sigma, offset], rtol=1e-9, atol=1e-9)
    assert int(fit["nfev"]) <= 5
