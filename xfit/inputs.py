"""What a user hands to a fit, checked before any work starts and laid out like the data."""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xfit import calculus, formula
from xfit.axes import Axes
from xfit.compile.program import Program
from xfit.losses import Loss
from xfit.model import Model
from xfit.noise import Poisson
from xfit.options import Settings
from xfit.registry import Optimizer

#: Numbers that are looked at together.
_PIECE = 1 << 16


def check_data(da: xr.DataArray) -> None:
    """Refuse what is no array of real numbers."""
    if not isinstance(da, xr.DataArray):
        raise TypeError(f"the data must be an xarray.DataArray, not {type(da).__name__}")
    if da.dtype.kind not in "iuf":
        raise TypeError(f"the data have dtype {da.dtype}; a fit needs real numbers (integers or floats)")
    if da.dtype.kind == "f" and da.dtype.itemsize > 8:
        raise TypeError(f"the data have dtype {da.dtype}; a fit computes in float64: convert with .astype('float64')")


def check_model(model: Any) -> None:
    """Refuse what is no model, and models with nothing to fit."""
    if not isinstance(model, Model):
        raise TypeError(f"model must be an xfit.Model, not {type(model).__name__}; make one with xfit.Model([...])")
    if len(model) == 0:
        raise ValueError("model has no components")


def check_scaling(scale_covariance: Any, loss: Loss) -> bool:
    """Whether errors are scaled by the reduced chi-squared, which by default they are for least squares."""
    if scale_covariance is None:
        return loss.kind == "ls"
    if not isinstance(scale_covariance, bool | np.bool_):
        raise TypeError(f"scale_covariance={scale_covariance!r} must be True, False or None")
    if loss.kind not in ("ls", "poisson"):
        raise ValueError(
            f"scale_covariance={scale_covariance} means nothing to loss {loss.name!r}, whose errors have the scale of the "
            f"deviations themselves; leave it out"
        )
    return bool(scale_covariance)


def check_search(
    starts: Any, spread: Any, path: Any, program: Program, settings: Settings
) -> tuple[tuple[str, float], ...]:
    """Check where fits begin; return how far further starts lie from the given one, by parameter.

    Raises
    ------
    TypeError, ValueError
        Also where nothing says in which range further starts may lie.
    """
    if path not in ("independent", "serpentine", "flyback"):
        raise ValueError(f"path={path!r} must be 'independent', 'serpentine' or 'flyback'")
    if isinstance(starts, bool) or not isinstance(starts, int | np.integer) or starts < 1:
        raise ValueError(f"starts={starts!r} must be an integer of at least 1")
    if not isinstance(spread or {}, Mapping):
        raise TypeError(f"spread must map parameter names to numbers, not {type(spread).__name__}")
    if spread and starts == 1:
        raise ValueError("spread says where further starts lie, but there are none: give starts=n as well")
    on = settings.active[program.load().component_of] & settings.free
    free = [name for name, fitted in zip(program.parameters, on, strict=True) if fitted]
    for name, value in (spread or {}).items():
        if name not in free:
            raise ValueError(f"spread names {name!r}, which is no free parameter; those are {free}")
        if not (isinstance(value, numbers.Real) and 0 < float(value) < np.inf):
            raise ValueError(f"spread[{name!r}]={value!r} must be a number above zero")
    bounded = np.isfinite(settings.lower) & np.isfinite(settings.upper)
    if starts != 1 and not spread and not (bounded & on).any():
        raise ValueError(
            f"starts={starts} needs to know where: give bounds on both sides of some free parameters, or "
            f"spread={{{free[0]!r}: half the width of the range}}"
        )
    return tuple((str(name), float(value)) for name, value in (spread or {}).items())


