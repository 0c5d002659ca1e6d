"""The one call that is made for a chunk of a stored run: read, fit, write, mark."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from xfit.display import cleaned, without_secrets
from xfit.engine.block.cancellation import pause
from xfit.engine.block.function_errors import errors_of
from xfit.engine.block.options import Columns
from xfit.engine.pixel.status import CONVERGED, FUNCTION_ERROR, HOPELESS, READ_ERROR
from xfit.fitting.planning.fit_spec import FitSpec
from xfit.fitting.running.chunk_grid import Box, ChunkGrid
from xfit.fitting.running.map_blocks import fit_nd
from xfit.fitting.running.sources import computed
from xfit.fitting.stored.archive import Archive, Mark
from xfit.fitting.stored.storage import StoreError
from xfit.results.assembly import unpacked

_LOG = logging.getLogger("xfit.fitting.stored")

#: Seconds before a read that failed is tried again.
_AGAIN = (0.5, 2.0)


@dataclass(frozen=True)
class Work:
    """What all calls have in common.

    Attributes
    ----------
    fit_spec : FitSpec
        How to fit.
    table : float64 (any, n_channels)
        Coordinates; see `xfit.fitting.planning.fit_spec.table_of`.
    grid : ChunkGrid
        The chunks.
    archive : Archive
        Where results go.
    names : tuple of str
        Navigation dimensions, for messages.
    """

    fit_spec: FitSpec
    table: np.ndarray
    grid: ChunkGrid
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
        packed = fit_nd(arrays[0], *arrays[1:], table=work.table, fit_spec=work.fit_spec)
    columns = Columns.of(len(work.fit_spec.settings.start), work.fit_spec.options)
    status = packed[..., columns.scalar("status")]
    mark = Mark(
        status.size,
        int((status == CONVERGED).sum()),
        int(np.isin(status, HOPELESS).sum()),
        int(np.nansum(packed[..., columns.scalar("nfev")])),
        0,
        int(bool(message)),
    )
    try:
        work.archive.check_writer()
        written = work.archive.write(chunk, unpacked(packed, work.fit_spec.options, columns), message)
        work.archive.mark(chunk, mark._replace(microseconds=int(1e6 * (time.perf_counter() - began))), written)
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(
            f"chunk {chunk} ({cleaned(work.place(box))}) could not be written to {work.archive}: "
            f"{type(error).__name__}: {without_secrets(error)}. Chunks that are "
            "done are whole; resume=True goes on with the others"
        ) from error
    fit_spec = work.fit_spec
    return mark, errors_of(fit_spec.program, fit_spec.options.loss) if (status == FUNCTION_ERROR).any() else {}


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
    columns = Columns.of(len(work.fit_spec.settings.start), work.fit_spec.options)
    packed = np.full((*(b - a for a, b in box), columns.total), np.nan)
    packed[..., columns.scalar("status")] = READ_ERROR
    return packed
