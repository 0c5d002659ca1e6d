"""Progress of a run: what is known of it while it goes on, on the console or for a user's function."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol


class Bar(NamedTuple):
    """What a bar shows of a run: its title, how much of how much is done, and further words."""

    title: str
    done: int
    total: int
    words: str


class Snapshot(Protocol):
    """Where a run stands."""

    @property
    def bar(self) -> Bar:
        """What a bar shows of it."""


class Reporter(Protocol):
    """Something that is told of a run."""

    def update(self, snapshot: Snapshot) -> None:
        """Take notice of where the run stands."""

    def close(self) -> None:
        """End."""


class Silent:
    """Nobody is told."""

    def update(self, snapshot: Snapshot) -> None:
        """See `Reporter.update`."""

    def close(self) -> None:
        """See `Reporter.close`."""


class Function:
    """A user's function is told, of everything."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def update(self, snapshot: Snapshot) -> None:
        """See `Reporter.update`."""
        self._function(snapshot)

    def close(self) -> None:
        """See `Reporter.close`."""


class Console:
    """A bar on the console, a few times a second."""

    def __init__(self) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[more]}"), TimeElapsedColumn())  # fmt: skip
        self._progress = Progress(*columns, console=RichConsole(stderr=True), refresh_per_second=4)
        self._task = self._progress.add_task("", total=None, more="")
        self._progress.start()
        self._last = 0.0
        self._unseen: Snapshot | None = None

    def update(self, snapshot: Snapshot) -> None:
        """See `Reporter.update`."""
        now = time.monotonic()
        self._unseen = snapshot
        if now - self._last >= 0.1:
            self._last, self._unseen = now, None
            self._show(snapshot)

    def _show(self, snapshot: Snapshot) -> None:
        title, done, total, words = snapshot.bar
        self._progress.update(self._task, description=title, total=total, completed=done, more=words)

    def close(self) -> None:
        """See `Reporter.close`; the last one is shown, however soon it came after the one before."""
        if self._unseen is not None:
            self._show(self._unseen)
        self._progress.stop()


def reporter_of(given: Any) -> Reporter:
    """Check what a user wants to be told.

    Parameters
    ----------
    given : None, bool or callable
        None shows a bar where there is a terminal.

    Raises
    ------
    TypeError
        For anything else.
    """
    if given is None:
        given = sys.stderr.isatty()
    if isinstance(given, bool):
        return Console() if given else Silent()
    if callable(given):
        return Function(given)
    raise TypeError(f"progress={given!r} must be None, True, False or a function of a snapshot")
