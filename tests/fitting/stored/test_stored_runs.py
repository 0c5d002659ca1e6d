"""Fits into a store: the numbers of fits in memory, bounded, resumed, refused where something differs,
and no chunk lost to a fault.
"""

from __future__ import annotations

import errno
from typing import Any

import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import LocalStore, MemoryStore, WrapperStore

from tests.support.builders import assert_same_bits, from_source, image_map, names_of, peak_map, spot, two_peaks
from tests.support.stored_results import (
    expected,  # noqa: F401
    unmark,
)
from tests.support.stored_spectra import CHUNKS, spectra
from xfit import Model
from xfit.fitting.stored.archive import Archive
from xfit.fitting.stored.info import info
from xfit.fitting.stored.storage import StoreError


@pytest.mark.parametrize("place", ["path", "file URL", "memory URL", "memory store"])
def test_the_numbers_of_a_fit_in_memory(place, tmp_path, expected) -> None:
    store = {
        "path": tmp_path / "fit.zarr",
        "file URL": f"file://{tmp_path}/fit.zarr",
        "memory URL": "memory://stored-of-a-test",
        "memory store": MemoryStore(),
    }[place]
    fit = spectra().fit.multifit(two_peaks(), store=store, overwrite=True)
    assert fit["value"].chunks is not None
    assert list(fit) == list(expected)
    assert_same_bits(fit.compute(), expected)
    assert fit.attrs == expected.attrs
    assert fit.fit.evaluate().compute().equals(expected.fit.evaluate())


def test_all_kinds_of_data_and_options(tmp_path) -> None:
    """NumPy data, a line of spectra, images, a last chunk of one pixel, maps of starts, masks,
    all covariances, other losses.
    """
    flat = peak_map((9, 1)).isel(x=0).chunk(y=4)
    cases: dict[str, tuple[xr.DataArray, Model, dict[str, Any]]] = {
        "numpy": (peak_map((5, 4)), two_peaks(), {}),
        "line": (flat, two_peaks(), {"covariance": True}),
        "maps": (
            flat,
            two_peaks(),
            {"start": {"left.A": flat.isel({flat.dims[-1]: 0}, drop=True) * 0 + 30}, "where": flat > -5},
        ),
        "huber": (flat, two_peaks(), {"loss": "huber", "variance": 0.04}),
        "images": (image_map(("v", "u"), 5).chunk(frame=2), spot(), {}),
    }
    for name, (da, model, options) in cases.items():
        fit = da.fit.multifit(model, store=tmp_path / name, **options)
        assert_same_bits(fit.compute(), da.fit.multifit(model, **options).compute())
        again = da.fit.multifit(model, store=tmp_path / name, resume=True, **options)
        assert_same_bits(again.compute(), fit.compute())


def test_chunks_for_reading_back(tmp_path, expected) -> None:
    """By default the map of a parameter is read alone; smaller pieces when asked for; one file a
    chunk and variable either way.
    """
    store = tmp_path / "fit.zarr"
    fit = spectra().fit.multifit(two_peaks(), store=store)
    assert fit["value"].encoding["chunks"] == (4, 3, 1)
    assert sum(1 for f in (store / "value" / "c").rglob("*") if f.is_file()) == 9
    fit = spectra().fit.multifit(two_peaks(), store=store, overwrite=True, zarr_chunks={"y": 2, "x": 1, "param": 7})
    assert fit["value"].encoding["chunks"][:2] == (2, 1)
    assert fit["status"].encoding["chunks"] == (2, 1)
    assert_same_bits(fit.compute(), expected)


def test_resume_does_what_is_missing_and_no_more(tmp_path, expected) -> None:
    store = tmp_path / "fit.zarr"
    spectra().fit.multifit(two_peaks(), store=store)
    unmark(store, range(3, 6))
    # What was not marked may be half written.
    zarr.open_array(LocalStore(store), path="value", mode="r+")[4:8] = -1.0
    lazy, source = from_source(peak_map((10, 8)), CHUNKS)
    lazy.attrs["units"] = "counts"
    done = []
    fit = lazy.fit.multifit(two_peaks(), store=store, resume=True, progress=lambda s: done.append(s.chunks_done))
    assert done == [7, 8, 9]
    # Three for the fingerprint of the content, three that are fitted.
    assert len(source.reads) == 6
    assert_same_bits(fit.compute(), expected)


def test_a_mark_that_was_not_written_to_its_end(tmp_path, expected) -> None:
    """What a process that is killed leaves of a file, under a name of its own, is no mark."""
    store = tmp_path / "fit.zarr"
    spectra().fit.multifit(two_peaks(), store=store)
    mark = store / "marks" / "done" / "c" / "4" / "0"
    mark.rename(mark.with_name("0.3f2a.partial"))
    assert Archive(store).done() == {*range(9)} - {4}
    done = []
    fit = spectra().fit.multifit(two_peaks(), store=store, resume=True, progress=lambda s: done.append(s.chunks_done))
    assert done == [9]
    assert_same_bits(fit.compute(), expected)


