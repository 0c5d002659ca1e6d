"""What a fit reads: data of any size, laid out in chunks, and arrays that go with them."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import dask
import numpy as np
import xarray as xr
from dask.system import CPU_COUNT
from dask.utils import parse_bytes

from xfit.command.arguments import options_for
from xfit.masks import signal_range

#: Bytes of a chunk where a file has none of its own; less where there would be too few for all workers.
_CHUNK = 64 * 2**20
_EACH = 4

_RANGE = re.compile(r"([^=]+)=([^:=]*):([^:=]*)")
_NETCDF = (".nc", ".nc4", ".cdf", ".h5", ".hdf5")


class Data(NamedTuple):
    """What there is to fit.

    Attributes
    ----------
    signal : DataArray
        The data, lazy and without chunks.
    others : mapping of str to DataArray
        What else lies beside it, by name.
    """

    signal: xr.DataArray
    others: Mapping[str, xr.DataArray]


def read_data(path: str, variable: str | None, options: Mapping[str, str]) -> Data:
    """Open data lazily.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If no variable, or more than one, can be the data.
    """
    ds = open_dataset(path, options)
    numeric = [str(name) for name, each in ds.data_vars.items() if each.dtype.kind in "iuf" and each.ndim]
    if variable is not None and variable not in map(str, ds.data_vars):
        raise ValueError(f"--variable {variable}: {path} has no such variable; it has {_listed(ds)}")
    most = max((ds[name].ndim for name in numeric), default=0)
    largest = [name for name in numeric if ds[name].ndim == most]
    if variable is None and len(largest) != 1:
        raise ValueError(f"{path} has {'several variables' if numeric else 'no variable'} that can be fitted: {_listed(ds)}" + ("; say which by --variable NAME" if numeric else ""))  # fmt: skip
    name = largest[0] if variable is None else variable
    return Data(ds[name], {str(n): v for n, v in {**ds.coords, **ds.data_vars}.items() if n != name})


def open_dataset(path: str, options: Mapping[str, str]) -> xr.Dataset:
    """Open a zarr store or a netCDF file lazily, without chunks."""
    from xfit.stored.archive import Archive

    local = "://" not in path
    if local and not Path(path).exists():
        raise FileNotFoundError(f"there is no file or store {path!r}")
    if Path(path).suffix.lower() in _NETCDF:
        return xr.open_dataset(path)
    if local and Path(path).is_file():
        raise ValueError(f"{path!r} is neither a zarr store nor a netCDF file ({', '.join(_NETCDF)})")
    archive = Archive(path, options_for(path, options))
    if not archive.exists:
        raise FileNotFoundError(f"there is no store {path!r}")
    return xr.open_zarr(archive.store, chunks=None, consolidated=False)


def _listed(ds: xr.Dataset) -> str:
    return ", ".join(f"{name} {tuple(map(str, each.dims))}" for name, each in ds.data_vars.items()) or "none"


def parse_chunks(texts: Sequence[str]) -> dict[str, int]:
    """Take ``y=64,x=64`` apart."""
    found: dict[str, int] = {}
    for each in ",".join(texts).split(",") if texts else []:
        name, equals, number = each.partition("=")
        if not equals or not number.strip().isdigit() or int(number) < 1:
            raise ValueError(f"--chunks {each!r} must be a dimension and a size of at least 1, such as y=64")
        found[name.strip()] = int(number)
    return found


def in_chunks(da: xr.DataArray, dims: Sequence[Hashable], given: Mapping[str, int], workers: int | None) -> xr.DataArray:
    """Lay data out in chunks: those given, those of the file, or whole spectra of so many pixels that every worker has some.

    Raises
    ------
    ValueError
        For a chunk size along what is no dimension of the map.
    """
    navigation = [d for d in da.dims if d not in dims]
    unknown = [name for name in given if name not in map(str, navigation)]
    if unknown:
        raise ValueError(f"--chunks {unknown[0]}={given[unknown[0]]}: the map has the dimensions {', '.join(map(str, navigation)) or 'none'}")
    if da.chunks is not None and not given:
        return da
    own: Mapping[Hashable, int] = da.encoding.get("preferred_chunks", {})
    sizes: dict[Hashable, Any] = {d: own.get(d, -1) for d in dims}
    sizes |= {d: given.get(str(d), own.get(d, "auto")) for d in navigation}
    count = _EACH * (workers or CPU_COUNT)
    limit = max(min(_CHUNK, parse_bytes(dask.config.get("array.chunk-size")), da.nbytes // count), 1)
    if all(own.get(d) is None for d in navigation):
        sizes |= dict.fromkeys(dims, -1)
    spectrum = math.prod(da.sizes[d] for d in dims) * da.dtype.itemsize
    with dask.config.set({"array.chunk-size": max(limit, spectrum)}):
        return da.chunk(sizes)


def companion(text: str, what: str, data: Data, da: xr.DataArray, options: Mapping[str, str]) -> xr.DataArray:
    """Find an array that goes with the data: a variable beside them, or a file's, in the chunks of the data.

    Raises
    ------
    ValueError
        If it is neither, or a file has several.
    """
    if text in data.others:
        found = data.others[text]
    elif "://" in text or Path(text).exists():
        there = open_dataset(text, options).data_vars
        if len(there) != 1:
            raise ValueError(f"{what} {text}: the file must have one variable; it has {', '.join(map(str, there)) or 'none'}")  # fmt: skip
        found = next(iter(there.values()))
    else:
        names = ", ".join(data.others) or "none"
        raise ValueError(f"{what} {text}: neither a variable beside the data ({names}) nor a file")
    if da.chunks is None or found.chunks is not None:
        return found
    return found.chunk({d: da.chunksizes[d] for d in found.dims if d in da.dims and found.sizes[d] == da.sizes[d]})


def mask_of(texts: Sequence[str], data: Data, da: xr.DataArray, options: Mapping[str, str]) -> xr.DataArray | None:
    """Combine masks: ranges of a coordinate add up; everything else must hold together."""
    ranges: dict[str, list[tuple[float | None, float | None]]] = {}
    masks = []
    for text in texts:
        match = None if text in data.others else _RANGE.fullmatch(text)
        if match and "://" not in text:
            ranges.setdefault(match[1].strip(), []).append((_end(match[2], text), _end(match[3], text)))
            continue
        mask = companion(text, "--where", data, da, options)
        masks.append(mask != 0 if mask.dtype.kind in "iu" else mask)
    masks += [signal_range(da, *ends, dim=dim) for dim, ends in ranges.items()]
    if not masks:
        return None
    whole = masks[0]
    for mask in masks[1:]:
        whole = whole & mask
    return whole


def _end(text: str, whole: str) -> float | None:
    if not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--where {whole}: {text!r} is no number; write a range such as energy=600:800") from None


def variance_of(text: str | None, data: Data, da: xr.DataArray, options: Mapping[str, str]) -> Any:
    """Take ``--variance`` for what it is: a number, "poisson", or an array."""
    if text is None or text == "poisson":
        return text
    try:
        number = float(text)
    except ValueError:
        return companion(text, "--variance", data, da, options)
    if not np.isfinite(number) or number <= 0:
        raise ValueError(f"--variance {text} must be above zero")
    return number
