"""Python functions as they are at a moment: copies that hold the values they read, and
digests that tell two of them apart.
"""

from __future__ import annotations

import builtins
import dis
import enum
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from dask.base import TokenizationError, tokenize

#: How functions of users are compiled: a division by zero gives infinity, as in NumPy, instead of an exception.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}}

#: Packages that are known by their names: numba has compiled code of its own for what it takes from them.
_BY_NAME = frozenset(sys.stdlib_module_names) - {"__main__"} | {"numpy", "scipy", "numba", "numba_scipy", "llvmlite"}

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))

#: Flags of code that say how it is called; others say how it was written.
_KINDS = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS | inspect.CO_GENERATOR | inspect.CO_COROUTINE

#: Instructions that read a name of the module, an attribute, and those that change what lies outside of the function.
_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")
_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")
_WRITING = ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF")


def digest(function: Callable[..., Any]) -> str:
    """Return what tells functions apart that do not do the same, equal in every process for the same source.

    Parameters
    ----------
    function : callable
        A Python function, or what numba made of one.

    Returns
    -------
    str
        Hash of the code, of the constants and defaults, and of all values that the code reads: variables of its module
        and of functions around it, with arrays by their content, functions by what they do, and of modules the
        attributes that are read. Where a function is defined, in which line, and its documentation do not matter.

    Raises
    ------
    TypeError
        For an object of which it can't be told whether it has changed, naming it.
    """
    found = _Digest()
    found.add(function)
    return found.hash.hexdigest()


def frozen(function: Callable[..., Any], *, compiled: bool = True) -> Callable[..., Any]:
    """Return a copy of a function that keeps the values it reads, whatever becomes of them.

    Parameters
    ----------
    function : callable
        A Python function, or what numba made of one.
    compiled : bool, optional
        Whether numba will compile it: Python functions that it calls are then compiled ones in the copy. Else the copy
        is for Python, and objects that are neither numbers, arrays nor functions are those of the function itself.

    Returns
    -------
    callable
        A Python function, of the same `digest`.
    """
    plain = getattr(function, "py_func", function)
    if not isinstance(plain, FunctionType):
        return function
    found: Callable[..., Any] = _Copies(compiled).function(plain)
    return found


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of the functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _names(code: CodeType, kinds: tuple[str, ...]) -> list[str]:
    """Names that instructions of some kinds have, in an order of their own."""
    found = {str(each.argval) for part in _codes(code) for each in dis.get_instructions(part) if each.opname in kinds}
    return sorted(found)


def _package(value: Any) -> str:
    """Top-level package that something comes from."""
    module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return str(module or "builtins").partition(".")[0]


def _made_by_numba(value: Any) -> str:
    """What numba has made of a function: "dispatcher", "ufunc" or "cfunc"; empty for anything else."""
    # `import xfit` does not wait for numba, and without it there is nothing that it has made.
    if "numba" not in sys.modules:
        return ""
    from numba.core.ccallback import CFunc
    from numba.core.dispatcher import Dispatcher
    from numba.np.ufunc.dufunc import DUFunc

    kinds = {"dispatcher": Dispatcher, "ufunc": DUFunc, "cfunc": CFunc}
    return next((name for name, kind in kinds.items() if isinstance(value, kind)), "")


def _is_known_to_numba(function: Any) -> bool:
    """Whether numba has its own code for a Python function."""
    from numba.core.registry import cpu_target

    context = cpu_target.typing_context
    try:
        context.resolve_value_type(function)
    except ValueError:
        return False
    return True


