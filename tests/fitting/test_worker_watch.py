"""Runs on clusters whose workers end, stop to take calls, or do not come back: an error or a warning that
says so, and no wait for ever.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from distributed.comm import CommClosedError

import xfit
from xfit.components import Gaussian, Offset
from xfit.fitting.running import worker_watch
from xfit.fitting.running.executors import Cluster
from xfit.fitting.running.worker_watch import WorkerWatch, computed
from xfit.fitting.running.workers import ClusterError, workers_of


@pytest.mark.slow
@pytest.mark.parametrize("limit", [190, 250])
def test_workers_without_memory_for_xfit(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nanny ends them while they load it, or they are paused for ever: a sentence that says so."""
    monkeypatch.setattr(worker_watch, "_PATIENCE", 8.0)
    x = np.linspace(0, 10, 100)
    counts = np.random.default_rng(0).poisson(5 + 60 * np.exp(-((x - 4) ** 2) / 2), (6, 7, 100))
    data = xr.DataArray(counts, dims=("y", "x", "e"), coords={"e": x}).chunk(y=2)
    model = xfit.Model([Gaussian(name="g", A=100, centre=4.5, sigma=1), Offset(name="o", offset=4)])
    limits = {"distributed.worker.memory.terminate": 0.95, "distributed.comm.timeouts.connect": "10s"}
    with (
        dask.config.set(limits),
        LocalCluster(n_workers=1, threads_per_worker=1, memory_limit=f"{limit}MiB", dashboard_address=None) as cluster,
        Client(cluster),
        pytest.raises(
            ClusterError, match=r"for want of memory \((their limit is ...\.00 MiB|none is there now).*1 GiB"
        ),
    ):
        data.fit.multifit(model, store=str(tmp_path / "fit.zarr"), progress=False)


def end_process(code: int) -> None:
    """End a worker, after it has been seen."""
    time.sleep(1.0)
    os._exit(code)


@pytest.mark.slow
def test_workers_that_end_one_after_the_other_while_a_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nanny replaces each: without a count, the run would wait for ever."""
    monkeypatch.setattr(worker_watch, "_LOOK", 0.1)
    # On a busy machine a worker takes longer to begin than dask's clusters wait for it.
    patience = {"distributed.scheduler.allowed-failures": 1000, "distributed.deploy.lost-worker-timeout": "1 hour"}
    with (
        dask.config.set(patience),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        executor = Cluster(client)
        executor.watch("call", executor.submit("ends", end_process, 1))
        with pytest.raises(
            ClusterError, match="5 workers have ended while no call did, most likely for want of memory"
        ):
            executor.next()
        executor.cancel()


#: Run by every worker's process, perhaps more than once, before the worker begins: those after the first end.
ENDS_LATER = """
import os
from pathlib import Path

first = Path({first!r})
if not first.exists():
    first.write_text(str(os.getpid()))
