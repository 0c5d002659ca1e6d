"""The workloads fitted by HyperSpy's `multifit`."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from xfit.command.bench.with_xfit import NAMES
from xfit.command.bench.workloads import Workload

_KINDS = {"gaussian": "Gaussian", "voigt": "Voigt", "offset": "Offset", "power law": "PowerLaw"}


def fitter(workload: Workload) -> Callable[[np.ndarray], np.ndarray]:
    """Make what fits by MINPACK, or a trust region where there are bounds, with HyperSpy's
    analytical gradients where it has them.
    """
    import hyperspy.api as hs

    def fit(data: np.ndarray) -> np.ndarray:
        signal = hs.signals.Signal1D(data)
        axis = signal.axes_manager[-1]
        axis.offset, axis.scale = workload.x[0], workload.x[1] - workload.x[0]
        model = signal.create_model()
        # It says for every component that numexpr is not installed; `xfit bench` says so once.
        logging.getLogger("hyperspy._components.expression").setLevel(logging.ERROR)
        parameters = []
        for part in workload.parts:
            kinds = hs.model.components1D
            component = kinds.Polynomial(order=1) if part.kind == "line" else getattr(kinds, _KINDS[part.kind])()
            model.append(component)
            for k, (key, value) in enumerate(zip(NAMES[part.kind], part.start, strict=True)):
                parameter = getattr(component, key)
                parameter.value, parameter.free = value, True
                parameter.bmin, parameter.bmax = part.bounds[k] if part.bounds else (None, None)
                parameters.append(parameter)
        # Without this every pixel would begin from the last one's solution.
        model.assign_current_values_to_all()
        bounded = workload.is_bounded
        # Its Voigt has no derivatives.
        analytical = all(part.kind != "voigt" for part in workload.parts)
        model.multifit(
            optimizer="trf" if bounded else "lm",
            bounded=bounded,
            grad="analytical" if analytical else ("2-point" if bounded else "fd"),
            show_progressbar=False,
        )
        return np.stack([parameter.map["values"] for parameter in parameters], axis=-1)

    return fit
