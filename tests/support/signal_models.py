"""A signal, and a fit that is kept beside it."""

from __future__ import annotations

import numpy as np
import xarray as xr

import xfit
from xfit.components import Gaussian, Offset


def fit_of(offset: float) -> xr.Dataset:
    """A fit of four pixels; with another start another result, by its attributes."""
    da = signal()
    return da.fit.multifit(xfit.Model([Gaussian(name="g", A=90, centre=11, sigma=2), Offset(name="o", offset=offset)]))


def signal() -> xr.DataArray:
    e, x = np.arange(24.0), np.arange(4.0)[:, None]
    values = 5 + (20 + x) * np.exp(-((e - 11 - 0.25 * x) ** 2) / 8) + 0.125 * np.where(e % 2, -1, 1)
    return xr.DataArray(values, dims=("x", "e"), coords={"e": e}, name="counts")
