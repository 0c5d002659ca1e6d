"""Models of HyperSpy fitted by xfit, the results in their own maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xfit.engine.pixel.status import CONVERGED, MAX_NFEV, POOR_FIT, SINGULAR, STALLED
from xfit.hyperspy.conversion import Conversion, Link
from xfit.hyperspy.models import convert
from xfit.modeling.derived import covariance_of
from xfit.modeling.units import check_units, parameter_units, units_of

#: Options of HyperSpy's fits, and what there is in xfit for them.
_THEIRS = {
    "loss_function": "loss= ('ML-poisson' is 'poisson')",
    "huber_delta": "loss='huber' with loss_scale=",
    "iterpath": "path= ('independent', 'serpentine' or 'flyback')",
    "fetch_only_fixed": "path='serpentine', where each pixel begins from the one before",
    "fd_scheme": "grad= ('2-point', '3-point' or 'cs')",
    "autosave": "store= with resume=True",
    "autosave_every": "store= with resume=True",
    "show_progressbar": "store= with progress=, or a dask progress bar",
    "interactive_plot": "store= and `xfit view`, which shows a fit while it goes on",
    "only_current": "xfit.hyperspy.fit(m), which fits the current pixel",
    "update_plot": "nothing: plots are updated when the fit is done",
    "print_info": "print(result.fit.report())",
    "return_info": "the result that is returned",
    "calculate_errors": "nothing: there are always errors",
    "kind": "start='estimate', for eXSpy's smart fit",
}

#: How fits end that leave values worth keeping.
_KEPT = (CONVERGED, MAX_NFEV, SINGULAR, STALLED, POOR_FIT)


def multifit(m: Any, *, mask: Any = None, **options: Any) -> xr.Dataset:
    """Fit a model of HyperSpy at all positions with xfit, and put the result into its maps.

    Values, errors, chi-squared and the number of fitted parameters lie where HyperSpy's ``multifit`` would have put
    them, so that plots, ``m.red_chisq``, ``parameter.as_signal()``, ``m.store()`` go on as after it. Stored values are
    start values, as there; bounds are kept by default, and values beyond them begin at the nearer one. A pixel that
    can't be fitted keeps what its maps held.

    Parameters
    ----------
    m : hyperspy model
        Its maps are changed.
    mask : bool array or signal over the navigation dimensions, optional
        Where True nothing is fitted, as in HyperSpy.
    **options
        As for `xfit.multifit`. Without them the fit is that of the model: its weights, channels, active maps, stored
        values. ``where=`` is combined with the model's channels.

    Returns
    -------
    Dataset
        The result, computed; see `xfit.multifit`.

    Raises
    ------
    TypeError, ValueError
        As `convert` and `xfit.multifit`; for HyperSpy's names of options, with those of xfit.
    """
    return _fitted(m, convert(m), mask, options)


def fit(m: Any, **options: Any) -> xr.Dataset:
    """Fit a model of HyperSpy at the current position with xfit, from its present values; see `multifit`.

    Returns
    -------
    Dataset
        The result of one spectrum or image, whose attribute ``message`` says how the fit ended.
    """
    # Values are those of the model now, as for HyperSpy's fit, not what is stored at this position.
    whole = replace(convert(m), start={})
    indices = m.axes_manager.indices[::-1]
    here = whole.at(**{str(d): int(k) for d, k in zip(whole.navigation, indices, strict=True)})
    return _fitted(m, here, None, options, tuple(indices))


def put_result(m: Any, result: xr.Dataset) -> None:
    """Put a result of xfit into the maps of the model of HyperSpy that it is of.

    Where a component does not take part (optional ones of SAMFire, for instance) its maps stay as they are.

    Parameters
    ----------
    m : hyperspy model
        Whose conversion was fitted: `convert`.
    result : Dataset
        From any fit of ``convert(m).model``: by `xfit.multifit`, SAMFire, read from a file.

    Raises
    ------
    ValueError
        For a result of another model, or of other navigation dimensions.
    """
    _put(m, convert(m), result)


def _fitted(
    m: Any, conversion: Conversion, mask: Any, options: dict[str, Any], index: tuple[int, ...] | None = None
) -> xr.Dataset:
    """Fit, and put the result into the maps; all of it, or the pixel at the index."""
    _check_options(options)
    where = _combined(conversion, mask, options.pop("where", None))
    if options.get("bounded", True) is True:
        conversion = conversion.in_bounds()
    if where is not None:
        options["where"] = where
    result = conversion.multifit(**options)
    if not options.get("store"):
        result = result.compute()
    _put(m, conversion, result, index)
    return result


def _check_options(options: Mapping[str, Any]) -> None:
    theirs = [name for name in options if name in _THEIRS]
    if theirs:
        raise TypeError("; ".join(f"{name}= is HyperSpy's; in xfit there is {_THEIRS[name]}" for name in theirs))
    grad = options.get("grad", "exact")
    known = {"analytical": "'exact', which is the default", "fd": "'2-point' or '3-point'"}
    if isinstance(grad, str) and grad in known:
        raise ValueError(f"grad={grad!r} is HyperSpy's; in xfit it is {known[grad]}")
    if options.get("loss") == "ML-poisson":
        raise ValueError("loss='ML-poisson' is HyperSpy's; in xfit it is 'poisson'")


def _combined(conversion: Conversion, mask: Any, where: Any) -> xr.DataArray | None:
    """Channels and pixels to fit: those of the model, of ``where`` and those that are not masked."""
    parts = [part for part in (conversion.where, where) if part is not None]
    if mask is not None:
        values = np.asarray(mask.data if hasattr(mask, "axes_manager") else mask)
        shape = tuple(conversion.data.sizes[d] for d in conversion.navigation)
        if values.dtype != bool or values.shape != shape:
            raise ValueError(
                f"mask has shape {values.shape} and dtype {values.dtype}; it must be booleans of the navigation shape "
                f"{shape}"
            )
        parts.append(xr.DataArray(~values, dims=conversion.navigation))
    if not all(isinstance(part, xr.DataArray) for part in parts):
        raise TypeError(
            f"where must be a boolean DataArray, not {type(where).__name__}; for an array of pixels to leave out use "
            "mask="
        )
    if not parts:
        return None
    found = parts[0]
    for part in parts[1:]:
        found = found & part
    return found


def _put(m: Any, conversion: Conversion, result: xr.Dataset, index: tuple[int, ...] | None = None) -> None:
    """Write values, errors, chi-squared and counts of parameters into the model's maps."""
    _check_result(conversion, result)
    navigation = conversion.navigation
    covariances = [name for name in ("covariance", "pair_covariance") if name in result]
    arrays = result[["value", "stderr", "chisq", "status", *covariances]].transpose(*navigation, ...).compute()
    kept = np.isin(arrays["status"].values, _KEPT)
    target = (Ellipsis,) if index is None else index or (0,)
    count = np.zeros(kept.shape, int)
    for k, component in enumerate(conversion.model):
        links = [link for link in conversion.links if link.component == k]
        if component.active:
            on = _put_component(m[k], links, arrays, kept, target)
            count += on * len(component.free_parameters)
    chisq = arrays["chisq"].values
    fitted = kept & np.isfinite(chisq)
    for signal, values in ((m.chisq, chisq), (m.dof, count)):
        part = signal.data[target]
        signal.data[target] = np.where(fitted.reshape(np.shape(part)), np.reshape(values, np.shape(part)), part)
    with m.suspend_update(update_on_resume=True):
        m.fetch_stored_values()
        _fetch_errors_of_twins(m)
    m.events.fitted.trigger(m)


