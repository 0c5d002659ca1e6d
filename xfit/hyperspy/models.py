"""Models of HyperSpy, live or as plain dictionaries, to those of xfit."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.axes import axes_of
from xfit.display import cleaned
from xfit.files.signals import signal_to_array
from xfit.formulas import parser
from xfit.hyperspy.as_dictionary import plain_model
from xfit.hyperspy.components import FINE_STRUCTURE, Converted, check_kind, converted, expression_text
from xfit.hyperspy.conversion import Conversion, Link
from xfit.hyperspy.signals import from_hyperspy
from xfit.modeling.model import Model
from xfit.modeling.parameter import Parameter
from xfit.modeling.units import without_others
from xfit.results.assembly import RESERVED
from xfit.samfire.request import NOTES

#: Names that have a meaning in conversions and in what is made of results, besides those of results themselves.
_OWN = {"variance", "fitted", "active", "level"}

#: Map of a parameter: values, errors, and where they are set.
_Map = tuple[np.ndarray, np.ndarray, np.ndarray]


def convert(m: Any) -> Conversion:
    """Convert a model of HyperSpy or eXSpy, with its data.

    Parameters
    ----------
    m : hyperspy model
        It is not changed.

    Returns
    -------
    Conversion
        Model, data, and the options of the fit that HyperSpy would make.

    Raises
    ------
    TypeError
        For what is no model.
    ValueError
        For components and ties that xfit has not, by name.

    Examples
    --------
    >>> import numpy as np, hyperspy.api as hs, xfit.hyperspy  # doctest: +SKIP
    >>> m = hs.signals.Signal1D(np.random.random((3, 50))).create_model()  # doctest: +SKIP
    >>> m.append(hs.model.components1D.Gaussian())  # doctest: +SKIP
    >>> xfit.hyperspy.convert(m).model  # doctest: +SKIP
    """
    # Not that of the pixel where the plot is, but what is stored for it.
    return conversion_of(plain_model(m), from_hyperspy(m.signal))


def conversion_of(model: Mapping[str, Any], da: xr.DataArray) -> Conversion:
    """Convert a model in the form of HyperSpy's ``as_dictionary``; nothing in it is ever run.

    Parameters
    ----------
    model : mapping
        The model.
    da : DataArray
        Its signal, from `xfit.files.signals.signal_to_array`.
    """
    da, dims = _signal_dims(_renamed(da))
    navigation = tuple(d for d in da.dims if d not in dims)
    items = _checked_components(model)
    parts: list[Converted] = []
    for item, name in zip(items, _component_names(items), strict=True):
        parts.append(converted(item, name, da, dims))
    made = Model([part.component for part in parts])
    _tie(items, parts, made)
    shape = tuple(da.sizes[d] for d in navigation)
    active: dict[str, xr.DataArray] = {}
    notes = [note for part in parts for note in part.notes]
    for item, part in zip(items, parts, strict=True):
        _set_active(item, part, navigation, shape, active)
        notes += _hold_followed(item, part, part.component.name in active)
    links = tuple(link for k, part in enumerate(parts) for link in _links(k, part))
    maps: dict[str, _Map | None] = {}
    for link in links:
        maps[link.ours] = _map(_parameter(items, link), link, maps, shape)
    if model.get("_convolved") and model.get("low_loss") is not None and any(c.convolved for c in made):
        made.response = _response(model["low_loss"], da, dims, navigation)
    differences = [each for part in parts for each in part.warnings]
    for each in differences:
        warnings.warn(each, UserWarning, stacklevel=3)
    notes += differences
    (first, *_) = dims
    binned = len(dims) == 1 and bool(da[first].attrs.get("is_binned", False))
    # HyperSpy's values are on its axes as they are, whatever a label says that was set before these were converted.
    other = without_others(made, da, axes_of(da, dims, made.coordinates, binned))
    notes += [f"the units of {cleaned(p.full_name)} are those of the axis, not what its label says" for p in other]
    return Conversion(
        model=made,
        data=da.drop_vars("variance", errors="ignore"),
        dim=dims,
        start=_start(maps, made, navigation),
        active=active,
        where=_where(model.get("_channel_switches"), da, dims),
        variance=_variance(da),
        binned=binned,
        stored=_stored(model, maps, navigation, shape),
        links=links,
        notes=tuple(notes),
    )


# --- data


def _renamed(da: xr.DataArray) -> xr.DataArray:
    """Give axes other names whose own have a meaning in results or conversions; ``axis_name`` keeps theirs."""
    new: dict[Hashable, str] = {}
    for d in da.dims:
        if d in RESERVED.union(NOTES, _OWN):
            name = f"{d}_axis"
            while name in (*da.dims, *da.coords):
                name += "_"
            new[d] = name
    renamed = da.rename(new)
    own = {name: da[d].attrs.get("axis_name", str(d)) for d, name in new.items()}
    return renamed.assign_coords({name: renamed[name].assign_attrs(axis_name=axis) for name, axis in own.items()})


def _signal_dims(da: xr.DataArray) -> tuple[xr.DataArray, tuple[Hashable, ...]]:
    """Return the data and their signal dimensions; those of an image so named that x is the last one."""
    dims = tuple(d for d in da.dims if d in da.coords and not da[d].attrs.get("navigate", 1))
    if len(dims) not in (1, 2):
        raise ValueError(f"the signal has {len(dims)} signal dimensions; a model needs one or two")
    if len(dims) == 2 and (dims[0] == "x" or dims[1] == "y"):
        renamed = {d: f"{d}_axis" for d in dims}
        da, dims = da.rename(renamed), tuple(renamed[d] for d in dims)
    return da, dims


def _where(switches: Any, da: xr.DataArray, dims: tuple[Hashable, ...]) -> xr.DataArray | None:
    if switches is None:
        return None
    on = np.asarray(switches, bool)
    shape = tuple(da.sizes[d] for d in dims)
    if on.shape != shape:
        raise ValueError(
            f"the model's channel switches have shape {on.shape}, the signal {shape}: it was stored for another signal"
        )
    if not on.any():
        raise ValueError("all channels of the model are switched off; call m.reset_signal_range()")
    return None if on.all() else xr.DataArray(on, dims=dims)


def _variance(da: xr.DataArray) -> float | xr.DataArray | None:
    if "variance" not in da.coords:
        return None
    variance = da.coords["variance"]
    return float(variance) if variance.ndim == 0 else variance.reset_coords(drop=True).rename(None)


def _response(
    low_loss: Mapping[str, Any], da: xr.DataArray, dims: tuple[Hashable, ...], navigation: tuple[Hashable, ...]
) -> xr.DataArray:
    """Low-loss spectra as a response: their zero lies where HyperSpy has it, on a channel."""
    given = signal_to_array(low_loss)
    (dim,) = dims
    x, at = np.asarray(da[dim].values, np.float64), np.asarray(given[given.dims[-1]].values, np.float64)
    if x.size < 2:
        raise ValueError("a convolution needs at least two channels")
    step, own = x[1] - x[0], at[1] - at[0] if at.size > 1 else x[1] - x[0]
    if abs(own - step) > 1e-3 * abs(step):
        raise ValueError(
            f"the low-loss spectra have channels of {own:g}, the core loss of {step:g}; HyperSpy convolves them as if "
            "they were the same: interpolate the low loss first"
        )
    zero = int(np.abs(at).argmin())
    return xr.DataArray(given.data, dims=(*navigation, dim), coords={dim: (np.arange(at.size) - zero) * step})


# --- components


def _checked_components(model: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    items = list(model["components"])
    if not items:
        raise ValueError("the model has no components")
    for item in items:
        check_kind(item)
    return items


def _component_names(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names as xfit allows them, all different."""
    names: list[str] = []
    for item in items:
        plain = "".join("_" if ch in ".`\n" else ch for ch in str(item.get("name") or item["_id_name"]))
        name, number = plain, 0
        while name in names:
            name, number = f"{plain}_{number}", number + 1
        names.append(name)
    return names


