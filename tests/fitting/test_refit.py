"""Pixels fitted again: those that failed or stick out, the better of old and new kept."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.support.builders import assert_same_bits, peak_map, two_peaks
from xfit.fitting.refit import _windowed, sticking_out


def spoilt(da: xr.DataArray) -> tuple[xr.Dataset, np.ndarray]:
    """A fit that began in the wrong place in a few pixels, and which these are."""
    wrong = np.zeros(da.shape[:2], bool)
    wrong[1, 2] = wrong[4, 5] = wrong[3, 0] = True
    start = {
        "left.centre": xr.DataArray(np.where(wrong, 18.0, 5.5), dims=("y", "x")),
        "left.sigma": xr.DataArray(np.where(wrong, 0.1, 1.0), dims=("y", "x")),
    }
    return da.fit.multifit(two_peaks(), start=start), wrong


@pytest.fixture(scope="module")
def da() -> xr.DataArray:
    return peak_map((6, 7))


def test_what_sticks_out(da) -> None:
    fit, wrong = spoilt(da)
    np.testing.assert_array_equal(fit.fit.sticking_out(), wrong)
    assert not sticking_out(da.fit.multifit(two_peaks())).any()


@pytest.mark.parametrize(
    "start", ["neighbours", {"left": (2, 9), "right": (10, 17)}, {"left.centre": 5.5, "left.sigma": 1.0}]
)
def test_repair(da, start) -> None:
    good = da.fit.multifit(two_peaks())
    fit, wrong = spoilt(da)
    mended = fit.fit.refit(da, start=start)
    np.testing.assert_allclose(mended["value"], good["value"], rtol=1e-5)
    np.testing.assert_allclose(mended["stderr"], good["stderr"], rtol=1e-4)
    np.testing.assert_array_equal(mended["refitted"], wrong)
    untouched = mended["value"].values[~wrong]
    assert untouched.tobytes() == fit["value"].values[~wrong].tobytes()
    assert (mended["nfev"].values[wrong] > fit["nfev"].values[wrong]).all()
    assert mended.fit.model == fit.fit.model


def test_several_starts(da) -> None:
    fit, wrong = spoilt(da)
    mended = fit.fit.refit(da, start=fit, starts=30, spread={"left.centre": 15.0, "left.sigma": 1.0})
    good = da.fit.multifit(two_peaks())
    np.testing.assert_allclose(mended["loss"].values[wrong], good["loss"].values[wrong], rtol=1e-6)


def test_the_better_one_is_kept(da) -> None:
    """A worse start changes nothing, whichever pixels are chosen."""
    good = da.fit.multifit(two_peaks())
    everywhere = xr.ones_like(good["status"], dtype=bool)
    again = good.fit.refit(da, where=everywhere, start={"left.centre": 19.0, "left.sigma": 0.05})
    assert (again["loss"] <= good["loss"]).all()
    np.testing.assert_allclose(again["value"], good["value"], rtol=1e-6)


def test_failed_pixels_and_hopeless_ones(da) -> None:
    data = da.copy()
    data[2, 2] = np.nan
    short = data.fit.multifit(two_peaks(), max_nfev=2)
    assert (short["status"] == 2).sum() > 20
    mended = short.fit.refit(data, start=short)
    assert int((mended["status"] == 1).sum()) == 41
    assert int(mended["status"][2, 2]) == 5
    assert not bool(mended.fit.sticking_out()[2, 2])


def test_masks_and_weights_are_given_again(da) -> None:
    channels = xr.DataArray(da["energy"].values < 18, dims="energy")
    options = {"variance": 0.04, "where": channels}
    good = da.fit.multifit(two_peaks(), **options)
    broken = good.copy(deep=True)
    broken["status"][1, 1] = 2
    broken["value"][1, 1] = np.nan
    mended = broken.fit.refit(da, channels=channels, variance=0.04)
    np.testing.assert_allclose(mended["value"], good["value"], rtol=1e-5)
    assert int(mended["dof"][1, 1]) == int(good["dof"][1, 1])


def test_lazily_and_in_chunks(da) -> None:
    fit, _ = spoilt(da)
    expected = fit.fit.refit(da)
    lazy = da.chunk(y=2, x=3)
    found = fit.chunk(y=2, x=3).fit.refit(lazy)
    assert found["value"].chunks is not None
    assert_same_bits(found.compute(), expected)


def test_other_losses(da) -> None:
    counts = (50 * da.clip(min=0)).round()
    model = two_peaks(**{"left.A": 1500.0, "right.A": 1500.0, "bg.offset": 40.0})
    fit = counts.fit.multifit(model, loss="poisson", max_nfev=3)
    mended = fit.fit.refit(counts, start={"left": (2, 9), "right": (10, 17), "bg": (18, 20)})
    good = counts.fit.multifit(model, loss="poisson")
    np.testing.assert_allclose(mended["loss"], good["loss"], rtol=1e-6)


def test_refusals(da) -> None:
    fit = da.fit.multifit(two_peaks())
    with pytest.raises(ValueError, match="where"):
        fit.fit.refit(da, where=xr.DataArray([True], dims="z"))
    with pytest.raises(TypeError, match="strat"):
        fit.fit.refit(da, strat=3)
    single = da[0, 0].fit(two_peaks())
    with pytest.raises(ValueError, match="no neighbours"):
        single.fit.refit(da[0, 0], where=xr.DataArray(True))


@pytest.mark.parametrize("shape", [(9,), (5, 6), (4, 3, 5)], ids=str)
def test_medians_of_neighbours(shape) -> None:
    """The median of those that are there, bit for bit NumPy's."""
    random = np.random.default_rng(2)
    values = random.normal(size=shape)
    values[random.random(shape) < 0.4] = np.nan
    values.ravel()[:2] = np.inf, -np.inf
    found = _windowed(xr.Variable([f"d{k}" for k in range(len(shape))], values)).values
    padded = np.pad(values, 2, constant_values=np.nan)
    for place in np.ndindex(shape):
        window = padded[tuple(slice(k, k + 5) for k in place)].ravel()
        others = np.delete(window, window.size // 2)
        others = others[~np.isnan(others)]
        expected = np.median(others) if others.size else np.nan
        np.testing.assert_array_equal(found[place], expected)
