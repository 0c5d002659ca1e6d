"""Signals as RosettaSciIO and HyperSpy describe them in dictionaries, to DataArrays and back."""

from __future__ import annotations

import numbers
import re
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xfit.files.metadata import as_json, branch, flattened, nested
from xfit.files.signal_axes import axis_of, coordinate_of, dimension_names, spectral_axis, text_of
from xfit.modeling.text_limits import json_of

_VARIANCE = "Signal.Noise_properties.variance"


def signal_to_array(signal: Mapping[str, Any], *, original_metadata: bool = False) -> xr.DataArray:
    """Make a DataArray out of a signal.

    Parameters
    ----------
    signal : mapping
        With ``data`` (NumPy or dask), ``axes`` (dictionaries in the order of the data's dimensions), ``metadata`` and
        ``original_metadata``, as RosettaSciIO's readers and HyperSpy's ``signal._to_dictionary()`` give it.
    original_metadata : bool, optional
        Whether these are kept, as JSON in the attribute of this name.

    Returns
    -------
    DataArray
        Lazy if the data are. Navigation dimensions first, signal dimensions last; a coordinate along each (see
        `xfit.files.signal_axes.coordinate_of`). ``name`` is the title. Attributes: ``long_name`` and ``units`` of the
        data, ``signal_type``, and the metadata, flattened (``"Acquisition_instrument.TEM.beam_energy"``). A noise
        variance becomes the coordinate ``variance`` (an axis of that name becomes ``variance_axis``). Colours of
        pictures lie along a last dimension ``color``.

    Raises
    ------
    TypeError, ValueError
        For ragged data and records, and for axes that do not fit the data.

    Examples
    --------
    >>> import numpy as np
    >>> axis = {"name": "Energy", "units": "eV", "scale": 0.5, "offset": 100.0, "navigate": False, "is_binned": True}
    >>> axes = [{"name": "x", "navigate": True}, axis]
    >>> da = signal_to_array({"data": np.zeros((2, 3)), "axes": axes, "metadata": {}})
    >>> da.dims, da["Energy"].values, da["Energy"].attrs["units"]
    (('x', 'Energy'), array([100. , 100.5, 101. ]), 'eV')
    """
    metadata = _copied(branch(signal, "metadata"))
    data, colours = _pixels(signal["data"])
    axes = [dict(axis) for axis in signal.get("axes") or ()]
    ndim = data.ndim - (colours is not None)
    if not axes and data.size == 1:
        data, ndim = data.reshape(()), 0
    axes = axes or [{} for _ in range(ndim)]
    if len(axes) != ndim:
        raise ValueError(f"the data have {ndim} dimensions, but there are {len(axes)} axes")
    about = branch(metadata, "Signal")
    navigate = navigation_flags(axes, metadata)
    # Detectors count the electrons or X-rays of a channel, and eXSpy has them binned unless told otherwise.
    counts = str(about.get("signal_type") or "").startswith(("EELS", "EDS"))
    default = bool(about.pop("binned", counts))
    about.pop("record_by", None)
    variance = _taken(metadata, "variance")
    names = dimension_names(axes, navigate)
    if variance is not None:
        names = ["variance_axis" if name == "variance" else name for name in names]
    coords: dict[Hashable, Any] = {}
    for k, (axis, name) in enumerate(zip(axes, names, strict=True)):
        binned = axis.get("is_binned", default and not navigate[k])
        coords[name] = coordinate_of(axis, name, data.shape[k], navigate[k], bool(binned))
    dims = list(names)
    if colours is not None:
        dims.append("color" if "color" not in names else "color_2")
        coords[dims[-1]] = (dims[-1], np.array(colours, object), {"navigate": 1})
    attrs = _attributes(metadata)
    if original_metadata and signal.get("original_metadata"):
        attrs["original_metadata"] = as_json(signal["original_metadata"])
    order = [n for n, flag in zip(names, navigate, strict=True) if flag]
    order += [n for n, flag in zip(names, navigate, strict=True) if not flag] + dims[len(names) :]
    title = str(attrs.get("General.title", "")).strip().replace("/", "-")
    array = xr.DataArray(data, coords, dims, attrs=attrs)
    # Without a name xarray takes that of the dask array.
    array = array.rename(title if title and title not in coords else None).transpose(*order)
    return array if variance is None else _with_variance(array, variance, sum(map(bool, navigate)))


