"""The accessors: `DataArray.fit` fits, `Dataset.fit` answers questions about a result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import xarray as xr

from xfit.intervals import ONE_SIGMA, conf_interval
from xfit.model import Model
from xfit.multifit import multifit
from xfit.preview import Preview, preview
from xfit.refit import refit, sticking_out
from xfit.result import FitResult
from xfit.selection import select


@xr.register_dataset_accessor("fit")
class Result(FitResult):
    """What can be asked of a result, and done with it: ``result.fit``."""

    def conf_interval(
        self,
        da: xr.DataArray,
        params: Sequence[str] | str | None = None,
        *,
        method: str = "profile",
        level: float | Sequence[float] = ONE_SIGMA,
        samples: int = 200,
        seed: int = 0,
        **options: Any,
    ) -> xr.Dataset:
        """Confidence intervals of parameters, as maps; they need not be symmetric.

        Parameters
        ----------
        da : DataArray
            The data that were fitted.
        params : sequence of str, optional
            Full names of free parameters; all by default.
        method : {"profile", "bootstrap"}
            From where the loss, minimised over all other parameters, has risen by what the level asks for; or from percentiles of fits to
            data drawn anew from the fitted model.
        level : float or sequence of float, optional
            Probability that an interval holds, by default that of one standard deviation.
        samples, seed : int, optional
            Of the bootstrap: how many fits, and by what numbers they are drawn. A pixel's numbers do not depend on the chunks.
        **options
            What the fit was given and a result does not hold: ``variance``, ``where``, ``bounds``, a ``loss`` of your own.

        Returns
        -------
        Dataset
            ``lower`` and ``upper`` over the navigation dimensions, ``param`` and, for several levels, ``level``; lazy for
            lazy data. An end is the parameter's bound where the loss does not rise so far before it, infinite where it never does, and
            NaN where the fit has not converged or a lower minimum turned up.

        Raises
        ------
        TypeError, ValueError
            For unknown parameters, levels that are no probabilities, or a loss without profile.
        """
        ds = self._require()
        return conf_interval(
            ds, self.model, self.signal_dims, da, [params] if isinstance(params, str) else params, method=method,
            level=level, samples=samples, seed=seed, options=options,
        )  # fmt: skip

    def sticking_out(self) -> xr.DataArray:
        """Pixels that have failed, or whose reduced chi-squared is far above that of their neighbours, as a mask."""
        return sticking_out(self._require())

    def refit(
        self,
        da: xr.DataArray,
        where: xr.DataArray | None = None,
        start: Any = "neighbours",
        *,
        channels: xr.DataArray | None = None,
        **options: Any,
    ) -> xr.Dataset:
        """Fit some pixels again from other starts, and keep the better of old and new in each.

        Parameters
        ----------
        da : DataArray
            The data that were fitted.
        where : boolean DataArray, optional
            Which pixels; by default those that have failed or stick out (`sticking_out`).
        start : "neighbours", "estimate", mapping or Dataset, optional
            Medians of the good neighbours' values, estimates from the data, or values as for `xfit.multifit`.
        channels : boolean DataArray, optional
            Which channels the fit used, if it was not all: its ``where``.
        **options
            ``starts``, ``spread`` and ``optimizer`` of the new fits, and what the fit was given and a result does not hold:
            ``variance``, ``bounds``, a ``loss`` of your own.

        Returns
        -------
        Dataset
            A whole result, with ``refitted`` where new values are taken; ``nfev`` counts all evaluations.
        """
        return refit(
            self._require(), self.model, self.signal_dims, da, where=where, start=start, channels=channels, options=options
        )  # fmt: skip


@xr.register_dataarray_accessor("fit")
class Fit:
    """Fit a model to this array: ``da.fit(model)`` for one spectrum, ``da.fit.multifit(model)`` for a map of them."""

    def __init__(self, da: xr.DataArray) -> None:
        self._da = da

    def __call__(self, model: Model, dim: Any = None, **options: Any) -> xr.Dataset:
        """Fit one spectrum or image.

        Parameters
        ----------
        model : Model
            What to fit.
        dim : optional
            Signal dimension(s); by default all dimensions of the array.
        **options
            As in `xfit.multifit`.

        Returns
        -------
        Dataset
            See `xfit.multifit`; for NumPy data the attribute ``message`` says in words how the fit ended.

        Raises
        ------
        ValueError
            If the array has navigation dimensions.
        """
        if dim is None and self._da.ndim != getattr(model, "signal_dimension", self._da.ndim):
            raise ValueError(
                f"da.fit(model) fits one spectrum or image; the data have dimensions {list(self._da.dims)} and the model is "
                f"{model.signal_dimension}-D. Select one pixel, or fit them all with da.fit.multifit(model)"
            )
        return multifit(self._da, model, dim, **options)

    def multifit(self, model: Model, dim: Any = None, **options: Any) -> xr.Dataset:
        """Fit a model to every spectrum or image of the array; see `xfit.multifit` for the options."""
        return multifit(self._da, model, dim, **options)

    def preview(self, model: Model, dim: Any = None, **options: Any) -> Preview:
        """Fit the mean and a random sample, to know what a fit of the whole map will be like; see `xfit.preview.preview`."""
        return preview(self._da, model, dim, **options)

    def samfire(self, model: Model, dim: Any = None, **options: Any) -> xr.Dataset:
        """Fit a map from seeds, every pixel from its good neighbours; see `xfit.samfire.Samfire` for the options."""
        # Not at the top: it would make `import xfit` wait for what schedules work.
        from xfit.samfire import samfire

        return samfire(self._da, model, dim, **options)

    def select(self, models: Any, dim: Any = None, *, criterion: str = "aicc", **options: Any) -> xr.Dataset:
        """Fit several models and keep the best of them in each pixel; see `xfit.selection.select`."""
        return select(self._da, models, dim, criterion=criterion, **options)
