"""What the chunks of zarr arrays and of their shards claim, checked before a codec makes room for it: how much is
packed in them, and how many texts.
"""

from __future__ import annotations

import bz2
import lzma
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np

from xfit.modeling.text_limits import amount, json_of

#: Codecs that make bytes of more or fewer bytes; of those that add a checksum the number of bytes at the beginning
#: (format 2) or end.
_PACKS = {"blosc", "zstd", "lz4", "zlib", "gzip", "bz2", "lzma"}
_SUMS = {"crc32": 4, "crc32c": 4, "adler32": 4, "fletcher32": 4, "jenkins_lookup3": 4}

#: Codecs of text and objects.
_TEXTS = {"vlen-utf8", "vlen-bytes", "vlen-array", "json2"}

#: Bytes that a chunk of text may hold, or so many times what is stored of it.
_TEXT, _TEXT_COMPRESSION = 1 << 26, 50

#: Bytes that a chunk of numbers may hold beside them, and filters that may have made numbers wider, by how many times.
_BESIDE, _WIDENING, _WIDER = 1024, {"astype", "fixedscaleoffset", "quantize"}, 16

#: Codecs of the index of a shard that are read.
INDEX_CODECS = {"bytes", "crc32c"}

#: Bytes that are unpacked at a time.
_STEP = 1 << 20


def check_chunk(raw: bytes | memoryview, about: Mapping[str, Any], values: int, width: int | None) -> None:
    """Refuse a chunk that would take more memory than its array says.

    Parameters
    ----------
    raw : bytes or memoryview
        What is stored.
    about : mapping
        The array's description, in format 2 or 3, which has been checked.
    values : int
        Numbers or texts in a chunk.
    width : int or None
        Bytes of a number; None for text, and where that is not known.

    Raises
    ------
    ValueError
        With the figure.
    """
    codecs = _codecs(about)
    packs = [each for each in codecs if each[0] in _PACKS or each[0] in _SUMS]
    most = _most(len(raw), codecs, values, width)
    for name, config in packs:
        if name in _SUMS:
            # At the end in format 3; in format 2 some are at the beginning.
            first = (
                0
                if about.get("zarr_format") == 3 or config.get("location") == "end" or name == "fletcher32"
                else _SUMS[name]
            )
            raw = raw[first:] if first else raw[: -_SUMS[name]]
        elif name in _PACKS:
            size = unpacked(raw, name, config, most)
            if size > most:
                raise ValueError(
                    f"{len(raw)} bytes of {name} claim {amount(size)} bytes or more, where there are {values} values, "
                    f"at most {amount(most)} bytes"
                )
            if width is None or len(packs) > 1:
                raw = bytes(numcodecs.get_codec({**config, "id": name}).decode(raw))
    for name, _ in codecs:
        if name in _TEXTS:
            _check_texts(bytes(raw), name, values)


def check_part(
    raw: memoryview | None, begin: int, end: int, config: Mapping[str, Any], values: int, width: int | None
) -> None:
    """Refuse a chunk in a shard that would take more memory than its array says.

    Parameters
    ----------
    raw : memoryview or None
        What is stored; None before it is read.
    begin, end : int
        Bytes of the shard that hold it, as the shard's index says.
    config : mapping
        Of the codec of shards.
    values, width : int, int or None
        As of `check_chunk`.

    Raises
    ------
    ValueError
        With these bytes and the figure.
    """
    inner = {"zarr_format": 3, "codecs": config.get("codecs")}
    most = 2 * _most(0, _codecs(inner), values, width)
    try:
        if not 0 <= end - begin <= most or end >= 1 << 63:
            raise ValueError(f"{values} values have at most {most}")
        if raw is not None and len(raw) != end - begin:
            raise ValueError(f"{len(raw)} are there")
        if raw is not None:
            check_chunk(raw, inner, values, width)
    except Exception as error:
        raise ValueError(f"bytes {begin} to {end} of the shard: {error}") from None


def check_shard(raw: memoryview, config: Mapping[str, Any], number: int, values: int, width: int | None) -> None:
    """Refuse a shard whose index leads out of it, or with a chunk that is refused; of so many
    chunks, see `check_part`.
    """
    told = _codecs({"zarr_format": 3, "codecs": config.get("index_codecs") or ["bytes", "crc32c"]})
    size = 16 * number + sum(_SUMS.get(name, 0) for name, _ in told)
    if len(raw) < size:
        raise ValueError(f"the shard has {len(raw)} bytes, and the index of its {number} chunks {size}")
    order = ">" if any(each.get("endian") == "big" for _, each in told) else "<"
    first = 0 if config.get("index_location") == "start" else len(raw) - size
    entries = np.frombuffer(raw[first : first + 16 * number], f"{order}u8").reshape(-1, 2)
    for begin, length in entries[(entries != 2**64 - 1).any(1)].tolist():
        check_part(raw[begin : begin + length], begin, begin + length, config, values, width)


