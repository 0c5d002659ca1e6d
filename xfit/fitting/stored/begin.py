"""How a stored run begins: what is in the store is kept, gone on with, or about to be replaced; what is damaged of a
run that goes on is found and written again.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import dask.array
import xarray as xr

from xfit.arrays.atomic_write import PARTIAL
from xfit.display import cleaned
from xfit.fitting.planning.plan import Plan
from xfit.fitting.running.chunk_grid import ChunkGrid
from xfit.fitting.stored.archive import Archive, StoreState
from xfit.fitting.stored.description import Description, describe
from xfit.fitting.stored.manifest import differences, manifest_of
from xfit.fitting.stored.storage import StoreError
from xfit.results.assembly import assemble

_LOG = logging.getLogger("xfit.fitting.stored")

#: Names of that many files are said.
_FEW = 5


class DamagedStoreWarning(UserWarning):
    """Something in a store was not what had been written, and is written again."""


def begin(
    archive: Archive, plan: Plan, grid: ChunkGrid, inner: Mapping[str, int], *, resume: bool, overwrite: bool
) -> list[int] | None:
    """Lay a run out, or go on with the one that is there.

    Parameters
    ----------
    archive : Archive
        Where.
    plan, grid, inner
        The run: see `xfit.fitting.stored.manifest.manifest_of`.
    resume, overwrite : bool
        What to do with a run that is there.

    Returns
    -------
    list of int or None
        Chunks that are missing; None for a run of an earlier format, which is as it was.

    Raises
    ------
    FileExistsError, ValueError
        If there is something in the store that this run must not touch.
    StoreError
        If what is there is damaged so that it can't be gone on with, or has links that lead out of the store.
    """
    if resume and overwrite:
        raise ValueError("resume=True keeps what is in the store and overwrite=True replaces it; give one of them")
    if not archive.exists:
        archive.lay_out(_template(plan, grid), grid, inner, manifest_of(plan, grid, inner))
        return list(range(len(grid)))
    links = archive.objects.links()
    if links:
        raise StoreError(links[0])
    state, sizes = archive.look(), archive.objects.sizes()
    foreign = archive.foreign(state, sizes)
    # All that a run leaves that was ended before it could say what it is of.
    empty = not state.is_run and not state.damage and not foreign and "zarr.json" not in sizes
    if not state.is_run and not empty:
        if state.damage:
            raise StoreError(
                f"{state.damage[0]}, and nothing else there says what it was; give another place, or empty it"
            )
        raise FileExistsError(
            f"store={archive} holds something that is no result of xfit ({_few(foreign or ['zarr.json'])}); give "
            "another place, or empty it"
        )
    if not (resume or overwrite or empty) and "zarr.json" in sizes:
        raise FileExistsError(
            f"store={archive} holds a result already; give resume=True to go on with it, or overwrite=True to replace "
            "it"
        )
    # Made by processes that were killed while they wrote a file, under another name.
    parts = [key for key in sizes if PARTIAL.fullmatch(key) and key not in foreign]
    manifest = manifest_of(plan, grid, inner)
    if resume and state.old is not None and (state.next is None or differences(state.next.manifest, manifest)):
        _check_first_format(archive, state.old, manifest)
        return None
    if resume and state.is_run:
        missing = _gone_on(archive, state, plan, grid, inner, manifest, sizes)
        archive.objects.delete(parts)
        return missing
    if foreign and not empty:
        raise FileExistsError(
            f"store={archive} holds files that xfit has not made: {_few(foreign)}. overwrite=True never removes or "
            "hides them; move them, or give another place"
        )
    archive.lay_out(_template(plan, grid), grid, inner, manifest)
    archive.objects.delete(parts)
    return list(range(len(grid)))


def _template(plan: Plan, grid: ChunkGrid) -> xr.Dataset:
    """The result, its numbers apart."""
    fit_spec = plan.fit_spec
    empty = dask.array.empty((*map(sum, grid.chunks), fit_spec.width), chunks=-1)
    return assemble(
        empty, plan.da, plan.model, fit_spec.program, fit_spec.settings, plan.axes, fit_spec.options, plan.how
    )


def _few(names: list[str]) -> str:
    words = cleaned(", ".join(sorted(names)[:_FEW]))
    return words if len(names) <= _FEW else f"{words} and {len(names) - _FEW} more"


def _gone_on(
    archive: Archive,
    state: StoreState,
    plan: Plan,
    grid: ChunkGrid,
    inner: Mapping[str, int],
    manifest: Mapping[str, Any],
    sizes: Mapping[str, int],
) -> list[int]:
    """Go on with the run that is about to replace another, or else with that which readers have."""
    runs = [each for each in (state.next, state.current) if each is not None]
    differing = {each.run: differences(each.manifest, manifest) for each in runs}
    mine = next((each for each in runs if not differing[each.run]), None)
    if mine is None:
        raise ValueError(
            f"store={archive} holds a run that differs in: {'; '.join(differing[runs[-1].run])}. Give the same data, "
            "model and options to go on with it, or overwrite=True to replace it"
        )
    archive.claim(mine, "gone on with, with resume=True,")
    _say([each for each in state.damage], archive, "written again")
    _restore(archive, mine, plan, grid, inner, sizes)
    if mine is state.current:
        _restore_metadata(archive, state, sizes)
    whole, wrong = archive.verify(sizes)
    _say([f"chunk {chunk}: {words}" for chunk, words in wrong.items()], archive, "fitted again")
    missing = [chunk for chunk in range(len(grid)) if chunk not in whole or whole[chunk].unread]
    archive.discard(missing, sizes)
    if mine is state.current and state.next is None:
        # What a process that was ended while it replaced a run has left of that.
        archive.sweep(archive.names(state), sizes)
    return missing


def _restore(
    archive: Archive, run: Description, plan: Plan, grid: ChunkGrid, inner: Mapping[str, int], sizes: Mapping[str, int]
) -> None:
    """Make sure of the description of a run, and of its coordinates."""
    files: dict[str, bytes] = {}
    bad = archive.damaged_files(sizes)
    if bad:
        _, files = describe(_template(plan, grid), grid, inner, run.manifest, run.generation, ())
    _say([f"{key} is missing or damaged" for key in bad if "zarr.json" in sizes], archive, "written again")
    archive.restore(files, bad)


def make_sure(archive: Archive, plan: Plan, grid: ChunkGrid, inner: Mapping[str, int]) -> None:
    """Write again what another run, which began at the same moment and has ended, wrote last
    over the description of this one.
    """
    run, state = archive.description, archive.look()
    if run is None:
        return
    archive.check_writer()
    sizes = archive.description_sizes()
    _restore(archive, run, plan, grid, inner, sizes)
    if state.current is not None and state.current.run == run.run:
        _restore_metadata(archive, state, sizes)


def _restore_metadata(archive: Archive, state: StoreState, sizes: Mapping[str, int]) -> None:
    """Make sure of the metadata that readers have."""
    metadata = archive.damaged_metadata()
    # Where the layout was ended before its end, or the exchange of two runs, those that are missing are no damage.
    begun = "zarr.json" in sizes and state.left is None
    _say([f"{key} is missing or damaged" for key in metadata if begun], archive, "written again")
    archive.rewrite(metadata)


def _check_first_format(archive: Archive, known: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Accept a run of format 1 that is whole.

    Raises
    ------
    ValueError
        If it is of something else, or not whole: it has nothing by which what is whole could be told from what is not.
    """
    differing = differences(
        known, {name: value for name, value in manifest.items() if name in known and name != "format"}
    )
    if differing:
        raise ValueError(
            f"store={archive} holds a run that differs in: {'; '.join(differing)}. Give the same data, model and "
            "options to go on with it, or overwrite=True to replace it"
        )
    missing = archive.missing_of_first_format(known)
    if missing:
        raise ValueError(
            f"store={archive} holds a run of an earlier version of xfit (format 1), which is not whole "
            f"({_few(missing)} missing) and has no checksums to go on by; "
            "end it with that version, or begin anew with overwrite=True"
        )


def _say(words: list[str], archive: Archive, what: str) -> None:
    for each in words:
        text = cleaned(f"{archive}: {each.removeprefix(f'{archive}: ')}; it is {what}")
        _LOG.info("%s", text)
        warnings.warn(text, DamagedStoreWarning, stacklevel=6)
