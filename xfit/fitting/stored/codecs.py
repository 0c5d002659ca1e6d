"""What zarr stores say of their arrays, checked before anything is made of it: codecs that run code, object types, more
chunks than there can be.
"""

from __future__ import annotations

import copy
import math
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, TypeVar, cast

import numpy as np
from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.group import GroupMetadata
from zarr.core.metadata import ArrayV2Metadata, ArrayV3Metadata
from zarr.storage import LocalStore, ZipStore

from xfit.arrays.atomic_write import PARTIAL, refuse_device
from xfit.display import cleaned
from xfit.fitting.stored.chunk_claims import INDEX_CODECS, check_chunk, check_part, check_shard
from xfit.modeling.text_limits import amount, json_of
from xfit.modeling.text_limits import shown as _shown

_S = TypeVar("_S", bound=Store)

#: Codecs that turn bytes into numbers or text and do nothing else; all others are refused, whatever is installed.
_OBJECTS = {"vlen-utf8", "vlen-bytes", "vlen-array", "json2"}
_FILTERS = {"delta", "shuffle", "fixedscaleoffset", "astype", "packbits", "quantize", "bitround"}
_COMPRESSORS = {
    "blosc",
    "zstd",
    "lz4",
    "zlib",
    "gzip",
    "bz2",
    "lzma",
    "zfpy",
    "pcodec",
    "crc32",
    "crc32c",
    "adler32",
    "fletcher32",
    "jenkins_lookup3",
}
_SAFE = _OBJECTS | _FILTERS | _COMPRESSORS | {"bytes", "endian", "transpose", "sharding_indexed"}

#: Most chunks of an array: each is an entry in dask's lists, and would be a file or an object.
MOST_CHUNKS = 1_000_000

#: Most arrays in a group, or variables in a file, that are opened together: each costs some milliseconds, whatever is
#: in it.
MOST_ARRAYS = 1000

#: Most bytes of one chunk, which is read as a whole.
LARGEST_CHUNK = 1 << 36

#: Most bytes of a description.
LARGEST_DESCRIPTION = 1 << 25

#: Dimensions along which everything is read when a store is opened, beside each dimension's own coordinate.
READ_AT_ONCE = {"param", "param_", "pair"}

#: What is read then and is larger than this, in bytes, must have chunks in the store, of which no codec makes more than
#: so many times their size.
_LARGE, _BEST_COMPRESSION = 1 << 25, 1100

#: Bytes of a value of the types of format 3; of others 8 are assumed.
_WIDTHS = {
    name: np.dtype(name).itemsize
    for name in (
        "bool",
        *(f"{kind}{8 * n}" for kind in ("int", "uint") for n in (1, 2, 4, 8)),
        "float16",
        "float32",
        "float64",
        "complex64",
        "complex128",
    )
}

#: Parts of a description that say how an array is stored.
_STORED = ("zarr_format", "shape", "chunks", "chunk_grid", "dtype", "data_type", "filters", "compressor", "codecs")

_DESCRIPTIONS = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")

#: The format that each says it is of.
_FORMAT = {"zarr.json": 3, ".zarray": 2, ".zgroup": 2}


class RefusedFileError(ValueError):
    """A file whose description can't be true, or that would run code; names file, array and figure."""

    def __init__(self, words: str) -> None:
        # Most of them name what is in the file.
        super().__init__(cleaned(words))


def checked(store: _S) -> _S:
    """Return a zarr store that reads the same, and refuses descriptions of arrays that are not to be believed.

    Everything in xfit that opens zarr stores of which it does not know who wrote them goes through this function:
    descriptions are looked at where they are read, in whatever format, consolidated or not, by zarr, xarray and dask's
    workers alike, before a codec or an array is made of them.

    Parameters
    ----------
    store : zarr Store
        Any kind. What is returned is of a subclass of its class and shares its state.

    Returns
    -------
    Store
        Reading from it raises `RefusedFileError` for codecs that are not known to only hold data (such as pickles), for
        arrays of Python objects without a codec for them, for more than `MOST_CHUNKS` chunks, for chunks of more than
        64 GiB, for coordinates that are larger than all that is stored of them, and for descriptions that are no JSON.
    """
    if isinstance(store, _Checking):
        return store
    found: Any = object.__new__(_checking(type(store)))
    found.__dict__ = store.__dict__
    return cast(_S, found)


