"""Archive: the zarr group of a result, laid out before any fit, filled chunk by chunk, with a mark
for every chunk that is whole.

What is in a store stays whole until what replaces it is: see `xfit.fitting.stored.description` for how two runs lie in
one group. All that is written of a run, in this order: a copy of its description (``marks/run-a`` or ``run-b``), who
writes (``marks/writer``), its coordinates, and the metadata of group and arrays, which of a run that replaces another
are written when all its chunks are; then chunks, and after the files of each its mark, with their sizes and checksums.
Every process that writes a chunk looks before and after it whether it is still the one who writes. What is not this,
xfit has not made, and never removes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import socket
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.core.sync import collect_aiterator, sync
from zarr.storage import LocalStore, StorePath, WrapperStore

from xfit.display import without_secrets
from xfit.fitting.running.chunk_grid import ChunkGrid
from xfit.fitting.running.worker_watch import computed
from xfit.fitting.stored import description as layout
from xfit.fitting.stored.chunk_encoding import Encoder, encoder_of
from xfit.fitting.stored.codecs import checked
from xfit.fitting.stored.description import FORMAT, MANIFEST, MARKS, MESSAGE, WRITER, Description, Mark, Written
from xfit.fitting.stored.storage import (
    DurableStore,
    Objects,
    StoreError,
    checksum,
    keeps_versions,
    open_store,
    path_or_url,
    put_together,
    unwrapped,
)
from xfit.fitting.stored.unread import open_zarr
from xfit.modeling.text_limits import json_of

__all__ = ["FORMAT", "MANIFEST", "Archive", "Mark", "StoreState"]

#: What a run replaces that was stored in format 1, which had no identities.
_FIRST_FORMAT = "format 1"


@dataclass(frozen=True)
class StoreState:
    """What is in a store.

    Attributes
    ----------
    current : Description or None
        The run that readers have.
    next : Description or None
        The run that will replace it, when it is whole.
    old : mapping or None
        In place of ``current``, what a run of format 1 is of.
    left : Description or None
        The run that ``current`` has replaced, if not all of it is removed.
    damage : tuple of str
        Files that say what the runs are and can't be read, with the reason.
    """

    current: Description | None = None
    next: Description | None = None
    old: Mapping[str, Any] | None = None
    left: Description | None = None
    damage: tuple[str, ...] = ()

    @property
    def is_run(self) -> bool:
        """Whether there is one."""
        return self.current is not None or self.next is not None or self.old is not None


class _Recording(WrapperStore[Store]):
    """A store that notes size and checksum of all that is written."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.written: dict[str, Written] = {}

    async def set(self, key: str, value: Buffer) -> None:
        await self._store.set(key, value)
        self.written[key] = _size_of(value)


def _size_of(value: Buffer) -> Written:
    """Size and checksum of an object."""
    content = value.as_buffer_like()
    return memoryview(content).nbytes, checksum(content)


