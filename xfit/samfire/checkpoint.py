"""Checkpoints: every visit of a chunk in a file of its own, so that a run that was killed goes on where it stopped."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import fsspec
import numpy as np

from xfit.addresses import without_secrets
from xfit.samfire.chunk import State
from xfit.samfire.visits import Strip, Summary, Visited
from xfit.snapshots import digest

#: Version of the files; others are refused.
FORMAT = 1


def described(value: Any) -> str:
    """Words for strategies and tests of goodness that are the same in every process: functions by what they do, not where they lie."""
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
        self.url, self.options = str(url), dict(storage_options or {})
        self._fs, self._folder = fsspec.core.url_to_fs(self.url, **self.options)

    def __reduce__(self) -> Any:
        return Checkpoints, (self.url, self.options)

    def begin(self, manifest: Mapping[str, str]) -> None:
        """Make the folder, or make sure that it is of the same run.

        Raises
        ------
        ValueError
            Naming what is different.
        """
        path = f"{self._folder}/samfire.json"
        wanted = {"format": str(FORMAT), **manifest}
        if self._fs.exists(path):
            known = json.loads(self._fs.cat_file(path))
            differs = [key for key in wanted if known.get(key) != wanted[key]]
            if differs:
                raise ValueError(
                    f"store={without_secrets(self.url)!r} holds a run that differs in: {', '.join(differs)}. Give the same arguments to go on with it, or "
                    "another store"
                )
            return
        if self._fs.exists(self._folder) and self._fs.ls(self._folder):
            raise ValueError(
                f"store={without_secrets(self.url)!r} is not empty and holds no run; give a folder that is empty or not there"
            )
        self._fs.makedirs(f"{self._folder}/visits", exist_ok=True)
        self._put(path, json.dumps(wanted, indent=1).encode())

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return bool(self._fs.exists(f"{self._folder}/samfire.json"))

    def put(self, name: str, content: bytes) -> None:
        """Keep a file beside the visits; what is there under its name is replaced."""
        path = f"{self._folder}/{name}"
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._put(path, content)

    def get(self, name: str) -> bytes | None:
        """A file beside the visits, or None if it is not there."""
        path = f"{self._folder}/{name}"
        return bytes(self._fs.cat_file(path)) if self._fs.exists(path) else None

    def known(self) -> set[tuple[int, int, int]]:
        """Visits that are there, by phase, chunk and turn."""
        folder = f"{self._folder}/visits"
        # An object store has no folder before anything lies in it, and its client remembers what lay there.
        self._fs.invalidate_cache(folder)
        listed = self._fs.ls(folder, detail=False) if self._fs.exists(folder) else []
        names = (str(each).rpartition("/")[2] for each in listed)
        found = set()
        for name in names:
            stem, _, end = name.partition(".")
            if end == "npz":
                phase, chunk, turn = stem.split("_")
                found.add((int(phase), int(chunk), int(turn)))
        return found

    def _path(self, visit: tuple[int, int, int]) -> str:
        return "{}/visits/{}_{}_{}.npz".format(self._folder, *visit)

    def _put(self, path: str, content: bytes) -> None:
        """Write a file under another name first: what is there is whole."""
        other = f"{path}.{uuid.uuid4().hex}.part"
        self._fs.pipe_file(other, content)
        self._fs.mv(other, path)

    def write(self, visit: tuple[int, int, int], visited: Visited) -> None:
        """Keep what a visit has given."""
        buffer = io.BytesIO()
        arrays: dict[str, Any] = _arrays_of(visited)
        np.savez(buffer, **arrays)
        self._put(self._path(visit), buffer.getvalue())

    def rows(self, visit: tuple[int, int, int]) -> dict[str, np.ndarray]:
        """Packed rows of a visit, with the marks, tries, strategies and components of its pixels."""
        with np.load(io.BytesIO(self._fs.cat_file(self._path(visit))), allow_pickle=False) as arrays:
            return {name: arrays[f"state.{name}"] for name in ("rows", "mark", "tries", "strategy", "on")}

    def read(self, visit: tuple[int, int, int]) -> Visited:
        """Read it again."""
        with np.load(io.BytesIO(self._fs.cat_file(self._path(visit))), allow_pickle=False) as arrays:
            return _visited_of({name: arrays[name] for name in arrays.files})


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
        State(**groups["state"], shown=shown),
        {other: Strip(**parts) for other, parts in strips.items()},
        Summary(**{**groups["summary"], **flags}),
    )
