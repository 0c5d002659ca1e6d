"""All arrays of a file by name, as commands and pages choose among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from xfit.display import is_url, without_secrets
from xfit.files.open import open as open_file


def arrays_in(path: str, options: Mapping[str, Any] | None = None, *, chunks: Any = None) -> Mapping[str, xr.DataArray]:
    """Open a file's signals; the only one of a file is called "data" if it has no name.

    Parameters
    ----------
    path, chunks
        As for `xfit.open`.
    options : mapping, optional
        What the file system of a URL needs; paths need none.

    Raises
    ------
    FileNotFoundError, ValueError, ImportError
        As `xfit.open`; for the result of a fit.
    """
    found = open_file(path, chunks=chunks, storage_options=options if is_url(path) and options else None)
    if isinstance(found, xr.Dataset):
        raise ValueError(f"{without_secrets(path)} holds the result of a fit, not data")
    return {str(found.name or "data"): found} if isinstance(found, xr.DataArray) else found
