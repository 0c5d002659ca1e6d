"""Loss of power at each change of a folder: what a disk has of it that keeps what was synchronised,
and more or less of the rest.
"""

from __future__ import annotations

import os
import random
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.kills import is_change, step
from xfit.arrays import atomic_write
from xfit.arrays.atomic_write import entries

#: Linux tells which file a number is of, and holds an inode without reading it.
needs_linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux tells which file is synchronised")

#: A folder by the paths in it: what its files hold, None for folders.
Tree = Mapping[str, bytes | None]

#: How much of what was not synchronised is on the disk: nothing; all names of files, which are empty; all names and the
#: first half of each file; of each name and each file one or the other.
_WAYS = ("nothing", "names", "halves", "some", "others")


@dataclass(frozen=True)
class _Seen:
    """Folders and files as they are, by their inodes: names with inodes, and contents."""

    names: dict[int, dict[str, int]]
    contents: dict[int, bytes]


class Disk:
    """What of a folder is on the disk, whatever happens.

    A file has what was in it when it was last synchronised, a folder the names that were in it then; those that never
    were have nothing. All that is there at the beginning is on the disk.

    Parameters
    ----------
    root : path
        The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root, self._number = root, root.stat().st_ino
        # Inodes that are held are not given to other files.
        self._held: dict[int, int] = {}
        seen = _look(root)
        self._names, self._contents = dict(seen.names), dict(seen.contents)
        for path in (root, *root.rglob("*")):
            self._hold(path)

    def _hold(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            file = os.open(path, os.O_PATH | os.O_NOFOLLOW)
            if self._held.setdefault(os.fstat(file).st_ino, file) != file:
                os.close(file)

    def close(self) -> None:
        """Let inodes go."""
        for file in self._held.values():
            os.close(file)

    def sync(self, file: int) -> None:
        """Take note of a file or folder that is synchronised now."""
        path, found = Path(os.readlink(f"/proc/self/fd/{file}")), os.fstat(file)
        if self._root not in (path, *path.parents):
            return
        self._hold(Path(f"/proc/self/fd/{file}").resolve())
        if stat.S_ISDIR(found.st_mode):
            self._names[found.st_ino] = _names(path)
            for name in self._names[found.st_ino]:
                self._hold(path / name)
        else:
            self._contents[found.st_ino] = path.read_bytes()

    def sync_all(self) -> None:
        """Take note of a file system that is synchronised now."""
        seen = _look(self._root)
        self._names, self._contents = dict(seen.names), dict(seen.contents)
        for path in self._root.rglob("*"):
            self._hold(path)

    def after_loss(self, way: str, seed: int) -> Tree:
        """What is there when power is lost now, in one of several ways."""
        seen, chance = _look(self._root), random.Random(seed)
        tree: dict[str, bytes | None] = {}
        waiting = [("", self._number)]
        while waiting:
            place, number = waiting.pop()
            old, new = self._names.get(number, {}), seen.names.get(number, {})
            for name, inode in sorted(_kept(old, new, way, chance).items()):
                path = f"{place}{name}"
                if inode in self._names or inode in seen.names:
                    tree[path] = None
                    waiting.append((f"{path}/", inode))
                else:
                    tree[path] = _content(self._contents.get(inode, b""), seen.contents.get(inode), way, chance)
        return tree


def _look(root: Path) -> _Seen:
    names, contents = {root.stat().st_ino: _names(root)}, {}
    for entry in entries(root):
        # What another thread gives another name, or removes, meanwhile.
        with suppress(FileNotFoundError):
            if entry.is_dir(follow_symlinks=False):
                names[entry.inode()] = _names(Path(entry.path))
            else:
                contents[entry.inode()] = Path(entry.path).read_bytes()
    return _Seen(names, contents)


def _names(folder: Path) -> dict[str, int]:
    with os.scandir(folder) as found:
        return {each.name: each.inode() for each in found}


def _kept(old: dict[str, int], new: dict[str, int], way: str, chance: random.Random) -> dict[str, int]:
    """Names in a folder."""
    if way == "nothing":
        return old
    if way in ("names", "halves"):
        return new
    kept = dict(old)
    # Names of the same file, which was given another name, change together.
    groups = list[set[str]]()
    for inode in sorted({*old.values(), *new.values()}):
        group = {name for names in (old, new) for name, each in names.items() if each == inode}
        groups = [each for each in groups if not each & group] + [
            group.union(*(each for each in groups if each & group))
        ]
    for group in groups:
        if chance.random() < 0.5:
            for name in group:
                kept.pop(name, None)
            kept |= {name: new[name] for name in group if name in new}
    return kept


def _content(synced: bytes, now: bytes | None, way: str, chance: random.Random) -> bytes:
    """What a file holds; of one that is not there any more what was synchronised."""
    if now is None or now == synced or way in ("nothing", "names"):
        return synced
    half = now[: len(now) // 2]
    return half if way == "halves" else chance.choice([synced, half, now])


class _Recorder:
    """Trees after a loss of power before every so many-th change, each once."""

    def __init__(self, root: Path, every: int) -> None:
        self.every, self.count = every, 0
        self.root, self.disk, self.lock = root, Disk(root), threading.RLock()
        self.trees: dict[frozenset[tuple[str, bytes | None]], Tree] = {}

    def lose(self) -> None:
        with self.lock:
            self.count += 1
            if (self.count - 1) % self.every:
                return
            for way in _WAYS:
                tree = self.disk.after_loss(way, self.count)
                self.trees.setdefault(frozenset(tree.items()), tree)

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if is_change(event, arguments, self.root):
            self.lose()

    def fsync(self, fd: Any) -> None:
        # Others wait: what they do meanwhile is not on the disk yet.
        with self.lock:
            self.lose()
            self.disk.sync(fd)

    def sync_file_system(self, folder: Path) -> bool:
        with self.lock:
            self.lose()
            self.disk.sync_all()
        return True


#: Whoever is told of changes: a hook can't be taken away.
_recorders: list[_Recorder] = []


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    for recorder in _recorders:
        recorder.audit(event, arguments)


@contextmanager
def _recording(root: Path, every: int, together: bool) -> Iterator[_Recorder]:
    if not getattr(sys, "_xfit_tests_audit", False):
        sys.addaudithook(_audit)
        sys._xfit_tests_audit = True  # type: ignore[attr-defined]
    recorder, plain, whole = _Recorder(root, every), os.fsync, atomic_write.sync_file_system
    _recorders.append(recorder)
    os.fsync = recorder.fsync
    atomic_write.sync_file_system = recorder.sync_file_system if together else lambda folder: False
    try:
        yield recorder
    finally:
        os.fsync, atomic_write.sync_file_system = plain, whole
        _recorders.remove(recorder)
        recorder.disk.close()


def _restore(tree: Tree, to: Path) -> Path:
    to.mkdir(parents=True)
    for name, content in tree.items():
        path = to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if content is None else path.write_bytes(content)
    return to


def without_power(
    folder: Path, to: Path, call: Callable[[], object], usual: int, together: bool = True
) -> Iterator[tuple[Path, bool]]:
    """Folders as they are when power was lost before the first change that a call makes in a folder, and
    so on to its end, and after it.

    Parameters
    ----------
    folder : path
        Where the call writes.
    to : path
        Where the folders go.
    call : callable
        What is done, at once.
    usual : int
        Every so many-th change is tried; see `tests.support.kills.step`.
    together : bool, optional
        Whether the system can synchronise a whole file system at once.

    Returns
    -------
    iterator of tuple of path and bool
        The folder, and whether the call had returned.
    """
    with _recording(folder, step(usual), together) as recorder:
        call()
        before = list(recorder.trees.values())
        recorder.trees.clear()
        recorder.count, recorder.every = 0, 1
        recorder.lose()
    after = list(recorder.trees.values())
    # Names and contents have been lost: something was not synchronised.
    assert len(before) > 2
    return _restored(before, after, to)


def _restored(before: list[Tree], after: list[Tree], to: Path) -> Iterator[tuple[Path, bool]]:
    for number, tree in enumerate([*before, *after]):
        yield _restore(tree, to / f"{number}"), number >= len(before)