class _Checking(Store):
    """A store that looks at descriptions when it reads them; made by `checked`."""

    _kind: type[Store]

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """Read a key; a description is checked, and a chunk by what has been said of its array."""
        folder, _, name = key.rpartition("/")
        await self._check_file(key, name in _DESCRIPTIONS)
        if name not in _DESCRIPTIONS:
            self._check_chunk(key, byte_range)
        found = await super().get(key, prototype, byte_range)  # type: ignore[safe-super]
        if found is None:
            return found
        if name not in _DESCRIPTIONS:
            self._check_chunk(key, byte_range, found)
            return found
        described = _parsed(found.to_bytes(), f"{self}", key)
        for inner, about in arrays_in(described):
            path = "/".join(filter(None, (folder, inner)))
            size = check_array(about, f"{self}", path)
            self._known.setdefault(path, {})[key] = {part: about[part] for part in _STORED if part in about}
            if size > _LARGE and set(await self._dims(path, about)) <= {path.rpartition("/")[2], *READ_AT_ONCE}:
                await self._check_stored(path, about, size)
        _check_made(described, name, f"{self}: {key}")
        return found

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names in a folder, without what processes have left that were killed while they
        wrote, of which zarr would warn.
        """
        async for name in super().list_dir(prefix):  # type: ignore[safe-super]
            if not PARTIAL.fullmatch(name):
                yield name

    @property
    def _known(self) -> dict[str, dict[str, Any]]:
        """How arrays are stored, by their paths and the files that say so; it goes with the
        store into other processes.
        """
        found: dict[str, dict[str, Any]] = self.__dict__.setdefault("_xfit_known", {})
        return found

    async def _check_file(self, key: str, is_description: bool) -> None:
        """Refuse what is no file, such as a device or a pipe, which may never end, and a file of a zip
        that is larger than it may be.
        """
        if isinstance(self, LocalStore):
            size = stored = refuse_device(self.root / key)
        elif isinstance(self, ZipStore):
            await self._ensure_open()
            try:
                entry = self._zf.getinfo(key)
            except KeyError:
                return
            size, stored = entry.file_size, entry.compress_size
        else:
            return
        if is_description and size > LARGEST_DESCRIPTION:
            raise RefusedFileError(f"{self}: {key} has {size} bytes; a description has at most {LARGEST_DESCRIPTION}")
        if size > max(_LARGE, 50 * stored):
            raise RefusedFileError(
                f"{self}: {_shown(key)} makes {amount(size)} bytes of {stored} in the zip file; it is not read. Write "
                "what is in it without zip's own compression"
            )

    def _check_chunk(self, key: str, part: Any, found: Any = None) -> None:
        """Refuse a chunk, a shard, or a part of a shard, that claims more than its array has;
        parts also before they are read.
        """
        ranged = isinstance(part, RangeByteRequest)
        if not ranged and (part is not None or found is None):
            return
        path = key
        while path:
            path = path.rpartition("/")[0]
            if path in self._known:
                break
        raw: Any = None if found is None else memoryview(found.as_buffer_like())
        for about in self._known.get(path, {}).values():
            where = f"{self}: the chunk {key!r}"
            _, chunk, pieces = _sizes(about, where)
            has_codec = any(name in _OBJECTS for name in _codecs(about, where))
            width = None if has_codec or not _has_width(about) else _width(about, where, has_codec)
            shard, values = next(_shards(about), None), math.prod(pieces)
            try:
                if shard is None:
                    if not ranged:
                        check_chunk(raw, about, values, width)
                elif not ranged:
                    check_shard(raw, shard, _number(chunk, pieces), values, width)
                elif part.start or shard.get("index_location") != "start":
                    check_part(raw, part.start, part.end, shard, values, width)
            except Exception as error:
                raise RefusedFileError(f"{where} is damaged, or made to take memory: {error}") from None

    async def _dims(self, path: str, about: Mapping[str, Any]) -> Iterable[str]:
        """Names of an array's dimensions."""
        if about.get("zarr_format") == 3:
            return about.get("dimension_names") or [""]
        attributes = await super().get(f"{path}/.zattrs", default_buffer_prototype())  # type: ignore[safe-super]
        about = {} if attributes is None else _parsed(attributes.to_bytes(), f"{self}", f"{path}/.zattrs")
        return about.get("_ARRAY_DIMENSIONS") or [""]

    async def _check_stored(self, path: str, about: Mapping[str, Any], size: int) -> None:
        """Refuse an array that would be read at once, and of which hardly anything is stored."""
        stored = 0
        async for key in self.list_prefix(f"{path}/" if path else ""):
            if key.rpartition("/")[2] not in _DESCRIPTIONS:
                stored += await self.getsize(key)
            if stored * _BEST_COMPRESSION >= size:
                return
        raise RefusedFileError(
            f"{self}: the coordinate {path!r} claims {_shown(about['shape'])} values, {amount(size)} bytes, and "
            f"{stored} bytes are stored of it; it is not read"
        )

    def __reduce__(self) -> Any:
        plain: Any = object.__new__(self._kind)
        plain.__dict__ = self.__dict__
        return checked, (plain,)


