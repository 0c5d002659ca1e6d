"""Description of a stored run: the metadata of its zarr group, which say what the run is of, where each of its chunks
lies, and whether they are whole.

Two runs can lie in the same group, because chunks of zarr arrays can be named in two ways: ``value/c/0/1/0`` (in
generation "a") and ``value/0.1.0`` (in "b"). A run that replaces another is written in the other generation, under the
metadata that are still those of the first; when it is whole, the metadata of the group, which hold those of all arrays
in it (consolidated), are replaced by its own. That is one write, on any storage, before which a reader has the first
run whole and after which the second.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from zarr.storage import MemoryStore

from xfit.arrays.atomic_write import PARTIAL
from xfit.fitting.running.chunk_grid import ChunkGrid
from xfit.fitting.running.worker_watch import computed
from xfit.fitting.stored.storage import StoreError, checksum
from xfit.modeling.text_limits import json_of

#: Version of the layout; later ones are refused.
FORMAT = 2

#: Attribute of the group that says what the run is of.
MANIFEST = "xfit_run"

#: Group in the group that holds the marks, and files about runs.
MARKS = "marks"

#: Attribute of groups that hold words about runs.
_WORDS = "xfit_words"

#: Who writes.
WRITER = f"{MARKS}/writer/zarr.json"

#: Longest message of a read that failed, in bytes.
MESSAGE = 2000

#: How each generation names its chunks, and how these names are recognised.
_NAMING: dict[str, tuple[dict[str, Any], str]] = {
    "a": ({"name": "default", "configuration": {"separator": "/"}}, r"c(?:/\d+)*"),
    "b": ({"name": "v2", "configuration": {"separator": "."}}, r"\d+(?:\.\d+)*"),
}

#: What the checksum of an array's metadata is of.
_CORE = ("shape", "data_type", "chunk_grid", "chunk_key_encoding", "codecs", "fill_value", "dimension_names")


class FormatError(StoreError):
    """A run was stored by a later version of xfit."""


class Mark(NamedTuple):
    """What is known of a chunk that is whole.

    Attributes
    ----------
    pixels, converged, hopeless : int
        Pixels; those that converged; those that no fit was begun for (masked, bad data, ...).
    evaluations : int
        Evaluations of the model.
    microseconds : int
        Time that reading, fitting and writing took.
    unread : int
        1 where the data could not be read.
    """

    pixels: int
    converged: int
    hopeless: int
    evaluations: int
    microseconds: int
    unread: int


#: Size and checksum of an object.
Written = tuple[int, int]


@dataclass(frozen=True)
class Description:
    """A run, by the metadata of its group.

    Attributes
    ----------
    root : mapping
        What ``zarr.json`` of the group says.
    """

    root: Mapping[str, Any]

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the run is of."""
        found: dict[str, Any] = json.loads(self.root["attributes"][MANIFEST])
        return found

    @property
    def is_whole(self) -> bool:
        """Whether it has the metadata of the arrays, too."""
        return "consolidated_metadata" in self.root

    @property
    def run(self) -> str:
        """Identity of the run."""
        return str(self.manifest["run"])

    @property
    def generation(self) -> str:
        """How its chunks are named."""
        return str(self.manifest["generation"])

    @property
    def key(self) -> str:
        """Where a copy of the description lies, which is written first of all."""
        return run_key(self.generation)

    @cached_property
    def arrays(self) -> dict[str, dict[str, Any]]:
        """Metadata of the arrays, those of the marks among them."""
        members = self.root["consolidated_metadata"]["metadata"]
        return {name: each for name, each in members.items() if each["node_type"] == "array"}

    @cached_property
    def metadata(self) -> dict[str, bytes]:
        """Files with metadata below the group's own, by key."""
        members = self.root["consolidated_metadata"]["metadata"]
        return {f"{name}/zarr.json": as_json(each) for name, each in members.items()}

    @property
    def written(self) -> list[str]:
        """Names of the variables that a chunk of the run is a chunk of."""
        return list(self.manifest["written"])

    @cached_property
    def grid(self) -> ChunkGrid:
        """The chunks."""
        sizes = tuple(map(tuple, self.manifest["chunks"].values()))
        return ChunkGrid(sizes, (0,) * len(sizes))

    @cached_property
    def files(self) -> dict[str, Written]:
        """Chunks of the coordinates, with size and checksum."""
        return {key: (size, crc) for key, (size, crc) in self.manifest["files"].items()}

    @property
    def names(self) -> set[str]:
        """Arrays of this run and of those that it replaces."""
        return {*self.arrays, *self.manifest["replaces"]}

    def with_attribute(self, name: str, text: str) -> Description:
        """With an attribute of the result more."""
        return Description({**self.root, "attributes": {**self.root["attributes"], name: text}})

    def agrees(self, copy: Description) -> bool:
        """Whether all that a copy says is said here; users may add attributes and arrays."""
        members = self.root["consolidated_metadata"]["metadata"]
        attributes = {name: value for name, value in copy.root["attributes"].items() if name.startswith("xfit_")}
        return all(
            members.get(name) == each for name, each in copy.root["consolidated_metadata"]["metadata"].items()
        ) and all(self.root["attributes"].get(name) == value for name, value in attributes.items())

    def over(self, raw: bytes | None) -> bytes | None:
        """``zarr.json`` of the group with all that it should say, and what users have
        added; None where it is so already.
        """
        try:
            there = json.loads(raw or b"")
            known = there["consolidated_metadata"]["metadata"]
            members = self.root["consolidated_metadata"]["metadata"]
            if Description(there).agrees(self):
                return None
            merged = {
                **there,
                "attributes": {**there["attributes"], **self.root["attributes"]},
                "consolidated_metadata": {**self.root["consolidated_metadata"], "metadata": {**known, **members}},
            }
            return as_json(merged) if _is_group(merged) else self.text()
        except (ValueError, KeyError, TypeError, AttributeError):
            return self.text()

    def text(self) -> bytes:
        """What ``zarr.json`` of the group holds."""
        return as_json(self.root)

    def copy(self) -> bytes:
        """What its copy holds."""
        return wrapped(self.root)

    # --- keys

    def keys(self, chunk: int) -> list[str]:
        """Where a chunk of each variable lies."""
        index = self.grid.index(chunk)
        more = {name: len(self.arrays[name]["shape"]) - len(index) for name in self.written}
        return [f"{name}/{_chunk_key(self.generation, (*index, *[0] * more[name]))}" for name in self.written]

    def mark_key(self, chunk: int) -> str:
        """Where the mark of a chunk lies."""
        return f"{MARKS}/done/{_chunk_key(self.generation, (chunk, 0))}"

    def message_key(self, chunk: int) -> str:
        """Where the message lies why the data of a chunk could not be read."""
        return message_key(self.generation, chunk)

    # --- marks

    def mark(self, mark: Mark, written: Iterable[Written]) -> bytes:
        """What is written to say that a chunk is whole."""
        numbers = [*mark, *_halves(self.run), *(n for each in written for n in each)]
        raw = np.array(numbers, "<i8").tobytes()
        return raw + np.array([checksum(raw)], "<i8").tobytes()

    def read_mark(self, raw: memoryview | bytes) -> tuple[Mark, list[Written]] | None:
        """What a mark says; None for one that is not whole, or not of this run."""
        if len(raw) != 8 * mark_width(len(self.written)) or raw[-8:] != np.array([checksum(raw[:-8])], "<i8").tobytes():
            return None
        numbers = np.frombuffer(raw, "<i8").tolist()
        head = len(Mark._fields)
        if tuple(numbers[head : head + 2]) != _halves(self.run):
            return None
        rest = numbers[head + 2 : -1]
        return Mark(*numbers[:head]), list(zip(rest[::2], rest[1::2], strict=True))


