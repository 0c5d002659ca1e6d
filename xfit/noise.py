"""Variances of detected counts, for the weights of a fit."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

import numpy as np
import xarray as xr

from xfit.engine.block.counts import variance_of_counts


@dataclass(frozen=True)
class Poisson:
    """Noise of a counting detector: its variance is linear in the expected value.

    ``variance = correlation * (gain * expected + offset)``, as in HyperSpy's ``estimate_poissonian_noise_variance``,
    whose ``gain_factor``, ``gain_offset`` and ``correlation_factor`` these are.

    Parameters
    ----------
    gain : float
        Units of the data per count: one count adds ``gain`` to a channel.
    offset : float
        Variance of the readout, in squared units of the data.
    correlation : float
        Factor for noise that neighbouring channels share.

    Raises
    ------
    TypeError, ValueError
        For numbers that no detector has.

    Examples
    --------
    >>> import xarray as xr, xfit
    >>> detector = xfit.noise.Poisson(gain=2.0, offset=9.0)
    >>> detector.variance(xr.DataArray([0.0, 50.0], dims="x")).values
    array([  9., 109.])
    """

    gain: float = 1.0
    offset: float = 0.0
    correlation: float = 1.0

    def __post_init__(self) -> None:
        for name, above in (("gain", True), ("offset", False), ("correlation", True)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise TypeError(f"{name}={value!r} must be a number")
            if not math.isfinite(value) or value < 0 or (above and value == 0):
                raise ValueError(f"{name}={value!r} must be {'above zero' if above else 'zero or above'}")

    def variance(self, da: xr.DataArray) -> xr.DataArray:
        """Variance of data; see `poisson_variance`."""
        if not isinstance(da, xr.DataArray):
            raise TypeError(f"da must be an xarray.DataArray, not {type(da).__name__}")
        if da.dtype.kind not in "iuf":
            raise TypeError(f"da has dtype {da.dtype}; it must hold real numbers")
        variance = xr.apply_ufunc(
            variance_of_counts,
            da,
            kwargs={"gain": self.gain, "offset": self.offset, "correlation": self.correlation},
            dask="parallelized",
            output_dtypes=[np.float64],
        )
        units = da.attrs.get("units")
        attrs = {"long_name": "variance"} | (
            {"units": f"({units})^2" if " " in units else f"{units}^2"} if units else {}
        )
        return variance.rename("variance").assign_attrs(attrs)


def poisson_variance(
    da: xr.DataArray, gain: float = 1.0, offset: float = 0.0, correlation: float = 1.0
) -> xr.DataArray:
    """Estimate the variance of counts from the counts themselves.

    It is never zero or negative, by construction: nothing is put below the variance of the readout or, where that is
    less, that of a single count. So a channel without counts weighs as one with a count does; weighed by the inverse of
    its count it would outweigh all others together.

    Parameters
    ----------
    da : DataArray
        Data, in units of the detector. With dask chunks the variance is lazy, in the same chunks.
    gain, offset, correlation : float
        See `Poisson`.

    Returns
    -------
    DataArray
        ``correlation * max(gain * da + offset, offset, gain**2)`` in float64; NaN where the data are.

    Examples
    --------
    >>> import xarray as xr, xfit
    >>> xfit.noise.poisson_variance(xr.DataArray([0, 1, 9], dims="x")).values
    array([1., 1., 9.])
    """
    return Poisson(gain, offset, correlation).variance(da)
