"""Fits in memory, which those into stores must be the same as."""

from __future__ import annotations

import pytest
import xarray as xr

from tests.support.builders import two_peaks
from tests.support.two_runs import data


@pytest.fixture(scope="module")
def one() -> xr.Dataset:
    return data().fit.multifit(two_peaks()).compute()


@pytest.fixture(scope="module")
def other() -> xr.Dataset:
    return data().fit.multifit(two_peaks(), variance=0.04, covariance=True).compute()
