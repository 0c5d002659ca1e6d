"""Chunks that claim, or hold, more than their arrays have: refused before memory is taken; and those of every codec
that are as they should be.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

import xfit
from tests.support.opened import open_array
from xfit.fitting.stored.chunk_claims import check_chunk
from xfit.fitting.stored.codecs import RefusedFileError, checked
from xfit.fitting.stored.info import info
from xfit.fitting.stored.unread import UnreadError
from xfit.modeling.text_limits import json_of

#: What is packed: far more than any array of the tests has.
MUCH = bytes(3 << 20)

#: Packed by every codec that is read.
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bz2": bz2.compress,
    "lzma": lzma.compress,
    "zstd": numcodecs.Zstd().encode,
    "blosc": numcodecs.Blosc().encode,
    "lz4": numcodecs.LZ4().encode,
}


def store(path: Path, version: int = 2) -> Path:
    """Data with a coordinate of numbers and one of text."""
    da = xr.DataArray(
        np.arange(6.0).reshape(2, 3),
        dims=("y", "e"),
        coords={"e": np.arange(3.0), "y": np.array(["a", "b"], object)},
        name="c",
    )
    da.to_dataset().to_zarr(path, zarr_format=version, consolidated=False)
    return path


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", PACKED)
def test_more_is_packed_than_there_can_be(tmp_path: Path, name: str) -> None:
    path = store(tmp_path / "a.zarr")
    edit(path / "e/.zarray", compressor={"id": name}, filters=None)
    (path / "e/0").write_bytes(PACKED[name](np.arange(3.0).tobytes()))
    np.testing.assert_array_equal(xfit.open(path)["e"], np.arange(3.0))
    (path / "e/0").write_bytes(PACKED[name](MUCH))
    with pytest.raises(RefusedFileError, match=rf"the chunk 'e/0' is damaged.*{name} claim .* 3 values"):
        xfit.open(path)


def sharded(path: Path, compressors: Any, index: str) -> Path:
    """An array whose shard has six chunks of four numbers each, all 1."""
    group = zarr.open_group(path, mode="w")
    shards: Any = {"shape": (6, 4), "index_location": index}
    group.create_array(
        "d", data=np.ones((6, 4)), chunks=(1, 4), shards=shards, compressors=compressors, dimension_names=["y", "e"]
    )
    return path / "d/c/0/0"


def write_shard(shard: Path, chunks: list[bytes], index: str, **third: int) -> None:
    """Write a shard by hand, of the third chunk with another beginning or length in the index."""
    first = 100 if index == "start" else 0
    begins = [first + sum(map(len, chunks[:k])) for k in range(6)]
    entries = np.array([*zip(begins, map(len, chunks), strict=True)], "<u8")
    entries[2] = third.get("begin", entries[2, 0]), third.get("length", entries[2, 1])
    told = bytes(numcodecs.CRC32C(location="end").encode(entries.tobytes()))
    shard.write_bytes(b"".join([told, *chunks] if index == "start" else [*chunks, told]))


def here(folder: Path) -> Any:
    """The array itself, of which zarr reads a whole shard at once."""
    return zarr.open_array(checked(zarr.storage.LocalStore(folder / "a.zarr")), path="d", mode="r")


@pytest.mark.parametrize("index", ["start", "end"])
@pytest.mark.parametrize(("name", "codec"), [("gzip", GzipCodec()), ("zstd", ZstdCodec()), ("blosc", BloscCodec())])
@pytest.mark.parametrize("part", [slice(None), slice(1, 3)], ids=["whole", "part"])
def test_more_is_packed_in_a_shard_than_there_can_be(
    tmp_path: Path, name: str, codec: Any, index: str, part: slice
) -> None:
    shard = sharded(tmp_path / "a.zarr", codec, index)
    assert (open_array(tmp_path / "a.zarr", chunks="file")[part] == 1).all()
    packed = PACKED[name]
    good, much = packed(np.ones(4).tobytes()), packed(bytes(20_000))
    write_shard(shard, [good] * 6, index)
    assert (open_array(tmp_path / "a.zarr", chunks="file")[part] == 1).all()
    write_shard(shard, [good, good, much, good, good, good], index)
    begin = 2 * len(good) + (100 if index == "start" else 0)
    # Four numbers have 32 bytes, and 1,024 may be beside them.
    words = (
        rf"a\.zarr: the chunk 'd/c/0/0' is damaged.*: bytes {begin} to {begin + len(much)} of the shard: "
        rf"{len(much)} bytes of {name} claim 2e\+04 bytes or more, .* at most 1.06e\+03 bytes"
    )
    with pytest.raises(
        UnreadError, match=rf"a\.zarr: numbers of 'd' can't be read, in the part \[2:3, 0:4\] .*{words}"
    ):
        open_array(tmp_path / "a.zarr", chunks="file")[part].load()
    with pytest.raises(RefusedFileError, match=words):
        here(tmp_path)[part]


@pytest.mark.parametrize("index", ["start", "end"])
@pytest.mark.parametrize("part", [slice(None), slice(1, 3)], ids=["whole", "part"])
@pytest.mark.parametrize(
    ("third", "words"),
    [
        ({"begin": 260, "length": 64}, "bytes 260 to 324 of the shard: 32 are there"),
        ({"begin": 5000}, "bytes 5000 to 5032 of the shard: 0 are there"),
        ({"begin": 64, "length": 2**40}, f"bytes 64 to {2**40 + 64} of the shard: 4 values have at most 2112"),
        ({"begin": 2**63}, f"bytes {2**63} to {2**63 + 32} of the shard: "),
        ({"length": 2**64 - 40}, "of the shard: 4 values have at most 2112"),
    ],
)
def test_an_index_that_leads_out_of_its_shard(
    tmp_path: Path, third: dict[str, int], words: str, index: str, part: slice
) -> None:
    shard = sharded(tmp_path / "a.zarr", None, index)
    write_shard(shard, [np.ones(4).tobytes()] * 6, index, **third)
    with pytest.raises(RefusedFileError, match=f"'d/c/0/0' is damaged.*{words}"):
        here(tmp_path)[part]


def test_shards_that_are_cut_short(tmp_path: Path) -> None:
    shard = sharded(tmp_path / "a.zarr", None, "end")
    for size in (50, 0):
        shard.write_bytes(shard.read_bytes()[:size])
        with pytest.raises(RefusedFileError, match=f"the shard has {size} bytes, and the index of its 6 chunks 100"):
            here(tmp_path)[:]


@pytest.mark.parametrize("kind", ["packed", "turned", "nested", "index"])
def test_shards_in_ways_that_are_not_read(tmp_path: Path, kind: str) -> None:
    sharded(tmp_path / "a.zarr", None, "end")
    described = tmp_path / "a.zarr/d/zarr.json"
    (shards,) = json.loads(described.read_text())["codecs"]
    inner, gzip_codec = shards["configuration"], {"name": "gzip", "configuration": {"level": 1}}
    codecs = {
        "packed": [shards, gzip_codec],
        "turned": [{"name": "transpose", "configuration": {"order": [1, 0]}}, shards],
        "nested": [{"name": "sharding_indexed", "configuration": inner | {"codecs": [shards]}}],
        "index": [{"name": "sharding_indexed", "configuration": inner | {"index_codecs": ["bytes", gzip_codec]}}],
    }
    edit(described, codecs=codecs[kind])
    with pytest.raises(RefusedFileError, match=r"a\.zarr: the array 'd' is stored in shards that are packed, turned"):
        xfit.open(tmp_path / "a.zarr")


def test_more_members_than_one(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr")
    edit(path / "e/.zarray", compressor={"id": "gzip"}, filters=None)
    (path / "e/0").write_bytes(b"".join(gzip.compress(bytes(800)) for _ in range(10)))
    with pytest.raises(RefusedFileError, match="gzip claim"):
        xfit.open(path)


def test_frames_of_zstd() -> None:
    about = {"zarr_format": 3, "codecs": [{"name": "bytes"}, {"name": "zstd"}]}
    # As zstd packs them: single frames of all widths of sizes, several, with a run of one byte, and one that may be
    # skipped.
    for size in (10, 300, 70_000, 200_000):
        raw = bytes(numcodecs.Zstd().encode(os.urandom(size)))
        check_chunk(raw, about, size // 8 + 1, 8)
        with pytest.raises(ValueError, match="of zstd claim"):
            check_chunk(raw * 2000, about, size // 8 + 1, 8)
    skipped = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    with pytest.raises(ValueError, match=r"of zstd claim 3.15e\+06"):
        check_chunk(skipped + bytes(numcodecs.Zstd().encode(MUCH)), about, 10, 8)
    # A frame that does not say how much it holds (RFC 8878, section 3.1.1.1.1): flags 0, a window, the last block is
    # raw and of 3 bytes.
    with pytest.raises(ValueError, match="of zstd claim"):
        check_chunk(
            0xFD2FB528.to_bytes(4, "little") + b"\x00\x00" + (3 << 3 | 1).to_bytes(3, "little") + b"abc", about, 10, 8
        )


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_more_texts_than_there_can_be(tmp_path: Path, version: int, packed: bool) -> None:
    path = store(tmp_path / "a.zarr", version)
    pack = numcodecs.Zstd().encode if packed else bytes
    if version == 2:
        edit(path / "y/.zarray", compressor={"id": "zstd"} if packed else None)
    else:
        more = [{"name": "zstd", "configuration": {"level": 0, "checksum": False}}] if packed else []
        edit(path / "y/zarr.json", codecs=[{"name": "vlen-utf8"}, *more])
    chunk = path / ("y/0" if version == 2 else "y/c/0")
    good = bytes(numcodecs.VLenUTF8().encode(np.array(["a", "b"], object)))
    chunk.write_bytes(pack(good))
    assert list(xfit.open(path)["y"].values) == ["a", "b"]
    chunk.write_bytes(pack((2**32 - 1).to_bytes(4, "little") + good[4:]))
    with pytest.raises(RefusedFileError, match=r"the chunk 'y/.*claim 4.29e\+09 texts; there are 2"):
        xfit.open(path)


def test_shapes_in_json() -> None:
    about = {"zarr_format": 2, "filters": [{"id": "json2"}], "compressor": None}
    check_chunk(b'["a","b","|O",[2]]', about, 2, None)
    for text in (b'["a","|O",[1000000000]]', b'["a","|S100000000",[2]]', b'{"a": 1}', b"[" * 1000):
        with pytest.raises(ValueError, match=r"claim a shape|nested more than"):
            check_chunk(text, about, 2, None)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system with pipes that have names")
@pytest.mark.parametrize("name", ["zarr.json", "e/zarr.json", "e/c/0"])
@pytest.mark.parametrize("is_pipe", [True, False])
def test_pipes_and_devices_are_not_read(tmp_path: Path, name: str, is_pipe: bool) -> None:
    path = store(tmp_path / "a.zarr", 3)
    (path / name).unlink()
    os.mkfifo(path / name) if is_pipe else (path / name).symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=rf"{name}' is no file but a device"):
        xfit.open(path)
    if name == "zarr.json":
        for look in (info, xfit.models):
            with pytest.raises(ValueError, match=rf"{name}' is no file but a device"):
                look(path)


@pytest.mark.parametrize("name", ["zarr.json", "e/c/0"])
def test_zip_files_that_unpack_to_much(tmp_path: Path, name: str) -> None:
    path = store(tmp_path / "a.zarr", 3)
    with zipfile.ZipFile(tmp_path / "a.zarr.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for each in sorted(path.rglob("*")):
            if each.is_file():
                key = each.relative_to(path).as_posix()
                file.writestr(key, b" " * (40 << 20) if key == name else each.read_bytes())
    with pytest.raises(RefusedFileError, match=rf"{name}.*(41943040|4.19e\+07) bytes"):
        xfit.open(tmp_path / "a.zarr.zip")


def test_json_of_files() -> None:
    assert json_of(b'{"a": [1]}') == json_of('{"a": [1]}') == {"a": [1]}
    for text in ("[" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000, 5, None, b"\xff", "1" * 2000):
        with pytest.raises(ValueError, match=r"nested more|must be text|can't decode|digits"):
            json_of(text)


@pytest.mark.parametrize("words", ["[" * 100_000, "[]", "5", '{"format": 2}', '{"format": {}}'])
def test_runs_that_say_nothing_of_themselves(tmp_path: Path, words: str) -> None:
    path = store(tmp_path / "a.zarr", 3)
    edit(path / "zarr.json", attributes={"xfit_run": words})
    for look in (info, xfit.open):
        with pytest.raises((ValueError, OSError), match=r"a\.zarr"):
            look(path)


@pytest.mark.parametrize("ending", [".zarr", ".nc", "classic.nc"])
def test_more_variables_than_are_opened_together(tmp_path: Path, ending: str) -> None:
    ds = xr.Dataset({f"a{k}": ("x", np.zeros(1)) for k in range(4)})
    path = tmp_path / f"a{ending}"
    if ending == ".zarr":
        ds.to_zarr(path, consolidated=False)
    else:
        ds.to_netcdf(path, format="NETCDF4" if ending == ".nc" else "NETCDF3_CLASSIC")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xfit.files.datasets.MOST_ARRAYS", 3)
        patch.setattr("xfit.files.hdf5_header.MOST_ARRAYS", 3)
        patch.setattr("xfit.files.netcdf3_header.MOST_ARRAYS", 3)
        with pytest.raises(RefusedFileError, match=rf"a{ending} has [45] .*; the most that are opened together are 3"):
            xfit.open(path)
    assert len(xfit.open(path)) == 4


def test_arrays_of_hdf5_that_store_more_than_they_are(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.nc", "w") as file:
        e = file.create_dataset("e", (32,), "f8", chunks=(32,), compression="gzip")
        e.make_scale("e")
        # Of which 600 times as much would be unpacked.
        e.id.write_direct_chunk((0,), os.urandom(50_000))
        file.create_dataset("c", (32,), "f8").dims[0].attach_scale(e)
    with pytest.raises(RefusedFileError, match=r"'/e' stores 5e\+04 bytes in 1 chunks of 256 bytes"):
        xfit.open(tmp_path / "a.nc")


def test_dates_that_only_objects_can_be(tmp_path: Path) -> None:
    pytest.importorskip("cftime")
    da = xr.DataArray(
        np.arange(3.0), dims="x", attrs={"units": "days since 9000-01-01", "calendar": "noleap"}, name="c"
    )
    da.to_netcdf(tmp_path / "a.nc")
    assert xfit.open(tmp_path / "a.nc").dtype == object
