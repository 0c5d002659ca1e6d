"""Curves of a fitted model over the map, from the values in a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from dask.base import tokenize

from xfit.arrays.axes import axes_of
from xfit.arrays.blocks import only
from xfit.engine.pixel.status import DESCRIPTIONS, NONFINITE_DERIVATIVE
from xfit.modeling.model import Model
from xfit.modeling.response import ResponseGrid, response_of

if TYPE_CHECKING:
    from xfit.engine.codegen.program import Program


def model_curves(
    result: xr.Dataset, model: Model, dims: tuple[str, ...], components: Sequence[str] | None = None
) -> xr.DataArray:
    """Evaluate the model, or some of its components, at every pixel's values.

    Parameters
    ----------
    result : Dataset
        With ``value`` over navigation dimensions and ``param``, and the signal coordinates.
    model : Model
        Its structure; the values come from the result.
    dims : tuple of str
        Signal dimensions.
    components : sequence of str, optional
        Which to add up; all by default.

    Returns
    -------
    DataArray
        Over navigation and signal dimensions, lazy if ``value`` is.

    Raises
    ------
    ValueError
        For an unknown component, or where the result has lost its signal coordinates.
    """
    # Not at the top: `import xfit` does not wait for the engine.
    from xfit.engine.codegen.program import Program

    names = [component.name for component in model]
    unknown = [name for name in components or () if name not in names]
    if unknown:
        raise ValueError(f"no component(s) {unknown}; the model has {names}")
    missing = [d for d in dims if d not in result.dims or d not in result.coords]
    if missing:
        raise ValueError(f"the result has no dimension(s) {missing} with a coordinate any more; curves need them")
    value = result["value"].transpose(..., "param")
    program = Program.from_model(model)
    known = [str(name) for name in value["param"].values]
    lost = [name for name in program.parameters if name not in known]
    if lost:
        raise ValueError(f"the result has no parameter(s) {lost} any more; curves need all of the model's")
    if known != list(program.parameters):
        value = value.isel(param=[known.index(name) for name in program.parameters])
    signal = xr.DataArray(
        np.broadcast_to(0.0, [result.sizes[d] for d in dims]),
        dims=dims,
        coords={name: c for name, c in result.coords.items() if set(c.dims) <= set(dims)},
    )
    axes = axes_of(signal, dims, program.coordinates, binned=False)
    width = result["channel_width"].values.ravel() if "channel_width" in result.coords else None
    table = axes.table if width is None else np.vstack([axes.table, width])
    chosen = None if components is None else tuple(names.index(name) for name in components)
    navigation = value.dims[:-1]
    response, grid = response_of(model, signal, dims, value, navigation)
    keywords: dict[str, Any] = {
        "program": program,
        "names": axes.names,
        "components": chosen,
        "shape": axes.shape,
        "grid": grid,
    }
    coords = {name: c for name, c in value.coords.items() if "param" not in c.dims}
    coords |= {name: c for name, c in signal.coords.items() if name != "channel_width"}
    if response is not None and response.ndim > 1:
        response = response.broadcast_like(value.isel(param=0, drop=True)).transpose(*navigation, ...)
    lazy = value.chunks is not None or (response is not None and response.chunks is not None)
    if lazy:
        data = _lazy(value, table, response, keywords)
    else:
        data = _evaluate(value.values, table, *([] if response is None else [response.values]), **keywords)
    curve = xr.DataArray(data, dims=(*navigation, *dims), coords=coords, name="model")
    return curve.drop_vars([c for c in ("units", "component", "parameter", "free", "param") if c in curve.coords])


def ending(pixel: xr.Dataset, model: Model, dims: tuple[str, ...]) -> str:
    """How the fit of a pixel ended, in words; where a derivative is not finite, of which
    parameter and in which channel.

    Parameters
    ----------
    pixel : Dataset
        A computed result without navigation dimensions.
    model : Model
        Its structure.
    dims : tuple of str
        Signal dimensions.
    """
    status = int(pixel["status"])
    if status != NONFINITE_DERIVATIVE or any(d not in pixel.coords for d in dims):
        return DESCRIPTIONS[status]
    here = model_curves(pixel, model, dims)
    for name in pixel["param"].values[pixel["free"].values]:
        step = 1e-6 * abs(float(pixel["value"].sel(param=name))) or 1e-6
        moved = [pixel["value"] + sign * step * (pixel["param"] == name) for sign in (-1, 1)]
        # The engine gives up where the model is finite at a point, and on neither side of it.
        sides = [np.isfinite(model_curves(pixel.assign(value=value), model, dims).values) for value in moved]
        unknown = np.flatnonzero(np.isfinite(here.values) & ~sides[0] & ~sides[1])
        if unknown.size:
            place = np.unravel_index(unknown[0], here.shape)
            at = ", ".join(f"{d}={here[d].values[k]}" for d, k in zip(here.dims, place, strict=True))
            return f"{DESCRIPTIONS[status]} (with respect to {name}, at {at})"
    return DESCRIPTIONS[status]


def _lazy(value: xr.DataArray, table: np.ndarray, response: xr.DataArray | None, keywords: dict[str, Any]) -> Any:
    """Evaluate chunk by chunk."""
    # Not at the top: with what it imports of SciPy it takes a fifth of the time of `import xfit`.
    import dask.array

    program = keywords["program"]
    # One task that all others depend on, as in a fit.
    keywords = keywords | {"program": dask.delayed(program, name="xfit-program-" + tokenize(program), traverse=False)}
    if value.chunks is None and response is not None:
        value = value.chunk({d: sizes for d, sizes in response.chunksizes.items() if d in value.dims})
    value = value.chunk(param=-1)
    n = value.ndim
    navigation = list(range(n - 1))
    signal = list(range(n, n + len(keywords["shape"])))
    rows, columns, points = range(n + len(signal), n + len(signal) + 3)
    further: list[Any] = []
    if response is not None:
        chunks = {d: value.chunksizes.get(d, -1) for d in response.dims}
        further = [response.chunk(chunks).data, [*(navigation if response.ndim > 1 else []), points]]
    return dask.array.blockwise(
        _evaluate,
        [*navigation, *signal],
        value.data,
        [*navigation, n - 1],
        dask.array.from_array(table, chunks=-1),
        [rows, columns],
        *further,
        **keywords,
        new_axes=dict(zip(signal, keywords["shape"], strict=True)),
        concatenate=False,
        dtype=np.float64,
        meta=np.empty((0,) * (n - 1 + len(signal))),
    )


def _evaluate(
    values: Any,
    table: Any,
    response: Any = None,
    *,
    program: Program,
    names: tuple[str, ...],
    components: tuple[int, ...] | None,
    shape: tuple[int, ...],
    grid: ResponseGrid | None,
) -> np.ndarray:
    """Curves of one block; contracted dimensions come as nested lists of one block."""
    from xfit.engine.block.fit_block import evaluate_block

    values, table, response = only(values), only(table), only(response)
    navigation = values.shape[:-1]
    width = table[-1] if len(table) > len(names) else None
    flat = evaluate_block(
        program,
        values.reshape(int(np.prod(navigation)), values.shape[-1]),
        dict(zip(names, table, strict=False)),
        width=width,
        response=None if response is None else response.reshape(-1, response.shape[-1]),
        grid=None if grid is None else grid.points,
        components=components,
    )
    return flat.reshape((*navigation, *shape))