@cache
def _checking(kind: type[Store]) -> type[Store]:
    """Class of the checking stores of a kind, by the same name, so that messages are as without."""
    words: dict[str, Any] = {"_kind": kind, "__module__": kind.__module__, "__doc__": kind.__doc__}

    def get_sync(self: Any, key: str, *, prototype: Any = None, byte_range: Any = None) -> Any:
        """Read a chunk without a loop of events; descriptions are read by `get`."""
        if key.rpartition("/")[2] in _DESCRIPTIONS:
            raise NotImplementedError("descriptions of arrays are read by get")
        self._check_chunk(key, byte_range)
        found = cast(Any, kind).get_sync(self, key, prototype=prototype, byte_range=byte_range)
        if found is not None:
            self._check_chunk(key, byte_range, found)
        return found

    return type(kind.__name__, (_Checking, kind), words | ({"get_sync": get_sync} if hasattr(kind, "get_sync") else {}))


def _parsed(raw: bytes, source: str, key: str) -> dict[str, Any]:
    """A description as JSON has it.

    Raises
    ------
    RefusedFileError
        Where it is none, or none that could be true.
    """
    if len(raw) > LARGEST_DESCRIPTION:
        raise RefusedFileError(f"{source}: {key} has {len(raw)} bytes; a description has at most {LARGEST_DESCRIPTION}")
    try:
        found = json_of(raw)
    except ValueError as error:
        raise RefusedFileError(f"{source}: {key} is damaged: it is no JSON that is read ({error})") from None
    if not isinstance(found, dict):
        raise RefusedFileError(
            f"{source}: {key} is damaged: it holds {type(found).__name__}, not an object with named entries"
        )
    return found


def _check_made(described: dict[str, Any], name: str, where: str) -> None:
    """Refuse a description that zarr can't make anything of, with the file's name, which zarr does not tell."""
    wanted = _FORMAT.get(name)
    if wanted is not None and described.get("zarr_format") != wanted:
        # Else another format would be taken for it, in which there is nothing.
        raise RefusedFileError(
            f"{where} is damaged, or of a later format: its zarr_format is {_shown(described.get('zarr_format'))}, not "
            f"{wanted}"
        )
    if name == "zarr.json" and described.get("node_type") not in ("array", "group"):
        raise RefusedFileError(
            f'{where} is damaged: its node_type is {_shown(described.get("node_type"))}, not "array" or "group"'
        )
    try:
        if name == "zarr.json":
            kind: Any = ArrayV3Metadata if described.get("node_type") == "array" else GroupMetadata
            kind.from_dict(copy.deepcopy(described))
        elif name == ".zarray":
            ArrayV2Metadata.from_dict(copy.deepcopy(described))
        elif name == ".zmetadata" and not isinstance(described.get("metadata"), dict):
            raise ValueError("it has no metadata")
    except Exception as error:
        # Of any kind, from a KeyError on.
        raise RefusedFileError(f"{where} is damaged ({type(error).__name__}: {_shown(str(error))})") from None


