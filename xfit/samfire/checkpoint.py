"""Checkpoints: every visit of a chunk in a file of its own, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem

from xfit.arrays.atomic_write import create, entries, make_folder, put, refuse_link
from xfit.display import cleaned, is_url, local_path, without_secrets
from xfit.formulas.snapshots import digest
from xfit.modeling.text_limits import json_of
from xfit.samfire.chunk_state import ChunkState
from xfit.samfire.visits import Strip, Summary, Visited

#: Version of the files. Since 2, visits, the manifest and the layout have checksums; files of 1 are read without.
FORMAT = 2

#: What a run has in its folder, and what a process that was killed leaves of it.
_OWN = re.compile(r"samfire\.json|layout\.json|ended\.json|visits/-?\d+_\d+_\d+\.npz|layout/.+")
_PARTIAL = re.compile(r"(?:.*/)?(?:\..+\.[0-9a-f]{32}\.partial.*|.+\.[0-9a-f]{32}\.part)")
_VISIT = re.compile(r"(-?\d+)_(\d+)_(\d+)\.npz")

#: Bytes up to which a file of words is read.
_WORDS = 64 << 20

#: Letters of a checksum; what follows a zip archive without a comment: the length of none.
_DIGITS, _NONE = 64, b"\0\0"


class CheckpointError(ValueError):
    """A file of a stored run is damaged; the message names it, and what can be done."""

    def __init__(self, words: str) -> None:
        # Most of them name what is in the file.
        super().__init__(cleaned(words))


def described(value: Any) -> str:
    """Words for strategies and tests of goodness that are the same in every process: functions by
    what they do, not where they lie.
    """
    value = getattr(value, "py_func", value)
    if isinstance(value, FunctionType):
        return f"function({digest(value)})"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(described, value))}]"
    if hasattr(value, "__dict__"):
        parts = (f"{name}={described(each)}" for name, each in sorted(vars(value).items()))
        return f"{type(value).__name__}({', '.join(parts)})"
    return repr(value)


class Checkpoints:
    """The files of a run in a folder.

    Parameters
    ----------
    url : str
        Path or URL of the folder, of any kind that fsspec knows.
    storage_options : mapping, optional
        What its file system needs.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.url, self.options = str(url if is_url(url) else local_path(url)), dict(storage_options or {})
        self._fs, self._folder = fsspec.core.url_to_fs(self.url, **self.options)
        self._local = Path(self._folder) if isinstance(self._fs, LocalFileSystem) else None

    def __reduce__(self) -> Any:
        # Of a path all of it: workers may have another working folder.
        return Checkpoints, (self.url if self._local is None else self._folder, self.options)

    def begin(self, manifest: Mapping[str, str]) -> None:
        """Make the folder, or make sure that it is of the same run.

        Raises
        ------
        ValueError
            Naming what is different, or what is there that is none of a run.
        """
        wanted = {"format": str(FORMAT), **manifest}
        if self._local is not None and self._local.exists() and not self._local.is_dir():
            raise ValueError(f"store={without_secrets(self.url)!r} is a file; give a folder that is empty or not there")
        if not self.exists:
            strange = next((key for key in self._keys() if not _PARTIAL.fullmatch(key)), None)
            if strange is not None:
                raise ValueError(
                    f"store={without_secrets(self.url)!r} is not empty and holds no run, but {strange!r}; give a "
                    "folder that is empty or not there"
                )
            if self._create("samfire.json", _sealed(wanted)):
                return
        known = self._words("samfire.json")
        # What is the same in all versions that are read is no difference.
        if known.get("format") in [str(each) for each in range(1, FORMAT + 1)]:
            wanted["format"] = known["format"]
        differs = [key for key in wanted if known.get(key) != wanted[key]]
        if differs:
            raise ValueError(
                f"store={without_secrets(self.url)!r} holds a run that differs in: {', '.join(differs)}. Give the "
                "same arguments to go on with it, or another store"
            )

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return bool(self._fs.exists(f"{self._folder}/samfire.json"))

    def foreign(self) -> str | None:
        """The first file or link in the folder that no run has, if there is one."""
        keys = self._keys()
        links = {key for key in keys if self._local is not None and (self._local / key).is_symlink()}
        return next((key for key in keys if key in links or not (_OWN.fullmatch(key) or _PARTIAL.fullmatch(key))), None)

    def _keys(self) -> list[str]:
        """All files and links in the folder, by their paths from there."""
        if self._local is not None:
            found = [each.path for each in entries(self._local) if not each.is_dir(follow_symlinks=False)]
            return sorted(Path(each).relative_to(self._local).as_posix() for each in found)
        self._fs.invalidate_cache()
        listed = self._fs.find(self._folder) if self._fs.exists(self._folder) else []
        return sorted(str(each).removeprefix(self._folder).lstrip("/") for each in listed)

    def put(self, name: str, content: bytes) -> None:
        """Keep a file; what is there under its name is replaced when this is whole."""
        if self._local is None:
            # Where there is no disk, a file is there when all of it is.
            self._fs.pipe_file(f"{self._folder}/{name}", content)
            return
        path = self._within(name)
        make_folder(path.parent)
        put(path, content)

    def put_words(self, name: str, words: Mapping[str, Any]) -> None:
        """Keep words and numbers, with their checksum."""
        self.put(name, _sealed(words))

    def _create(self, name: str, content: bytes) -> bool:
        """Keep a file unless there is one of its name, as far as the file system can tell;
        return whether it was kept.
        """
        if self._local is None:
            self.put(name, content)
            return True
        make_folder(self._local)
        return create(self._within(name), content)

    def _within(self, name: str) -> Path:
        """Path of a file, to which no link inside of the folder leads."""
        assert self._local is not None
        path = self._local / name
        for each in (path, *path.parents):
            if each == self._local:
                break
            refuse_link(each)
        return path

    def get(self, name: str, limit: int | None = None) -> bytes | None:
        """A file of the run, or None if it is not there.

        Raises
        ------
        CheckpointError
            For what is no file, such as a link, and for one of more than ``limit`` bytes.
        """
        path = f"{self._folder}/{name}"
        if self._local is None:
            return self._read(path, limit) if self._fs.exists(path) else None
        try:
            is_there = self._within(name).is_file()
        except FileExistsError as error:
            raise self.damaged(name, str(error)) from None
        return self._read(path, limit) if is_there else None

    def _read(self, path: str, limit: int | None) -> bytes:
        size = self._fs.size(path)
        if limit is not None and size is not None and size > limit:
            raise self.damaged(
                path.removeprefix(self._folder).lstrip("/"), f"it has {size:,} bytes, and at most {limit:,} are read"
            )
        return bytes(self._fs.cat_file(path))

    def damaged(self, name: str, why: str) -> CheckpointError:
        """The error for a file."""
        again = (
            "the same call goes on with the run, and makes it anew"
            if name != "samfire.json"
            else "begin in another store, or delete this one"
        )
        return CheckpointError(f"{without_secrets(self.url)}/{name} is damaged ({why}); {again}")

    def words(self, name: str) -> dict[str, Any] | None:
        """Words and numbers that `put_words` has kept, or None if they are not there."""
        content = self.get(name, _WORDS)
        if content is None:
            return None
        try:
            found = json_of(content)
        except ValueError as error:
            raise self.damaged(name, f"it is no JSON: {error}") from None
        if not isinstance(found, dict):
            raise self.damaged(name, "it holds no names")
        # Without a checksum: of version 1, whose files say so, or say nothing.
        given = found.pop("sha256", None)
        if given is None and str(found.get("format", 1)) == "1":
            return found
        if given != _sha256(found):
            raise self.damaged(name, "its checksum is another one")
        return found

    def _words(self, name: str) -> dict[str, Any]:
        found = self.words(name)
        if found is None:
            raise self.damaged(name, "it is gone")
        return found

    def known(self) -> set[tuple[int, int, int]]:
        """Visits that are there, by phase, chunk and turn."""
        folder = f"{self._folder}/visits"
        # An object store has no folder before anything lies in it, and its client remembers what lay there.
        self._fs.invalidate_cache(folder)
        listed = self._fs.ls(folder, detail=False) if self._fs.exists(folder) else []
        matches = (_VISIT.fullmatch(str(each).rpartition("/")[2]) for each in listed)
        return {(int(match[1]), int(match[2]), int(match[3])) for match in matches if match}

    def write(self, visit: tuple[int, int, int], visited: Visited) -> None:
        """Keep what a visit has given."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = _arrays_of(visited)
        np.savez(buffer, **arrays)
        content = buffer.getvalue()
        # The comment of the archive, which ends it: the checksum of what it is without.
        self.put(_name(visit), content[: -len(_NONE)] + _DIGITS.to_bytes(2, "little") + _sha256(content).encode())

    def _arrays(self, visit: tuple[int, int, int]) -> dict[str, np.ndarray]:
        """Arrays of a visit.

        Raises
        ------
        CheckpointError
            If they are not what was kept.
        """
        name = _name(visit)
        content = self.get(name)
        if content is None:
            raise self.damaged(name, "it is gone")
        try:
            return _arrays_in(content)
        except (ValueError, EOFError, KeyError, OverflowError, NotImplementedError, zipfile.BadZipFile) as error:
            raise self.damaged(name, str(error) or type(error).__name__) from None

    def rows(self, visit: tuple[int, int, int]) -> dict[str, np.ndarray]:
        """Packed rows of a visit, with the marks, tries, strategies and components of its pixels."""
        arrays = self._arrays(visit)
        try:
            return {name: arrays[f"state.{name}"] for name in ("rows", "mark", "tries", "strategy", "on")}
        except KeyError as error:
            raise self.damaged(_name(visit), f"it has no {error}") from None

    def read(self, visit: tuple[int, int, int]) -> Visited:
        """Read it again."""
        arrays = self._arrays(visit)
        try:
            return _visited_of(arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise self.damaged(_name(visit), f"it holds other arrays: {error}") from None


def _name(visit: tuple[int, int, int]) -> str:
    return "visits/{}_{}_{}.npz".format(*visit)


def _sha256(content: Any) -> str:
    """Checksum of bytes, or of words and numbers in whatever order."""
    text = content if isinstance(content, bytes) else json.dumps(content, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()


def _sealed(words: Mapping[str, Any]) -> bytes:
    """JSON with its checksum."""
    plain = json.loads(json.dumps(words))
    return json.dumps({**plain, "sha256": _sha256(plain)}, indent=1).encode()


def _arrays_in(content: bytes) -> dict[str, np.ndarray]:
    """Arrays in an npz file, of which none is larger than the file says and is."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        checksum = archive.comment.decode("latin1")
        # Files of version 1 have none; zip's own sums are of the arrays alone.
        if checksum and checksum != _sha256(content[: -_DIGITS - len(_NONE)] + _NONE):
            raise ValueError("its checksum is another one")
        found = {}
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(content):
                raise ValueError(f"{entry.filename} claims {entry.file_size:,} bytes")
            found[entry.filename.removesuffix(".npy")] = _array_in(archive.read(entry), entry.filename)
    return found


