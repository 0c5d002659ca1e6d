"""The workloads fitted by xfit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from xfit.command.bench.workloads import Part, Workload
from xfit.components import Gaussian, Offset, Polynomial, PowerLaw, Voigt
from xfit.fitting.multifit import multifit
from xfit.modeling.component import Component
from xfit.modeling.model import Model

#: What the parameters of each kind of part are called; HyperSpy's are the same.
NAMES = {
    "gaussian": ("A", "centre", "sigma"),
    "voigt": ("area", "centre", "sigma", "gamma"),
    "offset": ("offset",),
    "line": ("a0", "a1"),
    "power law": ("A", "r"),
}

_KINDS = {"gaussian": Gaussian, "voigt": Voigt, "offset": Offset, "power law": PowerLaw}


def _component(part: Part, name: str) -> Component:
    component = Polynomial(order=1, name=name) if part.kind == "line" else _KINDS[part.kind](name=name)
    for k, (key, value) in enumerate(zip(NAMES[part.kind], part.start, strict=True)):
        low, high = part.bounds[k] if part.bounds else (None, None)
        component[key].set(value=value, min=low, max=high)
    return component


def fitter_with_errors(workload: Workload) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Make what takes spectra and gives the values of all parameters in the workload's order, and their errors."""
    model = Model([_component(part, f"part{k}") for k, part in enumerate(workload.parts)])
    names = [f"part{k}.{key}" for k, part in enumerate(workload.parts) for key in NAMES[part.kind]]

    def fit(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        da = xr.DataArray(data, dims=("pixel", "x"), coords={"x": workload.x})
        result = multifit(da, model, "x", bounded=workload.is_bounded)
        chosen = result.sel(param=names)
        return chosen["value"].transpose("pixel", "param").values, chosen["stderr"].transpose("pixel", "param").values

    return fit


def fitter(workload: Workload) -> Callable[[np.ndarray], np.ndarray]:
    """Make what takes spectra and gives the values of all parameters."""
    fit = fitter_with_errors(workload)
    return lambda data: fit(data)[0]