def check_bounds(
    bounds: Any, program: Program, settings: Settings, da: xr.DataArray, axes: Axes
) -> tuple[Settings, dict[tuple[str, str], xr.DataArray]]:
    """Bounds of this fit: settings with those that are numbers, and maps by parameter and side."""
    maps: dict[tuple[str, str], xr.DataArray] = {}
    if bounds is None:
        return settings, maps
    if not isinstance(bounds, Mapping):
        raise TypeError(f"bounds must map parameter names to (min, max), not {type(bounds).__name__}")
    lower, upper = settings.lower.copy(), settings.upper.copy()
    for name, pair in bounds.items():
        if name not in program.parameters or name in dict(program.ties):
            raise ValueError(
                f"bounds names {name!r}, which is no parameter that can be fitted; the model has {list(program.parameters)}"
            )
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"bounds[{name!r}] must be a pair (min, max) of numbers, DataArrays or None; not {pair!r}")
        k = program.parameters.index(name)
        for side, table, value in (("min", lower, pair[0]), ("max", upper, pair[1])):
            if isinstance(value, xr.DataArray):
                what = f"bounds[{name!r}], {side}"
                maps[name, side] = broadcastable(value, what, da, axes.navigation, "the navigation dimensions", "iuf")
            elif value is not None and (
                isinstance(value, bool) or not isinstance(value, numbers.Real) or np.isnan(float(value))
            ):
                raise TypeError(f"bounds[{name!r}]: {side}={value!r} must be a number, a DataArray or None")
            else:
                table[k] = (-np.inf if side == "min" else np.inf) if value is None else value
        if not any((name, side) in maps for side in ("min", "max")):
            _check_room(name, lower[k], upper[k], settings.start[k])
    return replace(settings, lower=lower, upper=upper), maps


def _check_room(name: str, lower: float, upper: float, start: float) -> None:
    if not lower < upper:
        raise ValueError(f"bounds[{name!r}]: min={lower} must be below max={upper}")
    if not lower <= start <= upper:
        raise ValueError(
            f"bounds[{name!r}]: the start value {start} is outside of [{lower}, {upper}]; change one of them"
        )


def check_keeps_bounds(optimizer: Optimizer, program: Program, settings: Settings, maps: Mapping[Any, Any]) -> None:
    """Refuse bounds on optimizers that keep none, and lack of them on those that need them."""
    on = settings.active[program.load().component_of] & settings.free
    mapped = {name for name, _ in maps}
    lower, upper = np.isfinite(settings.lower), np.isfinite(settings.upper)
    for k in np.flatnonzero(on):
        name = program.parameters[k]
        if optimizer.bounds == "no" and (lower[k] or upper[k] or name in mapped):
            raise ValueError(
                f"optimizer {optimizer.name!r} can't keep bounds, and {name} has [{settings.lower[k]}, {settings.upper[k]}]; fit with "
                f"bounded=False, or use an optimizer that can (xfit.optimizers() lists them)"
            )
        finite = (lower[k] or (name, "min") in maps) and (upper[k] or (name, "max") in maps)
        if optimizer.bounds == "finite" and not finite:
            raise ValueError(
                f"optimizer {optimizer.name!r} searches between finite bounds, and {name} has "
                f"[{settings.lower[k]}, {settings.upper[k]}]; set min and max of all free parameters (and bounded=True)"
            )


def check_options(tolerance: float, max_nfev: int | None) -> None:
    """Refuse tolerances and limits that make no sense."""
    if not (isinstance(tolerance, numbers.Real) and np.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"tolerance={tolerance!r} must be a number above zero")
    if max_nfev is not None and not (isinstance(max_nfev, numbers.Integral) and max_nfev >= 1):
        raise ValueError(f"max_nfev={max_nfev!r} must be an integer of at least 1, or None")


def settings_of(model: Model, program: Program, active: np.ndarray, *, bounded: bool, n_channels: int) -> Settings:
    """Collect the numbers of a model whose components are active as given.

    Raises
    ------
    ValueError
        For a start value out of bounds, bounds that leave no room, no free parameter, or fewer channels than these.
    """
    parameters = [parameter for component in model for parameter in component.parameters]
    on = np.repeat(active, [len(component.parameters) for component in model])
    start = np.array([parameter.value for parameter in parameters], np.float64)
    free = np.array([parameter.free and parameter.tie_formula is None for parameter in parameters])
    lower = np.array([parameter.min for parameter in parameters], np.float64)
    upper = np.array([parameter.max for parameter in parameters], np.float64)
    if not bounded:
        lower, upper = np.full_like(lower, -np.inf), np.full_like(upper, np.inf)
    for k, name in enumerate(program.parameters):
        if not (free[k] and on[k]):
            continue
        if lower[k] == upper[k]:
            raise ValueError(f"{name}: min and max are both {lower[k]}; to keep it there, set value and free=False")
        if not lower[k] <= start[k] <= upper[k]:
            raise ValueError(
                f"{name}: the start value {start[k]} is outside of its bounds [{lower[k]}, {upper[k]}]; "
                f"change the value or the bounds, or fit with bounded=False"
            )
    if not (free & on).any():
        raise ValueError(
            "the model has no free parameter in an active component; set free=True on what is to be fitted"
        )
    count = int((free & on).sum())
    if n_channels < count:
        raise ValueError(
            f"{n_channels} channel(s) can't determine {count} free parameters; fix some or use more channels"
        )
    return Settings(start, lower, upper, free, active)


