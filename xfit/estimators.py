"""Estimators: parameters of components from data, for many pixels at once; NumPy only.

An estimator is a function ``f(x, y, width)`` that returns a dict of parameter name to float64 (n_pixels,):

- ``x`` float64 (n_channels,): the coordinate, ascending.
- ``y`` float64 (n_pixels, n_channels), C-contiguous: densities, which for binned data are the counts over the channel
  width; NaN where a channel is left out (`filled` interpolates over those).
- ``width`` float64 (n_channels,): channel widths, for integrals.

What it can't tell is NaN or infinite. A component offers it as ``estimator = Estimator(f, channels=3)``. Every number of a
pixel must come from its row alone by elementwise operations, sums or cumulative sums along it, never by a matrix product:
then its bits do not depend on which pixels share the block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: A Gaussian's moments are taken within this many standard deviations, a Lorentzian's quartiles within this many gammas.
_GAUSSIAN_REACH, _LORENTZIAN_REACH = 3.5, 8.0

#: Values by name: float64 (n_pixels,) each.
Estimates = dict[str, np.ndarray]


@dataclass(frozen=True)
class Estimator:
    """How the parameters of a component are estimated.

    Attributes
    ----------
    function : callable
        See the module.
    channels : int
        Smallest number of channels that it needs.
    takes : tuple of str
        Parameters whose values the function gets as keyword arguments of the same names.
    """

    function: Callable[..., Estimates]
    channels: int = 2
    takes: tuple[str, ...] = ()


def filled(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Replace NaN by linear interpolation along the row, at the ends by the nearest value; rows without any value stay."""
    bad = np.isnan(y)
    rows = np.flatnonzero(bad.any(axis=1))
    if not rows.size:
        return y
    known, channel = ~bad[rows], np.arange(x.size)
    left = np.maximum.accumulate(np.where(known, channel, -1), axis=1)
    right = np.minimum.accumulate(np.where(known, channel, x.size)[:, ::-1], axis=1)[:, ::-1]
    # Beyond the outermost known channel both neighbours are that channel.
    left, right = np.where(left < 0, right, left), np.where(right == x.size, left, right)
    left, right = np.clip(left, 0, x.size - 1), np.clip(right, 0, x.size - 1)
    low, high = np.take_along_axis(y[rows], left, 1), np.take_along_axis(y[rows], right, 1)
    gap = x[right] - x[left]
    part = (x - x[left]) / np.where(gap > 0, gap, 1.0)
    out = y.copy()
    out[rows] = np.where(known, y[rows], low + part * (high - low))
    return out


# --- peaks -------------------------------------------------------------------------------------


