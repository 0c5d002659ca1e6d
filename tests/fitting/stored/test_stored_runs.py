"""Fits into a store: the numbers of fits in memory, bounded, resumed, refused where something differs, and no chunk lost to a fault."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import dask.array
import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.storage import LocalStore, MemoryStore, WrapperStore

import xfit
from tests.support.builders import assert_same_bits, from_source, image_map, names_of, peak_map, spot, two_peaks
from tests.support.optional import optional
from tests.support.paths import ROOT
from tests.support.stored_spectra import CHUNKS, spectra
from xfit.fitting.stored.archive import Archive
from xfit.fitting.stored.chunk_task import StoreError
from xfit.fitting.stored.info import info

icechunk, kerchunk_hdf = optional("icechunk"), optional("kerchunk.hdf")


@pytest.fixture(scope="module")
def expected() -> xr.Dataset:
    return spectra().fit.multifit(two_peaks()).compute()


def unmark(store: Path, chunks: range) -> None:
    """Take marks away, as if the run had been killed before it wrote them."""
    for chunk in chunks:
        shutil.rmtree(store / "marks" / "done" / "c" / str(chunk))


@pytest.mark.parametrize("place", ["path", "file URL", "memory URL", "memory store"])
def test_the_numbers_of_a_fit_in_memory(place, tmp_path, expected) -> None:
    store = {"path": tmp_path / "fit.zarr", "file URL": f"file://{tmp_path}/fit.zarr", "memory URL": "memory://stored-of-a-test",
             "memory store": MemoryStore()}[place]  # fmt: skip
    fit = spectra().fit.multifit(two_peaks(), store=store, overwrite=True)
    assert fit["value"].chunks is not None
    assert list(fit) == list(expected)
    assert_same_bits(fit.compute(), expected)
    assert fit.attrs == expected.attrs
    assert fit.fit.evaluate().compute().equals(expected.fit.evaluate())


def test_all_kinds_of_data_and_options(tmp_path) -> None:
    """NumPy data, a line of spectra, images, a last chunk of one pixel, maps of starts, masks, all covariances, other losses."""
    flat = peak_map((9, 1)).isel(x=0).chunk(y=4)
    cases = {
        "numpy": (peak_map((5, 4)), two_peaks(), {}),
        "line": (flat, two_peaks(), {"covariance": True}),
        "maps": (flat, two_peaks(), {"start": {"left.A": flat.isel({flat.dims[-1]: 0}, drop=True) * 0 + 30}, "where": flat > -5}),
        "huber": (flat, two_peaks(), {"loss": "huber", "variance": 0.04}),
        "images": (image_map(("v", "u"), 5).chunk(frame=2), spot(), {}),
    }  # fmt: skip
    for name, (da, model, options) in cases.items():
        fit = da.fit.multifit(model, store=tmp_path / name, **options)
        assert_same_bits(fit.compute(), da.fit.multifit(model, **options).compute())
        again = da.fit.multifit(model, store=tmp_path / name, resume=True, **options)
        assert_same_bits(again.compute(), fit.compute())


def test_chunks_for_reading_back(tmp_path, expected) -> None:
    """By default the map of a parameter is read alone; smaller pieces when asked for; one file a chunk and variable either way."""
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
        (changed, two_peaks(), {}, "content of data"), (moved, two_peaks(), {}, "coordinates"), (da.astype("f4"), two_peaks(), {}, "dtype .stored 'float64', given 'float32'"),
        (da.chunk(y=5), two_peaks(), {}, "chunks: y"), (da.isel(y=slice(8)), two_peaks(), {}, "shape: y .stored 10, given 8."),
        (da, wide, {}, "model"), (da, two_peaks(), {"loss": "huber"}, "options: loss: name .stored 'ls', given 'huber'."),
        (da, two_peaks(), {"variance": 0.05}, "variance .stored 0.04, given 0.05."), (da, two_peaks(), {"max_nfev": 9}, "max_nfev"),
        (da, two_peaks(), {"bounded": False}, "lower|upper|bounded"), (da, two_peaks(), {"zarr_chunks": {"y": 2}}, "layout: y"),
        (da, two_peaks(), {"path": "serpentine"}, "path .stored 'independent', given 'serpentine'."),
    ):  # fmt: skip
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


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"resume": True}, ValueError, "resume= are of fits with store="),
    ({"progress": True}, ValueError, "progress= are of fits with store="),
    ({"store": "x", "storage_options": {"key": "k"}}, TypeError, "storage_options go with a URL"),
    ({"store": "x", "zarr_chunks": {"z": 1}}, ValueError, "no dimension 'z'"),
    ({"store": "x", "zarr_chunks": {"y": 3}}, ValueError, "must divide that of the run's chunks, 4"),
    ({"store": "x", "progress": 3}, TypeError, "progress=3"),
])  # fmt: skip
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
    snapshots = []
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


#: A client that fits slowly into a store, as a script.
SCRIPT = """
import sys, time
sys.path.insert(0, {root!r})
from tests.support.stored_spectra import spectra
from tests.support.builders import two_peaks
from xfit.fitting.stored import run, work
plain = work.do_chunk