def broadcastable(
    array: Any, name: str, da: xr.DataArray, allowed: tuple[Hashable, ...], what: str, dtype: str
) -> xr.DataArray:
    """Check that an array fits the data: known dimensions, sizes and labels, and a dtype of the right kind.

    Parameters
    ----------
    array : DataArray
        What came.
    name : str
        The argument, for messages.
    allowed : tuple
        Dimensions that it may have.
    what : str
        What those are, for messages.
    dtype : str
        Kinds of dtype that it may have, as in ``numpy.dtype.kind``.

    Returns
    -------
    DataArray
        The same, transposed to the data's order of dimensions.
    """
    if not isinstance(array, xr.DataArray):
        raise TypeError(f"{name} must be an xarray.DataArray over {what}, not {type(array).__name__}")
    extra = [d for d in array.dims if d not in allowed]
    if extra:
        raise ValueError(f"{name} has dimension(s) {extra}; it may only have {list(allowed)} ({what})")
    if array.dtype.kind not in dtype:
        wanted = "booleans" if dtype == "b" else "real numbers"
        raise TypeError(f"{name} has dtype {array.dtype}; it must hold {wanted}")
    for d in array.dims:
        if array.sizes[d] != da.sizes[d]:
            raise ValueError(f"{name} has size {array.sizes[d]} along {d!r}, the data have {da.sizes[d]}")
        if d in array.indexes and d in da.indexes and not array.indexes[d].equals(da.indexes[d]):
            raise ValueError(
                f"{name} has other labels along {d!r} than the data; align them first (for instance {name}.reindex_like(da))"
            )
    return array.transpose(*(d for d in da.dims if d in array.dims))


def check_variance(variance: Any, da: xr.DataArray) -> xr.DataArray | float | None:
    """Return the variance as a number or an array that fits the data."""
    if variance is None:
        return None
    if isinstance(variance, str):
        raise ValueError(
            f"variance={variance!r} is not known; give 'poisson', an xfit.noise.Poisson, a number or a DataArray that broadcasts "
            f"to the data"
        )
    if isinstance(variance, numbers.Real):
        number = float(variance)
        if not (np.isfinite(number) and number > 0):
            raise ValueError(f"variance={variance} must be above zero")
        return number
    array = broadcastable(variance, "variance", da, tuple(da.dims), "the data's dimensions", "iuf")
    bad = 0 if array.chunks is not None else _not_positive(array.values)
    if bad:
        raise ValueError(
            f"variance must be above zero; {bad} of {array.size} values are not. Set those to NaN to leave their channels out"
        )
    return array


def _not_positive(values: np.ndarray) -> int:
    """How many numbers are zero or below; a piece at a time, for the conditions of a large array would go through memory twice."""
    flat = values.reshape(-1)
    pieces = (flat[first : first + _PIECE] for first in range(0, flat.size, _PIECE))
    # The minimum alone is twice as fast; it is NaN where there is one.
    return sum(0 if piece.min() > 0 else int(np.count_nonzero(piece <= 0)) for piece in pieces)


