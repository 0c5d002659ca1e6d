"""Components that scale a measured or computed pattern."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from xfit import estimators
from xfit.component import Component, Spec
from xfit.estimators import Estimator
from xfit.interpolation import Table
from xfit.kernel_description import FormulaKernel, Lookup
from xfit.plain_data import number_array


class ScalableFixedPattern(Component):
    r"""Pattern given by data, scaled, shifted and stretched.

    .. math:: f(x) = \mathrm{yscale}\; s(\mathrm{xscale}\; x - \mathrm{shift})

    s is the cubic spline through the points of the pattern; its end pieces go on beyond them.

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
    Parameterised as HyperSpy's ScalableFixedPattern, whose gradients with respect to shift and xscale are missing.

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
    _table: Table
    _interpolate: bool

    def __init__(
        self,
        pattern: xr.DataArray | Mapping[str, Any],
        interpolate: bool = True,
        name: str | None = None,
        **values: Any,
    ) -> None:
        if not isinstance(interpolate, bool):
            raise TypeError(f"interpolate={interpolate!r} must be True or False")
        object.__setattr__(self, "_table", _table_of(pattern))
        object.__setattr__(self, "_interpolate", interpolate)
        estimate = partial(estimators.pattern, curve=self._table.spline)
        object.__setattr__(self, "estimator", Estimator(estimate, channels=2, takes=("xscale", "shift")))
        super().__init__(name, **values)
        if not interpolate:
            self.set_parameters_not_free(["shift", "xscale"])

    @property
    def options(self) -> dict[str, Any]:
        """The pattern as plain data, and whether it is interpolated."""
        (x,) = self._table.points
        pattern = {"coordinate": x.tolist(), "values": self._table.values.tolist()}
        return {"pattern": pattern, "interpolate": self._interpolate}

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
    if bool(pattern[dim].attrs.get("is_binned", False)):
        values = values / np.abs(np.gradient(x))
    order = slice(None) if x[-1] > x[0] else slice(None, None, -1)
    if not (np.diff(x[order]) > 0).all():
        raise ValueError(f"pattern has a coordinate {dim!r} that neither rises nor falls throughout")
    return Table((x[order],), values[order])
