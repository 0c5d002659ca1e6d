"""Where visits are made: threads of this process, or the workers of a cluster; both keep what visits return where it is."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future as LocalFuture
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import dask
from dask.system import CPU_COUNT


class Executor(Protocol):
    """What a run needs of the place where it runs."""

    def submit(self, key: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Begin a call; what it returns stays there. Arguments may hold handles of earlier calls."""

    def watch(self, token: Any, handle: Any) -> None:
        """Ask for a result when it is there."""

    def next(self) -> tuple[Any, Any]:
        """Wait for one of the results asked for: its token and the result."""

    def result(self, handle: Any) -> Any:
        """Fetch a result."""

    def close(self) -> None:
        """End what the executor began."""


class Threads:
    """Threads of this process.

    Parameters
    ----------
    workers : int, optional
        How many; by default as many as dask's threaded scheduler would use.
    """

    def __init__(self, workers: int | None = None) -> None:
        synchronous = dask.config.get("scheduler", None) in ("sync", "synchronous", "single-threaded")
        self.workers = workers or (1 if synchronous else dask.config.get("num_workers", None) or CPU_COUNT)
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="xfit-samfire")
        self._done: queue.SimpleQueue[tuple[Any, LocalFuture[Any]]] = queue.SimpleQueue()

    def submit(self, key: str, function: Callable[..., Any], *arguments: Any) -> LocalFuture[Any]:
        """See `Executor.submit`."""
        return self._pool.submit(lambda: function(*map(_resolved, arguments)))

    def watch(self, token: Any, handle: LocalFuture[Any]) -> None:
        """See `Executor.watch`."""
        handle.add_done_callback(lambda future: self._done.put((token, future)))

    def next(self) -> tuple[Any, Any]:
        """See `Executor.next`."""
        token, future = self._done.get()
        return token, future.result()

    def result(self, handle: LocalFuture[Any]) -> Any:
        """See `Executor.result`."""
        return handle.result()

    def close(self) -> None:
        """See `Executor.close`."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _resolved(argument: Any) -> Any:
    """Results in place of handles. All of them are there: a call begins after those that it depends on."""
    if isinstance(argument, LocalFuture):
        return argument.result()
    if isinstance(argument, dict):
        return {key: _resolved(value) for key, value in argument.items()}
    if type(argument) in (list, tuple):
        return type(argument)(map(_resolved, argument))
    return argument


class Cluster:
    """Workers of a `distributed` cluster.

    Parameters
    ----------
    client : distributed.Client
        Connected to it.
    """

    def __init__(self, client: Any) -> None:
        from distributed import as_completed

        self.client = client
        self._completed = as_completed(with_results=True)
        self._tokens: dict[str, Any] = {}

    def submit(self, key: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """See `Executor.submit`."""
        # What a worker that dies had under way is made again by the scheduler; a read that fails is tried twice more.
        return self.client.submit(function, *arguments, key=key, pure=False, retries=2)

    def watch(self, token: Any, handle: Any) -> None:
        """See `Executor.watch`."""
        self._tokens[handle.key] = token
        self._completed.add(handle)

    def next(self) -> tuple[Any, Any]:
        """See `Executor.next`."""
        future, result = next(self._completed)
        return self._tokens.pop(future.key), result

    def result(self, handle: Any) -> Any:
        """See `Executor.result`."""
        return handle.result()

    def close(self) -> None:
        """See `Executor.close`; the cluster is the user's, and stays."""
        self._completed.clear()
