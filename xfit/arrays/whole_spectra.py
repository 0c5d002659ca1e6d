"""Whole spectra in a chunk: lazy data whose signal dimensions are cut are rearranged,
and it is said what that costs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import dask
import numpy as np
import xarray as xr
from dask.utils import format_bytes, parse_bytes


def whole_signals(
    data: xr.DataArray, dims: Sequence[Hashable], what: str, stacklevel: int, client: Any
) -> xr.DataArray:
    """Lazy data with the signal dimensions in one chunk; where they have to be rearranged, a warning says at what cost.

    Chunks along the map stay as they are, unless they would be larger than dask's ``array.chunk-size`` with whole
    spectra (data stored plane by plane); then they are made smaller. As every old chunk then goes into several new
    ones, a cluster rearranges them through the disks of its workers (dask's p2p).

    Parameters
    ----------
    data : DataArray
        Dask-backed.
    dims : sequence of hashable
        The signal dimensions.
    what : str
        What the data are rearranged for, for the warning.
    stacklevel : int
        Of the warning, from the caller.
    client : distributed.Client or None
        That of the cluster, if there is one.
    """
    split = {d: len(data.chunksizes[d]) for d in dims if len(data.chunksizes[d]) > 1}
    if not split:
        return data
    navigation = [d for d in data.dims if d not in dims]
    spectrum = math.prod(data.sizes[d] for d in dims) * data.dtype.itemsize
    whole = spectrum * math.prod(max(data.chunksizes[d]) for d in navigation)
    sizes: dict[Hashable, Any] = dict.fromkeys(dims, -1)
    if whole <= max(parse_bytes(dask.config.get("array.chunk-size")), spectrum):
        made, how = data.chunk(sizes), f"{math.prod(split.values())} pieces to a chunk of {format_bytes(whole)}"
    else:
        sizes |= dict.fromkeys(navigation, "auto")
        # Its other methods make a task of every piece that goes from an old chunk to a new one. By argument: dask's
        # configuration is that of all threads, and would stay changed where several change it.
        along = {data.get_axis_num(d): size for d, size in sizes.items()}
        made = data.chunk(sizes) if client is None else data.copy(data=data.data.rechunk(along, method="p2p"))
        how = f"chunks along the map would be of {format_bytes(whole)} with whole spectra and are made smaller, " + (
            "through the disks of the cluster's workers"
            if client is not None
            else f"so that each of the data's goes into {_shared(data, made, navigation):.0f} of them: a fit into a "
            "store reads it as often, another holds it in memory. With a client (distributed.LocalCluster on "
            "one machine) the data are read once and go by the disk"
        )
    warnings.warn(
        f"the signal dimension(s) lie in several chunks {split}: {format_bytes(data.nbytes)} are read and rearranged "
        f"before the {what} ({how}). Store the data with whole spectra in a chunk to avoid this",
        UserWarning,
        stacklevel=stacklevel + 1,
    )
    return made


def _shared(old: xr.DataArray, new: xr.DataArray, navigation: Sequence[Hashable]) -> float:
    """Into how many new chunks an old one goes, on average."""
    share = 1.0
    for d in navigation:
        edges, cuts = (np.cumsum(array.chunksizes[d]) for array in (old, new))
        # Pieces begin where either has an edge.
        share *= len(np.union1d(edges, cuts)) / len(edges)
    return share
