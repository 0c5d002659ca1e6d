"""What can be asked of the result of a fit: maps of parameters, curves, residuals, statistics, reports."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from xfit._version import __version__
from xfit.arrays.alignment import at_labels_of
from xfit.arrays.matching import check_fitted_coordinates, check_fitted_dims, check_variance, check_where
from xfit.modeling.derived import derived_error, derived_map, derived_names
from xfit.modeling.model import Model
from xfit.modeling.response import is_unknown
from xfit.modeling.text_limits import json_of, shown
from xfit.results import overview, report
from xfit.results.assembly import SCHEMA_VERSION
from xfit.results.component_digests import restore
from xfit.results.curves import model_curves

#: The probability of one standard deviation of a normal distribution.
ONE_SIGMA = 0.6826894921370859

#: Attributes that are JSON: of what kind, and of what kind their entries.
_WORDS: dict[str, tuple[type, type | tuple[type, ...]]] = {
    "xfit_signal_dims": (list, str),
    "xfit_coordinates": (dict, (str, list)),
    "xfit_derived_units": (dict, str),
    "xfit_digests": (dict, (str, dict)),
}


def _check_words(attrs: Mapping[Any, Any]) -> None:
    """Refuse attributes of a result, which may come from a file, that are not what a fit writes.

    Raises
    ------
    ValueError
        Naming the attribute.
    """
    for name, (kind, entry) in _WORDS.items():
        if not (text := attrs.get(name)):
            continue
        try:
            found: Any = json_of(text)
        except ValueError as error:
            raise ValueError(f"the attribute {name!r} of the result is damaged: {error}") from None
        keys = set(found) if isinstance(found, dict) else set()
        entries = found.values() if isinstance(found, dict) else found
        if not isinstance(found, kind) or not all(isinstance(each, entry) for each in entries):
            raise ValueError(
                f"the attribute {name!r} of the result is damaged: it must be a {kind.__name__}, not {shown(found)}"
            )
        if name == "xfit_digests" and {"python", "digests"} - keys:
            raise ValueError(f"the attribute {name!r} of the result is damaged: it must have 'python' and 'digests'")


class FitResult:
    """What can be asked of a result: ``result.fit``.

    Everything is computed when asked and lazily for lazy results; curves are never stored.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset
        self._model: Model | None = None

    def _require(self) -> xr.Dataset:
        ds = self._dataset
        if "xfit_model" not in ds.attrs or "value" not in ds:
            raise ValueError(
                "this Dataset is no result of a fit: it has no attribute 'xfit_model' or no variable 'value'"
            )
        if int(ds.attrs["xfit_schema"]) > SCHEMA_VERSION:
            raise ValueError(
                f"the result has schema version {ds.attrs['xfit_schema']}, this xfit ({__version__}) reads up to "
                f"{SCHEMA_VERSION}; update xfit"
            )
        _check_words(ds.attrs)
        return ds

    @property
    def dataset(self) -> xr.Dataset:
        """The result itself; a Dataset that is none is refused with a ValueError."""
        return self._require()

    def __repr__(self) -> str:
        return self._described(overview.overview_text, overview.no_result_text)

    def _repr_html_(self) -> str:
        return self._described(overview.overview_html, overview.no_result_html)

    def _described(
        self, describe: Callable[[xr.Dataset, Model | Exception], str], refuse: Callable[[Exception], str]
    ) -> str:
        """Describe the result, whatever can't be told of it."""
        try:
            ds = self._require()
        except KeyError as missing:
            return refuse(ValueError(f"the result has no attribute {missing}"))
        except ValueError as reason:
            return refuse(reason)
        model: Model | Exception
        try:
            model = self.model
        except Exception as reason:
            # Such as a component whose module is not imported; everything else can still be told.
            model = reason
        return describe(ds, model)

    @property
    def model(self) -> Model:
        """The fitted model, as it was described before the fit.

        Raises
        ------
        ValueError
            For a component of the user's own that is not defined here, or whose function or formula is another one than
            was fitted.
        """
        if self._model is None:
            attrs = self._require().attrs
            model = Model.from_json(attrs["xfit_model"])
            restore(model, attrs.get("xfit_digests"))
            self._model = model
        return self._model.copy()

    @property
    def signal_dims(self) -> tuple[str, ...]:
        """Names of the signal dimensions."""
        return tuple(json_of(self._require().attrs["xfit_signal_dims"]))

    @property
    def navigation_dims(self) -> tuple[Hashable, ...]:
        """Names of the navigation dimensions."""
        return tuple(d for d in self._require()["value"].dims if d != "param")

    @property
    def params(self) -> xr.Dataset:
        """A Dataset with one variable per parameter."""
        names = [str(name) for name in self._require()["param"].values]
        return xr.Dataset({name: self[name] for name in names})

    def __getitem__(self, name: str) -> xr.DataArray:
        """Map of one parameter or derived quantity, with its units and a long name.

        Parameters
        ----------
        name : str
            Full name, such as ``"Fe.centre"`` or, of a quantity that follows from parameters, ``"Fe.fwhm"``.

        Raises
        ------
        KeyError
            Where there is no such parameter or quantity; lists those that there are.

        Examples
        --------
        >>> import numpy as np, xarray as xr, xfit
        >>> from xfit.components import Gaussian
        >>> x = np.linspace(-5, 5, 50)
        >>> da = xr.DataArray(np.exp(-(x**2) / 2)[None] * [[1], [2]], dims=("pixel", "x"), coords={"x": x})
        >>> result = da.fit.multifit(xfit.Model([Gaussian(name="g", centre=0.5)]))
        >>> result.fit["g.fwhm"].values.round(4)  # twice the square root of 2 ln 2
        array([2.3548, 2.3548])
        """
        return self._map("value", name, "{component} {parameter}")

    def stderr(self, name: str) -> xr.DataArray:
        """Map of the standard error of one parameter or derived quantity.

        Examples
        --------
        >>> import numpy as np, xarray as xr, xfit
        >>> from xfit.components import Gaussian
        >>> x = np.linspace(-5, 5, 50)
        >>> da = xr.DataArray(np.exp(-(x**2) / 2)[None] * [[1], [2]], dims=("pixel", "x"), coords={"x": x})
        >>> noisy = da + 0.01 * np.random.default_rng(0).normal(size=da.shape)
        >>> result = noisy.fit.multifit(xfit.Model([Gaussian(name="g", centre=0.5)]))
        >>> result.fit.stderr("g.centre").dims
        ('pixel',)
        """
        return self._map("stderr", name, "standard error of {component} {parameter}")

    def _map(self, variable: str, name: str, long_name: str) -> xr.DataArray:
        ds = self._require()
        known = [str(value) for value in ds["param"].values]
        component, _, quantity = name.rpartition(".")
        if name not in known:
            derived = list(derived_names(self.model))
            if name not in derived:
                raise KeyError(f"no parameter {name!r}; the result has {known} and, from these, {derived}")
            array = (derived_map if variable == "value" else derived_error)(ds, self.model, name).rename(name)
            units = json_of(ds.attrs.get("xfit_derived_units", "{}")).get(name, "")
            array.attrs = {"long_name": long_name.format(component=component, parameter=quantity), "units": units}
            return array
        array = ds[variable].isel(param=known.index(name))
        words = {key: str(array.coords[key].values) for key in ("component", "parameter", "units")}
        array = array.drop_vars(["param", "component", "parameter", "units", "free"]).rename(name)
        array = array.drop_vars([c for c in array.coords if set(array.coords[c].dims) - set(array.dims)])
        array.attrs = {"long_name": long_name.format(**words), "units": words["units"]}
        return array

    def evaluate(self, components: list[str] | None = None, *, response: xr.DataArray | None = None) -> xr.DataArray:
        """Model curve of every pixel.

        Parameters
        ----------
        components : list of str, optional
            Names of the components to add up; all by default.
        response : DataArray, optional
            What components are convolved with, if it varies over the map: such a response is not stored with the
            result; by default that of the model.

        Returns
        -------
        DataArray
            Over navigation and signal dimensions; lazy if the result is. NaN where nothing was fitted.

        Examples
        --------
        >>> import numpy as np, xarray as xr, xfit
        >>> from xfit.components import Gaussian
        >>> x = np.linspace(-5, 5, 50)
        >>> da = xr.DataArray(np.exp(-(x**2) / 2)[None] * [[1], [2]], dims=("pixel", "x"), coords={"x": x})
        >>> result = da.fit.multifit(xfit.Model([Gaussian(name="g", centre=0.5)]))
        >>> bool(np.allclose(result.fit.evaluate(), da))
        True
        """
        model = self.model
        if response is not None:
            if not is_unknown(model.response):
                how = "without a response" if model.response is None else "with a response that is stored with it"
                raise ValueError(f"response is for fits whose response varies over the map; this one was made {how}")
            model.response = response
        return model_curves(self._require(), model, self.signal_dims, components)

    def components(self, *, response: xr.DataArray | None = None) -> xr.Dataset:
        """Curve of every component of every pixel: one variable each; see `evaluate`."""
        names = [component.name for component in self.model]
        return xr.Dataset({name: self.evaluate([name], response=response) for name in names})

    def residual(self, da: xr.DataArray, *, response: xr.DataArray | None = None) -> xr.DataArray:
        """Data minus model; see `evaluate`.

        Parameters
        ----------
        da : DataArray
            The data that were fitted, or a part of them: the model is taken at the very labels of these, in their
            order.
        response : DataArray, optional
            As for `evaluate`.

        Raises
        ------
        TypeError, ValueError
            For data with labels that the result has not, naming the first; for other dimensions.

        Examples
        --------
        >>> import numpy as np, xarray as xr, xfit
        >>> from xfit.components import Gaussian
        >>> x = np.linspace(-5, 5, 50)
        >>> da = xr.DataArray(np.exp(-(x**2) / 2)[None] * [[1], [2]], dims=("pixel", "x"), coords={"x": x})
        >>> result = da.fit.multifit(xfit.Model([Gaussian(name="g", centre=0.5)]))
        >>> float(abs(result.fit.residual(da)).max()) < 1e-9
        True
        """
        ds = self._require()
        check_fitted_dims(ds, self.signal_dims, da)
        curve = at_labels_of(self.evaluate(response=response), da, "da", "the result has")
        coordinates = dict.fromkeys(name for component in self.model for name in component.kernel.coordinates)
        check_fitted_coordinates(curve, self.signal_dims, da, tuple(coordinates))
        return (da - curve).transpose(*da.dims).rename("residual").assign_attrs(long_name="data - model")

    def statistics(
        self,
        da: xr.DataArray,
        variance: xr.DataArray | float | None = None,
        where: xr.DataArray | None = None,
        *,
        response: xr.DataArray | None = None,
    ) -> xr.Dataset:
        """Goodness of fit against data, for instance over a part of the channels.

        Parameters
        ----------
        da : DataArray
            The data that were fitted, or a part of them; as for `residual`.
        variance : float or DataArray, optional
            Variance of these data.
        where : boolean DataArray, optional
            Channels and pixels of these data to count.
        response : DataArray, optional
            As for `evaluate`.

        Returns
        -------
        Dataset
            ``chisq``, ``red_chisq`` and ``dof`` over the navigation dimensions.

        Raises
        ------
        TypeError, ValueError
            For data, a variance or a mask with other labels than they belong to, naming the first.
        """
        ds = self._require()
        square = self.residual(da, response=response) ** 2
        checked, where = check_variance(variance, da), check_where(where, da)
        square = square / (1.0 if checked is None else checked)
        square = square.where(np.isfinite(square))
        if where is not None:
            square = square.where(where)
        dims = [d for d in self.signal_dims if d in square.dims]
        used = square.notnull().sum(dims)
        dof = (used - report.number_fitted(ds, self.model)).rename("dof")
        chisq = square.sum(dims, min_count=1)
        return xr.Dataset({"chisq": chisq, "red_chisq": (chisq / dof).where(dof > 0), "dof": dof})

    def correlation(self) -> xr.DataArray:
        """Correlations of the parameters, over the navigation dimensions, ``param`` and ``param_``.

        Raises
        ------
        ValueError
            Where the fit was made without ``covariance=True``.
        """
        ds = self._require()
        if "covariance" not in ds:
            raise ValueError("the result has no covariance; fit with covariance=True")
        found = report.correlation_of(ds["covariance"])
        return found.rename("correlation").assign_attrs(long_name="correlation of the parameters", units="")

    def table(self, **indexers: Any) -> str:
        """Values, errors and bounds of one pixel as text; notebooks show a table.

        Parameters
        ----------
        **indexers
            Position along each navigation dimension, by label (or number where there are no labels).
        """
        pixel = report.pixel_of(self._require(), self.navigation_dims, indexers)
        return report.pixel_table(pixel, self.model, indexers)

    def report(self, *, min_correlation: float = 0.1, **indexers: Any) -> str:
        """How the fit went, as text; notebooks show tables.

        Of a map: statuses, goodness of fit, and the spread of every parameter. Of one pixel: goodness of fit, values
        with errors, derived quantities, correlations, and warnings.

        Parameters
        ----------
        min_correlation : float, optional
            Of one pixel: correlations of a smaller size are left out.
        **indexers
            Position along each navigation dimension, for the report of one pixel.
        """
        ds = self._require()
        if self.navigation_dims and not indexers:
            return report.summary(ds, self.model)
        if not 0 <= min_correlation <= 1:
            raise ValueError(f"min_correlation={min_correlation!r} must lie between 0 and 1")
        pixel = report.pixel_of(ds, self.navigation_dims, indexers)
        return report.pixel_report(pixel, self.model, indexers, min_correlation)
