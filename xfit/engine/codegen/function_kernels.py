"""Kernels around Python functions: the user's function inlined in the channel loop,
gradients given or by differences.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba

from xfit.engine.codegen.kernel_cache import CompiledKernel, compile_function
from xfit.engine.math.layout import OTHER, PITCH
from xfit.formulas.function_kernel import FunctionKernel
from xfit.formulas.snapshots import OPTIONS

#: Relative step of central differences: the cube root of the double's epsilon balances truncation and rounding.
_STEP = 6.055454452393343e-06

#: Digests of the compiled functions that may raise an exception.
_raising: set[str] = set()


def load_function_kernel(kernel: FunctionKernel) -> CompiledKernel:
    """Compile a kernel of a Python function for this process.

    Where the function may raise an exception, the kernel gives NaN in such a channel.

    Parameters
    ----------
    kernel : FunctionKernel
        The function, its gradient if it has one, and the names of its arguments.

    Returns
    -------
    CompiledKernel

    Raises
    ------
    TypeError
        Where numba can't compile the function.
    """
    try:
        compiled = _compiled(kernel, guarded=False)
        if may_fail(compiled):
            # Most functions can't, and are faster without.
            compiled = _compiled(kernel, guarded=True)
            _raising.add(kernel.digest)
    except numba.core.errors.NumbaError as error:
        name = getattr(kernel.function, "__name__", repr(kernel.function))
        raise TypeError(
            f"the function {name!r} (or its gradient) can't be compiled by numba; it must take and return numbers, "
            f"use only arithmetic, `math` and `numpy` functions, and its gradient must return a tuple of "
            f"{len(kernel.parameters)} numbers. numba says: {error}"
        ) from error
    return CompiledKernel(int(compiled.address), 0, (OTHER,) * len(kernel.parameters), function=compiled)


def may_raise(kernel: FunctionKernel) -> bool:
    """Whether a kernel that was compiled by this process is of a function that may raise an exception."""
    return kernel.digest in _raising


def may_fail(compiled: Any) -> bool:
    """Whether compiled code may end with an exception: what LLVM left of it returns
    something else than success somewhere.
    """
    library = getattr(compiled, "_library", None)
    # Not public: where numba has it no more, every function is taken to be one that may.
    if library is None:
        return True
    return any(value != "0" for value in re.findall(r"^\s*ret i32 (\S+)", library.get_llvm_str(), re.MULTILINE))


@lru_cache(maxsize=256)
def channel_that_raises(function: Callable[..., Any], coordinates: int, parameters: int) -> Any:
    """Compiled function that finds the first channel in which a function raises an exception.

    Parameters
    ----------
    function : callable
        A Python function of numbers; one that keeps the values it reads.
    coordinates, parameters : int
        How many of its arguments are which.

    Returns
    -------
    callable
        Of float64 (coordinates, n), bool (n,) that says which channels count, and float64 (parameters,); it returns -1
        where there is none.
    """
    arguments = ", ".join([*(f"x[{d}, i]" for d in range(coordinates)), *(f"p[{k}]" for k in range(parameters))])
    source = f"""
def find(x, used, p):
    for i in range(used.size):
        raised = False
        if used[i]:
            try:
                function({arguments})
            except Exception:
                raised = True
        if raised:
            return i
    return -1
