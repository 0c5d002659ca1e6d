"""Figures of one pixel on a page, curves or images: made once, so that only numbers travel
when another pixel is chosen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from bokeh.layouts import column, row
from bokeh.models import BasicTicker, ColumnDataSource, HoverTool, LinearColorMapper, Range1d
from bokeh.models.annotations import ColorBar, Legend, LegendItem, Title
from bokeh.plotting import figure

from xfit.plot.pixel import PixelView
from xfit.plot.style import (
    BAND,
    COMPONENTS,
    DATA,
    MISSING,
    MODEL,
    Scale,
    colours_of,
    coordinate,
    differ,
    drawable,
    drawn,
    label,
    same_units,
    scale_of,
    symmetric_scale,
)

#: Fewer points than this are drawn as points.
_FEW = 400

#: Least and greatest width of curves, which are as wide as there is room, and that of an image, in pixels of the
#: screen.
LEAST, MOST, _IMAGE = 400, 640, 160

#: What all figures here have in common: drawn on canvas, which is as fast as WebGL for what is shown and much faster
#: without a graphics card.
_LOOK: dict[str, Any] = {"output_backend": "canvas", "toolbar_location": "right"}


class Curves:
    """Data, fit and components of a pixel, and its residual with the width of the noise below them.

    Parameters
    ----------
    view : PixelView
        The pixel that is shown first.

    Attributes
    ----------
    figures : bokeh layout
        What is shown.
    source : ColumnDataSource
        Its numbers, which `show` replaces.
    """

    least = LEAST

    def __init__(self, view: PixelView) -> None:
        x, x_label = coordinate(view.data, view.data.dims[0])
        self._x = x.astype(float)
        self._names = [str(name) for name in view.components] if len(view.components) > 1 else []
        self.source = ColumnDataSource(self._numbers(view))
        few = self._x.size <= _FEW
        look = {
            "sizing_mode": "stretch_width",
            "min_border_left": 75,
            "x_range": range_of(*_span([self._x], 0.0)),
            **_LOOK,
        }
        above = figure(
            height=330,
            y_axis_label=label(view.data, "data"),
            tools="pan,box_zoom,wheel_zoom,reset,save",
            y_range=range_of(0, 1),
            **look,
        )
        look["x_range"] = above.x_range
        below = figure(
            height=205,
            x_axis_label=x_label,
            y_axis_label=label(view.residual),
            tools="pan,box_zoom,wheel_zoom,reset",
            y_range=range_of(0, 1),
            **look,
        )
        above.xaxis.major_label_text_font_size = "0pt"
        shown = {"data": _points(above, self.source, "data", few)}
        for k, name in enumerate(self._names):
            shown[name] = above.line(
                "x",
                f"component {k}",
                source=self.source,
                color=COMPONENTS[k % len(COMPONENTS)],
                line_dash=_DASHES[k // len(COMPONENTS) % 3],
                line_width=1.5,
            )
        shown["fit"] = above.line("x", "fit", source=self.source, color=MODEL, line_width=1.5)
        above.add_layout(legend_of(shown), "above")
        above.add_tools(
            HoverTool(
                renderers=[shown["data"]],
                mode="vline",
                tooltips=[(x_label, "@x"), ("data", "@data"), ("fit", "@fit"), ("residual", "@residual")],
            )
        )
        below.varea("x", "below", "over", source=self.source, fill_color=BAND, fill_alpha=0.6)
        below.line([self._x.min(), self._x.max()], [0, 0], color=MODEL)
        _points(below, self.source, "residual", few)
        words = f"data minus fit; grey: ±1σ of {view.noise}"
        below.title = Title(text=words, text_font_size="9pt", text_font_style="normal")
        below.yaxis.update(ticker=BasicTicker(desired_num_ticks=4))
        for plot in (above, below):
            plot.toolbar.logo = None
        self._above, self._below = above, below
        self._frame(view)
        self.figures = column(above, below, sizing_mode="stretch_width", min_width=LEAST, max_width=MOST)

    def show(self, view: PixelView) -> None:
        """Show another pixel."""
        self.source.data = self._numbers(view)
        self._frame(view)

    def _numbers(self, view: PixelView) -> dict[str, np.ndarray]:
        sigma = np.nan_to_num(view.sigma.values)
        numbers = {
            "x": self._x,
            "data": view.data.values,
            "fit": view.model.values,
            "residual": view.residual.values,
            "below": -sigma,
            "over": sigma,
        }
        numbers |= {f"component {k}": _unless_zero(view.components[name].values) for k, name in enumerate(self._names)}
        return {name: np.asarray(each, float) for name, each in numbers.items()}

    def _frame(self, view: PixelView) -> None:
        """Ranges of what is shown."""
        numbers: Any = self.source.data
        _set(self._above.y_range, *_span([numbers["data"], numbers["fit"]], 0.05))
        _set(self._below.y_range, *_span([numbers["residual"], numbers["below"], numbers["over"]], 0.08))


_DASHES = ("solid", "dashed", "dotted")


class Images:
    """Data, fit and residual of a pixel whose signal is an image; the first two in the same colours.

    Parameters
    ----------
    view : PixelView
        The pixel that is shown first.
    """

    least = 3 * _IMAGE + 110

    def __init__(self, view: PixelView) -> None:
        up, across = view.data.dims
        self._corner, words = corner_of(view.data)
        same = LinearColorMapper(palette=colours_of(Scale(0, 1, False)), nan_color=MISSING)
        middle = LinearColorMapper(palette=colours_of(Scale(0, 1, True)), nan_color=MISSING)
        self._mappers = same, middle
        self.source = ColumnDataSource(self._numbers(view))
        shown: list[Any] = []
        x0, y0, width, height = self._corner
        ratio = float(np.clip(height / width, 0.3, 2.5)) if same_units(view.data, (up, across)) else 1.0
        panels = (
            (label(view.data, "data"), "data", same),
            ("fit", "fit", same),
            (label(view.residual), "residual", middle),
        )
        for title, name, mapper in panels:
            # One axis for all: what is zoomed in one is zoomed in the others.
            ranges = (
                {"x_range": shown[0].x_range, "y_range": shown[0].y_range}
                if shown
                else {"x_range": range_of(x0, x0 + width), "y_range": range_of(y0, y0 + height)}
            )
            plot = figure(
                frame_width=_IMAGE,
                frame_height=round(_IMAGE * ratio),
                title=title,
                x_axis_label=words[1],
                y_axis_label=words[0] if not shown else None,
                tools="pan,box_zoom,wheel_zoom,reset,save",
                **ranges,
                **_LOOK | {"toolbar_location": None if shown else "left"},
            )
            plot.grid.visible = False
            plot.toolbar.logo = None
            plot.yaxis.major_label_text_font_size = "0pt" if shown else "11px"
            for axis in plot.axis:
                axis.update(ticker=BasicTicker(desired_num_ticks=4, num_minor_ticks=0))
            plot.image(name, "x", "y", "width", "height", source=self.source, color_mapper=mapper)
            plot.add_tools(HoverTool(tooltips=[(words[1], "$x"), (words[0], "$y"), (name, f"@{name}")]))
            plot.add_layout(
                ColorBar(color_mapper=mapper, height=8, margin=0, padding=4, ticker=BasicTicker(desired_num_ticks=3)),
                "below",
            )
            shown.append(plot)
        self._frame(view)
        self.figures = row(*shown)

    def show(self, view: PixelView) -> None:
        """Show another pixel."""
        self.source.data = self._numbers(view)
        self._frame(view)

    def _numbers(self, view: PixelView) -> dict[str, Any]:
        x, y, width, height = self._corner
        numbers = {"x": [x], "y": [y], "width": [width], "height": [height]}
        images = {"data": view.data, "fit": view.model, "residual": view.residual}
        return numbers | {name: [np.asarray(image.values, float)] for name, image in images.items()}

    def _frame(self, view: PixelView) -> None:
        """Colours of what is shown."""
        same, middle = self._mappers
        scale = scale_of(view.data.values)
        same.update(low=scale.low, high=scale.high)
        about = symmetric_scale(view.residual.values)
        middle.update(low=about.low, high=about.high)


def figures_of(view: PixelView) -> Curves | Images:
    """Figures of a pixel whose signal is a spectrum or an image."""
    return Curves(view) if view.data.ndim == 1 else Images(view)


def _points(plot: Any, source: ColumnDataSource, name: str, few: bool) -> Any:
    """Data as points, of long spectra as a line."""
    if few:
        return plot.scatter("x", name, source=source, color=DATA, size=3.5)
    return plot.line("x", name, source=source, color=DATA, line_width=0.8)


def _unless_zero(curve: np.ndarray) -> np.ndarray:
    """A component's curve; one that does not take part is not drawn."""
    return curve if np.nan_to_num(curve).any() else np.full(curve.shape, np.nan)


