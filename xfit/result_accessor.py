"""The accessor `Dataset.fit`: what can be asked of a result, looked at and done with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import xarray as xr

from xfit.results.fit_result import ONE_SIGMA, FitResult

if TYPE_CHECKING:
    from xfit.fitting.planning.arguments import StartLike

# What fits is imported when it is first asked for: `import xfit` does not wait for the engine.


@xr.register_dataset_accessor("fit")
class Result(FitResult):
    """What can be asked of a result, and done with it: ``result.fit``."""

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Say that fits begin at a DataArray: a file that is opened is a Dataset.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(self._no_fit("fit"))

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(xr.DataArray.fit, name):  # type: ignore[attr-defined]
            raise AttributeError(self._no_fit(f"fit.{name}"))
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _no_fit(self, call: str) -> str:
        """What to do instead of a fit of a Dataset."""
        names = [str(name) for name, v in self._dataset.data_vars.items() if v.ndim] or ["name"]
        return (
            f"fits are of a DataArray, and this is a Dataset; take a variable of it: ds[{names[0]!r}].{call}(...)"
            + (f" (there are {names})" if len(names) > 1 else "")
        )

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
            From where the loss, minimised over all other parameters, has risen by what the level asks for; or from
            percentiles of fits to data drawn anew from the fitted model.
        level : float or sequence of float, optional
            Probability that an interval holds, by default that of one standard deviation.
        samples, seed : int, optional
            Of the bootstrap: how many fits, and by what numbers they are drawn. A pixel's numbers do not depend on the
            chunks.
        **options
            What the fit was given and a result does not hold: ``variance``, ``where``, ``bounds``, a ``loss`` of your
            own.

        Returns
        -------
        Dataset
            ``lower`` and ``upper`` over the navigation dimensions, ``param`` and, for several levels, ``level``; lazy
            for lazy data. An end is the parameter's bound where the loss does not rise so far before it, infinite where
            it never does, and NaN where the fit has not converged or a lower minimum turned up.

        Raises
        ------
        TypeError, ValueError
            For unknown parameters, levels that are no probabilities, or a loss without profile; for data with other
            labels than those that were fitted, naming the first.

        Examples
        --------
        >>> import numpy as np, xarray as xr, xfit
        >>> from xfit.components import Offset
        >>> da = xr.DataArray([4.0, 1.0, 2.0, 1.0], dims="x")
        >>> result = da.fit(xfit.Model([Offset(name="level", offset=1)]), loss="poisson")
        >>> ends = result.fit.conf_interval(da, "level.offset")  # where 2 (4 m - 8 + 8 ln(2/m)) is one
        >>> round(float(ends.lower[0]), 3), round(float(result.fit["level.offset"]), 3), round(float(ends.upper[0]), 3)
        (1.374, 2.0, 2.793)
        """
        from xfit.fitting.intervals import conf_interval

        ds = self._require()
        return conf_interval(
            ds,
            self.model,
            self.signal_dims,
            da,
            [params] if isinstance(params, str) else params,
            method=method,
            level=level,
            samples=samples,
            seed=seed,
            options=options,
        )

    def sticking_out(self) -> xr.DataArray:
        """Pixels that have failed, or whose reduced chi-squared is far above that of their neighbours, as a mask."""
        from xfit.fitting.refit import sticking_out

        return sticking_out(self._require())

    def refit(
        self,
        da: xr.DataArray,
        where: xr.DataArray | None = None,
        start: StartLike | Literal["neighbours"] = "neighbours",
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
            ``starts``, ``spread`` and ``optimizer`` of the new fits, and what the fit was given and a result does not
            hold: ``variance``, ``bounds``, a ``loss`` of your own.

        Returns
        -------
        Dataset
            A whole result, with ``refitted`` where new values are taken; ``nfev`` counts all evaluations.

        Raises
        ------
        TypeError, ValueError
            For data with other labels than those that were fitted, naming the first; where other channels are used than
            the fit used (for lazy data when the result is computed), as their losses can't be compared.

        Examples
        --------
        >>> import numpy as np, xarray as xr, xfit
        >>> from xfit.components import Gaussian
        >>> x = np.linspace(-5, 5, 50)
        >>> da = xr.DataArray(np.exp(-(x**2) / 2)[None] * [[1], [2]], dims=("pixel", "x"), coords={"x": x})
        >>> model = xfit.Model([Gaussian(name="g", centre=0.5)])
        >>> result = da.fit.multifit(model, max_nfev=2)  # too few
        >>> mended = result.fit.refit(da, start="estimate")
        >>> mended.refitted.values.tolist(), mended.status.values.tolist()
        ([True, True], [1, 1])
        """
        from xfit.fitting.refit import refit

        return refit(
            self._require(),
            self.model,
            self.signal_dims,
            da,
            where=where,
            start=start,
            channels=channels,
            options=options,
        )

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
            Variance of the data, for the band of one standard deviation; without it the band is that of the counts
            which a Poisson loss expects, or of the residuals themselves.
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

        Colours span 98 % of the good pixels, about a middle for velocities, shifts and places. What was not fitted is
        grey.

        Parameters
        ----------
        params : sequence of str, optional
            Parameters, derived quantities, or variables of the result such as ``"red_chisq"`` and ``"status"``; by
            default all parameters that were fitted.
        poor : {"hatch", "mask", "show"}
            What is done with pixels that have not converged.
        limits : mapping, optional
            Lowest and highest value of maps, by name.
        columns : int
            Maps beside each other.
        figure : matplotlib.figure.Figure, optional
            An empty one to draw in; by default a new one.
        **indexers
            Positions along dimensions that are not shown. Of three dimensions, slices along the first are shown beside
            each other; of one, lines with errors.

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
        >>> result = da.fit.multifit(xfit.Model([Gaussian(name="g", centre=0.5)]))
        >>> figure = result.fit.maps(["g.centre", "g.fwhm"])
        >>> figure.savefig("maps.png")  # doctest: +SKIP
        """
        from xfit.plot.maps import draw_maps

        return draw_maps(self, params, poor=poor, limits=limits, columns=columns, figure=figure, indexers=indexers)

    @property
    def hv(self) -> Any:
        """HoloViews objects: ``hv.maps()``, ``hv.map(name)``, ``hv.spectrum(da,
        source)``; see `xfit.plot.views.Views`.
        """
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

        ``.show()`` opens it in a browser, ``.servable()`` serves it, ``.save(path)`` writes what is seen; a notebook
        shows it.

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

        Pixels that have not converged are left out. The correlation is that of the values over the map; that of the
        errors in a pixel is `correlation`.

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
