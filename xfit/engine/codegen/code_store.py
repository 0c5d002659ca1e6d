"""Machine code kept on the disk, in a folder in which nobody else can have put it, each piece
compiled by one process only.
"""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from filelock import FileLock, Timeout
from numba.core.registry import cpu_target
from platformdirs import user_cache_dir

from xfit.display import local_path
from xfit.engine.codegen.code_file import SUFFIX, digest_of, packed, unpacked
from xfit.engine.codegen.shipped import shipped
from xfit.engine.codegen.trust import is_own, make_private, why_not_private
from xfit.engine.math.layout import LANES
from xfit.progress import told

#: Seconds to wait for another process that compiles the same, before it is compiled for this process alone.
_PATIENCE = 900.0

#: Seconds that this takes where it is slow.
_SECONDS = 60.0


@lru_cache(maxsize=1)
def machine_kind() -> str:
    """What machine code is told apart by besides its sources: the processor, compilers, and the flags of Python."""
    processor = cpu_target.target_context.codegen().magic_tuple()
    return repr((processor, LANES, numba.__version__, llvmlite.__version__, sys.version_info[:2], sys.flags.optimize))


def name_of(kind: str, key: str) -> str:
    """Name that a piece of machine code is kept by on this machine.

    Parameters
    ----------
    kind : str
        Prefix of the name: "kernel", or that of a piece of the engine.
    key : str
        Whatever it is made from, besides the processor and the compilers.
    """
    return f"{kind}-{digest_of(digest_of(key) + machine_kind())}"


def cache_folder() -> Path:
    """Folder of machine code, in ``XFIT_CACHE_DIR`` or the user's cache folder; in the latter
    where others may write the former.
    """
    root = os.environ.get("XFIT_CACHE_DIR") or user_cache_dir("xfit", appauthor=False)
    return _private_folder(str(local_path(root)))


@lru_cache
def _private_folder(root: str) -> Path:
    """The first folder of those that can be used in which nobody else can have put code; why it is not the
    first is told once in a process.
    """
    user = f"xfit-{os.getuid()}" if hasattr(os, "getuid") else "xfit"
    reasons = []
    # Which folder of temporary files there is is asked only where it is needed: on a full disk there is none.
    places = (lambda: root, lambda: user_cache_dir("xfit", appauthor=False), lambda: f"{tempfile.gettempdir()}/{user}")
    for place in (each() for each in places):
        folder = Path(place) / "code"
        why = why_not_private(Path(place)) or why_not_private(folder) or _why_not_written(folder)
        if not why:
            break
        reasons.append(why)
    else:
        raise PermissionError("; ".join(reasons))
    if reasons:
        warnings.warn(
            f"machine code is not kept in the usual place: {'; '.join(reasons)}. It is kept in {folder}",
            RuntimeWarning,
            stacklevel=4,
        )
    return folder


def _why_not_written(folder: Path) -> str:
    """Say why a folder can't be made or written."""
    try:
        make_private(folder)
    except OSError as error:
        return f"{folder} can't be made: {error.strerror or error}"
    return "" if os.access(folder, os.W_OK) or any(folder.glob(f"*{SUFFIX}")) else f"{folder} can't be written"


@contextmanager
def compile_lock(name: str) -> Iterator[bool]:
    """Hold a lock between processes while something is compiled or loaded.

    Yields False where no lock is to be had (a read-only folder, a file system without locks, a process that died
    holding it on a network drive): what follows must then do without the disk.

    Raises
    ------
    RuntimeError
        If numba's compiler is switched off.
    """
    if numba.config.DISABLE_JIT:
        raise RuntimeError(
            "NUMBA_DISABLE_JIT is set: without numba's compiler nothing can be fitted. Unset it and start Python again"
        )
    try:
        folder = cache_folder()
        make_private(folder)
        lock = FileLock(folder / f"{name}.lock")
        with told("waiting for another process that compiles the same", _SECONDS):
            lock.acquire(timeout=_PATIENCE)
    except (OSError, Timeout, NotImplementedError) as error:
        warnings.warn(f"machine code is kept for this process only: {error}", RuntimeWarning, stacklevel=2)
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


#: Machine code that another process has offered to this one, which trusts it: of each name what `packed` makes.
_offered: dict[str, bytes] = {}


def offer(pieces: Mapping[str, bytes]) -> None:
    """Let machine code be taken where there is none on the disk: from a process that could
    run anything in this one anyway.

    Names hold the processor, the compilers and the sources that it was made for; what has another name is never asked
    for.
    """
    _offered.update(pieces)


def content_of(kind: str, key: str) -> bytes | None:
    """Return a piece of machine code for `offer`, named as for `name_of`; None where it is not on the disk."""
    found = shipped(kind, key) or kept(name_of(kind, key))
    return None if found is None else packed(*found)


def kept(name: str) -> tuple[dict[str, Any], bytes] | None:
    """Return what is said of a piece of machine code, and the code; None where there is none.

    A file that belongs to another user or is damaged causes a warning and is not used. Where there is no file, offered
    code is used.
    """
    path = cache_folder() / f"{name}{SUFFIX}"
    try:
        if not is_own(path):
            raise ValueError("it belongs to another user, or others may write it")
        content = path.read_bytes()
        return unpacked(content)
    except FileNotFoundError:
        if name not in _offered:
            return None
        found = unpacked(_offered[name])
        keep(name, *found)
        return found
    except (OSError, ValueError) as error:
        warnings.warn(f"machine code {path} is not taken: {error}; compiling anew", RuntimeWarning, stacklevel=2)
        with suppress(OSError):
            path.unlink()
        return None


def keep(name: str, said: dict[str, Any], code: bytes) -> None:
    """Keep a piece of machine code, so that no reader ever sees half of it; where the disk is full or
    only read, do nothing but warn.
    """
    folder = cache_folder()
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(packed(said, code))
        os.replace(temporary, folder / f"{name}{SUFFIX}")
    except OSError as error:
        warnings.warn(f"machine code can't be kept in {folder}: {error}", RuntimeWarning, stacklevel=2)
        if temporary:
            with suppress(OSError):
                os.unlink(temporary)
