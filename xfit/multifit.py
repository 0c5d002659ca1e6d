"""From a DataArray and a model to a Dataset of maps: one blockwise layer over the navigation chunks."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import dask
import dask.array
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.system import CPU_COUNT

from xfit import inputs
from xfit.axes import Axes, axes_of, signal_dims, whole_signals
from xfit.block import Columns, FitOptions, Settings, fit_block
from xfit.chunks import flat, only, spread
from xfit.compile.engine import prepare_engine
from xfit.compile.program import Program
from xfit.derived import pairs_of
from xfit.estimate import estimated_start, split_start
from xfit.estimate_block import Estimation, estimate_block
from xfit.losses import Loss, loss_of
from xfit.model import Model
from xfit.registry import check_pair, optimizer_of
from xfit.response import Grid, response_of
from xfit.result import assemble, check_names

#: Elements of NumPy-backed data in one block: large enough to hide a task's overhead, small enough to spread over cores.
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Recipe:
    """All that a block's fit needs besides arrays; it travels with every task, so it is small.

    Attributes
    ----------
    program, settings, options
        See `xfit.block.fit_block`.
    names : tuple of str
        Names of the rows of the coordinate table; a last row without name holds the channel widths.
    navigation, signal : tuple
        Dimensions of the block.
    variance : float or None
        A variance that is the same everywhere.
    roles : tuple of (str, str, tuple)
        What each further array is: its role, for which parameter or component, and its dimensions.
    estimations : tuple of Estimation
        Start values that are estimated from the block's data.
    grid : Grid or None
        Where convolved components are evaluated.
    path : {"independent", "serpentine", "flyback"}
        In which order pixels are fitted.
    """

    program: Program
    settings: Settings
    options: FitOptions
    names: tuple[str, ...]
    navigation: tuple[Hashable, ...]
    signal: tuple[Hashable, ...]
    variance: float | None
    roles: tuple[tuple[str, str, tuple[Hashable, ...]], ...]
    estimations: tuple[Estimation, ...]
    grid: Grid | None
    path: str

    def __dask_tokenize__(self) -> Any:
        """Equal recipes have equal tokens in every process."""
        numbers = (
            self.settings.start,
            self.settings.lower,
            self.settings.upper,
            self.settings.free,
            self.settings.active,
        )
        return ("xfit.Recipe", self.program.__dask_tokenize__(), tokenize(*numbers), tokenize(self.options), self.names,
                repr(self.navigation), repr(self.signal), self.variance, repr(self.roles), tokenize(self.estimations), repr(self.grid), self.path)  # fmt: skip


def multifit(
    da: xr.DataArray,
    model: Model,
    dim: Hashable | Sequence[Hashable] | None = None,
    *,
    start: Any = None,
    optimizer: str = "lm",
    loss: Any = "ls",
    loss_scale: float = 1.0,
    variance: Any = None,
    reweight: bool = False,
    where: xr.DataArray | None = None,
    active: Any = None,
    binned: bool | None = None,
    bounded: bool = True,
    bounds: Any = None,
    path: str = "independent",
    starts: int = 1,
    spread: Any = None,
    covariance: bool = False,
    scale_covariance: bool | None = None,
    tolerance: float = 1e-12,
    max_nfev: int | None = None,
    grad: str = "exact",
    **optimizer_options: Any,
) -> xr.Dataset:
    """Fit a model to every spectrum or image of an array.

    Parameters
    ----------
    da : DataArray
        Data of any real dtype. With dask chunks the result is lazy; NumPy data are fitted at once, on all cores.
    model : Model
        What to fit; it is not changed.
    dim : hashable, int or sequence of them, optional
        Signal dimension(s); by default the last one for a 1-D model, the last two for a 2-D model.
    start : mapping, Dataset or "estimate", optional
        Start values that differ from the model's: numbers or maps over navigation dimensions by full parameter
        name ("Fe.centre"), or an earlier result. Where a map is NaN, the model's value is used. For fixed parameters these
        are the values. With "estimate", every active component that can be is estimated from each pixel's data; in a
        mapping, ``{"Fe": (690, 730)}`` estimates that component from that part of the signal coordinate. Where the data do
        not tell, the model's value is used.
    optimizer : str, optional
        How to minimise; `xfit.optimizers` prints what there is. By default Levenberg-Marquardt in compiled code.
    loss : str, LossKernel or callable, optional
        What to minimise: "ls" (least squares), "poisson" (Cash's statistic, the likelihood of counts), "huber", "soft_l1",
        "cauchy", "arctan" (as in `scipy.optimize.least_squares`, times two), an `xfit.LossKernel`, or a Python function ``(data, model,
        weight) -> float`` of the arrays of a pixel's channels, for SciPy's minimisers.
    loss_scale : float, optional
        Of robust losses: the deviation, in standard deviations, from which on a channel counts as an outlier.
    variance : float, DataArray, "poisson" or xfit.noise.Poisson, optional
        Variance of the data (weights are its inverse), broadcastable to the data. Channels with a NaN or infinite
        variance are left out. With "poisson" it is estimated from the data; see `xfit.noise`.
    reweight : bool, optional
        Whether the variance follows the model's value instead of the data's, for ``variance="poisson"`` and `xfit.noise.Poisson`:
        weights iterated until they agree with the fit (IRLS).
    where : boolean DataArray, optional
        What to use: channels, pixels or both.
    active : mapping of str to boolean DataArray, optional
        Where each named component takes part. Elsewhere its parameters are NaN in the result and are not counted.
    binned : bool, optional
        Whether data are integrals over channels, so that the model is multiplied by the channel width; by
        default the attribute ``is_binned`` of the signal coordinate.
    bounded : bool, optional
        Whether the bounds of the parameters are kept.
    bounds : mapping of str to (min, max), optional
        Bounds for this fit by full parameter name: numbers, DataArrays over navigation dimensions, or None for none. Where maps are given,
        starts outside of the bounds move to the nearer one; where a map is NaN, the model's bound holds.
    path : {"independent", "serpentine", "flyback"}, optional
        Whether each pixel begins from ``start`` or where the one before it ended: to and fro, or row by row. The first pixel
        of each chunk begins from ``start``; data that are not chunked are one chunk.
    starts : int, optional
        From how many points each fit begins: the given one and others spread over the bounds. The lowest minimum is kept.
    spread : mapping of str to float, optional
        How far the others may lie from the given start, by full parameter name; other parameters are spread over their bounds
        if they have both.
    covariance : bool, optional
        Whether the result has the covariance matrix of every pixel.
    scale_covariance : bool, optional
        Whether errors are scaled by the square root of the reduced chi-squared, as `scipy.optimize.curve_fit` does by
        default. With a trusted ``variance``, False gives absolute errors. By default True for least squares and False for
        counts, where True allows for overdispersion. Errors of other losses have the scale of the deviations.
    tolerance : float, optional
        A fit stops where the estimated distance to the minimum is below this fraction of the residual variance.
    max_nfev : int, optional
        Largest number of model evaluations per pixel; by default ``100 * (n_free + 1)`` in each of two attempts. SciPy's optimizers
        have their own default, and some of them count iterations.
    grad : {"exact", "2-point", "3-point", "cs"}, optional
        Derivatives: exact, or finite differences by SciPy for its optimizers.
    **optimizer_options
        Further options of SciPy's optimizers, such as ``maxiter``, or ``seed`` of those that draw random numbers; ``alpha`` of "ridge".

    Returns
    -------
    Dataset
        Values, standard errors, goodness of fit and status over the navigation dimensions; see the page
        "The result" of the documentation.

    Raises
    ------
    TypeError, ValueError
        For what can't be fitted, before any work starts.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xfit
    >>> from xfit.components import Gaussian
    >>> x = np.linspace(-5, 5, 50)
    >>> da = xr.DataArray(np.exp(-x**2 / 2)[None] * [[1], [2]], dims=("pixel", "x"), coords={"x": x})
    >>> fit = da.fit.multifit(xfit.Model([Gaussian(name="g", centre=0.5)]))
    >>> fit.fit["g.sigma"].values.round(6)
    array([1., 1.])
    """
    inputs.check_data(da)
    inputs.check_model(model)
    check_names(da)
    method = optimizer_of(optimizer)
    variance, noise, what = inputs.check_noise(variance, reweight, loss_of(loss, loss_scale), da)
    check_pair(method, what)
    inputs.check_options(tolerance, max_nfev)
    inputs.check_method(method, grad, optimizer_options, starts, path)
    scaled = inputs.check_scaling(scale_covariance, what)
    program = Program.from_model(model)
    axes = axes_of(da, signal_dims(da, dim, model.signal_dimension), program.coordinates, binned)
    response, grid = response_of(model, da, axes.dims, da, axes.navigation)
    text = model.to_json()
    masks = inputs.check_active(active, model, da, axes)
    on = _somewhere(model, masks)
    settings = inputs.settings_of(model, program, on, bounded=bounded, n_channels=int(np.prod(axes.shape)))
    start, ranges = split_start(start, model)
    values, maps = inputs.check_start(start, model, program, settings, da, axes)
    where = inputs.check_where(where, da)
    alpha = 0.0
    if method.engine == "linear":
        settings, alpha = inputs.check_linear(method, model, program, settings, optimizer_options)
        optimizer_options = {}
    settings, limits = inputs.check_bounds(bounds, program, replace(settings, start=values), da, axes)
    inputs.check_keeps_bounds(method, program, settings, limits)
    reach = inputs.check_search(starts, spread, path, program, settings)
    estimations = estimated_start(ranges, start, model, program, settings, axes)
    program.load()
    extra: list[tuple[str, str, xr.DataArray]] = [("start", name, array) for name, array in maps.items()]
    extra += [("active", name, array) for name, array in masks.items() if isinstance(array, xr.DataArray)]
    if isinstance(variance, xr.DataArray):
        extra.append(("variance", "", variance))
    if where is not None:
        extra.append(("where", "", where))
    if response is not None:
        extra.append(("response", "", response))
    extra += [(side, name, array) for (name, side), array in limits.items()]
    positions = {name: k for k, name in enumerate(program.parameters)}
    pairs = () if covariance else tuple((positions[a], positions[b]) for a, b in pairs_of(model))
    options = FitOptions(
        tolerance,
        max_nfev,
        scaled,
        covariance,
        pairs,
        what,
        int(starts),
        reach,
        path != "independent",
        method.name,
        grad,
        tuple(sorted(optimizer_options.items())),
        noise,
        alpha,
    )
    recipe = Recipe(
        program,
        settings,
        options,
        axes.names,
        axes.navigation,
        axes.dims,
        variance if isinstance(variance, float) else None,
        tuple((role, name, tuple(array.dims)) for role, name, array in extra),
        estimations,
        grid,
        path,
    )
    how = {
        "model": text,
        "optimizer": method.name,
        "loss": what.name,
        "bounded": int(bounded),
        "tolerance": tolerance,
        **_noted(what, noise, path, starts),
        **({"alpha": alpha} if alpha else {}),
    }
    packed = _run(da, axes, recipe, [array for _, _, array in extra])
    return assemble(packed, da, model, program, settings, axes, options, how)


def _noted(loss: Loss, noise: tuple[float, float, float] | None, path: str, starts: int) -> dict[str, Any]:
    """What else the result's attributes say of how the fit was made, where it is not the usual."""
    noted: dict[str, Any] = {"loss_scale": loss.scale} if loss.robust else {}
    if noise is not None or loss.iterated:
        gain, offset, correlation = noise or (loss.gain, loss.offset, loss.correlation)
        noted |= {
            "noise_gain": gain,
            "noise_offset": offset,
            "noise_correlation": correlation,
            "reweight": int(loss.iterated),
        }
    if path != "independent":
        noted["path"] = path
    return noted | ({"starts": int(starts)} if starts > 1 else {})


def _somewhere(model: Model, masks: dict[str, xr.DataArray | bool]) -> np.ndarray:
    """Whether each component takes part, at least in some pixels where a map says in which."""
    given = [masks.get(component.name, component.active) for component in model]
    return np.array([True if isinstance(value, xr.DataArray) else value for value in given])


def _run(da: xr.DataArray, axes: Axes, recipe: Recipe, extra: list[xr.DataArray]) -> Any:
    """Packed results over the navigation dimensions: a NumPy array for NumPy data, else a lazy dask array."""
    lazy = any(array.chunks is not None for array in [da, *extra])
    data = da.transpose(*axes.navigation, *axes.dims)
    if not lazy:
        return _fit_in_memory(data, axes, recipe, extra)
    if da.chunks is None:
        data = data.chunk(_navigation_chunks(data, axes))
    else:
        data = whole_signals(data, axes.dims, "fit", stacklevel=4)
    return _graph(data, axes, recipe, extra)


def _fit_in_memory(data: xr.DataArray, axes: Axes, recipe: Recipe, extra: list[xr.DataArray]) -> np.ndarray:
    """Fit NumPy data block by block on all cores."""
    prepare_engine()
    columns = Columns.of(len(recipe.settings.start), recipe.options)
    packed = np.empty((*(data.sizes[d] for d in axes.navigation), columns.total))
    # A path is one, or numbers would depend on how many cores there are.
    chained = recipe.path != "independent"
    sizes = dict.fromkeys(data.dims, -1) if chained else _navigation_chunks(data, axes)
    sizes = {d: data.sizes[d] if size < 0 else max(size, 1) for d, size in sizes.items()}
    ranges = [[slice(first, first + sizes[d]) for first in range(0, data.sizes[d], sizes[d])] for d in axes.navigation]
    # Read once: a file opened without dask would be read again for every block.
    spectra = data.values
    arrays = [(tuple(array.dims), array.values) for array in extra]
    table = _table(axes)

    def fit_one(block: tuple[slice, ...]) -> None:
        where = dict(zip(axes.navigation, block, strict=True))
        parts = [values[tuple(where.get(d, slice(None)) for d in dims)] for dims, values in arrays]
        packed[block] = _fit_nd(spectra[block], *parts, table=table, recipe=recipe)

    blocks = list(itertools.product(*ranges))
    synchronous = dask.config.get("scheduler", None) in ("sync", "synchronous", "single-threaded")
    workers = 1 if synchronous else min(CPU_COUNT, len(blocks))
    if workers <= 1:
        for block in blocks:
            fit_one(block)
    else:
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(fit_one, blocks):
                pass
    return packed


def _table(axes: Axes) -> np.ndarray:
    """Coordinates, and the channel widths as a last row where data are binned."""
    return axes.table if axes.width is None else np.vstack([axes.table, axes.width[None]])


def _navigation_chunks(data: xr.DataArray, axes: Axes) -> dict[Hashable, int]:
    """Chunk sizes that cut NumPy data into blocks of whole pixels, a few for each core."""
    total = max(int(np.prod([data.sizes[d] for d in axes.navigation])), 1)
    pixels = max(_BLOCK // max(int(np.prod(axes.shape)), 1), 1)
    pixels = max(min(pixels, total // (4 * CPU_COUNT)), 1)
    sizes: dict[Hashable, int] = dict.fromkeys(axes.dims, -1)
    for d in reversed(axes.navigation):
        sizes[d] = max(min(pixels, data.sizes[d]), 1)
        pixels //= sizes[d]
    return sizes


def _graph(data: xr.DataArray, axes: Axes, recipe: Recipe, extra: list[xr.DataArray]) -> Any:
    """One blockwise layer that fits every navigation chunk."""
    # The response has a dimension of its own.
    letters = {d: k for k, d in enumerate(dict.fromkeys([*data.dims, *(d for array in extra for d in array.dims)]))}
    packed_index, table_index = len(letters), (len(letters) + 1, len(letters) + 2)
    table = dask.array.from_array(_table(axes), chunks=-1)
    arguments: list[Any] = [data.data, [letters[d] for d in data.dims], table, table_index]
    for array in extra:
        chunks = {d: data.chunksizes.get(d, -1) for d in array.dims}
        arguments += [array.chunk(chunks).data, [letters[d] for d in array.dims]]
    columns = Columns.of(len(recipe.settings.start), recipe.options)
    navigation = [letters[d] for d in axes.navigation]
    return dask.array.blockwise(
        _fit_chunk,
        [*navigation, packed_index],
        *arguments,
        # One task that all others depend on: tables of cross-sections are too much to be sent with each.
        recipe=dask.delayed(recipe, name="xfit-recipe-" + tokenize(recipe), traverse=False),
        n_axes=len(axes.dims),
        new_axes={packed_index: columns.total},
        dtype=np.float64,
        concatenate=False,
        align_arrays=False,
        meta=np.empty((0,) * (len(navigation) + 1)),
        name="xfit-multifit-" + tokenize(recipe, *arguments),
    )


def _fit_chunk(data: Any, table: Any, *extra: Any, recipe: Recipe, n_axes: int) -> np.ndarray:
    """Fit one chunk; contracted dimensions come as nested lists of one block."""
    return _fit_nd(only(data), *(only(array) for array in extra), table=only(table), recipe=recipe)


def _fit_nd(data: np.ndarray, *extra: np.ndarray, table: np.ndarray, recipe: Recipe) -> np.ndarray:
    """Fit a block with navigation dimensions first; what `fit_block` does for flat pixels."""
    n_signal = len(recipe.signal)
    shape = data.shape[: data.ndim - n_signal]
    y = data.reshape(int(np.prod(shape)), int(np.prod(data.shape[len(shape) :])))
    coordinates = dict(zip(recipe.names, table, strict=False))
    width = table[-1] if len(table) > len(recipe.names) else None
    start: dict[str, np.ndarray] = {}
    active: dict[str, np.ndarray] = {}
    bounds: dict[tuple[str, str], np.ndarray] = {}
    variance = None if recipe.variance is None else np.full((1, y.shape[1]), recipe.variance)
    where = response = None
    for (role, name, dims), array in zip(recipe.roles, extra, strict=True):
        if role == "variance":
            variance = flat(array, dims, recipe.navigation, recipe.signal, data.shape)
        elif role == "where":
            where = flat(array, dims, recipe.navigation, recipe.signal, data.shape)
        elif role == "response":
            response = flat(array, dims, recipe.navigation, dims[-1:], (*shape, array.shape[-1]))
        elif role in ("min", "max"):
            bounds[name, role] = spread(array, dims, recipe.navigation, shape).ravel()
        else:
            values = spread(array, dims, recipe.navigation, shape).ravel()
            (start if role == "start" else active)[name] = values
    if recipe.estimations:
        start |= _estimated(recipe, y, coordinates, width, where, variance)
    flags = None
    if active:
        flags = np.tile(recipe.settings.active, (y.shape[0], 1))
        for name, values in active.items():
            flags[:, recipe.program.components.index(name)] = values
    packed = fit_block(
        recipe.program,
        recipe.settings,
        y,
        coordinates,
        start=start,
        variance=variance,
        where=where,
        width=width,
        active=flags,
        response=response,
        grid=None if recipe.grid is None else recipe.grid.points,
        bounds=bounds,
        order=serpentine(shape) if recipe.path == "serpentine" else None,
        options=recipe.options,
    )
    return packed.reshape((*shape, packed.shape[1]))


def serpentine(shape: tuple[int, ...]) -> np.ndarray:
    """Flat positions of the pixels of a block in the order of a path that goes to and fro: neighbours follow each other."""
    order = np.arange(int(np.prod(shape))).reshape(shape)
    for axis in range(1, len(shape)):
        # Every second row of all before, counted along the path, is run through backwards.
        rows = order.reshape(-1, *shape[axis:]) if axis < len(shape) else order
        rows[1::2] = rows[1::2, ::-1]
    return order.ravel()


def _estimated(
    recipe: Recipe,
    y: np.ndarray,
    coordinates: dict[str, np.ndarray],
    width: np.ndarray | None,
    where: np.ndarray | None,
    variance: np.ndarray | None,
) -> dict[str, np.ndarray]:
    """Start values from the data of a block: of the channels that the fit uses."""
    if variance is not None:
        finite = np.isfinite(variance)
        where = finite if where is None else finite & where
    return estimate_block(recipe.estimations, coordinates, y, width=width, where=where)