def message_key(generation: str, chunk: int) -> str:
    """Where the message lies why the data of a chunk could not be read."""
    return f"{MARKS}/unread/{_chunk_key(generation, (chunk, 0))}"


def run_key(generation: str) -> str:
    """Where the copy of a description lies."""
    return f"{MARKS}/run-{generation}/zarr.json"


def mark_width(variables: int) -> int:
    """How many numbers a mark has: what it says, the run, size and checksum of every variable, and its own checksum."""
    return len(Mark._fields) + 2 + 2 * variables + 1


def other(generation: str) -> str:
    """The generation that a run is written in which replaces one of this."""
    return "b" if generation == "a" else "a"


def _halves(run: str) -> tuple[int, int]:
    """A run's identity as two numbers of 63 bits."""
    number = int(run, 16)
    return number >> 64 & 0x7FFFFFFFFFFFFFFF, number & 0x7FFFFFFFFFFFFFFF


def _chunk_key(generation: str, index: tuple[int, ...]) -> str:
    if generation == "a":
        return "/".join(map(str, ("c", *index)))
    return ".".join(map(str, index)) or "0"


def is_chunk(names: Collection[str], generation: str, key: str) -> bool:
    """Whether an object is a chunk of one of these arrays in a generation, or what is left of writing one."""
    naming = _NAMING[generation][1]
    if PARTIAL.fullmatch(key):
        key = key.rsplit(".", 2)[0]
        # zarr leaves the last number of a name out.
        naming = rf"{naming}|(?:\d+\.)*\d+" if generation == "b" else naming
    name, rest = _split(key)
    return name in names and re.fullmatch(naming, rest) is not None


