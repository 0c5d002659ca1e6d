"""`DataArray.curvefit` at compiled speed: xarray's arguments and result, xfit's engine, SciPy where that can't be."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import math
import numbers
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
import xarray as xr

from xfit.block import evaluate_block, fit_block
from xfit.compile.program import Program
from xfit.execution.spectra import whole_signals
from xfit.formula import FormulaError
from xfit.kernel_description import FormulaKernel, FunctionKernel
from xfit.kernels.status import CONVERGED
from xfit.mapping import threads_for
from xfit.options import Columns, FitOptions, Settings
from xfit.traced import traced_formula

#: Methods of `scipy.optimize.curve_fit` and the optimizers that do the same with compiled derivatives.
_METHODS = {None: "lm", "lm": "lm", "trf": "trf", "dogbox": "dogbox"}

#: Arguments of `scipy.optimize.curve_fit` that fits in compiled code heed; ``check_finite=True`` is what they do anyway.
_HEEDED = ("method", "sigma", "absolute_sigma", "check_finite")

#: Dimensions of packed results: a row of coefficients, then those of the covariance.
_PACKED = ("_curvefit_row", "_curvefit_column")


class _NotCompiledError(Exception):
    """Why a fit can't be made in compiled code."""


def curvefit(
    da: xr.DataArray,
    coords: Any,
    func: Callable[..., Any],
    reduce_dims: Any = None,
    skipna: bool = True,
    p0: Mapping[str, Any] | None = None,
    bounds: Mapping[str, Any] | None = None,
    param_names: Sequence[str] | None = None,
    errors: str = "raise",
    kwargs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Fit a Python function as `xarray.DataArray.curvefit` does, in compiled code.

    Parameters
    ----------
    da : DataArray
        The data. With dask chunks the result is lazy.
    coords : hashable, DataArray, or sequence of them
        What the function is of, in the order of its first argument.
    func : callable
        ``f(x, *params)``, or ``f((x0, x1), *params)`` for several coordinates, as for xarray. Where it is made of arithmetic and functions of
        NumPy and `scipy.special` that formulas know, it is compiled from its formula, with exact derivatives; else, where numba can compile
        it and it does the same with numbers as with arrays, as it is, with derivatives by central differences. It is called a few times
        before the fit to find out.
    reduce_dims : hashable or iterable of hashable, optional
        Further dimensions that are fitted together.
    skipna : bool
        Whether NaN in the data are left out.
    p0 : mapping of str to float or DataArray, optional
        Start values; by default the function's own defaults, else 1, moved inside of the bounds.
    bounds : mapping of str to (lower, upper), optional
        Numbers or DataArrays.
    param_names : sequence of str, optional
        Names of the parameters; needed for a function with ``*args``.
    errors : {"raise", "ignore"}
        What is done about pixels that SciPy can't fit either: "ignore" makes them NaN.
    kwargs : mapping, optional
        Arguments of `scipy.optimize.curve_fit`. ``method``, ``sigma`` and ``absolute_sigma`` are heeded in compiled code; with any other the
        fit is made by SciPy.

    Returns
    -------
    Dataset
        ``curvefit_coefficients`` over ``param`` and ``curvefit_covariance`` over ``cov_i`` and ``cov_j``.

    Warns
    -----
    UserWarning
        Where all is fitted by xarray and SciPy, naming why.

    Raises
    ------
    TypeError, ValueError
        For arguments that are wrong, and as SciPy for data that are not finite or too few.
    RuntimeError
        As SciPy, for a pixel that does not converge.

    Notes
    -----
    A pixel whose compiled fit has not converged, has a parameter at a bound, or leaves no degree of freedom is handed to xarray and SciPy,
    so that values, infinite covariances and errors are theirs there. Elsewhere the covariance is
    ``inv(J.T @ J)`` times the reduced chi-squared, without that factor for ``absolute_sigma=True``, as `scipy.optimize.curve_fit` says.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xfit
    >>> t = np.arange(0, 5, 0.5)
    >>> da = xr.DataArray([3 * np.exp(-t / 2), 5 * np.exp(-t)], dims=("x", "t"), coords={"t": t})
    >>> def decay(t, n0, tau=1):
    ...     return n0 * np.exp(-t / tau)
    >>> da.fit.curvefit("t", decay).curvefit_coefficients.values.round(6)
    array([[3., 2.],
           [5., 1.]])
    """
    if errors not in ("raise", "ignore"):
        raise ValueError(f"errors={errors!r} must be 'raise' or 'ignore'")
    if not callable(func):
        raise TypeError(f"func must be callable, not {type(func).__name__}")
    if isinstance(param_names, str):
        raise TypeError(f"param_names={param_names!r} must be a sequence of names, such as [{param_names!r}]")
    arrays = _coordinates(da, coords)
    reduced = _reduced(da, arrays, reduce_dims)
    preserved = tuple(d for d in da.dims if d not in reduced)
    params, defaults = _parameters(func, param_names)
    limits = _limits(bounds or {}, params, preserved)
    starts = _starts(p0 or {}, params, defaults, limits, preserved)
    given = dict(kwargs or {})
    if da.chunks is not None:
        da = whole_signals(da, reduced, "fit", stacklevel=3)
    try:
        sigma, options = _options(given, limits, math.prod(da.sizes[d] for d in reduced))
        table = _table(da, arrays, reduced)
        program = _program(func, params, table, [_first(starts[name]) for name in params])
    except _NotCompiledError as why:
        warnings.warn(f"curvefit: SciPy fits this pixel by pixel, because {why}", UserWarning, stacklevel=3)
        return da.curvefit(coords, func, reduce_dims, skipna, p0, bounds, param_names, errors, given)  # type: ignore[arg-type]
    fitter = _Fitter(
        program, func, tuple(params), table, len(reduced), sigma, options, skipna, errors, given, da.chunks is None
    )
    return _mapped(fitter, da, reduced, starts, limits)


def _mapped(
    fitter: _Fitter,
    da: xr.DataArray,
    reduced: tuple[Hashable, ...],
    starts: Mapping[str, Any],
    limits: Mapping[str, tuple[Any, Any]],
) -> xr.Dataset:
    """Fit all pixels of an array, or say lazily how."""
    given = [*starts.values(), *(low for low, _ in limits.values()), *(high for _, high in limits.values())]
    n, names = len(fitter.params), list(fitter.params)
    packed = xr.apply_ufunc(
        fitter,
        da,
        *given,
        input_core_dims=[list(reduced), *([] for _ in given)],
        output_core_dims=[list(_PACKED)],
        exclude_dims=set(reduced),
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {_PACKED[0]: n + 1, _PACKED[1]: n}},
    )
    row, column = _PACKED
    result = xr.Dataset(
        {
            "curvefit_coefficients": packed.isel({row: 0}).rename({column: "param"}),
            "curvefit_covariance": packed.isel({row: slice(1, None)}).rename({row: "cov_i", column: "cov_j"}),
        }
    )
    return result.assign_coords({"param": names, "cov_i": names, "cov_j": names})


@dataclass(frozen=True)
class _Fitter:
    """What fits a block of pixels; it travels with the tasks.

    Attributes
    ----------
    program, options
        As for `xfit.block.fit_block`.
    func, skipna, errors, kwargs
        As for `curvefit`.
    params : tuple of str
        Names of the parameters.
    table : float64 (n_coordinates, n_channels)
        The coordinates.
    n_core : int
        How many dimensions the channels have.
    sigma : float64 (n_channels,) or None
        Standard deviations of the data.
    in_memory : bool
        Whether a call has all pixels, so that it is to use all cores.
    """

    program: Program
    func: Callable[..., Any]
    params: tuple[str, ...]
    table: np.ndarray
    n_core: int
    sigma: np.ndarray | None
    options: FitOptions
    skipna: bool
    errors: str
    kwargs: Mapping[str, Any]
    in_memory: bool

    def __call__(self, data: np.ndarray, *given: Any) -> np.ndarray:
        """Fit pixels: (..., *core) and start, lower and upper of each parameter in; (..., n + 1, n) out."""
        shape = data.shape[: data.ndim - self.n_core]
        count, n = math.prod(shape), len(self.params)
        y = np.asarray(data).reshape(count, self.table.shape[1])
        numbers_ = np.stack([np.broadcast_to(np.asarray(each, np.float64), shape).ravel() for each in given], axis=1)
        pieces = np.array_split(np.arange(count), max(threads_for(count), 1) if self.in_memory else 1)
        if len(pieces) == 1:
            parts = [self._fit(y, numbers_)]
        else:
            with ThreadPoolExecutor(len(pieces)) as pool:
                parts = list(pool.map(lambda piece: self._fit(y[piece], numbers_[piece]), pieces))
        return np.concatenate(parts).reshape((*shape, n + 1, n))

    def _fit(self, y: np.ndarray, given: np.ndarray) -> np.ndarray:
        n = len(self.params)
        out = np.full((len(y), n + 1, n), np.nan)
        start, lower, upper = given[:, :n], given[:, n : 2 * n], given[:, 2 * n :]
        missing = np.isnan(y)
        empty = missing.all(axis=1) if self.skipna else np.zeros(len(y), bool)
        fit_for = np.isfinite(start).all(axis=1) & (lower < upper).all(axis=1)
        fit_for &= ((lower <= start) & (start <= upper)).all(axis=1) & ~np.isinf(y).any(axis=1)
        fit_for &= (~missing).sum(axis=1) > n if self.skipna else ~missing.any(axis=1) & (y.shape[1] > n)
        pixels = np.flatnonzero(fit_for & ~empty)
        done = empty
        if pixels.size:
            rows = self._compiled(y[pixels], start[pixels], lower[pixels], upper[pixels])
            columns = Columns.of(n, self.options).slices
            matrix = rows[:, columns["covariance"]].reshape(-1, n, n)
            good = (rows[:, columns["status"]][:, 0] == CONVERGED) & np.isfinite(matrix).all(axis=(1, 2))
            good &= ~(rows[:, columns["at_bound"]] != 0).any(axis=1)
            out[pixels[good], 0] = rows[good, columns["value"]]
            out[pixels[good], 1:] = matrix[good]
            done[pixels[good]] = True
        rest = np.flatnonzero(~done)
        if rest.size:
            out[rest] = self._by_scipy(y[rest], start[rest], lower[rest], upper[rest])
        return out

    def _compiled(self, y: np.ndarray, start: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """Packed results of `fit_block`."""
        names, n = self.program.parameters, len(self.params)
        settings = Settings(start[0], lower[0], upper[0], np.ones(n, bool), np.ones(1, bool))
        bounds: dict[tuple[str, str], np.ndarray] = {}
        for side, values in (("min", lower), ("max", upper)):
            bounds |= {(names[k], side): values[:, k] for k in range(n) if (values[:, k] != values[0, k]).any()}
        return fit_block(
            self.program,
            settings,
            y,
            dict(zip(self.program.coordinates, self.table, strict=True)),
            start=np.ascontiguousarray(start),
            variance=None if self.sigma is None else self.sigma[None] ** 2,
            bounds=bounds,
            options=self.options,
        )

    def _by_scipy(self, y: np.ndarray, start: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """Fit by xarray's own `curvefit`, with its errors."""
        missing = np.isnan(y)
        if self.sigma is None or not self.skipna or not missing.any():
            return self._by_xarray(y, self.table, start, lower, upper, self.kwargs)
        # xarray leaves missing data out, but not their standard deviations.
        out = np.empty((len(y), len(self.params) + 1, len(self.params)))
        patterns, group = np.unique(missing, axis=0, return_inverse=True)
        for k, pattern in enumerate(patterns):
            rows, keep = np.flatnonzero(group.ravel() == k), ~pattern
            given = {**self.kwargs, "sigma": self.sigma[keep]}
            out[rows] = self._by_xarray(
                y[rows][:, keep], self.table[:, keep], start[rows], lower[rows], upper[rows], given
            )
        return out

    def _by_xarray(
        self,
        y: np.ndarray,
        table: np.ndarray,
        start: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        kwargs: Mapping[str, Any],
    ) -> np.ndarray:
        pixel, channel = "_pixel", "_channel"

        def of(values: np.ndarray, k: int) -> xr.DataArray:
            return xr.DataArray(values[:, k], dims=pixel)

        fit = xr.DataArray(y, dims=(pixel, channel)).curvefit(
            [xr.DataArray(x, dims=channel) for x in table],
            self.func,
            reduce_dims=channel,
            skipna=self.skipna,
            p0={name: of(start, k) for k, name in enumerate(self.params)},
            bounds={name: (of(lower, k), of(upper, k)) for k, name in enumerate(self.params)},
            param_names=list(self.params),
            errors=self.errors,  # type: ignore[arg-type]
            kwargs=dict(kwargs),
        )
        coefficients, matrix = fit.curvefit_coefficients.values, fit.curvefit_covariance.values
        return np.concatenate([coefficients[:, None], matrix], axis=1)

    def __dask_tokenize__(self) -> Any:
        """Equal fitters have equal tokens in every process."""
        from dask.base import normalize_token

        fields = (self.params, self.table, self.n_core, self.sigma, self.options, self.skipna, self.errors, self.kwargs)
        return ("xfit.curvefit", self.program.__dask_tokenize__(), *map(normalize_token, fields))

    @cached_property
    def __name__(self) -> str:
        """What the tasks of a graph are called."""
        return "xfit_curvefit"


# --- arguments, as xarray reads them ---------------------------------------------------------------------------------


def _coordinates(da: xr.DataArray, coords: Any) -> list[xr.DataArray]:
    """Coordinates as arrays."""
    several = isinstance(coords, Iterable) and not isinstance(coords, str | xr.DataArray | tuple)
    several = several or (isinstance(coords, tuple) and coords not in da.coords)
    each = list(coords) if several else [coords]
    if not each:
        raise ValueError("coords must name at least one coordinate")
    found = []
    for coord in each:
        if isinstance(coord, xr.DataArray):
            found.append(coord)
        elif coord in da.coords or coord in da.dims:
            found.append(da[coord])
        else:
            raise ValueError(f"coords names {coord!r}, which the data do not have; they have {list(da.coords)}")
    return found


def _reduced(da: xr.DataArray, arrays: Sequence[xr.DataArray], reduce_dims: Any) -> tuple[Hashable, ...]:
    """Dimensions of the channels: those asked for, and those whose coordinates the function is of."""
    asked: list[Hashable] = []
    if reduce_dims is not None:
        single = isinstance(reduce_dims, str) or not isinstance(reduce_dims, Iterable)
        asked = [reduce_dims] if single else list(reduce_dims)
    unknown = [d for d in asked if d not in da.dims]
    if unknown:
        raise ValueError(f"reduce_dims names {unknown}, which are no dimensions of the data; they have {list(da.dims)}")
    found = {*asked, *(d for d in da.dims for array in arrays if array.equals(da[d]))}
    if not found:
        raise ValueError(
            f"none of the coords is the coordinate of a dimension of the data {list(da.dims)}; "
            f"say with reduce_dims= along which dimension(s) to fit"
        )
    return tuple(d for d in da.dims if d in found)


def _parameters(func: Callable[..., Any], param_names: Sequence[str] | None) -> tuple[list[str], dict[str, Any]]:
    """Names of the parameters, and the defaults that the function gives."""
    try:
        arguments = inspect.signature(getattr(func, "py_func", func)).parameters
    except ValueError:
        if not param_names:
            raise ValueError("the signature of func can't be read; name its parameters with param_names=") from None
        return list(param_names), {}
    if not param_names and any(a.kind in (a.VAR_POSITIONAL, a.VAR_KEYWORD) for a in arguments.values()):
        raise ValueError("func takes any number of arguments; name its parameters with param_names=")
    params = list(param_names) if param_names else list(arguments)[1:]
    if not params:
        raise ValueError("func has no parameter to fit: it must take some after the coordinate(s)")
    return params, {
        p: arguments[p].default
        for p in params
        if p in arguments and arguments[p].default is not inspect.Parameter.empty
    }


def _checked(value: Any, what: str, preserved: tuple[Hashable, ...]) -> Any:
    """A number, or an array over the dimensions that stay."""
    if isinstance(value, xr.DataArray):
        extra = [d for d in value.dims if d not in preserved]
        if extra:
            raise ValueError(
                f"{what} has unexpected dimensions {tuple(extra)}; it should only have dimensions that are in {list(preserved)}"
            )
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{what} must be a number or a DataArray, not {value!r}")
    if np.isnan(float(value)):
        raise ValueError(f"{what} must not be NaN")
    return float(value)


def _known(given: Mapping[str, Any], params: Sequence[str], what: str) -> None:
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} must map names of parameters to values, not {type(given).__name__}")
    for name in given:
        if name not in params:
            close = difflib.get_close_matches(str(name), params, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ValueError(f"{what} names {name!r}, which is no parameter of func; {hint}it has {list(params)}")


def _limits(
    bounds: Mapping[str, Any], params: Sequence[str], preserved: tuple[Hashable, ...]
) -> dict[str, tuple[Any, Any]]:
    """Lower and upper bound of each parameter."""
    _known(bounds, params, "bounds")
    limits: dict[str, tuple[Any, Any]] = {}
    for name in params:
        pair = bounds.get(name, (-np.inf, np.inf))
        if not isinstance(pair, tuple | list | np.ndarray) or len(pair) != 2:
            raise TypeError(f"bounds[{name!r}] must be a pair (lower, upper), not {pair!r}")
        low = _checked(pair[0], f"Lower bound for {name!r}", preserved)
        high = _checked(pair[1], f"Upper bound for {name!r}", preserved)
        if isinstance(low, float) and isinstance(high, float) and not low < high:
            raise ValueError(f"bounds[{name!r}]: the lower bound {low} must be below the upper one {high}")
        limits[name] = (low, high)
    return limits


def _starts(
    p0: Mapping[str, Any],
    params: Sequence[str],
    defaults: Mapping[str, Any],
    limits: Mapping[str, tuple[Any, Any]],
    preserved: tuple[Hashable, ...],
) -> dict[str, Any]:
    """Start value of each parameter: the given one, else the function's, else 1, moved inside of the bounds."""
    _known(p0, params, "p0")
    starts = {}
    for name in params:
        low, high = limits[name]
        if name in p0:
            start = _checked(p0[name], f"Initial guess for {name!r}", preserved)
            if isinstance(start, float) and not isinstance(low, xr.DataArray) and not isinstance(high, xr.DataArray):
                if not low <= start <= high:
                    raise ValueError(f"p0[{name!r}]={start} is outside of its bounds [{low}, {high}]")
        else:
            start = _checked(defaults.get(name, 1.0), f"the default of {name!r} in func", preserved)
            inside = xr.where(
                np.isfinite(low),
                xr.where(np.isfinite(high), 0.5 * (low + high), low + 1.0),
                xr.where(np.isfinite(high), high - 1.0, 0.0),
            )
            start = xr.where((start < low) | (start > high), inside, start)
            start = start if isinstance(start, xr.DataArray) else float(start)
        starts[name] = start
    return starts


# --- whether it can be compiled --------------------------------------------------------------------------------------


def _options(
    kwargs: Mapping[str, Any], limits: Mapping[str, tuple[Any, Any]], channels: int
) -> tuple[np.ndarray | None, FitOptions]:
    """Standard deviations and options that say what the arguments of `scipy.optimize.curve_fit` say."""
    others = [name for name in kwargs if name not in _HEEDED]
    if others:
        raise _NotCompiledError(f"kwargs has {', '.join(map(repr, others))}, which only SciPy heeds")
    if not kwargs.get("check_finite", True):
        raise _NotCompiledError("of check_finite=False, which lets SciPy fit data that are not finite")
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
            raise _NotCompiledError(
                f"sigma has the shape {sigma.shape}, not one number for each of {channels} channels"
            )
        if not (np.isfinite(sigma).all() and (sigma > 0).all()):
            raise _NotCompiledError("sigma has values that are not above zero")
        sigma = np.broadcast_to(sigma, channels).copy()
    absolute = bool(kwargs.get("absolute_sigma", False))
    return sigma, FitOptions(scale_covariance=not absolute, covariance=True, optimizer=_METHODS[method])


def _table(da: xr.DataArray, arrays: Sequence[xr.DataArray], reduced: tuple[Hashable, ...]) -> np.ndarray:
    """Coordinates of the channels, flattened."""
    if da.dtype.kind not in "iuf" or da.dtype.itemsize > 8:
        raise _NotCompiledError(f"the data have dtype {da.dtype}")
    rows = []
    sizes = {d: da.sizes[d] for d in reduced}
    for array in arrays:
        if not set(array.dims) <= set(reduced):
            extra = [d for d in array.dims if d not in reduced]
            raise _NotCompiledError(f"the coordinate {array.name!r} varies along {extra}, from pixel to pixel")
        if array.dtype.kind not in "iuf":
            raise _NotCompiledError(f"the coordinate {array.name!r} has dtype {array.dtype}")
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
        raise _NotCompiledError("a coordinate has values that are not finite")
    return table


def _program(func: Callable[..., Any], params: Sequence[str], table: np.ndarray, start: Sequence[float]) -> Program:
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
        raise _NotCompiledError(f"func is a {type(func).__name__}, not a plain Python function")
    function = plain if len(table) == 1 else _of_several(plain, len(table))
    program = Program(("curve",), (FunctionKernel(function, None, coordinates, names),), (), (False,))
    try:
        program.load()
    except (TypeError, numba.core.errors.NumbaError) as error:
        raise _NotCompiledError(f"numba can't compile {plain.__name__!r} for single numbers: {_gist(error)}") from error
    if not _agrees(program, table, trials, wanted):
        raise _NotCompiledError("func gives other values for single coordinates, compiled, than for the whole array")
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


def _first(value: Any) -> float:
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
        raise _NotCompiledError(
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
