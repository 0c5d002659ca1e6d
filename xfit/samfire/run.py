"""A SAMFire run: chunks visited in turns, strategy after strategy, by an executor that begins what the clocks allow."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xfit.engine.block.precompile import prepare_engine
from xfit.engine.waves.clocks import RING, advance
from xfit.fitting.running.executors import Cluster, Executor
from xfit.fitting.running.sources import Source
from xfit.fitting.running.workers import make_ready
from xfit.progress import Bar, Reporter
from xfit.samfire import tasks
from xfit.samfire.checkpoint import Checkpoints
from xfit.samfire.chunk_state import SamfireSpec, step_of
from xfit.samfire.strategies import GlobalStrategy
from xfit.samfire.visits import Database, Summary, gather, strips_of, summary_of

Visit = tuple[int, int, int]

_LOG = logging.getLogger("xfit.samfire")


@dataclass(frozen=True)
class Snapshot:
    """Where a run stands.

    Attributes
    ----------
    strategy : str
        Name of the strategy in use, or "seeds".
    pixels, good, poor, hopeless : int
        Pixels of the map; those fitted well, tried without success so far, and those that can't be fitted.
    frontier : int
        Chunks with pixels left next to good ones, as far as is known.
    in_flight : int
        Visits of chunks under way.
    visits, fits : int
        Visits and fits so far.
    seconds : float
        Since the run began.
    stop : callable
        Ends the run with what is done; visits under way are waited for.
    """

    strategy: str
    pixels: int
    good: int
    poor: int
    hopeless: int
    frontier: int
    in_flight: int
    visits: int
    fits: int
    seconds: float
    stop: Callable[[], None]

    @property
    def bar(self) -> Bar:
        """What a bar shows of it."""
        words = f"{self.good} good, {self.poor} poor, {self.frontier} chunks at the front, {self.in_flight} in flight"
        return Bar(f"SAMFire {self.strategy}", self.good + self.hopeless, self.pixels, words)


class Run:
    """One run; `start` it once.

    Parameters
    ----------
    spec : SamfireSpec
        What all visits have in common.
    sources : sequence of Source
        The data, then the further arrays in the order of the fit_spec's roles.
    given : Source, optional
        Packed rows of an earlier result.
    seeds : mapping of int to int64 (any,)
        Pixels of each chunk that are fitted first.
    executor : Executor
        Where visits are made.
    store : Checkpoints, optional
        Where they are kept.
    reporter : Reporter
        Who is told.
    listener : callable, optional
        Called with the number of a chunk and its summary after every visit.
    """

    def __init__(
        self,
        spec: SamfireSpec,
        sources: Sequence[Source],
        given: Source | None,
        seeds: dict[int, np.ndarray],
        executor: Executor,
        store: Checkpoints | None,
        reporter: Reporter,
        token: str,
        listener: Callable[[int, Summary], None] | None = None,
    ) -> None:
        self._spec, self._sources, self._given, self._seeds = spec, sources, given, seeds
        self._executor, self._store, self._reporter, self._token, self._listener = (
            executor,
            store,
            reporter,
            token,
            listener,
        )
        self._known = store.known() if store is not None else set()
        self._stopping = threading.Event()
        self._began = time.monotonic()
        count = len(spec.grid)
        self._neighbours, self._facing = spec.grid.tables
        self._visited: list[Any] = [None] * count
        self._strips: list[list[tuple[int, Any]]] = [[] for _ in range(count)]
        self._summaries: list[Summary | None] = [None] * count
        self._steps: dict[int, int] = {}
        # What visits under way began from.
        self._flying: dict[int, Any] = {}
        self.interrupted = False
        self._in_flight = self._visits = self._fits = 0
        self._good = self._poor = self._hopeless = self._frontier = 0
        self._strategy = "seeds"
        self._pixels = int(np.prod([sum(sizes) for sizes in spec.grid.chunks]))
        self._common = executor.submit(f"xfit-samfire-spec-{token}", tasks.the_same, spec)

    def stop(self) -> None:
        """End the run with what is done: no visit is begun any more."""
        self._stopping.set()

    @property
    def stopped(self) -> bool:
        """Whether the run was told to end before it had come to its end."""
        return self._stopping.is_set()

    def start(self) -> list[Any]:
        """Fit as much of the map as the strategies reach.

        Returns
        -------
        list
            A handle of the rows of each chunk; see `xfit.samfire.tasks.finish`.

        Raises
        ------
        ValueError
            If no seed is good.

        Notes
        -----
        A KeyboardInterrupt ends the run with what is done; `interrupted` then says so.
        """
        prepare_engine("wave")
        if isinstance(self._executor, Cluster):
            make_ready(self._executor.client, self._spec.fit_spec.program, "wave")
        try:
            self._seed()
            for phase, strategy in enumerate(self._spec.strategies):
                if self._stopping.is_set() or not self._left():
                    break
                self._strategy = type(strategy).__name__
                if isinstance(strategy, GlobalStrategy):
                    self._attempt(phase, strategy)
                else:
                    self._spread(phase)
        except KeyboardInterrupt:
            self._abandon()
        finally:
            self._reporter.close()
        return self._finish()

    def _abandon(self) -> None:
        """End the run at once: visits under way are lost, all others stay."""
        self.interrupted = True
        self.stop()
        self._executor.cancel()
        for chunk, before in self._flying.items():
            self._visited[chunk] = before
        self._flying.clear()
        self._in_flight = 0
        _LOG.warning(
            "interrupted: %s of %s pixels are fitted well, %s tried without success; the result has what is done%s",
            f"{self._good:,}",
            f"{self._pixels:,}",
            f"{self._poor:,}",
            "" if self._store is None else ", and the same call goes on with it",
        )

    def _left(self) -> bool:
        return any(summary is None or summary.todo for summary in self._summaries)

    def _blocks(self, chunk: int) -> list[Any]:
        return [source.block(chunk) for source in self._sources]

    def _submit(self, visit: Visit, function: Callable[..., Any], *arguments: Any) -> None:
        """Begin a visit, or take it from an earlier run."""
        phase, chunk, turn = visit
        key = f"{self._token}-{phase}-{chunk}-{turn}"
        if visit in self._known:
            handle = self._executor.submit(
                f"xfit-samfire-fetch-{key}", tasks.again, self._store, visit, function, self._common, chunk, *arguments
            )
        else:
            handle = self._executor.submit(f"xfit-samfire-visit-{key}", function, self._common, chunk, *arguments)
        self._flying[chunk] = self._visited[chunk]
        self._visited[chunk] = handle
        strips = self._executor.part(f"xfit-samfire-strips-{key}", strips_of, handle)
        self._strips[chunk] = [*self._strips[chunk][-1:], (turn, strips)]
        self._executor.watch(visit, self._executor.part(f"xfit-samfire-summary-{key}", summary_of, handle))
        self._in_flight += 1

    def _wait(self) -> list[tuple[Visit, Summary]]:
        """Wait for visits and count what they did."""
        batch = self._executor.next()
        for visit, summary in batch:
            self._count(visit, summary)
        return batch

    def _count(self, visit: Visit, summary: Summary) -> None:
        """Count what a visit did, and tell of it."""
        phase, chunk, turn = visit
        before = self._summaries[chunk]
        self._flying.pop(chunk, None)
        self._in_flight -= 1
        self._visits += 1
        self._fits += summary.fits
        for name in ("good", "poor", "hopeless"):
            was = 0 if before is None else getattr(before, name)
            setattr(self, f"_{name}", getattr(self, f"_{name}") + getattr(summary, name) - was)
        self._summaries[chunk] = summary
        step = step_of(phase, turn)
        self._steps[step] = max(self._steps.get(step, 0), summary.steps)
        if self._listener is not None:
            self._listener(chunk, summary)
        self._reporter.update(
            Snapshot(
                self._strategy,
                self._pixels,
                self._good,
                self._poor,
                self._hopeless,
                self._frontier,
                self._in_flight,
                self._visits,
                self._fits,
                time.monotonic() - self._began,
                self.stop,
            )
        )

    def _seed(self) -> None:
        """Fit the seeds, or find the good pixels of an earlier result."""
        chunks = range(len(self._spec.grid)) if self._given is not None else sorted(self._seeds)
        none = np.empty(0, np.int64)
        waiting = deque(chunks)
        while waiting or self._in_flight:
            while waiting and self._in_flight < 64:
                chunk = waiting.popleft()
                seeds = self._seeds.get(chunk, none)
                blocks = self._blocks(chunk) if seeds.size else None
                rows = None if self._given is None else self._given.block(chunk)
                self._submit((-1, chunk, 0), tasks.seed, blocks, rows, seeds, self._store)
            self._wait()
        if not self._good:
            tried = sum(seeds.size for seeds in self._seeds.values())
            raise ValueError(
                f"none of {tried} seed(s) is good: each must converge from the model's values and pass the test of "
                f"goodness ({self._spec.goodness!r}; without variance= the reduced chi-squared is the mean squared "
                "residual). Give other seeds, better start values of the model, a variance, or another test "
                "(goodness=)"
                if tried
                else "no pixel of the result in start= is good: none converged and passes the test of goodness "
                f"({self._spec.goodness!r}). Give seeds too, or another test (goodness=)"
            )

    def _starting(self, phase: int) -> tuple[np.ndarray, np.ndarray]:
        """Chunks with pixels to spread from, and on whose sides these are, bool (n,) and (n, m)."""
        has = np.zeros(len(self._spec.grid), bool)
        sides = np.zeros(self._neighbours.shape, bool)
        after_global = phase > 0 and isinstance(self._spec.strategies[phase - 1], GlobalStrategy)
        for chunk, summary in enumerate(self._summaries):
            if summary is None or (after_global and summary.phase != phase - 1):
                continue
            has[chunk] = (summary.starts if after_global else summary.good) > 0
            flags = summary.shown if after_global else summary.good_there
            sides[chunk, : len(flags)] = flags
        return has, sides

    def _spread(self, phase: int) -> None:
        """Run a local strategy to its end."""
        count = len(self._spec.grid)
        first, showing = self._starting(phase)
        clock, running = np.zeros(count, np.int64), np.zeros(count, bool)
        unfinished = np.array([summary is None or summary.todo > 0 for summary in self._summaries], bool)
        gained = np.zeros((*self._neighbours.shape, RING), bool)
        gained[:, :, 0] = showing
        # What was seen of a chunk before this strategy is what it shows in turn 0.
        self._strips = [[(0, handles[-1][1])] if handles else [] for handles in self._strips]
        ready, queue = np.empty(count, np.int64), np.empty(count, np.int64)
        self._frontier = int((showing.any(axis=1) & unfinished).sum())
        pending = np.arange(count)
        limit = 1
        while True:
            number = 0
            if not self._stopping.is_set():
                number = advance(
                    pending,
                    clock,
                    running,
                    first,
                    unfinished,
                    gained,
                    self._neighbours,
                    self._facing,
                    limit,
                    queue,
                    ready,
                )
            for chunk in ready[:number]:
                self._visit(phase, int(chunk), int(clock[chunk]) + 1, showing)
            if not self._in_flight:
                return
            batch = self._wait()
            pending = np.array([chunk for (_, chunk, _), _ in batch])
            pending = np.concatenate([pending, self._neighbours[pending].ravel()])
            pending = pending[pending >= 0]
            for (_, chunk, turn), summary in batch:
                flags = np.zeros(self._neighbours.shape[1], bool)
                flags[: len(summary.gained)] = summary.gained
                self._frontier -= int(unfinished[chunk] and showing[chunk].any())
                clock[chunk], running[chunk], unfinished[chunk] = turn, False, summary.todo > 0
                gained[chunk, :, turn % RING] = flags
                showing[chunk] |= flags
                self._frontier += int(unfinished[chunk] and showing[chunk].any())
                if flags.any() and turn + 1 > limit:
                    # Chunks that stood at the limit may go on.
                    limit = turn + 1
                    pending = np.arange(count)

    def _visit(self, phase: int, chunk: int, turn: int, showing: np.ndarray) -> None:
        """Begin a visit: it sees what its neighbours were after the turn before."""
        others, strips = [], []
        for m, other in enumerate(self._neighbours[chunk]):
            if other >= 0 and showing[other, self._facing[chunk, m]]:
                earlier = [handle for when, handle in self._strips[other] if when < turn]
                if earlier:
                    others.append(int(other))
                    strips.append(earlier[-1])
        visited, blocks = self._visited[chunk], self._blocks(chunk)
        self._submit(
            (phase, chunk, turn), tasks.spread, visited, blocks, phase, turn, self._store, tuple(others), *strips
        )

    def _attempt(self, phase: int, strategy: GlobalStrategy) -> None:
        """Try the candidates of a global strategy in every chunk with pixels left."""
        values, counts = gather(self._database())
        candidates = np.asarray(strategy.candidates(values, counts), float)
        if candidates.ndim != 2 or candidates.shape[1] != self._spec.free.size:
            raise TypeError(
                f"{type(strategy).__name__}.candidates must return an array of shape (any, {self._spec.free.size}); "
                f"got {candidates.shape}"
            )
        waiting = deque(c for c, summary in enumerate(self._summaries) if summary is None or summary.todo)
        while (waiting and not self._stopping.is_set()) or self._in_flight:
            while waiting and self._in_flight < 64 and not self._stopping.is_set():
                chunk = waiting.popleft()
                self._submit(
                    (phase, chunk, 1),
                    tasks.attempt,
                    self._visited[chunk],
                    self._blocks(chunk),
                    candidates,
                    phase,
                    self._store,
                )
            self._wait()

    def _database(self) -> list[Database]:
        """What good pixels have, chunk by chunk."""
        known = [summary for summary in self._summaries if summary is not None]
        extent = np.stack([np.min([s.extent[0] for s in known], axis=0), np.max([s.extent[1] for s in known], axis=0)])
        chunks = [c for c, summary in enumerate(self._summaries) if summary is not None and summary.good]
        handles = [
            self._executor.submit(
                f"xfit-samfire-database-{self._token}-{self._strategy}-{c}-{self._visits}",
                tasks.database,
                self._common,
                self._visited[c],
                extent,
            )
            for c in chunks
        ]
        return self._executor.results(handles)

    def _finish(self) -> list[Any]:
        """Rows of every chunk, with the ranks of the steps in the whole run."""
        steps = np.array(sorted(self._steps), np.int64)
        lengths = np.array([self._steps[step] for step in sorted(self._steps)], np.int64)
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64) if steps.size else steps
        return [
            self._executor.submit(
                f"xfit-samfire-rows-{self._token}-{chunk}",
                tasks.finish,
                self._common,
                chunk,
                self._visited[chunk],
                steps,
                first,
            )
            for chunk in range(len(self._spec.grid))
        ]
