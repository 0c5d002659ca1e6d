"""Chunks as they are stored: byte for byte those that zarr writes, with few operations on files."""

import gzip
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ShardingCodec, TransposeCodec, ZstdCodec
from zarr.core.metadata.v3 import ArrayV3Metadata

from tests.support.builders import peak_map, two_peaks
from tests.support.kills import is_change
from xfit.fitting.stored.chunk_encoding import encoder_of

SHAPE, SIZE = (7, 5, 4), (4, 3, 4)
DTYPES = ["<f8", ">f8", "<f4", "i1", "<i4"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pieces", [None, (4, 3, 1), (2, 1, 2)], ids=str)
@pytest.mark.parametrize(
    "compressors",
    [None, ZstdCodec(), [GzipCodec(), Crc32cCodec()], BloscCodec()],
    ids=["none", "zstd", "gzip", "blosc"],
)
def test_the_bytes_of_zarr(
    dtype: str, pieces: tuple[int, ...] | None, compressors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of whole chunks and those at the edges, in shards or not, with any codec that zarr has."""
    # gzip writes the second in which it compresses.
    monkeypatch.setattr(gzip, "time", SimpleNamespace(time=lambda: 0.0))
    made: dict[str, zarr.core.buffer.Buffer] = {}
    array = zarr.create_array(
        zarr.storage.MemoryStore(made),
        shape=SHAPE,
        dtype=dtype,
        compressors=compressors,
        fill_value=0,
        chunks=pieces or SIZE,
        shards=SIZE if pieces else None,
        config={"write_empty_chunks": True},
    )
    values = np.random.default_rng(3).integers(0, 5, SHAPE).astype(dtype)
    array[:] = values
    assert isinstance(array.metadata, ArrayV3Metadata)
    encode = encoder_of(array.metadata)
    assert encode is not None
    starts = [range(0, n, size) for n, size in zip(SHAPE, SIZE, strict=True)]
    for index, first in zip(product(*map(range, map(len, starts))), product(*starts), strict=True):
        part = values[tuple(slice(a, a + size) for a, size in zip(first, SIZE, strict=True))]
        assert encode(part).to_bytes() == made["/".join(map(str, ("c", *index)))].to_bytes()


def test_what_only_zarr_can_write() -> None:
    """An index at the beginning of shards, or a codec that has no call for one chunk, is left to zarr."""

    def metadata(**options: Any) -> ArrayV3Metadata:
        array = zarr.create_array(zarr.storage.MemoryStore(), shape=(4, 4), dtype="f8", chunks=(4, 4), **options)
        assert isinstance(array.metadata, ArrayV3Metadata)
        return array.metadata

    assert encoder_of(metadata(filters=TransposeCodec(order=(1, 0)))) is not None
    shards = ShardingCodec(chunk_shape=(2, 2), index_location="start")
    assert encoder_of(metadata(serializer=shards, compressors=None)) is None


def test_few_operations_on_files(tmp_path: Path) -> None:
    """A chunk costs for each variable, and for the mark, a file that is written and put in its place, and perhaps its
    folders; no file is removed.
    """
    changes: list[str] = []
    listening = True
    sys.addaudithook(
        lambda event, arguments: changes.append(event) if listening and is_change(event, arguments, tmp_path) else None
    )

    def counted(chunks: int) -> dict[str, int]:
        changes.clear()
        da = peak_map((2 * chunks, 1)).chunk(y=2)
        da.fit.multifit(two_peaks(), store=tmp_path / str(chunks), progress=False)
        return {event: changes.count(event) for event in set(changes)}

    few, many = counted(2), counted(6)
    listening = False
    files = len([each for each in (tmp_path / "6").rglob("*") if each.is_file()]) - len(
        [each for each in (tmp_path / "2").rglob("*") if each.is_file()]
    )
    assert files % 4 == 0
    for event in ("open", "os.rename"):
        assert many[event] - few[event] == files
    assert many.get("os.remove", 0) == few.get("os.remove", 0)
