"""Files that nobody knows who wrote: what they claim is checked."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xfit
from tests.support.opened import open_array
from tests.support.untrusted_files import (
    Runs,
    as_older_numcodecs,  # noqa: F401
)
from xfit.fitting.stored.codecs import RefusedFileError


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
    with pytest.raises(
        ValueError, match=r"a.fits: extension 1 claims 1.6e\+11 bytes.*5000000000.*of which the file has 2880"
    ):
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
        (
            ".fits",
            lambda: fits_of([]) + fits_of([]).replace(card("SIMPLE", "T"), card("XTENSION", "'IMAGE   '")) * 1000,
            r"or 1000 extensions",
        ),
        (".fits", lambda: fits_of([card("WCSAXES", 10**6)]), r"WCSAXES = 1000000, .*up to 99"),
        (".fits", lambda: fits_of([card("A_ORDER", 30_000)]), r"A_ORDER = 30000, .*up to 99"),
        (
            ".fits",
            lambda: fits_of([]).replace(card("NAXIS1", 2880), card("NAXIS1", "'many'")),
            r"NAXISn .*are no sizes",
        ),
        (
            ".fits.gz",
            lambda: gzip.compress(fits_of([], bytes(10**8)).replace(card("NAXIS1", 2880), card("NAXIS1", 10**8))),
            r"unpack it first \(gunzip\)",
        ),
        (
            ".fits",
            lambda: gzip.compress(fits_of([], bytes(10**8)).replace(card("NAXIS1", 2880), card("NAXIS1", 10**8))),
            r"unpack it first \(gunzip\)",
        ),
        (".fits", lambda: bz2.compress(fits_of([])), r"packed by bzip2"),
    ],
)
def test_more_of_what_fits_files_claim(tmp_path: Path, ending: str, content: Any, words: str) -> None:
    pytest.importorskip("astropy.io.fits")
    path = tmp_path / f"a{ending}"
    path.write_bytes(content())
    with pytest.raises(ValueError, match=rf"a{ending}.*{words}"):
        xfit.open(path)


def test_what_fits_files_may_have(tmp_path: Path) -> None:
    fits = pytest.importorskip("astropy.io.fits")
    path = tmp_path / "a.fits"
    # A file that is packed, whatever it is called; and one with 3,000 cards of which 1,000 are repeated, of which few
    # are said.
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
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 5.0, "CDELT1": 0.01, "CDELT2": 0.02}
    )
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
    assert (open_array(path, signal="d") == 1).all()


def test_classic_netcdf_claims(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    xr.Dataset({"d": ("x", np.ones(4))}, {"x": np.arange(4.0)}).to_netcdf(path, format="NETCDF3_CLASSIC")
    assert xfit.open(path).size == 4
    raw = path.read_bytes()
    # The dimension's name, padded to four bytes, and its length.
    path.write_bytes(
        raw.replace(b"\x00\x00\x00\x01x\x00\x00\x00\x00\x00\x00\x04", b"\x00\x00\x00\x01x\x00\x00\x00\x70\x00\x00\x00")
    )
    with pytest.raises(ValueError, match=r"a\.nc"):
        xfit.open(path)


@pytest.mark.parametrize("ending", ["nc", "fits", "npy", "hspy", "zspy", "zarr.zip"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"text of a letter\n" * 10], ids=["empty", "zeros", "letter"])
def test_what_is_no_such_file_is_named(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"letter.{ending}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"letter.{ending}"):
        xfit.open(path)
