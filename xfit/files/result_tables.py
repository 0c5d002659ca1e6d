"""A result as maps, one for each number that a pixel has, and as rows of a table, one for each pixel."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xfit.results.fit_result import FitResult


def maps_of(fit: xr.Dataset) -> dict[str, xr.DataArray]:
    """Maps over the navigation dimensions, by name.

    Parameters
    ----------
    fit : Dataset
        A result.

    Returns
    -------
    dict of str to DataArray
        For each parameter its value ("Fe.centre"), standard error ("Fe.centre.stderr") and whether it is at a bound
        ("Fe.centre.at_bound"); "chisq" and all other maps; of maps with one more dimension, such as which components
        are active, one for each label along it ("active.Fe"). Covariances are left out.
    """
    result = FitResult(fit)
    navigation = list(result.navigation_dims)
    found: dict[str, xr.DataArray] = {}
    params = [str(p) for p in fit["param"].values]
    for k, name in enumerate(params):
        about = fit["units"].values[k]
        for variable, ending in (("value", ""), ("stderr", ".stderr"), ("at_bound", ".at_bound")):
            one = fit[variable].isel(param=k, drop=True)
            attrs = dict(fit[variable].attrs) | ({} if variable == "at_bound" else {"units": str(about)})
            found[f"{name}{ending}"] = _bare(one, navigation).assign_attrs(attrs | {"long_name": f"{name}{ending}"})
    for key, array in fit.data_vars.items():
        extra = [d for d in array.dims if d not in navigation]
        if key in ("value", "stderr", "at_bound", "covariance", "pair_covariance") or len(extra) > 1:
            continue
        if not extra:
            found[str(key)] = _bare(array, navigation)
            continue
        along = extra[0]
        labels = fit[along].values if along in fit.coords else range(fit.sizes[along])
        for k, label in enumerate(labels):
            found[f"{key}.{label}"] = _bare(array.isel({along: k}, drop=True), navigation)
    return found


def _bare(array: xr.DataArray, navigation: list[Any]) -> xr.DataArray:
    """A map with the coordinates of the map alone."""
    dropped = [c for c in array.coords if not array.coords[c].dims or set(array.coords[c].dims) - set(navigation)]
    return array.drop_vars(dropped)


def tables_of(columns: dict[str, xr.DataArray]) -> Iterator[pd.DataFrame]:
    """Tables with a row for each pixel, in the order of the array, a chunk's worth of the first dimension at a time.

    Parameters
    ----------
    columns : dict of str to DataArray
        All over the same dimensions.

    Yields
    ------
    DataFrame
        The dimensions' coordinates (or positions), other coordinates over them, then the columns.
    """
    import dask

    whole = xr.Dataset(columns)
    first = next(iter(columns.values()))
    dims = list(first.dims)
    edges = [0, first.shape[0] if dims else 1]
    if dims and first.chunks is not None:
        edges = [0, *np.cumsum(first.chunks[0]).tolist()]
    for start, stop in pairwise(edges):
        part = whole.isel({dims[0]: slice(start, stop)}) if dims else whole
        (part,) = dask.compute(part)
        shape = tuple(part.sizes[d] for d in dims)
        table: dict[str, Any] = {}
        positions = np.indices(shape).reshape(len(dims), -1) if dims else np.zeros((0, 1), int)
        for k, d in enumerate(dims):
            offset = start if k == 0 else 0
            table[str(d)] = part[d].values[positions[k]] if d in part.coords else positions[k] + offset
        for name in [c for c in part.coords if c not in dims] + list(part.data_vars):
            variable = part[name]
            missing = {d: part.sizes[d] for d in dims if d not in variable.dims}
            table[str(name)] = variable.variable.set_dims({**missing, **variable.sizes}).transpose(*dims).values.ravel()
        yield pd.DataFrame(table)