"""
    namespace: dict[str, Any] = {"function": _jit(function)}
    exec(compile(source, "<function check>", "exec"), namespace)
    return numba.njit(namespace["find"])


def _compiled(kernel: FunctionKernel, *, guarded: bool) -> Any:
    namespace: dict[str, Any] = {"carray": numba.carray, "function": _jit(kernel.function), "nan": float("nan")}
    if kernel.gradient is not None:
        namespace["gradient"] = _jit(kernel.gradient)
    if guarded:
        namespace |= _guards(kernel, namespace)
    exec(compile(_source(kernel, guarded), "<function kernel>", "exec"), namespace)
    return compile_function(namespace["kernel"])


def _jit(function: Callable[..., Any]) -> Any:
    """Compile a function into the loop around it."""
    return numba.njit(**OPTIONS, forceinline=True)(getattr(function, "py_func", function))


def guarded(name: str, count: int, results: int, namespace: dict[str, Any]) -> Any:
    """Compiled function that returns what another does, as numbers, or NaN where that raises an exception.

    Parameters
    ----------
    name : str
        What the other is called in ``namespace``.
    count : int
        Number of its arguments.
    results : int
        How many numbers it returns; 0 for one that is no tuple.
    """
    arguments = ", ".join(f"a{k}" for k in range(count))
    values = [f"v{k}" for k in range(results or 1)]
    taken = (
        [f"        {v} = float(found[{k}])" for k, v in enumerate(values)] if results else ["        v0 = float(found)"]
    )
    lines = [f"def guard({arguments}):", *(f"    {v} = nan" for v in values), "    try:"]
    lines += [f"        found = {name}({arguments})", *taken, "    except Exception:"]
    lines += [*(f"        {v} = nan" for v in values)]
    lines += [f"    return ({', '.join(values)},)" if results else "    return v0"]
    inside = {**namespace, "nan": float("nan")}
    exec(compile("\n".join(lines), "<guard>", "exec"), inside)
    return _jit(inside["guard"])


def _guards(kernel: FunctionKernel, namespace: dict[str, Any]) -> dict[str, Any]:
    """The function and its gradient, with NaN where they raise."""
    count = len(kernel.coordinates) + len(kernel.parameters)
    found = {"function": guarded("function", count, 0, namespace)}
    if kernel.gradient is not None and kernel.parameters:
        found["gradient"] = guarded("gradient", count, len(kernel.parameters), namespace)
    return found


def _source(kernel: FunctionKernel, guarded: bool) -> str:
    """Source of the loop around the function."""
    nx, np_ = len(kernel.coordinates), len(kernel.parameters)
    lines = ["def kernel(x_, ldx, p_, f_, jac_, n, scratch_):", f"    x = carray(x_, ({nx}, ldx))"]
    lines += [f"    p = carray(p_, ({max(np_, 1)},))", f"    f = carray(f_, ({PITCH},))"]
    lines += [f"    jac = carray(jac_, ({max(np_, 1)}, {PITCH}))", "    for i in range(n):"]
    pad = " " * 8
    lines += [f"{pad}x{d} = x[{d}, i]" for d in range(nx)]
    lines += [f"{pad}p{k} = p[{k}]" for k in range(np_)]
    coordinates = [f"x{d}" for d in range(nx)]
    arguments = ", ".join(coordinates + [f"p{k}" for k in range(np_)])
    lines += [f"{pad}f[i] += function({arguments})"]
    if np_ and kernel.gradient is not None:
        lines += [f"{pad}g = gradient({arguments})"]
        lines += [f"{pad}jac[{k}, i] = g[{k}]" for k in range(np_)]
        if guarded:
            # A channel without derivatives has no value either.
            lines += [f"{pad}if {' and '.join(f'g[{k}] != g[{k}]' for k in range(np_))}:", f"{pad}    f[i] = g[0]"]
        return "\n".join(lines) + "\n"
    for k in range(np_):
        high = ", ".join(coordinates + [f"p{j}" if j != k else "upper" for j in range(np_)])
        low = ", ".join(coordinates + [f"p{j}" if j != k else "lower" for j in range(np_)])
        lines += [f"{pad}s = {_STEP!r} * (abs(p{k}) if p{k} != 0.0 else 1.0)"]
        lines += [f"{pad}upper = p{k} + s", f"{pad}lower = p{k} - s"]
        lines += [f"{pad}above = function({high})", f"{pad}below = function({low})"]
        if guarded:
            # Next to where the function raises, the difference is to one side.
            lines += [f"{pad}if above != above:", f"{pad}    above, upper = function({arguments}), p{k}"]
            lines += [f"{pad}elif below != below:", f"{pad}    below, lower = function({arguments}), p{k}"]
        lines += [f"{pad}jac[{k}, i] = (above - below) / (upper - lower)"]
    return "\n".join(lines) + "\n"