def _array_in(content: bytes, name: str) -> np.ndarray:
    """The array in an npy file of numbers."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{name} is no array of numbers")
    shape, in_columns, dtype = np.lib.format.read_array_header_1_0(file)
    numbers = content[file.tell() :]
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(numbers):
        raise ValueError(f"{name} claims the shape {shape} of {dtype}, and has {len(numbers):,} bytes")
    return np.frombuffer(numbers, dtype).reshape(shape, order="F" if in_columns else "C").copy(order="K")


def _arrays_of(visited: Visited) -> dict[str, np.ndarray]:
    """Arrays of a visit, by name."""
    state, strips, summary = visited
    found = {f"state.{name}": np.asarray(value) for name, value in state._asdict().items() if name != "shown"}
    found |= {f"shown.{other}": marks for other, marks in state.shown.items()}
    for other, strip in strips.items():
        found |= {f"strip.{other}.{name}": np.asarray(value) for name, value in strip._asdict().items()}
    return found | {f"summary.{name}": np.asarray(value) for name, value in summary._asdict().items()}


def _visited_of(arrays: Mapping[str, np.ndarray]) -> Visited:
    """The visit that arrays belong to."""
    groups: dict[str, dict[str, Any]] = {"state": {}, "shown": {}, "strip": {}, "summary": {}}
    for name, array in arrays.items():
        kind, _, rest = name.partition(".")
        groups[kind][rest] = array if array.ndim else array.item()
    shown = {int(other): marks for other, marks in groups["shown"].items()}
    strips: dict[int, dict[str, Any]] = {}
    for name, value in groups["strip"].items():
        other, _, part = name.partition(".")
        strips.setdefault(int(other), {})[part] = value
    flags = {name: tuple(map(bool, groups["summary"][name])) for name in ("gained", "shown", "good_there")}
    return Visited(
        ChunkState(**groups["state"], shown=shown),
        {other: Strip(**parts) for other, parts in strips.items()},
        Summary(**{**groups["summary"], **flags}),
    )
