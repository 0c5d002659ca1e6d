"""Runs of SAMFire with checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xfit
from xfit.components import Gaussian, Offset


def data() -> xr.DataArray:
    e, x = np.arange(30.0), np.arange(6.0)[:, None]
    values = 5 + 20 * np.exp(-((e - 8 - 2 * x) ** 2) / 8) + 0.125 * np.where(e % 2, -1, 1)
    return xr.DataArray(values, dims=("x", "e"), coords={"x": x.ravel(), "e": e})


def run(store: Path | str) -> xr.Dataset:
    """In chunks of two pixels: a visit follows the other."""
    model = xfit.Model([Gaussian(name="g", A=90, centre=8, sigma=2), Offset(name="o", offset=4)])
    how: dict[str, Any] = {"seeds": [(0,)], "variance": 1 / 64, "progress": False}
    return data().chunk(x=2).fit.samfire(model, store=str(store), **how).compute()


def visits(folder: Path) -> list[str]:
    return sorted(each.name for each in (folder / "visits").iterdir())
