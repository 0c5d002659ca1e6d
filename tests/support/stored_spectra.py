"""Spectra of a map that is fitted into a store."""

from __future__ import annotations

import xarray as xr

from tests.support.builders import peak_map

CHUNKS = {"y": 4, "x": 3}


def spectra() -> xr.DataArray:
    da = peak_map((10, 8)).chunk(CHUNKS)
    da.attrs["units"] = "counts"
    return da
