"""One chunk of a map while it is fitted: its state, its data, and fits of some of its pixels by `fit_block`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from xfit.engine.block.arguments import BlockArguments
from xfit.engine.block.fit_block import fit_block
from xfit.engine.block.options import Columns
from xfit.engine.block.prepared_fit import Workbench
from xfit.engine.pixel.scalars import SCALARS
from xfit.engine.pixel.status import CONVERGED, MEANINGS, NOT_FITTED, NOT_REACHED, POOR_FIT
from xfit.engine.pixel.status import HOPELESS as NOTHING_TO_FIT
from xfit.engine.waves.wavefront import GOOD, HOPELESS, LEFT, SPENT
from xfit.fitting.planning.fit_spec import FitSpec
from xfit.fitting.running.chunk_grid import ChunkGrid
from xfit.fitting.running.map_blocks import arguments_of
from xfit.samfire.goodness import Goodness
from xfit.samfire.strategies import GlobalStrategy, Strategy

#: By status, whether no other start would change it.
_IS_HOPELESS = np.isin(np.arange(len(MEANINGS)), NOTHING_TO_FIT)


@dataclass(frozen=True)
class SamfireSpec:
    """All that visits of chunks have in common; it travels once to each process.

    Attributes
    ----------
    fit_spec : FitSpec
        How pixels are fitted.
    table : float64 (any, n_channels)
        Coordinates; see `xfit.fitting.planning.fit_spec.table_of`.
    grid : ChunkGrid
        The chunks.
    navigation : tuple
        Names of the navigation dimensions.
    strategies : tuple of Strategy
        In the order in which they are used.
    goodness : Goodness
        Which fits are good.
    optional : tuple of int
        Positions of the components that a pixel may do without.
    criterion : {"aicc", "aic", "bic"}
        What is lowest for the choice that is kept.
    """

    fit_spec: FitSpec
    table: np.ndarray
    grid: ChunkGrid
    navigation: tuple[Any, ...]
    strategies: tuple[Strategy, ...]
    goodness: Goodness
    optional: tuple[int, ...]
    criterion: str

    @cached_property
    def columns(self) -> Columns:
        """Where each variable lies in a packed row."""
        return Columns.of(len(self.fit_spec.settings.start), self.fit_spec.options)

    @cached_property
    def patterns(self) -> np.ndarray:
        """Which components are on, for every choice of optional ones: all off first; bool (2**m, n_components)."""
        on = np.tile(self.fit_spec.settings.active, (2 ** len(self.optional), 1))
        for row, choice in enumerate(sorted(itertools.product((False, True), repeat=len(self.optional)), key=sum)):
            on[row, list(self.optional)] = choice
        return on

    @cached_property
    def free(self) -> np.ndarray:
        """Positions of the parameters that are fitted somewhere."""
        settings = self.fit_spec.settings
        return np.flatnonzero(settings.free & settings.active[self.fit_spec.program.load().component_of])

    @cached_property
    def free_names(self) -> tuple[str, ...]:
        """Their full names."""
        return tuple(self.fit_spec.program.parameters[k] for k in self.free)


class ChunkState(NamedTuple):
    """Where the pixels of a chunk stand.

    Attributes
    ----------
    rows : float64 (n, n_columns)
        Packed rows of the best fit of each.
    mark : int8 (n,)
        See `xfit.engine.waves.wavefront`.
    tries : int16 (n,)
        How often each was fitted.
    step : int64 (n,)
        In which step each was fitted; see `step_of`.
    strategy : int8 (n,)
        Which strategy began it: its number, -1 for a seed or what was given, -2 for none.
    on : bool (n, n_components)
        Which components take part.
    phase : int
        The strategy (its number; -1 before the first) in which the marks were last brought up to date.
    shown : dict of int to int8 (n,)
        The marks that each neighbour showed when the chunk was visited last in this phase: what was good then is not
        news.
    """

    rows: np.ndarray
    mark: np.ndarray
    tries: np.ndarray
    step: np.ndarray
    strategy: np.ndarray
    on: np.ndarray
    phase: int
    shown: dict[int, np.ndarray]


def empty_state(spec: SamfireSpec, chunk: int) -> ChunkState:
    """State of a chunk in which nothing has been done."""
    n = int(np.prod([b - a for a, b in spec.grid.box(chunk)]))
    columns = spec.columns
    rows = np.full((n, columns.total), np.nan)
    rows[:, columns.slices["status"]] = NOT_FITTED
    return ChunkState(
        rows,
        np.full(n, LEFT, np.int8),
        np.zeros(n, np.int16),
        np.zeros(n, np.int64),
        np.full(n, -2, np.int8),
        np.tile(spec.fit_spec.settings.active, (n, 1)),
        -1,
        {},
    )


def step_of(phase: int, turn: int, step: int = 0) -> int:
    """Number of a step, so that later ones have larger numbers: strategy (-1 for seeds), turn
    of the chunk, step of the turn.
    """
    return ((phase + 1) << 44) | (turn << 20) | step


def marks_in(mark: np.ndarray, was: int, phase: int, strategies: Sequence[Strategy]) -> np.ndarray:
    """Bring marks from one phase to a later one.

    A local strategy that follows a global one spreads from what that one has solved alone; otherwise it spreads from
    all good pixels.
    """
    mark = mark.copy()
    for k in range(was + 1, phase + 1):
        if isinstance(strategies[k], GlobalStrategy):
            mark[mark == GOOD] = SPENT
        elif k == 0 or not isinstance(strategies[k - 1], GlobalStrategy):
            mark[mark == SPENT] = GOOD
    return mark


def copy_in(state: ChunkState, phase: int, strategies: Sequence[Strategy]) -> ChunkState:
    """Copy of a state, its marks brought to a phase; the arrays may be changed."""
    mark = marks_in(state.mark, state.phase, phase, strategies)
    rows, _, tries, step, strategy, on, was, shown = state
    shown = dict(shown) if was == phase else {}
    return ChunkState(rows.copy(), mark, tries.copy(), step.copy(), strategy.copy(), on.copy(), phase, shown)


@dataclass
class ChunkPixels:
    """The data of a chunk, and fits of some of its pixels.

    Parameters
    ----------
    spec : SamfireSpec
        How to fit.
    data : array (*navigation, *signal)
        The block.
    extra : sequence of array
        Blocks of the further arrays, in the order of the fit_spec's roles.
    """

    spec: SamfireSpec
    data: np.ndarray
    extra: Sequence[np.ndarray]
    _laid_out: tuple[np.ndarray, dict[str, np.ndarray], Any, BlockArguments] = field(init=False)
    _bench: Workbench = field(init=False)

    def __post_init__(self) -> None:
        fit_spec = self.spec.fit_spec
        self._laid_out = y, coordinates, _, given = arguments_of(self.data, self.extra, self.spec.table, fit_spec)
        # Steps fit a few dozen pixels each: what they share is made once.
        self._bench = Workbench(
            fit_spec.program,
            fit_spec.settings,
            fit_spec.options,
            coordinates,
            y.shape[1],
            given.response,
            given.grid,
            given.start,
        )

    def fit(self, pixels: np.ndarray, start: np.ndarray | None, on: np.ndarray | None = None) -> np.ndarray:
        """Fit some pixels.

        Parameters
        ----------
        pixels : int64 (n,)
            Which.
        start : float64 (n, n_free), optional
            Where to begin; NaN for the start values of the model, or the maps that were given.
        on : bool (n_components,), optional
            Which components take part where the arguments say nothing else.

        Returns
        -------
        float64 (n, n_columns)
        """
        y, coordinates, _, given = self._laid_out
        arguments = given.take(pixels)
        active = arguments.active
        if on is not None:
            active = np.tile(on, (pixels.size, 1)) if active is None else active & on
        arguments = replace(
            arguments,
            start=self._table(pixels, start),
            varying=given.varying if start is None else {*(given.varying or ()), "start"},
            active=active,
        )
        fit_spec = self.spec.fit_spec
        rows = fit_block(fit_spec.program, fit_spec.settings, y[pixels], coordinates, arguments, bench=self._bench)
        status = rows[:, self.spec.columns.scalar("status")]
        status[np.isnan(status)] = NOT_FITTED
        return rows

    def _given_starts(self) -> Mapping[str, np.ndarray]:
        """Maps of start values that the user gave, or that were estimated."""
        start = self._laid_out[3].start
        assert not isinstance(start, np.ndarray)
        return start

    def _table(self, pixels: np.ndarray, start: np.ndarray | None) -> np.ndarray | dict[str, np.ndarray]:
        """Where to begin: the starts moved into the bounds; where there is none, what the user gave."""
        maps = {name: values[pixels] for name, values in self._given_starts().items()}
        if start is None:
            return maps
        settings, free = self.spec.fit_spec.settings, self.spec.free
        table = np.tile(settings.start, (pixels.size, 1))
        for name, values in maps.items():
            column = table[:, self.spec.fit_spec.program.parameters.index(name)]
            np.copyto(column, values, where=~np.isnan(values))
        inside = np.clip(start, settings.lower[free], settings.upper[free])
        table[:, free] = np.where(np.isnan(start), table[:, free], inside)
        return table

    def fit_best(self, pixels: np.ndarray, start: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fit some pixels with every choice of optional components.

        Returns
        -------
        rows : float64 (n, n_columns)
            Of the choice with the lowest criterion among those that are good, or among all if none is.
        good : bool (n,)
            Whether it is good.
        on : bool (n, n_components)
            Which components take part.
        """
        spec = self.spec
        active = self._laid_out[3].active
        wanted = np.ones((pixels.size, spec.patterns.shape[1]), bool) if active is None else active[pixels]
        best: np.ndarray | None = None
        for pattern in spec.patterns:
            rows = self.fit(pixels, start, pattern if spec.optional else None)
            passed = good_of(rows, spec)
            if best is None:
                best, good, on = rows, passed, wanted & pattern
                continue
            # Choices come by their number of components, so that of equal ones the smaller is kept.
            criterion, lowest = (each[:, spec.columns.slices[spec.criterion]].ravel() for each in (rows, best))
            lower = (criterion < lowest) | (np.isnan(lowest) & ~np.isnan(criterion))
            better = (passed & ~good) | ((passed == good) & lower)
            best[better], good, on[better] = rows[better], good | passed, (wanted & pattern)[better]
        assert best is not None
        return best, good, on


