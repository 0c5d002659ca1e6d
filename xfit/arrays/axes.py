"""Which dimensions are signal, and the coordinates and channel widths that a model sees along them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xfit.arrays.channel_widths import is_binned, widths_of
from xfit.arrays.roles import role_of_name


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
                f"a {signal_dimension}-D model needs at least {signal_dimension} dimensions; the data have {da.ndim}: "
                f"{da.dims}"
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


def with_signal_coordinates(
    da: xr.DataArray,
    dims: tuple[Hashable, ...],
    names: Sequence[str],
    read: Callable[[], Collection[str]] | None = None,
) -> xr.DataArray:
    """Give a signal dimension that has no coordinate of its own the one that lies along it.

    Parameters
    ----------
    da : DataArray
        The data.
    dims : tuple
        Signal dimensions.
    names : sequence of str
        Names of the coordinates that the model uses. Only "x" and "y" stand for dimensions; the others are looked up by
        name.
    read : callable, optional
        Returns those of them that its values depend on, which of a constant is none; asked only where it matters.

    Returns
    -------
    DataArray
        The same data. A dimension that "x" or "y" stands for, and that has no coordinate, has the values of the
        coordinate of that name along it, or else of the only one of numbers there (noise, flags, weights and constants
        don't count).

    Raises
    ------
    ValueError
        Where several could be meant, or where the dimension has a coordinate and another one is called "x" or "y";
        names them.
    """
    for name in ("x", "y"):
        d = dimension_of(name, dims) if name in names else None
        if d is None or d == name:
            continue
        along = [str(c) for c in _numbers_along(da, d)]
        meant = [name] if name in along else along
        own = d in da.coords
        unclear = name in along and not np.array_equal(da.coords[name].values, da[d].values) if own else len(meant) > 1
        if unclear and read is not None and name not in read():
            continue
        if unclear and own:
            raise ValueError(
                f"the model's {name!r} could be the signal dimension's coordinate {d!r} or the coordinate {name!r} "
                f"along it. Use da.swap_dims({{{d!r}: {name!r}}}) for the latter, or da.drop_vars({name!r}) for the "
                "former"
            )
        if unclear:
            raise ValueError(
                f"the signal dimension {d!r} has no coordinate of its own, and {meant} lie along it: which of them "
                f"the model's {name!r} is must be said. Use da.swap_dims({{{d!r}: {meant[0]!r}}}), or "
                f"da.drop_vars({meant}) to count channels"
            )
        if meant and not own:
            da = da.assign_coords({d: (d, da.coords[meant[0]].values, da.coords[meant[0]].attrs)})
    return da


def coordinates_taken(before: xr.DataArray, after: xr.DataArray) -> dict[str, str]:
    """Which coordinate `with_signal_coordinates` took for a dimension, by its name."""
    given = [d for d in after.dims if d in after.coords and d not in before.coords]
    return {
        str(d): next(str(c) for c in _numbers_along(before, d) if np.array_equal(before.coords[c], after[d]))
        for d in given
    }


def _numbers_along(da: xr.DataArray, dim: Hashable) -> list[Hashable]:
    """Coordinates of numbers along a dimension, besides its own, that can say where channels lie: not noise,
    flags or weights, nor a constant.
    """
    return [
        name
        for name, c in da.coords.items()
        if c.dims == (dim,) and name != dim and c.dtype.kind in "iuf" and _can_be_places(str(name), c)
    ]


def _can_be_places(name: str, values: xr.DataArray) -> bool:
    named = role_of_name(name) == "science" and name.lower() not in ("weight", "weights")
    return named and (values.size < 2 or not bool((values == values[0]).all()))


def axes_of(da: xr.DataArray, dims: tuple[Hashable, ...], names: Sequence[str], binned: bool | None) -> Axes:
    """Collect the coordinates that a model names along the signal dimensions.

    ``x`` is the signal dimension called "x" if there is one, else the last; ``y`` that called "y", else the
    one before. Any other name is a coordinate of the data along signal dimensions. A dimension without coordinate
    counts 0, 1, 2, ... (see `with_signal_coordinates` for what comes before).

    Parameters
    ----------
    binned : bool or None
        Whether the data are integrals over channels; None reads the attribute ``is_binned`` of the coordinates.

    Raises
    ------
    TypeError, ValueError
        For a coordinate that is not there, not numeric, not finite, or that varies over the map, and for binned data
        whose channels have no width.
    """
    if not isinstance(binned, bool | np.bool_ | None):
        raise TypeError(f"binned={binned!r} must be True, False or None")
    shape = tuple(da.sizes[d] for d in dims)
    known = {name: coordinate(da, dims, name) for name in names}
    rows = [_flat(each, dims, da) for each in known.values()]
    along = [da[d] for d in dims]
    measured = _measured(along, dims, known)
    others = [c for c in measured if c.name not in dims]
    flags = [is_binned(c) or any(is_binned(other) for other in others if other.dims == c.dims) for c in along]
    if binned is None and len(set(flags)) > 1:
        raise ValueError(
            f"is_binned differs between the signal dimensions {list(dims)}; say binned=True or binned=False"
        )
    width = None
    if flags[0] if binned is None else binned:
        if not measured:
            raise ValueError(
                f"binned=True needs the width of the channels in units of the model's coordinates, and {list(names)} "
                f"are not those of the dimensions {list(dims)}; divide the data by the width of their channels, and "
                "fit with binned=False"
            )
        width = _product([widths_of(c) for c in measured])
    navigation = tuple(d for d in da.dims if d not in dims)
    table = np.array(rows, np.float64).reshape(len(rows), int(np.prod(shape)))
    return Axes(dims, navigation, shape, tuple(names), table, width)


def _measured(
    along: list[xr.DataArray], dims: tuple[Hashable, ...], known: Mapping[str, xr.DataArray]
) -> list[xr.DataArray]:
    """Coordinates in whose units a model counts the width of channels: those of the dimensions,
    or the only one that it names.
    """
    if {"x", "y", *dims} & set(known) or not known:
        return along
    alone = list(known.values())
    return alone if len(alone) == len(dims) == 1 and alone[0].ndim == 1 else []


def dimension_of(name: str, dims: tuple[Hashable, ...]) -> Hashable | None:
    """Signal dimension that "x" or "y" stands for; None where it is a coordinate like any other."""
    if name in dims:
        return name
    if len(dims) == 2:
        others = [d for d in dims if d not in ("x", "y")]
        return others[0] if len(others) == 1 else dims[1 if name == "x" else 0]
    return dims[0] if name == "x" else None


def coordinate(da: xr.DataArray, dims: tuple[Hashable, ...], name: str) -> xr.DataArray:
    """Return the coordinate that a model means by ``name``."""
    if name in ("x", "y"):
        if len(dims) == 1 and name == "y" and "y" not in da.coords:
            raise ValueError(
                "the model uses the coordinate 'y', but there is one signal dimension and no such coordinate"
            )
        d = dimension_of(name, dims)
        if d is not None:
            return da[d]
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
            f"the coordinate {values.name!r} has dtype {values.dtype}; a model needs numbers (of times: seconds since "
            f"a start, as floats; of intervals: their middles){_others(values, da)}"
        )
    sizes = {d: da.sizes[d] for d in dims}
    flat = np.asarray(values.variable.set_dims(sizes).transpose(*dims).values, np.float64).ravel()
    if not np.isfinite(flat).all():
        raise ValueError(f"the coordinate {values.name!r} has values that are not finite")
    return flat


def _others(values: xr.DataArray, da: xr.DataArray) -> str:
    """What a user may do who has numbers along the dimension of a coordinate that is none."""
    found = _numbers_along(da, values.dims[0]) if values.ndim == 1 else []
    return f"; or da.swap_dims({{{values.dims[0]!r}: {found[0]!r}}})" if found else ""


def channel_width(da: xr.DataArray, dims: tuple[Hashable, ...]) -> np.ndarray:
    """Widths of the channels, by central differences of the coordinate; products of them in two dimensions.

    Raises
    ------
    ValueError
        If a dimension has one channel only, or a coordinate that does not rise or fall throughout, or whose steps jump:
        where channels end is then not known.
    """
    return _product([widths_of(da[d]) for d in dims])


def _product(widths: Sequence[np.ndarray]) -> np.ndarray:
    """Areas of all channels, flattened, from the widths along each dimension."""
    total = np.ones(())
    for each in widths:
        total = np.multiply.outer(total, each)
    return np.asarray(total, np.float64).ravel()
