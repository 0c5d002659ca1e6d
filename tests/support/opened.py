"""Files that are opened as what they are known to hold."""

from __future__ import annotations

import os
from typing import Any

import xarray as xr

import xfit


def open_result(path: str | os.PathLike[str], **options: Any) -> xr.Dataset:
    """Open the result of a fit."""
    found = xfit.open(path, **options)
    assert isinstance(found, xr.Dataset)
    return found


def open_array(path: str | os.PathLike[str], **options: Any) -> xr.DataArray:
    """Open the one signal of a file, or the one that is chosen."""
    found = xfit.open(path, **options)
    assert isinstance(found, xr.DataArray)
    return found
