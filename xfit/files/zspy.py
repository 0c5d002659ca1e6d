"""HyperSpy's .zspy by RosettaSciIO's reader of its layout, from a store that is checked."""

from __future__ import annotations

import os
import zipfile
from typing import Any

from xfit.fitting.stored.codecs import checked


def read_zspy(path: str | os.PathLike[str], lazy: bool = False) -> list[dict[str, Any]]:
    """Read the signals of a .zspy, a folder or a zip file; RosettaSciIO's own function takes paths alone, and opens them for writing.

    Parameters
    ----------
    path : str or path
    lazy : bool, optional

    Raises
    ------
    xfit.fitting.stored.codecs.RefusedFileError
        For arrays that run code when they are read, or that can't be.
    """
    import zarr
    from rsciio.zspy._api import ZspyReader

    text = os.fspath(path)
    store: Any = zarr.storage.ZipStore(text, mode="r") if zipfile.is_zipfile(text) else zarr.storage.LocalStore(text)
    found: list[dict[str, Any]] = ZspyReader(zarr.open(checked(store), mode="r")).read(lazy=lazy)
    return found
