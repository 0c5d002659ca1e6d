"""Maps of the shapes that components have in their limits, fits of them, and what must hold of every pixel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from tests.support.library import CASES
from xfit import Model
from xfit.engine.block.options import FitOptions
from xfit.engine.block.pixel_problem import PixelProblem, Pixels
from xfit.engine.block.prepared_fit import Workbench
from xfit.engine.codegen.program import Program
from xfit.engine.pixel.rows import Block
from xfit.fitting.planning.checks import settings_of

LOSSES = ("ls", "poisson", "huber", "soft_l1", "cauchy", "arctan")
BOUNDS = ("own", "narrow")

#: Largest relative difference between the stored chi-squared and that of the stored values: the last step is taken
#: without an evaluation only where the quadratic model is right to a small part of the 1e-6 residual variances that it
#: promises at most.
AGREEMENT = 1e-9


@dataclass(frozen=True)
class Setting:
    """One fit of all shapes: a component of the library, what is minimised, the bounds, and the optimizer."""

    component: str
    loss: str
    bounds: str
    optimizer: str = "lm"


def settings() -> Iterator[Setting]:
    """All of them."""
    for name in CASES:
        for bounds in BOUNDS:
            for loss in LOSSES:
                yield Setting(name, loss, bounds)
            yield Setting(name, "ls", bounds, "varpro")
            yield Setting(name, "ls", bounds, "trf")


def shapes(name: str, counts: bool) -> xr.DataArray:
    """Data: a Gaussian, a Lorentzian, a wide tail, a constant, nothing, one high channel, a step, and noise."""
    case = CASES[name]
    random = np.random.default_rng(5)
    x: np.ndarray
    y: np.ndarray
    if len(case.component().coordinates) == 2:
        axis = np.linspace(*case.x, 17)
        y, x = np.meshgrid(axis, axis, indexing="ij")
        coords = {"y": axis, "x": axis}
    else:
        x, y = np.linspace(*case.x, 81), np.zeros(81)
        coords = {"x": x}
    u2 = ((x - x.mean()) ** 2 + (y - y.mean()) ** 2) / (np.ptp(x) / 8) ** 2
    nothing = np.zeros_like(u2)
    high = nothing.copy()
    high.ravel()[high.size // 3] = 50.0
    curves = np.stack(
        [
            10 * np.exp(-u2 / 2),
            10 / (1 + u2),
            10 / (1 + u2) ** 0.7,
            nothing + 3,
            nothing,
            high,
            10.0 * (x > x.mean()),
            nothing,
        ]
    )
    noisy = np.ones((len(curves),) + (1,) * u2.ndim)
    noisy[4] = 0.0
    data = curves + 0.2 * noisy * random.standard_normal(curves.shape)
    if counts:
        data = random.poisson(np.maximum(curves, 0.0) + 0.5 * noisy).astype(float)
    return xr.DataArray(data, dims=("pixel", *coords), coords=coords)


def model_of(setting: Setting) -> Model:
    """The component begun 20 % off, within bounds of its own, or such that many fits end on them."""
    component = CASES[setting.component].component()
    for parameter in component.parameters:
        if not parameter.free:
            continue
        low = -np.inf if parameter.min is None else parameter.min
        high = np.inf if parameter.max is None else parameter.max
        start = min(max(parameter.value * 1.2 if parameter.value else 0.1, low), high)
        parameter.value = start
        if setting.bounds == "narrow":
            spread = 0.4 * abs(start) + 0.1
            parameter.set(min=max(low, start - spread), max=min(high, start + spread))
    return Model([component])


def fitted(setting: Setting, da: xr.DataArray) -> xr.Dataset:
    """Fit all shapes."""
    variance = None if setting.loss in ("ls", "poisson") else 0.04
    return da.fit.multifit(model_of(setting), loss=setting.loss, variance=variance, optimizer=setting.optimizer)


def disagreement(setting: Setting, da: xr.DataArray, fit: xr.Dataset) -> np.ndarray:
    """Difference between the stored chi-squared and that of the stored values, over what it may
    be; below one where they agree.
    """
    dims = da.dims[1:]
    curve = fit.fit.evaluate()
    if setting.loss == "poisson":
        # Pearson's, with the variance of the model; below a billionth of the mean count it is that.
        mean = da.clip(0).mean(dims)
        variance = curve.clip(min=1e-9 * mean.where(mean > 0, 1.0))
    else:
        variance = xr.ones_like(curve) * (1.0 if setting.loss == "ls" else 0.04)
    chisq = ((da - curve) ** 2 / variance).sum(dims)
    # What rounding to the last digit of model and data, which are no larger than the largest of them, does to the sum
    # of squares.
    size = np.maximum(abs(da), abs(curve)).max(dims)
    rounding = 1e-15 * size * np.sqrt((chisq / variance.min(dims)) * da[0].size) + (1e-15 * size) ** 2 * da[0].size
    known = np.isfinite(fit.value).all("param") & np.isfinite(curve).all(dims)
    return (abs(chisq - fit.chisq) / (AGREEMENT * chisq + rounding + 1e-300)).where(known, 0.0).values


def cosines(setting: Setting, da: xr.DataArray, fit: xr.Dataset) -> np.ndarray:
    """Largest cosine between the deviations and the column of a parameter that no bound holds, of least squares.

    Derivatives are the compiled ones, which tests of the components compare with mpmath's: differences would be too
    coarse.
    """
    model = model_of(setting)
    program = Program.from_model(model)
    axes = np.meshgrid(*(da[d].values for d in da.dims[1:]), indexing="ij")
    coordinates = {str(d): axis.ravel() for d, axis in zip(da.dims[1:], axes, strict=True)}
    n = axes[0].size
    numbers = settings_of(model, program, np.ones(1, bool), bounded=True, n_channels=n)
    bench = Workbench(program, numbers, FitOptions(), coordinates, n)
    pattern = bench.pattern(numbers.active)
    values = fit.value.sel(param=list(program.parameters)).transpose("pixel", "param").values.copy(order="C")
    largest = np.zeros(len(values))
    for i in np.flatnonzero(np.isfinite(values).all(axis=1)):
        block = Block(
            np.ascontiguousarray(da.values[i].reshape(1, -1)),
            np.empty((1, 0)),
            np.empty((1, 0), bool),
            np.empty(0),
            values[i][None],
            numbers.lower[None],
            numbers.upper[None],
            np.empty((0, 2), np.int64),
            np.full((1, 4 * values.shape[1] + 9), np.nan),
        )
        pixels = Pixels(
            pattern.problem,
            block,
            np.empty((1, 0)),
            pattern.free,
            pattern.limits,
            FitOptions().loss,
            block.y,
            block.variance,
        )
        problem = PixelProblem(pixels)
        assert problem.begin(0)
        theta = values[i][pattern.free]
        deviations, jacobian = problem.deviations(theta)
        slope = jacobian.T @ deviations
        norm = np.linalg.norm(jacobian, axis=0) * np.linalg.norm(deviations)
        lower, upper = problem.bounds
        held = ((theta <= lower) & (slope >= 0)) | ((theta >= upper) & (slope <= 0)) | (norm == 0)
        largest[i] = np.where(held, 0.0, abs(slope) / np.where(norm > 0, norm, 1.0)).max()
    return largest


def falls(setting: Setting, da: xr.DataArray, fit: xr.Dataset) -> np.ndarray:
    """Largest relative decrease of least squares by a change of one free parameter within its bounds,
    of many sizes and both signs.

    Up to a hundredth of the parameter: from a kink, larger ones may lead over a hill to another minimum.
    """
    free = {p.full_name: p for component in model_of(setting) for p in component.parameters if p.free}
    dims = da.dims[1:]
    largest = np.zeros(da.sizes["pixel"])
    for name, parameter in free.items():
        own = fit.value.sel(param=name)
        size = abs(own).clip(min=1e-3)
        for change in np.outer([1.0, -1.0], 10.0 ** np.arange(-9, -1)).ravel():
            moved = (own + change * size).clip(
                -np.inf if parameter.min is None else parameter.min, np.inf if parameter.max is None else parameter.max
            )
            other = fit.assign(value=fit.value.where(fit.param != name, moved))
            loss = ((da - other.fit.evaluate()) ** 2).sum(dims, skipna=False)
            largest = np.fmax(largest, ((fit.chisq - loss) / fit.chisq).values)
    return largest
