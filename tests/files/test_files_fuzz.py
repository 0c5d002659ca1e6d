"""Files with something changed in them at random: an answer, or an error that names the file,
soon and without much memory.

A seeded sample of 200 changes; ``XFIT_ALL=1`` makes 10,000. What is allowed is a `ValueError` (all of xfit's own errors
about files are) or an `OSError` with the file's name, which a caller can tell from a mistake in the program; anything
else, such as a KeyError of a description that lacks an entry, is none. Changes are made in what xfit reads by its own
code or believes before it calls a library; HDF5 is changed in its attributes, and arrays are added, for its library and
netCDF's end the process on many damaged trees, which is not xfit's to mend.
"""

from __future__ import annotations

import gzip
import multiprocessing
import os
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import xfit
from tests.support.builders import peak_map, two_peaks

NUMBER = 10_000 if os.environ.get("XFIT_ALL") else 200

#: Most seconds of the processor, and bytes more than before.
SECONDS, BYTES = 2.0, 200 << 20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory of a call is told by Linux"),
]


# --- samples


def classic(path: Path) -> None:
    xr.Dataset({"d": (("x", "e"), np.ones((2, 8)))}, {"e": np.arange(8.0)}).to_netcdf(path, format="NETCDF3_CLASSIC")


def fits_image(path: Path) -> None:
    from astropy.io import fits

    header = fits.Header(
        {
            "CTYPE3": "AWAV",
            "CUNIT3": "Angstrom",
            "CRVAL3": 6500.0,
            "CRPIX3": 1.0,
            "CD3_3": 1.25,
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
        }
    )
    parts = [fits.ImageHDU(np.ones((8, 3, 4)), header, "DATA"), fits.ImageHDU(np.ones((8, 3, 4)), header, "STAT")]
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(path)


def fits_packed(path: Path) -> None:
    from astropy.io import fits

    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(np.ones((40, 50), np.int16))]).writeto(path)


def fits_zipped(path: Path) -> None:
    plain = path.with_name("plain.fits")
    fits_image(plain)
    path.write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    plain.unlink()


def fits_table(path: Path) -> None:
    from astropy.io import fits

    columns = [
        fits.Column("WAVE", "20D", "Angstrom", array=np.tile(np.arange(20.0), (3, 1))),
        fits.Column("FLUX", "20E", array=np.ones((3, 20))),
        fits.Column("FIBER", "J", array=np.arange(3)),
    ]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(path)


def beside(path: Path) -> None:
    da = peak_map((2, 2)).rename("counts")
    da.to_dataset().to_zarr(path, consolidated=False)
    xfit.models(path).store(da.fit.multifit(two_peaks()), "a")


def signal() -> xr.DataArray:
    return peak_map((2, 3)).rename("iron").assign_attrs({"units": "counts", "Sample.elements": ["Fe", "O"]})


#: Files by name, with what makes them.
SAMPLES: dict[str, Callable[[Path], Any]] = {
    "three.zarr": lambda path: signal().to_dataset().to_zarr(path, consolidated=False),
    "together.zarr": lambda path: signal().to_dataset().to_zarr(path, zarr_format=2, consolidated=True),
    "run.zarr": lambda path: peak_map((2, 2)).fit.multifit(two_peaks(), store=path, progress=False),
    "beside.zarr": beside,
    "map.zspy": lambda path: xfit.save(signal(), path),
    "map.hspy": lambda path: xfit.save(signal(), path),
    "map.nc": lambda path: signal().to_dataset().to_netcdf(path),
    "classic.nc": classic,
    "image.fits": fits_image,
    "image.fits.gz": fits_zipped,
    "packed.fits.fz": fits_packed,
    "table.fits": fits_table,
    "map.npy": lambda path: np.save(path, np.ones((2, 8))),
    "model.toml": lambda path: two_peaks().to_file(path),
    "model.json": lambda path: two_peaks().to_file(path),
}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    for name, make in SAMPLES.items():
        make(folder / name)
    return folder


# --- changes

