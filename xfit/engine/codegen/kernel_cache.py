"""Kernels compiled once ever: from generated source, by its hash, kept in the user's cache folder."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numba
from numba.core.compiler_lock import global_compiler_lock

from xfit.engine.codegen.cache_size import limit, note_use, prune
from xfit.engine.codegen.code_store import cache_folder, compile_lock, keep, kept, name_of
from xfit.engine.codegen.machine_code import load_object, object_code
from xfit.engine.codegen.shipped import shipped
from xfit.engine.math.call import KERNEL_SIGNATURE
from xfit.progress import told

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}

#: Seconds that a kernel takes to compile where that is slow.
_SECONDS = 5.0

#: What names of files begin with.
KIND = "kernel"

#: Symbols of a kernel for one pixel, and for pixels side by side.
_ONE, _LANES = "xfit_kernel_of_one", "xfit_kernel_of_lanes"

_NUMBERS = ctypes.POINTER(ctypes.c_double)
_PROTOTYPE = ctypes.CFUNCTYPE(
    None, _NUMBERS, ctypes.c_ssize_t, _NUMBERS, _NUMBERS, _NUMBERS, ctypes.c_ssize_t, _NUMBERS
)

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


@dataclass(frozen=True)
class CompiledKernel:
    """A component's kernel in this process.

    Attributes
    ----------
    address, lane_address : int
        What the engine calls for one pixel, and for pixels side by side; the latter is 0 where there is no such kernel.
    amplitudes : tuple of int
        See `xfit.engine.codegen.kernel_source.amplitude_codes`.
    scratch : int
        Numbers of scratch that the kernel of pixels side by side needs.
    proportional : int
        Position of the one amplitude that the component is in proportion to; -1 if there is none.
    function : object
        Keeps what is at the address alive.
    """

    address: int
    lane_address: int
    amplitudes: tuple[int, ...]
    scratch: int = 0
    proportional: int = -1
    function: Any = field(default=None, compare=False)

    @property
    def call(self) -> Callable[..., None]:
        """The kernel for one pixel, as Python calls it; see `xfit.engine.math.call.KERNEL_SIGNATURE`."""
        return _PROTOTYPE(self.address)


def load_kernel(key: str, write_source: Callable[[], str]) -> CompiledKernel:
    """Return the compiled kernel of a key, compiling it only if no process ever has.

    Parameters
    ----------
    key : str
        Whatever determines the source.
    write_source : callable
        Makes the source, Python code that defines ``kernel`` and ``lane_kernel``; called only if the cache has no
        machine code.

    Returns
    -------
    CompiledKernel
    """
    with _loading:
        if key not in _loaded:
            _loaded[key] = _load(key, write_source)
        return _loaded[key]


def forget_kernels() -> None:
    """Load all kernels anew when they are needed next."""
    with _loading:
        _loaded.clear()


def _load(key: str, write_source: Callable[[], str]) -> CompiledKernel:
    said, code = shipped(KIND, key) or _kept(name_of(KIND, key), write_source)
    address = load_object(code)
    return CompiledKernel(
        address(_ONE), address(_LANES), tuple(said["amplitudes"]), said["scratch"], said["proportional"]
    )


def _kept(name: str, write_source: Callable[[], str]) -> tuple[dict[str, Any], bytes]:
    """Find a kernel in the cache, or compile it."""
    most = limit()
    with compile_lock(name) as on_disk:
        found = kept(name) if on_disk else None
        if found is None:
            found = compile_source(write_source(), name)
            if on_disk:
                keep(name, *found)
                prune(cache_folder(), most, keep=name)
        elif on_disk:
            note_use(cache_folder(), name)
    return found


def compile_source(source: str, name: str) -> tuple[dict[str, Any], bytes]:
    """Compile kernel source; return what is said of it, and the machine code."""
    module: Any = ModuleType(f"xfit.kernels.{name}")
    exec(compile(source, f"<{name}>", "exec"), module.__dict__)
    functions = [
        (symbol, numba.njit(nogil=True, **_OPTIONS)(function), KERNEL_SIGNATURE)
        for symbol, function in ((_ONE, module.kernel), (_LANES, module.lane_kernel))
    ]
    with told("compiling a component, once on this machine", _SECONDS):
        code = object_code(functions)
    said = {"amplitudes": module.AMPLITUDES, "scratch": module.SCRATCH, "proportional": module.PROPORTIONAL}
    return said, code


def compile_function(kernel: Callable[..., None]) -> Any:
    """Compile a kernel that is a Python function (built around a user's function) for this process only."""
    return numba.cfunc(KERNEL_SIGNATURE, **_OPTIONS)(kernel)
