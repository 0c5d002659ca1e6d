"""Fits into a store on clusters: scheduler and workers as processes of their own, encrypted connections, workers that
join, die or are of another version.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError
from pathlib import Path

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster, Security
from distributed.security import Security as Credentials

from tests.support.builders import assert_same_bits, peak_map, two_peaks
from xfit import Model
from xfit.components import Polynomial
from xfit.engine.codegen.versions import VersionError
from xfit.fitting.running.workers import Ready
from xfit.fitting.stored.chunk_task import do_chunk
from xfit.fitting.stored.info import info

pytestmark = pytest.mark.slow

CHUNKS = {"y": 4, "x": 3}


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> xr.DataArray:
    """The map in a file that all workers can read."""
    path = tmp_path_factory.mktemp("data") / "map.zarr"
    encoding = {"a": {"chunks": (4, 3, 60)}}
    peak_map((20, 12)).rename("a").to_dataset().to_zarr(path, encoding=encoding, consolidated=False)
    return xr.open_zarr(path, consolidated=False).a


@pytest.fixture(scope="module")
def expected(stored) -> xr.Dataset:
    return stored.fit.multifit(two_peaks()).compute()


def certificates(folder: Path) -> dict[str, str]:
    """Files of a certificate that signs itself, as options of dask's commands."""
    made = Credentials.temporary()
    files = {"ca-file": made.tls_ca_file, "cert": made.tls_scheduler_cert, "key": made.tls_scheduler_key}
    for name, content in files.items():
        (folder / f"{name}.pem").write_text(content)
    return {name: str(folder / f"{name}.pem") for name in files}


class Cluster:
    """A scheduler and workers, each a process of its own, with encrypted connections."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, certificates(folder)
        self.processes: list[subprocess.Popen] = []
        self.options = [word for name, path in self.files.items() for word in (f"--tls-{name}", path)]

    def start(self, *words: str) -> subprocess.Popen:
        """Start one of dask's commands."""
        log = (self.folder / f"log-{len(self.processes)}").open("w")
        process = subprocess.Popen([sys.executable, "-m", "dask", *words, *self.options], stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def scheduler(self, port: int = 0) -> subprocess.Popen:
        """Start a scheduler on loopback, and wait for its address."""
        where = self.folder / "scheduler.json"
        where.unlink(missing_ok=True)
        process = self.start(
            "scheduler",
            "--protocol",
            "tls",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--no-dashboard",
            "--scheduler-file",
            str(where),
        )
        while not where.exists():
            assert process.poll() is None, (self.folder / "log-0").read_text()
            time.sleep(0.05)
        return process

    def worker(self) -> subprocess.Popen:
        """Start a worker with one thread, without a nanny: this process is the worker."""
        return self.start(
            "worker",
            "--scheduler-file",
            str(self.folder / "scheduler.json"),
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--local-directory",
            str(self.folder),
        )

    def client(self) -> Client:
        """Connect."""
        f = self.files
        security = Security(
            tls_ca_file=f["ca-file"], tls_client_cert=f["cert"], tls_client_key=f["key"], require_encryption=True
        )
        return Client(scheduler_file=str(self.folder / "scheduler.json"), security=security)

    def close(self) -> None:
        """End all processes."""
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                # A worker that looks for its scheduler does not hear.
                process.kill()
                process.wait()


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    try:
        yield made
    finally:
        made.close()


def test_a_cluster_of_processes(cluster, stored, expected, tmp_path) -> None:
    """TLS; one worker is killed on the way, another joins."""
    cluster.scheduler()
    victim = cluster.worker()
    cluster.worker()
    with cluster.client() as client:
        client.wait_for_workers(2)
        assert client.scheduler.address.startswith("tls://")

        def disturb(snapshot) -> None:
            if snapshot.chunks_done == 5:
                victim.send_signal(signal.SIGKILL)
                cluster.worker()

        fit = stored.fit.multifit(two_peaks(), store=tmp_path / "fit.zarr", progress=disturb)
        assert_same_bits(fit.compute(), expected)
        assert info(tmp_path / "fit.zarr").done == 20


def test_a_scheduler_that_is_lost(cluster, stored, expected, tmp_path) -> None:
    """The run ends with an error; with another scheduler it goes on from the store."""
    store = tmp_path / "fit.zarr"
    scheduler = cluster.scheduler()
    worker = cluster.worker()

    def disturb(snapshot) -> None:
        if snapshot.chunks_done == 4:
            scheduler.send_signal(signal.SIGKILL)

    with dask.config.set({"distributed.comm.timeouts.connect": "2s"}), cluster.client() as client:
        client.wait_for_workers(1)
        # What distributed raises, and when it finds out, is its own affair.
        with pytest.raises((CancelledError, OSError, RuntimeError)):
            stored.fit.multifit(two_peaks(), store=store, progress=disturb)
    worker.kill()
    done = info(store).done
    assert 4 <= done < 20
    cluster.scheduler()
    cluster.worker()
    with cluster.client() as client:
        client.wait_for_workers(1)
        counted = []
        fit = stored.fit.multifit(
            two_peaks(), store=store, resume=True, progress=lambda s: counted.append(s.chunks_done)
        )
        assert counted[0] == done + 1
        assert_same_bits(fit.compute(), expected)


def test_workers_are_made_ready(stored, tmp_path, monkeypatch) -> None:
    """Engine and model are compiled on every worker before chunks come; another version of xfit is refused."""
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as local, Client(local) as client:
        assert not any(
            client.run(
                lambda: "lanes" in __import__("xfit.engine.block.precompile").engine.block.precompile._loaded
            ).values()
        )
        stored.fit.multifit(two_peaks(), store=tmp_path / "fit.zarr", progress=False)
        assert all(
            client.run(
                lambda: "lanes" in __import__("xfit.engine.block.precompile").engine.block.precompile._loaded
            ).values()
        )
        local.scale(2)
        client.wait_for_workers(2)
        assert (
            len(
                client.run(
                    lambda: "lanes" in __import__("xfit.engine.block.precompile").engine.block.precompile._loaded
                )
            )
            == 2
        )
        plain = Ready.__init__

        def older(self, *arguments) -> None:
            plain(self, *arguments)
            self._versions, self.name = {**self._versions, "xfit": "0.0.9"}, "older"

        monkeypatch.setattr(Ready, "__init__", older)
        with pytest.raises(
            VersionError, match=r"worker tcp\S+ has xfit .* comes from xfit 0\.0\.9; install the same versions"
        ):
            stored.fit.multifit(two_peaks(), store=tmp_path / "other.zarr", progress=False)


class Ended(Exception):
    """Raised in the client, which ends the run there."""


def test_random_kills(stored, expected, tmp_path) -> None:
    """Workers that die at random moments of runs that end and are resumed: the same bits as one that is left alone."""
    random = np.random.default_rng(3)
    store, killed = tmp_path / "fit.zarr", []
    for more in (4, 4, 20):
        # A cluster for each: whether a nanny replaces a worker that dies while it starts is not what is tested.
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
            Client(local) as client,
        ):
            victim = int(random.choice(sorted(client.run(os.getpid).values())))
            moment, seen = int(random.integers(1, 4)), 0

            def disturb(snapshot, victim=victim, moment=moment, more=more) -> None:
                nonlocal seen
                seen += 1
                if seen == moment:
                    os.kill(victim, signal.SIGKILL)
                    killed.append(victim)
                if seen >= more:
                    raise Ended

            try:
                fit = stored.fit.multifit(two_peaks(), store=store, resume=True, progress=disturb)
            except Ended:
                assert info(store).done >= more
    # The last run may find less to do than it was to be disturbed after: chunks under way end when a client does.
    assert len(killed) >= 2
    assert_same_bits(fit.compute(), expected)


