"""Files of instruments and of HyperSpy, by the readers of RosettaSciIO."""

from __future__ import annotations

import inspect
import logging
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import xarray as xr

from xfit.display import cleaned
from xfit.files.hdf5 import close, reopening
from xfit.files.hdf5_header import check_hdf5
from xfit.files.hyperspy_reader import read_hspy, read_zspy
from xfit.files.metadata import branch
from xfit.files.npy_header import check_npy
from xfit.files.postprocess import settled
from xfit.files.reopening_arrays import reopened
from xfit.files.signal_axes import spectral_axis
from xfit.files.signals import signal_to_array
from xfit.fitting.stored.codecs import RefusedFileError
from xfit.fitting.stored.reader_errors import telling

_logger = logging.getLogger(__name__)

#: Options of readers. Of NeXus the data that a file calls so are wanted, not each array that lies in it.
_OPTIONS: dict[str, dict[str, Any]] = {"NeXus": {"nxdata_only": True}}

#: Readers that are xfit's own, or nearly so.
_OWN = {"HSPY": read_hspy, "ZSPY": read_zspy}

#: Readers whose lazy data hold the file open.
_HOLDING = ("Semper", "TIFF")

#: What to install for modules that RosettaSciIO imports when a format needs them.
_PACKAGES = {
    "blosc": "blosc",
    "box": "python-box",
    "dateutil": "python-dateutil",
    "h5py": "h5py",
    "hdf5plugin": "hdf5plugin",
    "imageio": "rosettasciio[image]",
    "mrcz": "rosettasciio[mrcz]",
    "PIL": "rosettasciio[image]",
    "pint": "pint",
    "pyUSID": "pyUSID",
    "skimage": "rosettasciio[blockfile]",
    "sparse": "rosettasciio[eds-stream]",
    "tifffile": "rosettasciio[tiff]",
}

#: Left to xarray, since the reader for it runs text from the file as Python.
_LEFT_OUT = ("netCDF",)


def rosettasciio() -> ModuleType:
    """Import RosettaSciIO.

    Raises
    ------
    ImportError
        That says what to install.
    """
    try:
        return import_module("rsciio")
    except ImportError as error:
        raise ImportError(
            f"reading files of instruments needs RosettaSciIO ({error}); install it with: pip install 'xfit[io]'"
        ) from error


def plugins() -> list[dict[str, Any]]:
    """Readers that there are: dictionaries with ``name``, ``file_extensions`` and ``api``."""
    return [plugin for plugin in rosettasciio().IO_PLUGINS if plugin["name"] not in _LEFT_OUT]


def readers_for(path: Path, reader: str | None) -> list[dict[str, Any]]:
    """Readers that know a file's extension, or the one that was asked for.

    Raises
    ------
    ValueError
        For a reader that there is not.
    """
    known = plugins()
    if reader is not None:
        found = [p for p in known if reader.lower() in {name.lower() for name in (p["name"], *p["name_aliases"])}]
        if not found:
            raise ValueError(f"reader={reader!r} is not known; there are {sorted(p['name'] for p in known)}")
        return found[:1]
    extension = path.suffix[1:].lower()
    return [plugin for plugin in known if extension in {e.lower() for e in plugin["file_extensions"]}]


def read_signals(path: Path, readers: Sequence[Mapping[str, Any]], original_metadata: bool) -> list[xr.DataArray]:
    """Read all signals of a file, lazily where the reader can.

    Parameters
    ----------
    path : Path
    readers : sequence
        Tried one after the other: an extension may be of several formats.
    original_metadata : bool
        Whether these are kept.

    Raises
    ------
    ValueError
        If none of them can read it, with what each said.
    """
    with telling(path, "HDF5"):
        check_hdf5(path)
    reasons: list[tuple[str, Exception]] = []
    for plugin in readers:
        try:
            if plugin["name"] == "numpy":
                check_npy(path)
            found = _read(path, plugin, original_metadata)
        except RefusedFileError:
            raise
        except Exception as error:
            # What readers raise for files of other formats is of any kind.
            reasons.append((plugin["name"], error))
            continue
        if found:
            return _arrays(path, plugin["name"], found, original_metadata)
        # Some return nothing instead.
        reasons.append((plugin["name"], ValueError("it holds no signal")))
    missing = [error for _, error in reasons if isinstance(error, ImportError)]
    if missing and len(missing) == len(reasons):
        raise ImportError(
            f"reading {cleaned(str(path))} needs a library that is not there ({missing[0]}); install it with: pip "
            f"install '{_package(missing[0])}'"
        ) from missing[0]
    told = cleaned("; ".join(f"{name}: {type(error).__name__}: {error}" for name, error in reasons))
    raise ValueError(
        f"{cleaned(str(path))} can't be read as {' or '.join(name for name, _ in reasons)} ({told})"
    ) from reasons[-1][1]


