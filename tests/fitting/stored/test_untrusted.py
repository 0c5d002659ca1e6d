"""Files that nobody knows who wrote: nothing in them runs, and what they claim is checked before it is believed."""

from __future__ import annotations

import bz2
import gzip
import json
import pickle
import time
import warnings
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import xarray as xr
import zarr

import xfit
from tests.support.builders import peak_map, two_peaks
from xfit import display
from xfit.components import Gaussian, Offset, ScalableFixedPattern
from xfit.fitting.stored.check import check as check_store
from xfit.fitting.stored.codecs import MOST_CHUNKS, RefusedFileError, checked
from xfit.fitting.stored.info import info
from xfit.fitting.stored.storage import StoreError
from xfit.modeling.model import Model
from xfit.modeling.serialization import ModelFormatError
from xfit.modeling.text_limits import check_json, check_toml
from xfit.plot.open_stored import open_fit

#: Descriptions of arrays in both formats.
V3: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [4, 8],
    "data_type": "float64",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 8]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "fill_value": 0.0,
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    "attributes": {},
    "dimension_names": ["x", "e"],
}
V2: dict[str, Any] = {
    "zarr_format": 2,
    "shape": [4, 8],
    "chunks": [2, 8],
    "dtype": "<f8",
    "order": "C",
    "fill_value": 0.0,
    "filters": None,
    "compressor": None,
}


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.fixture(autouse=True)
def as_older_numcodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numcodecs before 0.16.6 unpickles whatever it is given."""
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True)


def store_of(path: Path, about: dict[str, Any], name: str = "counts") -> Path:
    """A store with one array, by its description."""
    place = path / name
    place.mkdir(parents=True)
    if about["zarr_format"] == 3:
        (path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
        (place / "zarr.json").write_text(json.dumps(about))
    else:
        (path / ".zgroup").write_text('{"zarr_format": 2}')
        (place / ".zarray").write_text(json.dumps(about))
        (place / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["x", "e"]}')
    return path


def with_pickle(path: Path, name: str, mark: Path) -> None:
    """Store an array of a store in format 2 as a pickle, with a codec that zarr does not refuse by itself."""
    described = json.loads((path / name / ".zarray").read_text())
    shape = described["shape"]
    (path / name / ".zarray").write_text(json.dumps(described | {"compressor": {"id": "pickle"}, "chunks": shape}))
    (path / name / ".".join("0" * len(shape))).write_bytes(pickle.dumps(Runs(mark)))


@pytest.fixture(scope="module")
def result() -> xr.Dataset:
    return peak_map((2, 3)).fit.multifit(two_peaks()).compute()


OPENED = {
    "open": xfit.open,
    "view": lambda path: open_fit(str(path)),
    "the dataset": lambda path: xfit.open(path)["value"].load(),
}


@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.parametrize("way", OPENED)
def test_pickles_in_results_do_not_run(tmp_path: Path, result: xr.Dataset, way: str, consolidated: bool) -> None:
    path, mark = tmp_path / "fit.zarr", tmp_path / "ran"
    result.drop_encoding().to_zarr(path, zarr_format=2, consolidated=False)
    with_pickle(path, "param", mark)
    if consolidated:
        zarr.consolidate_metadata(path, zarr_format=2)
    with pytest.raises(RefusedFileError, match=r"fit.zarr.*'param'.*'pickle'"):
        OPENED[way](path)
    assert not mark.exists()


def test_pickles_beside_a_signal_and_in_runs_do_not_run(tmp_path: Path, result: xr.Dataset) -> None:
    mark, path = tmp_path / "ran", tmp_path / "map.zarr"
    da = peak_map((2, 3)).rename("counts")
    da.to_dataset().to_zarr(path, zarr_format=2, consolidated=False)
    kept = xfit.models(path)
    kept.store(da.fit.multifit(two_peaks()), "a")
    (model,) = (path / "xfit_models").glob("a.*")
    with_pickle(path, f"xfit_models/{model.name}/param", mark)
    with pytest.raises(RefusedFileError, match="'pickle'"):
        xfit.models(path).restore("a", check=False)
    run = tmp_path / "run.zarr"
    da.fit.multifit(two_peaks(), store=run, progress=False)
    root = json.loads((run / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"]["value"]["codecs"] = [{"name": "numcodecs.pickle"}]
    (run / "zarr.json").write_text(json.dumps(root))
    for read in (lambda: xfit.open(run), lambda: info(run)):
        with pytest.raises((RefusedFileError, StoreError), match=r"value.*'numcodecs.pickle'|zarr.json is damaged"):
            read()
    assert not mark.exists()


@pytest.mark.parametrize(
    ("about", "words"),
    [
        # Every way in which a codec can be named.
        (V2 | {"compressor": {"id": "pickle"}}, "'pickle'"),
        (V2 | {"filters": [{"id": "pickle", "protocol": 5}]}, "'pickle'"),
        (V2 | {"filters": [{"id": "delta", "dtype": "<f8"}, {"id": "of another"}]}, "'of another'"),
        (V2 | {"filters": "pickle"}, "must be a list"),
        (V3 | {"codecs": ["pickle"]}, "'pickle'"),
        (V3 | {"codecs": [{"name": "sharding_indexed", "configuration": {"chunk_shape": [1, 8], "codecs": [{"name": "unknown"}]}}]}, "'unknown'"),
        (V3 | {"codecs": [{"name": "sharding_indexed", "configuration": {"chunk_shape": [1, 8], "index_codecs": [{"name": "unknown"}]}}]}, "'unknown'"),
        (V3 | {"storage_transformers": [{"name": "unknown"}]}, "'unknown'"),
        # Python objects.
        (V2 | {"dtype": "|O"}, "Python objects"),
        (V2 | {"dtype": [["a", "|O"], ["b", "<f8"]], "filters": [{"id": "vlen-utf8"}]}, "Python objects"),
        # Figures.
        (V3 | {"shape": [10**8, 64], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 64]}}}, "1e\\+08 chunks.*100000000"),
        (V2 | {"shape": [MOST_CHUNKS + 1, 1], "chunks": [1, 1]}, f"most that are read are {MOST_CHUNKS}"),
        (V3 | {"codecs": [{"name": "sharding_indexed", "configuration": {"chunk_shape": [1, 1], "codecs": [{"name": "bytes"}]}}], "shape": [10**6, 8]}, "8e\\+06 chunks"),
        (V2 | {"chunks": [1 << 40, 8], "shape": [1 << 40, 8]}, "claims chunks of"),
        (V2 | {"shape": [1 << 62] * 30, "chunks": [1 << 62] * 30}, r"10\*\*"),
        (V3 | {"shape": [-1, 8]}, "shape must be"),
        (V3 | {"shape": [1.5, 8]}, "shape must be"),
        (V2 | {"chunks": [2]}, "chunks must be"),
        (V2 | {"chunks": None}, "chunks must be"),
        (V2 | {"dtype": "nothing"}, "no type of numbers"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("consolidated", [False, True])
def test_what_a_store_claims_is_checked(tmp_path: Path, about: dict[str, Any], words: str, consolidated: bool) -> None:
    path = store_of(tmp_path / "map.zarr", about)
    if consolidated and about["zarr_format"] == 3:
        inline = {"kind": "inline", "must_understand": False, "metadata": {"counts": about}}
        (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}, "consolidated_metadata": inline}))  # fmt: skip
    elif consolidated:
        held = {".zgroup": {"zarr_format": 2}, "counts/.zarray": about, "counts/.zattrs": {"_ARRAY_DIMENSIONS": ["x", "e"]}}  # fmt: skip
        (path / ".zmetadata").write_text(json.dumps({"zarr_consolidated_format": 1, "metadata": held}))
    with pytest.raises(RefusedFileError, match=f"map.zarr.*counts.*{words}"):
        xfit.open(path)


def test_what_is_stored_in_known_ways_is_read(tmp_path: Path) -> None:
    """Arrays of both formats, in chunks and shards, of numbers and words, packed by everything that packs."""
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    values = np.arange(32.0).reshape(4, 8)
    for k, packed in enumerate((BloscCodec(), GzipCodec(), ZstdCodec(), None)):
        for shards in (None, (4, 8)):
            group = zarr.open_group(tmp_path / f"{k}{shards}.zarr", mode="w")
            group.create_array("d", data=values, chunks=(1, 4), shards=shards, compressors=packed, dimension_names=["x", "e"])  # fmt: skip
            np.testing.assert_array_equal(xfit.open(tmp_path / f"{k}{shards}.zarr"), values)
    values = values + 1  # of format 2 xarray takes the fill value, 0, for missing
    for k, (filters, packed) in enumerate([([numcodecs.Delta("<f8")], numcodecs.Blosc()), (None, numcodecs.Zlib()), (None, numcodecs.LZMA())]):  # fmt: skip
        group = zarr.open_group(tmp_path / f"two{k}.zarr", mode="w", zarr_format=2)
        group.create_array("d", data=values, filters=filters, compressors=packed).attrs["_ARRAY_DIMENSIONS"] = ["x", "e"]  # fmt: skip
        np.testing.assert_array_equal(xfit.open(tmp_path / f"two{k}.zarr"), values)
    words = xr.DataArray([1.0, 2.0], dims="x", coords={"x": np.array(["a", "bc"], object)}, name="d")
    for format in (2, 3):
        words.to_zarr(tmp_path / f"words{format}.zarr", zarr_format=format, consolidated=False)
        assert list(xfit.open(tmp_path / f"words{format}.zarr").x.values) == ["a", "bc"]


def test_coordinates_that_nothing_is_stored_of_are_refused(tmp_path: Path) -> None:
    """They are read when a store is opened; of data, whose chunks are read when they are needed, none need be there."""
    path = store_of(tmp_path / "map.zarr", V3 | {"shape": [10**9, 8], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**6, 8]}}})  # fmt: skip
    assert xfit.open(path, chunks="file").sizes == {"x": 10**9, "e": 8}
    store_of(path.with_name("other.zarr"), V3 | {"shape": [10**9], "dimension_names": ["x"], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**6]}}}, "x")  # fmt: skip
    path.with_name("other.zarr").joinpath("x").rename(path / "x")
    with pytest.raises(RefusedFileError, match=r"coordinate 'x' claims \[1000000000\] values, 8e\+09 bytes, and 0 bytes are stored"):  # fmt: skip
        xfit.open(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", '{"a":' + "[" * 100_000, '{"a": 1' + "0" * 5000 + "}"])
@pytest.mark.parametrize("name", ["zarr.json", "counts/zarr.json"])
def test_damaged_descriptions_are_named(tmp_path: Path, name: str, text: str) -> None:
    path = store_of(tmp_path / "map.zarr", V3)
    (path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=f"map.zarr.*{name}"):
        xfit.open(path)


def test_stores_with_very_many_chunks_are_put_together(tmp_path: Path) -> None:
    """Twenty thousand chunks of one pixel: dask gets multiples of them, and the same numbers."""
    values = np.arange(20_000.0 * 2).reshape(20_000, 2)
    zarr.open_group(tmp_path / "a.zarr", mode="w").create_array("d", shape=values.shape, chunks=(1, 2), dtype=float, dimension_names=["x", "e"])  # fmt: skip
    da = xfit.open(tmp_path / "a.zarr", chunks="file")
    # At most 10,000, in whole multiples of what is read at once.
    assert da.chunksizes["x"] == (2,) * 10_000
    zarr.open_array(tmp_path / "a.zarr", path="d")[:10] = values[:10]
    np.testing.assert_array_equal(da[:10], values[:10])


def test_checked_stores_are_what_they_were(tmp_path: Path) -> None:
    store = zarr.storage.LocalStore(tmp_path)
    same = checked(store)
    assert isinstance(same, zarr.storage.LocalStore)
    assert checked(same) is same
    there = pickle.loads(pickle.dumps(same))
    assert type(there) is type(same)
    assert there.root == tmp_path
    assert type(same.with_read_only(True)) is type(same)


# --- files


def test_npy_claims(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }".ljust(117) + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(64))
    with pytest.raises(ValueError, match=r"a.npy claims a shape of \(1000000000000000,\).*8e\+15 bytes; it has 64"):
        xfit.open(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.array([Runs(tmp_path / "ran")], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"b.npy holds pickled"):
        xfit.open(tmp_path / "b.npy")
    assert not (tmp_path / "ran").exists()
    np.save(tmp_path / "c.npy", np.arange(6.0))
    np.testing.assert_array_equal(xfit.open(tmp_path / "c.npy"), np.arange(6.0))


def test_fits_claims(tmp_path: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones((4, 5)), name="SCI")]).writeto(path)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"NAXIS1  =                    5", b"NAXIS1  =           5000000000"))
    with pytest.raises(ValueError, match=r"a.fits: extension 1 claims 1.6e\+11 bytes.*5000000000.*of which the file has 2880"):  # fmt: skip
        xfit.open(path)
    path.write_bytes(whole[:-2880])
    with pytest.raises(ValueError, match=r"a.fits: extension 1 claims 160 bytes.*has 0"):
        xfit.open(path)
    table = fits.BinTableHDU.from_columns([fits.Column("WAVE", "50D", array=np.ones((6, 50)))])
    table.writeto(tmp_path / "b.fits")
    raw = (tmp_path / "b.fits").read_bytes()
    (tmp_path / "b.fits").write_bytes(raw.replace(b"NAXIS2  =                    6", b"NAXIS2  =           6000000000"))
    with pytest.raises(ValueError, match=r"b.fits: extension 1 claims 2.4e\+12 bytes"):
        xfit.open(tmp_path / "b.fits")
    (tmp_path / "b.fits").write_bytes(raw.replace(b"TFIELDS =                    1", b"TFIELDS =           6000000000"))
    with pytest.raises(ValueError, match=r"b.fits: extension 1 has TFIELDS = 6000000000, .*up to 999"):
        xfit.open(tmp_path / "b.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(np.ones((40, 50), np.int16))]).writeto(tmp_path / "c.fits.fz")
    raw = (tmp_path / "c.fits.fz").read_bytes()
    assert xfit.open(tmp_path / "c.fits.fz").shape == (40, 50)
    (tmp_path / "c.fits.fz").write_bytes(
        raw.replace(b"ZNAXIS2 =                   40", b"ZNAXIS2 =          40000000000")
    )
    with pytest.raises(ValueError, match=r"c.fits.fz: extension 1 claims 4e\+10 tiles"):
        xfit.open(tmp_path / "c.fits.fz")


def card(keyword: str, value: object) -> bytes:
    return f"{keyword:<8}= {value!s:>20}".ljust(80).encode()


def fits_of(cards: list[bytes], data: bytes = bytes(2880)) -> bytes:
    """An image of 2,880 bytes with more cards, as FITS has it."""
    first = [card("SIMPLE", "T"), card("BITPIX", 8), card("NAXIS", 1), card("NAXIS1", 2880)]
    header = b"".join([*first, *cards, b"END".ljust(80)])
    return header.ljust(-(-len(header) // 2880) * 2880) + data


@pytest.mark.parametrize(
    ("ending", "content", "words"),
    [
        (".fits", lambda: fits_of([card(f"A{k}", k) for k in range(40_000)]), r"more than 30000 cards"),
        (".fits", lambda: fits_of([]) + fits_of([]).replace(card("SIMPLE", "T"), card("XTENSION", "'IMAGE   '")) * 1000, r"or 1000 extensions"),
        (".fits", lambda: fits_of([card("WCSAXES", 10**6)]), r"WCSAXES = 1000000, .*up to 99"),
        (".fits", lambda: fits_of([card("A_ORDER", 30_000)]), r"A_ORDER = 30000, .*up to 99"),
        (".fits", lambda: fits_of([]).replace(card("NAXIS1", 2880), card("NAXIS1", "'many'")), r"NAXISn .*are no sizes"),
        (".fits.gz", lambda: gzip.compress(fits_of([], bytes(10**8)).replace(card("NAXIS1", 2880), card("NAXIS1", 10**8))), r"unpack it first \(gunzip\)"),
        (".fits", lambda: gzip.compress(fits_of([], bytes(10**8)).replace(card("NAXIS1", 2880), card("NAXIS1", 10**8))), r"unpack it first \(gunzip\)"),
        (".fits", lambda: bz2.compress(fits_of([])), r"packed by bzip2"),
    ],
)  # fmt: skip
def test_more_of_what_fits_files_claim(tmp_path: Path, ending: str, content: Any, words: str) -> None:
    pytest.importorskip("astropy.io.fits")
    path = tmp_path / f"a{ending}"
    path.write_bytes(content())
    with pytest.raises(ValueError, match=rf"a{ending}.*{words}"):
        xfit.open(path)


def test_what_fits_files_may_have(tmp_path: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    path = tmp_path / "a.fits"
    # A file that is packed, whatever it is called; and one with 3,000 cards of which 1,000 are repeated, of which few are said.
    path.write_bytes(gzip.compress(fits_of([])))
    assert xfit.open(path).shape == (2880,)
    path.write_bytes(fits_of([card(f"A{k}", k) for k in range(2000)] + [card("A7", k) for k in range(1000)]))
    with pytest.warns(UserWarning, match=r"A7 = 7 and 0; .* \.\.\.\. The first is taken") as caught:
        assert xfit.open(path).shape == (2880,)
    assert len(str(caught[0].message)) < 600
    # Units whose powers would take for ever to work out are none.
    units = ["Angstrom", "10**(99999999)m"]
    columns = [fits.Column(name, "9E", unit, array=np.ones((2, 9))) for name, unit in zip("XY", units, strict=True)]
    fits.BinTableHDU.from_columns(columns).writeto(path, overwrite=True)
    assert xfit.open(path).name == "Y"


@pytest.mark.parametrize("stored", [np.int16, np.uint16, np.uint8, np.float32])
def test_the_sky_of_large_images_is_lazy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: type) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 5.0, "CDELT1": 0.01, "CDELT2": 0.02})  # fmt: skip
    fits.CompImageHDU(np.arange(63, dtype=stored).reshape(7, 9), header).writeto(tmp_path / "a.fits")
    da = xfit.open(tmp_path / "a.fits", chunks="file")
    assert da.dtype == stored
    assert da.ra.chunks is None
    monkeypatch.setattr("xfit.files.fits._CHUNK", 4 * 9 * 8)
    lazy = xfit.open(tmp_path / "a.fits", chunks="file")
    assert lazy.ra.chunks == lazy.dec.chunks == ((4, 3), (9,))
    for name in ("ra", "dec"):
        np.testing.assert_array_equal(lazy[name], da[name])


def hdf5(path: Path) -> Any:
    h5py = pytest.importorskip("h5py")
    file = h5py.File(path, "w")
    file.attrs.update(file_format="HyperSpy", file_format_version="3.3")
    return file


def links(file: Any) -> dict[str, Any]:
    """What HDF5 files may not have, by what is said of it: a function that puts it into a file."""
    import h5py

    def external(group: Any) -> None:
        group["secret"] = h5py.ExternalLink("/etc/other.h5", "/data")

    def elsewhere(group: Any) -> None:
        group.create_dataset("secret", (8,), "u1", external=[("/etc/passwd", 0, 8)])

    def virtual(group: Any) -> None:
        layout = h5py.VirtualLayout((8,), "f8")
        layout[:] = h5py.VirtualSource("other.h5", "data", (8,))
        group.create_virtual_dataset("secret", layout)

    def hard(group: Any) -> None:
        group.create_group("inner")["outer"] = group

    def soft(group: Any) -> None:
        group["inner"] = h5py.SoftLink(group.name)

    def doubled(group: Any) -> None:
        for _ in range(20):
            inner = group.create_group("a")
            group["b"] = inner
            group = inner

    def deep(group: Any) -> None:
        for _ in range(100):
            group = group.create_group("a")

    def many(group: Any) -> None:
        group.create_dataset("secret", (10**8, 64), "f8", chunks=(1, 64))

    def long(group: Any) -> None:
        group.create_dataset("secret", (10**9,), "f8", chunks=(10**6,))

    def contiguous(group: Any) -> None:
        group.create_dataset("secret", (10**9, 10**6), "f8")

    return {
        "link to another file, '/etc/other.h5'": external,
        "lies in another file, '/etc/passwd'": elsewhere,
        "lies in another file, 'other.h5'": virtual,
        "'.*outer' is a group within itself": hard,
        "'.*inner' is a group within itself": soft,
        "more than 100000 groups": doubled,
        "nested more than 64 levels": deep,
        r"1e\+08 chunks": many,
        r"\(1000000000,\), 8e\+09 bytes, of which 0": long,
        r"8e\+15 bytes, of which 0": contiguous,
    }


@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("ending", ["hspy", "nc", "h5", "nxs"])
def test_hdf5_claims(tmp_path: Path, number: int, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "nc":
        xr.Dataset({"d": (("x", "e"), np.ones((2, 3)))}).to_netcdf(path)
    else:
        xfit.save(xr.DataArray(np.ones((2, 3)), dims=("x", "e"), name="d"), path.with_suffix(".hspy"))
        path.with_suffix(".hspy").rename(path)
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "r+") as file:
        words, put = list(links(file).items())[number]
        put(file.create_group("more"))
    with pytest.raises(RefusedFileError, match=f"a.{ending}.*{words}"):
        xfit.open(path)


def test_soft_links_within_a_file_are_followed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "a.nc"
    xr.Dataset({"d": (("x", "e"), np.ones((2, 3)))}).to_netcdf(path)
    with h5py.File(path, "r+") as file:
        file["again"] = h5py.SoftLink("/d")
    assert (xfit.open(path, signal="d") == 1).all()


def test_classic_netcdf_claims(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    xr.Dataset({"d": ("x", np.ones(4))}, {"x": np.arange(4.0)}).to_netcdf(path, format="NETCDF3_CLASSIC")
    assert xfit.open(path).size == 4
    raw = path.read_bytes()
    # The dimension's name, padded to four bytes, and its length.
    path.write_bytes(raw.replace(b"\x00\x00\x00\x01x\x00\x00\x00\x00\x00\x00\x04", b"\x00\x00\x00\x01x\x00\x00\x00\x70\x00\x00\x00"))  # fmt: skip
    with pytest.raises(ValueError, match=r"a\.nc"):
        xfit.open(path)


@pytest.mark.parametrize("ending", ["nc", "fits", "npy", "hspy", "zspy", "zarr.zip"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"text of a letter\n" * 10], ids=["empty", "zeros", "letter"])
def test_what_is_no_such_file_is_named(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"letter.{ending}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"letter.{ending}"):
        xfit.open(path)


# --- models


def model_file(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


NUMBER = "1" + "0" * 400


@pytest.mark.parametrize(
    ("ending", "text", "words"),
    [
        # Keys of TOML with many dots, of which its parser takes the square: bare, quoted, in tables, within others.
        ("toml", "a" + ".a" * 20_000 + " = 1", r"line 1: a key has 20000 dots; the most that are read are 10"),
        ("toml", "a = 1\n\na" + " . a" * 20_000 + " = 1", "line 3: a key has 20000 dots"),
        ("toml", '"a.b"' + '."a"' * 20_000 + " = 1", "20000 dots"),
        ("toml", "[" + "a." * 20_000 + "a]", "20000 dots"),
        ("toml", "[[" + "a." * 20_000 + "a]]", "20000 dots"),
        ("toml", "x = {" + "a." * 20_000 + "a = 1}", "20000 dots"),
        ("toml", 'x = """a\nb"""\ny = 1 # a' + ".a" * 50 + "\na" + ".a" * 50 + " = 1", "line 4: a key has 50 dots"),
        ("toml", "x = " + "[" * 100_000, "nested more than 64 levels"),
        ("toml", "x = " + "{a = " * 100_000, "nested more than 64 levels"),
        ("json", '{"components": ' + "[" * 100_000, "nested more than 64 levels"),
        ("json", '{"components": [], "name": ' * 100_000, "nested more than 64 levels"),
        # Numbers that are none.
        ("toml", "version = 1" + "0" * 5000 + "\ncomponents = []", "line 1: a number has 5001 digits"),
        ("json", '{"version": 1' + "0" * 5000 + ', "components": []}', "line 1: a number has 5001 digits"),
        ("toml", f"version = {NUMBER[:390]}\ncomponents = []", "version a whole number of 390 digits"),
        ("json", '{"components": [{"type": "Offset", "parameters": {"offset": 1' + "0" * 390 + "}}]}", r"components\[0\].parameters.offset.*391 digits"),
        ("json", '{"components": [{"type": "Offset", "parameters": {"offset": {"max": 1' + "0" * 390 + "}}}]}", r"components\[0\].parameters.offset.max.*too large for a float"),
        ("json", '{"components": [{"type": "Offset", "parameters": {"offset": 1e400}}]}', r"components\[0\].parameters.offset.value.*finite"),
        ("json", '{"components": [{"type": "Offset", "parameters": {"offset": NaN}}]}', "NaN is no number of JSON"),
        ("json", '{"components": [{"type": "Offset", "parameters": {"offset": {"max": Infinity}}}]}', "Infinity is no number"),
        ("toml", '[[components]]\ntype = "Offset"\n[components.parameters]\noffset = nan', r"components\[0\].parameters.offset.value.*finite"),
        ("json", '{"components": [{"type": "ScalableFixedPattern", "options": {"pattern": {"coordinate": [0, 1, 1' + "0" * 380 + '], "values": [1, 2, 3]}}}]}', r"components\[0\].*coordinate\[2\] must be a finite number, not a whole number of 381 digits"),
        ("json", '{"components": [{"type": "Gaussian"}], "response": {"dim": "e", "coordinate": [0], "values": [1' + "0" * 380 + "]}}", r"response: values\[0\].*381 digits"),
        ("toml", '[response]\ndim = "e"\ncoordinate = [0.0]\nvalues = [nan]\n[[components]]\ntype = "Gaussian"', r"response: values\[0\].*finite"),
        # Names and lists.
        ("json", json.dumps({"components": [{"type": "Offset", "name": "a" * 10_000}]}), r"components\[0\]: a component's name has 10000 letters.*most are 200"),
        ("json", json.dumps({"components": [], "name": "a" * 10_000}), "a model's name has 10000 letters"),
        ("json", json.dumps({"components": [{"type": "Expression", "options": {"expression": "a" * 3000 + "*x"}}]}), r"components\[0\].*3000 letters"),
        ("json", json.dumps({"components": [{"type": "Offset", "parameters": {"offset": {"units": "a" * 10_000}}}]}), "units has 10000 letters"),
        ("json", json.dumps({"components": [{"type": "Offset"}] * 2001}), "components has 2001 entries; a model has at most 2000"),
        ("json", json.dumps({"components": [{"type": "a" * 100_000}]}), r"components\[0\].type: unknown component 'a{1,60}\.\.\.a*'"),
        ("json", json.dumps({"components": [], **{f"a{k}": 1 for k in range(10_000)}}), "unknown"),
        ("json", json.dumps({"components": "a" * (33 << 20)}), "bytes, and a model in .json has at most 33554432"),
        ("toml", "# " + "a" * (2 << 20), "bytes, and a model in .toml has at most 1048576"),
    ],
)  # fmt: skip
def test_what_a_model_file_claims_is_checked(tmp_path: Path, ending: str, text: str, words: str) -> None:
    path = model_file(tmp_path / f"model.{ending}", text)
    with pytest.raises(ModelFormatError, match=f"^model.{ending}: .*{words}") as refused:
        Model.from_file(path)
    # A message, not the file.
    assert len(str(refused.value)) < 2000


@pytest.mark.parametrize(
    "text",
    ["d = 0x" + "f" * 2_000_000, "d = [" + ("1" * 999 + "f,") * 2000 + "]", "a" * 2_000_000, '"' + "a" * 20_000_000],
)
def test_limits_of_texts_cost_as_much_as_their_letters(text: str) -> None:
    # Where every letter was begun at anew, these took from minutes to hours; the limit is far from both.
    began = time.process_time()
    for check in (check_json, check_toml):
        check(text)
    assert time.process_time() - began < 10


def test_dots_and_digits_within_strings_and_comments_are_text(tmp_path: Path) -> None:
    text = f"# a{'.a' * 50}\nname = \"a{'.a' * 50}\"\n[[components]]\ntype = 'Offset'\nname = '{'1' * 150}'\nparameters.offset.value = 1.5\n"
    model = Model.from_file(model_file(tmp_path / "m.toml", text))
    assert model.name == "a" + ".a" * 50
    assert model[0].offset.value == 1.5


def test_names_have_a_length() -> None:
    with pytest.raises(ValueError, match=r"10000 letters.*most are 200"):
        Gaussian(name="a" * 10_000)
    long = Gaussian(name="a" * 200)
    with pytest.raises(ValueError, match="201 letters"):
        long.name = "a" * 201
    assert long.name == "a" * 200
    with pytest.raises(ValueError, match="units has 201"):
        long.A.units = "a" * 201
    with pytest.raises(ValueError, match="model's name has 201"):
        Model(name="a" * 201)
    # A name that is taken gets a number, and remains one.
    model = Model([long, Gaussian(name="a" * 200)])
    assert [len(each.name) for each in model] == [200, 200]
    assert model[1].name == "a" * 198 + "_0"
    with pytest.raises(ValueError, match="at most 2000 components, not 2002"):
        model.extend([Offset() for _ in range(2000)])
    assert len(model) == 2


def test_long_names_cost_a_table_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shortened is measured letter by letter: counted, since a time would depend on the machine."""
    measured = []
    plain = display._fitting
    monkeypatch.setattr(display, "_fitting", lambda text, width: measured.append(len(text)) or plain(text, width))
    names = ["a" * 9000 + str(k) for k in range(3)]
    display.text_table(["name", "value"], [[name, "1.0"] for name in names], width=80)
    # Some ten for each of 300 widths, of nine thousand without a limit.
    assert len(measured) < 20_000


