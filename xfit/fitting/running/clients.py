"""The `distributed` client that a fit uses: given or active, checked; and the task of a
worker that a fit may be begun in.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any


def active_client() -> Any:
    """The `distributed` client that is active, or None: in a task of a worker the worker's, as for
    all that dask computes there.
    """
    if not _may_have_clients():
        return None
    from distributed.client import default_client
    from distributed.worker import get_client

    if in_task():
        client = get_client()
        # One that a coroutine on the worker made can't be waited for.
        return None if getattr(client, "_asynchronous", False) else client
    with contextlib.suppress(ValueError):
        client = default_client()
        return None if _is_of_a_worker(client) else client
    return None


def scheduler_here() -> str | None:
    """Scheduler for what dask computes in this thread: None for its own choice, but threads in one
    that a task of a worker has made.

    The task can't leave the worker's pool of threads for it, so that a wait for the worker might never end.
    """
    if not _may_have_clients():
        return None
    from distributed.client import default_client

    with contextlib.suppress(ValueError):
        return "threads" if not in_task() and _is_of_a_worker(default_client()) else None
    return None


def _may_have_clients() -> bool:
    """Whether anybody has imported `distributed`, for which a process without a cluster would wait a quarter of a
    second.
    """
    return "distributed.client" in sys.modules


def _is_of_a_worker(client: Any) -> bool:
    """Whether a worker made the client for its tasks."""
    return str(client.id).startswith("Client-worker-")


def client_of(given: Any) -> Any:
    """Check the client that a user gave, or take the active one, or None where there is none.

    Raises
    ------
    TypeError
        For what is no client.
    ValueError
        For clients that are closed, or whose event loop the call would wait in.
    """
    if given is None and not _may_have_clients():
        return None
    from distributed import Client

    if given is not None and not isinstance(given, Client):
        raise TypeError(
            f"client must be a distributed.Client, not {type(given).__name__}; of a cluster take cluster.get_client()"
        )
    client = active_client() if given is None else given
    if client is None:
        return None
    name = "the active client" if given is None else "client"
    if client.status in ("closed", "closing"):
        raise ValueError(
            f"{name} {client.id} is closed; give one that is connected, or none for threads of this process"
        )
    if client.asynchronous or getattr(client, "_asynchronous", False):
        raise ValueError(
            f"{name} {client.id} is asynchronous, and this fit waits for its cluster, which would stop the client's "
            "event loop; give client= one that is not (distributed.Client(address)), and make the fit in a thread "
            "(await asyncio.to_thread(...))"
        )
    return client


def in_task() -> bool:
    """Whether this thread works on a task of a worker."""
    module = sys.modules.get("distributed.worker")
    state = None if module is None else module.thread_state
    return bool(getattr(state, "key", None)) and getattr(state, "execution_state", None) is not None


class Seceded:
    """Leaves the pool of threads of the worker whose task this is, which others can then use:
    what is waited for may need them.
    """

    def __init__(self) -> None:
        from distributed import secede

        self._left = False
        if in_task():
            # Tasks that have left already, or that other executors of the worker run, have nothing to leave.
            with contextlib.suppress(Exception):
                secede()
                self._left = True

    def end(self) -> None:
        """Go back."""
        if self._left:
            from distributed import rejoin

            self._left = False
            rejoin()


@contextlib.contextmanager
def current(client: Any) -> Iterator[None]:
    """Let futures that are made or arrive in this thread be those of a client.

    `Client.as_current` also changes dask's configuration, which is that of all threads: where the client is closed
    meanwhile, or several fits end in another order than they began, it would stay changed, and no computation would
    find a scheduler any more.
    """
    from distributed.client import _current_client

    before = _current_client.set(client)
    try:
        yield
    finally:
        _current_client.reset(before)
