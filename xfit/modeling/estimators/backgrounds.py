"""Estimators of backgrounds: constants, polynomials, decays and power laws."""

from __future__ import annotations

import math

import numpy as np

from xfit.modeling.estimators.rows import Estimates, edges_of, factor_of, filled, pick, regression, sums


def offset(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate a constant as the mean over x, as HyperSpy does."""
    known = ~np.isnan(y)
    return {"offset": np.where(known, y * width, 0.0).sum(axis=1) / np.where(known, width, 0.0).sum(axis=1)}


def polynomial(
    x: np.ndarray, y: np.ndarray, width: np.ndarray, *, names: tuple[str, ...] = ("a0", "a1", "a2")
) -> Estimates:
    """Fit a polynomial by linear least squares, all channels alike, as HyperSpy does by ``numpy.polyfit``.

    Parameters
    ----------
    names : tuple of str
        Of the coefficients, from the constant on.
    """
    n = len(names)
    middle, half = (x[-1] + x[0]) / 2, (x[-1] - x[0]) / 2
    basis, upper = np.linalg.qr(np.vander((x - middle) / half, n, increasing=True))
    known = ~np.isnan(y)
    products = np.where(known, y, 0.0)
    along = np.stack([(products * basis[:, k]).sum(axis=1) for k in range(n)], axis=1)
    rows = np.flatnonzero(~known.all(axis=1))
    along[rows] = _without_missing(basis, known[rows], along[rows])
    powers = np.polynomial.Polynomial([-middle / half, 1 / half])
    shifted = np.zeros((n, n))
    for k in range(n):
        shifted[: k + 1, k] = (powers**k).coef
    monomials = shifted @ np.linalg.pinv(upper)
    return {name: (along * monomials[k]).sum(axis=1) for k, name in enumerate(names)}


def _without_missing(basis: np.ndarray, known: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Coefficients in an orthonormal basis, from products with it, where some channels are missing."""
    n = basis.shape[1]
    gram = np.empty((len(known), n, n))
    for i in range(n):
        for j in range(i + 1):
            gram[:, i, j] = gram[:, j, i] = (known * (basis[:, i] * basis[:, j])).sum(axis=1)
    solved: np.ndarray = (np.linalg.pinv(gram, hermitian=True) * along[:, None, :]).sum(axis=2)
    solved[known.sum(axis=1) < n] = np.nan
    return solved


def exponential(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate an exponential decay, or growth, from two areas: see `two_areas`.

    HyperSpy compares the geometric means of two halves, which a single channel at or below zero spoils.
    """
    rate = two_areas(sums(filled(x, y) * width), edges_of(x))
    return {"A": _factor(x, filled(x, y), width, rate), "tau": 1 / rate}


def power_law(x: np.ndarray, y: np.ndarray, width: np.ndarray, *, origin: float, left_cutoff: float) -> Estimates:
    r"""Estimate a power law from two areas (R. F. Egerton, Electron Energy-Loss
    Spectroscopy in the Electron Microscope).

    With :math:`u = \ln(x - \mathrm{origin})`, the area below :math:`A (x - \mathrm{origin})^{-r}` is that
    below :math:`A e^{-(r-1)u}`: see `two_areas`. HyperSpy takes halves of the same number of channels and an
    approximation that is exact for :math:`r = 2`; here the areas are equal, so both are above zero, and the equation is
    solved.

    Parameters
    ----------
    origin, left_cutoff : float
        Parameters of the component; channels below either are left out.
    """
    first = int(np.searchsorted(x, max(origin, left_cutoff), "right"))
    x, y, width = x[first:] - origin, filled(x, y)[:, first:], width[first:]
    if x.size < 2:
        return {"A": np.full(len(y), np.nan), "r": np.full(len(y), np.nan)}
    edges = edges_of(x)
    edges[0] = max(edges[0], x[0] / 2)
    r = 1 + two_areas(sums(y * width), np.log(edges))
    return {"A": _factor(np.log(x), y, width, r), "r": r}


def double_power_law(
    x: np.ndarray, y: np.ndarray, width: np.ndarray, *, origin: float, left_cutoff: float, shift: float, ratio: float
) -> Estimates:
    """Estimate a double power law: its exponent as that of one, its factor by least
    squares; all else stays as it is.
    """
    found = power_law(x, y, width, origin=origin, left_cutoff=left_cutoff)
    u, r = x - origin, found["r"][:, None]
    shape = np.where(u > 0, np.abs(u) ** -r, 0.0) + ratio * np.where(u > shift, np.abs(u - shift) ** -r, 0.0)
    factor = factor_of(np.where(x > left_cutoff, shape, 0.0), y, width)
    kept = {"origin": origin, "left_cutoff": left_cutoff, "shift": shift, "ratio": ratio}
    return {"A": factor, "r": found["r"], **{name: np.full(len(y), value) for name, value in kept.items()}}


def bleasdale(x: np.ndarray, y: np.ndarray, width: np.ndarray, *, c: float) -> Estimates:
    """Estimate a Bleasdale equation: ``y**-c = a + b*x`` is a line, of which data at or
    below zero are no part; c stays.

    Weighed by ``y**(c + 1)``, as equal errors of y make those of the line.
    """
    weight = np.where(y > 0, np.abs(y), 0.0) ** (c + 1)
    a, b = regression([weight, weight * x], np.where(y > 0, y, 0.0))
    return {"a": a, "b": b, "c": np.full(len(y), c)}


def vignetting(
    x: np.ndarray,
    y: np.ndarray,
    width: np.ndarray,
    **kept: float,
) -> Estimates:
    r"""Estimate a vignetting from the parabola that it is about its maximum: :math:`h(1 - 2u^2)`, u being the cosine's
    angle.
    """
    found = polynomial(x, y, width)
    centre = -found["a1"] / (2 * found["a2"])
    height = found["a0"] + found["a1"] * centre / 2
    # The parabola through cos^4 over a wide range is flatter than that about the maximum; the fit sees to it.
    period = np.sqrt(np.where(found["a2"] < 0, -2 * height / found["a2"], np.nan)) / (2 * math.pi)
    values = {"optical_center": centre, "height": height, "period": period}
    return values | {name: np.full(len(y), value) for name, value in kept.items()}


def two_areas(cumulative: np.ndarray, edges: np.ndarray) -> np.ndarray:
    r"""Solve for the rate k of :math:`e^{-ku}` from the areas on both sides of where half of the area is reached.

    .. math:: \ln\frac{\int_a^b e^{-ku}du}{\int_b^c e^{-ku}du} = \ln\frac{I_1}{I_2}

    by Newton's method from :math:`k = 2\ln\left(\frac{I_1}{I_2}\frac{c-b}{b-a}\right)/(c-a)`. Halves in area, not in
    length, so that a steep decay leaves more than noise in both.

    Parameters
    ----------
    cumulative : float64 (n_pixels, n_channels + 1)
        Area up to each edge.
    edges : float64 (n_channels + 1,)
        Of the channels, in u.

    Returns
    -------
    float64 (n_pixels,)
        Not finite where an area is not above zero.
    """
    total = cumulative[:, -1]
    split = np.clip((cumulative >= total[:, None] / 2).argmax(axis=1), 1, edges.size - 2)
    a, b, c = edges[0], edges[split], edges[-1]
    first = pick(cumulative, split)
    target = np.log(first / (total - first))
    k: np.ndarray = 2 * (target + np.log((c - b) / (b - a))) / (c - a)
    for _ in range(8):
        (log1, mean1), (log2, mean2) = _decaying(k, a, b), _decaying(k, b, c)
        k = k - (log1 - log2 - target) / (mean2 - mean1)
    return k


def _decaying(k: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of the integral of exp(-k*u) from a to b, and the mean of u under it."""
    z = k * (b - a)
    small = np.abs(z) < 1e-4
    safe = np.where(small, 1.0, z)
    integral = np.where(small, 1 - z / 2, -np.expm1(-safe) / safe)
    mean = np.where(small, 0.5 - z / 12, 1 / safe - 1 / np.expm1(safe))
    return np.log((b - a) * integral) - k * a, a + (b - a) * mean


def _factor(u: np.ndarray, y: np.ndarray, width: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Factor that gives exp(-rate*u) the area of the data."""
    shape = np.exp(-rate[:, None] * (u - u[0])) * width
    factor: np.ndarray = (y * width).sum(axis=1) / shape.sum(axis=1) * np.exp(rate * u[0])
    return factor
