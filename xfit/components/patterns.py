"""Components that scale a measured or computed pattern."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.channel_widths import is_binned, widths_of
from xfit.formulas.kernel_spec import FormulaKernel, Lookup
from xfit.formulas.spline_table import Table
from xfit.modeling import estimators
from xfit.modeling.component import Component, Spec, library
from xfit.modeling.estimators import Estimator
from xfit.modeling.number_arrays import number_array

#: What a pattern can be beyond its ends.
_BEYOND = ("zero", "constant", "cubic")

#: A pattern ends at zero whose last value is at most this part of its largest: what is then missing beyond is in no
#: channel more than that.
_NOTHING = 1e-3

#: How far beyond its last point a pattern is still known, in steps, with an allowance for rounding: half a channel.
_HALF = 0.5 + 1e-6


@library
class ScalableFixedPattern(Component):
    r"""Pattern given by data, scaled, shifted and stretched.

    .. math:: f(x) = \mathrm{yscale}\; s(\mathrm{xscale}\; x - \mathrm{shift})

    s is the cubic spline through the points of the pattern. Beyond an end at which the pattern is zero, to a thousandth
    of its largest absolute value, it is zero. Data beyond another end are refused by fits that start there, unless
    ``extrapolate`` says what the pattern is there; where a fit moves such an end into the data, the value of the end is
    taken.

    Parameters
    ----------
    pattern : DataArray or mapping
        The pattern, over one dimension with a coordinate; or plain data as `options` gives them. If the coordinate's
        attribute ``is_binned`` is set, it is divided by the channel widths, for then it holds counts, and the component
        is a density.
    interpolate : bool
        Whether xscale and shift are free, which takes values between the points.
    name : str, optional
        Name of the component.
    extrapolate : {"zero", "constant", "cubic"}, optional
        What the pattern is beyond both ends: nothing, to which the value of the end goes smoothly within one step of
        the pattern's grid; that value; or what the spline's last pieces go on to. It can be set later, as an attribute.
    xscale : float
        Factor of x, without unit.
    yscale : float
        Factor of the pattern.
    shift : float
        Where the zero of the pattern's coordinate lies on x, times xscale; in units of x.

    Raises
    ------
    TypeError, ValueError
        For a pattern that is no one-dimensional array of finite numbers over a coordinate that rises or falls.

    Notes
    -----
    Parameterised as HyperSpy's ScalableFixedPattern, whose gradients with respect to shift and xscale are missing, and
    which goes on as ``extrapolate="cubic"`` does.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xfit.components import ScalableFixedPattern
    >>> x = np.linspace(0, 10, 50)
    >>> ScalableFixedPattern(xr.DataArray(np.sin(x), dims="x", coords={"x": x}), name="sine")["shift"]
    <Parameter sine.shift: 0>
    """

    specs = {
        "xscale": Spec(1.0, dimension={}, description="factor of x"),
        "yscale": Spec(1.0, linear=True, dimension={"data": 1.0}, description="factor of the pattern"),
        "shift": Spec(0.0, dimension={"x": 1.0}, description="shift of the pattern"),
    }
    position = "shift"
    is_background = True
    _given: Table
    _table: Table
    _interpolate: bool
    _extrapolate: str | None

    def __init__(
        self,
        pattern: xr.DataArray | Mapping[str, Any],
        interpolate: bool = True,
        name: str | None = None,
        *,
        extrapolate: str | None = None,
        **values: Any,
    ) -> None:
        if not isinstance(interpolate, bool):
            raise TypeError(f"interpolate={interpolate!r} must be True or False")
        object.__setattr__(self, "_given", _table_of(pattern))
        object.__setattr__(self, "_interpolate", interpolate)
        self._go_on(extrapolate)
        super().__init__(name, **values)
        if not interpolate:
            self.set_parameters_not_free(["shift", "xscale"])

    @property
    def extrapolate(self) -> str | None:
        """What the pattern is beyond its ends; None where they say."""
        return self._extrapolate

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "extrapolate":
            self._go_on(value)
        else:
            super().__setattr__(name, value)

    def _go_on(self, extrapolate: str | None) -> None:
        """Set what is beyond the ends."""
        if extrapolate not in (None, *_BEYOND):
            raise ValueError(f"extrapolate={extrapolate!r} must be one of {', '.join(map(repr, _BEYOND))}, or None")
        values = self._given.values
        zero = np.abs(values[[0, -1]]) <= _NOTHING * np.abs(values).max()
        below, above = (extrapolate or ("zero" if nothing else "constant") for nothing in zero)
        table = replace(self._given, beyond=(below, above))
        object.__setattr__(self, "_extrapolate", extrapolate)
        object.__setattr__(self, "_table", table)
        estimate = partial(estimators.pattern, curve=table.spline)
        object.__setattr__(self, "estimator", Estimator(estimate, channels=2, takes=("xscale", "shift")))

    @property
    def options(self) -> dict[str, Any]:
        """The pattern as plain data, whether it is interpolated, and how it goes on."""
        (x,) = self._given.points
        pattern = {"coordinate": x.tolist(), "values": self._given.values.tolist()}
        return {"pattern": pattern, "interpolate": self._interpolate, "extrapolate": self._extrapolate}

    def beyond(self, x: np.ndarray, xscale: np.ndarray | float, shift: np.ndarray | float) -> np.ndarray:
        """Whether some of the data lie beyond an end of which is not known how the pattern goes on, by more
        than half a step of its grid.

        Parameters
        ----------
        x : float64 (n_channels,)
            The data's coordinate.
        xscale, shift : float or float64 (...)
            Parameters.

        Returns
        -------
        bool (...)
        """
        if self._extrapolate is not None:
            return np.zeros(np.shape(shift), bool)
        (points,), (below, above) = self._given.points, self._table.beyond
        at = [xscale * end - shift for end in (x.min(), x.max())]
        low, high = np.minimum(*at), np.maximum(*at)
        too_low = (low < points[0] - (points[1] - points[0]) * _HALF) & (below != "zero")
        return np.asarray(too_low | ((high > points[-1] + (points[-1] - points[-2]) * _HALF) & (above != "zero")))

    def check_reach(self, values: Mapping[str, float], *coordinates: np.ndarray) -> None:
        """Refuse data beyond an end of the pattern at which it is not zero, unless it is said how it goes on."""
        (x,) = coordinates
        if not x.size or not self.beyond(x, values["xscale"], values["shift"]):
            return
        (points,), scale = self._given.points, values["xscale"]
        ends = sorted((end + values["shift"]) / scale for end in points[[0, -1]])
        raise ValueError(
            f"component {self.name!r}: the data go from {x.min():g} to {x.max():g}, the pattern, at its start values "
            f"of shift and xscale, from {ends[0]:g} to {ends[1]:g}, and it does not end at zero. Say what it is "
            "beyond: set its extrapolate to 'zero', 'constant' or 'cubic' (the spline's last pieces, as in HyperSpy); "
            "or leave those channels out with where="
        )

    @property
    def kernel(self) -> FormulaKernel:
        """The spline, looked up."""
        lookup = Lookup("pattern", self._table, ("xscale*x - shift",))
        return FormulaKernel("yscale*pattern", self.coordinates, tuple(self._by_name), lookups=(lookup,))


def _table_of(pattern: Any) -> Table:
    """Check a pattern and take its numbers."""
    if isinstance(pattern, xr.DataArray):
        return _from_array(pattern)
    if not isinstance(pattern, Mapping):
        raise TypeError(f"pattern must be an xarray.DataArray, not {type(pattern).__name__}")
    if set(pattern) != {"coordinate", "values"}:
        raise ValueError(f"pattern has the entries {sorted(map(str, pattern))}; it must have 'coordinate' and 'values'")
    x, values = (number_array(pattern[key], f"pattern: {key}") for key in ("coordinate", "values"))
    return Table((x,), values)


def _from_array(pattern: xr.DataArray) -> Table:
    if pattern.ndim != 1:
        raise ValueError(
            f"pattern has dimensions {list(pattern.dims)}; it must have one: select one spectrum, or average"
        )
    if pattern.dtype.kind not in "iuf":
        raise TypeError(f"pattern has dtype {pattern.dtype}; it must hold real numbers")
    (dim,) = pattern.dims
    if dim not in pattern.coords:
        raise ValueError(f"pattern has no coordinate {dim!r}, which says where its points lie")
    x, values = np.asarray(pattern[dim].values, np.float64), np.asarray(pattern.values, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("pattern is not finite everywhere; leave out or fill in what is not")
    if x.size < 2:
        raise ValueError(f"pattern has {x.size} point; it needs at least two")
    order = slice(None) if x[-1] > x[0] else slice(None, None, -1)
    if not (np.diff(x[order]) > 0).all():
        raise ValueError(f"pattern has a coordinate {dim!r} that neither rises nor falls throughout")
    if is_binned(pattern[dim]):
        values = values / widths_of(pattern[dim], "a pattern that is binned")
    return Table((x[order],), values[order])
