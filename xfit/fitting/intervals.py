"""Confidence intervals as maps: from the profile of the loss, or from fits to simulated data."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.matching import check_fitted
from xfit.engine.block.interval_block import Intervals
from xfit.engine.codegen.program import Program
from xfit.fitting.planning.arguments import FIT_ARGUMENTS, FitArguments
from xfit.fitting.planning.plan import Plan, make_plan
from xfit.fitting.running.map_blocks import run
from xfit.modeling.model import Model
from xfit.noise import Poisson


def conf_interval(
    result: xr.Dataset,
    model: Model,
    dims: tuple[str, ...],
    da: xr.DataArray,
    params: Sequence[str] | None,
    *,
    method: str,
    level: float | Sequence[float],
    samples: int,
    seed: int,
    options: Mapping[str, Any],
) -> xr.Dataset:
    """Find confidence intervals; see `xfit.result_accessor.Result.conf_interval`."""
    levels = _levels(level)
    if method not in ("profile", "bootstrap"):
        raise ValueError(f"method={method!r} must be 'profile' or 'bootstrap'")
    for name, value, least in (("samples", samples, 10), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name}={value!r} must be an integer of at least {least}")
    plan = again(result, model, dims, da, options)
    names = _names(params, result, model)
    loss = plan.fit_spec.options.loss
    if method == "profile" and not (loss.has_likelihood or loss.iterated):
        raise ValueError(
            f"method='profile' needs a loss that is a likelihood, which {loss.name!r} is not; use method='bootstrap'"
        )
    positions = tuple(plan.fit_spec.program.parameters.index(name) for name in names)
    intervals = Intervals(positions, levels, method, int(samples), int(seed))
    extra, roles = list(plan.extra), plan.fit_spec.roles
    if method == "bootstrap":
        sizes = [da.sizes[d] for d in plan.axes.navigation]
        extra.append(xr.DataArray(np.arange(int(np.prod(sizes))).reshape(sizes), dims=plan.axes.navigation))
        roles = (*roles, ("number", "", plan.axes.navigation))
    fit_spec = replace(plan.fit_spec, intervals=intervals, roles=roles)
    packed = run(da, plan.axes, fit_spec, extra)
    return _dataset(packed, result, plan, names, levels, method)


def _levels(level: Any) -> tuple[float, ...]:
    """Check probabilities."""
    given = (level,) if isinstance(level, numbers.Real) else tuple(level)
    for each in given:
        if isinstance(each, bool) or not isinstance(each, numbers.Real) or not 0 < float(each) < 1:
            raise ValueError(f"level={level!r} must be a probability between 0 and 1, such as 0.95, or several of them")
    return tuple(float(each) for each in given)


def _names(params: Sequence[str] | None, result: xr.Dataset, model: Model) -> list[str]:
    """Check which parameters are meant."""
    free = [str(n) for n, fitted in zip(result["param"].values, result["free"].values, strict=True) if fitted]
    if params is None:
        return free
    given = [params] if isinstance(params, str) else list(params)
    wrong = [name for name in given if name not in free]
    if wrong or not given:
        raise ValueError(f"params {wrong}: no free parameter(s) of the fit; those are {free}")
    return given


def again(
    result: xr.Dataset, model: Model, dims: tuple[str, ...], da: xr.DataArray, options: Mapping[str, Any]
) -> Plan:
    """Plan a fit like the one that gave a result, starting at its values.

    Parameters
    ----------
    options : mapping
        What a result does not hold and the user must give again: ``variance``, ``where``, ``bounds``, a loss of one's
        own; also what is to be different.
    """
    check_fitted(result, dims, da, Program.from_model(model).coordinates)
    return make_plan(da, model, dims, FitArguments.of(settings_like(result, model, options)))


def settings_like(result: xr.Dataset, model: Model, options: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a fit like the one that gave a result, starting at its values; see `again`."""
    attrs = result.attrs
    known = {"variance", "where", "bounds", "loss", "start", "starts", "spread", "optimizer", "covariance"}
    kept = sorted(FIT_ARGUMENTS & set(options) - known)
    if kept:
        raise TypeError(f"{', '.join(kept)} can't be given: as in the fit that gave the result; give {sorted(known)}")
    settings: dict[str, Any] = {
        "optimizer": "lm",
        "loss": attrs["xfit_loss"],
        "bounded": bool(attrs["xfit_bounded"]),
        "binned": bool(attrs["xfit_binned"]),
        "tolerance": float(attrs["xfit_tolerance"]),
        "start": result,
        "active": _active(result, model),
    }
    if "xfit_loss_scale" in attrs:
        settings["loss_scale"] = float(attrs["xfit_loss_scale"])
    if attrs["xfit_loss"] in ("ls", "poisson"):
        settings["scale_covariance"] = bool(attrs["xfit_scale_covariance"])
    if "xfit_noise_gain" in attrs and "variance" not in options:
        noise = (float(attrs[f"xfit_noise_{key}"]) for key in ("gain", "offset", "correlation"))
        settings |= {"variance": Poisson(*noise), "reweight": bool(attrs["xfit_reweight"])}
    return settings | dict(options)


def _active(result: xr.Dataset, model: Model) -> dict[str, xr.DataArray] | None:
    """Where components took part, by the values that are missing elsewhere."""
    values, names = result.variables["value"], list(map(str, result["param"].values))
    fitted = values.notnull()
    nowhere = ~fitted.any("param")
    labels = {d: result[d] for d in nowhere.dims if d in result.coords}
    found = {}
    for component in model:
        places = [names.index(p.full_name) for p in component.parameters]
        if places and component.active:
            found[component.name] = fitted.isel(param=places).all("param") | nowhere
    if all(each.chunks is None and each.values.all() for each in found.values()):
        return None
    return {name: xr.DataArray(on, coords=labels) for name, on in found.items()}


def _dataset(
    packed: Any, result: xr.Dataset, plan: Plan, names: list[str], levels: tuple[float, ...], method: str
) -> xr.Dataset:
    """Label the ends of the intervals."""
    navigation = plan.axes.navigation
    shape = (*packed.shape[:-1], len(levels), len(names), 2)
    array = packed.reshape(shape)
    coords: dict[Any, Any] = {
        name: c
        for name, c in result["value"].coords.items()
        if set(c.dims) <= set(navigation) and name not in ("param",)
    }
    units = dict(zip(map(str, result["param"].values), result["units"].values, strict=True))
    coords |= {
        "level": ("level", np.array(levels), {"long_name": "probability that the interval holds"}),
        "param": ("param", np.array(names, object)),
        "units": ("param", np.array([units[name] for name in names], object)),
    }
    dims = (*navigation, "level", "param")
    variables = {
        side: (dims, array[..., k], {"long_name": f"{side} end of the confidence interval"})
        for k, side in enumerate(("lower", "upper"))
    }
    found = xr.Dataset(variables, coords=coords, attrs={"method": method})
    return found.isel(level=0) if len(levels) == 1 else found
