"""What a fit's packed numbers become: a Dataset, its variables, coordinates and attributes."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.indexes import Index, PandasIndex

from xfit._version import __version__
from xfit.arrays.axes import Axes
from xfit.arrays.blocks import only
from xfit.engine.pixel.scalars import CRITERIA, INTEGERS, SCALARS
from xfit.engine.pixel.status import MEANINGS
from xfit.modeling.derived import label_of
from xfit.modeling.model import Model
from xfit.modeling.units import derived_units, parameter_units
from xfit.results.curves import ending

if TYPE_CHECKING:
    from xfit.engine.block.options import Columns, FitOptions, Settings
    from xfit.engine.codegen.program import Program

#: Version of the schema; a reader refuses newer ones.
SCHEMA_VERSION = 1

_LONG_NAMES = {
    "value": "fitted value",
    "stderr": "standard error",
    "at_bound": "whether the value lies at a bound",
    "covariance": "covariance of the parameters",
    "pair_covariance": "covariance of two parameters of a component",
    **SCALARS,
    "bias": "distance from the solution without penalty: an unbiased estimate of the bias",
}
_INTEGERS = {**dict.fromkeys(INTEGERS, np.int32), "at_bound": np.int8, "status": np.int8}

#: Names of dimensions, coordinates and variables of a result.
RESERVED = frozenset(_LONG_NAMES) | {
    *("param", "param_", "pair", "component", "parameter", "units", "free", "channel_width"),
}


def check_names(da: xr.DataArray) -> None:
    """Refuse data whose dimensions or coordinates have names that the result needs for itself.

    Raises
    ------
    ValueError
        Naming them.
    """
    taken = sorted({str(name) for name in (*da.dims, *da.coords)} & RESERVED)
    if taken:
        raise ValueError(
            f"the data have dimension(s) or coordinate(s) called {taken}, which are names of the result's own; "
            f"rename them (for instance da.rename({{{taken[0]!r}: 'other_{taken[0]}'}}))"
        )


def assemble(
    packed: Any,
    da: xr.DataArray,
    model: Model,
    program: Program,
    settings: Settings,
    axes: Axes,
    options: FitOptions,
    how: Mapping[str, Any],
) -> xr.Dataset:
    """Make the result out of packed rows.

    Parameters
    ----------
    packed : array (*navigation, Columns.total)
        NumPy or dask.
    da : DataArray
        The data, for coordinates, units and names.
    how : mapping
        The model as JSON and how the fit was made; numbers and strings, kept as attributes.

    Returns
    -------
    Dataset
        In the schema of the documentation's page "The result".
    """
    # Not at the top: `import xfit` does not wait for the engine.
    from xfit.engine.block.options import Columns

    columns = Columns.of(len(settings.start), options)
    known = [name for name in columns.slices if options.loss.has_likelihood or name not in CRITERIA]
    variables = variables_in(packed, known, axes.navigation, columns)
    coordinates, indexes = _coordinates(da, model, program, settings, axes, options)
    attrs = {
        "title": f"fit of {da.name}" if da.name is not None else "fit",
        "xfit_schema": SCHEMA_VERSION,
        "xfit_version": __version__,
        "xfit_derived_units": json.dumps(derived_units(model, da, axes), ensure_ascii=False),
        "xfit_signal_dims": json.dumps([str(d) for d in axes.dims]),
        "xfit_binned": int(axes.width is not None),
        "xfit_scale_covariance": int(options.scale_covariance),
        **{f"xfit_{key}": value for key, value in how.items()},
    }
    # Not by `Dataset`, which looks whether variables and coordinates fit together: for one spectrum that takes longer
    # than its fit.
    result = xr.Coordinates({**variables, **coordinates}, indexes).to_dataset().reset_coords(list(variables))
    result.attrs = attrs
    if not axes.navigation and isinstance(packed, np.ndarray):
        result.attrs["message"] = ending(result, model, tuple(map(str, axes.dims)))
    return result


def variables_in(
    packed: Any, names: Sequence[str], navigation: Sequence[Hashable], columns: Columns
) -> dict[str, xr.Variable]:
    """Variables of the schema out of packed rows, which are NumPy's or dask's."""
    return {name: _variable(packed, name, columns.slices[name], navigation, columns) for name in names}


def _variable(packed: Any, name: str, part: slice, navigation: Sequence[Hashable], columns: Columns) -> xr.Variable:
    """One variable of the schema."""
    tail = _tail(name, columns)
    attrs: dict[str, Any] = {"long_name": _LONG_NAMES[name]}
    if name == "status":
        attrs |= {"flag_values": np.arange(len(MEANINGS), dtype=np.int8), "flag_meanings": " ".join(MEANINGS)}
    if name == "at_bound":
        attrs |= {"flag_values": np.array([-1, 0, 1], np.int8), "flag_meanings": "lower free upper"}
    if name in ("chisq", "loss"):
        attrs["units"] = ""
    data = _take(packed, name, (part.start, part.stop), tuple(tail.values()), _dtype(name))
    return xr.Variable((*navigation, *tail), data, attrs)


def unpacked(packed: np.ndarray, options: FitOptions, columns: Columns) -> dict[str, np.ndarray]:
    """Variables of packed rows by name, as the result has them."""
    return {
        name: _cut(packed, part=(part.start, part.stop), tail=tail, as_dtype=dtype)
        for name, part in columns.slices.items()
        if options.loss.has_likelihood or name not in CRITERIA
        for tail, dtype in [(tuple(_tail(name, columns).values()), _dtype(name))]
    }


def _tail(name: str, columns: Columns) -> dict[str, int]:
    """Dimensions of a variable behind those of the map."""
    if name in ("value", "stderr", "at_bound", "bias"):
        return {"param": columns.n}
    if name == "covariance":
        return {"param": columns.n, "param_": columns.n}
    return {"pair": columns.pairs} if name == "pair_covariance" else {}


def _dtype(name: str) -> np.dtype:
    return np.dtype(_INTEGERS.get(name, np.float64))


def _take(packed: Any, name: str, part: tuple[int, int], tail: tuple[int, ...], dtype: np.dtype) -> Any:
    """Cut columns out of packed rows, chunk by chunk for dask."""
    if isinstance(packed, np.ndarray):
        return _cut(packed, part=part, tail=tail, as_dtype=dtype)
    import dask.array

    navigation = list(range(packed.ndim - 1))
    new = list(range(packed.ndim, packed.ndim + len(tail)))
    return dask.array.blockwise(
        _cut,
        [*navigation, *new],
        packed,
        [*navigation, packed.ndim - 1],
        part=part,
        tail=tail,
        as_dtype=dtype,
        dtype=dtype,
        new_axes=dict(zip(new, tail, strict=True)),
        concatenate=False,
        # A name follows from that of the rows; dask would work one out from all arguments, for every variable.
        name=f"xfit-{name}-{packed.name}",
        meta=np.empty((0,) * (len(navigation) + len(tail)), dtype),
    )


def _cut(packed: Any, *, part: tuple[int, int], tail: tuple[int, ...], as_dtype: np.dtype) -> np.ndarray:
    packed = only(packed)
    columns = packed[..., part[0] : part[1]].reshape((*packed.shape[:-1], *tail))
    if as_dtype.kind == "f":
        floats: np.ndarray = columns.astype(as_dtype, order="C")
        return floats
    whole = np.zeros(columns.shape, as_dtype)
    np.copyto(whole, columns, where=columns == columns, casting="unsafe")
    return whole


def _coordinates(
    da: xr.DataArray, model: Model, program: Program, settings: Settings, axes: Axes, options: FitOptions
) -> tuple[dict[Hashable, xr.Variable], dict[Hashable, Index]]:
    """Coordinates of a result, and their indexes: those of the data that lie along the map or along its signal, and the
    parameters'.
    """
    sides = set(axes.navigation), set(axes.dims)
    given = {name: c for name, c in da.coords.variables.items() if any(set(c.dims) <= side for side in sides)}
    indexes: dict[Hashable, Index] = {name: index for name, index in da.xindexes.items() if name in given}
    # The encoding of the data's file must not be used for the result's file.
    made = {name: c.drop_encoding() if c.encoding else c for name, c in given.items()}
    for d, size in zip(axes.dims, axes.shape, strict=True):
        if d not in made:
            indexes[d] = PandasIndex(np.arange(size), d)
            made |= indexes[d].create_variables()
    if axes.width is not None:
        made["channel_width"] = xr.Variable(axes.dims, axes.width.reshape(axes.shape), {"long_name": "channel width"})
    split = [(component.name, parameter.name) for component in model for parameter in component.parameters]
    _add_labels(made, indexes, "param", program.parameters)
    made["component"] = _texts("param", tuple(c for c, _ in split))
    made["parameter"] = _texts("param", tuple(p for _, p in split))
    made["units"] = _texts("param", tuple(parameter_units(model, da, axes)))
    made["free"] = xr.Variable("param", settings.free & settings.active[program.load().component_of])
    if options.pairs:
        names = (label_of((program.parameters[a], program.parameters[b])) for a, b in options.pairs)
        _add_labels(made, indexes, "pair", tuple(names))
    if options.covariance:
        _add_labels(made, indexes, "param_", program.parameters)
    return made, indexes


def _texts(dim: str, texts: tuple[str, ...]) -> xr.Variable:
    """Texts along a dimension, which whoever has the result may change."""
    return _kept_texts(dim, texts).copy(deep=True)


@lru_cache(maxsize=256)
def _kept_texts(dim: str, texts: tuple[str, ...]) -> xr.Variable:
    return xr.Variable(dim, np.array(texts, object))


def _add_labels(
    made: dict[Hashable, xr.Variable], indexes: dict[Hashable, Index], dim: str, names: tuple[str, ...]
) -> None:
    """Add a dimension's names, with their index."""
    indexes[dim], variable = _labels(dim, names)
    made[dim] = variable.copy(deep=False)


@lru_cache(maxsize=256)
def _labels(dim: str, names: tuple[str, ...]) -> tuple[PandasIndex, xr.Variable]:
    """An index of names, which can't be changed, and the variable that shows it."""
    index = PandasIndex(np.array(names, object), dim)
    return index, index.create_variables()[dim]
