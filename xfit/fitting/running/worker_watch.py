"""Whether the workers of a cluster can still make the calls that a run waits for."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any

import dask
from dask.base import get_scheduler

from xfit.fitting.running.clients import Seceded, scheduler_here
from xfit.fitting.running.workers import ClusterError, words_of_memory, workers_of

#: Seconds between two looks while no call ends, and workers that may end until one does.
_LOOK, _LOST = 2.0, 5

#: Seconds that all workers may be paused, or a cluster that begins no other workers be without any, before a run is
#: given up; then also a warning that there is none on other clusters.
_PATIENCE = 30.0


class WorkerWatch:
    """Looks at a cluster's workers while a run waits for calls to end.

    Parameters
    ----------
    client : distributed.Client
        Connected to the cluster.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._warned = False
        self.reset()

    def reset(self) -> None:
        """Begin anew, for a call has ended."""
        self._known: set[str] = set()
        self._first: set[str] = set()
        self._looked = self._at_work = self._there = time.monotonic()

    def look(self) -> None:
        """Look, if the last look is some seconds ago.

        Raises
        ------
        ClusterError
            If one worker after the other comes and goes: a nanny replaces them for ever. If all have stopped to take
            calls, as they do with little memory left. If there is none, and none will come.
        """
        now = time.monotonic()
        if now - self._looked <= _LOOK:
            return
        self._looked = now
        try:
            workers = workers_of(self._client)
        except OSError:
            # The connection is lost, which the client mends, or tells all that waits for it.
            return
        if not self._known:
            self._first = set(workers)
        self._known |= set(workers)
        if workers:
            self._there = now
        if not workers or any(each.get("status") != "paused" for each in workers.values()):
            self._at_work = now
        if now - self._at_work > _PATIENCE:
            self._give_up(f"all workers have been paused for {_PATIENCE:.0f} s")
        # One after the other: a cluster that shrinks loses workers for which none come.
        lost = min(len(self._known - set(workers)), len(self._known - self._first))
        if lost >= _LOST:
            self._give_up(f"{lost} workers have ended while no call did")
        if now - self._there > _PATIENCE:
            self._without_workers()

    def _give_up(self, why: str) -> None:
        raise ClusterError(f"{why}, {words_of_memory(self._client)}")

    def _without_workers(self) -> None:
        """Give up where the cluster is known to begin no other; warn elsewhere, once a run."""
        if _begins_no_other(self._client.cluster):
            self._give_up(f"no worker has been there for {_PATIENCE:.0f} s, and the cluster begins no other")
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"the cluster has had no worker for {_PATIENCE:.0f} s; the fit goes on when one joins it (dask's "
                "option distributed.scheduler.no-workers-timeout sets after how long it fails)",
                RuntimeWarning,
                stacklevel=2,
            )


def wait_watched(watch: WorkerWatch, futures: Sequence[Any]) -> None:
    """Wait until futures of a cluster are there, or have failed.

    Raises
    ------
    ClusterError
        See `WorkerWatch.look`.
    """
    from distributed import wait

    watch.reset()
    while True:
        try:
            wait(futures, timeout=1.0)
        except TimeoutError:
            watch.look()
        else:
            return


def computed(*collections: Any) -> tuple[Any, ...]:
    """Compute dask collections where `dask.compute` would, without a wait for workers that will not make them.

    Raises
    ------
    ClusterError
        See `WorkerWatch.look`.
    """
    scheduler = scheduler_here()
    client: Any = getattr(get_scheduler(scheduler=scheduler, collections=collections), "__self__", None)
    lazy = [k for k, each in enumerate(collections) if dask.is_dask_collection(each)]
    if not lazy or not hasattr(client, "scheduler_info") or client.asynchronous:
        found: tuple[Any, ...] = dask.compute(*collections, scheduler=scheduler)
        return found
    seceded = Seceded()
    try:
        futures = client.compute([collections[k] for k in lazy])
        wait_watched(WorkerWatch(client), futures)
        made = dict(zip(lazy, client.gather(futures), strict=True))
    finally:
        seceded.end()
    return tuple(made.get(k, each) for k, each in enumerate(collections))


def _begins_no_other(cluster: Any) -> bool:
    """Whether a cluster was asked for workers, has lost all of them and has forgotten them, as
    dask's do some seconds after.
    """
    asked, adaptive = getattr(cluster, "plan", None), getattr(cluster, "_adaptive", None)
    return bool(asked) and adaptive is None and not getattr(cluster, "workers", True)
