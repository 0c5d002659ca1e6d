"""What a user says of a fit, checked before any work starts: the data, the model, the optimizer and its options."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.axes import Axes
from xfit.arrays.matching import broadcastable
from xfit.arrays.storable import check_chunk_sizes
from xfit.display import cleaned
from xfit.engine.block.optimizers import Optimizer
from xfit.engine.block.options import FitOptions, Settings
from xfit.engine.codegen.program import Program
from xfit.engine.losses import Loss
from xfit.formulas import calculus, parser
from xfit.modeling.model import Model
from xfit.modeling.ties import values_of


def check_data(da: xr.DataArray) -> None:
    """Refuse what is no array of real numbers."""
    if not isinstance(da, xr.DataArray):
        raise TypeError(f"the data must be an xarray.DataArray, not {type(da).__name__}")
    if da.dtype.kind not in "iuf":
        raise TypeError(f"the data have dtype {da.dtype}; a fit needs real numbers (integers or floats)")
    if da.dtype.kind == "f" and da.dtype.itemsize > 8:
        raise TypeError(f"the data have dtype {da.dtype}; a fit computes in float64: convert with .astype('float64')")
    check_chunk_sizes(da, "da")


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
            f"scale_covariance={scale_covariance} means nothing to loss {loss.name!r}, whose errors have the scale of "
            "the deviations themselves; leave it out"
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
    on = program.fitted(settings.free, settings.active)
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
                f"bounds names {name!r}, which is no parameter that can be fitted; the model has "
                f"{list(program.parameters)}"
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
    on = program.fitted(settings.free, settings.active)
    mapped = {name for name, _ in maps}
    lower, upper = np.isfinite(settings.lower), np.isfinite(settings.upper)
    for k in np.flatnonzero(on):
        name = program.parameters[k]
        if optimizer.bounds == "no" and (lower[k] or upper[k] or name in mapped):
            raise ValueError(
                f"optimizer {optimizer.name!r} can't keep bounds, and {cleaned(name)} has [{settings.lower[k]}, "
                f"{settings.upper[k]}]; fit with bounded=False, or use an optimizer that can (xfit.optimizers() lists "
                "them)"
            )
        finite = (lower[k] or (name, "min") in maps) and (upper[k] or (name, "max") in maps)
        if optimizer.bounds == "finite" and not finite:
            raise ValueError(
                f"optimizer {optimizer.name!r} searches between finite bounds, and {cleaned(name)} has "
                f"[{settings.lower[k]}, {settings.upper[k]}]; set min and max of all free parameters (and bounded=True)"
            )


def check_options(options: FitOptions) -> None:
    """Refuse options of the engine that make no sense, such as tolerances and limits."""
    tolerance, max_nfev = options.tolerance, options.max_nfev
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
    start = np.array(values_of(parameters), np.float64)
    free = np.array([parameter.free and parameter.tie_formula is None for parameter in parameters])
    lower = np.array([parameter.min for parameter in parameters], np.float64)
    upper = np.array([parameter.max for parameter in parameters], np.float64)
    fitted = program.fitted(free, active)
    if not bounded:
        lower, upper = np.full_like(lower, -np.inf), np.full_like(upper, np.inf)
    for k, name in enumerate(program.parameters):
        if not fitted[k]:
            continue
        if lower[k] == upper[k]:
            raise ValueError(
                f"{cleaned(name)}: min and max are both {lower[k]}; to keep it there, set value and free=False"
            )
        if not lower[k] <= start[k] <= upper[k]:
            raise ValueError(
                f"{cleaned(name)}: the start value {start[k]} is outside of its bounds [{lower[k]}, {upper[k]}]; "
                f"change the value or the bounds, or fit with bounded=False"
            )
    if not fitted.any():
        raise ValueError(
            "the model has no free parameter in an active component; set free=True on what is to be fitted"
        )
    count = int(fitted.sum())
    if n_channels < count:
        raise ValueError(
            f"{n_channels} channel(s) can't determine {count} free parameters; fix some or use more channels"
        )
    return Settings(start, lower, upper, free, active)


def check_method(
    optimizer: Optimizer, grad: Any, options: Mapping[str, Any], starts: Any, path: Any, arguments: Iterable[str] = ()
) -> None:
    """Refuse what an optimizer does not know: options, derivatives by differences, several starts;
    ``arguments`` are what a fit has besides.
    """
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
        close = [found[0] for name in sorted(options) if (found := difflib.get_close_matches(name, list(arguments), 1))]
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise TypeError(f"unknown option(s) {sorted(options)} for optimizer {optimizer.name!r}, which has none{hint}")
    if optimizer.engine not in ("kernel", "linear"):
        from xfit.engine.block.scipy_fits import check_options as check_of_scipy

        check_of_scipy(optimizer, options)


def check_linear(
    optimizer: Optimizer, model: Model, program: Program, settings: Settings, options: Mapping[str, Any]
) -> tuple[Settings, float]:
    """Refuse models that are not linear in what is fitted; return the settings and the penalty of
    an optimizer for linear ones.

    Raises
    ------
    TypeError, ValueError
        Naming the parameters.
    """
    unknown = sorted(set(options) - ({"alpha"} if optimizer.name == "ridge" else set()))
    if unknown:
        raise TypeError(
            f"unknown option(s) {unknown} for optimizer {optimizer.name!r}; it knows: "
            f"{'alpha' if optimizer.name == 'ridge' else 'none'}"
        )
    alpha = options.get("alpha", 0.01) if optimizer.name == "ridge" else 0.0
    if isinstance(alpha, bool) or not isinstance(alpha, numbers.Real) or not 0 <= float(alpha) < np.inf:
        raise ValueError(
            f"alpha={alpha!r} must be a number of zero or above: the penalty on the sum of the squares of the "
            "parameters"
        )
    bent = nonlinear_parameters(model, settings.active)
    if bent:
        raise ValueError(
            f"optimizer {optimizer.name!r} needs a model that is linear in all that is fitted, jointly; it is not in "
            f"{cleaned(', '.join(bent))}. Fix these (free=False), or use another optimizer"
        )
    if optimizer.name == "nnls":
        lower = np.where(settings.free, np.maximum(settings.lower, 0.0), settings.lower)
        start = np.where(settings.free, np.maximum(settings.start, lower), settings.start)
        settings = replace(settings, lower=lower, start=start)
    return settings, float(alpha)


def nonlinear_parameters(model: Model, active: np.ndarray) -> list[str]:
    """Full names of parameters in which a model is not linear jointly with the rest, of those that
    are free or follow from such.
    """
    # What a fit changes: free parameters, and what follows from such, directly or through others.
    moving = {p.full_name for component in model for p in component.parameters if p.free}
    bent: set[str] = set()
    for name, text in model.resolve_ties().items():
        followed = sorted(set(parser.names(text)) & moving)
        if followed:
            moving.add(name)
            if not bent.isdisjoint(followed) or not _is_affine(text, followed):
                bent.add(name)
    found = []
    for component, on in zip(model, active, strict=True):
        for p in component.parameters:
            if not on or p.full_name not in moving:
                continue
            if p.full_name in bent:
                found.append(f"{cleaned(p.full_name)} (tied to {cleaned(str(p.tie_formula))})")
            elif not p.linear:
                found.append(p.full_name)
    return found


def _is_affine(text: str, names: Sequence[str]) -> bool:
    """Whether a tie is linear in parameters, with a constant or without."""
    return set(names) <= set(calculus.linear_parameters(parser.parse(text), names))
