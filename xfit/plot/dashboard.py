"""The dashboard: maps, the spectrum of the pixel that is clicked, its parameters, distributions, the worst pixels, export."""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
import param
import xarray as xr
from bokeh.embed import file_html
from bokeh.layouts import column, row
from bokeh.models.widgets import Div
from bokeh.resources import INLINE
from holoviews.streams import BoundsX, Params, Tap

from xfit import report
from xfit.derived import derived_names
from xfit.kernels.status import CONVERGED, DESCRIPTIONS, MEANINGS
from xfit.plot.blocks import Blocks
from xfit.plot.keys import ArrowKeys
from xfit.plot.looks import COMPONENTS, STATUSES, coordinate
from xfit.plot.maps import Quantity, quantity_of, variables_of
from xfit.plot.pixel import PixelView, check_data_of, look_at
from xfit.plot.spectrum import draw_pixel
from xfit.plot.views import CANVAS, LARGE, curves_of, element_of, rasterized, residual_of
from xfit.result import FitResult

#: Pixels in the list of the worst.
_WORST = 20

#: Width of the map, in pixels of the screen.
_WIDTH = 440

#: Seconds between looks at a store that is being filled.
_PAUSE = 2.0


class Place(param.Parameterized):
    """What is looked at.

    Attributes
    ----------
    quantity : str
        Name of the map.
    pixel : tuple of int
        Number of the chosen pixel along each navigation dimension.
    slice : tuple of int
        Its numbers along the dimensions that are not on the map: what maps follow, which need not be drawn again for another pixel.
    chosen : tuple of float, or None
        Range of the quantity whose pixels are marked.
    mark : tuple of int
        The pixel that is marked on the maps: the chosen one, a moment later, so that its spectrum comes first.
    version : int
        Rises when the result has changed.
    """

    quantity = param.String()
    pixel = param.Tuple((0,))
    slice = param.Tuple(())
    mark = param.Tuple((0,))
    chosen = param.Tuple(default=None, length=2, allow_None=True)
    version = param.Integer(0)

    @param.depends("pixel", watch=True)
    def _cut(self) -> None:
        self.slice = tuple(self.pixel[:-2])
        document = pn.state.curdoc
        if document is None or document.session_context is None:
            self._mark()
        else:
            document.add_next_tick_callback(self._mark)

    def _mark(self) -> None:
        self.mark = self.pixel


