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
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LOG = logging.getLogger("xfit.engine.codegen")

#: The search path comes from who asks, so that the same xfit is compiled, wherever it was imported from.
_SCRIPT = """
import gc, json, os, sys, types
# Of a process that ends so soon.
gc.disable()
code = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
sys.path[:], folder, parent, units = json.loads(sys.argv[1])
# What compiles imports nothing but the engine, and numba no SciPy, for which it looks: half a second each.
package = sys.modules["xfit"] = types.ModuleType("xfit")
package.__path__ = [folder]
sys.modules["scipy"] = None
from xfit.engine.codegen.subprocess_compile import end_with_parent
end_with_parent(parent)
from xfit.engine.block.units import compile_unit
for unit in units:
    made = compile_unit(unit)
    code.write(len(made).to_bytes(8, "big") + made)
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


def shared_out(seconds: Mapping[str, float]) -> list[list[str]]:
    """Share pieces out among as many processes as there are cores, so that all end at about the same time.

    Parameters
    ----------
    seconds : mapping of str to float
        How long each takes.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares: list[list[str]] = [[] for _ in range(min(cores, len(seconds)))]
    for unit in sorted(seconds, key=lambda unit: -seconds[unit]):
        min(shares, key=lambda share: sum(seconds[each] for each in share)).append(unit)
    return shares


def compile_apart(*shares: Sequence[str]) -> dict[str, bytes]:
    """Compile pieces of the engine at the same time, in processes of their own.

    Parameters
    ----------
    *shares : sequence of str
        The pieces that each process compiles: see `xfit.engine.block.units.UNITS`.

    Returns
    -------
    dict of str to bytes
        Their machine code.

    Raises
    ------
    CompilationError
        Saying why, where that fails.
    """
    _LOG.info("compiling the engine (%s), once on this machine", ", ".join(unit for share in shares for unit in share))
    path = [str(entry) for entry in sys.path]
    optimize = [f"-{'O' * sys.flags.optimize}"] if sys.flags.optimize else []
    begun: list[subprocess.Popen[bytes]] = []
    try:
        for share in shares:
            _started.extend(share)
            asked = json.dumps([path, str(Path(__file__).parents[2]), os.getpid(), list(share)])
            begun.append(
                subprocess.Popen(
                    [sys.executable, *optimize, "-c", _SCRIPT, asked],
                    # Closed when this process ends, however that happens.
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            )
        with ThreadPoolExecutor(len(shares)) as pool:
            made = [code for codes in pool.map(_codes_of, begun) for code in codes]
        return dict(zip([unit for share in shares for unit in share], made, strict=True))
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


def _codes_of(process: subprocess.Popen[bytes]) -> list[bytes]:
    """Wait for a process; return what it compiled."""
    with process:
        reader = ThreadPoolExecutor(1)
        # Not `communicate`, which closes the pipe that the process ends with before it has ended.
        errors = reader.submit(process.stderr.read)  # type: ignore[union-attr]
        code = process.stdout.read()  # type: ignore[union-attr]
        words = errors.result().decode(errors="replace").strip().splitlines()
        reader.shutdown()
    if process.returncode == 0:
        return _parts(code)
    if process.returncode < 0 and "LLVM ERROR" in "".join(words):
        # It would end this process too.
        raise RuntimeError(f"the engine can't be compiled: {words[-1]}")
    raise CompilationError(words[-1] if words else f"the process ended with code {process.returncode}")


def _parts(code: bytes) -> list[bytes]:
    """What was written with its length before it."""
    parts, at = [], 0
    while at < len(code):
        end = at + 8 + int.from_bytes(code[at : at + 8], "big")
        parts.append(code[at + 8 : end])
        at = end
    return parts