def test_runs_that_differ_are_refused(tmp_path) -> None:
    """By what differs; and nothing of what is there is touched."""
    store, da = tmp_path / "fit.zarr", spectra()
    da.fit.multifit(two_peaks(), store=store, variance=0.04)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    changed = da.copy(data=da.data + 1)
    moved = da.assign_coords({da.dims[-1]: da[da.dims[-1]] + 1})
    wide = two_peaks(**{"left.A": 31.0})
    for other, model, options, words in (
        (changed, two_peaks(), {}, "content of data"),
        (moved, two_peaks(), {}, "coordinates"),
        (da.astype("f4"), two_peaks(), {}, "dtype .stored 'float64', given 'float32'"),
        (da.chunk(y=5), two_peaks(), {}, "chunks: y"),
        (da.isel(y=slice(8)), two_peaks(), {}, "shape: y .stored 10, given 8."),
        (da, wide, {}, "model"),
        (da, two_peaks(), {"loss": "huber"}, "options: loss: name .stored 'ls', given 'huber'."),
        (da, two_peaks(), {"variance": 0.05}, "variance .stored 0.04, given 0.05."),
        (da, two_peaks(), {"max_nfev": 9}, "max_nfev"),
        (da, two_peaks(), {"bounded": False}, "lower|upper|bounded"),
        (da, two_peaks(), {"zarr_chunks": {"y": 2}}, "layout: y"),
        (da, two_peaks(), {"path": "serpentine"}, "path .stored 'independent', given 'serpentine'."),
    ):
        with pytest.raises(ValueError, match=words):
            other.fit.multifit(model, store=store, resume=True, **{"variance": 0.04, **options})
    with pytest.raises(FileExistsError, match="resume=True to go on with it, or overwrite=True"):
        da.fit.multifit(two_peaks(), store=store)
    with pytest.raises(ValueError, match="give one of them"):
        da.fit.multifit(two_peaks(), store=store, resume=True, overwrite=True)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_what_is_no_result_is_never_removed(tmp_path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="no result of xfit"):
        spectra().fit.multifit(two_peaks(), store=tmp_path, overwrite=True)
    spectra().fit.multifit(two_peaks()).to_zarr(tmp_path / "mine.zarr", consolidated=False)
    with pytest.raises(FileExistsError, match="no result of xfit"):
        spectra().fit.multifit(two_peaks(), store=tmp_path / "mine.zarr", overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"resume": True}, ValueError, "resume= are of fits with store="),
        ({"progress": True}, ValueError, "progress= are of fits with store="),
        ({"store": "x", "storage_options": {"key": "k"}}, TypeError, "storage_options go with a URL"),
        ({"store": "x", "zarr_chunks": {"z": 1}}, ValueError, "no dimension 'z'"),
        ({"store": "x", "zarr_chunks": {"y": 3}}, ValueError, "must divide that of the run's chunks, 4"),
        ({"store": "x", "progress": 3}, TypeError, "progress=3"),
    ],
)
def test_refused_before_any_work(options, error, words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        spectra().fit.multifit(two_peaks(), **options)
    assert list(tmp_path.iterdir()) == []


def test_a_single_spectrum_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="store= is for maps"):
        peak_map((2, 2))[0, 0].fit(two_peaks(), store=tmp_path / "fit.zarr")


def test_chunks_of_unequal_size_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"along 'y' they are \(3, 5, 2\).*da.chunk\(\{'y': 5\}\)"):
        peak_map((10, 8)).chunk(y=(3, 5, 2)).fit.multifit(two_peaks(), store=tmp_path / "fit.zarr")


def broken(da: xr.DataArray, at: int) -> tuple[xr.DataArray, list[int]]:
    """Data one chunk of which can't be read while the list is not empty."""
    faults = [1]

    def read(block: np.ndarray, block_info=None) -> np.ndarray:
        if faults and block_info[0]["chunk-location"][:2] == (at, 0):
            raise OSError("the disk says no")
        return block

    return da.copy(data=da.data.map_blocks(read, dtype=da.dtype, meta=np.empty((0, 0, 0)))), faults


