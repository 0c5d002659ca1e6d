"""Results and data in files for the dashboard, and what has become of a stored run since it was looked at last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xfit.display import local_path
from xfit.files.cli_choices import arrays_in
from xfit.files.datasets import netcdf
from xfit.fitting.stored.archive import Archive
from xfit.fitting.stored.fingerprint import signal_of
from xfit.fitting.stored.unread import open_zarr
from xfit.results.fit_result import FitResult
from xfit.samfire.open_run import StoredRun

Refresh = Callable[[], "xr.Dataset | None"]


def open_fit(path: str, options: Mapping[str, Any] | None = None) -> tuple[xr.Dataset, Refresh | None]:
    """Open a result lazily.

    Parameters
    ----------
    path : str
        A store of `xfit.multifit` or of a SAMFire run, finished or not, or a result that was written by ``to_zarr`` or
        ``to_netcdf``.
    options : mapping, optional
        What the file system of a URL needs.

    Returns
    -------
    Dataset, callable or None
        The result and, of a run that is not finished, what returns it anew when there is more of it.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is none, or if it is no result.
    """
    if path.endswith((".nc", ".nc4", ".h5")):
        ds = netcdf(local_path(path), chunks={})
    else:
        run = StoredRun(path, options)
        if run.exists:
            return run.open(), None if run.ended else run.watch()
        archive = Archive(path, options)
        if archive.exists and archive.manifest():
            return archive.open(), _watch(archive)
        ds = open_zarr(archive.store, chunks={})
    FitResult(ds).dataset  # noqa: B018  refuses what is none
    return ds, None


def _watch(archive: Archive) -> Refresh | None:
    """Look at how many chunks are done."""
    total = int(np.prod(archive.open()["status"].data.numblocks))
    seen = len(archive.done())
    if seen == total:
        return None

    def refresh() -> xr.Dataset | None:
        nonlocal seen
        now = len(archive.done())
        if now == seen:
            return None
        seen = now
        return archive.open()

    return refresh


def open_data(
    path: str, fit: xr.Dataset, variable: str | None = None, options: Mapping[str, Any] | None = None
) -> xr.DataArray:
    """Open the data of a fit lazily.

    Parameters
    ----------
    path : str
        Whatever `xfit.open` reads.
    fit : Dataset
        The result; the signal with its dimensions is taken.
    variable : str, optional
        Which, where several have them.
    options : mapping, optional
        What the file system of a URL needs.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is nothing that can be read; if no signal, or more than one, can be the data.
    """
    return signal_of(arrays_in(path, options), fit, variable, path)