def is_file(names: Collection[str], key: str) -> bool:
    """Whether an object holds metadata of a run with these arrays, or what is left of writing them."""
    if PARTIAL.fullmatch(key):
        stem = key.rsplit(".", 2)[0]
        key = stem if stem.endswith(".json") else f"{stem}.json"
    name, rest = _split(key)
    known = {"zarr.json", WRITER, f"{MARKS}/zarr.json", *map(run_key, _NAMING)}
    return key in known or (name in names and rest == "zarr.json")


def _split(key: str) -> tuple[str, str]:
    """The name of an array, and what comes after it."""
    parts = key.split("/")
    count = 2 if parts[0] == MARKS else 1
    return "/".join(parts[:count]), "/".join(parts[count:])


def as_json(value: Any) -> bytes:
    """JSON, the same for the same value."""
    return json.dumps(value, ensure_ascii=False).encode()


def _is_group(root: Mapping[str, Any]) -> bool:
    return root.get("zarr_format") == 3 and root.get("node_type") == "group"


def wrapped(value: Any) -> bytes:
    """JSON as the attribute of a zarr group: versioned stores take nothing but metadata and chunks of zarr."""
    text = json.dumps(value, ensure_ascii=False)
    return as_json({"zarr_format": 3, "node_type": "group", "attributes": {_WORDS: text}})


def unwrapped(raw: bytes) -> Any:
    """What `wrapped` was given.

    Raises
    ------
    ValueError, KeyError, TypeError
        If this is something else.
    """
    return json_of(json_of(raw)["attributes"][_WORDS])