def test_a_model_that_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    x = np.linspace(0.0, 1.0, 60_000)
    pattern = xr.DataArray(np.random.default_rng(0).normal(size=x.size), dims="x", coords={"x": x})
    model = Model([ScalableFixedPattern(pattern)])
    with pytest.raises(ValueError, match=r"m\.toml could not be read back"):
        model.to_file(tmp_path / "m.toml")
    assert not (tmp_path / "m.toml").exists()
    model.to_file(tmp_path / "m.json")
    assert Model.from_file(tmp_path / "m.json") == model


def test_a_result_for_data_is_refused_in_words(tmp_path: Path, result: xr.Dataset) -> None:
    """Its chunks are the file's already."""
    from xfit.files.cli_choices import arrays_in

    xfit.save(result, tmp_path / "fit.zarr")
    assert xfit.open(tmp_path / "fit.zarr", chunks="file").identical(xfit.open(tmp_path / "fit.zarr"))
    with pytest.raises(ValueError, match=r"fit\.zarr holds the result of a fit, not data"):
        arrays_in(str(tmp_path / "fit.zarr"), chunks="file")


@pytest.mark.parametrize(
    "kind", ["truncated", "empty", "flipped", "no JSON", "no object", "no entries", "another format"]
)
@pytest.mark.parametrize("name", ["zarr.json", ".zgroup", ".zattrs"])
def test_damaged_groups_of_data_are_named(tmp_path: Path, name: str, kind: str) -> None:
    da = xr.DataArray(np.ones((4, 8)), dims=("y", "e"), name="counts", attrs={"a": 1})
    store = tmp_path / "map.zarr"
    da.to_dataset().assign_attrs(a=1).to_zarr(store, zarr_format=3 if name == "zarr.json" else 2, consolidated=False)
    raw = (store / name).read_bytes()
    other = {"truncated": raw[: len(raw) // 2], "empty": b"", "flipped": bytes([raw[0] ^ 0x80]) + raw[1:], "no JSON": b"\0", "no object": b"[]", "no entries": b"{}",
             "another format": b'{"zarr_format": 1, "node_type": "group"}'}[kind]  # fmt: skip
    (store / name).write_bytes(other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if name == ".zattrs" and kind in ("no entries", "another format"):
            assert xfit.open(store).shape == (4, 8)  # attributes may be any
            return
        with pytest.raises(ValueError, match="damaged") as caught:
            xfit.open(store)
    assert str(store) in str(caught.value)
    assert f" {name} " in str(caught.value)


def test_what_killed_writers_left_is_no_part_of_a_store(tmp_path: Path, result: xr.Dataset) -> None:
    """Names as `DurableStore` and zarr's own LocalStore give them."""
    da = xr.DataArray(np.ones((4, 8)), dims=("y", "e"), name="counts", coords={"e": np.arange(8.0)}).chunk(y=2)
    da.to_dataset().to_zarr(tmp_path / "map.zarr", consolidated=False)
    model = xfit.Model([xfit.components.Offset(name="b")])
    fit = da.fit.multifit(model, store=tmp_path / "fit.zarr", progress=False)
    models = xfit.models(tmp_path / "map.zarr")
    models.store(fit, "a")
    xfit.save(fit.compute(), tmp_path / "saved.zarr")
    left = [f"{stem}.{16 * 'ab'}.partial" for stem in ("zarr.json", "zarr")]
    for store in ("map.zarr", "fit.zarr", "saved.zarr"):
        folders = [each.parent for each in (tmp_path / store).rglob("zarr.json")]
        for each in (folder / name for folder in folders for name in left):
            each.write_bytes(b"{")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(xfit.open(tmp_path / "map.zarr"), da)
        for name in ("fit.zarr", "saved.zarr"):
            xr.testing.assert_equal(xfit.open(tmp_path / name).compute(), fit.compute())
            open_fit(str(tmp_path / name))
        assert list(xfit.models(tmp_path / "map.zarr")) == ["a"]
        xr.testing.assert_equal(xfit.models(tmp_path / "map.zarr").restore("a").compute(), fit.compute())
        assert info(tmp_path / "fit.zarr").done == 2
        assert check_store(tmp_path / "fit.zarr") == []
        for how in ({"resume": True}, {"overwrite": True}):
            da.fit.multifit(model, store=tmp_path / "fit.zarr", progress=False, **how)
            assert list((tmp_path / "fit.zarr").rglob("*.partial")) == []
            (tmp_path / "fit.zarr" / left[0]).write_bytes(b"{")
