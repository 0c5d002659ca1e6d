"""The page of `xfit.plot.explore`: the plot on which peaks are dragged, a row for each parameter, the
map on which a pixel is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import panel as pn
import xarray as xr
from bokeh.events import Tap
from bokeh.models import ColumnDataSource, LinearColorMapper, PointDrawTool, PrintfTickFormatter
from bokeh.plotting import figure

from xfit.display import escaped
from xfit.modeling.parameter import Parameter
from xfit.plot.pixel_page import LEAST, MOST, corner_of, legend_of, range_of
from xfit.plot.style import (
    COMPONENTS,
    DATA,
    MISSING,
    MODEL,
    colours_of,
    coordinate,
    drawable,
    label,
    same_units,
    scale_of,
)
from xfit.plot.view_state import nearest
from xfit.plot.widgets import Words, beside, coloured, named, named_in_html, on_page, whole

if TYPE_CHECKING:
    from xfit.plot.explore import Explorer

#: Parameters that say where a component is, and how wide, by which it is dragged.
PLACES = ("centre", "center", "onset", "origin", "x0")
WIDTHS = ("sigma", "fwhm", "gamma", "width", "sigma1")

#: Colour of what can be dragged, and of the chosen pixel.
_CHOSEN = "#D55E00"

#: Height of the plot, and width of what stands beside it, in pixels of the screen.
_HEIGHT, _BESIDE = 420, 590


class Page(NamedTuple):
    """A page, and what makes it follow the model and the spectrum."""

    view: pn.viewable.Viewable
    follow: Callable[..., None]


def explore_page(explorer: Explorer) -> Page:
    """Make the page."""
    plot, draw = _plot(explorer)
    model = explorer.model
    rows = [_row(explorer, each) for each in model.parameters if not each.is_tied]
    ties = [
        pn.pane.HTML(f"<small>{escaped(f'{e.full_name} = {e.tie_formula}')}</small>")
        for e in model.parameters
        if e.is_tied
    ]
    words = Words(escaped(explorer.message))
    choosers, choose = _choosers(explorer)
    overview, mark, overview_pane = _overview(explorer)
    pane = pn.pane.Bokeh(plot, sizing_mode="stretch_width")

    @on_page(pane, words.pane, *overview_pane)
    def follow() -> None:
        draw()
        for _, update in rows:
            update()
        choose()
        mark()
        words.say(escaped(explorer.message))

    buttons = pn.Row(
        _button(explorer, "Fit this spectrum", explorer.fit_this, "primary"),
        *([_button(explorer, "Fit all", explorer.fit_all)] if explorer.navigation else []),
        _button(explorer, "Undo", explorer.undo),
    )
    left = pn.Column(*choosers, pane, buttons, words.pane, sizing_mode="stretch_width", max_width=MOST)
    head = pn.pane.HTML("<small>Drag circles to move components, squares to make them wider.</small>")
    right = pn.Column(
        head,
        *(row for row, _ in rows),
        *ties,
        height=min(760, 60 + 65 * len(rows) + 25 * len(ties)),
        width=_BESIDE,
        scroll=True,
    )
    return Page(whole(beside(left, right, pn.Column(*overview))), follow)


def _button(explorer: Explorer, words: str, act: Callable[[], Any], kind: str = "default") -> pn.widgets.Button:
    button = pn.widgets.Button(**named(words), **coloured(kind), width=130)
    button.on_click(lambda _: explorer.attempt(act))
    return button


# --- the pixel ---------------------------------------------------------------------------------


def _choosers(explorer: Explorer) -> tuple[list[Any], Callable[[], None]]:
    """A box for the mean, and a slider along each navigation dimension; and what makes them follow."""
    if not explorer.navigation:
        return [], lambda: None
    mean = pn.widgets.Checkbox(**named("mean spectrum"), value=explorer.place is None)
    sliders = []
    for d in explorer.navigation:
        places, words = coordinate(explorer.da, d)
        options = {f"{v:.6g}" if isinstance(v, float) else str(v): n for n, v in enumerate(places.tolist())}
        first = len(places) // 2 if explorer.place is None else explorer.place[d]
        sliders.append(pn.widgets.DiscreteSlider(**named_in_html(words), options=options, value=first, width=200))
    following = [False]

    def choose(event: Any) -> None:
        if following[0]:
            return
        numbers = dict(zip(explorer.navigation, (s.value for s in sliders), strict=True))
        explorer.look_at(numbers if event.obj is not mean or not mean.value else None)

    for each in (mean, *sliders):
        each.param.watch(choose, "value")

    def follow() -> None:
        following[0] = True
        try:
            mean.value = explorer.place is None
            for d, slider in zip(explorer.navigation, sliders, strict=True):
                if explorer.place is not None:
                    slider.value = explorer.place[d]
        finally:
            following[0] = False

    return [beside(mean, *sliders)], follow


def _overview(explorer: Explorer) -> tuple[list[Any], Callable[[], None], list[Any]]:
    """A map or profile of the signal to click on; what moves its mark; and its pane."""
    if not explorer.navigation:
        return [], lambda: None, []
    signal = explorer.overview()
    if signal is None:
        words = (
            f"There is no map to click on: its data have more than {explorer.CHEAP / 2**30:.2g} GiB and would all "
            "be read. The sliders choose the pixel."
        )
        return [pn.pane.HTML(f"<small>{words}</small>", width=_BESIDE)], lambda: None, []
    cross = ColumnDataSource({"x": [], "y": []})
    plot, show = (_signal_map if signal.ndim == 2 else _signal_line)(signal, cross)
    shown = [explorer.further()]

    def tapped(event: Any) -> None:
        places = [coordinate(signal, d)[0] for d in signal.dims]
        numbers = [nearest(p, v) for p, v in zip(reversed(places), (event.x, event.y), strict=False)]
        if None not in numbers:
            at: dict[Hashable, int] = {
                d: int(n) for d, n in zip(reversed(signal.dims), numbers, strict=True) if n is not None
            }
            explorer.look_at({**explorer.further(), **at})

    def mark() -> None:
        if shown[0] != explorer.further():
            shown[0] = explorer.further()
            now = explorer.overview()
            if now is not None:
                show(now)
        if explorer.place is None:
            cross.data = {"x": [], "y": []}
            return
        at = [float(coordinate(signal, d)[0][explorer.place[d]]) for d in signal.dims]
        cross.data = {"x": [at[-1]], "y": [at[0]]}

    plot.on_event(Tap, tapped)
    mark()
    pane = pn.pane.Bokeh(plot, **({"sizing_mode": "stretch_width"} if signal.ndim == 1 else {}))
    return [pane], mark, [pane]


def _signal_map(signal: xr.DataArray, cross: ColumnDataSource) -> tuple[Any, Callable[[xr.DataArray], None]]:
    (x0, y0, width, height), (up, across) = corner_of(signal)
    ratio = float(np.clip(height / width, 0.25, 1.0)) if same_units(signal, signal.dims) else 0.6
    plot = figure(
        frame_width=300,
        frame_height=round(300 * ratio),
        title=f"{label(signal)}: click a pixel",
        x_axis_label=across,
        y_axis_label=up,
        tools="wheel_zoom,pan,reset",
        x_range=range_of(x0, x0 + width),
        y_range=range_of(y0, y0 + height),
        output_backend="canvas",
    )
    plot.grid.visible = False
    plot.toolbar.logo = None
    mapper = LinearColorMapper(nan_color=MISSING)
    source = ColumnDataSource({"image": [signal.values]})
    plot.image("image", x0, y0, width, height, source=source, color_mapper=mapper)
    plot.scatter("x", "y", source=cross, marker="square", size=11, fill_alpha=0.0, line_color=_CHOSEN, line_width=2.5)

    def show(signal: xr.DataArray) -> None:
        scale = scale_of(signal.values)
        mapper.update(palette=colours_of(scale), low=scale.low, high=scale.high)
        source.data = {"image": [signal.values]}

    show(signal)
    return plot, show


def _signal_line(signal: xr.DataArray, cross: ColumnDataSource) -> tuple[Any, Callable[[xr.DataArray], None]]:
    x, words = coordinate(signal, signal.dims[0])
    plot = figure(
        sizing_mode="stretch_width",
        min_width=LEAST,
        max_width=MOST,
        height=200,
        title="click a pixel",
        x_axis_label=words,
        y_axis_label=label(signal),
        tools="xwheel_zoom,xpan,reset",
        min_border_left=75,
        output_backend="canvas",
    )
    source = ColumnDataSource({"x": x, "signal": signal.values})
    plot.line("x", "signal", source=source, color=COMPONENTS[0])
    plot.scatter("x", "signal", source=source, color=COMPONENTS[0], size=4)
    plot.vspan("x", source=cross, line_color=_CHOSEN, line_width=2)
    return plot, lambda signal: None


# --- parameters --------------------------------------------------------------------------------


def _row(explorer: Explorer, parameter: Parameter) -> tuple[Any, Callable[[], None]]:
    """Slider with number, bounds and box of a parameter; and what makes them follow the model."""
    name = parameter.full_name
    low, high = _range(explorer, parameter)
    units = explorer.units[name]
    slider = pn.widgets.EditableFloatSlider(
        **named_in_html(f"{name} ({units})" if units else name),
        start=low,
        end=high,
        step=(high - low) / 500,
        value=float(parameter.value),
        width=300,
        format=PrintfTickFormatter(format="%.5g"),
    )
    free = pn.widgets.Checkbox(**named("free"), value=parameter.free, width=50, align="end")
    least = pn.widgets.FloatInput(**named("min"), value=bounds_of(parameter)[0], width=75)
    most = pn.widgets.FloatInput(**named("max"), value=bounds_of(parameter)[1], width=75)
    following = [False]

    def change(event: Any, key: str) -> None:
        if not following[0]:
            explorer.attempt(lambda: explorer.change(name, **{key: event.new}))

    for widget, key in ((slider, "value"), (free, "free"), (least, "min"), (most, "max")):
        widget.param.watch(lambda event, key=key: change(event, key), "value")

    def follow() -> None:
        now = explorer.model.parameter(name)
        following[0] = True
        try:
            value = float(now.value)
            slider.param.update(start=min(slider.start, value), end=max(slider.end, value))
            slider.value, free.value = value, now.free
            least.value, most.value = bounds_of(now)
        finally:
            following[0] = False

    return pn.Row(slider, free, least, most), follow


def _range(explorer: Explorer, parameter: Parameter) -> tuple[float, float]:
    """What a slider spans: the bounds, or what the data and the value suggest."""
    x = coordinate(explorer.spectrum, explorer.dim)[0].astype(float)
    value, span = float(parameter.value), float(np.ptp(x)) or 1.0
    if parameter.name in PLACES:
        low, high = float(x.min()), float(x.max())
    elif parameter.name in WIDTHS:
        low, high = 0.0, span / 2
    else:
        known = drawable(explorer.spectrum.values[np.isfinite(explorer.spectrum.values)])
        reach = float(drawable(3 * abs(value))) or float(np.ptp(known) if known.size else 0.0) or 1.0
        low, high = (0.0, reach) if value > 0 else (-reach, reach)
    least, most = bounds_of(parameter)
    low, high = (low if least is None else least), (high if most is None else most)
    low, high = min(low, value), max(high, value)
    return (low, high) if high > low else (low, low + 1.0)


def bounds_of(parameter: Parameter) -> tuple[float | None, float | None]:
    """Bounds of a parameter; None where there are none."""
    low, high = (
        None if each is None or not np.isfinite(each) else float(each) for each in (parameter.min, parameter.max)
    )
    return low, high


# --- the plot ----------------------------------------------------------------------------------


def _plot(explorer: Explorer) -> tuple[Any, Callable[[], None]]:
    """The spectrum with the model and the handles; and what draws them anew."""
    x, x_label = coordinate(explorer.spectrum, explorer.dim)
    names = [each.name for each in explorer.model]
    lines, points = ColumnDataSource(), ColumnDataSource()
    plot = figure(
        sizing_mode="stretch_width",
        min_width=LEAST,
        height=_HEIGHT,
        x_axis_label=x_label,
        y_axis_label=label(explorer.spectrum, "data"),
        output_backend="canvas",
    )
    drawn: dict[str, Any] = {"data": plot.scatter("x", "data", source=lines, color=DATA, size=4)}
    for k, name in enumerate(names):
        drawn[name] = plot.line("x", f"component {k}", source=lines, color=COMPONENTS[k % len(COMPONENTS)])
    drawn["model"] = plot.line("x", "model", source=lines, color=MODEL, line_width=2)
    plot.add_layout(legend_of(drawn), "above")
    plot.toolbar.logo = None
    dots: Any = plot.scatter(
        "x", "y", source=points, size=13, marker="marker", fill_color="white", line_color=_CHOSEN, line_width=2.5
    )
    tool = PointDrawTool(
        renderers=[dots], add=False, description="Drag circles to move components, squares to make them wider"
    )
    plot.add_tools(tool)
    plot.toolbar.active_tap = tool
    shown: list[tuple[str, str, float, float]] = []

    def draw() -> None:
        active = {each.name for each in explorer.model.active_components}
        off = np.full(x.size, np.nan)
        curves = {f"component {k}": explorer.curve(n) if n in active else off for k, n in enumerate(names)}
        lines.data = {"x": x, "data": explorer.spectrum.values, "model": explorer.curve(), **curves}
        shown[:] = explorer.handles()
        markers = ["square" if each[1] in WIDTHS else "circle" for each in shown]
        points.data = {"x": [each[2] for each in shown], "y": [each[3] for each in shown], "marker": markers}

    def dragged(_attribute: str, _old: Any, new: Any) -> None:
        places = list(new["x"])
        if len(places) != len(shown):
            # A point that was deleted comes back.
            draw()
            return
        for (component, name, before, _), now in zip(list(shown), places, strict=True):
            if now != before:
                explorer.drag(component, name, float(now))
                return

    draw()
    points.on_change("data", dragged)
    return plot, draw
