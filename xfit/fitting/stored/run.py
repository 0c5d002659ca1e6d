"""A stored run: chunks that are missing, a bounded number of them under way at a time, each
written by whoever fits it.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from distributed.scheduler import KilledWorker

from xfit.arrays.whole_spectra import whole_signals
from xfit.display import cleaned
from xfit.engine.block.function_errors import ATTRIBUTE, as_text
from xfit.engine.block.precompile import part_for, prepare_engine
from xfit.fitting.planning.arguments import StoreArguments
from xfit.fitting.planning.fit_spec import table_of
from xfit.fitting.planning.plan import Plan
from xfit.fitting.running.chunk_grid import ChunkGrid, chunks_of
from xfit.fitting.running.clients import active_client
from xfit.fitting.running.executors import Cluster, Executor, cluster_of, executor_of
from xfit.fitting.running.interruption import say
from xfit.fitting.running.sources import Source
from xfit.fitting.running.workers import make_ready
from xfit.fitting.stored.archive import Archive, Mark
from xfit.fitting.stored.begin import begin, make_sure
from xfit.fitting.stored.chunk_task import Work, do_chunk
from xfit.fitting.stored.own_input import refuse_own_input
from xfit.progress import Bar, Reporter, reporter_of

_LOG = logging.getLogger("xfit.fitting.stored")

#: Calls for each thread that the executor knows of at a time: enough that no thread waits, few enough that the
#: scheduler holds few.
_AHEAD = 4

#: Times that chunks without a mark are fitted again at the end.
_ROUNDS = 3

#: Seconds after which the number of threads is asked for again.
_LOOK = 5.0


class StoredRunError(RuntimeError):
    """A stored run could not go on."""

    def __init__(self, words: str) -> None:
        # Most of them name what is in files.
        super().__init__(cleaned(words))


@dataclass(frozen=True)
class StoredSnapshot:
    """Where a stored run stands.

    Attributes
    ----------
    pixels, done, failed : int
        Pixels of the map; those that are written; those of these whose fit has not converged, though it was begun.
    chunks, chunks_done, in_flight : int
        Chunks; those written; calls under way.
    unread : int
        Chunks whose data could not be read.
    fits_per_second : float
        Of this run, all workers together.
    seconds, seconds_left : float
        Since this run began; to its end, as far as can be told.
    """

    pixels: int
    done: int
    failed: int
    chunks: int
    chunks_done: int
    in_flight: int
    unread: int
    fits_per_second: float
    seconds: float
    seconds_left: float

    @property
    def bar(self) -> Bar:
        """What a bar shows of it."""
        words = f"{self.fits_per_second:,.0f} fits/s, {self.failed} failed, {_duration(self.seconds_left)} left"
        return Bar("fit", self.done, self.pixels, words + (f", {self.unread} chunks unread" if self.unread else ""))


def _duration(seconds: float) -> str:
    """Words for a time."""
    if seconds != seconds:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def run_stored(plan: Plan, asked: StoreArguments) -> xr.Dataset:
    """Fit, chunk by chunk into a store.

    Parameters
    ----------
    plan : Plan
        The fit.
    asked : StoreArguments
        Where it goes.

    Returns
    -------
    Dataset
        The result, read lazily from the store.

    Raises
    ------
    FileExistsError, ValueError
        If there is something in the store that this run must not touch.
    StoreError
        If a chunk can't be written, if another run writes into the store now, or if a worker sees another place under
        its name.
    StoredRunError
        If a chunk ends its workers again and again.
    """
    if not plan.axes.navigation:
        raise ValueError(
            "store= is for maps; the data are a single spectrum or image: write its result with .to_zarr(...)"
        )
    reporter = reporter_of(asked.progress)
    data = plan.da.transpose(*plan.axes.navigation, *plan.axes.dims)
    if plan.da.chunks is not None:
        data = whole_signals(data, plan.axes.dims, "fit", stacklevel=4, client=asked.client or active_client())
    alone = plan.fit_spec.path != "independent" and plan.da.chunks is None
    sizes = tuple((data.sizes[d],) for d in plan.axes.navigation) if alone else chunks_of(data, plan.axes.navigation)
    grid = ChunkGrid(sizes, (0,) * len(sizes))
    _check_regular(grid, plan)
    inner = _inner(asked.zarr_chunks, grid, plan)
    archive = Archive(asked.store, asked.storage_options)
    executor = executor_of(asked.client)
    try:
        _check_shared(archive, executor)
        with executor.active():
            if isinstance(executor, Cluster):
                # Before anything in the store is touched.
                program, options = plan.fit_spec.program, plan.fit_spec.options
                make_ready(executor.client, program, part_for(program, options))
            sources = [Source(array, plan.axes.navigation, grid) for array in (data, *plan.extra)]
            if any(source.shuffled for source in sources):
                cluster_of(executor)
            refuse_own_input(archive, plan)
            missing = begin(archive, plan, grid, inner, resume=asked.resume, overwrite=asked.overwrite)
            work = Work(plan.fit_spec, table_of(plan.axes), grid, archive, tuple(map(str, plan.axes.navigation)))
            if missing is not None:
                _go(work, sources, missing, executor, reporter)
                _finish(work, plan, inner, sources, executor, reporter)
    except KeyboardInterrupt as error:
        executor.cancel()
        # Chunks that are being written are whole a moment later.
        executor.close()
        say(error, _words_of(archive, len(grid)))
        raise
    finally:
        reporter.close()
        executor.close()
    return archive.open()


def _words_of(archive: Archive, chunks: int) -> str:
    """What an interrupted run leaves."""
    if not archive.manifest():
        return f"nothing was fitted yet, and nothing is in {archive}"
    return (
        f"{len(archive.done())} of {chunks} chunks are fitted and stay in {archive}; resume=True goes on with the "
        "others"
    )


def _check_regular(grid: ChunkGrid, plan: Plan) -> None:
    """Refuse chunks of unequal size, which zarr has none of."""
    for d, sizes in zip(plan.axes.navigation, grid.chunks, strict=True):
        if len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]:
            raise ValueError(
                f"store= needs chunks of equal size (the last may be smaller); along {d!r} they are {_few(sizes)}. "
                f"Rechunk the data, for instance da.chunk({{{d!r}: {max(sizes)}}})"
            )


def _few(sizes: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, sizes[:6]))}{', ...' if len(sizes) > 6 else ''})"


def _inner(given: Mapping[Hashable, int] | None, grid: ChunkGrid, plan: Plan) -> dict[str, int]:
    """Check the chunk sizes for reading back."""
    whole = {str(d): sizes[0] for d, sizes in zip(plan.axes.navigation, grid.chunks, strict=True)}
    whole["param"] = len(plan.fit_spec.settings.start)
    found = {}
    for d, size in (given or {}).items():
        if str(d) not in whole:
            raise ValueError(
                f"zarr_chunks={given!r}: there is no dimension {d!r}; there are {cleaned(', '.join(whole))}"
            )
        if isinstance(size, bool) or not isinstance(size, int) or size < 1 or whole[str(d)] % size:
            raise ValueError(
                f"zarr_chunks={given!r}: the size along {d!r} must divide that of the run's chunks, {whole[str(d)]}"
            )
        found[str(d)] = size
    return found


def _check_shared(archive: Archive, executor: Executor) -> None:
    """Refuse memory of this process as a store for workers in others."""
    local = str(archive).startswith("memory://") or type(archive.store).__name__ in ("MemoryStore", "GpuMemoryStore")
    if local and isinstance(executor, Cluster) and not executor.client.scheduler.address.startswith("inproc"):
        raise ValueError(
            f"store={archive} lies in the memory of this process, which the workers of a cluster can't write to; give "
            "a path or URL that all of them see"
        )


def _finish(
    work: Work, plan: Plan, inner: Mapping[str, int], sources: list[Source], executor: Executor, reporter: Reporter
) -> None:
    """Have readers see the run that is whole.

    Raises
    ------
    StoredRunError
        If chunks lose their marks again and again.
    """
    archive = work.archive
    for _ in range(_ROUNDS):
        # Another run that was writing when this one began may have taken marks away, with what it wrote last.
        missing = sorted({*range(len(work.grid))} - archive.marks().keys())
        if not missing:
            break
        _go(work, sources, missing, executor, reporter)
    else:
        raise StoredRunError(
            f"{archive}: marks of chunks {missing[:6]} are gone whenever they are written; resume=True goes on"
        )
    archive.keep()
    make_sure(archive, plan, work.grid, inner)
    current = archive.look().current
    if archive.description is not None and (current is None or current.run != archive.description.run):
        archive.publish()


def _go(work: Work, sources: list[Source], missing: list[int], executor: Executor, reporter: Reporter) -> None:
    """Do what is missing, a window of chunks at a time."""
    if not isinstance(executor, Cluster):
        prepare_engine(part_for(work.fit_spec.program, work.fit_spec.options))
    began = time.monotonic()
    sizes, number = _sizes(work.grid), len(work.grid)
    total = int(sizes.sum())
    count = _Count(total, number, number - len(missing), total - int(sizes[missing].sum()))
    _LOG.info("%d of %d chunks to do, into %s", len(missing), number, work.archive)
    common = executor.submit(f"xfit-stored-{uuid.uuid4().hex}", _same, work)
    # A shuffle has to know of all who need its blocks when it begins.
    together = any(source.shuffled for source in sources)
    waiting, looked = iter(missing), began
    window = len(missing) if together else _AHEAD * executor.workers
    run = uuid.uuid4().hex
    held: dict[int, Any] = {}
    known: dict[str, str] = {}
    while True:
        while len(held) < window and (chunk := next(waiting, None)) is not None:
            blocks = [source.block(chunk) for source in sources]
            held[chunk] = executor.submit(f"xfit-fit-{run}-{chunk}", do_chunk, common, chunk, blocks)
            executor.watch(chunk, held[chunk])
        if not held:
            break
        for chunk, (mark, errors) in _next(executor, work):
            del held[chunk]
            if errors.keys() - known.keys():
                known |= errors
                work.archive.note(ATTRIBUTE, as_text(known))
            count.add(mark)
            reporter.update(count.snapshot(len(held), time.monotonic() - began))
        if not together and time.monotonic() - looked > _LOOK:
            # Workers come and go.
            window, looked = _AHEAD * executor.workers, time.monotonic()
    taken = time.monotonic() - began
    _LOG.info("done in %s: %d pixels, %d failed, %d chunks unread", _duration(taken), total, count.failed, count.unread)


def _next(executor: Executor, work: Work) -> list[tuple[int, tuple[Mark, dict[str, str]]]]:
    """Wait for chunks.

    Raises
    ------
    StoredRunError
        If a chunk has cost several workers their life.
    """
    try:
        return executor.next()
    except KilledWorker as error:
        chunk = int(str(error.task).rpartition("-")[2]) if str(error.task).startswith("xfit-fit-") else -1
        place = f"chunk {chunk} ({work.place(work.grid.box(chunk))})" if chunk >= 0 else str(error.task)
        raise StoredRunError(
            f"{place} has ended {error.allowed_failures + 1} workers, most likely for want of memory (their logs "
            "say). Give them more, fewer threads, or smaller chunks; what is done stays, and resume=True goes on"
        ) from error


def _same(work: Work) -> Work:
    return work


def _sizes(grid: ChunkGrid) -> np.ndarray:
    """Number of pixels of each chunk."""
    sizes = np.ones(1, np.int64)
    for along in grid.chunks:
        sizes = np.multiply.outer(sizes, np.array(along, np.int64)).ravel()
    return sizes


@dataclass
class _Count:
    """What has been done so far."""

    pixels: int
    chunks: int
    chunks_done: int
    before: int
    fitted: int = 0
    failed: int = 0
    unread: int = 0

    def add(self, mark: Mark) -> None:
        self.chunks_done += 1
        self.fitted += mark.pixels
        self.failed += 0 if mark.unread else mark.pixels - mark.converged - mark.hopeless
        self.unread += mark.unread

    def snapshot(self, flying: int, seconds: float) -> StoredSnapshot:
        rate = self.fitted / seconds if seconds > 0 else float("nan")
        left = (self.pixels - self.before - self.fitted) / rate if rate > 0 else float("nan")
        return StoredSnapshot(
            self.pixels,
            self.before + self.fitted,
            self.failed,
            self.chunks,
            self.chunks_done,
            flying,
            self.unread,
            rate,
            seconds,
            left,
        )
