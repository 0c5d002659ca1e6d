"""How the engine's functions are compiled: what all of them have in common, said once."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

_F = TypeVar("_F", bound=Callable[..., Any])

#: What Python calls: the Python functions that `entry` and `entry_sums` have compiled.
ENTRIES: list[Callable[..., Any]] = []

#: Sums may be reordered, so that they vectorise; NaN and infinities keep their meaning.
_SUMS = {"reassoc", "contract", "nsz", "arcp"}


def inner(function: _F) -> _F:
    """Compile a function that the engine calls.

    It may not allocate: numba's reference counting is switched off, for its atomic operations on every array of every
    call took a third of the engine's time.
    """
    compiled: _F = numba.njit(error_model="numpy", nogil=True, _nrt=False)(function)
    return compiled


def inlined(function: _F) -> _F:
    """Compile a function into each of its callers; otherwise as `inner`.

    A call passes every array of every tuple as seven numbers, a hundred and more in all: for what is short or called per tile,
    that costs more than the work.
    """
    compiled: _F = numba.njit(error_model="numpy", nogil=True, _nrt=False, inline="always")(function)
    return compiled


def sums(function: _F) -> _F:
    """Compile a function of plain sums of products; otherwise as `inner`."""
    compiled: _F = numba.njit(error_model="numpy", nogil=True, _nrt=False, fastmath=_SUMS)(function)
    return compiled


def inlined_sums(function: _F) -> _F:
    """Compile arithmetic on vectors into each of its callers; products and sums may be fused, never reordered."""
    compiled: _F = numba.njit(error_model="numpy", nogil=True, _nrt=False, forceinline=True, fastmath={"contract"})(
        function
    )
    return compiled


def inner_sums(function: _F) -> _F:
    """Compile arithmetic on vectors that is called from several places; otherwise as `inlined_sums`."""
    compiled: _F = numba.njit(error_model="numpy", nogil=True, _nrt=False, fastmath={"contract"})(function)
    return compiled


def entry(function: _F) -> _F:
    """Compile a function that Python calls, and keep its machine code, with all that it calls, on the disk.

    Like what it calls it may not allocate: Python gives it all memory.
    """
    return _kept(function, {})


def _kept(function: _F, options: dict[str, Any]) -> _F:
    """Compile a function that Python calls, its machine code kept on the disk."""
    ENTRIES.append(function)
    compile_ = numba.njit(error_model="numpy", nogil=True, _nrt=False, cache=True, **options)
    try:
        compiled: _F = compile_(function)
    except RuntimeError:
        # Neither the package's folder nor the user's can be written, as in a container that is only read.
        _keep_elsewhere()
        compiled = compile_(function)
    return compiled


def _keep_elsewhere() -> None:
    """Have numba keep machine code among the temporary files; before any is taken from there, it is made sure that the folder is ours."""
    user = f"xfit-{os.getuid()}" if hasattr(os, "getuid") else "xfit"
    folder = Path(tempfile.gettempdir()) / user / "numba"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Processes that are started inherit it.
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    numba.config.reload_config()


def entry_sums(function: _F) -> _F:
    """Compile a function of vectors that Python calls; see `entry` and `inlined_sums`."""
    return _kept(function, {"fastmath": {"contract"}})


def entry_folders() -> list[Path]:
    """Folders in which numba keeps the machine code of what Python calls: one for each folder of sources."""
    dispatchers: list[Any] = [getattr(sys.modules[function.__module__], function.__name__) for function in ENTRIES]
    return sorted({Path(dispatcher.stats.cache_path) for dispatcher in dispatchers})
