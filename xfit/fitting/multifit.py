"""From a DataArray and a model to a Dataset of maps."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xfit.arrays.storable import check_storable
from xfit.fitting.planning.arguments import (
    FIT_ARGUMENTS,
    BoundsLike,
    DimLike,
    FitArguments,
    LossLike,
    StartLike,
    StoreArguments,
    VarianceLike,
)
from xfit.fitting.planning.plan import make_plan
from xfit.fitting.running.error_notes import noted, noted_at_start
from xfit.fitting.running.map_blocks import run
from xfit.modeling.model import Model
from xfit.results.assembly import assemble

if TYPE_CHECKING:
    from distributed import Client
    from zarr.abc.store import Store

    from xfit.fitting.stored.run import StoredSnapshot


def multifit(
    da: xr.DataArray,
    model: Model,
    dim: DimLike = None,
    *,
    start: StartLike | None = None,
    optimizer: str = "lm",
    loss: LossLike = "ls",
    loss_scale: float = 1.0,
    variance: VarianceLike | None = None,
    reweight: bool = False,
    where: xr.DataArray | None = None,
    active: Mapping[str, xr.DataArray | bool] | None = None,
    binned: bool | None = None,
    bounded: bool = True,
    bounds: BoundsLike | None = None,
    path: str = "independent",
    starts: int = 1,
    spread: Mapping[str, float] | None = None,
    covariance: bool = False,
    scale_covariance: bool | None = None,
    tolerance: float = 1e-12,
    max_nfev: int | None = None,
    grad: str = "exact",
    store: str | os.PathLike[str] | Store | None = None,
    storage_options: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    zarr_chunks: Mapping[Hashable, int] | None = None,
    client: Client | None = None,
    progress: bool | Callable[[StoredSnapshot], object] | None = None,
    **optimizer_options: Any,
) -> xr.Dataset:
    """Fit a model to every spectrum or image of an array.

    Parameters
    ----------
    da : DataArray
        Data of any real dtype. With dask chunks the result is lazy; NumPy data are fitted at once, on all cores.
    model : Model
        What to fit, as it is at the call; it is not changed, and what becomes of it later does not concern the fit.
    dim : hashable, int or sequence of them, optional
        Signal dimension(s); by default the last one for a 1-D model, the last two for a 2-D model.
    start : mapping, Dataset or "estimate", optional
        Start values that differ from the model's: numbers or maps over navigation dimensions by full parameter
        name ("Fe.centre"), or an earlier result. Where a map is NaN, the model's value is used. For fixed parameters
        these are the values. With "estimate", every active component that can be is estimated from each pixel's data,
        near its own start, on what the others leave; in a mapping, ``{"Fe": (690, 730)}`` estimates that component from
        that part of the signal coordinate, as if it were alone there. Where the data do not tell, or the model's own
        values describe them better, these are used.
    optimizer : str, optional
        How to minimise; `xfit.optimizers` prints what there is. By default Levenberg-Marquardt in compiled code.
    loss : str, LossKernel or callable, optional
        What to minimise: "ls" (least squares), "poisson" (Cash's statistic, the likelihood of counts), "huber",
        "soft_l1", "cauchy", "arctan" (as in `scipy.optimize.least_squares`, times two), an `xfit.LossKernel`, or a
        Python function ``(data, model, weight) -> float`` of the arrays of a pixel's channels, for SciPy's minimisers.
    loss_scale : float, optional
        Of robust losses: the deviation, in standard deviations, from which on a channel counts as an outlier.
    variance : float, DataArray, "poisson" or xfit.noise.Poisson, optional
        Variance of the data (weights are its inverse), broadcastable to the data. Channels with a NaN or infinite
        variance are left out. With "poisson" it is estimated from the data; see `xfit.noise`.
    reweight : bool, optional
        Whether the variance follows the model's value instead of the data's, for ``variance="poisson"`` and
        `xfit.noise.Poisson`: weights iterated until they agree with the fit (IRLS).
    where : boolean DataArray, optional
        What to use: channels, pixels or both.
    active : mapping of str to boolean DataArray, optional
        Where each named component takes part. Elsewhere its parameters are NaN in the result and are not counted.
    binned : bool, optional
        Whether data are integrals over channels, so that the model is multiplied by the channel width; by
        default the attribute ``is_binned`` of the signal coordinate, which then must rise or fall without jumps.
    bounded : bool, optional
        Whether the bounds of the parameters are kept.
    bounds : mapping of str to (min, max), optional
        Bounds for this fit by full parameter name: numbers, DataArrays over navigation dimensions, or None for none.
        Where maps are given, starts outside of the bounds move to the nearer one; where a map is NaN, the model's bound
        holds.
    path : {"independent", "serpentine", "flyback"}, optional
        Whether each pixel begins from ``start`` or where the one before it ended: to and fro, or row by row. The first
        pixel of each chunk begins from ``start``; data that are not chunked are one chunk.
    starts : int, optional
        From how many points each fit begins: the given one and others spread over the bounds. The lowest minimum is
        kept.
    spread : mapping of str to float, optional
        How far the others may lie from the given start, by full parameter name; other parameters are spread over their
        bounds if they have both.
    covariance : bool, optional
        Whether the result has the covariance matrix of every pixel.
    scale_covariance : bool, optional
        Whether errors are scaled by the square root of the reduced chi-squared, as `scipy.optimize.curve_fit` does by
        default. With a trusted ``variance``, False gives absolute errors. By default True for least squares and False
        for counts, where True allows for overdispersion. Errors of other losses have the scale of the deviations.
    tolerance : float, optional
        A fit stops where the estimated distance to the minimum is below this fraction of the residual variance.
    max_nfev : int, optional
        Largest number of model evaluations per pixel; by default ``100 * (n_free + 1)`` in each of two attempts.
        SciPy's optimizers have their own default, and some of them count iterations.
    grad : {"exact", "2-point", "3-point", "cs"}, optional
        Derivatives: exact, or finite differences by SciPy for its optimizers.
    store : str, path or zarr Store, optional
        Where to write the result while it is computed, chunk by chunk: a path, a URL of any kind that fsspec knows
        (``s3://...``), or an open store, which is used as it is: of folders, what is written survives a power failure
        where a path or a ``LocalStore`` is given, and not where that is in a wrapper. The fit is then made at once, on
        the active cluster or on threads of this process, and never held in memory as a whole.
    storage_options : mapping, optional
        What the file system of a URL needs.
    resume : bool, optional
        Whether to go on with a run of the same data, model and options that was killed: what is written whole is kept.
        A run that differs is refused. What is damaged of it is fitted again. Where there is nothing yet, the run
        begins.
    overwrite : bool, optional
        Whether to replace a result that is in the store, which stays until the new one is whole.
    zarr_chunks : mapping of str to int, optional
        Chunk sizes of the stored maps along navigation dimensions and ``param``, for reading parts of them back;
        divisors of the sizes of the data's chunks. By default a chunk of the data is one of each parameter's map.
    client : distributed.Client, optional
        The cluster for a stored fit, instead of the active one.
    progress : bool or callable, optional
        Of a stored fit: a bar on the console, by default where there is one; or a function that is called with a
        `xfit.fitting.stored.run.StoredSnapshot` after every chunk.
    **optimizer_options
        Further options of SciPy's optimizers, such as ``maxiter``, or ``seed`` of those that draw random numbers;
        ``alpha`` of "ridge".

    Returns
    -------
    Dataset
        Values, standard errors, goodness of fit and status over the navigation dimensions; see the page
        "The result" of the documentation. With ``store``, read lazily from there.

    Raises
    ------
    TypeError, ValueError
        For what can't be fitted, before any work starts; for a ``store`` that holds another run.
    FileExistsError
        For a ``store`` that holds a result, with neither ``resume`` nor ``overwrite``, or files that xfit has not made.
    StoreError
        An OSError: if a store is damaged, can't be written to, or is written by another run meanwhile.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xfit
    >>> from xfit.components import Gaussian
    >>> x = np.linspace(-5, 5, 50)
    >>> da = xr.DataArray(np.exp(-x**2 / 2)[None] * [[1], [2]], dims=("pixel", "x"), coords={"x": x})
    >>> result = da.fit.multifit(xfit.Model([Gaussian(name="g", centre=0.5)]))
    >>> result.fit["g.sigma"].values.round(6)
    array([1., 1.])
    """
    given = locals()
    asked = FitArguments.of({**optimizer_options, **{name: given[name] for name in FIT_ARGUMENTS}})
    stored = StoreArguments.of(given)
    plan = make_plan(da, model, dim, asked)
    if stored.store is not None:
        # Not at the top: it would make `import xfit` wait for zarr and distributed.
        from xfit.fitting.running.clients import client_of
        from xfit.fitting.stored.run import run_stored

        check_storable(plan.da, plan.axes.dims)
        client_of(stored.client)
        return run_stored(plan, stored)
    stored.check()
    packed = run(plan.da, plan.axes, plan.fit_spec, list(plan.extra))
    fit_spec = plan.fit_spec
    result = assemble(
        packed, plan.da, plan.model, fit_spec.program, fit_spec.settings, plan.axes, fit_spec.options, plan.how
    )
    return noted(result, plan) if isinstance(packed, np.ndarray) else noted_at_start(result, plan)
