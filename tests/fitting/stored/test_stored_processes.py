"""Fits into a store by processes that are killed, on object stores, by the command, of files of all kinds."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from typing import Any

import dask.array
import pytest
import xarray as xr
from zarr.storage import LocalStore, WrapperStore

import xfit
from tests.support.builders import assert_same_bits, peak_map, two_peaks
from tests.support.opened import open_result
from tests.support.optional import optional
from tests.support.paths import ROOT
from tests.support.stored_results import (
    expected,  # noqa: F401
    unmark,
)
from tests.support.stored_spectra import CHUNKS, spectra
from xfit.fitting.stored.archive import Archive
from xfit.fitting.stored.info import info

icechunk, kerchunk_hdf = optional("icechunk"), optional("kerchunk.hdf")


#: A client that fits slowly into a store, as a script.
SCRIPT = """
import sys, time
sys.path.insert(0, {root!r})
from tests.support.stored_spectra import spectra
from tests.support.builders import two_peaks
from xfit.fitting.stored import chunk_task, run
plain = chunk_task.do_chunk

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
    counted: list[Any] = []
    stored.fit.multifit(two_peaks(), resume=True, progress=counted.append, **options)
    assert counted == []
    words = subprocess.run(
        [sys.executable, "-m", "xfit.command", "info", options["store"], *(f"-o{k}={v}" for k, v in s3.items())],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
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
    fit = open_result("s3://bucket/wave-fit.zarr", storage_options=s3)
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
    spectra().rename("a").to_dataset().to_zarr(
        tmp_path / "map", encoding={"a": {"chunks": (4, 3, 60)}}, consolidated=False
    )
    da = xr.open_zarr(Slow(LocalStore(tmp_path / "map")), consolidated=False).a
    Slow.most = 0
    with dask.config.set(scheduler="synchronous"):
        fit = da.fit.multifit(two_peaks(), store=Slow(LocalStore(tmp_path / "fit")))
    assert_same_bits(fit.compute(), expected)
    # All together but for those that are compressed first.
    assert Slow.most > len(expected) // 2
