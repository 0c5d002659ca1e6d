"""Conversion: a model of HyperSpy in xfit's terms, with what belongs to a fit and not to a model."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr

from xfit.arrays.axes import Axes, axes_of, channel_width
from xfit.display import cleaned
from xfit.fitting.multifit import multifit
from xfit.modeling.model import Model
from xfit.results.curves import model_curves


@dataclass(frozen=True)
class Link:
    """A parameter of HyperSpy's model and that of xfit's.

    Attributes
    ----------
    component : int
        Position of the component in both models.
    theirs, ours : str
        HyperSpy's name of the parameter, and xfit's full name.
    scale : float
        xfit's value over HyperSpy's.
    entry : int or None
        Of a parameter that is a list, which of its values.
    factor : str or None
        Full name of the parameter of xfit that HyperSpy's value is multiplied with besides.
    """

    component: int
    theirs: str
    ours: str
    scale: float = 1.0
    entry: int | None = None
    factor: str | None = None


@dataclass(frozen=True, eq=False)
class Conversion:
    """A model of HyperSpy, converted.

    ``c.data.fit.multifit(c.model, **c.options)`` is the fit that HyperSpy would make, and so is ``c.multifit()``.

    Attributes
    ----------
    model : Model
        Components, values, bounds, ties, and the low-loss spectrum as its response.
    data : DataArray
        The signal's data.
    dim : tuple
        Signal dimensions.
    start : mapping of str to DataArray
        Maps of stored values, where they differ from the model's; NaN where none is stored.
    active : mapping of str to DataArray
        Where components take part, for those that don't do so everywhere.
    where : DataArray or None
        Channels that are switched on; None for all.
    variance : float, DataArray or None
        The signal's noise variance.
    binned : bool
        Whether the data are integrals over channels.
    stored : Dataset
        What HyperSpy's maps hold of earlier fits, NaN where nothing: ``value`` and ``stderr`` over navigation and
        ``param``, ``chisq``, and ``fitted``, the number of fitted parameters, which HyperSpy calls ``dof``.
    links : tuple of Link
        Which parameter is which.
    notes : tuple of str
        What is not the same in both.
    """

    model: Model
    data: xr.DataArray
    dim: tuple[Hashable, ...]
    start: Mapping[str, xr.DataArray] = field(default_factory=dict)
    active: Mapping[str, xr.DataArray] = field(default_factory=dict)
    where: xr.DataArray | None = None
    variance: float | xr.DataArray | None = None
    binned: bool = False
    stored: xr.Dataset = field(default_factory=xr.Dataset)
    links: tuple[Link, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def navigation(self) -> tuple[Hashable, ...]:
        """Navigation dimensions."""
        return tuple(d for d in self.data.dims if d not in self.dim)

    @property
    def axes(self) -> Axes:
        """The signal space, with the coordinates that the model uses."""
        return axes_of(self.data, self.dim, self.model.coordinates, self.binned)

    @property
    def options(self) -> dict[str, Any]:
        """Options of `xfit.multifit` that make the same fit: ``dim``, ``start``, ``active``,
        ``where``, ``variance``, ``binned``.
        """
        found = {
            "start": dict(self.start) or None,
            "active": dict(self.active) or None,
            "where": self.where,
            "variance": self.variance,
        }
        return {"dim": self.dim, "binned": self.binned, **{k: v for k, v in found.items() if v is not None}}

    def multifit(self, **options: Any) -> xr.Dataset:
        """Fit the data; options of `xfit.multifit` replace those of the conversion.

        As in HyperSpy, the likelihood of counts (``loss="poisson"``) does without the signal's noise variance.
        """
        own = self.options
        if options.get("loss") == "poisson":
            own.pop("variance", None)
        return multifit(self.data, self.model, **(own | options))

    def evaluate(self, components: Sequence[str] | None = None) -> xr.DataArray:
        """Return the model's curves at the stored values, and where none are stored at the model's:
        HyperSpy's ``m.as_signal()``.

        Parameters
        ----------
        components : sequence of str, optional
            Which to add up; all active ones by default.

        Returns
        -------
        DataArray
            Like the data, on all channels; lazy if they are.
        """
        value = xr.concat([self._values(p.full_name) for p in self.model.parameters], "param")
        value = value.assign_coords(param=[p.full_name for p in self.model.parameters])
        signal = {d: self.data[d] for d in self.dim}
        if self.binned:
            signal["channel_width"] = xr.DataArray(channel_width(self.data, self.dim), dims=self.dim)
        if self.data.chunks is not None:
            sizes = {d: n for d, n in self.data.chunksizes.items() if d in self.navigation}
            value = value.chunk({**sizes, "param": -1})
        known = xr.Dataset({"value": value}, coords=signal)
        return model_curves(known, self.model, self.dim, components).transpose(*self.data.dims)  # type: ignore[arg-type]

    def _values(self, name: str) -> xr.DataArray:
        """Map of a parameter; NaN where its component does not take part."""
        parameter = self.model.parameter(name)
        component = parameter.component
        assert component is not None
        found = xr.full_like(self.stored["chisq"], parameter.value, dtype=np.float64)
        if name in self.stored["param"]:
            stored = self.stored["value"].sel(param=name, drop=True)
            found = stored.fillna(parameter.value)
        on = self.active.get(component.name, component.active)
        return xr.where(on, found, np.nan) if isinstance(on, bool) else found.where(on)

    def at(self, **indices: int) -> Conversion:
        """Return the conversion of one position, or of a part, by indices along navigation dimensions.

        Raises
        ------
        ValueError
            For what is no navigation dimension.
        """
        unknown = [d for d in indices if d not in self.navigation]
        if unknown:
            raise ValueError(f"no navigation dimension(s) {unknown}; the data have {list(self.navigation)}")

        def part(array: Any) -> Any:
            if not isinstance(array, xr.DataArray | xr.Dataset):
                return array
            return array.isel({d: k for d, k in indices.items() if d in array.dims})

        model = self.model.copy()
        if model.response is not None:
            model.response = part(model.response)
        active = {name: part(array) for name, array in self.active.items()}
        for name in [name for name, array in active.items() if array.ndim == 0]:
            model[name].active = bool(active.pop(name))
        start = {name: part(array) for name, array in self.start.items()}
        for name in [name for name, array in start.items() if array.ndim == 0]:
            value = float(start.pop(name))
            if np.isfinite(value):
                model.parameter(name).value = value
        return replace(
            self,
            model=model,
            data=part(self.data),
            start=start,
            active=active,
            where=part(self.where),
            variance=part(self.variance),
            stored=part(self.stored),
        )

    def in_bounds(self) -> Conversion:
        """Return the same with values beyond their bounds moved to the nearer one, as
        HyperSpy does before a bounded fit.
        """
        model = self.model.copy()
        model.ensure_in_bounds()
        start = {
            name: array.clip(model.parameter(name).min, model.parameter(name).max) for name, array in self.start.items()
        }
        return replace(self, model=model, start=start)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{d}: {n}" for d, n in self.data.sizes.items())
        lines = [f"<xfit.hyperspy.Conversion> of data ({cleaned(sizes)})", repr(self.model)]
        given = [name for name in ("where", "variance") if getattr(self, name) is not None]
        given += [f"start of {', '.join(self.start)}"] * bool(self.start)
        given += [f"active of {', '.join(self.active)}"] * bool(self.active)
        lines += [f"with {cleaned('; '.join(given))}"] * bool(given)
        return "\n".join([*lines, *(f"note: {cleaned(note)}" for note in self.notes)])
