"""How much the compiled kernels take on the disk, and which are removed when that is too much:
those that were used longest ago.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

#: Environment variable with the most that kernels may take, in MiB, and what that is without it: some thousand
#: formulas.
VARIABLE, LIMIT = "XFIT_CACHE_LIMIT", 256


@dataclass(frozen=True)
class StoredKernel:
    """A kernel on the disk.

    Attributes
    ----------
    name : str
        Of its files.
    files : tuple of Path
        Of its machine code.
    size : int
        Of all of them, in bytes.
    used : float
        When it was last loaded, in seconds since the epoch.
    """

    name: str
    files: tuple[Path, ...]
    size: int
    used: float


def limit() -> int:
    """Most bytes that kernels may take.

    Raises
    ------
    ValueError
        If the environment variable is not a positive number.
    """
    text = os.environ.get(VARIABLE, str(LIMIT))
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number > 0.0:
        raise ValueError(f"{VARIABLE}={text!r} must be a number of MiB above 0, such as {LIMIT}")
    return int(min(number, 1e9) * 2**20)


def note_use(folder: Path, name: str) -> None:
    """Remember that a kernel is used now."""
    with suppress(OSError):
        os.utime(folder / f"{name}.lock")


def stored_kernels(folder: Path) -> list[StoredKernel]:
    """Kernels in a cache folder, those that were used longest ago first."""
    files: dict[str, list[Path]] = {}
    for file in folder.glob("*.code") if folder.is_dir() else ():
        files.setdefault(file.stem, []).append(file)
    found = []
    for name, mine in files.items():
        # What another process removes meanwhile is not there.
        with suppress(FileNotFoundError):
            lock = folder / f"{name}.lock"
            times = [lock.stat().st_mtime] if lock.exists() else [file.stat().st_mtime for file in mine]
            found.append(StoredKernel(name, tuple(mine), sum(file.stat().st_size for file in mine), max(times)))
    return sorted(found, key=lambda kernel: kernel.used)


def prune(folder: Path, most: int, keep: str = "") -> list[StoredKernel]:
    """Remove kernels until the rest takes no more than ``most`` bytes; return those that were removed.

    A process that has loaded a kernel keeps it; one that another process compiles or loads at the moment is not
    removed.

    Parameters
    ----------
    folder : Path
        The cache folder.
    most : int
        In bytes.
    keep : str, optional
        Name of a kernel that is not removed.
    """
    kernels = stored_kernels(folder)
    size = sum(kernel.size for kernel in kernels)
    removed = []
    for kernel in kernels:
        if size <= most:
            break
        if kernel.name == keep:
            continue
        with _held(folder / f"{kernel.name}.lock") as held:
            if held:
                for file in kernel.files:
                    file.unlink(missing_ok=True)
                size -= kernel.size
                removed.append(kernel)
    return removed


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Hold a kernel's lock, and remove it afterwards; False where another process has it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        path.unlink(missing_ok=True)
        lock.release()