def statistics_of(rows: np.ndarray, spec: SamfireSpec) -> dict[str, np.ndarray]:
    """Statistics of fits by name; see `xfit.samfire.goodness.Goodness.good`."""
    return {name: rows[:, spec.columns.scalar(name)] for name in SCALARS if name != "status"}


def good_of(rows: np.ndarray, spec: SamfireSpec) -> np.ndarray:
    """Which fits converged and are good."""
    converged = rows[:, spec.columns.scalar("status")] == CONVERGED
    with np.errstate(invalid="ignore"):
        good = np.asarray(spec.goodness.good(statistics_of(rows, spec)))
    if good.shape != converged.shape or good.dtype != bool:
        raise TypeError(
            f"the test of goodness must return a boolean array of shape {converged.shape}; got {good.dtype} "
            f"{good.shape}"
        )
    return converged & good


def record(
    state: ChunkState,
    pixels: np.ndarray,
    fits: tuple[np.ndarray, np.ndarray, np.ndarray],
    strategy: int,
    step: int,
    spec: SamfireSpec,
) -> np.ndarray:
    """Write fits into a state: all good ones, and of others those that are better than what was
    there; return which are good.
    """
    rows, good, on = fits
    state.tries[pixels] += 1
    status = rows[:, spec.columns.scalar("status")].astype(int)
    lost = _IS_HOPELESS[status]
    loss, before = rows[:, spec.columns.scalar("loss")], state.rows[pixels, spec.columns.scalar("loss")]
    take = good | lost | np.isnan(before) | (loss < before)
    at = pixels[take]
    state.rows[at] = rows[take]
    state.on[at] = on[take]
    state.strategy[at] = strategy
    state.step[at] = step
    state.mark[pixels[good]] = GOOD
    state.mark[pixels[lost]] = HOPELESS
    return good


def finished(state: ChunkState, spec: SamfireSpec) -> ChunkState:
    """State with statuses that say why a pixel has no good fit."""
    state = copy_in(state, state.phase, spec.strategies)
    say_why(state.rows, state.mark, state.tries, spec.columns.n)
    return state


def say_why(rows: np.ndarray, mark: np.ndarray, tries: np.ndarray, n: int) -> None:
    """Change the statuses of pixels of ``n`` parameters that have no good fit, in place."""
    status = rows[:, Columns(n).scalar("status")]
    todo = mark == LEFT
    status[todo & (tries == 0)] = NOT_REACHED
    status[todo & (tries > 0) & (status == CONVERGED)] = POOR_FIT
