"""Plan: what a user asks of a fit, checked before any work starts and laid out like the data."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.axes import Axes, axes_of, coordinates_taken, signal_dims, with_signal_coordinates
from xfit.arrays.matching import check_where
from xfit.arrays.storable import check_signal_names
from xfit.engine.block.optimizers import check_pair, optimizer_of
from xfit.engine.block.options import Settings
from xfit.engine.block.precompile import part_for, prepare_ahead
from xfit.engine.codegen.program import Program
from xfit.engine.losses import Loss, loss_of
from xfit.fitting.planning import array_inputs, checks
from xfit.fitting.planning.arguments import FIT_ARGUMENTS, FitArguments
from xfit.fitting.planning.fit_spec import FitSpec
from xfit.fitting.planning.growth import warn_of_growth
from xfit.fitting.planning.start_estimates import estimated_start, split_start
from xfit.modeling.derived import pairs_of
from xfit.modeling.model import Model
from xfit.modeling.response import ResponseGrid, response_of
from xfit.modeling.units import check_units, parameter_units
from xfit.results.assembly import check_names
from xfit.results.component_digests import as_text, digests_of


@dataclass(frozen=True)
class Plan:
    """A fit that is about to be made.

    Attributes
    ----------
    da, model, axes
        The data (with a coordinate along every signal dimension that has one), the model as it was at the call, and the
        signal space.
    fit_spec : FitSpec
        What travels with every task.
    extra : tuple of DataArray
        Further arrays, in the order of the fit_spec's roles.
    how : mapping
        What the result's attributes say of the fit.
    """

    da: xr.DataArray
    model: Model
    axes: Axes
    fit_spec: FitSpec
    extra: tuple[xr.DataArray, ...]
    how: Mapping[str, Any]


def make_plan(
    da: xr.DataArray, model: Model, dim: Hashable | Sequence[Hashable] | None = None, asked: FitArguments | None = None
) -> Plan:
    """Check what a user asks for.

    Parameters
    ----------
    da, model, dim
        As for `xfit.multifit`.
    asked : FitArguments, optional
        Its other arguments.

    Raises
    ------
    TypeError, ValueError
        For what can't be fitted.
    """
    asked = asked or FitArguments()
    engine, optimizer_options = asked.engine, asked.optimizer_options
    checks.check_data(da)
    checks.check_model(model)
    # The fit is of the model as it is now: another thread, or the user before a lazy result is computed, may change it.
    model = model.copy()
    check_names(da)
    method = optimizer_of(engine.optimizer)
    variance, noise, loss = array_inputs.check_noise(
        asked.variance, asked.reweight, loss_of(asked.loss, asked.loss_scale), da
    )
    check_pair(method, loss)
    checks.check_options(engine)
    checks.check_method(method, engine.grad, optimizer_options, engine.starts, asked.path, FIT_ARGUMENTS)
    scaled = checks.check_scaling(asked.scale_covariance, loss)
    program = Program.from_model(model)
    dims = signal_dims(da, dim, model.signal_dimension)
    check_signal_names(dims)
    given, da = da, with_signal_coordinates(da, dims, program.coordinates, program.coordinates_read)
    axes = axes_of(da, dims, program.coordinates, asked.binned)
    units = dict(zip(program.parameters, parameter_units(model, da, axes), strict=True))
    response, grid = response_of(model, da, axes.dims, da, axes.navigation)
    text = model.to_json()
    masks = array_inputs.check_active(asked.active, model, da, axes)
    active = _somewhere(model, masks)
    where = check_where(asked.where, da)
    n_channels = array_inputs.channels_used(where, axes)
    settings = checks.settings_of(model, program, active, bounded=asked.bounded, n_channels=n_channels)
    start, ranges = split_start(asked.start, model)
    values, maps = array_inputs.check_start(start, model, program, settings, da, axes)
    left_over = da.attrs.get("units")
    check_units(maps, "start", units, None if isinstance(start, xr.Dataset) else left_over)
    alpha = 0.0
    if method.engine == "linear":
        settings, alpha = checks.check_linear(method, model, program, settings, optimizer_options)
        optimizer_options = {}
    settings, limits = checks.check_bounds(asked.bounds, program, replace(settings, start=values), da, axes)
    for (name, side), array in limits.items():
        check_units({name: array}, f"bounds, {side}", units, left_over)
    checks.check_keeps_bounds(method, program, settings, limits)
    reach = checks.check_search(engine.starts, asked.spread, asked.path, program, settings)
    estimations = estimated_start(ranges, start, model, program, settings, axes)
    _check_reach(model, settings, axes, where, grid)
    positions = {name: k for k, name in enumerate(program.parameters)}
    pairs = () if engine.covariance else tuple((positions[a], positions[b]) for a, b in pairs_of(model))
    options = replace(
        engine,
        optimizer=method.name,
        starts=int(engine.starts),
        scale_covariance=scaled,
        pairs=pairs,
        loss=loss,
        spread=reach,
        chained=asked.path != "independent",
        optimizer_options=tuple(sorted(optimizer_options.items())),
        noise=noise,
        alpha=alpha,
    )
    if method.engine == "kernel" and da.chunks is None:
        # What is lazy may be fitted elsewhere; what linear fits need depends on the data.
        prepare_ahead(part_for(program, options))
    program.load()
    if response is not None and grid is not None:
        warn_of_growth(program, settings, response, grid, axes.table[axes.names.index("x")])
    extra: list[tuple[str, str, xr.DataArray]] = [("start", name, array) for name, array in maps.items()]
    extra += [("active", name, array) for name, array in masks.items() if isinstance(array, xr.DataArray)]
    if isinstance(variance, xr.DataArray):
        extra.append(("variance", "", variance))
    if where is not None:
        extra.append(("where", "", where))
    if response is not None:
        extra.append(("response", "", response))
    extra += [(side, name, array) for (name, side), array in limits.items()]
    extra = [(role, name, _kept(role, array)) for role, name, array in extra]
    fit_spec = FitSpec(
        program=program,
        settings=settings,
        options=options,
        names=axes.names,
        navigation=axes.navigation,
        signal=axes.dims,
        variance=variance if isinstance(variance, float) else None,
        roles=tuple((role, name, tuple(array.dims)) for role, name, array in extra),
        estimations=estimations,
        grid=grid,
        path=asked.path,
    )
    how = {
        "model": text,
        **({"digests": as_text(digests)} if (digests := digests_of(model, program.kernels)) else {}),
        "optimizer": method.name,
        "loss": loss.name,
        "bounded": int(asked.bounded),
        "tolerance": engine.tolerance,
        **_noted(loss, noise, asked.path, options.starts),
        **_taken(given, da),
        **({"alpha": alpha} if alpha else {}),
    }
    return Plan(da, model, axes, fit_spec, tuple(array for _, _, array in extra), how)


def _kept(role: str, array: xr.DataArray) -> xr.DataArray:
    """A map that the user may change while the fit runs, as it is now; what is as large as the data is not copied."""
    return array if array.chunks is not None or role in ("variance", "where") else array.copy(data=array.values.copy())


def _noted(loss: Loss, noise: tuple[float, float, float] | None, path: str, starts: int) -> dict[str, Any]:
    """What else the result's attributes say of how the fit was made, where it is not the usual."""
    noted: dict[str, Any] = {"loss_scale": loss.scale} if loss.robust else {}
    if noise is not None or loss.iterated:
        gain, offset, correlation = noise or (loss.gain, loss.offset, loss.correlation)
        noted |= {
            "noise_gain": gain,
            "noise_offset": offset,
            "noise_correlation": correlation,
            "reweight": int(loss.iterated),
        }
    if path != "independent":
        noted["path"] = path
    return noted | ({"starts": int(starts)} if starts > 1 else {})