def _fetch_errors_of_twins(m: Any) -> None:
    """Errors at the current position of parameters that are twins, which HyperSpy leaves as they were."""
    index = m.axes_manager.indices[::-1] or (0,)
    for parameter in (parameter for component in m for parameter in component.parameters):
        if parameter.twin is not None and parameter.map["is_set"][index]:
            parameter.std = parameter.map["std"][index]


def _put_component(
    theirs: Any,
    links: list[Link],
    arrays: xr.Dataset,
    kept: np.ndarray,
    target: tuple[Any, ...],
) -> np.ndarray:
    """Write a component's parameters; return where it has been fitted."""
    found = [_theirs(link, arrays) for link in links]
    on = kept & np.all([np.isfinite(value) for value, _ in found], axis=0)
    for parameter in theirs.parameters:
        part = parameter.map[target]
        here = on.reshape(np.shape(part["is_set"]))
        wide = here[..., None] if parameter._number_of_elements > 1 else here
        own = [pair for link, pair in zip(links, found, strict=True) if link.theirs == parameter.name]
        if own:
            for key, arrived in (("values", [value for value, _ in own]), ("std", [error for _, error in own])):
                new = np.stack(arrived, axis=-1).reshape(np.shape(part[key]))
                parameter.map[key][target] = np.where(wide, new, part[key])
        else:
            # What xfit has no parameter for keeps its value, which HyperSpy wants in the map.
            unset = ~part["is_set"][..., None] if parameter._number_of_elements > 1 else ~part["is_set"]
            parameter.map["values"][target] = np.where(wide & unset, parameter.value, part["values"])
        parameter.map["is_set"][target] = part["is_set"] | here
    return on


def _theirs(link: Link, arrays: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Values and errors of a parameter, or of an entry of one, in HyperSpy's terms."""
    known = [str(name) for name in arrays["param"].values]
    value, error = (arrays[key].values[..., known.index(link.ours)] / link.scale for key in ("value", "stderr"))
    if link.factor is None:
        return value, error
    factor, spread = (arrays[key].values[..., known.index(link.factor)] for key in ("value", "stderr"))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = value / factor
        # What is fixed, or at a bound, has no error and adds none.
        both = np.nan_to_num(covariance_of(arrays, link.ours, link.factor).values)
        variance = error**2 + (ratio * np.nan_to_num(spread)) ** 2 - 2 * ratio * both
        error = np.sqrt(np.maximum(variance, 0.0)) / np.abs(factor)
    # HyperSpy has no fine structure where the intensity is zero.
    return np.where(factor != 0, ratio, 0.0), np.where(factor != 0, error, np.nan)


def _check_result(conversion: Conversion, result: xr.Dataset) -> None:
    if not isinstance(result, xr.Dataset) or "param" not in result.dims:
        raise TypeError("result must be the Dataset that a fit returned")
    wanted = {p.full_name for p in conversion.model.parameters}
    found = {str(name) for name in result["param"].values}
    if found != wanted:
        raise ValueError(f"the result is of another model: it has {sorted(found)}, the model {sorted(wanted)}")
    units = parameter_units(conversion.model, conversion.data, conversion.axes)
    check_units(
        units_of(result), "result", dict(zip((p.full_name for p in conversion.model.parameters), units, strict=True))
    )
    sizes = {d: conversion.data.sizes[d] for d in conversion.navigation}
    if {d: n for d, n in result["chisq"].sizes.items()} != sizes:
        raise ValueError(f"the result is over {dict(result['chisq'].sizes)}, the model's signal over {sizes}")
