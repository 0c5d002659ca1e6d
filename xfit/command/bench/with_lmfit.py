"""The workloads fitted by lmfit, spectrum by spectrum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xfit.command.bench.workloads import Workload

#: lmfit's models, and its parameters in the order of the workloads'.
_KINDS = {
    "gaussian": ("GaussianModel", ("amplitude", "center", "sigma")),
    "voigt": ("VoigtModel", ("amplitude", "center", "sigma", "gamma")),
    "offset": ("ConstantModel", ("c",)),
    "line": ("LinearModel", ("intercept", "slope")),
    # Its exponent is -r.
    "power law": ("PowerLawModel", ("amplitude", "exponent")),
}


def _model(workload: Workload) -> tuple[Any, Any, list[str], np.ndarray]:
    """Model, start parameters, their names in the workload's order, and their signs."""
    from lmfit import models

    parts, names, signs = [], [], []
    for k, part in enumerate(workload.parts):
        kind, keys = _KINDS[part.kind]
        parts.append(getattr(models, kind)(prefix=f"part{k}_"))
        names += [f"part{k}_{key}" for key in keys]
        signs += [-1.0 if key == "exponent" else 1.0 for key in keys]
    model = parts[0]
    for part_model in parts[1:]:
        model = model + part_model
    params = model.make_params()
    low, high = workload.bounds
    for name, sign, value, lower, upper in zip(names, signs, workload.start, low, high, strict=True):
        least, most = sorted((sign * lower, sign * upper))
        params[name].set(value=sign * value, min=least, max=most, vary=True, expr="")
    return model, params, names, np.array(signs)


def fitter(workload: Workload) -> Callable[[np.ndarray], np.ndarray]:
    """Make what fits by ``Model.fit`` with its default, MINPACK."""
    model, params, names, signs = _model(workload)

    def one(y: np.ndarray) -> list[float]:
        best = model.fit(y, params, x=workload.x).params
        return [best[name].value for name in names]

    return lambda data: np.array([one(y) for y in data]) * signs
