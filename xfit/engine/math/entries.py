"""Entries: the engine's functions that Python calls, through one pointer to a record of their arguments."""

from __future__ import annotations

import ctypes
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_origin, get_type_hints

import numba
import numpy as np
from llvmlite import binding
from numba import types

from xfit.engine.math.records import DataTable, Record, RecordType

#: Every entry, by its name.
ENTRIES: dict[str, CompiledEntry] = {}

#: Called with an entry and the name of a version that is called before it was loaded.
PREPARE: list[Callable[[CompiledEntry, str], None]] = []

_PROTOTYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)

_OPTIONS = {"error_model": "numpy", "nogil": True, "_nrt": False}


class CompiledEntry:
    """A function of the engine that Python calls.

    Parameters
    ----------
    function : callable
        What is compiled. Its annotations say what its arguments are; it returns a number, a bool or nothing.

    Attributes
    ----------
    name : str
        Its name.
    variants : tuple of str
        Names of the versions that it is compiled in: one, or one for each dtype of its data.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.name, self.__doc__ = function, function.__name__, function.__doc__
        self.__wrapped__ = function
        self._called: dict[str, Any] = {}
        self._arguments: dict[str, type[Record]] = {}
        self._result: Any = None

    def _prepare(self) -> None:
        """Make the classes of the arguments' records; not at once, for annotations name what is imported later."""
        if self._arguments:
            return
        hints = get_type_hints(self.function, vars(sys.modules[self.function.__module__]), include_extras=True)
        result = hints.pop("return")
        self._result = None if result is type(None) else result
        given = {name: hints[name] for name in inspect.signature(self.function).parameters}
        data = [name for name, kind in given.items() if kind is DataTable]
        arguments = {}
        for dtype in (np.float64, np.float32) if data else (np.float64,):
            kinds = {name: kind.of(dtype) if kind is DataTable else kind for name, kind in given.items()}
            kinds |= {} if self._result is None else {"result": self._result}
            made = type(f"{self.name}_{dtype.__name__}", (Record,), {"__annotations__": kinds, "__module__": __name__})
            arguments[dtype.__name__ if data else ""] = made
        # All at once, for another thread may look meanwhile.
        self._arguments = arguments

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the versions."""
        self._prepare()
        return tuple(self._arguments)

    def symbol(self, variant: str) -> str:
        """Name of a version's machine code."""
        return f"xfit_{self.name}{'_' if variant else ''}{variant}"

    def compiled(self, variant: str) -> tuple[Any, Any]:
        """Numba's function of one record of arguments, not yet compiled, and its signature."""
        self._prepare()
        names = list(inspect.signature(self.function).parameters)
        call = f"function({', '.join(f'a.{name}' for name in names)})"
        source = f"def call(a):\n    {'' if self._result is None else 'a.result = '}{call}\n"
        namespace = {"function": numba.njit(**_OPTIONS)(self.function), "__name__": self.function.__module__}
        exec(source, namespace)
        return numba.njit(**_OPTIONS)(namespace["call"]), types.void(RecordType(self._arguments[variant], False))

    def load(self, variant: str, address: int) -> None:
        """Take machine code at an address for a version."""
        self._called[variant] = _PROTOTYPE(address)

    def __call__(self, *args: Any) -> Any:
        """Call the machine code."""
        self._prepare()
        variant = "" if "" in self._arguments else str(args[0].dtype)
        record = self._arguments[variant](*args, *(() if self._result is None else (self._result(),)))
        if variant not in self._called:
            for prepare in PREPARE:
                prepare(self, variant)
        self._called[variant](record.pointer)
        return None if self._result is None else getattr(record, "result")  # noqa: B009


#: Marks the annotation of a record that holds several pixels, as `Annotated[State, WIDE]`.
WIDE = "wide"


class Pointer:
    """Annotation of the address of numbers; `xfit.engine.math.widths.numbers_at` makes an array of it."""


@dataclass(frozen=True)
class Apart:
    """A function that other pieces of machine code call by its address, which they read from a cell in memory.

    Attributes
    ----------
    function : callable
        What is compiled.
    signature : numba signature
        Of pointers, integers and numbers; it returns an integer.
    cell : ctypes.c_int64
        Holds the address once the function is loaded.
    """

    function: Callable[..., Any]
    signature: Any
    cell: ctypes.c_int64

    @property
    def symbol(self) -> str:
        """Name of its machine code."""
        return f"xfit_{self.function.__name__}"


#: Every such function, by its symbol.
APART: dict[str, Apart] = {}

_NUMBERS = {int: types.int64, float: types.float64, Pointer: types.CPointer(types.float64)}


def _type_of(kind: Any) -> Any:
    """Numba's type of an argument with that annotation."""
    if get_origin(kind) is Annotated:
        return RecordType(kind.__origin__, WIDE in kind.__metadata__)
    return _NUMBERS.get(kind) or RecordType(kind, False)


def apart(function: Callable[..., Any]) -> Any:
    """Make a function one that is compiled in one piece and called by others."""
    hints = get_type_hints(function, vars(sys.modules[function.__module__]), include_extras=True)
    given = [hints[name] for name in inspect.signature(function).parameters]
    signature = types.int64(*map(_type_of, given))
    made = Apart(function, signature, ctypes.c_int64(0))
    APART[made.symbol] = made
    binding.add_symbol(cell_of(made.symbol), ctypes.addressof(made.cell))
    return types.ExternalFunction(made.symbol, signature)


def cell_of(symbol: str) -> str:
    """Name of the cell with a function's address."""
    return f"{symbol}_cell"


def entry(function: Callable[..., Any]) -> CompiledEntry:
    """Make a function one that Python calls; like what it calls it may not allocate: Python gives it all memory."""
    made = CompiledEntry(function)
    ENTRIES[made.name] = made
    return made
