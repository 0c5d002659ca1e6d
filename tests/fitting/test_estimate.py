"""Estimates of arrays and as starts of fits: what is set, lazy maps, errors, the same bits however the data are cut."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

from tests.support.builders import (
    assert_same_bits,
    from_source,
    gaussian,
    image_map,
    param_values,
    peak_map,
    two_peaks,
)
from xfit import Model
from xfit.components import (
    TYPES,
    Expression,
    Gaussian,
    Gaussian2D,
    Offset,
    Polynomial,
)
from xfit.modeling.estimate_block import Estimation, Target

X = np.linspace(-20, 60, 400)
LIBRARY = [kind for kind in TYPES.values() if kind.estimator is not None and kind.coordinates == ("x",)]


def spectra(values: np.ndarray, x: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("p", "x")[-values.ndim :], coords={"x": x})


def refused(error: type[Exception], *words: str) -> Any:
    return pytest.raises(error, match="(?s)" + ".*".join(map(re.escape, words)))


# --- a component's own values ------------------------------------------------------------------


def test_a_single_spectrum_sets_the_values():
    peak = Gaussian(name="Fe", A=1.0, centre=0.0, sigma=1.0)
    da = spectra(gaussian(X, 50.0, 12.0, 2.0) + gaussian(X, 500.0, 40.0, 2.0), X)
    found = peak.estimate(da, (0, 25))
    assert set(found) == {"Fe.A", "Fe.centre", "Fe.sigma"}
    assert found["Fe.A"].dims == ()
    assert found["Fe.A"].attrs == {"long_name": "estimate of Fe.A"}
    assert peak.centre.value == float(found["Fe.centre"]) == pytest.approx(12, abs=0.01)
    peak.estimate(da.chunk())
    assert peak.centre.value == pytest.approx(40, abs=0.01)
    before = peak.copy()
    peak.estimate(da.expand_dims(p=2))
    assert peak == before


def test_only_free_parameters_are_estimated():
    peak = Gaussian(name="Fe", A=1.0, centre=3.0)
    peak.centre.free = False
    peak.sigma.tie("Fe.centre + 1")
    assert set(peak.estimate(spectra(gaussian(X, 50.0, 12.0, 2.0), X))) == {"Fe.A"}
    assert (peak.centre.value, peak.sigma.value) == (3.0, 4.0)
    peak.A.free = False
    with refused(ValueError, "Fe has no free parameter", "free=True"):
        peak.estimate(spectra(X, X))


def test_maps_carry_coordinates_and_units():
    model = two_peaks()
    model["right"].A.tie("2*left.A")
    found = model["right"].estimate(peak_map())
    assert set(found) == {"right.centre", "right.sigma"}
    assert found["right.centre"].attrs == {"long_name": "estimate of right.centre", "units": "eV"}
    assert set(found.coords) == {"y", "x"}
    assert Gaussian(name="g").estimate(peak_map())["g.A"].attrs["units"] == "counts eV"


def test_values_stay_where_the_data_do_not_tell():
    peak = Gaussian(name="Fe", A=2.0)
    with pytest.warns(UserWarning, match="Fe: the data do not tell"):
        found = peak.estimate(spectra(np.zeros(X.size), X))
    assert np.isnan(float(found["Fe.A"]))
    assert peak == Gaussian(name="Fe", A=2.0)


def test_estimates_lie_inside_of_bounds():
    peak = Gaussian(name="Fe", centre={"value": 31, "min": 30, "max": 50}, sigma={"value": 2, "min": 1.5, "max": None})
    peak.estimate(spectra(gaussian(X, 50.0, 12.0, 1.0), X))
    # A thousandth of the bounds' distance, or of the distance from the one bound to the value.
    assert peak.centre.value == pytest.approx(30 + 0.001 * 20)
    assert peak.sigma.value == pytest.approx(1.5 + 0.001 * 0.5)
    assert Target("A", "A", 0.0, 0.0, np.inf).inside(np.array([-1.0, 0.0, 1e-12, np.nan])).tolist()[:3] == [
        0.001,
        0.001,
        1e-12,
    ]


# --- errors ------------------------------------------------------------------------------------


def test_errors_of_estimate_say_what_is_wrong():
    da = peak_map()
    peak = Gaussian(name="Fe")
    wrong: Any
    for wrong in (5, "all", (1, 2, 3), (1, "b"), (True, 2)):
        with refused(TypeError, f"range={wrong!r}", "two numbers"):
            peak.estimate(da, wrong)
    for wrong in ((5, 5), (7, 5), (0, np.nan), (-np.inf, 4)):
        with refused(ValueError, "range=", "finite", "lower one first"):
            peak.estimate(da, wrong)
    with refused(ValueError, "Fe", "at least 3 channel(s)", "(690.0, 730.0)", "'energy' has 0", "from 0 to 20"):
        peak.estimate(da, (690, 730))
    with refused(ValueError, "Polynomial", "at least 6 channel(s)", "has 3"):
        Polynomial(5).estimate(da, (0, 1))
    with refused(
        ValueError,
        "line (Expression) can't be estimated",
        "Exponential, ExponentiallyModifiedGaussian, Gaussian",
        "PowerLaw",
    ):
        Expression("a*x", name="line").estimate(da)
    with refused(ValueError, "2-D model needs at least 2 dimensions"):
        Gaussian2D().estimate(peak_map()[0, 0])
    with refused(TypeError, "DataArray", "ndarray"):
        peak.estimate(np.zeros(5))  # type: ignore[arg-type]
    with refused(TypeError, "dtype complex128"):
        peak.estimate(da.astype(complex))
    with refused(ValueError, "where has size 2 along 'y'"):
        peak.estimate(da, where=da.isel(y=slice(2)) > 0)


def test_errors_of_start():
    da = from_source(peak_map(), {"y": 1}, forbidden=True)[0]
    line = Model([Expression("a*x", name="line")])
    with refused(ValueError, "start='estimate'", "no component", "can be estimated", "Gaussian"):
        da.fit.multifit(line, start="estimate")
    with refused(ValueError, "line (Expression) can't be estimated"):
        da.fit.multifit(line, start={"line": (0, 5)})
    with refused(TypeError, "start['left']=3.0", "two numbers"):
        da.fit.multifit(two_peaks(), start={"left": 3.0})
    with refused(ValueError, "start['left']=(5, 3)", "lower one first"):
        da.fit.multifit(two_peaks(), start={"left": (5, 3)})
    with refused(ValueError, "left", "at least 3 channel(s)", "has 0"):
        da.fit.multifit(two_peaks(), start={"left": (30, 40)})
    with refused(ValueError, "start names 'Fe'", "no parameter"):
        da.fit.multifit(two_peaks(), start={"Fe": (5, 6)})
    with refused(TypeError, "start['spot'][0]=0", "two numbers"):
        image_map(("y", "x")).fit.multifit(Model([Gaussian2D(name="spot")]), start={"spot": (0, 5)})


# --- chunks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", LIBRARY)
def test_maps_are_lazy_read_once_and_equal_however_cut(cls, monkeypatch):
    random = np.random.default_rng(16)
    values = random.poisson(peak_map((6, 5), n=80).values * 3 + 2).astype(np.float32)
    values[random.random(values.shape) < 0.02] = np.nan
    da = peak_map((6, 5), n=80).copy(data=values).assign_coords(energy=np.linspace(1, 21, 80))
    expected = cls(name="c").estimate(da, (3, 18))
    for chunks in ({"y": 1, "x": 1}, {"y": (1, 4, 1), "x": 3}, {}):
        lazy, source = from_source(da, chunks)
        found = cls(name="c").estimate(lazy, (3, 18))
        assert not source.reads
        assert_same_bits(found.compute(scheduler="synchronous"), expected)
        n_chunks = np.prod([len(c) for d, c in lazy.chunksizes.items() if d != "energy"])
        assert len(source.reads) == n_chunks
    moved = cls(name="c").estimate(da.transpose("energy", "x", "y"), (3, 18), dim="energy")
    assert_same_bits(moved.transpose("y", "x"), expected)
    monkeypatch.setattr("xfit.fitting.running.start_block._BATCH", 7 * 80)
    assert_same_bits(cls(name="c").estimate(da, (3, 18)), expected)


def test_a_signal_in_several_chunks_is_rearranged_with_a_warning():
    da = peak_map()
    with pytest.warns(UserWarning, match="several chunks.*before the estimate"):
        found = Gaussian(name="c").estimate(da.chunk(energy=20))
    assert_same_bits(found.compute(), Gaussian(name="c").estimate(da))


def test_an_estimation_is_the_same_in_every_process():
    code = (
        "from dask.base import tokenize; from xfit.components import *; import xfit.modeling.estimate_block as e;"
        "t = e.Target('A', 'g.A', 1.0, 0.0, 9.0);"
        "print([tokenize(e.Estimation(c.estimator.function, (t,), (), (0.0, 1.0))) for c in (Gaussian(), "
        "Polynomial(3))])"
    )
    one, other = (subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in "ab")
    assert one == other
    x, y = X, np.random.default_rng(0).normal(size=(3, X.size))
    function = Polynomial(3).estimator.function
    estimation = Estimation(function, tuple(Target(f"a{k}", f"a{k}", 0.0, -np.inf, np.inf) for k in range(4)))
    again = pickle.loads(pickle.dumps(estimation))
    for name, values in estimation.found([x], y, np.gradient(x)).items():
        np.testing.assert_array_equal(again.found([x], y, np.gradient(x))[name], values)


# --- starts of fits ----------------------------------------------------------------------------


def wandering(shape: tuple[int, int] = (6, 7), n: int = 200) -> tuple[xr.DataArray, np.ndarray]:
    """Map of a narrow peak anywhere in a wide range, on a constant; and where it is."""
    random = np.random.default_rng(17)
    x = np.linspace(0, 100, n)
    centre = random.uniform(8, 92, (*shape, 1))
    y = random.poisson(gaussian(x, 800.0, centre, 1.5) + 20)
    return xr.DataArray(y, dims=("y", "x_", "energy"), coords={"energy": x}), centre[..., 0]


def peak_on_constant() -> Model:
    return Model([Gaussian(name="peak", A=100, centre=50, sigma=2), Offset(name="bg", offset=20)])


def test_estimated_starts_find_peaks_that_one_start_does_not():
    da, centre = wandering()
    fixed, estimated = (da.fit.multifit(peak_on_constant(), start=s) for s in (None, "estimate"))
    # The error of a centre is about sigma/sqrt(counts): 1.5/40, with the background twice that.
    assert (np.abs(param_values(fixed, "peak.centre") - centre) > 1).mean() > 0.5
    assert np.abs(param_values(estimated, "peak.centre") - centre).max() < 0.5
    assert (estimated["status"] == 1).all()
    assert float(estimated["nfev"].mean()) < float(fixed["nfev"].mean())


def test_starts_are_those_that_estimate_gives():
    da, _ = wandering()
    model = peak_on_constant()
    maps = dict(model["peak"].estimate(da, (5, 95))) | dict(model["bg"].estimate(da, (5, 95)))
    expected = da.fit.multifit(model, start=maps)
    assert_same_bits(da.fit.multifit(model, start={"peak": (5, 95), "bg": (5, 95)}), expected)
    named = {"peak": (5, 95), "bg.offset": 25.0}
    maps = dict(model["peak"].estimate(da, (5, 95))) | {"bg.offset": 25.0}
    assert_same_bits(da.fit.multifit(model, start=named), da.fit.multifit(model, start=maps))
    whole = {"peak": "estimate", "bg": "estimate"}
    assert_same_bits(da.fit.multifit(model, start=whole), da.fit.multifit(model, start="estimate"))


def test_estimated_starts_are_read_once_and_do_not_depend_on_chunks():
    da, _ = wandering()
    expected = da.fit.multifit(peak_on_constant(), start="estimate")
    for chunks in ({"y": 1}, {"y": (1, 5), "x_": 4}):
        lazy, source = from_source(da, chunks)
        fit = lazy.fit.multifit(peak_on_constant(), start="estimate")
        assert not source.reads
        with dask.config.set(scheduler="threads", num_workers=2):
            assert_same_bits(fit.compute(), expected)
        assert len(source.reads) == np.prod([len(c) for d, c in lazy.chunksizes.items() if d != "energy"])
    lazy = da.chunk(y=2)
    one, other = (lazy.fit.multifit(peak_on_constant(), start={"peak": r})["value"].data for r in ((0, 50), (50, 100)))
    assert one.name != other.name


def test_fixed_tied_and_inactive_parameters_are_left_alone():
    da, centre = wandering()
    model = peak_on_constant() + Gaussian(name="off", centre=3.0)
    model["off"].active = False
    model["peak"].sigma.set(value=1.5, free=False)
    model["bg"].offset.tie("0.025*peak.A")
    fit = da.fit.multifit(model, start="estimate")
    assert (param_values(fit, "peak.sigma") == 1.5).all()
    np.testing.assert_allclose(param_values(fit, "bg.offset"), 0.025 * param_values(fit, "peak.A"))
    assert np.abs(param_values(fit, "peak.centre") - centre).max() < 0.5
    assert np.isnan(param_values(fit, "off.centre")).all()


def test_a_pixel_that_does_not_tell_starts_from_the_model():
    da, _ = wandering()
    da = da.astype(float)
    da[0, 0] = 20.0
    da[0, 1, 5:190] = np.nan
    fit = da.fit.multifit(peak_on_constant(), start="estimate")
    assert set(np.unique(fit["status"])) <= {1, 3, 2, 5}
    expected = da.fit.multifit(peak_on_constant(), start={"bg.offset": 20.0})
    assert_same_bits(fit.isel(y=0, x_=0), expected.isel(y=0, x_=0))


def test_bounds_hold_for_starts_and_masked_channels_do_not_count():
    da, centre = wandering()
    model = peak_on_constant()
    model["peak"].centre.set(min=45, max=55)
    fit = da.fit.multifit(model, start="estimate")
    assert not (fit["status"] == 7).any()
    spoilt = da.where((da.energy < 97) | (da.energy > 99), 1e6)
    good = (spoilt.energy < 97) | (spoilt.energy > 99)
    variance = xr.where(good, 1.0, np.nan)
    for options in ({"where": good}, {"variance": variance}):
        fit = spoilt.fit.multifit(peak_on_constant(), start="estimate", **options)
        assert np.abs(param_values(fit, "peak.centre") - centre).max() < 0.5


def test_binned_maps_are_estimated_as_such():
    da, centre = wandering()
    fit = da.fit.multifit(peak_on_constant(), start="estimate", binned=True)
    plain = da.fit.multifit(peak_on_constant(), start="estimate")
    width = 100 / 199
    assert np.abs(param_values(fit, "peak.centre") - centre).max() < 0.5
    # The first and the last channel are as wide as the others.
    np.testing.assert_allclose(param_values(fit, "peak.A") * width, param_values(plain, "peak.A"), rtol=1e-5)
