"""Workers of a cluster made ready: the same version of xfit as the client's, and the engine and the model compiled before any chunk comes."""

from __future__ import annotations

import asyncio
from typing import Any

from dask.base import tokenize
from distributed import WorkerPlugin

from xfit._version import __version__
from xfit.compile.cache import source_hash
from xfit.compile.engine import prepare_engine
from xfit.compile.program import Program


class Ready(WorkerPlugin):
    """Makes a worker ready when it starts, or at once if it is there.

    Parameters
    ----------
    program : Program
        The model that will be fitted.
    part : str
        The part of the engine that will be used.
    """

    idempotent = True

    def __init__(self, program: Program, part: str) -> None:
        self.name = f"xfit-ready-{tokenize(program, part)}"
        self._program, self._part = program, part
        self._version, self._sources = __version__, source_hash()

    async def setup(self, worker: Any) -> None:
        """Compile, or refuse.

        Raises
        ------
        RuntimeError
            If the worker has another xfit.
        """
        if (self._version, self._sources) != (__version__, source_hash()):
            raise RuntimeError(
                f"worker {worker.address} has xfit {__version__} (sources {source_hash()[:8]}), the client {self._version} "
                f"(sources {self._sources[:8]}); install the same version on both"
            )
        # Beside the worker's loop, which must answer the scheduler meanwhile.
        await asyncio.to_thread(self._compile)

    def _compile(self) -> None:
        prepare_engine(self._part)
        self._program.load()
