"""Models compared pixel by pixel: the best of several, and tests of nested ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy
import xarray as xr

from xfit.arrays.alignment import check_same_labels, check_scalars
from xfit.engine.block.function_errors import ATTRIBUTE
from xfit.engine.pixel.scalars import CRITERIA
from xfit.engine.pixel.status import CONVERGED
from xfit.fitting.multifit import multifit
from xfit.fitting.planning.arguments import DimLike
from xfit.fitting.planning.checks import check_model
from xfit.modeling.derived import label_of, pairs_of
from xfit.modeling.model import Model
from xfit.modeling.text_limits import json_of
from xfit.results.component_digests import as_text


def select(
    da: xr.DataArray,
    models: Sequence[Model] | Mapping[str, Model],
    dim: DimLike = None,
    *,
    criterion: str = "aicc",
    **options: Any,
) -> xr.Dataset:
    """Fit several models and keep, in each pixel, the one that an information criterion prefers.

    Parameters
    ----------
    da : DataArray
        The data.
    models : sequence of Model, or mapping of str to Model
        The candidates. Components of one name must be of one kind.
    dim : optional
        Signal dimension(s), as for `xfit.multifit`.
    criterion : {"aicc", "aic", "bic"}, optional
        Which is to be lowest.
    **options
        As for `xfit.multifit`; start values and the like apply to those models that have the parameters.

    Returns
    -------
    Dataset
        A result like that of a fit, of the model with all components; parameters that the chosen model lacks are NaN.
        Also ``selected``, the number of the chosen model (-1 where none converged; the values are then those of the
        first), and ``criterion`` over ``candidate``.

    Raises
    ------
    TypeError, ValueError
        For what can't be compared, before any work starts.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xfit
    >>> from xfit.components import Gaussian, Offset
    >>> x = np.linspace(-5, 5, 60)
    >>> counts = np.random.default_rng(0).poisson(5 + np.array([[0], [30]]) * np.exp(-(x**2) / 2))
    >>> da = xr.DataArray(counts, dims=("pixel", "x"), coords={"x": x})
    >>> plain = xfit.Model([Offset(name="level", offset=5)])
    >>> peaked = xfit.Model([Offset(name="level", offset=5), Gaussian(name="g", A=50)])
    >>> da.fit.select([plain, peaked], criterion="bic", loss="poisson").selected.values.tolist()
    [0, 1]
    """
    named = _named(models)
    if criterion not in CRITERIA:
        raise ValueError(f"criterion={criterion!r} must be one of: {', '.join(CRITERIA)}")
    union = _union(list(named.values()))
    fits = [multifit(da, model, dim, **_for_model(options, model)) for model in named.values()]
    if criterion not in fits[0]:
        raise ValueError(
            f"loss {options.get('loss')!r} is no likelihood, so that models can't be compared by "
            f"criterion={criterion!r}"
        )
    ranks = xr.concat([fit[criterion].where(fit["status"] == CONVERGED) for fit in fits], "candidate")
    ranks = ranks.chunk(candidate=-1) if ranks.chunks is not None else ranks
    best = ranks.fillna(np.inf).argmin("candidate")
    selected = best.where(ranks.notnull().any("candidate"), -1).astype(np.int8)
    result = _choose(fits, best, union)
    names = [" ".join(name.split()) for name in named]
    result["selected"] = selected.assign_attrs(
        long_name="which model was chosen",
        flag_values=np.arange(-1, len(names), dtype=np.int8),
        flag_meanings=" ".join(["none", *(name.replace(" ", "_") for name in names)]),
    )
    result["criterion"] = ranks.assign_attrs(long_name=criterion).assign_coords(
        candidate=("candidate", np.array(names, object))
    )
    units: dict[str, str] = {}
    digests: dict[str, str] = {}
    for fit in fits:
        units |= json_of(fit.attrs["xfit_derived_units"])
        digests |= json_of(fit.attrs.get("xfit_digests", "{}")).get("digests", {})
    errors = dict.fromkeys(fit.attrs[ATTRIBUTE] for fit in fits if ATTRIBUTE in fit.attrs)
    if errors:
        result.attrs[ATTRIBUTE] = "; ".join(errors)
    if digests:
        result.attrs["xfit_digests"] = as_text(digests)
    result.attrs |= {
        "xfit_model": union.to_json(),
        "xfit_criterion": criterion,
        "xfit_derived_units": json.dumps(units, ensure_ascii=False),
    }
    return result


def _named(models: Any) -> dict[str, Model]:
    """Candidates by name."""
    if isinstance(models, Model) or not isinstance(models, Mapping | Sequence):
        raise TypeError(f"models must be a list of models or a mapping of names to them, not {type(models).__name__}")
    pairs = (
        models.items()
        if isinstance(models, Mapping)
        else ((m.name if isinstance(m, Model) else None, m) for m in models)
    )
    named: dict[str, Model] = {}
    for k, (name, model) in enumerate(pairs):
        check_model(model)
        label = str(name) if name and str(name) not in named else f"model_{k}"
        # All of them as they are now, whatever is changed while the first ones are fitted.
        named[label] = model.copy()
    if len(named) < 2:
        raise ValueError(f"models has {len(named)} model(s); there is nothing to choose between")
    return named


def _union(models: list[Model]) -> Model:
    """Model with the components of all."""
    data = models[0].to_dict()
    kinds = {component.name: component.kernel for component in models[0]}
    for model in models[1:]:
        if (model.response is None) != (models[0].response is None):
            raise ValueError("models must have the same response, or none of them any")
        for component, plain in zip(model, model.to_dict()["components"], strict=True):
            if component.name not in kinds:
                kinds[component.name] = component.kernel
                data["components"].append(plain)
            elif kinds[component.name] != component.kernel:
                raise ValueError(
                    f"the models have different components called {component.name!r}; give them different names"
                )
    return Model.from_dict(data)


def _for_model(options: Mapping[str, Any], model: Model) -> dict[str, Any]:
    """Options with what is about parameters and components that a model has."""
    parameters = {p.full_name for component in model for p in component.parameters}
    components = {component.name for component in model}
    found = dict(options)
    for key, names in (
        ("start", parameters | components),
        ("bounds", parameters),
        ("spread", parameters),
        ("active", components),
    ):
        value = found.get(key)
        if isinstance(value, Mapping) and not isinstance(value, xr.Dataset):
            found[key] = {name: each for name, each in value.items() if name in names} or None
    return found


def _choose(fits: list[xr.Dataset], best: xr.DataArray, union: Model) -> xr.Dataset:
    """Put together the rows of the chosen fits."""
    names = [p.full_name for component in union for p in component.parameters]
    pairs = [label_of(pair) for pair in pairs_of(union)]
    parts = [_with_parameters(fit, names, pairs) for fit in fits]
    shared = [name for name in parts[0].data_vars if all(name in part for part in parts)]
    result = parts[0].drop_vars([name for name in parts[0].data_vars if name not in shared])
    for k, part in enumerate(parts[1:], start=1):
        for name in shared:
            chosen = xr.where(best == k, part[name], result[name], keep_attrs=False)
            dtype, attrs = parts[0][name].dtype, parts[0][name].attrs
            result[name] = chosen.astype(dtype).transpose(*result[name].dims).assign_attrs(attrs)
    return result.assign_coords(_coordinates(fits, union, names))


def _with_parameters(fit: xr.Dataset, names: list[str], pairs: list[str]) -> xr.Dataset:
    """A result with further parameters, which are NaN, and the covariances of further pairs of them."""
    labels = {"param": names, "param_": names, "pair": pairs}
    kept = fit.drop_vars(["component", "parameter", "units", "free"])
    if "pair" not in fit.dims and "covariance" not in fit and pairs:
        empty = xr.full_like(fit["chisq"], np.nan).expand_dims(pair=0, axis=-1)
        kept = kept.assign(pair_covariance=empty).assign_coords(pair=("pair", np.array([], object)))
    wide = {}
    for name, variable in kept.data_vars.items():
        indexers = {d: np.array(each, object) for d, each in labels.items() if d in variable.dims}
        fill = 0 if variable.dtype.kind == "i" else np.nan
        wide[name] = variable.reindex(indexers, fill_value=fill).transpose(*variable.dims) if indexers else variable
    return kept.drop_vars([*kept.data_vars, *(d for d in labels if d in kept.coords)]).assign(wide)


def _coordinates(fits: list[xr.Dataset], union: Model, names: list[str]) -> dict[str, Any]:
    """Coordinates along the parameters of all models."""
    units: dict[str, str] = {}
    free: dict[str, bool] = {}
    for fit in fits:
        for name, unit, fitted in zip(fit["param"].values, fit["units"].values, fit["free"].values, strict=True):
            units.setdefault(str(name), str(unit))
            free[str(name)] = free.get(str(name), False) or bool(fitted)
    split = [(component.name, p.name) for component in union for p in component.parameters]
    return {
        "param": ("param", np.array(names, object)),
        "component": ("param", np.array([c for c, _ in split], object)),
        "parameter": ("param", np.array([p for _, p in split], object)),
        "units": ("param", np.array([units[name] for name in names], object)),
        "free": ("param", np.array([free[name] for name in names])),
    }


def compare_nested(simple: xr.Dataset, full: xr.Dataset) -> xr.Dataset:
    """Test whether a model with more parameters fits better than chance would let it.

    Parameters
    ----------
    simple, full : Dataset
        Results of two fits of the same data in the same way; the first model is the second one with some parameters
        fixed or components left out.

    Returns
    -------
    Dataset
        ``statistic`` and ``p_value`` over the navigation dimensions, NaN where one of them has not converged. Where
        errors are scaled by chi-squared this is the F-test, otherwise the likelihood-ratio test (Wilks, Ann. Math.
        Statist. 9, 60 (1938), doi:10.1214/aoms/1177732360).

    Raises
    ------
    ValueError
        For results that were made in different ways or of other pixels or channels, or that are no pair of a simpler
        and a fuller model.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xfit
    >>> from xfit.components import Offset, Polynomial
    >>> x = np.arange(20.0)
    >>> da = xr.DataArray(2 + 0.5 * x + np.random.default_rng(0).normal(size=20), dims="x", coords={"x": x})
    >>> constant, line = (da.fit(xfit.Model([c])) for c in (Offset(), Polynomial(1)))
    >>> float(xfit.compare_nested(constant, line).p_value) < 1e-6
    True
    """
    for key in ("xfit_loss", "xfit_scale_covariance", "xfit_binned"):
        if simple.attrs.get(key) != full.attrs.get(key):
            raise ValueError(
                f"the fits differ in {key.removeprefix('xfit_')}: {simple.attrs.get(key)!r} and {full.attrs.get(key)!r}"
            )
    if "aic" not in full:
        raise ValueError(f"loss {full.attrs.get('xfit_loss')!r} is no likelihood, so that there is no such test")
    one, other = set(simple["status"].dims), set(full["status"].dims)
    if one != other:
        raise ValueError(
            f"the fits are over different dimensions: {sorted(map(str, one))} and {sorted(map(str, other))}"
        )
    signal = [d for d in json_of(simple.attrs.get("xfit_signal_dims", "[]")) if d in simple.coords and d in full.coords]
    dims = [*simple["status"].dims, *signal]
    check_same_labels(full, "full", simple, dims, "simple has", "compare fits of the same pixels and channels")
    check_scalars(full["status"], "full", simple, "simple has")
    further = simple["dof"] - full["dof"]
    if further.chunks is None and not bool((further > 0).any()):
        raise ValueError("the second model has no more free parameters than the first; give the simpler one first")
    both = (simple["status"] == CONVERGED) & (full["status"] == CONVERGED) & (further > 0)
    gain = (simple["loss"] - full["loss"]).clip(min=0.0)
    scaled = bool(full.attrs["xfit_scale_covariance"])
    if scaled:
        statistic = (gain / further) / (full["loss"] / full["dof"])
        p_value = xr.apply_ufunc(scipy.special.fdtrc, further, full["dof"], statistic, dask="parallelized")
    else:
        statistic = gain
        p_value = xr.apply_ufunc(scipy.special.chdtrc, further, statistic, dask="parallelized")
    test = "F-test" if scaled else "likelihood-ratio test"
    return xr.Dataset(
        {
            "statistic": statistic.where(both).assign_attrs(long_name=test),
            "p_value": p_value.where(both).assign_attrs(long_name="probability of a gain this large by chance"),
        },
        attrs={"test": test},
    )
