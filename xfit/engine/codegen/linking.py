"""The engine's functions linked before they are optimised: once, where Python calls them, instead of again in each of their callers.

numba optimises every function with all that it calls, translates it to machine code and wraps it for Python, and then does so again
with the function that calls it. For functions that Python never calls, that is three quarters of LLVM's work.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from numba import _dynfunc
from numba.core.codegen import CPUCodeLibrary
from numba.core.cpu import CPUContext
from numba.core.lowering import BaseLower

#: What is replaced while the engine is compiled; none of it is numba's public interface.
_REPLACED = (
    (BaseLower, "create_cpython_wrapper", ("self", "release_gil")),
    (BaseLower, "create_cfunc_wrapper", ("self",)),
    (CPUContext, "get_executable", ("self", "library", "fndesc", "env")),
    (CPUCodeLibrary, "finalize", ("self",)),
    (CPUCodeLibrary, "_get_module_for_linking", ("self",)),
    (CPUCodeLibrary, "_finalize_dynamic_globals", ("self",)),
)


def can_link_first() -> bool:
    """Whether this version of numba has what `linked_first` replaces."""
    return all(
        callable(getattr(owner, name, None)) and tuple(inspect.signature(getattr(owner, name)).parameters) == parameters
        for owner, name, parameters in _REPLACED
    )


@contextmanager
def linked_first(entries: Iterable[Callable[..., Any]]) -> Iterator[None]:
    """Compile the package's own functions for compiled callers alone, but for the given ones.

    Only for a process that compiles and ends: a function that was compiled so crashes where Python calls it. With a version of numba
    that works in another way, nothing is changed.

    Parameters
    ----------
    entries : iterable of callable
        The Python functions that Python calls.
    """
    if not can_link_first():
        yield
        return
    called = {(entry.__module__, entry.__qualname__) for entry in entries}
    wrap, wrap_for_c = BaseLower.create_cpython_wrapper, BaseLower.create_cfunc_wrapper
    make, finalize = CPUContext.get_executable, CPUCodeLibrary.finalize
    inner: set[CPUCodeLibrary] = set()

    def is_inner(lower: Any) -> bool:
        function = lower.func_ir.func_id.func
        ours = function.__module__.startswith(("xfit.engine.", "xfit.engine.codegen."))
        return ours and (function.__module__, function.__qualname__) not in called

    def create_cpython_wrapper(self: Any, release_gil: bool = False) -> None:
        if is_inner(self):
            inner.add(self.library)
        else:
            wrap(self, release_gil)

    def create_cfunc_wrapper(self: Any) -> None:
        if not is_inner(self):
            wrap_for_c(self)

    def get_executable(self: Any, library: Any, fndesc: Any, env: Any) -> Any:
        if library not in inner:
            return make(self, library, fndesc, env)
        name = fndesc.qualname.rpartition(".")[-1]
        return _dynfunc.make_function(fndesc.lookup_module(), name, "called by compiled code alone", 0, env, (library,))

    def finalize_library(self: Any) -> None:
        if self not in inner:
            finalize(self)
            return
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalize_dynamic_globals()
        self._finalized = True

    replacements = (
        (BaseLower, "create_cpython_wrapper", create_cpython_wrapper),
        (BaseLower, "create_cfunc_wrapper", create_cfunc_wrapper),
        (CPUContext, "get_executable", get_executable),
        (CPUCodeLibrary, "finalize", finalize_library),
    )
    before = [getattr(owner, name) for owner, name, _ in replacements]
    try:
        for owner, name, replacement in replacements:
            setattr(owner, name, replacement)
        yield
    finally:
        for (owner, name, _), original in zip(replacements, before, strict=True):
            setattr(owner, name, original)
