"""The engine compiled by processes that end: numba's compiler takes some 300 MiB, which the
process that fits would keep.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LOG = logging.getLogger("xfit.engine.codegen")

#: The search path comes from who asks, so that the same xfit is compiled, wherever it was imported from.
_SCRIPT = """
import gc, json, os, sys
# Of a process that ends so soon.
gc.disable()
code = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
sys.path[:] = json.loads(sys.argv[1])
from xfit.engine.codegen.subprocess_compile import end_with_parent
end_with_parent(int(sys.argv[2]))
from xfit.engine.block.precompile import compile_unit
code.write(compile_unit(sys.argv[3]))
code.close()
"""

#: Seconds between two looks whether the parent process is still there.
_LOOK = 0.5


def can_start_python() -> bool:
    """Whether this program can start another like it: not where Python is a part of another application."""
    name = Path(sys.executable or "").stem.lower()
    return not getattr(sys, "frozen", False) and name.startswith(("python", "pypy"))


#: Pieces that processes were started to compile by this one.
_started: list[str] = []


def started() -> int:
    """Return how many pieces this process has had compiled by others."""
    return len(_started)


class CompilationError(RuntimeError):
    """A process that should compile could not be started, or failed."""


def compile_apart(*units: str) -> list[bytes]:
    """Compile pieces of the engine at the same time, each in a process of its own.

    Parameters
    ----------
    *units : str
        See `xfit.engine.block.precompile.UNITS`.

    Returns
    -------
    list of bytes
        Their machine code.

    Raises
    ------
    CompilationError
        Saying why, where that fails.
    """
    _LOG.info("compiling the engine (%s), once on this machine", ", ".join(units))
    path = json.dumps([str(entry) for entry in sys.path])
    optimize = [f"-{'O' * sys.flags.optimize}"] if sys.flags.optimize else []
    begun: list[subprocess.Popen[bytes]] = []
    try:
        for unit in units:
            _started.append(unit)
            begun.append(
                subprocess.Popen(
                    [sys.executable, *optimize, "-c", _SCRIPT, path, str(os.getpid()), unit],
                    # Closed when this process ends, however that happens.
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )
        with ThreadPoolExecutor(len(units)) as pool:
            return list(pool.map(_code_of, begun))
    except OSError as error:
        raise CompilationError(str(error)) from error
    finally:
        # Also where the wait for them was interrupted.
        for process in begun:
            if process.poll() is None:
                process.kill()
                process.communicate()


def end_with_parent(parent: int) -> None:
    """End this process soon after its parent has ended, from a thread of its own.

    Parameters
    ----------
    parent : int
        Its process id.
    """

    def watch() -> None:
        if os.name == "nt":
            # A process there keeps the id of a parent that has ended; the pipe from it ends.
            sys.stdin.buffer.read()
        else:
            # A pipe would not end while another child of the parent holds it.
            while os.getppid() == parent:
                time.sleep(_LOOK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _code_of(process: subprocess.Popen[bytes]) -> bytes:
    """Wait for a process; return what it compiled."""
    with process:
        reader = ThreadPoolExecutor(1)
        # Not `communicate`, which closes the pipe that the process ends with before it has ended.
        errors = reader.submit(process.stderr.read)  # type: ignore[union-attr]
        code = process.stdout.read()  # type: ignore[union-attr]
        words = errors.result().decode(errors="replace").strip().splitlines()
        reader.shutdown()
    if process.returncode == 0 and code:
        return code
    if process.returncode < 0 and "LLVM ERROR" in "".join(words):
        # It would end this process too.
        raise RuntimeError(f"the engine can't be compiled: {words[-1]}")
    raise CompilationError(words[-1] if words else f"the process ended with code {process.returncode}")
