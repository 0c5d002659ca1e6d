"""Maps for tests of SAMFire: a peak that drifts so far that one start serves but a few pixels, in two domains."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

import xfit
from xfit.components import Gaussian, Offset

CHANNELS = np.linspace(0, 90, 200)


def drifting(shape: tuple[int, int] = (24, 24), seed: int = 0) -> tuple[xr.DataArray, xr.DataArray]:
    """Map of one peak per pixel, and its centre: over 15 widths upwards in the left half,
    downwards in the right one.
    """
    y, x = np.meshgrid(np.linspace(0, 1, shape[0]), np.linspace(0, 1, shape[1]), indexing="ij")
    centre = np.where(x < 0.5, 12 + 15 * y, 75 - 15 * y)
    height = 100 + 30 * np.sin(5 * x) * np.cos(3 * y)
    clean = height[..., None] * np.exp(-((CHANNELS - centre[..., None]) ** 2) / 2) + 10
    counts = np.random.default_rng(seed).poisson(clean).astype(np.float32)
    coords: dict[str, Any] = {"e": CHANNELS, "y": 10.0 * np.arange(shape[0]), "x": np.arange(shape[1])}
    da = xr.DataArray(counts, dims=("y", "x", "e"), coords=coords)
    return da, xr.DataArray(centre, dims=("y", "x"), coords={"y": da.y, "x": da.x})


def peak(centre: float = 12.0) -> xfit.Model:
    """A Gaussian on a constant."""
    model = xfit.Model([Gaussian(name="g", A=250.0, centre=centre, sigma=1.0), Offset(name="o", offset=10.0)])
    model["g"].sigma.set(min=0.2, max=5)
    model["g"].A.set(min=0)
    return model


def seeds_of(da: xr.DataArray) -> dict[str, Any]:
    """A seed in each domain, with a start in each."""
    n = da.sizes["x"]
    starts = xr.DataArray(np.where(np.arange(n) < n // 2, 12.0, 75.0), dims="x").broadcast_like(da.isel(e=0, drop=True))
    return {"seeds": [(0, 1), (0, n - 2)], "start": {"g.centre": starts}, "variance": np.maximum(da, 1)}


def right(fit: xr.Dataset, centre: xr.DataArray) -> float:
    """Share of pixels within five standard errors of the truth."""
    return float((abs(fit.fit["g.centre"] - centre) < 5 * fit.fit.stderr("g.centre")).mean())
