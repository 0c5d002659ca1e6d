"""Rows of spectra: what estimators share (cumulative sums, baselines, quantiles, the moments of a peak)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: A Gaussian's moments are taken within this many standard deviations.
_GAUSSIAN_REACH = 3.5

#: Values by name: float64 (n_pixels,) each.
Estimates = dict[str, np.ndarray]


@dataclass(frozen=True)
class Estimator:
    """How the parameters of a component are estimated.

    Attributes
    ----------
    function : callable
        See `xfit.modeling.estimators`.
    channels : int
        Smallest number of channels that it needs.
    takes : tuple of str
        Parameters whose values the function gets as keyword arguments of the same names.
    """

    function: Callable[..., Estimates]
    channels: int = 2
    takes: tuple[str, ...] = ()


def filled(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Replace NaN by linear interpolation along the row, at the ends by the nearest
    value; rows without any value stay.
    """
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


def above_baseline(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Subtract a straight line through both ends of the range.

    An end is the median of a tenth of the channels there. Where the line has more area above the data than below them,
    the peak itself stands at an end, and the lower end is subtracted as a constant.

    Parameters
    ----------
    x, y
        See the module; without NaN.

    Returns
    -------
    float64 (n_pixels, n_channels)
    """
    above = y - line_through_ends(x, y)
    at_an_end = above.sum(axis=1) < 0
    risen: np.ndarray = np.where(at_an_end[:, None], y - np.minimum(*levels(y))[:, None], above)
    return risen


def line_through_ends(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Straight line through the medians of the first and the last tenth of the channels: (n_pixels, n_channels)."""
    n = max(x.size // 10, 1)
    left, right = levels(y)
    at_left, at_right = x[:n].mean(), x[-n:].mean()
    slope = (right - left) / (at_right - at_left) if at_right > at_left else np.zeros_like(left)
    return np.asarray(left[:, None] + slope[:, None] * (x - at_left))


def sums(y: np.ndarray) -> np.ndarray:
    """Cumulative sums along the rows, from 0 before the first channel: (n_pixels, n_channels + 1)."""
    out = np.zeros((y.shape[0], y.shape[1] + 1))
    np.cumsum(y, axis=1, out=out[:, 1:])
    return out


def edges_of(x: np.ndarray) -> np.ndarray:
    """Edges of the channels, half way between their middles: (n_channels + 1,), for at least two channels."""
    between = (x[1:] + x[:-1]) / 2
    return np.concatenate([[x[0] - (x[1] - x[0]) / 2], between, [x[-1] + (x[-1] - x[-2]) / 2]])


def pick(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """One element of each row."""
    picked: np.ndarray = table[np.arange(len(table)), index]
    return picked


def quantile(cumulative: np.ndarray, edges: np.ndarray, low: np.ndarray, total: np.ndarray, part: float) -> np.ndarray:
    """Where the cumulative sum from channel ``low`` on first reaches a part of the total."""
    start = np.minimum(low, cumulative.shape[1] - 2)
    target = pick(cumulative, start) + part * total
    reached = (cumulative[:, 1:] >= target[:, None]) & (np.arange(cumulative.shape[1] - 1) >= start[:, None])
    channel = reached.argmax(axis=1)
    before, after = pick(cumulative, channel), pick(cumulative, channel + 1)
    at: np.ndarray = edges[channel] + (target - before) / (after - before) * (edges[channel + 1] - edges[channel])
    return at


def highest_box(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the run of 1, 3, 9, 27, ... channels that stands out most: with the largest sum
    over the root of their number.

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
        top = pick(score, at) / math.sqrt(n)
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
    subtracted (`above_baseline`). So channels far away, whose noise :math:`(x - c)^2` would raise without limit, and
    other peaks have no say; the sigma of a Gaussian comes out 0.3 % too small for that.

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
        total, first, second = (pick(table, high) - pick(table, low) for table in (order0, order1, order2))
        good = total > 0
        mean = first / total
        variance = np.maximum(second / total - mean * mean, floor * floor)
        area, centre = np.where(good, total, area), np.where(good, mean, centre)
        sigma = np.where(good, np.sqrt(variance), sigma)
        reach = np.where(good, np.maximum(_GAUSSIAN_REACH * sigma, 2 * floor), reach)
    return area, x[0] + (centre + 1) * half, sigma * half


def skewness(x: np.ndarray, y: np.ndarray, width: np.ndarray, centre: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    r"""Third standardised moment of the peak at ``centre``, with its sign.

    .. math:: g = \frac{1}{\sigma^3} \frac{\sum (x - m)^3 y w}{\sum y w}, \quad
        m = \frac{\sum x y w}{\sum y w}, \quad \sigma^2 = \frac{\sum (x - m)^2 y w}{\sum y w}

    over the channels within 3.5 of the given standard deviations, after a baseline has been subtracted.

    Returns
    -------
    float64 (n_pixels,)
        NaN where there is no peak.
    """
    above = above_baseline(x, filled(x, y))
    inside = np.abs(x - centre[:, None]) <= _GAUSSIAN_REACH * sigma[:, None]
    weight = np.where(inside, above * width, 0.0)
    total = weight.sum(axis=1)
    t = (x - centre[:, None]) / sigma[:, None]
    first, second, third = ((weight * t**k).sum(axis=1) / total for k in (1, 2, 3))
    variance = second - first**2
    return np.where((total > 0) & (variance > 0), (third - 3 * first * second + 2 * first**3) / variance**1.5, np.nan)


def height_of(y: np.ndarray) -> np.ndarray:
    """Largest value over runs of three channels (of one, in short rows), so that no single noisy channel decides."""
    n = 3 if y.shape[1] >= 9 else 1
    total = sums(y)
    return np.asarray(((total[:, n:] - total[:, :-n]) / n).max(axis=1))


def levels(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Medians of the first and the last tenth of the channels."""
    n = max(y.shape[1] // 10, 1)
    return np.median(y[:, :n], axis=1), np.median(y[:, -n:], axis=1)


def factor_of(shape: np.ndarray, y: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Factor of a shape by linear least squares over x; channels that are NaN are left out.

    Parameters
    ----------
    shape : float64 (n_channels,) or (n_pixels, n_channels)
        The shape.
    """
    usable = ~np.isnan(y) & np.isfinite(shape)
    weight = np.where(usable, np.where(np.isfinite(shape), shape, 0.0) * width, 0.0)
    return np.asarray(
        (weight * np.where(usable, y, 0.0)).sum(axis=1) / (weight * np.where(usable, shape, 0.0)).sum(axis=1)
    )


def regression(columns: list[np.ndarray], y: np.ndarray) -> list[np.ndarray]:
    """Coefficients of columns by linear least squares, pixel by pixel, by Gram-Schmidt: sums along rows only."""
    basis: list[np.ndarray] = []
    triangle = np.zeros((len(columns), len(columns), len(y)))
    for k, column in enumerate(columns):
        # In rows: other layouts are summed in another order, which depends on their number.
        rest = np.array(column, np.float64, order="C")
        for j, unit in enumerate(basis):
            triangle[j, k] = (unit * rest).sum(axis=1)
            rest -= triangle[j, k][:, None] * unit
        triangle[k, k] = np.sqrt((rest * rest).sum(axis=1))
        basis.append(rest / triangle[k, k][:, None])
    found = [(unit * y).sum(axis=1) for unit in basis]
    for k in range(len(columns) - 1, -1, -1):
        for j in range(k + 1, len(columns)):
            found[k] = found[k] - triangle[k, j] * found[j]
        found[k] = found[k] / triangle[k, k]
    return found