def check_noise(
    variance: Any, reweight: Any, loss: Loss, da: xr.DataArray
) -> tuple[xr.DataArray | float | None, tuple[float, float, float] | None, Loss]:
    """Settle what the variance is: given, estimated from the data by a detector's noise, or following the model.

    Returns
    -------
    variance : DataArray, float or None
    noise : tuple of float or None
        Gain, offset and correlation, where the variance is estimated from the data.
    loss : Loss
        With the detector in it, where the variance follows the model.
    """
    if not isinstance(reweight, bool | np.bool_):
        raise TypeError(f"reweight={reweight!r} must be True or False")
    detector = Poisson() if isinstance(variance, str) and variance == "poisson" else variance
    if loss.kind == "poisson" and variance is not None:
        raise ValueError("loss='poisson' knows the variance of counts; leave variance out (for a detector's gain and readout noise use "
                         "variance=xfit.noise.Poisson(...) with reweight=True)")  # fmt: skip
    if not isinstance(detector, Poisson):
        if reweight:
            raise ValueError(
                "reweight=True needs to know how the variance follows the model: give variance='poisson' or xfit.noise.Poisson(...)"
            )
        return check_variance(variance, da), None, loss
    numbers_ = (float(detector.gain), float(detector.offset), float(detector.correlation))
    if not reweight:
        return None, numbers_, loss
    if loss.kind != "ls":
        raise ValueError(f"reweight=True is for loss='ls', not {loss.name!r}")
    return None, None, loss.with_detector(*numbers_)


def check_method(optimizer: Optimizer, grad: Any, options: Mapping[str, Any], starts: Any, path: Any) -> None:
    """Refuse what an optimizer does not know: options, derivatives by differences, several starts."""
    if grad not in ("exact", "2-point", "3-point", "cs"):
        raise ValueError(f"grad={grad!r} must be 'exact', '2-point', '3-point' or 'cs'")
    compiled = optimizer.engine in ("kernel", "linear")
    if grad != "exact" and (compiled or optimizer.gradient == "no" or grad == "cs" or optimizer.engine == "odr"):
        raise ValueError(
            f"optimizer {optimizer.name!r} can't take grad={grad!r}: "
            + ("compiled kernels have real arguments only" if grad == "cs" else "it uses exact derivatives or none")
        )
    if starts != 1 and optimizer.engine != "kernel":
        raise ValueError(f"starts={starts!r} is for the optimizers 'lm' and 'varpro', not {optimizer.name!r}")
    if path != "independent" and optimizer.engine == "linear":
        raise ValueError(f"path={path!r} means nothing to optimizer {optimizer.name!r}, which needs no start")
    if optimizer.engine == "kernel" and options:
        raise TypeError(f"unknown option(s) {sorted(options)} for optimizer {optimizer.name!r}")
    if optimizer.engine not in ("kernel", "linear"):
        from xfit.scipy_fits import check_options as check_of_scipy

        check_of_scipy(optimizer, options)


def check_linear(
    optimizer: Optimizer, model: Model, program: Program, settings: Settings, options: Mapping[str, Any]
) -> tuple[Settings, float]:
    """Refuse models that are not linear in what is fitted; return the settings and the penalty of an optimizer for linear ones.

    Raises
    ------
    TypeError, ValueError
        Naming the parameters.
    """
    unknown = sorted(set(options) - ({"alpha"} if optimizer.name == "ridge" else set()))
    if unknown:
        raise TypeError(f"unknown option(s) {unknown} for optimizer {optimizer.name!r}; it knows: "
                        f"{'alpha' if optimizer.name == 'ridge' else 'none'}")  # fmt: skip
    alpha = options.get("alpha", 0.01) if optimizer.name == "ridge" else 0.0
    if isinstance(alpha, bool) or not isinstance(alpha, numbers.Real) or not 0 <= float(alpha) < np.inf:
        raise ValueError(
            f"alpha={alpha!r} must be a number of zero or above: the penalty on the sum of the squares of the parameters"
        )
    bent = nonlinear_parameters(model, settings.active)
    if bent:
        raise ValueError(
            f"optimizer {optimizer.name!r} needs a model that is linear in all that is fitted, jointly; it is not in {', '.join(bent)}. Fix "
            f"these (free=False), or use another optimizer"
        )
    if optimizer.name == "nnls":
        lower = np.where(settings.free, np.maximum(settings.lower, 0.0), settings.lower)
        start = np.where(settings.free, np.maximum(settings.start, lower), settings.start)
        settings = replace(settings, lower=lower, start=start)
    return settings, float(alpha)


def nonlinear_parameters(model: Model, active: np.ndarray) -> list[str]:
    """Full names of parameters in which a model is not linear jointly with the rest, of those that are free or follow from such."""
    free = {p.full_name for component in model for p in component.parameters if p.free}
    resolved = model.resolve_ties()
    found = []
    for component, on in zip(model, active, strict=True):
        for p in component.parameters:
            if not on or (p.is_tied and not set(formula.names(resolved[p.full_name])) & free):
                continue
            if p.is_tied and not _is_affine(resolved[p.full_name], free):
                found.append(f"{p.full_name} (tied to {p.tie_formula})")
            elif (p.free or p.is_tied) and not p.linear:
                found.append(p.full_name)
    return found


