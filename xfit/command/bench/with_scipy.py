"""The workloads fitted by SciPy's `curve_fit` and `least_squares`, spectrum by spectrum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.optimize import curve_fit, least_squares

from xfit.command.bench.workloads import Workload


def fitter(workload: Workload) -> Callable[[np.ndarray], np.ndarray]:
    """Make what fits by `curve_fit`: MINPACK, or a trust region where there are bounds."""

    def fit(data: np.ndarray) -> np.ndarray:
        return np.array([curve_fit(workload, workload.x, y, workload.start, bounds=workload.bounds)[0] for y in data])

    return fit


def least_squares_fitter(workload: Workload) -> Callable[[np.ndarray], np.ndarray]:
    """Make what fits by `least_squares`, with parameters scaled by the Jacobian."""
    method: Literal["trf", "lm"] = "trf" if workload.is_bounded else "lm"

    def one(y: np.ndarray) -> np.ndarray:
        def deviations(p: np.ndarray) -> np.ndarray:
            return workload(workload.x, *p) - y

        found = least_squares(deviations, workload.start, bounds=workload.bounds, method=method, x_scale="jac")
        return np.asarray(found.x)

    return lambda data: np.array([one(y) for y in data])
