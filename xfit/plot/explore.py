"""Start values chosen by eye: a spectrum, the model on it, a slider for each parameter, and
peaks that are dragged into place.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import panel as pn
import param
import xarray as xr

from xfit.fitting.multifit import multifit
from xfit.fitting.planning.arguments import FitArguments
from xfit.fitting.planning.plan import make_plan
from xfit.modeling.component import Component
from xfit.modeling.model import Model
from xfit.modeling.parameter import Parameter
from xfit.modeling.ties import values_of
from xfit.modeling.units import parameter_units
from xfit.plot.chunk_cache import Blocks
from xfit.plot.explore_page import PLACES, WIDTHS, bounds_of, explore_page
from xfit.plot.serving import serve
from xfit.plot.style import coordinate
from xfit.plot.widgets import load
from xfit.results.curves import model_curves

#: States that can be taken back.
_HISTORY = 100


class Version(param.Parameterized):
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

    #: Bytes of lazy data that are read for the map of the summed signal at most.
    CHEAP = 256 << 20

    def __init__(self, da: xr.DataArray, model: Model, dim: Any = None, **options: Any) -> None:
        plan = make_plan(da, model, dim, FitArguments.of(options))
        if len(plan.axes.dims) != 1:
            raise ValueError(
                "explore() shows spectra, on which peaks are dragged along one axis; the model is "
                f'{len(plan.axes.dims)}-D. Start values of images are estimated by start="estimate", and '
                "result.fit.plot(da) and result.fit.dashboard(da) show what came of them"
            )
        load()
        self.da, self.dim, self._options = plan.da, plan.axes.dims[0], options
        self.navigation: tuple[Hashable, ...] = plan.axes.navigation
        self._binned = plan.axes.width is not None
        self._blocks = Blocks(plan.da, self.navigation)
        self._model, self._history = plan.model.copy(), list[Model]()
        self.version = Version()
        units = parameter_units(plan.model, plan.da, plan.axes)
        self.units = {each.full_name: unit for each, unit in zip(plan.model.parameters, units, strict=True)}
        self.result: xr.Dataset | None = None
        self.place: dict[Hashable, int] | None = None
        self.message = ""
        self._watcher: Any = None
        self._sums: dict[tuple[int, ...], xr.DataArray] = {}
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

    def further(self) -> dict[Hashable, int]:
        """Numbers along the navigation dimensions that are not on the map: those of the pixel, or the middle."""
        place = self.place or {d: self.da.sizes[d] // 2 for d in self.navigation}
        return {d: place[d] for d in self.navigation[:-2]}

    def overview(self) -> xr.DataArray | None:
        """Summed signal over the last two navigation dimensions, to choose a pixel on; None where
        too much would have to be read.
        """
        part = self.da.isel(self.further())
        if part.chunks is not None and part.nbytes > self.CHEAP:
            return None
        where = tuple(self.further().values())
        if where not in self._sums:
            words = f"sum over {self.dim}"
            total = part.sum([self.dim], min_count=1, keep_attrs=True).transpose(*self.navigation[-2:]).compute()
            self._sums[where] = total.assign_attrs(long_name=words)
        return self._sums[where]

    def _middle(self) -> xr.DataArray:
        """Mean spectrum; of lazy data, that of the chunk in the middle."""
        if not self.navigation:
            return self.da.compute()
        part = self.da
        if part.chunks is not None:
            cut = {}
            for d in self.navigation:
                sizes = part.chunksizes[d]
                first = int(np.sum(sizes[: len(sizes) // 2]))
                cut[d] = slice(first, first + sizes[len(sizes) // 2])
            part = part.isel(cut)
        return part.mean(self.navigation, keep_attrs=True).compute()

    def curve(self, component: str | None = None) -> np.ndarray:
        """The model, or one of its components, at the values chosen, float64 (n_channels,)."""
        spectrum = self.spectrum
        x = spectrum[self.dim] if self.dim in spectrum.coords else (self.dim, np.arange(spectrum.sizes[self.dim]))
        parameters = self._model.parameters
        names = np.array([each.full_name for each in parameters], object)
        on = np.array([self._owner(each).active for each in parameters])
        values = np.zeros(on.size)
        values[on] = values_of([each for each, active in zip(parameters, on, strict=True) if active])
        coords: dict[Hashable, Any] = {"param": names, self.dim: x}
        if self._binned:
            places = np.asarray(spectrum[self.dim].values, float)
            coords["channel_width"] = (self.dim, np.abs(np.gradient(places)))
        ds = xr.Dataset({"value": ("param", values)}, coords)
        chosen = [component] if component is not None else [each.name for each in self._model.active_components]
        return np.asarray(model_curves(ds, self._model, (str(self.dim),), chosen).values)

    def _owner(self, parameter: Parameter) -> Component:
        component: Component = self._model[parameter.full_name.rpartition(".")[0]]
        return component

    def handles(self) -> list[tuple[str, str, float, float]]:
        """What can be dragged: component, parameter, and where it is on the plot."""
        found = []
        x = coordinate(self.spectrum, self.dim)[0].astype(float)
        for component in self._model.active_components:
            names = [each.name for each in component.parameters]
            place = next((n for n in PLACES if n in names and not component[n].is_tied), None)
            if place is None:
                continue
            curve, at = self.curve(component.name), float(component[place].value)
            found.append((component.name, place, at, float(np.interp(at, x, curve))))
            width = next((n for n in WIDTHS if n in names and not component[n].is_tied), None)
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
        if name in WIDTHS:
            place = next(self._model[component][n].value for n in PLACES if n in self._model[component])
            x = abs(x - float(place))
        self.change(f"{component}.{name}", value=float(np.clip(x, *bounds_of(parameter))))

    def _remember(self, before: Model) -> None:
        self._history = [*self._history[-_HISTORY + 1 :], before]
        self.version.number += 1

    def attempt(self, act: Callable[[], Any]) -> None:
        """Do something of the page; what is wrong with it becomes the message."""
        try:
            act()
        except (ValueError, TypeError) as error:
            self.message = str(error)
            self.version.number += 1

    def undo(self) -> None:
        """Take the last change back."""
        if self._history:
            self._model = self._history.pop()
            self.message = ""
            self.version.number += 1

    def look_at(self, place: Mapping[Hashable, int] | None) -> None:
        """Choose a pixel by its numbers along the navigation dimensions, or the mean."""
        self.place = None if place is None else dict(place)
        self.message = ""
        self.version.number += 1

    def fit_this(self) -> None:
        """Fit the spectrum that is looked at, from the values chosen; they become those of the fit."""
        before = self._model.copy()
        place = self.place or {}
        options = {key: _part(value, place) for key, value in self._options.items()}
        if self.place is None:
            # Whatever belongs to pixels does not belong to their mean.
            options = {
                key: value
                for key, value in options.items()
                if not (isinstance(value, xr.DataArray) and set(value.dims) & set(self.navigation))
            }
        fit = multifit(self.spectrum, self._model, self.dim, **options)
        self.message = f"{fit.attrs['message']}, reduced chi-squared {float(fit.red_chisq):.4g}"
        values = {
            str(n): float(v) for n, v in zip(fit["param"].values, fit["value"].values, strict=True) if np.isfinite(v)
        }
        self._model.assign({n: v for n, v in values.items() if not self._model.parameter(n).is_tied})
        self._remember(before)

    def fit_all(self) -> xr.Dataset:
        """Fit the whole map from the values chosen; lazy for lazy data. It becomes `result`."""
        self.result = multifit(self.da, self._model, self.dim, **self._options)
        if self.navigation and self.da.chunks is None:
            good = float((self.result["status"] == 1).mean())
            self.message = f"{good:.1%} of {self.result['status'].size:,} pixels converged; the result is .result"
        else:
            self.message = "the result is .result" + ("" if self.da.chunks is None else ", to be computed or written")
        self.version.number += 1
        return self.result

    # --- the page ---

    def view(self) -> pn.viewable.Viewable:
        """The page, as an object of Panel that goes into any other."""
        page = explore_page(self)
        if self._watcher is not None:
            # A page that is opened anew takes over: there is one model.
            self.version.param.unwatch(self._watcher)
        self._watcher = self.version.param.watch(page.follow, "number")
        return page.view

    def servable(self, **options: Any) -> Any:
        """Serve the page with ``panel serve``; see Panel's ``servable``."""
        return self.view().servable(**options)

    def show(self, **options: Any) -> Any:
        """Open the page in a browser; see ``xfit.plot.serving.serve`` for the options. Ends when it is interrupted,
        unless ``threaded=True``.

        Only this machine can connect, and only by the address that is printed, which has a token. There is one model:
        the page that was opened last shows what becomes of it.
        """
        return serve(self.view, **options)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return self.view()._repr_mimebundle_(include, exclude)


def _part(value: Any, place: Mapping[Hashable, int]) -> Any:
    """A pixel of an option that is a map."""
    if not isinstance(value, xr.DataArray):
        return value
    return value.isel({d: n for d, n in place.items() if d in value.dims})
