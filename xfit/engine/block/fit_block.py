"""fit_block: pixels x channels in, packed results out; NumPy only, whoever schedules it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from xfit.engine.block.arguments import BlockArguments
from xfit.engine.block.cancellation import check, count, pace_of, pieces
from xfit.engine.block.counts import variance_of_counts
from xfit.engine.block.function_errors import ErrorFinder, note_at_values
from xfit.engine.block.known_fits import try_shipped_code
from xfit.engine.block.linear_fits import Known, fit_linear
from xfit.engine.block.optimizers import Optimizer, optimizer_of
from xfit.engine.block.options import Columns, FitOptions, Settings
from xfit.engine.block.pixel_loop import fit_pixels
from xfit.engine.block.pixel_problem import Pixels
from xfit.engine.block.precompile import part_for, prepare_engine, prepare_for
from xfit.engine.block.prepared_fit import Pattern, Workbench, channels_of, coordinate_rows, shared_bench
from xfit.engine.codegen.loss_kernels import load_loss
from xfit.engine.codegen.program import Program
from xfit.engine.evaluation.state import Problem, state_of
from xfit.engine.losses import Loss
from xfit.engine.pixel.objective import evaluate_pixels
from xfit.engine.pixel.profile import profile_pixels
from xfit.engine.pixel.rows import Block

#: Elements of data that are converted to float64 at a time: what the engine works on stays in the cache.
_BATCH = 1 << 18

#: Numbers of results that are fitted together where data are read as they are: what is filled with NaN is still in the
#: cache when the results come.
_RESULTS = 1 << 17

_NONE = np.empty((1, 0))
_ALL = np.empty((1, 0), bool)


def fit_block(
    program: Program,
    settings: Settings,
    y: np.ndarray,
    coordinates: Mapping[str, np.ndarray],
    arguments: BlockArguments | None = None,
    *,
    order: np.ndarray | None = None,
    profile: tuple[np.ndarray, np.ndarray] | None = None,
    into: np.ndarray | None = None,
    bench: Workbench | None = None,
) -> np.ndarray:
    """Fit every pixel of a block.

    Parameters
    ----------
    program : Program
        The model's structure.
    settings : Settings
        The model's numbers.
    y : array (n_pixels, n_channels)
        Data of any real dtype and byte order.
    coordinates : mapping of str to float64 (n_channels,)
        The coordinates that the model names.
    arguments : BlockArguments, optional
        What else pixels are fitted with.
    order : int64 (n_pixels,), optional
        The order in which pixels are fitted, if each begins where the one before it ended; by default that of ``y``.
    profile : tuple of int64 (n_wanted,), float64 (n_levels, n_channels + 1), optional
        Positions of parameters whose intervals are wanted instead of fits, and by how much the loss rises at their
        ends; see `xfit.engine.pixel.profile`. The start values are then the solutions.
    into : float64 (n_pixels, Columns.total), optional
        Where to write the results, instead of memory of their own.
    bench : Workbench, optional
        What calls with the same model, options and coordinates share, where there are many.

    Returns
    -------
    float64 (n_pixels, Columns.total)
        Packed results; see `Columns`. Of profiles: (n_pixels, n_levels, n_wanted, 2).
    """
    given = arguments or BlockArguments()
    options, start, variance, where, bounds = given.options, given.start, given.variance, given.where, given.bounds
    optimizer = optimizer_of(options.optimizer)
    reads_all = optimizer.engine == "linear" and options.noise is None
    single = reads_all and _are_read_as(np.float32, y, variance)
    # What need not be converted need not be cut into batches.
    as_it_is = single or (options.noise is None and _are_read_as(np.float64, y, variance))
    columns = Columns.of(len(settings.start), options)
    step = max(_RESULTS // columns.total, 1) if as_it_is and order is None else _pixels_at_a_time(y)
    prepare_engine("profile" if profile else part_for(program, options, single))
    try_shipped_code()
    ends = np.full((y.shape[0], len(profile[1]), len(profile[0]), 2) if profile else (0,), np.nan)
    if bench is None:
        mapped = program.parameters if isinstance(start, np.ndarray) else start
        if optimizer.engine == "kernel" and given.response is None:
            weighted = any(each is not None for each in (variance, where, given.width, options.noise))
            with shared_bench(program, settings, options, coordinates, y.shape[1], mapped, weighted) as bench:
                return fit_block(
                    program, settings, y, coordinates, given, order=order, profile=profile, into=into, bench=bench
                )
        bench = Workbench(program, settings, options, coordinates, y.shape[1], given.response, given.grid, mapped)
    out = np.empty((y.shape[0], columns.total)) if into is None else into
    wide = _ALL if where is None else _plain(np.broadcast_to(where, (where.shape[0], y.shape[1])), bool)
    width = _NONE[0] if given.width is None else _plain(given.width)
    memory, further = np.empty((2, 0 if as_it_is else min(step, len(y)), y.shape[1]))
    last = np.full(len(settings.start), np.nan)
    finder = ErrorFinder(bench.loaded, options.loss)
    pace = pace_of((program, y.shape[1], options.optimizer, profile is None))
    designs: Known = {}
    varies = given.varies
    for batch in _batches(y, step, order):
        results = out[batch]
        results.fill(np.nan)
        lower, upper = _bounds(program, settings, bounds, batch)
        data = y[batch] if single else _converted(y[batch], memory)
        spread = _rows_of(variance, batch, further, np.float32 if single else np.float64)
        spread = spread if options.noise is None else variance_of_counts(data, *options.noise)
        # Linear fits read data of single precision as they are.
        block = Block(
            *((np.empty((0, y.shape[1])), _NONE) if single else (data, spread)),
            wide if wide.shape[0] == 1 else wide[batch],
            width,
            _within(_starts(program, settings, start, batch), lower, upper)
            if bounds
            else _starts(program, settings, start, batch),
            lower,
            upper,
            np.array(options.pairs, np.int64).reshape(-1, 2),
            results,
        )
        for on, pixels in _patterns(settings, given.active, batch, options.chained):
            if not on.any():
                continue
            pattern, problem = bench.pattern(on), bench.problem(on)
            group = Pixels(
                problem,
                block,
                _rows_of(given.response, batch),
                pattern.free,
                pattern.limits,
                options.loss,
                data,
                spread,
                varies,
            )
            if profile:
                part = ends[batch]
                for piece in pieces(pixels, pace):
                    _profile(group, *profile, piece, part)
                ends[batch] = part
                continue
            if optimizer.engine == "linear":
                # All at once: they are fast, and share what pixels alike have in common.
                check()
                fit_linear(group, pixels, designs)
                count(pixels.size)
            else:
                for piece in pieces(pixels, pace, pattern.scratch.state.flags):
                    _fit_piece(optimizer, options, pattern, group, piece, last)
            idle = problem.structure.idle
            if idle.size:
                # Whatever the optimizer, and though a tie of another component may follow them.
                results[np.ix_(pixels, columns.of_parameters(idle, options.pairs))] = np.nan
            if finder.is_needed:
                finder.mark(group, on, pixels)
        if order is not None:
            out[batch] = results
    return ends if profile else out


def _fit_piece(
    optimizer: Optimizer, options: FitOptions, pattern: Pattern, group: Pixels, pixels: np.ndarray, last: np.ndarray
) -> None:
    """Fit some pixels of the same model, by compiled code or by SciPy."""
    if optimizer.engine != "kernel":
        # Not at the top: SciPy's optimizers would make `import xfit` wait.
        from xfit.engine.block.scipy_fits import fit_by_scipy

        fit_by_scipy(optimizer, group, pixels, dict(options.optimizer_options), options.grad, last, options.chained)
        return
    fit_pixels(
        group.problem,
        pattern.side_by_side,
        group.block,
        group.response,
        pattern.free,
        pattern.constants_hold,
        pixels,
        pattern.limits,
        pattern.search._replace(last=last),
        pattern.scratch,
    )


def _profile(group: Pixels, positions: np.ndarray, factors: np.ndarray, pixels: np.ndarray, ends: np.ndarray) -> None:
    """Find the intervals of pixels of the same model."""
    free, channels = group.free, group.block.y.shape[1]
    whole = state_of(group.problem, free, channels)
    rest = state_of(group.problem, free[:-1], channels)
    wanted = np.array([int(np.flatnonzero(free == k)[0]) if (free == k).any() else -1 for k in positions], np.int64)
    profile_pixels(group.problem, whole, rest, group.block, group.response, wanted, pixels, factors, group.limits, ends)


def _pixels_at_a_time(y: np.ndarray) -> int:
    """Number of pixels whose data are converted and fitted together."""
    return max(_BATCH // max(y.shape[1], 1), 1)


def _converted(data: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """Data as float64: in ``memory``, whose pages are touched but once, unless they are that already."""
    if _are_read_as(np.float64, data):
        return data
    target = memory[: len(data)]
    np.copyto(target, data, casting="unsafe")
    return target


def _batches(y: np.ndarray, step: int, order: np.ndarray | None) -> Iterator[slice | np.ndarray]:
    """Pixels of each batch: a range of rows, or rows in the order given."""
    for first in range(0, y.shape[0], step):
        batch = slice(first, min(first + step, y.shape[0]))
        yield batch if order is None else order[batch]


def _are_read_as(dtype: type, *arrays: np.ndarray | None) -> bool:
    """Whether arrays have the dtype and the layout that the engine reads."""
    given = [array for array in arrays if array is not None]
    return all(a.dtype == dtype and a.flags.c_contiguous and a.flags.aligned and a.flags.writeable for a in given)


def _plain(array: np.ndarray, dtype: type = np.float64) -> np.ndarray:
    """Array in the one layout that the engine is compiled for; copied only where it has another.

    Read-only or unaligned memory (of files, of other processes) would each be one more type to compile the engine for.
    """
    return np.require(array, dtype, ["C", "A", "W"])


def _rows_of(
    array: np.ndarray | None,
    batch: slice | np.ndarray,
    memory: np.ndarray | None = None,
    dtype: type = np.float64,
) -> np.ndarray:
    """Rows of a batch, or the one row that all pixels share; in ``memory`` where they have to be converted."""
    if array is None:
        return _NONE.astype(dtype, copy=False)
    if array.shape[0] == 1:
        return _plain(array, dtype)
    rows = array[batch]
    return _plain(rows, dtype) if memory is None or dtype != np.float64 else _converted(rows, memory)


def _number_in(batch: slice | np.ndarray) -> int:
    """Return the number of pixels of a batch."""
    return batch.stop - batch.start if isinstance(batch, slice) else batch.size


def _bounds(
    program: Program, settings: Settings, bounds: Mapping[tuple[str, str], np.ndarray], batch: slice | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds of a batch: those of the settings, overridden by maps where these are not NaN."""
    names = program.parameters
    tables = {"min": settings.lower[None], "max": settings.upper[None]}
    if bounds:
        tables = {side: np.tile(table, (_number_in(batch), 1)) for side, table in tables.items()}
    for (name, side), values in bounds.items():
        column = tables[side][:, names.index(name)]
        given = np.asarray(values[batch], np.float64)
        np.copyto(column, given, where=~np.isnan(given))
    return _plain(tables["min"]), _plain(tables["max"])


