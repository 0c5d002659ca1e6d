"""How the engine's functions are compiled: what all of them have in common, said once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core.registry import CPUDispatcher

_F = TypeVar("_F", bound=Callable[..., Any])


class _Inner(CPUDispatcher):
    """numba's function that compiled functions call; for a call from Python, another one is compiled.

    The machine code of these is made with their callers' (`xfit.engine.codegen.machine_code`), so that there is nothing
    that Python could call.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not hasattr(self, "_for_python"):
            self._for_python = numba.njit(**self.targetoptions)(self.py_func)
        return self._for_python(*args, **kwargs)


def compiled_with_callers(function: _F, **options: Any) -> _F:
    """Make a function one that is compiled into machine code together with those that call it,
    with options of `numba.njit`.
    """
    made: Any = _Inner(function, targetoptions={"nopython": True, "boundscheck": None, **options})
    return made


def inner(function: _F) -> _F:
    """Compile a function that the engine calls.

    Arithmetic is exact in order, so that numbers are the same whatever the processor's vectors are. It may not
    allocate: numba's reference counting is switched off, for its atomic operations on every array of every call took a
    third of the engine's time.
    """
    return compiled_with_callers(function, error_model="numpy", nogil=True, _nrt=False)
