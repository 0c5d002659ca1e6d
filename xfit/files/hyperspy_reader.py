"""HyperSpy's .hspy and .zspy by RosettaSciIO's readers of their layout, of files that are checked."""

from __future__ import annotations

import os
import zipfile
from contextlib import closing, nullcontext, suppress
from importlib import import_module
from typing import Any

from xfit.files.hdf5_chunks import check_packed
from xfit.fitting.stored.codecs import MOST_ARRAYS, RefusedFileError, checked

#: Groups and arrays of metadata that are read, of all signals together: each costs up to half a millisecond.
MOST_METADATA = 4000


def read_hspy(path: str | os.PathLike[str], lazy: bool = False, **wanted: bool) -> list[dict[str, Any]]:
    """Read the signals of a .hspy.

    Parameters
    ----------
    path : str or path
    lazy : bool, optional
        Whether data are dask arrays, which hold the file open.
    original_metadata, models : bool, optional
        Whether these are read: they may be most of a file.

    Raises
    ------
    xfit.fitting.stored.codecs.RefusedFileError
        For more metadata, or signals, than are read; for chunks that hold more than they can.
    """
    import h5py
    from rsciio.hspy._api import HyperspyReader

    with suppress(ImportError):
        # It makes its codecs known to HDF5.
        import_module("hdf5plugin")
    file = h5py.File(path, "r")
    try:
        with nullcontext() if lazy else closing(file):
            return _read(HyperspyReader, file, os.fspath(path), lazy, **wanted)
    except BaseException:
        file.close()
        raise


def read_zspy(path: str | os.PathLike[str], lazy: bool = False, **wanted: bool) -> list[dict[str, Any]]:
    """Read the signals of a .zspy, a folder or a zip file; see `read_hspy`. RosettaSciIO's own function takes paths
    alone, and opens them for writing.

    Raises
    ------
    xfit.fitting.stored.codecs.RefusedFileError
        Also for arrays that run code when they are read, or that can't be.
    """
    import zarr
    from rsciio.zspy._api import ZspyReader

    text = os.fspath(path)
    store: Any = zarr.storage.ZipStore(text, mode="r") if zipfile.is_zipfile(text) else zarr.storage.LocalStore(text)
    return _read(ZspyReader, zarr.open(checked(store), mode="r"), text, lazy, **wanted)


def _read(
    kind: Any, file: Any, path: str, lazy: bool, original_metadata: bool = False, models: bool = False
) -> list[dict[str, Any]]:
    """Read by a reader of RosettaSciIO that leaves out what is not wanted, and counts what it reads."""
    left, leave = MOST_METADATA, set() if original_metadata else {"original_metadata", "original_parameters"}

    class Reader(kind):
        _lazy = False

        def group2signaldict(self, group: Any, lazy: bool = False) -> Any:
            before, self._lazy = self._lazy, lazy
            found = super().group2signaldict(group, lazy)
            self._lazy = before
            return found

        def _group2dict(self, group: Any, dictionary: Any = None, lazy: bool = False) -> Any:
            self._count()
            if group.name.rpartition("/")[2] in leave:
                return {}
            if group.name.startswith("/Analysis/models/") and not models:
                # Of which the signal is taken out.
                return {"_signal": None}
            return super()._group2dict(group, dictionary, lazy)

        def _read_array(self, group: Any, dataset_key: str) -> Any:
            self._count()
            if self._is_hdf5 and not (self._lazy and dataset_key == "data"):
                check_packed(group[dataset_key])
            return super()._read_array(group, dataset_key)

        def _count(self) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                asked = ", the original ones among them" if original_metadata else ""
                way_out = ". Open it without original_metadata=True" if original_metadata else ""
                raise RefusedFileError(
                    f"{path} has more than {MOST_METADATA} groups and arrays of metadata{asked}; it is not "
                    f"read{way_out}"
                )

    number = len(list(file["Experiments"])) if "Experiments" in file else 0
    if number > MOST_ARRAYS:
        raise RefusedFileError(f"{path} has {number} signals; the most that are opened together are {MOST_ARRAYS}")
    found: list[dict[str, Any]] = Reader(file).read(lazy=lazy)
    return found
