"""What `curvefit` is given, compiled: the function by its formula or as it is, and what of
SciPy's options compiled fits heed.
"""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numba
import numpy as np
import xarray as xr

from xfit.engine.block.fit_block import evaluate_block
from xfit.engine.block.options import FitOptions
from xfit.engine.codegen.program import Program
from xfit.formulas.function_kernel import FunctionKernel
from xfit.formulas.kernel_spec import FormulaKernel
from xfit.formulas.parser import FormulaError
from xfit.formulas.tracing import traced_formula

#: Methods of `scipy.optimize.curve_fit` and the optimizers that do the same with compiled derivatives.
_METHODS = {None: "lm", "lm": "lm", "trf": "trf", "dogbox": "dogbox"}

#: Arguments of `scipy.optimize.curve_fit` that fits in compiled code heed; ``check_finite=True`` is what they do
#: anyway.
_HEEDED = ("method", "sigma", "absolute_sigma", "check_finite")


class NotCompiledError(Exception):
    """Why a fit can't be made in compiled code."""


def options_of(
    kwargs: Mapping[str, Any], limits: Mapping[str, tuple[Any, Any]], channels: int
) -> tuple[np.ndarray | None, FitOptions]:
    """Standard deviations and options that say what the arguments of `scipy.optimize.curve_fit` say."""
    others = [name for name in kwargs if name not in _HEEDED]
    if others:
        raise NotCompiledError(f"kwargs has {', '.join(map(repr, others))}, which only SciPy heeds")
    if not kwargs.get("check_finite", True):
        raise NotCompiledError("of check_finite=False, which lets SciPy fit data that are not finite")
    method = kwargs.get("method")
    if method not in _METHODS:
        raise ValueError(f"method={method!r} is not known; use 'lm', 'trf' or 'dogbox'")
    bounded = any(isinstance(b, xr.DataArray) or np.isfinite(b) for pair in limits.values() for b in pair)
    if method == "lm" and bounded:
        raise ValueError("method='lm' keeps no bounds in SciPy; use 'trf' or 'dogbox', or leave it out")
    sigma = kwargs.get("sigma")
    if sigma is not None:
        sigma = np.asarray(sigma, np.float64)
        if sigma.ndim > 1 or sigma.size not in (1, channels):
            raise NotCompiledError(f"sigma has the shape {sigma.shape}, not one number for each of {channels} channels")
        if not (np.isfinite(sigma).all() and (sigma > 0).all()):
            raise NotCompiledError("sigma has values that are not above zero")
        sigma = np.broadcast_to(sigma, channels).copy()
    absolute = bool(kwargs.get("absolute_sigma", False))
    return sigma, FitOptions(scale_covariance=not absolute, covariance=True, optimizer=_METHODS[method])


def table_of(da: xr.DataArray, arrays: Sequence[xr.DataArray], reduced: tuple[Hashable, ...]) -> np.ndarray:
    """Coordinates of the channels, flattened."""
    if da.dtype.kind not in "iuf" or da.dtype.itemsize > 8:
        raise NotCompiledError(f"the data have dtype {da.dtype}")
    rows = []
    sizes = {d: da.sizes[d] for d in reduced}
    for array in arrays:
        if not set(array.dims) <= set(reduced):
            extra = [d for d in array.dims if d not in reduced]
            raise NotCompiledError(f"the coordinate {array.name!r} varies along {extra}, from pixel to pixel")
        if array.dtype.kind not in "iuf":
            raise NotCompiledError(f"the coordinate {array.name!r} has dtype {array.dtype}")
        for d in array.dims:
            if d in array.indexes and d in da.indexes and not array.indexes[d].equals(da.indexes[d]):
                raise ValueError(f"the coordinate {array.name!r} has other labels along {d!r} than the data")
        missing = {d: size for d, size in sizes.items() if d not in array.dims}
        row = array.variable.set_dims({**missing, **dict(zip(array.dims, array.shape, strict=True))}).transpose(
            *reduced
        )
        if row.shape != tuple(sizes.values()):
            raise ValueError(f"the coordinate {array.name!r} has sizes {dict(array.sizes)}, the data {sizes}")
        rows.append(np.asarray(row.values, np.float64).ravel())
    table = np.stack(rows)
    if not np.isfinite(table).all():
        raise NotCompiledError("a coordinate has values that are not finite")
    return table


