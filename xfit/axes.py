"""Which dimensions are signal, and the coordinates and channel widths that a model sees along them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr


@dataclass(frozen=True)
class Axes:
    """The signal space of a fit.

    Attributes
    ----------
    dims : tuple
        Signal dimensions, in the order in which channels are flattened.
    navigation : tuple
        All other dimensions, in the data's order.
    shape : tuple of int
        Sizes of the signal dimensions.
    names : tuple of str
        Names of the coordinates that the model uses.
    table : float64 (n_names, n_channels)
        Their values, flattened.
    width : float64 (n_channels,) or None
        Channel widths of binned data.
    """

    dims: tuple[Hashable, ...]
    navigation: tuple[Hashable, ...]
    shape: tuple[int, ...]
    names: tuple[str, ...]
    table: np.ndarray
    width: np.ndarray | None


def signal_dims(
    da: xr.DataArray, dim: Hashable | Sequence[Hashable] | None, signal_dimension: int
) -> tuple[Hashable, ...]:
    """Return the signal dimensions of the data for a model of one or two dimensions.

    Parameters
    ----------
    da : DataArray
        The data.
    dim : hashable, int or sequence of them, optional
        Names, or positions (negative ones count from the end); by default the last dimension or the last two.
    signal_dimension : {1, 2}
        Of the model.

    Raises
    ------
    ValueError
        If a dimension is not there, is named twice, or if there are more or fewer than the model needs.
    """
    if dim is None:
        if da.ndim < signal_dimension:
            raise ValueError(
                f"a {signal_dimension}-D model needs at least {signal_dimension} dimensions; the data have {da.ndim}: {da.dims}"
            )
        return tuple(da.dims[-signal_dimension:])
    given = [dim] if isinstance(dim, str) or not isinstance(dim, Iterable) else list(dim)
    found: list[Hashable] = []
    for name in given:
        if name in da.dims:
            found.append(name)
        elif isinstance(name, int | np.integer) and -da.ndim <= name < da.ndim:
            found.append(da.dims[int(name)])
        else:
            raise ValueError(f"dim={name!r} is not a dimension of the data; they have {list(da.dims)}")
    if len(set(found)) != len(found):
        raise ValueError(f"dim={dim!r} names a dimension twice")
    if len(found) != signal_dimension:
        raise ValueError(
            f"dim={dim!r} names {len(found)} signal dimension(s), but the model is {signal_dimension}-D; "
            f"give {signal_dimension} of {list(da.dims)}"
        )
    return tuple(found)


def axes_of(da: xr.DataArray, dims: tuple[Hashable, ...], names: Sequence[str], binned: bool | None) -> Axes:
    """Collect the coordinates that a model names along the signal dimensions.

    ``x`` is the signal dimension called "x" if there is one, else the last; ``y`` that called "y", else the
    one before. Any other name is a coordinate of the data along signal dimensions. A dimension without coordinate
    counts 0, 1, 2, ...

    Parameters
    ----------
    binned : bool or None
        Whether the data are integrals over channels; None reads the attribute ``is_binned`` of the coordinates.

    Raises
    ------
    ValueError
        For a coordinate that is not there, not numeric, not finite, or that varies over the map.
    """
    shape = tuple(da.sizes[d] for d in dims)
    rows = [_flat(coordinate(da, dims, name), dims, da) for name in names]
    flags = [bool(da[d].attrs.get("is_binned", False)) for d in dims]
    if binned is None and len(set(flags)) > 1:
        raise ValueError(
            f"is_binned differs between the signal dimensions {list(dims)}; say binned=True or binned=False"
        )
    width = channel_width(da, dims) if (flags[0] if binned is None else binned) else None
    navigation = tuple(d for d in da.dims if d not in dims)
    table = np.array(rows, np.float64).reshape(len(rows), int(np.prod(shape)))
    return Axes(dims, navigation, shape, tuple(names), table, width)


def coordinate(da: xr.DataArray, dims: tuple[Hashable, ...], name: str) -> xr.DataArray:
    """Return the coordinate that a model means by ``name``."""
    if name in ("x", "y"):
        if len(dims) == 1 and name == "y" and "y" not in da.coords:
            raise ValueError(
                "the model uses the coordinate 'y', but there is one signal dimension and no such coordinate"
            )
        if name in dims:
            return da[name]
        if len(dims) == 2:
            others = [d for d in dims if d not in ("x", "y")]
            return da[others[0] if len(others) == 1 else dims[1 if name == "x" else 0]]
        if name == "x":
            return da[dims[0]]
    if name not in da.coords:
        raise ValueError(
            f"the model uses the coordinate {name!r}, which the data do not have; they have {list(da.coords)}"
        )
    found = da.coords[name]
    if not set(found.dims) <= set(dims):
        raise ValueError(
            f"the coordinate {name!r} has dimensions {list(found.dims)}; the model needs it along {list(dims)} only"
        )
    return found


def _flat(values: xr.DataArray, dims: tuple[Hashable, ...], da: xr.DataArray) -> np.ndarray:
    """Values of a coordinate over the flattened signal space."""
    if values.dtype.kind not in "iuf":
        raise ValueError(
            f"the coordinate {values.name!r} has dtype {values.dtype}; a model needs numbers "
            f"(for times: seconds since a start, as floats)"
        )
    missing = {d: da.sizes[d] for d in dims if d not in values.dims}
    flat = np.asarray(values.expand_dims(missing).transpose(*dims).values, np.float64).ravel()
    if not np.isfinite(flat).all():
        raise ValueError(f"the coordinate {values.name!r} has values that are not finite")
    return flat


def channel_width(da: xr.DataArray, dims: tuple[Hashable, ...]) -> np.ndarray:
    """Widths of the channels, by central differences of the coordinate; products of them in two dimensions.

    Raises
    ------
    ValueError
        If a dimension has one channel only, or a width is zero.
    """
    total = np.ones(())
    for d in dims:
        if da.sizes[d] < 2:
            raise ValueError(f"binned=True needs at least two channels along {d!r} to tell their width")
        width = np.abs(np.gradient(np.asarray(da[d].values, np.float64)))
        if not (np.isfinite(width).all() and (width > 0).all()):
            raise ValueError(f"binned=True needs a coordinate {d!r} that rises or falls throughout")
        total = np.multiply.outer(total, width)
    return np.asarray(total, np.float64).ravel()