def array_to_signal(
    da: xr.DataArray, *, signal_dims: Hashable | Sequence[Hashable] | None = None, variance: bool = True
) -> dict[str, Any]:
    """Make a signal out of a DataArray: the inverse of `signal_to_array`.

    Parameters
    ----------
    da : DataArray
        Dimensions in any order; the signal has them in the same.
    signal_dims : hashable or sequence of hashable, optional
        The signal dimensions, an empty list for none. By default those whose coordinates say ``navigate = 0``; if no
        coordinate says anything about it, the last dimension.
    variance : bool, optional
        Whether a coordinate called "variance" becomes the noise variance of the signal.

    Returns
    -------
    dict
        ``data``, ``axes``, ``metadata``, ``original_metadata`` and ``attributes``, for ``hyperspy.io.dict2signal`` or a
        writer of RosettaSciIO.

    Raises
    ------
    TypeError, ValueError
        For data or coordinates that a signal can't have; for a signal dimension that is not there.

    Warns
    -----
    UserWarning
        Names coordinates that a signal has no place for.
    """
    if not isinstance(da, xr.DataArray):
        raise TypeError(f"da must be an xarray.DataArray, not {type(da).__name__}")
    if da.dtype.kind not in "biufc":
        raise TypeError(f"da has dtype {da.dtype}; a signal holds numbers")
    chosen = _signal_dims(da, signal_dims)
    colours = _colours(da)
    plain = da if colours is None else da.transpose(..., colours)
    axes = [axis_of(da, d, d not in chosen) for d in plain.dims if d != colours]
    if not da.ndim:
        # HyperSpy has no arrays without dimensions.
        axes = [
            {
                "_type": "UniformDataAxis",
                "name": None,
                "units": None,
                "navigate": False,
                "is_binned": False,
                "size": 1,
                "scale": 1.0,
                "offset": 0.0,
            }
        ]
    data = plain.data if da.ndim else plain.data.reshape(1)
    if colours is not None:
        data = _records(data, [str(c) for c in da[colours].values])
    metadata = nested(_plain_names(da))
    noise = da.coords.get("variance") if variance and "variance" not in da.dims else None
    if noise is not None and noise.dtype.kind in "iuf":
        about = metadata.setdefault("Signal", {}).setdefault("Noise_properties", {})
        if noise.ndim == 0:
            about["variance"] = float(noise)
        else:
            spread = noise.reset_coords(drop=True).broadcast_like(da.reset_coords(drop=True)).transpose(*da.dims)
            spread = spread.rename("Variance").assign_attrs(units="", long_name="")
            about["_sig_variance"] = array_to_signal(spread, signal_dims=chosen, variance=False)
    extra = [str(c) for c in da.coords if c not in da.dims and not (c == "variance" and noise is not None)]
    if extra:
        warnings.warn(f"a signal has no place for the coordinate(s) {extra}, which are left out", stacklevel=2)
    original = da.attrs.get("original_metadata")
    return {
        "data": data,
        "axes": axes,
        "metadata": metadata,
        "original_metadata": _tree(original),
        "attributes": {"_lazy": da.chunks is not None, "ragged": False},
    }


def navigation_flags(axes: Sequence[Mapping[str, Any]], metadata: dict[str, Any]) -> list[bool]:
    """Tell which axes are of navigation: those that say so; if none says, those that spectra do not lie along.

    Axes that say nothing beside others that do are of the other kind. Without any hint an array of one or two
    dimensions is one spectrum or one image; in a larger one images lie along the last two axes if these have units in
    common that the others lack, else spectra along the last axis.
    """
    said = [None if axis.get("navigate") is None else bool(axis["navigate"]) for axis in axes]
    if any(flag is not None for flag in said):
        return [False in said if flag is None else flag for flag in said]
    about = branch(metadata, "Signal")
    record = about.get("record_by")
    count = {"spectrum": 1, "image": 2}.get(record) if isinstance(record, str) else None
    if count is None:
        found = spectral_axis(axes, str(about.get("signal_type") or ""))
        if found is not None:
            return [k != found for k in range(len(axes))]
        units = [text_of(axis, "units") for axis in axes]
        images = len(axes) <= 2 or (units[-1] == units[-2] != "" and units[-1] not in units[:-2])
        count = min(2 if images else 1, len(axes))
    return [k < len(axes) - count for k in range(len(axes))]


def _pixels(data: Any) -> tuple[Any, list[str] | None]:
    """Data as numbers in the machine's byte order; the names of colours, which become a last dimension."""
    if data.dtype.names:
        kinds = {data.dtype[name] for name in data.dtype.names}
        if not set(data.dtype.names) <= set("RGBA") or len(kinds) != 1:
            raise TypeError(f"the data are records of {data.dtype}, not numbers")
        stack: Any = np.stack
        if not isinstance(data, np.ndarray):
            import dask.array

            stack = dask.array.stack
        return stack([data[name] for name in data.dtype.names], axis=-1), list(data.dtype.names)
    if data.dtype.kind not in "biufc":
        what = "ragged: spectra of different lengths" if data.dtype == object else f"of dtype {data.dtype}"
        raise TypeError(f"the data are {what}; xfit needs an array of numbers")
    # Also one name for each type: "unsigned long long" is not known to zarr by that.
    usual = np.dtype(data.dtype.newbyteorder("=").str)
    return (data if data.dtype.char == usual.char and data.dtype.isnative else data.astype(usual)), None


