"""Maps on a page, the histogram of the one that is chosen, and what both show of each other: the
pixel, and those that were brushed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.events import Tap
from bokeh.models import BasicTicker, ColumnDataSource
from holoviews.streams import BoundsX, Params

from xfit.engine.pixel.status import MEANINGS
from xfit.plot.maps import Quantity
from xfit.plot.style import COMPONENTS, STATUSES, bins_of, coordinate, titled
from xfit.plot.view_state import Looking, marked_of, shares_of
from xfit.plot.views import CANVAS, LARGE, element_of, frame_of, rasterized

#: Colour of what is chosen.
_CHOSEN = "#D55E00"

#: Marked pixels that are drawn at most: more than a screen can tell apart.
_DRAWN = 5000


class MarkedMaps:
    """Maps that share the marks on them: one source of numbers for all, so that a click sends them once.

    Parameters
    ----------
    looking : Looking
        What is looked at.
    """

    def __init__(self, looking: Looking) -> None:
        self._looking, self._flat = looking, len(looking.dims) > 1
        ds = looking.result.dataset
        self._large = self._flat and max(ds.sizes[d] for d in looking.dims[-2:]) > LARGE
        self._cross = ColumnDataSource(self._place())
        self._marked = ColumnDataSource({"x": [], "y": []})
        self._known: set[str] = set()

    def move(self) -> None:
        """Mark the pixel that is chosen now."""
        self._cross.data = self._place()

    def mark(self) -> str:
        """Mark the pixels in the range that is brushed now, and say how many they are."""
        quantity, chosen = self._looking.quantity(self._looking.place.quantity), self._looking.place.chosen
        marked = marked_of(quantity, chosen)
        if chosen is None:
            self._marked.data = {"x": [], "y": []}
            return "Drag over the histogram to mark pixels on the map."
        inside = np.argwhere(marked)
        drawn = inside[np.unique(np.linspace(0, len(inside) - 1, min(len(inside), _DRAWN)).astype(int))]
        values = quantity.values
        places = [coordinate(values, d)[0].astype(float) for d in values.dims]
        numbers = {"x": places[-1][drawn[:, -1]]}
        numbers["y"] = places[0][drawn[:, 0]] if self._flat else values.values[drawn[:, 0]]
        self._marked.data = numbers
        words = f"{len(inside):,} pixels between {chosen[0]:.5g} and {chosen[1]:.5g} are marked."
        return words if len(drawn) == len(inside) else f"{words} {len(drawn):,} of them are drawn."

    def _place(self) -> dict[str, list[float]]:
        places = [float(value) for value in self._looking.words.values()]
        return {"x": [places[-1]], "y": [places[-2] if self._flat else 0.0]}

    def follow(self, name: str, width: int) -> pn.pane.HoloViews:
        """A map that follows the slice and the version; without a name, that of the chosen
        quantity, with marked pixels on it.
        """
        place = self._looking.place
        stream = Params(place, ["version", "slice", *([] if name else ["quantity"])])
        moving = hv.DynamicMap(lambda quantity=name, **_: self._element(quantity), streams=[stream])
        if self._large:
            moving = rasterized(moving, lambda: self._looking.quantity(name or place.quantity))
        return pn.pane.HoloViews(self._drawn(moving, width, chosen=not name), linked_axes=True)

    def still(self, name: str, width: int) -> Any:
        """A map as a figure of bokeh."""
        element = self._element(name)
        shown = rasterized(element, lambda: self._looking.quantity(name)) if self._large else element
        figure = hv.render(self._drawn(shown, width, chosen=True, heard=False))
        figure.sizing_mode = None
        return figure

    def _element(self, name: str) -> Any:
        quantity: Quantity = self._looking.quantity(name)
        if not self._flat and quantity.errors is None:
            # Of the same kind, whether there are errors or not: a picture that follows can't change its kind.
            quantity = quantity._replace(errors=quantity.values.astype(float) * 0.0)
        return element_of(quantity).opts(framewise=True)

    def _drawn(self, shown: Any, width: int, *, chosen: bool, heard: bool = True) -> Any:
        look: dict[str, Any] = {"hooks": [self._hook(chosen, heard)]}
        if not chosen:
            look["toolbar"] = None
        if not self._flat:
            return shown.opts(hv.opts.Curve(frame_width=width, frame_height=width // 2, **look))
        look |= frame_of(self._looking.quantity("status").values, width)
        return shown.opts(hv.opts.Image(**look), hv.opts.QuadMesh(**look))

    def _hook(self, chosen: bool, heard: bool) -> Callable[[Any, Any], None]:
        """What adds the marks to a map's figure, and hears clicks on it."""

        def add(plot: Any, _: Any) -> None:
            figure = plot.state
            if figure.id in self._known:
                return
            self._known.add(figure.id)
            figure.toolbar.logo = None
            if chosen:
                # Black with a white rim is seen on every colour.
                figure.scatter(
                    "x", "y", source=self._marked, fill_color="black", line_color="white", line_width=0.7, size=5
                )
            else:
                for axis in figure.axis:
                    axis.update(ticker=BasicTicker(desired_num_ticks=3, num_minor_ticks=0))
            if self._flat:
                for colour, width in (("white", 5.0), (_CHOSEN, 2.5)):
                    figure.scatter(
                        "x",
                        "y",
                        source=self._cross,
                        marker="square",
                        size=11,
                        fill_alpha=0.0,
                        line_color=colour,
                        line_width=width,
                    )
            else:
                figure.vspan("x", source=self._cross, line_color=_CHOSEN, line_width=2)
            if heard:
                figure.on_event(Tap, lambda event: self._looking.click(event.x, event.y))

        return add


