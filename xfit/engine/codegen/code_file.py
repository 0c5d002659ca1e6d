"""Files of machine code: their names, and the hash by which a damaged one is known."""

from __future__ import annotations

import hashlib
import json
from typing import Any

#: Suffix of these files.
SUFFIX = ".code"

#: First bytes of a file.
_MAGIC = b"xfit machine code 1\n"


def digest_of(key: str) -> str:
    """Short hash of what machine code is made from."""
    return hashlib.sha256(key.encode()).hexdigest()[:24]


def packed(said: dict[str, Any], code: bytes) -> bytes:
    """A piece of machine code with what is said of it, and the hash of both."""
    rest = json.dumps(said, sort_keys=True).encode() + b"\n" + code
    return _MAGIC + hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


def unpacked(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Undo `packed`.

    Raises
    ------
    ValueError
        If something is missing or changed.
    """
    end = len(_MAGIC) + 64
    rest = content[end + 1 :]
    if not content.startswith(_MAGIC) or content[len(_MAGIC) : end] != hashlib.sha256(rest).hexdigest().encode():
        raise ValueError("it is damaged")
    said, _, code = rest.partition(b"\n")
    return json.loads(said), code
