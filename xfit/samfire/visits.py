"""Visits of a chunk: the wave of a local strategy inside it, the candidates of a global one, its seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from xfit.engine.block.precompile import prepare_engine
from xfit.engine.waves.wavefront import GOOD, HOPELESS, LEFT, SPENT, begin_at, rank
from xfit.fitting.running.chunk_grid import neighbourhood, overlap, shape_of, within
from xfit.samfire.chunk_state import (
    ChunkPixels,
    ChunkState,
    SamfireSpec,
    copy_in,
    empty_state,
    good_of,
    marks_in,
    record,
    step_of,
)
from xfit.samfire.strategies import LocalStrategy

#: Pixels whose rank is at least this part of the best one's are fitted together.
_TOGETHER = 0.5

#: What weights that are zero, or too small for a number, are taken for.
_SMALLEST_WEIGHT = 1e-200


class Strip(NamedTuple):
    """What a chunk shows a neighbour: the pixels that are in that one's margin.

    Attributes
    ----------
    values : float64 (n, n_free)
        Values of the free parameters.
    red_chisq : float64 (n,)
        Reduced chi-squared.
    mark : int8 (n,)
        See `xfit.engine.waves.wavefront`.
    phase : int
        The phase that the marks are of.
    """

    values: np.ndarray
    red_chisq: np.ndarray
    mark: np.ndarray
    phase: int


class Summary(NamedTuple):
    """What the scheduler needs to know of a visit.

    Attributes
    ----------
    phase : int
        The strategy; -1 for seeds.
    gained, shown, good_there : tuple of bool
        For each neighbour, whether a pixel on its side became good, can be a start, is good.
    todo, good, poor, hopeless : int
        Pixels left, good ones, those left that were tried, and those that can't be fitted.
    starts : int
        Good pixels from which others may begin.
    steps : int
        Number of steps.
    fits : int
        Number of fits.
    extent : float64 (2, n_free)
        Smallest and largest values of the good pixels, infinite where there are none.
    mark : int8 (n,)
        See `xfit.engine.waves.wavefront`.
    """

    phase: int
    gained: tuple[bool, ...]
    shown: tuple[bool, ...]
    good_there: tuple[bool, ...]
    todo: int
    good: int
    poor: int
    hopeless: int
    starts: int
    steps: int
    fits: int
    extent: np.ndarray
    mark: np.ndarray


class Visited(NamedTuple):
    """A chunk after a visit."""

    state: ChunkState
    strips: dict[int, Strip]
    summary: Summary


def _visited(spec: SamfireSpec, chunk: int, state: ChunkState, before: np.ndarray, steps: int, fits: int) -> Visited:
    """Cut the strips and sum up what has changed since the marks were ``before``."""
    box, shape = spec.grid.box(chunk), shape_of(spec.grid.box(chunk))
    mark = state.mark.reshape(shape)
    fresh = (state.mark == GOOD).reshape(shape) & (before != GOOD).reshape(shape)
    values = state.rows[:, spec.free]
    red = state.rows[:, spec.columns.slices["red_chisq"]].reshape(shape)
    strips = {}
    gained, shown, good_there = [], [], []
    for other in spec.grid.neighbours_of(chunk):
        side = within(overlap(box, spec.grid.seen(other)), box)
        cut = values.reshape((*shape, -1))[side].reshape(-1, spec.free.size)
        strips[other] = Strip(cut.copy(), red[side].ravel().copy(), mark[side].ravel().copy(), state.phase)
        gained.append(bool(fresh[side].any()))
        shown.append(bool((mark[side] == GOOD).any()))
        good_there.append(bool(np.isin(mark[side], (GOOD, SPENT)).any()))
    good = np.isin(state.mark, (GOOD, SPENT))
    known = values[good]
    extent = np.stack(
        [
            np.where(np.isnan(known), np.inf, known).min(axis=0, initial=np.inf),
            np.where(np.isnan(known), -np.inf, known).max(axis=0, initial=-np.inf),
        ]
    )
    todo = state.mark == LEFT
    summary = Summary(
        state.phase,
        tuple(gained),
        tuple(shown),
        tuple(good_there),
        int(todo.sum()),
        int(good.sum()),
        int((todo & (state.tries > 0)).sum()),
        int((state.mark == HOPELESS).sum()),
        int((state.mark == GOOD).sum()),
        steps,
        fits,
        extent,
        state.mark.copy(),
    )
    return Visited(state, strips, summary)


def visit_seeds(
    spec: SamfireSpec, chunk: int, pixels: ChunkPixels | None, given: np.ndarray | None, seeds: np.ndarray
) -> Visited:
    """First visit of a chunk with seeds.

    Parameters
    ----------
    pixels : ChunkPixels or None
        The data, if there are seeds to be fitted.
    given : float64 (n, n_columns), optional
        Packed rows of an earlier result; what is good among them need not be fitted again.
    seeds : int64 (any,)
        Pixels to be fitted from the start values.
    """
    state = empty_state(spec, chunk)
    if given is not None:
        good = good_of(given, spec)
        state.rows[good], state.mark[good], state.strategy[good] = given[good], GOOD, -1
        known = ~np.isnan(given[:, : spec.columns.n])
        for k in range(state.on.shape[1]):
            mine = spec.fit_spec.program.load().component_of == k
            if mine.any():
                state.on[good, k] = known[np.ix_(good, mine)].all(axis=1)
    before = np.full(state.mark.shape, LEFT, np.int8)
    left = seeds[state.mark[seeds] == LEFT]
    if left.size and pixels is not None:
        record(state, left, pixels.fit_best(left, None), -1, step_of(-1, 0), spec)
    return _visited(spec, chunk, state, before, 1, left.size)


class Margin(NamedTuple):
    """A chunk's pixels and those of its neighbours around it, in flat arrays; see `xfit.engine.waves.wavefront`."""

    inside: np.ndarray
    mark: np.ndarray
    weight: np.ndarray
    values: np.ndarray
    gained: np.ndarray
    tried: np.ndarray


