"""Estimators of decays and of what approaches a level, from integrals."""

from __future__ import annotations

import numpy as np

from xfit.modeling.estimators.backgrounds import exponential
from xfit.modeling.estimators.rows import Estimates, filled, height_of, pick, regression, sums


def saturation(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    r"""Estimate an exponential approach to a level by its integral equation (J. Jacquelin 2009,
    Regressions et equations integrales).

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


def decay(x: np.ndarray, y: np.ndarray, width: np.ndarray, *, t0: float) -> Estimates:
    """Estimate a decay that begins at ``t0``, which stays as it is: as an exponential,
    from the channels from there on.
    """
    first = int(np.searchsorted(x, t0, "left"))
    if x.size - first < 2:
        return {"A": np.full(len(y), np.nan), "tau": np.full(len(y), np.nan), "t0": np.full(len(y), t0)}
    found = exponential(x[first:] - t0, np.ascontiguousarray(y[:, first:]), width[first:])
    return {**found, "t0": np.full(len(y), t0)}


def double_decay(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate two decays after a pulse, of a third and five thirds of the time that the area after the maximum has.

    The pulse is where the rise reaches half of the maximum; the response is as long as that rise.
    """
    y = filled(x, y)
    top = y.argmax(axis=1)
    height = height_of(y)
    area = sums(y * width)
    tau = (area[:, -1] - pick(area, top)) / height
    before = np.arange(x.size) < top[:, None]
    rising = (y >= 0.5 * height[:, None]) & before
    half = np.where(rising.any(axis=1), rising.argmax(axis=1), top)
    low = ((y >= 0.1 * height[:, None]).argmax(axis=1)).clip(max=half)
    sigma = np.maximum(x[top] - x[low], 2 * width[top]) / 3
    return {
        "A1": height / 2,
        "tau1": tau / 3,
        "A2": height / 2,
        "tau2": tau * 5 / 3,
        "centre": x[half],
        "sigma": sigma,
    }
