"""Results that are drawn."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt

from tests.support.builders import (
    fit_with_failures,
)


@pytest.fixture(scope="module")
def both() -> tuple[xr.DataArray, xr.Dataset]:
    return fit_with_failures((8, 12), np.s_[2, 3], np.s_[5, 4:6])


@pytest.fixture(scope="module")
def da(both) -> xr.DataArray:
    return both[0]


@pytest.fixture(scope="module")
def fit(both) -> xr.Dataset:
    return both[1]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def images(figure) -> dict[str, matplotlib.axes.Axes]:
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
