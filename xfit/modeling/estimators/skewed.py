"""Estimators of skewed lines, from the third moment too."""

from __future__ import annotations

import math

import numpy as np

from xfit.modeling.estimators.rows import (
    Estimates,
    above_baseline,
    edges_of,
    filled,
    height_of,
    levels,
    peak_moments,
    pick,
    quantile,
    skewness,
    sums,
)


def skew_normal(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    r"""Estimate a skew normal distribution from three moments (T. I. Lin, J. C. Lee and S. Y. Yen
    2007, Statistica Sinica 17, 909).

    .. math:: |\delta| = \sqrt{\frac{\pi}{2} \frac{|g|^{2/3}}{|g|^{2/3} + ((4 - \pi)/2)^{2/3}}}, \quad
        \mathrm{scale} = \frac{\sigma}{\sqrt{1 - 2\delta^2/\pi}}, \quad
        x_0 = m - \mathrm{scale}\,\delta\sqrt{2/\pi}, \quad \mathrm{shape} = \frac{\delta}{\sqrt{1 - \delta^2}}

    with the sign of the skewness g, which HyperSpy loses.
    """
    area, centre, sigma = peak_moments(x, y, width)
    skew = skewness(x, y, width, centre, sigma)
    part = np.abs(skew) ** (2 / 3)
    # No skew normal distribution is skewer than 0.995.
    delta = np.sign(skew) * np.minimum(np.sqrt(math.pi / 2 * part / (part + ((4 - math.pi) / 2) ** (2 / 3))), 0.98)
    scale = sigma / np.sqrt(1 - 2 * delta**2 / math.pi)
    return {
        "A": area / scale,
        "shape": delta / np.sqrt(1 - delta**2),
        "scale": scale,
        "x0": centre - scale * delta * math.sqrt(2 / math.pi),
    }


def exponentially_modified(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    r"""Estimate an exponentially modified Gaussian from three moments.

    They are :math:`m = c + \tau`, :math:`s^2 = \sigma^2 + \tau^2` and :math:`g = 2\tau^3/s^3`.
    """
    area, mean, s = peak_moments(x, y, width)
    skew = skewness(x, y, width, mean, s)
    tau = s * np.clip(np.cbrt(skew / 2), -0.95, 0.95)
    # The third moment loses most where tails are left out: never less than a tenth of the width.
    tau = np.where(np.abs(tau) < 0.1 * s, np.where(skew < 0, -0.1, 0.1) * s, tau)
    return {"A": area, "centre": mean - tau, "sigma": np.sqrt(s**2 - tau**2), "tau": tau}


def log_normal(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    r"""Estimate a log-normal distribution from two moments of x above zero.

    .. math:: \sigma^2 = \ln(1 + s^2/m^2), \quad \mathrm{centre} = m\,e^{-\sigma^2/2}
    """
    area, mean, s = peak_moments(x, y, width)
    sigma = np.sqrt(np.log1p((s / mean) ** 2))
    centre = np.where(mean > 0, mean * np.exp(-(sigma**2) / 2), np.nan)
    return {"A": area, "centre": centre, "sigma": sigma}


def split_voigt(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate a profile with two widths from its quartiles: each side's width is the distance from the median to one.

    HyperSpy's gives the same width to both sides.
    """
    above = above_baseline(x, filled(x, y))
    area, centre, sigma = peak_moments(x, y, width)
    cumulative, edges = sums(above * width), edges_of(x)
    low, high = np.searchsorted(x, centre - 3.5 * sigma), np.searchsorted(x, centre + 3.5 * sigma, "right")
    total = pick(cumulative, high) - pick(cumulative, low)
    first, median, third = (quantile(cumulative, edges, low, total, part) for part in (0.25, 0.5, 0.75))
    left, right = (np.clip(side / 0.6745, 0.2 * sigma, 2 * sigma) for side in (median - first, third - median))
    return {
        "A": area,
        "sigma1": left,
        "sigma2": right,
        "fraction": np.full(len(y), 0.3),
        "centre": median - 0.5 * (right - left),
    }


def fano(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    r"""Estimate a Breit-Wigner-Fano line from its level and its extremes.

    Over the level a, its maximum is :math:`a q^2` high, at :math:`\gamma/q` from the centre, and its minimum a deep,
    at :math:`-\gamma q`: for :math:`|q| > 1` the maximum is next to the centre, else the minimum is.
    """
    y = filled(x, y)
    left, right = levels(y)
    level = ends = (left + right) / 2
    n = 3 if y.shape[1] >= 9 else 1
    smooth = (sums(y)[:, n:] - sums(y)[:, :-n]) / n
    top, bottom = smooth.argmax(axis=1), smooth.argmin(axis=1)
    highest, lowest = pick(smooth, top), pick(smooth, bottom)
    x_top, x_bottom = x[top + n // 2], x[bottom + n // 2]
    far = (x[-1] - x[0]) / 2
    for _ in range(4):
        ratio = np.clip((highest - level) / np.maximum(level - lowest, 1e-3 * np.abs(level)), 1e-2, 1e4)
        q = np.where(x_top >= x_bottom, 1.0, -1.0) * np.sqrt(ratio)
        gamma = np.abs(x_top - x_bottom) / np.abs(q + 1 / q)
        # The tails of a line with a large q lift both ends.
        level = ends / np.clip(1 + (q**2 - 1) / (1 + (far / gamma) ** 2), 0.3, 5.0)
    return {"amplitude": level, "centre": x_top - gamma / q, "gamma": gamma, "q": q}


def oscillator(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    r"""Estimate a damped oscillator from its resonance and its response at low frequency.

    At resonance the response is :math:`1/2\zeta` times that at zero frequency.
    """
    y = filled(x, y)
    left, _ = levels(y)
    n = max(x.size // 10, 1)
    place = x[y.argmax(axis=1)]
    static = left * np.abs(1 - (x[:n].mean() / place) ** 2)
    peak = height_of(y)
    static = np.where(static > 1e-3 * peak, static, 1e-3 * peak)
    damping = np.clip(static / (2 * peak), 1e-3, 0.6)
    return {"amplitude": static, "centre": place / np.sqrt(np.maximum(1 - 2 * damping**2, 0.2)), "sigma": damping}


def secondary_electrons(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    r"""Estimate secondary electrons from parts of their area.

    Of the area :math:`A/6B^2` the part :math:`u^2 (3 + u)/(1 + u)^3` lies below :math:`\Phi + uB`: a half
    at :math:`u = 1`, a fifth at 0.4039.
    """
    y = filled(x, y)
    cumulative, edges = sums(y * width), edges_of(x)
    total, start = cumulative[:, -1], np.zeros(len(y), np.intp)
    fifth, half = (quantile(cumulative, edges, start, total, part) for part in (0.2, 0.5))
    b = np.maximum((half - fifth) / (1.0 - 0.4039), x[1] - x[0])
    onset = fifth - 0.4039 * b
    return {"A": 6 * total * b**2, "B": b, "Phi": onset}
