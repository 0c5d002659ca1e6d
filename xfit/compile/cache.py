"""Kernels compiled once ever: generated source and numba's machine code kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pickle
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
from filelock import FileLock, Timeout
from platformdirs import user_cache_dir

from xfit.kernels.call import KERNEL_SIGNATURE

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}

#: Seconds to wait for another process that compiles the same kernel, before it is compiled for this process alone.
_PATIENCE = 120.0

#: What loading machine code raises where a file is cut short or foreign.
DAMAGED = (pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError, AttributeError, ImportError)

_loaded: dict[str, CompiledKernel] = {}
_loading = threading.RLock()


def cache_folder() -> Path:
    """Folder of the compiled kernels: ``XFIT_CACHE_DIR`` or the user's cache folder."""
    root = os.environ.get("XFIT_CACHE_DIR") or user_cache_dir("xfit", appauthor=False)
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return Path(root) / f"{python}-numba{numba.__version__}"


@contextmanager
def compile_lock(name: str) -> Iterator[bool]:
    """Hold a lock between processes while something is compiled or loaded.

    Yields False where no lock is to be had (a read-only folder, a file system without locks, a process that died
    holding it on a network drive): what follows must then do without the disk.
    """
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        lock.acquire(timeout=_PATIENCE)
    except (OSError, Timeout, NotImplementedError) as error:
        warnings.warn(f"kernels are compiled for this process only: {error}", RuntimeWarning, stacklevel=2)
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@dataclass(frozen=True)
class CompiledKernel:
    """A component's kernel in this process.

    Attributes
    ----------
    function : numba.core.ccallback.CFunc
        The compiled function, kept alive for the life of the process.
    amplitudes : tuple of int
        See `xfit.compile.codegen.amplitude_codes`.
    """

    function: Any
    amplitudes: tuple[int, ...]

    @property
    def address(self) -> int:
        """Address that the engine calls."""
        return int(self.function.address)


def load_kernel(key: str, write_source: Callable[[], str]) -> CompiledKernel:
    """Return the compiled kernel of a key, compiling it only if no process ever has.

    Parameters
    ----------
    key : str
        Whatever determines the source.
    write_source : callable
        Makes the source, Python code that defines ``kernel``; called only if the cache has none.

    Returns
    -------
    CompiledKernel
    """
    name = "k" + hashlib.sha256(key.encode()).hexdigest()[:24]
    with _loading:
        if name not in _loaded:
            _loaded[name] = _load(name, write_source)
        return _loaded[name]


def _load(name: str, write_source: Callable[[], str]) -> CompiledKernel:
    with compile_lock(name) as on_disk:
        if not on_disk:
            return compile_source(write_source(), name)
        path = cache_folder() / f"{name}.py"
        if not path.exists():
            _write(path, write_source())
        module = _import(path, name)
        try:
            function = numba.cfunc(KERNEL_SIGNATURE, cache=True, **_OPTIONS)(module.kernel)
        except DAMAGED as error:
            warnings.warn(f"cached kernel {path} is damaged ({error!r}); compiling anew", RuntimeWarning, stacklevel=2)
            _delete_code(path)
            on_disk = not isinstance(error, OSError)
            function = numba.cfunc(KERNEL_SIGNATURE, cache=on_disk, **_OPTIONS)(module.kernel)
        return CompiledKernel(function, module.AMPLITUDES)


def _delete_code(path: Path) -> None:
    """Delete the machine code that numba keeps for a generated module."""
    for folder in (path.parent, Path(os.environ.get("NUMBA_CACHE_DIR") or path.parent)):
        for file in folder.rglob(f"{path.stem}.kernel-*.nb?"):
            file.unlink(missing_ok=True)


def compile_source(source: str, name: str) -> CompiledKernel:
    """Compile kernel source for this process only."""
    namespace: dict[str, Any] = {"__name__": name}
    exec(compile(source, f"<{name}>", "exec"), namespace)
    return CompiledKernel(numba.cfunc(KERNEL_SIGNATURE, **_OPTIONS)(namespace["kernel"]), namespace["AMPLITUDES"])


def compile_function(kernel: Callable[..., None]) -> Any:
    """Compile a kernel that is a Python function (built around a user's function) for this process only."""
    return numba.cfunc(KERNEL_SIGNATURE, **_OPTIONS)(kernel)


def _write(path: Path, source: str) -> None:
    """Write a file so that no reader ever sees half of it."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(source)
    os.replace(temporary, path)


def _import(path: Path, name: str) -> ModuleType:
    """Import a generated module; numba finds its cache beside the file."""
    spec = importlib.util.spec_from_file_location(f"xfit_kernel_{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"can't import {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
