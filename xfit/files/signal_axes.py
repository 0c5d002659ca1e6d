"""Axes of signals as RosettaSciIO and HyperSpy describe them, to coordinates and back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import xarray as xr

#: How programs write that a name or unit is not known.
_UNDEFINED = ("", "<undefined>", "undefined", "none", "_none_")

#: Names of unnamed axes by their units.
_BY_UNITS = {
    **dict.fromkeys(("ev", "kev", "mev", "j"), "energy"),
    **dict.fromkeys(("1/cm", "cm-1", "cm^-1", "cm⁻¹", "1 / cm"), "wavenumber"),
    **dict.fromkeys(("s", "ms", "µs", "μs", "us", "ns", "ps", "fs"), "time"),
    **dict.fromkeys(("hz", "khz", "mhz", "ghz", "thz"), "frequency"),
    **dict.fromkeys(("nm", "µm", "μm", "um", "å", "angstrom"), "wavelength"),
    **dict.fromkeys(("k", "°c"), "temperature"),
    **dict.fromkeys(("deg", "°", "rad", "mrad"), "angle"),
    "t": "field",
    "v": "voltage",
}

#: Units that no axis but one of spectra has, and words that name such an axis.
_SPECTRAL_UNITS = ("ev", "kev", "mev", "1/cm", "cm-1", "cm^-1", "cm⁻¹", "1 / cm")
_SPECTRAL_WORDS = ("energy", "wavelength", "wavenumber", "raman", "frequency", "m/z", "mass")

_LENGTHS = ("nm", "µm", "μm", "um", "å", "angstrom")

_OPTICAL = ("CL", "Luminescence", "PL", "Raman", "EL")


def text_of(axis: Mapping[str, Any], key: str) -> str:
    """Name or units of an axis; empty where it has none."""
    value = axis.get(key)
    text = value.decode(errors="replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    return "" if text.strip().lower() in _UNDEFINED else text.strip()


def axis_values(axis: Mapping[str, Any], size: int) -> np.ndarray:
    """Values along an axis.

    Parameters
    ----------
    axis : mapping
        With ``axis`` (the values themselves), with ``expression`` (a formula of ``x`` and of further keys, read by the
        whitelist of xfit's formulas) or with ``offset`` and ``scale``, of which 0 is none: pixels are numbered.
    size : int
        Number of values that there must be.

    Returns
    -------
    float64 or int64 (size)

    Raises
    ------
    ValueError
        If there are more or fewer, or if the formula is none.
    """
    name = text_of(axis, "name")
    if axis.get("axis") is not None:
        values = np.asarray(axis["axis"])
        values = values.astype(np.int64 if values.dtype.kind in "iu" else np.float64)
    elif axis.get("expression") is not None:
        values = _functional(axis, size)
    else:
        values = float(axis.get("offset") or 0) + float(axis.get("scale") or 1) * np.arange(size)
    if values.shape != (size,):
        raise ValueError(f"the axis {name!r} has {values.size} values, the data have {size} along it")
    return values


def _functional(axis: Mapping[str, Any], size: int) -> np.ndarray:
    """Values of an axis that a formula describes."""
    import sympy

    from xfit.formulas.parser import parse

    text = str(axis["expression"])
    formula = parse(text)
    inner = axis.get("x")
    x = axis_values(inner if isinstance(inner, Mapping) else {}, size).astype(np.float64)
    names = sorted(str(s) for s in formula.free_symbols if str(s) != "x")
    missing = [n for n in names if n not in axis]
    if missing:
        raise ValueError(f"the axis {text_of(axis, 'name')!r} has the formula {text!r}, but no value for {missing}")
    # The whitelist has made it a tree of known functions; nothing of the text itself is run.
    symbols = {str(s): s for s in formula.free_symbols}
    order = [symbols.get("x", sympy.Symbol("x")), *(symbols[n] for n in names)]
    with np.errstate(all="ignore"):
        values = sympy.lambdify(order, formula, "numpy")(x, *(float(axis[n]) for n in names))
    return np.broadcast_to(np.asarray(values, np.float64), (size,)).copy()


def spectral_axis(axes: Sequence[Mapping[str, Any]], signal_type: str) -> int | None:
    """Position of the one axis that spectra lie along; None if there is none or several could be.

    Parameters
    ----------
    axes : sequence of mapping
        With names and units.
    signal_type : str
        As in HyperSpy. Lengths are wavelengths in luminescence only, and only where the other axes have other units.
    """
    units = [text_of(axis, "units").lower() for axis in axes]
    found = [
        k for k, unit in enumerate(units) if unit in _SPECTRAL_UNITS or _is_spectral_name(text_of(axes[k], "name"))
    ]
    if not found and signal_type.startswith(_OPTICAL):
        found = [k for k, unit in enumerate(units) if unit in _LENGTHS and unit not in units[:k] + units[k + 1 :]]
    return found[0] if len(found) == 1 else None


def _is_spectral_name(name: str) -> bool:
    return any(word in name.lower() for word in _SPECTRAL_WORDS)


def dimension_names(axes: Sequence[Mapping[str, Any]], navigate: Sequence[bool]) -> list[str]:
    """Names of dimensions: those of the axes; sensible ones for axes without, no two alike.

    Unnamed axes of a map are called y and x (z, y and x in three dimensions), that of spectra by its units (energy,
    wavelength, wavenumber, time, ...) or channel, those of images y and x (ky and kx in reciprocal units), in maps of
    which the map's are scan_y and scan_x, or frame if there is one only. Of names alike, the second gets _2.
    """
    signal = [k for k, flag in enumerate(navigate) if not flag]
    free_navigation = [k for k, flag in enumerate(navigate) if flag and not text_of(axes[k], "name")]
    # A slash separates groups in netCDF.
    names = [text_of(axis, "name").replace("/", "_") for axis in axes]
    for k, name in zip(signal, _signal_names([axes[k] for k in signal]), strict=True):
        names[k] = names[k] or name
    taken = {names[k] for k in signal}
    total = sum(map(bool, navigate))
    words = ["z", "y", "x"][-total:] if 0 < total <= 3 else [f"axis_{n}" for n in range(total)]
    place = {k: n for n, k in enumerate(k for k, flag in enumerate(navigate) if flag)}
    for k in free_navigation:
        unit = text_of(axes[k], "units").lower()
        word = words[place[k]]
        if unit in _BY_UNITS and unit not in _LENGTHS:
            names[k] = _BY_UNITS[unit]
        else:
            names[k] = word if word not in taken else "frame" if total == 1 else f"scan_{word}"
    unique: list[str] = []
    for k, name in enumerate(names):
        numbered = (f"{name}_{n}" for n in count(2) if f"{name}_{n}" not in names)
        unique.append(next(fresh for fresh in numbered if fresh not in unique) if name in names[:k] else name)
    return unique


def _signal_names(axes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names for unnamed signal axes."""
    units = [text_of(axis, "units").lower() for axis in axes]
    if len(axes) == 1:
        return [_BY_UNITS.get(units[0], "channel")]
    if len(axes) == 2:
        reciprocal = all(unit.startswith("1/") or "-1" in unit or "⁻¹" in unit for unit in units)
        return ["ky", "kx"] if reciprocal else ["y", "x"]
    return [f"signal_{n}" for n in range(len(axes))]


def coordinate_of(axis: Mapping[str, Any], dim: str, size: int, navigate: bool, is_binned: bool) -> xr.Variable:
    """Make the coordinate of an axis.

    Its attributes are ``units``, ``navigate`` (0 for signal axes, else 1), ``is_binned`` (0 or 1, of signal axes),
    ``axis_name`` where the axis has another name than the dimension, and ``scale`` where there is one value only, which
    does not tell it.
    """
    attrs: dict[str, Any] = {}
    units, name = text_of(axis, "units"), text_of(axis, "name")
    if units and axis.get("scale") != 0:
        attrs["units"] = units
    if name != dim:
        attrs["axis_name"] = name
    attrs["navigate"] = int(navigate)
    if is_binned or not navigate:
        attrs["is_binned"] = int(is_binned)
    if size == 1 and axis.get("scale"):
        attrs["scale"] = float(axis["scale"])
    return xr.Variable((dim,), axis_values(axis, size), attrs)


def axis_of(da: xr.DataArray, dim: Hashable, navigate: bool) -> dict[str, Any]:
    """Describe a dimension as an axis: uniform where its coordinate is (to a millionth of a step), else by its values.

    Raises
    ------
    ValueError
        For a coordinate that is no number, not finite or neither rises nor falls throughout.
    """
    size = da.sizes[dim]
    values, attrs = da[dim].values, da[dim].attrs
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise ValueError(
            f"the coordinate {dim!r} (dtype {values.dtype}) can't be an axis of a signal: it must hold finite "
            f"numbers; convert it, or leave it out with drop_vars({dim!r})"
        )
    values = values.astype(np.float64) if values.dtype.kind == "f" else values
    steps = np.diff(values.astype(np.float64))
    if not ((steps > 0).all() or (steps < 0).all()):
        raise ValueError(
            f"the coordinate {dim!r} can't be an axis of a signal: it must rise or fall throughout; sort it with "
            f"sortby({dim!r})"
        )
    name, units = str(attrs.get("axis_name", dim)), str(attrs.get("units", ""))
    axis: dict[str, Any] = {
        "name": name or None,
        "units": units or None,
        "navigate": navigate,
        "is_binned": bool(attrs.get("is_binned", False)),
        "size": size,
    }
    scale = float((values[-1] - values[0]) / (size - 1)) if size > 1 else float(attrs.get("scale", 1.0))
    off = np.abs(values - (values[0] + scale * np.arange(size))).max() if size else 0.0
    # The second term is rounding of the values themselves.
    if off <= 1e-6 * abs(scale) + 4 * np.finfo(np.float64).eps * np.abs(values).max(initial=0):
        return axis | {"_type": "UniformDataAxis", "scale": scale, "offset": float(values[0]) if size else 0.0}
    del axis["size"]
    return axis | {"_type": "DataAxis", "axis": values}
