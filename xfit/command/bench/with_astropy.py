"""The workloads fitted by astropy.modeling, spectrum by spectrum."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xfit.command.bench.workloads import Part, Workload

_WIDTH = 2 * math.sqrt(2 * math.log(2))


def _to_astropy(kind: str, values: Sequence[float]) -> tuple[float, ...]:
    """Parameters of a part in astropy's terms: heights for areas, full widths at half maximum for sigma and gamma."""
    if kind == "gaussian":
        area, centre, sigma = values
        return area / (sigma * math.sqrt(2 * math.pi)), centre, sigma
    if kind == "voigt":
        area, centre, sigma, gamma = values
        return centre, area / (math.pi * gamma), 2 * gamma, _WIDTH * sigma
    return tuple(values)


def _from_astropy(kind: str, values: Sequence[float]) -> tuple[float, ...]:
    if kind == "gaussian":
        height, centre, sigma = values
        return height * sigma * math.sqrt(2 * math.pi), centre, sigma
    if kind == "voigt":
        centre, height, fwhm_lorentz, fwhm_gauss = values
        return height * math.pi * fwhm_lorentz / 2, centre, fwhm_gauss / _WIDTH, fwhm_lorentz / 2
    return tuple(values)


#: astropy's models, and its parameters in the order of the functions above.
_KINDS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "gaussian": ("Gaussian1D", ("amplitude", "mean", "stddev"), {}),
    "voigt": ("Voigt1D", ("x_0", "amplitude_L", "fwhm_L", "fwhm_G"), {"method": "Scipy"}),
    "offset": ("Const1D", ("amplitude",), {}),
    "line": ("Polynomial1D", ("c0", "c1"), {"degree": 1}),
    "power law": ("PowerLaw1D", ("amplitude", "alpha"), {"x_0": 1.0, "fixed": {"x_0": True}}),
}


def _model(part: Part) -> Any:
    from astropy.modeling import models

    kind, keys, further = _KINDS[part.kind]
    values = dict(zip(keys, _to_astropy(part.kind, part.start), strict=True))
    # astropy bounds a Gaussian's width by itself; heights have no bound that an area would give them, but that of zero.
    bounds: dict[str, tuple[float | None, float | None]] = dict.fromkeys(keys, (None, None))
    if part.bounds:
        bounds = {
            key: (0.0, None) if part.kind == "gaussian" and key == "amplitude" else pair
            for key, pair in zip(keys, part.bounds, strict=True)
        }
    return getattr(models, kind)(**values, **further, bounds=bounds)


def fitter(workload: Workload) -> Callable[[np.ndarray], np.ndarray]:
    """Make what fits by MINPACK, or a trust region where there are bounds."""
    from astropy.modeling import fitting

    parts = [_model(part) for part in workload.parts]
    model = parts[0]
    for part_model in parts[1:]:
        model = model + part_model
    fit = fitting.TRFLSQFitter() if workload.is_bounded else fitting.LMLSQFitter()

    def one(y: np.ndarray) -> list[float]:
        best = fit(model, workload.x, y, maxiter=1000)
        values: list[float] = []
        for k, part in enumerate(workload.parts):
            keys = _KINDS[part.kind][1]
            values += _from_astropy(part.kind, [float(getattr(best, f"{key}_{k}").value) for key in keys])
        return values

    return lambda data: np.array([one(y) for y in data])
