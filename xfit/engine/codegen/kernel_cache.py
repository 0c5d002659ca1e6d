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
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
from filelock import FileLock, Timeout
from numba.core.compiler_lock import global_compiler_lock
from platformdirs import user_cache_dir

from xfit.display import local_path
from xfit.engine.codegen.cache_size import limit, note_use, prune
from xfit.engine.codegen.trust import is_own, make_private, why_not_private
from xfit.engine.math.call import KERNEL_SIGNATURE
from xfit.engine.math.jit import ENTRIES, entry_folders
from xfit.progress import told

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}

#: Seconds to wait for another process that compiles the same kernel, before it is compiled for this process alone.
_PATIENCE = 900.0

#: What loading machine code raises where a file is cut short or foreign.
DAMAGED = (pickle.UnpicklingError, EOFError, OSError, ValueError, LookupError, AttributeError, ImportError, TypeError)

#: Seconds that a kernel takes to compile where that is slow.
_SECONDS = 10.0

_loaded: dict[str, CompiledKernel] = {}
_loading = threading.RLock()


def _hold_locks() -> None:
    # In the order in which a compilation takes them.
    _loading.acquire()
    global_compiler_lock.acquire()


def _let_locks_go() -> None:
    global_compiler_lock.release()
    _loading.release()


if hasattr(os, "register_at_fork"):
    # A child that is forked while another thread compiles would wait for that thread, which it has not.
    os.register_at_fork(before=_hold_locks, after_in_parent=_let_locks_go, after_in_child=_let_locks_go)


def cache_folder() -> Path:
    """Folder of the compiled kernels, in ``XFIT_CACHE_DIR`` or the user's cache folder; in the latter where others may write the former."""
    root = os.environ.get("XFIT_CACHE_DIR") or user_cache_dir("xfit", appauthor=False)
    return _private_folder(str(local_path(root)))


@lru_cache
def _private_folder(root: str) -> Path:
    """The first folder of those that can be used in which nobody else can have put code; why it is not the first is told once in a process."""
    python = f"cp{sys.version_info.major}{sys.version_info.minor}-numba{numba.__version__}"
    user = f"xfit-{os.getuid()}" if hasattr(os, "getuid") else "xfit"
    reasons = []
    for place in (root, user_cache_dir("xfit", appauthor=False), os.path.join(tempfile.gettempdir(), user)):
        folder = Path(place) / python
        why = next(filter(None, map(why_not_private, (Path(place), folder, folder / "__pycache__"))), "")
        if not why:
            break
        reasons.append(why)
    else:
        raise PermissionError("; ".join(reasons))
    if reasons:
        warnings.warn(f"compiled kernels are not taken from there: {'; '.join(reasons)}. They are kept in {folder}", RuntimeWarning, stacklevel=4)  # fmt: skip
    return folder


@lru_cache
def _have_numba_private(of_numba: str, known: bool) -> None:
    """Have numba keep its machine code in a folder of ours where others may write its own: the engine, and with ``NUMBA_CACHE_DIR`` kernels.

    Parameters
    ----------
    of_numba : str
        ``NUMBA_CACHE_DIR``, by which the answer is kept.
    known : bool
        Whether the engine has been imported; what it is compiled from is not loaded before.
    """
    why = _why_numba_is_not_private(of_numba, known)
    if not why:
        return
    folder = cache_folder() / "numba"
    warnings.warn(f"machine code is not taken from there: {why}. It is kept in {folder}", RuntimeWarning, stacklevel=5)
    make_private(folder)
    # Processes that are started inherit it; numba reads it anew when it is told to.
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    numba.config.reload_config()
    for function in ENTRIES:
        getattr(sys.modules[function.__module__], function.__name__).enable_caching()