class _Digest:
    """A hash that values are added to."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self._seen: dict[int, int] = {}
        self._path: list[str] = []
        self._read: list[str] = []

    def _say(self, *words: object) -> None:
        for word in words:
            self.hash.update(word if isinstance(word, bytes) else repr(word).encode())
            self.hash.update(b"\0")

    def _apart(self, value: Any) -> str:
        """Digest of one value alone, to sort what has no order."""
        other = _Digest()
        other._path, other._read = self._path, self._read
        other.add(value)
        return other.hash.hexdigest()

    def add(self, value: Any) -> None:
        """Add a value of any kind."""
        if isinstance(value, _PLAIN) and type(value) in _PLAIN:
            self._say(type(value).__name__, value)
        elif isinstance(value, np.generic) and not value.dtype.hasobject:
            self._say("scalar", value.dtype.str, value.tobytes())
        elif type(value) is np.ndarray and not value.dtype.hasobject:
            self._say("array", value.dtype.descr, value.shape, value.flags.c_contiguous, value.flags.f_contiguous)
            self._say(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, enum.Enum | type):
            self._type(value)
        elif isinstance(value, tuple | list):
            self._say(type(value).__qualname__, getattr(value, "_fields", None), len(value))
            for each in value:
                self.add(each)
        elif isinstance(value, set | frozenset):
            self._say(type(value).__name__, sorted(map(self._apart, value)))
        elif type(value) is dict:
            self._say("dict", sorted((self._apart(key), self._apart(each)) for key, each in value.items()))
        elif isinstance(value, CodeType):
            self._code(value)
        elif isinstance(value, ModuleType):
            self._module(value)
        else:
            self._callable(value)

    def _type(self, value: Any) -> None:
        if isinstance(value, enum.Enum):
            self._say("member", type(value).__qualname__, value.name)
            self.add(value.value)
        elif _package(value) in _BY_NAME or _package(value) == "builtins":
            self._say("type", value.__module__, value.__qualname__)
        else:
            self._say("class", value.__qualname__, [base.__qualname__ for base in value.__mro__])
            members = getattr(value, "__members__", {})
            for name, each in sorted({**vars(value), **members}.items()):
                if (isinstance(each, (*_PLAIN, FunctionType, enum.Enum)) or _made_by_numba(each) == "dispatcher") and (
                    name not in ("__module__", "__doc__")
                ):
                    self._say(name)
                    self.add(each)

    def _callable(self, value: Any) -> None:
        if isinstance(value, np.ufunc) or (isinstance(value, BuiltinFunctionType) and _package(value) in _BY_NAME):
            self._say("named", getattr(value, "__module__", "numpy"), getattr(value, "__qualname__", value.__name__))
        elif (made := _made_by_numba(value)) == "dispatcher":
            self._function(value.py_func, value.targetoptions)
        elif made == "ufunc":
            self._say("ufunc", _mattering(value.targetoptions))
            self._function(value._dispatcher.py_func, {})
        elif made == "cfunc":
            compiled: Any = value
            self._say("cfunc", str(compiled._sig))
            self._function(compiled._pyfunc, {})
        elif isinstance(value, FunctionType) or (type(value).__module__ == "numpy" and hasattr(value, "__qualname__")):
            if _package(value) in _BY_NAME and value.__module__ is not None:
                self._say("named", value.__module__, value.__qualname__)
            else:
                self._function(value, OPTIONS)
        elif isinstance(value, MethodType):
            self.add(value.__func__)
            self.add(value.__self__)
        elif isinstance(value, functools.partial):
            for each in (value.func, value.args, value.keywords):
                self.add(each)
        else:
            self._object(value)

    def _object(self, value: Any) -> None:
        """An object of any other kind, by what dask can tell of it."""
        try:
            self._say(type(value).__qualname__, tokenize(value, ensure_deterministic=True))
        except (TokenizationError, RuntimeError, TypeError) as error:
            function, name = self._path[-1] if self._path else "", self._read[-1] if self._read else ""
            raise TypeError(
                f"the function {function!r} reads {name!r}, a {type(value).__name__}, of which it can't be told "
                "whether it has changed; let it read numbers, arrays, tuples of these, and functions instead"
            ) from error

    def _module(self, value: ModuleType, attributes: tuple[str, ...] = ()) -> None:
        if _package(value) in _BY_NAME:
            self._say("module", value.__name__)
            return
        self._say("attributes")
        for name in attributes:
            if hasattr(value, name):
                self._say(name)
                self._value(name, getattr(value, name), attributes)

    def _value(self, name: str, value: Any, attributes: tuple[str, ...]) -> None:
        """What a function reads under a name."""
        self._read.append(name)
        if isinstance(value, ModuleType):
            self._module(value, attributes)
        else:
            self.add(value)
        self._read.pop()

    def _function(self, function: Any, options: dict[str, Any]) -> None:
        if id(function) in self._seen:
            self._say("again", self._seen[id(function)])
            return
        self._seen[id(function)] = len(self._seen)
        code = getattr(function, "__code__", None)
        if code is None:
            self._object(function)
            return
        # The outermost is compiled in one way, whatever it was before.
        self._say("function", _mattering(options) if self._path else ())
        self._path.append(function.__name__)
        self._code(code)
        self.add(function.__defaults__)
        self.add(function.__kwdefaults__)
        attributes = tuple(_names(code, _ATTRIBUTE))
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            self._say(name)
            if _is_empty(cell):
                self._say("empty")
            else:
                self._value(name, cell.cell_contents, attributes)
        for name in _names(code, _GLOBAL):
            self._say(name)
            if name in function.__globals__:
                self._value(name, function.__globals__[name], attributes)
        self._path.pop()

    def _code(self, code: CodeType) -> None:
        loaded = {each.arg for each in dis.get_instructions(code) if each.opcode in dis.hasconst}
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _KINDS)
        self._say(
            "code", code.co_code, getattr(code, "co_exceptiontable", b""), counts, code.co_names, code.co_freevars
        )
        for k, constant in enumerate(code.co_consts):
            # Documentation is a constant that nothing loads.
            self.add(constant if k in loaded else None)


def _mattering(options: dict[str, Any]) -> list[Any]:
    """Options of numba that numbers depend on."""
    given = [(name, options.get(name)) for name in ("error_model", "fastmath", "boundscheck", "parallel")]
    return [(name, sorted(value) if isinstance(value, set) else value) for name, value in given if value]


def _is_empty(cell: CellType) -> bool:
    """Whether a variable of a function around has no value yet."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return True
    return False


