"""Kills at each change of a folder: of a call, as often as it changes something, a process
that ends just before that.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dask

from xfit.arrays import atomic_write

#: What changes files and folders, as Python tells auditors of it.
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate", "os.symlink", "shutil.rmtree"}


def step(usual: int) -> int:
    """Every so many-th kill is tried; ``XFIT_TEST_EVERY_KILL=1`` tries all, which takes minutes."""
    return int(os.environ.get("XFIT_TEST_EVERY_KILL", usual))


def is_change(event: str, arguments: tuple[object, ...], folder: Path) -> bool:
    """Whether what Python tells auditors of is a change of a folder."""
    is_write = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
    return (is_write or event in _CHANGES) and str(folder) in _path(event, arguments)


def _path(event: str, arguments: tuple[object, ...]) -> str:
    """What is changed; what lies in an open folder, as when a tree is removed, with the path of that."""
    path, parent = arguments[0], arguments[1] if event in ("os.remove", "os.rmdir") else None
    if isinstance(path, int):
        return ""
    if isinstance(parent, int) and parent >= 0 and sys.platform == "linux":
        return os.path.join(os.readlink(f"/proc/self/fd/{parent}"), os.fsdecode(path))  # type: ignore[arg-type]
    return os.fsdecode(path)  # type: ignore[arg-type]


def _watch(folder: Path, act: Callable[[str], None]) -> None:
    """Tell of what this process is about to change in a folder from now on; syncs are told of
    too, for there power is lost.
    """
    sync, whole = os.fsync, atomic_write.sync_file_system

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if is_change(event, arguments, folder):
            act(event)

    def fsync(fd: Any) -> None:
        act("fsync")
        sync(fd)

    def sync_file_system(folder: Path) -> bool:
        act("fsync")
        return whole(folder)

    os.fsync = fsync
    atomic_write.sync_file_system = sync_file_system
    sys.addaudithook(audit)


def _forked(act: Callable[[], object]) -> int:
    """Do something in a process of its own; return how it ended."""
    process = os.fork()
    if process == 0:
        # Threads of the process before are not there, nor those of its pools; what waits for one ends after a minute.
        signal.alarm(60)
        try:
            with dask.config.set(scheduler="synchronous"):
                act()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(process, 0)[1]


def _changes(copy: Path, call: Callable[[Path], object]) -> list[str]:
    """What a call changes, in a copy of its own."""
    log = copy.with_name("log")

    def act() -> None:
        with log.open("w", buffering=1) as file:
            _watch(copy, lambda event: print(event, file=file))
            call(copy)

    assert _forked(act) == 0
    return log.read_text().split()


def _killed_at(number: int, copy: Path, call: Callable[[Path], object]) -> None:
    """Call, and end this process before its change of a number."""
    left = number

    def count(event: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch(copy, count)
    call(copy)


def killed(before: Path, to: Path, call: Callable[[Path], object], most: int = 80) -> Iterator[Path]:
    """Copies of a folder in which a call was killed before its first change, before its second, and so on to its end.

    Parameters
    ----------
    before : path
        The folder as it is when the call begins.
    to : path
        Where the copies go.
    call : callable
        Is given a copy; it must not need threads that this process has started already.
    most : int, optional
        Of more changes than these, so many evenly spread ones, and all those around the last sync: what comes before is
        beside its place. See `step` for how all are tried.

    Yields
    ------
    path
        Each copy; the last is that of a call which was not killed.
    """
    shutil.copytree(before, to / "first", symlinks=True)
    changes = _changes(to / "first", call)
    numbers = {*range(len(changes))}
    if len(changes) > most and step(0) != 1:
        last = len(changes) - changes[::-1].index("fsync")
        numbers = {*range(0, len(changes), len(changes) // most + 1), *range(last - 4, min(last + 4, len(changes)))}
    for number in [*sorted(numbers), 10 * len(changes)]:
        copy = to / f"{number}"
        shutil.copytree(before, copy, symlinks=True)
        status = _forked(partial(_killed_at, number, copy, call))
        assert status in (0, signal.SIGKILL), status
        yield copy
    assert status == 0