def _why_numba_is_not_private(of_numba: str, known: bool) -> str:
    """Why machine code of numba's may be of somebody else; empty if it can't be."""
    package = Path(__file__).parents[2]
    places = [Path(of_numba)] if of_numba else []
    if known:
        places += entry_folders()
    for place in places:
        owners = [package.stat().st_uid] if package in place.parents else []
        if owners and why_not_private(place.parent, owners=owners):
            # Beside sources that others may write it is as these are.
            continue
        why = why_not_private(place, owners=owners)
        strange = [] if why else [str(file) for file in place.glob("*.nb?") if not is_own(file, owners=owners)]
        if why or strange:
            return why or f"{strange[0]} is of another user, or may be written by others"
    return ""


def _files(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}.py" for name in names)


#: Arithmetic and special functions, which both the engine and the kernels of components have compiled into them.
_ARITHMETIC = _files(
    "engine/math",
    "arithmetic",
    "bessel_functions",
    "call",
    "elementary",
    "error_functions",
    "faddeeva",
    "gamma_functions",
    "jit",
    "layout",
    "vector",
)

#: What the engine's machine code is made from.
ENGINE_SOURCES = (
    *_ARITHMETIC,
    *_files("engine/block", "pixel_loop"),
    *_files("engine/codegen", "linking"),
    *_files("engine/linear", "bounded", "fit", "groups", "rows", "solve"),
    *_files("engine/math", "prefetch"),
    *_files(
        "engine/pixel",
        "amplitudes",
        "covariance",
        "difference_quotients",
        "evaluate",
        "extrapolation",
        "fourier",
        "geodesic",
        "gram",
        "levenberg_marquardt",
        "likelihood",
        "loss_functions",
        "objective",
        "packed_row",
        "profile",
        "rows",
        "single_steps",
        "standard_errors",
        "status",
        "steps",
        "tie_machine",
        "whole_axis",
        "workspace",
    ),
    *_files("engine/simd", "evaluate", "extrapolation", "fit", "levenberg_marquardt", "steps"),
    *_files("engine/waves", "clocks", "wavefront"),
)

#: What the kernels of components are written by and compiled with.
COMPONENT_SOURCES = (
    *_ARITHMETIC,
    *_files("engine/codegen", "kernel_cache", "kernel_source"),
    *_files("engine/math", "powers", "spline_lookup"),
    *_files(
        "formulas",
        "calculus",
        "code_printer",
        "gradient",
        "graph",
        "graph_printer",
        "kernel_expression",
        "kernel_spec",
        "linearity",
        "parser",
        "printer",
        "special_functions",
        "spline_table",
        "straight_line",
        "syntax",
    ),
)

#: What else numbers depend on.
_OTHER_SOURCES = (
    *_files("engine", "losses"),
    *_files("engine/codegen", "function_kernels", "loss_kernels", "program", "tie_compiler"),
    *_files("formulas", "function_kernel", "ordering", "snapshots"),
    *_files("modeling", "ties"),
)


