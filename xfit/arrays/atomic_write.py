"""Files and folders that are there as they were or as they are to be: written beside their place, brought to
the disk, put there in one step.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import stat
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Files of zarr stores besides those that hold numbers, and what a process that was killed leaves of one.
_METADATA = re.compile(r"zarr\.json|\.z(?:array|group|attrs|metadata)|.*\.[0-9a-f]{32}\.partial")

#: Files of numbers by their paths: those of version 3 begin with c, those of version 2 do not.
_CHUNK = re.compile(r"(?:(?P<array>.+?)/)?(?:c(?:[./]\d+)*|\d+(?:[./]\d+)*)")

#: Files that are brought to the disk at the same time.
_TOGETHER = 16

#: Of Linux's renameat2(2): paths are taken from the working folder; the names are exchanged.
_AT_FDCWD, _EXCHANGE = -100, 2

#: What a system says that can't exchange names, or synchronise a file system.
_CANNOT = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


#: What a process that is killed leaves of an object of a store that it was writing, by xfit or by zarr.
PARTIAL = re.compile(r".*\.[0-9a-f]{32}\.partial")


def temporary(target: Path) -> Path:
    """A name beside a file or folder that nothing else has."""
    return target.with_name(f".{target.stem}.{uuid.uuid4().hex}.partial{target.suffix}")


def put(target: Path, content: bytes) -> None:
    """Write a file; what is there is replaced when all of the new one is on the disk."""
    replace(target, lambda part: _write(part, content))


def create(target: Path, content: bytes) -> bool:
    """Write a file unless there is one of its name, whoever made that and when; return whether it was written."""
    part = temporary(target)
    try:
        _write(part, content)
        to_disk(part)
        is_new = give_name(part, target)
        if is_new:
            fsync(target.parent)
        return is_new
    finally:
        part.unlink(missing_ok=True)


def give_name(part: Path, target: Path) -> bool:
    """Give a file a name unless another one has it; return whether it was given, besides or in place of its own."""
    try:
        os.link(part, target)
    except FileExistsError:
        return False
    except OSError:
        # A file system without such links: what comes between these two lines is not seen.
        if target.exists():
            return False
        part.replace(target)
    return True


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)


def replace(target: Path, write: Callable[[Path], object]) -> None:
    """Write a file or folder and put it where one may be.

    Parameters
    ----------
    target : path
        Where; see `refuse_foreign` for what may be there.
    write : callable
        Is called with a path beside it, and makes a file or folder there.

    Notes
    -----
    Where a failure, or the loss of power, ends this, the old content is there whole or the new. Folders are exchanged
    in one step on Linux and macOS; elsewhere there is a moment in which both lie beside their place. A process that is
    killed may leave a name that begins with a dot and has ``.partial`` in it; nothing uses it, and it can be deleted.
    """
    target = target.absolute()
    part = temporary(target)
    try:
        write(part)
        to_disk(part)
        if not target.is_dir() or target.is_symlink():
            part.replace(target)
        elif not _exchange(part, target):
            old = temporary(target)
            target.rename(old)
            try:
                part.rename(target)
            except BaseException:
                old.rename(target)
                raise
            part = old
        fsync(target.parent)
    finally:
        _remove(part)


def _remove(path: Path) -> None:
    """Remove what was written, or replaced."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder, and those that lead to it; what is new of them is on the disk with its name."""
    for each in made(folder):
        fsync(each)