class Archive:
    """A result in a zarr store.

    Parameters
    ----------
    store : str, path or zarr Store
        Where: a path, a URL of any kind that fsspec knows, or an open store.
    storage_options : mapping, optional
        What the file system of a URL needs.
    """

    def __init__(self, store: Any, storage_options: Mapping[str, Any] | None = None) -> None:
        self.options = dict(storage_options or {})
        opened = open_store(store, self.options)
        self.store = checked(opened)
        # The same place in every process.
        self.given = path_or_url(store) if not isinstance(store, Store) else opened
        # As bytes, which are compared with what was written.
        self.objects = Objects(opened)
        self.description: Description | None = None
        self.writer = ""
        self._chunks = (
            DurableStore(self.store.root, deferred=True) if isinstance(self.store, DurableStore) else self.store
        )
        self._recording = _Recording(self._chunks)
        self._encoders: dict[str, Encoder | None] = {}
        self._seen: tuple[bytes, Any] = b"", {}
        self._read: dict[tuple[str, int], Mark] = {}

    def __reduce__(self) -> Any:
        return _again, (self.given, self.options, self.description, self.writer)

    def __str__(self) -> str:
        return without_secrets(self.given)

    # --- what is there

    @property
    def exists(self) -> bool:
        """Whether anything is there."""
        return not sync(self.store.is_empty(""))

    def manifest(self) -> dict[str, Any] | None:
        """What the run is of that is there; None where there is none, {} where it was not laid out to the end.

        Raises
        ------
        StoreError
            If the file that says so is damaged.
        """
        state = self.look()
        if state.old is not None:
            return dict(state.old) if self.objects.get(f"{MARKS}/done/zarr.json") is not None else {}
        if state.damage and state.damage[0].startswith(f"{self}: zarr.json"):
            raise StoreError(
                f"{state.damage[0]}. resume=True with the arguments of the run restores it, if it was written by this "
                "version of xfit"
            )
        if state.current is not None and self.objects.get("zarr.json") is not None:
            return state.current.manifest
        return {} if state.is_run else None

    def look(self) -> StoreState:
        """What runs are there.

        Raises
        ------
        StoreError
            If one is of a later format.
        """
        if not self.exists:
            return StoreState()
        damage: list[str] = []
        found: dict[str, Description | None] = {}
        raw = self.objects.get("zarr.json")
        for key in ("zarr.json", *map(layout.run_key, "ab")):
            try:
                content = raw if key == "zarr.json" else self.objects.get(key)
                found[key] = layout.parsed(content, key, str(self))
            except layout.FormatError:
                raise
            except StoreError as error:
                damage.append(str(error))
                found[key] = None
        root, copies = found.pop("zarr.json"), [each for each in found.values() if each is not None and each.is_whole]
        if root is not None:
            known = next((each for each in copies if each.run == root.run), None)
            if known is None and not root.is_whole:
                damage.append(f"{self}: zarr.json has lost the metadata of the arrays (consolidated_metadata)")
                root = None
            elif known is not None and not (root.is_whole and root.agrees(known)):
                if root.is_whole:
                    damage.append(f"{self}: zarr.json is damaged: it differs from its copy, {known.key}")
                root = known
        old = _first_format(raw) if root is None and not damage else None
        if root is None and old is None and raw is not None and copies and not damage:
            damage.append(f"{self}: zarr.json has lost its attribute {MANIFEST}")
        if root is None and old is None and (raw is None or damage):
            # Copies tell: of two, it is that which the other is to replace.
            olds = [each for each in copies if not any(_replaces(each, other) for other in copies)]
            root = olds[0] if olds and not (_replaced_first(olds[0]) and raw is not None) else None
        others = [each for each in copies if root is None or each.run != root.run]
        after = [each for each in others if (_replaces(each, root) if root is not None else _replaced_first(each))]
        left = [each for each in others if each not in after] if root is not None else []
        return StoreState(root, after[0] if after else None, old, left[0] if left else None, tuple(damage))

    def foreign(self, state: StoreState, sizes: Iterable[str]) -> list[str]:
        """Keys of what no run has made, hidden files left out."""
        names = self.names(state)
        return [
            key
            for key in sizes
            if not (layout.is_file(names, key) or any(layout.is_chunk(names, each, key) for each in "ab"))
            and not any(part.startswith(".") for part in key.split("/"))
        ]

    def names(self, state: StoreState) -> set[str]:
        """Arrays of the runs that are there."""
        found = {name for each in (state.current, state.next, state.left) if each is not None for name in each.names}
        if state.old is not None:
            try:
                coordinates = open_zarr(self.store, consolidated=False, chunks=None).coords
            except Exception as error:
                raise StoreError(
                    f"{self}: metadata of its arrays are missing or damaged ({type(error).__name__}: {error}); give "
                    "another place, or empty it"
                ) from error
            found |= {*state.old["variables"], *map(str, coordinates), f"{MARKS}/done", f"{MARKS}/unread"}
        return found

    # --- before a run

    def claim(self, description: Description, how: str) -> None:
        """Be the one who writes; who has written until now finds out before the next chunk.

        Parameters
        ----------
        description : Description
            What will be written.
        how : str
            Words for others.
        """
        self.description, self.writer = description, uuid.uuid4().hex
        self._encoders.clear()
        words = {"writer": self.writer, "run": description.run, "generation": description.generation, "how": how}
        self.objects.put(WRITER, layout.wrapped(words | layout.who()))

    def lay_out(
        self, template: xr.Dataset, grid: ChunkGrid, inner: Mapping[str, int], manifest: Mapping[str, Any]
    ) -> None:
        """Describe a run, and begin to write it; one that is there stays as it is.

        Parameters
        ----------
        template : Dataset
            The result; variables over chunked dimensions are lazy and never computed.
        grid : ChunkGrid
            The chunks in which it will be written.
        inner : mapping of str to int
            Chunk sizes for reading back, by dimension, where they are smaller than those.
        manifest : mapping
            What the run is of.
        """
        state = self.look()
        replaced = state.current
        generation = "b" if state.old is not None else "a" if replaced is None else layout.other(replaced.generation)
        words = {
            **manifest,
            "run": uuid.uuid4().hex,
            "began": layout.who(),
            "of": _FIRST_FORMAT if state.old is not None else "" if replaced is None else replaced.run,
        }
        in_place = keeps_versions(self.store)
        if in_place:
            # What there was is in its history, and nobody sees what is not committed; only chunks of zarr's first
            # naming can be in it.
            generation, words["of"] = "a", ""
        known = self.names(state)
        made, files = layout.describe(template, grid, inner, words, generation, known)
        # Before anything of it is there: what it is of, by which resume=True knows it, and the names of all that there
        # may be.
        self.objects.put(made.key, made.copy())
        self.claim(made, "begun" if not state.is_run else "begun in its place, with overwrite=True,")
        names = {*known, *made.arrays}
        old = [key for key in self.objects.sizes() if layout.is_chunk(names, generation, key)]
        # Of two that begin at once the first ends here, before it takes away or covers what the second has written.
        self.check_writer()
        self.objects.delete(old)
        if in_place:
            self.publish()
        self.check_writer()
        self.objects.put_all(files)
        if not in_place and replaced is None and state.old is None:
            self.publish()

    def restore(self, files: Mapping[str, bytes], bad: Iterable[str]) -> None:
        """Write again what is damaged of the description of a run that goes on, and of its coordinates.

        Parameters
        ----------
        files : mapping of str to bytes
            Coordinates' chunks as they should be.
        bad : iterable of str
            Those that are not.

        Raises
        ------
        StoreError
            If they can't be made as they were.
        """
        made = self._made()
        if self.objects.get(made.key) != made.copy():
            self.objects.put(made.key, made.copy())
        for key in bad:
            if key not in files or (len(files[key]), checksum(files[key])) != made.files[key]:
                raise StoreError(
                    f"{self}: {key} is damaged, and would be written otherwise by the libraries that are installed "
                    "now; overwrite=True begins anew"
                )
            self.objects.put(key, files[key])

    def rewrite(self, keys: Iterable[str]) -> None:
        """Write metadata of arrays again, and of the group where it can't be read."""
        made = self._made()
        for key in keys:
            self.objects.put(key, made.metadata[key])
        text = made.over(self.objects.get("zarr.json"))
        if text is not None:
            self.objects.put("zarr.json", text)

    def damaged_files(self, sizes: Mapping[str, int]) -> list[str]:
        """Coordinates' chunks that are not what was written."""
        made = self._made()
        bad = [key for key, (size, _) in made.files.items() if sizes.get(key) != size]
        good = [key for key in made.files if key not in bad]
        return bad + self._changed(good, {key: made.files[key][1] for key in good})

    def description_sizes(self) -> dict[str, int]:
        """Sizes of the files that a run's description and coordinates lie in, of those that are there."""
        made = self._made()
        found = {key: self._size(key) for key in (*made.files, made.key, "zarr.json")}
        return {key: size for key, size in found.items() if size is not None}

    def damaged_metadata(self) -> list[str]:
        """Metadata of arrays that are not those of the run."""
        made = self._made()
        return [key for key, content in made.metadata.items() if not _same_json(self.objects.get(key), content)]

    def _changed(self, keys: Iterable[str], sums: Mapping[str, int]) -> list[str]:
        """Objects with another checksum."""
        found: list[str] = []

        def look(key: str, content: memoryview | None) -> None:
            if content is None or checksum(content) != sums[key]:
                found.append(key)

        self.objects.visit(keys, look)
        return sorted(found)

    def verify(self, sizes: Mapping[str, int]) -> tuple[dict[int, Mark], dict[int, str]]:
        """Chunks that are whole, with their marks, and what is wrong with others that have a mark; all of it is read.

        Parameters
        ----------
        sizes : mapping of str to int
            What is there.
        """
        made = self._made()
        by_key = {key: chunk for chunk in range(len(made.grid)) if (key := made.mark_key(chunk)) in sizes}
        marks: dict[int, tuple[Mark, list[Written]] | None] = {}

        def read(key: str, content: memoryview | None) -> None:
            marks[by_key[key]] = None if content is None else made.read_mark(content)

        self.objects.visit(by_key, read)
        wrong: dict[int, str] = {}
        sums: dict[str, int] = {}
        places: dict[str, int] = {}
        for chunk in sorted(marks):
            mark = marks[chunk]
            if mark is None:
                wrong[chunk] = f"its mark {made.mark_key(chunk)} is not what was written"
                continue
            for key, (size, crc) in zip(made.keys(chunk), mark[1], strict=True):
                if sizes.get(key) != size and (there := self._size(key)) != size:
                    words = "is missing" if there is None else f"has {there} bytes of {size}"
                    wrong.setdefault(chunk, f"{key} {words}")
                else:
                    sums[key], places[key] = crc, chunk
        for key in self._changed(sums, sums):
            wrong.setdefault(places[key], f"{key} is not what was written (its checksum is another)")
        whole = {chunk: mark[0] for chunk, mark in marks.items() if mark is not None and chunk not in wrong}
        return whole, dict(sorted(wrong.items()))

    def _size(self, key: str) -> int | None:
        """Size of an object that was written after all were listed, perhaps."""
        found = self.objects.get(key)
        return None if found is None else len(found)

    def discard(self, chunks: Iterable[int], sizes: Mapping[str, int]) -> None:
        """Remove what there is of chunks that will be written again, their marks first."""
        made, listed = self._made(), list(chunks)
        self.objects.delete(key for chunk in listed if (key := made.mark_key(chunk)) in sizes)
        rest = (key for chunk in listed for key in (*made.keys(chunk), made.message_key(chunk)))
        self.objects.delete(key for key in rest if key in sizes)

    def missing_of_first_format(self, known: Mapping[str, Any], chunks: Iterable[int] | None = None) -> list[str]:
        """Objects that some chunks of a run of format 1, or all, should have and have not, and those
        that say that they have no data.
        """
        grid = ChunkGrid(tuple(map(tuple, known["chunks"].values())), (0,) * len(known["chunks"]))
        sizes = self.objects.sizes()
        found = []
        for name in (*known["variables"], f"{MARKS}/done"):
            raw = self.objects.get(f"{name}/zarr.json")
            if raw is None:
                found.append(f"{name}/zarr.json")
                continue
            more = len(json.loads(raw)["shape"]) - len(grid.shape)
            wanted = range(len(grid)) if chunks is None else chunks
            indices = [(chunk, 0) if name.startswith(MARKS) else (*grid.index(chunk), *[0] * more) for chunk in wanted]
            keys = ["/".join(map(str, (name, "c", *index))) for index in indices]
            found += [key for key in keys if not sizes.get(key)]
        unread = [key for key in sizes if key.startswith(f"{MARKS}/unread/c/") and chunks is None]
        return found + unread

    # --- while it goes on

    def check_writer(self) -> None:
        """Make sure that this run is the one who writes.

        Raises
        ------
        StoreError
            Naming who writes instead, or where nothing is to be seen of the run.
        """
        words = self._writer()
        if words is None:
            raise StoreError(
                f"host {socket.gethostname()} (process {os.getpid()}) sees no {WRITER} in {self}, where the run began: "
                "give a path or URL that all workers see, unless the store was removed"
            )
        if words.get("writer") != self.writer:
            raise StoreError(
                f"{self} is written by another run now, which was {words.get('how')} by process {words.get('pid')} on "
                f"{words.get('host')} at {words.get('time')}; this one has ended"
            )

    def _writer(self) -> dict[str, Any] | None:
        place = unwrapped(self.store)
        # Opening a folder would make it.
        if isinstance(place, LocalStore) and not place.root.is_dir():
            return None
        raw = self.objects.get(WRITER)
        if raw == self._seen[0]:
            return dict(self._seen[1])
        try:
            found = None if raw is None else layout.unwrapped(raw)
        except (ValueError, KeyError, TypeError):
            found = {}
        if raw is not None and isinstance(found, dict):
            self._seen = raw, found
        return found if found is None or isinstance(found, dict) else {}

    def write(self, chunk: int, arrays: Mapping[str, np.ndarray], message: str = "") -> list[Written]:
        """Write a chunk of every variable, all at the same time, and why its data could not be read;
        return size and checksum of each.
        """
        made = self._made()
        region = tuple(slice(*side) for side in made.grid.box(chunk))
        keys = dict(zip(made.written, made.keys(chunk), strict=True))
        encoders = {name: self._encoder(name) for name in made.written}
        parts = {keys[name]: encode(arrays[name]) for name, encode in encoders.items() if encode is not None}
        put_together(self._chunks, parts)
        others = [name for name, encode in encoders.items() if encode is None]
        if others:
            sync(_written([(self._array(name), region, arrays[name]) for name in others]))
        if message:
            Objects(self._chunks).put(made.message_key(chunk), message.encode()[:MESSAGE].ljust(MESSAGE, b"\0"))
        return [_size_of(parts[key]) if key in parts else self._recording.written.pop(key) for key in keys.values()]

    def mark(self, chunk: int, mark: Mark, written: Sequence[Written]) -> None:
        """Say that a chunk is whole; the last thing that is written of it.

        Raises
        ------
        StoreError
            If another run writes now.
        """
        made = self._made()
        try:
            self.check_writer()
        except StoreError:
            by = self._writer() or {}
            if by.get("run") != made.run and by.get("generation") == made.generation:
                # What was just written may be in the place of what that run has written; without a mark, it is written
                # again.
                self.objects.delete([made.mark_key(chunk)])
            raise
        # Without a wait for the disk, for the chunk or the mark: where the power fails, the mark's checksums tell what
        # was lost of both.
        Objects(self._chunks).put(made.mark_key(chunk), made.mark(mark, written))

    def keep(self) -> None:
        """Return when all chunks are on the disk, with their marks and messages."""
        if isinstance(self._chunks, DurableStore):
            made = self._made()
            marked = (key for chunk in range(len(made.grid)) for key in (*made.keys(chunk), made.mark_key(chunk)))
            unread = (made.message_key(chunk) for chunk in self._listed("unread", made.generation))
            self._chunks.flush(itertools.chain(marked, unread))

    def note(self, name: str, text: str) -> None:
        """Write an attribute of the result, beside those that it was laid out with."""
        made = self.description = self._made().with_attribute(name, text)
        self.objects.put(made.key, made.copy())
        current = self.look().current
        if current is not None and current.run == made.run:
            self.objects.put("zarr.json", current.with_attribute(name, text).text())

    def _made(self) -> Description:
        """The run that is written, or that is there."""
        if self.description is None:
            self.description = self.look().current
        if self.description is None:
            raise StoreError(f"{self} holds no run")
        return self.description

    def _array(self, name: str) -> zarr.AsyncArray[Any]:
        """An array to write to, by the metadata of the run: those in the group may be of the one that it replaces."""
        metadata = ArrayV3Metadata.from_dict(dict(self._made().arrays[name]))
        # Chunks of nothing but the fill value are written too: what is missing is what was not fitted.
        return zarr.AsyncArray(metadata, StorePath(self._recording, name), {"write_empty_chunks": True, "order": "C"})

    def _encoder(self, name: str) -> Encoder | None:
        """What makes the chunks of an array of the run; None where zarr has to write them itself."""
        if name not in self._encoders:
            self._encoders[name] = encoder_of(ArrayV3Metadata.from_dict(dict(self._made().arrays[name])))
        return self._encoders[name]

    # --- after it

    def publish(self) -> None:
        """Make a run that is whole the one that readers have, and remove what it replaces."""
        made, state = self._made(), self.look()
        self.check_writer()
        before = self.names(state) | made.names
        if state.old is not None:
            # Readers have all of it at once, before its parts go.
            self.objects.put("zarr.json", self._consolidated(before))
        files = {f"{name}/zarr.json" for name in before} | set(made.metadata)
        for key in sorted(files):
            # Readers of single files find nothing rather than numbers of one run under the words of another.
            raw = self.objects.get(key)
            if raw is not None and not _same_json(raw, made.metadata.get(key, b"null")):
                self.objects.delete([key])
        self.check_writer()
        if not self.objects.get("zarr.json"):
            # Of a first run, the group is there when all in it is.
            self._put_metadata()
        self.objects.put("zarr.json", made.text())
        self._put_metadata()
        self.sweep(before)

    def _put_metadata(self) -> None:
        """Write metadata of arrays where they are not those of the run."""
        metadata = self._made().metadata
        self.objects.put_all({key: metadata[key] for key in self.damaged_metadata()})

    def sweep(self, names: Collection[str], sizes: Mapping[str, int] | None = None) -> None:
        """Remove what is left of runs that were replaced."""
        made = self._made()
        gone = layout.other(made.generation)
        listed = self.objects.sizes() if sizes is None else sizes
        # Before what says that there is something to be removed.
        descriptions = {f"{name}/zarr.json" for name in names} - made.metadata.keys()
        self.objects.delete(key for key in listed if layout.is_chunk(names, gone, key) or key in descriptions)
        self.objects.delete([layout.run_key(gone)])

    def _consolidated(self, names: Iterable[str]) -> bytes:
        """What the group of a run of format 1 says, with the metadata of all that is in it."""
        root = json.loads(self.objects.get("zarr.json") or b"{}")
        raw = {name: self.objects.get(f"{name}/zarr.json") for name in (MARKS, *sorted(names))}
        members = {name: json.loads(each) for name, each in raw.items() if each is not None}
        return layout.as_json(
            root | {"consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": members}}
        )

    # --- marks

    def _listed(self, name: str, generation: str) -> list[int]:
        """Chunks with an object in one of the arrays of marks."""
        keys = collect_aiterator(self.store.list_prefix(f"{MARKS}/{name}/"))
        pattern = r"c/(\d+)/0" if generation == "a" else r"(\d+)\.0"
        # A process that was killed may leave a part of a file beside them, under another name.
        whole = (re.fullmatch(rf"(?:.*/)?{MARKS}/{name}/{pattern}", key) for key in keys)
        return sorted({int(match[1]) for match in whole if match})

    def done(self) -> set[int]:
        """Chunks that are whole by their marks; those whose data could not be read are not among them."""
        return {chunk for chunk, mark in self.marks().items() if not mark.unread}

    def marks(self) -> dict[int, Mark]:
        """Marks of all chunks that have one."""
        state = self.look() if self.description is None else StoreState(self.description)
        if state.old is not None:
            rows = np.asarray(zarr.open_array(self.store, path=f"{MARKS}/done", mode="r")[:])
            return {int(chunk): Mark(*rows[chunk].tolist()) for chunk in np.flatnonzero(rows[:, 0] >= 0)}
        made = state.current
        if made is None:
            return {}
        listed = self._listed("done", made.generation)
        # A mark that was read is not read again whenever someone looks how far a run is.
        new = {made.mark_key(chunk): chunk for chunk in listed if (made.run, chunk) not in self._read}

        def read(key: str, content: memoryview | None) -> None:
            mark = None if content is None else made.read_mark(content)
            if mark is not None:
                self._read[made.run, new[key]] = mark[0]

        self.objects.visit(new, read)
        found = {chunk: self._read[made.run, chunk] for chunk in listed if (made.run, chunk) in self._read}
        for chunk, mark in found.items():
            if mark.unread:
                del self._read[made.run, chunk]
        return found

    def messages(self) -> dict[int, str]:
        """Why the data of chunks could not be read."""
        state = self.look() if self.description is None else StoreState(self.description)
        generation = "a" if state.current is None else state.current.generation
        keys = {layout.message_key(generation, chunk): chunk for chunk in self._listed("unread", generation)}
        found: dict[int, str] = {}

        def read(key: str, content: memoryview | None) -> None:
            found[keys[key]] = bytes(content or b"").rstrip(b"\0").decode(errors="replace")

        self.objects.visit(keys, read)
        return dict(sorted(found.items()))

    def open(self, in_chunks: bool = True) -> xr.Dataset:
        """The result, lazily, in the order of the schema: dask's chunks, or arrays that are
        read when they are first used.
        """
        # Named where it is damaged.
        self.manifest()
        consolidated = b'"consolidated_metadata"' in (self.objects.get("zarr.json") or b"")
        ds = open_zarr(self.store, consolidated=consolidated, chunks={} if in_chunks else None)
        variables = json_of(ds.attrs[MANIFEST])["variables"]
        # The list of coordinates in a file is divided by blanks, so that xarray writes those with a blank in their name
        # as variables.
        ds = ds.set_coords([name for name in ds.data_vars if name not in variables])
        # What makes it a run is the store's alone: a copy is none.
        attrs = {name: value for name, value in ds.attrs.items() if name != MANIFEST}
        small = {
            name: computed(c)[0].load() for name, c in ds.coords.items() if set(c.dims) <= {"param", "param_", "pair"}
        }
        return xr.Dataset({name: ds[name] for name in variables}, {**ds.coords, **small}, attrs)


