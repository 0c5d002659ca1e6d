"""Addresses of stores and files: paths of this machine and URLs, and what messages show of them, without passwords, keys and tokens, in one line."""

from __future__ import annotations

import os
import re
from pathlib import Path

from xfit.terminal import cleaned

#: A URL in a text, from its scheme on: to the next blank, quote or bracket.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^\s'\"<>]+")

#: What stands between the name of a user and the host: passwords may hold slashes and question marks that should have been quoted.
_PASSWORD = re.compile(r"(://[^:/?#@]*):(?!\d+(?:[/?#]|$)).*@|(://[^:/?#@]*):[^/?#]*@")

#: Values in a query or a fragment: what signs a request stands there, by names that differ from service to service.
_VALUE = re.compile(r"([?&;#][^=&;#]*=)[^&;#]*")


def is_url(address: object) -> bool:
    """Whether an address is a URL, of anything but a file of this machine."""
    text = str(address)
    return "://" in text and not text.startswith("file://")


def local_path(address: str | os.PathLike[str]) -> Path:
    """Path of a file or folder of this machine, as users give it: ``~`` is the home, and ``file://`` may stand before it."""
    # Path.expanduser raises an error for a user who is not there; a file may have such a name.
    return Path(os.path.expanduser(os.fspath(address).removeprefix("file://")))


def without_secrets(text: object) -> str:
    """Text whose URLs show no password and no value of a query, such as ``s3://joe:***@host/fit.zarr?signature=***``, and as `cleaned` otherwise.

    Parameters
    ----------
    text : object
        A URL, or words with URLs among them; what is no text is taken as it prints itself.
    """
    return cleaned(_URL.sub(lambda found: _hidden(found[0]), str(text)))


def _hidden(url: str) -> str:
    # Chained URLs, as fsspec has them, each by itself.
    parts = url.split("::")
    return "::".join(
        _VALUE.sub(r"\1***", _PASSWORD.sub(lambda found: f"{found[1] or found[2]}:***@", part)) for part in parts
    )
