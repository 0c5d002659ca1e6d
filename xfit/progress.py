"""Progress of runs and compilations: what is known while they go on, in a terminal, in a
notebook or for a user's function.
"""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol

from xfit.display import cleaned, escaped

#: Seconds of waiting after which something is said.
SILENT = 2.0

#: Seconds between two looks at what is waited for.
_BETWEEN = 0.25


class Bar(NamedTuple):
    """Contents of a progress bar: title, amount done, total, further text, and the unit of both amounts."""

    title: str
    done: int
    total: int
    words: str
    unit: str = "pixels"


class ProgressSnapshot(Protocol):
    """Where a run stands."""

    @property
    def bar(self) -> Bar:
        """What a bar shows of it."""


class Reporter(Protocol):
    """Something that is told of a run."""

    def update(self, snapshot: ProgressSnapshot) -> None:
        """Take notice of where the run stands."""

    def close(self) -> None:
        """End."""


class Silent:
    """Nobody is told."""

    def update(self, snapshot: ProgressSnapshot) -> None:
        """See `Reporter.update`."""

    def close(self) -> None:
        """See `Reporter.close`."""


class Throttled(ABC):
    """Shows where a run stands a few times a second, and the end of it however soon that came."""

    #: Seconds between two.
    between = 0.1

    def __init__(self) -> None:
        self._last = 0.0
        self._unseen: Bar | None = None

    def update(self, snapshot: ProgressSnapshot) -> None:
        """See `Reporter.update`."""
        now = time.monotonic()
        self._unseen = snapshot.bar
        if now - self._last >= self.between:
            self._show_unseen()
            self._last = now

    def close(self) -> None:
        """See `Reporter.close`."""
        self._show_unseen()

    def _show_unseen(self) -> None:
        if self._unseen is not None:
            self.show(self._unseen)
            self._unseen = None

    @abstractmethod
    def show(self, bar: Bar) -> None:
        """Show a bar."""


class Callback:
    """A user's function is told, of everything."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def update(self, snapshot: ProgressSnapshot) -> None:
        """See `Reporter.update`."""
        self._function(snapshot)

    def close(self) -> None:
        """See `Reporter.close`."""


class Console(Throttled):
    """A bar on the console."""

    def __init__(self) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        super().__init__()
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[more]}", markup=False),
            TimeElapsedColumn(),
        )
        self._progress = Progress(*columns, console=RichConsole(stderr=True), refresh_per_second=4)
        self._task = self._progress.add_task("", total=None, more="")
        self._progress.start()

    def show(self, bar: Bar) -> None:
        """See `Throttled.show`."""
        title, words = cleaned(bar.title), cleaned(bar.words)
        self._progress.update(self._task, description=title, total=bar.total, completed=bar.done, more=words)

    def close(self) -> None:
        """See `Reporter.close`."""
        super().close()
        self._progress.stop()


class Notebook(Throttled):
    """A bar below the cell of a notebook; it needs no widgets, so that it is there when the
    notebook is opened again.
    """

    between = 0.3

    def __init__(self) -> None:
        from IPython.display import HTML, display

        super().__init__()
        self._html = HTML
        self._handle = display(HTML(""), display_id=True)

    def show(self, bar: Bar) -> None:
        """See `Throttled.show`."""
        share = bar.done / bar.total if bar.total else 1.0
        words = f"{escaped(bar.title)} {share:.0%} ({bar.done:,} of {bar.total:,} {bar.unit})"
        self._handle.update(
            self._html(
                f'<div style="font-variant-numeric: tabular-nums"><progress value="{bar.done}" max="{bar.total}" '
                f'aria-label="{words}" '
                'style="width: 20em; vertical-align: middle"></progress> '
                f"{words}<br><small>{escaped(bar.words)}</small></div>"
            )
        )


def _in_notebook() -> bool:
    """Whether a kernel shows what is displayed."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and hasattr(shell, "kernel")


def _is_terminal() -> bool:
    """Whether somebody sees what is written to stderr, which may be closed or missing."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:
        return False


def say(line: str) -> None:
    """Write a line to stderr, if there is one."""
    with suppress(ValueError, OSError):
        print(cleaned(line), file=sys.stderr, flush=True)


#: Held by the wait that a user is told of, of several at once.
_telling = threading.Lock()


@contextmanager
def told(words: str, seconds: float) -> Iterator[None]:
    """Tell who waits what for, if that takes long: by a bar in a terminal or a notebook, by a line elsewhere.

    Parameters
    ----------
    words : str
        Description of the work.
    seconds : float
        About how long it takes.
    """
    done = threading.Event()
    title = f"{words} (about {_rounded(seconds)})"

    def show() -> None:
        if done.wait(SILENT) or not _telling.acquire(blocking=False):
            return
        try:
            tell()
        finally:
            _telling.release()

    def tell() -> None:
        reporter = reporter_of(None)
        if isinstance(reporter, Silent):
            say(f"xfit: {title}")
        began = time.monotonic()
        while not done.wait(_BETWEEN):
            # What takes longer than it should is not done before it is.
            passed = min(SILENT + time.monotonic() - began, 0.95 * seconds)
            reporter.update(_Waiting(Bar(title, round(passed), round(seconds), "", "seconds")))
        reporter.update(_Waiting(Bar(title, round(seconds), round(seconds), "", "seconds")))
        reporter.close()

    thread = threading.Thread(target=show, name="xfit-told", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _rounded(seconds: float) -> str:
    """Words for a time that is not known well."""
    return f"{round(seconds / 60) or 1} min" if seconds > 90 else f"{round(seconds, -1) or 5:.0f} s"


class _Waiting(NamedTuple):
    """Snapshot of a compilation or a wait."""

    bar: Bar


def reporter_of(given: Any) -> Reporter:
    """Check what a user wants to be told.

    Parameters
    ----------
    given : None, bool or callable
        None shows a bar where there is a terminal or a notebook.

    Raises
    ------
    TypeError
        For anything else.
    """
    if given is None:
        given = _in_notebook() or _is_terminal()
    if isinstance(given, bool):
        return (Notebook() if _in_notebook() else Console()) if given else Silent()
    if callable(given):
        return Callback(given)
    raise TypeError(f"progress={given!r} must be None, True, False or a function of a snapshot")
