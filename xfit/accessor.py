"""The accessor `DataArray.fit`: fits of an array."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from xfit.modeling.model import Model
from xfit.result_accessor import Result

if TYPE_CHECKING:
    from xfit.fitting.planning.arguments import DimLike, RangeLike
    from xfit.fitting.preview import Preview

# What fits is imported when the first fit is made: `import xfit` does not wait for the engine.


@xr.register_dataarray_accessor("fit")
class Fit:
    """Fit a model to this array: ``da.fit(model)`` for one spectrum, ``da.fit.multifit(model)`` for a map of them."""

    def __init__(self, da: xr.DataArray) -> None:
        self._da = da

    def __call__(self, model: Model, dim: DimLike = None, **options: Any) -> xr.Dataset:
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

        Examples
        --------
        >>> import numpy as np, xarray as xr, xfit
        >>> from xfit.components import Gaussian
        >>> x = np.linspace(-5, 5, 50)
        >>> da = xr.DataArray(np.exp(-(x**2) / 2)[None] * [[1], [2]], dims=("pixel", "x"), coords={"x": x})
        >>> result = da[1].fit(xfit.Model([Gaussian(name="g", centre=0.5)]))
        >>> round(float(result.fit["g.height"]), 6)
        2.0
        """
        from xfit.fitting.multifit import multifit

        if dim is None and self._da.ndim != getattr(model, "signal_dimension", self._da.ndim):
            raise ValueError(
                f"da.fit(model) fits one spectrum or image; the data have dimensions {list(self._da.dims)} and the "
                f"model is {model.signal_dimension}-D. Select one pixel, or fit them all with da.fit.multifit(model)"
            )
        return multifit(self._da, model, dim, **options)

    def multifit(self, model: Model, dim: DimLike = None, **options: Any) -> xr.Dataset:
        """Fit a model to every spectrum or image of the array; see `xfit.multifit` for the options.

        Examples
        --------
        >>> import numpy as np, xarray as xr, xfit
        >>> from xfit.components import Gaussian
        >>> x = np.linspace(-5, 5, 50)
        >>> da = xr.DataArray(np.exp(-(x**2) / 2)[None] * [[1], [2]], dims=("pixel", "x"), coords={"x": x})
        >>> result = da.chunk(pixel=1).fit.multifit(xfit.Model([Gaussian(name="g", centre=0.5)]))  # lazy
        >>> result.compute().fit["g.height"].values.round(6)
        array([1., 2.])
        """
        from xfit.fitting.multifit import multifit

        return multifit(self._da, model, dim, **options)

    def component(self, model: Model, name: str, range: RangeLike = None, **options: Any) -> xr.Dataset:
        """Fit one component of a model, the others staying as they are; see `xfit.fitting.one_component.fit_component`.

        Examples
        --------
        >>> import numpy as np, xarray as xr, xfit
        >>> from xfit.components import Gaussian, Offset
        >>> x = np.linspace(-5, 5, 50)
        >>> da = xr.DataArray(2 + 3 * np.exp(-((x - 1) ** 2) / 2), dims="x", coords={"x": x})
        >>> model = Gaussian(name="line") + Offset(name="level", offset=2)
        >>> _ = da.fit.component(model, "line", range=(-2, 4))
        >>> round(model["line"].centre.value, 6)
        1.0
        """
        from xfit.fitting.one_component import fit_component

        return fit_component(self._da, model, name, range, **options)

    def preview(self, model: Model, dim: DimLike = None, **options: Any) -> Preview:
        """Fit the mean and a random sample, to know what a fit of the whole map will be like; see
        `xfit.fitting.preview.preview`.
        """
        from xfit.fitting.preview import preview

        return preview(self._da, model, dim, **options)

    def view(
        self,
        store: str,
        *,
        storage_options: dict[str, Any] | None = None,
        variance: xr.DataArray | float | None = None,
        response: xr.DataArray | None = None,
    ) -> Any:
        """Dashboard of a stored fit of this array, also of one that goes on: its maps fill in as chunks land.

        Parameters
        ----------
        store : str
            Path or URL of the ``store`` of a run of `multifit` or `samfire`, or a result in a zarr or netCDF file.
        storage_options : mapping, optional
            What the file system of a URL needs.
        variance, response : optional
            As for `xarray.Dataset.fit.plot`.

        Returns
        -------
        xfit.plot.dashboard.Dashboard

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no result, or if it is not one of these data.
        ImportError
            Without Panel.
        """
        try:
            from xfit.plot.dashboard import Dashboard
        except ImportError as error:
            raise ImportError(
                f"the dashboard needs Panel ({error}); install it with: pip install 'xfit[view]'"
            ) from error
        from xfit.plot.open_stored import open_fit

        result, refresh = open_fit(str(store), storage_options)
        return Dashboard(Result(result), self._da, variance=variance, response=response, refresh=refresh)

    def explore(self, model: Model, dim: DimLike = None, **options: Any) -> Any:
        """Page to choose a model's start values by eye: sliders, peaks dragged into place, fits of one spectrum or all.

        Parameters
        ----------
        model : Model
            What to fit; it stays as it is.
        dim, **options
            As in `xfit.multifit`.

        Returns
        -------
        xfit.plot.explore.Explorer
            ``.show()`` opens it, a notebook shows it; ``.model`` has the values chosen, ``.result`` the last fit of the
            map.

        Raises
        ------
        TypeError, ValueError
            As `xfit.multifit`, and for images.
        ImportError
            Without Panel.
        """
        try:
            from xfit.plot.explore import Explorer
        except ImportError as error:
            raise ImportError(f"explore() needs Panel ({error}); install it with: pip install 'xfit[view]'") from error

        return Explorer(self._da, model, dim, **options)

    def curvefit(
        self,
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
        """Fit a Python function as ``da.curvefit`` does, in compiled code; see `xfit.fitting.curvefit.curvefit`."""
        from xfit.fitting.curvefit import curvefit

        return curvefit(self._da, coords, func, reduce_dims, skipna, p0, bounds, param_names, errors, kwargs)

    def samfire(self, model: Model, dim: DimLike = None, **options: Any) -> xr.Dataset:
        """Fit a map from seeds, every pixel from its good neighbours; see `xfit.samfire.Samfire` for the options."""
        from xfit.samfire import samfire

        return samfire(self._da, model, dim, **options)

    def select(
        self,
        models: Sequence[Model] | Mapping[str, Model],
        dim: DimLike = None,
        *,
        criterion: str = "aicc",
        **options: Any,
    ) -> xr.Dataset:
        """Fit several models and keep the best of them in each pixel; see `xfit.fitting.selection.select`."""
        from xfit.fitting.selection import select

        return select(self._da, models, dim, criterion=criterion, **options)
