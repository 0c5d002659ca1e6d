"""What a result says that should make a reader careful: errors that mean something else, lines too narrow, patterns
that end within the data.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from xfit.arrays.axes import dimension_of
from xfit.engine.pixel.status import CONVERGED
from xfit.modeling.component import Component
from xfit.modeling.derived import derived_map
from xfit.modeling.model import Model
from xfit.modeling.text_limits import json_of

#: Full width at half maximum, in channels, below which a line is not what the model makes of it: the model is taken in
#: the middle of channels, where a Gaussian of less than a channel has any sum; and of data that are integrals over
#: channels one of two is 6 % too wide.
_LEAST, _LEAST_BINNED = 1.0, 2.0

#: Degrees of freedom below which Student's distribution is wider than the normal one by more than a percent in its
#: middle 68.3 %.
_FEW = 20

#: Scale of the loss of that name, in standard deviations, from which on simulated fits had the one minimum.
_LEAST_ARCTAN = 2.0


def cautions(result: xr.Dataset, model: Model) -> list[str]:
    """Say what should make a reader careful, of a pixel or of a map.

    Parameters
    ----------
    result : Dataset
        With ``value`` and the signal's coordinates; computed.
    model : Model
        That was fitted.
    """
    dims = [d for d in json_of(result.attrs.get("xfit_signal_dims", "[]")) if d in result.coords]
    found = list(_errors_words(result))
    for component in model:
        if len(dims) == component.signal_dimension and all(
            _is_known(result, p.full_name) for p in component.parameters
        ):
            found += [*_narrow(result, model, component, tuple(dims)), *_ended(result, component, tuple(dims))]
    return found


def _errors_words(result: xr.Dataset) -> Iterator[str]:
    """Where errors do not mean what they say: by simulation, see the documentation's page "Calibration of errors"."""
    attrs = result.attrs
    if "xfit_noise_gain" in attrs and not attrs.get("xfit_reweight"):
        yield (
            "the variance is estimated from the data: levels are low by about one count in each channel, whatever "
            "their errors. loss='poisson', or reweight=True, does not have this"
        )
    if attrs.get("xfit_loss") == "arctan" and attrs.get("xfit_loss_scale", _LEAST_ARCTAN) < _LEAST_ARCTAN:
        yield (
            f"loss='arctan' with a loss_scale below {_LEAST_ARCTAN:g} has other minima, of which small errors say "
            "nothing; use a larger one"
        )
    if "dof" not in result or not attrs.get("xfit_scale_covariance"):
        return
    few = np.asarray(((result["dof"] > 0) & (result["dof"] < _FEW) & (result["status"] == CONVERGED)).values)
    if few.any():
        yield (
            f"errors are scaled by few degrees of freedom{_where(few)}: intervals of one error hold the truth less "
            "often than 68.3 %; conf_interval() takes account of it"
        )


def coordinates_words(result: xr.Dataset) -> list[str]:
    """Say which coordinate the fit took along a signal dimension that has none of its own."""
    taken = json_of(result.attrs.get("xfit_coordinates", "{}"))
    return [f"channels along {d!r} lie at the coordinate {name!r}" for d, name in taken.items()]


def _is_known(result: xr.Dataset, name: str) -> bool:
    return name in result["param"].values


def _places(result: xr.Dataset, dims: tuple[str, ...], axis: str) -> np.ndarray:
    """Coordinate along the signal dimension that "x" or "y" stands for."""
    return np.asarray(result[dimension_of(axis, dims)].values, np.float64)


def _value(result: xr.Dataset, name: str) -> np.ndarray:
    return np.asarray(result["value"].sel(param=name).values)


def _narrow(result: xr.Dataset, model: Model, component: Component, dims: tuple[str, ...]) -> Iterator[str]:
    """Lines that are narrower than the channels at their place."""
    binned = bool(result.attrs.get("xfit_binned"))
    least, what = (_LEAST_BINNED, "two channels of binned data") if binned else (_LEAST, "a channel")
    for name, widths in _full_widths(result, model, component):
        axis = "y" if name.endswith("_y") else "x"
        position = [p for p in np.atleast_1d(component.position or []) if len(dims) == 1 or p.endswith(axis)]
        places = _places(result, dims, axis)
        if not position or np.unique(places).size < 2:
            continue
        at = np.unique(places)
        channels = np.interp(_value(result, f"{component.name}.{position[0]}"), at, np.gradient(at))
        bad = np.abs(widths) < least * channels
        if bad.any():
            width = np.median(np.abs(widths)[bad])
            yield (
                f"{component.name} is narrower than {what}{_where(bad)}: {name} {width:.3g}, channels of "
                f"{np.median(channels[bad]):.3g}. The model is taken in the middle of channels, not averaged over "
                "them, so that its area and width need not be those of the line"
            )


def _full_widths(result: xr.Dataset, model: Model, component: Component) -> Iterator[tuple[str, np.ndarray]]:
    """Full widths at half maximum of a component, derived or parameters, by name."""
    derived = [name for name in component.derived if name.startswith("fwhm")]
    for name in derived:
        yield name, np.asarray(derived_map(result, model, f"{component.name}.{name}").values)
    if not derived:
        yield from ((p.name, _value(result, p.full_name)) for p in component.parameters if p.name.lower() == "fwhm")


def _ended(result: xr.Dataset, component: Component, dims: tuple[str, ...]) -> Iterator[str]:
    """Patterns that a fit has moved so that the data lie beyond one of their ends, which is not zero."""
    beyond = getattr(component, "beyond", None)
    if beyond is None:
        return
    x = _places(result, dims, "x")
    bad = beyond(x, *(_value(result, f"{component.name}.{key}") for key in ("xscale", "shift")))
    if bad.any():
        yield (
            f"{component.name} is a pattern that does not reach over the data{_where(bad)} and does not end at zero; "
            "the value of its end is taken beyond (see its extrapolate)"
        )


def _where(bad: np.ndarray) -> str:
    return f" in {np.count_nonzero(bad)} of {bad.size} pixels" if bad.ndim else ""