def _check_reach(
    model: Model, settings: Settings, axes: Axes, where: xr.DataArray | None, grid: ResponseGrid | None
) -> None:
    """Have components that are given by tables refuse channels, or points of the response's
    grid, that these don't reach to.
    """
    used = np.ones(int(np.prod(axes.shape)), bool)
    if where is not None and where.chunks is None and set(where.dims) <= set(axes.dims):
        missing = [d for d in axes.dims if d not in where.dims]
        sizes = dict(zip(axes.dims, axes.shape, strict=True))
        used = where.expand_dims({d: sizes[d] for d in missing}).transpose(*axes.dims).values.ravel()
    first = 0
    for component, on in zip(model, settings.active, strict=True):
        names = [parameter.name for parameter in component.parameters]
        values = dict(zip(names, map(float, settings.start[first:]), strict=False))
        first += len(names)
        if not on:
            continue
        if grid is not None and component.convolved:
            component.check_reach(values, grid.points)
        else:
            component.check_reach(values, *(axes.table[axes.names.index(name)][used] for name in component.coordinates))


def _taken(given: xr.DataArray, da: xr.DataArray) -> dict[str, str]:
    """Which coordinates stand for dimensions that have none of their own, as JSON."""
    taken = coordinates_taken(given, da)
    return {"coordinates": json.dumps(taken, ensure_ascii=False)} if taken else {}


def _somewhere(model: Model, masks: dict[str, xr.DataArray | bool]) -> np.ndarray:
    """Whether each component takes part, at least in some pixels where a map says in which."""
    given = [masks.get(component.name, component.active) for component in model]
    return np.array([True if isinstance(value, xr.DataArray) else value for value in given])
