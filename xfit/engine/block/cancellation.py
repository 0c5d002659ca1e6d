"""Blocks that can be told to stop: they are fitted in pieces of a fraction of a second, and check
before each whether to go on.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xfit.engine.evaluation.state import STOP
from xfit.engine.math.layout import LANES

#: Seconds that a piece of a block takes: short enough to stop at once, and long enough that pixels which end early
#: leave others to do.
_SHORT, _LONG = 0.1, 0.4

#: Pixels of a piece, if they take no longer than that: some of those that are fitted side by side wait for the last at
#: its end.
_MANY = 512


@dataclass
class Pace:
    """How long a pixel took when one of its kind was fitted last; None before."""

    seconds: float | None = None

    @property
    def pixels(self) -> int:
        """Pixels of a piece that takes a fraction of a second; as many as are fitted side by side at least."""
        pace = self.seconds
        return LANES if pace is None else max(int(max(_SHORT / pace, min(_MANY, _LONG / pace))), LANES)


#: Paces by what is fitted.
_paces: dict[Any, Pace] = {}


def pace_of(kind: Hashable) -> Pace:
    """Return the pace of a kind of fit: the time per pixel measured in one block sets the size of the pieces
    in the next of the same kind.
    """
    return _paces.setdefault(kind, Pace())


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

    def watch(self, flags: np.ndarray | None) -> None:
        """Let the engine that has these flags (`xfit.engine.evaluation.state.State`) be told to stop."""
        if flags is None:
            return
        with self._lock:
            flags[STOP] = int(self.stopped)
            self._watched.append(flags)

    def leave(self, flags: np.ndarray | None) -> None:
        """Watch these flags no longer."""
        with self._lock:
            self._watched = [each for each in self._watched if each is not flags]
            if flags is not None:
                # The workspace may serve others, also where this came too late to stop anything.
                flags[STOP] = 0

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


def pieces(pixels: np.ndarray, pace: Pace, flags: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Cut the pixels of a block into pieces that each take a fraction of a second, and end the call
    between them if it is to stop.

    Parameters
    ----------
    pixels : int64 (any,)
        Which pixels are to be fitted; they are fitted one piece after the other.
    pace : Pace
        Of this kind of fit; it is measured anew.
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
    tokens = _local.tokens
    # Plain calls and not a context: where pieces are short, each of Python's steps shows.
    for token in tokens:
        token.watch(flags)
    try:
        first = 0
        while first < pixels.size:
            check()
            piece = pixels[first : first + pace.pixels]
            began = time.perf_counter()
            yield piece
            # The engine may have stopped within this piece: its pixels are then not results.
            check()
            pace.seconds = max((time.perf_counter() - began) / piece.size, 1e-9)
            count(piece.size)
            first += piece.size
    finally:
        for token in tokens:
            token.leave(flags)
