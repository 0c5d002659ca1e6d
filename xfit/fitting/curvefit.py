"""`DataArray.curvefit` at compiled speed: xarray's arguments and result, xfit's engine, SciPy where that can't be."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.storable import check_chunk_sizes
from xfit.arrays.whole_spectra import whole_signals
from xfit.engine.block.arguments import BlockArguments
from xfit.engine.block.cancellation import check
from xfit.engine.block.fit_block import fit_block
from xfit.engine.block.options import Columns, FitOptions, Settings
from xfit.engine.codegen.program import Program
from xfit.engine.pixel.status import CONVERGED
from xfit.fitting.curvefit_arguments import (
    check_labels,
    coordinates_of,
    limits_of,
    parameters_of,
    reduced_dims,
    starts_of,
)
from xfit.fitting.curvefit_program import NotCompiledError, first_of, options_of, program_of, table_of
from xfit.fitting.running.clients import active_client
from xfit.fitting.running.interruption import heeding_dask, in_threads, watch_dask
from xfit.fitting.running.map_blocks import threads_for

#: Dimensions of packed results: a row of coefficients, then those of the covariance.
_PACKED = ("_curvefit_row", "_curvefit_column")


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
        ``f(x, *params)``, or ``f((x0, x1), *params)`` for several coordinates, as for xarray. Where it is made of
        arithmetic and functions of NumPy and `scipy.special` that formulas know, it is compiled from its formula, with
        exact derivatives; else, where numba can compile it and it does the same with numbers as with arrays, as it is,
        with derivatives by central differences. It is called a few times before the fit to find out.
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
        Arguments of `scipy.optimize.curve_fit`. ``method``, ``sigma`` and ``absolute_sigma`` are heeded in compiled
        code; with any other the fit is made by SciPy.

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
    A pixel whose compiled fit has not converged, has a parameter at a bound, or leaves no degree of freedom is handed
    to xarray and SciPy, so that values, infinite covariances and errors are theirs there. Elsewhere the covariance is
    ``inv(J.T @ J)`` times the reduced chi-squared, without that factor for ``absolute_sigma=True``, as
    `scipy.optimize.curve_fit` says.

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
    check_chunk_sizes(da, "da")
    arrays = coordinates_of(da, coords)
    reduced = reduced_dims(da, arrays, reduce_dims)
    preserved = tuple(d for d in da.dims if d not in reduced)
    params, defaults = parameters_of(func, param_names)
    check_labels(arrays, p0, bounds, da)
    limits = limits_of(bounds or {}, params, preserved)
    starts = starts_of(p0 or {}, params, defaults, limits, preserved)
    given = dict(kwargs or {})
    doubled = [name for name in ("f", "xdata", "ydata", "p0", "bounds") if name in given]
    if doubled:
        raise TypeError(
            f"kwargs has {doubled}, which curvefit passes itself; use its own arguments, such as p0= and bounds="
        )
    if da.chunks is not None:
        da = whole_signals(da, reduced, "fit", stacklevel=3, client=active_client())
    try:
        sigma, options = options_of(given, limits, math.prod(da.sizes[d] for d in reduced))
        table = table_of(da, arrays, reduced)
        program = program_of(func, params, table, [first_of(starts[name]) for name in params])
    except NotCompiledError as why:
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
    watch_dask()
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
        As for `xfit.engine.block.fit_block.fit_block`.
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
        if self.in_memory:
            parts = in_threads(lambda piece: self._fit(y[piece], numbers_[piece]), pieces, len(pieces), count)
        else:
            with heeding_dask():
                parts = [self._fit(y, numbers_)]
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
            BlockArguments(
                start=np.ascontiguousarray(start),
                variance=None if self.sigma is None else self.sigma[None] ** 2,
                bounds=bounds,
                options=self.options,
            ),
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
            _heeded(self.func),
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
        return ("xfit.fitting.curvefit", self.program.__dask_tokenize__(), *map(normalize_token, fields))

    @cached_property
    def __name__(self) -> str:
        """What the tasks of a graph are called."""
        return "xfit_curvefit"


def _heeded(func: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which ends the fit that calls it if that is to stop."""

    @functools.wraps(func)
    def heeded(*arguments: Any) -> Any:
        check()
        return func(*arguments)

    return heeded
