"""The accessors: `DataArray.fit` fits, `Dataset.fit` answers questions about a result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xarray as xr

from xfit.curvefit import curvefit
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

        Examples
        --------
        >>> import numpy as np, xarray as xr, xfit
        >>> from xfit.components import Offset
        >>> da = xr.DataArray([4.0, 1.0, 2.0, 1.0], dims="x")
        >>> fit = da.fit(xfit.Model([Offset(name="level", offset=1)]), loss="poisson")
        >>> ends = fit.fit.conf_interval(da, "level.offset")  # where 2 (4 m - 8 + 8 ln(2/m)) is one
        >>> round(float(ends.lower[0]), 3), round(float(fit.fit["level.offset"]), 3), round(float(ends.upper[0]), 3)
        (1.374, 2.0, 2.793)
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

        Examples
        --------
        >>> import numpy as np, xarray as xr, xfit
        >>> from xfit.components import Gaussian
        >>> x = np.linspace(-5, 5, 50)
        >>> da = xr.DataArray(np.exp(-(x**2) / 2)[None] * [[1], [2]], dims=("pixel", "x"), coords={"x": x})
        >>> model = xfit.Model([Gaussian(name="g", centre=0.5)])
        >>> fit = da.fit.multifit(model, max_nfev=2)  # too few
        >>> mended = fit.fit.refit(da, start="estimate")
        >>> mended.refitted.values.tolist(), mended.status.values.tolist()
        ([True, True], [1, 1])
        """
        return refit(
            self._require(), self.model, self.signal_dims, da, where=where, start=start, channels=channels, options=options
        )  # fmt: skip

    def plot(
        self,
        da: xr.DataArray,
        *,
        variance: xr.DataArray | float | None = None,
        components: bool = True,
        residual: bool = True,
        table: bool = True,
        response: xr.DataArray | None = None,
        figure: Any = None,
        **indexers: Any,
    ) -> Any:
        """Figure of one pixel: data, fit, components, residual and parameters; of images data, fit and residual.

        Parameters
        ----------
        da : DataArray
            The data that were fitted.
        variance : float or DataArray, optional
            Variance of the data, for the band of one standard deviation; without it the band is that of the counts which a Poisson loss
            expects, or of the residuals themselves.
        components, residual, table : bool
            What is shown besides data and fit.
        response : DataArray, optional
            As for `evaluate`.
        figure : matplotlib.figure.Figure, optional
            An empty one to draw in; by default a new one.
        **indexers
            Position along each navigation dimension, by label (or number where there are no labels).

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        TypeError, ValueError
            For data that were not fitted, and for missing or unknown positions.
        ImportError
            Without matplotlib.
        """
        from xfit.plot.pixel import view_of
        from xfit.plot.spectrum import draw_pixel

        view = view_of(self, da, indexers, variance, response)
        return draw_pixel(view, components=components, residual=residual, table=table, figure=figure)

    def maps(
        self,
        params: Sequence[str] | str | None = None,
        *,
        poor: str = "hatch",
        limits: Mapping[str, tuple[float, float]] | None = None,
        columns: int = 3,
        figure: Any = None,
        **indexers: Any,
    ) -> Any:
        """Figure with maps of parameters.

        Colours span 98 % of the good pixels, about a middle for velocities, shifts and places. What was not fitted is grey.

        Parameters
        ----------
        params : sequence of str, optional
            Parameters, derived quantities, or variables of the result such as ``"red_chisq"`` and ``"status"``; by default all
            parameters that were fitted.
        poor : {"hatch", "mask", "show"}
            What is done with pixels that have not converged.
        limits : mapping, optional
            Lowest and highest value of maps, by name.
        columns : int
            Maps beside each other.
        figure : matplotlib.figure.Figure, optional
            An empty one to draw in; by default a new one.
        **indexers
            Positions along dimensions that are not shown. Of three dimensions, slices along the first are shown beside each other; of
            one, lines with errors.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        KeyError, ValueError
            For unknown names and dimensions.
        ImportError
            Without matplotlib.

        Examples
        --------
        >>> import numpy as np, xarray as xr, xfit
        >>> from xfit.components import Gaussian
        >>> x = np.linspace(-5, 5, 50)
        >>> da = xr.DataArray(np.exp(-(x**2) / 2)[None] * [[1], [2]], dims=("pixel", "x"), coords={"x": x})
        >>> fit = da.fit.multifit(xfit.Model([Gaussian(name="g", centre=0.5)]))
        >>> figure = fit.fit.maps(["g.centre", "g.fwhm"])
        >>> figure.savefig("maps.png")  # doctest: +SKIP
        """
        from xfit.plot.maps import draw_maps

        return draw_maps(
            self, params, poor=poor, limits=limits, columns=columns, figure=figure, indexers=indexers
        )  # fmt: skip

    @property
    def hv(self) -> Any:
        """HoloViews objects: ``hv.maps()``, ``hv.map(name)``, ``hv.spectrum(da, source)``; see `xfit.plot.views.Views`."""
        from xfit.plot.views import Views

        return Views(self)

    def dashboard(
        self,
        da: xr.DataArray,
        *,
        variance: xr.DataArray | float | None = None,
        response: xr.DataArray | None = None,
    ) -> Any:
        """Page with maps, the spectrum or image of the pixel that is clicked, distributions and the worst pixels.

        ``.show()`` opens it in a browser, ``.servable()`` serves it, ``.save(path)`` writes what is seen; a notebook shows it.

        Parameters
        ----------
        da : DataArray
            The data that were fitted; of lazy ones a click reads one chunk, which is kept.
        variance, response : optional
            As for `plot`.

        Returns
        -------
        xfit.plot.dashboard.Dashboard

        Raises
        ------
        TypeError, ValueError
            For data that were not fitted, and for results of a single spectrum or image.
        ImportError
            Without Panel.
        """
        try:
            from xfit.plot.dashboard import Dashboard
        except ImportError as error:
            raise ImportError(
                f"the dashboard needs Panel ({error}); install it with: pip install 'xfit[view]'"
            ) from error

        return Dashboard(self, da, variance=variance, response=response)

    def corner(self, params: Sequence[str] | str | None = None, *, bins: int = 40, figure: Any = None) -> Any:
        """Figure of the distributions of parameters over the map, and of each pair of them with its correlation.

        Pixels that have not converged are left out. The correlation is that of the values over the map; that of the errors in a pixel
        is `correlation`.

        Parameters
        ----------
        params : sequence of str, optional
            As for `maps`.
        bins : int
            Of the histograms.
        figure : matplotlib.figure.Figure, optional
            An empty one to draw in; by default a new one.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        KeyError, ValueError
            For unknown names, and where no pixel has converged.
        ImportError
            Without matplotlib.
        """
        from xfit.plot.corner import draw_corner

        return draw_corner(self, params, bins=bins, figure=figure)


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

        Examples
        --------
        >>> import numpy as np, xarray as xr, xfit
        >>> from xfit.components import Gaussian
        >>> x = np.linspace(-5, 5, 50)
        >>> da = xr.DataArray(np.exp(-(x**2) / 2)[None] * [[1], [2]], dims=("pixel", "x"), coords={"x": x})
        >>> fit = da[1].fit(xfit.Model([Gaussian(name="g", centre=0.5)]))
        >>> round(float(fit.fit["g.height"]), 6)
        2.0
        """
        if dim is None and self._da.ndim != getattr(model, "signal_dimension", self._da.ndim):
            raise ValueError(
                f"da.fit(model) fits one spectrum or image; the data have dimensions {list(self._da.dims)} and the model is "
                f"{model.signal_dimension}-D. Select one pixel, or fit them all with da.fit.multifit(model)"
            )
        return multifit(self._da, model, dim, **options)

    def multifit(self, model: Model, dim: Any = None, **options: Any) -> xr.Dataset:
        """Fit a model to every spectrum or image of the array; see `xfit.multifit` for the options.

        Examples
        --------
        >>> import numpy as np, xarray as xr, xfit
        >>> from xfit.components import Gaussian
        >>> x = np.linspace(-5, 5, 50)
        >>> da = xr.DataArray(np.exp(-(x**2) / 2)[None] * [[1], [2]], dims=("pixel", "x"), coords={"x": x})
        >>> fit = da.chunk(pixel=1).fit.multifit(xfit.Model([Gaussian(name="g", centre=0.5)]))  # lazy
        >>> fit.compute().fit["g.height"].values.round(6)
        array([1., 2.])
        """
        return multifit(self._da, model, dim, **options)

    def preview(self, model: Model, dim: Any = None, **options: Any) -> Preview:
        """Fit the mean and a random sample, to know what a fit of the whole map will be like; see `xfit.preview.preview`."""
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
        from xfit.plot.opening import open_fit

        result, refresh = open_fit(str(store), storage_options)
        return Dashboard(Result(result), self._da, variance=variance, response=response, refresh=refresh)

    def explore(self, model: Model, dim: Any = None, **options: Any) -> Any:
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
            ``.show()`` opens it, a notebook shows it; ``.model`` has the values chosen, ``.result`` the last fit of the map.

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
        """Fit a Python function as ``da.curvefit`` does, in compiled code; see `xfit.curvefit.curvefit`."""
        return curvefit(self._da, coords, func, reduce_dims, skipna, p0, bounds, param_names, errors, kwargs)

    def samfire(self, model: Model, dim: Any = None, **options: Any) -> xr.Dataset:
        """Fit a map from seeds, every pixel from its good neighbours; see `xfit.samfire.Samfire` for the options."""
        # Not at the top: it would make `import xfit` wait for what schedules work.
        from xfit.samfire import samfire

        return samfire(self._da, model, dim, **options)

    def select(self, models: Any, dim: Any = None, *, criterion: str = "aicc", **options: Any) -> xr.Dataset:
        """Fit several models and keep the best of them in each pixel; see `xfit.selection.select`."""
        return select(self._da, models, dim, criterion=criterion, **options)