def _margin(
    spec: SamfireSpec, chunk: int, state: ChunkState, strips: Mapping[int, Strip], strategy: LocalStrategy
) -> tuple[Margin, tuple[int, ...]]:
    """Lay a chunk out with what its neighbours show."""
    seen, box = spec.grid.seen(chunk), spec.grid.box(chunk)
    shape = shape_of(seen)
    total = int(np.prod(shape))
    inside = np.arange(total).reshape(shape)[within(box, seen)].ravel()
    mark = np.full(total, HOPELESS, np.int8)
    values = np.full((total, spec.free.size), np.nan)
    red = np.full(total, np.nan)
    mark[inside], values[inside] = state.mark, state.rows[:, spec.free]
    red[inside] = state.rows[:, spec.columns.slices["red_chisq"]].ravel()
    for other, strip in sorted(strips.items()):
        places = np.arange(total).reshape(shape)[within(overlap(spec.grid.box(other), seen), seen)].ravel()
        theirs = marks_in(strip.mark, strip.phase, state.phase, spec.strategies)
        mark[places] = np.where(theirs == GOOD, GOOD, HOPELESS)
        values[places], red[places] = strip.values, strip.red_chisq
    good = mark == GOOD
    weight = np.zeros(total)
    weight[good] = _weights(strategy, red[good])
    # When pixels became good and were tried, in steps of this visit: all that is older is -1, never is -2.
    tried = np.full(total, -2)
    tried[inside] = np.where(state.tries > 0, -1, -2)
    return Margin(inside, mark, weight, values, np.full(total, -1), tried), shape


def visit_locally(
    spec: SamfireSpec,
    chunk: int,
    previous: ChunkState | None,
    pixels: ChunkPixels,
    strips: Mapping[int, Strip],
    phase: int,
    turn: int,
) -> Visited:
    """Let the wave run through a chunk as far as it goes.

    Parameters
    ----------
    strips : mapping of int to Strip
        What each neighbour shows.
    """
    prepare_engine("wave")
    strategy = spec.strategies[phase]
    assert isinstance(strategy, LocalStrategy)
    state = copy_in(previous or empty_state(spec, chunk), phase, spec.strategies)
    again = previous is not None and previous.phase == phase
    before = state.mark.copy()
    margin, shape = _margin(spec, chunk, state, strips, strategy)
    offsets, distance = neighbourhood(strategy.radii(spec.navigation), shape)
    decay = np.asarray(strategy.decay(distance), float)
    margin.gained[:] = 0
    if again:
        # What was tried before is tried again only where something was gained since.
        margin.gained[margin.inside] = -1
        seen = spec.grid.seen(chunk)
        for other, marks in state.shown.items():
            places = (
                np.arange(margin.mark.size).reshape(shape)[within(overlap(spec.grid.box(other), seen), seen)].ravel()
            )
            margin.gained[places[marks == GOOD]] = -1
    state.shown.update({other: marks_in(s.mark, s.phase, phase, spec.strategies) for other, s in strips.items()})
    priority = np.empty(margin.inside.size)
    steps = fits = 0
    while True:
        best = rank(margin.inside, margin.mark, margin.gained, margin.tried, margin.weight, offsets, decay, priority)
        if not best > 0.0:
            break
        chosen = np.flatnonzero(priority >= _TOGETHER * best)
        # First from the mean of all good neighbours; where that is no good start, from the heaviest of the new ones
        # alone.
        alone = (state.tries[chosen] > 0) | strategy.nearest
        step = step_of(phase, turn, steps)
        for pixels_now, one in ((chosen, alone), (chosen[~alone], np.ones(np.count_nonzero(~alone), bool))):
            now = np.flatnonzero(state.mark[pixels_now] == LEFT)
            if now.size:
                start = _starts(margin, pixels_now[now], one[now], offsets, decay)
                record(state, pixels_now[now], pixels.fit_best(pixels_now[now], start), phase, step, spec)
                fits += now.size
        _take_in(margin, state, chosen, steps, strategy, spec)
        steps += 1
    return _visited(spec, chunk, state, before, steps, fits)