elif first.read_text() != str(os.getpid()):
    os._exit(1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("waiting", ["next", "results", "computed"])
def test_a_cluster_that_has_given_its_workers_up(waiting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not come back within some seconds is forgotten by dask's own clusters."""
    monkeypatch.setattr(worker_watch, "_PATIENCE", 3.0)
    options = {
        "distributed.scheduler.allowed-failures": 1000,
        "distributed.deploy.lost-worker-timeout": "1s",
        "distributed.worker.preload": [ENDS_LATER.format(first=str(tmp_path / "first"))],
    }
    with (
        dask.config.set(options),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        executor = Cluster(client)
        call = executor.submit("ends", os._exit, 1)
        executor.watch("call", call)
        waits: dict[str, Callable[[], Any]] = {
            "next": executor.next,
            "results": lambda: executor.results([call]),
            "computed": lambda: computed(dask.delayed(os._exit)(1)),
        }
        with pytest.raises(ClusterError, match="no worker has been there for 3 s, and the cluster begins no other"):
            waits[waiting]()
        executor.cancel()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that the watch believes to have passed."""
    now = [0.0]
    monkeypatch.setattr(worker_watch, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def look_until(watch: WorkerWatch, clock: list[float], end: float) -> None:
    """Look every three seconds."""
    while clock[0] < end:
        clock[0] += 3.0
        watch.look()


class FewWorkers:
    """A client of a cluster with as many workers as it is told."""

    def __init__(self, cluster: Any) -> None:
        self.cluster, self.workers = cluster, dict[str, Any]()
        self.scheduler = SimpleNamespace(identity=lambda n_workers: {"workers": dict(self.workers)})

    def sync(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """What the watch asks."""
        return function(**arguments)


@pytest.mark.slow
def test_all_workers_are_seen_whenever_the_client_looks_itself() -> None:
    """Its own look at the scheduler, which `Client.scheduler_info` may return instead, has no workers in it."""
    with (
        dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}),
        LocalCluster(n_workers=6, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        assert {len(workers_of(client)) for _ in range(300)} == {6}


def test_a_cluster_that_shrinks_while_one_call_goes_on(clock: list[float]) -> None:
    """As one that adapts does at the end of a run; workers that come and go are another thing."""
    client = FewWorkers(SimpleNamespace(plan={0}, workers={}, _adaptive="grows with the work"))
    client.workers.update({f"first {k}": {"status": "running"} for k in range(20)})
    watch = WorkerWatch(client)
    look_until(watch, clock, 6.0)
    for k in range(19):
        del client.workers[f"first {k}"]
        look_until(watch, clock, clock[0] + 3.0)
    for k in range(4):
        client.workers = {f"next {k}": {"status": "running"}}
        look_until(watch, clock, clock[0] + 3.0)
    client.workers = {"last": {"status": "running"}}
    with pytest.raises(ClusterError, match="5 workers have ended while no call did"):
        look_until(watch, clock, clock[0] + 3.0)


def test_a_lost_connection_is_no_lost_worker(clock: list[float]) -> None:
    """It is the client that tells what becomes of it."""
    client = FewWorkers(None)
    client.workers.update({f"{k}": {"status": "running"} for k in range(9)})
    watch = WorkerWatch(client)
    look_until(watch, clock, 6.0)

    def lost(n_workers: int) -> Any:
        raise CommClosedError("in <TCP>: Stream is closed")

    client.scheduler.identity = lost
    look_until(watch, clock, 60.0)


@pytest.mark.parametrize(
    "cluster",
    [
        None,
        SimpleNamespace(plan={0}, workers={0: "a job that waits in its queue"}, _adaptive=None),
        SimpleNamespace(plan=set(), workers={}, _adaptive=None),
        SimpleNamespace(plan={0}, workers={}, _adaptive="grows with the work"),
    ],
    ids=["address", "queue", "not scaled yet", "adaptive"],
)
def test_clusters_that_may_get_workers_are_waited_for(cluster: Any, clock: list[float]) -> None:
    """With one warning in a run."""
    client = FewWorkers(cluster)
    watch = WorkerWatch(client)
    with pytest.warns(RuntimeWarning, match="has had no worker for 30 s; the fit goes on when one joins") as caught:
        look_until(watch, clock, 600.0)
    assert len(caught) == 1
    client.workers["a"] = {"status": "running"}
    clock[0] += 3.0
    watch.look()


def test_paused_workers(clock: list[float]) -> None:
    """Not while one of them takes calls now and then; calls that end begin the count anew."""
    client = FewWorkers(None)
    client.workers.update(a={"status": "paused", "memory_limit": 2**28}, b={"status": "running"})
    watch = WorkerWatch(client)
    for end in (27.0, 54.0, 81.0):
        client.workers["b"]["status"] = "paused"
        look_until(watch, clock, end)
        client.workers["b"]["status"] = "running"
        look_until(watch, clock, end + 3.0)
    client.workers["b"]["status"] = "paused"
    look_until(watch, clock, 111.0)
    watch.reset()
    with pytest.raises(ClusterError, match="all workers have been paused for 30 s, most likely for want of memory"):
        look_until(watch, clock, 150.0)
    assert clock[0] == 144.0
