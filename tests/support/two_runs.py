"""Two runs into one store, the second in the place of the first."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from tests.support.builders import peak_map, two_peaks


def data(shape: tuple[int, int] = (2, 4)) -> xr.DataArray:
    """Two chunks of four pixels each."""
    da = peak_map(shape).chunk(y=2, x=2).assign_coords(y=np.arange(float(shape[0])), x=np.arange(float(shape[1])))
    da.name = "counts"
    da.attrs["units"] = "counts"
    return da


def first(store: Any, **options: Any) -> xr.Dataset:
    """The run that is there."""
    return data().fit.multifit(two_peaks(), store=store, progress=options.pop("progress", False), **options)


def second(store: Any, **options: Any) -> xr.Dataset:
    """The run that replaces it: another variable, and other numbers."""
    return data().fit.multifit(
        two_peaks(), store=store, variance=0.04, covariance=True, progress=options.pop("progress", False), **options
    )


def is_result(ds: xr.Dataset, expected: xr.Dataset) -> bool:
    """Whether all variables are there with all their bits."""
    return set(ds.data_vars) == set(expected.data_vars) and all(
        np.array_equal(ds[name].values, expected[name].values, equal_nan=ds[name].dtype.kind == "f")
        for name in expected
    )