def test_a_chunk_that_cannot_be_read(tmp_path, expected, monkeypatch) -> None:
    """The run is finished, the chunk says why, and the next run tries it again."""
    from xfit.fitting.stored import chunk_task as work

    monkeypatch.setattr(work, "_AGAIN", (0.0, 0.0))
    store = tmp_path / "fit.zarr"
    # The second row of chunks: not among those that the fingerprint reads.
    da, faults = broken(peak_map((10, 8)).chunk(y=2, x=8), 1)
    snapshots: list[Any] = []
    fit = da.fit.multifit(two_peaks(), store=store, progress=snapshots.append)
    assert snapshots[-1].unread == 1
    assert {names_of(fit, int(s)) for s in fit.status.values[2:4].ravel()} == {"read_error"}
    assert (fit.status.values[:2] == 1).all()
    found = info(store)
    assert (found.done, found.total) == (4, 5)
    assert found.unread == {1: "OSError: the disk says no"}
    faults.clear()
    done = []
    fit = da.fit.multifit(two_peaks(), store=store, resume=True, progress=lambda s: done.append(s.chunks_done))
    assert done == [5]
    assert_same_bits(fit.compute(), expected)
    assert info(store).unread == {}


def test_a_corrupted_chunk(tmp_path, monkeypatch) -> None:
    """A checksum that is wrong: that chunk says so, the others are fitted."""
    from xfit.fitting.stored import chunk_task as work

    monkeypatch.setattr(work, "_AGAIN", (0.0, 0.0))
    path = tmp_path / "map.zarr"
    da = peak_map((10, 4))
    encoding = {"a": {"chunks": (2, 4, da.shape[2]), "compressors": [zarr.codecs.Crc32cCodec()]}}
    da.rename("a").to_dataset().to_zarr(path, encoding=encoding, consolidated=False)
    chunk = path / "a" / "c" / "1" / "0" / "0"
    raw = bytearray(chunk.read_bytes())
    raw[100] ^= 255
    chunk.write_bytes(raw)
    fit = xr.open_zarr(path, consolidated=False).a.fit.multifit(two_peaks(), store=tmp_path / "fit.zarr")
    assert (fit.status.values[2:4] == 14).all()
    assert (np.delete(fit.status.values, [2, 3], axis=0) == 1).all()
    assert "checksum" in info(tmp_path / "fit.zarr").unread[1]


class Full(WrapperStore):
    """A store on a disk that is full after so many writes of numbers."""

    left = 60

    async def set(self, key, value) -> None:
        """Refuse numbers when there is no room; descriptions of arrays are small."""
        if "/c/" in key:
            Full.left -= 1
            if Full.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device", key)
        await super().set(key, value)


def test_a_full_disk(tmp_path, expected, monkeypatch) -> None:
    """An error that names the chunk; what is done stays, and the next run goes on."""
    store = tmp_path / "fit.zarr"
    with pytest.raises(
        StoreError, match=r"chunk \d+ \(y \d:\d+, x \d:\d\) could not be written.*No space left.*resume=True"
    ):
        spectra().fit.multifit(two_peaks(), store=Full(LocalStore(store)))
    done = info(store).done
    assert 1 <= done < 9
    begun = []
    fit = spectra().fit.multifit(two_peaks(), store=store, resume=True, progress=lambda s: begun.append(s.chunks_done))
    assert begun[0] == done + 1
    assert_same_bits(fit.compute(), expected)


def test_few_chunks_are_under_way_at_a_time(tmp_path) -> None:
    """However many there are: the scheduler never knows of more than four for each thread."""
    da = peak_map((40, 5)).chunk(y=1, x=5)
    seen = []
    with dask.config.set(num_workers=2):
        da.fit.multifit(
            two_peaks(), store=tmp_path / "fit.zarr", progress=lambda s: seen.append((s.in_flight, s.done, s.pixels))
        )
    assert max(flying for flying, _, _ in seen) <= 8
    assert seen[-1] == (0, 200, 200)


def test_bad_numbers(tmp_path) -> None:
    """NaN and inf: the same statuses as in memory, counted as such."""
    da = peak_map((10, 8))
    da[0] = np.nan
    da[9, 3, 5] = np.inf
    fit = da.chunk(CHUNKS).fit.multifit(two_peaks(), store=tmp_path / "fit.zarr")
    assert_same_bits(fit.compute(), da.chunk(CHUNKS).fit.multifit(two_peaks()).compute())
    found = info(tmp_path / "fit.zarr")
    assert found.hopeless == 8
    assert found.converged == 72
    assert "8 with nothing to fit" in str(found)


@pytest.mark.filterwarnings("ignore:coordinate 'sample name':xarray.SerializationWarning")
def test_coordinates_with_a_blank_in_their_name(tmp_path) -> None:
    da = spectra().assign_coords({"sample name": ("y", [f"s{k}" for k in range(spectra().sizes["y"])])})
    stored = da.fit.multifit(two_peaks(), store=tmp_path / "fit.zarr").compute()
    expected = da.fit.multifit(two_peaks()).compute()
    xr.testing.assert_identical(stored["sample name"], expected["sample name"])
    assert set(stored.coords) == set(expected.coords)