class _Copies:
    """Copies of functions and of what they read, each made once."""

    def __init__(self, compiled: bool) -> None:
        self._compiled = compiled
        self._made: dict[int, Any] = {}
        self._dispatchers: dict[int, Any] = {}
        # What copies were made of must live as long as the numbers that stand for it.
        self._kept: list[Any] = []

    def function(self, function: FunctionType) -> Any:
        """Copy of a Python function."""
        if id(function) in self._made:
            return self._made[id(function)]
        code = function.__code__
        if not self._compiled and _writes(code):
            return function
        around = {"__name__": "xfit_snapshot", "__builtins__": function.__globals__.get("__builtins__", builtins)}
        closure = tuple(CellType() for _ in function.__closure__ or ())
        new = FunctionType(code, around, function.__name__, None, closure or None)
        self._keep(function, new)
        attributes = tuple(_names(code, _ATTRIBUTE))
        new.__defaults__ = self.value(function.__defaults__, attributes)
        new.__kwdefaults__ = self.value(function.__kwdefaults__, attributes)
        new.__doc__, new.__qualname__ = function.__doc__, function.__qualname__
        for cell, old in zip(closure, function.__closure__ or (), strict=True):
            if not _is_empty(old):
                cell.cell_contents = self.value(old.cell_contents, attributes)
        for name in _names(code, _GLOBAL):
            if name in function.__globals__:
                around[name] = self.value(function.__globals__[name], attributes)
        return new

    def _keep(self, old: Any, new: Any) -> Any:
        self._kept.append(old)
        self._made[id(old)] = new
        return new

    def value(self, value: Any, attributes: tuple[str, ...]) -> Any:
        """Copy of a value that a function reads."""
        if isinstance(value, tuple):
            each = [self.value(v, attributes) for v in value]
            return type(value)(*each) if hasattr(value, "_fields") else tuple(each)
        if type(value) is np.ndarray:
            return value.copy(order="K")
        if isinstance(value, ModuleType) and self._compiled and _package(value) not in _BY_NAME:
            return self._module(value, attributes)
        if isinstance(value, FunctionType) and _package(value) not in _BY_NAME:
            return self._called(value)
        made = _made_by_numba(value)
        if not made:
            return value
        import numba

        if made == "dispatcher":
            return self._again(value, value.py_func, lambda copy: numba.jit(**value.targetoptions)(copy))
        if made == "ufunc" and self._compiled:
            return self._again(value, value._dispatcher.py_func, numba.vectorize)
        return value

    def _called(self, function: FunctionType) -> Any:
        """Copy of a Python function that is called by another."""
        if not self._compiled:
            return self.function(function)
        if _is_known_to_numba(function):
            return function
        import numba

        return self._again(function, function, lambda copy: numba.njit(**OPTIONS)(copy))

    def _again(self, old: Any, function: FunctionType, compiled: Callable[[Any], Any]) -> Any:
        """Copy of a compiled function."""
        copy = self.function(function)
        # A function that calls itself has been here meanwhile.
        if id(old) not in self._dispatchers:
            self._kept.append(old)
            self._dispatchers[id(old)] = compiled(copy)
        return self._dispatchers[id(old)]

    def _module(self, module: ModuleType, attributes: tuple[str, ...]) -> ModuleType:
        """Module that has of another what is read."""
        if id(module) not in self._made:
            new = self._keep(module, ModuleType(f"xfit_snapshot_of_{module.__name__}"))
            for name in attributes:
                if hasattr(module, name):
                    setattr(new, name, self.value(getattr(module, name), attributes))
        copy: ModuleType = self._made[id(module)]
        return copy


def _writes(code: CodeType) -> bool:
    """Whether a function changes variables of its module or of functions around it."""
    outside = set(code.co_freevars)
    return any(
        each.opname in _WRITING and (each.opname.endswith("GLOBAL") or part is not code or each.argval in outside)
        for part in _codes(code)
        for each in dis.get_instructions(part)
    )
