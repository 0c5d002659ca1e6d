"""The one call that is made for a chunk of a stored run: read, fit, write, mark."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from xfit.addresses import without_secrets
from xfit.assembly import unpacked
from xfit.cancellation import pause
from xfit.execution.grid import Box, Grid
from xfit.execution.sources import computed
from xfit.function_errors import errors_of
from xfit.kernels.pixel import EVALUATIONS, STATUS
from xfit.kernels.status import CONVERGED, FUNCTION_ERROR, HOPELESS, READ_ERROR
from xfit.mapping import Recipe, fit_nd
from xfit.options import Columns
from xfit.stored.archive import Archive, Mark
from xfit.stored.storage import StoreError
from xfit.terminal import cleaned

_LOG = logging.getLogger("xfit.stored")

#: Seconds before a read that failed is tried again.
_AGAIN = (0.5, 2.0)


@dataclass(frozen=True)
class Work:
    """What all calls have in common.

    Attributes
    ----------
    recipe : Recipe
        How to fit.
    table : float64 (any, n_channels)
        Coordinates; see `xfit.mapping.table_of`.
    grid : Grid
        The chunks.
    archive : Archive
        Where results go.
    names : tuple of str
        Navigation dimensions, for messages.
    """

    recipe: Recipe
    table: np.ndarray
    grid: Grid
    archive: Archive
    names: tuple[str, ...]

    def place(self, box: Box) -> str:
        """Words for where a chunk lies."""
        return ", ".join(f"{name} {a}:{b}" for name, (a, b) in zip(self.names, box, strict=True))


def do_chunk(work: Work, chunk: int, blocks: list[Any]) -> tuple[Mark, dict[str, str]]:
    """Read, fit and write a chunk; its mark comes last. Return that, and what functions of users have raised.

    Raises
    ------
    StoreError
        If it could not be written, or another run writes into the store now; what is written of other chunks stays.
    """
    began = time.perf_counter()
    box = work.grid.box(chunk)
    # A process that sees another folder of this name has nothing to read or fit for it.
    work.archive.check_writer()
    message = ""
    try:
        arrays = [_read(block) for block in blocks]
    except MemoryError:
        # No fault of the data: another worker, or a smaller chunk, may do.
        raise
    except Exception as error:
        message = without_secrets(f"{type(error).__name__}: {error}")
        _LOG.warning("chunk %d (%s) could not be read: %s", chunk, cleaned(work.place(box)), cleaned(message))
        packed = _unread(work, box)
    else:
        packed = fit_nd(arrays[0], *arrays[1:], table=work.table, recipe=work.recipe)
    columns = Columns.of(len(work.recipe.settings.start), work.recipe.options)
    scalars = packed[..., 3 * columns.n :]
    status = scalars[..., STATUS]
    mark = Mark(
        status.size,
        int((status == CONVERGED).sum()),
        int(np.isin(status, HOPELESS).sum()),
        int(np.nansum(scalars[..., EVALUATIONS])),
        0,
        int(bool(message)),
    )
    try:
        work.archive.check_writer()
        written = work.archive.write(chunk, unpacked(packed, work.recipe.options, columns), message)
        work.archive.mark(chunk, mark._replace(microseconds=int(1e6 * (time.perf_counter() - began))), written)
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(
            f"chunk {chunk} ({cleaned(work.place(box))}) could not be written to {work.archive}: {type(error).__name__}: {without_secrets(error)}. Chunks that are "
            "done are whole; resume=True goes on with the others"
        ) from error
    recipe = work.recipe
    return mark, errors_of(recipe.program, recipe.options.loss) if (status == FUNCTION_ERROR).any() else {}


def _read(block: Any) -> np.ndarray:
    """Numbers of a block; what fails is tried again."""
    for seconds in _AGAIN:
        try:
            return computed(block)
        except MemoryError:
            raise
        except Exception as error:
            _LOG.info("read again in %s s: %s: %s", seconds, type(error).__name__, without_secrets(error))
            pause(seconds)
    return computed(block)


def _unread(work: Work, box: Box) -> np.ndarray:
    """Rows of a chunk that could not be read."""
    columns = Columns.of(len(work.recipe.settings.start), work.recipe.options)
    packed = np.full((*(b - a for a, b in box), columns.total), np.nan)
    packed[..., 3 * columns.n + STATUS] = READ_ERROR
    return packed
