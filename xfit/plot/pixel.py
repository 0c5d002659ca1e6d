"""What there is to see of one pixel: data, model, components, residual, and the width of the noise."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.alignment import check_same_labels, check_scalars, difference
from xfit.arrays.matching import check_fitted_coordinates
from xfit.engine.codegen.program import Program
from xfit.engine.pixel.status import DESCRIPTIONS
from xfit.results import report
from xfit.results.fit_result import FitResult


@dataclass(frozen=True)
class PixelView:
    """One pixel, computed.

    Attributes
    ----------
    fit : Dataset
        Its result, without navigation dimensions.
    data, model, residual : DataArray
        Over the signal dimensions; the model is NaN where nothing was fitted.
    components : Dataset
        Curves of the components.
    sigma : DataArray
        One standard deviation of the noise, over the signal dimensions: of the variance if there is one, of the counts
        that a Poisson loss expects, else the root of the mean squared residual.
    noise : str
        Which of these.
    title : str
        Place, how the fit ended, and how good it is.
    """

    fit: xr.Dataset
    data: xr.DataArray
    model: xr.DataArray
    residual: xr.DataArray
    components: xr.Dataset
    sigma: xr.DataArray
    noise: str
    title: str


def view_of(
    result: FitResult,
    da: xr.DataArray,
    indexers: Mapping[str, Any],
    variance: xr.DataArray | float | None = None,
    response: xr.DataArray | None = None,
) -> PixelView:
    """Look at one pixel; of lazy data and results, only its chunk is read.

    Parameters
    ----------
    da : DataArray
        The data that were fitted.
    indexers : mapping
        Label (or number, where a dimension has no labels) along each navigation dimension.
    variance : float or DataArray, optional
        Variance of the data.
    response : DataArray, optional
        As for `xfit.results.fit_result.FitResult.evaluate`.

    Raises
    ------
    ValueError
        For data of other dimensions than the fit's, for places that do not belong together, and for a dimension without
        indexer or an unknown one.
    """
    ds = result.dataset
    check_data_of(result, da)
    pixel = report.pixel_of(ds, result.navigation_dims, indexers)
    numbers = {
        d: int(np.flatnonzero(ds.indexes[d] == pixel[d].values)[0]) if d in ds.indexes else int(indexers[str(d)])
        for d in result.navigation_dims
    }
    place = {d: pixel[d].values[()] if d in ds.indexes else n for d, n in numbers.items()}
    check_variance(variance)

    def at(array: Any, name: str) -> Any:
        cut = cut_like(result, array, name)
        return cut.isel({d: n for d, n in numbers.items() if d in cut.dims}) if isinstance(cut, xr.DataArray) else cut

    return look_at(pixel, at(da, "da").compute(), place, at(variance, "variance"), at(response, "response"))


def look_at(
    pixel: xr.Dataset,
    data: xr.DataArray,
    place: Mapping[Hashable, Any],
    variance: xr.DataArray | float | None = None,
    response: xr.DataArray | None = None,
) -> PixelView:
    """Look at one pixel whose result and data are there.

    Parameters
    ----------
    pixel : Dataset
        Its result, without navigation dimensions.
    data : DataArray
        Its data, over the signal dimensions.
    place : mapping
        Where it is, for the title.
    """
    one = FitResult(pixel)
    data = data.transpose(*one.signal_dims)
    model = one.evaluate(response=response).compute()
    curves = one.components(response=response).compute()
    # A fit may have taken another coordinate along a dimension that has none of its own.
    data = data.assign_coords({d: model[d] for d in one.signal_dims if d not in data.coords})
    units = data.attrs.get("units", "")
    residual = (
        (data - model).rename("residual").assign_attrs(long_name="residual", **({"units": units} if units else {}))
    )
    sigma, noise = _noise(pixel, model, residual, variance)
    words = ", ".join(f"{d} = {_short(value)}" for d, value in place.items())
    red = float(pixel["red_chisq"])
    title = ": ".join(part for part in (words, DESCRIPTIONS[int(pixel["status"])]) if part)
    title += f", reduced chi-squared {red:.4g}" if np.isfinite(red) else ""
    return PixelView(pixel, data, model, residual, curves, sigma, noise, title)


def check_data_of(result: FitResult, da: xr.DataArray) -> None:
    """Refuse what can't be the data that were fitted.

    Raises
    ------
    TypeError, ValueError
        For what is no DataArray, and for other dimensions, channels or places than the fit's.
    """
    if not isinstance(da, xr.DataArray):
        raise TypeError(f"da must be the DataArray that was fitted; got {type(da).__name__}")
    ds = result.dataset
    wanted = {d: ds.sizes[d] for d in (*result.navigation_dims, *result.signal_dims)}
    sizes = {d: n for d, n in da.sizes.items()}
    if set(wanted) != set(sizes) or any(sizes[d] != wanted[d] for d in result.signal_dims):
        words = [difference(da, ds, d) for d in result.signal_dims if d in sizes]
        named = "".join(f": {each}" for each in words if each)
        raise ValueError(f"da has dimensions {sizes}; the fit was made of data with {wanted}{named}")
    check_same_labels(da, "da", ds, result.signal_dims, "the result has", "give the data that were fitted")
    check_scalars(da, "da", ds, "the result has")
    check_fitted_coordinates(ds, result.signal_dims, da, Program.from_model(result.model).coordinates)


def cut_like(result: FitResult, array: Any, name: str) -> Any:
    """Give an array the places of a result, in its order: by labels where both have them.

    Parameters
    ----------
    array : DataArray or other
        Over some of the navigation dimensions; what is no DataArray is returned as it is.
    name : str
        What it is called in errors.

    Raises
    ------
    ValueError
        Where labels of the result are missing (naming the first) or, without labels, sizes differ.
    """
    if not isinstance(array, xr.DataArray):
        return array
    ds = result.dataset
    if name != "response":
        # A response has points of its own along the signal dimension.
        along = [d for d in result.signal_dims if d in array.dims]
        check_same_labels(array, name, ds, along, "the result has", "give those of the data that were fitted")
    for d in result.navigation_dims:
        if d not in array.dims:
            continue
        if d in array.indexes and d in ds.indexes:
            wanted = ds.indexes[d]
            if array.indexes[d].equals(wanted):
                continue
            lost = wanted[~wanted.isin(array.indexes[d])]
            if len(lost) or not array.indexes[d].is_unique:
                first = f": {lost[0]!r} is missing" if len(lost) else ": labels occur twice"
                raise ValueError(f"{name} has not all of the places along {d!r} that the result has{first}")
            array = array.sel({d: wanted})
        elif array.sizes[d] != ds.sizes[d]:
            raise ValueError(
                f"{name} has {array.sizes[d]} places along {d!r} and the result {ds.sizes[d]}; without coordinates of "
                f"both it is not known which belong together: cut {name} like the result"
            )
        else:
            check_same_labels(array, name, ds, [d], "the result has", f"cut {name} like the result")
    return array


def check_variance(variance: Any) -> None:
    """Refuse what is no variance.

    Raises
    ------
    TypeError, ValueError
        For anything but None, a DataArray, or a number above zero.
    """
    if variance is None or isinstance(variance, xr.DataArray):
        return
    if isinstance(variance, bool) or not isinstance(variance, int | float | np.number):
        raise TypeError(
            f"variance must be a number or a DataArray over dimensions of the data, not {type(variance).__name__}; "
            "of counts, xfit.noise.poisson_variance gives one"
        )
    if not variance > 0:
        raise ValueError(f"variance={variance!r} must be above zero")


def _noise(pixel: xr.Dataset, model: xr.DataArray, residual: xr.DataArray, variance: Any) -> tuple[xr.DataArray, str]:
    """One standard deviation of the noise, and from what it is known."""
    if variance is not None:
        return xr.zeros_like(residual) + np.sqrt(variance), "the noise"
    if pixel.attrs.get("xfit_loss") == "poisson":
        return model.clip(min=0.0) ** 0.5, "the counts expected"
    dof = max(int(pixel["dof"]), 1)
    spread = float(np.sqrt((residual**2).sum() / dof))
    return xr.full_like(residual, spread, float), "the residuals"


def _short(value: Any) -> str:
    """A place in few letters."""
    if isinstance(value, np.datetime64):
        return str(np.datetime_as_string(value, unit="auto"))
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