def slow(*arguments):
    time.sleep(0.1)
    return plain(*arguments)

run.do_chunk = slow
if __name__ == "__main__":
    spectra().fit.multifit(two_peaks(), store={store!r}, progress=False)
"""


@pytest.mark.slow
def test_a_client_that_is_killed(tmp_path, expected) -> None:
    """SIGKILL while chunks are written; what is whole stays, the rest is done by the next run."""
    store = tmp_path / "fit.zarr"
    script = tmp_path / "client.py"
    script.write_text(textwrap.dedent(SCRIPT).format(root=str(ROOT), store=str(store)))
    with subprocess.Popen([sys.executable, str(script)]) as process:
        while process.poll() is None and len(list(store.glob("marks/done/c/*/0"))) < 3:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    done = info(store).done
    assert 3 <= done < 9
    counted = []
    fit = spectra().fit.multifit(
        two_peaks(), store=store, resume=True, progress=lambda s: counted.append(s.chunks_done)
    )
    assert counted == list(range(done + 1, 10))
    assert_same_bits(fit.compute(), expected)


@pytest.mark.slow
def test_worker_processes_one_of_which_is_killed(tmp_path, expected) -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        with pytest.raises(ValueError, match="memory of this process"):
            spectra().fit.multifit(two_peaks(), store="memory://not-shared")
        victim = min(client.run(os.getpid).values())

        def kill(snapshot) -> None:
            if snapshot.chunks_done == 2:
                os.kill(victim, signal.SIGKILL)

        fit = spectra().fit.multifit(two_peaks(), store=tmp_path / "fit.zarr", progress=kill)
        assert_same_bits(fit.compute(), expected)
        assert info(tmp_path / "fit.zarr").done == 9
        on_cluster = client.persist(spectra())
        assert_same_bits(on_cluster.fit.multifit(two_peaks(), store=tmp_path / "other.zarr").compute(), expected)


@pytest.mark.slow
def test_an_object_store(s3, expected) -> None:
    da = spectra()
    da.rename("counts").to_dataset().to_zarr("s3://bucket/map.zarr", storage_options=s3, consolidated=False)
    stored = xr.open_zarr("s3://bucket/map.zarr", storage_options=s3, consolidated=False).counts
    options = {"store": "s3://bucket/fits/fit.zarr", "storage_options": s3}
    fit = stored.fit.multifit(two_peaks(), **options)
    assert_same_bits(fit.compute(), expected)
    archive = Archive(options["store"], s3)
    assert archive.done() == set(range(9))
    with pytest.raises(FileExistsError):
        stored.fit.multifit(two_peaks(), **options)
    counted = []
    stored.fit.multifit(two_peaks(), resume=True, progress=counted.append, **options)
    assert counted == []
    words = subprocess.run(
        [sys.executable, "-m", "xfit.command", "info", options["store"], *(f"-o{k}={v}" for k, v in s3.items())], capture_output=True, text=True, check=True
    ).stdout  # fmt: skip
    assert "9 of 9 done: complete" in words


@pytest.mark.slow
def test_samfire_and_models_in_an_object_store(s3) -> None:
    """The command line fits from seeds, bucket to bucket; the result is kept beside its signal."""
    from click.testing import CliRunner

    from xfit.command import main

    da = spectra()
    da.rename("counts").to_dataset().to_zarr("s3://bucket/wave.zarr", storage_options=s3, consolidated=False)
    with tempfile.TemporaryDirectory() as folder:
        two_peaks().to_file(f"{folder}/model.toml")
        words = [
            "s3://bucket/wave.zarr",
            "--model",
            f"{folder}/model.toml",
            "--out",
            "s3://bucket/wave-fit.zarr",
            "--variance",
            "0.04",
        ]
        done = CliRunner().invoke(
            main, ["fit", *words, "--samfire", "--seed", "2,2", *(w for k, v in s3.items() for w in ("-o", f"{k}={v}"))]
        )
    assert done.exit_code == 0, done.output
    fit = xfit.open("s3://bucket/wave-fit.zarr", storage_options=s3)
    assert_same_bits(fit.compute(), da.fit.samfire(two_peaks(), seeds=[(2, 2)], variance=0.04).compute())
    kept = xfit.models("s3://bucket/wave.zarr", storage_options=s3)
    kept.store(fit, "wave")
    assert_same_bits(kept.restore("wave").compute(), fit.compute())
    kept.remove("wave")
    assert list(xfit.models("s3://bucket/wave.zarr", storage_options=s3)) == []


def test_the_command_line(tmp_path) -> None:
    from click.testing import CliRunner

    from xfit.command import main

    store = tmp_path / "fit.zarr"
    spectra().fit.multifit(two_peaks(), store=store)
    unmark(store, range(2))
    run = CliRunner().invoke(main, ["info", str(store)])
    assert run.exit_code == 0
    assert "7 of 9 done" in run.output
    assert "left, right" in run.output
    absent = CliRunner().invoke(main, ["info", str(tmp_path / "nothing")])
    assert absent.exit_code == 1
    assert "there is no store" in absent.output
    assert CliRunner().invoke(main, ["info", str(store), "-o", "x"]).exit_code == 2
    assert "Levenberg" in CliRunner().invoke(main, ["optimizers"]).output
    assert xfit.__version__ in CliRunner().invoke(main, ["--version"]).output


def test_milestones_are_logged(tmp_path, caplog) -> None:
    with caplog.at_level("INFO", "xfit.fitting.stored"):
        spectra().fit.multifit(two_peaks(), store=tmp_path / "fit.zarr")
    words = [record.getMessage() for record in caplog.records]
    assert words[0].startswith("9 of 9 chunks to do")
    assert words[-1].startswith("done in")


def test_a_signal_axis_in_several_chunks(tmp_path, expected) -> None:
    da = spectra()
    with pytest.warns(UserWarning, match="chunk"):
        fit = da.chunk({da.dims[-1]: 20}).fit.multifit(two_peaks(), store=tmp_path / "fit.zarr")
    assert_same_bits(fit.compute(), expected)


@pytest.mark.parametrize("kind", ["zarr 2", "zarr 3 with shards", "consolidated", "netCDF", "kerchunk", "icechunk"])
def test_data_in_files_of_all_kinds(kind, tmp_path, expected) -> None:
    """Whatever xarray opens lazily."""
    ds = peak_map((10, 8)).rename("a").to_dataset()
    path = tmp_path / "map"
    if kind == "netCDF":
        ds.to_netcdf(path, engine="h5netcdf")
        da = xr.open_dataset(path, engine="h5netcdf", chunks=CHUNKS).a
    elif kind == "kerchunk":
        ds.to_netcdf(path, engine="h5netcdf", encoding={"a": {"chunksizes": (4, 3, 60)}})
        references = tmp_path / "references.json"
        references.write_text(json.dumps(kerchunk_hdf.SingleHdf5ToZarr(str(path)).translate()))
        da = xr.open_dataset(str(references), engine="kerchunk", chunks={}).a
    elif kind == "icechunk":
        repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(path)))
        session = repository.writable_session("main")
        ds.chunk(CHUNKS).to_zarr(session.store, consolidated=False)
        session.commit("the map")
        da = xr.open_zarr(repository.readonly_session("main").store, consolidated=False).a
    else:
        parts = {"chunks": (2, 3, 60), "shards": (4, 3, 60)} if "shards" in kind else {"chunks": (4, 3, 60)}
        consolidated = kind == "consolidated"
        ds.to_zarr(
            path, zarr_format=2 if kind != "zarr 3 with shards" else 3, consolidated=consolidated, encoding={"a": parts}
        )
        da = xr.open_zarr(path, consolidated=consolidated, chunks=CHUNKS).a
    fit = da.fit.multifit(two_peaks(), store=tmp_path / "fit.zarr")
    assert_same_bits(fit.compute(), expected)


def test_a_result_in_a_versioned_store(tmp_path, expected) -> None:
    repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "repository")))
    session = repository.writable_session("main")
    spectra().chunk(CHUNKS).fit.multifit(two_peaks(), store=session.store)
    session.commit("the fit")
    fit = xr.open_zarr(repository.readonly_session("main").store, consolidated=False)
    assert_same_bits(fit.compute(), expected)


class Slow(WrapperStore):
    """A store that keeps everyone waiting, each for another time, and counts how many wait to write at once."""

    waiting = most = 0

    async def get(self, *args, **kwargs):  # noqa: D102
        await asyncio.sleep(random.uniform(0, 0.02))
        return await super().get(*args, **kwargs)

    async def set(self, *args, **kwargs):  # noqa: D102
        Slow.waiting += 1
        Slow.most = max(Slow.most, Slow.waiting)
        await asyncio.sleep(random.uniform(0, 0.05))
        await super().set(*args, **kwargs)
        Slow.waiting -= 1


def test_slow_storage(tmp_path, expected) -> None:
    """What is slow changes nothing, and the variables of a chunk do not wait for each other."""
    spectra().rename("a").to_dataset().to_zarr(tmp_path / "map", encoding={"a": {"chunks": (4, 3, 60)}}, consolidated=False)  # fmt: skip
    da = xr.open_zarr(Slow(LocalStore(tmp_path / "map")), consolidated=False).a
    Slow.most = 0
    with dask.config.set(scheduler="synchronous"):
        fit = da.fit.multifit(two_peaks(), store=Slow(LocalStore(tmp_path / "fit")))
    assert_same_bits(fit.compute(), expected)
    # All together but for those that are compressed first.
    assert Slow.most > len(expected) // 2
