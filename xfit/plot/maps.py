"""Maps of parameters as a figure, with what is not to be trusted hatched or left out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from xfit.engine.pixel.status import CONVERGED, MEANINGS
from xfit.plot.figures import draw_image, legible, new_figure, plain_ticks, settled
from xfit.plot.style import (
    BAND,
    COMPONENTS,
    DATA,
    STATUSES,
    Scale,
    cell_edges,
    coordinate,
    drawable,
    label,
    same_units,
    scale_of,
)
from xfit.results.fit_result import FitResult
from xfit.results.report import cut

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Slices of a map with three dimensions that are shown beside each other.
_SLICES = 4

#: Letters of what a variable is that have room beside a colour bar.
_WORDS = 30

#: What can be done with pixels whose fit is poor.
POOR = ("hatch", "mask", "show")


class Quantity(NamedTuple):
    """A map to be looked at.

    Attributes
    ----------
    name : str
        As it is asked for.
    values, errors : DataArray or None
        Over the navigation dimensions; computed.
    scale : Scale
        Its colours.
    """

    name: str
    values: xr.DataArray
    errors: xr.DataArray | None
    scale: Scale


def names_of(result: FitResult, params: Sequence[str] | str | None) -> list[str]:
    """Names of the maps to show: those asked for, or all parameters that were fitted.

    Raises
    ------
    KeyError
        For a name that is none of a parameter, a derived quantity or a variable of the result over the map.
    """
    ds = result.dataset
    if params is None:
        return [str(name) for name, free in zip(ds["param"].values, ds["free"].values, strict=True) if free]
    names = [params] if isinstance(params, str) else list(params)
    for name in names:
        if name not in variables_of(result):
            result[name]
    return names


def variables_of(result: FitResult) -> list[str]:
    """Variables of the result that have one number for each pixel."""
    ds = result.dataset
    return [str(name) for name, v in ds.data_vars.items() if v.dims == result.navigation_dims and v.dtype.kind in "iuf"]


def quantity_of(result: FitResult, name: str) -> Quantity:
    """Compute a map and choose its colours, as good pixels need them."""
    if name in variables_of(result):
        values = result.dataset[name].drop_vars("param", errors="ignore").compute()
        return Quantity(name, values, None, scale_of(values.values.astype(float)))
    values, errors = result[name].compute(), result.stderr(name).compute()
    trusted = np.where(good_of(result), values.values, np.nan)
    shown = trusted if np.isfinite(trusted).any() else values.values
    return Quantity(name, values, errors, scale_of(shown, name, str(values.attrs.get("units", ""))))


def good_of(result: FitResult) -> np.ndarray:
    """Pixels that have converged."""
    return np.asarray(result.dataset["status"].values == CONVERGED)


def draw_maps(
    result: FitResult,
    params: Sequence[str] | str | None,
    *,
    poor: str,
    limits: Mapping[str, tuple[float, float]] | None,
    columns: int,
    figure: Any,
    indexers: Mapping[str, Any],
) -> Figure:
    """Draw maps; see `xfit.result_accessor.Result.maps`."""
    if poor not in POOR:
        raise ValueError(f"poor={poor!r} must be one of {', '.join(map(repr, POOR))}")
    if isinstance(columns, bool) or not isinstance(columns, int) or columns < 1:
        raise ValueError(f"columns={columns!r} must be a whole number of at least 1")
    names = names_of(result, params)
    unknown = sorted(set(limits or {}) - set(names))
    if unknown:
        raise ValueError(f"limits are given for {unknown}, which are not shown; shown are {names}")
    part = FitResult(_cut_of(result, indexers))
    if not 1 <= len(part.navigation_dims) <= 3:
        raise ValueError(
            f"maps are of one to three dimensions; the result has {list(part.navigation_dims)}. Give positions along "
            "the others, for instance maps(time=0); of a single spectrum there is result.fit.plot(da)"
        )
    if not names:
        raise ValueError("nothing was fitted: the model has no free parameter; name what to show")
    quantities = [_limited(quantity_of(part, name), limits) for name in names]
    bad = ~good_of(part)
    if len(part.navigation_dims) == 1:
        return _draw_lines(quantities, bad, poor, columns, figure, limits or {})
    if len(part.navigation_dims) == 3:
        return settled(_draw_slices(quantities, bad, poor, figure))
    columns = min(columns, len(quantities))
    rows = -(-len(quantities) // columns)
    figure = new_figure(figure, (3.9 * columns, _height(quantities[0].values) * rows))
    for k, quantity in enumerate(quantities):
        _draw_map(figure.add_subplot(rows, columns, k + 1), quantity, quantity.values, bad, poor, quantity.name)
    return settled(figure)


def _cut_of(result: FitResult, indexers: Mapping[str, Any]) -> xr.Dataset:
    """Take a slice of the map, by labels where there are some."""
    ds = result.dataset
    unknown = [d for d in indexers if d not in result.navigation_dims]
    if unknown:
        raise ValueError(f"no dimension(s) {unknown} in the map; it has {list(result.navigation_dims)}")
    return cut(ds, indexers)


def _limited(quantity: Quantity, limits: Mapping[str, tuple[float, float]] | None) -> Quantity:
    """Take a user's limits."""
    if not limits or quantity.name not in limits:
        return quantity
    low, high = limits[quantity.name]
    if not low < high:
        raise ValueError(f"limits={dict(limits)!r}: of {quantity.name!r} the first must be smaller than the second")
    return quantity._replace(scale=Scale(float(low), float(high), quantity.scale.diverging))


