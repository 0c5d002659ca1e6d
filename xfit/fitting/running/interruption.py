"""Fits in other threads, which end within a second when whoever waits for them is
interrupted: our own threads, and dask's.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any

import dask
import dask.threaded
from dask.callbacks import Callback

from xfit.engine.block.cancellation import Token, heeded, heeding

#: Seconds that calls which are told to stop are waited for.
_PATIENCE = 0.6


def in_threads(function: Callable[[Any], Any], items: Sequence[Any], workers: int, total: int | None) -> list[Any]:
    """Call a function for each item, on some threads; where this is interrupted, so are the calls.

    Parameters
    ----------
    total : int or None
        Pixels of all items, for the words of an interruption; None where what is counted are no pixels of the map.

    Raises
    ------
    KeyboardInterrupt
        Within a second; it says how much was done.
    """
    token = Token()
    try:
        with heeding(token):
            if workers <= 1:
                return [function(item) for item in items]
        return _pooled(function, items, workers, token)
    except KeyboardInterrupt as error:
        token.stop()
        lost = "the intervals that were found are lost; those of lazy data can be computed part by part"
        if total is not None:
            lost = (
                f"{token.pixels:,} of {total:,} pixels were fitted, which are lost; a fit with store= keeps what "
                "is done"
            )
        say(error, lost)
        raise


def _pooled(function: Callable[[Any], Any], items: Iterable[Any], workers: int, token: Token) -> list[Any]:
    outer = heeded()

    def call(item: Any) -> Any:
        with heeding(*outer, token):
            return function(item)

    pool = ThreadPoolExecutor(workers)
    futures = [pool.submit(call, item) for item in items]
    try:
        wait(futures, return_when=FIRST_EXCEPTION)
        return [future.result() for future in futures]
    except BaseException:
        token.stop()
        raise
    finally:
        leave(pool, futures)


def leave(pool: ThreadPoolExecutor, futures: Iterable[Future[Any]]) -> None:
    """Let go of threads whose calls are done or told to stop; for pixels that take long
    each, they are not waited for.
    """
    pool.shutdown(wait=False, cancel_futures=True)
    wait(futures, timeout=_PATIENCE)


def say(error: KeyboardInterrupt, words: str) -> None:
    """Let an interruption say what was done, unless it does already."""
    if not error.args:
        error.args = (words,)


# --- dask's own threads


class _Computations(Callback):
    """Knows which computations dask's local schedulers make, and stops the fits of those that are interrupted."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._lock = threading.Lock()
        self._running: dict[int, tuple[threading.Thread, Token]] = {}

    def _start(self, dsk: Any) -> None:
        with self._lock:
            self._running[id(dsk)] = threading.current_thread(), Token()

    def _finish(self, dsk: Any, state: Any, errored: bool) -> None:
        with self._lock:
            _, token = self._running.pop(id(dsk), (None, None))
        if token is None or not errored:
            return
        token.stop()
        error = sys.exc_info()[1]
        if isinstance(error, KeyboardInterrupt) and token.pixels:
            say(error, f"{token.pixels:,} pixels were fitted, which are lost; a fit with store= keeps what is done")

    def tokens(self) -> list[Token]:
        """Tokens of the computations that this thread makes, or whose pool of threads has it."""
        me = threading.current_thread()
        # By its name, for a pool counts a thread only after it has begun.
        pool_of_mine = me.name.rpartition("_")[0]
        with self._lock:
            running = list(self._running.values())
        return [
            token
            for caller, token in running
            if caller is me or any(pool._thread_name_prefix == pool_of_mine for pool in _pools(caller))
        ]


def _pools(caller: threading.Thread) -> list[Any]:
    """Pools of threads that dask uses for what a thread computes."""
    found = [dask.config.get("pool", None), *dask.threaded.pools.get(caller, {}).values()]
    if caller is threading.main_thread():
        found.append(dask.threaded.default_pool)
    return [pool for pool in found if hasattr(pool, "_thread_name_prefix")]


_computations = _Computations()


def watch_dask() -> None:
    """Let fits that dask's threads make be stopped when who computes them is interrupted."""
    _computations.register()


@contextlib.contextmanager
def heeding_dask() -> Iterator[None]:
    """Let calls in one of dask's threads stop when the computation that they are of is interrupted."""
    with heeding(*_computations.tokens()):
        yield
