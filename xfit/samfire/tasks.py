"""The calls that an executor makes: each gets handles of what others returned, reads its data, and keeps its result."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from xfit.fitting.running.sources import read
from xfit.samfire.checkpoint import CheckpointError, Checkpoints
from xfit.samfire.chunk_state import ChunkPixels, SamfireSpec, empty_state, finished
from xfit.samfire.visits import (
    Database,
    Strip,
    Visited,
    database_of,
    state_of,
    visit_globally,
    visit_locally,
    visit_seeds,
)

_LOG = logging.getLogger("xfit.samfire")


def the_same(value: Any) -> Any:
    """Take what all visits have in common to where they are made."""
    return value


def _pixels(spec: SamfireSpec, blocks: list[Any]) -> ChunkPixels:
    return ChunkPixels(spec, read(blocks[0]), [read(block) for block in blocks[1:]])


def seed(spec: SamfireSpec, chunk: int, blocks: list[Any] | None, given: Any, seeds: np.ndarray, store: Any) -> Visited:
    """First visit of a chunk; see `visit_seeds`."""
    rows = None if given is None else read(given).reshape(-1, spec.columns.total)
    visited = visit_seeds(spec, chunk, None if blocks is None else _pixels(spec, blocks), rows, seeds)
    return _kept(store, (-1, chunk, 0), visited)


def spread(
    spec: SamfireSpec,
    chunk: int,
    previous: Visited | None,
    blocks: list[Any],
    phase: int,
    turn: int,
    store: Any,
    others: tuple[int, ...],
    *strips: dict[int, Strip],
) -> Visited:
    """A visit in a local strategy, with what other chunks show; see `visit_locally`."""
    shown = {other: theirs[chunk] for other, theirs in zip(others, strips, strict=True)}
    visited = visit_locally(spec, chunk, state_of(previous), _pixels(spec, blocks), shown, phase, turn)
    return _kept(store, (phase, chunk, turn), visited)


def attempt(
    spec: SamfireSpec,
    chunk: int,
    previous: Visited | None,
    blocks: list[Any],
    candidates: np.ndarray,
    phase: int,
    store: Any,
) -> Visited:
    """A visit in a global strategy; see `visit_globally`."""
    visited = visit_globally(spec, chunk, state_of(previous), _pixels(spec, blocks), candidates, phase)
    return _kept(store, (phase, chunk, 1), visited)


def _kept(store: Checkpoints | None, visit: tuple[int, int, int], visited: Visited) -> Visited:
    if store is not None:
        store.write(visit, visited)
    return visited


def again(
    store: Checkpoints,
    visit: tuple[int, int, int],
    function: Callable[..., Visited],
    spec: SamfireSpec,
    chunk: int,
    *arguments: Any,
) -> Visited:
    """A visit that was made in an earlier run, or, where its file is damaged, anew as it was made then."""
    try:
        found = store.read(visit)
        if found.state.rows.shape != empty_state(spec, chunk).rows.shape:
            raise store.damaged(
                "visits/{}_{}_{}.npz".format(*visit), f"it has rows of the shape {found.state.rows.shape}"
            )
    except CheckpointError as error:
        _LOG.warning("%s: it is made anew now", str(error).partition("; ")[0])
        return function(spec, chunk, *arguments)
    return found


def database(spec: SamfireSpec, visited: Visited, extent: np.ndarray) -> Database:
    """What the good pixels of a chunk have; see `database_of`."""
    return database_of(spec, visited.state, extent)


def finish(spec: SamfireSpec, chunk: int, visited: Visited | None, steps: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Rows of a chunk for the result, over its navigation dimensions.

    Parameters
    ----------
    steps, first : int64 (any,)
        Numbers of the first steps of all turns, rising, and their ranks in the whole run.

    Returns
    -------
    float64 (*navigation, n_columns + 3 + n_components)
        Packed rows, then order, strategy and tries, then which components take part.
    """
    state = finished(empty_state(spec, chunk) if visited is None else visited.state, spec)
    fitted = state.tries > 0
    order = np.full(len(state.step), -1.0)
    if steps.size:
        turn = np.searchsorted(steps, state.step, side="right") - 1
        order = np.where(state.strategy > -2, first[turn] + (state.step & ((1 << 20) - 1)), -1.0)
    strategy = np.where(fitted | (state.strategy > -2), state.strategy, -2)
    notes = np.column_stack([order, strategy, state.tries, state.on])
    shape = [b - a for a, b in spec.grid.box(chunk)]
    return np.concatenate([state.rows, notes], axis=1).reshape(*shape, -1)
