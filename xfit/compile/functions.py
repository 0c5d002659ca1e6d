"""Kernels around Python functions: the user's function inlined in the channel loop, gradients given or by differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from xfit.compile.cache import CompiledKernel, compile_function
from xfit.kernel_description import FunctionKernel
from xfit.kernels.layout import OTHER, PITCH

#: Relative step of central differences: the cube root of the double's epsilon balances truncation and rounding.
_STEP = 6.055454452393343e-06


def load_function_kernel(kernel: FunctionKernel) -> CompiledKernel:
    """Compile a kernel of a Python function for this process.

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
    namespace: dict[str, Any] = {"carray": numba.carray, "function": _jit(kernel.function)}
    if kernel.gradient is not None:
        namespace["gradient"] = _jit(kernel.gradient)
    source = _source(kernel)
    exec(compile(source, "<function kernel>", "exec"), namespace)
    try:
        return CompiledKernel(compile_function(namespace["kernel"]), None, (OTHER,) * len(kernel.parameters))
    except numba.core.errors.NumbaError as error:
        name = getattr(kernel.function, "__name__", repr(kernel.function))
        raise TypeError(
            f"the function {name!r} (or its gradient) can't be compiled by numba; it must take and return numbers, "
            f"use only arithmetic, `math` and `numpy` functions, and its gradient must return a tuple of "
            f"{len(kernel.parameters)} numbers. numba says: {error}"
        ) from error


def _jit(function: Callable[..., Any]) -> Any:
    """Compile a function so that a division by zero gives infinity instead of an exception."""
    return numba.njit(error_model="numpy", fastmath={"contract"}, forceinline=True)(
        getattr(function, "py_func", function)
    )


def _source(kernel: FunctionKernel) -> str:
    """Source of the loop around the function."""
    nx, np_ = len(kernel.coordinates), len(kernel.parameters)
    lines = ["def kernel(x_, ldx, p_, f_, jac_, n, scratch_):", f"    x = carray(x_, ({nx}, ldx))"]
    lines += [f"    p = carray(p_, ({max(np_, 1)},))", f"    f = carray(f_, ({PITCH},))"]
    lines += [f"    jac = carray(jac_, ({max(np_, 1)}, {PITCH}))", "    for i in range(n):"]
    pad, at, parameter = " " * 8, "i", "p[{}]"
    lines += [f"{pad}x{d} = x[{d}, i]" for d in range(nx)]
    lines += [f"{pad}p{k} = {parameter.format(k)}" for k in range(np_)]
    coordinates = [f"x{d}" for d in range(nx)]
    arguments = ", ".join(coordinates + [f"p{k}" for k in range(np_)])
    lines += [f"{pad}f[{at}] += function({arguments})"]
    if np_ and kernel.gradient is not None:
        lines += [f"{pad}g = gradient({arguments})"]
        lines += [f"{pad}jac[{k}, {at}] = g[{k}]" for k in range(np_)]
        return "\n".join(lines) + "\n"
    for k in range(np_):
        lines += [f"{pad}s = {_STEP!r} * (abs(p{k}) if p{k} != 0.0 else 1.0)"]
        lines += [f"{pad}upper = p{k} + s", f"{pad}lower = p{k} - s"]
        high = ", ".join(coordinates + [f"p{j}" if j != k else "upper" for j in range(np_)])
        low = ", ".join(coordinates + [f"p{j}" if j != k else "lower" for j in range(np_)])
        lines += [f"{pad}jac[{k}, {at}] = (function({high}) - function({low})) / (upper - lower)"]
    return "\n".join(lines) + "\n"
