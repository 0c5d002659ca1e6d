"""Chunks of HDF5 files that hold more than they can, or can't be unpacked: refused before memory is taken, or
told with file, array and part.
"""

from __future__ import annotations

import re
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.opened import open_array
from xfit.files.gosh import read_gos
from xfit.files.hdf5_chunks import check_packed
from xfit.fitting.stored.codecs import RefusedFileError
from xfit.fitting.stored.unread import UnreadError
from xfit.hyperspy.model_files import open_models

h5py = pytest.importorskip("h5py")

#: What is packed in a chunk of at most 64 numbers: 3 MiB in 3,000 bytes.
MUCH = zlib.compress(bytes(3 << 20))

PACKED: dict[str, Any] = {"chunks": (8, 8), "compression": "gzip", "data": np.ones((8, 8))}


@pytest.fixture(autouse=True)
def all_are_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only those that could take much memory."""
    monkeypatch.setattr("xfit.files.hdf5_chunks._LITTLE", 0)


def hspy(folder: Path, name: str, raw: bytes) -> Path:
    """A signal of 8 by 8, with a list of its metadata, of which one or the other is packed by hand."""
    path = folder / "a.hspy"
    xfit.save(xr.DataArray(np.ones((8, 8)), dims=("x", "e"), name="d"), path)
    with h5py.File(path, "r+") as file:
        group = file["Experiments/d"]
        del group["data"]
        for where, array in ((group, "data"), (group["metadata"], "_list_more"), (group["original_metadata"], "more")):
            where.create_dataset(array, **PACKED)
        group[name].id.write_direct_chunk((0, 0), raw)
    return path


def netcdf(folder: Path, name: str, raw: bytes) -> Path:
    path = folder / "a.nc"
    with h5py.File(path, "w") as file:
        for each in ("e", "x"):
            file.create_dataset(each, data=np.arange(64.0), chunks=(64,), compression="gzip").make_scale(each)
        file.create_dataset("c", data=np.ones((64, 64)), chunks=(8, 8), compression="gzip", shuffle=True)
        for k, each in enumerate("ex"):
            file["c"].dims[k].attach_scale(file[each])
        file.create_dataset("t", data=np.arange(64.0), chunks=(64,), compression="gzip").dims[0].attach_scale(file["x"])
        file["t"].attrs["units"] = "days since 2000-01-01"
        file[name].id.write_direct_chunk((8, 16) if name == "c" else (0,), raw)
    return path


def gosh(folder: Path, name: str, raw: bytes) -> Path:
    path = folder / "a.gosh"
    with h5py.File(path, "w") as file:
        file.create_group("metadata/edges_info/K").attrs.update(table="K1", occupancy_ratio=1.0)
        for each, shape in (("data", (8, 4)), ("q", (8,)), ("free_energies", (4,))):
            data = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
            file.create_dataset(f"Fe/K1/{each}", data=data, chunks=shape, compression="gzip")
        file[f"Fe/K1/{name}"].id.write_direct_chunk((0,) * file[f"Fe/K1/{name}"].ndim, raw)
    return path


WAYS: dict[str, Any] = {
    "data of .hspy": (hspy, "data", lambda path: open_array(path).load(), UnreadError),
    "metadata of .hspy": (hspy, "metadata/_list_more", xfit.open, RefusedFileError),
    "original metadata of .hspy": (
        hspy,
        "original_metadata/more",
        lambda path: xfit.open(path, original_metadata=True),
        RefusedFileError,
    ),
    "models": (hspy, "data", open_models, RefusedFileError),
    "lazy models": (hspy, "data", lambda path: open_models(path, lazy=True).data.load(), UnreadError),
    "data of netCDF": (netcdf, "c", lambda path: open_array(path, signal="c").load(), UnreadError),
    "coordinates of netCDF": (netcdf, "e", xfit.open, RefusedFileError),
    "dates of netCDF": (netcdf, "t", xfit.open, RefusedFileError),
    "oscillator strengths": (gosh, "data", lambda path: read_gos(path, "Fe_K"), RefusedFileError),
    "their q": (gosh, "q", lambda path: read_gos(path, "Fe_K"), RefusedFileError),
}


@pytest.mark.parametrize("way", WAYS)
def test_more_is_packed_than_there_can_be(tmp_path: Path, way: str) -> None:
    make, name, read, kind = WAYS[way]
    path = make(tmp_path, name, MUCH)
    with pytest.raises(
        kind,
        match=(
            rf"{re.escape(str(path))}.*{name}': the chunk at \(.*\), of {len(MUCH)} bytes, holds 1.05e\+06 bytes "
            r"or more, where there are at most 4\d+"
        ),
    ):
        read(path)


@pytest.mark.parametrize(("make", "name", "place"), [(hspy, "/Experiments/d/data", "0:8, 0:8"), (netcdf, "c", "")])
@pytest.mark.parametrize("raw", [b"damaged", zlib.compress(bytes(512))[:9]])
def test_what_cannot_be_unpacked_is_named(tmp_path: Path, make: Any, name: str, place: str, raw: bytes) -> None:
    path = make(tmp_path, name, raw)
    found = open_array(path, signal=0)
    words = (
        rf"{re.escape(str(path))}: numbers of '{name}' can't be read, in the part \[.*{place}.*what is stored of "
        r"it is damaged"
    )
    with pytest.raises(UnreadError, match=words):
        found.load()
    # Another part is read, and what is damaged is told by workers, too.
    if make is netcdf:
        assert (open_array(path, signal="c", chunks={"e": 8, "x": 8})[16:, 16:] == 1).all()
        with pytest.raises(UnreadError, match=rf"{words}"):
            open_array(path, signal="c", chunks={"e": 8, "x": 8})[:16].load()


@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF3_64BIT"])
@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf", "scipy"])
def test_what_is_whole_is_read_by_every_engine(tmp_path: Path, form: Any, engine: Any) -> None:
    if (engine == "scipy") != (form != "NETCDF4") and engine != "netcdf4":
        pytest.skip("of the other format")
    from xfit.files.datasets import netcdf as opened

    ds = xr.Dataset({"d": (("x", "e"), np.arange(32.0).reshape(4, 8), {"scale_factor": 1.0})}, {"x": [3, 1, 2, 4]})
    ds.to_netcdf(tmp_path / "a.nc", format=form)
    for chunks in (None, {"x": 2}):
        found = opened(tmp_path / "a.nc", engine=engine, chunks=chunks)
        xr.testing.assert_equal(found.sel(x=[1, 4]).load(), ds.sel(x=[1, 4]))
        assert found["d"][..., -1].values.tolist() == [7.0, 15.0, 23.0, 31.0]


def test_what_filters_may_do(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        noise = np.random.default_rng(0).random((20, 30))
        ways: tuple[dict[str, Any], ...] = (
            {"compression": "gzip", "shuffle": True, "fletcher32": True},
            {"compression": "lzf"},
            {"shuffle": True},
            {},
        )
        for k, how in enumerate(ways):
            check_packed(file.create_dataset(f"a{k}", data=noise, chunks=(7, 8), **how))
        # A chunk that is stored as it is; those that are not there; a part.
        some = file.create_dataset("some", (20, 30), "f8", chunks=(10, 10), compression="gzip")
        some.id.write_direct_chunk((0, 0), bytes(800), filter_mask=1)
        some.id.write_direct_chunk((10, 20), MUCH)
        key: tuple[Any, ...]
        for key in ((slice(0, 10),), (slice(None), slice(0, 20)), (5, [3, 25]), (slice(9, None, -1),)):
            check_packed(some, key)
        for key in ((), (slice(10, 11),), (-1, 29), (slice(None), [25]), (Ellipsis, slice(0, 1))):
            with pytest.raises(RefusedFileError, match=r"a.h5: the array '/some': the chunk at \(10, 20\), of"):
                check_packed(some, key)
        large = file.create_dataset("large", (10,), "f8", chunks=(10,), compression="gzip")
        large.id.write_direct_chunk((0,), bytes(10_000))
        with pytest.raises(RefusedFileError, match="of 10000 bytes, is larger than it can be, 4176 bytes"):
            check_packed(large)
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((10,))
        properties.set_deflate(9)
        properties.set_filter(1, 0, (9,))
        h5py.h5d.create(file.id, b"twice", h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((10,)), properties)
        with pytest.raises(RefusedFileError, match="'/twice' is packed 2 times over"):
            check_packed(file["twice"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory of a call is told by Linux")
@pytest.mark.parametrize("way", ["data of .hspy", "data of netCDF", "metadata of .hspy"])
def test_memory(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    make, name, read, kind = WAYS[way]
    # A chunk of 1 MiB with 400 MiB in it: 400 kB.
    monkeypatch.setitem(PACKED, "chunks", (8, 1 << 14))
    monkeypatch.setitem(PACKED, "data", np.ones((8, 1 << 14)))
    path = make(tmp_path, name, zlib.compress(bytes(400 << 20)))

    def peak() -> int:
        text = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", text)[1]) >> 10  # type: ignore[index]

    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    with pytest.raises(kind, match="the chunk at"):
        read(path)
    assert peak() - before < 200
