"""Machine code of several functions in one piece: linked first, then optimised once, kept as an
object file and loaded by LLVM.

numba by itself optimises every function with all that it calls, translates it to machine code and wraps it for Python,
and then does so again with the function that calls it.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numba
from llvmlite import binding, ir
from numba import _dynfunc, types
from numba.core.cgutils import normalize_ir_text
from numba.core.codegen import CPUCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.cpu import CPUContext
from numba.core.externals import c_math_functions
from numba.core.lowering import BaseLower
from numba.core.registry import cpu_target

from xfit.engine.math.entries import APART, cell_of

#: Engines of LLVM that hold loaded code, which lives as long as the process.
_held: list[Any] = []

#: How names of functions begin that numba has compiled.
_MANGLED = "_ZN"

#: How names of functions begin that numba or Python provide.
_OF_NUMBA = ("NRT_", "nrt_", "numba_", "Py", "_Py")

#: Symbols of what this process has compiled.
_made: list[str] = []


def made() -> int:
    """Return how many functions this process has compiled to machine code."""
    return len(_made)


@contextmanager
def linked_first() -> Iterator[None]:
    """Have numba make LLVM's text of functions and nothing else: it is neither optimised, nor
    translated, nor wrapped for Python.

    None of what is replaced is numba's public interface. What was compiled so can be called by functions that are
    compiled later, but not from Python; see `xfit.engine.math.jit`.
    """
    linked: list[Any] = []

    def without_wrapper(self: Any, release_gil: bool = False) -> None:
        return

    def get_executable(self: Any, library: Any, fndesc: Any, env: Any) -> Any:
        name = fndesc.qualname.rpartition(".")[-1]
        return _dynfunc.make_function(fndesc.lookup_module(), name, "called by compiled code alone", 0, env, (library,))

    def finalize(self: Any) -> None:
        linked.append(self)
        self._finalize_dynamic_globals()
        self._finalized = True

    def add_ir_module(self: Any, module: Any) -> None:
        self._final_module.link_in(binding.parse_assembly(normalize_ir_text(str(module))))

    replacements = (
        (BaseLower, "create_cpython_wrapper", without_wrapper),
        (BaseLower, "create_cfunc_wrapper", without_wrapper),
        (CPUContext, "get_executable", get_executable),
        (CPUCodeLibrary, "finalize", finalize),
        (CPUCodeLibrary, "add_ir_module", add_ir_module),
    )
    unknown = [f"{owner.__name__}.{name}" for owner, name, _ in replacements if not hasattr(owner, name)]
    if unknown:
        raise RuntimeError(
            f"numba {numba.__version__} has no {', '.join(unknown)}, by which xfit compiles; install numba 0.63 to 0.68"
        )
    before = [getattr(owner, name) for owner, name, _ in replacements]
    try:
        for owner, name, replacement in replacements:
            setattr(owner, name, replacement)
        yield
    finally:
        for (owner, name, _), original in zip(replacements, before, strict=True):
            setattr(owner, name, original)
        for library in linked:
            # For functions that are compiled in the usual way afterwards.
            library._get_module_for_linking = partial(_linked_with_all, library)


def _linked_with_all(library: Any) -> Any:
    """LLVM's module of a library with all that it calls."""
    if library._shared_module is None:
        module = library._final_module.clone()
        _link(module, _reached(library)[1:])
        library._shared_module = _shareable(module)
    return library._shared_module


def _shareable(module: Any) -> Any:
    for function in module.functions:
        if not function.is_declaration and function.linkage == binding.Linkage.external:
            function.linkage = "linkonce_odr"
    return module


def _for_linking(library: Any) -> Any:
    """LLVM's module of a library, for one use: of one that was made by `linked_first`, without what it calls."""
    if isinstance(library._get_module_for_linking, partial):
        return _shareable(library._final_module.clone())
    return library._get_module_for_linking().clone()