def _set_active(
    item: Mapping[str, Any],
    part: Converted,
    navigation: tuple[Hashable, ...],
    shape: tuple[int, ...],
    active: dict[str, xr.DataArray],
) -> None:
    """Switch a component on or off, or note where it is on."""
    component = part.component
    on = item.get("_active_array")
    if not item.get("active_is_multidimensional") or on is None or not shape:
        component.active = bool(item.get("active", True))
        return
    on = np.asarray(on, bool)
    if on.shape != shape:
        raise ValueError(
            f"the map of where {component.name!r} is active has shape {on.shape}, the signal's navigation {shape}: it "
            "was stored for another signal"
        )
    component.active = bool(on.any())
    if component.active and not on.all():
        active[component.name] = xr.DataArray(on, dims=navigation)


def _hold_followed(item: Mapping[str, Any], part: Converted, mapped: bool) -> list[str]:
    """Fix what a component that is off gives to twins, as it is not fitted in HyperSpy; return
    what is different from the model.
    """
    if part.component.active and not mapped:
        return []
    followed = [_ours(part, source)[0] for source in item["parameters"] if source.get("_twins")]
    held = [parameter for parameter in followed if parameter is not None and parameter.free and not parameter.is_tied]
    if mapped:
        return [
            f"{cleaned(p.full_name)} is fitted where its component is off, too, for a twin follows it; HyperSpy holds "
            "it there"
            for p in held
        ]
    for parameter in held:
        parameter.free = False
    return [f"{parameter.full_name} is fixed, for its component is off and a twin follows it" for parameter in held]


