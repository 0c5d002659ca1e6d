"""Confidence intervals of a block: pixels x channels in, ends of intervals out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy

from xfit.engine.block.arguments import BlockArguments
from xfit.engine.block.cancellation import check
from xfit.engine.block.counts import variance_of_counts
from xfit.engine.block.fit_block import evaluate_block, fit_block
from xfit.engine.block.options import Columns, FitOptions, Settings
from xfit.engine.codegen.program import Program
from xfit.engine.pixel.status import CONVERGED

#: Numbers of simulated data that are fitted together.
_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Intervals:
    """What intervals are asked for.

    Attributes
    ----------
    positions : tuple of int
        Positions of the parameters.
    levels : tuple of float
        Probabilities that the intervals hold.
    method : {"profile", "bootstrap"}
        How they are found.
    samples, seed : int
        Of the bootstrap.
    """

    positions: tuple[int, ...]
    levels: tuple[float, ...]
    method: str
    samples: int
    seed: int

    @property
    def width(self) -> int:
        """Length of a pixel's row: both ends for every level and parameter."""
        return 2 * len(self.levels) * len(self.positions)


def interval_block(
    intervals: Intervals,
    program: Program,
    settings: Settings,
    y: np.ndarray,
    coordinates: Mapping[str, np.ndarray],
    numbers: np.ndarray | None,
    arguments: BlockArguments,
) -> np.ndarray:
    """Find the intervals of every pixel of a block.

    Parameters
    ----------
    numbers : int64 (n_pixels,), optional
        A number of each pixel by which its random numbers are drawn, the same however the data are cut into blocks.
    arguments : BlockArguments
        Those of the fit; its start values are the solutions.

    Returns
    -------
    float64 (n_pixels, Intervals.width)
        In the order level, parameter, end.
    """
    if intervals.method == "profile":
        ends = fit_block(
            program,
            settings,
            y,
            coordinates,
            arguments,
            profile=profile_factors(intervals, arguments.options, y.shape[1]),
        )
        return ends.reshape(len(y), -1)
    assert numbers is not None
    return _bootstrap(intervals, program, settings, y, coordinates, numbers, arguments).reshape(len(y), -1)


def profile_factors(intervals: Intervals, options: FitOptions, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions, and by how much the loss rises at the ends, by level and degrees of freedom.

    Where the scale of the errors is taken from the fit it is the quantile of the F distribution, as in lmfit's
    ``conf_interval``, else that of chi-squared (Wilks, Ann. Math. Statist. 9, 60 (1938), doi:10.1214/aoms/1177732360).
    """
    levels = np.array(intervals.levels)[:, None]
    dof = np.arange(channels + 1)[None]
    if options.scale_covariance:
        factors = scipy.special.fdtri(1, np.maximum(dof, 1), levels)
    else:
        factors = np.broadcast_to(scipy.special.chdtri(1, 1 - levels), (levels.size, dof.size))
    return np.array(intervals.positions, np.int64), np.ascontiguousarray(factors)


def _bootstrap(
    intervals: Intervals,
    program: Program,
    settings: Settings,
    y: np.ndarray,
    coordinates: Mapping[str, np.ndarray],
    numbers: np.ndarray,
    arguments: BlockArguments,
) -> np.ndarray:
    """Percentiles of fits to data that are drawn anew from the fitted model (Efron, Ann. Statist. 7, 1 (1979))."""
    noise = arguments.options.noise
    if noise is not None:
        # The variance stays that of the data that were measured.
        variance = variance_of_counts(y, *noise)
        arguments = replace(arguments, variance=variance, options=replace(arguments.options, noise=None))
    levels = np.array(intervals.levels)
    ends = np.full((len(y), levels.size, len(intervals.positions), 2), np.nan)
    fitted = fit_block(program, settings, y, coordinates, arguments)
    columns = Columns.of(len(settings.start), arguments.options).slices
    values = fitted[:, columns["value"]]
    good = np.flatnonzero(fitted[:, columns["status"]][:, 0] == CONVERGED)
    model = evaluate_block(
        program, values, coordinates, width=arguments.width, response=arguments.response, grid=arguments.grid
    )
    step = max(_AT_ONCE // (intervals.samples * y.shape[1]), 1)
    chances = np.stack([(1 - levels) / 2, (1 + levels) / 2], axis=1).ravel()
    for first in range(0, good.size, step):
        check()
        pixels = good[first : first + step]
        scale = (
            fitted[pixels, columns["red_chisq"]].ravel() if arguments.options.scale_covariance else np.ones(pixels.size)
        )
        data = np.concatenate(
            [_drawn(i, s, intervals, y, model, numbers, arguments) for i, s in zip(pixels, scale, strict=True)]
        )
        repeated = np.repeat(pixels, intervals.samples)
        samples = fit_block(program, settings, data, coordinates, _from_solutions(arguments, repeated, values, program))
        found = np.where(samples[:, columns["status"]] == CONVERGED, samples[:, columns["value"]], np.nan)
        found = found.reshape(pixels.size, intervals.samples, -1)[:, :, list(intervals.positions)]
        quantiles = np.nanquantile(found, chances, axis=1).reshape(levels.size, 2, pixels.size, -1)
        ends[pixels] = quantiles.transpose(2, 0, 3, 1)
    free = settings.free[list(intervals.positions)]
    ends[:, :, ~free] = np.nan
    return ends


def _from_solutions(
    arguments: BlockArguments, pixels: np.ndarray, values: np.ndarray, program: Program
) -> BlockArguments:
    """Arguments of a fit of the listed pixels, from the solutions."""
    tied = {name for name, _ in program.ties}
    start = {name: values[pixels, k] for k, name in enumerate(program.parameters) if name not in tied}
    options = replace(arguments.options, covariance=False, pairs=())
    return replace(arguments.take(pixels), start=start, varying=None, options=options)


def _drawn(
    i: int,
    scale: float,
    intervals: Intervals,
    y: np.ndarray,
    model: np.ndarray,
    numbers: np.ndarray,
    arguments: BlockArguments,
) -> np.ndarray:
    """Data of one pixel, drawn from its fit: (n_samples, n_channels)."""
    random = np.random.Generator(np.random.Philox(key=np.array([intervals.seed, numbers[i]], np.uint64)))
    shape = (intervals.samples, y.shape[1])
    loss = arguments.options.loss
    if loss.kind == "poisson":
        return np.where(np.isfinite(y[i]), random.poisson(np.maximum(model[i], 0.0), shape), np.nan)
    if loss.iterated:
        variance = variance_of_counts(model[i], loss.gain, loss.offset, loss.correlation)
        scale = 1.0
    else:
        given = arguments.variance
        variance = np.ones(y.shape[1]) if given is None else given[i if len(given) > 1 else 0]
    used = np.isfinite(y[i]) & np.isfinite(variance)
    where = arguments.where
    if where is not None:
        used = used & np.broadcast_to(where[i if len(where) > 1 else 0], used.shape)
    spread = np.sqrt(np.where(used, variance, 1.0))
    if loss.kind == "ls":
        noise = np.sqrt(scale) * random.standard_normal(shape)
    else:
        # Of robust losses nothing says how the deviations are distributed but these themselves.
        noise = random.choice(((y[i] - model[i]) / spread)[used], shape)
    return np.where(used, model[i] + spread * noise, np.nan)
