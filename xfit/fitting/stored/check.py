"""All that is wrong in the store of a run, told by reading all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from xfit.display import cleaned
from xfit.fitting.stored.archive import Archive, StoreState
from xfit.fitting.stored.description import Description
from xfit.fitting.stored.unread import open_zarr


def check(store: Any, storage_options: Mapping[str, Any] | None = None) -> list[str]:
    """Read all of a stored run, and say what is not as it was written.

    Parameters
    ----------
    store, storage_options
        As for `xfit.multifit`.

    Returns
    -------
    list of str
        What is wrong: files that are missing, cut short or changed, links that lead out of the store, files that xfit
        has not made. Empty where nothing is; that chunks are not fitted yet is nothing wrong.

    Raises
    ------
    FileNotFoundError
        If there is no run.
    """
    archive = Archive(store, storage_options)
    state = archive.look()
    if not state.is_run and not state.damage:
        raise FileNotFoundError(f"store={archive} holds no stored run of xfit")
    return list(map(cleaned, _wrong(archive, state)))


def _wrong(archive: Archive, state: StoreState) -> Iterator[str]:
    sizes = archive.objects.sizes()
    yield from (_bare(each, archive) for each in archive.objects.links())
    yield from (_bare(each, archive) for each in state.damage)
    if state.is_run:
        yield from (f"{key} was not made by xfit" for key in archive.foreign(state, sizes))
    if state.old is not None:
        yield from _first_format(archive, state.old)
    for run in (state.current, state.next):
        if run is not None:
            yield from _of_run(Archive(archive.given, archive.options), run, sizes, shown=run is state.current)


def _bare(words: str, archive: Archive) -> str:
    return words.removeprefix(f"{archive}: ")


def _of_run(archive: Archive, run: Description, sizes: Mapping[str, int], shown: bool) -> Iterator[str]:
    """What is wrong with one of the runs that can lie in a store."""
    archive.description = run
    if "zarr.json" not in sizes and shown:
        yield "zarr.json is missing"
    if run.key not in sizes:
        yield f"{run.key} is missing"
    if shown:
        yield from (f"{key} is missing or damaged" for key in archive.damaged_metadata())
    yield from (f"{key} is missing or damaged" for key in archive.damaged_files(sizes))
    yield from (f"chunk {chunk}: {words}" for chunk, words in archive.verify(sizes)[1].items())


def _first_format(archive: Archive, known: Mapping[str, Any]) -> Iterator[str]:
    """What can be told of a run that has no checksums."""
    missing = archive.missing_of_first_format(known, archive.marks())
    yield from (f"{key} is missing or empty" for key in missing)
    ds = open_zarr(archive.store, consolidated=False, chunks=None)
    for name in (*ds.coords, *known["variables"]):
        if name not in ds:
            continue
        try:
            ds[name].load()
        except Exception as error:
            yield f"{name} can't be read: {type(error).__name__}: {error}"