@contextmanager
def _without_collection() -> Iterator[None]:
    """Switch Python's garbage collector off: it takes a quarter of the time of a
    compilation, which makes little garbage.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def object_code(functions: Sequence[tuple[str, Any, Any]]) -> bytes:
    """Compile functions of pointers and numbers into an object file.

    Parameters
    ----------
    functions : sequence of tuple
        Of each its symbol, numba's function, and its signature; it returns an integer or nothing.
    """
    codegen = cpu_target.target_context.codegen()
    with global_compiler_lock, _without_collection():
        modules = [_linked(*function) for function in functions]
        module = modules[0]
        for other in modules[1:]:
            module.link_in(other)
        exported = {symbol for symbol, _, _ in functions}
        for symbol in [f.name for f in module.functions if f.is_declaration and f.name in APART]:
            module.link_in(_through_cell(symbol))
        _made.extend(exported)
        for function in module.functions:
            if not function.is_declaration and function.name not in exported:
                function.linkage = "internal"
        passes, builder = codegen._module_pass_manager()
        # numba's count of references is taken out last, and leaves functions that nothing calls.
        passes.add_global_dead_code_eliminate_pass()
        passes.run(module, builder)
        _refuse_what_numba_provides(module)
        return bytes(codegen._tm.emit_object(module))


def _refuse_what_numba_provides(module: Any) -> None:
    """Raise if machine code needs functions of numba's: in a later process, which does not compile, they are not there,
    and LLVM then leaves every address of the object file at zero.
    """
    called = {f.name for f in module.functions if f.is_declaration}
    provided = sorted(name for name in called if name.startswith(_OF_NUMBA))
    if provided:
        raise RuntimeError(f"kernels call numba's {', '.join(provided)}: they may not allocate, raise or print")


def _linked(symbol: str, function: Any, signature: Any) -> Any:
    """LLVM's module of a function with all that it calls, and a function of C in front of it."""
    with linked_first():
        function.compile(signature)
        compiled = function.overloads[signature.args]
        compiled.library._ensure_finalized()
        libraries = _reached(compiled.library)
    context = compiled.target_context
    made = context.codegen().create_library(symbol)
    module = made.create_ir_module(symbol)
    arguments = [context.get_value_type(kind) for kind in signature.args]
    result = ir.VoidType() if signature.return_type == types.void else context.get_value_type(signature.return_type)
    wrapper = ir.Function(module, ir.FunctionType(result, arguments), symbol)
    builder = ir.IRBuilder(wrapper.append_basic_block())
    callee = context.declare_function(module, compiled.fndesc)
    _, value = context.call_conv.call_function(builder, callee, compiled.fndesc.restype, signature.args, wrapper.args)
    if signature.return_type == types.void:
        builder.ret_void()
    else:
        builder.ret(value)
    linked = binding.parse_assembly(str(module))
    _link(linked, libraries)
    return linked


def _link(module: Any, libraries: list[Any]) -> None:
    """Link libraries into a module.

    LLVM leaves out what nothing refers to yet, so that a library that is called by a later one may have to be linked
    twice.
    """
    for library in libraries:
        module.link_in(_for_linking(library))
    while missing := {f.name for f in module.functions if f.is_declaration and f.name.startswith(_MANGLED)}:
        found = [library for library in libraries if missing & _defined(library)]
        if not found:
            raise RuntimeError(f"functions are missing: {', '.join(sorted(missing))}")
        for library in found:
            module.link_in(_for_linking(library))


def _defined(library: Any) -> set[str]:
    """Names of the functions of a library."""
    return {function.name for function in library._final_module.functions if not function.is_declaration}


def _reached(library: Any) -> list[Any]:
    """A library and all that it links, each once."""
    found, waiting = {library: None}, [library]
    while waiting:
        for other in waiting.pop()._linking_libraries:
            if other not in found:
                found[other] = None
                waiting.append(other)
    return list(found)


def _through_cell(symbol: str) -> Any:
    """LLVM's module of a function that calls the one whose address is in its cell."""
    context, signature = cpu_target.target_context, APART[symbol].signature
    module = ir.Module(symbol)
    kind = ir.FunctionType(
        context.get_value_type(signature.return_type), [context.get_value_type(each) for each in signature.args]
    )
    cell = ir.GlobalVariable(module, kind.as_pointer(), cell_of(symbol))
    function = ir.Function(module, kind, symbol)
    builder = ir.IRBuilder(function.append_basic_block())
    builder.ret(builder.call(builder.load(cell), function.args))
    return binding.parse_assembly(str(module))


def load_object(code: bytes) -> Callable[[str], int]:
    """Load an object file; return what finds the address of a symbol."""
    # C's functions, as numba does before it compiles, which this process may never do; it asks the context of 32-bit
    # processors alone.
    c_math_functions.install(None)
    machine = binding.Target.from_default_triple().create_target_machine(jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _held.append(engine)
    return lambda symbol: int(engine.get_function_address(symbol))
