"""What readers of RosettaSciIO leave to HyperSpy, done: steps after reading, metadata out of the original ones,
which axis spectra lie along.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xfit.files.metadata import branch
from xfit.files.signal_axes import spectral_axis

#: Readers whose files say which axes are of the signal because somebody chose them.
_CHOSEN = ("HSPY", "ZSPY", "NeXus")

#: Readers that mark all axes as those of the signal, since their files do not say which are.
_UNMARKED = ("EMD", "Semper", "numpy")

#: Kinds of signals that are spectra.
_SPECTRA = ("EELS", "EDS", "CL", "Luminescence", "PL", "EL", "Raman", "XPS", "XAS", "FTIR")


def settled(signal: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a signal after what its reader leaves to HyperSpy, with the axis of its spectra as the signal axis.

    Several readers know where spectra lie, but mark the axes of the map (DigitalMicrograph), all axes or nothing at
    all; units and the type of signal tell.

    Parameters
    ----------
    signal : mapping
        As a reader of RosettaSciIO gives it.
    name : str
        Of the reader.
    """
    found = {**signal, "metadata": _mapped(signal)}
    processed = Processed(found)
    for step in signal.get("post_process") or ():
        step(processed)
    axes = processed.axes
    found |= {"data": processed.data, "axes": axes}
    if name in _CHOSEN or not axes:
        return found
    kind = str(branch(found, "metadata", "Signal").get("signal_type") or "")
    at = spectral_axis(axes, kind) if kind.startswith(_SPECTRA) else None
    if at is not None:
        found["axes"] = [{**axis, "navigate": k != at} for k, axis in enumerate(axes)]
    elif (name in _UNMARKED or len(axes) > 2) and not any(axis.get("navigate") for axis in axes):
        found["axes"] = [{**axis, "navigate": None} for axis in axes]
    return found


class Processed:
    """A signal as the functions that readers leave for HyperSpy want it: with these methods of its signals."""

    def __init__(self, signal: Mapping[str, Any]) -> None:
        self.data = signal["data"]
        self.axes = [dict(axis) for axis in signal["axes"]]
        self.original_metadata = signal.get("original_metadata")

    def squeeze(self) -> Processed:
        """Remove axes of one value."""
        kept = [k for k, n in enumerate(self.data.shape) if n > 1 or self.data.size == 1]
        self.data = self.data.reshape([self.data.shape[k] for k in kept])
        self.axes = [self.axes[k] for k in kept]
        return self

    def to_signal1D(self, optimize: bool = True) -> Processed:
        """Take the first axis of the array for that of the spectra."""
        self.axes = [{**axis, "navigate": k > 0} for k, axis in enumerate(self.axes)]
        return self

    def transpose(self) -> Processed:
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
    metadata = _copy(branch(signal, "metadata"))
    for path, (target, function) in (signal.get("mapping") or {}).items():
        value: Any = signal.get("original_metadata")
        for step in path.split("."):
            value = _entry(value, step)
        value = _converted(function, value) if value is not None else None
        if value is not None:
            *branches, last = target.split(".")
            place: Any = metadata
            for step in branches:
                place = place.setdefault(step, {}) if isinstance(place, dict) else None
            if isinstance(place, dict):
                place[last] = value
    return metadata


def _entry(tree: Any, name: str) -> Any:
    """Entry of a tree by its name or, as in HyperSpy, by what is left of it in an identifier: "High tension_kV" is
    High_tension_kV.
    """
    if not isinstance(tree, Mapping):
        return None
    if name in tree:
        return tree[name]
    return next(
        (
            value
            for key, value in tree.items()
            if re.sub(r"[^\w]", "", str(key).strip().replace(" ", "_"), flags=re.ASCII) == name
        ),
        None,
    )


def _converted(function: Callable[[Any], Any] | None, value: Any) -> Any:
    return value if function is None else function(value)


def _copy(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
