"""Chunks of zarr arrays as they lie in a store, made in the thread that has their numbers: as zarr makes
them, without its tasks for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from zarr.codecs import BytesCodec, Crc32cCodec, ShardingCodec
from zarr.core.array_spec import ArrayConfig, ArraySpec
from zarr.core.buffer import Buffer
from zarr.core.buffer.core import default_buffer_prototype
from zarr.core.dtype import UInt64
from zarr.core.indexing import morton_order_iter
from zarr.core.metadata.v3 import ArrayV3Metadata

#: From the numbers of a chunk, which at the end of an array may be fewer than a whole one has, to what is stored of
#: them.
Encoder = Callable[[np.ndarray], Buffer]

#: What the index of a shard says of chunks that it does not have.
_MISSING = 2**64 - 1


def encoder_of(metadata: ArrayV3Metadata) -> Encoder | None:
    """What makes the chunks, or shards, of an array; None where it has codecs that only zarr's own tasks can use.

    Parameters
    ----------
    metadata : ArrayV3Metadata
        Of the array. Chunks of nothing but the fill value are chunks like others.
    """
    spec = metadata.get_chunk_spec((), ArrayConfig(order="C", write_empty_chunks=True), default_buffer_prototype())
    codecs = [codec.evolve_from_array_spec(spec) for codec in metadata.codecs]
    shards = codecs[0]
    if not isinstance(shards, ShardingCodec):
        return _of_chunks(codecs, spec)
    whole = [type(codec) for codec in shards.index_codecs] == [BytesCodec, Crc32cCodec]
    inner = _of_chunks(shards.codecs, replace(spec, shape=shards.chunk_shape))
    if len(codecs) > 1 or not whole or shards.index_location.value != "end" or inner is None:
        return None
    return _of_shards(inner, shards, spec.shape)


def _of_chunks(codecs: Iterable[Any], spec: ArraySpec) -> Encoder | None:
    """What makes chunks with codecs that can be called where the numbers are."""
    steps = []
    of_step = spec
    for codec in codecs:
        if not hasattr(codec, "_encode_sync"):
            return None
        steps.append((codec._encode_sync, of_step))
        of_step = codec.resolve_metadata(of_step)
    dtype, array_of = spec.dtype.to_native_dtype(), spec.prototype.nd_buffer.from_numpy_array

    def encode(values: np.ndarray) -> Buffer:
        if values.shape == spec.shape:
            whole = np.ascontiguousarray(values, dtype)
        else:
            whole = np.full(spec.shape, spec.fill_value, dtype)
            whole[tuple(map(slice, values.shape))] = values
        found: Any = array_of(whole)
        for step, of in steps:
            found = step(found, of)
        encoded: Buffer = found
        return encoded

    return encode


def _of_shards(inner: Encoder, shards: ShardingCodec, shape: Sequence[int]) -> Encoder:
    """What makes shards: their chunks one after the other, of those that have a part in
    the array, then where each lies.
    """
    sizes = shards.chunk_shape
    number = tuple(n // size for n, size in zip(shape, sizes, strict=True))
    prototype = default_buffer_prototype()
    order = [
        (place, tuple(slice(k * n, (k + 1) * n) for k, n in zip(place, sizes, strict=True)))
        for place in morton_order_iter(number)
    ]
    index_spec = ArraySpec(
        (*number, 2), UInt64(endianness="little"), _MISSING, ArrayConfig(order="C", write_empty_chunks=False), prototype
    )
    encode_index = _of_chunks(shards.index_codecs, index_spec)
    assert encode_index is not None

    def encode(values: np.ndarray) -> Buffer:
        index = np.full((*number, 2), _MISSING, np.uint64)
        parts, at = [], 0
        for place, cut in order:
            part = values[cut]
            if part.size:
                parts.append(inner(part))
                index[place] = at, len(parts[-1])
                at += len(parts[-1])
        return prototype.buffer.create_zero_length().combine([*parts, encode_index(index)])

    return encode
