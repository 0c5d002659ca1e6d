"""Estimators of decays and of what approaches a level, from integrals."""

from __future__ import annotations

import numpy as np

from xfit.estimators.backgrounds import two_areas
from xfit.estimators.rows import Estimates, edges_of, filled, height_of, regression, sums


def saturation(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    r"""Estimate an exponential approach to a level by its integral equation (J. Jacquelin 2009, Regressions et equations integrales).

    .. math:: y(x) - y(x_0) = -\frac{1}{\tau} \int_{x_0}^x y\,dx + b (x - x_0)

    which is linear in :math:`1/\tau`; then the two levels by linear least squares.
    """
    y = filled(x, y)
    integral = sums(y * width)[:, :-1] + y * width / 2
    rate = -regression([integral, np.broadcast_to(x - x[0], y.shape), np.ones_like(y)], y)[0]
    tau = 1 / rate
    approach = -np.expm1(-x / tau[:, None])
    maximum, constant = regression([approach, np.ones_like(y)], y)
    return {"Vmax": maximum, "V0": constant, "tau": tau}


def double_decay(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate two decays after a pulse: a third and thrice the time of the one that has the areas of the data.

    The pulse is where the steepest rise reaches half of the maximum; the response is as long as that rise.
    """
    y = filled(x, y)
    top = y.argmax(axis=1)
    height = height_of(y)
    after = np.arange(x.size) >= top[:, None]
    rows = [_tail(x, y[k], width, int(top[k])) for k in range(len(y))]
    tau = np.array(rows)
    rising = (y >= 0.5 * height[:, None]) & ~after
    half = np.where(rising.any(axis=1), rising.argmax(axis=1), top)
    low = ((y >= 0.1 * height[:, None]).argmax(axis=1)).clip(max=half)
    sigma = np.maximum(x[top] - x[low], 2 * width[top]) / 3
    return {
        "A1": height / 2,
        "tau1": tau / 3,
        "A2": height / 2,
        "tau2": 2 * tau,
        "centre": x[half],
        "sigma": sigma,
    }


def _tail(x: np.ndarray, y: np.ndarray, width: np.ndarray, top: int) -> float:
    """Decay time of one row after its maximum."""
    if x.size - top < 4:
        return float("nan")
    rate = two_areas(sums((y * width)[None, top:]), edges_of(x[top:]))
    return float(1 / rate[0])