def _tie(items: Sequence[Mapping[str, Any]], parts: Sequence[Converted], model: Model) -> None:
    """Tie the parameters that are twins in HyperSpy."""
    where: dict[int, tuple[int, Mapping[str, Any]]] = {
        int(item["self"]): (k, item) for k, each in enumerate(items) for item in each["parameters"]
    }
    for k, each in enumerate(items):
        for source in each["parameters"]:
            for other in source.get("_twins", ()):
                if int(other) not in where:
                    continue  # of a component that has been removed
                place, target = where[int(other)]
                tied, scale = _ours(parts[place], target)
                followed, divisor = _ours(parts[k], source)
                if FINE_STRUCTURE in (target["_id_name"], source["_id_name"]) and parts[place].coefficients:
                    raise ValueError(
                        f"{parts[place].component.name}.{FINE_STRUCTURE} is a twin, which xfit's coefficients, that "
                        "contain the intensity, can't be; untwin it, or tie them in xfit"
                    )
                if tied is None:
                    continue
                if followed is None:
                    raise ValueError(
                        f"{cleaned(tied.full_name)} is the twin of {source['_id_name']!r} of {each.get('name')!r}, "
                        "which does not take part; untwin it"
                    )
                _tie_to(tied, scale, followed, divisor, target)


def _ours(part: Converted, item: Mapping[str, Any]) -> tuple[Parameter | None, float]:
    own = str(item["_id_name"])
    name = part.names.get(own)
    return (None, 1.0) if name is None else (part.component[name], part.scale(own))


def _tie_to(tied: Parameter, scale: float, source: Parameter, divisor: float, item: Mapping[str, Any]) -> None:
    text = str(item.get("twin_function_expr") or "")
    function = item.get("twin_function")
    if not text and function is not None and _is_function(function):
        raise ValueError(
            f"{cleaned(tied.full_name)} is tied to {cleaned(source.full_name)} by a Python function, which xfit "
            "neither reads nor runs; give the formula as twin_function_expr instead"
        )
    # Whether a fit may change it is no longer asked; once untied, it may.
    tied.set(free=True)
    if (not text or text.strip() == "x") and scale == divisor == 1:
        tied.twin = source
        return
    expr = parser.parse(expression_text(text or "x"))
    names = [str(symbol) for symbol in expr.free_symbols]
    if len(names) != 1:
        raise ValueError(f"{cleaned(tied.full_name)}: the twin function {text!r} must be of one variable")
    import sympy

    followed = parser.symbol(source.full_name) / sympy.nsimplify(divisor)
    tied.tie(parser.to_text(sympy.nsimplify(scale) * expr.xreplace({parser.symbol(names[0]): followed})))


