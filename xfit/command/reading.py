"""What a fit reads: data of any size, laid out in chunks, and arrays that go with them."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import dask
import numpy as np
import xarray as xr
from dask.system import CPU_COUNT
from dask.utils import parse_bytes

from xfit.arrays.masks import signal_range
from xfit.command.arguments import options_for
from xfit.display import cleaned, is_url, local_path
from xfit.files.chunking import automatic, rechunked
from xfit.files.cli_choices import arrays_in

#: Bytes of a chunk, as far as a file leaves the choice; less where there would be fewer than so many for each thread.
_CHUNK = 64 * 2**20
_EACH = 4

#: Endings of results in files; any other place is a store.
_RESULTS = (".nc", ".nc4", ".h5")

_RANGE = re.compile(r"([^=]+)=([^:=]*):([^:=]*)")


class Data(NamedTuple):
    """What there is to fit.

    Attributes
    ----------
    signal : DataArray
        The data, lazy where their format allows.
    others : mapping of str to DataArray
        What else lies beside them, by name.
    """

    signal: xr.DataArray
    others: Mapping[str, xr.DataArray]


def read_data(path: str, name: str | None, options: Mapping[str, str]) -> Data:
    """Open data of any format.

    Raises
    ------
    FileNotFoundError
        If there are none.
    ValueError
        If no signal, or more than one, can be the data.
    """
    arrays = arrays_in(path, options, chunks="file")
    numeric = {key: each for key, each in arrays.items() if each.dtype.kind in "iuf" and each.ndim}
    if name is not None and name not in arrays:
        raise ValueError(f"--signal {name}: {path} has no such signal; it has {_listed(arrays)}")
    most = max((each.ndim for each in numeric.values()), default=0)
    largest = [key for key, each in numeric.items() if each.ndim == most]
    if name is None and not largest:
        raise ValueError(f"{path} has nothing that can be fitted, only {_listed(arrays)}")
    if name is None and len(largest) > 1:
        raise ValueError(
            f"{path} has several signals that can be fitted: {_listed(arrays)}; say which by --signal NAME"
        )
    chosen = name or largest[0]
    signal = arrays[chosen]
    beside = {str(key): each for key, each in signal.coords.items() if key not in signal.dims}
    return Data(signal, beside | {key: each for key, each in arrays.items() if key != chosen})


def _listed(arrays: Mapping[str, xr.DataArray]) -> str:
    return cleaned(", ".join(f"{name} {tuple(map(str, each.dims))}" for name, each in sorted(arrays.items()))) or "none"


def parse_chunks(texts: Sequence[str]) -> dict[str, int]:
    """Take ``y=64,x=64`` apart."""
    found: dict[str, int] = {}
    for each in ",".join(texts).split(",") if texts else []:
        name, equals, number = each.partition("=")
        if not equals or not number.strip().isdigit() or int(number) < 1:
            raise ValueError(f"--chunks {each!r} must be a dimension and a size of at least 1, such as y=64")
        found[name.strip()] = int(number)
    return found


def in_chunks(
    da: xr.DataArray, dims: Sequence[Hashable], given: Mapping[str, int], workers: int | None
) -> xr.DataArray:
    """Lay data out in chunks: those given, or those of the file, put together where that leaves some for every worker.

    Parameters
    ----------
    dims : sequence
        Signal dimensions.
    given : mapping of str to int
        Chunk sizes along navigation dimensions.
    workers : int or None
        Threads of all workers, where that is known.

    Raises
    ------
    ValueError
        For a chunk size along what is no dimension of the map.
    """
    navigation = [d for d in da.dims if d not in dims]
    unknown = [name for name in given if name not in map(str, navigation)]
    if unknown:
        raise ValueError(
            f"--chunks {unknown[0]}={given[unknown[0]]}: the map has the dimensions "
            f"{', '.join(map(str, navigation)) or 'none'}"
        )
    if da.chunks is not None and given:
        return da.chunk(dict(given))
    spectrum = math.prod(da.sizes[d] for d in dims) * da.dtype.itemsize
    count = _EACH * (workers or CPU_COUNT)
    limit = max(min(_CHUNK, parse_bytes(dask.config.get("array.chunk-size")), da.nbytes // count), spectrum)
    if da.chunks is not None:
        return rechunked(da, None, limit)
    return automatic(da, {d: -1 if d in dims else given.get(str(d), "auto") for d in da.dims}, limit)


def companion(text: str, what: str, data: Data, da: xr.DataArray, options: Mapping[str, str]) -> xr.DataArray:
    """Find an array that goes with the data: a variable beside them, or a file's, in the chunks of the data.

    Raises
    ------
    ValueError
        If it is neither, or a file has several.
    """
    if text in data.others:
        found = data.others[text]
    elif is_url(text) or local_path(text).exists():
        there = arrays_in(text, options)
        if len(there) != 1:
            raise ValueError(f"{what} {text}: the file must have one array; it has {_listed(there)}")
        found = next(iter(there.values()))
    else:
        names = ", ".join(data.others) or "none"
        raise ValueError(f"{what} {text}: neither an array beside the data ({names}) nor a file")
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


def start_of(text: str | None, options: Mapping[str, str]) -> Any:
    """Take ``--start`` for what it is: "estimate", or an earlier result.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if text is None or text == "estimate":
        return text
    from xfit.plot.open_stored import open_fit

    path = None if is_url(text) else local_path(text)
    if path is not None and not path.exists():
        raise FileNotFoundError(f'--start {text}: there is no such file; "estimate" is the other choice')
    if path is not None and path.is_file() and path.suffix not in _RESULTS:
        raise ValueError(
            f'--start {text}: a result is a .zarr store or one of {", ".join(_RESULTS)}; "estimate" is the other choice'
        )
    return open_fit(text, options_for(text, options))[0]
