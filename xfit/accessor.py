"""The accessors: `DataArray.fit` fits, `Dataset.fit` answers questions about a result."""

from __future__ import annotations

from typing import Any

import xarray as xr

from xfit.model import Model
from xfit.multifit import multifit
from xfit.result import FitResult

xr.register_dataset_accessor("fit")(FitResult)


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