def _is_function(value: Any) -> bool:
    """Whether a stored twin function is anything but none: old files have (pickled or not, the function)."""
    return not (isinstance(value, tuple | list) and len(value) == 2 and value[1] is None)


# --- maps


def _links(k: int, part: Converted) -> list[Link]:
    """Which parameters of a component are which; those that need others after them."""
    component = part.component
    found = [Link(k, theirs, component[ours].full_name, part.scale(theirs)) for theirs, ours in part.names.items()]
    for entry, name in enumerate(part.coefficients):
        factor = component["intensity"].full_name
        found.append(Link(k, FINE_STRUCTURE, component[name].full_name, entry=entry, factor=factor))
    return found


def _parameter(items: Sequence[Mapping[str, Any]], link: Link) -> Mapping[str, Any]:
    return next(p for p in items[link.component]["parameters"] if str(p["_id_name"]) == link.theirs)


def _map(item: Mapping[str, Any], link: Link, maps: Mapping[str, _Map | None], shape: tuple[int, ...]) -> _Map | None:
    """Map of a parameter in xfit's units, over the navigation dimensions, from those before it."""
    found = item.get("map")
    if found is None:
        return None
    found = np.asarray(found)
    if found.size != int(np.prod(shape, dtype=int)):
        raise ValueError(
            f"the map of {item['_id_name']!r} has shape {found.shape}, the signal's navigation {shape}: it was stored "
            "for another signal"
        )
    is_set = found["is_set"].reshape(shape).astype(bool)
    scale: Any = link.scale
    if link.factor is not None:
        factor = maps[link.factor]
        if factor is None:
            return None
        scale, is_set = factor[0], is_set & factor[2]
    entry = ... if link.entry is None else (..., link.entry)
    values, errors = (np.asarray(found[key], np.float64)[entry].reshape(shape) * scale for key in ("values", "std"))
    return np.where(is_set, values, np.nan), np.where(is_set, errors, np.nan), is_set


def _start(maps: Mapping[str, _Map | None], model: Model, navigation: tuple[Hashable, ...]) -> dict[str, xr.DataArray]:
    """Stored values that differ from those of the model; of one spectrum, the model has them."""
    start: dict[str, xr.DataArray] = {}
    for name, found in maps.items():
        parameter = model.parameter(name)
        if found is None or not navigation or parameter.is_tied:
            continue
        values, _, is_set = found
        if (is_set & (values != parameter.value)).any():
            start[name] = xr.DataArray(values, dims=navigation)
    return start


def _stored(
    model: Mapping[str, Any], maps: Mapping[str, _Map | None], navigation: tuple[Hashable, ...], shape: tuple[int, ...]
) -> xr.Dataset:
    """What the maps hold."""
    empty = np.full(shape, np.nan)
    values = [empty if found is None else found[0] for found in maps.values()]
    errors = [empty if found is None else found[1] for found in maps.values()]
    stored = xr.Dataset(
        {
            "value": ((*navigation, "param"), np.stack(values, axis=-1), {"long_name": "value"}),
            "stderr": ((*navigation, "param"), np.stack(errors, axis=-1), {"long_name": "standard error"}),
        },
        coords={"param": list(maps)},
    )
    for name, key in (("chisq", "chisq.data"), ("fitted", "dof.data")):
        found = np.asarray([] if model.get(key) is None else model[key], np.float64)
        stored[name] = (navigation, found.reshape(shape) if found.size == empty.size else empty)
    return stored