def legend_of(shown: dict[str, Any]) -> Legend:
    """Names of the curves above them, where they hide nothing; a click on a name hides its curve."""
    widest = max(map(len, shown))
    columns = max(1, min(len(shown), (LEAST - 60) // (45 + 7 * widest)))
    items = [LegendItem(label=drawn(name), renderers=[each]) for name, each in shown.items()]
    return Legend(
        items=items,
        orientation="horizontal",
        location="left",
        ncols=columns,
        spacing=14,
        click_policy="hide",
        border_line_color=None,
        margin=2,
        label_text_font_size="9pt",
    )


def _span(parts: list[np.ndarray], margin: float) -> tuple[float, float]:
    """Smallest and largest finite number, and something beside them."""
    known = drawable(np.concatenate([part[np.isfinite(part)] for part in parts]))
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    if not differ(low, high):
        wide = max(abs(low), abs(high))
        high = low + (wide if differ(0.0, wide) else 1.0)
    return low - margin * (high - low), high + margin * (high - low)


def range_of(low: float, high: float) -> Range1d:
    """A range that a page's reset button comes back to."""
    return Range1d(start=low, end=high, reset_start=low, reset_end=high)


def _set(span: Any, low: float, high: float) -> None:
    span.update(start=low, end=high, reset_start=low, reset_end=high)


def corner_of(image: xr.DataArray) -> tuple[tuple[float, float, float, float], tuple[str, str]]:
    """Where an image begins and how far it reaches, and the labels of its axes; in numbers where steps are uneven."""
    sides, words = [], []
    for d in image.dims:
        places, text = coordinate(image, d)
        places = places.astype(float)
        steps = np.diff(places)
        if places.size > 1 and not np.allclose(steps, steps[0], rtol=1e-3):
            places, text, steps = (
                np.arange(places.size, dtype=float),
                drawn(f"number along {d}"),
                np.ones(places.size - 1),
            )
        step = float(steps[0]) if steps.size else 1.0
        sides.append((float(places[0]) - step / 2, step * places.size))
        words.append(text)
    (y, height), (x, width) = sides
    return (x, y, width, height), (words[0], words[1])
