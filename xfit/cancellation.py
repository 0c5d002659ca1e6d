"""Blocks that can be told to stop: they are fitted in pieces of a fraction of a second, and check before each whether to go on."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from xfit.kernels.layout import LANES
from xfit.kernels.workspace import STOP

#: Seconds that a piece of a block takes: short enough to stop at once, and long enough that pixels which end early leave others to do.
_SHORT, _LONG = 0.1, 0.4

#: Pixels of a piece, if they take no longer than that: some of those that are fitted side by side wait for the last at its end.
_MANY = 512

#: Seconds that a pixel took last, by what is fitted.
_paces: dict[Any, float] = {}


class Interrupted(BaseException):
    """Ends a call in a thread whose result nobody waits for any more."""


class Token:
    """Says to the calls of one computation whether they are to stop, and counts what they have done."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._watched: list[np.ndarray] = []
        self.pixels = 0

    def stop(self) -> None:
        """Tell all calls to stop, and the engine to give up the pixels that it is at."""
        with self._lock:
            self._stopped.set()
            for flags in self._watched:
                flags[STOP] = 1

    @contextlib.contextmanager
    def watching(self, flags: np.ndarray) -> Iterator[None]:
        """Let the engine that has these flags (`xfit.kernels.workspace.Workspace`) be told to stop."""
        with self._lock:
            flags[STOP] = int(self.stopped)
            self._watched.append(flags)
        try:
            yield
        finally:
            with self._lock:
                self._watched = [each for each in self._watched if each is not flags]

    @property
    def stopped(self) -> bool:
        """Whether calls are to stop."""
        return self._stopped.is_set()

    def count(self, pixels: int) -> None:
        """Count pixels that have been fitted."""
        with self._lock:
            self.pixels += pixels


class _Local(threading.local):
    tokens: tuple[Token, ...] = ()


_local = _Local()


@contextlib.contextmanager
def heeding(*tokens: Token) -> Iterator[None]:
    """Let calls in this thread stop when one of some tokens says so, besides those that they heed already."""
    before = _local.tokens
    _local.tokens = (*before, *tokens)
    try:
        yield
    finally:
        _local.tokens = before


def heeded() -> tuple[Token, ...]:
    """Tokens that calls in this thread heed."""
    return _local.tokens


def check() -> None:
    """End the call if it is to stop.

    Raises
    ------
    Interrupted
        If it is.
    """
    for token in _local.tokens:
        if token.stopped:
            raise Interrupted
    if _is_cancelled():
        raise Interrupted


def pause(seconds: float) -> None:
    """Wait, unless the call is to stop; raises what `check` does."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check()
        time.sleep(min(left, _SHORT))


def count(pixels: int) -> None:
    """Count pixels that this thread has fitted."""
    for token in _local.tokens:
        token.count(pixels)


def _is_cancelled() -> bool:
    """Whether this is a task of a cluster that its scheduler wants no more."""
    module = sys.modules.get("distributed.worker")
    state = None if module is None else module.thread_state
    key, worker = getattr(state, "key", None), getattr(state, "execution_state", {}).get("worker")
    if key is None or worker is None:
        return False
    task = worker.state.tasks.get(key)
    return task is None or task.state == "cancelled"


def pieces(pixels: np.ndarray, kind: Any, flags: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Cut the pixels of a block into pieces that each take a fraction of a second, and end the call between them if it is to stop.

    Parameters
    ----------
    pixels : int64 (any,)
        Which pixels are to be fitted; they are fitted one piece after the other.
    kind : hashable
        Identifies the kind of fit. The time per pixel measured in one block sets the size of the pieces in the next block of the same kind.
    flags : int64 (any,), optional
        Flags of the workspace that the pieces are fitted with, by which the engine is stopped within a piece.

    Yields
    ------
    int64 (any,)

    Raises
    ------
    Interrupted
        If the call is to stop.
    """
    first = 0
    while first < pixels.size:
        check()
        piece = pixels[first : first + _size(_paces.get(kind))]
        began = time.perf_counter()
        with contextlib.ExitStack() as watched:
            if flags is not None:
                for token in _local.tokens:
                    watched.enter_context(token.watching(flags))
            yield piece
        # The engine may have stopped within this piece: its pixels are then not results.
        check()
        _paces[kind] = max((time.perf_counter() - began) / piece.size, 1e-9)
        count(piece.size)
        first += piece.size


def _size(pace: float | None) -> int:
    """Pixels of a piece that takes a fraction of a second; as many as are fitted side by side at least."""
    return LANES if pace is None else max(int(max(_SHORT / pace, min(_MANY, _LONG / pace))), LANES)