def made(folder: Path) -> list[Path]:
    """Make a folder, and those that lead to it; return those that have a new name in them."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    if missing:
        missing[0].mkdir(parents=True, exist_ok=True)
    return [each.parent for each in missing]


def to_disk(path: Path) -> None:
    """Wait until a file, or a folder with all that is in it, is on the disk."""
    if not path.is_dir():
        fsync(path)
    elif not sync_file_system(path):
        files, folders = list[Path](), [path]
        for entry in entries(path):
            (folders if entry.is_dir(follow_symlinks=False) else files).append(Path(entry.path))
        _fsync_each(files, folders)


def files_to_disk(root: Path, files: Iterable[Path]) -> None:
    """Wait until files below a folder are on the disk, with their names and those of the folders that lead to them."""
    if not sync_file_system(root):
        listed = list(files)
        folders = {each for file in listed for each in file.parents if each == root or root in each.parents}
        _fsync_each(listed, folders)


def _fsync_each(files: Iterable[Path], folders: Iterable[Path]) -> None:
    with ThreadPoolExecutor(_TOGETHER) as pool:
        list(pool.map(fsync, files))
        list(pool.map(fsync, folders))


def sync_file_system(folder: Path) -> bool:
    """Wait until all that was written to a folder's file system is on the disk; False where the system can't.

    For many files this costs as little as for one.

    Raises
    ------
    OSError
        If something could not be written.
    """
    library: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if not hasattr(library, "syncfs"):
        return False
    number = os.open(folder, os.O_RDONLY)
    try:
        failed = library.syncfs(number) != 0
    finally:
        os.close(number)
    if failed and ctypes.get_errno() not in _CANNOT:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    return not failed


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():  # which can't be opened there, and need not be
        return
    # Windows syncs only what is open for writing.
    number = os.open(path, (os.O_RDWR | getattr(os, "O_BINARY", 0)) if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system, or the file system, can't."""
    library: Any = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, ctypes.c_uint(_EXCHANGE))
    elif hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_EXCHANGE))
    else:
        return False
    if failed and ctypes.get_errno() not in _CANNOT:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(other))
    return not failed


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All that lies in a folder and below; links are not followed."""
    waiting = [os.fspath(folder)]
    while waiting:
        with suppress(FileNotFoundError), os.scandir(waiting.pop()) as found:
            for entry in found:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


def remove_empty(folder: Path) -> None:
    """Remove a folder and those in it, as far as no file is in them."""
    inside = [Path(each.path) for each in entries(folder) if each.is_dir(follow_symlinks=False)]
    for each in sorted([folder, *inside], reverse=True):
        with suppress(OSError):
            each.rmdir()


def foreign_key(keys: Iterator[str] | list[str]) -> str | None:
    """The first of the paths in a zarr store that no zarr store has, if there is one.

    Parameters
    ----------
    keys : iterable of str
        Paths of all files, from the store's root, with "/".
    """
    known = set(keys)
    for key in sorted(known):
        if _METADATA.fullmatch(key.rpartition("/")[2]):
            continue
        chunk = _CHUNK.fullmatch(key)
        place = "" if chunk is None or chunk["array"] is None else f"{chunk['array']}/"
        if chunk is None or not known & {f"{place}zarr.json", f"{place}.zarray"}:
            return key
    return None


def in_order(keys: Iterable[str]) -> list[list[str]]:
    """Files of a zarr store, or of a run, in the order in which they are deleted: what is left
    at any moment says what it is.

    Parameters
    ----------
    keys : iterable of str
        Paths of all files, from the root, with "/".

    Returns
    -------
    list of list of str
        Files of numbers, then the descriptions of arrays, then those of the root.
    """
    found: list[list[str]] = [[], [], []]
    for key in keys:
        described = bool(_METADATA.fullmatch(key.rpartition("/")[2]))
        found[1 if described and "/" in key else 2 if "/" not in key else 0].append(key)
    return found


def refuse_link(path: Path) -> None:
    """Refuse a link where something is to be written.

    Raises
    ------
    FileExistsError
        Naming what it leads to.
    """
    if path.is_symlink():
        raise FileExistsError(f"{str(path)!r} is a link to {os.readlink(path)!r}; give that path, or remove the link")


def refuse_device(path: Path) -> int:
    """Refuse what is no file, such as a device or a pipe, which may never end; return the size of
    a file, 0 where there is none.

    Raises
    ------
    ValueError
        Naming it.
    """
    try:
        about = path.stat()
    except (OSError, ValueError):
        return 0
    if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
        raise ValueError(f"{str(path)!r} is no file but a device, a pipe or a socket; it is not read")
    return about.st_size


def refuse_foreign(target: Path, *, is_folder: bool) -> None:
    """Refuse to replace what is no file, or no zarr store, of its kind.

    Parameters
    ----------
    target : path
        What would be replaced; it may not be there.
    is_folder : bool
        Whether a zarr store takes its place.

    Raises
    ------
    FileExistsError
        Naming the link, the folder or the file that stands in the way.
    """
    refuse_link(target)
    if not target.exists():
        return
    if target.is_dir() != is_folder:
        is_there, wanted = ("folder", "file") if target.is_dir() else ("file", "folder")
        raise FileExistsError(
            f"{str(target)!r} is a {is_there}, and a {wanted} is to take its place; move it, or give another name"
        )
    if not is_folder:
        return
    found = list(entries(target))
    keys = [Path(each.path).relative_to(target).as_posix() for each in found if not each.is_dir(follow_symlinks=False)]
    links = [Path(each.path).relative_to(target).as_posix() for each in found if each.is_symlink()]
    strange = links[0] if links else foreign_key(keys)
    if strange is not None:
        what = "a link" if links else "no part of a zarr store"
        raise FileExistsError(
            f"{str(target)!r} is not replaced, for {strange!r} in it is {what}; move it, or give another name"
        )