#: What numbers and words of a description become.
_WORDS = [
    "0",
    "-1",
    "1",
    "7",
    "1.5",
    "1e400",
    "NaN",
    "null",
    "true",
    '"a"',
    "[]",
    "{}",
    "2147483648",
    "99999999999",
    "9223372036854775808",
    "1" + "0" * 401,
    "1" + "0" * 5000,
    "[" * 200,
    '"' + "a" * 20_000 + '"',
]
_INTEGERS = [
    value.to_bytes(width, order)
    for width in (1, 2, 4, 8)
    for value in (0, 1, 2 ** (8 * width - 1), 2 ** (8 * width) - 1, 2 ** (8 * width - 1) - 1)
    for order in ("little", "big")
]
_TOKEN = re.compile(rb'"[^"]{0,60}"|-?\d+(?:\.\d+)?|true|false|null')

CHANGES = ("byte", "integer", "cut", "remove", "double", "word", "card", "delete")


def changed(raw: bytes, kind: str, at: float, which: int) -> bytes:
    """A file with one change."""
    place = int(at * max(len(raw) - 1, 0))
    if kind == "byte":
        return raw[:place] + bytes([which % 256]) + raw[place + 1 :]
    if kind == "integer":
        value = _INTEGERS[which % len(_INTEGERS)]
        return raw[:place] + value + raw[place + len(value) :]
    if kind == "cut":
        return raw[:place]
    if kind == "remove":
        return raw[:place] + raw[place + which % 64 :]
    if kind == "double":
        return raw[:place] + raw[place : place + which % 512] * 3 + raw[place + which % 512 :]
    if kind == "card":
        # A number in a header of FITS, where it is.
        cards = list(re.finditer(rb"(?<==) +(-?\d+)(?= )", raw[:40_000]))
        if not cards:
            return raw
        card = cards[int(at * (len(cards) - 1))]
        word = _WORDS[which % 15].encode()[:20]
        return (
            raw[: card.start()] + word.rjust(card.end() - card.start())[: card.end() - card.start()] + raw[card.end() :]
        )
    tokens = list(_TOKEN.finditer(raw))
    if kind != "word" or not tokens:
        return b""
    token = tokens[int(at * (len(tokens) - 1))]
    return raw[: token.start()] + _WORDS[which % len(_WORDS)].encode() + raw[token.end() :]


#: Attributes by which netCDF's own library finds its way; it ends the process where they lead nowhere.
_OF_NETCDF = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4", "_NCProperties")


