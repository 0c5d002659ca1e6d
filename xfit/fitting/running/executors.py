"""Where visits are made: threads of this process, or the workers of a cluster; both keep
what visits return where it is.
"""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future as LocalFuture
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import dask
from dask._task_spec import Alias, Task, parse_input
from dask.highlevelgraph import HighLevelGraph
from dask.system import CPU_COUNT
from distributed.scheduler import KilledWorker

from xfit.engine.block.cancellation import Token, check, heeding
from xfit.fitting.running.clients import Seceded, client_of, current
from xfit.fitting.running.interruption import leave
from xfit.fitting.running.remote_errors import carried
from xfit.fitting.running.sources import Shuffled
from xfit.fitting.running.worker_watch import WorkerWatch, wait_watched
from xfit.fitting.running.workers import ClusterError, limits_of


class Executor(Protocol):
    """What a run needs of the place where it runs."""

    @property
    def workers(self) -> int:
        """How many calls can be under way at once."""

    def submit(self, key: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Begin a call when the results are there whose handles are among its
        arguments; what it returns stays there.
        """

    def part(self, key: str, function: Callable[[Any], Any], handle: Any) -> Any:
        """Take a piece out of a result, which costs nothing."""

    def watch(self, token: Any, handle: Any) -> None:
        """Ask for a result when it is there."""

    def next(self) -> list[tuple[Any, Any]]:
        """Wait for results asked for, one at least: their tokens and they themselves."""

    def results(self, handles: Sequence[Any]) -> list[Any]:
        """Fetch results."""

    def held(self, handle: Any) -> Any:
        """What a dask graph can hold of a result: itself, or a future of the cluster."""

    def active(self) -> AbstractContextManager[Any]:
        """For as long as data are asked for that lie where the calls are made."""

    def cancel(self) -> None:
        """End the calls under way, whose results are lost; others can be begun after that."""

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
        self._closed = False
        self._token = Token()
        self._begun: set[LocalFuture[None]] = set()

    def submit(self, key: str, function: Callable[..., Any], *arguments: Any) -> LocalFuture[Any]:
        """See `Executor.submit`."""
        future: LocalFuture[Any] = LocalFuture()
        token = self._token

        def begin() -> None:
            if self._closed or token.stopped:
                future.cancel()
            else:
                self._begun.add(call := self._pool.submit(_fulfil, future, function, arguments, token))
                call.add_done_callback(self._begun.discard)

        # No thread waits for what another has to make first.
        _when_done([each for each in arguments if isinstance(each, LocalFuture)], begin)
        return future

    def part(self, key: str, function: Callable[[Any], Any], handle: LocalFuture[Any]) -> LocalFuture[Any]:
        """See `Executor.part`."""
        future: LocalFuture[Any] = LocalFuture()
        handle.add_done_callback(lambda done: _fulfil(future, function, (done,), Token()))
        return future

    def watch(self, token: Any, handle: LocalFuture[Any]) -> None:
        """See `Executor.watch`."""
        done = self._done
        handle.add_done_callback(lambda future: done.put((token, future)))

    def next(self) -> list[tuple[Any, Any]]:
        """See `Executor.next`."""
        batch = [self._done.get()]
        while not self._done.empty():
            batch.append(self._done.get())
        return [(token, future.result()) for token, future in batch]

    def results(self, handles: Sequence[LocalFuture[Any]]) -> list[Any]:
        """See `Executor.results`."""
        return [handle.result() for handle in handles]

    def held(self, handle: LocalFuture[Any]) -> Any:
        """See `Executor.held`."""
        return handle.result()

    def active(self) -> AbstractContextManager[Any]:
        """See `Executor.active`."""
        return nullcontext()

    def cancel(self) -> None:
        """See `Executor.cancel`."""
        self._token.stop()
        # What they end with must not be taken for what comes next.
        self._token, self._done = Token(), queue.SimpleQueue()

    def close(self) -> None:
        """See `Executor.close`."""
        self._closed = True
        self._token.stop()
        leave(self._pool, list(self._begun))


def _fulfil(future: LocalFuture[Any], function: Callable[..., Any], arguments: tuple[Any, ...], token: Token) -> None:
    """Make a call whose arguments are there, and hand over what it returns or raises."""
    try:
        with heeding(token):
            check()
            result = function(*map(_resolved, arguments))
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _when_done(futures: Sequence[LocalFuture[Any]], begin: Callable[[], None]) -> None:
    """Call a function once when all of some futures are done."""
    left, lock = len(futures) + 1, threading.Lock()

    def count(_: Any) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            begin()

    for future in futures:
        future.add_done_callback(count)
    count(None)


def _resolved(argument: Any) -> Any:
    """The result in place of a handle; it is there."""
    return argument.result() if isinstance(argument, LocalFuture) else argument


def executor_of(client: Any) -> Executor:
    """Workers of a client, by default of that which is active; threads of this process where
    there is none; see `client_of`.
    """
    client = client_of(client)
    return Threads() if client is None else Cluster(client)


#: Threads that a cluster is taken to have at least.
_AT_LEAST = 4

#: Seconds in which calls that end are taken together: a few times what a message costs, far less than a visit takes.
_TOGETHER = 0.004


class _Handle:
    """A call on a cluster: its key, and the future that keeps its result there once the scheduler knows of it."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.future: Any = None


class Cluster:
    """Workers of a `distributed` cluster. Calls are sent to its scheduler in batches, whenever results are waited for.

    In a task of a worker it leaves the worker's pool of threads until it is closed, as dask does for what is computed
    there: of a worker with one thread, that would otherwise wait for itself.

    Parameters
    ----------
    client : distributed.Client
        Connected to it.
    """

    def __init__(self, client: Any) -> None:
        from distributed import as_completed

        self.client = client
        self._watch = WorkerWatch(client)
        self._seceded = Seceded()
        self._completed = as_completed(loop=client.loop)
        self._tokens: dict[str, Any] = {}
        self._new: dict[str, tuple[_Handle, Task, tuple[Any, ...]]] = {}
        self._watched: list[_Handle] = []
        self._layer = f"xfit-{uuid.uuid4().hex}"
        self._shuffles: dict[str, HighLevelGraph] = {}

    @property
    def workers(self) -> int:
        """See `Executor.workers`."""
        # Clusters that grow with the work have none before there is any.
        number: int = max(sum(self.client.nthreads().values()), _AT_LEAST)
        return number

    def submit(self, key: str, function: Callable[..., Any], *arguments: Any) -> _Handle:
        """See `Executor.submit`."""
        handle = _Handle(key)
        task = Task(key, carried, function, *map(self._referring, arguments))
        # With the arguments: the futures among them must live until the scheduler knows that they are needed.
        self._new[key] = handle, task, arguments
        return handle

    def _referring(self, argument: Any) -> Any:
        """The key in place of a handle or of a block of a shuffle, as tasks refer to each other,
        and of the futures of a cluster.
        """
        if isinstance(argument, _Handle):
            return Alias(argument.key)
        if isinstance(argument, Shuffled):
            self._shuffles[argument.name] = argument.graph
            return Alias((argument.name, *argument.place))
        return parse_input([self._referring(each) for each in argument] if isinstance(argument, list) else argument)

    def part(self, key: str, function: Callable[[Any], Any], handle: _Handle) -> _Handle:
        """See `Executor.part`."""
        return self.submit(key, function, handle)

    def watch(self, token: Any, handle: _Handle) -> None:
        """See `Executor.watch`."""
        self._tokens[handle.key] = token
        self._watched.append(handle)

    def _send(self) -> None:
        """Let the scheduler know of all new calls, in one message."""
        if self._new:
            graph: dict[Any, Any] = {key: task for key, (_, task, _) in self._new.items()}
            # As a layer, for dask would give a plain dictionary a name by all that is in it.
            below = HighLevelGraph.merge(*self._shuffles.values())
            layer = HighLevelGraph(
                {**below.layers, self._layer: graph}, {**below.dependencies, self._layer: set(self._shuffles)}
            )
            self._shuffles.clear()
            # What a worker that dies had under way is made again by the scheduler; a read that fails is tried twice
            # more.
            futures = self.client.get(layer, list(graph), sync=False, retries=2)
            for (handle, _, _), future in zip(self._new.values(), futures, strict=True):
                handle.future = future
            self._new.clear()
        self._completed.update([handle.future for handle in self._watched])
        self._watched.clear()

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Say in words when the client or its scheduler is lost."""
        try:
            yield
        except Exception as error:
            if self.client.status not in ("closed", "closing"):
                raise
            raise ClusterError(
                f"client {self.client.id} was closed, or lost its scheduler, while the fit went on; what is in a "
                "store stays, and the same call goes on with it (of fits into a store with resume=True)"
            ) from error

    def next(self) -> list[tuple[Any, Any]]:
        """See `Executor.next`."""
        with self._connected():
            self._send()
            self._wait()
            batch = self._completed.next_batch()
            if self._completed.count():
                # Visits that end within moments of each other share their messages, in both directions.
                time.sleep(_TOGETHER)
                batch += self._completed.next_batch(block=False)
            results = self.client.gather(batch)
        return [(self._tokens.pop(future.key), result) for future, result in zip(batch, results, strict=True)]

    def _wait(self) -> None:
        """Wait until a call has ended; see `WorkerWatch.look` for the errors."""
        self._watch.reset()
        while self._completed.count() and not self._completed.has_ready():
            with self._completed.thread_condition:
                self._completed.thread_condition.wait(timeout=0.1)
            self._watch.look()

    def results(self, handles: Sequence[_Handle]) -> list[Any]:
        """See `Executor.results`."""
        with self._connected():
            self._send()
            futures = [handle.future for handle in handles]
            wait_watched(self._watch, futures)
            found: list[Any] = self.client.gather(futures)
        return found

    def held(self, handle: _Handle) -> Any:
        """See `Executor.held`."""
        self._send()
        return handle.future

    def active(self) -> AbstractContextManager[Any]:
        """See `Executor.active`."""
        return self._used()

    @contextmanager
    def _used(self) -> Iterator[None]:
        """Say in words why a call could not be made, or its client was lost."""
        with current(self.client), self._connected():
            try:
                yield
            except KilledWorker as error:
                raise ClusterError(
                    f"{error.task} has ended {error.allowed_failures + 1} workers, most likely for want of memory "
                    f"({limits_of(self.client)}; their logs say). Give them more: 1 GiB each at least, and what their "
                    "chunks need; or fewer threads, or smaller chunks"
                ) from error

    def cancel(self) -> None:
        """See `Executor.cancel`; a call under way ends between two pieces of its work."""
        pending = [each for each in self._completed.futures if each is not None]
        self._completed.clear()
        self.client.cancel(pending, force=True)
        self._tokens.clear()
        self._new.clear()
        self._watched.clear()

    def close(self) -> None:
        """See `Executor.close`; the cluster is the user's, and stays."""
        self._completed.clear()
        self._seceded.end()


def cluster_of(executor: Executor) -> Cluster:
    """The cluster that data need which are rearranged by one.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not isinstance(executor, Cluster):
        raise ValueError(
            "the data are rearranged by a cluster (dask's p2p), and no client is active any more; connect one, or open "
            "and chunk the data again without one"
        )
    return executor
