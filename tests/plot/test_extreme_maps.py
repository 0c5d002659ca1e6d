"""Maps whose values say little: constant, all but constant, missing, infinite, huge, subnormal. All
pictures of them can be drawn.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
import xarray as xr

from tests.support.builders import one_peak, peak_map
from xfit.plot.dashboard import Dashboard
from xfit.plot.map_page import histogram
from xfit.plot.pixel_page import _span
from xfit.plot.style import Scale, bins_of, scale_of, symmetric_scale
from xfit.results.fit_result import FitResult
from xfit.results.rounding import rounded

SHAPE = (4, 5)
_RANDOM = np.random.default_rng(0)
_BOTH = np.where(_RANDOM.random(SHAPE) < 0.5, 1.0, -1.0)
MAPS = {
    "zero": np.zeros(SHAPE),
    "constant": np.full(SHAPE, 3.7),
    "last bits": 3.7 * (1 + np.finfo(float).eps * _RANDOM.integers(0, 3, SHAPE)),
    "last bits of large numbers": 1e15 + 0.125 * _RANDOM.integers(0, 2, SHAPE),
    "missing": np.full(SHAPE, np.nan),
    "infinite": np.full(SHAPE, -np.inf),
    "one": np.where(np.arange(20).reshape(SHAPE) == 7, 2.0, np.nan),
    "infinite and finite": np.where(_BOTH > 0, np.inf, _RANDOM.random(SHAPE)),
    "huge": 1e300 * _RANDOM.random(SHAPE),
    "largest": np.finfo(float).max * _BOTH,
    "largest, constant": np.full(SHAPE, np.finfo(float).max),
    "smallest": 5e-324 * _RANDOM.integers(0, 3, SHAPE),
    "subnormal": 1e-310 * _RANDOM.random(SHAPE),
    "tiny and huge": np.where(_BOTH > 0, 1e-310, 1e300),
}


@pytest.fixture(scope="module")
def da() -> xr.DataArray:
    return peak_map(SHAPE).rename("counts")


@pytest.fixture(scope="module")
def fit(da: xr.DataArray) -> xr.Dataset:
    return da.fit.multifit(one_peak())


@pytest.mark.parametrize("name", MAPS)
def test_limits_are_numbers_with_places_between_them(name: str) -> None:
    for scale in (scale_of(MAPS[name]), scale_of(MAPS[name], "g.centre"), symmetric_scale(MAPS[name])):
        _, edges = np.histogram(np.zeros(1), bins=bins_of(scale, 1000), range=(scale.low, scale.high))
        # numpy refuses edges that are not apart; their widths, and margins beside them, are numbers.
        assert np.isfinite(np.diff(edges)).all()
        assert np.isfinite(1.2 * (scale.high - scale.low))
        # Six digits more than a float has left of them would be none.
        assert scale.high - scale.low >= 1e-12 * max(abs(scale.low), abs(scale.high))
    low, high = _span([MAPS[name]], 0.05)
    assert np.isfinite([low, high, high - low]).all()
    assert low < high


def test_limits_of_ordinary_maps_are_percentiles() -> None:
    values = np.linspace(0.0, 100.0, 1001)
    assert scale_of(values) == pytest.approx((1.0, 99.0, False), rel=1e-12)
    assert bins_of(Scale(0.0, 1.0, False), 60) == 60
    # Of the 8 numbers from 1 to 1 + 8 ulps every second is an edge.
    assert bins_of(Scale(1.0, 1.0 + 8 * np.finfo(float).eps, False), 60) == 4


@pytest.mark.parametrize("name", MAPS)
def test_pictures(name: str, da: xr.DataArray, fit: xr.Dataset) -> None:
    ds = fit.copy(deep=True)
    ds["value"][:] = MAPS[name][..., None] if ds["value"].dims[-1] == "param" else MAPS[name]
    ds["stderr"][:] = abs(ds["value"])
    for each in ("chisq", "red_chisq"):
        ds[each][:] = MAPS[name]
    for figure in (ds.fit.maps(), ds.isel(x=0).fit.maps(), ds.fit.corner()):
        figure.savefig(io.BytesIO())
    board = Dashboard(FitResult(ds), da.copy(data=np.broadcast_to(MAPS[name][..., None], da.shape).copy()))
    for each in (str(ds["param"].values[0]), "red_chisq"):
        board.place.quantity = each
        # Drawn for a browser.
        histogram(board, 200).get_root()
    assert board.picture().startswith(b"\x89PNG")
    assert board.table()


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.0, 5e-324, "(0 ± 5)e-324"),
        (1e-310, 2.2e-311, "(1.00 ± 0.22)e-310"),
        (1.5e308, 1.2e307, "(1.50 ± 0.12)e+308"),
        (1.0, 5e-324, "1 ± 4.9e-324"),
        (1e300, 1.0, "1.0000000000000001e+300 ± 1"),
        (0.827, 0.119, "0.83 ± 0.12"),
        (1.0, 0.0355, "1.00 ± 0.04"),
    ],
)
def test_values_with_errors_of_any_size(value: float, error: float, text: str) -> None:
    assert rounded(value, error) == text
