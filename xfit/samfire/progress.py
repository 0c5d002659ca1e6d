"""Progress of a run: what is known of it while it goes on, on the console or for a user's function."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Snapshot:
    """Where a run stands.

    Attributes
    ----------
    strategy : str
        Name of the strategy in use, or "seeds".
    pixels, good, poor, hopeless : int
        Pixels of the map; those fitted well, tried without success so far, and those that can't be fitted.
    frontier : int
        Chunks with pixels left next to good ones, as far as is known.
    in_flight : int
        Visits of chunks under way.
    visits, fits : int
        Visits and fits so far.
    seconds : float
        Since the run began.
    stop : callable
        Ends the run with what is done; visits under way are waited for.
    """

    strategy: str
    pixels: int
    good: int
    poor: int
    hopeless: int
    frontier: int
    in_flight: int
    visits: int
    fits: int
    seconds: float
    stop: Callable[[], None]


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
    """A user's function is told, of every visit."""

    def __init__(self, function: Callable[[Snapshot], Any]) -> None:
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

        columns = (TextColumn("SAMFire {task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[more]}"), TimeElapsedColumn())  # fmt: skip
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

    def _show(self, s: Snapshot) -> None:
        more = f"{s.good} good, {s.poor} poor, {s.frontier} chunks at the front, {s.in_flight} in flight"
        done = s.good + s.hopeless
        self._progress.update(self._task, description=s.strategy, total=s.pixels, completed=done, more=more)

    def close(self) -> None:
        """See `Reporter.close`; the last visit is shown, however soon it came after the one before."""
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
