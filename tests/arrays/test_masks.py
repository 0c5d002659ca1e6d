"""Masks of channels by coordinate."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.builders import peak_map, two_peaks


def line(x: np.ndarray | None) -> xr.DataArray:
    n = 5 if x is None else len(x)
    coords = {} if x is None else {"e": x}
    return xr.DataArray(np.zeros((2, n)), dims=("p", "e"), coords=coords)


def test_ranges() -> None:
    x = np.array([10.0, 20, 30, 40, 50])
    da = line(x)
    assert xfit.signal_range(da, (10, 20)).values.tolist() == [True, True, False, False, False]
    assert xfit.signal_range(da, (None, 15), (35, 40)).values.tolist() == [True, False, False, True, False]
    assert xfit.signal_range(da, slice(20, None)).values.tolist() == [False, True, True, True, True]
    assert xfit.signal_range(da, (10, 20), remove=True).values.tolist() == [False, False, True, True, True]
    assert xfit.signal_range(line(None), (1, 2)).values.tolist() == [False, True, True, False, False]
    assert xfit.signal_range(line(x[::-1]), (10, 20)).values.tolist() == [False, False, False, True, True]
    mask = xfit.signal_range(da, (10, 40)) & ~xfit.signal_range(da, (30, 30))
    assert mask.values.tolist() == [True, True, False, True, False]
    assert mask.dims == ("e",)


def test_rectangles_are_not_swapped() -> None:
    """On an image of 20 rows and 10 columns: columns 2 to 4, rows 10 to 15."""
    da = xr.DataArray(np.zeros((3, 20, 10)), dims=("n", "y", "x"))
    mask = xfit.signal_range(da, {"x": (2, 4), "y": (10, 15)})
    assert mask.dims == ("y", "x")
    rows, columns = np.nonzero(mask.values)
    assert sorted(set(rows)) == [10, 11, 12, 13, 14, 15]
    assert sorted(set(columns)) == [2, 3, 4]
    assert int(mask.sum()) == 18


def test_in_a_fit() -> None:
    da = peak_map()
    mask = xfit.signal_range(da, (0, 9), (10, 20))
    fit = da.fit.multifit(two_peaks(), where=mask)
    assert (fit["dof"] == int(mask.sum()) - 7).all()


@pytest.mark.parametrize(
    ("ranges", "options", "error", "words"),
    [
        ((), {}, ValueError, "at least one"),
        (((20, 10),), {}, ValueError, "wrong way round"),
        (((1, 5),), {}, ValueError, "no channel"),
        (((0, 100),), {"remove": True}, ValueError, "leave no channel"),
        ((("a", 3),), {}, TypeError, "no number"),
        ((7,), {}, TypeError, "pair"),
        ((slice(1, 2, 3),), {}, ValueError, "step"),
        (((10, 20),), {"dim": "z"}, ValueError, "'z'"),
        (({"z": (1, 2)},), {}, ValueError, "'z'"),
    ],
)
def test_refusals(ranges, options, error, words) -> None:
    with pytest.raises(error, match=words):
        xfit.signal_range(line(np.array([10.0, 20, 30, 40, 50])), *ranges, **options)


def test_a_mask_that_leaves_too_few_channels_is_refused() -> None:
    """The same for all pixels, it is seen before any work; one with navigation dimensions
    makes single pixels unfit instead.
    """
    da = peak_map()
    few = xr.DataArray(np.arange(da.shape[-1]) < 3, dims=[da.dims[-1]])
    with pytest.raises(ValueError, match=r"3 channel\(s\) can't determine \d+ free parameters"):
        da.fit.multifit(two_peaks(), where=few)
    here = few | (xr.DataArray(np.arange(da.shape[0]), dims=[da.dims[0]]) > 0)
    fit = da.fit.multifit(two_peaks(), where=here)
    meanings = dict(zip(fit["status"].attrs["flag_values"], fit["status"].attrs["flag_meanings"].split(), strict=True))
    assert {meanings[code] for code in np.unique(fit["status"][0])} == {"bad_data"}
    assert (fit["status"][1:] == 1).all()
