"""Spectra of a peak, their losses, and losses of users' own."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

import xfit
from xfit.components import Gaussian, Offset

X = np.linspace(-5, 5, 80)


TRUTH = np.array([120.0, 0.1, 1.0, 4.0])


START = {"A": 90.0, "centre": 0.4, "sigma": 1.3}


def model() -> xfit.Model:
    return xfit.Model([Gaussian(name="g", **START), Offset(name="o", offset=3.0)])


def curve(p: np.ndarray) -> np.ndarray:
    return p[0] / (p[2] * math.sqrt(2 * math.pi)) * np.exp(-((X - p[1]) ** 2) / (2 * p[2] ** 2)) + p[3]


def counts(n: int = 6, seed: int = 0, scale: float = 1.0) -> xr.DataArray:
    y = np.random.default_rng(seed).poisson(scale * curve(TRUTH), (n, X.size)).astype(float)
    return xr.DataArray(y, dims=("pixel", "x"), coords={"x": X})


def with_outliers(n: int = 6, seed: int = 0) -> xr.DataArray:
    random = np.random.default_rng(seed)
    y = curve(TRUTH) + random.normal(size=(n, X.size)) + 15 * (random.random((n, X.size)) < 0.05)
    return xr.DataArray(y, dims=("pixel", "x"), coords={"x": X})


def cash_of(y: np.ndarray):
    """Cash's statistic of data as iminuit takes it."""

    def cash(A: float, centre: float, sigma: float, offset: float) -> float:
        mu = curve(np.array([A, centre, sigma, offset]))
        return float(2 * np.sum(mu - y + np.where(y > 0, y * np.log(np.maximum(y, 1) / mu), 0.0)))

    return cash


def log_cosh(data, model, weight):
    s = (model - data) * math.sqrt(weight)
    t = math.tanh(s)
    return (
        2 * (abs(s) + math.log1p(math.exp(-2 * abs(s))) - math.log(2.0)),
        2 * t * math.sqrt(weight),
        2 * weight * (1 - t * t),
    )
