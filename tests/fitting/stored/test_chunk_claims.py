"""Chunks that claim, or hold, more than their arrays have: refused before memory is taken; and those of every codec that are as they should be."""

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

import numcodecs
import numpy as np
import pytest
import xarray as xr

import xfit
from xfit.fitting.stored.chunk_claims import check_chunk
from xfit.fitting.stored.codecs import RefusedFileError
from xfit.fitting.stored.info import info
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
    da = xr.DataArray(np.arange(6.0).reshape(2, 3), dims=("y", "e"), coords={"e": np.arange(3.0), "y": np.array(["a", "b"], object)}, name="c")  # fmt: skip
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


def test_more_members_than_one(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr")
    edit(path / "e/.zarray", compressor={"id": "gzip"}, filters=None)
    (path / "e/0").write_bytes(b"".join(gzip.compress(bytes(800)) for _ in range(10)))
    with pytest.raises(RefusedFileError, match="gzip claim"):
        xfit.open(path)


def test_frames_of_zstd() -> None:
    about = {"zarr_format": 3, "codecs": [{"name": "bytes"}, {"name": "zstd"}]}
    # As zstd packs them: single frames of all widths of sizes, several, with a run of one byte, and one that may be skipped.
    for size in (10, 300, 70_000, 200_000):
        raw = bytes(numcodecs.Zstd().encode(os.urandom(size)))
        check_chunk(raw, about, size // 8 + 1, 8)
        with pytest.raises(ValueError, match="of zstd claim"):
            check_chunk(raw * 2000, about, size // 8 + 1, 8)
    skipped = (0x184D2A50).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    with pytest.raises(ValueError, match=r"of zstd claim 3.15e\+06"):
        check_chunk(skipped + bytes(numcodecs.Zstd().encode(MUCH)), about, 10, 8)
    # A frame that does not say how much it holds (RFC 8878, section 3.1.1.1.1): flags 0, a window, the last block is raw and of 3 bytes.
    with pytest.raises(ValueError, match="of zstd claim"):
        check_chunk(0xFD2FB528.to_bytes(4, "little") + b"\x00\x00" + (3 << 3 | 1).to_bytes(3, "little") + b"abc", about, 10, 8)  # fmt: skip


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