def program_of(func: Callable[..., Any], params: Sequence[str], table: np.ndarray, start: Sequence[float]) -> Program:
    """The function compiled as the only component of a model: by its formula, if it has one, or as it is."""
    coordinates = tuple(f"x{k}" for k in range(len(table)))
    names = tuple(f"p{k}" for k in range(len(params)))
    trials = np.array([start, [1.07 * value + 0.013 for value in start]], np.float64)
    wanted = _values(func, table, trials)
    text = traced_formula(func, coordinates, names)
    if text is not None:
        program = Program(("curve",), (FormulaKernel(text, coordinates, names),), (), (False,))
        # A formula may lack a derivative, or be more than the compiler takes; the function itself need not be.
        with contextlib.suppress(FormulaError, numba.core.errors.NumbaError):
            if _agrees(program, table, trials, wanted):
                return program
    plain = getattr(func, "py_func", func)
    if not inspect.isfunction(plain):
        raise NotCompiledError(f"func is a {type(func).__name__}, not a plain Python function")
    function = plain if len(table) == 1 else _of_several(plain, len(table))
    try:
        program = Program(("curve",), (FunctionKernel(function, None, coordinates, names),), (), (False,))
        program.load()
    except (TypeError, numba.core.errors.NumbaError) as error:
        raise NotCompiledError(f"numba can't compile {plain.__name__!r} for single numbers: {_gist(error)}") from error
    if not _agrees(program, table, trials, wanted):
        raise NotCompiledError("func gives other values for single coordinates, compiled, than for the whole array")
    return program


def _of_several(function: Callable[..., Any], n: int) -> Callable[..., Any]:
    """Function of numbers, where the user's is of a tuple of coordinates."""
    compiled = numba.njit(error_model="numpy", fastmath={"contract"})(function)

    def of_numbers(*numbers_: float) -> Any:
        return compiled(numbers_[:n], *numbers_[n:])

    return of_numbers


def _gist(error: BaseException) -> str:
    """What numba says, in one line."""
    cause = error.__cause__ if error.__cause__ is not None else error
    lines = [line.strip() for line in str(cause).splitlines()]
    noise = ("Failed in", "No implementation", "There are", "- Of which", "During:", "File", "^", "raised from", "")
    told = [line for line in lines if line and not line.startswith(noise[:-1]) and not set(line) <= set("^ ~-")]
    return " ".join(told[:2])[:200] or type(cause).__name__


def first_of(value: Any) -> float:
    """A number to try the function with; of lazy maps none is computed."""
    if not isinstance(value, xr.DataArray):
        return float(value)
    return float(value.values.flat[0]) if value.chunks is None and value.size else 1.0


def _values(func: Callable[..., Any], table: np.ndarray, trials: np.ndarray) -> list[np.ndarray]:
    """Values of the user's function at some parameters."""
    x = table[0] if len(table) == 1 else table
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [np.broadcast_to(np.asarray(func(x.copy(), *p), np.float64), x.shape[-1]) for p in trials]
    except Exception as error:
        raise NotCompiledError(
            f"func can't be evaluated at the start values ({type(error).__name__}: {error})"
        ) from error


def _agrees(program: Program, table: np.ndarray, trials: np.ndarray, wanted: Sequence[np.ndarray]) -> bool:
    """Whether what is compiled has the function's values: its value at a coordinate might depend on the others."""
    found = evaluate_block(program, trials, dict(zip(program.coordinates, table, strict=True)))
    for mine, theirs in zip(found, wanted, strict=True):
        # Rounding differs where sums are contracted; what cancels is compared with the largest value.
        scale = np.max(np.abs(theirs[np.isfinite(theirs)]), initial=0.0)
        if not np.allclose(mine, theirs, rtol=1e-9, atol=1e-12 * scale, equal_nan=True):
            return False
    return True
