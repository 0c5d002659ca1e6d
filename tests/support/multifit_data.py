"""Peaks on a line with known parameters, as maps of every kind."""

from __future__ import annotations

import pytest
import xarray as xr

import xfit
from tests.support.builders import (
    peak_map,
)


@pytest.fixture
def da() -> xr.DataArray:
    return peak_map()


def hill_gradient(x, height, centre, width, offset):
    u = (x - centre) / width
    bell = 1 / (1 + u * u)
    return bell, 2 * height * bell**2 * u / width, 2 * height * bell**2 * u * u / width, 1.0


@xfit.component(linear=("height", "offset"))
def registered_hill(x, height=20.0, centre=6.0, width=1.5, offset=3.0):
    return height / (1 + ((x - centre) / width) ** 2) + offset


@xfit.component(gradient=hill_gradient)
def registered_hill_with_gradient(x, height=20.0, centre=6.0, width=1.5, offset=3.0):
    return height / (1 + ((x - centre) / width) ** 2) + offset