def _within(start: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Starts moved to the nearer bound where they lie outside."""
    return _plain(np.minimum(np.maximum(start, lower), upper))


def _starts(
    program: Program,
    settings: Settings,
    start: Mapping[str, np.ndarray] | np.ndarray | None,
    batch: slice | np.ndarray,
) -> np.ndarray:
    """Start values of a batch: those of the settings, overridden by maps where these are not NaN."""
    if isinstance(start, np.ndarray):
        return _plain(start[batch])
    if not start:
        return _plain(settings.start[None])
    names = program.parameters
    table = np.tile(settings.start, (_number_in(batch), 1))
    for name, values in start.items():
        column = table[:, names.index(name)]
        given = np.asarray(values[batch], np.float64)
        np.copyto(column, given, where=~np.isnan(given))
    return table


def _patterns(
    settings: Settings, active: np.ndarray | None, batch: slice | np.ndarray, chained: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Groups of pixels of a batch with the same active components; where they are chained, each
    group is a piece of the chain.
    """
    if active is None:
        yield settings.active, np.arange(_number_in(batch))
        return
    patterns, group = np.unique(active[batch], axis=0, return_inverse=True)
    group = group.ravel()
    if chained:
        cuts = np.flatnonzero(np.diff(group)) + 1
        for piece in np.split(np.arange(group.size), cuts):
            yield patterns[group[piece[0]]], piece
        return
    for k, pattern in enumerate(patterns):
        yield pattern, np.flatnonzero(group == k)


def evaluate_block(
    program: Program,
    values: np.ndarray,
    coordinates: Mapping[str, np.ndarray],
    *,
    width: np.ndarray | None = None,
    response: np.ndarray | None = None,
    grid: np.ndarray | None = None,
    components: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Evaluate the model at given parameter values.

    Parameters
    ----------
    program : Program
        The model's structure.
    values : float64 (n_pixels, n_parameters)
        Values of all parameters; a component with a NaN among them is left out, and a pixel without
        any component is NaN.
    coordinates : mapping of str to float64 (n_channels,)
        The coordinates that the model names.
    width : float64 (n_channels,), optional
        Channel widths, for binned data.
    response, grid : optional
        As for `fit_block`; NaN where a response is not finite.
    components : tuple of int, optional
        Which components to add up; all by default.

    Returns
    -------
    float64 (n_pixels, n_channels)
    """
    prepare_engine("evaluate")
    loaded = program.load()
    n = len(next(iter(coordinates.values())))
    x = coordinate_rows(loaded, coordinates, n)
    channels = channels_of(loaded, x, response, grid)
    whole = loaded.needing_whole_axis(((values == 0.0) | np.isnan(values)).all(axis=0))
    out = np.full((values.shape[0], n), np.nan)
    missing = np.isnan(values)
    known = np.stack([~missing[:, loaded.component_of == k].any(axis=1) for k in range(len(program.kernels))], axis=1)
    chosen = np.isin(np.arange(len(program.kernels)), range(len(program.kernels)) if components is None else components)
    patterns, group = np.unique(known & chosen, axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns):
        if pattern.any():
            pixels = np.flatnonzero(group.ravel() == k)
            structure = loaded.structure(pattern, whole, channels)
            problem = prepare_for(Problem(structure, loaded.ties, x, load_loss(Loss()), values.shape[1]))
            evaluate_pixels(
                problem,
                state_of(problem, np.empty(0, np.int64), n),
                _NONE[0] if width is None else _plain(width),
                _NONE if response is None else _plain(response),
                _plain(values),
                pixels,
                out,
            )
    note_at_values(program, values, coordinates, out)
    return out