def histogram(looking: Looking, width: int) -> pn.pane.HoloViews:
    """Histogram of the chosen quantity; what is brushed on it becomes the chosen range."""
    place = looking.place

    def draw(quantity: str, **_: Any) -> Any:
        shown = looking.quantity(quantity)
        values, scale = shown.values, shown.scale
        finite = values.values[np.isfinite(values.values)].astype(float)
        inside = finite[(finite >= scale.low) & (finite <= scale.high)]
        bins = bins_of(scale, int(np.clip(2 * np.sqrt(inside.size), 8, 60)))
        counts, edges = np.histogram(inside, bins=bins, range=(scale.low, scale.high))
        units = str(values.attrs.get("units", ""))
        axis = hv.Dimension("brushed", label=titled(quantity, units))
        look = {"color": COMPONENTS[4], "line_alpha": 0, "width": width, "height": 200, "framewise": True}
        brushes = {
            "tools": ["xbox_select"],
            "active_tools": ["xbox_select"],
            "backend_opts": CANVAS | {"plot.toolbar.logo": None},
        }
        return hv.Histogram((edges, counts), kdims=[axis], vdims=[hv.Dimension("pixels")]).opts(**look, **brushes)

    moving = hv.DynamicMap(draw, streams=[Params(place, ["quantity", "version", "slice"])])
    brush = BoundsX(source=moving, boundsx=None)
    brush.add_subscriber(lambda boundsx: setattr(place, "chosen", None if boundsx is None else tuple(boundsx)))
    return pn.pane.HoloViews(moving)


def legend(status: np.ndarray) -> str:
    """Colours, names and shares of the statuses that occur, HTML."""
    rows = (
        "<span style='white-space:nowrap'><span aria-hidden='true' "
        "style='display:inline-block;width:0.9em;height:0.9em;border:1px solid "
        f"#888;background:{STATUSES[code]}'></span> {MEANINGS[code].replace('_', ' ')} {share:.1%}</span>"
        for code, share in shares_of(status)
    )
    return f"<div style='font-size:0.85em;display:flex;flex-wrap:wrap;gap:2px 12px'>{''.join(rows)}</div>"
