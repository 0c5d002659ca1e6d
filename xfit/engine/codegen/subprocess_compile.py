"""The engine compiled by a process that ends: a process that compiles stays at 1 GiB, one that loads the machine code at a quarter of it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_LOG = logging.getLogger("xfit.engine.codegen")

#: The search path comes from who asks, so that the same xfit is compiled, wherever it was imported from.
_SCRIPT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from xfit.engine.codegen.subprocess_compile import end_with_parent
end_with_parent(int(sys.argv[2]))
from xfit.engine.block.precompile import compile_part
compile_part(sys.argv[3])
"""

#: Seconds between two looks whether the parent process is still there.
_LOOK = 0.5


def can_start_python() -> bool:
    """Whether this program can start another like it: not where Python is a part of another application."""
    name = Path(sys.executable or "").stem.lower()
    return not getattr(sys, "frozen", False) and name.startswith(("python", "pypy"))


def compile_apart(*parts: str) -> str:
    """Compile parts of the engine onto the disk at the same time, each in a process of its own.

    Parameters
    ----------
    *parts : str
        See `xfit.engine.block.precompile.prepare_engine`.

    Returns
    -------
    str
        Why it could not be done; empty if it was.
    """
    _LOG.info("compiling the engine (%s), once on this machine", ", ".join(parts))
    path = json.dumps([str(entry) for entry in sys.path])
    optimize = [f"-{'O' * sys.flags.optimize}"] if sys.flags.optimize else []
    begun: list[subprocess.Popen[str]] = []
    try:
        for part in parts:
            begun.append(
                subprocess.Popen(
                    [sys.executable, *optimize, "-c", _SCRIPT, path, str(os.getpid()), part],
                    # Closed when this process ends, however that happens.
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                )
            )
        return "; ".join(filter(None, map(_why, begun)))
    except OSError as error:
        return str(error)
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


def _why(process: subprocess.Popen[str]) -> str:
    """Wait for a process; return the last line of its errors if it failed."""
    if process.stderr is None:
        raise TypeError("a process without a pipe for its errors")
    # Not `communicate`, which closes the pipe that the process ends with before it has ended.
    with process:
        errors = process.stderr.read()
    if process.returncode == 0:
        return ""
    words = errors.strip().splitlines()
    return words[-1] if words else f"the process ended with code {process.returncode}"


class CompiledMarker:
    """What is on the disk of the engine: a file for each part, written when its machine code is whole.

    Parameters
    ----------
    folders : list of Path
        Where numba keeps the engine's machine code; the files are in the first.
    kind : str
        Of which processor and sources; machines of several kinds may share a folder.
    """

    def __init__(self, folders: list[Path], kind: str) -> None:
        self._folders, self._folder, self._kind = folders, folders[0], kind

    def _file(self, part: str) -> Path:
        return self._folder / f"xfit-engine-{part.replace(' ', '-')}-{self._kind}.made"

    def __contains__(self, part: Any) -> bool:
        return self._file(part).exists()

    def can_be_written(self) -> bool:
        """Whether machine code can be kept there at all."""
        return all(os.access(folder, os.W_OK) for folder in self._folders)

    def add(self, part: str) -> None:
        """Say that a part is whole."""
        self._file(part).touch()

    def clear(self) -> None:
        """Say that nothing is."""
        for path in self._folder.glob("xfit-engine-*.made"):
            path.unlink(missing_ok=True)
