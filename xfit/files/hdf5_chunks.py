"""What chunks of HDF5 arrays hold, checked before the library makes room for it: it unpacks all that is packed in one,
however small the chunk is.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from xfit.fitting.stored.chunk_claims import unpacked
from xfit.fitting.stored.codecs import RefusedFileError
from xfit.modeling.text_limits import amount

#: Filters that pack, by their numbers in files.
_PACKS = {1: "zlib", 307: "bz2", 32001: "blosc", 32015: "zstd"}

#: Bytes that filters may add to a chunk.
_BESIDE = 4096

#: Of zlib, what can't make more bytes than these beside the chunk is not looked into: it makes at most so many times
#: what is stored.
_LITTLE, _BEST_COMPRESSION = 96 << 20, 1032


def check_packed(dataset: Any, key: tuple[Any, ...] = ()) -> None:
    """Refuse an array, or a part of it, with chunks that hold more than a chunk has.

    Parameters
    ----------
    dataset : h5py.Dataset
    key : tuple, optional
        Of the part: what NumPy takes along each dimension; all without it.

    Raises
    ------
    RefusedFileError
        Naming file, array and chunk, and the figure.
    """
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(k)[0] for k in range(properties.get_nfilters())]
    if not filters:
        return
    packs = [(k, _PACKS[number]) for k, number in enumerate(filters) if number in _PACKS]
    where = f"{dataset.file.filename}: the array {dataset.name!r}"
    if len(packs) > 1:
        raise RefusedFileError(f"{where} is packed {len(packs)} times over; it is not read")
    most = math.prod(dataset.chunks) * dataset.dtype.itemsize + _BESIDE
    keys = [*(() if any(item is Ellipsis for item in key) else key), *dataset.ndim * [slice(None)]]
    axes = [
        np.unique(np.arange(n)[item] // size) * size
        for n, size, item in zip(dataset.shape, dataset.chunks, keys, strict=False)
    ]
    for place in itertools.product(*(axis.tolist() for axis in axes)):
        info = dataset.id.get_chunk_info_by_coord(place)
        chunk = f"{where}: the chunk at {place}, of {info.size} bytes,"
        if info.size > 2 * most:
            raise RefusedFileError(
                f"{chunk} is larger than it can be, {most} bytes; it is damaged, or made to take memory"
            )
        for k, name in packs:
            if (
                info.filter_mask >> k & 1
                or not info.size
                or (name == "zlib" and info.size * _BEST_COMPRESSION <= most + _LITTLE)
            ):
                continue
            size = unpacked(dataset.id.read_direct_chunk(place)[1], name, {}, most)
            if size > most:
                raise RefusedFileError(
                    f"{chunk} holds {amount(size)} bytes or more, where there are at most {most}; it is damaged, or "
                    "made to take memory"
                )