def _draw_map(
    axes: Axes, quantity: Quantity, image: xr.DataArray, bad: np.ndarray, poor: str, title: str, bar: bool = True
) -> None:
    """One map; statuses in words, poor pixels hatched or left out."""
    values = image.astype(float)
    if quantity.name == "status":
        _draw_status(axes, image, title)
        return
    if poor == "mask":
        values = values.where(~bad)
    draw_image(axes, values, quantity.scale, title, _bar_label(quantity.values) if bar else None)
    if poor == "hatch":
        _hatch(axes, image, bad & np.isfinite(values.values))


def _hatch(axes: Axes, image: xr.DataArray, poor: np.ndarray) -> None:
    """Hatch whole pixels, with dark lines across light ones: on every colour one of them is seen."""
    if not poor.any():
        return
    # Every edge stands twice, so that a contour runs along it and not from middle to middle.
    y, x = (np.repeat(edges, 2)[1:-1] for edges in cell_edges(image))
    for colour, lines in (("#000000", "////"), ("#FFFFFF", r"\\\\")):
        filled = axes.contourf(x, y, np.kron(poor, np.ones((2, 2))), levels=[0.5, 1.5], colors="none", hatches=[lines])
        filled.set_edgecolor(colour)
        filled.set_linewidth(0.0)