def who() -> dict[str, Any]:
    """The process that this runs in, in words for others."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "time": datetime.now(UTC).isoformat(timespec="seconds")}


# --- made from a template


def describe(
    template: xr.Dataset,
    grid: ChunkGrid,
    inner: Mapping[str, int],
    manifest: Mapping[str, Any],
    generation: str,
    replaces: Iterable[str],
) -> tuple[Description, dict[str, bytes]]:
    """Describe a run.

    Parameters
    ----------
    template : Dataset
        The result; variables over chunked dimensions are lazy and never computed.
    grid : ChunkGrid
        The chunks in which it will be written.
    inner : mapping of str to int
        Chunk sizes for reading back, by dimension, where they are smaller than those.
    manifest : mapping
        What the run is of, with its identity.
    generation : {"a", "b"}
        How its chunks are named.
    replaces : iterable of str
        Names of the arrays that it replaces.

    Returns
    -------
    Description, dict of str to bytes
        And the chunks of what is not lazy, by key.
    """
    whole = template.assign_coords({name: computed(c)[0].load() for name, c in template.coords.items()})
    made: dict[str, Any] = {}
    whole.to_zarr(
        MemoryStore(made),
        mode="w",
        compute=False,
        consolidated=False,
        zarr_format=3,
        encoding=_encoding(template, grid, inner),
    )
    content = {key: each.to_bytes() for key, each in made.items()}
    root = json.loads(content.pop("zarr.json"))
    arrays = {
        key.removesuffix("/zarr.json"): json.loads(content.pop(key))
        for key in sorted(content)
        if key.endswith("/zarr.json")
    }
    written = [str(name) for name, each in template.data_vars.items() if each.chunks is not None]
    arrays |= _marks(len(grid), len(written))
    for each in arrays.values():
        if each["node_type"] == "array":
            each["chunk_key_encoding"] = _NAMING[generation][0]
    files = {_renamed(key, generation): each for key, each in content.items()}
    root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": arrays}
    words = {
        **manifest,
        "generation": generation,
        "variables": [str(name) for name in template],
        "written": written,
        "replaces": sorted(replaces),
        "files": {key: [len(each), checksum(each)] for key, each in files.items()},
    }
    root.setdefault("attributes", {})
    # As they are read.
    words = json.loads(json.dumps(words))
    words["checksum"] = _checksum(words, root)
    root["attributes"][MANIFEST] = json.dumps(words)
    return Description(root), files


def _encoding(template: xr.Dataset, grid: ChunkGrid, inner: Mapping[str, int]) -> dict[Any, dict[str, Any]]:
    encoding: dict[Any, dict[str, Any]] = {}
    for name, variable in template.data_vars.items():
        sizes = [grid.chunks[k][0] if k < len(grid.chunks) else n for k, n in enumerate(variable.shape)]
        # One file for each chunk of the run, in which single parameters, and parts, can be read alone.
        parts = [
            min(inner.get(str(d), 1 if k >= len(grid.chunks) else sizes[k]), sizes[k])
            for k, d in enumerate(variable.dims)
        ]
        encoding[name] = {"chunks": tuple(parts)} | ({"shards": tuple(sizes)} if parts != sizes else {})
        if variable.dtype.kind == "f":
            # The noise in fitted numbers does not compress (5 % of them), and compressing costs as much as all else in
            # a write.
            encoding[name]["compressors"] = None
    return encoding


def _marks(chunks: int, variables: int) -> dict[str, dict[str, Any]]:
    """Metadata of the group of marks and its arrays, a row and a file for each chunk."""

    def array(width: int, kind: str, fill: int) -> dict[str, Any]:
        endian = {"configuration": {"endian": "little"}} if kind == "int64" else {}
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [chunks, width],
            "data_type": kind,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, width]}},
            "fill_value": fill,
            "codecs": [{"name": "bytes", **endian}],
            "attributes": {},
        }

    return {
        MARKS: {"zarr_format": 3, "node_type": "group", "attributes": {}},
        f"{MARKS}/done": array(mark_width(variables), "int64", -1),
        f"{MARKS}/unread": array(MESSAGE, "uint8", 0),
    }


def _renamed(key: str, generation: str) -> str:
    """Key of a chunk, which zarr has named in the first way, in a generation."""
    name, _, rest = (key + "/").partition("/c/")
    return f"{name}/{_chunk_key(generation, tuple(map(int, filter(None, rest.split('/')))))}"


# --- read


def parsed(raw: bytes | None, key: str, place: str) -> Description | None:
    """The description in a file; None where there is none of a run in this format.

    Raises
    ------
    StoreError
        If the file is damaged, or of a later format.
    """
    if raw is None:
        return None
    try:
        root = json_of(raw) if key == "zarr.json" else unwrapped(raw)
        text = root["attributes"].get(MANIFEST)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{place}: {key} is damaged: {type(error).__name__}: {error}") from None
    if text is None:
        return None
    try:
        words = json_of(text)
        number = words["format"]
        if number == 1:
            return None
        if number != FORMAT:
            raise FormatError(
                f"{place}: the run is stored in format {number!r}, and this xfit reads formats up to {FORMAT}; update "
                "xfit"
            )
        if not _is_group(root):
            raise ValueError("it is no group of zarr 3")
        if "consolidated_metadata" not in root:
            # Some stores, and some programs that write attributes, do not keep it.
            return Description(root)
        if words["checksum"] != _checksum(words, root):
            raise ValueError("its checksum is that of other words")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{place}: {key} is damaged: {type(error).__name__}: {error}") from None
    return Description(root)


def _checksum(words: Mapping[str, Any], root: Mapping[str, Any]) -> int:
    """Of what the run is of and of the metadata of its arrays, in so far as numbers are read by them."""
    members = root["consolidated_metadata"]["metadata"]
    arrays = {name: [each.get(part) for part in _CORE] for name, each in members.items() if not name.startswith(MARKS)}
    rest = {name: value for name, value in words.items() if name != "checksum"}
    # What readers of results rely on; other attributes are the user's.
    ours = {name: value for name, value in root["attributes"].items() if name.startswith("xfit_") and name != MANIFEST}
    return checksum(json.dumps([rest, arrays, ours], sort_keys=True).encode())