def above_baseline(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Subtract a straight line through both ends of the range.

    An end is the median of a tenth of the channels there. Where the line has more area above the data than below them, the
    peak itself stands at an end, and the lower end is subtracted as a constant.

    Parameters
    ----------
    x, y
        See the module; without NaN.

    Returns
    -------
    float64 (n_pixels, n_channels)
    """
    n = max(x.size // 10, 1)
    left, right = np.median(y[:, :n], axis=1), np.median(y[:, -n:], axis=1)
    at_left, at_right = x[:n].mean(), x[-n:].mean()
    slope = (right - left) / (at_right - at_left) if at_right > at_left else np.zeros_like(left)
    above = y - (left[:, None] + slope[:, None] * (x - at_left))
    at_an_end = above.sum(axis=1) < 0
    return np.where(at_an_end[:, None], y - np.minimum(left, right)[:, None], above)


def sums(y: np.ndarray) -> np.ndarray:
    """Cumulative sums along the rows, from 0 before the first channel: (n_pixels, n_channels + 1)."""
    out = np.zeros((y.shape[0], y.shape[1] + 1))
    np.cumsum(y, axis=1, out=out[:, 1:])
    return out


def edges_of(x: np.ndarray) -> np.ndarray:
    """Edges of the channels, half way between their middles: (n_channels + 1,), for at least two channels."""
    between = (x[1:] + x[:-1]) / 2
    return np.concatenate([[x[0] - (x[1] - x[0]) / 2], between, [x[-1] + (x[-1] - x[-2]) / 2]])


def _at(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """One element of each row."""
    return table[np.arange(len(table)), index]


def highest_box(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the run of 1, 3, 9, 27, ... channels that stands out most: with the largest sum over the root of their number.

    That is the most significant run where every channel has the same noise.

    Returns
    -------
    middle, n : int (n_pixels,)
        Middle channel and number of channels.
    """
    total = sums(y)
    best = np.full(len(y), -np.inf)
    middle, size = np.zeros(len(y), np.intp), np.ones(len(y), np.intp)
    n = 1
    while n <= y.shape[1]:
        score = total[:, n:] - total[:, :-n]
        at = score.argmax(axis=1)
        top = _at(score, at) / math.sqrt(n)
        # By more than what sums are rounded by: a peak of one channel is no box of three.
        better = top > best * (1 + 1e-9)
        best, middle, size = (
            np.where(better, top, best),
            np.where(better, at + n // 2, middle),
            np.where(better, n, size),
        )
        n *= 3
    return middle, size


def peak_moments(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Area, centre and standard deviation of the peak that stands out most.

    .. math:: A = \sum y w, \quad c = \sum x y w / A, \quad \sigma^2 = \sum (x - c)^2 y w / A

    over the channels within 3.5 sigma of the centre, found by iteration from `highest_box`, after a baseline has been
    subtracted (`above_baseline`). So channels far away, whose noise :math:`(x - c)^2` would raise without limit, and other
    peaks have no say; the sigma of a Gaussian comes out 0.3 % too small for that.

    Returns
    -------
    area, centre, sigma : float64 (n_pixels,)
        NaN where there is no peak; sigma is at least that of a channel, its width over the root of 12.
    """
    above = above_baseline(x, filled(x, y))
    middle, n = highest_box(above)
    half = (x[-1] - x[0]) / 2
    u = (x - x[0]) / half - 1
    order0 = sums(above * width)
    order1, order2 = sums(above * width * u), sums(above * width * u * u)
    floor = width[middle] / half / math.sqrt(12)
    centre, reach = u[middle], 1.5 * n * width[middle] / half
    area, sigma = np.full(len(y), np.nan), np.full(len(y), np.nan)
    for _ in range(8):
        low, high = np.searchsorted(u, centre - reach), np.searchsorted(u, centre + reach, "right")
        total, first, second = (_at(table, high) - _at(table, low) for table in (order0, order1, order2))
        good = total > 0
        mean = first / total
        variance = np.maximum(second / total - mean * mean, floor * floor)
        area, centre = np.where(good, total, area), np.where(good, mean, centre)
        sigma = np.where(good, np.sqrt(variance), sigma)
        reach = np.where(good, np.maximum(_GAUSSIAN_REACH * sigma, 2 * floor), reach)
    return area, x[0] + (centre + 1) * half, sigma * half


def gaussian(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate a Gaussian by its area from moments: see `peak_moments`.

    HyperSpy's ``Gaussian.estimate_parameters`` takes the same moments over the whole range without a baseline, and the
    area from the largest value.
    """
    area, centre, sigma = peak_moments(x, y, width)
    return {"A": area, "centre": centre, "sigma": sigma}


def gaussian_hf(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate a Gaussian by its height from moments: see `peak_moments`."""
    area, centre, sigma = peak_moments(x, y, width)
    fwhm = sigma * math.sqrt(8 * math.log(2))
    return {"centre": centre, "fwhm": fwhm, "height": area / (sigma * math.sqrt(2 * math.pi))}


def lorentzian(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    r"""Estimate a Lorentzian by its quartiles, which unlike its moments exist.

    The centre is the median, gamma half of the distance between the quartiles, as in HyperSpy; but here after a baseline has
    been subtracted, interpolated within channels, and over the channels within 8 gamma of the centre. Of a
    Lorentzian :math:`\frac{2}{\pi}\arctan 8` lies in there, and its quartiles are
    at :math:`\pm\gamma\tan(\frac{1}{2}\arctan 8)`.
    """
    above = above_baseline(x, filled(x, y))
    area, centre, sigma = peak_moments(x, y, width)
    cumulative = sums(above * width)
    edges = edges_of(x)
    inner = math.tan(math.atan(_LORENTZIAN_REACH) / 2)
    gamma = sigma / 1.6  # what the moments of a Lorentzian within 3.5 sigma give
    for _ in range(4):
        reach = np.maximum(_LORENTZIAN_REACH * gamma, sigma)
        low, high = np.searchsorted(x, centre - reach), np.searchsorted(x, centre + reach, "right")
        total = _at(cumulative, high) - _at(cumulative, low)
        quarters = [_quantile(cumulative, edges, low, total, part) for part in (0.25, 0.5, 0.75)]
        good = (total > 0) & (quarters[2] > quarters[0])
        area = np.where(good, total * math.pi / (2 * math.atan(_LORENTZIAN_REACH)), area)
        centre = np.where(good, quarters[1], centre)
        gamma = np.where(good, (quarters[2] - quarters[0]) / 2 / inner, gamma)
    return {"A": area, "centre": centre, "gamma": gamma}


def _quantile(cumulative: np.ndarray, edges: np.ndarray, low: np.ndarray, total: np.ndarray, part: float) -> np.ndarray:
    """Where the cumulative sum from channel ``low`` on first reaches a part of the total."""
    start = np.minimum(low, cumulative.shape[1] - 2)
    target = _at(cumulative, start) + part * total
    reached = (cumulative[:, 1:] >= target[:, None]) & (np.arange(cumulative.shape[1] - 1) >= start[:, None])
    channel = reached.argmax(axis=1)
    before, after = _at(cumulative, channel), _at(cumulative, channel + 1)
    return edges[channel] + (target - before) / (after - before) * (edges[channel + 1] - edges[channel])


# --- backgrounds -------------------------------------------------------------------------------


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
    solved = (np.linalg.pinv(gram, hermitian=True) * along[:, None, :]).sum(axis=2)
    solved[known.sum(axis=1) < n] = np.nan
    return solved


def exponential(x: np.ndarray, y: np.ndarray, width: np.ndarray) -> Estimates:
    """Estimate an exponential decay, or growth, from two areas: see `two_areas`.

    HyperSpy compares the geometric means of two halves, which a single channel at or below zero spoils.
    """
    rate = two_areas(sums(filled(x, y) * width), edges_of(x))
    return {"A": _factor(x, filled(x, y), width, rate), "tau": 1 / rate}


def power_law(x: np.ndarray, y: np.ndarray, width: np.ndarray, *, origin: float, left_cutoff: float) -> Estimates:
    r"""Estimate a power law from two areas (R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope).

    With :math:`u = \ln(x - \mathrm{origin})`, the area below :math:`A (x - \mathrm{origin})^{-r}` is that
    below :math:`A e^{-(r-1)u}`: see `two_areas`. HyperSpy takes halves of the same number of channels and an approximation
    that is exact for :math:`r = 2`; here the areas are equal, so both are above zero, and the equation is solved.

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


def two_areas(cumulative: np.ndarray, edges: np.ndarray) -> np.ndarray:
    r"""Solve for the rate k of :math:`e^{-ku}` from the areas on both sides of where half of the area is reached.

    .. math:: \ln\frac{\int_a^b e^{-ku}du}{\int_b^c e^{-ku}du} = \ln\frac{I_1}{I_2}

    by Newton's method from :math:`k = 2\ln\left(\frac{I_1}{I_2}\frac{c-b}{b-a}\right)/(c-a)`. Halves in area, not in length,
    so that a steep decay leaves more than noise in both.

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
    first = _at(cumulative, split)
    target = np.log(first / (total - first))
    k = 2 * (target + np.log((c - b) / (b - a))) / (c - a)
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
    return (y * width).sum(axis=1) / shape.sum(axis=1) * np.exp(rate * u[0])
