"""The dashboard: maps, what was fitted in the pixel that is clicked, its parameters,
distributions, the worst pixels, export.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import panel as pn
import xarray as xr

from xfit.display import escaped, local_path
from xfit.plot.arrow_keys import ArrowKeys
from xfit.plot.export import heading_of, page_of, parameters_of, picture_of, table_of
from xfit.plot.map_page import MarkedMaps, histogram, legend
from xfit.plot.pixel_page import MOST, figures_of
from xfit.plot.serving import serve
from xfit.plot.style import coordinate, drawn
from xfit.plot.view_state import Looking
from xfit.plot.widgets import Words, beside, load, named, named_in_html, on_page, whole
from xfit.results.fit_result import FitResult

#: Widths of the map, and of all that stands left of the pixel, in pixels of the screen.
_WIDTH, _LEFT = 400, 590

#: Seconds between looks at a store that is being filled.
_PAUSE = 2.0


class Dashboard(Looking):
    """A page to look at a result with its data: ``result.fit.dashboard(da)``.

    Parameters
    ----------
    result : FitResult
        In memory or lazy: what is shown is computed when it is shown, and a click reads one chunk.
    da : DataArray
        The data that were fitted: spectra or images.
    variance, response : optional
        As for `xarray.Dataset.fit.plot`.
    refresh : callable, optional
        Called every few seconds while the page is open; returns the result as it is now, or None where nothing has
        changed.

    Raises
    ------
    TypeError, ValueError
        For data that were not fitted, and for results of a single spectrum or image.
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
        super().__init__(result, da, variance=variance, response=response)
        load()
        self._given: dict[str, Any] = {"variance": variance, "response": response, "refresh": refresh}
        self._da, self._refresh, self._visited = da, refresh, False

    # --- files ---

    def table(self) -> str:
        """Parameters of all pixels in the slice as CSV: places, values, errors, statuses."""
        return table_of(self)

    def picture(self) -> bytes:
        """The chosen pixel as a figure for a paper, PNG."""
        return picture_of(self)

    def page(self) -> bytes:
        """What is seen as a page that needs neither network nor Python, HTML."""
        return page_of(self)

    def save(self, path: str | Path) -> None:
        """Write what is seen as a page that needs neither network nor Python."""
        local_path(path).write_bytes(self.page())

    # --- the page ---

    def view(self) -> pn.viewable.Viewable:
        """The page, as an object of Panel that goes into any other."""
        maps, place = MarkedMaps(self), self.place
        status = Words(legend(self.quantity("status").values.values))
        heading, count = Words(heading_of(self)), Words(f"<small>{maps.mark()}</small>")
        chosen = maps.follow("", _WIDTH)
        small = [maps.follow(name, _WIDTH // 2 - 50) for name in ("red_chisq", "status")]
        pixel = self._pixel(maps, [chosen, *small])

        @on_page(chosen, count.pane)
        def brushed() -> None:
            count.say(f"<small>{maps.mark()}</small>")

        @on_page(status.pane, heading.pane)
        def changed() -> None:
            status.say(legend(self.quantity("status").values.values))
            heading.say(heading_of(self))

        place.param.watch(brushed, ["chosen", "quantity", "version", "slice"])
        place.param.watch(changed, ["version", "slice"])
        left = pn.Column(
            beside(*self._controls()),
            chosen,
            ArrowKeys(self.step),
            pn.Row(*small),
            status.pane,
            histogram(self, _LEFT - 40),
            count.pane,
            width=_LEFT,
        )
        if self._refresh is not None and (pn.state.curdoc is not None or _loop_runs()):
            pn.state.add_periodic_callback(self._look_again, period=int(1000 * _PAUSE))
        return whole(heading.pane, beside(left, pixel))

    def _pixel(self, maps: MarkedMaps, marked: list[Any]) -> pn.Column:
        """The chosen pixel: its figures, which are sent first, then its parameters and the mark on the maps."""
        view = self.pixel()
        figures = figures_of(view)
        title, table = Words(_title(view.title)), Words(parameters_of(self))
        pane = pn.pane.Bokeh(figures.figures, sizing_mode=figures.figures.sizing_mode)

        @on_page(pane, title.pane)
        def first() -> None:
            view = self.pixel()
            figures.show(view)
            title.say(_title(view.title))

        @on_page(*marked, table.pane)
        def then() -> None:
            maps.move()
            table.say(parameters_of(self))

        self.place.param.watch(first, ["pixel", "version"])
        self.place.param.watch(then, ["settled", "version"])
        below = table.pane, pn.Row(*self._downloads()), self._worst_list()
        return pn.Column(
            title.pane,
            pane,
            *below,
            sizing_mode="stretch_width",
            max_width=MOST,
            styles={"min-width": f"{figures.least}px"},
        )

    def _controls(self) -> list[Any]:
        """Chooser of the map, and of the slice along each further dimension."""
        names = self.quantities
        # By number: what is chosen is sent as it is.
        options = {drawn(name): k for k, name in enumerate(names)}
        chooser = pn.widgets.Select(**named("Map"), options=options, value=names.index(self.place.quantity), width=200)
        chooser.link(
            self.place,
            callbacks={"value": lambda place, event: place.param.update(quantity=names[event.new], chosen=None)},
        )
        controls: list[Any] = [chooser]
        for k, d in enumerate(self.dims[:-2]):
            places, words = coordinate(self.result.dataset, d)
            options = {f"{value:.6g}": n for n, value in enumerate(places)}
            slider = pn.widgets.DiscreteSlider(
                **named_in_html(words), options=options, value=self.place.pixel[k], width=200
            )

            def cut(event: Any, k: int = k) -> None:
                self.place.pixel = (*self.place.pixel[:k], event.new, *self.place.pixel[k + 1 :])

            slider.param.watch(cut, "value")
            controls.append(slider)
        return controls

    def _worst_list(self) -> Any:
        box = pn.widgets.MultiSelect(
            **named("Pixels that need a look"), options=self.worst(), size=8, sizing_mode="stretch_width"
        )

        def go(event: Any) -> None:
            if event.new:
                self.place.pixel = event.new[-1]

        box.param.watch(go, "value")
        self.place.param.watch(lambda event: setattr(box, "options", self.worst()), ["version", "slice"])
        return box

    def _downloads(self) -> list[Any]:
        def file(name: str, words: str, make: Callable[[], bytes]) -> Any:
            return pn.widgets.FileDownload(callback=lambda: io.BytesIO(make()), filename=name, label=words, width=115)

        return [
            file("pixel.png", "Figure (PNG)", self.picture),
            file("parameters.csv", "Table (CSV)", lambda: self.table().encode()),
            file("fit.html", "Page (HTML)", self.page),
        ]

    def _look_again(self) -> None:
        """Show what has become of a result that is being made."""
        newer = self._refresh() if self._refresh is not None else None
        if newer is not None:
            self.take(newer)
            self.place.version += 1

    def servable(self, **options: Any) -> Any:
        """Serve the page with ``panel serve``; see Panel's ``servable``."""
        return self.view().servable(**options)

    def show(self, **options: Any) -> Any:
        """Open the page in a browser; see ``xfit.plot.serving.serve`` for the options. Ends when it is interrupted,
        unless ``threaded=True``.

        Only this machine can connect, and only by the address that is printed, which has a token. Every visitor has a
        page of their own on the same result; that of the first follows, and is followed by, ``place`` of this object.
        """
        return serve(self._page, **options)

    def _page(self) -> pn.viewable.Viewable:
        """A page for one visitor."""
        board = Dashboard(self.result, self._da, **self._given) if self._visited else self
        self._visited = True
        return board.view()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.view()._repr_mimebundle_(include, exclude)


def _title(words: str) -> str:
    return f"<b>{escaped(words)}</b>"


def _loop_runs() -> bool:
    """Whether something can be called again and again, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