def _memory() -> int:
    """Resident memory of this process at its peak, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak of a process's memory")
def test_memory_of_a_worker(tmp_path) -> None:
    """Chunks of data for each thread and one more, results, and 300 MB, however many chunks there are."""
    line = Model([Polynomial(1, name="p")])
    x = np.linspace(0, 1, 1024)
    random = dask.array.random.default_rng(0).normal(size=(96 * 6, 96, 1024), chunks=(96, 96, 1024)).astype("f4")
    made = xr.DataArray(random, dims=("y", "x", "e"), coords={"e": x}).rename("a").to_dataset()
    made.to_zarr(tmp_path / "map.zarr", consolidated=False, encoding={"a": {"compressors": None}})
    da = xr.open_zarr(tmp_path / "map.zarr", consolidated=False).a
    # What is compiled is compiled here: compiling takes more, once for each machine.
    da[:2, :2].compute().fit.multifit(line)
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        fit = da.fit.multifit(line, store=tmp_path / "fit.zarr", progress=False)
        (peak,) = client.run(_memory).values()
    chunk, results = 96 * 96 * 1024 * 4, fit.nbytes // 6
    assert peak <= 2 * chunk + 2 * results + 300e6
    # As would be if chunks were kept.
    assert 6 * chunk + 250e6 > 2 * chunk + 2 * results + 300e6


def _deadly(common, chunk, blocks):
    """Ends the worker that works on chunk 7."""
    if chunk == 7:
        os._exit(1)
    return do_chunk(common, chunk, blocks)


def test_a_chunk_that_ends_its_workers(stored, expected, tmp_path, monkeypatch) -> None:
    """As one does that is too large for their memory: an error that names it; the
    others can be done by the next run.
    """
    from xfit.fitting.stored import run

    store = tmp_path / "fit.zarr"
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        Client(local),
    ):
        monkeypatch.setattr(run, "do_chunk", _deadly)
        # dask counts a lost worker for every task that it had been given: on a busy machine another chunk may be named.
        with pytest.raises(
            run.StoredRunError, match=r"chunk \d+ \(y \d+:\d+, x \d+:\d+\) has ended \d workers.*smaller chunks"
        ):
            stored.fit.multifit(two_peaks(), store=store, progress=False)
        monkeypatch.undo()
        fit = stored.fit.multifit(two_peaks(), store=store, resume=True, progress=False)
        assert_same_bits(fit.compute(), expected)
