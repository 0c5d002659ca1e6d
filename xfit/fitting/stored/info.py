"""What is done of a stored run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xfit.display import cleaned
from xfit.fitting.stored.archive import Archive
from xfit.modeling.model import Model


@dataclass(frozen=True)
class StoredInfo:
    """A stored run.

    Attributes
    ----------
    store : str
        Where it is.
    shape, chunks : dict of str to int, dict of str to int
        Sizes of the data; numbers of chunks along the navigation dimensions.
    components : tuple of str
        Names of the model's components.
    optimizer, loss : str
        How it is fitted.
    total, done : int
        Chunks; those that are whole.
    pixels, converged, hopeless, evaluations : int
        Pixels of the chunks that are whole; those that converged; those with nothing to fit; evaluations of the model.
    fits_per_second : float
        Of one worker, reading and writing included; NaN where nothing is done.
    unread : dict of int to str
        Chunks whose data could not be read, and why.
    replacing : str
        Of a run that will replace this one when it is whole, how much is done; empty where there is none.
    """

    store: str
    shape: dict[str, int]
    chunks: dict[str, int]
    components: tuple[str, ...]
    optimizer: str
    loss: str
    total: int
    done: int
    pixels: int
    converged: int
    hopeless: int
    evaluations: int
    fits_per_second: float
    unread: dict[int, str]
    replacing: str = ""

    def __str__(self) -> str:
        failed = self.pixels - self.converged - self.hopeless
        sizes = ", ".join(f"{name} {size}" for name, size in self.shape.items())
        cut = " x ".join(f"{number}" for number in self.chunks.values())
        lines = [
            f"store       {self.store}",
            f"data        {sizes}; {cut} chunks",
            f"model       {', '.join(self.components)}",
            f"fit         optimizer {self.optimizer}, loss {self.loss}",
            f"chunks      {self.done} of {self.total} done" + ("" if self.done < self.total else ": complete"),
            f"pixels      {self.pixels} done: {self.converged} converged, {failed} failed, {self.hopeless} with "
            "nothing to fit",
        ]
        if self.pixels:
            lines.append(
                f"speed       {self.fits_per_second:,.0f} fits/s and worker, {self.evaluations / self.pixels:.1f} "
                "evaluations a pixel"
            )
        if self.replacing:
            lines.append(f"replacing   {self.replacing}")
        lines += [f"unread      chunk {chunk}: {message}" for chunk, message in self.unread.items()]
        return "\n".join(map(cleaned, lines))


def info(store: Any, storage_options: Mapping[str, Any] | None = None) -> StoredInfo:
    """Look at a stored run, finished or not.

    Parameters
    ----------
    store, storage_options
        As for `xfit.multifit`.

    Raises
    ------
    FileNotFoundError
        If there is none.
    StoreError
        If the file that says what it is is damaged.
    """
    archive = Archive(store, storage_options)
    manifest = archive.manifest() if archive.exists else None
    if not manifest:
        raise FileNotFoundError(
            f"store={archive} holds no stored run of xfit" + (" that was laid out to the end" if manifest == {} else "")
        )
    unread = archive.messages()
    marks = {chunk: mark for chunk, mark in archive.marks().items() if chunk not in unread}
    seconds = sum(mark.microseconds for mark in marks.values()) / 1e6
    pixels = sum(mark.pixels for mark in marks.values())
    options = manifest["options"]
    number = {name: len(sizes) for name, sizes in manifest["chunks"].items()}
    total = 1
    for each in number.values():
        total *= each
    return StoredInfo(
        str(archive),
        manifest["shape"],
        number,
        tuple(component.name for component in Model.from_json(manifest["model"])),
        options["optimizer"],
        options["loss"]["name"],
        total,
        len(marks),
        pixels,
        sum(mark.converged for mark in marks.values()),
        sum(mark.hopeless for mark in marks.values()),
        sum(mark.evaluations for mark in marks.values()),
        pixels / seconds if seconds else float("nan"),
        unread,
        _replacing(archive),
    )


def _replacing(archive: Archive) -> str:
    """What there is of a run that will replace the one that is shown."""
    after = archive.look().next
    if after is None:
        return ""
    own = Archive(archive.given, archive.options)
    own.description = after
    return (
        f"a run that was begun with overwrite=True will replace this one: {len(own.done())} of {len(after.grid)} "
        "chunks done"
    )
