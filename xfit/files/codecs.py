"""Codecs of zarr arrays: those that run code when they are read, such as pickles, are refused before anything is read."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: Codecs that turn bytes into numbers or text and do nothing else.
_SAFE = {"vlen-utf8", "vlen-bytes", "vlen-array", "json2", "msgpack2", "delta", "shuffle", "fixedscaleoffset", "astype", "packbits", "quantize", "bitround"}  # fmt: skip
_SAFE |= {"blosc", "zstd", "lz4", "zlib", "gzip", "bz2", "lzma", "zfpy", "crc32", "crc32c", "adler32", "fletcher32"}


def check_codecs(path: Path) -> None:
    """Refuse a .zspy with arrays that are stored in a way that runs code when it is read, such as pickles.

    Raises
    ------
    ValueError
        Naming the array and its codec.
    """
    for name, text in _descriptions(path):
        about = json.loads(text)
        _check(str(path), name, [*(about.get("filters") or ()), about.get("compressor")])


def check_group(node: Any, source: str) -> None:
    """Do the same for an open array, or the arrays of an open group.

    Parameters
    ----------
    node : zarr.Array or zarr.Group
    source : str
        Where it is, for messages.
    """
    arrays = [("", node)] if hasattr(node, "dtype") else list(node.arrays())
    for name, array in arrays:
        # Format 3 has no codec that runs code.
        if array.metadata.zarr_format == 2:
            codecs = [*(array.metadata.filters or ()), array.metadata.compressor]
            _check(source, name, [codec if codec is None else codec.get_config() for codec in codecs])


def _check(source: str, name: str, codecs: list[Any]) -> None:
    for codec in codecs:
        if codec is None:
            continue
        kind = codec.get("id") if isinstance(codec, Mapping) else codec
        if kind not in _SAFE:
            raise ValueError(f"{source}: the array {name!r} is stored with the codec {kind!r}, which is not among those that only hold data; it is not read")  # fmt: skip


def _descriptions(path: Path) -> Iterator[tuple[str, str]]:
    """Descriptions of the arrays in a folder or in a zip file."""
    if path.is_dir():
        texts = {
            str(file.relative_to(path)): file.read_text(encoding="utf-8")
            for name in (".zarray", ".zmetadata")
            for file in path.rglob(name)
        }
    else:
        with zipfile.ZipFile(path) as packed:
            wanted = [name for name in packed.namelist() if name.endswith((".zarray", ".zmetadata"))]
            texts = {name: packed.read(name).decode() for name in wanted}
    for name, text in texts.items():
        if name.endswith(".zarray"):
            yield name.removesuffix(".zarray"), text
            continue
        for inner, about in json.loads(text)["metadata"].items():
            if inner.endswith(".zarray"):
                yield inner.removesuffix(".zarray"), json.dumps(about)
