"""Fits that HyperSpy 2.5 made: data, starts, options and values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

import xfit
from tests.support.paths import DATA
from xfit import components

CASES = {case["id"]: case for case in json.loads((DATA / "hyperspy_fits.json").read_text(encoding="utf-8"))["cases"]}


#: Cases whose data are the model itself: what is left is rounding, of which errors are no measure.
EXACT = {
    "toy_lm",
    "toy_trf_fd",
    "toy_trf_analytical",
    "toy_dogbox_analytical",
    "lstsq_line_gauss",
    "lstsq_polynomial_multifit",
    "lstsq_powerlaw",
    "multifit_fetch_only_fixed_True",
    "gauss2d_lm",
}


def data_of(case: dict[str, Any]) -> xr.DataArray:
    """Data with the case's axes as the last dimensions, images as (y, x)."""
    data = np.array(case["data"], float)
    names = ("y", "x")[-len(case["axes"]) :]
    coords = {n: a["offset"] + a["scale"] * np.arange(a["size"]) for n, a in zip(names, case["axes"], strict=True)}
    navigation = tuple(f"n{k}" for k in range(data.ndim - len(names)))
    return xr.DataArray(data, dims=navigation + names, coords=coords)


def model_of(case: dict[str, Any]) -> xfit.Model:
    """The case's model."""
    model = xfit.Model()
    for item in case["components"]:
        options = dict(item["init"])
        component = getattr(components, item["type"])(name=item["name"], **options)
        model.append(component)
        for name, p in item["params"].items():
            assert p["twin"] is None
            component[name].set(value=p["value"], min=p["bmin"], max=p["bmax"], free=p["free"])
    return model
