"""Start values chosen by eye: a spectrum, the model on it, a slider for each parameter, and peaks that are dragged into place."""

from __future__ import annotations

import html
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import panel as pn
import param
import xarray as xr
from bokeh.models import ColumnDataSource, PointDrawTool
from bokeh.plotting import figure

from xfit.component import Component
from xfit.curves import model_curves
from xfit.model import Model
from xfit.multifit import multifit
from xfit.parameters import Parameter
from xfit.plan import plan_of
from xfit.plot.blocks import Blocks
from xfit.plot.looks import COMPONENTS, DATA, MODEL, coordinate, label
from xfit.plot.page import named
from xfit.units import parameter_units

#: Parameters that say where a component is, and how wide, by which it is dragged.
_PLACES = ("centre", "center", "onset", "origin", "x0")
_WIDTHS = ("sigma", "fwhm", "gamma", "width", "sigma1")

#: States that can be taken back.
_HISTORY = 100


class _Version(param.Parameterized):
    """Rises whenever the model or the spectrum has changed."""

    number = param.Integer(0)


class Explorer:
    """A page to choose a model's start values: ``da.fit.explore(model)``.

    Parameters
    ----------
    da : DataArray
        Spectra.
    model : Model
        What to fit. It stays as it is: `model` of this object has the values chosen.
    dim : optional
        The signal dimension.
    **options
        Of the fits, as for `xfit.multifit`.

    Attributes
    ----------
    result : Dataset or None
        That of the last fit of the whole map.
    place : dict or None
        Number of the pixel along each navigation dimension; None for the mean spectrum.

    Raises
    ------
    TypeError, ValueError
        As `xfit.multifit`, and for images.
    """

    def __init__(self, da: xr.DataArray, model: Model, dim: Any = None, **options: Any) -> None:
        plan = plan_of(da, model, dim, **options)
        if len(plan.axes.dims) != 1:
            raise ValueError(f"explore() shows spectra; the model is {len(plan.axes.dims)}-D")
        pn.extension()
        self._da, self._dim, self._options = da, plan.axes.dims[0], options
        self._navigation: tuple[Hashable, ...] = plan.axes.navigation
        self._binned = plan.axes.width is not None
        self._blocks = Blocks(da, self._navigation)
        self._model, self._history = model.copy(), list[Model]()
        self._version = _Version()
        units = parameter_units(model, da, plan.axes)
        self._units = {each.full_name: unit for each, unit in zip(model.parameters, units, strict=True)}
        self.result: xr.Dataset | None = None
        self.place: dict[Hashable, int] | None = None
        self.message = ""
        self._watcher: Any = None
        self._mean = self._middle()

    # --- what there is ---

    @property
    def model(self) -> Model:
        """A model with the values, bounds and free parameters chosen."""
        return self._model.copy()

    @property
    def spectrum(self) -> xr.DataArray:
        """The spectrum that is looked at."""
        if self.place is None:
            return self._mean
        return self._blocks.at(self.place)

    def _middle(self) -> xr.DataArray:
        """Mean spectrum; of lazy data, that of the chunk in the middle."""
        if not self._navigation:
            return self._da.compute()
        part = self._da
        if part.chunks is not None:
            cut = {}
            for d in self._navigation:
                sizes = part.chunksizes[d]
                first = int(np.sum(sizes[: len(sizes) // 2]))
                cut[d] = slice(first, first + sizes[len(sizes) // 2])
            part = part.isel(cut)
        return part.mean(self._navigation, keep_attrs=True).compute()

    def curve(self, component: str | None = None) -> np.ndarray:
        """The model, or one of its components, at the values chosen, float64 (n_channels,)."""
        spectrum = self.spectrum
        x = spectrum[self._dim] if self._dim in spectrum.coords else (self._dim, np.arange(spectrum.sizes[self._dim]))
        parameters = self._model.parameters
        names = np.array([each.full_name for each in parameters], object)
        values = np.array([each.value if self._owner(each).active else 0.0 for each in parameters])
        coords: dict[Hashable, Any] = {"param": names, self._dim: x}
        if self._binned:
            places = np.asarray(spectrum[self._dim].values, float)
            coords["channel_width"] = (self._dim, np.abs(np.gradient(places)))
        ds = xr.Dataset({"value": ("param", values)}, coords)
        chosen = [component] if component is not None else [each.name for each in self._model.active_components]
        return np.asarray(model_curves(ds, self._model, (str(self._dim),), chosen).values)

    def _owner(self, parameter: Parameter) -> Component:
        component: Component = self._model[parameter.full_name.rpartition(".")[0]]
        return component

    def handles(self) -> list[tuple[str, str, float, float]]:
        """What can be dragged: component, parameter, and where it is on the plot."""
        found = []
        x = coordinate(self.spectrum, self._dim)[0].astype(float)
        for component in self._model.active_components:
            names = [each.name for each in component.parameters]
            place = next((n for n in _PLACES if n in names and not component[n].is_tied), None)
            if place is None:
                continue
            curve, at = self.curve(component.name), float(component[place].value)
            found.append((component.name, place, at, float(np.interp(at, x, curve))))
            width = next((n for n in _WIDTHS if n in names and not component[n].is_tied), None)
            if width is not None:
                side = at + float(component[width].value)
                found.append((component.name, width, side, float(np.interp(side, x, curve))))
        return found

    # --- what can be done ---

    def change(self, name: str, **what: Any) -> None:
        """Change a parameter, which can be undone.

        Parameters
        ----------
        name : str
            Full name.
        **what
            ``value``, ``min``, ``max``, ``free``.

        Raises
        ------
        ValueError
            As the parameter does; nothing is changed then.
        """
        before = self._model.copy()
        parameter = self._model.parameter(name)
        try:
            for key, value in what.items():
                setattr(parameter, key, value)
        except (ValueError, TypeError, AttributeError):
            self._model = before
            raise
        self._remember(before)

    def drag(self, component: str, name: str, x: float) -> None:
        """Move a component, or make it as wide as it is from its place to a place on the plot."""
        parameter = self._model[component][name]
        if name in _WIDTHS:
            place = next(self._model[component][n].value for n in _PLACES if n in self._model[component])
            x = abs(x - float(place))
        self.change(f"{component}.{name}", value=float(np.clip(x, *_bounds(parameter))))

    def _remember(self, before: Model) -> None:
        self._history = [*self._history[-_HISTORY + 1 :], before]
        self._version.number += 1

    def undo(self) -> None:
        """Take the last change back."""
        if self._history:
            self._model = self._history.pop()
            self.message = ""
            self._version.number += 1

    def look_at(self, place: Mapping[Hashable, int] | None) -> None:
        """Choose a pixel by its numbers along the navigation dimensions, or the mean."""
        self.place = None if place is None else dict(place)
        self._version.number += 1

    def fit_this(self) -> None:
        """Fit the spectrum that is looked at, from the values chosen; they become those of the fit."""
        before = self._model.copy()
        place = self.place or {}
        options = {key: _part(value, place) for key, value in self._options.items()}
        if self.place is None:
            # Whatever belongs to pixels does not belong to their mean.
            options = {key: value for key, value in options.items() if not (isinstance(value, xr.DataArray) and set(value.dims) & set(self._navigation))}  # fmt: skip
        fit = multifit(self.spectrum, self._model, self._dim, **options)
        self.message = f"{fit.attrs['message']}, reduced chi-squared {float(fit.red_chisq):.4g}"
        values = {
            str(n): float(v) for n, v in zip(fit["param"].values, fit["value"].values, strict=True) if np.isfinite(v)
        }
        self._model.assign({n: v for n, v in values.items() if not self._model.parameter(n).is_tied})
        self._remember(before)

    def fit_all(self) -> xr.Dataset:
        """Fit the whole map from the values chosen; lazy for lazy data. It becomes `result`."""
        self.result = multifit(self._da, self._model, self._dim, **self._options)
        if self._navigation and self._da.chunks is None:
            good = float((self.result["status"] == 1).mean())
            self.message = f"{good:.1%} of {self.result['status'].size:,} pixels converged; the result is .result"
        else:
            self.message = "the result is .result" + ("" if self._da.chunks is None else ", to be computed or written")
        self._version.number += 1
        return self.result

    # --- the page ---

    def view(self) -> pn.viewable.Viewable:
        """The page, as an object of Panel that goes into any other."""
        plot, draw = self._plot()
        rows = [self._row(each) for each in self._model.parameters if not each.is_tied]
        ties = [
            pn.pane.HTML(f"<small>{html.escape(f'{e.full_name} = {e.tie_formula}')}</small>")
            for e in self._model.parameters
            if e.is_tied
        ]
        words = pn.pane.HTML(html.escape(self.message))
        pane = pn.pane.Bokeh(plot)

        def update(_: Any) -> None:
            draw()
            for _, follow in rows:
                follow()
            words.object = html.escape(self.message)
            document = pn.state.curdoc
            if document is None or document.session_context is None:
                # In a notebook nobody else tells the page.
                pane.param.trigger("object")

        if self._watcher is not None:
            # A page that is opened anew takes over: there is one model.
            self._version.param.unwatch(self._watcher)
        self._watcher = self._version.param.watch(update, "number")
        buttons = pn.Row(
            self._button("Fit this spectrum", self.fit_this, "primary"),
            *([self._button("Fit all", self.fit_all)] if self._navigation else []),
            self._button("Undo", self.undo),
        )
        return pn.Row(
            pn.Column(*self._pixel_choosers(), pane, buttons, words),
            pn.Column(*(row for row, _ in rows), *ties, height=700, scroll=True),
        )

    def _button(self, words: str, act: Callable[[], Any], kind: str = "default") -> pn.widgets.Button:
        def press(_: Any) -> None:
            try:
                act()
            except (ValueError, TypeError) as error:
                self.message = str(error)
                self._version.number += 1

        button = pn.widgets.Button(**named(words), button_type=kind, width=140)
        button.on_click(press)
        return button

    def _pixel_choosers(self) -> list[Any]:
        """A box for the mean, and a slider along each navigation dimension."""
        if not self._navigation:
            return []
        mean = pn.widgets.Checkbox(**named("mean spectrum"), value=self.place is None)
        sliders = []
        for d in self._navigation:
            places, words = coordinate(self._da, d)
            options = {
                f"{value:.6g}" if isinstance(value, float) else str(value): n for n, value in enumerate(places.tolist())
            }
            sliders.append(
                pn.widgets.DiscreteSlider(**named(words), options=options, value=len(places) // 2, width=220)
            )

        def choose(event: Any) -> None:
            if event.obj is not mean and mean.value:
                mean.value = False
                return
            numbers = dict(zip(self._navigation, (s.value for s in sliders), strict=True))
            self.look_at(None if mean.value else numbers)

        for each in (mean, *sliders):
            each.param.watch(choose, "value")
        return [pn.Row(mean, *sliders)]

    def _row(self, parameter: Parameter) -> tuple[Any, Callable[[], None]]:
        """Slider with number, bounds and box of a parameter; and what makes them follow the model."""
        name = parameter.full_name
        low, high = self._range(parameter)
        slider = pn.widgets.EditableFloatSlider(**named(f"{name} ({self._units[name]})" if self._units[name] else name), start=low, end=high, step=(high - low) / 500, value=float(parameter.value), width=300)  # fmt: skip
        free = pn.widgets.Checkbox(**named("free"), value=parameter.free, width=50, align="end")
        least = pn.widgets.FloatInput(**named("min"), value=_bounds(parameter)[0], width=90)
        most = pn.widgets.FloatInput(**named("max"), value=_bounds(parameter)[1], width=90)
        following = [False]

        def change(event: Any, key: str) -> None:
            if following[0]:
                return
            try:
                self.change(name, **{key: event.new})
            except (ValueError, TypeError) as error:
                self.message = str(error)
                self._version.number += 1

        for widget, key in ((slider, "value"), (free, "free"), (least, "min"), (most, "max")):
            widget.param.watch(lambda event, key=key: change(event, key), "value")

        def follow() -> None:
            now = self._model.parameter(name)
            following[0] = True
            try:
                value = float(now.value)
                slider.param.update(start=min(slider.start, value), end=max(slider.end, value))
                slider.value, free.value = value, now.free
                least.value, most.value = _bounds(now)
            finally:
                following[0] = False

        return pn.Row(slider, free, least, most), follow

    def _range(self, parameter: Parameter) -> tuple[float, float]:
        """What a slider spans: the bounds, or what the data and the value suggest."""
        x = coordinate(self.spectrum, self._dim)[0].astype(float)
        value, span = float(parameter.value), float(np.ptp(x)) or 1.0
        if parameter.name in _PLACES:
            low, high = float(x.min()), float(x.max())
        elif parameter.name in _WIDTHS:
            low, high = 0.0, span / 2
        else:
            reach = 3 * abs(value) or float(np.ptp(self.spectrum.values)) or 1.0
            low, high = (0.0, reach) if value > 0 else (-reach, reach)
        least, most = _bounds(parameter)
        low, high = (low if least is None else least), (high if most is None else most)
        low, high = min(low, value), max(high, value)
        return (low, high) if high > low else (low, low + 1.0)

    def _plot(self) -> tuple[Any, Callable[[], None]]:
        """The spectrum with the model and the handles; and what draws them anew."""
        x, x_label = coordinate(self.spectrum, self._dim)
        names = [each.name for each in self._model]
        lines = ColumnDataSource()
        points = ColumnDataSource()
        plot = figure(width=640, height=420, x_axis_label=x_label, y_axis_label=label(self.spectrum, "data"))
        plot.scatter("x", "data", source=lines, color=DATA, size=4, legend_label="data")
        for k, name in enumerate(names):
            plot.line("x", f"component {name}", source=lines, color=COMPONENTS[k % len(COMPONENTS)], legend_label=name)
        plot.line("x", "model", source=lines, color=MODEL, line_width=2, legend_label="model")
        dots: Any = plot.scatter("x", "y", source=points, size=13, marker="marker", fill_color="white", line_color="#D55E00", line_width=2.5)  # fmt: skip
        tool = PointDrawTool(
            renderers=[dots], add=False, description="Drag circles to move components, squares to make them wider"
        )
        plot.add_tools(tool)
        plot.toolbar.active_tap = tool
        shown: list[tuple[str, str, float, float]] = []

        def draw() -> None:
            active = {each.name for each in self._model.active_components}
            off = np.full(x.size, np.nan)
            curves = {f"component {n}": self.curve(n) if n in active else off for n in names}
            lines.data = {"x": x, "data": self.spectrum.values, "model": self.curve(), **curves}
            shown[:] = self.handles()
            markers = ["square" if each[1] in _WIDTHS else "circle" for each in shown]
            points.data = {"x": [each[2] for each in shown], "y": [each[3] for each in shown], "marker": markers}

        def dragged(_attribute: str, _old: Any, new: Any) -> None:
            places = list(new["x"])
            if len(places) != len(shown):
                # A point that was deleted comes back.
                draw()
                return
            for (component, name, before, _), now in zip(list(shown), places, strict=True):
                if now != before:
                    self.drag(component, name, float(now))
                    return

        draw()
        points.on_change("data", dragged)
        return plot, draw

    def servable(self, **options: Any) -> Any:
        """Serve the page with ``panel serve``; see Panel's ``servable``."""
        return self.view().servable(**options)

    def show(self, **options: Any) -> Any:
        """Open the page in a browser; see Panel's ``show``. Ends when it is interrupted, unless ``threaded=True``.

        There is one model: the page that was opened last shows what becomes of it.
        """
        return pn.serve(self.view, **{"title": "xfit", "show": True, "address": "localhost", **options})

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.view()._repr_mimebundle_(include, exclude)


def _part(value: Any, place: Mapping[Hashable, int]) -> Any:
    """A pixel of an option that is a map."""
    if not isinstance(value, xr.DataArray):
        return value
    return value.isel({d: n for d, n in place.items() if d in value.dims})


def _bounds(parameter: Parameter) -> tuple[float | None, float | None]:
    """Bounds of a parameter; None where there are none."""
    low, high = (
        None if each is None or not np.isfinite(each) else float(each) for each in (parameter.min, parameter.max)
    )
    return low, high
