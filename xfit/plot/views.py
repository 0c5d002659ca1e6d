"""HoloViews objects of a result: maps and spectra that are linked by streams and compose with a user's own objects."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xfit.display import escaped
from xfit.plot.maps import Quantity, names_of, quantity_of
from xfit.plot.pixel import PixelView, check_data_of, view_of
from xfit.plot.style import (
    BAND,
    COMPONENTS,
    DATA,
    MISSING,
    MODEL,
    STATUSES,
    cell_edges,
    colours_of,
    coordinate,
    drawn,
    label,
    same_units,
    titled,
)
from xfit.results.fit_result import FitResult

if TYPE_CHECKING:
    import holoviews

#: Pixels along a side of a map from which on datashader makes the picture.
LARGE = 500

#: Drawing by the browser itself: as fast as WebGL for what is shown here, and much faster where there is no graphics
#: card.
CANVAS = {"plot.output_backend": "canvas"}

#: How much higher than wide a map may be before it becomes narrower instead.
_TALL = 1.4

#: How much lower than wide; a map that would be lower is stretched.
_FLAT = 0.12

#: Fewer points than this are drawn as points.
_FEW = 400


class Views:
    """HoloViews objects of a result: ``result.fit.hv``.

    Parameters
    ----------
    result : FitResult
        The result, in memory or lazy: what is shown is computed when it is shown.
    """

    def __init__(self, result: FitResult) -> None:
        import holoviews as hv

        if not hv.Store.loaded_backends():
            hv.extension("bokeh", inline=True)
        self._result = result
        self._dims = result.navigation_dims
        if not self._dims:
            raise ValueError("the result is of a single spectrum or image and has no maps; see result.fit.plot(da)")

    def maps(self, params: Sequence[str] | str | None = None, *, columns: int = 3) -> holoviews.Layout:
        """Maps beside each other, which move together.

        Parameters
        ----------
        params : sequence of str, optional
            Parameters, derived quantities, or variables of the result such as ``"red_chisq"``; by default all
            parameters that were fitted.
        columns : int
            How many beside each other.

        Raises
        ------
        KeyError
            For unknown names.
        """
        import holoviews as hv

        return hv.Layout([self.map(name) for name in names_of(self._result, params)]).cols(columns)

    def map(self, name: str) -> Any:
        """Map of one quantity, with values and errors where the pointer is.

        Returns
        -------
        holoviews.Image or QuadMesh
            Of two navigation dimensions; made by datashader, when it is shown, beyond 500 x 500 pixels.
        holoviews.Overlay
            Of one: a line with a band of one standard error.
        holoviews.DynamicMap
            Of more: such a map for every position along the others, the last two dimensions being shown.

        Raises
        ------
        KeyError
            For an unknown name.
        ImportError
            For a large map without datashader.
        """
        import holoviews as hv

        (name,) = names_of(self._result, name)
        large = max(self._result.dataset.sizes[d] for d in self._dims[-2:]) > LARGE
        if len(self._dims) <= 2:
            quantity = quantity_of(self._result, name)
            element = element_of(quantity)
            return rasterized(element, lambda: quantity) if large and len(self._dims) == 2 else element
        further = self._dims[:-2]
        places = {d: coordinate(self._result.dataset, d)[0] for d in further}

        last: list[Quantity] = []

        def cut(*values: Any) -> Any:
            numbers = {d: int(np.abs(places[d] - v).argmin()) for d, v in zip(further, values, strict=True)}
            last[:] = [quantity_of(FitResult(self._result.dataset.isel(numbers)), name)]
            return element_of(last[0])

        axes = [_chosen_by(d, places[d]) for d in further]
        moving = hv.DynamicMap(cut, kdims=axes)
        return rasterized(moving, lambda: last[0]) if large else moving

    def spectrum(
        self,
        da: xr.DataArray,
        source: Any = None,
        *,
        variance: xr.DataArray | float | None = None,
        response: xr.DataArray | None = None,
    ) -> holoviews.DynamicMap:
        """Data, fit and components of a pixel: of that which is clicked on a map, or chosen by sliders.

        Parameters
        ----------
        da : DataArray
            The data that were fitted; of lazy ones a chunk is read for a pixel.
        source : holoviews element, optional
            A map, for instance of `map`, on which pixels are clicked; without it there is a slider for each navigation
            dimension.
        variance, response : optional
            As for `xarray.Dataset.fit.plot`.

        Raises
        ------
        TypeError, ValueError
            For data that were not fitted, for images, and for maps with more dimensions than a click has.
        """
        import holoviews as hv
        from holoviews.streams import Tap

        check_data_of(self._result, da)
        if len(self._result.signal_dims) != 1:
            raise ValueError("spectrum() shows spectra; of images there is result.fit.plot(da, ...)")
        places = [coordinate(self._result.dataset, d)[0] for d in self._dims]
        indexes = self._result.dataset.indexes

        def draw(*values: Any) -> Any:
            numbers = [int(np.abs(p - v).argmin()) for p, v in zip(places, values, strict=True)]
            # Where labels are words, places are numbers.
            at = {str(d): indexes[d][n] if d in indexes else n for d, n in zip(self._dims, numbers, strict=True)}
            return curves_of(view_of(self._result, da, at, variance, response))

        middle = [p[len(p) // 2] for p in places]
        if source is None:
            axes = [_chosen_by(d, p, default=m) for d, p, m in zip(self._dims, places, middle, strict=True)]
            return hv.DynamicMap(draw, kdims=axes)
        if len(self._dims) > 2:
            raise ValueError(
                f"a click has two places and the map has {list(self._dims)}; leave source= away, or cut the result"
            )
        tap = Tap(source=source, x=middle[-1], y=middle[0] if len(middle) == 2 else None)
        return hv.DynamicMap(lambda x, y: draw(*((x,) if len(middle) == 1 else (y, x))), streams=[tap])


def _chosen_by(dim: Hashable, places: np.ndarray, **more: Any) -> Any:
    """A dimension that has a slider, whose label Panel shows as HTML."""
    import holoviews as hv

    return hv.Dimension(drawn(str(dim)), label=escaped(str(dim)), values=list(places), **more)


def element_of(quantity: Quantity) -> Any:
    """A computed map as an element."""
    import holoviews as hv

    values, errors = quantity.values.astype(float), quantity.errors
    value_dim = hv.Dimension(drawn(quantity.name), unit=drawn(str(values.attrs.get("units", ""))) or None)
    if values.ndim == 1:
        return _line(values, errors, value_dim)
    up, across = values.dims
    (y, y_label), (x, x_label) = coordinate(values, up), coordinate(values, across)
    axes = [hv.Dimension(drawn(str(across)), label=x_label), hv.Dimension(drawn(str(up)), label=y_label)]
    columns, dims = [values.values], [value_dim]
    if errors is not None:
        columns.append(errors.values)
        dims.append(hv.Dimension("error", label="standard error"))
    even = all(p.size > 1 and np.allclose(np.diff(p), p[1] - p[0], rtol=1e-3) for p in (x, y))
    element = (hv.Image if even else hv.QuadMesh)((x, y, *columns), kdims=axes, vdims=dims)
    return element.opts(**map_options(quantity))


def map_options(quantity: Quantity) -> dict[str, Any]:
    """How a map looks in bokeh."""
    name, values, _, scale = quantity
    units = str(values.attrs.get("units", ""))
    return {
        "cmap": list(STATUSES) if name == "status" else colours_of(scale),
        "clim": (-0.5, len(STATUSES) - 0.5) if name == "status" else (scale.low, scale.high),
        "clipping_colors": {"NaN": MISSING},
        "colorbar": name != "status",
        # Units stand in the title: the bar keeps its first label when the map changes.
        "clabel": " ",
        "title": _as_title(titled(name, units)),
        "tools": ["hover"],
        "backend_opts": CANVAS,
        **frame_of(values, 320),
    }


def _as_title(words: str) -> str:
    """Words as a title of HoloViews, which puts names into braces."""
    return words.replace("{", "{{").replace("}", "}}")


def frame_of(values: xr.DataArray, width: int) -> dict[str, Any]:
    """Size of a map's frame: of a given width and as high as its coordinates say, unless it would leave the screen.

    Where the coordinates have different units, their lengths say nothing and the frame is three quarters as high as
    wide.
    """
    if not same_units(values, values.dims):
        return {"aspect": None, "frame_width": width, "frame_height": round(0.75 * width)}
    up, across = (float(np.ptp(edges)) for edges in cell_edges(values))
    ratio = up / across
    if _FLAT <= ratio <= _TALL:
        return {"aspect": "equal", "frame_width": width, "frame_height": None}
    if ratio < _FLAT:
        return {"aspect": None, "frame_width": width, "frame_height": round(_FLAT * width)}
    return {"aspect": None, "frame_height": round(_TALL * width), "frame_width": max(round(_TALL * width / ratio), 40)}


def rasterized(element: Any, quantity: Callable[[], Quantity]) -> Any:
    """A large map, or one that changes, as a picture that datashader makes of what is in view.

    Parameters
    ----------
    element : holoviews element or DynamicMap
        The map.
    quantity : callable
        Returns what it shows at the moment, for its colours.

    Raises
    ------
    ImportError
        Without datashader.
    """
    try:
        from holoviews.operation.datashader import rasterize
    except ImportError as error:
        raise ImportError(
            f"the map has more than {LARGE} pixels along a side, of which datashader makes the picture; install it "
            "with: pip install 'xfit[view]'"
        ) from error
    # A mean of statuses would be another status.
    aggregator = "max" if quantity().name == "status" else "mean"

    def finished(picture: Any) -> Any:
        now = quantity()
        if now.errors is not None and len(picture.vdims) == 1:
            picture = _with_errors(picture, element_of(now))
        return picture.opts(framewise=True, **map_options(now))

    return rasterize(element, aggregator=aggregator).apply(finished)


def _with_errors(picture: Any, mesh: Any) -> Any:
    """A picture of a map whose coordinates are uneven with its errors, which datashader leaves out: the same
    part of them at the same size.
    """
    from holoviews.operation.datashader import rasterize

    left, bottom, right, top = picture.bounds.lbrt()
    height, width = picture.dimension_values(2, flat=False).shape
    error = mesh.vdims[1]
    part = {"x_range": (left, right), "y_range": (bottom, top), "width": width, "height": height}
    errors = rasterize(mesh.reindex(vdims=[error]), aggregator="mean", dynamic=False, **part)
    return picture.clone(
        picture.data.assign({error.name: errors.data[error.name].variable}), vdims=[*picture.vdims, error]
    )


def _line(values: xr.DataArray, errors: xr.DataArray | None, value_dim: Any) -> Any:
    """A map of one dimension."""
    import holoviews as hv

    x, x_label = coordinate(values, values.dims[0])
    axis = hv.Dimension(drawn(str(values.dims[0])), label=x_label)
    curve = hv.Curve((x, values.values), axis, value_dim).opts(color=COMPONENTS[0], tools=["hover"])
    if errors is None:
        return curve
    spread = hv.Spread((x, values.values, errors.values), axis, [value_dim, "error"]).opts(color=BAND, line_alpha=0)
    return spread * curve


def curves_of(view: PixelView) -> Any:
    """Data, fit and components of a pixel as an overlay."""
    import holoviews as hv

    dim = view.data.dims[0]
    x, x_label = coordinate(view.data, dim)
    axis, up = hv.Dimension(drawn(str(dim)), label=x_label), hv.Dimension("data", label=label(view.data, "data"))
    few = x.size <= _FEW
    points: dict[str, Any] = {"size": 3} if few else {"line_width": 0.8}
    shown = [
        (hv.Scatter if few else hv.Curve)((x, view.data.values), axis, up, label="data").opts(color=DATA, **points)
    ]
    if len(view.components) > 1:
        for k, name in enumerate(view.components):
            curve = hv.Curve((x, view.components[name].values), axis, up, label=drawn(str(name)))
            shown.append(curve.opts(color=COMPONENTS[k % len(COMPONENTS)]))
    shown.append(hv.Curve((x, view.model.values), axis, up, label="fit").opts(color=MODEL))
    # Each by itself: ranges follow the pixel only so.
    overlay = hv.Overlay([each.opts(framewise=True) for each in shown])
    return overlay.opts(
        title=_as_title(drawn(view.title)),
        fontsize={"title": 10},
        legend_position="right",
        width=600,
        height=320,
        show_grid=True,
        backend_opts=CANVAS,
    )


def residual_of(view: PixelView) -> Any:
    """Residual of a pixel, with the width of the noise, as an overlay."""
    import holoviews as hv

    dim = view.data.dims[0]
    x, x_label = coordinate(view.data, dim)
    axis, up = hv.Dimension(drawn(str(dim)), label=x_label), hv.Dimension("residual", label=label(view.residual))
    sigma = np.nan_to_num(view.sigma.values)
    band = hv.Area((x, -sigma, sigma), axis, [up, "upper"]).opts(color=BAND, line_alpha=0, framewise=True)
    few = x.size <= _FEW
    points: dict[str, Any] = {"size": 3} if few else {"line_width": 0.8}
    line = (hv.Scatter if few else hv.Curve)((x, view.residual.values), axis, up)
    zero = hv.HLine(0.0).opts(color=MODEL, line_width=1)
    return hv.Overlay([band, zero, line.opts(color=DATA, framewise=True, **points)]).opts(
        title=f"data - fit; grey: ±1σ of {view.noise}",
        fontsize={"title": 9},
        width=600,
        height=190,
        show_grid=True,
        backend_opts=CANVAS,
    )