def _most(stored: int, codecs: list[tuple[str, dict[str, Any]]], values: int, width: int | None) -> int:
    """Bytes that may be packed in a chunk."""
    if width is None:
        return max(_TEXT, _TEXT_COMPRESSION * stored)
    return values * width * (_WIDER if any(name in _WIDENING for name, _ in codecs) else 1) + _BESIDE


def _codecs(about: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Names and options of an array's codecs, the first that is undone first."""
    if about.get("zarr_format") == 3:
        given = [each if isinstance(each, Mapping) else {"name": each} for each in about.get("codecs") or ()]
        found = [(str(each["name"]), dict(each.get("configuration") or {})) for each in reversed(given)]
    else:
        given = [*(about.get("filters") or ()), *([about["compressor"]] if about.get("compressor") else [])]
        found = [(str(each["id"]), {k: v for k, v in each.items() if k != "id"}) for each in reversed(given)]
    return [(name.removeprefix("numcodecs."), config) for name, config in found]


def unpacked(raw: bytes | memoryview, name: str, config: Mapping[str, Any], most: int) -> int:
    """Bytes that are packed in others; more than the most where they are too many, or where that is not told."""
    if name == "blosc":
        return int.from_bytes(raw[4:8], "little")
    if name == "lz4":
        return int.from_bytes(raw[:4], "little")
    if name == "zstd":
        return _in_zstd(raw, most)
    made: Any = {
        "zlib": lambda: zlib.decompressobj(),
        "gzip": lambda: zlib.decompressobj(31),
        "bz2": bz2.BZ2Decompressor,
        "lzma": lambda: lzma.LZMADecompressor(
            config.get("format", 1),
            None if config.get("format") == lzma.FORMAT_RAW else most + _TEXT,
            config.get("filters"),
        ),
    }[name]
    size = 0
    while raw and size <= most:
        one = made()
        part = raw
        try:
            while not one.eof and size <= most:
                found = one.decompress(part, _STEP)
                size += len(found)
                part = one.unconsumed_tail if name in ("zlib", "gzip") else b""
                if not found and not part and not one.eof:
                    # Cut short: the codec says so.
                    return size
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
            return size
        raw = one.unused_data if one.eof else b""
    return size


def _in_zstd(raw: bytes | memoryview, most: int) -> int:
    """Bytes that frames of zstd say to hold (RFC 8878, section 3.1.1)."""
    size = place = 0
    while place + 5 < len(raw):
        magic, flags = int.from_bytes(raw[place : place + 4], "little"), raw[place + 4]
        if magic >> 4 == 0x184D2A5:
            place += 8 + int.from_bytes(raw[place + 4 : place + 8], "little")
            continue
        single, width = flags >> 5 & 1, (0, 2, 4, 8)[flags >> 6]
        begin = place + 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
        width = 1 if single and not width else width
        if magic != 0xFD2FB528:
            return size
        if not width:
            return most + 1
        size += int.from_bytes(raw[begin : begin + width], "little") + (256 if width == 2 else 0)
        place, last = begin + width, 0
        while not last and place + 3 <= len(raw):
            head = int.from_bytes(raw[place : place + 3], "little")
            last = head & 1
            # A run of one byte is stored as that.
            place += 3 + (1 if head >> 1 & 3 == 1 else head >> 3)
        place += 4 * (flags >> 2 & 1)
    return size


def _check_texts(raw: bytes, name: str, values: int) -> None:
    """Refuse a chunk that claims more texts than there can be."""
    if name.startswith("vlen"):
        number = int.from_bytes(raw[:4], "little")
        if number > values or 4 * number + 4 > len(raw):
            raise ValueError(f"{len(raw)} bytes claim {amount(number)} texts; there are {values} in a chunk")
        return
    text = raw.decode()
    found = json_of(text)
    shape = found[-1] if isinstance(found, list) and len(found) > 2 else None
    if (
        not isinstance(shape, list)
        or not all(isinstance(n, int) and n >= 0 for n in shape)
        or math.prod(shape) > values
        or found[-2] != "|O"
    ):
        raise ValueError(f"they claim a shape of {shape!r:.60}; there are {values} values in a chunk")
