"""Files of instruments and of HyperSpy, by the readers of RosettaSciIO."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import xarray as xr

from xfit.files.codecs import check_codecs
from xfit.files.hdf5 import close, reopening
from xfit.files.signal_axes import spectral_axis
from xfit.files.signals import signal_to_array

#: Readers whose files say which axes are of the signal because somebody chose them.
_CHOSEN = ("HSPY", "ZSPY", "NeXus")

#: Kinds of signals that are spectra.
_SPECTRA = ("EELS", "EDS", "CL", "Luminescence", "PL", "EL", "Raman", "XPS", "XAS", "FTIR")

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
        raise ImportError(f"reading files of instruments needs RosettaSciIO ({error}); install it with: pip install 'xfit[io]'") from error  # fmt: skip


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
    reasons = []
    for plugin in readers:
        if plugin["name"] == "ZSPY":
            check_codecs(path)
        try:
            found = _read(path, plugin)
        except Exception as error:
            # What readers raise for files of other formats is of any kind.
            reasons.append((plugin["name"], error))
            continue
        return _arrays(path, plugin["name"], found, original_metadata)
    missing = [error for _, error in reasons if isinstance(error, ImportError)]
    if len(missing) == len(reasons):
        raise ImportError(f"reading {path} needs a library that is not there ({missing[0]}); try pip install 'xfit[io]'") from missing[0]  # fmt: skip
    told = "; ".join(f"{name}: {type(error).__name__}: {error}" for name, error in reasons)
    raise ValueError(f"{path} can't be read as {' or '.join(name for name, _ in reasons)} ({told})") from reasons[-1][1]


def _read(path: Path, plugin: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Dictionaries of a file's signals, lazy where the reader can."""
    reader = import_module(plugin["api"]).file_reader
    # Otherwise a lazy .zspy is opened for writing.
    options = {"mode": "r"} if plugin["name"] == "ZSPY" else {}
    lazy = "lazy" in inspect.signature(reader).parameters
    try:
        found = reader(str(path), lazy=True, **options) if lazy else reader(str(path), **options)
    except NotImplementedError:
        found = reader(str(path), **options)
    found = [signal for signal in found if "data" in signal]
    if len(found) == 1 and "chunks" in inspect.signature(reader).parameters:
        whole = _whole_spectra(found[0], plugin["name"])
        if whole is not None:
            found = [signal for signal in reader(str(path), lazy=True, chunks=whole) if "data" in signal]
    return found


def _whole_spectra(signal: Mapping[str, Any], name: str) -> tuple[Any, ...] | None:
    """Chunks with whole spectra for files that can be read in any; None where they have them, or are images."""
    data = signal["data"]
    if isinstance(data, np.ndarray):
        return None
    array = signal_to_array(_settled(signal, name))
    if array.chunks is None or len(array.chunks[-1]) == 1 or data.ndim != array.ndim:
        return None
    import dask.array

    axis = spectral_axis(signal["axes"], str((signal.get("metadata") or {}).get("Signal", {}).get("signal_type") or ""))
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
            array = signal_to_array(_settled(signal, name), original_metadata=original_metadata)
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
        raise ValueError(f"{path} holds no signal that xfit can use ({'; '.join(reasons) or 'it is empty'})")
    if reasons:
        warnings.warn(f"of {path}, left out: {'; '.join(reasons)}", stacklevel=4)
    return arrays


def _settled(signal: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Signal after what its reader leaves to HyperSpy, with the axis of its spectra as the signal axis.

    Several readers know where spectra lie, but mark the axes of the map (DigitalMicrograph) or nothing at all; units and the type of signal tell.
    """
    settled = {**signal, "metadata": _mapped(signal)}
    processed = _Processed(settled)
    for step in signal.get("post_process") or ():
        step(processed)
    settled |= {"data": processed.data, "axes": processed.axes}
    kind = str(settled["metadata"].get("Signal", {}).get("signal_type") or "")
    if name not in _CHOSEN and kind.startswith(_SPECTRA) and processed.axes:
        found = spectral_axis(processed.axes, kind)
        if found is not None:
            settled["axes"] = [{**axis, "navigate": k != found} for k, axis in enumerate(processed.axes)]
    return settled


class _Processed:
    """A signal as the functions that readers leave for HyperSpy want it: with these methods of its signals."""

    def __init__(self, signal: Mapping[str, Any]) -> None:
        self.data = signal["data"]
        self.axes = [dict(axis) for axis in signal["axes"]]
        self.original_metadata = signal.get("original_metadata")

    def squeeze(self) -> _Processed:
        """Remove axes of one value."""
        kept = [k for k, n in enumerate(self.data.shape) if n > 1 or self.data.size == 1]
        self.data = self.data.reshape([self.data.shape[k] for k in kept])
        self.axes = [self.axes[k] for k in kept]
        return self

    def to_signal1D(self, optimize: bool = True) -> _Processed:
        """Take the first axis of the array for that of the spectra."""
        self.axes = [{**axis, "navigate": k > 0} for k, axis in enumerate(self.axes)]
        return self

    def transpose(self) -> _Processed:
        """Exchange signal and navigation."""
        order = [k for k, axis in enumerate(self.axes) if not axis.get("navigate")]
        order += [k for k, axis in enumerate(self.axes) if axis.get("navigate")]
        self.data = self.data.transpose(order)
        self.axes = [{**self.axes[k], "navigate": not self.axes[k].get("navigate")} for k in order]
        return self

    def change_dtype(self, dtype: str) -> None:
        """Change the type of the data; "rgb8" and its like make colours of the last axis."""
        if not dtype.startswith("rgb"):
            self.data = self.data.astype(dtype)
            return
        names, kind = list(dtype.rstrip("0123456789").upper()), "u1" if dtype.endswith("8") else "u2"
        colours = np.empty(self.data.shape[:-1], [(n, kind) for n in names])
        for k, n in enumerate(names):
            colours[n] = np.asarray(self.data[..., k])
        self.data, self.axes = colours, self.axes[:-1]


def _mapped(signal: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata, with what the reader says is to be found in the original metadata."""
    metadata = _copy(signal.get("metadata") or {})
    for path, (target, function) in (signal.get("mapping") or {}).items():
        value: Any = signal.get("original_metadata")
        for step in path.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        value = _converted(function, value) if value is not None else None
        if value is not None:
            *branches, last = target.split(".")
            branch = metadata
            for step in branches:
                branch = branch.setdefault(step, {})
            branch[last] = value
    return metadata


def _converted(function: Callable[[Any], Any] | None, value: Any) -> Any:
    return value if function is None else function(value)


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