def change_hdf5(path: Path, at: float, which: int) -> None:
    """Change an attribute, a shape or a name within an HDF5 file."""
    import h5py

    values: list[Any] = [
        0,
        -1,
        10**9,
        2**62,
        np.nan,
        np.inf,
        "",
        "a" * 20_000,
        "json:" + "[" * 5000,
        [1, 2],
        b"\xff",
        1e300,
    ]
    with h5py.File(path, "r+") as file:
        places: list[Any] = [file]
        file.visititems(lambda _, node: places.append(node))
        node = places[int(at * (len(places) - 1))]
        names = [name for name in sorted(node.attrs) if not name.startswith(_OF_NETCDF)]
        if which % 4 == 0:
            size, dtype = [2, 10**6, 10**12][which % 3], ["f8", "S100", "i4"][which % 3]
            name = node.name if path.suffix == ".hspy" and node.name != "/" else f"new{which}"
            if name in file:
                del file[name]
            if which % 8:
                file.create_dataset(name, (size,), dtype)
        elif names:
            node.attrs[names[which % len(names)]] = values[(which // 4) % len(values)]


def change(path: Path, changes: list[tuple[str, float, float, int]]) -> None:
    """Change a file, or files of a folder."""
    for kind, where, at, which in changes:
        files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        if not files:
            continue
        # Descriptions rather than numbers, of which there are more.
        described = [each for each in files if each.suffix == ".json" or each.name.startswith(".z")]
        files = described if described and which % 5 else files
        file = files[int(where * (len(files) - 1))]
        if file.suffix in (".hspy",) or file.name == "map.nc":
            change_hdf5(file, at, which)
        elif kind == "delete" and path.is_dir():
            file.unlink()
        else:
            file.write_bytes(changed(file.read_bytes(), kind, at, which))


# --- the process that reads


def read(path: Path) -> None:
    """Read a file in the way that goes with its name."""
    if path.name.startswith("model."):
        repr(xfit.Model.from_file(path))
        return
    found = xfit.open(path)
    repr(found)
    if path.name == "beside.zarr":
        kept = xfit.models(path)
        repr(kept)
        for name in kept:
            kept.restore(name, check=False)


def _memory(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+)", text)[1]) << 10  # type: ignore[index]


def _worker(pipe: Connection) -> None:
    warnings.simplefilter("ignore")
    while True:
        path = pipe.recv()
        if path is None:
            return
        # The greatest extent so far is forgotten.
        Path("/proc/self/clear_refs").write_text("5")
        began, before = time.process_time(), _memory("VmRSS")
        error: BaseException | None = None
        try:
            read(path)
        except BaseException as raised:
            error = raised
        used, more = time.process_time() - began, _memory("VmHWM") - before
        allowed = error is None or (isinstance(error, ValueError | OSError) and path.name in str(error))
        pipe.send((allowed, "" if error is None else f"{type(error).__name__}: {error}"[:500], used, more))


class Reader:
    """A process that reads files, one after the other, and is begun anew where it ended or hung."""

    def __init__(self) -> None:
        self._process: Any = None
        self.count = 0
        self.worst: list[tuple[float, int, str]] = []

    def __call__(self, path: Path) -> tuple[bool, str, float, int]:
        """Read a file; whether that ended as it may, the error's words, seconds of the
        processor and bytes more than before.
        """
        if self._process is None or not self._process.is_alive():
            context = multiprocessing.get_context("spawn")
            self._pipe, there = context.Pipe()
            self._process = context.Process(target=_worker, args=(there,), daemon=True)
            self._process.start()
            there.close()
        try:
            self._pipe.send(path)
            if not self._pipe.poll(60):
                self.close()
                return False, "no answer in a minute", 60.0, 0
            return self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            return False, f"the process ended with code {self._process.exitcode}", 0.0, 0

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


@pytest.fixture(scope="module")
def reader(samples: Path) -> Iterator[Reader]:
    found = Reader()
    # As they are, which also imports what reads them.
    for name in SAMPLES:
        allowed, words, *_ = found(samples / name)
        assert allowed, (name, words)
        assert words == "", (name, words)
    yield found
    found.close()
    print(
        f"\n{found.count} changes; most seconds, MiB: {max(each[0] for each in found.worst):.2f}, "
        f"{max(each[1] for each in found.worst) >> 20}"
    )


_change = st.tuples(st.sampled_from(CHANGES), st.floats(0, 1), st.floats(0, 1), st.integers(0, 1 << 16))


@settings(max_examples=NUMBER, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(list(SAMPLES)), changes=st.lists(_change, min_size=1, max_size=3))
def test_changed_files(samples: Path, reader: Reader, name: str, changes: list[tuple[str, float, float, int]]) -> None:
    path = samples / "changed" / name
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    source = samples / name
    if source.is_dir():
        shutil.copytree(source, path)
    else:
        shutil.copy(source, path)
    change(path, changes)
    allowed, words, seconds, more = reader(path)
    reader.count += 1
    reader.worst.append((seconds, more, words))
    log = os.environ.get("XFIT_FUZZ_LOG")
    if log:
        if reader.count % 1000 == 0:
            Path(f"{log}.count").write_text(
                f"{reader.count} {max(e[0] for e in reader.worst)} {max(e[1] for e in reader.worst) >> 20}"
            )
        # All that is wrong in one run, for who mends it.
        if not allowed or seconds > SECONDS or more > BYTES:
            with open(log, "a", encoding="utf-8") as file:
                file.write(f"{name} {seconds:.2f} s {more >> 20} MiB {words!r} {changes!r}\n")
        return
    assert allowed, words
    assert seconds <= SECONDS, (seconds, words)
    assert more <= BYTES, (more, words)