def arrays_in(about: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Descriptions of arrays in a file of descriptions, by the path that the file gives them: "" for its own."""
    inline = about.get("consolidated_metadata")
    entries = (
        inline.get("metadata")
        if isinstance(inline, Mapping)
        else about.get("metadata")
        if "zarr_consolidated_format" in about
        else None
    )
    for name, each in entries.items() if isinstance(entries, Mapping) else ():
        if isinstance(each, Mapping):
            # Of format 2 names end in those of the files that they stand for.
            outer = name.removesuffix(".zarray").rstrip("/")
            yield from (("/".join(filter(None, (outer, inner))), array) for inner, array in arrays_in(each))
    # Whatever it is called: what has a shape is made an array of.
    if "shape" in about or about.get("node_type") == "array":
        yield "", about


def check_array(about: Mapping[str, Any], source: str, path: str) -> int:
    """Refuse an array that would run code, or is larger than can be.

    Parameters
    ----------
    about : mapping
        Its description, in format 2 or 3.
    source, path : str
        Of the store and of the array in it, for messages.

    Returns
    -------
    int
        Bytes of the whole array.

    Raises
    ------
    RefusedFileError
        Naming the array, and the codec or figure.
    """
    where = f"{source}: the array {path!r}"
    names = list(_codecs(about, where))
    for name in names:
        if name.removeprefix("numcodecs.") not in _SAFE:
            raise RefusedFileError(
                f"{where} is stored with the codec {name!r}, which is not among those that only hold data; it is not "
                "read"
            )
    has_codec = any(name in _OBJECTS for name in names)
    shard = next(_shards(about), None)
    if has_codec and "sharding_indexed" in names:
        raise RefusedFileError(f"{where} holds text in shards, which is not read; write it without shards")
    if shard is not None and (
        len(about["codecs"]) > 1
        or names.count("sharding_indexed") > 1
        or not {*_codecs({"zarr_format": 3, "codecs": shard.get("index_codecs")}, where)} <= INDEX_CODECS
    ):
        raise RefusedFileError(
            f"{where} is stored in shards that are packed, turned or in shards, or whose index is; it is not read. "
            "Write it with the codecs within the shards"
        )
    width = _width(about, where, has_codec)
    shape, chunk, pieces = _sizes(about, where)
    largest = math.prod(pieces) * width
    if largest > LARGEST_CHUNK:
        raise RefusedFileError(
            f"{where} claims chunks of {_shown(pieces)} values, {amount(largest)} bytes; the largest that are read "
            f"have {amount(LARGEST_CHUNK)}"
        )
    # Both of the array, and of a shard, whose index has them all.
    number = max(_number(whole, pieces) for whole in (shape, chunk))
    if number > MOST_CHUNKS:
        raise RefusedFileError(
            f"{where} claims {amount(number)} chunks (shape {_shown(shape)}, chunks {_shown(pieces)}); the most that "
            f"are read are {MOST_CHUNKS}. Write it in larger chunks"
        )
    return math.prod(shape) * width


def _codecs(about: Mapping[str, Any], where: str) -> Iterator[str]:
    """Names of all codecs of an array, those within others too."""
    if about.get("zarr_format") == 3:
        given: list[Any] = [*_listed(about, "codecs", where), *_listed(about, "storage_transformers", where)]
    else:
        given = [*_listed(about, "filters", where), *([] if about.get("compressor") is None else [about["compressor"]])]
    for codec in given:
        name = (
            codec
            if isinstance(codec, str)
            else codec.get("id", codec.get("name"))
            if isinstance(codec, Mapping)
            else None
        )
        if not isinstance(name, str):
            raise RefusedFileError(f"{where} has a damaged description: {_shown(codec)} is no codec")
        yield name
        inner = codec.get("configuration") if isinstance(codec, Mapping) else None
        if isinstance(inner, Mapping):
            for key in ("codecs", "index_codecs"):
                yield from _codecs({"zarr_format": 3, "codecs": inner.get(key)}, where)


def _listed(about: Mapping[str, Any], key: str, where: str) -> list[Any]:
    found = about.get(key)
    if found is not None and not isinstance(found, list):
        raise RefusedFileError(f"{where} has a damaged description: {key} must be a list, not {_shown(found)}")
    return found or []


def _width(about: Mapping[str, Any], where: str, has_codec: bool) -> int:
    """Bytes of one value."""
    if about.get("zarr_format") == 3:
        kind = about.get("data_type")
        name, more = (kind.get("name"), kind.get("configuration")) if isinstance(kind, Mapping) else (kind, None)
        given = (
            more.get("length_bytes", 8)
            if isinstance(more, Mapping)
            else _WIDTHS.get(name, 8)
            if isinstance(name, str)
            else 8
        )
        return given if _is_size(given) else 8
    text = about.get("dtype")
    try:
        dtype = np.dtype([tuple(map(_tupled, field)) for field in text] if isinstance(text, list) else text)
    except (TypeError, ValueError) as error:
        raise RefusedFileError(
            f"{where} has a damaged description: {_shown(text)} is no type of numbers ({error})"
        ) from None
    if dtype.hasobject and not (dtype.kind == "O" and has_codec):
        raise RefusedFileError(
            f"{where} holds Python objects (dtype {_shown(text)}) without a codec that makes text or numbers of them; "
            "it is not read"
        )
    return dtype.itemsize


def _has_width(about: Mapping[str, Any]) -> bool:
    """Whether all numbers of an array have the width that its type is known to have."""
    kind = about.get("data_type")
    name, more = (kind.get("name"), kind.get("configuration")) if isinstance(kind, Mapping) else (kind, None)
    return (
        about.get("zarr_format") != 3
        or (isinstance(name, str) and name in _WIDTHS)
        or (isinstance(more, Mapping) and _is_size(more.get("length_bytes")))
    )


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _sizes(about: Mapping[str, Any], where: str) -> tuple[list[int], list[int], list[int]]:
    """Shape, chunks as they are read, and the pieces in them that dask sees."""
    shape: Any = about.get("shape")
    chunk: Any = about.get("chunks")
    if about.get("zarr_format") == 3:
        grid = about.get("chunk_grid")
        inner = grid.get("configuration") if isinstance(grid, Mapping) else None
        chunk = inner.get("chunk_shape") if isinstance(inner, Mapping) else None
    shard = next(_shards(about), None)
    pieces: Any = chunk if shard is None else shard.get("chunk_shape")
    for name, sizes in (("shape", shape), ("chunks", chunk), ("chunks", pieces)):
        if not isinstance(sizes, list) or not all(map(_is_size, sizes)) or len(sizes) != len(shape or ()):
            raise RefusedFileError(
                f"{where} has a damaged description: its {name} must be whole numbers, one for each dimension, not "
                f"{_shown(sizes)}"
            )
    return shape or [], chunk, pieces


def _number(whole: list[int], pieces: list[int]) -> int:
    """Pieces of a whole."""
    return math.prod(-(-n // max(size, 1)) for n, size in zip(whole, pieces, strict=True))


def _shards(about: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What is said of the chunks within shards."""
    for codec in about.get("codecs") or () if about.get("zarr_format") == 3 else ():
        if (
            isinstance(codec, Mapping)
            and codec.get("name") == "sharding_indexed"
            and isinstance(codec.get("configuration"), Mapping)
        ):
            yield codec["configuration"]


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