def _hash(sources: tuple[str, ...]) -> str:
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for source in sorted(sources):
        digest.update(source.encode() + (package / source).read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def engine_hash() -> str:
    """Hash of all sources that the engine is compiled from.

    numba looks at the file of the function that it compiles alone; what that calls from other files may have changed.
    """
    return _hash(ENGINE_SOURCES)


@lru_cache(maxsize=1)
def component_hash() -> str:
    """Hash of all sources that the kernels of components are written by and compiled with; part of their files' names."""
    return _hash(COMPONENT_SOURCES)


@lru_cache(maxsize=1)
def source_hash() -> str:
    """Hash of all sources that numbers depend on: client and workers of a run must have the same."""
    return _hash(tuple({*ENGINE_SOURCES, *COMPONENT_SOURCES, *_OTHER_SOURCES}))


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
        _have_numba_private(os.environ.get("NUMBA_CACHE_DIR", ""), bool(ENTRIES))
        folder = cache_folder()
        make_private(folder / "__pycache__")
        lock = FileLock(folder / f"{name}.lock")
        with told("waiting for another process that compiles the same", 6 * _SECONDS):
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
    function, lane_function : numba.core.ccallback.CFunc
        The compiled functions, kept alive for the life of the process: for one pixel, and for pixels side by side, which not
        every kernel has.
    amplitudes : tuple of int
        See `xfit.engine.codegen.kernel_source.amplitude_codes`.
    scratch : int
        Numbers of scratch that ``lane_function`` needs.
    proportional : int
        Position of the one amplitude that the component is in proportion to; -1 if there is none.
    """

    function: Any
    lane_function: Any
    amplitudes: tuple[int, ...]
    scratch: int = 0
    proportional: int = -1

    @property
    def address(self) -> int:
        """Address that the engine calls for one pixel."""
        return int(self.function.address)

    @property
    def lane_address(self) -> int:
        """Address that the engine calls for pixels side by side; 0 where there is no such kernel."""
        return int(self.lane_function.address) if self.lane_function is not None else 0


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
    most = limit()
    with compile_lock(name) as on_disk:
        if not on_disk:
            return compile_source(write_source(), name)
        folder = cache_folder()
        path = folder / f"{name}.py"
        note_use(folder, name)
        try:
            is_new = not path.exists()
            kernel = _loaded_from(path, name, write_source)
            if is_new:
                prune(folder, most, keep=name)
            return kernel
        except (*DAMAGED, SyntaxError) as error:
            warnings.warn(f"cached kernel {path} is damaged ({error!r}); compiling anew", RuntimeWarning, stacklevel=2)
            if isinstance(error, OSError):
                # A full disk, or one that can't be written.
                return compile_source(write_source(), name)
            _delete_code(path)
            path.unlink(missing_ok=True)
            return _loaded_from(path, name, write_source)


def _loaded_from(path: Path, name: str, write_source: Callable[[], str]) -> CompiledKernel:
    """Load a kernel from its file, which is written if it is not there or somebody else's."""
    if not all(map(is_own, _files_of(path))):
        warnings.warn(f"{path}, or what was compiled of it, is of another user, or may be written by others; compiling anew", RuntimeWarning, stacklevel=4)  # fmt: skip
        _delete_code(path)
        path.unlink(missing_ok=True)
    if not path.exists():
        _write(path, write_source())
    module = _import(path, name)
    with told("compiling a component, once on this machine", _SECONDS):
        return _compiled(_compile(module, True), module)


def _files_of(path: Path) -> list[Path]:
    """All that is on the disk of a kernel: its source, Python's and numba's code."""
    found = [*path.parent.glob(f"__pycache__/{path.stem}.*")]
    if of_numba := os.environ.get("NUMBA_CACHE_DIR"):
        found += Path(of_numba).rglob(f"{path.stem}.*kernel-*.nb?")
    return [path, *found] if path.is_symlink() or path.exists() else found


def _compiled(functions: list[Any], module: Any) -> CompiledKernel:
    """Put a module's compiled kernels together with what it says of them."""
    return CompiledKernel(functions[0], functions[1], module.AMPLITUDES, module.SCRATCH, module.PROPORTIONAL)


def _compile(module: Any, on_disk: bool) -> list[Any]:
    """Compile a module's two kernels, or load them."""
    return [
        numba.cfunc(KERNEL_SIGNATURE, cache=on_disk, **_OPTIONS)(function)
        for function in (module.kernel, module.lane_kernel)
    ]


def _delete_code(path: Path) -> None:
    """Delete what Python and numba keep of a generated module."""
    for file in _files_of(path):
        if file != path:
            file.unlink(missing_ok=True)


def compile_source(source: str, name: str) -> CompiledKernel:
    """Compile kernel source for this process only."""
    module: Any = ModuleType(name)
    exec(compile(source, f"<{name}>", "exec"), module.__dict__)
    with told("compiling a component, for this process", _SECONDS):
        return _compiled(_compile(module, False), module)


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
