"""A warning of convolved components that have no beginning, such as an exponential through a response."""

from __future__ import annotations

import warnings

import numpy as np
import xarray as xr

from xfit.engine.block.options import Settings
from xfit.engine.codegen.program import Program, compiled_kernel, curve_of
from xfit.modeling.response import ResponseGrid

#: Share of a convolved curve from which on it is worth a warning that it comes from beyond the data.
_GROWTH = 0.01

#: What stands for numbers that are not finite, and for larger ones.
_HUGE = 1e100


def warn_of_growth(
    program: Program, settings: Settings, response: xr.DataArray, grid: ResponseGrid, x: np.ndarray, stacklevel: int = 4
) -> None:
    """Warn of convolved components that have no beginning: what they grow to beyond the data comes
    into these through the response.

    Parameters
    ----------
    program, settings
        The model's structure, and the values that the fit starts from.
    response : DataArray
        As `response_of` gives it. Of a lazy one nothing is read, and each of its points is taken for one that matters.
    grid : ResponseGrid
        Where convolved components are evaluated.
    x : float64 (n_channels,)
        The data's coordinate.

    Warns
    -----
    UserWarning
        Naming each component that grows towards an end of the grid, and of whose convolved curve more than `_GROWTH`
        comes from there. An exponential does; a constant, a peak and a step do not.
    """
    points, middle = grid.points, (x.max() + x.min()) / 2
    inside = np.abs(points - middle) <= (x.max() - x.min() + abs(grid.step)) / 2
    weights = None
    if response.chunks is None:
        values = np.abs(np.where(np.isfinite(response.values), response.values, 0.0))
        weights = values.reshape(-1, values.shape[-1]).mean(axis=0)
    for k, name in enumerate(program.components):
        if not (program.convolved[k] and settings.active[k]):
            continue
        share = _growth(_start_curve(program, settings, k, points), inside, weights)
        if share > _GROWTH:
            warnings.warn(
                f"component {name!r} is convolved with the response and has no beginning: at its start values it "
                f"grows beyond the data, and what is there reaches them through the response ({share:.0%} of its "
                "largest value). Take a component with a beginning, Decay(A, tau, t0) for an Exponential, where(x < "
                "t0, 0, ...) in a formula; or set convolved=False on it",
                UserWarning,
                stacklevel=stacklevel,
            )


def _start_curve(program: Program, settings: Settings, k: int, points: np.ndarray) -> np.ndarray:
    """Curve of a component at the start values; of one that is in proportion to an
    amplitude, for an amplitude of one.
    """
    kernel, proportional = program.kernels[k], compiled_kernel(program.kernels[k]).proportional
    first = sum(len(each.parameters) for each in program.kernels[:k])
    values = settings.start[first : first + len(kernel.parameters)].copy()
    if proportional >= 0:
        values[proportional] = 1.0
    return curve_of(kernel, points, values)


def _growth(curve: np.ndarray, inside: np.ndarray, weights: np.ndarray | None) -> float:
    """Share of a convolved curve's largest value that comes from what the curve grows to beyond the data,
    towards either end of the grid.
    """
    largest = np.abs(curve[inside]).max()
    if not 0 < largest < np.inf:
        return 0.0
    size = np.nan_to_num(np.abs(curve) / largest, nan=_HUGE, posinf=_HUGE).clip(max=_HUGE)
    first, last = np.flatnonzero(inside)[[0, -1]]
    beyond = np.zeros(size.shape, bool)
    beyond[:first], beyond[last + 1 :] = size[0] > 1, size[-1] > 1
    excess = np.where(beyond, size - 1, 0.0).clip(min=0.0)
    if weights is None:
        return float(excess.max() / (excess.max() + 1))
    reached = np.convolve(excess, weights, "valid")
    return float(reached.max() / max((reached + np.convolve(size - excess, weights, "valid")).max(), 1 / _HUGE))
