"""Workers of a cluster made ready: the same versions as the client's, and the engine and the model
compiled before any chunk comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from dask.base import tokenize
from dask.utils import format_bytes
from distributed import WorkerPlugin
from distributed.comm import CommClosedError

from xfit.engine.block.precompile import code_for, prepare_engine
from xfit.engine.codegen.code_store import offer
from xfit.engine.codegen.program import Program
from xfit.engine.codegen.versions import check_versions, versions

#: Times that workers are made ready which end meanwhile, and seconds between them: a nanny replaces a worker.
_TIMES, _BETWEEN = 3, 1.0


class ClusterError(RuntimeError):
    """A cluster can't be used for a fit, or was lost while the fit went on."""


class Ready(WorkerPlugin):
    """Makes a worker ready when it starts, or at once if it is there.

    Parameters
    ----------
    program : Program
        The model that will be fitted.
    part : str
        The part of the engine that will be used.
    code : dict of str to bytes
        Machine code of both that the client has, for workers with the same kind of processor.
    """

    idempotent = True

    def __init__(self, program: Program, part: str, code: dict[str, bytes]) -> None:
        self.name = f"xfit-ready-{tokenize(program, part)}"
        self._program, self._part, self._code = program, part, code
        self._versions = versions()

    async def setup(self, worker: Any) -> None:
        """Compile, or refuse.

        Raises
        ------
        VersionError
            If the worker has another version of xfit, numba or Python.
        """
        check_versions(self._versions, f"worker {worker.address}")
        # Beside the worker's loop, which must answer the scheduler meanwhile.
        await asyncio.to_thread(self._compile)

    def _compile(self) -> None:
        offer(self._code)
        prepare_engine(self._part)
        self._program.load()


def make_ready(client: Any, program: Program, part: str) -> None:
    """Make all workers of a cluster ready for a model, and those that join it later.

    Raises
    ------
    VersionError
        If a worker has another version of xfit, numba or Python.
    ClusterError
        If workers have no xfit, or end while they load it.
    """
    # Clusters that grow with the work have none before there is any.
    expected = bool(workers_of(client))
    # What the client compiles here, no worker with its kind of processor has to.
    prepare_engine(part)
    program.load()
    ready = Ready(program, part, code_for(part, program))
    lost = False
    for left in reversed(range(_TIMES)):
        try:
            client.register_plugin(ready)
            if (lost or expected) and not workers_of(client):
                # Nobody was asked, for those that were are gone and not replaced yet.
                raise TimeoutError
        except ModuleNotFoundError as error:
            raise ClusterError(
                f"a worker has no module {error.name!r}; install xfit on all workers and on the scheduler"
            ) from error
        except (CommClosedError, TimeoutError) as error:
            lost = True
            if not left:
                raise ClusterError(
                    f"workers end while they load xfit and the model, {words_of_memory(client)}"
                ) from error
            time.sleep(_BETWEEN)
        else:
            return


def workers_of(client: Any) -> Mapping[str, Mapping[str, Any]]:
    """Workers of a cluster by their addresses, as its scheduler has them now.

    Not `Client.scheduler_info`: the client's own look at the scheduler, every two seconds and without workers, may come
    between the answer and its return, as if there were none.
    """
    found: Mapping[str, Mapping[str, Any]] = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    return found


def words_of_memory(client: Any) -> str:
    """Why workers end, as a rule, and what to do."""
    return (
        f"most likely for want of memory ({limits_of(client)}; their logs say). Give each 1 GiB at least and what its "
        "chunks need (memory_limit= of LocalCluster, --memory-limit of dask worker), or start fewer"
    )


def limits_of(client: Any) -> str:
    """Words for how much memory the workers may use."""
    workers = workers_of(client).values()
    limits = sorted({int(each.get("memory_limit") or 0) for each in workers})
    if not limits:
        return "none is there now"
    return (
        "their limit is "
        f"{' to '.join(format_bytes(each) if each else 'none' for each in {limits[0]: 0, limits[-1]: 0})}"
    )