def _is_affine(text: str, free: set[str]) -> bool:
    """Whether a tie is linear in the free parameters, with a constant or without."""
    names = sorted(set(formula.names(text)) & free)
    return set(names) <= set(calculus.linear_parameters(formula.parse(text), names))


def check_where(where: Any, da: xr.DataArray) -> xr.DataArray | None:
    """Return the mask of what to use as an array that fits the data."""
    if where is None:
        return None
    return broadcastable(where, "where", da, tuple(da.dims), "the data's dimensions", "b")


def check_active(active: Any, model: Model, da: xr.DataArray, axes: Axes) -> dict[str, xr.DataArray | bool]:
    """Return maps of where components take part, by name."""
    if active is None:
        return {}
    if not isinstance(active, Mapping):
        raise TypeError(f"active must map component names to boolean DataArrays, not {type(active).__name__}")
    names = [component.name for component in model]
    found: dict[str, xr.DataArray | bool] = {}
    for name, value in active.items():
        if name not in names:
            raise ValueError(f"active names {name!r}, which is no component of the model; it has {names}")
        if isinstance(value, bool | np.bool_):
            found[name] = bool(value)
        else:
            found[name] = broadcastable(
                value, f"active[{name!r}]", da, axes.navigation, "the navigation dimensions", "b"
            )
    return found


def check_start(
    start: Any, model: Model, program: Program, settings: Settings, da: xr.DataArray, axes: Axes
) -> tuple[np.ndarray, dict[str, xr.DataArray]]:
    """Return start values for all pixels, and maps of those that differ from pixel to pixel.

    Parameters
    ----------
    start : None, mapping of full parameter name to number or DataArray, or Dataset
        What the user gave; a Dataset is an earlier result (of this model or one that shares parameters).

    Returns
    -------
    values : float64 (n_parameters,)
    maps : dict of str to DataArray
    """
    values = settings.start.copy()
    if start is None:
        return values, {}
    tied = dict(program.ties)
    given = _result_maps(start, program, tied) if isinstance(start, xr.Dataset) else start
    if not isinstance(given, Mapping):
        raise TypeError(
            "start must be None, 'estimate', a mapping of parameter names to numbers or DataArrays, or an earlier result; "
            f"not {start!r}"
        )
    maps: dict[str, xr.DataArray] = {}
    for name, value in given.items():
        if name not in program.parameters:
            raise ValueError(
                f"start names {name!r}, which is no parameter of the model; it has {list(program.parameters)}"
            )
        if name in tied:
            raise ValueError(
                f"start names {name!r}, which is tied to {tied[name]!r}; give start values of those parameters"
            )
        k = program.parameters.index(name)
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            values[k] = _start_number(name, float(value), k, settings)
        else:
            maps[name] = broadcastable(
                value, f"start[{name!r}]", da, axes.navigation, "the navigation dimensions", "iuf"
            )
    return values, maps


def _start_number(name: str, value: float, k: int, settings: Settings) -> float:
    if not np.isfinite(value):
        raise ValueError(f"start[{name!r}] is {value}; it must be finite")
    if settings.free[k] and not settings.lower[k] <= value <= settings.upper[k]:
        raise ValueError(
            f"start[{name!r}] is {value}, outside of the bounds [{settings.lower[k]}, {settings.upper[k]}] of that parameter"
        )
    return value


def _result_maps(result: xr.Dataset, program: Program, tied: Mapping[str, str]) -> dict[str, xr.DataArray]:
    """Maps of the parameters that an earlier result shares with the model."""
    if "value" not in result or "param" not in result.get("value", xr.DataArray()).dims:
        raise ValueError("start is a Dataset without the variable 'value' over 'param': it is no result of a fit")
    known = [str(name) for name in result["param"].values]
    shared = [name for name in program.parameters if name in known and name not in tied]
    if not shared:
        raise ValueError(f"start has no parameter in common with the model: {known} and {list(program.parameters)}")
    value = result["value"]
    return {name: value.isel(param=known.index(name)).reset_coords(drop=True) for name in shared}