class Dashboard:
    """A page to look at a result with its data: ``result.fit.dashboard(da)``.

    Parameters
    ----------
    result : FitResult
        In memory or lazy: what is shown is computed when it is shown, and a click reads one chunk.
    da : DataArray
        The data that were fitted.
    variance, response : optional
        As for `xarray.Dataset.fit.plot`.
    refresh : callable, optional
        Called every few seconds while the page is open; returns the result as it is now, or None where nothing has changed.

    Raises
    ------
    TypeError, ValueError
        For data that were not fitted, for images, and for results of a single spectrum.
    """

    def __init__(
        self,
        result: FitResult,
        da: xr.DataArray,
        *,
        variance: xr.DataArray | float | None = None,
        response: xr.DataArray | None = None,
        refresh: Callable[[], xr.Dataset | None] | None = None,
    ) -> None:
        check_data_of(result, da)
        if not result.navigation_dims:
            raise ValueError("the result is of a single spectrum or image and has no maps; see fit.fit.plot(da)")
        if len(result.signal_dims) != 1:
            raise ValueError("the dashboard shows spectra; of images there is fit.fit.plot(da, ...)")
        pn.extension()
        hv.extension("bokeh")
        self._dims: tuple[Hashable, ...] = result.navigation_dims
        self._take(result.dataset)
        self._data = Blocks(da, self._dims)
        self._variance = Blocks(variance, self._dims) if isinstance(variance, xr.DataArray) else None
        self._constant = None if isinstance(variance, xr.DataArray) else variance
        self._response = None if response is None else Blocks(response, self._dims)
        self._given: dict[str, Any] = {"variance": variance, "response": response, "refresh": refresh}
        self._da, self._refresh, self._visited = da, refresh, False
        self._large = len(self._dims) > 1 and max(result.dataset.sizes[d] for d in self._dims[-2:]) > LARGE
        names = self.quantities
        middle = tuple(self._result.dataset.sizes[d] // 2 for d in self._dims)
        self.place = Place()
        self.place.param["pixel"].length = len(middle)
        self.place.param["mark"].length = len(middle)
        self.place.param["slice"].length = len(middle[:-2])
        self.place.param.update(quantity=names[0], pixel=middle, slice=middle[:-2], mark=middle)

    def _take(self, dataset: xr.Dataset) -> None:
        """Show another state of the result."""
        self._result = FitResult(dataset)
        self._pixels = Blocks(dataset, self._dims)
        self._maps: dict[tuple[str, tuple[int, ...]], Quantity] = {}

    @property
    def quantities(self) -> list[str]:
        """Names of what can be shown as a map: parameters, what follows from them, and the result's variables."""
        ds = self._result.dataset
        free = [str(n) for n, is_free in zip(ds["param"].values, ds["free"].values, strict=True) if is_free]
        return [*free, *derived_names(self._result.model), *variables_of(self._result)]

    # --- what is shown ---

    def quantity(self, name: str) -> Quantity:
        """The map of a quantity in the slice that is looked at; computed once."""
        key = name, self.place.slice
        if key not in self._maps:
            cut = dict(zip(self._dims[:-2], self.place.slice, strict=False))
            self._maps[key] = quantity_of(FitResult(self._result.dataset.isel(cut)), name)
        return self._maps[key]

    def pixel(self) -> PixelView:
        """The chosen pixel."""
        place = dict(zip(self._dims, self.place.pixel, strict=True))
        variance = self._constant if self._variance is None else self._variance.at(place)
        response = None if self._response is None else self._response.at(place)
        words = {d: coordinate(self._result.dataset, d)[0][n] for d, n in place.items()}
        return look_at(self._pixels.at(place), self._data.at(place), words, variance, response)

    def worst(self) -> dict[str, tuple[int, ...]]:
        """Pixels that need a look, by words: those that failed, then those of the largest reduced chi-squared."""
        red, status = self.quantity("red_chisq").values.values, self.quantity("status").values.values
        shown = np.isfinite(red)
        rank = np.where(shown, red + np.where(status != CONVERGED, 1e300, 0.0), -np.inf).ravel()
        chosen = [k for k in np.argsort(rank)[::-1][:_WORST] if rank[k] > -np.inf]
        found = {}
        for k in chosen:
            place = (*self.place.slice, *map(int, np.unravel_index(k, red.shape)))
            at = ", ".join(f"{d} {coordinate(self._result.dataset, d)[0][n]:.5g}" for d, n in zip(self._dims, place, strict=True))  # fmt: skip
            words = MEANINGS[int(status.flat[k])].replace("_", " ")
            found[f"{at}: {red.flat[k]:.4g}, {words}"] = place
        return found

    # --- what can be done ---

    def step(self, across: int, up: int) -> None:
        """Move the chosen pixel, to the edge of the map at most."""
        pixel, sizes = list(self.place.pixel), [self._result.dataset.sizes[d] for d in self._dims]
        steps = [up, across] if len(pixel) > 1 else [across + up]
        places = [coordinate(self._result.dataset, d)[0] for d in self._dims[-len(steps) :]]
        for k, step in enumerate(steps, start=len(pixel) - len(steps)):
            # Upwards is where the coordinate rises.
            rising = places[k - len(pixel)][-1] >= places[k - len(pixel)][0]
            pixel[k] = int(np.clip(pixel[k] + (step if rising else -step), 0, sizes[k] - 1))
        self.place.pixel = tuple(pixel)

    def click(self, x: float | None, y: float | None) -> None:
        """Choose the pixel at a place on the map."""
        if x is None or (y is None and len(self._dims) > 1):
            return
        pixel = list(self.place.pixel)
        for k, value in ((-1, x), (-2, y)) if len(pixel) > 1 else ((-1, x),):
            places = coordinate(self._result.dataset, self._dims[k])[0]
            pixel[k] = int(np.abs(places - value).argmin())
        self.place.pixel = tuple(pixel)

    def table(self) -> str:
        """Parameters of all pixels in the slice as CSV: places, values, errors, statuses."""
        cut = self._result.dataset.isel(dict(zip(self._dims[:-2], self.place.slice, strict=False))).compute()
        names = [str(name) for name in cut["param"].values]
        columns = {name: cut["value"].isel(param=k, drop=True) for k, name in enumerate(names)}
        columns |= {f"{name} error": cut["stderr"].isel(param=k, drop=True) for k, name in enumerate(names)}
        columns |= {"red_chisq": cut["red_chisq"], "status": cut["status"]}
        flat = xr.Dataset({name: c.reset_coords(drop=True) for name, c in columns.items()})
        flat = flat.assign_coords({d: coordinate(cut, d)[0] for d in flat.dims})
        return str(flat.to_dataframe().to_csv())

    def picture(self) -> bytes:
        """The chosen pixel as a figure for a paper, PNG."""
        from matplotlib.figure import Figure

        view, file = self.pixel(), io.BytesIO()
        figure = Figure(figsize=(9, 5), layout="constrained")
        draw_pixel(view, components=True, residual=True, table=True, figure=figure).savefig(file, dpi=200, format="png")
        return file.getvalue()

    def page(self) -> bytes:
        """What is seen as a page that needs neither network nor Python, HTML."""
        # With bokeh alone: pages of Panel load its styles from the network.
        names = dict.fromkeys([self.place.quantity, "red_chisq", "status"])
        maps = [self._element(name) * self._cross(self.place.pixel) for name in names]
        view = self.pixel()
        shown = column(
            Div(text=self._heading().object),
            row(*map(hv.render, maps), Div(text=_legend(self.quantity("status").values.values))),
            row(column(hv.render(curves_of(view)), hv.render(residual_of(view))), Div(text=self._parameters().object)),
        )
        return str(file_html(shown, INLINE, title="xfit")).encode()

    # --- the page ---

    def _heading(self) -> pn.pane.HTML:
        ds = self._result.dataset
        status = ds["status"].values
        shares = ", ".join(
            f"{(status == code).mean():.1%} {DESCRIPTIONS[int(code)].partition(':')[0]}" for code in np.unique(status)
        )
        sizes = " × ".join(f"{d} {ds.sizes[d]}" for d in self._dims)
        title, words = html.escape(str(ds.attrs.get("title", "fit"))), html.escape(f"{sizes}: {shares}")
        return pn.pane.HTML(f"<h2 style='margin:0'>{title}</h2><p style='margin:0'>{words}</p>")

    def _map(self, name: str, width: int) -> pn.pane.HoloViews:
        """A map that follows the slice and the version, with the chosen pixel and marked pixels on it; the chosen one without a name."""
        follow = ["version", "slice", *([] if name else ["quantity"])]
        moving = hv.DynamicMap(lambda quantity=name, **_: self._element(quantity), streams=[Params(self.place, follow)])
        if self._large:
            moving = rasterized(moving, lambda: self.quantity(name or self.place.quantity))
        Tap(source=moving).add_subscriber(self.click)
        marked = hv.DynamicMap(lambda chosen, quantity, **_: self._marked(chosen, quantity), streams=[Params(self.place, ["chosen", "quantity", "version"])])  # fmt: skip
        cross = hv.DynamicMap(lambda mark: self._cross(mark), streams=[Params(self.place, ["mark"])])
        shown = moving * marked * cross if len(self._dims) > 1 else moving * cross
        look = {"frame_width": width} if not name else {"frame_width": width, "toolbar": None}
        return pn.pane.HoloViews(
            shown.opts(*(kind(**look) for kind in (hv.opts.Image, hv.opts.QuadMesh, hv.opts.Curve)))
        )

    def _element(self, name: str) -> Any:
        return element_of(self.quantity(name)).opts(framewise=True)

    def _cross(self, pixel: tuple[int, ...]) -> Any:
        places = [coordinate(self._result.dataset, d)[0][n] for d, n in zip(self._dims, pixel, strict=True)]
        if len(places) == 1:
            return hv.VLine(float(places[0])).opts(color="#D55E00", line_width=2)
        return hv.Points([(places[-1], places[-2])]).opts(marker="square", size=11, fill_alpha=0.0, line_color="#D55E00", line_width=2.5)  # fmt: skip

    def _marked(self, chosen: tuple[float, float] | None, quantity: str) -> Any:
        """Points on the pixels in the range that was brushed; none without one."""
        values = self.quantity(quantity).values
        points = np.empty((0, 2))
        if chosen is not None:
            inside = np.argwhere((values.values >= chosen[0]) & (values.values <= chosen[1]))
            (y, _), (x, _) = (coordinate(values, d) for d in values.dims)
            points = np.column_stack([x[inside[:, 1]], y[inside[:, 0]]])
        return hv.Points(points).opts(color="#D55E00", size=3, alpha=0.8)

    def _histogram(self) -> Any:
        def draw(quantity: str, **_: Any) -> Any:
            shown = self.quantity(quantity)
            values, scale = shown.values, shown.scale
            finite = values.values[np.isfinite(values.values)].astype(float)
            inside = finite[(finite >= scale.low) & (finite <= scale.high)]
            counts, edges = np.histogram(inside, bins=60, range=(scale.low, scale.high))
            units = str(values.attrs.get("units", ""))
            axis = hv.Dimension("brushed", label=f"{quantity} ({units})" if units else quantity)
            return hv.Histogram((edges, counts), kdims=[axis], vdims=[hv.Dimension("pixels")]).opts(
                tools=["xbox_select"], active_tools=["xbox_select"], color=COMPONENTS[4], line_alpha=0, width=_WIDTH + 120, height=200, framewise=True, backend_opts=CANVAS
            )  # fmt: skip

        moving = hv.DynamicMap(draw, streams=[Params(self.place, ["quantity", "version", "slice"])])
        brush = BoundsX(source=moving, boundsx=None)
        brush.add_subscriber(lambda boundsx: setattr(self.place, "chosen", None if boundsx is None else tuple(boundsx)))
        return moving

    def _curves(self) -> Any:
        stream = Params(self.place, ["pixel", "version"])
        seen: dict[str, Any] = {}

        def view(pixel: tuple[int, ...], version: int) -> PixelView:
            if seen.get("key") != (pixel, version):
                seen.update(key=(pixel, version), view=self.pixel())
            return seen["view"]

        above = hv.DynamicMap(lambda **at: curves_of(view(**at)), streams=[stream])
        below = hv.DynamicMap(lambda **at: residual_of(view(**at)), streams=[stream])
        return pn.Column(pn.pane.HoloViews(above), pn.pane.HoloViews(below))

    def _parameters(self) -> pn.pane.HTML:
        """Values and errors of the chosen pixel."""
        place = dict(zip(self._dims, self.place.pixel, strict=True))
        words = {str(d): f"{coordinate(self._result.dataset, d)[0][n]:.6g}" for d, n in place.items()}
        return pn.pane.HTML(
            report.pixel_table(self._pixels.at(place), self._result.model, words)._repr_html_(), width=420
        )

    def _controls(self) -> list[Any]:
        """Chooser of the map, and of the slice along each further dimension."""
        names = self.quantities
        chooser = pn.widgets.Select(name="Map", options=names, value=self.place.quantity, width=200)
        chooser.link(self.place, callbacks={"value": lambda place, event: place.param.update(quantity=event.new, chosen=None)})  # fmt: skip
        controls: list[Any] = [chooser]
        for k, d in enumerate(self._dims[:-2]):
            places, words = coordinate(self._result.dataset, d)
            options = {f"{value:.6g}": n for n, value in enumerate(places)}
            slider = pn.widgets.DiscreteSlider(name=words, options=options, value=self.place.pixel[k], width=200)

            def cut(event: Any, k: int = k) -> None:
                self.place.pixel = (*self.place.pixel[:k], event.new, *self.place.pixel[k + 1 :])

            slider.param.watch(cut, "value")
            controls.append(slider)
        return controls

    def _worst_list(self) -> Any:
        box = pn.widgets.MultiSelect(name="Pixels that need a look", options=self.worst(), size=8, width=400)

        def go(event: Any) -> None:
            if event.new:
                self.place.pixel = event.new[-1]

        box.param.watch(go, "value")
        self.place.param.watch(lambda event: setattr(box, "options", self.worst()), ["version", "slice"])
        return box

    def _downloads(self) -> list[Any]:
        def file(name: str, words: str, make: Callable[[], bytes]) -> Any:
            return pn.widgets.FileDownload(callback=lambda: io.BytesIO(make()), filename=name, label=words, width=130)

        return [
            file("pixel.png", "Figure (PNG)", self.picture),
            file("parameters.csv", "Table (CSV)", lambda: self.table().encode()),
            file("fit.html", "Page (HTML)", self.page),
        ]

    def view(self) -> pn.viewable.Viewable:
        """The page, as an object of Panel that goes into any other."""
        table = pn.bind(lambda pixel, version: self._parameters(), self.place.param.pixel, self.place.param.version)
        heading = pn.bind(lambda version: self._heading(), self.place.param.version)
        count = pn.bind(self._count, self.place.param.chosen, self.place.param.quantity)
        legend = pn.bind(lambda cut, version: pn.pane.HTML(_legend(self.quantity("status").values.values)), self.place.param.slice, self.place.param.version)  # fmt: skip
        small = pn.Row(*(self._map(name, _WIDTH // 2 - 50) for name in ("red_chisq", "status")), legend)
        left = pn.Column(
            pn.Row(*self._controls()),
            self._map("", _WIDTH),
            ArrowKeys(self.step),
            small,
            pn.pane.HoloViews(self._histogram()),
            count,
        )
        right = pn.Column(self._curves(), pn.Row(table, pn.Column(*self._downloads())), self._worst_list())
        if self._refresh is not None and pn.state.curdoc is not None:
            pn.state.add_periodic_callback(self._look_again, period=int(1000 * _PAUSE))
        return pn.Column(heading, pn.Row(left, right))

    def _count(self, chosen: tuple[float, float] | None, quantity: str) -> pn.pane.HTML:
        if chosen is None:
            return pn.pane.HTML("<small>Drag over the histogram to mark pixels on the map.</small>")
        values = self.quantity(quantity).values.values
        number = int(((values >= chosen[0]) & (values <= chosen[1])).sum())
        return pn.pane.HTML(f"<small>{number:,} pixels between {chosen[0]:.5g} and {chosen[1]:.5g} are marked.</small>")

    def _look_again(self) -> None:
        """Show what has become of a result that is being made."""
        newer = self._refresh() if self._refresh is not None else None
        if newer is not None:
            self._take(newer)
            self.place.version += 1

    def servable(self, **options: Any) -> Any:
        """Serve the page with ``panel serve``; see Panel's ``servable``."""
        return self.view().servable(**options)

    def show(self, **options: Any) -> Any:
        """Open the page in a browser; see Panel's ``show``. Ends when it is interrupted, unless ``threaded=True``.

        Every visitor has a page of their own on the same result; that of the first follows, and is followed by, ``place`` of this object.
        """
        return pn.serve(self._page, **{"title": "xfit", "show": True, "address": "localhost", **options})

    def _page(self) -> pn.viewable.Viewable:
        """A page for one visitor."""
        board = Dashboard(self._result, self._da, **self._given) if self._visited else self
        self._visited = True
        return board.view()

    def save(self, path: str | Path) -> None:
        """Write what is seen as a page that needs neither network nor Python."""
        Path(path).write_bytes(self.page())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.view()._repr_mimebundle_(include, exclude)


def _legend(status: np.ndarray) -> str:
    """Colours, names and shares of the statuses that occur, HTML."""
    codes, counts = np.unique(status, return_counts=True)
    rows = (
        f"<div><span aria-hidden='true' style='display:inline-block;width:0.9em;height:0.9em;border:1px solid #888;background:{STATUSES[int(code)]}'></span> "
        f"{MEANINGS[int(code)].replace('_', ' ')} {count / status.size:.1%}</div>"
        for code, count in zip(codes, counts, strict=True)
    )
    return f"<div style='font-size:0.85em'>{''.join(rows)}</div>"