def _records(data: Any, names: list[str]) -> Any:
    """Colours along the last dimension as records, as HyperSpy has pictures."""
    record = np.dtype({"names": names, "formats": [data.dtype] * len(names)})
    whole = (
        data
        if isinstance(data, np.ndarray)
        else data.rechunk({-1: -1}).map_blocks(
            lambda block: np.ascontiguousarray(block).view(record)[..., 0], dtype=record, drop_axis=data.ndim - 1
        )
    )
    return np.ascontiguousarray(whole).view(record)[..., 0] if isinstance(data, np.ndarray) else whole


def _colours(da: xr.DataArray) -> Hashable | None:
    """The dimension of colours, if the data are a picture."""
    for d in da.dims:
        named = d in da.coords and da[d].dtype.kind in "OU" and [str(c) for c in da[d].values]
        if named in (list("RGB"), list("RGBA")) and da.dtype in (np.uint8, np.uint16):
            return d
    return None


def _copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Copy of the branches of a tree, without copies of the values."""
    return {
        key: _copied(value) if isinstance(value, Mapping) and not str(key).startswith("_sig_") else value
        for key, value in tree.items()
    }


def _taken(metadata: dict[str, Any], key: str) -> Any:
    """Take the noise variance out of the metadata."""
    noise = branch(metadata, "Signal", "Noise_properties")
    found = [noise.pop(name) for name in (key, f"_sig_{key}") if name in noise]
    return next((each for each in found if each is not None), None)


def _with_variance(array: xr.DataArray, variance: Any, navigation: int) -> xr.DataArray:
    """Data with their noise variance as a coordinate."""
    if isinstance(variance, numbers.Real):
        return array.assign_coords(variance=float(variance))
    if not isinstance(variance, Mapping):
        raise TypeError(f"the noise variance must be a number or a signal, not {type(variance).__name__}")
    given = signal_to_array(variance)
    fitting = [
        dims
        for dims in (array.dims, array.dims[navigation:], array.dims[:navigation])
        if tuple(array.sizes[d] for d in dims) == given.shape
    ]
    if not fitting or "variance" in array.dims:
        raise ValueError(
            f"the noise variance has shape {given.shape}, which does not fit data of shape {array.shape} ({navigation} "
            "navigation dimensions)"
        )
    return array.assign_coords(variance=(fitting[0], given.data, {"long_name": "variance"}))


def _attributes(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata as attributes, with those that xfit and xarray know by names of their own."""
    about = branch(metadata, "Signal")
    known: dict[str, Any] = {}
    quantity = about.pop("quantity", None)
    if isinstance(quantity, str) and quantity.strip():
        match = re.fullmatch(r"(.*?)\s*\(([^()]*)\)\s*", quantity)
        known["long_name"] = (match[1] if match else quantity).strip()
        if match and match[2].strip():
            known["units"] = match[2].strip()
    kind = about.pop("signal_type", None)
    if isinstance(kind, str) and kind:
        known["signal_type"] = kind
    if isinstance(title := branch(metadata, "General").get("title"), str) and not title:
        del metadata["General"]["title"]
    return {**flattened(metadata), **{key: value for key, value in known.items() if value}}


def _plain_names(da: xr.DataArray) -> dict[str, Any]:
    """Attributes as HyperSpy names them."""
    attrs = {str(key): value for key, value in da.attrs.items() if key != "original_metadata"}
    long_name, units = str(attrs.pop("long_name", "")), str(attrs.pop("units", ""))
    if long_name or units:
        attrs["Signal.quantity"] = f"{long_name} ({units})".strip() if units else long_name
    attrs["Signal.signal_type"] = str(attrs.pop("signal_type", ""))
    title = str(attrs.get("General.title", ""))
    # The name is the title, but for characters that it can't have; who renames data gives them a new one.
    if da.name is not None and str(da.name) != title.strip().replace("/", "-"):
        title = str(da.name)
    return {**attrs, "General.title": title}


def _signal_dims(da: xr.DataArray, given: Hashable | Sequence[Hashable] | None) -> list[Hashable]:
    """Which dimensions are of the signal."""
    if given is not None:
        chosen = [given] if isinstance(given, str) or not isinstance(given, Sequence) else list(given)
        unknown = [d for d in chosen if d not in da.dims]
        if unknown:
            raise ValueError(f"signal_dims={given!r}: no dimension(s) {unknown} in the data; they have {list(da.dims)}")
        return chosen
    flags = {d: da[d].attrs["navigate"] for d in da.dims if d in da.coords and "navigate" in da[d].attrs}
    if flags:
        return [d for d in da.dims if d in flags and not flags[d]]
    return list(da.dims[-1:])


def _tree(text: Any) -> dict[str, Any]:
    """Original metadata as they were; empty where the attribute holds anything else."""
    if not isinstance(text, str):
        return {}
    try:
        tree = json_of(text)
    except ValueError:
        return {}
    return tree if isinstance(tree, dict) else {}
