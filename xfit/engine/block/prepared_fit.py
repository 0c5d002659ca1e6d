"""Workbench: what the fits of a block share, made once: coordinates, and for each choice of active
components structures and scratch.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from xfit.engine.block.options import FitOptions, Settings
from xfit.engine.block.pixel_loop import Scratch, scratch_of
from xfit.engine.block.precompile import prepare_for
from xfit.engine.codegen.loss_kernels import load_loss
from xfit.engine.codegen.program import Channels, LoadedProgram, Program
from xfit.engine.evaluation.state import Problem
from xfit.engine.math.layout import LANES, LINEAR, VECTOR
from xfit.engine.pixel.attempts import Search
from xfit.engine.pixel.rows import Limits


@dataclass(frozen=True)
class Pattern:
    """What pixels with the same active components have in common; see `xfit.engine.block.pixel_loop.fit_pixels`."""

    free: np.ndarray
    codes: np.ndarray
    problem: Problem
    side_by_side: Problem
    limits: Limits
    constants_hold: bool
    search: Search
    scratch: Scratch


class Workbench:
    """What fits of the same model with the same options share, however many calls they are made in; for one thread.

    Parameters
    ----------
    program : Program
        The model's structure.
    settings : Settings
        The model's numbers.
    options : FitOptions
        How to fit.
    coordinates : mapping of str to float64 (n_channels,)
        The coordinates that the model names.
    n_channels : int
        Their number.
    response, grid : optional
        As for `xfit.engine.block.fit_block.fit_block`.
    mapped : collection of str
        Full names of the parameters whose start values differ from pixel to pixel.
    """

    def __init__(
        self,
        program: Program,
        settings: Settings,
        options: FitOptions,
        coordinates: Mapping[str, np.ndarray],
        n_channels: int,
        response: np.ndarray | None = None,
        grid: np.ndarray | None = None,
        mapped: Collection[str] = (),
    ) -> None:
        self.loaded = program.load()
        self._program, self.settings, self._options, self._mapped = program, settings, options, mapped
        self.x = coordinate_rows(self.loaded, coordinates, n_channels, VECTOR)
        self._n_channels = n_channels
        self._channels = channels_of(self.loaded, self.x[:, :n_channels], response, grid)
        self._whole = self.loaded.needing_whole_axis(_zeros(program, settings, mapped))
        self._patterns: dict[bytes, Pattern] = {}
        self.kind: tuple[Any, ...] = ()

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""
        rows = sum(2 * (pattern.free.size + 1) + 2 * LANES for pattern in self._patterns.values())
        return 8 * int(self.x.shape[1]) * (rows + len(self.x))

    def pattern(self, on: np.ndarray) -> Pattern:
        """What the pixels whose active components are ``on``, bool (n_components,), have in common."""
        key = on.tobytes()
        if key not in self._patterns:
            self._patterns[key] = self._made(on)
        return self._patterns[key]

    def problem(self, on: np.ndarray) -> Problem:
        """Their model, as `Pattern.problem`, for a batch of pixels."""
        pattern = self.pattern(on)
        if not (on & self._whole).any():
            return pattern.problem
        # The engine keeps in it what it knows of the rows of the response, which are others in each batch.
        return pattern.problem._replace(structure=self.loaded.structure(on, self._whole, self._channels, pattern.free))

    def _bent(self, free: np.ndarray) -> np.ndarray:
        """Range of the coordinates for free parameters that the model is not linear in, otherwise zero."""
        span = max((float(np.ptp(row)) for row in self.x), default=0.0)
        return np.where(self.loaded.bent(free), span if np.isfinite(span) and span > 0 else 1.0, 0.0)

    def _made(self, on: np.ndarray) -> Pattern:
        loaded, options = self.loaded, self._options
        free = np.flatnonzero(self._program.fitted(self.settings.free, on)).astype(np.int64)
        codes = loaded.amplitudes(free)
        structure = loaded.structure(on, self._whole, self._channels, free)
        problem = prepare_for(
            Problem(structure, loaded.ties, self.x, load_loss(options.loss), self.settings.start.size)
        )
        return Pattern(
            free,
            codes,
            problem,
            problem._replace(structure=loaded.structure_side_by_side(on, self._whole)),
            limits_of(options, codes),
            loaded.constants_hold(free, self._mapped),
            _search(options, self._program, free),
            scratch_of(problem, free, codes, self._bent(free), self._n_channels),
        )


#: Workbenches that nobody uses, the one that was used last at the end.
_idle: list[Workbench] = []

#: How many of them are kept, and how large (bytes) they may be: enough that the chunks of a map find one in every
#: thread.
_KEPT, _SMALL = 2 * (os.cpu_count() or 1), 4 << 20


@contextmanager
def shared_bench(
    program: Program,
    settings: Settings,
    options: FitOptions,
    coordinates: Mapping[str, np.ndarray],
    n_channels: int,
    mapped: Collection[str],
    weighted: bool,
) -> Iterator[Workbench]:
    """Lend the workbench of an earlier call for the same, or a new one; for fits without a response.

    Parameters
    ----------
    program, settings, options, coordinates, n_channels, mapped
        See `Workbench`.
    weighted : bool
        Whether channels have variances, masks or widths, which the scratch of pixels is laid out for.
    """
    # Refuses a program that a process with other versions has sent, whose workbench may be there already.
    program.load()
    given = (settings.start, settings.lower, settings.upper, settings.free, settings.active, *coordinates.values())
    kind = (program, options, n_channels, {*mapped}, weighted, tuple(coordinates), [each.tobytes() for each in given])
    bench = next((each for each in reversed(_idle.copy()) if each.kind == kind and _taken(each)), None)
    bench = bench or Workbench(program, settings, options, coordinates, n_channels, mapped=mapped)
    yield bench
    # Not after an exception: a fit that is given up leaves scratch as it is.
    if bench.nbytes <= _SMALL:
        bench.kind = kind
        _idle.append(bench)
        del _idle[:-_KEPT]


def _taken(bench: Workbench) -> bool:
    """Take a workbench, unless another thread was faster."""
    with suppress(ValueError):
        _idle.remove(bench)
        return True
    return False


def limits_of(options: FitOptions, codes: np.ndarray) -> Limits:
    """Put together how pixels are fitted whose free parameters are what the codes say."""
    first = options.max_nfev or 100 * (codes.size + 1)
    given = {name: getattr(options, name) for name in Limits._fields if hasattr(options, name)} | {
        "first_limit": first,
        "max_nfev": options.max_nfev or 2 * first,
        # A model that is linear in all free parameters has no shapes.
        "project": options.optimizer == "varpro" and bool((codes != LINEAR).any()),
    }
    return Limits(**given)


def _search(options: FitOptions, program: Program, free: np.ndarray) -> Search:
    """Where fits begin: further starts are points of Halton's sequence, the same for every pixel."""
    reach = dict(options.spread)
    points = np.empty((options.starts - 1, free.size))
    if options.starts > 1:
        # Not at the top: it would double the time that `import xfit` takes.
        from scipy.stats import qmc

        points[:] = qmc.Halton(max(free.size, 1), scramble=False).random(options.starts)[1:, : free.size]
    return Search(
        points,
        np.array([reach.get(program.parameters[k], np.nan) for k in free], np.float64),
        options.chained,
        np.full(len(program.parameters), np.nan),
    )