def _draw_status(axes: Axes, image: xr.DataArray, title: str) -> None:
    """How fits ended: a colour for each way that occurs, with a legend."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    codes = np.unique(image.values)
    colours = [STATUSES[int(code) % len(STATUSES)] for code in codes]
    places = xr.zeros_like(image, float) + np.searchsorted(codes, image.values)
    mesh = draw_image(axes, places, Scale(-0.5, codes.size - 0.5, False), title)
    mesh.set_cmap(ListedColormap(colours))
    names = [MEANINGS[int(code)].replace("_", " ") for code in codes]
    shares = [float((image.values == code).mean()) for code in codes]
    handles = [Patch(color=c, label=f"{n} ({s:.1%})") for c, n, s in zip(colours, names, shares, strict=True)]
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")


def _height(image: xr.DataArray) -> float:
    """Height (inches) of a map of common width, with its labels."""
    if not same_units(image, image.dims):
        return 3.2
    spans = [float(np.ptp(edges)) for edges in cell_edges(image)]
    return float(np.clip(2.5 * spans[0] / spans[1], 0.8, 6.0)) + 0.8


def _bar_label(values: xr.DataArray) -> str:
    """Units, or what the variable is in a few words; the title has the name."""
    words = label(values)
    return str(values.attrs.get("units", "")) or (words if len(words) <= _WORDS else "")


def _draw_slices(quantities: Sequence[Quantity], bad: np.ndarray, poor: str, figure: Any) -> Figure:
    """Maps of three dimensions: a row for each quantity, slices along the first dimension beside each other."""
    first: Hashable = quantities[0].values.dims[0]
    count = quantities[0].values.sizes[first]
    chosen = np.unique(np.linspace(0, count - 1, min(count, _SLICES)).round().astype(int))
    places, words = coordinate(quantities[0].values, first)
    height = _height(quantities[0].values.isel({first: 0}))
    figure = new_figure(figure, (3.3 * chosen.size + 0.8, height * len(quantities)))
    for row, quantity in enumerate(quantities):
        for column, k in enumerate(chosen):
            axes = figure.add_subplot(len(quantities), chosen.size, row * chosen.size + column + 1)
            title = f"{quantity.name}, {words} = {places[k]:.6g}"
            last = column == chosen.size - 1
            _draw_map(axes, quantity, quantity.values.isel({first: int(k)}), bad[k], poor, title, bar=last)
    return figure


def _draw_lines(
    quantities: Sequence[Quantity], bad: np.ndarray, poor: str, columns: int, figure: Any, limits: Mapping[str, Any]
) -> Figure:
    """Maps of one dimension: lines with bands of one standard error; poor fits as crosses."""
    columns = min(columns, len(quantities))
    rows = -(-len(quantities) // columns)
    figure = new_figure(figure, (4.2 * columns, 2.8 * rows + 0.3))
    explained: dict[str, Any] = {}
    for k, quantity in enumerate(quantities):
        axes = figure.add_subplot(rows, columns, k + 1)
        x, x_label = coordinate(quantity.values, quantity.values.dims[0])
        axes.set(xlabel=x_label, ylabel=_bar_label(quantity.values), title=quantity.name)
        plain_ticks(axes, quantity.values)
        legible(axes)
        if quantity.name == "status":
            codes = np.unique(quantity.values)
            axes.plot(x, quantity.values, ".", color=COMPONENTS[0], markersize=4)
            axes.set_yticks(codes, [MEANINGS[int(code)].replace("_", " ") for code in codes])
            axes.set_ylabel("")
            continue
        axes.set_ylim(limits[quantity.name] if quantity.name in limits else _reach(quantity, bad))
        _draw_line(axes, x, quantity, bad, poor)
        explained |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    if explained:
        figure.legend(
            explained.values(), explained, loc="outside lower center", ncols=2, frameon=False, fontsize="small"
        )
    return figure


def _draw_line(axes: Axes, x: np.ndarray, quantity: Quantity, bad: np.ndarray, poor: str) -> None:
    """One line with its errors."""
    values = drawable(quantity.values.values)
    shown = values if poor == "show" else np.where(bad, np.nan, values)
    if quantity.errors is not None:
        errors = drawable(quantity.errors.values)
        with np.errstate(invalid="ignore"):  # of two infinities
            below, above = shown - errors, shown + errors
        axes.fill_between(x, below, above, color=BAND, linewidth=0, label="±1 standard error")
        known = np.pad(np.isfinite(shown), 1)
        alone = known[1:-1] & ~known[:-2] & ~known[2:]
        if alone.any():
            # A band has no width where there is one point only.
            axes.errorbar(x[alone], shown[alone], errors[alone], fmt="none", ecolor=BAND, elinewidth=2.0)
    axes.plot(x, shown, ".-", color=COMPONENTS[0], markersize=4, linewidth=0.8)
    crosses = bad & np.isfinite(values)
    if poor == "hatch" and crosses.any():
        axes.plot(x[crosses], values[crosses], "x", color=DATA, markersize=5, label="poor fit")


def _reach(quantity: Quantity, bad: np.ndarray) -> tuple[float, float]:
    """Limits of a line that hold what can be trusted with its errors, unless it sticks out."""
    values = quantity.values.values.astype(float)
    values = values if bad.all() else np.where(bad, np.nan, values)
    errors = None if quantity.errors is None else drawable(quantity.errors.values)
    values = drawable(values)
    with np.errstate(invalid="ignore"):  # of two infinities
        ends = [values] if errors is None else [values, values - errors, values + errors]
    low, high, _ = scale_of(np.concatenate(ends))
    return low - 0.1 * (high - low), high + 0.1 * (high - low)
