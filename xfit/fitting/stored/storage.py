"""The objects of a zarr store: listed with their sizes, read, written so that they survive a power
failure, and deleted by name.
"""

from __future__ import annotations

import asyncio
import functools
import os
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.core.buffer.core import default_buffer_prototype
from zarr.core.sync import collect_aiterator, sync
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from xfit.arrays.atomic_write import entries, files_to_disk, fsync, give_name, made, make_folder, refuse_device
from xfit.display import cleaned, is_url, local_path, without_secrets

#: Objects that are read or deleted at the same time.
_TOGETHER = 32

#: Seconds for which files of a folder are written one by one: far more than those of a chunk take on a local disk.
_SLOW = 0.02

#: Folders of which it is remembered that their names are on the disk.
_NAMED = 10_000


class StoreError(OSError):
    """A result in a store could not be written, or is not what was written."""

    def __init__(self, words: str) -> None:
        # Most of them name what is in the file.
        super().__init__(cleaned(words))


class DurableStore(LocalStore):
    """A folder in which an object that `set` has returned from is on the disk, with its name
    and the folders that lead to it.

    An object replaces the one that was there at once, when all of it is on the disk. Nothing is written or deleted
    through a link that leads out of the folder.

    Parameters
    ----------
    root, read_only
        As for `zarr.storage.LocalStore`.
    deferred : bool, optional
        Whether what is written is on the disk when `flush` has returned, instead.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False, deferred: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self.deferred = deferred
        self._named: set[Path] = set()

    async def _open(self, *, mode: Any = None) -> None:
        self._make_root()
        await super()._open(mode=mode)

    def _ensure_open_sync(self) -> None:
        if not self._is_open:
            self._make_root()
        super()._ensure_open_sync()

    def _make_root(self) -> None:
        """Make the folder of the store, so that its name is on the disk."""
        if not self.read_only:
            make_folder(self.root)

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Buffer | None:
        """Read an object, which must be a file."""
        refuse_device(self.root / key)
        return await super().get(key, prototype, byte_range)

    def get_sync(self, key: str, *, prototype: Any = None, byte_range: Any = None) -> Buffer | None:
        """See `get`."""
        refuse_device(self.root / key)
        return super().get_sync(key, prototype=prototype, byte_range=byte_range)

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        if not self._is_open:
            await self._open()
        self._check_writable()
        await asyncio.to_thread(self._put, key, value, exclusive)

    def set_sync(self, key: str, value: Buffer) -> None:
        """See `_set`."""
        self._ensure_open_sync()
        self._check_writable()
        self._put(key, value)

    def _put(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        path, at_once = self.root / key, exclusive or not self.deferred
        self.check_inside(path)
        new = made(path.parent)
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
        try:
            with part.open("wb") as file:
                file.write(value.as_buffer_like())
                if at_once:
                    file.flush()
                    os.fsync(file.fileno())
            if not exclusive:
                part.replace(path)
            elif not give_name(part, path):
                raise FileExistsError(key)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        if exclusive:
            part.unlink(missing_ok=True)
        if at_once:
            self._sync(path, {*new, *self._unnamed(path.parent)})

    def _unnamed(self, folder: Path) -> set[Path]:
        """A folder, and those above that have names in them which another thread or process may not
        have brought to the disk yet.
        """
        return {folder} | {each.parent for each in self._leading(folder) if each not in self._named}

    def _leading(self, folder: Path) -> list[Path]:
        """A folder and those that lead to it from the store's own."""
        inside = (folder, *folder.parents)
        return list(inside[: inside.index(self.root)])

    def _sync(self, file: Path, folders: Iterable[Path]) -> None:
        """Bring the name of a file, and folders that lead to it, to the disk."""
        list(_pool().map(fsync, folders))
        if len(self._named) > _NAMED:
            self._named.clear()
        self._named.update(self._leading(file.parent))

    def flush(self, keys: Iterable[str]) -> None:
        """Return when some objects are on the disk, with their names, whichever process has written them."""
        files_to_disk(self.root, (self.root / key for key in keys))

    def check_inside(self, path: Path) -> None:
        """Refuse a place that a link leads out of the folder.

        Raises
        ------
        StoreError
            Naming the link.
        """
        if not any(map(os.path.islink, (path, *self._leading(path.parent)))):
            return
        folder = path.parent
        root = os.path.realpath(self.root)
        if path.is_symlink() or not _within(os.path.realpath(folder), root):
            link = next(each for each in (path, *path.parents) if each.is_symlink())
            raise StoreError(_words_of_link(str(self.root), os.path.relpath(link, self.root), str(link.readlink())))

    def flush_deleted(self, keys: Iterable[str]) -> None:
        """Return when it is on the disk that there are no files under some keys any more."""
        for folder in {self._there((self.root / key).parent) for key in keys}:
            fsync(folder)

    def _there(self, folder: Path) -> Path:
        """A folder, or the next above it that is there."""
        while not folder.is_dir() and folder != self.root:
            folder = folder.parent
        return folder

    async def delete(self, key: str) -> None:
        """Delete an object, and folders that it leaves empty; see `flush_deleted` for when that is on the disk."""
        self._check_writable()
        path = self.root / key
        self.check_inside(path)
        path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            while (path := path.parent) != self.root:
                path.rmdir()
                self._named.discard(path)

    async def delete_dir(self, prefix: str) -> None:
        """Delete a folder with all that is in it."""
        await super().delete_dir(prefix)
        self._named.clear()

    def links(self) -> list[str]:
        """Links inside that lead out, with what they lead to."""
        found = []
        root = os.path.realpath(self.root)
        for entry in entries(self.root):
            if entry.is_symlink() and not _within(os.path.realpath(entry.path), root):
                name = os.path.relpath(entry.path, self.root)
                found.append(_words_of_link(str(self.root), name, os.readlink(entry.path)))
        return found


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _words_of_link(root: str, name: str, target: str) -> str:
    return cleaned(
        f"{root}: {name} is a link that leads out of the store, to {target}; nothing is written or deleted through "
        "it. Put what it leads to in its place, or give another store"
    )


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Threads that wait for disks."""
    return ThreadPoolExecutor(16, thread_name_prefix="xfit-sync")


if hasattr(os, "register_at_fork"):
    # A child has no threads.
    os.register_at_fork(after_in_child=_pool.cache_clear)


def open_store(store: Any, options: Mapping[str, Any]) -> Store:
    """Open what a user calls a store: a path, which is made absolute, a URL, or an open store, which is used as it is.

    A folder, also as zarr's ``LocalStore``, is written so that it survives a power failure. Of a wrapper around one the
    wrapper writes, in its own way.

    Raises
    ------
    TypeError
        For options where there is no URL.
    """
    if isinstance(store, Store):
        if options:
            raise TypeError("storage_options go with a URL; the zarr Store that store= is has been given its own")
        if type(store) is LocalStore:
            return DurableStore(store.root.absolute(), read_only=store.read_only)
        return store
    text = path_or_url(store)
    if "://" in text:
        return FsspecStore.from_url(text, storage_options=dict(options))
    if options:
        raise TypeError(
            f"storage_options go with a URL such as s3://bucket/name; store={without_secrets(store)!r} is a path"
        )
    return DurableStore(text)


def path_or_url(store: Any) -> Any:
    """What a user calls a store, in words that mean the same in every process: an absolute path,
    a URL; an open store as it is.
    """
    if isinstance(store, Store):
        return store
    return str(store) if is_url(store) else os.path.abspath(local_path(store))


def keeps_versions(store: Store) -> bool:
    """Whether a store is a session of a versioned one (Icechunk): what is written is seen by others when
    it is committed, all at once.
    """
    return type(unwrapped(store)).__module__.startswith("icechunk")


def unwrapped(store: Store) -> Store:
    """The store in wrappers."""
    while isinstance(store, WrapperStore):
        store = store._store
    return store


def is_inside(store: Store, path: str, place: Store) -> bool:
    """Whether a path in one store lies within another, as far as that can be told."""
    one, other = unwrapped(store), unwrapped(place)
    folder, root = _folder(one), _folder(other)
    if folder is not None and root is not None:
        return _within(os.path.realpath(os.path.join(folder, path)), os.path.realpath(root))
    if isinstance(one, FsspecStore) and isinstance(other, FsspecStore):
        protocols = {str(each.fs.protocol) for each in (one, other)}
        return len(protocols) == 1 and f"{one.path}/{path}/".startswith(other.path.rstrip("/") + "/")
    held = getattr(one, "_store_dict", None)
    return one is other or (held is not None and held is getattr(other, "_store_dict", None))


def _folder(store: Store) -> str | None:
    """The folder that a store is, if it is one."""
    if isinstance(store, LocalStore):
        return str(store.root)
    return str(store.path) if isinstance(store, FsspecStore) and "file" in store.fs.protocol else None


class Objects:
    """The objects of a store by their keys.

    Parameters
    ----------
    store : zarr Store
        The store.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def get(self, key: str) -> bytes | None:
        """What an object holds, None where there is none."""
        if isinstance(self.store, DurableStore):
            found = self.store.get_sync(key)
        else:
            found = sync(self.store.get(key, default_buffer_prototype()))
        return None if found is None else found.to_bytes()

    def put(self, key: str, content: bytes) -> None:
        """Write an object."""
        put_together(self.store, {key: default_buffer_prototype().buffer.from_bytes(content)})

    def put_all(self, files: Mapping[str, bytes]) -> None:
        """Write objects, several at a time."""
        place = unwrapped(self.store)
        store = DurableStore(place.root, deferred=True) if isinstance(place, DurableStore) else self.store

        async def put(key: str) -> None:
            await store.set(key, default_buffer_prototype().buffer.from_bytes(files[key]))

        sync(_each(put, files))
        if isinstance(store, DurableStore):
            store.flush(files)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there do not matter. On return they are
        gone for good, whatever happens.
        """

        async def delete(key: str) -> None:
            with suppress(FileNotFoundError):
                await self.store.delete(key)

        listed = list(keys)
        sync(_each(delete, listed))
        place = unwrapped(self.store)
        if isinstance(place, DurableStore):
            place.flush_deleted(listed)

    def sizes(self) -> dict[str, int]:
        """All keys with the number of bytes of each; of a folder links are not followed.

        Objects that come or go meanwhile may be listed or not.
        """
        store = unwrapped(self.store)
        if isinstance(store, LocalStore):
            return _files(store.root)
        if isinstance(store, FsspecStore):
            # What another process has written is not in what this one remembers.
            store.fs.invalidate_cache()
            found = sync(_found(store))
            root = store.path.rstrip("/") + "/"
            return {name.removeprefix(root): int(each.get("size") or 0) for name, each in found.items()}
        keys = collect_aiterator(store.list())
        sizes: dict[str, int] = {}

        async def measure(key: str) -> None:
            with suppress(FileNotFoundError):
                sizes[key] = await store.getsize(key)

        sync(_each(measure, keys))
        return sizes

    def links(self) -> list[str]:
        """Words for links that lead out of a folder."""
        store = unwrapped(self.store)
        return DurableStore.links(DurableStore(store.root)) if isinstance(store, LocalStore) else []

    def visit(self, keys: Iterable[str], look: Callable[[str, memoryview | None], None]) -> None:
        """Read objects, several at a time, and show each to a function; None for what is not there."""

        async def read(key: str) -> None:
            found = await self.store.get(key, default_buffer_prototype())
            look(key, None if found is None else memoryview(found.to_bytes()))

        sync(_each(read, keys))


def put_together(store: Store, parts: Mapping[str, Buffer]) -> None:
    """Write objects, all at the same time where each alone would wait: for an answer of far
    storage, for a disk that is slow.
    """
    if not isinstance(store, DurableStore):
        sync(_set_each(store, parts))
        return
    waiting, began = [*parts.items()], time.monotonic()
    while waiting and time.monotonic() - began < _SLOW:
        store.set_sync(*waiting.pop())
    futures = [_pool().submit(store.set_sync, *part) for part in waiting]
    # As below, all are waited for.
    wait(futures)
    for future in futures:
        future.result()


async def _set_each(store: Store, parts: Mapping[str, Buffer]) -> None:
    # All are waited for, so that none goes on when the caller has been told of a failure.
    for outcome in await asyncio.gather(*(store.set(*part) for part in parts.items()), return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def checksum(content: Any) -> int:
    """CRC-32 of bytes."""
    return zlib.crc32(content)


async def _each(act: Callable[[str], Any], keys: Iterable[str]) -> None:
    """Do something with each of many keys, a number of them at a time."""
    waiting = iter(list(keys))

    async def work() -> None:
        for key in waiting:
            await act(key)

    for outcome in await asyncio.gather(*(work() for _ in range(_TOGETHER)), return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


async def _found(store: FsspecStore) -> dict[str, Any]:
    try:
        found: dict[str, Any] = await store.fs._find(store.path, detail=True, withdirs=False)
    except FileNotFoundError:
        return {}
    return found


def _files(root: Path) -> dict[str, int]:
    start = len(str(root).rstrip(os.sep)) + 1
    found = {}
    for entry in entries(root):
        with suppress(FileNotFoundError):
            if not entry.is_dir(follow_symlinks=False):
                key = entry.path[start:]
                found[key.replace(os.sep, "/")] = entry.stat(follow_symlinks=False).st_size
    return found