def _again(given: Any, options: dict[str, Any], description: Description | None, writer: str) -> Archive:
    """An archive in another process."""
    made = Archive(given, options)
    made.description, made.writer = description, writer
    return made


def _first_format(raw: bytes | None) -> Mapping[str, Any] | None:
    """What a run of format 1 is of."""
    text = None if raw is None else json_of(raw).get("attributes", {}).get(MANIFEST)
    found: Mapping[str, Any] | None = json_of(text) if isinstance(text, str) else None
    return found if found is not None and found.get("format") == 1 else None


def _replaces(one: Description, other: Description) -> bool:
    return bool(one.manifest["of"] == other.run)


def _replaced_first(one: Description) -> bool:
    """Whether a run is to replace one of format 1."""
    return bool(one.manifest["of"] == _FIRST_FORMAT)


def _same_json(raw: bytes | None, other: bytes) -> bool:
    try:
        return raw is not None and json_of(raw) == json_of(other)
    except ValueError:
        return False


async def _written(parts: Sequence[tuple[zarr.AsyncArray[Any], tuple[Any, ...], np.ndarray]]) -> None:
    """Write regions of arrays together: on far storage each alone would wait for an answer, on a disk for a thread."""
    writes = (array.setitem(region, values) for array, region, values in parts)
    # All are waited for, so that none goes on when the caller has been told of a failure.
    for outcome in await asyncio.gather(*writes, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