def coordinate_rows(
    loaded: LoadedProgram, coordinates: Mapping[str, np.ndarray], n: int, multiple: int = 1
) -> np.ndarray:
    """Coordinates as the engine reads them, the last channel repeated up to a multiple."""
    x = np.empty((len(loaded.coordinate_rows), -(-n // multiple) * multiple))
    for row, name in enumerate(loaded.coordinate_rows):
        x[row, :n] = coordinates[name]
        x[row, n:] = x[row, n - 1 : n]
    return x


def _zeros(program: Program, settings: Settings, mapped: Collection[str]) -> np.ndarray:
    """Which parameters are zero in all pixels: neither free, tied nor among the names of the start maps."""
    moving = {*mapped, *(name for name, _ in program.ties)}
    given = np.array([name in moving for name in program.parameters])
    return (settings.start == 0.0) & ~settings.free & ~given


def channels_of(loaded: LoadedProgram, x: np.ndarray, response: np.ndarray | None, grid: np.ndarray | None) -> Channels:
    """Where components are evaluated that need the whole axis at once."""
    if response is None or grid is None:
        return Channels(x, np.empty((0, 0)), 0)
    # Convolved components have the one coordinate; rows of others are never read.
    rows = coordinate_rows(loaded, dict.fromkeys(loaded.coordinate_rows, grid), grid.size, VECTOR)
    return Channels(x, rows, response.shape[1])