def _package(error: ImportError) -> str:
    """Tell what to install where a module is missing."""
    named = (error.name or "").split(".")[0] or next((word for word in _PACKAGES if f"'{word}'" in str(error)), "")
    return _PACKAGES.get(named, named or "xfit[io]")


def _read(path: Path, plugin: Mapping[str, Any], original_metadata: bool) -> list[dict[str, Any]]:
    """Dictionaries of a file's signals, lazy where the reader can."""
    reader = _OWN.get(plugin["name"]) or import_module(plugin["api"]).file_reader
    options = {"original_metadata": original_metadata} if plugin["name"] in _OWN else _OPTIONS.get(plugin["name"], {})
    if _is_packed(path, plugin["name"]):
        return list(reader(str(path), **options))
    found = _lazily(reader, path, options)
    if not found and plugin["name"] == "NeXus":
        # No data by the standard: all arrays.
        found = _lazily(reader, path, {})
    if plugin["name"] in _HOLDING:
        for number, signal in enumerate(found):
            if not isinstance(signal["data"], np.ndarray):
                signal["data"] = reopened(path, plugin["api"], number, signal["data"])
    if plugin["name"] == "ZSPY":
        found.sort(key=title_of)
    if len(found) == 1 and "chunks" in inspect.signature(reader).parameters:
        whole = _whole_spectra(found[0], plugin["name"])
        if whole is not None:
            found = _lazily(reader, path, {**options, "chunks": whole})
    return found


def title_of(signal: Mapping[str, Any]) -> str:
    """Title of a signal: what those of a .zspy are ordered by, which come as the folders of a disk do."""
    return str(branch(signal, "metadata", "General").get("title", ""))


def _is_packed(path: Path, name: str) -> bool:
    """Whether a file's array is compressed, which the lazy way of its reader takes for plain numbers."""
    if name != "PantaRhei":
        return False
    with zipfile.ZipFile(path) as file:
        return file.getinfo("data.npy").compress_type != zipfile.ZIP_STORED


def _lazily(
    reader: Callable[..., list[dict[str, Any]]], path: Path, options: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Call a reader for lazy data; for all at once where it knows no other way, or fails in it."""
    found = None
    if "lazy" in inspect.signature(reader).parameters:
        try:
            found = reader(str(path), lazy=True, **options)
        except (ImportError, RefusedFileError):
            raise
        except Exception as error:
            # Some are broken for some files. What fails both ways says so below.
            _logger.debug("%s can't be read lazily: %r", path, error)
    if found is None:
        found = reader(str(path), **options)
    return [signal for signal in found if "data" in signal]


def _whole_spectra(signal: Mapping[str, Any], name: str) -> tuple[Any, ...] | None:
    """Chunks with whole spectra for files that can be read in any; None where they have them, or are images."""
    data = signal["data"]
    if isinstance(data, np.ndarray):
        return None
    array = signal_to_array(settled(signal, name))
    if array.chunks is None or len(array.chunks[-1]) == 1 or data.ndim != array.ndim:
        return None
    import dask.array

    axis = spectral_axis(signal["axes"], str(branch(signal, "metadata", "Signal").get("signal_type") or ""))
    if axis is None:
        return None
    sizes = {k: -1 if k == axis else "auto" for k in range(data.ndim)}
    return dask.array.core.normalize_chunks(tuple(sizes.values()), data.shape, dtype=data.dtype)


def _arrays(path: Path, name: str, found: Sequence[dict[str, Any]], original_metadata: bool) -> list[xr.DataArray]:
    """DataArrays of the signals of a file."""
    arrays: list[xr.DataArray] = []
    reasons: list[str] = []
    files: dict[str, Any] = {}
    for k, signal in enumerate(found):
        try:
            array = signal_to_array(settled(signal, name), original_metadata=original_metadata)
            if "variance" in array.coords:
                noise = array.coords["variance"]
                array = array.assign_coords(variance=noise.copy(data=reopening(noise.data, files)).variable)
            arrays.append(array.copy(data=reopening(array.data, files)))
        except (TypeError, ValueError) as error:
            reasons.append(f"signal {k}: {error}")
    if name == "HSPY":
        # Readers of other formats may read from the open file in other ways, too.
        close(files.values())
    if not arrays:
        raise ValueError(f"{cleaned(str(path))} holds no signal that xfit can use ({cleaned('; '.join(reasons))})")
    if reasons:
        warnings.warn(f"of {cleaned(str(path))}, left out: {cleaned('; '.join(reasons))}", stacklevel=4)
    return arrays