def _weights(strategy: LocalStrategy, red_chisq: np.ndarray) -> np.ndarray:
    """Weights of good pixels; none is zero, or where all are far from what is expected no wave would go on."""
    return np.maximum(np.nan_to_num(strategy.weight(red_chisq), nan=0.0), _SMALLEST_WEIGHT)


def _starts(
    margin: Margin, chosen: np.ndarray, alone: np.ndarray, offsets: np.ndarray, decay: np.ndarray
) -> np.ndarray:
    """Start values of some pixels from their neighbours."""
    start = np.empty((chosen.size, margin.values.shape[1]))
    begin_at(
        margin.inside[chosen],
        margin.mark,
        margin.gained,
        margin.tried,
        margin.weight,
        offsets,
        decay,
        margin.values,
        alone,
        start,
    )
    return start


def _take_in(
    margin: Margin, state: ChunkState, chosen: np.ndarray, steps: int, strategy: LocalStrategy, spec: SamfireSpec
) -> None:
    """Bring the margin up to date with what has become of some pixels."""
    places = margin.inside[chosen]
    good = state.mark[chosen] == GOOD
    margin.tried[places] = steps
    margin.gained[places[good]] = steps + 1
    margin.mark[places] = state.mark[chosen]
    margin.values[places] = state.rows[np.ix_(chosen, spec.free)]
    red = state.rows[chosen[good], spec.columns.slices["red_chisq"]].ravel()
    margin.weight[places[good]] = _weights(strategy, red)


def visit_globally(
    spec: SamfireSpec, chunk: int, previous: ChunkState | None, pixels: ChunkPixels, candidates: np.ndarray, phase: int
) -> Visited:
    """Try candidates one after another in all pixels that are left."""
    state = copy_in(previous or empty_state(spec, chunk), phase, spec.strategies)
    before = state.mark.copy()
    fits = 0
    for number, candidate in enumerate(candidates):
        left = np.flatnonzero(state.mark == LEFT)
        if not left.size:
            break
        start = np.tile(candidate, (left.size, 1))
        record(state, left, pixels.fit_best(left, start), phase, step_of(phase, 1, number), spec)
        fits += left.size
    return _visited(spec, chunk, state, before, len(candidates), fits)


#: Bins of each parameter in the joint histogram of the good pixels of all chunks.
_BINS = 16

Database = tuple[np.ndarray, np.ndarray, np.ndarray]


def database_of(spec: SamfireSpec, state: ChunkState, extent: np.ndarray) -> Database:
    """Joint histogram of the good pixels of a chunk: occupied cells, sums over them, and numbers of pixels."""
    good = np.isin(state.mark, (GOOD, SPENT))
    values = state.rows[good][:, spec.free]
    low, high = np.where(np.isfinite(extent), extent, 0.0)
    width = np.where(high > low, (high - low) / _BINS, 1.0)
    cells = np.where(np.isnan(values), -1.0, np.floor((values - low) / width)).astype(np.int8)
    return _merged(cells, values, np.ones(len(values), np.int64))


def _merged(cells: np.ndarray, sums: np.ndarray, counts: np.ndarray) -> Database:
    """Every cell once; sums are taken in the order given."""
    keys, inverse = np.unique(cells, axis=0, return_inverse=True)
    inverse = inverse.ravel()
    columns = [np.bincount(inverse, weights=column, minlength=len(keys)) for column in sums.T]
    number = np.bincount(inverse, weights=counts, minlength=len(keys)).astype(np.int64)
    return keys, np.stack(columns, axis=1), number


def gather(parts: list[Database]) -> tuple[np.ndarray, np.ndarray]:
    """Databases of all chunks as one: means over the cells, and numbers of pixels."""
    cells, sums, counts = (np.concatenate(each) for each in zip(*parts, strict=True))
    _, totals, number = _merged(cells, sums, counts)
    return totals / number[:, None], number


def summary_of(visited: Visited) -> Summary:
    """Give the summary alone, which is what the scheduler fetches."""
    return visited.summary


def strips_of(visited: Visited) -> dict[int, Strip]:
    """Give the strips alone, which is what neighbours fetch."""
    return visited.strips


def state_of(visited: Any) -> ChunkState | None:
    """Give the state, if there is one."""
    return None if visited is None else visited.state
