"""Results of two peaks."""

from __future__ import annotations

import pytest
import xarray as xr

from tests.support.builders import (
    peak_map,
    two_peaks,
)
from xfit import Model


@pytest.fixture(scope="module")
def da() -> xr.DataArray:
    return peak_map()


@pytest.fixture(scope="module")
def computed(da) -> xr.Dataset:
    return da.fit.multifit(two_peaks(), covariance=True)


@pytest.fixture
def fit(computed) -> xr.Dataset:
    return computed.copy()


def stored_model(result: xr.Dataset) -> Model:
    """Read the model out of a result's attributes."""
    return result.fit.model
